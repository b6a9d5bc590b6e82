//! `testnet figure 2.23`: the textbook's figure, measured.

use std::{collections::BTreeMap, process::ExitCode};

use clap::{Args, ValueEnum, builder::PossibleValuesParser};
use mainswarm_testnet::{
    bound,
    outcome::{CaseOutcome, Outcome},
    report,
    scenario::{Architecture, Engine, Plan, SwarmPlan, catalogue},
    units,
};

use super::{
    run::{BatchArgs, Done, Lines, cost, gate_lines, gates, keep_scenario},
    table::{Table, number, spread},
    terminal::{DISK, GATE_FAILED, INTERRUPTED, NOT_JUDGED, USAGE, fail, print_line, say},
};

#[derive(Debug, Args)]
pub(crate) struct FigureArgs {
    /// Which one
    #[arg(value_parser = PossibleValuesParser::new(["2.23"]))]
    figure: String,
    /// Virtual time, real sockets, or one after the other in one figure
    #[arg(long, value_enum, default_value = "sim")]
    engine: Engines,
    #[command(flatten)]
    batch: BatchArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Engines {
    Sim,
    Live,
    Both,
}

/// The scenario that the figure is drawn from.
const SCENARIO: &str = "fig-2-23";

/// Its copy beside the figure, which has the name of the figure's other files.
pub(super) const FIGURE_SCENARIO: &str = "figure-2-23.toml";

pub(crate) fn figure(args: &FigureArgs) -> ExitCode {
    let engines: &[Engine] = match args.engine {
        Engines::Sim => &[Engine::Sim],
        Engines::Live => &[Engine::Live],
        Engines::Both => &[Engine::Sim, Engine::Live],
    };
    if let Some(dir) = &args.batch.report
        && let Err(error) = report::prepare(dir, report::FIGURE_PAGE)
    {
        return fail(&error, DISK);
    }
    let mut outcomes: Vec<Outcome> = Vec::new();
    let mut scenario = None;
    let (mut holds, mut judged, mut left) = (true, false, 0);
    for engine in engines {
        let source = match catalogue::load(SCENARIO) {
            Ok(source) => source,
            Err(error) => return fail(&error, USAGE),
        };
        let mut job = args.batch.job(source, *engine);
        let chosen = |set: &String| {
            let key = set.split('=').next().unwrap_or_default();
            key.trim().ends_with("architecture")
        };
        // The short form has peers only, and the figure is about both.
        if job.choice.quick && *engine == Engine::Sim && !job.choice.set.iter().any(chosen) {
            let both = "swarm.architecture=p2p,client-server".to_string();
            job.choice.set.insert(0, both);
        }
        let lines = Lines::new(args.batch.json);
        let done = match job.execute(&lines) {
            Ok(done) => done,
            Err(code) => return code,
        };
        left += done.finished.outcome.left;
        holds &= done.finished.holds();
        judged |= !done.finished.judged_nothing();
        let printed = match args.batch.json {
            true => lines.finish() && gate_lines(&done),
            false => print_line(text(&done).trim_end()) && print_line(""),
        };
        if !printed {
            return ExitCode::FAILURE;
        }
        outcomes.push(done.finished.outcome);
        scenario = Some(job.source);
        if left > 0 {
            break;
        }
    }
    if let Some(dir) = &args.batch.report {
        let page = match report::figure_2_23(&outcomes, dir) {
            Ok(page) => page,
            Err(error) => return fail(&error, DISK),
        };
        // What a replay needs.
        if let Some(source) = scenario {
            let file = dir.join(FIGURE_SCENARIO);
            if let Err(code) = keep_scenario(&file, &source) {
                return code;
            }
        }
        match args.batch.json {
            true => say(&format!("figure: {}", page.display())),
            false => {
                print_line(&format!("figure: {}", page.display()));
            }
        }
    }
    match (holds, judged) {
        _ if left > 0 => ExitCode::from(INTERRUPTED),
        (true, true) => ExitCode::SUCCESS,
        (true, false) => ExitCode::from(NOT_JUDGED),
        (false, _) => ExitCode::from(GATE_FAILED),
    }
}

fn text(done: &Done) -> String {
    let outcome = &done.finished.outcome;
    let mut out = format!(
        "{}Distribution time in units of F/u, engine {}: equations and what was measured\n\n{}\n{}\n",
        match outcome.left {
            0 => String::new(),
            left => format!("INCOMPLETE: {}\n\n", units::runs_not_made(left)),
        },
        outcome.engine,
        points(done),
        gates(outcome)
    );
    for note in &outcome.notes {
        out += &format!("{note}\n");
    }
    out += &cost(outcome);
    out += &format!("again: {}\n", outcome.replay);
    out
}

/// One row for each N, both architectures side by side: the equations, and what was measured if it
/// was.
fn points(done: &Done) -> Table {
    let header = [
        "N",
        "D_cs eq. 2.1",
        "D_cs measured",
        "D_p2p eq. 2.2",
        "LB",
        "D_p2p measured",
        "ratio to LB",
    ];
    let mut table = Table::new(header.map(String::from).to_vec(), 0);
    let cases = done.scenario.cases.iter().zip(&done.finished.outcome.cases);
    let mut rows: BTreeMap<usize, Row<'_>> = BTreeMap::new();
    for (case, outcome) in cases {
        let Some(swarm) = &case.plan.swarm else {
            continue;
        };
        let row = rows.entry(case.plan.leechers()).or_default();
        row.unit = swarm.file_time.as_secs_f64();
        row.equations = equations(&case.plan, swarm);
        match swarm.architecture {
            Architecture::ClientServer => row.client_server = Some(outcome),
            Architecture::PeerToPeer => row.p2p = Some(outcome),
        }
    }
    for (n, row) in rows {
        let equation = |at: usize| {
            let seconds = row.equations.map(|equations| equations[at]);
            seconds.map_or_else(|| "-".into(), |seconds| number(seconds / row.unit))
        };
        let measured = |outcome: Option<&CaseOutcome>| {
            let median = outcome.and_then(|outcome| outcome.spread("seconds"));
            median.map_or_else(|| "-".into(), |spread| number(spread.median / row.unit))
        };
        table.row(vec![
            n.to_string(),
            equation(0),
            measured(row.client_server),
            equation(1),
            equation(2),
            measured(row.p2p),
            spread(row.p2p.and_then(|outcome| outcome.spread("ratio"))),
        ]);
    }
    table
}

#[derive(Default)]
struct Row<'a> {
    /// F/u in seconds.
    unit: f64,
    equations: Option<[f64; 3]>,
    client_server: Option<&'a CaseOutcome>,
    p2p: Option<&'a CaseOutcome>,
}

/// Equations 2.1 and 2.2 and the bound with pieces, in seconds; none if an uplink is unlimited.
fn equations(plan: &Plan, swarm: &SwarmPlan) -> Option<[f64; 3]> {
    let (mut server, mut peers, mut slowest) = (0.0, Vec::new(), f64::INFINITY);
    for (class, size) in plan.classes.iter().zip(plan.sizes()) {
        if class.complete {
            server += class.up? * size as f64;
            continue;
        }
        peers.resize(peers.len() + size, class.up?);
        slowest = class.down.unwrap_or(f64::INFINITY).min(slowest);
    }
    let (file, n) = (swarm.file_len() as f64, peers.len());
    Some([
        bound::client_server(n, file, server, slowest),
        bound::p2p_fluid(file, server, &peers, slowest),
        bound::lb(file, swarm.pieces, server, &peers, slowest),
    ])
}

#[cfg(test)]
mod tests {
    use mainswarm_testnet::scenario::{Choice, parse};

    use super::*;

    #[test]
    fn the_equations_are_the_textbooks() {
        let source = catalogue::load(SCENARIO).unwrap();
        let scenario = parse(SCENARIO, SCENARIO, &source.text, &Choice::default()).unwrap();
        let rows = [
            (0, [0.0, 0.0]),
            (1, [0.1, 0.1]),
            (10, [1.0, 0.5]),
            (35, [3.5, 0.7778]),
        ];
        for (n, [client_server, p2p]) in rows {
            let mut cases = scenario.cases.iter();
            let case = cases.find(|case| case.plan.leechers() == n).unwrap();
            let swarm = case.plan.swarm.as_ref().unwrap();
            let unit = swarm.file_time.as_secs_f64();
            let [cs, fluid, lb] = equations(&case.plan, swarm).unwrap();
            assert!((cs / unit - client_server).abs() < 1e-4, "{n}");
            assert!((fluid / unit - p2p).abs() < 1e-4, "{n}");
            assert!(lb >= fluid && lb <= 1.01 * fluid, "{n}: {lb}");
        }
    }
}
