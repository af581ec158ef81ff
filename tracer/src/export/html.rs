//! One page that needs nothing else: the report, and a time line of bins.
//!
//! Spans are split over bins of equal width to the nanosecond, so that the bins of all lines add up to what the rows
//! do. Memory holds the lines, however long the recording is. Names are data: the page shows them as text.

mod content;

use std::io;

use rustc_hash::FxHashMap;
use serde::Serialize;

use super::{Known, Writer};
use crate::model::OffState;
use crate::output::escape;
use crate::timeline::{Row, Rows, SpanRow, State};

/// A line of all bins in all states takes 96 KiB.
const BINS: u64 = 2048;
/// Threads with a line of their own, those that waited longest; all others share one.
const LINES: usize = 200;
const STATES: [&str; 6] = ["run", "wait", "sleep", "block", "stopped", "unknown"];

const HEAD: &str = include_str!("html/head.html");
const STYLE: &str = include_str!("html/page.css");
const BODY: &str = include_str!("html/body.html");
const SCRIPT: &str = include_str!("html/page.js");

type Bins = Vec<[i64; STATES.len()]>;

#[derive(Default)]
struct Line {
    name: String,
    /// Of none when it is a CPU's, or of many.
    pid: Option<u32>,
    tid: Option<u32>,
    threads: u64,
    /// Empty until something falls into it.
    bins: Bins,
    /// Without a place in time.
    elsewhere: [i64; STATES.len()],
}

impl Line {
    fn add(&mut self, row: &SpanRow, state: usize, width: u64) {
        let Some(at_ns) = row.at_ns else {
            self.elsewhere[state] += row.ns;
            return;
        };
        if self.bins.is_empty() {
            self.bins = vec![[0; STATES.len()]; BINS as usize];
        }
        let (mut from, to) = (at_ns.max(0) as u64, (at_ns.max(0) + row.ns.max(0)) as u64);
        while from < to {
            let bin = (from / width).min(BINS - 1);
            let end = if bin == BINS - 1 {
                to
            } else {
                to.min((bin + 1) * width)
            };
            self.bins[bin as usize][state] += (end - from) as i64;
            from = end;
        }
    }

    /// Of each state `empty bins before, bins alike, ns in each`, again and again.
    fn runs(&self) -> Vec<Vec<i64>> {
        let runs = |state: usize| {
            let mut runs: Vec<i64> = Vec::new();
            let mut empty = 0;
            for ns in self.bins.iter().map(|bin| bin[state]) {
                match runs.as_mut_slice() {
                    _ if ns == 0 => empty += 1,
                    [.., count, each] if empty == 0 && *each == ns => *count += 1,
                    _ => {
                        runs.extend([empty, 1, ns]);
                        empty = 0;
                    }
                }
            }
            runs
        };
        (0..STATES.len()).map(runs).collect()
    }

    fn shown(&self) -> ShownLine<'_> {
        ShownLine {
            name: &self.name,
            pid: self.pid,
            tid: self.tid,
            threads: self.threads,
            runs: self.runs(),
            elsewhere_ns: self.elsewhere,
        }
    }
}

#[derive(Serialize)]
struct ShownLine<'a> {
    name: &'a str,
    pid: Option<u32>,
    tid: Option<u32>,
    threads: u64,
    runs: Vec<Vec<i64>>,
    elsewhere_ns: [i64; STATES.len()],
}

#[derive(Serialize)]
struct Lines<'a> {
    states: [&'a str; STATES.len()],
    bins: u64,
    bin_ns: u64,
    duration_ns: u64,
    cpus: Vec<ShownLine<'a>>,
    threads: Vec<ShownLine<'a>>,
}

pub struct Html<'a> {
    known: &'a Known<'a>,
    width: u64,
    /// The last one is that of all other threads.
    lines: Vec<Line>,
    /// Lines by pid and tid.
    chosen: FxHashMap<(u32, u32), usize>,
    /// Lines by thread.
    of: FxHashMap<u32, usize>,
    cpus: FxHashMap<u16, Line>,
}

impl<'a> Html<'a> {
    pub fn new(known: &'a Known<'a>) -> Html<'a> {
        let mut lines: Vec<Line> = Vec::new();
        let mut chosen = FxHashMap::default();
        for (process, thread) in content::threads(known.report) {
            if lines.len() == LINES {
                break;
            }
            let tid = thread.was_tid.unwrap_or(thread.tid);
            chosen.entry((process.pid, tid)).or_insert_with(|| {
                lines.push(Line {
                    name: escape::terminal(thread.comm.bytes()),
                    pid: Some(process.pid),
                    tid: Some(thread.tid),
                    ..Line::default()
                });
                lines.len() - 1
            });
        }
        lines.push(Line::default());
        Html {
            known,
            width: known.report.window.duration.0.div_ceil(BINS).max(1),
            lines,
            chosen,
            of: FxHashMap::default(),
            cpus: FxHashMap::default(),
        }
    }

    fn span(&mut self, row: &SpanRow) {
        let state = state(row.state);
        if let Some(&line) = self.of.get(&row.thread) {
            self.lines[line].add(row, state, self.width);
        }
        if let (State::Run, Some(cpu)) = (row.state, row.cpu) {
            let line = self.cpus.entry(cpu.0).or_insert_with(|| Line {
                name: format!("CPU {}", cpu.0),
                ..Line::default()
            });
            line.add(row, state, self.width);
        }
    }
}

impl Writer for Html<'_> {
    fn begin(&mut self, out: &mut dyn io::Write) -> io::Result<()> {
        write!(out, "{HEAD}<style>{STYLE}</style>{BODY}")?;
        let content = content::content(self.known.host, self.known.report);
        block("report", &serde_json::to_string(&content)?, out)
    }

    fn rows(&mut self, rows: &Rows, _: &mut dyn io::Write) -> io::Result<()> {
        for row in &rows.rows {
            match row {
                Row::Met(met) => {
                    let others = self.lines.len() - 1;
                    let line = self.chosen.get(&(met.pid, met.tid)).copied();
                    let lines = &mut self.lines;
                    self.of.entry(met.thread).or_insert_with(|| {
                        let line = line.unwrap_or(others);
                        lines[line].threads += 1;
                        line
                    });
                }
                Row::Span(row) => self.span(row),
                Row::Done(done) => {
                    self.of.remove(&done.met.thread);
                }
                Row::Wait(_) | Row::Switch(_) => {}
            }
        }
        Ok(())
    }

    fn end(&mut self, out: &mut dyn io::Write) -> io::Result<()> {
        if let Some(others) = self.lines.last_mut() {
            others.name = format!("{} other threads", others.threads);
        }
        let mut cpus: Vec<_> = self.cpus.iter().collect();
        cpus.sort_by_key(|(cpu, _)| **cpu);
        let lines = Lines {
            states: STATES,
            bins: BINS,
            bin_ns: self.width,
            duration_ns: self.known.report.window.duration.0,
            cpus: cpus.into_iter().map(|(_, line)| line.shown()).collect(),
            threads: self
                .lines
                .iter()
                .filter(|line| line.threads > 0)
                .map(Line::shown)
                .collect(),
        };
        block("lines", &serde_json::to_string(&lines)?, out)?;
        writeln!(out, "<script>{SCRIPT}</script></body></html>")
    }
}

/// Data that the page reads; nothing in it ends the block or begins another one.
fn block(id: &str, json: &str, out: &mut dyn io::Write) -> io::Result<()> {
    let json = json
        .replace('<', "\\u003c")
        .replace('\u{2028}', "\\u2028")
        .replace('\u{2029}', "\\u2029");
    writeln!(
        out,
        "<script type=\"application/json\" id=\"{id}\">{json}</script>"
    )
}

/// Its place in [`STATES`].
fn state(state: State) -> usize {
    match state {
        State::Run => 0,
        State::Wait => 1,
        State::Off(OffState::Sleep) => 2,
        State::Off(OffState::Block) => 3,
        State::Off(OffState::Stopped) => 4,
        State::Unknown => 5,
    }
}
