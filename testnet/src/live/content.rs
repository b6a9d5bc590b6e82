//! The file of a live swarm: made once, with its torrent, and compared with every copy at the end.

use std::{
    fs::{self, File},
    io::{self, BufReader, Read, Write},
    path::{Path, PathBuf},
};

use mainswarm::metainfo::{
    BLOCK_LEN,
    create::{PieceHasher, TorrentBuilder},
};
use rand::{Rng, SeedableRng, rngs::StdRng};
use tempfile::TempDir;

use super::LiveError;
use crate::scenario::SwarmPlan;

/// The file's name in the torrent.
const NAME: &str = "file.bin";

/// A folder with the file, its torrent, and room for copies. Dropping it removes them all.
#[derive(Debug)]
pub(super) struct Content {
    dir: TempDir,
}

impl Content {
    /// Makes the file, drawn from `seed`, where `copies` more of it fit.
    pub(super) fn make(
        plan: &SwarmPlan,
        seed: u64,
        parent: Option<&Path>,
        copies: usize,
    ) -> Result<Self, LiveError> {
        let place = parent.map_or_else(std::env::temp_dir, Path::to_owned);
        let needed = plan.file_len().saturating_mul(copies as u64 + 1);
        if let Some(free) = free_space(&place)
            && free < needed.saturating_add(needed / 20)
        {
            let dir = place;
            return Err(LiveError::Space { dir, needed, free });
        }
        let dir = workdir(parent)?;
        let content = Self { dir };
        let builder = TorrentBuilder::file(NAME, plan.file_len())?.piece_len(plan.piece_len)?;
        let hashes = content
            .write(plan, seed)
            .map_err(|source| content.error(NAME, source))?;
        let torrent = builder.build(&hashes)?.to_torrent();
        fs::write(content.torrent(), torrent)
            .map_err(|source| content.error("file.torrent", source))?;
        Ok(content)
    }

    /// The `.torrent` file.
    pub(super) fn torrent(&self) -> PathBuf {
        self.dir.path().join("file.torrent")
    }

    /// The folder that holds the file.
    pub(super) fn original(&self) -> &Path {
        self.dir.path()
    }

    /// The folder for a node's copy.
    pub(super) fn home(&self, node: usize) -> PathBuf {
        self.dir.path().join(format!("node-{node}"))
    }

    /// A copy with a bit of every block wrong, for a node that deceives.
    pub(super) fn spoil(&self, node: usize) -> Result<PathBuf, LiveError> {
        let home = self.home(node);
        let spoil = || {
            fs::create_dir_all(&home)?;
            let mut from = File::open(self.dir.path().join(NAME))?;
            let mut to = File::create(home.join(NAME))?;
            let mut block = Vec::with_capacity(BLOCK_LEN as usize);
            loop {
                block.clear();
                (&mut from)
                    .take(u64::from(BLOCK_LEN))
                    .read_to_end(&mut block)?;
                let Some(first) = block.first_mut() else {
                    return Ok(());
                };
                *first ^= 1;
                to.write_all(&block)?;
            }
        };
        spoil().map_err(|source| self.error(NAME, source))?;
        Ok(home)
    }

    /// Compares a node's copy with the file, byte by byte, and removes it.
    pub(super) fn check(&self, node: usize) -> Result<bool, LiveError> {
        let home = self.home(node);
        let same = same_bytes(&self.dir.path().join(NAME), &home.join(NAME));
        let same = same.map_err(|source| LiveError::File {
            path: home.join(NAME),
            source,
        })?;
        // What is left is removed with the whole folder.
        let _ = fs::remove_dir_all(home);
        Ok(same)
    }

    fn write(&self, plan: &SwarmPlan, seed: u64) -> io::Result<Vec<[u8; 20]>> {
        let mut hasher = PieceHasher::new(plan.piece_len);
        let mut file = File::create(self.dir.path().join(NAME))?;
        let mut random = StdRng::seed_from_u64(seed);
        let mut piece = vec![0; plan.piece_len as usize];
        for _ in 0..plan.pieces {
            random.fill_bytes(&mut piece);
            file.write_all(&piece)?;
            hasher.update(&piece);
        }
        Ok(hasher.finish())
    }

    fn error(&self, name: &str, source: io::Error) -> LiveError {
        LiveError::File {
            path: self.dir.path().join(name),
            source,
        }
    }
}

/// What our folders are called, before the process id.
const PREFIX: &str = "mainswarm-live-";

/// A folder for a run, removed when it is dropped. Those that runs left which were killed are
/// removed first.
pub(super) fn workdir(parent: Option<&Path>) -> Result<TempDir, LiveError> {
    let parent = parent.map_or_else(std::env::temp_dir, Path::to_owned);
    for entry in fs::read_dir(&parent).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let rest = name.to_str().and_then(|name| name.strip_prefix(PREFIX));
        let maker = rest.and_then(|rest| rest.split_once('-'));
        if let Some((pid, _)) = maker
            && pid.parse::<u32>().is_ok()
            && Path::new("/proc/self").exists()
            && !Path::new("/proc").join(pid).exists()
        {
            // Another user's stays.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
    let prefix = format!("{PREFIX}{}-", std::process::id());
    let dir = tempfile::Builder::new().prefix(&prefix).tempdir_in(&parent);
    dir.map_err(|source| LiveError::File {
        path: parent,
        source,
    })
}

#[cfg(unix)]
fn free_space(dir: &Path) -> Option<u64> {
    let stat = rustix::fs::statvfs(dir).ok()?;
    Some(stat.f_bavail.saturating_mul(stat.f_frsize))
}

#[cfg(not(unix))]
fn free_space(_dir: &Path) -> Option<u64> {
    None
}

const CHUNK: usize = 1 << 20;

/// Whether two files are equal.
pub(crate) fn same_bytes(left: &Path, right: &Path) -> io::Result<bool> {
    let (left, right) = (File::open(left)?, File::open(right)?);
    if left.metadata()?.len() != right.metadata()?.len() {
        return Ok(false);
    }
    let mut left = BufReader::with_capacity(CHUNK, left);
    let mut right = BufReader::with_capacity(CHUNK, right);
    let (mut a, mut b) = (vec![0; CHUNK], vec![0; CHUNK]);
    loop {
        let len = left.read(&mut a)?;
        if len == 0 {
            return Ok(true);
        }
        right.read_exact(&mut b[..len])?;
        if a[..len] != b[..len] {
            return Ok(false);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan() -> SwarmPlan {
        SwarmPlan {
            pieces: 3,
            piece_len: 64 * 1024,
            ..SwarmPlan::default()
        }
    }

    #[test]
    fn one_other_byte_or_length_is_a_difference() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        let mut bytes = vec![7u8; 2 * CHUNK + 5];
        fs::write(path("a"), &bytes).unwrap();
        fs::write(path("b"), &bytes).unwrap();
        assert!(same_bytes(&path("a"), &path("b")).unwrap());
        bytes[2 * CHUNK + 4] = 8;
        fs::write(path("b"), &bytes).unwrap();
        assert!(!same_bytes(&path("a"), &path("b")).unwrap());
        bytes.pop();
        fs::write(path("b"), &bytes).unwrap();
        assert!(!same_bytes(&path("a"), &path("b")).unwrap());
        assert!(same_bytes(&path("a"), &path("c")).is_err());
    }

    #[test]
    fn copies_are_compared_and_removed_and_spoilt_ones_differ() {
        let content = Content::make(&plan(), 5, None, 1).unwrap();
        let torrent = fs::read(content.torrent()).unwrap();
        let metainfo = mainswarm::metainfo::Metainfo::from_torrent(&torrent).unwrap();
        assert_eq!(metainfo.geometry().piece_count(), 3);
        fs::create_dir(content.home(1)).unwrap();
        fs::copy(content.original().join(NAME), content.home(1).join(NAME)).unwrap();
        assert!(content.check(1).unwrap());
        assert!(!content.home(1).exists());
        content.spoil(2).unwrap();
        assert!(!content.check(2).unwrap());
        let gone = content.original().to_owned();
        drop(content);
        assert!(!gone.exists());
    }

    #[test]
    fn folders_of_runs_that_were_killed_are_removed() {
        let parent = tempfile::tempdir().unwrap();
        // No process has so high a number.
        let left = parent.path().join("mainswarm-live-4294967295-x");
        let other = parent.path().join("mainswarm-live-notes");
        fs::create_dir(&left).unwrap();
        fs::create_dir(&other).unwrap();
        let dir = workdir(Some(parent.path())).unwrap();
        assert_eq!(left.exists(), !Path::new("/proc/self").exists());
        assert!(other.exists() && dir.path().exists());
        let second = workdir(Some(parent.path())).unwrap();
        assert!(dir.path().exists() && second.path().exists());
    }

    #[test]
    fn a_disk_that_is_too_small_is_said_before_anything_is_written() {
        let copies = 1 << 50;
        let error = Content::make(&plan(), 5, None, copies).unwrap_err();
        assert!(matches!(error, LiveError::Space { .. }), "{error}");
        assert!(error.to_string().contains("free some space"), "{error}");
    }
}
