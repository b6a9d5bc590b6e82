//! How many nodes the network has, from how close together those are that answer.
//!
//! Ids are spread evenly, so the eighth closest node to any point is where eight of them are to be
//! expected. Every finished lookup is one such point, and our own neighbourhood, which the table
//! holds completely, is another. The median of the last sixteen is what we believe: liars who
//! surround some of the points move it little.

use crate::ids::{Distance, NodeId};

use super::routing_table::K;

/// How many nodes the network seems to have.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SizeEstimate {
    /// The number of nodes that can be called.
    pub nodes: f64,
    /// The relative standard deviation: of three estimates one is off by more than this share.
    pub spread: f64,
    /// How many lookups it rests on; with none it is the table alone that tells.
    pub lookups: usize,
}

/// The last lookups' eighth responders.
#[derive(Debug, Default)]
pub(super) struct Sizes {
    /// The target's head, and how far the eighth responder was, as a share of the key space. The
    /// latest last.
    samples: Vec<(u32, f32)>,
}

/// Ours: with so many samples the median is off by 11 %, and older ones may tell of a network that
/// has changed.
const MAX_SAMPLES: usize = 16;

/// Ours: below so many the table alone tells more than their median.
const MIN_SAMPLES: usize = 4;

/// How many nodes are to be expected within the median distance of the eighth: the median of the
/// gamma distribution of shape 8.
const EIGHTH_MEDIAN: f64 = 7.669;

/// The relative standard deviation of one sample's distance: 1/sqrt(8), and for the median of
/// several times sqrt(pi/2).
const SPREAD_OF_ONE: f64 = 0.354 * 1.253;

impl Sizes {
    /// A lookup has ended with these responders, closest first. One sample per target: what is
    /// looked up often must not outvote the rest.
    pub(super) fn add(&mut self, target: &NodeId, eighth: &NodeId) {
        let head = head(target.as_bytes()) >> 32;
        let head = u32::try_from(head).unwrap_or(u32::MAX);
        self.samples.retain(|(known, _)| *known != head);
        if self.samples.len() == MAX_SAMPLES {
            self.samples.remove(0);
        }
        self.samples.reserve_exact(1);
        let far = share(&target.distance(eighth));
        self.samples.push((head, far as f32));
    }

    /// The estimate, given how far our own neighbours are: all those of whom the table is sure to
    /// know all that are closer, closest first.
    pub(super) fn estimate(&self, neighbours: &[Distance]) -> Option<SizeEstimate> {
        let mut far: Vec<f64> = self
            .samples
            .iter()
            .map(|(_, far)| f64::from(*far))
            .collect();
        let lookups = far.len();
        if lookups < MIN_SAMPLES {
            return of_neighbours(neighbours, lookups);
        }
        far.extend(neighbours.get(K - 1).map(share));
        far.sort_by(f64::total_cmp);
        let (low, high) = (far[(far.len() - 1) / 2], far[far.len() / 2]);
        Some(SizeEstimate {
            nodes: EIGHTH_MEDIAN / f64::midpoint(low, high).max(f64::MIN_POSITIVE),
            spread: SPREAD_OF_ONE / (far.len() as f64).sqrt(),
            lookups,
        })
    }
}

/// With `m` within a distance, `m - 1` over it is the unbiased estimate of how many there are in
/// all.
fn of_neighbours(neighbours: &[Distance], lookups: usize) -> Option<SizeEstimate> {
    let far = share(neighbours.last().filter(|_| neighbours.len() >= K)?);
    let known = neighbours.len() as f64;
    Some(SizeEstimate {
        nodes: (known - 1.0) / far.max(f64::MIN_POSITIVE),
        spread: 1.0 / (known - 2.0).sqrt(),
        lookups,
    })
}

/// A distance as a share of the key space.
pub(super) fn share(distance: &Distance) -> f64 {
    /// 2^64
    const WHOLE: f64 = 18_446_744_073_709_551_616.0;
    head(distance.as_bytes()) as f64 / WHOLE
}

fn head(bytes: &[u8; 20]) -> u64 {
    bytes
        .first_chunk()
        .map_or(0, |head| u64::from_be_bytes(*head))
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng, rngs::StdRng};

    use super::*;

    fn ids(rng: &mut StdRng, count: usize) -> Vec<NodeId> {
        (0..count).map(|_| NodeId::new(rng.random())).collect()
    }

    fn nearest(ids: &[NodeId], target: &NodeId, count: usize) -> Vec<Distance> {
        let mut near: Vec<Distance> = ids.iter().map(|id| target.distance(id)).collect();
        near.sort();
        near.truncate(count);
        near
    }

    #[test]
    fn sixteen_lookups_tell_the_size_and_neighbours_roughly() {
        let mut rng = StdRng::from_seed([9; 32]);
        for count in [100, 10_000] {
            let ids = ids(&mut rng, count);
            let (mut near, mut many) = (0.0, 0.0);
            let rounds = 60;
            for _ in 0..rounds {
                let mut sizes = Sizes::default();
                let own = NodeId::new(rng.random());
                let neighbours = nearest(&ids, &own, 12);
                let error = |sizes: &Sizes| {
                    let estimate = sizes.estimate(&neighbours).expect("enough neighbours");
                    (estimate.nodes / count as f64 - 1.0).abs()
                };
                near += error(&sizes);
                for _ in 0..MAX_SAMPLES {
                    let target = NodeId::new(rng.random());
                    let mut sorted = ids.clone();
                    sorted.sort_by_key(|id| target.distance(id));
                    sizes.add(&target, &sorted[K - 1]);
                }
                many += error(&sizes);
            }
            let (near, many) = (near / f64::from(rounds), many / f64::from(rounds));
            assert!(near < 0.35 && many < 0.14, "{count}: {near} {many}");
        }
    }

    #[test]
    fn liars_around_a_third_of_the_points_and_repeats_move_it_little() {
        let mut sizes = Sizes::default();
        let point = |n: u8| NodeId::new([n; 20]);
        for n in 0..16 {
            // Eight of a thousand nodes, or eight ids right at the target.
            let bit = if n % 3 == 0 { 60 } else { 7 };
            let far = point(n).with_bit(bit, !point(n).bit(bit));
            sizes.add(&point(n), &far);
            sizes.add(&point(n), &far);
        }
        let estimate = sizes.estimate(&[]).expect("enough samples");
        assert!((900.0..2_100.0).contains(&estimate.nodes), "{estimate:?}");
        assert_eq!(estimate.lookups, 16);
        assert_eq!(Sizes::default().estimate(&[]), None);
    }
}
