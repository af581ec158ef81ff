//! The nouns of the core: times and identities as types, events and spans.
//!
//! In: nothing. Out: types for every other core module. Knows no bytes, no files, no clock.

use std::ops::{Add, AddAssign, Sub};

mod lives;
mod spans;

pub use lives::{Birth, BirthKind, Call, Memory};
pub use spans::{
    Charge, CheckSource, ClockGap, Doing, Mark, Piece, Slept, Span, SpanSink, SwitchCount, Wait,
    WaitBegan, WaitCause, Waited, Woken,
};
pub use tracer_common::counters::CpuSwitches;

/// Nanoseconds on the kernel's monotonic clock; never wall time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub u64);

/// A length of time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Nanos(pub u64);

impl Timestamp {
    /// The time since `earlier`, zero when the stream went backwards.
    pub fn since(self, earlier: Timestamp) -> Nanos {
        Nanos(self.0.saturating_sub(earlier.0))
    }

    /// The point `ago` before this one.
    pub fn before(self, ago: Nanos) -> Timestamp {
        Timestamp(self.0.saturating_sub(ago.0))
    }
}

impl Nanos {
    /// As a difference, which may be one below zero. No length of time comes near the largest.
    pub fn signed(self) -> i64 {
        i64::try_from(self.0).unwrap_or(i64::MAX)
    }

    pub const ZERO: Nanos = Nanos(0);

    pub fn saturating_sub(self, other: Nanos) -> Nanos {
        Nanos(self.0.saturating_sub(other.0))
    }
}

impl Add for Nanos {
    type Output = Nanos;
    fn add(self, other: Nanos) -> Nanos {
        Nanos(self.0.saturating_add(other.0))
    }
}

impl AddAssign for Nanos {
    fn add_assign(&mut self, other: Nanos) {
        *self = *self + other;
    }
}

impl Sub for Nanos {
    type Output = Nanos;
    /// Saturates: a length is never negative.
    fn sub(self, other: Nanos) -> Nanos {
        self.saturating_sub(other)
    }
}

impl std::iter::Sum for Nanos {
    fn sum<I: Iterator<Item = Nanos>>(iter: I) -> Nanos {
        iter.fold(Nanos::ZERO, Add::add)
    }
}

/// A logical CPU.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cpu(pub u16);

/// Names one thread from its birth to its last switch-out; see [`tracer_common::record`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(pub u64);

/// A thread's name as the kernel holds it: up to 15 bytes of anybody's choice.
///
/// Not text: it may hold escape sequences, newlines or broken UTF-8. Whoever shows it escapes it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Comm(pub [u8; 16]);

impl Comm {
    /// The bytes before the first NUL.
    pub fn bytes(&self) -> &[u8] {
        let end = self.0.iter().position(|&byte| byte == 0).unwrap_or(16);
        &self.0[..end]
    }
}

impl From<&str> for Comm {
    /// Cuts after 15 bytes, as the kernel does.
    fn from(name: &str) -> Comm {
        let mut comm = [0; 16];
        for (to, from) in comm.iter_mut().take(15).zip(name.bytes()) {
            *to = from;
        }
        Comm(comm)
    }
}

/// The kernel's cumulative counters of one thread. They only grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    pub nvcsw: u64,
    pub nivcsw: u64,
    pub run_delay: Nanos,
    pub sum_exec: Nanos,
}

impl Counters {
    /// The number of the thread's last switch-out: the kernel counts it before the tracepoint.
    pub fn seq(&self) -> u64 {
        self.nvcsw.wrapping_add(self.nivcsw)
    }
}

/// Scheduling policy and priorities.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Priority {
    /// `SCHED_*`.
    pub policy: u32,
    pub nice: i32,
    pub rt_priority: u32,
}

/// The system call a thread is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Syscall {
    /// By number, in the table of the machine's native calls.
    Native(u32),
    /// A 32-bit call: its number means another call, and is not named.
    Compat,
}

/// The state a thread left the CPU in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum OffState {
    /// Interruptible, idle or parked.
    Sleep,
    /// Uninterruptible.
    Block,
    /// Stopped by a signal or a debugger, or frozen.
    Stopped,
}

/// How a thread left the CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SwitchOut {
    /// Still runnable: preempted, yielded, throttled, or a signal was pending.
    Runnable,
    Blocked {
        state: OffState,
        /// The kernel flags this sleep as I/O.
        iowait: bool,
    },
    /// The last switch-out of a thread.
    Dead,
}

/// What a thread gave way to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NextKind {
    Idle,
    KernelThread,
    SameProcess,
    OtherProcess,
}

/// One side of a switch. The idle thread has tid 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Side {
    pub key: Key,
    pub tid: u32,
    /// Belongs to the tracer itself.
    pub own: bool,
    /// The stream tells all of it. Of one that is not watched, only the switches of others tell.
    pub watched: bool,
}

/// One context switch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Switch {
    pub prev: Side,
    pub next: Side,
    /// Of `prev`, this switch counted.
    pub counters: Counters,
    pub out: SwitchOut,
    /// The tracepoint's `preempt`: preempted inside the kernel.
    pub preempt: bool,
    /// The kernel starts to count a wait here. Not so for a thread preempted in a non-running state.
    pub stamped: bool,
    pub throttled: bool,
    /// It was about to block, and a signal was pending.
    pub requeued: bool,
    /// The system call of `prev`; `None` when it is in none or it cannot be told.
    pub syscall: Option<Syscall>,
    pub next_kind: NextKind,
    pub address_space_change: bool,
    /// The switch of this CPU before this one is not told, and would be if the CPU had been of interest.
    pub gap: bool,
    /// `run_delay` of `next` before the wait that ends now.
    pub next_run_delay: Nanos,
    /// The wait on this CPU that ends now, by the run queue's clock; `None` when `next` was not stamped.
    pub next_wait: Option<Nanos>,
    /// Low half of the number of the last switch-out of `next`.
    pub next_seq: u32,
    /// Cumulative for this CPU; `None` when not measured.
    pub steal: Option<Nanos>,
    /// Cumulative for this CPU: steal plus what else the scheduler takes out of run time.
    pub clock_lag: Nanos,
    pub nr_running: u32,
    /// The scheduler's own time of this switch; comparable across CPUs, not with [`Event::at`].
    pub rq_clock: Timestamp,
    /// The last `sched_waking` of `next` since its last switch-in, unless told by an event of its own.
    pub next_waking: Option<(Timestamp, Waker)>,
    /// Cumulative for this CPU: hard interrupts, and softirqs without those in them.
    pub interrupts: Interrupts,
    /// Cumulative for the group of `next` on this CPU: how long it was throttled.
    pub next_throttled: Nanos,
    /// From the kernel's decision that `prev` must go to this switch.
    pub resched: Option<Nanos>,
    pub prev_priority: Priority,
}

/// Cumulative for one CPU: what came between threads and their work.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Interrupts {
    pub irq: Nanos,
    pub softirq: Nanos,
}

/// What decided that a thread can go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum WakerKind {
    Thread,
    Irq,
    Softirq,
    /// The interrupt or softirq that expires timers.
    Timer,
    /// It cannot be told whether it was the thread that ran, or an interrupt.
    Unknown,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waker {
    pub kind: WakerKind,
    /// Whoever ran there: the waker only if `kind` says so.
    pub tid: u32,
    pub cpu: Cpu,
    /// The system call it was in.
    pub syscall: Option<Syscall>,
}

/// Somebody who can be to blame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Who {
    pub pid: u32,
    /// 0: the idle thread.
    pub tid: u32,
    pub comm: Comm,
    pub priority: Priority,
    pub kernel_thread: bool,
    /// Belongs to the tracer itself.
    pub own: bool,
}

impl Who {
    /// Only its number is known: it was there before the stream, and the kernel does not show it.
    pub fn is_nameless(&self) -> bool {
        self.pid == 0 && self.tid != 0
    }

    /// Nothing known of this one speaks against its being the other, which has the same tid.
    pub fn may_be(&self, other: &Who) -> bool {
        self.pid == other.pid || self.is_nameless()
    }
}

/// A thread as the task iterator or `task_newtask` describes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ThreadInfo {
    pub key: Key,
    pub tid: u32,
    pub tgid: u32,
    pub ppid: u32,
    pub start: Timestamp,
    pub comm: Comm,
    pub counters: Counters,
    pub cgroup: Option<u64>,
    pub priority: Priority,
    pub cpu: Cpu,
    pub kernel_thread: bool,
    pub io_worker: bool,
    pub own: bool,
    pub posture: Posture,
    /// Stamped as queued: a wait is open by the kernel's own count.
    pub queued: bool,
    pub syscall: Option<Syscall>,
    /// Read while the thread was being switched: the counters may not belong together.
    pub torn: bool,
    /// As in [`Switch`], of its run queue.
    pub steal: Option<Nanos>,
    pub clock_lag: Nanos,
    /// As in [`Side`].
    pub watched: bool,
    /// A wake-up that no switch-in has told.
    pub waking: Option<Timestamp>,
}

/// What a thread was doing when the iterator looked at it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Posture {
    /// Created, not yet on a run queue.
    Unborn,
    OnCpu,
    Runnable,
    Blocked {
        state: OffState,
        iowait: bool,
    },
    Dead,
}

/// One typed record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    pub at: Timestamp,
    pub cpu: Cpu,
    pub what: What,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    Switch(Switch),
    Waking {
        task: Key,
        tid: u32,
        waker: Waker,
    },
    WakeupNew {
        task: Key,
        tid: u32,
        /// Whose run queue it is on.
        on: Cpu,
        /// As in [`Switch`].
        rq_clock: Timestamp,
    },
    Migrate {
        task: Key,
        tid: u32,
        to: Cpu,
    },
    Newtask {
        child: ThreadInfo,
        birth: Birth,
    },
    Fork {
        child: Key,
        child_tid: u32,
        parent_tid: u32,
        /// The parent's; `None`: it has none, or it cannot be read.
        memory: Option<Memory>,
    },
    Exec {
        task: Key,
        tid: u32,
        old_tid: u32,
        comm: Comm,
    },
    Exit {
        task: Key,
        tid: u32,
        exit_code: u32,
        priority: Priority,
        comm: Comm,
        /// Of its process; `None`: it has given it back, or it cannot be read.
        memory: Option<Memory>,
    },
    /// A system call that creates, replaces or waits for processes has returned.
    Called {
        task: Key,
        tid: u32,
        call: Call,
    },
    /// Writes to pages that two processes share since a fork.
    Cow {
        pid: u32,
        /// The process that the fork has made: `pid` itself or its child.
        child: u32,
        /// When it was born.
        since: Timestamp,
        faults: u64,
    },
    /// A thread on its way out has given its address space back.
    Teardown {
        task: Key,
        tid: u32,
    },
    Rename {
        task: Key,
        tid: u32,
        comm: Comm,
    },
    /// To another cgroup, alone or with all threads of its process.
    Moved {
        task: Key,
        tid: u32,
        whole_process: bool,
        cgroup: u64,
    },
    /// Records of one probe on this CPU found no room before this point: how many in all so far.
    Lost {
        probe: u32,
        total: u64,
    },
    /// What this CPU has counted by itself so far.
    Counted(CpuSwitches),
    /// Who is not watched left this CPU while somebody who is waited.
    Left {
        who: Who,
        /// Who came.
        next_tid: u32,
        /// As in [`Switch`]; `None`: not measured.
        taken: Option<(Nanos, Interrupts)>,
        /// For how long it has had the CPU.
        ran: Option<Nanos>,
        /// As in [`Switch`].
        gap: bool,
        /// It is there still.
        stays: bool,
    },
    /// Who a thread is that is not watched.
    Named(Who),
    /// From the iterator at the start.
    Seen(ThreadInfo),
    /// From the iterator at the end.
    SeenAtEnd(ThreadInfo),
    WindowBegin,
    WindowEnd,
}

/// A thread's place in the tables of the engine and of every ledger.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot(pub u32);

impl Slot {
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// Names somebody who can be to blame: a place in the engine's list of names. A thread that is renamed keeps it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WhoId(pub u32);
