//! A seed gives one run: the same trace twice in a process, and the same in another process.

use std::{process::Command, time::Duration};

use mainswarm_testnet::sim::{
    LinkConfig,
    scenario::{ColdDht, Discovery, Swarm, churn, measure_lookups},
};

/// A swarm that finds itself by a small lossy DHT: both cores, metadata, every kind of event.
fn swarm_trace(seed: u64) -> u64 {
    let report = Swarm {
        peers: 12,
        pieces: 32,
        magnet: true,
        block_liars: 1,
        leavers: 2,
        discovery: Discovery::Dht,
        links: LinkConfig::internet(),
        choker_scale: 0.1,
        ..Swarm::new(seed)
    }
    .run();
    assert!(report.complete(), "{report}");
    report.trace
}

/// A DHT with churn.
fn dht_trace(seed: u64) -> u64 {
    let mut world = ColdDht::new(seed, 60).grow(Duration::from_secs(30));
    churn(
        &mut world,
        seed,
        Duration::from_secs(120),
        Duration::from_secs(120),
    );
    measure_lookups(&mut world, seed, 20);
    world.trace()
}

#[test]
fn a_seed_gives_one_run() {
    for trace in [swarm_trace, dht_trace] {
        let first = trace(3);
        assert_eq!(first, trace(3), "the same seed twice");
        assert_ne!(first, trace(4), "another seed");
    }
}

/// In a process of its own every `HashMap` iterates in another order and the clock's epoch differs.
#[test]
fn a_seed_gives_the_same_run_in_another_process() {
    let traces = || format!("{:016x} {:016x}", swarm_trace(5), dht_trace(5));
    if std::env::var_os(CHILD).is_some() {
        println!("{MARK}{}", traces());
        return;
    }
    let output = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "a_seed_gives_the_same_run_in_another_process",
            "--nocapture",
        ])
        .env(CHILD, "1")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let theirs = text.lines().find_map(|line| Some(line.split_once(MARK)?.1));
    assert_eq!(theirs, Some(traces().as_str()), "{text}");
}

const CHILD: &str = "MAINSWARM_TRACE_CHILD";
const MARK: &str = "traces: ";
