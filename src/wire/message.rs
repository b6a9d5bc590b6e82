//! Peer wire messages (BEP 3, 5, 6, 10) and their encoding.
//!
//! A block's bytes stay apart from its header, so that a connection can write header and data
//! with one vectored call and never copy the data.

use bytes::Bytes;

use crate::metainfo::{Block, PieceIndex};

/// One message, without its length prefix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// Length 0: only says that the connection is alive.
    KeepAlive,
    /// The sender will not answer requests.
    Choke,
    /// The sender will answer requests.
    Unchoke,
    /// The sender wants something that we have.
    Interested,
    /// The sender wants nothing that we have.
    NotInterested,
    /// The sender has this piece now.
    Have(PieceIndex),
    /// All that the sender has, in wire order. Its length can be judged only by who knows the
    /// number of pieces: [`crate::bitfield::Bitfield::from_bytes`].
    Bitfield(Bytes),
    /// Ask for a block.
    Request(Block),
    /// A block's bytes: `block.len == data.len()`.
    Piece {
        /// Which bytes.
        block: Block,
        /// The bytes.
        data: Bytes,
    },
    /// Take a request back.
    Cancel(Block),
    /// BEP 5: the UDP port of the sender's DHT node.
    Port(u16),
    /// BEP 6: the sender would like us to fetch this piece.
    SuggestPiece(PieceIndex),
    /// BEP 6: a bitfield of ones.
    HaveAll,
    /// BEP 6: a bitfield of zeros.
    HaveNone,
    /// BEP 6: this request will not be answered.
    RejectRequest(Block),
    /// BEP 6: this piece may be requested while choked.
    AllowedFast(PieceIndex),
    /// BEP 10: id 0 is the extension handshake; other ids are as the receiver's handshake named
    /// them. Read and built by [`crate::wire::extension`].
    Extended {
        /// The extended message id.
        id: u8,
        /// The rest of the message.
        payload: Bytes,
    },
    /// A message id that no BEP we follow defines: to be ignored (BEP 3 clients do).
    Unknown(u8),
}

/// Message ids (BEP 3; BEP 5 for 9; BEP 6 for 13 to 17; BEP 10 for 20).
pub(crate) mod id {
    pub(crate) const CHOKE: u8 = 0;
    pub(crate) const UNCHOKE: u8 = 1;
    pub(crate) const INTERESTED: u8 = 2;
    pub(crate) const NOT_INTERESTED: u8 = 3;
    pub(crate) const HAVE: u8 = 4;
    pub(crate) const BITFIELD: u8 = 5;
    pub(crate) const REQUEST: u8 = 6;
    pub(crate) const PIECE: u8 = 7;
    pub(crate) const CANCEL: u8 = 8;
    pub(crate) const PORT: u8 = 9;
    pub(crate) const SUGGEST_PIECE: u8 = 13;
    pub(crate) const HAVE_ALL: u8 = 14;
    pub(crate) const HAVE_NONE: u8 = 15;
    pub(crate) const REJECT_REQUEST: u8 = 16;
    pub(crate) const ALLOWED_FAST: u8 = 17;
    pub(crate) const EXTENDED: u8 = 20;
}

impl Message {
    /// Appends the message, length prefix included, to `out`, and hands back the bytes that must
    /// follow on the wire: a block's data, a bitfield or an extension payload. They are not
    /// copied.
    ///
    /// [`Message::Unknown`] encodes as an empty message with that id.
    pub fn encode(&self, out: &mut Vec<u8>) -> Option<Bytes> {
        match self {
            Self::KeepAlive => out.extend_from_slice(&0u32.to_be_bytes()),
            Self::Choke => head(out, id::CHOKE, 0),
            Self::Unchoke => head(out, id::UNCHOKE, 0),
            Self::Interested => head(out, id::INTERESTED, 0),
            Self::NotInterested => head(out, id::NOT_INTERESTED, 0),
            Self::HaveAll => head(out, id::HAVE_ALL, 0),
            Self::HaveNone => head(out, id::HAVE_NONE, 0),
            Self::Unknown(id) => head(out, *id, 0),
            Self::Have(piece) => indexed(out, id::HAVE, *piece),
            Self::SuggestPiece(piece) => indexed(out, id::SUGGEST_PIECE, *piece),
            Self::AllowedFast(piece) => indexed(out, id::ALLOWED_FAST, *piece),
            Self::Request(block) => ranged(out, id::REQUEST, *block),
            Self::Cancel(block) => ranged(out, id::CANCEL, *block),
            Self::RejectRequest(block) => ranged(out, id::REJECT_REQUEST, *block),
            Self::Port(port) => {
                head(out, id::PORT, 2);
                out.extend_from_slice(&port.to_be_bytes());
            }
            Self::Bitfield(bits) => {
                head(out, id::BITFIELD, bits.len());
                return Some(bits.clone());
            }
            Self::Piece { block, data } => {
                head(out, id::PIECE, 8 + data.len());
                out.extend_from_slice(&block.piece.0.to_be_bytes());
                out.extend_from_slice(&block.begin.to_be_bytes());
                return Some(data.clone());
            }
            Self::Extended { id, payload } => {
                head(out, id::EXTENDED, 1 + payload.len());
                out.push(*id);
                return Some(payload.clone());
            }
        }
        None
    }
}

fn head(out: &mut Vec<u8>, id: u8, payload: usize) {
    // Payloads are made by us and bounded far below 4 GiB.
    out.extend_from_slice(&(payload as u32 + 1).to_be_bytes());
    out.push(id);
}

fn indexed(out: &mut Vec<u8>, id: u8, piece: PieceIndex) {
    head(out, id, 4);
    out.extend_from_slice(&piece.0.to_be_bytes());
}

fn ranged(out: &mut Vec<u8>, id: u8, block: Block) {
    head(out, id, 12);
    for number in [block.piece.0, block.begin, block.len] {
        out.extend_from_slice(&number.to_be_bytes());
    }
}
