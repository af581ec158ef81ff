//! What is shown: the numbers of one window, chosen and sorted. Built by the pipeline, read by `output`.
//!
//! `None` is "not measured", never zero. Times are nanoseconds; `at` counts from the window's start.

mod births;
mod causes;
mod costs;

pub use births::{
    Births, Branch, BranchCosts, CowFaults, Crash, Creator, Ended, Exec, Fork, ForkCost, PerGib,
};
pub use causes::{
    BlockedOn, ChargeKind, Insight, PreemptedBy, Spike, SpikeCause, SpikeWaker, Spikes, WaitedFor,
    Who, WokenBy,
};

pub use costs::{Cost, SwitchCost, SwitchCosts, SwitchKind};

use crate::model::{Comm, Nanos, NextKind, OffState, Priority, SwitchCount, Syscall, Timestamp};

/// The report over one window or one interval.
#[derive(Clone, Debug, Default)]
pub struct Report {
    pub window: Window,
    pub target: Target,
    pub quality: Quality,
    /// `None`: not measured, as of an interval or of a recording that was cut off.
    pub cost: Option<Cost>,
    pub system: System,
    /// With `--switch-cost`, of the whole window.
    pub switch_costs: Option<SwitchCosts>,
    /// Sorted by wait, longest first.
    pub processes: Vec<Process>,
    /// Of the whole window: an interval has none.
    pub births: Option<Births>,
    /// With `--slower`.
    pub spikes: Option<Spikes>,
    /// At most five, the weightiest first.
    pub insights: Vec<Insight>,
}

#[derive(Clone, Debug, Default)]
pub struct Window {
    /// `CLOCK_MONOTONIC` at the start.
    pub start: Timestamp,
    /// The same moment by the wall clock, RFC 3339. Filled at the edge: the core reads no clock.
    pub started: Option<String>,
    pub duration: Nanos,
    pub end_reason: Option<EndReason>,
    /// An interval of the window: how far into the window it began.
    pub interval_at: Option<Nanos>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndReason {
    Duration,
    Signal,
    TargetExit,
    MaxOverhead,
    RecordingEnd,
    Error,
}

#[derive(Clone, Debug, Default)]
pub struct Target {
    /// In words: `pid 1234`, `the whole system`.
    pub description: String,
    pub pids: Vec<u32>,
    pub processes: u64,
    pub threads: u64,
    pub model: Model,
}

/// How the target divides its work.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Model {
    /// One process with one thread.
    #[default]
    Single,
    /// One process with several threads.
    Threads,
    /// Several processes of one thread each.
    Processes,
    /// Several processes, some with several threads.
    Hybrid,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing lost or missed, every check matches, no unknown time.
    #[default]
    Valid,
    /// Loss known in number, every checkable total still matches.
    Degraded,
    /// A mismatch without a known loss or a listed reason.
    Invalid,
}

#[derive(Clone, Debug, Default)]
pub struct Quality {
    pub verdict: Verdict,
    pub reasons: Vec<String>,
    pub lost_records: u64,
    pub lost_switches: u64,
    /// Switches that records told.
    pub received_switches: u64,
    /// `None`: this kernel does not tell.
    pub missed_events: Option<u64>,
    pub late_records: u64,
    /// Where records were lost: how many holes there are, and the longest of them.
    pub holes: u64,
    pub longest_holes: Vec<Hole>,
    pub switch_ins_without_waking: u64,
    /// Switch-ins that no record told, put in from the kernel's counters.
    pub rebuilt_switch_ins: u64,
    /// Threads whose switch-outs the kernel shows to nobody: no rows, named where they ran.
    pub hidden_threads: u64,
    pub folded_threads: u64,
    pub threads_checked: u64,
    pub threads_matched: u64,
    pub threads_self_checked: u64,
    pub mismatches: Vec<Mismatch>,
}

/// A stretch in which records of one CPU are missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hole {
    pub cpu: u16,
    /// From the window's start.
    pub from_ns: i64,
    pub to_ns: i64,
    pub records: u64,
}

/// A total that differs from the kernel's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mismatch {
    pub tid: u32,
    pub field: CheckedField,
    pub ours: u64,
    pub kernel: u64,
    /// A known error of the kernel explains it, and it does not spoil the verdict.
    pub reason: Option<KnownError>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CheckedField {
    Voluntary,
    Involuntary,
    Run,
    Wait,
}

/// Errors of the kernel's own accounting that we know, bound and list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KnownError {
    /// Since 6.12 a delayed-dequeue sleeper that is migrated is stamped as queued.
    KernelCountedSleep,
    /// A thread preempted in a non-running state is not stamped, nor is one between two run queues.
    KernelMissedWait,
    /// The scheduler takes a preempting wake-up's time for the time of the switch that follows:
    /// what runs in between is counted as the preemptor's, and as wait of the preempted.
    KernelStaleClock,
    /// Not the kernel's: the thread waited when it was first seen, and the end of that wait is lost.
    /// How much of it lies in the window cannot be told; it is unknown time.
    BeganBeforeAHole,
}

#[derive(Clone, Debug, Default)]
pub struct System {
    pub totals: Option<SystemTotals>,
    pub cpus: Vec<CpuRow>,
}

/// Switches of the whole machine, whatever the target.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SystemTotals {
    pub voluntary: u64,
    pub involuntary: u64,
    /// Switches away from the idle thread.
    pub from_idle: u64,
    pub address_space_changes: u64,
    pub kinds: Kinds,
}

impl SystemTotals {
    pub fn count(&mut self, counted: SwitchCount) {
        self.voluntary += counted.voluntary;
        self.involuntary += counted.involuntary;
        self.from_idle += counted.from_idle;
    }

    pub fn add(&mut self, other: &SystemTotals) {
        self.voluntary += other.voluntary;
        self.involuntary += other.involuntary;
        self.from_idle += other.from_idle;
        self.address_space_changes += other.address_space_changes;
        self.kinds.add(&other.kinds);
    }

    pub fn switches(&self) -> u64 {
        self.voluntary + self.involuntary + self.from_idle
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CpuRow {
    pub cpu: u16,
    pub busy: Nanos,
    pub idle: Nanos,
    pub switches: u64,
}

#[derive(Clone, Debug, Default)]
pub struct Process {
    pub pid: u32,
    /// Negative: before the window. `None`: its birth record was lost.
    pub started_ns: Option<i64>,
    pub ppid: u32,
    pub comm: Comm,
    pub cmdline: Option<String>,
    /// The number behind `cgroup`; the edge that can read the hierarchy finds its path.
    pub cgroup_id: Option<u64>,
    pub cgroup: Option<String>,
    pub threads_max: u64,
    pub threads_total: u64,
    pub memory: Option<ProcessMemory>,
    pub totals: Totals,
    pub folded: Folded,
    /// Sorted by wait, longest first.
    pub threads: Vec<Thread>,
}

/// What a process has in memory. All in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProcessMemory {
    pub source: MemorySource,
    pub rss_bytes: u64,
    /// Pages that several processes share count in parts.
    pub pss_bytes: Option<u64>,
    pub page_table_bytes: Option<u64>,
    pub peak_rss_bytes: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemorySource {
    /// Read at the end of the window.
    Procfs,
    /// It has ended: what it had when it called exit.
    Exit,
}

/// What a thread adds to that.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ThreadMemory {
    pub kernel_stack_bytes: Option<u64>,
    /// The pages of its stack in user space that are in memory.
    pub user_stack_bytes: Option<u64>,
}

/// Ended threads that were folded into their process to bound memory.
#[derive(Clone, Debug)]
pub struct Folded {
    pub threads: u64,
    pub totals: Totals,
}

impl Default for Folded {
    fn default() -> Folded {
        Folded {
            threads: 0,
            totals: Totals::zero(),
        }
    }
}

/// What adds up: over one thread, the threads of a process, or folded threads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    pub lifetime: Nanos,
    /// Gross: from switch-in to switch-out.
    pub run: Nanos,
    pub run_steal: Option<Nanos>,
    /// The parts of `run` that hard interrupts took, and softirqs.
    pub run_irq: Option<Nanos>,
    pub run_softirq: Option<Nanos>,
    pub wait: Nanos,
    /// The part of `wait` that the kernel's own counter missed.
    pub wait_uncounted: Nanos,
    pub sleep: Nanos,
    pub block: Nanos,
    pub iowait: Option<Nanos>,
    pub stopped: Nanos,
    pub unknown: Nanos,
    /// The part of sleep and block between the waker's decision and the run queue.
    pub wake: Option<Nanos>,
    pub voluntary: u64,
    pub involuntary: u64,
    pub involuntary_yields: Option<u64>,
    pub kinds: Kinds,
    pub address_space_changes: u64,
    pub migrations: u64,
}

impl Totals {
    /// Invariant: equals `lifetime`, to the nanosecond.
    pub fn accounted(&self) -> Nanos {
        self.run + self.wait + self.sleep + self.block + self.stopped + self.unknown
    }

    pub fn add(&mut self, other: &Totals) {
        self.lifetime += other.lifetime;
        self.run += other.run;
        self.run_steal = sum(self.run_steal, other.run_steal);
        self.run_irq = sum(self.run_irq, other.run_irq);
        self.run_softirq = sum(self.run_softirq, other.run_softirq);
        self.wait += other.wait;
        self.wait_uncounted += other.wait_uncounted;
        self.sleep += other.sleep;
        self.block += other.block;
        self.iowait = sum(self.iowait, other.iowait);
        self.stopped += other.stopped;
        self.unknown += other.unknown;
        self.wake = sum(self.wake, other.wake);
        self.voluntary += other.voluntary;
        self.involuntary += other.involuntary;
        self.involuntary_yields = match (self.involuntary_yields, other.involuntary_yields) {
            (Some(a), Some(b)) => Some(a + b),
            _ => None,
        };
        self.kinds.add(&other.kinds);
        self.address_space_changes += other.address_space_changes;
        self.migrations += other.migrations;
    }

    /// The neutral element of [`Totals::add`]: zero where `Default` says "not measured".
    pub fn zero() -> Totals {
        Totals {
            run_steal: Some(Nanos::ZERO),
            run_irq: Some(Nanos::ZERO),
            run_softirq: Some(Nanos::ZERO),
            iowait: Some(Nanos::ZERO),
            wake: Some(Nanos::ZERO),
            involuntary_yields: Some(0),
            ..Totals::default()
        }
    }
}

/// A sum is known only when both parts are.
fn sum(a: Option<Nanos>, b: Option<Nanos>) -> Option<Nanos> {
    Some(a? + b?)
}

/// What the switched-out thread gave way to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kinds {
    pub same_process: u64,
    pub other_process: u64,
    pub kernel_thread: u64,
    pub idle: u64,
}

impl Kinds {
    pub fn sum(&self) -> u64 {
        self.same_process + self.other_process + self.kernel_thread + self.idle
    }

    pub fn count(&mut self, kind: NextKind) {
        match kind {
            NextKind::Idle => self.idle += 1,
            NextKind::KernelThread => self.kernel_thread += 1,
            NextKind::SameProcess => self.same_process += 1,
            NextKind::OtherProcess => self.other_process += 1,
        }
    }

    pub fn add(&mut self, other: &Kinds) {
        self.same_process += other.same_process;
        self.other_process += other.other_process;
        self.kernel_thread += other.kernel_thread;
        self.idle += other.idle;
    }
}

#[derive(Clone, Debug, Default)]
pub struct Thread {
    pub tid: u32,
    /// Its tid before it called exec without being the leader.
    pub was_tid: Option<u32>,
    pub comm: Comm,
    /// Belongs to the tracer itself.
    pub own: bool,
    /// Negative: before the window. `None`: its birth record was lost.
    pub started_ns: Option<i64>,
    pub born_in_window: bool,
    pub exit: Option<Exit>,
    pub priority: Priority,
    pub cpu_last: u16,
    pub totals: Totals,
    pub run_slice: Dist,
    pub wait: Dist,
    /// wake + wait, for threads that were woken.
    pub latency: Option<Dist>,
    /// Who or what had the CPU while it waited: adds up to `totals.wait`. Longest first.
    pub waited_for: Vec<WaitedFor>,
    /// Who came when it left runnable. Longest first.
    pub preempted_by: Vec<PreemptedBy>,
    /// Most frequent first.
    pub woken_by: Vec<WokenBy>,
    /// Longest first.
    pub off_cpu: Vec<OffCpu>,
    /// The same with who ended it. Longest first.
    pub blocked_on: Vec<BlockedOn>,
    pub kernel: Option<KernelCounters>,
    /// Of threads that live at the end of the window, of targets named by number.
    pub memory: Option<ThreadMemory>,
    pub covered: Covered,
}

/// The shares of totals that records told one by one: `kinds`, distributions and rows have these, the
/// rest only the counters tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Covered {
    /// Switch-outs that no record told; `kinds` and `address_space_changes` lack them.
    pub lost_switches: u64,
    /// Of run and wait, what is in no distribution.
    pub healed_run: Nanos,
    pub healed_wait: Nanos,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exit {
    pub at_ns: i64,
    pub code: u8,
    /// 0: not killed by a signal.
    pub signal: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OffCpu {
    pub state: OffState,
    pub syscall: Option<Syscall>,
    pub count: u64,
    pub ns: Nanos,
}

/// The kernel's own counters over the window, cut the same way as ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KernelCounters {
    pub source: KernelSource,
    pub voluntary: u64,
    pub involuntary: u64,
    pub run: Nanos,
    pub wait: Nanos,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KernelSource {
    /// A task iterator that does not go through the ring.
    Snapshot,
    /// The thread's own last switch record: it has ended.
    LastRecord,
}

/// A distribution of lengths; quantiles within 1.6 %. Nothing but `count` and `clipped` when empty.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dist {
    pub count: u64,
    /// Lengths cut by an edge of the window: in the totals, not in here.
    pub clipped: u64,
    pub sum: Nanos,
    pub values: Option<DistValues>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DistValues {
    pub min: Nanos,
    pub p50: Nanos,
    pub p90: Nanos,
    pub p99: Nanos,
    pub p999: Nanos,
    pub max: Nanos,
    /// When the longest ended.
    pub max_at: Nanos,
}
