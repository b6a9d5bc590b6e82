//! Reliable ordered pipes between two peers, and the access lines that they share.
//!
//! A pipe is what TCP gives: a dial takes a round trip, bytes arrive whole and in order, a close
//! arrives after them. What a node sends goes over its uplink at the uplink's rate, a frame (one
//! block, or small messages together) at a time, in turn for all pipes that have something to send.
//! Frames that fit a packet go ahead of the blocks of *other* pipes, as packets would interleave,
//! never ahead of their own pipe's. Loss and congestion are not modelled.

use std::{collections::VecDeque, net::SocketAddr, time::Duration};

use bytes::BytesMut;
use mainswarm::{torrent::PeerKey, wire::Decoder};

use super::world::{Event, Medium};

/// One side of a pipe. Never reused: a slot's next pipe has another generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct End {
    pub(crate) pipe: u32,
    pub(crate) generation: u32,
    pub(crate) side: Side,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Side {
    Dialler,
    Acceptor,
}

impl End {
    /// The other side of the same pipe.
    pub(crate) fn other(self) -> Self {
        let side = match self.side {
            Side::Dialler => Side::Acceptor,
            Side::Acceptor => Side::Dialler,
        };
        Self { side, ..self }
    }
}

/// How far a side is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// The dialler waits for an answer; the acceptor has not heard of the pipe.
    Dialling,
    /// Connected; the other's handshake has not arrived.
    Handshaking,
    /// The torrent in this slot has accepted the peer.
    Open { slot: usize, peer: PeerKey },
    /// This side sends and reads nothing more.
    Closed,
}

/// What a side holds. The bytes that are under way belong to the side that they will reach.
#[derive(Debug)]
pub(crate) struct Socket {
    pub(crate) node: u32,
    pub(crate) phase: Phase,
    /// The torrent that dialled; for the acceptor, until the handshake names it, `None`.
    pub(crate) slot: Option<usize>,
    /// The other side's address as seen from here.
    pub(crate) remote: SocketAddr,
    pub(crate) buffer: BytesMut,
    pub(crate) decoder: Decoder,
    /// Frames that wait for the uplink.
    queue: VecDeque<Frame>,
    /// Whether this side is on one of its uplink's lists, or on the line.
    listed: bool,
    /// What is under way to this side, in order, and when the last of it arrives.
    flight: VecDeque<Flight>,
    last_arrival: u64,
    /// What waits for this side's downlink.
    landing: VecDeque<Flight>,
}

/// What arrives at a side.
#[derive(Debug)]
pub(crate) enum Flight {
    /// Somebody dials.
    Syn,
    /// The dial was answered.
    Accept,
    /// Bytes, and how long they took on the sender's uplink.
    Bytes { bytes: Vec<u8>, transmission: u64 },
    /// The other side closed, or refused.
    Fin,
}

#[derive(Debug)]
struct Frame {
    bytes: Vec<u8>,
    /// Block bytes among them: credited to the sender when they have left.
    payload: usize,
}

/// A node's access line.
#[derive(Debug, Default)]
pub(crate) struct Line {
    /// Bytes per second, without limit if `None`.
    pub(crate) up: Option<u64>,
    pub(crate) down: Option<u64>,
    current: Option<(End, Frame, u64)>,
    small: VecDeque<End>,
    bulk: VecDeque<End>,
    down_free: u64,
    /// Bytes that have left, all messages included.
    pub(crate) sent: u64,
}

impl Line {
    pub(crate) fn new(up: Option<u64>, down: Option<u64>) -> Self {
        Self {
            up,
            down,
            ..Self::default()
        }
    }
}

#[derive(Debug)]
struct Pipe {
    generation: u32,
    sides: [Socket; 2],
}

/// All pipes of a world.
#[derive(Debug, Default)]
pub(crate) struct Pipes {
    slots: Vec<Option<Pipe>>,
    free: Vec<(u32, u32)>,
}

impl Pipes {
    /// A side that exists: the pipe was not given up by both sides.
    pub(crate) fn socket(&mut self, end: End) -> Option<&mut Socket> {
        let pipe = self.slots.get_mut(end.pipe as usize)?.as_mut()?;
        (pipe.generation == end.generation).then_some(&mut pipe.sides[end.side as usize])
    }

    /// The sides of a node that are not closed, in order of their slots.
    pub(crate) fn ends_of(&self, node: u32) -> Vec<End> {
        let mut ends = Vec::new();
        for (pipe, slot) in (0..).zip(&self.slots) {
            for (slot, side) in slot
                .iter()
                .flat_map(|pipe| [(pipe, Side::Dialler), (pipe, Side::Acceptor)])
            {
                let socket = &slot.sides[side as usize];
                if socket.node == node && socket.phase != Phase::Closed {
                    ends.push(End {
                        pipe,
                        generation: slot.generation,
                        side,
                    });
                }
            }
        }
        ends
    }

    fn open(&mut self, dialler: Socket, acceptor: Socket) -> End {
        let (pipe, generation) = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            (self.slots.len() as u32 - 1, 0)
        });
        self.slots[pipe as usize] = Some(Pipe {
            generation,
            sides: [dialler, acceptor],
        });
        End {
            pipe,
            generation,
            side: Side::Dialler,
        }
    }

    /// Frees the slot once both sides are closed.
    fn reap(&mut self, end: End) {
        let closed = |side: &Socket| side.phase == Phase::Closed;
        let slot = &mut self.slots[end.pipe as usize];
        if slot
            .as_ref()
            .is_some_and(|pipe| pipe.sides.iter().all(closed))
        {
            *slot = None;
            self.free.push((end.pipe, end.generation.wrapping_add(1)));
        }
    }
}

impl Medium {
    /// Dials an address for a torrent. Whatever comes of it arrives later.
    pub(crate) fn dial(&mut self, from: u32, slot: usize, addr: SocketAddr) {
        let known = |node: &u32| (*node as usize) < self.lines.len();
        let to = self
            .addresses
            .node_of(addr)
            .filter(known)
            .unwrap_or(u32::MAX);
        self.dials += 1;
        // The port of an outgoing connection is a passing one, not the listening port.
        let port = 32_768 + (self.dials % 28_000) as u16;
        let seen_as = SocketAddr::new(self.addresses.of(from).ip(), port);
        let dialler = Socket::new(from, Some(slot), addr);
        let acceptor = Socket::new(to, None, seen_as);
        let end = self.pipes.open(dialler, acceptor);
        self.queue.push(
            self.now + DIAL_TIMEOUT.as_nanos() as u64,
            Event::DialTimeout(end),
        );
        if to != u32::MAX {
            self.fly(end.other(), from, to, Flight::Syn);
        } else if let Some(socket) = self.pipes.socket(end.other()) {
            socket.phase = Phase::Closed;
        }
    }

    /// Answers a dial, from the acceptor's side.
    pub(crate) fn accept(&mut self, end: End) {
        let Some(socket) = self.pipes.socket(end) else {
            return;
        };
        socket.phase = Phase::Handshaking;
        let (from, to) = self.ends(end);
        self.fly(end.other(), from, to, Flight::Accept);
    }

    /// Sends bytes, `payload` of them block data.
    pub(crate) fn send(&mut self, end: End, bytes: Vec<u8>, payload: usize) {
        let Some(socket) = self.pipes.socket(end) else {
            return;
        };
        if socket.phase == Phase::Closed {
            return;
        }
        match socket.queue.back_mut() {
            // Messages written together leave in one packet.
            Some(last) if payload == 0 && last.payload == 0 && last.bytes.len() < PACKET => {
                last.bytes.extend_from_slice(&bytes);
            }
            _ => socket.queue.push_back(Frame { bytes, payload }),
        }
        let node = socket.node;
        self.list(end);
        self.start_frame(node);
    }

    /// Closes one side. Bytes that have not left are dropped, bytes under way still arrive.
    pub(crate) fn close(&mut self, end: End) {
        let Some(socket) = self.pipes.socket(end) else {
            return;
        };
        if socket.phase == Phase::Closed {
            return;
        }
        socket.shut();
        let (from, to) = self.ends(end);
        self.fly(end.other(), from, to, Flight::Fin);
        self.pipes.reap(end);
    }

    /// Closes one side without a word: the machine is gone.
    pub(crate) fn vanish(&mut self, end: End) {
        if let Some(socket) = self.pipes.socket(end) {
            socket.shut();
            self.pipes.reap(end);
        }
    }

    /// The uplink has sent a frame. Gives the side and the block bytes that left.
    pub(crate) fn frame_sent(&mut self, node: u32) -> Option<(End, usize)> {
        let line = &mut self.lines[node as usize];
        let (end, frame, transmission) = line.current.take()?;
        line.sent += frame.bytes.len() as u64;
        let open = self.pipes.socket(end).is_some_and(|socket| {
            socket.listed = false;
            socket.phase != Phase::Closed
        });
        let mut credit = None;
        if open {
            let (from, to) = self.ends(end);
            credit = Some((end, frame.payload));
            let bytes = frame.bytes;
            self.fly(
                end.other(),
                from,
                to,
                Flight::Bytes {
                    bytes,
                    transmission,
                },
            );
            self.list(end);
        }
        self.start_frame(node);
        credit.filter(|(_, payload)| *payload > 0)
    }

    /// Something has reached a side's access line. Gives what the node should see now; what must
    /// wait for the downlink comes out of [`Self::landed`].
    pub(crate) fn arrived(&mut self, end: End) -> Option<Flight> {
        let socket = self.pipes.socket(end)?;
        let flight = socket.flight.pop_front()?;
        if socket.phase == Phase::Closed {
            return None;
        }
        let line = &mut self.lines[socket.node as usize];
        let mut done = self.now;
        if let (
            Flight::Bytes {
                bytes,
                transmission,
            },
            Some(rate),
        ) = (&flight, line.down)
        {
            // The frame's first bit came in one transmission ago; the downlink passes bits on as
            // they come.
            let start = line.down_free.max(self.now.saturating_sub(*transmission));
            done = done.max(start + transmission_time(bytes.len(), rate));
            line.down_free = done;
        }
        if done <= self.now && socket.landing.is_empty() {
            return Some(flight);
        }
        socket.landing.push_back(flight);
        self.queue
            .push(done.max(line.down_free), Event::Landed(end));
        None
    }

    /// The downlink has passed something on.
    pub(crate) fn landed(&mut self, end: End) -> Option<Flight> {
        let socket = self.pipes.socket(end)?;
        let flight = socket.landing.pop_front()?;
        (socket.phase != Phase::Closed).then_some(flight)
    }

    /// The nodes at this side and at the other.
    fn ends(&mut self, end: End) -> (u32, u32) {
        let mut node = |end| {
            self.pipes
                .socket(end)
                .map_or(u32::MAX, |socket| socket.node)
        };
        (node(end), node(end.other()))
    }

    fn fly(&mut self, receiver: End, from: u32, to: u32, flight: Flight) {
        let nonce = self.nonce(from);
        let delay = self.links.one_way(from, to, nonce);
        let now = self.now;
        let Some(socket) = self.pipes.socket(receiver) else {
            return;
        };
        if socket.phase == Phase::Closed {
            return;
        }
        // Jitter must not turn a stream around.
        socket.last_arrival = socket.last_arrival.max(now + delay);
        socket.flight.push_back(flight);
        let at = socket.last_arrival;
        self.queue.push(at, Event::Arrived(receiver));
    }

    /// Puts a side on its uplink's lists if it has something to send and is on none.
    fn list(&mut self, end: End) {
        let Some(socket) = self.pipes.socket(end) else {
            return;
        };
        let Some(front) = socket.queue.front().filter(|_| !socket.listed) else {
            return;
        };
        socket.listed = true;
        let line = &mut self.lines[socket.node as usize];
        if front.bytes.len() <= PACKET {
            line.small.push_back(end);
        } else {
            line.bulk.push_back(end);
        }
    }

    fn start_frame(&mut self, node: u32) {
        let line = &mut self.lines[node as usize];
        while line.current.is_none() {
            let Some(end) = line.small.pop_front().or_else(|| line.bulk.pop_front()) else {
                return;
            };
            let Some(socket) = self.pipes.socket(end) else {
                continue;
            };
            // It keeps its turn while its frame is on the line: the others come first.
            socket.listed = false;
            if let Some(frame) = socket.queue.pop_front() {
                socket.listed = true;
                let time = line
                    .up
                    .map_or(0, |rate| transmission_time(frame.bytes.len(), rate));
                line.current = Some((end, frame, time));
                self.queue.push(self.now + time, Event::FrameSent(node));
            }
        }
    }
}

impl Socket {
    fn new(node: u32, slot: Option<usize>, remote: SocketAddr) -> Self {
        Self {
            node,
            phase: Phase::Dialling,
            slot,
            remote,
            buffer: BytesMut::new(),
            decoder: Decoder::new(),
            queue: VecDeque::new(),
            listed: false,
            flight: VecDeque::new(),
            last_arrival: 0,
            landing: VecDeque::new(),
        }
    }

    fn shut(&mut self) {
        self.phase = Phase::Closed;
        self.queue.clear();
        self.landing.clear();
        self.buffer = BytesMut::new();
    }
}

/// A dial and its handshake must be done in this time.
const DIAL_TIMEOUT: Duration = Duration::from_secs(10);
/// What fits one packet: an Ethernet frame less its headers.
const PACKET: usize = 1_448;

fn transmission_time(bytes: usize, rate: u64) -> u64 {
    (bytes as u128 * 1_000_000_000 / u128::from(rate.max(1))) as u64
}

#[cfg(test)]
mod tests {
    use mainswarm::network::Network;

    use super::*;
    use crate::sim::{LinkConfig, NodeConfig, World, WorldConfig};

    const BLOCK: usize = 16_384;

    /// Nodes without cores: only their lines matter. The first has the uplink, the last the
    /// downlink that is given; every message takes 50 ms.
    fn lines(nodes: u32, up: Option<u64>, down: Option<u64>) -> World {
        let mut world = World::new(WorldConfig {
            seed: 1,
            links: LinkConfig::constant(Duration::from_millis(50)),
            network: Network::Private,
        });
        for node in 0..nodes {
            world.add_node(NodeConfig {
                up: up.filter(|_| node == 0),
                down: down.filter(|_| node == nodes - 1),
                ..NodeConfig::default()
            });
        }
        world
    }

    fn connect(medium: &mut Medium, from: u32, to: u32) -> End {
        let addr = medium.addresses.of(to);
        medium.dial(from, 0, addr);
        let syn = run(medium);
        let [(_, end, Flight::Syn)] = &syn[..] else {
            panic!("{syn:?}");
        };
        medium.accept(*end);
        let accept = run(medium);
        assert!(matches!(accept[..], [(_, _, Flight::Accept)]), "{accept:?}");
        medium.pipes.socket(end.other()).unwrap().phase = Phase::Handshaking;
        end.other()
    }

    /// Runs until only dial time-outs are left. Gives what arrived where and when, in seconds.
    fn run(medium: &mut Medium) -> Vec<(f64, End, Flight)> {
        let mut seen = Vec::new();
        let mut timeouts = Vec::new();
        while let Some((time, event)) = medium.queue.pop() {
            if matches!(event, Event::DialTimeout(_)) {
                timeouts.push((time, event));
                continue;
            }
            medium.now = time;
            let (end, flight) = match event {
                Event::Arrived(end) => (end, medium.arrived(end)),
                Event::Landed(end) => (end, medium.landed(end)),
                Event::FrameSent(node) => {
                    medium.frame_sent(node);
                    continue;
                }
                other => panic!("{other:?}"),
            };
            seen.extend(flight.map(|flight| (time as f64 / 1e9, end, flight)));
        }
        for (time, event) in timeouts {
            medium.queue.push(time, event);
        }
        seen
    }

    #[test]
    fn an_uplink_is_shared_in_turn_and_never_idle() {
        let mut world = lines(3, Some(BLOCK as u64), None);
        let medium = &mut world.medium;
        let (a, b) = (connect(medium, 0, 1), connect(medium, 0, 2));
        let start = medium.now as f64 / 1e9;
        for _ in 0..4 {
            medium.send(a, vec![0; BLOCK], BLOCK);
        }
        for _ in 0..2 {
            medium.send(b, vec![0; BLOCK], BLOCK);
        }
        let seen: Vec<_> = run(medium)
            .iter()
            .map(|(time, end, _)| ((time - start - 0.05).round(), *end == a.other()))
            .collect();
        let expected = [true, false, true, false, true, true];
        let expected: Vec<_> = (1..).map(f64::from).zip(expected).collect();
        assert_eq!(seen, expected);
    }

    #[test]
    fn packets_pass_the_blocks_of_other_pipes_only() {
        let mut world = lines(3, Some(BLOCK as u64), None);
        let medium = &mut world.medium;
        let (a, b) = (connect(medium, 0, 1), connect(medium, 0, 2));
        for _ in 0..3 {
            medium.send(a, vec![0; BLOCK], BLOCK);
        }
        medium.send(a, vec![0; 5], 0);
        medium.send(b, vec![0; 9], 0);
        medium.send(b, vec![0; 17], 0);
        let lengths: Vec<_> = run(medium)
            .iter()
            .map(|(_, _, flight)| match flight {
                Flight::Bytes { bytes, .. } => bytes.len(),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(lengths, [BLOCK, 26, BLOCK, BLOCK, 5]);
    }

    #[test]
    fn a_downlink_holds_its_rate_and_the_order() {
        let mut world = lines(3, None, Some(BLOCK as u64));
        let medium = &mut world.medium;
        let (a, b) = (connect(medium, 0, 2), connect(medium, 1, 2));
        let start = medium.now as f64 / 1e9;
        for end in [a, b, a, b] {
            medium.send(end, vec![0; BLOCK], BLOCK);
        }
        medium.send(a, vec![0; 5], 0);
        run(medium); // all that has left arrives
        medium.close(a);
        let start_of_second = medium.now as f64 / 1e9;
        assert!(
            (start_of_second - start - 4.05).abs() < 0.01,
            "{start_of_second}"
        );
    }

    #[test]
    fn a_close_comes_after_the_bytes_and_frees_the_pipe() {
        let mut world = lines(2, Some(BLOCK as u64), None);
        let medium = &mut world.medium;
        let a = connect(medium, 0, 1);
        medium.send(a, vec![0; 100], 0);
        medium.send(a, vec![0; BLOCK], BLOCK);
        // The first frame leaves, the second is dropped by the close.
        while medium.frame_sent(0).is_none() && medium.lines[0].sent == 0 {}
        medium.close(a);
        let seen = run(medium);
        assert!(
            matches!(
                &seen[..],
                [(_, _, Flight::Bytes { bytes, .. }), (_, _, Flight::Fin)] if bytes.len() == 100
            ),
            "{seen:?}"
        );
        medium.vanish(a.other());
        assert!(medium.pipes.socket(a).is_none());
        let again = connect(medium, 0, 1);
        assert_eq!(again.pipe, a.pipe);
        assert_ne!(again.generation, a.generation);
        assert!(medium.pipes.socket(a).is_none());
    }
}
