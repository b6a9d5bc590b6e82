//! What can be asked of a DHT node beside the search for peers: each a [`Job`] that reports by
//! events, and for most an asynchronous method that waits for its end.

use std::{
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use tokio::sync::{mpsc, oneshot};

use super::{Command, DhtHandle, DhtTask};
use crate::{
    dht::{
        AnnouncePort, Answer, Conflict, Contact, Dht, DhtEvent, DhtStats, Item, ItemQuery,
        LookupId, LookupStats, Question, SampleReply, SizeEstimate, TableNode,
    },
    ids::{InfoHash, NodeId},
};

/// Something for a DHT node to do.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Job {
    /// Find the nodes closest to a point: [`DhtEvent::LookupDone`] has them.
    FindNode(NodeId),
    /// Find a torrent's peers: [`DhtEvent::PeersFound`], then [`DhtEvent::LookupDone`].
    GetPeers(InfoHash),
    /// The same, and announce us as one.
    Announce {
        /// The torrent.
        info_hash: InfoHash,
        /// The port to name.
        port: AnnouncePort,
        /// Whether we have all of it (BEP 33).
        seed: bool,
    },
    /// Find an item: [`DhtEvent::ItemFound`] for each that is newer, [`DhtEvent::ItemDone`], then
    /// [`DhtEvent::LookupDone`].
    GetItem(ItemQuery),
    /// Store an item: [`DhtEvent::ItemPut`], then [`DhtEvent::LookupDone`].
    PutItem {
        /// What.
        item: Item,
        /// The sequence number that is to be replaced, if only that is.
        cas: Option<i64>,
    },
    /// Count a torrent's seeds and peers: [`DhtEvent::Scraped`], then [`DhtEvent::LookupDone`].
    Scrape(InfoHash),
    /// Ask one node of which torrents it has peers: [`DhtEvent::Sampled`].
    Sample {
        /// Whom.
        to: SocketAddr,
        /// The point to which the nodes in its answer should be close.
        target: NodeId,
    },
    /// Ask one address, as often as it takes to tell loss from silence: [`DhtEvent::Asked`].
    Ask {
        /// Whom.
        to: SocketAddr,
        /// What.
        question: Question,
    },
}

impl Job {
    fn start(self, core: &mut Dht, now: Instant) -> LookupId {
        match self {
            Self::FindNode(target) => core.find_node(now, target),
            Self::GetPeers(info_hash) => core.get_peers(now, info_hash),
            Self::Announce {
                info_hash,
                port,
                seed: true,
            } => core.announce_seed(now, info_hash, port),
            Self::Announce {
                info_hash, port, ..
            } => core.announce(now, info_hash, port),
            Self::GetItem(query) => core.get_item(now, &query),
            Self::PutItem { item, cas } => core.put_item(now, item, cas),
            Self::Scrape(info_hash) => core.scrape(now, info_hash),
            Self::Sample { to, target } => core.sample(now, to, target),
            Self::Ask { to, question } => core.ask(now, to, question),
        }
    }
}

/// A job under way; dropping it ends the job.
#[derive(Debug)]
pub struct Running(mpsc::UnboundedReceiver<DhtEvent>);

impl Running {
    /// What it reports next; `None` after its end.
    pub async fn next(&mut self) -> Option<DhtEvent> {
        self.0.recv().await
    }
}

/// How a node stands at one moment.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Snapshot {
    /// Its id.
    pub id: NodeId,
    /// Its address as most others see it, if they agree.
    pub external_ip: Option<IpAddr>,
    /// Its routing table, bucket by bucket.
    pub table: Vec<TableNode>,
    /// How many nodes the network seems to have; `None` while too few are known.
    pub size: Option<SizeEstimate>,
    /// Counts of everything.
    pub stats: DhtStats,
}

/// How many announce a torrent (BEP 33): estimates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scrape {
    /// IP addresses of seeds.
    pub seeds: u32,
    /// IP addresses of peers that are none.
    pub peers: u32,
    /// Nodes that told of some.
    pub nodes: u32,
}

/// What became of an item that was put.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PutOutcome {
    /// Where it is stored.
    pub target: NodeId,
    /// By how many nodes.
    pub stored: u32,
    /// Why not, or not by all.
    pub conflict: Option<Conflict>,
}

/// Work that is not a lookup for peers.
#[derive(Debug)]
pub(super) enum Errand {
    /// Start a job, traced or not.
    Start(Job, bool, mpsc::UnboundedSender<DhtEvent>),
    /// Tell how things stand.
    Snapshot(oneshot::Sender<Snapshot>),
    /// Put an item again each hour.
    Keep(Item),
    /// Do so no longer.
    Release(NodeId),
}

impl DhtHandle {
    /// Starts a job; what is returned has its events.
    pub fn start(&self, job: Job) -> Running {
        self.launch(job, false)
    }

    /// The same, with each step of a lookup reported as well: [`DhtEvent::LookupStepped`] and
    /// [`DhtEvent::LookupReply`].
    pub fn start_traced(&self, job: Job) -> Running {
        self.launch(job, true)
    }

    fn launch(&self, job: Job, traced: bool) -> Running {
        let (events, receiver) = mpsc::unbounded_channel();
        // If the node has ended, the receiver ends at once.
        self.send(Errand::Start(job, traced, events));
        Running(receiver)
    }

    /// Pings an address, and again while nothing comes back; `None` if nobody answers in time.
    pub async fn ping(&self, addr: SocketAddr, patience: Duration) -> Option<Answer> {
        self.ask(addr, Question::Ping, patience).await
    }

    /// Asks an address, and again while nothing comes back: a datagram may be lost. `None` if
    /// nobody answers in time.
    pub async fn ask(
        &self,
        to: SocketAddr,
        question: Question,
        patience: Duration,
    ) -> Option<Answer> {
        let asking = async {
            let mut older: Option<Running> = None;
            for wait in RETRIES {
                let mut latest = self.start(Job::Ask { to, question });
                let answered = async {
                    // A late answer to the one before is as good.
                    match &mut older {
                        Some(older) => tokio::select! {
                            event = older.next() => event,
                            event = latest.next() => event,
                        },
                        None => latest.next().await,
                    }
                };
                if let Ok(event) = tokio::time::timeout(wait, answered).await {
                    return answer(event?);
                }
                older = Some(latest);
            }
            None
        };
        tokio::time::timeout(patience, asking).await.ok()?
    }

    /// Finds the nodes closest to a point, closest first.
    pub async fn find_node(&self, target: NodeId) -> Vec<Contact> {
        let end = self.end_of(Job::FindNode(target)).await;
        end.map(|(_, closest)| closest).unwrap_or_default()
    }

    /// Announces us as a peer of a torrent, and says what that took: `announced` counts who knows
    /// of us. A torrent that is to be found is announced again every half an hour.
    pub async fn announce_once(
        &self,
        info_hash: InfoHash,
        port: AnnouncePort,
        seed: bool,
    ) -> Option<LookupStats> {
        let job = Job::Announce {
            info_hash,
            port,
            seed,
        };
        Some(self.end_of(job).await?.0)
    }

    /// Finds an item (BEP 44): the newest that any node has which was asked.
    pub async fn get_item(&self, query: ItemQuery) -> Option<Item> {
        let found = |event| match event {
            DhtEvent::ItemDone { item, .. } => Some(item),
            _ => None,
        };
        self.outcome(Job::GetItem(query), found).await?
    }

    /// Stores an item (BEP 44), if `cas` is given only in place of the one with that sequence
    /// number. Nodes forget it after two hours: see [`Self::keep_item`]. `None` if the node has
    /// ended.
    pub async fn put_item(&self, item: Item, cas: Option<i64>) -> Option<PutOutcome> {
        let put = |event| match event {
            DhtEvent::ItemPut {
                target,
                stored,
                conflict,
                ..
            } => Some(PutOutcome {
                target,
                stored,
                conflict,
            }),
            _ => None,
        };
        self.outcome(Job::PutItem { item, cas }, put).await
    }

    /// Has an item put again each hour, until [`Self::release_item`] or until somebody has put a
    /// newer one. The first put is the caller's.
    pub fn keep_item(&self, item: Item) {
        self.send(Errand::Keep(item));
    }

    /// Ends what [`Self::keep_item`] began.
    pub fn release_item(&self, target: NodeId) {
        self.send(Errand::Release(target));
    }

    /// Counts a torrent's seeds and peers (BEP 33) without finding them. `None` if the node has
    /// ended.
    pub async fn scrape(&self, info_hash: InfoHash) -> Option<Scrape> {
        let scraped = |event| match event {
            DhtEvent::Scraped {
                seeds,
                peers,
                nodes,
                ..
            } => Some(Scrape {
                seeds,
                peers,
                nodes,
            }),
            _ => None,
        };
        self.outcome(Job::Scrape(info_hash), scraped).await
    }

    /// Asks one node of which torrents it has peers, and for nodes close to `target` (BEP 51);
    /// `None` if it does not reply within ten seconds. It should not be asked again before the
    /// interval is over that it names.
    pub async fn sample(&self, to: SocketAddr, target: NodeId) -> Option<SampleReply> {
        let sampled = |event| match event {
            DhtEvent::Sampled { reply, .. } => Some(reply),
            _ => None,
        };
        self.outcome(Job::Sample { to, target }, sampled).await?
    }

    /// How the node stands: its routing table, its address, the size of the network. `None` if it
    /// has ended.
    pub async fn snapshot(&self) -> Option<Snapshot> {
        let (reply, answer) = oneshot::channel();
        self.send(Errand::Snapshot(reply));
        answer.await.ok()
    }

    fn send(&self, errand: Errand) {
        // A node that has ended does nothing any more, and its channels say so.
        let _ = self.commands.send(Command::Errand(Box::new(errand)));
    }

    /// Waits for the event that has what a job is for.
    async fn outcome<T>(&self, job: Job, found: impl Fn(DhtEvent) -> Option<T>) -> Option<T> {
        let mut running = self.start(job);
        while let Some(event) = running.next().await {
            if let Some(outcome) = found(event) {
                return Some(outcome);
            }
        }
        None
    }

    async fn end_of(&self, job: Job) -> Option<(LookupStats, Vec<Contact>)> {
        let done = |event| match event {
            DhtEvent::LookupDone { stats, closest, .. } => Some((stats, closest)),
            _ => None,
        };
        self.outcome(job, done).await
    }
}

fn answer(event: DhtEvent) -> Option<Answer> {
    match event {
        DhtEvent::Asked { answer, .. } => answer,
        _ => None,
    }
}

impl DhtTask {
    pub(super) fn on_errand(&mut self, now: Instant, errand: Errand) {
        match errand {
            Errand::Start(job, traced, events) => {
                let id = job.start(&mut self.core, now);
                if traced {
                    self.core.trace(now, id);
                }
                self.jobs.insert(id, events);
            }
            Errand::Snapshot(reply) => {
                // Whoever asked may have left.
                let _ = reply.send(Snapshot {
                    id: self.core.id(),
                    external_ip: self.core.external_ip().0,
                    table: self.core.table_nodes(now).collect(),
                    size: self.core.size_estimate(),
                    stats: self.core.stats(now),
                });
            }
            Errand::Keep(item) => self.core.keep_item(now, item),
            Errand::Release(target) => {
                self.core.release_item(&target);
            }
        }
    }

    /// Passes an event on to the job that it belongs to.
    pub(super) fn tell_job(&mut self, event: &DhtEvent) {
        let Some(id) = event.lookup() else {
            return;
        };
        let Some(events) = self.jobs.get(&id) else {
            return;
        };
        let gone = events.send(event.clone()).is_err();
        if gone || event.is_last() {
            self.jobs.remove(&id);
        }
        if gone {
            self.core.cancel(id);
        }
    }

    /// Ends the jobs that nobody waits for any more.
    pub(super) fn end_idle_jobs(&mut self) {
        let core = &mut self.core;
        self.jobs.retain(|id, events| {
            if events.is_closed() {
                core.cancel(*id);
            }
            !events.is_closed()
        });
    }
}

/// Ours: how long each of the questions is waited for. Most answers on any path come within a
/// second.
const RETRIES: [Duration; 4] = [
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(4),
    Duration::from_secs(8),
];
