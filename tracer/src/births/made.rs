//! What processes created, and what those did that have been folded into their parents.
//!
//! In: births, execs, folded processes. Out: sums by process. Must not know: who is alive.

use rustc_hash::FxHashMap;

use crate::{engine::tasks::ProcessId, model::Nanos, report::Folded};

/// What one process did itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Deeds {
    pub births: u64,
    pub execs: u64,
    pub creation: Nanos,
}

/// Descendants that were folded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Below {
    pub processes: u64,
    pub threads: u64,
    pub run: Nanos,
    pub wait: Nanos,
    pub deeds: Deeds,
}

impl Below {
    fn add(&mut self, other: &Below) {
        self.processes += other.processes;
        self.threads += other.threads;
        self.run += other.run;
        self.wait += other.wait;
        self.deeds.births += other.deeds.births;
        self.deeds.execs += other.deeds.execs;
        self.deeds.creation += other.deeds.creation;
    }
}

#[derive(Debug, Default)]
pub struct Made {
    own: FxHashMap<ProcessId, Deeds>,
    below: FxHashMap<ProcessId, Below>,
}

impl Made {
    pub fn of(&mut self, process: ProcessId) -> &mut Deeds {
        self.own.entry(process).or_default()
    }

    /// A process is folded, and becomes a part of its parent.
    pub fn end(&mut self, id: ProcessId, parent: Option<ProcessId>, folded: Option<&Folded>) {
        let deeds = self.own.remove(&id).unwrap_or_default();
        let mut sum = self.below.remove(&id).unwrap_or_default();
        // Without threads in this window and target it is none of those counted.
        if let Some(folded) = folded {
            sum.add(&Below {
                processes: 1,
                threads: folded.threads,
                run: folded.totals.run,
                wait: folded.totals.wait,
                deeds,
            });
        }
        // Of one whose parent is not known the row of all such tells.
        if let Some(parent) = parent {
            self.below.entry(parent).or_default().add(&sum);
        }
    }

    pub fn own(&self, id: ProcessId) -> Deeds {
        self.own.get(&id).copied().unwrap_or_default()
    }

    pub fn below(&self, id: ProcessId) -> Below {
        self.below.get(&id).copied().unwrap_or_default()
    }
}
