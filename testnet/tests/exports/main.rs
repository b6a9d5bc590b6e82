//! What exports say against what their scenarios say: the files are parsed again, their numbers
//! compared, and the whole held by golden files.
//!
//! `TESTNET_GOLDEN=write cargo test -p mainswarm-testnet --test exports` writes the golden files
//! anew.

mod collecting;

use std::{collections::BTreeMap, fs, path::Path, process::Command, time::Duration};

use mainswarm_testnet::{
    export::{self, ExportError, Target},
    scenario::{
        Action, Architecture, Behaviour, Case, Class, DhtPlan, DhtStart, Gate, Limit, NetworkPlan,
        Plan, Scenario, Session, SwarmPlan, TimedEvent,
    },
    sim::Delay,
};
use yaml_rust2::{Yaml, YamlLoader};

/// Two seeds, eight peers that come one after the other, and two slow ones.
fn swarm() -> Scenario {
    let mut seed = Class::new("seed", 2);
    (seed.complete, seed.up) = (true, Some(4_000_000.0));
    let mut peer = Class::new("peer", 8);
    (peer.up, peer.down) = (Some(1_000_000.0), Some(8_000_000.0));
    peer.join_within = Duration::from_secs(4);
    let mut slow = Class::new("slow-peer", 2);
    (slow.up, slow.seeds_for) = (Some(250_000.5), Some(Duration::ZERO));
    slow.join_at = Duration::from_millis(1500);
    let plan = Plan {
        swarm: Some(SwarmPlan {
            pieces: 64,
            piece_len: 32 * 1024,
            choke_interval: Duration::from_secs(1),
            optimistic_interval: Duration::from_secs(3),
            limit: Duration::from_secs(600),
            ..SwarmPlan::default()
        }),
        classes: vec![seed, peer, slow],
        ..Plan::default()
    };
    scenario("small-crowd", plan)
}

fn dht() -> Scenario {
    let plan = Plan {
        dht: Some(DhtPlan {
            nodes: 30,
            start: DhtStart::Cold,
            routers: 2,
            join_within: Duration::from_secs(14),
            announces: 3,
            lookups: 6,
            lookup_within: Duration::from_secs(12),
            ..DhtPlan::default()
        }),
        network: NetworkPlan {
            latency: Delay::Constant(Duration::from_millis(20)),
            jitter: 0.0,
            loss: 0.0,
            nat: 0.0,
        },
        ..Plan::default()
    };
    scenario("cold", plan)
}

fn scenario(name: &str, plan: Plan) -> Scenario {
    Scenario {
        name: name.into(),
        id: Some("S99".into()),
        title: "A title with \"quotes\": and # more".into(),
        about: String::new(),
        held_against: String::new(),
        seeds: 1,
        live: true,
        parameters: Vec::new(),
        defaults: Vec::new(),
        cases: vec![Case {
            settings: Vec::new(),
            plan,
        }],
        gates: vec![Gate {
            figure: "ratio".into(),
            cases: Vec::new(),
            over: Vec::new(),
            engine: None,
            limit: Limit::AtMost(1.5),
            goal: None,
        }],
    }
}

fn exported(scenario: &Scenario, target: Target) -> BTreeMap<String, String> {
    let dir = tempfile::tempdir().unwrap();
    let written = export::write(scenario, target, dir.path(), false).unwrap();
    written
        .into_iter()
        .map(|path| {
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            (name, fs::read_to_string(path).unwrap())
        })
        .collect()
}

const TARGETS: [(Target, &str); 3] = [
    (Target::Shadow, "shadow"),
    (Target::Kubernetes, "k8s"),
    (Target::Compose, "compose"),
];

#[test]
fn golden_files() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let write = std::env::var_os("TESTNET_GOLDEN").is_some_and(|word| word == "write");
    let mut differs = Vec::new();
    for scenario in [swarm(), dht()] {
        for (target, folder) in TARGETS {
            for (name, text) in exported(&scenario, target) {
                let path = root.join(&scenario.name).join(folder).join(name);
                if write {
                    fs::create_dir_all(path.parent().unwrap()).unwrap();
                    fs::write(&path, text).unwrap();
                } else if fs::read_to_string(&path).unwrap_or_default() != text {
                    differs.push(path);
                }
            }
        }
    }
    assert!(
        differs.is_empty(),
        "not as in the golden files; look, and write them anew with TESTNET_GOLDEN=write: \
         {differs:#?}"
    );
}

// ---- Shadow ------------------------------------------------------------------------------------

fn yaml(text: &str) -> Vec<Yaml> {
    YamlLoader::load_from_str(text).unwrap()
}

fn words(yaml: &Yaml) -> Vec<&str> {
    yaml.as_vec()
        .unwrap()
        .iter()
        .map(|word| word.as_str().unwrap())
        .collect()
}

fn after<'a>(words: &[&'a str], option: &str) -> Option<&'a str> {
    let at = words.iter().position(|word| *word == option)?;
    words.get(at + 1).copied()
}

#[test]
fn shadow_has_the_scenarios_numbers() {
    let scenario = swarm();
    let files = exported(&scenario, Target::Shadow);
    let config = &yaml(&files["shadow.yaml"])[0];
    assert_eq!(config["general"]["seed"].as_i64(), Some(1));
    // Peers start at 15 s, and the limit counts from there.
    assert_eq!(config["general"]["stop_time"].as_str(), Some("615000 ms"));
    assert_eq!(
        config["network"]["use_shortest_path"].as_bool(),
        Some(false)
    );
    assert_eq!(
        config["network"]["graph"]["file"]["path"].as_str(),
        Some("network.gml")
    );
    let hosts = config["hosts"].as_hash().unwrap();
    let names: Vec<&str> = hosts.keys().map(|key| key.as_str().unwrap()).collect();
    assert_eq!(names.len(), 1 + 2 + 8 + 2);
    let rows = [
        ("router-0", None, None, "0 ms"),
        ("seed-1", Some("32000000 bit"), None, "5000 ms"),
        (
            "peer-0",
            Some("8000000 bit"),
            Some("64000000 bit"),
            "15000 ms",
        ),
        (
            "peer-3",
            Some("8000000 bit"),
            Some("64000000 bit"),
            "16500 ms",
        ),
        ("slow-peer-1", Some("2000004 bit"), None, "16500 ms"),
    ];
    for (name, up, down, start) in rows {
        let host = &config["hosts"][name];
        assert_eq!(host["bandwidth_up"].as_str(), up, "{name}");
        assert_eq!(host["bandwidth_down"].as_str(), down, "{name}");
        let process = &host["processes"][0];
        assert_eq!(process["start_time"].as_str(), Some(start), "{name}");
        assert_eq!(process["path"].as_str(), Some("mainswarm"));
        assert_eq!(process["expected_final_state"]["exited"].as_i64(), Some(0));
        let words = words(&process["args"]);
        assert_eq!(after(&words, "--network"), Some("private"));
        assert!(words.contains(&"--json") && !words.contains(&"--up"));
    }
    let router = config["hosts"]["router-0"]["ip_addr"].as_str().unwrap();
    let seed = words(&config["hosts"]["seed-0"]["processes"][0]["args"]);
    assert_eq!(
        after(&seed, "--bootstrap"),
        Some(&*format!("{router}:6881"))
    );
    assert_eq!(after(&seed, "--piece-size"), Some("32768"));
    let stays = words(&config["hosts"]["peer-0"]["processes"][0]["args"]);
    let leaves = words(&config["hosts"]["slow-peer-0"]["processes"][0]["args"]);
    assert!(stays.contains(&"--seed") && !leaves.contains(&"--seed"));
    assert!(config["hosts"]["slow-peer-0"]["processes"][0]["shutdown_time"].is_badvalue());
    let addresses: std::collections::BTreeSet<&str> = names
        .iter()
        .map(|name| config["hosts"][*name]["ip_addr"].as_str().unwrap())
        .collect();
    assert_eq!(addresses.len(), names.len());
    assert!(addresses.iter().all(|ip| ip.starts_with("10.")));
}

/// A GML graph: nodes by id, edges by (source, target) with latency in microseconds and loss.
struct Gml {
    nodes: Vec<i64>,
    edges: BTreeMap<(i64, i64), (i64, f64)>,
}

fn gml(text: &str) -> Gml {
    let mut tokens = Vec::new();
    let mut rest = text;
    while let Some(start) = rest.find(|c: char| !c.is_whitespace()) {
        rest = &rest[start..];
        let end = match rest.strip_prefix('"') {
            Some(inner) => inner.find('"').unwrap() + 2,
            None => rest.find(char::is_whitespace).unwrap_or(rest.len()),
        };
        tokens.push(rest[..end].trim_matches('"'));
        rest = &rest[end..];
    }
    assert_eq!(&tokens[..2], ["graph", "["]);
    assert_eq!(tokens.last(), Some(&"]"));
    let mut graph = Gml {
        nodes: Vec::new(),
        edges: BTreeMap::new(),
    };
    let mut at = 2;
    while tokens[at] != "]" {
        if tokens[at + 1] != "[" {
            at += 2;
            continue;
        }
        let kind = tokens[at];
        let mut fields = BTreeMap::new();
        at += 2;
        while tokens[at] != "]" {
            fields.insert(tokens[at], tokens[at + 1]);
            at += 2;
        }
        at += 1;
        let number = |key: &str| fields[key].parse::<i64>().unwrap();
        if kind == "node" {
            graph.nodes.push(number("id"));
        } else {
            let latency = fields["latency"]
                .strip_suffix(" us")
                .unwrap()
                .parse()
                .unwrap();
            let loss = fields["packet_loss"].parse().unwrap();
            graph
                .edges
                .insert((number("source"), number("target")), (latency, loss));
        }
    }
    graph
}

#[test]
fn the_graph_has_five_regions_half_a_round_trip_apart() {
    let files = exported(&swarm(), Target::Shadow);
    let graph = gml(&files["network.gml"]);
    assert_eq!(graph.nodes, [0, 1, 2, 3, 4]);
    // Ten pairs and five regions within themselves.
    assert_eq!(graph.edges.len(), 15);
    let rows = [
        ((0, 0), 22_500),
        ((0, 1), 55_000),
        ((1, 4), 145_000),
        ((2, 3), 150_000),
    ];
    for (pair, micros) in rows {
        assert_eq!(graph.edges[&pair], (micros, 0.01), "{pair:?}");
    }
    let one = gml(&exported(&dht(), Target::Shadow)["network.gml"]);
    assert_eq!(one.nodes, [0]);
    assert_eq!(one.edges, BTreeMap::from([((0, 0), (20_000, 0.0))]));
}

#[test]
fn a_dht_in_shadow() {
    let files = exported(&dht(), Target::Shadow);
    let config = &yaml(&files["shadow.yaml"])[0];
    let hosts = config["hosts"].as_hash().unwrap();
    let count = |class: &str| {
        let names = hosts.keys().map(|key| key.as_str().unwrap());
        names.filter(|name| name.starts_with(class)).count()
    };
    // Announcers are nodes as well.
    assert_eq!(
        (count("router-"), count("node-"), count("announcer-")),
        (2, 25, 3)
    );
    let lookups: usize = hosts
        .iter()
        .filter(|(name, _)| name.as_str().unwrap().starts_with("seeker-"))
        .map(|(_, host)| host["processes"].as_vec().unwrap().len())
        .sum();
    assert_eq!(lookups, 6);
    let node = words(&config["hosts"]["node-24"]["processes"][0]["args"]);
    assert_eq!(&node[..2], ["dht", "node"]);
    assert_eq!(
        node.iter().filter(|word| **word == "--bootstrap").count(),
        2
    );
    let shares = words(&config["hosts"]["announcer-2"]["processes"][0]["args"]);
    assert_eq!(shares[1], "../../../content/key-2.bin");
    let seeks = words(&config["hosts"]["seeker-0"]["processes"][0]["args"]);
    assert_eq!(&seeks[..2], ["dht", "peers"]);
    assert_eq!(seeks[2].len(), 40);
}

// ---- containers ----------------------------------------------------------------------------------

#[test]
fn kubernetes_has_the_scenarios_numbers() {
    let files = exported(&swarm(), Target::Kubernetes);
    let documents = yaml(&files["kubernetes.yaml"]);
    assert_eq!(documents[0]["kind"].as_str(), Some("Service"));
    assert_eq!(documents[0]["spec"]["clusterIP"].as_str(), Some("None"));
    let jobs: BTreeMap<&str, &Yaml> = documents[1..]
        .iter()
        .map(|job| (job["metadata"]["name"].as_str().unwrap(), job))
        .collect();
    let rows = [
        ("testnet-small-crowd-router", 1, None, "ms=$((0 + i * 0))"),
        (
            "testnet-small-crowd-seed",
            2,
            Some("--up 4000000"),
            "ms=$((5000 + i * 0))",
        ),
        (
            "testnet-small-crowd-peer",
            8,
            Some("--up 1000000 --down 8000000"),
            "ms=$((15000 + i * 500))",
        ),
        (
            "testnet-small-crowd-slow-peer",
            2,
            Some("--up 250001"),
            "ms=$((16500 + i * 0))",
        ),
    ];
    assert_eq!(jobs.len(), rows.len());
    for (name, count, rates, start) in rows {
        let spec = &jobs[name]["spec"];
        assert_eq!(spec["completionMode"].as_str(), Some("Indexed"));
        assert_eq!(spec["completions"].as_i64(), Some(count), "{name}");
        assert_eq!(spec["parallelism"].as_i64(), Some(count), "{name}");
        assert_eq!(spec["activeDeadlineSeconds"].as_i64(), Some(615));
        let container = &spec["template"]["spec"]["containers"][0];
        assert_eq!(container["env"][0]["name"].as_str(), Some("TESTNET_SEED"));
        assert_eq!(container["env"][0]["value"].as_str(), Some("1"));
        let shell = container["args"][0].as_str().unwrap();
        assert!(shell.contains(start), "{name}: {shell}");
        match rates {
            Some(rates) => assert!(shell.contains(rates), "{name}: {shell}"),
            None => assert!(!shell.contains("--up"), "{name}: {shell}"),
        }
        let joins = shell.contains("--bootstrap testnet-small-crowd-router:6881");
        assert_eq!(joins, !name.ends_with("router"), "{name}: {shell}");
    }
}

#[test]
fn compose_has_the_scenarios_numbers() {
    let files = exported(&swarm(), Target::Compose);
    let compose = &yaml(&files["compose.yaml"])[0];
    let services = compose["services"].as_hash().unwrap();
    assert_eq!(services.len(), 4);
    for (class, count) in [("router", 1), ("seed", 2), ("peer", 8), ("slow-peer", 2)] {
        let service = &compose["services"][class];
        assert_eq!(
            service["deploy"]["replicas"].as_i64(),
            Some(count),
            "{class}"
        );
        assert_eq!(service["environment"]["TESTNET_SEED"].as_str(), Some("1"));
        let shell = service["command"][2].as_str().unwrap();
        // Every dollar sign is doubled: compose would else put its own variables in.
        assert!(!shell.replace("$$", "").contains('$'), "{shell}");
    }
    let lost = &files["compose.yaml"];
    for words in [
        "choker's scaling",
        "latency model",
        "Loss: 1 %",
        "count",
        "magnet link",
    ] {
        assert!(
            lost.lines()
                .any(|line| line.starts_with('#') && line.contains(words)),
            "{words}"
        );
    }
}

/// The shell texts are given to a real shell, with a `mainswarm` that prints its arguments.
#[test]
fn containers_shells_run() {
    let dir = tempfile::tempdir().unwrap();
    let fake = dir.path().join("mainswarm");
    fs::write(&fake, "#!/bin/sh\nfor word; do echo \"<$word>\"; done\n").unwrap();
    let made = Command::new("chmod").args(["+x"]).arg(&fake).status();
    if !made.is_ok_and(|status| status.success()) {
        println!("skipped: no chmod here");
        return;
    }
    for (scenario, class, expected) in [
        (
            swarm(),
            "seed",
            "<share>\n<file.bin>\n<--name>\n<file.bin>\n<--piece-size>\n<32768>\n",
        ),
        (swarm(), "peer", "<get>\n<magnet:?xt=urn:btih:"),
        (dht(), "announcer", "<share>\n<key-1.bin>\n"),
        (dht(), "seeker", "<dht>\n<peers>\n<"),
    ] {
        let files = exported(&scenario, Target::Kubernetes);
        let name = format!("testnet-{}-{class}", scenario.name);
        let documents = yaml(&files["kubernetes.yaml"]);
        let job = documents
            .iter()
            .find(|job| job["metadata"]["name"].as_str() == Some(&name));
        let args = &job.unwrap()["spec"]["template"]["spec"]["containers"][0]["args"];
        // Nobody waits for its time here.
        let shell = args[0].as_str().unwrap().replace("sleep ", "true ");
        let path = format!(
            "{}:{}",
            dir.path().display(),
            std::env::var("PATH").unwrap()
        );
        let output = Command::new("sh")
            .args(["-ec", &shell])
            .current_dir(dir.path())
            .env("PATH", path)
            .env("JOB_COMPLETION_INDEX", "1")
            .env("TESTNET_SEED", "7")
            .output()
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{class}: {errors}");
        let header = format!(
            "{{\"testnet\":\"testnet-{}\",\"class\":\"{class}\",\"index\":1,\"seed\":8}}\n",
            scenario.name
        );
        assert!(text.starts_with(&header), "{class}: {text}");
        assert!(text.contains(expected), "{class}: {text}");
    }
    assert_eq!(
        fs::metadata(dir.path().join("file.bin")).unwrap().len(),
        64 * 32 * 1024
    );
}

#[test]
fn what_cannot_be_exported_is_an_error_that_says_so() {
    type Change = fn(&mut Plan);
    let rows: [(&str, Scenario, Change); 11] = [
        ("behaviour FreeRider", swarm(), |plan| {
            plan.classes[1].behaviour = Behaviour::FreeRider;
        }),
        ("client-server", swarm(), |plan| {
            plan.swarm.as_mut().unwrap().architecture = Architecture::ClientServer;
        }),
        ("arrivals", swarm(), |plan| {
            plan.classes[1].arrivals = Some(1.0)
        }),
        ("leaves_at", swarm(), |plan| {
            plan.classes[0].leaves_at = Some(Duration::from_secs(9))
        }),
        ("seeds_for", swarm(), |plan| {
            plan.classes[0].seeds_for = Some(Duration::ZERO)
        }),
        ("leaves_at_copies", swarm(), |plan| {
            plan.classes[0].leaves_at_copies = Some(1.0)
        }),
        ("without a seed", swarm(), |plan| {
            plan.classes[0].complete = false
        }),
        ("session", dht(), |plan| {
            plan.dht.as_mut().unwrap().session = Session::Exponential {
                median: Duration::from_secs(60),
            };
        }),
        ("Partition", dht(), |plan| {
            plan.events.push(TimedEvent {
                at: Duration::ZERO,
                action: Action::Partition(Duration::from_secs(1)),
            });
        }),
        ("announces = 28 by 28 nodes", dht(), |plan| {
            plan.dht.as_mut().unwrap().announces = 28;
        }),
        ("attack", dht(), |plan| {
            plan.attack = Some(Default::default())
        }),
    ];
    for (words, mut scenario, change) in rows {
        change(&mut scenario.cases[0].plan);
        let dir = tempfile::tempdir().unwrap();
        for (target, _) in TARGETS {
            let error = export::write(&scenario, target, dir.path(), false).unwrap_err();
            assert!(matches!(error, ExportError::Unsupported { .. }));
            assert!(error.to_string().contains(words), "{words}: {error}");
        }
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    let error = export::write(&swarm(), Target::Shadow, &file.join("x"), false).unwrap_err();
    assert!(error.to_string().contains("-o"), "{error}");
}

#[test]
fn the_tools_take_the_files() {
    let dir = tempfile::tempdir().unwrap();
    export::write(&swarm(), Target::Compose, dir.path(), false).unwrap();
    export::write(&swarm(), Target::Shadow, dir.path(), false).unwrap();
    export::write(&swarm(), Target::Kubernetes, dir.path(), false).unwrap();
    let resources = "resources: [kubernetes.yaml]\n";
    fs::write(dir.path().join("kustomization.yaml"), resources).unwrap();
    let tries: [(&str, &[&str], &[&str]); 3] = [
        ("kubectl", &["kustomize", "--help"], &["kustomize", "."]),
        (
            "docker",
            &["compose", "version"],
            &["compose", "-f", "compose.yaml", "config", "-q"],
        ),
        ("shadow", &["--version"], &["--show-config", "shadow.yaml"]),
    ];
    for (program, probe, check) in tries {
        let probe = Command::new(program).args(probe).output();
        if !probe.is_ok_and(|output| output.status.success()) {
            println!("skipped: {program} does not run here");
            continue;
        }
        let output = Command::new(program)
            .args(check)
            .current_dir(dir.path())
            .output()
            .unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{program}: {errors}");
    }
}

/// Whether every reader of YAML, shells and terminals takes it for text of one line.
fn prints(c: char) -> bool {
    !c.is_control() && !('\u{2028}'..='\u{202e}').contains(&c) && !"\u{feff}\u{ffff}".contains(c)
}

#[test]
fn a_title_stays_in_its_comment() {
    for (mut scenario, folder) in [(swarm(), "small-crowd"), (dht(), "cold")] {
        for (target, _) in TARGETS {
            let plain = exported(&scenario, target);
            let title = scenario.title.clone();
            for end in [
                "\u{2028}", "\u{2029}", "\u{85}", "\r", "\n", "\u{c}", "\0", "\u{1b}[",
            ] {
                let own = "{kind: Pod, include: [evil.yaml]}";
                scenario.title = format!("x{end}---{end}{own}{end}---{end}#");
                scenario.cases[0].settings = vec![("key".into(), format!("a{end}b: 1{end}#"))];
                for (name, text) in exported(&scenario, target) {
                    let strange: Vec<char> =
                        text.chars().filter(|c| !prints(*c) && *c != '\n').collect();
                    assert_eq!(strange, [' '; 0], "{folder}/{name}, {end:?}");
                    if name.ends_with(".yaml") {
                        assert_eq!(yaml(&text), yaml(&plain[&name]), "{folder}/{name}, {end:?}");
                    }
                }
            }
            scenario.title = title;
            scenario.cases[0].settings.clear();
        }
    }
}

#[test]
fn only_what_an_export_wrote_is_replaced() {
    let theirs = [
        (Target::Shadow, "network.gml", "graph [\n  directed 0\n]\n"),
        (Target::Shadow, "prepare.sh", "#!/bin/sh\nset -eu\n"),
        (
            Target::Shadow,
            "shadow.yaml",
            "# mine\ngeneral:\n  seed: 7\n",
        ),
        (
            Target::Compose,
            "Dockerfile",
            "# Mine\nFROM debian:stable-slim\nRUN id\n",
        ),
        (Target::Compose, "compose.yaml", ""),
        (Target::Kubernetes, "kubernetes.yaml", "\u{feff}"),
    ];
    let scenario = swarm();
    for (target, name, text) in theirs {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(name);
        let write = |force| export::write(&scenario, target, dir.path(), force);
        fs::write(&path, text).unwrap();
        assert!(matches!(write(false), Err(ExportError::Foreign(at)) if at == path));
        assert_eq!(fs::read_to_string(&path).unwrap(), text);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "{name}");
        write(true).unwrap();
        // Its own files are replaced, also by those of another scenario.
        export::write(&dht(), target, dir.path(), false).unwrap();
        write(false).unwrap();
        let own = fs::read_to_string(&path).unwrap();
        for changed in [
            format!("{own}# mine\n"),
            own.replacen('1', "77", 1),
            own.clone() + &own,
        ] {
            fs::write(&path, &changed).unwrap();
            let error = write(false).unwrap_err();
            assert!(error.to_string().contains("--force"), "{name}: {error}");
            assert_eq!(fs::read_to_string(&path).unwrap(), changed, "{name}");
        }
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        assert!(
            matches!(write(false), Err(ExportError::Foreign(_))),
            "{name}"
        );
    }
}
