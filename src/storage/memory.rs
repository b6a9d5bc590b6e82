//! Storage without files, for simulations and tests of the core: the same requests as a
//! [`Store`](super::Store), answered at once.
//!
//! What a piece should contain is known beforehand ([`Content`]), so a verified piece takes no
//! memory: it is compared with the content, and read from it afterwards.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use sha1::{Digest, Sha1};

use super::{Blocks, Verdict};
use crate::{
    bitfield::Bitfield,
    metainfo::{Block, Geometry, PieceIndex},
};

/// The bytes of a torrent.
#[derive(Debug, Clone)]
pub enum Content {
    /// These.
    Bytes(Bytes),
    /// So many pseudo-random bytes made from a number, nowhere stored.
    Generated {
        /// The number; other content for another one.
        seed: u64,
        /// How many bytes.
        len: u64,
    },
}

/// One node's pieces.
#[derive(Debug)]
pub struct MemoryStorage {
    geometry: Geometry,
    content: Arc<Content>,
    have: Bitfield,
    unfinished: BTreeMap<PieceIndex, Blocks>,
}

impl Content {
    /// How many bytes there are.
    pub fn len(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::Generated { len, .. } => *len,
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A range of the bytes, cut off at the end.
    pub fn range(&self, start: u64, len: u64) -> Bytes {
        let start = start.min(self.len());
        let end = start.saturating_add(len).min(self.len());
        match self {
            Self::Bytes(bytes) => bytes.slice(start as usize..end as usize),
            Self::Generated { seed, .. } => generate(*seed, start, end),
        }
    }

    /// The SHA-1 of a piece.
    pub fn piece_hash(&self, geometry: Geometry, piece: PieceIndex) -> [u8; 20] {
        let len = u64::from(geometry.piece_len(piece));
        Sha1::digest(self.range(geometry.piece_offset(piece), len)).into()
    }
}

impl MemoryStorage {
    /// A node's storage of `content` that holds the pieces in `have`.
    ///
    /// # Panics
    /// If `geometry` or `have` do not fit the content.
    pub fn new(geometry: Geometry, content: Arc<Content>, have: Bitfield) -> Self {
        assert_eq!(
            geometry.total_len(),
            content.len(),
            "geometry of another content"
        );
        assert_eq!(
            geometry.piece_count(),
            have.len(),
            "pieces of another content"
        );
        Self {
            geometry,
            content,
            have,
            unfinished: BTreeMap::new(),
        }
    }

    /// The pieces that were verified.
    pub fn have(&self) -> &Bitfield {
        &self.have
    }

    /// A range of a verified piece.
    pub fn read(&self, block: Block) -> Option<Bytes> {
        let there = self.geometry.contains(block) && self.have.get(block.piece.0);
        there.then(|| {
            self.content
                .range(self.geometry.block_offset(block), u64::from(block.len))
        })
    }

    /// Keeps a block; says how many bytes of an earlier copy, or of a block that is none of the
    /// torrent's, were released.
    pub fn write(&mut self, block: Block, data: Bytes) -> u64 {
        let len = data.len() as u64;
        if self.geometry.block_index(block).is_none() || len != u64::from(block.len) {
            return len;
        }
        let blocks = self.unfinished.entry(block.piece).or_default();
        let old = blocks.insert(block.begin, data);
        old.map_or(0, |old| old.len() as u64)
    }

    /// Checks a piece and drops its blocks; says how many bytes that releases. A piece whose blocks
    /// did not all come is wrong.
    pub fn verify(&mut self, piece: PieceIndex, want_digests: bool) -> (Verdict, u64) {
        let blocks = self.unfinished.remove(&piece).unwrap_or_default();
        let grid: Vec<Block> = (0..self.geometry.blocks_in(piece))
            .filter_map(|index| self.geometry.block(piece, index))
            .collect();
        let is_right = |block: &Block| {
            let start = self.geometry.block_offset(*block);
            let right = self.content.range(start, u64::from(block.len));
            blocks.get(&block.begin).is_some_and(|data| *data == right)
        };
        let ok = !grid.is_empty() && grid.iter().all(is_right);
        let digest = |block: &Block| Sha1::digest(blocks.get(&block.begin).map_or(&[][..], |b| b));
        let digests = if want_digests || !ok {
            grid.iter().map(|block| digest(block).into()).collect()
        } else {
            Vec::new()
        };
        if ok {
            self.have.set(piece.0);
        }
        (Verdict { ok, digests }, super::assembly::total(&blocks))
    }

    /// Forgets a piece's blocks; says how many bytes that releases.
    pub fn discard(&mut self, piece: PieceIndex) -> u64 {
        let blocks = self.unfinished.remove(&piece);
        blocks.as_ref().map_or(0, super::assembly::total)
    }
}

/// SplitMix64 of the position: any range can be made without what precedes it.
fn generate(seed: u64, start: u64, end: u64) -> Bytes {
    let first = start / 8;
    let mut bytes = Vec::with_capacity((end - start) as usize + 16);
    for word in first..end.div_ceil(8) {
        let mut mixed = seed.wrapping_add((word + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bytes.extend((mixed ^ (mixed >> 31)).to_le_bytes());
    }
    let skip = (start - first * 8) as usize;
    Bytes::from(bytes).slice(skip..skip + (end - start) as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn storage() -> MemoryStorage {
        let content = Content::Generated {
            seed: 7,
            len: 100_000,
        };
        let geometry = Geometry::new(100_000, 32_768).unwrap();
        MemoryStorage::new(geometry, Arc::new(content), Bitfield::empty(4))
    }

    #[test]
    fn generated_ranges_agree_whatever_their_cut() {
        let content = Content::Generated { seed: 3, len: 1000 };
        let whole = content.range(0, 5000);
        assert_eq!(whole.len(), 1000);
        for (start, len) in [
            (0, 1),
            (1, 7),
            (7, 9),
            (8, 8),
            (991, 9),
            (999, 5),
            (2000, 5),
        ] {
            let from = (start as usize).min(1000);
            let to = (from + len as usize).min(1000);
            assert_eq!(content.range(start, len), whole.slice(from..to), "{start}");
        }
        let other = Content::Generated { seed: 4, len: 1000 };
        assert_ne!(other.range(0, 1000), whole);
    }

    #[test]
    fn a_piece_is_had_when_every_block_is_right() {
        let mut storage = storage();
        let piece = PieceIndex(3);
        let geometry = storage.geometry;
        let block = geometry.block(piece, 0).unwrap();
        let right = storage.content.range(geometry.block_offset(block), 1696);
        assert_eq!(storage.write(block, Bytes::from(vec![0; 1696])), 0);
        assert_eq!(storage.read(block), None);
        let (verdict, released) = storage.verify(piece, false);
        assert_eq!(
            (verdict.ok, verdict.digests.len(), released),
            (false, 1, 1696)
        );
        storage.write(block, right.clone());
        assert_eq!(storage.write(block, right.clone()), 1696);
        let (verdict, released) = storage.verify(piece, false);
        assert_eq!(
            (verdict.ok, verdict.digests.len(), released),
            (true, 0, 1696)
        );
        assert_eq!(storage.read(block), Some(right.clone()));
        let (hash, whole) = (
            storage.content.piece_hash(geometry, piece),
            Sha1::digest(right),
        );
        assert_eq!(hash, <[u8; 20]>::from(whole));
    }

    #[test]
    fn missing_blocks_and_foreign_blocks() {
        let mut storage = storage();
        let block = storage.geometry.block(PieceIndex(0), 1).unwrap();
        storage.write(block, Bytes::from(vec![1; 16_384]));
        assert!(!storage.verify(PieceIndex(0), false).0.ok);
        assert!(!storage.verify(PieceIndex(9), false).0.ok);
        storage.write(block, Bytes::from(vec![1; 16_384]));
        assert_eq!(storage.discard(PieceIndex(0)), 16_384);
        let foreign = Block { begin: 1, ..block };
        assert_eq!(storage.write(foreign, Bytes::from(vec![1; 16_384])), 16_384);
    }
}
