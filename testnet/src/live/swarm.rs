//! The swarm half of a plan on real sockets.
//!
//! All nodes start and find into the DHT first. Those that have the file at the beginning announce
//! it, then the clock starts and the others join as the plan says. A run ends when every
//! member that fetches has everything, when the plan's limit is reached, or when nothing has moved for long:
//! pieces that nobody has any more never come.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::mpsc,
    time::{Duration, Instant},
};

use mainswarm::torrent::chooser::SeedOrder;
use rand::{RngExt, SeedableRng, rngs::StdRng, seq::SliceRandom};
use tokio::{
    task::block_in_place,
    time::{sleep_until, timeout},
};

use super::{
    LiveError,
    content::Content,
    figures::{self, Member, is_compliant, wants},
    members::Members,
    namespaces::Nat,
    node::{Order, Said, Spec, TorrentSpec, piece_order_name},
    scenario::{LiveOptions, cost},
    world::{Host, Wire, World},
};
use crate::{
    cpu::CpuMeter,
    experiment::Progress,
    outcome::Run,
    scenario::{Action, Architecture, Behaviour, Class, Discovery, Plan, SwarmPlan},
};

/// Runs the swarm half of a plan.
pub(super) async fn run(
    plan: &Plan,
    seed: u64,
    options: &LiveOptions,
    progress: &mpsc::Sender<Progress>,
) -> Result<Run, LiveError> {
    let Some(swarm) = &plan.swarm else {
        unreachable!("the caller has looked");
    };
    let peers = peers(plan, seed);
    let copies = peers.iter().filter(|peer| !peer.is_seed()).count();
    // Declared before the nodes and so removed after them: nobody uses them any more.
    let content = block_in_place(|| Content::make(swarm, seed, options.dir.as_deref(), copies))?;
    let mut world = block_in_place(|| World::new(&plan.network, options))?;
    let members = Members::new();
    let mut race = Race::start(plan, swarm, peers, members, &mut world, &content).await?;
    let cpu = CpuMeter::start();
    let outcome = race.run(&mut world, seed, progress).await;
    let running = race.since();
    let mut run = race.figures(plan, world.limits_rates());
    let Race { members, peers, .. } = race;
    let memory = members.stop().await;
    cost(&mut run, &cpu, running, memory);
    outcome?;
    for (index, peer) in peers.iter().enumerate() {
        if peer.took.is_some() && !block_in_place(|| content.check(index + 1))? {
            return Err(LiveError::Differs { node: index + 1 });
        }
    }
    Ok(run)
}

/// A member of the swarm and what is known of it.
#[derive(Debug, Clone)]
struct Peer {
    class: Class,
    /// The class's number.
    number: usize,
    join_at: Duration,
    /// When it joined, since the start.
    joined: Option<Duration>,
    /// Seconds from joining to having everything.
    took: Option<f64>,
    /// When it left, since the start.
    left: Option<Duration>,
    have: u32,
    uploaded: u64,
}

impl Peer {
    fn is(&self, behaviour: Behaviour) -> bool {
        self.class.behaviour == behaviour
    }

    /// Has everything, and means well.
    fn is_seed(&self) -> bool {
        self.class.complete && !self.is(Behaviour::Corrupt)
    }
}

/// The members, class by class. A class that is a share of another takes its members from it.
fn peers(plan: &Plan, seed: u64) -> Vec<Peer> {
    let mut peers = Vec::new();
    for ((number, class), count) in plan.classes.iter().enumerate().zip(plan.sizes()) {
        let named = |other: &&Class| class.of.as_ref() == Some(&other.name);
        // They come when those come that they were taken from.
        let comes = plan.classes.iter().find(named).unwrap_or(class);
        for index in 0..count {
            let within = comes
                .join_within
                .mul_f64(index as f64 / count.max(1) as f64);
            peers.push(Peer {
                class: class.clone(),
                number,
                join_at: comes.join_at + within,
                joined: None,
                took: None,
                left: None,
                have: 0,
                uploaded: 0,
            });
        }
    }
    // Who comes first among equals is the seed's to say, not the order of the classes.
    peers.shuffle(&mut StdRng::seed_from_u64(seed));
    peers.sort_by_key(|peer| (!peer.class.complete, peer.join_at));
    peers
}

/// What happens at a time.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Step {
    Join(usize),
    Leave(usize),
    Part(bool),
}

/// A swarm under way. Peer `i` is node `i + 1`; node 0 is the router.
struct Race<'a> {
    swarm: &'a SwarmPlan,
    peers: Vec<Peer>,
    members: Members,
    /// Where others see each peer.
    seen: Vec<SocketAddr>,
    steps: Vec<(Duration, Step)>,
    start: Instant,
    /// When something last moved.
    moved: Instant,
    /// What the first seeds had sent when another peer was complete.
    first_copies: Option<f64>,
    /// For each corrupter that somebody banned: how long after both had joined the last did so.
    banned: BTreeMap<usize, f64>,
    /// (seconds, bytes uploaded by all so far).
    uploads: Vec<(f64, u64)>,
    population: Vec<(f64, f64)>,
    present: Vec<(f64, f64)>,
}

impl<'a> Race<'a> {
    /// Starts every node and waits until all are in the DHT and the seeds have announced.
    async fn start(
        plan: &'a Plan,
        swarm: &'a SwarmPlan,
        peers: Vec<Peer>,
        mut members: Members,
        world: &mut World,
        content: &Content,
    ) -> Result<Self, LiveError> {
        let dht = swarm.discovery == Discovery::Dht;
        let router = block_in_place(|| world.add(Wire::default()))?;
        let number = members.start(&router.place, Spec::dht(router.listen, Vec::new()))?;
        let router = members.listening(number).await?;
        let bootstrap = if dht {
            vec![router.to_string()]
        } else {
            Vec::new()
        };
        let mut hosts = Vec::with_capacity(peers.len());
        for (index, peer) in peers.iter().enumerate() {
            let wire = wire(plan, peer, index, &peers);
            let host = block_in_place(|| world.add(wire))?;
            let spec = spec(plan, swarm, peer, &host, world.limits_rates());
            let spec = Spec {
                bootstrap: bootstrap.clone(),
                dht,
                torrent: Some(torrent(swarm, peer, index + 1, content)?),
                ..spec
            };
            members.start(&host.place, spec)?;
            hosts.push(host);
        }
        let mut seen = Vec::with_capacity(hosts.len());
        for (index, host) in hosts.iter().enumerate() {
            let addr = members.listening(index + 1).await?;
            seen.push(SocketAddr::new(host.seen, addr.port()));
        }
        if dht {
            // Nobody told the router where to start.
            members.order(0, Order::Meet { node: seen[0] });
            joined(&mut members, peers.len()).await?;
        }
        let now = Instant::now();
        let mut race = Self {
            swarm,
            members,
            seen,
            steps: steps(plan, &peers),
            start: now,
            moved: now,
            first_copies: None,
            banned: BTreeMap::new(),
            uploads: Vec::new(),
            population: Vec::new(),
            present: Vec::new(),
            peers,
        };
        race.seed(dht).await?;
        race.start = Instant::now();
        race.moved = race.start;
        Ok(race)
    }

    /// Lets those that have the file begin, and waits until nodes hold their announce.
    async fn seed(&mut self, dht: bool) -> Result<(), LiveError> {
        let early = |peer: &Peer| peer.class.complete && peer.join_at.is_zero();
        let mut waiting: Vec<usize> = (0..self.peers.len())
            .filter(|index| early(&self.peers[*index]))
            .collect();
        self.steps
            .retain(|(_, step)| !matches!(step, Step::Join(i) if waiting.contains(i)));
        for index in waiting.clone() {
            self.join(index, Duration::ZERO);
        }
        let all = waiting.len();
        let wait = async {
            while !waiting.is_empty() {
                let (number, said) = self.members.next().await;
                match said {
                    Said::Failed { why } => return Err(LiveError::Member { node: number, why }),
                    Said::Announced if dht => waiting.retain(|index| index + 1 != number),
                    Said::Complete { .. } if !dht => waiting.retain(|index| index + 1 != number),
                    _ => {}
                }
            }
            Ok(())
        };
        match timeout(JOIN_LIMIT, wait).await {
            Ok(result) => result,
            Err(_) => Err(LiveError::NotJoined {
                missing: waiting.len(),
                nodes: all,
                limit: JOIN_LIMIT,
            }),
        }
    }

    async fn run(
        &mut self,
        world: &mut World,
        seed: u64,
        progress: &mpsc::Sender<Progress>,
    ) -> Result<(), LiveError> {
        let mut random = StdRng::seed_from_u64(seed ^ 1);
        let mut ticks = tokio::time::interval(TICK);
        while !self.is_over() {
            self.steps.sort_by_key(|(at, _)| *at);
            let due = self.steps.first().map(|(at, _)| (self.start + *at).into());
            let far = tokio::time::Instant::now() + Duration::from_secs(3600);
            tokio::select! {
                (number, said) = self.members.next() => self.on_said(number, said)?,
                () = sleep_until(due.unwrap_or(far)), if due.is_some() => {
                    let (_, step) = self.steps.remove(0);
                    self.take(step, world, &mut random)?;
                }
                _ = ticks.tick() => {
                    let _ = progress.send(self.sample());
                }
            }
        }
        Ok(())
    }

    fn is_over(&self) -> bool {
        let waiting =
            |peer: &Peer| wants(&peer.class) && peer.took.is_none() && peer.left.is_none();
        if !self.peers.iter().any(waiting) || self.since() > self.swarm.limit {
            return true;
        }
        let pending = self
            .steps
            .iter()
            .any(|(_, step)| !matches!(step, Step::Leave(_)));
        let piece = self.swarm.file_time / self.swarm.pieces.max(1);
        !pending && self.moved.elapsed() > STILL.max(piece * 20)
    }

    fn take(
        &mut self,
        step: Step,
        world: &mut World,
        random: &mut StdRng,
    ) -> Result<(), LiveError> {
        match step {
            Step::Join(index) => {
                let told = self.told(index, random);
                self.join_with(index, self.since(), told);
            }
            Step::Leave(index) => {
                if self.peers[index].left.is_none() {
                    self.members.leave(index + 1);
                    self.peers[index].left = Some(self.since());
                }
            }
            Step::Part(parted) => block_in_place(|| world.set_parted(parted))?,
        }
        self.moved = Instant::now();
        Ok(())
    }

    /// Whom a peer is told of: at most fifty of those that came before it.
    fn told(&self, index: usize, random: &mut StdRng) -> Vec<SocketAddr> {
        if self.swarm.discovery == Discovery::Dht {
            return Vec::new();
        }
        let here = |other: &usize| {
            *other != index
                && self.peers[*other].joined.is_some()
                && self.peers[*other].left.is_none()
        };
        let mut others: Vec<usize> = (0..self.peers.len()).filter(here).collect();
        while others.len() > TOLD {
            others.swap_remove(random.random_range(0..others.len()));
        }
        others.into_iter().map(|other| self.seen[other]).collect()
    }

    fn join(&mut self, index: usize, at: Duration) {
        self.join_with(index, at, Vec::new());
    }

    fn join_with(&mut self, index: usize, at: Duration, peers: Vec<SocketAddr>) {
        let peer = &mut self.peers[index];
        peer.joined = Some(at);
        if let Some(stay) = peer.class.seeds_for.filter(|_| peer.class.complete) {
            self.steps.push((at + stay, Step::Leave(index)));
        }
        self.members.order(index + 1, Order::Join { peers });
    }

    fn on_said(&mut self, number: usize, said: Said) -> Result<(), LiveError> {
        let Some(index) = number.checked_sub(1) else {
            return match said {
                Said::Failed { why } => Err(LiveError::Member { node: 0, why }),
                _ => Ok(()),
            };
        };
        let now = self.since();
        match said {
            Said::Failed { why } if self.peers[index].left.is_none() => {
                return Err(LiveError::Member { node: number, why });
            }
            Said::Progress { have, uploaded } => {
                let peer = &mut self.peers[index];
                if wants(&peer.class) && have > peer.have {
                    self.moved = Instant::now();
                }
                (peer.have, peer.uploaded) = (have, uploaded);
                self.leave_with_enough_copies(index, now);
            }
            Said::Complete { seconds } if wants(&self.peers[index].class) => {
                self.on_complete(index, seconds);
                self.stay(index, now);
            }
            Said::Complete { .. } => self.stay(index, now),
            Said::Banned { peer, .. } => self.on_banned(index, peer, now),
            _ => {}
        }
        Ok(())
    }

    fn on_banned(&mut self, by: usize, banned: SocketAddr, now: Duration) {
        let of = self.seen.iter().position(|seen| seen.ip() == banned.ip());
        let Some(of) = of.filter(|of| self.peers[*of].is(Behaviour::Corrupt)) else {
            return;
        };
        let joined = self.peers[of].joined.max(self.peers[by].joined);
        let since = now.saturating_sub(joined.unwrap_or_default()).as_secs_f64();
        let last = self.banned.entry(of).or_default();
        *last = last.max(since);
    }

    fn on_complete(&mut self, index: usize, seconds: f64) {
        if self.first_copies.is_none() {
            let seeds = self.peers.iter().filter(|peer| peer.is_seed());
            let sent: u64 = seeds.map(|peer| peer.uploaded).sum();
            self.first_copies = Some(sent as f64 / self.swarm.file_len() as f64);
        }
        let peer = &mut self.peers[index];
        peer.took = Some(seconds);
        self.moved = Instant::now();
    }

    /// One that has everything leaves after its time.
    fn stay(&mut self, index: usize, now: Duration) {
        let class = &self.peers[index].class;
        if let Some(stay) = class.seeds_for.filter(|_| !class.complete) {
            self.steps.push((now + stay, Step::Leave(index)));
        }
    }

    fn leave_with_enough_copies(&mut self, index: usize, now: Duration) {
        let peer = &self.peers[index];
        if let Some(copies) = peer.class.leaves_at_copies
            && peer.left.is_none()
            && peer.uploaded as f64 >= copies * self.swarm.file_len() as f64
        {
            self.steps.push((now, Step::Leave(index)));
        }
    }

    fn since(&self) -> Duration {
        self.start.elapsed()
    }

    /// Notes how things stand, and says how far the run is.
    fn sample(&mut self) -> Progress {
        let time = self.since();
        let uploaded = self.peers.iter().map(|peer| peer.uploaded).sum();
        self.uploads.push((time.as_secs_f64(), uploaded));
        let here = self.peers.iter();
        let here = here.filter(|peer| peer.joined.is_some() && peer.left.is_none());
        let lacks = |peer: &&Peer| !peer.class.complete && peer.took.is_none();
        let (all, lacking) = (here.clone().count(), here.filter(lacks).count());
        self.present.push((time.as_secs_f64(), all as f64));
        self.population.push((time.as_secs_f64(), lacking as f64));
        let honest = self.peers.iter().filter(|peer| is_compliant(&peer.class));
        let (have, all) = honest.fold((0, 0), |(have, all), peer| {
            (
                have + u64::from(peer.have),
                all + u64::from(self.swarm.pieces),
            )
        });
        Progress {
            time,
            done: have as f64 / all.max(1) as f64,
            events: 0,
        }
    }

    fn figures(&self, plan: &Plan, packets: bool) -> Run {
        let members: Vec<Member> = self
            .peers
            .iter()
            .enumerate()
            .map(|(index, peer)| Member {
                behind_nat: wire(plan, peer, index, &self.peers).nat != Nat::Open,
                class: peer.number,
                joined: peer.joined.map(|at| at.as_secs_f64()),
                took: peer.took,
                left: peer.left.map(|at| at.as_secs_f64()),
                has: f64::from(peer.have) / f64::from(self.swarm.pieces.max(1)),
            })
            .collect();
        let mut run = figures::swarm(plan, self.swarm, &members, self.since().as_secs_f64());
        let mut set = |name: &str, value: f64| run.figures.insert(name.to_owned(), value);
        if let Some(copies) = self.first_copies {
            set("seed_copies", copies);
        }
        let corrupters = self
            .peers
            .iter()
            .filter(|peer| peer.is(Behaviour::Corrupt))
            .count();
        if corrupters > 0 {
            set("banned", self.banned.len() as f64 / corrupters as f64);
        }
        if let Some(last) = self.banned.values().copied().reduce(f64::max) {
            set("ban_seconds", last);
        }
        if let Some(ratio) = run.figures.get("ratio").copied().filter(|_| packets) {
            run.figures
                .insert("ratio_less_headers".into(), ratio * (1.0 - HEADERS));
        }
        let offers = |peer: &Peer| figures::offers(&peer.class, self.swarm.architecture);
        let capacity: f64 = self.peers.iter().map(offers).sum();
        if capacity.is_finite() && capacity > 0.0 {
            let rate = |part: &[(f64, u64)]| {
                let (first, last) = (part[0], part[part.len() - 1]);
                let sent = last.1.saturating_sub(first.1) as f64;
                (last.0, sent / (last.0 - first.0) / capacity)
            };
            let parts = self.uploads.windows(PER_SAMPLE + 1).step_by(PER_SAMPLE);
            run.series.utilisation = parts.map(rate).collect();
        }
        run.series.population.clone_from(&self.population);
        run.series.present.clone_from(&self.present);
        run
    }
}

fn steps(plan: &Plan, peers: &[Peer]) -> Vec<(Duration, Step)> {
    let joins = peers.iter().enumerate();
    let mut steps: Vec<_> = joins
        .map(|(index, peer)| (peer.join_at, Step::Join(index)))
        .collect();
    let leaves = peers.iter().enumerate();
    steps.extend(leaves.filter_map(|(index, peer)| {
        let at = peer.class.leaves_at?;
        Some((at, Step::Leave(index)))
    }));
    for event in &plan.events {
        if let Action::Partition(length) = event.action {
            steps.push((event.at, Step::Part(true)));
            steps.push((event.at + length, Step::Part(false)));
        }
    }
    steps
}

/// Waits until all nodes but the router are in the DHT.
async fn joined(members: &mut Members, nodes: usize) -> Result<(), LiveError> {
    let wait = async {
        while members.missing(1) > 0 {
            if let (node, Said::Failed { why }) = members.next().await {
                return Err(LiveError::Member { node, why });
            }
        }
        Ok(())
    };
    match timeout(JOIN_LIMIT, wait).await {
        Ok(result) => result,
        Err(_) => Err(LiveError::NotJoined {
            missing: members.missing(1),
            nodes,
            limit: JOIN_LIMIT,
        }),
    }
}

/// A peer's wire. Of those without the file the plan's share is behind a NAT: of four, two behind
/// one that keeps ports, half of them, as measured, with a new port for each destination, and one
/// behind a firewall.
fn wire(plan: &Plan, peer: &Peer, index: usize, peers: &[Peer]) -> Wire {
    let seeds = peers.iter().filter(|peer| peer.class.complete).count();
    let nat = match index.checked_sub(seeds) {
        Some(place) => nat(plan.network.nat, place),
        None => Nat::Open,
    };
    Wire {
        up: peer.class.up,
        down: peer.class.down,
        nat,
    }
}

/// The NAT of the node at a place, spread evenly.
pub(super) fn nat(share: f64, place: usize) -> Nat {
    let before = (place as f64 * share).floor() as usize;
    let after = ((place + 1) as f64 * share).floor() as usize;
    if after == before {
        return Nat::Open;
    }
    // Three eighths each, and a quarter.
    match before % 8 {
        0 | 3 | 6 => Nat::PortRestricted,
        1 | 4 | 7 => Nat::Symmetric,
        _ => Nat::Firewall,
    }
}

/// A peer's client.
fn spec(plan: &Plan, swarm: &SwarmPlan, peer: &Peer, host: &Host, wires: bool) -> Spec {
    let class = &peer.class;
    // Where the wires hold the rates the client holds none.
    let rate = |rate: Option<f64>| {
        rate.filter(|_| !wires)
            .map(|rate| (rate.round() as u64).max(1))
    };
    let serves = class.complete || swarm.architecture == Architecture::PeerToPeer;
    let gives = !matches!(
        class.behaviour,
        Behaviour::FreeRider | Behaviour::SeedsOnly | Behaviour::LargeView
    );
    let everybody: usize = plan.classes.iter().map(|class| class.count).sum();
    Spec {
        up: match class.behaviour {
            // It unchokes and takes requests, and its limiter lets nothing out.
            Behaviour::Stalled => Some(0),
            _ => rate(class.up),
        },
        down: rate(class.down),
        upload: serves && gives,
        only_seeds: class.behaviour == Behaviour::SeedsOnly,
        unsent_first: swarm.unsent_first,
        fastest_first: swarm.seed_order == SeedOrder::Fastest,
        proportional: class.behaviour == Behaviour::Proportional,
        slots: swarm.slots,
        optimistic_slots: swarm.optimistic_slots,
        choke_interval: swarm.choke_interval.as_secs_f64(),
        optimistic_interval: swarm.optimistic_interval.as_secs_f64(),
        neighbours: match class.behaviour {
            // Three quarters of them may be dialled.
            Behaviour::LargeView => everybody * 2,
            _ => swarm.neighbours,
        },
        piece_order: piece_order_name(swarm.piece_order).to_owned(),
        ..Spec::dht(host.listen, Vec::new())
    }
}

fn torrent(
    swarm: &SwarmPlan,
    peer: &Peer,
    node: usize,
    content: &Content,
) -> Result<TorrentSpec, LiveError> {
    let dir = match peer.class.behaviour {
        Behaviour::Corrupt => block_in_place(|| content.spoil(node))?,
        _ if peer.class.complete => content.original().to_owned(),
        _ => content.home(node),
    };
    Ok(TorrentSpec {
        file: content.torrent(),
        magnet: swarm.magnet,
        dir,
        complete: peer.class.complete || peer.is(Behaviour::Corrupt),
    })
}

/// How long nodes may take to find each other: many on a loaded machine are slow.
const JOIN_LIMIT: Duration = Duration::from_secs(60);
/// A swarm in which no piece has come for so long is dead.
const STILL: Duration = Duration::from_secs(60);
const TICK: Duration = Duration::from_millis(250);
/// Ticks between two points of the utilisation.
const PER_SAMPLE: usize = 4;
/// Members that a newcomer is told of.
const TOLD: usize = 50;
/// The share of an IP packet stream that is headers and acknowledgements, with packets of 1,500
/// bytes and as much coming in as going out: 52/1500 and half as much again.
const HEADERS: f64 = 0.056;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_takes_its_members_from_another_class() {
        let mut riders = Class::new("rider", 0);
        (riders.share, riders.of) = (Some(0.4), Some("peer".into()));
        riders.behaviour = Behaviour::FreeRider;
        let mut seed = Class::new("seed", 1);
        seed.complete = true;
        let mut late = Class::new("peer", 10);
        late.join_within = Duration::from_secs(10);
        let plan = Plan {
            classes: vec![late, riders, seed],
            ..Plan::default()
        };
        let members = peers(&plan, 3);
        let count = |name: &str| members.iter().filter(|p| p.class.name == name).count();
        assert_eq!((count("seed"), count("peer"), count("rider")), (1, 6, 4));
        assert!(members[0].class.complete);
        assert!(
            members
                .windows(2)
                .skip(1)
                .all(|two| two[0].join_at <= two[1].join_at)
        );
        let last = members.iter().map(|peer| peer.join_at).max();
        assert!(last < Some(Duration::from_secs(10)));
    }

    #[test]
    fn nats_are_as_many_as_asked_for_and_of_three_kinds() {
        for share in [0.0, 0.31, 0.64, 0.8] {
            let behind = (0..1000)
                .filter(|place| nat(share, *place) != Nat::Open)
                .count();
            assert_eq!(behind, (1000.0 * share) as usize, "{share}");
        }
        let kinds: Vec<Nat> = (0..8).map(|place| nat(1.0, place)).collect();
        let count = |nat| kinds.iter().filter(|kind| **kind == nat).count();
        assert_eq!(count(Nat::Firewall), 2);
        assert_eq!((count(Nat::PortRestricted), count(Nat::Symmetric)), (3, 3));
    }
}
