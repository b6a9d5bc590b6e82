//! Who announced what to us: bounded in torrents, in peers of a torrent and in entries of one
//! source, and forgotten after 45 minutes.
//!
//! A node that stores nothing takes no memory here.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    num::NonZeroUsize,
};

use lru::LruCache;
use rand::{RngExt, rngs::StdRng};

use super::{
    node::{PackedAddr, Seconds, source},
    scrape::Bloom,
};
use crate::ids::InfoHash;

/// libtorrent's bounds.
const MAX_HASHES: usize = 2_000;
const MAX_PEERS: usize = 500;

/// Ours: what one IPv4 address or IPv6 /64 may hold of all places; the torrents that land on one node are a
/// vanishing part of what an honest seeder has.
const MAX_PER_IP: u32 = 100;
/// Ours: one per cent of a torrent's places.
const MAX_PER_IP_AND_HASH: usize = 5;

/// Clients announce again every 15 to 30 minutes.
const EXPIRE_AFTER: Seconds = 45 * 60;

#[derive(Debug)]
pub(super) struct PeerStore {
    /// On Mainline one IP address gets a bounded share; in a private network all nodes may live on
    /// one.
    share: bool,
    hashes: Option<Box<LruCache<InfoHash, Vec<Peer>>>>,
    /// Entries per source, where shares are bounded: an IPv4 address or an IPv6 /64.
    per_ip: BTreeMap<IpAddr, u32>,
    peers: usize,
}

#[derive(Debug)]
struct Peer {
    addr: PackedAddr,
    announced: Seconds,
    /// BEP 33: what it said of itself last.
    seed: bool,
}

impl PeerStore {
    pub(super) fn new(share: bool) -> Self {
        Self {
            share,
            hashes: None,
            per_ip: BTreeMap::new(),
            peers: 0,
        }
    }

    pub(super) fn hashes(&self) -> usize {
        self.hashes.as_ref().map_or(0, |hashes| hashes.len())
    }

    pub(super) fn peers(&self) -> usize {
        self.peers
    }

    /// Stores a peer or renews it. False if its source has had its share.
    pub(super) fn add(
        &mut self,
        info_hash: InfoHash,
        addr: &SocketAddr,
        seed: bool,
        now: Seconds,
        rng: &mut StdRng,
    ) -> bool {
        let source = source(&addr.ip());
        let hashes = self.hashes.get_or_insert_with(|| {
            let bound = NonZeroUsize::new(MAX_HASHES).expect("not zero");
            Box::new(LruCache::sparse(bound))
        });
        if let Some(peers) = hashes.get_mut(&info_hash) {
            if let Some(known) = peers.iter_mut().find(|peer| peer.addr.is(addr)) {
                known.announced = now;
                known.seed = seed;
                return true;
            }
            let same = || peers.iter().filter(|peer| peer.addr.is_of(&source)).count();
            if self.share && same() >= MAX_PER_IP_AND_HASH {
                return false;
            }
        }
        if self.share
            && self
                .per_ip
                .get(&source)
                .is_some_and(|held| *held >= MAX_PER_IP)
        {
            return false;
        }
        if !hashes.contains(&info_hash) {
            if hashes.len() == MAX_HASHES
                && let Some((_, peers)) = hashes.pop_lru()
            {
                self.peers -= peers.len();
                release(&mut self.per_ip, &peers);
            }
            hashes.put(info_hash, Vec::new());
        }
        let Some(peers) = hashes.get_mut(&info_hash) else {
            return false;
        };
        if peers.len() == MAX_PEERS {
            // A random one, so that nobody can choose whom a flood of announces pushes out.
            let out = peers.swap_remove(rng.random_range(0..MAX_PEERS));
            release(&mut self.per_ip, &[out]);
            self.peers -= 1;
        }
        peers.reserve_exact(usize::from(peers.len() == peers.capacity()) * peers.len().max(1));
        peers.push(Peer {
            addr: PackedAddr::new(addr),
            announced: now,
            seed,
        });
        self.peers += 1;
        if self.share {
            *self.per_ip.entry(source).or_default() += 1;
        }
        true
    }

    /// Fills `out` with compact addresses of peers, chosen at random if not all fit, and returns
    /// how many bytes they take. `noseed` leaves seeds out.
    pub(super) fn sample(
        &self,
        info_hash: &InfoHash,
        noseed: bool,
        now: Seconds,
        out: &mut [u8],
        rng: &mut StdRng,
    ) -> usize {
        let peers = self
            .hashes
            .as_ref()
            .and_then(|hashes| hashes.peek(info_hash));
        let Some(peers) = peers.filter(|peers| !peers.is_empty()) else {
            return 0;
        };
        // A random start in a vector whose order is random once it is full.
        let start = rng.random_range(0..peers.len());
        let turned = peers[start..].iter().chain(&peers[..start]);
        let mut len = 0;
        for peer in turned.filter(|peer| peer.is_fresh(now) && !(noseed && peer.seed)) {
            match peer.addr.write_compact(&mut out[len..]) {
                Some(written) => len += written,
                None => break,
            }
        }
        len
    }

    /// All peers of a torrent.
    pub(super) fn of(&self, info_hash: &InfoHash, now: Seconds) -> Vec<SocketAddr> {
        let peers = self
            .hashes
            .as_ref()
            .and_then(|hashes| hashes.peek(info_hash));
        let peers = peers.into_iter().flatten();
        let fresh = peers.filter(|peer| peer.is_fresh(now));
        fresh.map(|peer| peer.addr.get()).collect()
    }

    /// The seeds and the other peers of a torrent, counted by IP address; `None` if there are none.
    pub(super) fn blooms(&self, info_hash: &InfoHash, now: Seconds) -> Option<[Bloom; 2]> {
        let peers = self.hashes.as_ref()?.peek(info_hash)?;
        let mut fresh = peers.iter().filter(|peer| peer.is_fresh(now)).peekable();
        fresh.peek()?;
        let mut blooms = [Bloom::default(), Bloom::default()];
        for peer in fresh {
            blooms[usize::from(!peer.seed)].insert(&peer.addr.get().ip());
        }
        Some(blooms)
    }

    /// Some of the torrents, chosen at random if there are more than `count`.
    pub(super) fn draw(&self, count: usize, rng: &mut StdRng) -> Vec<InfoHash> {
        let hashes = self.hashes.iter().flat_map(|hashes| hashes.iter());
        let mut hashes: Vec<InfoHash> = hashes.map(|(hash, _)| *hash).collect();
        for at in 0..count.min(hashes.len()) {
            let other = rng.random_range(at..hashes.len());
            hashes.swap(at, other);
        }
        hashes.truncate(count);
        hashes
    }

    /// Forgets what has expired.
    pub(super) fn expire(&mut self, now: Seconds) {
        let Some(hashes) = &mut self.hashes else {
            return;
        };
        let mut left = 0;
        for (_, peers) in hashes.iter_mut() {
            let old: Vec<Peer> = peers.extract_if(.., |peer| !peer.is_fresh(now)).collect();
            release(&mut self.per_ip, &old);
            left += peers.len();
        }
        self.peers = left;
        hashes.retain(|_, peers| !peers.is_empty());
        if hashes.is_empty() {
            self.hashes = None;
        }
    }

    pub(super) fn check(&self) {
        if !cfg!(debug_assertions) {
            return;
        }
        let hashes = self.hashes.iter().flat_map(|hashes| hashes.iter());
        let counts: Vec<usize> = hashes.map(|(_, peers)| peers.len()).collect();
        assert!(counts.len() <= MAX_HASHES && counts.iter().all(|count| *count <= MAX_PEERS));
        assert_eq!(counts.iter().sum::<usize>(), self.peers);
        let shares: u32 = self.per_ip.values().sum();
        assert_eq!(shares as usize, if self.share { self.peers } else { 0 });
    }
}

impl Peer {
    fn is_fresh(&self, now: Seconds) -> bool {
        now.saturating_sub(self.announced) < EXPIRE_AFTER
    }
}

fn release(per_ip: &mut BTreeMap<IpAddr, u32>, peers: &[Peer]) {
    for peer in peers {
        let source = source(&peer.addr.get().ip());
        if let Some(held) = per_ip.get_mut(&source) {
            *held -= 1;
            if *held == 0 {
                per_ip.remove(&source);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use rand::SeedableRng;

    use super::*;

    fn addr(ip: u32, port: u16) -> SocketAddr {
        (Ipv4Addr::from_bits(ip), port).into()
    }

    #[test]
    fn stores_renews_and_expires() {
        let mut rng = StdRng::from_seed([1; 32]);
        let mut store = PeerStore::new(true);
        let hash = InfoHash::new([1; 20]);
        assert!(store.add(hash, &addr(1, 1), false, 0, &mut rng));
        assert!(store.add(hash, &addr(2, 1), false, 100, &mut rng));
        assert!(store.add(hash, &addr(1, 1), false, 50, &mut rng));
        assert_eq!((store.hashes(), store.peers()), (1, 2));
        let mut out = [0; 100];
        assert_eq!(store.sample(&hash, false, 100, &mut out, &mut rng), 12);
        assert_eq!(store.of(&hash, EXPIRE_AFTER + 60), [addr(2, 1)]);
        assert_eq!(
            store.sample(&hash, false, EXPIRE_AFTER + 60, &mut out, &mut rng),
            6
        );
        store.expire(EXPIRE_AFTER + 60);
        store.check();
        assert_eq!(store.peers(), 1);
        store.expire(EXPIRE_AFTER + 200);
        store.check();
        assert!(store.hashes.is_none() && store.per_ip.is_empty());
    }

    #[test]
    fn a_flood_of_one_source_gets_its_share_only() {
        let mut rng = StdRng::from_seed([1; 32]);
        let mut store = PeerStore::new(true);
        let honest = InfoHash::new([0xff; 20]);
        assert!(store.add(honest, &addr(7, 1), false, 0, &mut rng));
        for n in 0..5_000u32 {
            let mut hash = [0; 20];
            hash[..4].copy_from_slice(&(n / 10).to_be_bytes());
            store.add(
                InfoHash::new(hash),
                &addr(9, 1 + (n % 10) as u16),
                false,
                0,
                &mut rng,
            );
        }
        store.check();
        assert_eq!(store.peers(), 1 + MAX_PER_IP as usize);
        assert_eq!(store.of(&honest, 0), [addr(7, 1)]);
    }

    #[test]
    fn the_addresses_of_a_subnet_share_a_share() {
        let mut rng = StdRng::from_seed([1; 32]);
        let mut store = PeerStore::new(true);
        let hash = InfoHash::new([1; 20]);
        let peer = |subnet: u16, n: u16| {
            let ip = IpAddr::from([0x2001, 0xdb8, 0, subnet, 0, 0, 0, n]);
            SocketAddr::new(ip, 1)
        };
        for n in 0..20 {
            let stored = store.add(hash, &peer(0, n), false, 0, &mut rng);
            assert_eq!(stored, usize::from(n) < MAX_PER_IP_AND_HASH);
        }
        assert!(store.add(hash, &peer(1, 0), false, 0, &mut rng));
        for n in 0..200u8 {
            store.add(
                InfoHash::new([n; 20]),
                &peer(0, n.into()),
                false,
                0,
                &mut rng,
            );
        }
        assert_eq!(store.peers(), 1 + MAX_PER_IP as usize);
        store.check();
        store.expire(EXPIRE_AFTER);
        assert!(store.hashes.is_none() && store.per_ip.is_empty());
    }

    #[test]
    fn bounds_hold_against_many_sources() {
        let mut rng = StdRng::from_seed([1; 32]);
        let mut store = PeerStore::new(true);
        let hash = InfoHash::new([1; 20]);
        for n in 0..2_000 {
            assert!(store.add(hash, &addr(n, 1), false, 0, &mut rng));
        }
        assert_eq!(store.peers(), MAX_PEERS);
        store.check();
        for n in 0..3_000u32 {
            let mut other = [2; 20];
            other[..4].copy_from_slice(&n.to_be_bytes());
            store.add(InfoHash::new(other), &addr(n, 2), false, 0, &mut rng);
        }
        assert_eq!(store.hashes(), MAX_HASHES);
        store.check();
        let mut out = [0; 13];
        let newest = InfoHash::new({
            let mut other = [2; 20];
            other[..4].copy_from_slice(&2_999u32.to_be_bytes());
            other
        });
        assert_eq!(store.sample(&newest, false, 0, &mut out, &mut rng), 6);
    }

    #[test]
    fn a_private_network_may_live_on_one_address() {
        let mut rng = StdRng::from_seed([1; 32]);
        let mut store = PeerStore::new(false);
        let hash = InfoHash::new([1; 20]);
        for port in 1..=300 {
            assert!(store.add(hash, &addr(1, port), false, 0, &mut rng));
        }
        assert_eq!(store.peers(), 300);
        store.check();
    }

    #[test]
    fn seeds_are_told_from_others() {
        let mut rng = StdRng::from_seed([1; 32]);
        let mut store = PeerStore::new(true);
        let hash = InfoHash::new([1; 20]);
        assert!(store.blooms(&hash, 0).is_none());
        for (ip, port, seed) in [(1, 1, true), (2, 1, false), (3, 1, false), (3, 2, false)] {
            assert!(store.add(hash, &addr(ip, port), seed, 0, &mut rng));
        }
        let counts = |store: &PeerStore, now| {
            let blooms = store.blooms(&hash, now)?;
            Some(blooms.map(|bloom| bloom.estimate().round() as u32))
        };
        assert_eq!(counts(&store, 0), Some([1, 2]), "by IP address");
        let mut out = [0; 100];
        assert_eq!(store.sample(&hash, false, 0, &mut out, &mut rng), 24);
        assert_eq!(store.sample(&hash, true, 0, &mut out, &mut rng), 18);
        // A peer that has got everything is a seed from then on.
        assert!(store.add(hash, &addr(2, 1), true, 50, &mut rng));
        assert_eq!(counts(&store, 50), Some([2, 1]));
        assert_eq!(counts(&store, EXPIRE_AFTER), Some([1, 0]));
        assert_eq!(counts(&store, EXPIRE_AFTER + 50), None);
    }

    #[test]
    fn draws_distinct_torrents() {
        let mut rng = StdRng::from_seed([1; 32]);
        let mut store = PeerStore::new(true);
        assert!(store.draw(20, &mut rng).is_empty());
        for n in 0..100 {
            assert!(store.add(
                InfoHash::new([n; 20]),
                &addr(n.into(), 1),
                false,
                0,
                &mut rng
            ));
        }
        let mut drawn = store.draw(20, &mut rng);
        assert_ne!(drawn, store.draw(20, &mut rng));
        drawn.sort();
        drawn.dedup();
        assert_eq!(drawn.len(), 20);
        assert_eq!(store.draw(200, &mut rng).len(), 100);
    }
}
