//! Real sockets: a live network for programs on the same machine to join, and [`scenario`], which
//! runs the plans of the lab on live nodes.
//!
//! A [`LiveNetwork`] is full nodes in one process, each on an address of its own. It owns its
//! sessions and nothing else; what is done on the network is the caller's. One process per thousand
//! nodes works because a node without torrents is a task and two sockets.

mod content;
mod dht;
pub(crate) mod figures;
mod members;
mod namespaces;
pub mod node;
pub mod scenario;
mod swarm;
mod world;

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    str::FromStr,
    time::Duration,
};

use mainswarm::{
    metainfo::create::CreateError,
    network::Network,
    session::{Session, SessionConfig, SessionError},
};
use tokio::{task::JoinSet, time::timeout};

pub(crate) use self::content::same_bytes;
use crate::units::bytes;

/// Why a live network could not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LiveError {
    /// More nodes than addresses.
    #[error("{range} has no address for node {node}; give a shorter prefix with --address-base")]
    RangeFull {
        /// What was asked for.
        range: AddressRange,
        /// The first node without an address, counted from 1.
        node: usize,
    },
    /// A node could not start.
    #[error("node {node}: {source}")]
    Node {
        /// Which, counted from 1.
        node: usize,
        /// Why.
        source: SessionError,
    },
    /// Real sockets, or these ones, cannot do it.
    #[error("{what} cannot be had live: {why}; {remedy}")]
    Unsupported {
        /// What of the scenario.
        what: String,
        /// Why not.
        why: String,
        /// What to do.
        remedy: String,
    },
    /// The disk is too small.
    #[error(
        "{} has {} free and the run needs {} for the file and its copies; free some space, choose \
         another folder (TMPDIR), or make the file smaller",
        dir.display(), bytes(*free), bytes(*needed)
    )]
    Space {
        /// Where.
        dir: PathBuf,
        /// Bytes that the run needs.
        needed: u64,
        /// Bytes that are free.
        free: u64,
    },
    /// The file or a copy could not be written or read back.
    #[error("{path}: {source}; check the disk, or choose another folder (TMPDIR)")]
    File {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file cannot be described as a torrent.
    #[error("no torrent can be made: {0}; change the pieces or their length")]
    Torrent(#[from] CreateError),
    /// A copy is not the file.
    #[error("the copy of node {node} differs from the file, although every piece was verified")]
    Differs {
        /// Whose.
        node: usize,
    },
    /// The kernel refused a part of the network.
    #[error(
        "`{command}` failed: {text}; namespaces need root, iproute2, and a Linux with veth and tbf"
    )]
    Setup {
        /// What was run.
        command: String,
        /// What it said.
        text: String,
    },
    /// A program is missing.
    #[error("cannot start {program}: {source}; install it, or check that it can be run")]
    Spawn {
        /// Which.
        program: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A node failed.
    #[error("node {node}: {why}")]
    Member {
        /// Which, counted from 0; 0 is the router.
        node: usize,
        /// What it said.
        why: String,
    },
    /// The nodes did not find into the DHT.
    #[error(
        "{missing} of {nodes} nodes did not join the DHT within {limit:?}; is this machine overloaded?"
    )]
    NotJoined {
        /// How many.
        missing: usize,
        /// Of how many.
        nodes: usize,
        /// The time they had.
        limit: Duration,
    },
    /// Ctrl-C, or a request to end.
    #[error("interrupted; everything that the run made is removed")]
    Interrupted,
}

/// IPv4 addresses that are given out one after another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AddressRange {
    first: u32,
    last: u32,
}

impl AddressRange {
    /// 127.1.0.0/16: on Linux every address of 127.0.0.0/8 is ours without any set-up.
    pub const LOOPBACK: Self = Self {
        first: 0x7f01_0001,
        last: 0x7f01_ffff,
    };

    /// 127.3.0.0/16, for scenarios: a network and a demo may run at the same time.
    pub(crate) const SCENARIOS: Self = Self {
        first: 0x7f03_0001,
        last: 0x7f03_ffff,
    };

    /// The addresses in order. Those that end in 0 or 255 are left out: they name a network or its
    /// broadcast too often to be worth it.
    pub fn addresses(self) -> impl Iterator<Item = Ipv4Addr> {
        (self.first..=self.last)
            .filter(|bits| !matches!(bits & 0xff, 0 | 0xff))
            .map(Ipv4Addr::from_bits)
    }
}

impl std::fmt::Display for AddressRange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (first, last) = (self.first, self.last);
        write!(
            f,
            "{} to {}",
            Ipv4Addr::from_bits(first),
            Ipv4Addr::from_bits(last)
        )
    }
}

/// The text is not an address range.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an address range; write the first address, or a network, as 127.1.0.0/16")]
pub struct BadRange;

impl FromStr for AddressRange {
    type Err = BadRange;

    /// `ADDRESS` or `ADDRESS/PREFIX` (16 by default): from that address to the network's end.
    fn from_str(text: &str) -> Result<Self, BadRange> {
        let (address, prefix) = text.split_once('/').unwrap_or((text, "16"));
        let first: Ipv4Addr = address.parse().map_err(|_| BadRange)?;
        let prefix: u32 = prefix.parse().map_err(|_| BadRange)?;
        if !(8..=32).contains(&prefix) {
            return Err(BadRange);
        }
        let hosts = u32::MAX.checked_shr(prefix).unwrap_or(0);
        let first = first.to_bits();
        Ok(Self {
            first,
            last: first | hosts,
        })
    }
}

/// A running network.
#[derive(Debug)]
pub struct LiveNetwork {
    nodes: Vec<Session>,
}

/// What the network looks like at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
pub struct Counts {
    /// Nodes that run.
    pub nodes: usize,
    /// Contacts in the smallest routing table.
    pub table_min: usize,
    /// Contacts in the median routing table.
    pub table_median: usize,
    /// Contacts in the largest routing table.
    pub table_max: usize,
    /// Announces held: a peer counts once on every node that stores it.
    pub announces: usize,
    /// Queries that all nodes have received since they started.
    pub queries: u64,
}

impl LiveNetwork {
    /// Starts nodes on consecutive addresses. Port 0 gives each a free one.
    pub async fn start(range: AddressRange, port: u16, nodes: usize) -> Result<Self, LiveError> {
        let mut addresses = range.addresses();
        let mut network = Self {
            nodes: Vec::with_capacity(nodes),
        };
        for node in 1..=nodes {
            let Some(ip) = addresses.next() else {
                return Err(LiveError::RangeFull { range, node });
            };
            let mut config = SessionConfig::new(SocketAddr::new(ip.into(), port), Network::Private);
            config.bootstrap = network.contacts();
            let session = Session::start(config)
                .await
                .map_err(|source| LiveError::Node { node, source })?;
            network.nodes.push(session);
        }
        // The first node had nobody to ask when it started.
        if let [first, second, ..] = &network.nodes[..]
            && let Some(dht) = first.dht()
        {
            dht.add_node(second.local_addr());
        }
        Ok(network)
    }

    /// Where others enter: the first node.
    pub fn bootstrap(&self) -> Option<SocketAddr> {
        self.nodes.first().map(Session::local_addr)
    }

    /// Waits until the nodes have joined each other, at most for `limit`; how many did.
    pub async fn joined(&self, limit: Duration) -> usize {
        let mut waiting: JoinSet<bool> = JoinSet::new();
        // Nobody told the first node where to start: the others' queries fill its table.
        for dht in self.nodes.iter().skip(1).filter_map(Session::dht) {
            let dht = dht.clone();
            waiting.spawn(async move { dht.bootstrapped().await });
        }
        let mut joined = usize::from(!self.nodes.is_empty());
        let _ = timeout(limit, async {
            while let Some(done) = waiting.join_next().await {
                joined += usize::from(done.unwrap_or(false));
            }
        })
        .await;
        joined
    }

    /// A snapshot.
    pub fn counts(&self) -> Counts {
        let mut counts = Counts {
            nodes: self.nodes.len(),
            ..Counts::default()
        };
        let mut tables = Vec::with_capacity(self.nodes.len());
        for dht in self.nodes.iter().filter_map(Session::dht) {
            let stats = *dht.stats().borrow();
            tables.push(stats.good + stats.questionable);
            counts.announces += stats.stored_peers;
            counts.queries += stats.queries_received;
        }
        tables.sort_unstable();
        counts.table_min = tables.first().copied().unwrap_or(0);
        counts.table_median = tables.get(tables.len() / 2).copied().unwrap_or(0);
        counts.table_max = tables.last().copied().unwrap_or(0);
        counts
    }

    /// Stops all nodes.
    pub async fn shutdown(self) {
        stop_all(self.nodes).await;
    }

    /// Whom the next node asks first: the first node, which everybody knows, and the latest, so
    /// that the first does not carry every join alone.
    fn contacts(&self) -> Vec<String> {
        let mut contacts: Vec<String> = [self.nodes.first(), self.nodes.last()]
            .into_iter()
            .flatten()
            .map(|node| node.local_addr().to_string())
            .collect();
        contacts.dedup();
        contacts
    }
}

/// Shuts sessions down side by side.
pub async fn stop_all(sessions: Vec<Session>) {
    let mut stopping = JoinSet::new();
    for session in sessions {
        stopping.spawn(async move { session.shutdown().await });
    }
    while stopping.join_next().await.is_some() {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_start_where_told_and_end_with_their_network() {
        let rows = [
            ("127.1.0.0/16", "127.1.0.1", 256 * 254),
            ("127.1.0.0", "127.1.0.1", 256 * 254),
            ("10.99.0.1", "10.99.0.1", 256 * 254),
            ("10.99.0.250/24", "10.99.0.250", 5),
            ("10.99.0.7/32", "10.99.0.7", 1),
        ];
        for (text, first, count) in rows {
            let range: AddressRange = text.parse().unwrap();
            let addresses: Vec<Ipv4Addr> = range.addresses().collect();
            assert_eq!(addresses[0], first.parse::<Ipv4Addr>().unwrap(), "{text}");
            assert_eq!(addresses.len(), count, "{text}");
        }
        for text in [
            "",
            "127.1",
            "127.1.0.0/7",
            "127.1.0.0/33",
            "::1",
            "127.1.0.0/",
        ] {
            assert_eq!(text.parse::<AddressRange>(), Err(BadRange), "{text}");
        }
        assert_eq!(
            AddressRange::LOOPBACK.addresses().next(),
            Some(Ipv4Addr::new(127, 1, 0, 1))
        );
    }

    #[test]
    fn addresses_skip_the_ends_of_each_24() {
        let range: AddressRange = "127.1.0.253".parse().unwrap();
        let last: Vec<u8> = range.addresses().take(4).map(|ip| ip.octets()[3]).collect();
        assert_eq!(last, [253, 254, 1, 2]);
    }
}
