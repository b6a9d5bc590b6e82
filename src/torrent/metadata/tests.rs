use super::*;

/// How a peer answers.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Manner {
    Honest,
    /// Claims the right size and sends other bytes.
    WrongBytes,
    /// Claims this size and sends zeros.
    WrongSize(u32),
    /// Claims the right size first and another with the data.
    WrongTotal,
    /// Blocks shorter than the claim.
    Short,
    Silent,
    Rejects,
    /// Every second block is wrong.
    Alternates,
    /// Wrong bytes, each just before the time-out.
    Drips,
    /// Honest, but each answer comes after the time-out.
    Late,
    /// Honest, rejecting for the first so many seconds.
    Later(u64),
}
use Manner::*;

struct Outcome {
    /// When the metadata was complete.
    took: Option<Duration>,
    liars: BTreeSet<usize>,
    /// Requests to each peer.
    asked: Vec<usize>,
}

const ROUND_TRIP: Duration = Duration::from_millis(100);
const LIMIT: Duration = Duration::from_secs(600);

fn info(len: u32) -> Vec<u8> {
    (0..len)
        .map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect()
}

impl Manner {
    fn claim(self, len: u32) -> u32 {
        match self {
            WrongSize(size) => size,
            _ => len,
        }
    }

    fn delay(self) -> Duration {
        match self {
            Drips => REQUEST_TIMEOUT - ROUND_TRIP,
            Late => REQUEST_TIMEOUT + ROUND_TRIP,
            _ => ROUND_TRIP,
        }
    }

    /// Total size and bytes, or a reject.
    fn answer(self, info: &[u8], piece: u32, age: Duration) -> Option<(u32, Vec<u8>)> {
        let len = info.len() as u32;
        let size = self.claim(len);
        let start = (piece * METADATA_BLOCK_LEN) as usize;
        let mut block = vec![0; block_len(size, piece) as usize];
        if size == len {
            let end = start + block.len();
            block.copy_from_slice(&info[start..end]);
        }
        let wrong = match self {
            Rejects => return None,
            Later(from) if age < Duration::from_secs(from) => return None,
            WrongTotal => return Some((size + 1, block)),
            Short => return Some((size, block[1..].to_vec())),
            WrongBytes | Drips => true,
            Alternates => piece % 2 == 1 || len <= METADATA_BLOCK_LEN,
            _ => false,
        };
        if wrong {
            block[0] ^= 1;
        }
        Some((size, block))
    }
}

/// Fetches `len` bytes of metadata from these peers in virtual time.
fn run(len: u32, peers: &[Manner]) -> Outcome {
    let info = info(len);
    let start = Instant::now();
    let hash = InfoHash::new(Sha1::digest(&info).into());
    let mut fetch = MetadataFetch::new(hash);
    for (at, peer) in peers.iter().enumerate() {
        fetch.offer(PeerKey(at as u64), peer.claim(len));
    }
    let mut outcome = Outcome {
        took: None,
        liars: BTreeSet::new(),
        asked: vec![0; peers.len()],
    };
    // Answers on their way: when, serial number, from whom, which block.
    let mut answers: BTreeSet<(Instant, usize, PeerKey, u32)> = BTreeSet::new();
    let (mut now, mut serial) = (start, 0);
    while now < start + LIMIT {
        while let Some((key, piece)) = fetch.poll_request(now) {
            let peer = peers[key.0 as usize];
            outcome.asked[key.0 as usize] += 1;
            serial += 1;
            assert!(serial < 100_000, "requests without end");
            if peer != Silent {
                answers.insert((now + peer.delay(), serial, key, piece));
            }
            assert!(
                fetch
                    .peers
                    .values()
                    .all(|peer| peer.outstanding() <= MAX_PER_PEER)
            );
        }
        assert!(fetch.assemblies.len() <= MAX_ASSEMBLIES);
        let held = fetch.assemblies.values().flat_map(|a| a.blocks.values());
        let held: usize = held.map(|(_, data)| data.len()).sum();
        assert!(held as u64 <= MAX_LARGE + MAX_ASSEMBLIES as u64 * u64::from(SMALL));

        let arrival = answers.first().map(|answer| answer.0);
        let deadline = fetch.next_deadline();
        assert!(
            deadline.is_none_or(|at| at > now),
            "a deadline that does not pass"
        );
        let Some(next) = arrival.into_iter().chain(deadline).min() else {
            break;
        };
        now = next;
        if arrival != Some(next) {
            continue;
        }
        let Some((_, _, key, piece)) = answers.pop_first() else {
            break;
        };
        let answer = peers[key.0 as usize].answer(&info, piece, now - start);
        let Some((total, data)) = answer else {
            fetch.on_reject(now, key, piece);
            continue;
        };
        match fetch.on_data(now, key, piece, total, &data) {
            MetadataStep::Continue | MetadataStep::Unrequested => {}
            MetadataStep::Complete(bytes) => {
                assert_eq!(bytes, info);
                outcome.took = Some(now - start);
                break;
            }
            MetadataStep::Failed { liars } => {
                for liar in liars {
                    outcome.liars.insert(liar.0 as usize);
                }
            }
        }
    }
    outcome
}

const MIB: u32 = 1 << 20;

#[test]
fn an_honest_peer_is_heard_whoever_else_speaks() {
    let crowd = |liar: Manner, count: usize| {
        let mut peers = vec![liar; count];
        peers.push(Honest);
        peers
    };
    // metadata length, peers, seconds at most
    let rows = [
        (1, vec![Honest], 1),
        (100, vec![Honest], 1),
        (METADATA_BLOCK_LEN, vec![Honest], 1),
        (50_000, vec![Honest], 1),
        (MIB, vec![Honest], 4),
        (MIB, vec![Honest; 5], 1),
        (MAX_SIZE, vec![Honest, Honest], 60),
        (50_000, vec![WrongBytes, Honest], 2),
        (50_000, vec![Honest, WrongBytes], 2),
        (50_000, vec![WrongSize(20_000), Honest], 2),
        (50_000, vec![WrongSize(MAX_SIZE), Honest], 2),
        (50_000, vec![WrongTotal, Honest], 2),
        (50_000, vec![Short, Honest], 2),
        (50_000, vec![Silent, Honest], 5),
        (50_000, vec![Rejects, Honest], 2),
        (50_000, vec![Alternates, Honest], 2),
        (MIB, vec![Alternates, Honest, Alternates], 12),
        (50_000, vec![Drips, Honest], 10),
        (50_000, vec![Late], 60),
        (50_000, vec![Later(20)], 60),
        (50_000, crowd(WrongBytes, 30), 5),
        (50_000, crowd(Alternates, 30), 5),
        (50_000, crowd(Silent, 30), 30),
        (50_000, crowd(Rejects, 30), 10),
        (50_000, crowd(Drips, 30), 240),
        (
            50_000,
            (1..=30)
                .map(|n| WrongSize(n * MIB))
                .chain([Honest])
                .collect(),
            240,
        ),
        (
            MIB,
            [WrongBytes, Silent, Rejects, Alternates, Drips, Honest].to_vec(),
            60,
        ),
    ];
    for (len, peers, seconds) in rows {
        let outcome = run(len, &peers);
        let took = outcome.took.expect("it completes");
        assert!(
            took <= Duration::from_secs(seconds),
            "{len} {peers:?}: {took:?}"
        );
        for (at, peer) in peers.iter().enumerate() {
            let honest = matches!(peer, Honest | Late | Later(_));
            assert!(
                !honest || !outcome.liars.contains(&at),
                "{peers:?}: {at} was blamed"
            );
        }
    }
}

#[test]
fn certain_liars_are_named_and_not_asked_again() {
    for liar in [WrongBytes, Alternates, WrongTotal, Short, WrongSize(20_000)] {
        let outcome = run(50_000, &[liar]);
        assert_eq!((outcome.took, outcome.liars.len()), (None, 1), "{liar:?}");
        assert!(
            outcome.asked[0] <= 4,
            "{liar:?}: asked {} times",
            outcome.asked[0]
        );
    }
    // Nobody is named for what several may have done.
    let mut fetch = MetadataFetch::new(InfoHash::new([0; 20]));
    let now = Instant::now();
    let mut step = MetadataStep::Continue;
    for peer in [PeerKey(1), PeerKey(2)] {
        fetch.offer(peer, 2 * METADATA_BLOCK_LEN);
    }
    for _ in 0..2 {
        let (peer, piece) = fetch.poll_request(now).unwrap();
        let data = vec![0; METADATA_BLOCK_LEN as usize];
        step = fetch.on_data(now, peer, piece, 2 * METADATA_BLOCK_LEN, &data);
    }
    assert_eq!(step, MetadataStep::Failed { liars: vec![] });
}

#[test]
fn a_named_liar_cannot_offer_again() {
    let mut fetch = MetadataFetch::new(InfoHash::new([0; 20]));
    let now = Instant::now();
    fetch.offer(PeerKey(1), 10);
    assert_eq!(fetch.poll_request(now), Some((PeerKey(1), 0)));
    let failed = MetadataStep::Failed {
        liars: vec![PeerKey(1)],
    };
    assert_eq!(fetch.on_data(now, PeerKey(1), 0, 10, &[0; 10]), failed);
    fetch.offer(PeerKey(1), 20);
    assert_eq!(
        (fetch.poll_request(now), fetch.next_deadline()),
        (None, None)
    );
}

#[test]
fn unasked_blocks_and_absurd_sizes_are_ignored() {
    let mut fetch = MetadataFetch::new(InfoHash::new([0; 20]));
    let now = Instant::now();
    fetch.offer(PeerKey(1), 0);
    fetch.offer(PeerKey(2), MAX_SIZE + 1);
    fetch.offer(PeerKey(3), u32::MAX);
    assert_eq!(fetch.poll_request(now), None);
    fetch.offer(PeerKey(4), 100);
    assert_eq!(fetch.poll_request(now), Some((PeerKey(4), 0)));
    for (peer, piece) in [(4, 1), (4, u32::MAX), (5, 0)] {
        let step = fetch.on_data(now, PeerKey(peer), piece, 100, &[0; 100]);
        assert_eq!(step, MetadataStep::Unrequested);
        fetch.on_reject(now, PeerKey(peer), piece);
    }
    assert_eq!(fetch.progress(), Some((0, 100)));
    fetch.peer_gone(PeerKey(4));
    assert_eq!(
        (fetch.poll_request(now), fetch.next_deadline()),
        (None, None)
    );
}

#[test]
fn silent_and_rejecting_peers_are_asked_ever_less() {
    for peer in [Silent, Rejects] {
        let outcome = run(50_000, &[peer]);
        assert!(outcome.liars.is_empty() && outcome.took.is_none());
        assert!(
            (10..100).contains(&outcome.asked[0]),
            "{peer:?}: {}",
            outcome.asked[0]
        );
    }
}

#[test]
fn the_same_swarm_gives_the_same_run() {
    let peers = [Alternates, Honest, Silent, WrongBytes, Drips];
    let (one, two) = (run(MIB, &peers), run(MIB, &peers));
    assert_eq!((one.took, one.asked), (two.took, two.asked));
}

#[test]
fn a_minutes_service_is_two_copies() {
    let start = Instant::now();
    let mut serve = MetadataServe::default();
    assert!(!serve.allow(start, 0));
    let mut serve = MetadataServe::default();
    for minute in 0..3 {
        let now = start + SERVE_PERIOD * minute;
        let answered = (0..100).filter(|_| serve.allow(now, 5)).count();
        assert_eq!(answered, 10);
    }
}
