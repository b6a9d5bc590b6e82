//! Ids bound to addresses ([BEP 42]): what an attacker can choose once ids are checked.
//!
//! [BEP 42]: https://www.bittorrent.org/beps/bep_0042.html

use std::net::Ipv4Addr;

use mainswarm::ids::NodeId;

/// The id that an address may have whose bits beyond the bound ones are those of `wish`. Of `wish`
/// 21 bits are replaced; the lowest three bits of its last byte choose one of the eight.
pub fn bound_id(ip: Ipv4Addr, wish: &NodeId) -> NodeId {
    let mut id = *wish.as_bytes();
    let choice = u32::from(id[19] & 7);
    let masked = ip.to_bits() & 0x030f_3fff | choice << 29;
    let crc = crc32c(&masked.to_be_bytes());
    id[0] = (crc >> 24) as u8;
    id[1] = (crc >> 16) as u8;
    id[2] = (crc >> 8) as u8 & 0xf8 | id[2] & 7;
    NodeId::new(id)
}

/// Castagnoli's polynomial, bit by bit.
fn crc32c(bytes: &[u8]) -> u32 {
    let step = |crc: u32, _| (crc >> 1) ^ (0x82f6_3b78 & 0u32.wrapping_sub(crc & 1));
    let byte = |crc: u32, byte: &u8| (0..8).fold(crc ^ u32::from(*byte), step);
    !bytes.iter().fold(!0, byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_examples_of_the_specification() {
        // BEP 42's table: address, last byte, the first 21 bits of the id.
        let rows = [
            ([124, 31, 75, 21], 1, [0x5f, 0xbf, 0xbf]),
            ([21, 75, 31, 124], 86, [0x5a, 0x3c, 0xe9]),
            ([65, 23, 51, 170], 22, [0xa5, 0xd4, 0x32]),
            ([84, 124, 73, 14], 65, [0x1b, 0x03, 0x21]),
            ([43, 213, 53, 83], 90, [0xe5, 0x6f, 0x6c]),
        ];
        for (ip, last, head) in rows {
            let mut wish = [0xff; 20];
            wish[2] = head[2];
            wish[19] = last;
            let id = bound_id(ip.into(), &NodeId::new(wish));
            assert_eq!(id.as_bytes()[..3], head, "{ip:?}");
            assert_eq!(id.as_bytes()[3..], wish[3..]);
        }
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
    }
}
