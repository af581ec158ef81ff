//! Sums of what has no row of its own any more.
//!
//! In: the totals of ended threads, by process; which processes are folded whole. Out: sums by process,
//! and one of all processes that were folded. Nothing is lost from a sum: it only moves. Must not know:
//! who is alive, and when to fold.

use rustc_hash::FxHashMap;

use crate::{
    engine::tasks::ProcessId,
    report::{Folded, Totals},
};

/// Over one window.
#[derive(Debug, Default)]
pub struct FoldedRows {
    by_process: FxHashMap<ProcessId, Folded>,
    ended: Option<EndedProcesses>,
}

/// All processes that were folded whole.
#[derive(Clone, Debug)]
pub struct EndedProcesses {
    pub processes: u64,
    /// The most threads that one of them had at one time.
    pub threads_max: u64,
    pub folded: Folded,
}

impl FoldedRows {
    /// One more thread of this process.
    pub fn add(&mut self, process: ProcessId, totals: &Totals) {
        let folded = self.by_process.entry(process).or_default();
        folded.threads += 1;
        folded.totals.add(totals);
    }

    /// The process has only folded threads, and is folded itself. Answers what it has done.
    pub fn end(&mut self, process: ProcessId, threads_max: u64) -> Option<Folded> {
        // Without threads in this window and target it has no row.
        let folded = self.by_process.remove(&process)?;
        let ended = self.ended.get_or_insert_with(|| EndedProcesses {
            processes: 0,
            threads_max: 0,
            folded: Folded::default(),
        });
        ended.processes += 1;
        ended.threads_max = ended.threads_max.max(threads_max);
        ended.folded.threads += folded.threads;
        ended.folded.totals.add(&folded.totals);
        Some(folded)
    }

    pub fn get(&self, process: ProcessId) -> Option<&Folded> {
        self.by_process.get(&process)
    }

    pub fn processes(&self) -> impl Iterator<Item = ProcessId> {
        self.by_process.keys().copied()
    }

    pub fn ended(&self) -> Option<&EndedProcesses> {
        self.ended.as_ref()
    }
}
