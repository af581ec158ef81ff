//! What one thread's waits were for, who began them, who ended its sleeps.
//!
//! In: waits in pieces, cut already. Out: sums. Must not know: the window, names.

use super::shares::{Share, Shares};
use crate::{
    dist::Histogram,
    model::{Charge, Nanos, OffState, Slept, Syscall, Timestamp, WakerKind, WhoId, Woken},
    report::ChargeKind,
};

/// Rows of each kind that are kept apart. Preemptors have distributions: of many threads only these few.
const PREEMPTORS: usize = 8;
const PREEMPTORS_OF_MANY: usize = 2;
const WAKERS: usize = 16;
const BLOCKERS: usize = 16;

#[derive(Clone, Debug, Default)]
pub struct Causes {
    threads: Shares,
    /// What is no thread.
    others: Vec<(ChargeKind, Share)>,
    pub preemptors: Vec<Preemptor>,
    /// Those that were too many to be kept apart.
    pub other_preemptors: Share,
    pub wakers: Vec<Waker>,
    pub blockers: Vec<Blocker>,
}

/// Who came when it left runnable.
#[derive(Clone, Debug, Default)]
pub struct Preemptor {
    pub who: WhoId,
    pub share: Share,
    pub waits: Histogram,
    pub delays: Option<Box<Histogram>>,
}

/// What woke it; `who` is `None` of threads where they cannot be named, or were too many.
#[derive(Clone, Copy, Debug)]
pub struct Waker {
    pub kind: WakerKind,
    pub itself: bool,
    pub who: Option<WhoId>,
    pub count: u64,
    pub cross_cpu: u64,
    pub wake: Nanos,
    pub wait: Nanos,
}

/// What it was blocked in, and who ended that from where.
#[derive(Clone, Copy, Debug)]
pub struct Blocker {
    pub state: OffState,
    pub syscall: Option<Syscall>,
    pub waker: WakerKind,
    pub who: Option<WhoId>,
    pub waker_syscall: Option<Syscall>,
    pub share: Share,
}

impl Preemptor {
    fn of(who: WhoId) -> Preemptor {
        Preemptor {
            who,
            ..Preemptor::default()
        }
    }
}

impl Causes {
    #[inline]
    pub fn charge(&mut self, charge: Charge, ns: Nanos, many: bool) {
        let kind = match charge {
            Charge::Who(who) => return self.threads.add(who, ns, many),
            Charge::Irq => ChargeKind::Irq,
            Charge::Softirq => ChargeKind::Softirq,
            Charge::Steal => ChargeKind::Steal,
            Charge::Throttled => ChargeKind::Throttled,
            Charge::Idle => ChargeKind::Idle,
            Charge::OtherCpu => ChargeKind::OtherCpu,
            Charge::Unknown => ChargeKind::Unknown,
        };
        match self.others.iter_mut().find(|(other, _)| *other == kind) {
            Some((_, share)) => share.add(1, ns),
            None => {
                push(&mut self.others, (kind, Share { count: 1, ns }));
            }
        }
    }

    /// A wait of this length began when `who` came.
    pub fn preempted(
        &mut self,
        who: WhoId,
        (length, whole, at): (Nanos, bool, Timestamp),
        delay: Option<Nanos>,
        many: bool,
    ) {
        let most = if many { PREEMPTORS_OF_MANY } else { PREEMPTORS };
        let row = place(&mut self.preemptors, most, |row| row.who == who);
        let row = match row {
            Place::Found(row) => row,
            Place::Free(rows) => push(rows, Preemptor::of(who)),
            // Whoever counts least makes room for one that counts more.
            Place::Full(rows) => {
                let least = rows.iter_mut().min_by_key(|row| row.share.ns);
                let Some(least) = least.filter(|least| least.share.ns < length) else {
                    return self.other_preemptors.add(1, length);
                };
                let before = std::mem::replace(least, Preemptor::of(who));
                self.other_preemptors
                    .add(before.share.count, before.share.ns);
                least
            }
        };
        row.share.add(1, length);
        if whole {
            row.waits.record(length, at);
        }
        if let Some(delay) = delay {
            row.delays.get_or_insert_default().record(delay, at);
        }
    }

    /// Woken, it waited so long.
    pub fn woken(&mut self, woken: &Woken, wait: Nanos) {
        let add = |row: &mut Waker| {
            row.count += 1;
            row.cross_cpu += u64::from(woken.cross_cpu);
            row.wake += woken.wake;
            row.wait += wait;
        };
        let same = |row: &Waker, who| {
            row.kind == woken.kind && row.who == who && row.itself == woken.itself
        };
        let new = |who| Waker {
            kind: woken.kind,
            itself: woken.itself,
            who,
            count: 0,
            cross_cpu: 0,
            wake: Nanos::ZERO,
            wait: Nanos::ZERO,
        };
        match place(&mut self.wakers, WAKERS, |row| same(row, woken.who)) {
            Place::Found(row) => add(row),
            Place::Free(rows) => add(push(rows, new(woken.who))),
            Place::Full(rows) => match rows.iter().position(|row| same(row, None)) {
                Some(rest) => add(&mut rows[rest]),
                None => add(push(rows, new(None))),
            },
        }
    }

    /// Blocked for so long until `woken`.
    pub fn blocked(&mut self, slept: &Slept, woken: &Woken, length: Nanos) {
        let new = Blocker {
            state: slept.state,
            syscall: slept.syscall,
            waker: woken.kind,
            who: woken.who,
            waker_syscall: woken.syscall,
            share: Share::default(),
        };
        let same = |row: &Blocker| {
            (
                row.state,
                row.syscall,
                row.waker,
                row.who,
                row.waker_syscall,
            ) == (
                new.state,
                new.syscall,
                new.waker,
                new.who,
                new.waker_syscall,
            )
        };
        let add = |row: &mut Blocker| row.share.add(1, length);
        match place(&mut self.blockers, BLOCKERS, same) {
            Place::Found(row) => add(row),
            Place::Free(rows) => add(push(rows, new)),
            // They are ranked and need not add up: the least of them makes room.
            Place::Full(rows) => {
                if let Some(least) = rows.iter_mut().min_by_key(|row| row.share.ns) {
                    *least = new;
                    add(least);
                }
            }
        }
    }

    /// Who, and how much. `None`: those that were too many.
    pub fn threads(&self) -> impl Iterator<Item = (Option<WhoId>, Share)> {
        let rest = Some((None, self.threads.rest())).filter(|(_, rest)| rest.count > 0);
        let named = self.threads.iter();
        named.map(|(who, share)| (Some(who), share)).chain(rest)
    }

    /// What is no thread.
    pub fn others(&self) -> impl Iterator<Item = (ChargeKind, Share)> {
        self.others.iter().copied()
    }

    /// Everybody who is referred to.
    pub fn names(&self) -> impl Iterator<Item = WhoId> {
        let threads = self.threads.iter().map(|(who, _)| who);
        let preemptors = self.preemptors.iter().map(|row| row.who);
        let wakers = self.wakers.iter().filter_map(|row| row.who);
        let blockers = self.blockers.iter().filter_map(|row| row.who);
        threads.chain(preemptors).chain(wakers).chain(blockers)
    }
}

enum Place<'a, T> {
    Found(&'a mut T),
    Free(&'a mut Vec<T>),
    Full(&'a mut Vec<T>),
}

/// The row in question; what is asked for often comes to the front.
fn place<T>(rows: &mut Vec<T>, most: usize, same: impl Fn(&T) -> bool) -> Place<'_, T> {
    match rows.iter().position(same) {
        Some(0) => Place::Found(&mut rows[0]),
        Some(at) => {
            rows.swap(at - 1, at);
            Place::Found(&mut rows[at - 1])
        }
        None if rows.len() < most => Place::Free(rows),
        None => Place::Full(rows),
    }
}

/// Most threads have one or two rows, and there are many threads: no room in reserve.
fn push<T>(rows: &mut Vec<T>, row: T) -> &mut T {
    rows.reserve_exact(1);
    rows.push(row);
    let last = rows.len() - 1;
    &mut rows[last]
}
