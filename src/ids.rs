//! The three 20-byte names of the protocol: [`InfoHash`], [`NodeId`] and [`PeerId`], and the XOR
//! [`Distance`] that orders node ids (Kademlia; [BEP 5]).
//!
//! They are distinct types on purpose: an info-hash and a node id live in the same key space, but
//! only the conversion [`InfoHash::as_target`] lets one stand for the other.
//!
//! [BEP 5]: https://www.bittorrent.org/beps/bep_0005.html

use std::{cmp::Ordering, fmt, str::FromStr};

/// The length of every identifier in bytes.
pub const ID_LEN: usize = 20;

/// Why a text is not a 20-byte identifier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected 40 hexadecimal digits")]
pub struct ParseIdError;

macro_rules! id_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; ID_LEN]);

        impl $name {
            /// Wraps the 20 bytes as they stand on the wire.
            pub const fn new(bytes: [u8; ID_LEN]) -> Self {
                Self(bytes)
            }

            /// Reads an identifier from exactly 20 bytes.
            pub fn from_slice(bytes: &[u8]) -> Option<Self> {
                Some(Self(bytes.try_into().ok()?))
            }

            /// The 20 bytes as they stand on the wire.
            pub const fn as_bytes(&self) -> &[u8; ID_LEN] {
                &self.0
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({self})", stringify!($name))
            }
        }

        impl From<[u8; ID_LEN]> for $name {
            fn from(bytes: [u8; ID_LEN]) -> Self {
                Self(bytes)
            }
        }
    };
}

macro_rules! hex_text {
    ($name:ident) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;

            fn from_str(text: &str) -> Result<Self, ParseIdError> {
                let bytes = data_encoding::HEXLOWER_PERMISSIVE
                    .decode(text.as_bytes())
                    .map_err(|_| ParseIdError)?;
                Self::from_slice(&bytes).ok_or(ParseIdError)
            }
        }
    };
}

id_type! {
    /// The SHA-1 of the raw `info` bytes: the name of a torrent.
    InfoHash
}
hex_text!(InfoHash);

id_type! {
    /// The name of a node in the DHT.
    NodeId
}
hex_text!(NodeId);

id_type! {
    /// The name a peer gives itself in the peer wire handshake. Printable only by convention, so
    /// [`fmt::Display`] escapes what is not.
    PeerId
}

impl InfoHash {
    /// The point of the DHT's key space that this info-hash names.
    pub const fn as_target(&self) -> NodeId {
        NodeId(self.0)
    }
}

impl NodeId {
    /// The XOR distance between two points of the key space.
    pub fn distance(&self, other: &NodeId) -> Distance {
        let mut out = [0; ID_LEN];
        for (out, (a, b)) in out.iter_mut().zip(self.0.iter().zip(&other.0)) {
            *out = a ^ b;
        }
        Distance(out)
    }

    /// Bit `index`, counted from the most significant.
    ///
    /// # Panics
    /// If `index` is 160 or more: the caller walks buckets, of which there are at most 160.
    pub fn bit(&self, index: usize) -> bool {
        self.0[index / 8] & (0x80 >> (index % 8)) != 0
    }

    /// The same id with its first `bits` bits taken from `other`.
    ///
    /// # Panics
    /// If `bits` is 160 or more.
    #[must_use]
    pub fn with_prefix(mut self, other: &NodeId, bits: usize) -> Self {
        let (whole, rest) = (bits / 8, bits % 8);
        self.0[..whole].copy_from_slice(&other.0[..whole]);
        let own = 0xff >> rest;
        self.0[whole] = self.0[whole] & own | other.0[whole] & !own;
        self
    }

    /// The same id with bit `index` set to `value`.
    ///
    /// # Panics
    /// If `index` is 160 or more.
    #[must_use]
    pub fn with_bit(mut self, index: usize, value: bool) -> Self {
        let mask = 0x80 >> (index % 8);
        if value {
            self.0[index / 8] |= mask;
        } else {
            self.0[index / 8] &= !mask;
        }
        self
    }
}

impl PeerId {
    /// BEP 20 Azureus style: `-MS` and four version characters, then 12 bytes that the caller
    /// draws at random.
    pub fn with_suffix(suffix: [u8; 12]) -> Self {
        let mut bytes = [0; ID_LEN];
        bytes[..8].copy_from_slice(CLIENT_PREFIX);
        bytes[8..].copy_from_slice(&suffix);
        Self(bytes)
    }
}

impl fmt::Display for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.escape_ascii())
    }
}

/// An XOR distance; the smaller, the closer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Distance([u8; ID_LEN]);

impl Distance {
    /// How many leading bits the two points share: 0 to 160.
    pub fn leading_zeros(&self) -> u32 {
        match self.head().leading_zeros() {
            64 => {
                let tail = self.0.iter().skip(8).take_while(|byte| **byte == 0);
                let zeros = 8 + tail.count();
                let next = self.0.get(zeros).map_or(0, |byte| byte.leading_zeros());
                8 * zeros as u32 + next
            }
            zeros => zeros,
        }
    }

    /// The first eight bytes, which nearly always decide.
    fn head(&self) -> u64 {
        let head = self.0.first_chunk();
        head.map_or(0, |head| u64::from_be_bytes(*head))
    }

    /// The distance as big-endian bytes.
    pub const fn as_bytes(&self) -> &[u8; ID_LEN] {
        &self.0
    }
}

impl Ord for Distance {
    fn cmp(&self, other: &Self) -> Ordering {
        let heads = self.head().cmp(&other.head());
        heads.then_with(|| self.0.cmp(&other.0))
    }
}

impl PartialOrd for Distance {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// BEP 20: two letters for the client and four characters of version.
const CLIENT_PREFIX: &[u8; 8] = b"-MS0100-";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_round_trip_and_refusals() {
        let text = "c12fe1c06bba254a9dc9f519b335aa7c1367a88a";
        let hash: InfoHash = text.parse().unwrap();
        assert_eq!(hash.to_string(), text);
        assert_eq!(text.to_uppercase().parse::<InfoHash>(), Ok(hash));
        for bad in [
            "",
            "c1",
            &text[1..],
            &format!("{text}00"),
            &text.replace('c', "g"),
        ] {
            assert_eq!(bad.parse::<InfoHash>(), Err(ParseIdError), "{bad:?}");
        }
    }

    #[test]
    fn a_prefix_is_taken_bit_by_bit() {
        let (own, other) = (NodeId::new([0x5a; 20]), NodeId::new([0xc3; 20]));
        for bits in 0..160 {
            let by_bit = (0..bits).fold(own, |id, bit| id.with_bit(bit, other.bit(bit)));
            assert_eq!(own.with_prefix(&other, bits), by_bit, "{bits}");
        }
    }

    #[test]
    fn distance_orders_and_counts_shared_bits() {
        let zero = NodeId::new([0; 20]);
        let near = zero.with_bit(159, true);
        let far = zero.with_bit(0, true);
        assert!(zero.distance(&near) < zero.distance(&far));
        assert_eq!(zero.distance(&zero).leading_zeros(), 160);
        assert_eq!(zero.distance(&near).leading_zeros(), 159);
        assert_eq!(zero.distance(&far).leading_zeros(), 0);
        assert!(far.bit(0) && !far.bit(1) && near.bit(159));
        // Every single bit, on both sides of the eight bytes that are looked at first.
        let mut last = zero.distance(&zero);
        for shared in (0..160).rev() {
            let distance = zero.distance(&zero.with_bit(shared, true));
            assert_eq!(distance.cmp(&last), Ordering::Greater, "{shared}");
            assert_eq!(last.cmp(&distance), Ordering::Less, "{shared}");
            assert_eq!(distance.leading_zeros() as usize, shared);
            last = distance;
        }
    }

    #[test]
    fn foreign_peer_ids_print_safely() {
        let mut bytes = [b'x'; 20];
        bytes[3] = 0x1b;
        assert_eq!(PeerId::new(bytes).to_string(), "xxx\\x1bxxxxxxxxxxxxxxxx");
    }
}
