//! `mainswarm dht`: a node that stays, and questions in the manner of `dig`.
//!
//! A question starts a read-only node (BEP 43) from saved nodes and routers, and does not wait for
//! it to join: what it asks for is under way with its first datagrams. `asker` is that node with a
//! deadline, `show` how nodes, replies and round trips are printed.

mod asker;
mod bootstrap;
mod items;
mod lookups;
mod ping;
mod samples;
mod show;
mod stay;
mod table;

use super::{
    args::{BootstrapCommand, Common, DhtCommand},
    exit::{Exit, Failure},
    node::Interrupt,
    ui::Ui,
};
use asker::asking;

/// Runs one of the commands.
pub(super) async fn run(
    ui: &Ui,
    common: &Common,
    command: DhtCommand,
    mut interrupt: Interrupt,
) -> Result<(), Failure> {
    if let DhtCommand::Node = command {
        return stay::run(ui, common, interrupt).await;
    }
    if let DhtCommand::Key(args) = command {
        return items::key(ui, &args);
    }
    if common.no_dht {
        return Err(dht_off());
    }
    if ui.json() && is_short(&command) {
        let text = "--short and --json exclude each other; leave one out";
        return Err(Failure::new(Exit::Usage, text));
    }
    tokio::select! {
        () = interrupt.wait() => {
            Err(Failure::interrupted("interrupted before the answer was complete"))
        }
        result = ask(ui, common, command) => result,
    }
}

async fn ask(ui: &Ui, common: &Common, command: DhtCommand) -> Result<(), Failure> {
    match command {
        DhtCommand::Node | DhtCommand::Key(_) => Ok(()),
        DhtCommand::Ping(args) => ping::run(ui, common, &args).await,
        DhtCommand::Find(args) => {
            let timeout = args.lookup.timeout;
            asking(ui, common, timeout, async |asker| {
                lookups::find(asker, &args).await
            })
            .await
        }
        DhtCommand::Peers(args) => {
            let hash = super::source::read_magnet(&args.source)?.info_hash;
            asking(ui, common, args.lookup.timeout, async |asker| {
                match args.scrape {
                    true => lookups::scrape(asker, hash, &args.lookup).await,
                    false => lookups::peers(asker, hash, &args.lookup).await,
                }
            })
            .await
        }
        DhtCommand::Announce(args) => {
            let hash = super::source::read_magnet(&args.source)?.info_hash;
            asking(ui, common, args.lookup.timeout, async |asker| {
                lookups::announce(asker, hash, &args).await
            })
            .await
        }
        DhtCommand::Trace(args) => {
            let hash = super::source::read_magnet(&args.source)?.info_hash;
            asking(ui, common, args.timeout, async |asker| {
                lookups::trace(asker, hash, &args).await
            })
            .await
        }
        DhtCommand::Get(args) => {
            asking(ui, common, args.lookup.timeout, async |asker| {
                items::get(asker, &args).await
            })
            .await
        }
        DhtCommand::Put(args) => {
            let ready = items::Ready::read(ui, &args)?;
            asking(ui, common, args.lookup.timeout, async |asker| {
                items::put(asker, &args, ready).await
            })
            .await
        }
        DhtCommand::Sample(args) => samples::sample(ui, common, &args).await,
        DhtCommand::Crawl(args) => {
            asking(ui, common, args.timeout, async |asker| {
                samples::crawl(asker, &args).await
            })
            .await
        }
        DhtCommand::Table(args) => {
            asking(ui, common, args.timeout, async |asker| {
                table::table(asker, &args).await
            })
            .await
        }
        DhtCommand::Size(args) => {
            asking(ui, common, args.timeout, async |asker| {
                table::size(asker, &args).await
            })
            .await
        }
        DhtCommand::Bootstrap(BootstrapCommand::Check(args)) => {
            bootstrap::check(ui, common, &args).await
        }
    }
}

fn is_short(command: &DhtCommand) -> bool {
    match command {
        DhtCommand::Node | DhtCommand::Key(_) => false,
        DhtCommand::Ping(args) => args.brief.short,
        DhtCommand::Find(args) => args.lookup.brief.short,
        DhtCommand::Peers(args) => args.lookup.brief.short,
        DhtCommand::Announce(args) => args.lookup.brief.short,
        DhtCommand::Get(args) => args.lookup.brief.short,
        DhtCommand::Put(args) => args.lookup.brief.short,
        DhtCommand::Sample(args) => args.brief.short,
        DhtCommand::Crawl(args) => args.brief.short,
        DhtCommand::Trace(args) => args.short,
        DhtCommand::Table(args) => args.brief.short,
        DhtCommand::Bootstrap(BootstrapCommand::Check(args)) => args.brief.short,
        DhtCommand::Size(args) => args.brief.short,
    }
}

fn dht_off() -> Failure {
    let text = "the DHT is off (MAINSWARM_NO_DHT is set); unset it for this command";
    Failure::new(Exit::Usage, text)
}
