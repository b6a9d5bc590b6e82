//! The iterative lookup as a value: whom to ask next, told what came back.
//!
//! [`Lookup::next`] names one query at a time until enough are out; [`Lookup::on_reply`],
//! [`Lookup::on_slow`] and [`Lookup::on_failure`] report what became of them. Candidates are kept
//! sorted by distance, and only the K closest that are not known to be slow or dead are asked:
//!
//! ```text
//! Fresh ──ask──▶ Asked ──reply──▶ Replied        K closest of {Fresh, Asked, Replied}
//!                  │ soft time-out                 all Replied: the search is over
//!                  ▼
//!                Slow ──reply──▶ Replied          does not count: the search widens past it
//!                  │ hard time-out, error
//!                  ▼
//!                Failed
//! ```
//!
//! An announce then goes to the K closest that gave a token. A lookup never outlives
//! [`MAX_AGE`].

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    time::{Duration, Instant},
};

use super::{
    routing_table::K,
    transactions::{MAX_SOFT, MIN_SOFT},
    types::{AnnouncePort, Contact, LookupStats},
};
use crate::ids::{Distance, NodeId};

/// Ours: Kademlia's alpha. Four instead of three cuts the median time to the first peer by a
/// tenth for two queries more.
const ALPHA: usize = 4;

/// Ours: bounds against answers that never end.
const MAX_CANDIDATES: usize = 256;
const MAX_QUERIES: u32 = 200;
const MAX_PEERS: usize = 5_000;
/// BEP 5 and 32 nodes send 8, some send 20; a liar sends what fits.
const MAX_NODES_PER_REPLY: usize = 16;
const MAX_TOKEN: usize = 128;

/// Ours: no lookup runs longer, whatever happens.
pub(super) const MAX_AGE: Duration = Duration::from_secs(60);

/// Ours: a lookup without a single reply waits this long for a contact to turn up: it was likely
/// started together with the node.
const STARVE: Duration = Duration::from_secs(20);

/// What a lookup is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Goal {
    Nodes,
    Peers,
    Announce(AnnouncePort),
}

/// Who hears of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Owner {
    /// The user, by events.
    User,
    /// Our own search for our own id: it must end when nobody answers.
    Bootstrap,
    /// Upkeep of a bucket.
    Refresh,
}

/// What to do for a lookup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// Send the query, and report it slow after this long.
    Ask(SocketAddr, Option<NodeId>, Duration),
    /// Announce with this token, and report it slow after this long.
    Announce(Contact, Box<[u8]>, Duration),
    /// Nothing before a report, or this instant.
    Wait(Instant),
    /// It is over.
    Done,
}

/// Where a candidate comes from.
#[derive(Debug, Clone, Copy)]
pub(super) enum Source {
    /// Our routing table, with the round-trip time seen.
    Table(Duration),
    /// A saved contact.
    Saved,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Fresh,
    Asked,
    Slow,
    Replied,
    Failed,
}

#[derive(Debug)]
struct Candidate {
    distance: Distance,
    /// `None` for a router: it is known by address only.
    id: Option<NodeId>,
    addr: SocketAddr,
    state: State,
    /// How often it was asked.
    tries: u8,
    /// How many referrals led here; those of our table count one.
    hops: u8,
    /// It answered us before this lookup, so asking it twice harms no stranger.
    verified: bool,
    rtt: Option<Duration>,
    token: Option<Box<[u8]>>,
    announce: State,
}

#[derive(Debug)]
pub(super) struct Lookup {
    pub(super) target: NodeId,
    pub(super) goal: Goal,
    pub(super) owner: Owner,
    started: Instant,
    last_asked: Instant,
    /// Closest first; those without an id last.
    candidates: Vec<Candidate>,
    /// To be asked first, however far they are.
    eager: Vec<SocketAddr>,
    peers: BTreeSet<SocketAddr>,
    stats: LookupStats,
    /// Round-trip times of this lookup, for its own soft time-out.
    rtts: Vec<Duration>,
    usual_soft: Duration,
    announcing: bool,
    /// Each reply is reported to the user.
    pub(super) traced: bool,
    /// When [`Self::next`] wants to be called in any case.
    pub(super) wake: Instant,
}

impl Lookup {
    pub(super) fn new(
        target: NodeId,
        goal: Goal,
        owner: Owner,
        usual_soft: Duration,
        now: Instant,
    ) -> Self {
        Self {
            target,
            goal,
            owner,
            started: now,
            last_asked: now,
            candidates: Vec::new(),
            eager: Vec::new(),
            peers: BTreeSet::new(),
            stats: LookupStats::default(),
            rtts: Vec::new(),
            usual_soft,
            announcing: false,
            traced: false,
            wake: now,
        }
    }

    /// Adds a node to start from.
    pub(super) fn seed(&mut self, contact: Contact, source: Source) {
        let (verified, rtt) = match source {
            Source::Table(rtt) => (true, Some(rtt)),
            Source::Saved => (false, None),
        };
        self.insert(contact, 1, verified, rtt);
    }

    /// Adds a node known by address only.
    pub(super) fn seed_router(&mut self, addr: SocketAddr) {
        if self.knows(&addr) {
            return;
        }
        self.candidates.push(Candidate {
            distance: farthest(),
            id: None,
            addr,
            state: State::Fresh,
            tries: 0,
            hops: 1,
            verified: true,
            rtt: None,
            token: None,
            announce: State::Fresh,
        });
    }

    /// Asks a candidate first, however far it is: those who are close to each other may all know
    /// but one part of the network.
    pub(super) fn hasten(&mut self, addr: SocketAddr) {
        self.eager.push(addr);
    }

    /// Whether it could use more nodes to ask.
    pub(super) fn is_hungry(&self) -> bool {
        !self.announcing && self.live().take(K).count() < K
    }

    /// What to do; called until it says wait or done.
    pub(super) fn next(&mut self, now: Instant) -> Step {
        if now.saturating_duration_since(self.started) >= MAX_AGE {
            return Step::Done;
        }
        if self.announcing {
            return self.next_announce(now);
        }
        if let Some(at) = self.pick() {
            return self.ask(at, now);
        }
        self.wake = match self.waits_until(now) {
            Some(until) if until > now => until,
            _ if matches!(self.goal, Goal::Announce(_)) => {
                self.announcing = true;
                return self.next_announce(now);
            }
            _ => return Step::Done,
        };
        Step::Wait(self.wake)
    }

    fn ask(&mut self, at: usize, now: Instant) -> Step {
        let usual = self.soft_timeout();
        let candidate = &mut self.candidates[at];
        candidate.state = State::Asked;
        candidate.tries += 1;
        self.stats.asked += u32::from(candidate.tries == 1);
        self.last_asked = now;
        let soft = match candidate.rtt {
            Some(rtt) => usual.min(2 * rtt).max(MIN_SOFT),
            None => usual,
        };
        Step::Ask(candidate.addr, candidate.id, soft)
    }

    /// The candidates that count: neither slow nor dead.
    fn live(&self) -> impl Iterator<Item = (usize, &Candidate)> {
        let all = self.candidates.iter().enumerate();
        all.filter(|(_, node)| !matches!(node.state, State::Slow | State::Failed))
    }

    /// The closest candidate to ask, if it is time to ask one.
    fn pick(&mut self) -> Option<usize> {
        if self.stats.asked >= MAX_QUERIES {
            return None;
        }
        while let Some(addr) = self.eager.pop() {
            let fresh = |node: &Candidate| node.addr == addr && node.state == State::Fresh;
            if let Some(at) = self.candidates.iter().position(fresh) {
                return Some(at);
            }
        }
        let closest = || self.live().take(self.width());
        let asked = |state: State| state == State::Asked;
        if closest().filter(|(_, node)| asked(node.state)).count() >= self.alpha() {
            return None;
        }
        let fresh = closest().find(|(_, node)| node.state == State::Fresh);
        if let Some((at, _)) = fresh {
            return Some(at);
        }
        // In a network of a few nodes there is nobody to widen to, and a lost datagram would lose
        // the lookup: ask those we know again, once.
        if self.live().any(|(_, node)| asked(node.state)) || closest().count() >= self.width() {
            return None;
        }
        let again =
            |node: &Candidate| node.state == State::Slow && node.verified && node.tries < MAX_TRIES;
        self.candidates.iter().position(again)
    }

    /// How many of the closest must have replied. In a young table the announcer and the searcher
    /// may not agree on who the closest are: an announce looks at twice as many before it picks
    /// its K, and a search that found no peer yet at four times as many.
    fn width(&self) -> usize {
        match self.goal {
            Goal::Announce(_) => 2 * K,
            Goal::Peers if self.peers.is_empty() => 4 * K,
            Goal::Peers | Goal::Nodes => K,
        }
    }

    fn alpha(&self) -> usize {
        match self.owner {
            // Most saved contacts may be dead, and nothing else is under way.
            Owner::Bootstrap => 2 * ALPHA,
            Owner::User | Owner::Refresh => ALPHA,
        }
    }

    /// Until when to wait for those that were asked, or for anybody at all.
    fn waits_until(&self, now: Instant) -> Option<Instant> {
        if self.live().any(|(_, node)| node.state == State::Asked) {
            return Some(self.started + MAX_AGE);
        }
        // A slow node that is closer than the last of the K that replied is worth a moment: it is
        // one of those who should hold the peers.
        let mut replied = 0;
        let slow = self.candidates.iter().any(|node| {
            replied += usize::from(node.state == State::Replied);
            node.state == State::Slow && replied < K
        });
        let grace = match self.stats.replied {
            0 => Duration::from_secs(3),
            _ => (3 * self.soft_timeout()).clamp(MIN_SOFT, MAX_SOFT),
        };
        if slow {
            let until = self.last_asked + grace;
            if until > now {
                return Some(until);
            }
        }
        let starving = self.stats.replied == 0 && self.owner == Owner::User;
        starving.then(|| self.started + STARVE)
    }

    fn next_announce(&mut self, now: Instant) -> Step {
        let soft = (2 * self.soft_timeout()).max(2 * MIN_SOFT);
        let mut waiting = false;
        let holders = self.candidates.iter_mut().filter(|node| {
            node.state == State::Replied && node.token.is_some() && node.id.is_some()
        });
        for node in holders.take(K) {
            match node.announce {
                State::Fresh => {
                    node.announce = State::Asked;
                    node.tries = 1;
                }
                // A lost announce would go unnoticed for a whole interval: repeat it once.
                State::Slow if node.tries < MAX_TRIES => {
                    node.announce = State::Asked;
                    node.tries = MAX_TRIES;
                }
                State::Asked => {
                    waiting = true;
                    continue;
                }
                State::Slow | State::Replied | State::Failed => continue,
            }
            if let (Some(id), Some(token)) = (node.id, &node.token) {
                let contact = Contact {
                    id,
                    addr: node.addr,
                };
                return Step::Announce(contact, token.clone(), soft);
            }
        }
        if !waiting {
            return Step::Done;
        }
        self.wake = (self.started + MAX_AGE).max(now);
        Step::Wait(self.wake)
    }

    /// How long to wait before widening: the 90th percentile of this lookup's round trips, or the
    /// node's usual one while there are few.
    fn soft_timeout(&self) -> Duration {
        let len = self.rtts.len();
        let Some(rtt) = self.rtts.get(len * 9 / 10).filter(|_| len >= 4) else {
            return self.usual_soft;
        };
        (*rtt * 5 / 4).clamp(MIN_SOFT, MAX_SOFT)
    }

    /// A node replied. Returns how many referrals led to it; `None` if it was not asked.
    pub(super) fn on_reply(
        &mut self,
        own: &NodeId,
        from: Contact,
        rtt: Duration,
        token: Option<&[u8]>,
        nodes: impl Iterator<Item = (NodeId, SocketAddr)>,
    ) -> Option<u32> {
        let at = self.candidates.iter().position(|node| {
            node.addr == from.addr && matches!(node.state, State::Asked | State::Slow)
        })?;
        let mut node = self.candidates.remove(at);
        node.state = State::Replied;
        node.id = Some(from.id);
        node.distance = self.target.distance(&from.id);
        let token = token.filter(|token| token.len() <= MAX_TOKEN);
        node.token = token.map(Box::from);
        let hops = node.hops;
        let at = self
            .candidates
            .partition_point(|other| other.distance <= node.distance);
        self.candidates.insert(at, node);

        let at = self.rtts.partition_point(|other| *other <= rtt);
        self.rtts.insert(at, rtt);
        self.stats.replied += 1;
        self.stats.hops = self.stats.hops.max(hops.into());
        for (id, addr) in nodes.take(MAX_NODES_PER_REPLY) {
            if id != *own {
                self.insert(Contact { id, addr }, hops.saturating_add(1), false, None);
            }
        }
        Some(hops.into())
    }

    /// Keeps those that were not found before. `hops` referrals led to who named them.
    pub(super) fn add_peers(
        &mut self,
        hops: u32,
        found: impl Iterator<Item = SocketAddr>,
    ) -> Vec<SocketAddr> {
        let mut new = Vec::new();
        for peer in found {
            if self.peers.len() >= MAX_PEERS {
                break;
            }
            if self.peers.insert(peer) {
                new.push(peer);
            }
        }
        self.stats.peers = self.peers.len() as u32;
        if !new.is_empty() {
            self.stats.first_peer_hops.get_or_insert(hops);
        }
        new
    }

    /// A node has not replied for as long as most take.
    pub(super) fn on_slow(&mut self, addr: &SocketAddr) {
        if let Some(node) = self.find(addr)
            && node.state == State::Asked
        {
            node.state = State::Slow;
        }
    }

    /// The same for an announce.
    pub(super) fn on_announce_slow(&mut self, addr: &SocketAddr) {
        if let Some(node) = self.find(addr)
            && node.announce == State::Asked
        {
            node.announce = State::Slow;
        }
    }

    /// A node will not reply, or not usefully.
    pub(super) fn on_failure(&mut self, addr: &SocketAddr) {
        if let Some(node) = self.find(addr)
            && matches!(node.state, State::Asked | State::Slow)
        {
            node.state = State::Failed;
        }
    }

    /// A node took our announce, or refused it.
    pub(super) fn on_announced(&mut self, addr: &SocketAddr, taken: bool) {
        let Some(node) = self.find(addr) else { return };
        if !matches!(node.announce, State::Asked | State::Slow) {
            return;
        }
        node.announce = if taken { State::Replied } else { State::Failed };
        self.stats.announced += u32::from(taken);
    }

    pub(super) fn stats(&self, now: Instant) -> LookupStats {
        let waiting = self.live().filter(|(_, node)| node.state == State::Asked);
        let settled = self.stats.asked.saturating_sub(waiting.count() as u32);
        LookupStats {
            failed: settled.saturating_sub(self.stats.replied),
            elapsed: now.saturating_duration_since(self.started),
            ..self.stats
        }
    }

    /// The closest nodes that replied, closest first.
    pub(super) fn closest(&self) -> Vec<Contact> {
        let replied = self.candidates.iter();
        let replied = replied.filter(|node| node.state == State::Replied);
        replied
            .filter_map(|node| {
                Some(Contact {
                    id: node.id?,
                    addr: node.addr,
                })
            })
            .take(K)
            .collect()
    }

    fn find(&mut self, addr: &SocketAddr) -> Option<&mut Candidate> {
        self.candidates.iter_mut().find(|node| node.addr == *addr)
    }

    fn knows(&self, addr: &SocketAddr) -> bool {
        self.candidates.iter().any(|node| node.addr == *addr)
    }

    fn insert(&mut self, contact: Contact, hops: u8, verified: bool, rtt: Option<Duration>) {
        let distance = self.target.distance(&contact.id);
        let at = self
            .candidates
            .partition_point(|node| node.distance < distance);
        // One query per address, and one candidate per id: the first to claim it.
        let taken = self.candidates.get(at);
        if taken.is_some_and(|node| node.id == Some(contact.id)) || self.knows(&contact.addr) {
            return;
        }
        if self.candidates.len() >= MAX_CANDIDATES {
            let useless = |node: &Candidate| matches!(node.state, State::Fresh | State::Failed);
            let last = self.candidates.iter().rposition(useless);
            match last {
                Some(last) if last >= at => drop(self.candidates.remove(last)),
                _ => return,
            }
        }
        self.candidates.insert(
            at,
            Candidate {
                distance,
                id: Some(contact.id),
                addr: contact.addr,
                state: State::Fresh,
                tries: 0,
                hops,
                verified,
                rtt,
                token: None,
                announce: State::Fresh,
            },
        );
    }

    pub(super) fn check(&self) {
        if !cfg!(debug_assertions) {
            return;
        }
        assert!(self.candidates.len() <= MAX_CANDIDATES + MAX_ROUTERS);
        assert!(self.stats.asked <= MAX_QUERIES && self.peers.len() <= MAX_PEERS);
        assert!(self.candidates.is_sorted_by_key(|node| node.distance));
        let addrs: BTreeSet<SocketAddr> = self.candidates.iter().map(|node| node.addr).collect();
        assert_eq!(addrs.len(), self.candidates.len());
    }
}

/// Ours: nodes that answered us before may be asked twice.
const MAX_TRIES: u8 = 2;

/// Ours: how many routers a lookup is given at most.
pub(super) const MAX_ROUTERS: usize = 16;

/// The distance of a node whose id is not known: it is asked when nobody better is.
fn farthest() -> Distance {
    NodeId::new([0; 20]).distance(&NodeId::new([0xff; 20]))
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: NodeId = NodeId::new([0xff; 20]);
    const RTT: Duration = Duration::from_millis(50);

    fn lookup(goal: Goal, now: Instant) -> Lookup {
        Lookup::new(NodeId::new([0; 20]), goal, Owner::User, MAX_SOFT, now)
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
                    Step::Ask(..) | Step::Announce(..) => {}
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
}
