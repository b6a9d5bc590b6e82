//! The page: verdicts first, then figures, tables, what makes them honest, and how to run it again.

use std::fmt::Write as _;

use crate::{
    cpu::VOID_ABOVE,
    outcome::{CaseOutcome, Outcome, Run, Spread, Verdict},
    units::bytes,
};

use super::{
    figures::{Figure, engine, seed_list, settings},
    text::{duration, escape, link, number},
    textbook::{Measured, Side},
};

/// How a page is known to be a report's, and so may be replaced.
pub(super) const GENERATOR: &str = "<meta name=\"generator\" content=\"mainswarm-testnet\">";

/// A whole page. `files` are those beside it that belong to the same report.
pub(super) fn document(title: &str, files: &[String], body: &str) -> String {
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n{GENERATOR}\n\
         <meta name=\"files\" content=\"{}\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{}</title>\n<style>\n{}</style>\n</head>\n<body>\n{body}</body>\n</html>\n",
        escape(&files.join(" ")),
        escape(title),
        include_str!("style.css"),
    )
}

/// The page of one scenario.
pub(super) fn scenario(outcome: &Outcome, figures: &[Figure]) -> String {
    let seeds = {
        let runs = outcome.cases.iter().flat_map(|case| &case.runs);
        let mut seeds: Vec<u64> = runs.map(|run| run.seed).collect();
        seeds.sort_unstable();
        seeds.dedup();
        seed_list(&seeds)
    };
    let title = if outcome.title.is_empty() {
        &outcome.scenario
    } else {
        &outcome.title
    };
    let mut out = format!(
        "<h1>{}</h1>\n<p class=\"under\">{} · {} · {} case{} · {}</p>\n",
        escape(title),
        escape(&outcome.scenario),
        escape(engine(&outcome.engine)),
        outcome.cases.len(),
        if outcome.cases.len() == 1 { "" } else { "s" },
        escape(&seeds)
    );
    incomplete(&mut out, std::slice::from_ref(outcome));
    if !outcome.about.is_empty() {
        for part in outcome.about.trim().split("\n\n") {
            let _ = writeln!(out, "<p>{}</p>", escape(part));
        }
    }
    if !outcome.held_against.is_empty() {
        let against = outcome.held_against.trim().trim_end_matches('.');
        let _ = writeln!(out, "<p>Held against: {}.</p>", escape(against));
    }
    if !outcome.verdicts.is_empty() {
        out.push_str("<ul class=\"badges\">");
        for verdict in &outcome.verdicts {
            let _ = write!(
                out,
                "<li class=\"badge {}\">{} {}</li>",
                tone(&verdict.verdict),
                sign(&verdict.verdict),
                escape(&verdict.gate)
            );
        }
        out.push_str("</ul>\n<h2>Gates</h2>\n");
        let rows = outcome.verdicts.iter().map(verdict_row).collect::<String>();
        table(&mut out, VERDICT_HEAD, &rows);
        out.push_str(
            "<p class=\"under\">✓ pass: the gate holds. ★ goal: so does the goal, which is stricter. \
             ✗ fail: the gate does not hold, or its figure is missing. ○ not run: no case of this \
             batch is one that the gate is about, or none counts.</p>\n",
        );
    }
    parameters(&mut out, &outcome.parameters);
    defaults(&mut out, outcome);
    notes(&mut out, &outcome.notes);
    if !figures.is_empty() {
        out.push_str("<h2>Figures</h2>\n");
        for drawn in figures {
            figure(&mut out, drawn, "");
        }
    }
    measured(&mut out, outcome);
    cost(&mut out, outcome);
    again(&mut out, &outcome.replay);
    if outcome.engine == "sim" && !outcome.replay.is_empty() {
        out.push_str(
            "<p>The scenario is kept beside this page; <code>testnet replay</code> on this folder \
             says whether the same comes out.</p>\n",
        );
    }
    out
}

/// Says above everything else that runs are missing.
fn incomplete(out: &mut String, outcomes: &[Outcome]) {
    let left: usize = outcomes.iter().map(|outcome| outcome.left).sum();
    if left > 0 {
        let _ = writeln!(
            out,
            "<p><span class=\"badge bad\">✗ INCOMPLETE: interrupted, {left} runs were not made\
             </span></p>"
        );
    }
}

/// The columns of a table of verdicts.
pub(super) const VERDICT_HEAD: &[&str] = &["scenario", "gate", "#figure", "#goal", "verdict"];

/// A gate and what came out.
pub(super) fn verdict_row(verdict: &Verdict) -> String {
    format!(
        "<tr><td>{}</td><td>{}</td><td class=\"number\">{}</td><td class=\"number\">{}</td>\
         <td>{}</td></tr>\n",
        escape(&verdict.scenario),
        escape(&verdict.gate),
        verdict.figure.map_or("–".into(), number),
        verdict.goal.map_or("–".into(), number),
        badge(&verdict.verdict)
    )
}

/// A verdict as a word and a sign: colour alone says nothing to some readers and printers.
fn badge(verdict: &str) -> String {
    let text = escape(verdict);
    format!(
        "<span class=\"badge {}\">{} {text}</span>",
        tone(verdict),
        sign(verdict)
    )
}

fn tone(verdict: &str) -> &'static str {
    match verdict {
        "pass" | "goal" => "good",
        "fail" => "bad",
        _ => "none",
    }
}

fn sign(verdict: &str) -> &'static str {
    match verdict {
        "pass" => "✓",
        "goal" => "★",
        "fail" => "✗",
        _ => "○",
    }
}

/// A table that scrolls where it is too wide. Columns that begin with `#` hold numbers.
pub(super) fn table(out: &mut String, head: &[impl AsRef<str>], rows: &str) {
    out.push_str("<div class=\"wide\"><table>\n<tr>");
    for column in head {
        let column = column.as_ref();
        match column.strip_prefix('#') {
            Some(name) => {
                let _ = write!(out, "<th class=\"number\">{}</th>", escape(name));
            }
            None => {
                let _ = write!(out, "<th>{}</th>", escape(column));
            }
        }
    }
    let _ = write!(out, "</tr>\n{rows}</table></div>\n");
}

/// What makes the figures honest.
pub(super) fn notes(out: &mut String, notes: &[String]) {
    if notes.is_empty() {
        return;
    }
    out.push_str("<h2>How to read the figures</h2>\n<ul class=\"notes\">");
    for note in notes {
        let _ = write!(out, "<li>{}</li>", escape(note));
    }
    out.push_str("</ul>\n");
}

/// A drawing with its caption and files; `under` is what the page does not say elsewhere.
fn figure(out: &mut String, figure: &Figure, under: &str) {
    let file = link(&figure.name);
    let _ = write!(
        out,
        "<figure id=\"{}\">\n<div class=\"wide\">{}</div>\n<figcaption><b>{}.</b> {} \
         <span class=\"files\"><a href=\"{file}.svg\">SVG</a> <a href=\"{file}.png\">PNG</a></span>\
         <p class=\"under\">{}</p></figcaption>\n</figure>\n",
        escape(&figure.name),
        figure.drawing.inline(&figure.title),
        escape(&figure.title),
        escape(figure.says.trim()),
        escape(under)
    );
}

/// `1.013 [1.011..1.02]`.
fn spread(spread: &Spread) -> String {
    let median = number(spread.median);
    if spread.runs < 2 || spread.least == spread.greatest {
        return median;
    }
    let (least, greatest) = (number(spread.least), number(spread.greatest));
    format!("{median} <small>[{least}..{greatest}]</small>")
}

/// Cases and figures: a row for each figure if there is one case, else a row for each case.
fn measured(out: &mut String, outcome: &Outcome) {
    let names = figure_names(outcome);
    if names.is_empty() {
        return;
    }
    out.push_str(
        "<h2>What was measured</h2>\n<p class=\"under\">The median of the seeds, with \
                  the least and the greatest.</p>\n",
    );
    if let [case] = &outcome.cases[..] {
        let rows: String = names
            .iter()
            .filter_map(|name| Some((name, case.spread(name)?)))
            .map(|(name, of)| {
                let (name, of) = (escape(name), spread(&of));
                format!("<tr><td>{name}</td><td class=\"number\">{of}</td></tr>\n")
            })
            .collect();
        table(out, &["figure", "#median [least..greatest]"], &rows);
        return;
    }
    let mut head = vec!["case".to_string(), "#seeds".to_string()];
    head.extend(names.iter().map(|name| format!("#{name}")));
    let row = |case: &CaseOutcome| {
        let seeds = case.runs.len();
        let mut row = format!("<tr><td>{}</td>", escape(&settings(&case.settings)));
        let _ = write!(row, "<td class=\"number\">{seeds}</td>");
        for name in &names {
            let of = case.spread(name).map_or("–".into(), |of| spread(&of));
            let _ = write!(row, "<td class=\"number\">{of}</td>");
        }
        row + "</tr>\n"
    };
    let rows: String = outcome.cases.iter().map(row).collect();
    table(out, &head, &rows);
}

/// Every figure that some run has: those that a gate names first.
fn figure_names(outcome: &Outcome) -> Vec<String> {
    let runs = || outcome.cases.iter().flat_map(|case| &case.runs);
    let has = |name: &str| runs().any(|run| run.figures.contains_key(name));
    let gated = outcome.verdicts.iter();
    let gated = gated.filter_map(|verdict| verdict.gate.split_whitespace().next());
    let mut names: Vec<String> = Vec::new();
    for name in gated.chain(runs().flat_map(|run| run.figures.keys().map(String::as_str))) {
        if has(name) && !names.iter().any(|known| known == name) {
            names.push(name.to_string());
        }
    }
    names
}

fn parameters(out: &mut String, parameters: &[(String, String)]) {
    if parameters.is_empty() {
        return;
    }
    out.push_str("<h2>What was run</h2>\n");
    let row = |(key, value): &(String, String)| {
        let (key, value) = (escape(key), escape(value));
        format!("<tr><td><code>{key}</code></td><td><code>{value}</code></td></tr>\n")
    };
    let rows: String = parameters.iter().map(row).collect();
    table(out, &["parameter", "value"], &rows);
}

/// What holds although the file does not say it, folded away, and what ran it.
fn defaults(out: &mut String, outcome: &Outcome) {
    if !outcome.defaults.is_empty() {
        let row = |(key, value): &(String, String)| {
            let (key, value) = (escape(key), escape(value));
            format!("<tr><td><code>{key}</code></td><td><code>{value}</code></td></tr>\n")
        };
        let rows: String = outcome.defaults.iter().map(row).collect();
        out.push_str("<details><summary>Defaults of what the file does not say</summary>\n");
        table(out, &["parameter", "value"], &rows);
        out.push_str("</details>\n");
    }
    if !outcome.version.is_empty() {
        let _ = writeln!(out, "<p>Run by {}.</p>", escape(&outcome.version));
    }
}

/// More rows are folded away.
const SHORT: usize = 12;

fn cost(out: &mut String, outcome: &Outcome) {
    let runs: Vec<(&CaseOutcome, &Run)> = outcome
        .cases
        .iter()
        .flat_map(|case| case.runs.iter().map(move |run| (case, run)))
        .collect();
    if runs.is_empty() {
        return;
    }
    let wall: f64 = runs.iter().map(|(_, run)| run.cost.wall).sum();
    let events: u64 = runs
        .iter()
        .fold(0, |sum: u64, (_, run)| sum.saturating_add(run.cost.events));
    let memory = runs.iter().map(|(_, run)| run.cost.peak_memory).max();
    out.push_str("<h2>What it cost</h2>\n");
    let events = if events == 0 {
        String::new()
    } else {
        format!(", {} events", number(events as f64))
    };
    let _ = writeln!(
        out,
        "<p>{} run{}{events}, {} of wall time, at most {} resident.</p>",
        runs.len(),
        if runs.len() == 1 { "" } else { "s" },
        escape(&duration(wall)),
        bytes(memory.unwrap_or(0))
    );
    let mut rows = String::new();
    for (case, run) in &runs {
        let cost = &run.cost;
        let void = if outcome.engine == "live" && cost.cpu > VOID_ABOVE {
            " <span class=\"bad\">void</span>"
        } else {
            ""
        };
        let or_none = |there: bool, text: String| if there { text } else { "–".into() };
        let _ = writeln!(
            rows,
            "<tr><td>{}</td><td class=\"number\">{}</td><td class=\"number\">{}</td>\
             <td class=\"number\">{}</td><td class=\"number\">{}</td><td class=\"number\">{}</td>\
             <td class=\"number\">{}{void}</td><td class=\"number\">{}</td>\
             <td><code>{}</code></td></tr>",
            escape(&settings(&case.settings)),
            run.seed,
            or_none(cost.events > 0, number(cost.events as f64)),
            number(cost.wall),
            or_none(cost.events > 0, number(cost.speed())),
            cost.threads,
            number(cost.cpu * 100.0),
            bytes(cost.peak_memory),
            escape(&cost.trace)
        );
    }
    let head = [
        "case",
        "#seed",
        "#events",
        "#wall s",
        "#M events/s/core",
        "#threads",
        "#CPU %",
        "#peak memory",
        "trace hash",
    ];
    if runs.len() > SHORT {
        out.push_str("<details><summary>Every run</summary>\n");
        table(out, &head, &rows);
        out.push_str("</details>\n");
    } else {
        table(out, &head, &rows);
    }
}

/// The command that gives the same again.
pub(super) fn again(out: &mut String, command: &str) {
    if !command.is_empty() {
        let command = escape(command);
        let _ = writeln!(
            out,
            "<h2>Run it again</h2>\n<pre><code>{command}</code></pre>"
        );
    }
}

/// The page of figure 2.23: the figure and its numbers.
pub(super) fn textbook(outcomes: &[Outcome], drawn: &Figure, all: &[Measured]) -> String {
    let mut out = format!(
        "<h1>Figure 2.23, measured</h1>\n<p class=\"under\">{}</p>\n",
        escape(
            "How long it takes to give a file to N peers, from a server alone and peer to peer."
        )
    );
    incomplete(&mut out, outcomes);
    figure(&mut out, drawn, &drawn.provenance);
    out.push_str(
        "<h2>The numbers</h2>\n<p class=\"under\">Hours where F/u = 1 h: the median of \
                  the seeds, with the least and the greatest; ratios are to Eq. 2.1 for \
                  client-server and to LB, the bound with pieces, for peers.</p>\n",
    );
    let mut columns: Vec<(Side, bool)> = all.iter().map(|at| (at.side, at.live)).collect();
    columns.dedup();
    let mut head = vec!["#N".to_string(), "#Eq. 2.1".into(), "#Eq. 2.2".into()];
    for (side, live) in &columns {
        let side = if *side == Side::Peers {
            "P2P"
        } else {
            "client-server"
        };
        let engine = if *live { "live" } else { "sim" };
        head.push(format!("#{side}, {engine}"));
        head.push("#ratio".into());
        if *live {
            head.push("#CPU %".into());
        }
    }
    let mut counts: Vec<usize> = all.iter().map(|at| at.n).collect();
    counts.sort_unstable();
    counts.dedup();
    let mut rows = String::new();
    for n in counts {
        let _ = write!(rows, "<tr><td class=\"number\">{n}</td>");
        for side in [Side::ClientServer, Side::Peers] {
            let _ = write!(rows, "<td class=\"number\">{:.4}</td>", side.bound(n));
        }
        for (side, live) in &columns {
            let at = all
                .iter()
                .find(|at| (at.side, at.live, at.n) == (*side, *live, n));
            let void = if at.is_some_and(Measured::is_void) {
                " <span class=\"bad\">void</span>"
            } else {
                ""
            };
            let hours = at.map_or("–".into(), |at| spread(&at.hours));
            let ratio = at.map_or("–".into(), |at| spread(&at.ratio));
            let _ = write!(
                rows,
                "<td class=\"number\">{hours}</td><td class=\"number\">{ratio}{void}</td>"
            );
            if *live {
                let cpu = at.map_or("–".into(), |at| number((at.cpu * 100.0).round()));
                let _ = write!(rows, "<td class=\"number\">{cpu}</td>");
            }
        }
        rows.push_str("</tr>\n");
    }
    table(&mut out, &head, &rows);
    let mut said: Vec<String> = Vec::new();
    for note in outcomes.iter().flat_map(|outcome| &outcome.notes) {
        if !said.contains(note) {
            said.push(note.clone());
        }
    }
    notes(&mut out, &said);
    let commands: Vec<&str> = outcomes
        .iter()
        .map(|outcome| outcome.replay.as_str())
        .collect();
    again(&mut out, commands.join("\n").trim());
    out
}
