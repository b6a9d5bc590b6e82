//! How many requests to keep outstanding with one peer, and when to give up on them.
//!
//! A link idles unless the requests on their way cover rate × round-trip time; more than that only
//! ties blocks to a peer that another could send. So the depth follows the measured rate and the
//! shortest response time seen, with a small reserve; until a rate is known it grows by one per
//! block received, which doubles it each round trip.
//!
//! Anti-snubbing (Cohen 2003): a peer that owes us blocks and sends none is snubbed: its blocks go
//! back to the picker, it gets one request at a time, and the choker takes its slot.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use crate::{
    metainfo::{BLOCK_LEN, Block, PieceIndex},
    rate::RateMeter,
};

/// One request on its way.
#[derive(Debug, Clone, Copy)]
struct Outstanding {
    block: Block,
    asked_at: Instant,
}

/// What an arriving block was to this pipeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    /// An outstanding request is answered.
    Expected,
    /// It was asked for, then given up or cancelled: late, but honest.
    Late,
    /// It was never asked for.
    Unrequested,
}

/// The requests outstanding with one peer.
#[derive(Debug)]
pub(super) struct Pipeline {
    outstanding: VecDeque<Outstanding>,
    /// Requests that we gave up; their blocks may still come.
    given_up: VecDeque<Block>,
    /// Bytes per second over a few seconds, for the depth.
    rate: RateMeter,
    /// The shortest time from request to block.
    shortest: Option<Duration>,
    depth: usize,
    slow_start: bool,
    /// The rate at the last tick: slow start goes on while it grows.
    last_rate: f64,
    /// What the peer said it queues.
    peer_limit: usize,
    /// Since when the peer owes us a block without a break.
    owing_since: Option<Instant>,
    snubbed: bool,
}

impl Pipeline {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            outstanding: VecDeque::new(),
            given_up: VecDeque::new(),
            rate: RateMeter::new(RATE_WINDOW, now),
            shortest: None,
            depth: FIRST_DEPTH,
            slow_start: true,
            last_rate: 0.0,
            peer_limit: DEFAULT_PEER_LIMIT,
            owing_since: None,
            snubbed: false,
        }
    }

    /// The peer's extension handshake said how many requests it queues.
    pub(super) fn set_peer_limit(&mut self, limit: u32) {
        self.peer_limit = (limit as usize).clamp(1, MAX_DEPTH);
    }

    /// How many more requests may go out.
    pub(super) fn room(&self) -> usize {
        let depth = if self.snubbed {
            1
        } else {
            self.depth.min(self.peer_limit)
        };
        depth.saturating_sub(self.outstanding.len())
    }

    /// Whether it is worth asking for more: a batch of requests fills one segment and one wake-up.
    pub(super) fn wants_more(&self) -> bool {
        let room = self.room();
        room > 0 && room >= (self.depth / 8).min(MAX_BATCH)
    }

    pub(super) fn is_snubbed(&self) -> bool {
        self.snubbed
    }

    pub(super) fn has_asked(&self, block: Block) -> bool {
        self.outstanding
            .iter()
            .any(|request| request.block == block)
    }

    /// Whether a block of this piece is on its way.
    pub(super) fn asks_for(&self, piece: PieceIndex) -> bool {
        self.outstanding
            .iter()
            .any(|request| request.block.piece == piece)
    }

    pub(super) fn on_asked(&mut self, now: Instant, block: Block) {
        self.outstanding.push_back(Outstanding {
            block,
            asked_at: now,
        });
        self.owing_since.get_or_insert(now);
    }

    /// A block arrived.
    pub(super) fn on_block(&mut self, now: Instant, block: Block) -> Answer {
        if let Some(at) = self
            .outstanding
            .iter()
            .position(|request| request.block == block)
        {
            let request = self.outstanding.remove(at);
            let response = request.map(|r| now.saturating_duration_since(r.asked_at));
            self.shortest = match (self.shortest, response) {
                (Some(known), Some(new)) => Some(known.min(new)),
                (known, new) => known.or(new),
            };
            self.on_progress(now, block.len);
            return Answer::Expected;
        }
        if let Some(at) = self.given_up.iter().position(|given_up| *given_up == block) {
            self.given_up.remove(at);
            self.on_progress(now, block.len);
            return Answer::Late;
        }
        Answer::Unrequested
    }

    /// The blocks on their way and how long each will likely take, at the rate of late.
    pub(super) fn expected(&self) -> impl Iterator<Item = (Block, Duration)> + '_ {
        let blocks = self.outstanding.iter().enumerate();
        blocks.map(|(ahead, request)| (request.block, self.per_block() * (ahead as u32 + 1)))
    }

    /// How long a block would take that is asked for after `more` others.
    pub(super) fn expected_after(&self, more: usize) -> Duration {
        self.per_block() * (self.outstanding.len() + more + 1) as u32
    }

    fn per_block(&self) -> Duration {
        // Behind those that were never tried, or a silent peer could hold a block for ever.
        if self.snubbed {
            return MAX_PATIENCE;
        }
        if self.last_rate < 1.0 {
            return UNKNOWN_PACE;
        }
        // A peer that was asked for nothing lately looks slow; it is still better than a silent one.
        Duration::from_secs_f64(f64::from(BLOCK_LEN) / self.last_rate).min(MAX_PATIENCE / 2)
    }

    /// Takes one request back; `true` if it was outstanding.
    pub(super) fn cancel(&mut self, block: Block) -> bool {
        let at = self
            .outstanding
            .iter()
            .position(|request| request.block == block);
        if let Some(at) = at {
            self.outstanding.remove(at);
            self.remember(block);
        }
        if self.outstanding.is_empty() {
            self.owing_since = None;
        }
        at.is_some()
    }

    /// Forgets every outstanding request (choked, disconnected) and gives their blocks.
    pub(super) fn clear(&mut self) -> Vec<Block> {
        self.owing_since = None;
        let blocks: Vec<Block> = self
            .outstanding
            .drain(..)
            .map(|request| request.block)
            .collect();
        blocks.iter().for_each(|block| self.remember(*block));
        blocks
    }

    /// We were unchoked: find the rate anew from a cautious depth.
    pub(super) fn restart(&mut self) {
        self.slow_start = true;
        self.depth = (self.depth / 2).clamp(FIRST_DEPTH, MAX_DEPTH);
    }

    /// Once a second: follow the rate, and give up what is overdue. Gives the blocks given up.
    pub(super) fn on_tick(&mut self, now: Instant) -> Vec<Block> {
        let rate = self.rate.rate(now);
        let response = self.shortest.unwrap_or(RESERVE).min(LONGEST_RESPONSE);
        let wanted = rate * (response + RESERVE).as_secs_f64() / f64::from(BLOCK_LEN);
        let wanted = (wanted.ceil() as usize + SPARE).min(MAX_DEPTH);
        if self.slow_start {
            // Growth ends when it brings no more rate, and the queue holds more than that can use.
            let grows = rate >= self.last_rate * SLOW_START_GROWTH;
            self.slow_start = grows || self.depth <= wanted;
        } else {
            self.depth = wanted;
        }
        self.last_rate = rate;
        let owed = self
            .owing_since
            .map(|since| now.saturating_duration_since(since));
        if owed.is_none_or(|owed| owed < self.patience(rate)) {
            return Vec::new();
        }
        self.snubbed = true;
        self.slow_start = true;
        self.depth = FIRST_DEPTH;
        self.clear()
    }

    /// How long a peer that owes us blocks may send none.
    fn patience(&self, rate: f64) -> Duration {
        if rate <= 0.0 {
            return MAX_PATIENCE;
        }
        let per_block = Duration::from_secs_f64(f64::from(BLOCK_LEN) / rate.max(1.0));
        (per_block * 4).clamp(MIN_PATIENCE, MAX_PATIENCE)
    }

    fn on_progress(&mut self, now: Instant, bytes: u32) {
        self.rate.add(now, u64::from(bytes));
        self.snubbed = false;
        self.owing_since = if self.outstanding.is_empty() {
            None
        } else {
            Some(now)
        };
        if self.slow_start {
            self.depth = (self.depth + 1).min(MAX_DEPTH);
        }
    }

    fn remember(&mut self, block: Block) {
        if self.given_up.len() == MAX_GIVEN_UP {
            self.given_up.pop_front();
        }
        self.given_up.push_back(block);
    }
}

/// Ours: enough to start, few enough that a newcomer does not hoard.
const FIRST_DEPTH: usize = 4;
/// Ours: 16 MiB on their way, 10 ms at 1.6 GB/s.
const MAX_DEPTH: usize = 1_024;
/// BEP 10: a peer that sends no `reqq` queues 250 or more in every client in use.
const DEFAULT_PEER_LIMIT: usize = 250;
/// Ours: requests sent at a time when there is room for so many.
const MAX_BATCH: usize = 32;
/// Ours: late blocks that are still recognised.
const MAX_GIVEN_UP: usize = MAX_DEPTH;
/// Ours: the rate is looked at over this time.
const RATE_WINDOW: Duration = Duration::from_secs(3);
/// Ours: time covered beyond the shortest response, so that jitter does not drain the link.
const RESERVE: Duration = Duration::from_millis(400);
/// Ours: the time a block is assumed to take from a peer that has sent none.
const UNKNOWN_PACE: Duration = Duration::from_secs(10);
/// Ours: a rate that grows by less than this in a second has been found.
const SLOW_START_GROWTH: f64 = 1.1;
/// Ours: a response time above this says more about the peer's queue than about the path.
const LONGEST_RESPONSE: Duration = Duration::from_secs(2);
/// Ours: one block on top, so that a slow peer has the next request before it is done.
const SPARE: usize = 1;
/// Cohen 2003: a peer that sends nothing for a minute has snubbed us.
const MAX_PATIENCE: Duration = Duration::from_secs(60);
/// Ours: a peer that has been fast is given up sooner, but not for a hiccup.
const MIN_PATIENCE: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    fn block(index: u32) -> Block {
        Block {
            piece: PieceIndex(0),
            begin: index * BLOCK_LEN,
            len: BLOCK_LEN,
        }
    }

    /// A peer that answers after `rtt` and sends at most `per_second` blocks; gives the pipeline
    /// after `seconds` and how many blocks came in the last of them.
    fn run(rtt: Duration, per_second: u32, seconds: u32) -> (Pipeline, u32) {
        let start = Instant::now();
        let mut pipeline = Pipeline::new(start);
        let step = Duration::from_secs(1) / per_second;
        let (mut next, mut sent, mut last) = (0, VecDeque::new(), 0);
        let mut now = start;
        for second in 0..seconds {
            last = 0;
            for _ in 0..per_second {
                now += step;
                while pipeline.room() > 0 {
                    pipeline.on_asked(now, block(next));
                    sent.push_back((now, block(next)));
                    next += 1;
                }
                if sent.front().is_some_and(|(at, _)| now >= *at + rtt) {
                    let (_, block) = sent.pop_front().unwrap();
                    assert_eq!(pipeline.on_block(now, block), Answer::Expected);
                    last += 1;
                }
            }
            assert!(
                pipeline.on_tick(now).is_empty(),
                "given up in second {second}"
            );
        }
        (pipeline, last)
    }

    #[test]
    fn depth_covers_rate_times_round_trip() {
        for (rtt, per_second) in [(20, 2_000), (300, 200), (300, 20), (1_000, 60)] {
            let (pipeline, last) = run(Duration::from_millis(rtt), per_second, 20);
            assert!(
                last * 20 >= per_second * 19,
                "{last} of {per_second} at {rtt} ms"
            );
            let product = per_second as usize * rtt as usize / 1_000;
            assert!(
                pipeline.depth <= 3 * product + per_second as usize,
                "{}",
                pipeline.depth
            );
        }
    }

    #[test]
    fn a_silent_peer_is_snubbed_and_forgiven() {
        let start = Instant::now();
        let mut pipeline = Pipeline::new(start);
        pipeline.on_asked(start, block(0));
        pipeline.on_asked(start, block(1));
        let mut now = start;
        let mut given_up = Vec::new();
        while given_up.is_empty() {
            now += Duration::from_secs(1);
            given_up = pipeline.on_tick(now);
        }
        assert!((59..=61).contains(&(now - start).as_secs()));
        assert_eq!(given_up, [block(0), block(1)]);
        assert!(pipeline.is_snubbed() && pipeline.room() == 1);
        assert_eq!(pipeline.on_block(now, block(1)), Answer::Late);
        assert!(!pipeline.is_snubbed() && pipeline.room() > 1);
        assert_eq!(pipeline.on_block(now, block(1)), Answer::Unrequested);
    }

    #[test]
    fn an_idle_peer_is_expected_sooner_than_a_silent_one() {
        let start = Instant::now();
        let (mut idle, mut silent) = (Pipeline::new(start), Pipeline::new(start));
        idle.on_asked(start, block(0));
        idle.on_block(start, block(0));
        silent.on_asked(start, block(0));
        for second in 1..2_000 {
            let now = start + Duration::from_secs(second);
            idle.on_tick(now);
            silent.on_tick(now);
            assert!(!silent.is_snubbed() || idle.expected_after(0) < silent.expected_after(0));
        }
    }

    #[test]
    fn cancelled_blocks_are_honest_when_they_come() {
        let now = Instant::now();
        let mut pipeline = Pipeline::new(now);
        pipeline.on_asked(now, block(0));
        assert!(pipeline.cancel(block(0)) && !pipeline.cancel(block(0)));
        assert!(pipeline.outstanding.is_empty());
        assert_eq!(pipeline.on_block(now, block(0)), Answer::Late);
    }
}
