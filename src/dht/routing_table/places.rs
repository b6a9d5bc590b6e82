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

    /// A node whose place is free for another: a bad one, or, if the other's id follows from its
    /// address and that is preferred, the slowest of those whose ids do not. The questionable of
    /// them go first, and a good one stays while somebody questionable may turn out to be gone.
    pub(super) fn worst(&self, range: Range<usize>, now: Seconds, prefers: bool) -> Option<usize> {
        let at = |at: &usize| &self.nodes[*at];
        let is = |place: &usize, quality| at(place).quality(now) == quality;
        let bad = range.clone().find(|place| is(place, Quality::Bad));
        if bad.is_some() || !prefers {
            return bad;
        }
        let all_good = range.clone().all(|place| is(&place, Quality::Good));
        let outsiders = range.filter(|place| !at(place).conforms());
        let leaving = outsiders.filter(|place| all_good || is(place, Quality::Questionable));
        leaving.max_by_key(|place| at(place).rtt())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{
        super::{
            super::{
                node::QUESTIONABLE_AFTER,
                node_id::{self, IdCheck},
            },
            Entry, Reached,
        },
        *,
    };

    const RTT: Duration = Duration::from_millis(50);

    /// The n-th node of the first bucket whose id follows from its address, or does not.
    fn node(conforms: bool, n: u32) -> (NodeId, SocketAddr) {
        let base = if conforms { 0x2800_0000 } else { 0x3200_0000 };
        let mut found = (0u32..).filter_map(|m| {
            let ip = std::net::Ipv4Addr::from_bits(base + 0x0001_0100 * m).into();
            let bits = NodeId::new([0xff; 20]);
            let id = if conforms {
                node_id::bind(&ip, bits)
            } else {
                bits
            };
            let id = id.with_bit(100, m % 2 == 0).with_bit(110, m % 4 < 2);
            let mut bytes = *id.as_bytes();
            bytes[15] = m as u8;
            let id = NodeId::new(bytes);
            let fits = id.bit(0) && node_id::conforms(&ip, &id) == conforms;
            fits.then(|| (id, SocketAddr::new(ip, 1)))
        });
        found.nth(n as usize).expect("there are more")
    }

    #[test]
    fn good_nodes_stay_unless_one_that_conforms_wants_their_place() {
        let own = NodeId::new([0; 20]);
        let mut table = RoutingTable::new(own, false, true, IdCheck::Prefer);
        let enter = |table: &mut RoutingTable, (id, addr): (NodeId, SocketAddr), ms, now| {
            let rtt = Duration::from_millis(ms);
            let entry = table.on_reply(id, &addr, rtt, Reached::Called, now);
            table.check();
            entry
        };
        // One in the other half of the key space, so that the first bucket is not the last.
        let far = (
            NodeId::new([1; 20]),
            "60.1.1.1:1".parse().expect("an address"),
        );
        let insider = node(true, 0);
        assert_eq!(enter(&mut table, far, 1, 0), Entry::Added);
        assert_eq!(enter(&mut table, insider, 1, 0), Entry::Added);
        for n in 0..7 {
            let added = enter(&mut table, node(false, n), 100 + u64::from(n), 0);
            assert_eq!(added, Entry::Added);
        }
        let late = 2 * QUESTIONABLE_AFTER;
        for n in 0..7 {
            let (id, addr) = node(false, n);
            assert!(table.on_query(&id, &addr, late));
        }
        // The only one that is questionable conforms: it is asked, and nobody leaves before.
        let asked = enter(&mut table, node(true, 1), 1, late);
        assert_eq!(asked, Entry::Spare(Some(insider.1)));
        assert!(table.on_query(&insider.0, &insider.1, late));
        // All are good: of those that do not conform the slowest leaves.
        assert_eq!(enter(&mut table, node(true, 2), 1, late), Entry::Added);
        assert!(!table.contains_addr(&node(false, 6).1));
        // One is questionable: it leaves, however fast it was.
        for n in 1..6 {
            let (id, addr) = node(false, n);
            assert!(table.on_query(&id, &addr, 2 * late));
        }
        for n in [0, 2] {
            let (id, addr) = node(true, n);
            assert!(table.on_query(&id, &addr, 2 * late));
        }
        assert_eq!(enter(&mut table, node(true, 3), 1, 2 * late), Entry::Added);
        assert!(!table.contains_addr(&node(false, 0).1));
        // Who does not conform drives nobody good out.
        let refused = enter(&mut table, node(false, 8), 1, 2 * late);
        assert_eq!(refused, Entry::Spare(None));
    }

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
