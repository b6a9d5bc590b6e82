//! The end of a lookup that announces: whom to tell, and telling them.

use std::{net::SocketAddr, time::Instant};

use super::{
    super::{routing_table::K, transactions::MIN_SOFT},
    Lookup, MAX_AGE, MAX_TRIES, Step, WIDE_REGION,
    candidates::State,
};

impl Lookup {
    pub(super) fn next_announce(&mut self, now: Instant) -> Step {
        let soft = (2 * self.soft_timeout()).max(2 * MIN_SOFT);
        let mut waiting = false;
        for at in self.holders() {
            let node = self.candidates.get_mut(at);
            match node.announce {
                State::Fresh => {
                    node.announce = State::Asked;
                    node.tries = 1;
                }
                // A lost announce would go unnoticed for a whole interval: repeat it once.
                State::Slow if node.tries < MAX_TRIES => {
                    node.announce = State::Asked;
                    node.tries = MAX_TRIES;
                }
                State::Asked => {
                    waiting = true;
                    continue;
                }
                State::Slow | State::Replied | State::Failed => continue,
            }
            if let (Some(contact), Some(token)) = (node.contact(), &node.token) {
                return Step::Announce(contact, token.clone(), soft);
            }
        }
        if !waiting {
            return Step::Done;
        }
        self.wake = (self.started + MAX_AGE).max(now);
        Step::Wait(self.wake)
    }

    /// Whom to announce to: the K closest that count, all others that do within the distance in
    /// which holders are to be expected, and those closest whom a searcher that counts otherwise
    /// would ask.
    fn holders(&self) -> Vec<usize> {
        let region = match self.suspicious {
            true => WIDE_REGION,
            false => K as f64,
        };
        let around = &self.candidates.around;
        let mut holders: Vec<usize> = Vec::with_capacity(2 * K);
        for (at, node) in self.candidates.counted_replied() {
            let expected = around.expected(&node.distance);
            let within = expected.is_some_and(|expected| expected <= region);
            if node.token.is_some() && (holders.len() < K || within && holders.len() < MAX_HOLDERS)
            {
                holders.push(at);
            }
        }
        if around.strict {
            return holders;
        }
        let all = self.candidates.iter().enumerate();
        let able = all.filter(|(_, node)| {
            node.state == State::Replied && node.token.is_some() && node.id.is_some()
        });
        for (at, _) in able.take(K) {
            if !holders.contains(&at) {
                holders.push(at);
            }
        }
        holders
    }

    /// A node has not taken our announce for as long as most take.
    pub(in crate::dht) fn on_announce_slow(&mut self, addr: &SocketAddr) {
        if let Some(node) = self.candidates.find(addr)
            && node.announce == State::Asked
        {
            node.announce = State::Slow;
        }
    }

    /// A node took our announce, or refused it.
    pub(in crate::dht) fn on_announced(&mut self, addr: &SocketAddr, taken: bool) {
        let Some(node) = self.candidates.find(addr) else {
            return;
        };
        if !matches!(node.announce, State::Asked | State::Slow) {
            return;
        }
        node.announce = if taken { State::Replied } else { State::Failed };
        self.stats.announced += u32::from(taken);
    }
}

/// Ours: an announce goes to no more, whoever answers.
pub(super) const MAX_HOLDERS: usize = 32;
