//! A DHT and what is done to it: the plan's acts, each at its time.

mod samples;

use std::{net::SocketAddr, time::Duration};

use mainswarm::{
    dht::{Contact, IdCheck},
    ids::{InfoHash, NodeId},
    network::Network,
};

use super::{
    agenda::{Act, Agenda},
    attack,
    notes::{Announced, Idle, Looked, Newcomers, Notes, Side},
    population::Population,
    sessions::Sessions,
};
use crate::{
    scenario::{Action, AttackKind, DhtPlan, DhtStart, Plan, Session},
    sim::{
        LinkConfig, Nat, NodeConfig, WarmStart, World, WorldConfig,
        hash::{draw, seed_bytes, unit},
        keyspace::KeySpace,
    },
};

/// A key, and the node that announces it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Key {
    pub(super) info_hash: InfoHash,
    /// It stays whatever happens to others: `None` before the first announce.
    pub(super) announcer: Option<u32>,
}

#[derive(Debug)]
pub(super) struct Lab<'a> {
    pub(super) plan: &'a Plan,
    pub(super) dht: &'a DhtPlan,
    pub(super) seed: u64,
    pub(super) world: World,
    pub(super) agenda: Agenda,
    pub(super) people: Population,
    pub(super) keys: Vec<Key>,
    pub(super) notes: Notes,
    /// When measuring began.
    pub(super) start: Duration,
    sessions: Sessions,
    routers: Vec<SocketAddr>,
    routers_up: u32,
    split: Split,
    lookups_left: u32,
    draws: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Split {
    Never,
    Cut,
    Healed,
}

impl<'a> Lab<'a> {
    pub(super) fn new(plan: &'a Plan, dht: &'a DhtPlan, seed: u64, threads: usize) -> Self {
        let world = World::new(WorldConfig {
            seed,
            links: LinkConfig {
                delay: plan.network.latency,
                jitter: plan.network.jitter,
                loss: plan.network.loss,
            },
            network: Network::Mainline,
            threads,
        });
        let key = |at: u32| Key {
            info_hash: InfoHash::new(head(seed_bytes(&[seed, KEY, u64::from(at)]))),
            announcer: None,
        };
        let mut lab = Self {
            plan,
            dht,
            seed,
            world,
            agenda: Agenda::default(),
            people: Population::default(),
            keys: (0..dht.announces).map(key).collect(),
            notes: Notes::default(),
            start: Duration::ZERO,
            sessions: Sessions::new(dht.session),
            routers: Vec::new(),
            routers_up: dht.routers.min(dht.nodes),
            split: Split::Never,
            lookups_left: dht.lookups,
            draws: 0,
        };
        match dht.start {
            DhtStart::Warm => lab.begin_warm(),
            DhtStart::Cold => lab.begin_cold(),
        }
        lab
    }

    /// Everybody is there, with tables as after a long time.
    fn begin_warm(&mut self) {
        let attack = self.plan.attack.as_ref();
        let taken = self.taken();
        let honest = self.dht.nodes.saturating_sub(taken).max(self.routers_up);
        for node in 0..honest {
            let router = node < self.routers_up;
            let nat = if router { Nat::Open } else { self.nat_of(node) };
            self.world.add_node(NodeConfig {
                nat,
                ..self.node_config()
            });
            if router {
                self.routers.push(self.world.addr(node));
            } else {
                self.people.add(node);
            }
        }
        if let Some(attack) = attack {
            let keys: Vec<InfoHash> = self.keys.iter().map(|key| key.info_hash).collect();
            attack::join(&mut self.world, attack, self.seed, taken, &keys);
        }
        self.world.warm_start(WarmStart {
            dead: self.dht.dead,
            ..WarmStart::default()
        });
        let reachable = (0..honest).filter(|node| self.nat_of(*node) == Nat::Open);
        let reachable: KeySpace<u32> = reachable
            .filter_map(|node| Some((self.id_of(node)?, node)))
            .collect();
        self.people.set_reachable(reachable);
        for node in self.routers_up..honest {
            let roll = draw(&[self.seed, SESSION, u64::from(node)]);
            if let Some(left) = self.sessions.rest(roll) {
                self.agenda.note(left, Act::Leave(node));
            }
        }
    }

    /// The routers are there, and the others will come.
    fn begin_cold(&mut self) {
        assert!(
            self.plan.attack.is_none(),
            "attackers have their places in warm tables: the plan needs start = \"warm\""
        );
        for _ in 0..self.routers_up {
            let known = self.routers.clone();
            let node = self.world.add_node(NodeConfig {
                dht: Some(known),
                ..self.node_config()
            });
            if let Some(id) = self.id_of(node) {
                self.people.add_reachable(id, node);
            }
            self.routers.push(self.world.addr(node));
        }
        let others = self.dht.nodes - self.routers_up;
        for n in 0..others {
            let share = f64::from(n + 1) / f64::from(others);
            let at = self.dht.join_within.mul_f64(share);
            self.agenda.note(at, Act::Join);
        }
        self.agenda.note(Duration::from_secs(1), Act::SampleYoung);
    }

    /// Nodes that the plan's attackers take the places of.
    fn taken(&self) -> u32 {
        match &self.plan.attack {
            Some(attack) if attack.kind != AttackKind::Eclipse => {
                (f64::from(self.dht.nodes) * attack.share) as u32
            }
            _ => 0,
        }
    }

    /// How many nodes can be called: what an estimate of the network's size should find.
    pub(super) fn visible(&self) -> u32 {
        self.people.reachable() as u32 + self.taken()
    }

    fn node_config(&self) -> NodeConfig {
        // Where attackers may make ids up, nobody checks them.
        let attack = self.plan.attack.as_ref();
        let id_check = match attack.is_some_and(|attack| !attack.ids_bound) {
            true => IdCheck::Off,
            false => IdCheck::Prefer,
        };
        NodeConfig {
            dht: Some(Vec::new()),
            id_check,
            wide_table: self.dht.wide_tables,
            ..NodeConfig::default()
        }
    }

    /// What stands between a node and the others; routers are open.
    fn nat_of(&self, node: u32) -> Nat {
        if node < self.dht.routers {
            return Nat::Open;
        }
        let roll = draw(&[self.seed, NAT, u64::from(node)]);
        if unit(roll) >= self.plan.network.nat {
            return Nat::Open;
        }
        match roll % 8 {
            0..3 => Nat::PortRestricted,
            3..6 => Nat::Symmetric,
            _ => Nat::Firewall,
        }
    }

    pub(super) fn is_open(&self, node: u32) -> bool {
        self.nat_of(node) == Nat::Open
    }

    /// A new node joins, by the routers or by what somebody else had saved.
    fn join(&mut self, cache: Option<Vec<Contact>>) -> u32 {
        let node = self.world.nodes().len() as u32;
        let nat = self.nat_of(node);
        self.world.add_node(NodeConfig {
            dht: Some(self.routers.clone()),
            saved: cache.unwrap_or_default(),
            nat,
            ..self.node_config()
        });
        if let Some(id) = self.id_of(node).filter(|_| nat == Nat::Open) {
            self.people.add_reachable(id, node);
        }
        node
    }

    /// One more member joins, knowing the routers.
    fn join_as_member(&mut self) {
        let node = self.join(None);
        self.people.add(node);
        let roll = draw(&[self.seed, SESSION, u64::from(node)]);
        if let Some(stay) = self.sessions.whole(roll) {
            let at = self.world.now() + stay;
            self.agenda.note(at, Act::Leave(node));
        }
    }

    /// A node is gone without a word.
    fn lose(&mut self, node: u32) {
        if let Some(id) = self.id_of(node) {
            self.people.remove_reachable(&id);
        }
        self.people.remove(node);
        self.notes.gone.insert(node, self.world.now());
        self.world.crash(node);
    }

    /// When the announces begin, and how long they take.
    pub(super) fn announce_phase(&self) -> (Duration, Duration) {
        let join = self.dht.join_within;
        match self.dht.start {
            // Nodes announce while others still join: what a real network does.
            DhtStart::Cold if self.dht.settle == Duration::ZERO => (join / 2, join / 2),
            DhtStart::Cold => (join + self.dht.settle, ANNOUNCE_PAUSE * self.dht.announces),
            DhtStart::Warm => (self.dht.settle, ANNOUNCE_PAUSE * self.dht.announces),
        }
    }

    /// Notes the announces, and the probes among them.
    pub(super) fn plan_announces(&mut self) {
        let (begin, within) = self.announce_phase();
        let count = self.dht.announces;
        for key in 0..count {
            let at = begin + within.mul_f64(f64::from(key) / f64::from(count));
            self.agenda.note(at, Act::Announce { key, again: false });
        }
        for n in 0..PROBES {
            let at = begin + within.mul_f64(f64::from(n) / f64::from(PROBES));
            self.agenda.note(at, Act::Probe);
        }
    }

    /// Measuring begins: notes all that counts from here.
    pub(super) fn begin(&mut self) {
        self.start = self.world.now();
        let (dht, start) = (self.dht, self.start);
        for key in 0..dht.announces {
            // They do not stay in step, or all keys would be weakest at the same time.
            let share = f64::from(key + 1) / f64::from(dht.announces);
            let at = start + dht.reannounce.mul_f64(share);
            self.agenda.note(at, Act::Announce { key, again: true });
        }
        for (at, event) in (0..).zip(&self.plan.events) {
            self.agenda.note(start + event.at, Act::Event(at));
        }
        if dht.lookups > 0 {
            self.agenda.note(start, Act::LookUp);
        }
        self.agenda.note(start, Act::Sample);
        let counts = self.world.counts();
        self.notes.sent_before = (counts.datagrams, counts.datagram_bytes);
        for node in self.people.sample(IDLE_NODES, &[self.seed, IDLE]) {
            let sent = self.sent_by(node);
            self.notes.idle.push(Idle { node, sent });
        }
    }

    /// When nothing is left to do but to wait for what is under way.
    pub(super) fn end(&self) -> Duration {
        let ends = self.plan.events.iter().map(|event| match event.action {
            Action::Partition(lasts) => event.at + lasts,
            Action::Newcomers { .. } => event.at + GET_IN,
            Action::Kill(_) | Action::RoutersDown(_) => event.at,
        });
        let last = ends.max().unwrap_or_default();
        self.start + last.max(self.dht.lookup_within)
    }

    /// Does one thing, at its time.
    pub(super) fn act(&mut self, at: Duration, act: Act) {
        match act {
            Act::Join => self.join_as_member(),
            Act::Leave(node) => self.on_session_end(node),
            Act::Announce { key, again } => self.announce(at, key, again),
            Act::Probe => self.probe(),
            Act::CountHolders(announce) => self.count_holders(at, announce),
            Act::LookUp => self.look_up(at),
            Act::Event(event) => self.on_event(at, event),
            Act::Heal => {
                self.world.heal();
                self.split = Split::Healed;
                self.notes.healed = Some(at - self.start);
            }
            Act::CountNewcomers(group) => self.count_newcomers(group),
            Act::Sample => self.sample(at),
            Act::SampleYoung => self.sample_young(at),
        }
    }

    fn on_session_end(&mut self, node: u32) {
        if self.keys.iter().any(|key| key.announcer == Some(node)) {
            // Who announces stays: a key nobody announces any more cannot be found.
            return;
        }
        if self.people.contains(node) {
            self.lose(node);
            self.join_as_member();
        }
    }

    fn announce(&mut self, at: Duration, key: u32, again: bool) {
        let announcer = match self.keys[key as usize].announcer {
            Some(announcer) => announcer,
            None => match self.pick(ANNOUNCER) {
                Some(announcer) => announcer,
                None => return,
            },
        };
        self.keys[key as usize].announcer = Some(announcer);
        let record = self
            .world
            .announce(announcer, self.keys[key as usize].info_hash);
        let announce = self.notes.announced.len() as u32;
        self.notes.announced.push(Announced { record, key });
        self.agenda
            .note(at + HOLDERS_AFTER, Act::CountHolders(announce));
        if again {
            let next = at + self.dht.reannounce;
            self.agenda.note(next, Act::Announce { key, again });
        }
    }

    fn probe(&mut self) {
        let Some(node) = self.pick(PROBE) else {
            return;
        };
        self.draws += 1;
        let nobody = InfoHash::new(head(seed_bytes(&[self.seed, PROBE, self.draws])));
        let record = self.world.get_peers(node, nobody);
        self.notes.probes.push(record);
    }

    fn look_up(&mut self, at: Duration) {
        self.lookups_left -= 1;
        if let Some((seeker, key)) = self.seeker_and_key() {
            let announcer = key.announcer.map(|node| self.world.addr(node));
            let side = match self.split {
                Split::Never => Side::Whole,
                Split::Cut => Side::Same,
                Split::Healed => Side::Across,
            };
            let traced = self.notes.looked.len() < TRACED;
            let record = match traced {
                true => self.world.get_peers_traced(seeker, key.info_hash),
                false => self.world.get_peers(seeker, key.info_hash),
            };
            if let Some(announcer) = announcer {
                self.notes.looked.push(Looked {
                    record,
                    at: at - self.start,
                    announcer,
                    side,
                });
            }
        }
        if self.lookups_left > 0 {
            let made = self.dht.lookups - self.lookups_left;
            let share = f64::from(made) / f64::from(self.dht.lookups);
            let next = self.start + self.dht.lookup_within.mul_f64(share);
            self.agenda.note(next.max(at), Act::LookUp);
        }
    }

    /// Somebody, and the key of somebody else: of the same side while the network is cut, of the
    /// other one after that.
    fn seeker_and_key(&mut self) -> Option<(u32, Key)> {
        for _ in 0..256 {
            let seeker = self.pick(SEEKER)?;
            self.draws += 1;
            let roll = draw(&[self.seed, CHOICE, self.draws]);
            let key = self.keys[(roll % self.keys.len().max(1) as u64) as usize];
            let Some(announcer) = key.announcer.filter(|announcer| *announcer != seeker) else {
                continue;
            };
            let same = self.side_of(seeker) == self.side_of(announcer);
            let fits = match self.split {
                Split::Never => true,
                Split::Cut => same,
                Split::Healed => !same,
            };
            if fits {
                return Some((seeker, key));
            }
        }
        None
    }

    fn side_of(&self, node: u32) -> u8 {
        side_of(self.seed, node)
    }

    fn on_event(&mut self, at: Duration, event: u32) {
        let since = at - self.start;
        match self.plan.events[event as usize].action {
            Action::Kill(share) => {
                self.notes.kill.get_or_insert(since);
                let announcers: Vec<u32> =
                    self.keys.iter().filter_map(|key| key.announcer).collect();
                let all = self.people.len() as f64;
                let mut left = (all * share) as usize;
                let spared = |node: &u32| announcers.contains(node);
                let mut victims: Vec<u32> = self.people.members().to_vec();
                victims.retain(|node| !spared(node));
                victims.sort_unstable_by_key(|node| draw(&[self.seed, VICTIM, u64::from(*node)]));
                for node in victims {
                    if left == 0 {
                        break;
                    }
                    self.lose(node);
                    left -= 1;
                }
            }
            Action::RoutersDown(count) => {
                self.notes.routers_died.get_or_insert(since);
                for _ in 0..count.min(self.routers_up) {
                    self.routers_up -= 1;
                    let router = self.routers_up;
                    self.lose(router);
                }
            }
            Action::Newcomers { count, cached } => {
                let nodes = (0..count).map(|_| {
                    let cache = cached.then(|| self.some_table());
                    self.join(cache)
                });
                let nodes = nodes.collect();
                let group = self.notes.newcomers.len() as u32;
                self.notes.newcomers.push(Newcomers {
                    nodes,
                    cached,
                    orphaned: self.routers_up == 0,
                    joined: 0.0,
                });
                self.agenda.note(at + GET_IN, Act::CountNewcomers(group));
            }
            Action::Partition(lasts) => {
                let seed = self.seed;
                self.world.partition(move |node| side_of(seed, node));
                self.split = Split::Cut;
                self.agenda.note(at + lasts, Act::Heal);
            }
        }
    }

    /// The table of somebody in the network, as a file would have kept it.
    fn some_table(&mut self) -> Vec<Contact> {
        let node = self.pick(CACHE);
        let dht = node.and_then(|node| self.world.node(node).dht());
        dht.map(|dht| dht.contacts()).unwrap_or_default()
    }

    fn id_of(&self, node: u32) -> Option<NodeId> {
        Some(self.world.node(node).dht()?.id())
    }

    fn pick(&mut self, what: u64) -> Option<u32> {
        self.draws += 1;
        self.people.pick(&[self.seed, what, self.draws])
    }

    /// Whether nodes come and go.
    pub(super) fn churns(&self) -> bool {
        self.dht.session != Session::Forever
    }

    /// Whether measuring begins while nodes still join.
    pub(super) fn is_young(&self) -> bool {
        self.dht.start == DhtStart::Cold && self.dht.settle == Duration::ZERO
    }

    pub(super) fn starts_cold(&self) -> bool {
        self.dht.start == DhtStart::Cold
    }

    /// About when the run will end, before measuring has begun.
    pub(super) fn expected_end(&self) -> Duration {
        let (begin, within) = self.announce_phase();
        begin + within + self.end()
    }

    /// Whether all announces so far have ended, and the probes.
    pub(super) fn announces_done(&self) -> bool {
        let announced = self
            .notes
            .announced
            .iter()
            .map(|announced| announced.record);
        self.are_done(announced.chain(self.notes.probes.iter().copied()))
    }

    pub(super) fn lookups_done(&self) -> bool {
        self.are_done(self.notes.looked.iter().map(|looked| looked.record))
    }

    fn are_done(&self, records: impl Iterator<Item = usize>) -> bool {
        let mut records = records.map(|record| &self.world.lookups()[record]);
        records.all(|record| record.done.is_some() || !self.people.contains(record.node))
    }
}

/// Which half of a partition a node is in, whether it is there or joins later.
fn side_of(seed: u64, node: u32) -> u8 {
    (draw(&[seed, SIDE, u64::from(node)]) & 1) as u8
}

fn head(seed: [u8; 32]) -> [u8; 20] {
    let mut head = [0; 20];
    head.copy_from_slice(&seed[..20]);
    head
}

/// BEP 5: a key is held by the eight closest, and a table without eight nodes is thin.
pub(super) const HOLDERS: usize = 8;
/// Between two announces, so that they do not come in one burst.
const ANNOUNCE_PAUSE: Duration = Duration::from_millis(10);
/// Most announces have ended by then.
const HOLDERS_AFTER: Duration = Duration::from_secs(4);
/// Newcomers have this long to get eight live contacts.
const GET_IN: Duration = Duration::from_secs(60);
/// Lookups for nobody's key, four estimates of the network's size of sixteen each.
const PROBES: u32 = 64;
const IDLE_NODES: usize = 300;
/// Lookups whose paths are drawn.
const TRACED: usize = 24;

/// What a draw is for.
const KEY: u64 = 111;
const SESSION: u64 = 112;
const NAT: u64 = 113;
const ANNOUNCER: u64 = 114;
const SEEKER: u64 = 115;
const CHOICE: u64 = 116;
const PROBE: u64 = 117;
const VICTIM: u64 = 118;
const SIDE: u64 = 119;
const CACHE: u64 = 120;
const IDLE: u64 = 122;
