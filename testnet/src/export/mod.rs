//! Scenarios as the files of other runners, for users who outgrow one machine.
//!
//! Text generation alone: every host, rate, delay and time follows from the scenario, and the
//! commands are those of `mainswarm`. What a runner cannot carry over is said at the top of its
//! file; what would make it another experiment is an error. [`crate::collect`] reads the output of
//! such a run.

mod containers;
mod script;
mod shadow;
mod yaml;

use std::{
    fs, io,
    path::{Path, PathBuf},
    str::FromStr,
};

use sha1::{Digest, Sha1};

use crate::scenario::{Case, Scenario};

/// Which runner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// Shadow: real programs in a simulated network.
    Shadow,
    /// Kubernetes.
    Kubernetes,
    /// Docker compose.
    Compose,
}

/// The text names no target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a target; use `shadow`, `k8s` or `compose`")]
pub struct UnknownTarget;

impl FromStr for Target {
    type Err = UnknownTarget;

    fn from_str(text: &str) -> Result<Self, UnknownTarget> {
        match text {
            "shadow" => Ok(Self::Shadow),
            "k8s" | "kubernetes" => Ok(Self::Kubernetes),
            "compose" => Ok(Self::Compose),
            _ => Err(UnknownTarget),
        }
    }
}

/// Why a scenario cannot be exported.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExportError {
    /// The program that the files start cannot do it.
    #[error("{what} cannot be exported: {why}; {remedy}")]
    Unsupported {
        /// What of the scenario.
        what: String,
        /// Why not.
        why: String,
        /// What to do.
        remedy: String,
    },
    /// A file of that name is there and no export wrote it.
    #[error(
        "{} is not of an export and would be lost; choose an empty folder with -o, or replace it \
         with --force", .0.display()
    )]
    Foreign(PathBuf),
    /// An export wrote the file, and it is not as it was.
    #[error(
        "{} was changed since it was exported, and the changes would be lost; choose another \
         folder with -o, or replace it with --force", .0.display()
    )]
    Changed(PathBuf),
    /// A file could not be written.
    #[error("cannot write {path}: {source}; choose another folder with -o")]
    Write {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// The seed of every export: whoever wants another one changes it in the file.
const SEED: u64 = 1;

/// Writes the files of every case below `out` and says which. A scenario of one case has its files
/// there, one of several has a folder for each, by number. Files that are there already are replaced
/// if they are an export's as it wrote them, or by force.
pub fn write(
    scenario: &Scenario,
    target: Target,
    out: &Path,
    force: bool,
) -> Result<Vec<PathBuf>, ExportError> {
    let mut written = Vec::new();
    let several = scenario.cases.len() > 1;
    // A case that cannot be exported is found before anything is written.
    let mut all = Vec::new();
    for (number, case) in scenario.cases.iter().enumerate() {
        let folder = match several {
            true => out.join(format!("case-{}", number + 1)),
            false => out.to_owned(),
        };
        let script = script::script(scenario, case, run_name(scenario, number + 1), SEED)?;
        let files = match target {
            Target::Shadow => shadow::files(&script, &case.plan.network),
            Target::Kubernetes => containers::kubernetes(&script, &case.plan),
            Target::Compose => containers::compose(&script, &case.plan),
        };
        all.push((folder, files));
    }
    if !force {
        for (folder, files) in &all {
            let places = files.iter().map(|(name, _)| folder.join(name));
            places.into_iter().try_for_each(may_replace)?;
        }
    }
    for (folder, files) in all {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| ExportError::Write { path, source }
        };
        fs::create_dir_all(&folder).map_err(failed(&folder))?;
        for (name, text) in files {
            let path = folder.join(name);
            fs::write(&path, marked(name, &text)).map_err(failed(&path))?;
            written.push(path);
        }
    }
    Ok(written)
}

/// What an export calls the run of a case, counted from 1; nodes say it first of all.
pub(crate) fn run_name(scenario: &Scenario, case: usize) -> String {
    match scenario.cases.len() {
        1 => label(&scenario.name),
        _ => label(&format!("{}-{case}", scenario.name)),
    }
}

/// The groups of nodes that an export of a case starts, with how many there are of each; none if the
/// case cannot be exported.
pub(crate) fn groups(scenario: &Scenario, case: &Case) -> Vec<(String, usize)> {
    let script = script::script(scenario, case, String::new(), SEED);
    let groups = script.map_or_else(|_| Vec::new(), |script| script.groups);
    let groups = groups.into_iter();
    groups.map(|group| (group.name, group.count)).collect()
}

/// What stands in every exported file before the digest of its other lines.
const MARK: &str = "Exported by mainswarm-testnet; sha1 of the other lines: ";

/// A file's text with a line that tells it from files of other people and from changed ones.
fn marked(name: &str, text: &str) -> String {
    let mark = format!("{MARK}{}", script::data_hex(&Sha1::digest(text)));
    // The graph's format has no comments that Shadow reads, but takes any key.
    match text.split_once('\n') {
        Some((first, rest)) if name.ends_with(".gml") => {
            format!("{first}\n  comment \"{mark}\"\n{rest}")
        }
        _ => format!("{text}# {mark}\n"),
    }
}

/// An error if a file is there that is not as an export wrote it.
fn may_replace(path: PathBuf) -> Result<(), ExportError> {
    if fs::symlink_metadata(&path).is_err() {
        return Ok(());
    }
    // Reading what is no file might never end.
    let is_file = fs::metadata(&path).is_ok_and(|there| there.is_file());
    let there = match is_file.then(|| fs::read_to_string(&path)) {
        Some(Ok(there)) => there,
        _ => return Err(ExportError::Foreign(path)),
    };
    let (marks, others): (Vec<&str>, Vec<&str>) = there
        .split_inclusive('\n')
        .partition(|line| line.contains(MARK));
    let [mark] = marks[..] else {
        return Err(ExportError::Foreign(path));
    };
    let digest = script::data_hex(&Sha1::digest(others.concat()));
    match mark.contains(&format!("{MARK}{digest}")) {
        true => Ok(()),
        false => Err(ExportError::Changed(path)),
    }
}

/// A name of lower-case letters, digits and dashes.
fn label(name: &str) -> String {
    let plain = |c: char| {
        let c = c.to_ascii_lowercase();
        if c.is_ascii_alphanumeric() { c } else { '-' }
    };
    let label: String = name.chars().map(plain).collect();
    format!("testnet-{}", label.trim_matches('-'))
}
