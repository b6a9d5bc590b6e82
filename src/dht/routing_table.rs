//! The nodes we know, sorted into buckets by how many leading bits they share with our id.
//!
//! Bucket `i` holds nodes that share exactly `i` bits; the last one, the home bucket, holds all
//! that share more, and splits when it overflows ([BEP 5]). Nothing enters but nodes that answered
//! a query of ours, under the id they answered with. A full bucket keeps its nodes: newcomers wait
//! as replacements for those that turn bad.
//!
//! [BEP 5]: https://www.bittorrent.org/beps/bep_0005.html

use std::{net::SocketAddr, time::Duration};

use super::{
    node::{Node, QUESTIONABLE_AFTER, Quality, Seconds},
    types::Contact,
};
use crate::ids::NodeId;

/// BEP 5: K = 8.
pub(super) const K: usize = 8;

/// libtorrent's and Jimenez' sizes of the first buckets: half of all lookups start in the first,
/// and each doubling of a bucket saves up to a bit of their way.
const WIDE: [usize; 4] = [128, 64, 32, 16];

/// Ours: waiting nodes per bucket. They have answered once, so a few suffice.
const SPARES: usize = 4;

/// Ours: a bad node without a replacement is dropped after this many failures in a row, if
/// somebody else has answered meanwhile: a node that is offline must not lose its table.
const DROP_AFTER: u8 = 3;

/// How many nodes the bucket holds whose nodes share `index` leading bits with our id, in a wide or
/// a narrow table.
pub fn bucket_size(wide: bool, index: usize) -> usize {
    match WIDE.get(index) {
        Some(size) if wide => *size,
        _ => K,
    }
}

#[derive(Debug)]
pub(super) struct RoutingTable {
    own: NodeId,
    wide: bool,
    one_per_ip: bool,
    buckets: Vec<Bucket>,
    /// Before this nobody is to be asked before its turn.
    suspect_at: Seconds,
}

#[derive(Debug)]
struct Bucket {
    nodes: Vec<Node>,
    spares: Vec<Node>,
    /// When a node last entered or answered.
    changed: Seconds,
    /// No node has been silent for longer than since then.
    stalest: Seconds,
}

/// What became of a node that answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Entry {
    Known,
    Added,
    /// Its bucket is full; the oldest questionable node in it, if any, should be asked whether it
    /// still lives.
    Spare(Option<SocketAddr>),
    Refused,
}

/// How a node answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reached {
    /// We called it of ourselves, or have known it for longer.
    Called,
    /// It had called us just before.
    CalledBack,
}

/// Why a node left the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Left {
    /// It does not answer any more.
    Gone,
    /// It answered only while it had just called us.
    Unreachable,
}

impl RoutingTable {
    pub(super) fn new(own: NodeId, wide: bool, one_per_ip: bool) -> Self {
        Self {
            own,
            wide,
            one_per_ip,
            buckets: Vec::new(),
            suspect_at: Seconds::MAX,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.buckets.iter().map(|bucket| bucket.nodes.len()).sum()
    }

    pub(super) fn buckets(&self) -> usize {
        self.buckets.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Node> {
        self.buckets.iter().flat_map(|bucket| &bucket.nodes)
    }

    /// Reads the fronts of the buckets.
    pub(super) fn touch_buckets(&self) -> usize {
        // A front has 56 bytes and a line of the cache 64. No loop over all: its end would have to
        // be guessed, and a wrong guess waits for the memory after all.
        [0, 1, 2, 3, 4, 6, 8, 10, 12, 14, 16]
            .iter()
            .filter_map(|at| self.buckets.get(*at))
            .fold(0, |sum, bucket| sum ^ bucket.nodes.len())
    }

    /// Reads the buckets that most lookups begin with.
    pub(super) fn touch_nodes(&self) -> usize {
        let seen = |bucket: usize, at: usize| {
            let node = self
                .buckets
                .get(bucket)
                .and_then(|bucket| bucket.nodes.get(at));
            node.map_or(0, |node| node.seen as usize)
        };
        let all = [0, 1, 3, 4, 5, 7];
        all.iter()
            .fold(0, |sum, at| sum ^ seen(0, *at) ^ seen(1, *at))
    }

    pub(super) fn count(&self, quality: Quality, now: Seconds) -> usize {
        let nodes = self.iter();
        nodes.filter(|node| node.quality(now) == quality).count()
    }

    pub(super) fn contains_addr(&self, addr: &SocketAddr) -> bool {
        self.iter().any(|node| node.has_addr(addr))
    }

    /// A node answered a query of ours.
    pub(super) fn on_reply(
        &mut self,
        id: NodeId,
        addr: &SocketAddr,
        rtt: Duration,
        reached: Reached,
        now: Seconds,
    ) -> Entry {
        if id == self.own {
            self.remove_addr(addr);
            return Entry::Refused;
        }
        if self.buckets.is_empty() {
            self.buckets = Vec::with_capacity(1);
            self.buckets.push(Bucket::default());
        }
        let index = self.index(&id);
        let bucket = &mut self.buckets[index];
        if let Some(known) = bucket.nodes.iter_mut().find(|node| node.id == id) {
            if known.has_addr(addr) {
                known.answered(rtt, now);
                bucket.changed = now;
                return Entry::Known;
            }
            // An id that moves is a restart behind another address, or a thief: the old holder
            // keeps it for as long as it answers.
            if known.quality(now) != Quality::Bad {
                return Entry::Refused;
            }
            bucket.nodes.retain(|node| node.id != id);
        }
        for bucket in &mut self.buckets {
            bucket
                .spares
                .retain(|spare| spare.id != id && !spare.has_addr(addr));
        }
        // An address that changes its id is lying or was restarted: it loses its place, and has to
        // answer once more to get another.
        if self.contains_addr(addr) {
            self.remove_addr(addr);
            return Entry::Refused;
        }
        if self.one_per_ip && self.holds_ip(addr, now) {
            return Entry::Refused;
        }
        let mut node = Node::new(id, addr, rtt, now);
        node.unconfirmed = reached == Reached::CalledBack;
        self.suspect_at = self.suspect_at.min(node.suspect_at());
        self.insert(node, now)
    }

    /// Takes a node that answered at `seen`, before this table was made, and whose address is not
    /// in it. Says whether it has a place now.
    pub(super) fn restore(&mut self, contact: &Contact, rtt: Duration, seen: Seconds) -> bool {
        if self.buckets.is_empty() {
            self.buckets.push(Bucket::default());
        }
        let bucket = &self.buckets[self.index(&contact.id)];
        if contact.id == self.own || bucket.nodes.iter().any(|node| node.id == contact.id) {
            return false;
        }
        loop {
            let index = self.index(&contact.id);
            let size = self.size(index);
            let last = index + 1 == self.buckets.len();
            let bucket = &mut self.buckets[index];
            if bucket.nodes.len() < size {
                if bucket.nodes.capacity() == 0 {
                    // Most that are restored are full.
                    bucket.nodes.reserve_exact(size.min(K));
                }
                bucket.push(Node::new(contact.id, &contact.addr, rtt, seen), size);
                bucket.changed = bucket.changed.max(seen);
                return true;
            }
            if !last || index + 1 >= MAX_BUCKETS {
                return false;
            }
            self.split();
        }
    }

    /// Whether the IP address has its one place already.
    fn holds_ip(&self, addr: &SocketAddr, now: Seconds) -> bool {
        let ip = addr.ip();
        let buckets = self.buckets.iter();
        let mut all = buckets.flat_map(|bucket| bucket.nodes.iter().chain(&bucket.spares));
        all.any(|node| node.has_ip(&ip) && node.quality(now) != Quality::Bad)
    }

    fn insert(&mut self, node: Node, now: Seconds) -> Entry {
        loop {
            let index = self.index(&node.id);
            let size = self.size(index);
            let last = index + 1 == self.buckets.len();
            let bucket = &mut self.buckets[index];
            if bucket.nodes.len() < size {
                bucket.push(node, size);
                bucket.changed = now;
                return Entry::Added;
            }
            if last && index + 1 < MAX_BUCKETS {
                self.split();
                continue;
            }
            if let Some(bad) = bucket.worst(now) {
                let heard = node.seen.max(node.asked);
                *bad = node;
                bucket.stalest = bucket.stalest.min(heard);
                bucket.changed = now;
                return Entry::Added;
            }
            bucket.add_spare(node);
            return Entry::Spare(bucket.oldest_questionable(now));
        }
    }

    /// Splits the home bucket: who shares one bit more with us moves on.
    fn split(&mut self) {
        let depth = self.buckets.len() - 1;
        let Some(home) = self.buckets.last_mut() else {
            return;
        };
        let own = self.own;
        let goes_on = |node: &Node| own.distance(&node.id).leading_zeros() as usize > depth;
        let mut next = Bucket {
            changed: home.changed,
            stalest: home.stalest,
            ..Bucket::default()
        };
        for (from, to) in [
            (&mut home.nodes, &mut next.nodes),
            (&mut home.spares, &mut next.spares),
        ] {
            if !from.iter().any(goes_on) {
                continue;
            }
            let (moved, stay): (Vec<_>, Vec<_>) = from.drain(..).partition(goes_on);
            *from = stay;
            *to = moved;
            from.shrink_to_fit();
            to.shrink_to_fit();
        }
        self.buckets.reserve_exact(1);
        self.buckets.push(next);
        let size = self.size(depth);
        if let Some(bucket) = self.buckets.get_mut(depth) {
            bucket.refill(size);
        }
    }

    /// A node that we know under this id and address sent a query. Says whether we know it.
    pub(super) fn on_query(&mut self, id: &NodeId, addr: &SocketAddr, now: Seconds) -> bool {
        let index = self.index(id);
        let Some(bucket) = self.buckets.get_mut(index) else {
            return false;
        };
        let node = bucket.nodes.iter_mut().find(|node| node.id == *id);
        let Some(node) = node.filter(|node| node.has_addr(addr)) else {
            return false;
        };
        node.seen = now;
        true
    }

    /// A node did not answer. `online` says that somebody else did meanwhile. Says whether it has
    /// lost its place.
    pub(super) fn on_timeout(&mut self, addr: &SocketAddr, online: bool) -> Option<Left> {
        // The last few are kept: to ask a dead node now and then is cheaper than to be alone.
        let may_drop = online && self.len() > K;
        for bucket in &mut self.buckets {
            bucket.spares.retain(|node| !node.has_addr(addr));
            let Some(at) = bucket.nodes.iter().position(|node| node.has_addr(addr)) else {
                continue;
            };
            let node = &mut bucket.nodes[at];
            node.failures = node.failures.saturating_add(1);
            self.suspect_at = self.suspect_at.min(node.suspect_at());
            if node.quality(0) != Quality::Bad {
                return None;
            }
            let unreachable = node.unconfirmed;
            if let Some(spare) = bucket.spares.pop() {
                bucket.stalest = bucket.stalest.min(spare.seen.max(spare.asked));
                self.suspect_at = self.suspect_at.min(spare.suspect_at());
                bucket.nodes[at] = spare;
            } else if may_drop && (unreachable || node.failures >= DROP_AFTER) {
                bucket.nodes.swap_remove(at);
            } else {
                return None;
            }
            return Some(match unreachable {
                true => Left::Unreachable,
                false => Left::Gone,
            });
        }
        None
    }

    /// Forgets whoever is at this address.
    pub(super) fn remove_addr(&mut self, addr: &SocketAddr) {
        for bucket in &mut self.buckets {
            bucket.nodes.retain(|node| !node.has_addr(addr));
            bucket.spares.retain(|node| !node.has_addr(addr));
        }
    }

    /// Whether a node of this id and address could enter.
    pub(super) fn has_room(&self, id: &NodeId, addr: &SocketAddr, now: Seconds) -> bool {
        let index = self.index(id);
        let fits = self.buckets.get(index).is_none_or(|bucket| {
            index + 1 == self.buckets.len()
                || bucket.nodes.len() < self.size(index)
                || bucket
                    .nodes
                    .iter()
                    .any(|node| node.quality(now) == Quality::Bad)
        });
        // Most do not fit, and only for the others the whole table is searched.
        fits && *id != self.own
            && !self.contains_addr(addr)
            && !(self.one_per_ip && self.holds_ip(addr, now))
    }

    /// Fills `out` with the nodes closest to `target` that are not bad, closest first, and returns
    /// how many there are. Nothing is allocated: this is half of every reply.
    pub(super) fn closest<'a>(
        &'a self,
        target: &NodeId,
        now: Seconds,
        out: &mut [Option<&'a Node>],
    ) -> usize {
        let index = self.index(target);
        let mut nearest = Nearest {
            target,
            out,
            count: 0,
        };
        // Who shares exactly as many bits with us as the target does is closest to the target;
        // then come all that share more with us, then those that share less, bucket by bucket.
        nearest.add(self.buckets.get(index), now);
        if nearest.count < nearest.out.len() {
            nearest.add(self.buckets.iter().skip(index + 1), now);
        }
        for bucket in self.buckets.iter().take(index).rev() {
            if nearest.count >= nearest.out.len() {
                break;
            }
            nearest.add([bucket], now);
        }
        nearest.count
    }

    /// The node that has been silent longest, if it has been so for `age`, and its bucket. It
    /// counts as asked.
    pub(super) fn next_to_ping(&mut self, now: Seconds, age: Seconds) -> Option<(usize, Contact)> {
        // A bucket's bound is at most its stalest node's silence, so most nodes need no look.
        loop {
            let buckets = self.buckets.iter_mut().enumerate();
            let filled = buckets.filter(|(_, bucket)| !bucket.nodes.is_empty());
            let (index, bucket) = filled.min_by_key(|(_, bucket)| bucket.stalest)?;
            if now.saturating_sub(bucket.stalest) < age {
                return None;
            }
            let heard = |node: &Node| node.seen.max(node.asked);
            let oldest = bucket.nodes.iter().map(heard).min()?;
            if oldest == bucket.stalest {
                let stalest = bucket.nodes.iter_mut().find(|node| heard(node) == oldest)?;
                stalest.asked = now;
                return Some((index, stalest.contact()));
            }
            bucket.stalest = oldest;
        }
    }

    /// How many nodes are good, of which no more than `enough` are of interest.
    pub(super) fn good(&self, enough: usize, now: Seconds) -> usize {
        let good = self
            .iter()
            .filter(|node| node.quality(now) == Quality::Good);
        good.take(enough).count()
    }

    /// A node to be asked before its turn, and its bucket. Who did not answer is asked again soon, so
    /// that the dead are out in a minute and a lost datagram costs nobody its place; who has been
    /// reached only as an answer to its own call is called when what let us in has closed again. It
    /// counts as asked.
    pub(super) fn next_suspect(&mut self, now: Seconds) -> Option<(usize, Contact)> {
        if now < self.suspect_at {
            return None;
        }
        let buckets = self.buckets.iter_mut().enumerate();
        let nodes = buckets.flat_map(|(index, bucket)| {
            let nodes = bucket.nodes.iter_mut();
            nodes.map(move |node| (index, node))
        });
        let first = nodes.min_by_key(|(_, node)| node.suspect_at());
        let due = first.as_ref().map(|(_, node)| node.suspect_at());
        self.suspect_at = due.unwrap_or(Seconds::MAX);
        let (index, suspect) = first.filter(|(_, node)| node.suspect_at() <= now)?;
        suspect.asked = now;
        Some((index, suspect.contact()))
    }

    /// A bucket in which nobody entered or answered for 15 minutes; it counts as refreshed.
    pub(super) fn next_to_refresh(&mut self, now: Seconds) -> Option<usize> {
        let stale = |bucket: &Bucket| now.saturating_sub(bucket.changed) >= QUESTIONABLE_AFTER;
        let index = self.buckets.iter().position(stale)?;
        self.buckets[index].changed = now;
        Some(index)
    }

    /// The deepest bucket at or below `from` that has room.
    pub(super) fn next_to_fill(&self, from: usize) -> Option<usize> {
        let until = from.checked_add(1)?.min(self.buckets.len());
        (0..until)
            .rev()
            .find(|index| self.buckets[*index].nodes.len() < self.size(*index).min(2 * K))
    }

    /// An id that belongs into a bucket, from random bits.
    pub(super) fn id_in_bucket(&self, index: usize, random: NodeId) -> NodeId {
        let mut id = random;
        for bit in 0..index.min(MAX_BUCKETS - 1) {
            id = id.with_bit(bit, self.own.bit(bit));
        }
        if index + 1 < self.buckets.len() {
            id = id.with_bit(index, !self.own.bit(index));
        }
        id
    }

    fn index(&self, id: &NodeId) -> usize {
        let shared = self.own.distance(id).leading_zeros() as usize;
        shared.min(self.buckets.len().saturating_sub(1))
    }

    fn size(&self, index: usize) -> usize {
        bucket_size(self.wide, index)
    }

    /// Panics, in debug builds, if the table breaks a rule of its own.
    pub(super) fn check(&self) {
        if !cfg!(debug_assertions) {
            return;
        }
        let last = self.buckets.len().saturating_sub(1);
        for (index, bucket) in self.buckets.iter().enumerate() {
            assert!(bucket.nodes.len() <= self.size(index), "bucket {index}");
            assert!(bucket.spares.len() <= SPARES, "spares of bucket {index}");
            for node in &bucket.nodes {
                assert!(bucket.stalest <= node.seen.max(node.asked));
            }
            for node in bucket.nodes.iter().chain(&bucket.spares) {
                let shared = self.own.distance(&node.id).leading_zeros() as usize;
                assert!(shared == index || index == last && shared > index);
                assert_ne!(node.id, self.own);
            }
        }
        let buckets = self.buckets.iter();
        let all = buckets.flat_map(|bucket| bucket.nodes.iter().chain(&bucket.spares));
        let nodes: Vec<&Node> = all.collect();
        for (at, node) in nodes.iter().enumerate() {
            for other in &nodes[at + 1..] {
                assert_ne!(node.id, other.id);
                assert_ne!(node.addr(), other.addr());
            }
        }
    }
}

/// One bucket per bit of an id.
const MAX_BUCKETS: usize = 160;

impl Default for Bucket {
    fn default() -> Self {
        Self {
            nodes: Vec::new(),
            spares: Vec::new(),
            changed: 0,
            stalest: Seconds::MAX,
        }
    }
}

impl Bucket {
    fn push(&mut self, node: Node, size: usize) {
        if self.nodes.len() == self.nodes.capacity() {
            // By fours: tables are many, and a doubled bucket would stand half empty.
            self.nodes.reserve_exact(4.min(size - self.nodes.len()));
        }
        self.stalest = self.stalest.min(node.seen.max(node.asked));
        self.nodes.push(node);
    }

    fn worst(&mut self, now: Seconds) -> Option<&mut Node> {
        let bad = |node: &&mut Node| node.quality(now) == Quality::Bad;
        self.nodes.iter_mut().find(bad)
    }

    /// The newest spare is the likeliest to live, so it goes to the end, where it is taken first.
    fn add_spare(&mut self, node: Node) {
        if self.spares.len() == SPARES {
            self.spares.remove(0);
        }
        self.spares.reserve_exact(1);
        self.spares.push(node);
    }

    fn oldest_questionable(&mut self, now: Seconds) -> Option<SocketAddr> {
        let nodes = self.nodes.iter_mut();
        let questionable = nodes.filter(|node| {
            node.quality(now) == Quality::Questionable && now.saturating_sub(node.asked) >= RE_ASK
        });
        let oldest = questionable.min_by_key(|node| node.seen)?;
        oldest.asked = now;
        Some(oldest.addr())
    }

    /// Moves spares into free places.
    fn refill(&mut self, size: usize) {
        while self.nodes.len() < size {
            let Some(spare) = self.spares.pop() else {
                return;
            };
            self.push(spare, size);
        }
    }
}

/// Ours: a questionable node has this long to answer before it is asked again.
const RE_ASK: Seconds = 15;

/// The closest nodes so far: an insertion sort into a fixed slice.
struct Nearest<'a, 'b> {
    target: &'b NodeId,
    out: &'b mut [Option<&'a Node>],
    count: usize,
}

impl<'a> Nearest<'a, '_> {
    fn add(&mut self, buckets: impl IntoIterator<Item = &'a Bucket>, now: Seconds) {
        let target = self.target;
        let nodes = buckets.into_iter().flat_map(|bucket| &bucket.nodes);
        let mut limit = self.limit();
        for node in nodes {
            // Most nodes of a wide bucket are farther than the last that is held: one comparison
            // of eight bytes tells.
            if prefix(target, node) > limit || node.quality(now) == Quality::Bad {
                continue;
            }
            let distance = target.distance(&node.id);
            let closer = |held: &Option<&Node>| {
                held.is_some_and(|held| target.distance(&held.id) <= distance)
            };
            let last = self.out[..self.count].iter().rposition(closer);
            let at = last.map_or(0, |last| last + 1);
            if at == self.out.len() {
                continue;
            }
            self.count = (self.count + 1).min(self.out.len());
            self.out[at..self.count].rotate_right(1);
            self.out[at] = Some(node);
            limit = self.limit();
        }
    }

    /// The prefix beyond which nobody is wanted.
    fn limit(&self) -> u64 {
        match self.out.last() {
            Some(Some(last)) => prefix(self.target, last),
            _ => u64::MAX,
        }
    }
}

/// The first eight bytes of a distance.
fn prefix(target: &NodeId, node: &Node) -> u64 {
    let head = |id: &NodeId| match id.as_bytes().first_chunk() {
        Some(head) => u64::from_be_bytes(*head),
        None => 0,
    };
    head(target) ^ head(&node.id)
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng, rngs::StdRng};

    use super::*;

    const RTT: Duration = Duration::from_millis(50);

    fn addr(n: u32) -> SocketAddr {
        (std::net::Ipv4Addr::from_bits(0x0a00_0000 + n), 6881).into()
    }

    fn filled(wide: bool, count: u32) -> (RoutingTable, StdRng) {
        let mut rng = StdRng::from_seed([4; 32]);
        let mut table = RoutingTable::new(NodeId::new([0; 20]), wide, true);
        for n in 0..count {
            table.on_reply(NodeId::new(rng.random()), &addr(n), RTT, Reached::Called, 0);
        }
        table.check();
        (table, rng)
    }

    #[test]
    fn closest_is_what_a_full_sort_gives() {
        for wide in [false, true] {
            let (table, mut rng) = filled(wide, 2_000);
            for _ in 0..200 {
                let target = match rng.random_range(0..4) {
                    0 => table.own,
                    1 => table.id_in_bucket(5, NodeId::new(rng.random())),
                    _ => NodeId::new(rng.random()),
                };
                let mut out = [None; K];
                assert_eq!(table.closest(&target, 0, &mut out), K);
                let mut all: Vec<NodeId> = table.iter().map(|node| node.id).collect();
                all.sort_by_key(|id| target.distance(id));
                let found: Vec<NodeId> = out.iter().flatten().map(|node| node.id).collect();
                assert_eq!(found, all[..K]);
            }
        }
    }

    #[test]
    fn a_large_network_fills_a_small_table() {
        let (table, _) = filled(false, 20_000);
        assert!((80..120).contains(&table.len()), "{}", table.len());
        assert!((11..20).contains(&table.buckets()), "{}", table.buckets());
        let (wide, _) = filled(true, 20_000);
        assert!((250..360).contains(&wide.len()), "{}", wide.len());
    }

    #[test]
    fn a_full_bucket_keeps_good_nodes_and_replaces_bad_ones() {
        let (mut table, mut rng) = filled(false, 2_000);
        let first = table.buckets[0].nodes[0].addr();
        let newcomer = table.id_in_bucket(0, NodeId::new(rng.random()));
        let at = addr(9_000);
        assert_eq!(
            table.on_reply(newcomer, &at, RTT, Reached::Called, 0),
            Entry::Spare(None)
        );
        assert!(!table.contains_addr(&at));
        let late = QUESTIONABLE_AFTER + 100;
        let asked = table.on_reply(newcomer, &at, RTT, Reached::Called, late);
        assert!(matches!(asked, Entry::Spare(Some(_))), "{asked:?}");

        table.on_timeout(&first, true);
        assert!(table.contains_addr(&first), "one failure is not enough");
        table.on_timeout(&first, true);
        assert!(!table.contains_addr(&first) && table.contains_addr(&at));
        table.check();
    }

    #[test]
    fn identity_is_guarded() {
        let mut table = RoutingTable::new(NodeId::new([0; 20]), false, true);
        let (one, two) = (NodeId::new([1; 20]), NodeId::new([2; 20]));
        assert_eq!(
            table.on_reply(one, &addr(1), RTT, Reached::Called, 0),
            Entry::Added
        );
        assert_eq!(
            table.on_reply(one, &addr(1), RTT, Reached::Called, 0),
            Entry::Known
        );
        // Another address claims the id of a good node.
        assert_eq!(
            table.on_reply(one, &addr(2), RTT, Reached::Called, 0),
            Entry::Refused
        );
        // Another port of the same IP address wants a second place.
        let mut port = addr(1);
        port.set_port(1);
        assert_eq!(
            table.on_reply(two, &port, RTT, Reached::Called, 0),
            Entry::Refused
        );
        assert!(!table.on_query(&two, &addr(1), 0) && table.on_query(&one, &addr(1), 0));
        // An address that changes its id loses its place.
        assert_eq!(
            table.on_reply(two, &addr(1), RTT, Reached::Called, 0),
            Entry::Refused
        );
        assert_eq!(table.len(), 0);
        assert_eq!(
            table.on_reply(table.own, &addr(3), RTT, Reached::Called, 0),
            Entry::Refused
        );
        assert_eq!(table.len(), 0);
        table.check();
    }

    #[test]
    fn refresh_ids_belong_to_their_bucket() {
        let (table, mut rng) = filled(false, 2_000);
        for index in 0..table.buckets() {
            let id = table.id_in_bucket(index, NodeId::new(rng.random()));
            assert_eq!(table.index(&id), index);
        }
    }
}
