//! One torrent and peers played by hand, message by message.

use super::*;

pub(super) struct Alone {
    pub(super) now: Instant,
    pub(super) torrent: Torrent,
}

impl Alone {
    /// A torrent without data whose storage is open.
    pub(super) fn new(pieces: u32, network: Network) -> Self {
        Self::with(Bitfield::empty(pieces), network)
    }

    /// A torrent with these pieces.
    pub(super) fn with(have: Bitfield, network: Network) -> Self {
        let pieces = have.len();
        let metainfo = Swarm::new(pieces).metainfo;
        let config = TorrentConfig::new(PeerId::with_suffix([0xee; 12]), network);
        let now = Instant::now();
        let source = Source::Metainfo(metainfo);
        let mut torrent = Torrent::new(config, source, [0; 32], now);
        torrent.handle_storage(now, StorageDone::Opened { have });
        Self { now, torrent }
    }

    pub(super) fn connect(&mut self, addr: &str, id: u8) -> Result<PeerKey, Reject> {
        self.connect_as(addr, id, Reserved::ours(false))
    }

    pub(super) fn connect_as(
        &mut self,
        addr: &str,
        id: u8,
        reserved: Reserved,
    ) -> Result<PeerKey, Reject> {
        let hello = Handshake {
            reserved,
            info_hash: self.torrent.info_hash(),
            peer_id: PeerId::with_suffix([id; 12]),
        };
        let addr = addr.parse().unwrap();
        self.torrent
            .peer_connected(self.now, addr, Direction::Inbound, &hello)
    }

    /// A peer that has everything and lets us take it.
    pub(super) fn seed(&mut self, addr: &str, id: u8) -> PeerKey {
        let key = self.connect(addr, id).unwrap();
        self.say(key, Message::HaveAll);
        self.say(key, Message::Unchoke);
        key
    }

    pub(super) fn say(&mut self, key: PeerKey, message: Message) {
        self.torrent.handle_message(self.now, key, message);
        self.torrent.check();
    }

    pub(super) fn give(&mut self, key: PeerKey, block: Block) {
        let data = Bytes::from(vec![0; block.len as usize]);
        self.say(key, Message::Piece { block, data });
    }

    pub(super) fn wait(&mut self, seconds: u64) {
        for _ in 0..seconds {
            self.now += Duration::from_secs(1);
            self.torrent.handle_timeout(self.now);
            self.torrent.check();
        }
    }

    /// What was said since, and to whom.
    pub(super) fn said(&mut self) -> Vec<(PeerKey, Message)> {
        let outputs = std::iter::from_fn(|| self.torrent.poll_output());
        let said = outputs.filter_map(|output| match output {
            Output::Send { peer, message } => Some((peer, message)),
            _ => None,
        });
        said.collect()
    }

    pub(super) fn asked(&mut self) -> Vec<(PeerKey, Block)> {
        let said = self.said().into_iter();
        said.filter_map(|(key, message)| match message {
            Message::Request(block) => Some((key, block)),
            _ => None,
        })
        .collect()
    }
}

#[test]
fn a_liar_under_a_stolen_id_is_banned_alone() {
    let mut alone = Alone::new(1, Network::Mainline);
    let liar = alone.connect("8.8.8.8:50000", 1).unwrap();
    alone
        .torrent
        .punish(alone.now, liar, PeerMisbehaved::CorruptData);
    let again = alone.connect("8.8.8.8:50001", 2);
    assert_eq!(again, Err(Reject::Banned));
    assert!(alone.connect("9.9.9.9:6881", 1).is_ok());
}

#[test]
fn one_address_takes_few_places_outside_ones_own_network() {
    for (network, want) in [(Network::Mainline, 8), (Network::Private, 20)] {
        let mut alone = Alone::new(1, network);
        let ip = if network == Network::Mainline {
            "8.8.8.8"
        } else {
            "10.0.0.1"
        };
        let peers = (0..20).filter(|n| {
            alone
                .connect(&format!("{ip}:{}", 2_000 + n), *n as u8)
                .is_ok()
        });
        assert_eq!(peers.count(), want, "{network:?}");
    }
}

#[test]
fn who_refuses_everything_is_left_alone() {
    let mut alone = Alone::new(300, Network::Private);
    let peer = alone.seed("10.0.0.1:6881", 1);
    let mut requests = 0;
    for _ in 0..20 {
        loop {
            let asked = alone.asked();
            if asked.is_empty() || requests > 10_000 {
                break;
            }
            requests += asked.len();
            for (_, block) in asked {
                alone.say(peer, Message::RejectRequest(block));
            }
        }
        alone.wait(1);
    }
    assert!((100..1_000).contains(&requests), "{requests} in 20 s");
}

#[test]
fn rejects_after_a_choke_blame_no_piece() {
    let mut alone = Alone::new(300, Network::Private);
    let peer = alone.seed("10.0.0.1:6881", 1);
    let asked = alone.asked();
    alone.say(peer, Message::Choke);
    for (_, block) in &asked {
        alone.say(peer, Message::RejectRequest(*block));
    }
    alone.say(peer, Message::Unchoke);
    let pieces = |asked: &[(PeerKey, Block)]| -> BTreeSet<PieceIndex> {
        asked.iter().map(|(_, block)| block.piece).collect()
    };
    let again = alone.torrent.peers[&peer].may_be_asked(alone.now, asked[0].1.piece);
    assert!(again && !pieces(&alone.asked()).is_empty());
}

/// A piece that failed with two senders is asked of one peer; that one gives a block and then
/// refuses the rest, or says nothing any more.
#[test]
fn a_piece_on_parole_is_not_held_up() {
    for refuses in [true, false] {
        let mut alone = Alone::new(1, Network::Private);
        let digests = [[0; 20]; 2];
        for (number, key) in [(0, 100), (1, 101)] {
            let block = Block {
                piece: PieceIndex(0),
                begin: number * BLOCK_LEN,
                len: BLOCK_LEN,
            };
            alone
                .torrent
                .blame
                .on_block(block, PeerKey(key), Swarm::addr(key as usize));
        }
        assert!(
            alone
                .torrent
                .blame
                .on_failed(PieceIndex(0), &digests)
                .is_empty()
        );
        let owner = alone.seed("10.0.0.1:6881", 1);
        let mut asked = alone.asked();
        assert_eq!(asked.len(), 2);
        let other = alone.seed("10.0.0.2:6881", 2);
        alone.give(owner, asked.remove(0).1);
        assert!(alone.asked().is_empty(), "the piece is on parole");
        let mut helped = false;
        for _ in 0..70 {
            for (key, block) in std::mem::take(&mut asked) {
                helped |= key == other;
                if key == owner && refuses {
                    alone.say(owner, Message::RejectRequest(block));
                }
            }
            alone.wait(1);
            asked = alone.asked();
        }
        assert!(helped, "held up, refuses: {refuses}");
    }
}

#[test]
fn a_late_block_is_taken_back_from_whom_it_was_asked_next() {
    let mut alone = Alone::new(1, Network::Private);
    let late = alone.seed("10.0.0.1:6881", 1);
    alone.wait(61);
    alone.said();
    let next = alone.seed("10.0.0.2:6881", 2);
    let asked = alone.asked();
    let (_, block) = asked.iter().find(|(key, _)| *key == next).copied().unwrap();
    alone.give(late, block);
    assert!(alone.said().contains(&(next, Message::Cancel(block))));
}

#[test]
fn a_magnet_that_turns_out_private_dials_only_whom_the_user_named() {
    let metainfo = Swarm::new(1).metainfo;
    let builder = TorrentBuilder::file("file", metainfo.geometry().total_len()).unwrap();
    let builder = builder.piece_len(PIECE_LEN).unwrap().private(true);
    let metainfo = builder
        .build(&[metainfo.piece_hash(PieceIndex(0))])
        .unwrap();
    let mut config = TorrentConfig::new(PeerId::with_suffix([1; 12]), Network::Private);
    config.max_peers = 0;
    let now = Instant::now();
    let source = Source::InfoHash(metainfo.info_hash());
    let mut torrent = Torrent::new(config, source, [0; 32], now);
    let addr = |n: u8| SocketAddr::from(([10, 0, 0, n], 6881));
    torrent.add_candidates(now, &[addr(1)], CandidateSource::Dht);
    torrent.add_candidates(now, &[addr(2)], CandidateSource::User);
    assert_eq!(torrent.stats(now).candidates, 2);
    torrent.on_metadata(now, Bytes::copy_from_slice(metainfo.info()));
    torrent.add_candidates(now, &[addr(3)], CandidateSource::Dht);
    torrent.add_candidates(now, &[addr(4)], CandidateSource::Pex);
    assert_eq!(torrent.stats(now).candidates, 1);
}

#[test]
fn strangers_give_whole_pieces_until_one_has_passed() {
    let pieces_of = |asked: &[(PeerKey, Block)], key: PeerKey| -> BTreeSet<PieceIndex> {
        let theirs = asked.iter().filter(|(to, _)| *to == key);
        theirs.map(|(_, block)| block.piece).collect()
    };
    let mut alone = Alone::new(300, Network::Private);
    let (one, two) = (
        alone.seed("10.0.0.1:6881", 1),
        alone.seed("10.0.0.2:6881", 2),
    );
    let asked = alone.asked();
    let (first, second) = (pieces_of(&asked, one), pieces_of(&asked, two));
    assert!(first.is_disjoint(&second), "{first:?} {second:?}");

    let piece = *first.first().unwrap();
    for (_, block) in asked.iter().filter(|(_, block)| block.piece == piece) {
        alone.give(one, *block);
    }
    let digests = vec![[0; 20]; 2];
    let now = alone.now;
    let verified = StorageDone::PieceVerified {
        piece,
        ok: true,
        digests,
    };
    alone.torrent.handle_storage(now, verified);
    assert!(alone.torrent.peers[&one].proven && !alone.torrent.peers[&two].proven);
}

#[test]
fn of_many_strangers_the_last_give_a_part_of_one_piece_each() {
    let mut alone = Alone::new(300, Network::Private);
    let mut pieces: BTreeMap<PeerKey, BTreeSet<PieceIndex>> = BTreeMap::new();
    let mut last = None;
    for n in 1..=12 {
        alone.seed(&format!("10.0.0.{n}:6881"), n);
        for (key, block) in alone.asked() {
            pieces.entry(key).or_default().insert(block.piece);
            last = Some((key, block));
        }
    }
    let counts: Vec<usize> = pieces.values().map(BTreeSet::len).collect();
    assert!(counts[0] > 1 && counts[11] == 1, "{counts:?}");
    // Who gives a part gets no other while that one is not proven.
    let (key, block) = last.unwrap();
    alone.give(key, block);
    let again = alone.asked();
    let mut more = again.iter().filter(|(to, _)| *to == key);
    assert!(more.all(|(_, more)| more.piece == block.piece), "{again:?}");
}

#[test]
fn a_late_block_counts_although_its_piece_was_given_up() {
    let mut alone = Alone::new(300, Network::Private);
    let slow = alone.seed("10.0.0.1:6881", 1);
    let asked = alone.asked();
    alone.wait(61);
    let again: Vec<Block> = alone.asked().into_iter().map(|(_, block)| block).collect();
    for (_, block) in asked.iter().filter(|(_, block)| !again.contains(block)) {
        alone.give(slow, *block);
    }
    let stats = alone.torrent.stats(alone.now);
    assert!(stats.downloaded > 0 && stats.wasted == 0, "{stats:?}");
}
