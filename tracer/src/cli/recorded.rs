//! Commands that read recordings.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use regex::bytes::Regex;

use super::{ExportFormat, Format, MAX_FORKS, MAX_THREADS, Table, TargetOptions, values};

/// Report from a recording what `tracer run` would have reported.
///
/// Takes no privilege but to read the file, and may run on another machine.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Durations: 250us, 5ms, 2s, 1m (ns, us, ms, s, m, h).")]
pub struct ReportOptions {
    /// The recording
    #[arg(value_name = "FILE")]
    pub file: PathBuf,

    /// Tell each wake-up or preemption that kept a thread from its CPU this long or longer, and what it was waited for
    #[arg(long, value_name = "D", value_parser = values::duration)]
    pub slower: Option<Duration>,

    /// Begin this long after the recording's window does
    #[arg(long, value_name = "D", value_parser = values::duration)]
    pub from: Option<Duration>,

    /// End this long after the recording's window begins [default: where it ends]
    #[arg(long, value_name = "D", value_parser = values::duration)]
    pub to: Option<Duration>,

    /// Ended threads kept apart; the oldest beyond it are summed up in their process
    #[arg(long, value_name = "N", default_value_t = MAX_THREADS, value_parser = clap::value_parser!(u32).range(1..))]
    pub max_threads: u32,

    /// Births kept apart, and as many execs and ends; beyond it the dearest are kept, all are summed up
    #[arg(long, value_name = "N", default_value_t = MAX_FORKS, value_parser = clap::value_parser!(u32).range(1..))]
    pub max_forks: u32,

    /// What to write
    #[arg(long, value_enum, default_value_t = Format::Table)]
    pub format: Format,

    /// Write the report here instead of standard output; a regular file is replaced once the report is whole
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,

    // Last: its heading would go on to what follows it.
    #[command(flatten)]
    pub target: RecordedTarget,
}

/// Write a recording in the format of other tools.
///
/// All formats are made of the same rows: totals are those of `tracer report`.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Durations: 250us, 5ms, 2s, 1m (ns, us, ms, s, m, h).")]
pub struct ExportOptions {
    /// The recording
    #[arg(value_name = "FILE")]
    pub file: PathBuf,

    /// The format
    #[arg(long, value_enum, value_name = "FORMAT")]
    pub to: ExportFormat,

    /// Where to, a directory for parquet; a regular file is replaced once the new one is whole
    #[arg(short, long, value_name = "OUT")]
    pub output: PathBuf,

    /// Which table, for csv
    #[arg(long, value_enum, default_value_t = Table::Spans)]
    pub table: Table,

    /// Begin this long after the recording's window does
    #[arg(long, value_name = "D", value_parser = values::duration)]
    pub from: Option<Duration>,

    /// End this long after the recording's window begins [default: where it ends]
    #[arg(long, value_name = "D", value_parser = values::duration)]
    pub until: Option<Duration>,

    /// Latencies from here on are spikes
    #[arg(long, value_name = "D", value_parser = values::duration, default_value = "5ms")]
    pub slower: Duration,

    /// Ended threads kept apart in the report; the oldest beyond it are summed up in their process. Tables have them all
    #[arg(long, value_name = "N", default_value_t = MAX_THREADS, value_parser = clap::value_parser!(u32).range(1..))]
    pub max_threads: u32,

    // Last: its heading would go on to what follows it.
    #[command(flatten)]
    pub target: RecordedTarget,
}

/// Say what changed from one recording to another, as far as it is more than chance.
///
/// Threads of one name are compared together; numbers in names do not count. A change is told when its interval of
/// 95 % does not hold 0, it stands out among all that is compared, and it is large enough to matter. A recording against
/// itself has none.
#[derive(Clone, Debug, Args)]
pub struct DiffOptions {
    /// The recording to compare with
    #[arg(value_name = "BEFORE")]
    pub before: PathBuf,

    /// The recording that is compared
    #[arg(value_name = "AFTER")]
    pub after: PathBuf,

    /// What to write
    #[arg(long, value_enum, default_value_t = DiffFormat::Table)]
    pub format: DiffFormat,

    /// Write here instead of to standard output; a regular file is replaced once all is written
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,

    // Last: its heading would go on to what follows it.
    #[command(flatten)]
    pub target: RecordedTarget,
}

/// What `diff` writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DiffFormat {
    /// For people; fits the terminal
    Table,
    /// One JSON object, schema tracer.diff.v1
    Json,
}

/// Whom to report of: the union of all that is given; nothing is all that was recorded.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Target (the union of these; none: all that was recorded)")]
pub struct RecordedTarget {
    /// A process, all its threads and its descendants; several: 1,2 or repeated
    #[arg(long = "pid", value_name = "PID", value_delimiter = ',', value_parser = values::pid)]
    pub pids: Vec<u32>,

    /// One thread, and what it creates; several: 1,2 or repeated
    #[arg(long = "tid", value_name = "TID", value_delimiter = ',', value_parser = values::pid)]
    pub tids: Vec<u32>,

    /// Threads whose name matches this regular expression (anywhere in it; use ^ and $ to anchor); repeatable
    #[arg(long = "comm", value_name = "REGEX", value_parser = values::regex)]
    pub comms: Vec<Regex>,

    /// A cgroup and all below it, by its path in the recording; repeatable
    #[arg(long = "cgroup", value_name = "PATH")]
    pub cgroups: Vec<PathBuf>,

    /// Do not follow what the targets create: child processes, and new threads of a --tid or --comm
    #[arg(long)]
    pub no_children: bool,
}

impl From<&RecordedTarget> for TargetOptions {
    fn from(asked: &RecordedTarget) -> TargetOptions {
        TargetOptions {
            pids: asked.pids.clone(),
            tids: asked.tids.clone(),
            comms: asked.comms.clone(),
            cgroups: asked.cgroups.clone(),
            no_children: asked.no_children,
            command: Vec::new(),
        }
    }
}
