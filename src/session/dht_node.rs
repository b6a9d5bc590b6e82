//! A DHT node of its own: one UDP socket and one task, without torrents.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use mainswarm::{network::Network, session::{DhtNode, LookupUpdate}};
//!
//! let node = DhtNode::builder(Network::Mainline).read_only(true).start().await?;
//! let mut updates = node.handle().get_peers("c12fe1c06bba254a9dc9f519b335aa7c1367a88a".parse()?);
//! while let Some(update) = updates.recv().await {
//!     if let LookupUpdate::Peers(peers) = update {
//!         println!("{peers:?}");
//!     }
//! }
//! node.shutdown().await;
//! # Ok(())
//! # }
//! ```

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    time::Instant,
};

use tokio::{net::UdpSocket, sync::oneshot, task::JoinHandle};
use tracing::warn;

use super::{SessionError, random};
use crate::{
    compact::Family,
    dht::{Dht, DhtConfig, IdCheck},
    net::{
        dht_state::DhtStateFile,
        dht_task::{DhtHandle, DhtStart, DhtTask},
        resolve::{self, MAINLINE_ROUTERS},
        sockets,
    },
    network::Network,
};

/// How a [`DhtNode`] starts.
#[derive(Debug, Clone)]
pub struct DhtBuilder {
    listen: SocketAddr,
    network: Network,
    id_check: IdCheck,
    read_only: bool,
    bootstrap: Vec<String>,
    alone: bool,
    state_dir: Option<PathBuf>,
}

impl DhtBuilder {
    /// The UDP address to bind. By default any free port of `0.0.0.0`; an IPv6 address makes a node
    /// of the IPv6 DHT (BEP 32), which is another network.
    #[must_use]
    pub fn listen(mut self, addr: SocketAddr) -> Self {
        self.listen = addr;
        self
    }

    /// BEP 43: ask and announce only, answer nothing. For nodes that stay for minutes.
    #[must_use]
    pub fn read_only(mut self, read_only: bool) -> Self {
        self.read_only = read_only;
        self
    }

    /// What to make of ids that do not follow from addresses (BEP 42).
    #[must_use]
    pub fn id_check(mut self, check: IdCheck) -> Self {
        self.id_check = check;
        self
    }

    /// The nodes to start from, as `host:port`. Without any, those of an earlier run and, on
    /// Mainline, the public routers.
    #[must_use]
    pub fn bootstrap(mut self, nodes: impl IntoIterator<Item = String>) -> Self {
        self.bootstrap.extend(nodes);
        self
    }

    /// Start from nobody and keep nothing: for a node that only asks addresses it is given.
    #[must_use]
    pub fn alone(mut self) -> Self {
        self.alone = true;
        self
    }

    /// Where the id and the nodes that are known are kept between runs.
    #[must_use]
    pub fn state_dir(mut self, dir: Option<PathBuf>) -> Self {
        self.state_dir = dir;
        self
    }

    /// Binds the socket and starts.
    pub async fn start(self) -> Result<DhtNode, SessionError> {
        let failed = |source| SessionError::Bind {
            addr: self.listen,
            protocol: "UDP",
            source,
        };
        let socket = sockets::bind_udp(self.listen).map_err(failed)?;
        let local = socket.local_addr().map_err(failed)?;
        let started = self.spawn(socket).await.map_err(failed)?;
        Ok(DhtNode { local, started })
    }

    pub(super) async fn spawn(&self, socket: UdpSocket) -> io::Result<Started> {
        let network = self.network;
        let opened = match self.state_dir.clone().filter(|_| !self.alone) {
            Some(dir) => {
                let open = move || DhtStateFile::open(&dir, network);
                tokio::task::spawn_blocking(open).await.ok()
            }
            None => None,
        };
        let (file, saved) = opened.unzip();
        let saved = saved.unwrap_or_default();
        let mut config = DhtConfig::new(network, Family::of(&socket.local_addr()?));
        config.node_id = saved.id;
        config.id_check = self.id_check;
        config.read_only = self.read_only;
        let core = Dht::new(config, random(), Instant::now());
        let contacts = self.contacts();
        let starts = contacts.len() + saved.contacts.len();
        let start = DhtStart {
            contacts,
            saved,
            file,
        };
        let task = DhtTask::new(core, network, socket, start)?;
        let handle = task.handle();
        let (stop, stopped) = oneshot::channel();
        Ok(Started {
            handle,
            starts,
            stop,
            task: tokio::spawn(task.run(stopped)),
        })
    }

    fn contacts(&self) -> Vec<resolve::Contact> {
        let defaults = MAINLINE_ROUTERS.map(str::to_owned);
        let entries = match self.network {
            _ if self.alone => &[],
            Network::Mainline if self.bootstrap.is_empty() => &defaults[..],
            _ => &self.bootstrap,
        };
        let parse = |entry: &String| {
            let contact = resolve::Contact::parse(entry);
            if contact.is_none() {
                warn!(entry = %entry.escape_debug(), "not HOST:PORT; this bootstrap entry is ignored");
            }
            contact
        };
        entries.iter().filter_map(parse).collect()
    }
}

/// A node's task, and how to end it.
#[derive(Debug)]
pub(super) struct Started {
    pub(super) handle: DhtHandle,
    /// How many nodes it was given to start from.
    starts: usize,
    pub(super) stop: oneshot::Sender<()>,
    pub(super) task: JoinHandle<()>,
}

/// A DHT node without torrents. When it is dropped, it stops; [`Self::shutdown`] waits for that.
#[derive(Debug)]
pub struct DhtNode {
    local: SocketAddr,
    started: Started,
}

impl DhtNode {
    /// A full node of this network on any free port, unless told otherwise.
    pub fn builder(network: Network) -> DhtBuilder {
        DhtBuilder {
            listen: SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
            network,
            id_check: IdCheck::default(),
            read_only: false,
            bootstrap: Vec::new(),
            alone: false,
            state_dir: None,
        }
    }

    /// What can be asked of it.
    pub fn handle(&self) -> &DhtHandle {
        &self.started.handle
    }

    /// Where its socket is bound.
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// How many nodes it was given to start from: names of routers, and nodes of an earlier run.
    pub fn starts(&self) -> usize {
        self.started.starts
    }

    /// Saves its state, if that is kept, and ends.
    pub async fn shutdown(self) {
        let _ = self.started.stop.send(());
        // A task that panicked has said so.
        let _ = self.started.task.await;
    }
}
