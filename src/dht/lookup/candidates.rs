//! Whom a lookup has heard of, closest first, and which of them count.
//!
//! Whoever makes ids up can be closer to a target than anybody honest, and as often as he likes. So
//! the closest places are not for the closest ids, but for those that can be believed: in order of
//! distance, no more up to any distance than the size of the network makes likely, one of a /24 (in
//! IPv6 a /64), and where ids follow from addresses ([BEP 42]) only those that do. All others are
//! still known and may be asked; they do not count.
//!
//! What a reply says of others is a claim, and nobody's claim keeps us from hearing another's: a
//! reply may name an id once and a place once, claims that contradict each other stand side by
//! side until one is answered, and an address is what it says it is. Of whose first three claims
//! nobody answers, his others wait until there is nobody better.
//!
//! [BEP 42]: https://www.bittorrent.org/beps/bep_0042.html

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Duration,
};

use super::super::{
    node_id::{self, Part},
    routing_table::K,
    size::share,
    types::Contact,
};
use crate::ids::{Distance, NodeId};

/// Ours: a bound against answers that never end.
pub(super) const MAX_CANDIDATES: usize = 256;

/// Ours: where three in ten are dead, the first three that an honest node names are all dead once
/// in forty replies, and then others name the living among them.
const MAX_DEAD: usize = 3;

/// What a lookup may know of its surroundings.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(in super::super) struct Surroundings {
    /// The number of nodes, rather too many than too few, and rather too few than too many; `None`
    /// if it is not known or so small that nothing follows from it.
    pub(in super::super) size: Option<(f64, f64)>,
    /// Whether ids that do not conform to BEP 42 are passed over.
    pub(in super::super) bound_ids: bool,
    /// Whether nothing is stored on those that do not.
    pub(in super::super) strict: bool,
    /// Whether an IP address may have but one node and a subnet but one place.
    pub(in super::super) one_per_subnet: bool,
}

impl Surroundings {
    /// Where an address may have but one node, all its ports are one place, and in IPv6 all that a
    /// customer has.
    fn place(&self, addr: &SocketAddr) -> Place {
        if !self.one_per_subnet {
            return Place::Port(*addr);
        }
        match addr.ip().to_canonical() {
            IpAddr::V4(ip) => Place::Ip(ip),
            IpAddr::V6(_) => Place::Subnet(subnet(&addr.ip())),
        }
    }

    /// How many nodes are to be expected within a distance, rather too many than too few.
    pub(super) fn expected(&self, distance: &Distance) -> Option<f64> {
        Some(self.size?.0 * share(distance))
    }
}

/// Where there can be one node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Port(SocketAddr),
    Ip(Ipv4Addr),
    Subnet(u64),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Fresh,
    Asked,
    Slow,
    Replied,
    Failed,
}

#[derive(Debug)]
pub(super) struct Candidate {
    pub(super) distance: Distance,
    /// `None` for a router: it is known by address only.
    pub(super) id: Option<NodeId>,
    pub(super) addr: SocketAddr,
    pub(super) state: State,
    /// How often it was asked.
    pub(super) tries: u8,
    /// How many referrals led here; those of our table count one.
    pub(super) hops: u8,
    /// The paths that it is on, a bit for each.
    pub(super) paths: u8,
    /// It answered us before this lookup, so asking it twice harms no stranger.
    pub(super) verified: bool,
    /// Its id follows from its address, or need not.
    conforms: bool,
    /// Who named it, if nobody else did.
    referrer: Option<SocketAddr>,
    /// What else its referrer named was not there.
    doubtful: bool,
    pub(super) rtt: Option<Duration>,
    pub(super) token: Option<Box<[u8]>>,
    pub(super) announce: State,
}

impl Candidate {
    pub(super) fn new(distance: Distance, addr: SocketAddr, hops: u8, paths: u8) -> Self {
        Self {
            distance,
            id: None,
            addr,
            state: State::Fresh,
            tries: 0,
            hops,
            paths,
            verified: false,
            conforms: true,
            referrer: None,
            doubtful: false,
            rtt: None,
            token: None,
            announce: State::Fresh,
        }
    }

    pub(super) fn contact(&self) -> Option<Contact> {
        Some(Contact {
            id: self.id?,
            addr: self.addr,
        })
    }

    /// Neither slow nor dead.
    pub(super) fn is_live(&self) -> bool {
        !matches!(self.state, State::Slow | State::Failed)
    }
}

#[derive(Debug)]
pub(super) struct Candidates {
    target: NodeId,
    pub(super) around: Surroundings,
    /// Closest first; those without an id last.
    list: Vec<Candidate>,
    /// How many of them are [`State::Asked`].
    asked: usize,
}

impl Candidates {
    pub(super) fn new(target: NodeId, around: Surroundings) -> Self {
        Self {
            target,
            around,
            list: Vec::new(),
            asked: 0,
        }
    }

    /// How many were asked and are neither slow nor done.
    pub(super) fn asked(&self) -> usize {
        self.asked
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Candidate> {
        self.list.iter()
    }

    /// How many nodes are to be expected within a distance, rather too few than too many.
    pub(super) fn at_least(&self, distance: &Distance) -> f64 {
        let least = self.around.size.map_or(0.0, |(_, least)| least);
        least * share(distance)
    }

    /// The live candidates that count.
    pub(super) fn counted(&self) -> impl Iterator<Item = (usize, &Candidate)> {
        self.counted_of(Candidate::is_live)
    }

    pub(super) fn get_mut(&mut self, at: usize) -> &mut Candidate {
        &mut self.list[at]
    }

    pub(super) fn find(&mut self, addr: &SocketAddr) -> Option<&mut Candidate> {
        self.list.iter_mut().find(|node| node.addr == *addr)
    }

    pub(super) fn set_asked(&mut self, at: usize) -> &mut Candidate {
        let node = &mut self.list[at];
        self.asked += usize::from(node.state != State::Asked);
        node.state = State::Asked;
        node
    }

    /// Somebody who was asked is slow or has failed.
    pub(super) fn set_late(&mut self, addr: &SocketAddr, state: State) {
        let Some(node) = self.list.iter_mut().find(|node| node.addr == *addr) else {
            return;
        };
        let was_asked = node.state == State::Asked;
        if was_asked || node.state == State::Slow && state == State::Failed {
            self.asked -= usize::from(was_asked);
            node.state = state;
            let referrer = node.referrer;
            self.on_dead(referrer);
        }
    }

    /// Adds a node known by address only.
    pub(super) fn add_router(&mut self, addr: SocketAddr) {
        if self.find(&addr).is_none() {
            let mut router = Candidate::new(farthest(), addr, 1, 0);
            router.verified = true;
            self.list.push(router);
        }
    }

    /// Adds those that one reply names: each id and each place once.
    pub(super) fn add_all(
        &mut self,
        nodes: impl Iterator<Item = (NodeId, SocketAddr)>,
        from: SocketAddr,
        hops: u8,
        paths: u8,
    ) {
        let mut named: Vec<(NodeId, Place)> = Vec::new();
        for (id, addr) in nodes {
            let place = self.around.place(&addr);
            if named.iter().any(|other| other.0 == id || other.1 == place) {
                continue;
            }
            named.push((id, place));
            let mut new = Candidate::new(self.target.distance(&id), addr, hops, paths);
            new.referrer = Some(from);
            self.add(id, new);
        }
    }

    /// Adds a node, or notes that one more path leads to it.
    pub(super) fn add(&mut self, id: NodeId, mut new: Candidate) {
        new.id = Some(id);
        let closer = |node: &Candidate| node.distance < new.distance;
        let start = self.list.partition_point(closer);
        // Most are known already, and only for the others the whole list is searched.
        let twins = self.list[start..].iter_mut();
        let mut twins = twins.take_while(|node| node.id == Some(id));
        if let Some(known) = twins.find(|node| node.addr == new.addr) {
            known.paths |= new.paths;
            if known.referrer != new.referrer {
                known.referrer = None;
                known.doubtful = false;
            }
            return;
        }
        new.conforms = !self.around.bound_ids || node_id::conforms(&new.addr.ip(), &id);
        if let Some(at) = self.list.iter().position(|node| node.addr == new.addr) {
            let known = &mut self.list[at];
            // Two say it is somebody else: it will tell, and is asked where it may matter more.
            // Whoever it is, both of their paths lead there.
            let better = (!new.conforms, new.distance) < (!known.conforms, known.distance);
            known.paths |= new.paths;
            if !better || known.verified || known.state != State::Fresh {
                return;
            }
            new.paths = self.list.remove(at).paths;
        } else if self.is_taken(&new.addr) {
            return;
        }
        let at = self
            .list
            .partition_point(|node| node.distance < new.distance);
        if self.list.len() >= MAX_CANDIDATES {
            let useless = |node: &Candidate| matches!(node.state, State::Fresh | State::Failed);
            match self.list.iter().rposition(useless) {
                Some(last) if last >= at => drop(self.list.remove(last)),
                _ => return,
            }
        }
        self.list.insert(at, new);
    }

    /// Whether somebody is known to be at this place, at whatever port. A liar answers under many
    /// ids at many ports of one address, so where an address may have one node only, who has
    /// answered there is it.
    fn is_taken(&self, addr: &SocketAddr) -> bool {
        let place = self.around.place(addr);
        self.list.iter().any(|node| {
            let is_there = node.verified && node.is_live() || node.state == State::Replied;
            is_there && self.around.place(&node.addr) == place
        })
    }

    /// Whom this referrer named did not reply, or to no use. Who names the dead to keep us waiting
    /// names nobody else.
    fn on_dead(&mut self, referrer: Option<SocketAddr>) {
        if referrer.is_none() {
            return;
        }
        let (mut dead, mut replied) = (0, 0);
        for node in self.list.iter().filter(|node| node.referrer == referrer) {
            dead += usize::from(!node.is_live());
            replied += usize::from(node.state == State::Replied);
        }
        if dead < MAX_DEAD || replied > 0 {
            return;
        }
        for node in self
            .list
            .iter_mut()
            .filter(|node| node.referrer == referrer)
        {
            node.doubtful = true;
        }
    }

    /// A node that was asked has replied, under this id: it moves to where that belongs.
    pub(super) fn replied(&mut self, from: Contact) -> Option<&mut Candidate> {
        let asked = |node: &Candidate| {
            node.addr == from.addr && matches!(node.state, State::Asked | State::Slow)
        };
        let at = self.list.iter().position(asked)?;
        let mut node = self.list.remove(at);
        self.asked -= usize::from(node.state == State::Asked);
        node.state = State::Replied;
        node.doubtful = false;
        node.id = Some(from.id);
        node.distance = self.target.distance(&from.id);
        node.conforms = !self.around.bound_ids || node_id::conforms(&from.addr.ip(), &from.id);
        // Who answers has been there: what others said of the same place is settled.
        let place = self.around.place(&node.addr);
        let around = self.around;
        self.list
            .retain(|other| other.state != State::Fresh || around.place(&other.addr) != place);
        let at = self
            .list
            .partition_point(|other| other.distance <= node.distance);
        self.list.insert(at, node);
        self.list.get_mut(at)
    }

    /// The live candidates, closest first, and which of them count.
    pub(super) fn judged(&self) -> impl Iterator<Item = Judged<'_>> {
        let mut census = Census::new(self.around);
        let live = self.list.iter().enumerate();
        let live = live.filter(|(_, node)| node.is_live());
        live.map(move |(at, node)| Judged {
            at,
            node,
            verdict: census.admit(node),
        })
    }

    /// The live candidates of a path that count if there are no others.
    pub(super) fn counted_on(&self, mark: u8) -> impl Iterator<Item = (usize, &Candidate)> {
        self.counted_of(move |node| node.is_live() && node.paths & mark != 0)
    }

    /// Those that have replied and count if there are no others: who does not answer takes nobody's
    /// place.
    pub(super) fn counted_replied(&self) -> impl Iterator<Item = (usize, &Candidate)> {
        self.counted_of(|node| node.state == State::Replied)
    }

    fn counted_of(
        &self,
        of: impl Fn(&Candidate) -> bool,
    ) -> impl Iterator<Item = (usize, &Candidate)> {
        let mut census = Census::new(self.around);
        let all = self.list.iter().enumerate();
        all.filter(move |(_, node)| of(node) && census.admit(node) == Verdict::Counts)
    }

    pub(super) fn check(&self) {
        assert!(self.list.len() <= MAX_CANDIDATES + super::MAX_ROUTERS);
        assert!(self.list.is_sorted_by_key(|node| node.distance));
        let asked = self.list.iter().filter(|node| node.state == State::Asked);
        assert_eq!(asked.count(), self.asked);
        let addrs: std::collections::BTreeSet<SocketAddr> =
            self.list.iter().map(|node| node.addr).collect();
        assert_eq!(addrs.len(), self.list.len());
    }
}

/// A live candidate and what it is worth.
pub(super) struct Judged<'a> {
    pub(super) at: usize,
    pub(super) node: &'a Candidate,
    pub(super) verdict: Verdict,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Counts,
    /// There are more so close than can be.
    Crowd,
    /// Its subnet has its place, its id does not follow from its address, or who named it named
    /// the dead.
    Passed,
}

/// Goes through candidates, closest first, and says who counts.
struct Census {
    around: Surroundings,
    counted: usize,
    /// The subnets of those that count, as many as any search is wide.
    subnets: [u64; MAX_WIDTH],
    /// Whether those that count are of more than one part of the network.
    part: Option<Part>,
    mixed: bool,
    /// How many bits those of one cell share.
    cell_bits: u32,
    /// The last one's cell, and how many in a row were of it.
    cell: u64,
    in_cell: usize,
}

/// The widest search looks at four times K.
pub(super) const MAX_WIDTH: usize = 4 * K;

/// Ours: ids that share as many bits are of one cell when so many nodes are to be expected in it,
/// and it has [`CELL_PLACES`]: chance puts three into one of a key's neighbourhood once in some
/// hundred lookups.
const CELL: f64 = 1.0 / 32.0;
const CELL_PLACES: usize = 2;

impl Census {
    fn new(around: Surroundings) -> Self {
        let mut cell_bits = 1;
        let mut within = around.size.map_or(0.0, |(most, _)| most / 2.0);
        while within > CELL && cell_bits < 63 {
            within /= 2.0;
            cell_bits += 1;
        }
        Self {
            around,
            cell_bits,
            counted: 0,
            subnets: [0; MAX_WIDTH],
            part: None,
            mixed: false,
            cell: u64::MAX,
            in_cell: 0,
        }
    }

    fn admit(&mut self, node: &Candidate) -> Verdict {
        let Some(id) = node.id else {
            // A router: no place near anything.
            return Verdict::Counts;
        };
        if !node.conforms || node.doubtful {
            return Verdict::Passed;
        }
        if let Some(expected) = self.around.expected(&node.distance)
            && (self.counted >= most(expected) || self.fills_cell(&id))
        {
            return Verdict::Crowd;
        }
        if self.around.one_per_subnet && !self.takes_subnet(&node.addr.ip()) {
            return Verdict::Passed;
        }
        self.counted += 1;
        self.in_cell += 1;
        Verdict::Counts
    }

    /// Whether the id's cell has all its places taken. Those of one cell come one after the other.
    fn fills_cell(&mut self, id: &NodeId) -> bool {
        let head = id.as_bytes().first_chunk().copied();
        let head = head.map_or(0, u64::from_be_bytes);
        let cell = head >> (64 - self.cell_bits);
        if cell != self.cell {
            self.cell = cell;
            self.in_cell = 0;
        }
        self.in_cell >= CELL_PLACES
    }

    /// Takes a subnet's place, if it is free. The last of K places is for another part of the
    /// network if all others are of one.
    fn takes_subnet(&mut self, ip: &IpAddr) -> bool {
        let subnet = subnet(ip);
        let taken = &self.subnets[..self.counted.min(MAX_WIDTH)];
        if taken.contains(&subnet) {
            return false;
        }
        let part = Part::of(ip);
        let other = self.part.is_some_and(|known| known != part);
        if self.counted + 1 == K && !self.mixed && !other {
            return false;
        }
        self.mixed |= other;
        self.part.get_or_insert(part);
        if let Some(place) = self.subnets.get_mut(self.counted) {
            *place = subnet;
        }
        true
    }
}

/// The most nodes that chance puts where so many are expected, but for one time in a thousand: the
/// Poisson distribution's quantile, nearly.
pub(super) fn most(expected: f64) -> usize {
    (expected + 3.0 * expected.sqrt() + 2.0) as usize
}

/// libtorrent counts one node of a /24, and of a /64 in IPv6: what one customer has.
fn subnet(ip: &IpAddr) -> u64 {
    match ip.to_canonical() {
        IpAddr::V4(ip) => 1 << 32 | u64::from(ip.to_bits() >> 8),
        IpAddr::V6(ip) => (ip.to_bits() >> 64) as u64,
    }
}

/// The distance of a node whose id is not known: it is asked when nobody better is.
fn farthest() -> Distance {
    NodeId::new([0; 20]).distance(&NodeId::new([0xff; 20]))
}

#[cfg(test)]
mod tests {
    use super::*;

    const AROUND: Surroundings = Surroundings {
        size: Some((1_000.0, 1_000.0)),
        bound_ids: false,
        strict: false,
        one_per_subnet: true,
    };

    /// The target is the id of zeros; a thousand nodes are one in 2^54 or so of the first 64 bits.
    fn id_at(expected: f64, last: u8) -> NodeId {
        let head = (expected / 1_000.0 * 2f64.powi(64)) as u64;
        let mut id = [0; 20];
        id[..8].copy_from_slice(&head.to_be_bytes());
        id[19] = last;
        NodeId::new(id)
    }

    fn add(all: &mut Candidates, id: NodeId, ip: [u8; 4], port: u16) {
        let distance = NodeId::new([0; 20]).distance(&id);
        let addr = SocketAddr::new(ip.into(), port);
        all.add(id, Candidate::new(distance, addr, 1, 1));
    }

    fn counted(all: &Candidates) -> Vec<[u8; 2]> {
        let ips = all.counted().map(|(_, node)| match node.addr.ip() {
            IpAddr::V4(ip) => [ip.octets()[0], ip.octets()[1]],
            IpAddr::V6(_) => [0, 0],
        });
        ips.collect()
    }

    #[test]
    fn more_than_can_be_so_close_do_not_count() {
        let mut all = Candidates::new(NodeId::new([0; 20]), AROUND);
        for n in 0..64 {
            add(&mut all, id_at(1e-9, n), [40, n, 0, 1], 1);
        }
        for n in 1..=8 {
            add(&mut all, id_at(f64::from(n), n), [50, n, 0, 1], 1);
        }
        let counted = counted(&all);
        let liars = counted.iter().filter(|ip| ip[0] == 40).count();
        assert_eq!((liars, counted.len()), (CELL_PLACES, CELL_PLACES + 8));
        // The same spread as evenly as can be: no more than chance would put there.
        let mut all = Candidates::new(NodeId::new([0; 20]), AROUND);
        for n in 0..200 {
            add(&mut all, id_at(f64::from(n) / 12.5, n), [40, n, 0, 1], 1);
        }
        let within = |expected: f64| {
            let counted = all.counted();
            let near = counted.filter(|(_, node)| {
                AROUND.expected(&node.distance).expect("the size is known") <= expected
            });
            near.count()
        };
        for expected in [1.0, 4.0, 8.0, 16.0] {
            assert!(within(expected) <= most(expected), "{expected}");
        }
        let unknown = Surroundings {
            size: None,
            ..AROUND
        };
        all.around = unknown;
        assert_eq!(all.counted().count(), 200);
    }

    #[test]
    fn honest_neighbourhoods_all_count() {
        use rand::{RngExt, SeedableRng, rngs::StdRng};
        let mut rng = StdRng::from_seed([5; 32]);
        let (mut crowds, mut all) = (0, 0);
        for _ in 0..300 {
            let mut ids: Vec<NodeId> = (0..1_000).map(|_| NodeId::new(rng.random())).collect();
            ids.sort();
            let mut near = Candidates::new(NodeId::new([0; 20]), AROUND);
            for (n, id) in ids.iter().take(MAX_WIDTH).enumerate() {
                add(&mut near, *id, [40 + n as u8, 0, 0, 1], 1);
            }
            all += 1;
            let mut judged = near.judged();
            crowds += u32::from(judged.any(|one| one.verdict == Verdict::Crowd));
        }
        assert!(crowds <= all / 30, "{crowds} of {all}");
    }

    #[test]
    fn a_subnet_has_one_place_and_the_eighth_is_for_another_part() {
        let mut all = Candidates::new(NodeId::new([0; 20]), AROUND);
        add(&mut all, id_at(1.0, 0), [40, 1, 1, 1], 1);
        add(&mut all, id_at(1.1, 0), [40, 1, 1, 1], 2);
        assert_eq!(counted(&all).len(), 1, "one place for an address");
        all.set_asked(1);
        all.replied(Contact {
            id: id_at(1.1, 0),
            addr: SocketAddr::new([40, 1, 1, 1].into(), 2),
        });
        add(&mut all, id_at(1.3, 0), [40, 1, 1, 1], 3);
        assert_eq!(all.iter().count(), 1, "who has answered there is it");
        add(&mut all, id_at(1.2, 0), [40, 1, 1, 2], 1);
        assert_eq!(counted(&all).len(), 1, "one place for a /24");
        for n in 2..20 {
            add(&mut all, id_at(f64::from(n), n), [40, 1, n, 1], 1);
        }
        assert_eq!(counted(&all).len(), K - 1);
        add(&mut all, id_at(30.0, 0), [41, 1, 1, 1], 1);
        add(&mut all, id_at(31.0, 0), [40, 1, 99, 1], 1);
        assert_eq!(counted(&all)[K - 1..], [[41, 1], [40, 1]]);
        // In a private network all may be of one address.
        all.around.one_per_subnet = false;
        assert!(counted(&all).len() > 2 * K);
    }

    #[test]
    fn where_ids_are_bound_only_those_that_conform_count() {
        let around = Surroundings {
            size: None,
            bound_ids: true,
            ..AROUND
        };
        let mut all = Candidates::new(NodeId::new([0; 20]), around);
        for n in 0..20 {
            add(&mut all, id_at(1.0, n), [40, n, 0, 1], 1);
            let ip = IpAddr::from([50, n, 0, 1]);
            add(
                &mut all,
                node_id::bind(&ip, id_at(1.0, n)),
                [50, n, 0, 1],
                1,
            );
        }
        assert_eq!(all.iter().count(), 40);
        assert!(counted(&all).iter().all(|ip| ip[0] == 50));
        assert_eq!(counted(&all).len(), 20);
    }

    #[test]
    fn a_reply_names_an_id_and_a_place_once() {
        let mut all = Candidates::new(NodeId::new([0; 20]), AROUND);
        let at = |ip: [u8; 4], port| SocketAddr::new(ip.into(), port);
        let from = at([66, 6, 6, 6], 1);
        let claims = [
            (id_at(3.0, 1), at([40, 1, 1, 1], 1)),
            (id_at(3.0, 1), at([40, 2, 1, 1], 1)),
            (id_at(4.0, 1), at([40, 1, 1, 1], 2)),
            (id_at(5.0, 1), at([40, 3, 1, 1], 1)),
        ];
        all.add_all(claims.into_iter(), from, 1, 1);
        assert_eq!(counted(&all), [[40, 1], [40, 3]]);
        // What another says of the same stands beside it.
        let other = [(id_at(3.0, 1), at([40, 4, 1, 1], 1))];
        all.add_all(other.into_iter(), at([77, 7, 7, 7], 1), 1, 1);
        assert_eq!(all.iter().count(), 3);
        all.check();
    }

    #[test]
    fn who_is_named_falsely_stays_on_the_path_that_named_him_truly() {
        // Which claim comes first, and which is closer, changes nothing.
        for (honest, lie) in [(3.0, 2.0), (2.0, 3.0)] {
            for liar_first in [true, false] {
                let mut all = Candidates::new(NodeId::new([0; 20]), AROUND);
                let at = |ip: [u8; 4]| SocketAddr::new(ip.into(), 1);
                let mut claims = [
                    (id_at(honest, 1), at([50, 1, 1, 1]), 0b01),
                    (id_at(lie, 2), at([66, 6, 6, 6]), 0b10),
                ];
                claims[..].rotate_left(usize::from(liar_first));
                let named = at([40, 1, 1, 1]);
                for (id, from, path) in claims {
                    all.add_all([(id, named)].into_iter(), from, 1, path);
                }
                all.check();
                for mark in [0b01, 0b10] {
                    let mut on_path = all.counted_on(mark);
                    assert!(on_path.any(|(_, node)| node.addr == named), "{mark:b}");
                }
                assert_eq!(all.iter().count(), 1);
            }
        }
    }

    #[test]
    fn chance_rarely_puts_more() {
        assert_eq!(most(2.0), 8);
    }
}
