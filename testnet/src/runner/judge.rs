//! Gates, held against figures.
//!
//! A case counts with the median of its seeds, or with the worst of them where the figure says what
//! must never happen; a gate counts with its worst case. What is missing fails, because a figure
//! that only good runs have would make every gate pass; it is left out only where there can be none
//! (a class without members, a swarm without peers, a figure that says it may be absent), and a note
//! says so.

use super::Failure;
use crate::{
    cpu::VOID_ABOVE,
    experiment::{self, FIGURES},
    outcome::{CaseOutcome, Verdict},
    scenario::{Case, Engine, Gate, Scenario},
};

pub(super) const FAIL: &str = "fail";
pub(super) const NOT_RUN: &str = "not run";

/// What must hold in every single run: one seed that loses a peer is not made good by four others.
const INVARIANTS: [&str; 7] = [
    "complete",
    "complete_if_available",
    "starved",
    "refetched",
    "failed_pieces",
    "banned",
    "wrongly_banned",
];

/// Parts of the names of figures that compare rates or peers. On a machine without a core to spare
/// they say nothing about the protocol.
const COMPARED: [&str; 6] = [
    "ratio",
    "utilisation",
    "_over_",
    "slowdown",
    "gain",
    "deviation",
];

/// Parts of the names of figures that such a machine can only make worse: answers come too late.
/// What holds there holds; what does not may be the machine's fault.
const WAITED_FOR: [&str; 5] = ["seconds", "_ms_", "success", "joined", "recall"];

pub(crate) struct Judged {
    pub(crate) verdicts: Vec<Verdict>,
    pub(crate) notes: Vec<String>,
}

pub(crate) fn judge(
    scenario: &Scenario,
    engine: Engine,
    cases: &[CaseOutcome],
    failures: &[Failure],
) -> Judged {
    let court = Court {
        scenario,
        engine,
        cases,
        failures,
    };
    let mut notes = Vec::new();
    let gates = scenario.gates.iter().filter(|gate| gate.is_for(engine));
    let verdicts = gates.map(|gate| court.verdict(gate, &mut notes)).collect();
    let mut said = std::collections::BTreeSet::new();
    notes.retain(|note: &String| said.insert(note.clone()));
    Judged { verdicts, notes }
}

struct Court<'a> {
    scenario: &'a Scenario,
    engine: Engine,
    cases: &'a [CaseOutcome],
    failures: &'a [Failure],
}

/// What a case says of a gate.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Evidence {
    Figure(f64),
    /// There should be a figure and is none.
    Missing,
    /// There can be none.
    NotApplicable,
    /// It was measured on a machine that was too busy.
    Void,
}

impl Court<'_> {
    fn verdict(&self, gate: &Gate, notes: &mut Vec<String>) -> Verdict {
        let mut worst: Option<f64> = None;
        let mut missing = false;
        let mut without: Vec<String> = Vec::new();
        for at in 0..self.cases.len() {
            let settings = &self.cases[at].settings;
            // What others are divided by is not held against itself.
            let divisor = !gate.over.is_empty() && gate.divides(settings, settings);
            if !gate.is_about(settings) || divisor {
                continue;
            }
            match self.evidence(gate, at, notes) {
                Evidence::Figure(figure) => {
                    worst = Some(worst.map_or(figure, |old| gate.limit.worse(old, figure)));
                }
                Evidence::Missing => {
                    missing = true;
                    notes.push(format!(
                        "`{}` fails its gate, since it is missing: {}.",
                        gate.figure,
                        super::shown(settings)
                    ));
                }
                Evidence::NotApplicable => without.push(super::shown(settings)),
                Evidence::Void => notes.push(format!(
                    "`{}` is void where {}: the machine was busier than {:.0} %.",
                    gate.figure,
                    super::shown(settings),
                    VOID_ABOVE * 100.0
                )),
            }
        }
        if !without.is_empty() {
            notes.push(format!(
                "No gate is held against `{}` where there can be none: {}.",
                gate.figure,
                without.join("; ")
            ));
        }
        let goal = gate.goal.zip(worst).is_some_and(|(goal, figure)| {
            // The goal lies on the gate's own side: a figure meets it that is no worse.
            gate.limit.worse(goal, figure) == goal
        });
        let verdict = match worst {
            _ if missing => FAIL,
            None => NOT_RUN,
            Some(figure) if !gate.limit.holds(figure) => FAIL,
            Some(_) if goal => "goal",
            Some(_) => "pass",
        };
        Verdict {
            scenario: self.scenario.name.clone(),
            gate: gate.to_string(),
            figure: worst,
            goal: gate.goal,
            verdict: verdict.into(),
        }
    }

    fn evidence(&self, gate: &Gate, at: usize, notes: &mut Vec<String>) -> Evidence {
        let case = &self.cases[at];
        if self.failures.iter().any(|failure| failure.case == at) || case.runs.is_empty() {
            return Evidence::Missing;
        }
        let busy = self.is_busy(case);
        if busy && contains(&COMPARED, &gate.figure) {
            return Evidence::Void;
        }
        let mut values = Vec::new();
        for run in &case.runs {
            match run.figures.get(&gate.figure) {
                Some(figure) => values.push((run.seed, *figure)),
                None => match missing(&self.scenario.cases[at], &gate.figure) {
                    Evidence::NotApplicable => {}
                    other => return other,
                },
            }
        }
        if values.is_empty() {
            return Evidence::NotApplicable;
        }
        if values.len() < case.runs.len() {
            notes.push(format!(
                "`{}` is of {} seeds out of {} where {}: the others can have none.",
                gate.figure,
                values.len(),
                case.runs.len(),
                super::shown(&case.settings)
            ));
        }
        if !gate.over.is_empty() {
            let divisor = self.cases.iter().position(|other| {
                gate.divides(&other.settings, &case.settings) && !other.runs.is_empty()
            });
            let Some(divisor) = divisor else {
                return Evidence::NotApplicable;
            };
            // Seed by seed: the same arrivals and delays on both sides of the fraction.
            for (seed, value) in &mut values {
                let runs = &self.cases[divisor].runs;
                let same = runs.iter().find(|run| run.seed == *seed);
                match same.and_then(|run| run.figures.get(&gate.figure)) {
                    Some(divisor) if *divisor != 0.0 => *value /= divisor,
                    _ => return Evidence::Missing,
                }
            }
        }
        let mut values: Vec<f64> = values.into_iter().map(|(_, value)| value).collect();
        let stem = gate
            .figure
            .split_once('.')
            .map_or(&*gate.figure, |(stem, _)| stem);
        if INVARIANTS.contains(&stem) {
            let worst = values.into_iter().reduce(|a, b| gate.limit.worse(a, b));
            return worst.map_or(Evidence::Missing, Evidence::Figure);
        }
        values.sort_by(f64::total_cmp);
        let middle = values.len() / 2;
        let median = (values[middle] + values[(values.len() - 1) / 2]) / 2.0;
        if busy && contains(&WAITED_FOR, &gate.figure) && !gate.limit.holds(median) {
            return Evidence::Void;
        }
        Evidence::Figure(median)
    }

    /// Whether real sockets had no core to spare.
    fn is_busy(&self, case: &CaseOutcome) -> bool {
        let busy = |share: f64| share > VOID_ABOVE;
        self.engine == Engine::Live && case.runs.iter().any(|run| busy(run.cost.cpu))
    }
}

fn contains(parts: &[&str], figure: &str) -> bool {
    parts.iter().any(|part| figure.contains(part))
}

/// A figure is not there: may that be?
fn missing(case: &Case, figure: &str) -> Evidence {
    let listed = FIGURES.iter().chain(experiment::COST_FIGURES);
    let says_so = listed
        .clone()
        .any(|(name, says)| *name == figure && says.contains("absent"));
    let plan = &case.plan;
    let stream = plan.classes.iter().any(|class| class.arrivals.is_some());
    let nobody = plan.swarm.is_some() && plan.leechers() == 0 && !stream;
    let class = figure.split_once('.').map(|(_, class)| class);
    let mut sizes = plan.classes.iter().zip(plan.sizes());
    let empty = class.is_some_and(|name| {
        sizes.any(|(class, size)| class.name == name && size == 0 && class.arrivals.is_none())
    });
    if says_so || nobody || empty {
        return Evidence::NotApplicable;
    }
    Evidence::Missing
}
