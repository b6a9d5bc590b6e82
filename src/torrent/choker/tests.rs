use rand::SeedableRng;

use super::*;

const SECOND: Duration = Duration::from_secs(1);
const ROUND: Duration = Duration::from_secs(10);
const KIB: u64 = 1_024;

fn config() -> ChokerConfig {
    ChokerConfig {
        slots: 4,
        optimistic_slots: 1,
        interval: ROUND,
        optimistic_interval: ROUND * 3,
        chooser: Chooser::TitForTat,
        seed_order: SeedOrder::LeastServed,
    }
}

fn rng(seed: u8) -> StdRng {
    StdRng::from_seed([seed; 32])
}

/// An old neighbour that wants pieces, has no slot, and neither gave nor got anything.
pub(in crate::torrent) fn peer(key: u64, at: Instant) -> PeerView {
    PeerView {
        key: PeerKey(key),
        addr: IpAddr::from([8, 0, 0, key as u8]),
        interested: true,
        unchoked: false,
        unchoked_since: None,
        received_rate: 0.0,
        received: 0,
        last_received: None,
        sent: 0,
        snubbed: false,
        unchokes_us: false,
        connected_at: at,
        pieces_missing: 100,
        last_optimistic: None,
    }
}

/// A neighbour that gives `rate` at this moment.
fn giver(key: u64, rate: f64, now: Instant) -> PeerView {
    PeerView {
        received_rate: rate,
        received: 1,
        last_received: Some(now),
        ..peer(key, now)
    }
}

/// Carries out what the choker decided.
fn apply(peers: &mut [PeerView], chosen: &[PeerKey], choker: &Choker, now: Instant) {
    for peer in peers {
        let unchoked = chosen.contains(&peer.key);
        if unchoked != peer.unchoked {
            peer.unchoked = unchoked;
            peer.unchoked_since = unchoked.then_some(now);
        }
        if choker.optimistic().contains(&peer.key) {
            peer.last_optimistic = Some(now);
        }
    }
}

/// A choker and its neighbours over time.
struct Scene {
    now: Instant,
    rng: StdRng,
    choker: Choker,
    peers: Vec<PeerView>,
}

impl Scene {
    fn new(peers: impl Fn(Instant) -> Vec<PeerView>) -> Self {
        let start = Instant::now();
        let choker = Choker::new(config(), start);
        // A choke interval later, so that the neighbours are not newcomers.
        Self {
            now: start + ROUND * 10,
            rng: rng(1),
            choker,
            peers: peers(start),
        }
    }

    fn round(&mut self, mode: Mode) -> Vec<PeerKey> {
        self.now += ROUND;
        assert!(self.choker.due(self.now));
        let chosen = self
            .choker
            .decide(self.now, mode, &self.peers, &mut self.rng);
        assert!(!self.choker.due(self.now) && chosen.is_sorted());
        apply(&mut self.peers, &chosen, &self.choker, self.now);
        chosen
    }

    /// Who holds a regular slot.
    fn regular(&self) -> Vec<u64> {
        let regular = |p: &&PeerView| p.unchoked && !self.choker.optimistic().contains(&p.key);
        self.peers
            .iter()
            .filter(regular)
            .map(|peer| peer.key.0)
            .collect()
    }

    /// A round's worth of a seed's uplink, shared among those that are unchoked by `weight`.
    fn serve(&mut self, weight: impl Fn(u64) -> u64) {
        let unchoked = |p: &&mut PeerView| p.unchoked;
        let total: u64 = self
            .peers
            .iter()
            .filter(|p| p.unchoked)
            .map(|p| weight(p.key.0))
            .sum();
        for peer in self.peers.iter_mut().filter(unchoked) {
            peer.sent += 10_000 * KIB * weight(peer.key.0) / total;
        }
    }
}

fn jain(shares: &[u64]) -> f64 {
    let sum: f64 = shares.iter().map(|share| *share as f64).sum();
    let squares: f64 = shares.iter().map(|share| (*share as f64).powi(2)).sum();
    sum * sum / (squares * shares.len() as f64)
}

#[test]
fn the_best_four_win_and_one_more_is_tried() {
    let now = Instant::now();
    let mut scene = Scene::new(|at| (1..=8).map(|key| peer(key, at)).collect());
    scene.now = now + ROUND * 10;
    for (peer, rate) in scene
        .peers
        .iter_mut()
        .zip([5.0, 80.0, 7.0, 60.0, 90.0, 6.0, 70.0, 99.0])
    {
        peer.received_rate = rate;
        peer.last_received = Some(scene.now);
    }
    scene.peers[7].interested = false;
    let chosen = scene.round(Mode::Leech);
    assert_eq!(scene.regular(), [2, 4, 5, 7]);
    assert_eq!((chosen.len(), scene.choker.optimistic().len()), (5, 1));
    assert!(!chosen.contains(&PeerKey(8)), "it wants nothing");
}

#[test]
fn a_slot_changes_hands_only_for_clearly_more() {
    let now = Instant::now();
    for (rival, winner) in [(95.0, 1), (105.0, 1), (109.0, 1), (111.0, 2), (200.0, 2)] {
        let mut holder = giver(1, 100.0, now);
        holder.unchoked = true;
        holder.unchoked_since = Some(now);
        let rival_view = giver(2, rival, now);
        let chosen = leech_slots(now, &config(), &[&holder, &rival_view], 1, &mut rng(1));
        assert_eq!(chosen, [PeerKey(winner)], "{rival}");
    }
}

#[test]
fn who_snubs_us_loses_its_slot() {
    let mut scene = Scene::new(|at| (1..=6).map(|key| peer(key, at)).collect());
    for round in 0..3 {
        for peer in &mut scene.peers {
            peer.received_rate = 100.0 / peer.key.0 as f64;
            peer.last_received = Some(scene.now);
            peer.snubbed = round == 2 && peer.key == PeerKey(1);
        }
        scene.round(Mode::Leech);
        assert_eq!(scene.regular().contains(&1), round < 2);
    }
    assert_eq!(scene.regular(), [2, 3, 4, 5]);
}

#[test]
fn a_free_rider_lives_on_optimistic_slots_and_less_and_less() {
    let mut scene = Scene::new(|at| (1..=8).map(|key| peer(key, at)).collect());
    let mut turns = [0; 9];
    for _ in 0..120 {
        for peer in scene.peers.iter_mut().filter(|peer| peer.key != PeerKey(8)) {
            // Peers give to whom they get from, and a little to everybody, by their own optimism.
            peer.received_rate = if peer.unchoked { 50.0 } else { 1.0 } + peer.key.0 as f64;
            peer.received += 1_000;
            peer.last_received = Some(scene.now);
        }
        for peer in scene.peers.iter_mut().filter(|peer| peer.unchoked) {
            peer.sent += 1_000;
        }
        let chosen = scene.round(Mode::Leech);
        assert!(!scene.regular().contains(&8), "a regular slot is a wage");
        for key in chosen {
            turns[key.0 as usize] += 1;
        }
    }
    assert!(
        turns[8] <= 10,
        "one optimistic turn in ten minutes: {turns:?}"
    );
    assert!(
        turns[1..8].iter().all(|rounds| *rounds > turns[8]),
        "{turns:?}"
    );
}

#[test]
fn a_wasted_optimistic_turn_is_remembered_for_ten_minutes() {
    let start = Instant::now();
    let turn = config().optimistic_interval;
    let seen = start + turn * 2;
    // When its last block came, in seconds, 60 being the last round that saw it in the slot.
    for (came, wasted) in [
        (None, true),
        (Some(20), true),
        (Some(40), false),
        (Some(65), false),
    ] {
        let view = PeerView {
            last_optimistic: Some(seen),
            last_received: came.map(|at| start + SECOND * at),
            ..peer(1, start)
        };
        assert_eq!(thankless(seen + turn, &config(), &view), wasted, "{came:?}");
        assert!(!thankless(seen + turn * THANKLESS_TURNS, &config(), &view));
    }
}

#[test]
fn strangers_begin_to_trade_at_once_and_get_a_minute() {
    let mut scene = Scene::new(|at| (1..=9).map(|key| peer(key, at)).collect());
    scene.round(Mode::Leech);
    let first = scene.regular();
    assert_eq!(
        first.len(),
        4,
        "no slot idles while nobody has given anything"
    );
    for _ in 0..5 {
        scene
            .peers
            .iter_mut()
            .filter(|p| p.unchoked)
            .for_each(|p| p.sent += 1_000);
        scene.round(Mode::Leech);
        assert_eq!(scene.regular(), first, "no flapping among strangers");
    }
    scene
        .peers
        .iter_mut()
        .filter(|p| p.unchoked)
        .for_each(|p| p.sent += 1_000);
    scene.round(Mode::Leech);
    assert!(
        first.iter().all(|key| !scene.regular().contains(key)),
        "the minute is over"
    );
}

#[test]
fn takers_get_no_spare_slot_beside_a_giver_but_all_of_them_when_there_is_none() {
    let now = Instant::now();
    let taker = |key| PeerView {
        sent: 1_000,
        ..peer(key, now)
    };
    let late = now + ROUND * 10;
    for mode in [Mode::Leech, Mode::Seed] {
        let mut choker = Choker::new(config(), now);
        let peers = [
            giver(1, 10.0, late),
            taker(2),
            taker(3),
            taker(4),
            taker(5),
            taker(6),
        ];
        let chosen = choker.decide(late, mode, &peers, &mut rng(1));
        let count = if mode == Mode::Leech { 2 } else { 5 };
        assert_eq!(
            (chosen.len(), choker.optimistic().len()),
            (count, 1),
            "{mode:?}"
        );
    }
    let mut choker = Choker::new(config(), now);
    let peers: Vec<_> = (1..=9).map(taker).collect();
    assert_eq!(
        choker.decide(late, Mode::Leech, &peers, &mut rng(1)).len(),
        5
    );
    assert_eq!(
        choker.optimistic().len(),
        5,
        "more trials when nobody gives"
    );
}

#[test]
fn a_newcomer_is_three_times_as_likely() {
    let start = Instant::now();
    let now = start + ROUND * 3;
    let givers = (1..=4).map(|key| giver(key, 10.0, start));
    let mut peers: Vec<_> = givers.chain((5..=8).map(|key| peer(key, start))).collect();
    for peer in &mut peers {
        peer.last_received = peer.last_received.map(|_| now);
    }
    peers[7].connected_at = start + SECOND;
    let mut rng = rng(7);
    let mut wins = 0;
    for _ in 0..2_000 {
        // Its turn began after the others had come, and before the newcomer.
        let mut choker = Choker::new(config(), start + SECOND);
        choker.decide(now + SECOND, Mode::Leech, &peers, &mut rng);
        wins += u32::from(choker.optimistic() == [PeerKey(8)]);
    }
    // Three tickets of six.
    assert!((900..1_100).contains(&wins), "{wins}");
}

#[test]
fn who_ever_gave_us_something_is_three_times_as_likely_to_a_leecher() {
    let start = Instant::now();
    let now = start + ROUND * 30;
    let givers = (1..=4).map(|key| giver(key, 10.0, now));
    let mut peers: Vec<_> = givers.chain((5..=8).map(|key| peer(key, start))).collect();
    for peer in &mut peers[..4] {
        peer.last_received = Some(now);
    }
    // Too long ago for a regular slot.
    (peers[7].received, peers[7].last_received) = (1, Some(start));
    let wins = |mode| {
        let mut rng = rng(7);
        let won = (0..2_000).filter(|_| {
            let mut choker = Choker::new(config(), start + SECOND);
            choker.decide(now, mode, &peers, &mut rng);
            choker.optimistic() == [PeerKey(8)]
        });
        won.count()
    };
    // Three tickets of six.
    let partner = wins(Mode::Leech);
    assert!((900..1_100).contains(&partner), "{partner}");
    // A seed owes nobody.
    let anybody = wins(Mode::Seed);
    assert!(anybody < 700, "{anybody}");
}

#[test]
fn the_optimistic_slot_moves_every_third_round() {
    for mode in [Mode::Leech, Mode::Seed] {
        let mut scene = Scene::new(|at| (1..=20).map(|key| peer(key, at)).collect());
        let mut holders = Vec::new();
        for _ in 0..31 {
            let at = scene.now;
            for peer in &mut scene.peers[..4] {
                (peer.received_rate, peer.last_received) = (10.0, Some(at));
            }
            scene.round(mode);
            holders.push(scene.choker.optimistic()[0]);
        }
        for turn in holders.chunks(3).collect::<Vec<_>>().windows(2) {
            assert!(
                turn[0].iter().all(|holder| *holder == turn[0][0]),
                "{mode:?} {holders:?}"
            );
            assert_ne!(turn[0][0], turn[1][0], "{mode:?} {holders:?}");
        }
    }
}

#[test]
fn a_seed_serves_everybody_alike() {
    // How fast peer `key` reads when uplink is there for all.
    let readers: [fn(u64) -> u64; 3] =
        [|_| 1, |key| 1 + key % 3, |key| if key < 3 { 20 } else { 1 }];
    for (at, weight) in readers.into_iter().enumerate() {
        let mut scene = Scene::new(|at| (0..20).map(|key| peer(key, at)).collect());
        for _ in 0..400 {
            scene.round(Mode::Seed);
            scene.serve(weight);
        }
        let served: Vec<u64> = scene.peers.iter().map(|peer| peer.sent).collect();
        assert!(
            jain(&served) >= 0.95,
            "readers {at}: {} {served:?}",
            jain(&served)
        );
    }
}

#[test]
fn who_takes_fastest_keeps_a_seed_that_goes_by_speed() {
    let mut scene = Scene::new(|at| (0..20).map(|key| peer(key, at)).collect());
    scene.choker.config.seed_order = SeedOrder::Fastest;
    for _ in 0..400 {
        scene.round(Mode::Seed);
        scene.serve(|key| if key < 3 { 20 } else { 1 });
    }
    let total: u64 = scene.peers.iter().map(|peer| peer.sent).sum();
    let greedy: u64 = scene.peers[..3].iter().map(|peer| peer.sent).sum();
    assert!(greedy * 10 >= total * 7, "{greedy} of {total}");
}

#[test]
fn slow_readers_do_not_keep_a_seed_from_the_others() {
    let mut scene = Scene::new(|at| (0..24).map(|key| peer(key, at)).collect());
    let mut idle_rounds = 0;
    for _ in 0..400 {
        let chosen = scene.round(Mode::Seed);
        idle_rounds += u32::from(chosen.iter().all(|key| key.0 < 8));
        scene.serve(|key| if key < 8 { 1 } else { 1_000 });
    }
    assert!(idle_rounds < 40, "a tenth of the uplink: {idle_rounds}");
}

#[test]
fn coming_back_under_a_new_name_gains_nothing_from_a_seed() {
    let mut scene = Scene::new(|at| (0..20).map(|key| peer(key, at)).collect());
    // The random slot is not what this is about.
    scene.choker.config.optimistic_slots = 0;
    let mut taken = 0;
    for round in 0..400 {
        scene.round(Mode::Seed);
        scene.serve(|_| 1);
        let now = scene.now;
        let attacker = scene.peers.last_mut().unwrap();
        if !attacker.unchoked {
            taken += attacker.sent;
            *attacker = PeerView {
                pieces_missing: u32::MAX,
                ..peer(1_000 + round, now)
            };
        }
    }
    let honest = scene.peers[..19].iter().map(|peer| peer.sent).sum::<u64>() / 19;
    assert!(taken <= honest, "{taken} {honest}");
}

#[test]
fn one_host_has_one_slot_while_others_wait() {
    let shared = IpAddr::from([9, 9, 9, 9]);
    let crowd = |others: u64| {
        move |at| {
            let sybils = (100..110).map(move |key| PeerView {
                addr: shared,
                ..peer(key, at)
            });
            (0..others)
                .map(move |key| peer(key, at))
                .chain(sybils)
                .collect::<Vec<_>>()
        }
    };
    let mut scene = Scene::new(crowd(12));
    for _ in 0..50 {
        let chosen = scene.round(Mode::Seed);
        let sybils = chosen.iter().filter(|key| key.0 >= 100).count();
        assert!(chosen.len() == 5 && sybils <= 1, "{chosen:?}");
        scene.serve(|_| 1);
    }
    let mut scene = Scene::new(crowd(0));
    assert_eq!(scene.round(Mode::Seed).len(), 5, "nobody else waits");
    let mut scene = Scene::new(crowd(2));
    assert_eq!(scene.round(Mode::Seed).len(), 5);
    assert_eq!(host("127.0.0.1".parse().unwrap()), None);
    assert_eq!(
        host("2a00::1".parse().unwrap()),
        host("2a00::2:0:0:9".parse().unwrap())
    );
    assert_ne!(
        host("2a00::1".parse().unwrap()),
        host("2a00:0:0:1::1".parse().unwrap())
    );
}

#[test]
fn equals_are_served_by_what_they_lack() {
    let now = Instant::now();
    let lacking = |key, pieces_missing| PeerView {
        pieces_missing,
        ..peer(key, now)
    };
    let peers = [lacking(1, 5), lacking(2, 90), lacking(3, 50)];
    let queue: Vec<_> = peers.iter().collect();
    let chosen = seed_slots(now, &config(), &queue, 2, &Ledger::default());
    assert_eq!(chosen, [PeerKey(2), PeerKey(3)]);
}

#[test]
fn filling_chokes_nobody_and_leaves_no_slot_empty() {
    for seed in 0..200 {
        let mut rng = rng(seed);
        let start = Instant::now();
        let now = start + ROUND * 9;
        let mode = if rng.random() {
            Mode::Leech
        } else {
            Mode::Seed
        };
        let mut choker = Choker::new(config(), start);
        let count = rng.random_range(0..20);
        let mut peers: Vec<_> = (0..count).map(|key| peer(key, start)).collect();
        for peer in &mut peers {
            peer.interested = rng.random();
            if rng.random() {
                (peer.received_rate, peer.last_received) = (rng.random(), Some(now));
            }
        }
        let held = choker.decide(now, mode, &peers, &mut rng);
        apply(&mut peers, &held, &choker, now);
        assert_eq!(
            choker.fill(now, mode, &peers, &mut rng),
            [],
            "a round leaves nothing free"
        );

        peers.retain(|_| rng.random_bool(0.7));
        peers
            .iter_mut()
            .for_each(|peer| peer.interested |= rng.random_bool(0.3));
        let fresh = choker.fill(now + SECOND, mode, &peers, &mut rng);
        let unchoked = peers.iter().filter(|p| p.unchoked && p.interested).count();
        let wanting = peers.iter().filter(|p| p.interested).count();
        assert!(fresh.is_sorted() && choker.optimistic().len() <= 1);
        assert!(
            peers
                .iter()
                .all(|p| !fresh.contains(&p.key) || (p.interested && !p.unchoked))
        );
        // Strangers that owe nothing may have every slot, so only interest limits them.
        assert_eq!(
            unchoked + fresh.len(),
            wanting.min(5).max(unchoked),
            "{mode:?} {seed}"
        );
    }
}

#[test]
fn the_first_interested_peer_does_not_wait_for_a_round() {
    let start = Instant::now();
    for mode in [Mode::Leech, Mode::Seed] {
        let mut choker = Choker::new(config(), start);
        assert_eq!(choker.next_deadline(), start + ROUND);
        let peers = [peer(1, start)];
        assert_eq!(
            choker.fill(start + SECOND, mode, &peers, &mut rng(1)),
            [PeerKey(1)]
        );
        assert!(!choker.due(start + SECOND) && choker.due(start + ROUND));
    }
}

#[test]
fn without_slots_nobody_is_unchoked() {
    let start = Instant::now();
    let peers = [giver(1, 5.0, start), peer(2, start)];
    for mode in [Mode::Leech, Mode::Seed] {
        let mut choker = Choker::new(config(), start);
        choker.set_slots(0);
        assert_eq!(choker.fill(start, mode, &peers, &mut rng(1)), []);
        assert_eq!(choker.decide(start, mode, &peers, &mut rng(1)), []);
        choker.set_slots(1);
        assert_eq!(choker.decide(start, mode, &peers, &mut rng(1)).len(), 2);
    }
}
