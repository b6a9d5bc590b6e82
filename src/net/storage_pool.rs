//! The threads behind [`crate::storage`]: disk and hash workers that share two queues.
//!
//! A [`StorageHandle`] puts blocks into the torrent's [`Assembly`] at once, on the caller's thread,
//! which is what keeps a piece's writes before its verification; only work that may block becomes
//! a `Job`. Hash workers also write the piece they have hashed, so that it changes threads once.
//! What is queued is bounded by the core: it counts unwritten bytes and upload credit.

#![expect(
    clippy::disallowed_types,
    reason = "queues and bookkeeping that threads share"
)]

use std::{
    collections::VecDeque,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use tokio::sync::{mpsc, oneshot, watch};

use crate::{
    bitfield::Bitfield,
    metainfo::{Block, PieceIndex},
    storage::{
        ASSEMBLY_LIMIT, Assembly, Cause, CheckPlan, OpenSpec, Put, Spill, StorageError, Store,
        VerifyOrder,
    },
    torrent::{
        PeerKey, StorageDone, StorageFault, StorageFaultKind, StorageOperation, StorageRequest,
    },
};

/// Ours: bytes read at once for neighbouring blocks that one peer asked for. One call and one
/// buffer for up to 16 blocks; a block that is still unsent holds the buffer of all.
const MAX_READ: u32 = 256 * 1024;
/// Ours: bytes that a check hashes before it lets other jobs of the queue go first.
const CHECK_SLICE: u64 = 16 << 20;

/// The threads; cheap to clone, stopped when the last clone and the last handle are gone.
#[derive(Debug, Clone)]
pub struct StoragePool {
    alive: Arc<Alive>,
}

/// How far the check of existing data is: pieces done, pieces in all.
pub type CheckProgress = (u32, u32);

/// An open torrent's side of the pool.
#[derive(Debug)]
pub struct OpenTorrent {
    /// Where requests go.
    pub handle: StorageHandle,
    /// Results in batches. The first is `Opened` or `Failed { operation: Open, .. }`.
    pub results: mpsc::UnboundedReceiver<Vec<StorageDone>>,
    /// Progress of the check that precedes `Opened`.
    pub check: watch::Receiver<CheckProgress>,
}

/// Where a torrent sends its storage requests. Dropping it without [`StorageHandle::close`] is
/// like a crash: the next open checks what was not recorded.
#[derive(Debug)]
pub struct StorageHandle {
    torrent: Arc<OpenFiles>,
    alive: Arc<Alive>,
}

impl StoragePool {
    /// Starts `disk` threads for reads and writes and `hash` threads for SHA-1; at least one each.
    pub fn new(disk: usize, hash: usize) -> Self {
        let queues = Arc::new(Queues {
            disk: Queue::default(),
            hash: Queue::default(),
            hash_threads: hash.max(1),
        });
        for index in 0..disk.max(1) {
            spawn(format!("disk-{index}"), &queues, |queues| &queues.disk);
        }
        for index in 0..hash.max(1) {
            spawn(format!("hash-{index}"), &queues, |queues| &queues.hash);
        }
        Self {
            alive: Arc::new(Alive { queues }),
        }
    }

    /// Opens a torrent's storage; returns at once.
    pub fn open(&self, spec: OpenSpec) -> OpenTorrent {
        let geometry = spec.metainfo.geometry();
        let (results, receiver) = mpsc::unbounded_channel();
        let (progress, check) = watch::channel((0, geometry.piece_count()));
        let torrent = Arc::new(OpenFiles {
            results,
            progress,
            store: OnceLock::new(),
            ready: AtomicBool::new(false),
            abandoned: AtomicBool::new(false),
            assembly: Mutex::new(Assembly::new(geometry, ASSEMBLY_LIMIT)),
            check: Mutex::new(None),
            work: Mutex::default(),
        });
        let queues = &self.alive.queues;
        queues.push(&torrent, Job::Open(Box::new(spec)));
        OpenTorrent {
            handle: StorageHandle {
                torrent,
                alive: Arc::clone(&self.alive),
            },
            results: receiver,
            check,
        }
    }
}

impl StorageHandle {
    /// Hands over a batch of requests. Never blocks: the core bounds what is outstanding (reads by
    /// each peer's upload credit, writes by its high-water mark).
    pub fn send(&self, requests: Vec<StorageRequest>) {
        let torrent = &self.torrent;
        if !torrent.ready.load(Ordering::Acquire) {
            return torrent.report(requests.iter().flat_map(refused).collect());
        }
        let mut jobs = Vec::new();
        let mut reads = Vec::new();
        let mut released = 0;
        let mut assembly = lock(&torrent.assembly);
        for request in requests {
            match request {
                StorageRequest::Read { peer, block } => add_read(&mut reads, peer, block),
                StorageRequest::Write { block, data } => {
                    let len = data.len() as u64;
                    released += match assembly.put(block, data) {
                        Put::Kept { replaced } => replaced,
                        Put::Refused => len,
                    };
                    jobs.extend(assembly.next_spill().map(Job::Spill));
                }
                StorageRequest::Verify {
                    piece,
                    want_digests,
                } => jobs.extend(assembly.verify(piece, want_digests).map(Job::Verify)),
                StorageRequest::Discard { piece } => released += assembly.discard(piece),
            }
        }
        drop(assembly);
        jobs.extend(reads.into_iter().map(Job::Read));
        for job in jobs {
            self.alive.queues.push(torrent, job);
        }
        if released > 0 {
            torrent.report(vec![StorageDone::Written { bytes: released }]);
        }
    }

    /// Finishes what was sent, records the state as clean, closes the files. A check that is still
    /// under way is given up; what it would have found is checked by the next open.
    pub async fn close(self) {
        let (done, closed) = oneshot::channel();
        let idle = {
            let mut work = lock(&self.torrent.work);
            work.closing = Some(done);
            work.jobs == 0
        };
        if idle {
            self.alive.queues.push(&self.torrent, Job::Close);
        }
        // An error means that the close itself was given up, which was logged.
        let _ = closed.await;
    }
}

impl Drop for StorageHandle {
    fn drop(&mut self) {
        // After a close nothing is left to give up.
        self.torrent.abandoned.store(true, Ordering::Release);
    }
}

/// Stops the threads when it goes.
#[derive(Debug)]
struct Alive {
    queues: Arc<Queues>,
}

impl Drop for Alive {
    fn drop(&mut self) {
        self.queues.disk.close();
        self.queues.hash.close();
    }
}

/// One torrent as the threads see it.
#[derive(Debug)]
struct OpenFiles {
    results: mpsc::UnboundedSender<Vec<StorageDone>>,
    progress: watch::Sender<CheckProgress>,
    store: OnceLock<Store>,
    /// `Opened` was reported.
    ready: AtomicBool,
    /// The handle is gone: whatever is queued is skipped.
    abandoned: AtomicBool,
    assembly: Mutex<Assembly>,
    check: Mutex<Option<Check>>,
    work: Mutex<Work>,
}

#[derive(Debug, Default)]
struct Work {
    /// Queued or being done.
    jobs: usize,
    closing: Option<oneshot::Sender<()>>,
}

/// A check that several threads work on.
#[derive(Debug)]
struct Check {
    plan: Arc<CheckPlan>,
    have: Bitfield,
    next: usize,
    /// Threads at it.
    workers: usize,
    done: u32,
    fault: Option<StorageError>,
}

/// Work that may block.
#[derive(Debug)]
enum Job {
    Open(Box<OpenSpec>),
    Check,
    Read(ReadRun),
    Spill(Spill),
    Verify(VerifyOrder),
    Close,
}

/// Neighbouring blocks for one peer.
#[derive(Debug)]
struct ReadRun {
    peer: PeerKey,
    blocks: Vec<Block>,
    len: u32,
}

#[derive(Debug)]
struct Queues {
    disk: Queue,
    hash: Queue,
    hash_threads: usize,
}

#[derive(Debug, Default)]
struct Queue {
    jobs: Mutex<Pending>,
    ready: Condvar,
}

#[derive(Debug, Default)]
struct Pending {
    queue: VecDeque<(Arc<OpenFiles>, Job)>,
    closed: bool,
}

impl Queues {
    fn push(&self, torrent: &Arc<OpenFiles>, job: Job) {
        lock(&torrent.work).jobs += 1;
        let queue = match job {
            Job::Check | Job::Verify(_) => &self.hash,
            Job::Open(_) | Job::Read(_) | Job::Spill(_) | Job::Close => &self.disk,
        };
        lock(&queue.jobs)
            .queue
            .push_back((Arc::clone(torrent), job));
        queue.ready.notify_one();
    }
}

impl Queue {
    /// The next job; `None` when the pool is gone and nothing is left.
    fn pop(&self) -> Option<(Arc<OpenFiles>, Job)> {
        let mut pending = lock(&self.jobs);
        loop {
            if let Some(job) = pending.queue.pop_front() {
                return Some(job);
            }
            if pending.closed {
                return None;
            }
            pending = self
                .ready
                .wait(pending)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn close(&self) {
        lock(&self.jobs).closed = true;
        self.ready.notify_all();
    }
}

fn spawn(name: String, queues: &Arc<Queues>, of: fn(&Queues) -> &Queue) {
    let queues = Arc::clone(queues);
    let spawned = thread::Builder::new().name(name).spawn(move || {
        while let Some((torrent, job)) = of(&queues).pop() {
            work(&queues, &torrent, job);
        }
    });
    spawned.expect("a process that cannot start a thread at its start cannot run");
}

/// Does one job, and closes the torrent after the last one if it is to be closed.
fn work(queues: &Queues, torrent: &Arc<OpenFiles>, job: Job) {
    if torrent.abandoned.load(Ordering::Acquire) {
        // Also if somebody stopped waiting for a close.
        lock(&torrent.work).closing = None;
    } else {
        match job {
            Job::Open(spec) => torrent.open(queues, &spec),
            Job::Check => torrent.check(queues),
            Job::Read(run) => torrent.read(&run),
            Job::Spill(spill) => torrent.spill(queues, &spill),
            Job::Verify(order) => torrent.verify(&order),
            Job::Close => torrent.close(),
        }
    }
    let close = {
        let mut work = lock(&torrent.work);
        work.jobs -= 1;
        work.jobs == 0 && work.closing.is_some()
    };
    if close {
        queues.push(torrent, Job::Close);
    }
}

impl OpenFiles {
    fn report(&self, done: Vec<StorageDone>) {
        // Without a receiver nobody wants to know any more.
        let _ = self.results.send(done);
    }

    fn is_closing(&self) -> bool {
        lock(&self.work).closing.is_some()
    }

    fn open(self: &Arc<Self>, queues: &Queues, spec: &OpenSpec) {
        let (store, plan) = match Store::open(spec) {
            Ok(opened) => opened,
            Err(error) => return self.report(vec![failed(StorageOperation::Open, &error)]),
        };
        let pieces = spec.metainfo.geometry().piece_count();
        let unchecked = plan.unchecked().len();
        self.progress
            .send_replace((pieces - unchecked as u32, pieces));
        let workers = queues.hash_threads.min(unchecked).max(1);
        *lock(&self.check) = Some(Check {
            have: plan.believed().clone(),
            plan: Arc::new(plan),
            next: 0,
            workers,
            done: pieces - unchecked as u32,
            fault: None,
        });
        if self.store.set(store).is_err() {
            unreachable!("a torrent is opened once");
        }
        for _ in 0..workers {
            queues.push(self, Job::Check);
        }
    }

    /// Hashes some pieces, then queues again behind other torrents' work.
    fn check(self: &Arc<Self>, queues: &Queues) {
        let Some(store) = self.store.get() else {
            return;
        };
        let mut left = CHECK_SLICE;
        while left > 0 && !self.is_closing() && !self.abandoned.load(Ordering::Acquire) {
            let Some((plan, piece)) = self.next_unchecked() else {
                return self.end_check(store);
            };
            let result = store.check(&plan, piece);
            left = left.saturating_sub(store.piece_len(piece));
            let mut check = lock(&self.check);
            let Some(check) = check.as_mut() else {
                return;
            };
            check.done += 1;
            match result {
                Ok(true) => {
                    check.have.set(piece.0);
                }
                Ok(false) => {}
                Err(error) => check.fault = Some(error),
            }
            let done = check.done;
            self.progress
                .send_if_modified(|progress| std::mem::replace(&mut progress.0, done) != done);
        }
        if !self.is_closing() {
            queues.push(self, Job::Check);
        }
    }

    fn next_unchecked(&self) -> Option<(Arc<CheckPlan>, PieceIndex)> {
        let mut check = lock(&self.check);
        let check = check.as_mut()?;
        if check.fault.is_some() {
            return None;
        }
        let piece = *check.plan.unchecked().get(check.next)?;
        check.next += 1;
        Some((Arc::clone(&check.plan), piece))
    }

    /// One thread found nothing left to check; the last one reports.
    fn end_check(&self, store: &Store) {
        let ended = {
            let mut check = lock(&self.check);
            let Some(running) = check.as_mut() else {
                return;
            };
            running.workers -= 1;
            if running.workers > 0 {
                return;
            }
            check.take()
        };
        let Some(Check {
            plan, have, fault, ..
        }) = ended
        else {
            return;
        };
        let opened = match fault {
            Some(error) => Err(error),
            None => store.opened(&plan, &have),
        };
        match opened {
            Ok(()) => {
                self.ready.store(true, Ordering::Release);
                self.report(vec![StorageDone::Opened { have }]);
            }
            Err(error) => self.report(vec![failed(StorageOperation::Open, &error)]),
        }
    }

    fn read(&self, run: &ReadRun) {
        let (Some(store), Some(first)) = (self.store.get(), run.blocks.first()) else {
            return;
        };
        let peer = run.peer;
        let done = match store.read(first.piece, first.begin, run.len) {
            Ok(data) => run
                .blocks
                .iter()
                .map(|block| {
                    let from = (block.begin - first.begin) as usize;
                    StorageDone::BlockRead {
                        peer,
                        block: *block,
                        data: data.slice(from..from + block.len as usize),
                    }
                })
                .collect(),
            Err(error) => {
                tracing::error!(%error, "storage failed");
                let fault = fault(&error);
                run.blocks
                    .iter()
                    .map(|block| StorageDone::Failed {
                        operation: StorageOperation::Read {
                            peer,
                            block: *block,
                        },
                        fault: fault.clone(),
                    })
                    .collect()
            }
        };
        self.report(done);
    }

    fn spill(self: &Arc<Self>, queues: &Queues, spill: &Spill) {
        let Some(store) = self.store.get() else {
            return;
        };
        let result = store.spill(spill.piece, &spill.blocks);
        let (spilled, next) = {
            let mut assembly = lock(&self.assembly);
            (
                assembly.spilled(spill.piece, result.is_ok()),
                assembly.next_spill(),
            )
        };
        let bytes = spilled.released + bytes_of(spill.blocks.values());
        let mut done = vec![StorageDone::Written { bytes }];
        if let Err(error) = result {
            done.insert(0, failed(write_of(spill.piece), &error));
        }
        self.report(done);
        if let Some(order) = spilled.verify {
            queues.push(self, Job::Verify(order));
        }
        if let Some(spill) = next {
            queues.push(self, Job::Spill(spill));
        }
    }

    fn verify(&self, order: &VerifyOrder) {
        let Some(store) = self.store.get() else {
            return;
        };
        let piece = order.piece;
        let mut done = vec![match store.verify(order) {
            Ok(verdict) => StorageDone::PieceVerified {
                piece,
                ok: verdict.ok,
                digests: verdict.digests,
            },
            Err(error) => failed(write_of(piece), &error),
        }];
        let bytes = bytes_of(order.blocks.values());
        if bytes > 0 {
            done.push(StorageDone::Written { bytes });
        }
        self.report(done);
    }

    fn close(&self) {
        if let Some(store) = self.store.get()
            && self.ready.load(Ordering::Acquire)
            && let Err(error) = store.close()
        {
            tracing::warn!(%error, "not closed cleanly: the next start checks the files again");
        }
        if let Some(closed) = lock(&self.work).closing.take() {
            // Nobody waits any more if the runtime stops.
            let _ = closed.send(());
        }
    }
}

/// Adds a block to the last run if it follows it.
fn add_read(reads: &mut Vec<ReadRun>, peer: PeerKey, block: Block) {
    if let Some(run) = reads.last_mut()
        && run.peer == peer
        && let Some(last) = run.blocks.last()
        && last.piece == block.piece
        && last.begin.checked_add(last.len) == Some(block.begin)
        && run.len.saturating_add(block.len) <= MAX_READ
    {
        run.len += block.len;
        run.blocks.push(block);
        return;
    }
    reads.push(ReadRun {
        peer,
        blocks: vec![block],
        len: block.len,
    });
}

/// The answer to a request that came before the storage was open.
fn refused(request: &StorageRequest) -> Vec<StorageDone> {
    let fault = StorageFault {
        kind: StorageFaultKind::Other,
        text: "the files are not open: resume the torrent to open them again".into(),
    };
    let failed = |operation| StorageDone::Failed {
        operation,
        fault: fault.clone(),
    };
    match request {
        StorageRequest::Read { peer, block } => vec![failed(StorageOperation::Read {
            peer: *peer,
            block: *block,
        })],
        StorageRequest::Write { block, data } => vec![
            failed(write_of(block.piece)),
            StorageDone::Written {
                bytes: data.len() as u64,
            },
        ],
        StorageRequest::Verify { piece, .. } => vec![failed(write_of(*piece))],
        StorageRequest::Discard { .. } => Vec::new(),
    }
}

fn write_of(piece: PieceIndex) -> StorageOperation {
    StorageOperation::Write { piece }
}

fn failed(operation: StorageOperation, error: &StorageError) -> StorageDone {
    tracing::error!(%error, ?operation, "storage failed");
    StorageDone::Failed {
        operation,
        fault: fault(error),
    }
}

fn fault(error: &StorageError) -> StorageFault {
    StorageFault {
        kind: match error.cause() {
            Cause::Full => StorageFaultKind::Full,
            Cause::Permission => StorageFaultKind::Permission,
            Cause::Vanished => StorageFaultKind::Vanished,
            Cause::Other => StorageFaultKind::Other,
        },
        text: error.advice().into(),
    }
}

fn bytes_of<'a>(blocks: impl Iterator<Item = &'a bytes::Bytes>) -> u64 {
    blocks.map(|data| data.len() as u64).sum()
}

/// Locks, also after a panic elsewhere: what these locks guard is whole between any two statements.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
