//! The items that we store for others ([BEP 44]): bounded in number, in bytes and in items from one
//! part of the network, and forgotten after two hours.
//!
//! When it is full, the item farthest from our id makes room: others will look for it at nodes that
//! are closer, and whoever fills the store with items of any target displaces those alone that few
//! would look for here. How many sources store an item does not count: it is cheap to be many.
//!
//! [BEP 44]: https://www.bittorrent.org/beps/bep_0044.html

use std::{collections::BTreeMap, net::IpAddr};

use super::{item::Item, krpc::Fault, node::Seconds};
use crate::ids::NodeId;

/// libtorrent's bound.
const MAX_ITEMS: usize = 700;
/// Ours: three quarters of what that many items of full size take.
const MAX_BYTES: usize = 640 * 1_024;
/// Ours: one of twenty places, for an IPv4 /24 or an IPv6 /48.
const MAX_PER_SOURCE: u32 = 35;

/// BEP 44: without being put again an item may be forgotten after two hours.
const EXPIRE_AFTER: Seconds = 2 * 60 * 60;

#[derive(Debug)]
pub(super) struct ItemStore {
    /// Whether sources have a bounded share; in a private network all nodes may live at one.
    share: bool,
    items: BTreeMap<NodeId, Stored>,
    per_source: BTreeMap<u64, u32>,
    bytes: usize,
}

#[derive(Debug)]
struct Stored {
    item: Item,
    /// Who stored it first.
    source: u64,
    /// When somebody stored it last.
    stored: Seconds,
}

impl ItemStore {
    pub(super) fn new(share: bool) -> Self {
        Self {
            share,
            items: BTreeMap::new(),
            per_source: BTreeMap::new(),
            bytes: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.items.len()
    }

    pub(super) fn get(&self, target: &NodeId, now: Seconds) -> Option<&Item> {
        let stored = self.items.get(target)?;
        stored.is_fresh(now).then_some(&stored.item)
    }

    /// Stores an item or renews it. `own` is our id.
    pub(super) fn put(
        &mut self,
        item: Item,
        cas: Option<i64>,
        from: &IpAddr,
        own: &NodeId,
        now: Seconds,
    ) -> Result<(), Fault> {
        let target = item.target();
        let known = self.items.get(&target);
        if known.is_some_and(|known| !known.is_fresh(now)) {
            self.remove(&target);
        }
        let weight = item.weight();
        let Some(known) = self.items.get_mut(&target) else {
            let source = source(from);
            let held = self.per_source.get(&source).copied().unwrap_or(0);
            if self.share && held >= MAX_PER_SOURCE {
                return Err(Fault::SourceFull);
            }
            self.make_room(&target, 1, weight, own)?;
            self.bytes += weight;
            *self.per_source.entry(source).or_default() += 1;
            let stored = Stored {
                item,
                source,
                stored: now,
            };
            self.items.insert(target, stored);
            return Ok(());
        };
        if cas.is_some() && known.item.seq() != cas {
            return Err(Fault::CasMismatch);
        }
        // Immutable items of one target are the same.
        if known.item.value() == item.value() && known.item.seq() == item.seq() {
            known.stored = now;
            return Ok(());
        }
        // BEP 44: lower or equal is refused.
        if item.seq() <= known.item.seq() {
            return Err(Fault::SeqTooLow);
        }
        let old = known.item.weight();
        self.make_room(&target, 0, weight.saturating_sub(old), own)?;
        if let Some(known) = self.items.get_mut(&target) {
            known.item = item;
            known.stored = now;
            self.bytes = self.bytes + weight - old;
        }
        Ok(())
    }

    /// Drops what is farther from us than `target`, the farthest first, until so much more fits;
    /// nothing, if that would not suffice.
    fn make_room(
        &mut self,
        target: &NodeId,
        count: usize,
        weight: usize,
        own: &NodeId,
    ) -> Result<(), Fault> {
        let fits =
            |items: usize, bytes: usize| items + count <= MAX_ITEMS && bytes + weight <= MAX_BYTES;
        let (mut items, mut bytes) = (self.items.len(), self.bytes);
        if fits(items, bytes) {
            return Ok(());
        }
        let limit = own.distance(target);
        let all = self.items.iter();
        let farther = all.map(|(id, stored)| (own.distance(id), *id, stored.item.weight()));
        let mut farther: Vec<_> = farther.filter(|(far, ..)| *far > limit).collect();
        farther.sort_unstable_by_key(|(far, ..)| std::cmp::Reverse(*far));
        let mut leaving = 0;
        while !fits(items, bytes) {
            let (.., freed) = farther.get(leaving).ok_or(Fault::StoreFull)?;
            (items, bytes) = (items - 1, bytes - freed);
            leaving += 1;
        }
        for (_, id, _) in &farther[..leaving] {
            self.remove(id);
        }
        Ok(())
    }

    fn remove(&mut self, target: &NodeId) {
        let Some(old) = self.items.remove(target) else {
            return;
        };
        self.bytes -= old.item.weight();
        if let Some(held) = self.per_source.get_mut(&old.source) {
            *held -= 1;
            if *held == 0 {
                self.per_source.remove(&old.source);
            }
        }
    }

    /// Forgets what has expired.
    pub(super) fn expire(&mut self, now: Seconds) {
        let all = self.items.iter();
        let old = all.filter(|(_, stored)| !stored.is_fresh(now));
        for target in old.map(|(target, _)| *target).collect::<Vec<_>>() {
            self.remove(&target);
        }
    }

    pub(super) fn check(&self) {
        assert!(self.items.len() <= MAX_ITEMS && self.bytes <= MAX_BYTES);
        let weights = self.items.values().map(|stored| stored.item.weight());
        assert_eq!(weights.sum::<usize>(), self.bytes);
        assert_eq!(
            self.per_source.values().sum::<u32>() as usize,
            self.items.len()
        );
        let most = self.per_source.values().max().copied().unwrap_or(0);
        assert!(!self.share || most <= MAX_PER_SOURCE);
        assert!(
            self.items
                .iter()
                .all(|(target, stored)| stored.item.target() == *target)
        );
    }
}

impl Stored {
    fn is_fresh(&self, now: Seconds) -> bool {
        now.saturating_sub(self.stored) < EXPIRE_AFTER
    }
}

/// Where up to 256 customers of a provider are: a /24, in IPv6 a /48, of which one customer alone may
/// have 65,536 /64.
fn source(ip: &IpAddr) -> u64 {
    match ip.to_canonical() {
        IpAddr::V4(ip) => 1 << 32 | u64::from(ip.to_bits() >> 8),
        IpAddr::V6(ip) => (ip.to_bits() >> 80) as u64,
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const OWN: NodeId = NodeId::new([0; 20]);

    fn ip(subnet: u32) -> IpAddr {
        Ipv4Addr::from_bits(subnet << 8 | 1).into()
    }

    fn number(n: u32) -> Item {
        Item::immutable(format!("i{n}e").as_bytes()).expect("an item")
    }

    fn big(n: u32) -> Item {
        let value = format!("995:{n:0>995}");
        Item::immutable(value.as_bytes()).expect("an item")
    }

    fn signed(seq: i64, value: &str) -> Item {
        Item::sign(&[1; 32], b"", seq, value.as_bytes()).expect("an item")
    }

    #[test]
    fn replacement_follows_seq_and_cas() {
        // What is stored, what comes with which `cas`, and what must become of it.
        let rows = [
            (3, "1:a", None, 4, "1:b", Ok(())),
            (3, "1:a", Some(3), 4, "1:b", Ok(())),
            (3, "1:a", Some(2), 4, "1:b", Err(Fault::CasMismatch)),
            (3, "1:a", Some(4), 4, "1:b", Err(Fault::CasMismatch)),
            (3, "1:a", None, 3, "1:b", Err(Fault::SeqTooLow)),
            (3, "1:a", Some(3), 3, "1:b", Err(Fault::SeqTooLow)),
            (3, "1:a", None, 2, "1:a", Err(Fault::SeqTooLow)),
            (3, "1:a", None, 3, "1:a", Ok(())),
            (3, "1:a", Some(3), 3, "1:a", Ok(())),
            (3, "1:a", Some(2), 3, "1:a", Err(Fault::CasMismatch)),
            (
                i64::MAX,
                "1:a",
                None,
                i64::MAX,
                "1:b",
                Err(Fault::SeqTooLow),
            ),
        ];
        for (seq, value, cas, new_seq, new_value, expected) in rows {
            let mut store = ItemStore::new(true);
            // BEP 44: where nothing is stored, `cas` is ignored.
            let first = store.put(signed(seq, value), Some(77), &ip(1), &OWN, 0);
            assert_eq!(first, Ok(()));
            let item = signed(new_seq, new_value);
            let target = item.target();
            let row = (seq, value, cas, new_seq, new_value);
            assert_eq!(store.put(item, cas, &ip(2), &OWN, 100), expected, "{row:?}");
            store.check();
            let kept = store.get(&target, 100).and_then(Item::seq);
            let expected_seq = if expected.is_ok() { new_seq } else { seq };
            assert_eq!(kept, Some(expected_seq), "{row:?}");
            // Only what was accepted has a new time.
            let later = store.get(&target, EXPIRE_AFTER + 50).is_some();
            assert_eq!(later, expected.is_ok(), "{row:?}");
        }
    }

    #[test]
    fn forgets_after_two_hours() {
        let mut store = ItemStore::new(true);
        let (old, new) = (signed(9, "1:a"), signed(1, "1:b"));
        store.put(old.clone(), None, &ip(1), &OWN, 0).expect("room");
        assert_eq!(store.get(&old.target(), EXPIRE_AFTER - 1), Some(&old));
        assert_eq!(store.get(&old.target(), EXPIRE_AFTER), None);
        // What has expired and is still there says nothing any more.
        let put = store.put(new.clone(), Some(3), &ip(2), &OWN, EXPIRE_AFTER);
        assert_eq!(
            (put, store.get(&new.target(), EXPIRE_AFTER)),
            (Ok(()), Some(&new))
        );
        store.check();
        store.expire(2 * EXPIRE_AFTER);
        store.check();
        assert_eq!((store.len(), store.bytes), (0, 0));
    }

    #[test]
    fn a_subnet_has_its_share_only() {
        let mut store = ItemStore::new(true);
        for n in 0..MAX_PER_SOURCE {
            assert_eq!(store.put(number(n), None, &ip(7), &OWN, 0), Ok(()));
        }
        let one_more = number(1_000);
        let from = |store: &mut ItemStore, ip| store.put(one_more.clone(), None, &ip, &OWN, 0);
        assert_eq!(from(&mut store, ip(7)), Err(Fault::SourceFull));
        assert_eq!(
            store.put(number(3), None, &ip(7), &OWN, 0),
            Ok(()),
            "renewed"
        );
        assert_eq!(from(&mut store, ip(8)), Ok(()));
        store.check();
        let mut private = ItemStore::new(false);
        for n in 0..2 * MAX_PER_SOURCE {
            assert_eq!(private.put(number(n), None, &ip(7), &OWN, 0), Ok(()));
        }
        private.check();
    }

    #[test]
    fn a_customer_with_many_subnets_is_one_source() {
        let mut store = ItemStore::new(true);
        let ip = |n: u32, site: u16| {
            let subnet = n as u16;
            IpAddr::from([0x2001, 0xdb8, site, subnet, 0, 0, 0, 1])
        };
        let mut taken = 0;
        for n in 0..2 * MAX_PER_SOURCE {
            taken += u32::from(store.put(number(n), None, &ip(n, 1), &OWN, 0).is_ok());
        }
        assert_eq!(taken, MAX_PER_SOURCE);
        assert_eq!(store.put(number(999), None, &ip(0, 2), &OWN, 0), Ok(()));
        store.check();
    }

    #[test]
    fn a_full_store_keeps_what_is_closest() {
        for make in [number, big] {
            let mut store = ItemStore::new(true);
            let mut all: Vec<Item> = (0..3_000).map(make).collect();
            for (n, item) in all.iter().enumerate() {
                let put = store.put(item.clone(), None, &ip(n as u32), &OWN, 0);
                assert!(matches!(put, Ok(()) | Err(Fault::StoreFull)));
            }
            store.check();
            let kept = store.len();
            assert!(
                kept == MAX_ITEMS || store.bytes > MAX_BYTES - 1_200,
                "{kept}"
            );
            all.sort_by_key(|item| OWN.distance(&item.target()));
            assert!(
                all[..kept]
                    .iter()
                    .all(|item| store.get(&item.target(), 0).is_some())
            );
        }
    }

    #[test]
    fn an_update_may_need_room_too() {
        let mut store = ItemStore::new(true);
        let small = signed(1, "1:a");
        store
            .put(small.clone(), None, &ip(1), &small.target(), 0)
            .expect("room");
        let mut n = 0;
        while store
            .put(big(n), None, &ip(n + 2), &small.target(), 0)
            .is_ok()
        {
            n += 1;
            assert!(n < 100_000);
        }
        let large = signed(2, &format!("995:{}", "x".repeat(995)));
        // To us it is the closest of all, and to the other end the farthest.
        let far = NodeId::new(small.target().as_bytes().map(|byte| !byte));
        let before = store.len();
        let refused = store.put(large.clone(), None, &ip(1), &far, 0);
        assert_eq!((refused, store.len()), (Err(Fault::StoreFull), before));
        let stored = store.put(large.clone(), None, &ip(1), &small.target(), 0);
        assert_eq!(
            (stored, store.get(&large.target(), 0)),
            (Ok(()), Some(&large))
        );
        store.check();
    }
}
