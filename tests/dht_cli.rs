//! The DHT's tools as a user runs them: the binary against a small private network.

#[path = "common/program.rs"]
mod program;

use std::{
    collections::BTreeSet,
    fs,
    io::Write,
    net::SocketAddr,
    path::Path,
    process::{Command, Stdio},
};

use mainswarm::{
    dht::AnnouncePort,
    ids::InfoHash,
    network::Network,
    session::{DhtHandle, DhtNode},
};
use serde_json::Value;
use tempfile::TempDir;
use tokio::runtime::Runtime;

use program::{checked, json, mainswarm};

const NODES: usize = 16;
const HASH: &str = "00112233445566778899aabbccddeeff00112233";
const PRIVATE: [&str; 4] = ["--network", "private", "--listen", "127.0.0.1:0"];

/// Nodes that have joined each other, and a directory for the command.
struct Net {
    runtime: Runtime,
    nodes: Vec<DhtNode>,
    dir: TempDir,
}

impl Net {
    fn new() -> Self {
        let runtime = Runtime::new().unwrap();
        let nodes = runtime.block_on(async {
            let mut nodes: Vec<DhtNode> = Vec::new();
            for _ in 0..NODES {
                let first = nodes.first().map(|node| node.local_addr().to_string());
                let builder = DhtNode::builder(Network::Private)
                    .listen("127.0.0.1:0".parse().unwrap())
                    .bootstrap(first);
                nodes.push(builder.start().await.unwrap());
            }
            for node in &nodes {
                assert!(node.handle().bootstrapped().await);
            }
            nodes
        });
        let dir = tempfile::tempdir().unwrap();
        Self {
            runtime,
            nodes,
            dir,
        }
    }

    fn addr(&self, at: usize) -> SocketAddr {
        self.nodes[at].local_addr()
    }

    fn handle(&self, at: usize) -> &DhtHandle {
        self.nodes[at].handle()
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Runs a tool that joins.
    fn ask(&self, args: &[&str], code: i32) -> (String, String) {
        let bootstrap = self.addr(0).to_string();
        let more = [&PRIVATE[..], &["--bootstrap", &bootstrap]].concat();
        expect(self.path(), &[args, &more].concat(), code)
    }

    fn json(&self, args: &[&str]) -> Value {
        json(&self.ask(&[args, &["--json"]].concat(), 0).0)
    }

    fn announce(&self, at: usize, info_hash: InfoHash, port: u16) {
        let port = AnnouncePort::Explicit(port);
        let announce = self.handle(at).announce_once(info_hash, port, false);
        let stats = self.runtime.block_on(announce).unwrap();
        assert!(stats.announced >= 8, "{stats:?}");
    }
}

/// The binary's `dht` tools.
fn command(dir: &Path, args: &[&str]) -> Command {
    mainswarm(dir, &[&["dht"], args].concat())
}

fn expect(dir: &Path, args: &[&str], code: i32) -> (String, String) {
    checked(args, command(dir, args).output().unwrap(), code)
}

/// Something that answers nobody.
fn dead() -> (std::net::UdpSocket, String) {
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let addr = socket.local_addr().unwrap().to_string();
    (socket, addr)
}

#[test]
fn wrong_input_exits_with_2_and_says_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("no-key"), b"hello").unwrap();
    let long = "x".repeat(1_000);
    let salt = "s".repeat(65);
    let rows: &[(&[&str], &str)] = &[
        (&["ping", "localhost"], "expected HOST:PORT"),
        (&["ping", "127.0.0.1:9"], "try --network private"),
        (
            &["ping", "8.8.8.8:9", "--network", "private"],
            "try --network mainline",
        ),
        (&["ping", "127.0.0.1:9", "--state", "x"], "means nothing"),
        (&["find", "abc"], "40 hex digits"),
        (&["peers", "abc"], "neither a magnet link nor an info-hash"),
        (&["peers", HASH, "--short", "--json"], "exclude each other"),
        (&["announce", HASH], "--port"),
        (&["announce", HASH, "--port", "0"], "1..=65535"),
        (&["get", "abc"], "(a target) or 64 (a public key)"),
        (&["put", &long], "at most 1000"),
        (&["put", "i01e", "--bencode"], "canonical bencode"),
        (&["put", "x", "--seq", "1"], "--key"),
        (&["put", "x", "--key", "none"], "check the path"),
        (&["put", "x", "--key", "no-key"], "is no key"),
        (&["key", "no-key"], "exists"),
        (&["key", "none", "--show"], "check the path"),
        (&["crawl", "--limit", "0"], "--limit"),
        (&["crawl", "--rate", "1000"], "--rate"),
        (
            &["bootstrap", "check", "--network", "private"],
            "name a node with --bootstrap",
        ),
    ];
    for (args, why) in rows {
        let (stdout, stderr) = expect(dir.path(), args, 2);
        assert!(stderr.contains(why), "{args:?}: {stderr}");
        assert_eq!(stdout, "", "{args:?}");
    }
    expect(dir.path(), &["key", "key"], 0);
    let put = ["put", "x", "--key", "key", "--salt", &salt];
    let (_, stderr) = expect(dir.path(), &put, 2);
    assert!(stderr.contains("at most 64"), "{stderr}");
    let kept = fs::read(dir.path().join("no-key")).unwrap();
    assert_eq!(kept, b"hello", "a file is never replaced");
}

#[test]
fn where_nobody_answers_the_tools_say_so() {
    let dir = tempfile::tempdir().unwrap();
    let (_socket, dead) = dead();
    let alone = [&["find", HASH], &PRIVATE[..]].concat();
    let (_, stderr) = expect(dir.path(), &alone, 3);
    assert!(stderr.contains("name one with --bootstrap"), "{stderr}");
    let tools: [&[&str]; 8] = [
        &["find", HASH],
        &["peers", HASH],
        &["announce", HASH, "--port", "1"],
        &["get", HASH],
        &["put", "hello"],
        &["trace", HASH],
        &["table"],
        &["size"],
    ];
    for tool in tools {
        let more = ["--timeout", "400ms", "--bootstrap", &dead];
        let (stdout, stderr) = expect(dir.path(), &[tool, &PRIVATE, &more].concat(), 3);
        assert!(
            stderr.contains("no DHT node answered, those of --bootstrap included"),
            "{tool:?}: {stderr}"
        );
        assert!(!stdout.contains("reply"), "{stdout}");
    }
    for tool in ["ping", "sample"] {
        let args = [tool, &dead, "--network", "private", "--timeout", "300ms"];
        let (_, stderr) = expect(dir.path(), &args, 4);
        assert!(stderr.contains("no answer from"), "{stderr}");
    }
    let check = ["bootstrap", "check", "--network", "private", "--bootstrap"];
    let check = [&check[..], &[&dead, "--timeout", "300ms"]].concat();
    let (stdout, stderr) = expect(dir.path(), &check, 3);
    assert!(stdout.contains("dead") && stderr.contains("no router answers"));
    let off = command(dir.path(), &["table"])
        .env("MAINSWARM_NO_DHT", "1")
        .output();
    let (_, stderr) = checked(&["table"], off.unwrap(), 2);
    assert!(stderr.contains("MAINSWARM_NO_DHT"), "{stderr}");
}

#[test]
fn ping_and_bootstrap_check_tell_the_living_from_the_dead() {
    let net = Net::new();
    let addr = net.addr(3).to_string();
    let id = net.handle(3).id().to_string();
    let ping = ["ping", &addr, "--network", "private"];
    let (line, _) = expect(net.path(), &ping, 0);
    assert!(line.starts_with(&addr) && line.contains(&id) && line.contains("MS 00"));
    let (short, stderr) = expect(net.path(), &[&ping[..], &["--short"]].concat(), 0);
    assert_eq!((short, stderr.as_str()), (format!("{id}\n"), ""));
    let object = json(&expect(net.path(), &[&ping[..], &["--json"]].concat(), 0).0);
    assert_eq!(
        (&object["id"], &object["alive"]),
        (&id.into(), &true.into())
    );
    assert!(object["rtt_seconds"].as_f64().unwrap() > 0.0);

    let (_socket, dead) = dead();
    let check = [
        "bootstrap",
        "check",
        "--network",
        "private",
        "--timeout",
        "500ms",
    ];
    let routers = ["--bootstrap", &addr, "--bootstrap", &dead];
    let both = [&check[..], &routers].concat();
    let (lines, stderr) = expect(net.path(), &both, 0);
    assert_eq!(lines.lines().count(), 2);
    assert!(
        lines.contains("alive") && lines.contains("no answer"),
        "{lines}"
    );
    assert!(stderr.contains("1 router alive, 1 dead"), "{stderr}");
    let (short, _) = expect(net.path(), &[&both[..], &["--short"]].concat(), 0);
    assert_eq!(short, format!("{addr}\n"));
    let object = json(&expect(net.path(), &[&both[..], &["--json"]].concat(), 0).0);
    assert_eq!(object["routers"][0]["addrs"][0]["alive"], true);
    assert_eq!(object["routers"][1]["addrs"][0]["alive"], false);
    assert!(object["routers"][0]["addrs"][0]["nodes"].as_u64().unwrap() > 0);
}

#[test]
fn find_prints_the_closest_first() {
    let net = Net::new();
    let (lines, footer) = net.ask(&["find", HASH], 0);
    let bits = |line: &str| line.rsplit(' ').nth(1).unwrap().parse::<u32>().unwrap();
    let bits: Vec<u32> = lines.lines().map(bits).collect();
    assert_eq!(bits.len(), 8);
    assert!(bits.is_sorted_by(|a, b| a >= b), "{lines}");
    assert!(footer.starts_with(";; 8 nodes; "), "{footer}");
    let object = net.json(&["find", HASH]);
    assert_eq!(object["nodes"].as_array().unwrap().len(), 8);
    let (short, footer) = net.ask(&["find", HASH, "--short"], 0);
    let addrs: Vec<SocketAddr> = short.lines().map(|line| line.parse().unwrap()).collect();
    assert!(addrs.len() == 8 && footer.is_empty());
    let (_, steps) = net.ask(&["find", HASH, "--trace"], 0);
    assert!(
        steps.contains("asked") && steps.contains("reply"),
        "{steps}"
    );
}

#[test]
fn what_is_announced_is_found_counted_and_traced() {
    let net = Net::new();
    let (stdout, stderr) = net.ask(&["peers", HASH], 3);
    assert!(stdout.is_empty() && stderr.contains("none knows this torrent"));
    let announce = ["announce", HASH, "--port", "4000", "--seed"];
    let (line, _) = net.ask(&announce, 0);
    assert!(line.contains("with port 4000 to"), "{line}");
    let (short, _) = net.ask(&[&announce[..], &["--short"]].concat(), 0);
    assert!(short.trim().parse::<u32>().unwrap() >= 8, "{short}");
    assert!(net.json(&announce)["announced"].as_u64().unwrap() >= 8);
    let (peers, footer) = net.ask(&["peers", HASH], 0);
    assert_eq!(peers, "127.0.0.1:4000\n");
    assert!(footer.starts_with(";; 1 peer; "), "{footer}");
    assert_eq!(net.json(&["peers", HASH])["peer"], "127.0.0.1:4000");
    let (_, quiet) = net.ask(&["peers", HASH, "--short"], 0);
    assert_eq!(quiet, "");

    let counted = net.json(&["peers", HASH, "--scrape"]);
    assert_eq!(
        (&counted["seeds"], &counted["peers"]),
        (&1.into(), &0.into())
    );
    let (short, _) = net.ask(&["peers", HASH, "--scrape", "--short"], 0);
    assert_eq!(short, "1 0\n");

    let (steps, _) = net.ask(&["trace", HASH, "--json"], 0);
    let steps: Vec<Value> = steps.lines().map(json).collect();
    let mut asked = BTreeSet::new();
    let mut peers = 0;
    for step in &steps {
        let addr = step["addr"].to_string();
        match step["step"].as_str().unwrap() {
            "asked" => {
                asked.insert(addr);
            }
            "reply" => {
                assert!(asked.contains(&addr), "{step}");
                assert!(step["rtt_seconds"].as_f64().unwrap() > 0.0);
                peers += step["peers"].as_u64().unwrap();
            }
            "slow" | "failed" => {}
            other => panic!("{other}"),
        }
    }
    assert!(asked.len() >= 8 && peers == 1, "{steps:?}");
    let (gains, _) = net.ask(&["trace", HASH, "--short"], 0);
    assert!(gains.contains("1 new peer"), "{gains}");
}

#[test]
fn an_item_comes_back_byte_by_byte() {
    let net = Net::new();
    // The target of BEP 44's own example.
    let target = "e5f96f6f38320f0f33959cb4d3d656452117aadb";
    let (_, stderr) = net.ask(&["get", target], 3);
    assert!(stderr.contains("none has this item"), "{stderr}");
    let (put, footer) = net.ask(&["put", "Hello World!"], 0);
    assert_eq!(put, format!("{target}\n"));
    assert!(footer.contains("stored on "), "{footer}");
    let (value, footer) = net.ask(&["get", target], 0);
    assert_eq!(value, "Hello World!", "not a byte more");
    assert!(footer.contains(target), "{footer}");
    let object = net.json(&["get", target]);
    assert_eq!(object["value"], "Hello World!");
    assert_eq!(object["value_hex"], "31323a48656c6c6f20576f726c6421");
    assert_eq!(object["seq"], Value::Null);

    let put = net.json(&["put", "--bencode", "d1:ai1e1:bl1:xee"]);
    assert!(put["stored"].as_u64().unwrap() >= 8);
    let (value, _) = net.ask(&["get", put["target"].as_str().unwrap(), "--short"], 0);
    assert_eq!(value, "d1:ai1e1:bl1:xee");

    let bootstrap = net.addr(0).to_string();
    let args = [&["put", "-", "--bootstrap", &bootstrap], &PRIVATE[..]].concat();
    let mut child = command(net.path(), &args)
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(b"\x00\xff\n")
        .unwrap();
    let (put, _) = checked(&args, child.wait_with_output().unwrap(), 0);
    let object = net.json(&["get", put.trim()]);
    assert_eq!(object["value"], Value::Null, "it is no text");
    assert_eq!(object["value_hex"], "333a00ff0a");
}

#[test]
fn an_owner_replaces_an_item_and_others_cannot() {
    let net = Net::new();
    let (key, _) = expect(net.path(), &["key", "mine"], 0);
    let key = key.trim();
    let (shown, stderr) = expect(net.path(), &["key", "mine", "--show"], 0);
    assert_eq!((shown.trim(), stderr.as_str()), (key, ""));
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let path = net.path().join("mine");
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        let (_, stderr) = expect(net.path(), &["key", "mine", "--show"], 0);
        assert!(stderr.contains("chmod 600"), "{stderr}");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    }
    fn put<'a>(text: &'a str, more: &[&'a str]) -> Vec<&'a str> {
        [&["put", text, "--key", "mine", "--salt", "s"], more].concat()
    }
    assert_eq!(net.json(&put("one", &[]))["seq"], 1);
    assert_eq!(net.json(&put("two", &[]))["seq"], 2, "it follows the first");
    assert_eq!(net.json(&put("two", &[]))["seq"], 2, "renewed");
    let (_, stderr) = net.ask(&put("three", &["--seq", "2"]), 1);
    assert!(stderr.contains("an item with seq 2 is there"), "{stderr}");
    let (_, stderr) = net.ask(&put("three", &["--seq", "7", "--cas", "1"]), 1);
    assert!(stderr.contains("only seq 1 was to be replaced"), "{stderr}");
    let (target, _) = net.ask(&put("three", &["--seq", "7", "--cas", "2"]), 0);

    let get = ["get", key, "--salt", "s"];
    let object = net.json(&get);
    assert_eq!(
        (&object["value"], &object["seq"]),
        (&"three".into(), &7.into())
    );
    assert_eq!(
        (&object["key"], &object["salt"]),
        (&key.into(), &"s".into())
    );
    assert_eq!(object["sig"].as_str().unwrap().len(), 128);
    assert_eq!(object["target"], target.trim());
    let (value, _) = net.ask(&["get", target.trim(), "--salt", "s"], 0);
    assert_eq!(value, "three");
    net.ask(&[&get[..], &["--seq", "6"]].concat(), 0);
    let (_, stderr) = net.ask(&[&get[..], &["--seq", "7"]].concat(), 3);
    assert!(stderr.contains("none has a newer item"), "{stderr}");
    let (_, stderr) = net.ask(&["get", key], 3);
    assert!(stderr.contains("--salt"), "{stderr}");
}

#[test]
fn samples_and_a_crawl_bring_the_torrents_that_were_announced() {
    let net = Net::new();
    let hashes: Vec<InfoHash> = (0..6).map(|n| InfoHash::new([n * 40; 20])).collect();
    for (n, info_hash) in hashes.iter().enumerate() {
        net.announce(n, *info_hash, 4_000);
    }
    let expected: BTreeSet<String> = hashes.iter().map(ToString::to_string).collect();

    let holders: Vec<String> = (0..NODES)
        .map(|at| net.addr(at).to_string())
        .filter(|addr| {
            let sample = ["sample", addr, "--network", "private", "--json"];
            let output = command(net.path(), &sample).output().unwrap();
            let some = output.status.code() == Some(0);
            let object = json(&String::from_utf8(output.stdout).unwrap());
            assert_eq!(object["supported"], true);
            assert_eq!(object["info_hashes"].as_array().unwrap().is_empty(), !some);
            some
        })
        .collect();
    assert!(holders.len() >= 8, "{holders:?}");
    let (lines, footer) = expect(
        net.path(),
        &["sample", &holders[0], "--network", "private"],
        0,
    );
    assert!(lines.lines().all(|line| expected.contains(line)), "{lines}");
    assert!(footer.contains("it says no other for"), "{footer}");

    let crawl = ["crawl", "--rate", "100"];
    let (found, _) = net.ask(&[&crawl[..], &["--short"]].concat(), 0);
    let found: BTreeSet<String> = found.lines().map(str::to_owned).collect();
    assert_eq!(found, expected);
    let (lines, footer) = net.ask(&[&crawl[..], &["--json"]].concat(), 0);
    let addrs = lines.lines().map(|line| json(line)["addr"].to_string());
    let addrs: Vec<String> = addrs.collect();
    let distinct: BTreeSet<&String> = addrs.iter().collect();
    assert_eq!(distinct.len(), addrs.len(), "nobody is asked twice");
    assert!(addrs.len() >= NODES - 1, "{addrs:?}");
    assert!(footer.contains(";; 6 torrents; "), "{footer}");
    let (few, _) = net.ask(&[&crawl[..], &["--limit", "3"]].concat(), 0);
    assert_eq!(few.lines().count(), 3);
    let late = ["crawl", "--rate", "1", "--timeout", "300ms"];
    let (_, stderr) = net.ask(&late, 4);
    assert!(stderr.contains("allow more with --timeout"), "{stderr}");
}

#[test]
fn the_table_and_the_size_of_the_network() {
    let net = Net::new();
    let (lines, footer) = net.ask(&["table"], 0);
    assert!(
        lines.lines().count() >= 8 && lines.contains("good"),
        "{lines}"
    );
    assert!(footer.contains(" around "), "{footer}");
    let (short, _) = net.ask(&["table", "--short"], 0);
    assert!(short.lines().all(|line| line.parse::<SocketAddr>().is_ok()));
    let object = net.json(&["table"]);
    assert_eq!(object["nodes"][0]["good"], true);
    assert_eq!(object["nodes"][0]["failures"], 0);

    let object = net.json(&["size"]);
    let nodes = object["nodes"].as_f64().unwrap();
    assert!((6.0..48.0).contains(&nodes), "{object}");
    let (short, _) = net.ask(&["size", "--short"], 0);
    assert!(short.trim().parse::<u32>().is_ok(), "{short}");
    let (line, footer) = net.ask(&["size"], 0);
    assert!(line.starts_with("about ") && footer.contains("lookups"));
}
