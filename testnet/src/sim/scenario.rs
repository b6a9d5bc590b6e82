//! Whole experiments: a swarm that fetches one torrent, and a DHT that grows and is searched.

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use mainswarm::{
    ids::{InfoHash, PeerId},
    network::Network,
    torrent::{PieceOrder, TorrentConfig},
};

use super::{
    Content, LinkConfig, NodeConfig, PeerConfig, World, WorldConfig,
    hash::{draw, exponential, seed_bytes},
    report::{LookupReport, PeerReport, SwarmReport},
};
use crate::bound;

/// How peers find each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Discovery {
    /// Each is told of up to fifty others that joined before it.
    Told,
    /// By the DHT, from one router.
    Dht,
}

/// A flash crowd around one seed.
#[derive(Debug, Clone)]
pub struct Swarm {
    /// Everything that is random follows from it.
    pub seed: u64,
    /// Peers that begin with nothing.
    pub peers: usize,
    /// Pieces of the torrent.
    pub pieces: u32,
    /// The length of a piece in bytes.
    pub piece_len: u32,
    /// The first seed's uplink in bytes per second.
    pub seed_up: u64,
    /// Everybody else's uplink.
    pub peer_up: u64,
    /// Everybody's downlink; `None` is without limit.
    pub down: Option<u64>,
    /// They join one by one, evenly over this time.
    pub arrivals: Duration,
    /// Piece choice.
    pub order: PieceOrder,
    /// The share of a tit-for-tat client's 10 s and 30 s that the choker's intervals have.
    pub choker_scale: f64,
    /// The last so many of the peers upload nothing.
    pub free_riders: usize,
    /// The first so many of the peers leave half-way: when the seed alone could have sent half the
    /// content to each.
    pub leavers: usize,
    /// So many more peers, complete from the start, that serve blocks with a bit wrong.
    pub block_liars: usize,
    /// So many more peers, complete from the start, whose uplink gives a block in a quarter of an
    /// hour.
    pub stallers: usize,
    /// So many more peers, complete from the start, that serve metadata with a bit wrong.
    pub metadata_liars: usize,
    /// Uplinks of the peers, in turn, over [`Self::peer_up`].
    pub classes: &'static [f64],
    /// Sets what a member's core does; the first seed is 0, the peers follow from 1.
    pub tune: fn(usize, &mut TorrentConfig),
    /// Begin with the info-hash alone.
    pub magnet: bool,
    /// How they find each other.
    pub discovery: Discovery,
    /// The wires.
    pub links: LinkConfig,
    /// The virtual time at which to give up.
    pub limit: Duration,
}

impl Swarm {
    /// Fifty peers at 100 kB/s around a seed of the same uplink, 128 pieces of 32 KiB.
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            peers: 50,
            pieces: 128,
            piece_len: 32 * 1024,
            seed_up: 200_000,
            peer_up: 100_000,
            down: None,
            arrivals: Duration::from_secs(1),
            order: PieceOrder::RarestFirst,
            choker_scale: 1.0,
            free_riders: 0,
            leavers: 0,
            block_liars: 0,
            stallers: 0,
            metadata_liars: 0,
            classes: &[1.0],
            tune: |_, _| {},
            magnet: false,
            discovery: Discovery::Told,
            links: LinkConfig::constant(Duration::from_millis(20)),
            limit: Duration::from_secs(7_200),
        }
    }

    /// Runs it.
    pub fn run(&self) -> SwarmReport {
        #[allow(
            clippy::disallowed_methods,
            reason = "the wall time of a run is reported beside it"
        )]
        let began = Instant::now();
        let content = Content::generate(self.seed, self.pieces, self.piece_len);
        let mut world = World::new(WorldConfig {
            seed: self.seed,
            links: self.links,
            network: Network::Private,
            threads: 1,
        });
        let mut crowd = Crowd {
            swarm: self,
            content: &content,
            router: None,
            members: Vec::new(),
        };
        crowd.gather(&mut world);
        let length = content.metainfo.geometry().total_len() as f64;
        let leave_at = Duration::from_secs_f64(length / 2.0 / self.seed_up as f64);
        let first = self.first_peer();
        if self.leavers > 0 {
            world.run_until(world.now().max(leave_at));
            for (node, _) in &crowd.members[first..first + self.leavers] {
                world.leave(*node);
            }
        }
        let stayed = |world: &World| {
            crowd.members[first + self.leavers..]
                .iter()
                .all(|(node, _)| finished(world, *node).is_some())
        };
        let mut seen = usize::MAX;
        world.run_while(self.limit, |world| {
            // A walk over the peers only when another has finished.
            let more = world.completed() != seen;
            seen = world.completed();
            !(more && stayed(world))
        });
        self.report(&world, &crowd, length, began.elapsed())
    }

    /// The members before are the first seed, the attackers and the stallers.
    fn first_peer(&self) -> usize {
        1 + self.block_liars + self.metadata_liars + self.stallers
    }

    /// A peer's uplink, bytes per second.
    fn up_of(&self, peer: usize) -> u64 {
        let class = self.classes[peer % self.classes.len()];
        (self.peer_up as f64 * class) as u64
    }

    fn report(&self, world: &World, crowd: &Crowd, length: f64, wall: Duration) -> SwarmReport {
        let first = self.first_peer();
        let riders = crowd.members.len() - self.free_riders;
        let peers: Vec<_> = crowd.members[1..]
            .iter()
            .zip(1..)
            .map(|((node, _), at)| {
                let log = world.node(*node).torrents()[0].log().clone();
                PeerReport {
                    node: *node,
                    free_rider: at >= riders,
                    left: (first..first + self.leavers).contains(&at),
                    attacker: at < first,
                    took: log.completed.map(|at| at.saturating_sub(log.added)),
                    sent: world.sent_bytes(*node),
                    log,
                }
            })
            .collect();
        let up = |(at, peer): (usize, &PeerReport)| {
            if peer.free_rider {
                0.0
            } else {
                self.up_of(at) as f64
            }
        };
        let honest = peers.iter().filter(|peer| !peer.attacker);
        let ups: Vec<f64> = honest.enumerate().map(up).collect();
        let us = self.seed_up as f64;
        let down = self.down.map_or(f64::INFINITY, |rate| rate as f64);
        SwarmReport {
            seed: self.seed,
            lb: Duration::from_secs_f64(bound::lb(length, self.pieces, us, &ups, down)),
            fluid: Duration::from_secs_f64(bound::p2p_fluid(length, us, &ups, down)),
            seed_copies: world.sent_bytes(crowd.members[0].0) as f64 / length,
            peers,
            counts: world.counts(),
            trace: world.trace(),
            ended: world.now(),
            wall,
        }
    }
}

/// The members of a swarm: the first seed, then attackers, then the peers.
struct Crowd<'a> {
    swarm: &'a Swarm,
    content: &'a Arc<Content>,
    router: Option<SocketAddr>,
    members: Vec<(u32, SocketAddr)>,
}

impl Crowd<'_> {
    fn gather(&mut self, world: &mut World) {
        let swarm = self.swarm;
        if swarm.discovery == Discovery::Dht {
            let router = world.add_node(NodeConfig {
                dht: Some(Vec::new()),
                ..NodeConfig::default()
            });
            self.router = Some(world.addr(router));
        }
        self.join(world, swarm.seed_up, |peer| {
            peer.complete = true;
            (swarm.tune)(0, &mut peer.torrent);
        });
        for _ in 0..swarm.block_liars {
            self.join(world, swarm.peer_up, |peer| {
                (peer.complete, peer.corrupt_blocks) = (true, true);
            });
        }
        for _ in 0..swarm.metadata_liars {
            self.join(world, swarm.peer_up, |peer| {
                (peer.complete, peer.corrupt_metadata) = (true, true);
            });
        }
        for _ in 0..swarm.stallers {
            self.join(world, STALLED, |peer| peer.complete = true);
        }
        let pause = swarm.arrivals / swarm.peers.max(1) as u32;
        for at in 0..swarm.peers {
            world.run_for(pause);
            self.join(world, swarm.up_of(at), |peer| {
                peer.magnet = swarm.magnet;
                (swarm.tune)(at + 1, &mut peer.torrent);
                peer.torrent.upload = at < swarm.peers - swarm.free_riders;
            });
        }
    }

    fn join(&mut self, world: &mut World, up: u64, set: impl FnOnce(&mut PeerConfig)) {
        let swarm = self.swarm;
        let node = world.add_node(NodeConfig {
            dht: self.router.map(|router| vec![router]),
            up: Some(up),
            down: swarm.down,
            ..NodeConfig::default()
        });
        let mut torrent = TorrentConfig::new(PeerId::with_suffix([0; 12]), Network::Private);
        torrent.piece_order = swarm.order;
        torrent.choke_interval = torrent.choke_interval.mul_f64(swarm.choker_scale);
        torrent.optimistic_interval = torrent.optimistic_interval.mul_f64(swarm.choker_scale);
        let mut peer = PeerConfig::new(self.content.clone(), torrent);
        set(&mut peer);
        peer.discover = self.router.is_some();
        if self.router.is_none() {
            peer.candidates = self.some_members();
        }
        world.add_torrent(node, peer);
        self.members.push((node, world.addr(node)));
    }

    /// The first seed, and others at random.
    fn some_members(&self) -> Vec<SocketAddr> {
        let mut addrs: Vec<_> = self.members.iter().map(|(_, addr)| *addr).collect();
        let words = |at: usize| [self.swarm.seed, TOLD, self.members.len() as u64, at as u64];
        for at in 1..addrs.len() {
            let with = at + (draw(&words(at)) % (addrs.len() - at) as u64) as usize;
            addrs.swap(at, with);
        }
        addrs.truncate(50);
        addrs
    }
}

fn finished(world: &World, node: u32) -> Option<Duration> {
    world.node(node).torrents().first()?.log().completed
}

/// A DHT that grows from one router.
#[derive(Debug, Clone)]
pub struct ColdDht {
    /// Everything that is random follows from it.
    pub seed: u64,
    /// Nodes, the router included.
    pub nodes: u32,
    /// They join one by one, evenly over this time.
    pub arrivals: Duration,
    /// The wires.
    pub links: LinkConfig,
    /// Private addresses, or global ones.
    pub network: Network,
}

impl ColdDht {
    /// A private network over the simulated Internet, all joining within a minute.
    pub fn new(seed: u64, nodes: u32) -> Self {
        Self {
            seed,
            nodes,
            arrivals: Duration::from_secs(60),
            links: LinkConfig::internet(),
            network: Network::Private,
        }
    }

    /// Lets everybody join, and gives the tables `settle` more time.
    pub fn grow(&self, settle: Duration) -> World {
        let mut world = World::new(WorldConfig {
            seed: self.seed,
            links: self.links,
            network: self.network,
            threads: 1,
        });
        let router = world.add_node(NodeConfig {
            dht: Some(Vec::new()),
            ..NodeConfig::default()
        });
        let routers = vec![world.addr(router)];
        for _ in 1..self.nodes {
            world.run_for(self.arrivals / self.nodes);
            world.add_node(NodeConfig {
                dht: Some(routers.clone()),
                ..NodeConfig::default()
            });
        }
        world.run_for(settle);
        world
    }
}

/// Lets nodes come and go for `time`: each stays for an exponentially distributed session with this
/// median, vanishes without a word, and another joins in its place by the router, node 0, which
/// stays.
pub fn churn(world: &mut World, seed: u64, median: Duration, time: Duration) {
    let session = |node: u32| median.mul_f64(exponential(draw(&[seed, SESSION, u64::from(node)])));
    let end = world.now() + time;
    let routers = vec![world.addr(0)];
    let mut ends: BTreeSet<(Duration, u32)> = (1..world.nodes().len() as u32)
        .filter(|node| world.node(*node).is_up())
        .map(|node| (world.now() + session(node), node))
        .collect();
    while let Some((at, node)) = ends.pop_first().filter(|(at, _)| *at <= end) {
        world.run_until(at);
        world.crash(node);
        let newcomer = world.add_node(NodeConfig {
            dht: Some(routers.clone()),
            ..NodeConfig::default()
        });
        ends.insert((at + session(newcomer), newcomer));
    }
    world.run_until(end);
}

/// Has `count` nodes announce a key of their own each and, a little later, as many others look for
/// one of the keys each. Nodes that are gone take no part. Gives pairs of lookup records.
pub fn announce_and_look_up(world: &mut World, seed: u64, count: usize) -> Vec<(usize, usize)> {
    let up: Vec<u32> = (0..world.nodes().len() as u32)
        .filter(|node| world.node(*node).is_up())
        .collect();
    let pick =
        |what: u64, at: usize| up[(draw(&[seed, what, at as u64]) % up.len() as u64) as usize];
    let mut pairs = Vec::new();
    for at in 0..count {
        let key = InfoHash::new(key_bytes(seed, at));
        pairs.push((world.announce(pick(ANNOUNCER, at), key), at));
        world.run_for(SPACING);
    }
    world.run_for(LOOKUP_TIME);
    for (at, (announce, lookup)) in pairs.iter_mut().enumerate() {
        let announcer = world.lookups()[*announce].node;
        let mut seeker = pick(SEEKER, at);
        if seeker == announcer {
            seeker = up[(at + 1) % up.len()];
        }
        *lookup = world.get_peers(seeker, InfoHash::new(key_bytes(seed, at)));
        world.run_for(SPACING);
    }
    world.run_for(LOOKUP_TIME);
    pairs
}

/// [`announce_and_look_up`], summed up.
pub fn measure_lookups(world: &mut World, seed: u64, count: usize) -> LookupReport {
    let pairs = announce_and_look_up(world, seed, count);
    LookupReport::new(world, &pairs)
}

fn key_bytes(seed: u64, at: usize) -> [u8; 20] {
    let mut key = [0; 20];
    key.copy_from_slice(&seed_bytes(&[seed, KEY, at as u64])[..20]);
    key
}

/// Bytes per second.
const STALLED: u64 = 18;
/// Between two announces or lookups, so that they do not come in one burst.
const SPACING: Duration = Duration::from_millis(50);
/// Ample for the slowest lookup: time-outs of several unanswered queries in a row.
const LOOKUP_TIME: Duration = Duration::from_secs(60);

/// What a draw is for.
const TOLD: u64 = 1;
const ANNOUNCER: u64 = 2;
const SEEKER: u64 = 3;
const KEY: u64 = 4;
const SESSION: u64 = 5;
