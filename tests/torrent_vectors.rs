//! Every fixture under `vectors/torrents` is judged as its manifest says, and where it is accepted
//! it says what libtorrent says. Then arithmetic that must be refused, size, and garbage.
use std::{
    collections::HashSet,
    fs,
    path::{Component, Path},
    time::{Duration, Instant},
};

use mainswarm::metainfo::{Error, Metainfo};
use proptest::prelude::*;
use serde_json::Value as Json;

fn vectors() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors"))
}

fn json(name: &str) -> Json {
    serde_json::from_slice(&fs::read(vectors().join(name)).unwrap()).unwrap()
}

/// What must hold for every torrent that is accepted, whatever it is.
fn check_sound(metainfo: &Metainfo) {
    let mut seen = HashSet::new();
    let mut offset = 0;
    for file in metainfo.files() {
        assert_eq!(file.offset(), offset);
        offset += file.len();
        let components: Vec<_> = file.path().components().collect();
        assert!(!components.is_empty());
        for component in components {
            let Component::Normal(name) = component else {
                panic!("{:?}", file.path());
            };
            let name = name.to_str().unwrap();
            let odd = |char: char| char.is_control() || matches!(char, '/' | '\\' | '\u{202e}');
            assert!(name.len() <= 255 && !name.contains(odd), "{name:?}");
        }
        let folded = file.path().to_str().unwrap().to_lowercase();
        assert!(file.is_pad() || seen.insert(folded), "{:?}", file.path());
    }
    for file in metainfo.files().iter().filter(|file| !file.is_pad()) {
        for directory in file.path().ancestors().skip(1) {
            let folded = directory.to_str().unwrap().to_lowercase();
            assert!(!seen.contains(&folded), "{:?}", file.path());
        }
    }
    assert_eq!(offset, metainfo.geometry().total_len());
    for piece in metainfo.geometry().pieces() {
        metainfo.piece_hash(piece);
    }
}

/// Whether the manifest allows the outcome. Accepting is right for both kinds of accepting: what
/// was made safe is for [`check_sound`] to see.
fn passes(row: &Json, read: &Result<Metainfo, Error>) -> bool {
    let outcomes = row["pass_outcomes"].as_array().unwrap();
    outcomes.iter().any(|outcome| match outcome.as_str() {
        Some("accept" | "accept_sanitised") => read.is_ok(),
        Some("reject") => read.is_err(),
        Some("reject_as_unsupported_v2") => *read == Err(Error::OnlyV2),
        other => panic!("unknown outcome {other:?}"),
    })
}

#[test]
fn fixtures_are_judged_as_the_manifest_says() {
    let manifest = json("torrents/manifest.json");
    let rows = manifest["torrents"].as_array().unwrap();
    assert_eq!(rows.len(), 111);
    for row in rows {
        let path = row["path"].as_str().unwrap();
        let read =
            Metainfo::from_torrent(&fs::read(vectors().join("torrents").join(path)).unwrap());
        assert!(passes(row, &read), "{path}: {read:?}");
        let Ok(metainfo) = read else {
            continue;
        };
        check_sound(&metainfo);
        assert_eq!(
            Metainfo::from_torrent(&metainfo.to_torrent()),
            Ok(metainfo.clone()),
            "{path}"
        );
        let theirs = &row["libtorrent_2_1_1"];
        if theirs["outcome"] == "accept" {
            let hash = metainfo.info_hash().to_string();
            assert_eq!(theirs["info_hash_v1"], hash.as_str(), "{path}");
            let geometry = metainfo.geometry();
            assert_eq!(theirs["total_size"], geometry.total_len(), "{path}");
            assert_eq!(theirs["num_pieces"], geometry.piece_count(), "{path}");
            assert_eq!(theirs["num_files"], metainfo.files().len(), "{path}");
            assert_eq!(theirs["private"], metainfo.is_private(), "{path}");
            let files = theirs["files"].as_array().unwrap();
            for (file, theirs) in metainfo.files().iter().zip(files) {
                let flag = |name: &str| {
                    let flags = theirs["flags"].as_array();
                    flags.is_some_and(|flags| flags.iter().any(|flag| flag == name))
                };
                assert_eq!(theirs["size"], file.len(), "{path}");
                // Honest names stay as they are.
                if path.starts_with("good/") && !file.is_pad() {
                    assert_eq!(theirs["path"], file.path().to_str().unwrap());
                }
                assert_eq!(flag("pad"), file.is_pad(), "{path}");
                assert_eq!(flag("symlink"), file.is_symlink(), "{path}");
            }
        }
    }
}

/// `d4:infod…ee` with the given values of an `info` dictionary, bencoded already.
fn torrent(files_or_length: &str, piece_length: &str, pieces: usize) -> Vec<u8> {
    let head = format!("d4:infod{files_or_length}4:name5:probe12:piece length{piece_length}");
    let pieces = [format!("6:pieces{pieces}:").into_bytes(), vec![7; pieces]].concat();
    [head.as_bytes(), &pieces, b"ee"].concat()
}

#[test]
fn arithmetic_that_cannot_be_true_is_refused() {
    let limits = json("metainfo_limits.json");
    let text = |value: &Json| match value.as_str() {
        // A string of the vectors is a number that JSON would round, or else a quoted string.
        Some(text) => match text.strip_prefix('"') {
            Some(quoted) => format!("{}:{}", quoted.len() - 1, quoted.trim_end_matches('"')),
            None => format!("i{text}e"),
        },
        None => format!("i{value}e"),
    };
    let rows = limits["reject"].as_array().unwrap();
    assert_eq!(rows.len(), 11);
    for row in rows {
        let lengths = row["lengths"].as_array().unwrap();
        let files = match &lengths[..] {
            [length] => format!("6:length{}", text(length)),
            lengths => {
                let file = |length| format!("d6:length{}4:pathl1:aee", text(length));
                format!("5:filesl{}e", lengths.iter().map(file).collect::<String>())
            }
        };
        let pieces = row["pieces_bytes"].as_u64().unwrap() as usize;
        let refused = Metainfo::from_torrent(&torrent(&files, &text(&row["piece_length"]), pieces));
        let refused = refused.unwrap_err();
        assert!(
            !matches!(refused, Error::Bencode(_)),
            "{}: {refused}",
            row["name"]
        );
    }
    let sound = torrent("6:lengthi40000e", "i16384e", 60);
    assert!(Metainfo::from_torrent(&sound).is_ok());
}

#[test]
fn limits_are_where_they_are_said_to_be() {
    let read = |len: u64, piece_len: u64, pieces: usize| {
        let length = format!("6:lengthi{len}e");
        Metainfo::from_torrent(&torrent(&length, &format!("i{piece_len}e"), pieces * 20))
    };
    assert!(read(1 << 32, 1 << 30, 4).is_ok());
    assert_eq!(
        read(1 << 32, (1 << 30) + 1, 4),
        Err(Error::PieceLength((1 << 30) + 1))
    );
    assert!(read(4_194_304, 1, 4_194_304).is_ok());
    assert_eq!(
        read(4_194_305, 1, 4_194_305),
        Err(Error::TooManyPieces(4_194_305))
    );
    assert_eq!(read((1 << 56) + 1, 1 << 30, 1), Err(Error::TooLong));
    assert_eq!(read(0, 16_384, 0), Err(Error::Empty));
    let expected = Err(Error::HashCount {
        expected: 40,
        found: 20,
    });
    assert_eq!(read(16_385, 16_384, 1), expected);
}

#[test]
fn names_in_utf8_are_preferred_when_they_are() {
    let read = |name: &str, path: &str| {
        let files = format!("5:filesld6:lengthi9e4:pathl3:olde{path}ee");
        let torrent = torrent(&files, "i16384e", 20);
        let text = String::from_utf8(torrent).unwrap();
        let text = text.replace("4:name5:probe", &format!("4:name5:probe{name}"));
        let metainfo = Metainfo::from_torrent(text.as_bytes()).unwrap();
        metainfo.files()[0].path().to_str().unwrap().to_owned()
    };
    assert_eq!(read("10:name.utf-82:é", "10:path.utf-8l3:newe"), "é/new");
    assert_eq!(
        read("10:name.utf-80:", "10:path.utf-8l3:newi1ee"),
        "probe/old"
    );
    assert_eq!(read("10:name.utf-8i1e", "10:path.utf-83:new"), "probe/old");
}

#[test]
fn half_a_million_files_take_seconds_at_most() {
    let mut files = String::from("5:filesl");
    for index in 0..500_000 {
        // A thousand directories, and every name twice.
        let (directory, name) = (index % 1_000, index / 2_000);
        files += &format!("d6:lengthi1e4:pathl4:d{directory:03}4:f{name:03}ee");
    }
    files += "e";
    let torrent = torrent(&files, "i1048576e", 20);
    let start = Instant::now();
    let metainfo = Metainfo::from_torrent(&torrent).unwrap();
    let elapsed = start.elapsed();
    assert_eq!(metainfo.files().len(), 500_000);
    check_sound(&metainfo);
    assert!(elapsed < Duration::from_secs(20), "{elapsed:?}");
}

/// Names that a torrent may hold, from harmless to hostile.
fn name() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        "[aA]{1,2}(\\.1)?".prop_map(String::into_bytes),
        Just(b"..".to_vec()),
        Just(b".".to_vec()),
        Just(b"/".to_vec()),
        Just("\u{202e}é".as_bytes().to_vec()),
        Just(vec![b'a'; 300]),
        proptest::collection::vec(any::<u8>(), 0..6),
    ]
}

proptest! {
    #[test]
    fn whatever_the_names_the_paths_are_sound(
        root in name(),
        files in proptest::collection::vec(proptest::collection::vec(name(), 0..4), 1..40),
    ) {
        let string = |bytes: &[u8]| [format!("{}:", bytes.len()).as_bytes(), bytes].concat();
        let mut bytes = b"d4:infod5:filesl".to_vec();
        for path in &files {
            bytes.extend_from_slice(b"d6:lengthi3e4:pathl");
            path.iter().for_each(|name| bytes.extend(string(name)));
            bytes.extend_from_slice(b"ee");
        }
        bytes.extend_from_slice(b"e4:name");
        bytes.extend(string(&root));
        bytes.extend_from_slice(b"12:piece lengthi16384e6:pieces20:aaaaaaaaaaaaaaaaaaaaee");
        let metainfo = Metainfo::from_torrent(&bytes).unwrap();
        check_sound(&metainfo);
        prop_assert_eq!(Metainfo::from_torrent(&bytes), Ok(metainfo));
    }

    #[test]
    fn damaged_torrents_never_panic(
        which in 0usize..111,
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        cut in any::<prop::sample::Index>(),
    ) {
        static ROWS: std::sync::LazyLock<Vec<Vec<u8>>> = std::sync::LazyLock::new(|| {
            let manifest = json("torrents/manifest.json");
            let rows = manifest["torrents"].as_array().unwrap().iter();
            let path = |row: &Json| vectors().join("torrents").join(row["path"].as_str().unwrap());
            rows.map(|row| fs::read(path(row)).unwrap()).collect()
        });
        let mut bytes = ROWS[which].clone();
        for (index, byte) in changes {
            let at = index.index(bytes.len());
            bytes[at] = byte;
        }
        for bytes in [&bytes[..], &bytes[..cut.index(bytes.len())]] {
            if let Ok(metainfo) = Metainfo::from_torrent(bytes) {
                check_sound(&metainfo);
            }
        }
    }
}
