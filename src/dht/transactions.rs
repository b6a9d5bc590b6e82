//! Queries that wait for their replies.
//!
//! A reply counts only if it comes from the queried address with the transaction id of that query,
//! and once. Each query has two time-outs: after the soft one its lookup stops waiting and asks
//! somebody else, after the hard one it is forgotten and the node is blamed. A reply between the
//! two is as good as an early one.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use rand::{RngExt, rngs::StdRng};

use super::types::LookupId;
use crate::ids::NodeId;

/// Ours: no answer comes later than this on any path that is of use.
pub(super) const HARD_TIMEOUT: Duration = Duration::from_secs(10);

/// Our transaction ids have four bytes: one implementation drops all other lengths.
pub(super) type Tid = [u8; 4];

/// A query that was sent.
#[derive(Debug, Clone)]
pub(super) struct Transaction {
    tid: Tid,
    pub(super) addr: SocketAddr,
    /// Who should answer; `None` if only the address was known.
    pub(super) id: Option<NodeId>,
    pub(super) purpose: Purpose,
    pub(super) sent: Instant,
    /// The next of its two time-outs.
    deadline: Instant,
    /// Whether the next one is the hard one.
    last: bool,
}

/// Why a query was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// To see whether somebody is there.
    Ping,
    /// The same, for a node of the table whose turn it is.
    Upkeep,
    /// The same, for a node that we never heard of before.
    Newcomer,
    /// The same, for one that has just sent us a query.
    Caller,
    /// For the nodes or peers in the reply.
    Lookup(LookupId),
    /// For the nodes beside a lookup's target.
    Probe(LookupId),
    /// To announce, or to put an item, at the end of a lookup.
    Announce(LookupId),
    /// For a sample of its torrents, which is no lookup but is named like one.
    Sample(LookupId),
    /// Because the user asks, which is named like a lookup, too.
    Ask(LookupId),
}

/// What a time-out means.
#[derive(Debug)]
pub(super) enum Expiry {
    Soft(SocketAddr, Purpose),
    Hard(Transaction),
}

/// In no order: most nodes have one query out, and busy ones a few dozen, which a search passes
/// sooner than it finds its way through a map. While there is none it takes no memory.
#[derive(Debug, Default)]
pub(super) struct Transactions {
    open: Vec<Transaction>,
}

impl Transactions {
    /// Opens one with a fresh random id. Without `soft` only the hard time-out applies.
    pub(super) fn open(
        &mut self,
        now: Instant,
        addr: SocketAddr,
        id: Option<NodeId>,
        purpose: Purpose,
        soft: Option<Duration>,
        rng: &mut StdRng,
    ) -> Tid {
        let mut tid: Tid = rng.random();
        while self.find(&tid).is_some() {
            tid = rng.random();
        }
        if self.open.is_empty() {
            self.open.reserve_exact(1);
        }
        self.open.push(Transaction {
            tid,
            addr,
            id,
            purpose,
            sent: now,
            deadline: now + soft.unwrap_or(HARD_TIMEOUT),
            last: soft.is_none(),
        });
        tid
    }

    /// Takes the query that a reply belongs to.
    pub(super) fn close(&mut self, tid: &[u8], from: &SocketAddr) -> Option<Transaction> {
        let at = self.find(&Tid::try_from(tid).ok()?)?;
        (self.open[at].addr == *from).then(|| self.take(at))
    }

    /// Takes one time-out that is due, the earliest first.
    pub(super) fn expire(&mut self, now: Instant) -> Option<Expiry> {
        let due = self.open.iter().enumerate();
        let due = due.filter(|(_, open)| open.deadline <= now);
        let (at, _) = due.min_by_key(|(_, open)| (open.deadline, open.tid))?;
        let transaction = &mut self.open[at];
        if transaction.last {
            return Some(Expiry::Hard(self.take(at)));
        }
        transaction.last = true;
        transaction.deadline = transaction.sent + HARD_TIMEOUT;
        Some(Expiry::Soft(transaction.addr, transaction.purpose))
    }

    /// Takes all of them, blaming nobody: the machine slept.
    pub(super) fn clear(&mut self) -> Vec<Transaction> {
        let mut open = std::mem::take(&mut self.open);
        open.sort_unstable_by_key(|transaction| transaction.tid);
        open
    }

    /// Nobody waits for this answer any more, but the node that was asked may still answer.
    pub(super) fn disown(&mut self, id: LookupId) {
        let waiting = self.open.iter_mut();
        for open in
            waiting.filter(|open| [Purpose::Sample(id), Purpose::Ask(id)].contains(&open.purpose))
        {
            open.purpose = Purpose::Ping;
        }
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.open.iter().map(|open| open.deadline).min()
    }

    pub(super) fn len(&self) -> usize {
        self.open.len()
    }

    /// Whether a reply from this address is awaited.
    pub(super) fn awaits(&self, addr: &SocketAddr) -> bool {
        self.open.iter().any(|open| open.addr == *addr)
    }

    /// Reads the front of the first.
    pub(super) fn touch(&self) -> usize {
        self.open.first().map_or(0, |open| usize::from(open.last))
    }

    pub(super) fn check(&self) {
        for (at, open) in self.open.iter().enumerate() {
            let twin = self.open[..at].iter().any(|other| other.tid == open.tid);
            debug_assert!(!twin, "two queries with the transaction id {:?}", open.tid);
        }
    }

    fn find(&self, tid: &Tid) -> Option<usize> {
        self.open.iter().position(|open| open.tid == *tid)
    }

    fn take(&mut self, at: usize) -> Transaction {
        let transaction = self.open.swap_remove(at);
        if self.open.is_empty() {
            self.open = Vec::new();
        }
        transaction
    }
}

/// The recent round-trip times of all nodes: what to expect of one that we do not know.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct RttEstimate {
    mean_ms: f32,
    deviation_ms: f32,
}

impl RttEstimate {
    pub(super) fn add(&mut self, rtt: Duration) {
        let rtt = rtt.as_secs_f32() * 1_000.0;
        if self.mean_ms == 0.0 {
            (self.mean_ms, self.deviation_ms) = (rtt.max(0.1), rtt / 2.0);
            return;
        }
        // RFC 6298's gains.
        self.deviation_ms += ((rtt - self.mean_ms).abs() - self.deviation_ms) / 4.0;
        self.mean_ms += (rtt - self.mean_ms) / 8.0;
    }

    /// About the 90th percentile of the round-trip times, or one second before any was seen.
    pub(super) fn soft_timeout(&self) -> Duration {
        if self.mean_ms == 0.0 {
            return MAX_SOFT;
        }
        let ms = self.mean_ms + 2.0 * self.deviation_ms;
        Duration::from_secs_f32(ms / 1_000.0).clamp(MIN_SOFT, MAX_SOFT)
    }
}

/// Ours: below this, jitter would widen searches that go well.
pub(super) const MIN_SOFT: Duration = Duration::from_millis(200);
/// libtorrent's short time-out.
pub(super) const MAX_SOFT: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    const SOFT: Duration = Duration::from_millis(300);

    fn addr(text: &str) -> SocketAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn a_reply_needs_the_address_and_the_id_and_counts_once() {
        let mut rng = StdRng::from_seed([1; 32]);
        let mut open = Transactions::default();
        let (now, node) = (Instant::now(), addr("127.0.0.1:1"));
        let tid = open.open(now, node, None, Purpose::Ping, None, &mut rng);
        assert!(open.close(&tid, &addr("127.0.0.1:2")).is_none());
        assert!(open.close(&tid[..2], &node).is_none());
        assert!(
            open.close(&[tid[0], tid[1], tid[2], !tid[3]], &node)
                .is_none()
        );
        assert!(open.awaits(&node));
        assert!(open.close(&tid, &node).is_some());
        assert!(open.close(&tid, &node).is_none());
        assert!(open.open.is_empty() && open.next_deadline().is_none());
        open.check();
    }

    #[test]
    fn soft_then_hard() {
        let mut rng = StdRng::from_seed([1; 32]);
        let mut open = Transactions::default();
        let (now, node) = (Instant::now(), addr("127.0.0.1:1"));
        let purpose = Purpose::Lookup(LookupId(1));
        let tid = open.open(now, node, None, purpose, Some(SOFT), &mut rng);
        assert!(open.expire(now).is_none());
        assert_eq!(open.next_deadline(), Some(now + SOFT));
        assert!(matches!(open.expire(now + SOFT), Some(Expiry::Soft(..))));
        assert!(open.expire(now + SOFT).is_none());
        open.check();
        let late = open.clone_for_test().close(&tid, &node);
        assert!(late.is_some(), "a late reply still counts");
        assert!(matches!(
            open.expire(now + HARD_TIMEOUT),
            Some(Expiry::Hard(_))
        ));
        assert!(open.open.is_empty());
        open.check();
    }

    #[test]
    fn the_soft_timeout_follows_the_round_trips() {
        let mut rtt = RttEstimate::default();
        assert_eq!(rtt.soft_timeout(), MAX_SOFT);
        for _ in 0..100 {
            rtt.add(Duration::from_millis(300));
        }
        let soft = rtt.soft_timeout();
        assert!(soft >= Duration::from_millis(295) && soft < Duration::from_millis(400));
        for _ in 0..100 {
            rtt.add(Duration::from_micros(50));
        }
        assert_eq!(rtt.soft_timeout(), MIN_SOFT);
    }

    impl Transactions {
        fn clone_for_test(&self) -> Self {
            Self {
                open: self.open.clone(),
            }
        }
    }
}
