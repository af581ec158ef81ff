//! What processes have in memory, and what their threads' stacks add to it.

use std::cmp::Reverse;
use std::io;

use super::grid::{self, Column, column};
use crate::output::{Style, human};
use crate::report::{MemorySource, Process, ProcessMemory, Report, Thread, ThreadMemory};

const PROCESSES: usize = 8;
/// Of a name, a pid and `(ended)`.
const NAME: usize = 24;

const FIGURES: usize = 8;
const COLUMNS: [Column; FIGURES] = [
    column("PSS", 1),
    column("RSS", 0),
    column("PEAK", 4),
    column("TABLES", 2),
    column("KSTACKS", 3),
    column("USTACKS", 3),
    column("KS/THR", 6),
    column("US/THR", 5),
];

pub fn write(report: &Report, style: &Style, out: &mut dyn io::Write) -> io::Result<()> {
    let mut known: Vec<(&Process, &ProcessMemory)> = report
        .processes
        .iter()
        .filter_map(|process| Some((process, process.memory.as_ref()?)))
        .collect();
    if known.is_empty() {
        return Ok(());
    }
    known.sort_by_key(|(_, memory)| {
        // What has ended holds nothing any more.
        let ended = memory.source == MemorySource::Exit;
        let bytes = memory.pss_bytes.unwrap_or(memory.rss_bytes);
        (ended, Reverse(bytes))
    });
    let shown = if known.len() <= PROCESSES + 1 {
        known.len()
    } else {
        PROCESSES
    };
    let figures: Vec<[Option<u64>; FIGURES]> = known[..shown]
        .iter()
        .map(|(process, memory)| figures(process, memory))
        .collect();
    // A column without a figure says nothing.
    let said: Vec<usize> = (0..FIGURES)
        .filter(|&index| figures.iter().any(|row| row[index].is_some()))
        .collect();
    let columns: Vec<Column> = said.iter().map(|&index| COLUMNS[index]).collect();
    let rows: Vec<grid::Row<'_>> = known
        .iter()
        .zip(&figures)
        .map(|((process, memory), figures)| row(process, memory, said.iter().map(|&i| figures[i])))
        .collect();
    grid::write("MEMORY", NAME, &columns, &rows, style, out)?;
    let rest = known.len() - shown;
    if rest > 0 {
        writeln!(out, "... and {rest} more: --format json")?;
    }
    Ok(())
}

/// In the order of the columns, in bytes.
fn figures(process: &Process, memory: &ProcessMemory) -> [Option<u64>; FIGURES] {
    let stacks = |of: fn(&ThreadMemory) -> Option<u64>| -> [Option<u64>; 2] {
        let one = |thread: &Thread| thread.memory.as_ref().and_then(of);
        let known: Vec<u64> = process.threads.iter().filter_map(one).collect();
        let sum = known
            .iter()
            .fold(0_u64, |sum, one| sum.saturating_add(*one));
        let threads = known.len() as u64;
        [(threads > 0).then_some(sum), sum.checked_div(threads)]
    };
    let [kernel, kernel_each] = stacks(|thread| thread.kernel_stack_bytes);
    let [user, user_each] = stacks(|thread| thread.user_stack_bytes);
    [
        memory.pss_bytes,
        Some(memory.rss_bytes),
        memory.peak_rss_bytes,
        memory.page_table_bytes,
        kernel,
        user,
        kernel_each,
        user_each,
    ]
}

fn row<'a>(
    process: &'a Process,
    memory: &ProcessMemory,
    figures: impl Iterator<Item = Option<u64>>,
) -> grid::Row<'a> {
    let ended = match memory.source {
        MemorySource::Procfs => "",
        MemorySource::Exit => " (ended)",
    };
    grid::Row {
        before: String::new(),
        name: process.comm.bytes(),
        after: format!(" {}{ended}", process.pid),
        cells: figures
            .map(|bytes| bytes.map_or("n/a".into(), human::bytes))
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::sample;

    fn table(report: &Report) -> Vec<String> {
        let style = Style {
            width: 120,
            colour: false,
            cmdline: false,
        };
        let mut out = Vec::new();
        write(report, &style, &mut out).expect("write to memory");
        let text = String::from_utf8(out).expect("text");
        text.lines().map(str::to_owned).collect()
    }

    fn memory(process: &mut Process) -> &mut ProcessMemory {
        process.memory.as_mut().expect("measured")
    }

    #[test]
    fn what_lives_comes_before_what_has_ended_and_much_before_little() {
        let mut report = sample::storm();
        report.processes.truncate(4);
        memory(&mut report.processes[3]).source = MemorySource::Exit;
        // As much as is shared out to it counts, not what it sees.
        memory(&mut report.processes[0]).rss_bytes = 1 << 40;
        let lines = table(&report);
        let names: Vec<&str> = lines[1..].iter().map(|line| &line[..12]).collect();
        assert_eq!(
            names,
            [
                "ballast 2002",
                "ballast 2001",
                "ballast 2000",
                "ballast 2003"
            ]
        );
        assert!(lines[4].starts_with("ballast 2003 (ended)"), "{}", lines[4]);
    }

    #[test]
    fn threads_that_were_not_looked_at_are_in_no_mean() {
        let mut report = sample::forking();
        let process = &mut report.processes[0];
        process.threads[0].memory = None;
        let Some(memory) = &mut process.threads[1].memory else {
            panic!("measured");
        };
        memory.user_stack_bytes = None;
        let lines = table(&report);
        // 16 KiB each of three, 36 and 48 of two.
        assert!(
            lines[1].ends_with(" 48.0 KiB 84.0 KiB 16.0 KiB 42.0 KiB"),
            "{}",
            lines[1]
        );
    }

    #[test]
    fn a_column_without_a_figure_is_left_out() {
        let mut report = sample::forking();
        for thread in &mut report.processes[0].threads {
            thread.memory = None;
        }
        memory(&mut report.processes[0]).pss_bytes = None;
        assert_eq!(
            table(&report)[0].trim_start(),
            "MEMORY                   RSS    PEAK   TABLES"
        );
        report
            .processes
            .iter_mut()
            .for_each(|process| process.memory = None);
        assert!(table(&report).is_empty());
    }
}
