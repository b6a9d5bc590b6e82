//! Small networks, each with one thing done to it.

use std::time::Duration;

use super::run;
use crate::{
    outcome::Run,
    scenario::{
        Action, AttackAnswer, AttackKind, AttackPlan, DhtPlan, DhtStart, Plan, Session, TimedEvent,
    },
};

const MINUTE: Duration = Duration::from_secs(60);

fn plan(dht: DhtPlan) -> Plan {
    Plan {
        dht: Some(dht),
        ..Plan::default()
    }
}

fn small() -> DhtPlan {
    DhtPlan {
        nodes: 300,
        announces: 30,
        lookups: 120,
        lookup_within: Duration::from_secs(10),
        ..DhtPlan::default()
    }
}

fn go(plan: &Plan, threads: usize) -> Run {
    run(plan, 7, threads, &|_| {})
}

fn figure(run: &Run, name: &str) -> f64 {
    let value = run.figures.get(name);
    *value.unwrap_or_else(|| panic!("no {name} in {:?}", run.figures))
}

#[test]
fn everything_is_found_in_a_quiet_network_on_any_number_of_threads() {
    let one = go(&plan(small()), 1);
    assert_eq!(figure(&one, "success"), 1.0);
    assert!(
        (1.0..2.5).contains(&figure(&one, "hops")),
        "{:?}",
        one.figures
    );
    assert!(
        (8.0..25.0).contains(&figure(&one, "queries")),
        "{:?}",
        one.figures
    );
    assert!(figure(&one, "recall") >= 0.9, "{:?}", one.figures);
    assert_eq!(figure(&one, "stale_end"), 0.0);
    assert_eq!(one.series.first_peer.len(), 120);
    assert!(one.series.occupancy[0] > 7.0, "{:?}", one.series.occupancy);
    let nearer = |path: &[crate::outcome::Hop]| path.is_sorted_by_key(|hop| hop.bits);
    assert!(one.series.paths.iter().all(|path| nearer(path)) && one.series.paths.len() > 10);

    let two = go(&plan(small()), 2);
    assert_eq!(one.cost.trace, two.cost.trace);
    assert_eq!(one.figures, two.figures);
}

#[test]
fn half_the_nodes_die_in_a_storm() {
    let mut storm = plan(DhtPlan {
        session: Session::Exponential {
            median: 10 * MINUTE,
        },
        reannounce: 5 * MINUTE,
        lookups: 600,
        lookup_within: 12 * MINUTE,
        ..small()
    });
    storm.events.push(TimedEvent {
        at: 8 * MINUTE,
        action: Action::Kill(0.5),
    });
    let run = go(&storm, 2);
    assert!(figure(&run, "success_before") >= 0.98, "{:?}", run.figures);
    assert!(figure(&run, "success_at_once") >= 0.8, "{:?}", run.figures);
    let stale = figure(&run, "stale");
    assert!((0.05..0.45).contains(&stale), "{stale}");
    let population = &run.series.population;
    let (before, after) = (population[10].1, population[population.len() - 1].1);
    assert!(
        before == 300.0 && (140.0..180.0).contains(&after),
        "{before} {after}"
    );
}

#[test]
fn who_never_finds_is_the_slowest_of_all_and_who_goes_at_once_counts_nowhere() {
    let mut lossy = plan(DhtPlan {
        session: Session::Exponential { median: MINUTE },
        ..small()
    });
    lossy.network.loss = 0.2;
    // They name peers that nobody announced, and are often the first to answer.
    lossy.attack = Some(AttackPlan {
        kind: AttackKind::Eclipse,
        answers: AttackAnswer::Poison,
        ..AttackPlan::default()
    });
    let run = go(&lossy, 2);
    let (success, abandoned) = (figure(&run, "success"), figure(&run, "abandoned"));
    assert!((0.1..0.9).contains(&success), "{success}");
    // A median of a minute: 11 % go within ten seconds.
    assert!((0.03..0.25).contains(&abandoned), "{abandoned}");
    let found = success * (1.0 - abandoned) * 120.0;
    let seen = run.series.first_peer.len();
    assert!((found - seen as f64).abs() < 1e-6, "{found} {seen}");
    assert!(!run.figures.contains_key("first_ms_p99"));
}

#[test]
fn tables_outlive_routers() {
    let mut dead = plan(DhtPlan {
        nodes: 120,
        start: DhtStart::Cold,
        routers: 2,
        join_within: MINUTE / 2,
        settle: MINUTE,
        lookups: 200,
        lookup_within: 3 * MINUTE,
        ..small()
    });
    let newcomers = |cached| Action::Newcomers { count: 10, cached };
    for (at, action) in [
        (1, Action::RoutersDown(2)),
        (2, newcomers(false)),
        (2, newcomers(true)),
    ] {
        let at = at * MINUTE;
        dead.events.push(TimedEvent { at, action });
    }
    let run = go(&dead, 1);
    assert_eq!(figure(&run, "joined_cached"), 1.0);
    assert_eq!(figure(&run, "joined_orphaned"), 0.0);
    assert!(
        figure(&run, "success_change").abs() <= 0.01,
        "{:?}",
        run.figures
    );
    assert!(figure(&run, "connected_seconds") <= 60.0);
}

#[test]
fn a_cut_network_becomes_one_again() {
    let mut cut = plan(DhtPlan {
        nodes: 150,
        lookups: 600,
        lookup_within: 45 * MINUTE,
        reannounce: 5 * MINUTE,
        ..small()
    });
    cut.events.push(TimedEvent {
        at: MINUTE,
        action: Action::Partition(20 * MINUTE),
    });
    let run = go(&cut, 2);
    assert!(figure(&run, "success_split") >= 0.9, "{:?}", run.figures);
    assert!(figure(&run, "success_cross") >= 0.97, "{:?}", run.figures);
}

#[test]
fn who_cannot_be_called_leaves_the_tables() {
    let mut nat = plan(DhtPlan {
        nodes: 200,
        settle: 15 * MINUTE,
        ..small()
    });
    nat.network.nat = 0.6;
    let run = go(&nat, 2);
    assert!(
        figure(&run, "tables_unreachable") <= 0.08,
        "{:?}",
        run.figures
    );
    assert!(figure(&run, "success") >= 0.97, "{:?}", run.figures);
}

#[test]
fn attackers_are_met_and_sybils_are_flagged() {
    let attacked = |attack: AttackPlan, announces: u32| {
        let mut attacked = plan(DhtPlan {
            announces,
            ..small()
        });
        attacked.attack = Some(attack);
        go(&attacked, 2)
    };
    let colluders = AttackPlan {
        share: 0.2,
        ..AttackPlan::default()
    };
    let colluders = attacked(colluders, 30);
    assert!(
        figure(&colluders, "attacker_queries") > 1.0,
        "{:?}",
        colluders.figures
    );
    assert!(
        figure(&colluders, "success") >= 0.95,
        "{:?}",
        colluders.figures
    );
    let forgers = AttackPlan {
        kind: AttackKind::Forge,
        share: 0.2,
        ..AttackPlan::default()
    };
    let forgers = attacked(forgers, 30);
    assert!(figure(&forgers, "success") >= 0.9, "{:?}", forgers.figures);
    // Few keys, or most of the network would be Sybils.
    let sybils = AttackPlan {
        kind: AttackKind::Eclipse,
        ..AttackPlan::default()
    };
    let sybils = attacked(sybils, 3);
    assert!(figure(&sybils, "success") >= 0.9, "{:?}", sybils.figures);
    assert!(figure(&sybils, "flagged") >= 0.95, "{:?}", sybils.figures);
    assert!(
        figure(&sybils, "flagged_falsely") <= 0.1,
        "{:?}",
        sybils.figures
    );
}
