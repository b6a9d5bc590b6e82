//! Axes: where they begin and end, and which round numbers stand at them.

use super::text::{number, shortened, trimmed};

/// Nothing beyond is drawn: sums and differences of what is left stay finite.
const LARGEST: f64 = 1e300;

/// One axis of a plot.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Axis {
    /// What it measures, with the unit: `time since joining [min]`.
    pub(super) title: String,
    /// Its ends, as drawn: logarithms on a logarithmic axis.
    pub(super) ends: (f64, f64),
    /// Where a number stands, as drawn, and the number.
    pub(super) ticks: Vec<(f64, String)>,
    /// Whether lines lead from the numbers through the plot.
    pub(super) grid: bool,
    log: bool,
}

impl Axis {
    /// From one number to another.
    pub(super) fn linear(title: &str, low: f64, high: f64) -> Self {
        let (low, high) = sane(low, high);
        Self::stepped(title, (low, high), nice_step((high - low) / 6.5))
    }

    fn stepped(title: &str, (low, high): (f64, f64), step: f64) -> Self {
        let first = (low / step - 1e-6).ceil();
        let ticks = (0..12)
            .map(|index| (first + f64::from(index)) * step)
            .take_while(|value| *value <= high + step * 1e-6)
            .map(|value| (value, tick_text(value, step)))
            .collect();
        Self {
            title: title.into(),
            ends: (low, high),
            ticks,
            grid: true,
            log: false,
        }
    }

    /// From zero to the round number above `high`.
    pub(super) fn from_zero(title: &str, high: f64) -> Self {
        let (_, high) = sane(0.0, high);
        let step = nice_step(high / 6.5);
        Self::stepped(title, (0.0, (high / step - 1e-6).ceil() * step), step)
    }

    /// From zero to the round number above `high`, in whole numbers.
    pub(super) fn counts(title: &str, high: f64) -> Self {
        let (_, high) = sane(0.0, high);
        let step = match nice_step(high / 6.5) {
            step if step < 1.0 => 1.0,
            2.5 => 5.0,
            step => step,
        };
        Self::stepped(
            title,
            (0.0, (high / step - 1e-6).ceil().max(1.0) * step),
            step,
        )
    }

    /// From 0 to 1, written in per cent.
    pub(super) fn share(title: &str) -> Self {
        let mut axis = Self::linear(&format!("{title} [%]"), 0.0, 1.0);
        for (value, text) in &mut axis.ticks {
            *text = number((*value * 100.0).round());
        }
        axis
    }

    /// Decades from the one below `low` to the one above `high`; both must be positive.
    pub(super) fn log(title: &str, low: f64, high: f64) -> Self {
        let low = if drawable(low) && low > 1e-290 {
            low
        } else {
            1.0
        };
        let apart = drawable(high) && high > low * (1.0 + 1e-9);
        let high = if apart { high } else { low * 10.0 };
        let ends = (low.log10(), high.log10());
        let (first, last) = (ends.0.floor() as i32, ends.1.ceil() as i32);
        let every = (last - first).max(1).unsigned_abs().div_ceil(7);
        let within: &[f64] = if last - first <= 3 {
            &[1.0, 2.0, 5.0]
        } else {
            &[1.0]
        };
        let ticks = (first..=last)
            .step_by(every as usize)
            .flat_map(|decade| within.iter().map(move |part| (decade, *part)))
            .map(|(decade, part)| {
                (
                    f64::from(decade) + part.log10(),
                    number(part * 10f64.powi(decade)),
                )
            })
            .filter(|(place, _)| *place >= ends.0 - 1e-6 && *place <= ends.1 + 1e-6)
            .collect();
        Self {
            title: title.into(),
            ends,
            ticks,
            grid: true,
            log: true,
        }
    }

    /// One place for each name, from 0.5 on in steps of 1.
    pub(super) fn names(title: &str, names: &[String]) -> Self {
        let ticks = names.iter().enumerate();
        Self {
            title: title.into(),
            ends: (0.0, names.len().max(1) as f64),
            ticks: ticks
                .map(|(index, name)| (index as f64 + 0.5, shortened(name, 14)))
                .collect(),
            grid: false,
            log: false,
        }
    }

    /// With exactly these numbers at it.
    pub(super) fn with_ticks(mut self, values: &[f64]) -> Self {
        self.ticks = values
            .iter()
            .map(|value| (self.place(*value), number(*value)))
            .collect();
        self
    }

    /// A little longer at both ends, so that marks at the first and last value are whole.
    pub(super) fn widened(mut self, share: f64) -> Self {
        let more = (self.ends.1 - self.ends.0) * share;
        self.ends = (self.ends.0 - more, self.ends.1 + more);
        self
    }

    /// Where a value is drawn, never beyond the ends.
    pub(super) fn place(&self, value: f64) -> f64 {
        let place = if self.log {
            value.max(1e-300).log10()
        } else {
            value
        };
        place.clamp(self.ends.0, self.ends.1)
    }
}

/// Whether a value can be drawn.
pub(super) fn drawable(value: f64) -> bool {
    value.is_finite() && value.abs() < LARGEST
}

/// Ends that are numbers, in order and apart.
fn sane(low: f64, high: f64) -> (f64, f64) {
    let low = if drawable(low) { low } else { 0.0 };
    let high = if drawable(high) { high } else { low };
    // Steps of less than this are no numbers any more.
    if high - low > low.abs() * 1e-9 + 1e-280 {
        (low, high)
    } else {
        (low, low + low.abs().max(1.0))
    }
}

/// 1, 2, 2.5 or 5 times a power of ten, at least `rough`.
fn nice_step(rough: f64) -> f64 {
    let power = 10f64.powf(rough.max(1e-300).log10().floor());
    [1.0, 2.0, 2.5, 5.0, 10.0]
        .into_iter()
        .map(|part| part * power)
        .find(|step| *step >= rough * (1.0 - 1e-9))
        .unwrap_or(power * 10.0)
}

/// As many decimals as the step has.
fn tick_text(value: f64, step: f64) -> String {
    if !(1e-5..1.0).contains(&step) || value.abs() >= 1e6 {
        return number(if value.abs() < step * 1e-6 {
            0.0
        } else {
            value
        });
    }
    let decimals = (-step.log10()).ceil() as usize;
    // 2.5 and 0.25 need one decimal more than their power of ten.
    let finer = (step * 10f64.powi(decimals as i32)).fract().abs() > 1e-6;
    let text = format!("{value:.*}", decimals + usize::from(finer));
    if value.abs() < step * 1e-6 {
        trimmed(text).replace("-0", "0")
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(axis: &Axis) -> Vec<&str> {
        axis.ticks.iter().map(|(_, text)| text.as_str()).collect()
    }

    #[test]
    fn round_numbers() {
        assert_eq!(
            texts(&Axis::from_zero("", 35.0)),
            ["0", "10", "20", "30", "40"]
        );
        assert_eq!(
            texts(&Axis::from_zero("", 160.0)).last(),
            Some(&"175"),
            "the last number is at the end"
        );
        let bits = Axis::counts("", 13.0);
        assert_eq!(texts(&bits), ["0", "2", "4", "6", "8", "10", "12", "14"]);
        assert_eq!(texts(&Axis::counts("", 3.0)), ["0", "1", "2", "3"]);
        assert_eq!(
            texts(&Axis::linear("", 0.95, 1.2)),
            ["0.95", "1.00", "1.05", "1.10", "1.15", "1.20"]
        );
        assert_eq!(
            texts(&Axis::share("")),
            ["0", "20", "40", "60", "80", "100"]
        );
        assert_eq!(
            texts(&Axis::log("", 100.0, 1e6)),
            ["100", "1,000", "10,000", "100,000", "1,000,000"]
        );
        assert_eq!(
            texts(&Axis::log("", 20.0, 900.0)),
            ["20", "50", "100", "200", "500"]
        );
    }

    #[test]
    fn no_value_breaks_an_axis() {
        let odd = [
            f64::NAN,
            f64::INFINITY,
            f64::NEG_INFINITY,
            0.0,
            -1.0,
            1e308,
            -1e308,
            1e-308,
        ];
        for low in odd {
            for high in odd {
                for axis in [
                    Axis::linear("", low, high),
                    Axis::from_zero("", high),
                    Axis::log("", low, high),
                ] {
                    let (from, to) = axis.ends;
                    assert!(
                        from.is_finite() && to.is_finite() && from < to,
                        "{low} {high}"
                    );
                    assert!(axis.ticks.len() < 30);
                    for value in odd {
                        let place = axis.place(value);
                        assert!(place.is_nan() || (place >= from && place <= to));
                    }
                }
            }
        }
    }
}
