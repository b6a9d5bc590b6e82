//! Queries that wait for their replies.
//!
//! A reply counts only if it comes from the queried address with the transaction id of that query,
//! and once. Each query has two time-outs: after the soft one its lookup stops waiting and asks
//! somebody else, after the hard one it is forgotten and the node is blamed. A reply between the
//! two is as good as an early one.

use std::{
    collections::{BTreeMap, BTreeSet},
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
    /// To announce at the end of a lookup.
    Announce(LookupId),
}

/// What a time-out means.
#[derive(Debug)]
pub(super) enum Expiry {
    Soft(SocketAddr, Purpose),
    Hard(Transaction),
}

#[derive(Debug, Default)]
pub(super) struct Transactions {
    /// Ordered maps: their order is the same in every run, and they take no memory while empty.
    /// Boxed, since a map has room for eleven where most nodes have one query out.
    open: BTreeMap<Tid, Box<Transaction>>,
    deadlines: BTreeSet<(Instant, Tid)>,
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
        while self.open.contains_key(&tid) {
            tid = rng.random();
        }
        let deadline = now + soft.unwrap_or(HARD_TIMEOUT);
        let transaction = Transaction {
            addr,
            id,
            purpose,
            sent: now,
            deadline,
            last: soft.is_none(),
        };
        self.open.insert(tid, Box::new(transaction));
        self.deadlines.insert((deadline, tid));
        tid
    }

    /// Takes the query that a reply belongs to.
    pub(super) fn close(&mut self, tid: &[u8], from: &SocketAddr) -> Option<Transaction> {
        let tid = Tid::try_from(tid).ok()?;
        if self.open.get(&tid)?.addr != *from {
            return None;
        }
        let transaction = self.open.remove(&tid)?;
        self.deadlines.remove(&(transaction.deadline, tid));
        Some(*transaction)
    }

    /// Takes one time-out that is due.
    pub(super) fn expire(&mut self, now: Instant) -> Option<Expiry> {
        let due = self.deadlines.first().copied();
        let (deadline, tid) = due.filter(|(deadline, _)| *deadline <= now)?;
        self.deadlines.remove(&(deadline, tid));
        let transaction = self.open.get_mut(&tid)?;
        if transaction.last {
            return self.open.remove(&tid).map(|open| Expiry::Hard(*open));
        }
        transaction.last = true;
        transaction.deadline = transaction.sent + HARD_TIMEOUT;
        self.deadlines.insert((transaction.deadline, tid));
        Some(Expiry::Soft(transaction.addr, transaction.purpose))
    }

    /// Takes all of them, blaming nobody: the machine slept.
    pub(super) fn clear(&mut self) -> Vec<Transaction> {
        self.deadlines.clear();
        let open = std::mem::take(&mut self.open).into_values();
        open.map(|transaction| *transaction).collect()
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }

    pub(super) fn len(&self) -> usize {
        self.open.len()
    }

    /// Whether a reply from this address is awaited.
    pub(super) fn awaits(&self, addr: &SocketAddr) -> bool {
        self.open.values().any(|open| open.addr == *addr)
    }

    pub(super) fn check(&self) {
        debug_assert_eq!(self.open.len(), self.deadlines.len());
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
                deadlines: self.deadlines.clone(),
            }
        }
    }
}
