//! Figures of a swarm: who was done when, copies of pieces, use of uplinks, slots between classes.

use crate::outcome::{CaseOutcome, CopiesAt, Run};

use super::{
    ReportError,
    axis::{Axis, drawable},
    figures::{Sketch, lines_of_seeds, median_run, of_the_seeds},
    plot::{BLUE, GREY, INK, Ink, Lie, Mark, Plot, Point},
    text::{TimeUnit, duration},
};

/// The share of peers that have everything, over time, with the bounds.
pub(super) fn completion(case: &CaseOutcome) -> Result<Option<Sketch>, ReportError> {
    let all = || case.runs.iter().flat_map(|run| &run.series.completions);
    let mut classes: Vec<&str> = Vec::new();
    for done in all() {
        if !classes.contains(&done.class.as_str()) {
            classes.push(&done.class);
        }
    }
    if classes.is_empty() {
        return Ok(None);
    }
    let bounds = median_run(case).and_then(|run| run.series.bounds);
    let ends = all().filter_map(|done| done.seconds);
    let ends = ends.chain(bounds.iter().flat_map(|bounds| [bounds.fluid, bounds.lb]));
    let longest = greatest(ends);
    let unit = TimeUnit::of(longest);
    let mut plot = Plot::new(
        Axis::linear(
            &format!("time since joining [{}]", unit.name),
            0.0,
            longest * 1.04 / unit.seconds,
        ),
        Axis::share("peers that have the whole file"),
    );
    if let Some(bounds) = bounds {
        let fluid = format!("fluid bound {}", duration(bounds.fluid));
        let lb = format!("bound with pieces (LB) {}", duration(bounds.lb));
        let ink = Ink::of(GREY).width(1.2);
        plot.marks.push(Mark::Upright(
            bounds.fluid / unit.seconds,
            ink.dashed(),
            fluid,
        ));
        let ink = Ink::of(INK).width(1.2);
        plot.marks
            .push(Mark::Upright(bounds.lb / unit.seconds, ink, lb));
    }
    for (index, class) in classes.iter().enumerate() {
        let ink = Ink::nth(index);
        lines_of_seeds(&mut plot, case, ink, |run| {
            steps(run, class, unit.seconds, longest * 1.04)
        });
        let last = median_run(case).map_or(0.0, |run| {
            steps(run, class, 1.0, longest)
                .last()
                .map_or(0.0, |end| end.1)
        });
        plot.name(last, class, ink);
    }
    let never = all().filter(|done| done.seconds.is_none()).count();
    let mut says =
        "The share of each class's peers that have every piece, over the time since each \
                    joined."
            .to_string();
    if bounds.is_some() {
        says.push_str(
            " Solid upright: the lower bound with pieces (LB): no schedule can serve the last of all \
             peers sooner; dashed: the bound for a file that flows like water.",
        );
    }
    if never > 0 {
        says.push_str(&format!(" {never} of {} never had it.", all().count()));
    }
    says.push_str(&format!(" {}", of_the_seeds(case)));
    Ok(Some(Sketch {
        name: "completion",
        title: "Completion",
        says,
        drawing: plot.draw("completion", 360.0)?,
    }))
}

/// A class's completions as stairs.
fn steps(run: &Run, class: &str, unit: f64, longest: f64) -> Vec<Point> {
    let members = || {
        let all = run.series.completions.iter();
        all.filter(|done| done.class == class)
    };
    let mut times: Vec<f64> = members().filter_map(|done| done.seconds).collect();
    times.retain(|time| drawable(*time));
    times.sort_by(f64::total_cmp);
    let all = members().count().max(1) as f64;
    let mut points = Vec::new();
    for (index, time) in times.iter().enumerate() {
        let done = index as f64;
        points.push((time / unit, done / all));
        points.push((time / unit, (done + 1.0) / all));
    }
    points.push((longest / unit, times.len() as f64 / all));
    points
}

/// Copies of the rarest, the usual and the commonest piece, over time.
pub(super) fn copies(case: &CaseOutcome) -> Result<Option<Sketch>, ReportError> {
    let Some(run) = median_run(case).filter(|run| !run.series.copies.is_empty()) else {
        return Ok(None);
    };
    let copies = &run.series.copies;
    let longest = greatest(copies.iter().map(|at| at.time));
    let unit = TimeUnit::of(longest);
    let most = greatest(copies.iter().map(|at| f64::from(at.max)));
    let mut plot = Plot::new(
        Axis::linear(
            &format!("time [{}]", unit.name),
            0.0,
            longest / unit.seconds,
        ),
        Axis::counts("copies of a piece in the swarm", most),
    );
    let line = |of: fn(&CopiesAt) -> u32| -> Vec<Point> {
        copies
            .iter()
            .map(|at| (at.time / unit.seconds, f64::from(of(at))))
            .collect()
    };
    let (min, max) = (line(|at| at.min), line(|at| at.max));
    let (p10, p90) = (line(|at| at.p10), line(|at| at.p90));
    let median = line(|at| at.median);
    let ink = Ink::of(BLUE);
    plot.marks
        .push(Mark::Band(min.clone(), max.clone(), ink.faint(0.16)));
    plot.marks
        .push(Mark::Band(p10.clone(), p90.clone(), ink.faint(0.3)));
    plot.marks
        .push(Mark::Line(min.clone(), ink.width(0.8).faint(0.7)));
    plot.marks.push(Mark::Line(median.clone(), ink.width(2.2)));
    let end = |line: &[Point]| line.last().map_or(0.0, |end| end.1);
    plot.name(end(&median), "median piece", ink.width(2.2));
    // Where all have everything in the end, the bands have none to name.
    if end(&max) > end(&min) {
        plot.name(end(&max), "commonest piece", ink.faint(0.3));
        plot.name(end(&min), "rarest piece", ink.width(0.8).faint(0.7));
    }
    Ok(Some(Sketch {
        name: "copies",
        title: "Copies of pieces",
        says: format!(
            "How many copies of a piece the swarm holds, over time: rarest to commonest piece \
             (light), the middle four fifths (dark), median (line). One run, seed {}.",
            run.seed
        ),
        drawing: plot.draw("copies", 340.0)?,
    }))
}

/// The share of upload capacity in use, over time.
pub(super) fn utilisation(case: &CaseOutcome) -> Result<Option<Sketch>, ReportError> {
    let all = || case.runs.iter().flat_map(|run| &run.series.utilisation);
    if all().next().is_none() {
        return Ok(None);
    }
    let longest = greatest(all().map(|(time, _)| *time));
    let unit = TimeUnit::of(longest);
    let mut plot = Plot::new(
        Axis::linear(
            &format!("time [{}]", unit.name),
            0.0,
            longest / unit.seconds,
        ),
        Axis::share("upload capacity in use"),
    );
    lines_of_seeds(&mut plot, case, Ink::of(BLUE), |run| {
        let points = run.series.utilisation.iter();
        points
            .map(|(time, share)| (time / unit.seconds, *share))
            .collect()
    });
    Ok(Some(Sketch {
        name: "utilisation",
        title: "Upload utilisation",
        says: format!(
            "Useful bytes uploaded over the upload capacity of everybody present, over time. {}",
            of_the_seeds(case)
        ),
        drawing: plot.draw("utilisation", 320.0)?,
    }))
}

/// Which class gave its slots to which.
pub(super) fn unchoked(case: &CaseOutcome) -> Result<Option<Sketch>, ReportError> {
    let all = || case.runs.iter().flat_map(|run| &run.series.unchoked);
    let mut classes: Vec<String> = Vec::new();
    for slot in all() {
        for class in [&slot.from, &slot.to] {
            if !classes.contains(class) {
                classes.push(class.clone());
            }
        }
    }
    if classes.is_empty() {
        return Ok(None);
    }
    let given = |from: &str, to: Option<&str>| -> f64 {
        all()
            .filter(|slot| slot.from == from && to.is_none_or(|to| slot.to == to))
            .map(|slot| slot.seconds)
            .filter(|seconds| drawable(*seconds))
            // The sum of nothing would be -0.
            .fold(0.0, |sum, seconds| sum + seconds)
    };
    let count = classes.len();
    let upwards: Vec<String> = classes.iter().rev().cloned().collect();
    let mut plot = Plot::new(
        Axis::names("class that was given the slot", &classes),
        Axis::names("class that gave it", &upwards),
    );
    for (column, to) in classes.iter().enumerate() {
        for (row, from) in upwards.iter().enumerate() {
            let sum = given(from, None);
            let share = if sum > 0.0 {
                given(from, Some(to)) / sum
            } else {
                0.0
            };
            let (x, y) = (column as f64, row as f64);
            // Never so strong that the number on it is hard to read.
            let ink = Ink::of(BLUE).faint(0.05 + 0.55 * share.clamp(0.0, 1.0));
            plot.marks
                .push(Mark::Block((x + 0.01, y + 0.02), (x + 0.99, y + 0.98), ink));
            let text = if sum > 0.0 {
                format!("{:.0} %", share * 100.0)
            } else {
                "–".into()
            };
            plot.marks
                .push(Mark::Words((x + 0.5, y + 0.5), text, INK, Lie::On, false));
        }
    }
    let height = 80.0 + (count as f64 * 52.0).clamp(104.0, 520.0);
    Ok(Some(Sketch {
        name: "unchoked",
        title: "Who unchoked whom",
        says: format!(
            "The share of a class's slot time that went to each class; every row is 100 %. Sum of \
             {} run{}.",
            case.runs.len(),
            if case.runs.len() == 1 { "" } else { "s" }
        ),
        drawing: plot.draw("unchoked", height)?,
    }))
}

/// The greatest that can be drawn; 0 if there is none.
pub(super) fn greatest(values: impl Iterator<Item = f64>) -> f64 {
    values.filter(|value| drawable(*value)).fold(0.0, f64::max)
}
