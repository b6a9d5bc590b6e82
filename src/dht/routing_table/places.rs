//! Who may have a place in the table, and who must leave one.

use std::{net::SocketAddr, ops::Range};

use super::{
    super::node::{Node, Quality, Seconds, source},
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

    /// Whether the IP address, in IPv6 its /64, has its one place already.
    pub(super) fn holds_ip(&self, addr: &SocketAddr, now: Seconds) -> bool {
        let source = source(&addr.ip());
        let mut all = self.nodes.iter().chain(&self.spares);
        all.any(|node| node.is_of(&source) && node.quality(now) != Quality::Bad)
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{
        super::{super::node_id::IdCheck, Entry, Reached},
        *,
    };

    const RTT: Duration = Duration::from_millis(50);

    #[test]
    fn a_customer_has_one_place() {
        let rows = [
            ("10.0.0.1:1", "10.0.0.1:2", Entry::Refused),
            ("10.0.0.1:1", "10.0.0.2:1", Entry::Added),
            ("[2001:db8::1]:1", "[2001:db8::1]:2", Entry::Refused),
            (
                "[2001:db8::1]:1",
                "[2001:db8:0:0:9:9:9:9]:1",
                Entry::Refused,
            ),
            ("[2001:db8::1]:1", "[2001:db8:0:1::1]:1", Entry::Added),
        ];
        let [one, two] = [1, 2].map(|n| NodeId::new([n; 20]));
        for (first, second, expected) in rows {
            let [first, second] = [first, second].map(|addr| addr.parse().expect("an address"));
            for one_per_ip in [true, false] {
                let own = NodeId::new([0; 20]);
                let mut table = RoutingTable::new(own, false, one_per_ip, IdCheck::Off);
                table.on_reply(one, &first, RTT, Reached::Called, 0);
                let fits = !one_per_ip || expected == Entry::Added;
                assert_eq!(table.has_room(&two, &second, 0), fits, "{second}");
                let entry = table.on_reply(two, &second, RTT, Reached::Called, 0);
                assert_eq!(entry == Entry::Added, fits, "{second}");
                table.check();
            }
        }
    }
}
