//! Finds a torrent's peers: `cargo run --example dht_peers INFOHASH [BOOTSTRAP]`. With the address
//! of a node of a private network it asks that network, otherwise the public one.
#![allow(clippy::print_stdout, reason = "an example prints")]

use std::{env, error::Error};

use mainswarm::{network::Network, session::DhtNode};

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = env::args().skip(1);
    let info_hash = args.next().ok_or("name an info-hash")?.parse()?;
    let bootstrap: Vec<String> = args.collect();
    let network = match bootstrap.is_empty() {
        true => Network::Mainline,
        false => Network::Private,
    };
    let dht = DhtNode::builder(network)
        .read_only(true)
        .bootstrap(bootstrap)
        .start_blocking()?;
    for peer in dht.peers(info_hash) {
        println!("{peer}");
    }
    Ok(())
}
