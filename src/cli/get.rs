//! `mainswarm get`: fetches one torrent, tells how it goes, and ends when it is complete.

use std::{path::PathBuf, sync::Arc, time::Duration};

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use mainswarm::{
    metainfo::{FileEntry, Metainfo},
    session::{
        AddTorrent, DhtMode, FileFilter, Phase, TorrentHandle, TorrentSource, TorrentStatus,
    },
    text::printable,
    torrent::{StorageFaultKind, TorrentEvent},
};
use serde::Serialize;
use tokio::{
    sync::{broadcast, watch},
    time::{Instant, MissedTickBehavior, interval, sleep_until},
};

use super::{
    args::{Common, GetArgs},
    exit::{Exit, Failure},
    node::{self, Interrupt, Stay},
    progress::{Circumstances, Meter, plural, reason},
    source::{self, Named},
    ui::Ui,
    units,
};

/// How many names to show when `--select` matches none.
const NAMES_SHOWN: usize = 10;

/// How long the DHT may stay silent before that is worth a word: a lost datagram is repeated by then.
const FRESH: Duration = Duration::from_secs(5);

/// What was fetched, as `--json` prints it.
#[derive(Debug, Serialize)]
struct Report {
    info_hash: String,
    name: String,
    path: PathBuf,
    files: Vec<PathBuf>,
    bytes: u64,
    seconds: f64,
    peers: u64,
    downloaded: u64,
    uploaded: u64,
    wasted: u64,
    pieces: u32,
    pieces_reused: u32,
}

pub(super) async fn run(
    ui: &Ui,
    common: &Common,
    args: GetArgs,
    mut interrupt: Interrupt,
) -> Result<(), Failure> {
    let started = Instant::now();
    let named = source::read(&args.source)?;
    let select = filter(&args.select, &named)?;
    let mut around = Circumstances {
        dht_off: common.no_dht,
        ..Circumstances::default()
    };
    if let Named::File(metainfo) = &named {
        check_selection(metainfo, select.as_ref())?;
        around.private = metainfo.is_private();
    }
    let source = match named {
        Named::File(metainfo) => TorrentSource::Metainfo(metainfo),
        Named::Magnet(magnet) => {
            if magnet.ignored_sources > 0 {
                let count = magnet.ignored_sources;
                ui.note(&format!(
                    "not used: the link's trackers and web seeds ({count})"
                ));
            }
            TorrentSource::Magnet(magnet)
        }
    };

    // A node that stays only for one file is no part of the DHT that others can rely on (BEP 43).
    let dht = if args.seed {
        DhtMode::Full
    } else {
        DhtMode::ReadOnly
    };
    let session = node::start(ui, common, dht, Stay::Brief).await?;
    let mut torrent = AddTorrent::new(source, args.output.clone());
    torrent.peers.clone_from(&common.peer);
    torrent.select.clone_from(&select);
    let handle = session.add(torrent).await?;
    let mut fetch = Fetch {
        started,
        meter: Meter::new(ui),
        status: handle.status(),
        events: handle.events(),
        handle,
        around,
        select,
        deadline: args
            .timeout
            .and_then(|timeout| started.checked_add(timeout)),
        reused: None,
    };
    let outcome = fetch.until_complete(&mut interrupt).await;
    fetch.meter.finish();
    let result = match outcome {
        Ok(()) => fetch.report(ui, &args, started).await,
        Err(failure) => Err(failure),
    };
    let result = match result {
        Ok(()) if args.seed => seed(ui, &fetch.handle, fetch.around, &mut interrupt).await,
        result => result,
    };
    session.shutdown().await;
    result
}

/// One download under way.
struct Fetch {
    started: Instant,
    meter: Meter,
    handle: TorrentHandle,
    status: watch::Receiver<TorrentStatus>,
    events: broadcast::Receiver<TorrentEvent>,
    around: Circumstances,
    select: Option<FileFilter>,
    deadline: Option<Instant>,
    /// Pieces that were on disk already.
    reused: Option<u32>,
}

impl Fetch {
    async fn until_complete(&mut self, interrupt: &mut Interrupt) -> Result<(), Failure> {
        let mut tick = interval(self.meter.interval());
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let handle = self.handle.clone();
        let completed = handle.completed();
        let metainfo = handle.metainfo();
        tokio::pin!(completed, metainfo);
        let mut metainfo_known = false;
        let deadline = self.deadline;
        let timeout = async move {
            match deadline {
                Some(deadline) => sleep_until(deadline).await,
                None => std::future::pending().await,
            }
        };
        tokio::pin!(timeout);
        let mut events_open = true;
        loop {
            tokio::select! {
                biased;
                () = interrupt.wait() => return Err(self.interrupted()),
                found = &mut metainfo, if !metainfo_known => {
                    metainfo_known = true;
                    if let Some(metainfo) = found {
                        check_selection(&metainfo, self.select.as_ref())?;
                        self.around.private = metainfo.is_private();
                    }
                }
                event = self.events.recv(), if events_open => match event {
                    Ok(TorrentEvent::Checked { have }) => self.reused = Some(have),
                    Ok(TorrentEvent::MetadataInvalid { error }) => {
                        let text = format!("the magnet's metadata cannot be used: {error}");
                        return Err(Failure::new(Exit::Invalid, text));
                    }
                    Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => {}
                    Err(broadcast::error::RecvError::Closed) => events_open = false,
                },
                done = &mut completed => {
                    let ended = "the session ended by itself; run the command again to go on";
                    return if done { Ok(()) } else { Err(Failure::new(Exit::Other, ended)) };
                }
                () = &mut timeout => return Err(self.timed_out()),
                _ = tick.tick() => self.look()?,
            }
        }
    }

    /// Shows where things stand; an error if they cannot get better by themselves.
    fn look(&mut self) -> Result<(), Failure> {
        let status = self.status.borrow().clone();
        if self.reused.is_none() && matches!(status.phase, Phase::Downloading | Phase::Seeding) {
            self.reused = Some(status.stats.have);
        }
        if let Phase::Paused(fault) = &status.phase
            && fault.kind != StorageFaultKind::Full
        {
            return Err(Failure::storage(fault));
        }
        let around = Circumstances {
            fresh: self.started.elapsed() < FRESH,
            ..self.around
        };
        self.meter.update(&status, around);
        Ok(())
    }

    fn interrupted(&self) -> Failure {
        let stats = self.status.borrow().stats;
        let have = match stats.pieces {
            0 => "no metadata yet".to_owned(),
            pieces => format!("{} of {pieces} pieces are here", stats.have),
        };
        Failure::interrupted(format!(
            "interrupted: {have}; the same command goes on from there"
        ))
    }

    fn timed_out(&self) -> Failure {
        let status = self.status.borrow().clone();
        let why = reason(&status, self.around);
        match &status.phase {
            Phase::Paused(fault) => Failure::storage(fault),
            Phase::Metadata => {
                let text = format!("no metadata within the time: {why}");
                Failure::new(Exit::NothingFound, text)
            }
            Phase::Downloading if status.stats.handshaken == 0 => Failure::new(
                Exit::NothingFound,
                format!("no peers within the time: {why}"),
            ),
            Phase::Checking(..) => Failure::new(
                Exit::TimedOut,
                "the check of existing data took longer than --timeout; allow more time",
            ),
            Phase::Downloading | Phase::Seeding => {
                let stats = &status.stats;
                let why = match stats.down_rate {
                    1.0.. => format!("at {}", units::rate(stats.down_rate)),
                    _ => why,
                };
                let text = format!(
                    "timed out with {} of {} pieces: {why}; the same command goes on from there",
                    stats.have, stats.pieces
                );
                Failure::new(Exit::TimedOut, text)
            }
        }
    }

    async fn report(&self, ui: &Ui, args: &GetArgs, started: Instant) -> Result<(), Failure> {
        let Some(metainfo) = self.handle.metainfo().await else {
            return Ok(());
        };
        let stats = self.status.borrow().stats;
        let wanted = |(index, file): &(usize, &FileEntry)| {
            !file.is_pad()
                && !file.is_symlink()
                && self
                    .select
                    .as_ref()
                    .is_none_or(|select| select(*index, file))
        };
        let files: Vec<&FileEntry> = metainfo
            .files()
            .iter()
            .enumerate()
            .filter(wanted)
            .map(|(_, file)| file)
            .collect();
        let bytes = files.iter().map(|file| file.len()).sum();
        let path = args.output.join(metainfo.name());
        let paths: Vec<PathBuf> = files.iter().map(|f| args.output.join(f.path())).collect();
        let elapsed = started.elapsed();
        ui.note(&format!(
            "complete: {} verified in {}, {} received from {}",
            units::bytes(bytes),
            units::duration(elapsed),
            units::bytes(stats.downloaded),
            plural(
                usize::try_from(stats.handshaken).unwrap_or(usize::MAX),
                "peer"
            ),
        ));
        if ui.json() {
            return ui.data_json(&Report {
                info_hash: metainfo.info_hash().to_string(),
                name: metainfo.name().to_owned(),
                path,
                files: paths,
                bytes,
                seconds: (elapsed.as_secs_f64() * 1000.0).round() / 1000.0,
                peers: stats.handshaken,
                downloaded: stats.downloaded,
                uploaded: stats.uploaded,
                wasted: stats.wasted,
                pieces: metainfo.geometry().piece_count(),
                pieces_reused: self.reused.unwrap_or(0),
            });
        }
        if self.select.is_none() {
            return ui.data(&path.display().to_string());
        }
        let lines: Vec<String> = paths.iter().map(|p| p.display().to_string()).collect();
        ui.data(&lines.join("\n"))
    }
}

/// Seeds until a signal comes. Shared by `get --seed` and `share`.
pub(super) async fn seed(
    ui: &Ui,
    handle: &TorrentHandle,
    around: Circumstances,
    interrupt: &mut Interrupt,
) -> Result<(), Failure> {
    let mut meter = Meter::new(ui);
    let status = handle.status();
    let mut tick = interval(meter.interval());
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let result = loop {
        tokio::select! {
            () = interrupt.wait() => break Ok(()),
            _ = tick.tick() => {
                let status = status.borrow().clone();
                if let Phase::Paused(fault) = &status.phase {
                    break Err(Failure::storage(fault));
                }
                meter.update(&status, around);
            }
        }
    };
    meter.finish();
    let stats = status.borrow().stats;
    ui.note(&format!("sent {}", units::bytes(stats.uploaded)));
    result
}

/// Which files to fetch: what `--select` says, else what the magnet's `so` says, else all.
fn filter(patterns: &[String], named: &Named) -> Result<Option<FileFilter>, Failure> {
    if !patterns.is_empty() {
        let globs = globs(patterns)?;
        return Ok(Some(Arc::new(move |_, file: &FileEntry| {
            matches(&globs, file)
        })));
    }
    match named {
        Named::Magnet(magnet) if !magnet.select_only.is_empty() => {
            let ranges = magnet.select_only.clone();
            Ok(Some(Arc::new(move |index, _: &FileEntry| {
                let index = u32::try_from(index).unwrap_or(u32::MAX);
                ranges
                    .iter()
                    .any(|(first, last)| (*first..=*last).contains(&index))
            })))
        }
        _ => Ok(None),
    }
}

fn globs(patterns: &[String]) -> Result<GlobSet, Failure> {
    let invalid = |error: globset::Error| {
        Failure::new(
            Exit::Usage,
            format!("--select cannot be read: {error}; write it like '*.pdf' or 'docs/**'"),
        )
    };
    let mut set = GlobSetBuilder::new();
    for pattern in patterns {
        set.add(
            GlobBuilder::new(pattern)
                .literal_separator(true)
                .build()
                .map_err(invalid)?,
        );
    }
    set.build().map_err(invalid)
}

/// Whether a pattern fits the whole path, the path below the torrent's directory, or the file name.
fn matches(globs: &GlobSet, file: &FileEntry) -> bool {
    let path = file.path();
    let mut below = path.components();
    below.next();
    let below = below.as_path();
    let name = path.file_name().unwrap_or_default();
    globs.is_match(path) || globs.is_match(name) || globs.is_match(below)
}

/// A selection of nothing is a mistake, and would be "complete" at once.
fn check_selection(metainfo: &Metainfo, select: Option<&FileFilter>) -> Result<(), Failure> {
    let Some(select) = select else {
        return Ok(());
    };
    let files = || {
        metainfo
            .files()
            .iter()
            .enumerate()
            .filter(|(_, file)| !file.is_pad() && !file.is_symlink())
    };
    if files().any(|(index, file)| select(index, file)) {
        return Ok(());
    }
    let count = files().count();
    let mut text = format!(
        "no file is selected (a whole directory is written 'docs/**'); the torrent holds {}:",
        plural(count, "file")
    );
    for (_, file) in files().take(NAMES_SHOWN) {
        text.push_str("\n  ");
        text.push_str(&printable(file.path().as_os_str().as_encoded_bytes()));
    }
    if count > NAMES_SHOWN {
        text.push_str("\n  …; `mainswarm show` lists all of a .torrent file");
    }
    Err(Failure::new(Exit::Usage, text))
}
