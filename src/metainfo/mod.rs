//! What a torrent is: its files, pieces and hashes, read from a `.torrent` file or from the `info`
//! dictionary that peers send (BEP 3, 9, 27, 47).
//!
//! A [`Metainfo`] can only be had by reading, and reading checks everything: who holds one may do
//! arithmetic without fear. The info-hash is always of the raw bytes as they came. `pieces.rs` has
//! the arithmetic, `read.rs` the checks, `paths.rs` makes names safe; [`create`] builds torrents
//! and [`magnet`] reads links.

pub mod create;
pub mod magnet;
mod paths;
mod pieces;
mod read;

use std::{
    ops::Range,
    path::{Path, PathBuf},
};

use bytes::Bytes;

pub use magnet::Magnet;
pub use pieces::{BLOCK_LEN, Block, Geometry, PieceIndex};

use crate::{
    bencode::{write_bytes, write_int},
    ids::InfoHash,
};

/// Why metainfo was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Not bencode within the limits.
    #[error("not a torrent, or a damaged one: {0}; get it again from where it came from")]
    Bencode(#[from] crate::bencode::Error),
    /// A key is missing or of the wrong type.
    #[error("the torrent lacks a valid `{0}`; it is damaged or badly made: get it from elsewhere")]
    Field(&'static str),
    /// BEP 52 without a v1 part.
    #[error(
        "the torrent is for BitTorrent v2 only, which is not supported; ask for a v1 or hybrid one"
    )]
    OnlyV2,
    /// A piece length of 0, below 0 or over 1 GiB.
    #[error("the torrent's piece length {0} is outside 1..=1073741824; get it from elsewhere")]
    PieceLength(i64),
    /// More pieces than [`MAX_PIECES`].
    #[error("the torrent has {0} pieces, more than 4194304; ask for one with longer pieces")]
    TooManyPieces(u64),
    /// The number of hashes is not the number of pieces.
    #[error(
        "the torrent has {found} bytes of piece hashes where its length needs {expected}; it is \
         damaged: get it again from where it came from"
    )]
    HashCount {
        /// Bytes that the total length needs.
        expected: u64,
        /// Bytes that are there.
        found: u64,
    },
    /// The lengths add up to more than 2^56 bytes.
    #[error("the torrent claims more than 2^56 bytes; it is damaged: get it from elsewhere")]
    TooLong,
    /// The lengths add up to 0.
    #[error("the torrent has no content, so there is nothing to exchange")]
    Empty,
}

/// A validated torrent. Every length, hash count and path has been checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metainfo {
    info_hash: InfoHash,
    info: Bytes,
    /// Where in `info` the hashes of the pieces stand, 20 bytes each.
    hashes: Range<usize>,
    name: String,
    files: Vec<FileEntry>,
    geometry: Geometry,
    private: bool,
    nodes: Vec<(String, u16)>,
    comment: Option<String>,
    created_by: Option<String>,
    creation_date: Option<i64>,
}

/// One file of a torrent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileEntry {
    path: PathBuf,
    offset: u64,
    len: u64,
    kind: FileKind,
}

/// What BEP 47's `attr` makes of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum FileKind {
    Regular,
    Pad,
    Symlink,
}

impl FileEntry {
    /// The path below the download directory (a multi-file torrent's directory name included):
    /// relative, normal components only, unique within the torrent whatever the file system folds.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where the file starts in the torrent's byte stream.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Its length in bytes.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether it is empty.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// BEP 47 padding: zeros that are hashed but never written. Its path is not unique.
    pub fn is_pad(&self) -> bool {
        self.kind == FileKind::Pad
    }

    /// BEP 47 symbolic link: without content, and never created, because a link that a stranger
    /// chose could lead anywhere.
    pub fn is_symlink(&self) -> bool {
        self.kind == FileKind::Symlink
    }
}

impl Metainfo {
    /// Reads a `.torrent` file.
    pub fn from_torrent(bytes: &[u8]) -> Result<Self, Error> {
        read::torrent(bytes)
    }

    /// Reads an `info` dictionary as peers send it (BEP 9); its SHA-1 is the info-hash.
    pub fn from_info(info: Bytes) -> Result<Self, Error> {
        read::info(info)
    }

    /// The `.torrent` file: the raw `info` bytes unchanged, the bootstrap nodes, and what was
    /// known of its making.
    pub fn to_torrent(&self) -> Vec<u8> {
        let mut out = b"d".to_vec();
        if let Some(comment) = &self.comment {
            write_bytes(&mut out, b"comment");
            write_bytes(&mut out, comment.as_bytes());
        }
        if let Some(program) = &self.created_by {
            write_bytes(&mut out, b"created by");
            write_bytes(&mut out, program.as_bytes());
        }
        if let Some(date) = self.creation_date {
            write_bytes(&mut out, b"creation date");
            write_int(&mut out, date);
        }
        write_bytes(&mut out, b"info");
        out.extend_from_slice(&self.info);
        if !self.nodes.is_empty() {
            write_bytes(&mut out, b"nodes");
            out.push(b'l');
            for (host, port) in &self.nodes {
                out.push(b'l');
                write_bytes(&mut out, host.as_bytes());
                write_int(&mut out, (*port).into());
                out.push(b'e');
            }
            out.push(b'e');
        }
        out.push(b'e');
        out
    }

    /// The link that finds this torrent without a file.
    pub fn magnet(&self) -> Magnet {
        let mut magnet = Magnet::new(self.info_hash);
        magnet.name = Some(self.name.clone());
        magnet.length = Some(self.geometry.total_len());
        magnet
    }

    /// The SHA-1 of the raw `info` bytes.
    pub fn info_hash(&self) -> InfoHash {
        self.info_hash
    }

    /// The raw `info` bytes.
    pub fn info(&self) -> &Bytes {
        &self.info
    }

    /// The name, made safe for the file system: the file, or the directory of many.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The files in order of their bytes.
    pub fn files(&self) -> &[FileEntry] {
        &self.files
    }

    /// Piece and block arithmetic.
    pub fn geometry(&self) -> Geometry {
        self.geometry
    }

    /// The SHA-1 of a piece.
    ///
    /// # Panics
    /// If there is no such piece.
    pub fn piece_hash(&self, piece: PieceIndex) -> [u8; 20] {
        let (hashes, _) = self.info[self.hashes.clone()].as_chunks();
        hashes[piece.as_usize()]
    }

    /// BEP 27: peers may come from trackers only, so for a trackerless node from the user only.
    pub fn is_private(&self) -> bool {
        self.private
    }

    /// BEP 5: DHT nodes (host, port) that the torrent's maker recommends.
    pub fn nodes(&self) -> &[(String, u16)] {
        &self.nodes
    }

    /// What the torrent's maker says about it: a stranger's text, to be shown only through
    /// [`crate::text::printable`].
    pub fn comment(&self) -> Option<&str> {
        self.comment.as_deref()
    }

    /// The program that made it; a stranger's text as well.
    pub fn created_by(&self) -> Option<&str> {
        self.created_by.as_deref()
    }

    /// When it says it was made, in seconds since 1970; any number.
    pub fn creation_date(&self) -> Option<i64> {
        self.creation_date
    }
}

/// Ours: the longest `.torrent` file worth reading into memory: the hashes of [`MAX_PIECES`] and half
/// a million files.
pub const MAX_TORRENT_LEN: u64 = 128 * 1024 * 1024;
/// Ours: the most pieces a torrent may have; their hashes take 80 MiB.
pub const MAX_PIECES: u32 = 4 * 1024 * 1024;
/// Ours: the longest piece. A piece is the least that can be verified and shared.
pub const MAX_PIECE_LEN: u32 = 1 << 30;
