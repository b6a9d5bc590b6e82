//! The payloads of the extension protocol: its handshake (BEP 10), `ut_metadata` (BEP 9) and
//! `ut_pex` (BEP 11).
//!
//! Everything here is a stranger's word. Integers are range-checked as 64-bit values before they
//! become anything smaller; what is optional and malformed counts as absent; what is required and
//! malformed is an error. No claimed size is allocated.

use std::net::{IpAddr, SocketAddr};

use bytes::Bytes;

use crate::{
    bencode::{self, Dict, Limits, write_bytes, write_int},
    compact::{self, Family},
    text,
};

/// The extended message id of the extension handshake.
pub const HANDSHAKE_ID: u8 = 0;
/// The id under which we receive `ut_metadata`.
pub const UT_METADATA_ID: u8 = 1;
/// The id under which we receive `ut_pex`.
pub const UT_PEX_ID: u8 = 2;
/// BEP 9: metadata travels in blocks of this many bytes.
pub const METADATA_BLOCK_LEN: u32 = 16 * 1024;

/// Why an extension payload was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ExtensionError {
    /// Not bencode within the limits.
    #[error("extension message: {0}")]
    Bencode(#[from] crate::bencode::Error),
    /// A required key is missing or of the wrong type or range.
    #[error("extension message lacks a valid `{0}`")]
    Field(&'static str),
}

/// The extension handshake, both ways. Absent and malformed optional fields are `None`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ExtensionHandshake {
    /// The id under which the sender wants `ut_metadata` (`None`: unsupported or switched off).
    pub ut_metadata: Option<u8>,
    /// The id under which the sender wants `ut_pex`.
    pub ut_pex: Option<u8>,
    /// The length of the `info` dictionary in bytes, as claimed (already checked to be 1..=32 MiB).
    pub metadata_size: Option<u32>,
    /// The sender's client name, control characters escaped, at most 64 characters.
    pub client: Option<String>,
    /// The sender's TCP listening port.
    pub listen_port: Option<u16>,
    /// How many outstanding requests the sender keeps.
    pub request_queue: Option<u32>,
    /// Our address as the sender sees it.
    pub your_ip: Option<IpAddr>,
    /// BEP 21: the sender will not download anything more.
    pub upload_only: bool,
}

impl ExtensionHandshake {
    /// Reads a handshake.
    pub fn decode(payload: &[u8]) -> Result<Self, ExtensionError> {
        let mut handshake = Self::default();
        handshake.update(payload)?;
        Ok(handshake)
    }

    /// Reads a further handshake of the same peer: what it names replaces what was known, what it
    /// leaves out stays (BEP 10: later handshakes switch single extensions on and off).
    pub fn update(&mut self, payload: &[u8]) -> Result<(), ExtensionError> {
        // The rest is not looked at: some clients send bytes after the dictionary.
        let scan = bencode::scan(payload, Limits::EXTENSION)?;
        let dict = scan.value.as_dict();
        for (key, value) in dict.ok_or(ExtensionError::Field("dictionary"))? {
            let int = value.as_int();
            match key {
                b"m" => {
                    if let Some(extensions) = value.as_dict() {
                        self.update_ids(extensions);
                    }
                }
                b"metadata_size" => self.metadata_size = int.and_then(metadata_len),
                b"p" => {
                    let port = int.and_then(|port| u16::try_from(port).ok());
                    self.listen_port = port.filter(|port| *port != 0);
                }
                b"reqq" => {
                    self.request_queue = int.map(|reqq| reqq.clamp(1, u32::MAX.into()) as u32);
                }
                b"upload_only" => self.upload_only = int.is_some_and(|only| only != 0),
                b"v" => {
                    self.client = value.as_bytes().map(|name| {
                        let name = name.get(..CLIENT_LEN).unwrap_or(name);
                        text::printable(name).chars().take(CLIENT_LEN).collect()
                    });
                }
                b"yourip" => {
                    self.your_ip = value.as_bytes().and_then(|ip| match ip.len() {
                        4 => Some(IpAddr::from(<[u8; 4]>::try_from(ip).ok()?)),
                        16 => Some(IpAddr::from(<[u8; 16]>::try_from(ip).ok()?)),
                        _ => None,
                    });
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn update_ids(&mut self, extensions: Dict<'_>) {
        for (name, id) in extensions.take(MAX_EXTENSIONS) {
            let slot = match name {
                b"ut_metadata" => &mut self.ut_metadata,
                b"ut_pex" => &mut self.ut_pex,
                _ => continue,
            };
            // An id that does not fit its byte is no id, and 0 switches the extension off.
            let id = id.as_int().and_then(|id| u8::try_from(id).ok());
            *slot = id.filter(|id| *id != 0);
        }
    }

    /// The payload of an extended message with id [`HANDSHAKE_ID`].
    pub fn encode(&self) -> Bytes {
        let mut out = b"d1:md".to_vec();
        write_entry(&mut out, b"ut_metadata", self.ut_metadata);
        write_entry(&mut out, b"ut_pex", self.ut_pex);
        out.push(b'e');
        write_entry(&mut out, b"metadata_size", self.metadata_size);
        write_entry(&mut out, b"p", self.listen_port);
        write_entry(&mut out, b"reqq", self.request_queue);
        write_entry(&mut out, b"upload_only", self.upload_only.then_some(1u8));
        if let Some(client) = &self.client {
            write_bytes(&mut out, b"v");
            write_bytes(&mut out, client.as_bytes());
        }
        if let Some(ip) = self.your_ip {
            write_bytes(&mut out, b"yourip");
            match ip {
                IpAddr::V4(ip) => write_bytes(&mut out, &ip.octets()),
                IpAddr::V6(ip) => write_bytes(&mut out, &ip.octets()),
            }
        }
        out.push(b'e');
        out.into()
    }
}

/// A `ut_metadata` message (BEP 9).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MetadataMessage {
    /// Ask for a block.
    Request {
        /// The block's index.
        piece: u32,
    },
    /// A block.
    Data {
        /// The block's index.
        piece: u32,
        /// The length of the whole metadata as claimed here.
        total_size: u32,
        /// The block.
        data: Bytes,
    },
    /// The sender does not give this block.
    Reject {
        /// The block's index.
        piece: u32,
    },
    /// A `msg_type` that BEP 9 tells us to ignore.
    Unknown,
}

impl MetadataMessage {
    /// Reads a message; `data` is a slice of `payload`.
    pub fn decode(payload: &Bytes) -> Result<Self, ExtensionError> {
        let scan = bencode::scan(payload, Limits::EXTENSION)?;
        let dict = scan.value.as_dict();
        let dict = dict.ok_or(ExtensionError::Field("dictionary"))?;
        let kind = dict.int(b"msg_type");
        let kind = kind.ok_or(ExtensionError::Field("msg_type"))?;
        if !(REQUEST..=REJECT).contains(&kind) {
            return Ok(Self::Unknown);
        }
        let piece = dict
            .int(b"piece")
            .and_then(|piece| u32::try_from(piece).ok());
        let piece = piece.ok_or(ExtensionError::Field("piece"))?;
        if kind == REQUEST {
            return Ok(Self::Request { piece });
        }
        if kind == REJECT {
            return Ok(Self::Reject { piece });
        }
        let total_size = dict.int(b"total_size").and_then(metadata_len);
        let total_size = total_size.ok_or(ExtensionError::Field("total_size"))?;
        if scan.rest.len() > METADATA_BLOCK_LEN as usize {
            return Err(ExtensionError::Field("data"));
        }
        Ok(Self::Data {
            piece,
            total_size,
            data: payload.slice(payload.len() - scan.rest.len()..),
        })
    }

    /// The payload to send under the id that the peer's handshake named.
    ///
    /// [`MetadataMessage::Unknown`] encodes as a `msg_type` that everybody ignores.
    pub fn encode(&self) -> Bytes {
        let mut out = b"d".to_vec();
        let (kind, piece) = match self {
            Self::Request { piece } => (REQUEST, Some(*piece)),
            Self::Data { piece, .. } => (DATA, Some(*piece)),
            Self::Reject { piece } => (REJECT, Some(*piece)),
            Self::Unknown => (255, None),
        };
        write_entry(&mut out, b"msg_type", Some(kind));
        write_entry(&mut out, b"piece", piece);
        if let Self::Data {
            total_size, data, ..
        } = self
        {
            write_entry(&mut out, b"total_size", Some(*total_size));
            out.push(b'e');
            out.extend_from_slice(data);
        } else {
            out.push(b'e');
        }
        out.into()
    }
}

/// A `ut_pex` message (BEP 11).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PexMessage {
    /// Peers that joined the sender, v4 and v6, with their flags.
    pub added: Vec<(SocketAddr, PexFlags)>,
    /// Peers that left it.
    pub dropped: Vec<SocketAddr>,
}

/// What a PEX message says about a peer (BEP 11).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PexFlags(pub u8);

impl PexFlags {
    /// The peer seeds, or will not download more.
    pub const SEED: u8 = 0x02;
    /// The peer was reached by dialling it.
    pub const REACHABLE: u8 = 0x10;
}

impl PexMessage {
    /// Reads a message. Keeps at most 50 added and 50 dropped of each family.
    pub fn decode(payload: &[u8]) -> Result<Self, ExtensionError> {
        let scan = bencode::scan(payload, Limits::EXTENSION)?;
        let dict = scan.value.as_dict();
        let dict = dict.ok_or(ExtensionError::Field("dictionary"))?;
        let mut message = Self::default();
        for keys in PEX_KEYS {
            let addrs = |key| {
                let list = dict.bytes(key).unwrap_or_default();
                compact::read_addrs(list, keys.family).take(MAX_PEX)
            };
            let flags = dict.bytes(keys.flags).unwrap_or_default();
            let flags = flags.iter().copied().chain(std::iter::repeat(0));
            let added = addrs(keys.added).zip(flags.map(PexFlags));
            message.added.extend(added);
            message.dropped.extend(addrs(keys.dropped));
        }
        Ok(message)
    }

    /// The payload to send under the id that the peer's handshake named.
    pub fn encode(&self) -> Bytes {
        let mut entries: [(&[u8], Vec<u8>); 6] = Default::default();
        for (index, keys) in PEX_KEYS.into_iter().enumerate() {
            // In the order that sorted keys have: added, added.f, added6, added6.f, dropped, …
            let of_family = |addr: &SocketAddr| Family::of(addr) == keys.family;
            let (mut addrs, mut bits) = (Vec::new(), Vec::new());
            for (addr, PexFlags(flags)) in self.added.iter().filter(|(addr, _)| of_family(addr)) {
                compact::write_addr(&mut addrs, addr);
                bits.push(*flags);
            }
            let mut left = Vec::new();
            for addr in self.dropped.iter().filter(|addr| of_family(addr)) {
                compact::write_addr(&mut left, addr);
            }
            entries[index * 2] = (keys.added, addrs);
            entries[index * 2 + 1] = (keys.flags, bits);
            entries[index + 4] = (keys.dropped, left);
        }
        let mut out = b"d".to_vec();
        for (key, bytes) in entries {
            // Some clients expect the three original keys always.
            if !bytes.is_empty() || matches!(key, b"added" | b"added.f" | b"dropped") {
                write_bytes(&mut out, key);
                write_bytes(&mut out, &bytes);
            }
        }
        out.push(b'e');
        out.into()
    }
}

/// The keys of an address family.
struct PexKeys {
    family: Family,
    added: &'static [u8],
    flags: &'static [u8],
    dropped: &'static [u8],
}

const PEX_KEYS: [PexKeys; 2] = [
    PexKeys {
        family: Family::V4,
        added: b"added",
        flags: b"added.f",
        dropped: b"dropped",
    },
    PexKeys {
        family: Family::V6,
        added: b"added6",
        flags: b"added6.f",
        dropped: b"dropped6",
    },
];

/// A length of metadata that can be true.
fn metadata_len(claimed: i64) -> Option<u32> {
    let len = u32::try_from(claimed).ok()?;
    (1..=MAX_METADATA).contains(&len).then_some(len)
}

fn write_entry(out: &mut Vec<u8>, key: &[u8], value: Option<impl Into<i64>>) {
    if let Some(value) = value {
        write_bytes(out, key);
        write_int(out, value.into());
    }
}

/// BEP 9: the values of `msg_type`.
const REQUEST: i64 = 0;
const DATA: i64 = 1;
const REJECT: i64 = 2;

/// BEP 11: at most 50 added and 50 dropped in one message.
const MAX_PEX: usize = 50;
/// Ours: half a million files with their hashes fit; two of some thousand real peers claim 2 GB.
const MAX_METADATA: u32 = 32 * 1024 * 1024;
/// Ours: real clients name about ten extensions.
const MAX_EXTENSIONS: usize = 64;
/// Ours: what a table of peers can show.
const CLIENT_LEN: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn handshakes_round_trip() {
        let handshake = ExtensionHandshake {
            ut_metadata: Some(3),
            ut_pex: Some(1),
            metadata_size: Some(31_235),
            client: Some("probe 1.0".into()),
            listen_port: Some(6881),
            request_queue: Some(250),
            your_ip: Some([203, 0, 113, 7].into()),
            upload_only: true,
        };
        let bytes = handshake.encode();
        assert!(bencode::scan(&bytes, Limits::EXTENSION).unwrap().canonical);
        assert_eq!(ExtensionHandshake::decode(&bytes), Ok(handshake));
        let empty = ExtensionHandshake::default();
        assert_eq!(&empty.encode()[..], b"d1:mdee");
        assert_eq!(ExtensionHandshake::decode(b"d1:mdee"), Ok(empty));
    }

    #[test]
    fn later_handshakes_add_to_earlier_ones() {
        let mut known = ExtensionHandshake::decode(b"d1:md11:ut_metadatai3e6:ut_pexi1ee1:v1:xe");
        let known = known.as_mut().unwrap();
        known
            .update(b"d1:md6:ut_pexi0ee11:upload_onlyi1ee")
            .unwrap();
        assert_eq!((known.ut_metadata, known.ut_pex), (Some(3), None));
        assert_eq!(known.client.as_deref(), Some("x"));
        assert!(known.upload_only);
    }

    #[test]
    fn client_names_are_short_and_printable() {
        let payload = [&b"d1:v300:\x1b["[..], &[b'x'; 298], b"e"].concat();
        let client = ExtensionHandshake::decode(&payload).unwrap().client;
        let client = client.unwrap();
        assert!(client.starts_with("\\u{1b}[xxx"), "{client}");
        assert_eq!(client.chars().count(), 64);
    }

    #[test]
    fn metadata_messages_round_trip_and_share_the_payload() {
        for message in [
            MetadataMessage::Request { piece: 0 },
            MetadataMessage::Reject { piece: u32::MAX },
            MetadataMessage::Unknown,
            MetadataMessage::Data {
                piece: 1,
                total_size: 16_389,
                data: Bytes::from_static(b"hello"),
            },
        ] {
            let payload = message.encode();
            let decoded = MetadataMessage::decode(&payload).unwrap();
            assert_eq!(decoded, message);
            if let MetadataMessage::Data { data, .. } = decoded {
                assert_eq!(data.as_ptr(), payload[payload.len() - 5..].as_ptr());
            }
        }
    }

    #[test]
    fn metadata_numbers_out_of_range_are_refused() {
        for (payload, field) in [
            ("d8:msg_typei0e5:piecei-9223372036854775808ee", "piece"),
            ("d8:msg_typei0e5:piecei4294967296ee", "piece"),
            ("d8:msg_typei0ee", "piece"),
            ("d5:piecei0ee", "msg_type"),
            ("d8:msg_type1:05:piecei0ee", "msg_type"),
            ("d8:msg_typei1e5:piecei0ee", "total_size"),
            ("d8:msg_typei1e5:piecei0e10:total_sizei0ee", "total_size"),
            (
                "d8:msg_typei1e5:piecei0e10:total_sizei33554433ee",
                "total_size",
            ),
            ("le", "dictionary"),
        ] {
            let refused = MetadataMessage::decode(&Bytes::from(payload));
            assert_eq!(refused, Err(ExtensionError::Field(field)), "{payload}");
        }
        let long = [
            &b"d8:msg_typei1e5:piecei0e10:total_sizei9ee"[..],
            &[0; 16_385],
        ]
        .concat();
        let refused = MetadataMessage::decode(&long.into());
        assert_eq!(refused, Err(ExtensionError::Field("data")));
    }

    #[test]
    fn pex_round_trips_and_is_capped() {
        let addr = |n: u16| SocketAddr::from(([203, 0, 113, 7], n));
        let addr6 = |n: u16| SocketAddr::from(([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1], n));
        let message = PexMessage {
            added: vec![(addr(1), PexFlags(0x10)), (addr6(2), PexFlags(0x02))],
            dropped: vec![addr(3), addr6(4)],
        };
        let bytes = message.encode();
        assert!(bencode::scan(&bytes, Limits::EXTENSION).unwrap().canonical);
        assert_eq!(PexMessage::decode(&bytes), Ok(message));

        let flood = PexMessage {
            added: (0..300).map(|n| (addr(n), PexFlags(0))).collect(),
            dropped: (0..300).map(addr6).collect(),
        };
        let kept = PexMessage::decode(&flood.encode()).unwrap();
        assert_eq!((kept.added.len(), kept.dropped.len()), (50, 50));
    }

    #[test]
    fn pex_flags_that_are_missing_are_zero_and_cut_lists_are_empty() {
        let kept = PexMessage::decode(b"d5:added12:\x01\x02\x03\x04\x00\x05\x01\x02\x03\x04\x00\x067:added.f1:\x107:dropped5:abcdee");
        let kept = kept.unwrap();
        let flags: Vec<_> = kept.added.iter().map(|(_, flags)| flags.0).collect();
        assert_eq!((flags, kept.dropped.len()), (vec![0x10, 0], 0));
    }
}
