//! One switch: who goes, who comes, and who they are.
//!
//! In: a switch. Out: both threads' spans, the CPU's stretch, counts. Must not know: bytes, windows, targets.

use super::{
    Engine,
    thread::{Story, Thread},
};
use crate::model::{
    Cpu, Key, Mark, Side, Slot, SpanSink, Switch, SwitchCount, SwitchOut, Syscall, Timestamp,
};

impl Engine {
    pub(super) fn on_switch(
        &mut self,
        at: Timestamp,
        cpu: Cpu,
        switch: &Switch,
        sink: &mut impl SpanSink,
    ) {
        if switch.prev.key == switch.next.key {
            return; // No kernel switches a thread to itself; bytes can say so.
        }
        let leaves = |thread: &Thread| thread.leaves_with(&switch.counters);
        let enters = |thread: &Thread| thread.enters_with(switch.next_seq);
        let Switch { prev, next, .. } = switch;
        let prev = prev.watched.then(|| self.side(at, prev, leaves, sink));
        let next = next.watched.then(|| self.side(at, next, enters, sink));
        let idle = (switch.prev.tid == 0, switch.next.tid == 0);
        self.losses.heard(cpu, at);

        let unseen = self
            .cpus
            .switch(cpu, at, (prev, idle.0), (next, idle.1), sink);
        if let Some(unseen) = unseen {
            self.threads[unseen].left_unseen();
        }
        let (came, rebuilt) = match prev {
            Some(prev) => self.leaves(prev, at, cpu, switch, sink),
            None => (None, None),
        };
        self.changes_hands(at, cpu, switch, (prev, next), came);
        if let Some(prev) = prev {
            if let Some(story) = rebuilt {
                self.tell(prev, cpu, story, sink);
            }
            self.threads[prev].forget_moves();
        }
        if let Some(next) = next {
            self.enters(next, at, cpu, switch, sink);
        }
    }

    /// Answers when it came, where that is known, and the wait before where only now that is known to have ended.
    fn leaves(
        &mut self,
        prev: Slot,
        at: Timestamp,
        cpu: Cpu,
        switch: &Switch,
        sink: &mut impl SpanSink,
    ) -> (Option<Timestamp>, Option<Story>) {
        let yielded = self.is_yield(switch);
        let Engine {
            threads, oddities, ..
        } = self;
        let departure = threads[prev].switch_out(at, cpu, (switch, yielded), oddities, sink);
        self.losses.switches(departure.lost);
        let (voluntary, involuntary) = (departure.voluntary, departure.involuntary);
        let is_idle = switch.prev.tid == 0;
        if !is_idle {
            sink.mark(
                prev,
                at,
                &Mark::SwitchOut {
                    voluntary,
                    involuntary,
                    yielded: involuntary == 1 && yielded,
                    kind: switch.next_kind,
                    address_space_change: switch.address_space_change,
                },
            );
        }
        if !is_idle && self.threads[prev].priority != switch.prev_priority {
            self.threads[prev].priority = switch.prev_priority;
            self.tasks.prioritize(prev, switch.prev_priority);
        }
        self.threads[prev].settle(at, sink);
        let count = if is_idle {
            SwitchCount {
                from_idle: voluntary + involuntary,
                ..SwitchCount::default()
            }
        } else {
            SwitchCount {
                voluntary,
                involuntary,
                from_idle: 0,
            }
        };
        sink.switch(cpu, at, switch, count);
        if switch.out == SwitchOut::Dead {
            self.tasks.died(prev, at);
        }
        (departure.came, departure.wait)
    }

    fn enters(
        &mut self,
        next: Slot,
        at: Timestamp,
        cpu: Cpu,
        switch: &Switch,
        sink: &mut impl SpanSink,
    ) {
        if self.threads[next].is_hidden() && switch.next.tid != 0 {
            let (left, blocked) = self.threads[next].unseen_departures(switch.next_seq);
            self.count_hidden(at, left, blocked, sink);
        }
        let Engine {
            threads,
            oddities,
            losses,
            ..
        } = self;
        let thread = &mut threads[next];
        if let Some((waking, waker)) = switch.next_waking {
            thread.waking(waking, Some(waker));
        }
        let (lost, story) = thread.switch_in(at, cpu, switch, oddities, sink);
        losses.switches(lost);
        self.group_of_next(next, at, cpu, switch);
        if let Some(story) = story {
            self.tell(next, cpu, story, sink);
        }
    }

    /// The thread on one side of a switch. A key that came to another tid names another thread,
    /// whose birth was lost; unless exec swapped the tids of two threads, which it does before it
    /// tells: then the numbers of the switches go on.
    fn side(
        &mut self,
        at: Timestamp,
        side: &Side,
        goes_on: impl Fn(&Thread) -> bool,
        sink: &mut impl SpanSink,
    ) -> Slot {
        if let Some((slot, tid)) = self.tasks.holder(side.key) {
            let same = tid == side.tid;
            let swapped = || self.tasks.may_have_become(slot, side.tid);
            if same || (swapped() && goes_on(&self.threads[slot])) {
                return slot;
            }
            self.end_unseen(slot, at, sink);
        }
        let slot = self.tasks.insert_anonymous(side.key, side.tid, side.own);
        self.put(Thread::unknown(slot, at));
        slot
    }

    /// A thread whose last switch-out is missing: another one has its key now.
    pub(super) fn end_unseen(&mut self, slot: Slot, at: Timestamp, sink: &mut impl SpanSink) {
        let exit = self.tasks.get(slot).and_then(|who| who.exit);
        let thread = &mut self.threads[slot];
        let ended = match exit {
            // It may be long ago.
            Some(exit) => thread.exited_unseen(exit.at, sink).min(at),
            None => {
                thread.vanished();
                thread.believe_the_end(sink);
                // Vanished, it waits no more.
                let (lost, _) = thread.finish(at, sink);
                self.losses.switches(lost);
                at
            }
        };
        sink.mark(slot, ended, &Mark::Died);
        self.tasks.died(slot, ended);
    }

    /// A thread whose life begins; anonymous when its creation was lost.
    pub(super) fn newborn(
        &mut self,
        at: Timestamp,
        task: Key,
        tid: u32,
        sink: &mut impl SpanSink,
    ) -> Slot {
        let known = self.tasks.slot(task);
        let same = known.filter(|&slot| self.tasks.get(slot).is_some_and(|who| who.tid == tid));
        if let (Some(stale), None) = (known, same) {
            self.end_unseen(stale, at, sink);
        }
        let slot = match same {
            Some(slot) => slot,
            None => {
                let slot = self.tasks.insert_anonymous(task, tid, false);
                self.put(Thread::unknown(slot, at));
                slot
            }
        };
        if let Some(who) = self.tasks.get_mut(slot) {
            who.born_at.get_or_insert(at);
        }
        slot
    }

    fn is_yield(&self, switch: &Switch) -> bool {
        !switch.preempt
            && self.facts.sched_yield.is_some()
            && switch.syscall == self.facts.sched_yield.map(Syscall::Native)
    }
}
