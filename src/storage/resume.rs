//! What was verified, across restarts: one append-only state file per torrent and directory.
//!
//! ```text
//! snapshot   identity, boot id, synced?, pieces, (length, time of change) of every file, SHA-1 of all this
//! record     a piece was written (or blocks of one were): file, its length and time of change after that
//! record     …
//! ```
//!
//! Data decides, never this file: a recorded piece is believed only while each of its files has
//! exactly the length and time of change that were recorded last. A record follows its write, so a process
//! killed in between leaves a newer time and the file is hashed again; a foreign change has the
//! same effect, however soon it comes. Nothing is flushed while a download runs: the page cache
//! outlives the process, and a machine that went down shows another boot id, after which only
//! files untouched since a synced snapshot are believed.
//!
//! Traps of file times, and what is done: whole-second file systems are never believed after a write
//! ([`Stamp::is_coarse`]); a kernel's clock ticks every 1 to 10 ms, so a clean close waits until
//! the tick of the last write has passed before it takes the stamps ([`settle`]).

#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "the state file and its wall-clock times"
)]

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Write},
    path::{Path, PathBuf},
    thread,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use sha1::{Digest, Sha1};

use super::files::{PART, Slot, Stamp};
use crate::{
    bitfield::Bitfield,
    ids::InfoHash,
    metainfo::{Geometry, PieceIndex},
};

const MAGIC: &[u8; 8] = b"mswresm1";
const RECORD_LEN: usize = 28;
/// Ours: the log is rewritten as a snapshot when its records take more than this.
const MAX_RECORDS_LEN: u64 = 64 << 20;
/// In a record: blocks were written, but no piece was completed.
const NO_PIECE: u32 = u32::MAX;
/// In a record: nothing was written, all blocks had been before.
const NO_SLOT: Slot = u32::MAX - 1;
/// A time of change that no file has: what had it recorded is hashed again.
const NEVER: i64 = i64::MIN;

/// Which torrent a state file belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) info_hash: InfoHash,
    pub(super) geometry: Geometry,
    pub(super) files: usize,
}

/// What a state file says.
#[derive(Debug)]
pub(super) struct Recorded {
    pub(super) have: Bitfield,
    stamps: Vec<Option<Stamp>>,
    touched: Vec<bool>,
    same_boot: bool,
    synced: bool,
    has_records: bool,
    torn: bool,
    len: u64,
    salt: [u8; 20],
}

/// A locked state file.
#[derive(Debug)]
pub(super) struct ResumeFile {
    path: PathBuf,
    identity: Identity,
    boot: Option<[u8; 16]>,
    _lock: File,
    log: Option<Log>,
    have: Bitfield,
    stamps: Vec<Option<Stamp>>,
    /// The snapshot's files were flushed and nothing was recorded since.
    clean: bool,
    /// The snapshot's files were flushed.
    synced: bool,
}

#[derive(Debug)]
struct Log {
    file: File,
    snapshot_len: u64,
    len: u64,
    salt: [u8; 20],
}

impl ResumeFile {
    /// Locks the state of a torrent; `None` if another process (or another open torrent of this
    /// one) has it.
    pub(super) fn lock(
        path: PathBuf,
        identity: Identity,
        boot: Option<[u8; 16]>,
    ) -> io::Result<Option<Self>> {
        // A file of its own: the state file is replaced by renaming, which would lose the lock.
        let lock = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .open(path.with_extension("lock"))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) => return Err(error),
        }
        Ok(Some(Self {
            have: Bitfield::empty(identity.geometry.piece_count()),
            stamps: vec![None; identity.files + 1],
            path,
            identity,
            boot,
            _lock: lock,
            log: None,
            clean: false,
            synced: false,
        }))
    }

    /// Reads the state; `None` if there is none, or none that can be believed.
    pub(super) fn load(&self) -> Option<Recorded> {
        let snapshot_len = self.identity.snapshot_len() as u64;
        let metadata = fs::metadata(&self.path).ok()?;
        if !metadata.is_file() || metadata.len() > snapshot_len + 2 * MAX_RECORDS_LEN {
            return None;
        }
        parse(&fs::read(&self.path).ok()?, &self.identity, self.boot)
    }

    /// Goes on from what was loaded, if the check confirmed it; else starts a snapshot of what it
    /// found. Without this nothing is recorded.
    pub(super) fn start(
        &mut self,
        recorded: Option<&Recorded>,
        have: Bitfield,
        stamps: Vec<Option<Stamp>>,
    ) -> io::Result<()> {
        let confirmed = recorded.filter(|recorded| {
            !recorded.torn && recorded.have == have && recorded.stamps == stamps
        });
        self.have = have;
        self.stamps = stamps;
        match confirmed {
            Some(recorded) if recorded.same_boot => {
                let file = OpenOptions::new().append(true).open(&self.path)?;
                self.log = Some(Log {
                    file,
                    snapshot_len: self.identity.snapshot_len() as u64,
                    len: recorded.len,
                    salt: recorded.salt,
                });
                self.synced = recorded.synced;
                self.clean = recorded.synced && !recorded.has_records;
                Ok(())
            }
            // Another boot: the same facts under this one's id, or records would not count.
            Some(recorded) => self.rewrite(recorded.synced && !recorded.has_records),
            None => self.rewrite(false),
        }
    }

    /// Records that files were written, and that `piece` is complete with that.
    pub(super) fn record(
        &mut self,
        piece: Option<PieceIndex>,
        written: &[(Slot, Stamp)],
    ) -> io::Result<()> {
        if let Some(piece) = piece {
            self.have.set(piece.0);
        }
        self.clean = false;
        let mut bytes = Vec::with_capacity(RECORD_LEN * written.len().max(1));
        let salt = self.log.as_ref().map_or([0; 20], |log| log.salt);
        let nothing = [(NO_SLOT, Stamp { len: 0, changed: 0 })];
        let written = if written.is_empty() {
            &nothing
        } else {
            written
        };
        for (index, &(slot, mut stamp)) in written.iter().enumerate() {
            if let Some(known) = self.identity.index(slot) {
                self.stamps[known] = Some(stamp);
            }
            if stamp.is_coarse() {
                stamp = stamp.never();
            }
            let last = index + 1 == written.len();
            let piece = piece.filter(|_| last).map_or(NO_PIECE, |piece| piece.0);
            push_record(&mut bytes, piece, slot, stamp, &salt);
        }
        let Some(log) = &mut self.log else {
            return Ok(());
        };
        if let Err(error) = log.file.write_all(&bytes) {
            // Half a record would make the rest unreadable.
            log.file.set_len(log.len)?;
            return Err(error);
        }
        log.len += bytes.len() as u64;
        if log.len - log.snapshot_len > MAX_RECORDS_LEN {
            self.rewrite(false)?;
        }
        Ok(())
    }

    /// A recorded piece turned out to be wrong.
    pub(super) fn forget(&mut self, piece: PieceIndex) {
        self.have.clear(piece.0);
        self.clean = false;
    }

    /// Whether closing has nothing to add.
    pub(super) fn is_clean(&self) -> bool {
        self.clean
    }

    /// Whether files that were not written since are known to be on disk.
    pub(super) fn is_synced(&self) -> bool {
        self.synced
    }

    /// Records the end: every file is flushed and has the given stamp. A file whose stamp is not
    /// the one that our last write left was changed by somebody else: it is hashed again.
    pub(super) fn finish(&mut self, stamps: Vec<Option<Stamp>>) -> io::Result<()> {
        for (known, found) in self.stamps.iter_mut().zip(stamps) {
            *known = match (*known, found) {
                (known, Some(found)) if known == Some(found) => Some(final_stamp(found)),
                (_, Some(found)) => Some(found.never()),
                (_, None) => None,
            };
        }
        self.rewrite(true)
    }

    /// Replaces the file by a snapshot: a reader finds the old one or the new one.
    fn rewrite(&mut self, synced: bool) -> io::Result<()> {
        let (bytes, salt) = self.snapshot(synced);
        let temporary = self.path.with_extension("new");
        // Left by a process that was killed here.
        let _ = fs::remove_file(&temporary);
        let mut file = OpenOptions::new()
            .append(true)
            .create_new(true)
            .open(&temporary)?;
        file.write_all(&bytes)?;
        if synced {
            file.sync_all()?;
        }
        fs::rename(&temporary, &self.path)?;
        #[cfg(unix)]
        if synced && let Some(dir) = self.path.parent() {
            File::open(dir)?.sync_all()?;
        }
        let len = bytes.len() as u64;
        self.log = Some(Log {
            file,
            snapshot_len: len,
            len,
            salt,
        });
        self.synced = synced;
        self.clean = synced;
        Ok(())
    }

    fn snapshot(&self, synced: bool) -> (Vec<u8>, [u8; 20]) {
        let mut bytes = Vec::with_capacity(self.identity.snapshot_len());
        self.identity.encode(&mut bytes);
        bytes.extend(self.boot.unwrap_or_default());
        bytes.push(u8::from(synced) | u8::from(self.boot.is_some()) << 1);
        bytes.extend(self.have.as_bytes());
        for stamp in &self.stamps {
            let absent = Stamp {
                len: u64::MAX,
                changed: NEVER,
            };
            let stamp = match *stamp {
                Some(stamp) if !synced && stamp.is_coarse() => stamp.never(),
                stamp => stamp.unwrap_or(absent),
            };
            bytes.extend(stamp.len.to_be_bytes());
            bytes.extend(stamp.changed.to_be_bytes());
        }
        let salt = Sha1::digest(&bytes).into();
        bytes.extend(salt);
        (bytes, salt)
    }
}

impl Recorded {
    /// Whether a file is as it was recorded, and what was recorded is still in it.
    pub(super) fn believes(&self, at: usize, stamp: Stamp) -> bool {
        self.stamps.get(at) == Some(&Some(stamp))
            && (self.same_boot || (self.synced && !self.is_touched(at)))
    }

    /// Whether a file was written after the snapshot: pieces may be in it that were not recorded.
    pub(super) fn is_touched(&self, at: usize) -> bool {
        self.touched.get(at) != Some(&false)
    }
}

impl Identity {
    /// The place of a slot in lists of stamps: files by index, then the part file.
    pub(super) fn index(&self, slot: Slot) -> Option<usize> {
        if slot == PART {
            return Some(self.files);
        }
        Some(slot as usize).filter(|index| *index < self.files)
    }

    fn encode(&self, bytes: &mut Vec<u8>) {
        bytes.extend(MAGIC);
        bytes.extend(self.info_hash.as_bytes());
        bytes.extend(self.geometry.total_len().to_be_bytes());
        bytes.extend(self.geometry.standard_piece_len().to_be_bytes());
        bytes.extend((self.files as u64).to_be_bytes());
    }

    const fn encoded_len() -> usize {
        8 + 20 + 8 + 4 + 8
    }

    fn snapshot_len(&self) -> usize {
        let pieces = self.geometry.piece_count().div_ceil(8) as usize;
        Self::encoded_len() + 16 + 1 + pieces + (self.files + 1) * 16 + 20
    }
}

fn push_record(bytes: &mut Vec<u8>, piece: u32, slot: Slot, stamp: Stamp, salt: &[u8; 20]) {
    let start = bytes.len();
    bytes.extend(piece.to_be_bytes());
    bytes.extend(slot.to_be_bytes());
    bytes.extend(stamp.len.to_be_bytes());
    bytes.extend(stamp.changed.to_be_bytes());
    let check = record_check(&bytes[start..], salt);
    bytes.extend(check);
}

/// Salted with the snapshot's digest, so that a record of another snapshot is not taken for one.
fn record_check(record: &[u8], salt: &[u8; 20]) -> [u8; 4] {
    let digest = Sha1::new()
        .chain_update(salt)
        .chain_update(record)
        .finalize();
    [digest[0], digest[1], digest[2], digest[3]]
}

/// Takes `N` bytes off the front.
fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (head, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(*head)
}

fn parse(bytes: &[u8], identity: &Identity, boot: Option<[u8; 16]>) -> Option<Recorded> {
    let (snapshot, mut records) = bytes.split_at_checked(identity.snapshot_len())?;
    let (body, salt) = snapshot.split_last_chunk::<20>()?;
    let digest: [u8; 20] = Sha1::digest(body).into();
    let mut expected = Vec::new();
    identity.encode(&mut expected);
    if digest != *salt || !body.starts_with(&expected) {
        return None;
    }
    let mut body = &body[Identity::encoded_len()..];
    let written_boot: [u8; 16] = take(&mut body)?;
    let [flags] = take(&mut body)?;
    let written_boot = (flags & 2 != 0).then_some(written_boot);
    let pieces = identity.geometry.piece_count();
    let (have, mut body) = body.split_at_checked(pieces.div_ceil(8) as usize)?;
    let mut recorded = Recorded {
        have: Bitfield::from_bytes(have, pieces)?,
        stamps: Vec::with_capacity(identity.files + 1),
        touched: vec![false; identity.files + 1],
        same_boot: boot.is_some() && boot == written_boot,
        synced: flags & 1 != 0,
        has_records: !records.is_empty(),
        torn: false,
        len: bytes.len() as u64,
        salt: *salt,
    };
    while !body.is_empty() {
        let stamp = Stamp {
            len: u64::from_be_bytes(take(&mut body)?),
            changed: i64::from_be_bytes(take(&mut body)?),
        };
        recorded
            .stamps
            .push((stamp.len != u64::MAX).then_some(stamp));
    }
    while !records.is_empty() {
        // What follows a record that is cut off or damaged is not believed either. The files it
        // was about have been written since the stamps before it, and are hashed again.
        if read_record(&mut records, identity, &mut recorded).is_none() {
            recorded.torn = true;
            break;
        }
    }
    Some(recorded)
}

fn read_record(records: &mut &[u8], identity: &Identity, into: &mut Recorded) -> Option<()> {
    let record: [u8; RECORD_LEN] = take(records)?;
    let (mut body, check) = record.split_last_chunk::<4>().map(|(a, b)| (a, *b))?;
    if record_check(body, &into.salt) != check {
        return None;
    }
    let piece = u32::from_be_bytes(take(&mut body)?);
    let slot = u32::from_be_bytes(take(&mut body)?);
    let stamp = Stamp {
        len: u64::from_be_bytes(take(&mut body)?),
        changed: i64::from_be_bytes(take(&mut body)?),
    };
    if slot != NO_SLOT {
        let at = identity.index(slot)?;
        into.stamps[at] = Some(stamp);
        into.touched[at] = true;
    }
    if piece != NO_PIECE {
        into.have.set(piece);
    }
    Some(())
}

/// The state file of a torrent in an output directory (canonical, so that one directory has one
/// name).
pub(super) fn state_path(resume_dir: &Path, info_hash: InfoHash, output_dir: &Path) -> PathBuf {
    let digest = Sha1::digest(output_dir.as_os_str().as_encoded_bytes());
    let directory = data_encoding::HEXLOWER.encode(&digest[..8]);
    resume_dir.join(format!("{info_hash}-{directory}.resume"))
}

impl Stamp {
    /// One that no file has.
    pub(super) fn never(self) -> Self {
        Self {
            changed: NEVER,
            ..self
        }
    }
}

/// What names this run of the machine: after another the page cache is gone. `None` where the
/// system does not tell; then an unclean end is never believed.
pub(super) fn boot_id() -> Option<[u8; 16]> {
    let text = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    let id = data_encoding::HEXLOWER_PERMISSIVE.decode(&digits).ok()?;
    id.try_into().ok()
}

/// Waits until a write can no longer leave the time `newest`.
pub(super) fn settle(newest: i64) {
    /// Twice the longest tick of a kernel's clock.
    const TICK: Duration = Duration::from_millis(20);
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let age = now.unwrap_or_default().as_nanos() as i128 - i128::from(newest);
    if (0..TICK.as_nanos() as i128).contains(&age) {
        thread::sleep(TICK);
    }
}

/// What to record of a file at a clean end.
fn final_stamp(stamp: Stamp) -> Stamp {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let age = now.unwrap_or_default().as_nanos() as i128 - i128::from(stamp.changed);
    // FAT keeps two seconds.
    if stamp.is_coarse() && age < 2_000_000_000 {
        return stamp.never();
    }
    stamp
}
