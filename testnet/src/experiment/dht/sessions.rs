//! How long nodes stay.
//!
//! A node that joins draws a whole session, one that is there from the start draws what is left of
//! one: with heavy tails that is far longer, since long sessions are the likelier to be met. Powers
//! are taken by the four basic operations alone, because `powf` differs in the last bit between
//! systems and a run must not.

use std::time::Duration;

use crate::{
    scenario::Session,
    sim::hash::{exponential, power, unit},
};

/// Draws sessions of one kind.
#[derive(Debug)]
pub(super) struct Sessions {
    kind: Session,
    /// For Weibull sessions, what is left of one that is met: quantiles in units of the scale.
    rest: Vec<f64>,
}

impl Sessions {
    pub(super) fn new(kind: Session) -> Self {
        let rest = match kind {
            Session::Weibull { shape, .. } => residual_quantiles(shape),
            Session::Forever | Session::Exponential { .. } => Vec::new(),
        };
        Self { kind, rest }
    }

    /// How long one stays who joins; `None` for ever.
    pub(super) fn whole(&self, draw: u64) -> Option<Duration> {
        match self.kind {
            Session::Forever => None,
            Session::Exponential { median } => Some(scaled(median, exponential(draw))),
            Session::Weibull { shape, scale } => {
                // -ln of a number in 0..1, to the power 1/k.
                let drawn = exponential(draw) * std::f64::consts::LN_2;
                Some(scaled(scale, power(drawn, 1.0 / shape)))
            }
        }
    }

    /// How long one stays who is there.
    pub(super) fn rest(&self, draw: u64) -> Option<Duration> {
        match self.kind {
            // An exponential session has no memory.
            Session::Forever | Session::Exponential { .. } => self.whole(draw),
            Session::Weibull { scale, .. } => {
                let at = (unit(draw) * self.rest.len() as f64) as usize;
                Some(scaled(scale, self.rest[at]))
            }
        }
    }
}

fn scaled(unit: Duration, by: f64) -> Duration {
    // No run lasts a thousand years, and no duration need hold more.
    unit.mul_f64(by.min(1e9))
}

/// What is left of a Weibull session of scale 1 that is met at a random moment.
///
/// Its density is the share of sessions that last longer over their mean. With y = x^k that is
/// e^-y y^(1/k - 1): a gamma distribution, summed up here in small steps.
fn residual_quantiles(shape: f64) -> Vec<f64> {
    let at = |step: usize| (step as f64 + 0.5) * STEP;
    let weight = |y: f64| power(2.0, -y * std::f64::consts::LOG2_E) * power(y, 1.0 / shape - 1.0);
    let weights: Vec<f64> = (0..STEPS).map(|step| weight(at(step))).collect();
    let total: f64 = weights.iter().sum();
    let (mut quantiles, mut below) = (Vec::with_capacity(QUANTILES), 0.0);
    for (step, weight) in weights.iter().enumerate() {
        below += weight / total;
        while quantiles.len() < QUANTILES
            && below >= (quantiles.len() as f64 + 0.5) / QUANTILES as f64
        {
            quantiles.push(power(at(step), 1.0 / shape));
        }
    }
    quantiles.resize(QUANTILES, power(at(STEPS), 1.0 / shape));
    quantiles
}

const QUANTILES: usize = 4096;
const STEP: f64 = 1.0 / 512.0;
/// Up to y = 60, beyond which nothing is left.
const STEPS: usize = 60 * 512;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::hash::mix;

    fn sorted(draw: impl Fn(u64) -> Option<Duration>) -> Vec<f64> {
        let mut all: Vec<f64> = (0..20_000)
            .map(|n| draw(mix(n)).unwrap().as_secs_f64())
            .collect();
        all.sort_by(f64::total_cmp);
        all
    }

    #[test]
    fn weibull_sessions_have_their_quantiles() {
        // Scale 473 min, shape 0.43: half are shorter than 201.7 min, a tenth than 2.5 min.
        let sessions = Sessions::new(Session::Weibull {
            shape: 0.43,
            scale: Duration::from_secs(473 * 60),
        });
        let whole = sorted(|draw| sessions.whole(draw));
        assert!(
            (whole[10_000] / 60.0 / 201.7 - 1.0).abs() < 0.05,
            "{}",
            whole[10_000] / 60.0
        );
        assert!(
            (whole[2_000] / 60.0 / 2.52 - 1.0).abs() < 0.2,
            "{}",
            whole[2_000] / 60.0
        );
        // Those who are there stay longer: 99 of 100 for a quarter of an hour and more.
        let rest = sorted(|draw| sessions.rest(draw));
        let soon = rest.iter().filter(|left| **left < 15.0 * 60.0).count();
        assert!((100..350).contains(&soon), "{soon}");
        assert!(rest[10_000] > 10.0 * whole[10_000]);
    }

    #[test]
    fn shape_one_is_exponential_and_forgets() {
        let scale = Duration::from_secs(1_000);
        let sessions = Sessions::new(Session::Weibull { shape: 1.0, scale });
        let (whole, rest) = (
            sorted(|draw| sessions.whole(draw)),
            sorted(|draw| sessions.rest(draw)),
        );
        for percent in [10, 50, 90] {
            let expected = -(1.0 - percent as f64 / 100.0).ln() * 1_000.0;
            for sample in [&whole, &rest] {
                let seen = sample[percent * 200];
                assert!((seen / expected - 1.0).abs() < 0.06, "{percent}: {seen}");
            }
        }
        let median = Duration::from_secs(600);
        let sessions = Sessions::new(Session::Exponential { median });
        let seen = sorted(|draw| sessions.rest(draw))[10_000];
        assert!((seen / 600.0 - 1.0).abs() < 0.05, "{seen}");
        assert_eq!(Sessions::new(Session::Forever).whole(7), None);
    }
}
