//! One torrent and the swarm around it: the chunk exchanger (BEP 3, 6, 9, 10, 11, 27), and no
//! socket.
//!
//! A [`Torrent`] is a value. Its shell tells it what happened (`peer_connected`, `handle_message`,
//! `handle_storage`, `handle_timeout` …), then takes [`Torrent::poll_output`] until it is empty and
//! wakes it again at [`Torrent::poll_timeout`].
//!
//! ```text
//!             messages.rs ── requests.rs ── picker.rs    rarest first, random first
//! a message ──►   │              │   └───── progress.rs  missing → partial → verifying → have
//!                 │              └───────── pipeline.rs  how many requests, anti-snubbing, blame.rs
//!                 ├───────── serving.rs ─── choker.rs    tit-for-tat, optimistic slot; unsent.rs
//!                 │              └───────── uploads.rs   what we owe one peer
//!                 └──────── neighbours.rs ─ replacement.rs, candidates.rs, pex.rs; metadata.rs
//! ```
//!
//! Every input ends in `Torrent::settle`, which carries out what the input made due. Read
//! [`choker`] first: one whole policy in a file; [`chooser`] says how to add another.

pub mod choker;
pub mod chooser;

mod blame;
mod candidates;
mod config;
mod messages;
mod metadata;
mod neighbours;
mod output;
mod peer;
mod pex;
mod picker;
mod pipeline;
mod progress;
mod replacement;
mod requests;
mod serving;
mod shares;
mod unsent;
mod uploads;

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    net::SocketAddr,
    ops::Bound,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use rand::{SeedableRng, rngs::StdRng};

pub use config::{PieceOrder, Source, TorrentConfig, TorrentStats};
pub use output::{
    BlockDigest, CandidateSource, Direction, DisconnectReason, Output, PeerKey, PeerMisbehaved,
    Reject, Severity, StorageDone, StorageFault, StorageFaultKind, StorageOperation,
    StorageRequest, TorrentEvent,
};

use crate::{
    bitfield::Bitfield,
    ids::InfoHash,
    metainfo::{Metainfo, PieceIndex},
    rate::{RateMeter, TokenBucket},
    wire::{Handshake, Message, extension::METADATA_BLOCK_LEN},
};
use blame::Blame;
use candidates::Candidates;
use choker::{Choker, ChokerConfig};
use metadata::MetadataFetch;
use peer::Peer;
use picker::Picker;
use progress::Progress;
use replacement::Ingrates;
use requests::Pieces;
use shares::Shares;
use unsent::Unsent;

/// One torrent.
#[derive(Debug)]
pub struct Torrent {
    config: TorrentConfig,
    info_hash: InfoHash,
    rng: StdRng,
    outputs: VecDeque<Output>,
    next_tick: Option<Instant>,
    stopped: bool,

    // What the torrent is and what of it is here.
    from_magnet: bool,
    fetch: Option<MetadataFetch>,
    metainfo: Option<Arc<Metainfo>>,
    wanted: Option<Bitfield>,
    pieces: Option<Pieces>,
    blame: Blame,
    completed: bool,
    /// Bytes handed to the storage and not yet written.
    unwritten: u64,
    paused: Option<StorageFault>,
    /// Pieces whose writing failed: a wrong hash that follows may be the storage's fault.
    doubted: BTreeSet<PieceIndex>,
    retry_at: Option<Instant>,

    // Who is around.
    peers: BTreeMap<PeerKey, Peer>,
    next_key: u64,
    candidates: Candidates,
    ingrates: Ingrates,
    dialling: BTreeSet<SocketAddr>,
    dial_at: Option<Instant>,
    wanted_peers_at: Option<Instant>,
    choker: Choker,
    /// While we are the only source of pieces.
    unsent: Option<Unsent>,

    // What the last inputs made due; carried out by `settle`.
    dial_due: bool,
    /// Metadata may be asked for.
    fetch_due: bool,
    slots_dirty: bool,
    /// Blocks became free, or requests possible, for everybody.
    refill: bool,
    /// Peers that may be asked for more.
    hungry: BTreeSet<PeerKey>,
    /// Who was asked last.
    hungry_turn: PeerKey,
    /// Peers that would be asked for more if the download limit allowed.
    starved: BTreeSet<PeerKey>,
    /// Peers in whom our interest may have changed.
    reconsider: BTreeSet<PeerKey>,
    /// Peers for whom a block may be read.
    upload_ready: BTreeSet<PeerKey>,
    /// Who was served last.
    upload_turn: PeerKey,
    /// Where each peer stands when slots have weights.
    shares: Shares,

    // Limits and counts.
    up: TokenBucket,
    up_ready: Option<Instant>,
    down: TokenBucket,
    down_ready: Option<Instant>,
    up_rate: RateMeter,
    down_rate: RateMeter,
    downloaded: u64,
    uploaded: u64,
    wasted: u64,
    dialled: u64,
    handshaken: u64,
}

impl Torrent {
    /// A torrent without peers; with [`Source::Metainfo`] it asks for its storage at once.
    pub fn new(config: TorrentConfig, source: Source, seed: [u8; 32], now: Instant) -> Self {
        let choker = ChokerConfig {
            slots: config.upload_slots,
            optimistic_slots: config.optimistic_slots,
            interval: config.choke_interval,
            optimistic_interval: config.optimistic_interval,
            chooser: config.chooser.clone(),
            seed_order: config.seed_order,
        };
        let (info_hash, metainfo) = match source {
            Source::Metainfo(metainfo) => (metainfo.info_hash(), Some(metainfo)),
            Source::InfoHash(info_hash) => (info_hash, None),
        };
        let private = metainfo
            .as_ref()
            .is_some_and(|metainfo| metainfo.is_private());
        let first = private.then_some(Output::Event(TorrentEvent::Private));
        let open = metainfo.iter().cloned().map(Output::OpenStorage);
        let fetch = metainfo.is_none().then(|| MetadataFetch::new(info_hash));
        Self {
            info_hash,
            rng: StdRng::from_seed(seed),
            outputs: first.into_iter().chain(open).collect(),
            next_tick: None,
            stopped: false,
            from_magnet: metainfo.is_none(),
            fetch,
            metainfo,
            wanted: None,
            pieces: None,
            blame: Blame::new(),
            completed: false,
            unwritten: 0,
            paused: None,
            doubted: BTreeSet::new(),
            retry_at: None,
            peers: BTreeMap::new(),
            next_key: 0,
            candidates: Candidates::new(config.network, MAX_CANDIDATES),
            ingrates: Ingrates::default(),
            dialling: BTreeSet::new(),
            dial_at: None,
            wanted_peers_at: None,
            choker: Choker::new(choker, now),
            unsent: None,
            dial_due: false,
            fetch_due: false,
            slots_dirty: false,
            refill: false,
            hungry: BTreeSet::new(),
            hungry_turn: PeerKey(0),
            starved: BTreeSet::new(),
            reconsider: BTreeSet::new(),
            upload_ready: BTreeSet::new(),
            upload_turn: PeerKey(0),
            shares: Shares::default(),
            up: TokenBucket::new(config.up, now),
            up_ready: None,
            down: TokenBucket::new(config.down, now),
            down_ready: None,
            up_rate: RateMeter::new(SHOWN_RATE_WINDOW, now),
            down_rate: RateMeter::new(SHOWN_RATE_WINDOW, now),
            downloaded: 0,
            uploaded: 0,
            wasted: 0,
            dialled: 0,
            handshaken: 0,
            config,
        }
    }

    /// Addresses that may be dialled.
    pub fn add_candidates(&mut self, now: Instant, addrs: &[SocketAddr], source: CandidateSource) {
        self.on_candidates(now, addrs, source);
        self.settle(now);
    }

    /// A connection has exchanged handshakes.
    pub fn peer_connected(
        &mut self,
        now: Instant,
        addr: SocketAddr,
        direction: Direction,
        handshake: &Handshake,
    ) -> Result<PeerKey, Reject> {
        let verdict = self.on_connected(now, addr, direction, handshake);
        self.settle(now);
        verdict
    }

    /// A dial that [`Output::Connect`] asked for failed, or its handshake did.
    pub fn connect_failed(&mut self, now: Instant, addr: SocketAddr) {
        self.on_connect_failed(now, addr);
        self.settle(now);
    }

    /// A connection ended from outside.
    pub fn peer_closed(&mut self, now: Instant, peer: PeerKey) {
        self.remove_peer(now, peer);
        self.settle(now);
    }

    /// A connection's bytes are not the protocol: closes it with [`PeerMisbehaved::BadFraming`].
    pub fn peer_misframed(&mut self, now: Instant, peer: PeerKey) {
        self.punish(now, peer, PeerMisbehaved::BadFraming);
        self.settle(now);
    }

    /// A message arrived. Unknown keys are ignored: the connection may just have been closed.
    pub fn handle_message(&mut self, now: Instant, peer: PeerKey, message: Message) {
        self.on_message(now, peer, message);
        self.settle(now);
    }

    /// So many bytes of block data have left for `peer`.
    pub fn handle_sent(&mut self, now: Instant, peer: PeerKey, bytes: usize) {
        self.on_sent(now, peer, bytes);
        self.settle(now);
    }

    /// The storage reports.
    pub fn handle_storage(&mut self, now: Instant, done: StorageDone) {
        self.on_storage(now, done);
        self.settle(now);
    }

    /// The time that [`Self::poll_timeout`] named has come. Early and late calls are harmless.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.stopped {
            return;
        }
        self.fetch_due = true;
        if self.choker.due(now) && !self.peers.is_empty() {
            self.rechoke(now);
        }
        if self.next_tick.is_some_and(|at| now >= at) {
            self.next_tick = Some(now + TICK);
            self.tick(now);
        }
        if self.down_ready.is_some_and(|at| now >= at) {
            self.down_ready = None;
            self.hungry.append(&mut self.starved);
        }
        if self.up_ready.is_some_and(|at| now >= at) {
            self.up_ready = None;
        }
        self.dial_due |= self.dial_at.is_some_and(|at| now >= at);
        self.settle(now);
    }

    /// Sets which pieces to fetch. Until the metadata is known their number is too, so it is
    /// ignored before. All by default.
    pub fn set_wanted(&mut self, now: Instant, wanted: Bitfield) {
        let count = self
            .metainfo
            .as_ref()
            .map(|metainfo| metainfo.geometry().piece_count());
        if count != Some(wanted.len()) {
            return;
        }
        self.wanted = Some(wanted.clone());
        let Some(pieces) = &mut self.pieces else {
            return;
        };
        // What was begun and is unwanted would stay in the storage's memory for good.
        let begun = pieces.progress.partials().map(|(piece, _)| piece);
        let dropped: Vec<PieceIndex> = begun.filter(|piece| !wanted.get(piece.0)).collect();
        for piece in dropped {
            pieces.progress.lost(piece);
            self.blame.forget(piece);
            let discard = StorageRequest::Discard { piece };
            self.outputs.push_back(Output::Storage(discard));
        }
        pieces.progress.set_wanted(wanted);
        for piece in pieces.progress.geometry().pieces() {
            pieces.settle(piece, &mut self.rng);
        }
        let progress = &pieces.progress;
        for (key, peer) in &mut self.peers {
            let ones = peer.bitfield().into_iter().flat_map(|has| has.ones());
            peer.interesting = ones
                .filter(|piece| progress.is_needed(PieceIndex(*piece)))
                .count() as u32;
            self.reconsider.insert(*key);
        }
        let complete = progress.is_complete();
        if complete && !self.completed {
            self.on_completed(now);
        }
        self.completed = complete;
        self.refill = true;
        self.settle(now);
    }

    /// Sets the regular upload slots.
    pub fn set_upload_slots(&mut self, slots: usize) {
        self.choker.set_slots(slots);
        self.slots_dirty = true;
    }

    /// Sets the limits in payload bytes per second.
    pub fn set_rates(&mut self, now: Instant, up: Option<u64>, down: Option<u64>) {
        self.up.set_rate(up, now);
        self.down.set_rate(down, now);
        (self.up_ready, self.down_ready) = (None, None);
        self.refill = true;
        self.settle(now);
    }

    /// Ends a pause that a storage failure caused; an open that failed is tried again.
    pub fn resume(&mut self, now: Instant) {
        self.retry_at = None;
        if self.paused.take().is_none() || self.stopped {
            return;
        }
        self.outputs.push_back(Output::Event(TorrentEvent::Resumed));
        if let (None, Some(metainfo)) = (&self.pieces, &self.metainfo) {
            self.outputs
                .push_back(Output::OpenStorage(Arc::clone(metainfo)));
        }
        self.reconsider.extend(self.peers.keys());
        self.refill = true;
        self.settle(now);
    }

    /// Closes every connection and asks for nothing more.
    pub fn stop(&mut self, now: Instant) {
        self.stopped = true;
        let keys: Vec<PeerKey> = self.peers.keys().copied().collect();
        for key in keys {
            self.disconnect(now, key, DisconnectReason::Stopped);
        }
        self.next_tick = None;
        self.dial_at = None;
        self.retry_at = None;
    }

    /// What to do next.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When [`Self::handle_timeout`] should be called; `None` for a torrent that waits for input.
    pub fn poll_timeout(&self) -> Option<Instant> {
        if self.stopped {
            return None;
        }
        let choke = self.choker.next_deadline();
        let choke = (!self.peers.is_empty() && self.config.upload).then_some(choke);
        let metadata = self.fetch.as_ref().and_then(MetadataFetch::next_deadline);
        let times = [
            self.next_tick,
            metadata,
            self.up_ready,
            self.down_ready,
            self.dial_at,
            choke,
        ];
        times.into_iter().flatten().min()
    }

    /// The torrent's name.
    pub fn info_hash(&self) -> InfoHash {
        self.info_hash
    }

    /// The metainfo, once known.
    pub fn metainfo(&self) -> Option<&Arc<Metainfo>> {
        self.metainfo.as_ref()
    }

    /// The pieces that are here and verified; `None` until the storage is open.
    pub fn have(&self) -> Option<&Bitfield> {
        self.pieces.as_ref().map(|pieces| pieces.progress.have())
    }

    /// Whether every wanted piece is here.
    pub fn is_complete(&self) -> bool {
        self.completed
    }

    /// BEP 27; known only with the metadata.
    pub fn is_private(&self) -> bool {
        self.metainfo
            .as_ref()
            .is_some_and(|metainfo| metainfo.is_private())
    }

    /// Counts.
    pub fn stats(&self, now: Instant) -> TorrentStats {
        let progress = self.pieces.as_ref().map(|pieces| &pieces.progress);
        let (bytes_wanted, bytes_left) = progress.map_or((0, 0), Progress::bytes);
        let count = |test: fn(&Peer) -> bool| self.peers.values().filter(|peer| test(peer)).count();
        TorrentStats {
            pieces: self
                .metainfo
                .as_ref()
                .map_or(0, |m| m.geometry().piece_count()),
            have: progress.map_or(0, |progress| progress.have().count_ones()),
            missing: progress.map_or(0, Progress::missing),
            bytes_left,
            bytes_wanted,
            downloaded: self.downloaded,
            uploaded: self.uploaded,
            wasted: self.wasted,
            down_rate: self.down_rate.rate(now),
            up_rate: self.up_rate.rate(now),
            peers: self.peers.len(),
            seeds: count(Peer::is_seed),
            unchoked_by: count(|peer| !peer.they_choke_us),
            unchoking: count(|peer| !peer.we_choke_them),
            candidates: self.candidates.dialable(now),
            dialling: self.dialling.len(),
            dialled: self.dialled,
            handshaken: self.handshaken,
            metadata: self.fetch.as_ref().and_then(MetadataFetch::progress),
            paused: self.paused.is_some(),
            unsent_first: self.unsent.is_some(),
        }
    }

    /// Checks what must always hold; for tests, simulations and fuzzing.
    ///
    /// # Panics
    /// If an invariant is broken.
    pub fn check(&self) {
        let Some(pieces) = &self.pieces else { return };
        pieces.progress.check();
        pieces.picker.check();
        let progress = &pieces.progress;
        for piece in progress.geometry().pieces() {
            let has = |peer: &Peer| peer.bitfield().is_some_and(|has| has.get(piece.0));
            let count = self.peers.values().filter(|peer| has(peer)).count();
            assert_eq!(
                pieces.picker.availability(piece) as usize,
                count,
                "{piece:?}"
            );
        }
        for peer in self.peers.values() {
            let ones = peer.bitfield().into_iter().flat_map(|has| has.ones());
            let needed = ones
                .filter(|piece| progress.is_needed(PieceIndex(*piece)))
                .count();
            assert_eq!(peer.interesting as usize, needed, "{}", peer.addr);
        }
    }

    /// The metadata of a magnet arrived and its hash is right.
    fn on_metadata(&mut self, now: Instant, info: Bytes) {
        self.fetch = None;
        let metainfo = match Metainfo::from_info(info) {
            Ok(metainfo) => Arc::new(metainfo),
            Err(error) => {
                self.outputs
                    .push_back(Output::Event(TorrentEvent::MetadataInvalid { error }));
                return self.stop(now);
            }
        };
        let private = metainfo.is_private();
        let pieces = metainfo.geometry().piece_count();
        self.metainfo = Some(Arc::clone(&metainfo));
        self.outputs
            .push_back(Output::Event(TorrentEvent::MetadataReceived(Arc::clone(
                &metainfo,
            ))));
        if private {
            self.candidates.forget_hearsay();
            self.outputs.push_back(Output::Event(TorrentEvent::Private));
        }
        self.settle_early(now, pieces);
        let keys: Vec<PeerKey> = self.peers.keys().copied().collect();
        keys.into_iter()
            .for_each(|key| self.send_extension_handshake(key));
        self.outputs.push_back(Output::OpenStorage(metainfo));
    }

    /// The storage is open: the exchange begins.
    fn on_opened(&mut self, now: Instant, have: Bitfield) {
        let Some(metainfo) = self.metainfo.clone() else {
            return;
        };
        let geometry = metainfo.geometry();
        let count = geometry.piece_count();
        if self.pieces.is_some() || have.len() != count {
            return;
        }
        let wanted = self.wanted.clone().unwrap_or_else(|| Bitfield::full(count));
        self.outputs.push_back(Output::Event(TorrentEvent::Checked {
            have: have.count_ones(),
        }));
        let progress = Progress::new(geometry, have, wanted);
        let complete = progress.is_complete();
        let mut pieces = Pieces {
            progress,
            picker: Picker::new(count),
        };
        for piece in geometry.pieces() {
            pieces.settle(piece, &mut self.rng);
        }
        for (key, peer) in &mut self.peers {
            for piece in pieces.progress.have().ones().map(PieceIndex) {
                peer.spoke_at = now;
                self.outputs.push_back(Output::Send {
                    peer: *key,
                    message: Message::Have(piece),
                });
            }
        }
        self.pieces = Some(pieces);
        let keys: Vec<PeerKey> = self.peers.keys().copied().collect();
        keys.into_iter().for_each(|key| self.count_in(key));
        if complete {
            self.on_completed(now);
            self.begin_unsent();
        }
        self.dial_due = true;
        self.refill = true;
    }

    /// Carries out what an input made due.
    fn settle(&mut self, now: Instant) {
        if self.stopped {
            return;
        }
        while let Some(key) = self.reconsider.pop_first() {
            self.reconsider_interest(now, key);
        }
        if std::mem::take(&mut self.slots_dirty) {
            self.fill_slots(now);
        }
        if std::mem::take(&mut self.fetch_due) {
            self.poll_metadata(now);
        }
        if std::mem::take(&mut self.refill) {
            self.hungry.extend(self.peers.keys());
        }
        while let Some(key) = after(&self.hungry, self.hungry_turn) {
            self.hungry.remove(&key);
            self.hungry_turn = key;
            self.fill_requests(now, key);
        }
        if self.up_ready.is_none() && !self.upload_ready.is_empty() {
            self.pump_uploads(now);
        }
        if self.dial_due {
            self.dial(now);
        }
        let active = !self.peers.is_empty() || !self.dialling.is_empty() || self.retry_at.is_some();
        if active && self.next_tick.is_none() {
            self.next_tick = Some(now + TICK);
        } else if !active {
            self.next_tick = None;
        }
    }

    fn poll_metadata(&mut self, now: Instant) {
        let Some(fetch) = &mut self.fetch else { return };
        let mut asks = Vec::new();
        while let Some(ask) = fetch.poll_request(now) {
            asks.push(ask);
        }
        for (key, piece) in asks {
            debug_assert!(u64::from(piece) * u64::from(METADATA_BLOCK_LEN) <= 32 << 20);
            let said = self
                .peers
                .get(&key)
                .and_then(|peer| peer.extension.as_ref());
            if let Some(id) = said.and_then(|said| said.ut_metadata) {
                let message = crate::wire::extension::MetadataMessage::Request { piece };
                self.send_extended(key, id, message.encode());
            }
        }
    }
}

/// Whose turn it is: the next key after `turn`, round and round.
fn after(keys: &BTreeSet<PeerKey>, turn: PeerKey) -> Option<PeerKey> {
    let later = (Bound::Excluded(turn), Bound::Unbounded);
    keys.range(later).next().or_else(|| keys.first()).copied()
}

/// Ours: what depends on time alone is looked at once a second.
const TICK: Duration = Duration::from_secs(1);
/// Ours: addresses kept per torrent.
const MAX_CANDIDATES: usize = 1_000;
/// Ours: rates shown to people settle within a few seconds.
const SHOWN_RATE_WINDOW: Duration = Duration::from_secs(5);
