//! The `testnet` command: a private network to join, and the main job shown on it.
//!
//! Results go to stdout, everything that moves goes to stderr.

#![warn(clippy::unwrap_used)]
#![expect(clippy::print_stderr, reason = "this is the command's own output")]

use std::{
    io::{self, IsTerminal, Write},
    process::ExitCode,
    time::{Duration, Instant},
};

use clap::{Args, Parser, Subcommand};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use mainswarm::session::SessionError;
use mainswarm_testnet::{
    demo::{self, DemoError, Plan, Progress},
    live::{AddressRange, Counts, LiveError, LiveNetwork},
    units::{bytes, parse_rate, parse_size},
};
use tokio::time::{MissedTickBehavior, interval};
use tracing_subscriber::EnvFilter;

/// Networks of mainswarm nodes on this machine.
#[derive(Debug, Parser)]
#[command(name = "testnet", version, max_term_width = 100, after_help = EXIT_CODES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  another failure
  2  wrong usage
  4  peers got stuck
  5  a copy differs from the file
  6  an address cannot be bound
  7  interrupted with work left
  8  disk";

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a private network until Ctrl-C, for any client on this machine to join
    Up(UpArgs),
    /// Share a file with peers that get nothing but its magnet, and measure it against the bounds
    Demo(DemoArgs),
}

#[derive(Debug, Args)]
struct UpArgs {
    /// How many nodes
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(2..))]
    nodes: u32,
    /// Where their addresses start: a network, or the first address
    #[arg(long, value_name = "ADDRESS[/PREFIX]", default_value = "127.1.0.0/16")]
    address_base: AddressRange,
    /// The port of every node; 0 gives each a free one
    #[arg(long, default_value_t = 6881)]
    port: u16,
    /// One JSON object a line on stdout: the bootstrap address, then the live numbers
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct DemoArgs {
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
enum SeedUp {
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
    fn plan(&self) -> Plan {
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

fn main() -> ExitCode {
    let cli = Cli::parse();
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::try_from_default_env().unwrap_or_else(|_| "error".into()))
        .with_writer(io::stderr)
        .init();
    raise_file_limit();
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("testnet: cannot start threads: {error}");
            return ExitCode::FAILURE;
        }
    };
    let code = runtime.block_on(async {
        match cli.command {
            Command::Up(args) => up(args).await,
            Command::Demo(args) => show(args).await,
        }
    });
    // Nothing that still runs is worth waiting for: the folder of a demo is gone already.
    runtime.shutdown_timeout(Duration::from_secs(1));
    code
}

/// `testnet up`: ends well with the first Ctrl-C once the network runs.
async fn up(args: UpArgs) -> ExitCode {
    let started = Instant::now();
    let nodes = args.nodes as usize;
    let start = async {
        let network = LiveNetwork::start(args.address_base, args.port, nodes).await?;
        let joined = network.joined(Duration::from_secs(10)).await;
        Ok((network, joined))
    };
    let (network, joined) = match unless_interrupted(start).await {
        Some(Ok(started)) => started,
        Some(Err(error)) => {
            let code = live_exit(&error);
            if code == BIND_FAILED {
                return fail(
                    &format!("{error}; choose another --address-base or --port"),
                    code,
                );
            }
            return fail(&error, code);
        }
        None => return ExitCode::from(INTERRUPTED),
    };
    let Some(bootstrap) = network.bootstrap() else {
        return ExitCode::FAILURE;
    };
    let first = if args.json {
        serde_json::json!({ "bootstrap": bootstrap, "nodes": nodes }).to_string()
    } else {
        format!("bootstrap {bootstrap}")
    };
    if !print_line(&first) {
        return ExitCode::FAILURE;
    }
    let took = started.elapsed().as_secs_f64();
    eprintln!("{joined} of {nodes} nodes joined each other in {took:.1} s; Ctrl-C stops them");
    unless_interrupted(watch(&network, args.json)).await;
    eprintln!("stopping");
    // A second Ctrl-C ends it at once.
    unless_interrupted(network.shutdown()).await;
    ExitCode::SUCCESS
}

/// Prints the live numbers until stdout is closed, for ever without `--json`.
async fn watch(network: &LiveNetwork, json: bool) {
    let terminal = io::stderr().is_terminal();
    let bar = if terminal {
        ProgressBar::new_spinner()
    } else {
        ProgressBar::hidden()
    };
    let started = Instant::now();
    let every = Duration::from_secs(if terminal { 1 } else { 5 });
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut before, mut then) = (network.counts(), Instant::now());
    ticks.tick().await;
    loop {
        ticks.tick().await;
        let (counts, now) = (network.counts(), Instant::now());
        let queries = counts.queries.saturating_sub(before.queries) as f64
            / now.saturating_duration_since(then).as_secs_f64();
        (before, then) = (counts, now);
        if json {
            let line = serde_json::json!({
                "seconds": started.elapsed().as_secs_f64(),
                "counts": counts,
                "queries_per_second": queries,
            });
            if !print_line(&line.to_string()) {
                return;
            }
        } else if terminal {
            bar.set_message(live_line(&counts, queries));
            bar.tick();
        } else {
            eprintln!("{}", live_line(&counts, queries));
        }
    }
}

fn live_line(counts: &Counts, queries: f64) -> String {
    format!(
        "{} nodes up, tables {} to {} (median {}), {} announces stored, {queries:.0} queries/s",
        counts.nodes, counts.table_min, counts.table_max, counts.table_median, counts.announces
    )
}

/// `testnet demo`.
async fn show(args: DemoArgs) -> ExitCode {
    let plan = args.plan();
    let bar = demo_bar(plan.size.saturating_mul(plan.peers as u64));
    let run = demo::run(plan, |progress| draw(&bar, plan, progress));
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

fn live_exit(error: &LiveError) -> u8 {
    match error {
        LiveError::RangeFull { .. } => 2,
        LiveError::Node { source, .. } => session_exit(source),
        _ => 1,
    }
}

fn session_exit(error: &SessionError) -> u8 {
    match error {
        SessionError::Bind { .. } => BIND_FAILED,
        _ => 1,
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

fn fail(error: &dyn std::fmt::Display, code: u8) -> ExitCode {
    eprintln!("testnet: {error}");
    ExitCode::from(code)
}

/// Whether somebody still reads: `testnet up | head -1` must not panic.
fn print_line(line: &str) -> bool {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}").and_then(|()| out.flush()).is_ok()
}

const BIND_FAILED: u8 = 6;
const INTERRUPTED: u8 = 7;

/// The outcome, or `None` if Ctrl-C or a request to end came first.
async fn unless_interrupted<T>(work: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        outcome = work => Some(outcome),
        () = interrupted() => None,
    }
}

async fn interrupted() {
    let ctrl_c = async {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        () = ctrl_c => {}
        () = terminated() => {}
    }
}

#[cfg(unix)]
async fn terminated() {
    use tokio::signal::unix::{SignalKind, signal};
    match signal(SignalKind::terminate()) {
        Ok(mut signals) => {
            signals.recv().await;
        }
        Err(_) => std::future::pending().await,
    }
}

#[cfg(not(unix))]
async fn terminated() {
    std::future::pending().await
}

/// A node takes a handful of descriptors; many systems grant 1,024 until asked for more.
fn raise_file_limit() {
    #[cfg(unix)]
    {
        use rustix::process::{Resource, getrlimit, setrlimit};
        let mut limit = getrlimit(Resource::Nofile);
        limit.current = limit.maximum;
        // Without it large networks fail to bind, with a message of their own.
        let _ = setrlimit(Resource::Nofile, limit);
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_seeds_rate_is_absolute_or_a_multiple() {
        let plan = |line: &str| {
            let cli = Cli::try_parse_from(line.split(' ')).unwrap();
            let Command::Demo(args) = cli.command else {
                panic!("{line}");
            };
            args.plan()
        };
        assert_eq!(plan("testnet demo").seed_up, 40 << 20);
        assert_eq!(
            plan("testnet demo --up 1MiB --seed-up 1.5x").seed_up,
            3 << 19
        );
        assert_eq!(plan("testnet demo --seed-up 1MiB/s").seed_up, 1 << 20);
        for line in [
            "testnet demo --seed-up 0x",
            "testnet demo --seed-up -1x",
            "testnet demo --seed-up x",
            "testnet demo --peers 0",
            "testnet demo --size 0",
            "testnet up --nodes 1",
            "testnet up --address-base ::1",
        ] {
            assert!(Cli::try_parse_from(line.split(' ')).is_err(), "{line}");
        }
    }
}
