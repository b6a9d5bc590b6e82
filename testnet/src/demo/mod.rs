//! The main job on one machine: a file travels from one node to N others that know nothing but its
//! magnet link, over real sockets, while each node's upload is limited.
//!
//! [`run`] makes the network, the file and the nodes, and measures; [`Report`] holds what was
//! measured beside the bounds of [`crate::bound`] and every quantity that they are computed from.
//! Nobody is given the address of anybody who has the file: discovery is the DHT's.

mod report;

use std::{
    fs::File,
    io::{self, Write},
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use mainswarm::{
    metainfo::{
        Magnet, Metainfo,
        create::{CreateError, PieceHasher, TorrentBuilder},
    },
    network::Network,
    session::{AddTorrent, Session, SessionConfig, SessionError, TorrentHandle, TorrentSource},
};
use rand::{Rng, SeedableRng, rngs::StdRng};
use tokio::{
    task::{JoinSet, spawn_blocking},
    time::{interval, sleep, timeout},
};

pub use report::{Bounds, PeerResult, Plan, Report};

use crate::{
    cpu::CpuMeter,
    live::{AddressRange, LiveError, LiveNetwork, same_bytes, stop_all},
};

/// Nodes that hold the DHT together beside the seed and its peers.
const DHT_NODES: usize = 16;

/// Beside the addresses of `testnet up`, which may run at the same time.
const ADDRESSES: &str = "127.2.0.0/16";

/// The file's name in the torrent.
const FILE: &str = "demo.bin";

/// How long the nodes may take to find each other.
const JOIN_LIMIT: Duration = Duration::from_secs(10);

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DemoError {
    /// The network did not start.
    #[error(transparent)]
    Network(#[from] LiveError),
    /// A node did not start or take the torrent.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// The size is beyond what a torrent can describe.
    #[error(transparent)]
    Torrent(#[from] CreateError),
    /// The file or a copy could not be written or read back.
    #[error("{path}: {source}; the demo needs {needed} bytes there, and TMPDIR moves it elsewhere")]
    File {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
        /// Room for the file and all copies.
        needed: u64,
    },
    /// The seed's announce found no node to hold it.
    #[error("no node stored the seed's announce within {0:?}; is this machine overloaded?")]
    NotAnnounced(Duration),
    /// Peers are stuck.
    #[error(
        "{done} of {peers} peers were done after {after:.0?}, the slowest had {have} of {pieces} \
         pieces; is this machine overloaded?"
    )]
    Stuck {
        /// Peers that had everything.
        done: usize,
        /// All of them.
        peers: usize,
        /// The time that they had.
        after: Duration,
        /// Pieces of the one with the fewest.
        have: u32,
        /// Pieces in all.
        pieces: u32,
    },
}

/// How far a run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// The file is being made and the network joined.
    Preparing,
    /// The peers fetch.
    Fetching {
        /// Bytes that are here and verified, of all peers together.
        bytes: u64,
        /// Peers that have everything.
        done: usize,
    },
    /// The copies are being compared.
    Comparing,
}

/// Runs the demo. Dropping the future stops it and removes what it made.
pub async fn run(plan: Plan, progress: impl Fn(Progress)) -> Result<Report, DemoError> {
    progress(Progress::Preparing);
    // Declared before the nodes and so removed after them: nobody writes to it any more.
    let dir = tempfile::Builder::new()
        .prefix("mainswarm-demo-")
        .tempdir()
        .map_err(|source| file_error(plan, &std::env::temp_dir(), source))?;
    let original = dir.path().join(FILE);
    let metainfo = make_file(plan, original.clone()).await?;
    let mut magnet = Magnet::new(metainfo.info_hash());
    magnet.name = Some(FILE.to_owned());

    let range: AddressRange = ADDRESSES.parse().unwrap_or(AddressRange::LOOPBACK);
    let network = LiveNetwork::start(range, 0, DHT_NODES).await?;
    network.joined(JOIN_LIMIT).await;
    let mut sessions = start_swarm(plan, range, &network).await?;
    let seeding = sessions[0].add(seed_torrent(metainfo, dir.path())).await?;
    announced(&seeding).await?;

    let cpu = CpuMeter::start();
    let fetched = fetch_all(plan, &sessions[1..], &magnet, dir.path(), &progress).await?;
    let cpu = cpu.share();
    // What was sent last is counted in the next status only.
    sleep(COUNTED).await;
    let seed_uploaded = seeding.status().borrow().stats.uploaded;
    stop_all(std::mem::take(&mut sessions)).await;
    network.shutdown().await;

    progress(Progress::Comparing);
    Ok(Report {
        plan,
        bounds: Bounds::of(&plan),
        magnet: magnet.to_string(),
        dht_nodes: DHT_NODES + plan.peers + 1,
        seed_uploaded,
        peers: compare_all(plan, fetched, original).await?,
        cpu,
    })
}

/// The seed and then the peers, each a full node on an address of its own.
async fn start_swarm(
    plan: Plan,
    range: AddressRange,
    network: &LiveNetwork,
) -> Result<Vec<Session>, DemoError> {
    let bootstrap: Vec<String> = network
        .bootstrap()
        .iter()
        .map(SocketAddr::to_string)
        .collect();
    let mut sessions = Vec::with_capacity(plan.peers + 1);
    let addresses = range.addresses().skip(DHT_NODES);
    for (index, ip) in addresses.take(plan.peers + 1).enumerate() {
        let mut config = SessionConfig::new(SocketAddr::new(ip.into(), 0), Network::Private);
        config.bootstrap = bootstrap.clone();
        config.up = Some(if index == 0 { plan.seed_up } else { plan.up });
        config.upload_slots = Plan::SLOTS;
        config.choke_interval = plan.choke_interval();
        sessions.push(Session::start(config).await?);
    }
    let joining = async {
        for dht in sessions.iter().filter_map(Session::dht) {
            dht.bootstrapped().await;
        }
    };
    // Whoever has not joined by then joins while it fetches, and its time shows it.
    let _ = timeout(JOIN_LIMIT, joining).await;
    Ok(sessions)
}

/// The seed's torrent: the file was hashed a moment ago.
fn seed_torrent(metainfo: Metainfo, dir: &Path) -> AddTorrent {
    let source = TorrentSource::Metainfo(Arc::new(metainfo));
    let mut torrent = AddTorrent::new(source, dir.to_owned());
    torrent.trusted = true;
    torrent
}

/// Waits until some node holds the seed's announce.
async fn announced(seeding: &TorrentHandle) -> Result<(), DemoError> {
    let mut status = seeding.status();
    let stored = status.wait_for(|status| status.lookups.announced > 0);
    match timeout(JOIN_LIMIT, stored).await {
        Ok(Ok(_)) => Ok(()),
        _ => Err(DemoError::NotAnnounced(JOIN_LIMIT)),
    }
}

/// A peer that has everything.
struct Fetched {
    peer: SocketAddr,
    copy: PathBuf,
    seconds: f64,
    torrent: TorrentHandle,
}

/// Gives every peer the magnet at once and waits for all.
async fn fetch_all(
    plan: Plan,
    peers: &[Session],
    magnet: &Magnet,
    dir: &Path,
    progress: &impl Fn(Progress),
) -> Result<Vec<Fetched>, DemoError> {
    let start = Instant::now();
    let mut torrents = Vec::with_capacity(peers.len());
    let mut waiting = JoinSet::new();
    for (index, session) in peers.iter().enumerate() {
        let home = dir.join(format!("peer-{}", index + 1));
        let source = TorrentSource::Magnet(magnet.clone());
        let torrent = session.add(AddTorrent::new(source, home.clone())).await?;
        torrents.push(torrent.clone());
        let peer = session.local_addr();
        waiting.spawn(async move {
            torrent.completed().await.then(|| Fetched {
                peer,
                copy: home.join(FILE),
                seconds: start.elapsed().as_secs_f64(),
                torrent,
            })
        });
    }
    let mut fetched = Vec::with_capacity(peers.len());
    let mut ticks = interval(Duration::from_millis(200));
    while fetched.len() < peers.len() {
        tokio::select! {
            Some(done) = waiting.join_next() => fetched.extend(done.ok().flatten()),
            _ = ticks.tick() => {}
        }
        let lost = waiting.len() + fetched.len() < peers.len();
        if lost || start.elapsed() > plan.limit() {
            return Err(stuck(&torrents, fetched.len(), start.elapsed()));
        }
        let bytes = torrents.iter().map(verified_bytes).sum();
        progress(Progress::Fetching {
            bytes,
            done: fetched.len(),
        });
    }
    Ok(fetched)
}

fn verified_bytes(torrent: &TorrentHandle) -> u64 {
    let stats = torrent.status().borrow().stats;
    stats.bytes_wanted.saturating_sub(stats.bytes_left)
}

fn stuck(torrents: &[TorrentHandle], done: usize, after: Duration) -> DemoError {
    let stats = torrents
        .iter()
        .map(|torrent| torrent.status().borrow().stats);
    let slowest = stats.min_by_key(|stats| stats.have).unwrap_or_default();
    DemoError::Stuck {
        done,
        peers: torrents.len(),
        after,
        have: slowest.have,
        pieces: slowest.pieces,
    }
}

/// Makes the file of random bytes, and its torrent.
async fn make_file(plan: Plan, path: PathBuf) -> Result<Metainfo, DemoError> {
    let builder = TorrentBuilder::file(FILE, plan.size)?;
    let mut hasher = PieceHasher::new(plan.piece_len());
    let target = path.clone();
    let make = move || {
        let mut file = File::create(&target)?;
        let mut random = StdRng::seed_from_u64(plan.seed);
        let mut chunk = vec![0; CHUNK];
        let mut left = plan.size;
        while left > 0 {
            let len = usize::try_from(left).map_or(CHUNK, |left| left.min(CHUNK));
            random.fill_bytes(&mut chunk[..len]);
            file.write_all(&chunk[..len])?;
            hasher.update(&chunk[..len]);
            left -= len as u64;
        }
        Ok(hasher.finish())
    };
    let hashes = blocking(make).await;
    let hashes = hashes.map_err(|source| file_error(plan, &path, source))?;
    Ok(builder.build(&hashes)?)
}

/// Compares every copy with the original; the results in the order of the peers' times.
async fn compare_all(
    plan: Plan,
    fetched: Vec<Fetched>,
    original: PathBuf,
) -> Result<Vec<PeerResult>, DemoError> {
    let mut peers = Vec::with_capacity(fetched.len());
    for Fetched {
        peer,
        copy,
        seconds,
        torrent,
    } in fetched
    {
        let paths = (original.clone(), copy.clone());
        let compared = blocking(move || same_bytes(&paths.0, &paths.1)).await;
        peers.push(PeerResult {
            peer,
            seconds,
            uploaded: torrent.status().borrow().stats.uploaded,
            identical: compared.map_err(|source| file_error(plan, &copy, source))?,
        });
    }
    peers.sort_by(|a, b| a.seconds.total_cmp(&b.seconds));
    Ok(peers)
}

/// Longer than a torrent waits before it publishes its status again.
const COUNTED: Duration = Duration::from_millis(600);
const CHUNK: usize = 1 << 20;

/// Runs file work where it stops no task.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    spawn_blocking(work).await.map_err(io::Error::other)?
}

fn file_error(plan: Plan, path: &Path, source: io::Error) -> DemoError {
    DemoError::File {
        path: path.to_owned(),
        source,
        needed: plan.size.saturating_mul(plan.peers as u64 + 1),
    }
}
