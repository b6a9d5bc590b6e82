//! The `mainswarm` command: a thin shell over the library. Its parts are in `src/cli`.

#![warn(clippy::unwrap_used)]

mod cli;

fn main() -> std::process::ExitCode {
    cli::run()
}
