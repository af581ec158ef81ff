//! One birth, exec or end, as far as it is known.
//!
//! In: nothing. Out: types. Must not know: how many are kept.

use super::kept::Row;
use crate::{
    engine::tasks::{Identity, ProcessId},
    model::{Birth, BirthKind, Comm, Cpu, Key, Memory, Nanos, Slot, Timestamp},
    report,
};

#[derive(Clone, Debug)]
pub struct ForkRow {
    pub at: Timestamp,
    /// Until it is known: `None`.
    pub kind: Option<BirthKind>,
    pub birth: Birth,
    pub parent: report::Creator,
    /// Valid as long as that lives.
    pub parent_process: Option<ProcessId>,
    pub parent_cpu: Cpu,
    pub child: Key,
    pub child_pid: u32,
    pub child_tid: u32,
    pub child_comm: Comm,
    /// As long as the thread is not folded.
    pub slot: Option<Slot>,
    pub syscall: Option<Nanos>,
    pub queued: Option<Timestamp>,
    pub ran: Option<(Timestamp, Cpu)>,
    pub exec_at: Option<Timestamp>,
    pub memory: Option<Memory>,
    pub cow: report::CowFaults,
    pub died: Option<Timestamp>,
    pub exit: Option<(Timestamp, u32)>,
}

impl Row for ForkRow {
    fn cost(&self) -> Nanos {
        self.syscall
            .or_else(|| Some(self.ran?.0.since(self.at)))
            .unwrap_or_default()
    }

    fn at(&self) -> Timestamp {
        self.at
    }
}

#[derive(Clone, Debug)]
pub struct ExecRow {
    pub at: Timestamp,
    pub pid: u32,
    pub tid: u32,
    pub before: Comm,
    pub after: Comm,
    pub syscall: Option<Nanos>,
}

impl Row for ExecRow {
    fn cost(&self) -> Nanos {
        self.syscall.unwrap_or_default()
    }

    fn at(&self) -> Timestamp {
        self.at
    }
}

#[derive(Clone, Debug)]
pub struct ExitRow {
    pub at: Timestamp,
    pub pid: u32,
    pub tid: u32,
    pub comm: Comm,
    pub status: u32,
    pub process: ProcessId,
    pub reaped: Option<Timestamp>,
    pub torn_down: Option<Timestamp>,
}

impl Row for ExitRow {
    /// Who was killed is worth more than who went.
    fn cost(&self) -> Nanos {
        if self.status & 0x7f != 0 {
            return Nanos(u64::MAX);
        }
        let last = self.reaped.max(self.torn_down);
        last.map_or(Nanos::ZERO, |last| last.since(self.at))
    }

    fn at(&self) -> Timestamp {
        self.at
    }
}

impl ForkRow {
    /// What became of it.
    pub fn remember(&mut self, who: &Identity) {
        self.child_comm = who.comm;
        self.queued = self.queued.or(who.born_at);
        self.died = who.died_at;
        self.exit = who.exit.map(|exit| (exit.at, exit.status));
    }
}
