//! The task that owns one [`Torrent`]: channels in, channels out, and the clock.
//!
//! Nothing here decides about peers or pieces. Inputs are connection batches, storage results,
//! lookup results and commands; every turn ends in [`TorrentTask::drive`], the only place that
//! polls the core, which sends each connection and the storage what they got in one piece.

#![expect(
    clippy::disallowed_methods,
    reason = "a shell is where the clock is read"
)]

use std::{
    collections::BTreeMap,
    ffi::OsString,
    future::pending,
    io,
    net::SocketAddr,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{
    sync::{broadcast, mpsc, oneshot, watch},
    task::JoinSet,
};
use tracing::{debug, error, info};

use super::{
    connection::{Batch, Connection},
    deadline::Deadline,
    dht_task::{DhtHandle, Lookup, LookupUpdate},
    dialer::{Dialer, Handshaken},
    lookup_schedule::{LookupSchedule, Outcome},
    resolve::{Contact, resolve_node},
    selection::{wanted_files, wanted_pieces},
    storage_pool::{CheckProgress, StorageHandle, StoragePool},
    torrent_handle::{FileFilter, Phase, TorrentHandle, TorrentStatus},
};
use crate::{
    compact::Family,
    dht::{AnnouncePort, LookupStats},
    ids::InfoHash,
    metainfo::Metainfo,
    network::Network,
    storage::{ASSEMBLY_LIMIT, OpenSpec},
    torrent::{
        CandidateSource, Direction, Output, PeerKey, Reject, Source, StorageDone, StorageFault,
        StorageFaultKind, StorageRequest, Torrent, TorrentConfig, TorrentEvent, TorrentStats,
    },
    wire::{Handshake, Message, Reserved},
};

/// What may happen to a torrent from outside, in the order it happened.
#[derive(Debug)]
pub(crate) enum Input {
    /// A connection received or sent something.
    Batch(Batch),
    /// A connection's bytes are not the protocol.
    Misframed(PeerKey),
    /// A connection has ended.
    Closed(PeerKey),
    /// A peer dialled us and named this torrent.
    Inbound(Handshaken),
    /// A dial has ended.
    Dialled(SocketAddr, io::Result<Handshaken>),
    /// Peers that the user or a magnet named.
    AddPeers(Vec<SocketAddr>, CandidateSource),
    /// The user ends a pause.
    Resume,
    /// The session divides its limits anew: up, down.
    Rates(Option<u64>, Option<u64>),
}

/// A torrent to run.
pub(crate) struct TorrentSpec {
    pub(crate) config: TorrentConfig,
    pub(crate) source: Source,
    pub(crate) pool: StoragePool,
    pub(crate) output_dir: PathBuf,
    pub(crate) state_dir: Option<PathBuf>,
    pub(crate) select: Option<FileFilter>,
    pub(crate) trusted: bool,
    pub(crate) root: Option<OsString>,
    /// Peers known by hand.
    pub(crate) peers: Vec<SocketAddr>,
    /// A magnet's `x.pe`, and those of them whose names must be looked up.
    pub(crate) magnet_peers: Vec<SocketAddr>,
    pub(crate) magnet_hosts: Vec<(String, u16)>,
}

/// What the torrents of a session share.
#[derive(Clone)]
pub(crate) struct Surroundings {
    pub(crate) network: Network,
    pub(crate) local: SocketAddr,
    pub(crate) dialer: Dialer,
    pub(crate) dht: Option<DhtHandle>,
    /// Told when a torrent gets its first peer or loses its last.
    pub(crate) activity: mpsc::UnboundedSender<(InfoHash, bool)>,
}

/// A torrent's state in this shell.
pub(crate) struct TorrentTask {
    core: Torrent,
    ours: Handshake,
    around: Surroundings,
    pool: StoragePool,
    output_dir: PathBuf,
    state_dir: Option<PathBuf>,
    select: Option<FileFilter>,
    trusted: bool,
    root: Option<OsString>,

    inputs: mpsc::UnboundedReceiver<Input>,
    inbox: mpsc::UnboundedSender<Input>,
    peers: BTreeMap<PeerKey, PeerLink>,
    /// Connections, dials and name look-ups; they end with this task.
    tasks: JoinSet<()>,
    storage: Option<Storage>,

    private: bool,
    bootstrapped: Option<watch::Receiver<bool>>,
    lookup: Option<Lookup>,
    schedule: LookupSchedule,
    lookups: LookupStats,
    lookups_done: u32,

    fault: Option<StorageFault>,
    active: bool,
    events: broadcast::Sender<TorrentEvent>,
    metainfo: watch::Sender<Option<Arc<Metainfo>>>,
    status: watch::Sender<TorrentStatus>,
    published: Instant,
    /// Something may have changed since.
    stale: bool,
    /// Something changed that nobody should wait for.
    urgent: bool,
}

/// The torrent's end of a connection.
struct PeerLink {
    addr: SocketAddr,
    outbox: mpsc::UnboundedSender<Vec<Message>>,
    /// Collected while the core is drained.
    waiting: Vec<Message>,
}

struct Storage {
    handle: StorageHandle,
    results: mpsc::UnboundedReceiver<Vec<StorageDone>>,
    check: watch::Receiver<CheckProgress>,
    checking: bool,
}

/// What ended a wait.
enum Wake {
    Stop,
    Inputs,
    Storage,
    Lookup(Option<LookupUpdate>),
    Bootstrapped,
    Other,
}

impl TorrentTask {
    /// A torrent that runs with [`Self::run`], and its handle.
    pub(crate) fn new(
        spec: TorrentSpec,
        around: Surroundings,
        seed: [u8; 32],
    ) -> (Self, TorrentHandle) {
        let now = Instant::now();
        let peer_id = spec.config.peer_id;
        let private = matches!(&spec.source, Source::Metainfo(metainfo) if metainfo.is_private());
        let mut config = spec.config;
        // Blocks of unfinished pieces stay in memory up to the limit and would else block requests.
        config.write_high_water = config.write_high_water.max(2 * ASSEMBLY_LIMIT);
        let mut core = Torrent::new(config, spec.source, seed, now);
        core.add_candidates(now, &spec.peers, CandidateSource::User);
        core.add_candidates(now, &spec.magnet_peers, CandidateSource::Magnet);
        let (inbox, inputs) = mpsc::unbounded_channel();
        let (events, _) = broadcast::channel(EVENTS_KEPT);
        let (metainfo, metainfo_watch) = watch::channel(core.metainfo().cloned());
        let (status, status_watch) = watch::channel(TorrentStatus {
            phase: Phase::Metadata,
            stats: core.stats(now),
            lookups: LookupStats::default(),
            lookups_done: 0,
            dht_nodes: 0,
        });
        let handle = TorrentHandle {
            info_hash: core.info_hash(),
            inbox: inbox.clone(),
            status: status_watch,
            metainfo: metainfo_watch,
            events: events.downgrade(),
        };
        let mut task = Self {
            ours: Handshake {
                reserved: Reserved::ours(around.dht.is_some()),
                info_hash: core.info_hash(),
                peer_id,
            },
            core,
            pool: spec.pool,
            output_dir: spec.output_dir,
            state_dir: spec.state_dir,
            select: spec.select,
            trusted: spec.trusted,
            root: spec.root,
            inputs,
            inbox,
            peers: BTreeMap::new(),
            tasks: JoinSet::new(),
            storage: None,
            private,
            bootstrapped: around.dht.as_ref().map(DhtHandle::bootstrapped_watch),
            lookup: None,
            schedule: LookupSchedule::new(around.network, now),
            lookups: LookupStats::default(),
            lookups_done: 0,
            fault: None,
            active: false,
            events,
            metainfo,
            status,
            published: now,
            stale: true,
            urgent: true,
            around,
        };
        task.resolve_peers(spec.magnet_hosts);
        (task, handle)
    }

    /// The torrent's name.
    pub(crate) fn info_hash(&self) -> InfoHash {
        self.ours.info_hash
    }

    /// Where connections and commands for this torrent go.
    pub(crate) fn inbox(&self) -> mpsc::UnboundedSender<Input> {
        self.inbox.clone()
    }

    /// Runs until `stop` is sent or dropped, then closes connections and storage.
    pub(crate) async fn run(mut self, mut stop: oneshot::Receiver<()>) {
        info!(torrent = %self.info_hash(), "torrent starts");
        let mut inputs = Vec::with_capacity(INPUTS_PER_TURN);
        let mut results = Vec::new();
        let mut timer = Deadline::default();
        self.drive(Instant::now());
        self.recommend_nodes();
        loop {
            timer.set(self.deadline());
            let wake = tokio::select! {
                _ = &mut stop => Wake::Stop,
                // Never 0: this task holds a sender.
                _ = self.inputs.recv_many(&mut inputs, INPUTS_PER_TURN) => Wake::Inputs,
                () = storage_moves(&mut self.storage, &mut results) => Wake::Storage,
                update = next_update(&mut self.lookup) => Wake::Lookup(update),
                () = becomes_true(&mut self.bootstrapped) => Wake::Bootstrapped,
                Some(ended) = self.tasks.join_next(), if !self.tasks.is_empty() => {
                    self.on_task_end(ended);
                    Wake::Other
                }
                () = timer.reached() => Wake::Other,
            };
            let now = Instant::now();
            if self.core.poll_timeout().is_some_and(|at| now >= at) {
                self.core.handle_timeout(now);
            }
            match wake {
                Wake::Stop => break,
                Wake::Lookup(update) => self.on_lookup(now, update),
                Wake::Bootstrapped => self.schedule.bootstrapped(now),
                Wake::Inputs | Wake::Storage | Wake::Other => {}
            }
            self.take_waiting(&mut inputs, &mut results);
            for input in inputs.drain(..) {
                self.on_input(now, input);
            }
            for done in results.drain(..).flatten() {
                self.on_storage(now, done);
            }
            self.look_for_peers(now);
            self.drive(now);
        }
        self.stop().await;
    }

    /// What else has arrived joins this turn, so that one drain serves all of it.
    fn take_waiting(&mut self, inputs: &mut Vec<Input>, results: &mut Vec<Vec<StorageDone>>) {
        while inputs.len() < INPUTS_PER_TURN {
            let Ok(input) = self.inputs.try_recv() else {
                break;
            };
            inputs.push(input);
        }
        while let Some(storage) = &mut self.storage
            && results.len() < RESULTS_PER_TURN
            && let Ok(batch) = storage.results.try_recv()
        {
            results.push(batch);
        }
    }

    fn deadline(&self) -> Option<Instant> {
        let looks = self.dht().is_some() && self.lookup.is_none();
        let lookup = looks.then(|| self.schedule.next());
        // The trailing edge of a change; an idle torrent has no timer.
        let publish = self.stale.then(|| self.published + STATUS_INTERVAL);
        [self.core.poll_timeout(), lookup, publish]
            .into_iter()
            .flatten()
            .min()
    }

    fn on_input(&mut self, now: Instant, input: Input) {
        match input {
            Input::Batch(batch) => {
                if batch.sent > 0 {
                    self.core.handle_sent(now, batch.peer, batch.sent);
                }
                for message in batch.messages {
                    self.core.handle_message(now, batch.peer, message);
                }
            }
            Input::Misframed(peer) => {
                if self.peers.contains_key(&peer) {
                    self.core.peer_misframed(now, peer);
                }
            }
            Input::Closed(peer) => {
                if let Some(link) = self.peers.remove(&peer) {
                    debug!(torrent = %self.info_hash(), peer = %link.addr, "peer left");
                    self.core.peer_closed(now, peer);
                }
            }
            Input::Inbound(link) => self.on_connected(now, link, Direction::Inbound),
            Input::Dialled(_, Ok(link)) => self.on_connected(now, link, Direction::Outbound),
            Input::Dialled(addr, Err(error)) => {
                debug!(torrent = %self.info_hash(), peer = %addr, %error, "dial failed");
                self.core.connect_failed(now, addr);
            }
            Input::AddPeers(peers, source) => {
                self.core.add_candidates(now, &peers, source);
            }
            Input::Resume => self.core.resume(now),
            Input::Rates(up, down) => self.core.set_rates(now, up, down),
        }
    }

    fn on_connected(&mut self, now: Instant, link: Handshaken, direction: Direction) {
        let Handshaken {
            stream,
            addr,
            handshake,
            place,
        } = link;
        match self.core.peer_connected(now, addr, direction, &handshake) {
            Ok(peer) => {
                debug!(
                    torrent = %self.info_hash(), peer = %addr, key = peer.0, ?direction,
                    id = %handshake.peer_id, "peer connected"
                );
                let greeting = (direction == Direction::Inbound).then(|| self.ours.encode());
                let inbox = self.inbox.clone();
                let connection = Connection::new(stream, place, peer, greeting, inbox);
                let (outbox, messages) = mpsc::unbounded_channel();
                self.tasks.spawn(connection.run(messages));
                let waiting = Vec::new();
                self.peers.insert(
                    peer,
                    PeerLink {
                        addr,
                        outbox,
                        waiting,
                    },
                );
            }
            Err(reject) => {
                debug!(torrent = %self.info_hash(), peer = %addr, ?reject, "peer refused");
                if reject == Reject::Ourselves && direction == Direction::Inbound {
                    // The dialling end is ours, too, and knows itself only by this answer: the DHT
                    // names everyone who announces, so without it we would dial ourselves again.
                    let _ = stream.try_write(&self.ours.encode());
                }
            }
        }
    }

    fn on_storage(&mut self, now: Instant, done: StorageDone) {
        if let (StorageDone::Opened { .. }, Some(storage)) = (&done, &mut self.storage) {
            storage.checking = false;
            self.urgent = true;
        }
        self.core.handle_storage(now, done);
    }

    /// Drains the core. Everything that a connection or the storage gets in this turn goes to it
    /// in one piece, in the core's order.
    fn drive(&mut self, now: Instant) {
        let mut touched = Vec::new();
        let mut requests = Vec::new();
        while let Some(output) = self.core.poll_output() {
            match output {
                Output::OpenStorage(metainfo) => self.open_storage(now, metainfo),
                Output::Connect { addr } => self.dial(addr),
                Output::Send { peer, message } => {
                    if let Some(link) = self.peers.get_mut(&peer) {
                        if link.waiting.is_empty() {
                            touched.push(peer);
                        }
                        link.waiting.push(message);
                    }
                }
                Output::Disconnect { peer, reason } => {
                    if let Some(link) = self.peers.remove(&peer) {
                        debug!(torrent = %self.info_hash(), peer = %link.addr, ?reason, "closing");
                        // What was said before must go out: dropping the outbox ends the
                        // connection once it has read it.
                        if !link.waiting.is_empty() {
                            let _ = link.outbox.send(link.waiting);
                        }
                    }
                }
                Output::Storage(request) => requests.push(request),
                Output::Event(event) => self.on_event(now, event),
            }
        }
        for peer in touched {
            if let Some(link) = self.peers.get_mut(&peer) {
                // A connection that has just ended has its `Closed` on the way.
                let _ = link.outbox.send(std::mem::take(&mut link.waiting));
            }
        }
        self.hand_to_storage(requests);
        if self.active == self.peers.is_empty() {
            self.active = !self.active;
            let _ = self.around.activity.send((self.info_hash(), self.active));
        }
        self.publish(now);
    }

    fn hand_to_storage(&self, requests: Vec<StorageRequest>) {
        match &self.storage {
            Some(storage) if !requests.is_empty() => storage.handle.send(requests),
            Some(_) => {}
            None if requests.is_empty() => {}
            None => unreachable!("the core asks for its storage to be opened before it uses it"),
        }
    }

    fn on_event(&mut self, now: Instant, event: TorrentEvent) {
        let torrent = self.info_hash();
        match &event {
            TorrentEvent::MetadataReceived(metainfo) => {
                info!(%torrent, name = %metainfo.name().escape_debug(), "metadata received");
                self.metainfo.send_replace(Some(metainfo.clone()));
                self.urgent = true;
            }
            TorrentEvent::MetadataInvalid { error } => {
                let text = format!(
                    "the metadata that this magnet names is not a torrent that can be fetched: \
                     {error}; ask whoever made the link for another"
                );
                error!(%torrent, "{text}");
                self.fault = Some(StorageFault {
                    kind: StorageFaultKind::Other,
                    text: text.into(),
                });
                self.urgent = true;
            }
            TorrentEvent::Checked { have } => {
                info!(%torrent, have, "existing data checked");
                self.urgent = true;
            }
            TorrentEvent::PieceCompleted { piece } => debug!(%torrent, piece = piece.0, "piece"),
            TorrentEvent::PieceFailed { piece } => {
                info!(%torrent, piece = piece.0, "piece failed its hash");
            }
            TorrentEvent::Completed => {
                info!(%torrent, "complete");
                self.urgent = true;
            }
            TorrentEvent::PeerBanned { addr, fault } => {
                info!(%torrent, peer = %addr, ?fault, "peer banned");
            }
            TorrentEvent::Paused { fault } => {
                error!(%torrent, "paused: {}", fault.text.escape_debug());
                self.fault = Some(fault.clone());
                self.urgent = true;
            }
            TorrentEvent::Resumed => {
                info!(%torrent, "resumed");
                self.fault = None;
                self.urgent = true;
            }
            TorrentEvent::DhtNode { addr } => {
                if let Some(dht) = self.dht() {
                    dht.add_node(*addr);
                }
            }
            TorrentEvent::Private => {
                info!(%torrent, "private: peers by hand only");
                self.private = true;
                self.lookup = None;
            }
            TorrentEvent::WantPeers => self.schedule.want_peers(now),
        }
        // Nobody listens: nothing is lost.
        let _ = self.events.send(event);
    }

    fn open_storage(&mut self, now: Instant, metainfo: Arc<Metainfo>) {
        let wanted = self
            .select
            .as_ref()
            .map(|select| wanted_files(&metainfo, select));
        if let Some(files) = &wanted {
            let ranges = metainfo.files().iter().zip(files);
            let ranges = ranges.map(|(file, wanted)| (file.offset(), file.len(), *wanted));
            let pieces = wanted_pieces(metainfo.geometry(), ranges);
            self.core.set_wanted(now, pieces);
        }
        self.metainfo.send_replace(Some(metainfo.clone()));
        let open = self.pool.open(OpenSpec {
            metainfo,
            output_dir: self.output_dir.clone(),
            state_dir: self.state_dir.clone(),
            wanted,
            trusted: self.trusted,
            root: self.root.clone(),
        });
        self.storage = Some(Storage {
            handle: open.handle,
            results: open.results,
            check: open.check,
            checking: true,
        });
    }

    fn dial(&mut self, addr: SocketAddr) {
        let (dialer, ours, inbox) = (self.around.dialer.clone(), self.ours, self.inbox.clone());
        self.tasks.spawn(async move {
            let dialled = dialer.dial(addr, &ours).await;
            let _ = inbox.send(Input::Dialled(addr, dialled));
        });
    }

    fn on_task_end(&self, ended: Result<(), tokio::task::JoinError>) {
        if let Err(failure) = ended
            && failure.is_panic()
        {
            error!(torrent = %self.info_hash(), %failure, "a connection's task failed");
        }
    }

    /// The node, unless there is none or the torrent must not use it.
    fn dht(&self) -> Option<&DhtHandle> {
        self.around.dht.as_ref().filter(|_| !self.private)
    }

    fn look_for_peers(&mut self, now: Instant) {
        if self.lookup.is_some() || now < self.schedule.next() {
            return;
        }
        let Some(dht) = self.dht() else { return };
        debug!(torrent = %self.info_hash(), "looking for peers");
        let port = AnnouncePort::Explicit(self.around.local.port());
        self.lookup = Some(dht.start_lookup(self.info_hash(), Some(port)));
    }

    fn on_lookup(&mut self, now: Instant, update: Option<LookupUpdate>) {
        match update {
            Some(LookupUpdate::Peers(mut peers)) => {
                peers.retain(|peer| *peer != self.around.local);
                debug!(torrent = %self.info_hash(), ?peers, "peers from the DHT");
                self.core.add_candidates(now, &peers, CandidateSource::Dht);
            }
            Some(LookupUpdate::Done(stats, _)) => {
                debug!(torrent = %self.info_hash(), ?stats, "lookup done");
                add_lookup(&mut self.lookups, &stats);
                self.lookups_done += 1;
                self.end_lookup(now, stats.announced > 0);
            }
            None => self.end_lookup(now, false),
        }
    }

    fn end_lookup(&mut self, now: Instant, announced: bool) {
        self.lookup = None;
        let lean = !announced || self.is_lean(&self.core.stats(now));
        self.schedule.ended(
            now,
            if lean {
                Outcome::Lean
            } else {
                Outcome::Content
            },
        );
    }

    /// Whether more peers would help. A private network is small and its torrents short: there,
    /// everybody should find everybody.
    fn is_lean(&self, stats: &TorrentStats) -> bool {
        let enough = match self.around.network {
            Network::Mainline => 5,
            Network::Private => 10,
        };
        !self.core.is_complete() && stats.peers + stats.dialling + stats.candidates < enough
    }

    /// BEP 5: a torrent may name nodes to start from.
    fn recommend_nodes(&mut self) {
        let (Some(dht), Some(metainfo)) = (self.dht().cloned(), self.core.metainfo()) else {
            return;
        };
        let nodes: Vec<_> = metainfo.nodes().iter().take(MAX_NAMES).cloned().collect();
        let (family, network) = (Family::of(&self.around.local), self.around.network);
        for (host, port) in nodes {
            let dht = dht.clone();
            self.tasks.spawn(async move {
                let contact = Contact::from_parts(&host, port);
                for addr in resolve_node(contact, family, network).await {
                    dht.add_node(addr);
                }
            });
        }
    }

    fn resolve_peers(&mut self, hosts: Vec<(String, u16)>) {
        for (host, port) in hosts.into_iter().take(MAX_NAMES) {
            let inbox = self.inbox.clone();
            self.tasks.spawn(async move {
                match Contact::from_parts(&host, port).resolve().await {
                    Ok(addrs) => {
                        let _ = inbox.send(Input::AddPeers(addrs, CandidateSource::Magnet));
                    }
                    Err(error) => debug!(host = %host.escape_debug(), %error, "peer not resolved"),
                }
            });
        }
    }

    /// Publishes the status: at once when something important changed, else at most every
    /// [`STATUS_INTERVAL`].
    fn publish(&mut self, now: Instant) {
        let due = now.saturating_duration_since(self.published) >= STATUS_INTERVAL;
        if !due && !self.urgent {
            self.stale = true;
            return;
        }
        self.stale = false;
        self.urgent = false;
        self.published = now;
        let stats = self.core.stats(now);
        let mut lookups = self.lookups;
        if let Some(lookup) = &self.lookup {
            add_lookup(&mut lookups, &lookup.progress.borrow());
        }
        let dht_nodes = self.around.dht.as_ref().map_or(0, |dht| dht.nodes());
        self.status.send_replace(TorrentStatus {
            phase: self.phase(&stats),
            stats,
            lookups,
            lookups_done: self.lookups_done,
            dht_nodes,
        });
    }

    fn phase(&self, stats: &TorrentStats) -> Phase {
        match (&self.storage, &self.fault) {
            (_, Some(fault)) if stats.paused => Phase::Paused(fault.clone()),
            (None, _) => Phase::Metadata,
            (Some(storage), _) if storage.checking => {
                let (done, all) = *storage.check.borrow();
                Phase::Checking(done, all)
            }
            (Some(_), _) if self.core.is_complete() => Phase::Seeding,
            (Some(_), _) => Phase::Downloading,
        }
    }

    async fn stop(mut self) {
        let torrent = self.info_hash();
        self.lookup = None;
        let now = Instant::now();
        self.core.stop(now);
        self.drive(now);
        if let Some(storage) = self.storage.take() {
            storage.handle.close().await;
        }
        info!(%torrent, "torrent stopped");
    }
}

/// Returns when there are results, or the check of existing data has made progress.
async fn storage_moves(storage: &mut Option<Storage>, results: &mut Vec<Vec<StorageDone>>) {
    let Some(storage) = storage else {
        return pending().await;
    };
    let received = storage.results.recv_many(results, RESULTS_PER_TURN);
    let received = if storage.checking {
        tokio::select! {
            received = received => received,
            // When the check is over its sender may go before the result is here.
            Ok(()) = storage.check.changed() => return,
        }
    } else {
        received.await
    };
    if received == 0 {
        // The pool has dropped this torrent: there will be nothing more.
        pending().await
    }
}

async fn next_update(lookup: &mut Option<Lookup>) -> Option<LookupUpdate> {
    match lookup {
        Some(lookup) => lookup.updates.recv().await,
        None => pending().await,
    }
}

/// Returns once.
async fn becomes_true(watch: &mut Option<watch::Receiver<bool>>) {
    match watch {
        Some(receiver) => {
            if receiver.wait_for(|value| *value).await.is_err() {
                return pending().await;
            }
            *watch = None;
        }
        None => pending().await,
    }
}

fn add_lookup(sum: &mut LookupStats, lookup: &LookupStats) {
    sum.asked += lookup.asked;
    sum.replied += lookup.replied;
    sum.failed += lookup.failed;
    sum.peers += lookup.peers;
    sum.announced += lookup.announced;
    sum.hops = sum.hops.max(lookup.hops);
    sum.elapsed += lookup.elapsed;
}

/// Inputs per turn: enough to batch, few enough that timers and storage are not starved.
const INPUTS_PER_TURN: usize = 128;
const RESULTS_PER_TURN: usize = 128;
const EVENTS_KEPT: usize = 1024;
const STATUS_INTERVAL: Duration = Duration::from_millis(250);
/// Names that one torrent may make us look up.
const MAX_NAMES: usize = 16;
