//! Questions to one address, and lookups that show their steps.

use super::*;
use crate::dht::krpc::{Body, Message};

/// What came of a question.
fn answer(net: &Net, n: u16, question: LookupId) -> Vec<(SocketAddr, Option<Answer>)> {
    let events = net.events.get(&node(n)).into_iter().flatten();
    let asked = events.filter_map(|event| match event {
        DhtEvent::Asked {
            lookup,
            from,
            answer,
        } if *lookup == question => Some((*from, answer.clone())),
        _ => None,
    });
    asked.collect()
}

#[test]
fn a_question_is_answered_and_makes_no_friends() {
    let mut net = Net::joined(12);
    let (asker, other) = (900, 3);
    net.add(node(asker));
    let now = net.now;
    let ping = net.node(asker).ask(now, node(other), Question::Ping);
    let target = NodeId::new([7; 20]);
    let find = net
        .node(asker)
        .ask(now, node(other), Question::FindNode(target));
    let dead = net.node(asker).ask(now, node(901), Question::Ping);
    let foreign: SocketAddr = "8.8.8.8:1".parse().expect("an address");
    let abroad = net.node(asker).ask(now, foreign, Question::Ping);
    let cancelled = net.node(asker).ask(now, node(901), Question::Ping);
    net.node(asker).cancel(cancelled);
    net.run(Duration::from_secs(11));

    let id = net.node(other).id();
    let [(from, Some(pong))] = &answer(&net, asker, ping)[..] else {
        panic!("one answer");
    };
    assert_eq!((*from, pong.id, pong.rtt), (node(other), Some(id), RTT));
    assert_eq!(pong.version.as_deref(), Some(&VERSION[..]));
    assert_eq!(pong.our_addr, Some(node(asker)));
    assert!(pong.nodes.is_empty() && pong.error.is_none());
    let [(_, Some(found))] = &answer(&net, asker, find)[..] else {
        panic!("one answer");
    };
    assert_eq!(found.nodes.len(), K);
    assert_eq!(answer(&net, asker, dead), [(node(901), None)]);
    assert_eq!(answer(&net, asker, abroad), [(foreign, None)]);
    assert_eq!(answer(&net, asker, cancelled), []);
    let now = net.now;
    assert_eq!(net.node(asker).table().count(), 0);
    assert_eq!(net.node(asker).stats(now).timeouts, 2);
}

#[test]
fn an_error_is_an_answer_too() {
    let now = Instant::now();
    let mut dht = lone_node(now);
    dht.ask(now, node(1), Question::Ping);
    let mut buf = Vec::new();
    dht.poll_transmit(&mut buf).expect("a ping");
    let tid = krpc::decode(&buf).expect("our own encoding").tid.to_vec();
    let mut reply = Vec::new();
    Message {
        tid: &tid,
        version: None,
        ip: None,
        read_only: false,
        body: Body::Error {
            code: Some(201),
            text: b"busy",
        },
    }
    .encode(&mut reply);
    dht.handle_datagram(now, node(2), &reply);
    assert!(
        dht.poll_event().is_none(),
        "from somebody who was not asked"
    );
    dht.handle_datagram(now, node(1), &reply);
    let Some(DhtEvent::Asked {
        answer: Some(answer),
        ..
    }) = dht.poll_event()
    else {
        panic!("an answer");
    };
    assert_eq!((answer.id, answer.error), (None, Some(201)));
}

#[test]
fn a_traced_lookup_shows_whom_it_asked_before_what_they_said() {
    let mut net = Net::joined(40);
    let now = net.now;
    let dead = 5;
    net.nodes.remove(&node(dead));
    let announce = net.node(1).announce(now, hash(3), AnnouncePort::Implied);
    net.node(1).trace(now, announce);
    let silent = net.node(2).announce(now, hash(4), AnnouncePort::Implied);
    net.run(Duration::from_secs(15));

    let (mut asked, mut replied, mut lost) = (Vec::new(), 0, 0);
    let (mut storing, mut stored) = (0, 0);
    for event in &net.events[&node(1)] {
        match event {
            DhtEvent::LookupStepped {
                lookup, addr, step, ..
            } if *lookup == announce => match step {
                LookupStep::Asked { hops, .. } => {
                    assert!(*hops >= 1);
                    asked.push(*addr);
                }
                LookupStep::Slow | LookupStep::Failed => {
                    assert_eq!(*addr, node(dead));
                    lost += 1;
                }
                LookupStep::Storing => storing += 1,
                LookupStep::Stored => stored += 1,
                LookupStep::Refused => panic!("{addr} refused"),
            },
            DhtEvent::LookupReply {
                lookup,
                from,
                nodes,
                item,
                ..
            } => {
                assert_eq!(*lookup, announce);
                assert!(asked.contains(&from.addr) && *nodes > 0 && !item);
                replied += 1;
            }
            _ => {}
        }
    }
    let (_, done) = net.outcome(1, announce);
    let stats = done.expect("an end");
    assert_eq!((replied, stored), (stats.replied, stats.announced));
    assert_eq!((asked.len() as u32, storing), (stats.asked, stored));
    assert!(lost <= 2);
    let steps = net.events[&node(2)].iter().filter(|event| {
        event.lookup() == Some(silent) && matches!(event, DhtEvent::LookupStepped { .. })
    });
    assert_eq!(steps.count(), 0, "nobody wants to see these");
}

#[test]
fn the_table_is_shown_with_what_is_known_of_its_nodes() {
    let mut net = Net::joined(30);
    let now = net.now;
    let dht = net.node(4);
    let own = dht.id();
    let shown: Vec<TableNode> = dht.table_nodes(now).collect();
    let plain: Vec<Contact> = dht.table().collect();
    assert_eq!(
        shown.iter().map(|node| node.contact).collect::<Vec<_>>(),
        plain
    );
    let stats = dht.stats(now);
    assert_eq!(shown.iter().filter(|node| node.good).count(), stats.good);
    for node in shown {
        let shared = own.distance(&node.contact.id).leading_zeros() as usize;
        assert!(node.bucket <= shared && node.bucket < stats.buckets);
        assert!(node.bucket == shared || node.bucket + 1 == stats.buckets);
        assert_eq!((node.rtt, node.failures, node.verified), (RTT, 0, true));
        assert!(node.silent <= Duration::from_secs(120));
    }
}
