//! Tables as text.

use mainswarm_testnet::outcome::Spread;

/// Columns that are as wide as they must be, the first ones to the left.
#[derive(Debug)]
pub(super) struct Table {
    rows: Vec<Vec<String>>,
    left: usize,
}

impl Table {
    /// `left`: how many columns hold words rather than numbers.
    pub(super) fn new(header: Vec<String>, left: usize) -> Self {
        Self {
            rows: vec![header],
            left,
        }
    }

    pub(super) fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }
}

impl std::fmt::Display for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        for row in &self.rows {
            let mut line = String::new();
            for (column, cell) in row.iter().enumerate() {
                let pad = " ".repeat(widths[column].saturating_sub(cell.chars().count()));
                let gap = if column == 0 { "" } else { "  " };
                line += &match column < self.left {
                    true => format!("{gap}{cell}{pad}"),
                    false => format!("{gap}{pad}{cell}"),
                };
            }
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

/// Four digits that count, more only before the point and where a share is nearly whole.
pub(super) fn number(value: f64) -> String {
    if !value.is_finite() {
        return value.to_string();
    }
    let whole = value.abs().max(1.0).log10().floor() as usize + 1;
    let small = value != 0.0 && value.abs() < 0.1;
    let decimals = if small {
        5
    } else {
        4_usize.saturating_sub(whole)
    };
    let mut text = format!("{value:.decimals$}");
    if value != 1.0 && text.parse() == Ok(1.0) {
        // A share just below one is not one.
        text = format!("{value:.5}");
    }
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_string(),
        false => text,
    }
}

/// `1.02 [1.01..1.03]`, or one number for one run.
pub(super) fn spread(spread: Option<Spread>) -> String {
    match spread {
        None => "-".into(),
        Some(spread) if spread.runs == 1 => number(spread.median),
        Some(spread) => format!(
            "{} [{}..{}]",
            number(spread.median),
            number(spread.least),
            number(spread.greatest)
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_as_long_as_they_must_be() {
        let rows = [
            (0.0, "0"),
            (1.0, "1"),
            (1.0234, "1.023"),
            (0.9999, "0.9999"),
            (0.9512, "0.951"),
            (0.00123, "0.00123"),
            (35.678, "35.68"),
            (3_600.4, "3600"),
            (1_000_000.0, "1000000"),
            (-0.82, "-0.82"),
            (f64::INFINITY, "inf"),
        ];
        for (value, text) in rows {
            assert_eq!(number(value), text, "{value}");
        }
    }

    #[test]
    fn columns_line_up() {
        let mut table = Table::new(vec!["case".into(), "ratio".into()], 1);
        table.row(vec!["a".into(), "1.02".into()]);
        table.row(vec!["longer".into(), "-".into()]);
        let shown = table.to_string();
        assert_eq!(shown, "case    ratio\na        1.02\nlonger      -\n");
        let some = |runs| {
            let (median, least, greatest) = (1.5, 1.0, 2.0);
            let spread = Spread {
                median,
                least,
                greatest,
                runs,
            };
            super::spread(Some(spread))
        };
        assert_eq!((some(1), some(3)), ("1.5".into(), "1.5 [1..2]".into()));
    }
}
