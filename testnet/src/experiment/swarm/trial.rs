//! One swarm in one world: brings its members in, lets them leave, looks at all of them from time
//! to time, and keeps what the figures are made of.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use mainswarm::network::Network;

use super::{
    member::{Member, Terms},
    roster::{self, Cast, Place},
    samples::Samples,
};
use crate::{
    outcome::{Bounds, Series},
    scenario::{Action, Behaviour, Discovery, Plan, SwarmPlan},
    sim::{Content, LinkConfig, NodeConfig, Speed, World, WorldConfig, hash::draw},
};

/// What is run.
pub(super) struct Stage<'a> {
    pub(super) plan: &'a Plan,
    pub(super) swarm: &'a SwarmPlan,
    pub(super) seed: u64,
    pub(super) threads: usize,
    pub(super) places: &'a [Place],
    pub(super) cast: &'a Cast,
    pub(super) content: &'a Arc<Content>,
    pub(super) bounds: Option<Bounds>,
}

/// What came of it.
pub(super) struct Trial {
    pub(super) members: Vec<Member>,
    pub(super) series: Series,
    /// What nobody could beat, for those that were served.
    pub(super) bounds: Option<Bounds>,
    /// When it ended.
    pub(super) ended: Duration,
    /// Bytes that the first seeds had sent when another peer was complete, or at the end.
    pub(super) seed_sent: u64,
    /// Whether every piece was among the others when the last seed left, if it did.
    pub(super) available: Option<bool>,
    pub(super) trace: u64,
    pub(super) speed: Speed,
}

/// How far a trial is: virtual time, share done, events.
pub(super) type Report<'a> = dyn FnMut(Duration, f64, u64) + 'a;

impl Stage<'_> {
    /// Runs it.
    pub(super) fn run(&self, report: &mut Report<'_>) -> Trial {
        let mut show = Show::new(self);
        loop {
            show.bring_in();
            show.notice();
            show.carry_out_events();
            if show.samples.due(show.world.now()) {
                show.samples.take(&show.world, &mut show.members);
            }
            report(
                show.world.now(),
                show.share_done(),
                show.world.counts().events,
            );
            if show.is_over() {
                break;
            }
            let next = show.next_stop();
            show.world.run_until(next);
        }
        show.finish()
    }
}

struct Show<'a> {
    stage: &'a Stage<'a>,
    world: World,
    router: Option<SocketAddr>,
    members: Vec<Member>,
    /// The next of the stage's places.
    next_place: usize,
    next_event: usize,
    /// When a partition ends.
    heals_at: Option<Duration>,
    /// Members that are here and lack something.
    busy: Vec<usize>,
    /// Members that will leave: when, and who.
    leaving: Vec<(Duration, usize)>,
    /// Completions that were seen.
    seen: usize,
    seed_sent: Option<u64>,
    available: Option<bool>,
    samples: Samples,
    slice: Duration,
}

impl<'a> Show<'a> {
    fn new(stage: &'a Stage<'a>) -> Self {
        let network = &stage.plan.network;
        let mut world = World::new(WorldConfig {
            seed: stage.seed,
            links: LinkConfig {
                delay: network.latency,
                jitter: network.jitter,
                loss: network.loss,
            },
            network: Network::Private,
            threads: stage.threads,
        });
        let router = (stage.swarm.discovery == Discovery::Dht).then(|| {
            let node = world.add_node(NodeConfig {
                dht: Some(Vec::new()),
                ..NodeConfig::default()
            });
            world.addr(node)
        });
        // Two hundred samples of the least time it can take; if it cannot be done, of what there is.
        let limit = stage.swarm.limit.as_secs_f64();
        let lb = stage.bounds.map_or(limit, |bounds| bounds.lb.min(limit));
        let pace = Duration::from_secs_f64((lb / 200.0).max(1e-3));
        Self {
            stage,
            world,
            router,
            members: Vec::new(),
            next_place: 0,
            next_event: 0,
            heals_at: None,
            busy: Vec::new(),
            leaving: Vec::new(),
            seen: 0,
            seed_sent: None,
            available: None,
            samples: Samples::new(pace, stage.plan.classes.len(), stage.swarm.pieces),
            slice: (stage.swarm.file_time / 3600).clamp(SHORTEST_SLICE, LONGEST_SLICE),
        }
    }

    fn bring_in(&mut self) {
        while let Some(place) = self.stage.places.get(self.next_place) {
            if place.joins > self.world.now() {
                return;
            }
            self.next_place += 1;
            self.join(*place);
        }
    }

    fn join(&mut self, place: Place) {
        let number = place.class;
        let class = &self.stage.plan.classes[number];
        let gone = class.leaves_at.is_some_and(|at| at <= self.world.now());
        let Some(behaviour) = self.stage.cast[number].filter(|_| !gone) else {
            // A host that takes no part, so that all others keep their addresses and their wires.
            self.world.add_node(NodeConfig::default());
            return;
        };
        let terms = Terms {
            swarm: self.stage.swarm,
            class,
            behaviour,
            router: self.router,
            nat: place.nat,
        };
        let node = self.world.add_node(terms.node());
        let told = match (behaviour, self.stage.swarm.discovery) {
            (Behaviour::LargeView | Behaviour::SeedSlots, _) => self.everybody(node),
            (_, Discovery::Told) => self.some_members(),
            (_, Discovery::Dht) => Vec::new(),
        };
        self.world
            .add_torrent(node, terms.peer(self.stage.content, told));
        let mut member = Member::new(
            number,
            behaviour,
            class,
            terms.upload(),
            node,
            self.world.now(),
        );
        member.callable = place.nat.takes_dials();
        let stays = class.seeds_for.filter(|_| member.complete_from_start);
        let until = stays.map(|stays| self.world.now() + stays);
        for at in until.into_iter().chain(class.leaves_at) {
            self.leaving.push((at, self.members.len()));
        }
        if !member.complete_from_start {
            self.busy.push(self.members.len());
        }
        self.samples.came(node, self.members.len());
        self.members.push(member);
    }

    /// Up to fifty members at random of those that are here.
    fn some_members(&self) -> Vec<SocketAddr> {
        let here = self.members.iter().filter(|member| member.left.is_none());
        let mut addrs: Vec<_> = here.map(|member| self.world.addr(member.node)).collect();
        let count = TOLD_OF.min(addrs.len());
        for at in 0..count {
            let words = [self.stage.seed, TOLD, self.members.len() as u64, at as u64];
            let with = at + (draw(&words) % (addrs.len() - at) as u64) as usize;
            addrs.swap(at, with);
        }
        addrs.truncate(count);
        addrs
    }

    /// The addresses of all that are planned, whether they have come or not: who wants to know
    /// everybody finds them in time.
    fn everybody(&self, own: u32) -> Vec<SocketAddr> {
        let first = u32::from(self.router.is_some());
        let nodes = first..first + self.stage.places.len() as u32;
        let others = nodes.filter(|node| *node != own);
        others.map(|node| self.world.addr(node)).collect()
    }

    /// Sees who is complete and who should go.
    fn notice(&mut self) {
        let now = self.world.now();
        if self.world.completed() != self.seen {
            self.seen = self.world.completed();
            self.notice_completions(now);
        }
        for at in 0..self.members.len() {
            let member = &self.members[at];
            let class = &self.stage.plan.classes[member.class];
            let Some(copies) = class.leaves_at_copies.filter(|_| member.left.is_none()) else {
                continue;
            };
            if member.sent(&self.world) as f64 >= copies * self.stage.swarm.file_len() as f64 {
                self.leaving.push((now, at));
            }
        }
        let due: Vec<usize> = self
            .leaving
            .iter()
            .filter(|(at, _)| *at <= now)
            .map(|(_, who)| *who)
            .collect();
        self.leaving.retain(|(at, _)| *at > now);
        due.into_iter().for_each(|member| self.leave(member));
    }

    fn notice_completions(&mut self, now: Duration) {
        let (world, members) = (&self.world, &mut self.members);
        let mut done = Vec::new();
        self.busy.retain(|at| {
            let member = &mut members[*at];
            let completed = world.node(member.node).torrents()[0].log().completed;
            if completed.is_some() {
                member.done = completed;
                member.sent_when_done = member.sent(world);
                done.push(*at);
            }
            completed.is_none()
        });
        let wanted = |at: &usize| self.members[*at].kind.wants();
        if self.seed_sent.is_none() && done.iter().any(wanted) {
            self.seed_sent = Some(self.seeds_sent());
        }
        for at in done {
            let member = &self.members[at];
            let class = &self.stage.plan.classes[member.class];
            if member.behaviour == Behaviour::SeedSlots {
                // It forgets what it took and comes back for more, from another address.
                let lot = draw(&[self.stage.seed, AGAIN, self.members.len() as u64]);
                let again = Place {
                    class: member.class,
                    joins: now,
                    nat: roster::nat(class, self.stage.plan.network.nat, lot),
                };
                self.leave(at);
                self.join(again);
            } else if let Some(stays) = class.seeds_for {
                self.leaving.push((member.done.unwrap_or(now) + stays, at));
            }
        }
    }

    fn seeds_sent(&self) -> u64 {
        let seeds = self.members.iter().filter(|member| member.is_server());
        seeds.map(|seed| seed.sent(&self.world)).sum()
    }

    fn leave(&mut self, at: usize) {
        if self.members[at].left.is_some() {
            return;
        }
        self.members[at].observe(&self.world);
        self.members[at].left = Some(self.world.now());
        self.world.leave(self.members[at].node);
        self.busy.retain(|busy| *busy != at);
        let last_seed = self.members[at].is_server()
            && !self
                .members
                .iter()
                .any(|member| member.is_server() && member.left.is_none());
        if last_seed {
            self.available = Some(self.samples.all_there(&self.world, &self.members));
        }
    }

    fn carry_out_events(&mut self) {
        if self.heals_at.is_some_and(|at| at <= self.world.now()) {
            self.heals_at = None;
            self.world.heal();
        }
        while let Some(event) = self.stage.plan.events.get(self.next_event) {
            if event.at > self.world.now() {
                return;
            }
            self.next_event += 1;
            let stream = draw(&[self.stage.seed, EVENT, self.next_event as u64]);
            match event.action {
                Action::Partition(time) => {
                    let side = move |node: u32| (draw(&[stream, u64::from(node)]) >> 63) as u8;
                    self.world.partition(side);
                    self.heals_at = Some(self.world.now() + time);
                }
                // The DHT's own events: a swarm has one router, and says itself who comes and goes.
                Action::Kill(_) | Action::RoutersDown(_) | Action::Newcomers { .. } => {}
            }
        }
    }

    fn next_stop(&self) -> Duration {
        let now = self.world.now();
        let mut next = (now + self.slice).min(self.samples.next);
        if let Some(place) = self.stage.places.get(self.next_place) {
            next = next.min(place.joins);
        }
        if let Some(event) = self.stage.plan.events.get(self.next_event) {
            next = next.min(event.at);
        }
        next = self.heals_at.map_or(next, |at| next.min(at));
        next.clamp(now, self.stage.swarm.limit.max(now))
    }

    fn is_over(&self) -> bool {
        let more = self.next_place < self.stage.places.len();
        let wanting = |at: &usize| self.members[*at].kind.wants();
        // Nobody has got a piece for as long as the whole file may take: nobody will.
        let stuck = !more && self.samples.unchanged_for >= self.stage.swarm.file_time;
        self.world.now() >= self.stage.swarm.limit
            || !more && !self.busy.iter().any(wanting)
            || stuck
    }

    fn share_done(&self) -> f64 {
        let time = self.world.now().as_secs_f64() / self.stage.swarm.limit.as_secs_f64();
        match self.stage.bounds {
            Some(bounds) => (self.world.now().as_secs_f64() / bounds.lb).min(0.99),
            None => time,
        }
    }

    fn finish(mut self) -> Trial {
        let world = &self.world;
        self.samples.take(world, &mut self.members);
        for member in self
            .members
            .iter_mut()
            .filter(|member| member.left.is_none())
        {
            member.observe(world);
        }
        let (swarm, classes) = (self.stage.swarm, &self.stage.plan.classes);
        let bounds = roster::bounds_for_served(swarm, classes, &self.members);
        Trial {
            ended: world.now(),
            bounds,
            seed_sent: self.seed_sent.unwrap_or_else(|| self.seeds_sent()),
            available: self.available,
            trace: world.trace(),
            speed: world.speed(),
            series: self
                .samples
                .into_series(&self.stage.plan.classes, &self.members, bounds),
            members: self.members,
        }
    }
}

/// Leaves and completions are noticed at the end of a slice of virtual time.
const LONGEST_SLICE: Duration = Duration::from_secs(1);
const SHORTEST_SLICE: Duration = Duration::from_millis(10);
/// How many others a newcomer is told of.
const TOLD_OF: usize = 50;

/// What a draw is for.
const TOLD: u64 = 0x5741_0003;
const EVENT: u64 = 0x5741_0004;
const AGAIN: u64 = 0x5741_0006;
