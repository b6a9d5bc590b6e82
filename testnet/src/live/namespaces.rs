//! A network of namespaces: one for each node, joined by two bridges in a namespace of their own.
//!
//! ```text
//!   node 0 ── b0 ═══ b1 ── node 1        the link between the bridges is what a partition cuts
//!   node 2 ──┘         └── node 3
//! ```
//!
//! A node's interface sends at its upload rate and the bridge's port towards it at its download
//! rate: token buckets that count whole IP packets. Nothing is made outside of these namespaces,
//! so the machine's own network stays as it is. Names carry our process id; what a run left that
//! was killed is removed by the next.

use std::{
    fs,
    io::Write,
    net::Ipv4Addr,
    path::Path,
    process::{Command, Stdio},
};

use super::{
    LiveError,
    world::{Wire, is_zero},
};
use crate::{scenario::NetworkPlan, sim::Delay};

/// Who can call a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Nat {
    /// Everybody.
    #[default]
    Open,
    /// Nobody whom it did not call: a firewall.
    Firewall,
    /// As a firewall, behind another address; ports are kept where they can be.
    PortRestricted,
    /// As a firewall, behind another address and a new port for everybody whom it calls.
    Symmetric,
}

/// A node's namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Made {
    /// Its name.
    pub(super) name: String,
    /// The node's address.
    pub(super) inside: Ipv4Addr,
    /// The address that others see.
    pub(super) outside: Ipv4Addr,
}

/// The namespaces of one run. Dropping it removes them.
#[derive(Debug)]
pub(super) struct Namespaces {
    switch: String,
    /// In the order in which they were made.
    names: Vec<String>,
    /// `delay 20ms 2ms` and the like, for the kernel's emulator; empty without.
    emulated: String,
    /// The share of packets that the packet filter drops.
    dropped: f64,
}

/// What our names begin with, before the process id.
const PREFIX: &str = "mst";

/// Ports that one bridge takes, less the link between the two.
const MAX_HOSTS: usize = 2 * 1023;

impl Namespaces {
    /// The switch, or why this machine cannot have it.
    pub(super) fn new(network: &NetworkPlan) -> Result<Self, LiveError> {
        if !cfg!(target_os = "linux") || !is_root() {
            return Err(LiveError::Unsupported {
                what: "a network of namespaces".into(),
                why: "it needs Linux and root".into(),
                remedy: "run it with sudo, or on the loopback network without".into(),
            });
        }
        sweep();
        let switch = format!("{PREFIX}{}-sw", std::process::id());
        run(Command::new("ip").args(["netns", "add", &switch]))?;
        let mut namespaces = Self {
            names: vec![switch.clone()],
            switch,
            emulated: String::new(),
            dropped: 0.0,
        };
        namespaces.in_switch(
            "ip",
            "link set lo up\n\
             link add b0 type bridge\nlink add b1 type bridge\n\
             link add x0 type veth peer name x1\n\
             link set x0 master b0 up\nlink set x1 master b1 up\n\
             link set b0 up\nlink set b1 up\n",
        )?;
        let emulates = namespaces.emulates();
        namespaces.emulated = emulated(network, emulates)?;
        namespaces.dropped = if emulates { 0.0 } else { network.loss };
        if (namespaces.dropped > 0.0 || network.nat > 0.0) && !filters() {
            return Err(LiveError::Unsupported {
                what: if network.nat > 0.0 { "NAT" } else { "loss" }.into(),
                why: "the packet filter's program `nft` does not run".into(),
                remedy: "install nftables, or run it with --set network.nat=0 and network.loss=0"
                    .into(),
            });
        }
        Ok(namespaces)
    }

    /// A namespace for node `number`, on the bridge of its half.
    pub(super) fn add(&mut self, number: usize, wire: Wire) -> Result<Made, LiveError> {
        if number >= MAX_HOSTS {
            return Err(LiveError::Unsupported {
                what: format!("node {number}"),
                why: format!("the two bridges have {MAX_HOSTS} ports"),
                remedy: "run fewer nodes, or use the loopback network".into(),
            });
        }
        let name = format!("{PREFIX}{}-{number}", std::process::id());
        let outside = Ipv4Addr::new(10, 83, (number / 250) as u8, (number % 250 + 1) as u8);
        let translated = matches!(wire.nat, Nat::PortRestricted | Nat::Symmetric);
        let (edge, inside) = if translated {
            (format!("{name}r"), INSIDE)
        } else {
            (name.clone(), outside)
        };
        self.namespace(&edge)?;
        let port = format!("p{number}");
        let bridge = number % 2;
        run(Command::new("ip").args([
            "link",
            "add",
            "eth0",
            "netns",
            &edge,
            "type",
            "veth",
            "peer",
            "name",
            &port,
            "netns",
            &self.switch,
        ]))?;
        batch(
            "ip",
            Some(&edge),
            &format!("addr add {outside}/16 dev eth0\nlink set eth0 up\n"),
        )?;
        self.in_switch("ip", &format!("link set {port} master b{bridge} up\n"))?;
        if translated {
            self.namespace(&name)?;
            run(Command::new("ip").args([
                "link", "add", "eth0", "netns", &name, "type", "veth", "peer", "name", "lan",
                "netns", &edge,
            ]))?;
            let inner = format!(
                "addr add {INSIDE}/24 dev eth0\nlink set eth0 up\nroute add default via {ROUTER}\n"
            );
            batch("ip", Some(&name), &inner)?;
            batch(
                "ip",
                Some(&edge),
                &format!("addr add {ROUTER}/24 dev lan\nlink set lan up\n"),
            )?;
            let forward = "echo 1 > /proc/sys/net/ipv4/ip_forward";
            run(Command::new("ip").args(["netns", "exec", &edge, "sh", "-c", forward]))?;
        }
        let out = qdiscs("eth0", &self.emulated, wire.up);
        batch("tc", Some(&edge), &out)?;
        self.in_switch("tc", &qdiscs(&port, "", wire.down))?;
        let rules = rules(wire.nat, self.dropped);
        if !rules.is_empty() {
            let mut nft = Command::new("ip");
            nft.args(["netns", "exec", &edge, "nft", "-f", "-"]);
            feed(&mut nft, &rules)?;
        }
        Ok(Made {
            name,
            inside,
            outside,
        })
    }

    /// Cuts or mends the link between the two bridges.
    pub(super) fn set_parted(&mut self, parted: bool) -> Result<(), LiveError> {
        let state = if parted { "down" } else { "up" };
        self.in_switch("ip", &format!("link set x0 {state}\n"))
    }

    fn namespace(&mut self, name: &str) -> Result<(), LiveError> {
        run(Command::new("ip").args(["netns", "add", name]))?;
        self.names.push(name.to_owned());
        batch("ip", Some(name), "link set lo up\n")
    }

    fn in_switch(&self, program: &str, lines: &str) -> Result<(), LiveError> {
        batch(program, Some(&self.switch), lines)
    }

    /// Whether the kernel has the emulator of delay and loss.
    fn emulates(&self) -> bool {
        self.in_switch(
            "tc",
            "qdisc add dev b0 root netem delay 1ms\nqdisc del dev b0 root\n",
        )
        .is_ok()
    }
}

impl Drop for Namespaces {
    fn drop(&mut self) {
        for name in self.names.iter().rev() {
            remove(name);
        }
    }
}

const INSIDE: Ipv4Addr = Ipv4Addr::new(192, 168, 83, 2);
const ROUTER: Ipv4Addr = Ipv4Addr::new(192, 168, 83, 1);

/// The emulator's words for a plan's wires.
fn emulated(network: &NetworkPlan, emulates: bool) -> Result<String, LiveError> {
    let mut words = String::new();
    match network.latency {
        latency if is_zero(latency) => {}
        Delay::Constant(one_way) if emulates => {
            let micros = one_way.as_micros();
            // The emulator's jitter goes both ways, the plan's only adds.
            let half = (micros as f64 * network.jitter / 2.0) as u128;
            words = format!("delay {}us {half}us", micros + half);
        }
        Delay::Constant(_) => {
            return Err(LiveError::Unsupported {
                what: "latency".into(),
                why: "this kernel has no netem".into(),
                remedy: "load sch_netem (modprobe sch_netem), use the simulator, or run it with \
                         --set network.latency=0ms"
                    .into(),
            });
        }
        Delay::Lognormal | Delay::Geo5 => {
            return Err(LiveError::Unsupported {
                what: "a latency of its own for each pair".into(),
                why: "an interface delays everything alike".into(),
                remedy: "use the simulator, export it to Shadow, or run it with one delay, as in \
                         --set network.latency=70ms"
                    .into(),
            });
        }
    }
    if emulates && network.loss > 0.0 {
        words += &format!(" loss {}%", network.loss * 100.0);
    }
    Ok(words)
}

/// The commands that limit an interface.
fn qdiscs(interface: &str, emulated: &str, rate: Option<f64>) -> String {
    let mut lines = String::new();
    let mut place = "root";
    if !emulated.is_empty() {
        // Its queue must hold what is under way, or the delay turns into loss.
        lines +=
            &format!("qdisc add dev {interface} root handle 1: netem {emulated} limit 100000\n");
        place = "parent 1:1";
    }
    if let Some(rate) = rate {
        let bits = (rate * 8.0).round();
        // 20 ms: a kernel's timer may be late by as much as a few.
        let burst = (rate / 50.0).max(16_384.0).round();
        lines += &format!(
            "qdisc add dev {interface} {place} handle 10: tbf rate {bits}bit burst {burst}b \
             latency 200ms\n"
        );
    }
    lines
}

/// The packet filter's rules at a node's edge.
fn rules(nat: Nat, dropped: f64) -> String {
    let mut chains = String::new();
    if dropped > 0.0 {
        let share = (dropped * 10_000.0).round();
        chains += &format!(
            "chain lossy {{ type filter hook prerouting priority -300; iifname \"eth0\" \
             numgen random mod 10000 < {share} drop; }}\n"
        );
    }
    if nat != Nat::Open {
        let hook = if nat == Nat::Firewall {
            "input"
        } else {
            "forward"
        };
        chains += &format!(
            "chain closed {{ type filter hook {hook} priority 0; iifname \"eth0\" ct state new \
             drop; }}\n"
        );
    }
    if matches!(nat, Nat::PortRestricted | Nat::Symmetric) {
        let random = if nat == Nat::Symmetric { " random" } else { "" };
        chains += &format!(
            "chain out {{ type nat hook postrouting priority 100; oifname \"eth0\" \
             masquerade{random}; }}\n"
        );
    }
    if chains.is_empty() {
        return chains;
    }
    format!("table ip lab {{\n{chains}}}\n")
}

fn is_root() -> bool {
    #[cfg(unix)]
    {
        rustix::process::geteuid().is_root()
    }
    #[cfg(not(unix))]
    {
        false
    }
}

fn filters() -> bool {
    run(Command::new("nft").arg("--version")).is_ok()
}

/// Removes what runs left that were killed.
fn sweep() {
    let Ok(names) = fs::read_dir("/run/netns") else {
        return;
    };
    for name in names.flatten() {
        let name = name.file_name();
        if let Some(name) = name.to_str()
            && let Some(pid) = maker(name)
            && !Path::new("/proc").join(pid).exists()
        {
            remove(name);
        }
    }
}

/// The process id in a name of ours.
fn maker(name: &str) -> Option<&str> {
    let (pid, _) = name.strip_prefix(PREFIX)?.split_once('-')?;
    (!pid.is_empty() && pid.bytes().all(|byte| byte.is_ascii_digit())).then_some(pid)
}

fn remove(name: &str) {
    // What cannot be removed is found by the next run's sweep.
    let _ = run(Command::new("ip").args(["netns", "del", name]));
}

/// Runs the lines of a batch of `ip` or `tc` in a namespace.
fn batch(program: &str, namespace: Option<&str>, lines: &str) -> Result<(), LiveError> {
    if lines.is_empty() {
        return Ok(());
    }
    let mut command = Command::new(program);
    if let Some(namespace) = namespace {
        command.args(["-n", namespace]);
    }
    feed(command.args(["-batch", "-"]), lines)
}

fn run(command: &mut Command) -> Result<(), LiveError> {
    feed(command, "")
}

/// Runs a command with `input` on its stdin.
fn feed(command: &mut Command, input: &str) -> Result<(), LiveError> {
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let program = command.get_program().to_owned();
    let failed = |source| LiveError::Spawn {
        program: program.into(),
        source,
    };
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(source) => return Err(failed(source)),
    };
    if let Some(mut stdin) = child.stdin.take() {
        // A command that fails early reads no further, and says why.
        let _ = stdin.write_all(input.as_bytes());
    }
    let output = match child.wait_with_output() {
        Ok(output) => output,
        Err(source) => return Err(failed(source)),
    };
    if output.status.success() {
        return Ok(());
    }
    let words = command.get_args().map(|word| word.to_string_lossy());
    let words: Vec<_> = words.collect();
    let program = command.get_program().to_string_lossy();
    Err(LiveError::Setup {
        command: format!("{program} {}", words.join(" ")),
        text: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn names_tell_who_made_them() {
        for (name, pid) in [
            ("mst12-sw", Some("12")),
            ("mst7-31r", Some("7")),
            ("mst-1", None),
            ("mst12", None),
            ("mstx-1", None),
            ("docker", None),
        ] {
            assert_eq!(maker(name), pid, "{name}");
        }
    }

    #[test]
    fn wires_as_the_kernel_takes_them() {
        assert_eq!(qdiscs("eth0", "", None), "");
        assert_eq!(
            qdiscs("p3", "", Some(4e6)),
            "qdisc add dev p3 root handle 10: tbf rate 32000000bit burst 80000b latency 200ms\n"
        );
        let both = qdiscs("eth0", "delay 20000us 0us", Some(1e6));
        assert!(
            both.contains("root handle 1: netem delay 20000us 0us limit"),
            "{both}"
        );
        assert!(
            both.contains("parent 1:1 handle 10: tbf rate 8000000bit burst 20000b"),
            "{both}"
        );
    }

    #[test]
    fn latency_needs_the_emulator_and_one_delay() {
        let network = NetworkPlan {
            latency: Delay::Constant(Duration::from_millis(20)),
            jitter: 0.1,
            loss: 0.01,
            nat: 0.0,
        };
        assert_eq!(
            emulated(&network, true).unwrap(),
            "delay 21000us 1000us loss 1%"
        );
        let error = emulated(&network, false).unwrap_err().to_string();
        assert!(error.contains("modprobe sch_netem"), "{error}");
        let far = NetworkPlan {
            latency: Delay::Geo5,
            ..network
        };
        let error = emulated(&far, true).unwrap_err().to_string();
        assert!(error.contains("Shadow"), "{error}");
    }

    #[test]
    fn rules_close_what_a_nat_closes() {
        assert_eq!(rules(Nat::Open, 0.0), "");
        assert!(rules(Nat::Open, 0.05).contains("mod 10000 < 500 drop"));
        let firewall = rules(Nat::Firewall, 0.0);
        assert!(firewall.contains("hook input") && !firewall.contains("masquerade"));
        assert!(rules(Nat::PortRestricted, 0.0).contains("masquerade;"));
        assert!(rules(Nat::Symmetric, 0.0).contains("masquerade random;"));
    }
}
