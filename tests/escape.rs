//! Whatever a torrent is called, its data stays inside the download directory, and no two of its
//! files share one on disk: every accepted fixture is opened and written to.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;
use mainswarm::{
    bitfield::Bitfield,
    metainfo::{Metainfo, PieceIndex},
    storage::{OpenSpec, Store},
};

/// Every path below `dir`, links not followed.
fn walk(dir: &Path, into: &mut BTreeSet<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        into.insert(entry.path());
        if entry.file_type().unwrap().is_dir() {
            walk(&entry.path(), into);
        }
    }
}

fn fixtures() -> Vec<PathBuf> {
    let mut all = BTreeSet::new();
    walk(
        Path::new(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/vectors/torrents"
        )),
        &mut all,
    );
    let torrents = all
        .into_iter()
        .filter(|path| path.extension().is_some_and(|e| e == "torrent"));
    torrents.collect()
}

#[test]
fn no_fixture_writes_outside_of_the_download_directory() {
    let mut written = 0;
    for fixture in fixtures() {
        let Ok(metainfo) = Metainfo::from_torrent(&fs::read(&fixture).unwrap()) else {
            continue;
        };
        let metainfo = Arc::new(metainfo);
        let world = tempfile::tempdir().unwrap();
        let spec = OpenSpec {
            metainfo: Arc::clone(&metainfo),
            output_dir: world.path().join("a/b/downloads"),
            state_dir: None,
            wanted: None,
            trusted: false,
            root: None,
        };
        let (store, plan) = Store::open(&spec).unwrap();
        let geometry = metainfo.geometry();
        store
            .opened(&plan, &Bitfield::empty(geometry.piece_count()))
            .unwrap();
        // The first and the last piece of every file, so that each is made.
        let mut pieces = BTreeSet::new();
        for file in metainfo
            .files()
            .iter()
            .filter(|file| !file.is_empty())
            .take(300)
        {
            let len = u64::from(geometry.standard_piece_len());
            pieces.insert((file.offset() / len) as u32);
            pieces.insert(((file.offset() + file.len() - 1) / len) as u32);
        }
        for piece in pieces.into_iter().map(PieceIndex) {
            let block = geometry.block(piece, 0).unwrap();
            let data = Bytes::from(vec![7; block.len as usize]);
            store.spill(piece, &BTreeMap::from([(0, data)])).unwrap();
            written += 1;
        }
        store.close().unwrap();

        let mut found = BTreeSet::new();
        walk(world.path(), &mut found);
        let inside = world.path().join("a/b/downloads");
        let above = |path: &Path| inside.starts_with(path);
        for path in &found {
            let kind = fs::symlink_metadata(path).unwrap().file_type();
            assert!(
                path.starts_with(&inside) || above(path),
                "{fixture:?} made {path:?}"
            );
            assert!(
                kind.is_dir() || kind.is_file(),
                "{fixture:?} made a link {path:?}"
            );
        }
        let files = metainfo.files().iter();
        let real = files.filter(|file| !file.is_pad() && !file.is_symlink());
        let paths: Vec<PathBuf> = real.map(|file| inside.join(file.path())).collect();
        let distinct: BTreeSet<&PathBuf> = paths.iter().collect();
        assert_eq!(
            distinct.len(),
            paths.len(),
            "{fixture:?}: two files share a path"
        );
    }
    assert!(written > 100, "only {written} pieces were written");
}
