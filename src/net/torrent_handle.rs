//! What the rest of the program sees of a torrent's task.

use std::{net::SocketAddr, sync::Arc};

use tokio::sync::{broadcast, mpsc, watch};

use super::torrent_task::Input;
use crate::{
    dht::LookupStats,
    ids::InfoHash,
    metainfo::{FileEntry, Metainfo},
    torrent::{CandidateSource, StorageFault, TorrentEvent, TorrentStats},
};

/// Chooses files by their entry.
pub type FileFilter = Arc<dyn Fn(usize, &FileEntry) -> bool + Send + Sync>;

/// What a torrent is doing.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Phase {
    /// A magnet waits for its metadata.
    #[default]
    Metadata,
    /// Existing data is being hashed: pieces done of pieces in all.
    Checking(u32, u32),
    /// Pieces are missing.
    Downloading,
    /// All wanted pieces are here.
    Seeding,
    /// A storage failure holds it.
    Paused(StorageFault),
}

/// A torrent at a glance.
#[derive(Debug, Clone, PartialEq, Default)]
#[non_exhaustive]
pub struct TorrentStatus {
    /// What it is doing.
    pub phase: Phase,
    /// The core's counts.
    pub stats: TorrentStats,
    /// DHT lookups for this torrent so far, added up; one under way counts with what it has done.
    pub lookups: LookupStats,
    /// Lookups that have ended.
    pub lookups_done: u32,
    /// Nodes in our routing table.
    pub dht_nodes: usize,
}

/// One torrent of a session. Clones share it.
#[derive(Debug, Clone)]
pub struct TorrentHandle {
    pub(super) info_hash: InfoHash,
    pub(super) inbox: mpsc::UnboundedSender<Input>,
    pub(super) status: watch::Receiver<TorrentStatus>,
    pub(super) metainfo: watch::Receiver<Option<Arc<Metainfo>>>,
    pub(super) events: broadcast::WeakSender<TorrentEvent>,
}

impl TorrentHandle {
    /// Its name.
    pub fn info_hash(&self) -> InfoHash {
        self.info_hash
    }

    /// Its state, updated a few times a second.
    pub fn status(&self) -> watch::Receiver<TorrentStatus> {
        self.status.clone()
    }

    /// What happens from now on. Ends with the session.
    pub fn events(&self) -> broadcast::Receiver<TorrentEvent> {
        match self.events.upgrade() {
            Some(events) => events.subscribe(),
            None => broadcast::channel(1).1,
        }
    }

    /// The metainfo, once known; `None` if the session ends first.
    pub async fn metainfo(&self) -> Option<Arc<Metainfo>> {
        let mut metainfo = self.metainfo.clone();
        let known = metainfo.wait_for(Option::is_some).await.ok()?;
        known.clone()
    }

    /// Waits until every wanted piece is here and recorded; `false` if the session ends first.
    pub async fn completed(&self) -> bool {
        let mut status = self.status.clone();
        let seeding = |status: &TorrentStatus| status.phase == Phase::Seeding;
        status.wait_for(seeding).await.is_ok()
    }

    /// More peers known by hand.
    pub fn add_peers(&self, peers: Vec<SocketAddr>) {
        // Fails only after the session has ended; there is nobody to dial then.
        let _ = self
            .inbox
            .send(Input::AddPeers(peers, CandidateSource::User));
    }

    /// Tries again after a pause that a storage failure caused.
    pub fn resume(&self) {
        let _ = self.inbox.send(Input::Resume);
    }
}
