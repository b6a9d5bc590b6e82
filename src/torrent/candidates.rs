//! The addresses we might dial: where they came from, when to try again, and which are banned.
//!
//! Everything here was told by strangers, so the store is bounded, hearsay (PEX) may fill at most
//! half of it, and an address earns its place by answering. Order of dialling: what the user gave,
//! then the fewest failures, then the longest untried.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::{Duration, Instant},
};

use rand::{RngExt, rngs::StdRng};

use super::CandidateSource;
use crate::{ids::PeerId, network::Network};

/// The bounded store of addresses and bans.
#[derive(Debug)]
pub(super) struct Candidates {
    network: Network,
    max: usize,
    known: BTreeMap<SocketAddr, Candidate>,
    banned: BTreeMap<BanKey, Instant>,
    ourselves: Vec<SocketAddr>,
}

#[derive(Debug)]
struct Candidate {
    /// The best source that named it.
    source: CandidateSource,
    /// It was named by sources of two kinds, or it has answered.
    confirmed: bool,
    /// It has shaken hands with us.
    verified: bool,
    state: State,
    failures: u32,
    last_try: Option<Instant>,
    /// Stretches the next pause; drawn at each dial, so that a crowd that lost the same peer does
    /// not come back to it at the same moment.
    jitter: f64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// May be dialled, at once or from then on.
    Idle(Option<Instant>),
    Dialling,
    Connected,
}

/// Who is held to account: by IP, whatever the port, but on `127.0.0.1` and `[::1]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum BanKey {
    Ip(IpAddr),
    Addr(SocketAddr),
    Id(PeerId),
}

impl Candidates {
    /// An empty store of at most `max` addresses; what the user gives is kept on top of that.
    pub(super) fn new(network: Network, max: usize) -> Self {
        Self {
            network,
            max,
            known: BTreeMap::new(),
            banned: BTreeMap::new(),
            ourselves: Vec::new(),
        }
    }

    /// An address was named. Returns whether it is new and was taken in.
    pub(super) fn add(&mut self, now: Instant, addr: SocketAddr, source: CandidateSource) -> bool {
        let addr = canonical(addr);
        let from_user = source == CandidateSource::User;
        if addr.port() == 0
            || !(from_user || self.network.accepts(&addr))
            || self.ourselves.contains(&addr)
            || (!from_user && self.is_banned(now, addr))
        {
            return false;
        }
        if let Some(candidate) = self.known.get_mut(&addr) {
            candidate.confirmed |= candidate.source != source;
            candidate.source = candidate.source.min(source);
            return false;
        }
        if !from_user && !self.make_room(source) {
            return false;
        }
        self.known.insert(addr, Candidate::new(source));
        true
    }

    /// The address turned out to be our own: the DHT will go on naming it.
    pub(super) fn mark_ourselves(&mut self, addr: SocketAddr) {
        let addr = canonical(addr);
        self.known.remove(&addr);
        if !self.ourselves.contains(&addr) {
            if self.ourselves.len() == MAX_OURSELVES {
                self.ourselves.remove(0);
            }
            self.ourselves.push(addr);
        }
    }

    /// The next address to dial, which is from then on being dialled.
    pub(super) fn next_to_dial(&mut self, now: Instant, rng: &mut StdRng) -> Option<SocketAddr> {
        let order = |candidate: &Candidate| {
            let named = candidate.source <= CandidateSource::Magnet;
            (!named, candidate.failures, candidate.last_try)
        };
        let ready = self
            .known
            .iter()
            .filter(|(addr, c)| self.ready(now, **addr, c));
        let best = ready.clone().map(|(_, c)| order(c)).min()?;
        let equals: Vec<SocketAddr> = ready
            .filter(|(_, c)| order(c) == best)
            .map(|(addr, _)| *addr)
            .collect();
        let addr = equals[rng.random_range(0..equals.len())];
        let candidate = self.known.get_mut(&addr)?;
        candidate.state = State::Dialling;
        candidate.last_try = Some(now);
        candidate.jitter = rng.random_range(1.0..1.5);
        Some(addr)
    }

    /// The peer with this listening address has shaken hands with us.
    pub(super) fn on_connected(&mut self, addr: SocketAddr) {
        let addr = canonical(addr);
        if !self.known.contains_key(&addr) {
            self.make_room(CandidateSource::Dht);
        }
        let candidate = self
            .known
            .entry(addr)
            .or_insert_with(|| Candidate::new(CandidateSource::Dht));
        candidate.state = State::Connected;
        candidate.verified = true;
        candidate.confirmed = true;
    }

    /// A dial or its handshake failed.
    pub(super) fn on_failed(&mut self, now: Instant, addr: SocketAddr) {
        let addr = canonical(addr);
        let quick_network = self.network == Network::Private;
        // Callers are taken in even when there is no room for them; once they leave, there has to be.
        let crowded = self.strangers() > self.max;
        let Some(candidate) = self.known.get_mut(&addr) else {
            return;
        };
        candidate.failures = candidate.failures.saturating_add(1);
        let user = candidate.source == CandidateSource::User;
        if !user && (crowded || candidate.failures >= MAX_FAILURES) {
            self.known.remove(&addr);
            return;
        }
        let step = candidate.failures as usize - 1;
        let pauses = if user || quick_network {
            QUICK_PAUSES
        } else {
            PAUSES
        };
        let pause = pauses[step.min(pauses.len() - 1)];
        candidate.state = State::Idle(Some(now + pause.mul_f64(candidate.jitter)));
    }

    /// A connection ended. `useful`: something was traded, so it is worth another try soon.
    pub(super) fn on_closed(&mut self, now: Instant, addr: SocketAddr, useful: bool) {
        if useful && let Some(candidate) = self.known.get_mut(&canonical(addr)) {
            candidate.failures = 0;
        }
        self.on_failed(now, addr);
    }

    /// Not before this time has passed: the peer is connected under another address, say.
    pub(super) fn postpone(&mut self, now: Instant, addr: SocketAddr, pause: Duration) {
        if let Some(candidate) = self.known.get_mut(&canonical(addr)) {
            candidate.state = State::Idle(Some(now + pause));
        }
    }

    /// Bans an address. By IP, whatever the port: a peer that called us shows a port that it will
    /// not have again. Only on `127.0.0.1` and `[::1]`, where every peer of a machine lives, it is
    /// the IP and port; [`Self::ban_id`] covers the caller there.
    pub(super) fn ban(&mut self, now: Instant, addr: SocketAddr, duration: Duration) {
        let key = BanKey::of(canonical(addr));
        self.insert_ban(now, key, duration);
        self.known
            .retain(|addr, c| BanKey::of(*addr) != key || c.source == CandidateSource::User);
    }

    /// Bans the peer id of a connection that came from `127.0.0.1` or `[::1]`. Elsewhere it would
    /// be of no use, and worse: who takes an honest peer's id and lies would get that peer banned.
    pub(super) fn ban_id(
        &mut self,
        now: Instant,
        addr: SocketAddr,
        id: PeerId,
        duration: Duration,
    ) {
        if is_localhost(addr) {
            self.insert_ban(now, BanKey::Id(id), duration);
        }
    }

    /// Whether the address is banned.
    pub(super) fn is_banned(&self, now: Instant, addr: SocketAddr) -> bool {
        self.in_force(now, BanKey::of(canonical(addr)))
    }

    /// Whether the peer id is banned where this connection comes from.
    pub(super) fn is_banned_id(&self, now: Instant, addr: SocketAddr, id: PeerId) -> bool {
        is_localhost(addr) && self.in_force(now, BanKey::Id(id))
    }

    /// The torrent turned out to be private (BEP 27): only addresses given by hand may be dialled.
    pub(super) fn forget_hearsay(&mut self) {
        let by_hand = |c: &Candidate| c.source <= CandidateSource::Magnet;
        self.known
            .retain(|_, c| by_hand(c) || !matches!(c.state, State::Idle(_)));
    }

    /// When [`Self::next_to_dial`] will have an address; a time in the past if it has one.
    pub(super) fn next_ready(&self, now: Instant) -> Option<Instant> {
        self.known
            .iter()
            .filter(|(addr, c)| self.admissible(**addr, c) && !self.is_banned(now, **addr))
            .filter_map(|(_, candidate)| match candidate.state {
                State::Idle(at) => Some(at.unwrap_or(now)),
                State::Dialling | State::Connected => None,
            })
            .min()
    }

    /// How many addresses could be dialled.
    pub(super) fn dialable(&self, now: Instant) -> usize {
        self.known
            .iter()
            .filter(|(addr, c)| self.ready(now, **addr, c))
            .count()
    }

    /// Whether there is an address to dial that has not failed: whoever is behind NAT has.
    pub(super) fn has_promising(&self, now: Instant) -> bool {
        let mut known = self.known.iter();
        known.any(|(addr, c)| c.failures == 0 && self.ready(now, *addr, c))
    }

    fn ready(&self, now: Instant, addr: SocketAddr, candidate: &Candidate) -> bool {
        matches!(candidate.state, State::Idle(at) if at.is_none_or(|at| now >= at))
            && self.admissible(addr, candidate)
            && !self.is_banned(now, addr)
    }

    /// Mail and web servers live below 1024, and a liar must not make a swarm knock there.
    fn admissible(&self, addr: SocketAddr, candidate: &Candidate) -> bool {
        addr.port() >= 1024
            || self.network == Network::Private
            || candidate.confirmed
            || candidate.source == CandidateSource::User
    }

    /// Whether there is a place for a new address from `source`, if need be that of a worse one.
    fn make_room(&mut self, source: CandidateSource) -> bool {
        let hearsay = |c: &Candidate| c.source == CandidateSource::Pex && !c.verified;
        let full = self.strangers() >= self.max;
        let full_of_hearsay = source == CandidateSource::Pex
            && self.known.values().filter(|c| hearsay(c)).count() >= self.max / 2;
        if !full && !full_of_hearsay {
            return true;
        }
        let worst = self
            .known
            .iter()
            .filter(|(_, c)| matches!(c.state, State::Idle(_)))
            .filter(|(_, c)| c.source != CandidateSource::User)
            .filter(|(_, c)| full || hearsay(c))
            .max_by_key(|(_, c)| (c.failures, !c.verified, c.source))
            .filter(|(_, c)| c.failures > 0 || (!c.verified && c.source > source))
            .map(|(addr, _)| *addr);
        worst.is_some_and(|addr| self.known.remove(&addr).is_some())
    }

    fn strangers(&self) -> usize {
        let user = |c: &&Candidate| c.source == CandidateSource::User;
        self.known.len() - self.known.values().filter(user).count()
    }

    fn in_force(&self, now: Instant, key: BanKey) -> bool {
        self.banned.get(&key).is_some_and(|until| now < *until)
    }

    fn insert_ban(&mut self, now: Instant, key: BanKey, duration: Duration) {
        if self.banned.len() >= MAX_BANS && !self.banned.contains_key(&key) {
            self.banned.retain(|_, until| now < *until);
        }
        if self.banned.len() >= MAX_BANS && !self.banned.contains_key(&key) {
            let first = self.banned.iter().min_by_key(|(_, until)| **until);
            if let Some(first) = first.map(|(key, _)| *key) {
                self.banned.remove(&first);
            }
        }
        let until = self.banned.entry(key).or_insert(now);
        *until = (*until).max(now + duration);
    }
}

impl Candidate {
    fn new(source: CandidateSource) -> Self {
        Self {
            source,
            confirmed: false,
            verified: false,
            state: State::Idle(None),
            failures: 0,
            last_try: None,
            jitter: 1.0,
        }
    }
}

impl BanKey {
    pub(super) fn of(addr: SocketAddr) -> Self {
        if is_localhost(addr) {
            Self::Addr(addr)
        } else {
            Self::Ip(addr.ip())
        }
    }
}

/// Where every peer of one machine lives.
fn is_localhost(addr: SocketAddr) -> bool {
    let ip = addr.ip().to_canonical();
    ip == Ipv4Addr::LOCALHOST || ip == Ipv6Addr::LOCALHOST
}

fn canonical(addr: SocketAddr) -> SocketAddr {
    SocketAddr::new(addr.ip().to_canonical(), addr.port())
}

const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

/// Ours: pauses after the first, second … failure in a row, stretched by up to a half.
const PAUSES: &[Duration] = &[secs(5), secs(15), secs(60), secs(5 * 60), secs(30 * 60)];
/// Ours: the same for addresses that somebody waits for, and in networks of one's own, where a
/// dial costs nobody anything.
const QUICK_PAUSES: &[Duration] = &[secs(1), secs(2), secs(5), secs(15), secs(60)];
/// Ours: an address that failed so often is forgotten, unless the user gave it.
const MAX_FAILURES: u32 = 6;
/// Ours: a whole provider's worth of liars; on overflow the ban that ends first is dropped.
const MAX_BANS: usize = 1_000;
/// Ours: the addresses that one host may have.
const MAX_OURSELVES: usize = 16;

#[cfg(test)]
mod tests;
