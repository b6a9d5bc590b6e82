//! Where a plan's attackers sit.

use std::net::SocketAddr;

use mainswarm::{
    dht::node_id,
    ids::{InfoHash, NodeId},
};

use crate::{
    scenario::{AttackAnswer, AttackKind, AttackPlan},
    sim::{
        World,
        adversary::{Attacker, Gang, Nobody},
        hash::seed_bytes,
    },
};

/// Adds a plan's attackers to a world of so many nodes; the first of them has the next index.
pub(super) fn join(
    world: &mut World,
    attack: &AttackPlan,
    seed: u64,
    count: u32,
    keys: &[InfoHash],
) {
    let first = world.nodes().len() as u32;
    let places = match attack.kind {
        AttackKind::Collude | AttackKind::Forge => (0..count)
            .map(|n| {
                let addr = world.addr(first + n);
                let id = random_id(seed, u64::from(n));
                (bound(attack, addr, id), addr)
            })
            .map(Some)
            .collect(),
        AttackKind::Eclipse => surround(world, attack, seed, first, keys),
    };
    let members = places.iter().copied().flatten().collect();
    let others: Vec<(NodeId, SocketAddr)> = match attack.answers {
        AttackAnswer::Suppress => {
            let nodes = world
                .nodes()
                .filter_map(|node| Some((node.index(), node.dht()?)));
            nodes
                .map(|(index, dht)| (dht.id(), world.addr(index)))
                .collect()
        }
        AttackAnswer::Drop | AttackAnswer::Lie | AttackAnswer::Poison => Vec::new(),
    };
    let gang = Gang::new(seed, attack.kind, attack.answers, members, others);
    let mut member = 0;
    for place in places {
        if place.is_some() {
            world.add_actor(Box::new(Attacker::new(gang.clone(), member)));
            member += 1;
        } else {
            world.add_actor(Box::new(Nobody));
        }
    }
}

/// A place next to every key for each of its Sybils: an id and an address, or an address that is
/// not used.
///
/// Where ids are bound to addresses, an attacker has `addresses` of them for each key, eight ids
/// at each, and uses those that come closest.
fn surround(
    world: &World,
    attack: &AttackPlan,
    seed: u64,
    first: u32,
    keys: &[InfoHash],
) -> Vec<Option<(NodeId, SocketAddr)>> {
    let mut places = Vec::new();
    for (at, key) in keys.iter().enumerate() {
        let target = key.as_target();
        let from = first + places.len() as u32;
        if !attack.ids_bound {
            places.extend((0..attack.sybils).map(|n| {
                let addr = world.addr(from + n);
                let id = next_to(&target, seed_bytes(&[seed, SYBIL, at as u64, n.into()]));
                Some((id, addr))
            }));
            continue;
        }
        let mut best: Vec<(NodeId, u32)> = (0..attack.addresses)
            .flat_map(|n| (0..8).map(move |choice| (n, choice)))
            .map(|(n, choice)| {
                let random = seed_bytes(&[seed, SYBIL, at as u64, n.into()]);
                let wish = next_to(&target, random);
                let mut wish = *wish.as_bytes();
                wish[19] = wish[19] & !7 | choice;
                let ip = world.addr(from + n).ip();
                (node_id::bind(&ip, NodeId::new(wish)), n)
            })
            .collect();
        best.sort_unstable_by_key(|(id, _)| target.distance(id));
        let mut own = vec![None; attack.addresses as usize];
        let mut left = attack.sybils;
        for (id, n) in best {
            // A table takes one node of an address, so a second would gain nothing.
            if left > 0 && own[n as usize].is_none() {
                own[n as usize] = Some((id, world.addr(from + n)));
                left -= 1;
            }
        }
        places.extend(own);
    }
    places
}

fn bound(attack: &AttackPlan, addr: SocketAddr, id: NodeId) -> NodeId {
    match attack.ids_bound {
        true => node_id::bind(&addr.ip(), id),
        false => id,
    }
}

/// An id closer to a target than any honest one can be expected: it shares six bytes.
fn next_to(target: &NodeId, random: [u8; 32]) -> NodeId {
    let mut id = *target.as_bytes();
    id[6..].copy_from_slice(&random[..14]);
    NodeId::new(id)
}

fn random_id(seed: u64, n: u64) -> NodeId {
    let mut id = [0; 20];
    id.copy_from_slice(&seed_bytes(&[seed, ATTACKER, n])[..20]);
    NodeId::new(id)
}

/// What a draw is for.
const SYBIL: u64 = 101;
const ATTACKER: u64 = 102;
