//! Budgets per source, so that a flood mutes its sender and nobody else.
//!
//! While few queries arrive nobody can be flooding, and nothing is kept: a node among a million
//! others pays no memory. Under load each source gets a token bucket in a bounded table. Sources
//! that are in our routing table have a reserve, so that a forger of their addresses cannot mute
//! them, and replies that we wait for are never counted here.

use std::{
    net::{IpAddr, SocketAddr},
    num::NonZeroUsize,
    time::{Duration, Instant},
};

use lru::LruCache;

use crate::network::Network;

/// Ours: a bucket holds this many seconds' worth, so that a client may start in a burst.
const BURST_SECONDS: f32 = 4.0;

/// Ours: a source over its budget is not even decoded for this long.
const MUTE: Duration = Duration::from_secs(10);

/// Ours: what a node of our routing table gets while its address is muted, per second.
const RESERVE: f32 = 2.0;

/// Ours: the table of sources under load; the least recently heard of leaves it.
const MAX_SOURCES: usize = 4_096;

/// Ours: after as long without load the table goes.
const FORGET_AFTER: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(super) struct Admission {
    network: Network,
    /// Queries a second and source; 0 is unlimited.
    rate: f32,
    window: Instant,
    in_window: u32,
    sources: Option<Box<Sources>>,
}

#[derive(Debug)]
struct Sources {
    buckets: LruCache<Source, Bucket>,
    /// When load was last seen.
    load: Instant,
}

/// Who is counted together: an IPv4 address or an IPv6 /64 on Mainline; in a private network,
/// where many nodes share an address, the address with its port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Source {
    V4([u8; 4]),
    V6([u8; 8]),
    Socket(SocketAddr),
}

#[derive(Debug)]
struct Bucket {
    tokens: f32,
    reserve: f32,
    filled: Instant,
    muted_until: Option<Instant>,
}

impl Admission {
    pub(super) fn new(network: Network, queries_per_source: u32, now: Instant) -> Self {
        Self {
            network,
            rate: queries_per_source as f32,
            window: now,
            in_window: 0,
            sources: None,
        }
    }

    /// Reads the front.
    pub(super) fn touch(&self) -> usize {
        self.in_window as usize
    }

    /// Whether nothing from this source is to be read, except what we wait for.
    pub(super) fn is_muted(&self, now: Instant, from: &SocketAddr) -> bool {
        let Some(sources) = &self.sources else {
            return false;
        };
        let bucket = sources.buckets.peek(&self.source(from));
        let until = bucket.and_then(|bucket| bucket.muted_until);
        until.is_some_and(|until| now < until)
    }

    /// Counts a datagram that we did not ask for, and says whether to serve it. `known` says that
    /// the source is in our routing table.
    pub(super) fn admit(
        &mut self,
        now: Instant,
        from: &SocketAddr,
        known: impl FnOnce() -> bool,
    ) -> bool {
        if self.rate == 0.0 {
            return true;
        }
        if now.saturating_duration_since(self.window) >= Duration::from_secs(1) {
            self.window = now;
            self.in_window = 0;
            self.forget(now);
        }
        self.in_window = self.in_window.saturating_add(1);
        let source = self.source(from);
        // Fewer than one source may send in a second are nobody's flood.
        let loaded = self.in_window as f32 > self.rate;
        if self.sources.is_none() && !loaded {
            return true;
        }
        let sources = self.sources.get_or_insert_with(|| {
            let bound = NonZeroUsize::new(MAX_SOURCES).expect("not zero");
            Box::new(Sources {
                buckets: LruCache::sparse(bound),
                load: now,
            })
        });
        if loaded {
            sources.load = now;
        }
        let rate = self.rate;
        let bucket = sources.buckets.get_or_insert_mut(source, || Bucket {
            tokens: rate * BURST_SECONDS,
            reserve: RESERVE * BURST_SECONDS,
            filled: now,
            muted_until: None,
        });
        bucket.take(now, rate, known)
    }

    /// Counts once more the query of a source that has got a long reply.
    pub(super) fn charge(&mut self, from: &SocketAddr) {
        let source = self.source(from);
        let sources = self.sources.as_mut();
        if let Some(bucket) = sources.and_then(|sources| sources.buckets.peek_mut(&source)) {
            bucket.tokens -= 1.0;
        }
    }

    fn forget(&mut self, now: Instant) {
        let idle = |sources: &Sources| now.saturating_duration_since(sources.load);
        let sources = self.sources.as_deref();
        if sources.is_some_and(|sources| idle(sources) >= FORGET_AFTER) {
            self.sources = None;
        }
    }

    fn source(&self, from: &SocketAddr) -> Source {
        match (self.network, from.ip()) {
            (Network::Private, _) => Source::Socket(*from),
            (Network::Mainline, IpAddr::V4(ip)) => Source::V4(ip.octets()),
            (Network::Mainline, IpAddr::V6(ip)) => {
                let [a, b, c, d, e, f, g, h, ..] = ip.octets();
                Source::V6([a, b, c, d, e, f, g, h])
            }
        }
    }
}

impl Bucket {
    fn take(&mut self, now: Instant, rate: f32, known: impl FnOnce() -> bool) -> bool {
        let elapsed = now.saturating_duration_since(self.filled).as_secs_f32();
        self.filled = self.filled.max(now);
        self.tokens = (self.tokens + elapsed * rate).min(rate * BURST_SECONDS);
        self.reserve = (self.reserve + elapsed * RESERVE).min(RESERVE * BURST_SECONDS);
        let muted = self.muted_until.is_some_and(|until| now < until);
        if !muted && self.tokens >= 1.0 {
            self.tokens -= 1.0;
            return true;
        }
        if known() {
            let spared = self.reserve >= 1.0;
            self.reserve -= f32::from(u8::from(spared));
            return spared;
        }
        if !muted {
            self.muted_until = Some(now + MUTE);
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addr(text: &str) -> SocketAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn a_flood_mutes_its_source_and_nobody_else() {
        let start = Instant::now();
        let mut admission = Admission::new(Network::Mainline, 20, start);
        let (flood, honest) = (addr("198.51.1.1:1"), addr("198.51.1.2:1"));
        let mut served = 0;
        for n in 0..3_000u32 {
            let now = start + Duration::from_millis(n.into());
            let port = addr(&format!("198.51.1.1:{}", 1 + n));
            served +=
                u32::from(!admission.is_muted(now, &port) && admission.admit(now, &port, || false));
            if n % 100 == 0 {
                assert!(admission.admit(now, &honest, || false));
            }
        }
        assert!(served < 200, "{served}");
        let now = start + Duration::from_secs(3);
        assert!(admission.is_muted(now, &flood) && !admission.is_muted(now, &honest));
        let later = now + MUTE;
        assert!(!admission.is_muted(later, &flood) && admission.admit(later, &flood, || false));
        let idle = later + 2 * FORGET_AFTER;
        assert!(admission.admit(idle, &honest, || false));
        assert!(admission.sources.is_none());
    }

    #[test]
    fn a_known_node_keeps_a_reserve_against_its_forger() {
        let start = Instant::now();
        let mut admission = Admission::new(Network::Mainline, 20, start);
        let node = addr("198.51.1.1:1");
        for n in 0..1_000 {
            admission.admit(start + Duration::from_millis(n), &node, || true);
        }
        let now = start + Duration::from_secs(4);
        assert!(!admission.is_muted(now, &node));
        assert!(admission.admit(now, &node, || true));
    }

    #[test]
    fn a_quiet_node_keeps_nothing_and_private_nodes_share_an_ip() {
        let start = Instant::now();
        let mut admission = Admission::new(Network::Private, 20, start);
        for n in 0..1_000u32 {
            let now = start + Duration::from_millis(u64::from(n) * 100);
            assert!(admission.admit(now, &addr("127.0.0.1:1"), || false));
        }
        assert!(admission.sources.is_none());
        let now = start + Duration::from_secs(200);
        for port in 1..1_000 {
            assert!(admission.admit(now, &addr(&format!("127.0.0.1:{port}")), || false));
        }
    }
}
