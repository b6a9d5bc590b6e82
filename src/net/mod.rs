//! The tokio shell: the only home of sockets, tasks and clocks.
//!
//! One task owns one core and nobody else touches it: `dht_task` a [`crate::dht::Dht`] and its UDP
//! socket, `torrent_task` a [`crate::torrent::Torrent`]. Others hold a handle: commands go in by
//! channel, snapshots come out by `watch`, events by `broadcast`. Every loop is the same: wait for
//! an input or the deadline, take `now` once, feed a bounded number of inputs, drain the core with
//! one `drive(now)`.
//!
//! ```text
//! UDP ── dht_task(Dht) ──peers──► torrent_task(Torrent) ◄──batches── connection ── TCP
//!            ▲  lookups, nodes          │        ▲   └──────batches──────►
//!            └──────────────────────────┤        │
//!                               requests ▼        │ results
//!                                     storage_pool (threads)
//! TCP ── listener ──handshaken──► torrent_task ──dial──► dialer ──handshaken──► torrent_task
//! ```
//!
//! Shutdown, in this order, the whole bounded to a few seconds:
//! 1. the listener ends: nobody new comes in;
//! 2. every torrent stops: its core closes its connections, then its storage writes what it was
//!    given and records its state as clean;
//! 3. the DHT node saves its id and nodes and ends;
//! 4. the sockets close with the tasks that own them.

pub(crate) mod budgets;
mod connection;
mod deadline;
pub(crate) mod dht_state;
pub(crate) mod dht_task;
pub(crate) mod dialer;
mod handshake;
pub(crate) mod listener;
mod lookup_schedule;
pub(crate) mod resolve;
mod selection;
pub(crate) mod sockets;
pub mod storage_pool;
pub(crate) mod torrent_handle;
pub(crate) mod torrent_task;
