//! From notes to figures and curves.

use std::{collections::BTreeSet, time::Duration};

use super::{
    lab::{HOLDERS, Lab},
    notes::{Looked, Side},
};
use crate::{
    outcome::{Hop, Run},
    sim::{LookupRecord, hash::log2},
    statistics::{mean, percentile, percentile_among, sorted},
};

/// Sums a run up.
pub(super) fn sum_up(lab: &Lab<'_>) -> Run {
    let mut run = Run::default();
    let judged: Vec<Judged<'_>> = judge(lab);
    lookups(lab, &judged, &mut run);
    successes(lab, &judged, &mut run);
    tables(lab, &mut run);
    traffic(lab, &mut run);
    newcomers(lab, &mut run);
    density(lab, &judged, &mut run);
    let speed = lab.world.speed();
    run.cost.events = speed.events;
    run.cost.running = speed.wall.as_secs_f64();
    run.cost.threads = speed.threads;
    run.cost.peak_memory = speed.peak_memory.unwrap_or(0);
    run.cost.trace = format!("{:016x}", lab.world.trace());
    run
}

/// A lookup and how it went.
struct Judged<'a> {
    looked: Looked,
    record: &'a LookupRecord,
    /// How long it took until the announcer was among the peers. What else comes may be a lie.
    found: Option<Duration>,
}

/// All lookups whose maker stayed for [`PATIENCE`] at least, in order of time. Whether it had found
/// anything when it went must not matter: those who would have found late would be left out.
fn judge<'a>(lab: &'a Lab<'_>) -> Vec<Judged<'a>> {
    let judge = |looked: &Looked| {
        let record = &lab.world.lookups()[looked.record];
        // A translator of addresses may show every holder another port.
        let ip = looked.announcer.ip();
        let mut arrivals = record.peers.iter().zip(&record.took);
        let found = arrivals.find(|(peer, _)| peer.ip() == ip);
        let gone = lab.notes.gone.get(&record.node);
        let stayed = gone.is_none_or(|gone| *gone >= record.started + PATIENCE);
        stayed.then_some(Judged {
            looked: *looked,
            record,
            found: found.map(|(_, took)| *took),
        })
    };
    lab.notes.looked.iter().filter_map(judge).collect()
}

fn lookups(lab: &Lab<'_>, judged: &[Judged<'_>], run: &mut Run) {
    let stats: Vec<_> = judged.iter().filter_map(|one| one.record.done).collect();
    let queries = sorted(stats.iter().map(|stats| stats.asked.into()));
    // Up to a liar's answer there are hops too; they lead nowhere.
    let honest = judged
        .iter()
        .filter(|one| one.found.is_some() && one.found == one.record.first_peer);
    let hops: Vec<f64> = honest
        .filter_map(|one| Some(f64::from(one.record.done?.first_peer_hops?)))
        .collect();
    // The logarithm by fixed arithmetic, as everything in a run.
    let log10 = log2(f64::from(lab.dht.nodes.max(1))) / log2(10.0);
    set(run, "hops_model", 0.70 * log10);
    set(run, "queries_model", 1.8 * log10 + 7.0);
    if let Some(hops) = mean(&hops) {
        set(run, "hops", hops);
        set(run, "hops_excess", hops - 0.70 * log10);
    }
    set_some(run, "queries", mean(&queries));
    set_some(run, "queries_p95", percentile(&queries, 95));
    let found = judged.iter().filter_map(|one| one.found);
    run.series.first_peer = sorted(found.map(|took| took.as_secs_f64()));
    let asked = lab.notes.looked.len();
    if asked > 0 {
        set(run, "abandoned", 1.0 - judged.len() as f64 / asked as f64);
    }
    let done = stats.iter().map(|stats| stats.elapsed.as_secs_f64());
    run.series.lookup_done = sorted(done);
    for (name, percent) in [
        ("first_ms_p50", 50),
        ("first_ms_p90", 90),
        ("first_ms_p99", 99),
    ] {
        // Of all, not of those that found: the slowest of all are the ones that never do.
        let seconds = percentile_among(&run.series.first_peer, judged.len(), percent);
        set_some(run, name, seconds.map(|seconds| seconds * 1e3));
    }
    for (name, percent) in [("done_ms_p50", 50), ("done_ms_p99", 99)] {
        let seconds = percentile(&run.series.lookup_done, percent);
        set_some(run, name, seconds.map(|seconds| seconds * 1e3));
    }
    if let Some(recall) = mean(&lab.notes.recall) {
        set(run, "recall", recall);
    }
    let traced = judged.iter().filter(|one| !one.record.path.is_empty());
    run.series.paths = traced.map(|one| path(one.record)).collect();
}

/// The responders that were closer than all before them.
fn path(record: &LookupRecord) -> Vec<Hop> {
    let target = record.info_hash.as_target();
    let mut closest = None;
    let mut hops = Vec::new();
    for (time, id) in &record.path {
        let distance = target.distance(id);
        if closest.is_none_or(|closest| distance < closest) {
            closest = Some(distance);
            hops.push(Hop {
                time: time.as_secs_f64(),
                bits: distance.leading_zeros(),
            });
        }
    }
    hops
}

fn successes(lab: &Lab<'_>, judged: &[Judged<'_>], run: &mut Run) {
    let notes = &lab.notes;
    let share = |filter: &dyn Fn(&Looked) -> bool| {
        let chosen = judged.iter().filter(|one| filter(&one.looked));
        let found: Vec<f64> = chosen
            .map(|one| f64::from(u8::from(one.found.is_some())))
            .collect();
        mean(&found)
    };
    set_some(run, "success", share(&|looked| looked.side != Side::Across));
    if let Some(kill) = notes.kill {
        set_some(run, "success_before", share(&|looked| looked.at < kill));
        let at_once = kill..kill + MINUTE;
        set_some(
            run,
            "success_at_once",
            share(&|looked| at_once.contains(&looked.at)),
        );
        set_some(
            run,
            "success_after",
            share(&|looked| looked.at >= kill + RECOVERED),
        );
        let after = judged.iter().filter(|one| one.looked.at >= kill);
        let recovered = first_good(after, kill, MINUTE, 50);
        set_some(
            run,
            "recovery_seconds",
            recovered.map(|at| (at - kill).as_secs_f64()),
        );
    } else if let Some(died) = notes.routers_died {
        let before = share(&|looked| looked.at < died);
        let after = share(&|looked| looked.at >= died);
        set_some(run, "success_before", before);
        set_some(run, "success_after", after);
        let change = before.zip(after).map(|(before, after)| before - after);
        set_some(run, "success_change", change);
    }
    set_some(
        run,
        "success_split",
        share(&|looked| looked.side == Side::Same),
    );
    if let Some(healed) = notes.healed {
        let late = |looked: &Looked| looked.side == Side::Across && looked.at >= healed + RECOVERED;
        set_some(run, "success_cross", share(&late));
        let across = judged.iter().filter(|one| one.looked.side == Side::Across);
        let merged = first_good(across, healed, MINUTE, 50);
        set_some(
            run,
            "merge_seconds",
            merged.map(|at| (at - healed).as_secs_f64()),
        );
    }
    if lab.starts_cold() {
        let seconds = notes.connected.map(|at| at.as_secs_f64());
        set_some(run, "connected_seconds", seconds);
        let found = first_row(judged, 100).map(|at| (lab.start + at).as_secs_f64());
        set_some(run, "found_seconds", found.filter(|_| lab.is_young()));
    }
    let window = (lab.end() - lab.start)
        .div_f64(60.0)
        .max(Duration::from_secs(1));
    run.series.success = windows(judged.iter(), Duration::ZERO, window)
        .map(|(end, found, all)| (end.as_secs_f64(), found as f64 / all as f64))
        .collect();
}

/// The end of the first window since `from` in which 99 of 100 were found, of at least so many.
fn first_good<'a>(
    judged: impl Iterator<Item = &'a Judged<'a>>,
    from: Duration,
    window: Duration,
    least: usize,
) -> Option<Duration> {
    let good =
        |(_, found, all): &(Duration, usize, usize)| *all >= least && 100 * found >= 99 * all;
    windows(judged, from, window)
        .find(good)
        .map(|(end, ..)| end)
}

/// When the first so many lookups in a row had been made of which 99 of 100 found their key.
fn first_row(judged: &[Judged<'_>], row: usize) -> Option<Duration> {
    let good = |ones: &&[Judged<'_>]| {
        let found = ones.iter().filter(|one| one.found.is_some()).count();
        100 * found >= 99 * ones.len()
    };
    let row = judged.windows(row).find(good)?;
    row.last().map(|one| one.looked.at)
}

/// Windows with lookups in them: end, found, all.
fn windows<'a>(
    judged: impl Iterator<Item = &'a Judged<'a>>,
    from: Duration,
    window: Duration,
) -> impl Iterator<Item = (Duration, usize, usize)> {
    let mut windows: Vec<(Duration, usize, usize)> = Vec::new();
    for one in judged {
        let number = one.looked.at.saturating_sub(from).div_duration_f64(window) as u32;
        let end = from + window * (number + 1);
        if windows.last().is_none_or(|(last, ..)| *last != end) {
            windows.push((end, 0, 0));
        }
        if let Some((_, found, all)) = windows.last_mut() {
            *found += usize::from(one.found.is_some());
            *all += 1;
        }
    }
    windows.into_iter()
}

fn tables(lab: &Lab<'_>, run: &mut Run) {
    let samples = &lab.notes.samples;
    let until = lab.notes.kill.unwrap_or(lab.end() - lab.start);
    let steady = samples
        .iter()
        .filter(|one| one.at >= until / 2 && one.at < until);
    let steady: Vec<f64> = steady.map(|one| one.stale).collect();
    set_some(run, "stale", mean(&steady));
    if let Some(last) = samples.last() {
        set(run, "stale_end", last.stale);
        set(run, "tables_unreachable", last.unreachable);
    }
    let seconds = |at: Duration| at.as_secs_f64();
    let series = &mut run.series;
    series.stale = samples
        .iter()
        .map(|one| (seconds(one.at), one.stale))
        .collect();
    series.population = samples
        .iter()
        .map(|one| (seconds(one.at), one.population as f64))
        .collect();
    series.progress = samples
        .iter()
        .map(|one| (seconds(lab.start + one.at), one.events, one.wall))
        .collect();
    let mut occupancy: Vec<u64> = Vec::new();
    let sample = lab.people.sample(200, &[lab.seed, OCCUPANCY]);
    for node in &sample {
        let Some(dht) = lab.world.node(*node).dht() else {
            continue;
        };
        for contact in dht.table() {
            let bits = dht.id().distance(&contact.id).leading_zeros() as usize;
            occupancy.resize(occupancy.len().max(bits + 1), 0);
            occupancy[bits] += 1;
        }
    }
    let nodes = sample.len().max(1) as f64;
    series.occupancy = occupancy
        .iter()
        .map(|count| *count as f64 / nodes)
        .collect();
}

fn traffic(lab: &Lab<'_>, run: &mut Run) {
    let counts = lab.world.counts();
    let (datagrams, bytes) = lab.notes.sent_before;
    let seconds = (lab.world.now() - lab.start).as_secs_f64();
    let length =
        (counts.datagram_bytes - bytes) as f64 / (counts.datagrams - datagrams).max(1) as f64;
    let busy: BTreeSet<u32> = lab
        .world
        .lookups()
        .iter()
        .map(|record| record.node)
        .collect();
    let idle = lab.notes.idle.iter();
    let idle = idle.filter(|idle| lab.people.contains(idle.node) && !busy.contains(&idle.node));
    let sent: Vec<f64> = idle
        .map(|idle| (lab.sent_by(idle.node) - idle.sent) as f64)
        .collect();
    if let Some(sent) = mean(&sent).filter(|_| seconds > 0.0) {
        set(run, "upkeep_messages", sent / seconds);
        set(run, "upkeep_bytes", sent / seconds * length);
    }
    let all = counts.datagrams.max(1) as f64;
    set(run, "router_share", lab.router_traffic() as f64 / all);
    let queries: f64 = lab
        .world
        .nodes()
        .filter_map(|node| node.actor())
        .flat_map(|actor| actor.figures())
        .filter(|(name, _)| *name == "attacker_queries")
        .map(|(_, count)| count)
        .sum();
    if lab.plan.attack.is_some() {
        let lookups = lab.notes.looked.len().max(1) as f64;
        set(run, "attacker_queries", queries / lookups);
    }
}

fn newcomers(lab: &Lab<'_>, run: &mut Run) {
    let groups = |cached: bool, orphaned: Option<bool>| {
        let groups = lab.notes.newcomers.iter().filter(move |group| {
            group.cached == cached && orphaned.is_none_or(|orphaned| group.orphaned == orphaned)
        });
        let joined: Vec<f64> = groups.map(|group| group.joined).collect();
        mean(&joined)
    };
    set_some(run, "joined_routers", groups(false, Some(false)));
    set_some(run, "joined_orphaned", groups(false, Some(true)));
    set_some(run, "joined_cached", groups(true, None));
}

/// How large seekers take the network to be, and which lookups saw more or fewer nodes close to
/// their targets than that allows.
fn density(lab: &Lab<'_>, judged: &[Judged<'_>], run: &mut Run) {
    let records = lab.world.lookups();
    let seekers: BTreeSet<u32> = judged.iter().map(|one| one.record.node).collect();
    let truth = f64::from(lab.visible());
    let estimates = seekers.iter().filter_map(|node| {
        let estimate = lab.world.node(*node).dht()?.size_estimate()?;
        Some((estimate.nodes / truth - 1.0).abs())
    });
    if !lab.churns() && lab.plan.attack.is_none() {
        set_some(run, "size_error", mean(&estimates.collect::<Vec<f64>>()));
    }
    let flagged = |record: &LookupRecord| {
        let stats = record.done?;
        Some(f64::from(u8::from(stats.suspicious)))
    };
    let seen = judged.iter().filter_map(|one| flagged(one.record));
    set_some(run, "flagged", mean(&seen.collect::<Vec<f64>>()));
    // Nobody announced or surrounds these keys. Who still ended among attackers may well say so.
    let probes = lab.notes.probes.iter().map(|probe| &records[*probe]);
    let is_attacker = |addr| {
        let node = lab.world.node_at(addr);
        node.is_some_and(|node| lab.world.actor(node).is_some())
    };
    let unharmed = probes.filter(|record| {
        let closest = record.closest.iter().take(HOLDERS);
        !closest.clone().any(|contact| is_attacker(contact.addr))
    });
    let falsely: Vec<f64> = unharmed.filter_map(flagged).collect();
    set_some(run, "flagged_falsely", mean(&falsely));
    if !falsely.is_empty() {
        set(run, "probes_unharmed", falsely.len() as f64);
    }
}

fn set(run: &mut Run, figure: &str, value: f64) {
    debug_assert!(
        super::FIGURES.iter().any(|(name, _)| *name == figure),
        "{figure}"
    );
    run.figures.insert(figure.into(), value);
}

fn set_some(run: &mut Run, figure: &str, value: Option<f64>) {
    if let Some(value) = value {
        set(run, figure, value);
    }
}

const MINUTE: Duration = Duration::from_secs(60);
/// Longer than any lookup takes that is of use to someone who waits for it.
const PATIENCE: Duration = Duration::from_secs(10);
/// A network should be whole again after a quarter of an hour.
const RECOVERED: Duration = Duration::from_secs(15 * 60);
/// What a draw is for.
const OCCUPANCY: u64 = 131;
