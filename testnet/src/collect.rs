//! What the nodes of an exported scenario wrote, read back into figures.
//!
//! The output of `mainswarm … --json` is one object a line. Which node a line is of is told by a
//! line of its own (`{"testnet": …, "class": "peer", "index": 3}`, as exports print it first), by
//! what a runner puts before each line (`[pod/x-peer-3-ab/node]`, `peer-3  |`), or by the file's
//! name (`peer-3.log`, `hosts/peer-3/mainswarm.1000.stdout`).

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    ops::RangeInclusive,
    path::{Path, PathBuf},
};

use serde::Deserialize;

use crate::{
    export, input,
    live::figures::{self, Member},
    outcome::{CaseOutcome, Outcome, Run, VERSION},
    runner::judge::judge,
    scenario::{Case, Engine, Plan, Scenario},
};

/// Why logs cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CollectError {
    /// A file or folder could not be read.
    #[error(
        "cannot read {path}: {source}; name the folder or the files that hold the nodes' output"
    )]
    Read {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// No line was a node's.
    #[error(
        "no line of a node in {files} files; keep the standard output of `mainswarm … --json`, \
         one file for each node, or what the runner's `logs` prints"
    )]
    Nothing {
        /// How many files were read.
        files: usize,
    },
    /// Nodes of something else wrote them.
    #[error("{file} is of the run {found}, and {asked} was asked for; {remedy}")]
    Other {
        /// Where it says so.
        file: PathBuf,
        /// What the log says.
        found: String,
        /// What an export of the scenario's case is called.
        asked: String,
        /// What to do.
        remedy: String,
    },
    /// A node that the case has not.
    #[error(
        "{file} is of {class} {index}, and the scenario has {has} of that class; name the logs of \
         this scenario, with the --case, --set and --quick of its export"
    )]
    Beyond {
        /// Where it says so.
        file: PathBuf,
        /// The node's class.
        class: String,
        /// Its number.
        index: usize,
        /// How many there are.
        has: usize,
    },
    /// Runs with different seeds are not one run.
    #[error(
        "{file} is of a run with seed {found}, and what was read before with seed {before}; name \
         the logs of one run"
    )]
    OtherSeed {
        /// Where it says so.
        file: PathBuf,
        /// Its seed.
        found: u64,
        /// That of the others.
        before: u64,
    },
    /// The scenario has no such case.
    #[error("the scenario has {cases} cases, and no number {case}; they count from 1")]
    NoCase {
        /// What was asked for.
        case: usize,
        /// How many there are.
        cases: usize,
    },
}

/// What was read.
#[derive(Debug, Clone)]
pub struct Collected {
    /// The figures and verdicts, in the form of a run.
    pub outcome: Outcome,
    /// Lines that are not a node's, as `file:line: why`.
    pub bad_lines: Vec<String>,
    /// Nodes of the case that wrote nothing, by name.
    pub silent: Vec<String>,
}

/// Reads the logs below `paths`: the output of one run of `scenario`'s case number `case`, counted
/// from 1 as an export's folders are. The line that gives the same again is left to the caller.
pub fn read(
    scenario: &Scenario,
    case: usize,
    paths: &[PathBuf],
) -> Result<Collected, CollectError> {
    let cases = scenario.cases.len();
    let index = case.checked_sub(1).filter(|index| *index < cases);
    let Some(index) = index else {
        return Err(CollectError::NoCase { case, cases });
    };
    let of = &scenario.cases[index];
    let mut files = Vec::new();
    for path in paths {
        list(path, &mut files)?;
    }
    files.sort();
    let mut logs = Logs::new(scenario, case);
    for path in &files {
        let text = input::read(path, input::OUTPUT_MOST).map_err(|source| CollectError::Read {
            path: path.clone(),
            source,
        })?;
        logs.read(path, &String::from_utf8_lossy(&text))?;
    }
    if logs.understood == 0 {
        let files = files.len();
        return Err(CollectError::Nothing { files });
    }
    let run = logs.run(&of.plan);
    let silent = logs.silent();
    Ok(Collected {
        outcome: outcome(scenario, of, run, &silent),
        bad_lines: logs.bad,
        silent,
    })
}

fn list(path: &Path, files: &mut Vec<PathBuf>) -> Result<(), CollectError> {
    let failed = |source| CollectError::Read {
        path: path.to_owned(),
        source,
    };
    if !fs::metadata(path).map_err(failed)?.is_dir() {
        files.push(path.to_owned());
        return Ok(());
    }
    for entry in fs::read_dir(path).map_err(failed)? {
        let entry = entry.map_err(failed)?.path();
        let ending = entry.extension().and_then(|ending| ending.to_str());
        // Beside a node's output a runner keeps much else of it, pipes and sockets among it.
        if entry.is_dir()
            || entry.is_file()
                && matches!(ending, Some("stdout" | "log" | "jsonl" | "json" | "txt"))
        {
            list(&entry, files)?;
        }
    }
    Ok(())
}

/// What a download may have taken, in seconds: a microsecond to thirty years.
const POSSIBLE: RangeInclusive<f64> = 1e-6..=1e9;

/// A node's class, by its name in the export, and its number.
type Name = (String, usize);

/// The lines that say something about a run, each by what only it has.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Line {
    /// Who writes, as an export's shell says.
    Header {
        testnet: String,
        class: String,
        index: usize,
        seed: u64,
    },
    /// `mainswarm get`: it has everything.
    Got {
        seconds: f64,
        #[serde(rename = "pieces")]
        _pieces: u32,
    },
    /// `mainswarm share`: it has something to give.
    Shares {
        #[serde(rename = "magnet")]
        _magnet: String,
    },
    /// A lookup begins, as an export's shell says.
    Lookup {
        #[serde(rename = "lookup")]
        _lookup: String,
    },
    /// `mainswarm dht peers`: a peer.
    Peer {
        #[serde(rename = "peer")]
        _peer: String,
    },
    /// `mainswarm dht node`.
    Event { event: String },
}

struct Logs {
    classes: Vec<String>,
    /// What the run is called, and what else of the scenario could have been meant.
    name: String,
    cases: Vec<String>,
    /// Who should write, and who did.
    groups: Vec<(String, usize)>,
    heard: BTreeSet<Name>,
    nodes: BTreeMap<Name, Node>,
    bad: Vec<String>,
    understood: usize,
    seed: Option<u64>,
}

#[derive(Debug, Default)]
struct Node {
    took: Option<f64>,
    joined_dht: bool,
    /// For each lookup whether it found somebody.
    lookups: Vec<bool>,
}

impl Logs {
    fn new(scenario: &Scenario, case: usize) -> Self {
        let of = &scenario.cases[case - 1];
        let cases = 1..=scenario.cases.len();
        let mut classes: Vec<String> = of.plan.classes.iter().map(|c| c.name.clone()).collect();
        classes.extend(["router", "node", "announcer", "seeker"].map(str::to_owned));
        // `slow-peer-3` is no `peer`.
        classes.sort_by_key(|class| std::cmp::Reverse(class.len()));
        Self {
            classes,
            name: export::run_name(scenario, case),
            cases: cases.map(|case| export::run_name(scenario, case)).collect(),
            groups: export::groups(scenario, of),
            heard: BTreeSet::new(),
            nodes: BTreeMap::new(),
            bad: Vec::new(),
            understood: 0,
            seed: None,
        }
    }

    fn read(&mut self, path: &Path, text: &str) -> Result<(), CollectError> {
        let of_file = path.iter().rev().find_map(|part| self.name(part.to_str()?));
        // Who a writer of this file is: by what stands before its lines, the file's only one
        // without.
        let mut writers: BTreeMap<String, Name> = BTreeMap::new();
        let mut looked = false;
        for (number, line) in text.lines().enumerate() {
            let Some(start) = line.find('{') else {
                if !line.trim().is_empty() {
                    self.complain(path, number, "not JSON");
                }
                continue;
            };
            let (before, object) = line.split_at(start);
            let before = before.trim();
            let parsed = match serde_json::from_str::<Line>(object) {
                Ok(parsed) => parsed,
                Err(error) if error.is_data() => {
                    self.complain(path, number, "no line of a node that says something known");
                    continue;
                }
                Err(error) => {
                    self.complain(path, number, &error.to_string());
                    continue;
                }
            };
            let by_prefix = (!before.is_empty()).then(|| self.name(before)).flatten();
            let writer = writers
                .get(before)
                .cloned()
                .or(by_prefix)
                .or(of_file.clone());
            if let Line::Header {
                testnet,
                class,
                index,
                seed,
            } = parsed
            {
                self.belongs(path, &testnet, seed.saturating_sub(index as u64))?;
                // Replicas of compose do not know their number, what stands before them does.
                let index = self.name(before).map_or(index, |(_, index)| index);
                self.hear(path, &(class.clone(), index))?;
                writers.insert(before.to_owned(), (class, index));
                self.understood += 1;
                continue;
            }
            let Some(writer) = writer else {
                self.complain(path, number, "which node wrote it is not said");
                continue;
            };
            if let Line::Got { seconds, .. } = parsed
                && !POSSIBLE.contains(&seconds)
            {
                let why = format!("no download takes {seconds:e} s");
                self.complain(path, number, &why);
                continue;
            }
            self.hear(path, &writer)?;
            self.understood += 1;
            looked |= matches!(parsed, Line::Peer { .. });
            self.take(writer, parsed);
        }
        // A lookup of a process of its own that found nobody says nothing at all.
        if let Some(seeker) = of_file.filter(|(class, _)| class == "seeker")
            && writers.is_empty()
        {
            self.hear(path, &seeker)?;
            self.understood += 1;
            self.nodes.entry(seeker).or_default().lookups.push(looked);
        }
        Ok(())
    }

    /// Whether a node that says of which run it is, is of this one.
    fn belongs(&mut self, file: &Path, found: &str, seed: u64) -> Result<(), CollectError> {
        if found != self.name {
            let case = self.cases.iter().position(|name| name == found);
            return Err(CollectError::Other {
                file: file.to_owned(),
                found: found.to_owned(),
                asked: self.name.clone(),
                remedy: match case {
                    Some(case) => format!("that is --case {}", case + 1),
                    None => {
                        "name that scenario with the --set and --quick of its export, or other \
                             logs"
                            .into()
                    }
                },
            });
        }
        let before = *self.seed.get_or_insert(seed);
        match before == seed {
            true => Ok(()),
            false => Err(CollectError::OtherSeed {
                file: file.to_owned(),
                found: seed,
                before,
            }),
        }
    }

    /// A node has written something; an error if there is no such node.
    fn hear(&mut self, file: &Path, node: &Name) -> Result<(), CollectError> {
        if self.heard.contains(node) {
            return Ok(());
        }
        let (class, index) = node;
        let mut groups = self.groups.iter();
        let has = groups
            .find(|(group, _)| group == class)
            .map_or(0, |(_, count)| *count);
        // Compose counts from 1.
        if !self.groups.is_empty() && (*index > has || has == 0) {
            return Err(CollectError::Beyond {
                file: file.to_owned(),
                class: class.clone(),
                index: *index,
                has,
            });
        }
        self.heard.insert(node.clone());
        Ok(())
    }

    /// Who wrote nothing.
    fn silent(&self) -> Vec<String> {
        let mut silent = Vec::new();
        for (class, count) in &self.groups {
            let heard = |index| self.heard.contains(&(class.clone(), index));
            let first = usize::from(heard(*count) && !heard(0));
            let numbers = (first..first + count).filter(|index| !heard(*index));
            silent.extend(numbers.map(|index| format!("{class}-{index}")));
        }
        silent
    }

    fn take(&mut self, writer: Name, line: Line) {
        let node = self.nodes.entry(writer).or_default();
        match line {
            Line::Got { seconds, .. } => node.took = Some(seconds),
            Line::Lookup { .. } => node.lookups.push(false),
            Line::Peer { .. } => {
                if let Some(last) = node.lookups.last_mut() {
                    *last = true;
                }
            }
            Line::Event { event } => node.joined_dht |= event == "bootstrapped",
            Line::Shares { .. } | Line::Header { .. } => {}
        }
    }

    fn complain(&mut self, path: &Path, line: usize, why: &str) {
        self.bad
            .push(format!("{}:{}: {why}", path.display(), line + 1));
    }

    /// The node that a text names: `x-peer-3-ab` is peer 3.
    fn name(&self, text: &str) -> Option<Name> {
        self.classes.iter().find_map(|class| {
            text.match_indices(class.as_str()).find_map(|(at, _)| {
                let starts = !text[..at].ends_with(|c: char| c.is_ascii_alphanumeric());
                let rest = text[at + class.len()..].strip_prefix(['-', '_'])?;
                let digits =
                    rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
                let index = rest[..digits].parse().ok()?;
                starts.then(|| (class.clone(), index))
            })
        })
    }

    fn run(&self, plan: &Plan) -> Run {
        let mut run = match &plan.swarm {
            Some(swarm) => {
                let members = self.members(plan);
                let end = |member: &Member| Some(member.joined? + member.took?);
                let ended = members.iter().filter_map(end).fold(0.0, f64::max);
                figures::swarm(plan, swarm, &members, ended)
            }
            None => Run::default(),
        };
        run.seed = self.seed.unwrap_or_default();
        if let Some(dht) = &plan.dht {
            let nodes = self.nodes.iter().filter(|((class, _), _)| class == "node");
            let joined: Vec<bool> = nodes.map(|(_, node)| node.joined_dht).collect();
            let share = |flags: &[bool], of: usize| {
                let yes = flags.iter().filter(|flag| **flag).count();
                yes as f64 / of.max(1) as f64
            };
            if !joined.is_empty() {
                let others = dht.routers.max(1) + dht.announces;
                let of = dht.nodes.saturating_sub(others) as usize;
                run.figures
                    .insert("joined".into(), share(&joined, of.max(joined.len())));
            }
            let lookups: Vec<bool> = self
                .nodes
                .values()
                .flat_map(|node| node.lookups.iter().copied())
                .collect();
            // What is not heard of is no success: the plan says how many there are. Of a seeker that
            // wrote nothing it is not known that it looked for anything at all.
            let silent = self.silent().iter().any(|name| name.starts_with("seeker-"));
            if !lookups.is_empty() && !silent {
                let of = self.planned_lookups(dht.lookups as usize);
                run.figures
                    .insert("success".into(), share(&lookups, of.max(lookups.len())));
            }
        }
        run
    }

    /// How many lookups an export of the case makes: as many for each seeker.
    fn planned_lookups(&self, lookups: usize) -> usize {
        let seekers = self.groups.iter().find(|(group, _)| group == "seeker");
        let seekers = seekers.map_or(1, |(_, count)| (*count).max(1));
        lookups.div_ceil(seekers) * seekers
    }

    /// The members that the plan has, with what is known of each. Those of whom nothing is known
    /// are there as well: they never finished.
    fn members(&self, plan: &Plan) -> Vec<Member> {
        let mut members = Vec::new();
        for (number, class) in plan.classes.iter().enumerate() {
            let mut found: Vec<Option<f64>> = self
                .nodes
                .iter()
                .filter(|((name, _), _)| *name == class.name)
                .map(|(_, node)| node.took)
                .collect();
            found.resize(found.len().max(class.count), None);
            let count = found.len().max(1) as f64;
            members.extend(found.into_iter().enumerate().map(|(index, took)| {
                let within = class.join_within.as_secs_f64() * index as f64 / count;
                Member {
                    class: number,
                    joined: Some(class.join_at.as_secs_f64() + within),
                    took,
                    left: None,
                    has: f64::from(u8::from(took.is_some())),
                    behind_nat: false,
                }
            }));
        }
        members
    }
}

/// `3 nodes wrote nothing: peer-3, peer-4, seed-0.`
pub fn nothing_from(silent: &[String]) -> String {
    const NAMED: usize = 12;
    let named = silent[..silent.len().min(NAMED)].join(", ");
    let more = match silent.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let nodes = if silent.len() == 1 { "node" } else { "nodes" };
    format!("{} {nodes} wrote nothing: {named}{more}.", silent.len())
}

/// Nothing beats the bound but bursts, which the programs' limits allow: from here on it is no burst.
const BURST: f64 = 0.9;

/// What is to be said of a run that was faster than its bound. If it was so by more than a burst, its
/// figures are of another scenario, or of rates that nobody held, and none is kept.
fn too_fast(run: &mut Run) -> Option<String> {
    let ratio = *run.figures.get("ratio")?;
    if ratio >= 1.0 {
        return None;
    }
    if ratio >= BURST {
        return Some(format!(
            "`ratio` is {ratio:.3}: programs hold their rates on average, and a burst at the start \
             is faster than the bound allows."
        ));
    }
    let of_rates = |name: &str| {
        let stem = name.split('.').next().unwrap_or(name);
        matches!(stem, "ratio" | "mean_ratio" | "utilisation")
    };
    run.figures.retain(|name, _| !of_rates(name));
    Some(format!(
        "`ratio` and `utilisation` are left out: the nodes say that they took {ratio:.1e} of the \
         time of the bound, which the scenario's rates do not allow. Were the rates held, and are \
         these logs of this scenario?"
    ))
}

fn outcome(scenario: &Scenario, case: &Case, mut run: Run, silent: &[String]) -> Outcome {
    let fast = too_fast(&mut run);
    let cases = vec![CaseOutcome {
        settings: case.settings.clone(),
        runs: vec![run],
    }];
    let only = Scenario {
        cases: vec![case.clone()],
        ..scenario.clone()
    };
    let judged = judge(&only, Engine::Live, &cases, &[]);
    let mut notes = vec![
        "Collected from the output of an exported run; each time counts from the start of its \
         program."
            .to_owned(),
    ];
    if !silent.is_empty() {
        notes.push(nothing_from(silent));
    }
    notes.extend(fast);
    notes.extend(judged.notes);
    Outcome {
        scenario: scenario.name.clone(),
        title: scenario.title.clone(),
        about: scenario.about.clone(),
        held_against: scenario.held_against.clone(),
        left: 0,
        engine: Engine::Live.name().into(),
        parameters: scenario.parameters.clone(),
        defaults: scenario.defaults.clone(),
        version: VERSION.into(),
        notes,
        cases,
        verdicts: judged.verdicts,
        replay: String::new(),
    }
}
