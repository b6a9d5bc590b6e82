//! What the user names as a torrent: a magnet link, an info-hash, or a `.torrent` file.

use std::{fs::File, io::Read, path::Path, sync::Arc};

use mainswarm::metainfo::{MAX_TORRENT_LEN, Magnet, Metainfo};

use super::exit::{Exit, Failure};

/// A torrent that the user named.
#[derive(Debug)]
pub(super) enum Named {
    Magnet(Magnet),
    File(Arc<Metainfo>),
}

/// Reads a magnet link, an info-hash, or else the file of that name.
pub(super) fn read(text: &str) -> Result<Named, Failure> {
    if is_magnet(text) {
        let magnet = text.parse::<Magnet>();
        return magnet
            .map(Named::Magnet)
            .map_err(|error| Failure::new(Exit::Usage, error.to_string()));
    }
    if is_info_hash(text)
        && let Ok(magnet) = text.parse::<Magnet>()
    {
        return Ok(Named::Magnet(magnet));
    }
    read_file(Path::new(text)).map(Named::File)
}

/// Reads a `.torrent` file.
pub(super) fn read_file(path: &Path) -> Result<Arc<Metainfo>, Failure> {
    let unreadable = |error| Failure::unreadable(path, &error);
    let file = File::open(path).map_err(unreadable)?;
    if file.metadata().map_err(unreadable)?.is_dir() {
        let path = path.display();
        let text = format!(
            "{path} is a directory; name a .torrent file, or share it with `mainswarm share {path}`"
        );
        return Err(Failure::new(Exit::Usage, text));
    }
    let mut bytes = Vec::new();
    file.take(MAX_TORRENT_LEN + 1)
        .read_to_end(&mut bytes)
        .map_err(unreadable)?;
    let invalid = |why: &dyn std::fmt::Display| {
        let path = path.display();
        Failure::new(Exit::Invalid, format!("{path} cannot be used: {why}"))
    };
    if bytes.len() as u64 > MAX_TORRENT_LEN {
        return Err(invalid(
            &"it is larger than any torrent; get it again from where it came from",
        ));
    }
    let metainfo = Metainfo::from_torrent(&bytes).map_err(|error| invalid(&error))?;
    Ok(Arc::new(metainfo))
}

/// Reads what can only be a magnet link or an info-hash.
pub(super) fn read_magnet(text: &str) -> Result<Magnet, Failure> {
    if (is_magnet(text) || is_info_hash(text))
        && let Named::Magnet(magnet) = read(text)?
    {
        return Ok(magnet);
    }
    Err(Failure::new(
        Exit::Usage,
        format!(
            "`{text}` is neither a magnet link nor an info-hash of 40 hex or 32 base32 digits; `mainswarm show` prints the info-hash of a .torrent file"
        ),
    ))
}

fn is_magnet(text: &str) -> bool {
    text.get(..7)
        .is_some_and(|scheme| scheme.eq_ignore_ascii_case("magnet:"))
}

fn is_info_hash(text: &str) -> bool {
    let hex = text.len() == 40 && text.bytes().all(|b| b.is_ascii_hexdigit());
    let base32 = text.len() == 32
        && text
            .bytes()
            .all(|b| matches!(b, b'a'..=b'z' | b'A'..=b'Z' | b'2'..=b'7'));
    hex || base32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_of_source() {
        assert!(is_magnet("MAGNET:?xt=x") && !is_magnet("magnet") && !is_magnet("./magnet:x"));
        assert!(is_info_hash("c12fe1c06bba254a9dc9f519b335aa7c1367a88a"));
        assert!(is_info_hash("YEX6DQDLXISUVHOJ6UM3GNNKPQJWPKEK"));
        assert!(!is_info_hash("YEX6DQDLXISUVHOJ6UM3GNNKPQJWPKE1"));
        assert!(!is_info_hash("file.torrent"));
    }
}
