//! Markdown tables whose columns also line up as plain text, and numbers for them.

use std::fmt;

use super::stats::Spread;

pub const NOT_MEASURED: &str = "n/a";

#[derive(Debug, Default)]
pub struct Table {
    head: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub fn new(head: &[impl AsRef<str>]) -> Table {
        Table {
            head: head.iter().map(|cell| cell.as_ref().to_owned()).collect(),
            rows: Vec::new(),
        }
    }

    pub fn row(&mut self, cells: impl IntoIterator<Item = impl Into<String>>) {
        let cells = cells
            .into_iter()
            .map(|cell| cell.into().replace('|', "\\|"));
        self.rows.push(cells.collect());
    }

    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    fn widths(&self) -> Vec<usize> {
        let column = |n: usize| {
            let cells = self.rows.iter().filter_map(move |row| row.get(n));
            let longest = cells
                .chain(self.head.get(n))
                .map(|cell| cell.chars().count());
            longest.max().unwrap_or(0).max(3)
        };
        (0..self.head.len()).map(column).collect()
    }
}

impl fmt::Display for Table {
    /// The first column is what is spoken of, the others are figures.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return Ok(());
        }
        let widths = self.widths();
        let mut line = |row: &[String]| {
            for (n, width) in widths.iter().enumerate() {
                let cell = row.get(n).map_or("", String::as_str);
                if n == 0 {
                    write!(f, "| {cell:<width$} ")?;
                } else {
                    write!(f, "| {cell:>width$} ")?;
                }
            }
            writeln!(f, "|")
        };
        line(&self.head)?;
        let rule = widths.iter().enumerate().map(|(n, &width)| match n {
            0 => "-".repeat(width),
            _ => format!("{}:", "-".repeat(width - 1)),
        });
        line(&rule.collect::<Vec<_>>())?;
        self.rows.iter().try_for_each(|row| line(row))
    }
}

/// Three digits, as more are noise.
pub fn number(value: f64) -> String {
    let decimals = match value.abs() {
        size if size >= 99.95 => 0,
        size if size >= 9.995 => 1,
        size if size >= 0.9995 || size == 0.0 => 2,
        _ => 3,
    };
    format!("{value:.decimals$}")
}

/// Median and quartiles: what stands out by chance grows with the number of values, quartiles do not.
pub fn spread(spread: Option<Spread>) -> String {
    spread.map_or_else(
        || NOT_MEASURED.to_owned(),
        |spread| {
            let [median, lower, upper] =
                [spread.median, spread.lower_quartile, spread.upper_quartile].map(number);
            format!("{median} ({lower} .. {upper})")
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_markdown_and_lines_up() {
        let mut table = Table::new(&["tool", "ratio"]);
        table.row(["runqlat", "1"]);
        table.row(["a|b", NOT_MEASURED]);
        assert_eq!(
            table.to_string(),
            "| tool    | ratio |\n| ------- | ----: |\n| runqlat |     1 |\n| a\\|b    |   n/a |\n"
        );
    }

    #[test]
    fn numbers_have_three_digits() {
        let numbers = [1234.5, 99.96, 12.34, 9.999, 1.234, 0.1234, -2.5, 0.0].map(number);
        assert_eq!(
            numbers,
            [
                "1234", "100", "12.3", "10.0", "1.23", "0.123", "-2.50", "0.00"
            ]
        );
        assert_eq!(spread(Spread::of(&[1.0, 3.0, 2.0])), "2.00 (1.50 .. 2.50)");
        assert_eq!(spread(None), "n/a");
    }
}
