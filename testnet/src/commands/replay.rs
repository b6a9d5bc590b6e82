//! `testnet replay`: does the same come out again?

use std::{
    io,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Args, Parser};
use mainswarm_testnet::{
    input::{self, OUTPUT_MOST, SCENARIO_MOST},
    outcome::{CaseOutcome, Outcome, Run, Verdict},
    runner::{replay::words, shown},
    scenario::catalogue::Source,
};

use super::{
    figure::FIGURE_SCENARIO,
    run::{Lines, RunArgs, SCENARIO_FILE},
    terminal::{DIFFERS, GATE_FAILED, INTERRUPTED, USAGE, fail, load, print_line, say},
};
use crate::{Cli, Command};

#[derive(Debug, Args)]
pub(crate) struct ReplayArgs {
    /// The folder of a report, or its outcome.json
    #[arg(value_name = "DIR|FILE")]
    report: PathBuf,
    /// Threads [default: one for each core]; they change no result
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=1024))]
    threads: Option<u64>,
    /// One JSON object a line: each run with both traces, then each gate with both verdicts
    #[arg(long)]
    json: bool,
}

pub(crate) fn replay(args: &ReplayArgs) -> ExitCode {
    let all = match read(&args.report) {
        Ok(all) => all,
        Err(why) => return fail(&why, USAGE),
    };
    let mut count = Count::default();
    for saved in all {
        let mut job = saved.command.job(saved.source);
        job.threads = args.threads;
        let done = match job.execute(&Lines::new(false)) {
            Ok(done) => done,
            Err(code) => return code,
        };
        if done.finished.outcome.left > 0 {
            return ExitCode::from(INTERRUPTED);
        }
        count.failed |= !done.finished.failures.is_empty();
        if !count.compare(&saved.outcome, &done.finished.outcome, args.json) {
            return ExitCode::FAILURE;
        }
    }
    let Count {
        same,
        differ,
        verdicts,
        failed,
    } = count;
    let identical = differ == 0 && verdicts == 0;
    if !args.json {
        let word = match identical {
            true => "identical",
            false => "not identical",
        };
        let gates = match verdicts {
            0 => String::new(),
            1 => ", and the verdict of a gate differs".into(),
            _ => format!(", and the verdicts of {verdicts} gates differ"),
        };
        print_line(&format!("{word}: {same} of {} runs{gates}", same + differ));
    }
    match identical {
        true if !failed => ExitCode::SUCCESS,
        // The runs that failed then fail again: that is the same, and no success.
        true => ExitCode::from(GATE_FAILED),
        false => ExitCode::from(DIFFERS),
    }
}

/// How many runs came out the same, how many verdicts did not, and whether some runs gave nothing.
#[derive(Debug, Default)]
struct Count {
    same: usize,
    differ: usize,
    verdicts: usize,
    failed: bool,
}

impl Count {
    /// Holds a report against what came out again, and prints what differs, or all as JSON; `false`
    /// if nobody reads.
    fn compare(&mut self, before: &Outcome, again: &Outcome, json: bool) -> bool {
        self.runs(before, again, json)
            && self.missing(before, again, json)
            && self.gates(before, again, json)
    }

    /// Each run that the report has.
    fn runs(&mut self, before: &Outcome, again: &Outcome, json: bool) -> bool {
        let mut seen = Vec::new();
        for (case, run) in before
            .cases
            .iter()
            .flat_map(|case| case.runs.iter().map(move |run| (case, run)))
        {
            let trace = run.cost.trace.as_str();
            let after = trace_of(again, case, run.seed);
            let figures = figures_differ(again, case, run);
            // Said twice, a run would count twice.
            let twice = seen.contains(&(&case.settings, run.seed));
            seen.push((&case.settings, run.seed));
            let equal = after == Some(trace) && figures.is_none() && !twice;
            *if equal {
                &mut self.same
            } else {
                &mut self.differ
            } += 1;
            let (settings, seed) = (shown(&case.settings), run.seed);
            let line = if json {
                serde_json::json!({
                    "scenario": before.scenario,
                    "case": settings,
                    "seed": seed,
                    "before": trace,
                    "after": after,
                    "identical": equal,
                })
                .to_string()
            } else if equal {
                continue;
            } else if twice {
                format!("differs: {settings}, seed {seed}: the report has it twice")
            } else if let (true, Some(figure)) = (after == Some(trace), figures) {
                format!("differs: {settings}, seed {seed}: {figure}, and the trace is the same")
            } else {
                let after = after.unwrap_or("no run");
                format!("differs: {settings}, seed {seed}: trace {trace} then, {after} again")
            };
            if !print_line(&line) {
                return false;
            }
        }
        true
    }

    /// Runs that the report should have as well; of an interrupted batch as many may lack as it says.
    fn missing(&mut self, before: &Outcome, again: &Outcome, json: bool) -> bool {
        let runs = again.cases.iter().flat_map(|case| {
            let runs = case.runs.iter();
            runs.map(move |run| (case, run))
        });
        let lacks = |(case, run): &(&CaseOutcome, &Run)| trace_of(before, case, run.seed).is_none();
        let missing: Vec<(&CaseOutcome, &Run)> = runs.filter(lacks).collect();
        if missing.len() <= before.left {
            return true;
        }
        self.differ += missing.len();
        missing.into_iter().all(|(case, run)| {
            let (settings, seed, trace) = (shown(&case.settings), run.seed, &run.cost.trace);
            print_line(&match json {
                true => serde_json::json!({
                    "scenario": before.scenario,
                    "case": settings,
                    "seed": seed,
                    "before": null,
                    "after": trace,
                    "identical": false,
                })
                .to_string(),
                false => format!("differs: {settings}, seed {seed}: the report has no such run"),
            })
        })
    }

    /// What was said of each gate, but for those about the machine.
    fn gates(&mut self, before: &Outcome, again: &Outcome, json: bool) -> bool {
        let of = |outcome: &Outcome| -> Vec<Verdict> {
            let about = |verdict: &&Verdict| {
                let figure = verdict.gate.split(' ').next().unwrap_or_default();
                !MACHINE.contains(&figure)
            };
            outcome.verdicts.iter().filter(about).cloned().collect()
        };
        let (then, again) = (of(before), of(again));
        for at in 0..then.len().max(again.len()) {
            let (then, again) = (then.get(at), again.get(at));
            let equal = match (then, again) {
                // An interrupted batch judges nothing.
                (Some(then), Some(again)) if before.left > 0 => {
                    then.gate == again.gate && then.verdict == "not run"
                }
                (Some(then), Some(again)) => same_verdict(then, again),
                _ => false,
            };
            self.verdicts += usize::from(!equal);
            let said = |verdict: Option<&Verdict>| match verdict {
                Some(Verdict {
                    verdict, figure, ..
                }) => match figure {
                    Some(figure) => format!("{verdict} with {figure}"),
                    None => verdict.clone(),
                },
                None => "no such gate".into(),
            };
            let gate = then.or(again).map_or("", |verdict| verdict.gate.as_str());
            let line = match json {
                true => serde_json::json!({
                    "scenario": before.scenario,
                    "gate": gate,
                    "before": then.map(|verdict| &verdict.verdict),
                    "after": again.map(|verdict| &verdict.verdict),
                    "identical": equal,
                })
                .to_string(),
                false if equal => continue,
                false => format!(
                    "differs: gate {gate}: {} then, {} again",
                    said(then),
                    said(again)
                ),
            };
            if !print_line(&line) {
                return false;
            }
        }
        true
    }
}

fn same_verdict(a: &Verdict, b: &Verdict) -> bool {
    let same = |a: Option<f64>, b: Option<f64>| match (a, b) {
        (Some(a), Some(b)) => alike(a, b),
        (a, b) => a == b,
    };
    // What is no number is not kept.
    let kept = |value: Option<f64>| value.filter(|value| value.is_finite());
    a.gate == b.gate
        && a.verdict == b.verdict
        && same(kept(a.figure), kept(b.figure))
        && same(kept(a.goal), kept(b.goal))
}

/// Figures of the machine: they do not come again.
const MACHINE: [&str; 3] = ["wall_seconds", "peak_memory_gib", "speed"];

/// A figure that is another than the report says, the machine's own left out.
fn figures_differ(outcome: &Outcome, case: &CaseOutcome, before: &Run) -> Option<String> {
    let mut cases = outcome.cases.iter();
    let same = cases.find(|other| other.settings == case.settings)?;
    let after = same.runs.iter().find(|run| run.seed == before.seed)?;
    let names = before.figures.keys().chain(after.figures.keys());
    let mut names = names.filter(|name| !MACHINE.contains(&name.as_str()));
    // What is no number is not kept.
    let kept = |run: &Run, name: &str| {
        let value = run.figures.get(name).copied();
        value.filter(|value| value.is_finite())
    };
    let differs = names.find(|name| match (kept(before, name), kept(after, name)) {
        (Some(then), Some(again)) => !alike(then, again),
        (then, again) => then != again,
    })?;
    let value = |run: &Run| {
        let value = kept(run, differs);
        value.map_or_else(|| "nothing".to_string(), |value| value.to_string())
    };
    Some(format!(
        "{differs} {} then, {} again",
        value(before),
        value(after)
    ))
}

/// The last digit of a number may get lost on its way through JSON.
fn alike(a: f64, b: f64) -> bool {
    (a - b).abs() <= 1e-12 * a.abs().max(b.abs())
}

fn trace_of<'a>(outcome: &'a Outcome, case: &CaseOutcome, seed: u64) -> Option<&'a str> {
    let mut cases = outcome.cases.iter();
    let same = cases.find(|other| other.settings == case.settings)?;
    let run = same.runs.iter().find(|run| run.seed == seed)?;
    Some(&run.cost.trace)
}

/// What a report says was run.
struct Saved {
    outcome: Outcome,
    command: RunArgs,
    source: Source,
}

fn file_text(file: &Path, most: u64) -> io::Result<String> {
    let bytes = input::read(file, most)?;
    String::from_utf8(bytes).map_err(|_| io::ErrorKind::InvalidData.into())
}

const ADVICE: &str =
    "name the folder that `testnet run --report` or `testnet figure --report` wrote";

/// A folder's runs: those of a scenario's report, or of a figure.
fn read(report: &Path) -> Result<Vec<Saved>, String> {
    let file = match report.is_dir() {
        true => {
            let single = report.join("outcome.json");
            let figure = report.join("figure-2-23.json");
            if figure.exists() && !single.exists() {
                figure
            } else {
                single
            }
        }
        false => report.to_path_buf(),
    };
    let shown = file.display();
    let text =
        file_text(&file, OUTPUT_MOST).map_err(|error| format!("{shown}: {error}; {ADVICE}"))?;
    let is_figure = text.trim_start().starts_with('[');
    let outcomes: Vec<Outcome> = match is_figure {
        true => serde_json::from_str(&text),
        false => serde_json::from_str(&text).map(|outcome| vec![outcome]),
    }
    .map_err(|error| format!("{shown} is no outcome of a run: {error}; {ADVICE}"))?;
    let beside = file.with_file_name(match is_figure {
        true => FIGURE_SCENARIO,
        false => SCENARIO_FILE,
    });
    let (mut all, mut live) = (Vec::new(), None);
    for outcome in outcomes {
        if outcome.cases.iter().all(|case| case.runs.is_empty()) {
            return Err(format!("{shown} holds no run; {ADVICE}"));
        }
        let line = words(&outcome.replay).unwrap_or_default();
        let command = match Cli::try_parse_from(line).map(|cli| cli.command) {
            Ok(Command::Run(command)) => command,
            _ => {
                return Err(format!(
                    "{shown} does not say how it was run (`{}`); {ADVICE}",
                    outcome.replay
                ));
            }
        };
        if command.is_live() {
            let why = "real time does not come again";
            live = Some(format!("{why}; run it anew: {}", outcome.replay));
            continue;
        }
        let source = match file_text(&beside, SCENARIO_MOST) {
            Ok(text) => Source {
                name: outcome.scenario.clone(),
                file: beside.display().to_string(),
                text,
            },
            Err(_) => {
                let source = load(command.scenario())?;
                say(&format!(
                    "testnet: no {} beside {shown}; the scenario is read from {}",
                    beside.file_name().unwrap_or_default().display(),
                    source.file
                ));
                source
            }
        };
        all.push(Saved {
            outcome,
            command,
            source,
        });
    }
    match live {
        Some(live) if all.is_empty() => Err(format!("{shown} is of a live run, and {live}")),
        Some(live) => {
            say(&format!(
                "testnet: the live runs of {shown} are left out: {live}"
            ));
            Ok(all)
        }
        None if all.is_empty() => Err(format!("{shown} holds no run; {ADVICE}")),
        None => Ok(all),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_compared_as_far_as_json_keeps_them() {
        let outcome = |value: f64| {
            let mut run = Run::default();
            run.figures.insert("ratio".into(), value);
            run.figures.insert("speed".into(), value);
            let (settings, runs) = (Vec::new(), vec![run]);
            Outcome {
                cases: vec![CaseOutcome { settings, runs }],
                ..Outcome::default()
            }
        };
        let before = outcome(1.2).cases.remove(0);
        let differ = |value: f64| figures_differ(&outcome(value), &before, &before.runs[0]);
        assert_eq!(differ(1.2 + 1e-15), None);
        assert_eq!(differ(1.3).unwrap(), "ratio 1.2 then, 1.3 again");
        assert_eq!(differ(f64::NAN).unwrap(), "ratio 1.2 then, nothing again");
        let mut lost = before.clone();
        lost.runs[0].figures.remove("ratio");
        let endless = figures_differ(&outcome(f64::INFINITY), &lost, &lost.runs[0]);
        assert_eq!(endless, None);
    }
}
