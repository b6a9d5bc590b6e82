//! The event queue: a hierarchical timing wheel with a total order.
//!
//! Entries come out by time and, among equals, by an order that whoever puts them in gives: never
//! by the order in which they were put in, which depends on how a world is split. Putting in and
//! taking out cost the same at ten entries and at ten million, which a heap's do not: only the
//! entries of the open tick are ever compared with each other.

use std::{
    cmp::{Ordering, Reverse},
    collections::{BinaryHeap, binary_heap::PeekMut},
};

/// A queue of things to come, by time in nanoseconds.
#[derive(Debug)]
pub(crate) struct Wheel<T> {
    /// The tick whose entries are in `open`.
    tick: u64,
    open: BinaryHeap<Reverse<Entry<T>>>,
    levels: [Level<T>; LEVELS],
    /// Beyond the last level: days ahead.
    far: Vec<Entry<T>>,
    len: usize,
    /// Whether a tick was opened since [`Self::take_opened`].
    opened: bool,
}

impl<T> Wheel<T> {
    pub(crate) fn new() -> Self {
        Self {
            tick: 0,
            open: BinaryHeap::new(),
            levels: std::array::from_fn(|_| Level::new()),
            far: Vec::new(),
            len: 0,
            opened: false,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Adds an entry. A time that has passed comes out next; `order` decides among equal times.
    pub(crate) fn push(&mut self, time: u64, order: u64, what: T) {
        self.len += 1;
        self.place(Entry { time, order, what });
    }

    /// The time of the next entry.
    pub(crate) fn next_time(&mut self) -> Option<u64> {
        self.open_next();
        self.open.peek().map(|Reverse(entry)| entry.time)
    }

    /// Whether a tick has been opened since this was last asked.
    pub(crate) fn take_opened(&mut self) -> bool {
        self.open_next();
        std::mem::take(&mut self.opened)
    }

    /// What the open tick holds, in no order.
    pub(crate) fn open(&self) -> impl Iterator<Item = &T> {
        self.open.iter().map(|Reverse(entry)| &entry.what)
    }

    /// Takes the next entry, if its time is not after `until`.
    pub(crate) fn pop(&mut self, until: u64) -> Option<(u64, T)> {
        self.open_next();
        let next = self.open.peek_mut()?;
        if next.0.time > until {
            return None;
        }
        let Reverse(entry) = PeekMut::pop(next);
        self.len -= 1;
        Some((entry.time, entry.what))
    }

    fn place(&mut self, entry: Entry<T>) {
        let tick = entry.time >> TICK_BITS;
        if tick <= self.tick {
            self.open.push(Reverse(entry));
            return;
        }
        let level = (tick ^ self.tick).ilog2() / SLOT_BITS;
        match self.levels.get_mut(level as usize) {
            Some(wheel) => wheel.put((tick >> (level * SLOT_BITS)) as usize % SLOTS, entry),
            None => self.far.push(entry),
        }
    }

    /// Makes sure that the next entry, if there is one, is in `open`.
    fn open_next(&mut self) {
        while self.open.is_empty() && self.len > 0 {
            let found = (0..LEVELS).find_map(|level| Some((level, self.levels[level].first()?)));
            match found {
                Some((0, slot)) => {
                    self.tick = self.tick & !(SLOTS as u64 - 1) | slot as u64;
                    let heap = std::mem::take(&mut self.open);
                    let mut entries = heap.into_vec();
                    entries.extend(self.levels[0].take(slot).drain(..).map(Reverse));
                    self.open = BinaryHeap::from(entries);
                    self.opened = true;
                }
                Some((level, slot)) => {
                    let shift = level as u32 * SLOT_BITS;
                    let above = self.tick >> shift & !(SLOTS as u64 - 1) | slot as u64;
                    self.tick = above << shift;
                    let mut entries = std::mem::take(self.levels[level].take(slot));
                    entries.drain(..).for_each(|entry| self.place(entry));
                    // The slot keeps its memory for the next turn of the wheel.
                    self.levels[level].slots[slot] = entries;
                }
                None => {
                    let first = self.far.iter().map(|entry| entry.time).min();
                    self.tick = first.unwrap_or(0) >> TICK_BITS;
                    for entry in std::mem::take(&mut self.far) {
                        self.place(entry);
                    }
                }
            }
        }
    }
}

/// A tick is 2^19 ns, about half a millisecond: far below any network delay, so a tick holds few
/// entries.
const TICK_BITS: u32 = 19;
const SLOT_BITS: u32 = 10;
const SLOTS: usize = 1 << SLOT_BITS;
/// Three levels reach 2^30 ticks: six days.
const LEVELS: usize = 3;

#[derive(Debug)]
struct Level<T> {
    slots: Box<[Vec<Entry<T>>]>,
    /// One bit for each slot that is not empty.
    full: [u64; SLOTS / 64],
}

impl<T> Level<T> {
    fn new() -> Self {
        Self {
            slots: (0..SLOTS).map(|_| Vec::new()).collect(),
            full: [0; SLOTS / 64],
        }
    }

    fn put(&mut self, slot: usize, entry: Entry<T>) {
        self.slots[slot].push(entry);
        self.full[slot / 64] |= 1 << (slot % 64);
    }

    /// The first slot that is not empty. Slots behind the current tick always are.
    fn first(&self) -> Option<usize> {
        let word = self.full.iter().position(|word| *word != 0)?;
        Some(word * 64 + self.full[word].trailing_zeros() as usize)
    }

    fn take(&mut self, slot: usize) -> &mut Vec<Entry<T>> {
        self.full[slot / 64] &= !(1 << (slot % 64));
        &mut self.slots[slot]
    }
}

#[derive(Debug)]
struct Entry<T> {
    time: u64,
    order: u64,
    what: T,
}

impl<T> Ord for Entry<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.time, self.order).cmp(&(other.time, other.order))
    }
}

impl<T> PartialOrd for Entry<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> PartialEq for Entry<T> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl<T> Eq for Entry<T> {}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::sim::hash::mix;

    #[test]
    fn the_order_is_that_of_a_sorted_list() {
        // Delays from nothing to days, pushed while the clock moves, as a run does.
        for seed in 0..20 {
            let (mut wheel, mut model) = (Wheel::new(), BTreeSet::new());
            let mut now = 0u64;
            for step in 0..4_000u64 {
                let draw = mix(seed << 32 | step);
                if draw % 5 < 3 {
                    let delay = mix(draw) >> (14 + draw % 50);
                    // An order of its own, not that of the pushes.
                    let order = mix(step) >> 40 << 20 | step;
                    wheel.push(now + delay, order, order);
                    model.insert((now + delay, order));
                } else {
                    let expected = model.pop_first();
                    assert_eq!(wheel.next_time(), expected.map(|(time, _)| time));
                    if let Some((time, _)) = expected.filter(|(time, _)| *time > 0) {
                        assert_eq!(wheel.pop(time - 1), None);
                    }
                    assert_eq!(wheel.pop(u64::MAX), expected, "seed {seed} step {step}");
                    now = expected.map_or(now, |(time, _)| time);
                }
            }
            while let Some(expected) = model.pop_first() {
                assert_eq!(wheel.pop(u64::MAX), Some(expected), "seed {seed}");
            }
            assert_eq!((wheel.pop(u64::MAX), wheel.len()), (None, 0));
        }
    }

    #[test]
    fn a_look_ahead_does_not_hide_what_is_put_in_before_it() {
        let mut wheel = Wheel::new();
        wheel.push(10_000_000_000, 2, 'c');
        assert_eq!(wheel.next_time(), Some(10_000_000_000));
        wheel.push(5, 9, 'a');
        wheel.push(10_000_000_000, 1, 'b');
        assert_eq!(wheel.pop(u64::MAX), Some((5, 'a')));
        assert_eq!(wheel.pop(u64::MAX), Some((10_000_000_000, 'b')));
        assert_eq!(wheel.pop(u64::MAX), Some((10_000_000_000, 'c')));
    }
}
