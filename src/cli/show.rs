//! `mainswarm show`: what a `.torrent` file or magnet link says.

use std::{fmt::Write as _, path::PathBuf};

use mainswarm::{
    metainfo::{Magnet, Metainfo},
    text::printable,
};
use serde::Serialize;

use super::{
    args::ShowArgs,
    exit::Failure,
    source::{self, Named},
    ui::Ui,
    units,
};

/// A torrent, as `show --json` prints it.
#[derive(Debug, Serialize)]
struct Shown {
    info_hash: String,
    name: Option<String>,
    total_size: Option<u64>,
    #[serde(flatten)]
    torrent: Option<ShownTorrent>,
    #[serde(flatten)]
    magnet: Option<ShownMagnet>,
}

/// What only a `.torrent` file says.
#[derive(Debug, Serialize)]
struct ShownTorrent {
    piece_length: u32,
    pieces: u32,
    files: Vec<ShownFile>,
    private: bool,
    nodes: Vec<String>,
    comment: Option<String>,
    created_by: Option<String>,
    creation_date: Option<i64>,
}

#[derive(Debug, Serialize)]
struct ShownFile {
    path: PathBuf,
    length: u64,
    pad: bool,
    symlink: bool,
}

/// What only a magnet link says.
#[derive(Debug, Serialize)]
struct ShownMagnet {
    peers: Vec<String>,
    /// Inclusive ranges of file indexes.
    select_only: Vec<(u32, u32)>,
    ignored_sources: usize,
}

pub(super) fn run(ui: &Ui, args: &ShowArgs) -> Result<(), Failure> {
    let shown = match source::read(&args.source)? {
        Named::File(metainfo) => shown_torrent(&metainfo),
        Named::Magnet(magnet) => shown_magnet(magnet),
    };
    if ui.json() {
        return ui.data_json(&shown);
    }
    ui.data(readable(&shown).trim_end())
}

fn shown_torrent(metainfo: &Metainfo) -> Shown {
    Shown {
        info_hash: metainfo.info_hash().to_string(),
        name: Some(metainfo.name().to_owned()),
        total_size: Some(metainfo.geometry().total_len()),
        torrent: Some(ShownTorrent {
            piece_length: metainfo.geometry().standard_piece_len(),
            pieces: metainfo.geometry().piece_count(),
            files: metainfo
                .files()
                .iter()
                .map(|file| ShownFile {
                    path: file.path().to_owned(),
                    length: file.len(),
                    pad: file.is_pad(),
                    symlink: file.is_symlink(),
                })
                .collect(),
            private: metainfo.is_private(),
            nodes: metainfo
                .nodes()
                .iter()
                .map(|(host, port)| format!("{host}:{port}"))
                .collect(),
            comment: metainfo.comment().map(str::to_owned),
            created_by: metainfo.created_by().map(str::to_owned),
            creation_date: metainfo.creation_date(),
        }),
        magnet: None,
    }
}

fn shown_magnet(magnet: Magnet) -> Shown {
    let hosts = magnet
        .peer_hosts
        .iter()
        .map(|(host, port)| format!("{host}:{port}"));
    let peers = magnet
        .peers
        .iter()
        .map(ToString::to_string)
        .chain(hosts)
        .collect();
    Shown {
        info_hash: magnet.info_hash.to_string(),
        name: magnet.name,
        total_size: magnet.length,
        torrent: None,
        magnet: Some(ShownMagnet {
            peers,
            select_only: magnet.select_only,
            ignored_sources: magnet.ignored_sources,
        }),
    }
}

fn readable(shown: &Shown) -> String {
    let mut text = String::new();
    let mut row = |key: &str, value: &str| {
        let _ = writeln!(text, "{key:<13} {value}");
    };
    row("info-hash", &shown.info_hash);
    if let Some(name) = &shown.name {
        row("name", &printable(name));
    }
    if let Some(size) = shown.total_size {
        row("size", &format!("{} ({size} bytes)", units::bytes(size)));
    }
    if let Some(magnet) = &shown.magnet {
        for peer in &magnet.peers {
            row("peer", &printable(peer));
        }
        for (first, last) in &magnet.select_only {
            let range = if first == last {
                first.to_string()
            } else {
                format!("{first} to {last}")
            };
            row("selected", &format!("{range} (file index)"));
        }
        if magnet.ignored_sources > 0 {
            let count = magnet.ignored_sources;
            row("not used", &format!("{count} trackers and web seeds"));
        }
    }
    let Some(torrent) = &shown.torrent else {
        return text;
    };
    let piece_len = units::bytes(torrent.piece_length.into());
    row("pieces", &format!("{} of {piece_len}", torrent.pieces));
    row("private", if torrent.private { "yes" } else { "no" });
    for node in &torrent.nodes {
        row("node", &printable(node));
    }
    if let Some(comment) = &torrent.comment {
        row("comment", &printable(comment));
    }
    if let Some(created_by) = &torrent.created_by {
        row("created by", &printable(created_by));
    }
    if let Some(seconds) = torrent.creation_date {
        row("created", &date(seconds));
    }
    let files = torrent
        .files
        .iter()
        .filter(|file| !file.pad && !file.symlink);
    row("files", &files.clone().count().to_string());
    for file in files {
        let path = printable(file.path.as_os_str().as_encoded_bytes());
        let _ = writeln!(text, "{:>12}  {path}", units::bytes(file.length));
    }
    text
}

/// Seconds since 1970 as `2026-11-23 06:18:00 UTC`; numbers that are no date stay numbers.
fn date(seconds: i64) -> String {
    // 9999-12-31.
    if !(0..253_402_300_800).contains(&seconds) {
        return seconds.to_string();
    }
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    // Days since 0000-03-01, so that leap days end a year; 146,097 days are 400 years.
    let days = days + 719_468;
    let era = days / 146_097;
    let day_of_era = days % 146_097;
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = era * 400 + year_of_era + i64::from(month <= 2);
    let (hour, minute) = (second / 3_600, second / 60 % 60);
    format!(
        "{year}-{month:02}-{day:02} {hour:02}:{minute:02}:{:02} UTC",
        second % 60
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates() {
        for (seconds, text) in [
            (0, "1970-01-01 00:00:00 UTC"),
            (951_782_399, "2000-02-28 23:59:59 UTC"),
            (951_782_400, "2000-02-29 00:00:00 UTC"),
            (1_732_342_680, "2024-11-23 06:18:00 UTC"),
            (4_107_542_400, "2100-03-01 00:00:00 UTC"),
            (-1, "-1"),
            (i64::MAX, "9223372036854775807"),
        ] {
            assert_eq!(date(seconds), text);
        }
    }
}
