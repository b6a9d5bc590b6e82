//! The pool end to end: real files, real threads, a real torrent.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;
use tempfile::TempDir;

use super::*;
use crate::{
    metainfo::{Metainfo, create::TorrentBuilder},
    storage::memory::Content,
};

struct Fixture {
    dir: TempDir,
    metainfo: Arc<Metainfo>,
    content: Bytes,
}

impl Fixture {
    fn new(dir: TempDir, piece_len: u32, files: &[(&str, u64)]) -> Self {
        let len = files.iter().map(|file| file.1).sum();
        let files = files.iter().map(|(path, len)| (PathBuf::from(path), *len));
        let builder = TorrentBuilder::directory("t", files).unwrap();
        let builder = builder.piece_len(piece_len).unwrap();
        let content = Content::Generated { seed: 5, len };
        let geometry = builder.geometry();
        let hashes: Vec<_> = geometry
            .pieces()
            .map(|piece| content.piece_hash(geometry, piece))
            .collect();
        let metainfo = builder.build(&hashes).unwrap();
        Self {
            dir,
            metainfo: Arc::new(metainfo),
            content: content.range(0, len),
        }
    }

    fn spec(&self) -> OpenSpec {
        OpenSpec {
            metainfo: Arc::clone(&self.metainfo),
            output_dir: self.dir.path().join("out"),
            state_dir: Some(self.dir.path().join("state")),
            wanted: None,
            trusted: false,
            root: None,
        }
    }

    fn writes(&self, piece: PieceIndex) -> Vec<StorageRequest> {
        let geometry = self.metainfo.geometry();
        (0..geometry.blocks_in(piece))
            .filter_map(|index| geometry.block(piece, index))
            .map(|block| StorageRequest::Write {
                block,
                data: self.data(block),
            })
            .collect()
    }

    fn data(&self, block: Block) -> Bytes {
        let start = self.metainfo.geometry().block_offset(block) as usize;
        self.content.slice(start..start + block.len as usize)
    }

    fn fetch(&self, piece: PieceIndex) -> Vec<StorageRequest> {
        let mut requests = self.writes(piece);
        requests.push(verify(piece));
        requests
    }
}

fn verify(piece: PieceIndex) -> StorageRequest {
    StorageRequest::Verify {
        piece,
        want_digests: false,
    }
}

fn small() -> Fixture {
    let dir = TempDir::new().unwrap();
    Fixture::new(
        dir,
        65_536,
        &[("a", 1_000_000), ("b", 500_000), ("empty", 0)],
    )
}

/// Waits for the open; the handle, the results and what was there.
async fn open(pool: &StoragePool, spec: OpenSpec) -> (OpenTorrent, Bitfield) {
    let mut torrent = pool.open(spec);
    let first = torrent.results.recv().await.unwrap();
    match &first[..] {
        [StorageDone::Opened { have }] => (torrent, have.clone()),
        other => panic!("{other:?}"),
    }
}

/// Collects results until `pieces` were verified and `bytes` released.
async fn settled(torrent: &mut OpenTorrent, pieces: usize, bytes: u64) -> Vec<StorageDone> {
    let mut all = Vec::new();
    let (mut verified, mut released) = (0, 0);
    while verified < pieces || released < bytes {
        for done in torrent.results.recv().await.unwrap() {
            match &done {
                StorageDone::PieceVerified { .. } => verified += 1,
                StorageDone::Written { bytes } => released += bytes,
                _ => {}
            }
            all.push(done);
        }
    }
    assert_eq!((verified, released), (pieces, bytes));
    all
}

fn is_right(done: &[StorageDone]) -> bool {
    done.iter().all(|done| match done {
        StorageDone::PieceVerified { ok, .. } => *ok,
        StorageDone::Failed { .. } => false,
        _ => true,
    })
}

fn assert_files(fixture: &Fixture, output: &Path) {
    let (a, b) = (output.join("t/a"), output.join("t/b"));
    let found = [fs::read(a).unwrap(), fs::read(b).unwrap()].concat();
    assert!(found == fixture.content);
    assert_eq!(fs::read(output.join("t/empty")).unwrap(), b"");
}

#[tokio::test]
async fn fetch_close_reopen_seed() {
    let fixture = small();
    let pool = StoragePool::new(2, 2);
    let (mut torrent, have) = open(&pool, fixture.spec()).await;
    assert_eq!(have.count_ones(), 0);
    let geometry = fixture.metainfo.geometry();
    for piece in geometry.pieces() {
        torrent.handle.send(fixture.fetch(piece));
    }
    let pieces = geometry.piece_count() as usize;
    assert!(is_right(
        &settled(&mut torrent, pieces, geometry.total_len()).await
    ));
    torrent.handle.close().await;
    assert_files(&fixture, &fixture.spec().output_dir);

    let (mut torrent, have) = open(&pool, fixture.spec()).await;
    assert!(have.is_full());
    let all = pieces as u32;
    assert_eq!(*torrent.check.borrow(), (all, all));
    let peer = PeerKey(3);
    let blocks: Vec<Block> = geometry
        .pieces()
        .flat_map(|piece| (0..4).filter_map(move |index| geometry.block(piece, index)))
        .collect();
    let reads = blocks.iter().map(|block| StorageRequest::Read {
        peer,
        block: *block,
    });
    torrent.handle.send(reads.collect());
    let mut read = 0;
    while read < blocks.len() {
        for done in torrent.results.recv().await.unwrap() {
            let StorageDone::BlockRead { block, data, .. } = done else {
                panic!("{done:?}");
            };
            assert_eq!(data, fixture.data(block));
            read += 1;
        }
    }
    torrent.handle.close().await;
}

#[tokio::test]
async fn a_dropped_handle_is_a_crash_that_loses_nothing() {
    let fixture = small();
    let pool = StoragePool::new(1, 1);
    let (mut torrent, _) = open(&pool, fixture.spec()).await;
    let half = fixture.metainfo.geometry().piece_count() / 2;
    let mut verified = Bitfield::empty(fixture.metainfo.geometry().piece_count());
    for piece in 0..half {
        torrent.handle.send(fixture.fetch(PieceIndex(piece)));
    }
    let first = torrent.results.recv().await.unwrap();
    drop(torrent.handle);
    let mut rest = first;
    while let Some(batch) = torrent.results.recv().await {
        rest.extend(batch);
    }
    for done in rest {
        if let StorageDone::PieceVerified {
            piece, ok: true, ..
        } = done
        {
            verified.set(piece.0);
        }
    }
    assert!(verified.count_ones() > 0);
    let (torrent, have) = open(&pool, fixture.spec()).await;
    assert_eq!(have, verified);
    torrent.handle.close().await;
}

#[tokio::test]
async fn existing_data_is_checked_with_progress() {
    let fixture = small();
    let output = fixture.spec().output_dir;
    fs::create_dir_all(output.join("t")).unwrap();
    let mut bytes = fixture.content[..1_000_000].to_vec();
    bytes[0] ^= 1;
    fs::write(output.join("t/a"), &bytes).unwrap();
    fs::write(output.join("t/b"), &fixture.content[1_000_000..]).unwrap();
    let pool = StoragePool::new(1, 2);
    let (torrent, have) = open(&pool, fixture.spec()).await;
    let pieces = fixture.metainfo.geometry().piece_count();
    assert!(!have.get(0));
    assert_eq!(have.count_ones(), pieces - 1);
    assert_eq!(*torrent.check.borrow(), (pieces, pieces));
}

#[tokio::test]
async fn wrong_pieces_discards_and_foreign_blocks_release_their_bytes() {
    let fixture = small();
    let pool = StoragePool::new(1, 1);
    let (mut torrent, _) = open(&pool, fixture.spec()).await;
    let geometry = fixture.metainfo.geometry();
    let piece = PieceIndex(0);
    let mut requests = fixture.writes(piece);
    let block = geometry.block(piece, 0).unwrap();
    let data = Bytes::from(vec![0; 16_384]);
    requests.push(StorageRequest::Write { block, data });
    requests.push(verify(piece));
    let foreign = Block { begin: 7, ..block };
    let data = Bytes::from(vec![0; 16_384]);
    requests.push(StorageRequest::Write {
        block: foreign,
        data,
    });
    requests.extend(fixture.writes(PieceIndex(1)));
    requests.push(StorageRequest::Discard {
        piece: PieceIndex(1),
    });
    let bytes = u64::from(geometry.piece_len(piece) + geometry.piece_len(PieceIndex(1)));
    torrent.handle.send(requests);
    let all = settled(&mut torrent, 1, bytes + 2 * 16_384).await;
    let digests = all.iter().find_map(|done| match done {
        StorageDone::PieceVerified {
            ok: false, digests, ..
        } => Some(digests.len()),
        _ => None,
    });
    assert_eq!(digests, Some(geometry.blocks_in(piece) as usize));
    torrent.handle.send(fixture.fetch(piece));
    let bytes = u64::from(geometry.piece_len(piece));
    assert!(is_right(&settled(&mut torrent, 1, bytes).await));
}

#[tokio::test]
async fn an_open_that_fails_says_why() {
    let fixture = small();
    let output = fixture.spec().output_dir;
    fs::write(&output, b"a file").unwrap();
    let pool = StoragePool::new(1, 1);
    let mut torrent = pool.open(fixture.spec());
    let first = torrent.results.recv().await.unwrap();
    let [StorageDone::Failed { operation, fault }] = &first[..] else {
        panic!("{first:?}");
    };
    assert_eq!(*operation, StorageOperation::Open);
    assert!(fault.text.contains(output.to_str().unwrap()), "{fault:?}");
    torrent.handle.send(fixture.fetch(PieceIndex(0)));
    let refused = torrent.results.recv().await.unwrap();
    let released = refused.iter().map(|done| match done {
        StorageDone::Written { bytes } => *bytes,
        _ => 0,
    });
    let len = fixture.metainfo.geometry().piece_len(PieceIndex(0));
    assert_eq!(released.sum::<u64>(), u64::from(len));
    torrent.handle.close().await;
}

#[tokio::test]
async fn a_vanished_file_fails_the_read() {
    let fixture = small();
    let pool = StoragePool::new(1, 1);
    let (mut torrent, _) = open(&pool, fixture.spec()).await;
    let block = Block {
        piece: PieceIndex(0),
        begin: 0,
        len: 16_384,
    };
    let peer = PeerKey(1);
    torrent
        .handle
        .send(vec![StorageRequest::Read { peer, block }]);
    let done = torrent.results.recv().await.unwrap();
    let [StorageDone::Failed { operation, fault }] = &done[..] else {
        panic!("{done:?}");
    };
    assert_eq!(*operation, StorageOperation::Read { peer, block });
    assert_eq!(fault.kind, StorageFaultKind::Vanished);
    assert!(fault.text.contains("t/a"), "{fault:?}");
}

#[tokio::test]
async fn many_unfinished_pieces_are_written_through_and_verified() {
    // 64 pieces of 1 MiB, all unfinished until the end: twice what memory may hold.
    let len = 2 * ASSEMBLY_LIMIT;
    let fixture = Fixture::new(TempDir::new().unwrap(), 1 << 20, &[("a", len)]);
    let pool = StoragePool::new(2, 2);
    let (mut torrent, _) = open(&pool, fixture.spec()).await;
    let geometry = fixture.metainfo.geometry();
    let blocks = geometry.blocks_in(PieceIndex(0));
    for index in 0..blocks {
        let row = geometry.pieces().filter_map(|piece| {
            let block = geometry.block(piece, index)?;
            let data = fixture.data(block);
            Some(StorageRequest::Write { block, data })
        });
        torrent.handle.send(row.collect());
    }
    torrent.handle.send(geometry.pieces().map(verify).collect());
    let pieces = geometry.piece_count() as usize;
    assert!(is_right(&settled(&mut torrent, pieces, len).await));
    torrent.handle.close().await;
    let found = fs::read(fixture.spec().output_dir.join("t/a")).unwrap();
    assert!(found == fixture.content);
}

#[tokio::test]
async fn failed_writes_release_their_bytes_and_are_made_good() {
    let len = 2 * ASSEMBLY_LIMIT;
    let fixture = Fixture::new(TempDir::new().unwrap(), 1 << 20, &[("a", len)]);
    let pool = StoragePool::new(2, 2);
    let (mut torrent, _) = open(&pool, fixture.spec()).await;
    let obstacle = fixture.spec().output_dir.join("t/a");
    fs::create_dir_all(&obstacle).unwrap();
    let geometry = fixture.metainfo.geometry();

    // A piece that is complete.
    torrent.handle.send(fixture.fetch(PieceIndex(0)));
    let done = torrent.results.recv().await.unwrap();
    let [
        StorageDone::Failed { operation, fault },
        StorageDone::Written { bytes },
    ] = &done[..]
    else {
        panic!("{done:?}");
    };
    assert_eq!(*operation, write_of(PieceIndex(0)));
    assert!(fault.text.contains("t/a"), "{fault:?}");
    assert_eq!(*bytes, 1 << 20);

    // Pieces that are not, and more than memory may hold: every byte is released once.
    for piece in geometry.pieces() {
        torrent.handle.send(fixture.writes(piece));
    }
    let mut released = 0;
    while released < len - ASSEMBLY_LIMIT {
        for done in torrent.results.recv().await.unwrap() {
            match done {
                StorageDone::Written { bytes } => released += bytes,
                StorageDone::Failed { .. } => {}
                other => panic!("{other:?}"),
            }
        }
    }
    let discards = geometry
        .pieces()
        .map(|piece| StorageRequest::Discard { piece });
    torrent.handle.send(discards.collect());
    settled(&mut torrent, 0, len - released).await;

    fs::remove_dir(&obstacle).unwrap();
    for piece in geometry.pieces() {
        torrent.handle.send(fixture.fetch(piece));
    }
    let pieces = geometry.piece_count() as usize;
    assert!(is_right(&settled(&mut torrent, pieces, len).await));
}

#[tokio::test]
async fn a_close_that_nobody_waits_for_is_a_crash() {
    let fixture = small();
    let pool = StoragePool::new(1, 1);
    let (mut torrent, _) = open(&pool, fixture.spec()).await;
    for piece in fixture.metainfo.geometry().pieces() {
        torrent.handle.send(fixture.fetch(piece));
    }
    let close = torrent.handle.close();
    let soon = std::time::Duration::ZERO;
    let _ = tokio::time::timeout(soon, close).await;
    // The results end when no thread has the torrent any more.
    let end = async { while torrent.results.recv().await.is_some() {} };
    let patience = std::time::Duration::from_secs(60);
    tokio::time::timeout(patience, end).await.unwrap();
}

#[test]
fn neighbouring_blocks_are_read_at_once() {
    let block = |piece, begin, len| Block {
        piece: PieceIndex(piece),
        begin,
        len,
    };
    let (ann, bob) = (PeerKey(1), PeerKey(2));
    let mut runs = Vec::new();
    for (peer, block) in [
        (ann, block(0, 0, 16_384)),
        (ann, block(0, 16_384, 16_384)),
        (ann, block(0, 49_152, 16_384)),
        (bob, block(0, 65_536, 16_384)),
        (bob, block(1, 81_920, 16_384)),
        (bob, block(1, 98_304, 250_000)),
        (bob, block(1, u32::MAX, 1)),
        (bob, block(1, 0, 1)),
    ] {
        add_read(&mut runs, peer, block);
    }
    let shape: Vec<_> = runs.iter().map(|run| (run.blocks.len(), run.len)).collect();
    assert_eq!(
        shape,
        [
            (2, 32_768),
            (1, 16_384),
            (1, 16_384),
            (1, 16_384),
            (1, 250_000),
            (1, 1),
            (1, 1)
        ]
    );
}

/// Not a test of right or wrong: prints how fast pieces go through the pool in memory.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
#[ignore = "a measurement; run it in release mode"]
async fn throughput() {
    let shm = Path::new("/dev/shm");
    let dir = if shm.is_dir() {
        TempDir::new_in(shm).unwrap()
    } else {
        TempDir::new().unwrap()
    };
    let len = 1u64 << 30;
    let fixture = Fixture::new(dir, 1 << 19, &[("a", len)]);
    let pool = StoragePool::new(1, 2);
    let (mut torrent, _) = open(&pool, fixture.spec()).await;
    let geometry = fixture.metainfo.geometry();
    let mib = |since: std::time::Instant| (len >> 20) as f64 / since.elapsed().as_secs_f64();
    let start = std::time::Instant::now();
    let mut pieces = geometry.pieces();
    let (mut sent, mut done) = (0u32, 0u32);
    while done < geometry.piece_count() {
        while sent < done + 64
            && let Some(piece) = pieces.next()
        {
            torrent.handle.send(fixture.fetch(piece));
            sent += 1;
        }
        for result in torrent.results.recv().await.unwrap() {
            done += u32::from(matches!(
                result,
                StorageDone::PieceVerified { ok: true, .. }
            ));
        }
    }
    println!("hash and write: {:.0} MiB/s", mib(start));
    drop(torrent.handle);
    while torrent.results.recv().await.is_some() {}
    fs::remove_dir_all(fixture.dir.path().join("state")).unwrap();

    let start = std::time::Instant::now();
    let (mut torrent, have) = open(&pool, fixture.spec()).await;
    assert!(have.is_full());
    println!("check: {:.0} MiB/s", mib(start));

    let start = std::time::Instant::now();
    let (mut sent, mut done) = (0u32, 0u64);
    let peer = PeerKey(0);
    while done < len {
        while u64::from(sent) * 524_288 < (done + (8 << 20)).min(len) {
            let first = u64::from(sent) * 524_288;
            let blocks = (0..32).map(|index| {
                let at = first + index * 16_384;
                let piece_len = u64::from(geometry.standard_piece_len());
                let block = Block {
                    piece: PieceIndex((at / piece_len) as u32),
                    begin: (at % piece_len) as u32,
                    len: 16_384,
                };
                StorageRequest::Read { peer, block }
            });
            torrent.handle.send(blocks.collect());
            sent += 1;
        }
        for result in torrent.results.recv().await.unwrap() {
            if let StorageDone::BlockRead { data, .. } = result {
                done += data.len() as u64;
            }
        }
    }
    println!("read: {:.0} MiB/s", mib(start));
}
