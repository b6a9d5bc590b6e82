//! Arbitrary datagrams and arbitrary sequences of operations against one node: it never panics,
//! keeps its invariants, sends nothing out of its network and goes on answering.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use mainswarm::{
    compact::Family,
    dht::{
        AnnouncePort, Contact, Dht, DhtConfig, DhtEvent, Item, ItemQuery, LookupId,
        krpc::{self, Body, Filters, Message, Method, Put, Query, Reply, Sample, Signed, Values},
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
    /// A `get` for this item from there, of interest above this number.
    GetQuery(u8, u8, Option<i8>),
    /// A `put` of this item, with the last token and a number to replace.
    PutQuery(u8, u8, Option<i8>),
    SampleQuery(u8, u8),
    ScrapeQuery(u8, u8),
    /// Answers the oldest open query with an item, filters and a sample.
    AnswerItem(u8, u8, bool),
    RefuseWith(i64),
    GetItem(u8, bool, Option<i8>),
    PutItem(u8, Option<i8>),
    Keep(u8),
    Release(u8),
    Scrape(u8),
    Sample(u8),
    SeedTorrent(u8),
}

/// Few items, a third of them immutable; those of one owner have a common target.
fn item(n: u8) -> Item {
    let value = match n % 8 {
        0 => format!("996:{}", "x".repeat(996)),
        short => format!("i{short}e"),
    };
    match n % 3 {
        0 => Item::immutable(value.as_bytes()),
        owner => Item::sign(&[owner; 32], b"salt", i64::from(n / 16), value.as_bytes()),
    }
    .unwrap()
}

/// An item's signature, that of its twin with another number if `n` is large.
fn signed(n: u8, item: &Item) -> Option<Signed<'_>> {
    Some(Signed {
        key: item.key()?,
        salt: item.salt(),
        seq: item.seq()? + i64::from(n > 240),
        signature: item.signature()?,
    })
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
        item_operation(),
        item_operation(),
        item_operation(),
    ]
}

fn item_operation() -> impl Strategy<Value = Operation> {
    let number = || proptest::option::of(-1..16i8);
    let code = prop_oneof![Just(301i64), Just(302), Just(205), any::<i64>()];
    prop_oneof![
        (any::<u8>(), any::<u8>(), number()).prop_map(|(a, b, c)| Operation::GetQuery(a, b, c)),
        (any::<u8>(), any::<u8>(), number()).prop_map(|(a, b, c)| Operation::PutQuery(a, b, c)),
        any::<(u8, u8)>().prop_map(|(a, b)| Operation::SampleQuery(a, b)),
        any::<(u8, u8)>().prop_map(|(a, b)| Operation::ScrapeQuery(a, b)),
        any::<(u8, u8, bool)>().prop_map(|(a, b, c)| Operation::AnswerItem(a, b, c)),
        any::<(u8, u8, bool)>().prop_map(|(a, b, c)| Operation::AnswerItem(a, b, c)),
        code.prop_map(Operation::RefuseWith),
        (any::<u8>(), any::<bool>(), number()).prop_map(|(a, b, c)| Operation::GetItem(a, b, c)),
        (any::<u8>(), number()).prop_map(|(a, b)| Operation::PutItem(a, b)),
        any::<u8>().prop_map(Operation::Keep),
        any::<u8>().prop_map(Operation::Release),
        any::<u8>().prop_map(Operation::Scrape),
        any::<u8>().prop_map(Operation::Sample),
        any::<u8>().prop_map(Operation::SeedTorrent),
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
    /// Samples that were asked for and not reported.
    samples: Vec<LookupId>,
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
            samples: Vec::new(),
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
                    Damaged::Get => Method::get_peers(InfoHash::new([from; 20])),
                };
                let mut bytes = Vec::new();
                message(b"aa", query(from, method)).encode(&mut bytes);
                let at = at % bytes.len();
                bytes[at] = to;
                self.dht.handle_datagram(now, addr(from), &bytes);
            }
            Operation::Query(from, sender, target, peers) => {
                let method = match peers {
                    true => Method::get_peers(InfoHash::new([target; 20])),
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
                    seed: false,
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
            operation => self.apply_to_items(operation),
        }
    }

    fn apply_to_items(&mut self, operation: Operation) {
        let now = self.now;
        match operation {
            Operation::GetQuery(from, n, seq) => {
                let (target, seq) = (item(n).target(), seq.map(i64::from));
                self.feed(addr(from), b"g", query(from, Method::Get { target, seq }));
            }
            Operation::PutQuery(from, n, cas) => {
                let (item, token) = (item(n), self.token.clone());
                let put = Put {
                    value: item.value(),
                    token: &token,
                    signed: signed(n, &item),
                    cas: cas.map(i64::from),
                };
                self.feed(addr(from), b"p", query(from, Method::Put(put)));
            }
            Operation::SampleQuery(from, n) => {
                let method = Method::SampleInfohashes { target: id(n) };
                self.feed(addr(from), b"s", query(from, method));
            }
            Operation::ScrapeQuery(from, n) => {
                let method = Method::GetPeers {
                    info_hash: InfoHash::new([n; 20]),
                    noseed: n.is_multiple_of(2),
                    scrape: true,
                };
                self.feed(addr(from), b"b", query(from, method));
            }
            Operation::AnswerItem(sender, n, whole) => {
                if !self.open.is_empty() {
                    let (to, tid) = self.open.remove(0);
                    self.answer_item(to, &tid, sender, n, whole);
                }
            }
            Operation::RefuseWith(code) => {
                if let Some((to, tid)) = self.open.pop() {
                    let code = Some(code);
                    self.feed(to, &tid, Body::Error { code, text: b"" });
                }
            }
            Operation::GetItem(n, newest, newer_than) => {
                let query = ItemQuery {
                    salt: b"salt".to_vec(),
                    newest,
                    newer_than: newer_than.map(i64::from),
                    ..ItemQuery::new(item(n).target())
                };
                let lookup = self.dht.get_item(now, &query);
                self.started.push((lookup, now));
            }
            Operation::PutItem(n, cas) => {
                let lookup = self.dht.put_item(now, item(n), cas.map(i64::from));
                self.started.push((lookup, now));
            }
            Operation::Keep(n) => self.dht.keep_item(now, item(n)),
            Operation::Release(n) => {
                let target = item(n).target();
                let kept = self.dht.kept_items().any(|item| item.target() == target);
                assert_eq!(self.dht.release_item(&target), kept);
            }
            Operation::Scrape(n) => {
                let lookup = self.dht.scrape(now, InfoHash::new([n; 20]));
                self.started.push((lookup, now));
            }
            Operation::Sample(n) => {
                let lookup = self.dht.sample(now, addr(n), id(n));
                self.samples.push(lookup);
            }
            Operation::SeedTorrent(n) => {
                let hash = InfoHash::new([n; 20]);
                let lookup = self.dht.announce_seed(now, hash, AnnouncePort::Implied);
                self.started.push((lookup, now));
            }
            operation => unreachable!("{operation:?} is not about items"),
        }
    }

    fn answer_item(&mut self, to: SocketAddr, tid: &[u8], sender: u8, n: u8, whole: bool) {
        let item = item(n);
        let signed = signed(n, &item);
        let filter = [n; 256];
        let reply = Reply {
            token: Some(b"token"),
            value: whole.then_some(item.value()),
            key: signed.map(|signed| signed.key),
            signature: signed.map(|signed| signed.signature),
            seq: signed.map(|signed| signed.seq),
            filters: whole.then_some(Filters {
                seeds: &filter,
                peers: &[1; 256],
            }),
            sample: Some(Sample {
                interval: i64::from(n) * 200,
                num: i64::from(n) - 1,
                hashes: &filter[..usize::from(n % 3) * 20 + usize::from(n.is_multiple_of(7))],
            }),
            ..Reply::new(id(sender))
        };
        self.feed(to, tid, Body::Reply(reply));
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
            assert!(buf.len() == transmit.len && buf.len() <= most(&buf));
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
                DhtEvent::PeersFound { lookup, peers, .. } => {
                    assert!(!peers.is_empty() && !self.ended.contains(&lookup));
                    assert!(peers.iter().all(|peer| Network::Private.accepts(peer)));
                }
                DhtEvent::LookupDone { lookup, stats, .. } => {
                    assert!(!self.ended.contains(&lookup));
                    assert!(stats.replied + stats.failed <= stats.asked);
                    self.ended.push(lookup);
                }
                DhtEvent::ItemFound { lookup, item } => {
                    assert!(!self.ended.contains(&lookup));
                    let seq = item.seq().unwrap_or_default();
                    assert!(seq < 16, "a signature that does not belong to it");
                }
                DhtEvent::ItemPut { lookup, stored, .. } => {
                    assert!(!self.ended.contains(&lookup) && stored <= 40);
                }
                DhtEvent::Scraped { seeds, peers, .. } => {
                    assert!(seeds < 7_810 && peers < 7_810);
                }
                DhtEvent::Sampled { lookup, reply, .. } => {
                    let at = self.samples.iter().position(|sample| *sample == lookup);
                    self.samples
                        .remove(at.expect("asked for, and reported once"));
                    let sample = reply.and_then(|reply| reply.sample);
                    let interval = sample.map(|sample| sample.interval.as_secs());
                    assert!(interval.is_none_or(|seconds| seconds <= 21_600));
                }
                _ => {}
            }
        }
        self.dht.check();
    }
}

/// Items of full size are too long for the usual bound.
fn most(datagram: &[u8]) -> usize {
    match krpc::decode(datagram).unwrap().body {
        Body::Query(Query {
            method: Method::Put(_),
            ..
        }) => 1_400,
        Body::Reply(Reply { value: Some(_), .. }) => 1_300,
        _ => 1_024,
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
        let kept: Vec<NodeId> = world.dht.kept_items().map(Item::target).collect();
        for target in kept {
            world.dht.release_item(&target);
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
        prop_assert!(world.samples.is_empty());
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
