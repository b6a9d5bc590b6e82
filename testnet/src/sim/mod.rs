//! The simulator: real nodes in virtual time.
//!
//! A [`World`] drives the same cores as the command does, [`Dht`](mainswarm::dht::Dht) and
//! [`Torrent`](mainswarm::torrent::Torrent), with every datagram and message really encoded and
//! decoded, over wires with delay, loss and rates of their own. A seed gives one run, on every
//! machine. [`world`] is the clock and the queue, [`node`] the shell around one node's cores,
//! [`link`] the delays, [`scenario`] whole experiments.

mod hash;
pub mod link;
pub mod node;
pub mod report;
pub mod scenario;
mod store;
mod stream;
mod wheel;
pub mod world;

pub use link::{Delay, LinkConfig};
pub use node::{LookupRecord, Node, NodeConfig, PeerConfig, PeerLog, TorrentSlot};
pub use store::Content;
pub use world::{Counts, World, WorldConfig};
