//! What a user of a node can do with items, scrapes and samples, and what the node keeps for it.
//!
//! Getting, putting and scraping are lookups; a sample is one question to one node. Items that we
//! are to keep alive are put again each hour ([BEP 44]: nodes may forget them after two). Few nodes
//! have to do with any of this, so all of it is in one box that is not there until it is needed.
//!
//! [BEP 44]: https://www.bittorrent.org/beps/bep_0044.html

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use super::{
    Body, Contact, Dht, DhtEvent, LookupId, Purpose,
    item::Item,
    item_store::ItemStore,
    krpc::{CAS_MISMATCH, Method, Reply, SEQ_TOO_LOW},
    lookup::{Goal, ItemQuest, Lookup, Owner, Quest, ScrapeQuest},
    transactions::Transaction,
    types::{AnnouncePort, InfoHashSample, ItemQuery, SampleReply},
};
use crate::{
    ids::{InfoHash, NodeId},
    network::Network,
};

/// BEP 44: items should be put again once an hour. Up to a quarter more is still in time.
const REPUBLISH_EVERY: Duration = Duration::from_secs(60 * 60);
/// Ours: when no node has stored it, or we have no network.
const RETRY_AFTER: Duration = Duration::from_secs(5 * 60);
/// Ours: however many are due, at a start or after a sleep, they go one by one.
const REPUBLISH_PAUSE: Duration = Duration::from_secs(2);

/// BEP 51: six hours are the most that a sample may stand.
pub(super) const SAMPLE_EVERY: Duration = Duration::from_secs(6 * 60 * 60);

#[derive(Debug)]
pub(super) struct Items {
    /// What others have stored here.
    pub(super) store: ItemStore,
    /// What was drawn for those who ask for a sample, and when.
    pub(super) sample: Option<(Instant, Vec<InfoHash>)>,
    kept: Vec<Kept>,
    /// Nothing is put again sooner.
    paced: Instant,
}

/// An item of our user's that is to stay.
#[derive(Debug)]
struct Kept {
    target: NodeId,
    item: Item,
    due: Instant,
}

impl Dht {
    /// Looks for an item (BEP 44): reports each newer one that it finds, and then what it found.
    pub fn get_item(&mut self, now: Instant, query: &ItemQuery) -> LookupId {
        let mut lookup = self.new_lookup(now, query.target, Goal::Get, Owner::User);
        let mut quest = ItemQuest::get(&query.salt, query.newer_than, query.newest);
        let id = self.next_id();
        self.offer_own(now, id, &query.target, &mut quest);
        lookup.quest = Some(Box::new(Quest::Item(quest)));
        self.launch(now, id, lookup)
    }

    /// Puts an item to the nodes closest to its target (BEP 44), unless they have a newer one, or
    /// another one than `cas` says that is to be replaced.
    pub fn put_item(&mut self, now: Instant, item: Item, cas: Option<i64>) -> LookupId {
        let target = item.target();
        let mut lookup = self.new_lookup(now, target, Goal::Put, Owner::User);
        let mut quest = ItemQuest::put(item, cas);
        // What others have stored here may be newer.
        if let Some(items) = &self.items
            && let Some(stored) = items.store.get(&target, self.clock.seconds(now))
        {
            quest.offer(stored);
        }
        lookup.quest = Some(Box::new(Quest::Item(quest)));
        let id = self.next_id();
        self.launch(now, id, lookup)
    }

    /// Has an item put again each hour, until [`Self::release_item`] or until somebody has put a
    /// newer one. It replaces one of the same target. The first put is the caller's.
    pub fn keep_item(&mut self, now: Instant, item: Item) {
        let due = now + self.jittered(REPUBLISH_EVERY);
        let target = item.target();
        let kept = &mut self.items_mut(now).kept;
        kept.retain(|kept| kept.target != target);
        kept.push(Kept { target, item, due });
    }

    /// Ends what [`Self::keep_item`] began, and says whether it had.
    pub fn release_item(&mut self, target: &NodeId) -> bool {
        let Some(items) = &mut self.items else {
            return false;
        };
        let before = items.kept.len();
        items.kept.retain(|kept| kept.target != *target);
        let released = items.kept.len() < before;
        self.drop_empty_items();
        released
    }

    /// The items that are put again each hour.
    pub fn kept_items(&self) -> impl Iterator<Item = &Item> {
        let items = self.items.iter();
        items.flat_map(|items| items.kept.iter().map(|kept| &kept.item))
    }

    /// Counts the seeds and the peers of a torrent (BEP 33), without looking for who they are.
    pub fn scrape(&mut self, now: Instant, info_hash: InfoHash) -> LookupId {
        let target = info_hash.as_target();
        let mut lookup = self.new_lookup(now, target, Goal::Scrape, Owner::User);
        let mut quest = ScrapeQuest::default();
        if let Some([seeds, peers]) = self.store.blooms(&info_hash, self.clock.seconds(now)) {
            quest.add(&seeds, &peers);
        }
        lookup.quest = Some(Box::new(Quest::Scrape(Box::new(quest))));
        let id = self.next_id();
        self.launch(now, id, lookup)
    }

    /// As [`Self::announce`], for a seed: others count it as one, and peers that are seeds, too,
    /// are not looked for (BEP 33).
    pub fn announce_seed(
        &mut self,
        now: Instant,
        info_hash: InfoHash,
        port: AnnouncePort,
    ) -> LookupId {
        let goal = Goal::Announce(port.normal());
        let mut lookup = self.new_lookup(now, info_hash.as_target(), goal, Owner::User);
        lookup.seed = true;
        let id = self.next_id();
        self.launch(now, id, lookup)
    }

    /// Asks one node of which torrents it has peers, and for nodes close to `target` (BEP 51).
    /// Whoever has replied should not be asked again before its interval is over.
    pub fn sample(&mut self, now: Instant, to: SocketAddr, target: NodeId) -> LookupId {
        let id = self.next_id();
        if self.accepts(&to) {
            let method = Method::SampleInfohashes { target };
            self.query(now, to, None, method, Purpose::Sample(id), None);
        } else {
            self.on_sample_failure(id, to);
        }
        id
    }

    pub(super) fn items_mut(&mut self, now: Instant) -> &mut Items {
        let share = self.config.network == Network::Mainline;
        self.items.get_or_insert_with(|| {
            Box::new(Items {
                store: ItemStore::new(share),
                sample: None,
                kept: Vec::new(),
                paced: now,
            })
        })
    }

    /// What we have ourselves counts like what others have, and in a network of two it is all.
    fn offer_own(&mut self, now: Instant, id: LookupId, target: &NodeId, quest: &mut ItemQuest) {
        let seconds = self.clock.seconds(now);
        let Some(items) = &self.items else {
            return;
        };
        let kept = items.kept.iter().find(|kept| kept.target == *target);
        let stored = items.store.get(target, seconds);
        let mut newer = false;
        for item in kept.map(|kept| &kept.item).into_iter().chain(stored) {
            newer |= quest.offer(item);
        }
        if let Some(item) = quest.best().filter(|_| newer) {
            self.events.push_back(DhtEvent::ItemFound {
                lookup: id,
                item: item.clone(),
            });
        }
    }

    /// A reply to a lookup has brought more than nodes and peers.
    pub(super) fn on_extras(&mut self, id: LookupId, from: SocketAddr, reply: &Reply<'_>) {
        let lookup = self.lookups.get_mut(&id);
        if let Some(item) = lookup.and_then(|lookup| lookup.on_extras(from, reply)) {
            self.events
                .push_back(DhtEvent::ItemFound { lookup: id, item });
        }
    }

    /// A node has answered a put with an error.
    pub(super) fn on_error(&mut self, transaction: &Transaction, body: &Body<'_>) {
        if let (Purpose::Announce(id), Body::Error { code, .. }) = (transaction.purpose, body)
            && matches!(code, Some(CAS_MISMATCH | SEQ_TOO_LOW))
            && let Some(lookup) = self.lookups.get_mut(&id)
        {
            lookup.on_put_error(&transaction.addr, *code);
        }
    }

    /// A lookup with a quest has ended.
    pub(super) fn on_quest_done(&mut self, now: Instant, id: LookupId, lookup: &Lookup) {
        match lookup.quest.as_deref() {
            None => {}
            Some(Quest::Scrape(quest)) => {
                let (seeds, peers, nodes) = quest.result();
                self.events.push_back(DhtEvent::Scraped {
                    lookup: id,
                    info_hash: InfoHash::new(*lookup.target.as_bytes()),
                    seeds,
                    peers,
                    nodes,
                });
            }
            Some(Quest::Item(quest)) => match quest.item() {
                None => self.events.push_back(DhtEvent::ItemDone {
                    lookup: id,
                    item: quest.best().cloned(),
                    copies: quest.copies(),
                }),
                Some(item) => self.on_put_done(now, id, lookup, quest, item),
            },
        }
    }

    fn on_put_done(
        &mut self,
        now: Instant,
        id: LookupId,
        lookup: &Lookup,
        quest: &ItemQuest,
        item: &Item,
    ) {
        let (stored, conflict) = (lookup.stats(now).announced, quest.conflict());
        if let Some(items) = &mut self.items {
            // One liar's refusal is none; that something newer was found and verified is.
            let newer = quest.best().is_some_and(|best| best.seq() > item.seq());
            items.kept.retain(|kept| !newer || kept.item != *item);
            let kept = items.kept.iter_mut().filter(|kept| kept.item == *item);
            for kept in kept.filter(|_| stored == 0) {
                kept.due = kept.due.min(now + RETRY_AFTER);
            }
        }
        self.events.push_back(DhtEvent::ItemPut {
            lookup: id,
            target: lookup.target,
            stored,
            conflict,
        });
    }

    /// A node that was asked for a sample has replied.
    pub(super) fn on_sample(&mut self, id: LookupId, from: Contact, reply: &Reply<'_>) {
        let nodes = reply.contacts(self.config.family);
        let nodes = nodes.filter(|(_, addr)| self.accepts(addr));
        let sample = reply.sample.map(|sample| InfoHashSample {
            interval: Duration::from_secs(sample.interval.unsigned_abs()).min(SAMPLE_EVERY),
            total: u64::try_from(sample.num).unwrap_or_default(),
            info_hashes: sample.info_hashes().collect(),
        });
        let reply = SampleReply {
            id: from.id,
            nodes: nodes.map(|(id, addr)| Contact { id, addr }).collect(),
            sample,
        };
        self.events.push_back(DhtEvent::Sampled {
            lookup: id,
            from: from.addr,
            reply: Some(reply),
        });
    }

    pub(super) fn on_sample_failure(&mut self, id: LookupId, from: SocketAddr) {
        self.events.push_back(DhtEvent::Sampled {
            lookup: id,
            from,
            reply: None,
        });
    }

    /// When an item is to be put again.
    pub(super) fn next_republish(&self) -> Option<Instant> {
        let items = self.items.as_ref()?;
        let due = items.kept.iter().map(|kept| kept.due).min()?;
        Some(due.max(items.paced))
    }

    /// Puts again the item that is due longest.
    pub(super) fn republish(&mut self, now: Instant) {
        if self.next_republish().is_none_or(|due| now < due) {
            return;
        }
        let joined = self.maintenance.is_joined();
        let next = now + self.jittered(REPUBLISH_EVERY);
        let items = self.items_mut(now);
        items.paced = now + if joined { REPUBLISH_PAUSE } else { RETRY_AFTER };
        let oldest = items.kept.iter_mut().min_by_key(|kept| kept.due);
        if let Some(kept) = oldest.filter(|_| joined) {
            kept.due = next;
            let item = kept.item.clone();
            self.put_item(now, item, None);
        }
    }

    pub(super) fn stored_items(&self) -> usize {
        self.items.as_ref().map_or(0, |items| items.store.len())
    }

    /// Forgets items that have expired, and the box when nothing is left in it.
    pub(super) fn sweep_items(&mut self, now: Instant) {
        let seconds = self.clock.seconds(now);
        let Some(items) = &mut self.items else {
            return;
        };
        items.store.expire(seconds);
        let stale = |drawn: &(Instant, _)| now.saturating_duration_since(drawn.0) >= SAMPLE_EVERY;
        items.sample.take_if(|drawn| stale(drawn));
        self.drop_empty_items();
    }

    fn drop_empty_items(&mut self) {
        let empty = |items: &Items| {
            items.store.len() == 0 && items.kept.is_empty() && items.sample.is_none()
        };
        if self.items.as_deref().is_some_and(empty) {
            self.items = None;
        }
    }
}
