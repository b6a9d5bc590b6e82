//! A seed gives one run: the same trace twice in a process, on any number of threads, and in
//! another process.

use std::{net::SocketAddr, process::Command, time::Duration};

use mainswarm::{
    ids::{InfoHash, PeerId},
    network::Network,
    torrent::TorrentConfig,
};
use mainswarm_testnet::sim::{
    Actor, ActorContext, Content, Counts, LinkConfig, Nat, NodeConfig, PeerConfig, WarmStart,
    World, WorldConfig,
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

/// All that a run can show.
#[derive(Debug, PartialEq)]
struct Outcome {
    trace: u64,
    counts: Counts,
    lookups: String,
    ends: Vec<Option<Duration>>,
    now: Duration,
}

impl Outcome {
    fn of(world: &World) -> Self {
        let torrents = world.nodes().flat_map(|node| node.torrents());
        Self {
            trace: world.trace(),
            counts: world.counts(),
            lookups: format!("{:?}", world.lookups()),
            ends: torrents.map(|torrent| torrent.log().completed).collect(),
            now: world.now(),
        }
    }
}

fn world(seed: u64, threads: usize) -> World {
    World::new(WorldConfig {
        seed,
        links: LinkConfig::internet(),
        network: Network::Private,
        threads,
    })
}

/// A DHT, begun warm, that is joined, left, cut in two and healed, with every kind of NAT and
/// somebody who sends rubbish.
fn dht_outcome(seed: u64, threads: usize) -> Outcome {
    let mut world = world(seed, threads);
    let nats = [
        Nat::Open,
        Nat::Open,
        Nat::FullCone,
        Nat::PortRestricted,
        Nat::Symmetric,
        Nat::Firewall,
    ];
    let add = |world: &mut World, nat: Nat, routers: Vec<SocketAddr>| {
        world.add_node(NodeConfig {
            dht: Some(routers),
            nat,
            ..NodeConfig::default()
        })
    };
    for n in 0..120 {
        add(&mut world, nats[n % nats.len()], Vec::new());
    }
    world.warm_start(WarmStart {
        dead: 0.2,
        ..WarmStart::default()
    });
    let rubbish = world.add_actor(Box::new(Rubbish::default()));
    let router = vec![world.addr(0)];
    for n in 0..30u32 {
        world.run_for(Duration::from_millis(700));
        world.crash(3 * n + 1);
        let newcomer = add(&mut world, nats[n as usize % nats.len()], router.clone());
        // Each key is looked for seven seconds after it was announced.
        let key = |n: u32| InfoHash::new([n as u8 * 8; 20]);
        world.announce(newcomer - 20, key(n));
        world.get_peers(3 * n + 2, key(n.saturating_sub(10)));
    }
    world.partition(|node| (node % 5 == 0).into());
    world.set_node_loss(2, Some(0.5));
    let mut asked = 0;
    let end = world.now() + Duration::from_secs(90);
    world.run_while(end, |world| {
        asked += 1;
        world.counts().datagrams < 20_000
    });
    assert!(asked > 10, "the run ended at once");
    world.heal();
    world.set_loss(0.1);
    world.run_for(Duration::from_secs(30));
    let figures = world.actor(rubbish).unwrap().figures();
    assert!(figures[0].1 > 0.0, "nobody answered: {figures:?}");
    assert!(world.counts().filtered > 0);
    let found = world.lookups().iter();
    assert!(found.filter(|record| record.first_peer.is_some()).count() > 10);
    Outcome::of(&world)
}

/// A node of another make: it sends what nobody understands, to anybody.
#[derive(Debug, Default)]
struct Rubbish {
    answers: u64,
}

impl Actor for Rubbish {
    fn on_datagram(&mut self, context: &mut ActorContext<'_>, from: SocketAddr, datagram: &[u8]) {
        self.answers += 1;
        assert_ne!(from, context.addr());
        context.send(from, &datagram[..datagram.len() / 2]);
    }

    fn on_timer(&mut self, context: &mut ActorContext<'_>) {
        let mut to = context.addr();
        let draw = context.draw();
        let ip = std::net::Ipv4Addr::from_bits((10 << 24) + 1 + draw as u32 % 120);
        to.set_ip(ip.into());
        context.send(to, b"d1:q4:ping1:t2:aa1:y1:qe");
        context.wake_at(context.now() + Duration::from_millis(100 + draw % 100));
    }

    fn figures(&self) -> Vec<(&'static str, f64)> {
        vec![("answers", self.answers as f64)]
    }
}

/// A swarm with a limited downlink, a peer behind a NAT, one that crashes, one that leaves and a
/// partition that is longer than streams bear.
fn swarm_outcome(seed: u64, threads: usize) -> Outcome {
    let mut world = world(seed, threads);
    let content = Content::generate(seed, 48, 32 * 1024);
    let mut members: Vec<SocketAddr> = Vec::new();
    for n in 0..16u32 {
        let node = world.add_node(NodeConfig {
            up: Some(if n == 0 { 200_000 } else { 50_000 }),
            down: Some(400_000),
            nat: if n == 5 { Nat::Symmetric } else { Nat::Open },
            ..NodeConfig::default()
        });
        let mut torrent = TorrentConfig::new(PeerId::with_suffix([0; 12]), Network::Private);
        torrent.choke_interval /= 10;
        let mut peer = PeerConfig::new(content.clone(), torrent);
        peer.complete = n == 0;
        peer.candidates = members.clone();
        world.add_torrent(node, peer);
        members.push(world.addr(node));
        world.run_for(Duration::from_millis(130));
    }
    world.run_for(Duration::from_secs(10));
    world.crash(3);
    world.leave(4);
    world.partition(|node| (node > 7).into());
    world.run_for(Duration::from_secs(150));
    world.heal();
    let end = world.now() + Duration::from_secs(600);
    let ended = world.run_while(end, |world| world.completed() < 13);
    assert!(ended, "seed {seed}: {} have finished", world.completed());
    Outcome::of(&world)
}

#[test]
fn threads_change_nothing() {
    for seed in [1, 2] {
        let (dht, swarm) = (dht_outcome(seed, 1), swarm_outcome(seed, 1));
        for threads in [2, 3] {
            assert_eq!(dht, dht_outcome(seed, threads), "{threads} threads");
            assert_eq!(swarm, swarm_outcome(seed, threads), "{threads} threads");
        }
    }
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
    let traces = |threads| {
        let (dht, swarm) = (dht_outcome(5, threads), swarm_outcome(5, threads));
        let small = (swarm_trace(5), dht_trace(5));
        format!("{small:x?} {dht:?} {swarm:?}")
    };
    if std::env::var_os(CHILD).is_some() {
        println!("{MARK}{}", traces(2));
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
    assert_eq!(theirs, Some(traces(1).as_str()), "{text}");
}

const CHILD: &str = "MAINSWARM_TRACE_CHILD";
const MARK: &str = "traces: ";
