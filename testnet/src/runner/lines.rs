//! Outcomes as lines of JSON, and all their traces as one.

use serde_json::{Map, Value, json};
use sha1::{Digest, Sha1};

use crate::{
    outcome::{Outcome, Run},
    scenario::{Architecture, Case, Scenario},
};

/// One flat object for each run: see [`of`].
pub fn runs(scenario: &Scenario, outcome: &Outcome) -> Vec<Value> {
    let cases = outcome.cases.iter().zip(&scenario.cases);
    let runs = cases.flat_map(|(all, case)| all.runs.iter().map(move |run| (case, run)));
    runs.map(|(case, run)| of(&outcome.scenario, &outcome.engine, case, run))
        .collect()
}

/// A run as one flat object.
///
/// A point of a swarm has `architecture`, `n`, `seconds`, `bound`, `lb`, `ratio` and `cpu` by these
/// short names whatever varies; what varies follows under its key, then every other figure.
pub fn of(scenario: &str, engine: &str, case: &Case, run: &Run) -> Value {
    let mut line = Map::new();
    line.insert("scenario".into(), json!(scenario));
    line.insert("engine".into(), json!(engine));
    point(&mut line, case, run);
    line.insert("cpu".into(), json!(run.cost.cpu));
    line.insert("seed".into(), json!(run.seed));
    for (key, value) in &case.settings {
        line.insert(key.clone(), typed(value));
    }
    for (name, figure) in &run.figures {
        line.insert(name.clone(), json!(figure));
    }
    if !run.cost.trace.is_empty() {
        line.insert("events".into(), json!(run.cost.events));
        line.insert("trace".into(), json!(run.cost.trace));
    }
    Value::Object(line)
}

fn point(line: &mut Map<String, Value>, case: &Case, run: &Run) {
    let Some(swarm) = &case.plan.swarm else {
        return;
    };
    let architecture = match swarm.architecture {
        Architecture::PeerToPeer => "p2p",
        Architecture::ClientServer => "client-server",
    };
    line.insert("architecture".into(), json!(architecture));
    line.insert("n".into(), json!(case.plan.leechers()));
    for (name, figure) in SHORT {
        // Without peers there is no time: the key stays, so that every point has the same ones.
        line.insert(name.into(), json!(run.figures.get(figure)));
    }
}

/// A point's names, and the figures that they are. Those that differ are there by both.
const SHORT: [(&str, &str); 4] = [
    ("seconds", "seconds"),
    ("bound", "bound_seconds"),
    ("lb", "lb_seconds"),
    ("ratio", "ratio"),
];

/// A number as one, and a flag as one.
fn typed(value: &str) -> Value {
    if let Ok(flag) = value.parse::<bool>() {
        return json!(flag);
    }
    let number = value.parse().ok().map(|whole: i64| json!(whole));
    let number = number.or_else(|| value.parse().ok().map(|real: f64| json!(real)));
    number.unwrap_or_else(|| json!(value))
}

/// One object for each gate.
pub fn gates(outcome: &Outcome) -> Vec<Value> {
    let verdicts = outcome.verdicts.iter();
    verdicts
        .map(|verdict| {
            json!({
                "scenario": verdict.scenario,
                "gate": verdict.gate,
                "figure": verdict.figure,
                "verdict": verdict.verdict,
            })
        })
        .collect()
}

/// The fingerprint of all runs: that of the run, if there is one.
pub fn trace(outcome: &Outcome) -> String {
    let runs = outcome.cases.iter().flat_map(|case| &case.runs);
    let traces: Vec<&str> = runs.map(|run| run.cost.trace.as_str()).collect();
    if let [one] = traces[..] {
        return one.into();
    }
    let digest = Sha1::digest(traces.join(" ").as_bytes());
    digest
        .iter()
        .take(8)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}
