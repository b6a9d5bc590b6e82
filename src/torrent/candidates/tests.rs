use CandidateSource::{Dht, Pex, User};
use rand::SeedableRng;

use super::*;

fn addr(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// Address number `n` of the public network.
fn public(n: u32) -> SocketAddr {
    SocketAddr::new(Ipv4Addr::from_bits(0x0800_0000 + n).into(), 6881)
}

struct Setup {
    now: Instant,
    rng: StdRng,
    candidates: Candidates,
}

fn setup(network: Network, max: usize) -> Setup {
    Setup {
        now: Instant::now(),
        rng: StdRng::from_seed([1; 32]),
        candidates: Candidates::new(network, max),
    }
}

impl Setup {
    fn add(&mut self, addr: SocketAddr, source: CandidateSource) -> bool {
        self.candidates.add(self.now, addr, source)
    }

    fn dial(&mut self) -> Option<SocketAddr> {
        self.candidates.next_to_dial(self.now, &mut self.rng)
    }

    /// Waits until an address can be dialled, dials it in vain, and returns the wait.
    fn fail_once(&mut self) -> Option<Duration> {
        let at = self.candidates.next_ready(self.now)?;
        let wait = at.saturating_duration_since(self.now);
        self.now = self.now.max(at);
        let addr = self.dial().expect("ready");
        self.candidates.on_failed(self.now, addr);
        Some(wait)
    }
}

#[test]
fn only_addresses_of_the_network_come_in_unless_the_user_insists() {
    let rows = [
        (Network::Mainline, "8.8.8.8:6881", Pex, true),
        (Network::Mainline, "127.0.0.1:6881", Dht, false),
        (Network::Mainline, "10.0.0.1:6881", Pex, false),
        (Network::Mainline, "10.0.0.1:6881", User, true),
        (Network::Mainline, "8.8.8.8:0", User, false),
        (Network::Private, "127.0.0.1:6881", Dht, true),
        (Network::Private, "8.8.8.8:6881", Dht, false),
    ];
    for (network, text, source, taken) in rows {
        let mut s = setup(network, 10);
        assert_eq!(
            s.add(addr(text), source),
            taken,
            "{network} {text} {source:?}"
        );
        assert!(!s.add(addr(text), source), "it is not new any more");
        assert_eq!(s.dial(), taken.then(|| addr(text)));
    }
}

#[test]
fn the_users_first_then_fewest_failures_then_the_longest_untried() {
    let mut s = setup(Network::Mainline, 10);
    s.add(public(1), Dht);
    s.fail_once();
    s.add(public(2), Pex);
    s.add(public(3), User);
    assert_eq!(s.dial(), Some(public(3)));
    assert_eq!(s.dial(), Some(public(2)));
    s.now += secs(10);
    assert_eq!(s.dial(), Some(public(1)));
    assert_eq!(s.dial(), None);

    let mut s = setup(Network::Mainline, 10);
    for n in [1, 2] {
        s.add(public(n), Dht);
        let dialled = s.dial().unwrap();
        s.candidates.on_connected(dialled);
        s.candidates.on_closed(s.now, dialled, true);
        s.now += secs(1);
    }
    s.now += secs(100);
    assert_eq!([s.dial(), s.dial()], [Some(public(1)), Some(public(2))]);
}

#[test]
fn pauses_grow_and_strangers_are_forgotten() {
    let mut s = setup(Network::Mainline, 10);
    s.add(public(1), Dht);
    for pause in [0, 5, 15, 60, 300, 1_800] {
        let wait = s.fail_once().unwrap();
        assert!(
            secs(pause) <= wait && wait <= secs(pause) * 3 / 2,
            "{pause} {wait:?}"
        );
    }
    assert_eq!((s.fail_once(), s.candidates.known.len()), (None, 0));

    for (network, source) in [(Network::Mainline, User), (Network::Private, User)] {
        let mut s = setup(network, 10);
        s.add(addr("127.0.0.1:7000"), source);
        for pause in [0, 1, 2, 5, 15, 60, 60, 60, 60] {
            let wait = s.fail_once().unwrap();
            assert!(
                secs(pause) <= wait && wait <= secs(pause) * 3 / 2,
                "{pause} {wait:?}"
            );
        }
    }
}

#[test]
fn a_connected_or_dialled_address_is_not_dialled_and_comes_back() {
    let mut s = setup(Network::Mainline, 10);
    s.add(public(1), Dht);
    s.candidates.on_connected(public(1));
    assert_eq!((s.dial(), s.candidates.next_ready(s.now)), (None, None));
    s.candidates.on_closed(s.now, public(1), true);
    s.now += secs(8);
    assert_eq!(s.candidates.dialable(s.now), 1);
    assert_eq!((s.dial(), s.dial()), (Some(public(1)), None));
    s.candidates.postpone(s.now, public(1), secs(600));
    assert_eq!(s.candidates.next_ready(s.now), Some(s.now + secs(600)));
}

#[test]
fn low_ports_need_two_kinds_of_source_on_mainline() {
    let web = addr("8.8.8.8:80");
    let mut s = setup(Network::Mainline, 10);
    s.add(web, Pex);
    s.add(web, Pex);
    assert_eq!((s.dial(), s.candidates.next_ready(s.now)), (None, None));
    s.add(web, Dht);
    assert_eq!(s.dial(), Some(web));

    let mut s = setup(Network::Mainline, 10);
    s.add(web, User);
    assert_eq!(s.dial(), Some(web));
    let mut s = setup(Network::Private, 10);
    s.add(addr("10.0.0.1:80"), Pex);
    assert_eq!(s.dial(), Some(addr("10.0.0.1:80")));
}

#[test]
fn the_store_is_bounded_and_hearsay_has_half_of_it() {
    let mut s = setup(Network::Mainline, 100);
    for n in 0..1_000 {
        s.add(public(n), Pex);
    }
    assert_eq!(s.candidates.known.len(), 50);
    for n in 1_000..2_000 {
        s.add(public(n), Dht);
    }
    assert_eq!(s.candidates.known.len(), 100);
    let hearsay = (0..1_000).filter(|n| s.candidates.known.contains_key(&public(*n)));
    assert_eq!(
        hearsay.count(),
        0,
        "the DHT's addresses take the place of hearsay"
    );

    let failed = s.dial().unwrap();
    s.candidates.on_failed(s.now, failed);
    assert!(s.add(public(5_000), Dht), "a failed address makes room");
    assert!(!s.candidates.known.contains_key(&failed));
    assert!(s.add(public(6_000), User) && s.candidates.known.len() == 101);
}

#[test]
fn connected_peers_and_the_users_are_never_evicted() {
    let mut s = setup(Network::Mainline, 4);
    for n in 0..4 {
        s.add(public(n), Pex);
    }
    s.candidates.on_connected(public(0));
    s.add(public(10), User);
    for n in 100..200 {
        s.add(public(n), Dht);
    }
    assert!(
        [0, 10]
            .iter()
            .all(|n| s.candidates.known.contains_key(&public(*n)))
    );
    for n in 200..300 {
        s.candidates.on_connected(public(n));
    }
    for n in 200..300 {
        s.candidates.on_closed(s.now, public(n), false);
    }
    assert!(s.candidates.known.len() <= 5 && s.candidates.known.contains_key(&public(10)));
}

#[test]
fn a_ban_covers_the_ip_but_not_the_neighbours_on_localhost() {
    // banned, asked, whether that is banned too
    let rows = [
        ("8.8.8.8:6881", "8.8.8.8:50000", true),
        ("8.8.8.8:6881", "[::ffff:8.8.8.8]:1", true),
        ("8.8.8.8:6881", "8.8.8.9:6881", false),
        ("127.0.0.1:7001", "127.0.0.1:7001", true),
        ("127.0.0.1:7001", "127.0.0.1:7002", false),
        ("[::1]:7001", "[::1]:7002", false),
        ("127.1.0.5:7001", "127.1.0.5:7002", true),
    ];
    for (banned, asked, want) in rows {
        let mut s = setup(Network::Private, 10);
        s.candidates.ban(s.now, addr(banned), secs(60));
        assert_eq!(
            s.candidates.is_banned(s.now, addr(asked)),
            want,
            "{banned} {asked}"
        );
        assert!(!s.candidates.is_banned(s.now + secs(60), addr(asked)));
    }
    let mut s = setup(Network::Private, 10);
    let [id, other, stolen] = [3, 4, 5].map(|byte| PeerId::new([byte; 20]));
    let (here, there) = (addr("127.0.0.1:7001"), addr("8.8.8.8:6881"));
    s.candidates.ban_id(s.now, here, id, secs(60));
    s.candidates.ban_id(s.now, there, stolen, secs(60));
    let banned = [(here, id), (here, other), (there, id), (here, stolen)]
        .map(|(addr, id)| s.candidates.is_banned_id(s.now, addr, id));
    assert_eq!(banned, [true, false, false, false]);
}

#[test]
fn banned_addresses_are_dropped_refused_and_not_dialled() {
    let mut s = setup(Network::Mainline, 10);
    s.add(public(1), Dht);
    s.add(public(2), User);
    for n in [1, 2] {
        s.candidates.ban(s.now, public(n), secs(60));
    }
    assert!(!s.add(public(1), Dht));
    assert_eq!(
        (
            s.dial(),
            s.candidates.dialable(s.now),
            s.candidates.known.len()
        ),
        (None, 0, 1)
    );
    s.now += secs(60);
    assert_eq!(s.dial(), Some(public(2)));
}

#[test]
fn bans_are_bounded() {
    let mut s = setup(Network::Mainline, 10);
    for n in 0..5_000 {
        s.candidates.ban(s.now, public(n), secs(60 + u64::from(n)));
    }
    assert_eq!(s.candidates.banned.len(), MAX_BANS);
    assert!(s.candidates.is_banned(s.now, public(4_999)));
}

#[test]
fn our_own_address_is_never_a_candidate() {
    let mut s = setup(Network::Mainline, 10);
    s.add(public(1), Dht);
    s.candidates.mark_ourselves(public(1));
    assert!(!s.add(public(1), Dht) && s.candidates.known.is_empty());
}
