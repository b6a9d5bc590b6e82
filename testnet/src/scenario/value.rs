//! Values as people write them, and what a key takes.
//!
//! [`Takes`] is at once the check, the sentence in an error and the column of the reference, so that
//! the three cannot disagree.

use std::{fmt, time::Duration};

use crate::{scenario::Session, sim::Delay, units::parse_size};

/// One value of a file or of `--set`.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    Text(String),
    Whole(i64),
    Real(f64),
    Flag(bool),
    List(Vec<Self>),
}

impl Value {
    /// What somebody types after `--set key=`: a list where there are commas.
    pub(super) fn typed(text: &str) -> Self {
        if text.contains(',') {
            let parts = text.split(',').map(str::trim);
            return Self::List(parts.filter(|part| !part.is_empty()).map(single).collect());
        }
        single(text.trim())
    }

    /// The values that it varies over: itself if it is no list.
    pub(super) fn each(&self) -> Vec<&Self> {
        match self {
            Self::List(values) => values.iter().collect(),
            single => vec![single],
        }
    }
}

fn single(text: &str) -> Value {
    let digits = text.replace('_', "");
    if let Ok(whole) = digits.parse() {
        return Value::Whole(whole);
    }
    let numeric = text.starts_with(|c: char| c.is_ascii_digit() || ".-+".contains(c));
    match digits.parse::<f64>() {
        Ok(real) if numeric && real.is_finite() => return Value::Real(real),
        _ => {}
    }
    match text {
        "true" => Value::Flag(true),
        "false" => Value::Flag(false),
        _ => Value::Text(text.into()),
    }
}

/// As `--set` takes it and as a gate's `where` names it.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::Whole(whole) => write!(f, "{whole}"),
            Self::Real(real) => write!(f, "{real}"),
            Self::Flag(flag) => write!(f, "{flag}"),
            Self::List(values) => {
                for (at, value) in values.iter().enumerate() {
                    write!(f, "{}{value}", if at == 0 { "" } else { "," })?;
                }
                Ok(())
            }
        }
    }
}

/// What a key takes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Takes {
    /// A whole number.
    Count(u64, u64),
    /// 0 to 1.
    Share,
    /// Any number in a range.
    Number(f64, f64),
    /// A duration in a range of seconds.
    Time(f64, f64),
    /// A duration, or a word for none.
    TimeOr(&'static str),
    /// Bytes.
    Size(u64, u64),
    /// Bytes per second, in times of u or absolute.
    Rate,
    /// As `Rate`, or `stalled`.
    Down,
    /// `true` or `false`.
    Flag,
    /// One of these.
    Word(&'static [&'static str]),
    /// A name that the file itself defines.
    Name,
    /// A delay model or a one-way delay.
    Latency,
    /// A distribution of session lengths.
    Session,
}

impl fmt::Display for Takes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count(least, most) => write!(f, "a whole number, {least} to {most}"),
            Self::Share => f.write_str("a share, 0 to 1"),
            Self::Number(least, most) => write!(f, "a number, {least} to {most}"),
            Self::Time(least, most) => {
                write!(
                    f,
                    "a duration such as \"2min\", {} to {}",
                    span(*least),
                    span(*most)
                )
            }
            Self::TimeOr(word) => write!(f, "a duration such as \"10min\", or \"{word}\""),
            Self::Size(least, most) => {
                write!(f, "a size such as \"64KiB\", {least} to {most} bytes")
            }
            Self::Rate => f.write_str("a rate: \"2x\" (times u), \"4MiB/s\" or \"unlimited\""),
            Self::Down => f.write_str(
                "a rate: \"2x\" (times u), \"4MiB/s\", \"unlimited\", or \"stalled\" for none at all",
            ),
            Self::Flag => f.write_str("true or false"),
            Self::Word(words) => {
                for (at, word) in words.iter().enumerate() {
                    let before = match at {
                        0 => "",
                        at if at + 1 == words.len() => " or ",
                        _ => ", ",
                    };
                    write!(f, "{before}\"{word}\"")?;
                }
                Ok(())
            }
            Self::Name => f.write_str("a name of this file"),
            Self::Latency => f.write_str(
                "\"geo-5\", \"lognormal\", or a one-way delay such as \"20ms\", at most 10s",
            ),
            Self::Session => f.write_str(
                "\"forever\", \"exponential MEDIAN\" or \"weibull SHAPE SCALE\", \
                 such as \"weibull 0.43 473min\"",
            ),
        }
    }
}

/// A value that was given for a key, with what is needed to read it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Given<'a> {
    pub(super) takes: Takes,
    pub(super) value: &'a Value,
    /// u in bytes per second: what `1x` is.
    pub(super) unit: f64,
}

impl Given<'_> {
    pub(super) fn count(self) -> Option<u64> {
        let (Takes::Count(least, most), Value::Whole(whole)) = (self.takes, self.value) else {
            return None;
        };
        let whole = u64::try_from(*whole).ok()?;
        (least..=most).contains(&whole).then_some(whole)
    }

    /// A count whose range fits.
    pub(super) fn small(self) -> Option<u32> {
        self.count().and_then(|count| u32::try_from(count).ok())
    }

    /// A count of things in memory.
    pub(super) fn size(self) -> Option<usize> {
        self.count().and_then(|count| usize::try_from(count).ok())
    }

    pub(super) fn number(self) -> Option<f64> {
        let (least, most) = match self.takes {
            Takes::Share => (0.0, 1.0),
            Takes::Number(least, most) => (least, most),
            _ => return None,
        };
        let number = match self.value {
            Value::Whole(whole) => *whole as f64,
            Value::Real(real) => *real,
            _ => return None,
        };
        (least..=most).contains(&number).then_some(number)
    }

    pub(super) fn time(self) -> Option<Duration> {
        let (least, most) = match self.takes {
            Takes::Time(least, most) => (least, most),
            Takes::TimeOr(_) => (0.0, YEAR),
            _ => return None,
        };
        let time = duration(self.value)?;
        (least..=most).contains(&time.as_secs_f64()).then_some(time)
    }

    /// A duration, or the word for none.
    pub(super) fn time_or_none(self) -> Option<Option<Duration>> {
        match (self.takes, self.value) {
            (Takes::TimeOr(word), Value::Text(text)) if text == word => Some(None),
            _ => self.time().map(Some),
        }
    }

    pub(super) fn bytes(self) -> Option<u64> {
        let Takes::Size(least, most) = self.takes else {
            return None;
        };
        let bytes = match self.value {
            Value::Whole(whole) => u64::try_from(*whole).ok()?,
            Value::Text(text) => parse_size(text).ok()?,
            _ => return None,
        };
        (least..=most).contains(&bytes).then_some(bytes)
    }

    /// Bytes per second; `Some(None)` is without limit.
    pub(super) fn rate(self) -> Option<Option<f64>> {
        let Value::Text(text) = self.value else {
            return None;
        };
        match (self.takes, text.as_str()) {
            (Takes::Rate | Takes::Down, "unlimited") => return Some(None),
            (Takes::Down, "stalled") => return Some(Some(0.0)),
            (Takes::Rate | Takes::Down, _) => {}
            _ => return None,
        }
        if let Some(times) = text.strip_suffix('x') {
            let times: f64 = times.trim().parse().ok()?;
            return (0.0..=1e6)
                .contains(&times)
                .then_some(Some(times * self.unit));
        }
        // A bare `2` would be two bytes a second, which nobody means.
        let size = parse_size(text.strip_suffix("/s")?).ok()?;
        Some(Some(size as f64))
    }

    pub(super) fn flag(self) -> Option<bool> {
        match (self.takes, self.value) {
            (Takes::Flag, Value::Flag(flag)) => Some(*flag),
            _ => None,
        }
    }

    /// The thing that stands where the word does in its list.
    pub(super) fn word<T: Copy>(self, things: &[T]) -> Option<T> {
        let (Takes::Word(words), Value::Text(text)) = (self.takes, self.value) else {
            return None;
        };
        let at = words.iter().position(|word| word == text)?;
        things.get(at).copied()
    }

    pub(super) fn name(self) -> Option<String> {
        match (self.takes, self.value) {
            (Takes::Name, Value::Text(text)) if !text.is_empty() => Some(text.clone()),
            _ => None,
        }
    }

    pub(super) fn latency(self) -> Option<Delay> {
        match self.value {
            Value::Text(text) if text == "geo-5" => Some(Delay::Geo5),
            Value::Text(text) if text == "lognormal" => Some(Delay::Lognormal),
            other => duration(other)
                .filter(|delay| *delay <= Duration::from_secs(10))
                .map(Delay::Constant),
        }
    }

    pub(super) fn session(self) -> Option<Session> {
        let Value::Text(text) = self.value else {
            return None;
        };
        let (kind, rest) = text.trim().split_once(' ').unwrap_or((text, ""));
        let long = |text: &str| {
            let time = humantime::parse_duration(text.trim()).ok()?;
            (1.0..=YEAR).contains(&time.as_secs_f64()).then_some(time)
        };
        match kind {
            "forever" if rest.is_empty() => Some(Session::Forever),
            "exponential" => long(rest).map(|median| Session::Exponential { median }),
            "weibull" => {
                let (shape, scale) = rest.trim().split_once(' ')?;
                let shape: f64 = shape.parse().ok()?;
                let scale = long(scale)?;
                (0.05..=20.0)
                    .contains(&shape)
                    .then_some(Session::Weibull { shape, scale })
            }
            _ => None,
        }
    }
}

pub(super) const YEAR: f64 = 366.0 * 24.0 * 3600.0;

/// `"10min"`, or a bare 0.
fn duration(value: &Value) -> Option<Duration> {
    match value {
        // A capital M would be a month, and who writes it thinks of minutes or of mega.
        Value::Text(text) if text.contains('M') => None,
        Value::Text(text) => humantime::parse_duration(text).ok(),
        Value::Whole(0) => Some(Duration::ZERO),
        _ => None,
    }
}

/// A number of seconds as a file would write it.
fn span(seconds: f64) -> String {
    // A year would be told as 365 days and a quarter.
    if seconds == YEAR {
        return "366days".into();
    }
    let time = Duration::from_secs_f64(seconds);
    humantime::format_duration(time)
        .to_string()
        .replace(' ', "")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(takes: Takes, value: &Value) -> Given<'_> {
        let unit = 100.0;
        Given { takes, value, unit }
    }

    fn text(text: &str) -> Value {
        Value::Text(text.into())
    }

    #[test]
    fn arguments_are_read_as_a_file_would_have_them() {
        let rows = [
            ("35", Value::Whole(35)),
            ("1_000_000", Value::Whole(1_000_000)),
            ("0.5", Value::Real(0.5)),
            ("2x", text("2x")),
            ("true", Value::Flag(true)),
            ("inf", text("inf")),
            ("exponential 10min", text("exponential 10min")),
            ("1,2", Value::List(vec![Value::Whole(1), Value::Whole(2)])),
            ("1,", Value::List(vec![Value::Whole(1)])),
        ];
        for (typed, value) in rows {
            assert_eq!(Value::typed(typed), value, "{typed}");
            let again = value.to_string();
            assert_eq!(Value::typed(&again).each(), value.each(), "{typed}");
        }
    }

    #[test]
    fn rates_are_times_u_or_absolute() {
        let row = |written: &str, takes| given(takes, &text(written)).rate();
        assert_eq!(row("2x", Takes::Rate), Some(Some(200.0)));
        assert_eq!(row("4KiB/s", Takes::Rate), Some(Some(4096.0)));
        assert_eq!(row("unlimited", Takes::Rate), Some(None));
        assert_eq!(row("0x", Takes::Rate), Some(Some(0.0)));
        assert_eq!(row("stalled", Takes::Down), Some(Some(0.0)));
        for bad in ["stalled", "-1x", "x", "2", "2MiB", "fast", "infx"] {
            assert_eq!(row(bad, Takes::Rate), None, "{bad}");
        }
        assert_eq!(given(Takes::Rate, &Value::Whole(2)).rate(), None);
    }

    #[test]
    fn times_and_sessions() {
        let takes = Takes::Time(1.0, 60.0);
        let row = |written: &str| given(takes, &text(written)).time();
        assert_eq!(row("1min"), Some(Duration::from_secs(60)));
        assert_eq!(row("1500ms"), Some(Duration::from_millis(1500)));
        assert_eq!((row("61s"), row("0s"), row("soon")), (None, None, None));
        let row = |written: &str| given(Takes::Session, &text(written)).session();
        let median = Duration::from_secs(600);
        assert_eq!(row("forever"), Some(Session::Forever));
        assert_eq!(
            row("exponential 10min"),
            Some(Session::Exponential { median })
        );
        let scale = Duration::from_secs(473 * 60);
        assert_eq!(
            row("weibull 0.43 473min"),
            Some(Session::Weibull { shape: 0.43, scale })
        );
        for bad in [
            "weibull 473min",
            "exponential",
            "forever 1s",
            "weibull 0 1h",
            "pareto 1h",
        ] {
            assert_eq!(row(bad), None, "{bad}");
        }
    }
}
