//! `testnet up`: a private network for any client on this machine to join.

use std::{
    io::{self, IsTerminal},
    process::ExitCode,
    time::{Duration, Instant},
};

use clap::Args;
use indicatif::ProgressBar;
use mainswarm_testnet::live::{AddressRange, Counts, LiveNetwork};
use tokio::time::{MissedTickBehavior, interval};

use super::terminal::{BIND_FAILED, INTERRUPTED, fail, live_exit, print_line, unless_interrupted};

#[derive(Debug, Args)]
pub(crate) struct UpArgs {
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

/// `testnet up`: ends well with the first Ctrl-C once the network runs.
pub(crate) async fn up(args: UpArgs) -> ExitCode {
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
                    &format!(
                        "{error}; if an earlier `testnet up` still runs, end it or use its \
                         bootstrap address, or choose another --address-base or --port"
                    ),
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
