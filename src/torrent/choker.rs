//! Who may download from us: tit-for-tat, the optimistic slot, and a fair queue as a seed
//! ([BEP 3], "Choking"; Cohen, "Incentives Build Robustness in BitTorrent").
//!
//! | every | we are | the slots go to |
//! |---|---|---|
//! | 10 s | a leecher | the [`ChokerConfig::slots`] interested peers that give us most: `leech_slots` |
//! | 10 s | a seed | the interested peers that were served least so far: `seed_slots` |
//! | 30 s | either | one more at random, newcomers and old partners three times as likely: `optimistic_slots` |
//!
//! A slot that falls free in between is given at once ([`Choker::fill`]); a peer is choked only by
//! a round ([`Choker::decide`]), because TCP needs seconds to find its rate. The policy is three
//! plain functions over plain [`PeerView`]s; [`Choker`] only keeps the clocks and the seed's
//! ledger. It never talks to peers: the torrent compares the answer with what is, and sends.
//!
//! [BEP 3]: https://www.bittorrent.org/beps/bep_0003.html

use std::{
    cmp::Reverse,
    collections::BTreeMap,
    fmt,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    time::{Duration, Instant},
};

use rand::{RngExt, rngs::StdRng, seq::SliceRandom};

use super::{
    PeerKey,
    chooser::{Chooser, Policy, Round, SeedOrder},
};
use crate::network::Network;

/// What the choker knows about one peer.
#[derive(Debug, Clone)]
pub struct PeerView {
    /// Which connection.
    pub key: PeerKey,
    /// Where it comes from.
    pub addr: IpAddr,
    /// It wants something that we have.
    pub interested: bool,
    /// It may download from us.
    pub unchoked: bool,
    /// Since when; `None` while it is choked.
    pub unchoked_since: Option<Instant>,
    /// Payload it gives us, bytes per second over about 20 s.
    pub received_rate: f64,
    /// Payload it gave us over this connection, bytes.
    pub received: u64,
    /// When its last block came; `None` if none ever did.
    pub last_received: Option<Instant>,
    /// Payload we gave it over this connection, bytes.
    pub sent: u64,
    /// It owes us blocks and has sent none for [`PATIENCE_ROUNDS`].
    pub snubbed: bool,
    /// We may download from it.
    pub unchokes_us: bool,
    /// When its handshake was done.
    pub connected_at: Instant,
    /// Pieces it lacks.
    pub pieces_missing: u32,
    /// The last round that left it in an optimistic slot.
    pub last_optimistic: Option<Instant>,
}

/// Which side of the trade we are on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// We want pieces: slots are wages.
    Leech,
    /// We want nothing: slots are turns in a queue.
    Seed,
}

/// How many slots, and how often they move.
#[derive(Debug, Clone)]
pub struct ChokerConfig {
    /// Regular slots. With 0 nobody is unchoked, not even optimistically.
    pub slots: usize,
    /// Optimistic slots on top of them.
    pub optimistic_slots: usize,
    /// Between two rounds.
    pub interval: Duration,
    /// Between two turns of the optimistic slots.
    pub optimistic_interval: Duration,
    /// What a leecher goes by.
    pub chooser: Chooser,
    /// What a seed goes by.
    pub seed_order: SeedOrder,
}

/// The rounds, the holders of the optimistic slots, and how much each peer was served.
pub struct Choker {
    config: ChokerConfig,
    next_round: Instant,
    /// When the optimistic slots moved last.
    turn_began: Instant,
    optimistic: Vec<PeerKey>,
    ledger: Ledger,
    /// In place of tit-for-tat, and the slots that it gave last.
    policy: Option<Policy>,
    weights: BTreeMap<PeerKey, f64>,
    up_rate: f64,
}

impl fmt::Debug for Choker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Choker")
            .field("config", &self.config)
            .field("optimistic", &self.optimistic)
            .finish_non_exhaustive()
    }
}

impl Choker {
    /// Nobody is unchoked; the first round is one interval away.
    pub fn new(config: ChokerConfig, now: Instant) -> Self {
        Self {
            next_round: now + config.interval,
            policy: config.chooser.make(),
            config,
            turn_began: now,
            optimistic: Vec::new(),
            ledger: Ledger::default(),
            weights: BTreeMap::new(),
            up_rate: 0.0,
        }
    }

    /// Changes the number of regular slots. More are given by the next fill, fewer taken by the
    /// next round.
    pub fn set_slots(&mut self, slots: usize) {
        self.config.slots = slots;
    }

    /// Regular and optimistic slots together.
    pub fn slots(&self) -> usize {
        let ChokerConfig {
            slots,
            optimistic_slots,
            ..
        } = self.config;
        if slots == 0 {
            0
        } else {
            slots + optimistic_slots
        }
    }

    /// A round was decided elsewhere: the next is one interval away.
    pub fn skip(&mut self, now: Instant) {
        self.next_round = now + self.config.interval;
    }

    /// What was sent until now counts for nothing in a seed's queue.
    pub fn forgive(&mut self, peers: &[PeerView]) {
        let account = |peer: &PeerView| Account {
            sent: peer.sent,
            last_round: 0,
            served: 0,
        };
        let accounts = peers.iter().map(|peer| (peer.key, account(peer)));
        self.ledger.accounts = accounts.collect();
    }

    /// Whether it is time for [`Self::decide`].
    pub fn due(&self, now: Instant) -> bool {
        now >= self.next_round
    }

    /// When it will be.
    pub fn next_deadline(&self) -> Instant {
        self.next_round
    }

    /// Tells policies what we upload at present, bytes per second.
    pub fn set_uplink(&mut self, rate: f64) {
        self.up_rate = rate;
    }

    /// Whether slots have weights while we are a leecher.
    pub fn is_weighted(&self) -> bool {
        self.policy.is_some()
    }

    /// A peer's part of the uplink relative to others'. A peer without a slot may still be served
    /// what it was promised.
    pub fn weight(&self, key: PeerKey) -> f64 {
        self.weights.get(&key).copied().unwrap_or(0.0)
    }

    /// Who holds an optimistic slot.
    pub fn optimistic(&self) -> &[PeerKey] {
        &self.optimistic
    }

    /// A round: who is unchoked from this moment on, sorted. Everybody else is choked.
    pub fn decide(
        &mut self,
        now: Instant,
        mode: Mode,
        peers: &[PeerView],
        rng: &mut StdRng,
    ) -> Vec<PeerKey> {
        self.next_round = now + self.config.interval;
        self.ledger.settle(peers);
        if mode == Mode::Leech && self.policy.is_some() {
            return self.decide_by_policy(now, peers, rng);
        }
        let wanting: Vec<&PeerView> = peers.iter().filter(|peer| peer.interested).collect();

        let turn_over = now >= self.turn_began + self.config.optimistic_interval;
        let before = std::mem::take(&mut self.optimistic);
        let stay = |peer: &&PeerView| !turn_over && before.contains(&peer.key);
        let mut chosen = match mode {
            Mode::Leech => leech_slots(now, &self.config, &wanting, self.config.slots, rng),
            Mode::Seed => {
                let queue: Vec<_> = wanting.iter().copied().filter(|p| !stay(p)).collect();
                seed_slots(now, &self.config, &queue, self.config.slots, &self.ledger)
            }
        };

        // Whoever earned a regular slot leaves the optimistic one to somebody else.
        let places = self.optimistic_places(mode, chosen.len());
        let keep = wanting
            .iter()
            .filter(|p| stay(p) && !chosen.contains(&p.key))
            .map(|p| p.key);
        self.optimistic = keep.take(places).collect();
        chosen.extend(&self.optimistic);

        let spare = places - self.optimistic.len();
        let waiting = waiting(&wanting, &chosen, &before);
        let drawn = self.draw(now, mode, &waiting, spare, rng);
        self.optimistic.extend(&drawn);
        chosen.extend(drawn);
        if turn_over {
            self.turn_began = now;
        }
        chosen.sort_unstable();
        chosen
    }

    /// Between rounds: gives away the slots that fell free, chokes nobody, and returns who is
    /// unchoked in addition, sorted. A link must not idle for seconds because a peer left, or
    /// because the first one to be interested came just after a round.
    pub fn fill(
        &mut self,
        now: Instant,
        mode: Mode,
        peers: &[PeerView],
        rng: &mut StdRng,
    ) -> Vec<PeerKey> {
        let wanting: Vec<&PeerView> = peers.iter().filter(|peer| peer.interested).collect();
        let mut held: Vec<PeerKey> = wanting
            .iter()
            .filter(|p| p.unchoked)
            .map(|p| p.key)
            .collect();
        self.optimistic.retain(|key| held.contains(key));
        if wanting.len() == held.len() {
            return Vec::new();
        }
        if mode == Mode::Leech && self.policy.is_some() {
            if held.is_empty() {
                return self.decide_by_policy(now, peers, rng);
            }
            return Vec::new();
        }

        let regular = held.len() - self.optimistic.len();
        let spare = self.config.slots.saturating_sub(regular);
        if spare == 0 && self.optimistic.len() >= self.optimistic_places(mode, regular) {
            return Vec::new();
        }
        let queue = waiting(&wanting, &held, &[]);
        let mut fresh = match mode {
            Mode::Leech => leech_slots(now, &self.config, &queue, spare, rng),
            Mode::Seed => seed_slots(now, &self.config, &queue, spare, &self.ledger),
        };

        let places = self.optimistic_places(mode, regular + fresh.len());
        let spare = places.saturating_sub(self.optimistic.len());
        held.extend(&fresh);
        let waiting = waiting(&wanting, &held, &[]);
        let drawn = self.draw(now, mode, &waiting, spare, rng);
        self.optimistic.extend(&drawn);
        fresh.extend(drawn);
        fresh.sort_unstable();
        fresh
    }

    /// The slots of a policy that is not ours; nonsense among the weights is no slot.
    fn decide_by_policy(
        &mut self,
        now: Instant,
        peers: &[PeerView],
        rng: &mut StdRng,
    ) -> Vec<PeerKey> {
        self.optimistic.clear();
        let Some(policy) = self.policy.as_mut().filter(|_| self.config.slots > 0) else {
            return Vec::new();
        };
        let round = Round {
            now,
            peers,
            slots: self.config.slots,
            optimistic_slots: self.config.optimistic_slots,
            interval: self.config.interval,
            up_rate: self.up_rate,
        };
        let slots = policy(&round, rng).into_iter();
        let sane = slots.filter(|slot| slot.weight.is_finite() && slot.weight >= 0.0);
        self.weights = sane.map(|slot| (slot.key, slot.weight)).collect();
        self.weights.keys().copied().collect()
    }

    fn draw(
        &self,
        now: Instant,
        mode: Mode,
        waiting: &[&PeerView],
        count: usize,
        rng: &mut StdRng,
    ) -> Vec<PeerKey> {
        let tickets = |peer: &PeerView| match mode {
            Mode::Leech if thankless(now, &self.config, peer) => 0,
            _ if peer.connected_at >= self.turn_began => FAVOURED_TICKETS,
            Mode::Leech if peer.received > 0 => FAVOURED_TICKETS,
            _ => 1,
        };
        optimistic_slots(waiting, count, tickets, rng)
    }

    /// How many optimistic slots there are. When every interested peer takes and gives nothing,
    /// the regular slots that nobody earns are drawn for as well: with more trials a partner is
    /// found sooner (Cohen's anti-snubbing).
    fn optimistic_places(&self, mode: Mode, regular: usize) -> usize {
        let ChokerConfig {
            slots,
            optimistic_slots,
            ..
        } = self.config;
        match mode {
            _ if slots == 0 => 0,
            Mode::Leech if regular == 0 => slots + optimistic_slots,
            Mode::Leech | Mode::Seed => optimistic_slots,
        }
    }
}

/// Tit-for-tat: the `slots` peers that give us most. Slots that are left go to peers that owe us
/// nothing yet, so that two strangers can begin to trade; a peer that took and gave nothing back
/// for a minute has to wait for the optimistic slot.
fn leech_slots(
    now: Instant,
    config: &ChokerConfig,
    peers: &[&PeerView],
    slots: usize,
    rng: &mut StdRng,
) -> Vec<PeerKey> {
    let patience = config.interval * PATIENCE_ROUNDS;
    let (mut givers, mut others): (Vec<&PeerView>, Vec<&PeerView>) = peers
        .iter()
        .copied()
        .partition(|peer| gives(now, peer, patience));
    givers.sort_by(|a, b| {
        let more = wage(b)
            .total_cmp(&wage(a))
            .then(b.received.cmp(&a.received));
        more.then(a.key.cmp(&b.key))
    });

    others.retain(|peer| !takes_only(now, peer, patience));
    others.shuffle(rng);
    // A trial goes on until it succeeds or a minute has passed: no flapping among strangers. Who
    // has the optimistic slot is on trial already.
    others.sort_by_key(|peer| (!peer.unchoked, peer.last_optimistic));
    let slots = givers.iter().chain(&others).take(slots);
    slots.map(|peer| peer.key).collect()
}

/// It has given us something lately.
fn gives(now: Instant, peer: &PeerView, patience: Duration) -> bool {
    !peer.snubbed && peer.last_received.is_some_and(|at| age(now, at) < patience)
}

/// It was served, had time to answer, and did not.
fn takes_only(now: Instant, peer: &PeerView, patience: Duration) -> bool {
    let on_trial = peer
        .unchoked_since
        .is_some_and(|since| age(now, since) < patience);
    peer.snubbed || (peer.sent > 0 && !on_trial && !gives(now, peer, patience))
}

/// The rate by which peers are compared. Who has a slot keeps it against a rival that is only a
/// little better: rates are noisy, and a choke costs both sides a TCP ramp.
fn wage(peer: &PeerView) -> f64 {
    peer.received_rate * if peer.unchoked { INCUMBENT_BONUS } else { 1.0 }
}

/// As a seed: a queue by bytes served, least first. Ours, because the other rule,
/// [`SeedOrder::Fastest`], lets three greedy peers take a seed from thirty others. Who has just got a
/// slot keeps it for [`TURN_ROUNDS`]. Equals are ordered by how much they lack, then by age.
/// Several peers behind one address count as one while others wait.
fn seed_slots(
    now: Instant,
    config: &ChokerConfig,
    peers: &[&PeerView],
    slots: usize,
    ledger: &Ledger,
) -> Vec<PeerKey> {
    let turn = config.interval * TURN_ROUNDS;
    let mut queue = peers.to_vec();
    queue.sort_by_cached_key(|peer| {
        let in_turn = peer
            .unchoked_since
            .is_some_and(|since| age(now, since) < turn);
        let lack = Reverse(peer.pieces_missing);
        let (in_turn, served) = match config.seed_order {
            SeedOrder::LeastServed => (in_turn, ledger.served(peer.key)),
            SeedOrder::Fastest => (false, u64::MAX - ledger.last_round(peer.key)),
        };
        (!in_turn, served, lack, peer.connected_at, peer.key)
    });

    let mut hosts = Vec::new();
    let (mut first, mut again) = (Vec::new(), Vec::new());
    for peer in queue {
        match host(peer.addr) {
            Some(host) if hosts.contains(&host) => again.push(peer.key),
            Some(host) => {
                hosts.push(host);
                first.push(peer.key);
            }
            None => first.push(peer.key),
        }
        if first.len() == slots {
            break;
        }
    }
    first.into_iter().chain(again).take(slots).collect()
}

/// Draws `count` of the `waiting` peers. Newcomers hold more tickets, so that they have a first
/// piece to trade with, and so do old partners. Peers without a ticket are drawn only when nobody
/// else waits.
fn optimistic_slots(
    waiting: &[&PeerView],
    count: usize,
    tickets: impl Fn(&PeerView) -> u32,
    rng: &mut StdRng,
) -> Vec<PeerKey> {
    let mut pool: Vec<(u32, PeerKey)> = waiting.iter().map(|p| (tickets(p), p.key)).collect();
    let mut drawn = Vec::new();
    while drawn.len() < count && !pool.is_empty() {
        let total: u32 = pool.iter().map(|(tickets, _)| tickets).sum();
        if total == 0 {
            pool.iter_mut().for_each(|(tickets, _)| *tickets = 1);
            continue;
        }
        let mut ticket = rng.random_range(0..total);
        let winner = pool.iter().position(|(tickets, _)| {
            let wins = ticket < *tickets;
            ticket = ticket.saturating_sub(*tickets);
            wins
        });
        let winner = winner.expect("the ticket is below the sum");
        drawn.push(pool.remove(winner).1);
    }
    drawn
}

/// It had an optimistic turn lately and gave nothing for it: a free rider that gets such turns
/// again and again could live on them.
fn thankless(now: Instant, config: &ChokerConfig, peer: &PeerView) -> bool {
    let turn = config.optimistic_interval;
    peer.last_optimistic.is_some_and(|seen| {
        let nothing_since = peer.last_received.is_none_or(|at| at + turn < seen);
        nothing_since && age(now, seen) < turn * THANKLESS_TURNS
    })
}

/// Who has no slot, without the holders of the last turn and without hosts that have a slot, as
/// long as somebody else waits.
fn waiting<'a>(
    wanting: &[&'a PeerView],
    chosen: &[PeerKey],
    last_turn: &[PeerKey],
) -> Vec<&'a PeerView> {
    let (holders, waiting): (Vec<&PeerView>, Vec<&PeerView>) = wanting
        .iter()
        .copied()
        .partition(|peer| chosen.contains(&peer.key));
    let hosts: Vec<IpAddr> = holders.iter().filter_map(|peer| host(peer.addr)).collect();
    let is_new = |peer: &&PeerView| {
        !last_turn.contains(&peer.key) && host(peer.addr).is_none_or(|host| !hosts.contains(&host))
    };
    let fresh: Vec<_> = waiting.iter().copied().filter(is_new).collect();
    if fresh.is_empty() { waiting } else { fresh }
}

/// What counts as one subscriber: an IPv4 address, or an IPv6 /64. `None` for local addresses,
/// where a whole testnet may stand behind one.
fn host(addr: IpAddr) -> Option<IpAddr> {
    let addr = addr.to_canonical();
    if Network::Private.accepts(&SocketAddr::new(addr, 1)) {
        return None;
    }
    Some(match addr {
        IpAddr::V4(_) => addr,
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() >> 64 << 64).into(),
    })
}

fn age(now: Instant, at: Instant) -> Duration {
    now.saturating_duration_since(at)
}

/// Cohen: who gives nothing for a minute has snubbed us. In rounds, like all times here, so that an
/// experiment with a faster choker keeps the proportions.
pub const PATIENCE_ROUNDS: u32 = 6;
/// Ours: a seed's turn, in rounds; long enough for TCP to reach its rate.
const TURN_ROUNDS: u32 = 2;
/// Ours: for how many optimistic turns (ten minutes) a wasted one is remembered.
const THANKLESS_TURNS: u32 = 20;
/// BEP 3: newly connected peers are three times as likely to start as the optimistic unchoke. Ours:
/// so are those that have ever given us something, or a free rider that is everybody's neighbour is
/// drawn as often as those whose uploads it lives on.
const FAVOURED_TICKETS: u32 = 3;
/// Ours: a tenth, more than the noise of a 20 s mean at equal rates.
const INCUMBENT_BONUS: f64 = 1.1;

/// How much service each peer has had, for the seed's queue.
#[derive(Debug, Default)]
struct Ledger {
    accounts: BTreeMap<PeerKey, Account>,
}

#[derive(Debug, Clone, Copy)]
struct Account {
    /// [`PeerView::sent`] at the last settlement.
    sent: u64,
    /// Of this, in the last round.
    last_round: u64,
    served: u64,
}

impl Ledger {
    fn served(&self, key: PeerKey) -> u64 {
        let end_of_queue = || self.accounts.values().map(|a| a.served).max().unwrap_or(0);
        self.accounts
            .get(&key)
            .map_or_else(end_of_queue, |account| account.served)
    }

    fn last_round(&self, key: PeerKey) -> u64 {
        let account = self.accounts.get(&key);
        account.map_or(0, |account| account.last_round)
    }

    /// Charges the round that ends. A slot costs at least three quarters of what its holders got
    /// on average, so that a peer that reads slowly cannot stay least served and keep its slot for
    /// ever. A newcomer joins at the end of the queue, so that reconnecting gains nothing.
    fn settle(&mut self, peers: &[PeerView]) {
        let got = |peer: &PeerView| {
            let before = self
                .accounts
                .get(&peer.key)
                .map_or(0, |account| account.sent);
            peer.sent.saturating_sub(before)
        };
        let holders = peers.iter().filter(|peer| peer.unchoked);
        let total: u64 = holders.clone().map(got).sum();
        let fair = total / holders.count().max(1) as u64;
        self.accounts = peers
            .iter()
            .map(|peer| {
                let due = got(peer).max(if peer.unchoked { fair / 4 * 3 } else { 0 });
                let account = Account {
                    sent: peer.sent,
                    last_round: got(peer),
                    served: self.served(peer.key) + due,
                };
                (peer.key, account)
            })
            .collect();
    }
}

#[cfg(test)]
mod tests;
#[cfg(test)]
pub(super) use tests::peer as view;
