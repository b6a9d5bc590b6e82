//! Random sequences of operations against one torrent among strangers: it never panics, keeps its
//! invariants, announces only what is verified, bans no honest peer, never spins, and completes as
//! soon as there is an honest seed and a storage that works.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use mainswarm::{
    bitfield::Bitfield,
    ids::PeerId,
    metainfo::{BLOCK_LEN, Block, Metainfo, PieceIndex, create::TorrentBuilder},
    network::Network,
    torrent::{
        CandidateSource, Direction, Output, PeerKey, PeerMisbehaved, Source, StorageDone,
        StorageFault, StorageFaultKind, StorageOperation, StorageRequest, Torrent, TorrentConfig,
        TorrentEvent,
    },
    wire::{
        Handshake, Message, Reserved,
        extension::{
            self, ExtensionHandshake, METADATA_BLOCK_LEN, MetadataMessage, PexFlags, PexMessage,
        },
    },
};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use sha1::{Digest, Sha1};

/// The far end of a connection.
struct Stranger {
    addr: SocketAddr,
    fast: bool,
    asked: VecDeque<Block>,
    metadata_asked: VecDeque<u32>,
    has: Bitfield,
    /// Always tells the truth and answers everything.
    honest: bool,
}

struct World {
    rng: StdRng,
    now: Instant,
    metainfo: Arc<Metainfo>,
    content: Vec<u8>,
    torrent: Torrent,
    strangers: BTreeMap<PeerKey, Stranger>,
    storage: VecDeque<StorageRequest>,
    open: VecDeque<Arc<Metainfo>>,
    /// What was handed to the storage, and which pieces it has verified.
    disk: Vec<u8>,
    verified: BTreeSet<u32>,
    dials: Vec<SocketAddr>,
    /// Addresses that sent wrong bytes.
    liars: BTreeSet<SocketAddr>,
    next: u16,
    writes_fail: bool,
}

const PIECE_LEN: u32 = 4 * BLOCK_LEN;
const UT_METADATA: u8 = 3;

impl World {
    fn new(seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let pieces = rng.random_range(1..12);
        let len = pieces * PIECE_LEN - rng.random_range(0..PIECE_LEN);
        let content: Vec<u8> = (0..len)
            .map(|at| (at % 251) as u8 ^ (at >> 13) as u8)
            .collect();
        let hashes: Vec<[u8; 20]> = content
            .chunks(PIECE_LEN as usize)
            .map(|piece| Sha1::digest(piece).into())
            .collect();
        let builder = TorrentBuilder::file("file", u64::from(len)).unwrap();
        let builder = builder.piece_len(PIECE_LEN).unwrap();
        let builder = builder.private(rng.random_bool(0.2));
        let metainfo = Arc::new(builder.build(&hashes).unwrap());
        let mut config = TorrentConfig::new(PeerId::with_suffix([0xee; 12]), Network::Private);
        config.max_peers = 12;
        config.write_high_water = 6 * u64::from(BLOCK_LEN);
        config.down = rng.random_bool(0.2).then_some(400_000);
        config.up = rng.random_bool(0.2).then_some(200_000);
        let source = if rng.random_bool(0.5) {
            Source::InfoHash(metainfo.info_hash())
        } else {
            Source::Metainfo(Arc::clone(&metainfo))
        };
        let now = Instant::now();
        let torrent = Torrent::new(config, source, [seed as u8; 32], now);
        let disk = vec![0; content.len()];
        let mut world = Self {
            rng,
            now,
            metainfo,
            content,
            torrent,
            strangers: BTreeMap::new(),
            storage: VecDeque::new(),
            open: VecDeque::new(),
            disk,
            verified: BTreeSet::new(),
            dials: Vec::new(),
            liars: BTreeSet::new(),
            next: 0,
            writes_fail: true,
        };
        world.drain();
        world
    }

    fn pieces(&self) -> u32 {
        self.metainfo.geometry().piece_count()
    }

    fn chance(&mut self, probability: f64) -> bool {
        self.rng.random_bool(probability)
    }

    /// An index that may be one too far.
    fn piece(&mut self) -> PieceIndex {
        let beyond = u32::from(self.chance(0.02));
        PieceIndex(self.rng.random_range(0..self.pieces() + beyond))
    }

    fn block(&mut self) -> Block {
        let piece = self.piece();
        let geometry = self.metainfo.geometry();
        if self.chance(0.1) {
            let [begin, len] =
                [0; 2].map(|_: u32| self.rng.random::<u32>() >> self.rng.random_range(0..32));
            return Block { piece, begin, len };
        }
        let index = self.rng.random_range(0..geometry.blocks_in(piece).max(1));
        let fallback = Block {
            piece,
            begin: 0,
            len: BLOCK_LEN,
        };
        geometry.block(piece, index).unwrap_or(fallback)
    }

    fn bytes(&self, block: Block) -> Option<Bytes> {
        let start = usize::try_from(self.metainfo.geometry().block_offset(block)).ok()?;
        let range = start..start.checked_add(block.len as usize)?;
        self.content.get(range).map(Bytes::copy_from_slice)
    }

    fn send(&mut self, key: PeerKey, message: Message) {
        if self.strangers.contains_key(&key) {
            self.torrent.handle_message(self.now, key, message);
            self.drain();
        }
    }

    fn somebody(&mut self) -> Option<PeerKey> {
        let count = self.strangers.len();
        let at = self.rng.random_range(0..count.max(1));
        self.strangers.keys().nth(at).copied()
    }

    fn connect(&mut self, honest: bool) -> Option<PeerKey> {
        self.next += 1;
        let outbound = self.chance(0.5);
        let addr = match self.dials.pop() {
            Some(addr) if outbound => addr,
            Some(addr) => {
                self.torrent.connect_failed(self.now, addr);
                return None;
            }
            None => SocketAddr::from(([127, 0, (self.next >> 8) as u8, self.next as u8], 2_000)),
        };
        let fast = honest || self.chance(0.7);
        let mut reserved = Reserved::ours(self.chance(0.5));
        if !fast {
            reserved.0[7] &= !4;
        }
        let mut id = [0; 12];
        id[..2].copy_from_slice(&self.next.to_be_bytes());
        let hello = Handshake {
            reserved,
            info_hash: self.metainfo.info_hash(),
            peer_id: PeerId::with_suffix(id),
        };
        let direction = if outbound {
            Direction::Outbound
        } else {
            Direction::Inbound
        };
        let key = self
            .torrent
            .peer_connected(self.now, addr, direction, &hello);
        let stranger = Stranger {
            addr,
            fast,
            asked: VecDeque::new(),
            metadata_asked: VecDeque::new(),
            has: Bitfield::empty(self.pieces()),
            honest,
        };
        let key = key.ok();
        self.strangers.extend(key.map(|key| (key, stranger)));
        self.drain();
        key
    }

    fn drain(&mut self) {
        while let Some(output) = self.torrent.poll_output() {
            match output {
                Output::OpenStorage(metainfo) => self.open.push_back(metainfo),
                Output::Connect { addr } => self.dials.push(addr),
                Output::Send { peer, message } => self.on_sent(peer, message),
                Output::Disconnect { peer, .. } => {
                    self.strangers.remove(&peer);
                }
                Output::Storage(request) => self.storage.push_back(request),
                Output::Event(TorrentEvent::PeerBanned { addr, fault }) => {
                    let corrupt = matches!(
                        fault,
                        PeerMisbehaved::CorruptData | PeerMisbehaved::CorruptMetadata
                    );
                    assert!(
                        !corrupt || self.liars.contains(&addr),
                        "{addr} banned for {fault:?}"
                    );
                }
                Output::Event(_) => {}
            }
        }
        self.torrent.check();
    }

    fn on_sent(&mut self, key: PeerKey, message: Message) {
        let Some(stranger) = self.strangers.get_mut(&key) else {
            // The greeting comes before the key is known.
            return;
        };
        match message {
            Message::Request(block) => {
                let here = self
                    .torrent
                    .have()
                    .is_some_and(|have| have.get(block.piece.0));
                assert!(!here, "{block:?} is here");
                assert!(self.metainfo.geometry().block_index(block).is_some());
                stranger.asked.push_back(block);
            }
            Message::Cancel(block) => stranger.asked.retain(|asked| *asked != block),
            Message::Have(piece) => assert!(self.verified.contains(&piece.0)),
            Message::Piece { block, data } => {
                assert!(self.verified.contains(&block.piece.0));
                let len = data.len();
                self.torrent.handle_sent(self.now, key, len);
            }
            Message::Extended {
                id: UT_METADATA,
                payload,
            } => {
                if let Ok(MetadataMessage::Request { piece }) = MetadataMessage::decode(&payload) {
                    stranger.metadata_asked.push_back(piece);
                }
            }
            Message::RejectRequest(_) | Message::AllowedFast(_) | Message::HaveAll => {
                assert!(stranger.fast);
            }
            _ => {}
        }
    }

    /// One job of the storage, in order.
    fn store(&mut self) {
        let fails = self.writes_fail && self.chance(0.05);
        let kinds = [
            StorageFaultKind::Full,
            StorageFaultKind::Vanished,
            StorageFaultKind::Permission,
        ];
        let kind = kinds[self.rng.random_range(0..3)];
        let fault = StorageFault {
            kind,
            text: "a fault".into(),
        };
        let failed = |operation| StorageDone::Failed {
            operation,
            fault: fault.clone(),
        };
        if let Some(metainfo) = self.open.pop_front() {
            let mut have = Bitfield::empty(metainfo.geometry().piece_count());
            self.verified.iter().for_each(|piece| {
                have.set(*piece);
            });
            let opened = if fails {
                failed(StorageOperation::Open)
            } else {
                StorageDone::Opened { have }
            };
            self.torrent.handle_storage(self.now, opened);
            return self.drain();
        }
        let geometry = self.metainfo.geometry();
        let range = |block: Block| {
            let start = geometry.block_offset(block) as usize;
            start..start + block.len as usize
        };
        let done = match self.storage.pop_front() {
            None => return,
            Some(StorageRequest::Read { peer, block }) if fails => {
                if fault.kind == StorageFaultKind::Vanished {
                    self.verified.remove(&block.piece.0);
                }
                failed(StorageOperation::Read { peer, block })
            }
            Some(StorageRequest::Read { peer, block }) => StorageDone::BlockRead {
                peer,
                block,
                data: Bytes::copy_from_slice(&self.disk[range(block)]),
            },
            Some(StorageRequest::Write { block, data }) => {
                let bytes = data.len() as u64;
                if fails {
                    // What was to be verified with this block is given up as well.
                    self.storage.retain(|request| {
                        let piece = block.piece;
                        !matches!(request, StorageRequest::Verify { piece: of, .. } if *of == piece)
                    });
                    let operation = StorageOperation::Write { piece: block.piece };
                    self.torrent.handle_storage(self.now, failed(operation));
                } else {
                    self.disk[range(block)].copy_from_slice(&data);
                }
                StorageDone::Written { bytes }
            }
            Some(StorageRequest::Verify { piece, .. }) if fails => {
                failed(StorageOperation::Write { piece })
            }
            Some(StorageRequest::Verify { piece, .. }) => {
                let blocks =
                    (0..geometry.blocks_in(piece)).filter_map(|at| geometry.block(piece, at));
                let digests = blocks.map(|block| Sha1::digest(&self.disk[range(block)]).into());
                let start = geometry.piece_offset(piece) as usize;
                let whole = start..start + geometry.piece_len(piece) as usize;
                let ok = self.disk[whole.clone()] == self.content[whole];
                if ok {
                    self.verified.insert(piece.0);
                }
                StorageDone::PieceVerified {
                    piece,
                    ok,
                    digests: digests.collect(),
                }
            }
            Some(StorageRequest::Discard { .. }) => return,
        };
        self.torrent.handle_storage(self.now, done);
        self.drain();
    }

    /// Answers what a stranger was asked for, honestly or not.
    fn answer(&mut self, key: PeerKey, honest: bool) {
        let Some(stranger) = self.strangers.get_mut(&key) else {
            return;
        };
        let (addr, fast) = (stranger.addr, stranger.fast);
        if let Some(piece) = stranger.metadata_asked.pop_front() {
            return self.answer_metadata(key, piece, honest);
        }
        let Some(block) = stranger.asked.pop_front() else {
            return;
        };
        let has = stranger.has.get(block.piece.0);
        if !honest && fast && self.chance(0.4) {
            return self.send(key, Message::RejectRequest(block));
        }
        if !honest && self.chance(0.2) {
            return;
        }
        assert!(!honest || has);
        let mut data = self.bytes(block).unwrap().to_vec();
        if !honest && self.chance(0.3) {
            data[0] ^= 1;
            self.liars.insert(addr);
        }
        self.send(
            key,
            Message::Piece {
                block,
                data: data.into(),
            },
        );
    }

    fn answer_metadata(&mut self, key: PeerKey, piece: u32, honest: bool) {
        let info = self.metainfo.info();
        let start = (piece * METADATA_BLOCK_LEN) as usize;
        let end = info.len().min(start + METADATA_BLOCK_LEN as usize);
        let mut data = info.get(start..end).unwrap_or_default().to_vec();
        let mut total_size = info.len() as u32;
        if !honest && self.chance(0.5) {
            let reject = MetadataMessage::Reject { piece };
            return self.extended(key, extension::UT_METADATA_ID, reject.encode());
        }
        if !honest && self.chance(0.3) {
            data.iter_mut().for_each(|byte| *byte ^= 0x55);
            total_size ^= u32::from(self.chance(0.2));
        }
        if !honest {
            self.liars
                .extend(self.strangers.get(&key).map(|stranger| stranger.addr));
        }
        let answer = MetadataMessage::Data {
            piece,
            total_size,
            data: data.into(),
        };
        self.extended(key, extension::UT_METADATA_ID, answer.encode());
    }

    fn extended(&mut self, key: PeerKey, id: u8, payload: Bytes) {
        self.send(key, Message::Extended { id, payload });
    }

    fn greet(&mut self, key: PeerKey, honest: bool) {
        let lie = !honest && self.chance(0.2);
        let size = self.metainfo.info().len() as u32 + u32::from(lie);
        let hello = ExtensionHandshake {
            ut_metadata: Some(UT_METADATA),
            ut_pex: Some(4),
            metadata_size: Some(size),
            listen_port: (!honest && self.chance(0.5)).then_some(2_000),
            request_queue: (!honest && self.chance(0.5)).then(|| self.rng.random_range(0..9)),
            ..ExtensionHandshake::default()
        };
        if lie {
            self.liars
                .extend(self.strangers.get(&key).map(|stranger| stranger.addr));
        }
        self.extended(key, extension::HANDSHAKE_ID, hello.encode());
    }

    fn say(&mut self, key: PeerKey) {
        let pieces = self.pieces();
        let message = match self.rng.random_range(0..18) {
            0 => Message::Choke,
            1..=4 => Message::Unchoke,
            5 => Message::Interested,
            6 => Message::NotInterested,
            7 | 8 => {
                let piece = self.piece();
                self.note(key, &[piece.0]);
                Message::Have(piece)
            }
            9 | 10 => {
                let mut bits = Bitfield::empty(pieces);
                (0..pieces).for_each(|piece| {
                    if self.rng.random_bool(0.6) {
                        bits.set(piece);
                    }
                });
                self.note(key, &bits.ones().collect::<Vec<_>>());
                Message::Bitfield(Bytes::copy_from_slice(bits.as_bytes()))
            }
            11 => {
                self.note(key, &(0..pieces).collect::<Vec<_>>());
                Message::HaveAll
            }
            12 => Message::HaveNone,
            13 => Message::Request(self.block()),
            14 => Message::Cancel(self.block()),
            15 => Message::AllowedFast(self.piece()),
            16 => Message::SuggestPiece(self.piece()),
            _ => match self.rng.random_range(0..5) {
                0 => Message::RejectRequest(self.block()),
                1 => Message::Port(self.rng.random()),
                2 => return self.greet(key, false),
                3 => {
                    let addr = SocketAddr::from(([127, 9, 0, self.rng.random()], 3_000));
                    let added = vec![(addr, PexFlags::default())];
                    let pex = PexMessage {
                        added,
                        dropped: vec![],
                    };
                    return self.extended(key, extension::UT_PEX_ID, pex.encode());
                }
                _ => Message::KeepAlive,
            },
        };
        self.send(key, message);
    }

    fn note(&mut self, key: PeerKey, pieces: &[u32]) {
        if let Some(stranger) = self.strangers.get_mut(&key) {
            pieces.iter().for_each(|piece| {
                stranger.has.set(*piece);
            });
        }
    }

    fn pass(&mut self, time: Duration) {
        let until = self.now + time;
        let mut calls = 0;
        while let Some(at) = self.torrent.poll_timeout().filter(|at| *at <= until) {
            calls = if at > self.now { 0 } else { calls + 1 };
            assert!(calls < 20, "the timer spins");
            self.now = self.now.max(at);
            self.torrent.handle_timeout(self.now);
            self.drain();
        }
        self.now = until;
        self.torrent.handle_timeout(until);
        self.drain();
    }

    fn operate(&mut self) {
        match self.rng.random_range(0..40) {
            0 | 1 => {
                let key = self.connect(false);
                if let Some(key) = key.filter(|_| self.rng.random_bool(0.7)) {
                    self.greet(key, false);
                }
            }
            2 => {
                if let Some(key) = self.somebody() {
                    self.strangers.remove(&key);
                    self.torrent.peer_closed(self.now, key);
                    self.drain();
                }
            }
            3..=14 => {
                if let Some(key) = self.somebody() {
                    self.say(key);
                }
            }
            15..=26 => {
                if let Some(key) = self.somebody() {
                    let honest = self.chance(0.6) && self.strangers[&key].has.is_full();
                    self.answer(key, honest);
                }
            }
            27..=33 => self.store(),
            34 | 35 => {
                let time = self.rng.random_range(1..4_000);
                self.pass(Duration::from_millis(time));
            }
            36 if self.chance(0.1) => self.pass(Duration::from_secs(70)),
            37 => {
                self.torrent.resume(self.now);
                self.drain();
            }
            38 if self.chance(0.2) => {
                let mut wanted = Bitfield::empty(self.pieces());
                (0..self.pieces()).for_each(|piece| {
                    if self.rng.random_bool(0.7) {
                        wanted.set(piece);
                    }
                });
                self.torrent.set_wanted(self.now, wanted);
                self.drain();
            }
            _ => {
                let addr = SocketAddr::from(([127, 8, 0, self.rng.random()], 4_000));
                self.torrent
                    .add_candidates(self.now, &[addr], CandidateSource::Dht);
                self.drain();
            }
        }
    }

    /// An honest seed comes and the storage works again: everything must be here in the end.
    fn finish(&mut self) {
        self.writes_fail = false;
        let full = Bitfield::full(self.pieces());
        self.torrent.set_wanted(self.now, full.clone());
        self.drain();
        let mut seed = None;
        for _ in 0..1_200 {
            while !self.storage.is_empty() || !self.open.is_empty() {
                self.store();
            }
            self.torrent.resume(self.now);
            self.drain();
            if self.torrent.is_complete() && self.verified.len() as u32 == self.pieces() {
                return;
            }
            if seed.is_none_or(|key| !self.strangers.contains_key(&key)) {
                seed = self.connect(true);
                if let Some(key) = seed {
                    self.greet(key, true);
                    self.note(key, &(0..self.pieces()).collect::<Vec<_>>());
                    self.send(key, Message::HaveAll);
                    self.send(key, Message::Unchoke);
                }
            }
            while let Some(key) = seed
                && let Some(stranger) = self.strangers.get(&key)
                && !(stranger.asked.is_empty() && stranger.metadata_asked.is_empty())
            {
                assert!(stranger.honest);
                self.answer(key, true);
                while !self.storage.is_empty() {
                    self.store();
                }
            }
            // Strangers keep their connections alive and owe whatever they were asked for.
            for key in self.strangers.keys().copied().collect::<Vec<_>>() {
                self.send(key, Message::KeepAlive);
            }
            self.pass(Duration::from_secs(1));
        }
        panic!(
            "stuck at {:?} of {}: {:?}",
            self.verified,
            self.pieces(),
            self.torrent.stats(self.now)
        );
    }
}

#[test]
fn whatever_happens_it_holds_and_completes() {
    let seeds = std::env::var("SEEDS").map_or(0..300, |text| {
        let (from, to) = text.split_once('-').unwrap();
        from.parse().unwrap()..to.parse().unwrap()
    });
    for seed in seeds {
        let result = std::panic::catch_unwind(|| {
            let mut world = World::new(seed);
            for _ in 0..600 {
                world.operate();
            }
            world.finish();
        });
        assert!(result.is_ok(), "seed {seed}");
    }
}
