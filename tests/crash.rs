//! `kill -9` at random moments of a download: what was verified is kept and never fetched again,
//! and the file is right in the end.
#![cfg(unix)]

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead, BufReader},
    net::TcpListener,
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use rand::{RngExt, SeedableRng, rngs::StdRng};

const KILLS: usize = 20;
const LEN: usize = 24 << 20;

/// Kills its process when the test ends, however it ends.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn mainswarm(dir: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mainswarm"));
    command
        .current_dir(dir)
        .args(args)
        .env("MAINSWARM_LOG", "mainswarm=debug")
        .stdin(Stdio::null());
    command
}

/// An address that was free a moment ago.
fn free_port() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().to_string()
}

/// The pieces that a run verified, by its log.
fn verified(log: &Path) -> Vec<u32> {
    let text = fs::read_to_string(log).unwrap_or_default();
    let pieces = text.lines().filter_map(|line| {
        let (_, piece) = line.split_once(" piece=")?;
        let digits: String = piece.chars().take_while(char::is_ascii_digit).collect();
        line.contains("DEBUG").then(|| digits.parse().ok())?
    });
    pieces.collect()
}

#[test]
fn nothing_verified_is_fetched_twice_over_twenty_kills() {
    let seed = 20_261_123;
    let mut rng = StdRng::seed_from_u64(seed);
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let mut content = vec![0; LEN];
    rng.fill(&mut content[..]);
    fs::write(dir.join("file.bin"), &content).unwrap();
    let create = ["create", "file.bin", "-o", "t", "--piece-size", "64KiB"];
    assert!(mainswarm(dir, &create).status().unwrap().success());
    fs::create_dir(dir.join("out")).unwrap();

    let common = ["--network", "private", "--no-dht"];
    let peer = free_port();
    let share = ["share", "file.bin", "--piece-size", "64KiB", "--up", "4MiB"];
    let share = [
        &share[..],
        &common,
        &["--listen", &peer, "--state", "seed-state"],
    ]
    .concat();
    let mut share = Process(
        mainswarm(dir, &share)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap(),
    );
    let mut magnet = String::new();
    let stdout = share.0.stdout.take().unwrap();
    BufReader::new(stdout).read_line(&mut magnet).unwrap();
    let get = ["get", "t", "-o", "out", "--listen", "127.0.0.1:0"];
    let get = [&get[..], &common, &["--peer", &peer, "--state", "state"]].concat();

    let mut times: BTreeMap<u32, usize> = BTreeMap::new();
    for run in 0..=KILLS {
        let log = dir.join(format!("log-{run}"));
        let stderr = fs::File::create(&log).unwrap();
        let mut child = Process(mainswarm(dir, &get).stderr(stderr).spawn().unwrap());
        if run < KILLS {
            std::thread::sleep(Duration::from_millis(rng.random_range(50..450)));
            child.0.kill().unwrap();
            child.0.wait().unwrap();
        } else {
            assert!(child.0.wait().unwrap().success(), "the last run failed");
        }
        for piece in verified(&log) {
            *times.entry(piece).or_default() += 1;
        }
    }
    let twice: Vec<_> = times.iter().filter(|(_, times)| **times > 1).collect();
    assert!(twice.is_empty(), "fetched again: {twice:?} (seed {seed})");
    assert!(
        times.len() * 10 > LEN / 65_536 * 9,
        "the log shows {} pieces",
        times.len()
    );
    assert!(
        fs::read(dir.join("out/file.bin")).unwrap() == content,
        "the file differs"
    );
}
