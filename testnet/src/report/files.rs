//! A report's files: written so that an earlier report is replaced and nothing else is touched.
//!
//! A page lists the files that belong to it. Where a page of ours lies, those may be replaced or
//! removed; any other file that is in the way is somebody's, and an error.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde::Serialize;

use super::{ReportError, figures::Figure, page, svg};

/// A file to be written beside a page.
pub(super) struct File {
    name: String,
    bytes: Vec<u8>,
}

impl File {
    /// A value to be read back.
    pub(super) fn json(name: &str, value: &impl Serialize) -> Result<Self, ReportError> {
        let json = serde_json::to_vec(value).map_err(|error| ReportError::Drawing {
            figure: name.into(),
            reason: error.to_string(),
        })?;
        Ok(Self {
            name: name.into(),
            bytes: json,
        })
    }

    /// What stands under each figure where it stands alone.
    pub(super) fn captions<'a>(figures: impl IntoIterator<Item = &'a Figure>) -> Self {
        let captions = figures.into_iter().map(|figure| {
            let (name, title, caption) = (&figure.name, &figure.title, figure.caption());
            format!("{name}: {title}. {caption}\n")
        });
        Self {
            name: "captions.txt".into(),
            bytes: captions.collect::<Vec<_>>().join("\n").into_bytes(),
        }
    }

    /// A figure's two.
    pub(super) fn both(figure: &Figure) -> Result<[Self; 2], ReportError> {
        let svg = figure.drawing.standalone(&figure.title, &figure.caption());
        let png = svg::png(&figure.name, &svg)?;
        Ok([
            Self {
                name: format!("{}.svg", figure.name),
                bytes: svg.into_bytes(),
            },
            Self {
                name: format!("{}.png", figure.name),
                bytes: png,
            },
        ])
    }
}

/// Makes a directory and those above it.
pub(super) fn create(dir: &Path) -> Result<(), ReportError> {
    fs::create_dir_all(dir).map_err(failed("create", dir))
}

/// Makes the directory, and sees that a page there may be replaced and files can be written.
pub(super) fn prepare(page: &Path, dir: &Path) -> Result<(), ReportError> {
    create(dir)?;
    earlier(page)?;
    let probe = dir.join(format!(".testnet-{}", std::process::id()));
    put(&probe, b"")?;
    fs::remove_file(&probe).map_err(failed("remove", &probe))
}

/// Writes a page and what is beside it; removes what an earlier page of that name had and this one
/// has not.
pub(super) fn publish(
    dir: &Path,
    name: &str,
    title: &str,
    body: &str,
    beside: &[File],
) -> Result<PathBuf, ReportError> {
    create(dir)?;
    let path = dir.join(name);
    let earlier = earlier(&path)?;
    for file in beside {
        let ours = earlier
            .as_ref()
            .is_some_and(|names| names.contains(&file.name));
        let place = dir.join(&file.name);
        if !ours && place.exists() {
            return Err(ReportError::Foreign(place));
        }
    }
    let names: Vec<String> = beside.iter().map(|file| file.name.clone()).collect();
    for old in earlier.iter().flatten().filter(|old| !names.contains(old)) {
        let place = dir.join(old);
        if place.exists() {
            fs::remove_file(&place).map_err(failed("remove", &place))?;
        }
    }
    // The page first: it is whole by itself, and it says which files are ours if we stop half-way.
    put(&path, page::document(title, &names, body).as_bytes())?;
    for file in beside {
        put(&dir.join(&file.name), &file.bytes)?;
    }
    Ok(path)
}

/// The files of the page that is there, if it is ours; an error if it is somebody else's.
fn earlier(page: &Path) -> Result<Option<Vec<String>>, ReportError> {
    let bytes = match fs::read(page) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed("read", page)(error)),
    };
    let html = String::from_utf8_lossy(&bytes);
    if !html.contains(page::GENERATOR) {
        return Err(ReportError::Foreign(page.into()));
    }
    if !page::is_as_written(&html) {
        return Err(ReportError::Edited(page.into()));
    }
    let listed = html
        .split_once("<meta name=\"files\" content=\"")
        .and_then(|(_, rest)| rest.split_once('"'))
        .map_or("", |(names, _)| names);
    // Only plain names: an edited page must not have files elsewhere removed.
    let plain = |name: &&str| {
        !name.starts_with('.')
            && name
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-.".contains(&byte))
    };
    Ok(Some(
        listed.split(' ').filter(plain).map(String::from).collect(),
    ))
}

fn put(path: &Path, bytes: &[u8]) -> Result<(), ReportError> {
    fs::write(path, bytes).map_err(failed("write", path))
}

/// The error of an operation on a file.
pub(super) fn failed(op: &'static str, path: &Path) -> impl Fn(std::io::Error) -> ReportError {
    let path = path.to_path_buf();
    move |source| ReportError::File {
        op,
        path: path.clone(),
        source,
    }
}
