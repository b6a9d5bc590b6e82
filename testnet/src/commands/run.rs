//! `testnet run`: a scenario, held against its gates.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::{Mutex, PoisonError, atomic::Ordering},
    thread,
};

use clap::{Args, ValueEnum};
use mainswarm_testnet::{
    experiment,
    live::scenario::{Isolation, LiveOptions},
    outcome::{Outcome, Run},
    report,
    runner::{self, Finished, Order, lines, replay},
    scenario::{
        Case, Choice, Engine, Scenario,
        catalogue::{self, Source},
        fits, machine_memory, parse,
    },
    units,
};

use serde_json::Value;
use sha1::{Digest, Sha1};

use super::{
    progress::Shown,
    table::{Table, number, spread},
    terminal::{
        DISK, GATE_FAILED, HAS_RESULTS, INTERRUPTED, NOT_JUDGED, STOPPING, USAGE, fail, load,
        print_line, say,
    },
};

#[derive(Debug, Clone, Args)]
pub(crate) struct RunArgs {
    /// A name or number of `testnet list`, or a file
    #[arg(value_name = "NAME|FILE")]
    scenario: String,
    /// Only this case, counted from 1 in the order of the table
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1000))]
    case: Option<u64>,
    /// Virtual time, or real sockets on this machine
    #[arg(long, value_enum, default_value = "sim")]
    engine: EngineArg,
    #[command(flatten)]
    batch: BatchArgs,
}

/// How a scenario is run, whatever is made of it.
#[derive(Debug, Clone, Args)]
pub(crate) struct BatchArgs {
    /// What everything random follows from: the first of --seeds
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(..=u64::MAX / 2))]
    seed: u64,
    /// Runs of every case, each with a seed of its own [default: what the scenario says, or 5]
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=1000))]
    seeds: Option<u64>,
    /// Put a value in place of the file's: `nodes=1000`, `class.peer.count=10,20` for a list
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// The scenario's short form, which takes seconds
    #[arg(long)]
    quick: bool,
    /// Threads [default: one for each core]
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=1024))]
    threads: Option<u64>,
    /// Write a page, figures and JSON into a folder
    #[arg(long, value_name = "DIR")]
    pub(super) report: Option<PathBuf>,
    /// One JSON object a line: each run, then each gate
    #[arg(long)]
    pub(super) json: bool,
    #[command(flatten)]
    live: LiveArgs,
}

impl BatchArgs {
    pub(super) fn job(&self, source: Source, engine: Engine) -> Job {
        Job {
            source,
            choice: Choice {
                engine,
                quick: self.quick,
                set: self.set.clone(),
            },
            seed: self.seed,
            seeds: self.seeds,
            threads: self.threads,
            live: self.live.options(),
            case: None,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum EngineArg {
    Sim,
    Live,
}

impl EngineArg {
    fn engine(self) -> Engine {
        match self {
            Self::Sim => Engine::Sim,
            Self::Live => Engine::Live,
        }
    }
}

#[derive(Debug, Clone, Args)]
pub(crate) struct LiveArgs {
    /// Live: a network namespace for each node, rates held by the kernel (Linux, root)
    #[arg(long)]
    netns: bool,
    /// Live: a process for each node
    #[arg(long)]
    processes: bool,
}

impl LiveArgs {
    pub(super) fn options(&self) -> LiveOptions {
        LiveOptions {
            isolation: match self.netns {
                true => Isolation::Namespaces,
                false => Isolation::Loopback,
            },
            processes: self.processes,
            ..LiveOptions::default()
        }
    }
}

/// A scenario with everything that was asked of it.
pub(super) struct Job {
    pub(super) source: Source,
    pub(super) choice: Choice,
    pub(super) seed: u64,
    pub(super) seeds: Option<u64>,
    pub(super) threads: Option<u64>,
    pub(super) live: LiveOptions,
    /// The one case to run, counted from 1.
    pub(super) case: Option<usize>,
}

/// A job that has ended.
pub(super) struct Done {
    pub(super) scenario: Scenario,
    pub(super) finished: Finished,
}

impl RunArgs {
    pub(super) fn job(&self, source: Source) -> Job {
        Job {
            case: self.case.map(|case| case as usize),
            ..self.batch.job(source, self.engine.engine())
        }
    }

    pub(super) fn scenario(&self) -> &str {
        &self.scenario
    }

    pub(super) fn is_live(&self) -> bool {
        self.engine == EngineArg::Live
    }
}

pub(crate) fn run(args: &RunArgs) -> ExitCode {
    let source = match load(&args.scenario) {
        Ok(source) => source,
        Err(error) => return fail(&error, USAGE),
    };
    let job = args.job(source);
    if !args.is_live()
        && let Some(flag) = job.flags().first()
    {
        let error = format!("{flag} is for real sockets; add --engine live, or take it away");
        return fail(&error, USAGE);
    }
    if let Some(dir) = &args.batch.report
        && let Err(error) = report::prepare(dir, report::PAGE)
    {
        return fail(&error, DISK);
    }
    if let Some(dir) = &args.batch.report
        && let Err(error) = may_replace(dir, &job.source)
    {
        return fail(&error, DISK);
    }
    let lines = Lines::new(args.batch.json);
    let done = match job.execute(&lines) {
        Ok(done) => done,
        Err(code) => return code,
    };
    let printed = match args.batch.json {
        true => lines.finish() && gate_lines(&done),
        false => print_line(text(&done).trim_end()),
    };
    if let Some(dir) = &args.batch.report {
        let outcome = &done.finished.outcome;
        let dir = match outcome.left > 0 && holds_all(dir) {
            // Hours of runs are not to be lost for a part of them.
            true => interrupted_beside(dir),
            false => dir.clone(),
        };
        if let Err(code) = write_report(outcome, &job.source, &dir, args.batch.json) {
            return code;
        }
    }
    if !printed {
        return ExitCode::FAILURE;
    }
    done.code()
}

impl Job {
    /// Runs it with a bar on stderr; what went wrong is said there.
    pub(super) fn execute(&self, lines: &Lines) -> Result<Done, ExitCode> {
        let source = &self.source;
        let mut scenario = parse(&source.name, &source.file, &source.text, &self.choice)
            .map_err(|error| fail(&error, USAGE))?;
        if let Some(case) = self.case {
            let count = scenario.cases.len();
            if case > count {
                let error = format!(
                    "--case {case}: this scenario has {count} as it is asked for; they count from 1"
                );
                return Err(fail(&error, USAGE));
            }
            scenario.cases = vec![scenario.cases.swap_remove(case - 1)];
        }
        let live = self.choice.engine == Engine::Live;
        if let Some(memory) = machine_memory().filter(|_| !live) {
            fits(
                &source.file,
                &source.text,
                &self.choice,
                &scenario.cases,
                memory,
            )
            .map_err(|error| fail(&error, USAGE))?;
        }
        let order = Order {
            engine: self.choice.engine,
            seeds: self.seed..self.seed + self.seeds.unwrap_or(scenario.seeds),
            threads: self.threads(),
            command: replay::Command {
                scenario: self.named(),
                choice: self.choice.clone(),
                case: self.case,
                flags: self.flags(),
            },
            notes: match live {
                true => self.live_notes(&scenario),
                false => Vec::new(),
            },
        };
        if live {
            HAS_RESULTS.store(true, Ordering::Relaxed);
        }
        let shown = Shown::new(&scenario);
        let run_case: &runner::RunCase<'_> = &|case, seed, threads, watch| {
            let stopping = || STOPPING.load(Ordering::Relaxed);
            if stopping() {
                return Err(runner::INTERRUPTED.into());
            }
            if live {
                let run = mainswarm_testnet::live::scenario::run(case, seed, &self.live, watch);
                return run.map_err(|error| match stopping() {
                    true => runner::INTERRUPTED.into(),
                    false => error.to_string(),
                });
            }
            let watch = |progress| match stopping() {
                true => runner::abandon(),
                false => watch(progress),
            };
            Ok(experiment::run(&case.plan, seed, threads, &watch))
        };
        let said = |number: usize, case: &Case, run: &Run| {
            HAS_RESULTS.store(true, Ordering::Relaxed);
            let engine = order.engine.name();
            lines.take(number, || lines::of(&scenario.name, engine, case, run));
        };
        let status = |status| shown.show(status);
        let finished = runner::run(&scenario, &order, run_case, &status, &said);
        shown.clear();
        for failure in &finished.failures {
            let settings = runner::shown(&scenario.cases[failure.case].settings);
            say(&format!(
                "testnet: seed {}, {settings}: {}; again: {}",
                failure.seed, failure.why, failure.replay
            ));
        }
        Ok(Done { scenario, finished })
    }

    /// No more than there are cores: a run goes at the pace of its slowest thread, and threads that
    /// wait for a core are all slow.
    fn threads(&self) -> usize {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let asked = self.threads.map_or(cores, |threads| threads as usize);
        if asked > cores {
            eprintln!("testnet: --threads {asked}: there are {cores} cores, so {cores} are used");
        }
        asked.min(cores)
    }

    /// How the live engine is set up, as typed.
    fn flags(&self) -> Vec<String> {
        let flags = [
            ("--netns", self.live.isolation == Isolation::Namespaces),
            ("--processes", self.live.processes),
        ];
        let given = flags.into_iter().filter(|(_, given)| *given);
        given.map(|(flag, _)| flag.to_string()).collect()
    }

    /// A built-in scenario by name, a file by path: a copy under another name is a file.
    fn named(&self) -> String {
        let source = &self.source;
        let built_in = catalogue::BUILT_IN.iter().any(|(name, text)| {
            *name == source.name && *text == source.text && source.file == format!("{name}.toml")
        });
        match built_in {
            true => self.source.name.clone(),
            false => self.source.file.clone(),
        }
    }

    fn live_notes(&self, scenario: &Scenario) -> Vec<String> {
        let mut notes: Vec<String> = Vec::new();
        for case in &scenario.cases {
            for note in mainswarm_testnet::live::scenario::notes(case, &self.live) {
                if !notes.contains(&note) {
                    notes.push(note);
                }
            }
        }
        notes
    }
}

/// Lines of runs, printed in the order of their cases and seeds as soon as all before are there, so
/// that an interrupted batch has them.
pub(super) struct Lines {
    wanted: bool,
    /// The number of the next to be printed, those that wait for it, and whether somebody reads.
    state: Mutex<(usize, BTreeMap<usize, String>, bool)>,
}

impl Lines {
    pub(super) fn new(wanted: bool) -> Self {
        Self {
            wanted,
            state: Mutex::new((0, BTreeMap::new(), true)),
        }
    }

    fn take(&self, number: usize, line: impl FnOnce() -> Value) {
        if !self.wanted {
            return;
        }
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let (next, waiting, read) = &mut *state;
        waiting.insert(number, line().to_string());
        while let Some(line) = waiting.remove(next) {
            *next += 1;
            *read = *read && print_line(&line);
        }
    }

    /// Prints those that wait for a run that gave nothing; whether somebody read all.
    pub(super) fn finish(&self) -> bool {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let (_, waiting, read) = &mut *state;
        let rest = std::mem::take(waiting);
        *read && rest.values().all(|line| print_line(line))
    }
}

impl Done {
    pub(super) fn code(&self) -> ExitCode {
        if self.finished.outcome.left > 0 {
            ExitCode::from(INTERRUPTED)
        } else if !self.finished.holds() {
            ExitCode::from(GATE_FAILED)
        } else if self.finished.judged_nothing() {
            say("testnet: no gate could be judged:");
            for note in &self.finished.outcome.notes {
                say(&format!("  {note}"));
            }
            ExitCode::from(NOT_JUDGED)
        } else {
            ExitCode::SUCCESS
        }
    }
}

/// Whether a folder holds a report of which no run was left out.
fn holds_all(dir: &Path) -> bool {
    let text = fs::read_to_string(dir.join("outcome.json")).unwrap_or_default();
    serde_json::from_str::<Outcome>(&text).is_ok_and(|outcome| outcome.left == 0)
}

/// Where the report of an interrupted batch goes when a whole one is in its place.
fn interrupted_beside(dir: &Path) -> PathBuf {
    let mut name = dir.file_name().unwrap_or_default().to_os_string();
    name.push("-interrupted");
    dir.with_file_name(name)
}

/// The page, and the scenario beside it so that a replay needs nothing else.
pub(super) fn write_report(
    outcome: &Outcome,
    source: &Source,
    dir: &Path,
    quiet: bool,
) -> Result<(), ExitCode> {
    may_replace(dir, source).map_err(|error| fail(&error, DISK))?;
    let page = report::write(outcome, dir).map_err(|error| fail(&error, DISK))?;
    keep_scenario(&dir.join(SCENARIO_FILE), source)?;
    match quiet {
        true => say(&format!("report: {}", page.display())),
        false => {
            print_line(&format!("\nreport: {}", page.display()));
        }
    }
    Ok(())
}

/// The name of a report's copy of its scenario.
pub(super) const SCENARIO_FILE: &str = "scenario.toml";

/// Puts a scenario beside its report.
pub(super) fn keep_scenario(file: &Path, source: &Source) -> Result<(), ExitCode> {
    write_scenario(file, &source.text).map_err(|error| {
        let text = format!("{}: {error}; choose an empty directory", file.display());
        fail(&text, DISK)
    })
}

/// What a copy of a scenario begins with, before the digest of its other lines.
const COPY: &str = "# Copied beside its report, so that it can be replayed; sha1 of the rest: ";

/// A copy begins with a line that says so; a file that does not, or that was changed since, is
/// somebody's own.
fn write_scenario(file: &Path, text: &str) -> io::Result<()> {
    if fs::read_to_string(file).is_ok_and(|old| old == text) {
        return Ok(());
    }
    is_replaceable(file)?;
    let rest = copied(text).map_or(text, |(_, rest)| rest);
    fs::write(file, format!("{COPY}{}\n{rest}", digest(rest)))
}

/// An error if a file is there that is no copy as a report wrote it.
fn is_replaceable(file: &Path) -> io::Result<()> {
    let old = match fs::read_to_string(file) {
        Ok(old) => old,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    match copied(&old) {
        Some((said, rest)) if said == digest(rest) => Ok(()),
        Some(_) => Err(io::Error::other(
            "was changed since a report wrote it, and the changes would be lost",
        )),
        None => Err(io::Error::other("is there already and no report wrote it")),
    }
}

/// The digest that a copy says and what it is of.
fn copied(text: &str) -> Option<(&str, &str)> {
    text.strip_prefix(COPY)?.split_once('\n')
}

fn digest(text: &str) -> String {
    let digest = Sha1::digest(text.as_bytes());
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// An error if a folder holds the report of another scenario, or a copy of this one that somebody
/// has changed.
fn may_replace(dir: &Path, source: &Source) -> Result<(), String> {
    let file = dir.join(SCENARIO_FILE);
    if fs::read_to_string(&file).is_ok_and(|old| old == source.text) {
        return Ok(());
    }
    let text = fs::read_to_string(dir.join("outcome.json")).unwrap_or_default();
    if let Ok(earlier) = serde_json::from_str::<Outcome>(&text)
        && earlier.scenario != source.name
    {
        let dir = dir.display();
        let other = earlier.scenario;
        return Err(format!(
            "{dir} holds the report of {other}, which would be lost; name another folder"
        ));
    }
    is_replaceable(&file)
        .map_err(|error| format!("{}: {error}; name another folder", file.display()))
}

/// Each run on a line, then each gate.
pub(super) fn json(done: &Done) -> bool {
    let lines = lines::runs(&done.scenario, &done.finished.outcome);
    lines.iter().all(|line| print_line(&line.to_string())) && gate_lines(done)
}

/// Each gate on a line; all are `not run` if not all was run.
pub(super) fn gate_lines(done: &Done) -> bool {
    let gates = lines::gates(&done.finished.outcome);
    gates.into_iter().all(|line| print_line(&line.to_string()))
}

/// What a person reads.
pub(super) fn text(done: &Done) -> String {
    let (scenario, outcome) = (&done.scenario, &done.finished.outcome);
    let mut out = format!("{}: {}\n\n", scenario.name, scenario.title);
    if outcome.left > 0 {
        out += &format!("INCOMPLETE: {}\n\n", units::runs_not_made(outcome.left));
    }
    out += &cases(scenario, outcome).to_string();
    if !outcome.verdicts.is_empty() {
        out += &format!("\n{}", gates(outcome));
    }
    out.push('\n');
    for note in &outcome.notes {
        out += &format!("{note}\n");
    }
    if !scenario.held_against.is_empty() {
        out += &format!(
            "Held against: {}.\n",
            scenario.held_against.trim_end_matches('.')
        );
    }
    out += &cost(outcome);
    if !outcome.replay.is_empty() {
        out += &format!("again: {}\n", outcome.replay);
    }
    out
}

/// Figures that tell most, after those that a gate asks for.
const TELLING: [&str; 12] = [
    "seconds",
    "lb_seconds",
    "ratio",
    "complete",
    "utilisation",
    "success",
    "hops",
    "queries",
    "first_ms_p50",
    "first_ms_p99",
    "recall",
    "stale",
];

/// More columns than this do not fit.
const MOST_FIGURES: usize = 8;

fn cases(scenario: &Scenario, outcome: &Outcome) -> Table {
    let mut keys: Vec<&str> = Vec::new();
    for (key, _) in scenario.cases.iter().flat_map(|case| &case.settings) {
        if !keys.contains(&key.as_str()) {
            keys.push(key);
        }
    }
    let asked = scenario.gates.iter().map(|gate| gate.figure.as_str());
    let mut figures: Vec<&str> = Vec::new();
    for figure in asked.chain(TELLING) {
        let has = |case: &mainswarm_testnet::outcome::CaseOutcome| case.spread(figure).is_some();
        if !figures.contains(&figure) && outcome.cases.iter().any(has) {
            figures.push(figure);
        }
    }
    figures.truncate(MOST_FIGURES);
    let short = |key: &&str| -> String {
        let last = |key: &str| key.rsplit('.').next().unwrap_or_default().to_string();
        let alike = keys.iter().filter(|other| last(other) == last(key));
        match alike.count() {
            1 => last(key),
            _ => (*key).into(),
        }
    };
    let mut header: Vec<String> = keys.iter().map(short).collect();
    header.extend(figures.iter().map(ToString::to_string));
    let mut table = Table::new(header, keys.len());
    for case in &outcome.cases {
        let cell = |key: &&str| -> String {
            let setting = case.settings.iter().find(|(set, _)| set == key);
            setting.map_or_else(|| "-".into(), |(_, value)| value.clone())
        };
        let mut row: Vec<String> = keys.iter().map(cell).collect();
        row.extend(figures.iter().map(|figure| spread(case.spread(figure))));
        table.row(row);
    }
    table
}

pub(super) fn gates(outcome: &Outcome) -> Table {
    let header = ["verdict", "gate", "figure", "goal"];
    let mut table = Table::new(header.map(String::from).to_vec(), 2);
    for verdict in &outcome.verdicts {
        let shown = |value: Option<f64>| value.map_or_else(|| "-".into(), number);
        table.row(vec![
            verdict.verdict.clone(),
            verdict.gate.clone(),
            shown(verdict.figure),
            shown(verdict.goal),
        ]);
    }
    table
}

/// Speed, memory and fingerprint of all runs together.
pub(super) fn cost(outcome: &Outcome) -> String {
    let runs = || outcome.cases.iter().flat_map(|case| &case.runs);
    let memory = runs().map(|run| run.cost.peak_memory).max().unwrap_or(0);
    let memory = units::bytes(memory);
    let wall: f64 = runs().map(|run| run.cost.wall).sum();
    if outcome.engine != Engine::Sim.name() {
        return format!("{wall:.0} s of runs, peak memory {memory}\n");
    }
    let events: u64 = runs().map(|run| run.cost.events).sum();
    let running: f64 = runs()
        .map(|run| run.cost.running * run.cost.threads as f64)
        .sum();
    format!(
        "{:.3} M events, {:.3} M events/s/core, {wall:.1} s of runs, peak memory {memory}, trace {}\n",
        events as f64 / 1e6,
        events as f64 / 1e6 / running.max(1e-9),
        lines::trace(outcome)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_of_the_runs_does_not_take_the_place_of_all() {
        let dir = tempfile::tempdir().unwrap();
        let report = dir.path().join("out");
        fs::create_dir(&report).unwrap();
        assert!(!holds_all(&report));
        for (left, whole) in [(3, false), (0, true)] {
            let outcome = Outcome {
                left,
                ..Outcome::default()
            };
            let json = serde_json::to_vec(&outcome).unwrap();
            fs::write(report.join("outcome.json"), json).unwrap();
            assert_eq!(holds_all(&report), whole);
        }
        let beside = interrupted_beside(&report);
        assert_eq!(beside, dir.path().join("out-interrupted"));
    }
}
