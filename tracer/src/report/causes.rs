//! What is shown of causes: who had the CPU, who woke whom, spikes and insights.

use super::Dist;
pub use crate::model::Who;
use crate::model::{Comm, Nanos, OffState, Syscall, WaitCause, WakerKind};

/// What kind of thing had the CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ChargeKind {
    Thread,
    KernelThread,
    Irq,
    Softirq,
    Steal,
    Throttled,
    Idle,
    OtherCpu,
    Unknown,
}

/// A share of waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WaitedFor {
    pub kind: ChargeKind,
    /// Of threads. `None` there: the sum of those that were too many to be kept apart.
    pub who: Option<Who>,
    pub same_process: Option<bool>,
    /// Stretches.
    pub count: u64,
    pub ns: Nanos,
}

/// Waits that began when this one came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PreemptedBy {
    /// `None`: the sum of those that were too many to be kept apart.
    pub who: Option<Who>,
    pub same_process: Option<bool>,
    pub count: u64,
    /// The length of the waits.
    pub ns: Nanos,
    pub p99: Option<Nanos>,
    /// From the kernel's decision to the switch; `None`: not measured.
    pub resched_delay: Option<Dist>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WokenBy {
    pub kind: WakerKind,
    /// It woke itself: a wake-up that came before it had gone to sleep.
    pub itself: bool,
    /// Of threads. `None` there: it could not be named, or the sum of those that were too many.
    pub who: Option<Who>,
    pub count: u64,
    /// From another CPU than the one where the thread ran then.
    pub cross_cpu: u64,
    /// From the waker's decision to the run queue, and from there to the CPU.
    pub wake: Nanos,
    pub wait: Nanos,
}

/// Time off the CPU in one system call that one waker ended in one of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockedOn {
    pub state: OffState,
    pub syscall: Option<Syscall>,
    pub waker: WakerKind,
    /// As in [`WokenBy`].
    pub who: Option<Who>,
    pub waker_syscall: Option<Syscall>,
    pub count: u64,
    pub ns: Nanos,
}

/// All latencies at or over the threshold.
#[derive(Clone, Debug, Default)]
pub struct Spikes {
    pub threshold: Nanos,
    /// How many there were; `spikes` holds the longest of them.
    pub count: u64,
    /// In order of time.
    pub spikes: Vec<Spike>,
    /// Over all spikes, biggest first.
    pub causes: Vec<SpikeCause>,
}

/// One latency at or over the threshold.
#[derive(Clone, Debug)]
pub struct Spike {
    /// When it ended, or where the window did.
    pub at_ns: i64,
    /// `false`: it still waited at the end of the window.
    pub finished: bool,
    pub victim: Who,
    pub cpu: u16,
    /// wake + wait.
    pub latency: Nanos,
    pub wake: Option<Nanos>,
    pub wait: Nanos,
    pub cause: WaitCause,
    /// Adds up to `wait`. Longest first.
    pub waited_for: Vec<WaitedFor>,
    pub woken_by: Option<SpikeWaker>,
    pub cgroup_id: Option<u64>,
    pub cgroup: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpikeWaker {
    pub kind: WakerKind,
    pub who: Option<Who>,
}

/// What the time over the threshold was waited for.
#[derive(Clone, Debug)]
pub struct SpikeCause {
    pub kind: ChargeKind,
    /// The process to blame.
    pub pid: Option<u32>,
    pub comm: Option<Comm>,
    /// Whose quota it was, of [`ChargeKind::Throttled`].
    pub cgroup_id: Option<u64>,
    pub cgroup: Option<String>,
    pub ns: Nanos,
    /// Of the waits of all spikes: 0 to 1.
    pub share: f64,
}

/// A plain sentence, what it rests on, and what can be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Insight {
    pub text: String,
    pub evidence: String,
    pub remedy: String,
}
