//! What a time line is made of.
//!
//! In: nothing. Out: types. Must not know: where rows come from, where they go.

use std::ops::Range;

use crate::{
    model::{
        Comm, Cpu, Nanos, NextKind, OffState, Slept, Syscall, WaitCause, WakerKind, Who, WhoId,
    },
    report::{Thread, WaitedFor},
};

/// A thread is `thread`: a number that no other one has in this stream. Times `at_ns` count from the window's
/// start; `None` is a row without a place in time: only the kernel's counters tell of it.
#[derive(Clone, Debug)]
pub enum Row {
    /// Who a thread is, before its first row and when that changes.
    Met(Met),
    Span(SpanRow),
    Wait(WaitRow),
    Switch(SwitchRow),
    /// Nothing follows of this thread.
    Done(Box<Done>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Met {
    pub thread: u32,
    /// A number that no other process has in this stream: pids are used again.
    pub process: u64,
    /// Who it is where it wakes others; another thread's once this one is done.
    pub id: WhoId,
    pub pid: u32,
    pub tid: u32,
    pub comm: Comm,
    /// The leader's.
    pub process_comm: Comm,
    pub kernel_thread: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Run,
    Wait,
    Off(OffState),
    Unknown,
}

/// A thread in one state. Those of a thread follow each other without a gap, in order of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpanRow {
    pub thread: u32,
    pub at_ns: Option<i64>,
    /// Negative only without a place in time: unknown time of which more is known.
    pub ns: i64,
    pub state: State,
    /// Of [`State::Run`], where; of [`State::Wait`], where it ended.
    pub cpu: Option<Cpu>,
    /// Cut by no edge of the window.
    pub whole: bool,
    /// Of [`State::Off`].
    pub syscall: Option<Syscall>,
    pub iowait: bool,
    /// Of [`State::Run`]: the parts that the hypervisor and interrupts took.
    pub steal: Option<Nanos>,
    pub irq: Nanos,
    pub softirq: Nanos,
}

/// A wait, after its span.
#[derive(Clone, Debug)]
pub struct WaitRow {
    pub thread: u32,
    pub at_ns: Option<i64>,
    pub ns: Nanos,
    pub cpu: Cpu,
    pub cause: WaitCause,
    /// It ended inside the window.
    pub finished: bool,
    pub woken: Option<Waker>,
    pub slept: Option<Slept>,
    pub resched: Option<Nanos>,
    /// Of [`Rows::pieces`]: they follow each other, and add up to `ns`.
    pub pieces: Range<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waker {
    pub kind: WakerKind,
    pub itself: bool,
    /// As in [`Met::id`].
    pub id: Option<WhoId>,
    pub who: Option<Who>,
    pub syscall: Option<Syscall>,
    pub cross_cpu: bool,
    /// From its decision to the run queue.
    pub wake: Nanos,
}

/// A part of a wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PieceRow {
    pub at_ns: Option<i64>,
    pub charged: WaitedFor,
}

/// A switch-out of a thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SwitchRow {
    pub thread: u32,
    pub at_ns: Option<i64>,
    pub cpu: Option<Cpu>,
    /// Their sum is more than 1 when records of switches before this one were lost.
    pub voluntary: u64,
    pub involuntary: u64,
    pub yielded: bool,
    /// What it gave way to.
    pub kind: Option<NextKind>,
    pub address_space_change: bool,
    pub next_tid: Option<u32>,
}

/// A thread as the report has it.
#[derive(Clone, Debug)]
pub struct Done {
    pub met: Met,
    pub ppid: u32,
    pub cgroup_id: Option<u64>,
    pub row: Thread,
}

#[derive(Debug, Default)]
pub struct Rows {
    pub rows: Vec<Row>,
    pub pieces: Vec<PieceRow>,
}

impl Rows {
    pub fn clear(&mut self) {
        self.rows.clear();
        self.pieces.clear();
    }
}
