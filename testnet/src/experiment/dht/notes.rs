//! What an experiment writes down while it runs.

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

/// A lookup that was made.
#[derive(Debug, Clone, Copy)]
pub(super) struct Looked {
    /// The world's record of it.
    pub(super) record: usize,
    /// Since measuring began.
    pub(super) at: Duration,
    /// Who should be found.
    pub(super) announcer: SocketAddr,
    /// Where it was made.
    pub(super) side: Side,
}

/// Whether a lookup has to do with a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    /// There is none yet.
    Whole,
    /// Both ends are on the same side of it.
    Same,
    /// It is over, and the ends were on different sides.
    Across,
}

/// An announce that was made.
#[derive(Debug, Clone, Copy)]
pub(super) struct Announced {
    pub(super) record: usize,
    pub(super) key: u32,
}

/// Nodes that joined together in an event of the plan.
#[derive(Debug, Clone)]
pub(super) struct Newcomers {
    pub(super) nodes: Vec<u32>,
    /// They had a saved table, not only the routers.
    pub(super) cached: bool,
    /// All routers were gone.
    pub(super) orphaned: bool,
    /// The share that got in, once it was counted.
    pub(super) joined: f64,
}

/// A look at the tables.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sampled {
    pub(super) at: Duration,
    /// The share of entries that are gone.
    pub(super) stale: f64,
    /// The share of entries that cannot be reached from outside.
    pub(super) unreachable: f64,
    pub(super) population: usize,
    pub(super) events: u64,
    pub(super) wall: f64,
}

/// The counts of some nodes when measuring began.
#[derive(Debug, Clone, Copy)]
pub(super) struct Idle {
    pub(super) node: u32,
    pub(super) sent: u64,
}

/// All of it.
#[derive(Debug, Default)]
pub(super) struct Notes {
    pub(super) looked: Vec<Looked>,
    /// When each that is gone went, since the world began.
    pub(super) gone: BTreeMap<u32, Duration>,
    pub(super) announced: Vec<Announced>,
    /// Records of lookups for nobody's key.
    pub(super) probes: Vec<usize>,
    /// For each announce, which of those who should hold it do.
    pub(super) recall: Vec<f64>,
    pub(super) newcomers: Vec<Newcomers>,
    pub(super) samples: Vec<Sampled>,
    pub(super) idle: Vec<Idle>,
    /// Datagrams and bytes when measuring began.
    pub(super) sent_before: (u64, u64),
    /// When the first network-wide event came, since measuring began.
    pub(super) kill: Option<Duration>,
    pub(super) routers_died: Option<Duration>,
    pub(super) healed: Option<Duration>,
    /// When 99 % of all nodes had eight live contacts, since the world began.
    pub(super) connected: Option<Duration>,
}
