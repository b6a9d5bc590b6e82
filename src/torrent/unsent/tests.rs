use rand::SeedableRng;

use super::*;

const PIECE: u64 = 65_536;
const SECOND: Duration = Duration::from_secs(1);

fn ledger(pieces: u32) -> (Unsent, Picker) {
    let geometry = Geometry::new(u64::from(pieces) * PIECE, PIECE as u32).unwrap();
    let rng = &mut StdRng::seed_from_u64(1);
    (Unsent::new(geometry, SECOND * 30, rng), Picker::new(pieces))
}

/// Sends all of a piece.
fn send(unsent: &mut Unsent, now: Instant, key: PeerKey, piece: PieceIndex) {
    let len = PIECE as u32;
    unsent.on_block(
        key,
        Block {
            piece,
            begin: 0,
            len,
        },
    );
    unsent.on_sent(now, key, PIECE);
}

/// Hands out a piece a second; peer `key` passes each on after `delays[key]`, one at a time. Gives
/// how many pieces each peer got.
fn hand_out(delays: &[Option<u64>], pieces: u32) -> Vec<u32> {
    let (mut unsent, picker) = ledger(pieces);
    let start = Instant::now();
    let keys: Vec<PeerKey> = (0..delays.len() as u64).map(PeerKey).collect();
    keys.iter().for_each(|key| unsent.join(start, *key, false));
    let mut queues: Vec<VecDeque<PieceIndex>> = vec![VecDeque::new(); delays.len()];
    let mut free_at = vec![0; delays.len()];
    let mut got = vec![0; delays.len()];
    for second in 0..u64::from(pieces) {
        let now = start + SECOND * second as u32;
        let load = |key: &PeerKey| unsent.load(now, *key).unwrap();
        let key = keys.iter().min_by(|a, b| {
            let ((a, x), (b, y)) = (load(a), load(b));
            a.total_cmp(&b).then(x.total_cmp(&y))
        });
        let key = *key.unwrap();
        let piece = unsent.next(key, &picker).unwrap();
        unsent.show(now, key, piece);
        send(&mut unsent, now, key, piece);
        let at = key.0 as usize;
        got[at] += 1;
        queues[at].push_back(piece);
        for (at, delay) in delays.iter().enumerate() {
            let Some(delay) = delay else { continue };
            if second >= free_at[at]
                && let Some(piece) = queues[at].pop_front()
            {
                free_at[at] = second + delay;
                let other = PeerKey((at as u64 + 1) % delays.len() as u64);
                unsent.on_have(now + SECOND * *delay as u32, other, piece);
            }
        }
    }
    got
}

#[test]
fn pieces_go_where_they_are_passed_on() {
    let got = hand_out(&[Some(2), Some(2), Some(8), Some(8)], 400);
    assert!(got[0] > 2 * got[2] && got[1] > 2 * got[3], "{got:?}");
    assert!(got[2] > 20 && got[3] > 20, "{got:?}");
}

#[test]
fn who_passes_nothing_on_gets_next_to_nothing() {
    let got = hand_out(&[Some(3), Some(3), Some(3), Some(3), None, None], 400);
    assert!(got[4] + got[5] <= 20, "{got:?}");
}

#[test]
fn no_piece_is_handed_out_twice_before_all_were_once() {
    let (mut unsent, picker) = ledger(50);
    let now = Instant::now();
    unsent.join(now, PeerKey(1), false);
    unsent.join(now, PeerKey(2), false);
    let mut seen = vec![0; 50];
    let mut turn = 0;
    while let Some(piece) = unsent.next(PeerKey(1 + turn % 2), &picker) {
        let key = PeerKey(1 + turn % 2);
        unsent.show(now, key, piece);
        send(&mut unsent, now, key, piece);
        seen[piece.as_usize()] += 1;
        turn += 1;
        assert!(turn <= 50 || seen.iter().all(|times| *times >= 1));
    }
    assert!(
        seen.iter().all(|times| *times == 2),
        "kept by both: {seen:?}"
    );
}

#[test]
fn what_a_leaver_held_is_handed_out_again_and_what_others_have_is_not() {
    let (mut unsent, mut picker) = ledger(4);
    let now = Instant::now();
    let rng = &mut StdRng::seed_from_u64(1);
    for key in 1..=2 {
        unsent.join(now, PeerKey(key), false);
    }
    let mut held = Vec::new();
    for _ in 0..3 {
        let piece = unsent.next(PeerKey(1), &picker).unwrap();
        unsent.show(now, PeerKey(1), piece);
        send(&mut unsent, now, PeerKey(1), piece);
        held.push(piece);
    }
    unsent.on_have(now, PeerKey(2), held[0]);
    picker.on_have(held[0], rng);
    // Somebody had this one from elsewhere and nobody said so to the ledger.
    picker.on_have(held[1], rng);
    unsent.release(PeerKey(1));
    unsent.accounts.remove(&PeerKey(1));
    let mut again = Vec::new();
    while let Some(piece) = unsent.next(PeerKey(2), &picker) {
        unsent.show(now, PeerKey(2), piece);
        send(&mut unsent, now, PeerKey(2), piece);
        again.push(piece);
    }
    assert_eq!(again.len(), 2);
    assert!(again.contains(&held[2]) && !again.contains(&held[0]));
}

#[test]
fn a_fast_peer_is_shown_more_ahead() {
    let (mut unsent, picker) = ledger(1_000);
    let mut now = Instant::now();
    let key = PeerKey(1);
    unsent.join(now, key, false);
    let mut most = 0;
    for _ in 0..200 {
        while !unsent.accounts[&key].is_busy(now) {
            let piece = unsent.next(key, &picker).unwrap();
            unsent.show(now, key, piece);
        }
        most = most.max(unsent.accounts[&key].left.len());
        let piece = *unsent.accounts[&key].left.keys().next().unwrap();
        now += Duration::from_millis(50);
        send(&mut unsent, now, key, piece);
    }
    // Twenty pieces a second, a second and a half ahead.
    assert!((25..=40).contains(&most), "{most}");
}

#[test]
fn few_peers_are_fed_by_a_slow_line_and_all_slots_by_a_fast_one() {
    let (mut unsent, _) = ledger(10);
    let start = Instant::now();
    assert_eq!(unsent.feeders(5), 5, "nothing is known yet");
    for (rate, feeders) in [(10_000.0, 2), (65_536.0, 3), (1e6, 5)] {
        for second in 0..20 {
            unsent.tick(start + SECOND * second, rate);
        }
        assert_eq!(unsent.feeders(5), feeders, "{rate}");
    }
    assert_eq!(unsent.feeders(0), 0);
}

#[test]
fn who_comes_asks_for_everything_and_goes_again_makes_nothing_grow() {
    const PIECES: u32 = 50;
    let (mut unsent, picker) = ledger(PIECES);
    let now = Instant::now();
    for visit in 0..20 {
        let key = PeerKey(visit);
        unsent.join(now, key, true);
        for piece in unsent.geometry.pieces() {
            unsent.on_request(key, piece);
        }
        unsent.release(key);
        unsent.accounts.remove(&key);
        let most = 3 * PIECES as usize;
        assert!(unsent.pool.len() <= most && unsent.again.len() <= most);
    }
    // And every piece is still there to be handed out, once.
    let key = PeerKey(99);
    unsent.join(now, key, false);
    let mut out: Vec<u32> = std::iter::from_fn(|| {
        let piece = unsent.next(key, &picker)?;
        unsent.show(now, key, piece);
        Some(piece.0)
    })
    .collect();
    out.sort_unstable();
    assert_eq!(out, (0..PIECES).collect::<Vec<_>>());
}
