//! Bytes from the BEPs and computed ones: bencode, peer wire, extensions, compact addresses,
//! allowed-fast sets, magnet links.
use std::{fs, net::SocketAddr, path::Path, thread};

use bytes::{Bytes, BytesMut};
use mainswarm::{
    bencode::{self, Limits, Value},
    bitfield::Bitfield,
    compact::{self, Family},
    ids::NodeId,
    metainfo::{Block, Geometry, Magnet, Metainfo, PieceIndex},
    wire::{
        DecodeError, Decoder, Handshake, Message,
        extension::{ExtensionHandshake, MetadataMessage, PexFlags, PexMessage},
        fast::allowed_fast_set,
    },
};
use serde_json::Value as Json;

fn json(name: &str) -> Json {
    let path = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors")).join(name);
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

fn rows<'a>(json: &'a Json, key: &str) -> &'a [Json] {
    let rows = json[key].as_array().unwrap();
    assert!(!rows.is_empty());
    rows
}

fn text<'a>(json: &'a Json, key: &str) -> &'a str {
    json[key].as_str().unwrap()
}

fn hex(json: &Json, key: &str) -> Vec<u8> {
    unhex(text(json, key))
}

fn unhex(hex: &str) -> Vec<u8> {
    let digits: Vec<u32> = hex.chars().map(|char| char.to_digit(16).unwrap()).collect();
    let (pairs, rest) = digits.as_chunks();
    assert!(rest.is_empty());
    pairs
        .iter()
        .map(|[high, low]| (high * 16 + low) as u8)
        .collect()
}

fn decode(bytes: &[u8]) -> Result<Option<Message>, DecodeError> {
    Decoder::new().decode(&mut BytesMut::from(bytes))
}

fn encode(message: &Message) -> Vec<u8> {
    let mut out = Vec::new();
    let rest = message.encode(&mut out).unwrap_or_default();
    out.extend_from_slice(&rest);
    out
}

// Bencode.

/// Compares a value with the vectors' notation of it and writes it again.
fn check_value(value: Value<'_>, expected: &Json, out: &mut Vec<u8>) {
    if let Some(bytes) = expected["b"].as_str() {
        assert_eq!(value.as_bytes().unwrap(), unhex(bytes));
        bencode::write_bytes(out, value.as_bytes().unwrap());
    } else if let Some(int) = expected["i"].as_str() {
        assert_eq!(value.as_int(), int.parse().ok());
        match value.as_int() {
            Some(int) => bencode::write_int(out, int),
            None => out.extend_from_slice(value.raw()),
        }
    } else if let Some(items) = expected["l"].as_array() {
        let list: Vec<_> = value.as_list().unwrap().collect();
        assert_eq!(list.len(), items.len());
        out.push(b'l');
        for (value, expected) in list.into_iter().zip(items) {
            check_value(value, expected, out);
        }
        out.push(b'e');
    } else {
        let entries = expected["d"].as_array().unwrap();
        let dict: Vec<_> = value.as_dict().unwrap().collect();
        assert_eq!(dict.len(), entries.len());
        out.push(b'd');
        for ((key, value), expected) in dict.into_iter().zip(entries) {
            assert_eq!(key, unhex(expected[0].as_str().unwrap()));
            bencode::write_bytes(out, key);
            check_value(value, &expected[1], out);
        }
        out.push(b'e');
    }
}

#[test]
fn good_bencode_is_read_and_written_back() {
    for row in rows(&json("bencode.json"), "good") {
        let bytes = hex(row, "hex");
        let scan = bencode::scan(&bytes, Limits::FILE).unwrap();
        assert!(scan.canonical && scan.rest.is_empty(), "{row}");
        let mut out = Vec::new();
        check_value(scan.value, &row["value"], &mut out);
        assert_eq!(out, bytes, "{row}");
    }
}

#[test]
fn bad_bencode_is_refused() {
    for row in rows(&json("bencode.json"), "bad") {
        let bytes = hex(row, "hex");
        assert!(bencode::scan(&bytes, Limits::FILE).is_err(), "{row}");
    }
}

#[test]
fn lenient_bencode_is_judged_as_documented() {
    let vectors = json("bencode.json");
    for row in rows(&vectors, "lenient") {
        let bytes = hex(row, "hex");
        let scan = bencode::scan(&bytes, Limits::FILE);
        let judged = match scan {
            Err(_) => "refused",
            Ok(scan) if !scan.rest.is_empty() => "trailing",
            Ok(scan) if scan.canonical => "canonical",
            Ok(_) => "tolerated",
        };
        let expected = match text(row, "name") {
            "negative zero"
            | "leading zero int"
            | "leading zero negative int"
            | "leading zero length"
            | "zero length written 00:"
            | "unsorted keys"
            | "duplicate key" => "tolerated",
            "plus sign int" | "list key in an ignored dict" | "int key in an ignored dict" => {
                "refused"
            }
            "trailing bytes" | "list closed twice" | "trailing newline" => "trailing",
            name => panic!("no rule for {name}"),
        };
        assert_eq!(judged, expected, "{row}");
        assert_eq!(
            bencode::scan_exact(&bytes, Limits::FILE).is_ok(),
            expected == "tolerated",
            "{row}"
        );
    }
}

#[test]
fn bombs_fit_a_small_stack() {
    let vectors = json("bencode.json");
    let bombs: Vec<(String, Vec<u8>)> = rows(&vectors["bombs"], "items")
        .iter()
        .map(|row| {
            let count = row["count"].as_u64().unwrap() as usize;
            let (prefix, suffix) = (hex(row, "prefix_hex"), hex(row, "suffix_hex"));
            let bytes = [prefix, hex(row, "unit_hex").repeat(count), suffix].concat();
            (text(row, "applies_to").to_owned(), bytes)
        })
        .collect();
    let defuse = move || {
        for (applies_to, bytes) in bombs {
            assert!(bencode::scan(&bytes, Limits::KRPC).is_err());
            assert!(Metainfo::from_torrent(&bytes).is_err());
            assert!(ExtensionHandshake::decode(&bytes).is_err());
            assert!(PexMessage::decode(&bytes).is_err());
            assert!(MetadataMessage::decode(&bytes.clone().into()).is_err());
            if applies_to == "peer message" {
                assert!(bencode::scan(&bytes, Limits::EXTENSION).is_err());
            }
            // A long flat list is a legal file; anything else of these is not.
            let flat =
                bytes.starts_with(b"lle") || bytes.starts_with(b"ld") || bytes.starts_with(b"li");
            assert_eq!(bencode::scan(&bytes, Limits::FILE).is_ok(), flat);
        }
    };
    let thread = thread::Builder::new().stack_size(128 * 1024).spawn(defuse);
    thread.unwrap().join().unwrap();
}

// Peer wire.

#[test]
fn handshakes_match() {
    for row in rows(&json("peer_wire.json"), "handshake") {
        let bytes: [u8; 68] = hex(row, "hex").try_into().unwrap();
        let handshake = Handshake::decode(&bytes).unwrap();
        assert_eq!(handshake.encode(), bytes);
        let capable = row["name"] != "plain";
        assert_eq!(handshake.reserved.dht(), capable);
        assert_eq!(handshake.reserved.fast(), capable);
        assert_eq!(handshake.reserved.extension(), capable);
        if let Some(info_hash) = row["info_hash"].as_str() {
            assert_eq!(handshake.info_hash.to_string(), info_hash);
            assert_eq!(row["peer_id"], handshake.peer_id.to_string().as_str());
        }
    }
}

#[test]
fn messages_match() {
    let block = |piece, begin, len| Block {
        piece: PieceIndex(piece),
        begin,
        len,
    };
    for row in rows(&json("peer_wire.json"), "messages") {
        let expected = match text(row, "name") {
            "keep-alive" => Message::KeepAlive,
            "choke" => Message::Choke,
            "unchoke" => Message::Unchoke,
            "interested" => Message::Interested,
            "not interested" => Message::NotInterested,
            "have 5" => Message::Have(PieceIndex(5)),
            "bitfield for 10 pieces, pieces 0 and 9" => {
                Message::Bitfield(Bytes::from_static(b"\x80\x40"))
            }
            "request 1,16384,16384" => Message::Request(block(1, 16_384, 16_384)),
            "piece 1,0,'abc'" => Message::Piece {
                block: block(1, 0, 3),
                data: Bytes::from_static(b"abc"),
            },
            "cancel 1,16384,16384" => Message::Cancel(block(1, 16_384, 16_384)),
            "port 6881" => Message::Port(6881),
            "suggest 3" => Message::SuggestPiece(PieceIndex(3)),
            "have all" => Message::HaveAll,
            "have none" => Message::HaveNone,
            "reject 1,0,16384" => Message::RejectRequest(block(1, 0, 16_384)),
            "allowed fast 3" => Message::AllowedFast(PieceIndex(3)),
            "extended id 0 'de'" => Message::Extended {
                id: 0,
                payload: Bytes::from_static(b"de"),
            },
            name => panic!("no message for {name}"),
        };
        let bytes = hex(row, "hex");
        assert_eq!(encode(&expected), bytes, "{row}");
        assert_eq!(decode(&bytes), Ok(Some(expected)), "{row}");
        for cut in 0..bytes.len() {
            assert_eq!(decode(&bytes[..cut]), Ok(None), "{row} cut at {cut}");
        }
    }
}

#[test]
fn malformed_messages_are_caught_here_or_by_the_geometry() {
    // Ten pieces of 16 KiB, where a row says so; no request fits any torrent otherwise.
    let geometry = Geometry::new(163_840, 16_384).unwrap();
    for row in rows(&json("peer_wire.json"), "close_or_ignore") {
        let mut buffer = BytesMut::from(&hex(row, "hex")[..]);
        let decoded = Decoder::new().decode(&mut buffer);
        match text(row, "name") {
            "length prefix 2^32-1"
            | "length prefix 2^31"
            | "choke with payload"
            | "have with 3 bytes"
            | "request with 11 bytes"
            | "piece with 7 bytes"
            | "extended with no id byte" => assert!(decoded.is_err(), "{row}"),
            "have 10 of 10" | "have 2^32-1" => {
                let Ok(Some(Message::Have(piece))) = decoded else {
                    panic!("{row}");
                };
                assert!(piece.0 >= geometry.piece_count(), "{row}");
            }
            "bitfield one byte short" | "bitfield one byte long" | "bitfield with spare bits" => {
                let Ok(Some(Message::Bitfield(bits))) = decoded else {
                    panic!("{row}");
                };
                assert_eq!(
                    Bitfield::from_bytes(&bits, geometry.piece_count()),
                    None,
                    "{row}"
                );
            }
            "request begin+length wraps" | "request length 0" | "request 1 MiB" => {
                let Ok(Some(Message::Request(block))) = decoded else {
                    panic!("{row}");
                };
                assert!(!geometry.contains(block), "{row}");
            }
            "piece never requested" => {
                let Ok(Some(Message::Piece { block, data })) = decoded else {
                    panic!("{row}");
                };
                assert_eq!(block.len as usize, data.len(), "{row}");
            }
            "unknown id 99" => assert_eq!(decoded, Ok(Some(Message::Unknown(99)))),
            // Well formed; wrong only by what went before, which a decoder does not know.
            "bitfield after another message" => {
                assert_eq!(decoded, Ok(Some(Message::Interested)));
                let next = Decoder::new().decode(&mut buffer);
                assert!(matches!(next, Ok(Some(Message::Bitfield(_)))), "{row}");
            }
            "have all without the fast bit" => assert_eq!(decoded, Ok(Some(Message::HaveAll))),
            name => panic!("no rule for {name}"),
        }
    }
}

#[test]
fn geometry_matches() {
    for row in rows(&json("peer_wire.json"), "geometry") {
        let number = |key: &str| row[key].as_u64().unwrap();
        let geometry = Geometry::new(number("total"), number("piece_length") as u32).unwrap();
        assert_eq!(u64::from(geometry.piece_count()), number("pieces"), "{row}");
        let last = geometry.pieces().next_back();
        let last_len = last.map_or(0, |last| geometry.piece_len(last));
        let blocks = last.map_or(0, |last| geometry.blocks_in(last));
        assert_eq!(u64::from(last_len), number("last_piece"), "{row}");
        assert_eq!(u64::from(blocks), number("blocks_in_last"), "{row}");
        let block = last.and_then(|last| geometry.block(last, blocks.checked_sub(1)?));
        let block = block.map_or(0, |block| block.len);
        assert_eq!(u64::from(block), number("last_block"), "{row}");
    }
}

#[test]
fn allowed_fast_sets_match() {
    let vectors = json("bep06_allowed_fast.json");
    let derived = rows(&vectors, "derived").iter();
    for row in rows(&vectors, "published").iter().chain(derived) {
        let set = allowed_fast_set(
            text(row, "ip").parse().unwrap(),
            &text(row, "info_hash").parse().unwrap(),
            row["pieces"].as_u64().unwrap() as u32,
            row["k"].as_u64().unwrap() as usize,
        );
        let set: Json = set.into_iter().map(|piece| piece.0).collect();
        assert_eq!(set, row["set"], "{row}");
    }
}

// Extensions.

#[test]
fn published_metadata_messages_match() {
    for row in rows(&json("bep09_10_11.json"), "published") {
        let block = vec![7; 16_384];
        let mut bytes = hex(row, "hex");
        let expected = match text(row, "name") {
            "ut_metadata request" => MetadataMessage::Request { piece: 0 },
            "ut_metadata reject" => MetadataMessage::Reject { piece: 0 },
            "ut_metadata data header (BEP text)" => {
                bytes.extend_from_slice(&block);
                MetadataMessage::Data {
                    piece: 0,
                    total_size: 34_256,
                    data: block.into(),
                }
            }
            name => panic!("no message for {name}"),
        };
        assert_eq!(expected.encode(), bytes, "{row}");
        assert_eq!(
            MetadataMessage::decode(&bytes.into()),
            Ok(expected),
            "{row}"
        );
    }
}

#[test]
fn extension_messages_match_on_the_wire() {
    let handshake = |payload: &Bytes| ExtensionHandshake::decode(payload).unwrap();
    for row in rows(&json("bep09_10_11.json"), "derived") {
        let bytes = hex(row, "hex");
        let decoded = decode(&bytes);
        let extended = |expected: u8| {
            let Ok(Some(Message::Extended { id, payload })) = decoded.clone() else {
                panic!("{row}");
            };
            assert_eq!(id, expected, "{row}");
            payload
        };
        match text(row, "name") {
            "extension handshake" => {
                let decoded = handshake(&bytes.clone().into());
                assert_eq!(
                    (decoded.ut_metadata, decoded.metadata_size),
                    (Some(3), Some(31_235))
                );
                assert_eq!(decoded.encode(), bytes);
            }
            "extension handshake on the wire" => {
                let payload = extended(0);
                let decoded = handshake(&payload);
                let expected = ExtensionHandshake {
                    ut_metadata: Some(3),
                    ut_pex: Some(1),
                    metadata_size: Some(31_235),
                    client: Some("probe 1.0".into()),
                    listen_port: Some(6881),
                    request_queue: Some(250),
                    ..ExtensionHandshake::default()
                };
                assert_eq!(decoded, expected);
                assert_eq!(decoded.encode(), payload);
            }
            "disable one extension at run time" => {
                let mut known = ExtensionHandshake {
                    ut_metadata: Some(3),
                    ut_pex: Some(1),
                    ..ExtensionHandshake::default()
                };
                known.update(&extended(0)).unwrap();
                assert_eq!((known.ut_metadata, known.ut_pex), (Some(3), None));
            }
            "ut_metadata request to a peer whose id is 3" => {
                let decoded = MetadataMessage::decode(&extended(3));
                assert_eq!(decoded, Ok(MetadataMessage::Request { piece: 0 }));
            }
            "ut_metadata data with 5 bytes" => {
                let expected = MetadataMessage::Data {
                    piece: 0,
                    total_size: 5,
                    data: Bytes::from_static(b"hello"),
                };
                assert_eq!(MetadataMessage::decode(&extended(3)), Ok(expected));
            }
            "ut_pex one v4 peer added, reachable" => {
                let payload = extended(1);
                let decoded = PexMessage::decode(&payload).unwrap();
                let addr = row["peers"][0].as_str().unwrap().parse().unwrap();
                assert_eq!(decoded.added, [(addr, PexFlags(PexFlags::REACHABLE))]);
                assert_eq!(decoded.dropped, []);
                assert_eq!(decoded.encode(), payload);
            }
            name => panic!("no rule for {name}"),
        }
    }
}

#[test]
fn hostile_extension_handshakes_lose_only_what_is_wrong() {
    let vectors = json("bep09_10_11.json");
    for row in rows(&vectors, "refuse") {
        let decoded = ExtensionHandshake::decode(&hex(row, "dict_hex")).unwrap();
        let metadata = Some(1).filter(|_| text(row, "name").starts_with("metadata_size"));
        let expected = ExtensionHandshake {
            ut_metadata: metadata,
            ..ExtensionHandshake::default()
        };
        let expected = match text(row, "name") {
            "metadata_size 0"
            | "metadata_size -1"
            | "metadata_size 2^31-1"
            | "metadata_size 2^63-1"
            | "extension id 256"
            | "extension id -1"
            | "m is a list"
            | "yourip 3 bytes" => expected,
            "two names, one id" => ExtensionHandshake {
                ut_metadata: Some(1),
                ut_pex: Some(1),
                ..expected
            },
            "reqq 0" | "reqq -1" => ExtensionHandshake {
                request_queue: Some(1),
                ..expected
            },
            "v not UTF-8" => ExtensionHandshake {
                client: Some("\\xff\\xfe\\u{1b}[31m".into()),
                ..expected
            },
            name => panic!("no rule for {name}"),
        };
        assert_eq!(decoded, expected, "{row}");
    }
    for row in rows(&vectors, "metadata_piece_count") {
        let geometry = Geometry::new(row["size"].as_u64().unwrap(), 16_384).unwrap();
        assert_eq!(row["pieces"], geometry.piece_count());
        let last = geometry.pieces().next_back().unwrap();
        assert_eq!(row["last"], geometry.piece_len(last));
    }
}

// Compact addresses.

#[test]
fn compact_addresses_match() {
    let vectors = json("compact.json");
    for (key, family) in [("peers_v4", Family::V4), ("peers_v6", Family::V6)] {
        for row in rows(&vectors, key) {
            let bytes = hex(row, "hex");
            let addr: SocketAddr = text(row, "addr").parse().unwrap();
            assert!(compact::read_addrs(&bytes, family).eq([addr]), "{row}");
            let mut out = Vec::new();
            compact::write_addr(&mut out, &addr);
            assert_eq!(out, bytes, "{row}");
        }
    }
    for row in rows(&vectors, "nodes_v4") {
        let node: (NodeId, SocketAddr) = (
            text(row, "id").parse().unwrap(),
            text(row, "addr").parse().unwrap(),
        );
        assert!(
            compact::read_nodes(&hex(row, "hex"), Family::V4).eq([node]),
            "{row}"
        );
    }
    for row in rows(&vectors, "drop") {
        let addr = compact::read_addr(&hex(row, "hex")).unwrap();
        assert!(
            !mainswarm::network::Network::Mainline.accepts(&addr),
            "{row}"
        );
        assert!(
            !mainswarm::network::Network::Private.accepts(&addr),
            "{row}"
        );
    }
    for len in rows(&vectors["bad_lengths"], "nodes") {
        let bytes = vec![1; len.as_u64().unwrap() as usize];
        assert_eq!(compact::read_nodes(&bytes, Family::V4).count(), 0, "{len}");
    }
    for len in rows(&vectors["bad_lengths"], "values_entry") {
        assert_eq!(
            compact::read_addr(&vec![1; len.as_u64().unwrap() as usize]),
            None,
            "{len}"
        );
    }
}

// Magnet links.

#[test]
fn good_magnets_match() {
    for row in rows(&json("magnet.json"), "valid") {
        let expect = &row["expect"];
        let parsed = text(row, "uri").parse::<Magnet>();
        let Some(info_hash) = expect["v1"].as_str() else {
            assert!(parsed.unwrap_err().to_string().contains("v2"), "{row}");
            continue;
        };
        let magnet = parsed.unwrap();
        assert_eq!(magnet.info_hash.to_string(), info_hash, "{row}");
        if let Some(name) = expect["dn"].as_str() {
            assert_eq!(magnet.name.as_deref(), Some(name), "{row}");
        }
        if let Some(names) = expect["dn_either"].as_array() {
            assert!(
                names
                    .iter()
                    .any(|name| name.as_str() == magnet.name.as_deref()),
                "{row}"
            );
        }
        if let Some(trackers) = expect["tr"].as_array() {
            assert_eq!(magnet.ignored_sources, trackers.len(), "{row}");
        }
        if let Some(peers) = expect["pe"].as_array() {
            let addrs = magnet.peers.iter().map(SocketAddr::to_string);
            let hosts = magnet
                .peer_hosts
                .iter()
                .map(|(host, port)| format!("{host}:{port}"));
            assert!(
                addrs
                    .chain(hosts)
                    .eq(peers.iter().map(|peer| peer.as_str().unwrap()))
            );
        }
        if let Some(indexes) = expect["so"].as_array() {
            let selected = magnet
                .select_only
                .iter()
                .flat_map(|(first, last)| *first..=*last);
            assert!(selected.eq(indexes.iter().map(|index| index.as_u64().unwrap() as u32)));
        }
        let canonical: Magnet = magnet.to_string().parse().unwrap();
        let ignored_sources = 0;
        assert_eq!(
            canonical,
            Magnet {
                ignored_sources,
                ..magnet
            },
            "{row}"
        );
    }
}

#[test]
fn bad_and_hostile_magnets_do_no_harm() {
    let vectors = json("magnet.json");
    for uri in rows(&vectors, "invalid") {
        assert!(uri.as_str().unwrap().parse::<Magnet>().is_err(), "{uri}");
    }
    let base = format!("magnet:?xt=urn:btih:{}", "7".repeat(40));
    let plain: Magnet = base.parse().unwrap();
    for junk in rows(&vectors, "peer_hostile") {
        let magnet: Magnet = format!("{base}&{}", junk.as_str().unwrap())
            .parse()
            .unwrap();
        assert_eq!(magnet, plain, "{junk}");
    }
    for junk in rows(&vectors, "so_hostile") {
        let parameter = match junk.as_str() {
            Some(parameter) => parameter.to_owned(),
            None => {
                let count = junk["count"].as_u64().unwrap() as usize;
                format!(
                    "{}{}",
                    text(junk, "prefix"),
                    text(junk, "repeat").repeat(count)
                )
            }
        };
        let magnet: Magnet = format!("{base}&{parameter}").parse().unwrap();
        assert!(magnet.select_only.len() <= 1, "{junk}");
    }
}
