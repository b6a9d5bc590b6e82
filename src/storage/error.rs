//! What can go wrong with local files, and what the user can do about it.

use std::{fmt, io, path::PathBuf};

/// A failed operation on a local file.
#[derive(Debug, thiserror::Error)]
#[error("{operation} {} failed: {source}", path.display())]
pub struct StorageError {
    /// What was being done.
    pub operation: Operation,
    /// To which file or directory.
    pub path: PathBuf,
    /// What the system said.
    pub source: io::Error,
}

/// What was being done when it failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// Opening a file or directory that should exist.
    Open,
    /// Making a file or directory.
    Create,
    /// Reading.
    Read,
    /// Writing.
    Write,
    /// Flushing to the disk.
    Sync,
}

/// Why it failed, as far as the reaction differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// No space left, or over quota.
    Full,
    /// Not permitted, or read-only.
    Permission,
    /// A file is gone or shorter than it should be, or its content changed.
    Vanished,
    /// Anything else.
    Other,
}

/// Something that stands where a torrent's file or directory should.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Obstacle {
    /// Writing through a link could reach any file of the user's.
    #[error("it is a symbolic link")]
    SymbolicLink,
    /// A file, device or socket where a directory is needed.
    #[error("it is not a directory")]
    NotADirectory,
    /// A directory, device or socket where a file is needed.
    #[error("it is not a regular file")]
    NotAFile,
}

/// A piece's bytes are not what was verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("its content has changed")]
pub(super) struct Changed;

impl StorageError {
    pub(super) fn new(
        operation: Operation,
        path: impl Into<PathBuf>,
        source: impl Into<io::Error>,
    ) -> Self {
        Self {
            operation,
            path: path.into(),
            source: source.into(),
        }
    }

    /// Why it failed.
    pub fn cause(&self) -> Cause {
        use io::ErrorKind as Kind;
        if self.inner::<Changed>().is_some() {
            return Cause::Vanished;
        }
        match self.source.kind() {
            Kind::StorageFull | Kind::QuotaExceeded => Cause::Full,
            Kind::PermissionDenied | Kind::ReadOnlyFilesystem => Cause::Permission,
            Kind::NotFound | Kind::UnexpectedEof => Cause::Vanished,
            _ => Cause::Other,
        }
    }

    /// One sentence for the user: what happened, to which path, and what helps.
    pub fn advice(&self) -> String {
        let Self {
            operation, source, ..
        } = self;
        let path = self.path.display();
        if let Some(obstacle) = self.inner::<Obstacle>() {
            return format!(
                "cannot use {path}: {obstacle}; move it away or choose another output directory"
            );
        }
        match self.cause() {
            Cause::Full => format!(
                "disk full while {operation} {path}: free some space; the download goes on by \
                 itself"
            ),
            Cause::Permission => format!(
                "not permitted while {operation} {path} ({source}): give this user access to it, \
                 or choose another output directory"
            ),
            Cause::Vanished => format!(
                "{path} is gone, shorter than it was, or changed: put it back, or start again to \
                 check what is there and fetch the rest"
            ),
            Cause::Other => match source.kind() {
                io::ErrorKind::NotADirectory | io::ErrorKind::AlreadyExists => format!(
                    "{operation} {path} failed ({source}): a file stands where a directory is \
                     needed; move it away or choose another output directory"
                ),
                _ => {
                    format!(
                        "{operation} {path} failed ({source}): check the disk, then start again"
                    )
                }
            },
        }
    }

    fn inner<E: std::error::Error + 'static>(&self) -> Option<&E> {
        self.source.get_ref()?.downcast_ref()
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Open => "opening",
            Self::Create => "creating",
            Self::Read => "reading",
            Self::Write => "writing",
            Self::Sync => "flushing",
        })
    }
}

impl From<Obstacle> for io::Error {
    fn from(obstacle: Obstacle) -> Self {
        io::Error::other(obstacle)
    }
}

impl From<Changed> for io::Error {
    fn from(changed: Changed) -> Self {
        io::Error::other(changed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_and_advice_name_path_and_remedy() {
        #[rustfmt::skip]
        let table: &[(io::Error, Cause, &str)] = &[
            (io::ErrorKind::StorageFull.into(), Cause::Full, "free some space"),
            (io::ErrorKind::QuotaExceeded.into(), Cause::Full, "free some space"),
            (io::ErrorKind::PermissionDenied.into(), Cause::Permission, "give this user access"),
            (io::ErrorKind::ReadOnlyFilesystem.into(), Cause::Permission, "another output"),
            (io::ErrorKind::NotFound.into(), Cause::Vanished, "put it back"),
            (io::ErrorKind::UnexpectedEof.into(), Cause::Vanished, "put it back"),
            (Changed.into(), Cause::Vanished, "put it back"),
            (Obstacle::SymbolicLink.into(), Cause::Other, "symbolic link; move it away"),
            (io::ErrorKind::BrokenPipe.into(), Cause::Other, "check the disk"),
        ];
        for (source, cause, words) in table {
            let source = match source.get_ref() {
                Some(inner) if inner.is::<Changed>() => Changed.into(),
                Some(_) => Obstacle::SymbolicLink.into(),
                None => io::Error::from(source.kind()),
            };
            let error = StorageError::new(Operation::Write, "/data/film.bin", source);
            assert_eq!(error.cause(), *cause, "{error}");
            let advice = error.advice();
            assert!(advice.contains("/data/film.bin"), "{advice}");
            assert!(advice.contains(words), "{advice}");
        }
    }
}
