//! What a torrent asks its shell to do, and what the shell may answer.

use std::{net::SocketAddr, sync::Arc};

use bytes::Bytes;

use crate::{
    bitfield::Bitfield,
    metainfo::{Block, Metainfo, PieceIndex},
    wire::Message,
};

/// One connection's handle, never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerKey(pub u64);

/// What the shell must do next. The order of outputs matters and must be kept.
#[derive(Debug)]
pub enum Output {
    /// The metainfo is known: open its storage, check what is there, and answer with
    /// [`StorageDone::Opened`].
    OpenStorage(Arc<Metainfo>),
    /// Dial this address; answer with `peer_connected` or `connect_failed`.
    Connect {
        /// Where.
        addr: SocketAddr,
    },
    /// Send a message. `Message::Piece` is answered with `handle_sent` once its bytes are written.
    Send {
        /// To whom.
        peer: PeerKey,
        /// What.
        message: Message,
    },
    /// Close a connection. The core has forgotten it already; no `peer_closed` is expected.
    Disconnect {
        /// Whose.
        peer: PeerKey,
        /// Why, for logs and counters.
        reason: DisconnectReason,
    },
    /// Work for the storage.
    Storage(StorageRequest),
    /// Something the user may want to know.
    Event(TorrentEvent),
}

/// Work for the storage, done in order per torrent as far as it concerns one piece.
#[derive(Debug, Clone)]
pub enum StorageRequest {
    /// Read a block for an upload; answered by [`StorageDone::BlockRead`].
    Read {
        /// For whom.
        peer: PeerKey,
        /// What.
        block: Block,
    },
    /// Keep a block of a piece that is not complete; answered, once its bytes are no longer in
    /// memory, by [`StorageDone::Written`].
    Write {
        /// Which bytes.
        block: Block,
        /// The bytes.
        data: Bytes,
    },
    /// Every block of the piece was handed over: hash it, write it if it is right, and answer with
    /// [`StorageDone::PieceVerified`].
    Verify {
        /// Which piece.
        piece: PieceIndex,
        /// Report the blocks' digests although the piece is right: it failed before, and the
        /// comparison tells who lied.
        want_digests: bool,
    },
    /// Forget what is buffered of a piece that is not wanted any more; its bytes are reported by
    /// [`StorageDone::Written`].
    Discard {
        /// Which piece.
        piece: PieceIndex,
    },
}

/// The SHA-1 of one block.
pub type BlockDigest = [u8; 20];

/// What the storage reports.
#[derive(Debug, Clone)]
pub enum StorageDone {
    /// The storage is open and what was there has been checked.
    Opened {
        /// The pieces that are there and right.
        have: Bitfield,
    },
    /// A block was read.
    BlockRead {
        /// For whom.
        peer: PeerKey,
        /// Which bytes.
        block: Block,
        /// The bytes.
        data: Bytes,
    },
    /// So many bytes handed over with [`StorageRequest::Write`] no longer take memory.
    Written {
        /// How many.
        bytes: u64,
    },
    /// A piece was hashed and, if right, written and recorded.
    PieceVerified {
        /// Which piece.
        piece: PieceIndex,
        /// Whether its hash is the torrent's.
        ok: bool,
        /// The digests of its blocks in order: always after a mismatch, else when asked for.
        digests: Vec<BlockDigest>,
    },
    /// A request could not be carried out. The details were logged; the text is for the user.
    Failed {
        /// What was being done.
        operation: StorageOperation,
        /// What went wrong.
        fault: StorageFault,
    },
}

/// What the storage was doing when it failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StorageOperation {
    /// Opening or checking.
    Open,
    /// Reading a block for an upload.
    Read {
        /// For whom.
        peer: PeerKey,
        /// Which block.
        block: Block,
    },
    /// Writing or verifying a piece; its blocks must be fetched again.
    Write {
        /// Which piece.
        piece: PieceIndex,
    },
}

/// A local failure: the kind decides what the torrent does, the text is shown to the user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StorageFault {
    /// What kind.
    pub kind: StorageFaultKind,
    /// One sentence that names the path and what to do.
    pub text: Arc<str>,
}

/// Kinds of local failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StorageFaultKind {
    /// No space left, or over quota: tried again every minute.
    Full,
    /// Not permitted, or read-only.
    Permission,
    /// A file is gone or shorter than it was.
    Vanished,
    /// Anything else.
    Other,
}

/// Something the user of a torrent may want to know.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum TorrentEvent {
    /// The metadata of a magnet arrived and is right.
    MetadataReceived(Arc<Metainfo>),
    /// The metadata of a magnet has the right hash and is no torrent that could be fetched: it
    /// stops.
    MetadataInvalid {
        /// What is wrong with it.
        error: crate::metainfo::Error,
    },
    /// The storage is open.
    Checked {
        /// Pieces that were there.
        have: u32,
    },
    /// A piece was verified and written.
    PieceCompleted {
        /// Which.
        piece: PieceIndex,
    },
    /// A piece did not have its hash.
    PieceFailed {
        /// Which.
        piece: PieceIndex,
    },
    /// Every wanted piece is here.
    Completed,
    /// An address was banned for what it sent.
    PeerBanned {
        /// Which.
        addr: SocketAddr,
        /// Why.
        fault: PeerMisbehaved,
    },
    /// A storage failure stopped requests.
    Paused {
        /// What went wrong.
        fault: StorageFault,
    },
    /// Requests go on after a pause.
    Resumed,
    /// The peer runs a DHT node on this address (BEP 5 PORT message).
    DhtNode {
        /// Where.
        addr: SocketAddr,
    },
    /// The torrent is private (BEP 27): the shell must not use the DHT for it.
    Private,
    /// More candidates would help.
    WantPeers,
}

/// Why a connection was closed by us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DisconnectReason {
    /// The peer broke the protocol.
    Misbehaved(PeerMisbehaved),
    /// Both have everything, or want nothing from each other.
    NothingToTrade,
    /// No message for too long.
    Idle,
    /// A better peer took the place.
    Replaced,
    /// It is ourselves, or a peer that is connected already.
    Duplicate,
    /// The address is banned.
    Banned,
    /// The torrent stops.
    Stopped,
}

/// What a peer did wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PeerMisbehaved {
    /// A bitfield of the wrong length, with spare bits, twice, or late.
    BadBitfield,
    /// A piece index beyond the last.
    IndexOutOfRange,
    /// A block that was not asked for, repeatedly.
    UnrequestedBlock,
    /// Requests outside the torrent, repeatedly, or far over the queue limit.
    BadRequest,
    /// Blocks whose bytes were wrong.
    CorruptData,
    /// Metadata whose hash was wrong.
    CorruptMetadata,
    /// A fast-extension message without the fast extension, or against its rules.
    FastViolation,
    /// An extension message that does not decode.
    BadExtension,
    /// A stream that is not the peer wire protocol.
    BadFraming,
    /// Messages at a rate that no honest peer has.
    Flood,
}

/// What a kind of misbehaviour costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// The connection.
    Drop,
    /// The connection, and the address for a while.
    Ban,
}

impl PeerMisbehaved {
    /// What this kind costs.
    pub fn severity(self) -> Severity {
        match self {
            Self::CorruptData | Self::CorruptMetadata | Self::Flood => Severity::Ban,
            Self::BadBitfield
            | Self::IndexOutOfRange
            | Self::UnrequestedBlock
            | Self::BadRequest
            | Self::FastViolation
            | Self::BadExtension
            | Self::BadFraming => Severity::Drop,
        }
    }
}

/// Why a handshaken connection was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reject {
    /// The handshake names another torrent.
    WrongTorrent,
    /// The peer id is ours.
    Ourselves,
    /// The peer id is connected already.
    Duplicate,
    /// All places are taken.
    Full,
    /// The address is banned.
    Banned,
    /// The torrent is stopped.
    Stopped,
}

/// Who opened a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// They dialled us; their port is not their listening port.
    Inbound,
    /// We dialled them.
    Outbound,
}

/// Where an address came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CandidateSource {
    /// The user, by `--peer`: dialled whatever the network, and first.
    User,
    /// A magnet link's `x.pe`. Whoever made the link may not send us to other networks.
    Magnet,
    /// The DHT.
    Dht,
    /// Another peer (BEP 11).
    Pex,
}
