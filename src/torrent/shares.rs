//! Who is served next when slots have weights: stride scheduling, with little on the way.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use super::PeerKey;
use crate::metainfo::BLOCK_LEN;

/// What each peer has had for its weight, and what of it has not left yet.
#[derive(Debug, Default)]
pub(super) struct Shares {
    accounts: BTreeMap<PeerKey, Account>,
    /// The pass of who was served last: who comes later begins there.
    pass: f64,
}

#[derive(Debug, Clone, Copy)]
struct Account {
    /// Bytes over weight.
    pass: f64,
    waiting: u64,
    moved_at: Option<Instant>,
}

impl Shares {
    /// A block is read for a peer.
    pub(super) fn on_read(&mut self, key: PeerKey, weight: f64, bytes: u32) {
        let start = self.pass;
        let account = self.account(key);
        let pass = account.pass.max(start);
        account.pass = pass + f64::from(bytes) / weight.max(LEAST_WEIGHT);
        account.waiting += u64::from(bytes);
        self.pass = pass;
    }

    /// Bytes have left for a peer, or will not be sent.
    pub(super) fn on_sent(&mut self, now: Instant, key: PeerKey, bytes: u64) {
        if let Some(account) = self.accounts.get_mut(&key) {
            account.waiting = account.waiting.saturating_sub(bytes);
            account.moved_at = Some(now);
        }
    }

    /// Weights have changed: what was served for the old ones is no debt.
    pub(super) fn begin_round(&mut self, weight: impl Fn(PeerKey) -> f64) {
        for (key, account) in &mut self.accounts {
            let ahead = f64::from(BLOCK_LEN) / weight(*key).max(LEAST_WEIGHT);
            account.pass = account.pass.min(self.pass + ahead);
        }
    }

    /// A peer is gone.
    pub(super) fn leave(&mut self, key: PeerKey) {
        self.accounts.remove(&key);
    }

    /// What waits for the uplink. Who takes nothing for seconds does not count, or one such peer
    /// would hold up all others.
    pub(super) fn waiting(&self, now: Instant) -> u64 {
        let moves = |account: &&Account| {
            let idle = |at: Instant| now.saturating_duration_since(at);
            account.moved_at.is_none_or(|at| idle(at) < STALLED)
        };
        self.accounts
            .values()
            .filter(moves)
            .map(|account| account.waiting)
            .sum()
    }

    /// How much may wait: enough that the uplink never idles, and at least two blocks.
    pub(super) fn window(&self, rate: f64) -> u64 {
        let ahead = rate * AHEAD.as_secs_f64();
        (ahead as u64).max(2 * u64::from(BLOCK_LEN))
    }

    /// Who of them has had least for its weight.
    pub(super) fn least(&self, ready: &BTreeSet<PeerKey>) -> Option<PeerKey> {
        let pass = |key: &PeerKey| {
            let pass = self
                .accounts
                .get(key)
                .map_or(self.pass, |account| account.pass);
            pass.max(self.pass)
        };
        let least = ready.iter().min_by(|a, b| pass(a).total_cmp(&pass(b)));
        least.copied()
    }

    fn account(&mut self, key: PeerKey) -> &mut Account {
        self.accounts.entry(key).or_insert(Account {
            pass: 0.0,
            waiting: 0,
            moved_at: None,
        })
    }
}

/// Ours: a slot without weight is one without upload, but what it was promised is finished.
const LEAST_WEIGHT: f64 = 1e-6;
/// Ours: time that the uplink needs to be told of the next block, generously.
const AHEAD: Duration = Duration::from_millis(250);
/// Ours: who has taken nothing for so long is not waited for.
const STALLED: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    /// Serves a thousand blocks to peers 1..=3, each of which always asks; `sends` says who takes.
    fn serve(weights: [f64; 3], takes: impl Fn(u64) -> bool) -> [u64; 3] {
        let mut shares = Shares::default();
        let ready: BTreeSet<PeerKey> = (1..=3).map(PeerKey).collect();
        let mut now = Instant::now();
        let mut queue = std::collections::VecDeque::new();
        let mut got = [0_u64; 3];
        for _ in 0..1_000 {
            while shares.waiting(now) < shares.window(0.0) {
                let key = shares.least(&ready).unwrap();
                shares.on_read(key, weights[key.0 as usize - 1], BLOCK_LEN);
                queue.push_back(key);
            }
            now += Duration::from_secs(1);
            if let Some(key) = queue.pop_front().filter(|key| takes(key.0)) {
                shares.on_sent(now, key, u64::from(BLOCK_LEN));
                got[key.0 as usize - 1] += 1;
            }
        }
        got
    }

    #[test]
    fn blocks_follow_the_weights() {
        let got = serve([1.0, 3.0, 6.0], |_| true);
        for (got, share) in got.into_iter().zip([100_u64, 300, 600]) {
            assert!(got.abs_diff(share) <= 3, "{got} for {share}");
        }
    }

    #[test]
    fn who_comes_later_gets_no_arrears() {
        let mut shares = Shares::default();
        for _ in 0..100 {
            shares.on_read(PeerKey(1), 1.0, BLOCK_LEN);
        }
        let both: BTreeSet<PeerKey> = [PeerKey(1), PeerKey(2)].into();
        let mut got = [0_u64; 3];
        for _ in 0..100 {
            let key = shares.least(&both).unwrap();
            shares.on_read(key, 1.0, BLOCK_LEN);
            got[key.0 as usize] += 1;
        }
        assert!(got[1].abs_diff(got[2]) <= 2, "{got:?}");
    }

    #[test]
    fn who_takes_nothing_holds_nobody_up() {
        let mut shares = Shares::default();
        let now = Instant::now();
        shares.on_read(PeerKey(1), 1.0, BLOCK_LEN);
        shares.on_read(PeerKey(1), 1.0, BLOCK_LEN);
        shares.on_sent(now, PeerKey(1), 1);
        assert!(shares.waiting(now) > 0);
        assert_eq!(shares.waiting(now + STALLED), 0);
    }
}
