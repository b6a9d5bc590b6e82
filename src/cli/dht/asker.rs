//! The node of one question, and until when it may ask.

use std::time::{Duration, Instant};

use mainswarm::{
    dht::{DhtEvent, LookupStats},
    session::{DhtHandle, DhtNode, Job, Running},
};
use tokio::{
    sync::broadcast,
    time::{sleep_until, timeout_at},
};

use super::{
    super::{
        args::{Common, Lookup},
        exit::{Exit, Failure},
        node,
        progress::plural,
        ui::Ui,
        units,
    },
    show::Tracer,
};

/// Ours: searches for a way in that found nobody, after which a question without any reply is given
/// up. The first may have met lost datagrams.
const FAILED_SEARCHES: u32 = 2;

pub(super) struct Asker<'a> {
    pub(super) ui: &'a Ui,
    common: &'a Common,
    node: DhtNode,
    events: broadcast::Receiver<DhtEvent>,
    failed_searches: u32,
    started: Instant,
    deadline: tokio::time::Instant,
}

/// What comes next of a job.
pub(super) enum Told {
    Event(DhtEvent),
    /// That was all.
    End,
    /// The time is over.
    Late,
    /// Nobody is there to answer.
    Nobody,
}

/// Runs `work` with a node that starts and ends with it.
pub(super) async fn asking(
    ui: &Ui,
    common: &Common,
    timeout: Duration,
    work: impl AsyncFnOnce(&mut Asker<'_>) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let node = node::start_dht(ui, common).await?;
    if node.starts() == 0 {
        let text = "no DHT node is known to start from; name one with --bootstrap";
        return Err(Failure::new(Exit::NothingFound, text));
    }
    let mut asker = Asker {
        ui,
        common,
        events: node.handle().events(),
        node,
        failed_searches: 0,
        started: Instant::now(),
        deadline: tokio::time::Instant::now() + timeout,
    };
    let result = work(&mut asker).await;
    asker.node.shutdown().await;
    result
}

impl Asker<'_> {
    pub(super) fn dht(&self) -> &DhtHandle {
        self.node.handle()
    }

    pub(super) fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// Starts a lookup, traced if the user wants to see its steps.
    pub(super) fn start(&self, job: Job, lookup: &Lookup) -> Running {
        match lookup.trace {
            true => self.dht().start_traced(job),
            false => self.dht().start(job),
        }
    }

    pub(super) async fn next(&mut self, job: &mut Running) -> Told {
        loop {
            tokio::select! {
                biased;
                event = job.next() => return event.map_or(Told::End, Told::Event),
                () = sleep_until(self.deadline) => return Told::Late,
                event = self.events.recv() => self.note_failure(event),
            }
            if self.failed_searches >= FAILED_SEARCHES {
                return Told::Nobody;
            }
        }
    }

    fn note_failure(&mut self, event: Result<DhtEvent, broadcast::error::RecvError>) {
        let heard = self.dht().stats().borrow().replies_received > 0;
        match event {
            Ok(DhtEvent::BootstrapFailed { asked, .. }) if !heard => {
                self.failed_searches += u32::from(asked > 0);
            }
            // The node has ended, and with it the job.
            Err(broadcast::error::RecvError::Closed) => self.failed_searches = FAILED_SEARCHES,
            Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => {}
        }
    }

    /// Runs a lookup to its end; `see` is told each event but the steps, which `tracer` shows.
    /// `None` if the time was over before.
    pub(super) async fn run(
        &mut self,
        mut running: Running,
        mut tracer: Option<Tracer>,
        mut see: impl FnMut(&Self, DhtEvent) -> Result<(), Failure>,
    ) -> Result<Option<LookupStats>, Failure> {
        loop {
            let event = match self.next(&mut running).await {
                Told::Event(event) => event,
                Told::End | Told::Late => return Ok(None),
                Told::Nobody => return Err(self.nobody()),
            };
            if let Some(step) = tracer.as_mut().and_then(|tracer| tracer.step(&event)) {
                self.ui.note(&step.text());
                continue;
            }
            if let DhtEvent::LookupDone { stats, .. } = event {
                see(self, event)?;
                return Ok(Some(stats));
            }
            see(self, event)?;
        }
    }

    /// Waits until the routing table is usable.
    pub(super) async fn join(&mut self) -> Result<(), Failure> {
        let dht = self.dht().clone();
        let joined = dht.bootstrapped();
        tokio::pin!(joined);
        loop {
            tokio::select! {
                biased;
                true = &mut joined => return Ok(()),
                () = sleep_until(self.deadline) => return Err(self.nobody()),
                event = self.events.recv() => self.note_failure(event),
            }
            if self.failed_searches >= FAILED_SEARCHES {
                return Err(self.nobody());
            }
        }
    }

    /// Runs something else, as long as there is time.
    pub(super) async fn in_time<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        timeout_at(self.deadline, work).await.ok()
    }

    /// Statistics in the manner of `dig`.
    pub(super) fn footer(&self, what: &str, stats: &LookupStats) {
        self.ui.note(&format!(
            ";; {what}; {} asked, {} replied, {} failed, {}; {}",
            plural(stats.asked as usize, "node"),
            stats.replied,
            stats.failed,
            plural(stats.hops as usize, "hop"),
            units::duration(self.elapsed()),
        ));
    }

    /// Nobody has replied.
    pub(super) fn nobody(&self) -> Failure {
        let text = if self.common.bootstrap.is_empty() {
            "no DHT node answered; check that UDP gets out, or name one with --bootstrap"
        } else {
            "no DHT node answered, those of --bootstrap included; check that they run and are on \
             this --network"
        };
        Failure::new(Exit::NothingFound, text)
    }

    /// What to say when the end came too soon, or there was nothing: `nothing` says what then.
    pub(super) fn fruitless(&self, stats: Option<LookupStats>, nothing: &str) -> Failure {
        match stats {
            None if self.dht().stats().borrow().good == 0 => self.nobody(),
            None => late(),
            Some(LookupStats { replied: 0, .. }) => self.nobody(),
            Some(stats) => {
                let asked = plural(stats.asked as usize, "node");
                let text = format!("{asked} asked, {} replied, and {nothing}", stats.replied);
                Failure::new(Exit::NothingFound, text)
            }
        }
    }
}

/// The time was over.
pub(super) fn late() -> Failure {
    let text = "the lookup did not end within the time; allow more with --timeout";
    Failure::new(Exit::TimedOut, text)
}
