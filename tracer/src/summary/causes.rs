//! What the rows say of causes, with names.
//!
//! In: rows, names. Out: what the report shows of them, sorted. Must not know: formats.

use crate::{
    dist::Histogram,
    engine::Engine,
    ledger::causes::{Blocker, Causes, Preemptor, Waker},
    model::{Charge, Nanos, Timestamp, Who, WhoId},
    report::{BlockedOn, ChargeKind, PreemptedBy, WaitedFor, WokenBy},
};

/// Names somebody for a victim of process `pid`.
#[derive(Clone, Copy)]
pub struct Namer<'a> {
    pub engine: &'a Engine,
    pub pid: u32,
}

impl Namer<'_> {
    fn who(&self, who: Option<WhoId>) -> Option<Who> {
        self.engine.name(who?).copied()
    }

    fn is_same_process(&self, who: Option<Who>) -> Option<bool> {
        let who = who.filter(|who| !who.is_nameless());
        who.map(|who| who.pid == self.pid)
    }

    fn thread(&self, who: Option<WhoId>, count: u64, ns: Nanos) -> WaitedFor {
        let who = self.who(who);
        WaitedFor {
            kind: match who {
                Some(who) if who.kernel_thread => ChargeKind::KernelThread,
                _ => ChargeKind::Thread,
            },
            who,
            same_process: self.is_same_process(who),
            count,
            ns,
        }
    }

    /// One share of a wait that is told by itself.
    pub fn charged(&self, charge: Charge, count: u64, ns: Nanos) -> WaitedFor {
        let kind = match charge {
            Charge::Who(who) => return self.thread(Some(who), count, ns),
            Charge::Irq => ChargeKind::Irq,
            Charge::Softirq => ChargeKind::Softirq,
            Charge::Steal => ChargeKind::Steal,
            Charge::Throttled => ChargeKind::Throttled,
            Charge::Idle => ChargeKind::Idle,
            Charge::OtherCpu => ChargeKind::OtherCpu,
            Charge::Unknown => ChargeKind::Unknown,
        };
        other(kind, count, ns)
    }

    pub fn waited_for(&self, causes: &Causes) -> Vec<WaitedFor> {
        let threads = causes
            .threads()
            .map(|(who, share)| self.thread(who, share.count, share.ns));
        let others = causes
            .others()
            .map(|(kind, share)| other(kind, share.count, share.ns));
        let mut rows: Vec<WaitedFor> = threads.chain(others).collect();
        biggest_first(&mut rows);
        rows
    }

    pub fn preempted_by(&self, causes: &Causes, from: Timestamp) -> Vec<PreemptedBy> {
        let row = |row: &Preemptor| {
            let who = self.who(Some(row.who));
            let summary = |lengths: &Histogram| lengths.summary(from);
            PreemptedBy {
                who,
                same_process: self.is_same_process(who),
                count: row.share.count,
                ns: row.share.ns,
                p99: summary(&row.waits).values.map(|values| values.p99),
                resched_delay: row.delays.as_deref().map(summary),
            }
        };
        let rest = causes.other_preemptors;
        let rest = (rest.count > 0).then_some(PreemptedBy {
            who: None,
            same_process: None,
            count: rest.count,
            ns: rest.ns,
            p99: None,
            resched_delay: None,
        });
        let rows = causes.preemptors.iter().map(row);
        let mut rows: Vec<PreemptedBy> = rows.chain(rest).collect();
        rows.sort_by_key(|row| (std::cmp::Reverse(row.ns), tid(row.who)));
        rows
    }

    pub fn woken_by(&self, causes: &Causes) -> Vec<WokenBy> {
        let row = |row: &Waker| WokenBy {
            kind: row.kind,
            itself: row.itself,
            who: self.who(row.who),
            count: row.count,
            cross_cpu: row.cross_cpu,
            wake: row.wake,
            wait: row.wait,
        };
        let mut rows: Vec<WokenBy> = causes.wakers.iter().map(row).collect();
        rows.sort_by_key(|row| (std::cmp::Reverse(row.count), row.kind, tid(row.who)));
        rows
    }

    pub fn blocked_on(&self, causes: &Causes) -> Vec<BlockedOn> {
        let row = |row: &Blocker| BlockedOn {
            state: row.state,
            syscall: row.syscall,
            waker: row.waker,
            who: self.who(row.who),
            waker_syscall: row.waker_syscall,
            count: row.share.count,
            ns: row.share.ns,
        };
        let mut rows: Vec<BlockedOn> = causes.blockers.iter().map(row).collect();
        rows.sort_by_key(|row| (std::cmp::Reverse(row.ns), row.syscall, tid(row.who)));
        rows
    }
}

pub fn biggest_first(rows: &mut [WaitedFor]) {
    rows.sort_by_key(|row| (std::cmp::Reverse(row.ns), row.kind, tid(row.who)));
}

fn other(kind: ChargeKind, count: u64, ns: Nanos) -> WaitedFor {
    WaitedFor {
        kind,
        who: None,
        same_process: None,
        count,
        ns,
    }
}

fn tid(who: Option<Who>) -> Option<u32> {
    who.map(|who| who.tid)
}
