//! A seed that hands every piece out once: what it says to peers played by hand, and that nobody
//! is left without.

use super::{strangers::Alone, *};

/// A seed and the first of its peers, who is shown everything.
fn seed(pieces: u32) -> (Alone, PeerKey) {
    let mut seed = Alone::with(Bitfield::full(pieces), Network::Private);
    let first = seed.connect("10.0.0.1:6881", 1).unwrap();
    assert!(seed.said().contains(&(first, Message::HaveAll)));
    (seed, first)
}

/// Pieces that a peer was told of.
fn shown(said: &[(PeerKey, Message)], key: PeerKey) -> Vec<u32> {
    let to = said.iter().filter(|(to, _)| *to == key);
    to.flat_map(|(_, message)| match message {
        Message::Have(piece) => vec![piece.0],
        Message::Bitfield(bytes) => {
            let bits = bytes.len() as u32 * 8;
            Bitfield::from_bytes(bytes, bits).unwrap().ones().collect()
        }
        _ => Vec::new(),
    })
    .collect()
}

fn block(piece: u32) -> Block {
    Block {
        piece: PieceIndex(piece),
        begin: 0,
        len: BLOCK_LEN,
    }
}

#[test]
fn a_second_peer_is_shown_one_piece_and_gets_no_other() {
    for fast in [true, false] {
        let (mut seed, _) = seed(20);
        let mut reserved = Reserved::ours(false);
        if !fast {
            reserved = Reserved::default();
        }
        let key = seed.connect_as("10.0.0.2:6881", 2, reserved).unwrap();
        let said = seed.said();
        let [piece] = shown(&said, key)[..] else {
            panic!("{said:?}");
        };
        assert!(!said.iter().any(|(_, message)| *message == Message::HaveAll));
        seed.say(key, Message::Interested);
        assert!(seed.said().contains(&(key, Message::Unchoke)));
        let other = (piece + 1) % 19;
        seed.say(key, Message::Request(block(other)));
        let said = seed.said();
        let refused = said.contains(&(key, Message::RejectRequest(block(other))));
        assert_eq!(refused, fast, "{said:?}");
        seed.say(key, Message::Request(block(piece)));
        let read = std::iter::from_fn(|| seed.torrent.poll_output()).any(|output| {
            matches!(
                output,
                Output::Storage(StorageRequest::Read { peer, block: read })
                    if peer == key && read == block(piece)
            )
        });
        assert!(read, "what was shown is served");
    }
}

#[test]
fn another_seed_ends_it() {
    let (mut seed, _) = seed(20);
    let key = seed.connect("10.0.0.2:6881", 2).unwrap();
    let before = shown(&seed.said(), key);
    assert!(seed.torrent.stats(seed.now).unsent_first);
    let other = seed.connect("10.0.0.3:6881", 3).unwrap();
    seed.say(other, Message::HaveAll);
    let after = shown(&seed.said(), key);
    assert_eq!((before.len(), after.len()), (1, 19));
    assert!(!seed.torrent.stats(seed.now).unsent_first);
}

#[test]
fn who_does_not_want_what_it_is_shown_sees_everything_soon() {
    let (mut seed, _) = seed(20);
    let key = seed.connect("10.0.0.2:6881", 2).unwrap();
    seed.say(key, Message::HaveNone);
    let mut pieces = shown(&seed.said(), key).len();
    seed.wait(5);
    assert_eq!(pieces + shown(&seed.said(), key).len(), 1);
    seed.wait(8);
    pieces += shown(&seed.said(), key).len();
    assert_eq!(pieces, 20);
    assert!(seed.torrent.stats(seed.now).unsent_first, "others are not");
}

#[test]
fn the_last_one_there_sees_everything() {
    let (mut seed, first) = seed(20);
    let key = seed.connect("10.0.0.2:6881", 2).unwrap();
    seed.say(key, Message::HaveNone);
    seed.said();
    let now = seed.now;
    seed.torrent.peer_closed(now, first);
    seed.wait(2);
    assert_eq!(shown(&seed.said(), key).len(), 19);
}

#[test]
fn idle_peers_keep_a_seed_from_nobody() {
    let mut swarm = Swarm::new(12);
    let seed = swarm.add(true, false);
    for id in 100..130 {
        let hello = Handshake {
            reserved: Reserved::ours(false),
            info_hash: swarm.metainfo.info_hash(),
            peer_id: PeerId::with_suffix([id; 12]),
        };
        let (now, addr) = (swarm.now, Swarm::addr(id as usize));
        let torrent = &mut swarm.nodes[seed].torrent;
        torrent
            .peer_connected(now, addr, Direction::Inbound, &hello)
            .unwrap();
    }
    let leecher = swarm.add(false, false);
    swarm.connect(leecher, seed);
    swarm.run(15);
    assert!(swarm.complete(leecher));
}

#[test]
fn one_copy_leaves_a_seed_and_its_metadata_with_it() {
    let mut swarm = Swarm::new(60);
    let seed = swarm.add_with(true, false, |config| config.up = Some(100_000));
    let peers: Vec<usize> = (0..4).map(|_| swarm.add(false, true)).collect();
    for (at, peer) in peers.iter().enumerate() {
        peers[..at]
            .iter()
            .for_each(|other| swarm.connect(*peer, *other));
        swarm.connect(*peer, seed);
    }
    let mut seconds = 0;
    while peers.iter().any(|peer| !swarm.complete(*peer)) {
        swarm.creep(1);
        seconds += 1;
        assert!(seconds < 60, "twice what one copy takes");
    }
    let sent = swarm.nodes[seed].torrent.stats(swarm.now).uploaded as f64;
    let copies = sent / swarm.content.len() as f64;
    assert!(copies <= 1.15, "{copies:.2} copies");
}

#[test]
fn a_leaver_takes_nothing_with_it() {
    let mut swarm = Swarm::new(60);
    let seed = swarm.add_with(true, false, |config| config.up = Some(100_000));
    let (stays, leaves) = (swarm.add(false, false), swarm.add(false, false));
    let other = swarm.add(false, false);
    for peer in [other, leaves, stays] {
        swarm.connect(peer, seed);
    }
    swarm.connect(stays, other);
    // It was given pieces that nobody else has.
    swarm.creep(10);
    let links: Vec<(PeerKey, (usize, PeerKey))> = swarm.nodes[leaves]
        .links
        .iter()
        .map(|(a, b)| (*a, *b))
        .collect();
    for (key, (to, there)) in links {
        swarm.nodes[leaves].links.remove(&key);
        swarm.nodes[to].links.remove(&there);
        let now = swarm.now;
        swarm.nodes[to].torrent.peer_closed(now, there);
        swarm.nodes[leaves].torrent.peer_closed(now, key);
    }
    swarm.drain();
    swarm.creep(60);
    assert!(swarm.complete(stays) && swarm.complete(other));
}
