//! The plans of the lab on real sockets.
//!
//! [`run`] checks what a plan asks for against what real sockets can do, makes the world and the
//! nodes, and measures the figures that [`crate::experiment`] lists. What a live run cannot do is an
//! error that names the remedy. Whatever a run made is gone when it ends, however it ends.

use std::{
    path::PathBuf,
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use tokio::runtime::Runtime;

use super::{LiveError, dht, swarm, world::World};
use crate::{
    cpu::{CpuMeter, peak_memory},
    experiment::Progress,
    interrupt::interrupted,
    outcome::Run,
    scenario::{Action, Architecture, Behaviour, Case, DhtStart, Plan, SwarmPlan},
};

/// How a live run is set up.
#[derive(Debug, Clone, Default)]
pub struct LiveOptions {
    /// What keeps the nodes apart.
    pub isolation: Isolation,
    /// A process for each node; namespaces need it and always have it.
    pub processes: bool,
    /// Where the file and its copies are kept; `None` is the system's folder for temporary files.
    pub dir: Option<PathBuf>,
    /// The `testnet` program, for processes; `None` is the one that runs.
    pub program: Option<PathBuf>,
}

/// What keeps the nodes of a live run apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Isolation {
    /// An address of 127.0.0.0/8 for each, and the client's own rate limits. Needs no rights.
    #[default]
    Loopback,
    /// A network namespace for each, rates held by the kernel. Linux, as root.
    Namespaces,
}

/// Runs one case once. `watch` is called a few times a second with how far it is.
pub fn run(
    case: &Case,
    seed: u64,
    options: &LiveOptions,
    watch: &dyn Fn(Progress),
) -> Result<Run, LiveError> {
    let plan = &case.plan;
    check(plan, options)?;
    let started = Instant::now();
    let (progress, progresses) = mpsc::channel();
    // A thread of its own: whoever calls may be a task of another runtime.
    let outcome = thread::scope(|scope| {
        let working = scope.spawn(move || {
            let runtime = Runtime::new().map_err(|source| LiveError::Spawn {
                program: "threads".into(),
                source,
            })?;
            let outcome = runtime.block_on(async {
                tokio::select! {
                    outcome = work(plan, seed, options, &progress) => outcome,
                    () = interrupted() => Err(LiveError::Interrupted),
                }
            });
            runtime.shutdown_timeout(Duration::from_secs(2));
            outcome
        });
        for progress in progresses {
            watch(progress);
        }
        working.join()
    });
    let mut run = outcome.unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
    run.seed = seed;
    run.cost.wall = started.elapsed().as_secs_f64();
    Ok(run)
}

/// Both halves of a plan, one after the other.
async fn work(
    plan: &Plan,
    seed: u64,
    options: &LiveOptions,
    progress: &mpsc::Sender<Progress>,
) -> Result<Run, LiveError> {
    let mut run = Run::default();
    if plan.swarm.is_some() {
        run = swarm::run(plan, seed, options, progress).await?;
    }
    if let Some(dht) = &plan.dht {
        let other = dht::run(plan, dht, seed, options, progress).await?;
        run = merge(run, other);
    }
    run.cost.threads = thread::available_parallelism().map_or(1, usize::from);
    Ok(run)
}

/// One run of two halves: figures and series of both, the greater of costs that do not add up.
fn merge(mut swarm: Run, dht: Run) -> Run {
    swarm.figures.extend(dht.figures);
    swarm.series.first_peer = dht.series.first_peer;
    swarm.series.lookup_done = dht.series.lookup_done;
    swarm.series.success = dht.series.success;
    if swarm.series.population.is_empty() {
        swarm.series.population = dht.series.population;
    }
    swarm.cost.running += dht.cost.running;
    swarm.cost.cpu = swarm.cost.cpu.max(dht.cost.cpu);
    swarm.cost.peak_memory = swarm.cost.peak_memory.max(dht.cost.peak_memory);
    swarm
}

/// Fills in what a measured span cost.
pub(super) fn cost(run: &mut Run, cpu: &CpuMeter, running: Duration, children: u64) {
    let share = cpu.share();
    run.cost.cpu = share.machine.or(share.process).unwrap_or(0.0);
    run.cost.running = running.as_secs_f64();
    run.cost.peak_memory = peak_memory() + children;
}

/// What must be said beside the figures of such a run, one sentence each.
pub fn notes(case: &Case, options: &LiveOptions) -> Vec<String> {
    let mut notes = Vec::new();
    if let Some(swarm) = &case.plan.swarm {
        notes.push(match options.isolation {
            Isolation::Loopback => {
                "Rates are held by the client's own limiter, which counts payload; all nodes share \
                 one machine and its loopback interface."
                    .to_owned()
            }
            Isolation::Namespaces => {
                "Rates are held by the kernel's token buckets, which count whole IP packets: about \
                 5.6 % of them are headers and acknowledgements, so a ratio of 1.06 to the bound \
                 is the least that a payload can reach."
                    .to_owned()
            }
        });
        notes.push(format!(
            "The choker decides every {} s (optimistic slots every {} s) in a run with F/u = {:.0} s.",
            swarm.choke_interval.as_secs_f64(),
            swarm.optimistic_interval.as_secs_f64(),
            swarm.file_time.as_secs_f64(),
        ));
        notes.push(
            "Every node was in the DHT before it joined the swarm; times count from joining."
                .to_owned(),
        );
        if case
            .plan
            .classes
            .iter()
            .any(|class| class.behaviour == Behaviour::Corrupt)
        {
            notes.push("A corrupter has a whole file with a bit of every block wrong.".to_owned());
        }
    }
    if case.plan.dht.is_some() {
        notes.push(
            "All nodes share one machine: latencies are those of its loopback or bridges, and \
             tables were filled by real joins."
                .to_owned(),
        );
    }
    notes.push(
        "With more than 70 % of the processor in use a ratio is void, and so is a time or a success \
         that falls short."
            .to_owned(),
    );
    notes
}

/// What of a plan real sockets cannot do.
fn check(plan: &Plan, options: &LiveOptions) -> Result<(), LiveError> {
    let only_simulated = |what: String, why: &str| {
        Err(LiveError::Unsupported {
            what,
            why: why.to_owned(),
            remedy: "run it in the simulator, which is --engine sim".into(),
        })
    };
    if plan.swarm.is_none() && plan.dht.is_none() {
        return only_simulated("an empty plan".into(), "it has neither [swarm] nor [dht]");
    }
    if let Some(attack) = &plan.attack {
        let what = format!("the attack {:?}", attack.kind);
        return only_simulated(what, "no real node plays an attacker of the DHT");
    }
    // Says what the wires lack; nothing is made yet for the loopback network.
    if options.isolation == Isolation::Loopback {
        World::new(&plan.network, options)?;
    }
    for event in &plan.events {
        if matches!(event.action, Action::Partition(_)) && options.isolation == Isolation::Loopback
        {
            return Err(LiveError::Unsupported {
                what: "a partition".into(),
                why: "the loopback network cannot be cut".into(),
                remedy: "run it in namespaces as root, or in the simulator".into(),
            });
        }
    }
    if let Some(swarm) = &plan.swarm {
        check_swarm(plan, swarm)?;
    }
    let Some(dht) = &plan.dht else { return Ok(()) };
    if dht.nodes > MAX_DHT_NODES {
        return Err(LiveError::Unsupported {
            what: format!("a DHT of {} nodes", dht.nodes),
            why: format!("one machine carries about {MAX_DHT_NODES} with real sockets"),
            remedy: "run it in the simulator, or with --set dht.nodes=1000".into(),
        });
    }
    if dht.start == DhtStart::Warm && dht.dead > 0.0 {
        return only_simulated(
            "dead table entries".into(),
            "tables are filled by real joins",
        );
    }
    Ok(())
}

fn check_swarm(plan: &Plan, swarm: &SwarmPlan) -> Result<(), LiveError> {
    let unsupported = |what: String, why: &str, remedy: &str| {
        Err(LiveError::Unsupported {
            what,
            why: why.to_owned(),
            remedy: remedy.to_owned(),
        })
    };
    let simulate = "run it in the simulator, which is --engine sim";
    for class in &plan.classes {
        let name = &class.name;
        match class.behaviour {
            Behaviour::Standard
            | Behaviour::Proportional
            | Behaviour::FreeRider
            | Behaviour::SeedsOnly
            | Behaviour::LargeView
            | Behaviour::Corrupt
            | Behaviour::Stalled => {}
            other => {
                let what = format!("class {name}: behaviour {other:?}");
                return unsupported(what, "only simulated nodes play it", simulate);
            }
        }
        if class.arrivals.is_some() {
            let what = format!("class {name}: arrivals");
            return unsupported(
                what,
                "the number of live nodes is fixed at the start",
                simulate,
            );
        }
        if class.down == Some(0.0) {
            let what = format!("class {name}: down = \"stalled\"");
            return unsupported(
                what,
                "a real connection stalls only with its machine",
                simulate,
            );
        }
    }
    let members: usize = plan.classes.iter().map(|class| class.count).sum();
    if members > MAX_MEMBERS {
        return unsupported(
            format!("a swarm of {members} members"),
            "one machine carries at most a thousand with real sockets",
            simulate,
        );
    }
    if !plan.classes.iter().any(|class| class.complete) {
        return unsupported(
            "a swarm without a seed".into(),
            "nobody has the file",
            "give a class has = \"everything\"",
        );
    }
    if swarm.architecture == Architecture::ClientServer
        && plan
            .classes
            .iter()
            .any(|class| class.complete && class.up == Some(0.0))
    {
        return unsupported(
            "a server that uploads nothing".into(),
            "nobody would get anything",
            "give it an upload rate",
        );
    }
    Ok(())
}

const MAX_MEMBERS: usize = 1000;
const MAX_DHT_NODES: u32 = 2000;
