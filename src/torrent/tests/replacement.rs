//! Who keeps a place among the neighbours.

use super::{strangers::Alone, *};

fn addr(n: usize) -> String {
    format!("10.1.{}.{}:6881", n / 200, n % 200 + 1)
}

/// Lets a peer have been served, and have given, so many bytes.
fn trade(alone: &mut Alone, key: PeerKey, sent: u64, received: u64) {
    let now = alone.now;
    let peer = alone.torrent.peers.get_mut(&key).unwrap();
    peer.uploads.on_sent(sent);
    peer.traded_at = now;
    if received > 0 {
        peer.received.add(now, received);
        peer.last_received = Some(now);
    }
}

#[test]
fn callers_get_half_of_a_leechers_places_while_there_is_somebody_to_dial() {
    for (candidates, want) in [(false, 50), (true, 25)] {
        let mut alone = Alone::new(4, Network::Private);
        if candidates {
            let far: Vec<SocketAddr> = (0..100)
                .map(|n| SocketAddr::from(([10, 9, 0, n], 6881)))
                .collect();
            let now = alone.now;
            alone
                .torrent
                .add_candidates(now, &far, CandidateSource::Dht);
        }
        let taken = (0..60).filter(|n| alone.connect(&addr(*n), *n as u8).is_ok());
        assert_eq!(taken.count(), want);
    }
    let mut seed = Alone::with(full(4), Network::Private);
    let far: SocketAddr = "10.9.0.1:6881".parse().unwrap();
    let now = seed.now;
    seed.torrent
        .add_candidates(now, &[far], CandidateSource::Dht);
    let taken = (0..60).filter(|n| seed.connect(&addr(*n), *n as u8).is_ok());
    assert_eq!(taken.count(), 50, "a seed has nobody to choose");
}

fn full(pieces: u32) -> Bitfield {
    let mut have = Bitfield::empty(pieces);
    for piece in 0..pieces {
        have.set(piece);
    }
    have
}

#[test]
fn who_takes_and_does_not_repay_loses_its_place_and_is_remembered() {
    let mut alone = Alone::new(4, Network::Private);
    let peers: Vec<PeerKey> = (0..50)
        .map(|n| alone.connect(&addr(n), n as u8).unwrap())
        .collect();
    let refused = alone.connect(&addr(90), 90);
    assert_eq!(refused, Err(Reject::Full), "nobody has been useless yet");
    for _ in 0..13 {
        alone.wait(10);
        for (number, key) in peers.iter().enumerate() {
            let repaid = if number == 7 { 0 } else { 1 << 14 };
            trade(&mut alone, *key, 1 << 14, repaid);
        }
    }
    let taken = alone.connect(&addr(90), 90).unwrap();
    let left: Vec<PeerKey> = alone.torrent.peers.keys().copied().collect();
    assert!(!left.contains(&peers[7]) && left.len() == 50);
    assert_eq!(alone.connect(&addr(91), 91), Err(Reject::Full));

    // A place falls free, but not for somebody who is known to take only.
    let now = alone.now;
    let gone = DisconnectReason::Idle;
    alone.torrent.disconnect(now, taken, gone);
    assert_eq!(alone.connect(&addr(7), 107), Err(Reject::Full));
    assert!(alone.connect(&addr(92), 92).is_ok());
    for key in &peers[20..] {
        alone.torrent.disconnect(now, *key, gone);
    }
    assert!(
        alone.connect(&addr(7), 107).is_ok(),
        "half of them are free"
    );
}

#[test]
fn a_seed_does_not_ask_for_repayment() {
    let mut seed = Alone::with(full(4), Network::Private);
    let peers: Vec<PeerKey> = (0..50)
        .map(|n| seed.connect(&addr(n), n as u8).unwrap())
        .collect();
    for _ in 0..13 {
        seed.wait(10);
        for key in &peers[1..] {
            trade(&mut seed, *key, 1 << 14, 0);
        }
    }
    assert!(seed.connect(&addr(90), 90).is_ok());
    assert!(!seed.torrent.peers.contains_key(&peers[0]), "it was idle");
}
