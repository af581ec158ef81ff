//! What happened, thread by thread: events in order of time go in, spans and marks come out.
//!
//! Total: any sequence is accepted, contradictions become holes that are counted. Knows no bytes,
//! no clock, no window: what is inside the window is the ledger's affair.

mod causes;
mod cpu;
mod hidden;
mod history;
mod losses;
mod names;
mod switching;
pub mod tasks;
mod thread;
mod throttles;

#[cfg(test)]
pub(crate) mod tests;

use crate::{
    engine::{
        cpu::Cpus,
        history::{End, History, Taken},
        losses::Losses,
        tasks::Tasks,
        thread::Thread,
        throttles::Throttles,
    },
    model::{
        Charge, Cpu, Event, Key, Mark, Nanos, Piece, Posture, Slot, SpanSink, ThreadInfo,
        Timestamp, What,
    },
    table::Table,
};
pub use losses::Hole;
pub use thread::Oddities;

/// What is known of the machine before the first event.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// CPUs that exist.
    pub cpus: Vec<Cpu>,
    /// The number of `sched_yield`; `None` where system calls cannot be told.
    pub sched_yield: Option<u32>,
    pub steal: bool,
    pub iowait: bool,
    /// Interrupts are measured.
    pub interrupts: bool,
    /// Only watched threads are told: what a CPU did for others is known as it counted it, not in time.
    pub narrow: bool,
    pub page_bytes: u64,
    /// System calls that create, replace and wait for processes are told.
    pub calls: bool,
    /// Writes after a fork are counted.
    pub cow: bool,
}

#[derive(Debug, Default)]
pub struct Engine {
    facts: Facts,
    tasks: Tasks,
    /// By slot.
    threads: Table<Thread>,
    cpus: Cpus,
    history: History,
    throttles: Throttles,
    /// Of the wait that is explained; empty between calls.
    pieces: Vec<Piece>,
    oddities: Oddities,
    losses: Losses,
    /// When the iterator at the end began.
    end_snapshot: Option<Timestamp>,
    /// Not asked for yet.
    first_runs: Vec<FirstRun>,
}

/// A new thread has come to a CPU for the first time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FirstRun {
    pub slot: Slot,
    /// It was on a run queue from then on.
    pub queued: Timestamp,
    pub at: Timestamp,
    pub cpu: Cpu,
}

impl Engine {
    pub fn new(facts: Facts) -> Engine {
        Engine {
            history: History::new(facts.cpus.len()),
            facts,
            ..Engine::default()
        }
    }

    pub fn tasks(&self) -> &Tasks {
        &self.tasks
    }

    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    pub fn oddities(&self) -> Oddities {
        self.oddities
    }

    pub fn losses(&self) -> &Losses {
        &self.losses
    }

    pub fn apply(&mut self, event: &Event, sink: &mut impl SpanSink) {
        let at = event.at;
        match &event.what {
            What::Switch(switch) => self.on_switch(at, event.cpu, switch, sink),
            What::Waking { task, waker, .. } => {
                if let Some(slot) = self.tasks.slot(*task) {
                    self.threads[slot].waking(at, Some(*waker));
                }
            }
            What::WakeupNew {
                task,
                tid,
                on,
                rq_clock,
            } => {
                let slot = self.newborn(at, *task, *tid, sink);
                self.threads[slot].cpu = *on;
                self.threads[slot].born(at, *rq_clock, sink);
            }
            What::Migrate { task, to, .. } => self.on_migrate(at, *task, *to, sink),
            // Of one that is not watched nothing else is told.
            What::Newtask { child, .. } if !child.watched => {}
            What::Newtask { child, .. } => self.on_newtask(at, child, sink),
            // What births and ends cost is nothing that a thread does.
            What::Fork { .. } | What::Called { .. } | What::Cow { .. } | What::Teardown { .. } => {}
            What::Moved {
                task,
                whole_process,
                cgroup,
                ..
            } => {
                if let Some(slot) = self.tasks.slot(*task) {
                    self.tasks.moved(slot, *whole_process, *cgroup);
                }
            }
            What::Exec {
                task,
                tid,
                old_tid,
                comm,
            } => {
                if let Some(slot) = self.tasks.slot(*task) {
                    self.tasks.exec(slot, *tid, *old_tid, *comm);
                }
            }
            What::Exit {
                task,
                exit_code,
                priority,
                comm,
                memory,
                ..
            } => {
                if let Some(slot) = self.tasks.slot(*task) {
                    self.tasks.rename(slot, *comm);
                    if let Some(memory) = memory {
                        self.tasks.leaves(slot, *memory);
                    }
                    if let Some(who) = self.tasks.get_mut(slot) {
                        who.exit = Some(tasks::ExitInfo {
                            at,
                            status: *exit_code,
                        });
                    }
                    self.tasks.prioritize(slot, *priority);
                }
            }
            What::Rename { task, comm, .. } => {
                if let Some(slot) = self.tasks.slot(*task) {
                    self.tasks.rename(slot, *comm);
                }
            }
            What::Lost { probe, total } => {
                self.losses.announced(event.cpu, at, *probe, *total);
                self.history.lost(event.cpu, at);
            }
            What::Counted(counted) => sink.counted(event.cpu, at, counted),
            What::Left {
                who,
                next_tid,
                taken,
                ran,
                gap,
                stays,
            } => {
                let end = End {
                    charge: self.met(who, at),
                    came: ran.map(|ran| at.before(ran)),
                    gap: *gap,
                    taken: taken.map(|(steal, interrupts)| Taken { steal, interrupts }),
                };
                let next = (!stays).then_some(*next_tid);
                self.on_left(at, event.cpu, end, next);
            }
            What::Named(who) => {
                self.tasks.names.introduce(*who, at);
            }
            What::Seen(info) => self.on_seen(at, info, sink),
            What::SeenAtEnd(info) => self.on_seen_at_end(at, info, sink),
            What::WindowBegin => self.on_window_begin(at),
            What::WindowEnd => self.losses.close(),
        }
    }

    /// All events before `at` have been applied.
    pub fn advance(&mut self, at: Timestamp) {
        self.history.catch_up(at);
    }

    /// Spans of everything still open, up to `at`; the states stay as they are.
    pub fn open_spans(&self, at: Timestamp, sink: &mut impl SpanSink) {
        let mut pieces = Vec::new();
        for (slot, who) in self.tasks.iter() {
            if who.died_at.is_none()
                && let Some(story) = self.threads[slot].open_spans(at, sink)
            {
                self.explain(slot, self.cpu_of(slot), &story, &mut pieces, sink);
            }
        }
        self.cpus.open_spans(at, sink);
    }

    /// The stream ended; the window closes at `at`.
    pub fn finish(&mut self, at: Timestamp, sink: &mut impl SpanSink) {
        let Engine {
            tasks,
            threads,
            losses,
            end_snapshot,
            ..
        } = self;
        let lossy = losses.any();
        let mut died = Vec::new();
        let mut stories = Vec::new();
        for (slot, who) in tasks.iter().filter(|(_, who)| who.died_at.is_none()) {
            let thread = &mut threads[slot];
            let older = who.born_at < *end_snapshot;
            if older && !thread.is_seen_at_end() && who.tid != 0 && !thread.is_hidden() {
                if let Some(exit) = who.exit {
                    let ended = thread.exited_unseen(exit.at, sink);
                    sink.mark(slot, ended, &Mark::Died);
                    died.push((slot, ended));
                    continue;
                }
                thread.vanished();
            }
            if lossy {
                thread.believe_the_end(sink);
            }
            // The last look counted these: inside the window, however late it is known.
            let (lost, story) = thread.finish(at, sink);
            losses.switches += lost;
            stories.extend(story.map(|story| (slot, story)));
        }
        for (slot, ended) in died {
            tasks.died(slot, ended);
        }
        for (slot, story) in stories {
            self.tell(slot, self.cpu_of(slot), story, sink);
        }
        self.cpus.open_spans(at, sink);
        let left = self
            .hidden()
            .filter(|&slot| self.threads[slot].left_at_last())
            .count();
        self.count_hidden(at.before(Nanos(1)), left as u64, true, sink);
    }

    /// Somebody who has run for the first time, and was not asked for.
    #[inline]
    pub fn take_first_run(&mut self) -> Option<FirstRun> {
        self.first_runs.pop()
    }

    /// The threads that a frequent event is about.
    #[inline]
    pub fn concerned(&self, event: &Event) -> [Option<Slot>; 2] {
        match &event.what {
            What::Switch(switch) => [
                self.tasks.slot(switch.prev.key),
                self.tasks.slot(switch.next.key),
            ],
            What::Waking { task, .. } => [self.tasks.slot(*task), None],
            _ => [None, None],
        }
    }

    /// Reads a little of all that the next event of this thread needs; the answer means nothing.
    #[inline]
    pub fn glance(&self, slot: Slot) -> u64 {
        self.threads.get(slot).map_or(0, Thread::glance)
    }

    /// Where a thread ran or was moved to last.
    pub fn cpu_of(&self, slot: Slot) -> Cpu {
        self.threads
            .get(slot)
            .map_or(Cpu::default(), |thread| thread.cpu)
    }

    pub fn tasks_mut(&mut self) -> &mut Tasks {
        &mut self.tasks
    }

    fn on_migrate(&mut self, at: Timestamp, task: Key, to: Cpu, sink: &mut impl SpanSink) {
        let Some(slot) = self.tasks.slot(task) else {
            return;
        };
        self.threads[slot].migrated(at, to);
        sink.mark(slot, at, &Mark::Migrated);
    }

    fn on_newtask(&mut self, at: Timestamp, child: &ThreadInfo, sink: &mut impl SpanSink) {
        if let Some(stale) = self.tasks.slot(child.key) {
            self.end_unseen(stale, at, sink);
        }
        let slot = self.tasks.insert(child);
        self.put(Thread::unborn(slot, at, child.counters));
        self.threads[slot].cpu = child.cpu;
    }

    fn on_seen(&mut self, at: Timestamp, info: &ThreadInfo, sink: &mut impl SpanSink) {
        if info.posture == Posture::Dead {
            if info.tid == info.tgid {
                self.tasks.insert_process(info);
            }
            return;
        }
        let known = self.tasks.slot(info.key);
        let same = known.filter(|&slot| self.tasks.may_have_become(slot, info.tid));
        if let (Some(stale), None) = (known, same) {
            self.end_unseen(stale, at, sink);
        }
        let slot = match same {
            Some(slot) => {
                self.describe(slot, info);
                slot
            }
            None => {
                let slot = self.tasks.insert(info);
                self.put(Thread::unknown(slot, at));
                self.threads[slot].cpu = info.cpu;
                slot
            }
        };
        let thread = &mut self.threads[slot];
        if let Some(waking) = info.waking {
            thread.waking(waking, None);
        }
        thread.seen(at, info, sink);
        if info.posture == Posture::OnCpu {
            let name = self.threads[slot].name;
            self.history.occupied(info.cpu, Charge::Who(name));
            self.cpus.occupied(info.cpu, at, slot);
        }
    }

    /// The iterator describes a thread that the stream showed first.
    fn describe(&mut self, slot: Slot, info: &ThreadInfo) {
        if self.tasks.describe(slot, info) {
            self.threads[slot].cpu = info.cpu;
        }
    }

    fn on_seen_at_end(&mut self, at: Timestamp, info: &ThreadInfo, sink: &mut impl SpanSink) {
        self.end_snapshot.get_or_insert(at);
        let Some(slot) = self.tasks.slot(info.key) else {
            return;
        };
        if !self.tasks.may_have_become(slot, info.tid) {
            self.end_unseen(slot, at, sink);
            return;
        }
        self.describe(slot, info);
        let thread = &mut self.threads[slot];
        if let Some(waking) = info.waking {
            thread.waking(waking, None);
        }
        thread.seen_at_end(at, info, sink);
        self.tasks.prioritize(slot, info.priority);
        if let Some(who) = self.tasks.get_mut(slot) {
            who.cgroup = info.cgroup;
        }
    }

    fn on_window_begin(&mut self, at: Timestamp) {
        self.tasks.reset_peaks();
        // What was missed while the probes were being attached is before the window.
        self.losses.begin();
        self.oddities = Oddities::default();
        for &cpu in &self.facts.cpus {
            // Who is not watched was not seen.
            if !self.facts.narrow {
                self.history.occupied(cpu, Charge::Idle);
            }
            self.cpus.idles(cpu, at);
        }
    }

    fn put(&mut self, mut thread: Thread) {
        if let Some(who) = self.tasks.get(thread.slot) {
            thread.name = who.name;
            thread.priority = who.priority;
        }
        let place = self.threads.at(thread.slot);
        *place = thread;
    }
}
