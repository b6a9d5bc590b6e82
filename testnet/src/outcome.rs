//! What came out of a run: figures to hold against gates, series to draw, and what makes a figure
//! honest (choker scaling, the limiter's layer, CPU share, seeds).
//!
//! Both engines fill the same types, so that a simulated and a live run of one scenario can be put
//! side by side. Everything can be written as JSON and read back: `testnet collect` does.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};

/// One run of one case with one seed.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Run {
    /// What everything random followed from.
    pub seed: u64,
    /// Figures by name; a gate names one of them. Names are listed in `experiment`. One that is no
    /// number is written as null, and read back as missing.
    #[serde(deserialize_with = "numbers")]
    pub figures: BTreeMap<String, f64>,
    /// What is drawn.
    pub series: Series,
    /// Cost and fingerprint.
    pub cost: Cost,
}

/// What a run took.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Cost {
    /// Events handled; 0 in a live run.
    pub events: u64,
    /// Wall seconds, making the world included.
    pub wall: f64,
    /// Wall seconds in which events were handled: what speed is counted by.
    pub running: f64,
    /// Threads that handled events.
    pub threads: usize,
    /// The share of all cores that was used over the run; a live ratio above 0.7 is void.
    pub cpu: f64,
    /// The process's largest resident memory so far, bytes.
    pub peak_memory: u64,
    /// The fingerprint of everything delivered, as 16 hexadecimal digits; empty in a live run.
    pub trace: String,
}

impl Cost {
    /// Millions of events per second and thread.
    pub fn speed(&self) -> f64 {
        self.events as f64 / self.running.max(1e-9) / self.threads.max(1) as f64 / 1e6
    }
}

/// What a report draws. A run fills what it has; empty ones are not drawn. Times in seconds.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Series {
    /// Every peer's completion: its class and the time since it joined.
    pub completions: Vec<Completion>,
    /// The lower bound with pieces, and the fluid one.
    pub bounds: Option<Bounds>,
    /// How many copies of each piece are in the swarm, over time.
    pub copies: Vec<CopiesAt>,
    /// The share of all upload capacity in use, over time: (time, share).
    pub utilisation: Vec<(f64, f64)>,
    /// Who unchoked whom: seconds from the first to the second, by class name.
    pub unchoked: Vec<Unchoked>,
    /// Lookups as paths on the key space: for each the shared prefix bits of each successive closer
    /// responder, and when it answered.
    pub paths: Vec<Vec<Hop>>,
    /// Time to the first value of every lookup that found one, seconds, sorted.
    pub first_peer: Vec<f64>,
    /// Time to the end of every lookup, seconds, sorted.
    pub lookup_done: Vec<f64>,
    /// Success over time: (time, share of the lookups begun around then that found their key).
    pub success: Vec<(f64, f64)>,
    /// Mean entries in each bucket of the routing tables, by shared prefix bits.
    pub occupancy: Vec<f64>,
    /// The share of table entries that are gone, over time.
    pub stale: Vec<(f64, f64)>,
    /// Peers of a swarm that lack something, or nodes of a DHT, over time.
    pub population: Vec<(f64, f64)>,
    /// All members of a swarm that are present, seeds too, over time.
    pub present: Vec<(f64, f64)>,
    /// The engine's progress: (virtual time, events so far, wall time).
    pub progress: Vec<(f64, u64, f64)>,
    /// Resident memory over virtual time: (time, bytes).
    pub memory: Vec<(f64, u64)>,
}

/// A peer has everything.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Completion {
    /// Its class.
    pub class: String,
    /// Since it joined, seconds; `None` if it never did.
    pub seconds: Option<f64>,
}

/// The bounds of a swarm, seconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Bounds {
    /// Equation 2.1 or 2.2, for a file that flows.
    pub fluid: f64,
    /// With pieces.
    pub lb: f64,
}

/// The distribution of piece copies at one time.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct CopiesAt {
    /// Seconds.
    pub time: f64,
    /// Copies of the rarest piece.
    pub min: u32,
    /// A tenth of the pieces have fewer.
    pub p10: u32,
    /// Half.
    pub median: u32,
    /// Nine tenths.
    pub p90: u32,
    /// Copies of the commonest piece.
    pub max: u32,
}

/// Time that one class held slots of another.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Unchoked {
    /// Who gave.
    pub from: String,
    /// Who got.
    pub to: String,
    /// Slot seconds in all.
    pub seconds: f64,
}

/// One responder of a lookup that was closer than all before it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Hop {
    /// Seconds since the lookup began.
    pub time: f64,
    /// Leading bits that its id shares with the key.
    pub bits: u32,
}

/// One case of a scenario: the parameters that vary, and its runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CaseOutcome {
    /// What is particular to the case, as the file writes it: (key, value).
    pub settings: Vec<(String, String)>,
    /// One for each seed.
    pub runs: Vec<Run>,
}

impl CaseOutcome {
    /// Median, least and greatest of a figure over the runs that have it.
    pub fn spread(&self, figure: &str) -> Option<Spread> {
        let mut values: Vec<f64> = self
            .runs
            .iter()
            .filter_map(|run| run.figures.get(figure).copied())
            .collect();
        values.sort_by(f64::total_cmp);
        let (least, greatest) = (*values.first()?, *values.last()?);
        let upper = values[values.len() / 2];
        let lower = values[(values.len() - 1) / 2];
        Some(Spread {
            median: (lower + upper) / 2.0,
            least,
            greatest,
            runs: values.len(),
        })
    }
}

/// A figure over several seeds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// The middle one, or the mean of the two in the middle.
    pub median: f64,
    /// The least.
    pub least: f64,
    /// The greatest.
    pub greatest: f64,
    /// How many.
    pub runs: usize,
}

/// A whole scenario, run.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Outcome {
    /// The scenario's name.
    pub scenario: String,
    /// Its title.
    pub title: String,
    /// What it shows and how to read it.
    #[serde(default)]
    pub about: String,
    /// What the figures are held against: a bound, a paper.
    #[serde(default)]
    pub held_against: String,
    /// How many runs were not made because it was interrupted.
    #[serde(default)]
    pub left: usize,
    /// `sim` or `live`.
    pub engine: String,
    /// What was run, as the file writes it: (key, value), for captions.
    pub parameters: Vec<(String, String)>,
    /// What the file leaves out, and what it is then.
    #[serde(default)]
    pub defaults: Vec<(String, String)>,
    /// The program and its version.
    #[serde(default)]
    pub version: String,
    /// What makes the figures honest, one sentence each: how the choker was scaled, at which layer
    /// rates were limited, whether tables were warm.
    pub notes: Vec<String>,
    /// The cases.
    pub cases: Vec<CaseOutcome>,
    /// Gates and what came out.
    pub verdicts: Vec<Verdict>,
    /// The command that gives the same again.
    pub replay: String,
}

impl Outcome {
    /// As it is put on disk: curves thinned to what a figure shows, fewer points the more runs there
    /// are, and without points that are no numbers, which JSON cannot say.
    pub fn kept(&self) -> Self {
        let mut kept = self.clone();
        let runs: usize = kept.cases.iter().map(|case| case.runs.len()).sum();
        let most = (POINTS_OF_ALL / runs.max(1)).clamp(FEWEST_POINTS, MOST_POINTS);
        for run in kept.cases.iter_mut().flat_map(|case| &mut case.runs) {
            let Cost {
                wall, running, cpu, ..
            } = &mut run.cost;
            for cost in [wall, running, cpu] {
                *cost = if cost.is_finite() { *cost } else { 0.0 };
            }
            run.series.keep(most);
        }
        kept
    }
}

impl Outcome {
    /// Figures and cost alone, for what draws no curve of a run.
    pub fn without_series(&self) -> Self {
        let mut kept = self.clone();
        for run in kept.cases.iter_mut().flat_map(|case| &mut case.runs) {
            let series = std::mem::take(&mut run.series);
            run.series.bounds = series.bounds;
        }
        kept.kept()
    }
}

/// What runs are made by.
pub const VERSION: &str = concat!("mainswarm-testnet ", env!("CARGO_PKG_VERSION"));

const MOST_POINTS: usize = 500;
const FEWEST_POINTS: usize = 50;
const POINTS_OF_ALL: usize = 20_000;

impl Series {
    fn keep(&mut self, most: usize) {
        let sound = |bounds: &Bounds| bounds.fluid.is_finite() && bounds.lb.is_finite();
        self.bounds = self.bounds.filter(sound);
        for done in &mut self.completions {
            done.seconds = done.seconds.filter(|seconds| seconds.is_finite());
        }
        let curves = [
            &mut self.utilisation,
            &mut self.success,
            &mut self.stale,
            &mut self.population,
            &mut self.present,
        ];
        for curve in curves {
            curve.retain(|(time, value)| time.is_finite() && value.is_finite());
            thin(curve, most);
        }
        for values in [
            &mut self.first_peer,
            &mut self.lookup_done,
            &mut self.occupancy,
        ] {
            values.retain(|value| value.is_finite());
            thin(values, most);
        }
        thin(&mut self.paths, most);
        self.unchoked.retain(|slot| slot.seconds.is_finite());
        self.progress
            .retain(|(time, _, wall)| time.is_finite() && wall.is_finite());
        thin(&mut self.copies, most);
        thin(&mut self.progress, most);
        thin(&mut self.memory, most);
    }
}

/// So many samples at most, evenly, the first and the last among them.
fn thin<T: Clone>(samples: &mut Vec<T>, most: usize) {
    let last = samples.len().saturating_sub(1);
    if samples.len() > most && most > 1 {
        let at = |index: usize| samples[index * last / (most - 1)].clone();
        *samples = (0..most).map(at).collect();
    }
}

/// Figures without those that are null.
fn numbers<'de, D: Deserializer<'de>>(from: D) -> Result<BTreeMap<String, f64>, D::Error> {
    let read = BTreeMap::<String, Option<f64>>::deserialize(from)?;
    let there = read.into_iter();
    Ok(there
        .filter_map(|(name, value)| Some((name, value?)))
        .collect())
}

/// A gate, held against a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// The scenario.
    pub scenario: String,
    /// What was asked for, as a sentence: `ratio at most 1.05 where class.peer.count = 35`.
    pub gate: String,
    /// The worst figure among the cases that the gate is about (each the median of its seeds).
    pub figure: Option<f64>,
    /// The goal beyond the gate, if there is one.
    pub goal: Option<f64>,
    /// `pass`, `goal` (better than asked), `fail`, or `not run`.
    pub verdict: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_number_is_missing_when_it_is_read_back() {
        let mut run = Run::default();
        run.figures.insert("ratio".into(), f64::NAN);
        run.figures.insert("seconds".into(), 2.0);
        run.series.utilisation = vec![(0.0, f64::NAN), (1.0, 0.5)];
        run.series.population = (0..9000).map(|at| (f64::from(at), 1.0)).collect();
        run.series.bounds = Some(Bounds {
            fluid: f64::NAN,
            lb: 1.0,
        });
        run.cost.cpu = f64::INFINITY;
        let outcome = Outcome {
            cases: vec![CaseOutcome {
                settings: Vec::new(),
                runs: vec![run],
            }],
            ..Outcome::default()
        };
        let json = serde_json::to_string(&outcome.kept()).unwrap();
        assert!(json.contains("\"ratio\":null"), "{json}");
        let back: Outcome = serde_json::from_str(&json).unwrap();
        let run = &back.cases[0].runs[0];
        assert_eq!(run.figures.keys().collect::<Vec<_>>(), ["seconds"]);
        assert_eq!(run.series.utilisation, [(1.0, 0.5)]);
        assert_eq!((run.series.bounds, run.cost.cpu), (None, 0.0));
        let bare = outcome.without_series().cases[0].runs[0].clone();
        assert_eq!((bare.series, bare.figures.len()), (Series::default(), 2));
        let population = &run.series.population;
        assert_eq!((population.len(), population[499].0), (500, 8999.0));
    }
}
