//! The search beside the target, for when those next to it cannot be believed.
//!
//! Whoever has filled the places next to a target has filled the honest nodes' tables there, too:
//! asked for the target they name the liars, who are closest. Asked for a point a little beside it
//! they name the honest nodes around that point. The region in which a key's true holders are to be
//! expected is the target's own branch of the key space and the branches beside it, each half as
//! large as the last; there is one point in each.

use std::net::SocketAddr;

use super::{
    super::{routing_table::K, types::Contact},
    candidates::{Candidates, State},
};
use crate::ids::NodeId;

/// Ours: branches beside the target's. The largest holds some twelve nodes, the smallest one.
const POINTS: usize = 5;

/// Ours: so many nodes are asked about each point: of three neighbours one is honest, even where
/// most are not.
const ASKED_PER_POINT: usize = 3;

#[derive(Debug, Default)]
pub(super) struct Sweep {
    points: Vec<NodeId>,
    asked: Vec<Asked>,
}

#[derive(Debug)]
struct Asked {
    point: usize,
    addr: SocketAddr,
    state: State,
}

impl Sweep {
    /// The points beside a target in a network of so many nodes.
    pub(super) fn new(target: &NodeId, size: f64) -> Self {
        // The number of bits that some sixteen nodes share with the target.
        let mut bits = 0;
        let mut within = size;
        while within > 2.0 * K as f64 && bits < 64 {
            within /= 2.0;
            bits += 1;
        }
        let point = |bit: usize| {
            // In the middle of its branch: what is beyond the bit is turned about, too.
            let mut id = *target.as_bytes();
            let at = bit / 8;
            id[at] ^= 0xff >> (bit % 8);
            id[at + 1..].iter_mut().for_each(|byte| *byte ^= 0x5a);
            NodeId::new(id)
        };
        Self {
            points: (bits..bits + POINTS).map(point).collect(),
            asked: Vec::new(),
        }
    }

    /// Whom to ask about which point next: those that count and have replied, closest to it first.
    pub(super) fn next(&mut self, candidates: &Candidates) -> Option<(Contact, NodeId)> {
        let about = |point: usize| {
            let asked = self.asked.iter();
            asked.filter(move |asked| asked.point == point)
        };
        let mut points: Vec<usize> = (0..self.points.len()).collect();
        points.sort_by_key(|point| about(*point).count());
        for point in points {
            if about(point).count() >= ASKED_PER_POINT {
                continue;
            }
            let target = self.points[point];
            let replied = candidates.counted_replied();
            let able = replied.filter_map(|(_, node)| node.contact());
            let new = able.filter(|node| about(point).all(|asked| asked.addr != node.addr));
            if let Some(closest) = new.min_by_key(|node| target.distance(&node.id)) {
                self.asked.push(Asked {
                    point,
                    addr: closest.addr,
                    state: State::Asked,
                });
                return Some((closest, target));
            }
        }
        None
    }

    /// What became of a query: answered, slow or failed.
    pub(super) fn on_answer(&mut self, addr: &SocketAddr, state: State) -> bool {
        let open = |asked: &&mut Asked| {
            asked.addr == *addr && matches!(asked.state, State::Asked | State::Slow)
        };
        let asked = self.asked.iter_mut().find(open);
        asked.map(|asked| asked.state = state).is_some()
    }

    /// How many queries are out and not slow.
    pub(super) fn waiting(&self) -> usize {
        let asked = self.asked.iter();
        asked.filter(|asked| asked.state == State::Asked).count()
    }
}
