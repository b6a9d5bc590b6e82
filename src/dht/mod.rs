//! One DHT node: everything BEP 5 asks of a node, and no socket, clock or thread.
//!
//! A shell feeds [`Dht::handle_datagram`] and [`Dht::handle_timeout`], then drains
//! [`Dht::poll_transmit`] and [`Dht::poll_event`] and sleeps until [`Dht::poll_timeout`].
//!
//! ```text
//! datagram ─▶ handle_datagram ─ admission ─ krpc::decode ─┬─ query ─▶ responder ─ peer_store, tokens
//!             (this file)       budgets                   │             │
//!                                                         └─ reply ─▶ transactions ─▶ routing_table
//!                                                                       │             lookup
//! time ─────▶ handle_timeout ─ transactions, lookups, maintenance ──────┴─▶ outbox ─▶ poll_transmit
//! ```
//!
//! The iterative lookup is `lookup`, a value that is told what happened and says whom to ask; this
//! file sends what it says. Bootstrap, refreshes and pings are `maintenance`. What lasts between
//! runs is [`state`]. `node_id` binds ids to addresses, `size` tells how large the network is; by
//! both a lookup knows whom to believe. Items (an [`item`] is a value, `item_store` keeps others'),
//! scrapes and samples are lookups and answers with more fields; what a user does with them is in
//! `items`, what he asks of one address in `ask`, and what he is shown in `inspect`. [BEP 5], [BEP 43] (read-only), [BEP 42], `want` of [BEP 32], [BEP 33], [BEP 44],
//! [BEP 51].
//!
//! [BEP 5]: https://www.bittorrent.org/beps/bep_0005.html
//! [BEP 33]: https://www.bittorrent.org/beps/bep_0033.html
//! [BEP 44]: https://www.bittorrent.org/beps/bep_0044.html
//! [BEP 51]: https://www.bittorrent.org/beps/bep_0051.html
//! [BEP 32]: https://www.bittorrent.org/beps/bep_0032.html
//! [BEP 42]: https://www.bittorrent.org/beps/bep_0042.html
//! [BEP 43]: https://www.bittorrent.org/beps/bep_0043.html

pub mod item;
pub mod krpc;
pub mod node_id;
pub mod scrape;
pub mod state;

mod admission;
mod ask;
mod inspect;
mod item_store;
mod items;
mod lookup;
mod maintenance;
mod node;
mod outbox;
mod peer_store;
mod responder;
mod routing_table;
mod size;
mod tokens;
mod touch;
mod transactions;
mod types;

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, VecDeque},
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use rand::{RngExt, SeedableRng, rngs::StdRng};

pub use ask::{Answer, Question};
pub use inspect::{LookupStep, TableNode};
pub use item::{Item, ItemError};
pub use node_id::IdCheck;
pub use routing_table::bucket_size;
pub use size::SizeEstimate;
pub use touch::Ahead;
pub use types::{
    AnnouncePort, Conflict, Contact, DhtConfig, DhtEvent, DhtStats, InfoHashSample, ItemQuery,
    KnownNode, LookupId, LookupStats, SampleReply, Transmit,
};

use crate::{
    compact::Family,
    ids::{InfoHash, NodeId},
    network::Network,
};
use admission::Admission;
use items::Items;
use krpc::{Body, Message, Method, Query, Reply};
use lookup::{Goal, Lookup, Owner, Source, Step, Surroundings};
use maintenance::Maintenance;
use node::{Clock, Quality, Seconds};
use node_id::Votes;
use outbox::Outbox;
use peer_store::PeerStore;
use routing_table::{Entry, K, Reached, RoutingTable};
use size::Sizes;
use tokens::Tokens;
use transactions::{Expiry, Purpose, RttEstimate, Transaction, Transactions};

/// `v`: two letters for the client, two bytes of version.
pub const VERSION: [u8; 4] = *b"MS\x00\x01";

/// Ours: no KRPC message is longer, and nothing longer is looked at.
const MAX_DATAGRAM: usize = 2_048;

/// Ours: events of strangers' announces beyond this are not reported while nobody listens.
const MAX_EVENTS: usize = 1_024;

/// Ours: as long after the last reply, silence is the others' fault and not ours.
const ONLINE: Duration = Duration::from_secs(60);

/// Ours: in a smaller network nothing follows from how close together nodes are.
const MIN_SIZE: f64 = 4.0 * K as f64;

/// Ours: how many standard deviations the network may be larger or smaller than we think; one
/// estimate in seven is off by more, and costs a wider search now and then.
const SIZE_SLACK: f64 = 1.5;

/// One DHT node.
#[derive(Debug)]
pub struct Dht {
    config: DhtConfig,
    id: NodeId,
    rng: StdRng,
    clock: Clock,
    table: RoutingTable,
    transactions: Transactions,
    rtt: RttEstimate,
    lookups: BTreeMap<LookupId, Box<Lookup>>,
    next_lookup: u64,
    tokens: Tokens,
    store: PeerStore,
    items: Option<Box<Items>>,
    sizes: Sizes,
    votes: Votes,
    admission: Admission,
    maintenance: Maintenance,
    outbox: Outbox,
    events: VecDeque<DhtEvent>,
    /// When a reply last matched: evidence that we are online.
    last_reply: Option<Instant>,
    counts: Counts,
}

#[derive(Debug, Default)]
struct Counts {
    queries_sent: u64,
    replies_received: u64,
    timeouts: u64,
    queries_received: u64,
    replies_sent: u64,
    dropped: u64,
}

impl Dht {
    /// A node with an empty table.
    pub fn new(config: DhtConfig, seed: [u8; 32], now: Instant) -> Self {
        let mut rng = StdRng::from_seed(seed);
        let mut id = config.node_id.unwrap_or_else(|| NodeId::new(rng.random()));
        let mainline = config.network == Network::Mainline;
        let mut votes = Votes::default();
        if let Some(ip) = config.external_ip.filter(|_| config.binds_ids()) {
            votes.settle(ip);
            if !node_id::conforms(&ip, &id) {
                id = node_id::bind(&ip, id);
            }
        }
        let check = match mainline {
            true => config.id_check,
            false => IdCheck::Off,
        };
        Self {
            id,
            clock: Clock::new(now),
            table: RoutingTable::new(id, config.wide_table, mainline, check),
            transactions: Transactions::default(),
            rtt: RttEstimate::default(),
            lookups: BTreeMap::new(),
            next_lookup: 0,
            tokens: Tokens::new(now, &mut rng),
            store: PeerStore::new(mainline),
            items: None,
            sizes: Sizes::default(),
            votes,
            admission: Admission::new(config.network, config.queries_per_source, now),
            maintenance: Maintenance::new(now),
            outbox: Outbox::default(),
            events: VecDeque::new(),
            last_reply: None,
            counts: Counts::default(),
            rng,
            config,
        }
    }

    /// Our id. It changes when we learn that our address is another.
    pub fn id(&self) -> NodeId {
        self.id
    }

    /// The address under which others see us, if most agree on one ([BEP 42]), and how many parts
    /// of the network have said otherwise since.
    ///
    /// [BEP 42]: https://www.bittorrent.org/beps/bep_0042.html
    pub fn external_ip(&self) -> (Option<IpAddr>, usize) {
        (self.votes.settled(), self.votes.open())
    }

    /// How many nodes the network seems to have; `None` while too few are known, and until the
    /// search for our own id has ended.
    pub fn size_estimate(&self) -> Option<SizeEstimate> {
        if !self.maintenance.is_home() {
            return None;
        }
        self.sizes.estimate(&self.table.neighbours())
    }

    /// A datagram arrived.
    pub fn handle_datagram(&mut self, now: Instant, from: SocketAddr, datagram: &[u8]) {
        if datagram.len() > MAX_DATAGRAM || !self.accepts(&from) || self.is_muted(now, &from) {
            self.counts.dropped += 1;
            return;
        }
        let Ok(message) = krpc::decode(datagram) else {
            self.counts.dropped += 1;
            // Charged like a query, so that a flood of garbage is muted too.
            self.admit(now, &from);
            return;
        };
        match &message.body {
            Body::Query(_) | Body::Malformed(_) => {
                self.on_query(now, from, &message, datagram.len());
            }
            Body::Reply(_) | Body::BadReply | Body::Error { .. } => {
                match self.transactions.close(message.tid, &from) {
                    Some(transaction) => {
                        if let Some(ip) = message.ip {
                            self.on_vote(now, &from, ip.ip());
                        }
                        if let Some(id) = transaction.question() {
                            return self.on_asked(now, id, &transaction, &message);
                        }
                        self.on_answer(now, transaction, &message.body);
                    }
                    None => {
                        self.counts.dropped += 1;
                        self.admit(now, &from);
                    }
                }
            }
        }
    }

    /// The time that [`Self::poll_timeout`] named has come. Harmless at any other time.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.notice_sleep(now);
        while let Some(expiry) = self.transactions.expire(now) {
            match expiry {
                Expiry::Soft(addr, purpose) => self.on_slow(now, &addr, purpose),
                Expiry::Hard(transaction) => self.on_timeout(now, &transaction),
            }
        }
        let lookups = self.lookups.iter();
        let due = lookups.filter(|(_, lookup)| lookup.wake <= now);
        for id in due.map(|(id, _)| *id).collect::<Vec<_>>() {
            self.drive(now, id);
        }
        self.maintain(now);
    }

    /// Looks for the nodes closest to `target`.
    pub fn find_node(&mut self, now: Instant, target: NodeId) -> LookupId {
        self.start_lookup(now, target, Goal::Nodes, Owner::User)
    }

    /// Looks for peers of a torrent.
    pub fn get_peers(&mut self, now: Instant, info_hash: InfoHash) -> LookupId {
        self.start_lookup(now, info_hash.as_target(), Goal::Peers, Owner::User)
    }

    /// Looks for peers and announces us as one to the closest nodes.
    pub fn announce(&mut self, now: Instant, info_hash: InfoHash, port: AnnouncePort) -> LookupId {
        let goal = Goal::Announce(port.normal());
        self.start_lookup(now, info_hash.as_target(), goal, Owner::User)
    }

    /// Ends a lookup, or the wait for an answer, without further events.
    pub fn cancel(&mut self, lookup: LookupId) {
        self.lookups.remove(&lookup);
        self.transactions.disown(lookup);
        self.events.retain(|event| event.lookup() != Some(lookup));
    }

    /// What a running lookup has done so far.
    pub fn lookup_stats(&self, now: Instant, lookup: LookupId) -> Option<LookupStats> {
        Some(self.lookups.get(&lookup)?.stats(now))
    }

    /// Puts the next datagram into `buf` (cleared first).
    pub fn poll_transmit(&mut self, buf: &mut Vec<u8>) -> Option<Transmit> {
        self.outbox.pop(buf)
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<DhtEvent> {
        let event = self.events.pop_front();
        if event.is_none() && self.events.capacity() > 0 {
            self.events = VecDeque::new();
        }
        event
    }

    /// When [`Self::handle_timeout`] should be called.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let lookups = self.lookups.values().map(|lookup| lookup.wake).min();
        let deadlines = [
            self.transactions.next_deadline(),
            lookups,
            self.next_maintenance(),
        ];
        deadlines.into_iter().flatten().min()
    }

    /// Counts.
    pub fn stats(&self, now: Instant) -> DhtStats {
        let seconds = self.clock.seconds(now);
        let lookups = self.lookups.values();
        let user = lookups.filter(|lookup| lookup.owner == Owner::User);
        DhtStats {
            good: self.table.count(Quality::Good, seconds),
            questionable: self.table.count(Quality::Questionable, seconds),
            buckets: self.table.buckets(),
            queries_sent: self.counts.queries_sent,
            replies_received: self.counts.replies_received,
            timeouts: self.counts.timeouts,
            queries_received: self.counts.queries_received,
            replies_sent: self.counts.replies_sent,
            dropped: self.counts.dropped,
            stored_hashes: self.store.hashes(),
            stored_peers: self.store.peers(),
            stored_items: self.stored_items(),
            lookups: user.count(),
        }
    }

    /// The nodes worth saving, best first: those of the table, then those that were restored and
    /// have not been asked in vain, so that a run without a network loses nothing.
    pub fn contacts(&self) -> Vec<Contact> {
        let mut nodes: Vec<_> = self.table.iter().collect();
        nodes.sort_by_key(|node| (node.failures, std::cmp::Reverse(node.seen)));
        let mut contacts: Vec<Contact> = nodes.into_iter().map(node::Node::contact).collect();
        for saved in &self.maintenance.saved {
            let known = |contact: &Contact| contact.id == saved.id || contact.addr == saved.addr;
            if !contacts.iter().any(known) {
                contacts.push(*saved);
            }
        }
        contacts
    }

    /// The nodes of the routing table, bucket by bucket.
    pub fn table(&self) -> impl Iterator<Item = Contact> {
        self.table.iter().map(node::Node::contact)
    }

    /// The peers of a torrent that were announced to us.
    pub fn stored_peers(&self, now: Instant, info_hash: &InfoHash) -> Vec<SocketAddr> {
        self.store.of(info_hash, self.seconds(now))
    }

    /// Panics, in debug builds, if the node's parts contradict each other. For tests.
    pub fn check(&self) {
        if !cfg!(debug_assertions) {
            return;
        }
        self.table.check();
        self.transactions.check();
        self.store.check();
        self.items.iter().for_each(|items| items.store.check());
        self.lookups.values().for_each(|lookup| lookup.check());
        for node in self.table.iter() {
            assert!(self.accepts(&node.addr()), "a foreigner in the table");
        }
    }

    /// Whether an address is of our network and family.
    fn accepts(&self, addr: &SocketAddr) -> bool {
        Family::of(addr) == self.config.family && self.config.network.accepts(addr)
    }

    fn is_muted(&self, now: Instant, from: &SocketAddr) -> bool {
        self.admission.is_muted(now, from) && !self.transactions.awaits(from)
    }

    fn admit(&mut self, now: Instant, from: &SocketAddr) -> bool {
        let table = &self.table;
        self.admission
            .admit(now, from, || table.contains_addr(from))
    }

    fn seconds(&self, now: Instant) -> Seconds {
        self.clock.seconds(now)
    }

    /// The answer to a query of ours, whatever it says.
    fn on_answer(&mut self, now: Instant, transaction: Transaction, body: &Body<'_>) {
        let addr = transaction.addr;
        let reply = match body {
            Body::Reply(reply) => reply,
            // Somebody is there, but of no use for this query (a crawler's 201 "too many
            // requests", for one): no blame.
            _ => {
                self.on_error(&transaction, body);
                return self.on_refusal(now, &addr, transaction.purpose);
            }
        };
        let changed = transaction.id.is_some_and(|id| id != reply.id);
        if changed || reply.id == self.id {
            // Whoever answers under several ids, or mirrors ours, wants a place near every
            // target: nothing it says counts. If it answered under the id that we know it by, it is
            // not to blame: whoever named it under another lied.
            if !self.table.knows(&reply.id, &addr) {
                self.table.remove_addr(&addr);
                if reply.id != self.id {
                    self.add_newcomer(now, addr, Reached::Called);
                }
            }
            return self.on_refusal(now, &addr, transaction.purpose);
        }
        self.counts.replies_received += 1;
        self.last_reply = Some(now);
        let rtt = now.saturating_duration_since(transaction.sent);
        self.rtt.add(rtt);
        let contact = Contact { id: reply.id, addr };
        self.on_heard(now, &addr);
        if transaction.purpose == Purpose::Upkeep {
            self.maintenance.on_pinged(true);
        }
        let reached = match transaction.purpose {
            Purpose::Caller if self.doubts_callers() => Reached::CalledBack,
            _ => Reached::Called,
        };
        self.learn(now, contact, rtt, reached);
        match transaction.purpose {
            Purpose::Ping | Purpose::Upkeep | Purpose::Newcomer | Purpose::Caller => {
                self.on_contacts(now, reply);
            }
            Purpose::Lookup(id) => self.on_lookup_reply(now, id, contact, rtt, reply),
            Purpose::Probe(id) => {
                let (family, network) = (self.config.family, self.config.network);
                let accepts =
                    |addr: &SocketAddr| Family::of(addr) == family && network.accepts(addr);
                let own = self.votes.settled();
                if let Some(lookup) = self.lookups.get_mut(&id) {
                    let nodes = reply.contacts(family);
                    let nodes = nodes.filter(|(_, addr)| accepts(addr) && own != Some(addr.ip()));
                    lookup.on_probe_reply(&self.id, &addr, rtt, nodes);
                }
                self.drive(now, id);
            }
            Purpose::Announce(id) => {
                self.trace_step(now, transaction.purpose, addr, LookupStep::Stored);
                if let Some(lookup) = self.lookups.get_mut(&id) {
                    lookup.on_announced(&addr, true);
                }
                self.drive(now, id);
            }
            Purpose::Sample(id) => self.on_sample(id, contact, reply),
            // Answered before.
            Purpose::Ask(_) => {}
        }
    }

    /// A node answered: into the table, and to lookups that starve.
    fn learn(&mut self, now: Instant, contact: Contact, rtt: Duration, reached: Reached) {
        let seconds = self.seconds(now);
        let table = &mut self.table;
        let entry = table.on_reply(contact.id, &contact.addr, rtt, reached, seconds);
        match entry {
            Entry::Added => {
                self.on_table_growth(now);
                let hungry = self.lookups.iter_mut();
                let hungry = hungry.filter(|(_, lookup)| lookup.is_hungry());
                let fed: Vec<LookupId> = hungry
                    .map(|(id, lookup)| {
                        lookup.seed(contact, Source::Table(rtt));
                        *id
                    })
                    .collect();
                for id in fed {
                    self.drive(now, id);
                }
            }
            Entry::Spare(Some(questionable)) => self.ping(now, questionable),
            Entry::Known | Entry::Spare(None) | Entry::Refused => {}
        }
    }

    fn on_lookup_reply(
        &mut self,
        now: Instant,
        id: LookupId,
        from: Contact,
        rtt: Duration,
        reply: &Reply<'_>,
    ) {
        let (family, network) = (self.config.family, self.config.network);
        let Some(lookup) = self.lookups.get_mut(&id) else {
            // It came too late for its lookup. A node with few contacts needs what it says.
            if self.table.len() < K {
                self.on_contacts(now, reply);
            }
            return;
        };
        let accepts = |addr: &SocketAddr| Family::of(addr) == family && network.accepts(addr);
        // Who knows us by an earlier id of ours names us as somebody else.
        let own = self.votes.settled();
        let nodes = reply.contacts(family);
        let nodes = nodes.filter(|(_, addr)| accepts(addr) && own != Some(addr.ip()));
        if let Some(hops) = lookup.on_reply(&self.id, from, rtt, reply.token, nodes) {
            let peers = match lookup.goal {
                Goal::Nodes | Goal::Get | Goal::Put | Goal::Scrape => Vec::new(),
                Goal::Peers | Goal::Announce(_) => {
                    lookup.add_peers(hops, reply.values.peers().filter(accepts))
                }
            };
            if lookup.traced {
                self.events.push_back(DhtEvent::LookupReply {
                    lookup: id,
                    from,
                    hops,
                    rtt,
                    elapsed: lookup.stats(now).elapsed,
                    nodes: reply.contacts(family).count(),
                    peers: peers.len(),
                    item: reply.value.is_some(),
                });
            }
            let info_hash = InfoHash::new(*lookup.target.as_bytes());
            self.report_peers(id, info_hash, peers);
            self.on_extras(id, from.addr, reply);
        }
        self.drive(now, id);
    }

    fn report_peers(&mut self, lookup: LookupId, info_hash: InfoHash, peers: Vec<SocketAddr>) {
        if !peers.is_empty() {
            self.events.push_back(DhtEvent::PeersFound {
                lookup,
                info_hash,
                peers,
            });
        }
    }

    /// An answer that is no use, or an error.
    fn on_refusal(&mut self, now: Instant, addr: &SocketAddr, purpose: Purpose) {
        match purpose {
            Purpose::Sample(id) => return self.on_sample_failure(id, *addr),
            Purpose::Ask(id) => return self.report_answer(id, *addr, None),
            _ => self.trace_failure(now, addr, purpose),
        }
        let (Purpose::Lookup(id) | Purpose::Probe(id) | Purpose::Announce(id)) = purpose else {
            return;
        };
        if let Some(lookup) = self.lookups.get_mut(&id) {
            match purpose {
                Purpose::Announce(_) => lookup.on_announced(addr, false),
                Purpose::Probe(_) => lookup.on_probe_failure(addr),
                _ => lookup.on_failure(addr),
            }
        }
        self.drive(now, id);
    }

    fn on_slow(&mut self, now: Instant, addr: &SocketAddr, purpose: Purpose) {
        if matches!(purpose, Purpose::Newcomer | Purpose::Caller) && self.table.len() < K {
            // With so few nodes every one counts, and the loss of one datagram must not lose it.
            self.ping(now, *addr);
        }
        self.trace_step(now, purpose, *addr, LookupStep::Slow);
        let (Purpose::Lookup(id) | Purpose::Probe(id) | Purpose::Announce(id)) = purpose else {
            return;
        };
        if let Some(lookup) = self.lookups.get_mut(&id) {
            match purpose {
                Purpose::Announce(_) => lookup.on_announce_slow(addr),
                Purpose::Probe(_) => lookup.on_probe_slow(addr),
                _ => lookup.on_slow(addr),
            }
        }
        self.drive(now, id);
    }

    fn on_timeout(&mut self, now: Instant, transaction: &Transaction) {
        self.counts.timeouts += 1;
        let online = self
            .last_reply
            .is_some_and(|at| now.saturating_duration_since(at) < ONLINE);
        if transaction.purpose == Purpose::Upkeep && online {
            self.maintenance.on_pinged(false);
        }
        if let Some(left) = self.table.on_timeout(&transaction.addr, online) {
            self.maintenance.on_left(&transaction.addr, left);
        }
        self.on_refusal(now, &transaction.addr, transaction.purpose);
    }

    fn start_lookup(&mut self, now: Instant, target: NodeId, goal: Goal, owner: Owner) -> LookupId {
        let id = self.next_id();
        let lookup = self.new_lookup(now, target, goal, owner);
        self.launch(now, id, lookup)
    }

    fn next_id(&mut self) -> LookupId {
        self.next_lookup += 1;
        LookupId(self.next_lookup)
    }

    /// A lookup with everything it can start from.
    fn new_lookup(
        &mut self,
        now: Instant,
        target: NodeId,
        goal: Goal,
        owner: Owner,
    ) -> Box<Lookup> {
        let soft = self.rtt.soft_timeout();
        let around = self.surroundings(owner);
        let mut lookup = Box::new(Lookup::new(target, goal, owner, soft, around, now));
        self.seed(now, &mut lookup);
        lookup
    }

    fn launch(&mut self, now: Instant, id: LookupId, mut lookup: Box<Lookup>) -> LookupId {
        if matches!(lookup.goal, Goal::Peers | Goal::Announce(_)) {
            // What others announced to us is as good as what they announced elsewhere, and in a
            // network of two it is all there is.
            let info_hash = InfoHash::new(*lookup.target.as_bytes());
            let stored = self.store.of(&info_hash, self.seconds(now));
            let peers = lookup.add_peers(0, stored.into_iter());
            self.report_peers(id, info_hash, peers);
        }
        self.lookups.insert(id, lookup);
        self.drive(now, id);
        id
    }

    /// What a lookup may know of the network.
    fn surroundings(&self, owner: Owner) -> Surroundings {
        let estimate = match owner {
            // What a search ends with is counted for the size, so liars must not crowd this one.
            Owner::User | Owner::Refresh if self.maintenance.is_joined() => self.size_estimate(),
            Owner::User | Owner::Bootstrap | Owner::Refresh => None,
        };
        let size = estimate.map(|size| {
            let slack = 1.0 + SIZE_SLACK * size.spread;
            (size.nodes * slack, size.nodes / slack)
        });
        let bound_ids = match self.config.id_check {
            IdCheck::Enforce => self.config.binds_ids(),
            // While most of the network does not conform, to prefer those who do would only make
            // searches longer.
            IdCheck::Prefer => self.config.binds_ids() && self.table.mostly_conforms(),
            IdCheck::Off => false,
        };
        Surroundings {
            size: size.filter(|(most, _)| *most >= MIN_SIZE),
            bound_ids,
            strict: bound_ids && self.config.id_check == IdCheck::Enforce,
            one_per_subnet: self.config.network == Network::Mainline,
        }
    }

    /// Somebody says that this is our address.
    fn on_vote(&mut self, now: Instant, voter: &SocketAddr, ip: IpAddr) {
        // A port that is not 0, whichever: the address is what counts.
        if !self.config.binds_ids() || !self.accepts(&SocketAddr::new(ip, 1)) {
            return;
        }
        let Some(ip) = self.votes.add(&voter.ip(), ip) else {
            return;
        };
        if !node_id::conforms(&ip, &self.id) {
            // A new id, not the old one with another start: who has followed us must not be able to
            // do so any longer.
            self.id = node_id::bind(&ip, NodeId::new(self.rng.random()));
            self.table.rebase(self.id);
            self.on_new_id(now);
        }
        let id = self.id;
        self.events.push_back(DhtEvent::AddressLearned { ip, id });
    }

    /// Sends all that a lookup wants to send, and ends it when it is over.
    fn drive(&mut self, now: Instant, id: LookupId) {
        let Some(mut lookup) = self.lookups.remove(&id) else {
            return;
        };
        loop {
            match lookup.next(now) {
                Step::Ask(addr, node, soft) => {
                    self.trace_asked(now, id, &lookup, addr);
                    let method = lookup.question();
                    self.query(now, addr, node, method, Purpose::Lookup(id), Some(soft));
                }
                Step::Probe(to, target, soft) => {
                    self.trace_asked(now, id, &lookup, to.addr);
                    let method = Method::FindNode { target };
                    let purpose = Purpose::Probe(id);
                    self.query(now, to.addr, Some(to.id), method, purpose, Some(soft));
                }
                Step::Announce(to, token, soft) => {
                    let Some(method) = lookup.deposit(&to.addr, &token) else {
                        continue;
                    };
                    if lookup.traced {
                        let step = lookup.step(now, id, to.addr, LookupStep::Storing);
                        self.events.push_back(step);
                    }
                    let purpose = Purpose::Announce(id);
                    self.query(now, to.addr, Some(to.id), method, purpose, Some(soft));
                }
                Step::Wait(_) => {
                    self.lookups.insert(id, lookup);
                    return;
                }
                Step::Done => return self.on_lookup_done(now, id, &lookup),
            }
        }
    }

    fn on_lookup_done(&mut self, now: Instant, id: LookupId, lookup: &Lookup) {
        let stats = lookup.stats(now);
        // Our own neighbourhood is in the table, and a search that ended with the first answer has
        // not come to the closest.
        if lookup.owner != Owner::Bootstrap
            && !lookup.is_answered()
            && let Some(eighth) = lookup.farthest_holder()
        {
            self.sizes.add(&lookup.target, &eighth);
        }
        self.on_quest_done(now, id, lookup);
        match lookup.owner {
            Owner::User => self.events.push_back(DhtEvent::LookupDone {
                lookup: id,
                target: lookup.target,
                stats,
                closest: lookup.closest(),
            }),
            Owner::Bootstrap => self.on_bootstrap_done(now, &lookup.target, stats),
            Owner::Refresh => {}
        }
    }

    fn query(
        &mut self,
        now: Instant,
        to: SocketAddr,
        id: Option<NodeId>,
        method: Method<'_>,
        purpose: Purpose,
        soft: Option<Duration>,
    ) {
        let tid = self
            .transactions
            .open(now, to, id, purpose, soft, &mut self.rng);
        let message = Message {
            tid: &tid,
            version: Some(&VERSION),
            ip: None,
            read_only: self.config.read_only,
            body: Body::Query(Query {
                id: self.id,
                method,
                want: None,
            }),
        };
        self.counts.queries_sent += 1;
        self.outbox.push(to, |out| message.encode(out));
    }

    fn ping(&mut self, now: Instant, addr: SocketAddr) {
        self.query(now, addr, None, Method::Ping, Purpose::Ping, None);
    }
}
