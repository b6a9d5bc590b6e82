//! The command line that gives the same again, and reading it back.

use std::ops::Range;

use crate::scenario::{Choice, Engine};

/// What was asked for, as far as it decides what comes out.
#[derive(Debug, Clone, PartialEq)]
pub struct Command {
    /// The scenario's name, or a file's path.
    pub scenario: String,
    /// Engine, variant and overrides.
    pub choice: Choice,
}

impl Command {
    /// All cases, all seeds.
    pub fn whole(&self, seeds: &Range<u64>) -> String {
        self.line(&self.choice.set, seeds)
    }

    /// One case and one seed.
    pub fn of(&self, settings: &[(String, String)], seed: u64) -> String {
        let pinned = settings.iter().map(|(key, value)| format!("{key}={value}"));
        // What the case says stands in place of a list of values for the same key.
        let set = self.choice.set.iter().filter(|set| !set.contains(','));
        let set: Vec<String> = set.cloned().chain(pinned).collect();
        self.line(&set, &(seed..seed + 1))
    }

    fn line(&self, set: &[String], seeds: &Range<u64>) -> String {
        let (first, count) = (seeds.start, seeds.end.saturating_sub(seeds.start));
        let mut words = vec!["testnet".to_string(), "run".into(), self.scenario.clone()];
        if self.choice.engine == Engine::Live {
            words.extend(["--engine".into(), "live".into()]);
        }
        if self.choice.quick {
            words.push("--quick".into());
        }
        words.extend(["--seed".into(), first.to_string()]);
        words.extend(["--seeds".into(), count.to_string()]);
        for set in set {
            words.extend(["--set".into(), set.clone()]);
        }
        words
            .iter()
            .map(|word| quoted(word))
            .collect::<Vec<_>>()
            .join(" ")
    }
}

/// As a shell takes it; what needs no quotes has none, so that the line is easy to read.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-./:=,+%@".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.into();
    }
    match shlex::try_quote(word) {
        Ok(quoted) => quoted.into_owned(),
        // A NUL cannot have come by a command line.
        Err(_) => word.replace('\0', ""),
    }
}

/// A command line's words, as a shell would have them.
pub fn words(line: &str) -> Option<Vec<String>> {
    shlex::split(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_reads_back_into_its_words() {
        let command = Command {
            scenario: "my file.toml".into(),
            choice: Choice {
                engine: Engine::Live,
                quick: true,
                set: vec!["session=exponential 10min".into(), "nodes=1,2".into()],
            },
        };
        let whole = command.whole(&(3..8));
        assert_eq!(
            words(&whole).unwrap(),
            [
                "testnet",
                "run",
                "my file.toml",
                "--engine",
                "live",
                "--quick",
                "--seed",
                "3",
                "--seeds",
                "5",
                "--set",
                "session=exponential 10min",
                "--set",
                "nodes=1,2",
            ]
        );
        let one = command.of(&[("dht.nodes".into(), "2".into())], 4);
        assert!(
            one.ends_with("--seed 4 --seeds 1 --set 'session=exponential 10min' --set dht.nodes=2"),
            "{one}"
        );
    }
}
