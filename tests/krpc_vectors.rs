//! The packets printed in the BEPs, packets derived from them, and queries that deserve an error.

use std::{net::SocketAddr, time::Instant};

use mainswarm::{
    compact::Family,
    dht::{
        Dht, DhtConfig, VERSION,
        krpc::{self, Body, Message, Method, Values},
    },
    network::Network,
};
use serde_json::Value;

fn vectors() -> Value {
    serde_json::from_str(include_str!("vectors/krpc.json")).unwrap()
}

fn rows(vectors: &Value, group: &str) -> Vec<(String, Vec<u8>, Value)> {
    let rows = vectors[group].as_array().unwrap().iter();
    rows.map(|row| {
        let bytes = data_encoding::HEXLOWER
            .decode(row["hex"].as_str().unwrap().as_bytes())
            .unwrap();
        (row["name"].as_str().unwrap().into(), bytes, row.clone())
    })
    .collect()
}

fn hex(bytes: &[u8]) -> Value {
    data_encoding::HEXLOWER.encode(bytes).into()
}

fn querier() -> SocketAddr {
    "127.0.0.1:40001".parse().unwrap()
}

/// A node without contacts, and what it says to a datagram.
fn ask(datagram: &[u8]) -> Option<Vec<u8>> {
    let now = Instant::now();
    let mut dht = Dht::new(DhtConfig::new(Network::Private, Family::V4), [1; 32], now);
    dht.handle_datagram(now, querier(), datagram);
    dht.check();
    let mut buf = Vec::new();
    let transmit = dht.poll_transmit(&mut buf)?;
    assert_eq!((transmit.destination, transmit.len), (querier(), buf.len()));
    Some(buf)
}

#[test]
fn published_packets_decode_and_encode_to_the_same_bytes() {
    let vectors = vectors();
    let rows = rows(&vectors, "published");
    assert_eq!(rows.len(), 10);
    for (name, bytes, row) in rows {
        let message = krpc::decode(&bytes).expect(&name);
        let mut again = Vec::new();
        message.encode(&mut again);
        assert_eq!(
            again.escape_ascii().to_string(),
            bytes.escape_ascii().to_string()
        );

        let mut found = vec![("t", hex(message.tid))];
        match message.body {
            Body::Query(query) => {
                found.push(("y", "q".into()));
                found.push((
                    "q",
                    std::str::from_utf8(query.method.name()).unwrap().into(),
                ));
                found.push(("id", hex(query.id.as_bytes())));
                match query.method {
                    Method::FindNode { target } => found.push(("target", hex(target.as_bytes()))),
                    Method::GetPeers { info_hash, .. } => {
                        found.push(("info_hash", hex(info_hash.as_bytes())));
                    }
                    Method::AnnouncePeer { port, .. } => assert_eq!(port, None, "implied"),
                    _ => {}
                }
            }
            Body::Reply(reply) => {
                found.push(("y", "r".into()));
                found.push(("id", hex(reply.id.as_bytes())));
                found.push(("token", reply.token.map_or(Value::Null, hex)));
                let peers = reply.values.peers().map(|peer| peer.to_string());
                found.push(("values", peers.collect::<Vec<_>>().into()));
                assert_eq!(
                    reply.contacts(Family::V4).count(),
                    0,
                    "cut lists hold nobody"
                );
            }
            Body::Error { code, text } => {
                found.push(("y", "e".into()));
                let text = std::str::from_utf8(text).unwrap();
                found.push(("error", vec![Value::from(code), text.into()].into()));
            }
            Body::BadReply | Body::Malformed(_) => panic!("{name}"),
        }
        for (field, value) in found {
            if let Some(expected) = row.get(field) {
                assert_eq!(*expected, value, "{name}: {field}");
            }
        }
    }
}

#[test]
fn derived_packets_are_understood() {
    let vectors = vectors();
    for (name, bytes, row) in rows(&vectors, "derived") {
        let message = krpc::decode(&bytes).expect(&name);
        match name.as_str() {
            "error with text code order swapped" => {
                assert!(matches!(message.body, Body::Error { code: None, .. }));
            }
            "error with only a code" => {
                assert!(matches!(
                    message.body,
                    Body::Error {
                        code: Some(203),
                        ..
                    }
                ));
            }
            "response without id" | "response with 19-byte id" => {
                assert!(matches!(message.body, Body::BadReply));
            }
            "response with ip (BEP 42)" => {
                assert_eq!(message.ip.unwrap().to_string(), row["ip"].as_str().unwrap());
            }
            "sample_infohashes response" => {
                let Body::Reply(reply) = message.body else {
                    panic!("{name}: {message:?}")
                };
                let sample = reply.sample.unwrap();
                assert_eq!((sample.interval, sample.num), (21_600, 2));
                assert_eq!(sample.info_hashes().count(), 2);
            }
            _ => {
                let Body::Query(query) = message.body else {
                    panic!("{name}: {message:?}")
                };
                let want = query.want.map(|want| (want.v4, want.v6));
                let wants = name.contains("want").then_some((true, true));
                assert_eq!(want, wants, "{name}");
                assert_eq!(message.read_only, name.contains("read-only"), "{name}");
                assert_eq!(
                    message.version.is_some(),
                    name.contains("version"),
                    "{name}"
                );
            }
        }
    }
}

#[test]
fn derived_queries_are_answered_with_their_own_transaction_id() {
    let vectors = vectors();
    for (name, bytes, _) in rows(&vectors, "derived") {
        let message = krpc::decode(&bytes).expect(&name);
        let Body::Query(query) = message.body else {
            assert_eq!(ask(&bytes), None, "{name}: no query, no answer");
            continue;
        };
        let answer = ask(&bytes).expect(&name);
        let answer = krpc::decode(&answer).expect(&name);
        assert_eq!(answer.tid, message.tid, "{name}");
        assert_eq!(answer.ip, Some(querier()), "{name}");
        assert_eq!(answer.version, Some(&VERSION[..]), "{name}");
        match (query.method, answer.body) {
            // The token in these is the specification's, not one of ours.
            (Method::AnnouncePeer { .. } | Method::Put(_), Body::Error { code, .. }) => {
                assert_eq!(code, Some(203));
            }
            (Method::Get { .. }, Body::Reply(reply)) => {
                assert!(reply.token.is_some() && reply.nodes.is_some(), "{name}");
            }
            (Method::SampleInfohashes { .. }, Body::Reply(reply)) => {
                assert!(reply.sample.is_some() && reply.nodes.is_some(), "{name}");
            }
            (Method::GetPeers { .. }, Body::Reply(reply)) => {
                assert!(reply.token.is_some() && reply.nodes.is_some(), "{name}");
                assert!(matches!(reply.values, Values::None), "{name}");
            }
            (_, Body::Reply(_)) => {}
            (_, body) => panic!("{name}: {body:?}"),
        }
    }
}

#[test]
fn bad_queries_get_their_error_and_never_success() {
    let vectors = vectors();
    let rows = rows(&vectors, "bad_queries");
    assert!(rows.len() >= 11);
    for (name, bytes, row) in rows {
        let answer = ask(&bytes).expect(&name);
        let answer: Message<'_> = krpc::decode(&answer).expect(&name);
        let Body::Error { code, text } = answer.body else {
            panic!("{name}: {answer:?}")
        };
        assert_eq!(code, row["error"].as_i64(), "{name}");
        assert!(!text.is_empty() && answer.tid == b"aa", "{name}");
    }
}
