//! What the tests with real sockets share: a torrent with known bytes, and sessions on loopback.
#![allow(dead_code, reason = "each test program uses its part")]

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use mainswarm::{
    metainfo::{
        Magnet, Metainfo,
        create::{PieceHasher, TorrentBuilder},
    },
    network::Network,
    session::{AddTorrent, DhtMode, Session, SessionConfig, TorrentHandle, TorrentSource},
};

/// Bytes that differ from block to block.
pub(crate) fn content(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

/// Writes `files` below `dir` and makes their torrent, a directory called `name`.
pub(crate) fn share_directory(
    dir: &Path,
    name: &str,
    files: &[(&str, Vec<u8>)],
    piece_len: u32,
) -> Arc<Metainfo> {
    let mut hasher = PieceHasher::new(piece_len);
    let mut files: Vec<_> = files.iter().collect();
    files.sort_by_key(|(path, _)| PathBuf::from(path));
    for (path, bytes) in &files {
        let path = dir.join(name).join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
        hasher.update(bytes);
    }
    let lens = files
        .iter()
        .map(|(path, bytes)| (PathBuf::from(path), bytes.len() as u64));
    let builder = TorrentBuilder::directory(name, lens).unwrap();
    let builder = builder.piece_len(piece_len).unwrap();
    Arc::new(builder.build(&hasher.finish()).unwrap())
}

/// Writes one file into `dir` and makes its torrent.
pub(crate) fn share_file(dir: &Path, name: &str, bytes: &[u8], piece_len: u32) -> Arc<Metainfo> {
    fs::write(dir.join(name), bytes).unwrap();
    let mut hasher = PieceHasher::new(piece_len);
    hasher.update(bytes);
    let builder = TorrentBuilder::file(name, bytes.len() as u64).unwrap();
    let builder = builder.piece_len(piece_len).unwrap();
    Arc::new(builder.build(&hasher.finish()).unwrap())
}

/// A private network's node on any port of 127.0.0.1.
pub(crate) fn config() -> SessionConfig {
    SessionConfig::new("127.0.0.1:0".parse().unwrap(), Network::Private)
}

/// A session without a DHT: peers by hand only.
pub(crate) async fn quiet_session() -> Session {
    let mut config = config();
    config.dht = DhtMode::Off;
    Session::start(config).await.unwrap()
}

/// A session that starts from `bootstrap`, if any.
pub(crate) async fn dht_session(bootstrap: Option<SocketAddr>) -> Session {
    let mut config = config();
    config.bootstrap = bootstrap.iter().map(ToString::to_string).collect();
    Session::start(config).await.unwrap()
}

/// Seeds what `share_*` wrote into `dir`.
pub(crate) async fn seed(session: &Session, metainfo: &Arc<Metainfo>, dir: &Path) -> TorrentHandle {
    let source = TorrentSource::Metainfo(metainfo.clone());
    let torrent = AddTorrent::new(source, dir.to_owned());
    let handle = session.add(torrent).await.unwrap();
    assert!(within(5, handle.completed()).await);
    handle
}

/// Fetches from peers given by hand.
pub(crate) async fn fetch(
    session: &Session,
    metainfo: &Arc<Metainfo>,
    dir: &Path,
    peers: &[SocketAddr],
) -> TorrentHandle {
    let source = TorrentSource::Metainfo(metainfo.clone());
    let mut torrent = AddTorrent::new(source, dir.to_owned());
    torrent.peers = peers.to_vec();
    session.add(torrent).await.unwrap()
}

/// A magnet link with nothing but the info-hash.
pub(crate) fn magnet(metainfo: &Metainfo) -> Magnet {
    metainfo.info_hash().to_string().parse().unwrap()
}

/// Waits, but not for ever.
pub(crate) async fn within<T>(seconds: u64, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(seconds), future)
        .await
        .unwrap_or_else(|_| panic!("not within {seconds} s"))
}
