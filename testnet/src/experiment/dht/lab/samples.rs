//! Looks at the nodes of a lab: what tables hold, who keeps an announce, how much was sent.
//!
//! A look takes as long in a network of a million as in one of a thousand.

use std::time::Duration;

use mainswarm::dht::Contact;

use super::{
    super::{
        agenda::Act,
        notes::{Announced, Sampled},
    },
    HOLDERS, HOLDERS_AFTER, Lab,
};

impl Lab<'_> {
    /// Which of the eight live nodes closest to a key hold its announce, as it ends.
    pub(super) fn count_holders(&mut self, at: Duration, announce: u32) {
        let Announced { record, key } = self.notes.announced[announce as usize];
        let key = self.keys[key as usize];
        let record = &self.world.lookups()[record];
        let Some(announcer) = key.announcer else {
            return;
        };
        if record.done.is_none() {
            if at - record.started < Duration::from_secs(70) && self.people.contains(announcer) {
                self.agenda
                    .note(at + HOLDERS_AFTER / 2, Act::CountHolders(announce));
            }
            return;
        }
        let ip = self.world.addr(announcer).ip();
        let now = self.world.instant();
        let wanted = self.people.closest(&key.info_hash.as_target(), HOLDERS);
        let holds = |node: &&u32| {
            let dht = self.world.node(**node).dht();
            let stored = dht.map(|dht| dht.stored_peers(now, &key.info_hash));
            stored.is_some_and(|peers| peers.iter().any(|peer| peer.ip() == ip))
        };
        // The announcer tells itself nothing.
        let wanted: Vec<u32> = wanted
            .into_iter()
            .filter(|node| *node != announcer)
            .collect();
        let held = wanted.iter().filter(holds).count();
        self.notes
            .recall
            .push(held as f64 / wanted.len().max(1) as f64);
    }

    pub(super) fn count_newcomers(&mut self, group: u32) {
        let nodes = &self.notes.newcomers[group as usize].nodes;
        let joined = nodes
            .iter()
            .filter(|node| self.live_contacts(**node) >= HOLDERS);
        let share = joined.count() as f64 / nodes.len().max(1) as f64;
        self.notes.newcomers[group as usize].joined = share;
    }

    pub(super) fn sample(&mut self, at: Duration) {
        let (mut entries, mut gone, mut closed) = (0u32, 0u32, 0u32);
        for node in self
            .people
            .sample(SAMPLE, &[self.seed, LOOK, at.as_nanos() as u64])
        {
            for contact in self
                .world
                .node(node)
                .dht()
                .into_iter()
                .flat_map(|dht| dht.table())
            {
                entries += 1;
                match self.world.node_at(contact.addr) {
                    Some(node) if self.world.node(node).is_up() => {
                        closed += u32::from(!self.is_open(node));
                    }
                    _ => gone += 1,
                }
            }
        }
        let share = |part: u32| f64::from(part) / f64::from(entries.max(1));
        let speed = self.world.speed();
        self.notes.samples.push(Sampled {
            at: at - self.start,
            stale: share(gone),
            unreachable: share(closed),
            population: self.people.len() + self.routers_up as usize,
            events: speed.events,
            wall: speed.wall.as_secs_f64(),
        });
        let whole = self.end() - self.start;
        let pause = (whole / SAMPLES).max(Duration::from_secs(1));
        self.agenda.note(at + pause, Act::Sample);
    }

    /// Whether nearly everybody has found its way in.
    pub(super) fn sample_young(&mut self, at: Duration) {
        let all = self.dht.nodes - self.dht.routers.min(self.dht.nodes);
        if self.people.len() as u32 >= all {
            let sample = self
                .people
                .sample(YOUNG, &[self.seed, LOOK, at.as_nanos() as u64]);
            let fine = sample
                .iter()
                .filter(|node| self.live_contacts(**node) >= HOLDERS);
            // In a network of a few nodes nobody can have eight.
            let enough = fine.count() as f64 >= 0.99 * sample.len() as f64;
            if enough || all as usize <= HOLDERS {
                self.notes.connected = Some(at);
                return;
            }
        }
        self.agenda
            .note(at + Duration::from_secs(1), Act::SampleYoung);
    }

    fn live_contacts(&self, node: u32) -> usize {
        let dht = self.world.node(node).dht();
        let table = dht.into_iter().flat_map(|dht| dht.table());
        let alive = |contact: &Contact| {
            let node = self.world.node_at(contact.addr);
            node.is_some_and(|node| self.world.node(node).is_up())
        };
        table.filter(alive).take(HOLDERS).count()
    }

    /// Datagrams that a node has sent.
    pub(in super::super) fn sent_by(&self, node: u32) -> u64 {
        let stats = self
            .world
            .node(node)
            .dht()
            .map(|dht| dht.stats(self.world.instant()));
        stats.map_or(0, |stats| stats.queries_sent + stats.replies_sent)
    }

    /// Datagrams that routers have sent or received.
    pub(in super::super) fn router_traffic(&self) -> u64 {
        let routers = (0..self.routers_up).filter_map(|node| self.world.node(node).dht());
        let stats = routers.map(|dht| dht.stats(self.world.instant()));
        stats
            .map(|seen| {
                seen.queries_sent
                    + seen.replies_sent
                    + seen.queries_received
                    + seen.replies_received
            })
            .sum()
    }
}

/// Nodes whose tables are looked at, and how often.
const SAMPLE: usize = 200;
const SAMPLES: u32 = 60;
/// Nodes of a young network whose tables are looked at every second.
const YOUNG: usize = 1_000;

/// What a draw is for.
const LOOK: u64 = 121;
