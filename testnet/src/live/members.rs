//! The nodes of a live run, as tasks of this process or as processes of their own, behind one face:
//! orders go in by number, what they say comes out with the number.

use std::{net::SocketAddr, path::PathBuf, process::Stdio, time::Duration};

use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    process::{Child, Command},
    sync::mpsc,
    task::JoinSet,
    time::timeout,
};

use super::{
    LiveError,
    node::{self, Order, Said, Spec},
};

/// Where nodes run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    /// Here.
    Task,
    /// In a process of this program, in a network namespace if one is named.
    Process {
        program: PathBuf,
        namespace: Option<String>,
    },
}

/// The nodes of a run. Dropping it ends them all.
#[derive(Debug)]
pub(super) struct Members {
    members: Vec<Member>,
    said: mpsc::UnboundedReceiver<(usize, Said)>,
    say: mpsc::UnboundedSender<(usize, Said)>,
    tasks: JoinSet<()>,
}

#[derive(Debug)]
struct Member {
    /// `None` once it was told to leave.
    orders: Option<mpsc::UnboundedSender<Order>>,
    addr: Option<SocketAddr>,
    /// It is in the DHT.
    usable: bool,
}

impl Members {
    pub(super) fn new() -> Self {
        let (say, said) = mpsc::unbounded_channel();
        Self {
            members: Vec::new(),
            said,
            say,
            tasks: JoinSet::new(),
        }
    }

    /// Starts a node and says its number; it says where it listens.
    pub(super) fn start(&mut self, place: &Place, spec: Spec) -> Result<usize, LiveError> {
        let number = self.members.len();
        let (orders, queue) = mpsc::unbounded_channel();
        let say = self.say.clone();
        match place {
            Place::Task => {
                let (said, mut sayings) = mpsc::unbounded_channel();
                self.tasks.spawn(async move {
                    let relay = async {
                        while let Some(what) = sayings.recv().await {
                            let _ = say.send((number, what));
                        }
                    };
                    tokio::join!(node::run(spec, queue, said), relay);
                    let _ = say.send((number, Said::Gone { peak_memory: 0 }));
                });
            }
            Place::Process { program, namespace } => {
                let child = spawn(program, namespace.as_deref())?;
                self.tasks.spawn(serve(child, spec, queue, number, say));
            }
        }
        self.members.push(Member {
            orders: Some(orders),
            addr: None,
            usable: false,
        });
        Ok(number)
    }

    /// Tells a node to do something; one that has left does nothing.
    pub(super) fn order(&self, number: usize, order: Order) {
        if let Some(orders) = self.members.get(number).and_then(|m| m.orders.as_ref()) {
            // One that has ended by itself has said so.
            let _ = orders.send(order);
        }
    }

    /// Tells a node to leave.
    pub(super) fn leave(&mut self, number: usize) {
        if let Some(member) = self.members.get_mut(number) {
            member.orders = None;
        }
    }

    /// Where a node listens, once it has said so.
    pub(super) fn addr(&self, number: usize) -> Option<SocketAddr> {
        self.members.get(number)?.addr
    }

    /// How many nodes are not in the DHT, of those from a number on.
    pub(super) fn missing(&self, from: usize) -> usize {
        let members = self.members.iter().skip(from);
        members.filter(|member| !member.usable).count()
    }

    /// What a node says next.
    pub(super) async fn next(&mut self) -> (usize, Said) {
        // Never closed: we hold a sender.
        let Some((number, said)) = self.said.recv().await else {
            return std::future::pending().await;
        };
        match said {
            Said::Listening { addr } => self.members[number].addr = Some(addr),
            Said::Bootstrapped { .. } => self.members[number].usable = true,
            _ => {}
        }
        (number, said)
    }

    /// Waits until a node listens.
    pub(super) async fn listening(&mut self, number: usize) -> Result<SocketAddr, LiveError> {
        let limit = START_LIMIT;
        let wait = async {
            loop {
                if let Some(addr) = self.addr(number) {
                    return Ok(addr);
                }
                if let (of, Said::Failed { why }) = self.next().await {
                    return Err(LiveError::Member { node: of, why });
                }
            }
        };
        timeout(limit, wait).await.unwrap_or_else(|_| {
            let why = format!("it did not start within {limit:?}; is this machine overloaded?");
            Err(LiveError::Member { node: number, why })
        })
    }

    /// Tells all to leave and waits for them; the largest memory of a process of theirs, added up.
    pub(super) async fn stop(mut self) -> u64 {
        for member in &mut self.members {
            member.orders = None;
        }
        let _ = timeout(STOP_LIMIT, async {
            while self.tasks.join_next().await.is_some() {}
        })
        .await;
        let mut memory = 0;
        while let Ok((_, said)) = self.said.try_recv() {
            if let Said::Gone { peak_memory } = said {
                memory += peak_memory;
            }
        }
        memory
    }
}

/// A process that ends with its stdin, or with this one.
fn spawn(program: &PathBuf, namespace: Option<&str>) -> Result<Child, LiveError> {
    let mut command = match namespace {
        Some(namespace) => {
            let mut command = Command::new("ip");
            command.args(["netns", "exec", namespace]).arg(program);
            command
        }
        None => Command::new(program),
    };
    command
        .arg("node")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true);
    // Ctrl-C is ours to handle: they leave when we say so.
    #[cfg(unix)]
    command.process_group(0);
    command.spawn().map_err(|source| LiveError::Spawn {
        program: program.clone(),
        source,
    })
}

/// Carries orders to a process and what it says from it, until it ends.
async fn serve(
    mut child: Child,
    spec: Spec,
    mut orders: mpsc::UnboundedReceiver<Order>,
    number: usize,
    say: mpsc::UnboundedSender<(usize, Said)>,
) {
    let (Some(mut stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
        unreachable!("both are piped");
    };
    let writing = async move {
        let mut line = serde_json::to_string(&spec);
        while let Ok(text) = line {
            // A process that has ended is seen at its other end.
            if stdin
                .write_all(format!("{text}\n").as_bytes())
                .await
                .is_err()
            {
                break;
            }
            let Some(order) = orders.recv().await else {
                break;
            };
            line = serde_json::to_string(&order);
        }
    };
    let reading = async {
        let mut lines = BufReader::new(stdout).lines();
        let mut gone = false;
        while let Ok(Some(line)) = lines.next_line().await {
            let what = serde_json::from_str(&line).unwrap_or_else(|error| Said::Failed {
                why: format!("`{line}` is not understood: {error}"),
            });
            gone |= matches!(what, Said::Gone { .. });
            let _ = say.send((number, what));
        }
        gone
    };
    tokio::pin!(reading);
    let gone = tokio::select! {
        gone = &mut reading => gone,
        () = writing => reading.await,
    };
    let status = child.wait().await;
    if !gone {
        let ended = status.map_or_else(|error| error.to_string(), |status| status.to_string());
        let why = format!("its process ended by itself: {ended}");
        let _ = say.send((number, Said::Failed { why }));
    }
}

/// A loaded machine starts hundreds of processes slowly.
const START_LIMIT: Duration = Duration::from_secs(60);
const STOP_LIMIT: Duration = Duration::from_secs(20);
