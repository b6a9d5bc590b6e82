//! Reading and checking `.torrent` files and `info` dictionaries.
//!
//! Each dictionary is walked once, whatever its order. Lengths are added with checks and counted
//! against the hashes before anything is allocated per piece.

use std::ops::Range;

use bytes::Bytes;
use sha1::{Digest, Sha1};

use super::{
    Error, FileEntry, FileKind, Geometry, MAX_PIECE_LEN, MAX_PIECES, Metainfo,
    paths::{self, UniquePaths},
};
use crate::{
    bencode::{self, Dict, Limits, List, Value},
    ids::InfoHash,
};

/// Reads a `.torrent` file. Bytes after the dictionary are ignored, as everybody does: editors and
/// web servers add line ends.
pub(super) fn torrent(bytes: &[u8]) -> Result<Metainfo, Error> {
    let scan = bencode::scan(bytes, Limits::FILE)?;
    let dict = scan.value.as_dict().ok_or(Error::Field("dictionary"))?;
    let mut info = None;
    let (mut comment, mut comment_utf8) = (None, None);
    let (mut created_by, mut creation_date) = (None, None);
    let mut nodes = Vec::new();
    for (key, value) in dict {
        match key {
            // Of two, the first: one dictionary for both hash and content.
            b"info" => info = info.or(Some(value)),
            b"comment" => comment = value.as_bytes(),
            b"comment.utf-8" => comment_utf8 = value.as_bytes(),
            b"created by" => created_by = value.as_bytes(),
            b"creation date" => creation_date = value.as_int(),
            b"nodes" => nodes = value.as_list().map(read_nodes).unwrap_or_default(),
            _ => {}
        }
    }
    let info = info.ok_or(Error::Field("info"))?;
    let mut metainfo = read_info(info, Bytes::copy_from_slice(info.raw()))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    metainfo.comment = comment_utf8.or(comment).map(text);
    metainfo.created_by = created_by.map(text);
    metainfo.creation_date = creation_date;
    metainfo.nodes = nodes;
    Ok(metainfo)
}

/// Reads an `info` dictionary alone.
pub(super) fn info(info: Bytes) -> Result<Metainfo, Error> {
    read_info(bencode::scan_exact(&info, Limits::FILE)?, info.clone())
}

/// The keys of an `info` dictionary that we read, as they stand there.
#[derive(Default)]
struct Info<'a> {
    file_tree: bool,
    files: Option<Value<'a>>,
    length: Option<Value<'a>>,
    meta_version: Option<i64>,
    name: Option<Value<'a>>,
    name_utf8: Option<&'a str>,
    piece_len: Option<Value<'a>>,
    pieces: Option<Value<'a>>,
    private: bool,
}

impl<'a> Info<'a> {
    fn new(dict: Dict<'a>) -> Self {
        let mut info = Self::default();
        for (key, value) in dict {
            match key {
                b"file tree" => info.file_tree = true,
                b"files" => info.files = Some(value),
                b"length" => info.length = Some(value),
                b"meta version" => info.meta_version = value.as_int(),
                b"name" => info.name = Some(value),
                b"name.utf-8" => info.name_utf8 = value.as_str(),
                b"piece length" => info.piece_len = Some(value),
                b"pieces" => info.pieces = Some(value),
                b"private" => info.private = value.as_int().is_some_and(|private| private != 0),
                _ => {}
            }
        }
        info
    }

    /// The name as it stands there: in UTF-8 where the maker took the trouble.
    fn raw_name(&self) -> Result<&'a [u8], Error> {
        let utf8 = self.name_utf8.filter(|name| !name.is_empty());
        let name = utf8.map(str::as_bytes);
        let name = name.or_else(|| self.name?.as_bytes());
        name.ok_or(Error::Field("name"))
    }
}

fn read_info(value: Value<'_>, bytes: Bytes) -> Result<Metainfo, Error> {
    let info = Info::new(value.as_dict().ok_or(Error::Field("info"))?);
    if info.pieces.is_none() && (info.file_tree || info.meta_version == Some(2)) {
        return Err(Error::OnlyV2);
    }
    let info_hash = InfoHash::new(Sha1::digest(value.raw()).into());
    let raw_name = info.raw_name()?;
    let name = paths::component(raw_name);
    let piece_len = info.piece_len.and_then(|value| value.as_int());
    let piece_len = piece_len.ok_or(Error::Field("piece length"))?;
    let piece_len = u32::try_from(piece_len)
        .ok()
        .filter(|len| (1..=MAX_PIECE_LEN).contains(len))
        .ok_or(Error::PieceLength(piece_len))?;
    let hashes = info.pieces.and_then(|value| value.as_bytes());
    let hashes = hashes.ok_or(Error::Field("pieces"))?;

    let (name, files) = if let Some(files) = info.files {
        // Directories without a name exist; their torrent still has one.
        let name = name.unwrap_or_else(|| info_hash.to_string());
        let files = files.as_list().ok_or(Error::Field("files"))?;
        let files = read_files(files, &name)?;
        (name, files)
    } else {
        let name = name.ok_or(Error::Field("name"))?;
        let file = FileEntry {
            path: name.clone().into(),
            offset: 0,
            len: read_length(info.length)?,
            kind: FileKind::Regular,
        };
        (name, vec![file])
    };
    let total = files.last().map_or(0, |last| last.offset + last.len);
    let geometry = check_pieces(total, piece_len, hashes.len() as u64)?;
    Ok(Metainfo {
        info_hash,
        hashes: range_in(value.raw(), hashes),
        info: bytes,
        name,
        files,
        geometry,
        private: info.private,
        nodes: Vec::new(),
        comment: None,
        created_by: None,
        creation_date: None,
    })
}

fn check_pieces(total: u64, piece_len: u32, hash_bytes: u64) -> Result<Geometry, Error> {
    if total > MAX_TOTAL {
        return Err(Error::TooLong);
    }
    if total == 0 {
        return Err(Error::Empty);
    }
    let pieces = total.div_ceil(piece_len.into());
    if pieces > MAX_PIECES.into() {
        return Err(Error::TooManyPieces(pieces));
    }
    if hash_bytes != pieces * 20 {
        return Err(Error::HashCount {
            expected: pieces * 20,
            found: hash_bytes,
        });
    }
    Geometry::new(total, piece_len).ok_or(Error::TooManyPieces(pieces))
}

fn read_length(value: Option<Value<'_>>) -> Result<u64, Error> {
    let len = value.and_then(|value| value.as_int());
    let len = len.and_then(|len| u64::try_from(len).ok());
    len.ok_or(Error::Field("length"))
}

/// One entry of `files`, its path made safe.
struct RawFile {
    components: Vec<String>,
    len: u64,
    kind: FileKind,
}

fn read_files(list: List<'_>, name: &str) -> Result<Vec<FileEntry>, Error> {
    let files: Vec<RawFile> = list.map(read_file).collect::<Result<_, _>>()?;
    let mut paths = UniquePaths::new(name.to_owned());
    let directories: Vec<_> = files
        .iter()
        .map(|file| (file.kind != FileKind::Pad).then(|| paths.add_directories(&file.components)))
        .collect();
    let mut offset = 0u64;
    let entries = files.into_iter().zip(directories).map(|(file, directory)| {
        let entry = FileEntry {
            path: match directory {
                Some(directory) => paths.add_file(directory, file.components),
                // Padding is never written, and all of it may have one name.
                None => paths.unwritten(&file.components),
            },
            offset,
            len: file.len,
            kind: file.kind,
        };
        offset = offset.checked_add(file.len).ok_or(Error::TooLong)?;
        Ok(entry)
    });
    entries.collect()
}

fn read_file(value: Value<'_>) -> Result<RawFile, Error> {
    let dict = value.as_dict().ok_or(Error::Field("files"))?;
    let (mut attr, mut length, mut link) = (&b""[..], None, None);
    let (mut path, mut path_utf8) = (None, None);
    for (key, value) in dict {
        match key {
            b"attr" => attr = value.as_bytes().unwrap_or_default(),
            b"length" => length = Some(value),
            b"path" => path = value.as_list(),
            b"path.utf-8" => path_utf8 = value.as_list(),
            b"symlink path" => link = value.as_list(),
            _ => {}
        }
    }
    let is_text = |list: &List<'_>| { *list }.all(|name| name.as_str().is_some());
    let is_path = |list: &List<'_>| { *list }.all(|name| name.as_bytes().is_some());
    let path = path_utf8
        .filter(is_text)
        .or(path)
        .filter(is_path)
        .map(|list| list.filter_map(|name| name.as_bytes()));
    if attr.contains(&b'l') {
        link.filter(is_path).ok_or(Error::Field("symlink path"))?;
        return Ok(RawFile {
            components: paths::components(path.ok_or(Error::Field("path"))?),
            // BEP 47: links have no content, whatever they claim.
            len: 0,
            kind: FileKind::Symlink,
        });
    }
    let len = read_length(length)?;
    let (kind, components) = match path {
        Some(path) if attr.contains(&b'p') => (FileKind::Pad, paths::components(path)),
        // BEP 47: padding needs no name.
        None if attr.contains(&b'p') => (FileKind::Pad, vec![".pad".into(), len.to_string()]),
        Some(path) => (FileKind::Regular, paths::components(path)),
        None => return Err(Error::Field("path")),
    };
    Ok(RawFile {
        components,
        len,
        kind,
    })
}

/// BEP 5 `nodes`: a list of `[host, port]`. What is malformed is left out.
fn read_nodes(list: List<'_>) -> Vec<(String, u16)> {
    let nodes = list.filter_map(|node| {
        let mut pair = node.as_list()?;
        let host = pair.next()?.as_str()?;
        let port = u16::try_from(pair.next()?.as_int()?).ok()?;
        let sound = host.bytes().all(|byte| byte.is_ascii_graphic());
        let sound = sound && !host.is_empty() && host.len() <= MAX_HOST && port != 0;
        sound.then(|| (host.to_owned(), port))
    });
    nodes.take(MAX_NODES).collect()
}

/// Where `part`, a slice of `whole`, starts and ends in it.
fn range_in(whole: &[u8], part: &[u8]) -> Range<usize> {
    let start = part.as_ptr().addr() - whole.as_ptr().addr();
    start..start + part.len()
}

/// Ours: 64 PiB; far below where sums of offsets could overflow.
const MAX_TOTAL: u64 = 1 << 56;
/// Ours: bootstrapping needs a handful.
const MAX_NODES: usize = 64;
/// The longest name that DNS knows.
const MAX_HOST: usize = 253;
