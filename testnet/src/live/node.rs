//! One node of a live run: what it is told and what it says.
//!
//! The same [`run`] serves as a task among others and as the whole of a process, which reads a
//! [`Spec`] and then an [`Order`] a line and writes a [`Said`] a line ([`run_process`]). A node ends
//! when its orders end, so that no process outlives whoever started it.

use std::{
    collections::BTreeSet,
    io,
    net::SocketAddr,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use mainswarm::{
    dht::{AnnouncePort, DhtEvent},
    ids::InfoHash,
    metainfo::Metainfo,
    network::Network,
    session::{
        AddTorrent, DhtHandle, DhtMode, LookupUpdate, Phase, Session, SessionConfig, TorrentHandle,
        TorrentSource,
    },
    torrent::{
        PieceOrder, TorrentEvent,
        chooser::{Chooser, SeedOrder},
    },
};
use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    sync::mpsc,
    task::JoinSet,
};

/// What a node is. Times are in seconds, rates in payload bytes per second.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Spec {
    /// Where it listens; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Whom it asks first.
    pub bootstrap: Vec<String>,
    /// Whether it is a node of the DHT.
    pub dht: bool,
    /// Where it finds and keeps its routing table.
    pub state_dir: Option<PathBuf>,
    /// Upload limit.
    pub up: Option<u64>,
    /// Download limit.
    pub down: Option<u64>,
    /// Whether it uploads at all.
    pub upload: bool,
    /// Whether it asks only peers that have everything.
    pub only_seeds: bool,
    /// Whether, as the only seed, it hands every piece out once before repeating any.
    pub unsent_first: bool,
    /// A seed serves who takes fastest.
    pub fastest_first: bool,
    /// Whether it uploads in proportion to what each peer gave.
    pub proportional: bool,
    /// Regular upload slots.
    pub slots: usize,
    /// Optimistic slots on top.
    pub optimistic_slots: usize,
    /// How often regular slots are decided.
    pub choke_interval: f64,
    /// How often optimistic slots move.
    pub optimistic_interval: f64,
    /// Connections of the torrent.
    pub neighbours: usize,
    /// Piece choice, as a scenario writes it.
    pub piece_order: String,
    /// The torrent it takes part in once it is told to join.
    pub torrent: Option<TorrentSpec>,
}

/// A node's torrent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TorrentSpec {
    /// The `.torrent` file.
    pub file: PathBuf,
    /// Begin with its info-hash alone.
    pub magnet: bool,
    /// Where the content is or goes.
    pub dir: PathBuf,
    /// Whether the content is there already.
    pub complete: bool,
}

impl Spec {
    /// A node of the DHT that takes part in no swarm.
    pub fn dht(listen: SocketAddr, bootstrap: Vec<String>) -> Self {
        Self {
            listen,
            bootstrap,
            dht: true,
            state_dir: None,
            up: None,
            down: None,
            upload: true,
            only_seeds: false,
            unsent_first: true,
            fastest_first: false,
            proportional: false,
            slots: 4,
            optimistic_slots: 1,
            choke_interval: 10.0,
            optimistic_interval: 30.0,
            neighbours: 50,
            piece_order: piece_order_name(PieceOrder::RarestFirst).to_owned(),
            torrent: None,
        }
    }

    fn config(&self) -> SessionConfig {
        let mut config = SessionConfig::new(self.listen, Network::Private);
        config.dht = if self.dht {
            DhtMode::Full
        } else {
            DhtMode::Off
        };
        config.bootstrap.clone_from(&self.bootstrap);
        config.state_dir.clone_from(&self.state_dir);
        (config.up, config.down) = (self.up, self.down);
        config.upload = self.upload;
        config.only_seeds = self.only_seeds;
        config.unsent_first = self.unsent_first;
        if self.fastest_first {
            config.seed_order = SeedOrder::Fastest;
        }
        if self.proportional {
            config.chooser = Chooser::Proportional;
        }
        config.upload_slots = self.slots;
        config.optimistic_slots = self.optimistic_slots;
        config.choke_interval = Duration::from_secs_f64(self.choke_interval);
        config.optimistic_interval = Some(Duration::from_secs_f64(self.optimistic_interval));
        config.neighbours = self.neighbours;
        config.max_connections = config.max_connections.max(self.neighbours);
        config.piece_order = piece_order(&self.piece_order);
        config
    }
}

/// As a scenario writes it.
pub(super) fn piece_order_name(order: PieceOrder) -> &'static str {
    match order {
        PieceOrder::RarestFirst => "rarest-first",
        PieceOrder::Random => "random",
        PieceOrder::Sequential => "sequential",
    }
}

fn piece_order(name: &str) -> PieceOrder {
    let known = [PieceOrder::Random, PieceOrder::Sequential];
    let found = known
        .into_iter()
        .find(|order| piece_order_name(*order) == name);
    found.unwrap_or_default()
}

/// What a node is told to do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "order", rename_all = "snake_case")]
pub enum Order {
    /// Enter the swarm.
    Join {
        /// Peers to begin with.
        peers: Vec<SocketAddr>,
    },
    /// A node of the DHT lives here.
    Meet {
        /// Its address.
        node: SocketAddr,
    },
    /// Announce ourselves for this key.
    Announce {
        /// The key.
        key: InfoHashText,
    },
    /// Look this key up.
    Lookup {
        /// Told back with the result.
        number: u64,
        /// The key.
        key: InfoHashText,
        /// Who announced it.
        want: SocketAddr,
    },
}

/// An info-hash as 40 hexadecimal digits.
pub type InfoHashText = String;

/// What a node says. Times in seconds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Said {
    /// It runs.
    Listening {
        /// Where.
        addr: SocketAddr,
    },
    /// It cannot do what it was told.
    Failed {
        /// Why.
        why: String,
    },
    /// Its routing table is usable.
    Bootstrapped {
        /// Since it started.
        seconds: f64,
    },
    /// It has eight live contacts.
    Connected,
    /// Nobody it asked has answered.
    BootstrapFailed,
    /// Nodes hold its torrent's announce.
    Announced,
    /// How its torrent goes.
    Progress {
        /// Pieces that are here.
        have: u32,
        /// Payload sent, bytes.
        uploaded: u64,
    },
    /// It has every piece.
    Complete {
        /// Since it was told to join.
        seconds: f64,
    },
    /// It will not speak to a peer again.
    Banned {
        /// The peer.
        peer: SocketAddr,
        /// Since it joined.
        seconds: f64,
    },
    /// It holds somebody's announce.
    Stored {
        /// The key.
        key: InfoHashText,
    },
    /// Its announce of a key has ended.
    KeyAnnounced {
        /// The key.
        key: InfoHashText,
        /// Nodes that took it.
        nodes: u32,
    },
    /// Queries that its DHT node has received so far.
    Queries {
        /// How many.
        received: u64,
    },
    /// A lookup has ended.
    Found(Found),
    /// It has ended.
    Gone {
        /// The process's largest resident memory, bytes; 0 for one that shares a process.
        peak_memory: u64,
    },
}

/// What a lookup came to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Found {
    /// The order's number.
    pub number: u64,
    /// Whether the announcer was among what was found.
    pub success: bool,
    /// When the first peer came.
    pub first: Option<f64>,
    /// When it ended.
    pub seconds: f64,
    /// Queries sent.
    pub asked: u32,
    /// Depth of referrals up to the first peer, or of all if there was none.
    pub hops: u32,
}

/// Runs a node until its orders end.
pub async fn run(
    spec: Spec,
    mut orders: mpsc::UnboundedReceiver<Order>,
    said: mpsc::UnboundedSender<Said>,
) {
    // Whoever listens no more has ended, and so have the orders.
    let say = |what| drop(said.send(what));
    let session = match Session::start(spec.config()).await {
        Ok(session) => session,
        Err(error) => {
            return say(Said::Failed {
                why: error.to_string(),
            });
        }
    };
    say(Said::Listening {
        addr: session.local_addr(),
    });
    let mut tasks = JoinSet::new();
    if let Some(dht) = session.dht() {
        tasks.spawn(watch_dht(dht.clone(), said.clone()));
    }
    while let Some(order) = orders.recv().await {
        match (order, session.dht()) {
            (Order::Join { peers }, _) => match join(&spec, &session, peers).await {
                Ok(handle) => {
                    tasks.spawn(watch_torrent(handle, said.clone()));
                }
                Err(why) => say(Said::Failed { why }),
            },
            (_, None) => say(Said::Failed {
                why: "this node has no DHT".into(),
            }),
            (Order::Meet { node }, Some(dht)) => dht.add_node(node),
            (Order::Announce { key }, Some(dht)) => {
                let port = session.local_addr().port();
                tasks.spawn(announce(dht.clone(), key, port, said.clone()));
            }
            (Order::Lookup { number, key, want }, Some(dht)) => {
                tasks.spawn(look_up(dht.clone(), (number, key, want), said.clone()));
            }
        }
    }
    tasks.abort_all();
    session.shutdown().await;
}

async fn join(
    spec: &Spec,
    session: &Session,
    peers: Vec<SocketAddr>,
) -> Result<TorrentHandle, String> {
    let torrent = spec.torrent.as_ref().ok_or("this node has no torrent")?;
    let file = torrent.file.clone();
    let bytes = std::fs::read(&file).map_err(|error| format!("{}: {error}", file.display()))?;
    let metainfo = Metainfo::from_torrent(&bytes).map_err(|error| error.to_string())?;
    let source = if torrent.magnet && !torrent.complete {
        TorrentSource::Magnet(metainfo.magnet())
    } else {
        TorrentSource::Metainfo(Arc::new(metainfo))
    };
    let mut add = AddTorrent::new(source, torrent.dir.clone());
    add.trusted = torrent.complete;
    add.peers = peers;
    session.add(add).await.map_err(|error| error.to_string())
}

/// A simulated node counts as connected by as many: a table with fewer cannot hold a key's eight.
const CONTACTS: usize = 8;

/// Says what concerns others of a DHT node.
async fn watch_dht(dht: DhtHandle, said: mpsc::UnboundedSender<Said>) {
    let started = Instant::now();
    let mut events = dht.events();
    let mut stats = dht.stats();
    let mut ticks = tokio::time::interval(QUERIES_EVERY);
    let (mut usable, mut connected) = (false, false);
    let ready = dht.bootstrapped();
    tokio::pin!(ready);
    loop {
        let what = tokio::select! {
            done = &mut ready, if !usable => {
                usable = true;
                done.then(|| Said::Bootstrapped { seconds: started.elapsed().as_secs_f64() })
            }
            changed = stats.changed(), if !connected => {
                if changed.is_err() {
                    return;
                }
                connected = stats.borrow_and_update().good >= CONTACTS;
                connected.then_some(Said::Connected)
            }
            _ = ticks.tick() => {
                let received = stats.borrow().queries_received;
                Some(Said::Queries { received })
            }
            event = events.recv() => match event {
                Ok(DhtEvent::BootstrapFailed { .. }) => Some(Said::BootstrapFailed),
                Ok(DhtEvent::AnnounceStored { info_hash, .. }) => {
                    Some(Said::Stored { key: info_hash.to_string() })
                }
                Ok(_) | Err(tokio::sync::broadcast::error::RecvError::Lagged(_)) => None,
                Err(tokio::sync::broadcast::error::RecvError::Closed) => return,
            },
        };
        if let Some(what) = what
            && said.send(what).is_err()
        {
            return;
        }
    }
}

/// Often enough for a share of all traffic, seldom enough for a thousand nodes.
const QUERIES_EVERY: Duration = Duration::from_secs(5);

/// Says how a torrent goes, until its session ends.
async fn watch_torrent(handle: TorrentHandle, said: mpsc::UnboundedSender<Said>) {
    let joined = Instant::now();
    let (mut status, mut events) = (handle.status(), handle.events());
    let (mut announced, mut complete) = (false, false);
    loop {
        let what = tokio::select! {
            changed = status.changed() => {
                if changed.is_err() {
                    return;
                }
                let status = status.borrow_and_update().clone();
                let seconds = joined.elapsed().as_secs_f64();
                let mut whats = vec![Said::Progress {
                    have: status.stats.have,
                    uploaded: status.stats.uploaded,
                }];
                if !announced && status.lookups.announced > 0 {
                    announced = true;
                    whats.push(Said::Announced);
                }
                match status.phase {
                    Phase::Seeding if !complete => {
                        complete = true;
                        whats.push(Said::Complete { seconds });
                    }
                    Phase::Paused(fault) => whats.push(Said::Failed { why: fault.text.to_string() }),
                    _ => {}
                }
                whats
            }
            event = events.recv() => match event {
                Ok(TorrentEvent::PeerBanned { addr, .. }) => vec![Said::Banned {
                    peer: addr,
                    seconds: joined.elapsed().as_secs_f64(),
                }],
                Ok(_) | Err(tokio::sync::broadcast::error::RecvError::Lagged(_)) => Vec::new(),
                Err(tokio::sync::broadcast::error::RecvError::Closed) => return,
            },
        };
        for what in what {
            if said.send(what).is_err() {
                return;
            }
        }
    }
}

async fn announce(dht: DhtHandle, key: String, port: u16, said: mpsc::UnboundedSender<Said>) {
    let Some(info_hash) = parse_key(&key, &said) else {
        return;
    };
    let mut updates = dht.announce(info_hash, AnnouncePort::Explicit(port));
    while let Some(update) = updates.recv().await {
        if let LookupUpdate::Done(stats, _) = update {
            let nodes = stats.announced;
            let _ = said.send(Said::KeyAnnounced { key, nodes });
            return;
        }
    }
}

async fn look_up(
    dht: DhtHandle,
    (number, key, want): (u64, String, SocketAddr),
    said: mpsc::UnboundedSender<Said>,
) {
    let Some(info_hash) = parse_key(&key, &said) else {
        return;
    };
    let started = Instant::now();
    let mut peers = BTreeSet::new();
    let mut first = None;
    let mut updates = dht.get_peers(info_hash);
    while let Some(update) = updates.recv().await {
        match update {
            LookupUpdate::Peers(found) => {
                first = first.or_else(|| Some(started.elapsed().as_secs_f64()));
                peers.extend(found);
            }
            LookupUpdate::Done(stats, _) => {
                let found = Found {
                    number,
                    success: peers.contains(&want),
                    first,
                    seconds: started.elapsed().as_secs_f64(),
                    asked: stats.asked,
                    hops: stats.first_peer_hops.unwrap_or(stats.hops),
                };
                let _ = said.send(Said::Found(found));
                return;
            }
        }
    }
}

fn parse_key(key: &str, said: &mpsc::UnboundedSender<Said>) -> Option<InfoHash> {
    let parsed = key.parse();
    if parsed.is_err() {
        let why = format!("`{key}` is no info-hash");
        let _ = said.send(Said::Failed { why });
    }
    parsed.ok()
}

/// The whole of a process that is one node: its [`Spec`] and orders come on stdin, what it says
/// goes to stdout.
pub async fn run_process() -> io::Result<()> {
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    let first = lines.next_line().await?.unwrap_or_default();
    let spec: Spec = serde_json::from_str(&first).map_err(io::Error::other)?;
    let (orders, order_queue) = mpsc::unbounded_channel();
    let (said, mut sayings) = mpsc::unbounded_channel();
    let reading = async move {
        while let Some(line) = lines.next_line().await? {
            let order = serde_json::from_str(&line).map_err(io::Error::other)?;
            // A node that could not start has said so.
            let _ = orders.send(order);
        }
        drop(orders);
        std::future::pending::<io::Result<()>>().await
    };
    let writing = async move {
        let mut out = tokio::io::stdout();
        while let Some(what) = sayings.recv().await {
            let line = serde_json::to_string(&what).map_err(io::Error::other)?;
            out.write_all(format!("{line}\n").as_bytes()).await?;
            out.flush().await?;
        }
        Ok::<_, io::Error>(())
    };
    let peak = said.clone();
    let running = async move {
        run(spec, order_queue, said).await;
        let peak_memory = crate::cpu::peak_memory();
        let _ = peak.send(Said::Gone { peak_memory });
        drop(peak);
    };
    let whole = async {
        let (_, written) = tokio::join!(running, writing);
        written
    };
    tokio::select! {
        result = reading => result,
        result = whole => result,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_process_reads_and_writes_is_a_line_each() {
        let spec = Spec::dht("127.0.0.1:0".parse().unwrap(), vec!["127.0.0.2:1".into()]);
        let line = serde_json::to_string(&spec).unwrap();
        assert!(!line.contains('\n'));
        assert_eq!(serde_json::from_str::<Spec>(&line).unwrap(), spec);
        let order = Order::Lookup {
            number: 7,
            key: "c12fe1c06bba254a9dc9f519b335aa7c1367a88a".into(),
            want: "127.0.0.1:5".parse().unwrap(),
        };
        let line = serde_json::to_string(&order).unwrap();
        assert_eq!(serde_json::from_str::<Order>(&line).unwrap(), order);
        let said = Said::Found(Found {
            number: 7,
            success: true,
            first: Some(0.25),
            seconds: 0.5,
            asked: 9,
            hops: 2,
        });
        let line = serde_json::to_string(&said).unwrap();
        assert!(line.starts_with(r#"{"event":"found","number":7"#), "{line}");
        assert_eq!(serde_json::from_str::<Said>(&line).unwrap(), said);
        for order in [
            PieceOrder::RarestFirst,
            PieceOrder::Random,
            PieceOrder::Sequential,
        ] {
            assert_eq!(piece_order(piece_order_name(order)), order);
        }
    }
}
