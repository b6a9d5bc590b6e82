//! `dht sample` and `dht crawl`: of which torrents do nodes know peers (BEP 51)?
//!
//! A crawl is polite: so many nodes a second, one question at a time to an IP address, and to a
//! node only one, as it names an interval of hours for which its sample stands.

use std::{
    collections::{BTreeSet, VecDeque},
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use mainswarm::{
    dht::{Contact, InfoHashSample, SampleReply},
    ids::{InfoHash, NodeId},
};
use serde::Serialize;
use tokio::{
    task::JoinSet,
    time::{MissedTickBehavior, interval, timeout},
};

use super::{
    super::{
        args::{Common, CrawlArgs, SampleArgs},
        exit::{Exit, Failure},
        node,
        progress::plural,
        ui::Ui,
        units,
    },
    asker::Asker,
    ping::{address, silent},
};

/// Ours: as many questions of a crawl may be out; silence takes ten seconds.
const AT_ONCE: usize = 64;
/// Ours: nodes that wait for their turn, beyond which others are not noted.
const MAX_WAITING: usize = 10_000;

/// What a node said, as JSON has it.
#[derive(Debug, Serialize)]
struct Sampled {
    addr: SocketAddr,
    id: String,
    /// Whether it answers such questions at all.
    supported: bool,
    total: Option<u64>,
    interval_seconds: Option<u64>,
    info_hashes: Vec<String>,
    nodes: usize,
}

impl Sampled {
    fn new(addr: SocketAddr, reply: &SampleReply) -> Self {
        let sample = reply.sample.as_ref();
        let hashes = sample.map(|sample| &sample.info_hashes[..]);
        let hashes = hashes.unwrap_or_default().iter();
        Self {
            addr,
            id: reply.id.to_string(),
            supported: sample.is_some(),
            total: sample.map(|sample| sample.total),
            interval_seconds: sample.map(|sample| sample.interval.as_secs()),
            info_hashes: hashes.map(ToString::to_string).collect(),
            nodes: reply.nodes.len(),
        }
    }
}

/// `dht sample`: one node.
pub(super) async fn sample(ui: &Ui, common: &Common, args: &SampleArgs) -> Result<(), Failure> {
    let addr = address(common, &args.addr).await?;
    let node = node::start_alone(common, addr).await?;
    let target = NodeId::new(rand::random());
    let asked = timeout(args.timeout, node.handle().sample(addr, target)).await;
    node.shutdown().await;
    let reply = asked.ok().flatten().ok_or_else(|| silent(addr))?;
    if ui.json() {
        ui.data_json(&Sampled::new(addr, &reply))?;
    }
    let Some(sample) = reply.sample else {
        let text = format!("{addr} answers, but gives no samples (BEP 51); ask another node");
        return Err(Failure::new(Exit::NothingFound, text));
    };
    if !ui.json() {
        for hash in &sample.info_hashes {
            ui.data(&hash.to_string())?;
        }
        if !args.brief.short {
            let InfoHashSample {
                interval, total, ..
            } = sample;
            ui.note(&format!(
                ";; {} of {total}; it says no other for {}; {} told",
                plural(sample.info_hashes.len(), "torrent"),
                units::duration(interval),
                plural(reply.nodes.len(), "node"),
            ));
        }
    }
    match sample.info_hashes.is_empty() {
        true => {
            let text = format!("{addr} knows peers of no torrent; ask another node");
            Err(Failure::new(Exit::NothingFound, text))
        }
        false => Ok(()),
    }
}

/// `dht crawl`: node after node.
pub(super) async fn crawl(asker: &mut Asker<'_>, args: &CrawlArgs) -> Result<(), Failure> {
    asker.join().await?;
    let mut crawl = Crawl::default();
    let table = asker.dht().snapshot().await;
    for node in table.into_iter().flat_map(|snapshot| snapshot.table) {
        crawl.hear_of(node.contact);
    }
    let ended = crawl_on(asker, args, &mut crawl).await?;
    if !args.brief.short {
        asker.ui.note(&format!(
            ";; {}; {} asked, {} replied, {} gave samples, {} more heard of; {}",
            plural(crawl.torrents.len(), "torrent"),
            plural(crawl.asked, "node"),
            crawl.replied,
            crawl.gave,
            crawl.waiting.len(),
            units::duration(asker.elapsed()),
        ));
    }
    if crawl.replied == 0 {
        return Err(asker.nobody());
    }
    match ended {
        true => Ok(()),
        false => {
            let text = "the crawl did not end within the time; allow more with --timeout";
            Err(Failure::new(Exit::TimedOut, text))
        }
    }
}

/// Asks until there is nobody left, the limit is reached, or the time is over: then `false`.
async fn crawl_on(asker: &Asker<'_>, args: &CrawlArgs, crawl: &mut Crawl) -> Result<bool, Failure> {
    let mut pace = interval(Duration::from_secs(1) / args.rate);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut asked = JoinSet::new();
    loop {
        let more = crawl.asked < args.limit as usize && asked.len() < AT_ONCE;
        let may_ask = more && crawl.has_next();
        if !may_ask && asked.is_empty() {
            return Ok(true);
        }
        let next = asker.in_time(async {
            tokio::select! {
                _ = pace.tick(), if may_ask => None,
                Some(Ok(answered)) = asked.join_next(), if !asked.is_empty() => Some(answered),
                else => None,
            }
        });
        match next.await {
            None => return Ok(false),
            Some(None) => {
                if let Some(node) = crawl.next() {
                    let dht = asker.dht().clone();
                    asked.spawn(async move {
                        // A point of chance: who is close to it is somebody new.
                        let target = NodeId::new(rand::random());
                        (node, dht.sample(node.addr, target).await)
                    });
                }
            }
            Some(Some((node, reply))) => {
                crawl.busy.remove(&node.addr.ip());
                if let Some(reply) = reply {
                    let new = crawl.learn(&reply);
                    print(asker.ui, args, node.addr, &reply, &new)?;
                }
            }
        }
    }
}

fn print(
    ui: &Ui,
    args: &CrawlArgs,
    addr: SocketAddr,
    reply: &SampleReply,
    new: &[InfoHash],
) -> Result<(), Failure> {
    if ui.json() {
        return ui.data_json(&Sampled::new(addr, reply));
    }
    if args.brief.short {
        return new.iter().try_for_each(|hash| ui.data(&hash.to_string()));
    }
    let said = match &reply.sample {
        None => "no samples".to_owned(),
        Some(sample) => format!(
            "{} of {}, {} new",
            sample.info_hashes.len(),
            plural(
                usize::try_from(sample.total).unwrap_or(usize::MAX),
                "torrent"
            ),
            new.len(),
        ),
    };
    ui.data(&format!("{}  {addr:<21}  {said}", reply.id))
}

/// Who was asked, who is next, and what came of it.
#[derive(Debug, Default)]
struct Crawl {
    waiting: VecDeque<Contact>,
    known: BTreeSet<SocketAddr>,
    /// Where a question is under way.
    busy: BTreeSet<IpAddr>,
    torrents: BTreeSet<InfoHash>,
    asked: usize,
    replied: usize,
    gave: usize,
}

impl Crawl {
    fn hear_of(&mut self, node: Contact) {
        if self.waiting.len() < MAX_WAITING && self.known.insert(node.addr) {
            self.waiting.push_back(node);
        }
    }

    fn has_next(&self) -> bool {
        let mut waiting = self.waiting.iter();
        waiting.any(|node| !self.busy.contains(&node.addr.ip()))
    }

    fn next(&mut self) -> Option<Contact> {
        let free = |node: &Contact| !self.busy.contains(&node.addr.ip());
        let at = self.waiting.iter().position(free)?;
        let node = self.waiting.remove(at)?;
        self.busy.insert(node.addr.ip());
        self.asked += 1;
        Some(node)
    }

    /// Takes what a node said, and returns the torrents that nobody had named before.
    fn learn(&mut self, reply: &SampleReply) -> Vec<InfoHash> {
        self.replied += 1;
        for node in &reply.nodes {
            self.hear_of(*node);
        }
        let Some(sample) = &reply.sample else {
            return Vec::new();
        };
        self.gave += 1;
        let hashes = sample.info_hashes.iter().copied();
        hashes.filter(|hash| self.torrents.insert(*hash)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contact(text: &str) -> Contact {
        Contact {
            id: NodeId::new([1; 20]),
            addr: text.parse().expect("an address"),
        }
    }

    #[test]
    fn a_crawl_asks_nobody_twice_and_an_address_once_at_a_time() {
        let mut crawl = Crawl::default();
        for text in ["10.0.0.1:1", "10.0.0.1:2", "10.0.0.2:1", "10.0.0.1:1"] {
            crawl.hear_of(contact(text));
        }
        let order = [crawl.next(), crawl.next(), crawl.next()];
        let expected = [
            Some(contact("10.0.0.1:1")),
            Some(contact("10.0.0.2:1")),
            None,
        ];
        assert_eq!(order, expected);
        assert!(!crawl.has_next());
        crawl.busy.remove(&contact("10.0.0.1:1").addr.ip());
        assert_eq!(crawl.next(), Some(contact("10.0.0.1:2")));
        crawl.hear_of(contact("10.0.0.1:1"));
        assert!(crawl.waiting.is_empty() && crawl.asked == 3);
    }
}
