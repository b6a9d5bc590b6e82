//! `mainswarm share`: makes a torrent of a path, prints its magnet link, and seeds it in place.

use mainswarm::session::{AddTorrent, DhtMode, TorrentSource};

use super::{
    args::{Common, ShareArgs},
    create::{self, Recipe, Report},
    exit::Failure,
    get::seed,
    node::{self, Interrupt, Stay},
    progress::Circumstances,
    ui::Ui,
};

pub(super) async fn run(
    ui: &Ui,
    common: &Common,
    args: ShareArgs,
    mut interrupt: Interrupt,
) -> Result<(), Failure> {
    if let Some(save) = &args.save {
        create::check_output(save, args.force)?;
    }
    let recipe = Recipe {
        path: args.path,
        name: args.name,
        piece_size: args.piece_size,
        private: false,
        comment: None,
        exclude: args.save.clone(),
    };
    let made = create::make(ui, recipe, interrupt.clone()).await?;
    if let Some(save) = &args.save {
        create::write_atomically(save, &made.metainfo.to_torrent())?;
    }
    let session = node::start(ui, common, DhtMode::Full, Stay::Lasting).await?;
    let mut torrent = AddTorrent::new(
        TorrentSource::Metainfo(made.metainfo.clone()),
        made.output_dir,
    );
    torrent.trusted = true;
    torrent.root = made.root;
    torrent.peers.clone_from(&common.peer);
    let handle = session.add(torrent).await?;

    let report = Report::new(&made.metainfo, args.save);
    let printed = if ui.json() {
        ui.data_json(&report)
    } else {
        ui.data(&report.magnet)
    };
    let addr = session.local_addr();
    ui.note(&if common.no_dht {
        format!(
            "the DHT is off: give others the link and `--peer` with this machine's address, port {}",
            addr.port()
        )
    } else {
        format!("listening on {addr}, TCP and UDP: open this port for peers from outside")
    });
    let around = Circumstances {
        dht_off: common.no_dht,
        ..Circumstances::default()
    };
    let result = match printed {
        Ok(()) => seed(ui, &handle, around, &mut interrupt).await,
        Err(failure) => Err(failure),
    };
    session.shutdown().await;
    result
}
