//! One thread of the toy kernel: the truth about it, and what a kernel would count.

use crate::model::OffState;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leave {
    Preempted,
    /// Preempted after it had set its state to go to sleep: the kernel does not stamp this wait.
    PreemptedGoingToSleep,
    Yields,
    /// Wanted to sleep, and a signal was pending: counts as voluntary, stays runnable.
    SignalPending,
    Off {
        state: OffState,
        iowait: bool,
    },
    Dies,
}

/// What a thread truly does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Does {
    Run,
    Wait,
    Off(OffState, bool),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mood {
    Unborn,
    Alive(Does),
    Dead,
}

/// One switch-out as it was.
#[derive(Clone, Copy, Debug)]
pub struct Left {
    pub at: u64,
    pub voluntary: bool,
    pub yielded: bool,
    pub next_kind: u16,
    pub address_space: bool,
}

#[derive(Clone, Debug)]
pub struct Task {
    pub key: u64,
    pub tid: u32,
    pub tgid: u32,
    pub ppid: u32,
    pub start: u64,
    pub comm: [u8; 16],
    pub kernel_thread: bool,
    pub own: bool,
    pub cgroup: Option<u64>,
    pub mood: Mood,
    pub cpu: usize,
    /// Somebody decided to wake it; it is on no run queue yet.
    pub waking: bool,
    pub exiting: bool,
    pub since: u64,
    // The kernel's view.
    pub nvcsw: u64,
    pub nivcsw: u64,
    pub run_delay: u64,
    pub sum_exec: u64,
    pub last_queued: u64,
    pub state: u32,
    pub iowait: bool,
    pub lag_at_switch_in: u64,
    // The truth.
    pub lived: Vec<(u64, u64, Does)>,
    /// On which CPU it ran, and on whose run queue it waited.
    pub ran: Vec<(u64, u64, usize)>,
    pub waited: Vec<(u64, u64, usize)>,
    /// When it came to that run queue.
    pub queued: u64,
    pub left: Vec<Left>,
    pub moves: Vec<u64>,
    /// From the waker's decision to the run queue, where the decision came after it had left.
    pub wakes: Vec<(u64, u64)>,
    pub woken: Option<u64>,
    /// A wake-up that its next switch-in tells.
    pub note: Option<u64>,
    /// It was switched out since the probes are attached.
    pub sighted: bool,
    pub born: Option<u64>,
    pub died: Option<u64>,
}

impl Task {
    pub fn seq(&self) -> u64 {
        self.nvcsw + self.nivcsw
    }

    pub fn is_idle(&self) -> bool {
        self.tid == 0
    }

    pub fn does(&self) -> Option<Does> {
        match self.mood {
            Mood::Alive(does) => Some(does),
            Mood::Unborn | Mood::Dead => None,
        }
    }

    pub fn is_off(&self) -> bool {
        matches!(self.mood, Mood::Alive(Does::Off(..)))
    }
}

/// What a record is about, for whoever removes some.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    Switch {
        prev: usize,
        next: usize,
        prev_seq: u64,
        next_seq: u64,
    },
    Newtask(usize),
    Born(usize),
    Other,
    /// An entry of a snapshot: not in a ring, so never lost.
    Seen {
        task: usize,
        seq: u64,
    },
    Edge,
}

#[derive(Clone, Debug)]
pub struct Record {
    pub at: u64,
    pub told: Told,
    pub bytes: Vec<u8>,
}
