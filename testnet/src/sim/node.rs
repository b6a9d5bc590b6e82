//! One simulated node: the third shell of the cores, in full.
//!
//! It does with events what the tokio shell does with tasks: datagrams to and from the [`Dht`],
//! streams of really encoded messages to and from [`Torrent`]s, storage requests answered later,
//! peers found in the DHT handed to the torrent, and one timer for each core. Here is what goes
//! into the cores; every output is matched by name in `outputs`.

mod outputs;

use std::{
    collections::{BTreeMap, VecDeque},
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::{Bytes, BytesMut};
use mainswarm::{
    compact::Family,
    dht::{AnnouncePort, Dht, DhtConfig, LookupId, LookupStats},
    ids::{InfoHash, PeerId},
    torrent::{
        CandidateSource, Direction, PeerKey, PeerMisbehaved, Source, StorageDone, Torrent,
        TorrentConfig,
    },
    wire::{HANDSHAKE_LEN, Handshake, Reserved},
};

use super::{
    hash::seed_bytes,
    store::{Content, Store},
    stream::{End, Flight, Phase, Side},
    world::{Event, Medium},
};

/// A node to add.
#[derive(Debug, Clone, Default)]
pub struct NodeConfig {
    /// Run a DHT node, and start it from these routers. An empty list makes the first router.
    pub dht: Option<Vec<SocketAddr>>,
    /// BEP 43: ask, but do not answer.
    pub read_only: bool,
    /// The uplink in bytes per second; `None` is without limit.
    pub up: Option<u64>,
    /// The downlink in bytes per second.
    pub down: Option<u64>,
}

/// A torrent to add to a node.
#[derive(Debug, Clone)]
pub struct PeerConfig {
    /// The torrent and its bytes. A peer that begins with nothing uses only what its store has.
    pub content: Arc<Content>,
    /// How the core behaves. Its peer id and ports are set when it is added.
    pub torrent: TorrentConfig,
    /// Begin with every piece.
    pub complete: bool,
    /// Begin with the info-hash alone.
    pub magnet: bool,
    /// Peers known by hand.
    pub candidates: Vec<SocketAddr>,
    /// Announce and look for peers in the DHT.
    pub discover: bool,
    /// An attacker: blocks are served with a bit wrong.
    pub corrupt_blocks: bool,
    /// An attacker: metadata is served with a bit wrong.
    pub corrupt_metadata: bool,
}

impl PeerConfig {
    /// An honest peer that knows the metainfo and has nothing.
    pub fn new(content: Arc<Content>, torrent: TorrentConfig) -> Self {
        Self {
            content,
            torrent,
            complete: false,
            magnet: false,
            candidates: Vec::new(),
            discover: false,
            corrupt_blocks: false,
            corrupt_metadata: false,
        }
    }
}

/// A lookup that was started through the world.
#[derive(Debug, Clone)]
pub struct LookupRecord {
    /// Who looked.
    pub node: u32,
    /// What for.
    pub info_hash: InfoHash,
    /// When, since the world began.
    pub started: Duration,
    /// How long the first peer took.
    pub first_peer: Option<Duration>,
    /// The peers found.
    pub peers: Vec<SocketAddr>,
    /// The lookup's end.
    pub done: Option<LookupStats>,
}

/// What has happened to one torrent of a node.
#[derive(Debug, Clone, Default)]
pub struct PeerLog {
    /// When it was added, since the world began.
    pub added: Duration,
    /// When the metadata of a magnet arrived.
    pub metadata: Option<Duration>,
    /// When the first piece was complete.
    pub first_piece: Option<Duration>,
    /// When the last piece was complete.
    pub completed: Option<Duration>,
    /// Pieces that did not have their hash.
    pub failed_pieces: u32,
    /// Whom it banned, and for what.
    pub banned: Vec<(SocketAddr, PeerMisbehaved)>,
    /// Connections that it closed for a peer's fault.
    pub faults: Vec<PeerMisbehaved>,
    /// Connections that it closed for other reasons.
    pub closed: u32,
    /// Storage failures.
    pub pauses: u32,
}

/// A simulated node.
#[derive(Debug)]
pub struct Node {
    index: u32,
    up: bool,
    dht: Option<DhtSlot>,
    torrents: Vec<TorrentSlot>,
}

#[derive(Debug)]
struct DhtSlot {
    core: Dht,
    timer: Timer,
    /// The table is usable, so lookups make sense.
    ready: bool,
    lookups: Vec<(LookupId, Purpose)>,
    dirty: bool,
}

#[derive(Debug, Clone, Copy)]
enum Purpose {
    Torrent(usize),
    Record(usize),
}

/// One torrent of a node.
#[derive(Debug)]
pub struct TorrentSlot {
    core: Torrent,
    timer: Timer,
    peer_id: PeerId,
    content: Arc<Content>,
    store: Option<Store>,
    complete_from_start: bool,
    corrupt_blocks: bool,
    corrupt_metadata: bool,
    reports: VecDeque<(u64, StorageDone)>,
    peers: BTreeMap<PeerKey, End>,
    discover: bool,
    lookup: Option<LookupId>,
    last_lookup: Option<u64>,
    announce: Timer,
    log: PeerLog,
    dirty: bool,
}

impl TorrentSlot {
    /// The core.
    pub fn core(&self) -> &Torrent {
        &self.core
    }

    /// What has happened.
    pub fn log(&self) -> &PeerLog {
        &self.log
    }
}

impl Node {
    pub(crate) fn new(index: u32, config: NodeConfig, medium: &mut Medium) -> Self {
        let now = medium.instant();
        let mut node = Self {
            index,
            up: true,
            dht: None,
            torrents: Vec::new(),
        };
        if let Some(routers) = config.dht {
            let mut dht = DhtConfig::new(medium.network(), Family::V4);
            dht.read_only = config.read_only;
            let seed = seed_bytes(&[medium.seed, u64::from(index), DHT_CORE]);
            let mut core = Dht::new(dht, seed, now);
            if !routers.is_empty() {
                core.bootstrap(now, &routers);
            }
            node.dht = Some(DhtSlot {
                core,
                timer: Timer::default(),
                ready: routers.is_empty(),
                lookups: Vec::new(),
                dirty: true,
            });
        }
        node.drive(medium);
        node
    }

    /// Whether it has not left.
    pub fn is_up(&self) -> bool {
        self.up
    }

    /// Its DHT node; gone when the node is.
    pub fn dht(&self) -> Option<&Dht> {
        self.dht.as_ref().map(|dht| &dht.core)
    }

    /// Whether its routing table was filled once.
    pub fn dht_ready(&self) -> bool {
        self.dht.as_ref().is_some_and(|dht| dht.ready)
    }

    /// Its torrents, in the order in which they were added.
    pub fn torrents(&self) -> &[TorrentSlot] {
        &self.torrents
    }

    pub(crate) fn add_torrent(&mut self, medium: &mut Medium, peer: PeerConfig) {
        let now = medium.instant();
        let slot = self.torrents.len();
        let words = [
            medium.seed,
            u64::from(self.index),
            TORRENT_CORE + slot as u64,
        ];
        let seed = seed_bytes(&words);
        let mut suffix = [0; 12];
        suffix.copy_from_slice(&seed[..12]);
        let peer_id = PeerId::with_suffix(suffix);

        let own = medium.addresses.of(self.index);
        let mut config = peer.torrent;
        config.peer_id = peer_id;
        config.listen_port = Some(own.port());
        config.dht_port = self.dht.is_some().then_some(own.port());
        let source = if peer.magnet {
            Source::InfoHash(peer.content.metainfo.info_hash())
        } else {
            Source::Metainfo(peer.content.metainfo.clone())
        };
        let mut core = Torrent::new(config, source, seed, now);
        core.add_candidates(now, &peer.candidates, CandidateSource::User);
        self.torrents.push(TorrentSlot {
            core,
            timer: Timer::default(),
            peer_id,
            content: peer.content,
            store: None,
            complete_from_start: peer.complete,
            corrupt_blocks: peer.corrupt_blocks,
            corrupt_metadata: peer.corrupt_metadata,
            reports: VecDeque::new(),
            peers: BTreeMap::new(),
            discover: peer.discover,
            lookup: None,
            last_lookup: None,
            announce: Timer::default(),
            log: PeerLog {
                added: Duration::from_nanos(medium.now),
                ..PeerLog::default()
            },
            dirty: true,
        });
        if self.dht_ready() {
            self.want_announce(medium, slot, medium.now);
        }
        self.drive(medium);
    }

    pub(crate) fn start_lookup(
        &mut self,
        medium: &mut Medium,
        info_hash: InfoHash,
        announce: bool,
    ) -> usize {
        let record = medium.lookups.len();
        medium.lookups.push(LookupRecord {
            node: self.index,
            info_hash,
            started: Duration::from_nanos(medium.now),
            first_peer: None,
            peers: Vec::new(),
            done: None,
        });
        let now = medium.instant();
        if let Some(dht) = &mut self.dht {
            let lookup = if announce {
                dht.core.announce(now, info_hash, AnnouncePort::Implied)
            } else {
                dht.core.get_peers(now, info_hash)
            };
            dht.lookups.push((lookup, Purpose::Record(record)));
            dht.dirty = true;
        }
        self.drive(medium);
        record
    }

    pub(crate) fn stop(&mut self, medium: &mut Medium, politely: bool) {
        if politely {
            let now = medium.instant();
            for torrent in &mut self.torrents {
                torrent.core.stop(now);
                torrent.dirty = true;
            }
            self.drive(medium);
        }
        for end in medium.pipes.ends_of(self.index) {
            if politely {
                medium.close(end);
            } else {
                medium.vanish(end);
            }
        }
        self.up = false;
        self.dht = None;
    }

    pub(crate) fn on_datagram(&mut self, medium: &mut Medium, packet: u32) {
        let Some(dht) = &mut self.dht else {
            medium.counts.undeliverable += 1;
            return;
        };
        let mut buffer = std::mem::take(&mut medium.buffer);
        let from = medium.receive(self.index, packet, &mut buffer);
        dht.core.handle_datagram(medium.instant(), from, &buffer);
        dht.dirty = true;
        medium.buffer = buffer;
        self.drive(medium);
    }

    pub(crate) fn on_dht_timer(&mut self, medium: &mut Medium) {
        let now = medium.instant();
        let Some(dht) = &mut self.dht else {
            return;
        };
        if !dht.timer.fires(medium.now) {
            return;
        }
        if dht.core.poll_timeout().is_some_and(|at| at <= now) {
            dht.core.handle_timeout(now);
        }
        dht.dirty = true;
        self.drive(medium);
    }

    pub(crate) fn on_torrent_timer(&mut self, medium: &mut Medium, slot: usize) {
        let now = medium.instant();
        let torrent = &mut self.torrents[slot];
        if !self.up || !torrent.timer.fires(medium.now) {
            return;
        }
        if torrent.core.poll_timeout().is_some_and(|at| at <= now) {
            torrent.core.handle_timeout(now);
        }
        torrent.dirty = true;
        self.drive(medium);
    }

    pub(crate) fn on_storage(&mut self, medium: &mut Medium, slot: usize) {
        let now = medium.instant();
        let torrent = &mut self.torrents[slot];
        if !self.up {
            return;
        }
        while let Some((_, done)) = torrent.reports.pop_front_if(|(due, _)| *due <= medium.now) {
            torrent.core.handle_storage(now, done);
        }
        torrent.dirty = true;
        self.drive(medium);
    }

    pub(crate) fn on_announce_due(&mut self, medium: &mut Medium, slot: usize) {
        let now = medium.instant();
        let torrent = &mut self.torrents[slot];
        if !self.up || !torrent.announce.fires(medium.now) || torrent.lookup.is_some() {
            return;
        }
        let Some(dht) = &mut self.dht else {
            return;
        };
        // The TCP port is the UDP port, so the announce may name the port that it comes from.
        let info_hash = torrent.core.info_hash();
        let lookup = dht.core.announce(now, info_hash, AnnouncePort::Implied);
        dht.lookups.push((lookup, Purpose::Torrent(slot)));
        dht.dirty = true;
        torrent.lookup = Some(lookup);
        torrent.last_lookup = Some(medium.now);
        self.drive(medium);
    }

    pub(crate) fn on_sent(&mut self, medium: &mut Medium, end: End, payload: usize) {
        let phase = medium.pipes.socket(end).map(|socket| socket.phase);
        if let Some(Phase::Open { slot, peer }) = phase {
            let now = medium.instant();
            self.torrents[slot].core.handle_sent(now, peer, payload);
            self.torrents[slot].dirty = true;
            self.drive(medium);
        }
    }

    pub(crate) fn on_dial_timeout(&mut self, medium: &mut Medium, end: End) {
        let phase = medium.pipes.socket(end).map(|socket| socket.phase);
        if matches!(phase, Some(Phase::Dialling | Phase::Handshaking)) {
            medium.close(end);
            self.dial_failed(medium, end);
            self.drive(medium);
        }
    }

    pub(crate) fn on_flight(&mut self, medium: &mut Medium, end: End, flight: Flight) {
        match flight {
            Flight::Syn if !self.up => medium.vanish(end),
            Flight::Syn if self.torrents.is_empty() => medium.close(end),
            Flight::Syn => medium.accept(end),
            Flight::Accept => {
                let Some(socket) = medium.pipes.socket(end) else {
                    return;
                };
                socket.phase = Phase::Handshaking;
                if let Some(slot) = socket.slot {
                    let handshake = self.handshake(slot);
                    medium.send(end, handshake, 0);
                }
            }
            Flight::Bytes { bytes, .. } => self.on_bytes(medium, end, bytes),
            Flight::Fin => self.on_fin(medium, end),
        }
        self.drive(medium);
    }

    fn on_fin(&mut self, medium: &mut Medium, end: End) {
        let Some(phase) = medium.pipes.socket(end).map(|socket| socket.phase) else {
            return;
        };
        match phase {
            Phase::Open { slot, peer } => {
                let torrent = &mut self.torrents[slot];
                torrent.peers.remove(&peer);
                torrent.core.peer_closed(medium.instant(), peer);
                torrent.dirty = true;
            }
            Phase::Dialling | Phase::Handshaking => self.dial_failed(medium, end),
            Phase::Closed => {}
        }
        medium.vanish(end);
    }

    /// Tells the torrent that dialled, if this side did.
    fn dial_failed(&mut self, medium: &mut Medium, end: End) {
        let now = medium.instant();
        let Some(socket) = medium
            .pipes
            .socket(end)
            .filter(|_| end.side == Side::Dialler)
        else {
            return;
        };
        if let Some(slot) = socket.slot {
            self.torrents[slot].core.connect_failed(now, socket.remote);
            self.torrents[slot].dirty = true;
        }
    }

    fn on_bytes(&mut self, medium: &mut Medium, end: End, bytes: Vec<u8>) {
        if let Some(from) = medium.pipes.socket(end.other()).map(|socket| socket.node) {
            medium.trace_stream(from, self.index, &bytes);
        }
        let Some(socket) = medium.pipes.socket(end) else {
            return;
        };
        if socket.buffer.is_empty() {
            // A whole frame becomes the buffer, and a block a slice of it: no copy.
            socket.buffer = BytesMut::from(Bytes::from(bytes));
        } else {
            socket.buffer.extend_from_slice(&bytes);
        }
        if socket.phase == Phase::Handshaking {
            if socket.buffer.len() < HANDSHAKE_LEN {
                return;
            }
            let front = socket.buffer.split_to(HANDSHAKE_LEN);
            let decoded = <&[u8; HANDSHAKE_LEN]>::try_from(&front[..])
                .ok()
                .and_then(|front| Handshake::decode(front).ok());
            let Some(handshake) = decoded else {
                self.dial_failed(medium, end);
                medium.close(end);
                return;
            };
            if !self.join(medium, end, &handshake) {
                return;
            }
        }
        self.decode(medium, end);
    }

    /// A handshake has arrived. Says whether the connection is open.
    fn join(&mut self, medium: &mut Medium, end: End, handshake: &Handshake) -> bool {
        let now = medium.instant();
        let Some(socket) = medium.pipes.socket(end) else {
            return false;
        };
        let named = |torrent: &TorrentSlot| torrent.core.info_hash() == handshake.info_hash;
        let slot = socket.slot.or_else(|| self.torrents.iter().position(named));
        let (direction, addr) = match end.side {
            Side::Dialler => (Direction::Outbound, socket.remote),
            Side::Acceptor => (Direction::Inbound, socket.remote),
        };
        let accepted = slot.and_then(|slot| {
            let torrent = &mut self.torrents[slot];
            torrent.dirty = true;
            let peer = torrent.core.peer_connected(now, addr, direction, handshake);
            Some((slot, peer.ok()?))
        });
        let Some((slot, peer)) = accepted else {
            // A torrent that refuses knows why: only what it never saw is a failed dial.
            medium.close(end);
            return false;
        };
        socket.slot = Some(slot);
        socket.phase = Phase::Open { slot, peer };
        self.torrents[slot].peers.insert(peer, end);
        if end.side == Side::Acceptor {
            let handshake = self.handshake(slot);
            medium.send(end, handshake, 0);
        }
        true
    }

    fn decode(&mut self, medium: &mut Medium, end: End) {
        let now = medium.instant();
        let mut messages = 0;
        let Some(socket) = medium.pipes.socket(end) else {
            return;
        };
        let Phase::Open { slot, peer } = socket.phase else {
            return;
        };
        let torrent = &mut self.torrents[slot];
        torrent.dirty = true;
        loop {
            match socket.decoder.decode(&mut socket.buffer) {
                Ok(Some(message)) => {
                    messages += 1;
                    torrent.core.handle_message(now, peer, message);
                }
                Ok(None) => break,
                Err(_) => {
                    torrent.core.peer_misframed(now, peer);
                    break;
                }
            }
        }
        medium.counts.messages += messages;
    }

    fn handshake(&self, slot: usize) -> Vec<u8> {
        let torrent = &self.torrents[slot];
        Handshake {
            reserved: Reserved::ours(self.dht.is_some()),
            info_hash: torrent.core.info_hash(),
            peer_id: torrent.peer_id,
        }
        .encode()
        .to_vec()
    }
}

/// One coalesced timer: the queue holds an entry for the earliest time asked for, and an entry that
/// is no longer the one that was set does nothing. Moving a deadline back costs nothing.
#[derive(Debug, Default)]
struct Timer {
    set: Option<u64>,
}

impl Timer {
    fn set(&mut self, medium: &mut Medium, deadline: Option<Instant>, event: Event) {
        if let Some(deadline) = deadline {
            self.set_nanos(medium, medium.nanos(deadline), event);
        }
    }

    fn set_nanos(&mut self, medium: &mut Medium, at: u64, event: Event) {
        let at = at.max(medium.now);
        if self.set.is_none_or(|set| at < set) {
            self.set = Some(at);
            medium.queue.push(at, event);
        }
    }

    /// Whether this entry is the one that was set; it is used up.
    fn fires(&mut self, now: u64) -> bool {
        let fires = self.set == Some(now);
        if fires {
            self.set = None;
        }
        fires
    }
}

/// What a seed is for.
const DHT_CORE: u64 = 1;
const TORRENT_CORE: u64 = 2;
