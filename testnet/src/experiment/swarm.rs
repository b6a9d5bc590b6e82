//! Swarms: a file spreads, and is held against how fast it could.
//!
//! What the members want decides what they count for. *Compliant* ones are `standard` and
//! `proportional`: the times without a class are theirs. Free riders (`free-rider`, `seeds-only`,
//! `large-view`) and `tyrant`s want the file too, and the bound counts them in with what they
//! upload: nothing, or their uplink. Attackers (`false-have`, `seed-slots`, `corrupt`, `stalled`)
//! are owed nothing and count for no bound. Members that have everything at the start are the
//! server of the bound, unless they are attackers.

mod figures;
mod member;
mod roster;
mod samples;
mod trial;

use std::{
    cell::Cell,
    collections::BTreeMap,
    time::{Duration, Instant},
};

use super::Progress;
use crate::{
    cpu::CpuMeter,
    outcome::{Cost, Run},
    scenario::Plan,
    sim::{Content, hash::mix},
};
use figures::Findings;
use trial::{Stage, Trial};

/// Runs the swarm half of a plan, and beside it a second swarm of the same seed if a figure is held
/// against one: there tyrants play as their neighbours do, and `seed-slots`, `corrupt` and
/// `stalled` members and those with a downlink slower than u stay away.
pub fn run(plan: &Plan, seed: u64, threads: usize, watch: &dyn Fn(Progress)) -> Run {
    let mut run = Run {
        seed,
        ..Run::default()
    };
    let Some(swarm) = &plan.swarm else {
        return run;
    };
    let meter = CpuMeter::start();
    #[allow(
        clippy::disallowed_methods,
        reason = "the wall time of a run is reported beside it"
    )]
    let began = Instant::now();
    let content = Content::generate(seed, swarm.pieces, swarm.piece_len);
    let places = roster::roster(&plan.classes, plan.network.nat, seed, swarm.limit);
    let cast = roster::as_written(&plan.classes);
    let other = roster::control(&plan.classes, swarm.base_rate());
    let stage = Stage {
        plan,
        swarm,
        seed,
        threads,
        places: &places,
        cast: &cast,
        content: &content,
        bounds: roster::bounds(swarm, &plan.classes, &places, &cast),
    };
    let halves = if other.is_some() { 2.0 } else { 1.0 };
    let (shown, before) = (Cell::new(began), Cell::new((0.0, 0)));
    let mut report = |time: Duration, done: f64, events: u64| {
        if shown.get().elapsed() >= WATCH {
            #[allow(
                clippy::disallowed_methods,
                reason = "how often somebody is told does not change what happens"
            )]
            shown.set(Instant::now());
            watch(Progress {
                time,
                done: before.get().0 + done / halves,
                events: before.get().1 + events,
            });
        }
    };
    let trial = stage.run(&mut report);
    before.set((1.0 / halves, trial.speed.events));
    let control = other.map(|cast| {
        let stage = Stage {
            cast: &cast,
            ..stage
        };
        stage.run(&mut report)
    });
    run.figures = Findings {
        plan,
        swarm,
        bounds: trial.bounds,
        trial: &trial,
        control: control.as_ref(),
    }
    .figures();
    run.cost = cost(&trial, control.as_ref());
    run.cost.wall = began.elapsed().as_secs_f64();
    run.cost.cpu = meter.share().process.unwrap_or(0.0);
    run.series = trial.series;
    run
}

/// What both swarms took.
fn cost(trial: &Trial, control: Option<&Trial>) -> Cost {
    let mut cost = Cost::default();
    for trial in control.into_iter().chain([trial]) {
        let speed = trial.speed;
        cost.events += speed.events;
        cost.running += speed.wall.as_secs_f64();
        cost.threads = speed.threads;
        cost.peak_memory = speed.peak_memory.unwrap_or(0).max(cost.peak_memory);
    }
    let trace = control.map_or(trial.trace, |control| mix(trial.trace ^ mix(control.trace)));
    cost.trace = format!("{trace:016x}");
    cost
}

/// Takes away what a swarm has no right to where somebody waits for ever: see [`FIGURES`].
/// `compliant` and `anybody` say whether one of those stayed without ever having everything,
/// `classes` names the classes that have such a member.
pub(crate) fn strike_endless(
    figures: &mut BTreeMap<String, f64>,
    compliant: bool,
    anybody: bool,
    classes: &[&str],
) {
    let of_compliant: &[&str] = match compliant {
        true => &[
            "seconds",
            "mean_seconds",
            "ratio",
            "mean_ratio",
            "fast_over_slow",
            "rank",
        ],
        false => &[],
    };
    let of_all: &[&str] = match anybody {
        true => &["ratio", "ratio_all", "free_over_compliant"],
        false => &[],
    };
    for name in of_compliant.iter().chain(of_all) {
        figures.remove(*name);
    }
    for class in classes {
        for stem in ["seconds", "last_seconds", "ratio"] {
            figures.remove(&format!("{stem}.{class}"));
        }
    }
}

/// How often whoever watches is told.
const WATCH: Duration = Duration::from_millis(100);

/// The figures of a swarm. Times count from each peer's own joining. Where one of those that a time
/// is about stayed and never finished there is no time, nor a ratio, so that gates on them fail:
/// the time it had until the run ended would only be too good. Where nobody wants the file nobody
/// waits: times are 0 and ratios 1. Who left without everything had none to compare with others'.
pub const FIGURES: &[(&str, &str)] = &[
    (
        "seconds",
        "last compliant peer's time, seconds; who left without everything has none",
    ),
    ("mean_seconds", "mean time of the same, seconds"),
    (
        "lb_seconds",
        "least time for the last of all who got the file or stayed for it, free riders too, with pieces, seconds",
    ),
    (
        "bound_seconds",
        "least time for a file that flows: equation 2.1 or 2.2, seconds",
    ),
    (
        "ratio",
        "last completion of all who want the file, free riders too, since the first joined, over \
         lb_seconds, which no schedule can beat; none, and a gate on it fails, if somebody stayed \
         and has not got the file",
    ),
    (
        "mean_ratio",
        "mean_seconds over lb_seconds, the bound of the last: may be below 1",
    ),
    ("ratio_all", "ratio by its older name"),
    ("seconds.CLASS", "mean time of a class, seconds"),
    ("last_seconds.CLASS", "last time of a class, seconds"),
    (
        "ratio.CLASS",
        "mean time of a class over lb_seconds, the bound of the last of all: may be below 1",
    ),
    (
        "complete",
        "share: compliant peers that stayed until they had everything, of all that were not meant to leave before",
    ),
    ("complete.CLASS", "share: the same of a class"),
    (
        "complete_if_available",
        "complete, if at the last seed's leaving every piece was among the others; else absent",
    ),
    (
        "available",
        "1 if at the last seed's leaving every piece was among the others, else 0",
    ),
    (
        "starved",
        "peers that wanted the file, stayed, and had not everything at the end, free riders too",
    ),
    (
        "utilisation",
        "share: useful bytes over what all uplinks could have sent until the last was done",
    ),
    (
        "seed_copies",
        "files that the first seeds sent before another peer was complete",
    ),
    (
        "first_piece_seconds",
        "median time to the first piece, seconds",
    ),
    (
        "entropy_p20",
        "share: time in which a neighbour has something we lack; 80 % of peers have more",
    ),
    (
        "wasted",
        "share: the block bytes received that were of no use",
    ),
    (
        "refetched",
        "pieces fetched again although they had been verified",
    ),
    (
        "free_over_compliant",
        "mean time of free riders over that of compliant peers",
    ),
    (
        "slowdown",
        "mean time of compliant peers over that in a run of the same seed without the others",
    ),
    (
        "last_slowdown",
        "the same of the last compliant peer's time",
    ),
    (
        "swarm_slowdown",
        "the same of the mean time of everybody who wants the file, tyrants too",
    ),
    (
        "gain",
        "mean time of peers that are compliant in the tyrants' place, over the tyrants' own",
    ),
    (
        "ban_seconds",
        "longest time from an attacker's first block at a peer, since an earlier ban, to its ban there, seconds",
    ),
    (
        "banned",
        "share: of the pairs of a compliant peer and an attacker that sent it blocks, those that ended in a ban",
    ),
    ("wrongly_banned", "bans of members that did no harm"),
    (
        "failed_pieces",
        "most pieces that one compliant peer lost to wrong blocks",
    ),
    (
        "fast_over_slow",
        "mean time of the class with the fastest uplink over that of the slowest",
    ),
    (
        "rank",
        "Spearman's rank correlation of upload rate and speed of completion",
    ),
    (
        "eta",
        "share: their uplinks that peers used while they lacked something, in the steady state",
    ),
    (
        "fluid_seconds",
        "mean time in the fluid model of a steady swarm (Qiu and Srikant), with eta as measured, seconds",
    ),
    (
        "fluid_ratio",
        "mean time of those that came and finished in the steady state, over fluid_seconds",
    ),
    ("fluid_deviation", "distance of fluid_ratio from 1"),
    (
        "fluid_ideal_deviation",
        "distance from 1 of the same mean time over that of the model with eta = 1",
    ),
    (
        "population",
        "mean number of peers that lack something, in the steady state",
    ),
    (
        "population_growth",
        "population of the last third over that of the middle third",
    ),
];
