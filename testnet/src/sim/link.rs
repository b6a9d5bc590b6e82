//! How long a message takes between two nodes, and whether it arrives.
//!
//! A pair's round trip is a pure function of the seed and the two nodes, the same in both
//! directions; a message adds jitter of its own. Only integers and tables are used per message, and
//! the tables are made with the four basic operations alone, because `exp` and `ln` differ in the
//! last bit between systems and a trace must not.

use std::time::Duration;

use super::hash::{draw, mix, unit};

/// Where the delay between two nodes comes from.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Delay {
    /// The same one-way delay for every pair.
    Constant(Duration),
    /// Lognormal round trips: median 140 ms, sigma 0.824 (Saroiu et al. 2002). No geography, and a
    /// tail that is too fat. At least 20 ms.
    Lognormal,
    /// Five continents and an access delay per node: close to measured tables (PlanetLab, King)
    /// above the lower quartile. At least 20 ms there and back.
    Geo5,
}

/// The wires of a world.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LinkConfig {
    /// The delay model.
    pub delay: Delay,
    /// A message takes up to this share longer, evenly distributed.
    pub jitter: f64,
    /// The share of datagrams that are lost, each way. Streams are reliable: a frame of a stream
    /// (up to 16 KiB) is lost as often, which costs it and those behind it a round trip, and 200 ms
    /// at least, as a retransmission would.
    pub loss: f64,
}

impl LinkConfig {
    /// Everything takes `one_way`, nothing is lost.
    pub fn constant(one_way: Duration) -> Self {
        Self {
            delay: Delay::Constant(one_way),
            jitter: 0.0,
            loss: 0.0,
        }
    }

    /// The Internet as far as it matters here: five continents, 10 % jitter, 1 % loss each way.
    pub fn internet() -> Self {
        Self {
            delay: Delay::Geo5,
            jitter: 0.1,
            loss: 0.01,
        }
    }
}

/// Draws delays.
#[derive(Debug)]
pub(crate) struct Links {
    config: LinkConfig,
    seed: u64,
    /// A pair's factor by quantile, in 1/65536.
    factors: Box<[u64]>,
    /// A node's access delay by quantile, in nanoseconds.
    accesses: Box<[u64]>,
}

impl Links {
    pub(crate) fn new(config: LinkConfig, seed: u64) -> Self {
        assert!(
            (0.0..1.0).contains(&config.loss) && (0.0..=MAX_JITTER).contains(&config.jitter),
            "loss must be at least 0 and below 1, jitter from 0 to {MAX_JITTER}: {config:?}"
        );
        let (spread, shift) = match config.delay {
            Delay::Constant(_) => (0.0, 0.0),
            Delay::Lognormal => (0.824, 0.0),
            Delay::Geo5 => (0.35, -0.06),
        };
        let normal = normal_quantiles();
        let factor = |g: &f64| (exp(spread * g + shift) * 65536.0 + 0.5) as u64;
        let access = |g: &f64| (exp(0.8 * g) * 8.0e6 + 0.5) as u64;
        Self {
            config,
            seed: mix(seed ^ LINKS),
            factors: normal.iter().map(factor).collect(),
            accesses: normal.iter().map(access).collect(),
        }
    }

    /// The round trip between two nodes, without jitter, in nanoseconds.
    pub(crate) fn round_trip(&self, a: u32, b: u32) -> u64 {
        let pair = u64::from(a.min(b)) << 32 | u64::from(a.max(b));
        let factor = || self.factors[(mix(self.seed ^ pair) % QUANTILES as u64) as usize];
        match self.config.delay {
            Delay::Constant(one_way) => 2 * one_way.as_nanos() as u64,
            Delay::Lognormal => ((140_000_000 * factor()) >> 16).max(2 * SHORTEST),
            Delay::Geo5 => {
                let ((from, first), (to, second)) = (self.place(a), self.place(b));
                let base = GEO5_RTT_MS[from][to] * 1_000_000;
                (((base * factor()) >> 16) + first + second).max(2 * SHORTEST)
            }
        }
    }

    /// No message takes less than this, in nanoseconds: as long, parts of a world may go on without
    /// hearing of each other.
    pub(crate) fn shortest(&self) -> u64 {
        match self.config.delay {
            Delay::Constant(one_way) => one_way.as_nanos() as u64,
            Delay::Lognormal | Delay::Geo5 => SHORTEST,
        }
    }

    pub(crate) fn set_loss(&mut self, loss: f64) {
        assert!(
            (0.0..1.0).contains(&loss),
            "loss must be at least 0 and below 1"
        );
        self.config.loss = loss;
    }

    /// The delay of one message, in nanoseconds; `nonce` tells a node's messages apart.
    pub(crate) fn one_way(&self, from: u32, to: u32, nonce: u64) -> u64 {
        let base = self.round_trip(from, to) / 2;
        if self.config.jitter == 0.0 {
            return base;
        }
        let roll = draw(&[self.seed ^ JITTER, u64::from(from), nonce]);
        base + (base as f64 * self.config.jitter * unit(roll)) as u64
    }

    /// Whether a message is lost on its way, where `own` is its sender's loss if it has one.
    pub(crate) fn loses(&self, own: Option<f32>, from: u32, nonce: u64) -> bool {
        let loss = own.map_or(self.config.loss, f64::from);
        loss > 0.0 && unit(draw(&[self.seed ^ LOSS, u64::from(from), nonce])) < loss
    }

    /// Whether a message is lost on the last stretch, to a receiver with a loss of its own.
    pub(crate) fn loses_at(&self, own: Option<f32>, to: u32, from: u32, nonce: u64) -> bool {
        let words = || [self.seed ^ LAST, u64::from(to), u64::from(from), nonce];
        own.is_some_and(|loss| unit(draw(&words())) < f64::from(loss))
    }

    /// What a lost frame of a stream costs, in nanoseconds: it is noticed and sent again, more than
    /// once if that is lost too.
    pub(crate) fn retransmissions(&self, own: Option<f32>, from: u32, to: u32, nonce: u64) -> u64 {
        let lost = |turn: &u64| self.loses(own, from, mix(nonce) ^ turn);
        let times = (1..=MAX_RETRANSMISSIONS).take_while(lost).count() as u64;
        match times {
            0 => 0,
            times => times * self.round_trip(from, to).max(SHORTEST_RTO),
        }
    }

    /// A node's region and its access delay in nanoseconds.
    fn place(&self, node: u32) -> (usize, u64) {
        let roll = mix(self.seed ^ mix(u64::from(node)));
        let percent = ((roll >> 32) * 100) >> 32;
        let region = GEO5_SHARES
            .iter()
            .position(|below| percent < *below)
            .unwrap_or(0);
        (region, self.accesses[roll as usize % QUANTILES])
    }
}

/// Stream numbers: what a draw is for.
const LINKS: u64 = 1;
const JITTER: u64 = 2;
const LOSS: u64 = 3;
const LAST: u64 = 4;

/// The random models give no shorter one-way delay than this, in nanoseconds: it is what lets the
/// shards of a world run apart. It lengthens one pair in eight thousand of geo-5, and one in a
/// hundred of the lognormal model.
const SHORTEST: u64 = 10_000_000;
const MAX_JITTER: f64 = 10.0;
/// Linux's.
const SHORTEST_RTO: u64 = 200_000_000;
const MAX_RETRANSMISSIONS: u64 = 8;

/// Regions: North America 27 %, Europe 42 %, Asia 22 %, South America 5 %, Oceania 4 %, summed up.
pub(crate) const GEO5_SHARES: [u64; 5] = [27, 69, 91, 96, 100];
/// Round trips between regions in milliseconds.
pub(crate) const GEO5_RTT_MS: [[u64; 5]; 5] = [
    [45, 110, 170, 150, 170],
    [110, 35, 230, 210, 290],
    [170, 230, 90, 300, 150],
    [150, 210, 300, 50, 280],
    [170, 290, 150, 280, 40],
];

const QUANTILES: usize = 1024;

/// The standard normal's quantiles at (k + 1/2) / 1024, by adding up its density in small steps.
fn normal_quantiles() -> Vec<f64> {
    const STEP: f64 = 1.0 / 2048.0;
    /// 1 / sqrt(2 pi)
    const PEAK: f64 = 0.398_942_280_401_432_7;
    let (mut quantiles, mut x, mut below) = (Vec::with_capacity(QUANTILES), -6.0, 0.0);
    while quantiles.len() < QUANTILES && x < 6.0 {
        let middle: f64 = x + STEP / 2.0;
        below += PEAK * exp(-middle * middle / 2.0) * STEP;
        x += STEP;
        while below >= (quantiles.len() as f64 + 0.5) / QUANTILES as f64 {
            quantiles.push(x);
        }
    }
    quantiles.resize(QUANTILES, 6.0);
    quantiles
}

/// e^x for moderate x by the power series of x/1024, squared ten times.
fn exp(x: f64) -> f64 {
    let small = x / 1024.0;
    let series = (1..8)
        .rev()
        .fold(1.0, |sum, n| 1.0 + sum * small / f64::from(n));
    (0..10).fold(series, |power, _| power * power)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn percentiles(delay: Delay) -> impl Fn(f64) -> f64 {
        let config = LinkConfig {
            delay,
            jitter: 0.0,
            loss: 0.0,
        };
        let links = Links::new(config, 7);
        let mut trips: Vec<u64> = (0..60_000)
            .map(|n| links.round_trip(n, mix(u64::from(n)) as u32))
            .collect();
        trips.sort_unstable();
        move |share| trips[(share * trips.len() as f64) as usize] as f64 / 1e6
    }

    #[test]
    fn geo5_has_the_distribution_it_is_meant_to_have() {
        let at = percentiles(Delay::Geo5);
        // The model's quantiles by an independent draw of 300,000 pairs.
        let rows = [
            (0.05, 43.1),
            (0.10, 51.8),
            (0.25, 81.7),
            (0.50, 142.4),
            (0.75, 214.7),
            (0.90, 292.9),
            (0.95, 345.8),
            (0.99, 466.0),
        ];
        for (share, ms) in rows {
            let seen = at(share);
            assert!((seen / ms - 1.0).abs() < 0.025, "p{share}: {seen} not {ms}");
        }
    }

    #[test]
    fn lognormal_has_its_quantiles() {
        let at = percentiles(Delay::Lognormal);
        for (share, ms) in [(0.2, 70.0), (0.5, 140.0), (0.8, 280.0)] {
            let seen = at(share);
            assert!((seen / ms - 1.0).abs() < 0.03, "p{share}: {seen} not {ms}");
        }
    }

    #[test]
    fn pairs_are_symmetric_and_messages_differ() {
        let links = Links::new(LinkConfig::internet(), 1);
        for n in 0..100 {
            assert_eq!(links.round_trip(n, n + 7), links.round_trip(n + 7, n));
        }
        let base = links.round_trip(1, 2) / 2;
        let delays: Vec<u64> = (0..50).map(|nonce| links.one_way(1, 2, nonce)).collect();
        assert!(
            delays
                .iter()
                .all(|delay| (base..=base * 11 / 10).contains(delay))
        );
        assert!(delays.iter().any(|delay| *delay != delays[0]));
        let lost = (0..100_000)
            .filter(|nonce| links.loses(None, 1, *nonce))
            .count();
        assert!((800..1200).contains(&lost), "{lost}");
        let own = (0..1_000).filter(|nonce| links.loses_at(Some(0.5), 2, 1, *nonce));
        assert!((400..600).contains(&own.count()));
        assert!(!links.loses_at(None, 2, 1, 0) && !links.loses(Some(0.0), 1, 0));
        let delayed = |nonce: &u64| links.retransmissions(Some(0.1), 1, 2, *nonce);
        let delays: Vec<u64> = (0..10_000u64).map(|nonce| delayed(&nonce)).collect();
        let hit = delays.iter().filter(|delay| **delay > 0).count();
        assert!((850..1_150).contains(&hit), "{hit}");
        assert!(
            delays
                .iter()
                .all(|delay| *delay == 0 || *delay >= SHORTEST_RTO)
        );
    }

    #[test]
    fn the_tables_are_right() {
        for x in [-3.0f64, -0.5, 0.0, 0.1, 2.5] {
            assert!((exp(x) / x.exp() - 1.0).abs() < 1e-11, "{x}");
        }
        let normal = normal_quantiles();
        let sum: f64 = normal.iter().sum();
        let squares: f64 = normal.iter().map(|g| g * g).sum();
        assert!(sum.abs() < 1.0 && (squares / 1024.0 - 1.0).abs() < 0.01);
        assert!((normal[1012] - 2.264).abs() < 0.02, "{}", normal[1012]);
    }
}
