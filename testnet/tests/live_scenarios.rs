//! Plans on real sockets, small ones: as tasks, as processes, and in network namespaces where this
//! machine can make them.

use std::{path::PathBuf, time::Duration};

use mainswarm_testnet::{
    live::{
        LiveError,
        scenario::{Isolation, LiveOptions, notes, run},
    },
    outcome::Run,
    scenario::{
        Action, Architecture, Behaviour, Case, Class, DhtPlan, DhtStart, NetworkPlan, Plan,
        SwarmPlan, TimedEvent,
    },
    sim::Delay,
};

fn options() -> LiveOptions {
    LiveOptions {
        program: Some(PathBuf::from(env!("CARGO_BIN_EXE_testnet"))),
        ..LiveOptions::default()
    }
}

fn network() -> NetworkPlan {
    NetworkPlan {
        latency: Delay::Constant(Duration::ZERO),
        jitter: 0.0,
        loss: 0.0,
        nat: 0.0,
    }
}

/// A seed and three peers, 2 MiB each, about a second.
fn swarm() -> Plan {
    let mut seed = Class::new("seed", 1);
    (seed.complete, seed.up) = (true, Some(8e6));
    let mut peer = Class::new("peer", 3);
    peer.up = Some(2e6);
    Plan {
        network: network(),
        swarm: Some(SwarmPlan {
            pieces: 64,
            piece_len: 32 * 1024,
            file_time: Duration::from_secs_f64(1.05),
            choke_interval: Duration::from_millis(100),
            optimistic_interval: Duration::from_millis(300),
            limit: Duration::from_secs(20),
            ..SwarmPlan::default()
        }),
        classes: vec![seed, peer],
        ..Plan::default()
    }
}

fn live(plan: Plan, options: &LiveOptions) -> Result<Run, LiveError> {
    let settings = Vec::new();
    run(&Case { settings, plan }, 7, options, &|_| {})
}

#[test]
fn a_swarm_of_tasks_is_held_against_its_bound() {
    let mut plan = swarm();
    let mut rider = Class::new("rider", 0);
    rider.behaviour = Behaviour::FreeRider;
    (rider.share, rider.of) = (Some(0.4), Some("peer".into()));
    plan.classes.push(rider);
    let run = live(plan, &options()).unwrap();
    let figure = |name: &str| run.figures[name];
    assert_eq!(
        (run.seed, figure("complete"), figure("starved")),
        (7, 1.0, 0.0)
    );
    // The limiter's first block and its burst are ahead of its rate.
    assert!((0.8..6.0).contains(&figure("ratio")), "{:?}", run.figures);
    assert!(figure("seconds") >= figure("mean_seconds"));
    assert_eq!(run.series.completions.len(), 3);
    let riders = run
        .series
        .completions
        .iter()
        .filter(|done| done.class == "rider");
    assert_eq!(riders.count(), 1);
    assert!(figure("ratio.rider") > 0.0 && run.cost.peak_memory > 0 && run.cost.cpu > 0.0);
}

#[test]
fn a_server_alone_or_with_a_deceiver_gives_everybody_everything() {
    let mut plan = swarm();
    if let Some(swarm) = &mut plan.swarm {
        swarm.architecture = Architecture::ClientServer;
    }
    let run = live(plan, &options()).unwrap();
    // Three times 2 MiB at 8 MB/s.
    let bound = 3.0 * 2_097_152.0 / 8e6;
    assert!((run.figures["lb_seconds"] - bound).abs() < 1e-9);
    assert!(run.figures["ratio"] > 0.8, "{:?}", run.figures);

    // Nobody can do without a deceiver that is ten times as fast as the seed, until it is found out.
    let mut plan = swarm();
    plan.classes[0].up = Some(8e5);
    let mut corrupt = Class::new("corrupt", 1);
    (corrupt.behaviour, corrupt.up) = (Behaviour::Corrupt, Some(8e6));
    plan.classes.push(corrupt);
    let run = live(plan, &options()).unwrap();
    assert_eq!(run.figures["complete"], 1.0);
    assert_eq!(run.figures["banned"], 1.0, "{:?}", run.figures);
}

#[test]
fn processes_do_what_tasks_do() {
    let options = LiveOptions {
        processes: true,
        ..options()
    };
    let run = live(swarm(), &options).unwrap();
    assert_eq!(run.figures["complete"], 1.0, "{:?}", run.figures);
    let children = options.program.is_some();
    assert!(children && run.cost.peak_memory > 10 << 20);
}

fn dht() -> Plan {
    Plan {
        network: network(),
        dht: Some(DhtPlan {
            nodes: 24,
            start: DhtStart::Cold,
            join_within: Duration::from_secs(1),
            announces: 5,
            lookups: 20,
            lookup_within: Duration::from_secs(2),
            ..DhtPlan::default()
        }),
        ..Plan::default()
    }
}

#[test]
fn a_dht_survives_half_of_it_and_newcomers_with_a_table_need_no_router() {
    let mut plan = dht();
    let at = |seconds: f64, action| TimedEvent {
        at: Duration::from_secs_f64(seconds),
        action,
    };
    let newcomers = Action::Newcomers {
        count: 3,
        cached: true,
    };
    plan.events = vec![
        at(0.2, Action::RoutersDown(1)),
        at(0.5, newcomers),
        at(1.0, Action::Kill(0.3)),
    ];
    let run = live(plan, &options()).unwrap();
    let figure = |name: &str| run.figures[name];
    assert!(figure("joined") > 0.9, "{:?}", run.figures);
    assert!(figure("success") > 0.7, "{:?}", run.figures);
    assert_eq!(figure("joined_cached"), 1.0, "{:?}", run.figures);
    assert!(figure("first_ms_p50") > 0.0 && figure("queries") >= 1.0);
    let present: Vec<f64> = run
        .series
        .population
        .iter()
        .map(|(_, count)| *count)
        .collect();
    assert!(present.iter().any(|count| *count < 22.0), "{present:?}");
}

#[test]
fn what_sockets_cannot_do_is_said_with_a_remedy() {
    type Change = fn(&mut Plan);
    let rows: [(&str, Plan, Change); 7] = [
        ("network.latency", swarm(), |plan| {
            plan.network.latency = Delay::Geo5
        }),
        ("behaviour Tyrant", swarm(), |plan| {
            plan.classes[1].behaviour = Behaviour::Tyrant
        }),
        ("arrivals", swarm(), |plan| {
            plan.classes[1].arrivals = Some(1.0)
        }),
        ("without a seed", swarm(), |plan| {
            plan.classes[0].complete = false
        }),
        ("partition", dht(), |plan| {
            plan.events.push(TimedEvent {
                at: Duration::ZERO,
                action: Action::Partition(Duration::from_secs(1)),
            });
        }),
        ("1000000 nodes", dht(), |plan| {
            plan.dht.iter_mut().for_each(|dht| dht.nodes = 1_000_000);
        }),
        ("attack", dht(), |plan| {
            plan.attack = Some(Default::default())
        }),
    ];
    for (words, mut plan, change) in rows {
        change(&mut plan);
        let error = live(plan, &options()).unwrap_err();
        assert!(matches!(error, LiveError::Unsupported { .. }), "{words}");
        assert!(error.to_string().contains(words), "{words}: {error}");
    }
}

#[test]
fn notes_name_the_limiter_and_the_choker() {
    let case = Case {
        settings: Vec::new(),
        plan: swarm(),
    };
    let all = notes(&case, &options()).join(" ");
    assert!(
        all.contains("payload") && all.contains("every 0.1 s"),
        "{all}"
    );
    let options = LiveOptions {
        isolation: Isolation::Namespaces,
        ..options()
    };
    assert!(notes(&case, &options).join(" ").contains("5.6 %"));
}

/// What this machine's kernel or rights refuse is no failure of ours.
#[expect(clippy::print_stderr, reason = "says what was not tested")]
fn namespaces(plan: Plan) -> Option<Run> {
    let options = LiveOptions {
        isolation: Isolation::Namespaces,
        ..options()
    };
    match live(plan, &options) {
        Ok(run) => Some(run),
        Err(
            error @ (LiveError::Unsupported { .. }
            | LiveError::Setup { .. }
            | LiveError::Spawn { .. }),
        ) => {
            eprintln!("skipped: {error}");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

/// The namespaces that this process has made and not removed.
fn left_over() -> usize {
    let ours = format!("mst{}-", std::process::id());
    let names = std::fs::read_dir("/run/netns")
        .into_iter()
        .flatten()
        .flatten();
    names
        .filter(|name| name.file_name().to_string_lossy().starts_with(&ours))
        .count()
}

#[test]
fn namespaces_hold_the_rates_and_are_cut_and_removed() {
    if let Some(run) = namespaces(swarm()) {
        assert_eq!(run.figures["complete"], 1.0, "{:?}", run.figures);
        // The wires carry headers as well; bursts are worth a tenth of so small a file.
        assert!(run.figures["ratio"] > 0.8, "{:?}", run.figures);
        assert!(run.figures["ratio_less_headers"] < run.figures["ratio"]);
    }
    let mut plan = dht();
    plan.dht.iter_mut().for_each(|dht| dht.nodes = 8);
    plan.events.push(TimedEvent {
        at: Duration::from_millis(300),
        action: Action::Partition(Duration::from_secs(1)),
    });
    if let Some(run) = namespaces(plan) {
        assert!(run.figures["success"] > 0.5, "{:?}", run.figures);
    }
    assert_eq!(left_over(), 0);
}
