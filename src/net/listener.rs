//! Incoming connections: from the first byte to the torrent they name.
//!
//! The accept loop never waits for a peer. Strangers who have not sent their handshake have places
//! of their own, so that they take none from peers, and when those are full the oldest stranger
//! goes: an honest peer needs a round trip, a slow loris wants to stay.

use std::{
    collections::{HashMap, VecDeque},
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, mpsc, watch},
    task::{AbortHandle, Id, JoinSet},
};
use tracing::{debug, warn};

use super::{dialer::Handshaken, handshake, torrent_task::Input};
use crate::ids::InfoHash;

/// Where a connection goes that names a torrent.
pub(crate) type Routes = HashMap<InfoHash, mpsc::UnboundedSender<Input>>;

/// Accepts connections until it is dropped.
pub(crate) struct Listener {
    socket: TcpListener,
    routes: watch::Receiver<Routes>,
    connections: Arc<Semaphore>,
    max_strangers: usize,
    strangers: VecDeque<Stranger>,
    tasks: JoinSet<()>,
}

/// A connection that has not sent its handshake.
struct Stranger {
    ip: IpAddr,
    task: AbortHandle,
}

impl Listener {
    /// At most `max_strangers` may wait for their handshake; peers take a place of `connections`.
    pub(crate) fn new(
        socket: TcpListener,
        routes: watch::Receiver<Routes>,
        connections: Arc<Semaphore>,
        max_strangers: usize,
    ) -> Self {
        Self {
            socket,
            routes,
            connections,
            max_strangers,
            strangers: VecDeque::new(),
            tasks: JoinSet::new(),
        }
    }

    /// Accepts for ever.
    pub(crate) async fn run(mut self) {
        loop {
            tokio::select! {
                accepted = self.socket.accept() => match accepted {
                    Ok((stream, addr)) => self.admit(stream, canonical(addr)),
                    Err(error) => self.on_accept_error(&error).await,
                },
                Some(ended) = self.tasks.join_next_with_id(), if !self.tasks.is_empty() => {
                    self.forget(match ended {
                        Ok((id, ())) => id,
                        Err(error) => error.id(),
                    });
                }
            }
        }
    }

    fn admit(&mut self, stream: TcpStream, addr: SocketAddr) {
        let ip = addr.ip();
        let per_ip = if ip.is_loopback() {
            MAX_PER_LOOPBACK_IP
        } else {
            MAX_PER_IP
        };
        let same = self.strangers.iter().filter(|stranger| stranger.ip == ip);
        if same.count() >= per_ip {
            self.evict_oldest(|stranger| stranger.ip == ip);
        } else if self.strangers.len() >= self.max_strangers {
            self.evict_oldest(|_| true);
        }
        let (routes, connections) = (self.routes.clone(), self.connections.clone());
        let task = self.tasks.spawn(async move {
            if let Err(error) = greet(stream, addr, routes, connections).await {
                debug!(peer = %addr, %error, "inbound connection dropped");
            }
        });
        self.strangers.push_back(Stranger { ip, task });
    }

    fn evict_oldest(&mut self, matches: impl FnMut(&Stranger) -> bool) {
        let oldest = self.strangers.iter().position(matches);
        if let Some(stranger) = oldest.and_then(|at| self.strangers.remove(at)) {
            stranger.task.abort();
        }
    }

    fn forget(&mut self, id: Id) {
        self.strangers.retain(|stranger| stranger.task.id() != id);
    }

    async fn on_accept_error(&mut self, error: &io::Error) {
        use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
        if matches!(
            error.kind(),
            ConnectionAborted | ConnectionReset | Interrupted
        ) {
            return;
        }
        // Out of descriptors or memory: the waiting connection stays readable, so without a pause
        // this loop would spin.
        warn!(%error, "cannot accept; pausing");
        self.evict_oldest(|_| true);
        tokio::time::sleep(ACCEPT_PAUSE).await;
    }
}

async fn greet(
    mut stream: TcpStream,
    addr: SocketAddr,
    routes: watch::Receiver<Routes>,
    connections: Arc<Semaphore>,
) -> io::Result<()> {
    let handshake = handshake::read(&mut stream).await?;
    let torrent = routes.borrow().get(&handshake.info_hash).cloned();
    let torrent = torrent.ok_or_else(|| io::Error::other("no such torrent here"))?;
    let place = connections
        .try_acquire_owned()
        .map_err(|_| io::Error::other("all connections are taken"))?;
    stream.set_nodelay(true)?;
    let link = Handshaken {
        stream,
        addr,
        handshake,
        place,
    };
    torrent
        .send(Input::Inbound(link))
        .map_err(|_| io::Error::other("the torrent has ended"))
}

/// A dual-stack socket names IPv4 peers by mapped addresses; bans and duplicates need one name.
fn canonical(addr: SocketAddr) -> SocketAddr {
    SocketAddr::new(addr.ip().to_canonical(), addr.port())
}

const MAX_PER_IP: usize = 8;
/// On loopback every peer of a test network may have the same address.
const MAX_PER_LOOPBACK_IP: usize = 64;
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;
    use crate::{
        ids::PeerId,
        wire::{Handshake, Reserved},
    };

    #[tokio::test]
    async fn silent_strangers_make_room_and_peers_are_routed() {
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = socket.local_addr().unwrap();
        let (inbox, mut inputs) = mpsc::unbounded_channel();
        let info_hash = InfoHash::new([3; 20]);
        let (_routes, watch) = watch::channel(Routes::from([(info_hash, inbox)]));
        let connections = Arc::new(Semaphore::new(1));
        let listener = Listener::new(socket, watch, connections, 2);
        let task = tokio::spawn(listener.run());

        let mut oldest = TcpStream::connect(addr).await.unwrap();
        let _second = TcpStream::connect(addr).await.unwrap();
        let mut wrong = TcpStream::connect(addr).await.unwrap();
        assert_eq!(oldest.read(&mut [0; 1]).await.unwrap(), 0);
        wrong.write_all(b"\x13BitX").await.unwrap();
        assert!(matches!(wrong.read(&mut [0; 1]).await, Ok(0) | Err(_)));

        let mut peer = TcpStream::connect(addr).await.unwrap();
        let hello = Handshake {
            reserved: Reserved::ours(false),
            info_hash,
            peer_id: PeerId::with_suffix([1; 12]),
        };
        peer.write_all(&hello.encode()).await.unwrap();
        match inputs.recv().await {
            Some(Input::Inbound(link)) => assert_eq!(link.handshake, hello),
            other => panic!("{other:?}"),
        }
        task.abort();
    }
}
