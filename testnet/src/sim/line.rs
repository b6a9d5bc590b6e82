//! A node's line: all that ties it to the medium.
//!
//! It counts what the node sends. The count, with the node's index, orders events that are due at
//! the same time and tells one message's draws from another's, so that what happens to a node
//! depends on nothing but what is delivered to it.

use std::net::SocketAddr;

use super::{
    address::PORT,
    medium::{Front, Medium, Packet},
    nat::{Nat, NatBox},
    stream::Streams,
};

/// A node's line.
#[derive(Debug)]
pub(crate) struct Line {
    pub(crate) node: u32,
    count: u64,
    /// The share of its messages that are lost, in place of the world's.
    pub(super) loss: Option<f32>,
    nat: Option<Box<NatBox>>,
    /// `None` until it has a rate or a stream: most nodes of a large DHT never do.
    pub(super) streams: Option<Box<Streams>>,
}

impl Line {
    pub(crate) fn new(node: u32, nat: Nat, up: Option<u64>, down: Option<u64>) -> Self {
        let limited = up.is_some() || down.is_some();
        Self {
            node,
            count: 0,
            loss: None,
            nat: NatBox::new(nat),
            streams: limited.then(|| Box::new(Streams::new(up, down))),
        }
    }

    pub(crate) fn set_loss(&mut self, loss: Option<f64>) {
        self.loss = loss.map(|loss| loss as f32);
    }

    pub(crate) fn takes_dials(&self) -> bool {
        let nat = self.nat.as_ref();
        nat.is_none_or(|nat| nat.kind().takes_dials())
    }

    /// Bytes that have left in streams.
    pub(crate) fn sent_bytes(&self) -> u64 {
        self.streams.as_ref().map_or(0, |streams| streams.sent)
    }

    /// A number that this node has not used before.
    pub(super) fn next(&mut self) -> u64 {
        self.count += 1;
        self.count
    }

    /// The rank, among events at the same time, of one that this node causes.
    pub(crate) fn order(&mut self) -> u64 {
        let count = self.next();
        self.rank(count)
    }

    pub(super) fn rank(&self, count: u64) -> u64 {
        u64::from(self.node) << COUNT_BITS | count
    }

    /// Sends a datagram.
    pub(crate) fn transmit(&mut self, medium: &mut Medium, to: SocketAddr, datagram: &[u8]) {
        medium.counts.datagrams += 1;
        medium.counts.datagram_bytes += datagram.len() as u64;
        let count = self.next();
        let Some((to, to_port)) = medium.addresses.find(to) else {
            medium.counts.undeliverable += 1;
            return;
        };
        let from_port = match &mut self.nat {
            Some(nat) => nat.sends(medium.now, to, to_port),
            None => PORT,
        };
        if medium.is_cut(self.node, to) || medium.links.loses(self.loss, self.node, count) {
            medium.counts.lost += 1;
            return;
        }
        let at = medium.now + medium.links.one_way(self.node, to, count);
        let front = Front {
            from: self.node,
            from_port,
            to_port,
            bytes: datagram,
        };
        medium.send_datagram(at, self.rank(count), to, front);
    }

    /// A datagram has come. Says from where the node sees it come, if it comes through.
    pub(crate) fn admit(&mut self, medium: &mut Medium, packet: &Packet) -> Option<SocketAddr> {
        let open = match &self.nat {
            Some(nat) => nat.admits(medium.now, packet.from, packet.from_port, packet.to_port),
            None => packet.to_port == PORT,
        };
        if !open {
            medium.counts.filtered += 1;
            return None;
        }
        if self.loss.is_some() {
            let count = self.next();
            if medium
                .links
                .loses_at(self.loss, self.node, packet.from, count)
            {
                medium.counts.lost += 1;
                return None;
            }
        }
        medium
            .trace
            .add(medium.now, packet.from, self.node, &packet.bytes);
        let ip = medium.addresses.of(packet.from).ip();
        Some(SocketAddr::new(ip, packet.from_port))
    }
}

/// Enough for a million messages a second over twelve virtual days; node indices fit above.
const COUNT_BITS: u32 = 40;
