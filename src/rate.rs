//! A rate meter and a token bucket, both with time passed in.

use std::time::{Duration, Instant};

/// Bytes per second over the recent past: an exponentially weighted mean.
///
/// Cohen's choker looks at a rolling average of 20 s; the time constant is the caller's.
#[derive(Debug, Clone)]
pub struct RateMeter {
    /// The time constant: after a stop the rate falls to 1/e in this time.
    window: Duration,
    rate: f64,
    pending: u64,
    since: Instant,
    started: Instant,
    total: u64,
}

impl RateMeter {
    /// A meter at rest.
    pub fn new(window: Duration, now: Instant) -> Self {
        Self {
            window,
            rate: 0.0,
            pending: 0,
            since: now,
            started: now,
            total: 0,
        }
    }

    /// Counts bytes.
    pub fn add(&mut self, now: Instant, bytes: u64) {
        self.total += bytes;
        self.pending += bytes;
        if now.saturating_duration_since(self.since) >= STEP {
            self.fold(now);
        }
    }

    /// Bytes per second. Young meters divide by their age, not by the whole window, so that a
    /// newcomer is not taken for a slow peer.
    pub fn rate(&self, now: Instant) -> f64 {
        let mut meter = self.clone();
        meter.fold(now);
        let age = now.saturating_duration_since(self.started).as_secs_f64();
        let filled = 1.0 - (-age / self.window.as_secs_f64()).exp();
        if filled > 0.0 {
            meter.rate / filled
        } else {
            0.0
        }
    }

    /// All bytes ever counted.
    pub fn total(&self) -> u64 {
        self.total
    }

    fn fold(&mut self, now: Instant) {
        let elapsed = now.saturating_duration_since(self.since).as_secs_f64();
        if elapsed <= 0.0 {
            return;
        }
        let decay = (-elapsed / self.window.as_secs_f64()).exp();
        self.rate = self.rate * decay + self.pending as f64 / elapsed * (1.0 - decay);
        self.pending = 0;
        self.since = now;
    }
}

/// Fold at most this often: an exponential per block would cost more than it tells.
const STEP: Duration = Duration::from_millis(100);

/// A token bucket of bytes. `None` as the rate means unlimited.
///
/// It may go into debt by one request, so that a block larger than the burst still passes.
#[derive(Debug, Clone)]
pub struct TokenBucket {
    rate: Option<u64>,
    burst: f64,
    tokens: f64,
    filled: Instant,
}

impl TokenBucket {
    /// A bucket of `rate` bytes per second. Its burst is a fiftieth of a second's worth and at
    /// least one block: enough for late timers, too little to matter in a rate that is measured
    /// over seconds. It starts with one block's worth.
    pub fn new(rate: Option<u64>, now: Instant) -> Self {
        let burst = rate.map_or(0.0, |rate| (rate as f64 / 50.0).max(MIN_BURST));
        Self {
            rate,
            burst,
            tokens: burst.min(MIN_BURST),
            filled: now,
        }
    }

    /// Changes the rate and keeps the fill.
    pub fn set_rate(&mut self, rate: Option<u64>, now: Instant) {
        self.fill(now);
        let fresh = Self::new(rate, now);
        let tokens = if self.rate.is_none() {
            fresh.tokens
        } else {
            self.tokens.min(fresh.burst)
        };
        *self = Self { tokens, ..fresh };
    }

    /// The rate in bytes per second; `None` is unlimited.
    pub fn rate(&self) -> Option<u64> {
        self.rate
    }

    /// Takes `bytes` if the bucket is not in debt.
    pub fn take(&mut self, now: Instant, bytes: u64) -> bool {
        if self.rate.is_none() {
            return true;
        }
        self.fill(now);
        if self.tokens <= 0.0 {
            return false;
        }
        self.tokens -= bytes as f64;
        true
    }

    /// When [`Self::take`] will succeed; `None` if it would now, or never (a rate of 0).
    pub fn ready_at(&self, now: Instant) -> Option<Instant> {
        let mut bucket = self.clone();
        bucket.fill(now);
        let rate = bucket.rate.filter(|rate| *rate > 0)?;
        if bucket.tokens > 0.0 {
            return None;
        }
        // One byte above zero, so that the wait ends with a bucket that gives.
        Some(now + Duration::from_secs_f64((1.0 - bucket.tokens) / rate as f64))
    }

    fn fill(&mut self, now: Instant) {
        let elapsed = now.saturating_duration_since(self.filled).as_secs_f64();
        let rate = self.rate.unwrap_or(0) as f64;
        self.tokens = (self.tokens + elapsed * rate).min(self.burst);
        self.filled = self.filled.max(now);
    }
}

/// Ours: one block.
const MIN_BURST: f64 = 16_384.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn meter_finds_a_steady_rate_early_and_forgets_it() {
        let start = Instant::now();
        let mut meter = RateMeter::new(Duration::from_secs(20), start);
        for tick in 1..=50 {
            meter.add(start + Duration::from_millis(100 * tick), 1_000);
        }
        let now = start + Duration::from_secs(5);
        assert!(
            (meter.rate(now) - 10_000.0).abs() < 500.0,
            "{}",
            meter.rate(now)
        );
        assert!(meter.rate(now + Duration::from_secs(200)) < 10.0);
        assert_eq!(meter.total(), 50_000);
    }

    #[test]
    fn bucket_holds_its_rate_over_time() {
        let start = Instant::now();
        let mut bucket = TokenBucket::new(Some(1_000_000), start);
        let (mut now, mut taken) = (start, 0u64);
        while now < start + Duration::from_secs(10) {
            match bucket.ready_at(now) {
                Some(at) => now = at,
                None => {
                    assert!(bucket.take(now, 16_384));
                    taken += 16_384;
                }
            }
        }
        let rate = taken as f64 / 10.0;
        assert!((rate / 1_000_000.0 - 1.0).abs() < 0.02, "{rate}");
    }

    #[test]
    fn unlimited_and_zero() {
        let now = Instant::now();
        let mut free = TokenBucket::new(None, now);
        assert!(free.take(now, u64::MAX) && free.ready_at(now).is_none());
        let mut none = TokenBucket::new(Some(0), now);
        assert!(none.take(now, 16_384) && !none.take(now, 1) && none.ready_at(now).is_none());
        free.set_rate(Some(10), now);
        assert!(free.take(now, 20_000) && !free.take(now, 1));
    }
}
