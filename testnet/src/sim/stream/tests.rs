use mainswarm::network::Network;

use super::*;
use crate::sim::{LinkConfig, Nat, NodeConfig, World, WorldConfig, shard::Shard};

const BLOCK: usize = 16_384;

/// Nodes without cores: only their lines matter. The first has the uplink, the last the downlink
/// that is given; every message takes 50 ms.
fn lines(nodes: u32, up: Option<u64>, down: Option<u64>) -> Lines {
    let mut world = World::new(WorldConfig {
        seed: 1,
        links: LinkConfig::constant(Duration::from_millis(50)),
        network: Network::Private,
        threads: 1,
    });
    for node in 0..nodes {
        world.add_node(NodeConfig {
            up: up.filter(|_| node == 0),
            down: down.filter(|_| node == nodes - 1),
            nat: Nat::Open,
            ..NodeConfig::default()
        });
    }
    Lines { world }
}

struct Lines {
    world: World,
}

type Seen = (f64, u32, SocketKey, Flight);

impl Lines {
    fn shard(&mut self) -> &mut Shard {
        self.world.shards_mut().next().unwrap()
    }

    fn with<T>(&mut self, node: u32, call: impl FnOnce(&mut Line, &mut Medium) -> T) -> T {
        let shard = self.shard();
        call(&mut shard.nodes[node as usize].line, &mut shard.medium)
    }

    fn now(&mut self) -> f64 {
        self.shard().medium.now as f64 / 1e9
    }

    fn send(&mut self, node: u32, key: SocketKey, bytes: usize, payload: usize) {
        self.with(node, |line, medium| {
            let bytes = Written {
                front: vec![0; bytes - payload],
                block: vec![0; payload].into(),
            };
            line.send(medium, key, bytes);
        });
    }

    /// Gives both sides.
    fn connect(&mut self, from: u32, to: u32) -> (SocketKey, SocketKey) {
        let addr = self.world.addr(to);
        self.with(from, |line, medium| line.dial(medium, 0, addr));
        let seen = self.run(None);
        let [(_, _, far, Flight::Accept)] = &seen[..] else {
            panic!("{seen:?}");
        };
        let far = *far;
        let near = self.with(from, |line, _| *line.sockets().last().unwrap());
        let mut sockets = self.with(to, |line, _| line.sockets());
        assert!(near == far && !sockets.is_empty());
        (near, sockets.pop().unwrap())
    }

    /// Runs until only time-outs are left, or to a time in seconds. Gives what arrived when, at
    /// which node and side.
    fn run(&mut self, until: Option<f64>) -> Vec<Seen> {
        let until = until.map_or(u64::MAX, |seconds| (seconds * 1e9) as u64);
        let mut seen = Vec::new();
        let mut timeouts = Vec::new();
        while let Some(event) = self.shard().medium.next(until) {
            let node = event.node();
            let time = self.now();
            let arrived = self.with(node, |line, medium| match event {
                Event::Arrived(mut arrival) => {
                    let Some(key) = arrival.socket else {
                        line.accept(medium, &arrival, 1);
                        return None;
                    };
                    if matches!(arrival.flight, Flight::Accept) {
                        line.connected(key, arrival.back);
                    }
                    let flight = std::mem::replace(&mut arrival.flight, Flight::Fin);
                    Some((key, line.arrived(medium, key, flight)?))
                }
                Event::Landed { socket, .. } => Some((socket, line.landed(socket)?)),
                Event::FrameSent { .. } => {
                    line.frame_sent(medium);
                    None
                }
                timeout => {
                    timeouts.push(timeout);
                    None
                }
            });
            seen.extend(arrived.map(|(key, flight)| (time, node, key, flight)));
        }
        seen
    }
}

fn lengths(seen: &[Seen]) -> Vec<usize> {
    seen.iter()
        .map(|(_, _, _, flight)| match flight {
            Flight::Bytes { bytes, .. } => bytes.len(),
            other => panic!("{other:?}"),
        })
        .collect()
}

#[test]
fn an_uplink_is_shared_in_turn_and_never_idle() {
    let mut lines = lines(3, Some(BLOCK as u64), None);
    let (a, _) = lines.connect(0, 1);
    let (b, _) = lines.connect(0, 2);
    let start = lines.now();
    for _ in 0..4 {
        lines.send(0, a, BLOCK, BLOCK);
    }
    for _ in 0..2 {
        lines.send(0, b, BLOCK, BLOCK);
    }
    let seen: Vec<_> = lines
        .run(None)
        .iter()
        .map(|(time, node, ..)| ((time - start - 0.05).round(), *node == 1))
        .collect();
    let expected = [true, false, true, false, true, true];
    let expected: Vec<_> = (1..).map(f64::from).zip(expected).collect();
    assert_eq!(seen, expected);
}

#[test]
fn packets_pass_the_blocks_of_other_streams_only() {
    let mut lines = lines(3, Some(BLOCK as u64), None);
    let (a, _) = lines.connect(0, 1);
    let (b, _) = lines.connect(0, 2);
    for _ in 0..3 {
        lines.send(0, a, BLOCK, BLOCK);
    }
    lines.send(0, a, 5, 0);
    lines.send(0, b, 9, 0);
    lines.send(0, b, 17, 0);
    let seen = lines.run(None);
    assert_eq!(lengths(&seen), [BLOCK, 26, BLOCK, BLOCK, 5]);
}

#[test]
fn a_downlink_holds_its_rate_and_the_order() {
    let mut lines = lines(3, None, Some(BLOCK as u64));
    let (a, _) = lines.connect(0, 2);
    let (b, _) = lines.connect(1, 2);
    let start = lines.now();
    for (node, key) in [(0, a), (1, b), (0, a), (1, b)] {
        lines.send(node, key, BLOCK, BLOCK);
    }
    lines.send(0, a, 5, 0);
    let seen = lines.run(Some(start + 6.0));
    let times: Vec<_> = seen.iter().map(|(time, ..)| time - start - 0.05).collect();
    // One after the other; the five bytes are behind their own stream's blocks, and not more.
    assert_eq!(lengths(&seen), [BLOCK, BLOCK, 5, BLOCK, BLOCK]);
    for (time, expected) in times.iter().zip([1.0, 2.0, 2.0, 3.0, 4.0]) {
        assert!((time - expected).abs() < 0.01, "{times:?}");
    }
}

#[test]
fn a_close_comes_after_the_bytes_and_frees_the_slot() {
    let mut lines = lines(2, Some(BLOCK as u64), None);
    let (a, far) = lines.connect(0, 1);
    lines.send(0, a, 100, 0);
    lines.send(0, a, BLOCK, BLOCK);
    // The first frame leaves, the second is dropped by the close.
    let now = lines.now();
    lines.run(Some(now + 0.01));
    lines.with(0, |line, medium| {
        assert_eq!(line.sent_bytes(), 100);
        line.close(medium, a);
    });
    let seen = lines.run(None);
    assert!(
        matches!(
            &seen[..],
            [(_, 1, _, Flight::Bytes { bytes, .. }), (_, 1, _, Flight::Fin)] if bytes.len() == 100
        ),
        "{seen:?}"
    );
    lines.with(1, |line, _| line.drop_socket(far));
    let (again, _) = lines.connect(0, 1);
    assert_eq!(again.slot, a.slot);
    assert_ne!(again.generation, a.generation);
    assert!(lines.with(0, |line, _| line.socket(a).is_none()));
}

#[test]
fn a_partition_holds_a_stream_up_until_tcp_tries_again() {
    let mut lines = lines(2, None, None);
    let (a, far) = lines.connect(0, 1);
    lines.world.partition(|node| node as u8);
    let start = lines.now();
    lines.send(0, a, 10, 0);
    lines.send(0, a, BLOCK, BLOCK);
    assert!(lines.run(Some(start + 5.0)).is_empty());
    let given_up = |lines: &mut Lines| {
        let now = lines.shard().medium.now;
        lines.with(0, |line, _| line.is_given_up(now, a))
    };
    assert!(!given_up(&mut lines));
    lines.shard().medium.now = ((start + 5.0) * 1e9) as u64;
    lines.world.heal();
    let seen = lines.run(None);
    assert_eq!(lengths(&seen), [10, BLOCK]);
    // The tries are 0.2, 0.4, ... 6.4 s after the first.
    assert!((seen[0].0 - start - 6.4).abs() < 0.1, "{seen:?}");
    lines.world.partition(|node| node as u8);
    let start = lines.now();
    lines.send(1, far, 10, 0);
    lines.run(Some(start + 200.0));
    lines.shard().medium.now = ((start + 200.0) * 1e9) as u64;
    let now = lines.shard().medium.now;
    assert!(lines.with(1, |line, _| line.is_given_up(now, far)));
    assert!(!given_up(&mut lines), "who sends nothing notices nothing");
}
