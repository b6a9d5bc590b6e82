//! mainswarm: a trackerless BitTorrent peer node.
//!
//! A Kademlia-style DHT (Mainline, [BEP 5]) finds peers by info-hash in place of a tracker and
//! feeds their addresses into a TCP chunk exchanger with rarest-first and tit-for-tat unchoking.
//! Both are *cores*: plain values that own no socket, clock, thread, lock or file. A *shell* tells
//! a core what happened and carries out what it asks for. There are three shells, over the same
//! two cores: tokio ([`net`]), the virtual-time simulator of the `testnet` member, and tests.
//!
//! ```text
//!   UDP ── net::dht_task ── dht::Dht ─── peers ──┐
//!                                                ▼
//!   TCP ── net::connection ── wire ── torrent::Torrent ── storage ── files
//!                                                ▲
//!          session::Session: one node, many torrents; what the command line talks to
//! ```
//!
//! Where to look first:
//!
//! | question | place |
//! |---|---|
//! | who may download from us? (tit-for-tat, optimistic unchoke) | [`torrent::choker`] |
//! | which piece next? (rarest first, random first, endgame) | `torrent/picker.rs`, `torrent/requests.rs` |
//! | how many requests at once? (pipelining, anti-snubbing) | `torrent/pipeline.rs` |
//! | how is a peer found? (the iterative lookup) | `dht/lookup.rs` |
//! | where does a datagram enter? | [`dht::Dht::handle_datagram`], called by `net/dht_task.rs` |
//! | where does a message enter? | [`torrent::Torrent::handle_message`], called by `net/torrent_task.rs` |
//! | what is on the wire? | [`wire`], `dht/krpc.rs`, behind the bounded scanner [`bencode`] |
//! | what survives a crash? | `storage/resume.rs` |
//!
//! The library builds without tokio (`default-features = false`): then it is the two cores, the
//! codecs and the storage. With the default feature `net` it has the [`session`] as well.
//!
//! [BEP 5]: https://www.bittorrent.org/beps/bep_0005.html

#![warn(clippy::unwrap_used)]
#![cfg_attr(not(test), deny(clippy::disallowed_methods, clippy::disallowed_types))]

// Leaves: plain values; time, where there is any, is passed in.
pub mod bencode;
pub mod bitfield;
pub mod compact;
pub mod ids;
pub mod network;
pub mod rate;
pub mod text;

// Codecs.
pub mod metainfo;
pub mod wire;

// The two cores.
pub mod dht;
pub mod torrent;

pub mod storage;

// The tokio shell.
#[cfg(feature = "net")]
pub mod net;
#[cfg(feature = "net")]
pub mod session;
