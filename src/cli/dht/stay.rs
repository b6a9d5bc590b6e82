//! `mainswarm dht node`: a node that stays.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use mainswarm::{
    dht::{DhtEvent, DhtStats},
    session::{DhtHandle, DhtMode},
};
use serde::Serialize;
use tokio::{
    sync::broadcast,
    time::{MissedTickBehavior, interval},
};

use super::{
    super::{
        args::Common,
        exit::Failure,
        node::{self, Interrupt, Stay},
        progress::plural,
        ui::Ui,
    },
    dht_off,
};

/// How often `dht node` prints its counts.
const COUNTS_INTERVAL: Duration = Duration::from_secs(10);

/// One line of `dht node --json`.
#[derive(Debug, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
enum Seen {
    Listening {
        addr: SocketAddr,
        id: String,
        network: &'static str,
    },
    Bootstrapped {
        nodes: usize,
    },
    BootstrapFailed {
        asked: usize,
        retry_seconds: f64,
    },
    Announce {
        info_hash: String,
        peer: SocketAddr,
    },
    Missed {
        events: u64,
    },
    Counts {
        good: usize,
        questionable: usize,
        buckets: usize,
        queries_received: u64,
        replies_sent: u64,
        queries_sent: u64,
        replies_received: u64,
        timeouts: u64,
        dropped: u64,
        stored_hashes: usize,
        stored_peers: usize,
    },
}

impl Seen {
    fn counts(stats: &DhtStats) -> Self {
        Self::Counts {
            good: stats.good,
            questionable: stats.questionable,
            buckets: stats.buckets,
            queries_received: stats.queries_received,
            replies_sent: stats.replies_sent,
            queries_sent: stats.queries_sent,
            replies_received: stats.replies_received,
            timeouts: stats.timeouts,
            dropped: stats.dropped,
            stored_hashes: stats.stored_hashes,
            stored_peers: stats.stored_peers,
        }
    }

    /// The same for people.
    fn line(&self) -> String {
        match self {
            Self::Listening { addr, id, network } => {
                format!("listening on {addr}, network {network}, id {id}")
            }
            Self::Bootstrapped { nodes } => {
                format!("bootstrapped: {} in the table", plural(*nodes, "node"))
            }
            Self::BootstrapFailed { asked: 0, .. } => {
                "no node to start from: waiting for others to call, or start with --bootstrap"
                    .into()
            }
            Self::BootstrapFailed {
                asked,
                retry_seconds,
            } => format!(
                "no answer from {} to start from; trying again in {retry_seconds:.0} s (check that \
                 UDP gets out, or name a live node with --bootstrap)",
                plural(*asked, "node")
            ),
            Self::Announce { info_hash, peer } => format!("announce {info_hash} {peer}"),
            Self::Missed { events } => {
                format!(
                    "{} came too fast to print",
                    plural(*events as usize, "event")
                )
            }
            Self::Counts {
                good,
                questionable,
                buckets,
                queries_received,
                replies_sent,
                queries_sent,
                replies_received,
                timeouts,
                dropped,
                stored_hashes,
                stored_peers,
            } => format!(
                "nodes {good} good, {questionable} questionable in {buckets} buckets; \
                 in {queries_received} queries, {replies_sent} replied, {dropped} dropped; \
                 out {queries_sent} queries, {replies_received} replied, {timeouts} timed out; \
                 store {stored_peers} peers of {stored_hashes} torrents"
            ),
        }
    }

    fn print(&self, ui: &Ui) -> Result<(), Failure> {
        if ui.json() {
            ui.data_json(self)
        } else {
            ui.data(&self.line())
        }
    }
}

/// `dht node`: stays until a signal.
pub(super) async fn run(ui: &Ui, common: &Common, mut interrupt: Interrupt) -> Result<(), Failure> {
    let session = node::start(ui, common, DhtMode::Full, Stay::Lasting).await?;
    let dht = session.dht().ok_or_else(dht_off)?;
    let listening = Seen::Listening {
        addr: session.local_addr(),
        id: dht.id().to_string(),
        network: common.network.name(),
    };
    let result = match listening.print(ui) {
        Ok(()) => watch_node(ui, dht, &mut interrupt).await,
        Err(failure) => Err(failure),
    };
    session.shutdown().await;
    result
}

async fn watch_node(ui: &Ui, dht: &DhtHandle, interrupt: &mut Interrupt) -> Result<(), Failure> {
    let mut events = dht.events();
    let stats = dht.stats();
    let mut tick = interval(COUNTS_INTERVAL);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    tick.tick().await;
    // The event may have come before we listened.
    let mut bootstrapped = false;
    let ready = dht.bootstrapped();
    tokio::pin!(ready);
    loop {
        let seen = tokio::select! {
            () = interrupt.wait() => return Ok(()),
            usable = &mut ready, if !bootstrapped => {
                bootstrapped = true;
                let nodes = stats.borrow().good;
                usable.then_some(Seen::Bootstrapped { nodes })
            }
            event = events.recv() => match event {
                Ok(event) => seen(event),
                Err(broadcast::error::RecvError::Lagged(events)) => Some(Seen::Missed { events }),
                Err(broadcast::error::RecvError::Closed) => return Ok(()),
            },
            _ = tick.tick() => Some(Seen::counts(&stats.borrow())),
        };
        if let Some(seen) = seen {
            seen.print(ui)?;
        }
    }
}

/// What of an event concerns somebody who watches a node. Lookups are its own upkeep.
fn seen(event: DhtEvent) -> Option<Seen> {
    match event {
        DhtEvent::BootstrapFailed { asked, retry_at } => Some(Seen::BootstrapFailed {
            asked,
            retry_seconds: retry_at
                .saturating_duration_since(Instant::now())
                .as_secs_f64()
                .round(),
        }),
        DhtEvent::AnnounceStored { info_hash, peer } => Some(Seen::Announce {
            info_hash: info_hash.to_string(),
            peer,
        }),
        _ => None,
    }
}
