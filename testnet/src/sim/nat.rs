//! What stands between a node and the others: nothing, a firewall, or a translator of addresses.
//!
//! Each translator serves one node, so the node's IP address is the translator's outer one; only
//! ports can differ. State lives as long as the node keeps sending, as RFC 4787 asks at least:
//! what comes in renews nothing.

use std::{collections::BTreeMap, time::Duration};

use super::address::PORT;

/// How a node is reached. Streams can be dialled to [`Nat::Open`] and [`Nat::FullCone`] alone; a
/// dial to another is not answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Nat {
    /// Everybody reaches it.
    #[default]
    Open,
    /// Everybody reaches it while it sends (endpoint-independent mapping and filtering); its TCP
    /// port is forwarded.
    FullCone,
    /// Only addresses (IP and port) that it has sent to reach it (address and port-dependent
    /// filtering); all see the same port.
    PortRestricted,
    /// As before, and every address sees another port.
    Symmetric,
    /// No translation, but only addresses that it has sent to reach it. In a world where every node
    /// has an IP address of its own that is the same as [`Nat::PortRestricted`].
    Firewall,
}

impl Nat {
    /// Whether others can dial it.
    pub fn takes_dials(self) -> bool {
        matches!(self, Self::Open | Self::FullCone)
    }
}

/// What a box that is not open remembers.
#[derive(Debug)]
pub(crate) struct NatBox {
    kind: Nat,
    /// When the node last sent anything.
    last_sent: Option<u64>,
    /// By far node and port: the outer port, and when the node last sent there.
    mappings: BTreeMap<(u32, u16), (u16, u64)>,
    /// Ports handed out by a symmetric box.
    handed_out: u16,
}

impl NatBox {
    /// `None` for [`Nat::Open`].
    pub(crate) fn new(kind: Nat) -> Option<Box<Self>> {
        let closed = kind != Nat::Open;
        closed.then(|| {
            Box::new(Self {
                kind,
                last_sent: None,
                mappings: BTreeMap::new(),
                handed_out: 0,
            })
        })
    }

    pub(crate) fn kind(&self) -> Nat {
        self.kind
    }

    /// The node sends to this port of that node. Gives the port that the far side sees.
    pub(crate) fn sends(&mut self, now: u64, to: u32, port: u16) -> u16 {
        self.last_sent = Some(now);
        if self.kind == Nat::FullCone {
            return PORT;
        }
        if let Some((outer, last)) = self.mappings.get_mut(&(to, port))
            && is_fresh(*last, now)
        {
            *last = now;
            return *outer;
        }
        if self.mappings.len() >= MAX_MAPPINGS {
            self.make_room(now);
        }
        let outer = match self.kind {
            Nat::Symmetric => {
                self.handed_out = (self.handed_out + 1) % SYMMETRIC_PORTS;
                FIRST_SYMMETRIC + self.handed_out
            }
            _ => PORT,
        };
        self.mappings.insert((to, port), (outer, now));
        outer
    }

    /// Whether a datagram from that node's port to this outer port reaches the node.
    pub(crate) fn admits(&self, now: u64, from: u32, from_port: u16, to_port: u16) -> bool {
        if self.kind == Nat::FullCone {
            return to_port == PORT && self.last_sent.is_some_and(|last| is_fresh(last, now));
        }
        let mapping = self.mappings.get(&(from, from_port));
        mapping.is_some_and(|(outer, last)| *outer == to_port && is_fresh(*last, now))
    }

    /// Drops what has run out, or else the oldest mapping.
    fn make_room(&mut self, now: u64) {
        self.mappings.retain(|_, (_, last)| is_fresh(*last, now));
        if self.mappings.len() >= MAX_MAPPINGS {
            let oldest = self.mappings.iter().min_by_key(|(_, (_, last))| *last);
            if let Some(key) = oldest.map(|(key, _)| *key) {
                self.mappings.remove(&key);
            }
        }
    }
}

fn is_fresh(last: u64, now: u64) -> bool {
    now.saturating_sub(last) < NAT_IDLE.as_nanos() as u64
}

/// RFC 4787, REQ-5: a mapping that nothing is sent through lives two minutes at least, and in most
/// home routers no longer.
pub const NAT_IDLE: Duration = Duration::from_secs(120);
/// Ours: what a home router has room for.
const MAX_MAPPINGS: usize = 1_024;
const FIRST_SYMMETRIC: u16 = 20_000;
/// Far more than mappings, so that a port is long out of use when it comes round again.
const SYMMETRIC_PORTS: u16 = 40_000;

#[cfg(test)]
mod tests {
    use super::*;

    const IDLE: u64 = NAT_IDLE.as_nanos() as u64;

    #[test]
    fn each_kind_lets_in_what_it_should() {
        // (kind, before anything was sent, the one sent to, its other port, a third node)
        let rows = [
            (Nat::FullCone, false, true, true, true),
            (Nat::PortRestricted, false, true, false, false),
            (Nat::Symmetric, false, true, false, false),
            (Nat::Firewall, false, true, false, false),
        ];
        for (kind, before, back, port, third) in rows {
            let mut nat = NatBox::new(kind).unwrap();
            assert_eq!(nat.admits(0, 7, 1, PORT), before, "{kind:?}");
            let outer = nat.sends(0, 7, 1);
            assert_eq!(outer == PORT, kind != Nat::Symmetric);
            assert_eq!(nat.admits(1, 7, 1, outer), back, "{kind:?}");
            assert_eq!(nat.admits(1, 7, 2, outer), port, "{kind:?}");
            assert_eq!(nat.admits(1, 8, 1, outer), third, "{kind:?}");
            assert!(!nat.admits(1, 7, 1, outer + 1), "{kind:?}");
            assert!(nat.admits(IDLE - 1, 7, 1, outer) && !nat.admits(IDLE, 7, 1, outer));
            nat.sends(IDLE / 2, 7, 1);
            assert!(nat.admits(IDLE, 7, 1, outer), "{kind:?}");
        }
        assert!(NatBox::new(Nat::Open).is_none());
    }

    #[test]
    fn a_symmetric_box_shows_everyone_another_port_and_forgets_the_oldest() {
        let mut nat = NatBox::new(Nat::Symmetric).unwrap();
        let ports: Vec<u16> = (0..3).map(|n| nat.sends(0, n, PORT)).collect();
        assert!(ports[0] != ports[1] && ports[1] != ports[2]);
        assert_eq!(nat.sends(1, 0, PORT), ports[0]);
        for n in 3..2 * MAX_MAPPINGS as u32 {
            nat.sends(u64::from(n), n, PORT);
        }
        assert_eq!(nat.mappings.len(), MAX_MAPPINGS);
        assert!(!nat.admits(9, 1, PORT, ports[1]));
        // All have run out: one more finds room at once.
        nat.sends(2 * IDLE, 5, 5);
        assert_eq!(nat.mappings.len(), 1);
    }
}
