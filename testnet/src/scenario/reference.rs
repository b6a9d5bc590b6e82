//! The reference of the format, printed from what the reader goes by.

use std::fmt::Write;

use super::{
    document::{GATE, HEAD},
    keys::{KeyInfo, Section},
};
use crate::experiment::{COST_FIGURES, dht, swarm};

/// Every key with what it takes and its default, and every figure, as Markdown.
pub fn reference() -> String {
    let mut out = String::new();
    table(&mut out, "At the top of the file", "key", &HEAD);
    for section in Section::ALL {
        // Writing to a String cannot fail.
        let _ = writeln!(out, "## `{}`\n", section.header());
        let _ = writeln!(out, "| key | takes | default | what it is |");
        let _ = writeln!(out, "|---|---|---|---|");
        for KeyInfo {
            name,
            takes,
            default,
            says,
        } in section.keys()
        {
            let default = match default {
                "" => String::new(),
                default => format!("`{default}`"),
            };
            let _ = writeln!(out, "| `{name}` | {takes} | {default} | {says} |");
        }
        out.push('\n');
    }
    table(&mut out, "`[[gate]]`", "key", &GATE);
    table(&mut out, "Figures of a swarm", "figure", swarm::FIGURES);
    table(&mut out, "Figures of a DHT", "figure", dht::FIGURES);
    table(&mut out, "Figures of every run", "figure", COST_FIGURES);
    out.truncate(out.trim_end().len());
    out.push('\n');
    out
}

fn table(out: &mut String, title: &str, first: &str, rows: &[(&str, &str)]) {
    let _ = writeln!(out, "## {title}\n\n| {first} | what it is |\n|---|---|");
    for (name, says) in rows {
        let _ = writeln!(out, "| `{name}` | {says} |");
    }
    out.push('\n');
}
