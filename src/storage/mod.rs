//! Files on disk, blocking and without tokio: what a torrent's bytes are stored in.
//!
//! [`Store`] is one open torrent: read, verify-and-write, check, close. It owns no thread; the
//! pool in `net::storage_pool` calls it from several at once. [`Assembly`] holds the blocks of
//! unfinished pieces, [`memory`] stands in for all of it in simulations. Every path is opened
//! beneath the output directory and never through a symbolic link.

mod assembly;
mod check;
mod error;
mod files;
mod layout;
pub mod memory;
mod resume;
mod store;
#[cfg(test)]
mod tests;

use std::{ffi::OsString, path::PathBuf, sync::Arc};

pub use assembly::{ASSEMBLY_LIMIT, Assembly, Blocks, Put, Spill, Spilled, VerifyOrder};
pub use check::CheckPlan;
pub use error::{Cause, Operation, StorageError};
pub use layout::{Layout, LayoutError, Span};
pub use store::{Store, Verdict};

use crate::metainfo::Metainfo;

/// What to open.
#[derive(Debug, Clone)]
pub struct OpenSpec {
    /// The torrent.
    pub metainfo: Arc<Metainfo>,
    /// The directory that the torrent's paths are relative to; made if it is missing.
    pub output_dir: PathBuf,
    /// The directory for resume state, one file per torrent and output directory; `None` keeps
    /// none, and every open checks everything.
    pub state_dir: Option<PathBuf>,
    /// Which files to write, by index; `None` is all. Bytes of the others that share a piece with a
    /// wanted file are kept aside and never create the unwanted file.
    pub wanted: Option<Vec<bool>>,
    /// The caller has just hashed this data: open read-only and believe it.
    pub trusted: bool,
    /// What the torrent's file or directory is called in `output_dir` when that is not its name.
    pub root: Option<OsString>,
}
