//! One simulated node: the third shell of the cores, in full.
//!
//! It does with events what the tokio shell does with tasks: datagrams to and from the [`Dht`],
//! streams of really encoded messages to and from [`Torrent`]s, storage requests answered later,
//! peers found in the DHT handed to the torrent, and one timer for each core. Here is what goes
//! into the cores; every output is matched by name in `outputs`.

mod outputs;
mod timer;

use std::{
    collections::{BTreeMap, VecDeque},
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use bytes::{Buf, BufMut, Bytes, buf::Chain};
use mainswarm::{
    compact::Family,
    dht::{Ahead, AnnouncePort, Contact, Dht, DhtConfig, IdCheck, KnownNode, LookupId},
    ids::{InfoHash, NodeId, PeerId},
    torrent::{
        CandidateSource, Direction, PeerKey, PeerMisbehaved, Source, StorageDone, Torrent,
        TorrentConfig,
    },
    wire::{HANDSHAKE_LEN, Handshake, Reserved},
};

use timer::Timer;

use super::{
    actor::{Actor, ActorSlot},
    hash::seed_bytes,
    line::Line,
    medium::{Medium, Packet},
    nat::Nat,
    store::{Content, Store},
    strategy::{Cheat, Heard, Strategy},
    stream::{Arrival, Flight, Phase, SocketKey, Written},
    ties::{Ban, Tie, Ties},
};

/// A node to add.
#[derive(Debug, Clone)]
pub struct NodeConfig {
    /// Run a DHT node, and start it from these routers. An empty list makes the first router.
    pub dht: Option<Vec<SocketAddr>>,
    /// BEP 43: ask, but do not answer.
    pub read_only: bool,
    /// Nodes that it knew in an earlier run, asked before the routers.
    pub saved: Vec<Contact>,
    /// The id of the DHT node; `None` draws one.
    pub node_id: Option<NodeId>,
    /// What it makes of ids that do not follow from addresses.
    pub id_check: IdCheck,
    /// Whether it knows its address from an earlier run, and so has the id that follows from it.
    pub knows_address: bool,
    /// Whether the far buckets of the routing table are large, as in a node of the command.
    pub wide_table: bool,
    /// What stands between it and the others.
    pub nat: Nat,
    /// The uplink in bytes per second; `None` is without limit.
    pub up: Option<u64>,
    /// The downlink in bytes per second.
    pub down: Option<u64>,
}

impl Default for NodeConfig {
    /// No DHT, no limits, nothing in between.
    fn default() -> Self {
        Self {
            dht: None,
            read_only: false,
            saved: Vec::new(),
            node_id: None,
            id_check: IdCheck::default(),
            knows_address: true,
            wide_table: true,
            nat: Nat::Open,
            up: None,
            down: None,
        }
    }
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
    /// How it departs from our client.
    pub strategy: Strategy,
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
            strategy: Strategy::Honest,
        }
    }
}

/// What a lookup is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Look {
    Find,
    Trace,
    Announce,
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
    /// Pieces that were fetched and right; more than there are if some were fetched again.
    pub right_pieces: u32,
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
    up: bool,
    pub(super) line: Line,
    /// Boxed, as the rest: a world keeps the nodes that are gone.
    dht: Option<Box<DhtSlot>>,
    torrents: Vec<TorrentSlot>,
    actor: Option<Box<ActorSlot>>,
}

#[derive(Debug)]
struct DhtSlot {
    core: Dht,
    wide_table: bool,
    timer: Timer,
    /// The table is usable, so lookups make sense.
    ready: bool,
    lookups: Vec<(LookupId, Purpose)>,
    dirty: bool,
}

#[derive(Debug, Clone, Copy)]
enum Purpose {
    Torrent(usize),
    /// A lookup that the world keeps a record of.
    Record(u32),
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
    cheat: Option<Cheat>,
    ties: Ties,
    reports: VecDeque<(u64, StorageDone)>,
    peers: BTreeMap<PeerKey, SocketKey>,
    discover: bool,
    lookup: Option<LookupId>,
    last_lookup: Option<u64>,
    /// Lookups since there were peers enough.
    lean_lookups: usize,
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

    /// Its neighbours.
    pub fn ties(&self) -> impl Iterator<Item = &Tie> {
        self.ties.now()
    }

    /// Whom it banned, and when.
    pub fn bans(&self) -> &[Ban] {
        self.ties.bans()
    }

    /// The hosts that have sent it blocks and were not banned for it.
    pub fn givers(&self) -> impl Iterator<Item = IpAddr> {
        self.ties.givers()
    }
}

impl Node {
    pub(crate) fn new(index: u32, config: NodeConfig, medium: &mut Medium) -> Self {
        let now = medium.instant();
        let mut node = Self {
            up: true,
            line: Line::new(index, config.nat, config.up, config.down),
            dht: None,
            torrents: Vec::new(),
            actor: None,
        };
        if let Some(routers) = config.dht {
            let mut dht = DhtConfig::new(medium.network(), Family::V4);
            dht.read_only = config.read_only;
            dht.node_id = config.node_id;
            dht.id_check = config.id_check;
            let own = medium.addresses.of(index).ip();
            dht.external_ip = config.knows_address.then_some(own);
            dht.wide_table = config.wide_table;
            let seed = seed_bytes(&[medium.seed, u64::from(index), DHT_CORE]);
            let mut core = Dht::new(dht, seed, now);
            if !routers.is_empty() {
                core.restore(now, &config.saved);
                core.bootstrap(now, &routers);
            }
            node.dht = Some(Box::new(DhtSlot {
                core,
                wide_table: config.wide_table,
                timer: Timer::default(),
                ready: routers.is_empty(),
                lookups: Vec::new(),
                dirty: true,
            }));
        }
        node.drive(medium);
        node
    }

    pub(crate) fn with_actor(index: u32, actor: Box<dyn Actor>, medium: &mut Medium) -> Self {
        let mut node = Self::new(index, NodeConfig::default(), medium);
        let slot = ActorSlot::new(actor, &mut node.line, medium);
        node.actor = Some(Box::new(slot));
        node
    }

    /// Its index among the world's nodes.
    pub fn index(&self) -> u32 {
        self.line.node
    }

    /// Whether anybody can call it.
    pub(crate) fn takes_dials(&self) -> bool {
        self.line.takes_dials()
    }

    /// Whether it has not left.
    pub fn is_up(&self) -> bool {
        self.up
    }

    /// The actor that lives here in place of our cores.
    pub fn actor(&self) -> Option<&dyn Actor> {
        self.actor.as_ref().map(|slot| slot.actor.as_ref())
    }

    /// Bytes that it has sent in streams.
    pub fn sent_bytes(&self) -> u64 {
        self.line.sent_bytes()
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
            u64::from(self.line.node),
            TORRENT_CORE + slot as u64,
        ];
        let seed = seed_bytes(&words);
        let mut suffix = [0; 12];
        suffix.copy_from_slice(&seed[..12]);
        let peer_id = PeerId::with_suffix(suffix);

        let own = medium.addresses.of(self.line.node);
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
            cheat: Cheat::new(
                peer.strategy,
                peer.content.metainfo.geometry().piece_count(),
                medium.now,
            ),
            ties: Ties::default(),
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
            lean_lookups: 0,
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
        record: u32,
        info_hash: InfoHash,
        look: Look,
    ) {
        let now = medium.instant();
        if let Some(dht) = &mut self.dht {
            let lookup = match look {
                Look::Announce => dht.core.announce(now, info_hash, AnnouncePort::Implied),
                Look::Find | Look::Trace => dht.core.get_peers(now, info_hash),
            };
            if look == Look::Trace {
                dht.core.trace(now, lookup);
            }
            dht.lookups.push((lookup, Purpose::Record(record)));
            dht.dirty = true;
        }
        self.drive(medium);
    }

    /// Takes up a routing table as it would be long after joining.
    pub(crate) fn warm(&mut self, medium: &mut Medium, nodes: impl IntoIterator<Item = KnownNode>) {
        let now = medium.instant();
        if let Some(dht) = &mut self.dht {
            dht.core.restore_table(now, nodes);
            dht.dirty = true;
        }
        self.drive(medium);
    }

    /// Reads what an event of this node will read, step by step from 0 to [`Dht::TOUCH_STEPS`].
    pub(crate) fn touch(&self, step: usize) -> usize {
        match (step, &self.dht) {
            (0, dht) => usize::from(dht.is_some() ^ self.up) ^ self.line.node as usize,
            (step, Some(dht)) => dht.core.touch(step - 1) ^ usize::from(dht.dirty),
            (_, None) => 0,
        }
    }

    /// What the event, a datagram or a time-out, will read after that.
    pub(crate) fn ahead(&self, datagram: Option<&[u8]>) -> Option<Ahead<'_>> {
        self.dht.as_ref().map(|dht| dht.core.ahead(datagram))
    }

    pub(crate) fn has_wide_table(&self) -> bool {
        self.dht.as_ref().is_some_and(|dht| dht.wide_table)
    }

    pub(crate) fn set_loss(&mut self, loss: Option<f64>) {
        self.line.set_loss(loss);
    }

    /// A partition is over.
    pub(crate) fn resume(&mut self, medium: &mut Medium) {
        self.line.resume(medium);
    }

    pub(crate) fn stop(&mut self, medium: &mut Medium, politely: bool) {
        if !self.up {
            return;
        }
        if politely {
            let now = medium.instant();
            for torrent in &mut self.torrents {
                torrent.core.stop(now);
                torrent.dirty = true;
            }
            self.drive(medium);
        }
        for socket in self.line.sockets() {
            if politely {
                self.line.close(medium, socket);
            } else {
                self.line.drop_socket(socket);
            }
        }
        self.up = false;
        self.dht = None;
    }

    pub(crate) fn on_datagram(&mut self, medium: &mut Medium, packet: &Packet) {
        if !self.up || self.dht.is_none() && self.actor.is_none() {
            medium.counts.undeliverable += 1;
            return;
        }
        let Some(from) = self.line.admit(medium, packet) else {
            return;
        };
        if let Some(slot) = &mut self.actor {
            slot.with(&mut self.line, medium, |actor, context| {
                actor.on_datagram(context, from, &packet.bytes);
            });
        } else if let Some(dht) = &mut self.dht {
            dht.core
                .handle_datagram(medium.instant(), from, &packet.bytes);
            dht.dirty = true;
            self.drive(medium);
        }
    }

    pub(crate) fn on_actor_timer(&mut self, medium: &mut Medium) {
        if let Some(slot) = self.actor.as_mut().filter(|_| self.up)
            && slot.fires(medium.now)
        {
            slot.with(&mut self.line, medium, |actor, context| {
                actor.on_timer(context);
            });
        }
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

    pub(crate) fn on_frame_sent(&mut self, medium: &mut Medium) {
        let Some((socket, payload)) = self.line.frame_sent(medium) else {
            return;
        };
        let phase = self.line.socket(socket).map(|socket| socket.phase);
        if let Some(Phase::Open { slot, peer }) = phase {
            let now = medium.instant();
            self.torrents[slot].core.handle_sent(now, peer, payload);
            self.torrents[slot].dirty = true;
            self.drive(medium);
        }
    }

    pub(crate) fn on_dial_timeout(&mut self, medium: &mut Medium, key: SocketKey) {
        let phase = self.line.socket(key).map(|socket| socket.phase);
        if matches!(phase, Some(Phase::Dialling | Phase::Handshaking)) {
            self.dial_failed(medium, key);
            self.line.close(medium, key);
            self.drive(medium);
        }
    }

    pub(crate) fn on_cut_timeout(&mut self, medium: &mut Medium, key: SocketKey) {
        if self.line.is_given_up(medium.now, key) {
            self.on_fin(medium, key);
            self.drive(medium);
        }
    }

    /// Something of a stream has come.
    pub(crate) fn on_arrival(&mut self, medium: &mut Medium, mut arrival: Arrival) {
        if !self.up {
            return;
        }
        let Some(key) = arrival.socket else {
            if let Flight::Syn { port } = arrival.flight {
                self.on_dial(medium, &arrival, port);
            }
            return;
        };
        if self.line.socket(key).is_none() {
            // As TCP resets what it does not know, but never a reset.
            if !matches!(arrival.flight, Flight::Fin) {
                self.line.refuse(medium, &arrival);
            }
            return;
        }
        if let Flight::Accept = arrival.flight {
            self.line.connected(key, arrival.back);
        }
        let flight = std::mem::replace(&mut arrival.flight, Flight::Fin);
        if let Some(flight) = self.line.arrived(medium, key, flight) {
            self.on_flight(medium, key, arrival.from, flight);
        }
    }

    pub(crate) fn on_landed(&mut self, medium: &mut Medium, key: SocketKey) {
        if let Some(flight) = self.line.landed(key) {
            let from = self.line.socket(key).map_or(0, |socket| socket.far_node());
            self.on_flight(medium, key, from, flight);
        }
    }

    fn on_dial(&mut self, medium: &mut Medium, arrival: &Arrival, port: u16) {
        if !self.line.takes_dials() {
            return;
        }
        if self.torrents.is_empty() {
            self.line.refuse(medium, arrival);
        } else {
            self.line.accept(medium, arrival, port);
        }
    }

    fn on_flight(&mut self, medium: &mut Medium, key: SocketKey, from: u32, flight: Flight) {
        match flight {
            Flight::Syn { .. } => {}
            Flight::Accept => {
                if let Some(slot) = self.line.socket(key).and_then(|socket| socket.slot) {
                    let handshake = self.handshake(slot);
                    self.line.send(medium, key, handshake.into());
                }
            }
            Flight::Bytes { bytes, .. } => self.on_bytes(medium, key, from, bytes),
            Flight::Fin => self.on_fin(medium, key),
        }
        self.drive(medium);
    }

    fn on_fin(&mut self, medium: &mut Medium, key: SocketKey) {
        let Some(phase) = self.line.socket(key).map(|socket| socket.phase) else {
            return;
        };
        match phase {
            Phase::Open { slot, peer } => {
                let torrent = &mut self.torrents[slot];
                torrent.forget(peer);
                torrent.core.peer_closed(medium.instant(), peer);
                torrent.dirty = true;
            }
            Phase::Dialling | Phase::Handshaking => self.dial_failed(medium, key),
        }
        self.line.drop_socket(key);
    }

    /// Tells the torrent that dialled, if this side did.
    fn dial_failed(&mut self, medium: &mut Medium, key: SocketKey) {
        let now = medium.instant();
        let Some(socket) = self.line.socket(key).filter(|socket| socket.dialled) else {
            return;
        };
        if let Some(slot) = socket.slot {
            let remote = socket.remote;
            self.torrents[slot].core.connect_failed(now, remote);
            self.torrents[slot].dirty = true;
        }
    }

    fn on_bytes(&mut self, medium: &mut Medium, key: SocketKey, from: u32, bytes: Written) {
        medium.trace_stream(from, self.line.node, &bytes);
        let Some(socket) = self.line.socket(key) else {
            return;
        };
        // A block stays the slice that its sender read: no copy.
        let Written { front, block } = bytes;
        let mut wire = match socket.buffer.is_empty() {
            true => Bytes::from(front).chain(block),
            false => {
                let mut all = std::mem::take(&mut socket.buffer);
                all.put(&front[..]);
                all.put(block);
                all.freeze().chain(Bytes::new())
            }
        };
        if socket.phase == Phase::Handshaking {
            if wire.remaining() < HANDSHAKE_LEN {
                socket.buffer.put(wire);
                return;
            }
            let mut front = [0; HANDSHAKE_LEN];
            wire.copy_to_slice(&mut front);
            let Ok(handshake) = Handshake::decode(&front) else {
                self.dial_failed(medium, key);
                self.line.close(medium, key);
                return;
            };
            if !self.join(medium, key, &handshake) {
                return;
            }
        }
        self.decode(medium, key, wire);
    }

    /// A handshake has arrived. Says whether the connection is open.
    fn join(&mut self, medium: &mut Medium, key: SocketKey, handshake: &Handshake) -> bool {
        let now = medium.instant();
        let Some(socket) = self.line.socket(key) else {
            return false;
        };
        let named = |torrent: &TorrentSlot| torrent.core.info_hash() == handshake.info_hash;
        let slot = socket.slot.or_else(|| self.torrents.iter().position(named));
        let (dialled, addr) = (socket.dialled, socket.remote);
        let direction = match dialled {
            true => Direction::Outbound,
            false => Direction::Inbound,
        };
        let accepted = slot.and_then(|slot| {
            let torrent = &mut self.torrents[slot];
            torrent.dirty = true;
            let peer = torrent.core.peer_connected(now, addr, direction, handshake);
            Some((slot, peer.ok()?))
        });
        let Some((slot, peer)) = accepted else {
            // A torrent that refuses knows why: only what it never saw is a failed dial.
            self.line.close(medium, key);
            return false;
        };
        if let Some(socket) = self.line.socket(key) {
            socket.slot = Some(slot);
            socket.phase = Phase::Open { slot, peer };
        }
        self.torrents[slot].peers.insert(peer, key);
        self.torrents[slot].ties.open(peer, addr.ip());
        if !dialled {
            let handshake = self.handshake(slot);
            self.line.send(medium, key, handshake.into());
        }
        true
    }

    fn decode(&mut self, medium: &mut Medium, key: SocketKey, mut wire: Chain<Bytes, Bytes>) {
        let now = medium.instant();
        let mut messages = 0;
        let Some(socket) = self.line.socket(key) else {
            return;
        };
        let Phase::Open { slot, peer } = socket.phase else {
            return;
        };
        let torrent = &mut self.torrents[slot];
        torrent.dirty = true;
        let mut answers = Vec::new();
        loop {
            match socket.decoder.decode(&mut wire) {
                Ok(Some(message)) => {
                    messages += 1;
                    match torrent.hear(medium.now, peer, message) {
                        Heard::Pass(message) => torrent.core.handle_message(now, peer, message),
                        Heard::Answer(answer) => answers.push(answer),
                        Heard::Nothing => {}
                    }
                }
                Ok(None) => {
                    socket.buffer.put(wire);
                    break;
                }
                Err(_) => {
                    torrent.core.peer_misframed(now, peer);
                    break;
                }
            }
        }
        for answer in answers {
            self.line.put(medium, key, &answer);
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

/// What a seed is for.
const DHT_CORE: u64 = 1;
const TORRENT_CORE: u64 = 2;
