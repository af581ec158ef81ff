//! What the page says besides the time line: the report, as far as somebody reads it.
//!
//! Lists have an end here. What a list leaves out is one row of it, so that it still adds up.

use serde::Serialize;

use super::LINES;
use crate::host::Host;
use crate::model::Nanos;
use crate::output::{JsonCost, escape, json_cost, sentence, words};
use crate::report::{Process, Report, Spike, Thread, Totals, WaitedFor};

/// Rows of a table, bars of threads, parts of a bar. More would not be read.
const ROWS: usize = LINES;
const BARS: usize = 10;
const PARTS: usize = 10;

#[derive(Serialize)]
pub struct Content<'a> {
    version: &'static str,
    host: &'a str,
    kernel: &'a str,
    started: Option<&'a str>,
    target: &'a str,
    verdict: &'static str,
    reasons: &'a [String],
    cost: Option<JsonCost<'a>>,
    insights: Vec<[&'a str; 3]>,
    /// `None`: not asked for.
    slower_ns: Option<u64>,
    /// Of the rows of the table of latencies.
    spikes: Vec<String>,
    bars: Vec<Bar>,
    /// Threads without a bar, and how long they waited.
    no_bar: (u64, u64),
    tables: Vec<Table<'a>>,
}

#[derive(Serialize)]
struct Bar {
    thread: String,
    wait_ns: u64,
    parts: Vec<Part>,
}

#[derive(Serialize)]
struct Part {
    /// Of what is not named by itself: `None`.
    kind: Option<&'static str>,
    text: String,
    ns: u64,
}

fn bar(thread: &Thread) -> Bar {
    let mut shares: Vec<&WaitedFor> = thread.waited_for.iter().collect();
    shares.sort_by_key(|share| std::cmp::Reverse(share.ns));
    let rest = shares.split_off(shares.len().min(PARTS));
    let mut parts: Vec<Part> = shares
        .iter()
        .map(|share| Part {
            kind: Some(words::charge(share.kind)),
            text: sentence::culprit(share, None),
            ns: share.ns.0,
        })
        .collect();
    if !rest.is_empty() {
        parts.push(Part {
            kind: None,
            text: format!("{} others", rest.len()),
            ns: rest.iter().map(|share| share.ns.0).sum(),
        });
    }
    Bar {
        thread: format!("{}/{}", escape::terminal(thread.comm.bytes()), thread.tid),
        wait_ns: thread.totals.wait.0,
        parts,
    }
}

/// What a column holds: the last two add up.
#[derive(Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    Name,
    Id,
    At,
    Ns,
    Count,
}

#[derive(Clone, Serialize)]
#[serde(untagged)]
enum Cell {
    Text(String),
    Number(i64),
    /// Not measured, or of many.
    Nothing,
}

type Row = Vec<Cell>;

#[derive(Serialize)]
struct Table<'a> {
    title: &'a str,
    /// What its rows are.
    of: &'a str,
    columns: Vec<(&'a str, Kind)>,
    rows: Vec<Row>,
    /// How many rows are one, and what they add up to.
    others: Option<(u64, Row)>,
}

impl<'a> Table<'a> {
    fn new(title: &'a str, of: &'a str, columns: &[(&'a str, Kind)]) -> Table<'a> {
        Table {
            title,
            of,
            columns: columns.to_vec(),
            rows: Vec::new(),
            others: None,
        }
    }

    /// Rows from the weightiest on: those after the first ones become one.
    fn fill(mut self, rows: impl IntoIterator<Item = Row>) -> Table<'a> {
        for row in rows {
            if self.rows.len() < ROWS {
                self.rows.push(row);
            } else {
                self.fold(1, &row);
            }
        }
        self
    }

    /// Adds to the row of all others.
    fn fold(&mut self, count: u64, row: &[Cell]) {
        let none = vec![Cell::Nothing; self.columns.len()];
        let (others, sums) = self.others.get_or_insert((0, none));
        *others += count;
        for ((sum, cell), (_, kind)) in sums.iter_mut().zip(row).zip(&self.columns) {
            match (&mut *sum, cell) {
                _ if !matches!(kind, Kind::Ns | Kind::Count) => {}
                (Cell::Number(sum), Cell::Number(number)) => *sum += number,
                (_, Cell::Number(number)) => *sum = Cell::Number(*number),
                (_, Cell::Text(_) | Cell::Nothing) => {}
            }
        }
    }
}

fn text(bytes: &[u8]) -> Cell {
    Cell::Text(escape::terminal(bytes))
}

fn number(number: impl Into<u64>) -> Cell {
    Cell::Number(i64::try_from(number.into()).unwrap_or(i64::MAX))
}

fn ns(time: Option<Nanos>) -> Cell {
    time.map_or(Cell::Nothing, |time| number(time.0))
}

/// Processes and their threads, those that waited longest first.
pub fn threads(report: &Report) -> Vec<(&Process, &Thread)> {
    let mut threads: Vec<_> = report
        .processes
        .iter()
        .flat_map(|process| process.threads.iter().map(move |thread| (process, thread)))
        .collect();
    threads.sort_by_key(|(_, thread)| std::cmp::Reverse(thread.totals.wait));
    threads
}

const TOTALS: [(&str, Kind); 8] = [
    ("run", Kind::Ns),
    ("wait", Kind::Ns),
    ("sleep", Kind::Ns),
    ("block", Kind::Ns),
    ("stopped", Kind::Ns),
    ("unknown", Kind::Ns),
    ("voluntary", Kind::Count),
    ("involuntary", Kind::Count),
];

fn totals(first: Row, totals: &Totals) -> Row {
    let times = [
        totals.run,
        totals.wait,
        totals.sleep,
        totals.block,
        totals.stopped,
        totals.unknown,
    ];
    let times = times.map(|time| time.0).into_iter();
    let counts = [totals.voluntary, totals.involuntary];
    let numbers = times.chain(counts).map(number);
    first.into_iter().chain(numbers).collect()
}

fn thread_table(report: &Report) -> Table<'static> {
    let names = [("name", Kind::Name), ("tid", Kind::Id), ("pid", Kind::Id)];
    let columns = [&names[..], &TOTALS].concat();
    let rows = threads(report).into_iter().map(|(process, thread)| {
        let names = vec![
            text(thread.comm.bytes()),
            number(thread.tid),
            number(process.pid),
        ];
        totals(names, &thread.totals)
    });
    let mut table = Table::new("Threads", "threads", &columns).fill(rows);
    for folded in report.processes.iter().map(|process| &process.folded) {
        if folded.threads > 0 {
            let names = vec![Cell::Nothing; names.len()];
            table.fold(folded.threads, &totals(names, &folded.totals));
        }
    }
    table
}

fn process_table(report: &Report) -> Table<'static> {
    let names = [
        ("name", Kind::Name),
        ("pid", Kind::Id),
        ("threads", Kind::Count),
    ];
    let columns = [&names[..], &TOTALS].concat();
    let rows = report.processes.iter().map(|process| {
        let names = vec![
            text(process.comm.bytes()),
            number(process.pid),
            number(process.threads_total),
        ];
        totals(names, &process.totals)
    });
    Table::new("Processes", "processes", &columns).fill(rows)
}

fn wait_table(report: &Report) -> Table<'static> {
    let columns = [
        ("thread", Kind::Name),
        ("tid", Kind::Id),
        ("waited for", Kind::Name),
        ("times", Kind::Count),
        ("wait", Kind::Ns),
    ];
    let mut shares: Vec<(&Thread, &WaitedFor)> = threads(report)
        .into_iter()
        .flat_map(|(_, thread)| thread.waited_for.iter().map(move |share| (thread, share)))
        .collect();
    shares.sort_by_key(|(_, share)| std::cmp::Reverse(share.ns));
    let rows = shares.into_iter().map(|(thread, share)| {
        vec![
            text(thread.comm.bytes()),
            number(thread.tid),
            Cell::Text(sentence::culprit(share, None)),
            number(share.count),
            number(share.ns.0),
        ]
    });
    let mut table = Table::new("Waits by cause", "shares", &columns).fill(rows);
    // Whom ended threads waited for is not kept when they are folded.
    for folded in report.processes.iter().map(|process| &process.folded) {
        if folded.threads > 0 {
            let mut row = vec![Cell::Nothing; 4];
            row.push(number(folded.totals.wait.0));
            table.fold(folded.threads, &row);
        }
    }
    table
}

/// All that the report holds, longest first.
fn longest(report: &Report) -> Vec<&Spike> {
    let spikes = report.spikes.iter().flat_map(|spikes| &spikes.spikes);
    let mut spikes: Vec<&Spike> = spikes.collect();
    spikes.sort_by_key(|spike| std::cmp::Reverse(spike.latency));
    spikes
}

fn spike_table(report: &Report) -> Table<'static> {
    let columns = [
        ("name", Kind::Name),
        ("tid", Kind::Id),
        ("CPU", Kind::Id),
        ("cause", Kind::Name),
        ("at", Kind::At),
        ("latency", Kind::Ns),
    ];
    let spikes = longest(report);
    let rows = spikes.iter().map(|spike| {
        vec![
            text(spike.victim.comm.bytes()),
            number(spike.victim.tid),
            number(spike.cpu),
            Cell::Text(words::wait_cause(spike.cause).into()),
            Cell::Number(spike.at_ns),
            number(spike.latency.0),
        ]
    });
    let mut table = Table::new("Spikes by latency", "spikes", &columns).fill(rows);
    // The report counts more spikes than it holds: how long those were together is not known.
    let more = report.spikes.as_ref().map_or(0, |spikes| spikes.count);
    let more = more.saturating_sub(spikes.len() as u64);
    if more > 0 {
        table.fold(more, &[]);
        if let Some((_, sums)) = &mut table.others {
            sums[columns.len() - 1] = Cell::Nothing;
        }
    }
    table
}

fn fork_table(report: &Report) -> Table<'static> {
    let columns = [
        ("parent", Kind::Name),
        ("child", Kind::Name),
        ("child pid", Kind::Id),
        ("kind", Kind::Name),
        ("at", Kind::At),
        ("system call", Kind::Ns),
        ("until it ran", Kind::Ns),
    ];
    let births = report.births.iter();
    let mut forks: Vec<_> = births.clone().flat_map(|births| &births.forks).collect();
    forks.sort_by_key(|fork| std::cmp::Reverse((fork.syscall, fork.fork_to_run)));
    let rows = forks.iter().map(|fork| {
        vec![
            text(fork.parent.comm.bytes()),
            text(fork.child_comm.bytes()),
            number(fork.child_pid),
            Cell::Text(words::birth(fork.kind).into()),
            Cell::Number(fork.at_ns),
            ns(fork.syscall),
            ns(fork.fork_to_run),
        ]
    });
    let mut table = Table::new("Births", "births", &columns).fill(rows);
    let all: u64 = births.map(|births| births.forks_total).sum();
    let more = all.saturating_sub(forks.len() as u64);
    if more > 0 {
        table.fold(more, &[]);
        if let Some((_, sums)) = &mut table.others {
            sums[5..].fill(Cell::Nothing);
        }
    }
    table
}

pub fn content<'a>(host: &'a Host, report: &'a Report) -> Content<'a> {
    let threads = threads(report);
    let waited = threads
        .iter()
        .filter(|(_, thread)| !thread.waited_for.is_empty());
    let bars: Vec<Bar> = waited.take(BARS).map(|(_, thread)| bar(thread)).collect();
    let all: u64 = report.processes.iter().map(|one| one.totals.wait.0).sum();
    let shown: u64 = bars.iter().map(|bar| bar.wait_ns).sum();
    let folded: u64 = report.processes.iter().map(|one| one.folded.threads).sum();
    let others = threads.len() as u64 + folded - bars.len() as u64;
    Content {
        version: env!("CARGO_PKG_VERSION"),
        host: &host.hostname,
        kernel: &host.kernel,
        started: report.window.started.as_deref(),
        target: &report.target.description,
        verdict: words::verdict(report.quality.verdict),
        reasons: &report.quality.reasons,
        cost: report.cost.as_ref().map(json_cost),
        insights: report
            .insights
            .iter()
            .map(|insight| [&*insight.text, &*insight.evidence, &*insight.remedy])
            .collect(),
        slower_ns: report.spikes.as_ref().map(|spikes| spikes.threshold.0),
        spikes: longest(report)
            .into_iter()
            .take(ROWS)
            .map(sentence::spike)
            .collect(),
        bars,
        no_bar: (others, all.saturating_sub(shown)),
        tables: vec![
            thread_table(report),
            process_table(report),
            wait_table(report),
            spike_table(report),
            fork_table(report),
        ],
    }
}
