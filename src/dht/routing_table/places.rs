//! Who may have a place in the table, and who must leave one.

use std::{net::SocketAddr, ops::Range};

use super::{
    super::node::{Node, Quality, Seconds},
    RoutingTable,
};
use crate::ids::NodeId;

impl RoutingTable {
    /// Whether a node of this id and address could enter.
    pub(in crate::dht) fn has_room(&self, id: &NodeId, addr: &SocketAddr, now: Seconds) -> bool {
        let index = self.index(id);
        let bucket = self.bucket(index);
        let bad = |node: &Node| node.quality(now) == Quality::Bad;
        let fits = index + 1 >= self.buckets.len()
            || bucket.len() < self.size(index)
            || bucket.iter().any(bad);
        // Most do not fit, and only for the others the whole table is searched.
        fits && *id != self.own
            && !self.contains_addr(addr)
            && !(self.one_per_ip && self.holds_ip(addr, now))
    }

    /// Whether the IP address has its one place already.
    pub(super) fn holds_ip(&self, addr: &SocketAddr, now: Seconds) -> bool {
        let ip = addr.ip();
        let mut all = self.nodes.iter().chain(&self.spares);
        all.any(|node| node.has_ip(&ip) && node.quality(now) != Quality::Bad)
    }

    /// A node whose place is free for another: a bad one, or the slowest of those whose ids do not
    /// follow from their addresses, if the other's does and that is preferred.
    pub(super) fn worst(&self, range: Range<usize>, now: Seconds, prefers: bool) -> Option<usize> {
        let at = |at: &usize| &self.nodes[*at];
        let mut all = range.clone();
        let bad = all.find(|place| at(place).quality(now) == Quality::Bad);
        let outsiders = range.filter(|place| prefers && !at(place).conforms());
        bad.or_else(|| outsiders.max_by_key(|place| at(place).rtt()))
    }
}
