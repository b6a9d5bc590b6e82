//! `testnet list`, `testnet show` and `testnet keys`.

use std::process::ExitCode;

use clap::Args;
use mainswarm_testnet::scenario::{Choice, Engine, Scenario, catalogue, parse, reference};

use super::{
    table::Table,
    terminal::{USAGE, fail, load, print_line, print_raw},
};

#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// One JSON object a line
    #[arg(long)]
    json: bool,
    /// Every gate below; `testnet show NAME` has those of one scenario
    #[arg(long)]
    gates: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ShowArgs {
    /// A name or number of `testnet list`, or a file
    #[arg(value_name = "NAME|FILE")]
    scenario: String,
}

pub(crate) fn list(args: &ListArgs) -> ExitCode {
    let header = ["no", "name", "engines", "cases", "title"];
    let header = header.map(String::from).to_vec();
    let mut table = Table::new(header, 5);
    let mut gates = Vec::new();
    for (name, text) in catalogue::BUILT_IN {
        let scenario = match parse(name, name, text, &Choice::default()) {
            Ok(scenario) => scenario,
            Err(error) => return fail(&error, USAGE),
        };
        if args.json {
            if !print_line(&object(&scenario).to_string()) {
                return ExitCode::FAILURE;
            }
            continue;
        }
        table.row(vec![
            scenario.id.clone().unwrap_or_default(),
            scenario.name.clone(),
            engines(&scenario).join(", "),
            scenario.cases.len().to_string(),
            scenario.title.clone(),
        ]);
        for gate in &scenario.gates {
            let engine = gate.engine.map_or("", Engine::name);
            gates.push((
                scenario.name.clone(),
                format!("{gate}  {engine}"),
                gate.goal,
            ));
        }
    }
    if args.json {
        return ExitCode::SUCCESS;
    }
    if !args.gates {
        return done(print_line(table.to_string().trim_end()));
    }
    let header = ["scenario", "gate", "goal"];
    let mut below = Table::new(header.map(String::from).to_vec(), 2);
    for (name, gate, goal) in gates {
        let goal = goal.map_or_else(|| "-".into(), |goal| goal.to_string());
        below.row(vec![name, gate.trim_end().to_string(), goal]);
    }
    done(print_line(format!("{table}\n{below}").trim_end()))
}

fn engines(scenario: &Scenario) -> Vec<&'static str> {
    let live = scenario.live.then_some(Engine::Live);
    let engines = [Some(Engine::Sim), live].into_iter().flatten();
    engines.map(Engine::name).collect()
}

fn object(scenario: &Scenario) -> serde_json::Value {
    let gates = scenario.gates.iter().map(|gate| {
        serde_json::json!({
            "gate": gate.to_string(),
            "figure": gate.figure,
            "goal": gate.goal,
            "engine": gate.engine.map(Engine::name),
        })
    });
    serde_json::json!({
        "id": scenario.id,
        "name": scenario.name,
        "title": scenario.title,
        "engines": engines(scenario),
        "cases": scenario.cases.len(),
        "seeds": scenario.seeds,
        "held_against": scenario.held_against,
        "gates": gates.collect::<Vec<_>>(),
    })
}

pub(crate) fn show(args: &ShowArgs) -> ExitCode {
    match load(&args.scenario) {
        Ok(source) => done(print_raw(source.text.trim_end())),
        Err(error) => fail(&error, USAGE),
    }
}

pub(crate) fn keys() -> ExitCode {
    done(print_line(reference().trim_end()))
}

fn done(printed: bool) -> ExitCode {
    if printed {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
