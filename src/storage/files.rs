//! Positioned reads and vectored positioned writes on a torrent's files.
//!
//! Files are opened when first needed, and only so many are kept open. A file is made at its full
//! length with its first write, sparse: blocks arrive in any order, and a hole costs nothing.
//! Bytes of files that the user does not want, but that share a piece with wanted ones, live in
//! one part file, each at its offset in the torrent's byte stream. Padding is never on disk.
//! Positioned calls, not memory maps: a truncated or failing file is an error, not a signal.

#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "the files, shared by the threads of the pool"
)]

mod beneath;

use std::{
    collections::BTreeSet,
    fs::{File, Metadata},
    io::{self, IoSlice},
    num::NonZeroUsize,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use lru::LruCache;

use self::beneath::Beneath;
use super::{
    error::{Operation, StorageError},
    layout::{Layout, Span},
};

/// Ours: descriptors one torrent may hold, so that hundreds of torrents stay below common limits.
const OPEN_FILES: NonZeroUsize = NonZeroUsize::new(40).expect("40 is not 0");
/// The most slices one call may take on every Unix in use (`IOV_MAX`).
const MAX_SLICES: usize = 1024;

/// Where a span's bytes are: a file by index, or [`PART`].
pub(super) type Slot = u32;
/// The part file's slot. No torrent has so many files.
pub(super) const PART: Slot = u32::MAX;

/// What a file is opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Access {
    Read,
    Write,
}

/// What tells that a file was changed: its length and when it was last written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    /// Length in bytes.
    pub(super) len: u64,
    /// When it last changed, in nanoseconds since 1970. On Unix the inode's change time, which no
    /// program can set back as it can the modification time.
    pub(super) changed: i64,
}

/// A file that exists, and which of its bytes are not holes.
#[derive(Debug)]
pub(super) struct Presence {
    pub(super) stamp: Stamp,
    data: Vec<(u64, u64)>,
}

/// The files of one torrent.
#[derive(Debug)]
pub(super) struct Files {
    layout: Arc<Layout>,
    root: Beneath,
    part_dir: Option<Beneath>,
    part_name: PathBuf,
    /// Whether each file's bytes are in the part file.
    aside: Box<[bool]>,
    read_only: bool,
    open: Mutex<LruCache<Slot, Arc<OpenFile>>>,
    /// What was written since the files were opened.
    touched: Mutex<BTreeSet<Slot>>,
    #[cfg(test)]
    pub(super) failing: Mutex<Option<io::ErrorKind>>,
}

#[derive(Debug)]
struct OpenFile {
    file: File,
    path: PathBuf,
    access: Access,
    /// Systems let one thread at a time write to a file, and have the others spin for a core that
    /// could hash. Waiting here, they sleep.
    writing: Mutex<()>,
}

impl Files {
    /// Opens the output directory, making it unless `read_only`. The part file `part_name` is in
    /// `part_dir`, or in the output directory. Unwanted files that exist are used in place.
    pub(super) fn open(
        layout: Arc<Layout>,
        output_dir: &Path,
        part_dir: Option<&Path>,
        part_name: PathBuf,
        wanted: Option<&[bool]>,
        read_only: bool,
    ) -> Result<Self, StorageError> {
        let root = Beneath::open(output_dir, !read_only)?;
        let part_dir = part_dir
            .map(|dir| Beneath::open(dir, !read_only))
            .transpose()?;
        let aside = (0..layout.file_count())
            .map(|index| {
                let unwanted = wanted.is_some_and(|all| all.get(index) == Some(&false));
                unwanted && !matches!(root.metadata(layout.path(index as u32)), Ok(Some(_)))
            })
            .collect();
        Ok(Self {
            layout,
            root,
            part_dir,
            part_name,
            aside,
            read_only,
            open: Mutex::new(LruCache::new(OPEN_FILES)),
            touched: Mutex::default(),
            #[cfg(test)]
            failing: Mutex::default(),
        })
    }

    /// Makes a directory and says its canonical name.
    pub(super) fn make_dir(path: &Path) -> Result<PathBuf, StorageError> {
        Ok(Beneath::open(path, true)?.path().to_owned())
    }

    /// The output directory, canonical.
    pub(super) fn root(&self) -> &Path {
        self.root.path()
    }

    /// Where a span's bytes are: slot and offset in it; `None` for padding.
    pub(super) fn place(&self, span: Span) -> Option<(Slot, u64)> {
        if self.layout.is_pad(span.file) {
            None
        } else if self.aside[span.file as usize] {
            Some((PART, span.start))
        } else {
            Some((span.file, span.offset))
        }
    }

    /// Whether any file's bytes are in the part file.
    pub(super) fn uses_part(&self) -> bool {
        self.aside.contains(&true)
    }

    /// Whether a file is to exist in the output directory.
    pub(super) fn in_place(&self, file: u32) -> bool {
        !self.aside[file as usize] && !self.layout.is_pad(file)
    }

    /// The path that a slot stands for.
    pub(super) fn path(&self, slot: Slot) -> PathBuf {
        let (dir, relative) = self.locate(slot);
        dir.path().join(relative)
    }

    /// Makes a file that has no bytes, if it is missing.
    pub(super) fn create_empty(&self, file: u32) -> Result<(), StorageError> {
        let (dir, relative) = self.locate(file);
        if dir.metadata(relative)?.is_none() {
            dir.file(relative, Access::Write)?;
        }
        Ok(())
    }

    /// A file's stamp; `None` if it does not exist.
    pub(super) fn stamp(&self, slot: Slot) -> Result<Option<Stamp>, StorageError> {
        let (dir, relative) = self.locate(slot);
        Ok(dir.metadata(relative)?.as_ref().map(Stamp::of))
    }

    /// A file's stamp and data; `None` if it does not exist.
    pub(super) fn presence(&self, slot: Slot) -> Result<Option<Presence>, StorageError> {
        let Some(stamp) = self.stamp(slot)? else {
            return Ok(None);
        };
        let handle = self.handle(slot, Access::Read)?;
        Ok(Some(Presence {
            stamp,
            data: data_ranges(&handle.file, stamp.len),
        }))
    }

    /// Appends `len` bytes from `start` of the byte stream to `into`.
    pub(super) fn read(
        &self,
        start: u64,
        len: u64,
        into: &mut Vec<u8>,
    ) -> Result<(), StorageError> {
        for span in self.layout.spans(start, len) {
            match self.place(span) {
                Some((slot, offset)) => self.read_slot(slot, offset, span.len, into)?,
                None => into.resize(into.len() + span.len as usize, 0),
            }
        }
        Ok(())
    }

    /// Appends `len` bytes from `offset` of one file to `into`.
    pub(super) fn read_slot(
        &self,
        slot: Slot,
        offset: u64,
        len: u64,
        into: &mut Vec<u8>,
    ) -> Result<(), StorageError> {
        let handle = self.handle(slot, Access::Read)?;
        read_exact_at(&handle.file, offset, len as usize, into)
            .map_err(|source| StorageError::new(Operation::Read, &handle.path, source))
    }

    /// Writes slices that follow each other from `start` of the byte stream, few calls for many
    /// slices. Says which slots were written, in order and without repeats.
    pub(super) fn write<'a>(
        &self,
        start: u64,
        slices: impl Iterator<Item = &'a [u8]>,
        written: &mut Vec<Slot>,
    ) -> Result<(), StorageError> {
        let mut at = start;
        let mut run = Run::default();
        for slice in slices {
            let mut rest = slice;
            for span in self.layout.spans(at, slice.len() as u64) {
                let (bytes, after) = rest.split_at(span.len as usize);
                rest = after;
                let Some(place) = self.place(span) else {
                    continue;
                };
                if !run.continues(place) {
                    self.write_run(&mut run, written)?;
                    run.place = Some(place);
                }
                run.len += span.len;
                run.slices.push(IoSlice::new(bytes));
            }
            at += slice.len() as u64;
        }
        self.write_run(&mut run, written)
    }

    fn write_run(&self, run: &mut Run<'_>, written: &mut Vec<Slot>) -> Result<(), StorageError> {
        let Some((slot, offset)) = run.place.take() else {
            return Ok(());
        };
        run.len = 0;
        let handle = self.handle(slot, Access::Write)?;
        if written.last() != Some(&slot) {
            written.push(slot);
        }
        let fail = |source| StorageError::new(Operation::Write, &handle.path, source);
        #[cfg(test)]
        if let Some(kind) = *lock(&self.failing) {
            return Err(fail(kind.into()));
        }
        let writing = lock(&handle.writing);
        write_all_at(&handle.file, offset, &mut run.slices).map_err(fail)?;
        drop(writing);
        run.slices.clear();
        if is_deleted(&handle.file.metadata().map_err(fail)?) {
            // An open file outlives its name: what was written to it is gone with the process.
            lock(&self.open).pop(&slot);
            return Err(fail(io::ErrorKind::NotFound.into()));
        }
        Ok(())
    }

    /// The stamp of an open file after a write.
    pub(super) fn stamp_written(&self, slot: Slot) -> Result<Stamp, StorageError> {
        let handle = self.handle(slot, Access::Write)?;
        let metadata = handle.file.metadata();
        metadata
            .map(|metadata| Stamp::of(&metadata))
            .map_err(|source| StorageError::new(Operation::Read, &handle.path, source))
    }

    /// What was written since the files were opened.
    pub(super) fn touched(&self) -> Vec<Slot> {
        lock(&self.touched).iter().copied().collect()
    }

    /// Has the disk keep what was written to a file.
    pub(super) fn sync(&self, slot: Slot) -> Result<(), StorageError> {
        let handle = self.handle(slot, Access::Read)?;
        let synced = handle.file.sync_data();
        synced.map_err(|source| StorageError::new(Operation::Sync, &handle.path, source))
    }

    /// Removes the part file.
    pub(super) fn remove_part(&self) {
        lock(&self.open).pop(&PART);
        let (dir, relative) = self.locate(PART);
        dir.remove(relative);
    }

    fn locate(&self, slot: Slot) -> (&Beneath, &Path) {
        if slot == PART {
            (
                self.part_dir.as_ref().unwrap_or(&self.root),
                &self.part_name,
            )
        } else {
            (&self.root, self.layout.path(slot))
        }
    }

    /// An open file, from the cache or opened for it. No lock is held while it is opened: if two
    /// threads open the same file, the later one stays in the cache.
    fn handle(&self, slot: Slot, access: Access) -> Result<Arc<OpenFile>, StorageError> {
        if let Some(handle) = lock(&self.open).get(&slot)
            && (access == Access::Read || handle.access == Access::Write)
        {
            return Ok(Arc::clone(handle));
        }
        let (dir, relative) = self.locate(slot);
        if access == Access::Write && self.read_only {
            let source = io::Error::from(io::ErrorKind::ReadOnlyFilesystem);
            return Err(StorageError::new(Operation::Write, self.path(slot), source));
        }
        let file = match dir.file(relative, access) {
            Err(error) if is_out_of_descriptors(&error.source) => {
                lock(&self.open).clear();
                dir.file(relative, access)?
            }
            file => file?,
        };
        let path = dir.path().join(relative);
        if access == Access::Write {
            lock(&self.touched).insert(slot);
            self.set_full_len(slot, &file)
                .map_err(|source| StorageError::new(Operation::Write, &path, source))?;
        }
        let handle = Arc::new(OpenFile {
            file,
            path,
            access,
            writing: Mutex::default(),
        });
        lock(&self.open).put(slot, Arc::clone(&handle));
        Ok(handle)
    }

    /// Gives a file that is about to be written its length: a shorter one gets a hole, a longer
    /// one had other content.
    fn set_full_len(&self, slot: Slot, file: &File) -> io::Result<()> {
        if slot == PART {
            return Ok(());
        }
        let len = self.layout.file_len(slot);
        if file.metadata()?.len() != len {
            file.set_len(len)?;
        }
        Ok(())
    }
}

/// Slices for one stretch of one file.
#[derive(Default)]
struct Run<'a> {
    place: Option<(Slot, u64)>,
    len: u64,
    slices: Vec<IoSlice<'a>>,
}

impl Run<'_> {
    fn continues(&self, (slot, offset): (Slot, u64)) -> bool {
        self.place
            .is_some_and(|(last, start)| last == slot && start + self.len == offset)
    }
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        Self {
            len: metadata.len(),
            changed: change_time(metadata).unwrap_or(0),
        }
    }

    /// Whether the file system keeps whole seconds only (or, once in a thousand million times,
    /// looks as if it did): then a change within the second does not show.
    pub(super) fn is_coarse(&self) -> bool {
        self.changed % 1_000_000_000 == 0
    }
}

/// Whether no name leads to the file any more.
#[cfg(unix)]
fn is_deleted(metadata: &Metadata) -> bool {
    std::os::unix::fs::MetadataExt::nlink(metadata) == 0
}

#[cfg(not(unix))]
fn is_deleted(_metadata: &Metadata) -> bool {
    false
}

/// Times out of the range of 64 bits are as good as none: they equal themselves.
#[cfg(unix)]
fn change_time(metadata: &Metadata) -> Option<i64> {
    use std::os::unix::fs::MetadataExt;

    let seconds = metadata.ctime().checked_mul(1_000_000_000)?;
    seconds.checked_add(metadata.ctime_nsec())
}

#[cfg(not(unix))]
fn change_time(metadata: &Metadata) -> Option<i64> {
    let age = metadata
        .modified()
        .ok()?
        .duration_since(std::time::UNIX_EPOCH)
        .ok()?;
    i64::try_from(age.as_nanos()).ok()
}

impl Presence {
    /// Whether the file reaches `end`.
    pub(super) fn reaches(&self, end: u64) -> bool {
        self.stamp.len >= end
    }

    /// Whether a range has bytes that are not in a hole.
    pub(super) fn has_data(&self, offset: u64, len: u64) -> bool {
        let next = self.data.partition_point(|(_, end)| *end <= offset);
        self.data
            .get(next)
            .is_some_and(|(start, _)| *start < offset + len)
    }
}

/// Locks, also after a panic elsewhere: what these locks guard is whole between any two statements.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(unix)]
fn is_out_of_descriptors(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let code = error.raw_os_error();
    code == Some(Errno::MFILE.raw_os_error()) || code == Some(Errno::NFILE.raw_os_error())
}

#[cfg(not(unix))]
fn is_out_of_descriptors(_error: &io::Error) -> bool {
    false
}

#[cfg(unix)]
fn read_exact_at(file: &File, mut offset: u64, len: usize, into: &mut Vec<u8>) -> io::Result<()> {
    use rustix::{buffer::spare_capacity, io};
    let end = into.len() + len;
    into.reserve(len);
    while into.len() < end {
        // Reads into the spare capacity, which may be more than asked for.
        match io::pread(file, spare_capacity(into), offset) {
            Ok(0) => return Err(std::io::ErrorKind::UnexpectedEof.into()),
            Ok(read) => offset += read as u64,
            Err(io::Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    into.truncate(end);
    Ok(())
}

#[cfg(unix)]
fn write_all_at(file: &File, mut offset: u64, slices: &mut [IoSlice<'_>]) -> io::Result<()> {
    use rustix::io;
    let mut slices = slices;
    while !slices.is_empty() {
        let count = slices.len().min(MAX_SLICES);
        match io::pwritev(file, &slices[..count], offset) {
            Ok(0) => return Err(std::io::ErrorKind::WriteZero.into()),
            Ok(written) => {
                offset += written as u64;
                IoSlice::advance_slices(&mut slices, written);
            }
            Err(io::Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(())
}

#[cfg(windows)]
fn read_exact_at(file: &File, mut offset: u64, len: usize, into: &mut Vec<u8>) -> io::Result<()> {
    use std::os::windows::fs::FileExt;
    let mut at = into.len();
    into.resize(at + len, 0);
    while at < into.len() {
        match file.seek_read(&mut into[at..], offset)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            read => {
                at += read;
                offset += read as u64;
            }
        }
    }
    Ok(())
}

#[cfg(windows)]
fn write_all_at(file: &File, mut offset: u64, slices: &mut [IoSlice<'_>]) -> io::Result<()> {
    use std::os::windows::fs::FileExt;
    for slice in slices {
        let mut rest: &[u8] = slice;
        while !rest.is_empty() {
            match file.seek_write(rest, offset)? {
                0 => return Err(io::ErrorKind::WriteZero.into()),
                written => {
                    rest = &rest[written..];
                    offset += written as u64;
                }
            }
        }
    }
    Ok(())
}

/// Ours: a file in more parts than this is taken as whole from there on.
const MAX_RANGES: usize = 1 << 16;

/// The ranges of a file that are not holes, in order. All of it where the system cannot tell.
#[cfg(any(target_os = "linux", target_os = "freebsd", target_vendor = "apple"))]
fn data_ranges(file: &File, len: u64) -> Vec<(u64, u64)> {
    use rustix::{
        fs::{SeekFrom, seek},
        io::Errno,
    };
    let mut ranges = Vec::new();
    let mut at = 0;
    while at < len {
        let start = match seek(file, SeekFrom::Data(at)) {
            Ok(start) => start,
            Err(Errno::NXIO) => break,
            Err(_) => at,
        };
        let end = match seek(file, SeekFrom::Hole(start)) {
            Ok(end) if end > start && ranges.len() < MAX_RANGES => end.min(len),
            _ => len,
        };
        ranges.push((start, end));
        at = end;
    }
    ranges
}

#[cfg(not(any(target_os = "linux", target_os = "freebsd", target_vendor = "apple")))]
fn data_ranges(_file: &File, len: u64) -> Vec<(u64, u64)> {
    vec![(0, len)]
}
