//! What a peer's neighbours are to it, read off the messages that it sends: for measuring.

use std::{collections::BTreeMap, net::IpAddr, time::Duration};

use mainswarm::{torrent::PeerKey, wire::Message};

/// One neighbour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tie {
    /// Its host.
    pub ip: IpAddr,
    /// It has something that we want.
    pub interesting: bool,
    /// It may ask us for blocks.
    pub unchoked: bool,
}

/// Somebody was banned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ban {
    /// Its host.
    pub ip: IpAddr,
    /// When it sent its first block, since an earlier ban if there was one.
    pub first_block: Option<Duration>,
    /// When it was banned.
    pub at: Duration,
}

/// The neighbours of one torrent.
#[derive(Debug, Default)]
pub(crate) struct Ties {
    now: BTreeMap<PeerKey, Tie>,
    /// When each host sent its first block, or the first since it was last banned, in nanoseconds.
    first_blocks: BTreeMap<IpAddr, u64>,
    bans: Vec<Ban>,
}

impl Ties {
    pub(crate) fn now(&self) -> impl Iterator<Item = &Tie> {
        self.now.values()
    }

    pub(crate) fn bans(&self) -> &[Ban] {
        &self.bans
    }

    pub(crate) fn open(&mut self, peer: PeerKey, ip: IpAddr) {
        let tie = Tie {
            ip,
            interesting: false,
            unchoked: false,
        };
        self.now.insert(peer, tie);
    }

    pub(crate) fn close(&mut self, peer: PeerKey) {
        self.now.remove(&peer);
    }

    /// Something goes to a neighbour.
    pub(crate) fn on_said(&mut self, peer: PeerKey, message: &Message) {
        let change: fn(&mut Tie) = match message {
            Message::Interested => |tie| tie.interesting = true,
            Message::NotInterested => |tie| tie.interesting = false,
            Message::Unchoke => |tie| tie.unchoked = true,
            Message::Choke => |tie| tie.unchoked = false,
            _ => return,
        };
        self.now.get_mut(&peer).into_iter().for_each(change);
    }

    /// Something came from a neighbour.
    pub(crate) fn on_heard(&mut self, now: u64, peer: PeerKey, message: &Message) {
        if let (Message::Piece { .. }, Some(tie)) = (message, self.now.get(&peer)) {
            self.first_blocks.entry(tie.ip).or_insert(now);
        }
    }

    pub(crate) fn on_ban(&mut self, now: u64, ip: IpAddr) {
        let first_block = self.first_blocks.remove(&ip);
        self.bans.push(Ban {
            ip,
            first_block: first_block.map(Duration::from_nanos),
            at: Duration::from_nanos(now),
        });
    }

    /// The hosts that have sent blocks and were not banned for it.
    pub(crate) fn givers(&self) -> impl Iterator<Item = IpAddr> + '_ {
        self.first_blocks.keys().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ties_follow_the_messages() {
        let (peer, ip) = (PeerKey(1), IpAddr::from([10, 0, 0, 9]));
        let mut ties = Ties::default();
        ties.on_said(peer, &Message::Unchoke);
        ties.open(peer, ip);
        for (message, interesting, unchoked) in [
            (Message::Interested, true, false),
            (Message::Unchoke, true, true),
            (Message::NotInterested, false, true),
            (Message::Choke, false, false),
        ] {
            ties.on_said(peer, &message);
            let expected = Tie {
                ip,
                interesting,
                unchoked,
            };
            assert_eq!(ties.now().copied().collect::<Vec<_>>(), [expected]);
        }
        ties.on_ban(7, ip);
        assert_eq!(ties.bans()[0].first_block, None);
        ties.close(peer);
        assert_eq!(ties.now().count(), 0);
    }
}
