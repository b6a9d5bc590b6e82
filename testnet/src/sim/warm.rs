//! Worlds that begin converged.
//!
//! A million nodes that join one by one are a thousand million events. Where joining is not the
//! question, [`World::warm_start`] gives every node the routing table that it would have long
//! after: each bucket holds nodes drawn at random from all that belong there, as many as it has
//! room for. A figure from such a world says nothing about bootstrapping.

use std::{ops::Range, thread, time::Duration};

use mainswarm::{
    dht::{Contact, KnownNode, bucket_size, node_id},
    ids::NodeId,
};

use super::{
    address::{Addresses, MAX_NODES},
    hash::{draw, mix, seed_bytes, unit},
    link::Links,
    shard::Shard,
    world::World,
};

/// What the tables of a converged world hold.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct WarmStart {
    /// The share of entries that lead nowhere: of nodes that left without a word. From 0 to below 1.
    pub dead: f64,
    /// Entries were last heard of at times spread evenly over this long.
    pub age: Duration,
}

impl Default for WarmStart {
    /// Nobody is dead, and all were heard of within the quarter of an hour of BEP 5.
    fn default() -> Self {
        Self {
            dead: 0.0,
            age: Duration::from_secs(15 * 60),
        }
    }
}

impl World {
    /// Fills the tables of all DHT nodes that are up, from each other and from as many dead ones as
    /// asked for. Tables that are not empty keep what they have.
    ///
    /// # Panics
    /// If the share of dead entries is not in 0..1, or if there are so many that the address space
    /// cannot hold them.
    pub fn warm_start(&mut self, warm: WarmStart) {
        assert!(
            (0.0..1.0).contains(&warm.dead),
            "the share of dead entries must be at least 0 and below 1"
        );
        let seed = draw(&[self.seed(), WARM, self.now().as_nanos() as u64]);
        let people = &People::new(self.people(seed, warm.dead));
        thread::scope(|scope| {
            for shard in self.shards_mut() {
                scope.spawn(move || fill(shard, people, seed, warm.age));
            }
        });
    }

    /// Everybody who may be in a table, the dead included, sorted by id.
    fn people(&self, seed: u64, dead: f64) -> Vec<Person> {
        let mut people: Vec<Person> = self
            .nodes()
            .filter_map(|node| {
                // Who cannot be called has no place in a table that has stood for long.
                let id = match node.actor() {
                    Some(actor) => actor.node_id()?,
                    None => node.dht().filter(|_| node.takes_dials())?.id(),
                };
                let node = node.index();
                Some(Person { id, node })
            })
            .collect();
        // The dead have the last addresses, where no node will ever be.
        let count = (people.len() as f64 * dead / (1.0 - dead)) as u32;
        let room = MAX_NODES - self.nodes().len() as u32;
        assert!(count < room, "{count} dead nodes are too many");
        people.extend((0..count).map(|at| {
            let mut id = [0; 20];
            id.copy_from_slice(&seed_bytes(&[seed, DEAD, u64::from(at)])[..20]);
            let node = MAX_NODES - 1 - at;
            // Their ids followed from their addresses, as those of the living do: nobody can tell
            // who is dead without asking.
            let id = node_id::bind(&self.addr(node).ip(), NodeId::new(id));
            Person { id, node }
        }));
        people.sort_unstable_by_key(|person| person.id);
        people
    }
}

#[derive(Debug, Clone, Copy)]
struct Person {
    id: NodeId,
    node: u32,
}

/// Everybody by id, and where in the list each start of an id begins.
struct People {
    sorted: Vec<Person>,
    starts: Vec<u32>,
}

impl People {
    fn new(sorted: Vec<Person>) -> Self {
        let mut starts = vec![0; (1 << START_BITS) + 1];
        for person in &sorted {
            starts[start(&person.id) + 1] += 1;
        }
        let mut sum = 0;
        for count in &mut starts {
            sum += *count;
            *count = sum;
        }
        Self { sorted, starts }
    }

    /// Of `range`, all of whom share `depth` bits with `id`, those whose next bit is 0, then those
    /// whose next bit is 1.
    fn split(
        &self,
        range: Range<usize>,
        id: &NodeId,
        depth: usize,
    ) -> (Range<usize>, Range<usize>) {
        let at = if depth < START_BITS {
            let shift = START_BITS - depth - 1;
            // The first start that shares `depth` bits and has a 1 behind them.
            self.starts[((start(id) >> shift) | 1) << shift] as usize
        } else {
            let people = &self.sorted[range.clone()];
            range.start + people.partition_point(|person| !person.id.bit(depth))
        };
        (range.start..at, at..range.end)
    }
}

/// A table of 256 KiB stays in the cache where a search of the list would not.
const START_BITS: usize = 16;

fn start(id: &NodeId) -> usize {
    let bytes = id.as_bytes();
    usize::from(bytes[0]) << 8 | usize::from(bytes[1])
}

fn fill(shard: &mut Shard, people: &People, seed: u64, age: Duration) {
    let mut known = Vec::new();
    let mut sample = Vec::new();
    for node in &mut shard.nodes {
        let Some(id) = node.dht().map(|dht| dht.id()) else {
            continue;
        };
        let own = Person {
            id,
            node: node.index(),
        };
        let mut maker = Maker {
            links: &shard.medium.links,
            addresses: shard.medium.addresses,
            state: draw(&[seed, u64::from(own.node)]),
            age,
        };
        maker.table(own, people, node.has_wide_table(), &mut sample, &mut known);
        node.warm(&mut shard.medium, known.drain(..));
    }
}

/// Draws one table.
struct Maker<'a> {
    links: &'a Links,
    addresses: Addresses,
    /// Of the generator.
    state: u64,
    age: Duration,
}

impl Maker<'_> {
    /// Bucket by bucket, the farthest first, as [`KnownNode`]s.
    fn table(
        &mut self,
        own: Person,
        people: &People,
        wide: bool,
        sample: &mut Vec<u32>,
        known: &mut Vec<KnownNode>,
    ) {
        // Those that share the first `depth` bits with us are a range of the sorted list, and each
        // further bit cuts it in two: a bucket, and all that are closer.
        let mut near = 0..people.sorted.len();
        for depth in 0..160 {
            if near.len() <= 1 {
                return;
            }
            let (zeros, ones) = people.split(near, &own.id, depth);
            let (bucket, closer) = match own.id.bit(depth) {
                true => (zeros, ones),
                false => (ones, zeros),
            };
            self.choose(bucket.len(), bucket_size(wide, depth), sample);
            for at in sample.iter() {
                let person = people.sorted[bucket.start + *at as usize];
                known.push(self.known(own.node, person));
            }
            near = closer;
        }
    }

    /// Chooses so many of `among` at random, or all.
    fn choose(&mut self, among: usize, count: usize, sample: &mut Vec<u32>) {
        sample.clear();
        if among <= 2 * count {
            sample.extend(0..among as u32);
            for at in 0..count.min(among) {
                let with = at + self.below(among - at);
                sample.swap(at, with);
            }
            sample.truncate(count);
            return;
        }
        while sample.len() < count {
            let at = self.below(among) as u32;
            if !sample.contains(&at) {
                sample.push(at);
            }
        }
    }

    fn known(&mut self, own: u32, person: Person) -> KnownNode {
        KnownNode {
            contact: Contact {
                id: person.id,
                addr: self.addresses.of(person.node),
            },
            age: self.age.mul_f64(unit(self.draw())),
            rtt: Duration::from_nanos(self.links.round_trip(own, person.node)),
        }
    }

    fn draw(&mut self) -> u64 {
        self.state = mix(self.state);
        self.state
    }

    fn below(&mut self, bound: usize) -> usize {
        // The upper half times the bound: no division, and no bias that could matter.
        (((self.draw() >> 32) * bound as u64) >> 32) as usize
    }
}

/// What a draw is for.
const WARM: u64 = 8;
const DEAD: u64 = 9;

#[cfg(test)]
mod tests {
    use mainswarm::network::Network;

    use super::*;
    use crate::sim::{LinkConfig, NodeConfig, WorldConfig};

    fn warm_world(nodes: u32, wide_table: bool, dead: f64, threads: usize) -> World {
        let mut world = World::new(WorldConfig {
            seed: 3,
            links: LinkConfig::internet(),
            network: Network::Private,
            threads,
        });
        for _ in 0..nodes {
            world.add_node(NodeConfig {
                dht: Some(Vec::new()),
                wide_table,
                ..NodeConfig::default()
            });
        }
        world.warm_start(WarmStart {
            dead,
            ..WarmStart::default()
        });
        world
    }

    #[test]
    fn every_bucket_holds_as_many_as_belong_there_and_fit() {
        for wide in [false, true] {
            let world = warm_world(600, wide, 0.0, 1);
            let ids: Vec<NodeId> = world.nodes().map(|node| node.dht().unwrap().id()).collect();
            for node in world.nodes().step_by(50) {
                let dht = node.dht().unwrap();
                dht.check();
                let own = dht.id();
                let shared = |id: &NodeId| own.distance(id).leading_zeros() as usize;
                let count = |ids: &[NodeId], depth: usize| {
                    ids.iter()
                        .filter(|id| **id != own && shared(id) == depth)
                        .count()
                };
                let table: Vec<NodeId> = dht.contacts().iter().map(|known| known.id).collect();
                for depth in 0..20 {
                    let expected = count(&ids, depth).min(bucket_size(wide, depth));
                    assert_eq!(count(&table, depth), expected, "wide {wide}, depth {depth}");
                }
            }
        }
    }

    #[test]
    fn the_dead_have_their_share_and_lookups_pass_them() {
        let mut world = warm_world(500, false, 0.4, 2);
        let (mut dead, mut all) = (0, 0);
        for node in world.nodes() {
            for known in node.dht().unwrap().contacts() {
                all += 1;
                dead += u32::from(world.node_at(known.addr).is_none());
            }
        }
        let share = f64::from(dead) / f64::from(all);
        assert!((share - 0.4).abs() < 0.03, "{share}");
        let key = mainswarm::ids::InfoHash::new([7; 20]);
        world.announce(1, key);
        world.run_for(Duration::from_secs(30));
        let lookup = world.get_peers(400, key);
        world.run_for(Duration::from_secs(30));
        let record = &world.lookups()[lookup];
        assert_eq!(record.peers, [world.addr(1)]);
        assert!(record.done.is_some_and(|stats| stats.failed > 0));
    }

    #[test]
    fn tables_do_not_depend_on_threads() {
        let tables = |threads| -> Vec<Vec<Contact>> {
            let world = warm_world(300, true, 0.1, threads);
            world
                .nodes()
                .map(|node| node.dht().unwrap().contacts())
                .collect()
        };
        assert_eq!(tables(1), tables(3));
    }
}
