//! Stores a text in the DHT (BEP 44): `cargo run --example dht_put TEXT [BOOTSTRAP]`, and prints its
//! target. With the address of a node of a private network it goes to that network, otherwise to
//! the public one.
#![allow(clippy::print_stdout, reason = "an example prints")]

use std::{env, error::Error};

use mainswarm::{bencode, dht::Item, network::Network, session::DhtNode};

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = env::args().skip(1);
    let text = args.next().ok_or("name a text")?;
    let bootstrap: Vec<String> = args.collect();
    let network = match bootstrap.is_empty() {
        true => Network::Mainline,
        false => Network::Private,
    };
    let mut value = Vec::new();
    bencode::write_bytes(&mut value, text.as_bytes());
    let item = Item::immutable(&value)?;
    let dht = DhtNode::builder(network)
        .read_only(true)
        .bootstrap(bootstrap)
        .start_blocking()?;
    let put = dht.put_item(item, None).ok_or("the node has ended")?;
    println!("{} is on {} nodes, for two hours", put.target, put.stored);
    Ok(())
}
