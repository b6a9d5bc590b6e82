//! `testnet replay`: does the same come out again?

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Args, Parser};
use mainswarm_testnet::{
    outcome::{CaseOutcome, Outcome, Run},
    runner::{replay::words, shown},
    scenario::catalogue::{self, Source},
};

use super::{
    run::{Lines, RunArgs, SCENARIO_FILE},
    terminal::{DIFFERS, GATE_FAILED, INTERRUPTED, USAGE, fail, print_line},
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
    /// One JSON object a line: each run with both traces
    #[arg(long)]
    json: bool,
}

pub(crate) fn replay(args: &ReplayArgs) -> ExitCode {
    let saved = match read(&args.report) {
        Ok(saved) => saved,
        Err(why) => return fail(&why, USAGE),
    };
    let mut job = saved.command.job(saved.source);
    job.threads = args.threads;
    let done = match job.execute(&Lines::new(false)) {
        Ok(done) => done,
        Err(code) => return code,
    };
    if done.finished.outcome.left > 0 {
        return ExitCode::from(INTERRUPTED);
    }
    let (mut same, mut differ) = (0, 0);
    let again = &done.finished.outcome;
    for case in &saved.outcome.cases {
        for run in &case.runs {
            let before = run.cost.trace.as_str();
            let after = trace_of(again, case, run.seed);
            let figures = figures_differ(again, case, run);
            let equal = after == Some(before) && figures.is_none();
            if equal {
                same += 1;
            } else {
                differ += 1;
            }
            let line = if args.json {
                serde_json::json!({
                    "scenario": saved.outcome.scenario,
                    "case": shown(&case.settings),
                    "seed": run.seed,
                    "before": before,
                    "after": after,
                    "identical": equal,
                })
                .to_string()
            } else if equal {
                continue;
            } else if let (true, Some(figure)) = (after == Some(before), figures) {
                let (settings, seed) = (shown(&case.settings), run.seed);
                format!("differs: {settings}, seed {seed}: {figure}, and the trace is the same")
            } else {
                format!(
                    "differs: {}, seed {}: trace {before} then, {} again",
                    shown(&case.settings),
                    run.seed,
                    after.unwrap_or("no run"),
                )
            };
            if !print_line(&line) {
                return ExitCode::FAILURE;
            }
        }
    }
    if !args.json {
        let verdict = match differ {
            0 => "identical",
            _ => "not identical",
        };
        print_line(&format!("{verdict}: {same} of {} runs", same + differ));
    }
    match differ {
        0 if done.finished.failures.is_empty() => ExitCode::SUCCESS,
        // The runs that failed then fail again: that is the same, and no success.
        0 => ExitCode::from(GATE_FAILED),
        _ => ExitCode::from(DIFFERS),
    }
}

/// A figure that is another than the report says, the machine's own left out.
fn figures_differ(outcome: &Outcome, case: &CaseOutcome, before: &Run) -> Option<String> {
    const MACHINE: [&str; 3] = ["wall_seconds", "peak_memory_gib", "speed"];
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

fn read(report: &Path) -> Result<Saved, String> {
    let file = match report.is_dir() {
        true => report.join("outcome.json"),
        false => report.to_path_buf(),
    };
    let advice = "name the folder that `testnet run --report` wrote";
    let shown = file.display();
    let text = fs::read_to_string(&file).map_err(|error| format!("{shown}: {error}; {advice}"))?;
    let outcome: Outcome = serde_json::from_str(&text)
        .map_err(|error| format!("{shown} is no outcome of a run: {error}; {advice}"))?;
    if outcome.cases.iter().all(|case| case.runs.is_empty()) {
        return Err(format!("{shown} holds no run; {advice}"));
    }
    let line = words(&outcome.replay).unwrap_or_default();
    let command = match Cli::try_parse_from(line).map(|cli| cli.command) {
        Ok(Command::Run(command)) => command,
        _ => {
            return Err(format!(
                "{shown} does not say how it was run (`{}`); {advice}",
                outcome.replay
            ));
        }
    };
    if command.is_live() {
        return Err(format!(
            "{shown} is of a live run, and real time does not come again; run it anew: {}",
            outcome.replay
        ));
    }
    let beside = file.with_file_name(SCENARIO_FILE);
    let source = match fs::read_to_string(&beside) {
        Ok(text) => Source {
            name: outcome.scenario.clone(),
            file: beside.display().to_string(),
            text,
        },
        Err(_) => {
            let source = catalogue::load(command.scenario()).map_err(|error| error.to_string())?;
            eprintln!(
                "testnet: no {SCENARIO_FILE} beside {shown}; the scenario is read from {}",
                source.file
            );
            source
        }
    };
    Ok(Saved {
        outcome,
        command,
        source,
    })
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
