//! What a table tells of the network around its id, and how it follows when the id changes.

use std::net::SocketAddr;

use super::{super::node::Node, Bucket, K, RoutingTable};
use crate::ids::{Distance, NodeId};

impl RoutingTable {
    /// Whether the ids of most nodes follow from their addresses.
    pub(in crate::dht) fn mostly_conforms(&self) -> bool {
        let conforming = self.iter().filter(|node| node.conforms());
        2 * conforming.count() > self.len()
    }

    /// Whether somebody is known under this id at this address.
    pub(in crate::dht) fn knows(&self, id: &NodeId, addr: &SocketAddr) -> bool {
        let mut bucket = self.bucket(self.index(id)).iter();
        bucket.any(|node| node.id == *id && node.has_addr(addr))
    }

    /// How far our K closest neighbours are, closest first. The search for our own id finds those at
    /// once, while a bucket that is not full tells little in a young table. Of a crowd, in which
    /// somebody may have moved next to a key beside us, two count.
    pub(in crate::dht) fn neighbours(&self) -> Vec<Distance> {
        let mut near: Vec<NodeId> = Vec::with_capacity(K);
        for index in (0..self.buckets.len()).rev() {
            let alive = self.bucket(index).iter();
            let alive = alive.filter(|node| node.failures == 0);
            let mut alive: Vec<NodeId> = alive.map(|node| node.id).collect();
            alive.sort_unstable_by_key(|id| self.own.distance(id));
            for id in alive {
                let before = near.len().checked_sub(2).map(|at| near[at]);
                let crowded = before.is_some_and(|other| self.are_alike(&other, &id));
                if !crowded {
                    near.push(id);
                }
            }
            if near.len() >= K {
                break;
            }
        }
        near.truncate(K);
        near.iter().map(|id| self.own.distance(id)).collect()
    }

    /// Whether two ids are in one sixty-fourth of their bucket: chance puts three of eight there
    /// once in seventy times.
    fn are_alike(&self, one: &NodeId, other: &NodeId) -> bool {
        let depth = self.own.distance(one).leading_zeros();
        one.distance(other).leading_zeros() > depth + 6
    }

    /// Our id is another: everybody moves to the bucket where it belongs from there.
    pub(in crate::dht) fn rebase(&mut self, own: NodeId) {
        self.own = own;
        self.buckets.clear();
        let mut nodes: Vec<Node> = std::mem::take(&mut self.nodes);
        nodes.append(&mut self.spares);
        nodes.retain(|node| node.id != own);
        nodes.sort_by_key(|node| node.seen);
        for node in nodes {
            if self.buckets.is_empty() {
                self.buckets.push(Bucket::default());
            }
            let seen = node.seen;
            self.insert(node, seen);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rand::{RngExt, SeedableRng, rngs::StdRng};

    use super::{
        super::{super::node_id::IdCheck, Reached},
        *,
    };

    fn filled(ids: &[NodeId]) -> RoutingTable {
        let mut table = RoutingTable::new(NodeId::new([0; 20]), true, true, IdCheck::Prefer);
        for (n, id) in (0u32..).zip(ids) {
            let addr = (std::net::Ipv4Addr::from_bits(0x2800_0000 + n * 977), 6881).into();
            table.on_reply(*id, &addr, Duration::ZERO, Reached::Called, n);
        }
        table.check();
        table
    }

    #[test]
    fn neighbours_are_all_that_are_so_close() {
        let mut rng = StdRng::from_seed([6; 32]);
        let mut ids: Vec<NodeId> = (0..3_000).map(|_| NodeId::new(rng.random())).collect();
        let near = filled(&ids).neighbours();
        let own = NodeId::new([0; 20]);
        ids.sort_by_key(|id| own.distance(id));
        let all: Vec<Distance> = ids.iter().map(|id| own.distance(id)).collect();
        assert_eq!(near, all[..K]);
        assert_eq!(filled(&ids[..5]).neighbours().len(), 5);
        assert!(filled(&[]).neighbours().is_empty());
    }

    #[test]
    fn a_crowd_beside_us_counts_as_two() {
        let mut rng = StdRng::from_seed([6; 32]);
        let mut ids: Vec<NodeId> = (0..3_000).map(|_| NodeId::new(rng.random())).collect();
        let far = |ids: &[NodeId]| filled(ids).neighbours()[K - 1];
        let before = far(&ids);
        let own = NodeId::new([0; 20]);
        let mut key = *ids
            .iter()
            .min_by_key(|id| own.distance(id))
            .unwrap()
            .as_bytes();
        for n in 0..128 {
            key[19] = n;
            ids.push(NodeId::new(key));
        }
        let after = far(&ids);
        assert!(after.leading_zeros() <= before.leading_zeros() + 1);
    }

    #[test]
    fn another_id_moves_everybody_and_loses_nobody_who_fits() {
        let mut rng = StdRng::from_seed([7; 32]);
        let ids: Vec<NodeId> = (0..100).map(|_| NodeId::new(rng.random())).collect();
        let mut table = filled(&ids);
        let before = table.len();
        table.rebase(NodeId::new([0xff; 20]));
        table.check();
        assert_eq!((before, table.len()), (100, 100));
        let ids: Vec<NodeId> = (0..3_000).map(|_| NodeId::new(rng.random())).collect();
        let mut table = filled(&ids);
        let before = table.len();
        table.rebase(NodeId::new([0x55; 20]));
        table.check();
        assert!(table.len() > before / 3, "{} of {before}", table.len());
        assert!(table.knows(
            &table.iter().next().unwrap().id,
            &table.iter().next().unwrap().addr()
        ));
        assert!(!table.knows(&ids[0], &"9.9.9.9:9".parse().unwrap()));
    }

    #[test]
    fn who_conforms_takes_the_place_of_who_does_not() {
        let mut rng = StdRng::from_seed([8; 32]);
        let ids: Vec<NodeId> = (0..2_000).map(|_| NodeId::new(rng.random())).collect();
        let mut table = filled(&ids);
        assert!(!table.mostly_conforms());
        for n in 0..2_000u32 {
            let addr: SocketAddr = (std::net::Ipv4Addr::from_bits(0x5000_0000 + n * 977), 1).into();
            let id = super::super::node_id::bind(&addr.ip(), NodeId::new(rng.random()));
            table.on_reply(id, &addr, Duration::ZERO, Reached::Called, 2_000);
        }
        table.check();
        assert!(table.mostly_conforms());
        let strays = table.iter().filter(|node| !node.conforms()).count();
        assert!(strays < table.len() / 5, "{strays} of {}", table.len());
    }
}
