//! Node ids bound to addresses ([BEP 42]), so that nobody can choose a place next to a key.
//!
//! The first 21 bits of an id follow from its node's IP address and three bits of the last byte:
//! an address leaves a choice of eight places in the key space. [`bind`] makes such an id,
//! [`conforms`] checks one. Which address we have ourselves others tell us, in the `ip` of their
//! replies; the majority of ten parts of the network is believed. What follows from an id
//! that does not conform is an [`IdCheck`]; nobody is refused service for it.
//!
//! [BEP 42]: https://www.bittorrent.org/beps/bep_0042.html

use std::{fmt, net::IpAddr, str::FromStr};

use crc::{CRC_32_ISCSI, Crc};

use crate::ids::NodeId;

/// What is made of ids that do not follow from their nodes' addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum IdCheck {
    /// Nothing.
    Off,
    /// Nodes whose ids conform come first in storing, in ending a lookup and in full buckets, as
    /// long as most of the network's do.
    #[default]
    Prefer,
    /// Only nodes whose ids conform are stored on, end a lookup and enter the table.
    Enforce,
}

impl IdCheck {
    /// The word used on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Prefer => "prefer",
            Self::Enforce => "enforce",
        }
    }
}

impl fmt::Display for IdCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for IdCheck {
    type Err = UnknownIdCheck;

    fn from_str(text: &str) -> Result<Self, UnknownIdCheck> {
        [Self::Off, Self::Prefer, Self::Enforce]
            .into_iter()
            .find(|check| check.name() == text)
            .ok_or(UnknownIdCheck)
    }
}

/// The text names no way to check ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("unknown way to check ids; use `off`, `prefer` or `enforce`")]
pub struct UnknownIdCheck;

/// BEP 42: CRC32C (Castagnoli), which the catalogue of checksums lists under iSCSI.
const CRC32C: Crc<u32> = Crc::<u32>::new(&CRC_32_ISCSI);

/// BEP 42: which bits of an address count. The higher a bit, the dearer are addresses that differ
/// in it.
const MASK_V4: [u8; 4] = [0x03, 0x0f, 0x3f, 0xff];
const MASK_V6: [u8; 8] = [0x01, 0x03, 0x07, 0x0f, 0x1f, 0x3f, 0x7f, 0xff];

/// BEP 42: the number `r`, of which an address may choose, is the lower three bits of the id's last
/// byte.
const CHOICES: u8 = 8;

/// BEP 42: the last of the 21 bits is the fifth of the third byte.
const THIRD_BYTE: u8 = 0xf8;

/// The id for an address whose free bits are those of `wish`: 21 bits are replaced.
pub fn bind(ip: &IpAddr, wish: NodeId) -> NodeId {
    let mut id = *wish.as_bytes();
    let [a, b, c, _] = prefix(ip, id[19]).to_be_bytes();
    id[0] = a;
    id[1] = b;
    id[2] = c & THIRD_BYTE | id[2] & !THIRD_BYTE;
    NodeId::new(id)
}

/// Whether an address may have this id. Local addresses may have any.
pub fn conforms(ip: &IpAddr, id: &NodeId) -> bool {
    let [a, b, c, ..] = *id.as_bytes();
    let id_head = u32::from_be_bytes([a, b, c & THIRD_BYTE, 0]);
    is_exempt(ip) || prefix(ip, id.as_bytes()[19]) & 0xffff_f800 == id_head
}

/// BEP 42: `crc32c((ip & mask) | (r << 29))` for IPv4, and the same of the upper half of an IPv6
/// address.
fn prefix(ip: &IpAddr, last: u8) -> u32 {
    let choice = (last % CHOICES) << 5;
    match ip.to_canonical() {
        IpAddr::V4(ip) => masked_crc(ip.octets(), MASK_V4, choice),
        IpAddr::V6(ip) => {
            let [a, b, c, d, e, f, g, h, ..] = ip.octets();
            masked_crc([a, b, c, d, e, f, g, h], MASK_V6, choice)
        }
    }
}

fn masked_crc<const N: usize>(mut bytes: [u8; N], mask: [u8; N], choice: u8) -> u32 {
    for (byte, mask) in bytes.iter_mut().zip(mask) {
        *byte &= mask;
    }
    bytes[0] |= choice;
    CRC32C.checksum(&bytes)
}

/// BEP 42: "Any peer on a local network address is exempt". Its list of IPv4 blocks, and the same
/// kinds of IPv6 addresses: loopback, unique local, link-local.
fn is_exempt(ip: &IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => ip.is_private() || ip.is_link_local() || ip.is_loopback(),
        IpAddr::V6(ip) => ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local(),
    }
}

/// What others say our address is.
///
/// A part of the network, a /16 or in IPv6 a /32, has one vote: its latest. One that can lie under
/// many addresses of a part gains nothing, and a majority of ten parts is beyond a few liars. While
/// fewer than ten have spoken, nothing is believed: an id that does not conform costs little, and
/// who is alone with liars at its start must not let them choose its place.
#[derive(Debug, Default)]
pub(super) struct Votes {
    /// What most believe, and we, too.
    settled: Option<IpAddr>,
    /// Nothing is kept while all agree.
    open: Vec<(Part, IpAddr)>,
    /// Another address that won, and how often in a row.
    challenger: Option<(IpAddr, u8)>,
}

/// Ours: how many parts of the network must have spoken. libtorrent believes a majority of
/// addresses after some dozen votes; ten /16s are harder to own.
const MIN_VOTES: usize = 10;

/// Ours: the oldest vote leaves when there are more, so that a new address wins in time.
const MAX_VOTES: usize = 16;

/// Ours: elections in a row that another address must win. A new address is a new id, a table to
/// be built again, and a place to be found again: half of the network lying, or a host behind two
/// addresses, must not bring that about with every few answers.
const CHALLENGES: u8 = 4;

/// A part of the network: a /16, or in IPv6 a /32, as its providers are given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Part {
    V4([u8; 2]),
    V6([u8; 4]),
}

impl Part {
    pub(super) fn of(ip: &IpAddr) -> Self {
        match ip.to_canonical() {
            IpAddr::V4(ip) => {
                let [a, b, ..] = ip.octets();
                Self::V4([a, b])
            }
            IpAddr::V6(ip) => {
                let [a, b, c, d, ..] = ip.octets();
                Self::V6([a, b, c, d])
            }
        }
    }
}

impl Votes {
    /// An address known from elsewhere.
    pub(super) fn settle(&mut self, ip: IpAddr) {
        *self = Self {
            settled: Some(ip),
            ..Self::default()
        };
    }

    /// Our address, if it is known.
    pub(super) fn settled(&self) -> Option<IpAddr> {
        self.settled
    }

    /// How many parts of the network have spoken since it was last settled.
    pub(super) fn open(&self) -> usize {
        self.open.len()
    }

    /// Somebody says that we have this address. Returns it if that makes it a new one.
    pub(super) fn add(&mut self, voter: &IpAddr, ip: IpAddr) -> Option<IpAddr> {
        let ip = ip.to_canonical();
        if is_exempt(&ip) || self.open.is_empty() && self.settled == Some(ip) {
            return None;
        }
        let part = Part::of(voter);
        self.open.retain(|(known, _)| *known != part);
        if self.open.len() == MAX_VOTES {
            self.open.remove(0);
        }
        self.open.push((part, ip));
        if self.open.len() < MIN_VOTES {
            return None;
        }
        let agreed = |ip: &IpAddr| 2 * self.open.iter().filter(|(_, vote)| vote == ip).count();
        let (_, winner) = self
            .open
            .iter()
            .find(|(_, vote)| agreed(vote) > self.open.len())?;
        let winner = *winner;
        let lead = match self.challenger {
            Some((challenger, won)) if challenger == winner => won + 1,
            _ => 1,
        };
        if self.settled.is_some_and(|settled| settled != winner) && lead < CHALLENGES {
            self.challenger = Some((winner, lead));
            self.open.clear();
            return None;
        }
        let changed = self.settled != Some(winner);
        self.settle(winner);
        changed.then_some(winner)
    }
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng, rngs::StdRng};

    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn the_checksum_is_castagnolis() {
        assert_eq!(CRC32C.checksum(b"123456789"), 0xe306_9283);
    }

    #[test]
    fn what_is_bound_conforms_and_nothing_near_it_does() {
        for address in ["124.31.75.21", "2a00:1450:4001::5", "::ffff:124.31.75.21"] {
            let address = ip(address);
            let mut prefixes = std::collections::BTreeSet::new();
            for last in 0..=255 {
                let mut wish = [0x5a; 20];
                wish[19] = last;
                let id = bind(&address, NodeId::new(wish));
                assert!(conforms(&address, &id));
                assert_eq!(id.as_bytes()[3..], wish[3..]);
                prefixes.insert(id.as_bytes()[..3].to_vec());
                for bit in 0..21 {
                    assert!(!conforms(&address, &id.with_bit(bit, !id.bit(bit))));
                }
                for bit in 21..157 {
                    assert!(conforms(&address, &id.with_bit(bit, !id.bit(bit))));
                }
            }
            assert_eq!(prefixes.len(), 8, "eight places and no more");
        }
        assert_eq!(
            bind(&ip("::ffff:1.2.3.4"), NodeId::new([7; 20])),
            bind(&ip("1.2.3.4"), NodeId::new([7; 20]))
        );
    }

    #[test]
    fn local_addresses_may_have_any_id() {
        let id = NodeId::new([0xee; 20]);
        for local in [
            "10.1.2.3",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.7.7",
            "169.254.1.1",
            "127.0.0.1",
            "::1",
            "fd00::1",
            "fe80::1",
            "::ffff:10.0.0.1",
        ] {
            assert!(conforms(&ip(local), &id), "{local}");
        }
        for global in ["172.32.0.1", "11.0.0.1", "192.169.0.1", "2a00::1"] {
            assert!(!conforms(&ip(global), &id), "{global}");
        }
    }

    #[test]
    fn a_majority_of_ten_parts_settles_the_address() {
        let mut votes = Votes::default();
        let (own, lie) = (ip("81.2.3.4"), ip("66.6.6.6"));
        for n in 0..200 {
            // All of one part of the network: one vote.
            assert_eq!(votes.add(&ip(&format!("20.1.0.{n}")), lie), None);
            assert_eq!(votes.add(&ip(&format!("20.2.0.{n}")), ip("10.0.0.1")), None);
        }
        assert_eq!(votes.open(), 1);
        for n in 0..8 {
            assert_eq!(votes.add(&ip(&format!("30.{n}.0.1")), own), None);
        }
        assert_eq!(votes.add(&ip("31.0.0.1"), own), Some(own));
        assert_eq!((votes.settled(), votes.open()), (Some(own), 0));
        assert_eq!(votes.add(&ip("32.0.0.1"), own), None);
        assert_eq!(votes.open(), 0, "nothing is kept while all agree");
        // Not even half of liars, in any order, make us change to and fro; a true change does it once.
        let mut rng = StdRng::seed_from_u64(1);
        let mut changes = 0;
        for n in 0..10_000 {
            let vote = if rng.random_bool(0.4) { lie } else { own };
            let voter = ip(&format!("{}.{}.0.1", 40 + n / 250, n % 250));
            changes += u32::from(votes.add(&voter, vote).is_some());
        }
        assert!(changes < 40, "{changes}");
        votes.settle(own);
        let next = ip("81.9.9.9");
        let needed = MIN_VOTES * usize::from(CHALLENGES);
        let changed = (0..needed).find_map(|n| votes.add(&ip(&format!("50.{n}.0.1")), next));
        assert_eq!((changed, votes.settled()), (Some(next), Some(next)));
    }

    #[test]
    fn words_go_both_ways() {
        for check in [IdCheck::Off, IdCheck::Prefer, IdCheck::Enforce] {
            assert_eq!(check.to_string().parse(), Ok(check));
        }
        assert_eq!("on".parse::<IdCheck>(), Err(UnknownIdCheck));
    }
}
