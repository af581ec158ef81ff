//! One thread's numbers in one window.
//!
//! In: lengths that are cut already. Out: sums. Must not know: the window, names.

use super::causes::Causes;
use crate::{
    audit::Audit,
    dist::Histogram,
    model::{Charge, Nanos, OffState, Syscall, Timestamp},
    report::{OffCpu, Totals},
};

/// One thread.
#[derive(Clone, Debug, Default)]
pub struct Row {
    pub totals: Totals,
    /// `run` less what the kernel does not count as run time.
    pub net_run: Nanos,
    pub run_slice: Histogram,
    pub wait: Histogram,
    pub latency: Histogram,
    pub off_cpu: Vec<OffCpu>,
    /// What its waits were for; once it has waited.
    pub causes: Option<Box<Causes>>,
    pub audit: Option<Audit>,
    /// Unknown time since the last switch-out: inside the window and outside of it.
    pub(super) holes: (Nanos, Nanos),
    /// Run and wait that only the counters tell: in the totals, not in the distributions.
    pub healed_run: Nanos,
    pub healed_wait: Nanos,
    /// The thread lived at some time in the window.
    pub present: bool,
    pub(super) life: Life,
}

/// From birth, or first sight, to death.
#[derive(Clone, Copy, Debug)]
pub(super) struct Life {
    pub(super) born: Timestamp,
    pub(super) died: Timestamp,
}

impl Default for Life {
    /// Not yet, and never.
    fn default() -> Life {
        Life {
            born: Timestamp(u64::MAX),
            died: Timestamp(u64::MAX),
        }
    }
}

impl Life {
    #[inline]
    pub(super) fn begin(&mut self, at: Timestamp) {
        if self.born == Timestamp(u64::MAX) {
            self.born = at;
        }
    }
}

impl Row {
    /// One field from each line of memory, and what they point to.
    #[inline]
    pub(super) fn glance(&self) -> u64 {
        let audit = self.audit.as_ref().map_or(0, Audit::glance);
        let off = self.off_cpu.first().map_or(0, |off| off.count);
        let lengths = self.run_slice.glance() ^ self.wait.glance() ^ self.latency.glance();
        let totals = &self.totals;
        let totals = totals.run.0 ^ totals.voluntary ^ totals.migrations ^ totals.sleep.0;
        audit ^ off ^ lengths ^ totals ^ self.holes.0.0 ^ self.life.born.0
    }

    pub(super) fn off(&mut self, state: OffState, syscall: Option<Syscall>, length: Nanos) {
        let same = |row: &OffCpu| row.state == state && row.syscall == syscall;
        let Some(place) = self.off_cpu.iter().position(same) else {
            return self.off_anew(state, syscall, length);
        };
        let row = &mut self.off_cpu[place];
        row.count += 1;
        row.ns += length;
        // What is frequent is found early.
        if place > 0 && self.off_cpu[place - 1].count < self.off_cpu[place].count {
            self.off_cpu.swap(place - 1, place);
        }
    }

    #[cold]
    fn off_anew(&mut self, state: OffState, syscall: Option<Syscall>, length: Nanos) {
        // Most threads sleep in one or two calls, and there are many threads: no room in reserve.
        self.off_cpu.reserve_exact(1);
        self.off_cpu.push(OffCpu {
            state,
            syscall,
            count: 1,
            ns: length,
        });
    }

    /// Moves what the counters explain out of the holes. What lies outside the window may be all of
    /// it: only what does not fit there is certainly inside.
    pub(super) fn heal(&mut self, run: Nanos, wait: Nanos) {
        let (inside, outside) = self.holes;
        let inside = inside.min(self.totals.unknown);
        let run = (run - outside).min(inside);
        let wait = (wait - outside).min(inside - run);
        self.totals.unknown = self.totals.unknown - run - wait;
        self.totals.run += run;
        self.totals.wait += wait;
        self.net_run += run;
        self.healed_run += run;
        self.healed_wait += wait;
        if wait > Nanos::ZERO {
            let causes = self.causes.get_or_insert_default();
            causes.charge(Charge::Unknown, wait, false);
        }
    }
}
