//! Numbers, durations and names as a reader wants them, and escaping for pages and figures.

use std::fmt::Write as _;

/// A figure to three or four significant digits: `1.013`, `26.3`, `1,000,000`; `–` if it is none.
pub(super) fn number(value: f64) -> String {
    let size = value.abs();
    if !value.is_finite() {
        "–".into()
    } else if size == 0.0 {
        "0".into()
    } else if !(1e-4..1e15).contains(&size) {
        format!("{value:.2e}")
    } else if size >= 999.5 {
        thousands(value)
    } else if size >= 99.95 {
        trimmed(format!("{value:.1}"))
    } else if size >= 9.995 {
        trimmed(format!("{value:.2}"))
    } else if size >= 0.1 {
        trimmed(format!("{value:.3}"))
    } else {
        trimmed(format!("{value:.5}"))
    }
}

/// Without zeros that say nothing.
pub(super) fn trimmed(digits: String) -> String {
    if digits.contains('.') {
        digits
            .trim_end_matches('0')
            .trim_end_matches('.')
            .to_string()
    } else {
        digits
    }
}

/// `1,000,000`.
pub(super) fn thousands(value: f64) -> String {
    let digits = format!("{:.0}", value.abs());
    let mut out = String::from(if value < 0.0 { "−" } else { "" });
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// The unit that a span of seconds reads best in.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct TimeUnit {
    /// `s`, `min`, `h`.
    pub(super) name: &'static str,
    /// How many seconds it has.
    pub(super) seconds: f64,
}

impl TimeUnit {
    /// For times up to `longest` seconds.
    pub(super) fn of(longest: f64) -> Self {
        let (name, seconds) = if longest <= 300.0 {
            ("s", 1.0)
        } else if longest <= 4.0 * 3600.0 {
            ("min", 60.0)
        } else {
            ("h", 3600.0)
        };
        Self { name, seconds }
    }
}

/// `46.7 min`.
pub(super) fn duration(seconds: f64) -> String {
    if seconds.is_finite() && seconds.abs() < 1.0 && seconds != 0.0 {
        return format!("{} ms", number(seconds * 1000.0));
    }
    let unit = TimeUnit::of(seconds);
    let digits = number(seconds / unit.seconds);
    format!("{digits} {}", unit.name)
}

/// From how many to how many: `3`, or `2 to 3`.
pub(super) fn range(least: usize, most: usize) -> String {
    match least == most {
        true => most.to_string(),
        false => format!("{least} to {most}"),
    }
}

/// Text for HTML and XML, in content and in attributes. What XML cannot hold becomes `�`.
pub(super) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            other => out.push(printable(other)),
        }
    }
    out
}

/// XML 1.0 has no place for most control characters, not even escaped.
pub(super) fn printable(c: char) -> char {
    match c {
        '\t' | '\n' => c,
        '\u{fffe}' | '\u{ffff}' => '\u{fffd}',
        c if c.is_control() => '\u{fffd}',
        c => c,
    }
}

/// At most so many characters, with `…` for what is left out.
pub(super) fn shortened(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_string();
    }
    let head: String = text.chars().take(most.saturating_sub(1)).collect();
    format!("{}…", head.trim_end())
}

/// A relative address for a link: everything but plain characters percent-encoded.
pub(super) fn link(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

/// The number that a setting's value begins with, in SI units: `10k`, `0.4`, `30min`, `20ms`, `2x`.
/// `None` if it is a word or has a unit that is not known.
pub(super) fn value_of(setting: &str) -> Option<f64> {
    let text = setting.trim().trim_matches('"').replace('_', "");
    let end = text
        .char_indices()
        .find(|(index, c)| {
            let exponent = (*c == 'e' || *c == 'E')
                && text[index + 1..].starts_with(|next: char| next.is_ascii_digit() || next == '-');
            !(c.is_ascii_digit() || *c == '.' || *c == '-' || exponent)
        })
        .map_or(text.len(), |(index, _)| index);
    let number: f64 = text[..end].parse().ok()?;
    let unit = text[end..].trim().trim_end_matches("/s");
    let factor = match unit {
        "" | "x" | "s" | "B" | "%" => 1.0,
        "ms" => 1e-3,
        "us" | "µs" => 1e-6,
        "min" | "m" => 60.0,
        "h" => 3600.0,
        "d" => 86_400.0,
        "k" | "kB" => 1e3,
        "M" | "MB" => 1e6,
        "G" | "GB" => 1e9,
        "KiB" | "Ki" => 1024.0,
        "MiB" | "Mi" => 1024.0 * 1024.0,
        "GiB" | "Gi" => 1024.0 * 1024.0 * 1024.0,
        _ => return None,
    };
    Some(number * factor).filter(|value| value.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_to_read() {
        let rows = [
            (1.0, "1"),
            (1.0134, "1.013"),
            (0.0134, "0.0134"),
            (26.312, "26.31"),
            (123.45, "123.5"),
            (1_000_000.0, "1,000,000"),
            (-4_321.0, "−4,321"),
            (999.7, "1,000"),
            (0.0, "0"),
            (1e18, "1.00e18"),
            (f64::NAN, "–"),
            (f64::INFINITY, "–"),
        ];
        for (value, text) in rows {
            assert_eq!(number(value), text);
        }
    }

    #[test]
    fn durations_to_read() {
        assert_eq!(duration(0.0123), "12.3 ms");
        assert_eq!(duration(2.0), "2 s");
        assert_eq!(duration(2800.0), "46.67 min");
        assert_eq!(duration(36_000.0), "10 h");
        assert_eq!(duration(f64::NAN), "– h");
        assert_eq!((range(3, 3), range(2, 3)), ("3".into(), "2 to 3".into()));
    }

    #[test]
    fn nothing_gets_through_unescaped() {
        assert_eq!(escape("<b>&\"'"), "&lt;b&gt;&amp;&quot;&#39;");
        assert_eq!(escape("a\u{0}b\u{1b}"), "a\u{fffd}b\u{fffd}");
        assert_eq!(link("a b/<c>?#%.svg"), "a%20b/%3Cc%3E%3F%23%25.svg");
    }

    #[test]
    fn lines_have_a_width() {
        assert_eq!(shortened("free-rider", 6), "free-…");
    }

    #[test]
    fn settings_are_numbers() {
        let rows = [
            ("35", Some(35.0)),
            ("0.4", Some(0.4)),
            ("1_000_000", Some(1e6)),
            ("1e6", Some(1e6)),
            ("10k", Some(1e4)),
            ("30min", Some(1800.0)),
            ("20ms", Some(0.02)),
            ("4x", Some(4.0)),
            ("4MiB/s", Some(4_194_304.0)),
            ("off", None),
            ("rarest-first", None),
            ("3 apples", None),
            ("", None),
        ];
        for (text, value) in rows {
            assert_eq!(value_of(text), value, "{text}");
        }
    }
}
