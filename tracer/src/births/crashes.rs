//! Processes that a signal ended.
//!
//! In: exits of their threads. Out: one row a process. Must not know: what else the threads did.

use rustc_hash::FxHashMap;

use crate::{
    engine::tasks::{Process, ProcessId},
    model::{Comm, Timestamp},
};

/// `WCOREDUMP`
const CORE: u32 = 0x80;
const SIGNAL: u32 = 0x7f;

/// Rows that are kept: the first.
const MANY: usize = 1_000;

#[derive(Clone, Debug)]
pub struct Crash {
    pub at: Timestamp,
    pub pid: u32,
    pub comm: Comm,
    pub status: u32,
    pub threads: u64,
}

impl Crash {
    pub fn signal(&self) -> u8 {
        (self.status & SIGNAL) as u8
    }

    pub fn dumped(&self) -> bool {
        self.status & CORE != 0
    }
}

#[derive(Debug, Default)]
pub struct Crashes {
    /// A thread of them was killed; the others may go on: exec kills all but one.
    open: FxHashMap<ProcessId, Crash>,
    done: Vec<Crash>,
}

impl Crashes {
    pub fn exited(&mut self, at: Timestamp, id: ProcessId, process: &Process, status: u32) {
        if status & SIGNAL == 0 {
            return;
        }
        let crash = self.open.entry(id).or_insert_with(|| Crash {
            at,
            pid: process.pid,
            comm: process.comm,
            status,
            threads: 0,
        });
        crash.threads += 1;
        // One of them is told of the core.
        crash.status |= status & CORE;
    }

    /// It runs another program.
    pub fn survived(&mut self, id: ProcessId) {
        self.open.remove(&id);
    }

    /// Its place will be another one's: it has ended.
    pub fn end(&mut self, id: ProcessId) {
        if let Some(crash) = self.open.remove(&id)
            && self.done.len() < MANY
        {
            self.done.push(crash);
        }
    }

    /// In order of time. `ended` tells whether nothing of a process is left.
    pub fn all(&self, ended: impl Fn(ProcessId) -> bool) -> Vec<&Crash> {
        let open = self.open.iter().filter(|(id, _)| ended(**id));
        let mut rows: Vec<&Crash> = self
            .done
            .iter()
            .chain(open.map(|(_, crash)| crash))
            .collect();
        rows.sort_by_key(|crash| (crash.at, crash.pid));
        rows.truncate(MANY);
        rows
    }
}
