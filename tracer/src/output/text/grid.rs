//! A table of a section: a name, and figures as wide as they need to be. The narrower the terminal, the fewer.

use std::io;

use super::paint::{Ink, paint};
use crate::output::{Style, escape};

pub struct Column {
    pub title: &'static str,
    /// The narrower the terminal, the lower the rank that still gets a place.
    pub rank: u8,
}

pub const fn column(title: &'static str, rank: u8) -> Column {
    Column { title, rank }
}

pub struct Row<'a> {
    /// Our own characters around the name, never cut: no more of them than fit the first column.
    pub before: String,
    /// Any bytes.
    pub name: &'a [u8],
    pub after: String,
    /// One a column.
    pub cells: Vec<String>,
}

/// The first column gets `least`, or as much as it needs, before any other is placed.
pub fn write(
    title: &str,
    least: usize,
    columns: &[Column],
    rows: &[Row<'_>],
    style: &Style,
    out: &mut dyn io::Write,
) -> io::Result<()> {
    let widths: Vec<usize> = columns
        .iter()
        .enumerate()
        .map(|(index, column)| {
            let cells = rows.iter().filter_map(|row| row.cells.get(index));
            let widest = cells.map(|cell| escape::columns(cell)).max();
            widest.unwrap_or(0).max(column.title.len())
        })
        .collect();
    let wanted = rows.iter().map(Row::columns).max().unwrap_or(0);
    let wanted = wanted.max(title.len());
    let first = wanted.min(least).min(style.width);
    let mut left = style.width - first;
    let mut by_rank: Vec<usize> = (0..columns.len()).collect();
    by_rank.sort_by_key(|&index| columns[index].rank);
    by_rank.retain(|&index| {
        let fits = widths[index] < left;
        if fits {
            left -= widths[index] + 1;
        }
        fits
    });
    let mut chosen = by_rank;
    chosen.sort_unstable();
    let first = first + left.min(wanted - first);
    let mut titles = format!("{title:first$}");
    for &index in &chosen {
        let (title, width) = (columns[index].title, widths[index]);
        titles.push_str(&format!(" {title:>width$}"));
    }
    writeln!(
        out,
        "{}",
        paint(titles.trim_end(), Ink::Faint, style.colour)
    )?;
    for row in rows {
        let mut line = row.label(first);
        for &index in &chosen {
            let cell = row.cells.get(index).map_or("", String::as_str);
            let padding = widths[index] - escape::columns(cell);
            line.push_str(&format!(" {:padding$}{cell}", ""));
        }
        writeln!(out, "{}", line.trim_end())?;
    }
    Ok(())
}

impl Row<'_> {
    fn own(&self) -> usize {
        escape::columns(&self.before) + escape::columns(&self.after)
    }

    fn columns(&self) -> usize {
        self.own() + escape::columns(&escape::terminal(self.name))
    }

    /// Exactly `width` columns.
    fn label(&self, width: usize) -> String {
        let name = escape::terminal_within(self.name, width.saturating_sub(self.own()));
        let text = format!("{}{name}{}", self.before, self.after);
        let padding = width.saturating_sub(escape::columns(&text));
        format!("{text}{:padding$}", "")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: [Column; 3] = [column("A", 0), column("B", 2), column("C", 1)];

    fn table(width: usize, names: &[&str]) -> String {
        let rows: Vec<Row<'_>> = names
            .iter()
            .map(|name| Row {
                before: "- ".into(),
                name: name.as_bytes(),
                after: "!".into(),
                cells: vec!["1".into(), "± 22".into(), "333".into()],
            })
            .collect();
        let style = Style {
            width,
            colour: false,
            cmdline: false,
        };
        let mut out = Vec::new();
        write("NAME", 8, &COLUMNS, &rows, &style, &mut out).expect("write to memory");
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn names_have_the_room_that_figures_leave() {
        assert_eq!(
            table(40, &["abc", "abcdefghij"]),
            "NAME          A    B   C\n\
             - abc!        1 ± 22 333\n\
             - abcdefghij! 1 ± 22 333\n"
        );
        assert_eq!(
            table(21, &["abcdefghij"]),
            "NAME      A    B   C\n\
             - abcd..! 1 ± 22 333\n"
                .replace("NAME      A", "NAME       A")
                .replace("abcd..!", "abcdef..!")
        );
    }

    #[test]
    fn the_column_of_the_highest_rank_goes_first() {
        assert_eq!(
            table(15, &["abcdefghij"]),
            "NAME      A   C\n- abcd..! 1 333\n"
        );
        assert_eq!(table(10, &["abcdefghij"]), "NAME     A\n- abc..! 1\n");
        assert_eq!(table(9, &["abcdefghij"]), "NAME\n- abcd..!\n");
    }
}
