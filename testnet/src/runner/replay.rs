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
    /// The one case to run, by number from 1; all if `None`.
    pub case: Option<usize>,
    /// Flags of the engine, as typed: `--netns`.
    pub flags: Vec<String>,
}

impl Command {
    /// All cases, all seeds.
    pub fn whole(&self, seeds: &Range<u64>) -> String {
        self.line(self.case, seeds)
    }

    /// One case, by number from 1, and one seed.
    pub fn of(&self, case: usize, seed: u64) -> String {
        self.line(Some(case), &(seed..seed + 1))
    }

    fn line(&self, case: Option<usize>, seeds: &Range<u64>) -> String {
        let (first, count) = (seeds.start, seeds.end.saturating_sub(seeds.start));
        let mut words = vec!["testnet".to_string(), "run".into(), self.scenario.clone()];
        if self.choice.engine == Engine::Live {
            words.extend(["--engine".into(), "live".into()]);
        }
        if self.choice.quick {
            words.push("--quick".into());
        }
        words.extend(self.flags.iter().cloned());
        if let Some(case) = case {
            words.extend(["--case".into(), case.to_string()]);
        }
        words.extend(["--seed".into(), first.to_string()]);
        words.extend(["--seeds".into(), count.to_string()]);
        for set in &self.choice.set {
            words.extend(["--set".into(), set.clone()]);
        }
        line(&words)
    }
}

/// Words as one line that a shell takes.
pub fn line(words: &[String]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| quoted(word)).collect();
    quoted.join(" ")
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
            case: None,
            flags: vec!["--netns".into()],
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
                "--netns",
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
        let end = "--case 2 --seed 4 --seeds 1 --set 'session=exponential 10min' --set nodes=1,2";
        assert!(command.of(2, 4).ends_with(end), "{}", command.of(2, 4));
    }
}
