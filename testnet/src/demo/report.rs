//! What the demo was asked to do and what it measured, as text and as JSON.
//!
//! Every figure can be computed again from what is printed beside it.

use std::{fmt, net::SocketAddr, time::Duration};

use mainswarm::metainfo::create::piece_len_for;

use crate::{
    bound,
    cpu::{CpuShare, VOID_ABOVE},
    units::{bytes, rate},
};

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    /// N: how many peers fetch the file.
    pub peers: usize,
    /// F: its length in bytes.
    pub size: u64,
    /// u: each peer's upload limit, payload bytes per second.
    pub up: u64,
    /// us: the seed's.
    pub seed_up: u64,
    /// Draws the file's bytes.
    pub seed: u64,
}

/// Choke rounds in the time that one peer needs to upload the file once. With fewer, reciprocation
/// has no time to settle, and the ratio measures the choker's clock.
const CHOKE_ROUNDS: f64 = 60.0;

/// Below it a round sees too few blocks to rank anybody by.
const MIN_CHOKE_INTERVAL: Duration = Duration::from_millis(250);

/// BEP 3's: a longer run is not made worse by it.
const MAX_CHOKE_INTERVAL: Duration = Duration::from_secs(10);

impl Plan {
    /// Regular upload slots of every node; one optimistic comes on top.
    pub const SLOTS: usize = 4;

    /// Bytes of a piece, as `mainswarm share` chooses them.
    pub fn piece_len(&self) -> u32 {
        piece_len_for(self.size)
    }

    /// M: how many pieces that makes.
    pub fn pieces(&self) -> u32 {
        u32::try_from(self.size.div_ceil(u64::from(self.piece_len()))).unwrap_or(u32::MAX)
    }

    /// How often upload slots are decided in this run.
    pub fn choke_interval(&self) -> Duration {
        let upload_once = self.size as f64 / self.up.max(1) as f64;
        Duration::try_from_secs_f64(upload_once / CHOKE_ROUNDS)
            .unwrap_or(MAX_CHOKE_INTERVAL)
            .clamp(MIN_CHOKE_INTERVAL, MAX_CHOKE_INTERVAL)
    }

    /// A run that takes longer is stuck.
    pub(super) fn limit(&self) -> Duration {
        let slow = 4.0 * Bounds::of(self).client_server;
        Duration::from_secs(60)
            .saturating_add(Duration::try_from_secs_f64(slow).unwrap_or(Duration::MAX))
    }
}

/// The least times, in seconds. Downloads are not limited.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct Bounds {
    /// Eq. 2.1: the seed alone serves everybody.
    pub client_server: f64,
    /// Eq. 2.2: peers upload too, bit by bit.
    pub p2p: f64,
    /// The same in pieces that are passed on whole.
    pub lb: f64,
}

impl Bounds {
    /// The least times of a plan.
    pub fn of(plan: &Plan) -> Self {
        let (f, us) = (plan.size as f64, plan.seed_up as f64);
        let ups = vec![plan.up as f64; plan.peers];
        let dmin = f64::INFINITY;
        Self {
            client_server: bound::client_server(plan.peers, f, us, dmin),
            p2p: bound::p2p_fluid(f, us, &ups, dmin),
            lb: bound::lb(f, plan.pieces(), us, &ups, dmin),
        }
    }
}

/// One peer's result.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct PeerResult {
    /// Its address.
    pub peer: SocketAddr,
    /// From the moment that the peers got the magnet to its last piece verified.
    pub seconds: f64,
    /// Payload that it sent to others, bytes.
    pub uploaded: u64,
    /// Whether its copy is the file, byte by byte.
    pub identical: bool,
}

/// What was measured.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// What was done.
    pub plan: Plan,
    /// The least times.
    pub bounds: Bounds,
    /// The link that the peers were given.
    pub magnet: String,
    /// Nodes in the DHT, seed and peers included.
    pub dht_nodes: usize,
    /// Payload that the seed sent, bytes.
    pub seed_uploaded: u64,
    /// Peers in the order of their time.
    pub peers: Vec<PeerResult>,
    /// How busy the processor was while they fetched.
    pub cpu: CpuShare,
}

impl Report {
    /// Whether every copy is the file.
    pub fn all_identical(&self) -> bool {
        self.peers.len() == self.plan.peers && self.peers.iter().all(|peer| peer.identical)
    }

    /// The time of the last peer, in seconds.
    pub fn last(&self) -> f64 {
        self.peers
            .iter()
            .map(|peer| peer.seconds)
            .fold(0.0, f64::max)
    }

    /// The mean time, in seconds.
    pub fn mean(&self) -> f64 {
        let all: f64 = self.peers.iter().map(|peer| peer.seconds).sum();
        all / self.peers.len().max(1) as f64
    }

    /// One object: a point of the distribution-time figure, with all that it is computed from.
    pub fn to_json(&self) -> serde_json::Value {
        serde_json::json!({
            "scenario": "demo",
            "engine": "live",
            "architecture": "p2p",
            "n": self.plan.peers,
            "seconds": self.last(),
            "bound": self.bounds.p2p,
            "lb": self.bounds.lb,
            "ratio": self.last() / self.bounds.lb,
            "cpu": self.cpu,
            "void": self.cpu.is_void(),
            "seed": self.plan.seed,
            "client_server": self.bounds.client_server,
            "mean_seconds": self.mean(),
            "size": self.plan.size,
            "piece_len": self.plan.piece_len(),
            "pieces": self.plan.pieces(),
            "up": self.plan.up,
            "seed_up": self.plan.seed_up,
            "seed_uploaded": self.seed_uploaded,
            "limiter": "payload",
            "slots": Plan::SLOTS,
            "choke_interval_seconds": self.plan.choke_interval().as_secs_f64(),
            "dht_nodes": self.dht_nodes,
            "magnet": self.magnet,
            "peers": self.peers,
            "identical": self.all_identical(),
        })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.fmt_plan(f)?;
        self.fmt_peers(f)?;
        self.fmt_bounds(f)?;
        self.fmt_conditions(f)?;
        f.write_str(MEANING)
    }
}

impl Report {
    fn fmt_plan(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plan = &self.plan;
        let pieces = plan.pieces();
        let piece = bytes(plan.piece_len().into());
        writeln!(
            f,
            "N   {} peers, who were given this and no address:",
            plan.peers
        )?;
        writeln!(f, "    {}", self.magnet)?;
        writeln!(
            f,
            "F   {} bytes ({}), {pieces} pieces of {piece}",
            plan.size,
            bytes(plan.size)
        )?;
        writeln!(
            f,
            "us  {} bytes/s ({}), the seed's upload",
            plan.seed_up,
            rate(plan.seed_up)
        )?;
        writeln!(
            f,
            "u   {} bytes/s ({}), each peer's upload",
            plan.up,
            rate(plan.up)
        )?;
        writeln!(f)
    }

    fn fmt_peers(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:24} {:>8} {:>12}  copy", "peer", "seconds", "sent")?;
        for peer in &self.peers {
            let copy = if peer.identical {
                "identical"
            } else {
                "DIFFERS"
            };
            let sent = bytes(peer.uploaded);
            writeln!(
                f,
                "{:24} {:8.2} {sent:>12}  {copy}",
                peer.peer.to_string(),
                peer.seconds
            )?;
        }
        let copies = self.seed_uploaded as f64 / self.plan.size.max(1) as f64;
        let sent = bytes(self.seed_uploaded);
        writeln!(
            f,
            "{:24} {:>8} {sent:>12}  sent {copies:.2} copies",
            "the seed", ""
        )?;
        writeln!(f)
    }

    fn fmt_bounds(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (last, plan) = (self.last(), &self.plan);
        let (size, up, seed_up) = (plan.size as f64, plan.up as f64, plan.seed_up as f64);
        let all = seed_up + plan.peers as f64 * up;
        let (once, work) = (size / seed_up, plan.peers as f64 * size / all);
        let rows = [
            (
                "client-server, Eq. 2.1",
                self.bounds.client_server,
                "N F / us".to_owned(),
            ),
            (
                "P2P, Eq. 2.2",
                self.bounds.p2p,
                format!("max of F / us = {once:.2} and N F / (us + N u) = {work:.2}"),
            ),
            (
                "P2P in whole pieces, LB",
                self.bounds.lb,
                "Eq. 2.2 and the wait for each peer's first piece and the last one".to_owned(),
            ),
        ];
        let void = match self.cpu.is_void() {
            true => "  VOID: the machine was busy, see CPU",
            false => "",
        };
        writeln!(
            f,
            "{:24} {last:8.2}  mean {:.2}{void}",
            "last peer, measured",
            self.mean()
        )?;
        writeln!(f, "{:24} {:>8} {:>12}", "bound", "seconds", "last/bound")?;
        for (name, bound, formula) in rows {
            writeln!(f, "{name:24} {bound:8.2} {:12.3}  {formula}", last / bound)?;
        }
        writeln!(f)
    }

    fn fmt_conditions(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let choke = self.plan.choke_interval().as_secs_f64();
        writeln!(
            f,
            "limiter   the nodes' own, on payload: message and packet headers are not counted"
        )?;
        writeln!(
            f,
            "choking   every {choke:.2} s, {}+1 slots: scaled from BEP 3's 10 s to this short run",
            Plan::SLOTS
        )?;
        writeln!(
            f,
            "network   {} DHT nodes on 127.2.0.0/16, all in one process",
            self.dht_nodes
        )?;
        let percent = |share: Option<f64>| match share {
            Some(share) => format!("{:.0} %", 100.0 * share),
            None => "an unknown share".to_owned(),
        };
        writeln!(
            f,
            "CPU       {} of {} cores by this process, {} by the whole machine",
            percent(self.cpu.process),
            self.cpu.cores,
            percent(self.cpu.machine)
        )?;
        if self.cpu.is_void() {
            writeln!(
                f,
                "          VOID: above {:.0} % a run measures the processor, not the protocol",
                100.0 * VOID_ABOVE
            )?;
        }
        writeln!(f)
    }
}

const MEANING: &str = "\
No server without peers can beat Eq. 2.1: it sends every copy itself. No protocol at all can beat
Eq. 2.2: the file must leave the seed once, and N copies must be uploaded by somebody. LB adds that
a peer can pass on a piece only when it has verified all of it. last/bound below 1 on the first row
is what the peers gained by helping; on the last row, 1 is perfect. The measured time starts when
the peers are given the magnet, so the DHT lookup and the fetch of the metadata are part of it. The
limiters start with one block in hand, and may run ahead by 20 ms of their rate and a block: a few
thousandths of a run of seconds, and a ratio that little below 1 is theirs.
";

#[cfg(test)]
mod tests {
    use super::*;

    const PLAN: Plan = Plan {
        peers: 8,
        size: 64 << 20,
        up: 4 << 20,
        seed_up: 40 << 20,
        seed: 1,
    };

    fn report() -> Report {
        let peer = |seconds| PeerResult {
            peer: "127.2.0.20:1".parse().unwrap(),
            seconds,
            uploaded: 1 << 20,
            identical: true,
        };
        Report {
            plan: PLAN,
            bounds: Bounds::of(&PLAN),
            magnet: "magnet:?".to_owned(),
            dht_nodes: 25,
            seed_uploaded: 96 << 20,
            peers: (1..=8).map(|n| peer(7.0 + f64::from(n) / 8.0)).collect(),
            cpu: CpuShare {
                process: Some(0.2),
                machine: Some(0.8),
                cores: 2,
            },
        }
    }

    #[test]
    fn plans_scale_pieces_and_choking_to_the_run() {
        assert_eq!((PLAN.piece_len(), PLAN.pieces()), (32 << 10, 2_048));
        let odd = Plan {
            size: (100 << 10) + 1,
            ..PLAN
        };
        assert_eq!((odd.piece_len(), odd.pieces()), (16 << 10, 7));
        assert_eq!(PLAN.choke_interval(), Duration::from_secs_f64(16.0 / 60.0));
        let short = Plan { size: 1, ..PLAN };
        assert_eq!(short.choke_interval(), MIN_CHOKE_INTERVAL);
        let slow = Plan { up: 1, ..PLAN };
        assert_eq!(slow.choke_interval(), MAX_CHOKE_INTERVAL);
    }

    #[test]
    fn the_bounds_are_the_textbooks() {
        let bounds = Bounds::of(&PLAN);
        assert!((bounds.client_server - 12.8).abs() < 1e-9);
        assert!((bounds.p2p - 512.0 / 72.0).abs() < 1e-9);
        assert!(bounds.lb > bounds.p2p && bounds.lb < 1.02 * bounds.p2p);
    }

    #[test]
    fn the_text_agrees_with_its_own_figures() {
        let text = report().to_string();
        for part in [
            "64 MiB",
            "last peer, measured          8.00  mean 7.56  VOID: the machine was busy",
            "client-server, Eq. 2.1      12.80        0.625",
            "sent 1.50 copies",
            "VOID",
        ] {
            assert!(text.contains(part), "{part} in\n{text}");
        }
        assert!(!text.contains("DIFFERS") && report().all_identical());
    }

    #[test]
    fn a_wrong_or_missing_copy_shows() {
        let mut wrong = report();
        wrong.peers[3].identical = false;
        assert!(wrong.to_string().contains("DIFFERS") && !wrong.all_identical());
        assert_eq!(wrong.to_json()["identical"], false);
        let mut missing = report();
        missing.peers.pop();
        assert!(!missing.all_identical());
    }
}
