//! A piece's life: missing → partial → verifying → have, and back to missing when its hash is
//! wrong or its storage fails.
//!
//! This module knows which blocks of which pieces are asked for and received; it does not know
//! peers. Every piece is in exactly one state, and only the methods here move it.

use std::collections::BTreeMap;

use crate::{
    bitfield::Bitfield,
    metainfo::{Block, Geometry, PieceIndex},
};

use super::PeerKey;

/// Where a piece is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PieceState {
    /// Nothing of it is here or asked for.
    Missing,
    /// Some of its blocks are asked for or received.
    Partial,
    /// All blocks were handed to the storage, which hashes and writes it.
    Verifying,
    /// Verified and written.
    Have,
}

/// One block of a partial piece.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum BlockState {
    Free,
    /// Asked of so many peers.
    Asked(u8),
    Received,
}

/// A piece that is being fetched.
#[derive(Debug)]
pub(super) struct Partial {
    blocks: Box<[BlockState]>,
    free: u32,
    received: u32,
    /// Only this peer may give it, so that it will be plain who lied: the piece failed before, or
    /// the peer gave a part of one that did, or has not proven itself yet.
    owner: Option<PeerKey>,
}

impl Partial {
    /// Blocks that nobody was asked for.
    pub(super) fn free(&self) -> u32 {
        self.free
    }

    /// Whether `peer` may be asked for blocks of this piece.
    pub(super) fn open_to(&self, peer: PeerKey) -> bool {
        self.owner.is_none_or(|owner| owner == peer)
    }

    /// Whether `peer` alone may give it.
    pub(super) fn is_owned_by(&self, peer: PeerKey) -> bool {
        self.owner == Some(peer)
    }
}

/// What the arrival of a block means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Arrival {
    /// It is new. `others` peers were asked for it too; `complete` if it was the piece's last.
    New { others: bool, complete: bool },
    /// It is here already, or its piece is not being fetched.
    Useless,
}

/// The state of every piece of a torrent.
#[derive(Debug)]
pub(super) struct Progress {
    geometry: Geometry,
    states: Box<[PieceState]>,
    have: Bitfield,
    wanted: Bitfield,
    partials: BTreeMap<PieceIndex, Partial>,
    /// Wanted pieces that are not `Have`.
    missing: u32,
    /// Wanted blocks that nobody was asked for: 0 begins the endgame.
    unasked: u64,
}

impl Progress {
    pub(super) fn new(geometry: Geometry, have: Bitfield, wanted: Bitfield) -> Self {
        let states = geometry
            .pieces()
            .map(|piece| {
                if have.get(piece.0) {
                    PieceState::Have
                } else {
                    PieceState::Missing
                }
            })
            .collect();
        let partials = BTreeMap::new();
        let mut progress = Self {
            geometry,
            states,
            have,
            wanted,
            partials,
            missing: 0,
            unasked: 0,
        };
        progress.recount();
        progress
    }

    pub(super) fn geometry(&self) -> Geometry {
        self.geometry
    }

    pub(super) fn have(&self) -> &Bitfield {
        &self.have
    }

    pub(super) fn state(&self, piece: PieceIndex) -> PieceState {
        self.states[piece.as_usize()]
    }

    pub(super) fn is_wanted(&self, piece: PieceIndex) -> bool {
        self.wanted.get(piece.0)
    }

    /// Whether the piece is wanted and nobody is fetching it.
    pub(super) fn is_startable(&self, piece: PieceIndex) -> bool {
        self.is_wanted(piece) && self.state(piece) == PieceState::Missing
    }

    /// Whether the piece is wanted and not here.
    pub(super) fn is_needed(&self, piece: PieceIndex) -> bool {
        self.is_wanted(piece) && !self.have.get(piece.0)
    }

    /// Whether every wanted piece is here.
    pub(super) fn is_complete(&self) -> bool {
        self.missing == 0
    }

    /// Wanted pieces that are not here.
    pub(super) fn missing(&self) -> u32 {
        self.missing
    }

    /// Whether every wanted block is here or asked for, and some are still on their way.
    pub(super) fn in_endgame(&self) -> bool {
        self.unasked == 0 && self.missing > 0
    }

    /// Wanted bytes, and those of them that are not here; blocks of unfinished pieces count as
    /// missing.
    pub(super) fn bytes(&self) -> (u64, u64) {
        let mut wanted = 0;
        let mut left = 0;
        for piece in self.wanted.ones().map(PieceIndex) {
            let len = u64::from(self.geometry.piece_len(piece));
            wanted += len;
            if !self.have.get(piece.0) {
                left += len;
            }
        }
        (wanted, left)
    }

    pub(super) fn set_wanted(&mut self, wanted: Bitfield) {
        self.wanted = wanted;
        self.recount();
    }

    pub(super) fn partials(&self) -> impl Iterator<Item = (PieceIndex, &Partial)> {
        self.partials
            .iter()
            .map(|(piece, partial)| (*piece, partial))
    }

    /// Begins to fetch a missing piece; with an owner nobody else may give it.
    pub(super) fn start(&mut self, piece: PieceIndex, owner: Option<PeerKey>) {
        debug_assert_eq!(self.state(piece), PieceState::Missing);
        let count = self.geometry.blocks_in(piece);
        let blocks = vec![BlockState::Free; count as usize].into();
        self.partials.insert(
            piece,
            Partial {
                blocks,
                free: count,
                received: 0,
                owner,
            },
        );
        self.states[piece.as_usize()] = PieceState::Partial;
    }

    /// Marks up to `count` free blocks of a partial piece as asked for and gives them.
    pub(super) fn take_free(&mut self, piece: PieceIndex, count: usize, out: &mut Vec<Block>) {
        let Some(partial) = self.partials.get_mut(&piece) else {
            return;
        };
        let wanted = self.wanted.get(piece.0);
        let mut left = count;
        for (index, state) in partial.blocks.iter_mut().enumerate() {
            if left == 0 || partial.free == 0 {
                break;
            }
            if *state == BlockState::Free {
                *state = BlockState::Asked(1);
                partial.free -= 1;
                self.unasked -= u64::from(wanted);
                left -= 1;
                out.extend(self.geometry.block(piece, index as u32));
            }
        }
    }

    /// Blocks of a partial piece that are asked of fewer than `most` peers, for the endgame.
    pub(super) fn asked_blocks(&self, piece: PieceIndex, most: u8) -> Vec<Block> {
        let Some(partial) = self.partials.get(&piece) else {
            return Vec::new();
        };
        let asked = partial
            .blocks
            .iter()
            .enumerate()
            .filter(|(_, state)| matches!(state, BlockState::Asked(count) if *count < most));
        asked
            .filter_map(|(index, _)| self.geometry.block(piece, index as u32))
            .collect()
    }

    /// One more peer was asked for a block (endgame).
    pub(super) fn ask_again(&mut self, block: Block) {
        if let Some(BlockState::Asked(count)) = self.block_mut(block) {
            *count = count.saturating_add(1);
        }
    }

    /// A request for a block is off: choked, rejected, timed out, or the peer is gone.
    pub(super) fn unask(&mut self, block: Block) {
        let Some(state) = self.block_mut(block) else {
            return;
        };
        match *state {
            BlockState::Asked(1) => *state = BlockState::Free,
            BlockState::Asked(count) => {
                *state = BlockState::Asked(count - 1);
                return;
            }
            BlockState::Free | BlockState::Received => return,
        }
        self.unasked += u64::from(self.wanted.get(block.piece.0));
        if let Some(partial) = self.partials.get_mut(&block.piece) {
            partial.free += 1;
        }
    }

    /// Whether a block of this piece may come from `peer`: it is being fetched, and not from another
    /// peer on parole.
    pub(super) fn accepts_from(&self, piece: PieceIndex, peer: PeerKey) -> bool {
        self.partials
            .get(&piece)
            .is_none_or(|partial| partial.open_to(peer))
    }

    /// A block arrived. A complete piece becomes `Verifying`.
    pub(super) fn receive(&mut self, block: Block) -> Arrival {
        let wanted = self.wanted.get(block.piece.0);
        let Some(state) = self.block_mut(block) else {
            return Arrival::Useless;
        };
        let (was_free, others) = match *state {
            BlockState::Free => (true, false),
            BlockState::Asked(count) => (false, count > 1),
            BlockState::Received => return Arrival::Useless,
        };
        *state = BlockState::Received;
        let Some(partial) = self.partials.get_mut(&block.piece) else {
            return Arrival::Useless;
        };
        partial.received += 1;
        if was_free {
            partial.free -= 1;
            self.unasked -= u64::from(wanted);
        }
        let complete = partial.received as usize == partial.blocks.len();
        if complete {
            self.partials.remove(&block.piece);
            self.states[block.piece.as_usize()] = PieceState::Verifying;
        }
        Arrival::New { others, complete }
    }

    /// A partial piece of which nothing was received and nothing is asked for goes back to
    /// `Missing`; says whether it did.
    pub(super) fn abandon_if_untouched(&mut self, piece: PieceIndex) -> bool {
        let untouched = self
            .partials
            .get(&piece)
            .is_some_and(|partial| partial.free as usize == partial.blocks.len());
        if untouched {
            self.partials.remove(&piece);
            self.states[piece.as_usize()] = PieceState::Missing;
        }
        untouched
    }

    /// How many pieces peers other than this one are giving alone.
    pub(super) fn owned_by_others(&self, peer: PeerKey) -> usize {
        let owners = self.partials.values().filter_map(|partial| partial.owner);
        owners.filter(|owner| *owner != peer).count()
    }

    /// Lets everybody give a piece.
    pub(super) fn open(&mut self, piece: PieceIndex) {
        if let Some(partial) = self.partials.get_mut(&piece) {
            partial.owner = None;
        }
    }

    /// The peer that alone could give these pieces is gone: whoever comes next may.
    pub(super) fn release_owner(&mut self, peer: PeerKey) {
        for partial in self.partials.values_mut() {
            if partial.owner == Some(peer) {
                partial.owner = None;
            }
        }
    }

    /// The storage has verified and written a piece; `false` if it was not being verified.
    pub(super) fn verified(&mut self, piece: PieceIndex) -> bool {
        if self.states.get(piece.as_usize()) != Some(&PieceState::Verifying) {
            return false;
        }
        self.states[piece.as_usize()] = PieceState::Have;
        self.have.set(piece.0);
        self.missing -= u32::from(self.wanted.get(piece.0));
        true
    }

    /// The piece's hash was wrong, its write failed, or its file is gone: fetch it afresh. Says
    /// whether the piece was in a state that can fail.
    pub(super) fn lost(&mut self, piece: PieceIndex) -> bool {
        let wanted = self.wanted.get(piece.0);
        let blocks = u64::from(self.geometry.blocks_in(piece));
        match self.states.get(piece.as_usize()) {
            None | Some(PieceState::Missing) => return false,
            Some(PieceState::Have) => {
                self.have.clear(piece.0);
                self.missing += u32::from(wanted);
                self.unasked += if wanted { blocks } else { 0 };
            }
            Some(PieceState::Verifying) => self.unasked += if wanted { blocks } else { 0 },
            Some(PieceState::Partial) => {
                let free = self
                    .partials
                    .remove(&piece)
                    .map_or(0, |partial| partial.free);
                self.unasked += if wanted { blocks - u64::from(free) } else { 0 };
            }
        }
        self.states[piece.as_usize()] = PieceState::Missing;
        true
    }

    /// Every piece is in exactly one state and the counts agree with the states.
    pub(super) fn check(&self) {
        let mut missing = 0;
        let mut unasked = 0;
        for piece in self.geometry.pieces() {
            let state = self.state(piece);
            let partial = self.partials.get(&piece);
            assert_eq!(state == PieceState::Partial, partial.is_some(), "{piece:?}");
            assert_eq!(
                state == PieceState::Have,
                self.have.get(piece.0),
                "{piece:?}"
            );
            if let Some(partial) = partial {
                let count = |wanted: BlockState| {
                    partial
                        .blocks
                        .iter()
                        .filter(|state| **state == wanted)
                        .count() as u32
                };
                assert_eq!(partial.free, count(BlockState::Free), "{piece:?}");
                assert_eq!(partial.received, count(BlockState::Received), "{piece:?}");
            }
            if self.is_wanted(piece) {
                missing += u32::from(state != PieceState::Have);
                unasked += self.unasked_in(piece);
            }
        }
        assert_eq!((missing, unasked), (self.missing, self.unasked));
    }

    fn recount(&mut self) {
        let needed = self
            .wanted
            .ones()
            .map(PieceIndex)
            .filter(|piece| self.is_needed(*piece));
        let (mut missing, mut unasked) = (0, 0);
        for piece in needed {
            missing += 1;
            unasked += self.unasked_in(piece);
        }
        (self.missing, self.unasked) = (missing, unasked);
    }

    fn unasked_in(&self, piece: PieceIndex) -> u64 {
        match self.state(piece) {
            PieceState::Missing => u64::from(self.geometry.blocks_in(piece)),
            PieceState::Partial => u64::from(self.partials[&piece].free),
            PieceState::Verifying | PieceState::Have => 0,
        }
    }

    fn block_mut(&mut self, block: Block) -> Option<&mut BlockState> {
        let index = self.geometry.block_index(block)?;
        self.partials
            .get_mut(&block.piece)?
            .blocks
            .get_mut(index as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn progress(pieces: u32) -> Progress {
        let geometry = Geometry::new(u64::from(pieces) * 32_768, 32_768).unwrap();
        Progress::new(geometry, Bitfield::empty(pieces), Bitfield::full(pieces))
    }

    fn take(progress: &mut Progress, piece: PieceIndex, count: usize) -> Vec<Block> {
        let mut blocks = Vec::new();
        progress.take_free(piece, count, &mut blocks);
        progress.check();
        blocks
    }

    #[test]
    fn a_piece_lives_and_fails_and_lives() {
        let mut progress = progress(2);
        let piece = PieceIndex(1);
        for attempt in 0..2 {
            progress.start(piece, None);
            let blocks = take(&mut progress, piece, 9);
            assert_eq!(blocks.len(), 2);
            let first = progress.receive(blocks[0]);
            assert_eq!(
                first,
                Arrival::New {
                    others: false,
                    complete: false
                }
            );
            assert_eq!(progress.receive(blocks[0]), Arrival::Useless);
            let second = progress.receive(blocks[1]);
            assert_eq!(
                second,
                Arrival::New {
                    others: false,
                    complete: true
                }
            );
            assert_eq!(progress.state(piece), PieceState::Verifying);
            progress.check();
            if attempt == 0 {
                assert!(progress.lost(piece));
                assert_eq!(progress.state(piece), PieceState::Missing);
            } else {
                assert!(progress.verified(piece) && !progress.verified(piece));
            }
            progress.check();
        }
        assert_eq!(progress.missing(), 1);
    }

    #[test]
    fn endgame_begins_when_every_block_is_asked_for() {
        let mut progress = progress(1);
        let piece = PieceIndex(0);
        progress.start(piece, None);
        let blocks = take(&mut progress, piece, 1);
        assert!(!progress.in_endgame());
        take(&mut progress, piece, 1);
        assert!(progress.in_endgame());
        progress.ask_again(blocks[0]);
        assert_eq!(progress.asked_blocks(piece, 2).len(), 1);
        progress.unask(blocks[0]);
        assert!(progress.in_endgame(), "one peer is still asked");
        progress.unask(blocks[0]);
        assert!(!progress.in_endgame());
        progress.check();
    }

    #[test]
    fn untouched_pieces_are_abandoned_and_wanted_counts_follow() {
        let mut progress = progress(3);
        progress.start(PieceIndex(0), None);
        let blocks = take(&mut progress, PieceIndex(0), 2);
        assert!(!progress.abandon_if_untouched(PieceIndex(0)));
        blocks.into_iter().for_each(|block| progress.unask(block));
        assert!(progress.abandon_if_untouched(PieceIndex(0)));
        progress.check();
        let mut wanted = Bitfield::empty(3);
        wanted.set(2);
        progress.set_wanted(wanted);
        progress.check();
        assert_eq!(
            (progress.missing(), progress.bytes()),
            (1, (32_768, 32_768))
        );
    }

    #[test]
    fn a_vanished_piece_is_needed_again() {
        let geometry = Geometry::new(32_768, 32_768).unwrap();
        let mut progress = Progress::new(geometry, Bitfield::full(1), Bitfield::full(1));
        assert!(progress.is_complete());
        assert!(progress.lost(PieceIndex(0)) && !progress.lost(PieceIndex(0)));
        assert!(!progress.lost(PieceIndex(7)));
        assert!(progress.is_needed(PieceIndex(0)));
        progress.check();
    }
}
