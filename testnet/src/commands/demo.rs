//! `testnet demo`: the main job, shown on a private network of real nodes.

use std::process::ExitCode;

use clap::Args;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use mainswarm_testnet::{
    demo::{DemoError, Plan, Progress},
    units::{bytes, parse_rate, parse_size},
};

use super::terminal::{INTERRUPTED, fail, live_exit, print_line, session_exit, unless_interrupted};

#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// N: how many peers fetch the file
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=1000))]
    peers: u32,
    /// F: the file's size
    #[arg(long, default_value = "64MiB", value_parser = parse_size)]
    size: u64,
    /// u: each peer's upload limit
    #[arg(long, value_name = "RATE", default_value = "4MiB/s", value_parser = parse_rate)]
    up: u64,
    /// us: the seed's upload limit, a rate or so many times that of a peer
    #[arg(long, value_name = "RATE|TIMESx", default_value = "10x")]
    seed_up: SeedUp,
    /// Draws the file's bytes
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The report as one JSON object
    #[arg(long)]
    json: bool,
}

/// The seed's upload: bytes per second, or times a peer's.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum SeedUp {
    Rate(u64),
    Times(f64),
}

impl std::str::FromStr for SeedUp {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let Some(times) = text.strip_suffix('x') else {
            return parse_rate(text).map(Self::Rate);
        };
        match times.parse() {
            Ok(times) if (0.001..=1e6).contains(&times) => Ok(Self::Times(times)),
            _ => Err(format!("`{text}` is not a multiple; write it like 10x")),
        }
    }
}

impl DemoArgs {
    pub(crate) fn plan(&self) -> Plan {
        let seed_up = match self.seed_up {
            SeedUp::Rate(rate) => rate,
            // Both are bounded when they are read; at least one byte must flow.
            SeedUp::Times(times) => ((self.up as f64 * times) as u64).max(1),
        };
        Plan {
            peers: self.peers as usize,
            size: self.size,
            up: self.up,
            seed_up,
            seed: self.seed,
        }
    }
}

/// Runs it and prints the report.
pub(crate) async fn demo(args: DemoArgs) -> ExitCode {
    let plan = args.plan();
    let bar = demo_bar(plan.size.saturating_mul(plan.peers as u64));
    let run = mainswarm_testnet::demo::run(plan, |progress| draw(&bar, plan, progress));
    let outcome = unless_interrupted(run).await;
    bar.finish_and_clear();
    let report = match outcome {
        Some(Ok(report)) => report,
        Some(Err(error)) => return fail(&error, demo_exit(&error)),
        None => return ExitCode::from(INTERRUPTED),
    };
    let text = if args.json {
        report.to_json().to_string()
    } else {
        report.to_string()
    };
    if !print_line(text.trim_end()) {
        return ExitCode::FAILURE;
    }
    if report.all_identical() {
        ExitCode::SUCCESS
    } else {
        eprintln!("testnet: a copy differs from the file");
        ExitCode::from(5)
    }
}

/// Hidden by itself where stderr is no terminal.
fn demo_bar(total: u64) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr());
    let style = ProgressStyle::with_template(
        "{msg:.bold} [{bar:30}] {percent:>3} % {binary_bytes_per_sec} eta {eta}",
    );
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar
}

fn draw(bar: &ProgressBar, plan: Plan, progress: Progress) {
    match progress {
        Progress::Preparing => {
            bar.set_message(format!("making {} and a private network", bytes(plan.size)));
        }
        Progress::Fetching { bytes, done } => {
            if bar.position() == 0 {
                bar.reset_eta();
            }
            bar.set_message(format!("{done} of {} peers done", plan.peers));
            bar.set_position(bytes);
        }
        Progress::Comparing => bar.set_message("comparing every copy with the file"),
    }
}

fn demo_exit(error: &DemoError) -> u8 {
    match error {
        DemoError::Network(error) => live_exit(error),
        DemoError::Session(error) => session_exit(error),
        DemoError::File { .. } => 8,
        DemoError::Stuck { .. } => 4,
        _ => 1,
    }
}
