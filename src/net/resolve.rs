//! Names to addresses: bootstrap routers, a torrent's `nodes`, a magnet's peers.
//!
//! A literal `IP:PORT` never goes to the resolver. What comes out is of one address family, and
//! for the DHT of one network, so that nodes of two networks never hear of each other.

use std::{io, net::SocketAddr, time::Duration};

use tokio::{net::lookup_host, time::timeout};
use tracing::{debug, warn};

use crate::{compact::Family, network::Network};

/// The public routers of the Mainline DHT, asked until enough nodes are known. State of 2026-11.
pub const MAINLINE_ROUTERS: [&str; 6] = [
    "dht.libtorrent.org:25401",
    "dht.transmissionbt.com:6881",
    "router.bt.ouinet.work:6881",
    "relay.pkarr.org:6881",
    "router.bittorrent.com:6881",
    "router.utorrent.com:6881",
];

/// A contact as somebody wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Contact {
    /// `IP:PORT`.
    Addr(SocketAddr),
    /// A host name and a port.
    Name(String, u16),
}

impl Contact {
    /// Reads `IP:PORT`, `[IPv6]:PORT` or `host:port`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        if let Ok(addr) = text.parse() {
            return Some(Self::Addr(addr));
        }
        let (host, port) = text.rsplit_once(':')?;
        Some(Self::from_parts(host, port.parse().ok()?)).filter(|_| !host.is_empty())
    }

    /// Takes host and port as a torrent's `nodes` name them.
    pub(crate) fn from_parts(host: &str, port: u16) -> Self {
        match host.parse() {
            Ok(ip) => Self::Addr(SocketAddr::new(ip, port)),
            Err(_) => Self::Name(host.to_owned(), port),
        }
    }

    /// Its addresses in any family and network; an error when the resolver gave none in time.
    pub(crate) async fn resolve(&self) -> io::Result<Vec<SocketAddr>> {
        match self {
            Self::Addr(addr) => Ok(vec![*addr]),
            Self::Name(host, port) => {
                let found = timeout(RESOLVE_TIMEOUT, lookup_host((host.as_str(), *port))).await??;
                Ok(found.take(MAX_ADDRESSES).collect())
            }
        }
    }
}

/// Resolves a contact for a DHT node, trying again with back-off for as long as the resolver gives
/// nothing: the network may be down, and come back.
pub(crate) async fn resolve_node(
    contact: Contact,
    family: Family,
    network: Network,
) -> Vec<SocketAddr> {
    let mut wait = RETRY_FIRST;
    loop {
        match contact.resolve().await {
            Ok(mut addrs) => {
                addrs.retain(|addr| Family::of(addr) == family && network.accepts(addr));
                if addrs.is_empty() {
                    warn!(?contact, %network, "contact has no address on this network");
                }
                return addrs;
            }
            Err(error) => debug!(?contact, %error, "name not resolved"),
        }
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(RETRY_LAST);
    }
}

const RESOLVE_TIMEOUT: Duration = Duration::from_secs(10);
const MAX_ADDRESSES: usize = 16;
const RETRY_FIRST: Duration = Duration::from_secs(2);
const RETRY_LAST: Duration = Duration::from_secs(300);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contacts_are_read() {
        let name = |host: &str, port| Some(Contact::Name(host.to_owned(), port));
        let addr = |text: &str| Some(Contact::Addr(text.parse().unwrap()));
        let rows = [
            ("127.1.0.1:6881", addr("127.1.0.1:6881")),
            ("[::1]:80", addr("[::1]:80")),
            ("router.example:6881", name("router.example", 6881)),
            ("router.example", None),
            (":6881", None),
            ("router.example:65536", None),
            ("", None),
        ];
        for (text, contact) in rows {
            assert_eq!(Contact::parse(text), contact, "{text}");
        }
        assert!(
            MAINLINE_ROUTERS
                .iter()
                .all(|router| Contact::parse(router).is_some())
        );
    }

    #[tokio::test]
    async fn only_the_family_and_network_pass() {
        let rows = [
            ("127.0.0.1:1", true),
            ("8.8.8.8:1", false),
            ("[::1]:1", false),
            ("127.0.0.1:0", false),
        ];
        for (text, passes) in rows {
            let contact = Contact::parse(text).unwrap();
            let found = resolve_node(contact, Family::V4, Network::Private).await;
            assert_eq!(!found.is_empty(), passes, "{text}");
        }
    }
}
