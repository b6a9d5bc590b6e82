//! Searches that share no node, for when nothing else tells liars from honest nodes.
//!
//! A liar can lead a whole search astray: whom it names is always closest, and names others of its
//! kind. S/Kademlia's answer is to search on several disjoint paths, each from other nodes of our
//! table, and to ask no node for two of them: of eight paths one of honest nodes alone suffices.
//! Each path goes on with the closest that its own nodes have named, however close those are that
//! the others found.

use super::{
    super::routing_table::K,
    candidates::{Candidates, State},
};

/// S/Kademlia: eight disjoint paths reach 99 % where a fifth of all nodes lies.
pub(super) const PATHS: usize = 8;

/// Ours: queries for each path beyond those that it had in the common search; a path of honest
/// nodes needs about four hops among a million.
const QUERIES_PER_PATH: u8 = 6;

#[derive(Debug, Default)]
pub(super) struct Paths {
    asked: [u8; PATHS],
}

impl Paths {
    /// The mark of the path that a start of this number is on.
    pub(super) fn mark(start: usize) -> u8 {
        1 << (start % PATHS)
    }

    /// Whom to ask for which path next.
    pub(super) fn next(&mut self, candidates: &Candidates) -> Option<(usize, u8)> {
        loop {
            let paths = self.asked.iter_mut().enumerate();
            let going = paths.filter(|(_, asked)| **asked < QUERIES_PER_PATH);
            let (path, asked) = going.min_by_key(|(_, asked)| **asked)?;
            let mark = Self::mark(path);
            let mut closest = candidates.counted_on(mark).take(K);
            match closest.find(|(_, node)| node.state == State::Fresh) {
                Some((at, _)) => {
                    *asked += 1;
                    return Some((at, mark));
                }
                None => *asked = QUERIES_PER_PATH,
            }
        }
    }
}
