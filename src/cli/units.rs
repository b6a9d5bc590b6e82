//! Sizes, rates and durations as people type and read them: decimal for `10M`, binary for
//! `10MiB`, and always binary when printed.

use std::time::Duration;

/// Reads a size such as `262144`, `10M`, `10MiB` or `1.5G`.
pub(super) fn parse_size(text: &str) -> Result<u64, String> {
    let advice = || format!("`{text}` is not a size; write it like 262144, 10M, 10MiB or 1.5G");
    let text = text.trim();
    let split = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let number: f64 = number.parse().map_err(|_| advice())?;
    let unit = unit.trim().to_ascii_lowercase();
    let (prefix, base) = match unit.strip_suffix("ib").or_else(|| unit.strip_suffix('i')) {
        Some(prefix) if !prefix.is_empty() => (prefix, 1024_f64),
        _ => (unit.strip_suffix('b').unwrap_or(&unit), 1000_f64),
    };
    let power = match prefix {
        "" => 0,
        "k" => 1,
        "m" => 2,
        "g" => 3,
        "t" => 4,
        _ => return Err(advice()),
    };
    let bytes = number * base.powi(power);
    // 2^53: beyond it a float no longer counts single bytes.
    if !(0.0..9e15).contains(&bytes) {
        return Err(format!("`{text}` is too large"));
    }
    Ok(bytes.round() as u64)
}

/// Reads a rate in bytes per second: a size, with or without `/s`.
pub(super) fn parse_rate(text: &str) -> Result<u64, String> {
    match parse_size(text.strip_suffix("/s").unwrap_or(text))? {
        0 => Err("a rate must be above 0; leave the option out for no limit".to_owned()),
        rate => Ok(rate),
    }
}

/// Reads a piece size: a power of two from 16 KiB to 64 MiB.
pub(super) fn parse_piece_size(text: &str) -> Result<u32, String> {
    let size = parse_size(text)?;
    u32::try_from(size)
        .ok()
        .filter(|size| size.is_power_of_two() && (16 << 10..=64 << 20).contains(size))
        .ok_or_else(|| {
            let near = size.clamp(16 << 10, 64 << 20).next_power_of_two();
            format!(
                "{size} bytes is no piece size; it must be a power of two from 16KiB to 64MiB, \
                 for example {}",
                bytes(near).replace(' ', "").replace(".0", "")
            )
        })
}

/// Reads a duration such as `30s`, `5m`, `2h`, `1h30m`, or plain seconds.
pub(super) fn parse_duration(text: &str) -> Result<Duration, String> {
    let advice = || format!("`{text}` is not a duration; write it like 30s, 5m, 2h or 1h30m");
    let mut rest = text.trim();
    let mut seconds = 0.0;
    if rest.is_empty() {
        return Err(advice());
    }
    while !rest.is_empty() {
        let split = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(rest.len());
        let (number, tail) = rest.split_at(split);
        let number: f64 = number.parse().map_err(|_| advice())?;
        let split = tail
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(split);
        let scale = match unit.trim() {
            "ms" => 0.001,
            "" | "s" | "sec" => 1.0,
            "m" | "min" => 60.0,
            "h" => 3_600.0,
            "d" => 86_400.0,
            _ => return Err(advice()),
        };
        seconds += number * scale;
        rest = tail;
    }
    // A deadline centuries away would overflow the clock's arithmetic.
    if !(0.0..1e9).contains(&seconds) {
        return Err(format!("`{text}` is too long"));
    }
    Ok(Duration::from_secs_f64(seconds))
}

/// A byte count to read: `1.5 GiB`.
pub(super) fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if count < 1024 {
        return format!("{count} B");
    }
    let mut value = count as f64 / 1024.0;
    let mut unit = 0;
    // 1023.95 would print as 1024.0 of the smaller unit.
    while value >= 1023.95 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

/// A rate to read: `1.5 MiB/s`.
pub(super) fn rate(bytes_per_second: f64) -> String {
    format!("{}/s", bytes(bytes_per_second.max(0.0) as u64))
}

/// A time span to read: `850 ms`, `12.3 s`, `4m 05s`, `2h 10m`, `3d 4h`.
pub(super) fn duration(span: Duration) -> String {
    let seconds = span.as_secs();
    match seconds {
        0 => format!("{} ms", span.as_millis()),
        1..60 => format!("{:.1} s", span.as_secs_f64()),
        60..3_600 => format!("{}m {:02}s", seconds / 60, seconds % 60),
        3_600..86_400 => format!("{}h {:02}m", seconds / 3_600, seconds / 60 % 60),
        _ => format!("{}d {}h", seconds / 86_400, seconds / 3_600 % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_as_typed() {
        for (text, expected) in [
            ("0", Some(0)),
            ("262144", Some(262_144)),
            ("10M", Some(10_000_000)),
            ("10MB", Some(10_000_000)),
            ("10MiB", Some(10 << 20)),
            ("10Mi", Some(10 << 20)),
            ("10 mib", Some(10 << 20)),
            ("1.5G", Some(1_500_000_000)),
            ("1.5GiB", Some(3 << 29)),
            ("16k", Some(16_000)),
            ("5B", Some(5)),
            ("", None),
            ("M", None),
            ("-1", None),
            ("1.2.3", None),
            ("10X", None),
            ("10 MiBs", None),
            ("999999999T", None),
            ("iB", None),
            ("5i", None),
        ] {
            assert_eq!(parse_size(text).ok(), expected, "{text}");
        }
        assert_eq!(parse_rate("1MiB/s"), Ok(1 << 20));
        assert!(parse_rate("0").is_err());
    }

    #[test]
    fn piece_sizes_are_powers_of_two() {
        assert_eq!(parse_piece_size("256KiB"), Ok(256 << 10));
        assert_eq!(parse_piece_size("64MiB"), Ok(64 << 20));
        let error = parse_piece_size("1M").unwrap_err();
        assert!(error.ends_with("for example 1MiB"), "{error}");
        for bad in ["0", "8KiB", "128MiB", "100000", "99999999999"] {
            assert!(parse_piece_size(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn durations_as_typed() {
        for (text, expected) in [
            ("30s", Some(30_000)),
            ("30", Some(30_000)),
            ("1h30m", Some(5_400_000)),
            ("1h 30m", Some(5_400_000)),
            ("5m", Some(300_000)),
            ("250ms", Some(250)),
            ("1.5h", Some(5_400_000)),
            ("2d", Some(172_800_000)),
            ("", None),
            ("s", None),
            ("5y", None),
            ("-5s", None),
            ("999999999d", None),
        ] {
            let millis = parse_duration(text).ok().map(|span| span.as_millis());
            assert_eq!(millis, expected, "{text}");
        }
    }

    #[test]
    fn printed_in_binary_units() {
        for (count, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (1_048_575, "1.0 MiB"),
            (3 << 29, "1.5 GiB"),
            (u64::MAX, "16384.0 PiB"),
        ] {
            assert_eq!(bytes(count), text);
        }
        assert_eq!(duration(Duration::from_millis(850)), "850 ms");
        assert_eq!(duration(Duration::from_millis(12_340)), "12.3 s");
        assert_eq!(duration(Duration::from_secs(245)), "4m 05s");
        assert_eq!(duration(Duration::from_secs(7_800)), "2h 10m");
        assert_eq!(rate(-1.0), "0 B/s");
    }
}
