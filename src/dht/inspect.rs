//! What a node shows of itself: each step of a lookup that is traced, and its routing table.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use super::{
    Contact, Dht, DhtEvent, LookupId,
    lookup::Lookup,
    node::Quality,
    node_id,
    transactions::{Purpose, Transaction},
};
use crate::ids::NodeId;

/// What became of a node in a lookup, replies left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LookupStep {
    /// It was asked.
    Asked {
        /// Its id, if that is known: a router has none yet.
        id: Option<NodeId>,
        /// How many referrals led to it; those of our table count one.
        hops: u32,
    },
    /// It takes longer than most, and others are asked in its place.
    Slow,
    /// It did not reply, or with something of no use.
    Failed,
    /// It was sent an announce or an item.
    Storing,
    /// It took that.
    Stored,
    /// It did not take it.
    Refused,
}

/// A node of the routing table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TableNode {
    /// Who and where.
    pub contact: Contact,
    /// The bucket it is in: with how many leading bits of our id its own begins, or more in the
    /// last bucket.
    pub bucket: usize,
    /// How fast it answered last.
    pub rtt: Duration,
    /// How long ago it was last heard of, in whole seconds.
    pub silent: Duration,
    /// Whether it is good as BEP 5 says: it answers, and was heard of lately.
    pub good: bool,
    /// How many queries in a row it did not answer.
    pub failures: u8,
    /// Whether its id follows from its address (BEP 42).
    pub verified: bool,
}

impl Dht {
    /// Has each step and each reply of a running lookup reported, as [`DhtEvent::LookupStepped`]
    /// and [`DhtEvent::LookupReply`]; those nodes first that have been asked by now.
    pub fn trace(&mut self, now: Instant, lookup: LookupId) {
        let Some(running) = self.lookups.get_mut(&lookup) else {
            return;
        };
        running.traced = true;
        for (addr, id, hops) in running.asked() {
            let step = LookupStep::Asked { id, hops };
            let event = running.step(now, lookup, addr, step);
            self.events.push_back(event);
        }
    }

    /// The nodes of the routing table with what is known of them, bucket by bucket.
    pub fn table_nodes(&self, now: Instant) -> impl Iterator<Item = TableNode> {
        let seconds = self.seconds(now);
        let last = self.table.buckets().saturating_sub(1);
        self.table.iter().map(move |node| {
            let shared = self.id.distance(&node.id).leading_zeros() as usize;
            TableNode {
                contact: node.contact(),
                bucket: shared.min(last),
                rtt: node.rtt(),
                silent: Duration::from_secs(seconds.saturating_sub(node.seen).into()),
                good: node.quality(seconds) == Quality::Good,
                failures: node.failures,
                verified: node_id::conforms(&node.addr().ip(), &node.id),
            }
        })
    }

    /// Reports a step of a lookup that is traced.
    pub(super) fn trace_step(
        &mut self,
        now: Instant,
        purpose: Purpose,
        addr: SocketAddr,
        step: LookupStep,
    ) {
        let (Purpose::Lookup(id) | Purpose::Probe(id) | Purpose::Announce(id)) = purpose else {
            return;
        };
        if let Some(lookup) = self.lookups.get(&id).filter(|lookup| lookup.traced) {
            self.events.push_back(lookup.step(now, id, addr, step));
        }
    }

    /// Reports that a node is asked.
    pub(super) fn trace_asked(
        &mut self,
        now: Instant,
        id: LookupId,
        lookup: &Lookup,
        addr: SocketAddr,
    ) {
        if !lookup.traced {
            return;
        }
        if let Some((id_of, hops)) = lookup.way_to(&addr) {
            let step = LookupStep::Asked { id: id_of, hops };
            self.events.push_back(lookup.step(now, id, addr, step));
        }
    }

    /// Reports that a node will not do what it was asked for.
    pub(super) fn trace_failure(&mut self, now: Instant, addr: &SocketAddr, purpose: Purpose) {
        let step = match purpose {
            Purpose::Announce(_) => LookupStep::Refused,
            _ => LookupStep::Failed,
        };
        self.trace_step(now, purpose, *addr, step);
    }
}

impl Lookup {
    pub(super) fn step(
        &self,
        now: Instant,
        lookup: LookupId,
        addr: SocketAddr,
        step: LookupStep,
    ) -> DhtEvent {
        DhtEvent::LookupStepped {
            lookup,
            addr,
            elapsed: self.stats(now).elapsed,
            step,
        }
    }
}

impl Transaction {
    /// The question to which this is the answer, if it was asked outside of any lookup.
    pub(super) fn question(&self) -> Option<LookupId> {
        match self.purpose {
            Purpose::Ask(id) => Some(id),
            _ => None,
        }
    }
}
