//! Means and percentiles: one definition for both engines and the reports, or a simulated and a live
//! figure of the same name would be two things.

/// The mean; `None` of nothing.
pub(crate) fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

/// The least value that so many per cent of sorted values do not exceed (nearest rank); `None` of
/// nothing.
pub(crate) fn percentile(sorted: &[f64], percent: usize) -> Option<f64> {
    percentile_among(sorted, sorted.len(), percent)
}

/// The same of so many values, of which only these least ones exist: the others never came.
pub(crate) fn percentile_among(sorted: &[f64], all: usize, percent: usize) -> Option<f64> {
    let rank = (all * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied()
}

/// In order, for [`percentile`].
pub(crate) fn sorted(values: impl IntoIterator<Item = f64>) -> Vec<f64> {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_were_seen() {
        let values = sorted([5.0, 1.0, 3.0, 2.0, 4.0, 0.0]);
        let seen = [0, 1, 20, 50, 51, 99, 100].map(|percent| percentile(&values, percent));
        assert_eq!(seen, [0.0, 0.0, 1.0, 2.0, 3.0, 5.0, 5.0].map(Some));
        assert_eq!((percentile(&[], 50), mean(&[])), (None, None));
        assert_eq!(mean(&values), Some(2.5));
        // Who never came counts: 5 of 6 are no 99 %.
        let rows = [(6, Some(5.0)), (7, None)];
        for (all, percentile) in rows {
            assert_eq!(percentile_among(&values, all, 99), percentile);
        }
    }
}
