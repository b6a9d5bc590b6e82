//! What must be said beside a figure for it to be honest.

use std::collections::BTreeSet;

use super::Order;
use crate::{
    outcome::CaseOutcome,
    scenario::{DhtStart, Engine, Scenario},
};

/// A tit-for-tat client's interval in the field.
const FIELD_CHOKE: f64 = 10.0;

pub(super) fn notes(scenario: &Scenario, order: &Order, cases: &[CaseOutcome]) -> Vec<String> {
    let mut notes = Vec::new();
    let (first, last) = (order.seeds.start, order.seeds.end.saturating_sub(1));
    notes.push(match last.saturating_sub(first) + 1 {
        1 => format!("One seed, {first}: a single run says nothing about the spread."),
        many => format!(
            "Figures are medians of {many} seeds, {first} to {last}; least and greatest are in \
             brackets."
        ),
    });
    if order.engine == Engine::Sim {
        notes.extend(choker(scenario));
        if scenario.cases.iter().any(|case| case.plan.swarm.is_some()) {
            notes.push(
                "Upload limits count every byte that leaves a simulated uplink: blocks, their \
                 headers and all other messages of the peer wire protocol, no IP or TCP headers."
                    .into(),
            );
            notes.push(
                "Loss on a stream is per message of up to 16 KiB, which is then sent again and comes \
                 later: TCP's congestion control, which would slow down as well, is not simulated."
                    .into(),
            );
        }
        notes.extend(leaving(scenario));
        notes.extend(tables(scenario));
    }
    notes.extend(processor(order.engine, cases));
    notes
}

/// How the choker's time goes with the file's.
fn choker(scenario: &Scenario) -> Vec<String> {
    let swarms = scenario
        .cases
        .iter()
        .filter_map(|case| case.plan.swarm.as_ref());
    let said: BTreeSet<String> = swarms
        .map(|swarm| {
            let choke = swarm.choke_interval.as_secs_f64();
            let optimistic = swarm.optimistic_interval.as_secs_f64();
            let intervals = swarm.file_time.as_secs_f64() / choke;
            let scale = choke / FIELD_CHOKE;
            let against = if (scale - 1.0).abs() < 1e-9 {
                "as in the field".to_string()
            } else {
                format!("{} of the field's 10 s", (scale * 1e3).round() / 1e3)
            };
            format!(
                "The choker decides every {choke} s ({against}), the optimistic slot moves every \
                 {optimistic} s; F/u is {intervals:.0} choke intervals."
            )
        })
        .collect();
    said.into_iter().collect()
}

/// That a bound with everybody's help is still one where some leave.
fn leaving(scenario: &Scenario) -> Option<String> {
    let classes = scenario
        .cases
        .iter()
        .filter(|case| case.plan.swarm.is_some());
    let mut classes = classes.flat_map(|case| &case.plan.classes);
    let leave = classes.any(|class| {
        let early = class.leaves_at_copies.is_some() || class.leaves_at.is_some();
        early || class.seeds_for.is_some()
    });
    leave.then(|| {
        "Some members leave. Who leaves without everything has no time and is in no mean; LB is for \
         those that got everything or stayed for it. It counts every uplink as if it stayed: nobody \
         can be faster, as those who leave only take away, but a bound that knew when each leaves \
         would be higher, and the ratio to it lower."
            .into()
    })
}

/// Whether a network grew or was put there.
fn tables(scenario: &Scenario) -> Option<String> {
    let dhts = scenario
        .cases
        .iter()
        .filter_map(|case| case.plan.dht.as_ref());
    let starts: BTreeSet<bool> = dhts.map(|dht| dht.start == DhtStart::Warm).collect();
    match (starts.contains(&true), starts.contains(&false)) {
        (true, false) => Some(
            "Routing tables are warm: filled as they would be after long running, which says \
             nothing about how a network starts."
                .into(),
        ),
        (false, true) => {
            Some("Routing tables are cold: every node joins by itself, from the routers.".into())
        }
        (true, true) => Some("Cases differ in whether routing tables begin warm or cold.".into()),
        (false, false) => None,
    }
}

fn processor(engine: Engine, cases: &[CaseOutcome]) -> Option<String> {
    let runs = cases.iter().flat_map(|case| &case.runs);
    let busiest = runs.map(|run| run.cost.cpu).max_by(f64::total_cmp)? * 100.0;
    Some(match engine {
        Engine::Sim => format!(
            "Time is virtual: that the processor was busy up to {busiest:.0} % touches no figure \
             but those of the engine."
        ),
        Engine::Live => format!(
            "The busiest run used {busiest:.0} % of the processor; above 70 % what compares rates \
             is void, and so is a time or a success that falls short."
        ),
    })
}
