//! `mainswarm create`, and what `share` does first: hashes files and describes them as a torrent.

use std::{
    ffi::{OsStr, OsString},
    fs, io,
    path::{Path, PathBuf},
    process,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{SystemTime, UNIX_EPOCH},
};

use mainswarm::metainfo::{
    Geometry, Metainfo, PieceIndex,
    create::{CreateError, TorrentBuilder},
};
use serde::Serialize;

use super::{
    args::CreateArgs,
    content::{Span, hash_pieces, walk},
    exit::{Exit, Failure},
    node::Interrupt,
    ui::Ui,
    units,
};

/// What to make a torrent of, and how.
#[derive(Debug, Clone)]
pub(super) struct Recipe {
    pub path: PathBuf,
    pub name: Option<String>,
    pub piece_size: Option<u32>,
    pub private: bool,
    pub comment: Option<String>,
    /// A file that is left out although it lies among the others: the one being written.
    pub exclude: Option<PathBuf>,
}

/// A torrent made of files on disk.
#[derive(Debug)]
pub(super) struct Made {
    pub metainfo: Arc<Metainfo>,
    /// The directory that `metainfo`'s paths are relative to.
    pub output_dir: PathBuf,
    /// What the torrent's file or directory is called there, if not by its name.
    pub root: Option<OsString>,
}

/// A torrent, as `--json` prints it after it was made.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    pub info_hash: String,
    pub name: String,
    pub magnet: String,
    pub bytes: u64,
    pub piece_length: u32,
    pub pieces: u32,
    pub files: usize,
    /// Where the `.torrent` file was written.
    pub torrent: Option<PathBuf>,
}

impl Report {
    pub(super) fn new(metainfo: &Metainfo, torrent: Option<PathBuf>) -> Self {
        let geometry = metainfo.geometry();
        Self {
            info_hash: metainfo.info_hash().to_string(),
            name: metainfo.name().to_owned(),
            magnet: metainfo.magnet().to_string(),
            bytes: geometry.total_len(),
            piece_length: geometry.standard_piece_len(),
            pieces: geometry.piece_count(),
            files: metainfo.files().len(),
            torrent,
        }
    }
}

/// `mainswarm create`.
pub(super) async fn run(ui: &Ui, args: CreateArgs, interrupt: Interrupt) -> Result<(), Failure> {
    check_output(&args.output, args.force)?;
    let recipe = Recipe {
        path: args.path,
        name: args.name,
        piece_size: args.piece_size,
        private: args.private,
        comment: args.comment,
        exclude: Some(args.output.clone()),
    };
    let made = make(ui, recipe, interrupt).await?;
    write_atomically(&args.output, &made.metainfo.to_torrent())?;
    let report = Report::new(&made.metainfo, Some(args.output));
    if ui.json() {
        ui.data_json(&report)
    } else {
        ui.data(&report.info_hash)
    }
}

/// Hashes what the recipe names, with a progress bar, until done or interrupted.
pub(super) async fn make(
    ui: &Ui,
    recipe: Recipe,
    mut interrupt: Interrupt,
) -> Result<Made, Failure> {
    let stop = Arc::new(AtomicBool::new(false));
    let mut work = {
        let (ui, stop) = (ui.clone(), stop.clone());
        tokio::task::spawn_blocking(move || make_blocking(&ui, recipe, &stop))
    };
    tokio::select! {
        made = &mut work => {
            made.map_err(|error| Failure::new(Exit::Other, format!("hashing failed: {error}")))?
        }
        () = interrupt.wait() => {
            stop.store(true, Ordering::Relaxed);
            let _ = work.await;
            Err(Failure::interrupted("interrupted before every file was hashed"))
        }
    }
}

fn make_blocking(ui: &Ui, recipe: Recipe, stop: &AtomicBool) -> Result<Made, Failure> {
    let root = fs::canonicalize(&recipe.path)
        .map_err(|error| Failure::unreadable(&recipe.path, &error))?;
    let (Some(output_dir), Some(on_disk)) = (root.parent(), root.file_name()) else {
        let text = "a whole file system cannot be shared; name a directory in it";
        return Err(Failure::new(Exit::Usage, text));
    };
    let name = torrent_name(&recipe, on_disk)?;
    let found = walk(ui, &root, recipe.exclude.as_deref())?;
    let builder = match &found[..] {
        [(path, len)] if path.as_os_str().is_empty() => TorrentBuilder::file(&name, *len),
        _ => TorrentBuilder::directory(&name, found),
    };
    let builder = match recipe.piece_size {
        Some(piece_len) => builder.and_then(|builder| builder.piece_len(piece_len)),
        None => builder,
    };
    let builder = builder.map_err(refused)?;
    let paths = if root.is_dir() {
        let files = builder.files().iter();
        files.map(|(path, len)| (root.join(path), *len)).collect()
    } else {
        vec![(root.clone(), builder.geometry().total_len())]
    };
    let hashes = hash(ui, paths, builder.geometry(), stop)?;
    let metainfo = builder
        .private(recipe.private)
        .comment(recipe.comment)
        .created_by(Some(
            concat!("mainswarm ", env!("CARGO_PKG_VERSION")).to_owned(),
        ))
        .creation_date(unix_time())
        .build(&hashes)
        .map_err(refused)?;
    Ok(Made {
        output_dir: output_dir.to_owned(),
        root: (on_disk != metainfo.name()).then(|| on_disk.to_owned()),
        metainfo: Arc::new(metainfo),
    })
}

fn refused(error: CreateError) -> Failure {
    Failure::new(Exit::Usage, error.to_string())
}

/// The name to give: the user's, or what the user called the path, links not followed.
fn torrent_name(recipe: &Recipe, on_disk: &OsStr) -> Result<String, Failure> {
    if let Some(name) = &recipe.name {
        return Ok(name.clone());
    }
    let name = recipe.path.file_name().unwrap_or(on_disk);
    name.to_str().map(str::to_owned).ok_or_else(|| {
        let path = recipe.path.display();
        let text = format!("the name of {path} is not UTF-8; give another with --name");
        Failure::new(Exit::Usage, text)
    })
}

/// The hash of every piece in order.
fn hash(
    ui: &Ui,
    files: Vec<(PathBuf, u64)>,
    geometry: Geometry,
    stop: &AtomicBool,
) -> Result<Vec<[u8; 20]>, Failure> {
    let total = geometry.total_len();
    let spans: Vec<Span> = files
        .into_iter()
        .map(|(path, len)| Span {
            path: Some(path),
            len,
        })
        .collect();
    let hashes = Mutex::new((vec![[0; 20]; geometry.piece_count() as usize], None));
    let bar = ui.byte_bar(total, "hashing");
    let each = |piece: PieceIndex, hash| {
        let (hashes, failed) = &mut *hashes
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        match hash {
            Ok(hash) => hashes[piece.as_usize()] = hash,
            Err(error) => {
                failed.get_or_insert(error);
                stop.store(true, Ordering::Relaxed);
            }
        }
    };
    hash_pieces(&spans, geometry, stop, |bytes| bar.inc(bytes), each);
    bar.finish_and_clear();
    let (hashes, failed) = hashes
        .into_inner()
        .unwrap_or_else(|poisoned| poisoned.into_inner());
    if let Some(failed) = failed {
        let path = spans[failed.file].path.as_deref().unwrap_or(Path::new(""));
        if failed.error.kind() == io::ErrorKind::UnexpectedEof {
            let path = path.display();
            let text = format!("{path} became shorter while it was hashed; run the command again");
            return Err(Failure::new(Exit::Usage, text));
        }
        return Err(Failure::unreadable(path, &failed.error));
    }
    if stop.load(Ordering::Relaxed) {
        return Err(Failure::interrupted(
            "interrupted before every file was hashed",
        ));
    }
    ui.note(&format!(
        "hashed {} in {} pieces of {}",
        units::bytes(total),
        geometry.piece_count(),
        units::bytes(geometry.standard_piece_len().into())
    ));
    Ok(hashes)
}

/// Seconds since 1970, for the torrent's `creation date`.
fn unix_time() -> Option<i64> {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
    i64::try_from(elapsed.as_secs()).ok()
}

/// Refuses before the work what would fail after it: a file that exists, unless it shall be
/// replaced, and a directory that does not.
pub(super) fn check_output(path: &Path, force: bool) -> Result<(), Failure> {
    if path.is_dir() {
        let path = path.display();
        let text = format!("{path} is a directory; name the .torrent file to write");
        return Err(Failure::new(Exit::Usage, text));
    }
    if !force && path.symlink_metadata().is_ok() {
        let path = path.display();
        let text = format!("{path} exists; use --force to replace it, or name another file");
        return Err(Failure::new(Exit::Usage, text));
    }
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    match fs::metadata(directory) {
        Ok(found) if found.is_dir() => Ok(()),
        Ok(_) => Err(Failure::unwritable(
            path,
            &io::ErrorKind::NotADirectory.into(),
        )),
        Err(error) => Err(Failure::unwritable(path, &error)),
    }
}

/// Writes a whole file or nothing: a temporary file beside it, then a rename.
pub(super) fn write_atomically(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(format!(".{}.tmp", process::id()));
    let temporary = PathBuf::from(temporary);
    let written = fs::File::create(&temporary).and_then(|mut file| {
        io::Write::write_all(&mut file, bytes)?;
        file.sync_all()
    });
    written
        .and_then(|()| fs::rename(&temporary, path))
        .map_err(|error| {
            let _ = fs::remove_file(&temporary);
            Failure::unwritable(path, &error)
        })
}
