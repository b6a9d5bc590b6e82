//! When a torrent asks the DHT again: a pure value, so that its manners can be read in a table.

use std::time::{Duration, Instant};

use crate::network::Network;

/// When to look next.
#[derive(Debug)]
pub(super) struct LookupSchedule {
    network: Network,
    /// Lookups ended since peers were last plenty.
    lean: usize,
    /// Lookups ended since the start.
    ended: usize,
    last_end: Option<Instant>,
    next: Instant,
}

/// What a lookup led to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Enough peers are known, or none are needed.
    Content,
    /// More peers would help, or no node took our announce.
    Lean,
}

impl LookupSchedule {
    /// The first lookup is due at once.
    pub(super) fn new(network: Network, now: Instant) -> Self {
        Self {
            network,
            lean: 0,
            ended: 0,
            last_end: None,
            next: now,
        }
    }

    /// When the next lookup is due, if none is under way.
    pub(super) fn next(&self) -> Instant {
        self.next
    }

    /// A lookup has ended.
    pub(super) fn ended(&mut self, now: Instant, outcome: Outcome) {
        let (content, lean): (&[u64], &[u64]) = match self.network {
            Network::Mainline => (&CONTENT_MAINLINE, &LEAN_MAINLINE),
            Network::Private => (&CONTENT_PRIVATE, &LEAN_PRIVATE),
        };
        let (delays, step) = match outcome {
            Outcome::Content => {
                self.lean = 0;
                (content, self.ended)
            }
            Outcome::Lean => {
                self.lean += 1;
                (lean, self.lean - 1)
            }
        };
        self.ended += 1;
        self.last_end = Some(now);
        self.next = now + Duration::from_secs(delays[step.min(delays.len() - 1)]);
    }

    /// The torrent asks for peers: look sooner, but not faster than the lean pace.
    pub(super) fn want_peers(&mut self, now: Instant) {
        let gap = match self.network {
            Network::Mainline => Duration::from_secs(60),
            Network::Private => Duration::from_secs(5),
        };
        let earliest = self.last_end.map_or(now, |end| end + gap);
        self.next = self.next.min(earliest.max(now));
    }

    /// The DHT has become usable: what was asked before was asked of nobody.
    pub(super) fn bootstrapped(&mut self, now: Instant) {
        self.lean = 0;
        self.next = now;
    }
}

// Seconds until the next lookup; the last entry repeats. BEP 5 stores expire after half an hour
// or more, so 15 min keeps an announce alive. A private network is small and its nodes often start
// together: the nodes closest to a torrent change while it fills, and a lookup costs little.
const CONTENT_MAINLINE: [u64; 1] = [15 * 60];
const LEAN_MAINLINE: [u64; 7] = [5, 15, 30, 60, 60, 120, 300];
const CONTENT_PRIVATE: [u64; 6] = [3, 5, 10, 20, 30, 60];
const LEAN_PRIVATE: [u64; 6] = [1, 1, 2, 2, 3, 5];

#[cfg(test)]
mod tests {
    use super::*;

    fn delays(network: Network, outcomes: &[Outcome]) -> Vec<u64> {
        let mut now = Instant::now();
        let mut schedule = LookupSchedule::new(network, now);
        assert_eq!(schedule.next(), now);
        outcomes
            .iter()
            .map(|outcome| {
                schedule.ended(now, *outcome);
                let delay = schedule.next().saturating_duration_since(now);
                now = schedule.next();
                delay.as_secs()
            })
            .collect()
    }

    #[test]
    fn lean_swarms_are_asked_for_often_and_then_less() {
        use Outcome::{Content, Lean};
        assert_eq!(
            delays(Network::Mainline, &[Lean, Lean, Lean, Content, Lean]),
            [5, 15, 30, 900, 5]
        );
        assert_eq!(delays(Network::Mainline, &[Lean; 9])[6..], [300; 3]);
        assert_eq!(delays(Network::Private, &[Lean; 8])[5..], [5; 3]);
        assert_eq!(delays(Network::Private, &[Content; 3]), [3, 5, 10]);
    }

    #[test]
    fn wishes_hasten_the_next_lookup_within_bounds() {
        let now = Instant::now();
        let mut schedule = LookupSchedule::new(Network::Mainline, now);
        schedule.ended(now, Outcome::Content);
        let later = now + Duration::from_secs(10);
        schedule.want_peers(later);
        assert_eq!(schedule.next(), now + Duration::from_secs(60));
        schedule.want_peers(now + Duration::from_secs(600));
        assert_eq!(schedule.next(), now + Duration::from_secs(60));
        schedule.bootstrapped(later);
        assert_eq!(schedule.next(), later);
    }
}
