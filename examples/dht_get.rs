//! Prints an item of the DHT (BEP 44) in bencode: `cargo run --example dht_get TARGET [BOOTSTRAP]`.
//! With the address of a node of a private network it asks that network, otherwise the public one.
#![allow(clippy::print_stdout, reason = "an example prints")]

use std::{env, error::Error};

use mainswarm::{dht::ItemQuery, network::Network, session::DhtNode, text::printable};

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = env::args().skip(1);
    let target = args.next().ok_or("name a target")?.parse()?;
    let bootstrap: Vec<String> = args.collect();
    let network = match bootstrap.is_empty() {
        true => Network::Mainline,
        false => Network::Private,
    };
    let dht = DhtNode::builder(network)
        .read_only(true)
        .bootstrap(bootstrap)
        .start_blocking()?;
    let item = dht.get_item(ItemQuery::new(target));
    let item = item.ok_or("no node has it")?;
    println!("{}", printable(item.value()));
    Ok(())
}
