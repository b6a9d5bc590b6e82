//! Plain words for what files and programs call by keys: parameters, figures, gates.
//!
//! A reader of a figure knows no keys. They stay in `outcome.json`, in the scenario beside a page
//! and in the line that runs it again; a page and a figure say what they mean, with a unit.

use std::borrow::Cow;

use crate::outcome::CaseOutcome;

use super::text::{escape, thousands};

/// Parameters by key; `#` is the class, or the event's number.
const KEYS: &[(&str, &str)] = &[
    ("network.latency", "delay between nodes"),
    ("network.jitter", "jitter"),
    ("network.loss", "packet loss"),
    ("network.nat", "share of nodes behind NAT or a firewall"),
    ("swarm.architecture", "architecture"),
    ("swarm.pieces", "pieces"),
    ("swarm.piece_len", "piece length"),
    ("swarm.file_time", "F/u"),
    ("swarm.discovery", "peers are found by"),
    ("swarm.magnet", "only the info-hash is known"),
    ("swarm.piece_order", "piece order"),
    ("swarm.choke_interval", "choke interval"),
    ("swarm.optimistic_interval", "optimistic interval"),
    ("swarm.slots", "upload slots"),
    ("swarm.optimistic_slots", "optimistic slots"),
    ("swarm.neighbours", "connections at most"),
    ("swarm.unsent_first", "seed sends unsent pieces first"),
    ("swarm.seed_order", "seed serves first"),
    ("swarm.limit", "time limit"),
    // A run has random seeds, too.
    ("class.seed.count", "seeding peers"),
    ("class.#.count", "#s"),
    ("class.#.share", "share of #s"),
    ("class.#.of", "#s come from the class"),
    ("class.#.has", "#s begin with"),
    ("class.#.up", "# upload"),
    ("class.#.down", "# download"),
    ("class.#.behaviour", "# behaviour"),
    ("class.#.join_at", "#s join at"),
    ("class.#.join_within", "#s join within"),
    ("class.#.arrivals", "#s arriving per second"),
    ("class.#.seeds_for", "complete #s stay"),
    (
        "class.#.leaves_at_copies",
        "copies a # sends before it leaves",
    ),
    ("class.#.leaves_at", "#s leave at"),
    ("dht.nodes", "nodes"),
    ("dht.start", "tables at the start"),
    ("dht.tables", "routing tables"),
    ("dht.routers", "routers"),
    ("dht.join_within", "nodes join within"),
    ("dht.settle", "settling time"),
    ("dht.dead", "share of dead entries at the start"),
    ("dht.session", "session"),
    ("dht.announces", "announced keys"),
    ("dht.reannounce", "announces repeated every"),
    ("dht.lookups", "lookups"),
    ("dht.lookup_within", "lookups spread over"),
    ("attack.kind", "attack"),
    ("attack.share", "share of attackers"),
    ("attack.sybils", "attackers around each key"),
    ("attack.answers", "attackers' answers"),
    ("attack.ids", "attackers' ids"),
    ("attack.addresses", "attackers' addresses"),
    ("event.#.at", "event # at"),
    ("event.#.kill", "event #, share of nodes killed"),
    ("event.#.routers_down", "event #, routers lost"),
    ("event.#.newcomers", "event #, newcomers"),
    ("event.#.knowing", "event #, newcomers know"),
    ("event.#.partition", "event #, cut in two for"),
];

/// Words that a file writes for values.
const VALUES: &[(&str, &str)] = &[
    ("p2p", "peer-to-peer"),
    ("geo-5", "five continents"),
    ("dht", "the DHT"),
    ("told", "being told"),
    ("collude", "colluders"),
    ("forge", "forgers"),
    ("lie", "lies"),
    ("poison", "peers that do not exist"),
    ("drop", "none"),
    ("true", "yes"),
    ("false", "no"),
];

/// Figures by name: what it is, and its unit. `#` is the class.
const FIGURES: &[(&str, &str, &str)] = &[
    ("seconds", "time of the last compliant peer", "s"),
    ("mean_seconds", "mean time of compliant peers", "s"),
    (
        "lb_seconds",
        "LB, the bound with pieces, for the last of all",
        "s",
    ),
    (
        "bound_seconds",
        "bound for a file that flows (Eq. 2.1 or 2.2)",
        "s",
    ),
    ("ratio", "time of the last of all over LB", ""),
    ("mean_ratio", "mean time over LB of the last", ""),
    (
        "ratio_all",
        "time of the last of all, riders too, over LB",
        "",
    ),
    ("seconds.#", "mean time of #s", "s"),
    ("last_seconds.#", "time of the last #", "s"),
    ("ratio.#", "mean time of #s over LB of the last", ""),
    (
        "complete",
        "share of those that stayed that have everything",
        "",
    ),
    ("complete.#", "share of #s that have everything", ""),
    (
        "complete_if_available",
        "share of peers complete, all pieces there",
        "",
    ),
    (
        "available",
        "all pieces there when the seed left (1: yes)",
        "",
    ),
    ("starved", "peers that stayed and never finished", "peers"),
    ("utilisation", "share of upload capacity used", ""),
    (
        "seed_copies",
        "copies the seeds sent before a peer finished",
        "files",
    ),
    ("first_piece_seconds", "median time to the first piece", "s"),
    (
        "entropy_p20",
        "share of time a neighbour has something (p20)",
        "",
    ),
    ("wasted", "share of received bytes of no use", ""),
    ("refetched", "pieces fetched twice", "pieces"),
    (
        "free_over_compliant",
        "free riders' mean time over compliant peers'",
        "",
    ),
    ("slowdown", "mean time over that without the others", ""),
    (
        "last_slowdown",
        "last time over that without the others",
        "",
    ),
    (
        "swarm_slowdown",
        "everybody's mean time over that without the others",
        "",
    ),
    ("gain", "fair peers' mean time over tyrants'", ""),
    (
        "ban_seconds",
        "longest time until an attacker is banned",
        "s",
    ),
    (
        "banned",
        "share of attackers' contacts that ended in a ban",
        "",
    ),
    ("wrongly_banned", "bans of harmless members", "bans"),
    (
        "failed_pieces",
        "most pieces a peer lost to wrong blocks",
        "pieces",
    ),
    (
        "fast_over_slow",
        "fast class's mean time over the slow one's",
        "",
    ),
    ("rank", "rank correlation of upload rate and speed", ""),
    ("eta", "share of uplinks used while something lacks", ""),
    ("fluid_seconds", "mean time in the fluid model", "s"),
    ("fluid_ratio", "mean time over the fluid model's", ""),
    ("fluid_deviation", "deviation from the fluid model", ""),
    (
        "fluid_ideal_deviation",
        "deviation from the ideal fluid model",
        "",
    ),
    ("population", "mean peers that lack something", "peers"),
    (
        "population_growth",
        "population, last third over middle third",
        "",
    ),
    ("success", "share of lookups that succeed", ""),
    ("abandoned", "lookups whose seeker went at once", "share"),
    (
        "success_before",
        "share of lookups that succeed before the event",
        "",
    ),
    (
        "success_at_once",
        "share of lookups that succeed in the first minute",
        "",
    ),
    (
        "success_after",
        "share of lookups that succeed 15 min after",
        "",
    ),
    ("success_change", "loss of success when routers died", ""),
    (
        "success_split",
        "share of lookups that succeed within a side",
        "",
    ),
    (
        "success_cross",
        "share of lookups that succeed across the healed cut",
        "",
    ),
    (
        "recovery_seconds",
        "time until 99 % of lookups succeed again",
        "s",
    ),
    (
        "merge_seconds",
        "time until 99 % succeed across the healed cut",
        "s",
    ),
    (
        "connected_seconds",
        "time until 99 % of nodes have 8 live contacts",
        "s",
    ),
    (
        "found_seconds",
        "time until 99 of 100 lookups in a row succeed",
        "s",
    ),
    ("hops", "mean hops to the first peer", "hops"),
    ("hops_model", "0.70 log10 n, the model's hops", "hops"),
    ("hops_excess", "hops beyond the model's", "hops"),
    ("queries", "mean queries of a lookup", "queries"),
    (
        "queries_p95",
        "queries of a lookup, 95th percentile",
        "queries",
    ),
    (
        "queries_model",
        "1.8 log10 n + 7, the model's queries",
        "queries",
    ),
    ("first_ms_p50", "median time to the first peer", "ms"),
    (
        "first_ms_p90",
        "time to the first peer, 90th percentile",
        "ms",
    ),
    (
        "first_ms_p99",
        "time to the first peer, 99th percentile",
        "ms",
    ),
    ("done_ms_p50", "median time to the end of a lookup", "ms"),
    (
        "done_ms_p99",
        "time to the end of a lookup, 99th percentile",
        "ms",
    ),
    (
        "recall",
        "share of the 8 closest nodes that hold an announce",
        "",
    ),
    ("stale", "share of table entries that are gone", ""),
    ("stale_end", "share of table entries gone at the end", ""),
    ("upkeep_messages", "messages sent by an idle node", "1/s"),
    ("upkeep_bytes", "bytes sent by an idle node", "B/s"),
    (
        "router_share",
        "share of all messages that meet a router",
        "",
    ),
    (
        "tables_unreachable",
        "share of table entries that cannot be called",
        "",
    ),
    ("joined", "share of nodes that joined", ""),
    (
        "joined_routers",
        "share of newcomers in, by live routers",
        "",
    ),
    (
        "joined_orphaned",
        "share of newcomers in, by dead routers",
        "",
    ),
    (
        "joined_cached",
        "share of newcomers in, by a saved table",
        "",
    ),
    ("flagged", "share of lookups taken for attacked", ""),
    (
        "flagged_falsely",
        "share of honest lookups taken for attacked",
        "",
    ),
    ("probes_unharmed", "honest lookups that were judged", ""),
    ("size_error", "relative error of the estimated size", ""),
    (
        "attacker_queries",
        "queries to attackers in a lookup",
        "queries",
    ),
    ("wall_seconds", "wall time of a run", "s"),
    ("speed", "engine speed", "million events/s/thread"),
    ("peak_memory_gib", "peak memory", "GiB"),
];

/// What a figure is, in words, and its unit; `None` if it has none.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Label {
    pub(super) text: String,
    pub(super) unit: Option<&'static str>,
}

impl Label {
    /// `mean queries of a lookup [queries]`.
    pub(super) fn with_unit(&self) -> String {
        match self.unit {
            Some(unit) => format!("{} [{unit}]", self.text),
            None => self.text.clone(),
        }
    }

    /// Beginning with a capital.
    pub(super) fn heading(&self) -> String {
        let mut letters = self.text.chars();
        letters.next().map_or(String::new(), |first| {
            first.to_uppercase().collect::<String>() + letters.as_str()
        })
    }
}

/// A figure's label.
pub(super) fn figure(name: &str) -> Label {
    known_figure(name).unwrap_or_else(|| Label {
        text: name.replace('_', " "),
        unit: None,
    })
}

fn known_figure(name: &str) -> Option<Label> {
    let (stem, class) = match name.split_once('.') {
        Some((stem, class)) => (Cow::Owned(format!("{stem}.#")), class),
        None => (Cow::Borrowed(name), ""),
    };
    let mut known = FIGURES.iter();
    let (_, text, unit) = known.find(|(known, ..)| *known == stem)?;
    Some(Label {
        text: of_class(text, class),
        unit: Some(*unit).filter(|unit| !unit.is_empty()),
    })
}

/// Names of classes that are words for their members. Others, such as `fast`, have no plural.
const NOUNS: [&str; 12] = [
    "attacker",
    "client",
    "free-rider",
    "leecher",
    "member",
    "node",
    "peer",
    "rider",
    "seed",
    "server",
    "sybil",
    "tyrant",
];

/// A label with a class's name in the place of `#`.
fn of_class(text: &str, class: &str) -> String {
    let last = class.rsplit('-').next().unwrap_or(class);
    if NOUNS.contains(&class) || NOUNS.contains(&last) {
        return text.replace('#', class);
    }
    text.replace("complete #s", &format!("complete members of {class}"))
        .replace("#s", &format!("members of {class}"))
        .replace("a # ", &format!("a member of {class} "))
        .replace("last #", &format!("last member of {class}"))
        .replace('#', class)
}

/// A parameter's label: `class.peer.count` is `peers`.
pub(super) fn key(key: &str) -> String {
    let known = |key: &str| {
        let mut known = KEYS.iter();
        known
            .find(|(known, _)| *known == key)
            .map(|(_, text)| *text)
    };
    if let Some(text) = known(key) {
        return text.into();
    }
    let parts: Vec<&str> = key.split('.').collect();
    if let [table, of, last] = parts[..]
        && let Some(text) = known(&format!("{table}.#.{last}"))
    {
        return match table {
            "class" => of_class(text, of),
            _ => text.replace('#', of),
        };
    }
    key.rsplit('.').next().unwrap_or(key).replace('_', " ")
}

/// A parameter's value: `64KiB` is `64 KiB`, `10x` is ten times u.
pub(super) fn value(key: &str, value: &str) -> String {
    let value = value.trim().trim_matches('"');
    let last = key.rsplit('.').next().unwrap_or(key);
    if last == "tables" {
        return format!("{value} buckets");
    }
    if last == "behaviour" {
        return value.replace('-', " ");
    }
    if let Some((_, plain)) = VALUES.iter().find(|(word, _)| *word == value) {
        return (*plain).into();
    }
    let words: Vec<&str> = value.split(' ').collect();
    match words[..] {
        ["exponential", median] => format!("exponential with median {}", spaced(median)),
        ["weibull", shape, scale] => {
            format!("Weibull with shape {shape} and scale {}", spaced(scale))
        }
        _ => words
            .iter()
            .map(|word| spaced(word))
            .collect::<Vec<_>>()
            .join(" "),
    }
}

/// Whether all of a parameter's values are times, which axes count in seconds.
pub(super) fn time(key: &str, cases: &[CaseOutcome]) -> bool {
    let mut settings = cases.iter().flat_map(|case| &case.settings);
    settings.all(|(of, set)| {
        let set = set.trim_matches('"');
        of != key
            || set != "0"
                && ["s", "min", "h", "d"]
                    .iter()
                    .any(|unit| set.ends_with(unit))
    })
}

/// `10min` is `10 min`, `1000000` is `1,000,000`.
fn spaced(word: &str) -> String {
    let digits = |c: char| c.is_ascii_digit() || c == '.';
    let unit = word.trim_start_matches(digits);
    let number = &word[..word.len() - unit.len()];
    let whole = number.len() > 3 && !number.contains('.');
    let number = match number.parse::<f64>() {
        Ok(value) if whole && value < 1e15 => thousands(value),
        _ => number.to_string(),
    };
    let known = [
        "ms", "s", "min", "h", "d", "B", "kB", "KiB", "MiB", "GiB", "MiB/s", "KiB/s",
    ];
    match unit {
        "x" if !number.is_empty() => format!("{number} u"),
        _ if !number.is_empty() && known.contains(&unit) => format!("{number} {unit}"),
        _ => number + unit,
    }
}

/// `peers = 35; session = exponential with median 10 min`.
pub(super) fn settings(settings: &[(String, String)]) -> String {
    let one = |(of, set): &(String, String)| format!("{} = {}", key(of), value(of, set));
    settings.iter().map(one).collect::<Vec<_>>().join("; ")
}

/// A gate's sentence: `ratio at most 1.05 where class.peer.count = 35`.
pub(super) fn gate(sentence: &str) -> String {
    let (head, conditions) = match sentence.split_once(" where ") {
        Some((head, conditions)) => (head, Some(conditions)),
        None => (sentence, None),
    };
    let (head, other) = match head.split_once(" times that of ") {
        Some((head, other)) => (head, Some(other)),
        None => (head, None),
    };
    let mut out = match head.split_once(' ') {
        Some((name, rest)) => format!("{}: {rest}", figure(name).text),
        None => figure(head).text,
    };
    if let Some(other) = other {
        out += &format!(" times that with {}", listed(other));
    }
    if let Some(conditions) = conditions {
        out += &format!(" where {}", listed(conditions));
    }
    out
}

/// `class.peer.count = 1 or 2, swarm.magnet = true`.
fn listed(conditions: &str) -> String {
    let one = |condition: &str| match condition.split_once(" = ") {
        Some((of, values)) => {
            let values = values.split(" or ").map(|set| value(of, set));
            format!("{} = {}", key(of), values.collect::<Vec<_>>().join(" or "))
        }
        None => condition.to_string(),
    };
    conditions
        .split(", ")
        .map(one)
        .collect::<Vec<_>>()
        .join("; ")
}

/// A paragraph for a page: what stands in backticks is a figure, in words, or code.
pub(super) fn paragraph(text: &str) -> String {
    let parts = text.split('`').enumerate();
    let told = |(index, part): (usize, &str)| match index % 2 {
        0 => escape(part),
        _ => known_figure(part).map_or_else(
            || format!("<code>{}</code>", escape(part)),
            |label| format!("<em>{}</em>", escape(&label.text)),
        ),
    };
    parts.map(told).collect()
}

#[cfg(test)]
mod tests {
    use crate::{
        experiment::{self, COST_FIGURES},
        scenario::{Choice, catalogue, parse},
    };

    use super::*;

    #[test]
    fn every_figure_has_a_label() {
        for (name, _) in experiment::FIGURES.iter().chain(COST_FIGURES) {
            let name = name.replace("CLASS", "slow");
            let label = known_figure(&name).unwrap_or_else(|| panic!("{name} has none"));
            assert!(!label.text.contains(['_', '#']), "{name}: {}", label.text);
        }
    }

    #[test]
    fn every_parameter_of_the_catalogue_has_a_label() {
        for (name, text) in catalogue::BUILT_IN {
            let scenario = parse(name, name, text, &Choice::default()).unwrap();
            let cases = scenario.cases.iter().flat_map(|case| &case.settings);
            for (of, set) in scenario.parameters.iter().chain(cases) {
                let label = key(of);
                assert!(!label.contains(['_', '.', '#']), "{name}: {of} is {label}");
                assert!(!value(of, set).contains('_'), "{name}: {of} = {set}");
                let last = of.rsplit('.').next().unwrap();
                let found = KEYS
                    .iter()
                    .any(|(known, _)| known.rsplit('.').next() == Some(last));
                assert!(found, "{name}: {of}");
            }
        }
    }

    #[test]
    fn only_nouns_have_a_plural() {
        let rows = [
            ("class.fast.count", "members of fast"),
            ("class.fast-early.share", "share of members of fast-early"),
            ("class.slow-peer.count", "slow-peers"),
            ("class.fast.seeds_for", "complete members of fast stay"),
            (
                "class.fast.leaves_at_copies",
                "copies a member of fast sends before it leaves",
            ),
            ("class.fast.up", "fast upload"),
            ("class.rider.share", "share of riders"),
            ("event.2.at", "event 2 at"),
        ];
        for (of, words) in rows {
            assert_eq!(key(of), words);
        }
        assert_eq!(figure("seconds.slow").text, "mean time of members of slow");
        assert_eq!(
            figure("last_seconds.slow").text,
            "time of the last member of slow"
        );
        assert_eq!(figure("last_seconds.peer").text, "time of the last peer");
    }

    #[test]
    fn keys_are_told_in_words() {
        let told = |of: &str, set: &str| settings(&[(of.into(), set.into())]);
        let rows = [
            ("class.peer.count", "35", "peers = 35"),
            ("class.seed.up", "10x", "seed upload = 10 u"),
            (
                "dht.session",
                "exponential 10min",
                "session = exponential with median 10 min",
            ),
            ("dht.nodes", "1000000", "nodes = 1,000,000"),
            ("swarm.piece_len", "64KiB", "piece length = 64 KiB"),
            (
                "class.rider.behaviour",
                "free-rider",
                "rider behaviour = free rider",
            ),
            (
                "event.1.kill",
                "0.5",
                "event 1, share of nodes killed = 0.5",
            ),
            ("something.new_one", "a b", "new one = a b"),
        ];
        for (of, set, words) in rows {
            assert_eq!(told(of, set), words);
        }
        assert_eq!(
            gate("ratio at most 1.05 where class.peer.count = 1 or 35, swarm.magnet = true"),
            "time of the last of all over LB: at most 1.05 where peers = 1 or 35; \
             only the info-hash is known = yes"
        );
        assert_eq!(
            gate("queries at most 5 times that of attack.share = 0"),
            "mean queries of a lookup: at most 5 times that with share of attackers = 0"
        );
        assert_eq!(
            paragraph("`ratio` of a <b> is `x_y`"),
            "<em>time of the last of all over LB</em> of a &lt;b&gt; is <code>x_y</code>"
        );
    }
}
