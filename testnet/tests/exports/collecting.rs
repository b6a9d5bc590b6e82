//! What the nodes of an exported scenario wrote, read back.

use std::{fs, path::PathBuf, time::Duration};

use mainswarm_testnet::{collect, scenario::Limit};

use crate::{dht, swarm};

fn got(seconds: f64) -> String {
    format!(
        "{{\"schema\":1,\"info_hash\":\"ab\",\"name\":\"file.bin\",\"path\":\"copy/file.bin\",\
         \"files\":[],\"bytes\":2097152,\"seconds\":{seconds},\"peers\":9,\"downloaded\":2097152,\
         \"uploaded\":5,\"wasted\":0,\"pieces\":64,\"pieces_reused\":0}}\n"
    )
}

#[test]
fn logs_of_every_runner_give_the_same_figures() {
    let scenario = swarm();
    // A file for each node, as Shadow has them; one of all, as the others print it.
    let (mut files, mut pods, mut compose) = (Vec::new(), String::new(), String::new());
    for (class, count) in [("seed", 2), ("peer", 8), ("slow-peer", 2)] {
        for index in 0..count {
            let line = match class {
                "seed" => "{\"schema\":1,\"info_hash\":\"ab\",\"magnet\":\"magnet:?x\"}\n".into(),
                "peer" => got(2.0 + f64::from(index) / 10.0),
                _ => got(9.0),
            };
            let header = |index| {
                format!(
                    "{{\"testnet\":\"testnet-{}\",\"class\":\"{class}\",\"index\":{index},\"seed\":{}}}\n",
                    scenario.name,
                    index + 5
                )
            };
            files.push((format!("{class}-{index}"), line.clone()));
            let pod = format!("[pod/testnet-small-crowd-{class}-{index}-x7k2p/node] ");
            pods += &format!("{pod}{}{pod}{line}", header(index));
            let prefix = format!("{class}-{}  | ", index + 1);
            compose += &format!("{prefix}{}{prefix}{line}", header(0));
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| -> PathBuf { dir.path().join(name) };
    for (host, line) in files {
        let folder = path("shadow/hosts").join(host);
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("mainswarm.1000.stdout"), line).unwrap();
        fs::write(folder.join("mainswarm.1000.exitcode"), "0").unwrap();
    }
    fs::write(path("pods.log"), pods).unwrap();
    fs::write(path("compose.log"), compose).unwrap();
    for name in ["shadow", "pods.log", "compose.log"] {
        let collected = collect::read(&scenario, 1, &[path(name)]).unwrap();
        assert_eq!(collected.bad_lines, [""; 0], "{name}");
        // The router's log is none of these.
        assert_eq!(collected.silent, ["router-0"], "{name}");
        let outcome = collected.outcome;
        let figures = &outcome.cases[0].runs[0].figures;
        assert_eq!(figures["complete"], 1.0, "{name}");
        assert_eq!(figures["seconds"], 9.0, "{name}");
        assert!((figures["seconds.peer"] - 2.35).abs() < 1e-9, "{name}");
        // Ten of them fetch 2 MiB from 8 + 8 + 0.5 MB/s.
        let fluid = 10.0 * 2_097_152.0 / 16_500_001.0;
        assert!((figures["bound_seconds"] - fluid).abs() < 1e-9, "{name}");
        // The slow ones come 1.5 s after the first.
        assert!(
            (figures["ratio"] - 10.5 / figures["lb_seconds"]).abs() < 1e-9,
            "{name}"
        );
        assert_eq!(outcome.verdicts[0].verdict, "fail");
        assert_eq!(outcome.cases[0].runs[0].series.completions.len(), 10);
    }
}

#[test]
fn bad_lines_are_named_and_the_rest_counts() {
    let scenario = swarm();
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("peer-4.log");
    let text = format!(
        "listening on 10.0.0.1\n{{\"broken\n{{\"other\":1}}\n\n{}",
        got(3.0)
    );
    fs::write(&log, text).unwrap();
    let collected = collect::read(&scenario, 1, &[dir.path().to_owned()]).unwrap();
    let whys: Vec<&str> = collected
        .bad_lines
        .iter()
        .map(|line| line.split("peer-4.log").nth(1).unwrap())
        .collect();
    assert!(whys[0].starts_with(":1: not JSON"), "{whys:?}");
    assert!(whys[1].starts_with(":2: "), "{whys:?}");
    assert!(whys[2].starts_with(":3: no line of a node"), "{whys:?}");
    assert_eq!(whys.len(), 3);
    let figures = &collected.outcome.cases[0].runs[0].figures;
    assert_eq!(figures["complete"], 0.1);
    assert_eq!(figures["starved"], 9.0);
    assert!(!figures.contains_key("ratio") && !figures.contains_key("seconds"));
    fs::write(&log, "nothing\n").unwrap();
    let error = collect::read(&scenario, 1, &[log]).unwrap_err().to_string();
    assert!(error.contains("--json"), "{error}");
    let error = collect::read(&scenario, 2, &[]).unwrap_err().to_string();
    assert!(error.contains("no number 2"), "{error}");
    let gone = dir.path().join("gone");
    let error = collect::read(&scenario, 1, &[gone])
        .unwrap_err()
        .to_string();
    assert!(error.contains("cannot read"), "{error}");
}

#[test]
fn logs_of_something_else_are_refused_and_silent_nodes_are_named() {
    let scenario = swarm();
    let dir = tempfile::tempdir().unwrap();
    let header = |run: &str, class: &str, index: usize, seed: usize| {
        let seed = seed + index;
        format!(
            "{class}-{index} {{\"testnet\":\"testnet-{run}\",\"class\":\"{class}\",\
             \"index\":{index},\"seed\":{seed}}}\n"
        )
    };
    let own = header(&scenario.name, "seed", 0, 1);
    let refused = |name: &str, text: String, part: &str| {
        let log = dir.path().join(name);
        fs::write(&log, text).unwrap();
        let error = collect::read(&scenario, 1, &[log]).unwrap_err().to_string();
        assert!(error.contains(part) && error.contains(name), "{error}");
    };
    let other = own.clone() + &header("another", "seed", 1, 1);
    refused(
        "other.log",
        other,
        "is of the run testnet-another, and testnet-",
    );
    let seeds = own.clone() + &header(&scenario.name, "seed", 1, 7);
    refused(
        "seeds.log",
        seeds,
        "with seed 7, and what was read before with seed 1",
    );
    let many = own.clone() + &header(&scenario.name, "peer", 99, 1);
    refused(
        "many.log",
        many,
        "is of peer 99, and the scenario has 8 of that class",
    );
    let class = own.clone() + &header(&scenario.name, "rider", 0, 1);
    refused("class.log", class, "is of rider 0, and the scenario has 0");

    let log = dir.path().join("own.log");
    fs::write(&log, own).unwrap();
    let collected = collect::read(&scenario, 1, &[log]).unwrap();
    let silent = &collected.silent;
    assert!(silent.contains(&"seed-1".into()) && !silent.contains(&"seed-0".into()));
    assert!(silent.contains(&"slow-peer-1".into()), "{silent:?}");
    let notes = collected.outcome.notes.join(" ");
    assert!(notes.contains("nodes wrote nothing: "), "{notes}");
}

#[test]
fn lookups_are_counted_in_files_and_in_one_stream() {
    let scenario = dht();
    let dir = tempfile::tempdir().unwrap();
    let hosts = dir.path().join("hosts");
    for (seeker, process, text) in [
        (0, 1000, "{\"schema\":1,\"peer\":\"10.0.0.9:6881\"}\n"),
        (0, 1001, ""),
        (
            1,
            1000,
            "{\"schema\":1,\"peer\":\"10.0.0.9:6881\"}\n{\"schema\":1,\"peer\":\"10.0.0.8:6881\"}\n",
        ),
        (2, 1000, "{\"schema\":1,\"peer\":\"10.0.0.9:6881\"}\n"),
    ] {
        let folder = hosts.join(format!("seeker-{seeker}"));
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join(format!("mainswarm.{process}.stdout")), text).unwrap();
    }
    let stream = dir.path().join("stream.log");
    let pod = "[pod/testnet-cold-seeker-3-abcde/node] ";
    let lines = [
        &format!(
            "{{\"testnet\":\"testnet-{}\",\"class\":\"seeker\",\"index\":3,\"seed\":4}}",
            scenario.name
        ),
        "{\"lookup\":\"ab\"}",
        "{\"schema\":1,\"peer\":\"10.0.0.9:6881\"}",
        "{\"lookup\":\"cd\"}",
    ];
    let lines: String = lines.iter().map(|line| format!("{pod}{line}\n")).collect();
    fs::write(&stream, lines).unwrap();
    // Six seekers look something up once each: of those that wrote nothing nothing is known.
    for (path, silent) in [(hosts.clone(), 3), (stream.clone(), 5)] {
        let collected = collect::read(&scenario, 1, &[path]).unwrap();
        assert_eq!(collected.bad_lines, [""; 0]);
        let seekers = collected.silent.iter();
        let seekers = seekers.filter(|name| name.starts_with("seeker-"));
        assert_eq!(seekers.count(), silent);
        let figures = &collected.outcome.cases[0].runs[0].figures;
        assert!(!figures.contains_key("success"), "{figures:?}");
    }
    for seeker in 3..6 {
        let folder = hosts.join(format!("seeker-{seeker}"));
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("mainswarm.1000.stdout"), "").unwrap();
    }
    // Three of seven: that of seeker 0 began twice.
    let collected = collect::read(&scenario, 1, &[hosts]).unwrap();
    let success = collected.outcome.cases[0].runs[0].figures["success"];
    assert_eq!(success, 3.0 / 7.0);
}

#[test]
fn lookups_that_are_not_heard_of_are_no_successes() {
    let mut scenario = dht();
    scenario.cases[0].plan.dht.as_mut().unwrap().lookups = 100;
    scenario.gates[0].figure = "success".into();
    scenario.gates[0].limit = Limit::AtLeast(0.99);
    let dir = tempfile::tempdir().unwrap();
    let peer = "{\"schema\":1,\"peer\":\"10.0.0.9:6881\"}\n";
    // Fifty seekers with two lookups each.
    for (seekers, success) in [(1, None), (49, None), (50, Some(0.5))] {
        for seeker in 0..seekers {
            fs::write(dir.path().join(format!("seeker-{seeker}.log")), peer).unwrap();
        }
        let collected = collect::read(&scenario, 1, &[dir.path().to_owned()]).unwrap();
        let outcome = collected.outcome;
        let figures = &outcome.cases[0].runs[0].figures;
        assert_eq!(figures.get("success").copied(), success, "{seekers}");
        assert_eq!(outcome.verdicts[0].verdict, "fail", "{seekers}");
    }
}

#[test]
fn times_that_cannot_be_are_no_figures() {
    let mut scenario = swarm();
    for class in &mut scenario.cases[0].plan.classes {
        (class.join_at, class.join_within) = (Duration::ZERO, Duration::ZERO);
    }
    let dir = tempfile::tempdir().unwrap();
    let collected = |seconds: &str| {
        for (class, count) in [("peer", 8), ("slow-peer", 2)] {
            for index in 0..count {
                let line = got(1.0).replace("\"seconds\":1,", &format!("\"seconds\":{seconds},"));
                assert!(line.contains(&format!(":{seconds},")), "{line}");
                fs::write(dir.path().join(format!("{class}-{index}.log")), line).unwrap();
            }
        }
        // Whose line says nothing is heard of all the same.
        fs::write(
            dir.path().join("seed-0.log"),
            "{\"magnet\":\"magnet:?x\"}\n",
        )
        .unwrap();
        collect::read(&scenario, 1, &[dir.path().to_owned()]).unwrap()
    };
    for seconds in ["-5", "0", "1e-300", "1e308", "-1e308"] {
        let collected = collected(seconds);
        assert_eq!(collected.bad_lines.len(), 10, "{seconds}");
        let why = &collected.bad_lines[0];
        assert!(why.contains("no download takes"), "{seconds}: {why}");
        let outcome = collected.outcome;
        let figures = &outcome.cases[0].runs[0].figures;
        assert_eq!(figures["complete"], 0.0, "{seconds}");
        assert!(!figures.contains_key("ratio"), "{seconds}: {figures:?}");
        assert_eq!(outcome.verdicts[0].verdict, "fail", "{seconds}");
    }
    // All come at once: the longest time is the run's.
    for (share, verdict) in [(0.1, "fail"), (0.95, "pass"), (1.1, "pass")] {
        let lb = collected("9").outcome.cases[0].runs[0].figures["lb_seconds"];
        let seconds = share * lb;
        let collected = collected(&seconds.to_string()).outcome;
        let (figures, notes) = (
            &collected.cases[0].runs[0].figures,
            collected.notes.join(" "),
        );
        assert_eq!(collected.verdicts[0].verdict, verdict, "{share}");
        assert_eq!(figures.contains_key("ratio"), share > 0.5, "{share}");
        assert_eq!(figures.contains_key("utilisation"), share > 0.5, "{share}");
        assert_eq!(notes.contains("are left out"), share < 0.5, "{notes}");
        assert_eq!(
            notes.contains("a burst at the start"),
            share == 0.95,
            "{notes}"
        );
    }
}
