//! The simulator: real nodes in virtual time.
//!
//! A [`World`] drives the same cores as the command does, [`Dht`](mainswarm::dht::Dht) and
//! [`Torrent`](mainswarm::torrent::Torrent), with every datagram and message really encoded and
//! decoded, over wires with delay, loss, rates, NATs and partitions of their own. A seed gives one
//! run, on every machine and on any number of threads.
//!
//! ```text
//! World ── Shard ─┬─ Medium: Wheel (what is to come), Links (delays, loss), packets under way
//! (threads)       └─ Node ── Line: NAT, streams, access rates
//!                      └──── Dht, Torrents, storage; or an Actor of your own
//! ```
//!
//! [`world`] is what an experiment calls, [`node`] the shell around one node's cores, [`link`] the
//! delays, [`scenario`] whole experiments. What happens to a node follows from what is delivered to
//! it and in which order: by time, then by the node that caused it, then by that node's own count.
//! Nothing else is shared, so shards run side by side for as long as the shortest delay.

mod actor;
mod address;
pub mod adversary;
pub(crate) mod hash;
pub(crate) mod keyspace;
mod line;
pub mod link;
mod medium;
mod nat;
pub mod node;
pub mod report;
pub mod scenario;
mod shard;
mod speed;
mod store;
mod strategy;
mod stream;
mod threads;
mod ties;
pub mod tyrant;
mod warm;
mod wheel;
pub mod world;

pub use actor::{Actor, ActorContext};
pub(crate) use address::MAX_NODES;
pub use link::{Delay, LinkConfig};
pub use nat::{NAT_IDLE, Nat};
pub use node::{Node, NodeConfig, PeerConfig, PeerLog, TorrentSlot};
pub use speed::Speed;
pub use store::Content;
pub use strategy::Strategy;
pub use ties::{Ban, Tie};
pub use warm::WarmStart;
pub use world::{Counts, LookupRecord, World, WorldConfig};
