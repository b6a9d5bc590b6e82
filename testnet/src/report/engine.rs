//! Figures of any run: who is present, and what the engine does.

use crate::outcome::{CaseOutcome, Run};

use super::{
    ReportError,
    axis::Axis,
    figures::{Sketch, lines_of_seeds, median_run, of_the_seeds},
    plot::{BLUE, Ink, PURPLE, Plot, Point, WIDTH, draw},
    swarm::greatest,
    text::TimeUnit,
};

/// Who is present, over time.
pub(super) fn population(case: &CaseOutcome) -> Result<Option<Sketch>, ReportError> {
    type Curve = fn(&Run) -> &Vec<(f64, f64)>;
    let lacking: Curve = |run| &run.series.population;
    let present: Curve = |run| &run.series.present;
    let points = |of: Curve| {
        case.runs
            .iter()
            .flat_map(move |run| of(run).iter().copied())
    };
    let all = || points(lacking).chain(points(present));
    if points(lacking).next().is_none() {
        return Ok(None);
    }
    let longest = greatest(all().map(|(time, _)| time));
    let unit = TimeUnit::of(longest);
    let most = greatest(all().map(|(_, count)| count));
    let swarm = points(present).next().is_some();
    let (title, what) = match swarm {
        true => (
            "members of the swarm",
            "Members of the swarm that are present, and those among them that lack something,",
        ),
        false => ("nodes present", "Nodes that are present,"),
    };
    let end = longest / unit.seconds;
    let x = Axis::linear(&format!("time [{}]", unit.name), 0.0, end);
    let mut plot = Plot::new(x, Axis::from_zero(title, most));
    let curves = [
        (present, "all present", Ink::of(PURPLE).dashed()),
        (lacking, "lack something", Ink::of(BLUE)),
    ];
    for (of, name, ink) in curves.into_iter().skip(usize::from(!swarm)) {
        lines_of_seeds(&mut plot, case, ink, |run| {
            let points = of(run).iter();
            points
                .map(|(time, count)| (time / unit.seconds, *count))
                .collect()
        });
        let last = median_run(case).and_then(|run| of(run).last().copied());
        if let (true, Some((_, last))) = (swarm, last) {
            plot.name(last, name, ink);
        }
    }
    Ok(Some(Sketch {
        name: "population",
        title: "Population",
        says: format!("{what} over time. {}", of_the_seeds(case)),
        drawing: plot.draw("population", 300.0)?,
    }))
}

/// Events a second, and memory, over virtual time.
pub(super) fn progress(case: &CaseOutcome) -> Result<Option<Sketch>, ReportError> {
    let times = || {
        let runs = case.runs.iter();
        runs.flat_map(|run| run.series.progress.iter().map(|(time, ..)| *time))
    };
    if case.runs.iter().all(|run| speeds(run).is_empty()) {
        return Ok(None);
    }
    let memory = || case.runs.iter().flat_map(|run| &run.series.memory);
    let longest = greatest(times().chain(memory().map(|(time, _)| *time)));
    let unit = TimeUnit::of(longest);
    let x = Axis::linear(
        &format!("virtual time [{}]", unit.name),
        0.0,
        longest / unit.seconds,
    );
    let fastest = case.runs.iter().flat_map(speeds).map(|(_, speed)| speed);
    let mut speed = Plot::new(
        x.clone(),
        Axis::from_zero(
            "engine speed [million events per wall second]",
            greatest(fastest),
        ),
    );
    lines_of_seeds(&mut speed, case, Ink::of(BLUE), |run| {
        let points = speeds(run).into_iter();
        points
            .map(|(time, speed)| (time / unit.seconds, speed))
            .collect()
    });
    const MIB: f64 = 1024.0 * 1024.0;
    let most = greatest(memory().map(|(_, bytes)| *bytes as f64 / MIB));
    let mut resident = Plot::new(x, Axis::from_zero("resident memory [MiB]", most));
    lines_of_seeds(&mut resident, case, Ink::of(PURPLE), |run| {
        let points = run.series.memory.iter();
        points
            .map(|(time, bytes)| (time / unit.seconds, *bytes as f64 / MIB))
            .collect()
    });
    let both = [(&speed, 0.0..290.0), (&resident, 290.0..550.0)];
    let (plots, height, and) = if memory().next().is_some() {
        (&both[..], 550.0, " Below, the process's resident memory.")
    } else {
        (&both[..1], 290.0, "")
    };
    Ok(Some(Sketch {
        name: "engine",
        title: "The engine",
        says: format!(
            "Events handled in a second of wall time, all threads together, over virtual time.{and} \
             {}",
            of_the_seeds(case)
        ),
        drawing: draw("engine", WIDTH, height, plots)?,
    }))
}

/// Million events a wall second, over spans long enough for the clock: (virtual time, speed).
fn speeds(run: &Run) -> Vec<Point> {
    let progress = &run.series.progress;
    let (Some(first), Some(last)) = (progress.first(), progress.last()) else {
        return Vec::new();
    };
    let span = ((last.2 - first.2) / 60.0).max(1e-3);
    let mut points = Vec::new();
    let mut from = first;
    for at in progress {
        let wall = at.2 - from.2;
        if wall >= span {
            let events = at.1.saturating_sub(from.1) as f64;
            points.push(((from.0 + at.0) / 2.0, events / wall / 1e6));
            from = at;
        }
    }
    points
}
