//! Who may download from a leecher, and which share of the uplink each gets: the place where other
//! policies than tit-for-tat go.
//!
//! A policy is a plain function from a [`Round`] to [`Slot`]s, called once per choking round; one
//! that needs a memory is a closure that keeps it. To add one, hand its maker to the config; every
//! torrent makes its own:
//!
//! ```
//! use mainswarm::torrent::chooser::{Chooser, Round, Slot};
//!
//! // Serves only the one who gives most, and remembers who that was.
//! let chooser = Chooser::custom(|| {
//!     let mut last = None;
//!     move |round: &Round<'_>, _rng: &mut _| {
//!         let wanting = round.peers.iter().filter(|peer| peer.interested);
//!         let best = wanting.max_by(|a, b| a.received_rate.total_cmp(&b.received_rate));
//!         last = best.map(|peer| peer.key).or(last);
//!         last.into_iter().map(|key| Slot { key, weight: 1.0 }).collect()
//!     }
//! });
//! # drop(chooser);
//! ```
//!
//! Peers without a slot are choked. Weights matter only relative to each other: the torrent serves
//! its peers in proportion to them as long as its own limit or the line is what holds it back. A
//! seed wants nothing and goes by a [`SeedOrder`].

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration, time::Instant};

use rand::{RngExt, rngs::StdRng, seq::SliceRandom};

use super::{PeerKey, choker::PeerView};

/// How a leecher divides its uplink.
#[derive(Clone, Default)]
pub enum Chooser {
    /// The peers that give most have equal slots, and one more is tried: [`super::choker`].
    #[default]
    TitForTat,
    /// Each gets in proportion to what it gave in the last round: [`Proportional`].
    Proportional,
    /// A policy of one's own; see [`Chooser::custom`].
    Custom(Maker),
}

/// Whose turn it is at a seed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SeedOrder {
    /// Who was served least, so that nobody can keep the slots from the others.
    #[default]
    LeastServed,
    /// Who takes fastest (Cohen 2003). It uses a seed's line well, and lets a few greedy peers have
    /// all of it (Adamsky et al. 2014): for experiments.
    Fastest,
}

/// Makes a policy for one torrent.
pub type Maker = Arc<dyn Fn() -> Policy + Send + Sync>;
/// A policy with its memory.
pub type Policy = Box<dyn FnMut(&Round<'_>, &mut StdRng) -> Vec<Slot> + Send>;

impl Chooser {
    /// A policy of one's own: `make` is called once for each torrent.
    pub fn custom<F>(make: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: FnMut(&Round<'_>, &mut StdRng) -> Vec<Slot> + Send + 'static,
    {
        Self::Custom(Arc::new(move || Box::new(make())))
    }

    /// The policy, unless it is the choker's own.
    pub(super) fn make(&self) -> Option<Policy> {
        match self {
            Self::TitForTat => None,
            Self::Proportional => {
                let mut state = Proportional::default();
                Some(Box::new(move |round, rng| state.choose(round, rng)))
            }
            Self::Custom(make) => Some(make()),
        }
    }
}

impl fmt::Debug for Chooser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TitForTat => "TitForTat",
            Self::Proportional => "Proportional",
            Self::Custom(_) => "Custom",
        })
    }
}

/// What a policy decides upon.
#[derive(Debug)]
pub struct Round<'a> {
    /// The time.
    pub now: Instant,
    /// The neighbours, those that want nothing included, sorted by key.
    pub peers: &'a [PeerView],
    /// Regular slots as configured; a policy may give more or fewer.
    pub slots: usize,
    /// Optimistic slots as configured.
    pub optimistic_slots: usize,
    /// Until the next round.
    pub interval: Duration,
    /// What we upload at present, bytes per second.
    pub up_rate: f64,
}

/// A place to download from us.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Slot {
    /// Whose it is.
    pub key: PeerKey,
    /// Its part of the uplink, relative to the other slots'. At least 0 and finite.
    pub weight: f64,
}

/// Proportional share (Levin, LaCurts, Spring, Bhattacharjee 2008: "BitTorrent is an auction"):
/// everybody gets in proportion to what it gave in the last round, so that no bid wins more than it
/// pays for. A part of the uplink, as large as an optimistic slot's, goes to one who gave nothing,
/// so that new partners are found.
#[derive(Debug, Default)]
pub struct Proportional {
    /// What each had given in all, at the last round.
    before: BTreeMap<PeerKey, u64>,
    /// Who has the trial, and since when.
    trial: Vec<(PeerKey, Instant)>,
}

impl Proportional {
    /// A round.
    pub fn choose(&mut self, round: &Round<'_>, rng: &mut StdRng) -> Vec<Slot> {
        let now = round.peers.iter().map(|peer| (peer.key, peer.received));
        let before = std::mem::replace(&mut self.before, now.collect());
        let gave = |peer: &PeerView| {
            let before = before.get(&peer.key).copied().unwrap_or(0);
            peer.received.saturating_sub(before)
        };
        let wanting = round.peers.iter().filter(|peer| peer.interested);
        let (givers, others): (Vec<&PeerView>, Vec<&PeerView>) =
            wanting.partition(|peer| gave(peer) > 0);
        let total: u64 = givers.iter().map(|peer| gave(peer)).sum();

        // With nobody to repay the whole uplink is for trials.
        let trials = match givers.is_empty() {
            true => round.slots + round.optimistic_slots,
            false => round.optimistic_slots,
        };
        self.draw(round, &others, trials, rng);
        let tried = self.trial.len().min(trials);
        let places = (round.slots + round.optimistic_slots).max(1) as f64;
        let trial_part = if givers.is_empty() {
            1.0
        } else {
            tried as f64 / places
        };

        let repaid = givers.iter().map(|peer| Slot {
            key: peer.key,
            weight: (1.0 - trial_part) * gave(peer) as f64 / total as f64,
        });
        let tried = self.trial.iter().map(|(key, _)| Slot {
            key: *key,
            weight: trial_part / self.trial.len() as f64,
        });
        repaid.chain(tried).collect()
    }

    /// A trial lasts three rounds or until its holder gives; then another has its turn, first those
    /// that have waited longest.
    fn draw(&mut self, round: &Round<'_>, others: &[&PeerView], count: usize, rng: &mut StdRng) {
        let waits = |key: PeerKey| others.iter().any(|peer| peer.key == key);
        let turn = round.interval * TRIAL_ROUNDS;
        let over = |since: Instant| round.now.saturating_duration_since(since) >= turn;
        let spent: Vec<PeerKey> = self.trial.iter().map(|(key, _)| *key).collect();
        self.trial
            .retain(|(key, since)| waits(*key) && !over(*since));
        self.trial.truncate(count);
        let mut queue: Vec<&PeerView> = others
            .iter()
            .copied()
            .filter(|peer| !spent.contains(&peer.key))
            .collect();
        queue.shuffle(rng);
        // Who has never been served stands before those that took and gave nothing.
        queue.sort_by_cached_key(|peer| peer.sent > 0 && rng.random_bool(0.75));
        let fresh = queue.into_iter().map(|peer| (peer.key, round.now));
        let room = count - self.trial.len();
        self.trial.extend(fresh.take(room));
        if self.trial.is_empty() {
            // Nobody else waits.
            let again = others.iter().take(count);
            self.trial.extend(again.map(|peer| (peer.key, round.now)));
        }
    }
}

/// An optimistic turn: 30 s at the usual 10 s a round.
const TRIAL_ROUNDS: u32 = 3;

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;
    use crate::torrent::choker::view;

    fn round(peers: &[PeerView], now: Instant) -> Round<'_> {
        Round {
            now,
            peers,
            slots: 4,
            optimistic_slots: 1,
            interval: Duration::from_secs(10),
            up_rate: 0.0,
        }
    }

    #[test]
    fn everybody_is_repaid_in_proportion() {
        let now = Instant::now();
        let rng = &mut StdRng::seed_from_u64(1);
        let mut policy = Proportional::default();
        let mut peers: Vec<PeerView> = (1..=6).map(|key| view(key, now)).collect();
        let first = policy.choose(&round(&peers, now), rng);
        assert_eq!(first.len(), 5, "strangers share the uplink");
        assert!(first.iter().all(|slot| (slot.weight - 0.2).abs() < 1e-9));

        for (peer, gave) in peers.iter_mut().zip([1_000, 3_000, 4_000, 0, 0, 8_000]) {
            peer.received += gave;
        }
        peers[5].interested = false;
        let slots = policy.choose(&round(&peers, now + Duration::from_secs(10)), rng);
        let weight = |key: u64| {
            let slot = slots.iter().find(|slot| slot.key == PeerKey(key));
            slot.map_or(0.0, |slot| slot.weight)
        };
        for (key, part) in [(1, 0.1), (2, 0.3), (3, 0.4), (6, 0.0)] {
            assert!((weight(key) - part).abs() < 1e-9, "{key}: {slots:?}");
        }
        assert!((weight(4) + weight(5) - 0.2).abs() < 1e-9, "{slots:?}");

        // What counts is the last round alone.
        peers[0].received += 500;
        let slots = policy.choose(&round(&peers, now + Duration::from_secs(20)), rng);
        assert_eq!(slots.len(), 2);
        assert!(slots.contains(&Slot {
            key: PeerKey(1),
            weight: 0.8
        }));
    }

    #[test]
    fn trials_move_on() {
        let now = Instant::now();
        let rng = &mut StdRng::seed_from_u64(2);
        let mut policy = Proportional::default();
        let mut peers: Vec<PeerView> = (1..=8).map(|key| view(key, now)).collect();
        let mut seen = std::collections::BTreeSet::new();
        for at in 0..60 {
            peers[0].received += 1_000;
            let slots = policy.choose(&round(&peers, now + Duration::from_secs(10 * at)), rng);
            let tried = slots.iter().filter(|slot| slot.key != PeerKey(1));
            seen.extend(tried.map(|slot| slot.key));
            assert_eq!(slots.len(), 2, "{slots:?}");
        }
        assert_eq!(seen.len(), 7);
    }

    #[test]
    fn a_policy_of_ones_own_keeps_its_memory() {
        let chooser = Chooser::custom(|| {
            let mut rounds = 0;
            move |_: &Round<'_>, _: &mut StdRng| {
                rounds += 1;
                vec![Slot {
                    key: PeerKey(rounds),
                    weight: 1.0,
                }]
            }
        });
        let now = Instant::now();
        let rng = &mut StdRng::seed_from_u64(3);
        let (mut one, mut other) = (chooser.make().unwrap(), chooser.make().unwrap());
        assert_eq!(one(&round(&[], now), rng)[0].key, PeerKey(1));
        assert_eq!(one(&round(&[], now), rng)[0].key, PeerKey(2));
        assert_eq!(other(&round(&[], now), rng)[0].key, PeerKey(1));
    }
}
