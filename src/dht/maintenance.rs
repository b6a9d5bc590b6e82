//! What a node does of itself: finding its way in, staying in, and keeping its table true.
//!
//! | state      | until                                  | then                                      |
//! |------------|----------------------------------------|-------------------------------------------|
//! | Idle       | a contact is given, or a node answers  | Searching                                 |
//! | Searching  | the lookup for our own id ends         | Joined with replies, Waiting without      |
//! | Waiting    | the back-off ends, or a node answers   | Searching                                 |
//! | Joined     | no node is good any more, or few are   | Searching                                 |
//!
//! Saved nodes are asked first and the routers when those do not suffice. Once joined, one old node
//! is pinged at a time, spread so that each is heard of within 15 minutes; buckets that stay
//! unchanged are refreshed, and the search for our own id is repeated for the sake of our
//! neighbourhood.

use std::{
    collections::{BTreeSet, VecDeque},
    net::SocketAddr,
    time::{Duration, Instant},
};

use rand::{RngExt, rngs::StdRng};

use super::{
    Contact, Dht, DhtEvent, Goal, KnownNode, LookupId, LookupStats, Method, Owner, Purpose, Reply,
    lookup::{Lookup, MAX_ROUTERS, Source},
    node::{BEFORE_BIRTH, PackedAddr, QUESTIONABLE_AFTER, Seconds, source},
    routing_table::{K, Left, Reached},
    transactions::MAX_SOFT,
};
use crate::{ids::NodeId, network::Network};

/// Ours: back-off of the search for a way in, doubled from the first to the last.
const FIRST_RETRY: Duration = Duration::from_secs(1);
const LAST_RETRY: Duration = Duration::from_secs(60);

/// Ours: with fewer good nodes the search is repeated every [`LAST_RETRY`].
const FEW: usize = 5;

/// Ours: with fewer nodes our part of the network may not be all of it.
const SMALL_TABLE: usize = 64;

/// BEP 5: buckets are refreshed after 15 minutes; our own neighbourhood likewise.
const REFRESH_EVERY: Duration = Duration::from_secs(15 * 60);

/// Ours: a node is pinged a little before it would become questionable.
const PING_AGE: Seconds = QUESTIONABLE_AFTER - 60;
/// Ours: one ping in six seconds at most, which a table of 140 nodes needs.
const MIN_PING_PAUSE: Duration = Duration::from_secs(6);
const MAX_PING_PAUSE: Duration = Duration::from_secs(60);

/// Ours: while the far buckets are filled after joining.
const FILL_PAUSE: Duration = Duration::from_secs(2);

/// Ours: nodes that we are told of are pinged at this rate, after a burst.
const NEWCOMER_PAUSE: Duration = Duration::from_millis(250);
const NEWCOMER_BURST: u32 = 16;
const MAX_NEWCOMERS: usize = 32;
/// Ours: who was pinged lately is not pinged again because it sends another query.
const MAX_RECENT: usize = 16;
const RECENTLY: Duration = Duration::from_secs(30);

const MAX_UNREACHABLE: usize = 64;
const DOUBT_ONE_OF: u32 = 4;

/// Ours: who stopped answering is asked now and then, each about every half hour, for some hours.
const REUNION_PAUSE: Duration = Duration::from_secs(60);
const MAX_LOST: usize = 32;
const MAX_SEEKS: u8 = 8;

const SWEEP_EVERY: Duration = Duration::from_secs(5 * 60);

/// Ours: when the wake-up comes this late, the machine slept, and all we knew is old.
const SLEPT: Duration = Duration::from_secs(30);

/// More than one bootstrap can ask.
const MAX_SAVED: usize = 200;

#[derive(Debug)]
pub(super) struct Maintenance {
    /// From an earlier run; dropped when we have joined.
    pub(super) saved: Vec<Contact>,
    routers: Vec<SocketAddr>,
    phase: Phase,
    /// Whether a search for the id that we have now has ended, so that we know our neighbours.
    home: bool,
    /// Whether one of the routers has answered since the start. Until then we may be joined to an
    /// island: to nodes that started from us, say, while our own router was out of reach.
    router_heard: bool,
    next_knock: Instant,
    knocks: u32,
    /// Searches in a row without a reply.
    failures: u32,
    /// Nodes that somebody spoke of or that sent a query, waiting for their ping.
    newcomers: VecDeque<(SocketAddr, Reached)>,
    recent: VecDeque<(SocketAddr, Instant)>,
    /// Boxed, as nodes in a quiet network have none.
    outside: Option<Box<Outside>>,
    next_reunion: Instant,
    /// The share of nodes that were gone when their turn came, lately.
    gone: f32,
    /// How many newcomers may be pinged at once, and since when.
    credit: u32,
    credited: Instant,
    next_ping: Instant,
    next_search: Instant,
    next_sweep: Option<Instant>,
    /// The bucket to fill next, after joining; there are 160.
    fill: Option<u8>,
    refresh: Option<LookupId>,
}

/// Nodes that lost their places in the table and are remembered.
#[derive(Debug, Default)]
struct Outside {
    /// Those that can call and cannot be called, the latest last.
    unreachable: VecDeque<PackedAddr>,
    /// Those that stopped answering, and how often each was asked since. If a cable was cut and not
    /// they have gone, they are the way back to their part of the network.
    lost: VecDeque<(PackedAddr, u8)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Idle,
    Searching,
    Waiting(Instant),
    Joined,
}

impl Maintenance {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            saved: Vec::new(),
            routers: Vec::new(),
            phase: Phase::Idle,
            home: false,
            router_heard: false,
            next_knock: now,
            knocks: 0,
            failures: 0,
            newcomers: VecDeque::new(),
            recent: VecDeque::new(),
            outside: None,
            next_reunion: now,
            gone: 0.0,
            credit: NEWCOMER_BURST,
            credited: now,
            next_ping: now,
            next_search: now,
            next_sweep: None,
            fill: None,
            refresh: None,
        }
    }

    pub(super) fn is_joined(&self) -> bool {
        self.phase == Phase::Joined
    }

    pub(super) fn is_home(&self) -> bool {
        self.home
    }

    /// Reads what every input reads.
    pub(super) fn touch(&self) -> usize {
        let late = self.next_ping < self.credited;
        self.newcomers.len()
            ^ self.credit as usize
            ^ usize::from(self.is_joined())
            ^ usize::from(late)
    }
}

impl Maintenance {
    /// A node of the table was asked in its turn, and was there or not.
    pub(super) fn on_pinged(&mut self, answered: bool) {
        let gone = if answered { 0.0 } else { 1.0 };
        self.gone += (gone - self.gone) / 32.0;
    }

    /// How old news of a node may be. Where many are found gone, sessions are short, and a table
    /// that is looked through as seldom as usual would be of the dead.
    fn ping_age(&self) -> Seconds {
        (PING_AGE as f32 * (1.1 - self.gone).clamp(0.5, 1.0)) as Seconds
    }

    /// A node has lost its place in the table.
    pub(super) fn on_left(&mut self, addr: &SocketAddr, left: Left) {
        let packed = PackedAddr::new(addr);
        let outside = self.outside.get_or_insert_default();
        match left {
            Left::Unreachable => {
                if outside.unreachable.len() == MAX_UNREACHABLE {
                    outside.unreachable.pop_front();
                }
                outside.unreachable.push_back(packed);
            }
            // Those lost first lasted longest, and when much is lost at once any will do.
            Left::Gone => {
                if outside.lost.len() < MAX_LOST
                    && !outside.lost.iter().any(|(known, _)| known.is(addr))
                {
                    outside.lost.push_back((packed, 0));
                }
            }
        }
    }
}

impl Dht {
    /// Sets the nodes saved by an earlier run: asked first.
    pub fn restore(&mut self, _now: Instant, nodes: &[Contact]) {
        let wanted = nodes.iter().filter(|contact| self.accepts(&contact.addr));
        self.maintenance.saved = wanted.take(MAX_SAVED).copied().collect();
    }

    /// Takes up a whole routing table where it was left: for a shell that slept or moved with its
    /// table, and for worlds that begin converged. Unlike the contacts of [`Self::restore`] these
    /// count as having answered, so the caller vouches for them; whoever is gone by now is found
    /// out by upkeep. Addresses of another network, second claims of an address and what no longer
    /// fits its bucket are left out. With the first node that is taken the node has joined.
    pub fn restore_table(&mut self, now: Instant, nodes: impl IntoIterator<Item = KnownNode>) {
        let seconds = self.clock.seconds(now);
        // One set for all of them: to search the table for each would be the dearest part.
        let mut taken: BTreeSet<SocketAddr> = {
            let nodes = self.table.iter();
            nodes.map(|node| self.place(node.addr())).collect()
        };
        let nodes = nodes.into_iter();
        self.table.reserve(nodes.size_hint().0);
        for known in nodes {
            let contact = known.contact;
            if !self.accepts(&contact.addr) || !taken.insert(self.place(contact.addr)) {
                continue;
            }
            let age = Seconds::try_from(known.age.as_secs()).unwrap_or(Seconds::MAX);
            let seen = seconds.saturating_sub(age.min(BEFORE_BIRTH));
            if self.table.restore(&contact, known.rtt, seen) {
                self.rtt.add(known.rtt);
            }
        }
        if self.table.len() == 0 || self.maintenance.phase == Phase::Joined {
            return;
        }
        self.maintenance.saved = Vec::new();
        self.maintenance.phase = Phase::Joined;
        self.maintenance.home = true;
        // Nodes that are restored together must not ask in step.
        let share = |rng: &mut StdRng| rng.random_range(0.0..1.0);
        self.maintenance.next_search = now + REFRESH_EVERY.mul_f32(share(&mut self.rng));
        self.maintenance.next_ping = now + MIN_PING_PAUSE.mul_f32(share(&mut self.rng));
        self.maintenance.next_knock = self.maintenance.next_ping;
        let nodes = self.table.len();
        self.events.push_back(DhtEvent::Bootstrapped { nodes });
    }

    /// What one node of the table may take: an address, or on Mainline all of a source.
    fn place(&self, addr: SocketAddr) -> SocketAddr {
        match self.config.network {
            Network::Mainline => SocketAddr::new(source(&addr.ip()), 0),
            Network::Private => addr,
        }
    }

    /// Sets the routers to start from (asked when saved nodes do not suffice, and again with
    /// back-off while the table is empty), and starts.
    pub fn bootstrap(&mut self, now: Instant, contacts: &[SocketAddr]) {
        let wanted = contacts.iter().filter(|addr| self.accepts(addr));
        self.maintenance.routers = wanted.take(MAX_ROUTERS).copied().collect();
        for lookup in self.lookups.values_mut() {
            if lookup.is_hungry() {
                for router in &self.maintenance.routers {
                    lookup.seed_router(*router);
                }
            }
        }
        let hungry: Vec<LookupId> = self.lookups.keys().copied().collect();
        for id in hungry {
            self.drive(now, id);
        }
        self.maintenance.router_heard = false;
        self.maintenance.knocks = 0;
        if self.maintenance.phase != Phase::Searching {
            self.maintenance.failures = 0;
            self.search(now);
        }
    }

    /// Somebody said that a node lives here (a PORT message, a torrent's `nodes`): it is pinged and
    /// enters the table if it answers.
    pub fn add_node(&mut self, now: Instant, addr: SocketAddr) {
        if self.accepts(&addr) && !self.table.contains_addr(&addr) {
            self.add_newcomer(now, addr, Reached::Called);
        }
    }

    /// Gives a lookup everything it can start from.
    pub(super) fn seed(&mut self, now: Instant, lookup: &mut Lookup) {
        let mut closest = [None; 2 * K];
        let known = self
            .table
            .closest(&lookup.target, self.clock.seconds(now), &mut closest);
        for node in closest.into_iter().flatten() {
            lookup.seed(node.contact(), Source::Table(node.rtt()));
        }
        if lookup.owner == Owner::Refresh {
            return;
        }
        if known < K {
            let mut saved: Vec<Contact> = self.maintenance.saved.clone();
            saved.sort_by_key(|contact| lookup.target.distance(&contact.id));
            for contact in saved.into_iter().take(SAVED_PER_LOOKUP) {
                lookup.seed(contact, Source::Saved);
            }
        }
        // Without K nodes of our own, or in our search for a way in, routers are the last resort:
        // a lookup asks them when it has nobody closer.
        if known < K || lookup.owner == Owner::Bootstrap {
            for router in &self.maintenance.routers {
                lookup.seed_router(*router);
            }
        }
        if lookup.owner == Owner::Bootstrap && self.maintenance.phase == Phase::Joined {
            self.look_beyond(lookup);
        }
    }

    /// Lets the search for our own id ask somebody far off, too: our neighbours and theirs may all
    /// be of one island. A router is troubled only while the table is small.
    fn look_beyond(&mut self, lookup: &mut Lookup) {
        let routers = &self.maintenance.routers;
        if !routers.is_empty() && self.table.len() < SMALL_TABLE {
            lookup.hasten(routers[self.rng.random_range(0..routers.len())]);
        }
        let anybody = NodeId::new(self.rng.random());
        let mut far = [None];
        self.table.closest(&anybody, 0, &mut far);
        if let [Some(node)] = far {
            lookup.seed(node.contact(), Source::Table(node.rtt()));
            lookup.hasten(node.addr());
        }
    }

    /// We have another id, and other neighbours: whom a search for the old one finds are not. Most
    /// learn their address in their first search.
    pub(super) fn on_new_id(&mut self, now: Instant) {
        self.maintenance.home = false;
        match self.maintenance.phase {
            Phase::Joined => {
                self.maintenance.next_search = now;
                self.maintenance.fill = Some(self.table.buckets() as u8);
            }
            Phase::Searching | Phase::Waiting(_) => {
                self.lookups
                    .retain(|_, lookup| lookup.owner != Owner::Bootstrap);
                self.search(now);
            }
            Phase::Idle => {}
        }
    }

    /// Looks for our own id.
    fn search(&mut self, now: Instant) {
        let nobody = self.table.len() == 0
            && self.maintenance.saved.is_empty()
            && self.maintenance.routers.is_empty();
        if nobody {
            self.maintenance.phase = Phase::Idle;
            return;
        }
        if self.maintenance.phase != Phase::Joined {
            self.maintenance.phase = Phase::Searching;
        }
        self.maintenance.next_search = now + self.jittered(REFRESH_EVERY);
        self.start_lookup(now, self.id, Goal::Nodes, Owner::Bootstrap);
    }

    /// Our search has ended.
    pub(super) fn on_bootstrap_done(&mut self, now: Instant, target: &NodeId, stats: LookupStats) {
        let joined = self.maintenance.phase == Phase::Joined;
        if stats.replied > 0 {
            self.maintenance.home |= *target == self.id;
            self.maintenance.failures = 0;
            self.maintenance.phase = Phase::Joined;
            if !joined {
                self.maintenance.saved = Vec::new();
                self.maintenance.fill = Some(self.table.buckets() as u8);
                self.maintenance.next_ping = now + FILL_PAUSE;
                self.maintenance.next_knock = now + FILL_PAUSE;
                let nodes = self.table.len();
                self.events.push_back(DhtEvent::Bootstrapped { nodes });
            }
            return;
        }
        let doubled = FIRST_RETRY * (1 << self.maintenance.failures.min(6));
        let retry_at = now + self.jittered(doubled.min(LAST_RETRY));
        self.maintenance.failures += 1;
        self.maintenance.phase = Phase::Waiting(retry_at);
        self.events.push_back(DhtEvent::BootstrapFailed {
            asked: stats.asked as usize,
            retry_at,
        });
    }

    /// A node has entered the table.
    pub(super) fn on_table_growth(&mut self, now: Instant) {
        if matches!(self.maintenance.phase, Phase::Idle | Phase::Waiting(_)) {
            self.search(now);
        }
    }

    /// Somebody answered.
    pub(super) fn on_heard(&mut self, now: Instant, addr: &SocketAddr) {
        if !self.maintenance.router_heard && self.maintenance.routers.contains(addr) {
            self.maintenance.router_heard = true;
            if self.maintenance.phase == Phase::Joined {
                // What it knows may be another part of the network than ours.
                self.maintenance.next_search = now;
            }
        }
    }

    /// Asks the routers while none has answered, ever less often.
    fn knock(&mut self, now: Instant) {
        let doubled = LAST_RETRY * (1 << self.maintenance.knocks.min(4));
        self.maintenance.next_knock = now + self.jittered(doubled);
        self.maintenance.knocks += 1;
        let method = Method::FindNode { target: self.id };
        for router in self.maintenance.routers.clone() {
            self.query(now, router, None, method, Purpose::Ping, None);
        }
    }

    /// Nodes in the reply to a ping that was a find_node.
    pub(super) fn on_contacts(&mut self, now: Instant, reply: &Reply<'_>) {
        let seconds = self.clock.seconds(now);
        let own = self.votes.settled();
        let contacts = reply.contacts(self.config.family).take(K);
        let contacts = contacts.filter(|(_, addr)| own != Some(addr.ip()));
        let wanted = contacts
            .filter(|(id, addr)| self.accepts(addr) && self.table.has_room(id, addr, seconds));
        // Few of the eight, since idle nodes should be quiet.
        let wanted: Vec<SocketAddr> = wanted.map(|(_, addr)| addr).take(2).collect();
        for addr in wanted {
            self.add_newcomer(now, addr, Reached::Called);
        }
    }

    /// Somebody whom we do not know sent a query: it may enter if it answers one of ours.
    pub(super) fn consider(&mut self, now: Instant, id: NodeId, addr: SocketAddr) {
        let mut recent = self.maintenance.recent.iter();
        let pinged = recent
            .any(|(recent, at)| *recent == addr && now.saturating_duration_since(*at) < RECENTLY);
        let outside = self.maintenance.outside.iter();
        let mut unreachable = outside.flat_map(|outside| &outside.unreachable);
        if !pinged
            && !unreachable.any(|known| known.is(&addr))
            && self.table.has_room(&id, &addr, self.clock.seconds(now))
        {
            self.add_newcomer(now, addr, Reached::CalledBack);
        }
    }

    /// Whether somebody who called and answered is to be called once more, later. It costs a query
    /// for each, so only some are while all of them could be called so far.
    pub(super) fn doubts_callers(&mut self) -> bool {
        let outside = self.maintenance.outside.as_ref();
        let met = outside.is_some_and(|outside| !outside.unreachable.is_empty());
        met || self.rng.random_ratio(1, DOUBT_ONE_OF)
    }

    /// Pings a node when the budget allows; drops it when too many wait.
    pub(super) fn add_newcomer(&mut self, now: Instant, addr: SocketAddr, reached: Reached) {
        let newcomers = &mut self.maintenance.newcomers;
        if newcomers.len() < MAX_NEWCOMERS
            && !newcomers.iter().any(|(known, _)| *known == addr)
            && !self.transactions.awaits(&addr)
        {
            newcomers.push_back((addr, reached));
            self.ping_newcomers(now);
        }
    }

    fn ping_newcomers(&mut self, now: Instant) {
        let idle = now.saturating_duration_since(self.maintenance.credited);
        let gained = idle.as_millis() / NEWCOMER_PAUSE.as_millis();
        if gained > 0 {
            let gained = u32::try_from(gained).unwrap_or(u32::MAX);
            let credit = self.maintenance.credit.saturating_add(gained);
            self.maintenance.credit = credit.min(NEWCOMER_BURST);
            self.maintenance.credited = now;
        }
        while self.maintenance.credit > 0 {
            let maintenance = &mut self.maintenance;
            let Some((addr, reached)) = maintenance.newcomers.pop_front() else {
                return;
            };
            maintenance.credit -= 1;
            if maintenance.recent.len() == MAX_RECENT {
                maintenance.recent.pop_front();
            }
            maintenance.recent.push_back((addr, now));
            let purpose = match reached {
                Reached::Called => Purpose::Newcomer,
                Reached::CalledBack => Purpose::Caller,
            };
            let soft = Some(2 * MAX_SOFT);
            self.query(now, addr, None, Method::Ping, purpose, soft);
        }
    }

    /// Everything that is due.
    pub(super) fn maintain(&mut self, now: Instant) {
        self.ping_newcomers(now);
        match self.maintenance.phase {
            Phase::Waiting(at) if now >= at => self.search(now),
            Phase::Joined => self.keep_table(now),
            Phase::Idle | Phase::Searching | Phase::Waiting(_) => {}
        }
        if self.maintenance.next_sweep.is_some_and(|at| now >= at) {
            self.maintenance.next_sweep = None;
            self.store.expire(self.clock.seconds(now));
            self.sweep_items(now);
            self.plan_sweep(now);
        }
        self.republish(now);
    }

    fn keep_table(&mut self, now: Instant) {
        let seconds = self.clock.seconds(now);
        if now >= self.maintenance.next_search {
            if self.table.good(1, seconds) == 0 {
                self.maintenance.phase = Phase::Searching;
            }
            self.search(now);
        }
        if now < self.maintenance.next_ping {
            return;
        }
        if !self.maintenance.router_heard && now >= self.maintenance.next_knock {
            self.knock(now);
        }
        let good = self.table.good(FEW, seconds);
        if good < FEW {
            let soon = now + self.jittered(if good == 0 { FIRST_RETRY } else { LAST_RETRY });
            self.maintenance.next_search = self.maintenance.next_search.min(soon);
        }
        let age = self.maintenance.ping_age();
        let stalest = self.table.next_to_ping(seconds, age);
        let suspect = self.table.next_suspect(seconds);
        let stalest = stalest.map(|found| (found, Purpose::Upkeep));
        let suspect = suspect.map(|found| (found, Purpose::Ping));
        for ((index, contact), purpose) in stalest.into_iter().chain(suspect) {
            // A find_node costs no more than a ping and may bring nodes for that bucket.
            let random = NodeId::new(self.rng.random());
            let target = self.table.id_in_bucket(index, random);
            let method = Method::FindNode { target };
            let Contact { id, addr } = contact;
            self.query(now, addr, Some(id), method, purpose, None);
        }
        if now >= self.maintenance.next_reunion {
            self.maintenance.next_reunion = now + self.jittered(REUNION_PAUSE);
            self.seek_lost(now);
        }
        let filling = self.maintenance.fill.is_some();
        self.refresh(now, seconds);
        let share = Duration::from_secs(age.into()) / self.table.len().max(1) as u32;
        let least = MIN_PING_PAUSE * age / PING_AGE;
        let pause = match filling {
            true => FILL_PAUSE,
            false => share.clamp(least, MAX_PING_PAUSE),
        };
        self.maintenance.next_ping = now + self.jittered(pause);
    }

    /// Asks one of those who stopped answering whether it is back.
    fn seek_lost(&mut self, now: Instant) {
        let Some(outside) = &mut self.maintenance.outside else {
            return;
        };
        let Some((addr, tries)) = outside.lost.pop_front() else {
            return;
        };
        let at = addr.get();
        if self.table.contains_addr(&at) {
            return;
        }
        if tries + 1 < MAX_SEEKS {
            outside.lost.push_back((addr, tries + 1));
        }
        // Whoever is closest to us in its part of the network is whom we should know of it.
        let method = Method::FindNode { target: self.id };
        self.query(now, at, None, method, Purpose::Ping, None);
    }

    /// Looks up a random id in a bucket that needs it, one bucket at a time.
    fn refresh(&mut self, now: Instant, seconds: Seconds) {
        let running = self.maintenance.refresh;
        if running.is_some_and(|id| self.lookups.contains_key(&id)) {
            return;
        }
        self.maintenance.refresh = None;
        let fill = self
            .maintenance
            .fill
            .and_then(|at| self.table.next_to_fill(at.into()));
        self.maintenance.fill = fill.and_then(|at| at.checked_sub(1)).map(|at| at as u8);
        let index = fill.or_else(|| self.table.next_to_refresh(seconds));
        if let Some(index) = index {
            let random = NodeId::new(self.rng.random());
            let target = self.table.id_in_bucket(index, random);
            let id = self.start_lookup(now, target, Goal::Nodes, Owner::Refresh);
            self.maintenance.refresh = Some(id);
        }
    }

    /// Sweeps the stores while they hold something.
    pub(super) fn plan_sweep(&mut self, now: Instant) {
        let holds = self.store.peers() > 0 || self.stored_items() > 0;
        if self.maintenance.next_sweep.is_none() && holds {
            self.maintenance.next_sweep = Some(now + SWEEP_EVERY);
        }
    }

    /// Starts anew if the wake-up comes so late that the machine must have slept: addresses and
    /// NAT mappings may be others, and no node is to blame for queries it could not answer.
    pub(super) fn notice_sleep(&mut self, now: Instant) {
        let Some(due) = self.poll_timeout() else {
            return;
        };
        if now.saturating_duration_since(due) < SLEPT {
            return;
        }
        for lost in self.transactions.clear() {
            match lost.purpose {
                Purpose::Sample(_) | Purpose::Ask(_) => {
                    self.on_refusal(now, &lost.addr, lost.purpose);
                }
                purpose => self.on_slow(now, &lost.addr, purpose),
            }
        }
        let internal: Vec<LookupId> = self
            .lookups
            .iter()
            .filter(|(_, lookup)| lookup.owner != Owner::User)
            .map(|(id, _)| *id)
            .collect();
        for id in internal {
            self.lookups.remove(&id);
        }
        self.maintenance.failures = 0;
        self.maintenance.router_heard = false;
        self.maintenance.phase = Phase::Searching;
        self.search(now);
    }

    pub(super) fn next_maintenance(&self) -> Option<Instant> {
        let maintenance = &self.maintenance;
        let upkeep = match maintenance.phase {
            Phase::Waiting(at) => Some(at),
            Phase::Joined => Some(maintenance.next_ping.min(maintenance.next_search)),
            Phase::Idle | Phase::Searching => None,
        };
        let waiting = !maintenance.newcomers.is_empty();
        let newcomers = waiting.then(|| maintenance.credited + NEWCOMER_PAUSE);
        let all = [
            upkeep,
            newcomers,
            maintenance.next_sweep,
            self.next_republish(),
        ];
        all.into_iter().flatten().min()
    }

    /// Up to a quarter more, so that nodes that started together do not stay in step.
    pub(super) fn jittered(&mut self, duration: Duration) -> Duration {
        duration + duration.mul_f32(self.rng.random_range(0.0..0.25))
    }
}

/// Ours: as many saved nodes start a lookup.
const SAVED_PER_LOOKUP: usize = 32;
