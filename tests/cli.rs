//! The binary as a user runs it: what it prints where, and its exit codes.

#[path = "common/program.rs"]
mod program;

use std::{
    fs,
    io::{BufRead, BufReader},
    path::Path,
};

use tempfile::TempDir;

use program::{expect, json, mainswarm};

fn pseudo_random(len: usize) -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut byte = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    (0..len).map(|_| byte()).collect()
}

/// A directory `album` with two files, an empty one and a link.
fn album() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let album = dir.path().join("album");
    fs::create_dir_all(album.join("notes")).unwrap();
    fs::write(album.join("song.bin"), pseudo_random(200_000)).unwrap();
    fs::write(album.join("notes/read me.txt"), b"hello").unwrap();
    fs::write(album.join("empty"), b"").unwrap();
    #[cfg(unix)]
    std::os::unix::fs::symlink("song.bin", album.join("link")).unwrap();
    dir
}

#[test]
fn create_and_show_round_trip() {
    let dir = album();
    let dir = dir.path();
    let create = ["create", "album", "-o", "a.torrent"];
    let comment = ["--comment", "x\u{1b}[31my"];
    let (info_hash, stderr) = expect(dir, &[&create[..], &comment].concat(), 0);
    let info_hash = info_hash.trim_end();
    assert_eq!(info_hash.len(), 40);
    #[cfg(unix)]
    assert!(stderr.contains("album/link: a symbolic link"), "{stderr}");
    assert!(stderr.contains("13 pieces"), "{stderr}");

    let shown = json(&expect(dir, &["show", "a.torrent", "--json"], 0).0);
    assert_eq!(shown["info_hash"], info_hash);
    assert_eq!(shown["name"], "album");
    assert_eq!(shown["total_size"], 200_005);
    assert_eq!(shown["piece_length"], 16_384);
    assert_eq!(shown["pieces"], 13);
    assert_eq!(shown["private"], false);
    assert_eq!(shown["comment"], comment[1]);
    let files = shown["files"].as_array().unwrap();
    let paths: Vec<_> = files.iter().map(|file| &file["path"]).collect();
    let expected = ["album/empty", "album/notes/read me.txt", "album/song.bin"];
    assert_eq!(paths, expected);
    let (text, _) = expect(dir, &["show", "a.torrent"], 0);
    assert!(text.contains(info_hash) && text.contains(expected[1]));
    assert!(text.contains("x\\u{1b}[31my") && !text.contains('\u{1b}'));

    // Equal content has an equal info-hash, whatever the file around it says.
    expect(dir, &create, 2);
    let (again, stderr) = expect(dir, &[&create[..], &["--force", "-q"]].concat(), 0);
    assert_eq!((again.trim_end(), stderr.as_str()), (info_hash, ""));

    let verified = json(&expect(dir, &["verify", "a.torrent", ".", "--json"], 0).0);
    assert_eq!(verified["ok"], true);
    assert_eq!(verified["pieces_ok"], 13);
}

#[test]
fn verify_names_what_is_wrong_and_touches_nothing() {
    let dir = album();
    let dir = dir.path();
    expect(dir, &["create", "album", "-o", "a.torrent"], 0);
    let statuses = || -> Vec<String> {
        let (stdout, stderr) = expect(dir, &["verify", "a.torrent", ".", "--json"], 5);
        assert!(stderr.starts_with("error: "), "{stderr}");
        let verified = json(&stdout);
        assert_eq!(verified["ok"], false);
        let files = verified["files"].as_array().unwrap().iter();
        files
            .map(|file| file["status"].as_str().unwrap().into())
            .collect()
    };
    let song = dir.join("album/song.bin");
    let mut bytes = fs::read(&song).unwrap();

    // In the middle: only the song.
    bytes[100_000] ^= 1;
    fs::write(&song, &bytes).unwrap();
    assert_eq!(statuses(), ["ok", "ok", "damaged"]);
    bytes[100_000] ^= 1;

    // Too long, with every piece right.
    fs::write(&song, [&bytes[..], b"more"].concat()).unwrap();
    assert_eq!(statuses(), ["ok", "ok", "damaged"]);
    fs::write(&song, &bytes).unwrap();

    // A missing neighbour leaves the song's first piece open.
    let notes = dir.join("album/notes/read me.txt");
    fs::remove_file(&notes).unwrap();
    assert_eq!(statuses(), ["ok", "missing", "unverified"]);
    fs::remove_file(dir.join("album/empty")).unwrap();
    assert_eq!(statuses(), ["missing", "missing", "unverified"]);
    assert!(!notes.exists() && !dir.join("state").exists());
}

#[test]
fn wrong_usage_and_unreadable_input_exit_with_2() {
    let dir = album();
    let dir = dir.path();
    fs::write(dir.join("empty"), b"").unwrap();
    fs::create_dir(dir.join("hollow")).unwrap();
    let huge = [
        "create",
        "album",
        "-o",
        "x.torrent",
        "--piece-size",
        "100000",
    ];
    for args in [
        &["get"][..],
        &["frobnicate"],
        &["get", "x", "--network", "lan"],
        &["get", "no such file.torrent"],
        &["get", "album"],
        &["get", "magnet:?xt=urn:btih:123"],
        &["show", "no such file.torrent"],
        &["show", "magnet:?dn=x"],
        &["show", "a", "--up", "1M"],
        &["verify", "no such file.torrent", "."],
        &["create", "no such file", "-o", "x.torrent"],
        &["create", "hollow", "-o", "x.torrent"],
        &["create", "empty", "-o", "x.torrent"],
        &["create", "a", "-o", "hollow", "--force"],
        &huge,
        &["share", "no such file"],
        &["dht", "peers", "nonsense"],
    ] {
        let (stdout, stderr) = expect(dir, args, 2);
        assert_eq!(stdout, "", "{args:?}");
        assert!(stderr.starts_with("error: "), "{args:?}: {stderr}");
    }
    assert!(!dir.join("x.torrent").exists());
}

#[test]
fn an_invalid_torrent_exits_with_5_and_one_line() {
    let dir = tempfile::tempdir().unwrap();
    for (name, bytes) in [
        ("empty", Vec::new()),
        ("text", b"hello".to_vec()),
        ("shallow", b"d4:infodee".to_vec()),
        ("nest", vec![b'l'; 64 << 10]),
        ("cut", b"d4:infod6:lengthi".to_vec()),
    ] {
        fs::write(dir.path().join(name), bytes).unwrap();
        let (stdout, stderr) = expect(dir.path(), &["show", name], 5);
        assert_eq!(stdout, "");
        assert_eq!(stderr.lines().count(), 1, "{name}: {stderr}");
    }
}

#[test]
fn help_lists_the_exit_codes() {
    let dir = tempfile::tempdir().unwrap();
    let (help, _) = expect(dir.path(), &["--help"], 0);
    assert!(help.contains("3  nothing found") && help.contains("MAINSWARM_BOOTSTRAP"));
    expect(dir.path(), &["--version"], 0);
}

#[test]
fn a_closed_stdout_is_no_error() {
    let dir = album();
    let create = ["create", "album", "-o", "a.torrent"];
    let mut child = mainswarm(dir.path(), &create).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{stderr}");
    assert!(
        !stderr.contains("error") && !stderr.contains("panic"),
        "{stderr}"
    );
}

/// Options for a network that reaches no further than this machine.
const PRIVATE: [&str; 4] = ["--network", "private", "--listen", "127.0.0.1:0"];

/// An info-hash that nobody shares.
const NOWHERE: &str = "00112233445566778899aabbccddeeff00112233";

#[test]
fn a_magnet_that_finds_nobody_says_why() {
    let dir = tempfile::tempdir().unwrap();
    for (extra, why) in [
        (&[][..], "no DHT node answers"),
        (&["--no-dht"], "the DHT is off"),
        (&["--no-dht", "--peer", "127.0.0.1:9"], "no peer answered"),
    ] {
        let args = [&["get", NOWHERE, "--timeout", "1s"], &PRIVATE[..], extra].concat();
        let (stdout, stderr) = expect(dir.path(), &args, 3);
        assert_eq!(stdout, "");
        assert!(stderr.contains(why), "{why}: {stderr}");
    }
    let args = [&["dht", "peers", NOWHERE, "--timeout", "1s"], &PRIVATE[..]].concat();
    let (_, stderr) = expect(dir.path(), &args, 3);
    assert!(stderr.contains("no DHT node is known"), "{stderr}");
}

/// The DHT names everyone who announces, so a node alone is given its own address.
#[test]
fn a_node_that_finds_itself_has_found_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let probe = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let own = probe.local_addr().unwrap().to_string();
    drop(probe);
    let args = [
        &["get", NOWHERE, "--timeout", "2s", "--network", "private"][..],
        &["--no-dht", "--listen", &own, "--peer", &own],
    ];
    let (_, stderr) = expect(dir.path(), &args.concat(), 3);
    assert!(stderr.contains("no peer is known"), "{stderr}");
    assert!(stderr.contains("0 dialled, 0 shook hands"), "{stderr}");
}

#[test]
fn an_output_that_is_a_file_says_so() {
    let dir = album();
    expect(dir.path(), &["create", "album", "-o", "a.torrent"], 0);
    fs::write(dir.path().join("file"), b"x").unwrap();
    for output in ["file", "file/below"] {
        let args = [
            &["get", "a.torrent", "--no-dht", "-o", output],
            &PRIVATE[..],
        ]
        .concat();
        let (_, stderr) = expect(dir.path(), &args, 8);
        assert!(
            stderr.contains("a file stands where a directory"),
            "{stderr}"
        );
    }
}

#[test]
fn a_taken_address_exits_with_6() {
    let dir = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = taken.local_addr().unwrap().to_string();
    let args = ["get", NOWHERE, "--network", "private", "--listen", &listen];
    let (_, stderr) = expect(dir.path(), &args, 6);
    assert!(
        stderr.contains(&listen) && stderr.contains("--listen"),
        "{stderr}"
    );
}

#[cfg(unix)]
mod long_running {
    use std::{
        io::Lines,
        process::{Child, ChildStderr, ChildStdout},
        thread,
        time::{Duration, Instant},
    };

    use super::*;

    /// A child that is killed when the test is over.
    struct Running {
        child: Child,
        stdout: Lines<BufReader<ChildStdout>>,
        stderr: Option<thread::JoinHandle<String>>,
    }

    impl Drop for Running {
        fn drop(&mut self) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }

    impl Running {
        fn start(dir: &Path, args: &[&str]) -> Self {
            let mut child = mainswarm(dir, args).spawn().unwrap();
            let stdout = BufReader::new(child.stdout.take().unwrap()).lines();
            let stderr: ChildStderr = child.stderr.take().unwrap();
            let stderr = thread::spawn(move || std::io::read_to_string(stderr).unwrap());
            Self {
                child,
                stdout,
                stderr: Some(stderr),
            }
        }

        fn line(&mut self) -> String {
            self.stdout.next().expect("the child ended").unwrap()
        }

        /// Sends the signal of Ctrl-C, checks the exit code, returns stderr.
        fn interrupt(mut self, code: i32) -> String {
            let pid = rustix::process::Pid::from_child(&self.child);
            rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
            let deadline = Instant::now() + Duration::from_secs(20);
            let status = loop {
                match self.child.try_wait().unwrap() {
                    Some(status) => break Some(status),
                    None if Instant::now() > deadline => break None,
                    None => thread::sleep(Duration::from_millis(20)),
                }
            };
            let _ = self.child.kill();
            let stderr = self.stderr.take().unwrap().join().unwrap();
            let found = status.and_then(|status| status.code());
            assert_eq!(found, Some(code), "{stderr}");
            stderr
        }
    }

    #[test]
    fn a_directory_travels_by_magnet_through_the_dht() {
        let dir = album();
        let dir = dir.path();
        let node = ["dht", "node", "--json", "--state", "node"];
        let mut node = Running::start(dir, &[&node[..], &PRIVATE].concat());
        let listening = json(&node.line());
        assert_eq!(listening["event"], "listening");
        let bootstrap = ["--bootstrap", listening["addr"].as_str().unwrap()];
        let private = [&PRIVATE[..], &bootstrap].concat();

        // The name differs from the directory's: it is read in place.
        let share = ["share", "album", "--name", "renamed", "--save", "s.torrent"];
        let share = [&share[..], &["--state", "share"], &private].concat();
        let mut share = Running::start(dir, &share);
        let magnet = share.line();
        assert!(magnet.starts_with("magnet:?xt=urn:btih:"), "{magnet}");
        let announce = loop {
            let seen = json(&node.line());
            if seen["event"] == "announce" {
                break seen;
            }
        };
        assert!(magnet.contains(announce["info_hash"].as_str().unwrap()));

        let peers = ["dht", "peers", &magnet, "--json", "--state", "peers"];
        let (found, footer) = expect(dir, &[&peers[..], &private].concat(), 0);
        let found = json(found.lines().next().unwrap());
        assert_eq!(found["peer"], announce["peer"]);
        assert!(footer.starts_with(";; 1 peer"), "{footer}");

        let get = ["get", &magnet, "--timeout", "60s"];
        let whole = [
            &get[..],
            &["-o", "out", "--json", "--state", "get"],
            &private,
        ]
        .concat();
        let report = json(&expect(dir, &whole, 0).0);
        assert_eq!(report["name"], "renamed");
        assert_eq!(report["bytes"], 200_005);
        assert_eq!(report["pieces_reused"], 0);
        for file in ["song.bin", "notes/read me.txt", "empty"] {
            let original = fs::read(dir.join("album").join(file)).unwrap();
            let copy = fs::read(dir.join("out/renamed").join(file)).unwrap();
            assert!(copy == original, "{file}");
        }
        expect(dir, &["verify", "s.torrent", "out"], 0);

        // Again: everything is there.
        let report = json(&expect(dir, &whole, 0).0);
        assert_eq!(report["pieces_reused"], 13);
        assert_eq!(report["downloaded"], 0);

        // One file only, and a pattern that fits none.
        let some = [&get[..], &["-o", "some", "--state", "some"], &private].concat();
        let (paths, _) = expect(dir, &[&some[..], &["--select", "*.txt"]].concat(), 0);
        assert_eq!(paths, "some/renamed/notes/read me.txt\n");
        assert!(!dir.join("some/renamed/song.bin").exists());
        let (_, stderr) = expect(dir, &[&some[..], &["--select", "*.flac"]].concat(), 2);
        assert!(stderr.contains("renamed/song.bin"), "{stderr}");

        share.interrupt(0);
        node.interrupt(0);
    }

    #[test]
    fn an_interrupted_get_exits_with_7() {
        let dir = tempfile::tempdir().unwrap();
        let get = Running::start(dir.path(), &[&["get", NOWHERE], &PRIVATE[..]].concat());
        // The handler stands before the state directory is made.
        while !dir.path().join("state").exists() {
            thread::sleep(Duration::from_millis(10));
        }
        let stderr = get.interrupt(7);
        assert!(stderr.contains("no metadata yet"), "{stderr}");
    }
}
