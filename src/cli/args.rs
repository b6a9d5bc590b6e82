//! The command line as clap sees it. What the DHT alone has is in `dht`.

mod dht;

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use clap::{
    ArgAction, ArgMatches, Args, CommandFactory, FromArgMatches, Parser, Subcommand,
    builder::FalseyValueParser, parser::ValueSource,
};
use clap_complete::Shell;
use mainswarm::{dht::IdCheck, network::Network};

pub(super) use dht::{
    AnnounceArgs, BootstrapCommand, CheckArgs, CrawlArgs, DhtCommand, FindArgs, ItemArgs, ItemName,
    KeyArgs, Lookup, PingArgs, PutArgs, SampleArgs, SizeArgs, TableArgs, TraceArgs,
};

use super::{
    exit::exit_table,
    units::{parse_duration, parse_piece_size, parse_rate},
};

/// A trackerless BitTorrent peer node: share and fetch files by magnet link alone, found through
/// the Mainline DHT.
#[derive(Debug, Parser)]
#[command(
    name = "mainswarm",
    version,
    max_term_width = 100,
    propagate_version = true
)]
pub(super) struct Cli {
    #[command(flatten)]
    pub common: Common,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Share a file or directory: prints its magnet link, then seeds until Ctrl-C
    Share(ShareArgs),
    /// Fetch a torrent by magnet link, info-hash or .torrent file
    Get(GetArgs),
    /// Make a .torrent file
    Create(CreateArgs),
    /// Show what a .torrent file or magnet link says
    Show(ShowArgs),
    /// Check a directory's data against a .torrent file, without writing anything
    Verify(VerifyArgs),
    /// Take part in the DHT, or ask it
    #[command(subcommand)]
    Dht(DhtCommand),
    /// Print a completion script for a shell
    Completions(CompletionsArgs),
}

#[derive(Debug, Args)]
pub(super) struct ShareArgs {
    /// The file or directory to share
    pub path: PathBuf,
    /// The torrent's name, if it shall differ from the file's
    #[arg(long, value_parser = parse_name)]
    pub name: Option<String>,
    /// The piece size, a power of two such as 1MiB [default: by the total size]
    #[arg(long, value_name = "SIZE", value_parser = parse_piece_size)]
    pub piece_size: Option<u32>,
    /// Write the .torrent file here as well
    #[arg(long, value_name = "FILE.torrent")]
    pub save: Option<PathBuf>,
    /// Replace FILE.torrent if it exists
    #[arg(long, requires = "save")]
    pub force: bool,
}

#[derive(Debug, Args)]
pub(super) struct GetArgs {
    /// A magnet link, an info-hash (40 hex or 32 base32 digits), or a .torrent file
    #[arg(value_name = "MAGNET|INFOHASH|FILE.torrent")]
    pub source: String,
    /// The directory to put the torrent into
    #[arg(short, long, value_name = "DIR", default_value = ".")]
    pub output: PathBuf,
    /// Fetch only files that match: a file name (`*.pdf`), or a path inside the torrent (`docs/**`);
    /// can be given several times
    #[arg(long, value_name = "GLOB")]
    pub select: Vec<String>,
    /// Go on as a seed after completion, until Ctrl-C
    #[arg(long)]
    pub seed: bool,
    /// Give up after this long (30s, 5m, 1h30m) [default: never]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub timeout: Option<Duration>,
}

#[derive(Debug, Args)]
pub(super) struct CreateArgs {
    /// The file or directory to describe
    pub path: PathBuf,
    /// The .torrent file to write
    #[arg(short, long, value_name = "FILE.torrent")]
    pub output: PathBuf,
    /// The torrent's name, if it shall differ from the file's
    #[arg(long, value_parser = parse_name)]
    pub name: Option<String>,
    /// The piece size, a power of two such as 1MiB [default: by the total size]
    #[arg(long, value_name = "SIZE", value_parser = parse_piece_size)]
    pub piece_size: Option<u32>,
    /// Mark it private (BEP 27): its peers must not be looked for in the DHT
    #[arg(long)]
    pub private: bool,
    /// A comment for whoever reads the file
    #[arg(long)]
    pub comment: Option<String>,
    /// Replace the .torrent file if it exists
    #[arg(long)]
    pub force: bool,
}

#[derive(Debug, Args)]
pub(super) struct ShowArgs {
    /// A .torrent file or a magnet link
    #[arg(value_name = "FILE.torrent|MAGNET")]
    pub source: String,
}

#[derive(Debug, Args)]
pub(super) struct VerifyArgs {
    /// The .torrent file
    #[arg(value_name = "FILE.torrent")]
    pub torrent: PathBuf,
    /// The directory that holds the torrent's file or directory
    #[arg(value_name = "DIR")]
    pub directory: PathBuf,
}

#[derive(Debug, Args)]
pub(super) struct CompletionsArgs {
    /// The shell
    pub shell: Shell,
}

/// The completion script for a shell.
pub(super) fn completions(shell: Shell) -> String {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "mainswarm", &mut script);
    String::from_utf8_lossy(&script).trim_end().to_owned()
}

/// Options that may stand before or after the command.
#[derive(Debug, Args)]
pub(super) struct Common {
    /// TCP and UDP on one port [default: 0.0.0.0, for `share` and `dht node` the first free port of
    /// 6881 to 6889, else any]
    #[arg(
        long,
        global = true,
        value_name = "IP:PORT",
        env = "MAINSWARM_LISTEN",
        hide_env_values = true
    )]
    #[arg(help_heading = NETWORK, value_parser = parse_ip_port)]
    pub listen: Option<SocketAddr>,
    /// The network to be on: the public `mainline`, or a `private` one of local addresses
    #[arg(
        long,
        global = true,
        default_value = "mainline",
        env = "MAINSWARM_NETWORK",
        hide_env_values = true
    )]
    #[arg(help_heading = NETWORK, value_name = "mainline|private")]
    pub network: Network,
    /// A DHT node to start from; can be given several times [default: mainline's public routers]
    #[arg(
        long,
        global = true,
        value_name = "HOST:PORT",
        env = "MAINSWARM_BOOTSTRAP",
        hide_env_values = true
    )]
    #[arg(help_heading = NETWORK, value_delimiter = ',', value_parser = parse_host_port)]
    pub bootstrap: Vec<String>,
    /// What to make of DHT nodes whose ids do not follow from their addresses (BEP 42): nothing,
    /// others come first, or nothing is stored on them
    #[arg(
        long,
        global = true,
        default_value = "prefer",
        env = "MAINSWARM_ID_CHECK",
        hide_env_values = true
    )]
    #[arg(help_heading = NETWORK, value_name = "off|prefer|enforce")]
    pub id_check: IdCheck,
    /// Stay out of the DHT
    #[arg(long, global = true, env = "MAINSWARM_NO_DHT", hide_env_values = true, value_parser = FalseyValueParser::new())]
    #[arg(help_heading = NETWORK, action = ArgAction::SetTrue)]
    pub no_dht: bool,
    /// A peer to ask at once; can be given several times
    #[arg(
        long,
        global = true,
        value_name = "IP:PORT",
        env = "MAINSWARM_PEER",
        hide_env_values = true
    )]
    #[arg(help_heading = NETWORK, value_delimiter = ',', value_parser = parse_ip_port)]
    pub peer: Vec<SocketAddr>,
    /// Upload at most so many bytes per second (500K, 2MiB)
    #[arg(
        long,
        global = true,
        value_name = "RATE",
        env = "MAINSWARM_UP",
        hide_env_values = true
    )]
    #[arg(help_heading = NETWORK, value_parser = parse_rate)]
    pub up: Option<u64>,
    /// Download at most so many bytes per second
    #[arg(
        long,
        global = true,
        value_name = "RATE",
        env = "MAINSWARM_DOWN",
        hide_env_values = true
    )]
    #[arg(help_heading = NETWORK, value_parser = parse_rate)]
    pub down: Option<u64>,
    /// Where resume and DHT state is kept [default: ~/.local/state/mainswarm]
    #[arg(
        long,
        global = true,
        value_name = "DIR",
        env = "MAINSWARM_STATE",
        hide_env_values = true
    )]
    #[arg(help_heading = NETWORK)]
    pub state: Option<PathBuf>,

    /// Print data as JSON: one object, or one per line for streams
    #[arg(long, global = true, env = "MAINSWARM_JSON", hide_env_values = true, value_parser = FalseyValueParser::new())]
    #[arg(help_heading = OUTPUT, action = ArgAction::SetTrue)]
    pub json: bool,
    /// No progress and no warnings on stderr
    #[arg(
        short,
        long,
        global = true,
        env = "MAINSWARM_QUIET",
        hide_env_values = true
    )]
    #[arg(help_heading = OUTPUT, action = ArgAction::SetTrue)]
    #[arg(value_parser = FalseyValueParser::new())]
    pub quiet: bool,
    /// More log lines on stderr; twice for debugging (MAINSWARM_LOG takes a tracing filter)
    #[arg(short, long, global = true, action = ArgAction::Count, help_heading = OUTPUT)]
    pub verbose: u8,
}

const NETWORK: &str = "Network";
const OUTPUT: &str = "Output";

/// Options of [`Common`] that mean nothing to some commands.
const NETWORK_OPTIONS: [&str; 9] = [
    "listen",
    "network",
    "bootstrap",
    "id_check",
    "no_dht",
    "peer",
    "up",
    "down",
    "state",
];
/// Of those, what a bare DHT node does not use.
const TRANSFER_OPTIONS: [&str; 4] = ["no_dht", "peer", "up", "down"];
/// What a question to one address does not use either: it starts from nobody.
const JOINING_OPTIONS: [&str; 7] = [
    "no_dht",
    "peer",
    "up",
    "down",
    "bootstrap",
    "id_check",
    "state",
];
/// The check asks the nodes of `--bootstrap`, over both families.
const CHECK_OPTIONS: [&str; 7] = [
    "no_dht", "peer", "up", "down", "id_check", "state", "listen",
];

/// Reads the process's arguments; prints help or a usage error and exits if that is what they ask
/// for.
pub(super) fn parse() -> Cli {
    let mut command = Cli::command().after_help(exit_table());
    let matches = command.clone().get_matches();
    let parsed = Cli::from_arg_matches(&matches).and_then(|cli| {
        let option = ignored_option(&cli.command, &matches);
        option.map_or(Ok(cli), |option| {
            let text = format!("`--{option}` means nothing to this command; leave it out");
            Err(command.error(clap::error::ErrorKind::ArgumentConflict, text))
        })
    });
    parsed.unwrap_or_else(|error| error.exit())
}

/// An option on the command line that the command would have to ignore. The environment may set
/// it, because it is meant for every command.
fn ignored_option(command: &Command, matches: &ArgMatches) -> Option<String> {
    let unused: &[&str] = match command {
        Command::Share(_) | Command::Get(_) => &[],
        Command::Create(_) | Command::Show(_) | Command::Verify(_) | Command::Completions(_) => {
            &NETWORK_OPTIONS
        }
        Command::Dht(DhtCommand::Key(_)) => &NETWORK_OPTIONS,
        Command::Dht(DhtCommand::Ping(_) | DhtCommand::Sample(_)) => &JOINING_OPTIONS,
        Command::Dht(DhtCommand::Bootstrap(_)) => &CHECK_OPTIONS,
        Command::Dht(_) => &TRANSFER_OPTIONS,
    };
    let typed = unused
        .iter()
        .find(|id| matches.value_source(id) == Some(ValueSource::CommandLine))?;
    Some(typed.replace('_', "-"))
}

fn parse_host_port(text: &str) -> Result<String, String> {
    text.rsplit_once(':')
        .filter(|(host, _)| !host.is_empty())
        .and_then(|(_, port)| port.parse::<u16>().ok())
        .filter(|port| *port != 0)
        .map(|_| text.to_owned())
        .ok_or_else(|| "expected HOST:PORT, for example 127.1.0.1:6881".to_owned())
}

fn parse_ip_port(text: &str) -> Result<SocketAddr, String> {
    text.parse()
        .map_err(|_| "expected IP:PORT, for example 127.0.0.1:6881 or [::1]:6881".to_owned())
}

fn parse_name(text: &str) -> Result<String, String> {
    if text.is_empty() || text == "." || text == ".." || text.contains(['/', '\\', '\0']) {
        return Err("a name must be a plain file name, without slashes".to_owned());
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ignored(line: &str) -> Option<String> {
        let matches = Cli::command()
            .try_get_matches_from(line.split(' '))
            .unwrap_or_else(|error| panic!("{line}: {error}"));
        let cli = Cli::from_arg_matches(&matches).unwrap();
        ignored_option(&cli.command, &matches)
    }

    #[test]
    fn the_tree_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn options_without_effect_are_named() {
        for (line, option) in [
            ("mainswarm get abc --up 1M --peer 127.0.0.1:1", None),
            ("mainswarm --network private get abc", None),
            (
                "mainswarm --network private show a.torrent",
                Some("network"),
            ),
            ("mainswarm show a.torrent --up 1M", Some("up")),
            ("mainswarm dht node --no-dht", Some("no-dht")),
            (
                "mainswarm dht peers abc --bootstrap a:1 --bootstrap b:2",
                None,
            ),
            ("mainswarm dht ping 127.0.0.1:1 --state x", Some("state")),
            ("mainswarm dht key file --listen 1.1.1.1:1", Some("listen")),
            ("mainswarm dht bootstrap check --bootstrap a:1", None),
            ("mainswarm verify a b --json -q", None),
        ] {
            assert_eq!(ignored(line).as_deref(), option, "{line}");
        }
    }

    #[test]
    fn values_are_checked() {
        for line in [
            "mainswarm get",
            "mainswarm get x --network lan",
            "mainswarm get x --bootstrap nowhere",
            "mainswarm get x --bootstrap :1",
            "mainswarm get x --bootstrap a:0",
            "mainswarm get x --peer 127.0.0.1",
            "mainswarm get x --up 0",
            "mainswarm get x --timeout soon",
            "mainswarm share x --name a/b",
            "mainswarm share x --name ..",
            "mainswarm share x --force",
            "mainswarm create x",
            "mainswarm dht ping localhost",
            "mainswarm dht find 1234",
            "mainswarm dht announce x",
            "mainswarm dht announce x --port 0",
            "mainswarm dht get 123",
            "mainswarm dht put x --salt y",
            "mainswarm dht put x --key f --seq -1",
            "mainswarm dht crawl --limit 0",
        ] {
            let result = Cli::command().try_get_matches_from(line.split(' '));
            assert!(result.is_err(), "{line}");
        }
    }
}
