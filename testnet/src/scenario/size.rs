//! How large a network a plan makes: it must fit into the simulator's addresses, into the machine's
//! memory and into a person's patience.

use std::{fs, time::Duration};

use super::{
    Action, AttackKind, AttackPlan, DhtPlan, DhtStart, FileError, Plan, Session, cases::Chosen,
};
use crate::sim::MAX_NODES;

/// Members of all classes: a swarm's cost grows with members times neighbours.
const MOST_MEMBERS: f64 = 100_000.0;

/// Newcomers of all events: they join at once, and each looks for its neighbours.
const MOST_NEWCOMERS: u64 = 100_000;

/// Sybils of an eclipse around all keys.
const MOST_SYBILS: u64 = 1_000_000;

/// Lookups under way at once: each holds what it has heard until it ends.
const MOST_UNDER_WAY: f64 = 1_000_000.0;

/// About what a lookup takes that meets dead nodes.
const LOOKUP: Duration = Duration::from_secs(10);

/// What a node with a converged table takes of memory: measured at a million of them.
const NODE_BYTES: u64 = 9 << 10;

/// The machine's memory with what it may swap out, where Linux says it.
pub fn machine_memory() -> Option<u64> {
    memory_of(&fs::read_to_string("/proc/meminfo").ok()?)
}

fn memory_of(meminfo: &str) -> Option<u64> {
    let kib = |name: &str| -> Option<u64> {
        let line = meminfo.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse().ok()
    };
    Some((kib("MemTotal:")? + kib("SwapTotal:").unwrap_or(0)) * 1024)
}

impl Plan {
    /// What it needs of memory at the least, in bytes.
    pub(super) fn memory(&self) -> u64 {
        let nodes = self.dht.as_ref().map_or(0, |dht| u64::from(dht.nodes));
        nodes * NODE_BYTES
    }
}

/// How many nodes fit into a memory.
pub(super) fn nodes_in(memory: u64) -> u64 {
    memory / NODE_BYTES
}

impl Chosen<'_> {
    /// No more members than a swarm may have, those too that arrive.
    pub(super) fn check_members(&self, plan: &Plan) -> Result<(), FileError> {
        let Some(swarm) = &plan.swarm else {
            return Ok(());
        };
        let of = |class: &super::Class| match class.arrivals {
            Some(rate) => rate * swarm.limit.saturating_sub(class.join_at).as_secs_f64(),
            None => class.count as f64,
        };
        let members: f64 = plan.classes.iter().map(of).sum();
        let largest = plan.classes.iter().max_by(|a, b| of(a).total_cmp(&of(b)));
        let Some(largest) = largest.filter(|_| members > MOST_MEMBERS) else {
            return Ok(());
        };
        let (key, remedy) = match largest.arrivals {
            Some(_) => ("arrivals", "fewer `arrivals`, or a shorter `swarm.limit`"),
            None => ("count", "a smaller count"),
        };
        self.wrong(
            &format!("class.{}.{key}", largest.name),
            &format!("a swarm of {members:.0}"),
            &format!("the most is {MOST_MEMBERS}; write {remedy}"),
        )
    }

    /// Newcomers, Sybils and lookups under way are no more than can be run.
    pub(super) fn check_crowd(&self, plan: &Plan, dht: &DhtPlan) -> Result<(), FileError> {
        let newcomers = newcomers(plan);
        if newcomers > MOST_NEWCOMERS {
            let last = self.events().filter(|path| {
                let key = format!("{path}.newcomers");
                self.values.contains_key(&key)
            });
            let path = last.last().unwrap_or("event.1").to_string();
            return self.wrong(
                &format!("{path}.newcomers"),
                &format!("{newcomers} newcomers in all"),
                &format!("the most is {MOST_NEWCOMERS}; write fewer, or more `dht.nodes`"),
            );
        }
        let sybils = plan.attack.as_ref().map_or(0, |attack| sybils(attack, dht));
        if sybils > MOST_SYBILS {
            let bound = plan.attack.as_ref().is_some_and(|attack| attack.ids_bound);
            let (key, each) = match bound {
                true => ("addresses", "addresses"),
                false => ("sybils", "Sybils"),
            };
            return self.wrong(
                &format!("attack.{key}"),
                &format!(
                    "{sybils} {each}: so many for each of {} keys",
                    dht.announces
                ),
                &format!("the most is {MOST_SYBILS}; write fewer `{key}` or `dht.announces`"),
            );
        }
        let share = LOOKUP.as_secs_f64() / dht.lookup_within.as_secs_f64();
        let under_way = f64::from(dht.lookups) * share.min(1.0);
        if under_way > MOST_UNDER_WAY {
            let least = f64::from(dht.lookups) / MOST_UNDER_WAY * LOOKUP.as_secs_f64();
            return self.wrong(
                "dht.lookups",
                &format!("{under_way:.0} lookups under way at once"),
                &format!(
                    "the most is {MOST_UNDER_WAY}; write fewer, or `lookup_within = \"{}s\"`",
                    least.ceil()
                ),
            );
        }
        self.check_addresses(plan, dht, sybils)
    }

    /// Everybody who is ever there has an address, the dead and those that were replaced too.
    fn check_addresses(&self, plan: &Plan, dht: &DhtPlan, sybils: u64) -> Result<(), FileError> {
        let room = f64::from(MAX_NODES);
        let there = f64::from(dht.nodes) + sybils as f64;
        let replaced = replaced(plan, dht);
        let come = replaced + newcomers(plan) as f64;
        let dead = match dht.start {
            DhtStart::Warm => there * dht.dead / (1.0 - dht.dead),
            DhtStart::Cold => 0.0,
        };
        if there + dead + come < room {
            return Ok(());
        }
        let (key, what, remedy) = if dead > replaced {
            let what = format!("{there:.0} nodes and {dead:.0} dead entries");
            ("dht.dead", what, "a smaller share, or fewer `dht.nodes`")
        } else {
            let what = format!("{there:.0} nodes, of which up to {replaced:.0} are replaced");
            (
                "dht.session",
                what,
                "a longer session, or fewer `dht.nodes`",
            )
        };
        let remedy = format!("there is room for {MAX_NODES}; write {remedy}");
        self.wrong(key, &what, &remedy)
    }
}

fn newcomers(plan: &Plan) -> u64 {
    let counts = plan.events.iter().map(|event| match event.action {
        Action::Newcomers { count, .. } => u64::from(count),
        _ => 0,
    });
    counts.sum()
}

/// What an eclipse has around all keys: places with bound ids are one for each address.
fn sybils(attack: &AttackPlan, dht: &DhtPlan) -> u64 {
    let each = match (attack.kind, attack.ids_bound) {
        (AttackKind::Eclipse, true) => attack.addresses,
        (AttackKind::Eclipse, false) => attack.sybils,
        _ => 0,
    };
    u64::from(each) * u64::from(dht.announces)
}

/// Nodes that leave while the plan is run, each of which another joins for: the most to be expected.
fn replaced(plan: &Plan, dht: &DhtPlan) -> f64 {
    let mean = match dht.session {
        Session::Forever => return 0.0,
        Session::Exponential { median } => median.as_secs_f64() / std::f64::consts::LN_2,
        // The mean of a Weibull distribution is no less than this, whatever its shape.
        Session::Weibull { scale, .. } => scale.as_secs_f64() * 0.8856,
    };
    let ends = plan.events.iter().map(|event| match event.action {
        Action::Partition(lasts) => event.at + lasts,
        _ => event.at,
    });
    let measured = ends.max().unwrap_or_default().max(dht.lookup_within);
    let joining = match dht.start {
        DhtStart::Cold => dht.join_within,
        DhtStart::Warm => Duration::ZERO,
    };
    let lasts = joining + dht.settle + measured;
    f64::from(dht.nodes) * lasts.as_secs_f64() / mean
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_where_linux_says_it() {
        let text = "MemTotal:       24000 kB\nMemFree: 10 kB\nSwapTotal:       1000 kB\n";
        assert_eq!(memory_of(text), Some(25_000 * 1024));
        assert_eq!(memory_of("MemTotal: 5 kB\n"), Some(5 * 1024));
        assert_eq!(memory_of("nothing"), None);
    }
}
