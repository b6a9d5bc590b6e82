//! `dht ping`: is a node there, and who?

use std::{net::SocketAddr, time::Duration};

use mainswarm::{
    dht::{Answer, Question},
    network::Network,
};
use serde::Serialize;
use tokio::{net::lookup_host, time::timeout};

use super::{
    super::{
        args::{Common, PingArgs},
        exit::{Exit, Failure},
        node,
        ui::Ui,
    },
    show::{rtt, seconds, version},
};

/// Ours: as long a resolver may take.
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(5);

/// What an address has answered, as JSON has it.
#[derive(Debug, Serialize)]
pub(super) struct ShownAnswer {
    pub(super) addr: SocketAddr,
    pub(super) alive: bool,
    id: Option<String>,
    rtt_seconds: Option<f64>,
    version: Option<String>,
    /// Our address as it sees it.
    our_addr: Option<SocketAddr>,
    /// How many nodes it told of.
    pub(super) nodes: usize,
    error: Option<i64>,
    #[serde(skip)]
    rtt: Option<Duration>,
}

impl ShownAnswer {
    pub(super) fn new(addr: SocketAddr, answer: Option<&Answer>) -> Self {
        let id = answer.and_then(|answer| answer.id);
        let client = answer.and_then(|answer| answer.version.as_deref());
        let round_trip = answer.map(|answer| answer.rtt);
        Self {
            addr,
            alive: answer.is_some(),
            id: id.map(|id| id.to_string()),
            rtt_seconds: round_trip.map(seconds),
            version: client.map(version),
            our_addr: answer.and_then(|answer| answer.our_addr),
            nodes: answer.map_or(0, |answer| answer.nodes.len()),
            error: answer.and_then(|answer| answer.error),
            rtt: round_trip,
        }
    }

    /// The same for people.
    pub(super) fn text(&self) -> String {
        let Some(round_trip) = self.rtt else {
            return format!("{}  no answer", self.addr);
        };
        let mut text = format!("{}  {}", self.addr, rtt(round_trip));
        if let Some(id) = &self.id {
            text += &format!("  {id}");
        }
        if let Some(version) = &self.version {
            text += &format!("  {version}");
        }
        if let Some(error) = self.error {
            text += &format!("  error {error}");
        }
        if let Some(our_addr) = self.our_addr {
            text += &format!("  sees us at {our_addr}");
        }
        text
    }
}

pub(super) async fn run(ui: &Ui, common: &Common, args: &PingArgs) -> Result<(), Failure> {
    let addr = address(common, &args.addr).await?;
    let node = node::start_alone(common, addr).await?;
    let answer = node.handle().ask(addr, Question::Ping, args.timeout).await;
    node.shutdown().await;
    let shown = ShownAnswer::new(addr, answer.as_ref());
    if ui.json() {
        ui.data_json(&shown)?;
    } else if let Some(answer) = &answer {
        match answer.id.filter(|_| args.brief.short) {
            Some(id) => ui.data(&id.to_string())?,
            None => ui.data(&shown.text())?,
        }
    }
    match answer {
        Some(_) => Ok(()),
        None => Err(silent(addr)),
    }
}

/// Nobody has answered at an address.
pub(super) fn silent(addr: SocketAddr) -> Failure {
    let text = format!(
        "no answer from {addr}; check the address, that a DHT node runs there, and that UDP gets \
         there and back"
    );
    Failure::new(Exit::TimedOut, text)
}

/// The first address of a name that is on the network, and of the family of `--listen`.
pub(super) async fn address(common: &Common, name: &str) -> Result<SocketAddr, Failure> {
    let found = resolve(name)
        .await
        .map_err(|why| Failure::new(Exit::Network, why))?;
    let family = |addr: &&SocketAddr| {
        let listen = common.listen.as_ref();
        listen.is_none_or(|listen| listen.is_ipv4() == addr.is_ipv4())
    };
    let on_network = found.iter().filter(|addr| common.network.accepts(addr));
    let mut usable = on_network.filter(family);
    usable.next().copied().ok_or_else(|| {
        let network = common.network;
        let other = match network {
            Network::Mainline => Network::Private,
            Network::Private => Network::Mainline,
        };
        let text = match found.first() {
            Some(addr) if !network.accepts(addr) => format!(
                "{addr} cannot be on the {network} network, where addresses are {}; try \
                 --network {other}",
                match network {
                    Network::Mainline => "public",
                    Network::Private => "local",
                }
            ),
            _ => format!("{name} has no address of the family of --listen; leave --listen out"),
        };
        Failure::new(Exit::Usage, text)
    })
}

/// All addresses of `HOST:PORT`, or why there are none.
pub(super) async fn resolve(name: &str) -> Result<Vec<SocketAddr>, String> {
    match timeout(RESOLVE_TIMEOUT, lookup_host(name)).await {
        Ok(Ok(found)) => Ok(found.collect()),
        Ok(Err(error)) => Err(format!("cannot resolve {name}: {error}; check the name")),
        Err(_) => Err(format!(
            "cannot resolve {name}: no answer from the resolver; check the network"
        )),
    }
}
