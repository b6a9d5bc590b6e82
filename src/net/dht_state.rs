//! The DHT node's id and nodes between runs: `dht-NETWORK.dat` in the state directory.
//!
//! One process may own the saved id. Who holds `dht-NETWORK.lock` is that process; another one on
//! the same directory may read the nodes, takes a fresh id (two nodes with one id would each get
//! half of the other's replies), and saves nothing.

#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "the node's own file, written once in minutes, off the tasks"
)]

use std::{
    fs::{self, File, TryLockError},
    io::{self, Write},
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use tracing::{debug, warn};

use crate::{
    dht::{Contact, state::State},
    ids::NodeId,
    network::Network,
};

/// The file, and the right to write it.
#[derive(Debug)]
pub(crate) struct DhtStateFile {
    path: PathBuf,
    /// Held until the process ends or this is dropped; `None` if another process holds it.
    lock: Option<File>,
}

impl DhtStateFile {
    /// Opens the state of `network`'s node in `dir`, which is made if it is missing, and reads what
    /// an earlier run left; without the right to write it, without its id. What cannot be read
    /// counts as absent: the node then starts from its routers.
    pub(crate) fn open(dir: &Path, network: Network) -> (Self, State) {
        let path = dir.join(format!("dht-{network}.dat"));
        let lock = match lock(dir, network) {
            Ok(lock) => lock,
            Err(error) => {
                warn!(dir = %dir.display(), %error, "DHT state cannot be kept");
                None
            }
        };
        let mut state = match fs::read(&path) {
            Ok(bytes) => State::decode(&bytes).unwrap_or_else(|error| {
                warn!(path = %path.display(), %error);
                State::default()
            }),
            Err(error) => {
                debug!(path = %path.display(), %error, "no DHT state");
                State::default()
            }
        };
        if lock.is_none() {
            state.id = None;
        }
        (Self { path, lock }, state)
    }

    /// Whether [`Self::save`] does anything.
    pub(crate) fn is_owned(&self) -> bool {
        self.lock.is_some()
    }

    /// Replaces the file: written beside it, flushed, renamed. A crash leaves the old or the new.
    pub(crate) fn save(&self, id: NodeId, contacts: Vec<Contact>) -> io::Result<()> {
        if self.lock.is_none() {
            return Ok(());
        }
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH);
        let state = State {
            id: Some(id),
            saved_at: since_epoch.ok().map(|since| since.as_secs()),
            contacts,
            addrs: Vec::new(),
        };
        let fresh = self.path.with_extension("new");
        let mut file = File::create(&fresh)?;
        file.write_all(&state.encode())?;
        file.sync_all()?;
        fs::rename(&fresh, &self.path)
    }
}

fn lock(dir: &Path, network: Network) -> io::Result<Option<File>> {
    fs::create_dir_all(dir)?;
    let path = dir.join(format!("dht-{network}.lock"));
    let file = File::options()
        .create(true)
        .write(true)
        .truncate(false)
        .open(path)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_owner_keeps_the_id_and_others_read_the_nodes() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join("state");
        let id = NodeId::new([5; 20]);
        let node = Contact {
            id: NodeId::new([6; 20]),
            addr: "127.0.0.1:7000".parse().unwrap(),
        };
        let (owner, state) = DhtStateFile::open(&dir, Network::Private);
        assert!(owner.is_owned());
        assert_eq!(state, State::default());
        owner.save(id, vec![node]).unwrap();

        let (guest, state) = DhtStateFile::open(&dir, Network::Private);
        assert!(!guest.is_owned());
        assert_eq!((state.id, state.contacts), (None, vec![node]));
        guest.save(NodeId::new([9; 20]), Vec::new()).unwrap();
        let (other, state) = DhtStateFile::open(&dir, Network::Mainline);
        assert!(other.is_owned());
        assert_eq!(state, State::default());

        drop((owner, guest));
        let (next, state) = DhtStateFile::open(&dir, Network::Private);
        assert_eq!((state.id, state.contacts), (Some(id), vec![node]));
        drop(next);
        fs::write(dir.join("dht-private.dat"), b"garbage").unwrap();
        let (next, state) = DhtStateFile::open(&dir, Network::Private);
        assert!(next.is_owned());
        assert_eq!(state, State::default());
    }
}
