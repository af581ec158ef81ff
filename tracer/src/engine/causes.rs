//! What a wait was for: the thread's own story of it, put together with what its CPUs did meanwhile.
//!
//! In: stories of threads, and who has which CPU. Out: waits in pieces, with who is to blame. Must not know:
//! windows, totals.

use super::{
    Engine, FirstRun,
    history::{End, Taken},
    thread::{Story, Thread},
};
use crate::model::{
    Charge, Cpu, Nanos, Piece, Side, Slot, SpanSink, Switch, Timestamp, WaitCause, Waited, Waker,
    WakerKind, Who, WhoId, Woken,
};

/// Groups have numbers of cgroups; where those are not known a process is one.
const PROCESSES: u64 = 1 << 63;

impl Engine {
    /// One thread gives way to another. `came` is when it had come itself, where that is known.
    pub(super) fn changes_hands(
        &mut self,
        at: Timestamp,
        cpu: Cpu,
        switch: &Switch,
        (prev, next): (Option<Slot>, Option<Slot>),
        came: Option<Timestamp>,
    ) {
        let taken = Taken {
            steal: switch.steal.unwrap_or_default(),
            interrupts: switch.interrupts,
        };
        let end = End {
            charge: self.charge(&switch.prev, prev, at),
            came,
            gap: switch.gap,
            taken: Some(taken),
        };
        let next = self.charge(&switch.next, next, at);
        self.history.left(cpu, at, end, next);
    }

    /// One who is not watched gives way, or stays where there is no `next`. This may be told at any time before
    /// the wait that it is a part of ends.
    pub(super) fn on_left(&mut self, at: Timestamp, cpu: Cpu, end: End, next: Option<u32>) {
        let next = match next {
            None => end.charge,
            Some(0) => Charge::Idle,
            // What is kept of others may be told before their names are.
            Some(tid) => Charge::Who(self.tasks.names.numbered(tid, at)),
        };
        self.history.others_left(cpu, at, end, next);
    }

    pub(super) fn met(&mut self, who: &Who, at: Timestamp) -> Charge {
        match who.tid {
            0 => Charge::Idle,
            _ => Charge::Who(self.tasks.names.meet(*who, at)),
        }
    }

    /// How long the group of whoever comes to a CPU was throttled there.
    pub(super) fn group_of_next(&mut self, next: Slot, at: Timestamp, cpu: Cpu, switch: &Switch) {
        let sum = switch.next_throttled;
        let before = self.threads[next].throttled(cpu, sum);
        if sum > Nanos::ZERO {
            let group = self.group(next);
            self.throttles.seen(cpu, group, at, sum, before);
        }
    }

    /// Tells a wait with all that is known of it.
    pub(super) fn tell(&mut self, slot: Slot, cpu: Cpu, story: Story, sink: &mut impl SpanSink) {
        if story.cause == WaitCause::New && !story.open {
            self.first_runs.push(FirstRun {
                slot,
                queued: story.from,
                at: story.to,
                cpu,
            });
        }
        for &(moved, on) in self.threads[slot].moves() {
            self.history.catch_up_beyond(on, moved.min(story.to));
        }
        let mut pieces = std::mem::take(&mut self.pieces);
        self.explain(slot, cpu, &story, &mut pieces, sink);
        self.pieces = pieces;
    }

    /// The same, of a wait that may go on.
    pub(super) fn explain(
        &self,
        slot: Slot,
        cpu: Cpu,
        story: &Story,
        pieces: &mut Vec<Piece>,
        sink: &mut impl SpanSink,
    ) {
        pieces.clear();
        let thread = &self.threads[slot];
        let Story { from, to, .. } = *story;
        let mut at = self.throttled(slot, cpu, story);
        if at > from {
            pieces.push(Piece {
                to: at,
                charge: Charge::Throttled,
            });
        }
        for &(moved, on) in thread.moves() {
            let end = moved.min(to);
            if at < end {
                let first = pieces.len();
                self.history.explain((on, thread.name), at, end, pieces);
                for piece in &mut pieces[first..] {
                    if piece.charge == Charge::Unknown {
                        piece.charge = Charge::OtherCpu;
                    }
                }
                at = end;
            }
        }
        self.history.explain((cpu, thread.name), at, to, pieces);
        // Nobody waits for itself: it had left, and that is missing.
        for piece in pieces.iter_mut() {
            if piece.charge == Charge::Who(thread.name) {
                piece.charge = Charge::Unknown;
            }
        }
        let first = pieces.first().map(|piece| piece.charge);
        sink.explained(&Waited {
            slot,
            cpu,
            from,
            to,
            open: story.open,
            cause: match (story.cause, first) {
                // Kernels before 6.18 do not say so when it leaves.
                (WaitCause::Preempted, Some(Charge::Throttled)) => WaitCause::Throttled,
                (cause, _) => cause,
            },
            gave_way_to: match first {
                Some(Charge::Who(who)) if story.cause == WaitCause::Preempted => Some(who),
                _ => None,
            },
            resched: story.resched,
            woken: story.waking.map(|(waking, waker)| {
                let wake = from.since(waking);
                self.woken(thread, cpu, waker, wake)
            }),
            slept: story.slept,
            pieces,
        });
    }

    /// Until when the thread's group was throttled: the quota is used up where the wait begins, or before.
    fn throttled(&self, slot: Slot, cpu: Cpu, story: &Story) -> Timestamp {
        let Story {
            from, to, cause, ..
        } = *story;
        let left_throttled = cause == WaitCause::Throttled;
        if !left_throttled && self.throttles.is_empty() {
            return from;
        }
        let moves = self.threads[slot].moves().iter();
        if left_throttled && let Some(&(moved, _)) = moves.clone().find(|&&(at, _)| at > from) {
            // It is on no run queue before, and pulled away from the first one.
            return moved.min(to);
        }
        let length = match self.throttles.since(cpu, self.group(slot), from) {
            Some(length) if !story.open => length,
            None if !left_throttled => Nanos::ZERO,
            // How long, the kernel tells at the end only.
            _ if left_throttled => return to,
            _ => Nanos::ZERO,
        };
        Timestamp(from.0.saturating_add(length.0)).min(to)
    }

    fn woken(&self, thread: &Thread, cpu: Cpu, waker: Option<Waker>, wake: Nanos) -> Woken {
        let Some(waker) = waker else {
            return Woken {
                kind: WakerKind::Unknown,
                who: None,
                itself: false,
                syscall: None,
                cross_cpu: false,
                wake,
            };
        };
        let who = (waker.kind == WakerKind::Thread)
            .then(|| self.tasks.names.of_tid(waker.tid))
            .flatten();
        Woken {
            kind: waker.kind,
            who,
            itself: who == Some(thread.name),
            syscall: waker.syscall,
            cross_cpu: waker.cpu != cpu,
            wake,
        }
    }

    fn charge(&mut self, side: &Side, slot: Option<Slot>, at: Timestamp) -> Charge {
        if side.tid == 0 {
            return Charge::Idle;
        }
        Charge::Who(match slot {
            Some(slot) => self.threads[slot].name,
            None => self.tasks.names.numbered(side.tid, at),
        })
    }

    fn group(&self, slot: Slot) -> u64 {
        let who = self.tasks.get(slot);
        who.map_or(0, |who| {
            who.cgroup.unwrap_or(PROCESSES | u64::from(who.process.0))
        })
    }

    pub fn name(&self, who: WhoId) -> Option<&Who> {
        self.tasks.names.get(who)
    }

    /// Whether it is time to forget those to whom nobody refers any more.
    pub fn is_crowded(&self) -> bool {
        self.tasks.names.is_crowded()
    }

    /// Forgets all but `referred` and whoever lives or is in the history.
    pub fn forget_all_but(&mut self, referred: impl Iterator<Item = WhoId>) {
        let mut kept: Vec<WhoId> = referred.chain(self.history.names()).collect();
        kept.extend(self.tasks.iter().map(|(_, who)| who.name));
        self.tasks.names.forget_all_but(kept.into_iter());
    }
}
