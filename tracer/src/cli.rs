//! The command line as types. A command or flag is here only once it works.

mod recorded;
pub mod usage;
mod values;

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::PossibleValuesParser;
use clap::{Args, Parser, Subcommand, ValueEnum};
use regex::bytes::Regex;

pub use recorded::{DiffFormat, DiffOptions, ExportOptions, RecordedTarget, ReportOptions};

pub use crate::export::{Format as ExportFormat, Table};
pub use crate::output::Format;

const MAX_THREADS: u32 = 10_000;
const MAX_FORKS: u32 = 10_000;

/// Account every context switch to threads and processes, and prove that nothing is missing.
#[derive(Debug, Parser)]
#[command(
    name = "tracer",
    version,
    arg_required_else_help = false,
    disable_help_subcommand = true
)]
#[command(
    after_help = "Exit status: 0 done, 1 failed, 2 wrong usage, 3 this machine or user cannot trace \
    (`tracer doctor` says why), 4 the report disagrees with the kernel."
)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    Run(Box<RunOptions>),
    Record(Box<RecordOptions>),
    Report(Box<ReportOptions>),
    Export(Box<ExportOptions>),
    Diff(Box<DiffOptions>),
    Verify(VerifyOptions),
    Doctor(DoctorOptions),
    /// Write the files that belong to an installation.
    #[command(hide = true)]
    Generate(GenerateOptions),
    /// Say how large each kernel program is, and what a run of it costs.
    #[command(hide = true)]
    Probes(ProbesOptions),
    /// Play a known pattern of threads and processes, something to trace.
    #[command(hide = true)]
    Workload(WorkloadArguments),
}

/// Trace the scheduler: account every context switch to threads and processes, then report.
///
/// Ends when the duration is over, the target is gone, or on SIGINT or SIGTERM: the first one
/// finishes and reports, a second one stops at once.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Durations: 250us, 5ms, 2s, 1m (ns, us, ms, s, m, h). Sizes: 64KiB, 64MiB (B, KiB, MiB, GiB).\n\
    With a COMMAND, the exit status is the command's own (128+N when signal N ended it; 127 not found, \
    126 not executable)."
)]
pub struct RunOptions {
    /// Stop after this time [default: until the target is gone, for --pid, --tid and COMMAND, or a signal arrives]
    #[arg(long, value_name = "D", value_parser = values::duration)]
    pub duration: Option<Duration>,

    /// Show an intermediate report this often, at least 10ms [default: 1s on a terminal, else none]
    #[arg(long, value_name = "D", value_parser = values::interval)]
    pub interval: Option<Duration>,

    /// Tell each wake-up or preemption that kept a thread from its CPU this long or longer, as it ends and in the report, and what it was waited for
    #[arg(long, value_name = "D", value_parser = values::duration)]
    pub slower: Option<Duration>,

    /// Measure what fork, clone, exec and exit take, in the system call and after it; slows every system call of the machine a little
    #[arg(long)]
    pub forks: bool,

    /// Measure what switches cost in place, by kind: two calls of a program more at each of them (kernel 6.16)
    #[arg(long)]
    pub switch_cost: bool,

    /// Memory for events on their way from the kernel, per CPU, 4KiB to 1GiB, rounded up to a power of two [default: by memory, 1MiB to 8MiB]
    #[arg(long, value_name = "SIZE", value_parser = values::buffer)]
    pub buffer: Option<u64>,

    /// Ended threads kept apart; the oldest beyond it are summed up in their process
    #[arg(long, value_name = "N", default_value_t = MAX_THREADS, value_parser = clap::value_parser!(u32).range(1..))]
    pub max_threads: u32,

    /// Births kept apart, and as many execs and ends; beyond it the dearest are kept, all are summed up
    #[arg(long, value_name = "N", default_value_t = MAX_FORKS, value_parser = clap::value_parser!(u32).range(1..))]
    pub max_forks: u32,

    /// Stop, and report, when tracing takes more than this share of the machine, in per cent, over a second
    #[arg(long, value_name = "PERCENT", value_parser = values::percent)]
    pub max_overhead: Option<f64>,

    /// How the cost of the kernel programs is found
    #[arg(long, value_enum, default_value_t = CostMethod::Calibrated)]
    pub cost: CostMethod,

    /// Show command lines (they may hold secrets)
    #[arg(long)]
    pub cmdline: bool,

    /// What to write
    #[arg(long, value_enum, default_value_t = Format::Table)]
    pub format: Format,

    /// Write the report here instead of standard output; a regular file is replaced once the report is whole
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,

    /// Write a recording, too: see `tracer record`
    #[arg(long, value_name = "FILE")]
    pub record: Option<PathBuf>,

    /// Write no report.
    #[arg(skip)]
    pub silent: bool,

    /// Keep the recording in memory.
    #[arg(skip)]
    pub flight: Option<FlightOptions>,

    /// Tell on standard error what is loaded, attached and detached, and rare messages of the kernel programs
    #[arg(short, long)]
    pub verbose: bool,

    // Last: its heading would go on to what follows it.
    #[command(flatten)]
    pub target: TargetOptions,
}

/// A recording of which only the newest part is kept.
#[derive(Clone, Copy, Debug)]
pub struct FlightOptions {
    /// In bytes.
    pub max_size: u64,
    /// What is kept is written when there was a spike, and so much before it.
    pub keep: Option<Duration>,
}

/// Without `--max-size`, of what is kept in memory.
const FLIGHT_SIZE: u64 = 64 << 20;
const KEEP: Duration = Duration::from_secs(10);

/// Trace the scheduler into a file, for `tracer report` and whatever is asked later.
///
/// Ends as `tracer run` does. A recording that was cut off can be read up to where it was written last; one
/// with --max-size or --on-spike is in memory until it is written.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Durations: 250us, 5ms, 2s, 1m (ns, us, ms, s, m, h). Sizes: 64KiB, 64MiB (B, KiB, MiB, GiB)."
)]
pub struct RecordOptions {
    /// Write the recording here, readable for its owner alone
    #[arg(short, long, value_name = "FILE")]
    pub output: PathBuf,

    /// Keep the newest part only, in memory, and write it at the end [default with --on-spike: 64MiB]
    #[arg(long, value_name = "SIZE", value_parser = values::flight)]
    pub max_size: Option<u64>,

    /// Write what is kept in memory whenever a wake-up or preemption kept a thread from its CPU this long or longer, one second later: to FILE, then FILE.1, FILE.2 and so on
    #[arg(long, value_name = "D", value_parser = values::duration)]
    pub on_spike: Option<Duration>,

    /// Keep this much before a spike, as far as --max-size allows [default: 10s]
    #[arg(long, value_name = "D", value_parser = values::duration, requires = "on_spike")]
    pub keep: Option<Duration>,

    /// Stop after this time [default: until the target is gone, for --pid, --tid and COMMAND, or a signal arrives]
    #[arg(long, value_name = "D", value_parser = values::duration)]
    pub duration: Option<Duration>,

    /// Measure what fork, clone, exec and exit take, in the system call and after it; slows every system call of the machine a little
    #[arg(long)]
    pub forks: bool,

    /// Measure what switches cost in place, by kind: two calls of a program more at each of them (kernel 6.16)
    #[arg(long)]
    pub switch_cost: bool,

    /// Memory for events on their way from the kernel, per CPU, 4KiB to 1GiB, rounded up to a power of two [default: by memory, 1MiB to 8MiB]
    #[arg(long, value_name = "SIZE", value_parser = values::buffer)]
    pub buffer: Option<u64>,

    /// Stop when tracing takes more than this share of the machine, in per cent, over a second
    #[arg(long, value_name = "PERCENT", value_parser = values::percent)]
    pub max_overhead: Option<f64>,

    /// Tell on standard error what is loaded, attached and detached, and rare messages of the kernel programs
    #[arg(short, long)]
    pub verbose: bool,

    // Last: its heading would go on to what follows it.
    #[command(flatten)]
    pub target: TargetOptions,
}

impl RecordOptions {
    /// As a run that writes no report.
    pub fn into_run(self) -> RunOptions {
        RunOptions {
            duration: self.duration,
            interval: None,
            slower: self.on_spike,
            forks: self.forks,
            switch_cost: self.switch_cost,
            buffer: self.buffer,
            max_threads: MAX_THREADS,
            max_forks: MAX_FORKS,
            max_overhead: self.max_overhead,
            cost: CostMethod::Calibrated,
            cmdline: false,
            // Never shown, and no terminal asks for intervals.
            format: Format::Json,
            output: None,
            record: Some(self.output),
            silent: true,
            flight: (self.max_size.is_some() || self.on_spike.is_some()).then(|| FlightOptions {
                max_size: self.max_size.unwrap_or(FLIGHT_SIZE),
                keep: self.on_spike.map(|_| self.keep.unwrap_or(KEEP)),
            }),
            verbose: self.verbose,
            target: self.target,
        }
    }
}

/// How the cost of the kernel programs is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum CostMethod {
    /// Counted runs, times what a run takes in a loop at the start
    Calibrated,
    /// The kernel's own statistics: exact, and slower for every BPF program of the machine
    Exact,
}

/// Whom to trace: the union of all that is given; nothing is the whole system.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Target (the union of these; none: the whole system)")]
pub struct TargetOptions {
    /// A process, all its threads and its descendants; several: 1,2 or repeated
    #[arg(long = "pid", value_name = "PID", value_delimiter = ',', value_parser = values::pid)]
    pub pids: Vec<u32>,

    /// One thread, and what it creates; several: 1,2 or repeated
    #[arg(long = "tid", value_name = "TID", value_delimiter = ',', value_parser = values::pid)]
    pub tids: Vec<u32>,

    /// Threads whose name matches this regular expression (anywhere in it; use ^ and $ to anchor); repeatable
    #[arg(long = "comm", value_name = "REGEX", value_parser = values::regex)]
    pub comms: Vec<Regex>,

    /// A cgroup and all below it: as in /proc/PID/cgroup, or a directory below /sys/fs/cgroup; repeatable
    #[arg(long = "cgroup", value_name = "PATH")]
    pub cgroups: Vec<PathBuf>,

    /// Do not follow what the targets create: child processes, and new threads of a --tid or --comm
    #[arg(long)]
    pub no_children: bool,

    /// Start this command and trace it from its first instruction
    #[arg(last = true, value_name = "COMMAND")]
    pub command: Vec<OsString>,
}

impl TargetOptions {
    pub fn is_whole_system(&self) -> bool {
        self.pids.is_empty()
            && self.tids.is_empty()
            && self.comms.is_empty()
            && self.cgroups.is_empty()
            && self.command.is_empty()
    }
}

/// Measure on this machine what is said of processes and threads.
///
/// Plays patterns of threads and processes, measures what they cost, and says of each claim whether it holds here:
/// confirmed, refuted, depends, or n/a. Takes under a minute, leaves nothing behind. Without the privilege to trace,
/// what only the kernel can tell is n/a.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Exit status: 0 measured, whatever came out; 1 an experiment failed; 4 the tracer disagreed with the kernel."
)]
pub struct VerifyOptions {
    /// Only this experiment; repeatable
    #[arg(long, value_name = "NAME", value_parser = PossibleValuesParser::new(crate::verify::NAMES))]
    pub only: Vec<String>,

    /// Take half the time or less, and know less well
    #[arg(long, conflicts_with = "thorough")]
    pub quick: bool,

    /// Take minutes, and know better
    #[arg(long)]
    pub thorough: bool,

    /// What to write
    #[arg(long, value_enum, default_value_t = VerifyFormat::Table)]
    pub format: VerifyFormat,
}

/// What `verify` writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum VerifyFormat {
    /// For people; fits the terminal
    Table,
    /// One JSON object, schema tracer.verify.v1
    Json,
}

/// Say what this machine allows, what is missing, what is lost without it, and the remedy.
///
/// Changes nothing. Exit status 3 when a requirement is missing, without which nothing can be traced.
#[derive(Clone, Debug, Args)]
pub struct DoctorOptions {
    /// What to write
    #[arg(long, value_enum, default_value_t = DoctorFormat::Table)]
    pub format: DoctorFormat,
}

/// What `doctor` writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DoctorFormat {
    /// One entry a requirement
    Table,
    /// One JSON object, schema tracer.doctor.v1
    Json,
}

#[derive(Clone, Debug, Args)]
pub struct ProbesOptions {
    /// What to write
    #[arg(long, value_enum, default_value_t = DoctorFormat::Table)]
    pub format: DoctorFormat,

    /// Instead, attach programs that do nothing, until a signal: what no tracer can cost less than
    #[arg(long, conflicts_with = "format")]
    pub attach_empty: bool,
}

#[derive(Clone, Debug, Args)]
pub struct GenerateOptions {
    #[command(subcommand)]
    pub what: Generate,
}

#[derive(Clone, Debug, Subcommand)]
pub enum Generate {
    /// Write the man pages into DIR
    Man {
        #[arg(value_name = "DIR")]
        dir: PathBuf,
    },
    /// Write the completions of SHELL to standard output
    Completions {
        #[arg(value_enum, value_name = "SHELL")]
        shell: clap_complete::Shell,
    },
}

#[derive(Clone, Debug, Args)]
pub struct WorkloadArguments {
    /// Name of the pattern
    #[arg(value_name = "NAME")]
    pub name: String,

    /// How long to play it [default: depends on the pattern]
    #[arg(long, value_name = "D", value_parser = values::duration)]
    pub duration: Option<Duration>,

    /// How many of whatever the pattern consists of [default: depends on the pattern]
    #[arg(long, value_name = "N")]
    pub count: Option<u64>,

    /// Memory that each of its threads or processes uses [default: none of its own]
    #[arg(long, value_name = "SIZE", value_parser = values::memory)]
    pub size: Option<u64>,

    /// Threads or processes that take part [default: depends on the pattern]
    #[arg(long, value_name = "N")]
    pub parties: Option<u64>,

    /// CPUs that they are spread over [default: depends on the pattern]
    #[arg(long, value_name = "N")]
    pub cpus: Option<u64>,

    /// End when standard input does
    #[arg(long)]
    pub tied: bool,

    /// Tell who takes part, and wait for a line on standard input before it begins
    #[arg(long, requires = "tied")]
    pub staged: bool,

    /// End when this process does, which started it
    #[arg(long, value_name = "PID")]
    pub child_of: Option<u32>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    fn run(arguments: &[&str]) -> Result<RunOptions, clap::Error> {
        let cli = Cli::try_parse_from(["tracer", "run"].iter().chain(arguments))?;
        match cli.command {
            Command::Run(options) => Ok(*options),
            other => unreachable!("parsed as {other:?}"),
        }
    }

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn nothing_is_the_whole_system_with_the_defaults() {
        let options = run(&[]).expect("valid");
        assert!(options.target.is_whole_system());
        assert_eq!(options.buffer, None);
        assert_eq!(options.format, Format::Table);
        assert_eq!((options.duration, options.interval), (None, None));
        assert_eq!(options.slower, None);
    }

    #[test]
    fn a_threshold_is_a_duration() {
        let options = run(&["--slower", "1500us"]).expect("valid");
        assert_eq!(options.slower, Some(Duration::from_micros(1_500)));
    }

    #[test]
    fn a_target_is_a_union() {
        let options = run(&[
            "--pid", "1,2", "--pid", "3", "--tid", "4", "--comm", "^a", "--", "sh", "-c", "x",
        ]);
        let target = options.expect("valid").target;
        assert_eq!(target.pids, [1, 2, 3]);
        assert_eq!(target.tids, [4]);
        assert_eq!(target.command, ["sh", "-c", "x"]);
        assert!(!target.is_whole_system());
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for arguments in [
            &["--pid", "0"][..],
            &["--pid", "-1"],
            &["--pid", "x"],
            &["--duration", "0"],
            &["--comm", "("],
            &["--buffer", "1KiB"],
            &["--format", "xml"],
            &["--slower", "5"],
            &["--slower", "0ms"],
            &["ls"],
        ] {
            assert_eq!(
                run(arguments).expect_err("refused").exit_code(),
                2,
                "{arguments:?}"
            );
        }
    }
}
