//! Reliable ordered streams between two peers, and the access lines that they share.
//!
//! A stream is what TCP gives: a dial takes a round trip, bytes arrive whole and in order, a close
//! arrives after them. What a node sends goes over its uplink at the uplink's rate, a frame (one
//! block, or small messages together) at a time, in turn for all streams that have something to
//! send. Frames that fit a packet go ahead of the blocks of *other* streams, as packets would
//! interleave, never ahead of their own stream's. A lost frame holds its stream up for a round trip
//! (200 ms at least). A partition holds it up until it heals, or until the sender gives up; then
//! what was held is sent with the next doubling of TCP's waiting time. Congestion is not modelled.
//! Datagrams pass beside the rates: there are few of them, and they are small.
//!
//! Each node holds its own side of a stream and calls it by a [`SocketKey`]; the two sides tell
//! each other theirs when they connect.

use std::{collections::VecDeque, net::SocketAddr, time::Duration};

use bytes::{Bytes, BytesMut};
use mainswarm::{torrent::PeerKey, wire::Decoder};

use super::{
    line::Line,
    medium::{Event, Medium},
};

/// What a node calls its side of a stream. Never reused: a slot's next one has another generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SocketKey {
    slot: u32,
    generation: u32,
}

/// How far a side is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// The dialler waits for an answer.
    Dialling,
    /// Connected; the other's handshake has not arrived.
    Handshaking,
    /// The torrent in this slot has accepted the peer.
    Open { slot: usize, peer: PeerKey },
}

/// One side of a stream.
#[derive(Debug)]
pub(crate) struct Socket {
    pub(crate) phase: Phase,
    /// Whether this side dialled.
    pub(crate) dialled: bool,
    /// The torrent that dialled; for the other side, until the handshake names it, `None`.
    pub(crate) slot: Option<usize>,
    /// The other side's address as seen from here.
    pub(crate) remote: SocketAddr,
    pub(crate) buffer: BytesMut,
    pub(crate) decoder: Decoder,
    /// The other side's node, and what it calls its side; `None` until it has answered.
    far: (u32, Option<SocketKey>),
    /// Frames that wait for the uplink.
    queue: VecDeque<Written>,
    /// Whether this side is on one of its uplink's lists, or on the line.
    listed: bool,
    /// When the last that was sent arrives.
    last_arrival: u64,
    /// What a partition holds back, and since when.
    held: VecDeque<Flight>,
    held_since: u64,
    /// What waits for the downlink.
    landing: VecDeque<Flight>,
}

/// What reaches a side.
#[derive(Debug)]
pub(crate) enum Flight {
    /// Somebody dials, from this port.
    Syn { port: u16 },
    /// The dial was answered.
    Accept,
    /// Bytes, and how long they took on the sender's uplink.
    Bytes { bytes: Written, transmission: u64 },
    /// The other side closed, or refused.
    Fin,
}

/// A flight and its ends.
#[derive(Debug)]
pub(crate) struct Arrival {
    pub(crate) from: u32,
    pub(crate) to: u32,
    /// The sender's side; `None` if it has none.
    pub(crate) back: Option<SocketKey>,
    /// The receiver's side; `None` for a dial.
    pub(crate) socket: Option<SocketKey>,
    pub(crate) flight: Flight,
}

/// Bytes of a stream as a side wrote them at once: a frame, when it leaves.
#[derive(Debug, Default)]
pub(crate) struct Written {
    pub(crate) front: Vec<u8>,
    /// A block's data, which follow and which all who have them share: credited to the sender when
    /// they have left.
    pub(crate) block: Bytes,
}

impl Written {
    pub(crate) fn len(&self) -> usize {
        self.front.len() + self.block.len()
    }
}

impl From<Vec<u8>> for Written {
    fn from(front: Vec<u8>) -> Self {
        let block = Bytes::new();
        Self { front, block }
    }
}

/// A node's streams and its access line.
#[derive(Debug, Default)]
pub(crate) struct Streams {
    /// Bytes per second, without limit if `None`.
    up: Option<u64>,
    down: Option<u64>,
    current: Option<(SocketKey, Written, u64)>,
    small: VecDeque<SocketKey>,
    bulk: VecDeque<SocketKey>,
    down_free: u64,
    /// Bytes that have left, all messages included.
    pub(super) sent: u64,
    dials: u64,
    slots: Vec<(u32, Option<Box<Socket>>)>,
    free: Vec<u32>,
}

impl Streams {
    pub(super) fn new(up: Option<u64>, down: Option<u64>) -> Self {
        Self {
            up,
            down,
            ..Self::default()
        }
    }

    fn socket(&mut self, key: SocketKey) -> Option<&mut Socket> {
        let (generation, socket) = self.slots.get_mut(key.slot as usize)?;
        socket
            .as_deref_mut()
            .filter(|_| *generation == key.generation)
    }

    fn open(&mut self, socket: Socket) -> SocketKey {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push((0, None));
            self.slots.len() as u32 - 1
        });
        let (generation, place) = &mut self.slots[slot as usize];
        *place = Some(Box::new(socket));
        SocketKey {
            slot,
            generation: *generation,
        }
    }

    fn remove(&mut self, key: SocketKey) -> Option<Box<Socket>> {
        self.socket(key)?;
        let (generation, place) = &mut self.slots[key.slot as usize];
        *generation = generation.wrapping_add(1);
        self.free.push(key.slot);
        place.take()
    }

    fn keys(&self) -> Vec<SocketKey> {
        let slots = (0..).zip(&self.slots);
        let open = slots.filter(|(_, (_, socket))| socket.is_some());
        open.map(|(slot, (generation, _))| SocketKey {
            slot,
            generation: *generation,
        })
        .collect()
    }

    /// Puts a side on the uplink's lists if it has something to send and is on none.
    fn list(&mut self, key: SocketKey) {
        let Some(socket) = self.socket(key) else {
            return;
        };
        if socket.listed || !socket.held.is_empty() {
            return;
        }
        let Some(front) = socket.queue.front() else {
            return;
        };
        let small = front.len() <= PACKET;
        socket.listed = true;
        if small {
            self.small.push_back(key);
        } else {
            self.bulk.push_back(key);
        }
    }

    /// Takes the frame whose turn it is onto the line, if that is free. Gives how long it takes.
    fn next_frame(&mut self) -> Option<u64> {
        while self.current.is_none() {
            let key = self.small.pop_front().or_else(|| self.bulk.pop_front())?;
            let up = self.up;
            let Some(socket) = self.socket(key) else {
                continue;
            };
            // It keeps its turn while its frame is on the line: the others come first.
            socket.listed = false;
            if !socket.held.is_empty() {
                continue;
            }
            if let Some(frame) = socket.queue.pop_front() {
                socket.listed = true;
                let time = up.map_or(0, |rate| transmission_time(frame.len(), rate));
                self.current = Some((key, frame, time));
                return Some(time);
            }
        }
        None
    }
}

impl Line {
    /// A side that is not closed.
    pub(crate) fn socket(&mut self, key: SocketKey) -> Option<&mut Socket> {
        self.streams.as_mut()?.socket(key)
    }

    /// The sides that are not closed, in order of their slots.
    pub(crate) fn sockets(&self) -> Vec<SocketKey> {
        self.streams
            .as_ref()
            .map_or_else(Vec::new, |streams| streams.keys())
    }

    /// Dials an address for a torrent. Whatever comes of it arrives later.
    pub(crate) fn dial(&mut self, medium: &mut Medium, slot: usize, addr: SocketAddr) {
        let streams = self.streams.get_or_insert_default();
        streams.dials += 1;
        // The port of an outgoing connection is a passing one, not the listening port.
        let port = 32_768 + (streams.dials % 28_000) as u16;
        let to = medium.addresses.node_of(addr).unwrap_or(u32::MAX);
        let key = streams.open(Socket::new(Some(slot), addr, (to, None)));
        let timeout = medium.now + DIAL_TIMEOUT.as_nanos() as u64;
        let (node, socket) = (self.node, key);
        medium.wake(self, timeout, Event::DialTimeout { node, socket });
        if to != u32::MAX {
            self.fly(medium, key, Flight::Syn { port });
        }
    }

    /// Answers a dial.
    pub(crate) fn accept(&mut self, medium: &mut Medium, arrival: &Arrival, port: u16) {
        let ip = medium.addresses.of(arrival.from).ip();
        let far = (arrival.from, arrival.back);
        let mut socket = Socket::new(None, SocketAddr::new(ip, port), far);
        socket.dialled = false;
        socket.phase = Phase::Handshaking;
        let key = self.streams.get_or_insert_default().open(socket);
        self.fly(medium, key, Flight::Accept);
    }

    /// Tells the far side of something that arrived that there is nobody here.
    pub(crate) fn refuse(&mut self, medium: &mut Medium, arrival: &Arrival) {
        if arrival.back.is_none() || medium.is_cut(self.node, arrival.from) {
            return;
        }
        let count = self.next();
        let at = medium.now + medium.links.one_way(self.node, arrival.from, count);
        let fin = Arrival {
            from: self.node,
            to: arrival.from,
            back: None,
            socket: arrival.back,
            flight: Flight::Fin,
        };
        medium.send_flight(at, self.rank(count), Box::new(fin));
    }

    /// The dial was answered, by that side.
    pub(crate) fn connected(&mut self, key: SocketKey, far: Option<SocketKey>) {
        if let Some(socket) = self.socket(key) {
            socket.phase = Phase::Handshaking;
            socket.far.1 = far;
        }
    }

    /// Sends bytes.
    pub(crate) fn send(&mut self, medium: &mut Medium, key: SocketKey, bytes: Written) {
        let Some(streams) = &mut self.streams else {
            return;
        };
        let Some(socket) = streams.socket(key) else {
            return;
        };
        match socket.queue.back_mut() {
            // Messages written together leave in one packet.
            Some(last)
                if bytes.block.is_empty() && last.block.is_empty() && last.len() < PACKET =>
            {
                last.front.extend_from_slice(&bytes.front);
            }
            _ => socket.queue.push_back(bytes),
        }
        streams.list(key);
        self.start_frame(medium);
    }

    /// Closes a side. Bytes that have not left are dropped, bytes under way still arrive.
    pub(crate) fn close(&mut self, medium: &mut Medium, key: SocketKey) {
        let answered = self
            .socket(key)
            .is_some_and(|socket| socket.far.1.is_some());
        if answered {
            self.fly(medium, key, Flight::Fin);
        }
        self.drop_socket(key);
    }

    /// Closes a side without a word: the machine is gone, or the other side is.
    pub(crate) fn drop_socket(&mut self, key: SocketKey) {
        if let Some(streams) = &mut self.streams {
            streams.remove(key);
        }
    }

    /// The uplink has sent a frame. Gives the side and the block bytes that left.
    pub(crate) fn frame_sent(&mut self, medium: &mut Medium) -> Option<(SocketKey, usize)> {
        let streams = self.streams.as_mut()?;
        let (key, frame, transmission) = streams.current.take()?;
        streams.sent += frame.len() as u64;
        let mut credit = None;
        if let Some(socket) = streams.socket(key) {
            socket.listed = false;
            credit = Some((key, frame.block.len()));
            let flight = Flight::Bytes {
                bytes: frame,
                transmission,
            };
            self.fly(medium, key, flight);
            if let Some(streams) = &mut self.streams {
                streams.list(key);
            }
        }
        self.start_frame(medium);
        credit.filter(|(_, payload)| *payload > 0)
    }

    /// Something has reached a side's access line. Gives what the node should see now; what must
    /// wait for the downlink comes out of [`Self::landed`].
    pub(crate) fn arrived(
        &mut self,
        medium: &mut Medium,
        key: SocketKey,
        flight: Flight,
    ) -> Option<Flight> {
        let streams = self.streams.as_mut()?;
        let (mut done, down) = (medium.now, streams.down);
        let mut down_free = streams.down_free;
        let socket = streams.socket(key)?;
        if let (
            Flight::Bytes {
                bytes,
                transmission,
            },
            Some(rate),
        ) = (&flight, down)
        {
            // The frame's first bit came in one transmission ago; the downlink passes bits on as
            // they come.
            let start = down_free.max(medium.now.saturating_sub(*transmission));
            done = done.max(start + transmission_time(bytes.len(), rate));
            down_free = done;
        }
        let at_once = done <= medium.now && socket.landing.is_empty();
        let flight = match at_once {
            true => Some(flight),
            false => {
                socket.landing.push_back(flight);
                None
            }
        };
        streams.down_free = down_free;
        if at_once {
            return flight;
        }
        let (node, socket) = (self.node, key);
        medium.wake(self, done.max(down_free), Event::Landed { node, socket });
        None
    }

    /// The downlink has passed something on.
    pub(crate) fn landed(&mut self, key: SocketKey) -> Option<Flight> {
        self.socket(key)?.landing.pop_front()
    }

    /// Whether a side has been held up for as long as TCP bears it.
    pub(crate) fn is_given_up(&mut self, now: u64, key: SocketKey) -> bool {
        self.socket(key).is_some_and(|socket| {
            !socket.held.is_empty() && now - socket.held_since >= CUT_TIMEOUT.as_nanos() as u64
        })
    }

    /// The partition is over: what it held back goes out when TCP tries next.
    pub(crate) fn resume(&mut self, medium: &mut Medium) {
        for key in self.sockets() {
            let Some(socket) = self.socket(key) else {
                continue;
            };
            let held = std::mem::take(&mut socket.held);
            if held.is_empty() {
                continue;
            }
            let waited = medium.now - socket.held_since;
            let mut next = FIRST_RTO.as_nanos() as u64;
            while next < waited {
                next *= 2;
            }
            socket.last_arrival = socket.last_arrival.max(socket.held_since + next);
            for flight in held {
                self.fly(medium, key, flight);
            }
            if let Some(streams) = &mut self.streams {
                streams.list(key);
            }
        }
        self.start_frame(medium);
    }

    fn fly(&mut self, medium: &mut Medium, key: SocketKey, flight: Flight) {
        let count = self.next();
        let (node, loss) = (self.node, self.loss);
        let Some(socket) = self.socket(key) else {
            return;
        };
        let (to, far) = socket.far;
        let cut = medium.is_cut(node, to);
        if cut || !socket.held.is_empty() {
            let first = socket.held.is_empty();
            socket.held.push_back(flight);
            if first {
                socket.held_since = medium.now;
                let timeout = medium.now + CUT_TIMEOUT.as_nanos() as u64;
                let socket = key;
                medium.wake(self, timeout, Event::CutTimeout { node, socket });
            }
            return;
        }
        let links = &medium.links;
        let delay = links.one_way(node, to, count) + links.retransmissions(loss, node, to, count);
        // Neither jitter nor loss may turn a stream around.
        socket.last_arrival = socket.last_arrival.max(medium.now + delay);
        let at = socket.last_arrival;
        let arrival = Arrival {
            from: node,
            to,
            back: Some(key),
            socket: far,
            flight,
        };
        medium.send_flight(at, self.rank(count), Box::new(arrival));
    }

    fn start_frame(&mut self, medium: &mut Medium) {
        let frame = self
            .streams
            .as_mut()
            .and_then(|streams| streams.next_frame());
        if let Some(time) = frame {
            let node = self.node;
            medium.wake(self, medium.now + time, Event::FrameSent { node });
        }
    }
}

impl Socket {
    fn new(slot: Option<usize>, remote: SocketAddr, far: (u32, Option<SocketKey>)) -> Self {
        Self {
            phase: Phase::Dialling,
            dialled: true,
            slot,
            remote,
            buffer: BytesMut::new(),
            decoder: Decoder::new(),
            far,
            queue: VecDeque::new(),
            listed: false,
            last_arrival: 0,
            held: VecDeque::new(),
            held_since: 0,
            landing: VecDeque::new(),
        }
    }

    /// The node at the other side.
    pub(crate) fn far_node(&self) -> u32 {
        self.far.0
    }
}

/// A dial and its handshake must be done in this time.
const DIAL_TIMEOUT: Duration = Duration::from_secs(10);
/// RFC 1122: a connection whose data is not acknowledged is kept for 100 seconds at least.
const CUT_TIMEOUT: Duration = Duration::from_secs(100);
/// Linux waits this long at least before it sends again, and twice as long each further time.
const FIRST_RTO: Duration = Duration::from_millis(200);
/// What fits one packet: an Ethernet frame less its headers.
const PACKET: usize = 1_448;

fn transmission_time(bytes: usize, rate: u64) -> u64 {
    (bytes as u128 * 1_000_000_000 / u128::from(rate.max(1))) as u64
}

#[cfg(test)]
mod tests;
