//! The `testnet` command: scenarios in virtual time and on real sockets, a private network to join,
//! and the main job shown on it.
//!
//! Results go to stdout, everything that moves goes to stderr.

#![warn(clippy::unwrap_used)]
#![expect(clippy::print_stderr, reason = "this is the command's own output")]

mod commands;

use std::{io, process::ExitCode, time::Duration};

use clap::{Parser, Subcommand};
use tracing_subscriber::EnvFilter;

use commands::{
    catalogue::{ListArgs, ShowArgs},
    demo::DemoArgs,
    export::{CollectArgs, ExportArgs},
    figure::FigureArgs,
    replay::ReplayArgs,
    run::RunArgs,
    terminal::{EXIT_CODES, fail, in_background},
    up::UpArgs,
};

/// The nodes of a large world are gigabytes in small pieces, read in no order. This allocator asks for
/// huge pages where the system has them, which spares most of the walks through the page tables.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Networks of mainswarm nodes on this machine.
#[derive(Debug, Parser)]
#[command(name = "testnet", version, max_term_width = 100, after_help = EXIT_CODES)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// The scenarios that are built in
    List(ListArgs),
    /// A scenario's file, to read or to copy: testnet show weak-seed > mine.toml
    Show(ShowArgs),
    /// Every key of a scenario file and every figure that a gate may ask for
    Keys,
    /// Run a scenario, built in or from a file, and hold it against its gates
    Run(RunArgs),
    /// The textbook's figure of distribution times, from runs of both architectures
    Figure(FigureArgs),
    /// Run again what a report holds, and say whether the same comes out
    Replay(ReplayArgs),
    /// Write a scenario as the files of another runner, for more than one machine
    Export(ExportArgs),
    /// Read what the nodes of an exported scenario wrote, and hold it against the gates
    Collect(CollectArgs),
    /// Run a private network until Ctrl-C, for any client on this machine to join
    Up(UpArgs),
    /// Share a file with peers that get nothing but its magnet, and measure it against the bounds
    Demo(DemoArgs),
    /// One node of a live run; its orders come on stdin
    #[command(hide = true)]
    Node,
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
        Err(error) => return fail(&format!("cannot start threads: {error}"), 1),
    };
    let code = runtime.block_on(dispatch(cli.command));
    // Nothing that still runs is worth waiting for: the folder of a demo is gone already.
    runtime.shutdown_timeout(Duration::from_secs(1));
    code
}

async fn dispatch(command: Command) -> ExitCode {
    match command {
        Command::List(args) => commands::catalogue::list(&args),
        Command::Show(args) => commands::catalogue::show(&args),
        Command::Keys => commands::catalogue::keys(),
        Command::Run(args) => in_background(move || commands::run::run(&args)).await,
        Command::Figure(args) => in_background(move || commands::figure::figure(&args)).await,
        Command::Replay(args) => in_background(move || commands::replay::replay(&args)).await,
        Command::Export(args) => commands::export::export(&args),
        Command::Collect(args) => commands::export::collect(&args),
        Command::Up(args) => commands::up::up(args).await,
        Command::Demo(args) => commands::demo::demo(args).await,
        Command::Node => match mainswarm_testnet::live::node::run_process().await {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => fail(&error, 1),
        },
    }
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
