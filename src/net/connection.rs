//! One TCP peer after the handshakes: bytes to batches of messages, and back.
//!
//! Everything is batched, because a block costs little and a wake-up costs much: one read gives
//! one batch to the torrent, one batch from the torrent becomes one vectored write. An idle
//! connection holds no read buffer. Memory is bounded from both sides: a connection may have few
//! batches in front of its torrent (then it stops reading, and TCP tells the peer), and what waits
//! to be written is bounded by the core's upload credit and, for a peer that does not read, by time.

use std::{
    collections::VecDeque,
    future::poll_fn,
    io::{self, IoSlice},
    pin::{Pin, pin},
    sync::Arc,
    task::Poll,
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use tokio::{
    io::{AsyncReadExt, AsyncWrite, Interest},
    net::TcpStream,
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    time::{Instant, MissedTickBehavior, interval_at},
};
use tracing::{debug, trace};

use super::torrent_task::Input;
use crate::{
    torrent::PeerKey,
    wire::{DecodeError, Decoder, HANDSHAKE_LEN, Message},
};

/// What a connection tells its torrent.
#[derive(Debug)]
pub(crate) struct Batch {
    /// Whose.
    pub(super) peer: PeerKey,
    /// What arrived, in order.
    pub(super) messages: Vec<Message>,
    /// Bytes of block data that left since the last batch.
    pub(super) sent: usize,
    /// Given back when the torrent has read the batch.
    _credit: Option<OwnedSemaphorePermit>,
}

/// One connection's task.
pub(super) struct Connection {
    stream: TcpStream,
    peer: PeerKey,
    inbox: mpsc::UnboundedSender<Input>,
    credits: Arc<Semaphore>,
    decoder: Decoder,
    buffer: BytesMut,
    read_len: usize,
    idle: bool,
    outgoing: Outgoing,
    /// Whether a byte has left since the last tick.
    progress: bool,
    stalled_ticks: u32,
    _place: OwnedSemaphorePermit,
}

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
enum End {
    #[error("the torrent let go of it")]
    Released,
    #[error("the peer closed it")]
    Closed,
    #[error("lost: {0}")]
    Lost(io::Error),
    #[error("the peer does not read")]
    Stalled,
    #[error(transparent)]
    Misframed(DecodeError),
}

impl Connection {
    /// A connection whose peer's handshake was read. `greeting` is ours, unless it was sent.
    pub(super) fn new(
        stream: TcpStream,
        place: OwnedSemaphorePermit,
        peer: PeerKey,
        greeting: Option<[u8; HANDSHAKE_LEN]>,
        inbox: mpsc::UnboundedSender<Input>,
    ) -> Self {
        let mut outgoing = Outgoing::default();
        if let Some(greeting) = greeting {
            outgoing.push_bytes(Bytes::copy_from_slice(&greeting));
        }
        Self {
            stream,
            peer,
            inbox,
            credits: Arc::new(Semaphore::new(BATCHES_AHEAD)),
            decoder: Decoder::new(),
            buffer: BytesMut::new(),
            read_len: MIN_READ,
            idle: true,
            outgoing,
            progress: false,
            stalled_ticks: 0,
            _place: place,
        }
    }

    /// Serves the connection until it ends; the torrent is told however that happens.
    pub(super) async fn run(mut self, mut outbox: mpsc::UnboundedReceiver<Vec<Message>>) {
        // Also when this task panics: the torrent must not keep a peer that nobody serves.
        let _closed = OnDrop {
            peer: self.peer,
            inbox: self.inbox.clone(),
        };
        let end = self.serve(&mut outbox).await;
        debug!(key = self.peer.0, reason = %end, "connection ended");
        if let End::Misframed(_) = end {
            let _ = self.inbox.send(Input::Misframed(self.peer));
        }
    }

    async fn serve(&mut self, outbox: &mut mpsc::UnboundedReceiver<Vec<Message>>) -> End {
        let mut batches = Vec::new();
        let mut tick = interval_at(Instant::now() + TICK, TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut credit = None;
        loop {
            if let Err(end) = self.write().await {
                return end;
            }
            if credit.is_none() {
                credit = self.credits.clone().try_acquire_owned().ok();
            }
            // A peer that asks and does not read gets nothing more to be answered: what its
            // requests are refused with would else pile up here.
            let reading = credit.is_some() && self.outgoing.waiting_bytes < MAX_WAITING;
            let writing = !self.outgoing.is_empty();
            let interest = match (reading, writing) {
                (true, true) => Interest::READABLE | Interest::WRITABLE,
                (false, true) => Interest::WRITABLE,
                (_, false) => Interest::READABLE,
            };
            tokio::select! {
                ready = self.stream.ready(interest), if reading || writing => match ready {
                    Ok(ready) if reading && ready.is_readable() => {
                        if let Err(end) = self.read(&mut credit).await {
                            return end;
                        }
                    }
                    Ok(_) => {}
                    Err(error) => return End::Lost(error),
                },
                received = outbox.recv_many(&mut batches, BATCHES_AT_ONCE),
                    if self.outgoing.waiting_bytes < MAX_WAITING =>
                {
                    if received == 0 {
                        return End::Released;
                    }
                    for message in batches.drain(..).flatten() {
                        self.outgoing.push(message);
                    }
                }
                // The semaphore is never closed.
                granted = self.credits.clone().acquire_owned(), if credit.is_none() => {
                    credit = granted.ok();
                }
                _ = tick.tick() => {
                    if let Some(end) = self.on_tick() {
                        return end;
                    }
                }
            }
        }
    }

    /// Reads once and hands over the whole messages. `credit` is spent on a batch.
    async fn read(&mut self, credit: &mut Option<OwnedSemaphorePermit>) -> Result<(), End> {
        if self.buffer.capacity() - self.buffer.len() < self.read_len / 4 {
            self.buffer.reserve(self.read_len);
        }
        let spare = self.buffer.capacity() - self.buffer.len();
        // One attempt through the async call, because that one notes that a read which did not
        // fill the buffer has emptied the socket, and saves the read that would say so.
        let attempt = {
            let mut read = pin!(self.stream.read_buf(&mut self.buffer));
            poll_fn(|cx| Poll::Ready(read.as_mut().poll(cx))).await
        };
        let read = match attempt {
            Poll::Pending => return Ok(()),
            Poll::Ready(Ok(0)) => return Err(End::Closed),
            Poll::Ready(Ok(read)) => read,
            Poll::Ready(Err(error)) => return Err(End::Lost(error)),
        };
        self.idle = false;
        if read == spare {
            self.read_len = (self.read_len * 2).min(MAX_READ);
        } else if read < self.read_len / 8 {
            self.read_len = (self.read_len / 2).max(MIN_READ);
        }
        let mut messages = Vec::new();
        loop {
            match self.decoder.decode(&mut self.buffer) {
                Ok(Some(message)) => messages.push(message),
                Ok(None) => break,
                Err(error) => {
                    self.hand_over(messages, 0, credit.take());
                    return Err(End::Misframed(error));
                }
            }
        }
        if !messages.is_empty() {
            self.hand_over(messages, 0, credit.take());
        }
        if self.buffer.is_empty() && self.read_len == MIN_READ {
            self.buffer = BytesMut::new();
        }
        Ok(())
    }

    /// Writes as much as the socket takes.
    async fn write(&mut self) -> Result<(), End> {
        let mut sent = 0;
        while self.outgoing.fill() {
            let mut slices = [IoSlice::new(&[]); MAX_SLICES];
            let count = self.outgoing.slices(&mut slices);
            let stream = &mut self.stream;
            let attempt = poll_fn(|cx| {
                Poll::Ready(Pin::new(&mut *stream).poll_write_vectored(cx, &slices[..count]))
            })
            .await;
            match attempt {
                Poll::Pending => break,
                Poll::Ready(Ok(0)) => return Err(End::Closed),
                Poll::Ready(Ok(written)) => {
                    sent += self.outgoing.advance(written);
                    self.progress = true;
                }
                Poll::Ready(Err(error)) => return Err(End::Lost(error)),
            }
        }
        if sent > 0 {
            self.hand_over(Vec::new(), sent, None);
        }
        Ok(())
    }

    fn hand_over(&self, messages: Vec<Message>, sent: usize, credit: Option<OwnedSemaphorePermit>) {
        trace!(key = self.peer.0, messages = messages.len(), sent, "batch");
        // Nobody reads when the torrent has ended; the outbox says so too.
        let _ = self.inbox.send(Input::Batch(Batch {
            peer: self.peer,
            messages,
            sent,
            _credit: credit,
        }));
    }

    fn on_tick(&mut self) -> Option<End> {
        if self.idle && self.buffer.is_empty() {
            self.buffer = BytesMut::new();
            self.read_len = MIN_READ;
        }
        self.idle = true;
        if self.progress || self.outgoing.is_empty() {
            self.stalled_ticks = 0;
        } else {
            self.stalled_ticks += 1;
        }
        self.progress = false;
        (self.stalled_ticks >= MAX_STALLED_TICKS).then_some(End::Stalled)
    }
}

/// What waits to be written.
#[derive(Default)]
struct Outgoing {
    messages: VecDeque<Message>,
    segments: VecDeque<Segment>,
    /// What `messages` and `segments` take.
    waiting_bytes: usize,
    plan: Vec<(usize, Option<Segment>)>,
}

/// A run of bytes on the wire.
struct Segment {
    bytes: Bytes,
    /// Whether this is a block's data.
    block: bool,
}

impl Outgoing {
    fn is_empty(&self) -> bool {
        self.messages.is_empty() && self.segments.is_empty()
    }

    fn push(&mut self, message: Message) {
        self.waiting_bytes += size_of::<Message>();
        self.waiting_bytes += match &message {
            Message::Piece { data, .. } => data.len(),
            Message::Bitfield(bytes) | Message::Extended { payload: bytes, .. } => bytes.len(),
            _ => 0,
        };
        self.messages.push_back(message);
    }

    fn push_bytes(&mut self, bytes: Bytes) {
        self.waiting_bytes += bytes.len();
        self.segments.push_back(Segment {
            bytes,
            block: false,
        });
    }

    /// Turns waiting messages into segments; says whether there is anything to write. The headers
    /// of one call share one allocation, and block data is passed on as it is.
    fn fill(&mut self) -> bool {
        // Refilled when half empty: topping up by one slice at a time would cost more than it
        // gives.
        if self.messages.is_empty() || self.segments.len() > MAX_SLICES / 2 {
            return !self.segments.is_empty();
        }
        let mut head = Vec::with_capacity(1024);
        let mut slots = MAX_SLICES - self.segments.len();
        while slots >= 2 && head.len() < MAX_HEAD {
            let Some(message) = self.messages.pop_front() else {
                break;
            };
            self.waiting_bytes -= size_of::<Message>();
            let block = matches!(message, Message::Piece { .. });
            if let Some(bytes) = message.encode(&mut head) {
                self.plan.push((head.len(), Some(Segment { bytes, block })));
                slots -= 2;
            }
        }
        self.plan.push((head.len(), None));
        let head = Bytes::from(head);
        let mut from = 0;
        for (to, data) in self.plan.drain(..) {
            if from < to {
                self.waiting_bytes += to - from;
                self.segments.push_back(Segment {
                    bytes: head.slice(from..to),
                    block: false,
                });
            }
            from = to;
            self.segments
                .extend(data.filter(|data| !data.bytes.is_empty()));
        }
        !self.segments.is_empty()
    }

    fn slices<'a>(&'a self, slices: &mut [IoSlice<'a>; MAX_SLICES]) -> usize {
        let pairs = slices.iter_mut().zip(&self.segments);
        pairs
            .map(|(slice, segment)| *slice = IoSlice::new(&segment.bytes))
            .count()
    }

    /// Takes written bytes off the front; says how many of them were block data.
    fn advance(&mut self, mut written: usize) -> usize {
        let mut blocks = 0;
        self.waiting_bytes -= written.min(self.waiting_bytes);
        while let Some(segment) = self.segments.front_mut() {
            let taken = written.min(segment.bytes.len());
            if segment.block {
                blocks += taken;
            }
            written -= taken;
            if taken < segment.bytes.len() {
                segment.bytes = segment.bytes.slice(taken..);
                break;
            }
            self.segments.pop_front();
            if written == 0 {
                break;
            }
        }
        blocks
    }
}

struct OnDrop {
    peer: PeerKey,
    inbox: mpsc::UnboundedSender<Input>,
}

impl Drop for OnDrop {
    fn drop(&mut self) {
        let _ = self.inbox.send(Input::Closed(self.peer));
    }
}

/// A quiet connection reads into this much.
const MIN_READ: usize = 2 * 1024;
/// A busy one into this much: sixteen blocks a wake-up.
const MAX_READ: usize = 256 * 1024;
/// Batches that a torrent may not have read yet.
const BATCHES_AHEAD: usize = 2;
const BATCHES_AT_ONCE: usize = 16;
/// Linux takes up to 1024; 64 is half a megabyte of blocks and more than a send buffer takes.
const MAX_SLICES: usize = 64;
const MAX_HEAD: usize = 64 * 1024;
/// Beyond this a connection takes no more from its torrent, nor from the peer, until the peer
/// reads.
const MAX_WAITING: usize = 4 << 20;
const TICK: Duration = Duration::from_secs(10);
/// A minute without a byte leaving.
const MAX_STALLED_TICKS: u32 = 6;

#[cfg(test)]
mod tests;
