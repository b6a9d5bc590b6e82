//! What commands share: exit codes, printing, and Ctrl-C.

use std::{
    io::{self, Write},
    path::Path,
    process::ExitCode,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use mainswarm::session::SessionError;
use mainswarm_testnet::{
    input,
    interrupt::interrupted,
    live::LiveError,
    printable,
    scenario::catalogue::{self, Source},
};

pub(crate) const EXIT_CODES: &str = "\
Exit codes:
  0  done; every gate holds
  1  another failure
  2  wrong usage, or a scenario file that is wrong
  3  a gate does not hold, or a run gave nothing
  4  peers got stuck
  5  a copy differs from the file, or a replay from what it repeats
  6  an address cannot be bound
  7  interrupted with work left
  8  disk
  9  no gate could be judged: void, or about cases that were not run";

pub(crate) const USAGE: u8 = 2;
pub(crate) const GATE_FAILED: u8 = 3;
pub(crate) const DIFFERS: u8 = 5;
pub(crate) const BIND_FAILED: u8 = 6;
pub(crate) const INTERRUPTED: u8 = 7;
pub(crate) const DISK: u8 = 8;
pub(crate) const NOT_JUDGED: u8 = 9;

pub(crate) fn live_exit(error: &LiveError) -> u8 {
    match error {
        LiveError::RangeFull { .. } => 2,
        LiveError::Node { source, .. } => session_exit(source),
        _ => 1,
    }
}

pub(crate) fn session_exit(error: &SessionError) -> u8 {
    match error {
        SessionError::Bind { .. } => BIND_FAILED,
        _ => 1,
    }
}

pub(crate) fn fail(error: &dyn std::fmt::Display, code: u8) -> ExitCode {
    say(&format!("testnet: {error}"));
    ExitCode::from(code)
}

/// On stderr, without what would act on a terminal: titles and names are other people's.
pub(crate) fn say(text: &str) {
    eprintln!("{}", printable::escaped(text));
}

/// Whether somebody still reads: `testnet up | head -1` must not panic. As [`say`] does it.
pub(crate) fn print_line(line: &str) -> bool {
    print_raw(&printable::escaped(line))
}

/// As it is: a file's own text, to be kept in a file again.
pub(crate) fn print_raw(line: &str) -> bool {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}").and_then(|()| out.flush()).is_ok()
}

/// A scenario by name, number or path; a path must be that of a regular file.
pub(crate) fn load(wanted: &str) -> Result<Source, String> {
    let path = Path::new(wanted);
    let built_in = catalogue::BUILT_IN.iter().any(|(name, _)| *name == wanted);
    if !built_in
        && path.exists()
        && let Err(error) = input::check(path, input::SCENARIO_MOST)
    {
        return Err(format!(
            "{wanted}: {error}; name a scenario of `testnet list`, or a file that can be read"
        ));
    }
    catalogue::load(wanted).map_err(|error| error.to_string())
}

/// The outcome, or `None` if Ctrl-C or a request to end came first.
pub(crate) async fn unless_interrupted<T>(work: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        outcome = work => Some(outcome),
        () = interrupted() => None,
    }
}

/// Set by the first Ctrl-C: no further run is begun.
pub(crate) static STOPPING: AtomicBool = AtomicBool::new(false);

/// Set once there is something that must not be lost: a run that was made, or namespaces and folders
/// that would stay behind.
pub(crate) static HAS_RESULTS: AtomicBool = AtomicBool::new(false);

/// How long work that has nothing to lose may take to notice that it is to end.
const GRACE: Duration = Duration::from_secs(2);

/// Work off the runtime's threads, until it ends or is interrupted. After the first Ctrl-C it is
/// waited for, because it writes down what it has and removes what it made; a second one ends it at
/// once. What has nothing yet is not waited for long: it may be filling tables, and does not look up
/// from that.
pub(crate) async fn in_background(work: impl FnOnce() -> ExitCode + Send + 'static) -> ExitCode {
    let mut work = tokio::task::spawn_blocking(work);
    let done = unless_interrupted(&mut work).await;
    let ended = match done {
        Some(ended) => ended,
        None => {
            STOPPING.store(true, Ordering::Relaxed);
            eprintln!("stopping; Ctrl-C again ends at once");
            tokio::select! {
                _ = unless_interrupted(&mut work) => {}
                () = nothing_to_lose() => {}
            }
            eprintln!("testnet: interrupted");
            return ExitCode::from(INTERRUPTED);
        }
    };
    ended.unwrap_or(ExitCode::FAILURE)
}

/// Ends after a while, unless there is something to wait for.
async fn nothing_to_lose() {
    tokio::time::sleep(GRACE).await;
    if HAS_RESULTS.load(Ordering::Relaxed) {
        std::future::pending::<()>().await;
    }
}
