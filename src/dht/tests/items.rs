//! Items, scrapes and samples: a node asked from outside, and whole networks.

use super::*;
use crate::dht::krpc::{Fault, Put, Signed};

const SECRET: [u8; 32] = [3; 32];

fn signed(seq: i64, value: &str) -> Item {
    Item::sign(&SECRET, b"salt", seq, value.as_bytes()).expect("an item")
}

fn long() -> Item {
    let value = format!("996:{}", "x".repeat(996));
    Item::sign(&SECRET, b"salt", i64::MAX, value.as_bytes()).expect("an item")
}

fn item_query() -> ItemQuery {
    ItemQuery {
        salt: b"salt".to_vec(),
        ..ItemQuery::new(signed(1, "1:a").target())
    }
}

/// Puts `item` with a token that was fetched for it, and gives the error, if there is one.
fn put(
    dht: &mut Dht,
    now: Instant,
    from: SocketAddr,
    item: &Item,
    cas: Option<i64>,
) -> Option<i64> {
    let target = item.target();
    let get = query(1, Method::Get { target, seq: None });
    let replies = ask(dht, now, from, &get);
    let Body::Reply(reply) = krpc::decode(&replies[0]).expect("a reply").body else {
        panic!("no reply")
    };
    let token = reply.token.expect("a token");
    put_with(dht, now, from, item, cas, token)
}

fn put_with(
    dht: &mut Dht,
    now: Instant,
    from: SocketAddr,
    item: &Item,
    cas: Option<i64>,
    token: &[u8],
) -> Option<i64> {
    let signed = item
        .key()
        .zip(item.signature())
        .map(|(key, signature)| Signed {
            key,
            salt: item.salt(),
            seq: item.seq().expect("a number"),
            signature,
        });
    let put = Put {
        value: item.value(),
        token,
        signed,
        cas,
    };
    let replies = ask(dht, now, from, &query(1, Method::Put(put)));
    match krpc::decode(&replies[0]).expect("a reply").body {
        Body::Reply(_) => None,
        Body::Error { code, .. } => code,
        body => panic!("{body:?}"),
    }
}

#[test]
fn puts_are_taken_or_refused_with_their_code() {
    let now = Instant::now();
    let mut dht = lone_node(now);
    let plain = Item::immutable(b"12:Hello World!").expect("an item");
    assert_eq!(
        put_with(&mut dht, now, node(1), &plain, None, b"wrong"),
        Some(203)
    );
    assert_eq!(put(&mut dht, now, node(1), &plain, None), None);
    assert_eq!(put(&mut dht, now, node(1), &plain, None), None, "renewed");
    let rows = [
        (signed(4, "1:a"), Some(9), None),
        (signed(4, "1:a"), None, None),
        (signed(4, "1:b"), None, Some(302)),
        (signed(3, "1:b"), None, Some(302)),
        (signed(5, "1:b"), Some(3), Some(301)),
        (signed(5, "1:b"), Some(4), None),
        (long(), None, None),
    ];
    for (item, cas, code) in rows {
        assert_eq!(
            put(&mut dht, now, node(2), &item, cas),
            code,
            "{item:?} {cas:?}"
        );
    }
    assert_eq!(dht.stats(now).stored_items, 2);
    let Some(token) = ask(&mut dht, now, node(3), &{
        let target = signed(1, "1:a").target();
        query(1, Method::Get { target, seq: None })
    })
    .first()
    .and_then(|reply| match krpc::decode(reply).ok()?.body {
        Body::Reply(reply) => reply.token.map(<[u8]>::to_vec),
        _ => None,
    }) else {
        panic!("no token")
    };
    // Right token, wrong signature; and the right signature under another's token.
    let item = signed(9, "1:c");
    let mut signature = *item.signature().expect("a signature");
    signature[0] ^= 1;
    let forged = Put {
        value: item.value(),
        token: &token,
        signed: Some(Signed {
            key: item.key().expect("a key"),
            salt: item.salt(),
            seq: 9,
            signature: &signature,
        }),
        cas: None,
    };
    let replies = ask(&mut dht, now, node(3), &query(1, Method::Put(forged)));
    let body = krpc::decode(&replies[0]).expect("a reply").body;
    assert!(
        matches!(
            body,
            Body::Error {
                code: Some(206),
                ..
            }
        ),
        "{body:?}"
    );
    let thief = SocketAddr::new([127, 0, 0, 2].into(), 1);
    assert_eq!(
        put_with(&mut dht, now, thief, &item, None, &token),
        Some(203)
    );
    // Nobody's items outlive two hours, and nothing is left of them.
    dht.handle_timeout(now + Duration::from_secs(310));
    assert_eq!(dht.stats(now).stored_items, 2);
    dht.handle_timeout(now + Duration::from_secs(7_800));
    assert!(dht.items.is_none());
}

#[test]
fn every_fault_has_the_code_of_its_kind() {
    let rows = [
        (Fault::SourceFull, 201),
        (Fault::StoreFull, 202),
        (Fault::BadToken, 203),
        (Fault::UnknownMethod, 204),
        (Fault::ValueTooBig, 205),
        (Fault::WrongSignature, 206),
        (Fault::SaltTooBig, 207),
        (Fault::CasMismatch, 301),
        (Fault::SeqTooLow, 302),
    ];
    for (fault, code) in rows {
        assert_eq!(fault.reply().0, code, "{fault:?}");
    }
}

#[test]
fn gets_are_answered_with_what_is_newer() {
    let now = Instant::now();
    let mut dht = lone_node(now);
    let item = signed(4, "5:hello");
    let target = item.target();
    assert_eq!(put(&mut dht, now, node(1), &item, None), None);
    for (known, shown) in [
        (None, true),
        (Some(3), true),
        (Some(4), false),
        (Some(5), false),
    ] {
        let get = query(1, Method::Get { target, seq: known });
        let replies = ask(&mut dht, now, node(2), &get);
        let Body::Reply(reply) = krpc::decode(&replies[0]).expect("a reply").body else {
            panic!("no reply")
        };
        assert_eq!((reply.seq, reply.token.is_some()), (Some(4), true));
        assert_eq!(reply.value, shown.then_some(item.value()));
        assert_eq!(reply.key, shown.then_some(item.key().expect("a key")));
        assert_eq!(reply.signature.is_some(), shown);
        assert!(reply.nodes.is_some());
    }
}

#[test]
fn a_long_item_leaves_less_room_for_nodes_and_fits_every_link() {
    for (item, most) in [(signed(1, "1:a"), 1_024), (long(), 1_300)] {
        let mut net = Net::joined(20);
        let now = net.now;
        let dht = net.node(0);
        assert_eq!(put(dht, now, node(100), &item, None), None);
        let get = query(
            1,
            Method::Get {
                target: item.target(),
                seq: None,
            },
        );
        let replies = ask(dht, now, node(100), &get);
        assert!(replies[0].len() <= most, "{}", replies[0].len());
        let Body::Reply(reply) = krpc::decode(&replies[0]).expect("a reply").body else {
            panic!("no reply")
        };
        assert_eq!(reply.value, Some(item.value()));
        let nodes = reply.contacts(Family::V4).count();
        assert_eq!(nodes, if most == 1_024 { 8 } else { 0 });
    }
}

#[test]
fn long_items_amplify_within_the_budget_of_a_source() {
    let start = Instant::now();
    let mut dht = lone_node(start);
    let item = long();
    assert_eq!(put(&mut dht, start, node(1), &item, None), None);
    let get = |dht: &mut Dht, now, from| {
        let target = item.target();
        let get = query(1, Method::Get { target, seq: None });
        let bytes = ask(dht, now, from, &get).first().map_or(0, Vec::len);
        // IPv4's and UDP's headers.
        assert!(bytes + 28 <= 12 * (get.len() + 28), "{bytes}");
        bytes
    };
    let rate = dht.config.queries_per_source;
    let seconds = 60;
    let (mut victim, mut others) = (0, 0);
    for n in 0..seconds * rate {
        let now = start + Duration::from_secs(1) * n / rate;
        victim += get(&mut dht, now, node(2));
        if n % 4 == 0 {
            others += get(&mut dht, now, node(100 + n as u16));
        }
    }
    // Its budget starts with four seconds' worth.
    let most = 1_024 * (seconds + 4) * rate;
    assert!((200_000..most as usize).contains(&victim), "{victim}");
    assert!(others > 1_200 * 300, "nobody else is muted: {others}");
}

#[test]
fn a_long_item_is_found_though_its_holders_name_nobody() {
    let mut net = Net::joined(60);
    let item = long();
    let now = net.now;
    let put = net.node(3).put_item(now, item.clone(), None);
    net.run(Duration::from_secs(20));
    let (stored, none) = put_result(&mut net, 3, put);
    assert!(stored >= 8 && none.is_none(), "{stored} {none:?}");
    for n in [0, 17, 42] {
        let now = net.now;
        let get = net.node(n).get_item(now, &item_query());
        net.run(Duration::from_secs(20));
        let (found, copies) = got(&mut net, n, get);
        assert_eq!(found.as_ref(), Some(&item));
        assert!(copies >= 7, "{copies}");
    }
}

#[test]
fn nobody_hears_of_a_sample_that_was_cancelled() {
    let mut net = Net::joined(2);
    let now = net.now;
    let asked = net.node(1).sample(now, node(0), NodeId::new([1; 20]));
    let silent = net.node(1).sample(now, node(900), NodeId::new([1; 20]));
    let refused = "8.8.8.8:53".parse().expect("an address");
    let refused = net.node(1).sample(now, refused, NodeId::new([1; 20]));
    for id in [asked, silent, refused] {
        net.node(1).cancel(id);
    }
    net.run(Duration::from_secs(20));
    let events = events(&mut net, 1);
    let sampled = |event: &DhtEvent| matches!(event, DhtEvent::Sampled { .. });
    assert!(!events.iter().any(sampled), "{events:?}");
    net.node(1).check();
}

#[test]
fn scrapes_count_seeds_and_peers() {
    let now = Instant::now();
    let mut dht = lone_node(now);
    let seconds = dht.seconds(now);
    for n in 0..200u8 {
        let peer = SocketAddr::new([127, 0, 1, n].into(), 1);
        dht.store.add(hash(1), &peer, n < 50, seconds, &mut dht.rng);
    }
    let get = |noseed, scrape| {
        query(
            1,
            Method::GetPeers {
                info_hash: hash(1),
                noseed,
                scrape,
            },
        )
    };
    let replies = ask(&mut dht, now, node(1), &get(false, true));
    assert!(replies[0].len() <= 1_024 && replies[0].len() > 900);
    let Body::Reply(reply) = krpc::decode(&replies[0]).expect("a reply").body else {
        panic!("no reply")
    };
    let filters = reply.filters.expect("filters");
    let count = |bytes: &[u8; 256]| scrape::Bloom::new(*bytes).estimate().round() as u32;
    assert!((47..54).contains(&count(filters.seeds)), "{filters:?}");
    assert!((142..158).contains(&count(filters.peers)), "{filters:?}");
    assert!(reply.values.peers().count() > 10);
    let replies = ask(&mut dht, now, node(1), &get(true, false));
    let Body::Reply(reply) = krpc::decode(&replies[0]).expect("a reply").body else {
        panic!("no reply")
    };
    let is_seed = |peer: SocketAddr| matches!(peer.ip(), IpAddr::V4(ip) if ip.octets()[3] < 50);
    assert!(reply.filters.is_none() && !reply.values.peers().any(is_seed));
    let other = query(
        1,
        Method::GetPeers {
            info_hash: hash(2),
            noseed: false,
            scrape: true,
        },
    );
    let replies = ask(&mut dht, now, node(1), &other);
    let body = krpc::decode(&replies[0]).expect("a reply").body;
    assert!(matches!(body, Body::Reply(reply) if reply.filters.is_none()));
}

#[test]
fn a_sample_stands_for_six_hours() {
    let start = Instant::now();
    let mut dht = lone_node(start);
    let sample = |dht: &mut Dht, now: Instant| {
        let target = NodeId::new([1; 20]);
        let asked = query(1, Method::SampleInfohashes { target });
        let replies = ask(dht, now, node(1), &asked);
        assert!(replies[0].len() <= 1_024);
        let Body::Reply(reply) = krpc::decode(&replies[0]).expect("a reply").body else {
            panic!("no reply")
        };
        let sample = reply.sample.expect("a sample");
        assert!(reply.nodes.is_some() && sample.interval == 21_600);
        (sample.num, sample.info_hashes().collect::<Vec<_>>())
    };
    assert_eq!(sample(&mut dht, start), (0, Vec::new()));
    for n in 0..100 {
        let seconds = dht.seconds(start);
        let peer = node(n.into());
        dht.store.add(hash(n), &peer, false, seconds, &mut dht.rng);
        if n == 19 {
            assert_eq!(sample(&mut dht, start).1.len(), 20, "all, while all fit");
        }
    }
    let (num, first) = sample(&mut dht, start);
    assert_eq!((num, first.len()), (100, 20));
    let later = start + Duration::from_secs(6 * 60 * 60 - 1);
    assert_eq!(sample(&mut dht, later), (100, first.clone()));
    assert_ne!(sample(&mut dht, later + Duration::from_secs(1)).1, first);
}

/// What a node was told of its lookups.
fn events(net: &mut Net, n: u16) -> Vec<DhtEvent> {
    net.drain();
    net.events.remove(&node(n)).unwrap_or_default()
}

fn put_result(net: &mut Net, n: u16, lookup: LookupId) -> (u32, Option<Conflict>) {
    let events = events(net, n);
    let mut done = events.iter().filter_map(|event| match event {
        DhtEvent::ItemPut {
            lookup: of,
            stored,
            conflict,
            ..
        } if *of == lookup => Some((*stored, *conflict)),
        _ => None,
    });
    done.next().expect("a result")
}

fn got(net: &mut Net, n: u16, lookup: LookupId) -> (Option<Item>, u32) {
    let events = events(net, n);
    let (mut found, mut done) = (None, None);
    for event in events {
        match event {
            DhtEvent::ItemFound { lookup: of, item } if of == lookup => {
                assert!(done.is_none() && item.seq() >= found.as_ref().and_then(Item::seq));
                found = Some(item);
            }
            DhtEvent::ItemDone {
                lookup: of,
                item,
                copies,
            } if of == lookup => done = Some((item, copies)),
            _ => {}
        }
    }
    let done = done.expect("a result");
    assert_eq!(done.0, found);
    done
}

#[test]
fn an_item_that_one_puts_another_gets() {
    let mut net = Net::joined(60);
    net.loss = 0.01;
    let item = Item::immutable(b"l5:hello5:worlde").expect("an item");
    let now = net.now;
    let put = net.node(3).put_item(now, item.clone(), Some(1));
    net.run(Duration::from_secs(20));
    let (stored, conflict) = put_result(&mut net, 3, put);
    assert!(stored >= 8 && conflict.is_none(), "{stored} {conflict:?}");
    for n in [0, 17, 42] {
        let now = net.now;
        let get = net.node(n).get_item(now, &ItemQuery::new(item.target()));
        net.run(Duration::from_secs(20));
        let (found, copies) = got(&mut net, n, get);
        assert_eq!(found.as_ref(), Some(&item));
        assert!(copies <= 1, "the first ends it");
    }
    let nobody = NodeId::new([9; 20]);
    let now = net.now;
    let get = net.node(5).get_item(now, &ItemQuery::new(nobody));
    net.run(Duration::from_secs(20));
    assert_eq!(got(&mut net, 5, get), (None, 0));
}

#[test]
fn the_newest_wins_and_conflicts_are_told() {
    let mut net = Net::joined(60);
    let put = |net: &mut Net, item: &Item, cas| {
        let now = net.now;
        let id = net.node(3).put_item(now, item.clone(), cas);
        net.run(Duration::from_secs(20));
        put_result(net, 3, id)
    };
    let conflict = |cas, newest| {
        Some(Conflict {
            cas,
            refused: 0,
            newest: Some(newest),
        })
    };
    let (stored, none) = put(&mut net, &signed(1, "1:a"), None);
    assert!(stored >= 8 && none.is_none());
    let (stored, none) = put(&mut net, &signed(5, "1:b"), Some(1));
    assert!(stored >= 8 && none.is_none(), "{stored} {none:?}");
    assert_eq!(
        put(&mut net, &signed(4, "1:c"), None),
        (0, conflict(false, 5))
    );
    assert_eq!(
        put(&mut net, &signed(5, "1:c"), None),
        (0, conflict(false, 5))
    );
    assert_eq!(
        put(&mut net, &signed(6, "1:c"), Some(4)),
        (0, conflict(true, 5))
    );
    let (stored, none) = put(&mut net, &signed(5, "1:b"), None);
    assert!(stored >= 8 && none.is_none(), "the same again");

    let get = |net: &mut Net, query: &ItemQuery| {
        let now = net.now;
        let id = net.node(40).get_item(now, query);
        net.run(Duration::from_secs(20));
        got(net, 40, id)
    };
    let (found, copies) = get(&mut net, &item_query());
    assert_eq!(found, Some(signed(5, "1:b")));
    assert!(copies >= 7, "{copies}");
    let known = ItemQuery {
        newer_than: Some(5),
        ..item_query()
    };
    let (found, copies) = get(&mut net, &known);
    assert!(found.is_none() && copies >= 7, "{copies}");
    let first = ItemQuery {
        newest: false,
        ..item_query()
    };
    assert_eq!(get(&mut net, &first).0, Some(signed(5, "1:b")));
    let unsalted = ItemQuery::new(item_query().target);
    assert_eq!(get(&mut net, &unsalted).0, None, "it cannot be verified");
}

#[test]
fn a_node_that_changed_its_mind_meanwhile_refuses() {
    let mut net = Net::joined(2);
    let now = net.now;
    let first = net.node(1).put_item(now, signed(1, "1:a"), None);
    net.run(Duration::from_secs(20));
    assert_eq!(put_result(&mut net, 1, first), (1, None));
    // Between the search and the store somebody else puts a newer one.
    let now = net.now;
    let second = net.node(1).put_item(now, signed(2, "1:b"), Some(1));
    net.run(RTT + RTT / 4);
    let now = net.now;
    assert_eq!(
        put(net.node(0), now, node(9), &signed(3, "1:c"), None),
        None
    );
    net.run(Duration::from_secs(20));
    let conflict = Conflict {
        cas: true,
        refused: 1,
        newest: Some(1),
    };
    assert_eq!(put_result(&mut net, 1, second), (0, Some(conflict)));
}

#[test]
fn kept_items_stay_and_yield_to_newer_ones() {
    let mut net = Net::joined(20);
    let item = signed(1, "1:a");
    let now = net.now;
    net.node(3).put_item(now, item.clone(), None);
    net.node(3).keep_item(now, item.clone());
    net.run(Duration::from_secs(20));
    let now = net.now;
    net.node(4).put_item(now, signed(7, "1:o"), None);
    net.run(Duration::from_secs(20));
    events(&mut net, 3);
    net.run(Duration::from_secs(2 * 60 * 60));
    // The newer one has been forgotten, and the first put has not been renewed: it yielded.
    let yielded = events(&mut net, 3).into_iter().any(|event| {
        matches!(event, DhtEvent::ItemPut { stored: 0, conflict: Some(conflict), .. }
            if conflict.newest == Some(7))
    });
    assert!(yielded && net.node(3).kept_items().count() == 0);

    let other = Item::immutable(b"4:kept").expect("an item");
    let now = net.now;
    net.node(3).keep_item(now, other.clone());
    net.node(3).put_item(now, other.clone(), None);
    net.run(Duration::from_secs(5 * 60 * 60));
    assert_eq!(net.node(3).kept_items().count(), 1);
    let now = net.now;
    let get = net.node(9).get_item(now, &ItemQuery::new(other.target()));
    net.run(Duration::from_secs(20));
    assert_eq!(got(&mut net, 9, get).0, Some(other.clone()));
    assert!(net.node(3).release_item(&other.target()));
    assert!(!net.node(3).release_item(&other.target()));
    net.run(Duration::from_secs(3 * 60 * 60));
    let now = net.now;
    let get = net.node(9).get_item(now, &ItemQuery::new(other.target()));
    net.run(Duration::from_secs(20));
    assert_eq!(got(&mut net, 9, get).0, None);
}

#[test]
fn a_swarm_is_counted_and_a_node_sampled() {
    let mut net = Net::joined(40);
    let now = net.now;
    for n in 0..6 {
        let port = AnnouncePort::Explicit(7_000 + n);
        match n {
            0 => net.node(n).announce_seed(now, hash(1), port),
            _ => net.node(n).announce(now, hash(1), port),
        };
    }
    net.run(Duration::from_secs(30));
    let now = net.now;
    let scrape = net.node(20).scrape(now, hash(1));
    net.run(Duration::from_secs(20));
    let counted = events(&mut net, 20)
        .into_iter()
        .find_map(|event| match event {
            DhtEvent::Scraped {
                lookup,
                seeds,
                peers,
                nodes,
                ..
            } if lookup == scrape => Some((seeds, peers, nodes)),
            _ => None,
        });
    // All of them have one IP address.
    let (seeds, peers, nodes) = counted.expect("a result");
    assert_eq!((seeds, peers), (1, 1));
    assert!(nodes >= 6, "{nodes}");

    let holder = (0..40).find(|n| net.node(*n).stats(now).stored_peers > 0);
    let to = node(holder.expect("a holder"));
    let now = net.now;
    let asked = net.node(20).sample(now, to, NodeId::new([1; 20]));
    let outside = "8.8.8.8:53".parse().expect("an address");
    let refused = net.node(20).sample(now, outside, NodeId::new([1; 20]));
    let silent = net.node(20).sample(now, node(900), NodeId::new([1; 20]));
    net.run(Duration::from_secs(20));
    let mut replies = BTreeMap::new();
    for event in events(&mut net, 20) {
        if let DhtEvent::Sampled { lookup, reply, .. } = event {
            assert!(replies.insert(lookup, reply).is_none(), "answered twice");
        }
    }
    let reply = replies[&asked].as_ref().expect("a reply");
    let sample = reply.sample.as_ref().expect("a sample");
    assert_eq!(
        (sample.info_hashes.as_slice(), sample.total),
        (&[hash(1)][..], 1)
    );
    assert_eq!(reply.nodes.len(), 8);
    assert_eq!((&replies[&refused], &replies[&silent]), (&None, &None));
}
