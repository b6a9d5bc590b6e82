//! How busy a run kept the processor: a ratio measured on a saturated machine says nothing about
//! the protocol.

use std::{fs, thread, time::Duration, time::Instant};

/// A run that kept the machine busier than this is void: it measured the processor.
pub const VOID_ABOVE: f64 = 0.7;

/// Processor time from a moment on.
#[derive(Debug)]
pub struct CpuMeter {
    since: Instant,
    process: Option<Duration>,
    machine: Option<MachineTicks>,
}

/// Shares of all cores, 0 to 1; `None` where the system does not tell.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct CpuShare {
    /// Taken by this process.
    pub process: Option<f64>,
    /// Taken by everything on the machine.
    pub machine: Option<f64>,
    /// Cores that were shared.
    pub cores: usize,
}

impl CpuShare {
    /// Whether too little was left idle for the figure to count.
    pub fn is_void(&self) -> bool {
        self.machine
            .or(self.process)
            .is_some_and(|share| share > VOID_ABOVE)
    }
}

impl CpuMeter {
    /// Starts counting.
    pub fn start() -> Self {
        Self {
            since: Instant::now(),
            process: process_time(),
            machine: MachineTicks::read(),
        }
    }

    /// The shares since the start.
    pub fn share(&self) -> CpuShare {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let wall = self.since.elapsed().as_secs_f64() * cores as f64;
        let process = self.process.zip(process_time()).map(|(then, now)| {
            let used = now.saturating_sub(then).as_secs_f64();
            if wall > 0.0 { used / wall } else { 0.0 }
        });
        let machine = self.machine.zip(MachineTicks::read());
        CpuShare {
            process,
            machine: machine.and_then(|(then, now)| now.busy_since(then)),
            cores,
        }
    }
}

/// The process's largest resident memory so far, bytes; 0 where the system does not tell.
pub fn peak_memory() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}

#[cfg(unix)]
fn process_time() -> Option<Duration> {
    use rustix::time::{ClockId, clock_gettime};
    Duration::try_from(clock_gettime(ClockId::ProcessCPUTime)).ok()
}

#[cfg(not(unix))]
fn process_time() -> Option<Duration> {
    None
}

/// The first line of Linux's `/proc/stat`, in clock ticks of all cores.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct MachineTicks {
    busy: u64,
    all: u64,
}

impl MachineTicks {
    fn read() -> Option<Self> {
        Self::parse(&fs::read_to_string("/proc/stat").ok()?)
    }

    /// `cpu  user nice system idle iowait irq softirq steal …`: what a neighbour stole is as lost to
    /// us as what we used, what waits for a disk is not.
    fn parse(stat: &str) -> Option<Self> {
        let line = stat.lines().next()?.strip_prefix("cpu ")?;
        let ticks: Vec<u64> = line
            .split_whitespace()
            .take(8)
            .map_while(|field| field.parse().ok())
            .collect();
        let idle = ticks.get(3)? + ticks.get(4)?;
        let all: u64 = ticks.iter().sum();
        Some(Self {
            busy: all - idle,
            all,
        })
    }

    fn busy_since(self, then: Self) -> Option<f64> {
        let all = self.all.checked_sub(then.all).filter(|all| *all > 0)?;
        let busy = self.busy.saturating_sub(then.busy);
        Some(busy as f64 / all as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machines_share_is_busy_ticks_over_all_ticks() {
        let then = MachineTicks::parse("cpu  10 0 10 70 10 0 0 0 0 0\ncpu0 1").unwrap();
        let now = MachineTicks::parse("cpu  30 5 20 120 10 0 5 10 0 0\n").unwrap();
        assert_eq!((then.busy, then.all), (20, 100));
        assert_eq!(now.busy_since(then), Some(0.5));
        assert_eq!(now.busy_since(now), None);
        for bad in ["", "cpu", "cpu  1 2 3", "intr 1 2 3 4 5 6 7 8"] {
            assert_eq!(MachineTicks::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn work_is_seen_and_void_follows_the_machine() {
        let meter = CpuMeter::start();
        let started = Instant::now();
        while started.elapsed() < Duration::from_millis(60) {
            std::hint::black_box(started);
        }
        let share = meter.share();
        assert!(share.process.is_none_or(|share| share > 0.01), "{share:?}");
        let row = |process, machine| {
            let cores = 2;
            CpuShare {
                process,
                machine,
                cores,
            }
            .is_void()
        };
        assert!(row(Some(0.2), Some(0.8)) && !row(Some(0.8), Some(0.5)));
        assert!(row(Some(0.8), None) && !row(None, None));
    }
}
