//! How many seeds and peers a torrent has, by bloom filters of their IP addresses ([BEP 33]).
//!
//! Each node that holds announces gives a filter for the seeds and one for the others. The union
//! of several nodes' filters counts nobody twice, and how many bits are set tells how many
//! addresses went in.
//!
//! [BEP 33]: https://www.bittorrent.org/beps/bep_0033.html

use std::net::IpAddr;

use sha1::{Digest, Sha1};

/// BEP 33: m is 256 * 8 bits.
pub const BLOOM_LEN: usize = 256;
const BITS: u32 = 8 * BLOOM_LEN as u32;
/// BEP 33: each address sets two of them.
const BITS_PER_ADDRESS: f64 = 2.0;

/// A set of IP addresses, by its shadow.
#[derive(Clone, PartialEq, Eq)]
pub struct Bloom([u8; BLOOM_LEN]);

impl Default for Bloom {
    fn default() -> Self {
        Self([0; BLOOM_LEN])
    }
}

impl Bloom {
    /// Reads the 256 bytes of a reply.
    pub const fn new(bytes: [u8; BLOOM_LEN]) -> Self {
        Self(bytes)
    }

    /// The bytes as they stand on the wire.
    pub const fn as_bytes(&self) -> &[u8; BLOOM_LEN] {
        &self.0
    }

    /// Adds an address; its port plays no part.
    pub fn insert(&mut self, ip: &IpAddr) {
        for bit in bits(ip) {
            self.0[bit / 8] |= 1 << (bit % 8);
        }
    }

    /// Whether an address may have been added; if not, it was not.
    pub fn may_contain(&self, ip: &IpAddr) -> bool {
        bits(ip)
            .iter()
            .all(|bit| self.0[bit / 8] & (1 << (bit % 8)) != 0)
    }

    /// Adds all that another filter holds.
    pub fn union(&mut self, other: &[u8; BLOOM_LEN]) {
        self.0
            .iter_mut()
            .zip(other)
            .for_each(|(own, other)| *own |= other);
    }

    /// About how many addresses were added. With more than some 6,000 it tells little, and it never
    /// says more than 7,809.
    pub fn estimate(&self) -> f64 {
        let zeros: u32 = self.0.iter().map(|byte| byte.count_zeros()).sum();
        // All bits set would be infinitely many.
        let zeros = f64::from(zeros.clamp(1, BITS - 1));
        let size = f64::from(BITS);
        if self.0 == [0; BLOOM_LEN] {
            return 0.0;
        }
        (zeros / size).ln() / (BITS_PER_ADDRESS * (1.0 - 1.0 / size).ln())
    }
}

impl std::fmt::Debug for Bloom {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Bloom(about {:.0})", self.estimate())
    }
}

fn bits(ip: &IpAddr) -> [usize; 2] {
    let hash = match ip {
        IpAddr::V4(ip) => Sha1::digest(ip.octets()),
        IpAddr::V6(ip) => Sha1::digest(ip.octets()),
    };
    let index = |at: usize| usize::from(u16::from_le_bytes([hash[at], hash[at + 1]]));
    [index(0), index(2)].map(|index| index % BITS as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_sets_two_bits_and_counts_once() {
        let ip: IpAddr = "192.168.1.1".parse().expect("an address");
        assert_eq!(bits(&ip), [1711, 1831]);
        let (mut one, mut union) = (Bloom::default(), Bloom::default());
        assert_eq!(one.estimate(), 0.0);
        one.insert(&ip);
        assert!(one.may_contain(&ip) && !union.may_contain(&ip));
        assert!((one.estimate() - 1.0).abs() < 0.01);
        union.union(one.as_bytes());
        union.union(one.as_bytes());
        assert_eq!(union, one, "nobody is counted twice");
        let full = Bloom::new([0xff; BLOOM_LEN]);
        assert!(full.estimate() > 7_000.0 && full.estimate() < 7_810.0);
    }
}
