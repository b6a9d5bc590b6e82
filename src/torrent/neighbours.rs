//! The neighbour set: who is connected, who is dialled, who is dropped and banned, and what is
//! said to a peer when it comes.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use bytes::Bytes;

use crate::{
    network::Network,
    wire::{
        Handshake, Message,
        extension::{self, ExtensionHandshake, PexFlags},
        fast::allowed_fast_set,
    },
};

use super::{
    CandidateSource, Direction, DisconnectReason, Output, PeerKey, PeerMisbehaved, Reject,
    Severity, Torrent, TorrentEvent, peer::Peer, uploads::MAX_QUEUE,
};

impl Torrent {
    pub(super) fn on_candidates(
        &mut self,
        now: Instant,
        addrs: &[SocketAddr],
        source: CandidateSource,
    ) {
        // BEP 27; a lookup may have been under way when the metadata came.
        if self.is_private() && source > CandidateSource::Magnet {
            return;
        }
        for addr in addrs {
            self.candidates.add(now, *addr, source);
        }
        self.dial_due = true;
    }

    /// A connection has exchanged handshakes: takes it in or says why not.
    pub(super) fn on_connected(
        &mut self,
        now: Instant,
        addr: SocketAddr,
        direction: Direction,
        handshake: &Handshake,
    ) -> Result<PeerKey, Reject> {
        let outbound = direction == Direction::Outbound;
        if outbound {
            self.dialling.remove(&addr);
            self.dial_due = true;
        }
        let verdict = self.judge(now, addr, direction, handshake);
        if let Err(reject) = verdict {
            match reject {
                Reject::Ourselves if outbound => {
                    self.candidates.mark_ourselves(addr);
                    // Nobody else was there, and the count tells the user whether somebody was.
                    self.dialled = self.dialled.saturating_sub(1);
                }
                Reject::Duplicate if outbound => self.candidates.postpone(now, addr, TWIN_PAUSE),
                _ if outbound => self.candidates.on_failed(now, addr),
                _ => {}
            }
            return Err(reject);
        }
        self.handshaken += 1;
        if outbound {
            self.candidates.on_connected(addr);
        }
        let key = PeerKey(self.next_key);
        self.next_key += 1;
        let has = self.nothing_yet();
        let Handshake {
            peer_id, reserved, ..
        } = *handshake;
        self.peers
            .insert(key, Peer::new(now, addr, direction, peer_id, reserved, has));
        self.greet(now, key);
        self.count_in(key);
        Ok(key)
    }

    fn judge(
        &mut self,
        now: Instant,
        addr: SocketAddr,
        direction: Direction,
        handshake: &Handshake,
    ) -> Result<(), Reject> {
        if handshake.info_hash != self.info_hash {
            return Err(Reject::WrongTorrent);
        }
        if handshake.peer_id == self.config.peer_id {
            return Err(Reject::Ourselves);
        }
        if self.stopped || !self.is_ready() {
            return Err(Reject::Stopped);
        }
        if self.candidates.is_banned(now, addr)
            || self.candidates.is_banned_id(now, addr, handshake.peer_id)
        {
            return Err(Reject::Banned);
        }
        let twin = self
            .peers
            .iter()
            .find(|(_, peer)| peer.id == handshake.peer_id);
        if let Some((key, peer)) = twin.map(|(key, peer)| (*key, peer)) {
            // Two peers that dial each other at once must both keep the same connection: the one
            // that the larger peer id opened.
            let theirs_wins = handshake.peer_id > self.config.peer_id;
            let new_wins = peer.direction != direction
                && now.saturating_duration_since(peer.connected_at) < CROSSING
                && theirs_wins == (direction == Direction::Inbound);
            if !new_wins {
                return Err(Reject::Duplicate);
            }
            self.disconnect(now, key, DisconnectReason::Duplicate);
        }
        let same_ip = |peer: &&Peer| peer.addr.ip() == addr.ip();
        let crowd = self.peers.values().filter(same_ip).count();
        if self.config.network == Network::Mainline && crowd >= MAX_PER_IP {
            return Err(Reject::Full);
        }
        if !self.admits(now, addr, direction) {
            return Err(Reject::Full);
        }
        Ok(())
    }

    /// Whether peers may be here: not while the data of a known torrent is being checked, because
    /// a bitfield must come first and cannot be taken back.
    fn is_ready(&self) -> bool {
        self.pieces.is_some() || self.from_magnet
    }

    /// What a new peer is told, in the order of BEP 3, 6, 10 and 5.
    fn greet(&mut self, now: Instant, key: PeerKey) {
        let shown = self.first_shown(now, key);
        let Some(peer) = self.peers.get_mut(&key) else {
            return;
        };
        let reserved = peer.reserved;
        let have = self.pieces.as_ref().map(|pieces| pieces.progress.have());
        let have = shown.as_ref().or(have);
        let first = match have {
            Some(have) if reserved.fast() && have.is_full() => Some(Message::HaveAll),
            Some(have) if have.count_ones() > 0 => {
                Some(Message::Bitfield(Bytes::copy_from_slice(have.as_bytes())))
            }
            _ if reserved.fast() => Some(Message::HaveNone),
            _ => None,
        };
        let port = self
            .config
            .dht_port
            .filter(|_| reserved.dht() && !self.is_private());
        let port = port.map(Message::Port);
        let messages = first.into_iter().chain(port);
        self.outputs
            .extend(messages.map(|message| Output::Send { peer: key, message }));
        self.send_extension_handshake(key);
    }

    /// BEP 10; again when the metadata has come, so that peers can ask us for it.
    pub(super) fn send_extension_handshake(&mut self, key: PeerKey) {
        let Some(peer) = self
            .peers
            .get(&key)
            .filter(|peer| peer.reserved.extension())
        else {
            return;
        };
        let handshake = ExtensionHandshake {
            ut_metadata: Some(extension::UT_METADATA_ID),
            ut_pex: (self.config.pex && !self.is_private()).then_some(extension::UT_PEX_ID),
            metadata_size: self
                .metainfo
                .as_ref()
                .map(|metainfo| metainfo.info().len() as u32),
            client: Some(self.config.client.clone()),
            listen_port: self.config.listen_port,
            request_queue: Some(MAX_QUEUE as u32),
            your_ip: Some(peer.addr.ip()),
            // Who says so and has little to offer is dropped by libtorrent.
            upload_only: self.completed && self.unsent.is_none(),
        };
        self.send_extended(key, extension::HANDSHAKE_ID, handshake.encode());
    }

    /// BEP 6: a newcomer may take a few pieces while it is choked, so that it has something to
    /// trade. Only pieces that several neighbours have are given away: the set depends on the
    /// peer's /24, and a rare piece sent to a whole subnet costs the swarm its diversity.
    pub(super) fn grant_fast(&mut self, key: PeerKey) {
        let (Some(pieces), Some(peer)) = (&self.pieces, self.peers.get_mut(&key)) else {
            return;
        };
        let IpAddr::V4(ip) = peer.addr.ip().to_canonical() else {
            return;
        };
        let newcomer = peer
            .bitfield()
            .is_some_and(|has| has.count_ones() < ALLOWED_FAST);
        let given = self.unsent.is_some() || !peer.granted_fast.is_empty();
        if !peer.reserved.fast() || !newcomer || given {
            return;
        }
        let progress = &pieces.progress;
        let count = progress.geometry().piece_count();
        for piece in allowed_fast_set(ip, &self.info_hash, count, ALLOWED_FAST as usize) {
            let common = pieces.picker.availability(piece) >= COMMON;
            if common && progress.have().get(piece.0) {
                peer.granted_fast.insert(piece);
                let message = Message::AllowedFast(piece);
                self.outputs.push_back(Output::Send { peer: key, message });
            }
        }
    }

    /// A dial failed.
    pub(super) fn on_connect_failed(&mut self, now: Instant, addr: SocketAddr) {
        if self.dialling.remove(&addr) {
            self.candidates.on_failed(now, addr);
            self.dial_due = true;
        }
    }

    /// Takes a peer out of every book. Its requests go back to the picker.
    pub(super) fn remove_peer(&mut self, now: Instant, key: PeerKey) -> Option<Peer> {
        let mut peer = self.peers.remove(&key)?;
        let freed = peer.pipeline.clear();
        self.unask(&freed);
        if let (Some(pieces), Some(has)) = (&mut self.pieces, peer.bitfield()) {
            pieces.picker.on_left(has, &mut self.rng);
        }
        self.release_parole(key);
        if let Some(fetch) = &mut self.fetch {
            fetch.peer_gone(key);
            self.fetch_due = true;
        }
        if let Some(addr) = peer.listen_addr {
            self.candidates
                .on_closed(now, addr, peer.received.total() > 0);
            if self.completed && peer.is_seed() {
                self.candidates.postpone(now, addr, SEED_PAUSE);
            }
        }
        for set in [&mut self.hungry, &mut self.starved, &mut self.reconsider] {
            set.remove(&key);
        }
        self.upload_ready.remove(&key);
        self.leave_unsent(key);
        self.shares.leave(key);
        self.slots_dirty = true;
        self.dial_due = true;
        Some(peer)
    }

    /// Closes a connection.
    pub(super) fn disconnect(&mut self, now: Instant, key: PeerKey, reason: DisconnectReason) {
        if self.remove_peer(now, key).is_some() {
            self.outputs
                .push_back(Output::Disconnect { peer: key, reason });
        }
    }

    /// A peer on parole that cannot give its piece leaves it to others.
    pub(super) fn release_parole(&mut self, key: PeerKey) {
        if let Some(pieces) = &mut self.pieces {
            pieces.progress.release_owner(key);
        }
    }

    /// A fault that ends the connection, and may ban the address.
    pub(super) fn punish(&mut self, now: Instant, key: PeerKey, fault: PeerMisbehaved) {
        let Some(peer) = self.peers.get(&key) else {
            return;
        };
        let addr = peer.listen_addr.unwrap_or(peer.addr);
        match fault.severity() {
            Severity::Ban => self.ban(now, key, addr, fault),
            Severity::Drop => self.disconnect(now, key, DisconnectReason::Misbehaved(fault)),
        }
    }

    /// A small fault: forgiven a few times.
    pub(super) fn punish_small(&mut self, now: Instant, key: PeerKey, fault: PeerMisbehaved) {
        if self.peers.get_mut(&key).is_some_and(Peer::strike) {
            self.punish(now, key, fault);
        }
    }

    /// Bans an address, and its peer if that is still connected.
    pub(super) fn ban(
        &mut self,
        now: Instant,
        key: PeerKey,
        addr: SocketAddr,
        fault: PeerMisbehaved,
    ) {
        if let Some(peer) = self.peers.get(&key) {
            self.candidates.ban_id(now, peer.addr, peer.id, BAN);
        }
        self.disconnect(now, key, DisconnectReason::Misbehaved(fault));
        if self.candidates.is_banned(now, addr) {
            return;
        }
        self.candidates.ban(now, addr, BAN);
        self.outputs
            .push_back(Output::Event(TorrentEvent::PeerBanned { addr, fault }));
    }

    /// Dials candidates while neighbours are wanted.
    pub(super) fn dial(&mut self, now: Instant) {
        self.dial_due = false;
        if self.stopped || !self.is_ready() || self.completed && !self.config.seed_dials {
            self.dial_at = None;
            return;
        }
        let most = (self.config.max_peers * 3).div_ceil(4);
        while self.peers.len() + self.dialling.len() < most {
            if self.dialling.len() >= MAX_DIALLING {
                self.dial_at = None;
                return;
            }
            let Some(addr) = self.candidates.next_to_dial(now, &mut self.rng) else {
                break;
            };
            self.dialling.insert(addr);
            self.dialled += 1;
            self.outputs.push_back(Output::Connect { addr });
        }
        let room = self.peers.len() + self.dialling.len() < most;
        self.dial_at = room.then(|| self.candidates.next_ready(now)).flatten();
    }

    /// Says whether a peer's pieces interest us, when that has changed.
    pub(super) fn reconsider_interest(&mut self, now: Instant, key: PeerKey) {
        let Some(peer) = self.peers.get_mut(&key) else {
            return;
        };
        let interested = peer.interesting > 0 && self.paused.is_none() && self.pieces.is_some();
        if interested != peer.we_are_interested {
            peer.we_are_interested = interested;
            peer.spoke_at = now;
            let message = if interested {
                Message::Interested
            } else {
                Message::NotInterested
            };
            self.outputs.push_back(Output::Send { peer: key, message });
            if interested {
                self.hungry.insert(key);
            }
        }
        if self.completed && peer.is_seed() {
            self.end_unsent(now);
            self.disconnect(now, key, DisconnectReason::NothingToTrade);
        }
    }

    /// Once a second: what depends on time alone.
    pub(super) fn tick(&mut self, now: Instant) {
        let keys: Vec<PeerKey> = self.peers.keys().copied().collect();
        for key in keys {
            let Some(peer) = self.peers.get_mut(&key) else {
                continue;
            };
            if now.saturating_duration_since(peer.heard_at) >= SILENCE {
                self.disconnect(now, key, DisconnectReason::Idle);
                continue;
            }
            if now.saturating_duration_since(peer.spoke_at) >= KEEP_ALIVE {
                peer.spoke_at = now;
                self.outputs.push_back(Output::Send {
                    peer: key,
                    message: Message::KeepAlive,
                });
            }
            let freed = peer.pipeline.on_tick(now);
            self.hungry.insert(key);
            if !freed.is_empty() {
                self.release_parole(key);
                self.unask(&freed);
            }
        }
        if self.retry_at.is_some_and(|at| now >= at) {
            self.resume(now);
        }
        self.tick_unsent(now);
        self.replace_useless(now);
        self.gossip(now);
        let lonely = self.peers.len() < LONELY && self.candidates.dialable(now) == 0;
        if lonely && !self.is_complete() && self.wanted_peers_at.is_none_or(|at| now >= at) {
            self.wanted_peers_at = Some(now + WANT_PEERS);
            self.outputs
                .push_back(Output::Event(TorrentEvent::WantPeers));
        }
        self.dial_due = true;
    }

    /// BEP 11: tells peers who else is here.
    fn gossip(&mut self, now: Instant) {
        let mut peers = self.peers.values();
        if self.is_private() || !self.config.pex || !peers.any(|peer| peer.pex_out.is_due(now)) {
            return;
        }
        let flags = |peer: &Peer| {
            let seed = if peer.is_seed() { PexFlags::SEED } else { 0 };
            let reachable = if peer.direction == Direction::Outbound {
                PexFlags::REACHABLE
            } else {
                0
            };
            PexFlags(seed | reachable)
        };
        let known: BTreeMap<SocketAddr, PexFlags> = self
            .peers
            .values()
            .filter_map(|peer| peer.listen_addr.map(|addr| (addr, flags(peer))))
            .collect();
        let mut messages = Vec::new();
        for (key, peer) in &mut self.peers {
            let Some(id) = peer.extension.as_ref().and_then(|said| said.ut_pex) else {
                continue;
            };
            if let Some(message) = peer.pex_out.diff(now, &known) {
                peer.spoke_at = now;
                messages.push((*key, id, message.encode()));
            }
        }
        for (key, id, payload) in messages {
            self.send_extended(key, id, payload);
        }
    }
}

/// Ours: two connections of one pair that crossed on their way are this far apart at most.
const CROSSING: Duration = Duration::from_secs(10);
/// Ours: how long two that have everything leave each other alone.
const SEED_PAUSE: Duration = Duration::from_secs(1_800);
/// Ours: how long the second address of a connected peer is left alone.
const TWIN_PAUSE: Duration = Duration::from_secs(300);
/// Ours: how long an address that sent wrong data is kept out.
const BAN: Duration = Duration::from_secs(3_600);
/// Ours: dials of one torrent under way; the session bounds them all together.
const MAX_DIALLING: usize = 20;
/// Ours: a household or a small office may share an address; one host must not take every place.
/// On a network of one's own all peers may be one machine.
const MAX_PER_IP: usize = 8;
/// BEP 3: peers close after two minutes of silence; a little slack for slow timers.
const SILENCE: Duration = Duration::from_secs(150);
/// BEP 3: keep-alives are sent every two minutes; sooner, so that they arrive in time.
const KEEP_ALIVE: Duration = Duration::from_secs(90);
/// Ours: fewer peers than this, and nobody to dial, is reported.
const LONELY: usize = 10;
/// Ours: how often it is reported.
const WANT_PEERS: Duration = Duration::from_secs(30);
/// BEP 6 suggests 10; ours, because a block given for nothing is not traded.
const ALLOWED_FAST: u32 = 5;
/// Ours: a piece that so many neighbours have is not rare.
const COMMON: u32 = 3;
