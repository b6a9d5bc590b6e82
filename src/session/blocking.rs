//! A DHT node for programs without an asynchronous runtime.

use std::{net::SocketAddr, time::Duration};

use tokio::runtime::Runtime;

use super::{DhtBuilder, DhtHandle, DhtNode, LookupUpdate, PutOutcome, Scrape, SessionError};
use crate::{
    dht::{AnnouncePort, Answer, Contact, Item, ItemQuery, LookupStats, SampleReply},
    ids::{InfoHash, NodeId},
};

/// A [`DhtNode`] with a thread of its own, whose methods wait for their answers. When it is dropped,
/// it saves its state and stops.
///
/// Like all that waits, it must not be used or dropped within an asynchronous task.
#[derive(Debug)]
pub struct BlockingDht {
    runtime: Runtime,
    /// Gone only while it is dropped.
    node: Option<DhtNode>,
    handle: DhtHandle,
}

impl DhtBuilder {
    /// Binds the socket and starts, in a thread.
    pub fn start_blocking(self) -> Result<BlockingDht, SessionError> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .map_err(SessionError::Threads)?;
        let node = runtime.block_on(self.start())?;
        Ok(BlockingDht {
            runtime,
            handle: node.handle().clone(),
            node: Some(node),
        })
    }
}

impl BlockingDht {
    /// The same node for asynchronous code.
    pub fn handle(&self) -> &DhtHandle {
        &self.handle
    }

    /// The peers of a torrent, as they are found; dropping the iterator ends the lookup.
    pub fn peers(&self, info_hash: InfoHash) -> impl Iterator<Item = SocketAddr> + use<> {
        let mut updates = self.handle.get_peers(info_hash);
        let batches = std::iter::from_fn(move || {
            // Done is the last.
            match updates.blocking_recv()? {
                LookupUpdate::Peers(peers) => Some(peers),
                LookupUpdate::Done(..) => None,
            }
        });
        batches.flatten()
    }

    /// See [`DhtHandle::announce_once`].
    pub fn announce(
        &self,
        info_hash: InfoHash,
        port: AnnouncePort,
        seed: bool,
    ) -> Option<LookupStats> {
        self.wait(self.handle.announce_once(info_hash, port, seed))
    }

    /// See [`DhtHandle::ping`].
    pub fn ping(&self, addr: SocketAddr, patience: Duration) -> Option<Answer> {
        self.wait(self.handle.ping(addr, patience))
    }

    /// See [`DhtHandle::find_node`].
    pub fn find_node(&self, target: NodeId) -> Vec<Contact> {
        self.wait(self.handle.find_node(target))
    }

    /// See [`DhtHandle::get_item`].
    pub fn get_item(&self, query: ItemQuery) -> Option<Item> {
        self.wait(self.handle.get_item(query))
    }

    /// See [`DhtHandle::put_item`].
    pub fn put_item(&self, item: Item, cas: Option<i64>) -> Option<PutOutcome> {
        self.wait(self.handle.put_item(item, cas))
    }

    /// See [`DhtHandle::scrape`].
    pub fn scrape(&self, info_hash: InfoHash) -> Option<Scrape> {
        self.wait(self.handle.scrape(info_hash))
    }

    /// See [`DhtHandle::sample`].
    pub fn sample(&self, to: SocketAddr, target: NodeId) -> Option<SampleReply> {
        self.wait(self.handle.sample(to, target))
    }

    fn wait<T>(&self, answer: impl Future<Output = T>) -> T {
        self.runtime.block_on(answer)
    }
}

impl Drop for BlockingDht {
    fn drop(&mut self) {
        if let Some(node) = self.node.take() {
            self.runtime.block_on(node.shutdown());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::Network;

    fn node(bootstrap: Option<SocketAddr>) -> (BlockingDht, SocketAddr) {
        let node = DhtNode::builder(Network::Private)
            .listen("127.0.0.1:0".parse().unwrap())
            .bootstrap(bootstrap.map(|addr| addr.to_string()))
            .start_blocking()
            .unwrap();
        let addr = node.node.as_ref().unwrap().local_addr();
        (node, addr)
    }

    #[test]
    fn two_nodes_without_a_runtime() {
        let (one, at) = node(None);
        let (two, _) = node(Some(at));
        let pong = two.ping(at, Duration::from_secs(5)).unwrap();
        assert_eq!(pong.id, Some(one.handle().id()));
        let info_hash = InfoHash::new([7; 20]);
        let told = two.announce(info_hash, AnnouncePort::Explicit(4_000), true);
        assert_eq!(told.unwrap().announced, 1);
        let peers: Vec<SocketAddr> = one.peers(info_hash).collect();
        assert_eq!(peers, ["127.0.0.1:4000".parse().unwrap()]);
        assert_eq!(two.scrape(info_hash).unwrap().seeds, 1);
        let item = Item::immutable(b"5:hello").unwrap();
        let put = two.put_item(item.clone(), None).unwrap();
        assert_eq!((put.stored, put.conflict), (1, None));
        let query = ItemQuery::new(put.target);
        assert_eq!(two.get_item(query), Some(item));
        let sampled = two.sample(at, NodeId::new([1; 20])).unwrap();
        assert_eq!(sampled.sample.unwrap().info_hashes, [info_hash]);
        assert_eq!(two.find_node(one.handle().id())[0].addr, at);
    }
}
