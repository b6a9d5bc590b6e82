//! Strangers with raw sockets against a whole session: afterwards it still serves.

mod common;

use std::{fs, net::SocketAddr, path::Path, sync::Arc, time::Duration};

use common::{config, content, fetch, quiet_session, seed, share_file, within};
use mainswarm::{
    ids::{InfoHash, PeerId},
    metainfo::Metainfo,
    session::Session,
    wire::{HANDSHAKE_LEN, Handshake, Reserved},
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, UdpSocket},
};

struct Victim {
    session: Session,
    metainfo: Arc<Metainfo>,
    bytes: Vec<u8>,
    _dir: TempDir,
}

impl Victim {
    async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let bytes = content(500_000, 11);
        let metainfo = share_file(dir.path(), "file", &bytes, 32 * 1024);
        let session = Session::start(config()).await.unwrap();
        seed(&session, &metainfo, dir.path()).await;
        Self {
            session,
            metainfo,
            bytes,
            _dir: dir,
        }
    }

    fn addr(&self) -> SocketAddr {
        self.session.local_addr()
    }

    /// A stranger that has exchanged handshakes.
    async fn shake_hands(&self, id: u8) -> TcpStream {
        let mut stream = TcpStream::connect(self.addr()).await.unwrap();
        let hello = handshake(self.metainfo.info_hash(), id);
        stream.write_all(&hello).await.unwrap();
        let mut answer = [0; HANDSHAKE_LEN];
        within(5, stream.read_exact(&mut answer)).await.unwrap();
        assert_eq!(
            Handshake::decode(&answer).unwrap().info_hash,
            self.metainfo.info_hash()
        );
        stream
    }

    /// An honest peer gets the file, and an honest node its answer.
    async fn still_serves(&self) {
        let dir = tempfile::tempdir().unwrap();
        let session = quiet_session().await;
        let peer = fetch(&session, &self.metainfo, dir.path(), &[self.addr()]).await;
        assert!(within(6, peer.completed()).await);
        assert!(read(dir.path()) == self.bytes);
        self.answers_a_ping().await;
        within(5, session.shutdown()).await;
    }

    async fn answers_a_ping(&self) {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let ping = b"d1:ad2:id20:abcdefghij0123456789e1:q4:ping1:t2:aa1:y1:qe";
        socket.send_to(ping, self.addr()).await.unwrap();
        let mut answer = [0; 2048];
        let len = within(3, socket.recv(&mut answer)).await.unwrap();
        let answer = answer[..len].escape_ascii().to_string();
        assert!(
            answer.contains("1:t2:aa") && answer.contains("1:y1:r"),
            "{answer}"
        );
    }
}

fn read(dir: &Path) -> Vec<u8> {
    fs::read(dir.join("file")).unwrap()
}

fn handshake(info_hash: InfoHash, id: u8) -> [u8; HANDSHAKE_LEN] {
    let hello = Handshake {
        reserved: Reserved::ours(true),
        info_hash,
        peer_id: PeerId::with_suffix([id; 12]),
    };
    hello.encode()
}

/// Waits until the other side closes.
async fn closed(stream: &mut TcpStream) {
    let drain = async {
        let mut rest = [0; 4096];
        while matches!(stream.read(&mut rest).await, Ok(1..)) {}
    };
    within(5, drain).await;
}

fn message(len: u32, body: &[u8]) -> Vec<u8> {
    [&len.to_be_bytes(), body].concat()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage_is_cut_off() {
    let victim = Victim::start().await;
    for seed in 0..20 {
        let mut stranger = TcpStream::connect(victim.addr()).await.unwrap();
        // The other side may close before all of it is written.
        let _ = stranger.write_all(&content(5_000, seed)).await;
        closed(&mut stranger).await;
    }
    let mut stranger = TcpStream::connect(victim.addr()).await.unwrap();
    stranger
        .write_all(&handshake(InfoHash::new([1; 20]), 1))
        .await
        .unwrap();
    closed(&mut stranger).await;
    for seed in 0..10 {
        let mut peer = victim.shake_hands(seed).await;
        let _ = peer
            .write_all(&content(200_000, 100 + u64::from(seed)))
            .await;
        closed(&mut peer).await;
    }
    victim.still_serves().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_idle_connections_shut_nobody_out() {
    let victim = Victim::start().await;
    let mut idle = Vec::new();
    for at in 0..200 {
        let mut stranger = TcpStream::connect(victim.addr()).await.unwrap();
        // Half of them begin a handshake.
        let hello = handshake(victim.metainfo.info_hash(), 1);
        stranger.write_all(&hello[..at % 2 * 30]).await.unwrap();
        idle.push(stranger);
    }
    victim.still_serves().await;
    // And so do peers that shook hands and then say nothing.
    let mut silent = Vec::new();
    for id in 0..40 {
        silent.push(victim.shake_hands(id).await);
    }
    victim.still_serves().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn claimed_lengths_take_no_memory() {
    let victim = Victim::start().await;
    let before = resident();
    let mut peers = Vec::new();
    for id in 0..40 {
        let mut peer = victim.shake_hands(id).await;
        let len = [16 << 20, u32::MAX, 1 << 31, 200_000][usize::from(id) % 4];
        peer.write_all(&message(len, &[7, 0, 0, 0])).await.unwrap();
        peers.push(peer);
    }
    for peer in &mut peers {
        closed(peer).await;
    }
    let grown = resident().saturating_sub(before);
    assert!(grown < 64 << 20, "{grown} bytes for 40 lying peers");
    victim.still_serves().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nested_messages_end_a_connection_and_no_more() {
    let victim = Victim::start().await;
    let mut bombs = Vec::new();
    // id 0 is the extension handshake, 1 our `ut_metadata`, 2 our `ut_pex`.
    for (id, len) in [
        (0, 1_000_000),
        (0, 60_000),
        (1, 1_000_000),
        (1, 100_000),
        (2, 60_000),
    ] {
        for unit in ["l", "d1:a", "d0:", "i1e"] {
            bombs.push((id, unit.repeat(len / unit.len())));
        }
    }
    for (at, (id, bomb)) in bombs.iter().enumerate() {
        let mut peer = victim.shake_hands(at as u8).await;
        let body = [&[20, *id], bomb.as_bytes()].concat();
        let _ = peer.write_all(&message(body.len() as u32, &body)).await;
        let _ = peer.shutdown().await;
        closed(&mut peer).await;
    }
    victim.still_serves().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nested_and_oversized_datagrams_are_nothing() {
    let victim = Victim::start().await;
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let wrapped = |middle: &str| format!("d1:ad1:x{middle}e1:q4:ping1:t2:aa1:y1:qe");
    let datagrams = [
        "l".repeat(2_048),
        "l".repeat(2_049),
        "l".repeat(65_000),
        "d1:a".repeat(500),
        wrapped(&"l".repeat(2_000)),
        wrapped(&("l".repeat(900) + &"e".repeat(900))),
        wrapped(&"i1e".repeat(600)),
        "99999999999:x".to_owned(),
        String::new(),
    ];
    for datagram in datagrams.iter().cycle().take(900) {
        socket
            .send_to(datagram.as_bytes(), victim.addr())
            .await
            .unwrap();
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
    victim.answers_a_ping().await;
    victim.still_serves().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_does_not_read_holds_little() {
    let victim = Victim::start().await;
    let mut peer = victim.shake_hands(1).await;
    let before = resident();
    let interested = message(1, &[2]);
    let mut requests = interested;
    for at in 0u32..200_000 {
        let mut body = vec![6];
        for number in [at % 15, 0, 16 * 1024] {
            body.extend_from_slice(&number.to_be_bytes());
        }
        requests.extend_from_slice(&message(13, &body));
    }
    // Far more than a queue holds: either the peer is cut off, or it is not read any more.
    let flood = tokio::time::timeout(Duration::from_secs(2), peer.write_all(&requests));
    let _ = flood.await;
    let grown = resident().saturating_sub(before);
    assert!(grown < 64 << 20, "{grown} bytes for one peer");
    victim.still_serves().await;
}

/// Bytes of memory that this process holds; 0 where the system does not say.
fn resident() -> usize {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().split(' ').next()?.parse::<usize>().ok());
    kib.unwrap_or(0) * 1024
}
