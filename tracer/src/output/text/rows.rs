//! Which rows are shown: few enough to read, the rest in one line with its sums.

use crate::output::{Style, escape};
use crate::report::{Process, Report, Thread, Totals};

const PROCESSES: usize = 15;
/// Threads shown of each process: all the room of the screen for one, a few for each of many.
const THREADS_OF_ONE: usize = 30;
const THREADS_OF_FEW: usize = 10;
const THREADS_OF_MANY: usize = 4;
const FEW: usize = 3;

pub struct Row<'a> {
    /// Any bytes; escaped where it is printed.
    pub name: &'a [u8],
    /// Our own words after the name, never cut.
    pub suffix: String,
    pub indent: usize,
    /// The tid, or the pid on the row of a process. None on a row of the folded rest.
    pub id: Option<u32>,
    pub totals: Totals,
    /// Distributions, priority and end belong to one thread.
    pub thread: Option<&'a Thread>,
    /// The row of a whole process.
    pub heading: bool,
    pub own: bool,
    /// Printed on a line of its own below.
    pub note: Option<&'a str>,
}

/// The report's processes and threads, worst first as the report has them, and what was left out.
pub fn choose<'a>(report: &'a Report, style: &Style) -> Vec<Row<'a>> {
    let limit = match report.processes.len() {
        0..=1 => THREADS_OF_ONE,
        2..=FEW => THREADS_OF_FEW,
        _ => THREADS_OF_MANY,
    };
    let shown = keep(report.processes.len(), PROCESSES);
    let mut rows = Vec::new();
    for process in &report.processes[..shown] {
        push_process(&mut rows, process, limit, style);
    }
    let rest = &report.processes[shown..];
    if !rest.is_empty() {
        let totals = sum(rest.iter().map(|process| &process.totals));
        rows.push(folded(0, format!("... {} processes", rest.len()), totals));
    }
    rows
}

/// A thread without its process above it.
pub fn lone_thread(thread: &Thread) -> Row<'_> {
    thread_row(thread, 0)
}

fn push_process<'a>(rows: &mut Vec<Row<'a>>, process: &'a Process, limit: usize, style: &Style) {
    let note = process.cmdline.as_deref().filter(|_| style.cmdline);
    if let ([thread], 0) = (process.threads.as_slice(), process.folded.threads) {
        // One row says it all: the process is its thread.
        rows.push(Row {
            note,
            heading: true,
            ..thread_row(thread, 0)
        });
        return;
    }
    let seen = process.threads.len() as u64 + process.folded.threads;
    rows.push(Row {
        name: process.comm.bytes(),
        suffix: format!(" ({})", process.threads_total.max(seen)),
        indent: 0,
        id: Some(process.pid),
        totals: process.totals,
        thread: None,
        heading: true,
        own: process.threads.iter().any(|thread| thread.own),
        note,
    });
    let room = if process.folded.threads > 0 {
        limit
    } else {
        keep(process.threads.len(), limit)
    };
    let (shown, rest) = process.threads.split_at(room.min(process.threads.len()));
    rows.extend(shown.iter().map(|thread| thread_row(thread, 2)));
    let left_out = rest.len() as u64 + process.folded.threads;
    if left_out > 0 {
        let mut totals = sum(rest.iter().map(|thread| &thread.totals));
        if process.folded.threads > 0 {
            totals.add(&process.folded.totals);
        }
        rows.push(folded(2, format!("... {left_out} threads"), totals));
    }
}

fn thread_row(thread: &Thread, indent: usize) -> Row<'_> {
    Row {
        name: thread.comm.bytes(),
        suffix: if thread.own {
            " [self]".into()
        } else {
            String::new()
        },
        indent,
        id: Some(thread.tid),
        totals: thread.totals,
        thread: Some(thread),
        heading: false,
        own: thread.own,
        note: None,
    }
}

fn folded(indent: usize, words: String, totals: Totals) -> Row<'static> {
    Row {
        name: b"",
        suffix: words,
        indent,
        id: None,
        totals,
        thread: None,
        heading: false,
        own: false,
        note: None,
    }
}

/// How many of `len` to show: folding a single one would save no line.
fn keep(len: usize, limit: usize) -> usize {
    if len <= limit + 1 { len } else { limit }
}

fn sum<'a>(totals: impl Iterator<Item = &'a Totals>) -> Totals {
    totals.fold(Totals::zero(), |mut sum, part| {
        sum.add(part);
        sum
    })
}

impl Row<'_> {
    /// The first cell, exactly `width` columns.
    pub fn label(&self, width: usize) -> String {
        let room = width.saturating_sub(self.indent + self.suffix.len());
        let name = escape::terminal_within(self.name, room);
        let text = format!("{:indent$}{name}{}", "", self.suffix, indent = self.indent);
        let padding = width.saturating_sub(escape::columns(&text));
        format!("{text}{:padding$}", "")
    }
}
