//! The columns of the table, in the order they are printed. README.md, "Columns", defines each.

use super::rows::Row;
use crate::model::Nanos;
use crate::output::{human, words};
use crate::report::{Dist, DistValues, Thread, Totals};

/// A value that was not measured.
const NOT_MEASURED: &str = "n/a";

pub struct Column {
    pub title: &'static str,
    pub width: usize,
    /// The narrower the terminal, the lower the rank that still gets a place.
    pub rank: u8,
    /// A column that would say nothing about any row is left out.
    pub wanted: Wanted,
    pub value: Value,
}

pub enum Wanted {
    Always,
    When(fn(&Row<'_>) -> bool),
}

type Value = fn(&Row<'_>) -> String;

impl Column {
    const fn new(title: &'static str, width: usize, rank: u8, value: Value) -> Column {
        Column {
            title,
            width,
            rank,
            wanted: Wanted::Always,
            value,
        }
    }

    const fn when(self, says_something: fn(&Row<'_>) -> bool) -> Column {
        Column {
            wanted: Wanted::When(says_something),
            ..self
        }
    }
}

/// Rank of the last column, the text that says which system calls a thread slept in.
pub const OFF_CPU_RANK: u8 = 6;

pub const COLUMNS: &[Column] = &[
    Column::new("TID", 7, 0, |row| {
        row.id.map(|id| id.to_string()).unwrap_or_default()
    }),
    Column::new("RUN", 7, 0, |row| time(row.totals.run)),
    Column::new("WAIT", 7, 0, |row| time(row.totals.wait)),
    Column::new("WAITp99", 7, 1, |row| {
        of_dist(row, wait, |values| values.p99)
    }),
    Column::new("WAITmax", 7, 1, |row| {
        of_dist(row, wait, |values| values.max)
    }),
    Column::new("LATp99", 7, 5, |row| {
        of_dist(row, latency, |values| values.p99)
    }),
    Column::new("UNKNOWN", 7, 2, |row| time(row.totals.unknown))
        .when(|row| row.totals.unknown > Nanos::ZERO),
    Column::new("SLEEP", 7, 3, |row| time(row.totals.sleep)),
    Column::new("BLOCK", 7, 4, |row| time(row.totals.block)),
    Column::new("IOWAIT", 7, 10, |row| known_time(row.totals.iowait)),
    Column::new("STOPPED", 7, 5, |row| time(row.totals.stopped))
        .when(|row| row.totals.stopped > Nanos::ZERO),
    Column::new("VOL", 5, 2, |row| human::count(row.totals.voluntary)),
    Column::new("INVOL", 5, 2, |row| human::count(row.totals.involuntary)),
    Column::new("YIELDS", 6, 11, |row| {
        row.totals
            .involuntary_yields
            .map_or(NOT_MEASURED.into(), human::count)
    }),
    Column::new("RUNp50", 7, 7, |row| {
        of_dist(row, run_slice, |values| values.p50)
    }),
    Column::new("MIGR", 5, 8, |row| human::count(row.totals.migrations)),
    Column::new("AS-CHG", 6, 9, |row| {
        human::count(row.totals.address_space_changes)
    }),
    Column::new("STEAL", 7, 12, |row| known_time(row.totals.run_steal)),
    Column::new("IRQ", 7, 13, |row| known_time(row.totals.run_irq)),
    Column::new("SOFTIRQ", 7, 13, |row| known_time(row.totals.run_softirq)),
    Column::new("PRIO", 8, 9, |row| {
        row.thread.map(priority).unwrap_or_default()
    })
    .when(|row| row.thread.is_some_and(has_priority)),
    Column::new("END", 8, 10, |row| row.thread.map(end).unwrap_or_default())
        .when(|row| row.thread.is_some_and(|thread| thread.exit.is_some())),
];

type PickDist = fn(&Thread) -> Option<&Dist>;

const fn wait(thread: &Thread) -> Option<&Dist> {
    Some(&thread.wait)
}

const fn run_slice(thread: &Thread) -> Option<&Dist> {
    Some(&thread.run_slice)
}

const fn latency(thread: &Thread) -> Option<&Dist> {
    thread.latency.as_ref()
}

fn time(nanos: Nanos) -> String {
    human::duration(nanos)
}

fn known_time(nanos: Option<Nanos>) -> String {
    nanos.map_or(NOT_MEASURED.into(), time)
}

/// Empty on the row of a process: quantiles do not add up.
fn of_dist(row: &Row<'_>, dist: PickDist, value: fn(&DistValues) -> Nanos) -> String {
    match row.thread.map(dist) {
        None => String::new(),
        Some(None) => NOT_MEASURED.into(),
        // Measured, and there was none: no length to show, and 0 would be one.
        Some(Some(dist)) => dist
            .values
            .as_ref()
            .map_or("-".into(), |values| time(value(values))),
    }
}

fn has_priority(thread: &Thread) -> bool {
    thread.priority.policy != 0 || thread.priority.nice != 0
}

/// `fifo 50`, `batch 19`, `nice -5`.
fn priority(thread: &Thread) -> String {
    let priority = thread.priority;
    let policy = words::policy(priority.policy);
    let short = policy.trim_start_matches("SCHED_").to_lowercase();
    match (short.as_str(), priority.nice) {
        ("other", 0) => "-".into(),
        ("other", nice) => format!("nice {nice}"),
        ("fifo" | "rr", _) => format!("{short} {}", priority.rt_priority),
        ("batch", nice) => format!("{short} {nice}"),
        // Nice means nothing there, and `deadline` leaves no room.
        (_, _) => short,
    }
}

fn end(thread: &Thread) -> String {
    match thread.exit {
        None => "-".into(),
        Some(exit) if exit.signal > 0 => format!("sig {}", exit.signal),
        Some(exit) => format!("exit {}", exit.code),
    }
}

/// `futex 1.80 s, epoll_wait 200 ms`, longest first, as many as fit.
pub fn off_cpu(thread: &Thread, arch: &str, width: usize) -> String {
    let mut text = String::new();
    for row in &thread.off_cpu {
        let place = match row.syscall {
            Some(syscall) => crate::output::syscalls::name(arch, syscall),
            None => words::off_state(row.state).into(),
        };
        let comma = if text.is_empty() { "" } else { ", " };
        let piece = format!("{comma}{place} {}", time(row.ns));
        if text.len() + piece.len() > width {
            break;
        }
        text.push_str(&piece);
    }
    text
}

/// Used by the summary lines, too.
pub fn times(totals: &Totals) -> String {
    let mut text = format!(
        "run {}, wait {}, sleep {}, block {}",
        time(totals.run),
        time(totals.wait),
        time(totals.sleep),
        time(totals.block)
    );
    for (name, nanos) in [("stopped", totals.stopped), ("unknown", totals.unknown)] {
        if nanos > Nanos::ZERO {
            text.push_str(&format!(", {name} {}", time(nanos)));
        }
    }
    text
}
