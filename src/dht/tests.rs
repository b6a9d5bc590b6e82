//! Whole nodes against each other, in virtual time and without sockets.

mod address;
mod ask;
mod items;

use std::collections::BTreeMap;

use rand::RngExt;

use super::*;
use crate::bencode::{self, Limits};

const RTT: Duration = Duration::from_millis(40);

/// Nodes whose datagrams arrive half a round trip later, unless they are lost or sent to nobody.
struct Net {
    now: Instant,
    nodes: BTreeMap<SocketAddr, Dht>,
    in_flight: Vec<(Instant, SocketAddr, SocketAddr, Vec<u8>)>,
    events: BTreeMap<SocketAddr, Vec<DhtEvent>>,
    sent: u64,
    loss: f64,
    rng: StdRng,
}

impl Net {
    fn new() -> Self {
        Self {
            now: Instant::now(),
            nodes: BTreeMap::new(),
            in_flight: Vec::new(),
            events: BTreeMap::new(),
            sent: 0,
            loss: 0.0,
            rng: StdRng::from_seed([9; 32]),
        }
    }

    fn add(&mut self, addr: SocketAddr) -> &mut Dht {
        let config = DhtConfig::new(Network::Private, Family::of(&addr));
        let node = Dht::new(config, self.rng.random(), self.now);
        self.nodes.entry(addr).or_insert(node)
    }

    fn join(&mut self, addr: SocketAddr, routers: &[SocketAddr]) {
        let now = self.now;
        self.add(addr).bootstrap(now, routers);
    }

    /// A network of `count` nodes that all started from the first.
    fn joined(count: u16) -> Self {
        let mut net = Self::new();
        for n in 0..count {
            let router = [node(0)];
            net.join(node(n), &router[..usize::from(n > 0)]);
            net.run(Duration::from_millis(50));
        }
        net.run(Duration::from_secs(60));
        net
    }

    fn node(&mut self, n: u16) -> &mut Dht {
        self.nodes.get_mut(&node(n)).expect("a node of that number")
    }

    fn drain(&mut self) {
        let mut buf = Vec::new();
        for (addr, dht) in &mut self.nodes {
            while let Some(transmit) = dht.poll_transmit(&mut buf) {
                assert_eq!(transmit.len, buf.len());
                assert!(buf.len() <= most(&buf) && transmit.destination != *addr);
                bencode::scan_exact(&buf, Limits::KRPC).expect("our own encoding");
                self.sent += 1;
                if self.rng.random_range(0.0..1.0) >= self.loss {
                    let arrival = self.now + RTT / 2;
                    self.in_flight
                        .push((arrival, *addr, transmit.destination, buf.clone()));
                }
            }
            while let Some(event) = dht.poll_event() {
                self.events.entry(*addr).or_default().push(event);
            }
        }
    }

    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            self.drain();
            let arrivals = self.in_flight.iter().map(|(at, ..)| *at);
            let timers = self.nodes.values().filter_map(Dht::poll_timeout);
            let Some(next) = arrivals.chain(timers).min().filter(|at| *at <= end) else {
                break;
            };
            self.now = self.now.max(next);
            let now = self.now;
            let due = self.in_flight.extract_if(.., |(at, ..)| *at <= now);
            for (_, from, to, bytes) in due.collect::<Vec<_>>() {
                if let Some(dht) = self.nodes.get_mut(&to) {
                    dht.handle_datagram(now, from, &bytes);
                    dht.check();
                }
            }
            for dht in self.nodes.values_mut() {
                if dht.poll_timeout().is_some_and(|at| at <= now) {
                    dht.handle_timeout(now);
                    dht.check();
                    assert!(dht.poll_timeout().is_none_or(|at| at > now), "a busy loop");
                }
            }
        }
        self.now = end;
    }

    /// What a lookup has brought its node.
    fn outcome(&self, n: u16, lookup: LookupId) -> (Vec<SocketAddr>, Option<LookupStats>) {
        let (mut peers, mut done) = (Vec::new(), None);
        for event in self.events.get(&node(n)).into_iter().flatten() {
            match event {
                DhtEvent::PeersFound {
                    lookup: of,
                    peers: found,
                    ..
                } if *of == lookup => {
                    assert!(done.is_none(), "peers after the end");
                    peers.extend(found);
                }
                DhtEvent::LookupDone {
                    lookup: of, stats, ..
                } if *of == lookup => {
                    assert!(done.replace(*stats).is_none(), "done twice");
                }
                _ => {}
            }
        }
        (peers, done)
    }
}

/// How long a datagram may be: items of full size are too long for the usual bound.
fn most(datagram: &[u8]) -> usize {
    match krpc::decode(datagram).expect("our own encoding").body {
        Body::Query(Query {
            method: Method::Put(_),
            ..
        }) => 1_400,
        Body::Reply(Reply { value: Some(_), .. }) => 1_300,
        _ => 1_024,
    }
}

fn node(n: u16) -> SocketAddr {
    SocketAddr::new([127, 0, 0, 1].into(), 1_000 + n)
}

fn hash(n: u8) -> InfoHash {
    InfoHash::new([n; 20])
}

/// Sends one datagram and returns the replies.
fn ask(dht: &mut Dht, now: Instant, from: SocketAddr, datagram: &[u8]) -> Vec<Vec<u8>> {
    dht.handle_datagram(now, from, datagram);
    dht.check();
    let (mut buf, mut replies) = (Vec::new(), Vec::new());
    while let Some(transmit) = dht.poll_transmit(&mut buf) {
        let message = krpc::decode(&buf).expect("our own encoding");
        if transmit.destination == from && !matches!(message.body, Body::Query(_)) {
            replies.push(buf.clone());
        }
    }
    replies
}

fn query(id: u8, method: Method<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    Message {
        tid: b"xy",
        version: None,
        ip: None,
        read_only: false,
        body: Body::Query(Query {
            id: NodeId::new([id; 20]),
            method,
            want: None,
        }),
    }
    .encode(&mut out);
    out
}

fn lone_node(now: Instant) -> Dht {
    let config = DhtConfig::new(Network::Private, Family::V4);
    Dht::new(config, [5; 32], now)
}

#[test]
fn two_nodes_are_a_network() {
    let mut net = Net::joined(2);
    let now = net.now;
    assert_eq!(net.node(0).stats(now).good, 1);
    assert_eq!(net.node(1).stats(now).good, 1);
    for (n, other) in [(0, 1), (1, 0)] {
        let now = net.now;
        let port = AnnouncePort::Explicit(7_000 + n);
        let announce = net.node(n).announce(now, hash(n as u8), port);
        net.run(Duration::from_secs(5));
        let (_, done) = net.outcome(n, announce);
        assert_eq!(done.expect("an end").announced, 1);

        let now = net.now;
        let lookup = net.node(other).get_peers(now, hash(n as u8));
        net.run(Duration::from_secs(5));
        let (peers, done) = net.outcome(other, lookup);
        assert_eq!(peers, [SocketAddr::new([127, 0, 0, 1].into(), 7_000 + n)]);
        assert!(done.is_some());
    }
}

#[test]
fn fifty_nodes_find_what_others_announce() {
    let mut net = Net::joined(50);
    for n in 0..50 {
        let now = net.now;
        assert!(net.node(n).stats(now).good >= 8, "node {n}");
        let joined = |event: &DhtEvent| matches!(event, DhtEvent::Bootstrapped { .. });
        assert_eq!(
            net.events[&node(n)]
                .iter()
                .filter(|event| joined(event))
                .count(),
            1
        );
    }
    let mut told = 0;
    for round in 0..20 {
        let (from, to) = (round * 7 % 50, (round * 11 + 3) % 50);
        let now = net.now;
        let announce = net
            .node(from)
            .announce(now, hash(100 + round as u8), AnnouncePort::Implied);
        net.run(Duration::from_secs(3));
        let (_, done) = net.outcome(from, announce);
        // The eight closest, and all others in the region where eight are to be expected.
        let announced = done.expect("an end").announced;
        assert!((8..=16).contains(&announced), "{announced}");
        told += announced;

        let now = net.now;
        let lookup = net.node(to).get_peers(now, hash(100 + round as u8));
        net.run(Duration::from_secs(3));
        let (peers, done) = net.outcome(to, lookup);
        assert_eq!(peers, [node(from)], "round {round}");
        let stats = done.expect("an end");
        assert!(stats.asked <= 30 && stats.hops >= 1, "{stats:?}");
        assert!(stats.elapsed < Duration::from_secs(1), "{stats:?}");
    }
    assert!(told <= 20 * 11, "the region adds few: {told}");
}

#[test]
fn a_lossy_network_works_too() {
    let mut net = Net::joined(30);
    net.loss = 0.05;
    for round in 0..10 {
        let now = net.now;
        let announce = net
            .node(round)
            .announce(now, hash(round as u8), AnnouncePort::Explicit(9));
        net.run(Duration::from_secs(15));
        let (_, done) = net.outcome(round, announce);
        assert!(done.expect("an end").announced >= 6);
        let now = net.now;
        let lookup = net.node(29 - round).get_peers(now, hash(round as u8));
        net.run(Duration::from_secs(15));
        let (peers, done) = net.outcome(29 - round, lookup);
        assert_eq!((peers.len(), done.is_some()), (1, true), "round {round}");
    }
}

#[test]
fn two_nodes_meet_in_spite_of_loss() {
    for seed in 0..40 {
        let mut net = Net::new();
        net.rng = StdRng::from_seed([seed; 32]);
        net.loss = 0.2;
        net.join(node(0), &[]);
        net.join(node(1), &[node(0)]);
        net.run(Duration::from_secs(400));
        for n in 0..2 {
            assert_eq!(net.node(n).contacts().len(), 1, "seed {seed}, node {n}");
        }
    }
}

#[test]
fn a_lookup_started_with_the_node_waits_for_the_first_contact() {
    let mut net = Net::joined(10);
    let now = net.now;
    net.node(3)
        .announce(now, hash(1), AnnouncePort::Explicit(99));
    net.run(Duration::from_secs(5));

    // The router's address is known only a while after the lookup was asked for.
    let now = net.now;
    let lookup = net.add(node(50)).get_peers(now, hash(1));
    net.run(Duration::from_secs(2));
    let now = net.now;
    net.node(50).bootstrap(now, &[node(0)]);
    net.run(4 * RTT);
    let (peers, _) = net.outcome(50, lookup);
    assert_eq!(peers.len(), 1, "found within a few round trips");
    net.run(Duration::from_secs(5));
    assert!(net.outcome(50, lookup).1.is_some());
}

#[test]
fn every_lookup_ends_even_with_nobody_there() {
    let mut net = Net::new();
    net.join(node(0), &[]);
    net.join(node(1), &[node(77)]);
    let now = net.now;
    let lookups = [0, 1].map(|n| {
        let dht = net.nodes.get_mut(&node(n)).expect("joined");
        (
            n,
            [
                dht.get_peers(now, hash(1)),
                dht.announce(now, hash(2), AnnouncePort::Implied),
                dht.find_node(now, NodeId::new([3; 20])),
            ],
        )
    });
    net.run(lookup::MAX_AGE + Duration::from_secs(1));
    for (n, ids) in lookups {
        for id in ids {
            let (_, done) = net.outcome(n, id);
            assert_eq!(done.expect("an end").replied, 0);
        }
    }
    assert_eq!(net.node(0).poll_timeout(), None, "nothing to wait for");
}

#[test]
fn a_dead_router_is_asked_again_with_back_off() {
    let mut net = Net::new();
    net.join(node(1), &[node(0)]);
    net.run(Duration::from_secs(300));
    let failed = net.events[&node(1)].iter().filter_map(|event| match event {
        DhtEvent::BootstrapFailed { retry_at, .. } => Some(*retry_at),
        _ => None,
    });
    let failed: Vec<Instant> = failed.collect();
    assert!((5..12).contains(&failed.len()), "{}", failed.len());
    let gaps: Vec<Duration> = failed.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(gaps[0] < Duration::from_secs(10) && gaps.is_sorted_by_key(|gap| gap.as_secs() / 20));
    let last = gaps.last().expect("many");
    assert!(*last >= Duration::from_secs(60) && *last <= Duration::from_secs(90));

    net.join(node(0), &[]);
    net.run(Duration::from_secs(90));
    let now = net.now;
    assert_eq!(net.node(1).stats(now).good, 1, "it came back");
}

#[test]
fn an_island_finds_the_mainland_when_its_router_comes_back() {
    let mut net = Net::new();
    // Node 0 is the router of 1, and 1 that of all others; but 0 comes late.
    net.join(node(1), &[node(0)]);
    for n in 2..20 {
        net.join(node(n), &[node(1)]);
    }
    net.run(Duration::from_secs(120));
    net.join(node(0), &[]);
    for n in 30..50 {
        net.join(node(n), &[node(0)]);
    }
    net.run(Duration::from_secs(3_600));
    let now = net.now;
    net.node(5)
        .announce(now, hash(1), AnnouncePort::Explicit(99));
    net.run(Duration::from_secs(5));
    let now = net.now;
    let lookup = net.node(40).get_peers(now, hash(1));
    net.run(Duration::from_secs(5));
    assert_eq!(net.outcome(40, lookup).0.len(), 1);
}

#[test]
fn saved_nodes_bring_a_node_back_without_a_router() {
    let mut net = Net::joined(20);
    let mut saved = net.node(5).contacts();
    saved.truncate(6);
    for n in 0..4 {
        // Most of what was saved may be dead.
        saved.insert(
            0,
            Contact {
                id: NodeId::new([n; 20]),
                addr: node(500 + u16::from(n)),
            },
        );
    }
    let now = net.now;
    let dht = net.add(node(60));
    dht.restore(now, &saved);
    assert_eq!(
        dht.contacts().len(),
        saved.len(),
        "an early stop loses nothing"
    );
    dht.bootstrap(now, &[]);
    net.run(Duration::from_secs(20));
    let now = net.now;
    assert!(net.node(60).stats(now).good >= 8);
    let dead = |contact: &Contact| contact.addr.port() >= 1_500;
    assert!(
        !net.node(60).contacts().iter().any(dead),
        "only who answered"
    );
}

#[test]
fn an_idle_network_is_quiet_and_stays_good() {
    let mut net = Net::joined(30);
    net.run(Duration::from_secs(600));
    let before = net.sent;
    net.run(Duration::from_secs(3_600));
    // Queries and replies: half of the datagrams are queries.
    let rate = (net.sent - before) as f64 / 2.0 / 30.0 / 3_600.0;
    assert!(rate < 0.2, "{rate} queries a second and node");
    for n in 0..30 {
        let now = net.now;
        let stats = net.node(n).stats(now);
        assert!(
            stats.good >= 8 && stats.good >= 5 * stats.questionable,
            "{stats:?}"
        );
    }
}

#[test]
fn dead_nodes_leave_the_table_and_lookups_go_on() {
    let mut net = Net::joined(40);
    let now = net.now;
    net.node(39)
        .announce(now, hash(1), AnnouncePort::Explicit(99));
    net.run(Duration::from_secs(5));
    for n in 20..39 {
        net.nodes.remove(&node(n));
    }
    let now = net.now;
    let lookup = net.node(1).get_peers(now, hash(1));
    net.run(Duration::from_secs(10));
    let (peers, done) = net.outcome(1, lookup);
    assert_eq!(peers.len(), 1);
    assert!(
        done.expect("an end").elapsed < Duration::from_secs(6),
        "{done:?}"
    );
    net.run(Duration::from_secs(4 * 3_600));
    let contacts = net.node(1).contacts();
    let dead = |contact: &&Contact| (20..39).map(node).any(|addr| addr == contact.addr);
    let left: Vec<_> = contacts.iter().filter(dead).collect();
    assert!(left.is_empty(), "{left:?} of {}", contacts.len());
}

#[test]
fn a_machine_that_slept_searches_anew() {
    let mut net = Net::joined(10);
    net.in_flight.clear();
    net.now += Duration::from_secs(8 * 3_600);
    let now = net.now;
    net.events.clear();
    for dht in net.nodes.values_mut() {
        dht.handle_timeout(now);
    }
    net.run(Duration::from_secs(30));
    for n in 0..10 {
        let now = net.now;
        assert!(net.node(n).stats(now).good >= 5, "node {n}");
        let joined = |event: &DhtEvent| matches!(event, DhtEvent::Bootstrapped { .. });
        assert!(net.events[&node(n)].iter().any(joined));
    }
}

#[test]
fn a_read_only_node_asks_and_announces_but_is_never_a_contact() {
    let mut net = Net::joined(10);
    let now = net.now;
    let config = DhtConfig {
        read_only: true,
        ..DhtConfig::new(Network::Private, Family::V4)
    };
    net.nodes.insert(node(70), Dht::new(config, [7; 32], now));
    net.node(70).bootstrap(now, &[node(0)]);
    let announce = net.node(70).announce(now, hash(1), AnnouncePort::Implied);
    net.run(Duration::from_secs(30));
    let (_, done) = net.outcome(70, announce);
    assert_eq!(done.expect("an end").announced, 8);
    let known = net.nodes.values().flat_map(Dht::contacts);
    assert!(!known.into_iter().any(|contact| contact.addr == node(70)));
    let now = net.now;
    let silent = ask(net.node(70), now, node(71), &query(1, Method::Ping));
    assert!(silent.is_empty());
}

#[test]
fn a_token_works_only_for_the_address_that_got_it() {
    let now = Instant::now();
    let mut dht = lone_node(now);
    let (owner, thief) = (node(1), SocketAddr::new([127, 0, 0, 2].into(), 1));
    let get = query(1, Method::get_peers(hash(1)));
    let replies = ask(&mut dht, now, owner, &get);
    let Body::Reply(reply) = krpc::decode(&replies[0]).expect("a reply").body else {
        panic!("no reply")
    };
    let announce = |port| {
        let token = reply.token.expect("a token");
        let info_hash = hash(1);
        query(
            1,
            Method::AnnouncePeer {
                info_hash,
                port,
                token,
                seed: false,
            },
        )
    };
    let code = |replies: &[Vec<u8>]| match krpc::decode(&replies[0]).expect("a reply").body {
        Body::Error { code, .. } => code,
        Body::Reply(_) => None,
        _ => panic!("neither reply nor error"),
    };
    assert_eq!(
        code(&ask(&mut dht, now, thief, &announce(Some(9)))),
        Some(203)
    );
    assert_eq!(dht.stats(now).stored_peers, 0);
    assert_eq!(code(&ask(&mut dht, now, owner, &announce(Some(9)))), None);
    assert_eq!(code(&ask(&mut dht, now, owner, &announce(None))), None);
    assert_eq!(dht.stats(now).stored_peers, 2);
    let later = now + Duration::from_secs(660);
    assert_eq!(
        code(&ask(&mut dht, later, owner, &announce(Some(9)))),
        Some(203)
    );
    // Values and nodes both, to anybody.
    let replies = ask(&mut dht, now, thief, &get);
    let Body::Reply(reply) = krpc::decode(&replies[0]).expect("a reply").body else {
        panic!("no reply")
    };
    assert_eq!(
        (reply.values.peers().count(), reply.nodes),
        (2, Some(&b""[..]))
    );
}

#[test]
fn a_flood_mutes_its_source_and_nobody_else() {
    let now = Instant::now();
    let mut dht = lone_node(now);
    let ping = query(1, Method::Ping);
    let mut served = 0;
    for n in 0..100_000u32 {
        let now = now + Duration::from_micros(u64::from(n) * 20);
        served += ask(&mut dht, now, node(1), &ping).len();
        if n % 1_000 == 0 {
            assert_eq!(ask(&mut dht, now, node(2), &ping).len(), 1, "{n}");
        }
    }
    assert!((100..6_000).contains(&served), "{served}");
}

#[test]
fn garbage_is_met_with_silence_and_does_no_harm() {
    let now = Instant::now();
    let mut dht = lone_node(now);
    let bomb = [b'l'; 2_048];
    for garbage in [&b""[..], b"hello", b"de", b"i1e", b"d1:t2:aa", &bomb] {
        assert!(ask(&mut dht, now, node(1), garbage).is_empty());
    }
    let unasked = b"d1:rd2:id20:aaaaaaaaaaaaaaaaaaaae1:t4:aaaa1:y1:re";
    assert!(ask(&mut dht, now, node(1), unasked).is_empty());
    assert_eq!(dht.stats(now).dropped, 7);
    assert_eq!(dht.contacts(), []);
    // From outside of the network, and of the other family.
    for outsider in ["8.8.8.8:53", "[::1]:7", "127.0.0.1:0"] {
        let from = outsider.parse().expect("an address");
        assert!(ask(&mut dht, now, from, &query(1, Method::Ping)).is_empty());
    }
    assert_eq!(
        ask(&mut dht, now, node(1), &query(1, Method::Ping)).len(),
        1
    );
}

#[test]
fn replies_stay_small_whatever_is_stored() {
    let now = Instant::now();
    let mut dht = lone_node(now);
    for port in 1..=500 {
        let peer = SocketAddr::new([127, 0, 0, 1].into(), port);
        let seconds = dht.seconds(now);
        dht.store.add(hash(1), &peer, false, seconds, &mut dht.rng);
    }
    let get = query(1, Method::get_peers(hash(1)));
    let replies = ask(&mut dht, now, node(1), &get);
    assert!(replies[0].len() > 700 && replies[0].len() <= 1_024.min(10 * get.len()));
}

#[test]
fn who_answers_under_changing_ids_gets_no_place() {
    let now = Instant::now();
    let mut dht = lone_node(now);
    let own = dht.id();
    let reply = |id: NodeId, tid: &[u8]| {
        let mut out = Vec::new();
        Message {
            tid,
            version: None,
            ip: None,
            read_only: false,
            body: Body::Reply(Reply::new(id)),
        }
        .encode(&mut out);
        out
    };
    let answer = |dht: &mut Dht, id: NodeId| {
        let mut buf = Vec::new();
        dht.ping(now, node(1));
        while let Some(transmit) = dht.poll_transmit(&mut buf) {
            let tid = krpc::decode(&buf).expect("our query").tid.to_vec();
            // The right transaction from the wrong address first.
            dht.handle_datagram(now, node(2), &reply(id, &tid));
            dht.handle_datagram(now, transmit.destination, &reply(id, &tid));
            dht.check();
        }
        dht.contacts().len()
    };
    assert_eq!(answer(&mut dht, own), 0, "our own id");
    assert_eq!(answer(&mut dht, NodeId::new([1; 20])), 1);
    assert_eq!(answer(&mut dht, NodeId::new([1; 20])), 1);
    assert_eq!(answer(&mut dht, NodeId::new([2; 20])), 0, "it changed");
}

#[test]
fn an_idle_node_is_small() {
    assert!(size_of::<Dht>() <= 1_280, "{}", size_of::<Dht>());
}

#[test]
fn a_restored_table_is_as_good_as_before() {
    let now = Instant::now();
    let mut dht = lone_node(now);
    let known = |n: u16, minutes: u64| KnownNode {
        contact: Contact {
            id: NodeId::new([n as u8; 20]),
            addr: node(n),
        },
        age: Duration::from_secs(60 * minutes),
        rtt: Duration::from_millis(300),
    };
    let outsider = KnownNode {
        contact: Contact {
            id: NodeId::new([9; 20]),
            addr: "8.8.8.8:53".parse().expect("an address"),
        },
        ..known(9, 0)
    };
    let twice = KnownNode {
        contact: Contact {
            id: NodeId::new([8; 20]),
            addr: node(1),
        },
        ..known(8, 0)
    };
    dht.restore_table(
        now,
        [known(1, 0), known(2, 14), known(3, 20), outsider, twice],
    );
    dht.check();
    let stats = dht.stats(now);
    assert_eq!((stats.good, stats.questionable), (2, 1));
    assert_eq!(
        dht.poll_event(),
        Some(DhtEvent::Bootstrapped { nodes: 3 }),
        "a node with a table has joined"
    );
    assert!(dht.rtt.soft_timeout() > Duration::from_millis(290));
    // Upkeep begins with the one that was silent longest.
    let mut sent = Vec::new();
    let mut buf = Vec::new();
    while sent.is_empty() {
        let due = dht.poll_timeout().expect("upkeep");
        assert!(due < now + Duration::from_secs(60));
        dht.handle_timeout(due);
        while let Some(transmit) = dht.poll_transmit(&mut buf) {
            sent.push(transmit.destination);
        }
    }
    assert!(sent.contains(&node(3)), "{sent:?}");
}

#[test]
fn refreshes_believe_no_more_than_other_searches() {
    let mut net = Net::joined(60);
    let dht = net.node(3);
    let around = dht.surroundings(Owner::User);
    assert!(around.size.is_some());
    assert_eq!(dht.surroundings(Owner::Refresh), around);
    assert_eq!(dht.surroundings(Owner::Bootstrap).size, None);
    // A crowd right at the target, of which one in eight is counted for the size.
    let target = NodeId::new([0x5a; 20]);
    let (now, soft) = (net.now, Duration::from_secs(1));
    let mut lookup = Lookup::new(target, Goal::Nodes, Owner::Refresh, soft, around, now);
    for n in 0..8u8 {
        let bit = usize::from(n);
        let far = target.with_bit(bit, !target.bit(bit));
        let ids = [far, target.with_bit(152 + bit, !target.bit(152 + bit))];
        for (port, id) in (0..).zip(ids) {
            let addr = node(1_000 + 2 * u16::from(n) + port);
            lookup.seed(Contact { id, addr }, Source::Table(RTT));
        }
    }
    while let Step::Ask(addr, Some(id), _) = lookup.next(now) {
        let none = std::iter::empty();
        lookup.on_reply(&NodeId::new([0; 20]), Contact { id, addr }, RTT, None, none);
    }
    let eighth = lookup.farthest_holder().expect("enough have replied");
    assert!(target.distance(&eighth).leading_zeros() < 8, "{eighth}");
}
