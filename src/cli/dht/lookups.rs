//! `dht find`, `peers`, `announce` and `trace`: lookups, and what they bring.

use std::{collections::BTreeSet, net::SocketAddr};

use mainswarm::{
    dht::{AnnouncePort, Contact, DhtEvent, LookupStats},
    ids::{InfoHash, NodeId},
    session::Job,
};
use serde::Serialize;

use super::{
    super::{
        args::{AnnounceArgs, FindArgs, Lookup, TraceArgs},
        exit::Failure,
        progress::plural,
    },
    asker::{Asker, Told, late},
    show::{ShownNode, ShownStats, Tracer, shared_bits},
};

/// `dht find`: the closest nodes, closest first.
pub(super) async fn find(asker: &mut Asker<'_>, args: &FindArgs) -> Result<(), Failure> {
    #[derive(Serialize)]
    struct Found {
        target: String,
        nodes: Vec<ShownNode>,
        #[serde(flatten)]
        stats: ShownStats,
    }
    let running = asker.start(Job::FindNode(args.id), &args.lookup);
    let mut nodes: Vec<Contact> = Vec::new();
    let stats = asker.run(running, tracer(args.id, &args.lookup), |_, event| {
        if let DhtEvent::LookupDone { closest, .. } = event {
            nodes = closest;
        }
        Ok(())
    });
    let stats = stats.await?;
    let Some(stats) = stats.filter(|_| !nodes.is_empty()) else {
        return Err(asker.fruitless(stats, "none has an id; this cannot be a DHT"));
    };
    if asker.ui.json() {
        return asker.ui.data_json(&Found {
            target: args.id.to_string(),
            nodes: nodes.iter().map(ShownNode::from).collect(),
            stats: ShownStats::from(&stats),
        });
    }
    for Contact { id, addr } in &nodes {
        match args.lookup.brief.short {
            true => asker.ui.data(&addr.to_string())?,
            false => {
                let bits = shared_bits(&args.id, id);
                asker
                    .ui
                    .data(&format!("{id}  {addr:<21}  {bits:>3} bits"))?;
            }
        }
    }
    if !args.lookup.brief.short {
        asker.footer(&plural(nodes.len(), "node"), &stats);
    }
    Ok(())
}

/// One line of `dht peers --json`.
#[derive(Debug, Serialize)]
struct Peer {
    peer: SocketAddr,
}

/// `dht peers`: prints peers as they come.
pub(super) async fn peers(
    asker: &mut Asker<'_>,
    info_hash: InfoHash,
    args: &Lookup,
) -> Result<(), Failure> {
    let running = asker.start(Job::GetPeers(info_hash), args);
    let mut known: BTreeSet<SocketAddr> = BTreeSet::new();
    let tracer = tracer(info_hash.as_target(), args);
    let stats = asker.run(running, tracer, |asker, event| {
        let DhtEvent::PeersFound { peers, .. } = event else {
            return Ok(());
        };
        for peer in peers {
            if !known.insert(peer) {
                continue;
            }
            match asker.ui.json() {
                true => asker.ui.data_json(&Peer { peer })?,
                false => asker.ui.data(&peer.to_string())?,
            }
        }
        Ok(())
    });
    let stats = stats.await?;
    if known.is_empty() {
        let nothing = "none knows this torrent: no peers; check the info-hash, or that somebody \
                       shares it";
        return Err(asker.fruitless(stats, nothing));
    }
    if !args.brief.short {
        asker.footer(&plural(known.len(), "peer"), &stats.unwrap_or_default());
    }
    match stats {
        Some(_) => Ok(()),
        None => Err(late()),
    }
}

/// `dht peers --scrape`: how many there are.
pub(super) async fn scrape(
    asker: &mut Asker<'_>,
    info_hash: InfoHash,
    args: &Lookup,
) -> Result<(), Failure> {
    #[derive(Serialize)]
    struct Counted {
        info_hash: String,
        seeds: u32,
        peers: u32,
        nodes: u32,
        #[serde(flatten)]
        stats: ShownStats,
    }
    let running = asker.start(Job::Scrape(info_hash), args);
    let mut found = (0, 0, 0);
    let tracer = tracer(info_hash.as_target(), args);
    let stats = asker.run(running, tracer, |_, event| {
        if let DhtEvent::Scraped {
            seeds,
            peers,
            nodes,
            ..
        } = event
        {
            found = (seeds, peers, nodes);
        }
        Ok(())
    });
    let stats = stats.await?;
    let (seeds, peers, nodes) = found;
    let Some(stats) = stats.filter(|_| nodes > 0) else {
        return Err(asker.fruitless(stats, "none knows this torrent"));
    };
    if asker.ui.json() {
        return asker.ui.data_json(&Counted {
            info_hash: info_hash.to_string(),
            seeds,
            peers,
            nodes,
            stats: ShownStats::from(&stats),
        });
    }
    if args.brief.short {
        return asker.ui.data(&format!("{seeds} {peers}"));
    }
    let (seeds, peers) = (
        plural(seeds as usize, "seed"),
        plural(peers as usize, "peer"),
    );
    asker.ui.data(&format!("about {seeds} and {peers}"))?;
    asker.footer(
        &format!("told by {}", plural(nodes as usize, "node")),
        &stats,
    );
    Ok(())
}

/// `dht announce`.
pub(super) async fn announce(
    asker: &mut Asker<'_>,
    info_hash: InfoHash,
    args: &AnnounceArgs,
) -> Result<(), Failure> {
    #[derive(Serialize)]
    struct Announced {
        info_hash: String,
        port: u16,
        seed: bool,
        announced: u32,
        #[serde(flatten)]
        stats: ShownStats,
    }
    let job = Job::Announce {
        info_hash,
        port: AnnouncePort::Explicit(args.port),
        seed: args.seed,
    };
    let running = asker.start(job, &args.lookup);
    let tracer = tracer(info_hash.as_target(), &args.lookup);
    let stats = asker.run(running, tracer, |_, _| Ok(())).await?;
    let Some(stats) = stats.filter(|stats| stats.announced > 0) else {
        let nothing = "none took the announce; they may be overloaded, so try again later";
        return Err(asker.fruitless(stats, nothing));
    };
    if asker.ui.json() {
        return asker.ui.data_json(&Announced {
            info_hash: info_hash.to_string(),
            port: args.port,
            seed: args.seed,
            announced: stats.announced,
            stats: ShownStats::from(&stats),
        });
    }
    if args.lookup.brief.short {
        return asker.ui.data(&stats.announced.to_string());
    }
    let nodes = plural(stats.announced as usize, "node");
    let port = args.port;
    asker.ui.data(&format!(
        "announced {info_hash} with port {port} to {nodes}"
    ))?;
    asker.footer("they forget it in half an hour", &stats);
    Ok(())
}

/// `dht trace`: each step of a lookup for peers.
pub(super) async fn trace(
    asker: &mut Asker<'_>,
    info_hash: InfoHash,
    args: &TraceArgs,
) -> Result<(), Failure> {
    let mut running = asker.dht().start_traced(Job::GetPeers(info_hash));
    let mut tracer = Tracer::new(info_hash.as_target());
    let stats = loop {
        let event = match asker.next(&mut running).await {
            Told::Event(event) => event,
            Told::End | Told::Late => break None,
            Told::Nobody => return Err(asker.nobody()),
        };
        if let DhtEvent::LookupDone { stats, .. } = event {
            break Some(stats);
        }
        let Some(step) = tracer.step(&event) else {
            continue;
        };
        if asker.ui.json() {
            asker.ui.data_json(&step)?;
        } else if !args.short || step.is_gain() {
            asker.ui.data(&step.text())?;
        }
    };
    match stats {
        None | Some(LookupStats { replied: 0, .. }) => Err(asker.fruitless(stats, "")),
        Some(stats) => {
            if !args.short {
                asker.footer(&plural(stats.peers as usize, "peer"), &stats);
            }
            Ok(())
        }
    }
}

/// Shows the steps, if the user wants to see them.
pub(super) fn tracer(target: NodeId, args: &Lookup) -> Option<Tracer> {
    args.trace.then(|| Tracer::new(target))
}
