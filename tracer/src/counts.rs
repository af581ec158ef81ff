//! What each CPU counted by itself between two looks at it: exact, whatever is missing from the stream.
//!
//! In: looks. Out: what was between the first and the last one. Must not know: threads, spans.

use tracer_common::record::next_kind;

use crate::{
    ledger::CpuTotals,
    model::{Cpu, CpuSwitches, Nanos, Timestamp},
    report::{Kinds, SystemTotals},
};

/// By CPU.
#[derive(Clone, Debug, Default)]
pub struct Counts(Vec<Option<Counted>>);

type Look = (Timestamp, CpuSwitches);

#[derive(Clone, Copy, Debug)]
struct Counted {
    first: Look,
    last: Look,
}

impl Counts {
    /// One that `goes_on` is the last so far; else the count begins anew with it.
    pub fn look(&mut self, cpu: Cpu, look: Look, goes_on: bool) {
        let index = usize::from(cpu.0);
        if index >= self.0.len() {
            self.0.resize(index + 1, None);
        }
        match &mut self.0[index] {
            Some(counted) if goes_on => counted.last = look,
            place => {
                *place = Some(Counted {
                    first: look,
                    last: look,
                });
            }
        }
    }

    /// The next ones begin where these end.
    pub fn go_on(&self) -> Counts {
        let next = |counted: Counted| Counted {
            first: counted.last,
            last: counted.last,
        };
        Counts(self.0.iter().map(|counted| counted.map(next)).collect())
    }

    /// Of each CPU that was looked at.
    pub fn growth(&self) -> impl Iterator<Item = (Cpu, CpuTotals, SystemTotals)> {
        (0..=u16::MAX)
            .map(Cpu)
            .zip(&self.0)
            .filter_map(|(cpu, counted)| {
                let (totals, system) = counted.as_ref()?.growth();
                Some((cpu, totals, system))
            })
    }
}

impl Counted {
    fn growth(&self) -> (CpuTotals, SystemTotals) {
        let ((from, first), (to, last)) = (self.first, self.last);
        let less = |of: fn(&CpuSwitches) -> u64| of(&last).saturating_sub(of(&first));
        // The idle thread that still runs has not been counted yet.
        let idle = |at: Timestamp, counted: &CpuSwitches| match counted.idle_since_ns {
            0 => Nanos(counted.idle_ns),
            since => Nanos(counted.idle_ns) + at.since(Timestamp(since)),
        };
        let window = to.since(from);
        let idle = (idle(to, &last) - idle(from, &first)).min(window);
        let kind = |kind: u16| less_at(&first.kinds, &last.kinds, kind);
        let system = SystemTotals {
            voluntary: less(|counted| counted.voluntary),
            involuntary: less(|counted| counted.involuntary),
            from_idle: less(|counted| counted.from_idle),
            address_space_changes: less(|counted| counted.address_space_changes),
            kinds: Kinds {
                same_process: kind(next_kind::SAME_PROCESS),
                other_process: kind(next_kind::OTHER_PROCESS),
                kernel_thread: kind(next_kind::KERNEL_THREAD),
                idle: kind(next_kind::IDLE),
            },
        };
        let totals = CpuTotals {
            busy: window - idle,
            idle,
            switches: system.switches(),
        };
        (totals, system)
    }
}

fn less_at(first: &[u64; 4], last: &[u64; 4], kind: u16) -> u64 {
    let at = |counts: &[u64; 4]| counts.get(usize::from(kind)).copied().unwrap_or(0);
    at(last).saturating_sub(at(first))
}
