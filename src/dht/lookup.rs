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
//! A search goes through up to three stages. Most end after the first:
//!
//! | stage  | asks                                                  | follows if                          |
//! |--------|-------------------------------------------------------|-------------------------------------|
//! | Search | the closest that count (see `candidates`)             |                                     |
//! | Sweep  | for the points beside the target, and whom that finds | more or fewer nodes are close than  |
//! |        |                                                       | the network's size makes likely     |
//! | Paths  | on disjoint paths                                     | nothing was found, or nothing else  |
//! |        |                                                       | keeps liars from taking an announce |
//!
//! An announce then goes to the K closest that gave a token, and to all others that did within the
//! distance in which a key's holders are to be expected. A lookup never outlives [`MAX_AGE`].

mod announce;
mod candidates;
mod items;
mod paths;
mod sweep;

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    time::{Duration, Instant},
};

use super::{
    krpc::Method,
    routing_table::K,
    transactions::{MAX_SOFT, MIN_SOFT},
    types::{AnnouncePort, Contact, LookupStats},
};
use crate::ids::{InfoHash, NodeId};
use candidates::{Candidate, Candidates, MAX_WIDTH, State, Verdict};
use paths::Paths;
use sweep::Sweep;

pub(super) use candidates::Surroundings;
pub(super) use items::{ItemQuest, Quest, ScrapeQuest};

/// Ours: Kademlia's alpha. Four instead of three cuts the median time to the first peer by a
/// tenth for two queries more.
const ALPHA: usize = 4;

/// Ours: bounds against answers that never end.
const MAX_QUERIES: u32 = 200;
const MAX_PEERS: usize = 5_000;
/// BEP 5's K; a liar sends what fits.
const MAX_NODES_PER_REPLY: usize = K;
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
    /// An item; which one is in [`Lookup::quest`], as for the others below.
    Get,
    /// To store an item.
    Put,
    /// To count peers.
    Scrape,
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
    /// Send a find_node for this point beside the target, and report it slow after this long.
    Probe(Contact, NodeId, Duration),
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

/// How far a search has come.
#[derive(Debug)]
enum Stage {
    Search,
    Sweep(Box<Sweep>),
    Paths(Paths),
    Over,
}

#[derive(Debug)]
pub(super) struct Lookup {
    pub(super) target: NodeId,
    pub(super) goal: Goal,
    pub(super) owner: Owner,
    started: Instant,
    last_asked: Instant,
    candidates: Candidates,
    stage: Stage,
    /// Liars seem to sit around the target, or to hide who does.
    suspicious: bool,
    /// How many were asked that do not count.
    others: usize,
    /// How many starts it was given.
    starts: usize,
    /// To be asked first, however far they are.
    eager: Vec<SocketAddr>,
    peers: BTreeSet<SocketAddr>,
    stats: LookupStats,
    /// Round-trip times of this lookup, for its own soft time-out.
    rtts: Vec<Duration>,
    usual_soft: Duration,
    announcing: bool,
    /// We are a seed of what we announce.
    pub(super) seed: bool,
    pub(super) quest: Option<Box<Quest>>,
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
        around: Surroundings,
        now: Instant,
    ) -> Self {
        Self {
            target,
            goal,
            owner,
            started: now,
            last_asked: now,
            candidates: Candidates::new(target, around),
            stage: Stage::Search,
            suspicious: false,
            others: 0,
            starts: 0,
            eager: Vec::new(),
            peers: BTreeSet::new(),
            stats: LookupStats::default(),
            rtts: Vec::new(),
            usual_soft,
            announcing: false,
            seed: false,
            quest: None,
            traced: false,
            wake: now,
        }
    }

    /// Adds a node to start from.
    pub(super) fn seed(&mut self, contact: Contact, source: Source) {
        let distance = self.target.distance(&contact.id);
        let mut start = Candidate::new(distance, contact.addr, 1, Paths::mark(self.starts));
        self.starts += 1;
        if let Source::Table(rtt) = source {
            start.verified = true;
            start.rtt = Some(rtt);
        }
        self.candidates.add(contact.id, start);
    }

    /// Adds a node known by address only.
    pub(super) fn seed_router(&mut self, addr: SocketAddr) {
        self.candidates.add_router(addr);
    }

    /// Asks a candidate first, however far it is: those who are close to each other may all know
    /// but one part of the network.
    pub(super) fn hasten(&mut self, addr: SocketAddr) {
        self.eager.push(addr);
    }

    /// Whether it could use more nodes to ask.
    pub(super) fn is_hungry(&self) -> bool {
        let live = self.candidates.iter().filter(|node| node.is_live());
        !self.announcing && live.take(K).count() < K
    }

    /// What to ask a node on the way.
    pub(super) fn question(&self) -> Method<'static> {
        let info_hash = InfoHash::new(*self.target.as_bytes());
        match self.goal {
            Goal::Nodes => Method::FindNode {
                target: self.target,
            },
            Goal::Peers | Goal::Announce(_) | Goal::Scrape => Method::GetPeers {
                info_hash,
                noseed: self.seed,
                scrape: self.goal == Goal::Scrape,
            },
            Goal::Get | Goal::Put => Method::Get {
                target: self.target,
                seq: self.wanted_seq(),
            },
        }
    }

    /// What to send, with its token, to a node that is to store something.
    pub(super) fn deposit<'a>(&'a self, to: &SocketAddr, token: &'a [u8]) -> Option<Method<'a>> {
        let port = match self.goal {
            Goal::Announce(AnnouncePort::Explicit(port)) => Some(port),
            Goal::Announce(AnnouncePort::Implied) => None,
            Goal::Put => return Some(Method::Put(self.item_quest()?.message(to, token)?)),
            Goal::Nodes | Goal::Peers | Goal::Get | Goal::Scrape => return None,
        };
        Some(Method::AnnouncePeer {
            info_hash: InfoHash::new(*self.target.as_bytes()),
            port,
            token,
            seed: self.seed,
        })
    }

    /// What to do; called until it says wait or done.
    pub(super) fn next(&mut self, now: Instant) -> Step {
        if now.saturating_duration_since(self.started) >= MAX_AGE || self.is_answered() {
            return Step::Done;
        }
        while !self.announcing {
            if let Some(step) = self.next_query(now) {
                return step;
            }
            if self.is_waiting() || !self.advance() {
                break;
            }
        }
        if self.announcing {
            return self.next_announce(now);
        }
        self.wake = match self.waits_until(now) {
            Some(until) if until > now => until,
            _ if self.stores() => {
                self.announcing = true;
                return self.next_announce(now);
            }
            _ => return Step::Done,
        };
        Step::Wait(self.wake)
    }

    fn next_query(&mut self, now: Instant) -> Option<Step> {
        if self.stats.asked >= MAX_QUERIES {
            return None;
        }
        if matches!(self.stage, Stage::Search | Stage::Over) {
            let at = self.pick()?;
            return Some(self.ask(at, now));
        }
        if self.waiting() >= 2 * ALPHA {
            return None;
        }
        if let Some(at) = self.pick_near() {
            return Some(self.ask(at, now));
        }
        match &mut self.stage {
            Stage::Sweep(sweep) => {
                let (to, point) = sweep.next(&self.candidates)?;
                self.stats.asked += 1;
                self.last_asked = now;
                Some(Step::Probe(to, point, self.soft_timeout()))
            }
            Stage::Paths(paths) => {
                let (at, mark) = paths.next(&self.candidates)?;
                self.candidates.get_mut(at).paths = mark;
                Some(self.ask(at, now))
            }
            Stage::Search | Stage::Over => None,
        }
    }

    fn ask(&mut self, at: usize, now: Instant) -> Step {
        let usual = self.soft_timeout();
        let candidate = self.candidates.set_asked(at);
        candidate.tries += 1;
        self.stats.asked += u32::from(candidate.tries == 1);
        self.last_asked = now;
        let soft = match candidate.rtt {
            Some(rtt) => usual.min(2 * rtt).max(MIN_SOFT),
            None => usual,
        };
        // Under which id others named it binds it to nothing.
        let id = candidate.id.filter(|_| candidate.verified);
        Step::Ask(candidate.addr, id, soft)
    }

    /// The closest candidate to ask, if it is time to ask one.
    fn pick(&mut self) -> Option<usize> {
        while let Some(addr) = self.eager.pop() {
            let fresh = |node: &Candidate| node.addr == addr && node.state == State::Fresh;
            if let Some(at) = self.candidates.iter().position(fresh) {
                return Some(at);
            }
        }
        let width = self.width();
        let (mut counted, mut asked, mut fresh) = (0, 0, None);
        let (mut others_asked, mut other) = (0, None);
        for judged in self.candidates.judged() {
            let is_fresh = judged.node.state == State::Fresh;
            let is_asked = usize::from(judged.node.state == State::Asked);
            if judged.verdict == Verdict::Counts {
                asked += is_asked;
                fresh = fresh.or(is_fresh.then_some(judged.at));
                counted += 1;
                if counted == width {
                    break;
                }
            } else {
                others_asked += is_asked;
                other = other.or(is_fresh.then_some(judged.at));
            }
        }
        if asked >= self.alpha() {
            return None;
        }
        if fresh.is_some() {
            return fresh;
        }
        if other.is_some() && others_asked < self.alpha() && self.wants_others() {
            self.others += 1;
            return other;
        }
        // In a network of a few nodes there is nobody to widen to, and a lost datagram would lose
        // the lookup: ask those we know again, once.
        if self.is_waiting() || counted >= width {
            return None;
        }
        let again =
            |node: &Candidate| node.state == State::Slow && node.verified && node.tries < MAX_TRIES;
        self.candidates.iter().position(again)
    }

    /// Whether to ask those who do not count, too: while few have answered, and some where they may
    /// hold what is looked for, or others may look for it there.
    fn wants_others(&self) -> bool {
        let wanted = match self.goal {
            Goal::Announce(_) | Goal::Put => true,
            Goal::Peers => self.suspicious || self.peers.is_empty(),
            Goal::Get => self.suspicious || !self.found_item(),
            Goal::Nodes | Goal::Scrape => false,
        };
        (self.stats.replied as usize) < K || wanted && self.others < K
    }

    /// Somebody who was found beside the target and is close enough to be a holder.
    fn pick_near(&self) -> Option<usize> {
        let mut counted = self.candidates.counted();
        let near = |node: &Candidate| {
            let expected = self.candidates.around.expected(&node.distance);
            expected.is_some_and(|expected| expected <= WIDE_REGION)
        };
        let fresh = |node: &Candidate| node.state == State::Fresh && near(node);
        counted.find(|(_, node)| fresh(node)).map(|(at, _)| at)
    }

    /// How many of the closest must have replied. In a young table the announcer and the searcher
    /// may not agree on who the closest are: an announce looks at twice as many before it picks
    /// its K, and a search that found no peer yet at four times as many.
    fn width(&self) -> usize {
        match self.goal {
            Goal::Announce(_) | Goal::Put => 2 * K,
            Goal::Peers if self.peers.is_empty() => MAX_WIDTH,
            Goal::Get if !self.found_item() => MAX_WIDTH,
            Goal::Peers | Goal::Nodes | Goal::Get | Goal::Scrape => K,
        }
    }

    fn alpha(&self) -> usize {
        match self.owner {
            // Most saved contacts may be dead, and nothing else is under way.
            Owner::Bootstrap => 2 * ALPHA,
            Owner::User | Owner::Refresh => ALPHA,
        }
    }

    /// How many queries are out and not slow.
    fn waiting(&self) -> usize {
        let asked = self.candidates.asked();
        match &self.stage {
            Stage::Sweep(sweep) => asked + sweep.waiting(),
            Stage::Search | Stage::Paths(_) | Stage::Over => asked,
        }
    }

    fn is_waiting(&self) -> bool {
        self.waiting() > 0
    }

    /// Goes on to the next stage that has a reason, and says whether there is one.
    fn advance(&mut self) -> bool {
        let size = self.candidates.around.size.map(|(most, _)| most);
        let Some(size) = size.filter(|_| self.owner == Owner::User) else {
            return false;
        };
        let next = match self.stage {
            Stage::Search if self.is_suspicious() => {
                self.suspicious = true;
                Stage::Sweep(Box::new(Sweep::new(&self.target, size)))
            }
            Stage::Search | Stage::Sweep(_) if self.wants_paths() => Stage::Paths(Paths::default()),
            Stage::Search | Stage::Sweep(_) | Stage::Paths(_) => Stage::Over,
            Stage::Over => return false,
        };
        self.stage = next;
        !matches!(self.stage, Stage::Over)
    }

    /// Whether more nodes, or fewer, are close to the target than the network's size makes likely.
    fn is_suspicious(&self) -> bool {
        let mut replied = 0;
        for judged in self.candidates.judged() {
            match judged.verdict {
                Verdict::Crowd => return true,
                Verdict::Passed => continue,
                Verdict::Counts => replied += usize::from(judged.node.state == State::Replied),
            }
            if replied == K {
                return self.candidates.at_least(&judged.node.distance) > THIN;
            }
        }
        true
    }

    /// Whether only paths are left to tell liars from others. Where ids follow from addresses
    /// nobody can be next to every target.
    fn wants_paths(&self) -> bool {
        match self.goal {
            Goal::Peers => self.peers.is_empty() && !self.candidates.around.bound_ids,
            Goal::Announce(_) | Goal::Put => self.suspicious && !self.candidates.around.bound_ids,
            Goal::Get => !self.found_item() && !self.candidates.around.bound_ids,
            Goal::Nodes | Goal::Scrape => false,
        }
    }

    /// Until when to wait for those that were asked, or for anybody at all.
    fn waits_until(&self, now: Instant) -> Option<Instant> {
        if self.is_waiting() {
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
        let node = self.candidates.replied(from)?;
        let token = token.filter(|token| token.len() <= MAX_TOKEN);
        node.token = token.map(Box::from);
        // On several paths it was found, on one it was asked.
        let path = node.paths & node.paths.wrapping_neg();
        let hops = node.hops;
        self.on_round_trip(rtt);
        self.stats.replied += 1;
        self.stats.hops = self.stats.hops.max(hops.into());
        self.add_referrals(own, from.addr, nodes, hops, path);
        Some(hops.into())
    }

    /// A node told of others near a point beside the target.
    pub(super) fn on_probe_reply(
        &mut self,
        own: &NodeId,
        from: &SocketAddr,
        rtt: Duration,
        nodes: impl Iterator<Item = (NodeId, SocketAddr)>,
    ) {
        if !self.on_probe_answer(from, State::Replied) {
            return;
        }
        self.on_round_trip(rtt);
        self.stats.replied += 1;
        let node = self.candidates.find(from);
        let (hops, paths) = node.map_or((1, 0), |node| (node.hops, node.paths));
        self.add_referrals(own, *from, nodes, hops, paths & paths.wrapping_neg());
    }

    fn on_round_trip(&mut self, rtt: Duration) {
        let at = self.rtts.partition_point(|other| *other <= rtt);
        self.rtts.insert(at, rtt);
    }

    fn add_referrals(
        &mut self,
        own: &NodeId,
        from: SocketAddr,
        nodes: impl Iterator<Item = (NodeId, SocketAddr)>,
        hops: u8,
        path: u8,
    ) {
        let others = nodes.filter(|(id, _)| id != own).take(MAX_NODES_PER_REPLY);
        let hops = hops.saturating_add(1);
        self.candidates.add_all(others, from, hops, path);
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
        self.candidates.set_late(addr, State::Slow);
    }

    /// The same for a question about a point beside the target.
    pub(super) fn on_probe_slow(&mut self, addr: &SocketAddr) {
        self.on_probe_answer(addr, State::Slow);
    }

    /// A node will not tell of others near a point beside the target.
    pub(super) fn on_probe_failure(&mut self, addr: &SocketAddr) {
        self.on_probe_answer(addr, State::Failed);
    }

    fn on_probe_answer(&mut self, addr: &SocketAddr, state: State) -> bool {
        match &mut self.stage {
            Stage::Sweep(sweep) => sweep.on_answer(addr, state),
            // Too late to lead anywhere.
            Stage::Search | Stage::Paths(_) | Stage::Over => false,
        }
    }

    /// A node will not reply, or not usefully.
    pub(super) fn on_failure(&mut self, addr: &SocketAddr) {
        self.candidates.set_late(addr, State::Failed);
    }

    pub(super) fn stats(&self, now: Instant) -> LookupStats {
        let settled = self.stats.asked.saturating_sub(self.waiting() as u32);
        LookupStats {
            failed: settled.saturating_sub(self.stats.replied),
            suspicious: self.suspicious,
            elapsed: now.saturating_duration_since(self.started),
            ..self.stats
        }
    }

    /// Those that have been asked and have not answered, with how many referrals led to each.
    pub(super) fn asked(&self) -> impl Iterator<Item = (SocketAddr, Option<NodeId>, u32)> {
        let asked = |node: &&Candidate| matches!(node.state, State::Asked | State::Slow);
        let asked = self.candidates.iter().filter(asked);
        asked.map(|node| (node.addr, node.id, node.hops.into()))
    }

    /// The id of a node, and how many referrals led to it.
    pub(super) fn way_to(&self, addr: &SocketAddr) -> Option<(Option<NodeId>, u32)> {
        let mut at_place = self.candidates.iter().filter(|node| node.addr == *addr);
        at_place.next().map(|node| (node.id, node.hops.into()))
    }

    /// The closest nodes that replied, closest first.
    pub(super) fn closest(&self) -> Vec<Contact> {
        let replied = self.candidates.iter();
        let replied = replied.filter(|node| node.state == State::Replied);
        replied.filter_map(Candidate::contact).take(K).collect()
    }

    /// The id of the K-th closest that replied and counts.
    pub(super) fn farthest_holder(&self) -> Option<NodeId> {
        let (_, node) = self.candidates.counted_replied().nth(K - 1)?;
        node.id
    }

    pub(super) fn check(&self) {
        if !cfg!(debug_assertions) {
            return;
        }
        assert!(self.stats.asked <= MAX_QUERIES && self.peers.len() <= MAX_PEERS);
        self.candidates.check();
    }
}

/// Ours: nodes that answered us before may be asked twice.
const MAX_TRIES: u8 = 2;

/// Ours: how many routers a lookup is given at most.
pub(super) const MAX_ROUTERS: usize = 16;

/// Ours: where liars sit next to a key, its holders are sought and made among so many: the region
/// that the sweep covers.
const WIDE_REGION: f64 = 2.0 * K as f64;

/// Ours: where so many nodes should be closer than the eighth that replied, some are hidden from
/// us; chance does that once in some thousand lookups, and now and then our estimate is off.
const THIN: f64 = 20.0;

#[cfg(test)]
mod tests;
