//! Nodes that learn their addresses from each other, and liars who tell them others.

use std::net::IpAddr;

use super::*;

fn global(n: u8) -> SocketAddr {
    SocketAddr::new([20 + n, 7 * n, 1, 1].into(), 6881)
}

/// A network on global addresses that all joined by the first.
fn mainline(count: u8, check: IdCheck) -> Net {
    let mut net = Net::new();
    for n in 0..count {
        let mut config = DhtConfig::new(Network::Mainline, Family::V4);
        config.id_check = check;
        let mut dht = Dht::new(config, net.rng.random(), net.now);
        let router = [global(0)];
        dht.bootstrap(net.now, &router[..usize::from(n > 0)]);
        net.nodes.insert(global(n), dht);
        net.run(Duration::from_millis(50));
    }
    net.run(Duration::from_secs(20 * 60));
    net
}

#[test]
fn nodes_learn_their_addresses_and_take_the_ids_that_follow() {
    let mut net = mainline(16, IdCheck::Prefer);
    for n in 0..16 {
        let addr = global(n);
        let dht = &net.nodes[&addr];
        assert!(node_id::conforms(&addr.ip(), &dht.id()), "{addr}");
        assert_eq!(dht.external_ip().0, Some(addr.ip()));
        let learned = net.events[&addr].iter().filter(|event| {
            **event
                == DhtEvent::AddressLearned {
                    ip: addr.ip(),
                    id: dht.id(),
                }
        });
        assert_eq!(learned.count(), 1);
        assert!(dht.table().count() >= 12, "the table is kept");
    }
    // Everybody is known by the new id.
    let ids: BTreeMap<SocketAddr, NodeId> =
        net.nodes.iter().map(|(at, dht)| (*at, dht.id())).collect();
    for dht in net.nodes.values() {
        assert!(dht.table().all(|contact| ids[&contact.addr] == contact.id));
        dht.check();
    }
    let now = net.now;
    let hash = InfoHash::new([3; 20]);
    let announcer = net.nodes.get_mut(&global(3)).expect("a node");
    announcer.announce(now, hash, AnnouncePort::Implied);
    net.run(Duration::from_secs(20));
    let searcher = net.nodes.get_mut(&global(9)).expect("a node");
    let lookup = searcher.get_peers(now, hash);
    net.run(Duration::from_secs(20));
    let found = net.events[&global(9)].iter().any(|event| {
        matches!(event, DhtEvent::PeersFound { lookup: of, peers, .. }
            if *of == lookup && peers.contains(&global(3)))
    });
    assert!(found);
}

#[test]
fn a_new_id_is_searched_for_at_once() {
    let mut net = mainline(16, IdCheck::Prefer);
    let late = global(17);
    let config = DhtConfig::new(Network::Mainline, Family::V4);
    let mut dht = Dht::new(config, net.rng.random(), net.now);
    dht.bootstrap(net.now, &[global(0)]);
    let first = dht.id();
    let own = |dht: &Dht| {
        let lookups = dht.lookups.values();
        let own = lookups.filter(|lookup| lookup.owner == Owner::Bootstrap);
        own.map(|lookup| lookup.target).collect::<Vec<_>>()
    };
    assert_eq!(own(&dht), [first]);
    for n in 0..20 {
        dht.on_vote(net.now, &global(n), late.ip());
    }
    assert!(dht.id() != first && node_id::conforms(&late.ip(), &dht.id()));
    assert!(!dht.maintenance.is_joined());
    assert_eq!(own(&dht), [dht.id()]);
    assert_eq!(dht.size_estimate(), None);
    dht.check();
    net.nodes.insert(late, dht);
    net.run(Duration::from_secs(20));
    let dht = &net.nodes[&late];
    assert!(dht.maintenance.is_joined() && dht.maintenance.is_home());
    assert!(dht.size_estimate().is_some());
    let joined = |event: &&DhtEvent| matches!(event, DhtEvent::Bootstrapped { .. });
    net.drain();
    assert_eq!(net.events[&late].iter().filter(joined).count(), 1);
}

#[test]
fn without_the_check_ids_stay_and_with_it_a_known_address_decides_at_once() {
    let net = mainline(12, IdCheck::Off);
    let stray = net.nodes.iter().filter(|(at, dht)| {
        assert_eq!(dht.external_ip(), (None, 0));
        !node_id::conforms(&at.ip(), &dht.id())
    });
    assert!(stray.count() >= 11);

    let ip: IpAddr = "81.2.3.4".parse().expect("an address");
    let id = NodeId::new([9; 20]);
    let start = |network, saved| {
        let mut config = DhtConfig::new(network, Family::V4);
        config.external_ip = Some(ip);
        config.node_id = saved;
        Dht::new(config, [1; 32], Instant::now()).id()
    };
    assert!(node_id::conforms(&ip, &start(Network::Mainline, None)));
    let bound = start(Network::Mainline, Some(id));
    assert_eq!(bound, node_id::bind(&ip, id));
    assert_eq!(start(Network::Mainline, Some(bound)), bound, "a saved id");
    assert_eq!(start(Network::Private, Some(id)), id);
}

#[test]
fn a_table_that_is_enforced_takes_only_ids_that_conform() {
    let now = Instant::now();
    let mut config = DhtConfig::new(Network::Mainline, Family::V4);
    config.id_check = IdCheck::Enforce;
    let mut dht = Dht::new(config, [1; 32], now);
    for n in 0..10 {
        let addr = global(n);
        let mut id = NodeId::new([n + 1; 20]);
        if n % 2 == 0 {
            id = node_id::bind(&addr.ip(), id);
        }
        dht.learn(now, Contact { id, addr }, RTT, Reached::Called);
    }
    assert_eq!(dht.table().count(), 5);
    // Who has no place is served all the same.
    let stranger = SocketAddr::new([99, 1, 1, 1].into(), 1);
    dht.handle_datagram(
        now,
        stranger,
        b"d1:ad2:id20:aaaaaaaaaaaaaaaaaaaae1:q4:ping1:t2:xx1:y1:qe",
    );
    let mut buf = Vec::new();
    let mut answers = 0;
    while let Some(transmit) = dht.poll_transmit(&mut buf) {
        let message = krpc::decode(&buf).expect("our own encoding");
        if transmit.destination == stranger && matches!(message.body, Body::Reply(_)) {
            assert_eq!(message.ip, Some(stranger));
            answers += 1;
        }
    }
    assert_eq!(answers, 1);
}
