//! What reaches the terminal: data on stdout, everything else on stderr, and log lines that do not
//! tear a progress bar.

use std::{
    io::{self, IsTerminal, Write},
    time::Duration,
};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use mainswarm::text::printable;
use serde::Serialize;
use tracing_subscriber::EnvFilter;

use super::{
    args::Common,
    exit::{Exit, Failure},
};

/// Where a command prints.
#[derive(Debug, Clone)]
pub(super) struct Ui {
    json: bool,
    quiet: bool,
    bars: MultiProgress,
    /// Draw bars; otherwise progress is a line now and then.
    live: bool,
}

impl Ui {
    pub(super) fn new(common: &Common) -> Self {
        let live = !common.quiet && io::stderr().is_terminal();
        let target = if live {
            ProgressDrawTarget::stderr()
        } else {
            ProgressDrawTarget::hidden()
        };
        Self {
            json: common.json,
            quiet: common.quiet,
            bars: MultiProgress::with_draw_target(target),
            live,
        }
    }

    /// Whether data is to be JSON.
    pub(super) fn json(&self) -> bool {
        self.json
    }

    /// Whether bars are drawn.
    pub(super) fn live(&self) -> bool {
        self.live
    }

    /// Prints data: lines on stdout. When nobody reads them any more the command ends quietly.
    pub(super) fn data(&self, lines: &str) -> Result<(), Failure> {
        self.data_bytes(format!("{lines}\n").as_bytes())
    }

    /// The same with bytes as they are, and nothing after them.
    pub(super) fn data_bytes(&self, bytes: &[u8]) -> Result<(), Failure> {
        let result = self.bars.suspend(|| {
            let mut out = io::stdout().lock();
            out.write_all(bytes).and_then(|()| out.flush())
        });
        result.map_err(|error| match error.kind() {
            io::ErrorKind::BrokenPipe => Failure::new(Exit::Done, ""),
            _ => Failure::new(
                Exit::Disk,
                format!("cannot write to standard output: {error}; check where it goes"),
            ),
        })
    }

    /// Prints one JSON object on one line of stdout, with the version of its schema.
    pub(super) fn data_json<T: Serialize>(&self, value: &T) -> Result<(), Failure> {
        #[derive(Serialize)]
        struct Versioned<'a, T> {
            schema: u32,
            #[serde(flatten)]
            value: &'a T,
        }
        let line = serde_json::to_string(&Versioned { schema: 1, value }).map_err(|error| {
            Failure::new(Exit::Other, format!("cannot encode the result: {error}"))
        })?;
        self.data(&line)
    }

    /// A remark on stderr, unless `-q`.
    pub(super) fn note(&self, text: &str) {
        if !self.quiet {
            self.stderr(text);
        }
    }

    /// Something the user should know although the command goes on, unless `-q`.
    pub(super) fn warn(&self, text: &str) {
        self.note(&format!("warning: {text}"));
    }

    /// Why the command failed.
    pub(super) fn error(&self, text: &str) {
        self.stderr(&format!("error: {text}"));
    }

    fn stderr(&self, text: &str) {
        // Line breaks are ours: whoever puts a stranger's text in has escaped it.
        let lines: Vec<String> = text.split('\n').map(printable).collect();
        self.bars.suspend(|| {
            // A closed stderr must not stop the work.
            let _ = writeln!(io::stderr().lock(), "{}", lines.join("\n"));
        });
    }

    /// A bar over bytes, hidden unless stderr is a terminal.
    pub(super) fn byte_bar(&self, total: u64, doing: &'static str) -> ProgressBar {
        let bar = self.bars.add(ProgressBar::new(total));
        bar.set_style(style(
            "{msg} {bar:30} {percent}% · {binary_bytes} of {binary_total_bytes} · \
             {binary_bytes_per_sec} · {eta} left",
        ));
        bar.set_message(doing);
        bar
    }

    /// A line that a [`ProgressBar`] redraws: first a spinner, and a bar once it has a length.
    pub(super) fn status_line(&self) -> ProgressBar {
        let bar = self.bars.add(ProgressBar::new_spinner());
        bar.set_style(style("{spinner} {wide_msg}"));
        if self.live {
            bar.enable_steady_tick(Duration::from_millis(120));
        }
        bar
    }

    /// Sends log records to stderr: warnings, with `-v` what happens, with `-vv` why.
    pub(super) fn start_logging(&self, verbose: u8) {
        let level = match (self.quiet, verbose) {
            (true, _) => "error",
            // The command itself tells what pauses a torrent.
            (false, 0) => "warn,mainswarm::net::torrent_task=off,mainswarm::net::storage_pool=off",
            (false, 1) => "warn,mainswarm=info",
            (false, 2) => "info,mainswarm=debug",
            (false, _) => "debug,mainswarm=trace",
        };
        let filter =
            EnvFilter::try_from_env("MAINSWARM_LOG").unwrap_or_else(|_| EnvFilter::new(level));
        let bars = self.bars.clone();
        tracing_subscriber::fmt()
            .with_env_filter(filter)
            // Colour codes would be escaped like the ones that strangers send.
            .with_ansi(false)
            .with_writer(move || LogWriter(bars.clone()))
            .init();
    }
}

/// The style of a bar; the templates are ours and always parse.
pub(super) fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template)
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("=> ")
}

/// One log record a write, with what strangers sent made harmless.
struct LogWriter(MultiProgress);

impl Write for LogWriter {
    fn write(&mut self, record: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(record);
        let text = printable(text.trim_end_matches('\n'));
        self.0.suspend(|| {
            let _ = writeln!(io::stderr().lock(), "{text}");
        });
        Ok(record.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
