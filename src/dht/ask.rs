//! One question to one address, outside of any lookup: is somebody there, and who?
//!
//! The answer goes to the user and nowhere else. Who is asked out of curiosity is no find of ours,
//! so it enters no table and starts no search.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use super::{
    Contact, Dht, DhtEvent, LookupId,
    krpc::{Body, Message, Method},
    transactions::{Purpose, Transaction},
};
use crate::ids::NodeId;

/// What to ask a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Question {
    /// Whether it is there.
    Ping,
    /// Which nodes it knows close to this point.
    FindNode(NodeId),
}

/// What a node has answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Its id; `None` if it answered with an error.
    pub id: Option<NodeId>,
    /// The round trip.
    pub rtt: Duration,
    /// Client and version, where given. Not UTF-8 in general.
    pub version: Option<Box<[u8]>>,
    /// Our address as it sees it (BEP 42).
    pub our_addr: Option<SocketAddr>,
    /// The nodes that it told of.
    pub nodes: Vec<Contact>,
    /// The code, if it answered with an error that has one.
    pub error: Option<i64>,
}

impl Dht {
    /// Asks whoever is at an address; [`DhtEvent::Asked`] has the answer. An address outside our
    /// network or family is not asked, and does not answer.
    pub fn ask(&mut self, now: Instant, to: SocketAddr, question: Question) -> LookupId {
        let id = self.next_id();
        if self.accepts(&to) {
            let method = match question {
                Question::Ping => Method::Ping,
                Question::FindNode(target) => Method::FindNode { target },
            };
            self.query(now, to, None, method, Purpose::Ask(id), None);
        } else {
            self.report_answer(id, to, None);
        }
        id
    }

    /// A message has come that answers a question.
    pub(super) fn on_asked(
        &mut self,
        now: Instant,
        id: LookupId,
        transaction: &Transaction,
        message: &Message<'_>,
    ) {
        self.counts.replies_received += 1;
        self.last_reply = Some(now);
        let mut answer = Answer {
            id: None,
            rtt: now.saturating_duration_since(transaction.sent),
            version: message.version.map(Box::from),
            our_addr: message.ip,
            nodes: Vec::new(),
            error: None,
        };
        match &message.body {
            Body::Reply(reply) => {
                answer.id = Some(reply.id);
                let nodes = reply.contacts(self.config.family);
                let nodes = nodes.map(|(id, addr)| Contact { id, addr });
                answer.nodes = nodes.filter(|node| self.accepts(&node.addr)).collect();
            }
            Body::Error { code, .. } => answer.error = *code,
            Body::BadReply | Body::Query(_) | Body::Malformed(_) => {}
        }
        self.report_answer(id, transaction.addr, Some(answer));
    }

    pub(super) fn report_answer(&mut self, id: LookupId, from: SocketAddr, answer: Option<Answer>) {
        self.events.push_back(DhtEvent::Asked {
            lookup: id,
            from,
            answer,
        });
    }
}
