//! Rarest first: which piece to ask of a peer next.
//!
//! [`Picker`] counts how many neighbours have each piece and keeps the pieces that can be started
//! sorted by that count, so that a HAVE message costs O(1) and a pick walks from the rarest piece
//! up until it meets one that the peer has. Equals are in random order, freshly drawn whenever a
//! piece changes its count, so that neighbours do not all run for the same piece.
//!
//! Neighbours with everything change no order and are only counted.

use rand::{RngExt, rngs::StdRng};

use crate::{bitfield::Bitfield, metainfo::PieceIndex};

use super::config::PieceOrder;

/// The pieces that can be started, rarest first.
#[derive(Debug)]
pub(super) struct Picker {
    /// How many neighbours that do not have everything have each piece.
    counts: Vec<u32>,
    /// Neighbours that have everything.
    seeds: u32,
    /// The pieces that can be started, sorted by count.
    order: Vec<PieceIndex>,
    /// Where each piece is in `order`; [`ABSENT`] if it is not.
    position: Vec<u32>,
    /// `ends[count]`: the end of the run of pieces with that count in `order`. Never empty; the
    /// last equals `order.len()`.
    ends: Vec<u32>,
}

impl Picker {
    /// A picker of `pieces` pieces, none of which can be started yet.
    pub(super) fn new(pieces: u32) -> Self {
        Self {
            counts: vec![0; pieces as usize],
            seeds: 0,
            order: Vec::new(),
            position: vec![ABSENT; pieces as usize],
            ends: vec![0],
        }
    }

    /// How many neighbours have the piece.
    pub(super) fn availability(&self, piece: PieceIndex) -> u32 {
        self.counts[piece.as_usize()] + self.seeds
    }

    /// The piece can be started: it is wanted and missing.
    pub(super) fn insert(&mut self, piece: PieceIndex, rng: &mut StdRng) {
        if self.position[piece.as_usize()] != ABSENT {
            return;
        }
        let count = self.counts[piece.as_usize()] as usize;
        self.grow(count);
        let mut at = self.order.len();
        self.order.push(piece);
        self.position[piece.as_usize()] = at as u32;
        for run in (count..self.ends.len()).rev() {
            self.ends[run] += 1;
            if run > count {
                let first = self.ends[run - 1] as usize;
                self.swap(at, first);
                at = first;
            }
        }
        self.shuffle_into(at, count, rng);
    }

    /// The piece cannot be started any more: it is being fetched, here, or unwanted.
    pub(super) fn remove(&mut self, piece: PieceIndex) {
        let mut at = self.position[piece.as_usize()];
        if at == ABSENT {
            return;
        }
        for run in self.counts[piece.as_usize()] as usize..self.ends.len() {
            let last = self.ends[run] - 1;
            self.swap(at as usize, last as usize);
            self.ends[run] = last;
            at = last;
        }
        self.order.pop();
        self.position[piece.as_usize()] = ABSENT;
    }

    /// A neighbour got a piece.
    pub(super) fn on_have(&mut self, piece: PieceIndex, rng: &mut StdRng) {
        let count = self.counts[piece.as_usize()] as usize;
        self.counts[piece.as_usize()] += 1;
        let at = self.position[piece.as_usize()];
        if at == ABSENT {
            return;
        }
        self.grow(count + 1);
        let last = self.ends[count] - 1;
        self.swap(at as usize, last as usize);
        self.ends[count] = last;
        self.shuffle_into(last as usize, count + 1, rng);
    }

    /// A neighbour came with these pieces.
    pub(super) fn on_joined(&mut self, has: &Bitfield, rng: &mut StdRng) {
        if has.is_full() {
            self.seeds += 1;
        } else {
            has.ones()
                .for_each(|piece| self.on_have(PieceIndex(piece), rng));
        }
    }

    /// A neighbour that had these pieces is gone.
    pub(super) fn on_left(&mut self, has: &Bitfield, rng: &mut StdRng) {
        if has.is_full() {
            self.seeds -= 1;
        } else {
            has.ones()
                .for_each(|piece| self.on_lost(PieceIndex(piece), rng));
        }
    }

    /// A neighbour whose last piece was just counted has everything now.
    pub(super) fn on_became_seed(&mut self, rng: &mut StdRng) {
        for piece in 0..self.counts.len() as u32 {
            self.on_lost(PieceIndex(piece), rng);
        }
        self.seeds += 1;
    }

    /// The piece to start next with a peer that has `has`; `allowed` says which pieces it may be
    /// asked for.
    pub(super) fn pick(
        &self,
        order: PieceOrder,
        has: &Bitfield,
        rng: &mut StdRng,
        allowed: impl Fn(PieceIndex) -> bool,
    ) -> Option<PieceIndex> {
        let fits = |piece: &&PieceIndex| has.get(piece.0) && allowed(**piece);
        match order {
            PieceOrder::RarestFirst => self.order.iter().find(fits),
            PieceOrder::Sequential => self.order.iter().filter(fits).min(),
            PieceOrder::Random if self.order.is_empty() => None,
            PieceOrder::Random => {
                let (before, after) = self.order.split_at(rng.random_range(0..self.order.len()));
                after.iter().chain(before).find(fits)
            }
        }
        .copied()
    }

    /// The order is sorted by count, the runs end where `ends` says, positions point back.
    pub(super) fn check(&self) {
        assert_eq!(
            self.ends.last().map(|end| *end as usize),
            Some(self.order.len())
        );
        for (at, piece) in self.order.iter().enumerate() {
            let count = self.counts[piece.as_usize()] as usize;
            let start = if count == 0 {
                0
            } else {
                self.ends[count - 1] as usize
            };
            assert!(
                (start..self.ends[count] as usize).contains(&at),
                "{piece:?} at {at}"
            );
            assert_eq!(self.position[piece.as_usize()] as usize, at);
        }
        let placed = self.position.iter().filter(|at| **at != ABSENT).count();
        assert_eq!(placed, self.order.len());
    }

    fn on_lost(&mut self, piece: PieceIndex, rng: &mut StdRng) {
        let count = self.counts[piece.as_usize()] as usize;
        debug_assert!(count > 0, "a piece was lost that nobody had");
        self.counts[piece.as_usize()] -= 1;
        let at = self.position[piece.as_usize()];
        if at == ABSENT {
            return;
        }
        let first = self.ends[count - 1];
        self.swap(at as usize, first as usize);
        self.ends[count - 1] = first + 1;
        self.shuffle_into(first as usize, count - 1, rng);
    }

    /// Moves the piece at `at`, which is in the run of `count`, to a random place of that run.
    fn shuffle_into(&mut self, at: usize, count: usize, rng: &mut StdRng) {
        let start = if count == 0 { 0 } else { self.ends[count - 1] };
        let to = rng.random_range(start..self.ends[count]);
        self.swap(at, to as usize);
    }

    fn swap(&mut self, a: usize, b: usize) {
        self.order.swap(a, b);
        self.position[self.order[a].as_usize()] = a as u32;
        self.position[self.order[b].as_usize()] = b as u32;
    }

    /// Makes sure that a run for `count` exists.
    fn grow(&mut self, count: usize) {
        let end = self.order.len() as u32;
        if self.ends.len() <= count {
            self.ends.resize(count + 1, end);
        }
    }
}

/// The position of a piece that is not in the order.
const ABSENT: u32 = u32::MAX;

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    fn bits(len: u32, pieces: &[u32]) -> Bitfield {
        let mut set = Bitfield::empty(len);
        pieces.iter().for_each(|piece| assert!(set.set(*piece)));
        set
    }

    fn picker(pieces: u32, rng: &mut StdRng) -> Picker {
        let mut picker = Picker::new(pieces);
        (0..pieces).for_each(|piece| picker.insert(PieceIndex(piece), rng));
        picker.check();
        picker
    }

    #[test]
    fn the_rarest_piece_that_the_peer_has_comes_first() {
        let rng = &mut StdRng::seed_from_u64(1);
        let mut picker = picker(4, rng);
        picker.on_joined(&bits(4, &[0, 1, 2]), rng);
        picker.on_joined(&bits(4, &[0, 1]), rng);
        picker.on_joined(&bits(4, &[0]), rng);
        picker.check();
        let mut pick = |has: &[u32]| {
            picker
                .pick(PieceOrder::RarestFirst, &bits(4, has), rng, |_| true)
                .map(|piece| piece.0)
        };
        assert_eq!(pick(&[0, 1, 2, 3]), Some(3));
        assert_eq!(pick(&[0, 1, 2]), Some(2));
        assert_eq!(pick(&[0, 1]), Some(1));
        assert_eq!(pick(&[]), None);
    }

    #[test]
    fn equals_are_drawn_at_random() {
        let mut first = [0; 8];
        for seed in 0..800 {
            let rng = &mut StdRng::seed_from_u64(seed);
            let picker = picker(8, rng);
            let piece = picker.pick(PieceOrder::RarestFirst, &Bitfield::full(8), rng, |_| true);
            first[piece.unwrap().as_usize()] += 1;
        }
        assert!(
            first.iter().all(|count| (60..140).contains(count)),
            "{first:?}"
        );
    }

    #[test]
    fn other_orders_do_as_they_say() {
        let rng = &mut StdRng::seed_from_u64(3);
        let mut picker = picker(8, rng);
        picker.on_joined(&bits(8, &[1, 2, 3]), rng);
        let full = Bitfield::full(8);
        let sequential = picker.pick(PieceOrder::Sequential, &full, rng, |piece| piece.0 > 0);
        assert_eq!(sequential, Some(PieceIndex(1)));
        let mut seen = [false; 8];
        for _ in 0..200 {
            let piece = picker
                .pick(PieceOrder::Random, &full, rng, |_| true)
                .unwrap();
            seen[piece.as_usize()] = true;
        }
        assert_eq!(seen, [true; 8]);
    }

    #[test]
    fn random_walk_keeps_the_order() {
        let rng = &mut StdRng::seed_from_u64(7);
        let mut picker = picker(20, rng);
        let mut neighbours: Vec<Bitfield> = Vec::new();
        for _ in 0..3_000 {
            match rng.random_range(0..5) {
                0 => {
                    let mut has = Bitfield::empty(20);
                    (0..20).filter(|_| rng.random_bool(0.3)).for_each(|piece| {
                        has.set(piece);
                    });
                    picker.on_joined(&has, rng);
                    neighbours.push(has);
                }
                1 if !neighbours.is_empty() => {
                    let gone = neighbours.swap_remove(rng.random_range(0..neighbours.len()));
                    picker.on_left(&gone, rng);
                }
                2 if !neighbours.is_empty() => {
                    let at = rng.random_range(0..neighbours.len());
                    let piece = rng.random_range(0..20);
                    if neighbours[at].set(piece) {
                        picker.on_have(PieceIndex(piece), rng);
                        if neighbours[at].is_full() {
                            picker.on_became_seed(rng);
                        }
                    }
                }
                3 => picker.remove(PieceIndex(rng.random_range(0..20))),
                _ => picker.insert(PieceIndex(rng.random_range(0..20)), rng),
            }
            picker.check();
            for piece in 0..20 {
                let count = neighbours.iter().filter(|has| has.get(piece)).count();
                assert_eq!(picker.availability(PieceIndex(piece)) as usize, count);
            }
        }
    }
}
