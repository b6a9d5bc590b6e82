//! Whole experiments in virtual time: one plan, one seed, one run.
//!
//! A swarm's figures are listed in [`swarm::FIGURES`], with what exactly each of them counts.
//!
//! | figure | of a DHT |
//! |---|---|
//! | `success` | the share of lookups that found their announcer |
//! | `hops`, `queries`, `queries_p95` | depth of referrals up to the first value, queries per lookup |
//! | `first_ms_p50`, `_p90`, `_p99` | time to the first peer |
//! | `recall` | the share of the 8 closest live nodes that hold an announce |
//! | `stale` | the share of table entries that are gone |
//!
//! [`FIGURES`] lists every name that a gate may use.

use std::time::Duration;

use crate::{outcome::Run, scenario::Plan, sim::hash::draw};

pub mod dht;
pub mod swarm;

/// Every figure that a run may have, with its meaning and unit: a swarm's, then a DHT's. A name that
/// ends in `.CLASS` stands for one figure for each class of the scenario: `ratio.slow` for class
/// `slow`.
pub const FIGURES: &[(&str, &str)] = &all_figures();

const fn all_figures() -> [(&'static str, &'static str); swarm::FIGURES.len() + dht::FIGURES.len()]
{
    let mut all = [("", ""); swarm::FIGURES.len() + dht::FIGURES.len()];
    let mut at = 0;
    while at < all.len() {
        all[at] = match at < swarm::FIGURES.len() {
            true => swarm::FIGURES[at],
            false => dht::FIGURES[at - swarm::FIGURES.len()],
        };
        at += 1;
    }
    all
}

/// What every run has beside them: its cost, for gates on the engine itself.
pub const COST_FIGURES: &[(&str, &str)] = &[
    ("wall_seconds", "the run's wall time, seconds"),
    (
        "speed",
        "millions of events handled per second and thread, simulated runs",
    ),
    (
        "peak_memory_gib",
        "the process's largest resident memory so far, GiB",
    ),
];

/// Whether a run of a scenario with these classes may have a figure of this name.
pub fn is_figure<'a>(name: &str, classes: impl IntoIterator<Item = &'a str>) -> bool {
    let class = name.split_once('.').map(|(_, class)| class);
    let classed = class.is_some_and(|class| classes.into_iter().any(|known| known == class));
    let mut known = FIGURES.iter().chain(COST_FIGURES);
    known.any(|(known, _)| {
        let stem = known.strip_suffix("CLASS").filter(|_| classed);
        name == *known || stem.is_some_and(|stem| name.starts_with(stem))
    })
}

/// Runs a plan once. `watch` is called about ten times a second with how far it is.
pub fn run(plan: &Plan, seed: u64, threads: usize, watch: &dyn Fn(Progress)) -> Run {
    let mut run = Run {
        seed,
        ..Run::default()
    };
    if plan.swarm.is_some() {
        run = swarm::run(plan, seed, threads, watch);
    }
    if plan.dht.is_some() {
        let other = dht::run(plan, seed, threads, watch);
        run = merge(run, other);
    }
    run
}

/// How far a run is.
#[derive(Debug, Clone, Copy)]
pub struct Progress {
    /// Virtual time.
    pub time: Duration,
    /// The share of the run that is done, as far as it can be known.
    pub done: f64,
    /// Events so far.
    pub events: u64,
}

/// A scenario with both halves has one run: figures and curves of both, the cost of both together.
fn merge(swarm: Run, dht: Run) -> Run {
    let mut run = swarm;
    run.figures.extend(dht.figures);
    let (series, other) = (&mut run.series, dht.series);
    series.paths = other.paths;
    series.first_peer = other.first_peer;
    series.lookup_done = other.lookup_done;
    series.success = other.success;
    series.occupancy = other.occupancy;
    series.stale = other.stale;
    // What both halves have is drawn of the swarm, which the file puts first.
    if series.population.is_empty() {
        series.population = other.population;
    }
    if series.progress.is_empty() {
        series.progress = other.progress;
    }
    let cost = &mut run.cost;
    // Each half has a world of its own, one after the other.
    cost.cpu = match cost.wall + dht.cost.wall {
        0.0 => 0.0,
        wall => (cost.cpu * cost.wall + dht.cost.cpu * dht.cost.wall) / wall,
    };
    cost.events += dht.cost.events;
    cost.wall += dht.cost.wall;
    cost.running += dht.cost.running;
    cost.threads = cost.threads.max(dht.cost.threads);
    cost.peak_memory = cost.peak_memory.max(dht.cost.peak_memory);
    let word = |trace: &str| u64::from_str_radix(trace, 16).unwrap_or_default();
    let both = draw(&[word(&cost.trace), word(&dht.cost.trace)]);
    cost.trace = format!("{both:016x}");
    run
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_with_both_halves_has_the_figures_and_the_cost_of_both() {
        let half = |figure: &str, wall: f64, trace: &str| {
            let mut run = Run::default();
            run.figures.insert(figure.into(), 1.0);
            (run.cost.wall, run.cost.events) = (wall, 10);
            (run.cost.peak_memory, run.cost.trace) = (wall as u64, trace.into());
            run
        };
        let mut dht = half("success", 2.0, "00000000000000ff");
        dht.series.first_peer = vec![0.5];
        let run = merge(half("ratio", 1.0, "0000000000000001"), dht.clone());
        assert_eq!(run.figures.keys().collect::<Vec<_>>(), ["ratio", "success"]);
        assert_eq!(
            (run.cost.wall, run.cost.events, run.cost.peak_memory),
            (3.0, 20, 2)
        );
        assert_eq!(run.series.first_peer, [0.5]);
        let other = merge(half("ratio", 1.0, "0000000000000002"), dht);
        assert_ne!(run.cost.trace, other.cost.trace);
    }

    #[test]
    fn figures_are_known_by_name_and_by_class() {
        let rows = [
            ("ratio", true),
            ("ratio.slow", true),
            ("seconds.slow", true),
            ("success", true),
            ("ratio.fast", false),
            ("ratio.", false),
            ("ratio.CLASS", true),
            ("population.slow", false),
            ("ratios", false),
        ];
        for (name, known) in rows {
            assert_eq!(is_figure(name, ["slow", "CLASS"]), known, "{name}");
        }
    }
}
