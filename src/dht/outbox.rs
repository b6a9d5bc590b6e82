//! Datagrams that wait for the socket, end to end in one buffer.

use std::{collections::VecDeque, net::SocketAddr};

use super::types::Transmit;

/// Ours: replies beyond this are dropped when nobody drains us; UDP would drop them next.
const MAX_QUEUED: usize = 1_024;

/// Ours: room for what most inputs bring forth, a reply or a query.
const USUAL_BYTES: usize = 512;

#[derive(Debug, Default)]
pub(super) struct Outbox {
    bytes: Vec<u8>,
    /// How much of `bytes` has been taken.
    start: usize,
    queue: VecDeque<Transmit>,
}

impl Outbox {
    pub(super) fn has_room(&self) -> bool {
        self.queue.len() < MAX_QUEUED
    }

    /// Queues what `encode` appends.
    pub(super) fn push(&mut self, destination: SocketAddr, encode: impl FnOnce(&mut Vec<u8>)) {
        if self.bytes.capacity() == 0 {
            self.bytes.reserve(USUAL_BYTES);
        }
        let before = self.bytes.len();
        encode(&mut self.bytes);
        let len = self.bytes.len() - before;
        self.queue.push_back(Transmit { destination, len });
    }

    /// Puts the oldest datagram into `buf`.
    pub(super) fn pop(&mut self, buf: &mut Vec<u8>) -> Option<Transmit> {
        buf.clear();
        let transmit = self.queue.pop_front()?;
        let end = self.start + transmit.len;
        buf.extend_from_slice(&self.bytes[self.start..end]);
        self.start = end;
        if self.queue.is_empty() {
            // Most nodes are idle most of the time, and there may be a million in a process. An
            // allocator has a buffer that was just given back at hand, warm in the cache.
            *self = Self::default();
        }
        Some(transmit)
    }
}
