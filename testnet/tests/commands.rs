//! The scenario commands as a user has them: what goes where, and how they end.

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};
#[cfg(unix)]
use std::{process::Stdio, thread, time::Duration};

use serde_json::Value;

/// A small swarm and a small DHT, so that a run takes a moment.
const SWARM: &str = r#"
title = "A few peers"
seeds = 2
[network]
latency = "20ms"
[swarm]
pieces = 32
piece_len = "16KiB"
file_time = "1min"
choke_interval = "1s"
optimistic_interval = "3s"
discovery = "told"
[class.seed]
count = 1
has = "everything"
up = "4x"
[class.peer]
count = 3
up = "1x"
[vary]
"class.peer.count" = [2, 4]
[[gate]]
figure = "ratio"
at_most = 3
[[gate]]
figure = "complete"
where = { "class.peer.count" = 4 }
at_least = 1
"#;

fn testnet(folder: &Path, line: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_testnet"))
        .args(line)
        .current_dir(folder)
        .output()
        .unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn lines(output: &Output) -> Vec<Value> {
    let text = stdout(output);
    let lines = text.lines().map(serde_json::from_str);
    lines.collect::<Result<_, _>>().unwrap()
}

#[test]
fn the_catalogue_is_listed_and_shown() {
    let folder = tempfile::tempdir().unwrap();
    let list = testnet(folder.path(), &["list"]);
    assert!(list.status.success());
    assert!(stdout(&list).contains("fig-2-23"));
    let objects = lines(&testnet(folder.path(), &["list", "--json"]));
    assert_eq!(objects[0]["id"], "S01");
    assert_eq!(objects[0]["engines"], serde_json::json!(["sim", "live"]));
    for object in &objects {
        let name = object["name"].as_str().unwrap();
        let shown = testnet(folder.path(), &["show", name]);
        // What is shown can be run as a file of one's own.
        let copy = folder.path().join("copy.toml");
        fs::write(&copy, &shown.stdout).unwrap();
        let again = testnet(folder.path(), &["show", "copy.toml"]);
        assert_eq!(again.stdout, shown.stdout);
    }
    let keys = testnet(folder.path(), &["keys"]);
    assert!(stdout(&keys).contains("| `piece_len` | a size such as"));
}

#[test]
fn what_is_wrong_is_said_with_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let wrong = SWARM.replace("pieces = 32", "peices = 32");
    fs::write(folder.path().join("mine.toml"), wrong).unwrap();
    fs::write(folder.path().join("right.toml"), SWARM).unwrap();
    let rows: [(&[&str], &str); 10] = [
        (
            &["run", "right.toml", "--set", "class.peer.count=0"],
            "nobody in this swarm wants the file",
        ),
        (
            &["run", "right.toml", "--netns"],
            "--netns is for real sockets; add --engine live",
        ),
        (
            &["run", "mine.toml"],
            "mine.toml:7:1: unknown key of [swarm] `peices`; did you mean `pieces`?",
        ),
        (&["run", "fig-2-32"], "did you mean `fig-2-23`?"),
        (&["run", "nothing.toml"], "nothing.toml: "),
        (
            &[
                "run",
                "fig-2-23",
                "--set",
                "peer.count=3",
                "--set",
                "pieces=0",
            ],
            "--set pieces=0: `swarm.pieces` cannot be `0`",
        ),
        (
            &["run", "fig-2-23", "--set", "up=1x"],
            "`up` may be any of class.seed.up, class.peer.up",
        ),
        (&["run", "dht-scale", "--seeds", "0"], "--seeds"),
        (
            &["run", "dht-scale", "--engine", "real"],
            "possible values: sim, live",
        ),
        (&["figure", "2.24"], "possible values: 2.23"),
    ];
    for (line, part) in rows {
        let output = testnet(folder.path(), line);
        assert_eq!(output.status.code(), Some(2), "{line:?}");
        let error = stderr(&output);
        assert!(error.contains(part), "{line:?}: {error}");
        assert!(output.stdout.is_empty(), "{line:?}");
    }
}

#[test]
fn a_run_says_its_points_and_its_gates_and_can_be_replayed() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("mine.toml"), SWARM).unwrap();
    let line = ["run", "mine.toml", "--json", "--report", "out"];
    let output = testnet(folder.path(), &line);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let objects = lines(&output);
    // Two cases, two seeds each, two gates.
    assert_eq!(objects.len(), 6);
    for (at, point) in objects[..4].iter().enumerate() {
        assert_eq!(point["scenario"], "mine");
        assert_eq!(point["engine"], "sim");
        assert_eq!(point["architecture"], "p2p");
        assert_eq!(point["n"], [2, 2, 4, 4][at]);
        assert_eq!(point["class.peer.count"], point["n"]);
        assert_eq!(point["seed"], [1, 2, 1, 2][at]);
        for key in [
            "seconds",
            "bound",
            "lb",
            "ratio",
            "cpu",
            "complete",
            "wall_seconds",
        ] {
            assert!(point[key].is_f64(), "{key} in {point}");
        }
        let ratio = point["seconds"].as_f64().unwrap() / point["lb"].as_f64().unwrap();
        assert!(
            (ratio - point["ratio"].as_f64().unwrap()).abs() < 0.05,
            "{point}"
        );
    }
    assert_eq!(objects[4]["gate"], "ratio at most 3");
    assert_eq!(
        objects[5]["gate"],
        "complete at least 1 where class.peer.count = 4"
    );
    assert_eq!(objects[5]["figure"], 1.0);
    assert!(objects[4]["verdict"] == "pass" && objects[5]["verdict"] == "pass");

    // The folder has all that a replay needs, wherever it is taken.
    fs::remove_file(folder.path().join("mine.toml")).unwrap();
    let again = testnet(folder.path(), &["replay", "out"]);
    assert_eq!(again.status.code(), Some(0), "{}", stderr(&again));
    assert_eq!(stdout(&again).trim(), "identical: 4 of 4 runs");

    let saved = folder.path().join("out/outcome.json");
    let mut outcome: Value = serde_json::from_slice(&fs::read(&saved).unwrap()).unwrap();
    assert!(
        outcome["version"]
            .as_str()
            .unwrap()
            .starts_with("mainswarm-testnet ")
    );
    let default = serde_json::json!(["network.loss", "0.01"]);
    let defaults = outcome["defaults"].as_array().unwrap();
    assert!(defaults.contains(&default), "{defaults:?}");
    // A figure that somebody has changed is no figure of this run.
    outcome["cases"][0]["runs"][0]["figures"]["ratio"] = 1.0.into();
    fs::write(&saved, outcome.to_string()).unwrap();
    let forged = testnet(folder.path(), &["replay", "out"]);
    assert_eq!(forged.status.code(), Some(5));
    assert!(
        stdout(&forged).contains("ratio 1 then"),
        "{}",
        stdout(&forged)
    );
    assert!(stdout(&forged).contains("not identical: 3 of 4 runs"));
    outcome["cases"][0]["runs"] = Value::Array(Vec::new());
    let real = outcome["cases"][1]["runs"].take();
    outcome["cases"][1]["runs"] = Value::Array(Vec::new());
    fs::write(&saved, outcome.to_string()).unwrap();
    let empty = testnet(folder.path(), &["replay", "out"]);
    assert_eq!(empty.status.code(), Some(2));
    assert!(
        stderr(&empty).contains("holds no run"),
        "{}",
        stderr(&empty)
    );

    outcome["cases"][1]["runs"] = real;
    outcome["cases"][1]["runs"][0]["cost"]["trace"] = "0123456789abcdef".into();
    fs::write(&saved, outcome.to_string()).unwrap();
    let differs = testnet(
        folder.path(),
        &["replay", "out/outcome.json", "--threads", "1"],
    );
    assert_eq!(differs.status.code(), Some(5));
    let said = stdout(&differs);
    assert!(
        said.contains("differs: class.peer.count = 4, seed 1"),
        "{said}"
    );
    let missing = "differs: class.peer.count = 2, seed 2: the report has no such run";
    assert!(said.contains(missing), "{said}");
    assert!(said.contains("not identical: 1 of 4 runs"), "{said}");
}

#[test]
fn a_report_that_was_made_better_is_not_identical() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("mine.toml"), SWARM).unwrap();
    let run = testnet(folder.path(), &["run", "mine.toml", "--report", "out"]);
    assert_eq!(run.status.code(), Some(0), "{}", stderr(&run));
    let saved = folder.path().join("out/outcome.json");
    let whole: Value = serde_json::from_slice(&fs::read(&saved).unwrap()).unwrap();
    let replayed = |change: &dyn Fn(&mut Value), part: &str| {
        let mut forged = whole.clone();
        change(&mut forged);
        fs::write(&saved, forged.to_string()).unwrap();
        let again = testnet(folder.path(), &["replay", "out"]);
        assert_eq!(again.status.code(), Some(5), "{}", stdout(&again));
        assert!(stdout(&again).contains(part), "{}", stdout(&again));
    };
    let lost: &dyn Fn(&mut Value) = &|report| {
        report["cases"][0]["runs"].as_array_mut().unwrap().pop();
    };
    replayed(lost, "not identical: 3 of 4 runs");
    let praised: &dyn Fn(&mut Value) = &|report| {
        report["verdicts"][0]["verdict"] = "goal".into();
        report["verdicts"][0]["figure"] = 1.0.into();
    };
    replayed(
        praised,
        "gate ratio at most 3: goal with 1 then, pass with ",
    );
    let easier: &dyn Fn(&mut Value) = &|report| {
        report["verdicts"].as_array_mut().unwrap().pop();
    };
    replayed(
        easier,
        "not identical: 4 of 4 runs, and the verdict of a gate differs",
    );
    let twice: &dyn Fn(&mut Value) = &|report| {
        let runs = report["cases"][0]["runs"].as_array_mut().unwrap();
        runs.push(runs[0].clone());
    };
    replayed(twice, "the report has it twice");
    let judged: &dyn Fn(&mut Value) = &|report| {
        lost(report);
        report["left"] = 1.into();
    };
    replayed(judged, "the verdicts of 2 gates differ");
}

/// Threads that wait for a core hold up all others at every window.
#[test]
fn more_threads_than_cores_are_not_used() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("few.toml"), SWARM).unwrap();
    let run = |threads: &str| {
        let line = [
            "run",
            "few.toml",
            "--json",
            "--seeds",
            "1",
            "--threads",
            threads,
        ];
        testnet(folder.path(), &line)
    };
    let (one, many) = (run("1"), run("1024"));
    assert!(many.status.success(), "{}", stderr(&many));
    assert!(
        stderr(&many).contains("--threads 1024: there are"),
        "{}",
        stderr(&many)
    );
    assert!(!stderr(&one).contains("--threads"), "{}", stderr(&one));
    assert_eq!(lines(&one)[0]["trace"], lines(&many)[0]["trace"]);
}

/// While tables are filled nobody looks for signals, and nothing is lost yet.
#[cfg(unix)]
#[test]
fn one_signal_ends_what_has_no_results() {
    let folder = tempfile::tempdir().unwrap();
    let mut run = Command::new(env!("CARGO_BIN_EXE_testnet"))
        .args(["run", "dht-scale", "--set", "nodes=50000"])
        .current_dir(folder.path())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    thread::sleep(Duration::from_secs(1));
    let pid = run.id().to_string();
    let killed = Command::new("kill").args(["-TERM", &pid]).status();
    assert!(killed.unwrap().success());
    let mut ended = None;
    for _ in 0..100 {
        ended = run.try_wait().unwrap();
        if ended.is_some() {
            break;
        }
        thread::sleep(Duration::from_millis(100));
    }
    if ended.is_none() {
        run.kill().unwrap();
    }
    assert_eq!(ended.and_then(|status| status.code()), Some(7));
}

#[test]
fn a_figure_has_both_architectures_and_can_be_replayed() {
    let folder = tempfile::tempdir().unwrap();
    let small = ["class.peer.count=1,2", "swarm.pieces=64"];
    let mut line = vec!["figure", "2.23", "--quick", "--report", "out"];
    line.extend(small.iter().flat_map(|set| ["--set", set]));
    let output = testnet(folder.path(), &line);
    // So small a file may miss the gate: that is not what is tested.
    assert!(
        matches!(output.status.code(), Some(0 | 3)),
        "{}",
        stderr(&output)
    );
    let saved = fs::read_to_string(folder.path().join("out/figure-2-23.json")).unwrap();
    let outcomes: Value = serde_json::from_str(&saved).unwrap();
    let cases = outcomes[0]["cases"].as_array().unwrap();
    let architectures: Vec<&Value> = cases
        .iter()
        .filter_map(|case| case["settings"].as_array())
        .flat_map(|settings| settings.iter().map(|setting| &setting[1]))
        .collect();
    assert!(
        architectures.iter().any(|value| *value == "client-server"),
        "{architectures:?}"
    );
    assert!(
        cases[0]["runs"][0]["series"]["copies"]
            .as_array()
            .unwrap()
            .is_empty()
    );
    let again = testnet(folder.path(), &["replay", "out"]);
    assert_eq!(again.status.code(), Some(0), "{}", stderr(&again));
    assert_eq!(stdout(&again).trim(), "identical: 4 of 4 runs");
}

#[test]
fn an_export_replaces_exports_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let one = SWARM.replace("[2, 4]", "[2]");
    fs::write(
        folder.path().join("mine.toml"),
        one.replace("= 4 }", "= 2 }"),
    )
    .unwrap();
    let theirs = folder.path().join("out/compose.yaml");
    fs::create_dir(folder.path().join("out")).unwrap();
    fs::write(&theirs, "services:\n  theirs: {}\n").unwrap();
    let line = ["export", "mine.toml", "--to", "compose", "-o", "out"];
    let refused = testnet(folder.path(), &line);
    assert_eq!(refused.status.code(), Some(8), "{}", stderr(&refused));
    assert!(stderr(&refused).contains("compose.yaml is not of an export"));
    assert!(fs::read_to_string(&theirs).unwrap().contains("theirs"));
    let mut names = fs::read_dir(folder.path().join("out")).unwrap();
    assert!(
        names.next().is_some() && names.next().is_none(),
        "all or nothing"
    );

    fs::remove_file(&theirs).unwrap();
    for _ in 0..2 {
        let written = testnet(folder.path(), &line);
        assert_eq!(written.status.code(), Some(0), "{}", stderr(&written));
    }
}

#[test]
fn a_report_replaces_its_own_and_no_changed_one() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["mine.toml", "other.toml"] {
        fs::write(folder.path().join(name), SWARM).unwrap();
    }
    let run = |name: &str, set: &str| {
        let line = ["run", name, "--set", set, "--seeds", "1", "--report", "out"];
        testnet(folder.path(), &line)
    };
    for set in ["peer.count=2", "peer.count=4"] {
        let output = run("mine.toml", set);
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    }
    let refused = |name: &str, part: &str| {
        let output = run(name, "peer.count=2");
        assert_eq!(output.status.code(), Some(8), "{}", stderr(&output));
        assert!(stderr(&output).contains(part), "{}", stderr(&output));
        assert!(output.stdout.is_empty(), "before anything is run");
    };
    refused("other.toml", "out holds the report of mine");
    let copy = folder.path().join("out/scenario.toml");
    let edited = fs::read_to_string(&copy).unwrap().replace("20ms", "30ms");
    fs::write(&copy, &edited).unwrap();
    refused("mine.toml", "was changed since a report wrote it");
    assert_eq!(fs::read_to_string(&copy).unwrap(), edited);
    let again = testnet(folder.path(), &["replay", "out"]);
    assert_eq!(again.status.code(), Some(5), "{}", stderr(&again));
}

#[test]
fn a_title_does_not_act_on_the_terminal() {
    let folder = tempfile::tempdir().unwrap();
    let bad = "title = \"red \\u001b[31m \\u009b \\u202e end\"\n";
    let text = SWARM.lines().filter(|line| !line.starts_with("title"));
    let text: String = text.map(|line| format!("{line}\n")).collect();
    fs::write(folder.path().join("mine.toml"), format!("{bad}{text}")).unwrap();
    let run = testnet(folder.path(), &["run", "mine.toml"]);
    assert_eq!(run.status.code(), Some(0), "{}", stderr(&run));
    assert!(
        stdout(&run).contains("red \\u001b[31m \\u009b \\u202e end"),
        "{}",
        stdout(&run)
    );
    let acts = |c: char| (c.is_control() && c != '\n' && c != '\t') || c == '\u{202e}';
    assert!(!stdout(&run).contains(acts) && !stderr(&run).contains(acts));

    let log = "{\"testnet\":\"\\u001b[2J\",\"class\":\"seed\",\"index\":0,\"seed\":1}\n";
    fs::write(folder.path().join("a.log"), log).unwrap();
    let line = ["collect", "mine.toml", "--from", "a.log"];
    let collected = testnet(folder.path(), &line);
    assert_eq!(collected.status.code(), Some(2));
    let error = stderr(&collected);
    assert!(
        error.contains("\\u001b[2J") && !error.contains(acts),
        "{error}"
    );
}

#[cfg(unix)]
#[test]
fn what_has_no_end_is_not_read() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("mine.toml"), SWARM).unwrap();
    let made = Command::new("mkfifo")
        .arg(folder.path().join("x.log"))
        .status();
    if !made.is_ok_and(|status| status.success()) {
        println!("skipped: no mkfifo here");
        return;
    }
    for (line, code, part) in [
        (vec!["run", "./x.log"], 2, "is no regular file"),
        (vec!["run", "/dev/zero"], 2, "is no regular file"),
        (vec!["replay", "x.log"], 2, "is no regular file"),
        (
            vec!["collect", "mine.toml", "--from", "x.log"],
            1,
            "is no regular file",
        ),
        (
            vec!["collect", "mine.toml", "--from", "."],
            1,
            "no line of a node in 0 files",
        ),
    ] {
        let output = testnet(folder.path(), &line);
        assert_eq!(
            output.status.code(),
            Some(code),
            "{line:?}: {}",
            stderr(&output)
        );
        assert!(
            stderr(&output).contains(part),
            "{line:?}: {}",
            stderr(&output)
        );
    }
}

#[test]
fn a_gate_that_fails_ends_with_three_and_tells_how_to_see_it_again() {
    let folder = tempfile::tempdir().unwrap();
    let strict = SWARM.replace("at_most = 3", "at_most = 0.5");
    fs::write(folder.path().join("my file.toml"), strict).unwrap();
    let line = [
        "run",
        "my file.toml",
        "--set",
        "peer.count=2",
        "--seeds",
        "1",
        "--seed",
        "9",
    ];
    let output = testnet(folder.path(), &line);
    assert_eq!(output.status.code(), Some(3), "{}", stderr(&output));
    let text = stdout(&output);
    assert!(text.contains("fail     ratio at most 0.5"), "{text}");
    assert!(text.contains("not run  complete at least 1"), "{text}");
    assert!(
        text.contains("The choker decides every 1 s (0.1 of the field's 10 s)"),
        "{text}"
    );
    let again = "again: testnet run 'my file.toml' --seed 9 --seeds 1 --set peer.count=2";
    assert!(text.contains(again), "{text}");
    assert!(text.contains("M events/s/core"), "{text}");
}
