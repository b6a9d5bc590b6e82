//! `dht bootstrap check`: which of the nodes to start from are alive?

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use mainswarm::{
    dht::{Answer, Question},
    ids::NodeId,
    network::Network,
    session::{DhtNode, MAINLINE_ROUTERS},
};
use serde::Serialize;
use tokio::task::JoinSet;

use super::{
    super::{
        args::{CheckArgs, Common},
        exit::{Exit, Failure},
        progress::plural,
        ui::Ui,
    },
    ping::{ShownAnswer, resolve},
};

/// All routers, as JSON has them.
#[derive(Debug, Serialize)]
struct Checked {
    routers: Vec<Router>,
    alive: usize,
    dead: usize,
}

/// One router by name.
#[derive(Debug, Serialize)]
struct Router {
    name: String,
    /// Why there is no address.
    problem: Option<String>,
    addrs: Vec<ShownAnswer>,
}

pub(super) async fn check(ui: &Ui, common: &Common, args: &CheckArgs) -> Result<(), Failure> {
    let names: Vec<String> = match common.network {
        Network::Mainline if common.bootstrap.is_empty() => {
            MAINLINE_ROUTERS.map(str::to_owned).to_vec()
        }
        _ => common.bootstrap.clone(),
    };
    if names.is_empty() {
        let text = "a private network has no routers of its own; name a node with --bootstrap";
        return Err(Failure::new(Exit::Usage, text));
    }
    let nodes = [
        alone(common, (Ipv4Addr::UNSPECIFIED, 0).into()).await,
        alone(common, (Ipv6Addr::UNSPECIFIED, 0).into()).await,
    ];
    let mut checks = JoinSet::new();
    for (place, name) in names.into_iter().enumerate() {
        let handles = nodes.each_ref().map(|node| {
            let node = node.as_ref();
            node.map(|node| node.handle().clone())
        });
        let (network, patience) = (common.network, args.timeout);
        checks.spawn(async move {
            let found = match resolve(&name).await {
                Ok(found) => found,
                Err(why) => return (place, Router::without(name, why)),
            };
            let here = found.iter().filter(|addr| network.accepts(addr));
            let mut asked = JoinSet::new();
            for addr in here.copied() {
                let [v4, v6] = handles.clone();
                let handle = if addr.is_ipv4() { v4 } else { v6 };
                asked.spawn(async move {
                    let question = Question::FindNode(NodeId::new(rand::random()));
                    let answer: Option<Answer> = match handle {
                        Some(handle) => handle.ask(addr, question, patience).await,
                        None => None,
                    };
                    (addr, answer)
                });
            }
            let mut answers = asked.join_all().await;
            answers.sort_by_key(|(addr, _)| *addr);
            let shown = answers.iter();
            let addrs: Vec<ShownAnswer> = shown
                .map(|(addr, answer)| ShownAnswer::new(*addr, answer.as_ref()))
                .collect();
            if addrs.is_empty() {
                let why = format!("none of its addresses is on the {network} network");
                return (place, Router::without(name, why));
            }
            let problem = None;
            (
                place,
                Router {
                    name,
                    problem,
                    addrs,
                },
            )
        });
    }
    let mut routers = checks.join_all().await;
    for node in nodes.into_iter().flatten() {
        node.shutdown().await;
    }
    routers.sort_by_key(|(place, _)| *place);
    report(
        ui,
        args,
        routers.into_iter().map(|(_, router)| router).collect(),
    )
}

fn report(ui: &Ui, args: &CheckArgs, routers: Vec<Router>) -> Result<(), Failure> {
    let alive = routers.iter().filter(|router| router.is_alive()).count();
    let checked = Checked {
        alive,
        dead: routers.len() - alive,
        routers,
    };
    if ui.json() {
        ui.data_json(&checked)?;
    } else {
        for router in &checked.routers {
            for line in router.lines(args.brief.short) {
                ui.data(&line)?;
            }
        }
    }
    if !args.brief.short {
        let dead = checked.dead;
        ui.note(&format!(
            ";; {} alive, {dead} dead",
            plural(alive, "router")
        ));
    }
    if alive == 0 {
        let text = "no router answers; check that UDP gets out, and name a live node with \
                    --bootstrap";
        return Err(Failure::new(Exit::NothingFound, text));
    }
    Ok(())
}

/// A node to ask with; `None` where the system has no such family.
async fn alone(common: &Common, listen: SocketAddr) -> Option<DhtNode> {
    let node = DhtNode::builder(common.network).listen(listen);
    node.read_only(true).alone().start().await.ok()
}

impl Router {
    fn without(name: String, why: String) -> Self {
        Self {
            name,
            problem: Some(why),
            addrs: Vec::new(),
        }
    }

    fn is_alive(&self) -> bool {
        self.addrs.iter().any(|addr| addr.alive)
    }

    fn lines(&self, short: bool) -> Vec<String> {
        if short {
            let alive = self.addrs.iter().filter(|addr| addr.alive);
            return alive.map(|addr| addr.addr.to_string()).collect();
        }
        let name = &self.name;
        if let Some(problem) = &self.problem {
            return vec![format!("{name:<28} dead   {problem}")];
        }
        let line = |addr: &ShownAnswer| {
            let state = if addr.alive { "alive" } else { "dead " };
            let nodes = match addr.alive {
                true => format!("  {}", plural(addr.nodes, "node")),
                false => String::new(),
            };
            format!("{name:<28} {state}  {}{nodes}", addr.text())
        };
        self.addrs.iter().map(line).collect()
    }
}
