//! `dht table` and `dht size`: what a node that has joined knows of the network.

use std::net::SocketAddr;

use mainswarm::{
    dht::TableNode,
    ids::NodeId,
    session::{Job, Snapshot},
};
use serde::Serialize;

use super::{
    super::{
        args::{SizeArgs, TableArgs},
        exit::{Exit, Failure},
        progress::plural,
        units,
    },
    asker::{Asker, late},
    show::seconds,
};

/// Ours: from so many lookups the estimate is off by about 11 %; more would trouble more nodes for
/// little.
const LOOKUPS: usize = 16;
/// Ours: as many at once.
const AT_ONCE: usize = 4;

/// `dht table`.
pub(super) async fn table(asker: &mut Asker<'_>, args: &TableArgs) -> Result<(), Failure> {
    #[derive(Serialize)]
    struct Table {
        id: String,
        external_ip: Option<String>,
        nodes: Vec<Row>,
    }
    asker.join().await?;
    let snapshot = snapshot(asker).await?;
    if asker.ui.json() {
        return asker.ui.data_json(&Table {
            id: snapshot.id.to_string(),
            external_ip: snapshot.external_ip.map(|ip| ip.to_string()),
            nodes: snapshot.table.iter().map(Row::from).collect(),
        });
    }
    for node in &snapshot.table {
        match args.brief.short {
            true => asker.ui.data(&node.contact.addr.to_string())?,
            false => asker.ui.data(&Row::from(node).text(node))?,
        }
    }
    if !args.brief.short {
        asker.ui.note(&format!(
            ";; {} in {} around {}; {}",
            plural(snapshot.table.len(), "node"),
            plural(snapshot.stats.buckets, "bucket"),
            snapshot.id,
            units::duration(asker.elapsed()),
        ));
    }
    Ok(())
}

/// One node of the table.
#[derive(Debug, Serialize)]
struct Row {
    bucket: usize,
    id: String,
    addr: SocketAddr,
    rtt_seconds: f64,
    silent_seconds: u64,
    good: bool,
    failures: u8,
    verified: bool,
}

impl From<&TableNode> for Row {
    fn from(node: &TableNode) -> Self {
        Self {
            bucket: node.bucket,
            id: node.contact.id.to_string(),
            addr: node.contact.addr,
            rtt_seconds: seconds(node.rtt),
            silent_seconds: node.silent.as_secs(),
            good: node.good,
            failures: node.failures,
            verified: node.verified,
        }
    }
}

impl Row {
    fn text(&self, node: &TableNode) -> String {
        let state = match (self.good, self.failures) {
            (true, _) => "good",
            (false, 0) => "questionable",
            (false, _) => "failing",
        };
        let verified = if self.verified { ", verified" } else { "" };
        format!(
            "{:>3}  {}  {:<21}  {:>7}  {state}{verified}",
            self.bucket,
            self.id,
            self.addr,
            // Kept in whole milliseconds.
            units::duration(node.rtt),
        )
    }
}

/// `dht size`.
pub(super) async fn size(asker: &mut Asker<'_>, args: &SizeArgs) -> Result<(), Failure> {
    #[derive(Serialize)]
    struct Size {
        nodes: f64,
        /// The relative standard deviation.
        spread: f64,
        lookups: usize,
        elapsed_seconds: f64,
    }
    asker.join().await?;
    for _ in 0..LOOKUPS / AT_ONCE {
        let lookups = [(); AT_ONCE].map(|()| {
            let target = NodeId::new(rand::random());
            asker.dht().start(Job::FindNode(target))
        });
        for mut lookup in lookups {
            let ended = asker.in_time(async { while lookup.next().await.is_some() {} });
            ended.await.ok_or_else(late)?;
        }
    }
    let snapshot = snapshot(asker).await?;
    let Some(size) = snapshot.size else {
        let known = plural(snapshot.table.len(), "node");
        let text = format!(
            "{known} answered, too few for an estimate: the network is no larger than that, or \
             most of it is out of reach"
        );
        return Err(Failure::new(Exit::NothingFound, text));
    };
    let nodes = size.nodes.round();
    if asker.ui.json() {
        return asker.ui.data_json(&Size {
            nodes,
            spread: size.spread,
            lookups: size.lookups,
            elapsed_seconds: seconds(asker.elapsed()),
        });
    }
    if args.brief.short {
        return asker.ui.data(&format!("{nodes:.0}"));
    }
    let spread = 100.0 * size.spread;
    asker.ui.data(&format!(
        "about {nodes:.0} nodes, give or take {spread:.0} %"
    ))?;
    asker.ui.note(&format!(
        ";; by {}; {}",
        plural(size.lookups, "lookup"),
        units::duration(asker.elapsed()),
    ));
    Ok(())
}

async fn snapshot(asker: &Asker<'_>) -> Result<Snapshot, Failure> {
    let snapshot = asker.dht().snapshot().await;
    snapshot.ok_or_else(|| Failure::new(Exit::Other, "the DHT node has ended; try again"))
}
