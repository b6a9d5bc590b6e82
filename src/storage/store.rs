//! One open torrent: its files, and what is known of them.
//!
//! Every method may be called from several threads at once; the caller keeps the order that
//! matters for one piece. Locks are held for bookkeeping and for a record's append, never while
//! data is read, hashed or written.

#![expect(
    clippy::disallowed_types,
    reason = "a store is shared by the threads of the pool"
)]

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use sha1::{Digest, Sha1};

use super::{
    OpenSpec,
    assembly::{Blocks, VerifyOrder},
    check::CheckPlan,
    error::{Changed, Operation, StorageError},
    files::{Files, PART, Slot, Stamp, lock},
    layout::Layout,
    resume::{self, Identity, Recorded, ResumeFile},
};
use crate::{
    bitfield::Bitfield,
    ids::InfoHash,
    metainfo::{Block, PieceIndex},
};

/// How much is read at a time to be hashed: well inside a core's second-level cache.
pub(super) const CHUNK: usize = 256 * 1024;

/// The hash of each piece.
pub(super) type PieceHash = Box<dyn Fn(PieceIndex) -> [u8; 20] + Send + Sync>;

/// An open torrent's storage.
pub struct Store {
    pub(super) layout: Arc<Layout>,
    pub(super) piece_hash: PieceHash,
    pub(super) files: Files,
    resume: Mutex<Option<ResumeFile>>,
    /// Pieces believed on weak grounds: they are hashed when they are first read.
    unproven: Mutex<Bitfield>,
    trusted: bool,
}

/// What hashing a piece showed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// Whether the hash is the torrent's.
    pub ok: bool,
    /// The SHA-1 of each block in order: after a mismatch, or when asked for.
    pub digests: Vec<[u8; 20]>,
}

/// What [`Store::open`] needs beside a layout, so that tests need no metainfo.
pub(super) struct Place<'a> {
    pub(super) info_hash: InfoHash,
    pub(super) output_dir: &'a Path,
    pub(super) state_dir: Option<&'a Path>,
    pub(super) wanted: Option<&'a [bool]>,
    pub(super) trusted: bool,
    pub(super) boot: Option<[u8; 16]>,
}

impl Store {
    /// Opens the files and reads the state. Then every piece that the plan names is to be checked
    /// and [`Self::opened`] called.
    pub fn open(spec: &OpenSpec) -> Result<(Self, CheckPlan), StorageError> {
        let layout = Layout::of(&spec.metainfo, spec.root.as_deref()).map_err(|error| {
            let source = std::io::Error::new(std::io::ErrorKind::InvalidInput, error);
            StorageError::new(Operation::Open, &spec.output_dir, source)
        })?;
        let metainfo = Arc::clone(&spec.metainfo);
        let place = Place {
            info_hash: metainfo.info_hash(),
            output_dir: &spec.output_dir,
            state_dir: spec.state_dir.as_deref(),
            wanted: spec.wanted.as_deref(),
            trusted: spec.trusted,
            boot: resume::boot_id(),
        };
        Self::open_layout(
            layout,
            Box::new(move |piece| metainfo.piece_hash(piece)),
            &place,
        )
    }

    pub(super) fn open_layout(
        layout: Layout,
        piece_hash: PieceHash,
        place: &Place<'_>,
    ) -> Result<(Self, CheckPlan), StorageError> {
        let layout = Arc::new(layout);
        let resume_dir = place
            .state_dir
            .filter(|_| !place.trusted)
            .and_then(make_resume_dir);
        let part_name = match &resume_dir {
            // No torrent can have a file of this name: it would have to contain its own hash.
            None => format!(".mainswarm-{}.parts", place.info_hash).into(),
            Some(dir) => {
                // The state is named after the canonical directory, which must exist for that.
                let root = Files::make_dir(place.output_dir)?;
                let state = resume::state_path(dir, place.info_hash, &root);
                let name = state.with_extension("parts");
                name.file_name().unwrap_or_default().into()
            }
        };
        let files = Files::open(
            Arc::clone(&layout),
            place.output_dir,
            resume_dir.as_deref(),
            part_name,
            place.wanted,
            place.trusted,
        )?;
        let pieces = layout.geometry().piece_count();
        let store = Self {
            layout,
            piece_hash,
            files,
            resume: Mutex::new(None),
            unproven: Mutex::new(Bitfield::empty(pieces)),
            trusted: place.trusted,
        };
        if place.trusted {
            store.require_all()?;
            return Ok((store, CheckPlan::trusting(pieces)));
        }
        let recorded = resume_dir.and_then(|dir| store.lock_state(&dir, place));
        let plan = CheckPlan::make(&store, recorded)?;
        lock(&store.unproven).clone_from(plan.unproven());
        Ok((store, plan))
    }

    /// The check is done and found `have`: makes the empty files and starts recording.
    pub fn opened(&self, plan: &CheckPlan, have: &Bitfield) -> Result<(), StorageError> {
        if self.trusted {
            return Ok(());
        }
        for file in 0..self.layout.file_count() as u32 {
            if self.layout.file_len(file) == 0 && self.files.in_place(file) {
                self.files.create_empty(file)?;
            }
        }
        // Those from before the hashing, so that a change meanwhile is noticed; later ones only for
        // what the check itself wrote.
        let mut stamps = plan.stamps.clone();
        let empty = (0..self.layout.file_count() as u32)
            .filter(|file| self.layout.file_len(*file) == 0 && self.files.in_place(*file));
        for slot in empty.chain(self.files.touched()) {
            stamps[self.slot_index(slot)] = self.files.stamp(slot)?;
        }
        let mut resume = lock(&self.resume);
        if let Some(state) = resume.as_mut()
            && let Err(error) = state.start(plan.recorded.as_ref(), have.clone(), stamps)
        {
            tracing::warn!(%error, "no resume state: the next start checks everything");
            *resume = None;
        }
        Ok(())
    }

    /// Reads for an upload. The first read of a piece that was believed hashes it.
    pub fn read(&self, piece: PieceIndex, begin: u32, len: u32) -> Result<Bytes, StorageError> {
        let range = Block { piece, begin, len };
        if !self.layout.geometry().contains(range) {
            let source = std::io::Error::from(std::io::ErrorKind::InvalidInput);
            return Err(StorageError::new(
                Operation::Read,
                self.files.root(),
                source,
            ));
        }
        if lock(&self.unproven).get(piece.0) {
            self.prove(piece)?;
        }
        let mut bytes = Vec::with_capacity(len as usize);
        let start = self.layout.geometry().block_offset(range);
        self.files.read(start, u64::from(len), &mut bytes)?;
        Ok(bytes.into())
    }

    /// Hashes a piece and, if it is right, writes what of it is in memory and records it.
    pub fn verify(&self, order: &VerifyOrder) -> Result<Verdict, StorageError> {
        let piece = order.piece;
        let ok = self.hash(piece, &order.blocks)? == (self.piece_hash)(piece);
        let digests = if !ok || order.want_digests {
            self.digests(piece, &order.blocks)?
        } else {
            Vec::new()
        };
        if ok {
            self.write(piece, &order.blocks, Some(piece))?;
            lock(&self.unproven).clear(piece.0);
        }
        Ok(Verdict { ok, digests })
    }

    /// Writes blocks of a piece that is not complete.
    pub fn spill(&self, piece: PieceIndex, blocks: &Blocks) -> Result<(), StorageError> {
        self.write(piece, blocks, None)
    }

    /// A piece's length in bytes.
    pub fn piece_len(&self, piece: PieceIndex) -> u64 {
        u64::from(self.layout.geometry().piece_len(piece))
    }

    /// Flushes what was written, then records the state as clean.
    pub fn close(&self) -> Result<(), StorageError> {
        if self.trusted {
            return Ok(());
        }
        if !self.files.uses_part() {
            self.files.remove_part();
        }
        let mut resume = lock(&self.resume);
        if resume.as_ref().is_some_and(ResumeFile::is_clean) {
            return Ok(());
        }
        let synced = resume.as_ref().is_none_or(ResumeFile::is_synced);
        if synced {
            for slot in self.files.touched() {
                self.sync(slot)?;
            }
        } else {
            let files = 0..self.layout.file_count() as u32;
            for slot in files
                .filter(|file| self.files.in_place(*file))
                .chain([PART])
            {
                self.sync(slot)?;
            }
        }
        let Some(state) = resume.as_mut() else {
            return Ok(());
        };
        let newest = self
            .stamps()?
            .iter()
            .flatten()
            .map(|stamp| stamp.changed)
            .max();
        resume::settle(newest.unwrap_or_default());
        if let Err(error) = state.finish(self.stamps()?) {
            tracing::warn!(%error, "resume state not written: the next start checks files again");
        }
        Ok(())
    }

    /// The place of a slot in lists of stamps: files by index, then the part file.
    pub(super) fn slot_index(&self, slot: Slot) -> usize {
        if slot == PART {
            self.layout.file_count()
        } else {
            slot as usize
        }
    }

    pub(super) fn slot_at(&self, index: u32) -> Slot {
        if index as usize == self.layout.file_count() {
            PART
        } else {
            index
        }
    }

    /// The stamps of all files and last of the part file; `None` for those that do not exist or
    /// whose bytes are kept aside.
    pub(super) fn stamps(&self) -> Result<Vec<Option<Stamp>>, StorageError> {
        let files = 0..self.layout.file_count() as u32;
        files
            .map(|file| match self.files.in_place(file) {
                true => self.files.stamp(file),
                false => Ok(None),
            })
            .chain([self.files.stamp(PART)])
            .collect()
    }

    pub(super) fn hash_from_disk(&self, piece: PieceIndex) -> Result<[u8; 20], StorageError> {
        self.hash(piece, &Blocks::new())
    }

    /// Hashes the blocks that are in memory and, between them, what is on disk.
    fn hash(&self, piece: PieceIndex, blocks: &Blocks) -> Result<[u8; 20], StorageError> {
        let geometry = self.layout.geometry();
        let start = geometry.piece_offset(piece);
        let len = geometry.piece_len(piece);
        let mut hash = Sha1::new();
        let mut scratch = Vec::new();
        let mut at = 0;
        while at < len {
            if let Some(data) = blocks.get(&at) {
                hash.update(data);
                at += data.len() as u32;
                continue;
            }
            let next = blocks.range(at..).next().map_or(len, |(begin, _)| *begin);
            let now = (next - at).min(CHUNK as u32);
            scratch.clear();
            scratch.reserve_exact(now as usize);
            self.files
                .read(start + u64::from(at), u64::from(now), &mut scratch)?;
            hash.update(&scratch);
            at += now;
        }
        Ok(hash.finalize().into())
    }

    fn digests(&self, piece: PieceIndex, blocks: &Blocks) -> Result<Vec<[u8; 20]>, StorageError> {
        let geometry = self.layout.geometry();
        let mut scratch = Vec::new();
        (0..geometry.blocks_in(piece))
            .filter_map(|index| geometry.block(piece, index))
            .map(|block| {
                if let Some(data) = blocks.get(&block.begin) {
                    return Ok(Sha1::digest(data).into());
                }
                scratch.clear();
                let start = geometry.block_offset(block);
                self.files.read(start, u64::from(block.len), &mut scratch)?;
                Ok(Sha1::digest(&scratch).into())
            })
            .collect()
    }

    fn write(
        &self,
        piece: PieceIndex,
        blocks: &Blocks,
        completed: Option<PieceIndex>,
    ) -> Result<(), StorageError> {
        let start = self.layout.geometry().piece_offset(piece);
        let mut written = Vec::new();
        let mut rest = blocks.iter().peekable();
        let mut result = Ok(());
        while let Some((begin, first)) = rest.next() {
            let mut slices = vec![&first[..]];
            let mut end = begin + first.len() as u32;
            while let Some((_, data)) = rest.next_if(|(next, _)| **next == end) {
                slices.push(data);
                end += data.len() as u32;
            }
            let from = start + u64::from(*begin);
            result = self.files.write(from, slices.into_iter(), &mut written);
            if result.is_err() {
                break;
            }
        }
        // A write that failed half way is recorded too: the file has another time since.
        self.record(completed.filter(|_| result.is_ok()), written);
        result
    }

    /// Records writes. A state file that cannot be written does not stop a download: what is not
    /// recorded is hashed again.
    fn record(&self, completed: Option<PieceIndex>, mut written: Vec<Slot>) {
        if completed.is_none() && written.is_empty() {
            return;
        }
        written.sort_unstable();
        written.dedup();
        let mut resume = lock(&self.resume);
        let Some(state) = resume.as_mut() else {
            return;
        };
        // The stamps are taken under the lock, so that a later record has the later time.
        let stamps: Result<Vec<_>, StorageError> = written
            .into_iter()
            .map(|slot| {
                let stamp = self.files.stamp_written(slot)?;
                // A file that we made at its full length has been cut by somebody else.
                let whole = slot == PART || stamp.len == self.layout.file_len(slot);
                Ok((slot, if whole { stamp } else { stamp.never() }))
            })
            .collect();
        let recorded = match stamps {
            Ok(stamps) => state.record(completed, &stamps),
            Err(error) => Err(error.source),
        };
        if let Err(error) = recorded {
            tracing::warn!(%error, "not recorded: it is checked again after an unclean end");
        }
    }

    fn prove(&self, piece: PieceIndex) -> Result<(), StorageError> {
        if self.hash_from_disk(piece)? == (self.piece_hash)(piece) {
            lock(&self.unproven).clear(piece.0);
            return Ok(());
        }
        if let Some(state) = lock(&self.resume).as_mut() {
            state.forget(piece);
        }
        let file = self.layout.piece_spans(piece).next();
        let path = file.map_or_else(
            || self.files.root().to_owned(),
            |span| self.files.path(span.file),
        );
        Err(StorageError::new(Operation::Read, path, Changed))
    }

    /// Read-only data must be complete, or it is not what was hashed.
    fn require_all(&self) -> Result<(), StorageError> {
        for file in 0..self.layout.file_count() as u32 {
            if self.layout.is_pad(file) {
                continue;
            }
            let stamp = self.files.stamp(file)?;
            if stamp.is_none_or(|stamp| stamp.len < self.layout.file_len(file)) {
                let source = std::io::Error::from(std::io::ErrorKind::NotFound);
                let path = self.files.path(file);
                return Err(StorageError::new(Operation::Open, path, source));
            }
        }
        Ok(())
    }

    fn lock_state(&self, dir: &Path, place: &Place<'_>) -> Option<Recorded> {
        let identity = Identity {
            info_hash: place.info_hash,
            geometry: self.layout.geometry(),
            files: self.layout.file_count(),
        };
        let path = resume::state_path(dir, place.info_hash, self.files.root());
        match ResumeFile::lock(path, identity, place.boot) {
            Ok(Some(state)) => {
                let recorded = state.load();
                *lock(&self.resume) = Some(state);
                recorded
            }
            Ok(None) => {
                tracing::warn!("another process has this torrent's state: checking everything");
                None
            }
            Err(error) => {
                tracing::warn!(%error, "no resume state: checking everything");
                None
            }
        }
    }

    fn sync(&self, slot: Slot) -> Result<(), StorageError> {
        match self.files.stamp(slot)? {
            Some(_) => self.files.sync(slot),
            None => Ok(()),
        }
    }
}

/// Without a place for its state a torrent works all the same.
fn make_resume_dir(state_dir: &Path) -> Option<PathBuf> {
    Files::make_dir(&state_dir.join("resume"))
        .inspect_err(|error| tracing::warn!(%error, "no resume state: checking everything"))
        .ok()
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store")
            .field("files", &self.files)
            .field("trusted", &self.trusted)
            .finish_non_exhaustive()
    }
}
