//! Opening files beneath one directory and never through a symbolic link.
//!
//! The first line of defence is metainfo, which lets no `..` through. This is the second: a link
//! that stands in the download directory (left by another program, or by a hostile archive) must
//! not lead a torrent's bytes elsewhere. On Unix each component is opened relative to its parent's
//! descriptor with `O_NOFOLLOW`, so a link that is swapped in later is refused too.

use std::{
    fs::{self, File, Metadata},
    path::{Path, PathBuf},
};

use super::Access;
use crate::storage::error::{Obstacle, Operation, StorageError};

/// A directory that files are opened beneath. The user chose it, so it may be a link itself.
#[derive(Debug)]
pub(super) struct Beneath {
    path: PathBuf,
    #[cfg(unix)]
    root: rustix::fd::OwnedFd,
}

impl Beneath {
    /// Opens the directory, making it first if `create`.
    pub(super) fn open(path: &Path, create: bool) -> Result<Self, StorageError> {
        if create {
            fs::create_dir_all(path)
                .map_err(|source| StorageError::new(Operation::Create, path, source))?;
        }
        let fail = |source| StorageError::new(Operation::Open, path, source);
        let path = path.canonicalize().map_err(fail)?;
        Ok(Self {
            #[cfg(unix)]
            root: unix::open_root(&path)?,
            path,
        })
    }

    /// The directory, canonical.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Opens a regular file. [`Access::Write`] makes it and its directories where they are missing.
    pub(super) fn file(&self, relative: &Path, access: Access) -> Result<File, StorageError> {
        let full = self.path.join(relative);
        let (operation, file) = self.open_file(relative, access)?;
        let metadata = file
            .metadata()
            .map_err(|source| StorageError::new(operation, &full, source))?;
        if !metadata.is_file() {
            return Err(StorageError::new(operation, full, Obstacle::NotAFile));
        }
        Ok(file)
    }

    /// Looks at a file; `None` if it does not exist. Anything else than a regular file is an error.
    pub(super) fn metadata(&self, relative: &Path) -> Result<Option<Metadata>, StorageError> {
        let mut at = self.path.clone();
        let mut components = relative.components().peekable();
        while let Some(component) = components.next() {
            at.push(component);
            let metadata = match fs::symlink_metadata(&at) {
                Ok(metadata) => metadata,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
                Err(source) => return Err(StorageError::new(Operation::Open, at, source)),
            };
            let obstacle = match components.peek() {
                _ if metadata.is_symlink() => Obstacle::SymbolicLink,
                Some(_) if !metadata.is_dir() => Obstacle::NotADirectory,
                None if !metadata.is_file() => Obstacle::NotAFile,
                Some(_) => continue,
                None => return Ok(Some(metadata)),
            };
            return Err(StorageError::new(Operation::Open, at, obstacle));
        }
        Ok(None)
    }

    /// Removes a file if it exists.
    pub(super) fn remove(&self, relative: &Path) {
        // Ours alone and of no more use: if it cannot be removed, it only takes space.
        let _ = fs::remove_file(self.path.join(relative));
    }
}

#[cfg(unix)]
mod unix {
    use std::path::Component;

    use rustix::{
        fd::{AsFd, OwnedFd},
        fs::{AtFlags, FileType, Mode, OFlags, mkdirat, open, openat, statat},
        io::Errno,
    };

    use super::*;

    /// `NONBLOCK` so that a pipe in a file's place cannot hang a thread.
    const FILE: OFlags = OFlags::NOFOLLOW
        .union(OFlags::CLOEXEC)
        .union(OFlags::NONBLOCK)
        .union(OFlags::NOCTTY);
    const DIRECTORY: OFlags = OFlags::DIRECTORY
        .union(OFlags::NOFOLLOW)
        .union(OFlags::CLOEXEC);

    pub(super) fn open_root(path: &Path) -> Result<OwnedFd, StorageError> {
        open(path, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
            .map_err(|errno| StorageError::new(Operation::Open, path, errno))
    }

    impl Beneath {
        pub(super) fn open_file(
            &self,
            relative: &Path,
            access: Access,
        ) -> Result<(Operation, File), StorageError> {
            let (operation, flags) = match access {
                Access::Read => (Operation::Open, OFlags::RDONLY),
                Access::Write => (Operation::Create, OFlags::RDWR | OFlags::CREATE),
            };
            let mut at = self.path.clone();
            let mut parent: Option<OwnedFd> = None;
            let mut components = relative.components().peekable();
            while let Some(component) = components.next() {
                let Component::Normal(name) = component else {
                    unreachable!("a layout holds plain names only");
                };
                at.push(name);
                let dir = parent.as_ref().unwrap_or(&self.root).as_fd();
                let opened = if components.peek().is_none() {
                    openat(dir, name, flags | FILE, Mode::from(0o666))
                } else {
                    match openat(dir, name, OFlags::RDONLY | DIRECTORY, Mode::empty()) {
                        Err(Errno::NOENT) if access == Access::Write => {
                            match mkdirat(dir, name, Mode::from(0o777)) {
                                // Another thread may have been faster.
                                Ok(()) | Err(Errno::EXIST) => {
                                    openat(dir, name, OFlags::RDONLY | DIRECTORY, Mode::empty())
                                }
                                Err(errno) => Err(errno),
                            }
                        }
                        opened => opened,
                    }
                };
                let opened = opened.map_err(|errno| {
                    let last = components.peek().is_none();
                    match obstacle(dir, name, last) {
                        Some(obstacle) => StorageError::new(operation, &at, obstacle),
                        None => StorageError::new(operation, &at, errno),
                    }
                })?;
                if components.peek().is_none() {
                    return Ok((operation, File::from(opened)));
                }
                parent = Some(opened);
            }
            unreachable!("a layout holds no empty path");
        }
    }

    /// What stands in the way, for the message: the error numbers differ between systems.
    fn obstacle(
        dir: rustix::fd::BorrowedFd<'_>,
        name: &std::ffi::OsStr,
        last: bool,
    ) -> Option<Obstacle> {
        let stat = statat(dir, name, AtFlags::SYMLINK_NOFOLLOW).ok()?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Symlink => Some(Obstacle::SymbolicLink),
            FileType::Directory if last => Some(Obstacle::NotAFile),
            FileType::RegularFile if last => None,
            FileType::Directory => None,
            _ if last => Some(Obstacle::NotAFile),
            _ => Some(Obstacle::NotADirectory),
        }
    }
}

#[cfg(not(unix))]
impl Beneath {
    /// Without `openat` the components are looked at before the file is opened: a link that is
    /// swapped in between is not noticed.
    fn open_file(
        &self,
        relative: &Path,
        access: Access,
    ) -> Result<(Operation, File), StorageError> {
        self.metadata(relative)?;
        let full = self.path.join(relative);
        let mut options = fs::OpenOptions::new();
        options.read(true);
        if access == Access::Read {
            return options
                .open(&full)
                .map(|file| (Operation::Open, file))
                .map_err(|source| StorageError::new(Operation::Open, full, source));
        }
        if let Some(parent) = full.parent() {
            fs::create_dir_all(parent)
                .map_err(|source| StorageError::new(Operation::Create, parent, source))?;
        }
        options
            .write(true)
            .create(true)
            .truncate(false)
            .open(&full)
            .map(|file| (Operation::Create, file))
            .map_err(|source| StorageError::new(Operation::Create, full, source))
    }
}
