//! A set of pieces in wire order: the high bit of byte 0 is piece 0 (BEP 3).
//!
//! The length is fixed when the set is made; the count is kept, so "complete" is O(1).

/// A fixed-length set of piece indexes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bitfield {
    bytes: Box<[u8]>,
    len: u32,
    ones: u32,
}

impl Bitfield {
    /// The empty set of `len` possible pieces.
    pub fn empty(len: u32) -> Self {
        Self {
            bytes: vec![0; len.div_ceil(8) as usize].into(),
            len,
            ones: 0,
        }
    }

    /// The full set of `len` pieces.
    pub fn full(len: u32) -> Self {
        let mut bytes = vec![0xff; len.div_ceil(8) as usize];
        if let (Some(last), spare @ 1..) = (bytes.last_mut(), (8 - len % 8) % 8) {
            *last <<= spare;
        }
        Self {
            bytes: bytes.into(),
            len,
            ones: len,
        }
    }

    /// Reads the wire form. `None` if the length is wrong or a spare bit is set (BEP 3: such a
    /// connection should be dropped).
    pub fn from_bytes(bytes: &[u8], len: u32) -> Option<Self> {
        if bytes.len() != len.div_ceil(8) as usize {
            return None;
        }
        let spare = (8 - len % 8) % 8;
        if bytes
            .last()
            .is_some_and(|last| last & ((1u16 << spare) - 1) as u8 != 0)
        {
            return None;
        }
        let ones = bytes.iter().map(|byte| byte.count_ones()).sum();
        Some(Self {
            bytes: bytes.into(),
            len,
            ones,
        })
    }

    /// The wire form.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// How many pieces there could be.
    pub fn len(&self) -> u32 {
        self.len
    }

    /// Whether the set can hold no piece at all (a torrent without content).
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How many pieces are in the set.
    pub fn count_ones(&self) -> u32 {
        self.ones
    }

    /// Whether every piece is in the set.
    pub fn is_full(&self) -> bool {
        self.ones == self.len
    }

    /// Whether `index` is in the set; `false` beyond the end.
    pub fn get(&self, index: u32) -> bool {
        index < self.len && self.bytes[(index / 8) as usize] & (0x80 >> (index % 8)) != 0
    }

    /// Adds `index`; says whether it was new. Beyond the end nothing happens.
    pub fn set(&mut self, index: u32) -> bool {
        if index >= self.len || self.get(index) {
            return false;
        }
        self.bytes[(index / 8) as usize] |= 0x80 >> (index % 8);
        self.ones += 1;
        true
    }

    /// Removes `index`; says whether it was there.
    pub fn clear(&mut self, index: u32) -> bool {
        if !self.get(index) {
            return false;
        }
        self.bytes[(index / 8) as usize] &= !(0x80 >> (index % 8));
        self.ones -= 1;
        true
    }

    /// The indexes in the set, in order.
    pub fn ones(&self) -> impl Iterator<Item = u32> + '_ {
        self.bytes.iter().enumerate().flat_map(|(at, byte)| {
            let byte = *byte;
            (0..8)
                .filter(move |bit| byte & (0x80 >> bit) != 0)
                .map(move |bit| at as u32 * 8 + bit)
        })
    }

    /// Whether `self` holds a piece that `other` lacks.
    ///
    /// # Panics
    /// If the two sets are of different lengths.
    pub fn has_more_than(&self, other: &Bitfield) -> bool {
        assert_eq!(
            self.len, other.len,
            "bitfields of one torrent have one length"
        );
        self.bytes
            .iter()
            .zip(&other.bytes)
            .any(|(ours, theirs)| ours & !theirs != 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wire_order_and_count() {
        let mut set = Bitfield::empty(10);
        assert!(set.set(0) && set.set(9) && !set.set(9) && !set.set(10));
        assert_eq!(set.as_bytes(), [0x80, 0x40]);
        assert_eq!(set.ones().collect::<Vec<_>>(), [0, 9]);
        assert!(set.clear(0) && !set.clear(0));
        assert_eq!(set.count_ones(), 1);
    }

    #[test]
    fn full_leaves_spare_bits_clear() {
        for len in [0, 1, 7, 8, 9, 16, 17] {
            let full = Bitfield::full(len);
            assert!(full.is_full());
            assert_eq!(full.ones().count(), len as usize);
            assert_eq!(Bitfield::from_bytes(full.as_bytes(), len), Some(full));
        }
    }

    #[test]
    fn wrong_length_and_spare_bits_are_refused() {
        assert_eq!(Bitfield::from_bytes(&[0xff], 9), None);
        assert_eq!(Bitfield::from_bytes(&[0xff, 0xc0], 9), None);
        assert!(Bitfield::from_bytes(&[0xff, 0x80], 9).unwrap().is_full());
        assert!(Bitfield::from_bytes(&[], 0).unwrap().is_full());
    }

    #[test]
    fn comparing_sets() {
        let (mut a, mut b) = (Bitfield::empty(20), Bitfield::empty(20));
        a.set(3);
        assert!(a.has_more_than(&b) && !b.has_more_than(&a));
        b.set(3);
        assert!(!a.has_more_than(&b));
    }
}
