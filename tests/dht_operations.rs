//! Arbitrary datagrams and arbitrary sequences of operations against one node: it never panics,
//! keeps its invariants, sends nothing out of its network and goes on answering.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use mainswarm::{
    compact::Family,
    dht::{
        AnnouncePort, Contact, Dht, DhtConfig, LookupId,
        krpc::{self, Body, Message, Method, Query, Reply, Values},
    },
    ids::{InfoHash, NodeId},
    network::Network,
};
use proptest::{collection::vec, prelude::*};

/// Few ids, addresses and hashes, so that they meet again.
fn id(n: u8) -> NodeId {
    NodeId::new([n; 20]).with_bit(0, n.is_multiple_of(2))
}

fn addr(n: u8) -> SocketAddr {
    match n {
        0 => "8.8.8.8:53".parse().unwrap(),
        1 => "[::1]:9".parse().unwrap(),
        n => SocketAddr::new([127, 0, 0, n / 8].into(), 1 + u16::from(n % 8)),
    }
}

#[derive(Debug, Clone)]
enum Operation {
    Garbage(u8, Vec<u8>),
    Damage(u8, Damaged, usize, u8),
    Query(u8, u8, u8, bool),
    Announce(u8, u8, i8),
    /// Answers the oldest open query, under this id, with nodes and peers.
    Answer(u8, Vec<u8>, Vec<u8>),
    AnswerFromElsewhere(u8, u8),
    Refuse,
    Ignore,
    Wait(u32),
    Bootstrap(Vec<u8>),
    Restore(Vec<u8>),
    AddNode(u8),
    Find(u8),
    Peers(u8),
    Publish(u8, u16),
    Cancel(u8),
}

#[derive(Debug, Clone, Copy)]
enum Damaged {
    Ping,
    Get,
}

fn operation() -> impl Strategy<Value = Operation> {
    let small = || vec(any::<u8>(), 0..9);
    prop_oneof![
        (any::<u8>(), vec(any::<u8>(), 0..200)).prop_map(|(a, b)| Operation::Garbage(a, b)),
        (any::<u8>(), any::<bool>(), any::<usize>(), any::<u8>()).prop_map(|(a, get, at, x)| {
            let what = if get { Damaged::Get } else { Damaged::Ping };
            Operation::Damage(a, what, at, x)
        }),
        any::<(u8, u8, u8, bool)>().prop_map(|(a, b, c, d)| Operation::Query(a, b, c, d)),
        any::<(u8, u8, i8)>().prop_map(|(a, b, c)| Operation::Announce(a, b, c)),
        (any::<u8>(), small(), small()).prop_map(|(a, b, c)| Operation::Answer(a, b, c)),
        (any::<u8>(), small(), small()).prop_map(|(a, b, c)| Operation::Answer(a, b, c)),
        (any::<u8>(), small(), small()).prop_map(|(a, b, c)| Operation::Answer(a, b, c)),
        any::<(u8, u8)>().prop_map(|(a, b)| Operation::AnswerFromElsewhere(a, b)),
        Just(Operation::Refuse),
        Just(Operation::Ignore),
        (0..5_000u32).prop_map(Operation::Wait),
        (0..5_000_000u32).prop_map(Operation::Wait),
        small().prop_map(Operation::Bootstrap),
        small().prop_map(Operation::Restore),
        any::<u8>().prop_map(Operation::AddNode),
        any::<u8>().prop_map(Operation::Find),
        any::<u8>().prop_map(Operation::Peers),
        any::<(u8, u16)>().prop_map(|(a, b)| Operation::Publish(a, b)),
        any::<u8>().prop_map(Operation::Cancel),
    ]
}

struct World {
    dht: Dht,
    now: Instant,
    /// What the node asked, and has not been answered: to whom, and the transaction id.
    open: Vec<(SocketAddr, Vec<u8>)>,
    token: Vec<u8>,
    started: Vec<(LookupId, Instant)>,
    ended: Vec<LookupId>,
}

impl World {
    fn new(family_seed: u8) -> Self {
        let now = Instant::now();
        let mut config = DhtConfig::new(Network::Private, Family::V4);
        config.wide_table = family_seed.is_multiple_of(2);
        Self {
            dht: Dht::new(config, [family_seed; 32], now),
            now,
            open: Vec::new(),
            token: Vec::new(),
            started: Vec::new(),
            ended: Vec::new(),
        }
    }

    fn feed(&mut self, from: SocketAddr, tid: &[u8], body: Body<'_>) {
        let mut bytes = Vec::new();
        message(tid, body).encode(&mut bytes);
        self.dht.handle_datagram(self.now, from, &bytes);
    }

    fn apply(&mut self, operation: Operation) {
        let now = self.now;
        match operation {
            Operation::Garbage(from, bytes) => self.dht.handle_datagram(now, addr(from), &bytes),
            Operation::Damage(from, what, at, to) => {
                let method = match what {
                    Damaged::Ping => Method::Ping,
                    Damaged::Get => Method::GetPeers {
                        info_hash: InfoHash::new([from; 20]),
                    },
                };
                let mut bytes = Vec::new();
                message(b"aa", query(from, method)).encode(&mut bytes);
                let at = at % bytes.len();
                bytes[at] = to;
                self.dht.handle_datagram(now, addr(from), &bytes);
            }
            Operation::Query(from, sender, target, peers) => {
                let method = match peers {
                    true => Method::GetPeers {
                        info_hash: InfoHash::new([target; 20]),
                    },
                    false => Method::FindNode { target: id(target) },
                };
                self.feed(addr(from), b"q", query(sender, method));
            }
            Operation::Announce(from, hash, port) => {
                let token = self.token.clone();
                let method = Method::AnnouncePeer {
                    info_hash: InfoHash::new([hash; 20]),
                    port: u16::try_from(port).ok(),
                    token: &token,
                };
                self.feed(addr(from), b"a", query(from, method));
            }
            Operation::Answer(sender, nodes, peers) => {
                if !self.open.is_empty() {
                    let (to, tid) = self.open.remove(0);
                    self.answer(to, &tid, sender, &nodes, &peers);
                }
            }
            Operation::AnswerFromElsewhere(from, sender) => {
                if let Some((_, tid)) = self.open.first().cloned() {
                    self.answer(addr(from), &tid, sender, &[], &[]);
                }
            }
            Operation::Refuse => {
                if let Some((to, tid)) = self.open.pop() {
                    let code = Some(201);
                    self.feed(to, &tid, Body::Error { code, text: b"no" });
                }
            }
            Operation::Ignore => drop(self.open.pop()),
            Operation::Wait(ms) => {
                self.now += Duration::from_millis(ms.into());
                self.dht.handle_timeout(self.now);
            }
            Operation::Bootstrap(to) => {
                let to: Vec<SocketAddr> = to.into_iter().map(addr).collect();
                self.dht.bootstrap(now, &to);
            }
            Operation::Restore(nodes) => {
                let nodes = nodes.into_iter();
                let contact = |n| Contact {
                    id: id(n),
                    addr: addr(n),
                };
                self.dht
                    .restore(now, &nodes.map(contact).collect::<Vec<_>>());
            }
            Operation::AddNode(n) => self.dht.add_node(now, addr(n)),
            Operation::Find(n) => {
                let lookup = self.dht.find_node(now, id(n));
                self.started.push((lookup, now));
            }
            Operation::Peers(n) => {
                let lookup = self.dht.get_peers(now, InfoHash::new([n; 20]));
                self.started.push((lookup, now));
            }
            Operation::Publish(n, port) => {
                let port = AnnouncePort::Explicit(port);
                let lookup = self.dht.announce(now, InfoHash::new([n; 20]), port);
                self.started.push((lookup, now));
            }
            Operation::Cancel(n) => {
                let at = usize::from(n) % (self.started.len() + 1);
                if at < self.started.len() {
                    let (lookup, _) = self.started.remove(at);
                    self.dht.cancel(lookup);
                }
            }
        }
    }

    fn answer(&mut self, to: SocketAddr, tid: &[u8], sender: u8, nodes: &[u8], peers: &[u8]) {
        let (mut packed, mut values) = (Vec::new(), Vec::new());
        for n in nodes.iter().filter(|n| **n != 1) {
            mainswarm::compact::write_node(&mut packed, &id(*n), &addr(*n));
        }
        for n in peers.iter().filter(|n| **n != 1) {
            mainswarm::compact::write_addr(&mut values, &addr(*n));
        }
        let reply = Reply {
            nodes: Some(&packed),
            token: Some(&peers[..peers.len().min(3)]),
            values: Values::Packed(&values, Family::V4),
            ..Reply::new(id(sender))
        };
        self.feed(to, tid, Body::Reply(reply));
    }

    fn drain(&mut self) {
        let mut buf = Vec::new();
        while let Some(transmit) = self.dht.poll_transmit(&mut buf) {
            assert!(buf.len() == transmit.len && buf.len() <= 1_024);
            assert!(Network::Private.accepts(&transmit.destination));
            let message = krpc::decode(&buf).expect("our own encoding");
            match message.body {
                Body::Query(_) => self.open.push((transmit.destination, message.tid.to_vec())),
                Body::Reply(reply) => self.token = reply.token.unwrap_or(&self.token).to_vec(),
                _ => {}
            }
        }
        while let Some(event) = self.dht.poll_event() {
            match event {
                mainswarm::dht::DhtEvent::PeersFound { lookup, peers, .. } => {
                    assert!(!peers.is_empty() && !self.ended.contains(&lookup));
                    assert!(peers.iter().all(|peer| Network::Private.accepts(peer)));
                }
                mainswarm::dht::DhtEvent::LookupDone { lookup, stats, .. } => {
                    assert!(!self.ended.contains(&lookup));
                    assert!(stats.replied + stats.failed <= stats.asked);
                    self.ended.push(lookup);
                }
                _ => {}
            }
        }
        self.dht.check();
    }
}

fn message<'a>(tid: &'a [u8], body: Body<'a>) -> Message<'a> {
    Message {
        tid,
        version: None,
        ip: None,
        read_only: false,
        body,
    }
}

fn query(sender: u8, method: Method<'_>) -> Body<'_> {
    Body::Query(Query {
        id: id(sender),
        method,
        want: None,
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..Default::default() })]

    #[test]
    fn any_sequence_of_operations_keeps_the_node_whole(
        seed in any::<u8>(),
        operations in vec(operation(), 1..200),
    ) {
        let mut world = World::new(seed);
        for operation in operations {
            world.apply(operation);
            world.drain();
        }
        // Every lookup that was not cancelled ends within a minute of waking up regularly.
        for _ in 0..70 {
            world.now += Duration::from_secs(1);
            world.dht.handle_timeout(world.now);
            world.drain();
        }
        for (lookup, started) in &world.started {
            prop_assert!(world.ended.contains(lookup), "{:?} since {:?}", lookup, started);
        }
        prop_assert_eq!(world.dht.stats(world.now).lookups, 0);
    }

    #[test]
    fn any_datagram_leaves_the_node_answering(
        datagrams in vec((any::<u8>(), vec(any::<u8>(), 0..2_100)), 1..20),
    ) {
        let mut world = World::new(1);
        for (from, bytes) in datagrams {
            world.dht.handle_datagram(world.now, addr(from), &bytes);
            world.drain();
        }
        world.feed(addr(200), b"zz", query(9, Method::Ping));
        let mut buf = Vec::new();
        prop_assert!(world.dht.poll_transmit(&mut buf).is_some());
    }
}
