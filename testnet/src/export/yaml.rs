//! YAML out: mappings in the order in which they were written, every text quoted.

use std::fmt::Write;

use crate::printable;

/// A value.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Yaml {
    Map(Vec<(String, Yaml)>),
    List(Vec<Yaml>),
    Text(String),
    Number(u64),
    Flag(bool),
}

impl Yaml {
    /// A mapping.
    pub(super) fn map<const N: usize>(entries: [(&str, Yaml); N]) -> Self {
        let entries = entries.into_iter();
        Self::Map(
            entries
                .map(|(key, value)| (key.to_owned(), value))
                .collect(),
        )
    }

    pub(super) fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }

    pub(super) fn texts(texts: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self::List(texts.into_iter().map(Self::text).collect())
    }

    /// A document with comments above.
    pub(super) fn document(&self, comments: &[String]) -> String {
        let mut out = String::new();
        for comment in comments {
            // Whatever ends a line for some reader would end the comment.
            let _ = writeln!(out, "# {}", printable::line(comment));
        }
        self.write(&mut out, 0);
        out
    }

    fn write(&self, out: &mut String, depth: usize) {
        match self {
            Self::Map(entries) => {
                for (key, value) in entries {
                    indent(out, depth);
                    let _ = write!(out, "{}:", key_text(key));
                    value.write_after(out, depth);
                }
            }
            Self::List(items) => {
                for item in items {
                    indent(out, depth);
                    out.push('-');
                    item.write_after(out, depth);
                }
            }
            scalar => {
                indent(out, depth);
                out.push_str(&scalar.scalar());
                out.push('\n');
            }
        }
    }

    /// After a key or a dash: on the same line, or below and further in.
    fn write_after(&self, out: &mut String, depth: usize) {
        match self {
            Self::Map(entries) if entries.is_empty() => out.push_str(" {}\n"),
            Self::List(items) if items.is_empty() => out.push_str(" []\n"),
            Self::Map(_) | Self::List(_) => {
                out.push('\n');
                self.write(out, depth + 1);
            }
            scalar => {
                let _ = writeln!(out, " {}", scalar.scalar());
            }
        }
    }

    fn scalar(&self) -> String {
        match self {
            Self::Text(text) => quoted(text),
            Self::Number(number) => number.to_string(),
            Self::Flag(flag) => flag.to_string(),
            Self::Map(_) | Self::List(_) => String::new(),
        }
    }
}

fn indent(out: &mut String, depth: usize) {
    out.extend(std::iter::repeat_n("  ", depth));
}

/// JSON's quoting is YAML's, too, but for what may not stand in YAML at all.
fn quoted(text: &str) -> String {
    printable::escaped(&serde_json::Value::from(text).to_string()).into_owned()
}

/// Plain where that is safe: words that no reader takes for another type.
fn key_text(key: &str) -> String {
    let plain = key.starts_with(|c: char| c.is_ascii_alphabetic())
        && key
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "_-./".contains(c))
        && !["y", "n", "yes", "no", "on", "off", "true", "false", "null"]
            .contains(&key.to_ascii_lowercase().as_str());
    if plain { key.to_owned() } else { quoted(key) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mappings_lists_and_what_must_be_quoted() {
        let value = Yaml::map([
            ("plain-key", Yaml::text("a: b # c \"d\" \\ \n")),
            ("no", Yaml::Number(7)),
            (
                "list",
                Yaml::List(vec![Yaml::map([("a", Yaml::Flag(true))]), Yaml::text("x")]),
            ),
            ("none", Yaml::Map(Vec::new())),
        ]);
        assert_eq!(
            value.document(&["why".into()]),
            "# why\nplain-key: \"a: b # c \\\"d\\\" \\\\ \\n\"\n\"no\": 7\nlist:\n  -\n    a: \
             true\n  - \"x\"\nnone: {}\n"
        );
    }
}
