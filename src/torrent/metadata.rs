//! Fetching a magnet's `info` dictionary from peers ([BEP 9]), and how much of ours we serve.
//!
//! Only the whole can be checked, so a single liar spoils whatever it takes part in. The defence:
//!
//! | lie | answer |
//! |---|---|
//! | a wrong size | one assembly per claimed size; they fill side by side |
//! | wrong bytes, alone | the sender is certain, and is out |
//! | wrong bytes among others' | every peer that took part gets an assembly of its own from then on |
//! | silence, rejects | a time-out, then the block goes to somebody else; a growing pause |
//! | one block every few seconds | an assembly gives its place to those that wait after a while |
//!
//! An honest peer thus gets to deliver everything by itself, however many lie beside it.
//!
//! [BEP 9]: https://www.bittorrent.org/beps/bep_0009.html

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use bytes::{Bytes, BytesMut};
use sha1::{Digest, Sha1};

use super::PeerKey;
use crate::{ids::InfoHash, wire::extension::METADATA_BLOCK_LEN};

/// The metadata of one info-hash while it is being fetched.
#[derive(Debug)]
pub(super) struct MetadataFetch {
    info_hash: InfoHash,
    peers: BTreeMap<PeerKey, Peer>,
    assemblies: BTreeMap<Home, Assembly>,
    /// Requests ever made; orders peers by who was asked longest ago.
    asked: u64,
    /// Somebody found no place for an assembly.
    crowded: bool,
}

/// What a block from a peer led to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum MetadataStep {
    /// More is needed.
    Continue,
    /// This is the `info` dictionary; its hash is right.
    Complete(Bytes),
    /// What came cannot be right. `liars` are certain; none if several could have done it.
    Failed {
        /// Who contradicted itself or gave all of something wrong.
        liars: Vec<PeerKey>,
    },
    /// Nobody asked this peer for that.
    Unrequested,
}

#[derive(Debug)]
struct Peer {
    /// The size that it claims.
    size: u32,
    /// It is out: not asked again, whatever it offers.
    liar: bool,
    /// It took part in something wrong together with others.
    alone: bool,
    requests: BTreeMap<u32, Request>,
    /// Time-outs and rejects in a row.
    failures: u32,
    retry_at: Option<Instant>,
    /// How long its last answer took.
    answer_time: Duration,
    /// [`MetadataFetch::asked`] when it was asked last.
    last_asked: u64,
    /// How often its assembly had to give way.
    evictions: u32,
}

#[derive(Debug)]
struct Request {
    sent: Instant,
    deadline: Instant,
    /// Late; the block is asked of others, and still taken if it comes.
    expired: bool,
}

/// Who fills an assembly.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Home {
    /// Every peer that claims this size and was in nothing wrong.
    Shared(u32),
    /// One peer.
    Alone(PeerKey),
}

#[derive(Debug)]
struct Assembly {
    size: u32,
    blocks: BTreeMap<u32, (PeerKey, Bytes)>,
    /// From when on it gives way to others.
    deadline: Instant,
}

impl MetadataFetch {
    /// Nobody has offered anything.
    pub(super) fn new(info_hash: InfoHash) -> Self {
        Self {
            info_hash,
            peers: BTreeMap::new(),
            assemblies: BTreeMap::new(),
            asked: 0,
            crowded: false,
        }
    }

    /// A peer's extension handshake offers metadata of this size. The first offer counts.
    pub(super) fn offer(&mut self, peer: PeerKey, total_size: u32) {
        if !(1..=MAX_SIZE).contains(&total_size) {
            return;
        }
        self.peers.entry(peer).or_insert(Peer {
            size: total_size,
            liar: false,
            alone: false,
            requests: BTreeMap::new(),
            failures: 0,
            retry_at: None,
            answer_time: Duration::ZERO,
            last_asked: 0,
            evictions: 0,
        });
    }

    /// The connection is gone.
    pub(super) fn peer_gone(&mut self, peer: PeerKey) {
        self.peers.remove(&peer);
        self.assemblies.remove(&Home::Alone(peer));
    }

    /// The next request to send; to be called until `None` after every other call that can make
    /// room for one, and when [`Self::next_deadline`] has come.
    pub(super) fn poll_request(&mut self, now: Instant) -> Option<(PeerKey, u32)> {
        self.expire(now);
        self.crowded = false;
        let outstanding: usize = self.peers.values().map(Peer::outstanding).sum();
        if outstanding >= MAX_OUTSTANDING {
            return None;
        }
        // Quick peers first: whoever answers just before its time-out would else hold up the rest.
        let mut order: Vec<_> = self
            .peers
            .iter()
            .filter(|(_, peer)| peer.can_be_asked())
            .map(|(key, peer)| {
                let merit = (peer.failures, peer.evictions, peer.answer_time.as_secs());
                (merit, peer.last_asked, *key)
            })
            .collect();
        order.sort_unstable();
        let (key, piece) = order.into_iter().find_map(|(_, _, key)| {
            self.open_assembly(now, key).then_some(())?;
            Some((key, self.missing_block(key)?))
        })?;

        self.asked += 1;
        let peer = self.peers.get_mut(&key)?;
        peer.last_asked = self.asked;
        let request = Request {
            sent: now,
            deadline: now + REQUEST_TIMEOUT,
            expired: false,
        };
        peer.requests.insert(piece, request);
        Some((key, piece))
    }

    /// A block came.
    pub(super) fn on_data(
        &mut self,
        now: Instant,
        peer: PeerKey,
        piece: u32,
        total_size: u32,
        data: &[u8],
    ) -> MetadataStep {
        let Some(sender) = self.peers.get_mut(&peer) else {
            return MetadataStep::Unrequested;
        };
        let Some(request) = sender.requests.remove(&piece) else {
            return MetadataStep::Unrequested;
        };
        let home = sender.home(peer);
        let expected = block_len(sender.size, piece);
        if total_size != sender.size || data.len() != expected as usize {
            // It contradicts its own claim: whichever is true, the rest would be of no use.
            self.exclude(peer);
            return MetadataStep::Failed { liars: vec![peer] };
        }
        sender.failures = 0;
        sender.answer_time = now.saturating_duration_since(request.sent);
        let Some(assembly) = self.assemblies.get_mut(&home) else {
            return MetadataStep::Continue;
        };
        let block = || (peer, Bytes::copy_from_slice(data));
        assembly.blocks.entry(piece).or_insert_with(block);
        if !assembly.is_full() {
            return MetadataStep::Continue;
        }
        self.judge(home)
    }

    /// The peer does not give the block. BEP 9 wants that of peers that fetch it themselves.
    pub(super) fn on_reject(&mut self, now: Instant, peer: PeerKey, piece: u32) {
        if let Some(peer) = self.peers.get_mut(&peer)
            && peer
                .requests
                .remove(&piece)
                .is_some_and(|request| !request.expired)
        {
            peer.fail(now);
        }
    }

    /// When [`Self::poll_request`] should be called although nothing happened.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        let requests = self.peers.values().flat_map(|peer| {
            let pending = peer.requests.values().filter(|request| !request.expired);
            pending.map(|request| request.deadline).chain(peer.retry_at)
        });
        let places = self.assemblies.values().map(|assembly| assembly.deadline);
        requests.chain(places.filter(|_| self.crowded)).min()
    }

    /// Bytes received and their total, of the assembly that is nearest to its end.
    pub(super) fn progress(&self) -> Option<(u32, u32)> {
        let progress = self.assemblies.values().map(|assembly| {
            let received = assembly.blocks.len() as u32 * METADATA_BLOCK_LEN;
            (received.min(assembly.size), assembly.size)
        });
        progress.max_by_key(|(received, size)| {
            (u64::from(*received) * 1_000_000 / u64::from(*size), *size)
        })
    }

    fn exclude(&mut self, key: PeerKey) {
        if let Some(peer) = self.peers.get_mut(&key) {
            peer.liar = true;
            peer.requests.clear();
            peer.retry_at = None;
        }
        self.assemblies.remove(&Home::Alone(key));
    }

    fn expire(&mut self, now: Instant) {
        for peer in self.peers.values_mut() {
            if peer.retry_at.is_some_and(|at| now >= at) {
                peer.retry_at = None;
            }
            let late = peer
                .requests
                .values_mut()
                .filter(|r| !r.expired && now >= r.deadline);
            let late = late.map(|request| request.expired = true).count();
            if late > 0 {
                peer.fail(now);
            }
            while peer.requests.len() > MAX_REMEMBERED {
                let oldest = peer
                    .requests
                    .iter()
                    .min_by_key(|(_, request)| request.deadline);
                let Some(piece) = oldest.map(|(piece, _)| *piece) else {
                    break;
                };
                peer.requests.remove(&piece);
            }
        }
    }

    /// Makes sure that the peer has an assembly to fill, if there is a place for one.
    fn open_assembly(&mut self, now: Instant, key: PeerKey) -> bool {
        let Some(peer) = self.peers.get(&key) else {
            return false;
        };
        let home = peer.home(key);
        let (size, evictions) = (peer.size, peer.evictions);
        if self.assemblies.contains_key(&home) {
            return true;
        }
        while !self.has_place(size) {
            let Some(victim) = self.overdue(now) else {
                self.crowded = true;
                return false;
            };
            self.assemblies.remove(&victim);
            for (key, peer) in &mut self.peers {
                if peer.home(*key) == victim {
                    peer.evictions += 1;
                }
            }
        }
        let deadline = now + TURN * (1 << evictions.min(MAX_TURN_DOUBLINGS));
        let blocks = BTreeMap::new();
        self.assemblies.insert(
            home,
            Assembly {
                size,
                blocks,
                deadline,
            },
        );
        true
    }

    /// Small assemblies are bounded by their number, large ones by the sum of their sizes.
    fn has_place(&self, size: u32) -> bool {
        let large = |size: u32| if size > SMALL { u64::from(size) } else { 0 };
        let sum: u64 = self
            .assemblies
            .values()
            .map(|assembly| large(assembly.size))
            .sum();
        let fits = large(size) == 0 || sum + large(size) <= MAX_LARGE;
        self.assemblies.len() < MAX_ASSEMBLIES && fits
    }

    /// An assembly that nobody fills any more, or the one that should have been full first.
    fn overdue(&self, now: Instant) -> Option<Home> {
        let homes: BTreeSet<Home> = self
            .peers
            .iter()
            .filter(|(_, peer)| !peer.liar)
            .map(|(key, peer)| peer.home(*key))
            .collect();
        let orphan = self
            .assemblies
            .keys()
            .find(|home| !homes.contains(home))
            .copied();
        orphan.or_else(|| {
            let late = self
                .assemblies
                .iter()
                .filter(|(_, assembly)| now >= assembly.deadline);
            late.min_by_key(|(_, assembly)| assembly.deadline)
                .map(|(home, _)| *home)
        })
    }

    /// A block to ask this peer for: one that nobody was asked for, or near the end one that
    /// only one other peer was asked for.
    fn missing_block(&self, key: PeerKey) -> Option<u32> {
        let peer = self.peers.get(&key)?;
        let home = peer.home(key);
        let assembly = self.assemblies.get(&home)?;
        let mut asked: BTreeMap<u32, usize> = BTreeMap::new();
        for (key, peer) in &self.peers {
            if peer.home(*key) == home {
                for piece in peer.pending() {
                    *asked.entry(piece).or_default() += 1;
                }
            }
        }
        let times = |piece: &u32| asked.get(piece).copied().unwrap_or(0);
        let pending: Vec<u32> = peer.pending().collect();
        (0..block_count(assembly.size))
            .filter(|piece| !assembly.blocks.contains_key(piece) && !pending.contains(piece))
            .min_by_key(times)
            .filter(|piece| times(piece) < MAX_COPIES)
    }

    /// Every block is here: right or wrong?
    fn judge(&mut self, home: Home) -> MetadataStep {
        let Some(assembly) = self.assemblies.remove(&home) else {
            return MetadataStep::Continue;
        };
        let mut info = BytesMut::with_capacity(assembly.size as usize);
        assembly
            .blocks
            .values()
            .for_each(|(_, data)| info.extend_from_slice(data));
        if Sha1::digest(&info)[..] == self.info_hash.as_bytes()[..] {
            return MetadataStep::Complete(info.freeze());
        }

        let senders: BTreeSet<PeerKey> = assembly.blocks.values().map(|(key, _)| *key).collect();
        if senders.len() == 1 {
            let liars: Vec<PeerKey> = senders.into_iter().collect();
            liars.iter().for_each(|liar| self.exclude(*liar));
            return MetadataStep::Failed { liars };
        }
        for (key, peer) in &mut self.peers {
            if peer.home(*key) == home {
                peer.alone |= senders.contains(key);
            }
        }
        MetadataStep::Failed { liars: Vec::new() }
    }
}

impl Peer {
    fn home(&self, key: PeerKey) -> Home {
        if self.alone {
            Home::Alone(key)
        } else {
            Home::Shared(self.size)
        }
    }

    /// The blocks that it was asked for and that are not late.
    fn pending(&self) -> impl Iterator<Item = u32> {
        self.requests
            .iter()
            .filter(|(_, request)| !request.expired)
            .map(|(piece, _)| *piece)
    }

    fn can_be_asked(&self) -> bool {
        !self.liar && self.retry_at.is_none() && self.outstanding() < MAX_PER_PEER
    }

    fn outstanding(&self) -> usize {
        self.pending().count()
    }

    fn fail(&mut self, now: Instant) {
        self.retry_at = Some(now + RETRY * (1 << self.failures.min(MAX_DOUBLINGS)));
        self.failures += 1;
    }
}

impl Assembly {
    fn is_full(&self) -> bool {
        self.blocks.len() == block_count(self.size) as usize
    }
}

/// How many metadata requests one peer has made lately.
#[derive(Debug, Default)]
pub(super) struct MetadataServe {
    since: Option<Instant>,
    served: u32,
}

impl MetadataServe {
    /// Whether to answer another request, `pieces` being how many blocks our metadata has; else
    /// reject it. In a minute a peer may fetch all of it twice.
    pub(super) fn allow(&mut self, now: Instant, pieces: u32) -> bool {
        if self.since.is_none_or(|since| now >= since + SERVE_PERIOD) {
            *self = Self {
                since: Some(now),
                served: 0,
            };
        }
        self.served = self.served.saturating_add(1);
        self.served <= pieces.saturating_mul(2)
    }
}

fn block_count(size: u32) -> u32 {
    size.div_ceil(METADATA_BLOCK_LEN)
}

/// The length of a block; 0 beyond the last.
fn block_len(size: u32, piece: u32) -> u32 {
    let start = piece.saturating_mul(METADATA_BLOCK_LEN);
    size.saturating_sub(start).min(METADATA_BLOCK_LEN)
}

/// Ours: torrents of half a million files have 20 MB of metadata.
const MAX_SIZE: u32 = 32 << 20;
/// Ours: one would do for an honest peer; the rest is for liars to fill.
const MAX_ASSEMBLIES: usize = 8;
/// Ours: assemblies up to this size are only counted.
const SMALL: u32 = 1 << 20;
/// Ours: the sum of the sizes of the others.
const MAX_LARGE: u64 = 64 << 20;
/// Ours: a place is safe for so long while others wait, and twice as long each time it was lost.
const TURN: Duration = Duration::from_secs(30);
const MAX_TURN_DOUBLINGS: u32 = 3;
/// Ours: requests out in all, so that every assembly moves on whatever happens to the others.
const MAX_OUTSTANDING: usize = MAX_ASSEMBLIES * MAX_PER_PEER;
/// Ours: each block that a stranger holds back costs a time-out.
const MAX_PER_PEER: usize = 2;
/// Ours: late requests whose answer would still be taken.
const MAX_REMEMBERED: usize = 8;
/// Ours: two peers may be asked for the same last blocks.
const MAX_COPIES: usize = 2;
/// Ours: several round trips to the far side of the world.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(4);
/// Ours: the pause after the first failure of a peer; doubles up to half a minute.
const RETRY: Duration = Duration::from_secs(1);
const MAX_DOUBLINGS: u32 = 5;
const SERVE_PERIOD: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests;
