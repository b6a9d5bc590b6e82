//! Outcomes as the engines would give them, made up from the bounds.

use std::collections::BTreeMap;

use mainswarm_testnet::{
    bound,
    outcome::{
        Bounds, CaseOutcome, Completion, CopiesAt, Cost, Hop, Outcome, Run, Series, Unchoked,
        Verdict,
    },
};

/// Numbers from 0 to 1, the same every time.
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub(crate) fn throw(&mut self) -> f64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as f64 / (1u64 << 53) as f64
    }
}

pub(crate) fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    let owned = |(key, value): &(&str, &str)| (key.to_string(), value.to_string());
    pairs.iter().map(owned).collect()
}

pub(crate) fn figures(figures: &[(&str, f64)]) -> BTreeMap<String, f64> {
    let owned = |(name, value): &(&str, f64)| (name.to_string(), *value);
    figures.iter().map(owned).collect()
}

fn cost(seed: u64, live: bool) -> Cost {
    Cost {
        events: if live { 0 } else { 38_217_004 + seed },
        wall: 41.5,
        running: 40.1,
        threads: 1,
        cpu: if live { 0.41 } else { 0.5 },
        peak_memory: 412 << 20,
        trace: if live {
            String::new()
        } else {
            format!("{:016x}", seed * 0x0123_4567_89ab)
        },
    }
}

pub(crate) fn verdict(gate: &str, figure: f64, goal: f64, verdict: &str) -> Verdict {
    Verdict {
        scenario: "fig-2-23".into(),
        gate: gate.into(),
        figure: Some(figure),
        goal: Some(goal),
        verdict: verdict.into(),
    }
}

/// Runs of one engine for figure 2.23; `excess` is how far from the bound they are.
pub(crate) fn textbook(engine: &str, peers: &[usize], excess: f64) -> Outcome {
    let (unit, pieces) = if engine == "live" {
        (63.0, 960)
    } else {
        (3600.0, 1600)
    };
    let mut cases = Vec::new();
    for architecture in ["client-server", "p2p"] {
        for n in peers {
            let ups = vec![1.0; *n];
            let fluid = match architecture {
                "p2p" => bound::p2p_fluid(1.0, 10.0, &ups, f64::INFINITY),
                _ => bound::client_server(*n, 1.0, 10.0, f64::INFINITY),
            };
            let lb = match architecture {
                "p2p" => bound::lb(1.0, pieces, 10.0, &ups, f64::INFINITY),
                _ => fluid,
            };
            let run = |seed: u64| {
                let mut dice = Dice::new(seed * 1000 + *n as u64);
                let ratio = 1.0 + excess * (0.6 + 0.8 * dice.throw());
                Run {
                    seed,
                    figures: figures(&[
                        ("seconds", lb * ratio * unit),
                        ("lb_seconds", lb * unit),
                        ("bound_seconds", fluid * unit),
                        ("ratio", ratio),
                        ("complete", 1.0),
                    ]),
                    series: Series::default(),
                    cost: cost(seed, engine == "live"),
                }
            };
            cases.push(CaseOutcome {
                settings: pairs(&[
                    ("class.peer.count", &n.to_string()),
                    ("swarm.architecture", architecture),
                ]),
                runs: (1..=5).map(run).collect(),
            });
        }
    }
    Outcome {
        scenario: "fig-2-23".into(),
        title: "The textbook's figure: client-server against peer to peer".into(),
        engine: engine.into(),
        parameters: pairs(&[
            ("swarm.pieces", &pieces.to_string()),
            ("swarm.file_time", &format!("{unit}s")),
            ("class.seed.up", "10x"),
            ("class.peer.up", "1x"),
        ]),
        notes: vec![
            "The choker decides every 10 s (optimistic 30 s), F/u is 360 of its rounds".into(),
            "Rates are limited at the payload of the peer wire.".into(),
        ],
        cases,
        verdicts: vec![
            verdict("ratio at most 1.05", 1.018, 1.02, "goal"),
            verdict(
                "ratio at most 1.05 where class.peer.count = 35",
                1.018,
                1.02,
                "pass",
            ),
        ],
        replay: "testnet run fig-2-23 --seeds 5".into(),
        ..Outcome::default()
    }
}

/// A swarm with classes, everything that a swarm can draw, and names that need escaping.
pub(crate) fn swarm(classes: &[&str], seeds: u64) -> Outcome {
    let runs = (1..=seeds).map(|seed| swarm_run(classes, seed)).collect();
    Outcome {
        scenario: "classes".into(),
        title: "Fast, middling and slow peers: who is done when".into(),
        engine: "sim".into(),
        parameters: pairs(&[
            ("swarm.pieces", "1600"),
            ("swarm.piece_len", "64KiB"),
            ("swarm.file_time", "3600s"),
            ("swarm.choke_interval", "10s"),
            ("class.seed.up", "10x"),
        ]),
        notes: vec!["The choker decides every 10 s, F/u is 360 of its rounds.".into()],
        cases: vec![CaseOutcome {
            settings: Vec::new(),
            runs,
        }],
        verdicts: vec![
            verdict("ratio at most 1.08", 1.034, 1.03, "pass"),
            verdict("rank_correlation at least 0.6", 0.41, 0.8, "fail"),
        ],
        replay: "testnet run classes --seeds 5".into(),
        ..Outcome::default()
    }
}

fn swarm_run(classes: &[&str], seed: u64) -> Run {
    let mut dice = Dice::new(seed);
    let end = 2900.0 + 60.0 * dice.throw();
    let mut completions = Vec::new();
    for (index, class) in classes.iter().enumerate() {
        for _ in 0..30 {
            let share = 0.72 + 0.12 * index as f64 + 0.1 * dice.throw();
            completions.push(Completion {
                class: (*class).into(),
                seconds: (dice.throw() > 0.01).then_some(end * share.min(1.0)),
            });
        }
    }
    let copies = (0..=290).map(|step| {
        let share = f64::from(step) / 290.0;
        let copies = |shift: f64| (90.0 * (share + shift).clamp(0.0, 1.0)) as u32 + 1;
        CopiesAt {
            time: f64::from(step) * 10.0,
            min: copies(-0.12 * (1.0 - share) - 0.02),
            p10: copies(-0.05),
            median: copies(0.0),
            p90: copies(0.04),
            max: copies(0.1),
        }
    });
    let copies = copies.collect();
    let utilisation = (0..290).map(|step| {
        let time = f64::from(step) * 10.0;
        let rise = (time / 40.0).min(1.0);
        let fall = ((end - time) / 60.0).clamp(0.0, 1.0);
        (time, 0.975 * rise * fall - 0.03 * dice.throw() * rise)
    });
    let utilisation = utilisation.collect();
    let mut unchoked = Vec::new();
    for (a, from) in classes.iter().enumerate() {
        for (b, to) in classes.iter().enumerate() {
            let like = if a == b {
                9000.0
            } else {
                2500.0 / (a.abs_diff(b) as f64)
            };
            unchoked.push(Unchoked {
                from: (*from).into(),
                to: (*to).into(),
                seconds: like * (0.8 + 0.4 * dice.throw()),
            });
        }
    }
    let progress = (0..=200).map(|step| {
        let part = f64::from(step) / 200.0;
        (end * part, (3e7 * part) as u64, 40.0 * part.powf(1.05))
    });
    Run {
        seed,
        figures: figures(&[
            ("seconds", end),
            ("mean_seconds", end * 0.86),
            ("lb_seconds", 2850.0),
            ("bound_seconds", 2840.0),
            ("ratio", end / 2850.0),
            ("complete", 0.99),
            ("utilisation", 0.968),
        ]),
        series: Series {
            completions,
            bounds: Some(Bounds {
                fluid: 2840.0,
                lb: 2850.0,
            }),
            copies,
            utilisation,
            unchoked,
            population: (0..=29)
                .map(|step| (f64::from(step) * 100.0, 91.0))
                .collect(),
            progress: progress.collect(),
            memory: (0..=100)
                .map(|step| {
                    (
                        end * f64::from(step) / 100.0,
                        (200 << 20) + step as u64 * (2 << 20),
                    )
                })
                .collect(),
            ..Series::default()
        },
        cost: cost(seed, false),
    }
}

/// A DHT in sizes, with lookups, tables and churn.
pub(crate) fn dht(sizes: &[f64], seeds: u64) -> Outcome {
    let case = |n: &f64| CaseOutcome {
        settings: pairs(&[("dht.nodes", &format!("{n}"))]),
        runs: (1..=seeds).map(|seed| dht_run(*n, seed)).collect(),
    };
    Outcome {
        scenario: "dht-scale".into(),
        title: "Lookups in networks from a hundred nodes to a million".into(),
        engine: "sim".into(),
        parameters: pairs(&[
            ("dht.start", "warm"),
            ("dht.lookups", "2000"),
            ("network.loss", "0.01"),
        ]),
        notes: vec!["Tables were warm: filled as those of a network that has run for long.".into()],
        cases: sizes.iter().map(case).collect(),
        verdicts: vec![
            verdict("success at least 0.99", 0.9995, 0.999, "goal"),
            verdict("hops at most 4.5", 4.02, 4.1, "goal"),
            verdict(
                "stale at most 0.2 where dht.nodes = 20000",
                f64::NAN,
                0.1,
                "not run",
            ),
        ],
        replay: "testnet run dht-scale --seeds 5".into(),
        ..Outcome::default()
    }
}

fn dht_run(n: f64, seed: u64) -> Run {
    let mut dice = Dice::new(seed + n as u64);
    let depth = n.log2();
    let mut paths = Vec::new();
    let (mut first_peer, mut lookup_done) = (Vec::new(), Vec::new());
    for _ in 0..600 {
        let (mut time, mut bits, mut path) = (0.0, 2.0 + 2.0 * dice.throw(), Vec::new());
        while bits < depth - 1.0 {
            time += 0.03
                + 0.18 * dice.throw() * dice.throw()
                + if dice.throw() < 0.02 { 1.0 } else { 0.0 };
            path.push(Hop {
                time,
                bits: bits as u32,
            });
            bits += 1.5 + 3.0 * dice.throw();
        }
        first_peer.push(time + 0.02);
        lookup_done.push(time + 0.3 + 0.4 * dice.throw());
        paths.push(path);
    }
    first_peer.sort_by(f64::total_cmp);
    lookup_done.sort_by(f64::total_cmp);
    let churn = |step: i32| 1.0 - 0.2 * (-((f64::from(step) - 30.0) / 6.0).powi(2)).exp();
    Run {
        seed,
        figures: figures(&[
            ("success", 0.9995 - 0.0005 * dice.throw()),
            ("hops", 0.70 * n.log10() - 0.2 + 0.08 * dice.throw()),
            ("queries", 1.8 * n.log10() + 7.2 + 0.3 * dice.throw()),
            (
                "first_ms_p50",
                100.0 * n.log10() - 110.0 + 8.0 * dice.throw(),
            ),
        ]),
        series: Series {
            paths,
            first_peer,
            lookup_done,
            occupancy: (0..160)
                .map(|bits| (n / 2f64.powi(bits + 1)).min(8.0) * 0.97)
                .map(|mean| if mean < 0.01 { 0.0 } else { mean })
                .collect(),
            success: (0..60)
                .map(|step| (f64::from(step) * 60.0, churn(step) - 0.01 * dice.throw()))
                .collect(),
            stale: (0..60)
                .map(|step| (f64::from(step) * 60.0, 0.15 + 1.4 * (1.0 - churn(step))))
                .collect(),
            population: (0..60)
                .map(|step| (f64::from(step) * 60.0, n * churn(step)))
                .collect(),
            ..Series::default()
        },
        cost: cost(seed, false),
    }
}
