//! The lookup, told what a network would answer.

use std::{collections::BTreeMap, net::IpAddr};

use rand::{RngExt, SeedableRng, rngs::StdRng};

use super::{announce::MAX_HOLDERS, *};

const OWN: NodeId = NodeId::new([0xff; 20]);
const RTT: Duration = Duration::from_millis(50);

fn lookup(goal: Goal, now: Instant) -> Lookup {
    let around = Surroundings {
        size: None,
        bound_ids: false,
        strict: false,
        one_per_subnet: false,
    };
    let target = NodeId::new([0; 20]);
    Lookup::new(target, goal, Owner::User, MAX_SOFT, around, now)
}

/// Node `n` is the n-th closest to the target.
fn contact(n: u16) -> Contact {
    let mut id = [0; 20];
    id[2..4].copy_from_slice(&n.to_be_bytes());
    Contact {
        id: NodeId::new(id),
        addr: SocketAddr::new([127, 0, 0, 1].into(), 1_000 + n),
    }
}

/// Takes all queries that may be sent at once.
fn asked(lookup: &mut Lookup, now: Instant) -> Vec<u16> {
    let mut asked = Vec::new();
    while let Step::Ask(addr, ..) = lookup.next(now) {
        asked.push(addr.port() - 1_000);
        lookup.check();
    }
    asked
}

fn reply(lookup: &mut Lookup, n: u16, token: bool, nodes: &[u16]) -> bool {
    let token = token.then_some(&b"token"[..]);
    let nodes = nodes.iter().map(|n| (contact(*n).id, contact(*n).addr));
    let hops = lookup.on_reply(&OWN, contact(n), RTT, token, nodes);
    hops.is_some()
}

#[test]
fn asks_the_closest_first_and_ends_when_they_have_replied() {
    let now = Instant::now();
    let mut lookup = lookup(Goal::Nodes, now);
    for n in (100..120).rev() {
        lookup.seed(contact(n), Source::Table(RTT));
    }
    assert_eq!(asked(&mut lookup, now), [100, 101, 102, 103]);
    assert!(reply(&mut lookup, 100, true, &[10, 11, 12]));
    assert!(!reply(&mut lookup, 100, true, &[5]), "one reply per query");
    assert!(!reply(&mut lookup, 110, true, &[5]), "it was not asked");
    assert_eq!(asked(&mut lookup, now), [10]);
    let mut open = vec![10, 101, 102, 103];
    while let Some(n) = open.pop() {
        reply(&mut lookup, n, true, &[]);
        open.extend(asked(&mut lookup, now));
    }
    assert_eq!(lookup.next(now), Step::Done);
    let stats = lookup.stats(now);
    assert_eq!((stats.asked, stats.replied, stats.hops), (8, 8, 2));
    let closest: Vec<NodeId> = lookup.closest().iter().map(|node| node.id).collect();
    let expected = [10, 11, 12, 100, 101, 102, 103, 104].map(|n| contact(n).id);
    assert_eq!(closest, expected);
}

#[test]
fn widens_past_the_slow_and_takes_late_replies() {
    let now = Instant::now();
    let mut lookup = lookup(Goal::Nodes, now);
    for n in 0..30 {
        lookup.seed(contact(n), Source::Table(RTT));
    }
    assert_eq!(asked(&mut lookup, now), [0, 1, 2, 3]);
    lookup.on_slow(&contact(0).addr);
    lookup.on_slow(&contact(1).addr);
    lookup.on_failure(&contact(2).addr);
    assert_eq!(asked(&mut lookup, now), [4, 5, 6]);
    assert!(reply(&mut lookup, 0, true, &[]));
    assert_eq!(lookup.closest(), [contact(0)]);
    assert_eq!(lookup.stats(now).failed, 2);
}

#[test]
fn answers_that_never_end_are_bounded() {
    let now = Instant::now();
    let mut lookup = lookup(Goal::Nodes, now);
    lookup.seed(contact(60_000), Source::Table(RTT));
    let mut next = 59_999;
    let mut open = asked(&mut lookup, now);
    while let Some(n) = open.pop() {
        // Always closer ones, at ever new addresses, and far more than anybody sends.
        let nodes: Vec<u16> = (next - 200..next).collect();
        next -= 200;
        reply(&mut lookup, n, true, &nodes);
        open.extend(asked(&mut lookup, now));
    }
    assert!(lookup.stats(now).asked <= MAX_QUERIES);
    assert_eq!(lookup.next(now), Step::Done);
}

#[test]
fn hops_to_the_first_peer_are_referrals_not_rounds() {
    let now = Instant::now();
    let mut lookup = lookup(Goal::Peers, now);
    let peer = |n: u16| [contact(n).addr].into_iter();
    lookup.seed(contact(100), Source::Table(RTT));
    for (n, referred) in [(100, 50), (50, 20), (20, 10)] {
        assert_eq!(asked(&mut lookup, now), [n]);
        assert!(reply(&mut lookup, n, true, &[referred]));
    }
    assert_eq!(lookup.add_peers(3, peer(1)).len(), 1);
    assert!(lookup.add_peers(4, peer(1)).is_empty());
    lookup.add_peers(5, peer(2));
    let stats = lookup.stats(now);
    assert_eq!(
        (stats.first_peer_hops, stats.hops, stats.peers),
        (Some(3), 3, 2)
    );
}

#[test]
fn announces_to_the_closest_with_tokens_and_repeats_a_lost_one() {
    let now = Instant::now();
    let mut lookup = lookup(Goal::Announce(AnnouncePort::Implied), now);
    for n in 0..9 {
        lookup.seed(contact(n), Source::Table(RTT));
    }
    // Every query is answered at once, but node 3 gives no token.
    let told = |lookup: &mut Lookup| {
        let mut told = Vec::new();
        loop {
            match lookup.next(now) {
                Step::Ask(addr, ..) => {
                    let n = addr.port() - 1_000;
                    reply(lookup, n, n != 3, &[]);
                }
                Step::Announce(to, token, _) => {
                    assert_eq!(&*token, b"token");
                    told.push(to.addr.port() - 1_000);
                }
                step => return (told, step),
            }
        }
    };
    let (first, step) = told(&mut lookup);
    assert_eq!(first, [0, 1, 2, 4, 5, 6, 7, 8]);
    assert!(matches!(step, Step::Wait(_)));
    lookup.on_announce_slow(&contact(0).addr);
    assert_eq!(told(&mut lookup).0, [0], "once more");
    lookup.on_announce_slow(&contact(0).addr);
    for n in first {
        lookup.on_announced(&contact(n).addr, n != 1);
    }
    assert_eq!(told(&mut lookup), (vec![], Step::Done));
    assert_eq!(lookup.stats(now).announced, 7);
}

#[test]
fn ends_in_time_whatever_is_lost() {
    let start = Instant::now();
    for silent in [false, true] {
        let mut lookup = lookup(Goal::Peers, start);
        if silent {
            lookup.seed(contact(1), Source::Saved);
        }
        let mut now = start;
        loop {
            match lookup.next(now) {
                Step::Ask(..) | Step::Probe(..) | Step::Announce(..) => {}
                Step::Wait(until) => {
                    assert!(until > now, "a wait that does not wait");
                    now = until;
                }
                Step::Done => break,
            }
        }
        assert!(now <= start + MAX_AGE);
    }
}

/// A network of `honest` nodes that know their neighbourhoods and some others, and of liars who
/// answer every question with phantoms right next to what was asked for.
struct Hostile {
    honest: Vec<Contact>,
    ids: BTreeMap<SocketAddr, NodeId>,
    asked: u32,
}

const TARGET: NodeId = NodeId::new([0; 20]);

impl Hostile {
    fn new(honest: u32) -> Self {
        let mut rng = StdRng::from_seed([3; 32]);
        let node = |n: u32| Contact {
            id: NodeId::new(rng.random()),
            addr: SocketAddr::new([40 + (n >> 12) as u8, (n >> 4) as u8, n as u8, 1].into(), 1),
        };
        let honest: Vec<Contact> = (0..honest).map(node).collect();
        Self {
            ids: honest.iter().map(|node| (node.addr, node.id)).collect(),
            honest,
            asked: 0,
        }
    }

    /// Every fifth node of the honest ones' list has gone over.
    fn lies(addr: &SocketAddr) -> bool {
        let IpAddr::V4(ip) = addr.ip() else {
            return false;
        };
        ip.octets()[0] >= 200 || ip.octets()[2] % 5 == 0
    }

    fn closest(&self, to: &NodeId, count: usize) -> Vec<Contact> {
        let mut all = self.honest.clone();
        all.sort_by_key(|node| to.distance(&node.id));
        all.truncate(count);
        all
    }

    /// What a node names that is asked about a point.
    fn answer(&mut self, from: &Contact, about: &NodeId) -> Vec<(NodeId, SocketAddr)> {
        self.asked += 1;
        if Self::lies(&from.addr) {
            let turn = self.asked as u8;
            let phantom = |n: u8| {
                let mut id = *about.as_bytes();
                id[10] ^= n.wrapping_mul(31).wrapping_add(turn);
                let ip = [200, turn.wrapping_mul(8).wrapping_add(n), 1, 1];
                (NodeId::new(id), SocketAddr::new(ip.into(), 1))
            };
            let phantoms: Vec<(NodeId, SocketAddr)> = (0..8).map(phantom).collect();
            self.ids
                .extend(phantoms.iter().map(|(id, addr)| (*addr, *id)));
            return phantoms;
        }
        // Its own neighbours, and one in sixteen of all others.
        let mut known = self.closest(&from.id, 12);
        let salt = from.id.as_bytes()[5];
        known.extend(
            self.honest
                .iter()
                .filter(|node| node.id.as_bytes()[6] & 15 == salt & 15),
        );
        known.sort_by_key(|node| about.distance(&node.id));
        known.dedup();
        known
            .iter()
            .take(8)
            .map(|node| (node.id, node.addr))
            .collect()
    }

    /// Runs a lookup to its end: whom it announces to, and how many queries it took.
    fn run(&mut self, goal: Goal, around: Surroundings) -> (Vec<SocketAddr>, Lookup) {
        let now = Instant::now();
        let mut lookup = Lookup::new(TARGET, goal, Owner::User, MAX_SOFT, around, now);
        // What a table knows of a far target: a few of those that are not so far.
        let start: Vec<Contact> = self.closest(&TARGET, 400);
        for node in start.iter().skip(100).step_by(18).take(2 * K) {
            lookup.seed(*node, Source::Table(RTT));
        }
        let mut told = Vec::new();
        loop {
            lookup.check();
            match lookup.next(now) {
                Step::Ask(addr, ..) => {
                    let id = self.ids[&addr];
                    let from = Contact { id, addr };
                    let nodes = self.answer(&from, &TARGET);
                    lookup.on_reply(&OWN, from, RTT, Some(b"token"), nodes.into_iter());
                }
                Step::Probe(to, point, _) => {
                    let nodes = self.answer(&to, &point);
                    lookup.on_probe_reply(&OWN, &to.addr, RTT, nodes.into_iter());
                }
                Step::Announce(to, ..) => {
                    told.push(to.addr);
                    lookup.on_announced(&to.addr, true);
                }
                Step::Wait(_) | Step::Done => return (told, lookup),
            }
        }
    }
}

#[test]
fn phantoms_next_to_the_target_keep_nobody_from_its_true_holders() {
    let mut net = Hostile::new(4_000);
    let around = Surroundings {
        size: Some((4_400.0, 3_600.0)),
        bound_ids: false,
        strict: false,
        one_per_subnet: true,
    };
    let holders: Vec<SocketAddr> = net
        .closest(&TARGET, K)
        .iter()
        .map(|node| node.addr)
        .collect();
    let honest = holders.iter().filter(|addr| !Hostile::lies(addr)).count();
    let (told, lookup) = net.run(Goal::Announce(AnnouncePort::Implied), around);
    let reached = holders
        .iter()
        .filter(|holder| told.contains(holder))
        .count();
    assert!(2 * reached >= honest, "{reached} of {honest}");
    let stats = lookup.stats(Instant::now());
    assert!(stats.suspicious && stats.asked <= 120, "{stats:?}");
    assert!(told.len() <= MAX_HOLDERS + K);

    // Without an idea of the size the phantoms have it all.
    let blind = Surroundings {
        size: None,
        ..around
    };
    let (told, _) = net.run(Goal::Announce(AnnouncePort::Implied), blind);
    let reached = holders
        .iter()
        .filter(|holder| told.contains(holder))
        .count();
    assert!(reached < honest, "{reached}");
}

#[test]
fn claims_about_others_keep_nobody_from_them() {
    let addr = |c: u8, port| SocketAddr::new([40, c, 0, 1].into(), port);
    let holder = Contact {
        id: contact(1).id,
        addr: addr(1, 1),
    };
    let wrong = |n| contact(n).id;
    // What two liars say before an honest node names the holder.
    let rows = [
        (
            "dead twins",
            [(holder.id, addr(2, 1)), (holder.id, addr(3, 1))],
        ),
        (
            "another id, far",
            [(wrong(900), holder.addr), (wrong(901), holder.addr)],
        ),
        (
            "another id, close",
            [(wrong(0), holder.addr), (wrong(2), holder.addr)],
        ),
        (
            "another port",
            [(holder.id, addr(1, 2)), (wrong(0), addr(1, 3))],
        ),
    ];
    for (what, lies) in rows {
        let mut now = Instant::now();
        let around = Surroundings {
            size: None,
            bound_ids: false,
            strict: false,
            one_per_subnet: true,
        };
        let target = NodeId::new([0; 20]);
        let mut lookup = Lookup::new(target, Goal::Peers, Owner::User, MAX_SOFT, around, now);
        for n in 10..13 {
            let seed = Contact {
                id: contact(u16::from(n)).id,
                addr: addr(n, 1),
            };
            lookup.seed(seed, Source::Table(RTT));
        }
        let mut open = Vec::new();
        let mut named = lies.into_iter().chain([(holder.id, holder.addr)]);
        let mut found = false;
        loop {
            match lookup.next(now) {
                Step::Ask(to, id, _) if to == holder.addr => {
                    assert!(
                        id.is_none_or(|id| id == holder.id),
                        "{what}: not under a false id"
                    );
                    found = lookup
                        .on_reply(&OWN, holder, RTT, None, [].into_iter())
                        .is_some();
                }
                Step::Ask(to, Some(id), _) => open.push(Contact { id, addr: to }),
                Step::Ask(..) | Step::Probe(..) | Step::Announce(..) => {}
                Step::Wait(until) => match open.pop() {
                    Some(from) => {
                        lookup.on_reply(&OWN, from, RTT, None, named.next().into_iter());
                    }
                    None => now = until,
                },
                Step::Done => break,
            }
            lookup.check();
        }
        assert!(found && lookup.closest().contains(&holder), "{what}");
    }
}

#[test]
fn of_whose_claims_none_is_there_no_more_are_asked_before_others() {
    let now = Instant::now();
    let mut lookup = lookup(Goal::Nodes, now);
    for n in 100..120 {
        lookup.seed(contact(n), Source::Table(RTT));
    }
    assert_eq!(asked(&mut lookup, now), [100, 101, 102, 103]);
    assert!(reply(&mut lookup, 100, true, &[1, 2, 3, 4, 5, 6]));
    assert!(reply(&mut lookup, 101, true, &[6]));
    assert_eq!(asked(&mut lookup, now), [1, 2, 3, 4]);
    lookup.on_slow(&contact(1).addr);
    lookup.on_failure(&contact(2).addr);
    lookup.on_slow(&contact(3).addr);
    // Not the fifth. Somebody else has named the sixth, too.
    assert_eq!(asked(&mut lookup, now), [6, 104]);
}

#[test]
fn points_beside_a_target_are_in_the_branches_beside_its_own() {
    let now = Instant::now();
    let around = Surroundings {
        size: Some((1_024.0, 1_024.0)),
        bound_ids: false,
        strict: false,
        one_per_subnet: false,
    };
    let mut lookup = Lookup::new(TARGET, Goal::Peers, Owner::User, MAX_SOFT, around, now);
    // One neighbour who knows nobody: too few for such a network.
    lookup.seed(contact(1), Source::Table(RTT));
    assert_eq!(asked(&mut lookup, now), [1]);
    reply(&mut lookup, 1, false, &[]);
    let mut shared = Vec::new();
    while let Step::Probe(to, point, _) = lookup.next(now) {
        assert_eq!(to, contact(1));
        shared.push(TARGET.distance(&point).leading_zeros());
        lookup.on_probe_reply(&OWN, &to.addr, RTT, [].into_iter());
    }
    // Six bits make a branch of sixteen nodes.
    assert_eq!(shared, [6, 7, 8, 9, 10]);
    assert_eq!(lookup.next(now), Step::Done);
}
