//! The task behind a [`super::Session`]: which torrents run, who shares the limits, and the end.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::Arc,
    time::Duration,
};

use tokio::{
    sync::{mpsc, oneshot, watch},
    task::{Id, JoinError, JoinSet},
    time::timeout,
};
use tracing::{debug, error, warn};

use super::{
    AddTorrent, Command, DhtTaskHandle, FileFilter, SessionConfig, SessionError, TorrentHandle,
    TorrentSource, random,
};
use crate::{
    ids::{InfoHash, PeerId},
    net::{
        budgets::Budgets,
        listener::Routes,
        storage_pool::StoragePool,
        torrent_task::{Input, Surroundings, TorrentSpec, TorrentTask},
    },
    torrent::{Source, TorrentConfig},
};

/// The task behind a session.
pub(super) struct Node {
    pub(super) config: SessionConfig,
    pub(super) peer_id: PeerId,
    pub(super) budgets: Budgets,
    pub(super) around: Surroundings,
    /// Started with the first torrent: a node of the DHT alone needs no threads.
    pub(super) pool: Option<StoragePool>,
    pub(super) routes: watch::Sender<Routes>,
    pub(super) torrents: HashMap<InfoHash, Running>,
    pub(super) tasks: JoinSet<()>,
    pub(super) listening: JoinSet<()>,
    pub(super) dht: Option<DhtTaskHandle>,
}

/// A torrent's task as the session sees it.
pub(super) struct Running {
    inbox: mpsc::UnboundedSender<Input>,
    stop: oneshot::Sender<()>,
    task: Id,
    active: bool,
}

impl Node {
    /// Runs until the session is shut down or dropped.
    pub(super) async fn run(
        mut self,
        mut commands: mpsc::Receiver<Command>,
        mut activities: mpsc::UnboundedReceiver<(InfoHash, bool)>,
    ) {
        let reply = loop {
            tokio::select! {
                command = commands.recv() => match command {
                    Some(Command::Add(torrent, reply)) => {
                        let _ = reply.send(self.add(*torrent));
                    }
                    Some(Command::Shutdown(reply)) => break Some(reply),
                    None => break None,
                },
                Some((info_hash, active)) = activities.recv() => {
                    if let Some(torrent) = self.torrents.get_mut(&info_hash) {
                        torrent.active = active;
                        self.divide();
                    }
                }
                Some(ended) = self.tasks.join_next_with_id(), if !self.tasks.is_empty() => {
                    self.on_torrent_end(ended);
                }
            }
        };
        // Later callers learn that the session is closed.
        commands.close();
        if timeout(SHUTDOWN_TIMEOUT, self.shut_down()).await.is_err() {
            warn!("shutdown took too long; data not recorded will be checked at the next start");
        }
        if let Some(reply) = reply {
            let _ = reply.send(());
        }
    }

    fn add(&mut self, torrent: AddTorrent) -> Result<TorrentHandle, SessionError> {
        let (source, magnet_peers, magnet_hosts, select_only) = match torrent.source {
            TorrentSource::Metainfo(metainfo) => (
                Source::Metainfo(metainfo),
                Vec::new(),
                Vec::new(),
                Vec::new(),
            ),
            TorrentSource::Magnet(magnet) => (
                Source::InfoHash(magnet.info_hash),
                magnet.peers,
                magnet.peer_hosts,
                magnet.select_only,
            ),
        };
        let info_hash = match &source {
            Source::Metainfo(metainfo) => metainfo.info_hash(),
            Source::InfoHash(info_hash) => *info_hash,
        };
        let Entry::Vacant(entry) = self.torrents.entry(info_hash) else {
            return Err(SessionError::Exists(info_hash));
        };
        let spec = TorrentSpec {
            config: self
                .config
                .torrent(self.peer_id, &self.budgets, &self.around),
            source,
            pool: self.pool.get_or_insert_with(start_pool).clone(),
            output_dir: torrent.output_dir,
            state_dir: self.config.state_dir.clone(),
            select: torrent.select.or_else(|| select_indexes(select_only)),
            trusted: torrent.trusted,
            root: torrent.root,
            peers: torrent.peers,
            magnet_peers,
            magnet_hosts,
        };
        let (task, handle) = TorrentTask::new(spec, self.around.clone(), random());
        let inbox = task.inbox();
        let (stop, stopped) = oneshot::channel();
        let task = self.tasks.spawn(task.run(stopped)).id();
        self.routes.send_modify(|routes| {
            routes.insert(info_hash, inbox.clone());
        });
        entry.insert(Running {
            inbox,
            stop,
            task,
            active: false,
        });
        self.divide();
        Ok(handle)
    }

    /// Divides the limits among the torrents that have peers.
    fn divide(&self) {
        if self.budgets.up.is_none() && self.budgets.down.is_none() {
            return;
        }
        let active = self
            .torrents
            .values()
            .filter(|torrent| torrent.active)
            .count();
        for torrent in self.torrents.values() {
            let (up, down) = self.budgets.rates(active, torrent.active);
            // A torrent that has ended is removed by `on_torrent_end`.
            let _ = torrent.inbox.send(Input::Rates(up, down));
        }
    }

    fn on_torrent_end(&mut self, ended: Result<(Id, ()), JoinError>) {
        let task = match ended {
            Ok((task, ())) => task,
            Err(failure) => {
                error!(%failure, "a torrent's task failed; the others go on");
                failure.id()
            }
        };
        self.torrents.retain(|_, torrent| torrent.task != task);
        let torrents = &self.torrents;
        self.routes
            .send_modify(|routes| routes.retain(|name, _| torrents.contains_key(name)));
        self.divide();
    }

    /// In the order that [`crate::net`] gives.
    async fn shut_down(&mut self) {
        self.listening.shutdown().await;
        self.routes.send_replace(Routes::new());
        for (_, torrent) in self.torrents.drain() {
            let _ = torrent.stop.send(());
        }
        while let Some(ended) = self.tasks.join_next().await {
            if let Err(failure) = ended {
                error!(%failure, "a torrent's task failed while stopping");
            }
        }
        if let Some((stop, task)) = self.dht.take() {
            let _ = stop.send(());
            let _ = task.await;
        }
        debug!("session ended");
    }
}

fn start_pool() -> StoragePool {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    StoragePool::new(threads.clamp(1, 4), threads.clamp(1, 4))
}

impl SessionConfig {
    fn torrent(&self, peer_id: PeerId, budgets: &Budgets, around: &Surroundings) -> TorrentConfig {
        let port = around.local.port();
        let mut config = TorrentConfig::new(peer_id, self.network);
        config.listen_port = Some(port);
        config.dht_port = around.dht.as_ref().map(|_| port);
        config.max_peers = budgets.peers_per_torrent(self.neighbours);
        config.upload_slots = self.upload_slots;
        config.optimistic_slots = self.optimistic_slots;
        config.choke_interval = self.choke_interval;
        let turn = self.optimistic_interval;
        config.optimistic_interval = turn.unwrap_or(self.choke_interval * 3);
        config.piece_order = self.piece_order;
        config.upload = self.upload;
        config.only_seeds = self.only_seeds;
        config.unsent_first = self.unsent_first;
        config.seed_order = self.seed_order;
        config.chooser = self.chooser.clone();
        config.pex = !self.no_pex;
        (config.up, config.down) = (self.up, self.down);
        config
    }
}

fn select_indexes(ranges: Vec<(u32, u32)>) -> Option<FileFilter> {
    if ranges.is_empty() {
        return None;
    }
    Some(Arc::new(move |index, _| {
        ranges
            .iter()
            .any(|(first, last)| (*first as usize..=*last as usize).contains(&index))
    }))
}

/// How long a shutdown may take: Ctrl-C must not hang on a slow disk.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(10);
