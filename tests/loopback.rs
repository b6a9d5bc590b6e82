//! Whole sessions with real sockets on loopback: find, fetch, verify, resume, exchange.

mod common;

use std::{fs, sync::Arc, time::Instant};

use common::{
    config, content, dht_session, fetch, magnet, quiet_session, seed, share_directory, share_file,
    within,
};
use mainswarm::session::{AddTorrent, DhtMode, Phase, Session, TorrentSource};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_magnet_finds_its_seed_through_the_dht_alone() {
    let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let bytes = content(3_000_001, 1);
    let metainfo = share_file(here.path(), "file", &bytes, 32 * 1024);

    let router = dht_session(None).await;
    let bootstrap = Some(router.local_addr());
    let (seeder, leecher) = (dht_session(bootstrap).await, dht_session(bootstrap).await);
    // The leecher looks before the seed has announced.
    let source = TorrentSource::Magnet(magnet(&metainfo));
    let torrent = AddTorrent::new(source, there.path().to_owned());
    let leech = leecher.add(torrent).await.unwrap();
    assert_eq!(leech.status().borrow().phase, Phase::Metadata);
    seed(&seeder, &metainfo, here.path()).await;

    let found = within(9, leech.metainfo()).await.unwrap();
    assert_eq!(found.info(), metainfo.info());
    assert!(within(9, leech.completed()).await);
    assert!(fs::read(there.path().join("file")).unwrap() == bytes);
    let status = leech.status().borrow().clone();
    // Either may have found the other: the leecher was announced too.
    assert!(status.lookups.replied > 0 && status.lookups_done > 0 && status.dht_nodes > 0);
    for session in [leecher, seeder, router] {
        within(5, session.shutdown()).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_here_is_not_fetched_again() {
    let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let files = [
        ("empty", Vec::new()),
        ("a/long", content(2_500_000, 2)),
        ("b", content(70_000, 3)),
    ];
    let metainfo = share_directory(here.path(), "many", &files, 16 * 1024);
    let seeder = quiet_session().await;
    seed(&seeder, &metainfo, here.path()).await;
    let peers = [seeder.local_addr()];

    let state = tempfile::tempdir().unwrap();
    let mut slow = config();
    slow.dht = DhtMode::Off;
    slow.state_dir = Some(state.path().to_owned());
    slow.down = Some(1_000_000);
    let first = Session::start(slow.clone()).await.unwrap();
    let handle = fetch(&first, &metainfo, there.path(), &peers).await;
    let mut status = handle.status();
    let some = |have| have > 20;
    within(5, status.wait_for(|status| some(status.stats.have)))
        .await
        .unwrap();
    within(5, first.shutdown()).await;
    let had = handle.status().borrow().stats.have;
    assert!(
        !handle.completed().await,
        "a stopped torrent completes nothing"
    );

    slow.down = None;
    let second = Session::start(slow).await.unwrap();
    let handle = fetch(&second, &metainfo, there.path(), &peers).await;
    assert!(within(9, handle.completed()).await);
    let status = handle.status().borrow().clone();
    let missing = u64::from(status.stats.pieces - had) * 16 * 1024;
    assert!(
        status.stats.downloaded <= missing,
        "{had} pieces were here: {status:?}"
    );
    for (path, bytes) in files {
        assert!(
            fs::read(there.path().join("many").join(path)).unwrap() == bytes,
            "{path}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leechers_trade_with_each_other() {
    let dirs: Vec<_> = (0..3).map(|_| tempfile::tempdir().unwrap()).collect();
    let bytes = content(4_000_000, 4);
    let metainfo = share_file(dirs[0].path(), "file", &bytes, 32 * 1024);
    // The seed gives each byte little more than once in the time: the rest is traded.
    let mut limited = config();
    limited.dht = DhtMode::Off;
    limited.up = Some(1_500_000);
    let seeder = Session::start(limited).await.unwrap();
    let given = seed(&seeder, &metainfo, dirs[0].path()).await;
    let (one, two) = (quiet_session().await, quiet_session().await);
    let peers = [seeder.local_addr(), one.local_addr(), two.local_addr()];
    let first = fetch(&one, &metainfo, dirs[1].path(), &peers).await;
    let second = fetch(&two, &metainfo, dirs[2].path(), &peers).await;
    assert!(within(9, first.completed()).await && within(9, second.completed()).await);
    for dir in &dirs[1..] {
        assert!(fs::read(dir.path().join("file")).unwrap() == bytes);
    }
    let traded = first.status().borrow().stats.uploaded + second.status().borrow().stats.uploaded;
    assert!(
        traded > 500_000,
        "the leechers gave each other {traded} bytes"
    );
    let given = given.status().borrow().stats.uploaded;
    assert!(
        given < 7_500_000,
        "the seed gave {given} bytes of 8,000,000"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_file_of_many_is_fetched_and_no_other_appears() {
    let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let files = [
        ("a", content(100_000, 5)),
        ("b", content(100_000, 6)),
        ("c", content(100_000, 7)),
    ];
    let metainfo = share_directory(here.path(), "many", &files, 16 * 1024);
    let (seeder, leecher) = (quiet_session().await, quiet_session().await);
    seed(&seeder, &metainfo, here.path()).await;
    let source = TorrentSource::Metainfo(metainfo);
    let mut torrent = AddTorrent::new(source, there.path().to_owned());
    torrent.peers = vec![seeder.local_addr()];
    torrent.select = Some(Arc::new(|_, file| file.path().ends_with("b")));
    let handle = leecher.add(torrent).await.unwrap();
    assert!(within(9, handle.completed()).await);
    assert!(fs::read(there.path().join("many/b")).unwrap() == files[1].1);
    assert!(!there.path().join("many/a").exists() && !there.path().join("many/c").exists());
    let stats = handle.status().borrow().stats;
    assert_eq!((stats.have, stats.missing), (7, 0), "{stats:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn upload_limit_holds_within_a_tenth() {
    let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let metainfo = share_file(here.path(), "file", &content(6_000_000, 8), 32 * 1024);
    let mut limited = config();
    limited.dht = DhtMode::Off;
    limited.up = Some(2_000_000);
    let seeder = Session::start(limited).await.unwrap();
    seed(&seeder, &metainfo, here.path()).await;
    let leecher = quiet_session().await;
    let handle = fetch(&leecher, &metainfo, there.path(), &[seeder.local_addr()]).await;
    let mut status = handle.status();
    within(5, status.wait_for(|status| status.stats.have > 0))
        .await
        .unwrap();
    let (start, before) = (Instant::now(), status.borrow().stats.downloaded);
    assert!(within(9, handle.completed()).await);
    let bytes = status.borrow().stats.downloaded - before;
    let rate = bytes as f64 / start.elapsed().as_secs_f64();
    assert!(
        (1_800_000.0..2_200_000.0).contains(&rate),
        "{rate:.0} bytes per second"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_keeps_its_id_and_its_contacts() {
    let state = tempfile::tempdir().unwrap();
    let router = dht_session(None).await;
    let mut kept = config();
    kept.state_dir = Some(state.path().to_owned());
    kept.bootstrap = vec![router.local_addr().to_string()];
    let first = Session::start(kept.clone()).await.unwrap();
    let dht = first.dht().unwrap().clone();
    assert!(within(9, dht.bootstrapped()).await);
    // A second node on the same state must be somebody else.
    let second = Session::start(kept.clone()).await.unwrap();
    assert_ne!(second.dht().unwrap().id(), dht.id());
    within(5, second.shutdown()).await;
    within(5, first.shutdown()).await;
    assert!(
        dht.events().recv().await.is_err(),
        "events end with the session"
    );

    kept.bootstrap.clear();
    let again = Session::start(kept).await.unwrap();
    assert_eq!(again.dht().unwrap().id(), dht.id());
    // No router was named: the saved contact is enough.
    assert!(within(9, again.dht().unwrap().bootstrapped()).await);
}

#[tokio::test]
async fn sessions_say_what_is_wrong_and_end() {
    let session = quiet_session().await;
    let mut taken = config();
    taken.listen = session.local_addr();
    let error = Session::start(taken).await.unwrap_err().to_string();
    assert!(error.contains(&session.local_addr().to_string()), "{error}");

    let dir = tempfile::tempdir().unwrap();
    let metainfo = share_file(dir.path(), "file", &content(50_000, 9), 16 * 1024);
    let handle = seed(&session, &metainfo, dir.path()).await;
    let again = AddTorrent::new(TorrentSource::Metainfo(metainfo), dir.path().to_owned());
    assert!(session.add(again.clone()).await.is_err());
    let mut status = handle.status();
    let local = session.local_addr();
    drop(session);
    // The torrent ends with its session, and the port is free again.
    within(5, async { while status.changed().await.is_ok() {} }).await;
    within(5, async {
        while tokio::net::TcpListener::bind(local).await.is_err() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert!(handle.events().recv().await.is_err());
}
