//! The command line: arguments in, one command run, its exit code out.
//!
//! `args` says what can be typed and `exit` what the codes mean. The commands are `share`, `get`,
//! `create`, `show`, `verify` and `dht`. `content` reads what is to be shared or verified, `source`
//! what the user names as a torrent; `node` starts a session, `progress` tells how it goes, and
//! `ui` owns both output streams.

mod args;
mod content;
mod create;
mod dht;
mod exit;
mod get;
mod node;
mod progress;
mod share;
mod show;
mod source;
mod ui;
mod units;
mod verify;

use std::{process::ExitCode, time::Duration};

use args::{Cli, Command};
use exit::{Exit, Failure};
use node::Interrupt;
use ui::Ui;

/// Workers for network tasks; disk and hashing have threads of their own.
const WORKERS: usize = 2;

/// Runs the command that the process was started with.
pub(crate) fn run() -> ExitCode {
    let Cli { common, command } = args::parse();
    let ui = Ui::new(&common);
    ui.start_logging(common.verbose);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .enable_all()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            ui.error(&format!(
                "cannot start threads: {error}; check the limits of this user (ulimit -u, -n)"
            ));
            return Exit::Other.into();
        }
    };
    let result = runtime.block_on(async {
        let interrupt = Interrupt::install(&ui);
        match command {
            Command::Share(args) => share::run(&ui, &common, args, interrupt).await,
            Command::Get(args) => get::run(&ui, &common, args, interrupt).await,
            Command::Create(args) => create::run(&ui, args, interrupt).await,
            Command::Show(args) => show::run(&ui, &args),
            Command::Verify(args) => verify::run(&ui, args, interrupt).await,
            Command::Completions(args) => ui.data(&args::completions(args.shell)),
            Command::Dht(command) => dht::run(&ui, &common, command, interrupt).await,
        }
    });
    runtime.shutdown_timeout(Duration::from_secs(1));
    match result {
        Ok(()) => Exit::Done.into(),
        Err(Failure { exit, text }) => {
            if !text.is_empty() {
                ui.error(&text);
            }
            exit.into()
        }
    }
}
