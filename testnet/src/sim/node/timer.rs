//! When a core wants to be woken.

use std::time::Instant;

use crate::sim::{
    line::Line,
    medium::{Event, Medium},
};

/// One coalesced timer: the queue holds an entry for the earliest time asked for, and an entry that
/// is no longer the one that was set does nothing. Moving a deadline back costs nothing.
#[derive(Debug, Default)]
pub(super) struct Timer {
    set: Option<u64>,
}

impl Timer {
    pub(super) fn set(
        &mut self,
        medium: &mut Medium,
        line: &mut Line,
        deadline: Option<Instant>,
        event: Event,
    ) {
        if let Some(deadline) = deadline {
            self.set_nanos(medium, line, medium.nanos(deadline), event);
        }
    }

    pub(super) fn set_nanos(
        &mut self,
        medium: &mut Medium,
        line: &mut Line,
        at: u64,
        event: Event,
    ) {
        let at = at.max(medium.now);
        if self.set.is_none_or(|set| at < set) {
            self.set = Some(at);
            medium.wake(line, at, event);
        }
    }

    /// Whether this entry is the one that was set; it is used up.
    pub(super) fn fires(&mut self, now: u64) -> bool {
        let fires = self.set == Some(now);
        if fires {
            self.set = None;
        }
        fires
    }
}
