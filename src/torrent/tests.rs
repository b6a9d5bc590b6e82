//! A swarm of torrents in one test, without delay: messages are delivered in order, storage
//! answers from the content, time moves in steps. The lab's simulator has delay and limits.

use std::collections::VecDeque;

use sha1::{Digest, Sha1};

mod replacement;
mod strangers;
mod unsent_first;

use super::{
    choker::PeerView,
    chooser::{Chooser, Round, Slot},
    *,
};
use crate::{
    ids::PeerId,
    metainfo::{BLOCK_LEN, Block, create::TorrentBuilder},
    network::Network,
    wire::Reserved,
};

const PIECE_LEN: u32 = 2 * BLOCK_LEN;

/// One torrent, its bytes, and the far ends of its connections.
struct Node {
    torrent: Torrent,
    content: Vec<u8>,
    /// Our key → the other node and its key for us.
    links: BTreeMap<PeerKey, (usize, PeerKey)>,
    events: Vec<TorrentEvent>,
    dials: Vec<SocketAddr>,
    received: Vec<Block>,
    discarded: Vec<PieceIndex>,
    /// Sends wrong bytes.
    liar: bool,
    /// Its storage fails all writes.
    broken: Option<StorageFault>,
}

struct Swarm {
    now: Instant,
    nodes: Vec<Node>,
    metainfo: Arc<Metainfo>,
    content: Vec<u8>,
    pipe: VecDeque<(usize, PeerKey, Message)>,
}

impl Swarm {
    fn new(pieces: u32) -> Self {
        let len = pieces * PIECE_LEN - 5_000;
        let content: Vec<u8> = (0..len)
            .map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8)
            .collect();
        let hashes = content
            .chunks(PIECE_LEN as usize)
            .map(|piece| Sha1::digest(piece).into());
        let builder = TorrentBuilder::file("file", u64::from(len)).unwrap();
        let builder = builder.piece_len(PIECE_LEN).unwrap();
        let metainfo = Arc::new(builder.build(&hashes.collect::<Vec<_>>()).unwrap());
        let now = Instant::now();
        Self {
            now,
            nodes: Vec::new(),
            metainfo,
            content,
            pipe: VecDeque::new(),
        }
    }

    fn add(&mut self, seed: bool, magnet: bool) -> usize {
        self.add_with(seed, magnet, |_| {})
    }

    fn add_with(&mut self, seed: bool, magnet: bool, tune: impl Fn(&mut TorrentConfig)) -> usize {
        let content = if seed {
            self.content.clone()
        } else {
            vec![0; self.content.len()]
        };
        self.add_content(content, magnet, tune)
    }

    /// A node with these bytes, some of them wrong.
    fn add_content(
        &mut self,
        content: Vec<u8>,
        magnet: bool,
        tune: impl Fn(&mut TorrentConfig),
    ) -> usize {
        let index = self.nodes.len();
        let peer_id = PeerId::with_suffix([index as u8; 12]);
        let mut config = TorrentConfig::new(peer_id, Network::Private);
        tune(&mut config);
        let source = match magnet {
            true => Source::InfoHash(self.metainfo.info_hash()),
            false => Source::Metainfo(Arc::clone(&self.metainfo)),
        };
        let torrent = Torrent::new(config, source, [index as u8; 32], self.now);
        self.nodes.push(Node {
            torrent,
            content,
            links: BTreeMap::new(),
            events: Vec::new(),
            dials: Vec::new(),
            received: Vec::new(),
            discarded: Vec::new(),
            liar: false,
            broken: None,
        });
        self.drain();
        index
    }

    fn addr(index: usize) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, index as u8 + 1], 6881))
    }

    fn connect(&mut self, from: usize, to: usize) {
        let info_hash = self.metainfo.info_hash();
        let hand = |index: usize| Handshake {
            reserved: Reserved::ours(false),
            info_hash,
            peer_id: PeerId::with_suffix([index as u8; 12]),
        };
        let now = self.now;
        let torrent = &mut self.nodes[from].torrent;
        let there = torrent.peer_connected(now, Self::addr(to), Direction::Outbound, &hand(to));
        let torrent = &mut self.nodes[to].torrent;
        let here = torrent.peer_connected(now, Self::addr(from), Direction::Inbound, &hand(from));
        let (there, here) = (there.unwrap(), here.unwrap());
        self.nodes[from].links.insert(there, (to, here));
        self.nodes[to].links.insert(here, (from, there));
        self.drain();
    }

    /// Delivers everything until nothing moves.
    fn drain(&mut self) {
        loop {
            let mut moved = false;
            for index in 0..self.nodes.len() {
                while let Some(output) = self.nodes[index].torrent.poll_output() {
                    moved = true;
                    self.carry_out(index, output);
                }
            }
            while let Some((to, key, message)) = self.pipe.pop_front() {
                moved = true;
                if let Message::Piece { block, .. } = &message {
                    self.nodes[to].received.push(*block);
                }
                let now = self.now;
                self.nodes[to].torrent.handle_message(now, key, message);
                self.nodes[to].torrent.check();
            }
            if !moved {
                return;
            }
        }
    }

    fn carry_out(&mut self, index: usize, output: Output) {
        let now = self.now;
        match output {
            Output::OpenStorage(metainfo) => {
                let node = &mut self.nodes[index];
                let mut have = Bitfield::empty(metainfo.geometry().piece_count());
                for piece in metainfo.geometry().pieces() {
                    if hash(&metainfo, &node.content, piece) == metainfo.piece_hash(piece) {
                        have.set(piece.0);
                    }
                }
                node.torrent
                    .handle_storage(now, StorageDone::Opened { have });
            }
            Output::Connect { addr } => self.nodes[index].dials.push(addr),
            Output::Send { peer, message } => {
                let Some((to, key)) = self.nodes[index].links.get(&peer).copied() else {
                    return;
                };
                if let Message::Piece { data, .. } = &message {
                    self.nodes[index].torrent.handle_sent(now, peer, data.len());
                }
                self.pipe.push_back((to, key, message));
            }
            Output::Disconnect { peer, .. } => {
                if let Some((to, key)) = self.nodes[index].links.remove(&peer) {
                    self.nodes[to].links.remove(&key);
                    self.nodes[to].torrent.peer_closed(now, key);
                }
            }
            Output::Storage(request) => self.store(index, request),
            Output::Event(event) => self.nodes[index].events.push(event),
        }
    }

    fn store(&mut self, index: usize, request: StorageRequest) {
        let geometry = self.metainfo.geometry();
        let node = &mut self.nodes[index];
        let range = |block: Block| {
            let start = geometry.block_offset(block) as usize;
            start..start + block.len as usize
        };
        let done = match request {
            StorageRequest::Read { peer, block } => {
                let mut data = node.content[range(block)].to_vec();
                if node.liar {
                    data[0] ^= 0xff;
                }
                StorageDone::BlockRead {
                    peer,
                    block,
                    data: data.into(),
                }
            }
            StorageRequest::Write { block, data } => {
                node.content[range(block)].copy_from_slice(&data);
                StorageDone::Written {
                    bytes: data.len() as u64,
                }
            }
            StorageRequest::Verify { piece, .. } => match node.broken.clone() {
                Some(fault) => StorageDone::Failed {
                    operation: StorageOperation::Write { piece },
                    fault,
                },
                None => {
                    let ok = hash(&self.metainfo, &node.content, piece)
                        == self.metainfo.piece_hash(piece);
                    let blocks = (0..geometry.blocks_in(piece))
                        .filter_map(|at| geometry.block(piece, at))
                        .map(|block| Sha1::digest(&node.content[range(block)]).into());
                    StorageDone::PieceVerified {
                        piece,
                        ok,
                        digests: blocks.collect(),
                    }
                }
            },
            StorageRequest::Discard { piece } => return node.discarded.push(piece),
        };
        node.torrent.handle_storage(self.now, done);
    }

    /// Lets time pass second by second.
    fn run(&mut self, seconds: u64) {
        for _ in 0..seconds {
            self.now += Duration::from_secs(1);
            for index in 0..self.nodes.len() {
                self.nodes[index].torrent.handle_timeout(self.now);
                self.nodes[index].torrent.check();
            }
            self.drain();
        }
    }

    /// Lets time pass in steps that a limit of the rate can follow.
    fn creep(&mut self, seconds: u64) {
        for _ in 0..10 * seconds {
            self.now += Duration::from_millis(100);
            for node in &mut self.nodes {
                node.torrent.handle_timeout(self.now);
            }
            self.drain();
        }
    }

    fn complete(&self, index: usize) -> bool {
        let node = &self.nodes[index];
        node.torrent.is_complete() && node.content == self.content
    }
}

fn hash(metainfo: &Metainfo, content: &[u8], piece: PieceIndex) -> [u8; 20] {
    let geometry = metainfo.geometry();
    let start = geometry.piece_offset(piece) as usize;
    Sha1::digest(&content[start..start + geometry.piece_len(piece) as usize]).into()
}

#[test]
fn a_file_and_its_metadata_travel_through_the_swarm() {
    let mut swarm = Swarm::new(20);
    let seed = swarm.add(true, false);
    let (a, b) = (swarm.add(false, true), swarm.add(false, true));
    swarm.connect(a, seed);
    swarm.connect(b, a);
    swarm.run(40);
    assert!(swarm.complete(a) && swarm.complete(b));
    assert_eq!(swarm.nodes[seed].torrent.stats(swarm.now).downloaded, 0);
    let stats = swarm.nodes[a].torrent.stats(swarm.now);
    assert_eq!((stats.wasted, stats.missing, stats.bytes_left), (0, 0, 0));
    let metadata = |event: &TorrentEvent| matches!(event, TorrentEvent::MetadataReceived(_));
    assert!(swarm.nodes[b].events.iter().any(metadata));
}

#[test]
fn limits_hold_in_both_directions() {
    for (up, down) in [(Some(100_000), None), (None, Some(100_000))] {
        let mut swarm = Swarm::new(40);
        let seed = swarm.add_with(true, false, |config| config.up = up);
        let leecher = swarm.add_with(false, false, |config| config.down = down);
        swarm.connect(leecher, seed);
        swarm.creep(10);
        let got = swarm.nodes[leecher].torrent.stats(swarm.now).downloaded;
        assert!(
            (950_000..=1_080_000).contains(&got),
            "{got} bytes in 10 s at {up:?} {down:?}"
        );
    }
}

#[test]
fn slots_of_a_policy_share_the_uplink_by_weight() {
    let mut swarm = Swarm::new(200);
    let mut content = swarm.content.clone();
    // It lacks a piece, so it is no seed.
    content[0] ^= 1;
    let giver = swarm.add_content(content, false, |config| {
        config.up = Some(200_000);
        config.chooser = Chooser::custom(|| {
            |round: &Round<'_>, _: &mut StdRng| {
                let slot = |peer: &PeerView| Slot {
                    key: peer.key,
                    weight: [1.0, 3.0, 0.0][peer.key.0 as usize],
                };
                round.peers.iter().map(slot).collect()
            }
        });
    });
    let takers = [(); 3].map(|()| swarm.add(false, false));
    for taker in takers {
        swarm.connect(taker, giver);
    }
    let downloaded =
        |swarm: &Swarm| takers.map(|taker| swarm.nodes[taker].torrent.stats(swarm.now).downloaded);
    swarm.creep(15);
    let before = downloaded(&swarm);
    swarm.creep(30);
    let mut got = downloaded(&swarm);
    got.iter_mut()
        .zip(before)
        .for_each(|(got, before)| *got -= before);
    let ratio = got[1] as f64 / got[0] as f64;
    assert!((2.7..3.3).contains(&ratio), "{got:?}");
    assert!(got[2] * 50 < got[1], "no weight, no upload: {got:?}");
    assert!(got[0] + got[1] > 4_500_000, "the uplink idles: {got:?}");
}

#[test]
fn who_asks_only_seeds_takes_nothing_from_others() {
    let mut swarm = Swarm::new(10);
    let mut content = swarm.content.clone();
    content[0] ^= 1;
    let (almost, seed) = (
        swarm.add_content(content, false, |_| {}),
        swarm.add(true, false),
    );
    let selfish = swarm.add_with(false, false, |config| config.only_seeds = true);
    swarm.connect(selfish, almost);
    swarm.run(20);
    assert!(swarm.nodes[selfish].received.is_empty());
    swarm.connect(selfish, seed);
    swarm.run(20);
    assert!(swarm.complete(selfish));
}

#[test]
fn a_liar_is_banned_and_honest_peers_are_not() {
    let mut swarm = Swarm::new(30);
    let (honest, liar) = (swarm.add(true, false), swarm.add(true, false));
    swarm.nodes[liar].liar = true;
    let leecher = swarm.add(false, false);
    swarm.connect(leecher, liar);
    swarm.connect(leecher, honest);
    swarm.run(120);
    assert!(swarm.complete(leecher));
    let banned = |node: &Node| -> Vec<SocketAddr> {
        let events = node.events.iter();
        let banned = events.filter_map(|event| match event {
            TorrentEvent::PeerBanned { addr, .. } => Some(*addr),
            _ => None,
        });
        banned.collect()
    };
    assert_eq!(banned(&swarm.nodes[leecher]), [Swarm::addr(liar)]);
}

#[test]
fn a_full_disk_stops_requests_and_space_resumes_them() {
    let mut swarm = Swarm::new(30);
    let seed = swarm.add(true, false);
    let leecher = swarm.add(false, false);
    let fault = StorageFault {
        kind: StorageFaultKind::Full,
        text: "full".into(),
    };
    swarm.nodes[leecher].broken = Some(fault);
    swarm.connect(leecher, seed);
    swarm.run(10);
    assert!(swarm.nodes[leecher].torrent.stats(swarm.now).paused);
    let before = swarm.nodes[leecher].received.len();
    swarm.run(20);
    assert!(
        swarm.nodes[leecher].received.len() <= before + 2,
        "asks while the disk is full"
    );
    swarm.nodes[leecher].broken = None;
    swarm.run(80);
    assert!(swarm.complete(leecher));
}

#[test]
fn only_wanted_pieces_are_fetched() {
    let mut swarm = Swarm::new(10);
    let seed = swarm.add(true, false);
    let leecher = swarm.add(false, false);
    let mut wanted = Bitfield::empty(10);
    assert!(wanted.set(3) && wanted.set(9));
    swarm.nodes[leecher].torrent.set_wanted(swarm.now, wanted);
    swarm.connect(leecher, seed);
    swarm.run(5);
    assert!(swarm.nodes[leecher].torrent.is_complete());
    assert!(
        swarm.nodes[leecher]
            .received
            .iter()
            .all(|block| [3, 9].contains(&block.piece.0))
    );
    assert!(
        swarm.nodes[leecher].links.is_empty(),
        "two that want nothing part"
    );
    swarm.nodes[leecher]
        .torrent
        .set_wanted(swarm.now, Bitfield::full(10));
    swarm.connect(leecher, seed);
    swarm.run(5);
    assert!(swarm.complete(leecher));
}

#[test]
fn what_was_begun_and_is_unwanted_leaves_the_storage() {
    let mut swarm = Swarm::new(10);
    let seed = swarm.add_with(true, false, |config| config.up = Some(16_384));
    let leecher = swarm.add(false, false);
    swarm.connect(leecher, seed);
    let begun = swarm.nodes[leecher].received[0].piece;
    let mut others = Bitfield::full(10);
    others.clear(begun.0);
    let now = swarm.now;
    swarm.nodes[leecher].torrent.set_wanted(now, others);
    swarm.nodes[leecher].torrent.check();
    swarm.drain();
    assert!(swarm.nodes[leecher].discarded.contains(&begun));
    let now = swarm.now;
    swarm.nodes[leecher]
        .torrent
        .set_wanted(now, Bitfield::full(10));
    swarm.run(60);
    assert!(swarm.complete(leecher));
}

#[test]
fn hostile_messages_never_panic_and_cost_the_connection() {
    let far = PieceIndex(u32::MAX);
    let block = Block {
        piece: far,
        begin: u32::MAX,
        len: u32::MAX,
    };
    let rows = [
        (Message::Have(far), true),
        (Message::Bitfield(Bytes::from_static(&[0xff; 9])), true),
        (Message::AllowedFast(far), true),
        (Message::SuggestPiece(far), true),
        (Message::Request(block), false),
        (Message::Cancel(block), false),
        (Message::RejectRequest(block), false),
        (
            Message::Piece {
                block,
                data: Bytes::new(),
            },
            false,
        ),
        (
            Message::Extended {
                id: 0,
                payload: Bytes::from_static(b"llll"),
            },
            false,
        ),
        (
            Message::Extended {
                id: 1,
                payload: Bytes::from_static(b"i1e"),
            },
            false,
        ),
        (
            Message::Extended {
                id: 77,
                payload: Bytes::new(),
            },
            false,
        ),
        (Message::Unknown(99), false),
    ];
    for (message, drops) in rows {
        let mut swarm = Swarm::new(10);
        let (a, b) = (swarm.add(false, false), swarm.add(false, false));
        swarm.connect(a, b);
        let key = *swarm.nodes[a].links.keys().next().unwrap();
        for times in 1..=20 {
            swarm.nodes[a]
                .torrent
                .handle_message(swarm.now, key, message.clone());
            swarm.nodes[a].torrent.check();
            let dropped = swarm.nodes[a].torrent.stats(swarm.now).peers == 0;
            assert!(!drops || dropped, "{message:?} was forgiven {times} times");
        }
        swarm.drain();
    }
}

#[test]
fn a_late_bitfield_stands_for_haves_if_it_has_news() {
    let mut swarm = Swarm::new(10);
    let (a, b) = (swarm.add(false, false), swarm.add(false, false));
    swarm.connect(a, b);
    let key = *swarm.nodes[a].links.keys().next().unwrap();
    for (bits, peers) in [([0x80, 0], 1), ([0x60, 0x40], 1), ([0xe0, 0x40], 0)] {
        let message = Message::Bitfield(Bytes::copy_from_slice(&bits));
        let torrent = &mut swarm.nodes[a].torrent;
        torrent.handle_message(swarm.now, key, message);
        torrent.check();
        assert_eq!(torrent.stats(swarm.now).peers, peers, "{bits:?}");
    }
}

#[test]
fn an_idle_torrent_sets_no_timer() {
    let mut swarm = Swarm::new(3);
    let node = swarm.add(false, false);
    assert_eq!(swarm.nodes[node].torrent.poll_timeout(), None);
    let other = swarm.add(true, false);
    swarm.connect(node, other);
    assert!(swarm.nodes[node].torrent.poll_timeout().is_some() || swarm.complete(node));
}
