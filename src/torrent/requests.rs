//! The download side: which blocks to ask of whom, what arrives, and what the storage makes of it.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use bytes::Bytes;
use rand::rngs::StdRng;

use crate::{
    metainfo::{Block, PieceIndex},
    wire::Message,
};

use super::{
    BlockDigest, DisconnectReason, Output, PeerKey, PeerMisbehaved, PieceOrder, StorageDone,
    StorageFault, StorageFaultKind, StorageOperation, StorageRequest, Torrent, TorrentEvent,
    blame::Blame,
    peer::Peer,
    picker::Picker,
    pipeline::Answer,
    progress::{Arrival, Partial, PieceState, Progress},
};

/// Pieces once the storage is open: what is here, and what to fetch next.
#[derive(Debug)]
pub(super) struct Pieces {
    pub(super) progress: Progress,
    pub(super) picker: Picker,
}

impl Pieces {
    /// A piece that can be started again, or not any more, goes into or out of the picker.
    pub(super) fn settle(&mut self, piece: PieceIndex, rng: &mut StdRng) {
        let progress = &self.progress;
        if progress.state(piece) == PieceState::Missing && progress.is_wanted(piece) {
            self.picker.insert(piece, rng);
        } else {
            self.picker.remove(piece);
        }
    }

    /// Chooses up to `room` blocks to ask of `peer` and marks them as asked for: partial pieces
    /// first, so that pieces become whole and can be passed on; then the rarest new piece; in the
    /// endgame blocks that others were asked for.
    fn choose(
        &mut self,
        now: Instant,
        turn: &Turn<'_>,
        blame: &Blame,
        rng: &mut StdRng,
    ) -> Vec<Block> {
        let Turn {
            key,
            peer,
            room,
            order,
            ..
        } = *turn;
        let mut blocks = Vec::new();
        let Some(has) = peer.bitfield() else {
            return blocks;
        };
        let fits = |piece: PieceIndex| has.get(piece.0) && peer.may_be_asked(now, piece);
        let trust = self.trust(now, turn, blame);
        let most = if trust == Trust::Proven {
            usize::MAX
        } else {
            1
        };
        self.take_open(room, usize::MAX, &mut blocks, |piece, partial| {
            let open = match trust {
                Trust::Proven => partial.open_to(key),
                _ => partial.is_owned_by(key),
            };
            open && fits(piece)
        });
        if let Trust::Sharing(part) = trust {
            self.take_open(room, 1, &mut blocks, |piece, partial| {
                let open = partial.open_to(key) && !partial.is_owned_by(key);
                open && part.is_none_or(|part| part == piece) && fits(piece)
            });
        }
        let sharing = matches!(trust, Trust::Sharing(_));
        let may_start = !sharing || trust == Trust::Sharing(None) && blocks.is_empty();
        while may_start && blocks.len() < room {
            let missing = |piece: &PieceIndex| fits(*piece) && self.progress.is_startable(*piece);
            // Each block until the liar is known may be another wrong one.
            let urgent = blame.unexplained().find(missing);
            let next = urgent.or_else(|| peer.suggested.filter(missing));
            let order = self.effective_order(order);
            let next = next.or_else(|| self.picker.pick(order, has, rng, fits));
            let Some(piece) = next else { break };
            // A peer that sends nothing must not keep a piece from the others.
            let alone = matches!(trust, Trust::Alone(_)) || blame.suspicious(piece);
            let alone = alone && !peer.pipeline.is_snubbed();
            self.progress.start(piece, alone.then_some(key));
            self.picker.remove(piece);
            self.progress
                .take_free(piece, room - blocks.len(), &mut blocks);
            if sharing {
                break;
            }
        }
        if blocks.is_empty() {
            // It may be the only one that has the rest of a piece, and near the end nobody is to
            // wait for a slow stranger's.
            self.take_open(room, most, &mut blocks, |piece, partial| {
                let open = partial.open_to(key) || !blame.suspicious(piece);
                open && trust.may_join(piece) && fits(piece)
            });
            for block in &blocks {
                self.progress.open(block.piece);
            }
        }
        if blocks.is_empty() && self.progress.in_endgame() {
            self.choose_again(turn, trust, blame, fits, &mut blocks);
        }
        blocks
    }

    /// Takes blocks that nobody was asked for of at most so many partial pieces that fit, those with
    /// the fewest left first.
    fn take_open(
        &mut self,
        room: usize,
        most: usize,
        blocks: &mut Vec<Block>,
        fits: impl Fn(PieceIndex, &Partial) -> bool,
    ) {
        let partials = self.progress.partials();
        let mut open: Vec<(u32, PieceIndex)> = partials
            .filter(|(piece, partial)| partial.free() > 0 && fits(*piece, partial))
            .filter(|(piece, _)| self.progress.is_wanted(*piece))
            .map(|(piece, partial)| (partial.free(), piece))
            .collect();
        open.sort_unstable();
        for (_, piece) in open.into_iter().take(most) {
            self.progress.take_free(piece, room - blocks.len(), blocks);
        }
    }

    /// Endgame: blocks that are on their way from others, if this peer will likely send them
    /// sooner; those that would come last first.
    fn choose_again(
        &mut self,
        turn: &Turn<'_>,
        trust: Trust,
        blame: &Blame,
        fits: impl Fn(PieceIndex) -> bool,
        blocks: &mut Vec<Block>,
    ) {
        let open = self.progress.partials();
        let open = open.filter(|(piece, partial)| {
            let open = partial.open_to(turn.key) || !blame.suspicious(*piece);
            open && trust.may_join(*piece) && fits(*piece)
        });
        let asked = open.flat_map(|(piece, _)| self.progress.asked_blocks(piece, ENDGAME_COPIES));
        // What comes sooner anyway goes first: the search of a long pipeline is the dear part.
        let soonest = turn.peer.pipeline.expected_after(0);
        let mut late: Vec<(Duration, Block)> = asked
            .filter_map(|block| Some((*turn.expected.get(&block)?, block)))
            .filter(|(when, _)| *when > soonest)
            .filter(|(_, block)| !turn.peer.pipeline.has_asked(*block))
            .collect();
        late.sort_unstable_by(|a, b| b.cmp(a));
        if let (true, Some((_, last))) = (trust != Trust::Proven, late.first().copied()) {
            late.retain(|(_, block)| block.piece == last.piece);
        }
        for (ahead, (when, block)) in late.into_iter().take(turn.room).enumerate() {
            if turn.peer.pipeline.expected_after(ahead) >= when {
                break;
            }
            self.progress.open(block.piece);
            self.progress.ask_again(block);
            blocks.push(block);
        }
    }

    /// What a peer may be trusted with.
    fn trust(&self, now: Instant, turn: &Turn<'_>, blame: &Blame) -> Trust {
        let Turn { key, peer, .. } = *turn;
        let suspect = blame.suspects(key, peer.listen_addr.unwrap_or(peer.addr));
        if peer.proven && !suspect {
            return Trust::Proven;
        }
        // Who has given its part must not idle because somebody else does not.
        let waited = |at: Instant| now.saturating_duration_since(at);
        let waits = peer
            .last_received
            .is_some_and(|at| waited(at) < PART_PATIENCE);
        let mut shared = self
            .progress
            .partials()
            .filter(|(_, partial)| !partial.is_owned_by(key));
        let part = shared
            .find(|(piece, _)| peer.pipeline.asks_for(*piece) || waits && blame.gave(*piece, key))
            .map(|(piece, _)| piece);
        match suspect || self.progress.owned_by_others(key) < MAX_ALONE {
            true => Trust::Alone(part),
            false => Trust::Sharing(part),
        }
    }

    /// Random first: the first pieces are taken as they come, because a rare piece is slow to get
    /// and a newcomer needs something to trade (Cohen 2003).
    fn effective_order(&self, order: PieceOrder) -> PieceOrder {
        let new = self.progress.have().count_ones() < RANDOM_FIRST;
        if order == PieceOrder::RarestFirst && new {
            PieceOrder::Random
        } else {
            order
        }
    }
}

/// Ours: pieces that strangers may each be giving alone. With more of them a slow line would work
/// on too many at once, and none would be done.
const MAX_ALONE: usize = 4;

/// Ours: how long a stranger that gave its part of a piece waits for the others' parts.
const PART_PATIENCE: Duration = Duration::from_secs(10);

/// What a peer may be asked for until it has shown whether its blocks are right. A liar is to spoil
/// one piece, so it gets pieces of its own, and a part in one that others give too: `Some` if it has
/// that part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trust {
    /// A piece that it gave has passed, and it is not suspected.
    Proven,
    /// It gives whole pieces, and when none is left for it a part of one.
    Alone(Option<PieceIndex>),
    /// Too many give whole pieces: it gives a part of one.
    Sharing(Option<PieceIndex>),
}

impl Trust {
    /// Whether it may be asked for a piece that others give.
    fn may_join(self, piece: PieceIndex) -> bool {
        match self {
            Self::Proven | Self::Alone(None) | Self::Sharing(None) => true,
            Self::Alone(Some(part)) | Self::Sharing(Some(part)) => part == piece,
        }
    }
}

/// Whose requests are being chosen.
#[derive(Clone, Copy)]
struct Turn<'a> {
    key: PeerKey,
    peer: &'a Peer,
    room: usize,
    order: PieceOrder,
    /// In the endgame: when each block on its way will likely be here.
    expected: &'a BTreeMap<Block, Duration>,
}

impl Torrent {
    /// Asks `key` for as much as its pipeline has room for.
    pub(super) fn fill_requests(&mut self, now: Instant, key: PeerKey) {
        if self.paused.is_some() || self.unwritten >= self.config.write_high_water {
            return;
        }
        let Some(peer) = self.peers.get(&key) else {
            return;
        };
        let Some(pieces) = &mut self.pieces else {
            return;
        };
        let may_ask = !peer.they_choke_us || !peer.allowed_fast.is_empty();
        let may_ask = may_ask && (peer.is_seed() || !self.config.only_seeds);
        if !may_ask || !peer.we_are_interested || !peer.pipeline.wants_more() {
            return;
        }
        // Under a limit peers take turns block by block, or the first would take it all.
        let limited = self.down.rate().is_some();
        let room = if limited { 1 } else { peer.pipeline.room() };
        let expected = match pieces.progress.in_endgame() {
            true => expected_blocks(&self.peers),
            false => BTreeMap::new(),
        };
        let turn = Turn {
            key,
            peer,
            room,
            order: self.config.piece_order,
            expected: &expected,
        };
        let blocks = pieces.choose(now, &turn, &self.blame, &mut self.rng);
        let Some(peer) = self.peers.get_mut(&key) else {
            return;
        };
        for block in blocks {
            if self.down.take(now, u64::from(block.len)) {
                if limited {
                    self.hungry.insert(key);
                }
                peer.pipeline.on_asked(now, block);
                peer.spoke_at = now;
                self.outputs.push_back(Output::Send {
                    peer: key,
                    message: Message::Request(block),
                });
            } else {
                self.down_ready = self.down.ready_at(now);
                self.starved.insert(key);
                pieces.progress.unask(block);
                if pieces.progress.abandon_if_untouched(block.piece) {
                    pieces.settle(block.piece, &mut self.rng);
                }
            }
        }
    }

    /// Requests with a peer are off: their blocks are free again.
    pub(super) fn unask(&mut self, blocks: &[Block]) {
        let Some(pieces) = &mut self.pieces else {
            return;
        };
        for block in blocks {
            pieces.progress.unask(*block);
            if pieces.progress.abandon_if_untouched(block.piece) {
                pieces.settle(block.piece, &mut self.rng);
            }
        }
        self.refill |= !blocks.is_empty();
    }

    /// A block arrived.
    pub(super) fn on_piece(&mut self, now: Instant, key: PeerKey, block: Block, data: Bytes) {
        let Some(peer) = self.peers.get_mut(&key) else {
            return;
        };
        let Some(pieces) = &mut self.pieces else {
            return self.punish_small(now, key, PeerMisbehaved::UnrequestedBlock);
        };
        let answer = peer.pipeline.on_block(now, block);
        self.downloaded += u64::from(block.len);
        self.down_rate.add(now, u64::from(block.len));
        if answer == Answer::Unrequested {
            self.wasted += u64::from(block.len);
            return self.punish_small(now, key, PeerMisbehaved::UnrequestedBlock);
        }
        peer.received.add(now, u64::from(block.len));
        peer.traded_at = now;
        peer.last_received = Some(now);
        self.hungry.insert(key);
        let addr = peer.listen_addr.unwrap_or(peer.addr);
        let parole = self.blame.suspicious(block.piece);
        let refused = parole && !pieces.progress.accepts_from(block.piece, key);
        if self.paused.is_some() || refused {
            self.wasted += u64::from(block.len);
            if answer == Answer::Expected {
                self.unask(&[block]);
            }
            return;
        }
        if answer == Answer::Late && pieces.progress.is_startable(block.piece) {
            // On a slow line all requests are late, and what comes is no less welcome.
            pieces.progress.start(block.piece, Some(key));
            pieces.picker.remove(block.piece);
        }
        let Arrival::New { others, complete } = pieces.progress.receive(block) else {
            self.wasted += u64::from(block.len);
            return;
        };
        self.blame.on_block(block, key, addr);
        self.unwritten += u64::from(block.len);
        self.outputs
            .push_back(Output::Storage(StorageRequest::Write { block, data }));
        if complete {
            let want_digests = self.blame.suspicious(block.piece);
            self.outputs
                .push_back(Output::Storage(StorageRequest::Verify {
                    piece: block.piece,
                    want_digests,
                }));
        }
        // A late block is asked of somebody else by now.
        if others || answer == Answer::Late {
            self.cancel_elsewhere(now, key, block);
        }
    }

    /// Endgame: the block is here, so the others need not send it.
    fn cancel_elsewhere(&mut self, now: Instant, from: PeerKey, block: Block) {
        for (key, peer) in self.peers.iter_mut().filter(|(key, _)| **key != from) {
            if peer.pipeline.cancel(block) {
                peer.spoke_at = now;
                self.outputs.push_back(Output::Send {
                    peer: *key,
                    message: Message::Cancel(block),
                });
                self.hungry.insert(*key);
            }
        }
    }

    /// BEP 6: a request will not be answered.
    pub(super) fn on_reject(&mut self, now: Instant, key: PeerKey, block: Block) {
        let Some(peer) = self.peers.get_mut(&key) else {
            return;
        };
        if peer.pipeline.cancel(block) {
            // A choke rejects all that was asked and says nothing about these pieces.
            if peer.may_be_asked(now, block.piece) {
                peer.on_refused(now, block.piece);
            }
            self.release_parole(key);
            self.unask(&[block]);
        }
    }

    /// The storage reports.
    pub(super) fn on_storage(&mut self, now: Instant, done: StorageDone) {
        match done {
            StorageDone::Opened { have } => self.on_opened(now, have),
            StorageDone::BlockRead { peer, block, data } => self.on_read(now, peer, block, data),
            StorageDone::Written { bytes } => {
                let was_full = self.unwritten >= self.config.write_high_water;
                self.unwritten = self.unwritten.saturating_sub(bytes);
                self.refill |= was_full && self.unwritten < self.config.write_high_water;
            }
            StorageDone::PieceVerified {
                piece,
                ok: true,
                digests,
            } => {
                self.on_verified(now, piece, &digests);
            }
            StorageDone::PieceVerified {
                piece,
                ok: false,
                digests,
            } => {
                self.on_mismatch(now, piece, &digests);
            }
            StorageDone::Failed { operation, fault } => self.on_fault(now, operation, fault),
        }
    }

    fn on_verified(&mut self, now: Instant, piece: PieceIndex, digests: &[BlockDigest]) {
        let Some(pieces) = &mut self.pieces else {
            return;
        };
        if !pieces.progress.verified(piece) {
            return;
        }
        self.doubted.remove(&piece);
        for (giver, _) in self.blame.givers(piece) {
            if let Some(peer) = self.peers.get_mut(&giver) {
                peer.proven = true;
            }
        }
        let liars = self.blame.on_passed(piece, digests);
        let complete = pieces.progress.is_complete();
        let wanted = pieces.progress.is_wanted(piece);
        for (key, peer) in &mut self.peers {
            let has = peer.bitfield().is_some_and(|has| has.get(piece.0));
            if has && wanted {
                peer.interesting -= 1;
                self.reconsider.insert(*key);
            }
            if !peer.is_seed() {
                peer.spoke_at = now;
                self.outputs.push_back(Output::Send {
                    peer: *key,
                    message: Message::Have(piece),
                });
            }
        }
        self.outputs
            .push_back(Output::Event(TorrentEvent::PieceCompleted { piece }));
        for (liar, addr) in liars {
            self.ban(now, liar, addr, PeerMisbehaved::CorruptData);
        }
        if complete && !self.completed {
            self.on_completed(now);
        }
    }

    /// Every wanted piece is here.
    pub(super) fn on_completed(&mut self, now: Instant) {
        self.completed = true;
        self.outputs
            .push_back(Output::Event(TorrentEvent::Completed));
        let done: Vec<PeerKey> = self
            .peers
            .iter()
            .filter(|(_, peer)| peer.is_seed())
            .map(|(key, _)| *key)
            .collect();
        for key in done {
            self.disconnect(now, key, DisconnectReason::NothingToTrade);
        }
        self.slots_dirty = true;
    }

    fn on_mismatch(&mut self, now: Instant, piece: PieceIndex, digests: &[BlockDigest]) {
        let Some(pieces) = &mut self.pieces else {
            return;
        };
        if pieces.progress.state(piece) != PieceState::Verifying {
            return;
        }
        self.wasted += u64::from(pieces.progress.geometry().piece_len(piece));
        pieces.progress.lost(piece);
        pieces.settle(piece, &mut self.rng);
        self.outputs
            .push_back(Output::Event(TorrentEvent::PieceFailed { piece }));
        if self.doubted.remove(&piece) {
            self.blame.forget(piece);
            self.refill = true;
            return;
        }
        for (liar, addr) in self.blame.on_failed(piece, digests) {
            self.ban(now, liar, addr, PeerMisbehaved::CorruptData);
        }
        self.refill = true;
    }

    fn on_fault(&mut self, now: Instant, operation: StorageOperation, fault: StorageFault) {
        self.end_unsent(now);
        match operation {
            StorageOperation::Open => {}
            StorageOperation::Read { peer, block } => {
                self.on_read_failed(now, peer, block);
                if fault.kind == StorageFaultKind::Vanished {
                    self.forget_piece(block.piece);
                }
            }
            StorageOperation::Write { piece } => {
                self.blame.forget(piece);
                self.doubted.insert(piece);
                self.forget_piece(piece);
            }
        }
        self.pause(now, fault);
    }

    /// A piece is not here after all.
    fn forget_piece(&mut self, piece: PieceIndex) {
        let Some(pieces) = &mut self.pieces else {
            return;
        };
        let was_here = pieces.progress.have().get(piece.0);
        if !pieces.progress.lost(piece) {
            return;
        }
        pieces.settle(piece, &mut self.rng);
        self.completed = pieces.progress.is_complete();
        if was_here && pieces.progress.is_wanted(piece) {
            for (key, peer) in &mut self.peers {
                if peer.bitfield().is_some_and(|has| has.get(piece.0)) {
                    peer.interesting += 1;
                    self.reconsider.insert(*key);
                }
            }
        }
    }

    /// A storage failure: stop asking at once, take back what was asked, and go on seeding. Peers
    /// would otherwise send data that is thrown away, and ban us for asking again and again.
    fn pause(&mut self, now: Instant, fault: StorageFault) {
        self.retry_at = (fault.kind == StorageFaultKind::Full).then(|| now + RETRY_FULL);
        let first = self.paused.is_none();
        self.paused = Some(fault.clone());
        if !first {
            return;
        }
        let mut freed = Vec::new();
        for (key, peer) in &mut self.peers {
            for block in peer.pipeline.clear() {
                self.outputs.push_back(Output::Send {
                    peer: *key,
                    message: Message::Cancel(block),
                });
                freed.push(block);
            }
            self.reconsider.insert(*key);
        }
        self.unask(&freed);
        self.outputs
            .push_back(Output::Event(TorrentEvent::Paused { fault }));
    }
}

/// When each block that is on its way will likely be here, from whoever sends it first.
fn expected_blocks(peers: &BTreeMap<PeerKey, Peer>) -> BTreeMap<Block, Duration> {
    let mut expected = BTreeMap::new();
    for (block, when) in peers.values().flat_map(|peer| peer.pipeline.expected()) {
        let first = expected.entry(block).or_insert(when);
        *first = when.min(*first);
    }
    expected
}

/// Ours: peers asked for one block in the endgame.
const ENDGAME_COPIES: u8 = 3;
/// Cohen 2003, and every client since: the first pieces are taken at random.
const RANDOM_FIRST: u32 = 4;
/// Ours: how often a full disk is tried again.
const RETRY_FULL: Duration = Duration::from_secs(60);
