//! The threads that run a world's shards, window by window.
//!
//! ```text
//! shard 0  ── window ──┤ post ┊ collect ├── window ──┤ post ┊ collect ├──
//! shard 1  ── window ────┤ post ┊ collect ├── window ──┤ post ┊ collect ├
//!                            barrier                       barrier
//! ```
//!
//! A message takes at least a window's length, so what is posted at the end of one is due after it
//! at the earliest. Which window is next follows from the first event of all shards, so all agree
//! without a coordinator. The shards travel to their threads and back by value. Windows with little
//! in them are sooner done by one thread, shard by shard: who does them changes no result.

use std::{
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
        mpsc::{Receiver, Sender, channel},
    },
    thread::{self, JoinHandle},
};

use super::{medium::Mail, shard::Shard};

/// How far to run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Span {
    /// To this time.
    pub(crate) until: u64,
    /// The length of a window; windows begin at its multiples.
    pub(crate) window: u64,
    /// No more than one window.
    pub(crate) once: bool,
}

impl Span {
    /// Runs a world's only shard; says whether the end of the span was reached.
    pub(crate) fn run(&self, shard: &mut Shard) -> bool {
        while let Some(first) = shard
            .medium
            .next_time()
            .filter(|first| *first <= self.until)
        {
            shard.run(self.window_end(first));
            if self.once {
                return false;
            }
        }
        shard.run(self.until);
        true
    }

    /// The last moment of the window that an event at `first` is in.
    fn window_end(&self, first: u64) -> u64 {
        let next = (first / self.window).saturating_add(1);
        next.saturating_mul(self.window)
            .saturating_sub(1)
            .min(self.until)
    }
}

/// Runs shards; says whether the end of the span was reached.
#[derive(Debug)]
pub(crate) struct Threads {
    exchange: Arc<Exchange>,
    workers: Vec<Worker>,
    done: Receiver<(usize, Shard)>,
}

#[derive(Debug)]
struct Worker {
    jobs: Option<Sender<(Shard, Span)>>,
    thread: Option<JoinHandle<()>>,
}

impl Threads {
    /// Threads for so many shards, this one included.
    pub(crate) fn new(shards: usize) -> Self {
        let exchange = Arc::new(Exchange::new(shards));
        let (finished, done) = channel();
        let workers = (1..shards).map(|index| {
            let (jobs, inbox) = channel::<(Shard, Span)>();
            let (exchange, finished) = (exchange.clone(), finished.clone());
            let work = move || {
                while let Ok((mut shard, span)) = inbox.recv() {
                    exchange.run(index, &mut shard, span);
                    if finished.send((index, shard)).is_err() {
                        return;
                    }
                }
            };
            let thread = thread::Builder::new().name(format!("shard-{index}"));
            Worker {
                jobs: Some(jobs),
                thread: Some(thread.spawn(work).expect("a thread can be started")),
            }
        });
        Self {
            exchange: exchange.clone(),
            workers: workers.collect(),
            done,
        }
    }

    pub(crate) fn run(&self, shards: &mut Vec<Shard>, span: Span) -> bool {
        loop {
            let handled = shards.iter().map(|shard| shard.handled).sum();
            let end = match is_light(handled) {
                true => run_in_turn(shards, span),
                false => self.run_side_by_side(shards, span),
            };
            match end {
                End::Reached => return true,
                End::Window if span.once => return false,
                End::Window | End::Light => {}
            }
        }
    }

    fn run_side_by_side(&self, shards: &mut Vec<Shard>, span: Span) -> End {
        let mut away = shards.drain(1..);
        for (worker, shard) in self.workers.iter().zip(&mut away) {
            let jobs = worker.jobs.as_ref();
            let sent = jobs.is_some_and(|jobs| jobs.send((shard, span)).is_ok());
            assert!(sent, "a shard's thread has ended");
        }
        drop(away);
        let end = self.exchange.run(0, &mut shards[0], span);
        let mut back: Vec<_> = self
            .workers
            .iter()
            .filter_map(|_| self.done.recv().ok())
            .collect();
        assert!(
            back.len() == self.workers.len(),
            "a shard's thread has ended"
        );
        back.sort_by_key(|(index, _)| *index);
        shards.extend(back.into_iter().map(|(_, shard)| shard));
        end
    }
}

/// Why shards have stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// The end of the span.
    Reached,
    /// The end of a window.
    Window,
    /// The end of a window in which little happened.
    Light,
}

/// Whether all shards together have so little to do in a window that threads would only wait for
/// each other.
fn is_light(handled: u64) -> bool {
    /// About a hundred microseconds, of which a thread takes ten to wake another.
    const LIGHT: u64 = 64;
    handled < LIGHT
}

/// Runs the next window, one shard after the other.
fn run_in_turn(shards: &mut [Shard], span: Span) -> End {
    for from in 0..shards.len() {
        for to in (0..shards.len()).filter(|to| *to != from) {
            let mut mail = std::mem::take(&mut shards[from].medium.mail[to]);
            shards[to].medium.receive(&mut mail);
            shards[from].medium.mail[to] = mail;
        }
    }
    let times = shards
        .iter_mut()
        .filter_map(|shard| shard.medium.next_time());
    let first = times.min().filter(|first| *first <= span.until);
    let until = first.map_or(span.until, |first| span.window_end(first));
    shards.iter_mut().for_each(|shard| shard.run(until));
    match first {
        Some(_) => End::Window,
        None => End::Reached,
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        for worker in &mut self.workers {
            worker.jobs = None;
        }
        for worker in &mut self.workers {
            if let Some(thread) = worker.thread.take() {
                // One that panicked has said so already.
                let _ = thread.join();
            }
        }
    }
}

/// Where shards meet.
#[derive(Debug)]
struct Exchange {
    /// Two of everything, used in turn: who is early may post for the next window while others
    /// still collect.
    turns: [Turn; 2],
    shards: usize,
    arrived: AtomicUsize,
    rounds: AtomicUsize,
    broken: AtomicBool,
    /// How many have waited so long that they sleep.
    asleep: Mutex<usize>,
    wake: Condvar,
}

#[derive(Debug)]
struct Turn {
    /// By sender and receiver.
    mail: Vec<Mutex<Mail>>,
    /// When each shard has something to do.
    next: Vec<AtomicU64>,
    /// How much each had to do in the last window.
    handled: Vec<AtomicU64>,
}

impl Exchange {
    fn new(shards: usize) -> Self {
        let turn = || Turn {
            mail: (0..shards * shards).map(|_| Mutex::default()).collect(),
            next: (0..shards).map(|_| AtomicU64::new(u64::MAX)).collect(),
            handled: (0..shards).map(|_| AtomicU64::new(0)).collect(),
        };
        Self {
            turns: [turn(), turn()],
            shards,
            arrived: AtomicUsize::new(0),
            rounds: AtomicUsize::new(0),
            broken: AtomicBool::new(false),
            asleep: Mutex::new(0),
            wake: Condvar::new(),
        }
    }

    /// One shard's part of a run.
    fn run(&self, index: usize, shard: &mut Shard, span: Span) -> End {
        let guard = BreakOnPanic(self);
        let mut end = End::Window;
        for turn in self.turns.iter().cycle() {
            self.post(turn, index, shard);
            self.meet();
            self.collect(turn, index, shard);
            let first = all(&turn.next).min().unwrap_or(u64::MAX);
            if first > span.until {
                shard.run(span.until);
                end = End::Reached;
                break;
            }
            shard.run(span.window_end(first));
            if span.once {
                break;
            }
            if is_light(all(&turn.handled).sum()) {
                end = End::Light;
                break;
            }
        }
        drop(guard);
        end
    }

    fn post(&self, turn: &Turn, index: usize, shard: &mut Shard) {
        let next = shard.medium.next_time().unwrap_or(u64::MAX);
        turn.next[index].store(next, Ordering::Release);
        turn.handled[index].store(shard.handled, Ordering::Release);
        for (to, mail) in shard.medium.mail.iter_mut().enumerate() {
            if to != index {
                // The other's buffers, empty by now, come back.
                std::mem::swap(mail, &mut lock(&turn.mail[index * self.shards + to]));
            }
        }
    }

    fn collect(&self, turn: &Turn, index: usize, shard: &mut Shard) {
        for from in (0..self.shards).filter(|from| *from != index) {
            let mut mail = lock(&turn.mail[from * self.shards + index]);
            shard.medium.receive(&mut mail);
        }
    }

    /// Waits until all shards are here.
    fn meet(&self) {
        let round = self.rounds.load(Ordering::Acquire);
        if self.arrived.fetch_add(1, Ordering::AcqRel) + 1 == self.shards {
            self.arrived.store(0, Ordering::Release);
            self.wake_all(|| self.rounds.store(round + 1, Ordering::Release));
            return;
        }
        let waits = || {
            assert!(
                !self.broken.load(Ordering::Acquire),
                "another shard's thread has failed"
            );
            self.rounds.load(Ordering::Acquire) == round
        };
        // A window is short, and the others are mostly nearly done.
        for _ in 0..SPINS {
            if !waits() {
                return;
            }
            std::hint::spin_loop();
        }
        let mut asleep = lock(&self.asleep);
        while waits() {
            *asleep += 1;
            let woken = self.wake.wait(asleep);
            asleep = woken.unwrap_or_else(PoisonError::into_inner);
            *asleep -= 1;
        }
    }

    /// Does what ends a wait and wakes those who wait for it.
    fn wake_all(&self, end: impl FnOnce()) {
        let asleep = lock(&self.asleep);
        end();
        if *asleep > 0 {
            self.wake.notify_all();
        }
    }
}

/// A few microseconds, as long as it takes to fall asleep and be woken.
const SPINS: u32 = 200;

/// Lets nobody wait for a shard that will not come.
struct BreakOnPanic<'a>(&'a Exchange);

impl Drop for BreakOnPanic<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            let broken = || self.0.broken.store(true, Ordering::Release);
            self.0.wake_all(broken);
        }
    }
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    // Poison means a panic elsewhere, which `meet` reports.
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

fn all(counts: &[AtomicU64]) -> impl Iterator<Item = u64> {
    counts.iter().map(|count| count.load(Ordering::Acquire))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_lie_on_a_grid_and_end_with_the_span() {
        let span = Span {
            until: 95,
            window: 10,
            once: false,
        };
        for (first, end) in [(0, 9), (9, 9), (10, 19), (34, 39), (90, 95), (95, 95)] {
            assert_eq!(span.window_end(first), end);
        }
        let endless = Span {
            until: u64::MAX,
            ..span
        };
        assert_eq!(endless.window_end(u64::MAX - 1), u64::MAX - 1);
    }
}
