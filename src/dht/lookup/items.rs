//! What a lookup for an item, or a scrape, has gathered.
//!
//! Each item is verified before it counts for anything. One that can change is asked for to the end
//! of the search, as any node may hold an older one; one that cannot ends it. A put searches in the
//! same way, so it knows before it stores anything whether it would be refused.

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
};

use super::{
    super::{
        item::{Item, immutable_target, mutable_target},
        krpc::{CAS_MISMATCH, Put, Reply, SEQ_TOO_LOW, Signed},
        scrape::Bloom,
        types::Conflict,
    },
    Goal, Lookup, MAX_PEERS, MAX_TRIES,
    candidates::State,
};
use crate::ids::NodeId;

/// BEP 33: a filter tells nothing beyond so many; whoever sends such a one wants to spoil ours.
const MAX_COUNT: f64 = 6_000.0;

/// What only few lookups have.
#[derive(Debug)]
pub(in crate::dht) enum Quest {
    Item(ItemQuest),
    Scrape(Box<ScrapeQuest>),
}

#[derive(Debug)]
pub(in crate::dht) struct ItemQuest {
    salt: Box<[u8]>,
    /// Only what is newer is of interest.
    newer_than: Option<i64>,
    /// Whether to ask on for the newest when one was found.
    newest: bool,
    /// The newest that was found.
    best: Option<Item>,
    /// Who says that it has an item, and of which sequence number.
    holders: Vec<(SocketAddr, Option<i64>)>,
    put: Option<Storing>,
}

#[derive(Debug)]
struct Storing {
    item: Item,
    cas: Option<i64>,
    /// How many nodes refused it for what they have.
    refused: u32,
    refused_cas: bool,
}

#[derive(Debug, Default)]
pub(in crate::dht) struct ScrapeQuest {
    seeds: Bloom,
    peers: Bloom,
    /// Peers of nodes that give no filters.
    unsorted: BTreeSet<IpAddr>,
    /// Nodes that told of peers.
    nodes: u32,
}

impl ItemQuest {
    pub(in crate::dht) fn get(salt: &[u8], newer_than: Option<i64>, newest: bool) -> Self {
        Self {
            salt: salt.into(),
            newer_than,
            newest,
            best: None,
            holders: Vec::new(),
            put: None,
        }
    }

    pub(in crate::dht) fn put(item: Item, cas: Option<i64>) -> Self {
        Self {
            put: Some(Storing {
                cas: cas.filter(|_| item.seq().is_some()),
                refused: 0,
                refused_cas: false,
                item,
            }),
            ..Self::get(&[], None, true)
        }
    }

    /// What is put, if this is a put.
    pub(in crate::dht) fn item(&self) -> Option<&Item> {
        self.put.as_ref().map(|put| &put.item)
    }

    /// The newest item that was found.
    pub(in crate::dht) fn best(&self) -> Option<&Item> {
        self.best.as_ref()
    }

    /// How many nodes have the newest.
    pub(in crate::dht) fn copies(&self) -> u32 {
        let newest = match &self.best {
            Some(best) => best.seq(),
            None if self.newer_than.is_none() => return 0,
            None => self.newer_than,
        };
        let holders = self.holders.iter();
        holders.filter(|(_, seq)| *seq == newest).count() as u32
    }

    /// Takes an item that is known to be valid, and says whether it is newer than what was found.
    pub(in crate::dht) fn offer(&mut self, item: &Item) -> bool {
        let known = self
            .best
            .as_ref()
            .map(Item::seq)
            .max(self.newer_than.map(Some));
        let newer = known.is_none_or(|known| item.seq() > known);
        if newer {
            self.best = Some(item.clone());
        }
        newer
    }

    /// A node has replied. Says whether it had something newer.
    fn on_reply(&mut self, target: &NodeId, from: SocketAddr, reply: &Reply<'_>) -> bool {
        let Some(value) = reply.value else {
            if reply.seq.is_some() {
                self.holders.push((from, reply.seq));
            }
            return false;
        };
        let (Some(key), Some(signature), Some(seq)) = (reply.key, reply.signature, reply.seq)
        else {
            if immutable_target(value) != *target {
                return false;
            }
            self.holders.push((from, None));
            return Item::immutable(value).is_ok_and(|item| self.offer(&item));
        };
        let salt = match &self.put {
            Some(put) => put.item.salt(),
            None => &self.salt,
        };
        if mutable_target(key, salt) != *target {
            return false;
        }
        let best = self.best.as_ref().and_then(Item::seq);
        let known = best.max(self.newer_than);
        // An old one is not worth the work of verifying it.
        let item = match known.is_none_or(|known| seq > known) {
            true => match Item::signed(key, salt, seq, signature, value) {
                Ok(item) => Some(item),
                Err(_) => return false,
            },
            false => None,
        };
        self.holders.push((from, Some(seq)));
        item.is_some_and(|item| self.offer(&item))
    }

    /// What keeps an item from being put, or kept it from some nodes.
    pub(in crate::dht) fn conflict(&self) -> Option<Conflict> {
        let put = self.put.as_ref()?;
        let newest = self.best.as_ref().and_then(Item::seq);
        let other = self.best.as_ref().filter(|best| best.seq().is_some());
        let wrong_cas = put.cas.is_some() && other.is_some_and(|other| other.seq() != put.cas);
        let outdated = other.is_some_and(|other| {
            other.seq() > put.item.seq()
                || other.seq() == put.item.seq() && other.value() != put.item.value()
        });
        if !wrong_cas && !outdated && put.refused == 0 {
            return None;
        }
        Some(Conflict {
            cas: wrong_cas || !outdated && put.refused_cas,
            refused: put.refused,
            newest,
        })
    }

    /// The message that stores the item at a node. Each node is told to replace what it said that
    /// it has (BEP 44: and nothing, if it has none).
    pub(in crate::dht) fn message<'a>(
        &'a self,
        to: &SocketAddr,
        token: &'a [u8],
    ) -> Option<Put<'a>> {
        let put = self.put.as_ref()?;
        let item = &put.item;
        let holder = || self.holders.iter().find(|(addr, _)| addr == to);
        let signed = |(key, signature)| Signed {
            key,
            salt: item.salt(),
            seq: item.seq().unwrap_or_default(),
            signature,
        };
        Some(Put {
            value: item.value(),
            token,
            signed: item.key().zip(item.signature()).map(signed),
            cas: put.cas.and_then(|_| holder()?.1),
        })
    }
}

impl ScrapeQuest {
    pub(in crate::dht) fn add(&mut self, seeds: &Bloom, peers: &Bloom) {
        self.seeds.union(seeds.as_bytes());
        self.peers.union(peers.as_bytes());
        self.nodes += 1;
    }

    fn on_reply(&mut self, reply: &Reply<'_>) {
        if let Some(filters) = reply.filters {
            let (seeds, peers) = (Bloom::new(*filters.seeds), Bloom::new(*filters.peers));
            if seeds.estimate().max(peers.estimate()) <= MAX_COUNT {
                self.add(&seeds, &peers);
            }
            return;
        }
        let before = self.unsorted.len();
        for peer in reply.values.peers() {
            if self.unsorted.len() < MAX_PEERS {
                self.unsorted.insert(peer.ip());
            }
        }
        self.nodes += u32::from(self.unsorted.len() > before);
    }

    /// About how many seeds and how many other peers there are, and how many nodes said so.
    pub(in crate::dht) fn result(&self) -> (u32, u32, u32) {
        let mut peers = self.peers.clone();
        // BEP 33: nobody is counted as both.
        let unsorted = self.unsorted.iter();
        unsorted
            .filter(|ip| !self.seeds.may_contain(ip))
            .for_each(|ip| peers.insert(ip));
        let count = |bloom: &Bloom| bloom.estimate().round() as u32;
        (count(&self.seeds), count(&peers), self.nodes)
    }
}

impl Lookup {
    /// What the reply of a node brings beside nodes and peers. The item, if it is a newer one.
    pub(in crate::dht) fn on_extras(
        &mut self,
        from: SocketAddr,
        reply: &Reply<'_>,
    ) -> Option<Item> {
        match self.quest.as_deref_mut()? {
            Quest::Item(quest) => {
                let newer = quest.on_reply(&self.target, from, reply);
                quest.best.clone().filter(|_| newer)
            }
            Quest::Scrape(quest) => {
                quest.on_reply(reply);
                None
            }
        }
    }

    pub(in crate::dht) fn item_quest(&self) -> Option<&ItemQuest> {
        match self.quest.as_deref()? {
            Quest::Item(quest) => Some(quest),
            Quest::Scrape(_) => None,
        }
    }

    /// Whether an item was found.
    pub(super) fn found_item(&self) -> bool {
        self.item_quest().is_some_and(|quest| quest.best.is_some())
    }

    /// Whether what was found is all that was looked for.
    pub(in crate::dht) fn is_answered(&self) -> bool {
        let quest = self.item_quest().filter(|_| self.goal == Goal::Get);
        quest.is_some_and(|quest| {
            let best = quest.best.as_ref();
            best.is_some_and(|best| !quest.newest || best.seq().is_none())
        })
    }

    /// Whether something is to be stored at the end.
    pub(super) fn stores(&self) -> bool {
        match self.goal {
            Goal::Announce(_) => true,
            Goal::Put => self
                .item_quest()
                .is_some_and(|quest| quest.conflict().is_none()),
            Goal::Nodes | Goal::Peers | Goal::Get | Goal::Scrape => false,
        }
    }

    /// The sequence number above which items are wanted. A put wants to know what is there.
    pub(in crate::dht) fn wanted_seq(&self) -> Option<i64> {
        let quest = self.item_quest().filter(|_| self.goal == Goal::Get)?;
        let best = quest.best.as_ref().and_then(Item::seq);
        best.max(quest.newer_than)
    }

    /// A node has refused to store an item, with this code.
    pub(in crate::dht) fn on_put_error(&mut self, addr: &SocketAddr, code: Option<i64>) {
        let node = self.candidates.find(addr);
        let open = |state| matches!(state, State::Asked | State::Slow);
        let Some(node) = node.filter(|node| open(node.announce)) else {
            return;
        };
        // Of two tries the first may have arrived, and then the second finds what it stored.
        let repeated = node.tries >= MAX_TRIES;
        let Some(Quest::Item(quest)) = self.quest.as_deref_mut() else {
            return;
        };
        if let Some(put) = &mut quest.put {
            let cas = code == Some(CAS_MISMATCH) && !repeated;
            put.refused += u32::from(cas || code == Some(SEQ_TOO_LOW));
            put.refused_cas |= cas;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addr(n: u16) -> SocketAddr {
        SocketAddr::new([127, 0, 0, 1].into(), n)
    }

    fn item(seq: i64, value: &str) -> Item {
        Item::sign(&[1; 32], b"salt", seq, value.as_bytes()).expect("an item")
    }

    fn reply(item: &Item) -> Reply<'_> {
        Reply {
            value: Some(item.value()),
            key: item.key(),
            signature: item.signature(),
            seq: item.seq(),
            ..Reply::new(NodeId::new([1; 20]))
        }
    }

    #[test]
    fn only_what_is_verified_and_newer_counts() {
        let (old, new) = (item(3, "1:a"), item(4, "1:b"));
        let target = old.target();
        let mut quest = ItemQuest::get(b"salt", None, true);
        let foreign = Item::sign(&[2; 32], b"salt", 9, b"1:x").expect("an item");
        let forged = Reply {
            seq: Some(9),
            ..reply(&new)
        };
        let unsigned = Reply {
            signature: None,
            ..reply(&new)
        };
        let claim = Reply {
            seq: Some(i64::MAX),
            ..Reply::new(NodeId::new([1; 20]))
        };
        let rows = [
            (reply(&foreign), false),
            (forged, false),
            (unsigned, false),
            (claim, false),
            (reply(&old), true),
            (reply(&old), false),
            (reply(&new), true),
            (reply(&old), false),
            (reply(&new), false),
        ];
        for (n, (reply, newer)) in rows.into_iter().enumerate() {
            let from = addr(n as u16);
            assert_eq!(quest.on_reply(&target, from, &reply), newer, "{n}");
        }
        assert_eq!(quest.best(), Some(&new));
        assert_eq!(quest.copies(), 2, "of the newest");

        let mut unsalted = ItemQuest::get(b"", None, true);
        assert!(!unsalted.on_reply(&target, addr(1), &reply(&new)));
        let mut known = ItemQuest::get(b"salt", Some(4), true);
        assert!(!known.on_reply(&target, addr(1), &reply(&new)));
        assert_eq!((known.best(), known.copies()), (None, 1));
    }

    #[test]
    fn an_immutable_item_is_its_hash() {
        let item = Item::immutable(b"1:a").expect("an item");
        let mut quest = ItemQuest::get(b"", None, true);
        let other = Reply {
            value: Some(b"1:b"),
            ..reply(&item)
        };
        assert!(!quest.on_reply(&item.target(), addr(1), &other));
        assert!(quest.on_reply(&item.target(), addr(2), &reply(&item)));
        assert!(!quest.on_reply(&item.target(), addr(3), &reply(&item)));
        assert_eq!((quest.best(), quest.copies()), (Some(&item), 2));
        // The right hash of what is no item.
        let wrong = Reply {
            value: Some(b"i01e"),
            ..reply(&item)
        };
        let mut quest = ItemQuest::get(b"", None, true);
        assert!(!quest.on_reply(&immutable_target(b"i01e"), addr(1), &wrong));
        assert!(quest.best().is_none());
    }

    #[test]
    fn each_node_is_told_to_replace_what_it_has() {
        let new = item(5, "1:c");
        let mut quest = ItemQuest::put(new.clone(), Some(4));
        for (n, seq) in [(1, 4), (2, 3)] {
            quest.on_reply(&new.target(), addr(n), &reply(&item(seq, "1:b")));
        }
        assert_eq!(quest.conflict(), None);
        let cas = |n| quest.message(&addr(n), b"t").expect("a put").cas;
        assert_eq!([cas(1), cas(2), cas(3)], [Some(4), Some(3), None]);
        let freely = ItemQuest::put(new.clone(), None);
        assert_eq!(freely.message(&addr(1), b"t").expect("a put").cas, None);
    }

    #[test]
    fn filters_are_joined_and_spoilt_ones_left_out() {
        let ip = |n: u8| IpAddr::from([10, 0, 0, n]);
        let mut quest = ScrapeQuest::default();
        assert_eq!(quest.result(), (0, 0, 0));
        let (mut seeds, mut peers) = (Bloom::default(), Bloom::default());
        seeds.insert(&ip(1));
        peers.insert(&ip(2));
        let filters = crate::dht::krpc::Filters {
            seeds: seeds.as_bytes(),
            peers: peers.as_bytes(),
        };
        let none = Reply::new(NodeId::new([1; 20]));
        let honest = Reply {
            filters: Some(filters),
            ..none
        };
        quest.on_reply(&honest);
        quest.on_reply(&honest);
        let spoilt = Reply {
            filters: Some(crate::dht::krpc::Filters {
                peers: &[0xff; 256],
                ..filters
            }),
            ..none
        };
        quest.on_reply(&spoilt);
        quest.on_reply(&none);
        assert_eq!(quest.result(), (1, 1, 2));
        // Somebody who gives no filters names a seed, a peer that is known and one that is not.
        let values = [10, 0, 0, 1, 0, 1, 10, 0, 0, 2, 0, 1, 10, 0, 0, 3, 0, 1];
        let legacy = Reply {
            values: crate::dht::krpc::Values::Packed(&values, crate::compact::Family::V4),
            ..none
        };
        quest.on_reply(&legacy);
        assert_eq!(quest.result(), (1, 2, 3));
    }
}
