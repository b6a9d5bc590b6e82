//! A page over many reports: every gate of every scenario, with a link to its page.

use std::{
    fmt::Write as _,
    fs,
    path::{Component, Path, PathBuf},
};

use serde::Deserialize;

use crate::outcome::Verdict;

use super::{
    ReportError,
    figures::engine,
    files::failed,
    tables::{Table, VERDICTS, verdict},
    text::{escape, link},
    textbook,
};

/// What the index says of a report. The rest of an outcome is not needed, so that figures which
/// JSON has no number for (they are written as `null`) stand in nobody's way.
#[derive(Deserialize)]
struct Summary {
    scenario: String,
    title: String,
    engine: String,
    verdicts: Vec<Verdict>,
}

/// The page's body; links are relative to `dir`.
pub(super) fn page(reports: &[PathBuf], dir: &Path) -> Result<String, ReportError> {
    let (mut passed, mut failed, mut other) = (0, 0, 0);
    let mut gates = Table::new(&VERDICTS);
    let mut list = Table::new(&["scenario", "what it shows", "engine"]);
    for report in reports {
        for (summary, page) in read(report)? {
            let address = link(&relative(&page, dir)?);
            let linked = |name: &str| format!("<a href=\"{address}\">{}</a>", escape(name));
            list.row(vec![
                linked(&summary.scenario),
                escape(&summary.title),
                escape(engine(&summary.engine)),
            ]);
            for of in &summary.verdicts {
                match of.verdict.as_str() {
                    "pass" | "goal" => passed += 1,
                    "fail" => failed += 1,
                    _ => other += 1,
                }
                gates.row(verdict(of, linked(&of.scenario)));
            }
        }
    }
    let mut out = String::from("<h1>All scenarios</h1>\n");
    let _ = writeln!(
        out,
        "<p class=\"under\">{passed} gate{} held, {failed} not, {other} not run.</p>",
        if passed == 1 { "" } else { "s" }
    );
    out.push_str("<h2>Gates</h2>\n");
    gates.write(&mut out);
    out.push_str("<h2>Reports</h2>\n");
    list.write(&mut out);
    Ok(out)
}

/// What lies in a report's directory: summaries, each with its page.
fn read(report: &Path) -> Result<Vec<(Summary, PathBuf)>, ReportError> {
    let name = textbook::NAME;
    let textbook = report.join(format!("{name}.json"));
    let single = report.join("outcome.json");
    let mut found = Vec::new();
    if single.exists() || !textbook.exists() {
        found.push((parsed(&single)?, report.join("index.html")));
    }
    if textbook.exists() {
        let outcomes: Vec<Summary> = parsed(&textbook)?;
        let page = report.join(format!("{name}.html"));
        found.extend(outcomes.into_iter().map(|outcome| (outcome, page.clone())));
    }
    Ok(found)
}

fn parsed<T: for<'de> Deserialize<'de>>(path: &Path) -> Result<T, ReportError> {
    let bytes = fs::read(path).map_err(|error| ReportError::NotAReport {
        path: path.into(),
        reason: error.to_string(),
    })?;
    serde_json::from_slice(&bytes).map_err(|error| ReportError::NotAReport {
        path: path.into(),
        reason: error.to_string(),
    })
}

/// The way from a directory to a file, with `/` between names.
fn relative(file: &Path, dir: &Path) -> Result<String, ReportError> {
    let file = file.canonicalize().map_err(failed("read", file))?;
    let dir = dir.canonicalize().map_err(failed("read", dir))?;
    let (to, from): (Vec<Component<'_>>, Vec<Component<'_>>) =
        (file.components().collect(), dir.components().collect());
    let common = to.iter().zip(&from).take_while(|(a, b)| a == b).count();
    let up = from[common..].iter().map(|_| "..".to_string());
    let down = to[common..].iter();
    let down = down.map(|part| part.as_os_str().to_string_lossy().into_owned());
    Ok(up.chain(down).collect::<Vec<_>>().join("/"))
}
