//! Pages, figures and tables of what was run.
//!
//! [`write()`] makes one page of one scenario, [`figure_2_23`] the textbook's figure of distribution
//! times from several runs, [`index()`] a page over many reports. A page needs no network: style and
//! figures are in it, and every figure lies beside it as SVG and PNG. What is drawn is in
//! [`crate::outcome`]; nothing is measured here.

mod axis;
mod engine;
mod figures;
mod files;
mod index;
mod labels;
mod network;
mod page;
mod parameter;
mod plot;
mod svg;
mod swarm;
mod tables;
mod text;
mod textbook;

use std::{
    io,
    path::{Path, PathBuf},
};

use thiserror::Error;

use crate::outcome::Outcome;
use files::File;

/// Why a report was not written.
#[derive(Debug, Error)]
pub enum ReportError {
    /// A file or directory could not be used.
    #[error("cannot {op} {}: {source}; choose a directory that you may write to", .path.display())]
    File {
        /// What was tried: `create`, `write`, `read`, `remove`.
        op: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file of that name is there and no report wrote it.
    #[error("{} is not of a report and would be lost; choose an empty directory", .0.display())]
    Foreign(PathBuf),
    /// Somebody has written into a page.
    #[error(
        "{} was changed since a report wrote it, and the changes would be lost; choose an empty directory",
        .0.display()
    )]
    Edited(PathBuf),
    /// What was read back is not a report's.
    #[error("{} is not a report's: {reason}; run the scenario again with --report", .path.display())]
    NotAReport {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The runs cannot be drawn as figure 2.23.
    #[error("{0}")]
    NotTheFigure(String),
    /// A figure could not be drawn: a defect.
    #[error("cannot draw {figure}: {reason}; without --report the figures are printed")]
    Drawing {
        /// Its name.
        figure: String,
        /// What the library said.
        reason: String,
    },
}

/// The page that [`write()`] writes.
pub const PAGE: &str = "index.html";
/// The page that [`figure_2_23`] writes.
pub const FIGURE_PAGE: &str = "figure-2-23.html";

/// Makes the directory of a report and tries whether a page can be put there, before hours are spent
/// on what is to be written.
pub fn prepare(dir: &Path, page: &str) -> Result<(), ReportError> {
    files::prepare(&dir.join(page), dir)
}

/// Writes `index.html`, `outcome.json`, every figure as `NAME.svg` and `NAME.png` and `captions.txt`
/// with what belongs under them into a directory, and returns the page's path. An earlier report there is replaced, and nothing else.
pub fn write(outcome: &Outcome, dir: &Path) -> Result<PathBuf, ReportError> {
    let drawn = figures::of(outcome)?;
    let mut beside = vec![
        File::json("outcome.json", &outcome.kept())?,
        File::captions(&drawn),
    ];
    for figure in &drawn {
        beside.extend(File::both(figure)?);
    }
    let body = page::scenario(outcome, &drawn);
    files::publish(dir, PAGE, &outcome.scenario, &body, &beside)
}

/// Writes the textbook's figure 2.23 (`figure-2-23.svg`, `.png`, `.html` with the table, `.json`)
/// from runs of both architectures and engines, and returns the page's path.
///
/// A case says its N by a setting or parameter that ends in `.count` (not that of a class called
/// seed: `class.peer.count`) and its side by one that ends in `architecture` (`p2p` or
/// `client-server`). Times are scaled by what the run's own bounds say F/u was.
pub fn figure_2_23(outcomes: &[Outcome], dir: &Path) -> Result<PathBuf, ReportError> {
    let all = textbook::measured(outcomes)?;
    let figure = textbook::figure(outcomes, &all)?;
    let name = textbook::NAME;
    let kept: Vec<Outcome> = outcomes.iter().map(Outcome::without_series).collect();
    let mut beside = vec![File::json(&format!("{name}.json"), &kept)?];
    beside.push(File::captions([&figure]));
    beside.extend(File::both(&figure)?);
    let body = page::textbook(outcomes, &figure, &all);
    files::publish(dir, FIGURE_PAGE, "Figure 2.23", &body, &beside)
}

/// Writes `index.html` into `dir`, a page over the reports in `reports` (directories that [`write()`]
/// or [`figure_2_23`] wrote into), and returns its path. Links are relative.
pub fn index(reports: &[PathBuf], dir: &Path) -> Result<PathBuf, ReportError> {
    files::create(dir)?;
    let body = index::page(reports, dir)?;
    files::publish(dir, "index.html", "All scenarios", &body, &[])
}
