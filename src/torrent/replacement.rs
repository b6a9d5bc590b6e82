//! Which neighbours are worth their places, and who gets those of the others.
//!
//! Places are few and strangers many. A neighbour is worth its place while blocks move between the
//! two of us, except one that only takes: a free rider that calls everybody would otherwise fill
//! all places of all peers, and leave nobody to trade with (Sirivianos 2007, "large view"). A
//! leecher therefore keeps half of its places for those that it chose itself, as long as it knows of
//! some, drops who has not repaid, and remembers it for a while.

use std::{
    net::SocketAddr,
    num::NonZeroUsize,
    time::{Duration, Instant},
};

use lru::LruCache;

use super::{Direction, DisconnectReason, PeerKey, Torrent, candidates::BanKey, peer::Peer};

/// Who took and did not repay, and until when that counts.
#[derive(Debug)]
pub(super) struct Ingrates(LruCache<BanKey, Instant>);

impl Default for Ingrates {
    fn default() -> Self {
        let bound = NonZeroUsize::new(MAX_INGRATES).expect("not zero");
        Self(LruCache::sparse(bound))
    }
}

impl Ingrates {
    fn note(&mut self, now: Instant, addr: SocketAddr) {
        self.0.put(BanKey::of(addr), now + MEMORY);
    }

    fn includes(&self, now: Instant, addr: SocketAddr) -> bool {
        let until = self.0.peek(&BanKey::of(addr));
        until.is_some_and(|until| now < *until)
    }
}

impl Torrent {
    /// Whether there is a place for a newcomer, if need be that of somebody less useful.
    pub(super) fn admits(&mut self, now: Instant, addr: SocketAddr, direction: Direction) -> bool {
        let half = self.config.max_peers.div_ceil(2);
        let full = self.peers.len() >= self.config.max_peers;
        if direction == Direction::Outbound || self.is_complete() {
            return !full || self.make_room(now, |_| true);
        }
        if self.peers.len() >= half && self.ingrates.includes(now, addr) {
            return false;
        }
        let inbound = |peer: &Peer| peer.direction == Direction::Inbound;
        let callers = self.peers.values().filter(|peer| inbound(peer)).count();
        let crowded = callers >= half && self.candidates.has_promising(now);
        match (full, crowded) {
            (false, false) => true,
            (true, false) => self.make_room(now, |_| true),
            (_, true) => self.make_room(now, inbound),
        }
    }

    /// A full neighbour set that holds peers of no use to either side makes room for candidates.
    pub(super) fn replace_useless(&mut self, now: Instant) {
        let most = (self.config.max_peers * 3).div_ceil(4);
        if self.peers.len() >= most && !self.is_complete() && self.candidates.dialable(now) > 0 {
            self.make_room(now, |_| true);
        }
    }

    /// Drops the peer that has been of no use for longest, of those that may be dropped.
    fn make_room(&mut self, now: Instant, may_go: impl Fn(&Peer) -> bool) -> bool {
        let leeching = !self.is_complete();
        let idle = |peer: &Peer| now.saturating_duration_since(useful_at(peer, leeching));
        let peers = self.peers.iter().filter(|(_, peer)| may_go(peer));
        let worst = peers.max_by_key(|(_, peer)| idle(peer));
        let worst = worst
            .filter(|(_, peer)| idle(peer) >= USELESS)
            .map(|(key, _)| *key);
        if let Some(key) = worst {
            self.note_ingrate(now, key);
            self.disconnect(now, key, DisconnectReason::Replaced);
        }
        worst.is_some()
    }

    /// Remembers a peer that goes, if it was served and has not repaid.
    fn note_ingrate(&mut self, now: Instant, key: PeerKey) {
        let Some(peer) = self.peers.get(&key).filter(|peer| !repays(peer)) else {
            return;
        };
        let addr = peer.listen_addr.unwrap_or(peer.addr);
        if !self.is_complete() {
            self.ingrates.note(now, addr);
        }
    }
}

/// When a peer was last of use. To be served is a use only while it is repaid.
fn useful_at(peer: &Peer, leeching: bool) -> Instant {
    if !leeching || repays(peer) {
        return peer.traded_at.max(peer.connected_at);
    }
    peer.last_received.unwrap_or(peer.connected_at)
}

fn repays(peer: &Peer) -> bool {
    peer.received.total() >= peer.uploads.sent() / LEAST_REPAID
}

/// Ours: a peer that has been of no use for so long may lose its place.
const USELESS: Duration = Duration::from_secs(120);
/// Ours: what a peer must give of what it got. A peer with a slow uplink repays less than it gets,
/// and one that has nothing for us yet is served for nothing at first: far below any fair trade.
const LEAST_REPAID: u64 = 16;
/// Ours: as long as the choker remembers a wasted optimistic slot.
const MEMORY: Duration = Duration::from_secs(600);
/// Ours: ingrates to remember.
const MAX_INGRATES: usize = 1_024;
