//! Swarms in virtual time: rarest first, tit-for-tat, liars and leavers.
//!
//! A failure prints its seed; `MAINSWARM_SEED=7 cargo test --test swarm_sim NAME` runs that seed
//! alone. Claims about policies are statistical: they are held over five seeds with a margin.

use std::time::Duration;

use mainswarm::torrent::{PeerMisbehaved, PieceOrder, chooser::Chooser};
use mainswarm_testnet::sim::{
    LinkConfig,
    report::{PeerReport, SwarmReport, percentile},
    scenario::{Discovery, Swarm},
};

fn seeds() -> Vec<u64> {
    match std::env::var("MAINSWARM_SEED").map(|seed| seed.parse()) {
        Ok(Ok(seed)) => vec![seed],
        _ => (1..=5).collect(),
    }
}

/// One run, complete or the test is over.
fn run(swarm: &Swarm) -> SwarmReport {
    let report = swarm.run();
    assert!(report.complete(), "not everybody finished: {report}");
    report
}

fn mean(times: &[Duration]) -> f64 {
    times.iter().map(Duration::as_secs_f64).sum::<f64>() / times.len() as f64
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    percentile(&values, 50)
}

#[test]
fn rarest_first_beats_random_choice() {
    let of = |order| {
        seeds().into_iter().map(move |seed| {
            let report = run(&Swarm {
                order,
                // A seed that hands pieces out itself leaves no difference.
                tune: |_, config| config.unsent_first = false,
                pieces: 96,
                piece_len: 16 * 1024,
                choker_scale: 0.1,
                ..Swarm::new(seed)
            });
            println!("{order:?}: {report}");
            (report.mean().as_secs_f64(), report.last().as_secs_f64())
        })
    };
    let rarest: Vec<_> = of(PieceOrder::RarestFirst).collect();
    let random: Vec<_> = of(PieceOrder::Random).collect();
    println!("(mean, last) in seconds: rarest first {rarest:.1?}, random {random:.1?}");
    let by = |at: fn(&(f64, f64)) -> f64| {
        median(random.iter().map(at).collect()) / median(rarest.iter().map(at).collect())
    };
    let (mean, last) = (by(|run| run.0), by(|run| run.1));
    assert!(
        mean > 1.01 && last > 1.01,
        "random takes {mean:.3} and {last:.3} times as long"
    );
}

#[test]
fn free_riders_finish_later_than_contributors() {
    let ratios = seeds().into_iter().map(|seed| {
        let report = run(&Swarm {
            pieces: 96,
            free_riders: 20,
            seed_up: 400_000,
            choker_scale: 0.1,
            ..Swarm::new(seed)
        });
        let riders = mean(&report.times(|peer| peer.free_rider));
        let others = mean(&report.times(|peer| !peer.free_rider));
        println!("free riders {riders:.1} s, contributors {others:.1} s: {report}");
        riders / others
    });
    let ratio = median(ratios.collect());
    assert!(ratio > 1.05, "free riders take {ratio:.3} times as long");
}

#[test]
fn a_weak_seed_sends_one_copy() {
    // As strong as a peer: the time that it takes to send the file once is nearly the bound.
    let weak = |seed| Swarm {
        peers: 10,
        seed_up: 100_000,
        pieces: 400,
        piece_len: 64 * 1024,
        choker_scale: 0.1,
        ..Swarm::new(seed)
    };
    let (mut on, mut off) = (Vec::new(), Vec::new());
    for seed in seeds().into_iter().take(3) {
        let report = run(&weak(seed));
        println!("unsent first: {report}");
        let copies = report.seed_copies;
        assert!(copies <= 1.2, "seed {seed}: {copies:.2} copies");
        on.push(report.ratio());
        let report = run(&Swarm {
            tune: |_, config| config.unsent_first = false,
            ..weak(seed)
        });
        println!("plain: {report}");
        off.push(report.ratio());
    }
    let (on, off) = (median(on), median(off));
    assert!(on <= 1.15, "{on:.3} times the bound");
    // At the length of the textbook's figure it is 1.6; a short run is mostly start and end.
    assert!(off >= 1.3, "a plain seed takes {off:.3} times the bound");
}

#[test]
fn a_weak_seed_survives_leavers_and_free_riders() {
    for seed in seeds().into_iter().take(2) {
        let report = run(&Swarm {
            peers: 20,
            seed_up: 100_000,
            pieces: 200,
            leavers: 5,
            free_riders: 6,
            choker_scale: 0.1,
            ..Swarm::new(seed)
        });
        println!("{report}");
        assert!(report.ratio() <= 1.5, "seed {seed}: {:.3}", report.ratio());
    }
}

#[test]
fn proportional_share_fills_every_uplink() {
    for seed in seeds().into_iter().take(2) {
        let report = run(&Swarm {
            peers: 20,
            seed_up: 400_000,
            pieces: 400,
            piece_len: 16 * 1024,
            choker_scale: 0.1,
            tune: |_, config| config.chooser = Chooser::Proportional,
            ..Swarm::new(seed)
        });
        println!("{report}");
        assert!(report.ratio() <= 1.2, "seed {seed}: {:.3}", report.ratio());
    }
}

#[test]
fn the_last_peer_is_close_to_the_bound() {
    // Ten times a peer's uplink for the seed, and about forty choking rounds, as in the textbook's
    // figure; one-fortieth of the usual download makes the start and the end weigh a lot.
    for (n, seeds) in [(1, &seeds()[..]), (10, &seeds()), (50, &seeds()[..1])] {
        let ratios = seeds.iter().map(|seed| {
            let report = run(&Swarm {
                peers: n,
                seed_up: 1_000_000,
                pieces: 256,
                piece_len: 16 * 1024,
                choker_scale: 0.1,
                arrivals: Duration::from_millis(200),
                ..Swarm::new(*seed)
            });
            println!("N={n}: {report}");
            report.ratio()
        });
        let ratio = median(ratios.collect());
        assert!(ratio <= 1.25, "N={n}: {ratio:.3} times the bound");
    }
}

#[test]
fn who_serves_wrong_blocks_is_banned_and_nobody_else() {
    for seed in seeds().into_iter().take(3) {
        let report = run(&Swarm {
            peers: 20,
            block_liars: 1,
            choker_scale: 0.1,
            ..Swarm::new(seed)
        });
        let liar = report.peers[0].node;
        let banned = report.banned();
        println!("{} bans: {report}", banned.len());
        assert!(!banned.is_empty(), "seed {seed}: nobody was banned");
        for (addr, fault) in banned {
            let node = address_of(liar);
            assert_eq!(
                (addr.ip(), fault),
                (node, PeerMisbehaved::CorruptData),
                "seed {seed}"
            );
        }
        let failed: u32 = report.peers.iter().map(|peer| peer.log.failed_pieces).sum();
        assert!(failed <= 20 * 3, "seed {seed}: {failed} failed pieces");
    }
}

/// A private world's node `n` lives on 10.0.0.0/8.
fn address_of(node: u32) -> std::net::IpAddr {
    std::net::Ipv4Addr::from_bits((10 << 24) + 1 + node).into()
}

#[test]
fn a_liar_about_metadata_does_not_starve_a_magnet() {
    for seed in seeds().into_iter().take(3) {
        let report = run(&Swarm {
            peers: 10,
            pieces: 2_048,
            piece_len: 1_024,
            magnet: true,
            metadata_liars: 2,
            choker_scale: 0.1,
            ..Swarm::new(seed)
        });
        println!("{report}");
        let late = |peer: &&PeerReport| !peer.attacker && peer.log.metadata.is_none();
        assert_eq!(report.peers.iter().filter(late).count(), 0, "seed {seed}");
    }
}

#[test]
fn a_stalled_seed_holds_nobody_up() {
    for seed in seeds().into_iter().take(2) {
        let swarm = Swarm {
            peers: 8,
            choker_scale: 0.1,
            ..Swarm::new(seed)
        };
        let alone = run(&swarm).last().as_secs_f64();
        let stalled = run(&Swarm {
            stallers: 2,
            ..swarm
        });
        println!("{alone:.1} s without: {stalled}");
        let last = stalled.last().as_secs_f64();
        assert!(
            last < 1.5 * alone + 5.0,
            "seed {seed}: {last:.1} s, without {alone:.1} s"
        );
    }
}

#[test]
fn peers_that_leave_half_way_take_nothing_with_them() {
    for seed in seeds().into_iter().take(3) {
        let report = run(&Swarm {
            peers: 20,
            leavers: 5,
            choker_scale: 0.1,
            ..Swarm::new(seed)
        });
        println!("{report}");
        let left = report.peers.iter().filter(|peer| peer.left);
        assert!(left.clone().count() == 5 && left.clone().all(|peer| peer.took.is_none()));
    }
}

#[test]
fn a_magnet_is_enough_where_there_is_a_dht() {
    for seed in seeds().into_iter().take(2) {
        let report = run(&Swarm {
            peers: 15,
            pieces: 64,
            magnet: true,
            discovery: Discovery::Dht,
            links: LinkConfig::internet(),
            arrivals: Duration::from_secs(30),
            ..Swarm::new(seed)
        });
        println!("{report}");
    }
}
