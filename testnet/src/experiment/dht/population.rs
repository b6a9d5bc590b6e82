//! Who is there: honest nodes that are up, and what the experiment knows of each.

use mainswarm::ids::NodeId;

use crate::sim::{hash::draw, keyspace::KeySpace};

/// The honest nodes that are up. All steps take the same time however many there are.
#[derive(Debug, Default)]
pub(super) struct Population {
    /// In no particular order; routers are not among them.
    members: Vec<u32>,
    /// Where in `members` each node of the world is.
    places: Vec<u32>,
    /// Those who can be reached from outside, routers among them, by id.
    reachable: KeySpace<u32>,
}

const NOWHERE: u32 = u32::MAX;

impl Population {
    pub(super) fn len(&self) -> usize {
        self.members.len()
    }

    pub(super) fn members(&self) -> &[u32] {
        &self.members
    }

    pub(super) fn contains(&self, node: u32) -> bool {
        let place = self.places.get(node as usize);
        place.is_some_and(|place| *place != NOWHERE)
    }

    pub(super) fn add(&mut self, node: u32) {
        let wanted = self.places.len().max(node as usize + 1);
        self.places.resize(wanted, NOWHERE);
        self.places[node as usize] = self.members.len() as u32;
        self.members.push(node);
    }

    /// Takes a node away. Says whether it was there.
    pub(super) fn remove(&mut self, node: u32) -> bool {
        if !self.contains(node) {
            return false;
        }
        let place = std::mem::replace(&mut self.places[node as usize], NOWHERE);
        self.members.swap_remove(place as usize);
        if let Some(moved) = self.members.get(place as usize) {
            self.places[*moved as usize] = place;
        }
        true
    }

    pub(super) fn add_reachable(&mut self, id: NodeId, node: u32) {
        self.reachable.insert(id, node);
    }

    pub(super) fn remove_reachable(&mut self, id: &NodeId) {
        self.reachable.remove(id);
    }

    /// All that can be reached at once, for a world that begins with them.
    pub(super) fn set_reachable(&mut self, all: KeySpace<u32>) {
        self.reachable = all;
    }

    /// How many can be reached from outside.
    pub(super) fn reachable(&self) -> usize {
        self.reachable.len()
    }

    /// Who should hold what is stored under a key.
    pub(super) fn closest(&self, target: &NodeId, count: usize) -> Vec<u32> {
        let closest = self.reachable.closest(target, count);
        closest.into_iter().map(|(_, node)| node).collect()
    }

    /// One of them at random.
    pub(super) fn pick(&self, words: &[u64]) -> Option<u32> {
        let len = self.members.len() as u64;
        (len > 0).then(|| self.members[(draw(words) % len) as usize])
    }

    /// Up to `count` of them, at random and each once.
    pub(super) fn sample(&self, count: usize, words: &[u64]) -> Vec<u32> {
        let len = self.members.len();
        if count >= len {
            return self.members.clone();
        }
        // Evenly from a random start: the order of members is as random as their ids.
        let start = (draw(words) % len as u64) as usize;
        let step = (len / count).max(1);
        (0..count)
            .map(|n| self.members[(start + n * step) % len])
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comes_and_goes() {
        let mut people = Population::default();
        (0..100).for_each(|node| people.add(node));
        for node in (0..100).step_by(3) {
            assert!(people.remove(node) && !people.remove(node));
        }
        assert!(!people.remove(1_000));
        people.add(200);
        let mut left = people.members().to_vec();
        left.sort_unstable();
        let expected: Vec<u32> = (0..100).filter(|node| node % 3 != 0).chain([200]).collect();
        assert_eq!(left, expected);
        assert!(people.contains(200) && !people.contains(0) && !people.contains(150));
        let mut sample = people.sample(10, &[7]);
        sample.sort_unstable();
        sample.dedup();
        assert_eq!(sample.len(), 10);
        assert_eq!(people.sample(1_000, &[7]).len(), people.len());
    }
}
