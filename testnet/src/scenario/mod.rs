//! Scenario files: what is run, what varies, and what must come out.
//!
//! [`parse`] reads one and gives its [`Case`]s; [`catalogue`] has those that are built in. The
//! format is described by the tables in `keys` and printed from them by [`reference()`]. A wrong file
//! gives a [`FileError`] with the line and what to do; nothing is guessed and nothing is ignored.

mod cases;
pub mod catalogue;
mod checks;
mod document;
mod error;
mod gates;
mod keys;
mod plan;
mod reference;
mod size;
mod value;

pub use error::FileError;
pub use plan::*;
pub use reference::reference;
pub use size::machine_memory;

use cases::Values;
use document::{Document, SEEDS};
use error::Wrong;
use value::{Given, Value};

use crate::units;

/// A scenario.
#[derive(Debug, Clone)]
pub struct Scenario {
    /// The file's name without its ending.
    pub name: String,
    /// Its number in the catalogue, `S01`.
    pub id: Option<String>,
    /// One line.
    pub title: String,
    /// What it shows and how to read it.
    pub about: String,
    /// What the figures are held against: a bound, a paper.
    pub held_against: String,
    /// How many seeds it takes.
    pub seeds: u64,
    /// Whether it says what real sockets change: `[live]`.
    pub live: bool,
    /// What does not vary, as the file writes it: (key, value).
    pub parameters: Vec<(String, String)>,
    /// What the file leaves out, and what it is then.
    pub defaults: Vec<(String, String)>,
    /// The plans: one for each combination of what varies.
    pub cases: Vec<Case>,
    /// What must come out.
    pub gates: Vec<Gate>,
}

/// One combination of what varies.
#[derive(Debug, Clone)]
pub struct Case {
    /// What is particular to it, as the file writes it: (key, value).
    pub settings: Vec<(String, String)>,
    /// What is run.
    pub plan: Plan,
}

/// `[[gate]]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Gate {
    /// `figure`: its name.
    pub figure: String,
    /// `where`: the cases that it is about, all if empty: (key, value) as the file writes them; a
    /// key that comes twice may have either value.
    pub cases: Vec<(String, String)>,
    /// `over`: holds the figure divided by that of the case that differs only in this.
    pub over: Vec<(String, String)>,
    /// `at_most` or `at_least`.
    pub limit: Limit,
    /// `goal`: what we are after beyond it.
    pub goal: Option<f64>,
    /// `engine`: whose runs it is about, both if `None`.
    pub engine: Option<Engine>,
}

/// Which way a gate opens.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Limit {
    /// The figure must not be greater.
    AtMost(f64),
    /// The figure must not be less.
    AtLeast(f64),
}

/// What runs a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Engine {
    /// Virtual time.
    #[default]
    Sim,
    /// Real sockets.
    Live,
}

impl Engine {
    /// `sim` or `live`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sim => "sim",
            Self::Live => "live",
        }
    }
}

/// What is asked of a scenario beyond what its file says.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Choice {
    /// Who runs it; `[live]` replaces values for real sockets.
    pub engine: Engine,
    /// Whether `[quick]` replaces values, for a run of seconds.
    pub quick: bool,
    /// `key=value`, each in place of what the file says.
    pub set: Vec<String>,
}

/// Reads a scenario. `file` is its name in errors.
///
/// All variants are looked at, so that a file which is good for one engine is good for the other.
pub fn parse(name: &str, file: &str, text: &str, choice: &Choice) -> Result<Scenario, FileError> {
    let document = Document::parse(file, text)?;
    let written = Values::new(&document)?;
    // A case without peers among others is a figure's origin.
    let fetches = written
        .cases()?
        .iter()
        .map(|case| !nobody_fetches(&case.plan))
        .collect::<Vec<_>>();
    let has_origin = fetches.contains(&true) && fetches.contains(&false);
    let gates = gates::read(&document, &written)?;
    for table in [Some(&document.quick), document.live.as_ref()] {
        let mut variant = written.clone();
        for entry in table.into_iter().flatten() {
            variant.set(entry)?;
        }
        variant.cases()?;
        seeds(&document, &variant)?;
    }

    let values = chosen(&document, written, choice)?;
    let head = |key: &str| {
        let mut entries = document.head.iter();
        let entry = entries.find(|entry| entry.path == key);
        entry.map(|entry| entry.value.to_string())
    };
    let Some(title) = head("title") else {
        let wrong = Wrong::new("a scenario without a title", "add `title = \"...\"` on top");
        return Err(document.at_start(wrong));
    };
    let cases = values.cases()?;
    if !has_origin && cases.iter().all(|case| nobody_fetches(&case.plan)) {
        let wrong = Wrong::new(
            "nobody in this swarm wants the file: there is nothing to measure",
            "give a class that does not have everything a `count`, `share` or `arrivals`",
        );
        return Err(document.at_start(wrong));
    }
    Ok(Scenario {
        name: name.into(),
        id: head("id"),
        title,
        about: head("about").unwrap_or_default(),
        held_against: head("held_against").unwrap_or_default(),
        seeds: seeds(&document, &values)?,
        live: document.live.is_some(),
        parameters: values.parameters(),
        defaults: values.defaults(),
        cases,
        gates,
    })
}

/// The values of a file with those that a choice puts in their place.
fn chosen<'d>(
    document: &'d Document,
    mut values: Values<'d>,
    choice: &Choice,
) -> Result<Values<'d>, FileError> {
    if choice.engine == Engine::Live {
        let Some(live) = &document.live else {
            let wrong = Wrong::new(
                "this scenario is not for real sockets: it has no table [live]",
                "add [live] with what they change (smaller counts, a shorter `swarm.file_time`)",
            );
            return Err(document.at_start(wrong));
        };
        for entry in live {
            values.set(entry)?;
        }
    }
    if choice.quick {
        if document.quick.is_empty() {
            let wrong = Wrong::new(
                "this scenario has no short form: it has no table [quick]",
                "add [quick] with what makes it short (smaller counts), or take --quick away",
            );
            return Err(document.at_start(wrong));
        }
        for entry in &document.quick {
            values.set(entry)?;
        }
    }
    for argument in &choice.set {
        values.set(&cases::argument(argument)?)?;
    }
    Ok(values)
}

/// Refuses cases that cannot fit into a memory of so many bytes. `file`, `text` and `choice` are what
/// they were read by.
pub fn fits(
    file: &str,
    text: &str,
    choice: &Choice,
    cases: &[Case],
    memory: u64,
) -> Result<(), FileError> {
    let need = |case: &Case| case.plan.memory();
    let largest = cases.iter().max_by_key(|case| need(case));
    let Some(largest) = largest.filter(|case| need(case) > memory) else {
        return Ok(());
    };
    let document = Document::parse(file, text)?;
    let values = chosen(&document, Values::new(&document)?, choice)?;
    let nodes = largest.plan.dht.as_ref().map_or(0, |dht| dht.nodes);
    let wrong = Wrong::new(
        format!(
            "a DHT of {nodes} nodes takes about {} of memory, and this machine has {}",
            units::bytes(need(largest)),
            units::bytes(memory)
        ),
        format!(
            "write at most {}, or take a larger machine; of several cases `--case N` runs one",
            size::nodes_in(memory)
        ),
    );
    Err(document.at_value(&values.place("dht.nodes"), wrong))
}

/// Whether a swarm has none that wants the file.
fn nobody_fetches(plan: &Plan) -> bool {
    let comes = |class: &Class| {
        class.count > 0 || class.arrivals.is_some() || class.share.is_some_and(|share| share > 0.0)
    };
    let mut classes = plan.classes.iter().filter(|class| !class.complete);
    plan.swarm.is_some() && plan.dht.is_none() && !classes.any(comes)
}

/// Enough for a median and a spread.
const DEFAULT_SEEDS: u64 = 5;

fn seeds(document: &Document, values: &Values<'_>) -> Result<u64, FileError> {
    let Some(entry) = &values.seeds else {
        return Ok(DEFAULT_SEEDS);
    };
    let given = Given {
        takes: SEEDS,
        value: &entry.value,
        unit: 0.0,
    };
    given.count().ok_or_else(|| {
        let shown: &Value = &entry.value;
        let what = format!("`seeds` cannot be `{shown}`");
        document.at_value(&entry.origin, Wrong::new(what, format!("it takes {SEEDS}")))
    })
}

#[cfg(test)]
mod tests;
