//! `dht get`, `put` and `key`: items (BEP 44).
//!
//! `get` prints a value that is a string as its bytes and any other as bencode, exactly, so that it
//! can be piped; for a terminal it is made harmless and ends with a line break. A key file is the
//! ed25519 seed in hex.

use std::{
    fs::File,
    io::{self, IsTerminal, Read, Write},
    path::Path,
};

use mainswarm::{
    bencode::{self, Limits},
    dht::{
        DhtEvent, Item, ItemError, ItemQuery, LookupStats,
        item::{KEY_LEN, MAX_VALUE, mutable_target, public_key},
    },
    session::Job,
    text::printable,
};
use rand::{TryRng, rngs::SysRng};
use serde::Serialize;

use super::{
    super::{
        args::{ItemArgs, ItemName, KeyArgs, Lookup, PutArgs},
        exit::{Exit, Failure},
        progress::plural,
        ui::Ui,
    },
    asker::{Asker, late},
    lookups::tracer,
    show::{ShownStats, hex},
};

/// An item, as JSON has it.
#[derive(Debug, Serialize)]
struct ShownItem {
    target: String,
    /// The string that it is, if it is one in UTF-8; otherwise its bencode, if that is UTF-8.
    value: Option<String>,
    /// The value in bencode.
    value_hex: String,
    key: Option<String>,
    salt: Option<String>,
    seq: Option<i64>,
    sig: Option<String>,
}

impl From<&Item> for ShownItem {
    fn from(item: &Item) -> Self {
        let text = String::from_utf8(datum(item).to_vec());
        let salt = String::from_utf8_lossy(item.salt()).into_owned();
        Self {
            target: item.target().to_string(),
            value: text.ok(),
            value_hex: hex(item.value()),
            key: item.key().map(|key| hex(key)),
            salt: item.key().map(|_| salt),
            seq: item.seq(),
            sig: item.signature().map(|signature| hex(signature)),
        }
    }
}

/// `dht get`.
pub(super) async fn get(asker: &mut Asker<'_>, args: &ItemArgs) -> Result<(), Failure> {
    #[derive(Serialize)]
    struct Got {
        #[serde(flatten)]
        item: ShownItem,
        /// How many nodes have it.
        copies: u32,
        #[serde(flatten)]
        stats: ShownStats,
    }
    let target = match args.name {
        ItemName::Target(target) => target,
        ItemName::Key(key) => mutable_target(&key, args.salt.as_bytes()),
    };
    let mut query = ItemQuery::new(target);
    query.salt = args.salt.as_bytes().to_vec();
    query.newer_than = args.seq;
    let (found, stats) = search(asker, query, &args.lookup).await?;
    let Some((item, copies)) = found else {
        let nothing = match (args.seq, args.name) {
            (Some(seq), _) => format!("none has a newer item than that with seq {seq}"),
            (None, ItemName::Key(_)) if args.salt.is_empty() => {
                "none has an item of this key without a salt; check the key, or name its --salt"
                    .into()
            }
            _ => "none has this item; it may have been forgotten, as all are after two hours \
                  unless they are put again"
                .into(),
        };
        return Err(asker.fruitless(stats, &nothing));
    };
    if asker.ui.json() {
        asker.ui.data_json(&Got {
            item: ShownItem::from(&item),
            copies,
            stats: ShownStats::from(&stats.unwrap_or_default()),
        })?;
    } else {
        print_value(asker.ui, &item)?;
        if !args.lookup.brief.short {
            let seq = item.seq().map(|seq| format!("seq {seq}, "));
            let what = format!(
                "{}{} of {}",
                seq.unwrap_or_default(),
                match copies {
                    1 => "1 copy".to_owned(),
                    copies => format!("{copies} copies"),
                },
                item.target()
            );
            asker.footer(&what, &stats.unwrap_or_default());
        }
    }
    match stats {
        Some(_) => Ok(()),
        None => Err(late()),
    }
}

/// Looks for an item: the newest with how many nodes have it, and how the search went.
async fn search(
    asker: &mut Asker<'_>,
    query: ItemQuery,
    args: &Lookup,
) -> Result<(Option<(Item, u32)>, Option<LookupStats>), Failure> {
    let tracer = tracer(query.target, args);
    let running = asker.start(Job::GetItem(query), args);
    let mut found: Option<(Item, u32)> = None;
    let stats = asker.run(running, tracer, |_, event| {
        match event {
            DhtEvent::ItemFound { item, .. } => found = Some((item, 1)),
            DhtEvent::ItemDone { item, copies, .. } => {
                found = item.map(|item| (item, copies)).or(found.take());
            }
            _ => {}
        }
        Ok(())
    });
    let stats = stats.await?;
    Ok((found, stats))
}

/// What a value is to a reader: the bytes of a string, or bencode.
fn datum(item: &Item) -> &[u8] {
    let value = bencode::scan(item.value(), Limits::KRPC);
    let text = value.ok().and_then(|scan| scan.value.as_bytes());
    text.unwrap_or(item.value())
}

fn print_value(ui: &Ui, item: &Item) -> Result<(), Failure> {
    let datum = datum(item);
    match io::stdout().is_terminal() {
        // Whoever put it may be anybody, and terminals obey what they are sent.
        true => ui.data(&printable(datum)),
        false => ui.data_bytes(datum),
    }
}

/// What `dht put` has read before anything is sent.
pub(super) struct Ready {
    value: Vec<u8>,
    secret: Option<[u8; 32]>,
}

impl Ready {
    pub(super) fn read(ui: &Ui, args: &PutArgs) -> Result<Self, Failure> {
        let text = match args.text.as_str() {
            "-" => read_stdin()?,
            text => text.as_bytes().to_vec(),
        };
        let value = match args.bencode {
            true => text,
            false => {
                let mut value = Vec::new();
                bencode::write_bytes(&mut value, &text);
                value
            }
        };
        Item::immutable(&value).map_err(|error| invalid(&error))?;
        let secret = args.key.as_deref().map(|file| read_key(ui, file));
        let secret = secret.transpose()?;
        if let Some(secret) = &secret {
            let probe = Item::sign(secret, args.salt.as_bytes(), 0, &value);
            probe.map_err(|error| invalid(&error))?;
        }
        Ok(Self { value, secret })
    }
}

fn invalid(error: &ItemError) -> Failure {
    Failure::new(Exit::Usage, error.to_string())
}

fn read_stdin() -> Result<Vec<u8>, Failure> {
    let mut text = Vec::new();
    // One byte more than fits says that it does not.
    let read = io::stdin()
        .take(MAX_VALUE as u64 + 1)
        .read_to_end(&mut text);
    read.map_err(|error| Failure::unreadable(Path::new("standard input"), &error))?;
    Ok(text)
}

/// `dht put`.
pub(super) async fn put(
    asker: &mut Asker<'_>,
    args: &PutArgs,
    ready: Ready,
) -> Result<(), Failure> {
    #[derive(Serialize)]
    struct Put {
        #[serde(flatten)]
        item: ShownItem,
        stored: u32,
        #[serde(flatten)]
        stats: ShownStats,
    }
    let (item, cas) = match ready.secret {
        Some(secret) => sign(asker, args, &secret, &ready.value).await?,
        None => {
            let item = Item::immutable(&ready.value).map_err(|error| invalid(&error))?;
            (item, None)
        }
    };
    let job = Job::PutItem {
        item: item.clone(),
        cas,
    };
    let running = asker.start(job, &args.lookup);
    let (mut stored, mut conflict) = (0, None);
    let tracer = tracer(item.target(), &args.lookup);
    let stats = asker.run(running, tracer, |_, event| {
        if let DhtEvent::ItemPut {
            stored: nodes,
            conflict: why,
            ..
        } = event
        {
            (stored, conflict) = (nodes, why);
        }
        Ok(())
    });
    let stats = stats.await?;
    if stored == 0 {
        return Err(match conflict {
            Some(conflict) => refused(&item, cas, conflict.cas, conflict.newest),
            None => asker.fruitless(
                stats,
                "none stored it; they may be full, so try again later",
            ),
        });
    }
    let stats = stats.unwrap_or_default();
    if let Some(conflict) = conflict {
        let refused = plural(conflict.refused as usize, "node");
        asker
            .ui
            .warn(&format!("{refused} had a newer item and kept that"));
    }
    if asker.ui.json() {
        return asker.ui.data_json(&Put {
            item: ShownItem::from(&item),
            stored,
            stats: ShownStats::from(&stats),
        });
    }
    asker.ui.data(&item.target().to_string())?;
    if !args.lookup.brief.short {
        let seq = item.seq().map(|seq| format!("seq {seq}, "));
        let nodes = plural(stored as usize, "node");
        let what = format!(
            "{}stored on {nodes}, for two hours",
            seq.unwrap_or_default()
        );
        asker.footer(&what, &stats);
    }
    Ok(())
}

/// Signs an item. Without a sequence number that the user gave it follows the one that is there,
/// and replaces only that: whoever else put one meanwhile must not lose it.
async fn sign(
    asker: &mut Asker<'_>,
    args: &PutArgs,
    secret: &[u8; 32],
    value: &[u8],
) -> Result<(Item, Option<i64>), Failure> {
    let salt = args.salt.as_bytes();
    let signed = |seq| Item::sign(secret, salt, seq, value).map_err(|error| invalid(&error));
    if let Some(seq) = args.seq {
        return Ok((signed(seq)?, args.cas));
    }
    let mut query = ItemQuery::new(mutable_target(&public_key(secret), salt));
    query.salt = salt.to_vec();
    let (found, stats) = search(asker, query, &args.lookup).await?;
    if stats.is_none_or(|stats| stats.replied == 0) {
        return Err(asker.fruitless(stats, "none has an item to follow"));
    }
    let Some((current, _)) = found else {
        return Ok((signed(1)?, args.cas));
    };
    let seq = current.seq().unwrap_or_default();
    // The same again only renews it.
    if current.value() == value {
        return Ok((signed(seq)?, args.cas));
    }
    let next = seq.checked_add(1).ok_or_else(|| {
        let text = "the item has the highest sequence number there is, and cannot be replaced; \
                    use another --salt";
        Failure::new(Exit::Other, text)
    })?;
    Ok((signed(next)?, args.cas.or(Some(seq))))
}

fn refused(item: &Item, cas: Option<i64>, by_cas: bool, newest: Option<i64>) -> Failure {
    let seq = item.seq().unwrap_or_default();
    let there = match newest {
        Some(newest) => format!("an item with seq {newest} is there"),
        None => "nodes have another one".to_owned(),
    };
    let text = match cas.filter(|_| by_cas) {
        Some(cas) => format!(
            "not stored: only seq {cas} was to be replaced, and {there}; get it, and put what \
             follows from it"
        ),
        None => {
            format!("not stored with seq {seq}: {there}; give a higher --seq, or none to follow it")
        }
    };
    Failure::new(Exit::Other, text)
}

/// `dht key`.
pub(super) fn key(ui: &Ui, args: &KeyArgs) -> Result<(), Failure> {
    #[derive(Serialize)]
    struct Key {
        key: String,
        /// Where an item of this key without a salt is stored.
        target: String,
    }
    let secret = match args.show {
        true => read_key(ui, &args.file)?,
        false => make_key(&args.file)?,
    };
    let key: [u8; KEY_LEN] = public_key(&secret);
    match ui.json() {
        true => ui.data_json(&Key {
            key: hex(&key),
            target: mutable_target(&key, b"").to_string(),
        }),
        false => ui.data(&hex(&key)),
    }
}

fn make_key(path: &Path) -> Result<[u8; 32], Failure> {
    let mut secret = [0; 32];
    SysRng.try_fill_bytes(&mut secret).map_err(|error| {
        Failure::new(
            Exit::Other,
            format!("the system gives no random bytes: {error}"),
        )
    })?;
    let mut options = File::options();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path).map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => {
            let path = path.display();
            let text = format!(
                "{path} exists, and a key that is lost cannot be had again; name another file, or \
                 print its public half with --show"
            );
            Failure::new(Exit::Usage, text)
        }
        _ => Failure::unwritable(path, &error),
    })?;
    let written = writeln!(file, "{}", hex(&secret)).and_then(|()| file.sync_all());
    written.map_err(|error| Failure::unwritable(path, &error))?;
    Ok(secret)
}

fn read_key(ui: &Ui, path: &Path) -> Result<[u8; 32], Failure> {
    let file = File::open(path).map_err(|error| Failure::unreadable(path, &error))?;
    warn_of_readers(ui, path, &file);
    let mut text = String::new();
    // A key has 65 bytes; more is something else, however much.
    let read = file.take(1_024).read_to_string(&mut text);
    let key = data_encoding::HEXLOWER_PERMISSIVE.decode(text.trim().as_bytes());
    let key = key.ok().filter(|_| read.is_ok());
    key.and_then(|key| key.try_into().ok()).ok_or_else(|| {
        let path = path.display();
        let text = format!("{path} is no key: a key is 64 hex digits; make one with `dht key`");
        Failure::new(Exit::Usage, text)
    })
}

#[cfg(unix)]
fn warn_of_readers(ui: &Ui, path: &Path, file: &File) {
    use std::os::unix::fs::PermissionsExt;
    let mode = file
        .metadata()
        .map(|metadata| metadata.permissions().mode());
    if mode.is_ok_and(|mode| mode & 0o077 != 0) {
        let path = path.display();
        ui.warn(&format!(
            "others can read the key {path}; `chmod 600 {path}`"
        ));
    }
}

#[cfg(not(unix))]
fn warn_of_readers(_ui: &Ui, _path: &Path, _file: &File) {}
