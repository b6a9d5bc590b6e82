//! What moves while runs run: a bar on a terminal, a line now and then where there is none.

use std::{
    io::{self, IsTerminal},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use mainswarm_testnet::{runner::Status, scenario::Scenario};

const PLAIN_EVERY: Duration = Duration::from_secs(10);

/// Parts of the bar.
const WHOLE: u64 = 1000;

pub(super) struct Shown {
    bar: Option<ProgressBar>,
    name: String,
    began: Instant,
    said: Mutex<Instant>,
}

impl Shown {
    pub(super) fn new(scenario: &Scenario) -> Self {
        let bar = io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::with_draw_target(Some(WHOLE), ProgressDrawTarget::stderr());
            let style = ProgressStyle::with_template(
                "{prefix:.bold} [{bar:30}] {percent:>3} % {elapsed} eta {eta}  {msg}",
            );
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar.set_prefix(scenario.name.clone());
            bar
        });
        Self {
            bar,
            name: scenario.name.clone(),
            began: Instant::now(),
            said: Mutex::new(Instant::now()),
        }
    }

    pub(super) fn show(&self, status: Status) {
        if let Some(bar) = &self.bar {
            bar.set_position((status.done * WHOLE as f64) as u64);
            bar.set_message(self.line(status));
            return;
        }
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        if said.elapsed() >= PLAIN_EVERY {
            *said = Instant::now();
            eprintln!(
                "{}: {:.0} %, {}",
                self.name,
                status.done * 100.0,
                self.line(status)
            );
        }
    }

    pub(super) fn clear(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }

    fn line(&self, status: Status) -> String {
        let seconds = self.began.elapsed().as_secs_f64().max(1e-3);
        let mut line = format!("{} of {} runs", status.ended, status.runs);
        if status.events > 0 {
            let events = status.events as f64 / 1e6;
            line += &format!(", {events:.1} M events, {:.2} M/s", events / seconds);
        }
        if !status.time.is_zero() {
            let whole = Duration::from_secs(status.time.as_secs());
            line += &format!(", at {}", humantime::format_duration(whole));
        }
        line
    }
}
