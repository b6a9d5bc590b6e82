//! Files that are right, files that are wrong, and the catalogue.

use std::{
    collections::BTreeSet,
    fs,
    path::Path,
    time::{Duration, Instant},
};

use super::*;
use crate::sim::Delay;

const GOOD: &str = r#"
id = "S99"
title = "A small swarm"
seeds = 3

[network]
latency = "20ms"
loss = 0

[swarm]
pieces = 100
piece_len = "16KiB"
file_time = "100s"

[class.seed]
count = 1
has = "everything"
up = "10x"

[class.peer]
count = 10
up = "1x"

[class.rider]
share = 0.2
of = "peer"
behaviour = "free-rider"

[[event]]
at = "5min"
partition = "30min"

[vary]
"class.peer.count" = [10, 20]
"class.rider.share" = [0, 0.5]

[quick]
"class.peer.count" = 10
seeds = 1

[live]
"swarm.file_time" = "10s"

[[gate]]
figure = "ratio"
where = { "class.peer.count" = 20 }
at_most = 1.5
goal = 1.1

[[gate]]
figure = "mean_seconds"
over = { "class.rider.share" = 0 }
at_most = 2
engine = "live"
"#;

fn read(text: &str, choice: &Choice) -> Result<Scenario, String> {
    parse("mine", "mine.toml", text, choice).map_err(|error| error.to_string())
}

fn set(values: &[&str]) -> Choice {
    Choice {
        set: values.iter().map(ToString::to_string).collect(),
        ..Choice::default()
    }
}

#[test]
fn a_file_is_read_into_cases() {
    let scenario = read(GOOD, &Choice::default()).unwrap();
    assert_eq!((scenario.id.as_deref(), scenario.seeds), (Some("S99"), 3));
    assert!(scenario.live);
    let settings: Vec<_> = scenario
        .cases
        .iter()
        .map(|case| format!("{}/{}", case.settings[0].1, case.settings[1].1))
        .collect();
    assert_eq!(settings, ["10/0", "10/0.5", "20/0", "20/0.5"]);

    let plan = &scenario.cases[3].plan;
    assert_eq!(
        plan.network.latency,
        Delay::Constant(Duration::from_millis(20))
    );
    // 100 pieces of 16 KiB in 100 s: u is 16 KiB/s.
    assert_eq!(plan.classes[0].up, Some(163_840.0));
    assert!(plan.classes[0].complete && !plan.classes[1].complete);
    // Half of twenty peers have become riders, and nobody was lost.
    assert_eq!(plan.sizes(), [1, 10, 10]);
    assert_eq!(plan.leechers(), 20);
    assert_eq!(plan.classes[2].behaviour, Behaviour::FreeRider);
    assert_eq!(plan.events[0].at, Duration::from_secs(300));
    let half_hour = Duration::from_secs(1800);
    assert_eq!(plan.events[0].action, Action::Partition(half_hour));

    let [first, second] = &scenario.gates[..] else {
        panic!("{:?}", scenario.gates);
    };
    assert_eq!(
        first.to_string(),
        "ratio at most 1.5 where class.peer.count = 20"
    );
    assert_eq!(
        second.to_string(),
        "mean_seconds at most 2 times that of class.rider.share = 0"
    );
    let about = |gate: &Gate| -> Vec<bool> {
        let cases = scenario.cases.iter();
        cases.map(|case| gate.is_about(&case.settings)).collect()
    };
    assert_eq!(about(first), [false, false, true, true]);
    assert_eq!(about(second), [true; 4]);
    let cases = &scenario.cases;
    assert!(second.divides(&cases[2].settings, &cases[3].settings));
    assert!(!second.divides(&cases[0].settings, &cases[3].settings));
    assert!(!second.divides(&cases[3].settings, &cases[3].settings));
    assert!(second.is_for(Engine::Live) && !second.is_for(Engine::Sim));
}

#[test]
fn arguments_replace_what_the_file_says() {
    let cases = |values: &[&str]| {
        let scenario = read(GOOD, &set(values)).unwrap();
        let cases = scenario.cases.into_iter();
        cases.map(|case| case.plan.leechers()).collect::<Vec<_>>()
    };
    assert_eq!(cases(&["class.peer.count=30"]), [30, 30]);
    assert_eq!(cases(&["peer.count=7,8", "share=0"]), [7, 8]);
    let pieces = read(GOOD, &set(&["pieces=50"])).unwrap();
    assert_eq!(pieces.cases[0].plan.swarm.as_ref().unwrap().pieces, 50);
    assert!(
        pieces
            .parameters
            .contains(&("swarm.pieces".into(), "50".into()))
    );
    // A list for what did not vary makes it vary.
    let more = read(GOOD, &set(&["slots=2,4,8"])).unwrap();
    assert_eq!(more.cases.len(), 12);

    let live = Choice {
        engine: Engine::Live,
        quick: true,
        set: Vec::new(),
    };
    let live = read(GOOD, &live).unwrap();
    assert_eq!((live.cases.len(), live.seeds), (2, 1));
    let swarm = live.cases[0].plan.swarm.as_ref().unwrap();
    assert_eq!(swarm.file_time, Duration::from_secs(10));

    let rows = [
        (
            "count=3",
            "`count` may be any of class.seed.count, class.peer.count",
        ),
        ("pices=3", "did you mean `pieces`?"),
        (
            "peers=3",
            "unknown key `peers`; did you mean `class.peer.count`?",
        ),
        ("peer=3", "did you mean `class.peer.count`?"),
        ("riders=3", "did you mean `class.rider.share`?"),
        ("swarm.pices=3", "did you mean `swarm.pieces`?"),
        ("dht.nodes=3", "no such table"),
        (
            "pieces=0",
            "--set pieces=0: `swarm.pieces` cannot be `0`; it takes a whole number, 1 to",
        ),
        ("share=1.5", "it takes a share, 0 to 1"),
        ("behaviour=tyran", "did you mean `tyrant`?"),
        ("pieces", "write it like `nodes=1000`"),
        ("event.1.kill=0.5", "unknown key"),
    ];
    for (argument, part) in rows {
        let error = read(GOOD, &set(&[argument])).unwrap_err();
        assert!(error.contains(part), "{argument}: {error}");
    }
}

#[test]
fn wrong_files_say_where_and_what_to_do() {
    // (what to replace, by what, where, a part of the message)
    let rows = [
        (
            "pieces = 100",
            "peices = 100",
            "mine.toml:11:1: unknown key of [swarm] `peices`; did you mean `pieces`?",
        ),
        (
            "pieces = 100",
            "pieces = 0",
            "mine.toml:11:10: `swarm.pieces` cannot be `0`; it takes a whole number, 1 to 65536",
        ),
        (
            "pieces = 100",
            "pieces = [1, 2]",
            "mine.toml:11:10: `swarm.pieces` has several values; to run one case for each",
        ),
        (
            "pieces = 100",
            "pieces = 1979-05-27",
            "mine.toml:11:10: `swarm.pieces` has a value that no key takes",
        ),
        ("pieces = 100", "pieces = ", "mine.toml:11:"),
        (
            "pieces = 100",
            "pieces = 99999999999999999999",
            "`swarm.pieces` cannot be `100000000000000000000`; it takes a whole number, 1 to 65536",
        ),
        (
            "pieces = 100",
            "pieces = 100\npieces = 200",
            "mine.toml:12:1: duplicate key `pieces`: line 11 has it already; keep one of them",
        ),
        ("\"16KiB\"", "\"1PiB\"", "it takes a size such as"),
        (
            "pieces = 100",
            "pieces = 65536\nslots = 1",
            "mine.toml:13:13: a file of 4 GiB",
        ),
        ("\"100s\"", "\"soon\"", "it takes a duration such as"),
        (
            "\"100s\"",
            "120",
            "`swarm.file_time` cannot be `120`; it takes a duration such as \"2min\", 1s to 366days",
        ),
        ("\"100s\"", "\"5M\"", "it takes a duration"),
        (
            "up = \"1x\"",
            "up = \"1x\"\njoin_at = \"25h\"",
            "class `peer` comes when the run has ended",
        ),
        (
            "\"20ms\"",
            "\"geo5\"",
            "mine.toml:7:11: `network.latency` cannot be `geo5`; it takes \"geo-5\", \"lognormal\"",
        ),
        (
            "has = \"everything\"",
            "has = \"nothing\"",
            "mine.toml:10:2: a swarm without a seed",
        ),
        (
            "has = \"everything\"",
            "has = \"all\"",
            "unknown value `all` of `class.seed.has`; allowed: everything, nothing",
        ),
        (
            "up = \"10x\"",
            "up = 10",
            "mine.toml:18:6: `class.seed.up` cannot be `10`; it takes a rate: \"2x\"",
        ),
        ("share = 0.2", "share = 1.2", "it takes a share, 0 to 1"),
        (
            "of = \"peer\"",
            "of = \"pear\"",
            "mine.toml:26:6: unknown class `pear`; did you mean `peer`?",
        ),
        (
            "of = \"peer\"",
            "",
            "a share of nothing; add `of = \"NAME\"`",
        ),
        (
            "of = \"peer\"",
            "of = \"peer\"\ncount = 3",
            "`share` beside `count`: both say how many",
        ),
        (
            "up = \"1x\"",
            "up = \"1x\"\nleaves_at_copies = 2",
            "mine.toml:23:1: only a seed leaves by what it has sent; add `has",
        ),
        (
            "up = \"10x\"",
            "leaves_at_copies = 2\nbehaviour = \"free-rider\"",
            "mine.toml:18:1: members that upload nothing never leave by what they have sent",
        ),
        (
            "up = \"10x\"",
            "behaviour = \"seeds-only\"",
            "mine.toml:18:1: a way to get pieces, of a class that has everything",
        ),
        (
            "up = \"1x\"",
            "down = \"stalled\"\nseeds_for = \"1s\"",
            "mine.toml:23:1: a member whose connection stands still never has everything",
        ),
        (
            "up = \"1x\"",
            "behaviour = \"seed-slots\"\nseeds_for = \"1s\"",
            "mine.toml:23:1: a `seed-slots` member begins anew",
        ),
        (
            "share = 0.2",
            "share = 0.2\njoin_at = \"1min\"",
            "mine.toml:26:1: members taken from class `peer` come when it says; write it in",
        ),
        (
            "up = \"1x\"",
            "join_at = \"1min\"\njoin_within = \"10s\"\nleaves_at = \"70s\"",
            "mine.toml:24:1: they leave before all have joined",
        ),
        (
            "count = 10\n",
            "count = 1000000\n",
            "a whole number, 0 to 100000",
        ),
        (
            "[class.peer]",
            "[class.Peer]",
            "mine.toml:20:8: `Peer` is not a class name",
        ),
        (
            "[class.peer]",
            "[clas.peer]",
            "unknown key or table `clas`; did you mean `class`?",
        ),
        (
            "partition = \"30min\"",
            "",
            "an event in which nothing happens",
        ),
        ("partition = \"30min\"", "kill = 0.5", "there is no [dht]"),
        (
            "partition = \"30min\"",
            "partition = \"30min\"\n[[event]]\nat = \"1s\"\nkill = 0.5",
            "there is no [dht]",
        ),
        (
            "partition = \"30min\"",
            "kill = 0.5\n[dht]\nnodes = 100",
            "a swarm runs beside it",
        ),
        ("at = \"5min\"", "at = \"24h\"", "after the run has ended"),
        (
            "partition = \"30min\"",
            "partition = \"30min\"\nkill = 1",
            "an event does one thing",
        ),
        ("at = \"5min\"", "", "an event without a time"),
        (
            "\"class.peer.count\" = [10, 20]",
            "\"class.peer.cuont\" = [10, 20]",
            "mine.toml:34:1: unknown key `class.peer.cuont`; did you mean `class.peer.count`?",
        ),
        (
            "[10, 20]",
            "[10, -1]",
            "mine.toml:34:22: `class.peer.count` cannot be `-1`",
        ),
        (
            "\"class.peer.count\" = 10\n",
            "\"class.peer.count\" = \"x\"\n",
            "mine.toml:38:22: `class.peer.count` cannot be `x`",
        ),
        ("\"10s\"", "\"1us\"", "`swarm.file_time` cannot be `1us`"),
        (
            "figure = \"ratio\"",
            "figure = \"ration\"",
            "mine.toml:45:10: unknown figure `ration`; did you mean `ratio`?",
        ),
        (
            "figure = \"ratio\"",
            "figure = \"hops\"",
            "unknown figure `hops`",
        ),
        (
            "figure = \"ratio\"",
            "figure = \"ratio.rieder\"",
            "did you mean `ratio.rider`?",
        ),
        ("figure = \"ratio\"", "", "a gate without a figure"),
        (
            "at_most = 1.5",
            "at_most = 1.5\nat_least = 1",
            "write either `at_most` or `at_least`",
        ),
        ("at_most = 1.5", "at_most = \"a lot\"", "write a number"),
        ("goal = 1.1", "goal = 1.6", "would not pass the gate"),
        (
            "\"class.peer.count\" = 20 }",
            "\"swarm.pieces\" = 20 }",
            "mine.toml:46:11: `swarm.pieces` does not vary",
        ),
        (
            "\"class.peer.count\" = 20 }",
            "\"class.peer.count\" = 30 }",
            "no case has it",
        ),
        (
            "engine = \"live\"",
            "engine = \"real\"",
            "unknown engine `real`; allowed: sim, live",
        ),
        (
            "title = \"A small swarm\"",
            "",
            "a scenario without a title",
        ),
        (
            "seeds = 3",
            "seeds = 0",
            "mine.toml:4:9: `seeds` cannot be `0`",
        ),
        ("id = \"S99\"", "id = 99", "write a text in quotes"),
        ("[live]", "[[live]]", "`live` is not one table"),
    ];
    let mut missed = Vec::new();
    for (from, to, part) in rows {
        assert!(GOOD.contains(from), "{from}");
        let text = GOOD.replacen(from, to, 1);
        let text = if part.contains("4 GiB") {
            text.replacen("16KiB", "64KiB", 1)
        } else {
            text
        };
        match read(&text, &Choice::default()) {
            Ok(_) => panic!("{to} was taken"),
            Err(error) if error.contains(part) => {}
            Err(error) => missed.push(format!("{to}: {error}")),
        }
    }
    assert!(missed.is_empty(), "{}", missed.join("\n"));
    let stream = "[swarm]\n[class.seed]\ncount = 1\nhas = \"everything\"\n[class.peer]\n\
                  arrivals = 0.1\njoin_within = \"1min\"\n";
    let stream = read(stream, &Choice::default()).unwrap_err();
    assert!(
        stream.contains("`arrivals` says when they come"),
        "{stream}"
    );
    let crowd = "title = \"x\"\n[swarm]\n[class.seed]\ncount = 1\nhas = \"everything\"\n\
                 [class.peer]\narrivals = 10\n";
    let crowd = read(crowd, &Choice::default()).unwrap_err();
    let part = "mine.toml:7:1: a swarm of 864001; the most is 100000; write fewer `arrivals`, or a \
                shorter `swarm.limit`";
    assert!(crowd.contains(part), "{crowd}");
    let nothing = read("title = \"x\"", &Choice::default()).unwrap_err();
    assert!(
        nothing.contains("mine.toml:1:1: nothing to run"),
        "{nothing}"
    );
    let vary = read("title = \"x\"\nvary = 3\n[dht]", &Choice::default()).unwrap_err();
    assert!(vary.contains("mine.toml:2:1: `vary` is no table"), "{vary}");
    let dht = |rest: &str| {
        let text = format!("title = \"x\"\n[dht]\nnodes = 100\n{rest}");
        read(&text, &Choice::default()).unwrap_err()
    };
    let rows = [
        ("routers = 100", "every node would be a router"),
        ("announces = 0", "lookups of keys that nobody announced"),
        ("[attack]\nkind = \"forge\"", "attackers without a number"),
        (
            "[attack]\nkind = \"eclipse\"\nshare = 0.1",
            "write `sybils = 32`",
        ),
        (
            "start = \"cold\"\n[attack]\nshare = 0.2",
            "mine.toml:4:1: an attack on a network that starts cold",
        ),
        (
            "dead = 0.99\n[vary]\nnodes = [1000, 200000]",
            "mine.toml:4:1: 200000 nodes and 19800000 dead entries; there is room for 16777214",
        ),
        (
            "session = \"exponential 1s\"\nlookup_within = \"24h\"\n[vary]\nnodes = [300]",
            "mine.toml:4:1: 300 nodes, of which up to 17966375 are replaced",
        ),
        (
            "lookups = 10000000\nlookup_within = \"1ms\"",
            "mine.toml:4:1: 10000000 lookups under way at once; the most is 1000000; write fewer, \
             or `lookup_within = \"100s\"`",
        ),
        (
            "announces = 200\n[attack]\nkind = \"eclipse\"\nsybils = 100000",
            "mine.toml:7:1: 20000000 Sybils: so many for each of 200 keys; the most is 1000000",
        ),
        (
            "announces = 200\n[attack]\nkind = \"eclipse\"\nids = \"bound\"\naddresses = 1000000",
            "mine.toml:8:1: 200000000 addresses",
        ),
        (
            "[[event]]\nat = \"1s\"\nnewcomers = 60000\n[[event]]\nat = \"2s\"\nnewcomers = 60000",
            "mine.toml:9:1: 120000 newcomers in all; the most is 100000",
        ),
        ("[class.a]\ncount = 1", "there is no [swarm]"),
        ("session = \"exponential\"", "\"weibull SHAPE SCALE\""),
        (
            "[[event]]\nat = \"1s\"\nkill = 0.5\nknowing = \"cache\"",
            "none come",
        ),
        (
            "[[event]]\nat = \"1s\"\nrouters_down = 2",
            "2 routers go down, and there are 1",
        ),
        ("[vary]\nnodes = [1, 2]", "`dht.nodes` cannot be `1`"),
        (
            "[vary]\nnodes = [2, 3]\nlookups = [1, 2]\n[attack]",
            "attackers without a number",
        ),
    ];
    for (rest, part) in rows {
        let error = dht(rest);
        assert!(error.contains(part), "{rest}: {error}");
    }
}

#[test]
fn combinations_are_all_or_named() {
    let dht = "title = \"x\"\n[dht]\n";
    let count = |rest: &str| {
        let scenario = read(&format!("{dht}{rest}"), &Choice::default());
        scenario.map(|scenario| scenario.cases.len())
    };
    assert_eq!(count(""), Ok(1));
    assert_eq!(
        count("[vary]\ndht.nodes = [10, 20]\nloss = [0, 0.1]"),
        Ok(4)
    );
    // Tables of their own: each is a product, and the same case is run once.
    let named = "[[vary]]\nnodes = 10\nloss = [0, 0.1]\n[[vary]]\nnodes = [20, 10]\nloss = 0";
    assert_eq!(count(named), Ok(3));
    let many: Vec<_> = (1..=40).map(|n| n.to_string()).collect();
    let many = many.join(", ");
    let error = count(&format!("[vary]\nlookups = [{many}]\nannounces = [{many}]"));
    assert!(error.unwrap_err().contains("more than 1000 combinations"));
    // What is far too much is refused before it is multiplied out.
    let many = vec!["7"; 20_000].join(", ");
    let long: Vec<_> = (1..=20_000).map(|n| n.to_string()).collect();
    let long = long.join(", ");
    let begun = Instant::now();
    let error = count(&format!("[vary]\nlookups = [{long}]\nannounces = [{long}]"));
    assert!(error.unwrap_err().contains("more than 1000 combinations"));
    assert!(begun.elapsed() < Duration::from_secs(5));
    // A value that is listed again is no other case.
    assert_eq!(count(&format!("[vary]\nlookups = [{many}]")), Ok(1));
}

#[test]
fn a_short_form_must_be_there() {
    let quick = Choice {
        quick: true,
        ..Choice::default()
    };
    let error = read("title = \"x\"\n[dht]\n", &quick).unwrap_err();
    assert!(
        error.contains("mine.toml:1:1: this scenario has no short form"),
        "{error}"
    );
    let with = "title = \"x\"\n[dht]\n[quick]\nnodes = 100\n";
    assert_eq!(
        read(with, &quick).unwrap().cases[0]
            .plan
            .dht
            .as_ref()
            .unwrap()
            .nodes,
        100
    );
}

#[test]
fn what_cannot_fit_into_memory_is_refused() {
    let text = "title = \"x\"\n[dht]\nnodes = 100\n[vary]\nnodes = [100, 4000000]\n";
    let fits_in = |text: &str, choice: &Choice, case: Option<usize>, gib: u64| {
        let cases = read(text, choice).unwrap().cases;
        let cases = case.map_or(&cases[..], |case| &cases[case..=case]);
        fits("mine.toml", text, choice, cases, gib << 30).map_err(|error| error.to_string())
    };
    let whole = Choice::default();
    let error = fits_in(text, &whole, None, 16).unwrap_err();
    let part = "mine.toml:5:9: a DHT of 4000000 nodes takes about 34.3 GiB of memory, and this \
                machine has 16 GiB; write at most 1864135, or";
    assert!(error.contains(part), "{error}");
    assert_eq!(fits_in(text, &whole, Some(0), 16), Ok(()));
    assert_eq!(fits_in(text, &whole, None, 40), Ok(()));
    assert_eq!(fits_in(text, &set(&["nodes=1000000"]), None, 9), Ok(()));
    let error = fits_in(text, &set(&["nodes=1000000"]), None, 8).unwrap_err();
    assert!(
        error.starts_with("--set nodes=1000000: a DHT of 1000000"),
        "{error}"
    );
}

#[test]
fn every_file_of_the_catalogue_is_there_and_sound() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
    let on_disk: BTreeSet<String> = fs::read_dir(folder)
        .unwrap()
        .filter_map(|entry| {
            let name = entry.unwrap().file_name().into_string().unwrap();
            name.strip_suffix(".toml").map(Into::into)
        })
        .collect();
    let built_in: BTreeSet<String> = catalogue::BUILT_IN
        .iter()
        .map(|(name, _)| (*name).into())
        .collect();
    assert_eq!(
        on_disk, built_in,
        "catalogue::BUILT_IN lists what is in scenarios/"
    );

    let mut ids = Vec::new();
    for (name, text) in catalogue::BUILT_IN {
        let choice = |engine, quick, set: &[String]| Choice {
            engine,
            quick,
            set: set.to_vec(),
        };
        let whole = parse(name, name, text, &choice(Engine::Sim, false, &[])).unwrap();
        let quick = parse(name, name, text, &choice(Engine::Sim, true, &[])).unwrap();
        assert!(quick.cases.len() <= whole.cases.len(), "{name}");
        assert_eq!(catalogue::load(name).unwrap().text, *text);
        let id = whole
            .id
            .clone()
            .unwrap_or_else(|| panic!("{name} has no id"));
        assert_eq!(catalogue::load(&id.to_lowercase()).unwrap().name, *name);
        ids.push(id);
        assert!(!whole.gates.is_empty(), "{name} asks for nothing");
        // A case that is named by its settings is the case that it was.
        for (of, quick) in [(whole.clone(), false), (quick, true)] {
            for case in &of.cases {
                let pinned: Vec<_> = case
                    .settings
                    .iter()
                    .map(|(key, value)| format!("{key}={value}"))
                    .collect();
                let again = parse(name, name, text, &choice(Engine::Sim, false, &pinned));
                let again = again.unwrap();
                let same = again
                    .cases
                    .iter()
                    .find(|other| other.settings == case.settings);
                let same = same.unwrap_or_else(|| panic!("{name}: {pinned:?}"));
                if !quick {
                    assert_eq!(same.plan, case.plan, "{name}: {pinned:?}");
                }
            }
        }
        if whole.live {
            parse(name, name, text, &choice(Engine::Live, false, &[])).unwrap();
            parse(name, name, text, &choice(Engine::Live, true, &[])).unwrap();
        }
    }
    let mut sorted = ids.clone();
    sorted.sort();
    sorted.dedup();
    assert_eq!(ids, sorted, "in the order of their numbers, none twice");
}

#[test]
fn unknown_scenarios_and_files() {
    let error = catalogue::load("dht-scal").unwrap_err().to_string();
    assert!(error.contains("did you mean `dht-scale`?"), "{error}");
    let error = catalogue::load("./nothing.toml").unwrap_err().to_string();
    assert!(error.contains("testnet list"), "{error}");
    let folder = tempfile::tempdir().unwrap();
    for bytes in [&b"\xff\xfe\x00junk"[..], b"a\0b"] {
        let file = folder.path().join("junk.toml");
        fs::write(&file, bytes).unwrap();
        let error = catalogue::load(file.to_str().unwrap()).unwrap_err();
        assert!(error.to_string().contains("not a text file"), "{error}");
    }
}

const BEGINS: &str = "## At the top of the file";

/// With `WRITE_README=1` it renews the file.
#[test]
fn the_readme_says_what_the_reader_goes_by() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios/README.md");
    if std::env::var_os("WRITE_README").is_some() {
        let readme = fs::read_to_string(&path).unwrap();
        let prose = readme.split(BEGINS).next().unwrap();
        fs::write(&path, format!("{prose}{}", reference())).unwrap();
    }
    let readme = fs::read_to_string(path).unwrap();
    assert!(reference().starts_with(BEGINS));
    assert!(
        readme.ends_with(&reference()),
        "scenarios/README.md is old: run this test with WRITE_README=1"
    );
}
