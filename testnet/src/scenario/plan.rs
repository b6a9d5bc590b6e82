//! What a scenario says, once read: numbers in SI units, nothing left to look up.
//!
//! A [`Plan`] is one network with everything fixed. A scenario file gives several of them when it
//! varies a parameter: each combination is a [`Case`](super::Case). Defaults are in the
//! `Default` implementations and are what a file that says nothing gets.

use std::time::Duration;

use mainswarm::torrent::{PieceOrder, chooser::SeedOrder};

pub use crate::sim::adversary::{AttackAnswer, AttackKind};
use crate::{bound, outcome::Bounds, sim::Delay};

/// One network and what happens in it.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Plan {
    /// `[network]`: the wires between nodes.
    pub network: NetworkPlan,
    /// `[swarm]`: a file is spread; `None` runs no swarm.
    pub swarm: Option<SwarmPlan>,
    /// `[class.NAME]`: who takes part in the swarm, in the order of the file.
    pub classes: Vec<Class>,
    /// `[dht]`: a DHT is searched; `None` runs none beyond what the swarm needs for discovery.
    pub dht: Option<DhtPlan>,
    /// `[attack]`: who works against the DHT.
    pub attack: Option<AttackPlan>,
    /// `[[event]]`: what happens at which time, sorted by time.
    pub events: Vec<TimedEvent>,
}

impl Plan {
    /// How many of each class there are once shares are taken; a stream of arrivals counts as none.
    pub fn sizes(&self) -> Vec<usize> {
        let mut sizes: Vec<usize> = self.classes.iter().map(|class| class.count).collect();
        for (at, class) in self.classes.iter().enumerate() {
            let named = |other: &Class| class.of.as_ref() == Some(&other.name);
            let of = self.classes.iter().position(named);
            if let (Some(of), Some(share)) = (of, class.share) {
                let taken = (share * self.classes[of].count as f64).round() as usize;
                sizes[at] = taken.min(sizes[of]);
                sizes[of] -= sizes[at];
            }
        }
        sizes
    }

    /// N: members that begin with nothing.
    pub fn leechers(&self) -> usize {
        let sizes = self.sizes().into_iter().zip(&self.classes);
        sizes
            .filter(|(_, class)| !class.complete)
            .map(|(size, _)| size)
            .sum()
    }
}

/// `[network]`.
#[derive(Debug, Clone, PartialEq)]
pub struct NetworkPlan {
    /// `latency = "geo-5" | "lognormal" | "20ms"`: a model, or a one-way delay for every pair.
    pub latency: Delay,
    /// `jitter`: a message takes up to this share longer.
    pub jitter: f64,
    /// `loss`: the share of packets lost, each way.
    pub loss: f64,
    /// `nat`: the share of nodes that cannot be called from outside. Of them, as measured in the
    /// field, three quarters are behind port-restricted or symmetric NAT (half each) and one quarter
    /// behind a firewall that drops what was not asked for.
    pub nat: f64,
}

impl Default for NetworkPlan {
    fn default() -> Self {
        Self {
            latency: Delay::Geo5,
            jitter: 0.1,
            loss: 0.01,
            nat: 0.0,
        }
    }
}

/// `[swarm]`.
#[derive(Debug, Clone, PartialEq)]
pub struct SwarmPlan {
    /// `architecture = "p2p" | "client-server"`: whether peers upload.
    pub architecture: Architecture,
    /// `pieces`: M, pieces of the file.
    pub pieces: u32,
    /// `piece_len`: bytes in a piece.
    pub piece_len: u32,
    /// `file_time`: F/u, how long an uplink of rate `1x` takes for the whole file.
    pub file_time: Duration,
    /// `discovery = "dht" | "told"`: peers find each other by a DHT of their own nodes and one
    /// router, or each is told of up to fifty others that came before it.
    pub discovery: Discovery,
    /// `magnet`: peers begin with the info-hash alone.
    pub magnet: bool,
    /// `piece_order = "rarest-first" | "random" | "sequential"`.
    pub piece_order: PieceOrder,
    /// `choke_interval`.
    pub choke_interval: Duration,
    /// `optimistic_interval`.
    pub optimistic_interval: Duration,
    /// `slots`: regular upload slots.
    pub slots: usize,
    /// `optimistic_slots`: on top of them.
    pub optimistic_slots: usize,
    /// `neighbours`: connections a peer holds at most.
    pub neighbours: usize,
    /// `unsent_first`: a seed that is alone hands every piece out once before repeating any.
    pub unsent_first: bool,
    /// `seed_order = "least-served" | "fastest"`.
    pub seed_order: SeedOrder,
    /// `limit`: the time at which to give up.
    pub limit: Duration,
}

impl SwarmPlan {
    /// F, the file's length in bytes.
    pub fn file_len(&self) -> u64 {
        u64::from(self.pieces) * u64::from(self.piece_len)
    }

    /// u, the rate called `1x`, in bytes per second.
    pub fn base_rate(&self) -> f64 {
        self.file_len() as f64 / self.file_time.as_secs_f64()
    }

    /// What no network can beat if all come at once, and those that help stay.
    pub fn bounds(&self, demand: &Demand) -> Bounds {
        let file = self.file_len() as f64;
        let Demand {
            server,
            ref ups,
            served,
            slowest,
            callers,
            called,
        } = *demand;
        let (fluid, lb) = match self.architecture {
            Architecture::PeerToPeer => (
                bound::p2p_fluid_serving(served, file, server, ups, slowest),
                bound::lb_serving(served, file, self.pieces, server, ups, slowest),
            ),
            Architecture::ClientServer => {
                let least = bound::client_server(served, file, server, slowest);
                (least, least)
            }
        };
        let behind = bound::behind_nat(callers, file, server + called);
        Bounds {
            fluid,
            lb: lb.max(behind),
        }
    }
}

/// What a bound follows from; rates in bytes per second.
#[derive(Debug, Clone)]
pub struct Demand {
    server: f64,
    /// Of all that want the file.
    ups: Vec<f64>,
    /// How many of them need it: who leaves without it needs nothing, but may have helped.
    served: usize,
    /// The slowest download of those.
    slowest: f64,
    /// How many of those cannot be called, and what all that can be called upload.
    callers: usize,
    called: f64,
}

impl Demand {
    /// Nobody.
    pub fn new() -> Self {
        Self {
            server: 0.0,
            ups: Vec::new(),
            served: 0,
            slowest: f64::INFINITY,
            callers: 0,
            called: 0.0,
        }
    }

    /// One that has the file uploads as well.
    pub fn add_server(&mut self, up: f64) {
        self.server += up;
    }

    /// One that wants the file uploads as well, can be called or not, and gets it or leaves before.
    pub fn add_peer(&mut self, up: f64, down: Option<f64>, callable: bool, served: bool) {
        self.ups.push(up);
        if callable {
            self.called += up;
        }
        if served {
            self.served += 1;
            self.callers += usize::from(!callable);
            self.slowest = down.map_or(self.slowest, |down| self.slowest.min(down));
        }
    }

    /// There is a finite bound: somebody needs the file, and no line is without limit.
    pub fn is_bounded(&self) -> bool {
        let finite = self.server.is_finite() && self.ups.iter().all(|up| up.is_finite());
        self.served > 0 && self.server > 0.0 && finite
    }
}

impl Default for Demand {
    fn default() -> Self {
        Self::new()
    }
}

impl Default for SwarmPlan {
    fn default() -> Self {
        Self {
            architecture: Architecture::PeerToPeer,
            pieces: 1600,
            piece_len: 64 * 1024,
            file_time: Duration::from_secs(3600),
            discovery: Discovery::Dht,
            magnet: false,
            piece_order: PieceOrder::RarestFirst,
            choke_interval: Duration::from_secs(10),
            optimistic_interval: Duration::from_secs(30),
            slots: 4,
            optimistic_slots: 1,
            neighbours: 50,
            unsent_first: true,
            seed_order: SeedOrder::LeastServed,
            limit: Duration::from_secs(24 * 3600),
        }
    }
}

/// Who uploads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Architecture {
    /// Everybody.
    #[default]
    PeerToPeer,
    /// Only those that have everything at the start: equation 2.1's server.
    ClientServer,
}

/// How peers find each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Discovery {
    /// By the DHT.
    #[default]
    Dht,
    /// Each is told of up to fifty others that joined before it.
    Told,
}

/// `[class.NAME]`: members of the swarm that are alike.
#[derive(Debug, Clone, PartialEq)]
pub struct Class {
    /// NAME.
    pub name: String,
    /// `count`: how many, before other classes take their share: see [`Plan::sizes`].
    pub count: usize,
    /// `share`: turns this share of class `of` into this class, in place of `count`.
    pub share: Option<f64>,
    /// `of`: the class that `share` is taken from.
    pub of: Option<String>,
    /// `has = "everything" | "nothing"`.
    pub complete: bool,
    /// `up`: bytes per second; written `"2x"` in units of u, or `"4MiB/s"`; `None` is unlimited.
    pub up: Option<f64>,
    /// `down`: as `up`; `"stalled"` is a peer whose connection stands still after a minute, and is
    /// `Some(0.0)` here.
    pub down: Option<f64>,
    /// `behaviour`.
    pub behaviour: Behaviour,
    /// `join_at`: when the first comes.
    pub join_at: Duration,
    /// `join_within`: they come evenly over this time; 0 is all at once.
    pub join_within: Duration,
    /// `arrivals`: a Poisson stream of this many per second in place of `count`, until the end.
    pub arrivals: Option<f64>,
    /// `seeds_for`: how long one stays after it has everything, which a seed has as it joins; `None`
    /// for ever.
    pub seeds_for: Option<Duration>,
    /// `leaves_at_copies`: a seed leaves for good once it has sent so many copies of the file.
    pub leaves_at_copies: Option<f64>,
    /// `leaves_at`: when every member leaves, done or not.
    pub leaves_at: Option<Duration>,
}

impl Class {
    /// Peers of the usual kind.
    pub fn new(name: &str, count: usize) -> Self {
        Self {
            name: name.into(),
            count,
            share: None,
            of: None,
            complete: false,
            up: None,
            down: None,
            behaviour: Behaviour::Standard,
            join_at: Duration::ZERO,
            join_within: Duration::ZERO,
            arrivals: None,
            seeds_for: None,
            leaves_at_copies: None,
            leaves_at: None,
        }
    }
}

/// How a member of the swarm plays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Behaviour {
    /// `"standard"`: our client.
    #[default]
    Standard,
    /// `"proportional"`: our client with upload in proportion to what each peer gave (PropShare).
    Proportional,
    /// `"free-rider"`: uploads nothing.
    FreeRider,
    /// `"seeds-only"`: uploads nothing and asks only those that have everything.
    SeedsOnly,
    /// `"false-have"`: uploads nothing and claims pieces that it does not have.
    FalseHave,
    /// `"large-view"`: uploads nothing and connects to everybody.
    LargeView,
    /// `"tyrant"`: BitTyrant, least upload that is still reciprocated, to as many as pay.
    Tyrant,
    /// `"seed-slots"`: takes from seeds as much as they give, to keep their slots from others.
    SeedSlots,
    /// `"corrupt"`: serves blocks with a bit wrong.
    Corrupt,
    /// `"stalled"`: unchokes, takes requests and never answers one.
    Stalled,
}

/// `[dht]`.
#[derive(Debug, Clone, PartialEq)]
pub struct DhtPlan {
    /// `nodes`: how many, routers included.
    pub nodes: u32,
    /// `start = "warm" | "cold"`: with converged tables, or with empty ones and a router's address.
    pub start: DhtStart,
    /// `tables = "narrow" | "wide"`: buckets of 8, or of 128, 64, 32, 16, 8.
    pub wide_tables: bool,
    /// `routers`: how many nodes newcomers are told of.
    pub routers: u32,
    /// `join_within`: a cold network's nodes come evenly over this time.
    pub join_within: Duration,
    /// `settle`: how long nothing is measured after the last has joined.
    pub settle: Duration,
    /// `dead`: the share of warm tables' entries that answer no more.
    pub dead: f64,
    /// `session`: how long a node stays; another joins for each that goes.
    pub session: Session,
    /// `announces`: keys that are announced, one announcer each, before anything is looked up.
    pub announces: u32,
    /// `reannounce`: how often each announcer repeats it.
    pub reannounce: Duration,
    /// `lookups`: lookups made, each for one of the keys by a node that did not announce it.
    pub lookups: u32,
    /// `lookup_within`: they are spread evenly over this time.
    pub lookup_within: Duration,
}

impl Default for DhtPlan {
    fn default() -> Self {
        Self {
            nodes: 10_000,
            start: DhtStart::Warm,
            wide_tables: false,
            routers: 1,
            join_within: Duration::from_secs(60),
            settle: Duration::ZERO,
            dead: 0.0,
            session: Session::Forever,
            announces: 500,
            reannounce: Duration::from_secs(15 * 60),
            lookups: 2_000,
            lookup_within: Duration::from_secs(20),
        }
    }
}

/// How a DHT begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DhtStart {
    /// Tables as they are when a network has run for long.
    #[default]
    Warm,
    /// Empty tables.
    Cold,
}

/// `session = "forever" | "exponential 10min" | "weibull 0.43 473min"`.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum Session {
    /// Nobody leaves.
    #[default]
    Forever,
    /// Exponential with this median.
    Exponential {
        /// Half of the sessions are shorter.
        median: Duration,
    },
    /// Weibull.
    Weibull {
        /// The shape; below 1 the tail is heavy.
        shape: f64,
        /// The scale.
        scale: Duration,
    },
}

/// `[attack]`.
#[derive(Debug, Clone, PartialEq)]
pub struct AttackPlan {
    /// `kind = "collude" | "forge" | "eclipse"`.
    pub kind: AttackKind,
    /// `share`: of all nodes, for colluders and forgers.
    pub share: f64,
    /// `sybils`: how many surround each key, for an eclipse.
    pub sybils: u32,
    /// `answers = "drop" | "lie" | "poison" | "suppress"`: what they do when asked.
    pub answers: AttackAnswer,
    /// `ids = "forged" | "bound"`: chosen freely, or bound to the address as BEP 42 has it.
    pub ids_bound: bool,
    /// `addresses`: how many addresses the attacker has (an eclipse with bound ids).
    pub addresses: u32,
}

impl Default for AttackPlan {
    fn default() -> Self {
        Self {
            kind: AttackKind::Collude,
            share: 0.0,
            sybils: 32,
            answers: AttackAnswer::Lie,
            ids_bound: false,
            addresses: 256,
        }
    }
}

/// `[[event]]`.
#[derive(Debug, Clone, PartialEq)]
pub struct TimedEvent {
    /// `at`: since measuring began.
    pub at: Duration,
    /// `kill`, `routers_down`, `newcomers`, `partition`.
    pub action: Action,
}

/// What happens.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// `kill = 0.5`: this share of the nodes is gone at once.
    Kill(f64),
    /// `routers_down = 2`: so many routers are gone.
    RoutersDown(u32),
    /// `newcomers = 100`, `knowing = "routers" | "cache"`: so many join, knowing the routers, or a
    /// saved table of a node that is in the network.
    Newcomers {
        /// How many.
        count: u32,
        /// They have a saved table.
        cached: bool,
    },
    /// `partition = "30min"`: two halves that cannot reach each other, for this time.
    Partition(Duration),
}
