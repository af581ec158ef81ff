//! What tracing costs, and what the kernel takes for a switch.

use serde::{Deserialize, Serialize};

use super::{Process, System};
use crate::model::Nanos;

/// What tracing cost.
#[derive(Clone, Debug, Default)]
pub struct Cost {
    /// Times a kernel program ran.
    pub kernel_events: u64,
    pub kernel_ns_per_event: Option<f64>,
    /// How the figure above was found, or why it is not known.
    pub method: String,
    pub collector_cpu: Nanos,
    pub collector_max_rss_bytes: u64,
    pub cpu_percent_of_one: Option<f64>,
    pub cpu_percent_of_machine: Option<f64>,
    /// By how much watching system calls slows every one of the machine; `None`: they are not watched.
    pub syscall_ns: Option<f64>,
}

/// From the entry of the scheduler to its end, by what it switches between. Under a target those of its threads, whether
/// they go or come.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct SwitchCosts {
    /// How it was measured, or why not.
    pub method: String,
    /// Taken out of each length: what two programs measure with nothing between them.
    pub empty_pair_ns: Option<f64>,
    /// Taken out of each length: the tracer's own program at the switch.
    pub own_ns: Option<f64>,
    /// None that did not come about.
    pub kinds: Vec<SwitchCost>,
    /// All of them, in per cent of the time in which the target had a CPU, or anybody where there is no target.
    pub cpu_percent: Option<f64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Deserialize, Serialize)]
pub struct SwitchCost {
    pub kind: SwitchKind,
    pub count: u64,
    pub total_ns: f64,
    pub p50_ns: f64,
    pub p99_ns: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SwitchKind {
    /// From a user thread to another one of the same address space.
    SameSpace,
    /// From a user thread to one of another address space.
    OtherSpace,
    ToKernelThread,
    ToIdle,
    /// From the idle thread or the kernel's to a user thread whose address space is still in place.
    BackToSameSpace,
    /// The same to one with another address space.
    BackToOtherSpace,
}

impl SwitchCosts {
    /// Finds out how much of the time it was: of these processes where only their threads were watched, else of all CPUs.
    pub fn compare(&mut self, processes: &[Process], system: &System, narrow: bool) {
        let run = processes.iter().map(|process| process.totals.run);
        let busy = system.cpus.iter().map(|cpu| cpu.busy);
        let all: Nanos = if narrow { run.sum() } else { busy.sum() };
        let some = all > Nanos::ZERO && !self.kinds.is_empty();
        self.cpu_percent = some.then(|| self.total_ns() / all.0 as f64 * 100.0);
    }

    pub fn total_ns(&self) -> f64 {
        self.kinds.iter().map(|kind| kind.total_ns).sum()
    }

    pub fn count(&self) -> u64 {
        self.kinds.iter().map(|kind| kind.count).sum()
    }
}
