//! Where a peer's message goes. Each arm checks what the network may get wrong, then calls the
//! part that owns the matter.

use std::{net::SocketAddr, time::Instant};

use bytes::Bytes;

use crate::{
    bitfield::Bitfield,
    metainfo::{MAX_PIECES, PieceIndex},
    wire::{
        Message,
        extension::{self, ExtensionError, METADATA_BLOCK_LEN, MetadataMessage, PexMessage},
    },
};

use super::{
    CandidateSource, Output, PeerKey, PeerMisbehaved, Torrent, TorrentEvent,
    metadata::MetadataStep,
    peer::{EarlyHas, PeerHas},
};

impl Torrent {
    pub(super) fn on_message(&mut self, now: Instant, key: PeerKey, message: Message) {
        let Some(peer) = self.peers.get_mut(&key) else {
            return;
        };
        peer.heard_at = now;
        let fast = peer.reserved.fast();
        if peer.is_flooding(now) {
            return self.punish(now, key, PeerMisbehaved::Flood);
        }
        match message {
            Message::KeepAlive | Message::Unknown(_) => {}
            Message::Choke => self.on_choke(key),
            Message::Unchoke => self.on_unchoke(key),
            Message::Interested => self.on_interest(key, true),
            Message::NotInterested => self.on_interest(key, false),
            Message::Have(piece) => self.on_have(now, key, piece),
            Message::Bitfield(bits) => {
                let early = EarlyHas {
                    bitfield: Some(bits),
                    ..EarlyHas::default()
                };
                self.on_has(now, key, early);
            }
            Message::Request(block) => self.on_request(now, key, block),
            Message::Piece { block, data } => self.on_piece(now, key, block, data),
            Message::Cancel(block) => self.on_cancel(key, block),
            Message::Port(port) => self.on_port(key, port),
            Message::Extended { id, payload } => self.on_extended(now, key, id, payload),
            _ if !fast => self.punish(now, key, PeerMisbehaved::FastViolation),
            Message::HaveAll => {
                self.on_has(
                    now,
                    key,
                    EarlyHas {
                        all: true,
                        ..EarlyHas::default()
                    },
                );
            }
            Message::HaveNone => self.on_has(now, key, EarlyHas::default()),
            Message::RejectRequest(block) => self.on_reject(now, key, block),
            Message::AllowedFast(piece) => self.on_allowed_fast(now, key, piece),
            Message::SuggestPiece(piece) => self.on_suggest(now, key, piece),
        }
    }

    /// Without the fast extension a choke drops what was asked; with it the peer rejects each
    /// request by itself, and what it forgets the pipeline gives up in time.
    fn on_choke(&mut self, key: PeerKey) {
        let Some(peer) = self.peers.get_mut(&key) else {
            return;
        };
        peer.they_choke_us = true;
        if !peer.reserved.fast() {
            let freed = peer.pipeline.clear();
            self.unask(&freed);
        }
        self.release_parole(key);
    }

    fn on_unchoke(&mut self, key: PeerKey) {
        let Some(peer) = self.peers.get_mut(&key) else {
            return;
        };
        if std::mem::replace(&mut peer.they_choke_us, false) {
            peer.pipeline.restart();
        }
        self.hungry.insert(key);
    }

    fn on_interest(&mut self, key: PeerKey, interested: bool) {
        let Some(peer) = self.peers.get_mut(&key) else {
            return;
        };
        peer.they_are_interested = interested;
        self.slots_dirty = true;
    }

    fn on_have(&mut self, now: Instant, key: PeerKey, piece: PieceIndex) {
        let Some(peer) = self.peers.get_mut(&key) else {
            return;
        };
        peer.has_spoken = true;
        let has = match &mut peer.has {
            PeerHas::Early(early) => {
                if piece.0 >= MAX_PIECES {
                    return self.punish(now, key, PeerMisbehaved::IndexOutOfRange);
                }
                if !early.all {
                    early.add(piece);
                }
                return;
            }
            PeerHas::Known(has) => has,
        };
        if piece.0 >= has.len() {
            return self.punish(now, key, PeerMisbehaved::IndexOutOfRange);
        }
        if !has.set(piece.0) {
            return;
        }
        let full = has.is_full();
        let Some(pieces) = &mut self.pieces else {
            return;
        };
        pieces.picker.on_have(piece, &mut self.rng);
        if let Some(unsent) = &mut self.unsent {
            unsent.on_have(now, key, piece);
        }
        if full {
            pieces.picker.on_became_seed(&mut self.rng);
        }
        if pieces.progress.is_needed(piece) {
            peer.interesting += 1;
            self.hungry.insert(key);
        }
        self.reconsider.insert(key);
    }

    /// A bitfield, HAVE ALL or HAVE NONE: the first word on what a peer has, or a later one.
    fn on_has(&mut self, now: Instant, key: PeerKey, said: EarlyHas) {
        let Some(peer) = self.peers.get_mut(&key) else {
            return;
        };
        let late = std::mem::replace(&mut peer.has_spoken, true);
        let Some(metainfo) = &self.metainfo else {
            if said
                .bitfield
                .as_ref()
                .is_some_and(|bits| bits.len() > MAX_PIECES as usize / 8)
            {
                return self.punish(now, key, PeerMisbehaved::BadBitfield);
            }
            match (&mut peer.has, said.bitfield) {
                (PeerHas::Early(early), bitfield @ Some(_)) if late => early.bitfield = bitfield,
                (_, bitfield) => peer.has = PeerHas::Early(EarlyHas { bitfield, ..said }),
            }
            return;
        };
        match said.settle(metainfo.geometry().piece_count()) {
            Ok(has) if late => self.on_more(now, key, &has),
            Ok(has) => {
                let nothing = std::mem::replace(&mut peer.has, PeerHas::Known(has));
                if let (Some(pieces), PeerHas::Known(nothing)) = (&mut self.pieces, nothing) {
                    pieces.picker.on_left(&nothing, &mut self.rng);
                }
                self.count_in(key);
                self.grant_fast(key);
            }
            Err(fault) => self.punish(now, key, fault),
        }
    }

    /// BEP 3 wants a bitfield first or never, but aria2 (seen with 1.36) sends one in place of many
    /// HAVEs while it downloads. One that tells nothing new is refused, so that a peer cannot have
    /// us read more of them than there are pieces.
    fn on_more(&mut self, now: Instant, key: PeerKey, has: &Bitfield) {
        let Some(PeerHas::Known(known)) = self.peers.get(&key).map(|peer| &peer.has) else {
            return;
        };
        let news: Vec<u32> = has.ones().filter(|piece| !known.get(*piece)).collect();
        if news.is_empty() {
            return self.punish(now, key, PeerMisbehaved::BadBitfield);
        }
        for piece in news {
            self.on_have(now, key, PieceIndex(piece));
        }
    }

    /// What a peer has is known and the pieces are open: counts it.
    pub(super) fn count_in(&mut self, key: PeerKey) {
        let Some(pieces) = &mut self.pieces else {
            return;
        };
        let Some(peer) = self.peers.get_mut(&key) else {
            return;
        };
        let PeerHas::Known(has) = &peer.has else {
            return;
        };
        pieces.picker.on_joined(has, &mut self.rng);
        let progress = &pieces.progress;
        let needed = has
            .ones()
            .filter(|piece| progress.is_needed(PieceIndex(*piece)));
        peer.interesting = needed.count() as u32;
        self.reconsider.insert(key);
        self.hungry.insert(key);
        self.slots_dirty = true;
    }

    fn on_allowed_fast(&mut self, now: Instant, key: PeerKey, piece: PieceIndex) {
        let Some(peer) = self.peers.get_mut(&key) else {
            return;
        };
        let pieces = self
            .metainfo
            .as_ref()
            .map(|metainfo| metainfo.geometry().piece_count());
        if pieces.is_some_and(|pieces| piece.0 >= pieces) {
            return self.punish(now, key, PeerMisbehaved::IndexOutOfRange);
        }
        if peer.allowed_fast.len() < MAX_ALLOWED_FAST {
            peer.allowed_fast.insert(piece);
            self.hungry.insert(key);
        }
    }

    fn on_suggest(&mut self, now: Instant, key: PeerKey, piece: PieceIndex) {
        let Some(metainfo) = &self.metainfo else {
            return;
        };
        if piece.0 >= metainfo.geometry().piece_count() {
            return self.punish(now, key, PeerMisbehaved::IndexOutOfRange);
        }
        if let Some(peer) = self.peers.get_mut(&key) {
            peer.suggested = Some(piece);
        }
    }

    fn on_port(&mut self, key: PeerKey, port: u16) {
        let Some(peer) = self.peers.get(&key) else {
            return;
        };
        let addr = SocketAddr::new(peer.addr.ip(), port);
        if port != 0 && !self.is_private() {
            self.outputs
                .push_back(Output::Event(TorrentEvent::DhtNode { addr }));
        }
    }

    fn on_extended(&mut self, now: Instant, key: PeerKey, id: u8, payload: Bytes) {
        let known = match id {
            extension::HANDSHAKE_ID => self.on_extension_handshake(key, &payload),
            extension::UT_METADATA_ID => MetadataMessage::decode(&payload)
                .map(|message| self.on_metadata_message(now, key, message)),
            extension::UT_PEX_ID => {
                PexMessage::decode(&payload).map(|message| self.on_pex(now, key, &message))
            }
            // An id that we never named: a peer may send it, and it means nothing.
            _ => Ok(()),
        };
        if known.is_err() {
            self.punish_small(now, key, PeerMisbehaved::BadExtension);
        }
    }

    /// Later handshakes of a peer add to its first (BEP 10).
    fn on_extension_handshake(
        &mut self,
        key: PeerKey,
        payload: &[u8],
    ) -> Result<(), ExtensionError> {
        let Some(peer) = self.peers.get_mut(&key) else {
            return Ok(());
        };
        let mut said = peer.extension.clone().unwrap_or_default();
        said.update(payload)?;
        if let Some(limit) = said.request_queue {
            peer.pipeline.set_peer_limit(limit);
        }
        if let (Some(port), None) = (said.listen_port, peer.listen_addr) {
            let addr = SocketAddr::new(peer.addr.ip(), port);
            peer.listen_addr = Some(addr);
            peer.pex_out.set_recipient(addr);
            self.candidates.on_connected(addr);
        }
        if let (Some(fetch), Some(size), Some(_)) =
            (&mut self.fetch, said.metadata_size, said.ut_metadata)
        {
            fetch.offer(key, size);
            self.fetch_due = true;
        }
        peer.extension = Some(said);
        Ok(())
    }

    fn on_metadata_message(&mut self, now: Instant, key: PeerKey, message: MetadataMessage) {
        self.fetch_due = true;
        match message {
            MetadataMessage::Request { piece } => self.serve_metadata(now, key, piece),
            MetadataMessage::Data {
                piece,
                total_size,
                data,
            } => {
                let Some(fetch) = &mut self.fetch else { return };
                match fetch.on_data(now, key, piece, total_size, &data) {
                    MetadataStep::Continue => {}
                    MetadataStep::Complete(info) => self.on_metadata(now, info),
                    MetadataStep::Failed { liars } => {
                        for liar in liars {
                            self.punish(now, liar, PeerMisbehaved::CorruptMetadata);
                        }
                    }
                    MetadataStep::Unrequested => {
                        self.punish_small(now, key, PeerMisbehaved::UnrequestedBlock);
                    }
                }
            }
            MetadataMessage::Reject { piece } => {
                if let Some(fetch) = &mut self.fetch {
                    fetch.on_reject(now, key, piece);
                }
            }
            MetadataMessage::Unknown => {}
        }
    }

    /// BEP 9: gives a block of the metadata, or rejects.
    fn serve_metadata(&mut self, now: Instant, key: PeerKey, piece: u32) {
        let Some(peer) = self.peers.get_mut(&key) else {
            return;
        };
        let Some(id) = peer.extension.as_ref().and_then(|said| said.ut_metadata) else {
            return;
        };
        let block = self
            .metainfo
            .as_ref()
            .filter(|_| self.config.upload)
            .and_then(|metainfo| {
                let info = metainfo.info();
                let blocks = (info.len() as u32).div_ceil(METADATA_BLOCK_LEN);
                if piece >= blocks || !peer.metadata_serve.allow(now, blocks) {
                    return None;
                }
                let start = piece as usize * METADATA_BLOCK_LEN as usize;
                let end = (start + METADATA_BLOCK_LEN as usize).min(info.len());
                Some((info.len() as u32, info.slice(start..end)))
            });
        let message = match block {
            Some((total_size, data)) => MetadataMessage::Data {
                piece,
                total_size,
                data,
            },
            None => MetadataMessage::Reject { piece },
        };
        peer.spoke_at = now;
        self.send_extended(key, id, message.encode());
    }

    fn on_pex(&mut self, now: Instant, key: PeerKey, message: &PexMessage) {
        if self.is_private() || !self.config.pex {
            return;
        }
        let Some(peer) = self.peers.get_mut(&key) else {
            return;
        };
        match peer.pex_in.accept(now, message, self.config.network) {
            Ok(addrs) => self.on_candidates(now, &addrs, CandidateSource::Pex),
            Err(fault) => self.punish(now, key, fault),
        }
    }

    pub(super) fn send_extended(&mut self, key: PeerKey, id: u8, payload: Bytes) {
        let message = Message::Extended { id, payload };
        self.outputs.push_back(Output::Send { peer: key, message });
    }

    /// Early words become sets; who lied about the number of pieces is dropped.
    pub(super) fn settle_early(&mut self, now: Instant, pieces: u32) {
        let keys: Vec<PeerKey> = self.peers.keys().copied().collect();
        for key in keys {
            let Some(peer) = self.peers.get_mut(&key) else {
                continue;
            };
            let PeerHas::Early(early) = &peer.has else {
                continue;
            };
            match early.settle(pieces) {
                Ok(has) => peer.has = PeerHas::Known(has),
                Err(fault) => self.punish(now, key, fault),
            }
        }
    }

    /// What a peer has that has just connected: nothing, until it says otherwise.
    pub(super) fn nothing_yet(&self) -> PeerHas {
        match &self.metainfo {
            Some(metainfo) => PeerHas::Known(Bitfield::empty(metainfo.geometry().piece_count())),
            None => PeerHas::Early(EarlyHas::default()),
        }
    }
}

/// Ours: BEP 6 sets are of about ten pieces.
const MAX_ALLOWED_FAST: usize = 64;
