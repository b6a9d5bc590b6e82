//! Reading ahead, for a process with a million nodes.
//!
//! There nearly all that an input needs is out of the processor's cache, and each thing read tells
//! where the next one is. Whoever knows several inputs to come has them touched step by step, so
//! that the processor waits for the memory of all of them at once.

use super::{Dht, node::Node};
use crate::ids::NodeId;

impl Dht {
    /// So many steps has [`Self::touch`].
    pub const TOUCH_STEPS: usize = 2;

    /// Reads the memory that every input begins with, and gives a number that follows from it. Step
    /// by step from 0 to [`Self::TOUCH_STEPS`] less one. It has no other use.
    pub fn touch(&self, step: usize) -> usize {
        match step {
            0 => {
                self.lookups.len()
                    ^ self.counts.dropped as usize
                    ^ usize::from(self.config.read_only)
                    ^ usize::from(self.id.bit(0))
                    ^ self.transactions.len()
                    ^ self.table.touch_front()
                    ^ self.maintenance.touch()
                    ^ self.admission.touch()
                    ^ usize::from(self.outbox.has_room())
                    ^ self.events.len()
            }
            _ => self.table.touch_buckets() ^ self.transactions.touch(),
        }
    }

    /// What an input reads next, a datagram or, without one, a time-out. To find it takes longer
    /// than to ask for it, so whoever finds it for several inputs before he reads waits for the
    /// memory of more of them at once.
    pub fn ahead(&self, datagram: Option<&[u8]>) -> Ahead<'_> {
        let bucket = |id: NodeId| self.table.bucket_of(&id);
        Ahead(match datagram {
            Some(datagram) => [sender(datagram), target(datagram)]
                .map(|id| id.map_or_else(Default::default, bucket)),
            None => self.table.stalest(),
        })
    }
}

/// Memory to be read: nodes of a routing table.
#[derive(Debug, Clone, Copy)]
pub struct Ahead<'a>([&'a [Node]; 2]);

impl Ahead<'_> {
    /// Reads it, and gives a number that follows from it.
    pub fn touch(&self) -> usize {
        // Of 48 bytes each, so these are in all lines of the cache that eight of them fill.
        let [one, other] = self.0.map(|nodes| {
            let seen = |at: &usize| nodes.get(*at).map_or(0, |node| node.seen as usize);
            [0, 1, 3, 4, 5, 7].iter().fold(0, |sum, at| sum ^ seen(at))
        });
        one ^ other
    }
}

/// Who sent a datagram, if it is encoded as [`krpc`](super::krpc) does it.
fn sender(datagram: &[u8]) -> Option<NodeId> {
    let query = datagram.strip_prefix(QUERY);
    let reply = || {
        let rest = datagram.strip_prefix(b"d2:ip6:")?.get(6..)?;
        rest.strip_prefix(b"1:rd2:id20:")
    };
    NodeId::from_slice(query.or_else(reply)?.get(..20)?)
}

/// What a query is about.
fn target(datagram: &[u8]) -> Option<NodeId> {
    let rest = datagram.strip_prefix(QUERY)?.get(20..)?;
    let find = rest.strip_prefix(b"6:target20:");
    let rest = find.or_else(|| rest.strip_prefix(b"9:info_hash20:"))?;
    NodeId::from_slice(rest.get(..20)?)
}

const QUERY: &[u8] = b"d1:ad2:id20:";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        dht::krpc::{Body, Message, Method, Query, Reply},
        ids::InfoHash,
    };

    #[test]
    fn our_own_messages_are_seen_through() {
        let (id, point) = (NodeId::new([7; 20]), NodeId::new([9; 20]));
        let query = |method| {
            Body::Query(Query {
                id,
                method,
                want: None,
            })
        };
        let info_hash = InfoHash::new([9; 20]);
        let rows = [
            (query(Method::Ping), None),
            (query(Method::FindNode { target: point }), Some(point)),
            (query(Method::get_peers(info_hash)), Some(point)),
            (Body::Reply(Reply::new(id)), None),
        ];
        for (body, about) in rows {
            let mut bytes = Vec::new();
            let message = Message {
                tid: b"abcd",
                version: None,
                ip: matches!(body, Body::Reply(_)).then(|| "10.0.0.1:1".parse().expect("valid")),
                read_only: false,
                body,
            };
            message.encode(&mut bytes);
            assert_eq!((sender(&bytes), target(&bytes)), (Some(id), about));
            for len in 0..bytes.len().min(40) {
                assert!(target(&bytes[..len]).is_none(), "{len}");
            }
        }
    }
}
