//! What becomes of events: stretches of a thread's time, what happens to it at one point, and who takes both.
//!
//! In: nothing. Out: types. Knows no bytes, no files, no clock.

use super::{
    Counters, Cpu, CpuSwitches, Nanos, NextKind, OffState, Slot, Switch, Syscall, Timestamp,
    WakerKind, WhoId,
};

/// How a wait began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitBegan {
    /// Left runnable: preempted, yielded, throttled, or a signal was pending.
    Involuntary,
    /// Woken from a sleep.
    Woken,
    /// Born.
    New,
}

/// By how many nanoseconds a stretch is longer on the scheduler's clock than on ours.
///
/// The scheduler does not read the clock again when a wake-up asks for a switch right away
/// (`rq_clock_skip_update`, kernel/sched/sched.h): to its counters the preempted thread left, and
/// the preemptor came, when the wake-up happened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClockGap(pub i64);

impl ClockGap {
    /// Of a stretch that is `theirs` long on the scheduler's clock and `ours` on ours.
    pub fn less(theirs: Nanos, ours: Nanos) -> ClockGap {
        ClockGap(theirs.0.wrapping_sub(ours.0) as i64)
    }

    /// Between two switches, each told as (our time, the scheduler's time).
    pub fn between(from: (Timestamp, Timestamp), to: (Timestamp, Timestamp)) -> ClockGap {
        let theirs = to.1.0.wrapping_sub(from.1.0);
        let ours = to.0.0.wrapping_sub(from.0.0);
        ClockGap(theirs.wrapping_sub(ours) as i64)
    }
}

/// A stretch on a run queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wait {
    pub began: WaitBegan,
    /// What the kernel's own counter gained for it.
    pub credit: Nanos,
    /// The kernel stamped it from its beginning to its end; else `credit` may miss a part.
    pub stamped: bool,
    pub gap: ClockGap,
}

impl Wait {
    /// As the kernel counts it, by one clock.
    pub fn stamped(began: WaitBegan, credit: Nanos) -> Wait {
        let gap = ClockGap::default();
        Wait {
            began,
            credit,
            stamped: true,
            gap,
        }
    }
}

/// What a thread did between two points of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doing {
    Run {
        /// How much of it the hypervisor took; `None` when not measured.
        steal: Option<Nanos>,
        /// How much of it the kernel does not count as run time.
        lag: Nanos,
        /// How much of it hard interrupts took, and softirqs.
        irq: Nanos,
        softirq: Nanos,
        gap: ClockGap,
    },
    Wait(Wait),
    Off {
        state: OffState,
        iowait: bool,
        syscall: Option<Syscall>,
        /// The part at its end between the waker's decision and the run queue; `None` when the
        /// decision was not seen.
        wake: Option<Nanos>,
    },
    /// A hole in the stream: this time is charged to nobody.
    Unknown,
}

/// A thread in one state. The spans of a thread follow each other without a gap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    pub slot: Slot,
    pub from: Timestamp,
    pub to: Timestamp,
    pub doing: Doing,
    /// Its end is only where the report was asked for, or its beginning where tracing began.
    pub open: bool,
}

/// What happens to a thread at one point of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// Life begins.
    Born,
    /// First sight of a thread that is older; its counters as the kernel has them.
    Baseline(Counters),
    /// Left the CPU. `voluntary + involuntary` is more than 1 when switches before were lost.
    SwitchOut {
        voluntary: u64,
        involuntary: u64,
        /// The involuntary one came from `sched_yield`.
        yielded: bool,
        kind: NextKind,
        address_space_change: bool,
    },
    /// The kernel's counters tell how much of the hole before was run and wait.
    Heal {
        run: Nanos,
        wait: Nanos,
        /// It waited when the counters were first read: how much of what they gained for that wait is
        /// older, nobody knows, and none of it is healed.
        doubtful: bool,
    },
    /// wake + wait of a thread that was woken and now runs.
    Latency {
        from: Timestamp,
    },
    Migrated,
    /// The kernel's counters at a switch that the stream has reached as well: check against them.
    Check {
        counters: Counters,
        /// The thread runs since then, and `lag` of that is none of its run time.
        running_since: Option<Timestamp>,
        lag: Nanos,
        source: CheckSource,
    },
    /// The iterator at the end saw switches that never came through the stream.
    LostAtEnd {
        voluntary: u64,
        involuntary: u64,
    },
    /// Life ends.
    Died,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CheckSource {
    Snapshot,
    LastRecord,
}

/// What had the CPU while a thread waited for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Charge {
    /// Another thread.
    Who(WhoId),
    Irq,
    Softirq,
    /// The hypervisor.
    Steal,
    /// Nobody let it: its group had used up its quota.
    Throttled,
    /// Nobody: the way out of idle, or the choice of this CPU.
    Idle,
    /// Queued on another CPU, of which nothing is known.
    OtherCpu,
    Unknown,
}

/// A part of a wait. It begins where the part before it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    pub to: Timestamp,
    pub charge: Charge,
}

/// Why a thread was on a run queue and not on a CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum WaitCause {
    Preempted,
    /// It called `sched_yield`.
    Yielded,
    /// It left because its group had used up its quota.
    Throttled,
    /// It was about to block, and a signal was pending.
    Requeued,
    Woken,
    /// Born.
    New,
}

/// Who woke a thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Woken {
    pub kind: WakerKind,
    /// Of [`WakerKind::Thread`].
    pub who: Option<WhoId>,
    /// It is the woken thread: it had not gone to sleep yet.
    pub itself: bool,
    pub syscall: Option<Syscall>,
    /// It woke it from another CPU than the one on which it runs now.
    pub cross_cpu: bool,
    /// From the decision to the run queue.
    pub wake: Nanos,
}

/// What a thread was blocked in before it waited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slept {
    pub state: OffState,
    pub syscall: Option<Syscall>,
    pub from: Timestamp,
}

/// A wait with all that is known of it; its span is told just before. The pieces follow each other from `from`
/// to `to` without a gap.
#[derive(Clone, Copy, Debug)]
pub struct Waited<'a> {
    pub slot: Slot,
    /// Where it runs now, or waits still.
    pub cpu: Cpu,
    pub from: Timestamp,
    pub to: Timestamp,
    /// As in [`Span`].
    pub open: bool,
    pub cause: WaitCause,
    /// Who came when it left runnable, and the delay from the decision to that switch.
    pub gave_way_to: Option<WhoId>,
    pub resched: Option<Nanos>,
    pub woken: Option<Woken>,
    pub slept: Option<Slept>,
    pub pieces: &'a [Piece],
}

/// Whoever folds spans: the ledgers, and writers of time lines.
///
/// Spans and marks of one thread come in the order of their ends.
pub trait SpanSink {
    fn span(&mut self, span: &Span);
    /// The whole story of a wait, after its span.
    fn explained(&mut self, waited: &Waited<'_>);
    fn mark(&mut self, slot: Slot, at: Timestamp, mark: &Mark);
    /// `prev` left this CPU at `at`; `idle` tells whether it was the idle thread.
    fn cpu(&mut self, cpu: Cpu, from: Timestamp, to: Timestamp, idle: bool);
    /// One switch on this CPU, whoever it concerns.
    fn switch(&mut self, cpu: Cpu, at: Timestamp, switch: &Switch, counted: SwitchCount);
    /// Switches before `at` that the kernel does not show, inferred from what it does.
    fn unseen(&mut self, at: Timestamp, counted: SwitchCount);
    /// What this CPU has counted by itself up to `at`, since the probes were attached.
    fn counted(&mut self, cpu: Cpu, at: Timestamp, counted: &CpuSwitches);
}

/// How one switch record counts for the machine: more than 1 when records before it were lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SwitchCount {
    pub voluntary: u64,
    pub involuntary: u64,
    pub from_idle: u64,
}
