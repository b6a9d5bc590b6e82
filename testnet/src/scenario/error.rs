//! What is wrong with a scenario file, where, and what to do.

use std::{fmt, ops::Range};

/// A scenario that cannot be run as it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileError {
    place: Place,
    what: String,
    remedy: String,
}

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    /// The file, with the line quoted.
    Line {
        file: String,
        line: usize,
        column: usize,
        /// As much of it as a terminal shows, and how far in the mark begins.
        quoted: Box<str>,
        indent: usize,
        width: usize,
    },
    /// An argument of the command.
    Argument(String),
}

/// What is wrong and what to do, before it is known where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wrong {
    pub(super) what: String,
    pub(super) remedy: String,
}

impl Wrong {
    pub(super) fn new(what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            remedy: remedy.into(),
        }
    }

    /// Something that must be one of a list is not.
    pub(super) fn unknown(kind: &str, word: &str, allowed: &[&str]) -> Self {
        let remedy = match nearest(word, allowed) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("allowed: {}", allowed.join(", ")),
        };
        Self::new(format!("unknown {kind} `{word}`"), remedy)
    }

    /// At a stretch of the file's bytes.
    pub(super) fn at(self, file: &str, text: &str, span: Range<usize>) -> FileError {
        let start = floor(text, span.start);
        let line_start = text[..start].rfind('\n').map_or(0, |at| at + 1);
        let line = text[line_start..].lines().next().unwrap_or_default();
        let column = text[line_start..start].chars().count();
        let end = floor(text, span.end.max(start)).min(line_start + line.len());
        let marked = text[start..end.max(start)].chars().count().max(1);
        let (quoted, indent) = clipped(line, column);
        let most = (quoted.chars().count() + 1).saturating_sub(indent).max(1);
        FileError {
            place: Place::Line {
                file: file.into(),
                line: text[..start].matches('\n').count() + 1,
                column: column + 1,
                quoted: quoted.into(),
                indent,
                width: marked.min(most),
            },
            what: shortened(&self.what),
            remedy: shortened(&self.remedy),
        }
    }

    /// In an argument of the command.
    pub(super) fn in_argument(self, argument: &str) -> FileError {
        FileError {
            place: Place::Argument(shortened(argument)),
            what: shortened(&self.what),
            remedy: shortened(&self.remedy),
        }
    }
}

/// Of a line as much as a terminal shows, and how far in the column is: a file may be one line.
fn clipped(line: &str, column: usize) -> (String, usize) {
    if line.chars().nth(MOST_COLUMNS).is_none() {
        return (line.into(), column);
    }
    let from = column.saturating_sub(MOST_COLUMNS / 2);
    let before = if from > 0 { "…" } else { "" };
    let mut rest = line.chars().skip(from);
    let shown: String = rest.by_ref().take(MOST_COLUMNS).collect();
    let after = if rest.next().is_some() { "…" } else { "" };
    let indent = column - from + before.chars().count();
    (format!("{before}{shown}{after}"), indent)
}

/// A sentence with the middle left out that nobody reads.
fn shortened(text: &str) -> String {
    if text.chars().nth(MOST_LETTERS).is_none() {
        return text.into();
    }
    let head: String = text.chars().take(MOST_LETTERS - MOST_COLUMNS).collect();
    let mut tail: Vec<char> = text.chars().rev().take(MOST_COLUMNS).collect();
    tail.reverse();
    format!("{head} … {}", tail.into_iter().collect::<String>())
}

/// Of a line that is quoted.
const MOST_COLUMNS: usize = 160;

/// Of what is said: an error may name what a file wrote, and all that is allowed there.
const MOST_LETTERS: usize = 2000;

/// The last character boundary that is not after `at`.
fn floor(text: &str, at: usize) -> usize {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

/// The word that was probably meant: a typing error away, not a guess.
fn nearest<'a>(word: &str, allowed: &[&'a str]) -> Option<&'a str> {
    let word = word.to_lowercase().replace('-', "_");
    let distance = |known: &str| {
        let known = known.to_lowercase().replace('-', "_");
        strsim::damerau_levenshtein(&word, &known)
    };
    let begun = |known: &&&str| word.len() >= 3 && known.to_lowercase().starts_with(&word);
    if let Some(begun) = allowed.iter().find(begun) {
        return Some(begun);
    }
    let near = allowed.iter().min_by_key(|known| distance(known))?;
    let most = (near.chars().count() / 3).max(1);
    (distance(near) <= most).then_some(*near)
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Place::Argument(argument) => {
                write!(f, "{argument}: {}; {}", self.what, self.remedy)
            }
            Place::Line {
                file,
                line,
                column,
                quoted,
                indent,
                width,
            } => {
                writeln!(f, "{file}:{line}:{column}: {}; {}", self.what, self.remedy)?;
                let gutter = line.to_string().len();
                // Tabs stay, so that the mark stands under what it marks.
                let indent: String = quoted
                    .chars()
                    .take(*indent)
                    .map(|c| if c == '\t' { '\t' } else { ' ' })
                    .collect();
                writeln!(f, "{line} | {quoted}")?;
                write!(f, "{:gutter$} | {indent}{}", "", "^".repeat(*width))
            }
        }
    }
}

impl std::error::Error for FileError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_is_quoted_and_marked() {
        let text = "title = \"x\"\n\tpieces = 0 # ü\n";
        let at = text.find("0 #").unwrap();
        let error = Wrong::new("zero", "write one").at("a.toml", text, at..at + 1);
        let shown = error.to_string();
        assert_eq!(
            shown,
            "a.toml:2:11: zero; write one\n2 | \tpieces = 0 # ü\n  | \t         ^"
        );
        // Past the end and inside a character: still a place, never a panic.
        let inside = text.find('ü').unwrap() + 1;
        for span in [inside..inside, 900..901, 0..900] {
            let shown = Wrong::new("a", "b").at("a.toml", text, span).to_string();
            assert!(shown.contains('^'), "{shown}");
        }
    }

    #[test]
    fn a_long_line_is_quoted_where_it_matters() {
        let text = format!("a = [{}0{}]", "1, ".repeat(100_000), ", 1".repeat(100_000));
        let at = text.find('0').unwrap();
        let shown = Wrong::new("zero", "write one").at("a.toml", &text, at..at + 1);
        let shown = shown.to_string();
        let lines: Vec<_> = shown.lines().collect();
        assert!(
            lines[0].starts_with("a.toml:1:300006: zero"),
            "{}",
            lines[0]
        );
        assert!(lines[1].chars().count() < 180, "{}", lines[1]);
        let mark = lines[2].chars().position(|c| c == '^').unwrap();
        assert_eq!(lines[1].chars().nth(mark), Some('0'));
        // What is marked may be as long, and so may what is said of it.
        for span in [0..text.len(), at..text.len()] {
            let wrong = Wrong::new(format!("cannot be {text}"), "write one");
            let shown = wrong.at("a.toml", &text, span).to_string();
            assert!(shown.chars().count() < 3000, "{}", shown.len());
            assert!(shown.lines().all(|line| !line.ends_with(' ')), "{shown}");
        }
        let shown = Wrong::new("no", "yes").in_argument(&text).to_string();
        assert!(shown.chars().count() < 3000 && shown.ends_with("]: no; yes"));
    }

    #[test]
    fn only_near_words_are_suggested() {
        let allowed = ["piece_len", "pieces", "p2p", "client-server"];
        let row = |word| nearest(word, &allowed);
        assert_eq!(row("piece-len"), Some("piece_len"));
        assert_eq!(row("peice_len"), Some("piece_len"));
        assert_eq!(row("client"), Some("client-server"));
        assert_eq!(row("P2P"), Some("p2p"));
        assert_eq!(row("bandwidth"), None);
        let shown = |word| {
            let wrong = Wrong::unknown("key", word, &allowed);
            wrong.in_argument("--set").to_string()
        };
        assert!(shown("peices").ends_with("did you mean `pieces`?"));
        assert!(shown("bandwidth").ends_with("; allowed: piece_len, pieces, p2p, client-server"));
    }
}
