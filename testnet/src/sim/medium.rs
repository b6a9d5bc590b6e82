//! What lies between the nodes: the queue of things to come, the wires, datagrams under way.
//!
//! Each shard of a world has a medium of its own. What concerns a node of another shard waits in
//! [`Medium::mail`] until the shards meet; it cannot be due before.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use mainswarm::{
    dht::{Contact, LookupStats},
    ids::NodeId,
    network::Network,
};

use super::{
    address::Addresses,
    hash::Trace,
    line::Line,
    link::Links,
    stream::{Arrival, SocketKey, Written},
    wheel::Wheel,
    world::Counts,
};

/// Something to come.
#[derive(Debug)]
pub(crate) enum Event {
    Datagram {
        to: u32,
        packet: u32,
    },
    DhtTimer {
        node: u32,
    },
    TorrentTimer {
        node: u32,
        slot: u32,
    },
    /// A torrent's storage has something to report.
    Storage {
        node: u32,
        slot: u32,
    },
    /// A torrent should announce itself again.
    Announce {
        node: u32,
        slot: u32,
    },
    ActorTimer {
        node: u32,
    },
    /// A node's uplink is free again.
    FrameSent {
        node: u32,
    },
    /// Something of a stream has reached a node.
    Arrived(Box<Arrival>),
    /// Something has passed a node's downlink.
    Landed {
        node: u32,
        socket: SocketKey,
    },
    DialTimeout {
        node: u32,
        socket: SocketKey,
    },
    /// A stream has been cut for as long as it bears.
    CutTimeout {
        node: u32,
        socket: SocketKey,
    },
}

impl Event {
    /// Whom it concerns.
    pub(crate) fn node(&self) -> u32 {
        match self {
            Self::Datagram { to, .. } => *to,
            Self::Arrived(arrival) => arrival.to,
            Self::DhtTimer { node }
            | Self::TorrentTimer { node, .. }
            | Self::Storage { node, .. }
            | Self::Announce { node, .. }
            | Self::ActorTimer { node }
            | Self::FrameSent { node }
            | Self::Landed { node, .. }
            | Self::DialTimeout { node, .. }
            | Self::CutTimeout { node, .. } => *node,
        }
    }
}

/// What a node's lookup adds to its record, which the world keeps.
#[derive(Debug)]
pub(crate) enum RecordUpdate {
    Peers(Duration, Vec<std::net::SocketAddr>),
    Reply(Duration, NodeId),
    Done(LookupStats, Vec<Contact>),
}

/// Says which side of a partition a node is on.
#[derive(Clone)]
pub(crate) struct Sides(pub(crate) Arc<dyn Fn(u32) -> u8 + Send + Sync>);

impl fmt::Debug for Sides {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sides")
    }
}

/// Everything between the nodes of a shard, and what they share.
#[derive(Debug)]
pub(crate) struct Medium {
    pub(crate) epoch: Instant,
    /// In nanoseconds since the epoch.
    pub(crate) now: u64,
    /// Events since the clock last moved.
    at_once: u64,
    pub(crate) seed: u64,
    /// Which of how many shards this is.
    shard: (u32, u32),
    pub(crate) wheel: Wheel<Event>,
    pub(crate) links: Links,
    pub(crate) addresses: Addresses,
    /// Which side of a partition each node is on, while there is one.
    pub(crate) sides: Option<Sides>,
    pub(crate) packets: Packets,
    /// For each shard, what goes there.
    pub(crate) mail: Vec<Mail>,
    pub(crate) trace: Trace,
    pub(crate) counts: Counts,
    pub(crate) records: Vec<(u32, RecordUpdate)>,
    pub(crate) completed: usize,
    /// For datagrams on their way out of a core; empty between uses.
    pub(crate) buffer: Vec<u8>,
}

impl Medium {
    pub(crate) fn new(
        epoch: Instant,
        seed: u64,
        shard: (u32, u32),
        links: Links,
        addresses: Addresses,
    ) -> Self {
        Self {
            epoch,
            now: 0,
            at_once: 0,
            seed,
            shard,
            wheel: Wheel::new(),
            links,
            addresses,
            sides: None,
            packets: Packets::default(),
            mail: (0..shard.1).map(|_| Mail::default()).collect(),
            trace: Trace::default(),
            counts: Counts::default(),
            records: Vec::new(),
            completed: 0,
            buffer: Vec::new(),
        }
    }

    /// Takes the next event that is due by `until` and sets the clock to its time.
    pub(crate) fn next(&mut self, until: u64) -> Option<Event> {
        let (time, event) = self.wheel.pop(until)?;
        self.at_once = if time > self.now { 0 } else { self.at_once + 1 };
        assert!(
            self.at_once < ENDLESS,
            "the clock stands at {:?}: {event:?} follows itself without end",
            Duration::from_nanos(self.now)
        );
        self.now = self.now.max(time);
        self.counts.events += 1;
        Some(event)
    }

    pub(crate) fn instant(&self) -> Instant {
        self.epoch + Duration::from_nanos(self.now)
    }

    /// A core's time in nanoseconds since the epoch.
    pub(crate) fn nanos(&self, at: Instant) -> u64 {
        at.saturating_duration_since(self.epoch).as_nanos() as u64
    }

    pub(crate) fn network(&self) -> Network {
        self.addresses.network()
    }

    /// Queues an event of a node's own.
    pub(crate) fn wake(&mut self, line: &mut Line, at: u64, event: Event) {
        self.wheel.push(at, line.order(), event);
    }

    /// Whether a partition lies between two nodes.
    pub(crate) fn is_cut(&self, a: u32, b: u32) -> bool {
        let sides = self.sides.as_ref();
        sides.is_some_and(|Sides(side_of)| side_of(a) != side_of(b))
    }

    pub(crate) fn send_datagram(&mut self, at: u64, order: u64, to: u32, packet: Front<'_>) {
        let shard = to % self.shard.1;
        if shard == self.shard.0 {
            let packet = self.packets.put(packet);
            self.wheel.push(at, order, Event::Datagram { to, packet });
        } else {
            self.mail[shard as usize].add(at, order, to, packet);
        }
    }

    pub(crate) fn send_flight(&mut self, at: u64, order: u64, arrival: Box<Arrival>) {
        let shard = arrival.to % self.shard.1;
        if shard == self.shard.0 {
            self.wheel.push(at, order, Event::Arrived(arrival));
        } else {
            self.mail[shard as usize].flights.push((at, order, arrival));
        }
    }

    /// Takes up what another shard has sent.
    pub(crate) fn receive(&mut self, mail: &mut Mail) {
        for letter in mail.datagrams.drain(..) {
            let bytes = &mail.bytes[letter.start..letter.start + letter.len];
            let packet = self.packets.put(Front {
                bytes,
                ..letter.front
            });
            let to = letter.to;
            self.wheel
                .push(letter.at, letter.order, Event::Datagram { to, packet });
        }
        mail.bytes.clear();
        for (at, order, arrival) in mail.flights.drain(..) {
            self.wheel.push(at, order, Event::Arrived(arrival));
        }
    }

    /// When the first thing is due that is queued or waits in the mail.
    pub(crate) fn next_time(&mut self) -> Option<u64> {
        let mail = self.mail.iter().filter_map(Mail::first).min();
        self.wheel.next_time().into_iter().chain(mail).min()
    }

    pub(crate) fn pending(&self) -> usize {
        let mail = self.mail.iter();
        let mail: usize = mail
            .map(|mail| mail.datagrams.len() + mail.flights.len())
            .sum();
        self.wheel.len() + mail
    }

    /// Notes the delivery of a stream's bytes. Of a block only the front counts: its hash vouches
    /// for the rest.
    pub(crate) fn trace_stream(&mut self, from: u32, to: u32, bytes: &Written) {
        let mut start = [0; 64];
        let mut len = 0;
        for part in [&bytes.front[..], &bytes.block[..]] {
            let part = &part[..part.len().min(start.len() - len)];
            start[len..len + part.len()].copy_from_slice(part);
            len += part.len();
        }
        self.trace.add(self.now, from, to, &start[..len]);
    }
}

/// So many events at one moment are a core that asks to be woken again and again.
const ENDLESS: u64 = 50_000_000;

/// A datagram and what is written on it: the sender, its port as others see it, and the port that
/// it was sent to. Where the sender's count stood tells it from all its other messages.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Front<'a> {
    pub(crate) from: u32,
    pub(crate) from_port: u16,
    pub(crate) to_port: u16,
    pub(crate) bytes: &'a [u8],
}

/// A datagram under way.
#[derive(Debug, Default)]
pub(crate) struct Packet {
    pub(crate) from: u32,
    pub(crate) from_port: u16,
    pub(crate) to_port: u16,
    pub(crate) bytes: Vec<u8>,
}

/// Datagrams under way, in buffers that are used again.
#[derive(Debug, Default)]
pub(crate) struct Packets {
    slots: Vec<Packet>,
    free: Vec<u32>,
}

impl Packets {
    fn put(&mut self, front: Front<'_>) -> u32 {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Packet::default());
            self.slots.len() as u32 - 1
        });
        let packet = &mut self.slots[slot as usize];
        (packet.from, packet.from_port) = (front.from, front.from_port);
        packet.to_port = front.to_port;
        packet.bytes.clear();
        packet.bytes.extend_from_slice(front.bytes);
        slot
    }

    /// The bytes of a packet that stays.
    pub(crate) fn bytes(&self, slot: u32) -> &[u8] {
        &self.slots[slot as usize].bytes
    }

    /// Takes a packet out; it should be given back, for its buffer.
    pub(crate) fn take(&mut self, slot: u32) -> Packet {
        std::mem::take(&mut self.slots[slot as usize])
    }

    pub(crate) fn give_back(&mut self, slot: u32, packet: Packet) {
        self.slots[slot as usize] = packet;
        self.free.push(slot);
    }
}

/// What one shard sends to another until they meet.
#[derive(Debug, Default)]
pub(crate) struct Mail {
    datagrams: Vec<Letter>,
    /// The datagrams' bytes, end to end.
    bytes: Vec<u8>,
    flights: Vec<(u64, u64, Box<Arrival>)>,
}

#[derive(Debug)]
struct Letter {
    at: u64,
    order: u64,
    to: u32,
    /// Without its bytes.
    front: Front<'static>,
    start: usize,
    len: usize,
}

impl Mail {
    fn add(&mut self, at: u64, order: u64, to: u32, packet: Front<'_>) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(packet.bytes);
        self.datagrams.push(Letter {
            at,
            order,
            to,
            front: Front {
                bytes: &[],
                ..packet
            },
            start,
            len: packet.bytes.len(),
        });
    }

    fn first(&self) -> Option<u64> {
        let datagrams = self.datagrams.iter().map(|letter| letter.at);
        let flights = self.flights.iter().map(|(at, ..)| *at);
        datagrams.chain(flights).min()
    }
}
