//! What a report of a run must say, from the toy kernel's own memory.

use std::collections::BTreeMap;

use tracer_common::record::next_kind;

use super::{simulator::Run, toy::Does};
use crate::{
    model::{Nanos, OffState},
    report::{SystemTotals, Totals},
};

impl Run {
    /// What the report must say of a thread.
    pub fn truth(&self, id: usize) -> Totals {
        let task = &self.toy.tasks[id];
        let mut totals = Totals::zero();
        for &(from, to, does) in &task.lived {
            let ns = self.visible(from, to);
            match does {
                Does::Run => totals.run += ns,
                Does::Wait => totals.wait += ns,
                Does::Off(OffState::Sleep, _) => totals.sleep += ns,
                Does::Off(OffState::Block, iowait) => {
                    totals.block += ns;
                    totals.iowait = totals.iowait.map(|all| if iowait { all + ns } else { all });
                }
                Does::Off(OffState::Stopped, _) => totals.stopped += ns,
            }
            totals.lifetime += ns;
        }
        for &(from, to) in &task.wakes {
            totals.wake = totals.wake.map(|all| all + self.visible(from, to));
        }
        for left in task.left.iter().filter(|left| self.inside(left.at)) {
            totals.voluntary += u64::from(left.voluntary);
            totals.involuntary += u64::from(!left.voluntary);
            totals.involuntary_yields = totals
                .involuntary_yields
                .map(|all| all + u64::from(left.yielded));
            totals.address_space_changes += u64::from(left.address_space);
            match left.next_kind {
                next_kind::IDLE => totals.kinds.idle += 1,
                next_kind::KERNEL_THREAD => totals.kinds.kernel_thread += 1,
                next_kind::SAME_PROCESS => totals.kinds.same_process += 1,
                _ => totals.kinds.other_process += 1,
            }
        }
        totals.migrations = task.moves.iter().filter(|&&at| self.inside(at)).count() as u64;
        totals
    }

    /// Who had the CPU while it waited, by tid: 0 is the idle thread. What nobody had is not in it.
    pub fn waited_for(&self, id: usize) -> BTreeMap<u32, u64> {
        let mut shares = BTreeMap::new();
        for &(from, to, cpu) in &self.toy.tasks[id].waited {
            for other in &self.toy.tasks {
                let there = other.ran.iter().filter(|ran| ran.2 == cpu);
                let ns: u64 = there
                    .map(|&(came, left, _)| self.visible(from.max(came), to.min(left)).0)
                    .sum();
                if ns > 0 {
                    *shares.entry(other.tid).or_default() += ns;
                }
            }
        }
        shares
    }

    /// Lengths of what lies whole in the window: how many, and their sum.
    pub fn whole(&self, id: usize, does: Does) -> (u64, Nanos) {
        let whole = |&&(from, to, did): &&(u64, u64, Does)| {
            did == does && from >= self.begin && to <= self.end
        };
        let lived = self.toy.tasks[id].lived.iter().filter(whole);
        lived.fold((0, Nanos::ZERO), |(count, sum), (from, to, _)| {
            (count + 1, sum + Nanos(to - from))
        })
    }

    pub fn system(&self) -> SystemTotals {
        let mut system = SystemTotals::default();
        for id in 0..self.toy.tasks.len() {
            let totals = self.truth(id);
            system.address_space_changes += totals.address_space_changes;
            if self.toy.tasks[id].is_idle() {
                system.from_idle += totals.voluntary + totals.involuntary;
            } else {
                system.voluntary += totals.voluntary;
                system.involuntary += totals.involuntary;
                system.kinds.add(&totals.kinds);
            }
        }
        system
    }

    pub fn lived_inside(&self, id: usize) -> bool {
        let task = &self.toy.tasks[id];
        let in_time = |&(from, to, _): &(u64, u64, Does)| {
            from < self.end && to >= self.begin && (to > self.begin || from >= self.begin)
        };
        !task.is_idle() && task.lived.iter().any(in_time)
    }

    fn inside(&self, at: u64) -> bool {
        at >= self.begin && at < self.end
    }

    fn visible(&self, from: u64, to: u64) -> Nanos {
        Nanos(to.min(self.end).saturating_sub(from.max(self.begin)))
    }
}
