//! Figures of a DHT: how long lookups take, which way they go, what tables hold, what churn does.

use plotters::prelude::RGBColor;

use crate::{
    outcome::{CaseOutcome, Hop, Run},
    statistics::percentile,
};

use super::{
    ReportError,
    axis::{Axis, drawable},
    figures::{Sketch, lines_of_seeds, median_run, of_the_seeds},
    plot::{BLUE, GREY, Ink, Lie, Mark, Plot, Point, VERMILION, shape},
    swarm::greatest,
    text::{TimeUnit, duration},
};

/// What is drawn of a run.
type Of<T> = fn(&Run) -> Vec<T>;

/// Distribution of the times to the first peer and to the end of a lookup.
pub(super) fn latency(case: &CaseOutcome) -> Result<Option<Sketch>, ReportError> {
    let first = |run: &Run| sorted(&run.series.first_peer);
    let done = |run: &Run| sorted(&run.series.lookup_done);
    let all: Vec<f64> = case
        .runs
        .iter()
        .flat_map(|run| first(run).into_iter().chain(done(run)))
        .collect();
    let mut in_order = all.clone();
    in_order.sort_by(f64::total_cmp);
    // Some find a peer in their own table, in no time at all: the axis begins with the others.
    let Some(least) = percentile(&in_order, 1).or(in_order.first().copied()) else {
        return Ok(None);
    };
    let most = greatest(all.into_iter());
    let mut plot = Plot::new(
        Axis::log(
            "time since the lookup began [ms]",
            least * 900.0,
            most * 1100.0,
        ),
        Axis::share("lookups"),
    );
    let kinds: [(&str, RGBColor, Of<f64>, Lie); 2] = [
        ("first peer", BLUE, first, Lie::Left),
        ("end of the lookup", VERMILION, done, Lie::Right),
    ];
    let mut labels = Vec::new();
    for (index, (name, colour, of, lie)) in kinds.into_iter().enumerate() {
        let (ink, shape) = (Ink::nth(index), shape(index));
        if case.runs.iter().all(|run| of(run).is_empty()) {
            continue;
        }
        lines_of_seeds(&mut plot, case, ink, |run| distribution(&of(run)));
        // Lower than the curves end: there is the label of the 99th percentile.
        plot.name_points(0.92, name, ink, shape);
        let times = median_run(case).map(of).unwrap_or_default();
        for percent in [50, 90, 99] {
            let Some(time) = percentile(&times, percent) else {
                continue;
            };
            let at = (time * 1000.0, percent as f64 / 100.0);
            labels.push(Mark::Point(at, shape, Ink::of(colour).width(4.0)));
            // Beside the 99th percentile is the rest of the curve.
            let lie = if percent == 99 { Lie::Above } else { lie };
            let text = format!("p{percent} {}", duration(time));
            labels.push(Mark::Words(at, text, colour, lie, false));
        }
    }
    plot.marks.extend(labels);
    Ok(Some(Sketch {
        name: "latency",
        title: "Latency of lookups",
        says: format!(
            "Distribution of the time to the first peer (of the lookups that found one) and to the \
             end of the lookup, with the median, the 90th and the 99th percentile. {}",
            of_the_seeds(case)
        ),
        drawing: plot.draw("latency", 360.0)?,
    }))
}

/// What can be drawn on a logarithmic axis, in order.
fn sorted(times: &[f64]) -> Vec<f64> {
    let mut times: Vec<f64> = times
        .iter()
        .copied()
        .filter(|time| drawable(*time))
        .collect();
    times.iter_mut().for_each(|time| *time = time.max(1e-4));
    times.sort_by(f64::total_cmp);
    times
}

fn distribution(times: &[f64]) -> Vec<Point> {
    let all = times.len() as f64;
    let points = times.iter().enumerate();
    points
        .map(|(index, time)| (time * 1000.0, (index as f64 + 1.0) / all))
        .collect()
}

/// Paths that are drawn; more make one grey area.
const MOST_PATHS: usize = 250;

/// Each lookup's way to its key.
pub(super) fn paths(case: &CaseOutcome) -> Result<Option<Sketch>, ReportError> {
    let Some(run) = median_run(case) else {
        return Ok(None);
    };
    let paths: Vec<&Vec<Hop>> = run
        .series
        .paths
        .iter()
        .filter(|path| !path.is_empty())
        .collect();
    if paths.is_empty() {
        return Ok(None);
    }
    let mut ends: Vec<f64> = paths
        .iter()
        .filter_map(|path| path.last())
        .map(|hop| hop.time)
        .filter(|time| drawable(*time))
        .collect();
    ends.sort_by(f64::total_cmp);
    // A few lookups that waited for time-outs would press all others into a corner.
    let usual = percentile(&ends, 98).unwrap_or(1.0);
    let longest = greatest(ends.iter().copied()).min(usual * 1.5);
    let (unit, name) = if longest < 5.0 {
        (1000.0, "ms")
    } else {
        (1.0, "s")
    };
    let deepest = greatest(
        paths
            .iter()
            .flat_map(|path| path.iter().map(|hop| f64::from(hop.bits))),
    );
    let mut plot = Plot::new(
        Axis::linear(
            &format!("time since the lookup began [{name}]"),
            0.0,
            longest * unit,
        ),
        Axis::counts(
            "leading bits that the responder shares with the key",
            deepest,
        ),
    );
    let every = paths.len().div_ceil(MOST_PATHS).max(1);
    let drawn = paths.len().div_ceil(every);
    let ink = Ink::of(BLUE).width(1.0).faint(0.16);
    for path in paths.iter().step_by(every) {
        let path = path.iter().filter(|hop| hop.time <= longest);
        let line: Vec<Point> = path
            .map(|hop| (hop.time * unit, f64::from(hop.bits)))
            .collect();
        plot.marks.push(Mark::Line(line, ink));
    }
    let usual: Vec<Point> = (1..=deepest as u32)
        .map_while(|bits| {
            let mut times: Vec<f64> = paths
                .iter()
                .filter_map(|path| path.iter().find(|hop| hop.bits >= bits))
                .map(|hop| hop.time)
                .filter(|time| drawable(*time))
                .collect();
            times.sort_by(f64::total_cmp);
            // Of all, those that never come so deep too: it cannot go back in time.
            let middle = times.get(paths.len() / 2)?;
            Some((middle * unit, f64::from(bits)))
        })
        .filter(|(time, _)| *time <= longest * unit)
        .collect();
    let usual: Vec<Point> = usual
        .chunk_by(|a, b| a.0 == b.0)
        .filter_map(|same| same.last().copied())
        .collect();
    let ink = Ink::of(VERMILION).width(2.4);
    if let Some(end) = usual.last() {
        plot.name(end.1, "median", ink);
    }
    plot.marks.push(Mark::Line(usual, ink));
    Ok(Some(Sketch {
        name: "paths",
        title: "Paths on the key space",
        says: format!(
            "Each line is a lookup: every responder closer to the key than all before it, and when \
             it answered. A bit more is half the distance. Drawn are {drawn} of {}; the strong line \
             is the median time to each depth that more than half of all reach. One run, seed {}.",
            paths.len(),
            run.seed
        ),
        drawing: plot.draw("paths", 380.0)?,
    }))
}

/// BEP 5: K, the length of a bucket.
const K: f64 = 8.0;

/// Entries in each bucket of the routing tables.
pub(super) fn occupancy(case: &CaseOutcome) -> Result<Option<Sketch>, ReportError> {
    let Some(run) = median_run(case) else {
        return Ok(None);
    };
    let means = &run.series.occupancy;
    let Some(last) = means.iter().rposition(|mean| *mean > 0.0) else {
        return Ok(None);
    };
    let most = greatest(means.iter().copied());
    let mut plot = Plot::new(
        Axis::linear(
            "leading bits that a bucket's nodes share with the owner",
            -0.5,
            last as f64 + 0.5,
        ),
        Axis::from_zero("mean entries", most),
    );
    let bits: Vec<f64> = (0..=last)
        .step_by(last / 20 + 1)
        .map(|bits| bits as f64)
        .collect();
    plot.x = plot.x.with_ticks(&bits);
    for (bits, mean) in means.iter().enumerate().take(last + 1) {
        let bits = bits as f64;
        let ink = Ink::of(BLUE).faint(0.85);
        plot.marks
            .push(Mark::Block((bits - 0.42, 0.0), (bits + 0.42, *mean), ink));
    }
    if (6.0..=K).contains(&most) {
        plot.level(K, "K = 8", GREY);
    }
    Ok(Some(Sketch {
        name: "occupancy",
        title: "Routing tables",
        says: format!(
            "Mean entries in each bucket over the nodes' routing tables. A bucket farther right \
             covers half as many nodes. One run, seed {}.",
            run.seed
        ),
        drawing: plot.draw("occupancy", 300.0)?,
    }))
}

/// Success of lookups and dead entries, over time.
pub(super) fn health(case: &CaseOutcome) -> Result<Option<Sketch>, ReportError> {
    let success = |run: &Run| run.series.success.clone();
    let stale = |run: &Run| run.series.stale.clone();
    let all = case
        .runs
        .iter()
        .flat_map(|run| success(run).into_iter().chain(stale(run)));
    let all: Vec<Point> = all.collect();
    if all.is_empty() {
        return Ok(None);
    }
    let longest = greatest(all.iter().map(|(time, _)| *time));
    let unit = TimeUnit::of(longest);
    let mut plot = Plot::new(
        Axis::linear(
            &format!("time [{}]", unit.name),
            0.0,
            longest / unit.seconds,
        ),
        Axis::share("share of lookups, and of table entries"),
    );
    let kinds: [(&str, Of<Point>); 2] = [
        ("lookups that succeed", success),
        ("stale table entries", stale),
    ];
    for (index, (name, of)) in kinds.into_iter().enumerate() {
        let ink = Ink::nth(index);
        lines_of_seeds(&mut plot, case, ink, |run| {
            of(run)
                .iter()
                .map(|(time, share)| (time / unit.seconds, *share))
                .collect()
        });
        if let Some(end) = median_run(case).and_then(|run| of(run).last().copied()) {
            plot.name(end.1, name, ink);
        }
    }
    Ok(Some(Sketch {
        name: "health",
        title: "Success and stale entries",
        says: format!(
            "The share of the lookups begun around each time that found their key, and the share of \
             routing table entries whose node is gone. {}",
            of_the_seeds(case)
        ),
        drawing: plot.draw("health", 340.0)?,
    }))
}
