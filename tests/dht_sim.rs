//! A DHT of a thousand nodes in virtual time: who announces is found.
//!
//! A failure prints its seed; `MAINSWARM_SEED=7 cargo test --test dht_sim` runs that seed alone.

use std::time::Duration;

use mainswarm::{ids::InfoHash, network::Network};
use mainswarm_testnet::sim::{
    LinkConfig, NodeConfig, WarmStart, World, WorldConfig,
    scenario::{ColdDht, churn, measure_lookups},
};

fn seed() -> u64 {
    let seed = std::env::var("MAINSWARM_SEED").ok();
    seed.and_then(|seed| seed.parse().ok()).unwrap_or(1)
}

#[test]
fn a_thousand_nodes_join_one_router_and_find_every_announce() {
    let seed = seed();
    let mut world = ColdDht::new(seed, 1_000).grow(Duration::from_secs(60));
    let ready = world.nodes().filter(|node| node.dht_ready()).count();
    assert_eq!(ready, 1_000, "seed {seed}: not everybody has joined");

    // A minute after the last has joined, tables know little more than their own neighbourhood.
    let young = measure_lookups(&mut world, seed, 200);
    println!("seed {seed}, young: {young}");
    assert_eq!(young.found, young.lookups, "seed {seed}: {young}");
    // A table that does not know the network's size yet must not see an attack in every lookup.
    assert!(
        young.queries.0 <= 20.0 && young.announced <= 10.0,
        "seed {seed}: {young}"
    );

    // Once every table has been refreshed (BEP 5: after 15 minutes), everything is found.
    world.run_until(Duration::from_secs(25 * 60));
    let before = world.counts();
    let report = measure_lookups(&mut world, seed + 1_000, 200);
    println!("seed {seed}, refreshed: {report}; {before:?}");
    assert_eq!(report.found, report.lookups, "seed {seed}: {report}");
    // The whole chain of referrals, not only up to the first peer, which takes about two.
    assert!(report.hops <= 4.0, "seed {seed}: {report}");
    assert!(report.queries.0 <= 25.0, "seed {seed}: {report}");
    let [p50, p90, p99] = report.first_peer.map(|time| time.as_millis());
    assert!(
        p50 <= 450 && p90 <= 800 && p99 <= 2_500,
        "seed {seed}: {report}"
    );
    assert!(report.announced >= 7.0, "seed {seed}: {report}");
    // Upkeep of an idle node: less than one message in two seconds.
    let per_node = before.datagrams as f64 / 1_000.0 / (25.0 * 60.0);
    assert!(
        per_node <= 0.5,
        "seed {seed}: {per_node:.2} datagrams a second"
    );
}

#[test]
fn announces_are_found_while_nodes_come_and_go() {
    let seed = seed();
    let mut world = ColdDht::new(seed, 250).grow(Duration::from_secs(60));
    churn(
        &mut world,
        seed,
        Duration::from_secs(600),
        Duration::from_secs(900),
    );
    let gone = world.nodes().filter(|node| !node.is_up()).count();
    let report = measure_lookups(&mut world, seed, 200);
    println!("seed {seed}: {gone} nodes gone; {report}");
    assert!(
        gone >= 150,
        "seed {seed}: the test is no test with {gone} gone"
    );
    assert!(report.found >= 198, "seed {seed}: {report}");
}

#[test]
fn the_same_on_global_addresses() {
    let seed = seed();
    let dht = ColdDht {
        network: Network::Mainline,
        ..ColdDht::new(seed, 200)
    };
    let mut world = dht.grow(Duration::from_secs(60));
    let report = measure_lookups(&mut world, seed, 50);
    println!("seed {seed}: {report}");
    assert_eq!(report.found, report.lookups, "seed {seed}: {report}");
}

#[test]
fn two_nodes_are_a_network() {
    let seed = seed();
    let mut world = ColdDht::new(seed, 2).grow(Duration::from_secs(60));
    let report = measure_lookups(&mut world, seed, 5);
    assert_eq!(report.found, report.lookups, "seed {seed}: {report}");
}

#[test]
fn nodes_know_how_large_their_network_is() {
    let seed = seed();
    for size in [1_000u32, 10_000] {
        let mut world = World::new(WorldConfig {
            seed,
            links: LinkConfig::internet(),
            network: Network::Mainline,
            threads: 2,
        });
        for _ in 0..size {
            world.add_node(NodeConfig {
                dht: Some(Vec::new()),
                ..NodeConfig::default()
            });
        }
        world.warm_start(WarmStart::default());
        let seekers = 20;
        let error = |world: &World| {
            let errors = (0..seekers).map(|node| {
                let dht = world.node(node).dht().expect("a DHT node");
                let estimate = dht.size_estimate().expect("a full table");
                assert!(estimate.spread <= 0.5, "{estimate:?}");
                (estimate.nodes / f64::from(size) - 1.0).abs()
            });
            errors.sum::<f64>() / f64::from(seekers)
        };
        let before = error(&world);
        for node in 0..seekers {
            for key in 0..16u8 {
                let mut hash = [key; 20];
                hash[0] = key.wrapping_mul(67) ^ (node as u8).wrapping_mul(151);
                hash[1] = node as u8;
                world.get_peers(node, InfoHash::new(hash));
            }
        }
        world.run_for(Duration::from_secs(30));
        let after = error(&world);
        println!("seed {seed}: {size} nodes, error {before:.3} by tables, {after:.3} by lookups");
        assert!(before <= 0.4, "seed {seed}, {size} nodes: {before}");
        assert!(after <= 0.2, "seed {seed}, {size} nodes: {after}");
    }
}
