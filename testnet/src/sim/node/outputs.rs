//! What a node does with all that its cores put out.

use std::{net::SocketAddr, time::Duration};

use bytes::Bytes;
use mainswarm::{
    dht::{Contact, DhtEvent, LookupId, LookupStats},
    ids::InfoHash,
    torrent::{CandidateSource, DisconnectReason, Output, PeerKey, StorageDone, TorrentEvent},
    wire::{
        Message,
        extension::{MetadataMessage, UT_METADATA_ID},
    },
};

use super::{Node, Purpose, TorrentSlot};
use crate::sim::{
    line::Line,
    medium::{Event, Medium, RecordUpdate},
    store::Store,
    strategy::Heard,
    stream::{SocketKey, Written},
};

impl Node {
    /// Drains both kinds of core until neither has anything to say, and sets their timers.
    pub(super) fn drive(&mut self, medium: &mut Medium) {
        loop {
            if self.dht.as_ref().is_some_and(|dht| dht.dirty) {
                self.drive_dht(medium);
            } else if let Some(slot) = self.torrents.iter().position(|torrent| torrent.dirty) {
                self.drive_torrent(medium, slot);
            } else {
                return;
            }
        }
    }

    fn drive_dht(&mut self, medium: &mut Medium) {
        let Some(dht) = &mut self.dht else {
            return;
        };
        dht.dirty = false;
        let mut buffer = std::mem::take(&mut medium.buffer);
        while let Some(transmit) = dht.core.poll_transmit(&mut buffer) {
            let datagram = &buffer[..transmit.len];
            self.line.transmit(medium, transmit.destination, datagram);
        }
        medium.buffer = buffer;
        let node = self.line.node;
        let deadline = dht.core.poll_timeout();
        dht.timer
            .set(medium, &mut self.line, deadline, Event::DhtTimer { node });
        while let Some(event) = self.dht.as_mut().and_then(|dht| dht.core.poll_event()) {
            self.on_dht_event(medium, event);
        }
    }

    fn on_dht_event(&mut self, medium: &mut Medium, event: DhtEvent) {
        match event {
            DhtEvent::PeersFound {
                lookup,
                info_hash,
                peers,
            } => self.on_peers(medium, lookup, info_hash, &peers),
            DhtEvent::LookupReply {
                lookup,
                from,
                elapsed,
                ..
            } => {
                if let Some(Purpose::Record(record)) = self.purpose(lookup) {
                    let update = RecordUpdate::Reply(elapsed, from.id);
                    medium.records.push((record, update));
                }
            }
            DhtEvent::LookupDone {
                lookup,
                stats,
                closest,
                ..
            } => self.on_lookup_done(medium, lookup, stats, closest),
            DhtEvent::Bootstrapped { .. } => {
                if let Some(dht) = self.dht.as_mut().filter(|dht| !dht.ready) {
                    dht.ready = true;
                    for slot in 0..self.torrents.len() {
                        self.want_announce(medium, slot, medium.now);
                    }
                }
            }
            // The core tries again by itself; what it stores for others is its own business.
            DhtEvent::BootstrapFailed { .. }
            | DhtEvent::LookupStepped { .. }
            | DhtEvent::AnnounceStored { .. }
            | DhtEvent::AddressLearned { .. } => {}
            // The enum may grow: a world that does not know an event must not ignore it.
            event => unreachable!("unknown DHT event {event:?}"),
        }
    }

    fn on_peers(
        &mut self,
        medium: &mut Medium,
        lookup: LookupId,
        info_hash: InfoHash,
        peers: &[SocketAddr],
    ) {
        let now = medium.instant();
        match self.purpose(lookup) {
            Some(Purpose::Record(record)) => {
                let update = RecordUpdate::Peers(Duration::from_nanos(medium.now), peers.to_vec());
                medium.records.push((record, update));
            }
            Some(Purpose::Torrent(_)) | None => {
                for torrent in &mut self.torrents {
                    if torrent.core.info_hash() == info_hash {
                        torrent
                            .core
                            .add_candidates(now, peers, CandidateSource::Dht);
                        torrent.dirty = true;
                    }
                }
            }
        }
    }

    fn on_lookup_done(
        &mut self,
        medium: &mut Medium,
        lookup: LookupId,
        stats: LookupStats,
        closest: Vec<Contact>,
    ) {
        let purpose = self.purpose(lookup);
        if let Some(dht) = &mut self.dht {
            dht.lookups.retain(|(id, _)| *id != lookup);
        }
        match purpose {
            Some(Purpose::Record(record)) => {
                medium
                    .records
                    .push((record, RecordUpdate::Done(stats, closest)));
            }
            Some(Purpose::Torrent(slot)) => {
                let wait = self.torrents[slot].until_next_lookup(medium, stats.announced > 0);
                self.want_announce(medium, slot, medium.now + wait.as_nanos() as u64);
            }
            // The node's own upkeep.
            None => {}
        }
    }

    fn purpose(&self, lookup: LookupId) -> Option<Purpose> {
        let lookups = &self.dht.as_ref()?.lookups;
        let found = lookups.iter().find(|(id, _)| *id == lookup);
        found.map(|(_, purpose)| *purpose)
    }

    pub(super) fn want_announce(&mut self, medium: &mut Medium, slot: usize, at: u64) {
        let torrent = &mut self.torrents[slot];
        if torrent.discover {
            let event = Event::Announce {
                node: self.line.node,
                slot: slot as u32,
            };
            torrent
                .announce
                .set_nanos(medium, &mut self.line, at, event);
        }
    }

    fn drive_torrent(&mut self, medium: &mut Medium, slot: usize) {
        self.torrents[slot].dirty = false;
        while let Some(output) = self.torrents[slot].core.poll_output() {
            let torrent = &mut self.torrents[slot];
            match output {
                Output::OpenStorage(metainfo) => {
                    debug_assert_eq!(metainfo.info_hash(), torrent.content.metainfo.info_hash());
                    let store = Store::new(
                        torrent.content.clone(),
                        torrent.complete_from_start,
                        torrent.corrupt_blocks,
                    );
                    torrent.report(medium, &mut self.line, slot, [store.open()]);
                    torrent.store = Some(store);
                }
                Output::Connect { addr } => self.line.dial(medium, slot, addr),
                Output::Send { peer, message } => {
                    torrent.send(medium, &mut self.line, peer, message);
                }
                Output::Disconnect { peer, reason } => {
                    match reason {
                        DisconnectReason::Misbehaved(fault) => torrent.log.faults.push(fault),
                        DisconnectReason::NothingToTrade
                        | DisconnectReason::Idle
                        | DisconnectReason::Replaced
                        | DisconnectReason::Duplicate
                        | DisconnectReason::Banned
                        | DisconnectReason::Stopped => torrent.log.closed += 1,
                    }
                    if let Some(socket) = torrent.forget(peer) {
                        self.line.close(medium, socket);
                    }
                }
                Output::Storage(request) => {
                    let mut done = Vec::new();
                    if let Some(store) = &mut torrent.store {
                        store.handle(request, &mut done);
                    }
                    torrent.report(medium, &mut self.line, slot, done);
                }
                Output::Event(event) => self.on_torrent_event(medium, slot, event),
            }
        }
        let torrent = &mut self.torrents[slot];
        let event = Event::TorrentTimer {
            node: self.line.node,
            slot: slot as u32,
        };
        let deadline = torrent.core.poll_timeout();
        torrent.timer.set(medium, &mut self.line, deadline, event);
    }

    fn on_torrent_event(&mut self, medium: &mut Medium, slot: usize, event: TorrentEvent) {
        let clock = Duration::from_nanos(medium.now);
        let now = medium.instant();
        let torrent = &mut self.torrents[slot];
        let log = &mut torrent.log;
        match event {
            TorrentEvent::MetadataReceived(_) => log.metadata = Some(clock),
            TorrentEvent::Checked { .. } | TorrentEvent::Resumed => {}
            TorrentEvent::PieceCompleted { .. } => {
                log.right_pieces += 1;
                log.first_piece.get_or_insert(clock);
            }
            TorrentEvent::PieceFailed { .. } => log.failed_pieces += 1,
            TorrentEvent::Completed => {
                if !torrent.complete_from_start && log.completed.is_none() {
                    log.completed = Some(clock);
                    medium.completed += 1;
                }
            }
            TorrentEvent::PeerBanned { addr, fault } => {
                log.banned.push((addr, fault));
                torrent.ties.on_ban(medium.now, addr.ip());
            }
            TorrentEvent::Paused { .. } => log.pauses += 1,
            TorrentEvent::DhtNode { addr } => {
                if let Some(dht) = &mut self.dht {
                    dht.core.add_node(now, addr);
                    dht.dirty = true;
                }
            }
            TorrentEvent::Private => torrent.discover = false,
            TorrentEvent::WantPeers => {
                if torrent.lookup.is_none() && self.dht_ready() {
                    let last = self.torrents[slot].last_lookup;
                    let next = last.map_or(0, |last| last + LOOKUP_GAP.as_nanos() as u64);
                    self.want_announce(medium, slot, next.max(medium.now));
                }
            }
            event => unreachable!("unknown torrent event {event:?}"),
        }
    }
}

impl TorrentSlot {
    fn send(&mut self, medium: &mut Medium, line: &mut Line, peer: PeerKey, message: Message) {
        let Some(socket) = self.peers.get(&peer).copied() else {
            return;
        };
        let message = if self.corrupt_metadata {
            spoil_metadata(message)
        } else {
            message
        };
        let Some(cheat) = &self.cheat else {
            self.ties.on_said(peer, &message);
            line.put(medium, socket, &message);
            return;
        };
        let mut said = Vec::new();
        cheat.say(medium.now, message, &mut said);
        for message in said {
            self.ties.on_said(peer, &message);
            line.put(medium, socket, &message);
        }
    }

    /// A message has come.
    pub(super) fn hear(&mut self, now: u64, peer: PeerKey, message: Message) -> Heard {
        self.ties.on_heard(now, peer, &message);
        match &mut self.cheat {
            Some(cheat) => cheat.hear(now, peer, message),
            None => Heard::Pass(message),
        }
    }

    /// A lookup has ended. Says when to look again: soon while there are few peers, as in the
    /// command.
    fn until_next_lookup(&mut self, medium: &Medium, announced: bool) -> Duration {
        self.lookup = None;
        let stats = self.core.stats(medium.instant());
        let few = stats.peers + stats.dialling + stats.candidates < FEW_PEERS;
        if announced && (self.core.is_complete() || !few) {
            self.lean_lookups = 0;
            return REANNOUNCE;
        }
        let wait = LEAN[self.lean_lookups.min(LEAN.len() - 1)];
        self.lean_lookups += 1;
        Duration::from_secs(wait)
    }

    /// A connection is over. Gives its socket.
    pub(super) fn forget(&mut self, peer: PeerKey) -> Option<SocketKey> {
        self.ties.close(peer);
        if let Some(cheat) = &mut self.cheat {
            cheat.forget(peer);
        }
        self.peers.remove(&peer)
    }

    /// Queues what the storage reports: a core is never called back while it is being drained.
    fn report(
        &mut self,
        medium: &mut Medium,
        line: &mut Line,
        slot: usize,
        done: impl IntoIterator<Item = StorageDone>,
    ) {
        let due = medium.now + STORAGE_DELAY.as_nanos() as u64;
        for done in done {
            if self.reports.back().is_none_or(|(last, _)| *last != due) {
                let (node, slot) = (line.node, slot as u32);
                medium.wake(line, due, Event::Storage { node, slot });
            }
            self.reports.push_back((due, done));
        }
    }
}

impl Line {
    /// Encodes a message and sends it.
    pub(super) fn put(&mut self, medium: &mut Medium, socket: SocketKey, message: &Message) {
        let mut front = Vec::with_capacity(USUAL_LEN);
        let data = message.encode(&mut front).unwrap_or_default();
        let block = match message {
            Message::Piece { .. } => data,
            _ => {
                front.extend_from_slice(&data);
                Bytes::new()
            }
        };
        self.send(medium, socket, Written { front, block });
    }
}

/// An attacker's metadata: a bit of the last byte is wrong, so only the whole's hash can tell.
fn spoil_metadata(message: Message) -> Message {
    let Message::Extended { id, payload } = &message else {
        return message;
    };
    match MetadataMessage::decode(payload) {
        Ok(MetadataMessage::Data { data, .. }) if *id == UT_METADATA_ID && !data.is_empty() => {
            let mut payload = payload.to_vec();
            if let Some(last) = payload.last_mut() {
                *last ^= 1;
            }
            Message::Extended {
                id: *id,
                payload: payload.into(),
            }
        }
        _ => message,
    }
}

/// How long the storage takes: a fast disk's latency.
const STORAGE_DELAY: Duration = Duration::from_micros(200);
/// The usual time between announces of a torrent (libtorrent's).
const REANNOUNCE: Duration = Duration::from_secs(15 * 60);
/// The command's pace on Mainline while peers are few, seconds; the last repeats.
const LEAN: [u64; 7] = [5, 15, 30, 60, 60, 120, 300];
/// Fewer peers than this are few.
const FEW_PEERS: usize = 5;
/// Ours: a torrent that wants peers has the DHT searched at most this often.
const LOOKUP_GAP: Duration = Duration::from_secs(30);
/// What stands in front of a block fits, and so do nearly all other messages.
const USUAL_LEN: usize = 24;
