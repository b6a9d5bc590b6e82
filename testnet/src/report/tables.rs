//! Tables that fit a page: what is the same in every row is said once, above; what is left wraps, and
//! figures beyond a few columns are folded away.

use std::fmt::Write as _;

use crate::{
    cpu::VOID_ABOVE,
    outcome::{CaseOutcome, Outcome, Run, Spread, Verdict},
    units::bytes,
};

use super::{
    labels,
    text::{duration, escape, number},
};

/// A table being made: cells are HTML. Columns that begin with `#` hold numbers.
pub(super) struct Table {
    head: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(super) fn new(head: &[impl AsRef<str>]) -> Self {
        Self {
            head: head.iter().map(|name| name.as_ref().to_string()).collect(),
            rows: Vec::new(),
        }
    }

    pub(super) fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }

    /// Writes it, with a sentence above on columns that are the same in all of several rows.
    pub(super) fn write(mut self, out: &mut String) {
        if self.rows.is_empty() {
            return;
        }
        let mut same: Vec<String> = Vec::new();
        // A table of one column more than nothing says nothing.
        for column in (0..self.head.len()).rev() {
            let first = self.rows[0][column].clone();
            let constant = self.rows.iter().all(|row| row[column] == first);
            if self.rows.len() > 1 && self.head.len() > 2 && constant {
                let name = self.head.remove(column);
                self.rows.iter_mut().for_each(|row| {
                    row.remove(column);
                });
                same.push(format!(
                    "{} = {first}",
                    escape(name.trim_start_matches('#'))
                ));
            }
        }
        same.reverse();
        if !same.is_empty() {
            let _ = writeln!(
                out,
                "<p class=\"under\">In all rows: {}.</p>",
                same.join("; ")
            );
        }
        out.push_str("<div class=\"wide\"><table>\n<tr>");
        for name in &self.head {
            let _ = match name.strip_prefix('#') {
                Some(name) => write!(out, "<th class=\"number\">{}</th>", escape(name)),
                None => write!(out, "<th>{}</th>", escape(name)),
            };
        }
        out.push_str("</tr>\n");
        for row in &self.rows {
            out.push_str("<tr>");
            for (cell, name) in row.iter().zip(&self.head) {
                let class = match name.starts_with('#') {
                    true => " class=\"number\"",
                    false => "",
                };
                let _ = write!(out, "<td{class}>{cell}</td>");
            }
            out.push_str("</tr>\n");
        }
        out.push_str("</table></div>\n");
    }

    /// The same behind a line that opens it.
    fn folded(self, out: &mut String, summary: &str) {
        if !self.rows.is_empty() {
            let _ = writeln!(out, "<details><summary>{}</summary>", escape(summary));
            self.write(out);
            out.push_str("</details>\n");
        }
    }
}

/// The columns of a table of verdicts.
pub(super) const VERDICTS: [&str; 5] = ["scenario", "gate", "#figure", "#goal", "verdict"];

/// A gate and what came out, with the scenario as given.
pub(super) fn verdict(verdict: &Verdict, scenario: String) -> Vec<String> {
    vec![
        scenario,
        escape(&labels::gate(&verdict.gate)),
        verdict.figure.map_or("–".into(), number),
        verdict.goal.map_or("–".into(), number),
        badge(&verdict.verdict),
    ]
}

/// All gates of a scenario.
pub(super) fn verdicts(out: &mut String, outcome: &Outcome) {
    let mut table = Table::new(&VERDICTS[1..]);
    for of in &outcome.verdicts {
        table.row(verdict(of, String::new()).split_off(1));
    }
    table.write(out);
}

/// A verdict as a word and a sign: colour alone says nothing to some readers and printers.
pub(super) fn badge(verdict: &str) -> String {
    let (tone, sign) = match verdict {
        "pass" => ("good", "✓"),
        "goal" => ("good", "★"),
        "fail" => ("bad", "✗"),
        _ => ("none", "○"),
    };
    let text = escape(verdict);
    format!("<span class=\"badge {tone}\">{sign} {text}</span>")
}

/// Keys and values in words.
pub(super) fn parameters(all: &[(String, String)]) -> Table {
    let mut table = Table::new(&["parameter", "value"]);
    for (key, value) in all {
        table.row(vec![
            escape(&labels::key(key)),
            escape(&labels::value(key, value)),
        ]);
    }
    table
}

/// What the file does not say, folded away.
pub(super) fn defaults(out: &mut String, all: &[(String, String)]) {
    parameters(all).folded(out, "Defaults of what the file does not say");
}

/// `1.013 [1.011..1.02]`.
pub(super) fn spread(spread: &Spread) -> String {
    let median = number(spread.median);
    if spread.runs < 2 || spread.least == spread.greatest {
        return median;
    }
    let (least, greatest) = (number(spread.least), number(spread.greatest));
    format!("{median} <small>[{least}..{greatest}]</small>")
}

/// Figures that tell most, after those that a gate asks for.
const TELLING: [&str; 9] = [
    "seconds",
    "lb_seconds",
    "ratio",
    "complete",
    "success",
    "queries",
    "hops",
    "first_ms_p50",
    "recall",
];

/// More columns of figures do not fit a page.
const ACROSS: usize = 5;

/// Cases and figures: a row for each figure if there is one case, else a row for each case.
pub(super) fn measured(out: &mut String, outcome: &Outcome) {
    let (telling, others) = figure_names(outcome);
    if telling.is_empty() && others.is_empty() {
        return;
    }
    out.push_str("<h2>What was measured</h2>\n");
    if outcome.cases.iter().any(|case| case.runs.len() > 1) {
        out.push_str(
            "<p class=\"under\">The median of the seeds, with the least and the greatest.</p>\n",
        );
    }
    if let [case] = &outcome.cases[..] {
        single(case, &telling).write(out);
        single(case, &others).folded(out, "All other figures");
        return;
    }
    let mut keys: Vec<&str> = Vec::new();
    for (key, _) in outcome.cases.iter().flat_map(|case| &case.settings) {
        if !keys.contains(&key.as_str()) {
            keys.push(key);
        }
    }
    let (first, more) = telling.split_at(telling.len().min(ACROSS));
    several(outcome, &keys, first).write(out);
    let rest: Vec<&str> = more.iter().chain(&others).copied().collect();
    if !rest.is_empty() {
        out.push_str("<details><summary>All other figures, by case</summary>\n");
        for names in rest.chunks(ACROSS + 1) {
            several(outcome, &[], names).write(out);
        }
        out.push_str("</details>\n");
    }
}

fn single(case: &CaseOutcome, names: &[&str]) -> Table {
    let mut table = Table::new(&["figure", "#value", "unit"]);
    for name in names {
        if let Some(of) = case.spread(name) {
            let label = labels::figure(name);
            let text = escape(&label.text);
            table.row(vec![text, spread(&of), label.unit.unwrap_or("").into()]);
        }
    }
    table
}

fn several(outcome: &Outcome, keys: &[&str], names: &[&str]) -> Table {
    let mut head = vec!["#case".to_string()];
    head.extend(keys.iter().map(|key| labels::key(key)));
    if !keys.is_empty() {
        head.push("#seeds".into());
    }
    let label = |name: &&str| format!("#{}", labels::figure(name).with_unit());
    head.extend(names.iter().map(label));
    let mut table = Table::new(&head);
    for (index, case) in outcome.cases.iter().enumerate() {
        let mut row = vec![(index + 1).to_string()];
        row.extend(keys.iter().map(|key| {
            let set = case.settings.iter().find(|(of, _)| of == key);
            set.map_or("–".into(), |(key, set)| escape(&labels::value(key, set)))
        }));
        if !keys.is_empty() {
            row.push(case.runs.len().to_string());
        }
        let of = |name: &&str| case.spread(name).map_or("–".into(), |of| spread(&of));
        row.extend(names.iter().map(of));
        table.row(row);
    }
    table
}

/// Every figure that some run has: those that a gate names and that tell most; all others.
fn figure_names(outcome: &Outcome) -> (Vec<&str>, Vec<&str>) {
    let runs = || outcome.cases.iter().flat_map(|case| &case.runs);
    let has = |name: &&str| runs().any(|run| run.figures.contains_key(*name));
    let gated = outcome.verdicts.iter();
    let gated = gated.filter_map(|verdict| verdict.gate.split_whitespace().next());
    let mut telling: Vec<&str> = Vec::new();
    for name in gated.chain(TELLING).filter(has) {
        if !telling.contains(&name) {
            telling.push(name);
        }
    }
    let mut others: Vec<&str> = runs()
        .flat_map(|run| run.figures.keys().map(String::as_str))
        .collect();
    others.sort_unstable();
    others.dedup();
    others.retain(|name| !telling.contains(name));
    (telling, others)
}

/// More rows are folded away.
const SHORT: usize = 12;

/// What each run took.
pub(super) fn cost(out: &mut String, outcome: &Outcome) {
    let cases = outcome.cases.iter().enumerate();
    let runs: Vec<(usize, &Run)> = cases
        .flat_map(|(index, case)| case.runs.iter().map(move |run| (index + 1, run)))
        .collect();
    if runs.is_empty() {
        return;
    }
    let wall: f64 = runs.iter().map(|(_, run)| run.cost.wall).sum();
    let events: u64 = runs
        .iter()
        .fold(0, |sum: u64, (_, run)| sum.saturating_add(run.cost.events));
    let memory = runs.iter().map(|(_, run)| run.cost.peak_memory).max();
    let events = match events {
        0 => String::new(),
        events => format!(", {} events", number(events as f64)),
    };
    let _ = writeln!(
        out,
        "<h2>What it cost</h2>\n<p>{} run{}{events}, {} of wall time, at most {} resident.</p>",
        runs.len(),
        if runs.len() == 1 { "" } else { "s" },
        escape(&duration(wall)),
        bytes(memory.unwrap_or(0))
    );
    let mut table = Table::new(&[
        "#case",
        "#seed",
        "#events",
        "#wall time [s]",
        "#million events/s/core",
        "#threads",
        "#CPU [%]",
        "#peak memory",
        "trace hash",
    ]);
    for (case, run) in &runs {
        let cost = &run.cost;
        let void = match outcome.engine == "live" && cost.cpu > VOID_ABOVE {
            true => " <span class=\"bad\">void</span>",
            false => "",
        };
        let or_none = |text: String| if cost.events > 0 { text } else { "–".into() };
        table.row(vec![
            case.to_string(),
            run.seed.to_string(),
            or_none(number(cost.events as f64)),
            number(cost.wall),
            or_none(number(cost.speed())),
            cost.threads.to_string(),
            format!("{}{void}", number((cost.cpu * 100.0).round())),
            bytes(cost.peak_memory),
            match cost.trace.as_str() {
                "" => "–".into(),
                trace => format!("<code>{}</code>", escape(trace)),
            },
        ]);
    }
    match runs.len() > SHORT {
        true => table.folded(out, "Every run"),
        false => table.write(out),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_the_same_in_all_rows_is_said_once() {
        let mut table = Table::new(&["a", "#b", "c"]);
        for value in ["1", "2"] {
            table.row(vec![value.into(), "9".into(), value.into()]);
        }
        let mut out = String::new();
        table.write(&mut out);
        assert!(out.contains("In all rows: b = 9."), "{out}");
        assert!(
            !out.contains(">b</th>") && !out.contains("<td class=\"number\">"),
            "{out}"
        );
        // One row has nothing to be the same as.
        let mut table = Table::new(&["a", "b", "c"]);
        table.row(vec![String::new(); 3]);
        let mut out = String::new();
        table.write(&mut out);
        assert!(out.contains("<th>b</th>") && !out.contains("In all rows"));
    }
}
