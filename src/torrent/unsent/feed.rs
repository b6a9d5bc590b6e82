//! What the torrent does with [`Unsent`] in place of its choker: shows pieces, lets those peers
//! download to whom they are shown, and knows when to stop.

use std::time::Instant;

use super::{
    super::{Output, PeerKey, Torrent, choker::PATIENCE_ROUNDS},
    AHEAD, Account, MOST_TURNS, Unsent,
};
use crate::{bitfield::Bitfield, metainfo::PieceIndex, wire::Message};

impl Torrent {
    /// Everything is here from the start and nobody has been told.
    pub(in crate::torrent) fn begin_unsent(&mut self) {
        let Some(pieces) = &self.pieces else { return };
        let full = pieces.progress.have().is_full() && pieces.progress.have().len() > 1;
        if full && self.config.unsent_first && self.config.upload && self.peers.is_empty() {
            let patience = self.config.choke_interval * PATIENCE_ROUNDS / 2;
            let geometry = pieces.progress.geometry();
            self.unsent = Some(Unsent::new(geometry, patience, &mut self.rng));
        }
    }

    /// What a newcomer is told that we have: `None` if the truth.
    pub(in crate::torrent) fn first_shown(
        &mut self,
        now: Instant,
        key: PeerKey,
    ) -> Option<Bitfield> {
        let others = self.peers.len() > 1 || !self.dialling.is_empty();
        let (Some(unsent), Some(pieces)) = (&mut self.unsent, &self.pieces) else {
            return None;
        };
        unsent.join(now, key, !others);
        // An empty hand is often taken for a useless peer.
        if others && let Some(piece) = unsent.next(key, &pieces.picker) {
            unsent.show(now, key, piece);
        }
        self.slots_dirty = true;
        self.unsent.as_ref()?.shown(key).cloned()
    }

    /// Keeps the uplink busy: shows pieces, and lets those peers download to whom they are shown.
    pub(in crate::torrent) fn feed(&mut self, now: Instant) {
        let slots = self.choker.slots();
        let mut unchoked = self
            .peers
            .values()
            .filter(|peer| !peer.we_choke_them)
            .count();
        loop {
            let Some(unsent) = &self.unsent else { return };
            let feeders = unsent.feeders(slots);
            let busy = |key: &&PeerKey| {
                let peer = &self.peers[*key];
                !peer.we_choke_them && unsent.feeds(now, **key, feeders)
            };
            let fed = self.peers.keys().filter(busy).count();
            if fed >= feeders {
                return;
            }
            let best = self.hungriest(now, unchoked < slots * MOST_TURNS);
            let Some(key) = best else { return };
            if !self.feed_one(now, key) {
                if fed == 0 {
                    self.end_unsent(now);
                }
                return;
            }
            if self.peers.get(&key).is_some_and(|peer| peer.we_choke_them) {
                unchoked += 1;
                if let Some(account) = self.account(key) {
                    (account.fed_at, account.moved_at) = (now, now);
                }
                self.set_choked(now, key, false);
            }
        }
    }

    fn account(&mut self, key: PeerKey) -> Option<&mut Account> {
        self.unsent.as_mut()?.accounts.get_mut(&key)
    }

    /// The next to be fed among those that are not busy.
    fn hungriest(&self, now: Instant, may_unchoke: bool) -> Option<PeerKey> {
        let unsent = self.unsent.as_ref()?;
        let wants = self.peers.iter().filter(|(key, peer)| {
            let account = unsent.accounts.get(key);
            account.is_some_and(|account| {
                let idle = peer.we_choke_them || !account.is_busy(now);
                // Who has taken all that it was shown cannot be interested before it sees more.
                let done = account.shown.is_some() && account.backlog == 0;
                let wants = done || peer.they_are_interested;
                idle && wants && !peer.is_seed() && (may_unchoke || !peer.we_choke_them)
            })
        });
        let loads = wants.filter_map(|(key, _)| Some((unsent.load(now, *key)?, *key)));
        let least = loads.min_by(|((a, x), _), ((b, y), _)| a.total_cmp(b).then(x.total_cmp(y)));
        least.map(|(_, key)| key)
    }

    /// Gives a peer something to do; `false` if there is nothing left for it.
    fn feed_one(&mut self, now: Instant, key: PeerKey) -> bool {
        let (Some(unsent), Some(pieces)) = (&mut self.unsent, &self.pieces) else {
            return false;
        };
        let Some(account) = unsent.accounts.get_mut(&key) else {
            return false;
        };
        if account.shown.is_none() {
            let turn = u64::from(unsent.geometry.standard_piece_len());
            let more = (account.rate.rate(now) * 2.0 * AHEAD.as_secs_f64()) as u64;
            account.add_turn(now, turn.max(more));
            return true;
        }
        while !unsent.accounts[&key].is_busy(now) {
            let Some(piece) = unsent.next(key, &pieces.picker) else {
                return false;
            };
            unsent.show(now, key, piece);
            self.outputs.push_back(Output::Send {
                peer: key,
                message: Message::Have(piece),
            });
        }
        if let Some(peer) = self.peers.get_mut(&key) {
            peer.spoke_at = now;
        }
        true
    }

    /// A choke round: who has taken what it was shown, or does not take it, waits for its turn.
    pub(in crate::torrent) fn rechoke_unsent(&mut self, now: Instant) {
        let Some(unsent) = &self.unsent else { return };
        let closed = self.choker.slots() == 0;
        let idle = unsent
            .accounts
            .iter()
            .filter(|(_, account)| closed || account.backlog == 0);
        let idle: Vec<PeerKey> = idle.map(|(key, _)| *key).collect();
        for key in idle {
            self.set_choked(now, key, true);
        }
        self.feed(now);
    }

    /// Once a second: who stalls gives its pieces back; who is alone, or does not want what it was
    /// shown, sees everything.
    pub(in crate::torrent) fn tick_unsent(&mut self, now: Instant) {
        let rate = self.up_rate.rate(now);
        let Some(unsent) = &mut self.unsent else {
            return;
        };
        unsent.tick(now, rate);
        let alone = unsent.accounts.len() == 1 && self.dialling.is_empty();
        let patience = unsent.patience;
        let mut open = Vec::new();
        let mut stalled = Vec::new();
        for (key, account) in &unsent.accounts {
            let Some(peer) = self.peers.get(key) else {
                continue;
            };
            let since = |at: Instant| now.saturating_duration_since(at);
            let fed = !peer.we_choke_them && account.backlog > 0;
            let declines = account.backlog > 0
                && !peer.they_are_interested
                && since(account.fed_at) >= patience / 3;
            if account.shown.is_some() && (alone || declines) {
                open.push(*key);
            } else if fed && since(account.moved_at) >= patience * 2 {
                stalled.push(*key);
            }
        }
        for key in stalled {
            if let Some(account) = unsent.release(key) {
                account.not_before = Some(now + patience * 2);
            }
        }
        for key in open {
            self.show_all(now, key);
        }
        self.slots_dirty = true;
    }

    /// A peer is gone.
    pub(in crate::torrent) fn leave_unsent(&mut self, key: PeerKey) {
        if let Some(unsent) = &mut self.unsent {
            unsent.release(key);
            unsent.accounts.remove(&key);
        }
    }

    /// Everything is out, or somebody else has everything too: from now on we are a seed like any.
    pub(in crate::torrent) fn end_unsent(&mut self, now: Instant) {
        let keys: Vec<PeerKey> = self.peers.keys().copied().collect();
        for key in &keys {
            self.show_all(now, *key);
        }
        if self.unsent.take().is_some() {
            // Those who were sent more have passed it on.
            let views = self.views(now);
            self.choker.forgive(&views);
            keys.into_iter()
                .for_each(|key| self.send_extension_handshake(key));
            self.slots_dirty = true;
        }
    }

    /// Tells a peer of every piece that it lacks and was not shown.
    fn show_all(&mut self, now: Instant, key: PeerKey) {
        let (Some(pieces), Some(peer)) = (&self.pieces, self.peers.get_mut(&key)) else {
            return;
        };
        let Some(account) = self.unsent.as_mut().and_then(|unsent| unsent.release(key)) else {
            return;
        };
        let Some(shown) = account.shown.take() else {
            return;
        };
        let has = peer.bitfield();
        let news = pieces
            .progress
            .have()
            .ones()
            .filter(|piece| !shown.get(*piece) && has.is_none_or(|has| !has.get(*piece)));
        self.outputs.extend(news.map(|piece| Output::Send {
            peer: key,
            message: Message::Have(PieceIndex(piece)),
        }));
        peer.spoke_at = now;
    }
}
