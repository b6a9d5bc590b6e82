//! Reads what lies on disk to share or verify it: the files below a path, and the SHA-1 of every
//! piece, on a few threads and through small buffers.

use std::{
    fs::{self, File},
    io::{self, Read, Seek, SeekFrom},
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, AtomicU32, Ordering},
    thread,
};

use mainswarm::metainfo::{Geometry, PieceIndex};
use sha1::{Digest, Sha1};

use super::{
    exit::{Exit, Failure},
    ui::Ui,
};

/// One file of a torrent's byte stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Span {
    /// Where it lies; `None` for padding, which is zeros.
    pub path: Option<PathBuf>,
    pub len: u64,
}

/// A file found by [`walk`]: its path below the root, empty for the root itself, and its length.
pub(super) type Found = (PathBuf, u64);

/// The regular files at or below `root`, sorted by path. Links and devices are left out with a
/// warning, `exclude` (the file being written) silently.
pub(super) fn walk(ui: &Ui, root: &Path, exclude: Option<&Path>) -> Result<Vec<Found>, Failure> {
    let unreadable = |path: &Path, error: io::Error| Failure::unreadable(path, &error);
    let metadata = fs::metadata(root).map_err(|error| unreadable(root, error))?;
    if metadata.is_file() {
        return Ok(vec![(PathBuf::new(), metadata.len())]);
    }
    if !metadata.is_dir() {
        let root = root.display();
        let text = format!("{root} is neither a file nor a directory; only those can be shared");
        return Err(Failure::new(Exit::Usage, text));
    }
    let exclude = exclude.and_then(|path| fs::canonicalize(path).ok());
    let mut found = Vec::new();
    let mut directories = vec![PathBuf::new()];
    while let Some(directory) = directories.pop() {
        let above = root.join(&directory);
        let entries = fs::read_dir(&above).map_err(|error| unreadable(&above, error))?;
        for entry in entries {
            let entry = entry.map_err(|error| unreadable(&above, error))?;
            let path = entry.path();
            let below = directory.join(entry.file_name());
            let metadata = entry.metadata().map_err(|error| unreadable(&path, error))?;
            if metadata.is_dir() {
                directories.push(below);
            } else if metadata.is_symlink() {
                ui.warn(&format!("left out {}: a symbolic link", path.display()));
            } else if !metadata.is_file() {
                ui.warn(&format!("left out {}: not a regular file", path.display()));
            } else if exclude.is_none() || fs::canonicalize(&path).ok() != exclude {
                // Refuses now what could not be hashed in an hour.
                File::open(&path).map_err(|error| unreadable(&path, error))?;
                found.push((below, metadata.len()));
            }
        }
    }
    if found.is_empty() {
        let root = root.display();
        let text = format!("{root} holds no files; put something in it first");
        return Err(Failure::new(Exit::Usage, text));
    }
    found.sort_unstable();
    Ok(found)
}

/// Why a piece could not be hashed.
#[derive(Debug)]
pub(super) struct ReadError {
    /// The file, as an index of the spans.
    pub file: usize,
    pub error: io::Error,
}

/// A piece's SHA-1, or why there is none.
pub(super) type PieceResult = Result<[u8; 20], ReadError>;

/// Hashes every piece of the byte stream that `spans` make up. `each` is called from several
/// threads, in no order, with the piece and its hash; `read` after every few bytes with their
/// number. Setting `stop` ends the work early.
pub(super) fn hash_pieces(
    spans: &[Span],
    geometry: Geometry,
    stop: &AtomicBool,
    read: impl Fn(u64) + Sync,
    each: impl Fn(PieceIndex, PieceResult) + Sync,
) {
    let mut offset = 0;
    let starts: Vec<u64> = spans
        .iter()
        .map(|span| {
            let start = offset;
            offset += span.len;
            start
        })
        .collect();
    let next = AtomicU32::new(0);
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let threads = cores.min(MAX_THREADS).min(geometry.piece_count() as usize);
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let mut reader = Reader {
                    spans,
                    starts: &starts,
                    buffer: vec![0; READ_LEN],
                    open: None,
                };
                while !stop.load(Ordering::Relaxed) {
                    let piece = PieceIndex(next.fetch_add(1, Ordering::Relaxed));
                    if piece.0 >= geometry.piece_count() {
                        break;
                    }
                    let len = u64::from(geometry.piece_len(piece));
                    let hash = reader.hash(geometry.piece_offset(piece), len, stop, &read);
                    if !stop.load(Ordering::Relaxed) {
                        each(piece, hash);
                    }
                }
            });
        }
    });
}

/// Beyond this many the disk is what limits.
const MAX_THREADS: usize = 8;
/// Bytes of one read.
const READ_LEN: usize = 256 << 10;

/// One thread's view of the byte stream.
struct Reader<'a> {
    spans: &'a [Span],
    starts: &'a [u64],
    buffer: Vec<u8>,
    /// The file read last, by index: pieces of a large file follow each other.
    open: Option<(usize, File)>,
}

impl Reader<'_> {
    fn hash(&mut self, start: u64, len: u64, stop: &AtomicBool, read: impl Fn(u64)) -> PieceResult {
        let mut sha1 = Sha1::new();
        let mut at = start;
        let end = start + len;
        let mut index = self
            .starts
            .partition_point(|start| *start <= at)
            .saturating_sub(1);
        while at < end && !stop.load(Ordering::Relaxed) {
            let (Some(span), Some(&span_start)) = (self.spans.get(index), self.starts.get(index))
            else {
                break;
            };
            let within = at - span_start;
            let part = (end - at).min(span.len.saturating_sub(within));
            if part == 0 {
                index += 1;
                continue;
            }
            let part = part.min(READ_LEN as u64) as usize;
            self.fill(index, within, part)
                .map_err(|error| ReadError { file: index, error })?;
            sha1.update(&self.buffer[..part]);
            at += part as u64;
            read(part as u64);
        }
        Ok(sha1.finalize().into())
    }

    /// Reads `len` bytes of file `index` from `offset` into the buffer.
    fn fill(&mut self, index: usize, offset: u64, len: usize) -> io::Result<()> {
        let buffer = &mut self.buffer[..len];
        let Some(path) = &self.spans[index].path else {
            buffer.fill(0);
            return Ok(());
        };
        let file = match &mut self.open {
            Some((open, file)) if *open == index => file,
            slot => {
                // A pipe in the place of a file would block for ever.
                if !fs::metadata(path)?.is_file() {
                    return Err(io::Error::other("not a regular file"));
                }
                &mut slot.insert((index, File::open(path)?)).1
            }
        };
        file.seek(SeekFrom::Start(offset))?;
        file.read_exact(buffer)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    fn hashes(spans: &[Span], piece_len: u32) -> Vec<Option<[u8; 20]>> {
        let total = spans.iter().map(|span| span.len).sum();
        let geometry = Geometry::new(total, piece_len).unwrap();
        let out = Mutex::new(vec![None; geometry.piece_count() as usize]);
        let stop = AtomicBool::new(false);
        hash_pieces(
            spans,
            geometry,
            &stop,
            |_| {},
            |piece, hash| {
                out.lock().unwrap()[piece.as_usize()] = hash.ok();
            },
        );
        out.into_inner().unwrap()
    }

    #[test]
    fn pieces_span_files_empty_files_and_padding() {
        let dir = tempfile::tempdir().unwrap();
        let stream: Vec<u8> = (0..300_000_u32).map(|i| (i % 251) as u8).collect();
        let file = |name: &str, data: &[u8]| {
            let path = dir.path().join(name);
            fs::write(&path, data).unwrap();
            Span {
                path: Some(path),
                len: data.len() as u64,
            }
        };
        let spans = [
            file("a", &stream[..10]),
            file("empty", b""),
            file("b", &stream[10..280_000]),
            Span {
                path: None,
                len: 5_000,
            },
            file("c", &stream[280_000..]),
        ];
        let mut whole = stream[..280_000].to_vec();
        whole.extend([0; 5_000]);
        whole.extend(&stream[280_000..]);
        let expected: Vec<_> = whole
            .chunks(16_384)
            .map(|piece| Some(<[u8; 20]>::from(Sha1::digest(piece))))
            .collect();
        assert_eq!(hashes(&spans, 16_384), expected);

        // A file that became shorter costs the pieces that need its end, and no others.
        fs::write(dir.path().join("c"), &stream[280_000..290_000]).unwrap();
        let broken = hashes(&spans, 16_384);
        let lost = broken.iter().filter(|hash| hash.is_none()).count();
        assert_eq!(lost, 1);
        assert_eq!(
            broken.iter().position(Option::is_none),
            Some(expected.len() - 1)
        );
    }
}
