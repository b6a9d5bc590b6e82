//! The values that go into and come out of a [`Dht`](super::Dht).

use std::{
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use super::{ask::Answer, inspect::LookupStep, item::Item, node_id::IdCheck};
use crate::{
    compact::Family,
    ids::{InfoHash, NodeId},
    network::Network,
};

/// How a node behaves.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct DhtConfig {
    /// Whose addresses to accept.
    pub network: Network,
    /// The family of the socket; the other family is another `Dht` (BEP 32).
    pub family: Family,
    /// The id to take; `None` draws one. On Mainline it is replaced when it does not follow from
    /// our address (BEP 42).
    pub node_id: Option<NodeId>,
    /// Our address as others see it, if that is known already; else they tell us.
    pub external_ip: Option<IpAddr>,
    /// BEP 42: what is made of ids that do not follow from addresses. In a private network, whose
    /// addresses are exempt, nothing.
    pub id_check: IdCheck,
    /// BEP 43: send `ro=1`, answer nothing. For short-lived nodes.
    pub read_only: bool,
    /// Whether the buckets far from our id hold 128, 64, 32 and 16 nodes instead of 8: fewer hops
    /// for about 12 KiB more of memory in a network of a million nodes.
    pub wide_table: bool,
    /// How many queries a second one source may send before it is muted: an IP on Mainline, an
    /// address with its port in a private network. 0 is unlimited.
    pub queries_per_source: u32,
}

impl DhtConfig {
    /// A full node with a fresh id.
    pub fn new(network: Network, family: Family) -> Self {
        Self {
            network,
            family,
            node_id: None,
            external_ip: None,
            id_check: IdCheck::default(),
            read_only: false,
            wide_table: true,
            queries_per_source: match network {
                Network::Mainline => 20,
                Network::Private => 500,
            },
        }
    }
}

impl DhtConfig {
    /// Whether ids are to follow from addresses.
    pub(super) fn binds_ids(&self) -> bool {
        self.network == Network::Mainline && self.id_check != IdCheck::Off
    }
}

/// The handle of a lookup, never reused within a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LookupId(pub u64);

/// A node's address and id, as saved between runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Contact {
    /// The node's id.
    pub id: NodeId,
    /// Where it answered.
    pub addr: SocketAddr,
}

/// A node of a routing table that was kept, with what was known of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KnownNode {
    /// Who and where.
    pub contact: Contact,
    /// How long ago it was last heard of; more than an hour counts as an hour.
    pub age: Duration,
    /// How fast it answered.
    pub rtt: Duration,
}

/// Which port an announce names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AnnouncePort {
    /// This TCP port. Everybody refuses port 0, so 0 means [`Self::Implied`].
    Explicit(u16),
    /// BEP 5 `implied_port`: the port that the announce comes from.
    Implied,
}

impl AnnouncePort {
    pub(super) fn normal(self) -> Self {
        match self {
            Self::Explicit(0) => Self::Implied,
            port => port,
        }
    }
}

/// Which item to look for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ItemQuery {
    /// Where it is stored: see [`mutable_target`](super::item::mutable_target).
    pub target: NodeId,
    /// The salt, which nodes do not tell; empty if there is none.
    pub salt: Vec<u8>,
    /// Whether to ask all that may have it for the newest, or to end with the first that is valid.
    pub newest: bool,
    /// The sequence number that is known already: only a higher one counts.
    pub newer_than: Option<i64>,
}

impl ItemQuery {
    /// The newest item of this target, without a salt.
    pub fn new(target: NodeId) -> Self {
        Self {
            target,
            salt: Vec::new(),
            newest: true,
            newer_than: None,
        }
    }
}

/// What kept an item from being stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Conflict {
    /// What is stored is not what was to be replaced (error 301). Otherwise it is newer than what
    /// was put, or another value of the same sequence number (error 302).
    pub cas: bool,
    /// How many nodes refused for that reason. None did if the search had found the conflict:
    /// then nothing was sent.
    pub refused: u32,
    /// The highest sequence number that the search found and verified.
    pub newest: Option<i64>,
}

/// What a node said of the torrents it has peers of (BEP 51).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SampleReply {
    /// Its id.
    pub id: NodeId,
    /// Nodes close to the target that was named.
    pub nodes: Vec<Contact>,
    /// The sample; `None` if it does not support this.
    pub sample: Option<InfoHashSample>,
}

/// Some of a node's torrents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InfoHashSample {
    /// For so long it says nothing else.
    pub interval: Duration,
    /// How many there are in all, as it says.
    pub total: u64,
    /// Some of them.
    pub info_hashes: Vec<InfoHash>,
}

/// Where a datagram goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transmit {
    /// The receiver.
    pub destination: SocketAddr,
    /// How many bytes of the buffer.
    pub len: usize,
}

/// What a lookup has done so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LookupStats {
    /// Nodes that were sent a query.
    pub asked: u32,
    /// Nodes that replied.
    pub replied: u32,
    /// Queries that timed out or got an error.
    pub failed: u32,
    /// Distinct peers found.
    pub peers: u32,
    /// Nodes that took an announce.
    pub announced: u32,
    /// The deepest chain of referrals that led to a reply: Kademlia's hops.
    pub hops: u32,
    /// The length of the chain that led to the first peer: 1 if a node of our own table had it, 0
    /// if we had stored it ourselves.
    pub first_peer_hops: Option<u32>,
    /// Whether more nodes, or fewer, said to be close to the target than the size of the network
    /// makes likely: somebody seems to surround it, or to hide who does.
    pub suspicious: bool,
    /// From start to end, or to now.
    pub elapsed: Duration,
}

/// Something the user of a node may want to know.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum DhtEvent {
    /// Peers that this lookup had not found before, in the moment they arrive.
    PeersFound {
        /// The lookup.
        lookup: LookupId,
        /// What was looked for.
        info_hash: InfoHash,
        /// New distinct addresses.
        peers: Vec<SocketAddr>,
    },
    /// A lookup has ended, its announces included.
    LookupDone {
        /// The lookup.
        lookup: LookupId,
        /// Its target.
        target: NodeId,
        /// What it did.
        stats: LookupStats,
        /// The closest nodes that replied, closest first.
        closest: Vec<Contact>,
    },
    /// A node replied to a lookup that is traced.
    LookupReply {
        /// The lookup.
        lookup: LookupId,
        /// Who replied.
        from: Contact,
        /// How many referrals led to it; those of our table count one.
        hops: u32,
        /// The round trip.
        rtt: Duration,
        /// Since the lookup began.
        elapsed: Duration,
        /// How many nodes it named.
        nodes: usize,
        /// How many peers it named that were new.
        peers: usize,
        /// Whether it gave an item's value, be it valid or not.
        item: bool,
    },
    /// Something else became of a node in a lookup that is traced.
    LookupStepped {
        /// The lookup.
        lookup: LookupId,
        /// Where the node is.
        addr: SocketAddr,
        /// Since the lookup began.
        elapsed: Duration,
        /// What became of it.
        step: LookupStep,
    },
    /// The routing table is usable: the lookup for our own id has ended with replies.
    Bootstrapped {
        /// Nodes in the table.
        nodes: usize,
    },
    /// No contact replied; the core tries again by itself at the given time.
    BootstrapFailed {
        /// Contacts that were asked.
        asked: usize,
        /// When it will try again.
        retry_at: Instant,
    },
    /// Most of those who answer agree that this is our address, and it was not known before.
    AddressLearned {
        /// The address.
        ip: IpAddr,
        /// Our id, which follows from it and may be new.
        id: NodeId,
    },
    /// A lookup has found an item, or a newer one, and verified it.
    ItemFound {
        /// The lookup.
        lookup: LookupId,
        /// The item.
        item: Item,
    },
    /// The search for an item is over; [`Self::LookupDone`] follows.
    ItemDone {
        /// The lookup.
        lookup: LookupId,
        /// The newest that was found.
        item: Option<Item>,
        /// How many nodes have just this one, as far as they were asked.
        copies: u32,
    },
    /// An item was put, or could not be; [`Self::LookupDone`] follows.
    ItemPut {
        /// The lookup.
        lookup: LookupId,
        /// Where it belongs.
        target: NodeId,
        /// How many nodes have stored it.
        stored: u32,
        /// Why not, or why not all of them.
        conflict: Option<Conflict>,
    },
    /// A scrape is over; [`Self::LookupDone`] follows.
    Scraped {
        /// The lookup.
        lookup: LookupId,
        /// The torrent.
        info_hash: InfoHash,
        /// About how many IP addresses have announced themselves as seeds.
        seeds: u32,
        /// About how many have as peers.
        peers: u32,
        /// How many nodes told of some.
        nodes: u32,
    },
    /// A node has answered [`Dht::sample`](super::Dht::sample), or has not.
    Sampled {
        /// What that call returned.
        lookup: LookupId,
        /// Who was asked.
        from: SocketAddr,
        /// What it said; `None` if it did not reply, or with an error.
        reply: Option<SampleReply>,
    },
    /// Somebody has answered [`Dht::ask`](super::Dht::ask), or has not.
    Asked {
        /// What that call returned.
        lookup: LookupId,
        /// Who was asked.
        from: SocketAddr,
        /// What came back; `None` if nothing did in time.
        answer: Option<Answer>,
    },
    /// Somebody announced a peer to us and we stored it.
    AnnounceStored {
        /// The torrent.
        info_hash: InfoHash,
        /// The peer.
        peer: SocketAddr,
    },
}

impl DhtEvent {
    /// What was started that this belongs to.
    pub fn lookup(&self) -> Option<LookupId> {
        match self {
            Self::PeersFound { lookup, .. }
            | Self::LookupDone { lookup, .. }
            | Self::LookupReply { lookup, .. }
            | Self::LookupStepped { lookup, .. }
            | Self::ItemFound { lookup, .. }
            | Self::ItemDone { lookup, .. }
            | Self::ItemPut { lookup, .. }
            | Self::Scraped { lookup, .. }
            | Self::Sampled { lookup, .. }
            | Self::Asked { lookup, .. } => Some(*lookup),
            Self::Bootstrapped { .. }
            | Self::BootstrapFailed { .. }
            | Self::AddressLearned { .. }
            | Self::AnnounceStored { .. } => None,
        }
    }

    /// Whether nothing follows that belongs to the same.
    pub fn is_last(&self) -> bool {
        matches!(
            self,
            Self::LookupDone { .. } | Self::Sampled { .. } | Self::Asked { .. }
        )
    }
}

/// A count of everything, cheap to take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct DhtStats {
    /// Good nodes in the routing table.
    pub good: usize,
    /// Questionable nodes in the routing table.
    pub questionable: usize,
    /// Buckets.
    pub buckets: usize,
    /// Queries sent.
    pub queries_sent: u64,
    /// Replies to our queries that matched.
    pub replies_received: u64,
    /// Our queries that timed out.
    pub timeouts: u64,
    /// Queries received and understood.
    pub queries_received: u64,
    /// Replies and errors sent.
    pub replies_sent: u64,
    /// Datagrams dropped: malformed, unmatched, over a budget, or from outside the network.
    pub dropped: u64,
    /// Info-hashes in the peer store.
    pub stored_hashes: usize,
    /// Peers in the peer store.
    pub stored_peers: usize,
    /// Items that are stored here for others.
    pub stored_items: usize,
    /// Lookups under way.
    pub lookups: usize,
}
