//! The scenarios that are built in, and files by path.

use std::{fs, io, path::Path};

use super::error::Wrong;

/// A scenario's text and where it is from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// The file's name without its ending.
    pub name: String,
    /// What errors call it, and what a command takes to run it again.
    pub file: String,
    /// What it says.
    pub text: String,
}

/// Name and text of each, in the order of their numbers.
pub const BUILT_IN: &[(&str, &str)] = &[
    ("fig-2-23", include_str!("../../scenarios/fig-2-23.toml")),
    (
        "flash-crowd",
        include_str!("../../scenarios/flash-crowd.toml"),
    ),
    ("weak-seed", include_str!("../../scenarios/weak-seed.toml")),
    (
        "steady-state",
        include_str!("../../scenarios/steady-state.toml"),
    ),
    (
        "seed-leaves",
        include_str!("../../scenarios/seed-leaves.toml"),
    ),
    (
        "free-riders",
        include_str!("../../scenarios/free-riders.toml"),
    ),
    (
        "large-view",
        include_str!("../../scenarios/large-view.toml"),
    ),
    ("tyrant", include_str!("../../scenarios/tyrant.toml")),
    (
        "seed-slot-attack",
        include_str!("../../scenarios/seed-slot-attack.toml"),
    ),
    ("classes", include_str!("../../scenarios/classes.toml")),
    ("slow-peer", include_str!("../../scenarios/slow-peer.toml")),
    ("dht-scale", include_str!("../../scenarios/dht-scale.toml")),
    ("dht-dead", include_str!("../../scenarios/dht-dead.toml")),
    (
        "churn-storm",
        include_str!("../../scenarios/churn-storm.toml"),
    ),
    (
        "cold-start",
        include_str!("../../scenarios/cold-start.toml"),
    ),
    (
        "bootstrap-death",
        include_str!("../../scenarios/bootstrap-death.toml"),
    ),
    ("eclipse", include_str!("../../scenarios/eclipse.toml")),
    (
        "malicious-routing",
        include_str!("../../scenarios/malicious-routing.toml"),
    ),
    (
        "partition-heal",
        include_str!("../../scenarios/partition-heal.toml"),
    ),
    (
        "partition-swarm",
        include_str!("../../scenarios/partition-swarm.toml"),
    ),
    ("nat-lossy", include_str!("../../scenarios/nat-lossy.toml")),
    ("nat-swarm", include_str!("../../scenarios/nat-swarm.toml")),
];

/// Why there is no such scenario.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// Neither built in nor a file.
    #[error("{0}")]
    Unknown(String),
    /// The file is no text.
    #[error("{0}: not a text file; a scenario is TOML, as `testnet show weak-seed` prints one")]
    NotText(String),
    /// The file cannot be read.
    #[error("{path}: {source}; name a scenario of `testnet list`, or a file that can be read")]
    File {
        /// Which.
        path: String,
        /// Why.
        source: io::Error,
    },
}

/// A scenario by its name, by its number (`S01`), or by the path of a file.
pub fn load(wanted: &str) -> Result<Source, LoadError> {
    let built_in = BUILT_IN.iter().find(|(name, text)| {
        let id = format!("id = \"{}\"", wanted.to_ascii_uppercase());
        *name == wanted || text.lines().any(|line| line.trim_end() == id)
    });
    if let Some((name, text)) = built_in {
        return Ok(Source {
            name: (*name).into(),
            file: format!("{name}.toml"),
            text: (*text).into(),
        });
    }
    let path = Path::new(wanted);
    // A bare word is a name with a typing error more often than a file that is not there.
    if !wanted.contains(['/', '\\', '.']) && !path.exists() {
        let names: Vec<_> = BUILT_IN.iter().map(|(name, _)| *name).collect();
        let wrong = Wrong::unknown("scenario", wanted, &names);
        let or = if wrong.remedy.ends_with('?') {
            " Or"
        } else {
            ", or"
        };
        return Err(LoadError::Unknown(format!(
            "{}; {}{or} write the path of a file",
            wrong.what, wrong.remedy
        )));
    }
    let text = match fs::read_to_string(path) {
        Ok(text) if !text.contains('\0') => text,
        Err(source) if source.kind() != io::ErrorKind::InvalidData => {
            return Err(LoadError::File {
                path: wanted.into(),
                source,
            });
        }
        _ => return Err(LoadError::NotText(wanted.into())),
    };
    let stem = path.file_stem().map(|stem| stem.to_string_lossy());
    Ok(Source {
        name: stem.map_or_else(|| wanted.into(), Into::into),
        file: wanted.into(),
        text,
    })
}
