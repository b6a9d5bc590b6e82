//! Runs a scenario: every case with every seed, side by side where there are cores, and holds what
//! comes out against its gates.
//!
//! What runs one case is given as a function, so that both engines and tests use the same code. The
//! order in which runs end does not show in the result.

use std::{
    any::Any,
    ops::Range,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use crate::{
    experiment::Progress,
    outcome::{CaseOutcome, Outcome, Run, VERSION},
    scenario::{Case, Engine, Scenario},
};

pub(crate) mod judge;
pub mod lines;
mod notes;
pub mod replay;

/// Runs one case with one seed on so many threads.
pub type RunCase<'a> =
    dyn Fn(&Case, u64, usize, &dyn Fn(Progress)) -> Result<Run, String> + Sync + 'a;

/// What to run besides the scenario.
#[derive(Debug, Clone)]
pub struct Order {
    /// Who runs it.
    pub engine: Engine,
    /// One run of each case for each.
    pub seeds: Range<u64>,
    /// Threads that may be used.
    pub threads: usize,
    /// The command that runs one case with one seed again, without both: see [`replay::Command`].
    pub command: replay::Command,
    /// What the engine has to say beside its figures.
    pub notes: Vec<String>,
}

/// How far everything is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Status {
    /// Runs that have ended.
    pub ended: usize,
    /// Runs in all.
    pub runs: usize,
    /// The share of all work that is done, each run counting the same.
    pub done: f64,
    /// Events handled.
    pub events: u64,
    /// Time in the run that reported last.
    pub time: Duration,
}

/// A run that gave nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The case, by number.
    pub case: usize,
    /// The seed.
    pub seed: u64,
    /// Why, in a line.
    pub why: String,
    /// The command that gives the same again.
    pub replay: String,
}

/// Why a run gave nothing if it was asked to end: it is no failure, it was not made.
pub const INTERRUPTED: &str = "interrupted";

/// Told of each run that gave something as it ends: its number among all (case by case, seed by
/// seed), its case and the run.
pub type Ended<'a> = dyn Fn(usize, &Case, &Run) + Sync + 'a;

/// A scenario, run.
#[derive(Debug, Clone)]
pub struct Finished {
    /// Figures and verdicts.
    pub outcome: Outcome,
    /// Runs that gave nothing: their cases fail every gate that is about them.
    pub failures: Vec<Failure>,
}

impl Finished {
    /// Whether no gate failed and every run gave something.
    pub fn holds(&self) -> bool {
        let verdicts = &self.outcome.verdicts;
        self.failures.is_empty()
            && self.outcome.left == 0
            && verdicts
                .iter()
                .all(|verdict| verdict.verdict != judge::FAIL)
    }

    /// Whether there are gates and none could be held against anything: they are void, or about
    /// cases that were not run. That is no success.
    pub fn judged_nothing(&self) -> bool {
        let verdicts = &self.outcome.verdicts;
        !verdicts.is_empty()
            && verdicts
                .iter()
                .all(|verdict| verdict.verdict == judge::NOT_RUN)
    }
}

/// A world of this many nodes fills memory and feeds every core by itself.
const LARGE: u32 = 200_000;

/// Runs all of it.
pub fn run(
    scenario: &Scenario,
    order: &Order,
    run_case: &RunCase<'_>,
    watch: &(dyn Fn(Status) + Sync),
    ended: &Ended<'_>,
) -> Finished {
    let runs = scenario.cases.len() * (order.seeds.end - order.seeds.start) as usize;
    let board = Board {
        places: Mutex::new(vec![(0.0, 0); runs]),
        ended: AtomicUsize::new(0),
        runs,
        watch,
    };
    let job = |number: usize, threads: usize| {
        let seeds = (order.seeds.end - order.seeds.start) as usize;
        let (case, seed) = (number / seeds, order.seeds.start + (number % seeds) as u64);
        let said = |progress| board.say(number, progress);
        let work = || run_case(&scenario.cases[case], seed, threads, &said);
        let mut result = match catch_unwind(AssertUnwindSafe(work)) {
            Ok(result) => result,
            Err(panic) if panic.is::<Abandoned>() => Err(INTERRUPTED.into()),
            Err(panic) => Err(format!("it panicked: {}", panic_text(panic.as_ref()))),
        };
        board.end(number);
        if let Ok(run) = &mut result {
            cost_figures(run, order.engine);
            ended(number, &scenario.cases[case], run);
        }
        (case, seed, result)
    };
    let alone = |number: &usize| {
        let seeds = (order.seeds.end - order.seeds.start) as usize;
        let dht = &scenario.cases[*number / seeds].plan.dht;
        order.engine == Engine::Live || dht.as_ref().is_some_and(|dht| dht.nodes >= LARGE)
    };
    let (large, small): (Vec<usize>, Vec<usize>) = (0..runs).partition(alone);
    let mut results = side_by_side(&small, order.threads, &job);
    results.extend(
        large
            .iter()
            .map(|number| (*number, job(*number, order.threads))),
    );
    results.sort_by_key(|(number, _)| *number);
    gather(
        scenario,
        order,
        results.into_iter().map(|(_, result)| result),
    )
}

/// Leaves a run from what watches it: a run in virtual time has no other way out. Nothing is
/// printed, and [`run`] takes it for interrupted.
pub fn abandon() -> ! {
    resume_unwind(Box::new(Abandoned))
}

struct Abandoned;

type Given = (usize, u64, Result<Run, String>);

/// Small runs: one to a thread, all threads to one if there is no other.
fn side_by_side(
    numbers: &[usize],
    threads: usize,
    job: &(dyn Fn(usize, usize) -> Given + Sync),
) -> Vec<(usize, Given)> {
    let workers = numbers.len().min(threads.max(1));
    if workers <= 1 {
        return numbers
            .iter()
            .map(|at| (*at, job(*at, threads.max(1))))
            .collect();
    }
    let next = AtomicUsize::new(0);
    let work = || {
        let mut ended = Vec::new();
        while let Some(number) = numbers.get(next.fetch_add(1, Ordering::Relaxed)) {
            ended.push((*number, job(*number, 1)));
        }
        ended
    };
    thread::scope(|scope| {
        let workers: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        let joined = workers.into_iter().map(|worker| worker.join());
        // A job catches its own panic, so a worker has none.
        joined.flat_map(Result::unwrap_or_default).collect()
    })
}

fn gather(scenario: &Scenario, order: &Order, results: impl Iterator<Item = Given>) -> Finished {
    let mut cases: Vec<CaseOutcome> = scenario
        .cases
        .iter()
        .map(|case| CaseOutcome {
            settings: case.settings.clone(),
            runs: Vec::new(),
        })
        .collect();
    let (mut failures, mut left, mut all) = (Vec::new(), 0, 0);
    for (case, seed, result) in results {
        all += 1;
        match result {
            Ok(run) => cases[case].runs.push(run),
            Err(why) if why == INTERRUPTED => left += 1,
            Err(why) => failures.push(Failure {
                case,
                seed,
                why,
                replay: order
                    .command
                    .of(order.command.case.unwrap_or(case + 1), seed),
            }),
        }
    }
    let mut notes = Vec::new();
    if left > 0 {
        notes.push(format!(
            "INCOMPLETE: interrupted with {left} of {all} runs left. What is here is of the runs \
             that had ended, and no gate is judged."
        ));
    }
    notes.extend(notes::notes(scenario, order, &cases));
    notes.extend(order.notes.iter().cloned());
    notes.extend(failures.iter().map(|failure| {
        format!(
            "A run gave nothing: seed {}, {}: {} ({}).",
            failure.seed,
            shown(&scenario.cases[failure.case].settings),
            failure.why,
            failure.replay
        )
    }));
    let mut judged = judge::judge(scenario, order.engine, &cases, &failures);
    if left == 0 {
        notes.extend(judged.notes);
    } else {
        let verdicts = judged.verdicts.iter_mut();
        verdicts.for_each(|verdict| verdict.verdict = judge::NOT_RUN.into());
    }
    Finished {
        outcome: Outcome {
            scenario: scenario.name.clone(),
            title: scenario.title.clone(),
            about: scenario.about.clone(),
            held_against: scenario.held_against.clone(),
            left,
            engine: order.engine.name().into(),
            parameters: scenario.parameters.clone(),
            defaults: scenario.defaults.clone(),
            version: VERSION.into(),
            notes,
            cases,
            verdicts: judged.verdicts,
            replay: order.command.whole(&order.seeds),
        },
        failures,
    }
}

/// Gates on the engine itself ask for them by name like for any other.
fn cost_figures(run: &mut Run, engine: Engine) {
    let (wall, memory) = (run.cost.wall, run.cost.peak_memory);
    let figures = &mut run.figures;
    figures.insert("wall_seconds".into(), wall);
    if memory > 0 {
        let gib = memory as f64 / f64::from(1 << 30);
        figures.insert("peak_memory_gib".into(), gib);
    }
    if engine == Engine::Sim {
        figures.insert("speed".into(), run.cost.speed());
    }
}

/// `class.peer.count = 35, swarm.architecture = p2p`, or what stands for a single case.
pub fn shown(settings: &[(String, String)]) -> String {
    let settings: Vec<_> = settings
        .iter()
        .map(|(key, value)| format!("{key} = {value}"))
        .collect();
    match settings[..] {
        [] => "the only case".into(),
        _ => settings.join(", "),
    }
}

fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    let text = text.unwrap_or("no message");
    text.lines().collect::<Vec<_>>().join(" ")
}

/// How far each run is.
struct Board<'a> {
    places: Mutex<Vec<(f64, u64)>>,
    ended: AtomicUsize,
    runs: usize,
    watch: &'a (dyn Fn(Status) + Sync),
}

impl Board<'_> {
    fn say(&self, number: usize, progress: Progress) {
        self.set(number, progress.done.clamp(0.0, 1.0), Some(progress.events));
        self.show(progress.time);
    }

    fn end(&self, number: usize) {
        self.set(number, 1.0, None);
        self.ended.fetch_add(1, Ordering::Relaxed);
        self.show(Duration::ZERO);
    }

    fn set(&self, number: usize, done: f64, events: Option<u64>) {
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        places[number].0 = done;
        if let Some(events) = events {
            places[number].1 = events;
        }
    }

    fn show(&self, time: Duration) {
        let (done, events) = {
            let places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
            let done: f64 = places.iter().map(|(done, _)| done).sum();
            let events = places.iter().map(|(_, events)| events).sum();
            (done / self.runs.max(1) as f64, events)
        };
        (self.watch)(Status {
            ended: self.ended.load(Ordering::Relaxed),
            runs: self.runs,
            done,
            events,
            time,
        });
    }
}

#[cfg(test)]
mod tests;
