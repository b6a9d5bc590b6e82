//! A share of a world's nodes, with the clock and the queue that they obey.
//!
//! Node `n` of a world with `k` shards is in shard `n mod k`. A shard runs a window of time on its
//! own: nothing that another shard does in that window can reach it before the window ends.

use mainswarm::dht::{Ahead, Dht};

use super::{
    medium::{Event, Medium},
    node::Node,
};

#[derive(Debug)]
pub(crate) struct Shard {
    pub(crate) medium: Medium,
    pub(crate) nodes: Vec<Node>,
    /// Events handled in the last window.
    pub(crate) handled: u64,
    shards: u32,
}

impl Shard {
    pub(crate) fn new(medium: Medium, shards: u32) -> Self {
        Self {
            medium,
            nodes: Vec::new(),
            handled: 0,
            shards,
        }
    }

    /// Handles all that is due by `until`.
    pub(crate) fn run(&mut self, until: u64) {
        let before = self.medium.counts.events;
        loop {
            self.touch();
            let Some(event) = self.medium.next(until) else {
                break;
            };
            self.handle(event);
        }
        self.medium.now = self.medium.now.max(until);
        self.handled = self.medium.counts.events - before;
    }

    /// Reads what the next events will read. In a large world nearly everything that an event needs
    /// is out of the cache; here the processor can wait for many nodes at once.
    fn touch(&mut self) {
        if !self.medium.wheel.take_opened() {
            return;
        }
        let Medium { wheel, packets, .. } = &self.medium;
        let events = || {
            wheel.open().take(MAX_TOUCHED).filter_map(|event| {
                let datagram = match event {
                    Event::Datagram { packet, .. } => Some(packets.bytes(*packet)),
                    _ => None,
                };
                let place = event.node() / self.shards;
                Some((self.nodes.get(place as usize)?, datagram))
            })
        };
        let mut sum = 0;
        // Step by step: what a step reads tells where the next one's memory is.
        for step in 0..=Dht::TOUCH_STEPS {
            for (node, datagram) in events() {
                sum ^= node.touch(step);
                sum ^= match (step, datagram) {
                    (0, Some(bytes)) => bytes.len(),
                    (1, Some(bytes)) => {
                        let lines = bytes.iter().step_by(64);
                        lines.fold(0, |sum, byte| sum ^ usize::from(*byte))
                    }
                    _ => 0,
                };
            }
        }
        let ahead = events().filter_map(|(node, datagram)| node.ahead(datagram));
        let ahead: Vec<Ahead<'_>> = ahead.collect();
        sum ^= ahead.iter().fold(0, |sum, ahead| sum ^ ahead.touch());
        std::hint::black_box(sum);
    }

    fn handle(&mut self, event: Event) {
        let medium = &mut self.medium;
        let place = event.node() / self.shards;
        let Some(node) = self.nodes.get_mut(place as usize) else {
            if let Event::Datagram { packet, .. } = event {
                medium.counts.undeliverable += 1;
                let datagram = medium.packets.take(packet);
                medium.packets.give_back(packet, datagram);
            }
            return;
        };
        match event {
            Event::Datagram { packet, .. } => {
                let datagram = medium.packets.take(packet);
                node.on_datagram(medium, &datagram);
                medium.packets.give_back(packet, datagram);
            }
            Event::Arrived(arrival) => node.on_arrival(medium, *arrival),
            Event::DhtTimer { .. } => node.on_dht_timer(medium),
            Event::TorrentTimer { slot, .. } => node.on_torrent_timer(medium, slot as usize),
            Event::Storage { slot, .. } => node.on_storage(medium, slot as usize),
            Event::Announce { slot, .. } => node.on_announce_due(medium, slot as usize),
            Event::ActorTimer { .. } => node.on_actor_timer(medium),
            Event::FrameSent { .. } => node.on_frame_sent(medium),
            Event::Landed { socket, .. } => node.on_landed(medium, socket),
            Event::DialTimeout { socket, .. } => node.on_dial_timeout(medium, socket),
            Event::CutTimeout { socket, .. } => node.on_cut_timeout(medium, socket),
        }
    }
}

/// Beyond so many the first would be out of the cache again.
const MAX_TOUCHED: usize = 256;
