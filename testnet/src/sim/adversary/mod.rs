//! Attackers on the DHT: actors that speak its protocol and work together.
//!
//! A [`Gang`] is what they share: who they are, where, and what they have agreed to answer. Each
//! [`Attacker`] answers from it alone and keeps no state about others, so that what it says does not
//! depend on who asked whom first. They answer pings and searches for nodes, or they would lose
//! their places in routing tables; what they do to somebody who looks for peers or announces one is
//! their [`AttackAnswer`].

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
};

use mainswarm::{
    compact::{Family, write_addr, write_node},
    dht::krpc::{self, Body, Message, Method, Query, Reply, Values},
    ids::NodeId,
};

use super::{
    actor::{Actor, ActorContext},
    hash::{draw, seed_bytes},
    keyspace::KeySpace,
};

/// What attackers are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AttackKind {
    /// Keep their ids and answer with the attackers closest to the target.
    #[default]
    Collude,
    /// Answer with made-up ids next to the target, at their own addresses.
    Forge,
    /// Sit nearest to the key.
    Eclipse,
}

/// What an attacker answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AttackAnswer {
    /// Nothing.
    Drop,
    /// Only other attackers, and no peers.
    #[default]
    Lie,
    /// Peers that do not exist.
    Poison,
    /// The nodes closest to the key where they are not: half of the members name their ids at
    /// addresses that nobody has, half their addresses under ids that nobody has.
    Suppress,
}

/// Attackers who work together.
#[derive(Debug)]
pub struct Gang {
    seed: u64,
    kind: AttackKind,
    answers: AttackAnswer,
    members: Vec<(NodeId, SocketAddr)>,
    by_id: KeySpace<SocketAddr>,
    others: KeySpace<SocketAddr>,
}

impl Gang {
    /// A gang with these ids and addresses, among `others`, whom it has to know to suppress them.
    pub fn new(
        seed: u64,
        kind: AttackKind,
        answers: AttackAnswer,
        members: Vec<(NodeId, SocketAddr)>,
        others: impl IntoIterator<Item = (NodeId, SocketAddr)>,
    ) -> Arc<Self> {
        let by_id = members.iter().copied().collect();
        Arc::new(Self {
            seed,
            kind,
            answers,
            members,
            by_id,
            others: others.into_iter().collect(),
        })
    }

    /// Its members.
    pub fn members(&self) -> &[(NodeId, SocketAddr)] {
        &self.members
    }

    /// The ids and addresses that this querier is sent to.
    fn referrals(&self, target: &NodeId, querier: SocketAddr) -> Vec<(NodeId, SocketAddr)> {
        if self.kind != AttackKind::Forge {
            return self.by_id.closest(target, NODES);
        }
        // Every member names another part of the same phantoms, so that they fill all places near
        // the target, and the querier meets each of them under the id that it was told.
        let start = self.phantom_start(target, querier);
        let turn = draw(&[self.seed, TURN, start as u64, target_word(target)]);
        let count = PHANTOMS.min(self.members.len());
        (0..NODES.min(count))
            .map(|n| (turn as usize + n) % count)
            .map(|n| {
                let member = (start + n) % self.members.len();
                (phantom(target, member), self.members[member].1)
            })
            .collect()
    }

    /// What a member says of those who are closest to the target: nothing true.
    fn suppressed(&self, member: usize, target: &NodeId) -> Vec<(NodeId, SocketAddr)> {
        let closest = self.others.closest(target, NODES).into_iter().enumerate();
        let claim = |(n, (id, addr)): (usize, (NodeId, SocketAddr))| match member % 2 {
            0 => {
                let draw = draw(&[self.seed, FALSE_PEER, member as u64, n as u64]);
                (id, false_peer(draw))
            }
            _ => (phantom(target, n), addr),
        };
        closest.map(claim).collect()
    }

    /// The id under which a member answers.
    fn id_of(&self, member: usize, target: Option<&NodeId>, querier: SocketAddr) -> NodeId {
        let own = self.members[member].0;
        let Some(target) = target.filter(|_| self.kind == AttackKind::Forge) else {
            return own;
        };
        let len = self.members.len();
        let at = (member + len - self.phantom_start(target, querier)) % len;
        match at < PHANTOMS {
            true => phantom(target, member),
            false => own,
        }
    }

    /// The first of the members that pose as somebody near this target before this querier. It
    /// follows from the two alone: members need not talk to each other.
    fn phantom_start(&self, target: &NodeId, querier: SocketAddr) -> usize {
        let ip = match querier.ip() {
            IpAddr::V4(ip) => u64::from(ip.to_bits()),
            IpAddr::V6(_) => 0,
        };
        (draw(&[self.seed, PHANTOM, target_word(target), ip]) % self.members.len() as u64) as usize
    }
}

/// One of a [`Gang`].
#[derive(Debug)]
pub struct Attacker {
    gang: Arc<Gang>,
    member: usize,
    queries: u64,
    announces: u64,
}

impl Attacker {
    /// The gang's member of this number.
    pub fn new(gang: Arc<Gang>, member: usize) -> Self {
        Self {
            gang,
            member,
            queries: 0,
            announces: 0,
        }
    }

    /// Writes the answer to a query; `false` if there is none.
    fn answer(&mut self, from: SocketAddr, message: &Message<'_>, out: &mut Vec<u8>) -> bool {
        let Body::Query(Query { method, .. }) = message.body else {
            return false;
        };
        self.queries += 1;
        let (target, about_peers) = match method {
            Method::Ping => (None, false),
            Method::FindNode { target } => (Some(target), false),
            Method::GetPeers { info_hash, .. } => (Some(info_hash.as_target()), true),
            Method::AnnouncePeer { info_hash, .. } => {
                self.announces += 1;
                (Some(info_hash.as_target()), true)
            }
            Method::Get { target, .. } | Method::SampleInfohashes { target } => {
                (Some(target), false)
            }
            Method::Put(_) => (None, false),
            Method::Other { target, .. } => (target, false),
        };
        if about_peers && self.gang.answers == AttackAnswer::Drop {
            return false;
        }
        let id = self.gang.id_of(self.member, target.as_ref(), from);
        let mut reply = Reply::new(id);
        let (mut nodes, mut peers) = (Vec::new(), Vec::new());
        if let Some(target) = target {
            let referrals = match about_peers && self.gang.answers == AttackAnswer::Suppress {
                true => self.gang.suppressed(self.member, &target),
                false => self.gang.referrals(&target, from),
            };
            for (id, addr) in referrals {
                write_node(&mut nodes, &id, &addr);
            }
            reply.nodes = Some(&nodes);
        }
        if about_peers {
            reply.token = Some(b"liar");
            if self.gang.answers == AttackAnswer::Poison {
                for n in 0..FALSE_PEERS {
                    let draw = draw(&[self.gang.seed, FALSE_PEER, self.member as u64, n]);
                    write_addr(&mut peers, &false_peer(draw));
                }
                reply.values = Values::Packed(&peers, Family::V4);
            }
        }
        let answer = Message {
            tid: message.tid,
            version: None,
            ip: None,
            read_only: false,
            body: Body::Reply(reply),
        };
        answer.encode(out);
        true
    }
}

impl Actor for Attacker {
    fn on_datagram(&mut self, context: &mut ActorContext<'_>, from: SocketAddr, datagram: &[u8]) {
        let Ok(message) = krpc::decode(datagram) else {
            return;
        };
        let mut out = Vec::new();
        if self.answer(from, &message, &mut out) {
            context.send(from, &out);
        }
    }

    fn node_id(&self) -> Option<NodeId> {
        Some(self.gang.members[self.member].0)
    }

    fn figures(&self) -> Vec<(&'static str, f64)> {
        vec![
            ("attacker_queries", self.queries as f64),
            ("attacker_announces", self.announces as f64),
        ]
    }
}

/// Nothing lives here: an address that an attacker owns and does not use.
#[derive(Debug)]
pub struct Nobody;

impl Actor for Nobody {
    fn on_datagram(&mut self, _: &mut ActorContext<'_>, _: SocketAddr, _: &[u8]) {}
}

/// An id that shares nearly everything with a target, and tells the member that claims it.
fn phantom(target: &NodeId, member: usize) -> NodeId {
    let mut id = *target.as_bytes();
    let scrambled = seed_bytes(&[PHANTOM, member as u64]);
    id[8..].copy_from_slice(&scrambled[..12]);
    NodeId::new(id)
}

/// Somewhere in 32.0.0.0/3, where the simulated nodes are, too.
fn false_peer(draw: u64) -> SocketAddr {
    let ip = 32 << 24 | (draw as u32 & 0x1fff_ffff);
    SocketAddr::new(
        Ipv4Addr::from_bits(ip).into(),
        1_024 + (draw >> 32) as u16 % 60_000,
    )
}

fn target_word(target: &NodeId) -> u64 {
    let head = target.as_bytes().first_chunk().copied();
    head.map_or(0, u64::from_be_bytes)
}

/// As many nodes as an honest reply has.
const NODES: usize = 8;
/// Forgers pose as so many nodes near a target: more than the widest search looks at.
const PHANTOMS: usize = 64;
const FALSE_PEERS: u64 = 8;

/// What a draw is for.
const PHANTOM: u64 = 1;
const TURN: u64 = 2;
const FALSE_PEER: u64 = 3;

#[cfg(test)]
mod tests {
    use super::*;
    use mainswarm::ids::InfoHash;

    fn gang(kind: AttackKind, answers: AttackAnswer, members: usize) -> Arc<Gang> {
        let member = |n: usize| {
            let id = NodeId::from_slice(&seed_bytes(&[n as u64])[..20]).unwrap();
            (
                id,
                SocketAddr::from(([50, 0, (n >> 8) as u8, n as u8], 6881)),
            )
        };
        let others = (1_000..1_050).map(member);
        Gang::new(5, kind, answers, (0..members).map(member).collect(), others)
    }

    fn ask(gang: &Arc<Gang>, member: usize, from: u8, method: Method<'_>) -> Option<Vec<u8>> {
        let query = Message {
            tid: b"aaaa",
            version: None,
            ip: None,
            read_only: false,
            body: Body::Query(Query {
                id: NodeId::new([9; 20]),
                method,
                want: None,
            }),
        };
        let from = SocketAddr::from(([60, 0, 0, from], 6881));
        let mut out = Vec::new();
        let mut attacker = Attacker::new(gang.clone(), member);
        attacker.answer(from, &query, &mut out).then_some(out)
    }

    fn nodes(datagram: &[u8]) -> (NodeId, Vec<(NodeId, SocketAddr)>, usize) {
        let Body::Reply(reply) = krpc::decode(datagram).unwrap().body else {
            panic!("no reply");
        };
        let nodes = reply.contacts(Family::V4).collect();
        (reply.id, nodes, reply.values.peers().count())
    }

    #[test]
    fn colluders_name_the_closest_of_their_own() {
        let gang = gang(AttackKind::Collude, AttackAnswer::Lie, 300);
        let target = NodeId::new([7; 20]);
        let info_hash = InfoHash::new([7; 20]);
        let reply = ask(&gang, 3, 1, Method::get_peers(info_hash)).unwrap();
        let (id, named, peers) = nodes(&reply);
        assert_eq!((id, peers), (gang.members()[3].0, 0));
        let mut all = gang.members().to_vec();
        all.sort_by_key(|(id, _)| target.distance(id));
        assert_eq!(named, all[..8]);
    }

    #[test]
    fn forgers_answer_under_the_ids_that_they_gave_each_other() {
        let gang = gang(AttackKind::Forge, AttackAnswer::Lie, 300);
        let target = NodeId::new([7; 20]);
        for from in 0..20 {
            let reply = ask(&gang, 3, from, Method::FindNode { target }).unwrap();
            for (id, addr) in nodes(&reply).1 {
                assert!(target.distance(&id).leading_zeros() >= 60);
                let members = gang.members().iter();
                let member = members.clone().position(|(_, at)| *at == addr).unwrap();
                let again = ask(&gang, member, from, Method::FindNode { target }).unwrap();
                assert_eq!(nodes(&again).0, id, "the id that was promised");
                let ping = ask(&gang, member, from, Method::Ping).unwrap();
                assert_eq!(nodes(&ping).0, gang.members()[member].0);
            }
        }
    }

    #[test]
    fn the_closest_are_named_where_they_are_not() {
        let gang = gang(AttackKind::Collude, AttackAnswer::Suppress, 30);
        let info_hash = InfoHash::new([7; 20]);
        let closest = gang.others.closest(&info_hash.as_target(), 8);
        for member in 0..2 {
            let reply = ask(&gang, member, 1, Method::get_peers(info_hash)).unwrap();
            let named = nodes(&reply).1;
            assert_eq!(named.len(), closest.len());
            for (claim, truth) in named.iter().zip(&closest) {
                assert_eq!(claim.0 == truth.0, member == 0);
                assert_eq!(claim.1 == truth.1, member == 1);
            }
        }
    }

    #[test]
    fn answers_are_what_was_agreed() {
        let info_hash = InfoHash::new([7; 20]);
        let rows = [
            (AttackAnswer::Drop, None),
            (AttackAnswer::Lie, Some(0)),
            (AttackAnswer::Poison, Some(8)),
        ];
        for (answers, peers) in rows {
            let gang = gang(AttackKind::Eclipse, answers, 30);
            let reply = ask(&gang, 0, 1, Method::get_peers(info_hash));
            assert_eq!(reply.map(|reply| nodes(&reply).2), peers, "{answers:?}");
            assert!(ask(&gang, 0, 1, Method::Ping).is_some());
        }
    }
}
