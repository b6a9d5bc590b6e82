//! All arithmetic on pieces and blocks, so that nobody else divides by a piece length.
//!
//! A torrent's bytes are one stream cut into pieces (the unit that has a hash); a piece is cut
//! into blocks of at most [`BLOCK_LEN`] (the unit of a request). Every number from the network
//! goes through [`Geometry::contains`] before anything is indexed with it.

/// The usual block length; BEP 3's deployed value. Only a piece's last block may be shorter.
pub const BLOCK_LEN: u32 = 16 * 1024;

/// The index of a piece, from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PieceIndex(pub u32);

impl PieceIndex {
    /// The index as a `usize`, for slices.
    pub const fn as_usize(self) -> usize {
        self.0 as usize
    }
}

/// A range of bytes inside one piece: the unit of a request (`begin` as on the wire).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Block {
    /// The piece that the range lies in.
    pub piece: PieceIndex,
    /// The first byte, counted from the start of the piece.
    pub begin: u32,
    /// How many bytes.
    pub len: u32,
}

/// The lengths of a torrent: total, per piece, per block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Geometry {
    total_len: u64,
    piece_len: u32,
    pieces: u32,
}

impl Geometry {
    /// `None` when `piece_len` is 0 or the pieces do not fit 32 bits.
    pub fn new(total_len: u64, piece_len: u32) -> Option<Self> {
        if piece_len == 0 {
            return None;
        }
        let pieces = u32::try_from(total_len.div_ceil(u64::from(piece_len))).ok()?;
        Some(Self {
            total_len,
            piece_len,
            pieces,
        })
    }

    /// The length of the whole content in bytes.
    pub const fn total_len(&self) -> u64 {
        self.total_len
    }

    /// The length in bytes of every piece but the last.
    pub const fn standard_piece_len(&self) -> u32 {
        self.piece_len
    }

    /// How many pieces there are.
    pub const fn piece_count(&self) -> u32 {
        self.pieces
    }

    /// The pieces in order.
    pub fn pieces(&self) -> impl DoubleEndedIterator<Item = PieceIndex> + use<> {
        (0..self.pieces).map(PieceIndex)
    }

    /// The length of `piece` in bytes; 0 for a piece that does not exist.
    pub fn piece_len(&self, piece: PieceIndex) -> u32 {
        let start = self.piece_offset(piece);
        let rest = self.total_len.saturating_sub(start);
        u32::try_from(rest).map_or(self.piece_len, |rest| rest.min(self.piece_len))
    }

    /// Where `piece` starts in the torrent's byte stream.
    pub fn piece_offset(&self, piece: PieceIndex) -> u64 {
        u64::from(piece.0) * u64::from(self.piece_len)
    }

    /// How many blocks of [`BLOCK_LEN`] make up `piece`.
    pub fn blocks_in(&self, piece: PieceIndex) -> u32 {
        self.piece_len(piece).div_ceil(BLOCK_LEN)
    }

    /// Block number `index` of `piece`.
    pub fn block(&self, piece: PieceIndex, index: u32) -> Option<Block> {
        let begin = index.checked_mul(BLOCK_LEN)?;
        let left = self
            .piece_len(piece)
            .checked_sub(begin)
            .filter(|left| *left > 0)?;
        Some(Block {
            piece,
            begin,
            len: left.min(BLOCK_LEN),
        })
    }

    /// The number within its piece of a block that lies on the [`BLOCK_LEN`] grid.
    pub fn block_index(&self, block: Block) -> Option<u32> {
        let index = block.begin / BLOCK_LEN;
        (self.block(block.piece, index) == Some(block)).then_some(index)
    }

    /// Whether a range that a peer names lies inside its piece and is not empty.
    pub fn contains(&self, block: Block) -> bool {
        block.len > 0
            && block.piece.0 < self.pieces
            && u64::from(block.begin) + u64::from(block.len)
                <= u64::from(self.piece_len(block.piece))
    }

    /// Where a block starts in the torrent's byte stream.
    pub fn block_offset(&self, block: Block) -> u64 {
        self.piece_offset(block.piece) + u64::from(block.begin)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn last_piece_and_last_block_are_short() {
        let geometry = Geometry::new(1_060_921, 32_768).unwrap();
        let last = PieceIndex(32);
        assert_eq!(geometry.piece_count(), 33);
        assert_eq!(geometry.piece_len(PieceIndex(0)), 32_768);
        assert_eq!(geometry.piece_len(last), 12_345);
        assert_eq!(geometry.blocks_in(last), 1);
        assert_eq!(geometry.block(last, 0).unwrap().len, 12_345);
        assert_eq!(geometry.block(last, 1), None);
        assert_eq!(geometry.piece_len(PieceIndex(33)), 0);
        assert_eq!(geometry.block(PieceIndex(33), 0), None);
    }

    #[test]
    fn hostile_ranges_are_outside() {
        let geometry = Geometry::new(40_000, 32_768).unwrap();
        let inside = |piece, begin, len| {
            geometry.contains(Block {
                piece: PieceIndex(piece),
                begin,
                len,
            })
        };
        assert!(inside(0, 0, 32_768) && inside(1, 7_231, 1));
        assert!(!inside(0, 0, 0) && !inside(0, 32_768, 1) && !inside(1, 7_232, 1));
        assert!(!inside(2, 0, 1) && !inside(u32::MAX, 0, 1) && !inside(0, u32::MAX, u32::MAX));
    }

    #[test]
    fn only_grid_blocks_have_an_index() {
        let geometry = Geometry::new(40_000, 32_768).unwrap();
        let piece = PieceIndex(0);
        assert_eq!(
            geometry.block_index(Block {
                piece,
                begin: 16_384,
                len: 16_384
            }),
            Some(1)
        );
        assert_eq!(
            geometry.block_index(Block {
                piece,
                begin: 1,
                len: 16_384
            }),
            None
        );
        assert_eq!(
            geometry.block_index(Block {
                piece,
                begin: 0,
                len: 16_383
            }),
            None
        );
    }

    #[test]
    fn empty_content_and_refusals() {
        assert_eq!(Geometry::new(0, 16_384).unwrap().piece_count(), 0);
        assert_eq!(Geometry::new(1, 0), None);
        assert_eq!(Geometry::new(u64::MAX, 1), None);
    }
}
