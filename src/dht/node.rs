//! One contact of the routing table: 48 bytes, since a process may hold a hundred million of them.
//!
//! Only a node that has answered a query of ours becomes a [`Node`], so its state needs no "never
//! answered": it is good, questionable or bad as [BEP 5] defines them.
//!
//! [BEP 5]: https://www.bittorrent.org/beps/bep_0005.html

use std::{
    net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6},
    time::{Duration, Instant},
};

use super::{node_id, types::Contact};
use crate::ids::NodeId;

/// Whole seconds since [`BEFORE_BIRTH`] before the birth of a [`Dht`](super::Dht).
pub(super) type Seconds = u32;

/// Ours: a restored node may have been seen this long before we were born.
pub(super) const BEFORE_BIRTH: Seconds = 60 * 60;

/// Turns instants into [`Seconds`].
#[derive(Debug, Clone, Copy)]
pub(super) struct Clock(Instant);

impl Clock {
    pub(super) fn new(now: Instant) -> Self {
        Self(now)
    }

    pub(super) fn seconds(self, now: Instant) -> Seconds {
        let seconds = now.saturating_duration_since(self.0).as_secs();
        let seconds = seconds.saturating_add(BEFORE_BIRTH.into());
        Seconds::try_from(seconds).unwrap_or(Seconds::MAX)
    }
}

/// BEP 5: a node silent for 15 minutes is questionable.
pub(super) const QUESTIONABLE_AFTER: Seconds = 15 * 60;

/// BEP 5: bad after failing "to respond to multiple queries in a row".
const BAD_AFTER: u8 = 2;

/// RFC 4787: a NAT forgets whom its node has sent to after two minutes at the least, and most do
/// then. A little more, so that all have.
pub(super) const NAT_FORGETS: Seconds = 130;

/// Ours: after a failure. A lookup's question does not count as asked, so it is often at once.
const ASK_AGAIN: Seconds = 15;

/// What a node is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Quality {
    Good,
    Questionable,
    Bad,
}

/// A node that has answered us.
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub(super) id: NodeId,
    addr: PackedAddr,
    /// When it last answered us or sent us a query.
    pub(super) seen: Seconds,
    /// When we last pinged it for the table's sake.
    pub(super) asked: Seconds,
    rtt_ms: u16,
    /// Queries in a row that it did not answer.
    pub(super) failures: u8,
    /// It called us and answered while what stands before it may have let us in for that alone.
    pub(super) unconfirmed: bool,
}

impl Node {
    pub(super) fn new(id: NodeId, addr: &SocketAddr, rtt: Duration, now: Seconds) -> Self {
        Self {
            id,
            addr: PackedAddr::new(addr),
            seen: now,
            asked: now,
            rtt_ms: millis(rtt),
            failures: 0,
            unconfirmed: false,
        }
    }

    pub(super) fn quality(&self, now: Seconds) -> Quality {
        if self.failures >= BAD_AFTER {
            Quality::Bad
        } else if self.failures == 0 && now.saturating_sub(self.seen) < QUESTIONABLE_AFTER {
            Quality::Good
        } else {
            Quality::Questionable
        }
    }

    /// When it should be asked before its turn: after a failure, ever later with each, and once
    /// whoever called us cannot be reached for that alone.
    pub(super) fn suspect_at(&self) -> Seconds {
        match self.failures.checked_sub(1) {
            Some(again) => self.asked.saturating_add(ASK_AGAIN << again.min(6)),
            None if self.unconfirmed => self.seen.max(self.asked).saturating_add(NAT_FORGETS),
            None => Seconds::MAX,
        }
    }

    pub(super) fn addr(&self) -> SocketAddr {
        self.addr.get()
    }

    pub(super) fn has_addr(&self, addr: &SocketAddr) -> bool {
        self.addr.is(addr)
    }

    pub(super) fn is_of(&self, source: &IpAddr) -> bool {
        self.addr.is_of(source)
    }

    /// Whether its id follows from its address (BEP 42).
    pub(super) fn conforms(&self) -> bool {
        node_id::conforms(&self.addr.ip(), &self.id)
    }

    pub(super) fn rtt(&self) -> Duration {
        Duration::from_millis(self.rtt_ms.into())
    }

    pub(super) fn contact(&self) -> Contact {
        Contact {
            id: self.id,
            addr: self.addr(),
        }
    }

    /// It answered.
    pub(super) fn answered(&mut self, rtt: Duration, now: Seconds) {
        self.unconfirmed &= now.saturating_sub(self.seen) < NAT_FORGETS;
        self.seen = now;
        self.failures = 0;
        // The mean of the old and the new leans to the recent: routes change.
        self.rtt_ms = self.rtt_ms.midpoint(millis(rtt));
    }

    /// Appends the compact form to `out` at `at` and returns where it ends.
    pub(super) fn write_compact(&self, out: &mut [u8], at: usize) -> Option<usize> {
        let (id, rest) = out.get_mut(at..)?.split_first_chunk_mut::<20>()?;
        *id = *self.id.as_bytes();
        Some(at + 20 + self.addr.write_compact(rest)?)
    }
}

fn millis(rtt: Duration) -> u16 {
    u16::try_from(rtt.as_millis()).unwrap_or(u16::MAX)
}

/// An address in 16 bytes, at the price of an allocation for IPv6.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum PackedAddr {
    V4([u8; 4], u16),
    V6(Box<SocketAddrV6>),
}

impl PackedAddr {
    pub(super) fn new(addr: &SocketAddr) -> Self {
        match addr {
            SocketAddr::V4(addr) => Self::V4(addr.ip().octets(), addr.port()),
            SocketAddr::V6(addr) => Self::V6(Box::new(*addr)),
        }
    }

    pub(super) fn get(&self) -> SocketAddr {
        match self {
            Self::V4(ip, port) => SocketAddrV4::new((*ip).into(), *port).into(),
            Self::V6(addr) => (**addr).into(),
        }
    }

    fn ip(&self) -> IpAddr {
        match self {
            Self::V4(ip, _) => IpAddr::from(*ip),
            Self::V6(addr) => IpAddr::V6(*addr.ip()),
        }
    }

    pub(super) fn is(&self, addr: &SocketAddr) -> bool {
        match (self, addr) {
            (Self::V4(ip, port), SocketAddr::V4(addr)) => {
                *port == addr.port() && *ip == addr.ip().octets()
            }
            (Self::V6(own), SocketAddr::V6(addr)) => {
                own.port() == addr.port() && own.ip() == addr.ip()
            }
            _ => false,
        }
    }

    /// Whether it is of this [`source`].
    pub(super) fn is_of(&self, wanted: &IpAddr) -> bool {
        match (self, wanted) {
            (Self::V4(own, _), IpAddr::V4(ip)) => *own == ip.octets(),
            (Self::V6(own), IpAddr::V6(_)) => source(&IpAddr::V6(*own.ip())) == *wanted,
            _ => false,
        }
    }

    /// Writes 6 or 18 bytes to the front of `out`; `None` if they do not fit.
    pub(super) fn write_compact(&self, out: &mut [u8]) -> Option<usize> {
        match self {
            Self::V4(ip, port) => {
                out.get_mut(..4)?.copy_from_slice(ip);
                out.get_mut(4..6)?.copy_from_slice(&port.to_be_bytes());
                Some(6)
            }
            Self::V6(addr) => {
                out.get_mut(..16)?.copy_from_slice(&addr.ip().octets());
                out.get_mut(16..18)?
                    .copy_from_slice(&addr.port().to_be_bytes());
                Some(18)
            }
        }
    }
}

/// Whom an address stands for where each may have but so much: in IPv6 it is the /64, of whose
/// addresses one customer has as many as he likes.
pub(super) fn source(ip: &IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(_) => *ip,
        IpAddr::V6(ip) => IpAddr::from(Ipv6Addr::from_bits(ip.to_bits() >> 64 << 64)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_48_bytes() {
        assert_eq!(size_of::<Node>(), 48);
    }

    #[test]
    fn quality_follows_answers_and_silence() {
        let addr = "127.0.0.1:1".parse().expect("an address");
        let mut node = Node::new(NodeId::new([1; 20]), &addr, Duration::ZERO, 100);
        let rows = [
            (100, 0, Quality::Good),
            (999, 0, Quality::Good),
            (1000, 0, Quality::Questionable),
            (100, 1, Quality::Questionable),
            (100, 2, Quality::Bad),
            (5000, 2, Quality::Bad),
        ];
        for (now, failures, quality) in rows {
            node.failures = failures;
            assert_eq!(node.quality(now), quality, "{now} {failures}");
        }
        node.answered(Duration::from_millis(80), 5000);
        assert_eq!(node.quality(5000), Quality::Good);
        assert_eq!(node.rtt(), Duration::from_millis(40));
    }

    #[test]
    fn who_failed_or_has_only_called_is_asked_before_its_turn() {
        let addr = "127.0.0.1:1".parse().expect("an address");
        let mut node = Node::new(NodeId::new([1; 20]), &addr, Duration::ZERO, 100);
        assert_eq!(node.suspect_at(), Seconds::MAX);
        for (failures, at) in [(1, 115), (2, 130), (3, 160), (200, 100 + 15 * 64)] {
            node.failures = failures;
            assert_eq!(node.suspect_at(), at, "{failures}");
        }
        node.failures = 0;
        node.unconfirmed = true;
        assert_eq!(node.suspect_at(), 100 + NAT_FORGETS);
        // An answer to its next call proves nothing; one after it was silent for long does.
        node.answered(Duration::ZERO, 150);
        assert!(node.unconfirmed);
        node.answered(Duration::ZERO, 150 + NAT_FORGETS);
        assert!(!node.unconfirmed);
        assert_eq!(node.suspect_at(), Seconds::MAX);
    }

    #[test]
    fn packed_addresses_keep_their_value() {
        for text in ["10.1.2.3:65535", "[2001:db8::1]:1"] {
            let addr: SocketAddr = text.parse().expect("an address");
            let packed = PackedAddr::new(&addr);
            assert!(packed.get() == addr && packed.is(&addr) && packed.is_of(&source(&addr.ip())));
            let mut bytes = [0; 18];
            let len = packed.write_compact(&mut bytes).expect("room");
            assert_eq!(crate::compact::read_addr(&bytes[..len]), Some(addr));
            assert_eq!(packed.write_compact(&mut bytes[..len - 1]), None);
        }
    }
}
