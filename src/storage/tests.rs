//! A store on a real file system: crashes, foreign changes, hostile directories.

#![cfg(unix)]

use std::{
    collections::BTreeMap,
    fs::{self, File, FileTimes, OpenOptions},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use sha1::{Digest, Sha1};
use tempfile::TempDir;

use super::{
    Blocks, Cause, Layout, StorageError, Store, VerifyOrder,
    files::{PART, lock},
    memory::Content,
    store::Place,
};
use crate::{
    bitfield::Bitfield,
    ids::InfoHash,
    metainfo::{Geometry, PieceIndex},
};

const PIECE: u32 = 32_768;
const BOOT: [u8; 16] = [1; 16];

/// A torrent's content and two directories for it.
struct Fixture {
    dir: TempDir,
    files: Vec<(PathBuf, u64, bool)>,
    content: Bytes,
    wanted: Option<Vec<bool>>,
    trusted: bool,
    boot: Option<[u8; 16]>,
}

/// An open store and what opening it did.
struct Opened {
    store: Store,
    have: Bitfield,
    believed: u32,
    hashed: usize,
}

impl Fixture {
    fn new(files: &[(&str, u64)]) -> Self {
        let files: Vec<_> = files
            .iter()
            .map(|(path, len)| (PathBuf::from(path), *len, false))
            .collect();
        let len = files.iter().map(|file| file.1).sum();
        Self {
            dir: TempDir::new().unwrap(),
            files,
            content: Content::Generated { seed: 1, len }.range(0, len),
            wanted: None,
            trusted: false,
            boot: Some(BOOT),
        }
    }

    fn geometry(&self) -> Geometry {
        Geometry::new(self.content.len() as u64, PIECE).unwrap()
    }

    fn output(&self) -> PathBuf {
        self.dir.path().join("out")
    }

    fn state(&self) -> PathBuf {
        let entries = fs::read_dir(self.dir.path().join("state/resume")).unwrap();
        let mut paths = entries.map(|entry| entry.unwrap().path());
        paths
            .find(|path| path.extension().is_some_and(|is| is == "resume"))
            .unwrap()
    }

    fn try_open(&self) -> Result<Opened, StorageError> {
        let state_dir = self.dir.path().join("state");
        let place = Place {
            info_hash: InfoHash::new([7; 20]),
            output_dir: &self.output(),
            state_dir: Some(&state_dir),
            wanted: self.wanted.as_deref(),
            trusted: self.trusted,
            boot: self.boot,
        };
        let geometry = self.geometry();
        let layout = Layout::new(&self.files, geometry).unwrap();
        let content = Content::Bytes(self.content.clone());
        let hash = Box::new(move |piece| content.piece_hash(geometry, piece));
        let (store, plan) = Store::open_layout(layout, hash, &place)?;
        let mut have = plan.believed().clone();
        let believed = have.count_ones();
        for piece in plan.unchecked() {
            if store.check(&plan, *piece)? {
                have.set(piece.0);
            }
        }
        store.opened(&plan, &have)?;
        Ok(Opened {
            store,
            have,
            believed,
            hashed: plan.unchecked().len(),
        })
    }

    fn open(&self) -> Opened {
        self.try_open().unwrap()
    }

    fn blocks(&self, piece: u32) -> Blocks {
        let geometry = self.geometry();
        let piece = PieceIndex(piece);
        (0..geometry.blocks_in(piece))
            .map(|index| {
                let block = geometry.block(piece, index).unwrap();
                let start = geometry.block_offset(block) as usize;
                let data = self.content.slice(start..start + block.len as usize);
                (block.begin, data)
            })
            .collect()
    }

    fn order(&self, piece: u32) -> VerifyOrder {
        VerifyOrder {
            piece: PieceIndex(piece),
            blocks: self.blocks(piece),
            want_digests: false,
        }
    }

    fn fetch(&self, store: &Store, pieces: impl IntoIterator<Item = u32>) {
        for piece in pieces {
            assert!(store.verify(&self.order(piece)).unwrap().ok);
        }
    }

    fn fetch_all(&self, store: &Store) {
        self.fetch(store, 0..self.geometry().piece_count());
    }

    /// The content as the files have it.
    fn assert_files_are_right(&self) {
        let mut at = 0;
        for (path, len, pad) in &self.files {
            let end = at + *len as usize;
            if !pad {
                let found = fs::read(self.output().join(path)).unwrap();
                assert!(found == self.content[at..end], "{path:?}");
            }
            at = end;
        }
    }
}

fn overwrite(path: &Path, offset: u64, bytes: &[u8]) {
    let file = OpenOptions::new().write(true).open(path).unwrap();
    file.write_all_at(bytes, offset).unwrap();
}

fn cut(path: &Path, len: u64) {
    let file = OpenOptions::new().write(true).open(path).unwrap();
    file.set_len(len).unwrap();
}

fn have_but(fixture: &Fixture, without: &[u32]) -> Bitfield {
    let mut have = Bitfield::full(fixture.geometry().piece_count());
    for piece in without {
        have.clear(*piece);
    }
    have
}

fn three_files() -> Fixture {
    Fixture::new(&[("t/a", 100_000), ("t/sub/b", 70_000), ("t/c", 50_001)])
}

#[test]
fn a_clean_close_is_believed_without_hashing() {
    let fixture = three_files();
    let opened = fixture.open();
    assert_eq!((opened.have.count_ones(), opened.hashed), (0, 0));
    fixture.fetch_all(&opened.store);
    opened.store.close().unwrap();
    drop(opened);
    fixture.assert_files_are_right();
    for _ in 0..2 {
        let opened = fixture.open();
        assert!(opened.have.is_full());
        assert_eq!(opened.hashed, 0);
        let read = opened.store.read(PieceIndex(3), 5, 20_000).unwrap();
        let at = 3 * PIECE as usize + 5;
        assert_eq!(read, fixture.content[at..at + 20_000]);
        opened.store.close().unwrap();
    }
}

#[test]
fn a_clean_close_of_a_part_hashes_nothing_either() {
    let fixture = three_files();
    let opened = fixture.open();
    fixture.fetch(&opened.store, [0, 5]);
    opened.store.close().unwrap();
    drop(opened);
    let opened = fixture.open();
    assert_eq!(opened.have.ones().collect::<Vec<_>>(), [0, 5]);
    // Only pieces in a file that does not exist yet are looked at, and found missing.
    assert_eq!(opened.hashed, 0);
}

#[test]
fn a_crash_loses_nothing_and_believes_what_was_recorded() {
    let fixture = three_files();
    let opened = fixture.open();
    fixture.fetch(&opened.store, [0, 2, 6]);
    // Written but killed before it was recorded: as if the piece had been spilled whole.
    drop(opened);
    let opened = fixture.open();
    assert_eq!(opened.have.ones().collect::<Vec<_>>(), [0, 2, 6]);
    assert_eq!(opened.believed, 3);
    opened
        .store
        .spill(PieceIndex(1), &fixture.blocks(1))
        .unwrap();
    drop(opened);
    let opened = fixture.open();
    assert_eq!(opened.have.ones().collect::<Vec<_>>(), [0, 1, 2, 6]);
    assert_eq!(opened.believed, 3);
}

#[test]
fn a_write_that_was_not_recorded_is_found_by_hashing() {
    let fixture = Fixture::new(&[("a", 100_000)]);
    let opened = fixture.open();
    fixture.fetch(&opened.store, [0]);
    drop(opened);
    let start = PIECE as usize;
    let path = fixture.output().join("a");
    overwrite(&path, start as u64, &fixture.content[start..2 * start]);
    let opened = fixture.open();
    assert_eq!(opened.believed, 0, "the file is newer than the record");
    assert_eq!(opened.have.ones().collect::<Vec<_>>(), [0, 1]);
}

#[test]
fn a_state_file_cut_or_damaged_anywhere_loses_nothing() {
    let fixture = three_files();
    let opened = fixture.open();
    fixture.fetch(&opened.store, [0, 1, 2, 3, 5, 6]);
    drop(opened);
    let state = fixture.state();
    let whole = fs::read(&state).unwrap();
    let expected = have_but(&fixture, &[4]);
    let mut believed_at_least_once = 0;
    for len in 0..=whole.len() {
        fs::write(&state, &whole[..len]).unwrap();
        let opened = fixture.open();
        assert_eq!(opened.have, expected, "cut at {len}");
        believed_at_least_once += u32::from(opened.believed > 0);
    }
    assert!(believed_at_least_once > 0);
    for at in 0..whole.len() {
        let mut damaged = whole.clone();
        damaged[at] ^= 1 << (at % 8);
        fs::write(&state, &damaged).unwrap();
        assert_eq!(fixture.open().have, expected, "flipped at {at}");
    }
}

#[test]
fn a_damaged_state_makes_nothing_wrong_believed() {
    let fixture = Fixture::new(&[("a", 150_000)]);
    let opened = fixture.open();
    fixture.fetch_all(&opened.store);
    drop(opened);
    let state = fixture.state();
    let whole = fs::read(&state).unwrap();
    // Changed at once after the crash: there is no time within which this could be missed.
    overwrite(&fixture.output().join("a"), 40_000, b"x");
    for len in (0..=whole.len()).rev() {
        fs::write(&state, &whole[..len]).unwrap();
        assert_eq!(
            fixture.open().have,
            have_but(&fixture, &[1]),
            "cut at {len}"
        );
    }
}

#[test]
fn foreign_changes_are_noticed() {
    type Change = fn(&Path);
    #[rustfmt::skip]
    let table: &[(&str, Change, &[u32], usize)] = &[
        ("nothing", |_| {}, &[], 0),
        ("touched", |path| {
            let later = SystemTime::now() + Duration::from_secs(5);
            let file = File::open(path).unwrap();
            file.set_times(FileTimes::new().set_modified(later)).unwrap();
        }, &[], 4),
        ("set back", |path| {
            let file = File::open(path).unwrap();
            let earlier = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
            file.set_times(FileTimes::new().set_modified(earlier)).unwrap();
        }, &[], 4),
        ("changed", |path| overwrite(path, 1, b"x"), &[0], 4),
        ("shorter", |path| cut(path, 40_000), &[1, 2, 3], 1),
        ("longer", |path| overwrite(path, 100_000, b"x"), &[], 4),
        ("gone", |path| fs::remove_file(path).unwrap(), &[0, 1, 2, 3], 0),
    ];
    for clean in [true, false] {
        for (name, change, lost, hashed) in table {
            let fixture = three_files();
            let opened = fixture.open();
            fixture.fetch_all(&opened.store);
            if clean {
                opened.store.close().unwrap();
            }
            drop(opened);
            change(&fixture.output().join("t/a"));
            let opened = fixture.open();
            assert_eq!(opened.have, have_but(&fixture, lost), "{name}, {clean}");
            assert_eq!(opened.hashed, *hashed, "{name}, {clean}");
        }
    }
}

#[test]
fn another_boot_believes_only_what_was_flushed() {
    let mut fixture = three_files();
    let opened = fixture.open();
    fixture.fetch(&opened.store, [0, 1]);
    opened.store.close().unwrap();
    drop(opened);
    fixture.boot = Some([2; 16]);
    let opened = fixture.open();
    assert_eq!(opened.believed, 2, "closed cleanly");
    fixture.fetch(&opened.store, [6]);
    drop(opened);
    let opened = fixture.open();
    assert_eq!(opened.believed, 3, "same boot");
    drop(opened);
    fixture.boot = Some([3; 16]);
    let opened = fixture.open();
    assert_eq!(opened.believed, 2, "the file of piece 6 was not flushed");
    assert_eq!(opened.have.ones().collect::<Vec<_>>(), [0, 1, 6]);
    fixture.fetch(&opened.store, [5]);
    drop(opened);
    fixture.boot = None;
    let opened = fixture.open();
    assert_eq!((opened.believed, opened.have.count_ones()), (0, 4));
}

#[test]
fn a_file_that_is_cut_while_open_is_not_blessed_by_closing() {
    let fixture = three_files();
    let opened = fixture.open();
    fixture.fetch_all(&opened.store);
    cut(&fixture.output().join("t/a"), 10);
    let error = opened.store.read(PieceIndex(1), 0, 16_384).unwrap_err();
    assert_eq!(error.cause(), Cause::Vanished);
    assert!(error.advice().contains("t/a"), "{}", error.advice());
    opened.store.close().unwrap();
    drop(opened);
    assert_eq!(fixture.open().have, have_but(&fixture, &[0, 1, 2, 3]));
}

#[cfg(unix)]
#[test]
fn a_file_deleted_under_us_is_missed_and_made_again() {
    let fixture = Fixture::new(&[("a", 100_000)]);
    let opened = fixture.open();
    fixture.fetch(&opened.store, [0]);
    fs::remove_file(fixture.output().join("a")).unwrap();
    let error = opened.store.verify(&fixture.order(1)).unwrap_err();
    assert_eq!(error.cause(), Cause::Vanished);
    fixture.fetch_all(&opened.store);
    fixture.assert_files_are_right();
}

#[test]
fn a_change_shows_although_its_time_was_set_back() {
    let fixture = Fixture::new(&[("a", 100_000)]);
    let opened = fixture.open();
    fixture.fetch_all(&opened.store);
    opened.store.close().unwrap();
    drop(opened);
    let path = fixture.output().join("a");
    let before = fs::metadata(&path).unwrap().modified().unwrap();
    overwrite(&path, 40_000, b"x");
    let times = FileTimes::new().set_modified(before);
    let file = OpenOptions::new().write(true).open(&path).unwrap();
    file.set_times(times).unwrap();
    assert_eq!(fixture.open().have, have_but(&fixture, &[1]));
}

#[test]
fn a_piece_recorded_before_a_crash_is_hashed_when_it_is_first_read() {
    let fixture = Fixture::new(&[("a", 100_000)]);
    let opened = fixture.open();
    fixture.fetch_all(&opened.store);
    drop(opened);
    let opened = fixture.open();
    assert!(opened.have.is_full());
    assert_eq!(opened.hashed, 0);
    overwrite(&fixture.output().join("a"), 40_000, b"x");
    opened.store.read(PieceIndex(0), 0, 100).unwrap();
    let error = opened.store.read(PieceIndex(1), 0, 100).unwrap_err();
    assert_eq!(error.cause(), Cause::Vanished);
}

#[test]
fn a_second_opener_works_without_state() {
    let fixture = three_files();
    let first = fixture.open();
    fixture.fetch_all(&first.store);
    let second = fixture.open();
    assert!(second.have.is_full());
    assert_eq!(second.believed, 0);
    second.store.close().unwrap();
    drop(second);
    first.store.close().unwrap();
    drop(first);
    assert_eq!(fixture.open().hashed, 0);
}

#[test]
fn unusable_state_directories_do_not_stop_a_torrent() {
    let fixture = three_files();
    fs::write(fixture.dir.path().join("state"), b"a file").unwrap();
    let opened = fixture.open();
    fixture.fetch_all(&opened.store);
    opened.store.close().unwrap();
    drop(opened);
    let opened = fixture.open();
    assert!(opened.have.is_full());
    assert_eq!(opened.believed, 0);
}

#[test]
fn a_wrong_piece_is_not_written_and_its_blocks_are_told_apart() {
    let fixture = Fixture::new(&[("a", 100_000)]);
    let opened = fixture.open();
    let mut order = fixture.order(0);
    order.blocks.insert(16_384, vec![0; 16_384].into());
    let verdict = opened.store.verify(&order).unwrap();
    let digest = |data: &Bytes| <[u8; 20]>::from(Sha1::digest(data));
    let digests: Vec<_> = order.blocks.values().map(digest).collect();
    assert_eq!((verdict.ok, verdict.digests), (false, digests));
    assert!(!fixture.output().join("a").exists());
    let order = VerifyOrder {
        want_digests: true,
        ..fixture.order(0)
    };
    let verdict = opened.store.verify(&order).unwrap();
    let digests: Vec<_> = order.blocks.values().map(digest).collect();
    assert_eq!((verdict.ok, verdict.digests), (true, digests));
}

#[test]
fn what_was_written_through_is_hashed_from_disk() {
    let fixture = three_files();
    let opened = fixture.open();
    let mut early = fixture.blocks(3);
    let late = early.split_off(&16_384);
    opened.store.spill(PieceIndex(3), &early).unwrap();
    let order = VerifyOrder {
        piece: PieceIndex(3),
        blocks: late,
        want_digests: true,
    };
    let verdict = opened.store.verify(&order).unwrap();
    assert!(verdict.ok);
    let whole: Vec<[u8; 20]> = fixture
        .blocks(3)
        .values()
        .map(|data| Sha1::digest(data).into())
        .collect();
    assert_eq!(verdict.digests, whole);
    let order = VerifyOrder {
        piece: PieceIndex(5),
        blocks: BTreeMap::new(),
        want_digests: false,
    };
    let error = opened.store.verify(&order).unwrap_err();
    assert_eq!(error.cause(), Cause::Vanished, "nobody is to blame for it");
}

#[test]
fn empty_files_and_pieces_over_many_files() {
    let mut files = vec![("t/first-empty", 0)];
    let names: Vec<String> = (0..100).map(|index| format!("t/{index:03}")).collect();
    files.extend(names.iter().map(|name| (name.as_str(), 7_001)));
    files.push(("t/deep/empty", 0));
    let fixture = Fixture::new(&files);
    let opened = fixture.open();
    assert!(fixture.output().join("t/deep/empty").exists());
    fixture.fetch_all(&opened.store);
    let read = opened.store.read(PieceIndex(1), 0, 32_768).unwrap();
    assert_eq!(read, fixture.content[32_768..65_536]);
    fixture.assert_files_are_right();
    drop(opened);
    let opened = fixture.open();
    assert_eq!(opened.believed, fixture.geometry().piece_count());
}

#[test]
fn padding_is_hashed_as_zeros_and_never_written() {
    let mut fixture = Fixture::new(&[
        ("t/a", 20_000),
        ("t/.pad/12768", 12_768),
        ("t/b", 10_000),
        ("t/.pad/22768", 22_768),
        ("t/.pad/more", 32_768),
    ]);
    let mut content = fixture.content.to_vec();
    for (from, to) in [(20_000, 32_768), (42_768, 98_304)] {
        content[from..to].fill(0);
    }
    fixture.content = content.into();
    for index in [1, 3, 4] {
        fixture.files[index].2 = true;
    }
    let opened = fixture.open();
    assert_eq!(opened.have.ones().collect::<Vec<_>>(), [2]);
    fixture.fetch(&opened.store, [0, 1]);
    let read = opened.store.read(PieceIndex(0), 19_000, 13_000).unwrap();
    assert_eq!(read, fixture.content[19_000..32_000]);
    drop(opened);
    assert!(!fixture.output().join("t/.pad").exists());
    fs::remove_file(fixture.state()).unwrap();
    assert!(fixture.open().have.is_full());
}

#[test]
fn holes_are_not_read_but_zeros_in_them_count() {
    let mut fixture = Fixture::new(&[("a", 4 * u64::from(PIECE) + 5)]);
    let mut content = fixture.content.to_vec();
    content[PIECE as usize..2 * PIECE as usize].fill(0);
    content[4 * PIECE as usize..].fill(0);
    fixture.content = content.into();
    fs::create_dir(fixture.output()).unwrap();
    let file = File::create(fixture.output().join("a")).unwrap();
    file.set_len(fixture.content.len() as u64).unwrap();
    assert_eq!(fixture.open().have.ones().collect::<Vec<_>>(), [1, 4]);
}

#[test]
fn unwanted_files_are_never_made_and_their_bytes_come_back() {
    let mut fixture = three_files();
    fixture.wanted = Some(vec![false, true, false]);
    let opened = fixture.open();
    // b is in pieces 3, 4 and 5; 3 and 5 are shared.
    fixture.fetch(&opened.store, 3..6);
    assert!(!fixture.output().join("t/a").exists() && !fixture.output().join("t/c").exists());
    let read = opened.store.read(PieceIndex(3), 0, PIECE).unwrap();
    assert_eq!(read, fixture.content[3 * 32_768..4 * 32_768]);
    opened.store.close().unwrap();
    drop(opened);
    let opened = fixture.open();
    assert_eq!((opened.believed, opened.hashed), (3, 0));
    let part = opened.store.files.path(PART);
    assert!(part.exists());
    drop(opened);

    fixture.wanted = None;
    let opened = fixture.open();
    assert_eq!(opened.have.ones().collect::<Vec<_>>(), [3, 4, 5]);
    fixture.fetch(&opened.store, [0, 1, 2, 6]);
    opened.store.close().unwrap();
    drop(opened);
    assert!(!part.exists());
    fixture.assert_files_are_right();

    fixture.wanted = Some(vec![false, true, true]);
    let opened = fixture.open();
    assert!(opened.have.is_full(), "files that exist are used in place");
    assert_eq!(opened.hashed, 0);
}

#[test]
fn links_and_other_obstacles_are_refused() {
    use std::os::unix::fs::symlink;
    type Obstruct = fn(&Path, &Path);
    #[rustfmt::skip]
    let table: &[(&str, Obstruct, &str)] = &[
        ("directory link", |out, away| symlink(away, out.join("t")).unwrap(), "symbolic link"),
        ("deep link", |out, away| {
            fs::create_dir(out.join("t")).unwrap();
            symlink(away, out.join("t/sub")).unwrap();
        }, "symbolic link"),
        ("file link", |out, away| {
            fs::create_dir(out.join("t")).unwrap();
            symlink(away.join("secret"), out.join("t/a")).unwrap();
        }, "symbolic link"),
        ("dangling link", |out, away| {
            fs::create_dir(out.join("t")).unwrap();
            symlink(away.join("new"), out.join("t/a")).unwrap();
        }, "symbolic link"),
        ("file for a directory", |out, _| fs::write(out.join("t"), b"").unwrap(),
            "not a directory"),
        ("directory for a file", |out, _| fs::create_dir_all(out.join("t/a")).unwrap(),
            "not a regular file"),
    ];
    for late in [false, true] {
        for (name, obstruct, words) in table {
            let fixture = three_files();
            let away = fixture.dir.path().join("away");
            fs::create_dir(&away).unwrap();
            fs::write(away.join("secret"), vec![9; 100_000]).unwrap();
            let error = if late {
                // Put there after the torrent was opened.
                let opened = fixture.open();
                obstruct(&fixture.output(), &away);
                let all = 0..fixture.geometry().piece_count();
                let mut results = all.map(|piece| opened.store.verify(&fixture.order(piece)));
                results.find_map(Result::err).unwrap()
            } else {
                fs::create_dir(fixture.output()).unwrap();
                obstruct(&fixture.output(), &away);
                fixture.try_open().err().unwrap()
            };
            let advice = error.advice();
            assert!(advice.contains(words), "{name}, {late}: {advice}");
            assert_eq!(fs::read_dir(&away).unwrap().count(), 1, "{name}, {late}");
            assert_eq!(fs::read(away.join("secret")).unwrap(), vec![9; 100_000]);
        }
    }
}

#[test]
fn an_output_directory_may_be_a_link() {
    let fixture = three_files();
    let real = fixture.dir.path().join("real");
    fs::create_dir(&real).unwrap();
    std::os::unix::fs::symlink(&real, fixture.output()).unwrap();
    let opened = fixture.open();
    fixture.fetch_all(&opened.store);
    fixture.assert_files_are_right();
}

#[test]
fn a_failed_write_names_path_and_remedy_and_is_made_good_later() {
    let fixture = three_files();
    let opened = fixture.open();
    fixture.fetch(&opened.store, [0]);
    *lock(&opened.store.files.failing) = Some(std::io::ErrorKind::StorageFull);
    let error = opened.store.verify(&fixture.order(1)).unwrap_err();
    assert_eq!(error.cause(), Cause::Full);
    let advice = error.advice();
    assert!(advice.contains("out/t/a") && advice.contains("free some space"));
    let error = opened.store.spill(PieceIndex(2), &fixture.blocks(2));
    assert_eq!(error.unwrap_err().cause(), Cause::Full);
    *lock(&opened.store.files.failing) = None;
    fixture.fetch(&opened.store, 1..7);
    drop(opened);
    assert_eq!(fixture.open().believed, 7);
}

#[test]
fn trusted_data_is_read_only_and_must_be_there() {
    let mut fixture = three_files();
    let opened = fixture.open();
    fixture.fetch_all(&opened.store);
    drop(opened);
    fs::remove_dir_all(fixture.dir.path().join("state")).unwrap();
    fixture.trusted = true;
    let opened = fixture.open();
    assert!(opened.have.is_full());
    opened.store.read(PieceIndex(6), 0, 100).unwrap();
    let error = opened.store.verify(&fixture.order(0)).unwrap_err();
    assert_eq!(error.cause(), Cause::Permission);
    opened.store.close().unwrap();
    assert!(
        !fixture.dir.path().join("state").exists(),
        "no state needed"
    );
    fs::remove_file(fixture.output().join("t/c")).unwrap();
    let error = fixture.try_open().err().unwrap();
    assert_eq!(error.cause(), Cause::Vanished);
}

#[test]
fn a_longer_file_is_cut_when_it_is_written() {
    let fixture = Fixture::new(&[("a", 100_000)]);
    fs::create_dir(fixture.output()).unwrap();
    fs::write(fixture.output().join("a"), vec![1; 200_000]).unwrap();
    let opened = fixture.open();
    assert_eq!(opened.have.count_ones(), 0);
    fixture.fetch_all(&opened.store);
    fixture.assert_files_are_right();
}
