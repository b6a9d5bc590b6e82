//! Compact addresses: 6 bytes for IPv4, 18 for IPv6 (BEP 5, 7, 11, 23), and 26 or 38 with a node id
//! in front (BEP 5, 32). The IPs are big-endian, the port too.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::ids::{ID_LEN, NodeId};

/// The length of a compact IPv4 peer.
pub const PEER_V4_LEN: usize = 6;
/// The length of a compact IPv6 peer.
pub const PEER_V6_LEN: usize = 18;
/// The length of compact IPv4 node info.
pub const NODE_V4_LEN: usize = ID_LEN + PEER_V4_LEN;
/// The length of compact IPv6 node info.
pub const NODE_V6_LEN: usize = ID_LEN + PEER_V6_LEN;

/// An address family of the protocol: each has its own DHT (BEP 32).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// The family of an address.
    pub fn of(addr: &SocketAddr) -> Self {
        if addr.is_ipv4() { Self::V4 } else { Self::V6 }
    }

    /// The length of a compact peer of this family.
    pub const fn peer_len(self) -> usize {
        match self {
            Self::V4 => PEER_V4_LEN,
            Self::V6 => PEER_V6_LEN,
        }
    }

    /// The length of compact node info of this family.
    pub const fn node_len(self) -> usize {
        ID_LEN + self.peer_len()
    }
}

/// Appends an address in the form of its family.
pub fn write_addr(out: &mut Vec<u8>, addr: &SocketAddr) {
    match addr.ip() {
        IpAddr::V4(ip) => out.extend_from_slice(&ip.octets()),
        IpAddr::V6(ip) => out.extend_from_slice(&ip.octets()),
    }
    out.extend_from_slice(&addr.port().to_be_bytes());
}

/// Appends a node id and its address.
pub fn write_node(out: &mut Vec<u8>, id: &NodeId, addr: &SocketAddr) {
    out.extend_from_slice(id.as_bytes());
    write_addr(out, addr);
}

/// Reads one address; the length (6 or 18) decides the family.
pub fn read_addr(bytes: &[u8]) -> Option<SocketAddr> {
    let (ip, port) = bytes.split_last_chunk::<2>()?;
    let ip: IpAddr = match ip.len() {
        4 => Ipv4Addr::from(<[u8; 4]>::try_from(ip).ok()?).into(),
        16 => Ipv6Addr::from(<[u8; 16]>::try_from(ip).ok()?).into(),
        _ => return None,
    };
    Some(SocketAddr::new(ip, u16::from_be_bytes(*port)))
}

/// Reads a list of addresses of one family. Empty if the length is not a multiple: a list that is
/// cut in the middle says nothing about where it was cut.
pub fn read_addrs(bytes: &[u8], family: Family) -> impl Iterator<Item = SocketAddr> + '_ {
    let whole = if bytes.len().is_multiple_of(family.peer_len()) {
        bytes
    } else {
        &[]
    };
    whole.chunks_exact(family.peer_len()).filter_map(read_addr)
}

/// Reads a list of nodes of one family; empty if the length is not a multiple.
pub fn read_nodes(bytes: &[u8], family: Family) -> impl Iterator<Item = (NodeId, SocketAddr)> + '_ {
    let whole = if bytes.len().is_multiple_of(family.node_len()) {
        bytes
    } else {
        &[]
    };
    whole.chunks_exact(family.node_len()).filter_map(|node| {
        let (id, addr) = node.split_at(ID_LEN);
        Some((NodeId::from_slice(id)?, read_addr(addr)?))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_round_trip() {
        for text in ["127.0.0.1:6881", "203.0.113.7:65535", "[2001:db8::1]:1"] {
            let addr: SocketAddr = text.parse().unwrap();
            let mut bytes = Vec::new();
            write_addr(&mut bytes, &addr);
            assert_eq!(bytes.len(), Family::of(&addr).peer_len());
            assert_eq!(read_addr(&bytes), Some(addr));
        }
    }

    #[test]
    fn lists_cut_in_the_middle_are_empty() {
        let bytes = [7; 2 * NODE_V4_LEN + 1];
        assert_eq!(read_nodes(&bytes, Family::V4).count(), 0);
        assert_eq!(read_nodes(&bytes[1..], Family::V4).count(), 2);
        assert_eq!(read_addrs(&bytes[..12], Family::V4).count(), 2);
        assert_eq!(read_addrs(&bytes[..12], Family::V6).count(), 0);
    }
}
