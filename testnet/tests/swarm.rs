//! Small swarms from plans: what every behaviour does, and that a run can be had again.

use std::time::Duration;

use mainswarm_testnet::{
    experiment,
    outcome::Run,
    scenario::{Architecture, Behaviour, Class, Discovery, Plan, SwarmPlan},
    sim::Delay,
};

const PEERS: usize = 8;

/// A seed of 4u and eight peers of u = 64 KiB/s: a file of 4 MiB in 64 s.
fn plan() -> Plan {
    let swarm = SwarmPlan {
        pieces: 128,
        piece_len: 32 * 1024,
        file_time: Duration::from_secs(64),
        choke_interval: Duration::from_secs(1),
        optimistic_interval: Duration::from_secs(3),
        discovery: Discovery::Told,
        limit: Duration::from_secs(1_200),
        ..SwarmPlan::default()
    };
    let u = swarm.base_rate();
    let seed = Class {
        complete: true,
        up: Some(4.0 * u),
        ..Class::new("seed", 1)
    };
    let peer = Class {
        up: Some(u),
        join_at: Duration::from_secs(1),
        ..Class::new("peer", PEERS)
    };
    let mut plan = Plan {
        swarm: Some(swarm),
        classes: vec![seed, peer],
        ..Plan::default()
    };
    plan.network.latency = Delay::Constant(Duration::from_millis(20));
    plan
}

/// The plan with so many more of another kind.
fn with(behaviour: Behaviour, count: usize, change: impl FnOnce(&mut Class)) -> Plan {
    let mut plan = plan();
    let mut class = Class {
        behaviour,
        ..plan.classes[1].clone()
    };
    (class.name, class.count) = ("odd".into(), count);
    change(&mut class);
    plan.classes.push(class);
    plan
}

fn run(plan: &Plan) -> Run {
    experiment::run(plan, 7, 1, &|_| {})
}

fn figure(run: &Run, name: &str) -> f64 {
    *run.figures
        .get(name)
        .unwrap_or_else(|| panic!("no {name} among {:?}", run.figures))
}

#[test]
fn a_swarm_is_held_against_its_bound_and_can_be_run_again() {
    let first = run(&plan());
    let ratio = figure(&first, "ratio");
    assert!((1.0..1.5).contains(&ratio), "{ratio}");
    assert_eq!(figure(&first, "complete"), 1.0);
    // Eight files by 12 uplinks: two thirds of F/u.
    assert!((figure(&first, "bound_seconds") - 64.0 * 8.0 / 12.0).abs() < 1e-6);
    assert!(figure(&first, "utilisation") > 0.6 && figure(&first, "wasted") < 0.1);
    let again = experiment::run(&plan(), 7, 2, &|_| {});
    assert_eq!(first.figures, again.figures);
    assert_eq!(first.cost.trace, again.cost.trace);
    let other = experiment::run(&plan(), 8, 1, &|_| {});
    assert_ne!(first.cost.trace, other.cost.trace);
    for name in first.figures.keys() {
        assert!(
            experiment::is_figure(name, ["seed", "peer"]),
            "{name} is not listed"
        );
    }
    let copies = &first.series.copies;
    assert!(
        copies.len() > 50
            && copies
                .last()
                .is_some_and(|last| last.min == PEERS as u32 + 1)
    );
    assert_eq!(first.series.completions.len(), PEERS);
}

#[test]
fn without_uploads_it_is_client_and_server() {
    let mut plan = plan();
    plan.swarm.as_mut().unwrap().architecture = Architecture::ClientServer;
    let run = run(&plan);
    assert!((figure(&run, "lb_seconds") - 64.0 * 8.0 / 4.0).abs() < 1e-6);
    assert!((1.0..1.1).contains(&figure(&run, "ratio")));
    let empty = {
        plan.classes[1].count = 0;
        experiment::run(&plan, 7, 1, &|_| {})
    };
    assert_eq!(
        (figure(&empty, "seconds"), figure(&empty, "ratio")),
        (0.0, 1.0)
    );
}

#[test]
fn free_riders_get_the_file_and_count_for_the_bound() {
    for behaviour in [
        Behaviour::FreeRider,
        Behaviour::SeedsOnly,
        Behaviour::LargeView,
    ] {
        let run = run(&with(behaviour, 3, |_| {}));
        assert_eq!(figure(&run, "starved"), 0.0, "{behaviour:?}");
        assert!((figure(&run, "bound_seconds") - 64.0 * 11.0 / 12.0).abs() < 1e-6);
        assert!(figure(&run, "free_over_compliant") > 0.5);
        let given = run.series.unchoked.iter();
        let given: f64 = given
            .filter(|pair| pair.from == "odd")
            .map(|pair| pair.seconds)
            .sum();
        assert_eq!(given, 0.0, "{behaviour:?} uploads");
    }
}

#[test]
fn liars_are_banned_and_nobody_else() {
    let corrupt = with(Behaviour::Corrupt, 1, |class| class.complete = true);
    for plan in [with(Behaviour::FalseHave, 2, |_| {}), corrupt] {
        let run = run(&plan);
        assert_eq!(figure(&run, "complete"), 1.0);
        assert!(figure(&run, "banned") > 0.5, "{:?}", run.figures);
        assert_eq!(figure(&run, "wrongly_banned"), 0.0);
        assert!(figure(&run, "ban_seconds") < 60.0);
    }
}

#[test]
fn those_that_hold_others_up_are_measured_against_a_run_without_them() {
    let frozen = with(Behaviour::Standard, 1, |class| class.down = Some(0.0));
    let stalled = with(Behaviour::Stalled, 1, |_| {});
    let greedy = with(Behaviour::SeedSlots, 2, |_| {});
    for plan in [frozen, stalled, greedy] {
        let run = run(&plan);
        let slowdown = figure(&run, "slowdown");
        assert!(
            (0.8..2.0).contains(&slowdown),
            "{:?} {slowdown}",
            plan.classes[2].behaviour
        );
        assert_eq!(figure(&run, "complete.peer"), 1.0);
    }
}

#[test]
fn peers_that_come_and_go_are_counted_in_their_time() {
    let mut plan = plan();
    let swarm = plan.swarm.as_mut().unwrap();
    swarm.limit = Duration::from_secs(480);
    plan.classes[1].arrivals = Some(0.5);
    plan.classes[1].seeds_for = Some(Duration::ZERO);
    let run = run(&plan);
    assert!(
        (0.5..1.05).contains(&figure(&run, "eta")),
        "{:?}",
        run.figures
    );
    assert!(
        (0.6..1.6).contains(&figure(&run, "fluid_ratio")),
        "{:?}",
        run.figures
    );
    assert!(!run.figures.contains_key("ratio"));
}

#[test]
fn a_seed_that_waits_longer_than_the_file_takes_is_not_given_up() {
    let mut plan = plan();
    plan.classes[1].join_at = Duration::from_secs(100);
    let run = run(&plan);
    assert_eq!(figure(&run, "complete"), 1.0);
    assert!((1.0..1.5).contains(&figure(&run, "ratio")));
}

#[test]
fn a_seed_leaves_when_its_time_is_over() {
    // The file takes 43 s; the seed has sent a quarter of it after 4 s.
    let changes: [fn(&mut Class); 3] = [
        |seed| seed.seeds_for = Some(Duration::from_secs(5)),
        |seed| seed.seeds_for = Some(Duration::ZERO),
        |seed| seed.leaves_at = Some(Duration::from_secs(5)),
    ];
    for change in changes {
        let mut plan = plan();
        change(&mut plan.classes[0]);
        let run = run(&plan);
        assert_eq!(
            (figure(&run, "available"), figure(&run, "complete")),
            (0.0, 0.0)
        );
    }
    let mut plan = plan();
    plan.classes[0].seeds_for = Some(Duration::from_secs(300));
    assert_eq!(figure(&run(&plan), "complete"), 1.0);
}

#[test]
fn peers_that_leave_without_the_file_are_in_no_time_and_in_no_demand() {
    let others = run(&plan());
    let plan = with(Behaviour::Standard, 30, |class| {
        class.leaves_at = Some(Duration::from_secs(6));
    });
    let run = run(&plan);
    assert_eq!(figure(&run, "complete"), 1.0);
    for name in ["seconds.odd", "last_seconds.odd", "complete.odd"] {
        assert!(!run.figures.contains_key(name), "{name}");
    }
    // The mean is of the eight that stayed, whom those that left had held up for a while.
    assert_eq!(figure(&run, "mean_seconds"), figure(&run, "seconds.peer"));
    assert!(figure(&run, "mean_seconds") > 0.8 * figure(&others, "mean_seconds"));
    // Thirty more uplinks and no more to be served: less than for the eight alone, and it holds.
    assert!(figure(&run, "lb_seconds") < figure(&others, "lb_seconds"));
    assert!(figure(&run, "ratio") > 1.0);
}

#[test]
fn lines_without_limit_have_no_bound() {
    let mut plan = plan();
    plan.classes[0].up = None;
    let run = run(&plan);
    assert_eq!(figure(&run, "complete"), 1.0);
    assert!(!run.figures.contains_key("lb_seconds") && !run.figures.contains_key("ratio"));
}

#[test]
fn the_ratio_is_of_all_whom_the_bound_counts() {
    let run = run(&with(Behaviour::FreeRider, 4, |_| {}));
    let last = figure(&run, "last_seconds.odd").max(figure(&run, "seconds"));
    let ratio = figure(&run, "ratio");
    assert!((ratio - last / figure(&run, "lb_seconds")).abs() < 1e-9);
    assert!(ratio >= 1.0 && ratio == figure(&run, "ratio_all"));
}

#[test]
fn a_seed_that_leaves_too_soon_takes_pieces_with_it() {
    let mut plan = plan();
    plan.classes[0].leaves_at_copies = Some(0.5);
    let run = run(&plan);
    assert_eq!(
        (figure(&run, "available"), figure(&run, "complete")),
        (0.0, 0.0)
    );
    assert!(!run.figures.contains_key("complete_if_available"));
}
