//! Building torrents: the layout of the content, the hashes of its pieces, and the `info`
//! dictionary over both.
//!
//! Sans-IO: the caller lists and reads the files, in the order of [`TorrentBuilder::files`], and
//! feeds a [`PieceHasher`], or hashes pieces in parallel by [`TorrentBuilder::geometry`]. What is
//! built is read back with the checks that everybody else's torrents pass, so a torrent that
//! comes out of here has the very paths that went in.

use std::path::{Component, Path, PathBuf};

use bytes::Bytes;
use serde::Serialize;
use serde_bytes::ByteBuf;
use sha1::{Digest, Sha1};

use super::{BLOCK_LEN, Error, Geometry, MAX_PIECE_LEN, Metainfo};

/// Why a torrent cannot be built.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CreateError {
    /// There is not one byte of content.
    #[error("there is nothing to share: all files are empty")]
    Empty,
    /// A name that other systems cannot keep as it is.
    #[error(
        "`{}` cannot be shared under its name: not UTF-8, too long, or with a backslash, control \
         or direction character; rename it",
        crate::text::printable(.0.as_os_str().as_encoded_bytes())
    )]
    Name(PathBuf),
    /// Two files that some file system would take for one.
    #[error(
        "`{}` differs from another name only in case or trailing dots; rename one of the two",
        crate::text::printable(.0.as_os_str().as_encoded_bytes())
    )]
    Collision(PathBuf),
    /// A piece length that is not a power of two from 16 KiB to 1 GiB.
    #[error("piece length {0} is not a power of two from 16384 to 1073741824")]
    PieceLength(u32),
    /// The content or the number of its pieces is beyond the limits.
    #[error("the content is too large for its piece length: {0}")]
    Limit(#[source] Error),
    /// Not as many hashes as pieces: files changed while they were read.
    #[error("{found} pieces were hashed where {expected} are expected: a file changed; try again")]
    Hashes {
        /// Pieces by the files' lengths.
        expected: u32,
        /// Hashes given.
        found: usize,
    },
}

/// The piece length that suits a content of `total_len` bytes: the smallest power of two that
/// makes at most 2,048 pieces, but 16 KiB at least and 16 MiB at most.
///
/// So there are 1,025 to 2,048 pieces from 16 MiB to 32 GiB of content: enough that peers have
/// something to trade early, few enough that the hashes stay near 40 kB and a magnet link's
/// metadata arrives at once.
pub fn piece_len_for(total_len: u64) -> u32 {
    let mut len = MIN_PIECE_LEN;
    while len < MAX_AUTOMATIC && total_len.div_ceil(len.into()) > MAX_AUTOMATIC_PIECES {
        len *= 2;
    }
    len
}

/// A torrent in the making.
#[derive(Debug, Clone)]
pub struct TorrentBuilder {
    name: String,
    /// Below the directory `name`, or the one file itself when `single`.
    files: Vec<(PathBuf, u64)>,
    single: bool,
    geometry: Geometry,
    private: bool,
    comment: Option<String>,
    created_by: Option<String>,
    creation_date: Option<i64>,
    nodes: Vec<(String, u16)>,
}

impl TorrentBuilder {
    /// A torrent of one file.
    pub fn file(name: &str, len: u64) -> Result<Self, CreateError> {
        Self::new(name, vec![(PathBuf::from(name), len)], true)
    }

    /// A torrent of a directory: the files' paths are relative to it. Empty files are kept, empty
    /// directories cannot be.
    pub fn directory(
        name: &str,
        files: impl IntoIterator<Item = (PathBuf, u64)>,
    ) -> Result<Self, CreateError> {
        let mut files: Vec<_> = files.into_iter().collect();
        // By components, so that the order does not depend on how a directory was listed.
        files.sort_unstable();
        Self::new(name, files, false)
    }

    fn new(name: &str, files: Vec<(PathBuf, u64)>, single: bool) -> Result<Self, CreateError> {
        components(Path::new(name))
            .filter(|components| components.len() == 1)
            .ok_or_else(|| CreateError::Name(name.into()))?;
        for (path, _) in &files {
            components(path).ok_or_else(|| CreateError::Name(path.clone()))?;
        }
        let total = files
            .iter()
            .try_fold(0u64, |total, (_, len)| total.checked_add(*len));
        let total = total.ok_or(CreateError::Limit(Error::TooLong))?;
        if total == 0 {
            return Err(CreateError::Empty);
        }
        Ok(Self {
            name: name.to_owned(),
            files,
            single,
            geometry: geometry(total, piece_len_for(total))?,
            private: false,
            comment: None,
            created_by: None,
            creation_date: None,
            nodes: Vec::new(),
        })
    }

    /// Another piece length than [`piece_len_for`] chooses.
    pub fn piece_len(mut self, piece_len: u32) -> Result<Self, CreateError> {
        let sound = (MIN_PIECE_LEN..=MAX_PIECE_LEN).contains(&piece_len);
        if !sound || !piece_len.is_power_of_two() {
            return Err(CreateError::PieceLength(piece_len));
        }
        self.geometry = geometry(self.geometry.total_len(), piece_len)?;
        Ok(self)
    }

    /// BEP 27: whether peers may come from trackers only.
    #[must_use]
    pub fn private(mut self, private: bool) -> Self {
        self.private = private;
        self
    }

    /// Free text for people.
    #[must_use]
    pub fn comment(mut self, comment: Option<String>) -> Self {
        self.comment = comment;
        self
    }

    /// The program that builds it.
    #[must_use]
    pub fn created_by(mut self, program: Option<String>) -> Self {
        self.created_by = program;
        self
    }

    /// Seconds since 1970.
    #[must_use]
    pub fn creation_date(mut self, seconds: Option<i64>) -> Self {
        self.creation_date = seconds;
        self
    }

    /// BEP 5: DHT nodes (host, port) to recommend.
    #[must_use]
    pub fn nodes(mut self, nodes: Vec<(String, u16)>) -> Self {
        self.nodes = nodes;
        self
    }

    /// The files in the order of their bytes: for a directory relative to it, for one file its
    /// name.
    pub fn files(&self) -> &[(PathBuf, u64)] {
        &self.files
    }

    /// How the content is cut into pieces.
    pub fn geometry(&self) -> Geometry {
        self.geometry
    }

    /// The torrent, from the SHA-1 of every piece in order.
    pub fn build(self, hashes: &[[u8; 20]]) -> Result<Metainfo, CreateError> {
        let expected = self.geometry.piece_count();
        if hashes.len() != expected as usize {
            return Err(CreateError::Hashes {
                expected,
                found: hashes.len(),
            });
        }
        let entries = self.files.iter().map(|(path, length)| File {
            length: *length,
            path: components(path).unwrap_or_default(),
        });
        let info = Info {
            files: (!self.single).then(|| entries.collect()),
            length: self.single.then(|| self.geometry.total_len()),
            name: &self.name,
            piece_length: self.geometry.standard_piece_len(),
            pieces: ByteBuf::from(hashes.as_flattened()),
            private: self.private.then_some(1),
        };
        let info = serde_bencode::to_bytes(&info).expect("strings, numbers and lists of them");
        let mut metainfo = Metainfo::from_info(Bytes::from(info)).map_err(CreateError::Limit)?;
        let root = if self.single { "" } else { &self.name };
        for (entry, (path, _)) in metainfo.files.iter().zip(&self.files) {
            if entry.path != Path::new(root).join(path) {
                return Err(CreateError::Collision(path.clone()));
            }
        }
        metainfo.comment = self.comment;
        metainfo.created_by = self.created_by;
        metainfo.creation_date = self.creation_date;
        metainfo.nodes = self.nodes;
        Ok(metainfo)
    }
}

/// Cuts a stream of bytes into pieces and hashes them: the files' bytes, one after another.
#[derive(Debug, Clone)]
pub struct PieceHasher {
    piece_len: u32,
    /// Bytes of the piece that is under way.
    filled: u32,
    sha1: Sha1,
    hashes: Vec<[u8; 20]>,
}

impl PieceHasher {
    /// For pieces of `piece_len` bytes, which is not 0.
    pub fn new(piece_len: u32) -> Self {
        assert!(piece_len > 0, "a piece has at least one byte");
        Self {
            piece_len,
            filled: 0,
            sha1: Sha1::new(),
            hashes: Vec::new(),
        }
    }

    /// Takes the next bytes, as many as there are.
    pub fn update(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let room = (self.piece_len - self.filled) as usize;
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            self.sha1.update(now);
            self.filled += now.len() as u32;
            bytes = later;
            if self.filled == self.piece_len {
                self.hashes.push(self.sha1.finalize_reset().into());
                self.filled = 0;
            }
        }
    }

    /// The hashes, the last of which may be of a shorter piece.
    pub fn finish(mut self) -> Vec<[u8; 20]> {
        if self.filled > 0 {
            self.hashes.push(self.sha1.finalize().into());
        }
        self.hashes
    }
}

#[derive(Serialize)]
struct Info<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    files: Option<Vec<File<'a>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    length: Option<u64>,
    name: &'a str,
    #[serde(rename = "piece length")]
    piece_length: u32,
    pieces: ByteBuf,
    #[serde(skip_serializing_if = "Option::is_none")]
    private: Option<u8>,
}

#[derive(Serialize)]
struct File<'a> {
    length: u64,
    path: Vec<&'a str>,
}

/// The components of a relative path if every reader will keep them as they are.
fn components(path: &Path) -> Option<Vec<&str>> {
    let names: Option<Vec<&str>> = path
        .components()
        .map(|component| match component {
            Component::Normal(name) => name.to_str(),
            _ => None,
        })
        .collect();
    let names = names.filter(|names| !names.is_empty())?;
    let kept = super::paths::components(names.iter().map(|name| name.as_bytes()));
    (kept == names).then_some(names)
}

fn geometry(total: u64, piece_len: u32) -> Result<Geometry, CreateError> {
    let pieces = total.div_ceil(piece_len.into());
    let geometry = Geometry::new(total, piece_len);
    let geometry = geometry.filter(|geometry| geometry.piece_count() <= super::MAX_PIECES);
    geometry.ok_or(CreateError::Limit(Error::TooManyPieces(pieces)))
}

/// Ours: one block; less would only cost hashes.
const MIN_PIECE_LEN: u32 = BLOCK_LEN;
/// Ours: the longest piece that is chosen by itself; nothing is shared before a piece is whole.
const MAX_AUTOMATIC: u32 = 16 * 1024 * 1024;
/// Ours: see [`piece_len_for`].
const MAX_AUTOMATIC_PIECES: u64 = 2048;

#[cfg(test)]
mod tests {
    use super::*;

    const KIB: u64 = 1024;
    const MIB: u64 = 1024 * KIB;
    const GIB: u64 = 1024 * MIB;

    #[test]
    fn piece_lengths_grow_with_the_content() {
        for (total, piece_len) in [
            (0, 16 * KIB),
            (1, 16 * KIB),
            (32 * MIB, 16 * KIB),
            (32 * MIB + 1, 32 * KIB),
            (200 * MIB, 128 * KIB),
            (GIB, 512 * KIB),
            (32 * GIB, 16 * MIB),
            (u64::MAX, 16 * MIB),
        ] {
            assert_eq!(u64::from(piece_len_for(total)), piece_len, "{total}");
        }
    }

    #[test]
    fn a_directory_round_trips() {
        let file = |path: &str, len| (PathBuf::from(path), len);
        let files = [
            file("b/x.txt", 3),
            file("b.txt", 20_000),
            file("b/empty", 0),
            file("é", 1),
        ];
        let builder = TorrentBuilder::directory("top", files).unwrap();
        let order: Vec<_> = builder.files().iter().map(|(path, _)| path).collect();
        assert_eq!(
            order,
            ["b/empty", "b/x.txt", "b.txt", "é"].map(Path::new).to_vec()
        );
        let mut hasher = PieceHasher::new(builder.geometry().standard_piece_len());
        let content: Vec<u8> = (0..20_004u32).map(|n| n as u8).collect();
        content.chunks(7).for_each(|bytes| hasher.update(bytes));
        let nodes = vec![("node.example".to_owned(), 6881), ("::1".to_owned(), 1)];
        let metainfo = builder
            .private(true)
            .comment(Some("a comment".into()))
            .created_by(Some("test".into()))
            .creation_date(Some(1_359_599_503))
            .nodes(nodes.clone())
            .build(&hasher.finish())
            .unwrap();

        let bytes = metainfo.to_torrent();
        let scan = crate::bencode::scan(&bytes, crate::bencode::Limits::FILE).unwrap();
        assert!(scan.canonical);
        let read = Metainfo::from_torrent(&bytes).unwrap();
        assert_eq!(read, metainfo);
        let magnet = read.magnet();
        assert_eq!(
            (magnet.name.as_deref(), magnet.length),
            (Some("top"), Some(20_004))
        );
        let paths: Vec<_> = read.files().iter().map(|file| file.path()).collect();
        let expected = ["top/b/empty", "top/b/x.txt", "top/b.txt", "top/é"];
        assert_eq!(paths, expected.map(Path::new).to_vec());
        assert!(read.is_private());
        assert_eq!(
            (read.nodes(), read.comment()),
            (&nodes[..], Some("a comment"))
        );
        for piece in read.geometry().pieces() {
            let start = piece.as_usize() * 16_384;
            let end = content.len().min(start + 16_384);
            let hash: [u8; 20] = Sha1::digest(&content[start..end]).into();
            assert_eq!(read.piece_hash(piece), hash);
        }
    }

    #[test]
    fn one_file_round_trips() {
        let builder = TorrentBuilder::file("one.bin", 65_537).unwrap();
        let builder = builder.piece_len(65_536).unwrap();
        assert_eq!(builder.geometry().piece_count(), 2);
        let metainfo = builder.build(&[[1; 20], [2; 20]]).unwrap();
        assert_eq!(metainfo.files()[0].path(), Path::new("one.bin"));
        assert_eq!(metainfo.piece_hash(crate::metainfo::PieceIndex(1)), [2; 20]);
        assert_eq!(Metainfo::from_torrent(&metainfo.to_torrent()), Ok(metainfo));
    }

    #[test]
    fn what_would_not_round_trip_is_refused() {
        let dir = |paths: &[&str]| {
            let files = paths.iter().map(|path| (PathBuf::from(path), 1));
            TorrentBuilder::directory("top", files)
        };
        for bad in ["a\\b", "../a", "/a", "", "a\nb", &"x".repeat(256)] {
            let refused = dir(&["ok", bad]).unwrap_err();
            assert_eq!(refused, CreateError::Name(bad.into()));
        }
        assert!(TorrentBuilder::file("a/b", 1).is_err());
        assert!(TorrentBuilder::file("..", 1).is_err());
        let twins = dir(&["README", "readme"]).unwrap().build(&[[0; 20]]);
        assert_eq!(twins, Err(CreateError::Collision("readme".into())));
        assert_eq!(dir(&[]).unwrap_err(), CreateError::Empty);

        let builder = dir(&["a"]).unwrap();
        let bad_len = builder.clone().piece_len(40_000).unwrap_err();
        assert_eq!(bad_len, CreateError::PieceLength(40_000));
        assert_eq!(
            builder.build(&[]),
            Err(CreateError::Hashes {
                expected: 1,
                found: 0
            })
        );
        let huge = TorrentBuilder::file("huge", 1 << 50).unwrap_err();
        assert!(matches!(huge, CreateError::Limit(Error::TooManyPieces(_))));
    }
}
