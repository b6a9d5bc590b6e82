//! Unsent first: a seed that is the only source hands every piece out once before it repeats any
//! (automatic super-seeding, [BEP 16]).
//!
//! A plain seed lets peers choose, and they choose alike: one as weak as its peers sends 1.5 to 2
//! copies before the swarm has one. Here each peer is *shown* pieces of its own, by HAVE. What BEP
//! 16 leaves open, and what is done about it:
//!
//! | | |
//! |---|---|
//! | who gets the next piece | who holds the fewest pieces that nobody else has got: peers that pass pieces on, in proportion to their uplink; free riders get one and wait |
//! | a fast uplink, a long path | a peer is shown more before it is done with what it has: [`AHEAD`] at its rate |
//! | few pieces at a time | as few peers are fed at once as keep the uplink busy, so that each piece can soon travel on |
//! | a holder leaves, or stalls | its piece goes back into the pool |
//! | a holder keeps its piece | once all pieces are out, such pieces go to a second peer |
//! | everything is out, or another seed is here | `Torrent::end_unsent` shows everything to everybody |
//! | a single peer, or one that does not want what it is shown | it is shown everything |
//!
//! [`Unsent`] is the ledger and the policy; `feed.rs` is what the torrent does with it.
//!
//! [BEP 16]: https://www.bittorrent.org/beps/bep_0016.html

mod feed;

use std::{
    collections::{BTreeMap, VecDeque},
    time::{Duration, Instant},
};

use rand::{rngs::StdRng, seq::SliceRandom};

use super::{PeerKey, picker::Picker};
use crate::{
    bitfield::Bitfield,
    metainfo::{Block, Geometry, PieceIndex},
    rate::RateMeter,
};

/// Where a piece is on its way out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// Nobody was shown it.
    Fresh,
    /// It is this peer's to pass on.
    With(PeerKey),
    /// Somebody else has it too.
    Spread,
}

/// What one peer was shown and what it made of it.
#[derive(Debug)]
struct Account {
    /// What it may know that we have; `None` is everything.
    shown: Option<Bitfield>,
    /// Bytes of pieces shown that have not left yet; for a peer that sees everything, its turn.
    left: BTreeMap<PieceIndex, u64>,
    backlog: u64,
    /// Blocks handed to the connection, in order.
    wire: VecDeque<(PieceIndex, u64)>,
    /// Pieces that are its to pass on, and when they had left; `None` before.
    holds: BTreeMap<PieceIndex, Option<Instant>>,
    /// Pieces sent to it.
    taken: u32,
    /// Since when it holds pieces and none of them has been seen elsewhere.
    stuck_since: Option<Instant>,
    /// From a piece's leaving to its being seen elsewhere, a running mean.
    delay: Option<Duration>,
    rate: RateMeter,
    /// When it was given something to do after it had nothing.
    fed_at: Instant,
    moved_at: Instant,
    /// It did not take what it was shown: not before then.
    not_before: Option<Instant>,
}

/// Which pieces have been handed out, and to whom.
#[derive(Debug)]
pub(super) struct Unsent {
    geometry: Geometry,
    /// Three choking rounds: the time in which a peer should do something with a piece.
    patience: Duration,
    fates: Vec<Fate>,
    /// Fresh pieces, drawn from the end, and some that are not any more.
    pool: Vec<PieceIndex>,
    /// Pieces in the order in which they were handed out, for the second turn.
    again: VecDeque<PieceIndex>,
    accounts: BTreeMap<PeerKey, Account>,
    /// The best upload rate of late, bytes per second.
    peak: f64,
    began: Option<Instant>,
}

impl Unsent {
    pub(super) fn new(geometry: Geometry, patience: Duration, rng: &mut StdRng) -> Self {
        let mut pool: Vec<PieceIndex> = geometry.pieces().collect();
        pool.shuffle(rng);
        Self {
            geometry,
            patience,
            fates: vec![Fate::Fresh; geometry.piece_count() as usize],
            pool,
            again: VecDeque::new(),
            accounts: BTreeMap::new(),
            peak: 0.0,
            began: None,
        }
    }

    /// A peer comes; with `all` it is shown everything.
    fn join(&mut self, now: Instant, key: PeerKey, all: bool) {
        let shown = (!all).then(|| Bitfield::empty(self.geometry.piece_count()));
        self.accounts.insert(
            key,
            Account {
                shown,
                left: BTreeMap::new(),
                backlog: 0,
                wire: VecDeque::new(),
                holds: BTreeMap::new(),
                taken: 0,
                stuck_since: None,
                delay: None,
                rate: RateMeter::new(FEED_WINDOW, now),
                fed_at: now,
                moved_at: now,
                not_before: None,
            },
        );
    }

    /// A peer goes, or sees everything from now on: what it alone was to pass on is fresh again.
    fn release(&mut self, key: PeerKey) -> Option<&mut Account> {
        let account = self.accounts.get_mut(&key)?;
        for (piece, _) in std::mem::take(&mut account.holds) {
            self.fates[piece.as_usize()] = Fate::Fresh;
            self.pool.push(piece);
        }
        account.stuck_since = None;
        account.left.clear();
        account.backlog = 0;
        self.prune();
        self.accounts.get_mut(&key)
    }

    /// Drops what lies in a queue twice or is out of date, once that is half of it: who comes, asks
    /// for everything and goes, again and again, must not make them grow.
    fn prune(&mut self) {
        let (fates, most) = (&self.fates, 2 * self.fates.len());
        let keep = |seen: &mut Bitfield, piece: PieceIndex, fits: fn(Fate) -> bool| {
            let first = !seen.get(piece.0);
            seen.set(piece.0);
            first && fits(fates[piece.as_usize()])
        };
        let nothing = || Bitfield::empty(self.geometry.piece_count());
        if self.pool.len() > most {
            let mut seen = nothing();
            self.pool
                .retain(|piece| keep(&mut seen, *piece, |fate| fate == Fate::Fresh));
        }
        if self.again.len() > most {
            let mut seen = nothing();
            self.again
                .retain(|piece| keep(&mut seen, *piece, |fate| matches!(fate, Fate::With(_))));
        }
    }

    /// What a peer was shown; `None` is everything.
    fn shown(&self, key: PeerKey) -> Option<&Bitfield> {
        self.accounts.get(&key)?.shown.as_ref()
    }

    /// Whether a peer may ask for a piece.
    pub(super) fn may_ask(&self, key: PeerKey, piece: PieceIndex) -> bool {
        self.shown(key).is_none_or(|shown| shown.get(piece.0))
    }

    /// A peer asks for a block: one that sees everything takes its pieces out of the pool so.
    pub(super) fn on_request(&mut self, key: PeerKey, piece: PieceIndex) {
        let fate = &mut self.fates[piece.as_usize()];
        if let Some(account) = self.accounts.get_mut(&key)
            && account.shown.is_none()
            && *fate == Fate::Fresh
        {
            *fate = Fate::With(key);
            account.holds.insert(piece, None);
            self.again.push_back(piece);
        }
    }

    /// A block was handed to a peer's connection.
    pub(super) fn on_block(&mut self, key: PeerKey, block: Block) {
        if let Some(account) = self.accounts.get_mut(&key) {
            account.wire.push_back((block.piece, u64::from(block.len)));
        }
    }

    /// Bytes have left. Says whether the peer may need more to do.
    pub(super) fn on_sent(&mut self, now: Instant, key: PeerKey, mut bytes: u64) -> bool {
        let Some(account) = self.accounts.get_mut(&key) else {
            return false;
        };
        account.rate.add(now, bytes);
        account.moved_at = now;
        while let Some((piece, len)) = account.wire.front_mut().filter(|_| bytes > 0) {
            let gone = bytes.min(*len);
            let piece = *piece;
            *len -= gone;
            bytes -= gone;
            if *len == 0 {
                account.wire.pop_front();
            }
            account.on_left(now, piece, gone);
        }
        !account.is_busy(now)
    }

    /// A peer has a piece.
    pub(super) fn on_have(&mut self, now: Instant, key: PeerKey, piece: PieceIndex) {
        let fate = &mut self.fates[piece.as_usize()];
        let Fate::With(holder) = *fate else { return };
        if holder == key {
            return;
        }
        *fate = Fate::Spread;
        if let Some(account) = self.accounts.get_mut(&holder) {
            account.on_spread(now, piece);
        }
    }

    /// Once a second. The peak falls slowly, so that a pause is not taken for a slow line.
    fn tick(&mut self, now: Instant, rate: f64) {
        let began = *self.began.get_or_insert(now);
        if now.saturating_duration_since(began) >= SETTLED {
            self.peak = rate.max(self.peak * PEAK_DECAY);
        }
    }

    /// How many peers to feed at once: as many as turn over pieces in two seconds, for the
    /// sooner a piece is whole, the sooner it travels on.
    fn feeders(&self, slots: usize) -> usize {
        if self.peak <= 0.0 {
            return slots;
        }
        let piece = f64::from(self.geometry.standard_piece_len());
        let some = (self.peak * TURNOVER.as_secs_f64() / piece).ceil() as usize + 1;
        some.max(2).min(slots)
    }

    /// Whether an unchoked peer keeps its part of the uplink busy; one that reads too slowly does
    /// not.
    fn feeds(&self, now: Instant, key: PeerKey, feeders: usize) -> bool {
        self.accounts.get(&key).is_some_and(|account| {
            let young = now.saturating_duration_since(account.fed_at) < SETTLED;
            let share = self.peak / feeders.max(1) as f64;
            account.is_busy(now) && (young || account.rate.rate(now) * SLOW >= share)
        })
    }

    /// The order in which peers are fed, least first.
    fn load(&self, now: Instant, key: PeerKey) -> Option<(f64, f64)> {
        let account = self.accounts.get(&key)?;
        if account.not_before.is_some_and(|at| now < at) {
            return None;
        }
        let waits = account.wire.is_empty() && account.backlog > 0;
        let after = account.holds.len() + usize::from(!waits);
        let stuck = account
            .stuck_since
            .map_or(Duration::ZERO, |at| now.saturating_duration_since(at));
        let patience = self.patience.as_secs_f64();
        let delay = account.delay.unwrap_or(self.patience).as_secs_f64();
        let load = after as f64 * (1.0 + stuck.as_secs_f64() / patience);
        Some((load, f64::from(account.taken) * delay))
    }

    /// Takes the next piece for a peer; `None` when everything is out.
    fn next(&mut self, key: PeerKey, picker: &Picker) -> Option<PieceIndex> {
        while let Some(piece) = self.pool.pop() {
            let fate = &mut self.fates[piece.as_usize()];
            if *fate != Fate::Fresh {
                continue;
            }
            if picker.availability(piece) == 0 {
                self.again.push_back(piece);
                return Some(piece);
            }
            *fate = Fate::Spread;
        }
        for _ in 0..self.again.len() {
            let piece = self.again.pop_front()?;
            let Fate::With(holder) = self.fates[piece.as_usize()] else {
                continue;
            };
            let holds = self.accounts.get(&holder).map(|account| &account.holds);
            let whole = holds.is_some_and(|holds| holds.get(&piece).is_some_and(Option::is_some));
            if holder == key || !whole {
                self.again.push_back(piece);
                continue;
            }
            return Some(piece);
        }
        None
    }

    /// Shows a piece to a peer, which is to pass it on.
    fn show(&mut self, now: Instant, key: PeerKey, piece: PieceIndex) {
        let fate = &mut self.fates[piece.as_usize()];
        let Some(account) = self.accounts.get_mut(&key) else {
            return;
        };
        if *fate == Fate::Fresh {
            *fate = Fate::With(key);
            account.holds.insert(piece, None);
        }
        if let Some(shown) = &mut account.shown {
            shown.set(piece.0);
        }
        let len = u64::from(self.geometry.piece_len(piece));
        account.add_turn(now, len);
        account.left.insert(piece, len);
    }
}

impl Account {
    /// It has something to do for a while.
    fn is_busy(&self, now: Instant) -> bool {
        self.backlog as f64 > self.rate.rate(now) * AHEAD.as_secs_f64()
    }

    fn add_turn(&mut self, now: Instant, bytes: u64) {
        if self.backlog == 0 {
            self.fed_at = now;
            self.moved_at = now;
        }
        self.backlog += bytes;
    }

    fn on_left(&mut self, now: Instant, piece: PieceIndex, bytes: u64) {
        if self.shown.is_none() {
            self.backlog = self.backlog.saturating_sub(bytes);
            if let Some(at @ None) = self.holds.get_mut(&piece) {
                *at = Some(now);
                self.taken += 1;
                self.stuck_since.get_or_insert(now);
            }
            return;
        }
        // A block that is sent twice counts once.
        let Some(left) = self.left.get_mut(&piece) else {
            return;
        };
        let gone = bytes.min(*left);
        *left -= gone;
        self.backlog -= gone;
        if *left > 0 {
            return;
        }
        self.left.remove(&piece);
        self.taken += 1;
        if let Some(at) = self.holds.get_mut(&piece) {
            *at = Some(now);
            self.stuck_since.get_or_insert(now);
        }
    }

    fn on_spread(&mut self, now: Instant, piece: PieceIndex) {
        if let Some(Some(at)) = self.holds.remove(&piece) {
            let took = now.saturating_duration_since(at);
            self.delay = Some(match self.delay {
                Some(mean) => (mean * 7 + took) / 8,
                None => took,
            });
        }
        let waits = self.holds.values().any(Option::is_some);
        self.stuck_since = waits.then_some(now);
    }
}

/// Ours: what a peer is shown lasts so long at its rate, which covers the longest paths.
const AHEAD: Duration = Duration::from_millis(1_500);
/// Ours: a peer's rate, for what it is shown.
const FEED_WINDOW: Duration = Duration::from_secs(3);
/// Ours: a rate says something after this time.
const SETTLED: Duration = Duration::from_secs(5);
/// Ours: pieces that leave in this time go to peers of their own.
const TURNOVER: Duration = Duration::from_secs(2);
/// Ours: in half a minute of pause the peak halves.
const PEAK_DECAY: f64 = 0.98;
/// Ours: who takes less than a quarter of its share of the uplink does not keep it busy.
const SLOW: f64 = 4.0;
/// Ours: peers that may download at once, slow readers among them, for each slot.
const MOST_TURNS: usize = 3;

#[cfg(test)]
mod tests;
