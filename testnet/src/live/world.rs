//! Where the nodes of a live run live: an address of the loopback network each, or a network
//! namespace each.

use std::net::{IpAddr, SocketAddr};

use super::{
    AddressRange, LiveError,
    members::Place,
    namespaces::{Namespaces, Nat},
    scenario::{Isolation, LiveOptions},
};
use crate::{scenario::NetworkPlan, sim::Delay};

/// What a host's wire is like.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct Wire {
    /// Bytes per second out; `None` is unlimited.
    pub(super) up: Option<f64>,
    /// Bytes per second in.
    pub(super) down: Option<f64>,
    /// Who can call it.
    pub(super) nat: Nat,
}

/// A host for one node.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Host {
    /// Where the node runs.
    pub(super) place: Place,
    /// Where it is to listen.
    pub(super) listen: SocketAddr,
    /// Where others see it.
    pub(super) seen: IpAddr,
}

/// All hosts. Dropping it removes what was made for them.
#[derive(Debug)]
pub(super) struct World {
    kind: Kind,
    program: std::path::PathBuf,
    processes: bool,
    /// Hosts so far.
    hosts: usize,
}

#[derive(Debug)]
enum Kind {
    Loopback,
    Namespaces(Box<Namespaces>),
}

impl World {
    /// A world without hosts, or why this machine cannot have it.
    pub(super) fn new(network: &NetworkPlan, options: &LiveOptions) -> Result<Self, LiveError> {
        let kind = match options.isolation {
            Isolation::Loopback => {
                loopback_can(network)?;
                Kind::Loopback
            }
            Isolation::Namespaces => Kind::Namespaces(Box::new(Namespaces::new(network)?)),
        };
        let program = match &options.program {
            Some(program) => program.clone(),
            None => std::env::current_exe().map_err(|source| LiveError::Spawn {
                program: "testnet".into(),
                source,
            })?,
        };
        Ok(Self {
            kind,
            program,
            processes: options.processes,
            hosts: 0,
        })
    }

    /// Whether the wires hold the rates, and not the clients.
    pub(super) fn limits_rates(&self) -> bool {
        matches!(self.kind, Kind::Namespaces(_))
    }

    /// One more host.
    pub(super) fn add(&mut self, wire: Wire) -> Result<Host, LiveError> {
        let number = self.hosts;
        self.hosts += 1;
        match &mut self.kind {
            Kind::Loopback => {
                let range = AddressRange::SCENARIOS;
                let ip = range.addresses().nth(number).ok_or(LiveError::RangeFull {
                    range,
                    node: number + 1,
                })?;
                let place = if self.processes {
                    Place::Process {
                        program: self.program.clone(),
                        namespace: None,
                    }
                } else {
                    Place::Task
                };
                Ok(Host {
                    place,
                    listen: SocketAddr::new(ip.into(), 0),
                    seen: ip.into(),
                })
            }
            Kind::Namespaces(namespaces) => {
                let made = namespaces.add(number, wire)?;
                Ok(Host {
                    place: Place::Process {
                        program: self.program.clone(),
                        namespace: Some(made.name),
                    },
                    listen: SocketAddr::new(made.inside.into(), PORT),
                    seen: made.outside.into(),
                })
            }
        }
    }

    /// Cuts the world into two halves, the hosts with even and with odd numbers, or joins them.
    pub(super) fn set_parted(&mut self, parted: bool) -> Result<(), LiveError> {
        match &mut self.kind {
            Kind::Loopback => unreachable!("checked before the run"),
            Kind::Namespaces(namespaces) => namespaces.set_parted(parted),
        }
    }
}

/// What the loopback network lacks.
fn loopback_can(network: &NetworkPlan) -> Result<(), LiveError> {
    let lacks = |what: &str, setting: &str| {
        Err(LiveError::Unsupported {
            what: what.to_owned(),
            why: "the loopback network delivers everything at once".into(),
            remedy: format!("run it in namespaces as root, in the simulator, or with {setting}"),
        })
    };
    match network {
        NetworkPlan { latency, .. } if !is_zero(*latency) => {
            lacks("latency", "--set network.latency=0ms")
        }
        NetworkPlan { loss, .. } if *loss > 0.0 => lacks("loss", "--set network.loss=0"),
        NetworkPlan { nat, .. } if *nat > 0.0 => lacks("NAT", "--set network.nat=0"),
        // Jitter is a share of the latency, and there is none.
        _ => Ok(()),
    }
}

pub(super) fn is_zero(delay: Delay) -> bool {
    matches!(delay, Delay::Constant(one_way) if one_way.is_zero())
}

/// Every node of a namespace has the machine to itself.
const PORT: u16 = 6881;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn loopback_says_what_it_lacks_and_what_to_do() {
        let plain = NetworkPlan {
            latency: Delay::Constant(Duration::ZERO),
            jitter: 0.1,
            loss: 0.0,
            nat: 0.0,
        };
        let options = LiveOptions::default();
        assert!(World::new(&plain, &options).is_ok());
        let late = Delay::Constant(Duration::from_millis(20));
        let rows = [
            (
                NetworkPlan {
                    latency: late,
                    ..plain.clone()
                },
                "network.latency",
            ),
            (
                NetworkPlan {
                    latency: Delay::Geo5,
                    ..plain.clone()
                },
                "network.latency",
            ),
            (
                NetworkPlan {
                    loss: 0.01,
                    ..plain.clone()
                },
                "network.loss",
            ),
            (NetworkPlan { nat: 0.5, ..plain }, "network.nat"),
        ];
        for (network, remedy) in rows {
            let error = World::new(&network, &options).unwrap_err().to_string();
            assert!(
                error.contains(remedy) && error.contains("namespaces"),
                "{error}"
            );
        }
    }

    #[test]
    fn hosts_of_the_loopback_have_addresses_of_their_own() {
        let plain = NetworkPlan {
            latency: Delay::Constant(Duration::ZERO),
            jitter: 0.0,
            loss: 0.0,
            nat: 0.0,
        };
        let mut world = World::new(&plain, &LiveOptions::default()).unwrap();
        let seen: std::collections::BTreeSet<IpAddr> = (0..300)
            .map(|_| world.add(Wire::default()).unwrap().seen)
            .collect();
        assert_eq!(seen.len(), 300);
        assert!(seen.iter().all(IpAddr::is_loopback));
    }
}
