//! Sizes and rates as people type and read them: decimal for `10M`, binary for `10MiB`, and always
//! binary when printed.

const PREFIXES: [&str; 5] = ["", "k", "m", "g", "t"];

/// Reads a size such as `65536`, `10M`, `64MiB` or `1.5GiB`.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let advice = || format!("`{text}` is not a size; write it like 65536, 10M or 64MiB");
    let digits = |c: char| c.is_ascii_digit() || c == '.';
    let unit = text.trim_start_matches(digits);
    let number: f64 = text[..text.len() - unit.len()]
        .parse()
        .map_err(|_| advice())?;
    let unit = unit.trim_start().to_ascii_lowercase();
    let (prefix, base) = match unit.strip_suffix("ib") {
        Some(prefix) if !prefix.is_empty() => (prefix, 1024_f64),
        Some(_) => return Err(advice()),
        None => (unit.strip_suffix('b').unwrap_or(&unit), 1000_f64),
    };
    let power = PREFIXES
        .iter()
        .position(|known| *known == prefix)
        .ok_or_else(advice)?;
    let bytes = number * base.powi(power as i32);
    // 2^53: beyond it a float does not count single bytes.
    if (1.0..9e15).contains(&bytes) {
        Ok(bytes.round() as u64)
    } else {
        Err(format!("`{text}` is out of range; the least is 1 byte"))
    }
}

/// Reads a rate in bytes per second: a size, with or without `/s`.
pub fn parse_rate(text: &str) -> Result<u64, String> {
    parse_size(text.strip_suffix("/s").unwrap_or(text))
}

/// A byte count to read: `64 MiB`, `1.5 GiB`.
pub fn bytes(count: u64) -> String {
    const UNITS: [&str; 6] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
    let (mut value, mut unit) = (count as f64, 0);
    // 1023.95 would print as 1024.0 of the smaller unit.
    while value >= 1023.95 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    let digits = format!("{value:.1}");
    format!("{} {}", digits.trim_end_matches(".0"), UNITS[unit])
}

/// `1 run was not made`, `3 runs were not made`.
pub fn runs_not_made(left: usize) -> String {
    match left {
        1 => "1 run was not made".into(),
        _ => format!("{left} runs were not made"),
    }
}

/// A rate to read: `4 MiB/s`.
pub fn rate(bytes_per_second: u64) -> String {
    format!("{}/s", bytes(bytes_per_second))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_as_typed() {
        let rows = [
            ("65536", 65_536),
            ("10M", 10_000_000),
            ("64MiB", 64 << 20),
            ("64 mib", 64 << 20),
            ("1.5KiB", 1_536),
            ("2kB", 2_000),
            ("7b", 7),
        ];
        for (text, size) in rows {
            assert_eq!(parse_size(text), Ok(size), "{text}");
            assert_eq!(parse_rate(&format!("{text}/s")), Ok(size), "{text}");
        }
        for text in [
            "", "MiB", "1.2.3", "10X", "10ib", "-1", "0", "1e9", "9999999T",
        ] {
            assert!(parse_size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_as_printed() {
        let rows = [
            (0, "0 B"),
            (1_023, "1023 B"),
            (1_024, "1 KiB"),
            (1_536, "1.5 KiB"),
            ((1 << 20) - 1, "1 MiB"),
            (64 << 20, "64 MiB"),
            (u64::MAX, "16384 PiB"),
        ];
        for (count, text) in rows {
            assert_eq!(bytes(count), text);
        }
        assert_eq!(rate(4 << 20), "4 MiB/s");
    }
}
