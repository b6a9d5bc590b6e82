//! The runner with runs that are made up.

use std::collections::BTreeMap;

use super::*;
use crate::{
    outcome::{Cost, Verdict},
    scenario::{Choice, parse},
};

const FILE: &str = r#"
title = "x"
[swarm]
[class.seed]
count = 1
has = "everything"
[class.peer]
count = 1
[class.rider]
share = 0
of = "peer"
[vary]
"class.peer.count" = [0, 10, 20]
"class.rider.share" = [0, 0.5]
[live]
[[gate]]
figure = "ratio"
at_most = 1.2
goal = 1.1
[[gate]]
figure = "ratio"
where = { "class.peer.count" = 20 }
at_least = 1.2
[[gate]]
figure = "seconds"
over = { "class.rider.share" = 0 }
at_most = 3
[[gate]]
figure = "ratio.rider"
at_most = 1
[[gate]]
figure = "seed_copies"
at_most = 1
engine = "live"
[[gate]]
figure = "seconds"
at_most = 5
engine = "live"
[[gate]]
figure = "seconds"
at_most = 15
engine = "live"
"#;

fn scenario(set: &[&str]) -> Scenario {
    let choice = Choice {
        set: set.iter().map(ToString::to_string).collect(),
        ..Choice::default()
    };
    parse("x", "x.toml", FILE, &choice).unwrap()
}

fn order(engine: Engine, seeds: Range<u64>, threads: usize) -> Order {
    Order {
        engine,
        seeds,
        threads,
        command: replay::Command {
            scenario: "x.toml".into(),
            choice: Choice::default(),
            case: None,
            flags: Vec::new(),
        },
        notes: Vec::new(),
    }
}

/// The ratio grows with N and wobbles with the seed; riders double the time.
fn fake(case: &Case, seed: u64, threads: usize, watch: &dyn Fn(Progress)) -> Result<Run, String> {
    watch(Progress {
        time: Duration::from_secs(1),
        done: 0.5,
        events: 10,
    });
    let (n, riders) = (case.plan.leechers() as f64, case.plan.sizes()[2]);
    let mut figures = BTreeMap::new();
    if n > 0.0 {
        let wobble = (seed as f64 - 2.0) / 100.0;
        figures.insert("ratio".to_string(), 1.0 + n / 100.0 + wobble);
        let seconds = if riders > 0 { 20.0 } else { 10.0 };
        figures.insert("seconds".into(), seconds * seed as f64);
        figures.insert("seed_copies".into(), 2.0);
    }
    if riders > 0 {
        figures.insert("ratio.rider".into(), 0.5);
    }
    Ok(Run {
        seed,
        figures,
        cost: Cost {
            threads,
            events: 20,
            running: 1e-5,
            wall: 1.0,
            peak_memory: 3 << 29,
            trace: format!("{seed:016x}"),
            ..Cost::default()
        },
        ..Run::default()
    })
}

fn silent(_: Status) {}

fn verdicts(finished: &Finished) -> Vec<(&str, Option<f64>)> {
    let verdicts = finished.outcome.verdicts.iter();
    verdicts
        .map(
            |Verdict {
                 verdict, figure, ..
             }| {
                let figure = figure.map(|figure| (figure * 1e6).round() / 1e6);
                (verdict.as_str(), figure)
            },
        )
        .collect()
}

#[test]
fn the_worst_case_counts_and_each_case_by_its_median() {
    let scenario = scenario(&[]);
    let finished = run(
        &scenario,
        &order(Engine::Sim, 1..4, 4),
        &fake,
        &silent,
        &|_, _, _| {},
    );
    assert_eq!(
        verdicts(&finished),
        [
            // N = 20 is worst; its median seed is 2. Where N = 0 there is nothing to divide.
            ("pass", Some(1.2)),
            ("pass", Some(1.2)),
            // Twice the time, seed by seed.
            ("pass", Some(2.0)),
            ("pass", Some(0.5)),
        ]
    );
    assert!(finished.holds());
    let cases = &finished.outcome.cases;
    assert_eq!(cases.len(), 6);
    let seeds: Vec<u64> = cases[5].runs.iter().map(|run| run.seed).collect();
    assert_eq!(seeds, [1, 2, 3]);
    assert_eq!(cases[5].runs[0].figures["peak_memory_gib"], 1.5);
    assert!((cases[5].runs[0].figures["speed"] - 2.0).abs() < 1e-9);
    assert_eq!(
        finished.outcome.replay,
        "testnet run x.toml --seed 1 --seeds 3"
    );
    let notes = finished.outcome.notes.join("\n");
    assert!(notes.contains("medians of 3 seeds, 1 to 3"), "{notes}");
    assert!(notes.contains("every 10 s (as in the field)"), "{notes}");
    assert!(notes.contains("360 choke intervals"), "{notes}");
}

#[test]
fn threads_change_nothing_but_the_threads() {
    let scenario = scenario(&[]);
    let with = |threads| {
        run(
            &scenario,
            &order(Engine::Sim, 1..6, threads),
            &fake,
            &silent,
            &|_, _, _| {},
        )
        .outcome
    };
    assert_eq!(with(1), with(3));
    assert!(
        with(3)
            .cases
            .iter()
            .flat_map(|case| &case.runs)
            .all(|run| run.cost.threads == 1)
    );
    // A single run has all threads.
    let one = scenario_of_one();
    let finished = run(
        &one,
        &order(Engine::Sim, 7..8, 3),
        &fake,
        &silent,
        &|_, _, _| {},
    );
    assert_eq!(finished.outcome.cases[0].runs[0].cost.threads, 3);
    assert!(finished.outcome.notes[0].starts_with("One seed, 7"));
}

fn scenario_of_one() -> Scenario {
    scenario(&["peer.count=10", "share=0"])
}

#[test]
fn a_run_that_panics_fails_its_case_and_no_other() {
    let scenario = scenario(&[]);
    let fragile = |case: &Case, seed: u64, threads: usize, watch: &dyn Fn(Progress)| {
        assert!(
            case.plan.leechers() != 10 || seed != 2,
            "a defect\nin two lines"
        );
        fake(case, seed, threads, watch)
    };
    let finished = run(
        &scenario,
        &order(Engine::Sim, 1..4, 2),
        &fragile,
        &silent,
        &|_, _, _| {},
    );
    assert!(!finished.holds());
    assert_eq!(finished.failures.len(), 2);
    let failure = &finished.failures[0];
    assert_eq!((failure.case, failure.seed), (2, 2));
    assert_eq!(failure.why, "it panicked: a defect in two lines");
    assert_eq!(
        failure.replay,
        "testnet run x.toml --case 3 --seed 2 --seeds 1"
    );
    // The gate that is about N = 20 alone holds still, and says what it did.
    let verdicts: Vec<_> = verdicts(&finished);
    assert_eq!(verdicts[0], ("fail", Some(1.2)));
    assert_eq!(verdicts[1], ("pass", Some(1.2)));
    let ran: usize = finished
        .outcome
        .cases
        .iter()
        .map(|case| case.runs.len())
        .sum();
    assert_eq!(ran, 16);
}

#[test]
fn what_is_missing_fails_and_what_cannot_be_is_left_out() {
    let scenario = scenario_of_one();
    let without = |figure: &'static str| {
        let run_case = move |case: &Case, seed: u64, threads: usize, watch: &dyn Fn(Progress)| {
            let mut run = fake(case, seed, threads, watch)?;
            run.figures.remove(figure);
            Ok(run)
        };
        let finished = run(
            &scenario,
            &order(Engine::Sim, 2..3, 1),
            &run_case,
            &silent,
            &|_, _, _| {},
        );
        let verdicts = finished.outcome.verdicts;
        let words = verdicts.iter().map(|verdict| verdict.verdict.clone());
        words.collect::<Vec<_>>()
    };
    // N = 20 and riders were not run; 1.1 is the goal.
    assert_eq!(without("none"), ["goal", "not run", "not run", "not run"]);
    assert_eq!(without("ratio"), ["fail", "not run", "not run", "not run"]);
}

#[test]
fn live_gates_are_live_and_a_busy_machine_makes_void_what_it_may_have_spoiled() {
    let scenario = scenario_of_one();
    let busy = |cpu: f64| {
        let run_case = move |case: &Case, seed: u64, threads: usize, watch: &dyn Fn(Progress)| {
            let mut run = fake(case, seed, threads, watch)?;
            run.cost.cpu = cpu;
            Ok(run)
        };
        run(
            &scenario,
            &order(Engine::Live, 1..2, 8),
            &run_case,
            &silent,
            &|_, _, _| {},
        )
    };
    let idle = busy(0.5);
    assert_eq!(verdicts(&idle)[0].0, "goal");
    assert_eq!(verdicts(&idle)[4], ("fail", Some(2.0)));
    assert_eq!(verdicts(&idle)[5], ("fail", Some(10.0)));
    assert!(!idle.outcome.cases[0].runs[0].figures.contains_key("speed"));
    let void = busy(0.9);
    assert_eq!(verdicts(&void)[0], ("not run", None));
    assert_eq!(verdicts(&void)[4].0, "fail");
    // Ten seconds may be the machine's doing, but it cannot have made them fewer.
    assert_eq!(verdicts(&void)[5], ("not run", None));
    assert_eq!(verdicts(&void)[6], ("pass", Some(10.0)));
    assert!(void.outcome.notes.iter().any(|note| note.contains("void")));
    assert!(!void.judged_nothing() && !idle.judged_nothing());
    assert!(idle.outcome.replay.starts_with("testnet run x.toml"));
}

#[test]
fn progress_adds_up() {
    let scenario = scenario_of_one();
    let seen = Mutex::new(Vec::new());
    let watch = |status: Status| seen.lock().unwrap().push(status);
    run(
        &scenario,
        &order(Engine::Sim, 1..3, 1),
        &fake,
        &watch,
        &|_, _, _| {},
    );
    let seen = seen.into_inner().unwrap();
    let done: Vec<f64> = seen.iter().map(|status| status.done).collect();
    assert_eq!(done, [0.25, 0.5, 0.75, 1.0]);
    let last = seen.last().unwrap();
    assert_eq!((last.ended, last.runs, last.events), (2, 2, 20));
}

#[test]
fn what_must_never_happen_counts_by_its_worst_seed() {
    let text = FILE.replace(
        "figure = \"ratio\"\nat_most = 1.2\ngoal = 1.1",
        "figure = \"complete\"\nat_least = 1",
    ) + "[[gate]]\nfigure = \"complete_if_available\"\nat_least = 1\n";
    let choice = Choice {
        set: vec!["peer.count=10".into(), "share=0".into()],
        ..Choice::default()
    };
    let scenario = parse("x", "x.toml", &text, &choice).unwrap();
    let judged = |complete: &'static [f64], available: &'static [Option<f64>]| {
        let run_case = move |case: &Case, seed: u64, threads: usize, watch: &dyn Fn(Progress)| {
            let mut run = fake(case, seed, threads, watch)?;
            let at = seed as usize - 1;
            run.figures.insert("complete".into(), complete[at]);
            if let Some(figure) = available[at] {
                run.figures.insert("complete_if_available".into(), figure);
            }
            Ok(run)
        };
        let finished = run(
            &scenario,
            &order(Engine::Sim, 1..4, 1),
            &run_case,
            &silent,
            &|_, _, _| {},
        );
        let of = verdicts(&finished);
        let (first, last) = (of[0].0.to_owned(), of[of.len() - 1].0.to_owned());
        (first, last, finished.outcome.notes.join("\n"))
    };
    let (complete, available, notes) = judged(&[1.0, 1.0, 0.9], &[Some(1.0), None, Some(0.5)]);
    assert_eq!((&*complete, &*available), ("fail", "fail"));
    assert!(notes.contains("is of 2 seeds out of 3"), "{notes}");
    let (complete, available, notes) = judged(&[1.0; 3], &[None; 3]);
    assert_eq!((&*complete, &*available), ("pass", "not run"));
    let note = "No gate is held against `complete_if_available` where there can be none";
    assert!(notes.contains(note), "{notes}");
}

#[test]
fn an_interrupted_batch_keeps_what_had_ended_and_judges_nothing() {
    let scenario = scenario(&["class.rider.share=0"]);
    // The second case is left by its watcher, the third never begun.
    let broken = |case: &Case, seed: u64, threads: usize, watch: &dyn Fn(Progress)| match case
        .plan
        .leechers()
    {
        0 => fake(case, seed, threads, watch),
        10 => abandon(),
        _ => Err(INTERRUPTED.into()),
    };
    let told = Mutex::new(Vec::new());
    let ended = |number: usize, case: &Case, run: &Run| {
        let n = case.plan.leechers();
        assert!(run.figures.contains_key("wall_seconds"));
        told.lock().unwrap().push((number, n, run.seed));
    };
    let order = order(Engine::Sim, 1..3, 1);
    let finished = run(&scenario, &order, &broken, &silent, &ended);
    let first = scenario
        .cases
        .iter()
        .position(|case| case.plan.leechers() == 0);
    let first = 2 * first.unwrap();
    assert_eq!(*told.lock().unwrap(), [(first, 0, 1), (first + 1, 0, 2)]);
    let outcome = &finished.outcome;
    assert_eq!((outcome.left, finished.failures.len()), (4, 0));
    assert!(!finished.holds() && outcome.notes[0].starts_with("INCOMPLETE"));
    assert!(
        outcome
            .verdicts
            .iter()
            .all(|verdict| verdict.verdict == judge::NOT_RUN)
    );
}
