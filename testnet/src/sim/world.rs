//! A world: nodes, the medium between them, and the clock that both obey.
//!
//! Everything that happens is an `Event` of the queue; [`World::step`] takes the next one, sets
//! the clock to its time and hands it to the node that it concerns. The machine's clock is read
//! once, for an epoch to count from, and never shows in a result. A seed therefore gives one run:
//! the same deliveries at the same times, and the same [`World::trace`].

use std::{
    net::{Ipv4Addr, SocketAddr},
    time::{Duration, Instant},
};

use mainswarm::{ids::InfoHash, network::Network};

use super::{
    hash::Trace,
    link::{LinkConfig, Links},
    node::{LookupRecord, Node, NodeConfig, PeerConfig},
    stream::{End, Line, Pipes},
    wheel::Wheel,
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
}

/// A simulated network.
#[derive(Debug)]
pub struct World {
    pub(super) medium: Medium,
    nodes: Vec<Node>,
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
    /// Datagrams to nobody: no such node, or one that is gone.
    pub undeliverable: u64,
    /// Bytes of all datagrams sent.
    pub datagram_bytes: u64,
    /// Peer wire messages delivered.
    pub messages: u64,
}

impl World {
    /// An empty world at time zero.
    pub fn new(config: WorldConfig) -> Self {
        #[allow(
            clippy::disallowed_methods,
            reason = "an epoch to count from; no result depends on it"
        )]
        let epoch = Instant::now();
        Self {
            medium: Medium {
                epoch,
                now: 0,
                at_once: 0,
                seed: config.seed,
                queue: Wheel::new(),
                links: Links::new(config.links, config.seed),
                addresses: Addresses::new(config.network),
                packets: Packets::default(),
                pipes: Pipes::default(),
                lines: Vec::new(),
                nonces: Vec::new(),
                dials: 0,
                trace: Trace::default(),
                counts: Counts::default(),
                lookups: Vec::new(),
                completed: 0,
                buffer: Vec::new(),
            },
            nodes: Vec::new(),
        }
    }

    /// Adds a node that joins now. Its index is the number of nodes before it.
    pub fn add_node(&mut self, config: NodeConfig) -> u32 {
        let index = self.nodes.len() as u32;
        self.medium.lines.push(Line::new(config.up, config.down));
        self.medium.nonces.push(0);
        self.nodes.push(Node::new(index, config, &mut self.medium));
        index
    }

    /// Adds a torrent to a node and starts it.
    pub fn add_torrent(&mut self, node: u32, config: PeerConfig) {
        self.nodes[node as usize].add_torrent(&mut self.medium, config);
    }

    /// Looks for peers from a node; the result is in [`World::lookups`] under the index given back.
    pub fn get_peers(&mut self, node: u32, info_hash: InfoHash) -> usize {
        self.nodes[node as usize].start_lookup(&mut self.medium, info_hash, false)
    }

    /// Announces a node as a peer; the result is in [`World::lookups`].
    pub fn announce(&mut self, node: u32, info_hash: InfoHash) -> usize {
        self.nodes[node as usize].start_lookup(&mut self.medium, info_hash, true)
    }

    /// A node goes and says so: its connections close.
    pub fn leave(&mut self, node: u32) {
        self.nodes[node as usize].stop(&mut self.medium, true);
    }

    /// A node is gone without a word.
    pub fn crash(&mut self, node: u32) {
        self.nodes[node as usize].stop(&mut self.medium, false);
    }

    /// Handles the next event; `false` if there is none.
    pub fn step(&mut self) -> bool {
        let Some((time, event)) = self.medium.queue.pop() else {
            return false;
        };
        let medium = &mut self.medium;
        medium.at_once = if time > medium.now {
            0
        } else {
            medium.at_once + 1
        };
        assert!(
            medium.at_once < ENDLESS,
            "the clock stands at {:?}: {event:?} follows itself without end",
            Duration::from_nanos(medium.now)
        );
        medium.now = medium.now.max(time);
        medium.counts.events += 1;
        self.handle(event);
        true
    }

    /// Runs until the clock shows `until`.
    pub fn run_until(&mut self, until: Duration) {
        self.run_while(until, |_| true);
    }

    /// Runs for a time.
    pub fn run_for(&mut self, time: Duration) {
        self.run_until(self.now() + time);
    }

    /// Runs while `go_on` holds, at most until the clock shows `until`. Says whether `go_on` ended
    /// the run.
    pub fn run_while(&mut self, until: Duration, mut go_on: impl FnMut(&Self) -> bool) -> bool {
        let until = until.as_nanos() as u64;
        while go_on(self) {
            if self
                .medium
                .queue
                .next_time()
                .is_none_or(|next| next > until)
            {
                self.medium.now = self.medium.now.max(until);
                return false;
            }
            self.step();
        }
        true
    }

    /// The time since the world began.
    pub fn now(&self) -> Duration {
        Duration::from_nanos(self.medium.now)
    }

    /// The time as the cores see it.
    pub fn instant(&self) -> Instant {
        self.medium.instant()
    }

    /// The fingerprint of everything that was delivered so far.
    pub fn trace(&self) -> u64 {
        self.medium.trace.value()
    }

    /// Counts.
    pub fn counts(&self) -> Counts {
        self.medium.counts
    }

    /// Events that wait.
    pub fn pending(&self) -> usize {
        self.medium.queue.len()
    }

    /// How many torrents of all nodes were fetched whole (those that began whole do not count).
    pub fn completed(&self) -> usize {
        self.medium.completed
    }

    /// Lookups that were started through the world, in the order of their start.
    pub fn lookups(&self) -> &[LookupRecord] {
        &self.medium.lookups
    }

    /// A node.
    pub fn node(&self, node: u32) -> &Node {
        &self.nodes[node as usize]
    }

    /// All nodes, the gone ones included.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// Bytes that a node has sent over pipes.
    pub fn sent_bytes(&self, node: u32) -> u64 {
        self.medium.lines[node as usize].sent
    }

    /// A node's address, for UDP and TCP.
    pub fn addr(&self, node: u32) -> SocketAddr {
        self.medium.addresses.of(node)
    }

    /// The node that has an address.
    pub fn node_at(&self, addr: SocketAddr) -> Option<u32> {
        self.medium
            .addresses
            .node_of(addr)
            .filter(|node| (*node as usize) < self.nodes.len())
    }

    fn handle(&mut self, event: Event) {
        let medium = &mut self.medium;
        match event {
            Event::Datagram { to, packet } => {
                match self.nodes.get_mut(to as usize).filter(|node| node.is_up()) {
                    Some(node) => node.on_datagram(medium, packet),
                    None => medium.counts.undeliverable += 1,
                }
                medium.packets.free.push(packet);
            }
            Event::DhtTimer { node } => self.nodes[node as usize].on_dht_timer(medium),
            Event::TorrentTimer { node, slot } => {
                self.nodes[node as usize].on_torrent_timer(medium, slot as usize);
            }
            Event::Storage { node, slot } => {
                self.nodes[node as usize].on_storage(medium, slot as usize);
            }
            Event::Announce { node, slot } => {
                self.nodes[node as usize].on_announce_due(medium, slot as usize);
            }
            Event::FrameSent(node) => {
                if let Some((end, payload)) = medium.frame_sent(node) {
                    self.nodes[node as usize].on_sent(medium, end, payload);
                }
            }
            Event::Arrived(end) => {
                if let Some(flight) = medium.arrived(end) {
                    self.deliver(end, flight);
                }
            }
            Event::Landed(end) => {
                if let Some(flight) = medium.landed(end) {
                    self.deliver(end, flight);
                }
            }
            Event::DialTimeout(end) => {
                if let Some(node) = medium.pipes.socket(end).map(|socket| socket.node) {
                    self.nodes[node as usize].on_dial_timeout(medium, end);
                }
            }
        }
    }

    fn deliver(&mut self, end: End, flight: super::stream::Flight) {
        let node = self.medium.pipes.socket(end).map(|socket| socket.node);
        if let Some(node) = node.and_then(|node| self.nodes.get_mut(node as usize)) {
            node.on_flight(&mut self.medium, end, flight);
        }
    }
}

/// So many events at one moment are a core that asks to be woken again and again.
const ENDLESS: u64 = 50_000_000;

/// Something to come.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Event {
    Datagram {
        to: u32,
        packet: u32,
    },
    DhtTimer {
        node: u32,
    },
    TorrentTimer {
        node: u32,
        slot: u32,
    },
    /// A torrent's storage has something to report.
    Storage {
        node: u32,
        slot: u32,
    },
    /// A torrent should announce itself again.
    Announce {
        node: u32,
        slot: u32,
    },
    /// A node's uplink is free again.
    FrameSent(u32),
    /// Something reached a side of a pipe.
    Arrived(End),
    /// Something passed a side's downlink.
    Landed(End),
    DialTimeout(End),
}

/// Everything between the nodes, and what they share.
#[derive(Debug)]
pub(crate) struct Medium {
    epoch: Instant,
    pub(crate) now: u64,
    /// Events since the clock last moved.
    at_once: u64,
    pub(crate) seed: u64,
    pub(crate) queue: Wheel<Event>,
    pub(crate) links: Links,
    pub(crate) addresses: Addresses,
    packets: Packets,
    pub(crate) pipes: Pipes,
    pub(crate) lines: Vec<Line>,
    /// Messages that each node has sent: what tells one message's draw from another's.
    nonces: Vec<u64>,
    pub(crate) dials: u64,
    trace: Trace,
    pub(crate) counts: Counts,
    pub(crate) lookups: Vec<LookupRecord>,
    pub(crate) completed: usize,
    /// For datagrams on their way into or out of a core; empty between uses.
    pub(crate) buffer: Vec<u8>,
}

impl Medium {
    pub(crate) fn instant(&self) -> Instant {
        self.epoch + Duration::from_nanos(self.now)
    }

    /// A core's time in nanoseconds since the epoch.
    pub(crate) fn nanos(&self, at: Instant) -> u64 {
        at.saturating_duration_since(self.epoch).as_nanos() as u64
    }

    pub(crate) fn network(&self) -> Network {
        self.addresses.network
    }

    pub(crate) fn nonce(&mut self, node: u32) -> u64 {
        let nonce = &mut self.nonces[node as usize];
        *nonce += 1;
        *nonce
    }

    /// Sends a datagram.
    pub(crate) fn transmit(&mut self, from: u32, to: SocketAddr, datagram: &[u8]) {
        self.counts.datagrams += 1;
        self.counts.datagram_bytes += datagram.len() as u64;
        let nonce = self.nonce(from);
        let Some(to) = self.addresses.node_of(to) else {
            self.counts.undeliverable += 1;
            return;
        };
        if self.links.loses(from, nonce) {
            self.counts.lost += 1;
            return;
        }
        let at = self.now + self.links.one_way(from, to, nonce);
        let packet = self.packets.put(from, datagram);
        self.queue.push(at, Event::Datagram { to, packet });
    }

    /// Copies a datagram that arrives into `buffer`, and says who sent it.
    pub(crate) fn receive(&mut self, to: u32, packet: u32, buffer: &mut Vec<u8>) -> SocketAddr {
        let (from, bytes) = &self.packets.slots[packet as usize];
        self.trace.add(self.now, *from, to, bytes);
        buffer.clear();
        buffer.extend_from_slice(bytes);
        self.addresses.of(*from)
    }

    /// Notes the delivery of a stream's bytes. Of a block only the front counts: its hash vouches
    /// for the rest.
    pub(crate) fn trace_stream(&mut self, from: u32, to: u32, bytes: &[u8]) {
        self.trace
            .add(self.now, from, to, &bytes[..bytes.len().min(64)]);
    }
}

/// Datagrams under way, in buffers that are used again.
#[derive(Debug, Default)]
struct Packets {
    slots: Vec<(u32, Vec<u8>)>,
    free: Vec<u32>,
}

impl Packets {
    fn put(&mut self, from: u32, datagram: &[u8]) -> u32 {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push((0, Vec::new()));
            self.slots.len() as u32 - 1
        });
        let (sender, bytes) = &mut self.slots[slot as usize];
        *sender = from;
        bytes.clear();
        bytes.extend_from_slice(datagram);
        slot
    }
}

/// Node index to address and back, by arithmetic.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Addresses {
    network: Network,
}

impl Addresses {
    fn new(network: Network) -> Self {
        Self { network }
    }

    pub(crate) fn of(self, node: u32) -> SocketAddr {
        let ip = match self.network {
            Network::Private => PRIVATE + 1 + node,
            Network::Mainline => MAINLINE + (node.wrapping_mul(SPREAD) & MAINLINE_MASK),
        };
        SocketAddr::new(Ipv4Addr::from_bits(ip).into(), PORT)
    }

    pub(crate) fn node_of(self, addr: SocketAddr) -> Option<u32> {
        let SocketAddr::V4(addr) = addr else {
            return None;
        };
        let ip = addr.ip().to_bits();
        let node = match self.network {
            Network::Private => ip.checked_sub(PRIVATE + 1)?,
            Network::Mainline => {
                let offset = ip.checked_sub(MAINLINE)?;
                if offset > MAINLINE_MASK {
                    return None;
                }
                offset.wrapping_mul(UNSPREAD) & MAINLINE_MASK
            }
        };
        (addr.port() == PORT && node < MAX_NODES).then_some(node)
    }
}

const PORT: u16 = 6881;
const MAX_NODES: u32 = (1 << 24) - 2;
/// 10.0.0.0/8
const PRIVATE: u32 = 10 << 24;
/// 32.0.0.0/3 holds no special range. Neighbours in the index are far apart in it, like strangers.
const MAINLINE: u32 = 32 << 24;
const MAINLINE_MASK: u32 = (1 << 29) - 1;
const SPREAD: u32 = 0x0b4e_d3a5;
const UNSPREAD: u32 = inverse(SPREAD);

/// The inverse of an odd number modulo 2^32 (Newton: each round doubles the right bits).
const fn inverse(odd: u32) -> u32 {
    let mut inverse = odd;
    let mut round = 0;
    while round < 5 {
        inverse = inverse.wrapping_mul(2u32.wrapping_sub(odd.wrapping_mul(inverse)));
        round += 1;
    }
    inverse
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_go_both_ways_and_belong_to_their_network() {
        for network in [Network::Private, Network::Mainline] {
            let addresses = Addresses::new(network);
            for node in (0..MAX_NODES).step_by(997).chain([0, 1, MAX_NODES - 1]) {
                let addr = addresses.of(node);
                assert!(network.accepts(&addr), "{addr}");
                assert_eq!(addresses.node_of(addr), Some(node));
            }
            for stranger in [
                "8.8.8.8:6881",
                "10.0.0.5:1",
                "[::1]:6881",
                "255.255.255.255:6881",
            ] {
                assert_eq!(
                    addresses.node_of(stranger.parse().unwrap()),
                    None,
                    "{stranger}"
                );
            }
        }
    }
}
