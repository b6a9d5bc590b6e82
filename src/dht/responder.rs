//! Answers to queries.
//!
//! A query earns its sender no place in the routing table, only, if there is room, a ping of ours
//! that it may answer. Replies stay under 1,024 bytes (BEP 32) and under ten times the query, so
//! that a forger of addresses gains little by us. The rules of [BEP 5]: a get_peers reply has nodes
//! even where it has values, and an announce must show the token that we gave to its IP address.
//!
//! [BEP 5]: https://www.bittorrent.org/beps/bep_0005.html

mod items;

use std::{net::SocketAddr, time::Instant};

use super::{
    Dht, DhtEvent, MAX_EVENTS, VERSION,
    krpc::{Body, Fault, Filters, Message, Method, Query, Reply, Values},
    routing_table::K,
    scrape::BLOOM_LEN,
};
use crate::{
    compact::{Family, NODE_V6_LEN},
    ids::{InfoHash, NodeId},
};

/// BEP 32: no more than this, so that no datagram is fragmented.
const MAX_REPLY: usize = 1_024;
/// Ours: a reply may be this many times as long as its query.
const MAX_AMPLIFICATION: usize = 10;
/// What a reply takes beside nodes, values and filters: ids, token, `ip`, `v`, a transaction id, keys.
const REPLY_OVERHEAD: usize = 160;

/// What two filters take (BEP 33).
const FILTERS_LEN: usize = 2 * (10 + BLOOM_LEN);

/// BEP 33: what a get_peers asks for beside peers.
#[derive(Debug, Clone, Copy)]
struct Wishes {
    noseed: bool,
    scrape: bool,
}

impl Dht {
    /// A query, or something that is nearly one.
    pub(super) fn on_query(
        &mut self,
        now: Instant,
        from: SocketAddr,
        message: &Message<'_>,
        len: usize,
    ) {
        if !self.admit(now, &from) || !self.outbox.has_room() {
            self.counts.dropped += 1;
            return;
        }
        let query = match message.body {
            Body::Query(query) => query,
            Body::Malformed(fault) => {
                self.counts.dropped += 1;
                return self.answer(from, message.tid, Body::Malformed(fault));
            }
            _ => return,
        };
        self.counts.queries_received += 1;
        if self.config.read_only {
            return;
        }
        let known = self
            .table
            .on_query(&query.id, &from, self.clock.seconds(now));
        self.answer_query(now, from, message.tid, &query, len);
        if !known && !message.read_only {
            self.consider(now, query.id, from);
        }
    }

    fn answer_query(
        &mut self,
        now: Instant,
        from: SocketAddr,
        tid: &[u8],
        query: &Query<'_>,
        len: usize,
    ) {
        match query.method {
            Method::Ping => self.answer(from, tid, Body::Reply(Reply::new(self.id))),
            Method::FindNode { target } => self.answer_nodes(now, from, tid, query, target),
            // An extension that we do not know, but with a target: the nodes closest to it bring
            // the querier on, whatever it looks for.
            Method::Other { target, .. } => match target {
                Some(target) => self.answer_nodes(now, from, tid, query, target),
                None => self.answer(from, tid, Body::Malformed(Fault::UnknownMethod)),
            },
            Method::GetPeers {
                info_hash,
                noseed,
                scrape,
            } => {
                let wishes = Wishes { noseed, scrape };
                self.answer_peers(now, from, tid, query, info_hash, (wishes, len));
            }
            Method::AnnouncePeer {
                info_hash,
                port,
                token,
                seed,
            } => {
                self.tokens.rotate(now, &mut self.rng);
                if !self.tokens.accepts(token, from.ip(), &info_hash) {
                    return self.answer(from, tid, Body::Malformed(Fault::BadToken));
                }
                let peer = SocketAddr::new(from.ip(), port.unwrap_or(from.port()));
                self.store_peer(now, info_hash, peer, seed);
                self.answer(from, tid, Body::Reply(Reply::new(self.id)));
            }
            Method::Get { target, seq } => {
                self.answer_item(now, from, tid, query, (target, seq, len));
            }
            Method::Put(put) => self.answer_put(now, from, tid, &put),
            Method::SampleInfohashes { target } => {
                self.answer_sample(now, from, tid, query, target);
            }
        }
    }

    fn answer_nodes(
        &mut self,
        now: Instant,
        from: SocketAddr,
        tid: &[u8],
        query: &Query<'_>,
        target: NodeId,
    ) {
        let mut nodes = [0; K * NODE_V6_LEN];
        let len = self.write_nodes(now, query, &target, &mut nodes);
        let reply = self.reply_with(&nodes[..len]);
        self.answer(from, tid, Body::Reply(reply));
    }

    fn answer_peers(
        &mut self,
        now: Instant,
        from: SocketAddr,
        tid: &[u8],
        query: &Query<'_>,
        info_hash: InfoHash,
        (wishes, query_len): (Wishes, usize),
    ) {
        let seconds = self.clock.seconds(now);
        let mut nodes = [0; K * NODE_V6_LEN];
        let nodes_len = self.write_nodes(now, query, &info_hash.as_target(), &mut nodes);
        let family = self.config.family;
        let mut limit = MAX_REPLY.min(MAX_AMPLIFICATION * query_len);
        let blooms = match wishes.scrape && limit >= REPLY_OVERHEAD + nodes_len + FILTERS_LEN {
            true => self.store.blooms(&info_hash, seconds),
            false => None,
        };
        limit -= blooms.as_ref().map_or(0, |_| FILTERS_LEN);
        // On the wire each value has its length in front, in two or three bytes.
        let values = limit.saturating_sub(REPLY_OVERHEAD + nodes_len) / (family.peer_len() + 3);
        let mut peers = [0; MAX_REPLY];
        let room = &mut peers[..values * family.peer_len()];
        let peers_len = self
            .store
            .sample(&info_hash, wishes.noseed, seconds, room, &mut self.rng);
        self.tokens.rotate(now, &mut self.rng);
        let token = self.tokens.token(from.ip(), &info_hash);
        let reply = Reply {
            token: Some(&token),
            filters: blooms.as_ref().map(|[seeds, peers]| Filters {
                seeds: seeds.as_bytes(),
                peers: peers.as_bytes(),
            }),
            values: match peers_len {
                0 => Values::None,
                len => Values::Packed(&peers[..len], family),
            },
            ..self.reply_with(&nodes[..nodes_len])
        };
        self.answer(from, tid, Body::Reply(reply));
    }

    fn reply_with<'a>(&self, nodes: &'a [u8]) -> Reply<'a> {
        let mut reply = Reply::new(self.id);
        match self.config.family {
            Family::V4 => reply.nodes = Some(nodes),
            Family::V6 => reply.nodes6 = Some(nodes),
        }
        reply
    }

    /// Writes the closest nodes in compact form, and returns their length: none if the querier
    /// wants only those of the other family (BEP 32).
    fn write_nodes(
        &self,
        now: Instant,
        query: &Query<'_>,
        target: &NodeId,
        out: &mut [u8],
    ) -> usize {
        let wanted = query.want.is_none_or(|want| match self.config.family {
            Family::V4 => want.v4 || !want.v6,
            Family::V6 => want.v6 || !want.v4,
        });
        if !wanted {
            return 0;
        }
        let mut closest = [None; K];
        self.table
            .closest(target, self.clock.seconds(now), &mut closest);
        let mut len = 0;
        for node in closest.into_iter().flatten() {
            match node.write_compact(out, len) {
                Some(end) => len = end,
                None => break,
            }
        }
        len
    }

    fn store_peer(&mut self, now: Instant, info_hash: InfoHash, peer: SocketAddr, seed: bool) {
        let seconds = self.clock.seconds(now);
        let stored = self
            .store
            .add(info_hash, &peer, seed, seconds, &mut self.rng);
        // A source that has had its share gets the same reply: it must not learn where the bound
        // lies, and an honest one behind the same address loses nothing by it.
        if stored && self.events.len() < MAX_EVENTS {
            self.events
                .push_back(DhtEvent::AnnounceStored { info_hash, peer });
        }
        self.plan_sweep(now);
    }

    fn answer(&mut self, to: SocketAddr, tid: &[u8], body: Body<'_>) {
        if let Some(message) = self.reply_message(&to, tid, body) {
            self.counts.replies_sent += 1;
            self.outbox.push(to, |out| message.encode(out));
        }
    }

    /// Nothing, if we answer nobody.
    fn reply_message<'a>(
        &self,
        to: &SocketAddr,
        tid: &'a [u8],
        body: Body<'a>,
    ) -> Option<Message<'a>> {
        let message = Message {
            tid,
            version: Some(&VERSION),
            ip: Some(*to),
            read_only: false,
            body,
        };
        (!self.config.read_only).then_some(message)
    }
}
