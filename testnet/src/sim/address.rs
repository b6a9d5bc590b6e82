//! Which address a node has.

use std::net::{Ipv4Addr, SocketAddr};

use mainswarm::network::Network;

/// Node index to address and back, by arithmetic.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Addresses {
    network: Network,
}

impl Addresses {
    pub(crate) fn new(network: Network) -> Self {
        Self { network }
    }

    pub(crate) fn network(self) -> Network {
        self.network
    }

    pub(crate) fn of(self, node: u32) -> SocketAddr {
        let ip = match self.network {
            Network::Private => PRIVATE + 1 + node,
            Network::Mainline => MAINLINE + (node.wrapping_mul(SPREAD) & MAINLINE_MASK),
        };
        SocketAddr::new(Ipv4Addr::from_bits(ip).into(), PORT)
    }

    /// The node that listens at an address.
    pub(crate) fn node_of(self, addr: SocketAddr) -> Option<u32> {
        let (node, port) = self.find(addr)?;
        (port == PORT).then_some(node)
    }

    /// The node whose IP address this is, and the port.
    pub(crate) fn find(self, addr: SocketAddr) -> Option<(u32, u16)> {
        let SocketAddr::V4(addr) = addr else {
            return None;
        };
        let ip = addr.ip().to_bits();
        let node = match self.network {
            Network::Private => ip.checked_sub(PRIVATE + 1)?,
            Network::Mainline => {
                let offset = ip.checked_sub(MAINLINE)?;
                if offset > MAINLINE_MASK {
                    return None;
                }
                offset.wrapping_mul(UNSPREAD) & MAINLINE_MASK
            }
        };
        (addr.port() > 0 && node < MAX_NODES).then_some((node, addr.port()))
    }
}

/// Where every node listens.
pub(crate) const PORT: u16 = 6881;
/// No world has more.
pub(crate) const MAX_NODES: u32 = (1 << 24) - 2;
/// 10.0.0.0/8
const PRIVATE: u32 = 10 << 24;
/// 32.0.0.0/3 holds no special range. Neighbours in the index are far apart in it, like strangers.
const MAINLINE: u32 = 32 << 24;
const MAINLINE_MASK: u32 = (1 << 29) - 1;
const SPREAD: u32 = 0x0b4e_d3a5;
const UNSPREAD: u32 = inverse(SPREAD);

/// The inverse of an odd number modulo 2^32 (Newton: each round doubles the right bits).
const fn inverse(odd: u32) -> u32 {
    let mut inverse = odd;
    let mut round = 0;
    while round < 5 {
        inverse = inverse.wrapping_mul(2u32.wrapping_sub(odd.wrapping_mul(inverse)));
        round += 1;
    }
    inverse
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_go_both_ways_and_belong_to_their_network() {
        for network in [Network::Private, Network::Mainline] {
            let addresses = Addresses::new(network);
            for node in (0..MAX_NODES).step_by(997).chain([0, 1, MAX_NODES - 1]) {
                let addr = addresses.of(node);
                assert!(network.accepts(&addr), "{addr}");
                assert_eq!(addresses.node_of(addr), Some(node));
                let other = SocketAddr::new(addr.ip(), 9);
                assert_eq!(addresses.node_of(other), None);
                assert_eq!(addresses.find(other), Some((node, 9)));
            }
            for stranger in [
                "8.8.8.8:6881",
                "10.0.0.5:1",
                "[::1]:6881",
                "255.255.255.255:6881",
            ] {
                assert_eq!(
                    addresses.node_of(stranger.parse().unwrap()),
                    None,
                    "{stranger}"
                );
            }
        }
    }
}
