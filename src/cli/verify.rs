//! `mainswarm verify`: compares what lies on disk with a `.torrent` file; read-only.

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use mainswarm::{
    bitfield::Bitfield,
    metainfo::{FileEntry, Metainfo, PieceIndex},
    text::printable,
};
use serde::Serialize;

use super::{
    args::VerifyArgs,
    content::{Span, hash_pieces},
    exit::{Exit, Failure},
    node::Interrupt,
    progress::plural,
    source,
    ui::Ui,
};

/// How a file compares with its torrent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    Ok,
    Missing,
    /// Shorter or longer than it should be, or with wrong bytes.
    Damaged,
    /// Its own bytes may be right: it shares every bad piece with a missing or short file.
    Unverified,
}

/// A verification, as `verify --json` prints it.
#[derive(Debug, Serialize)]
struct Verified {
    info_hash: String,
    ok: bool,
    pieces: u32,
    pieces_ok: u32,
    files: Vec<VerifiedFile>,
}

#[derive(Debug, Serialize)]
struct VerifiedFile {
    path: PathBuf,
    status: Verdict,
}

pub(super) async fn run(
    ui: &Ui,
    args: VerifyArgs,
    mut interrupt: Interrupt,
) -> Result<(), Failure> {
    let metainfo = source::read_file(&args.torrent)?;
    if !args.directory.is_dir() {
        let directory = args.directory.display();
        let text = format!("{directory} is not a directory; name the one that holds the data");
        return Err(Failure::new(Exit::Usage, text));
    }
    let stop = Arc::new(AtomicBool::new(false));
    let mut check = {
        let (ui, metainfo, stop) = (ui.clone(), metainfo.clone(), stop.clone());
        let directory = args.directory.clone();
        tokio::task::spawn_blocking(move || good_pieces(&ui, &metainfo, &directory, &stop))
    };
    let good = tokio::select! {
        good = &mut check => good,
        () = interrupt.wait() => {
            stop.store(true, Ordering::Relaxed);
            let _ = check.await;
            return Err(Failure::interrupted("interrupted before every piece was checked"));
        }
    };
    let good = good.map_err(|error| Failure::new(Exit::Other, error.to_string()))?;
    let verified = judge(&metainfo, &args.directory, &good);
    if ui.json() {
        ui.data_json(&verified)?;
    } else {
        ui.data(&verdict_lines(&verified))?;
    }
    if verified.ok {
        return Ok(());
    }
    let bad = verified
        .files
        .iter()
        .filter(|file| file.status != Verdict::Ok)
        .count();
    let all_missing = verified
        .files
        .iter()
        .all(|file| file.status == Verdict::Missing);
    let advice = if all_missing {
        format!(
            "is {} the directory that holds `{}`?",
            args.directory.display(),
            printable(metainfo.name())
        )
    } else {
        "`mainswarm get` with the same .torrent and --output fetches what is missing".to_owned()
    };
    let files = plural(verified.files.len(), "file");
    let text = format!("{bad} of {files} not as the torrent says; {advice}");
    Err(Failure::new(Exit::Invalid, text))
}

/// Padding and links have no file of their own.
fn is_on_disk(file: &FileEntry) -> bool {
    !file.is_pad() && !file.is_symlink()
}

/// The pieces whose bytes below `directory` have the torrent's hash.
fn good_pieces(ui: &Ui, metainfo: &Metainfo, directory: &Path, stop: &AtomicBool) -> Bitfield {
    let geometry = metainfo.geometry();
    let spans: Vec<Span> = metainfo
        .files()
        .iter()
        .map(|file| Span {
            path: is_on_disk(file).then(|| directory.join(file.path())),
            len: file.len(),
        })
        .collect();
    let good = Mutex::new(Bitfield::empty(geometry.piece_count()));
    let bar = ui.byte_bar(geometry.total_len(), "verifying");
    let each = |piece: PieceIndex, hash: Result<[u8; 20], _>| {
        if hash.is_ok_and(|hash| hash == metainfo.piece_hash(piece)) {
            good.lock()
                .unwrap_or_else(|poisoned| poisoned.into_inner())
                .set(piece.0);
        }
    };
    hash_pieces(&spans, geometry, stop, |bytes| bar.inc(bytes), each);
    bar.finish_and_clear();
    good.into_inner()
        .unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// What the good pieces and the files' lengths say about each file.
fn judge(metainfo: &Metainfo, directory: &Path, good: &Bitfield) -> Verified {
    let geometry = metainfo.geometry();
    let piece_len = u64::from(geometry.standard_piece_len());
    let pieces_of = |offset: u64, len: u64| match len {
        0 => 0..0,
        len => offset / piece_len..(offset + len - 1) / piece_len + 1,
    };
    let is_good = |piece: u64| u32::try_from(piece).is_ok_and(|piece| good.get(piece));
    let files: Vec<_> = metainfo
        .files()
        .iter()
        .filter(|file| is_on_disk(file))
        .collect();
    let on_disk: Vec<Option<u64>> = files
        .iter()
        .map(|file| fs::metadata(directory.join(file.path())).ok())
        .map(|found| found.filter(fs::Metadata::is_file).map(|found| found.len()))
        .collect();
    // Bad pieces that a missing or short file explains.
    let mut explained = Bitfield::empty(geometry.piece_count());
    for (file, found) in files.iter().zip(&on_disk) {
        let have = found.unwrap_or(0);
        if have < file.len() {
            for piece in pieces_of(file.offset() + have, file.len() - have) {
                if let Ok(piece) = u32::try_from(piece) {
                    explained.set(piece);
                }
            }
        }
    }
    let is_explained = |piece: u64| u32::try_from(piece).is_ok_and(|piece| explained.get(piece));
    let verdicts = files.iter().zip(&on_disk).map(|(file, found)| {
        let mut bad = pieces_of(file.offset(), file.len()).filter(|piece| !is_good(*piece));
        let status = match found {
            None => Verdict::Missing,
            Some(len) if *len != file.len() => Verdict::Damaged,
            Some(_) => match bad.next() {
                None => Verdict::Ok,
                Some(first) if is_explained(first) && bad.all(is_explained) => Verdict::Unverified,
                Some(_) => Verdict::Damaged,
            },
        };
        VerifiedFile {
            path: file.path().to_owned(),
            status,
        }
    });
    let files: Vec<VerifiedFile> = verdicts.collect();
    Verified {
        info_hash: metainfo.info_hash().to_string(),
        ok: good.is_full() && files.iter().all(|file| file.status == Verdict::Ok),
        pieces: geometry.piece_count(),
        pieces_ok: good.count_ones(),
        files,
    }
}

fn verdict_lines(verified: &Verified) -> String {
    let mut text = String::new();
    for file in &verified.files {
        let status = match file.status {
            Verdict::Ok => "ok",
            Verdict::Missing => "missing",
            Verdict::Damaged => "damaged",
            Verdict::Unverified => "unverified",
        };
        let path = printable(file.path.as_os_str().as_encoded_bytes());
        let _ = writeln!(text, "{status:<10}  {path}");
    }
    let _ = write!(
        text,
        "{} of {} pieces ok",
        verified.pieces_ok, verified.pieces
    );
    text
}
