//! BEP 42's table of node ids, ids that differ from it in one bit, and IPv6.

use std::net::IpAddr;

use mainswarm::{
    dht::node_id::{bind, conforms},
    ids::NodeId,
};
use serde_json::Value;

fn rows(group: &str) -> Vec<Value> {
    let vectors: Value = serde_json::from_str(include_str!("vectors/bep42.json")).unwrap();
    vectors[group].as_array().unwrap().clone()
}

fn text<'a>(row: &'a Value, key: &str) -> &'a str {
    row[key].as_str().unwrap()
}

fn ip(row: &Value) -> IpAddr {
    text(row, "ip").parse().unwrap()
}

#[test]
fn published_and_derived_ids_are_told_apart() {
    let (published, derived) = (rows("published"), rows("derived"));
    assert_eq!((published.len(), derived.len()), (5, 20));
    for row in published.iter().chain(&derived) {
        let id: NodeId = text(row, "id").parse().unwrap();
        assert_eq!(
            conforms(&ip(row), &id),
            row["valid"].as_bool().unwrap(),
            "{row}"
        );
        assert!(conforms(&ip(row), &bind(&ip(row), id)), "{row}");
    }
    for row in published {
        let id: NodeId = text(&row, "id").parse().unwrap();
        assert_eq!(bind(&ip(&row), id), id, "{row}");
    }
}

#[test]
fn ids_of_ipv6_addresses_begin_as_computed_elsewhere() {
    let rows = rows("derived_v6");
    assert_eq!(rows.len(), 8);
    for row in rows {
        let mut wish = [0; 20];
        wish[19] = u8::try_from(row["r"].as_u64().unwrap()).unwrap();
        let id = bind(&ip(&row), NodeId::new(wish)).to_string();
        assert_eq!(&id[..6], text(&row, "id_prefix_21_bits"), "{row}");
    }
}

#[test]
fn blocks_of_local_networks_are_exempt() {
    let anything = NodeId::new([0xa5; 20]);
    let rows = rows("exempt");
    assert_eq!(rows.len(), 5);
    for row in rows {
        let (block, bits) = row.as_str().unwrap().split_once('/').unwrap();
        let first: std::net::Ipv4Addr = block.parse().unwrap();
        let size = 1u32 << (32 - bits.parse::<u32>().unwrap());
        for within in [0, 1, size / 2, size - 1] {
            let ip = std::net::Ipv4Addr::from_bits(first.to_bits() + within);
            assert!(conforms(&ip.into(), &anything), "{ip}");
        }
        for outside in [first.to_bits() - 1, first.to_bits() + size] {
            let ip = std::net::Ipv4Addr::from_bits(outside);
            assert!(!conforms(&ip.into(), &anything), "{ip}");
        }
    }
}
