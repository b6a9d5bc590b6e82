//! The page: verdicts first, then figures, tables, what makes them honest, and how to run it again.

use std::fmt::Write as _;

use sha1::{Digest, Sha1};

use crate::outcome::Outcome;

use super::{
    figures::{Figure, engine, seed_list},
    labels,
    tables::{self, Table, spread},
    text::{escape, link, number},
    textbook::{Measured, Side},
};

/// How a page is known to be a report's, and so may be replaced.
pub(super) const GENERATOR: &str = "<meta name=\"generator\" content=\"mainswarm-testnet\">";

/// A whole page. `files` are those beside it that belong to the same report.
pub(super) fn document(title: &str, files: &[String], body: &str) -> String {
    let page = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n{GENERATOR}\n\
         <meta name=\"files\" content=\"{}\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{}</title>\n<style>\n{}</style>\n</head>\n<body>\n{body}</body>\n</html>\n",
        escape(&files.join(" ")),
        escape(title),
        include_str!("style.css"),
    );
    let marked = format!("{GENERATOR}\n{DIGEST}{}\">", digest(&page));
    page.replacen(GENERATOR, &marked, 1)
}

/// What stands in a page before the digest of its other lines, for words that somebody adds to it
/// must not be lost.
const DIGEST: &str = "<meta name=\"digest\" content=\"";

/// Whether nobody has changed a page since [`document`] made it.
pub(super) fn is_as_written(page: &str) -> bool {
    let mark = page.lines().find(|line| line.starts_with(DIGEST));
    mark.is_some_and(|mark| {
        let rest = page.replacen(&format!("{mark}\n"), "", 1);
        mark == format!("{DIGEST}{}\">", digest(&rest))
    })
}

fn digest(text: &str) -> String {
    let digest = Sha1::digest(text.as_bytes());
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
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
            let _ = writeln!(out, "<p>{}</p>", labels::paragraph(part));
        }
    }
    if !outcome.held_against.is_empty() {
        let against = outcome.held_against.trim().trim_end_matches('.');
        let _ = writeln!(out, "<p>Held against: {}.</p>", escape(against));
    }
    if !outcome.verdicts.is_empty() {
        out.push_str("<h2>Gates</h2>\n");
        tables::verdicts(&mut out, outcome);
        out.push_str(
            "<p class=\"under\">✓ pass: the gate holds. ★ goal: so does the goal, which is stricter. \
             ✗ fail: the gate does not hold, or its figure is missing. ○ not run: no case of this \
             batch is one that the gate is about, or none counts.</p>\n",
        );
    }
    out.push_str("<h2>What was run</h2>\n");
    tables::parameters(&ran(outcome)).write(&mut out);
    tables::defaults(&mut out, &outcome.defaults);
    if !outcome.version.is_empty() {
        let _ = writeln!(out, "<p>Run by {}.</p>", escape(&outcome.version));
    }
    notes(&mut out, &outcome.notes);
    if !figures.is_empty() {
        out.push_str("<h2>Figures</h2>\n");
        for drawn in figures {
            figure(&mut out, drawn, "");
        }
    }
    tables::measured(&mut out, outcome);
    tables::cost(&mut out, outcome);
    again(&mut out, &outcome.replay);
    if outcome.engine == "sim" && !outcome.replay.is_empty() {
        out.push_str(
            "<p>The scenario is kept beside this page; <code>testnet replay</code> on this folder \
             says whether the same comes out.</p>\n",
        );
    }
    out
}

/// What holds in all cases; if there is one case, what is particular to it, too.
fn ran(outcome: &Outcome) -> Vec<(String, String)> {
    let mut all = outcome.parameters.clone();
    if let [case] = &outcome.cases[..] {
        all.retain(|(key, _)| case.settings.iter().all(|(own, _)| own != key));
        all.extend(case.settings.iter().cloned());
    }
    all
}

/// Says above everything else that runs are missing.
fn incomplete(out: &mut String, outcomes: &[Outcome]) {
    let left: usize = outcomes.iter().map(|outcome| outcome.left).sum();
    if left > 0 {
        let _ = writeln!(
            out,
            "<p><span class=\"badge bad\">✗ INCOMPLETE: interrupted, {}</span></p>",
            crate::units::runs_not_made(left)
        );
    }
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
        "<h2>The numbers</h2>\n<p class=\"under\">Times in units of F/u: the median of the seeds, \
         with the least and the greatest; ratios are to Eq. 2.1 for client-server and to LB, the \
         bound with pieces, for peer-to-peer.</p>\n",
    );
    numbers(all).write(&mut out);
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

/// A row for each N: the bounds, and what was measured by each engine with each architecture.
fn numbers(all: &[Measured]) -> Table {
    let mut columns: Vec<(Side, bool)> = all.iter().map(|at| (at.side, at.live)).collect();
    columns.dedup();
    let mut head = vec![
        "#N".to_string(),
        "#Eq. 2.1".into(),
        "#Eq. 2.2".into(),
        "#LB".into(),
    ];
    for (side, live) in &columns {
        let side = match side {
            Side::Peers => "peer-to-peer",
            Side::ClientServer => "client-server",
        };
        let engine = if *live { "live" } else { "simulated" };
        head.push(format!("#{side}, {engine}"));
        head.push("#ratio".into());
        if *live {
            head.push("#CPU [%]".into());
        }
    }
    let mut table = Table::new(&head);
    let mut counts: Vec<usize> = all.iter().map(|at| at.n).collect();
    counts.sort_unstable();
    counts.dedup();
    for n in counts {
        let world = &all[0].world;
        let bounds = [world.client_server(n), world.fluid(n), world.lb(n)];
        let mut row = vec![n.to_string()];
        row.extend(bounds.map(|bound| format!("{bound:.4}")));
        for (side, live) in &columns {
            let at = all
                .iter()
                .find(|at| (at.side, at.live, at.n) == (*side, *live, n));
            let void = match at.is_some_and(Measured::is_void) {
                true => " <span class=\"bad\">void</span>",
                false => "",
            };
            let or_none = |of: Option<String>| of.unwrap_or_else(|| "–".into());
            row.push(or_none(at.map(|at| spread(&at.time))));
            row.push(or_none(at.map(|at| spread(&at.ratio))) + void);
            if *live {
                row.push(or_none(at.map(|at| number((at.cpu * 100.0).round()))));
            }
        }
        table.row(row);
    }
    table
}
