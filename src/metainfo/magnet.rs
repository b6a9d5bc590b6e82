//! Magnet links (BEP 9, 53).
//!
//! A link is pasted from anywhere, so the parser is total: what it does not know it skips, what is
//! malformed and optional it leaves out, and every list has a bound. Only a link without a usable
//! info-hash is an error.

use std::{
    fmt::{self, Write},
    net::{IpAddr, SocketAddr},
    str::FromStr,
};

use data_encoding::BASE32_NOPAD;

use crate::ids::InfoHash;

/// A parsed magnet link, or a bare info-hash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Magnet {
    /// The torrent.
    pub info_hash: InfoHash,
    /// `dn`: what to call it until its metadata is here; unsafe as a path, and to be shown only
    /// through [`crate::text::printable`].
    pub name: Option<String>,
    /// `xl`: the length in bytes, as claimed.
    pub length: Option<u64>,
    /// `x.pe`: peers to ask first, addresses only (host names are in `peer_hosts`).
    pub peers: Vec<SocketAddr>,
    /// `x.pe` entries with a host name: `(host, port)`.
    pub peer_hosts: Vec<(String, u16)>,
    /// `so` (BEP 53): the files to fetch, as inclusive ranges of indexes, sorted and disjoint; empty
    /// means all.
    pub select_only: Vec<(u32, u32)>,
    /// How many trackers and web seeds were named; a trackerless node does not use them.
    pub ignored_sources: usize,
}

/// Why a text names no torrent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MagnetError {
    /// Neither `magnet:?` nor an info-hash.
    #[error("not a magnet link and not an info-hash of 40 hexadecimal or 32 base32 digits")]
    NotMagnet,
    /// No `xt=urn:btih:`.
    #[error(
        "the magnet link names no torrent (no xt=urn:btih:…); copy it again, and quote it: a shell \
         ends a command at &"
    )]
    NoInfoHash,
    /// `xt=urn:btih:` with something else than an info-hash.
    #[error(
        "the magnet link's info-hash is not 40 hexadecimal or 32 base32 digits; copy the link again"
    )]
    BadInfoHash,
    /// Only `xt=urn:btmh:` (BEP 52).
    #[error(
        "the magnet link is for BitTorrent v2 only, which is not supported; ask for one with \
         xt=urn:btih:"
    )]
    OnlyV2,
}

impl Magnet {
    /// A link with nothing but the info-hash.
    pub fn new(info_hash: InfoHash) -> Self {
        Self {
            info_hash,
            name: None,
            length: None,
            peers: Vec::new(),
            peer_hosts: Vec::new(),
            select_only: Vec::new(),
            ignored_sources: 0,
        }
    }

    fn add_peer(&mut self, text: &str) {
        if self.peers.len() + self.peer_hosts.len() == MAX_PEERS {
            return;
        }
        if let Ok(addr) = text.parse::<SocketAddr>() {
            let ip = addr.ip();
            let broadcast = matches!(ip, IpAddr::V4(ip) if ip.is_broadcast());
            if addr.port() != 0 && !ip.is_unspecified() && !ip.is_multicast() && !broadcast {
                self.peers.push(addr);
            }
            return;
        }
        let Some((host, port)) = text.rsplit_once(':') else {
            return;
        };
        let of_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
        let name = (1..=MAX_HOST).contains(&host.len()) && host.bytes().all(of_name);
        if let (true, Ok(port @ 1..)) = (name, port.parse()) {
            self.peer_hosts.push((host.to_owned(), port));
        }
    }
}

impl FromStr for Magnet {
    type Err = MagnetError;

    fn from_str(text: &str) -> Result<Self, MagnetError> {
        let text = text.trim();
        if let Some(info_hash) = parse_info_hash(text) {
            return Ok(Self::new(info_hash));
        }
        let scheme = text.get(..SCHEME.len()).ok_or(MagnetError::NotMagnet)?;
        if !scheme.eq_ignore_ascii_case(SCHEME) {
            return Err(MagnetError::NotMagnet);
        }
        let mut magnet = Self::new(InfoHash::new([0; 20]));
        let mut topic = Err(MagnetError::NoInfoHash);
        let mut selected = Vec::new();
        for parameter in text[SCHEME.len()..].split('&') {
            let (key, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            let key = key.to_ascii_lowercase();
            let name = without_number(&key);
            // Forms write a space of a name as a plus; a plus itself is %2B.
            let value = match name {
                "dn" => percent_decoded(&value.replace('+', " ")),
                _ => percent_decoded(value),
            };
            match name {
                // The first good one, or else what was wrong with the last.
                "xt" if topic.is_err() => topic = parse_topic(&value).unwrap_or(topic),
                "dn" if magnet.name.is_none() && !value.is_empty() => {
                    magnet.name = Some(value.chars().take(MAX_NAME).collect());
                }
                "xl" => magnet.length = magnet.length.or(value.parse().ok()),
                "x.pe" => magnet.add_peer(&value),
                "so" => selected.extend(value.split(',').filter_map(parse_range).take(MAX_RANGES)),
                "tr" | "ws" | "as" | "xs" => magnet.ignored_sources += 1,
                _ => {}
            }
        }
        magnet.info_hash = topic?;
        magnet.select_only = merged(selected);
        Ok(magnet)
    }
}

/// The link in canonical form: what was ignored on reading is gone.
impl fmt::Display for Magnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SCHEME}xt=urn:btih:{}", self.info_hash)?;
        if let Some(name) = &self.name {
            f.write_str("&dn=")?;
            for byte in name.bytes() {
                match byte {
                    b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                        f.write_char(byte.into())?;
                    }
                    _ => write!(f, "%{byte:02X}")?,
                }
            }
        }
        if let Some(length) = self.length {
            write!(f, "&xl={length}")?;
        }
        for peer in &self.peers {
            write!(f, "&x.pe={peer}")?;
        }
        for (host, port) in &self.peer_hosts {
            write!(f, "&x.pe={host}:{port}")?;
        }
        for (index, (first, last)) in self.select_only.iter().enumerate() {
            f.write_str(if index == 0 { "&so=" } else { "," })?;
            match first == last {
                true => write!(f, "{first}")?,
                false => write!(f, "{first}-{last}")?,
            }
        }
        Ok(())
    }
}

/// `None` for a topic that is not BitTorrent's.
fn parse_topic(value: &str) -> Option<Result<InfoHash, MagnetError>> {
    let urn = |prefix: &str| {
        let start = value.get(..prefix.len())?;
        start
            .eq_ignore_ascii_case(prefix)
            .then(|| &value[prefix.len()..])
    };
    if let Some(text) = urn("urn:btih:") {
        return Some(parse_info_hash(text).ok_or(MagnetError::BadInfoHash));
    }
    urn("urn:btmh:").map(|_| Err(MagnetError::OnlyV2))
}

/// 40 hexadecimal or 32 base32 digits, in either case.
fn parse_info_hash(text: &str) -> Option<InfoHash> {
    match text.len() {
        40 => text.parse().ok(),
        32 => {
            let bytes = BASE32_NOPAD.decode(text.to_ascii_uppercase().as_bytes());
            InfoHash::from_slice(&bytes.ok()?)
        }
        _ => None,
    }
}

/// `tr.1` is another `tr`.
fn without_number(key: &str) -> &str {
    match key.rsplit_once('.') {
        Some((name, number)) if number.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => key,
    }
}

/// What is no escape stays as it is, and what is not UTF-8 becomes U+FFFD.
fn percent_decoded(text: &str) -> String {
    let hex = |byte: &u8| (*byte as char).to_digit(16);
    let mut rest = text.as_bytes();
    let mut out = Vec::with_capacity(rest.len());
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        let escape = match (byte, after) {
            (b'%', [high, low, after @ ..]) => hex(high).zip(hex(low)).zip(Some(after)),
            _ => None,
        };
        if let Some(((high, low), after)) = escape {
            out.push((high * 16 + low) as u8);
            rest = after;
        } else {
            out.push(*byte);
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// `7` or `6-8`.
fn parse_range(text: &str) -> Option<(u32, u32)> {
    // Not `parse` alone, which allows a plus sign.
    let number = |text: &str| {
        let digits = text.bytes().all(|byte| byte.is_ascii_digit());
        digits.then(|| text.parse::<u32>().ok()).flatten()
    };
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (number(first)?, number(last)?);
    (first <= last).then_some((first, last))
}

/// Sorted, and what overlaps or touches as one.
fn merged(mut ranges: Vec<(u32, u32)>) -> Vec<(u32, u32)> {
    ranges.sort_unstable();
    ranges.dedup_by(|next, kept| {
        let joins = next.0 <= kept.1.saturating_add(1);
        if joins {
            kept.1 = kept.1.max(next.1);
        }
        joins
    });
    ranges.truncate(MAX_RANGES);
    ranges
}

const SCHEME: &str = "magnet:?";
/// Ours: a link is for starting; the swarm tells of more peers.
const MAX_PEERS: usize = 64;
/// Ours: ranges of a selection.
const MAX_RANGES: usize = 10_000;
/// Ours: what can be shown on a screen.
const MAX_NAME: usize = 1024;
/// The longest name that DNS knows.
const MAX_HOST: usize = 253;

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "c12fe1c06bba254a9dc9f519b335aa7c1367a88a";

    fn parse(parameters: &str) -> Magnet {
        format!("magnet:?xt=urn:btih:{HASH}{parameters}")
            .parse()
            .unwrap()
    }

    #[test]
    fn bare_info_hashes_are_links() {
        for text in [HASH, " YEX6DQDLXISUVHOJ6UM3GNNKPQJWPKEK\n"] {
            assert_eq!(text.parse(), Ok(Magnet::new(HASH.parse().unwrap())));
        }
        assert_eq!(HASH[1..].parse::<Magnet>(), Err(MagnetError::NotMagnet));
    }

    #[test]
    fn the_first_good_topic_wins() {
        let other = "0".repeat(40);
        let magnet: Magnet = format!(
            "magnet:?xt=urn:btih:cut&xt=urn:ed2k:x&xt.2=urn:btih:{HASH}&xt=urn:btih:{other}"
        )
        .parse()
        .unwrap();
        assert_eq!(magnet.info_hash.to_string(), HASH);
    }

    #[test]
    fn written_links_read_back() {
        let mut magnet = parse("&xl=10&x.pe=[::1]:6881&x.pe=host.example:1&so=8,6-7,2");
        magnet.name = Some("A b+c é&=%\u{1b}".into());
        let text = magnet.to_string();
        assert!(text.ends_with(
            "&dn=A%20b%2Bc%20%C3%A9%26%3D%25%1B&xl=10&x.pe=[::1]:6881&x.pe=host.example:1&so=2,6-8"
        ));
        assert_eq!(text.parse(), Ok(magnet));
    }

    #[test]
    fn hostile_parameters_are_left_out() {
        for junk in [
            "x.pe=127.0.0.1:0",
            "x.pe=127.0.0.1:65536",
            "x.pe=127.0.0.1",
            "x.pe=:6881",
            "x.pe=[::1:6881",
            "x.pe=a%0Ab:1",
            "x.pe=255.255.255.255:1",
            "x.pe=0.0.0.0:1",
            "so=5-2",
            "so=-1",
            "so=1-",
            "so=a",
            "so=%2B1",
            "so=4294967296",
            "xl=-1",
            "dn=",
            "%",
        ] {
            assert_eq!(parse(&format!("&{junk}")), parse(""), "{junk}");
        }
        let all = parse("&so=0-4294967295&so=3");
        assert_eq!(all.select_only, [(0, u32::MAX)]);
        assert_eq!(parse(&"&x.pe=127.0.0.1:1".repeat(1_000)).peers.len(), 64);
    }
}
