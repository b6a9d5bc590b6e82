//! Who sent the bad block.
//!
//! A piece that fails its hash says that somebody lied, not who. If one peer gave all of it, it is
//! that peer. Otherwise the digests of its blocks are kept with their senders until the piece
//! passes, and the senders of the blocks that then differ lied. Nobody is blamed before that
//! comparison: an attacker would only have to add one bad block to every piece to get its honest
//! neighbours banned. A suspicious piece is fetched first and from a single peer, which makes the
//! next failure certain (libtorrent: parole), and until it passed, who gave a part of it gets whole
//! pieces only, as does a stranger until a piece of its own has passed: a liar is then caught by
//! its first piece, or by the next after it began to lie.

use std::{
    collections::{BTreeMap, VecDeque},
    net::SocketAddr,
};

use super::{BlockDigest, PeerKey};
use crate::metainfo::{BLOCK_LEN, Block, PieceIndex};

/// The senders of the blocks that are here unverified, and the failures that are not explained.
#[derive(Debug, Default)]
pub(super) struct Blame {
    /// Per piece under way the sender of each block; as many pieces as the picker has open.
    open: BTreeMap<PieceIndex, BTreeMap<u32, Sender>>,
    /// Failed pieces, oldest first.
    failed: VecDeque<Failure>,
}

type Sender = (PeerKey, SocketAddr);

#[derive(Debug)]
struct Failure {
    piece: PieceIndex,
    /// The blocks of the failed attempts whose sender is known: number, digest, sender.
    blocks: Vec<(u32, BlockDigest, Sender)>,
    /// Who gave them.
    senders: Vec<Sender>,
}

impl Blame {
    /// Nobody is blamed for anything.
    pub(super) fn new() -> Self {
        Self::default()
    }

    /// A block was accepted from this peer.
    pub(super) fn on_block(&mut self, block: Block, from: PeerKey, addr: SocketAddr) {
        let number = block.begin / BLOCK_LEN;
        self.open
            .entry(block.piece)
            .or_default()
            .insert(number, (from, addr));
    }

    /// The piece failed its hash; its blocks will be fetched again. Returns those that certainly
    /// lied: the sender, if a single one gave every block.
    pub(super) fn on_failed(&mut self, piece: PieceIndex, digests: &[BlockDigest]) -> Vec<Sender> {
        let senders = self.open.remove(&piece).unwrap_or_default();
        // A block without a sender came from our own disk after a restart: then nobody is certain.
        let complete =
            !digests.is_empty() && (0u32..).zip(digests).all(|(n, _)| senders.contains_key(&n));
        let givers = distinct(senders.values().copied());
        if complete && givers.len() == 1 {
            return givers;
        }

        let blocks = (0u32..).zip(digests).filter_map(|(number, digest)| {
            senders
                .get(&number)
                .map(|sender| (number, *digest, *sender))
        });
        match self
            .failed
            .iter_mut()
            .find(|failure| failure.piece == piece)
        {
            Some(failure) => {
                failure.blocks.extend(blocks);
                let excess = failure
                    .blocks
                    .len()
                    .saturating_sub(digests.len() * MAX_ATTEMPTS);
                failure.blocks.drain(..excess);
                failure.senders = distinct(failure.blocks.iter().map(|(_, _, sender)| *sender));
            }
            None => {
                if self.failed.len() == MAX_FAILURES {
                    self.failed.pop_front();
                }
                self.failed.push_back(Failure {
                    piece,
                    blocks: blocks.collect(),
                    senders: givers,
                });
            }
        }
        Vec::new()
    }

    /// Whether the piece failed before and nobody was found guilty: fetch it from one peer, and
    /// ask the storage for digests.
    pub(super) fn suspicious(&self, piece: PieceIndex) -> bool {
        self.failed.iter().any(|failure| failure.piece == piece)
    }

    /// The pieces that failed and whose liar is not known, oldest first.
    pub(super) fn unexplained(&self) -> impl Iterator<Item = PieceIndex> {
        self.failed.iter().map(|failure| failure.piece)
    }

    /// Whether this peer gave a part of a piece that failed: it should get whole pieces only.
    pub(super) fn suspects(&self, key: PeerKey, addr: SocketAddr) -> bool {
        // By the key for who is still connected, by the address for who has come again.
        let mut senders = self.failed.iter().flat_map(|failure| &failure.senders);
        senders.any(|(other, at)| *other == key || *at == addr)
    }

    /// Whether this peer gave a block of a piece that is here unverified.
    pub(super) fn gave(&self, piece: PieceIndex, key: PeerKey) -> bool {
        let senders = self.open.get(&piece);
        senders.is_some_and(|senders| senders.values().any(|(sender, _)| *sender == key))
    }

    /// Who gave the blocks of a piece that is here unverified.
    pub(super) fn givers(&self, piece: PieceIndex) -> Vec<Sender> {
        let senders = self.open.get(&piece).into_iter().flatten();
        distinct(senders.map(|(_, sender)| *sender))
    }

    /// The piece passed. Returns the senders of the blocks that differed when it failed.
    pub(super) fn on_passed(&mut self, piece: PieceIndex, digests: &[BlockDigest]) -> Vec<Sender> {
        self.open.remove(&piece);
        let Some(at) = self
            .failed
            .iter()
            .position(|failure| failure.piece == piece)
        else {
            return Vec::new();
        };
        let failure = self.failed.remove(at);
        let blocks = failure.map(|failure| failure.blocks).unwrap_or_default();
        let wrong = blocks.into_iter().filter(|(number, digest, _)| {
            digests
                .get(*number as usize)
                .is_some_and(|right| right != digest)
        });
        distinct(wrong.map(|(_, _, sender)| sender))
    }

    /// The piece's unverified blocks were dropped for a reason that is no peer's fault.
    pub(super) fn forget(&mut self, piece: PieceIndex) {
        self.open.remove(&piece);
    }
}

fn distinct(senders: impl Iterator<Item = Sender>) -> Vec<Sender> {
    let by_key: BTreeMap<PeerKey, SocketAddr> = senders.collect();
    by_key.into_iter().collect()
}

/// Ours: unexplained pieces to remember. On overflow the oldest attacker goes free.
const MAX_FAILURES: usize = 64;
/// Ours: failed attempts to remember per piece.
const MAX_ATTEMPTS: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    const PIECE: PieceIndex = PieceIndex(7);
    const RIGHT: [BlockDigest; 3] = [[1; 20], [2; 20], [3; 20]];

    fn addr(peer: u64) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, peer as u8], 6881))
    }

    fn give(blame: &mut Blame, piece: PieceIndex, senders: &[u64]) {
        for (number, peer) in (0u32..).zip(senders) {
            let begin = number * BLOCK_LEN;
            let block = Block {
                piece,
                begin,
                len: BLOCK_LEN,
            };
            blame.on_block(block, PeerKey(*peer), addr(*peer));
        }
    }

    fn liar(peer: u64) -> Sender {
        (PeerKey(peer), addr(peer))
    }

    #[test]
    fn one_sender_of_a_whole_bad_piece_is_certain() {
        let mut blame = Blame::new();
        give(&mut blame, PIECE, &[4, 4, 4]);
        assert_eq!(blame.on_failed(PIECE, &[[9; 20]; 3]), [liar(4)]);
        assert!(!blame.suspicious(PIECE));
    }

    #[test]
    fn of_several_senders_only_the_one_whose_block_differs_is_blamed() {
        let mut blame = Blame::new();
        give(&mut blame, PIECE, &[1, 2, 3]);
        assert_eq!(blame.on_failed(PIECE, &[RIGHT[0], [9; 20], RIGHT[2]]), []);
        assert!(blame.suspicious(PIECE) && !blame.suspicious(PieceIndex(8)));
        give(&mut blame, PIECE, &[1, 1, 1]);
        assert_eq!(blame.on_passed(PIECE, &RIGHT), [liar(2)]);
        assert!(!blame.suspicious(PIECE));
        assert_eq!(blame.on_passed(PIECE, &RIGHT), []);
    }

    #[test]
    fn liars_of_every_attempt_are_found() {
        let mut blame = Blame::new();
        give(&mut blame, PIECE, &[1, 2, 3]);
        blame.on_failed(PIECE, &[RIGHT[0], [9; 20], RIGHT[2]]);
        give(&mut blame, PIECE, &[5, 1, 6]);
        blame.on_failed(PIECE, &[[8; 20], RIGHT[1], [7; 20]]);
        assert_eq!(blame.on_passed(PIECE, &RIGHT), [liar(2), liar(5), liar(6)]);
    }

    #[test]
    fn blocks_of_unknown_origin_make_nobody_guilty() {
        let mut blame = Blame::new();
        give(&mut blame, PIECE, &[1, 1]);
        assert_eq!(blame.on_failed(PIECE, &[RIGHT[0], RIGHT[1], [9; 20]]), []);
        assert_eq!(blame.on_passed(PIECE, &RIGHT), []);
    }

    #[test]
    fn a_piece_dropped_for_our_own_fault_leaves_no_senders() {
        let mut blame = Blame::new();
        give(&mut blame, PIECE, &[1, 1, 1]);
        blame.forget(PIECE);
        assert_eq!(blame.on_failed(PIECE, &[[9; 20]; 3]), []);
        assert_eq!(blame.on_passed(PIECE, &RIGHT), []);
    }

    #[test]
    fn memory_is_bounded_in_pieces_and_attempts() {
        let mut blame = Blame::new();
        for piece in (0..1_000).map(PieceIndex) {
            give(&mut blame, piece, &[1, 2, 3]);
            blame.on_failed(piece, &[[9; 20]; 3]);
        }
        for _ in 0..1_000 {
            give(&mut blame, PieceIndex(999), &[1, 2, 3]);
            blame.on_failed(PieceIndex(999), &[[9; 20]; 3]);
        }
        assert_eq!(blame.failed.len(), MAX_FAILURES);
        assert!(blame.open.is_empty());
        assert!(
            blame
                .failed
                .iter()
                .all(|failure| failure.blocks.len() <= 3 * MAX_ATTEMPTS)
        );
        assert!(!blame.suspicious(PieceIndex(0)) && blame.suspicious(PieceIndex(999)));
    }
}
