//! The textbook's figure 2.23: the least time to distribute a file over the number of peers, with
//! what was measured on its two curves, and the distance from the bound below.

use crate::{
    bound,
    cpu::VOID_ABOVE,
    outcome::{CaseOutcome, Outcome, Run, Spread},
};

use super::{
    ReportError,
    axis::{Axis, drawable},
    figures::{Figure, seed_list, settings},
    plot::{BLUE, GREEN, GREY, INK, Ink, Lie, Mark, Plot, Point, Shape, VERMILION, draw},
    swarm::greatest,
    text::{number, value_of},
};

/// Its files' name.
pub(super) const NAME: &str = "figure-2-23";

/// The figure's server uploads ten times as fast as a peer.
const SERVER: f64 = 10.0;

/// The figure's last N.
const PEERS: usize = 35;

/// What is held against which curve.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Side {
    /// Equation 2.1.
    ClientServer,
    /// Equation 2.2.
    Peers,
}

impl Side {
    /// The bound for N peers, in units of F/u.
    pub(super) fn bound(self, n: usize) -> f64 {
        match self {
            Self::ClientServer => bound::client_server(n, 1.0, SERVER, f64::INFINITY),
            Self::Peers => bound::p2p_fluid(1.0, SERVER, &vec![1.0; n], f64::INFINITY),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::ClientServer => "client-server",
            Self::Peers => "p2p",
        }
    }
}

/// The runs of one engine with one architecture and one N.
#[derive(Debug, Clone)]
pub(super) struct Measured {
    /// Which curve it is held against.
    pub(super) side: Side,
    /// Whether it ran on real sockets.
    pub(super) live: bool,
    /// How many peers.
    pub(super) n: usize,
    /// Time of the last peer in units of F/u, called hours.
    pub(super) hours: Spread,
    /// The same over the bound: with pieces (LB) for peers, equation 2.1 for client-server.
    pub(super) ratio: Spread,
    /// The busiest run's share of all cores.
    pub(super) cpu: f64,
    /// The runs' seeds.
    pub(super) seeds: Vec<u64>,
    /// Whether a peer of some run never had the whole file.
    pub(super) incomplete: bool,
    /// F/u of these runs, seconds.
    unit: f64,
}

impl Measured {
    /// Whether it does not count: a live ratio of a busy machine measured the processor instead of
    /// the protocol, and the time of who never finished is the run's end.
    pub(super) fn is_void(&self) -> bool {
        self.incomplete || self.live && self.cpu > VOID_ABOVE
    }
}

/// Everything measured, sorted by side, engine and N.
pub(super) fn measured(outcomes: &[Outcome]) -> Result<Vec<Measured>, ReportError> {
    let mut all = Vec::new();
    for outcome in outcomes {
        for case in &outcome.cases {
            all.extend(point(outcome, case)?);
        }
    }
    all.sort_by_key(|point| (point.side, point.live, point.n));
    for pair in all.windows(2) {
        let [a, b] = pair else { continue };
        if (a.side, a.live) != (b.side, b.live) {
            continue;
        }
        // One F/u for all: it is what makes the curve's hours.
        if a.n != b.n && (a.unit / b.unit - 1.0).abs() > 0.01 {
            return Err(ReportError::NotTheFigure(format!(
                "figure 2.23 needs a seed with {SERVER} times a peer's upload, unlimited downloads \
                 and one file and rate for every N; the {} runs with N = {} and {} differ; run \
                 them with the scenario's own values",
                a.side.name(),
                a.n,
                b.n
            )));
        }
    }
    if all.is_empty() {
        return Err(ReportError::NotTheFigure(
            "none of the runs has a time and a bound for figure 2.23; run `testnet figure 2.23`"
                .into(),
        ));
    }
    Ok(all)
}

/// What a case adds: nothing with N = 0 or if no run was complete.
fn point(outcome: &Outcome, case: &CaseOutcome) -> Result<Option<Measured>, ReportError> {
    let said = |wanted: fn(&str) -> bool| {
        let all = case.settings.iter().chain(&outcome.parameters);
        let mut all = all.filter(|(key, _)| wanted(key));
        all.next()
            .map(|(_, value)| value.trim().trim_matches('"').to_string())
    };
    let missing = |what: &str| {
        ReportError::NotTheFigure(format!(
            "a case of {} does not say its {what}, so it has no place in figure 2.23; set it in the \
             scenario or with --set",
            outcome.scenario
        ))
    };
    let side = match said(|key| key.ends_with("architecture")).as_deref() {
        Some("client-server") => Side::ClientServer,
        Some("p2p") => Side::Peers,
        _ => return Err(missing("architecture (p2p or client-server)")),
    };
    let n = said(|key| key.ends_with(".count") && !key.contains("seed"))
        .and_then(|value| value_of(&value))
        .ok_or_else(|| missing("number of peers (class.peer.count)"))? as usize;
    if n == 0 {
        return Ok(None);
    }
    let times = |run: &Run| -> Option<(f64, f64, f64)> {
        let get = |name: &str| run.figures.get(name).copied().filter(|value| *value > 0.0);
        let (fluid, lb) = (get("bound_seconds")?, get("lb_seconds"));
        // Peers that join one after the other have the file later than their own time says.
        let last = get("ratio").zip(lb).map(|(ratio, lb)| ratio * lb);
        let last = last.or(get("seconds"))?;
        let against = match side {
            Side::ClientServer => fluid,
            Side::Peers => lb?,
        };
        let unit = fluid / side.bound(n);
        let point = (last / unit, last / against, unit);
        (drawable(point.0) && drawable(point.1)).then_some(point)
    };
    let runs: Vec<(&Run, (f64, f64, f64))> = case
        .runs
        .iter()
        .filter_map(|run| Some((run, times(run)?)))
        .collect();
    let Some((_, (_, _, unit))) = runs.first().copied() else {
        return Ok(None);
    };
    Ok(Some(Measured {
        side,
        live: outcome.engine == "live",
        n,
        hours: spread(runs.iter().map(|(_, times)| times.0)),
        ratio: spread(runs.iter().map(|(_, times)| times.1)),
        cpu: greatest(runs.iter().map(|(run, _)| run.cost.cpu)),
        seeds: runs.iter().map(|(run, _)| run.seed).collect(),
        incomplete: runs.iter().any(|(run, _)| {
            run.figures
                .get("complete")
                .is_some_and(|share| *share < 1.0)
        }),
        unit,
    }))
}

/// Of values that there is at least one of.
fn spread(values: impl Iterator<Item = f64>) -> Spread {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let at = |index: usize| values.get(index).copied().unwrap_or(f64::NAN);
    let last = values.len().saturating_sub(1);
    Spread {
        median: (at(last / 2) + at(values.len() / 2)) / 2.0,
        least: at(0),
        greatest: at(last),
        runs: values.len(),
    }
}

/// The figure.
pub(super) fn figure(outcomes: &[Outcome], all: &[Measured]) -> Result<Figure, ReportError> {
    let last = all
        .iter()
        .map(|point| point.n)
        .max()
        .unwrap_or(0)
        .max(PEERS);
    let ticks: Vec<f64> = (0..=last)
        .step_by((last / 7).max(1))
        .map(|n| n as f64)
        .collect();
    let x = Axis::linear("", 0.0, last as f64)
        .with_ticks(&ticks)
        .widened(0.015);
    let times = times(all, x.clone(), last);
    let mut x = x;
    x.title = "number of peers N".into();
    let ratios = ratios(all, x);
    let (width, height) = (760.0, 660.0);
    let both = [(&times, 0.0..432.0), (&ratios, 412.0..height)];
    Ok(Figure {
        name: NAME.into(),
        title: "Distribution time: client-server and peer-to-peer".into(),
        says: says(all),
        provenance: provenance(outcomes, all),
        drawing: draw(NAME, width, height, &both)?,
    })
}

const SIDES: [(Side, plotters::prelude::RGBColor); 2] =
    [(Side::ClientServer, VERMILION), (Side::Peers, BLUE)];

/// The curves with the times.
fn times(all: &[Measured], x: Axis, last: usize) -> Plot {
    let slowest = greatest(all.iter().map(|point| point.hours.greatest));
    let top = slowest.max(Side::ClientServer.bound(last));
    let y = Axis::linear(
        "minimum distribution time [h], where F/u = 1 h",
        0.0,
        top * 1.02,
    );
    let mut plot = Plot::new(x, y);
    for (side, colour) in SIDES {
        let curve: Vec<Point> = match side {
            // Straight.
            Side::ClientServer => vec![(0.0, 0.0), (last as f64, side.bound(last))],
            Side::Peers => (0..=last).map(|n| (n as f64, side.bound(n))).collect(),
        };
        plot.marks
            .push(Mark::Line(curve, Ink::of(colour).width(1.3)));
    }
    points(&mut plot, all, |point| point.hours, 0.0);
    let last = last as f64;
    let at = (
        last * 0.665,
        Side::ClientServer.bound((last * 0.70) as usize),
    );
    let name = "client-server, Eq. 2.1".to_string();
    plot.marks
        .push(Mark::Words(at, name, VERMILION, Lie::Left, true));
    let at = (last * 0.79, Side::Peers.bound((last * 0.79) as usize));
    let name = "peer-to-peer, Eq. 2.2".to_string();
    plot.marks
        .push(Mark::Words(at, name, BLUE, Lie::Below, true));
    let kinds = [
        ("simulated", Shape::Dot, all.iter().any(|point| !point.live)),
        (
            "live, on real sockets",
            Shape::Diamond,
            all.iter().any(|point| point.live && !point.is_void()),
        ),
        (
            "void, see the caption",
            Shape::Cross,
            all.iter().any(Measured::is_void),
        ),
    ];
    let mut row = 0.0;
    for (name, shape, there) in kinds {
        if there {
            let at = (last * 0.02, top * (0.96 - 0.065 * row));
            plot.marks
                .push(Mark::Point(at, shape, Ink::of(INK).width(size(shape))));
            plot.marks
                .push(Mark::Words(at, name.into(), INK, Lie::Right, false));
            row += 1.0;
        }
    }
    plot
}

/// The distance from the bounds.
fn ratios(all: &[Measured], x: Axis) -> Plot {
    let worst = greatest(all.iter().map(|point| point.ratio.greatest));
    let live = all.iter().any(|point| point.live);
    let top = (worst + 0.01).max(if live { 1.16 } else { 1.07 });
    let least = all
        .iter()
        .map(|point| point.ratio.least)
        .fold(0.95, f64::min);
    let y = Axis::linear("measured time over its lower bound", least, top);
    let mut plot = Plot::new(x, y);
    plot.level(1.02, "goal 1.02", GREEN);
    if live {
        plot.level(1.05, "gate, sim 1.05", GREY);
        plot.level(1.15, "gate, live 1.15", GREY);
    } else {
        plot.level(1.05, "gate 1.05", GREY);
    }
    let whole = vec![(f64::MIN, 1.0), (f64::MAX, 1.0)];
    plot.marks.push(Mark::Line(whole, Ink::of(INK).width(1.0)));
    plot.names.push((1.0, "bound".into(), INK));
    points(&mut plot, all, |point| point.ratio, 0.17);
    plot
}

fn size(shape: Shape) -> f64 {
    match shape {
        Shape::Dot => 3.2,
        Shape::Diamond => 6.0,
        Shape::Cross => 4.5,
    }
}

/// Points with the spread of their seeds; the two sides `apart` so that both can be seen.
fn points(plot: &mut Plot, all: &[Measured], of: fn(&Measured) -> Spread, apart: f64) {
    for point in all {
        let spread = of(point);
        let (x, colour) = match point.side {
            Side::ClientServer => (point.n as f64 - apart, VERMILION),
            Side::Peers => (point.n as f64 + apart, BLUE),
        };
        let ink = Ink::of(colour);
        let (least, most) = (spread.least, spread.greatest);
        plot.marks
            .push(Mark::Whisker(x, least, most, ink.width(1.3)));
        let shape = match (point.is_void(), point.live) {
            (true, _) => Shape::Cross,
            (false, true) => Shape::Diamond,
            (false, false) => Shape::Dot,
        };
        let mark = Mark::Point((x, spread.median), shape, ink.width(size(shape)));
        plot.marks.push(mark);
    }
}

/// What the lines and points are.
fn says(all: &[Measured]) -> String {
    let mut out = format!(
        "How long a file takes to reach N peers if the server uploads {SERVER} times as fast as a \
         peer and F/u = 1 h (after the textbook's figure 2.23). Lines: Eq. 2.1, NF/u_s, and \
         Eq. 2.2, max(F/u_s, NF/(u_s + sum of u_i)). Points: the last peer's time, median of the \
         seeds; bars: least to greatest. Below: the same over its bound, Eq. 2.1 for \
         client-server, and for peers LB, which is Eq. 2.2 with the cost of pieces."
    );
    if all.iter().any(Measured::is_void) {
        out.push_str(&format!(
            " Crosses do not count: live with more than {:.0} % of the processor in use, or not \
             every peer got the file.",
            VOID_ABOVE * 100.0
        ));
    }
    out
}

/// What was run: each engine's parameters, F/u, processor share; then notes, once each.
fn provenance(outcomes: &[Outcome], all: &[Measured]) -> String {
    let mut parts: Vec<String> = Vec::new();
    let mut notes: Vec<&String> = Vec::new();
    for outcome in outcomes {
        let live = outcome.engine == "live";
        let of = || all.iter().filter(|point| point.live == live);
        let mut seeds: Vec<u64> = of().flat_map(|point| point.seeds.clone()).collect();
        seeds.sort_unstable();
        seeds.dedup();
        let cpu = greatest(of().map(|point| point.cpu)) * 100.0;
        let unit = of().next().map_or("–".into(), |point| number(point.unit));
        let mut part = format!(
            "{}: {}, F/u = {unit} s, at most {cpu:.0} % of all cores in use",
            if live { "Live" } else { "Simulated" },
            seed_list(&seeds)
        );
        if !outcome.parameters.is_empty() {
            part.push_str(&format!(", {}", settings(&outcome.parameters)));
        }
        // Both sides of one engine may come as two outcomes.
        if !parts.contains(&part) {
            parts.push(part);
        }
        for note in &outcome.notes {
            if !notes.contains(&note) {
                notes.push(note);
            }
        }
    }
    let mut out = format!("{}.", parts.join(". "));
    for note in notes {
        out.push_str(&format!(" {}.", note.trim_end_matches('.')));
    }
    out
}
