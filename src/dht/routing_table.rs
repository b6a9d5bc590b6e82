//! The nodes we know, sorted into buckets by how many leading bits they share with our id.
//!
//! Bucket `i` holds nodes that share exactly `i` bits; the last one, the home bucket, holds all
//! that share more, and splits when it overflows ([BEP 5]). Nothing enters but nodes that answered
//! a query of ours, under the id they answered with. A full bucket keeps its nodes: newcomers wait
//! as replacements for those that turn bad.
//!
//! [BEP 5]: https://www.bittorrent.org/beps/bep_0005.html

mod neighbourhood;
mod places;

use std::{net::SocketAddr, ops::Range, time::Duration};

use super::{
    node::{Node, QUESTIONABLE_AFTER, Quality, Seconds},
    node_id::{self, IdCheck},
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

/// In few pieces of memory, since a process may hold a million tables: most of what touches one
/// wants the fronts of all buckets, and the nodes of one.
#[derive(Debug)]
pub(super) struct RoutingTable {
    own: NodeId,
    wide: bool,
    one_per_ip: bool,
    /// What becomes of nodes whose ids do not follow from their addresses.
    id_check: IdCheck,
    buckets: Vec<Bucket>,
    /// The nodes of all buckets, bucket by bucket.
    nodes: Vec<Node>,
    /// Those that wait for a place in their bucket, the newest last.
    spares: Vec<Node>,
    /// Before this nobody is to be asked before its turn.
    suspect_at: Seconds,
}

#[derive(Debug)]
struct Bucket {
    /// How many nodes are in it.
    len: u16,
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
    pub(super) fn new(own: NodeId, wide: bool, one_per_ip: bool, id_check: IdCheck) -> Self {
        Self {
            own,
            wide,
            one_per_ip,
            id_check,
            buckets: Vec::new(),
            nodes: Vec::new(),
            spares: Vec::new(),
            suspect_at: Seconds::MAX,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.nodes.len()
    }

    pub(super) fn buckets(&self) -> usize {
        self.buckets.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Node> {
        self.nodes.iter()
    }

    /// Makes room for so many more nodes.
    pub(super) fn reserve(&mut self, count: usize) {
        self.nodes.reserve_exact(count);
    }

    /// Reads what tells where the rest is.
    pub(super) fn touch_front(&self) -> usize {
        self.buckets.len() ^ usize::from(self.own.bit(0))
    }

    /// Reads the fronts of the buckets.
    pub(super) fn touch_buckets(&self) -> usize {
        // A front has 12 bytes and a line of the cache 64. No loop over all: its end would have to
        // be guessed, and a wrong guess waits for the memory after all.
        let changed = |at: &usize| self.buckets.get(*at).map_or(0, |front| front.changed);
        let all = [0, 5, 10, 15];
        all.iter().fold(0, |sum, at| sum ^ changed(at) as usize)
    }

    /// The bucket that an id belongs to.
    pub(super) fn bucket_of(&self, id: &NodeId) -> &[Node] {
        self.bucket(self.index(id))
    }

    /// The buckets that upkeep will look into.
    pub(super) fn stalest(&self) -> [&[Node]; 2] {
        let buckets = self.buckets.iter().enumerate();
        let stalest = buckets.min_by_key(|(_, bucket)| bucket.stalest);
        let stalest = stalest.map_or(0, |(index, _)| index);
        [self.bucket(stalest), self.bucket(0)]
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
        let range = self.range(index);
        let held = self.nodes[range.clone()]
            .iter()
            .position(|node| node.id == id);
        if let Some(at) = held.map(|at| range.start + at) {
            let known = &mut self.nodes[at];
            if known.has_addr(addr) {
                known.answered(rtt, now);
                self.buckets[index].changed = now;
                return Entry::Known;
            }
            // An id that moves is a restart behind another address, or a thief: the old holder
            // keeps it for as long as it answers.
            if known.quality(now) != Quality::Bad {
                return Entry::Refused;
            }
            self.remove(at);
        }
        self.spares
            .retain(|spare| spare.id != id && !spare.has_addr(addr));
        // An address that changes its id is lying or was restarted: it loses its place, and has to
        // answer once more to get another.
        if self.contains_addr(addr) {
            self.remove_addr(addr);
            return Entry::Refused;
        }
        if self.one_per_ip && self.holds_ip(addr, now) {
            return Entry::Refused;
        }
        if self.id_check == IdCheck::Enforce && !node_id::conforms(&addr.ip(), &id) {
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
        let mut bucket = self.bucket(self.index(&contact.id)).iter();
        if contact.id == self.own || bucket.any(|node| node.id == contact.id) {
            return false;
        }
        loop {
            let index = self.index(&contact.id);
            if self.bucket(index).len() < self.size(index) {
                self.push(Node::new(contact.id, &contact.addr, rtt, seen));
                let bucket = &mut self.buckets[index];
                bucket.changed = bucket.changed.max(seen);
                return true;
            }
            if index + 1 < self.buckets.len() || index + 1 >= MAX_BUCKETS {
                return false;
            }
            self.split();
        }
    }

    fn insert(&mut self, node: Node, now: Seconds) -> Entry {
        loop {
            let index = self.index(&node.id);
            let range = self.range(index);
            if range.len() < self.size(index) {
                self.push(node);
                self.buckets[index].changed = now;
                return Entry::Added;
            }
            if index + 1 == self.buckets.len() && index + 1 < MAX_BUCKETS {
                self.split();
                continue;
            }
            let prefers = self.id_check == IdCheck::Prefer && node.conforms();
            if let Some(at) = self.worst(range, now, prefers) {
                let bucket = &mut self.buckets[index];
                bucket.stalest = bucket.stalest.min(node.seen.max(node.asked));
                bucket.changed = now;
                self.nodes[at] = node;
                return Entry::Added;
            }
            self.add_spare(index, node);
            return Entry::Spare(self.oldest_questionable(index, now));
        }
    }

    /// Puts a node into its bucket, which has room.
    fn push(&mut self, node: Node) {
        let index = self.index(&node.id);
        let end = self.range(index).end;
        if self.nodes.len() == self.nodes.capacity() {
            // By twos: tables are many, a doubled one would stand half empty, and allocators give a
            // little more than they are asked for anyway.
            self.nodes.reserve_exact(2);
        }
        let bucket = &mut self.buckets[index];
        bucket.stalest = bucket.stalest.min(node.seen.max(node.asked));
        bucket.len += 1;
        self.nodes.insert(end, node);
    }

    /// Takes the node at a place out.
    fn remove(&mut self, at: usize) {
        let node = self.nodes.remove(at);
        let index = self.index(&node.id);
        self.buckets[index].len -= 1;
    }

    /// Splits the home bucket: who shares one bit more with us moves on.
    fn split(&mut self) {
        let depth = self.buckets.len() - 1;
        let start = self.range(depth).start;
        let Some(home) = self.buckets.last_mut() else {
            return;
        };
        let mut stay = 0;
        for at in start..self.nodes.len() {
            let shared = self.own.distance(&self.nodes[at].id).leading_zeros();
            if shared as usize <= depth {
                self.nodes[start + stay..=at].rotate_right(1);
                stay += 1;
            }
        }
        let next = Bucket {
            len: home.len - stay as u16,
            ..*home
        };
        home.len = stay as u16;
        self.buckets.reserve_exact(1);
        self.buckets.push(next);
        // The spares find their bucket by their id; now some may have a place.
        while self.range(depth).len() < self.size(depth) {
            let Some(spare) = self.take_spare(depth) else {
                return;
            };
            self.push(spare);
        }
    }

    /// The newest spare is the likeliest to live, so it is taken first, and the oldest goes.
    fn add_spare(&mut self, index: usize, node: Node) {
        let spares = 0..self.spares.len();
        let mut waiting = spares.filter(|at| self.index(&self.spares[*at].id) == index);
        if let Some(oldest) = waiting.next()
            && waiting.count() + 1 == SPARES
        {
            self.spares.remove(oldest);
        }
        self.spares.reserve_exact(1);
        self.spares.push(node);
    }

    fn take_spare(&mut self, index: usize) -> Option<Node> {
        let mut spares = self.spares.iter();
        let newest = spares.rposition(|spare| self.index(&spare.id) == index)?;
        Some(self.spares.remove(newest))
    }

    fn oldest_questionable(&mut self, index: usize, now: Seconds) -> Option<SocketAddr> {
        let range = self.range(index);
        let questionable = self.nodes[range].iter_mut().filter(|node| {
            node.quality(now) == Quality::Questionable && now.saturating_sub(node.asked) >= RE_ASK
        });
        let oldest = questionable.min_by_key(|node| node.seen)?;
        oldest.asked = now;
        Some(oldest.addr())
    }

    /// A node that we know under this id and address sent a query. Says whether we know it.
    pub(super) fn on_query(&mut self, id: &NodeId, addr: &SocketAddr, now: Seconds) -> bool {
        let range = self.range(self.index(id));
        let node = self.nodes[range].iter_mut().find(|node| node.id == *id);
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
        self.spares.retain(|node| !node.has_addr(addr));
        let at = self.nodes.iter().position(|node| node.has_addr(addr))?;
        let node = &mut self.nodes[at];
        node.failures = node.failures.saturating_add(1);
        self.suspect_at = self.suspect_at.min(node.suspect_at());
        if node.quality(0) != Quality::Bad {
            return None;
        }
        let (unreachable, failures) = (node.unconfirmed, node.failures);
        let id = node.id;
        let index = self.index(&id);
        if let Some(spare) = self.take_spare(index) {
            let bucket = &mut self.buckets[index];
            bucket.stalest = bucket.stalest.min(spare.seen.max(spare.asked));
            self.suspect_at = self.suspect_at.min(spare.suspect_at());
            self.nodes[at] = spare;
        } else if may_drop && (unreachable || failures >= DROP_AFTER) {
            let last = self.range(index).end - 1;
            self.nodes.swap(at, last);
            self.remove(last);
        } else {
            return None;
        }
        Some(match unreachable {
            true => Left::Unreachable,
            false => Left::Gone,
        })
    }

    /// Forgets whoever is at this address.
    pub(super) fn remove_addr(&mut self, addr: &SocketAddr) {
        while let Some(at) = self.nodes.iter().position(|node| node.has_addr(addr)) {
            self.remove(at);
        }
        self.spares.retain(|node| !node.has_addr(addr));
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
        let range = self.range(index);
        let mut nearest = Nearest {
            target,
            out,
            count: 0,
        };
        // Who shares exactly as many bits with us as the target does is closest to the target;
        // then come all that share more with us, then those that share less, bucket by bucket.
        nearest.add(&self.nodes[range.clone()], now);
        if nearest.count < nearest.out.len() {
            nearest.add(&self.nodes[range.end..], now);
        }
        let mut end = range.start;
        for bucket in self.buckets.iter().take(index).rev() {
            if nearest.count >= nearest.out.len() {
                break;
            }
            let start = end - usize::from(bucket.len);
            nearest.add(&self.nodes[start..end], now);
            end = start;
        }
        nearest.count
    }

    /// The node that has been silent longest, if it has been so for `age`, and its bucket. It
    /// counts as asked.
    pub(super) fn next_to_ping(&mut self, now: Seconds, age: Seconds) -> Option<(usize, Contact)> {
        // A bucket's bound is at most its stalest node's silence, so most nodes need no look.
        loop {
            let buckets = self.buckets.iter().enumerate();
            let filled = buckets.filter(|(_, bucket)| bucket.len > 0);
            let (index, bucket) = filled.min_by_key(|(_, bucket)| bucket.stalest)?;
            let stalest = bucket.stalest;
            if now.saturating_sub(stalest) < age {
                return None;
            }
            let range = self.range(index);
            let heard = |node: &Node| node.seen.max(node.asked);
            let nodes = &mut self.nodes[range];
            let oldest = nodes.iter().map(heard).min()?;
            if oldest == stalest {
                let stalest = nodes.iter_mut().find(|node| heard(node) == oldest)?;
                stalest.asked = now;
                return Some((index, stalest.contact()));
            }
            self.buckets[index].stalest = oldest;
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
        let first = self.nodes.iter_mut().min_by_key(|node| node.suspect_at());
        let due = first.as_ref().map(|node| node.suspect_at());
        self.suspect_at = due.unwrap_or(Seconds::MAX);
        let suspect = first.filter(|node| node.suspect_at() <= now)?;
        suspect.asked = now;
        let contact = suspect.contact();
        Some((self.index(&contact.id), contact))
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
            .find(|index| self.bucket(*index).len() < self.size(*index).min(2 * K))
    }

    /// An id that belongs into a bucket, from random bits.
    pub(super) fn id_in_bucket(&self, index: usize, random: NodeId) -> NodeId {
        let id = random.with_prefix(&self.own, index.min(MAX_BUCKETS - 1));
        match index + 1 < self.buckets.len() {
            true => id.with_bit(index, !self.own.bit(index)),
            false => id,
        }
    }

    fn index(&self, id: &NodeId) -> usize {
        let shared = self.own.distance(id).leading_zeros() as usize;
        shared.min(self.buckets.len().saturating_sub(1))
    }

    /// Where the nodes of a bucket are.
    fn range(&self, index: usize) -> Range<usize> {
        let before = self.buckets.iter().take(index);
        let start = before.map(|bucket| usize::from(bucket.len)).sum();
        let len = self.buckets.get(index).map_or(0, |bucket| bucket.len);
        start..start + usize::from(len)
    }

    fn bucket(&self, index: usize) -> &[Node] {
        &self.nodes[self.range(index)]
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
            let nodes = self.bucket(index);
            assert!(nodes.len() <= self.size(index), "bucket {index}");
            let spares = self.spares.iter();
            let waiting = spares.filter(|spare| self.index(&spare.id) == index);
            assert!(waiting.count() <= SPARES, "spares of bucket {index}");
            for node in nodes {
                assert!(bucket.stalest <= node.seen.max(node.asked));
                let shared = self.own.distance(&node.id).leading_zeros() as usize;
                assert!(shared == index || index == last && shared > index);
            }
        }
        assert_eq!(self.range(self.buckets.len()).start, self.nodes.len());
        let nodes: Vec<&Node> = self.nodes.iter().chain(&self.spares).collect();
        assert!(nodes.iter().all(|node| node.id != self.own));
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
            len: 0,
            changed: 0,
            stalest: Seconds::MAX,
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
    fn add(&mut self, nodes: &'a [Node], now: Seconds) {
        let target = self.target;
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
        let mut table = RoutingTable::new(NodeId::new([0; 20]), wide, true, IdCheck::Off);
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
        let first = table.nodes[0].addr();
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
        let mut table = RoutingTable::new(NodeId::new([0; 20]), false, true, IdCheck::Off);
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
