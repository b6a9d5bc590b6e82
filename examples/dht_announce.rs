//! Announces this machine as a peer of a torrent: `cargo run --example dht_announce INFOHASH PORT
//! [BOOTSTRAP]`. With the address of a node of a private network it tells that network, otherwise
//! the public one. Nodes forget it in half an hour: a real peer announces itself again.
#![allow(clippy::print_stdout, reason = "an example prints")]

use std::{env, error::Error};

use mainswarm::{dht::AnnouncePort, network::Network, session::DhtNode};

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = env::args().skip(1);
    let info_hash = args.next().ok_or("name an info-hash")?.parse()?;
    let port = AnnouncePort::Explicit(args.next().ok_or("name a port")?.parse()?);
    let bootstrap: Vec<String> = args.collect();
    let network = match bootstrap.is_empty() {
        true => Network::Mainline,
        false => Network::Private,
    };
    let dht = DhtNode::builder(network)
        .read_only(true)
        .bootstrap(bootstrap)
        .start_blocking()?;
    let stats = dht.announce(info_hash, port, false);
    let stats = stats.ok_or("the node has ended")?;
    println!("{} nodes know of us", stats.announced);
    Ok(())
}
