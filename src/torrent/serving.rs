//! The upload side: requests that peers make, the blocks read for them, and who may ask at all.

use std::time::Instant;

use bytes::Bytes;

use crate::{metainfo::Block, wire::Message};

use super::{
    Output, PeerKey, PeerMisbehaved, StorageRequest, Torrent, after,
    choker::{Mode, PeerView},
    peer::Peer,
};

impl Torrent {
    /// A peer asks for a block.
    pub(super) fn on_request(&mut self, now: Instant, key: PeerKey, block: Block) {
        let geometry = self.metainfo.as_ref().map(|metainfo| metainfo.geometry());
        let sane = geometry.is_some_and(|geometry| geometry.contains(block));
        let have = self.have().is_some_and(|have| have.get(block.piece.0));
        let shown = self.unsent.as_ref();
        let have = have && shown.is_none_or(|unsent| unsent.may_ask(key, block.piece));
        let Some(peer) = self.peers.get_mut(&key) else {
            return;
        };
        let may = !peer.we_choke_them || peer.granted_fast.contains(&block.piece);
        let served = sane
            && have
            && may
            && self.config.upload
            && block.len <= MAX_REQUEST_LEN
            && peer.uploads.request(block);
        if served {
            if let Some(unsent) = &mut self.unsent {
                unsent.on_request(key, block.piece);
            }
            self.upload_ready.insert(key);
            return;
        }
        if peer.reserved.fast() {
            self.outputs.push_back(Output::Send {
                peer: key,
                message: Message::RejectRequest(block),
            });
        }
        // A choke may cross a request on its way; a request for what cannot exist is a fault.
        if !sane || block.len > MAX_REQUEST_LEN {
            self.punish_small(now, key, PeerMisbehaved::BadRequest);
        }
    }

    /// A peer takes a request back. BEP 6: it is answered, by the block or by a reject.
    pub(super) fn on_cancel(&mut self, key: PeerKey, block: Block) {
        let Some(peer) = self.peers.get_mut(&key) else {
            return;
        };
        if peer.uploads.cancel(block) && peer.reserved.fast() {
            self.outputs.push_back(Output::Send {
                peer: key,
                message: Message::RejectRequest(block),
            });
        }
        self.upload_ready.insert(key);
    }

    /// Reads blocks for peers in turn, one each, as far as credit and the upload limit allow.
    pub(super) fn pump_uploads(&mut self, now: Instant) {
        while let Some(key) = self.next_served(now) {
            let next = self.peers.get_mut(&key).filter(|peer| peer.uploads.ready());
            let Some(peer) = next else {
                self.upload_ready.remove(&key);
                continue;
            };
            if self.up.rate() == Some(0) || self.up.ready_at(now).is_some() {
                self.up_ready = self.up.ready_at(now);
                return;
            }
            let Some(block) = peer.uploads.next_read() else {
                continue;
            };
            self.up.take(now, u64::from(block.len));
            self.upload_turn = key;
            self.shares
                .on_read(now, key, self.choker.weight(key), block.len);
            let read = StorageRequest::Read { peer: key, block };
            self.outputs.push_back(Output::Storage(read));
        }
    }

    /// Whose turn it is: one block each, or, where slots have weights, whoever has had least for
    /// its weight. Then little waits for the uplink at once, because there everybody gets an equal
    /// part again.
    fn next_served(&mut self, now: Instant) -> Option<PeerKey> {
        if !self.choker.is_weighted() || self.is_complete() {
            return after(&self.upload_ready, self.upload_turn);
        }
        let peers = &self.peers;
        self.upload_ready
            .retain(|key| peers.get(key).is_some_and(|peer| peer.uploads.ready()));
        let (rate, ready) = (self.up_rate.rate(now), &self.upload_ready);
        let weight = |key| self.choker.weight(key);
        self.shares.next(now, rate, ready, weight)
    }

    /// A block was read.
    pub(super) fn on_read(&mut self, now: Instant, key: PeerKey, block: Block, data: Bytes) {
        let Some(peer) = self.peers.get_mut(&key) else {
            return;
        };
        let owed = peer.uploads.on_read(block);
        if !owed {
            self.shares.on_sent(key, u64::from(block.len));
        }
        if owed {
            if let Some(unsent) = &mut self.unsent {
                unsent.on_block(key, block);
            }
            peer.spoke_at = now;
            let message = Message::Piece { block, data };
            self.outputs.push_back(Output::Send { peer: key, message });
        }
        self.upload_ready.insert(key);
    }

    /// A block could not be read.
    pub(super) fn on_read_failed(&mut self, now: Instant, key: PeerKey, block: Block) {
        let Some(peer) = self.peers.get_mut(&key) else {
            return;
        };
        self.shares.on_sent(key, u64::from(block.len));
        if peer.uploads.on_read_failed(block) && peer.reserved.fast() {
            peer.spoke_at = now;
            self.outputs.push_back(Output::Send {
                peer: key,
                message: Message::RejectRequest(block),
            });
        }
    }

    /// Block data has left for a peer.
    pub(super) fn on_sent(&mut self, now: Instant, key: PeerKey, bytes: usize) {
        let Some(peer) = self.peers.get_mut(&key) else {
            return;
        };
        peer.uploads.on_sent(bytes as u64);
        self.shares.on_sent(key, bytes as u64);
        peer.traded_at = now;
        self.uploaded += bytes as u64;
        self.up_rate.add(now, bytes as u64);
        if let Some(unsent) = &mut self.unsent {
            self.slots_dirty |= unsent.on_sent(now, key, bytes as u64);
        }
        self.upload_ready.insert(key);
    }

    /// A choke round: decides every slot anew.
    pub(super) fn rechoke(&mut self, now: Instant) {
        if self.unsent.is_some() {
            self.choker.skip(now);
            return self.rechoke_unsent(now);
        }
        let views = self.views(now);
        self.choker.set_uplink(self.up_rate.rate(now));
        let unchoked = self.choker.decide(now, self.mode(), &views, &mut self.rng);
        let choker = &self.choker;
        self.shares.begin_round(|key| choker.weight(key));
        for view in &views {
            self.set_choked(now, view.key, unchoked.binary_search(&view.key).is_err());
        }
        for key in self.choker.optimistic() {
            if let Some(peer) = self.peers.get_mut(key) {
                peer.last_optimistic = Some(now);
            }
        }
    }

    /// Between rounds: fills slots that fell free, and chokes nobody.
    pub(super) fn fill_slots(&mut self, now: Instant) {
        if self.unsent.is_some() {
            self.feed(now);
        }
        if self.unsent.is_some() {
            return;
        }
        let views = self.views(now);
        for key in self.choker.fill(now, self.mode(), &views, &mut self.rng) {
            self.set_choked(now, key, false);
        }
    }

    fn mode(&self) -> Mode {
        if self.is_complete() {
            Mode::Seed
        } else {
            Mode::Leech
        }
    }

    pub(super) fn views(&self, now: Instant) -> Vec<PeerView> {
        if !self.config.upload {
            return Vec::new();
        }
        let pieces = self
            .metainfo
            .as_ref()
            .map_or(0, |metainfo| metainfo.geometry().piece_count());
        let view = |(key, peer): (&PeerKey, &Peer)| PeerView {
            key: *key,
            addr: peer.addr.ip(),
            interested: peer.they_are_interested,
            unchoked: !peer.we_choke_them,
            unchoked_since: peer.unchoked_since,
            received_rate: peer.received.rate(now),
            received: peer.received.total(),
            last_received: peer.last_received,
            sent: peer.uploads.sent(),
            snubbed: peer.pipeline.is_snubbed(),
            unchokes_us: !peer.they_choke_us,
            connected_at: peer.connected_at,
            pieces_missing: pieces
                - peer
                    .bitfield()
                    .map_or(0, |has| has.count_ones())
                    .min(pieces),
            last_optimistic: peer.last_optimistic,
        };
        self.peers.iter().map(view).collect()
    }

    pub(super) fn set_choked(&mut self, now: Instant, key: PeerKey, choke: bool) {
        let Some(peer) = self.peers.get_mut(&key) else {
            return;
        };
        if peer.we_choke_them == choke {
            return;
        }
        peer.we_choke_them = choke;
        peer.unchoked_since = (!choke).then_some(now);
        peer.spoke_at = now;
        let message = if choke {
            Message::Choke
        } else {
            Message::Unchoke
        };
        self.outputs.push_back(Output::Send { peer: key, message });
        if !choke {
            return;
        }
        let granted = &peer.granted_fast;
        let dropped = peer
            .uploads
            .drop_requests(|block| granted.contains(&block.piece));
        if peer.reserved.fast() {
            self.outputs
                .extend(dropped.into_iter().map(|block| Output::Send {
                    peer: key,
                    message: Message::RejectRequest(block),
                }));
        }
    }
}

/// The longest block served; what every client accepts.
const MAX_REQUEST_LEN: u32 = 128 * 1024;
