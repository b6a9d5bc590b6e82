//! A world: nodes, the medium between them, and the clock that both obey.
//!
//! Everything that happens is an event of a node. [`World::run_until`] handles events in the order
//! of their times, in windows of time that are shorter than the shortest delay between two nodes,
//! so that shards of the world can pass a window side by side. The machine's clock is read for an
//! epoch to count from and for the speed, and never shows in a result. A seed therefore gives one
//! run on any number of threads: the same deliveries at the same times, and the same
//! [`World::trace`].

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use mainswarm::{
    dht::{Contact, LookupStats},
    ids::{InfoHash, NodeId},
    network::Network,
};

use super::{
    actor::Actor,
    address::{Addresses, MAX_NODES},
    hash::Trace,
    link::{LinkConfig, Links},
    medium::{Medium, RecordUpdate, Sides},
    node::{Look, Node, NodeConfig, PeerConfig},
    shard::Shard,
    speed::{Speed, peak_memory},
    threads::{Span, Threads},
};

/// How a world is made.
#[derive(Debug, Clone, Copy)]
pub struct WorldConfig {
    /// Everything that is random follows from it.
    pub seed: u64,
    /// The wires.
    pub links: LinkConfig,
    /// Which addresses the nodes have: private ones, or globally routable ones.
    pub network: Network,
    /// How many threads share the work, 1 at least. It changes no result. A world whose shortest
    /// delay is below a tenth of a millisecond has one, whatever is asked for.
    pub threads: usize,
}

/// A lookup that was started through the world.
#[derive(Debug, Clone)]
pub struct LookupRecord {
    /// Who looked.
    pub node: u32,
    /// What for.
    pub info_hash: InfoHash,
    /// When, since the world began.
    pub started: Duration,
    /// How long the first peer took, whoever it is: liars answer too.
    pub first_peer: Option<Duration>,
    /// The peers found.
    pub peers: Vec<SocketAddr>,
    /// How long each of them took, in the same order.
    pub took: Vec<Duration>,
    /// The lookup's end.
    pub done: Option<LookupStats>,
    /// The closest nodes that replied, closest first, once it has ended.
    pub closest: Vec<Contact>,
    /// Who replied and how long after the start, if the lookup is traced.
    pub path: Vec<(Duration, NodeId)>,
}

/// A simulated network.
#[derive(Debug)]
pub struct World {
    seed: u64,
    /// In nanoseconds.
    window: u64,
    shards: Vec<Shard>,
    threads: Option<Threads>,
    nodes: u32,
    lookups: Vec<LookupRecord>,
    wall: Duration,
}

/// What has been counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Events handled.
    pub events: u64,
    /// Datagrams sent, the lost ones included.
    pub datagrams: u64,
    /// Datagrams that the network lost.
    pub lost: u64,
    /// Datagrams that a firewall or a NAT kept out.
    pub filtered: u64,
    /// Datagrams to nobody: no such node, or one that is gone.
    pub undeliverable: u64,
    /// Bytes of all datagrams sent.
    pub datagram_bytes: u64,
    /// Peer wire messages delivered.
    pub messages: u64,
}

impl Counts {
    fn and(self, other: Self) -> Self {
        Self {
            events: self.events + other.events,
            datagrams: self.datagrams + other.datagrams,
            lost: self.lost + other.lost,
            filtered: self.filtered + other.filtered,
            undeliverable: self.undeliverable + other.undeliverable,
            datagram_bytes: self.datagram_bytes + other.datagram_bytes,
            messages: self.messages + other.messages,
        }
    }
}

impl World {
    /// An empty world at time zero.
    ///
    /// # Panics
    /// If the wires are impossible, for example with a loss of 1 or more.
    pub fn new(config: WorldConfig) -> Self {
        #[allow(
            clippy::disallowed_methods,
            reason = "an epoch to count from; no result depends on it"
        )]
        let epoch = Instant::now();
        let links = || Links::new(config.links, config.seed);
        let shortest = links().shortest();
        let shards = match shortest < SHORTEST_WINDOW {
            true => 1,
            false => config.threads.max(1),
        };
        let addresses = Addresses::new(config.network);
        let shard = |index: usize| {
            let place = (index as u32, shards as u32);
            let medium = Medium::new(epoch, config.seed, place, links(), addresses);
            Shard::new(medium, shards as u32)
        };
        Self {
            seed: config.seed,
            window: match shortest < SHORTEST_WINDOW {
                true => LONGEST_WINDOW,
                false => shortest.min(LONGEST_WINDOW),
            },
            shards: (0..shards).map(shard).collect(),
            threads: (shards > 1).then(|| Threads::new(shards)),
            nodes: 0,
            lookups: Vec::new(),
            wall: Duration::ZERO,
        }
    }

    /// Adds a node that joins now. Its index is the number of nodes before it.
    ///
    /// # Panics
    /// If the world's address space is full, beyond 16 million nodes.
    pub fn add_node(&mut self, config: NodeConfig) -> u32 {
        self.add(|index, medium| Node::new(index, config, medium))
    }

    /// Adds a node that is not ours. It has an index and an address like any other.
    pub fn add_actor(&mut self, actor: Box<dyn Actor>) -> u32 {
        self.add(|index, medium| Node::with_actor(index, actor, medium))
    }

    fn add(&mut self, make: impl FnOnce(u32, &mut Medium) -> Node) -> u32 {
        let index = self.nodes;
        assert!(index < MAX_NODES, "a world has at most {MAX_NODES} nodes");
        self.nodes += 1;
        let shard = self.shard(index);
        let node = make(index, &mut shard.medium);
        shard.nodes.push(node);
        index
    }

    /// Adds a torrent to a node and starts it.
    pub fn add_torrent(&mut self, node: u32, config: PeerConfig) {
        self.with(node, |node, medium| node.add_torrent(medium, config));
    }

    /// Looks for peers from a node; the result is in [`World::lookups`] under the index given back.
    pub fn get_peers(&mut self, node: u32, info_hash: InfoHash) -> usize {
        self.look_up(node, info_hash, Look::Find)
    }

    /// The same, with each reply noted in [`LookupRecord::path`].
    pub fn get_peers_traced(&mut self, node: u32, info_hash: InfoHash) -> usize {
        self.look_up(node, info_hash, Look::Trace)
    }

    /// Announces a node as a peer; the result is in [`World::lookups`].
    pub fn announce(&mut self, node: u32, info_hash: InfoHash) -> usize {
        self.look_up(node, info_hash, Look::Announce)
    }

    fn look_up(&mut self, node: u32, info_hash: InfoHash, look: Look) -> usize {
        let record = self.lookups.len();
        self.lookups.push(LookupRecord {
            node,
            info_hash,
            started: self.now(),
            first_peer: None,
            peers: Vec::new(),
            took: Vec::new(),
            done: None,
            closest: Vec::new(),
            path: Vec::new(),
        });
        self.with(node, |node, medium| {
            node.start_lookup(medium, record as u32, info_hash, look);
        });
        self.update_records();
        record
    }

    /// A node goes and says so: its connections close.
    pub fn leave(&mut self, node: u32) {
        self.with(node, |node, medium| node.stop(medium, true));
    }

    /// A node is gone without a word.
    pub fn crash(&mut self, node: u32) {
        self.with(node, |node, medium| node.stop(medium, false));
    }

    /// Cuts the network: nothing that is sent from now on reaches a node of another side. What is
    /// under way arrives. Nodes that join later are on the side that `side_of` says as well. A
    /// stream that has something to send holds it back, and closes after 100 seconds of that.
    pub fn partition(&mut self, side_of: impl Fn(u32) -> u8 + Send + Sync + 'static) {
        let sides = Sides(Arc::new(side_of));
        self.shards
            .iter_mut()
            .for_each(|shard| shard.medium.sides = Some(sides.clone()));
        self.resume();
    }

    /// Ends a partition.
    pub fn heal(&mut self) {
        self.shards
            .iter_mut()
            .for_each(|shard| shard.medium.sides = None);
        self.resume();
    }

    fn resume(&mut self) {
        for shard in &mut self.shards {
            for node in &mut shard.nodes {
                node.resume(&mut shard.medium);
            }
        }
    }

    /// Changes the share of messages that are lost, each way.
    ///
    /// # Panics
    /// If it is not in 0..1.
    pub fn set_loss(&mut self, loss: f64) {
        self.shards
            .iter_mut()
            .for_each(|shard| shard.medium.links.set_loss(loss));
    }

    /// Gives a node a loss of its own, for what it sends in place of the world's, and for datagrams
    /// to it besides the world's; `None` takes it away.
    ///
    /// # Panics
    /// If it is not in 0..1.
    pub fn set_node_loss(&mut self, node: u32, loss: Option<f64>) {
        assert!(
            loss.is_none_or(|loss| (0.0..1.0).contains(&loss)),
            "loss must be at least 0 and below 1"
        );
        self.with(node, |node, _| node.set_loss(loss));
    }

    /// Handles the next window of time in which something happens; `false` if nothing is to come.
    pub fn step(&mut self) -> bool {
        !self.run(Span {
            until: u64::MAX - 1,
            window: self.window,
            once: true,
        })
    }

    /// Runs until the clock shows `until`.
    pub fn run_until(&mut self, until: Duration) {
        self.run(Span {
            until: until.as_nanos() as u64,
            window: self.window,
            once: false,
        });
    }

    /// Runs for a time.
    pub fn run_for(&mut self, time: Duration) {
        self.run_until(self.now() + time);
    }

    /// Runs while `go_on` holds, at most until the clock shows `until`. Says whether `go_on` ended
    /// the run. It is asked at the ends of windows only, at most 10 ms apart, which are the same on
    /// any number of threads.
    pub fn run_while(&mut self, until: Duration, mut go_on: impl FnMut(&Self) -> bool) -> bool {
        let span = Span {
            until: until.as_nanos() as u64,
            window: self.window,
            once: true,
        };
        while go_on(self) {
            if self.run(span) {
                return false;
            }
        }
        true
    }

    fn run(&mut self, span: Span) -> bool {
        #[allow(
            clippy::disallowed_methods,
            reason = "the speed of a run is reported; no result depends on it"
        )]
        let began = Instant::now();
        let reached = match &self.threads {
            Some(threads) => threads.run(&mut self.shards, span),
            None => span.run(&mut self.shards[0]),
        };
        self.update_records();
        self.wall += began.elapsed();
        reached
    }

    fn update_records(&mut self) {
        for shard in &mut self.shards {
            for (record, update) in shard.medium.records.drain(..) {
                let record = &mut self.lookups[record as usize];
                match update {
                    RecordUpdate::Peers(at, peers) => {
                        let waited = at.saturating_sub(record.started);
                        record.first_peer.get_or_insert(waited);
                        record.peers.extend_from_slice(&peers);
                        record.took.resize(record.peers.len(), waited);
                    }
                    RecordUpdate::Reply(after, from) => record.path.push((after, from)),
                    RecordUpdate::Done(stats, closest) => {
                        record.done = Some(stats);
                        record.closest = closest;
                    }
                }
            }
        }
    }

    /// The time since the world began.
    pub fn now(&self) -> Duration {
        Duration::from_nanos(self.shards[0].medium.now)
    }

    /// The time as the cores see it.
    pub fn instant(&self) -> Instant {
        self.shards[0].medium.instant()
    }

    /// The fingerprint of everything that was delivered so far.
    pub fn trace(&self) -> u64 {
        let traces = self.shards.iter().map(|shard| shard.medium.trace);
        traces.fold(Trace::default(), Trace::and).value()
    }

    /// Counts.
    pub fn counts(&self) -> Counts {
        let counts = self.shards.iter().map(|shard| shard.medium.counts);
        counts.fold(Counts::default(), Counts::and)
    }

    /// What the runs so far have cost.
    pub fn speed(&self) -> Speed {
        Speed {
            events: self.counts().events,
            wall: self.wall,
            threads: self.shards.len(),
            peak_memory: peak_memory(),
        }
    }

    /// Events that wait.
    pub fn pending(&self) -> usize {
        self.shards.iter().map(|shard| shard.medium.pending()).sum()
    }

    /// How many torrents of all nodes were fetched whole (those that began whole do not count).
    pub fn completed(&self) -> usize {
        self.shards.iter().map(|shard| shard.medium.completed).sum()
    }

    /// Lookups that were started through the world, in the order of their start.
    pub fn lookups(&self) -> &[LookupRecord] {
        &self.lookups
    }

    /// A node.
    pub fn node(&self, node: u32) -> &Node {
        let shards = self.shards.len() as u32;
        &self.shards[(node % shards) as usize].nodes[(node / shards) as usize]
    }

    /// All nodes by index, the gone ones included.
    pub fn nodes(&self) -> impl ExactSizeIterator<Item = &Node> {
        (0..self.nodes as usize).map(|node| self.node(node as u32))
    }

    /// The actor at an index, if one was added there.
    pub fn actor(&self, node: u32) -> Option<&dyn Actor> {
        self.node(node).actor()
    }

    /// Bytes that a node has sent in streams.
    pub fn sent_bytes(&self, node: u32) -> u64 {
        self.node(node).sent_bytes()
    }

    /// A node's address, for UDP and TCP.
    pub fn addr(&self, node: u32) -> SocketAddr {
        self.shards[0].medium.addresses.of(node)
    }

    /// The node that has an address.
    pub fn node_at(&self, addr: SocketAddr) -> Option<u32> {
        let node = self.shards[0].medium.addresses.node_of(addr);
        node.filter(|node| *node < self.nodes)
    }

    pub(super) fn seed(&self) -> u64 {
        self.seed
    }

    pub(super) fn shards_mut(&mut self) -> impl Iterator<Item = &mut Shard> {
        self.shards.iter_mut()
    }

    fn shard(&mut self, node: u32) -> &mut Shard {
        let shards = self.shards.len();
        &mut self.shards[node as usize % shards]
    }

    fn with<T>(&mut self, node: u32, call: impl FnOnce(&mut Node, &mut Medium) -> T) -> T {
        let place = node as usize / self.shards.len();
        let shard = self.shard(node);
        call(&mut shard.nodes[place], &mut shard.medium)
    }
}

/// Below this, shards would meet more often than they have something to do.
const SHORTEST_WINDOW: u64 = 100_000;
/// So that whoever watches a run sees it at least as often.
const LONGEST_WINDOW: u64 = 10_000_000;
