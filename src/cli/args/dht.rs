//! The DHT's part of the command line.

use std::{path::PathBuf, time::Duration};

use clap::{Args, Subcommand};
use mainswarm::{dht::item::KEY_LEN, ids::NodeId};

use super::{super::units::parse_duration, parse_host_port};

#[derive(Debug, Subcommand)]
pub(in super::super) enum DhtCommand {
    /// Run a DHT node that stays, answers, and prints what it sees
    Node,
    /// Ask an address whether a node is there
    Ping(PingArgs),
    /// Find the nodes closest to an id
    Find(FindArgs),
    /// Find a torrent's peers, one per line as they come
    Peers(PeersArgs),
    /// Announce a peer of a torrent: this machine's address with the port
    Announce(AnnounceArgs),
    /// Get an item (BEP 44) and print its value
    Get(ItemArgs),
    /// Put a text as an item (BEP 44) and print its target
    Put(PutArgs),
    /// Make a key for items that can be replaced, and print its public half
    Key(KeyArgs),
    /// Ask a node of which torrents it knows peers (BEP 51)
    Sample(SampleArgs),
    /// Ask node after node of which torrents they know peers, politely (BEP 51)
    Crawl(CrawlArgs),
    /// Follow a lookup hop by hop: who was asked, how long it took, what came back
    Trace(TraceArgs),
    /// Join, and print the routing table
    Table(TableArgs),
    /// About the nodes to start from
    #[command(subcommand)]
    Bootstrap(BootstrapCommand),
    /// Estimate how many nodes the network has
    Size(SizeArgs),
}

#[derive(Debug, Subcommand)]
pub(in super::super) enum BootstrapCommand {
    /// Ask each router, at each of its IPv4 and IPv6 addresses: alive or dead, and how fast
    Check(CheckArgs),
}

/// What most one-shot questions share.
#[derive(Debug, Clone, Args)]
pub(in super::super) struct Lookup {
    /// Give up after this long
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = parse_duration)]
    pub timeout: Duration,
    #[command(flatten)]
    pub brief: Brief,
    /// Show on stderr each step of the lookup
    #[arg(long)]
    pub trace: bool,
}

#[derive(Debug, Clone, Args)]
pub(in super::super) struct Brief {
    /// Print the bare datum: no other columns, no statistics
    #[arg(long)]
    pub short: bool,
}

#[derive(Debug, Args)]
pub(in super::super) struct PingArgs {
    /// The node's address
    #[arg(value_name = "HOST:PORT", value_parser = parse_host_port)]
    pub addr: String,
    /// Give up after this long; lost datagrams are repeated meanwhile
    #[arg(long, value_name = "DURATION", default_value = "8s", value_parser = parse_duration)]
    pub timeout: Duration,
    #[command(flatten)]
    pub brief: Brief,
}

#[derive(Debug, Args)]
pub(in super::super) struct FindArgs {
    /// The id: 40 hex digits
    #[arg(value_parser = parse_id)]
    pub id: NodeId,
    #[command(flatten)]
    pub lookup: Lookup,
}

#[derive(Debug, Args)]
pub(in super::super) struct PeersArgs {
    /// An info-hash or a magnet link
    #[arg(value_name = "INFOHASH|MAGNET")]
    pub source: String,
    /// Only estimate how many seeds and peers there are (BEP 33)
    #[arg(long)]
    pub scrape: bool,
    #[command(flatten)]
    pub lookup: Lookup,
}

#[derive(Debug, Args)]
pub(in super::super) struct AnnounceArgs {
    /// An info-hash or a magnet link
    #[arg(value_name = "INFOHASH|MAGNET")]
    pub source: String,
    /// The TCP port at which peers are served
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    pub port: u16,
    /// Count as a seed (BEP 33)
    #[arg(long)]
    pub seed: bool,
    #[command(flatten)]
    pub lookup: Lookup,
}

#[derive(Debug, Args)]
pub(in super::super) struct ItemArgs {
    /// The item's target (40 hex digits), or its owner's public key (64)
    #[arg(value_name = "TARGET|KEY", value_parser = parse_name_of_item)]
    pub name: ItemName,
    /// The salt it was put with
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub salt: String,
    /// Only if its sequence number is higher than this
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i64).range(0..))]
    pub seq: Option<i64>,
    #[command(flatten)]
    pub lookup: Lookup,
}

#[derive(Debug, Args)]
pub(in super::super) struct PutArgs {
    /// The text; `-` reads it from stdin
    pub text: String,
    /// The text is bencode, not a string
    #[arg(long)]
    pub bencode: bool,
    /// Sign it with this key of `dht key`, so that it can be replaced
    #[arg(long, value_name = "FILE")]
    pub key: Option<PathBuf>,
    /// Tells several items of one key apart
    #[arg(long, value_name = "TEXT", requires = "key", default_value = "")]
    pub salt: String,
    /// The sequence number [default: one more than the one that is found]
    #[arg(long, value_name = "N", requires = "key", value_parser = clap::value_parser!(i64).range(0..))]
    pub seq: Option<i64>,
    /// Replace only the item with this sequence number [default: the one that is found]
    #[arg(long, value_name = "N", requires = "key", value_parser = clap::value_parser!(i64).range(0..))]
    pub cas: Option<i64>,
    #[command(flatten)]
    pub lookup: Lookup,
}

#[derive(Debug, Args)]
pub(in super::super) struct KeyArgs {
    /// The file to make; one that exists is never replaced
    pub file: PathBuf,
    /// Make nothing: print the public half of a key that exists
    #[arg(long)]
    pub show: bool,
}

#[derive(Debug, Args)]
pub(in super::super) struct SampleArgs {
    /// The node's address
    #[arg(value_name = "HOST:PORT", value_parser = parse_host_port)]
    pub addr: String,
    /// Give up after this long
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = parse_duration)]
    pub timeout: Duration,
    #[command(flatten)]
    pub brief: Brief,
}

#[derive(Debug, Args)]
pub(in super::super) struct CrawlArgs {
    /// Ask so many nodes at most
    #[arg(long, value_name = "N", default_value = "100", value_parser = clap::value_parser!(u32).range(1..))]
    pub limit: u32,
    /// Ask so many nodes a second at most
    #[arg(long, value_name = "N", default_value = "10", value_parser = clap::value_parser!(u32).range(1..=100))]
    pub rate: u32,
    /// End after this long
    #[arg(long, value_name = "DURATION", default_value = "10m", value_parser = parse_duration)]
    pub timeout: Duration,
    #[command(flatten)]
    pub brief: Brief,
}

#[derive(Debug, Args)]
pub(in super::super) struct TraceArgs {
    /// An info-hash or a magnet link
    #[arg(value_name = "INFOHASH|MAGNET")]
    pub source: String,
    /// Give up after this long
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = parse_duration)]
    pub timeout: Duration,
    /// Only the replies that came closer or had peers
    #[arg(long)]
    pub short: bool,
}

#[derive(Debug, Args)]
pub(in super::super) struct TableArgs {
    /// Give up after this long
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = parse_duration)]
    pub timeout: Duration,
    #[command(flatten)]
    pub brief: Brief,
}

#[derive(Debug, Args)]
pub(in super::super) struct CheckArgs {
    /// How long to wait for each address
    #[arg(long, value_name = "DURATION", default_value = "8s", value_parser = parse_duration)]
    pub timeout: Duration,
    #[command(flatten)]
    pub brief: Brief,
}

#[derive(Debug, Args)]
pub(in super::super) struct SizeArgs {
    /// Give up after this long
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = parse_duration)]
    pub timeout: Duration,
    #[command(flatten)]
    pub brief: Brief,
}

/// How the user names an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum ItemName {
    Target(NodeId),
    Key([u8; KEY_LEN]),
}

fn parse_id(text: &str) -> Result<NodeId, String> {
    let advice = "expected 40 hex digits, for example an info-hash or what `dht find` prints";
    text.parse().map_err(|_| advice.to_owned())
}

fn parse_name_of_item(text: &str) -> Result<ItemName, String> {
    if let Ok(target) = text.parse() {
        return Ok(ItemName::Target(target));
    }
    let key = data_encoding::HEXLOWER_PERMISSIVE.decode(text.as_bytes());
    let key = key.ok().and_then(|key| key.try_into().ok());
    key.map(ItemName::Key)
        .ok_or_else(|| "expected 40 hex digits (a target) or 64 (a public key)".to_owned())
}
