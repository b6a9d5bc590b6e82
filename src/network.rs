//! Which addresses belong to the network that a node is on.
//!
//! KRPC has no field for a network's name, so the address decides: the public DHT holds only
//! globally routable addresses and a private one only the others. A node on one can therefore
//! never learn, store or pass on a contact of the other.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    str::FromStr,
};

/// A world of nodes and peers that must not mix with another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Network {
    /// The public Mainline DHT: globally routable addresses only.
    #[default]
    Mainline,
    /// A network of one's own on loopback, private, link-local, shared (100.64/10) or unique-local
    /// addresses.
    Private,
}

impl Network {
    /// Whether an address that a stranger told us may be contacted, stored or passed on.
    pub fn accepts(self, addr: &SocketAddr) -> bool {
        if addr.port() == 0 {
            return false;
        }
        let reach = match addr.ip().to_canonical() {
            IpAddr::V4(ip) => reach_v4(ip),
            IpAddr::V6(ip) => reach_v6(ip),
        };
        match self {
            Self::Mainline => reach == Reach::Global,
            Self::Private => reach == Reach::Local,
        }
    }

    /// The word used on the command line and in file names.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Mainline => "mainline",
            Self::Private => "private",
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Network {
    type Err = UnknownNetwork;

    fn from_str(text: &str) -> Result<Self, UnknownNetwork> {
        [Self::Mainline, Self::Private]
            .into_iter()
            .find(|network| network.name() == text)
            .ok_or(UnknownNetwork)
    }
}

/// The text names no network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("unknown network; use `mainline` or `private`")]
pub struct UnknownNetwork;

#[derive(PartialEq, Eq)]
enum Reach {
    Global,
    Local,
    /// Never a contact anywhere: unspecified, multicast, reserved, documentation.
    Nowhere,
}

fn reach_v4(ip: Ipv4Addr) -> Reach {
    let [a, b, c, _] = ip.octets();
    match (a, b, c) {
        (0, ..) | (224.., ..) => Reach::Nowhere,
        (192, 0, 0 | 2) | (198, 51, 100) | (203, 0, 113) | (198, 18 | 19, _) => Reach::Nowhere,
        (10 | 127, ..) | (172, 16..=31, _) | (192, 168, _) | (169, 254, _) => Reach::Local,
        (100, 64..=127, _) => Reach::Local,
        _ => Reach::Global,
    }
}

fn reach_v6(ip: Ipv6Addr) -> Reach {
    let segments = ip.segments();
    if ip == Ipv6Addr::LOCALHOST || segments[0] & 0xfe00 == 0xfc00 || segments[0] & 0xffc0 == 0xfe80
    {
        Reach::Local
    } else if segments[0] & 0xe000 == 0x2000 && segments[..2] != [0x2001, 0xdb8] {
        Reach::Global
    } else {
        Reach::Nowhere
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_address_belongs_to_at_most_one_network() {
        let rows = [
            ("8.8.8.8:6881", Some(Network::Mainline)),
            ("127.1.0.1:6881", Some(Network::Private)),
            ("10.0.0.1:1", Some(Network::Private)),
            ("172.32.0.1:1", Some(Network::Mainline)),
            ("192.168.1.1:1", Some(Network::Private)),
            ("100.64.0.1:1", Some(Network::Private)),
            ("8.8.8.8:0", None),
            ("0.0.0.0:1", None),
            ("255.255.255.255:1", None),
            ("224.0.0.1:1", None),
            ("203.0.113.7:1", None),
            ("[::1]:1", Some(Network::Private)),
            ("[fe80::1]:1", Some(Network::Private)),
            ("[2a00:1450::1]:1", Some(Network::Mainline)),
            ("[2001:db8::1]:1", None),
            ("[ff02::1]:1", None),
            ("[::ffff:10.0.0.1]:1", Some(Network::Private)),
        ];
        for (text, home) in rows {
            let addr: SocketAddr = text.parse().unwrap();
            for network in [Network::Mainline, Network::Private] {
                assert_eq!(
                    network.accepts(&addr),
                    home == Some(network),
                    "{text} {network}"
                );
            }
        }
        assert_eq!("private".parse(), Ok(Network::Private));
        assert_eq!("lan".parse::<Network>(), Err(UnknownNetwork));
    }
}
