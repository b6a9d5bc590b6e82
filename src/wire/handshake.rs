//! The 68 bytes that open a peer wire connection (BEP 3), with the capability bits of BEP 5, 6
//! and 10.

use crate::ids::{InfoHash, PeerId};

/// The length of a handshake in bytes.
pub const HANDSHAKE_LEN: usize = 68;

/// A decoded handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Handshake {
    /// The eight capability bytes.
    pub reserved: Reserved,
    /// The torrent that the connection is about.
    pub info_hash: InfoHash,
    /// The sender's name for itself.
    pub peer_id: PeerId,
}

/// The eight capability bytes of a handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Reserved(pub [u8; 8]);

impl Reserved {
    /// What this implementation speaks: extension protocol, fast extension and, if `dht`, the
    /// `port` message.
    pub fn ours(dht: bool) -> Self {
        let mut bits = [0; 8];
        bits[5] |= EXTENSION;
        bits[7] |= FAST;
        if dht {
            bits[7] |= DHT;
        }
        Self(bits)
    }

    /// BEP 10: the extension protocol.
    pub fn extension(self) -> bool {
        self.0[5] & EXTENSION != 0
    }

    /// BEP 6: the fast extension.
    pub fn fast(self) -> bool {
        self.0[7] & FAST != 0
    }

    /// BEP 5: the sender runs a DHT node and understands `port`.
    pub fn dht(self) -> bool {
        self.0[7] & DHT != 0
    }
}

/// The first byte and the text are not BitTorrent's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a BitTorrent handshake")]
pub struct NotBitTorrent;

impl Handshake {
    /// The bytes to send.
    pub fn encode(&self) -> [u8; HANDSHAKE_LEN] {
        let mut out = [0; HANDSHAKE_LEN];
        out[..20].copy_from_slice(PROTOCOL);
        out[20..28].copy_from_slice(&self.reserved.0);
        out[28..48].copy_from_slice(self.info_hash.as_bytes());
        out[48..].copy_from_slice(self.peer_id.as_bytes());
        out
    }

    /// Reads a whole handshake.
    pub fn decode(bytes: &[u8; HANDSHAKE_LEN]) -> Result<Self, NotBitTorrent> {
        Self::check_prefix(bytes)?;
        let id = |at: usize| {
            let mut id = [0; 20];
            id.copy_from_slice(&bytes[at..at + 20]);
            id
        };
        let mut reserved = [0; 8];
        reserved.copy_from_slice(&bytes[20..28]);
        Ok(Self {
            reserved: Reserved(reserved),
            info_hash: InfoHash::new(id(28)),
            peer_id: PeerId::new(id(48)),
        })
    }

    /// Whether the bytes received so far can still become a handshake; lets a connection be closed
    /// at the first wrong byte.
    pub fn check_prefix(bytes: &[u8]) -> Result<(), NotBitTorrent> {
        let seen = bytes.len().min(PROTOCOL.len());
        if bytes[..seen] == PROTOCOL[..seen] {
            Ok(())
        } else {
            Err(NotBitTorrent)
        }
    }
}

const PROTOCOL: &[u8; 20] = b"\x13BitTorrent protocol";
const EXTENSION: u8 = 0x10;
const FAST: u8 = 0x04;
const DHT: u8 = 0x01;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trip_and_first_wrong_byte() {
        let handshake = Handshake {
            reserved: Reserved::ours(true),
            info_hash: InfoHash::new([7; 20]),
            peer_id: PeerId::with_suffix(*b"abcdefghijkl"),
        };
        let bytes = handshake.encode();
        assert_eq!(Handshake::decode(&bytes), Ok(handshake));
        assert!(handshake.reserved.fast() && handshake.reserved.extension());
        assert!(handshake.reserved.dht() && !Reserved::ours(false).dht());
        assert_eq!(Handshake::check_prefix(&bytes[..5]), Ok(()));
        assert_eq!(Handshake::check_prefix(b"\x13BitX"), Err(NotBitTorrent));
    }
}
