//! BEP 44's items, byte for byte, and what must not be one; BEP 33's filter.

use std::net::{Ipv4Addr, Ipv6Addr};

use mainswarm::{
    dht::{
        Item, ItemError,
        item::{KEY_LEN, SIGNATURE_LEN, mutable_target, signed_bytes},
        krpc::Fault,
        scrape::Bloom,
    },
    ids::NodeId,
};
use serde_json::Value;

fn vectors() -> Value {
    serde_json::from_str(include_str!("vectors/bep44.json")).unwrap()
}

fn hex(value: &Value) -> Vec<u8> {
    let text = value.as_str().unwrap_or_default();
    data_encoding::HEXLOWER.decode(text.as_bytes()).unwrap()
}

fn key(vectors: &Value) -> [u8; KEY_LEN] {
    hex(&vectors["public_key"]).try_into().unwrap()
}

/// A row as an item, with the salt given or its own.
fn item(vectors: &Value, row: &Value, salt: &[u8], flip: Option<usize>) -> Result<Item, ItemError> {
    let mut signature: [u8; SIGNATURE_LEN] = hex(&row["sig"]).try_into().unwrap();
    if let Some(bit) = flip {
        signature[bit / 8] ^= 1 << (bit % 8);
    }
    let (value, seq) = (hex(&row["v_bencoded_hex"]), row["seq"].as_i64().unwrap());
    Item::signed(&key(vectors), salt, seq, &signature, &value)
}

#[test]
fn mutable_items_have_their_buffer_signature_and_target() {
    use ed25519_dalek::{Sha512, VerifyingKey, hazmat};
    let vectors = vectors();
    let expanded: [u8; 64] = hex(&vectors["private_key_expanded"]).try_into().unwrap();
    let secret = hazmat::ExpandedSecretKey::from_bytes(&expanded);
    let public = VerifyingKey::from_bytes(&key(&vectors)).unwrap();
    let rows = vectors["mutable"].as_array().unwrap();
    assert_eq!(rows.len(), 8);
    for row in rows {
        let (salt, value) = (hex(&row["salt_hex"]), hex(&row["v_bencoded_hex"]));
        let buffer = signed_bytes(&salt, row["seq"].as_i64().unwrap(), &value);
        assert_eq!(buffer, hex(&row["sign_buffer_hex"]), "{row}");
        let signature = hazmat::raw_sign::<Sha512>(&secret, &buffer, &public);
        assert_eq!(signature.to_bytes()[..], hex(&row["sig"]), "{row}");
        let item = item(&vectors, row, &salt, None).unwrap();
        let target = NodeId::from_slice(&hex(&row["target"])).unwrap();
        assert_eq!(item.target(), target, "{row}");
        assert_eq!(mutable_target(&key(&vectors), &salt), target, "{row}");
        assert_eq!((item.value(), item.salt()), (&value[..], &salt[..]));
    }
}

#[test]
fn immutable_items_have_their_target() {
    let vectors = vectors();
    let rows = vectors["immutable"].as_array().unwrap();
    assert_eq!(rows.len(), 6);
    for row in rows {
        let item = Item::immutable(&hex(&row["v_bencoded_hex"])).unwrap();
        let target = NodeId::from_slice(&hex(&row["target"])).unwrap();
        assert_eq!((item.target(), item.seq()), (target, None), "{row}");
    }
}

#[test]
fn what_is_no_item_is_refused_with_its_code() {
    let vectors = vectors();
    let (mut values, mut signed) = (0, 0);
    for row in vectors["refuse"].as_array().unwrap() {
        let named = |name: &Value| {
            let rows = vectors["mutable"].as_array().unwrap().iter();
            rows.clone().find(|row| row["name"] == *name)
        };
        let refused = if let Some(base) = named(&row["base"]) {
            signed += 1;
            let salt = match row["drop"].as_str() {
                Some(_) => Vec::new(),
                None => hex(&base["salt_hex"]),
            };
            let flip = row["flip_bit"].as_u64().map(|bit| bit as usize);
            item(&vectors, base, &salt, flip)
        } else if row["v_bencoded_hex"].is_string() {
            values += 1;
            Item::immutable(&hex(&row["v_bencoded_hex"]))
        } else if row["salt_hex"].is_string() {
            Item::sign(&[1; 32], &hex(&row["salt_hex"]), 1, b"i1e")
        } else {
            // What a store must refuse is tested where the store is.
            continue;
        };
        let (code, _) = Fault::from(refused.unwrap_err()).reply();
        assert_eq!(code, row["code"].as_i64().unwrap(), "{row}");
    }
    assert_eq!((values, signed), (3, 2));
}

#[test]
fn a_thousand_addresses_make_bep_33s_filter() {
    let vectors: Value = serde_json::from_str(include_str!("vectors/bep33.json")).unwrap();
    let mut bloom = Bloom::default();
    for n in 0..=255 {
        bloom.insert(&Ipv4Addr::new(192, 0, 2, n).into());
    }
    for n in 0..=0x3e7 {
        bloom.insert(&Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, n).into());
    }
    let published = &vectors["published"];
    assert_eq!(bloom.as_bytes()[..], hex(&published["filter_hex"]));
    let expected = published["estimate"].as_f64().unwrap();
    assert!((bloom.estimate() - expected).abs() < 0.001, "{bloom:?}");
}
