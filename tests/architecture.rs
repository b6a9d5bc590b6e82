//! Who may import whom, and how long a file may be.
//!
//! The two cores are values that any shell can drive, in real or in virtual time, only as long as
//! they touch no socket, clock, thread, lock or file. [`ROWS`] is the whole import table; the
//! checks read every source file below `src` and `testnet/src` against it, without its tests, and
//! print the row that was broken. The checker itself is tested on bad sources at the bottom.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// One row of the import table.
struct Row {
    /// Whom it is about: modules and everything below them, unless a longer name has its own row.
    modules: &'static [&'static str],
    /// Which of our modules they may import, themselves not counted.
    ours: &'static [&'static str],
    /// Which packages they may import beside [`PLAIN`]; [`ANY`] is every one.
    packages: &'static [&'static str],
    /// Whether [`impurity`] is banned.
    pure: bool,
}

/// Packages of plain values and of codecs for them.
const PLAIN: &[&str] = &[
    "bytes",
    "data_encoding",
    "serde",
    "serde_bencode",
    "serde_bytes",
    "thiserror",
];
const ANY: &[&str] = &["*"];

const LEAVES: &[&str] = &[
    "bencode", "bitfield", "compact", "ids", "network", "rate", "text",
];

const ROWS: &[Row] = &[
    Row {
        modules: LEAVES,
        ours: &[],
        packages: &[],
        pure: true,
    },
    Row {
        modules: &["metainfo"],
        ours: &[],
        packages: &["sha1"],
        pure: true,
    },
    Row {
        modules: &["wire"],
        ours: &["metainfo"],
        packages: &["sha1"],
        pure: true,
    },
    Row {
        modules: &["dht"],
        ours: &[],
        packages: &["crc", "ed25519_dalek", "lru", "rand", "sha1"],
        pure: true,
    },
    Row {
        modules: &["torrent"],
        ours: &["metainfo", "wire"],
        packages: &["lru", "rand"],
        pure: true,
    },
    Row {
        // The hash of the metadata is the torrent's name.
        modules: &["torrent::metadata"],
        ours: &["metainfo", "torrent", "wire"],
        packages: &["rand", "sha1"],
        pure: true,
    },
    Row {
        modules: &["storage"],
        ours: &["metainfo"],
        packages: &["lru", "rustix", "sha1", "tracing"],
        pure: false,
    },
    Row {
        modules: &["net"],
        ours: &["dht", "metainfo", "storage", "torrent", "wire"],
        packages: ANY,
        pure: false,
    },
    Row {
        modules: &["session"],
        ours: &["dht", "metainfo", "net", "storage", "torrent", "wire"],
        packages: ANY,
        pure: false,
    },
    Row {
        modules: &["cli"],
        ours: &[
            "dht", "metainfo", "net", "session", "storage", "torrent", "wire",
        ],
        packages: ANY,
        pure: false,
    },
    Row {
        modules: &["testnet::sim", "testnet::bound"],
        ours: &["dht", "metainfo", "storage::memory", "torrent", "wire"],
        packages: &["lru", "rand", "serde_json", "sha1", "tracing"],
        pure: false,
    },
    Row {
        modules: &["testnet"],
        ours: &[
            "dht",
            "metainfo",
            "session",
            "storage",
            "testnet::sim",
            "testnet::bound",
            "torrent",
            "wire",
        ],
        packages: ANY,
        pure: false,
    },
];

/// The longest file, with its tests.
const MAX_LINES: usize = 800;

#[test]
fn every_import_is_in_the_table() {
    let packages = packages();
    let mut broken = Vec::new();
    let mut checked = 0;
    for source in sources() {
        if source.is_tests() || source.module.is_empty() {
            continue;
        }
        let text = fs::read_to_string(&source.path).expect("a listed file can be read");
        broken.extend(
            check(&source.module, &text, &packages)
                .into_iter()
                .map(|(line, complaint)| format!("{}:{line}: {complaint}", source.path.display())),
        );
        checked += 1;
    }
    assert!(checked > 30, "only {checked} files were found");
    assert!(broken.is_empty(), "\n{}\n", broken.join("\n"));
}

#[test]
fn every_row_is_about_something() {
    let modules: Vec<String> = sources()
        .iter()
        .map(|source| source.module.join("::"))
        .collect();
    for module in ROWS.iter().flat_map(|row| row.modules) {
        let stands = modules.iter().any(|name| is_within(name, module));
        assert!(stands, "the table names `{module}`, which is gone");
    }
}

#[test]
fn no_file_is_longer_than_a_reader_can_hold() {
    let long: Vec<String> = sources()
        .into_iter()
        .filter_map(|source| {
            let lines = fs::read_to_string(&source.path).ok()?.lines().count();
            (lines > MAX_LINES).then(|| format!("{}: {lines} lines", source.path.display()))
        })
        .collect();
    assert!(
        long.is_empty(),
        "over {MAX_LINES} lines:\n{}",
        long.join("\n")
    );
}

// ---- the files -----------------------------------------------------------------------------------

/// A source file and the module that it is: `dht::krpc`, `testnet::sim::link`, or nothing for the
/// crate roots, which only list modules and re-export.
struct Source {
    path: PathBuf,
    module: Vec<String>,
}

impl Source {
    fn is_tests(&self) -> bool {
        self.module.iter().any(|name| name == "tests")
    }
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut sources = Vec::new();
    let mut folders = vec![(root.join("src"), Vec::new())];
    folders.push((root.join("testnet/src"), vec!["testnet".to_owned()]));
    while let Some((folder, module)) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a source folder can be read") {
            let path = entry.expect("a source folder can be read").path();
            let stem = path.file_stem().and_then(|stem| stem.to_str());
            let mut module = module.clone();
            match stem.expect("sources have plain names") {
                "lib" | "main" => module.clear(),
                "mod" => {}
                stem => module.push(stem.to_owned()),
            }
            if path.is_dir() {
                folders.push((path, module));
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                sources.push(Source { path, module });
            }
        }
    }
    sources
}

/// The packages that our two manifests depend on, as Rust writes them.
fn packages() -> Vec<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut packages = Vec::new();
    for manifest in ["Cargo.toml", "testnet/Cargo.toml"] {
        let text = fs::read_to_string(root.join(manifest)).expect("the manifest can be read");
        let mut within = false;
        for line in text.lines() {
            if line.starts_with('[') {
                within = line.trim_end().ends_with("dependencies]");
            } else if within && let Some(name) = line.split(['=', '.']).next() {
                packages.push(name.trim().replace('-', "_"));
            }
        }
    }
    packages.retain(|name| !name.is_empty() && name != "mainswarm");
    packages
}

// ---- the check -------------------------------------------------------------------------------------

/// What a module's source imports against the table: line and complaint.
fn check(module: &[String], text: &str, packages: &[String]) -> Vec<(usize, String)> {
    let name = module.join("::");
    let Some(row) = row_of(&name) else {
        return vec![(1, format!("`{name}` has no row in the import table"))];
    };
    let mut complaints = Vec::new();
    for (line, path) in paths(&tokens(&without_tests(&without_prose(text)))) {
        let complaint = match resolve(module, &path) {
            Some(ours) => (!may_import_ours(row, &ours)).then(|| {
                format!(
                    "may import {}, not `{ours}`",
                    listed(row.ours, "the leaves")
                )
            }),
            None if path.len() > 1 && packages.contains(&path[0]) => {
                let known = [row.packages, PLAIN].concat();
                (row.packages != ANY && !known.contains(&path[0].as_str())).then(|| {
                    let known = listed(row.packages, "plain data packages");
                    format!("may import {known}, not `{}`", path[0])
                })
            }
            None => None,
        };
        let impure = row.pure.then(|| impurity(&path)).flatten();
        for complaint in complaint.into_iter().chain(impure) {
            let modules = row.modules.join(", ");
            complaints.push((line, format!("{modules}: {complaint}")));
        }
    }
    complaints
}

/// The row with the longest module name that `name` is or lies below.
fn row_of(name: &str) -> Option<&'static Row> {
    let named = |row: &'static Row| row.modules.iter().map(move |module| (*module, row));
    ROWS.iter()
        .flat_map(named)
        .filter(|(module, _)| is_within(name, module))
        .max_by_key(|(module, _)| module.len())
        .map(|(_, row)| row)
}

fn is_within(name: &str, module: &str) -> bool {
    name.strip_prefix(module)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

fn may_import_ours(row: &Row, ours: &str) -> bool {
    let mut allowed = row.ours.iter().chain(LEAVES).chain(row.modules);
    allowed.any(|module| is_within(ours, module))
}

fn listed(names: &[&str], more: &str) -> String {
    let mut names = names.to_vec();
    names.push(more);
    names.join(", ")
}

/// The module of ours that a path names, from `crate`, `mainswarm`, `super` or `self`.
fn resolve(module: &[String], path: &[String]) -> Option<String> {
    let in_testnet = module.first().is_some_and(|first| first == "testnet");
    let (mut base, rest) = match path.first()?.as_str() {
        "crate" if in_testnet => (vec!["testnet".to_owned()], &path[1..]),
        "crate" | "mainswarm" => (Vec::new(), &path[1..]),
        "self" => (module.to_vec(), &path[1..]),
        "super" => {
            let up = path.iter().take_while(|name| *name == "super").count();
            (
                module[..module.len().saturating_sub(up)].to_vec(),
                &path[up..],
            )
        }
        _ => return None,
    };
    base.extend(rest.iter().cloned());
    // `crate` alone, as in `pub(crate)`, and macros and constants of a root name no module.
    let names_module = base.len() > usize::from(in_testnet && base[0] == "testnet");
    names_module.then(|| base.join("::"))
}

/// What a core must not touch.
fn impurity(path: &[String]) -> Option<String> {
    let names: Vec<&str> = path.iter().map(String::as_str).collect();
    let reason = match names[..] {
        ["std", "net", "IpAddr" | "Ipv4Addr" | "Ipv6Addr", ..]
        | [
            "std",
            "net",
            "SocketAddr" | "SocketAddrV4" | "SocketAddrV6",
            ..,
        ]
        | ["std", "net", "AddrParseError", ..]
        | ["std", "sync", "Arc" | "Weak", ..] => return None,
        ["std", "net", ..] => "sockets belong to net, a core knows addresses only",
        ["std", "sync", ..] => "one task owns a core: nothing is locked",
        ["std", "fs", ..] => "files belong to storage",
        ["std", "thread", ..] => "threads belong to net",
        ["rand", "rng" | "random" | "random_range" | "make_rng", ..] | ["getrandom", ..] => {
            "randomness comes from the seed that a core was given"
        }
        _ if names
            .iter()
            .any(|name| ["SysRng", "OsRng", "ThreadRng"].contains(name)) =>
        {
            "randomness comes from the seed that a core was given"
        }
        _ if names.contains(&"SystemTime") => "only files carry wall-clock time",
        _ if names.windows(2).any(|pair| pair == ["Instant", "now"]) => "time is an argument",
        _ => return None,
    };
    Some(format!("`{}`: {reason}", path.join("::")))
}

// ---- reading Rust, as far as paths go ------------------------------------------------------------------

/// The text with comments, strings and characters blanked, lines kept.
fn without_prose(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let (len, is_prose) = prose_len(rest, out.chars().next_back());
        let len = len.max(first.len_utf8());
        let (head, tail) = rest.split_at(len);
        if is_prose {
            out.push(' ');
            out.extend(head.chars().filter(|char| *char == '\n'));
        } else {
            out.push_str(head);
        }
        rest = tail;
    }
    out
}

/// The length of the comment or literal that `text` starts with, if it does.
fn prose_len(text: &str, before: Option<char>) -> (usize, bool) {
    let after_name = before.is_some_and(|char| char.is_alphanumeric() || char == '_');
    if text.starts_with("//") {
        return (text.find('\n').unwrap_or(text.len()), true);
    }
    if text.starts_with("/*") {
        return (text.find("*/").map_or(text.len(), |end| end + 2), true);
    }
    let raw = text
        .trim_start_matches('b')
        .strip_prefix('r')
        .filter(|_| !after_name);
    if let Some(raw) = raw {
        let hashes = raw.len() - raw.trim_start_matches('#').len();
        if raw[hashes..].starts_with('"') {
            let close = format!("\"{}", "#".repeat(hashes));
            let body = text.len() - raw.len() + hashes + 1;
            let end = text[body..]
                .find(&close)
                .map(|end| body + end + close.len());
            return (end.unwrap_or(text.len()), true);
        }
    }
    if text.starts_with('"') {
        return (closing_quote(text, '"'), true);
    }
    // `'a` is a lifetime, `'a'` and `'\n'` are characters.
    let mut chars = text.chars();
    if chars.next() == Some('\'') {
        let (first, second) = (chars.next(), chars.next());
        if first == Some('\\') || second == Some('\'') {
            return (closing_quote(text, '\''), true);
        }
    }
    (0, false)
}

fn closing_quote(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, char) in text.char_indices().skip(1) {
        match char {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            char if char == quote => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// The text without items under `#[cfg(test)]`, lines kept.
fn without_tests(text: &str) -> String {
    const MARK: &str = "#[cfg(test)]";
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(MARK) {
        let (head, item) = rest.split_at(at);
        out.push_str(head);
        let mut depth = 0;
        let end = item.char_indices().skip(MARK.len()).find_map(|(at, char)| {
            match char {
                '{' => depth += 1,
                '}' => depth -= 1,
                _ => {}
            }
            let ends = depth == 0 && matches!(char, '}' | ';');
            ends.then_some(at + 1)
        });
        let (test, tail) = item.split_at(end.unwrap_or(item.len()));
        out.extend(test.chars().filter(|char| *char == '\n'));
        rest = tail;
    }
    out.push_str(rest);
    out
}

/// A name, `::`, or any other character that is not white space, with its line.
fn tokens(text: &str) -> Vec<(usize, String)> {
    let mut tokens: Vec<(usize, String)> = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let mut rest = line.trim_start();
        while let Some(first) = rest.chars().next() {
            let name = rest.find(|char: char| !char.is_alphanumeric() && char != '_');
            let len = match name.unwrap_or(rest.len()) {
                0 if rest.starts_with("::") => 2,
                0 => first.len_utf8(),
                len => len,
            };
            let (token, tail) = rest.split_at(len);
            tokens.push((number + 1, token.to_owned()));
            rest = tail.trim_start();
        }
    }
    tokens
}

/// Every path in the text, the trees of `use` flattened.
fn paths(tokens: &[(usize, String)]) -> Vec<(usize, Vec<String>)> {
    let mut paths = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        if is_name(&tokens[at].1) {
            at = read_path(tokens, at, &[], &mut paths);
        } else {
            at += 1;
        }
    }
    paths
}

fn is_name(token: &str) -> bool {
    token.starts_with(|char: char| char.is_alphabetic() || char == '_')
}

/// Reads one path, or one entry of a tree, that starts at `at`; where it ends.
fn read_path(
    tokens: &[(usize, String)],
    mut at: usize,
    prefix: &[String],
    paths: &mut Vec<(usize, Vec<String>)>,
) -> usize {
    let mut path = prefix.to_vec();
    let line = tokens[at].0;
    let token = |at: usize| tokens.get(at).map_or("", |(_, token)| token.as_str());
    loop {
        if is_name(token(at)) {
            path.push(token(at).to_owned());
            at += 1;
        } else if token(at) == "{" {
            at += 1;
            while at < tokens.len() && token(at) != "}" {
                at = if is_name(token(at)) && token(at - 1) != "as" {
                    read_path(tokens, at, &path, paths)
                } else {
                    at + 1
                };
            }
            return at + 1;
        } else {
            break;
        }
        let tree = token(at + 1) == "{" || is_name(token(at + 1));
        if token(at) != "::" || !tree {
            break;
        }
        at += 1;
    }
    paths.push((line, path));
    at
}

// ---- the checker, on sources that it must refuse or accept ----------------------------------------------

fn complaints(module: &str, text: &str) -> Vec<(usize, String)> {
    let module: Vec<String> = module.split("::").map(str::to_owned).collect();
    check(&module, text, &packages())
}

#[test]
fn bad_sources_are_refused_with_line_and_row() {
    let rows = [
        ("dht", "use crate::wire::Message;", "not `wire::Message`"),
        (
            "dht::krpc",
            "use crate::{ids::NodeId, torrent::{PeerKey}};",
            "`torrent::PeerKey`",
        ),
        (
            "torrent",
            "fn f() { crate::storage::open(); }",
            "`storage::open`",
        ),
        (
            "torrent::picker",
            "use super::super::dht::Dht;",
            "`dht::Dht`",
        ),
        ("torrent::picker", "use sha1::Sha1;", "not `sha1`"),
        (
            "ids",
            "use super::metainfo::Metainfo;",
            "`metainfo::Metainfo`",
        ),
        ("metainfo", "use crate::wire::Message;", "`wire::Message`"),
        ("rate", "use tokio::time::Instant;", "`tokio`"),
        (
            "wire",
            "use std::{fmt, net::{SocketAddr, TcpStream}};",
            "`std::net::TcpStream`",
        ),
        ("wire", "use std::net;", "sockets belong"),
        ("dht", "let x = std::fs::read(p);", "files belong"),
        ("dht", "use std::sync::{Arc, Mutex};", "`std::sync::Mutex`"),
        ("dht", "use std::thread;", "threads belong"),
        ("dht", "let now = Instant::now();", "time is an argument"),
        (
            "dht",
            "let now = std::time::SystemTime::now();",
            "wall-clock",
        ),
        ("dht", "use rand::rngs::SysRng;", "randomness"),
        ("dht", "let x = rand::rng().random::<u8>();", "randomness"),
        (
            "storage",
            "use crate::torrent::StorageDone;",
            "`torrent::StorageDone`",
        ),
        ("storage", "use tokio::fs::File;", "not `tokio`"),
        ("net", "use crate::session::Session;", "`session::Session`"),
        ("session", "use crate::cli::Ui;", "`cli::Ui`"),
        (
            "testnet::sim",
            "use mainswarm::session::Session;",
            "`session::Session`",
        ),
        (
            "testnet::sim::node",
            "use crate::live::LiveNetwork;",
            "`testnet::live::LiveNetwork`",
        ),
        (
            "testnet::sim",
            "use mainswarm::storage::files::Files;",
            "`storage::files::Files`",
        ),
        (
            "testnet::live",
            "use mainswarm::net::dialer;",
            "`net::dialer`",
        ),
        ("novel", "use std::fmt;", "no row"),
    ];
    for (module, text, complaint) in rows {
        let text = format!("//! Head.\n\n{text}\n");
        let found = complaints(module, &text);
        let [(line, said)] = &found[..] else {
            panic!("{module}: {text}{found:?}");
        };
        assert!(said.contains(complaint), "{module}: {text}{said}");
        assert!(
            *line == 3 || module == "novel",
            "{module}: {text}line {line}"
        );
    }
}

#[test]
fn good_sources_are_accepted() {
    let rows = [
        (
            "dht",
            "use crate::{compact::Family, ids::{InfoHash, NodeId}};",
        ),
        (
            "dht::lookup",
            "use super::{Contact, krpc::Query}; use crate::dht::node::Node;",
        ),
        (
            "dht",
            "use std::{net::{IpAddr, SocketAddr}, sync::Arc, time::{Duration, Instant}};",
        ),
        (
            "dht",
            "use lru::LruCache; use rand::{RngExt, SeedableRng, rngs::StdRng};",
        ),
        (
            "torrent",
            "pub(crate) fn f(bytes: &[u8]) -> Option<'_> { bytes.first() }",
        ),
        (
            "torrent::metadata",
            "use sha1::Sha1; use super::PeerKey; use crate::torrent::Event;",
        ),
        (
            "dht",
            "// use tokio::net::UdpSocket;\n/* std::fs */ let x = \"std::fs::read\";",
        ),
        (
            "dht",
            "let x = r#\"std::fs \"quoted\" std::thread\"#; let y = '\"'; let z = '{';",
        ),
        (
            "dht",
            "#[cfg(test)]\nmod tests { use std::thread; fn f() { Instant::now(); } }",
        ),
        ("dht", "#[cfg(test)]\nmod tests;\npub(super) mod krpc;"),
        (
            "storage",
            "use std::{fs::File, sync::Mutex}; use crate::metainfo::Block;",
        ),
        (
            "net",
            "use tokio::net::UdpSocket; use crate::{dht::Dht, torrent::Torrent};",
        ),
        (
            "cli::get",
            "use mainswarm::session::Session; use super::ui::Ui;",
        ),
        (
            "testnet::sim",
            "use mainswarm::{dht::Dht, storage::memory::Memory, wire};",
        ),
        (
            "testnet::sim::node",
            "use super::link::Link; use crate::sim::world::World;",
        ),
        (
            "testnet::demo",
            "use crate::{bound, live::LiveNetwork}; use mainswarm::session;",
        ),
        (
            "testnet::demo::report",
            "use crate::cpu::CpuShare; use super::Plan;",
        ),
    ];
    for (module, text) in rows {
        assert_eq!(complaints(module, text), [], "{module}: {text}");
    }
}

#[test]
fn what_follows_a_test_module_is_still_read() {
    let text = "#[cfg(test)]\nmod tests { fn f() {} }\n\nuse std::fs;\n";
    let found = complaints("dht", text);
    assert_eq!(found.iter().map(|(line, _)| *line).collect::<Vec<_>>(), [4]);
}
