//! Outgoing connections: how many at once, how long, from which address.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use tokio::{
    io::AsyncWriteExt,
    net::TcpStream,
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use super::{handshake, sockets::tcp_socket};
use crate::wire::Handshake;

/// A connection whose handshakes were exchanged, and its place among the session's connections.
#[derive(Debug)]
pub(crate) struct Handshaken {
    pub(super) stream: TcpStream,
    pub(super) addr: SocketAddr,
    pub(super) handshake: Handshake,
    pub(super) place: OwnedSemaphorePermit,
}

/// Dials for all torrents of a session. Clones share the limits.
#[derive(Debug, Clone)]
pub(crate) struct Dialer {
    half_open: Arc<Semaphore>,
    connections: Arc<Semaphore>,
    bind: Option<IpAddr>,
}

impl Dialer {
    /// Takes places from `connections`, which inbound ones share. Dials from `listen`'s address if
    /// it names one: peers take it for the address that we can be dialled at.
    pub(crate) fn new(connections: Arc<Semaphore>, listen: SocketAddr) -> Self {
        Self {
            half_open: Arc::new(Semaphore::new(MAX_HALF_OPEN)),
            connections,
            bind: Some(listen.ip()).filter(|ip| !ip.is_unspecified()),
        }
    }

    /// Dials and exchanges handshakes.
    pub(super) async fn dial(&self, addr: SocketAddr, ours: &Handshake) -> io::Result<Handshaken> {
        let timed_out = |_| io::Error::from(io::ErrorKind::TimedOut);
        let closed = |_| io::Error::other("the session is shutting down");
        let _half_open = self.half_open.acquire().await.map_err(closed)?;
        let place = timeout(PLACE_TIMEOUT, self.connections.clone().acquire_owned())
            .await
            .map_err(timed_out)?
            .map_err(closed)?;
        let mut stream = timeout(CONNECT_TIMEOUT, self.connect(addr))
            .await
            .map_err(timed_out)??;
        stream.set_nodelay(true)?;
        // 68 bytes fit any fresh send buffer: this does not wait for the peer.
        stream.write_all(&ours.encode()).await?;
        let handshake = handshake::read(&mut stream).await?;
        if handshake.info_hash != ours.info_hash {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "the peer answers for another torrent",
            ));
        }
        Ok(Handshaken {
            stream,
            addr,
            handshake,
            place,
        })
    }

    async fn connect(&self, addr: SocketAddr) -> io::Result<TcpStream> {
        let socket = tcp_socket(addr.ip())?;
        if let Some(ip) = self.bind {
            socket.bind(SocketAddr::new(ip, 0))?;
        }
        socket.connect(addr).await
    }
}

/// Ours: routers for the home lose their nerve over a few hundred half-open connections.
const MAX_HALF_OPEN: usize = 50;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a dial waits while the session holds as many connections as it may.
const PLACE_TIMEOUT: Duration = Duration::from_secs(20);

#[cfg(test)]
mod tests {
    use tokio::{io::AsyncReadExt, net::TcpListener};

    use super::*;
    use crate::{
        ids::{InfoHash, PeerId},
        wire::Reserved,
    };

    fn hello(info_hash: u8) -> Handshake {
        Handshake {
            reserved: Reserved::ours(true),
            info_hash: InfoHash::new([info_hash; 20]),
            peer_id: PeerId::with_suffix([info_hash; 12]),
        }
    }

    #[tokio::test]
    async fn dials_from_its_own_address_and_checks_the_torrent() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let places = Arc::new(Semaphore::new(1));
        let dialer = Dialer::new(places.clone(), "127.1.0.9:6881".parse().unwrap());
        for (answer, accepted) in [(1, true), (2, false)] {
            let serve = async {
                let (mut stream, from) = listener.accept().await.unwrap();
                let mut bytes = [0; 68];
                stream.read_exact(&mut bytes).await.unwrap();
                stream.write_all(&hello(answer).encode()).await.unwrap();
                (from, stream)
            };
            let ours = hello(1);
            let (dialled, (from, _stream)) = tokio::join!(dialer.dial(addr, &ours), serve);
            assert_eq!(from.ip().to_string(), "127.1.0.9");
            assert_eq!(dialled.is_ok(), accepted);
            assert_eq!(places.available_permits(), usize::from(!accepted));
        }
        assert_eq!(places.available_permits(), 1);
    }
}
