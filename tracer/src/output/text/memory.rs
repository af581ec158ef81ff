//! What processes have in memory, and what their threads' stacks add to it.

use std::cmp::Reverse;
use std::io;

use super::grid::{self, Column, column};
use crate::output::{Style, human};
use crate::report::{MemorySource, Process, ProcessMemory, Report, Thread, ThreadMemory};

const PROCESSES: usize = 10;
/// Of a name, a pid and `(ended)`.
const NAME: usize = 24;

const COLUMNS: [Column; 8] = [
    column("PSS", 1),
    column("RSS", 0),
    column("PEAK", 4),
    column("TABLES", 2),
    column("KSTACKS", 3),
    column("USTACKS", 3),
    column("KS/THR", 5),
    column("US/THR", 5),
];

pub fn write(report: &Report, style: &Style, out: &mut dyn io::Write) -> io::Result<()> {
    let mut known: Vec<(&Process, &ProcessMemory)> = report
        .processes
        .iter()
        .filter_map(|process| Some((process, process.memory.as_ref()?)))
        .collect();
    known.sort_by_key(|(_, memory)| Reverse(memory.pss_bytes.unwrap_or(memory.rss_bytes)));
    let shown = if known.len() <= PROCESSES + 1 {
        known.len()
    } else {
        PROCESSES
    };
    if known.is_empty() {
        return Ok(());
    }
    let rows: Vec<grid::Row<'_>> = known[..shown]
        .iter()
        .map(|(process, memory)| row(process, memory))
        .collect();
    grid::write("MEMORY", NAME, &COLUMNS, &rows, style, out)?;
    let rest = known.len() - shown;
    if rest > 0 {
        writeln!(out, "... and {rest} more: --format json")?;
    }
    Ok(())
}

fn row<'a>(process: &'a Process, memory: &ProcessMemory) -> grid::Row<'a> {
    let ended = match memory.source {
        MemorySource::Procfs => "",
        MemorySource::Exit => " (ended)",
    };
    let stacks = |of: fn(&ThreadMemory) -> Option<u64>| -> [Option<u64>; 2] {
        let one = |thread: &Thread| thread.memory.as_ref().and_then(of);
        let known: Vec<u64> = process.threads.iter().filter_map(one).collect();
        let sum = || {
            known
                .iter()
                .fold(0_u64, |sum, one| sum.saturating_add(*one))
        };
        let threads = known.len() as u64;
        [(threads > 0).then(sum), sum().checked_div(threads)]
    };
    let [kernel, kernel_each] = stacks(|thread| thread.kernel_stack_bytes);
    let [user, user_each] = stacks(|thread| thread.user_stack_bytes);
    let figures = [
        memory.pss_bytes,
        Some(memory.rss_bytes),
        memory.peak_rss_bytes,
        memory.page_table_bytes,
        kernel,
        user,
        kernel_each,
        user_each,
    ];
    grid::Row {
        before: String::new(),
        name: process.comm.bytes(),
        after: format!(" {}{ended}", process.pid),
        cells: figures
            .into_iter()
            .map(|bytes| bytes.map_or("n/a".into(), human::bytes))
            .collect(),
    }
}
