//! `[network]`, `[dht]`, `[attack]` and `[[event]]`.

use std::time::Duration;

use super::{Key, key};
use crate::scenario::{
    AttackAnswer, AttackKind, AttackPlan, DhtPlan, DhtStart, NetworkPlan,
    value::{Takes, YEAR},
};

pub(in crate::scenario) const NETWORK: &[Key<NetworkPlan>] = &[
    key(
        "latency",
        Takes::Latency,
        "geo-5",
        "the delay between two nodes: five continents, a lognormal one, or the same for every pair",
        |plan, given| {
            plan.latency = given.latency()?;
            Some(())
        },
    ),
    key(
        "jitter",
        Takes::Number(0.0, 10.0),
        "0.1",
        "a message takes up to this share longer",
        |plan, given| {
            plan.jitter = given.number()?;
            Some(())
        },
    ),
    key(
        "loss",
        Takes::Number(0.0, 0.9),
        "0.01",
        "the share of packets lost, each way; on a stream of messages of up to 16 KiB, without TCP's congestion control",
        |plan, given| {
            plan.loss = given.number()?;
            Some(())
        },
    ),
    key(
        "nat",
        Takes::Share,
        "0",
        "the share of nodes that cannot be called from outside: three quarters of them behind NAT \
         (port-restricted and symmetric, half each), one quarter behind a firewall",
        |plan, given| {
            plan.nat = given.number()?;
            Some(())
        },
    ),
];

pub(in crate::scenario) const DHT: &[Key<DhtPlan>] = &[
    key(
        "nodes",
        Takes::Count(2, 4_000_000),
        "10000",
        "how many, routers included",
        |plan, given| {
            plan.nodes = given.small()?;
            Some(())
        },
    ),
    key(
        "start",
        Takes::Word(&["warm", "cold"]),
        "warm",
        "with converged tables, or with empty ones and the routers' addresses",
        |plan, given| {
            plan.start = given.word(&[DhtStart::Warm, DhtStart::Cold])?;
            Some(())
        },
    ),
    key(
        "tables",
        Takes::Word(&["narrow", "wide"]),
        "narrow",
        "buckets of 8, or of 128, 64, 32, 16, 8",
        |plan, given| {
            plan.wide_tables = given.word(&[false, true])?;
            Some(())
        },
    ),
    key(
        "routers",
        Takes::Count(1, 1000),
        "1",
        "how many nodes newcomers are told of",
        |plan, given| {
            plan.routers = given.small()?;
            Some(())
        },
    ),
    key(
        "join_within",
        Takes::Time(0.0, YEAR),
        "1min",
        "a cold network's nodes come evenly over this time",
        |plan, given| {
            plan.join_within = given.time()?;
            Some(())
        },
    ),
    key(
        "settle",
        Takes::Time(0.0, YEAR),
        "0s",
        "how long nothing is measured after the last has joined",
        |plan, given| {
            plan.settle = given.time()?;
            Some(())
        },
    ),
    key(
        "dead",
        Takes::Number(0.0, 0.99),
        "0",
        "the share of warm tables' entries that answer no more",
        |plan, given| {
            plan.dead = given.number()?;
            Some(())
        },
    ),
    key(
        "session",
        Takes::Session,
        "forever",
        "how long a node stays; another joins for each that goes",
        |plan, given| {
            plan.session = given.session()?;
            Some(())
        },
    ),
    key(
        "announces",
        Takes::Count(0, 1_000_000),
        "500",
        "keys that are announced, by one node each, before anything is looked up",
        |plan, given| {
            plan.announces = given.small()?;
            Some(())
        },
    ),
    key(
        "reannounce",
        Takes::Time(1.0, YEAR),
        "15min",
        "how often each announcer repeats it",
        |plan, given| {
            plan.reannounce = given.time()?;
            Some(())
        },
    ),
    key(
        "lookups",
        Takes::Count(0, 10_000_000),
        "2000",
        "lookups made, each for one of the keys by a node that did not announce it",
        |plan, given| {
            plan.lookups = given.small()?;
            Some(())
        },
    ),
    key(
        "lookup_within",
        Takes::Time(0.001, YEAR),
        "20s",
        "they are spread evenly over this time",
        |plan, given| {
            plan.lookup_within = given.time()?;
            Some(())
        },
    ),
];

pub(in crate::scenario) const ATTACK: &[Key<AttackPlan>] = &[
    key(
        "kind",
        Takes::Word(&["collude", "forge", "eclipse"]),
        "collude",
        "attackers keep their ids and answer with those of them closest to the target; answer with \
         made-up ids next to it; or sit nearest to the key",
        |plan, given| {
            plan.kind =
                given.word(&[AttackKind::Collude, AttackKind::Forge, AttackKind::Eclipse])?;
            Some(())
        },
    ),
    key(
        "share",
        Takes::Number(0.0, 0.95),
        "0",
        "colluders' or forgers' share of all nodes",
        |plan, given| {
            plan.share = given.number()?;
            Some(())
        },
    ),
    key(
        "sybils",
        Takes::Count(0, 100_000),
        "32",
        "how many surround each key, for an eclipse",
        |plan, given| {
            plan.sybils = given.small()?;
            Some(())
        },
    ),
    key(
        "answers",
        Takes::Word(&["drop", "lie", "poison", "suppress"]),
        "lie",
        "nothing; only other attackers and no peers; peers that do not exist; or the closest nodes \
         where they are not",
        |plan, given| {
            plan.answers = given.word(&[
                AttackAnswer::Drop,
                AttackAnswer::Lie,
                AttackAnswer::Poison,
                AttackAnswer::Suppress,
            ])?;
            Some(())
        },
    ),
    key(
        "ids",
        Takes::Word(&["forged", "bound"]),
        "forged",
        "chosen freely, or bound to the address as BEP 42 has it",
        |plan, given| {
            plan.ids_bound = given.word(&[false, true])?;
            Some(())
        },
    ),
    key(
        "addresses",
        Takes::Count(1, 16_777_216),
        "256",
        "how many addresses the attacker has, for an eclipse with bound ids",
        |plan, given| {
            plan.addresses = given.small()?;
            Some(())
        },
    ),
];

/// An event as far as its keys have been read.
#[derive(Debug, Clone, PartialEq, Default)]
pub(in crate::scenario) struct EventDraft {
    pub(in crate::scenario) at: Option<Duration>,
    pub(in crate::scenario) kill: Option<f64>,
    pub(in crate::scenario) routers_down: Option<u32>,
    pub(in crate::scenario) newcomers: Option<u32>,
    pub(in crate::scenario) cached: bool,
    pub(in crate::scenario) partition: Option<Duration>,
}

pub(in crate::scenario) const EVENT: &[Key<EventDraft>] = &[
    key(
        "at",
        Takes::Time(0.0, YEAR),
        "",
        "when, since measuring began; needed",
        |event, given| {
            event.at = Some(given.time()?);
            Some(())
        },
    ),
    key(
        "kill",
        Takes::Share,
        "",
        "this share of the nodes is gone at once",
        |event, given| {
            event.kill = Some(given.number()?);
            Some(())
        },
    ),
    key(
        "routers_down",
        Takes::Count(0, 1000),
        "",
        "so many routers are gone",
        |event, given| {
            event.routers_down = Some(given.small()?);
            Some(())
        },
    ),
    key(
        "newcomers",
        Takes::Count(0, 1_000_000),
        "",
        "so many join",
        |event, given| {
            event.newcomers = Some(given.small()?);
            Some(())
        },
    ),
    key(
        "knowing",
        Takes::Word(&["routers", "cache"]),
        "routers",
        "what newcomers know: the routers, or a saved table of a node that is in the network",
        |event, given| {
            event.cached = given.word(&[false, true])?;
            Some(())
        },
    ),
    key(
        "partition",
        Takes::Time(0.001, YEAR),
        "",
        "two halves that cannot reach each other, for this time",
        |event, given| {
            event.partition = Some(given.time()?);
            Some(())
        },
    ),
];
