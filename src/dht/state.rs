//! What a node keeps between runs, as bytes: Transmission's `dht.dat` with one key more.
//!
//! Transmission stores the addresses of its nodes without their ids (`nodes`, `nodes6`). We write
//! those too, so that the file serves both, and beside them the full node info (`contacts`,
//! `contacts6`), which lets a lookup start at the right nodes. Reading takes either. The shell
//! moves the bytes to and from the disk.

use std::net::SocketAddr;

use super::types::Contact;
use crate::{
    bencode::{self, Limits, write_bytes, write_int},
    compact::{self, Family},
    ids::NodeId,
};

/// A node's memory.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct State {
    /// The node's id.
    pub id: Option<NodeId>,
    /// When it was saved, in seconds since 1970.
    pub saved_at: Option<u64>,
    /// Nodes, best first.
    pub contacts: Vec<Contact>,
    /// Addresses of nodes whose ids are not known.
    pub addrs: Vec<SocketAddr>,
}

/// Why bytes are no saved state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StateError {
    /// Not bencode.
    #[error("the saved DHT state is damaged ({0}); it will be built anew from the routers")]
    Damaged(#[from] bencode::Error),
    /// Bencode, but not a dictionary.
    #[error("the saved DHT state is no dictionary; it will be built anew from the routers")]
    NotADictionary,
}

/// Ours: more contacts than any bootstrap asks.
const MAX_CONTACTS: usize = 1_000;

impl State {
    /// Reads a state. Fields that are missing or cut are empty; only what is no state at all is an
    /// error.
    pub fn decode(bytes: &[u8]) -> Result<Self, StateError> {
        let value = bencode::scan_exact(bytes, Limits::KRPC)?;
        let dict = value.as_dict().ok_or(StateError::NotADictionary)?;
        let field = |key: &[u8]| dict.bytes(key).unwrap_or_default();
        let contacts4 = compact::read_nodes(field(b"contacts"), Family::V4);
        let contacts6 = compact::read_nodes(field(b"contacts6"), Family::V6);
        let contacts = contacts4.chain(contacts6);
        let contacts: Vec<Contact> = contacts
            .map(|(id, addr)| Contact { id, addr })
            .take(MAX_CONTACTS)
            .collect();
        let addrs4 = compact::read_addrs(field(b"nodes"), Family::V4);
        let addrs6 = compact::read_addrs(field(b"nodes6"), Family::V6);
        let addrs = addrs4.chain(addrs6);
        Ok(Self {
            id: dict.bytes(b"id").and_then(NodeId::from_slice),
            saved_at: dict
                .int(b"id_timestamp")
                .and_then(|seconds| u64::try_from(seconds).ok()),
            addrs: addrs
                .filter(|addr| !contacts.iter().any(|contact| contact.addr == *addr))
                .take(MAX_CONTACTS)
                .collect(),
            contacts,
        })
    }

    /// The bytes to save.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![b'd'];
        for (key, family) in [("contacts", Family::V4), ("contacts6", Family::V6)] {
            let mut nodes = Vec::new();
            for contact in self.contacts.iter().take(MAX_CONTACTS) {
                if Family::of(&contact.addr) == family {
                    compact::write_node(&mut nodes, &contact.id, &contact.addr);
                }
            }
            write_bytes(&mut out, key.as_bytes());
            write_bytes(&mut out, &nodes);
        }
        if let Some(id) = &self.id {
            write_bytes(&mut out, b"id");
            write_bytes(&mut out, id.as_bytes());
        }
        if let Some(seconds) = self.saved_at {
            write_bytes(&mut out, b"id_timestamp");
            write_int(&mut out, i64::try_from(seconds).unwrap_or(i64::MAX));
        }
        for (key, family) in [("nodes", Family::V4), ("nodes6", Family::V6)] {
            let contacts = self.contacts.iter().map(|contact| &contact.addr);
            let mut addrs = Vec::new();
            for addr in contacts.chain(&self.addrs).take(MAX_CONTACTS) {
                if Family::of(addr) == family {
                    compact::write_addr(&mut addrs, addr);
                }
            }
            write_bytes(&mut out, key.as_bytes());
            write_bytes(&mut out, &addrs);
        }
        out.push(b'e');
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trip_and_canonical() {
        let addr = |text: &str| text.parse::<SocketAddr>().expect("an address");
        let state = State {
            id: Some(NodeId::new([1; 20])),
            saved_at: Some(1_700_000_000),
            contacts: vec![
                Contact {
                    id: NodeId::new([2; 20]),
                    addr: addr("10.0.0.1:1"),
                },
                Contact {
                    id: NodeId::new([3; 20]),
                    addr: addr("[fd00::1]:2"),
                },
            ],
            addrs: vec![addr("10.0.0.9:9")],
        };
        let bytes = state.encode();
        assert_eq!(State::decode(&bytes), Ok(state));
        let scanned = bencode::scan(&bytes, Limits::KRPC).expect("our own encoding");
        assert!(scanned.canonical);
    }

    #[test]
    fn transmissions_file_gives_addresses() {
        let file = b"d2:id20:aaaaaaaaaaaaaaaaaaaa12:id_timestampi1700000000e\
            5:nodes12:\x0a\0\0\x01\0\x01\x0a\0\0\x02\0\x02e";
        let state = State::decode(file).expect("a state");
        assert_eq!(state.id, Some(NodeId::new([b'a'; 20])));
        assert_eq!((state.contacts.len(), state.addrs.len()), (0, 2));
    }

    #[test]
    fn damage_is_an_error_and_never_a_panic() {
        let state = State {
            id: Some(NodeId::new([1; 20])),
            ..State::default()
        };
        let bytes = state.encode();
        for cut in 0..bytes.len() {
            assert!(State::decode(&bytes[..cut]).is_err(), "{cut}");
        }
        for at in 0..bytes.len() {
            let mut torn = bytes.clone();
            torn[at] ^= 0x55;
            let _ = State::decode(&torn);
        }
        assert_eq!(State::decode(b"le"), Err(StateError::NotADictionary));
        assert_eq!(State::decode(b"de"), Ok(State::default()));
    }
}
