//! Which figures a report has, and the captions under them.

use crate::outcome::{CaseOutcome, Outcome, Run};

use super::{
    ReportError, engine, labels, network, parameter,
    plot::{Ink, Mark, Plot, Point},
    svg::Drawing,
    swarm,
    text::number,
};

/// A figure with all that is written about it.
#[derive(Debug, Clone)]
pub(super) struct Figure {
    /// Its files' name.
    pub(super) name: String,
    /// Its heading.
    pub(super) title: String,
    /// What the lines are.
    pub(super) says: String,
    /// What was run: engine, seeds, parameters, notes.
    pub(super) provenance: String,
    /// What is drawn.
    pub(super) drawing: Drawing,
}

impl Figure {
    /// All that stands under it where it stands alone.
    pub(super) fn caption(&self) -> String {
        format!("{} {}", self.says.trim(), self.provenance)
    }
}

/// A figure before it is known which case it is of.
pub(super) struct Sketch {
    /// The name of its kind.
    pub(super) name: &'static str,
    /// Its heading.
    pub(super) title: &'static str,
    /// What the lines are.
    pub(super) says: String,
    /// What is drawn.
    pub(super) drawing: Drawing,
}

/// One that a case may have: `None` without its series.
type Kind = fn(&CaseOutcome) -> Result<Option<Sketch>, ReportError>;

const KINDS: [Kind; 10] = [
    swarm::completion,
    swarm::copies,
    swarm::utilisation,
    swarm::unchoked,
    network::latency,
    network::paths,
    network::occupancy,
    network::health,
    engine::population,
    engine::progress,
];

/// Cases that are drawn one by one; of more, the first, the middle and the last.
const MOST_CASES: usize = 3;

/// All figures of a scenario: over what varies first, then case by case.
pub(super) fn of(outcome: &Outcome) -> Result<Vec<Figure>, ReportError> {
    let mut figures = parameter::figures(outcome)?;
    let count = outcome.cases.len();
    let mut drawn: Vec<usize> = if count <= MOST_CASES {
        (0..count).collect()
    } else {
        vec![0, (count - 1) / 2, count - 1]
    };
    drawn.dedup();
    for kind in KINDS {
        for index in &drawn {
            let case = &outcome.cases[*index];
            let Some(sketch) = kind(case)? else {
                continue;
            };
            let (mut name, mut title) = (sketch.name.to_string(), sketch.title.to_string());
            let mut says = sketch.says;
            if count > 1 {
                name = format!("{name}-case-{}", index + 1);
                title = format!("{title}: {}", labels::settings(&case.settings));
            }
            if count > drawn.len() {
                says.push_str(&format!(" Case {} of {count}.", index + 1));
            }
            figures.push(Figure {
                name,
                title,
                says,
                provenance: provenance(outcome, &[case]),
                drawing: sketch.drawing,
            });
        }
    }
    Ok(figures)
}

/// What was run: engine, seeds, parameters, and what makes the figures honest.
pub(super) fn provenance(outcome: &Outcome, cases: &[&CaseOutcome]) -> String {
    let mut out = format!("Scenario {}, {}", outcome.scenario, engine(&outcome.engine));
    let mut seeds: Vec<u64> = cases
        .iter()
        .flat_map(|case| case.runs.iter().map(|run| run.seed))
        .collect();
    seeds.sort_unstable();
    seeds.dedup();
    out.push_str(&format!("; {}.", seed_list(&seeds)));
    let mut all = outcome.parameters.clone();
    if let [case] = cases {
        for (key, value) in &case.settings {
            all.retain(|(known, _)| known != key);
            all.push((key.clone(), value.clone()));
        }
    }
    out.push_str(&parameters(&all));
    for note in &outcome.notes {
        out.push_str(&format!(" {note}"));
        if !note.ends_with(['.', '!', '?']) {
            out.push('.');
        }
    }
    out
}

/// ` Parameters: pieces = 800; seed upload = 10 u …`.
pub(super) fn parameters(all: &[(String, String)]) -> String {
    if all.is_empty() {
        return String::new();
    }
    let told = labels::settings(all);
    let u = match told.split("; ").any(|one| one.ends_with(" u")) {
        true => " (u is the rate that sends the file in the time F/u)",
        false => "",
    };
    format!(" Parameters: {told}{u}.")
}

/// `simulated`, `live`.
pub(super) fn engine(name: &str) -> &str {
    match name {
        "sim" => "simulated in virtual time",
        "live" => "live on real sockets",
        other => other,
    }
}

/// `random seed 7`, `random seeds 1, 2, 5`, `20 random seeds, 1 to 20`.
pub(super) fn seed_list(seeds: &[u64]) -> String {
    match seeds {
        [] => "no runs".into(),
        [seed] => format!("random seed {seed}"),
        [first, .., last] if seeds.len() > 8 => {
            format!("{} random seeds, {first} to {last}", seeds.len())
        }
        _ => {
            let seeds: Vec<String> = seeds.iter().map(u64::to_string).collect();
            format!("random seeds {}", seeds.join(", "))
        }
    }
}

/// The run in the middle by its main figure: what stands for a case where one run is drawn.
pub(super) fn median_run(case: &CaseOutcome) -> Option<&Run> {
    let main = |run: &Run| {
        let known = ["seconds", "first_ms_p50", "success"];
        let found = known.iter().find_map(|name| run.figures.get(*name));
        found.copied().unwrap_or(0.0)
    };
    let mut runs: Vec<&Run> = case.runs.iter().collect();
    runs.sort_by(|a, b| main(a).total_cmp(&main(b)));
    runs.get(runs.len().saturating_sub(1) / 2).copied()
}

/// What a caption says about seeds.
pub(super) fn of_the_seeds(case: &CaseOutcome) -> String {
    match median_run(case) {
        Some(run) if case.runs.len() > 1 => format!(
            "Bold is the median seed ({}), faint are the {} others.",
            run.seed,
            number((case.runs.len() - 1) as f64)
        ),
        _ => String::new(),
    }
}

/// A line for every seed, the median's bold and on top.
pub(super) fn lines_of_seeds(
    plot: &mut Plot,
    case: &CaseOutcome,
    ink: Ink,
    line: impl Fn(&Run) -> Vec<Point>,
) {
    let bold = median_run(case).map(|run| run.seed);
    for run in case.runs.iter().filter(|run| Some(run.seed) != bold) {
        plot.marks
            .push(Mark::Line(line(run), ink.width(1.0).faint(0.3)));
    }
    for run in case.runs.iter().filter(|run| Some(run.seed) == bold) {
        plot.marks.push(Mark::Line(line(run), ink.width(2.2)));
    }
}
