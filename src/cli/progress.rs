//! How a torrent goes, in words: a redrawn line on a terminal, a line now and then elsewhere, and
//! while nothing comes, why.

use std::time::{Duration, Instant};

use indicatif::ProgressBar;
use mainswarm::session::{Phase, TorrentStatus};

use super::{
    ui::{Ui, style},
    units,
};

/// What the status alone does not tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Circumstances {
    /// The DHT is not used at all.
    pub dht_off: bool,
    /// The torrent is private: the DHT is not used for it.
    pub private: bool,
    /// The search has just begun: that nobody has answered says nothing yet.
    pub fresh: bool,
}

/// Shows one torrent's progress on stderr.
#[derive(Debug)]
pub(super) struct Meter {
    ui: Ui,
    bar: ProgressBar,
    stage: Stage,
    next_line: Instant,
}

/// What is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Waiting,
    Checking,
    Downloading,
    Seeding,
    Paused,
}

impl Stage {
    fn of(status: &TorrentStatus) -> Self {
        match &status.phase {
            Phase::Metadata => Self::Waiting,
            Phase::Checking(..) => Self::Checking,
            Phase::Downloading if status.stats.down_rate < 1.0 => Self::Waiting,
            Phase::Downloading => Self::Downloading,
            Phase::Seeding => Self::Seeding,
            Phase::Paused(_) => Self::Paused,
        }
    }

    /// How often it is worth a line where nothing can be redrawn.
    fn line_interval(self) -> Duration {
        Duration::from_secs(match self {
            Self::Downloading | Self::Checking => 5,
            Self::Waiting => 10,
            Self::Seeding | Self::Paused => 60,
        })
    }
}

impl Meter {
    pub(super) fn new(ui: &Ui) -> Self {
        Self {
            ui: ui.clone(),
            bar: ui.status_line(),
            stage: Stage::Waiting,
            // Quick ends need no line.
            next_line: Instant::now() + Duration::from_secs(2),
        }
    }

    /// How often to call [`Self::update`].
    pub(super) fn interval(&self) -> Duration {
        Duration::from_millis(if self.ui.live() { 200 } else { 1_000 })
    }

    pub(super) fn update(&mut self, status: &TorrentStatus, around: Circumstances) {
        let stage = Stage::of(status);
        let text = describe(status, around);
        if self.ui.live() {
            self.redraw(status, stage, text);
        } else {
            let now = Instant::now();
            let changed = stage != self.stage && stage == Stage::Paused;
            if now >= self.next_line || changed {
                self.ui.note(&text);
                self.next_line = now + stage.line_interval();
            }
        }
        self.stage = stage;
    }

    fn redraw(&self, status: &TorrentStatus, stage: Stage, text: String) {
        let (done, total) = match &status.phase {
            Phase::Checking(done, total) => (u64::from(*done), u64::from(*total)),
            _ => {
                let wanted = status.stats.bytes_wanted;
                (wanted.saturating_sub(status.stats.bytes_left), wanted)
            }
        };
        if stage != self.stage {
            self.bar.set_style(style(match stage {
                Stage::Checking | Stage::Downloading => "{bar:16} {wide_msg}",
                Stage::Waiting | Stage::Seeding | Stage::Paused => "{spinner} {wide_msg}",
            }));
        }
        self.bar.set_length(total);
        self.bar.set_position(done);
        self.bar.set_message(text);
    }

    /// Takes the line away.
    pub(super) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

/// How a torrent stands, in one line.
pub(super) fn describe(status: &TorrentStatus, around: Circumstances) -> String {
    let stats = &status.stats;
    match &status.phase {
        Phase::Checking(done, total) => format!("checking existing data: {done}/{total} pieces"),
        Phase::Paused(fault) => format!("paused: {}", fault.text),
        Phase::Seeding => format!(
            "seeding to {} · {} up · {} sent{}",
            plural(stats.peers, "peer"),
            units::rate(stats.up_rate),
            units::bytes(stats.uploaded),
            announced(status, around),
        ),
        Phase::Metadata => match stats.metadata {
            Some((got, of)) if got > 0 => format!(
                "metadata: {} of {} · {}",
                units::bytes(got.into()),
                units::bytes(of.into()),
                search(status)
            ),
            _ => format!("looking for metadata: {}", reason(status, around)),
        },
        Phase::Downloading => {
            let percent = percent(stats.bytes_wanted, stats.bytes_left);
            let done = format!("{}/{} pieces · {percent:.1}%", stats.have, stats.pieces);
            if Stage::of(status) == Stage::Waiting {
                return format!("{done} · waiting: {}", reason(status, around));
            }
            let eta = Duration::try_from_secs_f64(stats.bytes_left as f64 / stats.down_rate)
                .map_or_else(|_| "unknown".to_owned(), units::duration);
            format!(
                "{done} · {} down · ETA {eta} · {} up · from {} of {}",
                units::rate(stats.down_rate),
                units::rate(stats.up_rate),
                stats.unchoked_by,
                plural(stats.peers, "peer"),
            )
        }
    }
}

/// Why nothing comes, what to do, and the counts behind it.
pub(super) fn reason(status: &TorrentStatus, around: Circumstances) -> String {
    format!("{} ({})", diagnosis(status, around), search(status))
}

fn diagnosis(status: &TorrentStatus, around: Circumstances) -> &'static str {
    let stats = &status.stats;
    let no_dht = around.dht_off || around.private;
    if stats.peers > 0 {
        return match (&status.phase, stats.unchoked_by) {
            (Phase::Metadata, _) => "peers are connected, none has sent the metadata yet",
            (_, 0) => "peers are connected, none gives us an upload slot yet",
            _ => "peers are connected, none sends what is missing",
        };
    }
    if stats.dialling > 0 {
        return "dialling peers";
    }
    if stats.handshaken > 0 {
        return "all peers have gone; somebody who has the file must come back";
    }
    if stats.dialled > 0 {
        return "no peer answered; they may have gone, or sit behind a firewall";
    }
    if no_dht {
        return if around.private {
            "the torrent is private, so its peers are not looked for; name one with --peer"
        } else {
            "the DHT is off and no peer is known; name one with --peer, or drop --no-dht"
        };
    }
    if status.dht_nodes == 0 && status.lookups.replied == 0 {
        if around.fresh {
            return "joining the DHT";
        }
        return "no DHT node answers; check that UDP gets out, or name one with --bootstrap";
    }
    if status.lookups_done == 0 {
        return "asking the DHT for peers";
    }
    "nobody has announced this torrent; check the link, or that somebody shares it"
}

/// The counts of the search for peers.
fn search(status: &TorrentStatus) -> String {
    let (stats, lookups) = (&status.stats, &status.lookups);
    format!(
        "{} known; {}: {} asked, {} replied, {} found; {} dialled, {} shook hands, unchoked by {}",
        plural(status.dht_nodes, "node"),
        plural(status.lookups_done as usize, "lookup"),
        lookups.asked,
        lookups.replied,
        plural(lookups.peers as usize, "peer"),
        stats.dialled,
        stats.handshaken,
        stats.unchoked_by,
    )
}

fn announced(status: &TorrentStatus, around: Circumstances) -> String {
    if around.private {
        " · private: not announced".to_owned()
    } else if around.dht_off {
        " · DHT off: not announced".to_owned()
    } else if status.lookups.announced > 0 {
        let nodes = plural(status.dht_nodes, "DHT node");
        format!(
            " · announced to {}, {nodes} known",
            status.lookups.announced
        )
    } else {
        format!(
            " · not announced yet ({} known)",
            plural(status.dht_nodes, "DHT node")
        )
    }
}

fn percent(wanted: u64, left: u64) -> f64 {
    if wanted == 0 {
        return 100.0;
    }
    let percent = wanted.saturating_sub(left) as f64 * 100.0 / wanted as f64;
    // 100.0% is for what is complete.
    if left > 0 { percent.min(99.9) } else { percent }
}

/// `1 peer`, `2 peers`.
pub(super) fn plural(count: usize, thing: &str) -> String {
    let s = if count == 1 { "" } else { "s" };
    format!("{count} {thing}{s}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(phase: Phase, change: impl FnOnce(&mut TorrentStatus)) -> TorrentStatus {
        let mut status = TorrentStatus::default();
        status.phase = phase;
        change(&mut status);
        status
    }

    /// Circumstances, phase, what else is so, and what is said.
    type Row = (Circumstances, Phase, fn(&mut TorrentStatus), &'static str);

    #[test]
    fn waiting_has_a_reason_for_every_stage_of_the_search() {
        let open = Circumstances::default();
        let off = Circumstances {
            dht_off: true,
            ..open
        };
        let private = Circumstances {
            private: true,
            ..open
        };
        let fresh = Circumstances {
            fresh: true,
            ..open
        };
        let rows: [Row; 11] = [
            (fresh, Phase::Metadata, |_| {}, "joining the DHT"),
            (open, Phase::Metadata, |_| {}, "no DHT node answers"),
            (off, Phase::Metadata, |_| {}, "the DHT is off"),
            (
                private,
                Phase::Downloading,
                |_| {},
                "the torrent is private",
            ),
            (open, Phase::Metadata, |s| s.dht_nodes = 5, "asking the DHT"),
            (
                open,
                Phase::Metadata,
                |s| (s.dht_nodes, s.lookups_done) = (5, 1),
                "nobody has announced",
            ),
            (off, Phase::Metadata, |s| s.stats.dialling = 1, "dialling"),
            (
                off,
                Phase::Metadata,
                |s| s.stats.dialled = 3,
                "no peer answered",
            ),
            (
                open,
                Phase::Downloading,
                |s| (s.stats.dialled, s.stats.handshaken) = (3, 1),
                "all peers have gone",
            ),
            (
                open,
                Phase::Metadata,
                |s| s.stats.peers = 1,
                "none has sent the metadata",
            ),
            (
                open,
                Phase::Downloading,
                |s| s.stats.peers = 1,
                "none gives us an upload slot",
            ),
        ];
        for (around, phase, change, why) in rows {
            let text = describe(&status(phase, change), around);
            assert!(text.contains(why), "{why}: {text}");
        }
    }

    #[test]
    fn a_download_in_one_line() {
        let downloading = status(Phase::Downloading, |status| {
            let stats = &mut status.stats;
            (stats.have, stats.pieces) = (999, 1_000);
            (stats.bytes_left, stats.bytes_wanted) = (1 << 20, 10_000 << 20);
            (stats.down_rate, stats.peers, stats.unchoked_by) = ((1 << 19) as f64, 3, 2);
        });
        assert_eq!(
            describe(&downloading, Circumstances::default()),
            "999/1000 pieces · 99.9% · 512.0 KiB/s down · ETA 2.0 s · 0 B/s up · from 2 of 3 peers"
        );
        assert_eq!(percent(0, 0), 100.0);
    }
}
