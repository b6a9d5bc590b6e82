//! How the commands print nodes, round trips, versions, and the steps of a lookup.

use std::{net::SocketAddr, time::Duration};

use mainswarm::{
    dht::{Contact, DhtEvent, LookupStats, LookupStep},
    ids::NodeId,
    text::printable,
};
use serde::Serialize;

use super::super::progress::plural;

/// A node, as JSON has it.
#[derive(Debug, Serialize)]
pub(super) struct ShownNode {
    id: String,
    addr: SocketAddr,
}

impl From<&Contact> for ShownNode {
    fn from(contact: &Contact) -> Self {
        Self {
            id: contact.id.to_string(),
            addr: contact.addr,
        }
    }
}

/// What a lookup did, as JSON has it.
#[derive(Debug, Serialize)]
pub(super) struct ShownStats {
    asked: u32,
    replied: u32,
    failed: u32,
    hops: u32,
    elapsed_seconds: f64,
}

impl From<&LookupStats> for ShownStats {
    fn from(stats: &LookupStats) -> Self {
        Self {
            asked: stats.asked,
            replied: stats.replied,
            failed: stats.failed,
            hops: stats.hops,
            elapsed_seconds: seconds(stats.elapsed),
        }
    }
}

/// Seconds with a precision of microseconds.
pub(super) fn seconds(span: Duration) -> f64 {
    (span.as_secs_f64() * 1e6).round() / 1e6
}

/// A round trip to read: `0.3 ms`, `48 ms`.
pub(super) fn rtt(span: Duration) -> String {
    let millis = span.as_secs_f64() * 1e3;
    match millis < 10.0 {
        true => format!("{millis:.1} ms"),
        false => format!("{millis:.0} ms"),
    }
}

/// A client's version to read: its two letters, and its two bytes in hex.
pub(super) fn version(version: &[u8]) -> String {
    match version.split_at_checked(2) {
        Some((client, rest)) if rest.len() == 2 && client.is_ascii() => {
            format!("{} {}", printable(client), hex(rest))
        }
        _ => printable(version),
    }
}

pub(super) fn hex(bytes: &[u8]) -> String {
    data_encoding::HEXLOWER.encode(bytes)
}

/// How close an id is to a target: how many of the leading bits they share.
pub(super) fn shared_bits(target: &NodeId, id: &NodeId) -> u32 {
    target.distance(id).leading_zeros()
}

/// Makes the steps of a traced lookup readable.
#[derive(Debug)]
pub(super) struct Tracer {
    target: NodeId,
    closest: u32,
}

/// One step of a lookup.
#[derive(Debug, Serialize)]
pub(super) struct Step {
    elapsed_seconds: f64,
    step: &'static str,
    addr: SocketAddr,
    #[serde(flatten)]
    detail: Detail,
    #[serde(skip)]
    elapsed: Duration,
}

/// What a step has beside when and who.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Detail {
    Asked {
        id: Option<String>,
        /// `None` for a router, whose id is not known before it replies.
        shared_bits: Option<u32>,
        hops: u32,
    },
    Reply {
        id: String,
        shared_bits: u32,
        /// By how many bits it is closer than anybody who replied before.
        gained_bits: u32,
        hops: u32,
        rtt_seconds: f64,
        nodes: usize,
        peers: usize,
        item: bool,
        #[serde(skip)]
        rtt: Duration,
    },
    Plain {},
}

impl Tracer {
    pub(super) fn new(target: NodeId) -> Self {
        Self { target, closest: 0 }
    }

    /// Reads an event; `None` if it is no step.
    pub(super) fn step(&mut self, event: &DhtEvent) -> Option<Step> {
        let (elapsed, step, addr, detail) = match event {
            DhtEvent::LookupReply {
                from,
                hops,
                rtt,
                elapsed,
                nodes,
                peers,
                item,
                ..
            } => {
                let shared = shared_bits(&self.target, &from.id);
                let gained = shared.saturating_sub(self.closest);
                self.closest = self.closest.max(shared);
                let detail = Detail::Reply {
                    id: from.id.to_string(),
                    shared_bits: shared,
                    gained_bits: gained,
                    hops: *hops,
                    rtt_seconds: seconds(*rtt),
                    nodes: *nodes,
                    peers: *peers,
                    item: *item,
                    rtt: *rtt,
                };
                (elapsed, "reply", from.addr, detail)
            }
            DhtEvent::LookupStepped {
                addr,
                elapsed,
                step,
                ..
            } => {
                let (name, detail) = self.plain_step(step);
                (elapsed, name, *addr, detail)
            }
            _ => return None,
        };
        Some(Step {
            elapsed_seconds: seconds(*elapsed),
            step,
            addr,
            detail,
            elapsed: *elapsed,
        })
    }

    fn plain_step(&self, step: &LookupStep) -> (&'static str, Detail) {
        match step {
            LookupStep::Asked { id, hops } => {
                let detail = Detail::Asked {
                    id: id.map(|id| id.to_string()),
                    shared_bits: id.map(|id| shared_bits(&self.target, &id)),
                    hops: *hops,
                };
                ("asked", detail)
            }
            LookupStep::Slow => ("slow", Detail::Plain {}),
            LookupStep::Failed => ("failed", Detail::Plain {}),
            LookupStep::Storing => ("storing", Detail::Plain {}),
            LookupStep::Stored => ("stored", Detail::Plain {}),
            LookupStep::Refused => ("refused", Detail::Plain {}),
        }
    }
}

impl Step {
    /// Whether it is a reply that came closer, or brought what was looked for.
    pub(super) fn is_gain(&self) -> bool {
        match &self.detail {
            Detail::Reply {
                gained_bits,
                peers,
                item,
                ..
            } => *gained_bits > 0 || *peers > 0 || *item,
            Detail::Asked { .. } | Detail::Plain {} => false,
        }
    }

    /// The same for people: `   12 ms  reply    127.1.0.4:6881  …`.
    pub(super) fn text(&self) -> String {
        let millis = self.elapsed.as_secs_f64() * 1e3;
        let head = format!("{millis:>8.1} ms  {:<7}  {:<21}", self.step, self.addr);
        let detail = match &self.detail {
            Detail::Plain {} => String::new(),
            Detail::Asked {
                shared_bits, hops, ..
            } => {
                let bits = shared_bits.map(|bits| format!(", {}", plural(bits as usize, "bit")));
                format!("hop {hops}{}", bits.unwrap_or_default())
            }
            Detail::Reply {
                shared_bits,
                gained_bits,
                hops,
                nodes,
                peers,
                item,
                rtt: round_trip,
                ..
            } => {
                let mut text = format!("hop {hops}, {}", plural(*shared_bits as usize, "bit"));
                if *gained_bits > 0 {
                    text += &format!(" (+{gained_bits})");
                }
                text += &format!(", {}, {}", rtt(*round_trip), plural(*nodes, "node"));
                if *peers > 0 {
                    text += &format!(", {}", plural(*peers, "new peer"));
                }
                if *item {
                    text += ", a value";
                }
                text
            }
        };
        format!("{head}  {detail}").trim_end().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_letters_and_hex() {
        for (bytes, text) in [
            (&b"LT\x02\x06"[..], "LT 0206"),
            (b"UT\xb0\xb1", "UT b0b1"),
            (b"x", "x"),
            (b"\x1b[2J", "\\u{1b}[ 324a"),
        ] {
            assert_eq!(version(bytes), text);
        }
        assert_eq!(rtt(Duration::from_micros(340)), "0.3 ms");
        assert_eq!(rtt(Duration::from_millis(48)), "48 ms");
    }
}
