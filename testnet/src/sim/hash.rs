//! Fixed arithmetic in place of randomness: the same on every machine, in every order of threads.

/// A bijective scramble of 64 bits (the finalizer of SplitMix64).
pub(crate) const fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

/// A draw that depends on all of `words` and their order.
pub(crate) fn draw(words: &[u64]) -> u64 {
    words.iter().fold(0, |hash, word| mix(hash ^ word))
}

/// A seed for a core's generator.
pub(crate) fn seed_bytes(words: &[u64]) -> [u8; 32] {
    let base = draw(words);
    let mut seed = [0; 32];
    for (at, chunk) in (1u64..).zip(seed.chunks_exact_mut(8)) {
        chunk.copy_from_slice(&mix(base ^ mix(at)).to_le_bytes());
    }
    seed
}

/// A number in 0..1 from the upper bits of a draw.
pub(crate) fn unit(draw: u64) -> f64 {
    (draw >> 11) as f64 / (1u64 << 53) as f64
}

/// An exponentially distributed number with median 1.
pub(crate) fn exponential(draw: u64) -> f64 {
    -log2(1.0 - unit(draw))
}

/// The logarithm of a positive number by the four basic operations alone.
pub(crate) fn log2(of: f64) -> f64 {
    // The exponent, then the mantissa's logarithm bit by bit.
    let (mut rest, mut log) = (of, 0.0);
    while rest < 1.0 {
        rest *= 2.0;
        log -= 1.0;
    }
    while rest >= 2.0 {
        rest /= 2.0;
        log += 1.0;
    }
    let mut weight = 1.0;
    for _ in 0..40 {
        weight /= 2.0;
        rest *= rest;
        if rest >= 2.0 {
            rest /= 2.0;
            log += weight;
        }
    }
    log
}

/// A positive number to any power, by the four basic operations alone; 0 to a positive power is 0.
pub(crate) fn power(base: f64, exponent: f64) -> f64 {
    if base <= 0.0 {
        return 0.0;
    }
    let log = (log2(base) * exponent).clamp(-1_000.0, 1_000.0);
    // 2^log: the whole part by doubling, the rest by the power series of e^x.
    let whole = log as i32;
    let rest = (log - f64::from(whole)) * std::f64::consts::LN_2;
    let series = (1..20)
        .rev()
        .fold(1.0, |sum, n| 1.0 + sum * rest / f64::from(n));
    let factor = if whole < 0 { 0.5 } else { 2.0 };
    (0..whole.abs()).fold(series, |power, _| power * factor)
}

/// The fingerprint of a run: every delivery's time, ends and bytes.
///
/// Deliveries are hashed one by one and summed, so that the fingerprint does not depend on the
/// order in which shards of a world report deliveries that happen at the same time.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Trace(u64);

impl Trace {
    pub(crate) fn add(&mut self, time: u64, from: u32, to: u32, bytes: &[u8]) {
        let mut hash = mix(time) ^ (u64::from(from) << 32 | u64::from(to));
        let mut words = bytes.chunks_exact(8);
        for word in &mut words {
            let word = u64::from_le_bytes(word.try_into().unwrap_or_default());
            hash = (hash ^ word)
                .wrapping_mul(0x9e37_79b9_7f4a_7c15)
                .rotate_left(29);
        }
        let rest = words
            .remainder()
            .iter()
            .fold(0u64, |rest, byte| rest << 8 | u64::from(*byte));
        let hash = mix(hash ^ rest ^ (bytes.len() as u64) << 56);
        self.0 = self.0.wrapping_add(hash);
    }

    /// The deliveries of both.
    pub(crate) fn and(self, other: Self) -> Self {
        Self(self.0.wrapping_add(other.0))
    }

    pub(crate) fn value(self) -> u64 {
        mix(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_of_a_delivery_counts() {
        let of = |time, from, to, bytes: &[u8]| {
            let mut trace = Trace::default();
            trace.add(time, from, to, bytes);
            trace.value()
        };
        let base = of(1, 2, 3, b"0123456789");
        assert_eq!(base, of(1, 2, 3, b"0123456789"));
        for other in [
            of(2, 2, 3, b"0123456789"),
            of(1, 3, 2, b"0123456789"),
            of(1, 2, 3, b"0123456780"),
            of(1, 2, 3, b"1123456789"),
            of(1, 2, 3, b"0123456789\0"),
            of(1, 2, 3, b""),
        ] {
            assert_ne!(base, other);
        }
    }

    #[test]
    fn exponential_draws_follow_the_logarithm() {
        for n in 0..1_000 {
            let draw = mix(n);
            let expected = -(1.0 - unit(draw)).log2();
            assert!((exponential(draw) - expected).abs() < 1e-9, "{n}");
        }
    }

    #[test]
    fn powers_are_right() {
        for (base, exponent) in [
            (2.0, 10.0),
            (3.7, -2.5),
            (1e-6, 0.3),
            (8e9, 2.3256),
            (1.0, 99.0),
        ] {
            let expected: f64 = f64::powf(base, exponent);
            assert!(
                (power(base, exponent) / expected - 1.0).abs() < 1e-9,
                "{base}^{exponent}"
            );
        }
        assert_eq!(power(0.0, 1.3), 0.0);
        assert!((log2(1e6) - 1e6f64.log2()).abs() < 1e-9);
    }

    #[test]
    fn the_numbers_are_pinned() {
        // They must be the same on every machine: SplitMix64's published first output for seed 0.
        assert_eq!(mix(0), 0xe220_a839_7b1d_cdaf);
        assert_ne!(seed_bytes(&[1, 2]), seed_bytes(&[2, 1]));
        assert!((0..1000).all(|n| (0.0..1.0).contains(&unit(mix(n)))));
    }
}
