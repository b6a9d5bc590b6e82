//! The process's whole node: sockets, the DHT, torrents and their shared budgets.
//!
//! A [`Session`] is composition and shared budgets: it starts the tasks of [`crate::net`], tells
//! the listener which torrents there are, and divides limits among those that have peers. It knows
//! nothing about peers or pieces.

#![expect(
    clippy::disallowed_methods,
    reason = "a shell is where the clock is read"
)]

mod blocking;
mod dht_node;
mod node;

use std::{
    collections::HashMap, ffi::OsString, fmt, io, net::SocketAddr, path::PathBuf, sync::Arc,
    time::Duration,
};

use rand::{TryRng, rngs::SysRng};
use tokio::{
    net::UdpSocket,
    sync::{Semaphore, mpsc, oneshot, watch},
    task::{JoinHandle, JoinSet},
};
use tracing::info;

use self::node::Node;
pub use self::{
    blocking::BlockingDht,
    dht_node::{DhtBuilder, DhtNode},
};
pub use crate::net::{
    dht_task::{DhtHandle, Job, LookupUpdate, PutOutcome, Running, Scrape, Snapshot},
    resolve::MAINLINE_ROUTERS,
    torrent_handle::{FileFilter, Phase, TorrentHandle, TorrentStatus},
};
use crate::{
    dht::IdCheck,
    ids::{InfoHash, PeerId},
    metainfo::{Magnet, Metainfo},
    net::{
        budgets::Budgets,
        dialer::Dialer,
        listener::{Listener, Routes},
        sockets::{self, BindError},
        torrent_task::Surroundings,
    },
    network::Network,
    torrent::{
        PieceOrder,
        chooser::{Chooser, SeedOrder},
    },
};

/// Whether and how to take part in the DHT.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DhtMode {
    /// Not at all.
    Off,
    /// As a full node: answer, store, stay.
    #[default]
    Full,
    /// BEP 43: ask and announce only; for short-lived nodes.
    ReadOnly,
}

/// How a session behaves.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct SessionConfig {
    /// TCP and UDP on one port. Port 0 takes a free one for both.
    pub listen: SocketAddr,
    /// Which network this is.
    pub network: Network,
    /// Part in the DHT.
    pub dht: DhtMode,
    /// What the DHT makes of ids that do not follow from addresses (BEP 42).
    pub id_check: IdCheck,
    /// Routers, `host:port`. Empty: mainline's public routers, or none on a private network.
    pub bootstrap: Vec<String>,
    /// Upload limit for all torrents, payload bytes per second.
    pub up: Option<u64>,
    /// Download limit for all torrents, payload bytes per second.
    pub down: Option<u64>,
    /// Where resume state and `dht-NETWORK.dat` live; `None` keeps none.
    pub state_dir: Option<PathBuf>,
    /// Connections of all torrents. Default: 200.
    pub max_connections: usize,
    /// Regular upload slots per torrent. Default 4 (one optimistic on top).
    pub upload_slots: usize,
    /// How often regular slots are decided. Default 10 s. Short distribution experiments scale it with the file.
    pub choke_interval: Duration,
    /// How often the optimistic slots move; `None` is every third choke interval.
    pub optimistic_interval: Option<Duration>,
    /// Optimistic upload slots per torrent. Default 1.
    pub optimistic_slots: usize,
    /// Connections of one torrent. Default 50: a peer knows a few dozen others.
    pub neighbours: usize,
    /// Which missing piece to ask for next.
    pub piece_order: PieceOrder,
    /// Upload nothing if off: a free rider, for experiments.
    pub upload: bool,
    /// Ask only peers that have everything, for experiments.
    pub only_seeds: bool,
    /// As the only seed, hand every piece out once before repeating any. Default on.
    pub unsent_first: bool,
    /// Whom the regular slots go to.
    pub chooser: Chooser,
    /// Whose turn it is once everything is here.
    pub seed_order: SeedOrder,
    /// Use only peers given by hand and inbound ones: no PEX either.
    pub no_pex: bool,
}

impl SessionConfig {
    /// The defaults on an address.
    pub fn new(listen: SocketAddr, network: Network) -> Self {
        Self {
            listen,
            network,
            dht: DhtMode::Full,
            id_check: IdCheck::default(),
            bootstrap: Vec::new(),
            up: None,
            down: None,
            state_dir: None,
            max_connections: 200,
            upload_slots: 4,
            choke_interval: Duration::from_secs(10),
            optimistic_interval: None,
            optimistic_slots: 1,
            neighbours: 50,
            piece_order: PieceOrder::RarestFirst,
            upload: true,
            only_seeds: false,
            unsent_first: true,
            chooser: Chooser::default(),
            seed_order: SeedOrder::default(),
            no_pex: false,
        }
    }
}

/// Why a session could not start or take a torrent.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SessionError {
    /// The address cannot be bound.
    #[error("cannot listen on {addr} ({protocol}): {source}")]
    Bind {
        /// What was asked for.
        addr: SocketAddr,
        /// `TCP` or `UDP`.
        protocol: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// The system gives no thread to run in.
    #[error("cannot start a thread: {0}")]
    Threads(io::Error),
    /// The torrent is in this session already.
    #[error("torrent {0} was added already")]
    Exists(InfoHash),
    /// The session is shutting down.
    #[error("the session is shutting down")]
    Closed,
}

/// What to fetch or seed.
#[derive(Debug, Clone)]
pub enum TorrentSource {
    /// Everything is known.
    Metainfo(Arc<Metainfo>),
    /// A magnet link: metadata comes from peers.
    Magnet(Magnet),
}

/// A torrent to add.
#[derive(Clone)]
pub struct AddTorrent {
    /// What.
    pub source: TorrentSource,
    /// Where its paths start.
    pub output_dir: PathBuf,
    /// Peers known by hand.
    pub peers: Vec<SocketAddr>,
    /// Which files to fetch; `None` is all.
    pub select: Option<FileFilter>,
    /// The data was hashed just now (`share`): believe it.
    pub trusted: bool,
    /// What the torrent's file or directory is called in `output_dir` when that is not its name:
    /// data that is shared in place under another name.
    pub root: Option<OsString>,
}

impl AddTorrent {
    /// All files of `source` into `output_dir`.
    pub fn new(source: TorrentSource, output_dir: PathBuf) -> Self {
        Self {
            source,
            output_dir,
            peers: Vec::new(),
            select: None,
            trusted: false,
            root: None,
        }
    }
}

impl fmt::Debug for AddTorrent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AddTorrent")
            .field("source", &self.source)
            .field("output_dir", &self.output_dir)
            .field("peers", &self.peers)
            .field("select", &self.select.is_some())
            .field("trusted", &self.trusted)
            .field("root", &self.root)
            .finish()
    }
}

/// The process's node. Clones share it; when the last is dropped, it shuts down.
#[derive(Debug, Clone)]
pub struct Session {
    local: SocketAddr,
    dht: Option<DhtHandle>,
    commands: mpsc::Sender<Command>,
}

#[derive(Debug)]
enum Command {
    Add(
        Box<AddTorrent>,
        oneshot::Sender<Result<TorrentHandle, SessionError>>,
    ),
    Shutdown(oneshot::Sender<()>),
}

impl Session {
    /// Binds the sockets and starts the tasks.
    pub async fn start(config: SessionConfig) -> Result<Self, SessionError> {
        let listen = config.listen;
        let bind = sockets::bind(listen, config.dht != DhtMode::Off);
        let (tcp, udp) = bind.map_err(|BindError { protocol, source }| SessionError::Bind {
            addr: listen,
            protocol,
            source,
        })?;
        let failed = |source| SessionError::Bind {
            addr: listen,
            protocol: "TCP",
            source,
        };
        let local = tcp.local_addr().map_err(failed)?;
        let budgets = Budgets {
            connections: config.max_connections,
            up: config.up,
            down: config.down,
        }
        .fit_files(sockets::raise_open_files());
        info!(%local, network = %config.network, connections = budgets.connections, "session");

        let dht = match udp {
            Some(socket) => Some(start_dht(&config, socket).await.map_err(failed)?),
            None => None,
        };
        let (dht, dht_task) = dht.unzip();
        let connections = Arc::new(Semaphore::new(budgets.connections));
        let (routes, routes_watch) = watch::channel(Routes::new());
        let strangers = budgets.unhandshaken();
        let listener = Listener::new(tcp, routes_watch, connections.clone(), strangers);
        let (activity, activities) = mpsc::unbounded_channel();
        let around = Surroundings {
            network: config.network,
            local,
            dialer: Dialer::new(connections, local),
            dht: dht.clone(),
            activity,
        };
        let (commands, queue) = mpsc::channel(16);
        let mut listening = JoinSet::new();
        listening.spawn(listener.run());
        let node = Node {
            peer_id: PeerId::with_suffix(random()),
            config,
            budgets,
            around,
            pool: None,
            routes,
            torrents: HashMap::new(),
            tasks: JoinSet::new(),
            listening,
            dht: dht_task,
        };
        tokio::spawn(node.run(queue, activities));
        Ok(Self {
            local,
            dht,
            commands,
        })
    }

    /// Where TCP and UDP are bound.
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// Our DHT node, unless it is off.
    pub fn dht(&self) -> Option<&DhtHandle> {
        self.dht.as_ref()
    }

    /// Adds a torrent and starts it.
    pub async fn add(&self, torrent: AddTorrent) -> Result<TorrentHandle, SessionError> {
        let (reply, answer) = oneshot::channel();
        let command = Command::Add(Box::new(torrent), reply);
        let sent = self.commands.send(command).await;
        sent.map_err(|_| SessionError::Closed)?;
        answer.await.unwrap_or(Err(SessionError::Closed))
    }

    /// Stops torrents, flushes resume and DHT state, closes sockets.
    pub async fn shutdown(&self) {
        let (reply, answer) = oneshot::channel();
        if self.commands.send(Command::Shutdown(reply)).await.is_ok() {
            // Also when the session ended meanwhile.
            let _ = answer.await;
        }
    }
}

type DhtTaskHandle = (oneshot::Sender<()>, JoinHandle<()>);

async fn start_dht(
    config: &SessionConfig,
    socket: UdpSocket,
) -> io::Result<(DhtHandle, DhtTaskHandle)> {
    let node = DhtNode::builder(config.network)
        .id_check(config.id_check)
        .read_only(config.dht == DhtMode::ReadOnly)
        .bootstrap(config.bootstrap.iter().cloned())
        .state_dir(config.state_dir.clone());
    let started = node.spawn(socket).await?;
    Ok((started.handle, (started.stop, started.task)))
}

/// Bytes from the operating system.
///
/// # Panics
/// If the system has none: nothing that a node does is safe without.
fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    SysRng
        .try_fill_bytes(&mut bytes)
        .expect("the operating system gives random bytes");
    bytes
}
