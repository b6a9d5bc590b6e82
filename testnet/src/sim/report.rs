//! What came out of a run, as numbers to assert on and lines to print.

use std::{fmt, net::SocketAddr, time::Duration};

use mainswarm::torrent::PeerMisbehaved;

use super::{
    node::PeerLog,
    world::{Counts, LookupRecord, World},
};

/// One peer's run.
#[derive(Debug, Clone)]
pub struct PeerReport {
    /// Its node.
    pub node: u32,
    /// It uploaded nothing, on purpose.
    pub free_rider: bool,
    /// It left before the end, on purpose.
    pub left: bool,
    /// It was an attacker.
    pub attacker: bool,
    /// From joining to the last piece.
    pub took: Option<Duration>,
    /// Bytes sent over pipes, all messages included.
    pub sent: u64,
    /// What happened.
    pub log: PeerLog,
}

/// A swarm's run.
#[derive(Debug, Clone)]
pub struct SwarmReport {
    /// The seed that gives this run again.
    pub seed: u64,
    /// All but the first seed, in the order in which they joined.
    pub peers: Vec<PeerReport>,
    /// The lower bound with pieces, for the capacity that was there.
    pub lb: Duration,
    /// The fluid lower bound.
    pub fluid: Duration,
    /// How many bytes the first seed sent over the content's length.
    pub seed_copies: f64,
    /// Everything counted.
    pub counts: Counts,
    /// The fingerprint.
    pub trace: u64,
    /// The virtual time at the end.
    pub ended: Duration,
    /// The wall time that it took.
    pub wall: Duration,
}

impl SwarmReport {
    /// Completion times of peers that a filter lets pass, shortest first.
    pub fn times(&self, filter: impl Fn(&PeerReport) -> bool) -> Vec<Duration> {
        let mut times: Vec<_> = self
            .peers
            .iter()
            .filter(|peer| filter(peer))
            .filter_map(|peer| peer.took)
            .collect();
        times.sort_unstable();
        times
    }

    /// Whether every honest peer that stayed has everything.
    pub fn complete(&self) -> bool {
        self.peers
            .iter()
            .all(|peer| peer.left || peer.attacker || peer.took.is_some())
    }

    /// The last completion.
    pub fn last(&self) -> Duration {
        self.times(|_| true).last().copied().unwrap_or_default()
    }

    /// The mean completion.
    pub fn mean(&self) -> Duration {
        let times = self.times(|_| true);
        times.iter().sum::<Duration>() / times.len().max(1) as u32
    }

    /// The last completion over the bound with pieces.
    pub fn ratio(&self) -> f64 {
        self.last().as_secs_f64() / self.lb.as_secs_f64()
    }

    /// Who was banned, by anybody, and for what.
    pub fn banned(&self) -> Vec<(SocketAddr, PeerMisbehaved)> {
        let logs = self.peers.iter().map(|peer| &peer.log);
        let mut banned: Vec<_> = logs.flat_map(|log| log.banned.iter().copied()).collect();
        banned.sort_unstable_by_key(|(addr, _)| *addr);
        banned
    }
}

impl fmt::Display for SwarmReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let done = self.peers.iter().filter(|peer| peer.took.is_some()).count();
        write!(
            f,
            "seed {}: {done}/{} complete, mean {:.1} s, last {:.1} s, LB {:.1} s (fluid {:.1} s), \
             ratio {:.3}, seed sent {:.2} copies; {} events in {:.2} s ({:.2} M/s), trace {:016x}",
            self.seed,
            self.peers.len(),
            self.mean().as_secs_f64(),
            self.last().as_secs_f64(),
            self.lb.as_secs_f64(),
            self.fluid.as_secs_f64(),
            self.ratio(),
            self.seed_copies,
            self.counts.events,
            self.wall.as_secs_f64(),
            self.counts.events as f64 / self.wall.as_secs_f64() / 1e6,
            self.trace,
        )
    }
}

/// Many lookups, one for each announced key.
#[derive(Debug, Clone)]
pub struct LookupReport {
    /// Lookups made.
    pub lookups: usize,
    /// Lookups that found the peer that had announced.
    pub found: usize,
    /// Mean depth of referrals.
    pub hops: f64,
    /// Mean queries in a lookup, and the 95th percentile.
    pub queries: (f64, u32),
    /// Queries without a reply, over all queries.
    pub failed: f64,
    /// Nodes that took an announce, on average.
    pub announced: f64,
    /// Time to the first peer: 50th, 90th and 99th percentile.
    pub first_peer: [Duration; 3],
}

impl LookupReport {
    /// Sums up pairs of an announce and the lookup of the same key by somebody else.
    pub fn new(world: &World, pairs: &[(usize, usize)]) -> Self {
        let record = |at: usize| &world.lookups()[at];
        let hit = |announce: &LookupRecord, lookup: &LookupRecord| {
            lookup.peers.contains(&world.addr(announce.node))
        };
        let found = pairs
            .iter()
            .filter(|(announce, lookup)| hit(record(*announce), record(*lookup)))
            .count();
        let stats: Vec<_> = pairs
            .iter()
            .filter_map(|(_, at)| record(*at).done)
            .collect();
        let mean = |sum: u32| f64::from(sum) / stats.len().max(1) as f64;
        let asked: u32 = stats.iter().map(|stats| stats.asked).sum();
        let failed: u32 = stats.iter().map(|stats| stats.failed).sum();
        let announced: u32 = pairs
            .iter()
            .filter_map(|(at, _)| Some(record(*at).done?.announced))
            .sum();
        let firsts = pairs.iter().filter_map(|(_, at)| record(*at).first_peer);
        let firsts = sorted(firsts);
        let queries = sorted(stats.iter().map(|stats| stats.asked));
        Self {
            lookups: pairs.len(),
            found,
            hops: mean(stats.iter().map(|stats| stats.hops).sum()),
            queries: (mean(asked), percentile(&queries, 95)),
            failed: f64::from(failed) / f64::from(asked.max(1)),
            announced: mean(announced),
            first_peer: [50, 90, 99].map(|percent| percentile(&firsts, percent)),
        }
    }
}

impl fmt::Display for LookupReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [p50, p90, p99] = self.first_peer.map(|time| time.as_millis());
        write!(
            f,
            "{}/{} found, {:.2} hops, {:.1} queries a lookup (p95 {}), {:.1} % unanswered, \
             {:.1} nodes took an announce, first peer p50/p90/p99 {p50}/{p90}/{p99} ms",
            self.found,
            self.lookups,
            self.hops,
            self.queries.0,
            self.queries.1,
            self.failed * 100.0,
            self.announced,
        )
    }
}

/// The value at a percentile of a sorted list.
pub fn percentile<T: Copy + Default>(sorted: &[T], percent: usize) -> T {
    let at = (sorted.len() * percent).div_ceil(100).max(1) - 1;
    sorted.get(at).copied().unwrap_or_default()
}

fn sorted<T: Ord>(values: impl Iterator<Item = T>) -> Vec<T> {
    let mut values: Vec<T> = values.collect();
    values.sort_unstable();
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_of_short_lists() {
        assert_eq!(percentile::<u32>(&[], 50), 0);
        assert_eq!(percentile(&[7], 99), 7);
        let hundred: Vec<u32> = (1..=100).collect();
        let seen = [1, 50, 95, 99, 100].map(|percent| percentile(&hundred, percent));
        assert_eq!(seen, [1, 50, 95, 99, 100]);
    }
}
