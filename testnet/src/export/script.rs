//! A case as programs to start: what the three targets have in common.
//!
//! Every command line here is one that `mainswarm` takes. What of a case it cannot take is an
//! error where the run would be another one, and a sentence in [`Script::losses`] where it would be
//! the same with another accent.

use std::time::Duration;

use mainswarm::{
    metainfo::{
        Metainfo,
        create::{PieceHasher, TorrentBuilder},
    },
    torrent::{PieceOrder, chooser::SeedOrder},
};
use sha1::{Digest, Sha1};

use super::ExportError;
use crate::{
    scenario::{
        Action, Architecture, Behaviour, Case, Class, DhtPlan, DhtStart, Discovery, Plan, Scenario,
        Session, SwarmPlan,
    },
    sim::Delay,
};

/// What is started, and when.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Script {
    /// What names are made from: letters, digits and dashes.
    pub(super) name: String,
    /// Comments: what this is, and how it is run.
    pub(super) about: Vec<String>,
    /// What the target cannot carry over, a sentence each.
    pub(super) losses: Vec<String>,
    pub(super) groups: Vec<Group>,
    /// Files that programs share.
    pub(super) contents: Vec<Content>,
    pub(super) stop: Duration,
    pub(super) seed: u64,
}

/// Hosts that are alike.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Group {
    pub(super) name: String,
    pub(super) count: usize,
    pub(super) up: Option<f64>,
    pub(super) down: Option<f64>,
    /// When the first starts, and how much later each next one does.
    pub(super) start: Duration,
    pub(super) step: Duration,
    pub(super) work: Work,
}

/// What a host does.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Work {
    /// Runs a node of the DHT.
    Node,
    /// Shares a file: number `i` of the group the content `i`, or all the same one.
    Share,
    /// Fetches the first file; `true` if it stays as a seed.
    Get(bool),
    /// Looks up each of these contents by number, one after the other at a pace.
    LookUp { every: Duration, times: usize },
}

/// A file whose bytes follow from its name and length.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Content {
    pub(super) name: String,
    /// The number of its first line.
    pub(super) first: u64,
    pub(super) len: u64,
    pub(super) piece_len: u32,
    pub(super) magnet: String,
    pub(super) info_hash: String,
    /// The SHA-1 of the whole file.
    pub(super) sha1: String,
}

/// The port of every node.
pub(super) const PORT: u16 = 6881;
/// The routers' name.
pub(super) const ROUTER: &str = "router";
/// When those that have something to share start, and when the others do: the DHT is up by then.
const SHARERS_START: Duration = Duration::from_secs(5);
const OTHERS_START: Duration = Duration::from_secs(15);
/// A lookup of its own process joins the DHT first.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(60);

/// The case as programs, or why it cannot be.
pub(super) fn script(
    scenario: &Scenario,
    case: &Case,
    name: String,
    seed: u64,
) -> Result<Script, ExportError> {
    let plan = &case.plan;
    let mut script = Script {
        about: about(scenario, case),
        name,
        losses: Vec::new(),
        groups: Vec::new(),
        contents: Vec::new(),
        stop: Duration::ZERO,
        seed,
    };
    if let Some(attack) = &plan.attack {
        let what = format!("the attack {:?}", attack.kind);
        return Err(unsupported(what, "mainswarm attacks nobody"));
    }
    match (&plan.swarm, &plan.dht) {
        (Some(swarm), None) => swarm_script(&mut script, plan, swarm)?,
        (None, Some(dht)) => dht_script(&mut script, plan, dht)?,
        (Some(_), Some(_)) => {
            let what = "a case with [swarm] and [dht]";
            return Err(unsupported(what, "the two halves run one after the other"));
        }
        (None, None) => return Err(unsupported("an empty case", "it starts nothing")),
    }
    if plan.network.nat > 0.0 {
        script
            .losses
            .push("NAT: every node can be called from outside here.".into());
    }
    Ok(script)
}

fn about(scenario: &Scenario, case: &Case) -> Vec<String> {
    let id = scenario
        .id
        .as_ref()
        .map_or(String::new(), |id| format!("{id}, "));
    let mut about = vec![format!("{id}{}: {}", scenario.name, scenario.title)];
    for (key, value) in &case.settings {
        about.push(format!("{key} = {value}"));
    }
    about
}

fn swarm_script(script: &mut Script, plan: &Plan, swarm: &SwarmPlan) -> Result<(), ExportError> {
    check_swarm(plan, swarm)?;
    let content = content("file.bin", 0, swarm.file_len(), swarm.piece_len)?;
    script.stop = OTHERS_START.saturating_add(swarm.limit);
    script.contents.push(content);
    script.groups.push(Group {
        name: ROUTER.into(),
        count: 1,
        up: None,
        down: None,
        start: Duration::ZERO,
        step: Duration::ZERO,
        work: Work::Node,
    });
    for class in &plan.classes {
        let stays = match class.seeds_for {
            None => true,
            Some(stay) if stay.is_zero() => false,
            Some(_) => {
                let what = format!("class {}: seeds_for", class.name);
                return Err(unsupported(
                    what,
                    "a program cannot be told to stay for a while",
                ));
            }
        };
        let first = if class.complete {
            SHARERS_START
        } else {
            OTHERS_START
        };
        script.groups.push(Group {
            name: class.name.clone(),
            count: class.count,
            up: class.up,
            down: class.down,
            start: first + class.join_at,
            step: class.join_within / class.count.max(1) as u32,
            work: if class.complete {
                Work::Share
            } else {
                Work::Get(stays)
            },
        });
    }
    let losses = &mut script.losses;
    let scaled = swarm.choke_interval != Duration::from_secs(10)
        || swarm.optimistic_interval != Duration::from_secs(30);
    if scaled {
        losses.push(format!(
            "The choker's scaling: the scenario decides every {} s and {} s, mainswarm every 10 s \
             and 30 s.",
            swarm.choke_interval.as_secs_f64(),
            swarm.optimistic_interval.as_secs_f64()
        ));
    }
    if swarm.slots != 4 || swarm.optimistic_slots != 1 {
        losses.push(format!(
            "Upload slots: the scenario has {} + {}, mainswarm 4 + 1.",
            swarm.slots, swarm.optimistic_slots
        ));
    }
    if swarm.neighbours != 50 {
        losses.push(format!(
            "Neighbours: {} in the scenario, 50 here.",
            swarm.neighbours
        ));
    }
    if swarm.discovery == Discovery::Told {
        losses
            .push("Discovery: peers find each other by the DHT, nobody is told of others.".into());
    }
    if !swarm.magnet {
        losses.push("Peers start from the magnet link and fetch the metadata from others.".into());
    }
    Ok(())
}

fn check_swarm(plan: &Plan, swarm: &SwarmPlan) -> Result<(), ExportError> {
    if let Some(event) = plan.events.first() {
        let what = format!("the event {:?}", event.action);
        return Err(unsupported(
            what,
            "a swarm's programs are not told of events",
        ));
    }
    if swarm.architecture == Architecture::ClientServer {
        let what = "architecture = \"client-server\"";
        return Err(unsupported(
            what,
            "mainswarm has no switch that makes it upload nothing",
        ));
    }
    if swarm.piece_order != PieceOrder::RarestFirst || !swarm.unsent_first {
        let what = "piece_order or unsent_first";
        return Err(unsupported(
            what,
            "mainswarm's choice of pieces cannot be changed",
        ));
    }
    if swarm.seed_order != SeedOrder::LeastServed {
        let what = "seed_order";
        return Err(unsupported(
            what,
            "mainswarm's choice of whom a seed serves cannot be changed",
        ));
    }
    for class in &plan.classes {
        check_class(class)?;
    }
    if !plan
        .classes
        .iter()
        .any(|class| class.complete && class.count > 0)
    {
        return Err(unsupported("a swarm without a seed", "nobody has the file"));
    }
    Ok(())
}

fn check_class(class: &Class) -> Result<(), ExportError> {
    let name = &class.name;
    let refuse = |what: &str, why| Err(unsupported(format!("class {name}: {what}"), why));
    if class.behaviour != Behaviour::Standard {
        let what = format!("behaviour {:?}", class.behaviour);
        return refuse(&what, "mainswarm plays by the rules");
    }
    if class.share.is_some() {
        return refuse("share", "a target needs a count");
    }
    if class.arrivals.is_some() {
        return refuse("arrivals", "a target needs a count");
    }
    if class.leaves_at_copies.is_some() {
        return refuse(
            "leaves_at_copies",
            "mainswarm does not stop after so many copies",
        );
    }
    if class.leaves_at.is_some() {
        return refuse("leaves_at", "mainswarm does not stop at a time");
    }
    if class.complete && class.seeds_for.is_some() {
        let why = "a program that shares goes on until it is stopped";
        return refuse("seeds_for with has = \"everything\"", why);
    }
    if class.down == Some(0.0) {
        return refuse("down = \"stalled\"", "a target's links do not stall");
    }
    if !is_label(name) || name == ROUTER {
        let why = "its name must be lower-case letters, digits and dashes, and not `router`";
        return refuse("its name", why);
    }
    Ok(())
}

fn dht_script(script: &mut Script, plan: &Plan, dht: &DhtPlan) -> Result<(), ExportError> {
    if let Some(event) = plan
        .events
        .iter()
        .find(|e| !matches!(e.action, Action::Kill(_)))
    {
        let what = format!("the event {:?}", event.action);
        return Err(unsupported(
            what,
            "the programs are started and stopped, and no more",
        ));
    }
    if !plan.events.is_empty() {
        return Err(unsupported(
            "kill",
            "which nodes stop is drawn when a scenario runs",
        ));
    }
    if dht.session != Session::Forever {
        return Err(unsupported(
            "session",
            "nodes of an export stay until the end",
        ));
    }
    if dht.dead > 0.0 {
        return Err(unsupported("dead", "tables are filled by real joins"));
    }
    let others = dht.nodes.saturating_sub(dht.routers);
    if dht.announces >= others {
        return Err(unsupported(
            format!("announces = {} by {others} nodes", dht.announces),
            "each announcer is a node of its own; write fewer, as `--set announces=N`",
        ));
    }
    let announces = dht.announces as usize;
    for key in 0..announces {
        let first = 1_000_000 * (key as u64 + 1);
        script
            .contents
            .push(content(&format!("key-{key}.bin"), first, 1024, 16 * 1024)?);
    }
    let nodes = others as usize - announces;
    let within = dht.join_within;
    let mut group = |name: &str, count: usize, start: Duration, step: Duration, work| {
        script.groups.push(Group {
            name: name.into(),
            count,
            up: None,
            down: None,
            start,
            step,
            work,
        });
    };
    group(
        ROUTER,
        dht.routers.max(1) as usize,
        Duration::ZERO,
        Duration::ZERO,
        Work::Node,
    );
    group(
        "node",
        nodes,
        SHARERS_START,
        within / nodes.max(1) as u32,
        Work::Node,
    );
    let announced = SHARERS_START + within;
    group(
        "announcer",
        announces,
        announced,
        Duration::ZERO,
        Work::Share,
    );
    let begin = announced + OTHERS_START + dht.settle;
    let seekers = (dht.lookups as usize)
        .min(MAX_SEEKERS)
        .min(announces * 1000);
    if seekers > 0 {
        let times = (dht.lookups as usize).div_ceil(seekers);
        let every = dht.lookup_within / times as u32;
        let work = Work::LookUp { every, times };
        group("seeker", seekers, begin, every / seekers as u32, work);
        let rounded = times * seekers;
        if rounded != dht.lookups as usize {
            script
                .losses
                .push(format!("Lookups: {rounded} and not {}.", dht.lookups));
        }
        script.losses.push(
            "Each lookup is a program of its own, which joins the DHT first; whether it found a \
             peer is kept, how long it took is not."
                .into(),
        );
    }
    script.losses.push(format!(
        "Announces: each key is announced when its node starts and then at mainswarm's own pace, not \
         every {} s.",
        dht.reannounce.as_secs_f64()
    ));
    if dht.settle > Duration::ZERO {
        script.losses.push(format!(
            "Settling: the {} s are between the announces and the lookups, not before the announces.",
            dht.settle.as_secs_f64()
        ));
    }
    if dht.start == DhtStart::Warm {
        script.losses.push(format!(
            "Warm tables: nodes join one another really, over {} s.",
            within.as_secs_f64()
        ));
    }
    if !dht.wide_tables {
        script
            .losses
            .push("Narrow tables: mainswarm's are wide.".into());
    }
    script.stop = begin + dht.lookup_within + LOOKUP_TIMEOUT;
    Ok(())
}

/// Hosts that look up.
const MAX_SEEKERS: usize = 50;

impl Script {
    /// A host's command lines: when each starts after its host's start, and the arguments.
    ///
    /// `rates` are set by options where the target has no links of its own. `place` is where the
    /// contents are.
    pub(super) fn commands(
        &self,
        group: &Group,
        index: usize,
        rates: bool,
        place: &str,
        routers: &[String],
    ) -> Vec<(Duration, Vec<String>)> {
        let words = |command: &[&str]| -> Vec<String> {
            let mut words: Vec<String> = command.iter().map(|word| (*word).to_owned()).collect();
            let listen = format!("0.0.0.0:{PORT}");
            words.extend(["--network", "private", "--state", "state"].map(str::to_owned));
            words.extend(["--json", "--listen"].map(str::to_owned));
            words.push(listen);
            for router in routers {
                words.extend(["--bootstrap".to_owned(), format!("{router}:{PORT}")]);
            }
            for (option, rate) in [("--up", group.up), ("--down", group.down)] {
                if let Some(rate) = rate.filter(|_| rates) {
                    words.extend([
                        option.to_owned(),
                        format!("{}", rate.round().max(1.0) as u64),
                    ]);
                }
            }
            words
        };
        let content = self.contents.get(index).or(self.contents.first());
        match (&group.work, content) {
            (Work::Node, _) => vec![(Duration::ZERO, words(&["dht", "node"]))],
            (Work::Share, Some(content)) => {
                let path = format!("{place}{}", content.name);
                let piece = content.piece_len.to_string();
                let share = [
                    "share",
                    &path,
                    "--name",
                    &content.name,
                    "--piece-size",
                    &piece,
                ];
                vec![(Duration::ZERO, words(&share))]
            }
            (Work::Get(stays), Some(_)) => {
                let magnet = self.contents[0].magnet.clone();
                let mut get = vec!["get", &magnet, "--output", "copy"];
                if *stays {
                    get.push("--seed");
                }
                vec![(Duration::ZERO, words(&get))]
            }
            (Work::LookUp { every, times }, Some(_)) => (0..*times)
                .map(|time| {
                    let key = (index * times + time) % self.contents.len();
                    let hash = self.contents[key].info_hash.clone();
                    let timeout = format!("{}s", LOOKUP_TIMEOUT.as_secs());
                    let peers = ["dht", "peers", &hash, "--timeout", &timeout];
                    let mut words = words(&peers);
                    // The next begins before this has ended, on the same host.
                    if let Some(listen) = words.iter_mut().find(|word| word.starts_with("0.0.0.0"))
                    {
                        *listen = "0.0.0.0:0".into();
                    }
                    (*every * time as u32, words)
                })
                .collect(),
            (_, None) => Vec::new(),
        }
    }

    /// The comments at the top of a file.
    pub(super) fn comments(&self, how: &[String], lost: &[String]) -> Vec<String> {
        let mut comments = self.about.clone();
        comments.push("Written by `testnet export`; the numbers are the scenario's.".into());
        comments.extend(how.iter().cloned());
        let losses: Vec<&String> = self.losses.iter().chain(lost).collect();
        if !losses.is_empty() {
            comments.push("What is not as in the scenario:".into());
            comments.extend(losses.into_iter().map(|loss| format!("- {loss}")));
        }
        comments
    }

    /// What the latency model becomes where a target cannot delay.
    pub(super) fn undelayed(plan: &Plan) -> Vec<String> {
        let mut lost = Vec::new();
        let none = matches!(plan.network.latency, Delay::Constant(way) if way.is_zero());
        if !none {
            lost.push(
                "The latency model and its noise: delays are those of the network that it runs on."
                    .into(),
            );
        }
        if plan.network.loss > 0.0 {
            let percent = plan.network.loss * 100.0;
            lost.push(format!(
                "Loss: {percent} % in the scenario, none is added here."
            ));
        }
        lost
    }
}

/// The shell words that make a content on stdout: numbered lines of 16 bytes.
pub(super) fn recipe(content: &Content) -> String {
    let lines = content.len.div_ceil(LINE);
    let last = content.first + lines - 1;
    format!(
        "seq -f %015.0f {} {last} | head -c {}",
        content.first, content.len
    )
}

const LINE: u64 = 16;

fn content(name: &str, first: u64, len: u64, piece_len: u32) -> Result<Content, ExportError> {
    let refuse = |error: mainswarm::metainfo::create::CreateError| {
        unsupported(format!("{name} of {len} bytes"), &error.to_string())
    };
    let builder = TorrentBuilder::file(name, len).and_then(|builder| builder.piece_len(piece_len));
    let builder = builder.map_err(refuse)?;
    let (mut pieces, mut whole) = (PieceHasher::new(piece_len), Sha1::new());
    let mut chunk = String::with_capacity(1 << 16);
    let (mut line, mut left) = (first, len);
    while left > 0 {
        chunk.clear();
        while chunk.len() < 1 << 16 && (chunk.len() as u64) < left {
            use std::fmt::Write;
            let _ = writeln!(chunk, "{line:015}");
            line += 1;
        }
        let take = (chunk.len() as u64).min(left);
        let bytes = &chunk.as_bytes()[..take as usize];
        pieces.update(bytes);
        whole.update(bytes);
        left -= take;
    }
    let metainfo: Metainfo = builder.build(&pieces.finish()).map_err(refuse)?;
    Ok(Content {
        name: name.to_owned(),
        first,
        len,
        piece_len,
        magnet: metainfo.magnet().to_string(),
        info_hash: metainfo.info_hash().to_string(),
        sha1: data_hex(&whole.finalize()),
    })
}

pub(super) fn data_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(super) fn unsupported(what: impl Into<String>, why: &str) -> ExportError {
    ExportError::Unsupported {
        what: what.into(),
        why: why.to_owned(),
        remedy: "run it with `testnet run`, or change it with --set".into(),
    }
}

/// A name that every target takes.
fn is_label(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.ends_with(|c: char| c.is_ascii_alphanumeric())
        && name.len() <= 20
        && name
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shell_makes_the_bytes_that_were_hashed() {
        let content = content("key-0.bin", 1_000_000, 1000, 16 * 1024).unwrap();
        let recipe = recipe(&content);
        assert_eq!(recipe, "seq -f %015.0f 1000000 1000062 | head -c 1000");
        let output = std::process::Command::new("sh")
            .args(["-c", &recipe])
            .output()
            .unwrap();
        if !output.status.success() {
            println!("skipped: this system has no seq");
            return;
        }
        assert_eq!(output.stdout.len(), 1000);
        assert_eq!(data_hex(&Sha1::digest(&output.stdout)), content.sha1);
        assert!(
            output
                .stdout
                .starts_with(b"000000001000000\n000000001000001\n")
        );
    }

    #[test]
    fn labels_fit_every_target() {
        for (name, fits) in [
            ("peer", true),
            ("slow-peer2", true),
            ("Peer", false),
            ("-x", false),
            ("x-", false),
            ("a_b", false),
            ("", false),
        ] {
            assert_eq!(is_label(name), fits, "{name}");
        }
    }
}
