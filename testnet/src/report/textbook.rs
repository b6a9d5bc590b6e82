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
    figures::{Figure, parameters, seed_list},
    plot::{
        BLUE, GREEN, GREY, INK, Ink, Lie, Mark, Plot, Point, Shape, VERMILION, WIDTH, draw, size,
    },
    swarm::greatest,
    text::{duration, number, range, value_of},
};

/// Its files' name.
pub(super) const NAME: &str = "figure-2-23";

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
    fn name(self) -> &'static str {
        match self {
            Self::ClientServer => "client-server",
            Self::Peers => "p2p",
        }
    }
}

/// What the bounds follow from; rates in units of u, so that times are in units of F/u.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct World {
    /// All servers' upload, u_s.
    server: f64,
    /// Each peer's upload.
    up: f64,
    /// The slowest download, d_min.
    down: f64,
    pieces: u32,
}

impl World {
    fn of(outcome: &Outcome, case: &CaseOutcome) -> Option<Self> {
        let said = |key: &str| said(outcome, case, |known| known == key);
        let rate = |key: &str| match said(key).as_deref() {
            Some("unlimited") | None => Some(f64::INFINITY),
            Some(value) => value_of(value).filter(|rate| value.ends_with('x') && *rate > 0.0),
        };
        let servers = said("class.seed.count").map_or(Some(1.0), |count| value_of(&count))?;
        Some(Self {
            server: rate("class.seed.up")? * servers,
            up: rate("class.peer.up")?,
            down: rate("class.peer.down")?,
            pieces: value_of(&said("swarm.pieces")?)? as u32,
        })
    }

    /// Equation 2.1.
    pub(super) fn client_server(&self, n: usize) -> f64 {
        bound::client_server(n, 1.0, self.server, self.down)
    }

    /// Equation 2.2.
    pub(super) fn fluid(&self, n: usize) -> f64 {
        bound::p2p_fluid(1.0, self.server, &vec![self.up; n], self.down)
    }

    /// The bound with pieces.
    pub(super) fn lb(&self, n: usize) -> f64 {
        bound::lb(1.0, self.pieces, self.server, &vec![self.up; n], self.down)
    }

    /// Engines may differ in pieces, which the curves hardly do.
    fn rates_as(&self, other: &Self) -> bool {
        let pieces = other.pieces;
        Self { pieces, ..*self } == *other
    }

    fn bound(&self, side: Side, n: usize) -> f64 {
        match side {
            Side::ClientServer => self.client_server(n),
            Side::Peers => self.fluid(n),
        }
    }

    /// `u_s = 10 u, every u_i = u, downloads unlimited (d_min)`.
    fn told(&self) -> String {
        let rate = |rate: f64| match rate {
            1.0 => "u".to_string(),
            rate => format!("{} u", number(rate)),
        };
        let down = match self.down.is_finite() {
            true => rate(self.down),
            false => "unlimited".into(),
        };
        let (server, up) = (rate(self.server), rate(self.up));
        format!(
            "u_s = {server}, u_i = {up}, d_min {}{down}",
            if self.down.is_finite() { "= " } else { "" }
        )
    }
}

/// What a case, its file or the defaults say under a key.
fn said(outcome: &Outcome, case: &CaseOutcome, wanted: impl Fn(&str) -> bool) -> Option<String> {
    let all = case.settings.iter().chain(&outcome.parameters);
    let mut all = all.chain(&outcome.defaults).filter(|(key, _)| wanted(key));
    all.next()
        .map(|(_, value)| value.trim().trim_matches('"').to_string())
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
    /// Time of the last peer in units of F/u.
    pub(super) time: Spread,
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
    /// What their bounds follow from.
    pub(super) world: World,
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
        // One F/u and one world for all: they make the curves.
        if a.n != b.n && ((a.unit / b.unit - 1.0).abs() > 0.01 || a.world != b.world) {
            return Err(ReportError::NotTheFigure(format!(
                "figure 2.23 needs one file and the same rates for every N; the {} runs with N = {} \
                 and {} differ, or their bounds are not those of their rates; run them with the \
                 scenario's own values",
                a.side.name(),
                a.n,
                b.n
            )));
        }
    }
    if let Some(other) = all
        .iter()
        .find(|other| !other.world.rates_as(&all[0].world))
    {
        return Err(ReportError::NotTheFigure(format!(
            "figure 2.23 has one set of curves, and its runs have two: {} and {}; draw them apart",
            all[0].world.told(),
            other.world.told()
        )));
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
    let said = |wanted: fn(&str) -> bool| said(outcome, case, wanted);
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
    let world = World::of(outcome, case).ok_or_else(|| {
        missing("rates in units of u (class.seed.up and class.peer.up, such as 10x) and its pieces")
    })?;
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
        let unit = fluid / world.bound(side, n);
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
        time: spread(runs.iter().map(|(_, times)| times.0)),
        ratio: spread(runs.iter().map(|(_, times)| times.1)),
        cpu: greatest(runs.iter().map(|(run, _)| run.cost.cpu)),
        seeds: runs.iter().map(|(run, _)| run.seed).collect(),
        incomplete: runs.iter().any(|(run, _)| {
            run.figures
                .get("complete")
                .is_some_and(|share| *share < 1.0)
        }),
        unit,
        world,
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
    let (width, height) = (WIDTH, 640.0);
    let both = [(&times, 0.0..412.0), (&ratios, 402.0..height)];
    Ok(Figure {
        name: NAME.into(),
        title: "Distribution time: client-server and peer-to-peer".into(),
        says: says(all),
        provenance: provenance(outcomes, all),
        drawing: draw(NAME, width, height, &both)?,
    })
}

/// The curves with the times.
fn times(all: &[Measured], x: Axis, last: usize) -> Plot {
    let world = all[0].world;
    let slowest = greatest(all.iter().map(|point| point.time.greatest));
    let top = slowest.max(world.client_server(last));
    let y = Axis::linear(
        &format!("distribution time [{}]", unit(all)),
        0.0,
        top * 1.02,
    );
    let mut plot = Plot::new(x, y);
    type Bound = fn(&World, usize) -> f64;
    let curves: [(Bound, &str, Ink); 3] = [
        (
            World::client_server,
            "client-server, Eq. 2.1",
            Ink::of(VERMILION).width(1.3),
        ),
        (World::lb, "P2P with pieces, LB", Ink::of(BLUE).width(1.5)),
        (
            World::fluid,
            "P2P fluid, Eq. 2.2",
            Ink::of(INK).width(1.3).dotted(),
        ),
    ];
    for (bound, name, ink) in curves {
        let curve: Vec<Point> = (0..=last).map(|n| (n as f64, bound(&world, n))).collect();
        plot.name(bound(&world, last), name, ink);
        plot.marks.push(Mark::Line(curve, ink));
    }
    points(&mut plot, all, |point| point.time, 0.0);
    let has = |side, live| {
        all.iter()
            .any(|point| (point.side, point.live, point.is_void()) == (side, live, false))
    };
    let kinds = [
        (
            "client-server, simulated",
            Shape::Square,
            VERMILION,
            has(Side::ClientServer, false),
        ),
        (
            "peer-to-peer, simulated",
            Shape::Dot,
            BLUE,
            has(Side::Peers, false),
        ),
        (
            "client-server, live",
            Shape::Diamond,
            VERMILION,
            has(Side::ClientServer, true),
        ),
        (
            "peer-to-peer, live",
            Shape::Diamond,
            BLUE,
            has(Side::Peers, true),
        ),
        (
            "void, see the caption",
            Shape::Cross,
            INK,
            all.iter().any(Measured::is_void),
        ),
    ];
    // Above the steeper curve's beginning nothing is measured.
    let there = kinds.into_iter().filter(|(.., there)| *there);
    for (row, (name, shape, colour, _)) in there.enumerate() {
        let at = (last as f64 * 0.02, top * (0.96 - 0.07 * row as f64));
        let ink = Ink::of(colour).width(size(shape));
        plot.marks.push(Mark::Point(at, shape, ink));
        plot.marks
            .push(Mark::Words(at, name.into(), INK, Lie::Right, false));
    }
    plot
}

/// What times are counted in: `F/u = 30 min`.
fn unit(all: &[Measured]) -> String {
    let same = |point: &&Measured| (point.unit / all[0].unit - 1.0).abs() < 0.01;
    match all.iter().all(|point| same(&point)) {
        true => format!("units of F/u = {}", duration(all[0].unit)),
        false => "units of F/u".into(),
    }
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
    let y = Axis::linear("measured time over its bound", least, top);
    let mut plot = Plot::new(x, y);
    plot.limit(1.02, "goal 1.02", Ink::of(GREEN).width(1.0).dotted());
    if live {
        plot.level(1.05, "gate, sim 1.05", GREY);
        plot.level(1.15, "gate, live 1.15", GREY);
    } else {
        plot.level(1.05, "gate 1.05", GREY);
    }
    let whole = vec![(f64::MIN, 1.0), (f64::MAX, 1.0)];
    plot.marks.push(Mark::Line(whole, Ink::of(INK).width(1.0)));
    plot.name(1.0, "bound", Ink::of(INK).width(1.0));
    points(&mut plot, all, |point| point.ratio, 0.17);
    plot
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
            (false, false) if point.side == Side::Peers => Shape::Dot,
            (false, false) => Shape::Square,
        };
        let mark = Mark::Point((x, spread.median), shape, ink.width(size(shape)));
        plot.marks.push(mark);
    }
}

/// What the lines and points are.
fn says(all: &[Measured]) -> String {
    let world = all[0].world;
    let seeds = || all.iter().map(|point| point.time.runs);
    let points = match (seeds().min(), seeds().max()) {
        (Some(least), Some(most)) if most > 1 => format!(
            "median of {} seeds, with bars from the least to the greatest",
            range(least, most)
        ),
        _ => "one run each".to_string(),
    };
    let mut pieces: Vec<u32> = all.iter().map(|point| point.world.pieces).collect();
    pieces.dedup();
    let drawn = match pieces[..] {
        [pieces] => format!("a file of {} pieces", number(f64::from(pieces))),
        _ => format!(
            "a file in pieces, drawn for {}",
            number(f64::from(pieces[0]))
        ),
    };
    let mut out = format!(
        "Time until the last of N peers has a file of size F, in units of F/u, for {} (after the \
         textbook's figure 2.23). Lines: Eq. 2.1, max(NF/u_s, F/d_min), and Eq. 2.2, max(F/u_s, \
         F/d_min, NF/(u_s + Σu_i)), for a file that flows like water; LB, the same for {drawn}. \
         Points: measured, {points}. Below: the measured time over its bound, Eq. 2.1 for \
         client-server and LB for peer-to-peer.",
        world.told()
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
        let unit = of().next().map_or("–".into(), |point| duration(point.unit));
        let mut part = format!(
            "{}: scenario {}, {}, F/u = {unit}, at most {cpu:.0} % of all cores in use",
            if live { "Live" } else { "Simulated" },
            outcome.scenario,
            seed_list(&seeds)
        );
        part.push('.');
        part.push_str(&parameters(&outcome.parameters));
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
    let mut out = parts.join(" ");
    for note in notes {
        out.push_str(&format!(" {}.", note.trim_end_matches('.')));
    }
    out
}
