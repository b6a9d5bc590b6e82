//! How fast the simulator's engine is, with every message really encoded and decoded.
//!
//! `cargo bench -p mainswarm-testnet --bench engine` prints millions of events per second of
//! processor time for a DHT, on one thread and on two, and for a swarm, and fails below 0.4 (the
//! best of three counts, since machines are never quite idle). With `-- swarm` or `-- dht` it runs
//! that alone, and with `-- scale NODES [THREADS]` a large DHT once, and prints what it took.

#![allow(clippy::print_stdout, reason = "the figures are its output")]

use std::{process::ExitCode, time::Duration};

use mainswarm::{
    ids::{InfoHash, PeerId},
    network::Network,
    torrent::TorrentConfig,
};
use mainswarm_testnet::sim::{
    Content, LinkConfig, NodeConfig, PeerConfig, Speed, WarmStart, World, WorldConfig,
};

/// As in the command.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Millions of events per second and core.
const GATE: f64 = 0.4;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let mut args = args.iter().filter(|arg| *arg != "--bench");
    let number = |arg: Option<&String>| arg.and_then(|arg| arg.parse().ok());
    let only = args.next().map(String::as_str);
    if only == Some("scale") {
        let nodes = number(args.next()).unwrap_or(100_000);
        scale(nodes, number(args.next()).unwrap_or(2) as usize);
        return ExitCode::SUCCESS;
    }
    let mut slow = false;
    let mut show = |what, best| {
        println!("{best:.2} M events/s/core: {what}");
        slow |= best < GATE;
    };
    if only != Some("swarm") {
        show("DHT of 100,000 nodes", dht(1));
        show("DHT of 100,000 nodes on two threads", dht(2));
    }
    if only != Some("dht") {
        show("swarm of 35 peers, 1600 pieces of 64 KiB", swarm());
    }
    // A debug build is not what the gate is about.
    if slow && !cfg!(debug_assertions) {
        println!("below the gate of {GATE} M events/s/core");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

/// A converged network that keeps itself up and answers some lookups.
fn dht(threads: usize) -> f64 {
    let mut world = warm_world(100_000, threads);
    let runs = (0..3).map(|run| {
        let before = (world.speed(), busy());
        look_up(&mut world, run * 100, 100, Duration::from_secs(10));
        rate(before, world.speed())
    });
    runs.fold(0.0, f64::max)
}

fn warm_world(nodes: u32, threads: usize) -> World {
    let mut world = World::new(WorldConfig {
        seed: 1,
        links: LinkConfig::internet(),
        network: Network::Private,
        threads,
    });
    for _ in 0..nodes {
        world.add_node(NodeConfig {
            dht: Some(Vec::new()),
            wide_table: false,
            ..NodeConfig::default()
        });
    }
    world.warm_start(WarmStart::default());
    world
}

/// `count` lookups spread over `time`.
fn look_up(world: &mut World, first: u32, count: u32, time: Duration) {
    let nodes = world.nodes().len() as u32;
    for at in first..first + count {
        let mut key = [0; 20];
        for (word, chunk) in (1u32..).zip(key.chunks_exact_mut(4)) {
            chunk.copy_from_slice(&(word * 97 + at).wrapping_mul(0x9e37_79b1).to_le_bytes());
        }
        world.get_peers(at.wrapping_mul(0x9e37_79b1) % nodes, InfoHash::new(key));
        world.run_for(time / count);
    }
}

/// A seed of ten times a peer's uplink, and chokers scaled with the download.
fn swarm() -> f64 {
    let content = Content::generate(1, 1_600, 64 * 1024);
    let run = |seed| {
        let mut world = World::new(WorldConfig {
            seed,
            links: LinkConfig::constant(Duration::from_millis(20)),
            network: Network::Private,
            threads: 1,
        });
        let mut members = Vec::new();
        for n in 0..36 {
            let node = world.add_node(NodeConfig {
                up: Some(if n == 0 { 10_000_000 } else { 1_000_000 }),
                ..NodeConfig::default()
            });
            let mut torrent = TorrentConfig::new(PeerId::with_suffix([0; 12]), Network::Private);
            torrent.choke_interval /= 10;
            torrent.optimistic_interval /= 10;
            let mut peer = PeerConfig::new(content.clone(), torrent);
            peer.complete = n == 0;
            peer.candidates = members.clone();
            world.add_torrent(node, peer);
            members.push(world.addr(node));
        }
        let before = (world.speed(), busy());
        let finished = world.run_while(Duration::from_secs(1_000), |world| world.completed() < 35);
        assert!(finished, "the swarm has not finished: {}", world.speed());
        rate(before, world.speed())
    };
    (1..=3).map(run).fold(0.0, f64::max)
}

/// Events per second of processor time in millions: what other processes take does not count.
fn rate((before, busy_before): (Speed, Duration), after: Speed) -> f64 {
    let span = Speed {
        events: after.events - before.events,
        wall: after.wall - before.wall,
        ..after
    };
    let busy = (busy() - busy_before).as_secs_f64();
    println!("  {span}; {busy:.2} s of processor time");
    span.events as f64 / busy / 1e6
}

/// The processor time of this process.
fn busy() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// A network of this size that is up for a minute, with 2,000 lookups in it.
#[allow(
    clippy::disallowed_methods,
    reason = "the time to build is part of the figure"
)]
fn scale(nodes: u32, threads: usize) {
    let began = std::time::Instant::now();
    let mut world = warm_world(nodes, threads);
    println!(
        "built in {:.1} s; {}",
        began.elapsed().as_secs_f64(),
        world.speed()
    );
    let before = busy();
    look_up(&mut world, 0, 2_000, Duration::from_secs(40));
    world.run_for(Duration::from_secs(20));
    let done = world.lookups().iter().filter_map(|lookup| lookup.done);
    let (count, asked, hops) = done.fold((0u32, 0, 0), |(count, asked, hops), stats| {
        (count + 1, asked + stats.asked, hops + stats.hops)
    });
    println!("{}; {:?}", world.speed(), world.counts());
    let busy = (busy() - before).as_secs_f64();
    let rate = world.counts().events as f64 / busy / 1e6;
    println!("{busy:.2} s of processor time: {rate:.3} M events/s/core");
    println!(
        "{count} lookups: {:.1} queries, {:.2} hops each; {:.1} s in all; trace {:016x}",
        f64::from(asked) / f64::from(count),
        f64::from(hops) / f64::from(count),
        began.elapsed().as_secs_f64(),
        world.trace()
    );
}
