//! The blocks of unfinished pieces, kept as they came and bounded by bytes.
//!
//! Plain bookkeeping, no I/O: the caller writes what [`Assembly::next_spill`] hands out and hashes
//! what [`Assembly::verify`] hands out. A piece's spills follow each other and precede its
//! verification, so that what is hashed from disk is never older than what was handed over.

use std::collections::BTreeMap;

use bytes::Bytes;
use lru::LruCache;

use crate::metainfo::{Block, Geometry, PieceIndex};

/// Bytes of unfinished pieces that one torrent keeps in memory; beyond it the pieces touched
/// longest ago are written through and read again to be hashed. Ours: far below the core's
/// high-water mark (64 MiB), because blocks of pieces that cannot be finished while requests stop
/// would otherwise hold the mark for ever.
pub const ASSEMBLY_LIMIT: u64 = 32 << 20;

/// Blocks of one piece by where they begin.
pub type Blocks = BTreeMap<u32, Bytes>;

/// The blocks of a torrent's unfinished pieces.
#[derive(Debug)]
pub struct Assembly {
    geometry: Geometry,
    limit: u64,
    bytes: u64,
    /// Ordered by when a block last came.
    pieces: LruCache<PieceIndex, Piece>,
}

#[derive(Debug, Default)]
struct Piece {
    blocks: Blocks,
    bytes: u64,
    /// Blocks of this piece are being written.
    spilling: bool,
    /// Verification waits for that.
    waiting: Option<VerifyOrder>,
}

/// What became of a block.
#[derive(Debug, PartialEq, Eq)]
pub enum Put {
    /// It is kept; so many bytes of an earlier copy were released.
    Kept {
        /// Bytes released.
        replaced: u64,
    },
    /// It is not one of the torrent's blocks, or its data has another length.
    Refused,
}

/// Blocks to write before their piece is complete.
#[derive(Debug)]
pub struct Spill {
    /// The piece.
    pub piece: PieceIndex,
    /// Its blocks; their bytes are released when they are written.
    pub blocks: Blocks,
}

/// A complete piece to hash.
#[derive(Debug)]
pub struct VerifyOrder {
    /// The piece.
    pub piece: PieceIndex,
    /// The blocks that are in memory; the others have been written.
    pub blocks: Blocks,
    /// Report the blocks' digests although the piece is right.
    pub want_digests: bool,
}

/// What the end of a spill sets free.
#[derive(Debug, Default)]
pub struct Spilled {
    /// A verification that waited for it.
    pub verify: Option<VerifyOrder>,
    /// Bytes released beside the spill's own, after a failure.
    pub released: u64,
}

impl Assembly {
    /// Nothing yet, for a torrent of this shape.
    pub fn new(geometry: Geometry, limit: u64) -> Self {
        Self {
            geometry,
            limit,
            bytes: 0,
            pieces: LruCache::unbounded(),
        }
    }

    /// Keeps a block.
    pub fn put(&mut self, block: Block, data: Bytes) -> Put {
        if self.geometry.block_index(block).is_none() || data.len() as u64 != u64::from(block.len) {
            return Put::Refused;
        }
        let len = u64::from(block.len);
        let piece = self.pieces.get_or_insert_mut(block.piece, Piece::default);
        let replaced = piece
            .blocks
            .insert(block.begin, data)
            .map_or(0, |old| old.len() as u64);
        piece.bytes = piece.bytes + len - replaced;
        self.bytes = self.bytes + len - replaced;
        Put::Kept { replaced }
    }

    /// Takes a piece's blocks for hashing; `None` if a spill must end first (then
    /// [`Self::spilled`] hands them out).
    pub fn verify(&mut self, piece: PieceIndex, want_digests: bool) -> Option<VerifyOrder> {
        let spilling = self.pieces.peek(&piece).is_some_and(|held| held.spilling);
        let order = VerifyOrder {
            piece,
            blocks: self.take(piece),
            want_digests,
        };
        if !spilling {
            self.pieces.pop(&piece);
            return Some(order);
        }
        if let Some(held) = self.pieces.peek_mut(&piece) {
            held.waiting = Some(order);
        }
        None
    }

    /// Forgets a piece's blocks; says how many bytes that releases.
    pub fn discard(&mut self, piece: PieceIndex) -> u64 {
        let spilling = self.pieces.peek(&piece).is_some_and(|held| held.spilling);
        let blocks = self.take(piece);
        if !spilling {
            self.pieces.pop(&piece);
        }
        total(&blocks)
    }

    /// The next blocks to write, while there are too many. A piece is spilled again only when its
    /// last spill has ended.
    pub fn next_spill(&mut self) -> Option<Spill> {
        if self.bytes <= self.limit {
            return None;
        }
        let piece = self
            .pieces
            .iter()
            .rev()
            .find(|(_, held)| !held.spilling && held.bytes > 0)
            .map(|(piece, _)| *piece)?;
        let blocks = self.take(piece);
        if let Some(held) = self.pieces.peek_mut(&piece) {
            held.spilling = true;
        }
        Some(Spill { piece, blocks })
    }

    /// A spill has ended. After a failure the piece is forgotten whole: it will be fetched again.
    pub fn spilled(&mut self, piece: PieceIndex, ok: bool) -> Spilled {
        let mut verify = None;
        if let Some(held) = self.pieces.peek_mut(&piece) {
            held.spilling = false;
            verify = held.waiting.take();
        }
        let mut released = 0;
        if !ok {
            released = verify.take().map_or(0, |order| total(&order.blocks));
            released += self.discard(piece);
        }
        if self.pieces.peek(&piece).is_some_and(|held| held.bytes == 0) {
            self.pieces.pop(&piece);
        }
        Spilled { verify, released }
    }

    /// Bytes that are kept.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    fn take(&mut self, piece: PieceIndex) -> Blocks {
        let Some(held) = self.pieces.peek_mut(&piece) else {
            return Blocks::new();
        };
        self.bytes -= held.bytes;
        held.bytes = 0;
        std::mem::take(&mut held.blocks)
    }
}

/// How many bytes blocks have.
pub(super) fn total(blocks: &Blocks) -> u64 {
    blocks.values().map(|data| data.len() as u64).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEN: u64 = 16_384;

    fn assembly(limit: u64) -> Assembly {
        Assembly::new(Geometry::new(10 * 65_536, 65_536).unwrap(), limit)
    }

    fn put(assembly: &mut Assembly, piece: u32, index: u32) -> Put {
        let block = Block {
            piece: PieceIndex(piece),
            begin: index * 16_384,
            len: 16_384,
        };
        assembly.put(block, Bytes::from(vec![piece as u8; 16_384]))
    }

    #[test]
    fn blocks_are_kept_replaced_and_taken() {
        let mut assembly = assembly(u64::MAX);
        assert_eq!(put(&mut assembly, 0, 1), Put::Kept { replaced: 0 });
        assert_eq!(put(&mut assembly, 0, 0), Put::Kept { replaced: 0 });
        assert_eq!(put(&mut assembly, 0, 1), Put::Kept { replaced: LEN });
        assert_eq!(assembly.bytes(), 2 * LEN);
        let order = assembly.verify(PieceIndex(0), true).unwrap();
        assert_eq!(
            order.blocks.keys().copied().collect::<Vec<_>>(),
            [0, 16_384]
        );
        assert_eq!(assembly.bytes(), 0);
        assert_eq!(assembly.discard(PieceIndex(0)), 0);
    }

    #[test]
    fn foreign_blocks_are_refused() {
        let mut assembly = assembly(u64::MAX);
        for (piece, begin, len, data) in [
            (10, 0, 16_384, 16_384),
            (u32::MAX, 0, 16_384, 16_384),
            (0, 1, 16_384, 16_384),
            (0, 0, 16_383, 16_383),
            (0, 65_536, 16_384, 16_384),
            (0, 0, 16_384, 5),
        ] {
            let block = Block {
                piece: PieceIndex(piece),
                begin,
                len,
            };
            assert_eq!(assembly.put(block, vec![0; data].into()), Put::Refused);
        }
        assert_eq!(assembly.bytes(), 0);
    }

    #[test]
    fn the_bound_spills_what_was_touched_longest_ago() {
        let mut assembly = assembly(3 * LEN);
        for piece in [0, 1, 2, 0] {
            put(&mut assembly, piece, piece);
            put(&mut assembly, piece, piece);
        }
        assert!(assembly.next_spill().is_none());
        put(&mut assembly, 0, 1);
        let spill = assembly.next_spill().unwrap();
        assert_eq!(spill.piece, PieceIndex(1));
        assert!(assembly.next_spill().is_none());
        assert_eq!(assembly.bytes(), 3 * LEN);
    }

    #[test]
    fn a_verification_waits_for_the_spill_and_spills_follow_each_other() {
        let mut assembly = assembly(0);
        put(&mut assembly, 4, 0);
        assert_eq!(assembly.next_spill().unwrap().blocks.len(), 1);
        put(&mut assembly, 4, 1);
        assert!(assembly.next_spill().is_none(), "one spill at a time");
        assert!(assembly.verify(PieceIndex(4), false).is_none());
        let order = assembly.spilled(PieceIndex(4), true).verify.unwrap();
        assert_eq!(order.blocks.keys().copied().collect::<Vec<_>>(), [16_384]);
        assert_eq!(assembly.pieces.len(), 0);
    }

    #[test]
    fn a_failed_spill_forgets_the_piece() {
        let mut assembly = assembly(0);
        put(&mut assembly, 4, 0);
        assembly.next_spill().unwrap();
        put(&mut assembly, 4, 1);
        assert!(assembly.verify(PieceIndex(4), false).is_none());
        put(&mut assembly, 4, 2);
        let spilled = assembly.spilled(PieceIndex(4), false);
        assert!(spilled.verify.is_none());
        assert_eq!(spilled.released, 2 * LEN);
        assert_eq!((assembly.bytes(), assembly.pieces.len()), (0, 0));
    }

    #[test]
    fn a_discard_during_a_spill_keeps_the_order() {
        let mut assembly = assembly(0);
        put(&mut assembly, 4, 0);
        assembly.next_spill().unwrap();
        assert_eq!(assembly.discard(PieceIndex(4)), 0);
        put(&mut assembly, 4, 0);
        assert!(
            assembly.next_spill().is_none(),
            "the old spill still writes"
        );
        assembly.spilled(PieceIndex(4), true);
        assert_eq!(assembly.next_spill().unwrap().blocks.len(), 1);
    }
}
