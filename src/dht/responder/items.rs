//! Answers about items ([BEP 44]) and torrents at large ([BEP 51]).
//!
//! [BEP 44]: https://www.bittorrent.org/beps/bep_0044.html
//! [BEP 51]: https://www.bittorrent.org/beps/bep_0051.html

use std::{net::SocketAddr, time::Instant};

use super::{
    super::{
        Dht,
        item::{Item, immutable_target, mutable_target},
        items::SAMPLE_EVERY,
        krpc::{Body, Fault, Put, Query, Reply, Sample},
        routing_table::K,
    },
    MAX_AMPLIFICATION, MAX_REPLY, REPLY_OVERHEAD,
};
use crate::{
    compact::NODE_V6_LEN,
    ids::{ID_LEN, InfoHash, NodeId},
};

/// Ours: what a reply has beside the value of a mutable item: key, signature, sequence number.
const SIGNED_OVERHEAD: usize = 140;

/// Ours: with eight nodes of either family it stays below ten times the shortest query.
const MAX_SAMPLES: usize = 20;

impl Dht {
    /// The item, if we have it and it is newer than what the querier knows, and nodes as far as
    /// there is room. The item itself has no bound but its own: where it is long the reply exceeds
    /// what others may take, since whoever stored it here was promised that it would be found. At
    /// most it is 12 times its query (IP and UDP headers counted) and below 1,300 bytes. Under load
    /// it counts as two queries, so whoever's address is forged is sent no more than 1,024 bytes
    /// for each query of his budget; and without load all queries are fewer than one budget.
    pub(super) fn answer_item(
        &mut self,
        now: Instant,
        from: SocketAddr,
        tid: &[u8],
        query: &Query<'_>,
        (target, known, query_len): (NodeId, Option<i64>, usize),
    ) {
        let seconds = self.clock.seconds(now);
        self.tokens.rotate(now, &mut self.rng);
        let key = InfoHash::new(*target.as_bytes());
        let token = self.tokens.token(from.ip(), &key);
        let mut nodes = [0; K * NODE_V6_LEN];
        let mut nodes_len = self.write_nodes(now, query, &target, &mut nodes);
        let limit = MAX_REPLY.min(MAX_AMPLIFICATION * query_len);
        let items = self.items.as_ref();
        let item = items.and_then(|items| items.store.get(&target, seconds));
        let seq = item.and_then(Item::seq);
        let wanted = seq.is_none() || known.is_none() || seq > known;
        let shown = item.filter(|_| wanted);
        if let Some(item) = shown {
            let signed = if seq.is_some() { SIGNED_OVERHEAD } else { 0 };
            let taken = REPLY_OVERHEAD + signed + item.value().len();
            let node_len = self.config.family.node_len();
            nodes_len = nodes_len.min(limit.saturating_sub(taken) / node_len * node_len);
        }
        let reply = Reply {
            token: Some(&token),
            value: shown.map(Item::value),
            key: shown.and_then(Item::key),
            signature: shown.and_then(Item::signature),
            seq,
            ..self.reply_with(&nodes[..nodes_len])
        };
        // The item is ours and the reply borrows it, so it is encoded before anything is counted.
        let body = Body::Reply(reply);
        let Some(message) = self.reply_message(&from, tid, body) else {
            return;
        };
        self.counts.replies_sent += 1;
        let mut len = 0;
        self.outbox.push(from, |out| {
            let before = out.len();
            message.encode(out);
            len = out.len() - before;
        });
        if len > limit {
            self.admission.charge(&from);
        }
    }

    pub(super) fn answer_put(&mut self, now: Instant, from: SocketAddr, tid: &[u8], put: &Put<'_>) {
        let body = match self.store_item(now, &from, put) {
            Ok(()) => Body::Reply(Reply::new(self.id)),
            Err(fault) => Body::Malformed(fault),
        };
        self.answer(from, tid, body);
    }

    /// The token first: it costs a hash, and a signature much more.
    fn store_item(&mut self, now: Instant, from: &SocketAddr, put: &Put<'_>) -> Result<(), Fault> {
        let target = match &put.signed {
            Some(signed) => mutable_target(signed.key, signed.salt),
            None => immutable_target(put.value),
        };
        self.tokens.rotate(now, &mut self.rng);
        let key = InfoHash::new(*target.as_bytes());
        if !self.tokens.accepts(put.token, from.ip(), &key) {
            return Err(Fault::BadToken);
        }
        let item = match &put.signed {
            Some(signed) => Item::signed(
                signed.key,
                signed.salt,
                signed.seq,
                signed.signature,
                put.value,
            ),
            None => Item::immutable(put.value),
        }?;
        let (own, seconds) = (self.id, self.clock.seconds(now));
        let store = &mut self.items_mut(now).store;
        let stored = store.put(item, put.cas, &from.ip(), &own, seconds);
        self.plan_sweep(now);
        stored
    }

    /// The same sample for six hours, so that nobody gains by asking more often; but all of the
    /// torrents as long as they are no more than a sample holds.
    pub(super) fn answer_sample(
        &mut self,
        now: Instant,
        from: SocketAddr,
        tid: &[u8],
        query: &Query<'_>,
        target: NodeId,
    ) {
        let total = self.store.hashes();
        let mut hashes = Vec::with_capacity(MAX_SAMPLES * ID_LEN);
        for hash in self.draw_sample(now, total) {
            hashes.extend_from_slice(hash.as_bytes());
        }
        let mut nodes = [0; K * NODE_V6_LEN];
        let len = self.write_nodes(now, query, &target, &mut nodes);
        let reply = Reply {
            sample: Some(Sample {
                interval: SAMPLE_EVERY.as_secs() as i64,
                num: total as i64,
                hashes: &hashes,
            }),
            ..self.reply_with(&nodes[..len])
        };
        self.answer(from, tid, Body::Reply(reply));
    }

    fn draw_sample(&mut self, now: Instant, total: usize) -> Vec<InfoHash> {
        let drawn = self.items.as_ref().and_then(|items| items.sample.as_ref());
        if let Some((at, hashes)) = drawn
            && now.saturating_duration_since(*at) < SAMPLE_EVERY
        {
            return hashes.clone();
        }
        let hashes = self.store.draw(MAX_SAMPLES, &mut self.rng);
        if total > MAX_SAMPLES {
            self.items_mut(now).sample = Some((now, hashes.clone()));
        }
        hashes
    }
}
