//! Peers that do not play by the rules: our core, in a shell that lies.
//!
//! A cheat is what stands between a core and its connections. The core behaves as ever; what it
//! hears and what it says is changed on the way. So every attack is made of messages that a real
//! client could send, and the peers attacked run nothing but our own code.

use std::collections::BTreeMap;

use bytes::Bytes;
use mainswarm::{bitfield::Bitfield, metainfo::Block, torrent::PeerKey, wire::Message};

/// How a peer departs from our client at the boundary of its core. What is a matter of the core's
/// own settings (to upload nothing, to connect to everybody) is not here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Strategy {
    /// Not at all.
    #[default]
    Honest,
    /// It is told of the pieces of those only that have everything, so it asks nobody else.
    SeedsOnly,
    /// It claims every other piece that it lacks, unchokes everybody, and answers with zeros
    /// (Liogkas et al. 2006, the third exploit).
    FalseHave,
    /// It unchokes, takes requests and answers none.
    Stalled,
    /// A minute after it came its connections stand still: nothing more goes in or out, and none
    /// is closed.
    Frozen,
}

/// A strategy at work on one torrent.
#[derive(Debug)]
pub(crate) struct Cheat {
    strategy: Strategy,
    /// Pieces of the torrent.
    pieces: u32,
    /// Nanoseconds at which a frozen peer stops.
    freezes: u64,
    /// What each neighbour has that does not have everything; for seeds-only.
    partial: BTreeMap<PeerKey, Bitfield>,
}

/// What becomes of a message that came.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    /// The core gets this.
    Pass(Message),
    /// The core gets nothing.
    Nothing,
    /// The core gets nothing, and the sender gets this.
    Answer(Message),
}

impl Cheat {
    /// `None` for the honest.
    pub(crate) fn new(strategy: Strategy, pieces: u32, now: u64) -> Option<Self> {
        (strategy != Strategy::Honest).then(|| Self {
            strategy,
            pieces,
            freezes: now + FREEZES_AFTER,
            partial: BTreeMap::new(),
        })
    }

    /// A message has come from a neighbour.
    pub(crate) fn hear(&mut self, now: u64, peer: PeerKey, message: Message) -> Heard {
        match (self.strategy, message) {
            (Strategy::Frozen, _) if now >= self.freezes => Heard::Nothing,
            (Strategy::Stalled, Message::Request(_)) => Heard::Nothing,
            (Strategy::FalseHave, Message::Request(block)) => Heard::Answer(zeros(block)),
            (Strategy::SeedsOnly, Message::Have(piece)) => {
                let pieces = self.pieces;
                let has = self.partial.entry(peer);
                let has = has.or_insert_with(|| Bitfield::empty(pieces));
                if piece.0 >= pieces || !has.set(piece.0) || !has.is_full() {
                    return Heard::Nothing;
                }
                self.partial.remove(&peer);
                Heard::Pass(Message::HaveAll)
            }
            (Strategy::SeedsOnly, Message::Bitfield(bits)) => {
                match Bitfield::from_bytes(&bits, self.pieces) {
                    Some(has) if has.is_full() => Heard::Pass(Message::Bitfield(bits)),
                    Some(has) => {
                        self.partial.insert(peer, has);
                        Heard::Nothing
                    }
                    None => Heard::Nothing,
                }
            }
            (_, message) => Heard::Pass(message),
        }
    }

    /// The core says something to a neighbour: appends what is really said.
    pub(crate) fn say(&self, now: u64, message: Message, said: &mut Vec<Message>) {
        let own = match (self.strategy, &message) {
            (Strategy::Frozen, _) if now >= self.freezes => return,
            (Strategy::FalseHave, Message::HaveNone) => Some(Bitfield::empty(self.pieces)),
            (Strategy::FalseHave, Message::Bitfield(bits)) => {
                Bitfield::from_bytes(bits, self.pieces)
            }
            _ => None,
        };
        let Some(mut claimed) = own else {
            said.push(message);
            return;
        };
        for piece in (0..self.pieces).step_by(2) {
            claimed.set(piece);
        }
        let bits = Bytes::copy_from_slice(claimed.as_bytes());
        said.extend([Message::Bitfield(bits), Message::Unchoke]);
    }

    /// A neighbour is gone.
    pub(crate) fn forget(&mut self, peer: PeerKey) {
        self.partial.remove(&peer);
    }
}

/// A block of the right length that is worth nothing.
fn zeros(block: Block) -> Message {
    let len = block.len.min(LONGEST_BLOCK);
    Message::Piece {
        block: Block { len, ..block },
        data: Bytes::from(vec![0; len as usize]),
    }
}

/// A minute, in nanoseconds: long enough that the peer is known, trusted and asked.
const FREEZES_AFTER: u64 = 60_000_000_000;
/// Who asks for more than the longest block in use gets no more.
const LONGEST_BLOCK: u32 = 128 * 1024;

#[cfg(test)]
mod tests {
    use mainswarm::metainfo::PieceIndex;

    use super::*;

    const PEER: PeerKey = PeerKey(3);

    fn cheat(strategy: Strategy) -> Cheat {
        Cheat::new(strategy, 10, 0).unwrap()
    }

    fn bits(pieces: &[u32]) -> Message {
        let mut set = Bitfield::empty(10);
        pieces.iter().for_each(|piece| assert!(set.set(*piece)));
        Message::Bitfield(Bytes::copy_from_slice(set.as_bytes()))
    }

    fn request() -> Message {
        Message::Request(Block {
            piece: PieceIndex(2),
            begin: 16_384,
            len: 16_384,
        })
    }

    #[test]
    fn seeds_only_sees_a_peer_once_it_has_everything() {
        let mut cheat = cheat(Strategy::SeedsOnly);
        let all: Vec<u32> = (0..10).collect();
        for seed in [Message::HaveAll, bits(&all)] {
            assert_eq!(cheat.hear(0, PEER, seed.clone()), Heard::Pass(seed));
        }
        assert_eq!(cheat.hear(0, PEER, bits(&all[1..9])), Heard::Nothing);
        for piece in [0, 0, 5] {
            let have = Message::Have(PieceIndex(piece));
            assert_eq!(cheat.hear(0, PEER, have), Heard::Nothing);
        }
        let last = Message::Have(PieceIndex(9));
        assert_eq!(cheat.hear(0, PEER, last), Heard::Pass(Message::HaveAll));
    }

    #[test]
    fn a_liar_claims_every_other_piece_and_serves_zeros() {
        let mut cheat = cheat(Strategy::FalseHave);
        for (own, claimed) in [
            (Message::HaveNone, bits(&[0, 2, 4, 6, 8])),
            (bits(&[1, 2]), bits(&[0, 1, 2, 4, 6, 8])),
        ] {
            let mut said = Vec::new();
            cheat.say(0, own, &mut said);
            assert_eq!(said, [claimed, Message::Unchoke]);
        }
        let Heard::Answer(Message::Piece { block, data }) = cheat.hear(0, PEER, request()) else {
            panic!("no answer");
        };
        assert_eq!((block.begin, data.len()), (16_384, 16_384));
        assert!(data.iter().all(|byte| *byte == 0));
    }

    #[test]
    fn the_silent_take_requests_and_the_frozen_nothing() {
        let mut stalled = cheat(Strategy::Stalled);
        assert_eq!(stalled.hear(0, PEER, request()), Heard::Nothing);
        assert_eq!(
            stalled.hear(0, PEER, Message::Choke),
            Heard::Pass(Message::Choke)
        );
        let mut frozen = cheat(Strategy::Frozen);
        let mut said = Vec::new();
        for (now, passes) in [(0, true), (FREEZES_AFTER, false)] {
            let heard = frozen.hear(now, PEER, request());
            assert_eq!(heard == Heard::Pass(request()), passes);
            frozen.say(now, request(), &mut said);
        }
        assert_eq!(said, [request()]);
    }
}
