//! Figures over the parameter that a scenario varies, with the gates they are held against.

use crate::outcome::{CaseOutcome, Outcome, Spread, Verdict};

use super::{
    ReportError,
    axis::{Axis, drawable},
    figures::{Figure, provenance},
    labels,
    plot::{GREEN, GREY, Ink, Mark, Plot, Point, shape, size},
    swarm::greatest,
    text::{number, range, value_of},
};

/// Figures that are drawn without a gate that asks for them.
const USUAL: [&str; 8] = [
    "ratio",
    "seconds",
    "complete",
    "success",
    "hops",
    "queries",
    "first_ms_p50",
    "recall",
];

/// More lines in one plot cannot be told apart.
const MOST_LINES: usize = 6;

/// One figure for each that is gated or usual, if a number varies over the cases.
pub(super) fn figures(outcome: &Outcome) -> Result<Vec<Figure>, ReportError> {
    let Some(varied) = Varied::of(&outcome.cases) else {
        return Ok(Vec::new());
    };
    let mut names: Vec<String> = Vec::new();
    let gated = outcome
        .verdicts
        .iter()
        .map(|verdict| Gate::of(verdict).figure);
    let gated: Vec<String> = gated.collect();
    for name in gated.iter().cloned().chain(USUAL.map(String::from)) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    let mut figures = Vec::new();
    for name in names {
        // One that nobody asks for and that is the same everywhere shows nothing.
        if gated.contains(&name) || differs(&outcome.cases, &name) {
            figures.extend(over(outcome, &varied, &name)?);
        }
    }
    Ok(figures)
}

/// Whether a figure is not the same in all runs.
fn differs(cases: &[CaseOutcome], name: &str) -> bool {
    let runs = cases.iter().flat_map(|case| &case.runs);
    let mut values = runs.filter_map(|run| run.figures.get(name));
    let first = values.next();
    values.any(|value| Some(value) != first)
}

/// The setting that varies, its values, and the cases that differ in nothing else.
struct Varied {
    key: String,
    /// The other settings, and (value, case) in the order of the values.
    lines: Vec<(String, Vec<(f64, usize)>)>,
}

impl Varied {
    fn of(cases: &[CaseOutcome]) -> Option<Self> {
        let mut keys: Vec<&String> = Vec::new();
        for (key, _) in cases.iter().flat_map(|case| &case.settings) {
            if !keys.contains(&key) {
                keys.push(key);
            }
        }
        let values = |key: &str| -> Option<Vec<f64>> {
            let of_case = |case: &CaseOutcome| {
                let (_, value) = case.settings.iter().find(|(known, _)| known == key)?;
                value_of(value)
            };
            cases.iter().map(of_case).collect()
        };
        let distinct = |key: &str| {
            let mut all = values(key)?;
            all.sort_by(f64::total_cmp);
            all.dedup();
            (all.len() > 1).then_some(all.len())
        };
        // The one with the most values; of equals the first that is written.
        let key = keys
            .iter()
            .rev()
            .filter_map(|key| Some((distinct(key)?, *key)))
            .max_by_key(|(count, _)| *count)
            .map(|(_, key)| key.clone())?;
        let mut lines: Vec<(String, Vec<(f64, usize)>)> = Vec::new();
        for (index, value) in values(&key)?.into_iter().enumerate() {
            let mut others = cases[index].settings.clone();
            others.retain(|(known, _)| *known != key);
            let name = labels::settings(&others);
            let line = match lines.iter().position(|(known, _)| *known == name) {
                Some(line) => line,
                None => {
                    lines.push((name, Vec::new()));
                    lines.len() - 1
                }
            };
            lines[line].1.push((value, index));
        }
        for (_, line) in &mut lines {
            line.sort_by(|a, b| a.0.total_cmp(&b.0));
        }
        Some(Self { key, lines })
    }
}

/// A gate, read from its sentence: `ratio at most 1.05 where class.peer.count = 35`.
#[derive(Debug, Clone, PartialEq)]
struct Gate {
    figure: String,
    limit: Option<f64>,
    /// Whether it is about all cases.
    everywhere: bool,
    goal: Option<f64>,
}

impl Gate {
    fn of(verdict: &Verdict) -> Self {
        let words: Vec<&str> = verdict.gate.split_whitespace().collect();
        let at = words
            .windows(2)
            .position(|two| two[0] == "at" && matches!(two[1], "most" | "least"));
        // `2 times that of …` is no level: it is held against another case.
        let limit = at
            .filter(|at| words.get(at + 3) != Some(&"times"))
            .and_then(|at| value_of(words.get(at + 2)?.trim_end_matches(',')));
        Self {
            figure: words
                .first()
                .map_or(String::new(), |word| (*word).to_string()),
            limit,
            everywhere: !words.contains(&"where"),
            goal: verdict.goal.filter(|_| limit.is_some()),
        }
    }
}

fn over(outcome: &Outcome, varied: &Varied, name: &str) -> Result<Option<Figure>, ReportError> {
    let spreads: Vec<Option<Spread>> = outcome
        .cases
        .iter()
        .map(|case| case.spread(name).filter(|spread| drawable(spread.median)))
        .collect();
    if spreads.iter().flatten().count() < 2 {
        return Ok(None);
    }
    let gates: Vec<Gate> = outcome
        .verdicts
        .iter()
        .filter(|verdict| verdict.verdict != "not run")
        .map(Gate::of)
        .filter(|gate| gate.figure == name)
        .collect();
    let xs = || {
        varied
            .lines
            .iter()
            .flat_map(|(_, line)| line.iter().map(|(x, _)| *x))
    };
    let (least, most) = (xs().fold(f64::MAX, f64::min), xs().fold(f64::MIN, f64::max));
    let log = least > 0.0 && most / least >= 100.0;
    let (label, over) = (labels::figure(name), labels::key(&varied.key));
    let x_title = match labels::time(&varied.key, &outcome.cases) {
        true => format!("{over} [s]"),
        false => over.clone(),
    };
    let x = match log {
        true => Axis::log(&x_title, least, most),
        false => Axis::linear(&x_title, least, most),
    };
    let mut values: Vec<f64> = xs().collect();
    values.sort_by(f64::total_cmp);
    values.dedup();
    let x = if values.len() <= 8 && !log {
        x.with_ticks(&values)
    } else {
        x
    };
    let mut plot = Plot::new(x.widened(0.03), heights(name, &spreads, &gates));
    limits(&mut plot, &gates);
    let fit = reference(&mut plot, &varied.key, name, (least, most));
    let drawn = varied.lines.len().min(MOST_LINES);
    for (index, (line_name, line)) in varied.lines.iter().take(drawn).enumerate() {
        let (ink, shape) = (Ink::nth(index).width(1.4), shape(index));
        let found: Vec<(f64, Spread)> = line
            .iter()
            .filter_map(|(x, case)| Some((*x, spreads[*case]?)))
            .collect();
        let middle: Vec<Point> = found
            .iter()
            .map(|(x, spread)| (*x, spread.median))
            .collect();
        if let (true, Some(end)) = (varied.lines.len() > 1, middle.last()) {
            plot.name_points(end.1, line_name, ink, shape);
        }
        plot.marks.push(Mark::Line(middle.clone(), ink));
        for (x, spread) in &found {
            let ink = ink.solid().width(1.6);
            plot.marks
                .push(Mark::Whisker(*x, spread.least, spread.greatest, ink));
        }
        for at in middle {
            let ink = ink.solid().width(size(shape));
            plot.marks.push(Mark::Point(at, shape, ink));
        }
    }
    let runs = || spreads.iter().flatten().map(|spread| spread.runs);
    let (least, most) = (runs().min().unwrap_or(0), runs().max().unwrap_or(0));
    let mut says = format!(
        "{} over {over}{}. {}",
        label.heading(),
        if log { " (logarithmic)" } else { "" },
        match most {
            1 => "Each point is one run.".to_string(),
            _ => format!(
                "Points are the median of {} seeds, bars reach from the least to the greatest.",
                range(least, most)
            ),
        }
    );
    if drawn < varied.lines.len() {
        let left = varied.lines.len() - drawn;
        says.push_str(&format!(" {left} more lines are in the table."));
    }
    says.push_str(&fit);
    let cases: Vec<&CaseOutcome> = outcome.cases.iter().collect();
    Ok(Some(Figure {
        name: format!("over-{}", file_name(name)),
        title: format!("{} over {over}", label.heading()),
        says,
        provenance: provenance(outcome, &cases),
        drawing: plot.draw(name, 360.0)?,
    }))
}

/// The heights that hold every seed and the limits; from zero, but for ratios to a bound.
fn heights(name: &str, spreads: &[Option<Spread>], gates: &[Gate]) -> Axis {
    let known = spreads.iter().flatten();
    let limits = gates
        .iter()
        .flat_map(|gate| [gate.limit, gate.goal])
        .flatten();
    let most = greatest(
        known
            .clone()
            .map(|spread| spread.greatest)
            .chain(limits.clone()),
    );
    let least = known
        .map(|spread| spread.least)
        .chain(limits)
        .filter(|value| drawable(*value))
        .fold(f64::MAX, f64::min);
    let label = labels::figure(name);
    let (title, share) = (label.with_unit(), label.text.starts_with("share of"));
    let name_is_ratio =
        name.starts_with("ratio") || name.ends_with("_ratio") && name != "fluid_ratio";
    if name_is_ratio {
        Axis::linear(&title, least.min(0.95), most + 0.02)
    } else if share && least > 0.6 && most <= 1.0 {
        // From zero all would lie on one line at the top.
        Axis::linear(&title, (least * 20.0 - 1.0).floor() / 20.0, 1.0)
    } else if share && least >= 0.0 && most <= 1.0 {
        Axis::linear(&title, 0.0, 1.0)
    } else if least < 0.0 {
        Axis::linear(&title, least, most)
    } else if least > most * 0.75 {
        // From zero all would lie on one line.
        let more = (most - least) * 0.1;
        Axis::linear(&title, least - more, most + more)
    } else {
        Axis::from_zero(&title, most)
    }
}

/// The gate and the goal as levels. One that is about some cases only says so.
fn limits(plot: &mut Plot, gates: &[Gate]) {
    let mut drawn: Vec<f64> = Vec::new();
    for gate in gates {
        let some = if gate.everywhere { "" } else { " (some cases)" };
        let levels = [
            (gate.limit, "gate", Ink::of(GREY).dashed()),
            (gate.goal, "goal", Ink::of(GREEN).dotted()),
        ];
        for (level, word, ink) in levels {
            let Some(level) = level.filter(|level| drawable(*level)) else {
                continue;
            };
            if !drawn.contains(&level) {
                drawn.push(level);
                let text = format!("{word} {}{some}", number(level));
                plot.limit(level, &text, ink.width(1.0));
            }
        }
    }
}

/// Hops and queries of a lookup grow with the logarithm of the network. The lines are fits made
/// beforehand with buckets of 8 and three queries at a time; they are no result of the run.
fn reference(plot: &mut Plot, key: &str, name: &str, ends: (f64, f64)) -> String {
    let (slope, base, text) = match name {
        "hops" => (0.70, -0.24, "0.70 log10 n − 0.24"),
        "queries" => (1.8, 7.0, "1.8 log10 n + 7"),
        _ => return String::new(),
    };
    if !key.ends_with("nodes") || ends.0 < 10.0 {
        return String::new();
    }
    let line: Vec<Point> = [ends.0, ends.1]
        .map(|n| (n, slope * n.log10() + base))
        .to_vec();
    let ink = Ink::of(GREY).width(1.0).dashed();
    plot.name(line[1].1, &format!("fit {text}"), ink);
    plot.marks.push(Mark::Line(line, ink));
    format!(" Dashed: the reference fit {text}, which is not a result of this run.")
}

/// A figure's name as part of a file's.
fn file_name(figure: &str) -> String {
    let plain = |c: char| {
        if c.is_ascii_alphanumeric() {
            c.to_ascii_lowercase()
        } else {
            '-'
        }
    };
    figure.chars().map(plain).take(60).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn case(settings: &[(&str, &str)]) -> CaseOutcome {
        let owned = |(key, value): &(&str, &str)| (key.to_string(), value.to_string());
        CaseOutcome {
            settings: settings.iter().map(owned).collect(),
            runs: Vec::new(),
        }
    }

    #[test]
    fn what_varies_most_is_drawn_over() {
        let cases = [
            case(&[("swarm.unsent_first", "true"), ("class.peer.count", "100")]),
            case(&[("swarm.unsent_first", "true"), ("class.peer.count", "10")]),
            case(&[("swarm.unsent_first", "true"), ("class.peer.count", "1k")]),
            case(&[("swarm.unsent_first", "false"), ("class.peer.count", "10")]),
        ];
        let varied = Varied::of(&cases).unwrap();
        assert_eq!(varied.key, "class.peer.count");
        assert_eq!(
            varied.lines,
            [
                (
                    "seed sends unsent pieces first = yes".to_string(),
                    vec![(10.0, 1), (100.0, 0), (1000.0, 2)]
                ),
                (
                    "seed sends unsent pieces first = no".to_string(),
                    vec![(10.0, 3)]
                ),
            ]
        );
        assert!(
            Varied::of(&cases[..1]).is_none(),
            "one value is no variation"
        );
        assert!(Varied::of(&[case(&[("a", "x")]), case(&[("a", "y")])]).is_none());
        assert!(Varied::of(&[]).is_none());
    }

    #[test]
    fn gates_are_read_from_their_sentence() {
        let gate = |gate: &str| {
            Gate::of(&Verdict {
                scenario: String::new(),
                gate: gate.into(),
                figure: None,
                goal: Some(1.02),
                verdict: String::new(),
            })
        };
        let some = gate("ratio at most 1.05 where class.peer.count = 35");
        assert_eq!((some.limit, some.everywhere), (Some(1.05), false));
        assert_eq!(some.figure, "ratio");
        let all = gate("success at least 0.99");
        assert_eq!((all.limit, all.everywhere), (Some(0.99), true));
        let relative = gate("mean_seconds at most 2 times that of class.rider.share = 0");
        assert_eq!((relative.limit, relative.goal), (None, None));
        assert_eq!(gate("").limit, None);
    }
}
