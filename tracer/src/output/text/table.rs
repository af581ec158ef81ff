//! Lays the rows out. Not a table crate: those wrap cells or shrink columns to fit, and what a report needs is
//! to leave out the columns that matter least, and the same columns at every interval.

use std::io;

use super::columns::{COLUMNS, Column, OFF_CPU_RANK, Wanted, off_cpu};
use super::paint::{Ink, paint};
use super::rows::Row;
use crate::output::{Style, escape};

/// A kernel name of 15 characters, its indentation and a bit of a suffix.
const NAME: usize = 20;
const WIDEST_NAME: usize = 30;
const OFF_CPU: usize = 24;

struct Layout {
    name: usize,
    columns: Vec<&'static Column>,
    /// 0: no room.
    off_cpu: usize,
}

pub fn write(
    rows: &[Row<'_>],
    arch: &str,
    style: &Style,
    out: &mut dyn io::Write,
) -> io::Result<()> {
    let layout = layout(rows, style.width);
    let mut titles = format!("{:width$}", "THREAD", width = layout.name);
    for column in &layout.columns {
        titles.push_str(&format!(" {:>width$}", column.title, width = column.width));
    }
    if layout.off_cpu > 0 {
        titles.push_str("  OFF-CPU");
    }
    writeln!(out, "{}", paint(&titles, Ink::Faint, style.colour))?;
    for row in rows {
        let line = line(row, &layout, arch);
        let ink = match row {
            row if row.heading => Ink::Strong,
            row if row.id.is_none() => Ink::Faint,
            _ => Ink::Plain,
        };
        writeln!(out, "{}", paint(line.trim_end(), ink, style.colour))?;
        if let Some(note) = row.note {
            let note = escape::terminal_within(note.as_bytes(), style.width.saturating_sub(2));
            writeln!(out, "  {}", paint(&note, Ink::Faint, style.colour))?;
        }
    }
    Ok(())
}

fn line(row: &Row<'_>, layout: &Layout, arch: &str) -> String {
    let mut line = row.label(layout.name);
    for column in &layout.columns {
        line.push_str(&format!(
            " {:>width$}",
            (column.value)(row),
            width = column.width
        ));
    }
    if let (Some(thread), true) = (row.thread, layout.off_cpu > 0) {
        line.push_str("  ");
        line.push_str(&off_cpu(thread, arch, layout.off_cpu));
    }
    line
}

/// Gives the width away by rank; every column keeps its place in the order.
fn layout(rows: &[Row<'_>], width: usize) -> Layout {
    let mut left = width.saturating_sub(NAME);
    let mut with_off_cpu = false;
    let mut chosen: Vec<usize> = Vec::new();
    let mut by_rank: Vec<usize> = (0..COLUMNS.len()).collect();
    by_rank.sort_by_key(|&index| COLUMNS[index].rank);
    let (first, last): (Vec<usize>, Vec<usize>) = by_rank
        .into_iter()
        .partition(|&index| COLUMNS[index].rank < OFF_CPU_RANK);
    let mut take = |indexes: Vec<usize>, left: &mut usize| {
        for index in indexes {
            let column = &COLUMNS[index];
            let wanted = match column.wanted {
                Wanted::Always => true,
                Wanted::When(says_something) => rows.iter().any(says_something),
            };
            if wanted && column.width < *left {
                *left -= column.width + 1;
                chosen.push(index);
            }
        }
    };
    take(first, &mut left);
    if left >= OFF_CPU + 2
        && rows
            .iter()
            .any(|row| row.thread.is_some_and(|thread| !thread.off_cpu.is_empty()))
    {
        left -= OFF_CPU + 2;
        with_off_cpu = true;
    }
    take(last, &mut left);
    chosen.sort_unstable();
    let wider_name = left.min(WIDEST_NAME - NAME);
    Layout {
        name: NAME + wider_name,
        columns: chosen.into_iter().map(|index| &COLUMNS[index]).collect(),
        off_cpu: if with_off_cpu {
            OFF_CPU + left - wider_name
        } else {
            0
        },
    }
}
