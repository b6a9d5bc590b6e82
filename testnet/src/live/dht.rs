//! The DHT half of a plan on real sockets.
//!
//! Routers start first, then the nodes: all at once for a network that is to be warm, over the
//! plan's time for a cold one. Tables are filled by real joins either way. Keys are announced, then
//! measuring begins: lookups at an even pace, sessions that end, and the plan's events. A lookup is
//! made by a node that did not announce its key, and counts if it found the announcer.
//!
//! | figure | beyond those of every DHT |
//! |---|---|
//! | `joined` | the share of nodes whose table became usable while the network formed |
//! | `connected_seconds` | the time until 99 % of all had eight live contacts, since the first began to join |
//! | `router_share` | the share of all queries that routers received, from the start |
//! | `joined_routers`, `_orphaned`, `_cached` | the share of newcomers that found in, by what they knew |
//! | `success_before`, `_at_once`, `_after` | success before, in the minute after and 15 min after nodes are killed; before and after routers died |
//! | `success_split`, `_cross` | success within a side while the network is cut, and across from one re-announce after it healed |

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
    fs,
    net::SocketAddr,
    path::PathBuf,
    sync::mpsc,
    time::{Duration, Instant},
};

use mainswarm::{dht::state::State, ids::InfoHash};
use rand::{Rng, RngExt, SeedableRng, rngs::StdRng};
use tempfile::TempDir;
use tokio::{
    task::block_in_place,
    time::{Instant as Timer, sleep_until},
};

use super::{
    LiveError,
    content::workdir,
    members::Members,
    node::{Found, Order, Said, Spec},
    scenario::{LiveOptions, cost},
    swarm::nat,
    world::{Host, Wire, World},
};
use crate::{
    cpu::CpuMeter,
    experiment::Progress,
    outcome::Run,
    scenario::{Action, DhtPlan, DhtStart, Plan, Session},
    statistics::{percentile, percentile_among, sorted},
};

/// Runs the DHT half of a plan.
pub(super) async fn run(
    plan: &Plan,
    dht: &DhtPlan,
    seed: u64,
    options: &LiveOptions,
    progress: &mpsc::Sender<Progress>,
) -> Result<Run, LiveError> {
    let mut lab = Lab::new(plan, dht, seed, options)?;
    let cpu = CpuMeter::start();
    let started = Instant::now();
    lab.gather(progress).await?;
    lab.announce(progress).await?;
    lab.measure(progress).await?;
    let mut run = lab.figures();
    let memory = lab.members.stop().await;
    cost(&mut run, &cpu, started.elapsed(), memory);
    Ok(run)
}

/// What happens at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    Join,
    Leave(usize),
    Announce(usize),
    LookUp,
    Event(usize),
    Heal,
    /// The newcomers of an event had their time.
    Count,
}

#[derive(Debug)]
struct Node {
    host: Host,
    /// Where others reach it, once it listens.
    seen: Option<SocketAddr>,
    /// Its table is usable.
    usable: bool,
    here: bool,
    router: bool,
    /// Queries it received.
    queries: u64,
}

#[derive(Debug)]
struct Key {
    hash: String,
    announcer: usize,
    announced: bool,
}

#[derive(Debug)]
struct Look {
    at: f64,
    by: usize,
    /// The announcer is in the other half of the world.
    across: bool,
    result: Option<Found>,
}

/// Newcomers of one event.
#[derive(Debug)]
struct Newcomers {
    nodes: Vec<usize>,
    count: u32,
    cached: bool,
    /// What its share is called.
    figure: &'static str,
    joined: usize,
    counted: bool,
}

struct Lab<'a> {
    plan: &'a Plan,
    dht: &'a DhtPlan,
    members: Members,
    world: World,
    random: StdRng,
    nodes: Vec<Node>,
    keys: Vec<Key>,
    looks: Vec<Look>,
    steps: BinaryHeap<Reverse<(Duration, Step)>>,
    start: Instant,
    /// When the first began to join.
    began: Instant,
    /// Nodes from this one on came after the network had formed.
    late: usize,
    /// When each of those that formed the network had eight live contacts, seconds since `began`.
    connected: Vec<f64>,
    parted: bool,
    /// Keeps its table on disk, for newcomers that have one.
    donor: Option<usize>,
    /// The donor has ended, and its table is on disk.
    saved: bool,
    newcomers: Vec<Newcomers>,
    joins: Vec<f64>,
    population: Vec<(f64, f64)>,
    /// Steps of joining that are still to come.
    to_join: usize,
    dir: TempDir,
}

impl<'a> Lab<'a> {
    fn new(
        plan: &'a Plan,
        dht: &'a DhtPlan,
        seed: u64,
        options: &LiveOptions,
    ) -> Result<Self, LiveError> {
        let dir = block_in_place(|| workdir(options.dir.as_deref()))?;
        Ok(Self {
            plan,
            dht,
            members: Members::new(),
            world: block_in_place(|| World::new(&plan.network, options))?,
            random: StdRng::seed_from_u64(seed),
            nodes: Vec::new(),
            keys: Vec::new(),
            looks: Vec::new(),
            steps: BinaryHeap::new(),
            start: Instant::now(),
            began: Instant::now(),
            late: usize::MAX,
            connected: Vec::new(),
            parted: false,
            donor: None,
            saved: false,
            newcomers: Vec::new(),
            joins: Vec::new(),
            population: Vec::new(),
            to_join: 0,
            dir,
        })
    }

    /// Makes the network and waits until it has formed and settled.
    async fn gather(&mut self, progress: &mpsc::Sender<Progress>) -> Result<(), LiveError> {
        let routers = self.dht.routers.clamp(1, self.dht.nodes) as usize;
        for router in 0..routers {
            let bootstrap = self.routers();
            let node = self.add(bootstrap, None)?;
            self.nodes[node].router = true;
            let addr = self.members.listening(node).await?;
            self.nodes[node].seen = Some(SocketAddr::new(self.nodes[node].host.seen, addr.port()));
            debug_assert_eq!(router, node);
        }
        let cached = |event: &crate::scenario::TimedEvent| {
            matches!(event.action, Action::Newcomers { cached: true, .. })
        };
        let rest = (self.dht.nodes as usize).saturating_sub(routers).max(1);
        self.start = Instant::now();
        self.began = self.start;
        for index in 0..rest {
            let at = match self.dht.start {
                DhtStart::Cold => self.dht.join_within.mul_f64(index as f64 / rest as f64),
                DhtStart::Warm => Duration::ZERO,
            };
            self.steps.push(Reverse((at, Step::Join)));
        }
        self.to_join = rest;
        if self.plan.events.iter().any(cached) {
            let bootstrap = self.routers();
            self.donor = Some(self.add(bootstrap, Some(self.dir.path().join("donor")))?);
        }
        let limit = self.dht.join_within + GATHER_LIMIT;
        while self.to_join > 0 || self.gathering() {
            if self.start.elapsed() > limit {
                break;
            }
            self.turn(progress, 0.4 * self.joins.len() as f64 / rest as f64)
                .await?;
        }
        self.late = self.nodes.len();
        let settled = Instant::now() + self.dht.settle;
        while Instant::now() < settled {
            self.turn(progress, 0.4).await?;
        }
        let usable = self.nodes.iter().filter(|node| node.usable).count();
        if usable * 2 < rest {
            return Err(LiveError::NotJoined {
                missing: rest - usable,
                nodes: rest,
                limit,
            });
        }
        Ok(())
    }

    /// Whether nodes still wait for their table.
    fn gathering(&self) -> bool {
        self.nodes
            .iter()
            .any(|node| node.here && !node.router && !node.usable)
    }

    /// Announces every key, each from a node of its own as far as there are so many.
    async fn announce(&mut self, progress: &mpsc::Sender<Progress>) -> Result<(), LiveError> {
        self.start = Instant::now();
        for key in 0..self.dht.announces as usize {
            let Some(announcer) = self.draw(|_, node| !node.router) else {
                break;
            };
            let mut hash = [0; 20];
            self.random.fill_bytes(&mut hash);
            self.keys.push(Key {
                hash: InfoHash::from(hash).to_string(),
                announcer,
                announced: false,
            });
            // A hundred a second: a flood would measure the machine.
            let at = Duration::from_millis(10 * key as u64);
            self.steps.push(Reverse((at, Step::Announce(key))));
        }
        let limit = Duration::from_millis(10 * self.keys.len() as u64) + ANNOUNCE_LIMIT;
        while self.keys.iter().any(|key| !key.announced) && self.start.elapsed() < limit {
            self.turn(progress, 0.4).await?;
        }
        Ok(())
    }

    /// Lookups, sessions and events.
    async fn measure(&mut self, progress: &mpsc::Sender<Progress>) -> Result<(), LiveError> {
        self.start = Instant::now();
        self.steps.clear();
        let lookups = if self.keys.is_empty() {
            0
        } else {
            self.dht.lookups
        };
        for lookup in 0..lookups {
            let share = f64::from(lookup) / f64::from(lookups);
            let at = self.dht.lookup_within.mul_f64(share);
            self.steps.push(Reverse((at, Step::LookUp)));
        }
        for (index, event) in self.plan.events.iter().enumerate() {
            self.steps.push(Reverse((event.at, Step::Event(index))));
        }
        for key in 0..self.keys.len() {
            let share = self.random.random_range(0.0..1.0);
            let at = self.dht.reannounce.mul_f64(share);
            self.steps.push(Reverse((at, Step::Announce(key))));
        }
        for node in 0..self.nodes.len() {
            if !self.nodes[node].router && Some(node) != self.donor {
                self.end_session(node, Duration::ZERO);
            }
        }
        let last_event = self.plan.events.iter().map(|event| event.at).max();
        let last = self.dht.lookup_within.max(last_event.unwrap_or_default());
        loop {
            let now = self.start.elapsed();
            let looking = self
                .looks
                .iter()
                .any(|look| look.result.is_none() && self.nodes[look.by].here);
            let counting = self.newcomers.iter().any(|newcomers| !newcomers.counted);
            let waiting = looking || counting || self.parted;
            if now >= last && (!waiting || now > last + LOOKUP_LIMIT) {
                return Ok(());
            }
            let done = now.as_secs_f64() / last.as_secs_f64().max(1e-3);
            self.turn(progress, 0.4 + 0.6 * done.min(1.0)).await?;
        }
    }

    /// What comes next: a step that is due, something that a node says, or a tick.
    async fn turn(
        &mut self,
        progress: &mpsc::Sender<Progress>,
        done: f64,
    ) -> Result<(), LiveError> {
        let now = self.start.elapsed();
        if let Some(Reverse((at, _))) = self.steps.peek()
            && *at <= now
            && let Some(Reverse((_, step))) = self.steps.pop()
        {
            return self.take(step, now);
        }
        let next = self.steps.peek().map(|Reverse((at, _))| self.start + *at);
        // From the last one, or a talkative network would never let it come.
        let last = self.population.last().map_or(0.0, |(time, _)| *time);
        let tick = self.start + Duration::from_secs_f64(last) + TICK;
        let wake = next.map_or(tick, |next| next.min(tick));
        tokio::select! {
            (node, said) = self.members.next() => self.on_said(node, said)?,
            () = sleep_until(Timer::from_std(wake)) => {
                if wake == tick {
                    let time = self.start.elapsed();
                    let here = self.nodes.iter().filter(|node| node.here).count();
                    self.population.push((time.as_secs_f64(), here as f64));
                    // Whoever watched may have gone.
                    let _ = progress.send(Progress { time, done, events: 0 });
                }
            }
        }
        Ok(())
    }

    fn take(&mut self, step: Step, now: Duration) -> Result<(), LiveError> {
        match step {
            Step::Join => {
                let bootstrap = self.routers();
                self.add(bootstrap, None)?;
                self.to_join = self.to_join.saturating_sub(1);
            }
            Step::Leave(node) => {
                if self.nodes[node].here {
                    self.remove(node);
                    let bootstrap = self.routers();
                    let next = self.add(bootstrap, None)?;
                    self.end_session(next, now);
                }
            }
            Step::Announce(key) => {
                let Key {
                    hash, announcer, ..
                } = &self.keys[key];
                let order = Order::Announce { key: hash.clone() };
                self.members.order(*announcer, order);
                self.steps
                    .push(Reverse((now + self.dht.reannounce, Step::Announce(key))));
            }
            Step::LookUp => self.look_up(now),
            Step::Event(index) => self.happen(index, now)?,
            Step::Heal => {
                self.parted = false;
                block_in_place(|| self.world.set_parted(false))?;
            }
            Step::Count => {
                for newcomers in &mut self.newcomers {
                    newcomers.counted = true;
                }
            }
        }
        Ok(())
    }

    fn happen(&mut self, index: usize, now: Duration) -> Result<(), LiveError> {
        match self.plan.events[index].action {
            Action::Kill(share) => {
                let mut alive: Vec<usize> = (0..self.nodes.len())
                    .filter(|node| self.nodes[*node].here && !self.nodes[*node].router)
                    .collect();
                let count = (alive.len() as f64 * share).round() as usize;
                for _ in 0..count {
                    let at = self.random.random_range(0..alive.len());
                    self.remove(alive.swap_remove(at));
                }
            }
            Action::RoutersDown(count) => {
                let up =
                    (0..self.nodes.len()).filter(|n| self.nodes[*n].router && self.nodes[*n].here);
                for router in up.take(count as usize).collect::<Vec<_>>() {
                    self.remove(router);
                }
            }
            Action::Newcomers { count, cached } => {
                let figure = match cached {
                    true => "joined_cached",
                    false if self.routers().is_empty() => "joined_orphaned",
                    false => "joined_routers",
                };
                self.newcomers.push(Newcomers {
                    nodes: Vec::new(),
                    count,
                    cached,
                    figure,
                    joined: 0,
                    counted: false,
                });
                self.steps
                    .push(Reverse((now + NEWCOMER_LIMIT, Step::Count)));
                match self.donor.filter(|_| cached) {
                    // Its table is on disk once it has ended.
                    Some(donor) if self.nodes[donor].here => self.remove(donor),
                    _ => self.admit()?,
                }
            }
            Action::Partition(length) => {
                self.parted = true;
                block_in_place(|| self.world.set_parted(true))?;
                self.steps.push(Reverse((now + length, Step::Heal)));
            }
        }
        Ok(())
    }

    /// Starts the newcomers that wait.
    fn admit(&mut self) -> Result<(), LiveError> {
        let routers = self.all_routers();
        for index in 0..self.newcomers.len() {
            let Newcomers { count, cached, .. } = self.newcomers[index];
            if cached && !self.saved {
                continue;
            }
            while self.newcomers[index].nodes.len() < count as usize {
                let number = self.newcomers[index].nodes.len();
                let state = if cached {
                    Some(self.cache(index, number)?)
                } else {
                    None
                };
                let node = self.add(routers.clone(), state)?;
                self.newcomers[index].nodes.push(node);
            }
        }
        Ok(())
    }

    /// A folder with the donor's table, without its id.
    fn cache(&self, event: usize, number: usize) -> Result<PathBuf, LiveError> {
        const NAME: &str = "dht-private.dat";
        let saved = self.dir.path().join("donor").join(NAME);
        let dir = self.dir.path().join(format!("newcomer-{event}-{number}"));
        let copy = || {
            let mut state = State::decode(&fs::read(&saved)?).map_err(std::io::Error::other)?;
            state.id = None;
            fs::create_dir_all(&dir)?;
            fs::write(dir.join(NAME), state.encode())
        };
        copy().map_err(|source| LiveError::File {
            path: saved.clone(),
            source,
        })?;
        Ok(dir)
    }

    fn look_up(&mut self, now: Duration) {
        let here: Vec<usize> = (0..self.keys.len())
            .filter(|key| self.nodes[self.keys[*key].announcer].here)
            .collect();
        if here.is_empty() {
            return;
        }
        let key = here[self.random.random_range(0..here.len())];
        let announcer = self.keys[key].announcer;
        let parted = self.parted;
        // Across a cut nothing can be found.
        let reachable = |index: usize| !parted || index % 2 == announcer % 2;
        let by = self.draw(|index, node| {
            index != announcer && node.usable && !node.router && reachable(index)
        });
        if let (Some(by), Some(want)) = (by, self.nodes[announcer].seen) {
            let number = self.looks.len() as u64;
            let key = self.keys[key].hash.clone();
            self.members.order(by, Order::Lookup { number, key, want });
            let at = now.as_secs_f64();
            self.looks.push(Look {
                at,
                by,
                across: by % 2 != announcer % 2,
                result: None,
            });
        }
    }

    fn on_said(&mut self, node: usize, said: Said) -> Result<(), LiveError> {
        match said {
            Said::Listening { addr } => {
                let seen = SocketAddr::new(self.nodes[node].host.seen, addr.port());
                self.nodes[node].seen = Some(seen);
                // Nobody told the first router where to start.
                if self.nodes.len() == 2 || node == 1 {
                    self.members.order(0, Order::Meet { node: seen });
                }
            }
            Said::Bootstrapped { .. } if !self.nodes[node].usable => {
                self.nodes[node].usable = true;
                let newcomers = self.newcomers.iter_mut();
                let of = newcomers.filter(|group| !group.counted && group.nodes.contains(&node));
                let mut known = false;
                for group in of {
                    group.joined += 1;
                    known = true;
                    let count = group.count as usize;
                    group.counted |= group.joined == count;
                }
                if !known && node < self.late {
                    self.joins.push(self.began.elapsed().as_secs_f64());
                }
            }
            Said::Connected if node < self.late && !self.nodes[node].router => {
                self.connected.push(self.began.elapsed().as_secs_f64());
            }
            Said::KeyAnnounced { key, nodes } => {
                if let Some(key) = self.keys.iter_mut().find(|other| other.hash == key) {
                    key.announced |= nodes > 0;
                }
            }
            Said::Found(found) => {
                if let Some(look) = self.looks.get_mut(found.number as usize) {
                    look.result = Some(found);
                }
            }
            Said::Queries { received } => self.nodes[node].queries = received,
            Said::Gone { .. } if Some(node) == self.donor => {
                self.saved = true;
                self.admit()?;
            }
            Said::Failed { why } if self.nodes[node].here => {
                return Err(LiveError::Member { node, why });
            }
            _ => {}
        }
        Ok(())
    }

    /// One more node, at the place that follows.
    fn add(
        &mut self,
        bootstrap: Vec<String>,
        state_dir: Option<PathBuf>,
    ) -> Result<usize, LiveError> {
        let place = self.nodes.len().saturating_sub(self.dht.routers as usize);
        let open = self.nodes.len() < self.dht.routers as usize;
        let wire = Wire {
            nat: if open {
                super::namespaces::Nat::Open
            } else {
                nat(self.plan.network.nat, place)
            },
            ..Wire::default()
        };
        let host = block_in_place(|| self.world.add(wire))?;
        let spec = Spec {
            state_dir,
            ..Spec::dht(host.listen, bootstrap)
        };
        let node = self.members.start(&host.place, spec)?;
        self.nodes.push(Node {
            host,
            seen: None,
            usable: false,
            here: true,
            router: false,
            queries: 0,
        });
        Ok(node)
    }

    fn remove(&mut self, node: usize) {
        self.members.leave(node);
        self.nodes[node].here = false;
        if self.nodes[node].usable {
            return;
        }
        // Who was taken away before it could find in has not failed to.
        let groups = self.newcomers.iter_mut();
        for group in groups.filter(|group| !group.counted && group.nodes.contains(&node)) {
            group.count -= 1;
            group.counted = group.joined == group.count as usize;
        }
    }

    /// Draws when a node's session ends.
    fn end_session(&mut self, node: usize, now: Duration) {
        let uniform: f64 = self.random.random_range(f64::EPSILON..1.0);
        let length = match self.dht.session {
            Session::Forever => return,
            Session::Exponential { median } => {
                median.mul_f64(-uniform.ln() / std::f64::consts::LN_2)
            }
            Session::Weibull { shape, scale } => scale.mul_f64((-uniform.ln()).powf(1.0 / shape)),
        };
        self.steps.push(Reverse((now + length, Step::Leave(node))));
    }

    /// A node that is here, at random.
    fn draw(&mut self, fits: impl Fn(usize, &Node) -> bool) -> Option<usize> {
        let fitting: Vec<usize> = (0..self.nodes.len())
            .filter(|node| self.nodes[*node].here && Some(*node) != self.donor)
            .filter(|node| fits(*node, &self.nodes[*node]))
            .collect();
        (!fitting.is_empty()).then(|| fitting[self.random.random_range(0..fitting.len())])
    }

    /// The routers that are up, as a newcomer is told of them.
    fn routers(&self) -> Vec<String> {
        let up = self.nodes.iter().filter(|node| node.router && node.here);
        up.filter_map(|node| Some(node.seen?.to_string())).collect()
    }

    /// All routers: newcomers do not know which are down.
    fn all_routers(&self) -> Vec<String> {
        let routers = self.nodes.iter().filter(|node| node.router);
        routers
            .filter_map(|node| Some(node.seen?.to_string()))
            .collect()
    }

    fn figures(&self) -> Run {
        let mut run = Run::default();
        let figures = &mut run.figures;
        let joins = &self.joins;
        let nodes = (self.dht.nodes as usize)
            .saturating_sub(self.dht.routers as usize)
            .max(1);
        // In a network of a few nodes nobody can have eight.
        let mut reached = match nodes <= FEW {
            true => joins.clone(),
            false => self.connected.clone(),
        };
        reached.sort_by(f64::total_cmp);
        figures.insert(
            "joined".into(),
            (joins.len() as f64 / nodes as f64).min(1.0),
        );
        let all = nodes + usize::from(self.donor.is_some());
        if let Some(seconds) = percentile_among(&reached, all, 99) {
            figures.insert("connected_seconds".into(), seconds);
        }
        let all: u64 = self.nodes.iter().map(|node| node.queries).sum();
        if all > 0 {
            let routers = self.nodes.iter().filter(|node| node.router);
            let routed: u64 = routers.map(|node| node.queries).sum();
            figures.insert("router_share".into(), routed as f64 / all as f64);
        }
        let mut groups: BTreeMap<&str, (usize, u32)> = BTreeMap::new();
        for group in &self.newcomers {
            let sum = groups.entry(group.figure).or_default();
            *sum = (sum.0 + group.joined, sum.1 + group.count);
        }
        for (name, (joined, count)) in groups {
            figures.insert(name.into(), joined as f64 / f64::from(count.max(1)));
        }
        self.lookups(&mut run);
        run.series.population.clone_from(&self.population);
        run
    }

    fn lookups(&self, run: &mut Run) {
        // Who left in the middle had no time.
        let ended = |look: &&Look| look.result.is_some() || self.nodes[look.by].here;
        let looks: Vec<&Look> = self.looks.iter().filter(ended).collect();
        if looks.is_empty() {
            return;
        }
        let success = |look: &Look| look.result.as_ref().is_some_and(|found| found.success);
        let share = |looks: &[&Look]| {
            let found = looks.iter().filter(|look| success(look)).count();
            found as f64 / looks.len() as f64
        };
        let results: Vec<&Found> = looks
            .iter()
            .filter_map(|look| look.result.as_ref())
            .collect();
        let first = sorted(results.iter().filter_map(|found| found.first));
        let queries = sorted(results.iter().map(|found| f64::from(found.asked)));
        let hops: f64 = results.iter().map(|found| f64::from(found.hops)).sum();
        let count = results.len().max(1) as f64;
        let figures = &mut run.figures;
        for (name, part) in self.parts(&looks) {
            if !part.is_empty() {
                figures.insert(name.to_owned(), share(&part));
            }
        }
        let both = figures
            .get("success_before")
            .zip(figures.get("success_after"));
        if let Some((before, after)) = both {
            let change = before - after;
            figures.insert("success_change".into(), change);
        }
        let mut set = |name: &str, value: Option<f64>| {
            if let Some(value) = value {
                figures.insert(name.to_owned(), value);
            }
        };
        set("success", Some(share(&looks)));
        set("hops", Some(hops / count));
        set("queries", Some(queries.iter().sum::<f64>() / count));
        set("queries_p95", percentile(&queries, 95));
        for percent in [50, 90, 99] {
            let value = percentile_among(&first, looks.len(), percent);
            let value = value.map(|seconds| seconds * 1000.0);
            set(&format!("first_ms_p{percent}"), value);
        }
        let done = sorted(results.iter().map(|found| found.seconds));
        for percent in [50, 99] {
            let value = percentile(&done, percent).map(|seconds| seconds * 1000.0);
            set(&format!("done_ms_p{percent}"), value);
        }
        run.series.first_peer = first;
        run.series.lookup_done = done;
        let mut around: BTreeMap<u64, Vec<&Look>> = BTreeMap::new();
        let width = (self.dht.lookup_within.as_secs_f64() / 20.0).max(1.0);
        for look in looks {
            around
                .entry((look.at / width) as u64)
                .or_default()
                .push(look);
        }
        run.series.success = around
            .into_iter()
            .map(|(part, looks)| ((part as f64 + 0.5) * width, share(&looks)))
            .collect();
    }

    /// Lookups before and after what happened, by the figure that each part counts for.
    fn parts<'b>(&self, looks: &[&'b Look]) -> Vec<(&'static str, Vec<&'b Look>)> {
        let between = |from: f64, to: f64| -> Vec<&'b Look> {
            let within = looks.iter().copied();
            within
                .filter(|look| (from..to).contains(&look.at))
                .collect()
        };
        let end = f64::INFINITY;
        let mut parts = Vec::new();
        for event in &self.plan.events {
            let at = event.at.as_secs_f64();
            match event.action {
                Action::Kill(_) => {
                    parts.push(("success_before", between(0.0, at)));
                    parts.push(("success_at_once", between(at, at + 60.0)));
                    parts.push(("success_after", between(at + 900.0, end)));
                }
                Action::RoutersDown(_) => {
                    parts.push(("success_before", between(0.0, at)));
                    parts.push(("success_after", between(at, end)));
                }
                Action::Partition(length) => {
                    let healed = at + length.as_secs_f64();
                    parts.push(("success_split", between(at, healed)));
                    let later = healed + self.dht.reannounce.as_secs_f64();
                    let mut cross = between(later, end);
                    cross.retain(|look| look.across);
                    parts.push(("success_cross", cross));
                }
                Action::Newcomers { .. } => {}
            }
        }
        parts
    }
}

const FEW: usize = 8;
const TICK: Duration = Duration::from_millis(250);
/// How long the nodes may take to find into the network after the last began.
const GATHER_LIMIT: Duration = Duration::from_secs(120);
const ANNOUNCE_LIMIT: Duration = Duration::from_secs(30);
const LOOKUP_LIMIT: Duration = Duration::from_secs(60);
/// A newcomer that has not found in by then has failed.
const NEWCOMER_LIMIT: Duration = Duration::from_secs(30);
