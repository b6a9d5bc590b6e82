//! The task that owns the [`Dht`] and its UDP socket, and the handle that others hold.

#![expect(
    clippy::disallowed_methods,
    reason = "a shell is where the clock is read"
)]

mod jobs;

use std::{
    collections::BTreeMap,
    future::pending,
    io,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{
    net::UdpSocket,
    sync::{broadcast, mpsc, oneshot, watch},
    task::JoinSet,
    time::{Interval, MissedTickBehavior, interval, interval_at},
};
use tracing::{debug, info, trace, warn};

use self::jobs::Errand;
pub use self::jobs::{Job, PutOutcome, Running, Scrape, Snapshot};
use super::{
    deadline::Deadline,
    dht_state::DhtStateFile,
    resolve::{self, resolve_node},
};
use crate::{
    compact::Family,
    dht::{AnnouncePort, Contact, Dht, DhtEvent, DhtStats, LookupId, LookupStats, state::State},
    ids::{InfoHash, NodeId},
    network::Network,
};

/// The session's DHT node. Clones share it.
#[derive(Debug, Clone)]
pub struct DhtHandle {
    id: watch::Receiver<NodeId>,
    commands: mpsc::UnboundedSender<Command>,
    nodes: mpsc::Sender<SocketAddr>,
    stats: watch::Receiver<DhtStats>,
    bootstrapped: watch::Receiver<bool>,
    events: broadcast::WeakSender<DhtEvent>,
}

/// What a lookup reports while it runs.
#[derive(Debug, Clone)]
pub enum LookupUpdate {
    /// New peers.
    Peers(Vec<SocketAddr>),
    /// The end: counts, and the closest nodes that replied.
    Done(LookupStats, Vec<Contact>),
}

/// A lookup under way; dropping it ends the lookup.
#[derive(Debug)]
pub(crate) struct Lookup {
    pub(super) updates: mpsc::Receiver<LookupUpdate>,
    /// What it has done so far, updated a few times a second.
    pub(super) progress: watch::Receiver<LookupStats>,
}

impl DhtHandle {
    /// Our id. It may change once the network tells us our address (BEP 42).
    pub fn id(&self) -> NodeId {
        *self.id.borrow()
    }

    /// Counts, updated about once a second.
    pub fn stats(&self) -> watch::Receiver<DhtStats> {
        self.stats.clone()
    }

    /// What happens from now on. Ends with the session.
    pub fn events(&self) -> broadcast::Receiver<DhtEvent> {
        match self.events.upgrade() {
            Some(events) => events.subscribe(),
            None => broadcast::channel(1).1,
        }
    }

    /// Waits until the routing table is usable; `false` if the session ends first.
    pub async fn bootstrapped(&self) -> bool {
        let mut bootstrapped = self.bootstrapped.clone();
        bootstrapped.wait_for(|done| *done).await.is_ok()
    }

    /// Starts a lookup for peers; the receiver ends after `Done`.
    pub fn get_peers(&self, info_hash: InfoHash) -> mpsc::Receiver<LookupUpdate> {
        self.start_lookup(info_hash, None).updates
    }

    /// Starts a lookup that also announces us.
    pub fn announce(
        &self,
        info_hash: InfoHash,
        port: AnnouncePort,
    ) -> mpsc::Receiver<LookupUpdate> {
        self.start_lookup(info_hash, Some(port)).updates
    }

    /// A node may live here: ping it.
    pub fn add_node(&self, addr: SocketAddr) {
        // Peers name nodes as they like: what does not fit is dropped.
        let _ = self.nodes.try_send(addr);
    }

    pub(super) fn start_lookup(
        &self,
        info_hash: InfoHash,
        announce: Option<AnnouncePort>,
    ) -> Lookup {
        let (updates, receiver) = mpsc::channel(UPDATES_AHEAD);
        let (progress, progress_watch) = watch::channel(LookupStats::default());
        // If the node has ended, the receiver ends at once.
        let _ = self.commands.send(Command::Peers(PeersCommand {
            info_hash,
            announce,
            updates,
            progress,
        }));
        Lookup {
            updates: receiver,
            progress: progress_watch,
        }
    }

    pub(super) fn bootstrapped_watch(&self) -> watch::Receiver<bool> {
        self.bootstrapped.clone()
    }

    /// Nodes in the routing table.
    pub(super) fn nodes(&self) -> usize {
        let stats = self.stats.borrow();
        stats.good + stats.questionable
    }
}

/// What a handle asks for.
#[derive(Debug)]
enum Command {
    Peers(PeersCommand),
    Errand(Box<Errand>),
}

/// Start a lookup for peers.
#[derive(Debug)]
struct PeersCommand {
    info_hash: InfoHash,
    announce: Option<AnnouncePort>,
    updates: mpsc::Sender<LookupUpdate>,
    progress: watch::Sender<LookupStats>,
}

/// Where a lookup's results go.
struct Listener {
    updates: mpsc::Sender<LookupUpdate>,
    progress: watch::Sender<LookupStats>,
    /// Peers found while `updates` was full.
    waiting: Vec<SocketAddr>,
}

/// What a node starts from.
pub(crate) struct DhtStart {
    /// The routers.
    pub(crate) contacts: Vec<resolve::Contact>,
    /// What an earlier run left.
    pub(crate) saved: State,
    /// Where to keep ours.
    pub(crate) file: Option<DhtStateFile>,
}

/// The node's state in this shell.
pub(crate) struct DhtTask {
    core: Dht,
    socket: UdpSocket,
    state: Option<Arc<DhtStateFile>>,
    saving: JoinSet<()>,
    commands: mpsc::UnboundedReceiver<Command>,
    nodes: mpsc::Receiver<SocketAddr>,
    resolving: JoinSet<Vec<SocketAddr>>,
    routers: Vec<SocketAddr>,
    lookups: BTreeMap<LookupId, Listener>,
    jobs: BTreeMap<LookupId, mpsc::UnboundedSender<DhtEvent>>,
    events: broadcast::Sender<DhtEvent>,
    id: watch::Sender<NodeId>,
    stats: watch::Sender<DhtStats>,
    bootstrapped: watch::Sender<bool>,
    received: Vec<u8>,
    transmit: Vec<u8>,
    /// Keeps the command channels open while no other handle exists.
    handle: DhtHandle,
}

/// What ended a wait.
enum Wake {
    Stop,
    Readable,
    Command(Command),
    Node(SocketAddr),
    Routers(Vec<SocketAddr>),
    Tick,
    Save,
    Deadline,
}

impl DhtTask {
    /// A node that runs with [`Self::run`].
    pub(crate) fn new(
        mut core: Dht,
        network: Network,
        socket: UdpSocket,
        start: DhtStart,
    ) -> io::Result<Self> {
        let now = Instant::now();
        let family = Family::of(&socket.local_addr()?);
        core.restore(now, &start.saved.contacts);
        let mut resolving = JoinSet::new();
        for contact in start.contacts {
            resolving.spawn(resolve_node(contact, family, network));
        }
        // Starts with the saved nodes; the routers come when their names are known.
        let saved = start.saved.addrs.into_iter();
        let routers: Vec<_> = saved.filter(|addr| Family::of(addr) == family).collect();
        core.bootstrap(now, &routers);
        let (commands, command_queue) = mpsc::unbounded_channel();
        let (nodes, node_queue) = mpsc::channel(NODES_AHEAD);
        let (events, _) = broadcast::channel(EVENTS_KEPT);
        let (id, id_watch) = watch::channel(core.id());
        let (stats, stats_watch) = watch::channel(core.stats(now));
        let (bootstrapped, bootstrapped_watch) = watch::channel(false);
        let handle = DhtHandle {
            id: id_watch,
            commands,
            nodes,
            stats: stats_watch,
            bootstrapped: bootstrapped_watch,
            events: events.downgrade(),
        };
        Ok(Self {
            core,
            socket,
            state: start.file.map(Arc::new),
            saving: JoinSet::new(),
            commands: command_queue,
            nodes: node_queue,
            resolving,
            routers,
            lookups: BTreeMap::new(),
            jobs: BTreeMap::new(),
            events,
            id,
            stats,
            bootstrapped,
            received: vec![0; MAX_DATAGRAM + 1],
            transmit: Vec::with_capacity(MAX_DATAGRAM),
            handle,
        })
    }

    /// A handle to this node.
    pub(crate) fn handle(&self) -> DhtHandle {
        self.handle.clone()
    }

    /// Runs until `stop` is sent or dropped, then saves the state.
    pub(crate) async fn run(mut self, mut stop: oneshot::Receiver<()>) {
        info!(id = %self.core.id(), "DHT node starts");
        // Before the system has said so once, every send would seem to block and be dropped.
        if let Err(error) = self.socket.writable().await {
            warn!(%error, "UDP socket");
        }
        self.drive(Instant::now());
        let mut timer = Deadline::default();
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut save = interval_at((Instant::now() + SAVE_EVERY).into(), SAVE_EVERY);
        save.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            timer.set(self.core.poll_timeout());
            let wake = self.wait(&mut stop, &mut timer, &mut tick, &mut save).await;
            let now = Instant::now();
            if timer.is_past(now) {
                self.core.handle_timeout(now);
            }
            match wake {
                Wake::Stop => break,
                Wake::Readable => self.receive(now),
                Wake::Command(Command::Peers(command)) => self.start_lookup(now, command),
                Wake::Command(Command::Errand(errand)) => self.on_errand(now, *errand),
                Wake::Node(addr) => self.core.add_node(now, addr),
                Wake::Routers(addrs) => {
                    self.routers.extend(addrs);
                    self.core.bootstrap(now, &self.routers);
                }
                Wake::Tick => self.on_tick(now),
                Wake::Save => self.save(),
                Wake::Deadline => {}
            }
            self.drive(now);
        }
        self.save();
        while self.saving.join_next().await.is_some() {}
        info!("DHT node stopped");
    }

    async fn wait(
        &mut self,
        stop: &mut oneshot::Receiver<()>,
        timer: &mut Deadline,
        tick: &mut Interval,
        save: &mut Interval,
    ) -> Wake {
        tokio::select! {
            _ = stop => Wake::Stop,
            ready = self.socket.readable() => {
                if let Err(error) = ready {
                    warn!(%error, "UDP socket");
                    // Do not spin on a socket that is broken for good.
                    tokio::time::sleep(TICK).await;
                }
                Wake::Readable
            }
            Some(command) = self.commands.recv() => Wake::Command(command),
            Some(addr) = self.nodes.recv() => Wake::Node(addr),
            Some(Ok(addrs)) = self.resolving.join_next(), if !self.resolving.is_empty() => {
                Wake::Routers(addrs)
            }
            Some(_) = self.saving.join_next(), if !self.saving.is_empty() => Wake::Deadline,
            () = timer.reached() => Wake::Deadline,
            _ = tick.tick() => Wake::Tick,
            _ = save.tick(), if self.state.is_some() => Wake::Save,
            else => pending().await,
        }
    }

    fn receive(&mut self, now: Instant) {
        for _ in 0..DATAGRAMS_PER_TURN {
            match self.socket.try_recv_from(&mut self.received) {
                // A longer datagram was cut and would only fail to decode; no honest node sends
                // one, and the limit bounds the nesting that a decoder can meet.
                Ok((len, from)) if len > MAX_DATAGRAM => {
                    trace!(%from, "oversized datagram dropped");
                }
                Ok((len, from)) => self.core.handle_datagram(now, from, &self.received[..len]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                // Windows reports an ICMP answer to an earlier send here.
                Err(error) => debug!(%error, "UDP receive"),
            }
        }
    }

    /// Drains the core.
    fn drive(&mut self, now: Instant) {
        while let Some(transmit) = self.core.poll_transmit(&mut self.transmit) {
            let Some(datagram) = self.transmit.get(..transmit.len) else {
                debug_assert!(false, "a transmit is within its buffer");
                continue;
            };
            // A full socket buffer drops the datagram, as any router may: the asker asks again,
            // and our own queries time out and go elsewhere. Holding replies back would let a
            // flood fill memory.
            if let Err(error) = self.socket.try_send_to(datagram, transmit.destination) {
                debug!(to = %transmit.destination, %error, "datagram not sent");
            }
        }
        while let Some(event) = self.core.poll_event() {
            self.on_event(now, event);
        }
    }

    fn on_event(&mut self, now: Instant, event: DhtEvent) {
        match &event {
            DhtEvent::PeersFound { lookup, peers, .. } => {
                if let Some(listener) = self.lookups.get_mut(lookup) {
                    listener.waiting.extend(peers);
                    listener.pass_on();
                }
            }
            DhtEvent::LookupDone {
                lookup,
                stats,
                closest,
                ..
            } => {
                if let Some(listener) = self.lookups.remove(lookup) {
                    listener.finish(*stats, closest.clone());
                }
            }
            // The job's alone.
            DhtEvent::LookupReply { .. }
            | DhtEvent::LookupStepped { .. }
            | DhtEvent::Asked { .. }
            | DhtEvent::ItemFound { .. }
            | DhtEvent::ItemDone { .. }
            | DhtEvent::ItemPut { .. }
            | DhtEvent::Scraped { .. }
            | DhtEvent::Sampled { .. } => {}
            DhtEvent::Bootstrapped { nodes } => {
                info!(nodes, "DHT bootstrapped");
                self.stats.send_replace(self.core.stats(now));
                self.bootstrapped.send_replace(true);
            }
            DhtEvent::BootstrapFailed { asked, retry_at } => {
                let wait = retry_at.saturating_duration_since(now);
                warn!(asked, ?wait, "no DHT contact replied");
            }
            DhtEvent::AddressLearned { ip, id } => {
                info!(%ip, %id, "others see us at this address");
            }
            DhtEvent::AnnounceStored { info_hash, peer } => {
                trace!(%info_hash, %peer, "announce stored");
            }
        }
        self.tell_job(&event);
        // Nobody listens: nothing is lost.
        let _ = self.events.send(event);
    }

    fn start_lookup(&mut self, now: Instant, command: PeersCommand) {
        let lookup = match command.announce {
            Some(port) => self.core.announce(now, command.info_hash, port),
            None => self.core.get_peers(now, command.info_hash),
        };
        let listener = Listener {
            updates: command.updates,
            progress: command.progress,
            waiting: Vec::new(),
        };
        self.lookups.insert(lookup, listener);
    }

    fn on_tick(&mut self, now: Instant) {
        let id = self.core.id();
        self.id
            .send_if_modified(|old| std::mem::replace(old, id) != id);
        self.stats.send_replace(self.core.stats(now));
        self.end_idle_jobs();
        let core = &mut self.core;
        self.lookups.retain(|lookup, listener| {
            if listener.updates.is_closed() {
                core.cancel(*lookup);
                return false;
            }
            listener.pass_on();
            if let Some(stats) = core.lookup_stats(now, *lookup) {
                listener.progress.send_replace(stats);
            }
            true
        });
    }

    /// Saves in the background; a save under way is waited for by the next.
    fn save(&mut self) {
        let Some(state) = self.state.clone().filter(|state| state.is_owned()) else {
            return;
        };
        let (id, contacts) = (self.core.id(), self.core.contacts());
        // An empty table says that the network is down, not that the saved nodes are gone.
        if contacts.is_empty() {
            return;
        }
        self.saving.spawn_blocking(move || {
            if let Err(error) = state.save(id, contacts) {
                warn!(%error, "DHT state not saved");
            }
        });
    }
}

impl Listener {
    fn pass_on(&mut self) {
        if self.waiting.is_empty() {
            return;
        }
        if let Ok(slot) = self.updates.try_reserve() {
            slot.send(LookupUpdate::Peers(std::mem::take(&mut self.waiting)));
        }
    }

    fn finish(mut self, stats: LookupStats, closest: Vec<Contact>) {
        self.progress.send_replace(stats);
        self.pass_on();
        let done = LookupUpdate::Done(stats, closest);
        if self.waiting.is_empty() {
            let Err(mpsc::error::TrySendError::Full(done)) = self.updates.try_send(done) else {
                return;
            };
            tokio::spawn(async move { self.updates.send(done).await });
            return;
        }
        // A slow reader gets the rest in its own time.
        tokio::spawn(async move {
            let peers = LookupUpdate::Peers(self.waiting);
            if self.updates.send(peers).await.is_ok() {
                let _ = self.updates.send(done).await;
            }
        });
    }
}

/// No honest KRPC message comes near this; see design notes on nesting in [`crate::bencode`].
const MAX_DATAGRAM: usize = 2048;
const DATAGRAMS_PER_TURN: usize = 64;
const UPDATES_AHEAD: usize = 64;
const NODES_AHEAD: usize = 256;
const EVENTS_KEPT: usize = 1024;
const TICK: Duration = Duration::from_millis(500);
const SAVE_EVERY: Duration = Duration::from_secs(300);
