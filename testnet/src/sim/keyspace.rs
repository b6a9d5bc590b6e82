//! Who is near a point of the key space, by an index over all nodes that no node has.
//!
//! Experiments hold what nodes found against it, and attackers who work together share one.

use std::{collections::BTreeMap, ops::Bound};

use mainswarm::ids::NodeId;

/// Values by id.
#[derive(Debug, Clone)]
pub(crate) struct KeySpace<T> {
    by_id: BTreeMap<NodeId, T>,
}

impl<T: Copy> KeySpace<T> {
    /// Nobody.
    pub(crate) fn new() -> Self {
        Self {
            by_id: BTreeMap::new(),
        }
    }

    /// How many.
    pub(crate) fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Adds one.
    pub(crate) fn insert(&mut self, id: NodeId, value: T) {
        self.by_id.insert(id, value);
    }

    /// Takes one away.
    pub(crate) fn remove(&mut self, id: &NodeId) {
        self.by_id.remove(id);
    }

    /// The `count` closest to a point, closest first.
    pub(crate) fn closest(&self, target: &NodeId, count: usize) -> Vec<(NodeId, T)> {
        // Who shares a bit more with the target is closer, whatever follows: the closest are the
        // first prefix range that holds enough. It is found from the size that the number of all
        // suggests, so only a few ids are looked at.
        let mut bits = self.by_id.len().max(1).ilog2() as usize;
        while bits > 0 && self.within(target, bits).take(count).count() < count {
            bits -= 1;
        }
        let mut found: Vec<(NodeId, T)> = self.within(target, bits).collect();
        found.sort_unstable_by_key(|(id, _)| target.distance(id));
        found.truncate(count);
        found
    }

    /// All that share this many leading bits with a point.
    fn within(&self, target: &NodeId, bits: usize) -> impl Iterator<Item = (NodeId, T)> {
        let (mut first, mut last) = (*target.as_bytes(), *target.as_bytes());
        for (at, (low, high)) in first.iter_mut().zip(&mut last).enumerate() {
            let kept = bits.saturating_sub(8 * at).min(8);
            let free = 0xff_u16.wrapping_shr(kept as u32) as u8;
            (*low, *high) = (*low & !free, *high | free);
        }
        let range = (
            Bound::Included(NodeId::new(first)),
            Bound::Included(NodeId::new(last)),
        );
        self.by_id.range(range).map(|(id, value)| (*id, *value))
    }
}

impl<T: Copy> Default for KeySpace<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: Copy> FromIterator<(NodeId, T)> for KeySpace<T> {
    fn from_iter<I: IntoIterator<Item = (NodeId, T)>>(all: I) -> Self {
        Self {
            by_id: all.into_iter().collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::hash::seed_bytes;

    fn id(n: u64) -> NodeId {
        NodeId::from_slice(&seed_bytes(&[n])[..20]).unwrap()
    }

    #[test]
    fn the_closest_are_those_of_a_full_sort() {
        for count in [0, 1, 7, 8, 9, 300, 5_000] {
            let mut space: KeySpace<u64> = (0..count).map(|n| (id(n), n)).collect();
            space.insert(id(1_000_000), 1_000_000);
            space.remove(&id(1_000_000));
            let mut all: Vec<NodeId> = (0..count).map(id).collect();
            for n in 0..50 {
                let target = if n % 2 == 0 { id(n) } else { id(n + 10_000) };
                all.sort_by_key(|id| target.distance(id));
                let found = space.closest(&target, 8);
                let ids: Vec<NodeId> = found.iter().map(|(id, _)| *id).collect();
                assert_eq!(ids, all[..ids.len()], "{count} {n}");
                assert_eq!(ids.len(), 8.min(all.len()));
            }
        }
    }
}
