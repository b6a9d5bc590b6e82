//! What a run costs, for those who ask how fast the engine is.

use std::{fmt, time::Duration};

/// The cost of a world's runs so far.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Speed {
    /// Events handled.
    pub events: u64,
    /// The wall time that the runs took.
    pub wall: Duration,
    /// The threads among which the work was shared.
    pub threads: usize,
    /// The most memory that the process ever held, in bytes; `None` where the system does not say.
    pub peak_memory: Option<u64>,
}

impl Speed {
    /// Events per second of wall time and per thread.
    pub fn per_thread(&self) -> f64 {
        let seconds = self.wall.as_secs_f64() * self.threads as f64;
        if seconds > 0.0 {
            self.events as f64 / seconds
        } else {
            0.0
        }
    }
}

impl fmt::Display for Speed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} events in {:.2} s on {} threads, {:.2} M events/s each",
            self.events,
            self.wall.as_secs_f64(),
            self.threads,
            self.per_thread() / 1e6
        )?;
        match self.peak_memory {
            Some(bytes) => write!(f, ", {:.2} GiB at most", bytes as f64 / (1u64 << 30) as f64),
            None => Ok(()),
        }
    }
}

/// The process's peak resident memory, where Linux says it.
pub(super) fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn speed_is_per_thread_and_memory_is_read_where_linux_says_it() {
        let speed = Speed {
            events: 6_000_000,
            wall: Duration::from_secs(2),
            threads: 2,
            peak_memory: Some(3 << 30),
        };
        assert_eq!(speed.per_thread(), 1.5e6);
        let text = "6000000 events in 2.00 s on 2 threads, 1.50 M events/s each, 3.00 GiB at most";
        assert_eq!(speed.to_string(), text);
        if cfg!(target_os = "linux") {
            assert!(peak_memory().is_some_and(|bytes| bytes > 1 << 20));
        }
    }
}
