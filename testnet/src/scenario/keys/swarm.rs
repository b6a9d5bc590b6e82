//! `[swarm]` and `[class.NAME]`.

use mainswarm::torrent::{PieceOrder, chooser::SeedOrder};

use super::{Key, key};
use crate::scenario::{
    Architecture, Behaviour, Class, Discovery, SwarmPlan,
    value::{Takes, YEAR},
};

pub(in crate::scenario) const SWARM: &[Key<SwarmPlan>] = &[
    key(
        "architecture",
        Takes::Word(&["p2p", "client-server"]),
        "p2p",
        "who uploads: everybody, or only those that have everything at the start",
        |plan, given| {
            plan.architecture =
                given.word(&[Architecture::PeerToPeer, Architecture::ClientServer])?;
            Some(())
        },
    ),
    key(
        "pieces",
        Takes::Count(1, 65_536),
        "1600",
        "M, pieces of the file",
        |plan, given| {
            plan.pieces = given.small()?;
            Some(())
        },
    ),
    key(
        "piece_len",
        Takes::Size(1 << 10, 16 << 20),
        "64KiB",
        "bytes in a piece; the file, `pieces` times this, has at most 2 GiB",
        |plan, given| {
            plan.piece_len = u32::try_from(given.bytes()?).ok()?;
            Some(())
        },
    ),
    key(
        "file_time",
        Takes::Time(1.0, YEAR),
        "1h",
        "F/u: how long an uplink of rate `1x` takes for the whole file; sets u",
        |plan, given| {
            plan.file_time = given.time()?;
            Some(())
        },
    ),
    key(
        "discovery",
        Takes::Word(&["dht", "told"]),
        "dht",
        "how peers find each other: by a DHT of their own, or each is told of up to fifty others",
        |plan, given| {
            plan.discovery = given.word(&[Discovery::Dht, Discovery::Told])?;
            Some(())
        },
    ),
    key(
        "magnet",
        Takes::Flag,
        "false",
        "peers begin with the info-hash alone and fetch the metadata from each other",
        |plan, given| {
            plan.magnet = given.flag()?;
            Some(())
        },
    ),
    key(
        "piece_order",
        Takes::Word(&["rarest-first", "random", "sequential"]),
        "rarest-first",
        "which piece a peer asks for next",
        |plan, given| {
            plan.piece_order = given.word(&[
                PieceOrder::RarestFirst,
                PieceOrder::Random,
                PieceOrder::Sequential,
            ])?;
            Some(())
        },
    ),
    key(
        "choke_interval",
        Takes::Time(0.1, 3600.0),
        "10s",
        "how often upload slots are dealt out again; scale it with `file_time` and it is said",
        |plan, given| {
            plan.choke_interval = given.time()?;
            Some(())
        },
    ),
    key(
        "optimistic_interval",
        Takes::Time(0.1, 3600.0),
        "30s",
        "how often the optimistic slot moves on",
        |plan, given| {
            plan.optimistic_interval = given.time()?;
            Some(())
        },
    ),
    key(
        "slots",
        Takes::Count(1, 1000),
        "4",
        "regular upload slots of each member",
        |plan, given| {
            plan.slots = given.size()?;
            Some(())
        },
    ),
    key(
        "optimistic_slots",
        Takes::Count(0, 1000),
        "1",
        "optimistic slots on top of them",
        |plan, given| {
            plan.optimistic_slots = given.size()?;
            Some(())
        },
    ),
    key(
        "neighbours",
        Takes::Count(1, 10_000),
        "50",
        "connections a peer holds at most",
        |plan, given| {
            plan.neighbours = given.size()?;
            Some(())
        },
    ),
    key(
        "unsent_first",
        Takes::Flag,
        "true",
        "a seed that is alone hands every piece out once before it repeats any",
        |plan, given| {
            plan.unsent_first = given.flag()?;
            Some(())
        },
    ),
    key(
        "seed_order",
        Takes::Word(&["least-served", "fastest"]),
        "least-served",
        "whom who has everything serves: those that got least, or those that take fastest, as clients did once",
        |plan, given| {
            plan.seed_order = given.word(&[SeedOrder::LeastServed, SeedOrder::Fastest])?;
            Some(())
        },
    ),
    key(
        "limit",
        Takes::Time(1.0, YEAR),
        "24h",
        "the time at which to give up",
        |plan, given| {
            plan.limit = given.time()?;
            Some(())
        },
    ),
];

pub(in crate::scenario) const CLASS: &[Key<Class>] = &[
    key(
        "count",
        Takes::Count(0, 100_000),
        "0",
        "how many; one of `count`, `share` and `arrivals` is needed",
        |class, given| {
            class.count = given.size()?;
            Some(())
        },
    ),
    key(
        "share",
        Takes::Share,
        "",
        "turns this share of the members of class `of` into this class, in place of `count`",
        |class, given| {
            class.share = Some(given.number()?);
            Some(())
        },
    ),
    key(
        "of",
        Takes::Name,
        "",
        "the class that `share` is taken from",
        |class, given| {
            class.of = Some(given.name()?);
            Some(())
        },
    ),
    key(
        "has",
        Takes::Word(&["everything", "nothing"]),
        "nothing",
        "what a member has at the start: `everything` makes it a seed",
        |class, given| {
            class.complete = given.word(&[true, false])?;
            Some(())
        },
    ),
    key(
        "up",
        Takes::Rate,
        "unlimited",
        "upload rate; u is the file's length over `swarm.file_time`",
        |class, given| {
            class.up = given.rate()?;
            Some(())
        },
    ),
    key(
        "down",
        Takes::Down,
        "unlimited",
        "download rate; `stalled` is a connection that stands still after a minute",
        |class, given| {
            class.down = given.rate()?;
            Some(())
        },
    ),
    key(
        "behaviour",
        Takes::Word(&[
            "standard",
            "proportional",
            "free-rider",
            "seeds-only",
            "false-have",
            "large-view",
            "tyrant",
            "seed-slots",
            "corrupt",
            "stalled",
        ]),
        "standard",
        "how a member plays: our client; with uploads in proportion to what each peer gave; one that \
         uploads nothing; that and asks only seeds; that and claims pieces it does not have; that and \
         connects to everybody; BitTyrant; one that keeps the seeds' slots from others; one that \
         serves wrong blocks; one that answers no request",
        |class, given| {
            class.behaviour = given.word(&[
                Behaviour::Standard,
                Behaviour::Proportional,
                Behaviour::FreeRider,
                Behaviour::SeedsOnly,
                Behaviour::FalseHave,
                Behaviour::LargeView,
                Behaviour::Tyrant,
                Behaviour::SeedSlots,
                Behaviour::Corrupt,
                Behaviour::Stalled,
            ])?;
            Some(())
        },
    ),
    key(
        "join_at",
        Takes::Time(0.0, YEAR),
        "0s",
        "when the first comes",
        |class, given| {
            class.join_at = given.time()?;
            Some(())
        },
    ),
    key(
        "join_within",
        Takes::Time(0.0, YEAR),
        "0s",
        "they come evenly over this time; 0s is all at once",
        |class, given| {
            class.join_within = given.time()?;
            Some(())
        },
    ),
    key(
        "arrivals",
        Takes::Number(1e-6, 1e4),
        "",
        "a Poisson stream of this many per second in place of `count`, until `swarm.limit`",
        |class, given| {
            class.arrivals = Some(given.number()?);
            Some(())
        },
    ),
    key(
        "seeds_for",
        Takes::TimeOr("forever"),
        "forever",
        "how long one stays after it has everything; a seed has it as it joins",
        |class, given| {
            class.seeds_for = given.time_or_none()?;
            Some(())
        },
    ),
    key(
        "leaves_at_copies",
        Takes::Number(0.01, 1e6),
        "",
        "a seed leaves for good once it has sent so many copies of the file",
        |class, given| {
            class.leaves_at_copies = Some(given.number()?);
            Some(())
        },
    ),
    key(
        "leaves_at",
        Takes::Time(0.0, YEAR),
        "",
        "when every member leaves for good, whether it has everything or not",
        |class, given| {
            class.leaves_at = Some(given.time()?);
            Some(())
        },
    ),
];
