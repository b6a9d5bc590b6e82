//! A DHT that is searched while nodes come and go, die, are cut off or are attacked.
//!
//! One node announces each key, so that a key is as hard to find as it gets; lookups are made by
//! others, spread over the time of the plan. [`FIGURES`] says what is counted. What a run does is in
//! `lab`, what it writes down in `notes`, and what comes of it in `figures`. Warm tables say nothing
//! about how a network finds together: for that a plan starts cold.

mod agenda;
mod attack;
mod figures;
mod lab;
mod notes;
mod population;
mod sessions;
#[cfg(test)]
mod tests;

use std::{
    cell::Cell,
    time::{Duration, Instant},
};

use super::Progress;
use crate::{cpu::CpuMeter, outcome::Run, scenario::Plan};
use lab::Lab;

/// What a run of a DHT counts, and how.
pub const FIGURES: &[(&str, &str)] = &[
    (
        "success",
        "share of lookups that found their announcer, of those whose seeker stayed for 10 s; after a partition only those on one side",
    ),
    (
        "abandoned",
        "share of lookups whose seeker went within 10 s, whether it had found anything or not; they count nowhere else",
    ),
    (
        "success_before",
        "the same, before nodes are killed or routers die",
    ),
    (
        "success_at_once",
        "the same, in the first minute after nodes are killed",
    ),
    (
        "success_after",
        "the same, from 15 min after nodes are killed, or after routers died",
    ),
    (
        "success_change",
        "success_before less success_after, where routers died",
    ),
    (
        "success_split",
        "share of lookups within a side that succeed while the network is cut",
    ),
    (
        "success_cross",
        "share of lookups across the cut that succeed, from 15 min after it healed",
    ),
    (
        "recovery_seconds",
        "from the kill to the end of the first minute in which 99 % of lookups succeed",
    ),
    (
        "merge_seconds",
        "from the healing to the end of the first minute in which 99 % of lookups across succeed",
    ),
    (
        "connected_seconds",
        "from the first node's joining until 99 % of all have 8 live contacts",
    ),
    (
        "found_seconds",
        "from the first node's joining until 99 % of 100 lookups in a row succeed",
    ),
    (
        "hops",
        "mean referrals up to the first peer, of lookups that found it; a node of one's own table is the first",
    ),
    (
        "hops_model",
        "0.70 log10 n, what hops grow by in converged tables of eights",
    ),
    ("hops_excess", "hops less hops_model"),
    ("queries", "mean nodes asked by a lookup"),
    (
        "queries_p95",
        "nodes asked by the lookup that 95 % stay below",
    ),
    ("queries_model", "1.8 log10 n + 7"),
    (
        "first_ms_p50",
        "median time until the announcer is found, of all lookups, milliseconds; missing if half never find it",
    ),
    (
        "first_ms_p90",
        "time until the announcer is found that 90 % of all lookups stay below, milliseconds",
    ),
    (
        "first_ms_p99",
        "time until the announcer is found that 99 % of all lookups stay below, milliseconds",
    ),
    ("done_ms_p50", "median time to a lookup's end, milliseconds"),
    (
        "done_ms_p99",
        "time to a lookup's end that 99 % stay below, milliseconds",
    ),
    (
        "recall",
        "share of the 8 reachable live nodes closest to a key that hold an announce as it ends",
    ),
    (
        "stale",
        "share of table entries that are gone, in the second half of the time before a kill",
    ),
    (
        "stale_end",
        "share of table entries that are gone at the end",
    ),
    (
        "upkeep_messages",
        "datagrams per second sent by a node that looks for nothing and stays from the start to the end",
    ),
    (
        "upkeep_bytes",
        "bytes per second of them, at the mean length of all datagrams",
    ),
    (
        "router_share",
        "share of all datagrams that a router sent or received",
    ),
    (
        "tables_unreachable",
        "share of table entries that cannot be called from outside, at the end",
    ),
    (
        "joined_routers",
        "share of newcomers who get in, knowing routers that live",
    ),
    (
        "joined_orphaned",
        "share of newcomers who get in, knowing only routers that are gone",
    ),
    (
        "joined_cached",
        "share of newcomers who get in, knowing a saved table",
    ),
    (
        "flagged",
        "share of lookups whose seekers saw more or fewer nodes near the target than there can be",
    ),
    (
        "flagged_falsely",
        "the same of lookups for keys that nobody announced or attacks, and that ended among honest \
         nodes",
    ),
    ("probes_unharmed", "how many lookups flagged_falsely counts"),
    (
        "size_error",
        "mean error of the network's size as those who looked up estimate it, as a share",
    ),
    (
        "attacker_queries",
        "queries that attackers received, for each lookup",
    ),
];

/// Runs the DHT half of a plan.
///
/// # Panics
/// If the plan has no DHT, or attackers in a network that starts cold.
pub fn run(plan: &Plan, seed: u64, threads: usize, watch: &dyn Fn(Progress)) -> Run {
    #[allow(
        clippy::disallowed_methods,
        reason = "the wall time of a run is reported beside it"
    )]
    let began = Instant::now();
    let meter = CpuMeter::start();
    let dht = plan.dht.as_ref().expect("a plan with a DHT");
    let mut lab = Lab::new(plan, dht, seed, threads);
    let watcher = Watcher {
        watch,
        began,
        seen: Cell::new(Duration::ZERO),
        expected: lab.expected_end(),
    };
    lab.plan_announces();
    let (begin, within) = lab.announce_phase();
    watcher.advance(&mut lab, begin + within);
    if !lab.is_young() {
        watcher.wait(&mut lab, |lab| lab.announces_done());
    }
    lab.begin();
    let end = lab.end();
    watcher.advance(&mut lab, end);
    watcher.wait(&mut lab, |lab| lab.lookups_done());
    let mut run = figures::sum_up(&lab);
    run.seed = seed;
    run.cost.wall = began.elapsed().as_secs_f64();
    run.cost.cpu = meter.share().process.unwrap_or(0.0);
    run
}

/// Drives a lab, and tells how far it is.
struct Watcher<'a> {
    watch: &'a dyn Fn(Progress),
    began: Instant,
    /// When it was told last: wall time since the beginning.
    seen: Cell<Duration>,
    expected: Duration,
}

impl Watcher<'_> {
    /// Does all that is due by `until`.
    fn advance(&self, lab: &mut Lab<'_>, until: Duration) {
        while let Some((at, act)) = lab.agenda.next(until) {
            self.pass(lab, at);
            lab.act(at, act);
        }
        self.pass(lab, until);
    }

    /// Goes on until something is done, a minute at most: no lookup takes longer.
    fn wait(&self, lab: &mut Lab<'_>, done: impl Fn(&Lab<'_>) -> bool) {
        for _ in 0..130 {
            if done(lab) {
                return;
            }
            let until = lab.world.now() + Duration::from_millis(500);
            self.advance(lab, until);
        }
    }

    fn pass(&self, lab: &mut Lab<'_>, until: Duration) {
        while lab.world.now() < until {
            let next = (lab.world.now() + STEP).min(until);
            lab.world.run_until(next);
            let wall = self.began.elapsed();
            if wall.saturating_sub(self.seen.get()) >= Duration::from_millis(100) {
                self.seen.set(wall);
                let time = lab.world.now();
                let done = time.as_secs_f64() / self.expected.as_secs_f64().max(1e-9);
                (self.watch)(Progress {
                    time,
                    done: done.min(1.0),
                    events: lab.world.counts().events,
                });
            }
        }
    }
}

/// So that whoever watches a large world sees it move.
const STEP: Duration = Duration::from_millis(250);
