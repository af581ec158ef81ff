//! What is shown of births and ends: who created what at what price, and how it ended.

use super::{Dist, Exit};
use crate::model::{BirthKind, Comm, Nanos};

/// Births, execs and ends inside the window, of the target.
#[derive(Clone, Debug, Default)]
pub struct Births {
    /// System calls were watched: without that no stall of a parent, no cost of an exec, no reaping.
    pub syscalls: bool,
    /// How many there were; `forks` holds the dearest of them, `execs` and `exits` likewise.
    pub forks_total: u64,
    pub execs_total: u64,
    pub exits_total: u64,
    /// In order of time, all three.
    pub forks: Vec<Fork>,
    pub execs: Vec<Exec>,
    pub exits: Vec<Ended>,
    /// Over all births, also those that `forks` does not hold. Most time first.
    pub costs: Vec<ForkCost>,
    /// Processes that a signal ended, in order of time.
    pub crashes: Vec<Crash>,
    /// Parents before their children: see [`Branch::depth`].
    pub tree: Vec<Branch>,
}

/// Whoever called.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Creator {
    pub pid: u32,
    pub tid: u32,
    pub comm: Comm,
}

/// One birth.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fork {
    /// When the kernel had made the child (`task_newtask`).
    pub at_ns: i64,
    pub kind: BirthKind,
    /// As `clone` takes them.
    pub flags: Option<u64>,
    pub parent: Creator,
    pub child_pid: u32,
    pub child_tid: u32,
    /// Its last name.
    pub child_comm: Comm,
    /// The parent's stall: from its system call to the return from it.
    pub syscall: Option<Nanos>,
    /// From `at_ns` to the child's first time on a CPU: `wake` and then `wait`.
    pub fork_to_run: Option<Nanos>,
    /// Until it was on a run queue, which one having been chosen.
    pub wake: Option<Nanos>,
    /// On that run queue.
    pub wait: Option<Nanos>,
    /// It ran first on another CPU than its parent's.
    pub cross_cpu: Option<bool>,
    pub fork_to_exec: Option<Nanos>,
    /// Of the parent when it called, all three.
    pub parent_rss_bytes: Option<u64>,
    pub parent_page_table_bytes: Option<u64>,
    pub parent_mappings: Option<u64>,
    /// In the first 100 ms, or until the next fork or exec.
    pub cow_faults: Option<CowFaults>,
    /// As of its row: from its first run queue to its last switch-out.
    pub lifetime: Option<Nanos>,
    pub exit: Option<Exit>,
}

/// Writes to pages that parent and child share since the fork.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CowFaults {
    pub parent: u64,
    pub child: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exec {
    /// When the new program was in place.
    pub at_ns: i64,
    pub pid: u32,
    pub tid: u32,
    pub comm_before: Comm,
    pub comm_after: Comm,
    /// To the first return to user space.
    pub syscall: Option<Nanos>,
}

/// The end of a thread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    pub at_ns: i64,
    pub pid: u32,
    pub tid: u32,
    pub comm: Comm,
    pub code: u8,
    pub signal: u8,
    /// Of a process: until its parent had waited for it.
    pub reaped_after: Option<Nanos>,
    /// Of the last thread of an address space: how long it took to give that back.
    pub teardown: Option<Nanos>,
}

/// What all births of one kind by creators of one name took.
#[derive(Clone, Debug, PartialEq)]
pub struct ForkCost {
    pub kind: BirthKind,
    /// Of the creators; empty: the sum of those that were too many to be kept apart.
    pub comm: Comm,
    pub count: u64,
    pub syscall: Option<Dist>,
    /// `fork_to_run` of each.
    pub first_run: Option<Dist>,
    pub per_gib: Option<PerGib>,
}

/// How the stall grows with the parent's resident memory: a straight line through all forks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PerGib {
    pub ns: f64,
    /// One standard error.
    pub error: f64,
}

/// A process that a signal ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Crash {
    pub at_ns: i64,
    pub pid: u32,
    pub comm: Comm,
    pub signal: u8,
    pub core_dumped: bool,
    /// That ended with it.
    pub threads: u64,
}

/// One process of the tree.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Branch {
    /// 0: its parent is not in the tree. Its children follow, one deeper.
    pub depth: u32,
    pub pid: u32,
    pub ppid: u32,
    pub comm: Comm,
    pub exit: Option<Exit>,
    pub own: BranchCosts,
    /// Descendants that have no branch of their own any more.
    pub folded: BranchCosts,
    /// With all that descends from it.
    pub subtree: BranchCosts,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BranchCosts {
    /// Of its own: 1.
    pub processes: u64,
    pub threads: u64,
    pub run: Nanos,
    pub wait: Nanos,
    /// Processes and threads that it created.
    pub births: u64,
    pub execs: u64,
    /// Its time in the system calls that created them; `None`: not measured.
    pub creation: Option<Nanos>,
}
