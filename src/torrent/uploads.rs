//! What we owe one peer: requests it has made, blocks being read, bytes not yet sent.
//!
//! A block is read only while the peer's credit lasts, so what waits for a slow reader is bounded
//! by construction, and a choke or a cancel can still drop everything that is not on the wire.

use std::collections::VecDeque;

use crate::metainfo::Block;

/// The upload side of one connection.
#[derive(Debug, Default)]
pub(super) struct Uploads {
    /// Asked for and not yet read.
    queue: VecDeque<Block>,
    /// Being read by the storage.
    reading: Vec<Block>,
    reading_bytes: u64,
    /// Handed to the connection and not yet written.
    unsent: u64,
    /// Payload that has left.
    sent: u64,
}

impl Uploads {
    /// Takes a request in. `false` if the queue is full.
    pub(super) fn request(&mut self, block: Block) -> bool {
        let fits = self.queue.len() < MAX_QUEUE;
        if fits {
            self.queue.push_back(block);
        }
        fits
    }

    /// The peer takes a request back; `true` if it was still to be answered.
    pub(super) fn cancel(&mut self, block: Block) -> bool {
        if let Some(at) = self.queue.iter().position(|queued| *queued == block) {
            self.queue.remove(at);
            return true;
        }
        self.take_reading(block)
    }

    /// Drops every request that is not on its way to the connection, except those that `keep`
    /// allows, and gives them.
    pub(super) fn drop_requests(&mut self, keep: impl Fn(Block) -> bool) -> Vec<Block> {
        let dropped = self.queue.iter().chain(&self.reading).copied();
        let dropped: Vec<Block> = dropped.filter(|block| !keep(*block)).collect();
        self.queue.retain(|block| keep(*block));
        self.reading.retain(|block| keep(*block));
        self.reading_bytes = self.reading.iter().map(|block| u64::from(block.len)).sum();
        dropped
    }

    /// Whether a block could be read now.
    pub(super) fn ready(&self) -> bool {
        !self.queue.is_empty()
            && self.unsent + self.reading_bytes < CREDIT
            && self.reading.len() < MAX_READING
    }

    /// The next block to read.
    pub(super) fn next_read(&mut self) -> Option<Block> {
        if !self.ready() {
            return None;
        }
        let block = self.queue.pop_front()?;
        self.reading.push(block);
        self.reading_bytes += u64::from(block.len);
        Some(block)
    }

    /// A block was read; `true` if it is still owed and goes to the connection.
    pub(super) fn on_read(&mut self, block: Block) -> bool {
        let owed = self.take_reading(block);
        if owed {
            self.unsent += u64::from(block.len);
        }
        owed
    }

    /// A block could not be read; `true` if it is still owed.
    pub(super) fn on_read_failed(&mut self, block: Block) -> bool {
        self.take_reading(block)
    }

    /// Bytes have left.
    pub(super) fn on_sent(&mut self, bytes: u64) {
        self.unsent = self.unsent.saturating_sub(bytes);
        self.sent += bytes;
    }

    /// Payload that has left.
    pub(super) fn sent(&self) -> u64 {
        self.sent
    }

    fn take_reading(&mut self, block: Block) -> bool {
        let at = self.reading.iter().position(|reading| *reading == block);
        if let Some(at) = at {
            self.reading.remove(at);
            self.reading_bytes -= u64::from(block.len);
        }
        at.is_some()
    }
}

/// Requests queued per peer; told to peers as `reqq`. Ours: as many as a fast path needs.
pub(super) const MAX_QUEUE: usize = 1_024;
/// Ours: bytes being read or unsent per peer. It must cover the time from reading a block to the
/// socket taking it, which is well under a millisecond per MiB.
const CREDIT: u64 = 1 << 20;
/// Ours: blocks being read per peer, four times what the credit allows of the usual length. Blocks
/// of a byte would else be a million.
const MAX_READING: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metainfo::{BLOCK_LEN, PieceIndex};

    fn block(index: u32) -> Block {
        Block {
            piece: PieceIndex(index),
            begin: 0,
            len: BLOCK_LEN,
        }
    }

    #[test]
    fn reads_stop_at_the_credit_and_go_on_when_bytes_leave() {
        let mut uploads = Uploads::default();
        for index in 0..200 {
            assert!(uploads.request(block(index)));
        }
        let read: Vec<Block> = std::iter::from_fn(|| uploads.next_read()).collect();
        assert_eq!(read.len() as u64, CREDIT / u64::from(BLOCK_LEN));
        assert!(read.iter().all(|block| uploads.on_read(*block)));
        assert_eq!(uploads.next_read(), None);
        uploads.on_sent(u64::from(BLOCK_LEN));
        assert!(uploads.next_read().is_some() && uploads.next_read().is_none());
        assert_eq!(uploads.sent(), u64::from(BLOCK_LEN));
    }

    #[test]
    fn blocks_of_a_byte_are_few_too() {
        let mut uploads = Uploads::default();
        for begin in 0..2 * MAX_READING as u32 {
            let piece = PieceIndex(0);
            assert!(uploads.request(Block {
                piece,
                begin,
                len: 1
            }));
        }
        let read: Vec<Block> = std::iter::from_fn(|| uploads.next_read()).collect();
        assert_eq!(read.len(), MAX_READING);
        assert!(uploads.on_read(read[0]) && uploads.next_read().is_some());
    }

    #[test]
    fn cancelled_and_choked_blocks_are_not_sent() {
        let mut uploads = Uploads::default();
        (0..3).for_each(|index| assert!(uploads.request(block(index))));
        assert_eq!(uploads.next_read(), Some(block(0)));
        assert!(uploads.cancel(block(0)) && uploads.cancel(block(2)) && !uploads.cancel(block(2)));
        assert!(!uploads.on_read(block(0)));
        assert_eq!(uploads.next_read(), Some(block(1)));
        assert_eq!(uploads.drop_requests(|_| false), [block(1)]);
        assert!(!uploads.on_read(block(1)) && !uploads.ready() && uploads.unsent == 0);
    }

    #[test]
    fn the_queue_is_bounded() {
        let mut uploads = Uploads::default();
        let taken = (0..5_000)
            .filter(|index| uploads.request(block(*index)))
            .count();
        assert_eq!(taken, MAX_QUEUE);
    }
}
