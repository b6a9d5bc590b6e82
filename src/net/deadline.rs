//! One timer per task, armed again only when its deadline moves.

use std::{future::pending, pin::Pin, time::Instant};

use tokio::time::{Sleep, sleep_until};

/// A timer that may be unset.
#[derive(Debug, Default)]
pub(super) struct Deadline {
    at: Option<Instant>,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Deadline {
    /// Sets when [`Self::reached`] returns; `None` is never.
    pub(super) fn set(&mut self, at: Option<Instant>) {
        if self.at == at {
            return;
        }
        self.at = at;
        let Some(at) = at else { return };
        match &mut self.sleep {
            Some(sleep) => sleep.as_mut().reset(at.into()),
            None => self.sleep = Some(Box::pin(sleep_until(at.into()))),
        }
    }

    /// Whether the time has come.
    pub(super) fn is_past(&self, now: Instant) -> bool {
        self.at.is_some_and(|at| now >= at)
    }

    /// Waits for the time; without one, for ever. May be dropped and called again.
    pub(super) async fn reached(&mut self) {
        match (self.at, &mut self.sleep) {
            (Some(_), Some(sleep)) => sleep.as_mut().await,
            _ => pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn moves_and_unsets() {
        let mut deadline = Deadline::default();
        let short = Duration::from_millis(30);
        assert!(timeout(short, deadline.reached()).await.is_err());
        let now = Instant::now();
        deadline.set(Some(now + Duration::from_secs(60)));
        assert!(timeout(short, deadline.reached()).await.is_err());
        deadline.set(Some(now));
        assert!(deadline.is_past(now));
        assert!(timeout(short, deadline.reached()).await.is_ok());
        deadline.set(None);
        assert!(!deadline.is_past(now));
        assert!(timeout(short, deadline.reached()).await.is_err());
    }
}
