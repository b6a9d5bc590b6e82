//! How the process ends: exit codes and the failures that carry them.

use std::{fmt::Write as _, io, path::Path, process::ExitCode};

use mainswarm::{session::SessionError, torrent::StorageFault};

/// An exit code. Scripts depend on the numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Exit {
    Done = 0,
    Other = 1,
    Usage = 2,
    NothingFound = 3,
    TimedOut = 4,
    Invalid = 5,
    Network = 6,
    Interrupted = 7,
    Disk = 8,
}

/// What each code means, as `--help` prints it.
const MEANINGS: [(Exit, &str); 9] = [
    (Exit::Done, "done"),
    (Exit::Other, "another failure"),
    (Exit::Usage, "wrong usage or unreadable input"),
    (
        Exit::NothingFound,
        "nothing found: no peers, no metadata, no item, no DHT node",
    ),
    (Exit::TimedOut, "timed out midway"),
    (
        Exit::Invalid,
        "data failed verification, or an invalid .torrent",
    ),
    (
        Exit::Network,
        "network failure, or the address cannot be bound",
    ),
    (Exit::Interrupted, "interrupted with work left"),
    (
        Exit::Disk,
        "disk: no space, not permitted, or a file vanished",
    ),
];

/// The table of exit codes for `--help`.
pub(super) fn exit_table() -> String {
    let mut text = "Exit codes:".to_owned();
    for (code, meaning) in MEANINGS {
        let _ = write!(text, "\n  {}  {meaning}", code as u8);
    }
    text
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Why a command ended early: what to tell the user, and the code.
#[derive(Debug)]
pub(super) struct Failure {
    pub exit: Exit,
    /// One sentence or two: what is wrong, and what to do. Empty: say nothing.
    pub text: String,
}

impl Failure {
    pub(super) fn new(exit: Exit, text: impl Into<String>) -> Self {
        Self {
            exit,
            text: text.into(),
        }
    }

    /// An input path that cannot be read.
    pub(super) fn unreadable(path: &Path, error: &io::Error) -> Self {
        let advice = match error.kind() {
            io::ErrorKind::NotFound => "check the path",
            io::ErrorKind::PermissionDenied => "check its permissions",
            _ => "check that it is a file that can be read",
        };
        let path = path.display();
        Self::new(
            Exit::Usage,
            format!("cannot read {path}: {error}; {advice}"),
        )
    }

    /// A path that cannot be written.
    pub(super) fn unwritable(path: &Path, error: &io::Error) -> Self {
        let advice = match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "free some space",
            io::ErrorKind::NotFound => "make the directory first",
            _ => "choose another path, or change the permissions",
        };
        let path = path.display();
        Self::new(
            Exit::Disk,
            format!("cannot write {path}: {error}; {advice}"),
        )
    }

    /// A storage failure that waiting does not cure.
    pub(super) fn storage(fault: &StorageFault) -> Self {
        Self::new(Exit::Disk, fault.text.to_string())
    }

    /// Stopped by a signal before the work was done.
    pub(super) fn interrupted(text: impl Into<String>) -> Self {
        Self::new(Exit::Interrupted, text)
    }
}

impl From<SessionError> for Failure {
    fn from(error: SessionError) -> Self {
        match &error {
            SessionError::Bind { .. } => {
                let advice = "choose another --listen address, or port 0 for any free port";
                Self::new(Exit::Network, format!("{error}; {advice}"))
            }
            _ => Self::new(Exit::Other, error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_in_the_table_at_its_place() {
        for (index, (exit, _)) in MEANINGS.iter().enumerate() {
            assert_eq!(*exit as usize, index);
        }
        assert!(exit_table().contains("\n  7  interrupted with work left"));
    }
}
