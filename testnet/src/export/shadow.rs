//! Shadow: real programs under a simulated kernel, network and clock
//! (<https://shadow.github.io/docs/guide/shadow_config_spec.html>).

use std::{fmt::Write, time::Duration};

use super::{
    script::{Group, PORT, ROUTER, Script, Work, recipe},
    yaml::Yaml,
};
use crate::{
    scenario::NetworkPlan,
    sim::{
        Delay,
        link::{GEO5_RTT_MS, GEO5_SHARES},
    },
};

/// `shadow.yaml`, `network.gml` and `prepare.sh`.
pub(super) fn files(script: &Script, network: &NetworkPlan) -> Vec<(&'static str, String)> {
    let mut files = vec![
        ("shadow.yaml", config(script, network)),
        ("network.gml", graph(network)),
    ];
    if !script.contents.is_empty() {
        files.push(("prepare.sh", prepare(script)));
    }
    files
}

fn config(script: &Script, network: &NetworkPlan) -> String {
    let how = [
        "Run it here: sh prepare.sh && shadow shadow.yaml   (mainswarm must be in PATH)",
        "Then: testnet collect SCENARIO --from shadow.data/hosts",
    ];
    let mut lost = vec![
        "Rates: a host's bandwidth counts whole IP packets, the scenario's rates count payload: \
         5.6 % of them are headers and acknowledgements."
            .to_owned(),
    ];
    match network.latency {
        Delay::Geo5 => lost.push(
            "The noise of each pair and the access delay of each node: a pair's delay is that of \
             its two regions."
                .into(),
        ),
        Delay::Lognormal => {
            lost.push("The spread of round trips: every pair has the median, 140 ms.".into());
        }
        Delay::Constant(way) if way < LEAST => {
            lost.push("No delay at all is not possible: every message takes 1 us.".into());
        }
        Delay::Constant(_) => {}
    }
    if network.jitter > 0.0 {
        lost.push(format!(
            "Jitter: {} of the delay in the scenario, none here.",
            network.jitter
        ));
    }
    let mut hosts = Vec::new();
    let mut number = 0;
    for group in &script.groups {
        for index in 0..group.count {
            hosts.push((
                format!("{}-{index}", group.name),
                host(script, network, group, index, number),
            ));
            number += 1;
        }
    }
    let config = Yaml::map([
        (
            "general",
            Yaml::map([
                ("seed", Yaml::Number(script.seed)),
                ("stop_time", Yaml::text(time(script.stop))),
                ("model_unblocked_syscall_latency", Yaml::Flag(true)),
            ]),
        ),
        (
            "network",
            Yaml::map([
                (
                    "graph",
                    Yaml::map([
                        ("type", Yaml::text("gml")),
                        ("file", Yaml::map([("path", Yaml::text("network.gml"))])),
                    ]),
                ),
                ("use_shortest_path", Yaml::Flag(false)),
            ]),
        ),
        ("hosts", Yaml::Map(hosts)),
    ]);
    config.document(&script.comments(&how.map(str::to_owned), &lost))
}

fn host(
    script: &Script,
    network: &NetworkPlan,
    group: &Group,
    index: usize,
    number: usize,
) -> Yaml {
    let is_router = group.name == ROUTER;
    let routers: Vec<String> = (0..if is_router {
        index
    } else {
        router_count(script)
    })
        .map(ip)
        .collect();
    let start = group.start + group.step * index as u32;
    let commands = script.commands(group, index, false, "../../../content/", &routers);
    let processes = commands.into_iter().map(|(after, words)| {
        let ends = matches!(group.work, Work::Get(false));
        let mut process = vec![
            ("path".to_owned(), Yaml::text("mainswarm")),
            ("args".to_owned(), Yaml::texts(words)),
            ("start_time".to_owned(), Yaml::text(time(start + after))),
        ];
        // A lookup that finds nobody ends with another code, and that is a result.
        let state = match group.work {
            Work::LookUp { .. } => None,
            _ if ends => Some(Yaml::map([("exited", Yaml::Number(0))])),
            _ => {
                let stop = script.stop.saturating_sub(Duration::from_secs(1));
                process.push(("shutdown_time".to_owned(), Yaml::text(time(stop))));
                process.push(("shutdown_signal".to_owned(), Yaml::text("SIGINT")));
                Some(Yaml::map([("exited", Yaml::Number(0))]))
            }
        };
        if let Some(state) = state {
            process.push(("expected_final_state".to_owned(), state));
        }
        Yaml::Map(process)
    });
    let region = match network.latency {
        Delay::Geo5 => region(number) as u64,
        _ => 0,
    };
    let mut host = vec![
        ("network_node_id".to_owned(), Yaml::Number(region)),
        // Those that Shadow gives by itself are public, and a private network refuses them.
        ("ip_addr".to_owned(), Yaml::text(ip(number))),
    ];
    for (key, rate) in [("bandwidth_up", group.up), ("bandwidth_down", group.down)] {
        if let Some(rate) = rate {
            let bits = (rate * 8.0).round() as u64;
            host.push((key.to_owned(), Yaml::text(format!("{bits} bit"))));
        }
    }
    host.push(("processes".to_owned(), Yaml::List(processes.collect())));
    Yaml::Map(host)
}

fn router_count(script: &Script) -> usize {
    let routers = script.groups.iter().find(|group| group.name == ROUTER);
    routers.map_or(0, |group| group.count)
}

/// Hosts have the addresses 10.0.0.1 and on; routers come first.
fn ip(number: usize) -> String {
    let number = number as u32;
    let (high, low) = (number / 250, number % 250 + 1);
    format!("10.{}.{}.{low}", high / 250, high % 250)
}

/// The region of a host: of a hundred in a row, as many in each as its share says, well mixed.
fn region(number: usize) -> usize {
    // 61 has no factor in common with 100.
    let percent = (number * 61 + 7) as u64 % 100;
    GEO5_SHARES
        .iter()
        .position(|below| percent < *below)
        .unwrap_or(0)
}

const REGIONS: [&str; 5] = [
    "North America",
    "Europe",
    "Asia",
    "South America",
    "Oceania",
];
/// Shadow refuses a delay of 0.
const LEAST: Duration = Duration::from_micros(1);

/// The graph: a node for each region, and an edge for each pair of them and within each.
fn graph(network: &NetworkPlan) -> String {
    let one = |way: Duration| (vec!["Everywhere"], vec![(0, 0, way.max(LEAST))]);
    let (nodes, edges) = match network.latency {
        Delay::Constant(way) => one(way),
        Delay::Lognormal => one(Duration::from_millis(70)),
        Delay::Geo5 => {
            let pairs = (0..5).flat_map(|from| (from..5).map(move |to| (from, to)));
            let way = |rtt: u64| Duration::from_micros(rtt * 500);
            let edges = pairs.map(|(from, to)| (from, to, way(GEO5_RTT_MS[from][to])));
            (REGIONS.to_vec(), edges.collect())
        }
    };
    let mut out = String::from("graph [\n  directed 0\n");
    for (id, label) in nodes.iter().enumerate() {
        let _ = writeln!(
            out,
            "  node [\n    id {id}\n    label \"{label}\"\n    host_bandwidth_up \"10 Gbit\"\n    \
             host_bandwidth_down \"10 Gbit\"\n  ]"
        );
    }
    for (from, to, way) in edges {
        let _ = writeln!(
            out,
            "  edge [\n    source {from}\n    target {to}\n    latency \"{} us\"\n    packet_loss \
             {:?}\n  ]",
            way.as_micros(),
            network.loss
        );
    }
    out.push_str("]\n");
    out
}

/// Makes the files that are shared, and checks that they are the ones that the magnet links name.
fn prepare(script: &Script) -> String {
    let mut out = String::from(
        "#!/bin/sh\n# Makes the files that the programs share; needs seq, head and sha1sum.\n\
         set -eu\ncd \"$(dirname \"$0\")\"\nmkdir -p content\n",
    );
    for content in &script.contents {
        let name = &content.name;
        let _ = writeln!(out, "{} > content/{name}", recipe(content));
        let _ = writeln!(
            out,
            "echo '{}  content/{name}' | sha1sum -c -",
            content.sha1
        );
    }
    out
}

/// Whole milliseconds, as Shadow reads them.
fn time(time: Duration) -> String {
    format!("{} ms", time.as_millis())
}

// The fixed port is part of every command line.
const _: () = assert!(PORT == 6881);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regions_have_their_shares() {
        let mut counts = [0; 5];
        (0..1000).for_each(|number| counts[region(number)] += 1);
        assert_eq!(counts, [270, 420, 220, 50, 40]);
    }

    #[test]
    fn addresses_are_private_and_differ() {
        assert_eq!(
            (ip(0), ip(249), ip(250)),
            ("10.0.0.1".into(), "10.0.0.250".into(), "10.0.1.1".into())
        );
        assert_eq!(ip(250 * 250), "10.1.0.1");
    }
}
