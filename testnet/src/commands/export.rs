//! `testnet export` and `testnet collect`: a scenario on more machines than this one.

use std::{path::PathBuf, process::ExitCode};

use clap::Args;
use mainswarm_testnet::{
    collect,
    export::{self, Target},
    runner::{Finished, replay},
    scenario::{Choice, Scenario, catalogue, parse},
};

use super::{
    run::{Done, json, text, write_report},
    terminal::{DISK, USAGE, fail, load, print_line, say},
};

#[derive(Debug, Args)]
pub(crate) struct ExportArgs {
    #[command(flatten)]
    which: Which,
    /// `shadow`, `k8s` or `compose`
    #[arg(long, value_name = "RUNNER")]
    to: Target,
    /// Where the files go
    #[arg(short, long, value_name = "DIR")]
    output: PathBuf,
    /// Replace files there even if they were changed or are not an export's
    #[arg(long)]
    force: bool,
}

#[derive(Debug, Args)]
pub(crate) struct CollectArgs {
    #[command(flatten)]
    which: Which,
    /// What the nodes wrote: files, or folders of them
    #[arg(long, value_name = "PATH", required = true, num_args = 1..)]
    from: Vec<PathBuf>,
    /// Which case of the scenario was run, as an export numbers them
    #[arg(long, default_value_t = 1)]
    case: usize,
    /// Write a page, figures and outcome.json into a folder
    #[arg(long, value_name = "DIR")]
    report: Option<PathBuf>,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
}

impl CollectArgs {
    /// The line that collects the same again.
    fn command(&self) -> String {
        let mut words = vec!["testnet".to_string(), "collect".into()];
        words.push(self.which.scenario.clone());
        if self.which.quick {
            words.push("--quick".into());
        }
        let set = self.which.set.iter();
        words.extend(set.flat_map(|set| ["--set".into(), set.clone()]));
        words.extend(["--case".into(), self.case.to_string(), "--from".into()]);
        let from = self.from.iter();
        words.extend(from.map(|path| path.display().to_string()));
        replay::line(&words)
    }
}

/// A scenario without a run.
#[derive(Debug, Args)]
struct Which {
    /// A name or number of `testnet list`, or a file
    #[arg(value_name = "NAME|FILE")]
    scenario: String,
    /// Put a value in place of the file's
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// The scenario's short form
    #[arg(long)]
    quick: bool,
}

impl Which {
    fn read(&self) -> Result<(catalogue::Source, Scenario), ExitCode> {
        let source = load(&self.scenario).map_err(|error| fail(&error, USAGE))?;
        let choice = Choice {
            quick: self.quick,
            set: self.set.clone(),
            ..Choice::default()
        };
        let scenario = parse(&source.name, &source.file, &source.text, &choice);
        let scenario = scenario.map_err(|error| fail(&error, USAGE))?;
        Ok((source, scenario))
    }
}

pub(crate) fn export(args: &ExportArgs) -> ExitCode {
    let scenario = match args.which.read() {
        Ok((_, scenario)) => scenario,
        Err(code) => return code,
    };
    match export::write(&scenario, args.to, &args.output, args.force) {
        Ok(files) => {
            let printed = files
                .iter()
                .all(|file| print_line(&file.display().to_string()));
            if printed {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            }
        }
        Err(error @ export::ExportError::Unsupported { .. }) => fail(&error, USAGE),
        Err(error) => fail(&error, DISK),
    }
}

pub(crate) fn collect(args: &CollectArgs) -> ExitCode {
    let (source, mut scenario) = match args.which.read() {
        Ok(read) => read,
        Err(code) => return code,
    };
    let mut collected = match collect::read(&scenario, args.case, &args.from) {
        Ok(collected) => collected,
        Err(error) => {
            use collect::CollectError::{Beyond, Other, OtherSeed};
            let code = match error {
                Other { .. } | OtherSeed { .. } | Beyond { .. } => USAGE,
                _ => 1,
            };
            return fail(&error, code);
        }
    };
    collected.outcome.replay = args.command();
    if !collected.silent.is_empty() {
        say(&format!(
            "testnet: {}",
            collect::nothing_from(&collected.silent)
        ));
    }
    for line in &collected.bad_lines {
        say(&format!("testnet: skipped {line}"));
    }
    let index = args.case.saturating_sub(1);
    scenario.cases = scenario.cases.into_iter().skip(index).take(1).collect();
    let done = Done {
        scenario,
        finished: Finished {
            outcome: collected.outcome,
            failures: Vec::new(),
        },
    };
    let printed = match args.json {
        true => json(&done),
        false => print_line(text(&done).trim_end()),
    };
    if let Some(dir) = &args.report
        && let Err(code) = write_report(&done.finished.outcome, &source, dir, args.json)
    {
        return code;
    }
    if !printed {
        return ExitCode::FAILURE;
    }
    done.code()
}
