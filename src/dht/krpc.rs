//! KRPC, the DHT's messages: bytes to [`Message`] and back ([BEP 5]; 32 `want`, 33 `scrape`, 42
//! `ip`, 43 `ro`; items, 44, and samples, 51, are in `items`).
//!
//! A decoded message borrows the datagram and an encoded one is appended to a caller's buffer, so
//! neither direction allocates. Foreign transaction ids are opaque bytes: libtorrent sends two,
//! others four, and all must come back as they were. What to answer is decided in `responder`,
//! which matching query a reply belongs to in `transactions`.
//!
//! [BEP 5]: https://www.bittorrent.org/beps/bep_0005.html

mod fault;
mod items;

use std::net::SocketAddr;

pub use fault::{
    CAS_MISMATCH, Fault, GENERIC_ERROR, INVALID_SIGNATURE, METHOD_UNKNOWN, PROTOCOL_ERROR,
    SALT_TOO_BIG, SEQ_TOO_LOW, SERVER_ERROR, VALUE_TOO_BIG,
};
pub use items::{Filters, Put, Sample, Signed};

use items::{ItemArguments, ReplyExtras, write_flag};

use crate::{
    bencode::{self, Dict, Limits, List, Value, write_bytes, write_int},
    compact::{self, Family},
    ids::{InfoHash, NodeId},
};

/// One datagram.
#[derive(Debug, Clone, Copy)]
pub struct Message<'a> {
    /// The querier's transaction id, to be echoed.
    pub tid: &'a [u8],
    /// Client and version, where given. Not UTF-8 in general.
    pub version: Option<&'a [u8]>,
    /// BEP 42: in a reply, the querier's address as the responder sees it.
    pub ip: Option<SocketAddr>,
    /// BEP 43: the sender answers no queries and must not enter a routing table.
    pub read_only: bool,
    /// What it says.
    pub body: Body<'a>,
}

/// The three kinds of message, and what is none but has enough of a query to be answered.
#[derive(Debug, Clone, Copy)]
pub enum Body<'a> {
    /// `y` is `q`.
    Query(Query<'a>),
    /// `y` is `r`.
    Reply(Reply<'a>),
    /// `y` is `r`, but there is no id of 20 bytes in it.
    BadReply,
    /// `y` is `e`.
    Error {
        /// The code; `None` if the error itself is malformed.
        code: Option<i64>,
        /// The text, for humans.
        text: &'a [u8],
    },
    /// A dictionary that is not a valid message of any kind.
    Malformed(Fault),
}

/// A question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Query<'a> {
    /// The sender's id.
    pub id: NodeId,
    /// What is asked.
    pub method: Method<'a>,
    /// BEP 32: of which families the sender wants nodes.
    pub want: Option<Want>,
}

/// The methods of BEP 5, 44 and 51, and any other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method<'a> {
    /// `ping`.
    Ping,
    /// `find_node`.
    FindNode {
        /// The point to be close to.
        target: NodeId,
    },
    /// `get_peers`.
    GetPeers {
        /// The torrent.
        info_hash: InfoHash,
        /// BEP 33: peers that are no seeds are wanted, as the sender is a seed itself.
        noseed: bool,
        /// BEP 33: filters of all seeds and all peers are wanted.
        scrape: bool,
    },
    /// `announce_peer`.
    AnnouncePeer {
        /// The torrent.
        info_hash: InfoHash,
        /// The port, checked to lie in 1..=65535; `None` says the one the datagram came from.
        port: Option<u16>,
        /// What our `get_peers` reply handed out.
        token: &'a [u8],
        /// BEP 33: it is a seed.
        seed: bool,
    },
    /// `get` (BEP 44).
    Get {
        /// The item.
        target: NodeId,
        /// The value is wanted only if its sequence number is higher.
        seq: Option<i64>,
    },
    /// `put` (BEP 44).
    Put(Put<'a>),
    /// `sample_infohashes` (BEP 51).
    SampleInfohashes {
        /// The point to which nodes should be close.
        target: NodeId,
    },
    /// A method that we do not know, with the `target` or `info_hash` it named.
    Other {
        /// Its name.
        name: &'a [u8],
        /// A point in the key space.
        target: Option<NodeId>,
    },
}

/// BEP 32 `want`; strings other than these two are ignored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Want {
    /// `n4`.
    pub v4: bool,
    /// `n6`.
    pub v6: bool,
}

/// An answer. A field that a method does not have is empty.
#[derive(Debug, Clone, Copy)]
pub struct Reply<'a> {
    /// The responder's id.
    pub id: NodeId,
    /// Compact IPv4 nodes, unchecked: a list cut in the middle yields none.
    pub nodes: Option<&'a [u8]>,
    /// Compact IPv6 nodes.
    pub nodes6: Option<&'a [u8]>,
    /// What an `announce_peer` to this node must show.
    pub token: Option<&'a [u8]>,
    /// Peers.
    pub values: Values<'a>,
    /// BEP 33: who announced the torrent.
    pub filters: Option<Filters<'a>>,
    /// BEP 44 `v`: an item's value, bencoded.
    pub value: Option<&'a [u8]>,
    /// BEP 44 `k`: its owner's public key.
    pub key: Option<&'a [u8; 32]>,
    /// BEP 44 `sig`.
    pub signature: Option<&'a [u8; 64]>,
    /// BEP 44: its sequence number, which stands even where the value was not wanted.
    pub seq: Option<i64>,
    /// BEP 51: some of the torrents of which the node holds peers.
    pub sample: Option<Sample<'a>>,
}

impl<'a> Reply<'a> {
    /// The reply to a ping.
    pub fn new(id: NodeId) -> Self {
        Self {
            id,
            nodes: None,
            nodes6: None,
            token: None,
            values: Values::None,
            filters: None,
            value: None,
            key: None,
            signature: None,
            seq: None,
            sample: None,
        }
    }

    /// The nodes of one family.
    pub fn contacts(&self, family: Family) -> impl Iterator<Item = (NodeId, SocketAddr)> + 'a {
        let nodes = match family {
            Family::V4 => self.nodes,
            Family::V6 => self.nodes6,
        };
        compact::read_nodes(nodes.unwrap_or_default(), family)
    }
}

/// The peers in a reply.
#[derive(Debug, Clone, Copy)]
pub enum Values<'a> {
    /// No such field.
    None,
    /// The list as it stood in a datagram.
    List(List<'a>),
    /// Compact addresses of one family, end to end: what we encode from.
    Packed(&'a [u8], Family),
}

impl<'a> Values<'a> {
    /// The addresses that have the length of one.
    pub fn peers(&self) -> impl Iterator<Item = SocketAddr> + 'a {
        let (list, packed) = match *self {
            Self::None => (None, None),
            Self::List(list) => (Some(list), None),
            Self::Packed(bytes, family) => (None, Some((bytes, family))),
        };
        let listed = list.into_iter().flatten();
        let listed = listed.filter_map(|value| compact::read_addr(value.as_bytes()?));
        let packed = packed.into_iter();
        listed.chain(packed.flat_map(|(bytes, family)| compact::read_addrs(bytes, family)))
    }
}

/// Why a datagram is answered with silence: it is not even a dictionary with a transaction id, so
/// the sender may be anything, a spoofed victim included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The scan refused it.
    #[error(transparent)]
    Bencode(#[from] bencode::Error),
    /// Bencode, but not a dictionary.
    #[error("not a KRPC message: no dictionary")]
    NotADictionary,
    /// `t` is missing, empty, or longer than [`MAX_TID`].
    #[error("not a KRPC message: no transaction id of 1 to {MAX_TID} bytes")]
    NoTransactionId,
}

/// Ours: more than any client sends, and small enough that echoing it amplifies nothing.
pub const MAX_TID: usize = 32;

/// Reads one datagram.
pub fn decode(datagram: &[u8]) -> Result<Message<'_>, DecodeError> {
    let value = bencode::scan_exact(datagram, Limits::KRPC)?;
    let dict = value.as_dict().ok_or(DecodeError::NotADictionary)?;
    let top = Top::read(dict);
    let tid = top.tid.filter(|tid| (1..=MAX_TID).contains(&tid.len()));
    Ok(Message {
        tid: tid.ok_or(DecodeError::NoTransactionId)?,
        version: top.version,
        ip: top.ip.and_then(compact::read_addr),
        read_only: top.read_only,
        body: match top.kind {
            Some(b"q") => read_query(&top).map_or_else(Body::Malformed, Body::Query),
            Some(b"r") => read_reply(&top).map_or(Body::BadReply, Body::Reply),
            Some(b"e") => read_error(&top),
            _ => Body::Malformed(Fault::NoKind),
        },
    })
}

/// The entries of the outer dictionary, found in one pass.
#[derive(Default)]
struct Top<'a> {
    kind: Option<&'a [u8]>,
    tid: Option<&'a [u8]>,
    method: Option<&'a [u8]>,
    arguments: Option<Dict<'a>>,
    reply: Option<Dict<'a>>,
    error: Option<List<'a>>,
    version: Option<&'a [u8]>,
    ip: Option<&'a [u8]>,
    read_only: bool,
}

impl<'a> Top<'a> {
    fn read(dict: Dict<'a>) -> Self {
        let mut top = Self::default();
        for (key, value) in dict {
            match key {
                b"y" => top.kind = value.as_bytes(),
                b"t" => top.tid = value.as_bytes(),
                b"q" => top.method = value.as_bytes(),
                b"a" => top.arguments = value.as_dict(),
                b"r" => top.reply = value.as_dict(),
                b"e" => top.error = value.as_list(),
                b"v" => top.version = value.as_bytes(),
                b"ip" => top.ip = value.as_bytes(),
                b"ro" => top.read_only = value.as_int() == Some(1),
                _ => {}
            }
        }
        top
    }
}

#[derive(Default)]
struct Arguments<'a> {
    id: Option<NodeId>,
    target: Option<NodeId>,
    info_hash: Option<InfoHash>,
    port: Option<i64>,
    implied_port: bool,
    token: Option<&'a [u8]>,
    want: Option<Want>,
    noseed: bool,
    scrape: bool,
    seed: bool,
    item: ItemArguments<'a>,
}

impl<'a> Arguments<'a> {
    fn read(dict: Dict<'a>) -> Self {
        let mut arguments = Self::default();
        for (key, value) in dict {
            match key {
                b"id" => arguments.id = value.as_bytes().and_then(NodeId::from_slice),
                b"target" => arguments.target = value.as_bytes().and_then(NodeId::from_slice),
                b"info_hash" => {
                    arguments.info_hash = value.as_bytes().and_then(InfoHash::from_slice);
                }
                b"port" => arguments.port = value.as_int(),
                b"implied_port" => {
                    arguments.implied_port = value.as_int().is_some_and(|implied| implied != 0);
                }
                b"token" => arguments.token = value.as_bytes(),
                b"want" => arguments.want = read_want(value),
                b"noseed" => arguments.noseed = value.as_int() == Some(1),
                b"scrape" => arguments.scrape = value.as_int() == Some(1),
                b"seed" => arguments.seed = value.as_int() == Some(1),
                _ => arguments.item.read(key, value),
            }
        }
        arguments
    }
}

fn read_want(value: Value<'_>) -> Option<Want> {
    let mut want = Want::default();
    for family in value.as_list()? {
        match family.as_bytes() {
            Some(b"n4") => want.v4 = true,
            Some(b"n6") => want.v6 = true,
            _ => {}
        }
    }
    Some(want)
}

fn read_query<'a>(top: &Top<'a>) -> Result<Query<'a>, Fault> {
    let name = top.method.ok_or(Fault::NoMethod)?;
    let arguments = Arguments::read(top.arguments.ok_or(Fault::NoArguments)?);
    let id = arguments.id.ok_or(Fault::BadId)?;
    let method = match name {
        b"ping" => Method::Ping,
        b"find_node" => Method::FindNode {
            target: arguments.target.ok_or(Fault::BadTarget)?,
        },
        b"get_peers" => Method::GetPeers {
            info_hash: arguments.info_hash.ok_or(Fault::BadInfoHash)?,
            noseed: arguments.noseed,
            scrape: arguments.scrape,
        },
        b"announce_peer" => Method::AnnouncePeer {
            info_hash: arguments.info_hash.ok_or(Fault::BadInfoHash)?,
            port: match arguments.implied_port {
                true => None,
                false => Some(read_port(arguments.port)?),
            },
            token: arguments.token.ok_or(Fault::BadToken)?,
            seed: arguments.seed,
        },
        b"get" => Method::Get {
            target: arguments.target.ok_or(Fault::BadTarget)?,
            seq: arguments.item.wanted_seq()?,
        },
        b"put" => Method::Put(arguments.item.put(arguments.token)?),
        b"sample_infohashes" => Method::SampleInfohashes {
            target: arguments.target.ok_or(Fault::BadTarget)?,
        },
        _ => {
            let info_hash = arguments.info_hash.map(|hash| hash.as_target());
            let target = arguments.target.or(info_hash);
            Method::Other { name, target }
        }
    };
    Ok(Query {
        id,
        method,
        want: arguments.want,
    })
}

/// Checked as 64 bits, since clients that truncate first take 2^32+7000 for 7000.
fn read_port(port: Option<i64>) -> Result<u16, Fault> {
    let port = port.and_then(|port| u16::try_from(port).ok());
    port.filter(|port| *port != 0).ok_or(Fault::BadPort)
}

fn read_reply<'a>(top: &Top<'a>) -> Option<Reply<'a>> {
    let mut id = None;
    let mut reply = Reply::new(NodeId::new([0; 20]));
    let mut extras = ReplyExtras::default();
    for (key, value) in top.reply? {
        match key {
            b"id" => id = value.as_bytes().and_then(NodeId::from_slice),
            b"nodes" => reply.nodes = value.as_bytes(),
            b"nodes6" => reply.nodes6 = value.as_bytes(),
            b"token" => reply.token = value.as_bytes(),
            b"values" => reply.values = value.as_list().map_or(Values::None, Values::List),
            _ => extras.read(key, value),
        }
    }
    reply.id = id?;
    extras.add_to(&mut reply);
    Some(reply)
}

fn read_error<'a>(top: &Top<'a>) -> Body<'a> {
    let mut items = top.error.into_iter().flatten();
    let code = items.next().and_then(|code| code.as_int());
    let text = items.next().and_then(|text| text.as_bytes());
    Body::Error {
        code,
        text: text.unwrap_or_default(),
    }
}

impl Message<'_> {
    /// Appends the datagram, in canonical form.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.push(b'd');
        let kind = match &self.body {
            Body::Query(query) => {
                query.encode_arguments(out);
                b'q'
            }
            Body::Error { code, text } => {
                out.extend_from_slice(b"1:el");
                write_int(out, code.unwrap_or(PROTOCOL_ERROR));
                write_bytes(out, text);
                out.push(b'e');
                b'e'
            }
            Body::Malformed(fault) => {
                let (code, text) = fault.reply();
                out.extend_from_slice(b"1:el");
                write_int(out, code);
                write_bytes(out, text.as_bytes());
                out.push(b'e');
                b'e'
            }
            Body::Reply(_) | Body::BadReply => b'r',
        };
        if let Some(ip) = &self.ip {
            out.extend_from_slice(match Family::of(ip) {
                Family::V4 => b"2:ip6:",
                Family::V6 => b"2:ip18:",
            });
            compact::write_addr(out, ip);
        }
        match &self.body {
            Body::Query(query) => {
                out.extend_from_slice(b"1:q");
                write_bytes(out, query.method.name());
            }
            Body::Reply(reply) => reply.encode(out),
            Body::BadReply => out.extend_from_slice(b"1:rde"),
            Body::Error { .. } | Body::Malformed(_) => {}
        }
        if self.read_only {
            out.extend_from_slice(b"2:roi1e");
        }
        out.extend_from_slice(b"1:t");
        write_bytes(out, self.tid);
        if let Some(version) = self.version {
            out.extend_from_slice(b"1:v");
            write_bytes(out, version);
        }
        out.extend_from_slice(b"1:y1:");
        out.extend_from_slice(&[kind, b'e']);
    }
}

impl Query<'_> {
    fn encode_arguments(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"1:ad");
        if let Method::Put(put) = &self.method {
            put.encode_cas(out);
        }
        out.extend_from_slice(b"2:id20:");
        out.extend_from_slice(self.id.as_bytes());
        if let Method::AnnouncePeer { port: None, .. } = self.method {
            out.extend_from_slice(b"12:implied_porti1e");
        }
        match self.method {
            Method::Ping | Method::Other { target: None, .. } => {}
            Method::FindNode { target }
            | Method::SampleInfohashes { target }
            | Method::Other {
                target: Some(target),
                ..
            } => {
                out.extend_from_slice(b"6:target20:");
                out.extend_from_slice(target.as_bytes());
            }
            Method::GetPeers {
                info_hash,
                noseed,
                scrape,
            } => {
                out.extend_from_slice(b"9:info_hash20:");
                out.extend_from_slice(info_hash.as_bytes());
                write_flag(out, b"6:noseed", noseed);
                write_flag(out, b"6:scrape", scrape);
            }
            Method::AnnouncePeer {
                info_hash,
                port,
                token,
                seed,
            } => {
                out.extend_from_slice(b"9:info_hash20:");
                out.extend_from_slice(info_hash.as_bytes());
                out.extend_from_slice(b"4:port");
                write_int(out, i64::from(port.unwrap_or(PORT_WHEN_IMPLIED)));
                write_flag(out, b"4:seed", seed);
                out.extend_from_slice(b"5:token");
                write_bytes(out, token);
            }
            Method::Get { target, seq } => {
                if let Some(seq) = seq {
                    out.extend_from_slice(b"3:seq");
                    write_int(out, seq);
                }
                out.extend_from_slice(b"6:target20:");
                out.extend_from_slice(target.as_bytes());
            }
            Method::Put(put) => put.encode(out),
        }
        if let Some(want) = self.want {
            out.extend_from_slice(b"4:wantl");
            if want.v4 {
                out.extend_from_slice(b"2:n4");
            }
            if want.v6 {
                out.extend_from_slice(b"2:n6");
            }
            out.push(b'e');
        }
        out.push(b'e');
    }
}

/// Ours: BEP 5 asks for a port even where it is ignored, and some nodes refuse 0.
const PORT_WHEN_IMPLIED: u16 = 6881;

impl<'a> Method<'a> {
    /// A `get_peers` without the wishes of BEP 33.
    pub fn get_peers(info_hash: InfoHash) -> Self {
        Self::GetPeers {
            info_hash,
            noseed: false,
            scrape: false,
        }
    }

    /// The name on the wire.
    pub fn name(&self) -> &'a [u8] {
        match self {
            Self::Ping => b"ping",
            Self::FindNode { .. } => b"find_node",
            Self::GetPeers { .. } => b"get_peers",
            Self::AnnouncePeer { .. } => b"announce_peer",
            Self::Get { .. } => b"get",
            Self::Put(_) => b"put",
            Self::SampleInfohashes { .. } => b"sample_infohashes",
            Self::Other { name, .. } => name,
        }
    }
}

impl Reply<'_> {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"1:rd");
        if let Some(filters) = &self.filters {
            filters.encode(out);
        }
        out.extend_from_slice(b"2:id20:");
        out.extend_from_slice(self.id.as_bytes());
        if let Some(sample) = &self.sample {
            out.extend_from_slice(b"8:interval");
            write_int(out, sample.interval);
        }
        if let Some(key) = self.key {
            out.extend_from_slice(b"1:k32:");
            out.extend_from_slice(key);
        }
        if let Some(nodes) = self.nodes {
            out.extend_from_slice(b"5:nodes");
            write_bytes(out, nodes);
        }
        if let Some(nodes) = self.nodes6 {
            out.extend_from_slice(b"6:nodes6");
            write_bytes(out, nodes);
        }
        if let Some(sample) = &self.sample {
            out.extend_from_slice(b"3:num");
            write_int(out, sample.num);
            out.extend_from_slice(b"7:samples");
            write_bytes(out, sample.hashes);
        }
        if let Some(seq) = self.seq {
            out.extend_from_slice(b"3:seq");
            write_int(out, seq);
        }
        if let Some(signature) = self.signature {
            out.extend_from_slice(b"3:sig64:");
            out.extend_from_slice(signature);
        }
        if let Some(token) = self.token {
            out.extend_from_slice(b"5:token");
            write_bytes(out, token);
        }
        if let Some(value) = self.value {
            out.extend_from_slice(b"1:v");
            out.extend_from_slice(value);
        }
        match self.values {
            Values::None => {}
            Values::List(list) => {
                out.extend_from_slice(b"6:valuesl");
                for value in list {
                    out.extend_from_slice(value.raw());
                }
                out.push(b'e');
            }
            Values::Packed(bytes, family) => {
                out.extend_from_slice(b"6:valuesl");
                for peer in bytes.chunks_exact(family.peer_len()) {
                    write_bytes(out, peer);
                }
                out.push(b'e');
            }
        }
        out.push(b'e');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_below_the_dictionary_with_a_transaction_id() {
        let rows: [(&[u8], bool); 8] = [
            (b"", true),
            (b"i1e", true),
            (b"le", true),
            (b"de", true),
            (b"d1:t0:e", true),
            (b"d1:t33:xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxe", true),
            (b"d1:t2:aae", false),
            (b"d1:t2:aaeX", true),
        ];
        for (bytes, silent) in rows {
            assert_eq!(decode(bytes).is_err(), silent, "{}", bytes.escape_ascii());
        }
        assert!(decode(&[b'l'; 2048]).is_err());
    }

    #[test]
    fn ports_are_checked_at_full_width() {
        for (port, good) in [
            ("i1e", true),
            ("i65535e", true),
            ("i0e", false),
            ("i65536e", false),
            ("i-1e", false),
            ("i4294974296e", false),
            ("4:6881", false),
        ] {
            let bytes = format!(
                "d1:ad2:id20:{id}9:info_hash20:{id}4:port{port}5:token1:xe\
                 1:q13:announce_peer1:t1:x1:y1:qe",
                id = "abcdefghij0123456789",
            );
            let body = decode(bytes.as_bytes()).expect("a dictionary").body;
            let expected = match good {
                true => matches!(body, Body::Query(_)),
                false => matches!(body, Body::Malformed(Fault::BadPort)),
            };
            assert!(expected, "{port}");
        }
    }

    #[test]
    fn replies_round_trip_with_every_field() {
        let peers = [10, 0, 0, 1, 0x1a, 0xe1, 10, 0, 0, 2, 0x1a, 0xe1];
        let reply = Reply {
            nodes: Some(&[7; 52]),
            token: Some(b"tok"),
            values: Values::Packed(&peers, Family::V4),
            ..Reply::new(NodeId::new([9; 20]))
        };
        let message = Message {
            tid: b"\0\xff\x01",
            version: Some(b"MS\0\x01"),
            ip: Some("203.0.113.7:6881".parse().expect("an address")),
            read_only: false,
            body: Body::Reply(reply),
        };
        let mut bytes = Vec::new();
        message.encode(&mut bytes);
        let again = decode(&bytes).expect("our own encoding");
        assert_eq!((again.tid, again.ip), (message.tid, message.ip));
        let Body::Reply(read) = again.body else {
            panic!("{again:?}")
        };
        assert_eq!(read.contacts(Family::V4).count(), 2);
        assert_eq!(read.contacts(Family::V6).count(), 0);
        assert!(read.values.peers().eq(reply.values.peers()));
        let scanned = bencode::scan(&bytes, Limits::KRPC).expect("our own encoding");
        assert!(scanned.canonical);
    }
}
