//! Who is served next when slots have weights: stride scheduling, with little on the way.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
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

#[derive(Debug, Default)]
struct Account {
    /// Bytes over weight.
    pass: f64,
    /// What has not left: when it was read, and how many bytes.
    waiting: VecDeque<(Instant, u64)>,
}

impl Shares {
    /// A block is read for a peer.
    pub(super) fn on_read(&mut self, now: Instant, key: PeerKey, weight: f64, bytes: u32) {
        let start = self.pass;
        let account = self.accounts.entry(key).or_default();
        let pass = account.pass.max(start);
        account.pass = pass + f64::from(bytes) / weight.max(LEAST_WEIGHT);
        account.waiting.push_back((now, u64::from(bytes)));
        self.pass = pass;
    }

    /// Bytes have left for a peer, or will not be sent.
    pub(super) fn on_sent(&mut self, key: PeerKey, mut bytes: u64) {
        let Some(account) = self.accounts.get_mut(&key) else {
            return;
        };
        while let Some((_, left)) = account.waiting.front_mut().filter(|_| bytes > 0) {
            let gone = bytes.min(*left);
            *left -= gone;
            bytes -= gone;
            if *left == 0 {
                account.waiting.pop_front();
            }
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

    /// Who of them has had least for its weight; `None` while enough waits for an uplink of this
    /// rate. Nobody takes more of that than its weight allows, and who reads more slowly than the
    /// uplink sends does not count: one such peer would hold up all others.
    pub(super) fn next(
        &self,
        now: Instant,
        rate: f64,
        ready: &BTreeSet<PeerKey>,
        weight: impl Fn(PeerKey) -> f64,
    ) -> Option<PeerKey> {
        let window = window(rate);
        let patience = patience(rate, window);
        let of_uplink = self
            .accounts
            .values()
            .filter(|account| !account.is_overdue(now, patience));
        if of_uplink.map(Account::waiting).sum::<u64>() >= window {
            return None;
        }
        let waiting = |key: &PeerKey| self.accounts.get(key).map_or(0, Account::waiting);
        let busy = self.accounts.keys().filter(|key| waiting(key) > 0);
        let all: BTreeSet<PeerKey> = busy.chain(ready).copied().collect();
        let weight = |key: &PeerKey| weight(*key).max(LEAST_WEIGHT);
        let all: f64 = all.iter().map(weight).sum();
        let most = |key: &PeerKey| (window as f64 * weight(key) / all).max(LEAST_WINDOW as f64);
        let pass = |key: &PeerKey| {
            let pass = self.accounts.get(key).map_or(0.0, |account| account.pass);
            pass.max(self.pass)
        };
        ready
            .iter()
            .filter(|key| (waiting(key) as f64) < most(key))
            .min_by(|a, b| pass(a).total_cmp(&pass(b)))
            .copied()
    }
}

impl Account {
    fn waiting(&self) -> u64 {
        self.waiting.iter().map(|(_, bytes)| bytes).sum()
    }

    /// Whether what was read first has waited longer than the uplink needs.
    fn is_overdue(&self, now: Instant, patience: Duration) -> bool {
        let first = self.waiting.front();
        first.is_some_and(|(read_at, _)| now.saturating_duration_since(*read_at) >= patience)
    }
}

/// How much may wait: enough that the uplink never idles.
fn window(rate: f64) -> u64 {
    let ahead = rate * AHEAD.as_secs_f64();
    (ahead as u64).max(LEAST_WINDOW)
}

/// The uplink sends all that waits in a window over its rate; generously, because the rate is a
/// mean.
fn patience(rate: f64, window: u64) -> Duration {
    let longest = STALLED.as_secs_f64();
    Duration::from_secs_f64((2.0 * window as f64 / rate.max(1.0) + SLACK).min(longest))
}

/// Ours: a slot without weight is one without upload, but what it was promised is finished.
const LEAST_WEIGHT: f64 = 1e-6;
/// Ours: time that the uplink needs to be told of the next block, generously.
const AHEAD: Duration = Duration::from_millis(250);
/// Ours: what may wait for any uplink, and for any peer.
const LEAST_WINDOW: u64 = 2 * BLOCK_LEN as u64;
/// Ours: seconds that a block may take longer than it should.
const SLACK: f64 = 0.5;
/// Ours: who has not taken a block after so long is not waited for, whatever the rate.
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
            let weight = |key: PeerKey| weights[key.0 as usize - 1];
            while let Some(key) = shares.next(now, 16_384.0, &ready, weight) {
                shares.on_read(now, key, weight(key), BLOCK_LEN);
                queue.push_back(key);
            }
            now += Duration::from_secs(1);
            if let Some(key) = queue.pop_front().filter(|key| takes(key.0)) {
                shares.on_sent(key, u64::from(BLOCK_LEN));
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
        let now = Instant::now();
        let mut serve = |ready: &BTreeSet<PeerKey>| {
            let key = shares.next(now, 0.0, ready, |_| 1.0).unwrap();
            shares.on_read(now, key, 1.0, BLOCK_LEN);
            shares.on_sent(key, u64::from(BLOCK_LEN));
            key
        };
        for _ in 0..100 {
            serve(&[PeerKey(1)].into());
        }
        let both = [PeerKey(1), PeerKey(2)].into();
        let mut got = [0_u64; 3];
        for _ in 0..100 {
            got[serve(&both).0 as usize] += 1;
        }
        assert!(got[1].abs_diff(got[2]) <= 2, "{got:?}");
    }

    /// What a peer gets per second that takes `fast` bytes per second, beside one of a quarter of
    /// its weight that takes `slow`; for ten minutes, the slow one first.
    fn beside(fast: u64, slow: u64) -> u64 {
        let mut shares = Shares::default();
        let mut now = Instant::now();
        let mut queue = [0_u64; 2];
        let mut got = 0;
        let mut rate = slow as f64;
        let weight = |key: PeerKey| [1.0, 0.25][key.0 as usize];
        for step in 0..6_600 {
            loop {
                let credit =
                    |key: &u64| queue[*key as usize] < 1 << 20 && (*key > 0 || step >= 600);
                let ready: BTreeSet<PeerKey> = (0..2).filter(credit).map(PeerKey).collect();
                let Some(key) = shares.next(now, rate, &ready, weight) else {
                    break;
                };
                shares.on_read(now, key, weight(key), BLOCK_LEN);
                queue[key.0 as usize] += u64::from(BLOCK_LEN);
            }
            now += Duration::from_millis(100);
            let mut sent = 0;
            for (key, can) in [fast / 10, slow / 10].into_iter().enumerate() {
                let takes = can.min(queue[key]);
                queue[key] -= takes;
                shares.on_sent(PeerKey(key as u64), takes);
                sent += takes;
                got += if key == 0 { takes } else { 0 };
            }
            rate += (sent as f64 * 10.0 - rate) / 200.0;
            if step % 100 == 0 {
                shares.begin_round(weight);
            }
        }
        got / 600
    }

    #[test]
    fn who_reads_slowly_or_nothing_holds_nobody_up() {
        for fast in [1_000_000, 100_000] {
            for slow in [20_000, 5_000, 1_000, 10, 0] {
                let got = beside(fast, slow);
                assert!(got * 10 >= fast * 9, "{got} of {fast} beside {slow}");
            }
        }
    }
}
