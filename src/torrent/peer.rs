//! One connection as the torrent sees it: both sides' choke and interest flags, what the peer has,
//! and its counters. Policy lives elsewhere; this is the record it works on.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    time::{Duration, Instant},
};

use bytes::Bytes;

use crate::{
    bitfield::Bitfield,
    ids::PeerId,
    metainfo::PieceIndex,
    rate::RateMeter,
    wire::{Reserved, extension::ExtensionHandshake},
};

use super::{
    Direction, PeerMisbehaved,
    metadata::MetadataServe,
    pex::{PexIn, PexOut},
    pipeline::Pipeline,
    uploads::Uploads,
};

/// One connected peer.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) addr: SocketAddr,
    pub(super) direction: Direction,
    pub(super) id: PeerId,
    pub(super) reserved: Reserved,
    pub(super) connected_at: Instant,
    pub(super) heard_at: Instant,
    pub(super) spoke_at: Instant,
    /// When a block last went either way.
    pub(super) traded_at: Instant,

    pub(super) we_choke_them: bool,
    pub(super) they_choke_us: bool,
    pub(super) we_are_interested: bool,
    pub(super) they_are_interested: bool,
    pub(super) unchoked_since: Option<Instant>,
    pub(super) last_optimistic: Option<Instant>,

    pub(super) has: PeerHas,
    /// It has said what it has: a bitfield may come only before that.
    pub(super) has_spoken: bool,
    /// Pieces it has that we want and lack.
    pub(super) interesting: u32,
    /// BEP 6: pieces that we may ask for while choked.
    pub(super) allowed_fast: BTreeSet<PieceIndex>,
    /// BEP 6: pieces that it may ask for while choked.
    pub(super) granted_fast: BTreeSet<PieceIndex>,
    /// BEP 6: the last piece that it suggested.
    pub(super) suggested: Option<PieceIndex>,
    /// Pieces that it refused, and until when not to ask for them again.
    refused: BTreeMap<PieceIndex, Instant>,
    /// It refused so many that it is asked for nothing until then.
    refuses_until: Option<Instant>,

    pub(super) pipeline: Pipeline,
    /// A piece that it gave a part of has passed its hash.
    pub(super) proven: bool,
    pub(super) uploads: Uploads,
    /// Payload from it, over 20 s, for the choker.
    pub(super) received: RateMeter,
    /// When its last block came.
    pub(super) last_received: Option<Instant>,

    pub(super) extension: Option<ExtensionHandshake>,
    /// Where it listens: the address dialled, or its IP with the port it named.
    pub(super) listen_addr: Option<SocketAddr>,
    pub(super) metadata_serve: MetadataServe,
    pub(super) pex_in: PexIn,
    pub(super) pex_out: PexOut,

    strikes: u32,
    messages: u32,
    messages_since: Instant,
}

/// What a peer has.
#[derive(Debug)]
pub(super) enum PeerHas {
    /// The number of pieces is not known: kept as it came.
    Early(EarlyHas),
    /// A set of the right length.
    Known(Bitfield),
}

/// What a peer said it has before we knew how many pieces there are.
#[derive(Debug, Default)]
pub(super) struct EarlyHas {
    pub(super) bitfield: Option<Bytes>,
    pub(super) all: bool,
    /// One bit per piece of HAVE messages, in wire order; as long as the highest index needs.
    pub(super) pieces: Vec<u8>,
}

impl EarlyHas {
    /// The set, once the number of pieces is known.
    pub(super) fn settle(&self, pieces: u32) -> Result<Bitfield, PeerMisbehaved> {
        let mut has = match &self.bitfield {
            Some(bytes) => {
                Bitfield::from_bytes(bytes, pieces).ok_or(PeerMisbehaved::BadBitfield)?
            }
            None if self.all => Bitfield::full(pieces),
            None => Bitfield::empty(pieces),
        };
        for (at, byte) in self.pieces.iter().enumerate() {
            for bit in (0..8).filter(|bit| byte & (0x80 >> bit) != 0) {
                let piece = at as u32 * 8 + bit;
                if piece >= pieces {
                    return Err(PeerMisbehaved::IndexOutOfRange);
                }
                has.set(piece);
            }
        }
        Ok(has)
    }

    /// Remembers a HAVE. The caller has checked that the index is below the most pieces that a
    /// torrent may have, so that the bits take 512 KiB at most.
    pub(super) fn add(&mut self, piece: PieceIndex) {
        let at = piece.as_usize() / 8;
        if self.pieces.len() <= at {
            self.pieces.resize(at + 1, 0);
        }
        self.pieces[at] |= 0x80 >> (piece.0 % 8);
    }
}

impl Peer {
    pub(super) fn new(
        now: Instant,
        addr: SocketAddr,
        direction: Direction,
        id: PeerId,
        reserved: Reserved,
        has: PeerHas,
    ) -> Self {
        let mut pex_out = PexOut::new(now);
        if direction == Direction::Outbound {
            pex_out.set_recipient(addr);
        }
        Self {
            addr,
            direction,
            id,
            reserved,
            connected_at: now,
            heard_at: now,
            spoke_at: now,
            traded_at: now,
            we_choke_them: true,
            they_choke_us: true,
            we_are_interested: false,
            they_are_interested: false,
            unchoked_since: None,
            last_optimistic: None,
            has,
            has_spoken: false,
            interesting: 0,
            allowed_fast: BTreeSet::new(),
            granted_fast: BTreeSet::new(),
            suggested: None,
            refused: BTreeMap::new(),
            refuses_until: None,
            pipeline: Pipeline::new(now),
            uploads: Uploads::default(),
            proven: false,
            received: RateMeter::new(CHOKER_WINDOW, now),
            last_received: None,
            extension: None,
            listen_addr: (direction == Direction::Outbound).then_some(addr),
            metadata_serve: MetadataServe::default(),
            pex_in: PexIn::new(now),
            pex_out,
            strikes: 0,
            messages: 0,
            messages_since: now,
        }
    }

    /// What it has, if the number of pieces is known.
    pub(super) fn bitfield(&self) -> Option<&Bitfield> {
        match &self.has {
            PeerHas::Known(has) => Some(has),
            PeerHas::Early(_) => None,
        }
    }

    /// Whether it has everything.
    pub(super) fn is_seed(&self) -> bool {
        match &self.has {
            PeerHas::Known(has) => has.is_full(),
            PeerHas::Early(early) => early.all,
        }
    }

    /// Whether it may be asked for a piece: not choked, or the piece is allowed fast, and it has
    /// not just refused it.
    pub(super) fn may_be_asked(&self, now: Instant, piece: PieceIndex) -> bool {
        (!self.they_choke_us || self.allowed_fast.contains(&piece))
            && self.refuses_until.is_none_or(|until| now >= until)
            && self.refused.get(&piece).is_none_or(|until| now >= *until)
    }

    /// It refused a block of this piece.
    pub(super) fn on_refused(&mut self, now: Instant, piece: PieceIndex) {
        self.refused.retain(|_, until| now < *until);
        self.refused.insert(piece, now + REFUSED_FOR);
        if self.refused.len() >= MAX_REFUSED {
            self.refused.clear();
            self.refuses_until = Some(now + REFUSED_FOR);
        }
    }

    /// Counts a small fault; `true` when the peer has used up what is forgiven.
    pub(super) fn strike(&mut self) -> bool {
        self.strikes += 1;
        self.strikes >= MAX_STRIKES
    }

    /// Counts a message that carries no block; `true` if they come at a rate that no honest peer
    /// has.
    pub(super) fn is_flooding(&mut self, now: Instant) -> bool {
        if now.saturating_duration_since(self.messages_since) >= FLOOD_WINDOW {
            self.messages_since = now;
            self.messages = 0;
        }
        self.messages += 1;
        self.messages > FLOOD_LIMIT
    }
}

/// Cohen 2003: rates that decide slots are rolling averages of 20 s.
const CHOKER_WINDOW: Duration = Duration::from_secs(20);
/// Ours: how long a refused piece is not asked for again. libtorrent repeats at once and can be
/// driven to 26,000 requests a second.
const REFUSED_FOR: Duration = Duration::from_secs(10);
/// Ours: refusals remembered per peer; who refuses more is asked for nothing for a while, or it
/// could keep us asking in a circle.
const MAX_REFUSED: usize = 50;
/// Ours: small faults (a block not asked for, a request out of range) before the connection ends.
const MAX_STRIKES: u32 = 10;
/// Ours: a peer on the fastest path sends 40,000 requests a second.
const FLOOD_WINDOW: Duration = Duration::from_secs(10);
const FLOOD_LIMIT: u32 = 2_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn early_words_are_judged_when_the_number_of_pieces_is_known() {
        let mut early = EarlyHas {
            bitfield: Some(Bytes::from_static(&[0x80])),
            ..EarlyHas::default()
        };
        early.add(PieceIndex(2));
        let has = early.settle(3).unwrap();
        assert_eq!(has.ones().collect::<Vec<_>>(), [0, 2]);
        assert_eq!(early.settle(9), Err(PeerMisbehaved::BadBitfield));
        assert_eq!(early.settle(2), Err(PeerMisbehaved::IndexOutOfRange));
        let all = EarlyHas {
            all: true,
            ..EarlyHas::default()
        };
        assert!(all.settle(77).unwrap().is_full());
    }
}
