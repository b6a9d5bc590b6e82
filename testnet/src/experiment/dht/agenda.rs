//! What an experiment does to its world, and when.

use std::{cmp::Reverse, collections::BinaryHeap, time::Duration};

/// One thing to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Act {
    /// One of a cold network's first nodes joins.
    Join,
    /// A node's session ends, and another joins in its place.
    Leave(u32),
    /// A key is announced, for the first time or again.
    Announce { key: u32, again: bool },
    /// Somebody looks for nobody, to learn how dense the key space is.
    Probe,
    /// An announce should have ended: who holds it?
    CountHolders(u32),
    /// Somebody looks up a key.
    LookUp,
    /// An event of the plan.
    Event(u32),
    /// A partition ends.
    Heal,
    /// Newcomers should have found their way in.
    CountNewcomers(u32),
    /// Tables are looked at.
    Sample,
    /// A young network's tables are looked at.
    SampleYoung,
}

/// Things to do, in order of time; those of one time in the order in which they were noted.
#[derive(Debug, Default)]
pub(super) struct Agenda {
    heap: BinaryHeap<Reverse<(Duration, u64, Act)>>,
    noted: u64,
}

impl Agenda {
    pub(super) fn note(&mut self, at: Duration, act: Act) {
        self.noted += 1;
        self.heap.push(Reverse((at, self.noted, act)));
    }

    /// Takes the first, if it is due by `until`.
    pub(super) fn next(&mut self, until: Duration) -> Option<(Duration, Act)> {
        if self.heap.peek().is_none_or(|Reverse((at, ..))| *at > until) {
            return None;
        }
        self.heap.pop().map(|Reverse((at, _, act))| (at, act))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in_order_of_time_then_of_noting() {
        let mut agenda = Agenda::default();
        let at = Duration::from_secs;
        for (time, act) in [
            (5, Act::Sample),
            (3, Act::LookUp),
            (5, Act::Heal),
            (9, Act::Join),
        ] {
            agenda.note(at(time), act);
        }
        let mut taken = Vec::new();
        while let Some((_, act)) = agenda.next(at(8)) {
            taken.push(act);
        }
        assert_eq!(taken, [Act::LookUp, Act::Sample, Act::Heal]);
        assert_eq!(agenda.next(at(9)), Some((at(9), Act::Join)));
    }
}
