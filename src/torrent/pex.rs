//! Telling one peer who our neighbours are, and listening to it ([BEP 11]).
//!
//! Out: only peers that we have shaken hands with, at their listening address, so that nobody can
//! use us to point a swarm at a victim. In: at a bounded rate, a bounded number, on our network
//! only; what passes is a candidate and no more.
//!
//! [BEP 11]: https://www.bittorrent.org/beps/bep_0011.html

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    time::{Duration, Instant},
};

use super::PeerMisbehaved;
use crate::{
    network::Network,
    wire::extension::{PexFlags, PexMessage},
};

/// What we have told one peer.
#[derive(Debug)]
pub(super) struct PexOut {
    told: BTreeSet<SocketAddr>,
    next_at: Instant,
    recipient: Option<SocketAddr>,
}

impl PexOut {
    /// For a connection that has just begun.
    pub(super) fn new(now: Instant) -> Self {
        Self {
            told: BTreeSet::new(),
            next_at: now + FIRST_AFTER,
            recipient: None,
        }
    }

    /// The peer's own listening address, of which it need not be told.
    pub(super) fn set_recipient(&mut self, addr: SocketAddr) {
        self.recipient = Some(addr);
    }

    /// Whether it is time to look for news.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        now >= self.next_at
    }

    /// The next message, if it is time and there is news. `connected` holds the listening
    /// addresses, as far as known, of the peers that we have shaken hands with.
    pub(super) fn diff(
        &mut self,
        now: Instant,
        connected: &BTreeMap<SocketAddr, PexFlags>,
    ) -> Option<PexMessage> {
        if !self.is_due(now) {
            return None;
        }
        let recipient = self.recipient;
        // Mostly there is none, and both are in order.
        let others = connected.keys().filter(|addr| Some(**addr) != recipient);
        if self.told.iter().eq(others) {
            self.next_at = now + FIRST_AFTER;
            return None;
        }
        let dropped: Vec<SocketAddr> = self
            .told
            .iter()
            .filter(|addr| !connected.contains_key(addr))
            .take(MAX_ENTRIES)
            .copied()
            .collect();
        let added: Vec<(SocketAddr, PexFlags)> = connected
            .iter()
            .filter(|(addr, _)| !self.told.contains(addr) && Some(**addr) != recipient)
            .take(MAX_ENTRIES)
            .map(|(addr, flags)| (*addr, *flags))
            .collect();
        if added.is_empty() && dropped.is_empty() {
            self.next_at = now + FIRST_AFTER;
            return None;
        }
        self.next_at = now + INTERVAL;
        for addr in &dropped {
            self.told.remove(addr);
        }
        self.told.extend(added.iter().map(|(addr, _)| *addr));
        Some(PexMessage { added, dropped })
    }
}

/// How often one peer may still tell us.
#[derive(Debug)]
pub(super) struct PexIn {
    /// Messages that would be tolerated at once.
    credit: u32,
    /// When the credit last grew.
    since: Instant,
}

impl PexIn {
    /// For a connection that has just begun.
    pub(super) fn new(now: Instant) -> Self {
        Self {
            credit: BURST,
            since: now,
        }
    }

    /// The addresses that may become candidates, or the fault of a peer that sends too often.
    pub(super) fn accept(
        &mut self,
        now: Instant,
        message: &PexMessage,
        network: Network,
    ) -> Result<Vec<SocketAddr>, PeerMisbehaved> {
        while self.credit < BURST && now >= self.since + TOLERATED_INTERVAL {
            self.credit += 1;
            self.since += TOLERATED_INTERVAL;
        }
        if self.credit == BURST {
            self.since = now;
        }
        self.credit = self.credit.checked_sub(1).ok_or(PeerMisbehaved::Flood)?;

        let mut hosts = BTreeSet::new();
        let mut addrs: Vec<SocketAddr> = message
            .added
            .iter()
            .map(|(addr, _)| SocketAddr::new(addr.ip().to_canonical(), addr.port()))
            .filter(|addr| network.accepts(addr))
            // BEP 11: one contact per IP, or a single victim could be listed fifty times. On a
            // network of one's own many peers share a machine.
            .filter(|addr| network == Network::Private || hosts.insert(addr.ip()))
            .take(MAX_ENTRIES)
            .collect();
        addrs.sort_unstable();
        addrs.dedup();
        Ok(addrs)
    }
}

/// BEP 11: no more than one message per minute.
const INTERVAL: Duration = Duration::from_secs(60);
/// Ours: the first message waits for the peer's extension handshake and ours, and for the first
/// neighbours; also how soon to look again when there was no news.
const FIRST_AFTER: Duration = Duration::from_secs(5);
/// BEP 11: at most 50 added and 50 dropped, both families together.
const MAX_ENTRIES: usize = 50;
/// Ours: what is tolerated of peers whose clocks and batches are not exact.
const TOLERATED_INTERVAL: Duration = Duration::from_secs(45);
/// Ours: messages above that rate before it is a flood.
const BURST: u32 = 3;

#[cfg(test)]
mod tests {
    use super::*;

    fn addr(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    fn neighbours(hosts: std::ops::Range<u8>) -> BTreeMap<SocketAddr, PexFlags> {
        let flags = PexFlags(PexFlags::REACHABLE);
        hosts
            .map(|host| (SocketAddr::from(([10, 0, 0, host], 6881)), flags))
            .collect()
    }

    #[test]
    fn news_come_once_a_minute_and_in_portions() {
        let start = Instant::now();
        let mut pex = PexOut::new(start);
        pex.set_recipient(addr("10.0.0.1:6881"));
        let all = neighbours(0..120);
        assert_eq!(pex.diff(start, &all), None);
        let mut now = start + FIRST_AFTER;
        let mut told = BTreeSet::new();
        for portion in [50, 50, 19] {
            let message = pex.diff(now, &all).unwrap();
            assert_eq!((message.added.len(), message.dropped.len()), (portion, 0));
            told.extend(message.added.into_iter().map(|(addr, _)| addr));
            assert_eq!(pex.diff(now + Duration::from_secs(59), &all), None);
            now += INTERVAL;
        }
        assert!(told.len() == 119 && !told.contains(&addr("10.0.0.1:6881")));
        assert_eq!(pex.diff(now, &all), None);

        now += INTERVAL;
        let left = pex.diff(now, &neighbours(100..121)).unwrap();
        assert_eq!((left.added.len(), left.dropped.len()), (1, 50));
        let left = pex.diff(now + INTERVAL, &neighbours(100..121)).unwrap();
        assert_eq!((left.added.len(), left.dropped.len()), (0, 49));
    }

    #[test]
    fn a_transient_neighbour_is_never_mentioned() {
        let start = Instant::now();
        let mut pex = PexOut::new(start);
        pex.diff(start + FIRST_AFTER, &neighbours(1..3)).unwrap();
        let now = start + FIRST_AFTER + INTERVAL;
        assert_eq!(
            pex.diff(now - Duration::from_secs(1), &neighbours(1..9)),
            None
        );
        assert_eq!(pex.diff(now, &neighbours(1..3)), None);
    }

    #[test]
    fn hearsay_is_filtered() {
        let now = Instant::now();
        let listed = [
            "8.8.8.8:6881",
            "8.8.8.8:6882",
            "10.0.0.1:6881",
            "9.9.9.9:0",
            "[2a00:1450::1]:6881",
            "[::ffff:1.1.1.1]:6881",
            "224.0.0.1:6881",
            "127.0.0.1:6881",
            "127.0.0.1:6882",
        ];
        let added = listed
            .map(|text| (addr(text), PexFlags::default()))
            .to_vec();
        let message = PexMessage {
            added,
            dropped: vec![],
        };
        let rows: [(Network, &[&str]); 2] = [
            (
                Network::Mainline,
                &["1.1.1.1:6881", "8.8.8.8:6881", "[2a00:1450::1]:6881"],
            ),
            (
                Network::Private,
                &["10.0.0.1:6881", "127.0.0.1:6881", "127.0.0.1:6882"],
            ),
        ];
        for (network, want) in rows {
            let got = PexIn::new(now).accept(now, &message, network).unwrap();
            assert_eq!(got, want.iter().map(|text| addr(text)).collect::<Vec<_>>());
        }
    }

    #[test]
    fn at_most_fifty_of_a_message_count() {
        let now = Instant::now();
        let added = neighbours(0..200).into_iter().collect();
        let message = PexMessage {
            added,
            dropped: vec![],
        };
        assert_eq!(
            PexIn::new(now)
                .accept(now, &message, Network::Private)
                .unwrap()
                .len(),
            50
        );
    }

    #[test]
    fn a_message_a_minute_is_fine_for_ever_and_a_flood_is_not() {
        let start = Instant::now();
        let message = PexMessage::default();
        let mut steady = PexIn::new(start);
        for minute in 0..600 {
            let now = start + INTERVAL * minute;
            assert!(steady.accept(now, &message, Network::Mainline).is_ok());
        }
        let mut flood = PexIn::new(start);
        let tolerated = (0..100)
            .take_while(|second| {
                let now = start + Duration::from_secs(*second);
                flood.accept(now, &message, Network::Mainline).is_ok()
            })
            .count();
        assert_eq!(tolerated, 3);
        assert_eq!(
            flood.accept(start, &message, Network::Mainline),
            Err(PeerMisbehaved::Flood)
        );
    }
}
