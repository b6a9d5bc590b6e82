//! Which pieces are there when a torrent is opened: what is believed, what is hashed, what is not
//! even looked at.
//!
//! | the piece's files                         | recorded | not recorded                       |
//! |-------------------------------------------|----------|------------------------------------|
//! | as recorded, not written since a snapshot | believed | missing: it was when it was closed |
//! | as recorded, written since                | unproven | hashed                             |
//! | changed, or nothing is recorded           | hashed   | hashed                             |
//! | missing or too short                      | missing  | missing                            |
//!
//! An unproven piece is believed, and hashed when it is first read for an upload: nothing but the
//! order of two clocks vouches for it.

use std::sync::OnceLock;

use sha1::{Digest, Sha1};

use super::{
    error::{Cause, StorageError},
    files::{PART, Presence, Slot, Stamp},
    layout::Span,
    resume::Recorded,
    store::{CHUNK, Store},
};
use crate::{bitfield::Bitfield, metainfo::PieceIndex};

/// The work before a torrent is open: pieces to hash.
#[derive(Debug)]
pub struct CheckPlan {
    believed: Bitfield,
    unproven: Bitfield,
    unchecked: Vec<PieceIndex>,
    /// Files (and last the part file) that pieces to hash lie in.
    presence: Vec<Option<Presence>>,
    zeros: OnceLock<[u8; 20]>,
    pub(super) stamps: Vec<Option<Stamp>>,
    pub(super) recorded: Option<Recorded>,
}

impl CheckPlan {
    /// The pieces that need no hashing because the state vouches for them.
    pub fn believed(&self) -> &Bitfield {
        &self.believed
    }

    /// Those of them that must be hashed when they are first read.
    pub(super) fn unproven(&self) -> &Bitfield {
        &self.unproven
    }

    /// The pieces to hash with [`Store::check`].
    pub fn unchecked(&self) -> &[PieceIndex] {
        &self.unchecked
    }

    /// Everything is believed: the caller has just hashed it.
    pub(super) fn trusting(pieces: u32) -> Self {
        Self {
            believed: Bitfield::full(pieces),
            unproven: Bitfield::empty(pieces),
            unchecked: Vec::new(),
            presence: Vec::new(),
            zeros: OnceLock::new(),
            stamps: Vec::new(),
            recorded: None,
        }
    }

    pub(super) fn make(store: &Store, recorded: Option<Recorded>) -> Result<Self, StorageError> {
        let stamps = store.stamps()?;
        let geometry = store.layout.geometry();
        let mut plan = Self {
            believed: Bitfield::empty(geometry.piece_count()),
            unproven: Bitfield::empty(geometry.piece_count()),
            unchecked: Vec::new(),
            presence: Vec::new(),
            zeros: OnceLock::new(),
            stamps: Vec::new(),
            recorded,
        };
        let mut needed = vec![false; stamps.len()];
        needed[store.slot_index(PART)] = stamps[store.slot_index(PART)].is_some();
        for piece in geometry.pieces() {
            match plan.judge(store, piece, &stamps) {
                Judgement::Believed => {
                    plan.believed.set(piece.0);
                }
                Judgement::Unproven => {
                    plan.believed.set(piece.0);
                    plan.unproven.set(piece.0);
                }
                Judgement::Missing => {}
                Judgement::Hash => {
                    plan.unchecked.push(piece);
                    for (slot, _) in places(store, piece) {
                        needed[store.slot_index(slot)] = true;
                    }
                }
            }
        }
        plan.presence = (0u32..)
            .zip(&needed)
            .map(|(index, needed)| {
                if !needed || stamps[index as usize].is_none() {
                    return Ok(None);
                }
                store.files.presence(store.slot_at(index))
            })
            .collect::<Result<_, _>>()?;
        plan.stamps = stamps;
        // The part file may hold what a file lacks that is wanted only since.
        let mut unchecked = std::mem::take(&mut plan.unchecked);
        unchecked.retain(|piece| plan.reaches(store, *piece) || plan.is_aside(store, *piece));
        plan.unchecked = unchecked;
        Ok(plan)
    }

    fn judge(&self, store: &Store, piece: PieceIndex, stamps: &[Option<Stamp>]) -> Judgement {
        let Some(recorded) = &self.recorded else {
            return Judgement::Hash;
        };
        let mut places = places(store, piece).peekable();
        if places.peek().is_none() {
            return Judgement::Hash;
        }
        let mut touched = false;
        for (slot, _) in places {
            let at = store.slot_index(slot);
            if !stamps[at].is_some_and(|stamp| recorded.believes(at, stamp)) {
                return Judgement::Hash;
            }
            touched |= recorded.is_touched(at);
        }
        match (recorded.have.get(piece.0), touched) {
            (true, false) => Judgement::Believed,
            (true, true) => Judgement::Unproven,
            (false, true) => Judgement::Hash,
            (false, false) => Judgement::Missing,
        }
    }

    /// Whether the files are long enough to hold the piece.
    fn reaches(&self, store: &Store, piece: PieceIndex) -> bool {
        places(store, piece).all(|(slot, span)| {
            self.presence_of(store, slot)
                .is_some_and(|presence| presence.reaches(span.offset + span.len))
        })
    }

    /// Whether the part file has bytes of this piece that belong into a file.
    fn is_aside(&self, store: &Store, piece: PieceIndex) -> bool {
        let mut spans = store.layout.piece_spans(piece);
        spans.any(|span| self.is_span_aside(store, span))
    }

    /// Whether a span's bytes may be in the part file although they belong into a file: the file
    /// has nothing there. (What the part file has is known by whole pages, so it alone decides
    /// nothing.)
    fn is_span_aside(&self, store: &Store, span: Span) -> bool {
        let end = span.offset + span.len;
        let in_file = self
            .presence_of(store, span.file)
            .is_some_and(|file| file.reaches(end) && file.has_data(span.offset, span.len));
        let in_part = self
            .presence_of(store, PART)
            .is_some_and(|part| part.has_data(span.start, span.len));
        in_part && !in_file && store.files.in_place(span.file)
    }

    fn is_hole(&self, store: &Store, piece: PieceIndex) -> bool {
        places(store, piece).all(|(slot, span)| {
            self.presence_of(store, slot)
                .is_some_and(|presence| !presence.has_data(span.offset, span.len))
        })
    }

    fn presence_of(&self, store: &Store, slot: Slot) -> Option<&Presence> {
        self.presence.get(store.slot_index(slot))?.as_ref()
    }
}

enum Judgement {
    Believed,
    Unproven,
    Missing,
    Hash,
}

/// The slots of a piece; each span's offset is the one in its slot.
fn places(store: &Store, piece: PieceIndex) -> impl Iterator<Item = (Slot, Span)> + '_ {
    store.layout.piece_spans(piece).filter_map(|span| {
        let (slot, offset) = store.files.place(span)?;
        Some((slot, Span { offset, ..span }))
    })
}

impl Store {
    /// Hashes one piece of what is there. A file that cannot be used at all is an error; one that
    /// cannot be read just does not have the piece.
    pub fn check(&self, plan: &CheckPlan, piece: PieceIndex) -> Result<bool, StorageError> {
        let hash = (self.piece_hash)(piece);
        if plan.reaches(self, piece) {
            let standard = self.layout.geometry().standard_piece_len();
            let is_standard = self.layout.geometry().piece_len(piece) == standard;
            let found = if is_standard && plan.is_hole(self, piece) {
                // A hole reads as zeros, which may well be what the torrent has there.
                Ok(*plan.zeros.get_or_init(|| hash_zeros(standard)))
            } else {
                self.hash_from_disk(piece)
            };
            match found {
                Ok(found) if found == hash => return Ok(true),
                Ok(_) => {}
                Err(error) if error.cause() == Cause::Permission => return Err(error),
                Err(error) => tracing::warn!(%error, "a piece cannot be read: fetching it"),
            }
        }
        if !plan.is_aside(self, piece) {
            return Ok(false);
        }
        self.bring_back(plan, piece, hash)
    }

    /// Puts bytes from the part file into the files that are wanted by now, if they are right.
    fn bring_back(
        &self,
        plan: &CheckPlan,
        piece: PieceIndex,
        hash: [u8; 20],
    ) -> Result<bool, StorageError> {
        let mut found = Sha1::new();
        let mut bytes = Vec::new();
        for chunk in self.layout.piece_spans(piece).flat_map(chunks) {
            bytes.clear();
            let read = if plan.is_span_aside(self, chunk) {
                self.files
                    .read_slot(PART, chunk.start, chunk.len, &mut bytes)
            } else {
                self.files.read(chunk.start, chunk.len, &mut bytes)
            };
            if read.is_err() {
                return Ok(false);
            }
            found.update(&bytes);
        }
        if <[u8; 20]>::from(found.finalize()) != hash {
            return Ok(false);
        }
        for chunk in self.layout.piece_spans(piece).flat_map(chunks) {
            if plan.is_span_aside(self, chunk) {
                bytes.clear();
                self.files
                    .read_slot(PART, chunk.start, chunk.len, &mut bytes)?;
                self.files
                    .write(chunk.start, [&bytes[..]].into_iter(), &mut Vec::new())?;
            }
        }
        Ok(true)
    }
}

/// A span in parts that fit a buffer: a piece may be as long as 1 GiB.
fn chunks(span: Span) -> impl Iterator<Item = Span> {
    (0..span.len).step_by(CHUNK).map(move |from| Span {
        file: span.file,
        offset: span.offset + from,
        start: span.start + from,
        len: (span.len - from).min(CHUNK as u64),
    })
}

fn hash_zeros(len: u32) -> [u8; 20] {
    let zeros = [0; 4096];
    let mut hash = Sha1::new();
    let mut left = len as usize;
    while left > 0 {
        let now = left.min(zeros.len());
        hash.update(&zeros[..now]);
        left -= now;
    }
    hash.finalize().into()
}
