//! How a torrent is told to behave, and what it counts.

use std::{sync::Arc, time::Duration};

use super::chooser::{Chooser, SeedOrder};
use crate::{
    ids::{InfoHash, PeerId},
    metainfo::Metainfo,
    network::Network,
};

/// Where a torrent starts: a file, or a magnet link.
#[derive(Debug, Clone)]
pub enum Source {
    /// Everything is known.
    Metainfo(Arc<Metainfo>),
    /// Only the name is known; the metadata comes from peers (BEP 9).
    InfoHash(InfoHash),
}

/// Which missing piece to ask for next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PieceOrder {
    /// The piece that the fewest neighbours have, at random among equals.
    #[default]
    RarestFirst,
    /// Any piece, at random.
    Random,
    /// The lowest index.
    Sequential,
}

/// How a torrent behaves. Defaults are the field's: see each member.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct TorrentConfig {
    /// Our name in handshakes.
    pub peer_id: PeerId,
    /// Our TCP listening port, told to peers in the extension handshake.
    pub listen_port: Option<u16>,
    /// Our DHT node's UDP port, told to peers that have one too.
    pub dht_port: Option<u16>,
    /// The name and version sent in the extension handshake.
    pub client: String,
    /// Whose addresses to accept from strangers.
    pub network: Network,
    /// Neighbours to hold at most; three quarters of them may be dialled by us. Default 50.
    pub max_peers: usize,
    /// Regular upload slots. Default 4.
    pub upload_slots: usize,
    /// Optimistic upload slots on top. Default 1.
    pub optimistic_slots: usize,
    /// How often regular slots are decided. Default 10 s.
    pub choke_interval: Duration,
    /// How often the optimistic slot moves on. Default 30 s.
    pub optimistic_interval: Duration,
    /// Who may download from us while we want pieces ourselves. Default tit-for-tat.
    pub chooser: Chooser,
    /// Whose turn it is once we have everything. Default who was served least.
    pub seed_order: SeedOrder,
    /// Piece choice.
    pub piece_order: PieceOrder,
    /// Upload limit, payload bytes per second.
    pub up: Option<u64>,
    /// Download limit, payload bytes per second.
    pub down: Option<u64>,
    /// Upload nothing: a free rider, for experiments.
    pub upload: bool,
    /// Ask only neighbours that have everything: a selfish client (Liogkas 2006), for experiments.
    pub only_seeds: bool,
    /// Exchange addresses with peers (BEP 11). Default on.
    pub pex: bool,
    /// Dial peers although everything is here: a seed that waits to be called serves nobody whose
    /// own calls fail. Default on.
    pub seed_dials: bool,
    /// As the only source of pieces, hand every piece out once before repeating any (BEP 16, but
    /// by itself and without its waiting). Default on.
    pub unsent_first: bool,
    /// Bytes handed to the storage and not yet written at which requests stop. Default 64 MiB.
    pub write_high_water: u64,
}

impl TorrentConfig {
    /// The defaults.
    pub fn new(peer_id: PeerId, network: Network) -> Self {
        Self {
            peer_id,
            listen_port: None,
            dht_port: None,
            client: concat!("mainswarm ", env!("CARGO_PKG_VERSION")).to_owned(),
            network,
            max_peers: 50,
            upload_slots: 4,
            optimistic_slots: 1,
            choke_interval: Duration::from_secs(10),
            optimistic_interval: Duration::from_secs(30),
            chooser: Chooser::TitForTat,
            seed_order: SeedOrder::LeastServed,
            piece_order: PieceOrder::RarestFirst,
            up: None,
            down: None,
            upload: true,
            only_seeds: false,
            pex: true,
            seed_dials: true,
            unsent_first: true,
            write_high_water: 64 << 20,
        }
    }
}

/// A count of everything, cheap to take.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
#[non_exhaustive]
pub struct TorrentStats {
    /// Pieces in the torrent; 0 while the metadata is unknown.
    pub pieces: u32,
    /// Pieces that are here and verified.
    pub have: u32,
    /// Pieces that are wanted and missing.
    pub missing: u32,
    /// Bytes that are wanted and missing; blocks of unfinished pieces count as missing.
    pub bytes_left: u64,
    /// Bytes that are wanted.
    pub bytes_wanted: u64,
    /// Payload received, bytes.
    pub downloaded: u64,
    /// Payload sent, bytes.
    pub uploaded: u64,
    /// Payload received that was of no use, bytes.
    pub wasted: u64,
    /// Payload received now, bytes per second.
    pub down_rate: f64,
    /// Payload sent now, bytes per second.
    pub up_rate: f64,
    /// Connected peers.
    pub peers: usize,
    /// Connected peers that have everything.
    pub seeds: usize,
    /// Peers that choke us not.
    pub unchoked_by: usize,
    /// Peers that we choke not.
    pub unchoking: usize,
    /// Addresses that could be dialled.
    pub candidates: usize,
    /// Dials under way.
    pub dialling: usize,
    /// Dials ever made, those that reached ourselves left out.
    pub dialled: u64,
    /// Handshakes ever completed.
    pub handshaken: u64,
    /// Metadata bytes received and its size, while it is being fetched.
    pub metadata: Option<(u32, u32)>,
    /// A storage failure holds the torrent.
    pub paused: bool,
    /// Pieces are being handed out for the first time: see [`TorrentConfig::unsent_first`].
    pub unsent_first: bool,
}
