//! Starting a session from the common options, and stopping it by signal.

use std::{
    fs, io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::{Path, PathBuf},
    process,
};

use etcetera::BaseStrategy;
use mainswarm::session::{DhtMode, DhtNode, Session, SessionConfig, SessionError};
use tokio::sync::watch;

use super::{
    args::Common,
    exit::{Exit, Failure},
    ui::Ui,
};

/// The port that long-lived nodes prefer, and how many after it are tried.
const PORTS: std::ops::RangeInclusive<u16> = 6881..=6889;

/// How long a node means to stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stay {
    /// For one task: any free port.
    Brief,
    /// As a part of the network: a port that can be forwarded.
    Lasting,
}

/// Starts the session that the options describe.
pub(super) async fn start(
    ui: &Ui,
    common: &Common,
    dht: DhtMode,
    stay: Stay,
) -> Result<Session, Failure> {
    let any = |port| SocketAddr::from((Ipv4Addr::UNSPECIFIED, port));
    let choices: Vec<SocketAddr> = match (common.listen, stay) {
        (Some(addr), _) => vec![addr],
        (None, Stay::Brief) => vec![any(0)],
        (None, Stay::Lasting) => PORTS.chain([0]).map(any).collect(),
    };
    let state_dir = state_dir(ui, common);
    let mut choices = choices.into_iter().peekable();
    while let Some(listen) = choices.next() {
        let mut config = SessionConfig::new(listen, common.network);
        config.dht = if common.no_dht { DhtMode::Off } else { dht };
        config.id_check = common.id_check;
        config.bootstrap.clone_from(&common.bootstrap);
        config.up = common.up;
        config.down = common.down;
        config.state_dir.clone_from(&state_dir);
        match Session::start(config).await {
            Err(SessionError::Bind { source, .. })
                if source.kind() == io::ErrorKind::AddrInUse && choices.peek().is_some() => {}
            result => return Ok(result?),
        }
    }
    unreachable!("the last choice is always returned")
}

/// Starts a DHT node for one question to the network, which the node does not serve meanwhile.
pub(super) async fn start_dht(ui: &Ui, common: &Common) -> Result<DhtNode, Failure> {
    let mut node = DhtNode::builder(common.network)
        .read_only(true)
        .id_check(common.id_check)
        .bootstrap(common.bootstrap.iter().cloned())
        .state_dir(state_dir(ui, common));
    if let Some(listen) = common.listen {
        node = node.listen(listen);
    }
    Ok(node.start().await?)
}

/// Starts a DHT node that knows nobody, of the family of an address that is to be asked.
pub(super) async fn start_alone(common: &Common, to: SocketAddr) -> Result<DhtNode, Failure> {
    let any: IpAddr = match to {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let node = DhtNode::builder(common.network)
        .read_only(true)
        .listen(common.listen.unwrap_or(SocketAddr::new(any, 0)))
        .alone();
    Ok(node.start().await?)
}

/// The state directory, made and probed; without one the node works, but forgets.
fn state_dir(ui: &Ui, common: &Common) -> Option<PathBuf> {
    let dir = common.state.clone().or_else(default_state_dir)?;
    match probe(&dir) {
        Ok(()) => Some(dir),
        Err(error) => {
            ui.warn(&format!(
                "cannot keep state in {}: {error}; going on without (choose another with --state)",
                dir.display()
            ));
            None
        }
    }
}

fn default_state_dir() -> Option<PathBuf> {
    let base = etcetera::choose_base_strategy().ok()?;
    let dir = base.state_dir().unwrap_or_else(|| base.data_dir());
    Some(dir.join("mainswarm"))
}

/// Whether files can be made in `dir`. Permission bits alone do not tell (read-only mounts, ACLs).
fn probe(dir: &Path) -> io::Result<()> {
    fs::create_dir_all(dir)?;
    let file = dir.join(format!(".probe-{}", process::id()));
    fs::write(&file, b"")?;
    fs::remove_file(&file)
}

/// Ctrl-C and SIGTERM: the first asks the command to stop, the second ends the process.
#[derive(Debug, Clone)]
pub(super) struct Interrupt(watch::Receiver<bool>);

impl Interrupt {
    /// Starts listening for signals; they are caught from here on.
    pub(super) fn install(ui: &Ui) -> Self {
        let (sender, receiver) = watch::channel(false);
        let mut signals = Signals::new();
        let ui = ui.clone();
        tokio::spawn(async move {
            signals.next().await;
            ui.note("stopping; press Ctrl-C again to stop at once");
            let _ = sender.send(true);
            signals.next().await;
            process::exit(Exit::Interrupted as i32);
        });
        Self(receiver)
    }

    /// Waits for the first signal.
    pub(super) async fn wait(&mut self) {
        if self.0.wait_for(|stop| *stop).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// The signals that ask a process to end.
#[cfg(unix)]
struct Signals(Vec<tokio::signal::unix::Signal>);

#[cfg(unix)]
impl Signals {
    fn new() -> Self {
        use tokio::signal::unix::{SignalKind, signal};
        let kinds = [SignalKind::interrupt(), SignalKind::terminate()];
        // One that cannot be caught ends the process, as it would any other.
        Self(
            kinds
                .into_iter()
                .filter_map(|kind| signal(kind).ok())
                .collect(),
        )
    }

    async fn next(&mut self) {
        std::future::poll_fn(|context| {
            use std::task::Poll;
            let mut ready = self.0.iter_mut().map(|signal| signal.poll_recv(context));
            ready
                .find(Poll::is_ready)
                .map_or(Poll::Pending, |_| Poll::Ready(()))
        })
        .await;
    }
}

/// The signals that ask a process to end.
#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    fn new() -> Self {
        Self
    }

    async fn next(&mut self) {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending().await
        }
    }
}
