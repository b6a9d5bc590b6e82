//! The allowed-fast set of BEP 6: the pieces that a peer may fetch while choked.
//!
//! It depends only on the peer's address and the torrent, so a peer gains nothing by coming back.

use std::net::Ipv4Addr;

use sha1::{Digest, Sha1};

use crate::{ids::InfoHash, metainfo::PieceIndex};

/// The first `k` pieces (all, if there are fewer) of the sequence that BEP 6 draws for a peer at
/// `ip`, in that order. BEP 6 defines it for IPv4 only.
pub fn allowed_fast_set(
    ip: Ipv4Addr,
    info_hash: &InfoHash,
    pieces: u32,
    k: usize,
) -> Vec<PieceIndex> {
    let k = k.min(pieces as usize);
    let mut set = Vec::with_capacity(k);
    let [a, b, c, _] = ip.octets();
    // The last byte is left out: neighbours in one /24 share a set.
    let first = Sha1::new().chain_update([a, b, c, 0]);
    let mut digest: [u8; 20] = first.chain_update(info_hash.as_bytes()).finalize().into();
    while set.len() < k {
        let (numbers, _) = digest.as_chunks::<4>();
        for number in numbers {
            let piece = PieceIndex(u32::from_be_bytes(*number) % pieces);
            if set.len() < k && !set.contains(&piece) {
                set.push(piece);
            }
        }
        digest = Sha1::digest(digest).into();
    }
    set
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_when_there_are_fewer_pieces_than_asked_for() {
        let set = |pieces, k| {
            let set = allowed_fast_set([127, 0, 0, 1].into(), &InfoHash::new([0; 20]), pieces, k);
            set.into_iter().map(|piece| piece.0).collect::<Vec<_>>()
        };
        assert_eq!(set(0, 10), []);
        assert_eq!(set(1, 10), [0]);
        assert_eq!(set(10, 10), [9, 5, 0, 6, 8, 3, 4, 1, 2, 7]);
        assert_eq!(set(1_000, 0), []);
    }
}
