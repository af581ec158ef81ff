//! Births, execs and ends of the target inside the window: what each took, and what all of them did.
//!
//! In: events, after the engine has applied them. Out: rows and sums. Memory is bounded: of what has ended the
//! dearest are kept apart, the sums hold all. Must not know: formats, spans.

mod costs;
mod crashes;
mod kept;
mod made;
mod rows;
mod shown;
mod tree;

use rustc_hash::FxHashMap;

use crate::{
    engine::{
        Engine, Facts, FirstRun,
        tasks::{Identity, ProcessId},
    },
    model::{Birth, BirthKind, Call, Comm, Cpu, Event, Key, Slot, ThreadInfo, Timestamp, What},
    report::{self, Folded},
    target::Selection,
};
use costs::Costs;
use crashes::Crashes;
use kept::Kept;
use made::Made;
use rows::{ExecRow, ExitRow, ForkRow};

/// Children that are known by another pid.
const MANY: usize = 100_000;

#[derive(Debug)]
pub struct Births {
    calls: bool,
    cow: bool,
    page_bytes: u64,
    /// The end of time: the window has not begun.
    from: Timestamp,
    to: Timestamp,
    /// By the tid that it was born with.
    forks: Kept<ForkRow>,
    /// That tid, of threads whose birth is in `forks`.
    born: FxHashMap<Slot, u32>,
    /// Where a parent sees its child under another pid than we do: (parent, that pid) to the child's.
    aliases: FxHashMap<(ProcessId, u32), u32>,
    execs: Kept<ExecRow>,
    /// What a thread was called before it was renamed: exec renames before it tells.
    renamed: FxHashMap<Slot, Comm>,
    exits: Kept<ExitRow>,
    costs: Costs,
    crashes: Crashes,
    made: Made,
}

impl Births {
    /// Keeps `keep` rows of each kind apart.
    pub fn new(facts: &Facts, keep: usize) -> Births {
        Births {
            calls: facts.calls,
            cow: facts.cow,
            page_bytes: facts.page_bytes,
            from: Timestamp(u64::MAX),
            to: Timestamp(u64::MAX),
            forks: Kept::new(keep),
            born: FxHashMap::default(),
            aliases: FxHashMap::default(),
            execs: Kept::new(keep),
            renamed: FxHashMap::default(),
            exits: Kept::new(keep),
            costs: Costs::default(),
            crashes: Crashes::default(),
            made: Made::default(),
        }
    }

    pub fn begin(&mut self, at: Timestamp) {
        self.from = at;
    }

    pub fn end(&mut self, at: Timestamp) {
        self.to = at;
    }

    fn covers(&self, at: Timestamp) -> bool {
        at >= self.from && at < self.to
    }

    /// Before the engine applies a record: what it is about to forget.
    #[inline]
    pub fn prepare(&mut self, event: &Event, engine: &Engine) {
        if let What::Rename { task, .. } = &event.what
            && let Some(slot) = engine.tasks().slot(*task)
            && let Some(who) = engine.tasks().get(slot)
        {
            self.renamed.insert(slot, who.comm);
        }
    }

    /// After engine and selection have taken it.
    #[inline]
    pub fn observe(&mut self, event: &Event, engine: &Engine, selection: &Selection) {
        let at = event.at;
        match &event.what {
            What::Newtask { child, birth } if self.covers(at) => {
                self.born(at, event.cpu, (child, birth), engine, selection);
            }
            What::Fork {
                child,
                child_tid,
                memory,
                ..
            } => {
                if let Some(row) = self.row(*child_tid, *child) {
                    row.memory = *memory;
                    let kind = row.birth.kind();
                    self.settle(*child_tid, kind);
                }
            }
            What::Exec {
                task, tid, comm, ..
            } => self.replaced(at, *task, (*tid, *comm), engine, selection),
            What::Exit {
                task,
                exit_code,
                comm,
                ..
            } => self.exited(at, *task, (*exit_code, *comm), engine, selection),
            What::Called { task, call, .. } => self.called(at, *task, call, engine),
            What::Cow {
                pid,
                child,
                since,
                faults,
            } => self.copied(*pid, *child, *since, *faults),
            What::Teardown { task, .. } => {
                let who = engine.tasks().who(*task);
                if let Some(row) = who.and_then(|(_, who)| self.exits.get_mut(who.tid)) {
                    row.torn_down.get_or_insert(at);
                }
            }
            _ => {}
        }
    }

    /// The row of a birth, while it is the last one with this tid.
    fn row(&mut self, tid: u32, child: Key) -> Option<&mut ForkRow> {
        self.forks.get_mut(tid).filter(|row| row.child == child)
    }

    /// That of a thread. Another one may have been born with its tid since.
    fn row_of(&mut self, slot: Slot) -> Option<&mut ForkRow> {
        let tid = self.born.get(&slot)?;
        self.forks
            .get_mut(*tid)
            .filter(|row| row.slot == Some(slot))
    }

    fn born(
        &mut self,
        at: Timestamp,
        cpu: Cpu,
        (child, birth): (&ThreadInfo, &Birth),
        engine: &Engine,
        selection: &Selection,
    ) {
        let tasks = engine.tasks();
        let parent = tasks.slot(birth.parent);
        let slot = tasks.slot(child.key).filter(|_| child.watched);
        let chosen = |slot: Option<Slot>| slot.is_some_and(|slot| selection.contains(slot));
        if !chosen(parent) && !chosen(slot) {
            return;
        }
        let who = parent.and_then(|parent| tasks.get(parent));
        let process = who.map(|who| who.process);
        let row = ForkRow {
            at,
            kind: None,
            birth: *birth,
            parent: report::Creator {
                pid: process.map_or(0, |process| tasks.process(process).pid),
                tid: birth.parent_tid,
                comm: who.map(|who| who.comm).unwrap_or_default(),
            },
            parent_process: process,
            parent_cpu: cpu,
            child: child.key,
            child_pid: child.tgid,
            child_tid: child.tid,
            child_comm: child.comm,
            slot,
            syscall: None,
            queued: None,
            ran: None,
            exec_at: None,
            memory: None,
            cow: report::CowFaults::default(),
            died: None,
            exit: None,
        };
        if let Some(slot) = slot {
            self.born.insert(slot, child.tid);
        }
        if let Some(process) = process {
            self.made.of(process).births += 1;
        }
        self.settle(child.tid, BirthKind::Worker);
        self.forks.add(child.tid, row, |row| {
            if let Some(who) = row.slot.and_then(|slot| tasks.get(slot)) {
                row.remember(who);
            }
            // What ended is told by its row alone: its slot will be another thread's.
            row.slot = row.slot.filter(|_| row.died.is_none());
            row.died
        });
        if child.kernel_thread || child.io_worker {
            self.settle(child.tid, BirthKind::Worker);
        }
    }

    /// What kind of birth it was is known, and counts.
    fn settle(&mut self, tid: u32, kind: BirthKind) {
        if let Some(row) = self.forks.get_mut(tid)
            && row.kind.is_none()
        {
            row.kind = Some(kind);
            self.costs.of(kind, row.parent.comm).count += 1;
        }
    }

    /// Nothing more is told: what no system call told of was none, as far as is known.
    pub fn finish(&mut self) {
        for tid in self.forks.tids() {
            self.settle(tid, BirthKind::Worker);
        }
    }

    /// A thread that was born has come to a CPU.
    pub fn ran(&mut self, run: FirstRun) {
        let Some(tid) = self.row_of(run.slot).map(|row| row.child_tid) else {
            return;
        };
        // A system call would have told of itself by now.
        self.settle(tid, BirthKind::Worker);
        let Some(row) = self.forks.get_mut(tid) else {
            return;
        };
        row.queued = Some(run.queued);
        row.ran = Some((run.at, run.cpu));
        if let Some(kind) = row.kind {
            let cost = self.costs.of(kind, row.parent.comm);
            cost.first_run.record(run.at.since(row.at), run.at);
        }
    }

    fn replaced(
        &mut self,
        at: Timestamp,
        task: Key,
        (tid, after): (u32, Comm),
        engine: &Engine,
        selection: &Selection,
    ) {
        let tasks = engine.tasks();
        let Some((slot, who)) = tasks.who(task) else {
            return;
        };
        let before = self.renamed.remove(&slot).unwrap_or(after);
        self.crashes.survived(who.process);
        if let Some(row) = self.row_of(slot) {
            row.exec_at.get_or_insert(at);
        }
        if self.covers(at) && selection.contains(slot) {
            self.made.of(who.process).execs += 1;
            let row = ExecRow {
                at,
                pid: tasks.process(who.process).pid,
                tid,
                before,
                after,
                syscall: None,
            };
            self.execs.add(tid, row, |row| Some(row.at));
        }
    }

    fn exited(
        &mut self,
        at: Timestamp,
        task: Key,
        (status, comm): (u32, Comm),
        engine: &Engine,
        selection: &Selection,
    ) {
        let tasks = engine.tasks();
        let Some((slot, who)) = tasks.who(task) else {
            return;
        };
        self.renamed.remove(&slot);
        if !self.covers(at) || !selection.contains(slot) {
            return;
        }
        let process = tasks.process(who.process);
        self.crashes.exited(at, who.process, process, status);
        let row = ExitRow {
            at,
            pid: process.pid,
            tid: who.tid,
            comm,
            status,
            process: who.process,
            reaped: None,
            torn_down: None,
        };
        self.exits.add(who.tid, row, |row| Some(row.at));
    }

    fn called(&mut self, at: Timestamp, task: Key, call: &Call, engine: &Engine) {
        let tasks = engine.tasks();
        let caller = tasks.who(task).map(|(_, who)| who);
        match *call {
            Call::Create {
                entered,
                child,
                child_tid,
                pid,
            } => {
                let stall = at.since(entered);
                let covered = self.covers(at);
                let Some(row) = self.row(child_tid, child) else {
                    return;
                };
                row.syscall = Some(stall);
                let (kind, comm, process) = (row.kind, row.parent.comm, row.parent_process);
                // What is copied is what costs.
                let copied = row.memory.filter(|_| !row.birth.shares_memory());
                if pid != child_tid
                    && let Some(process) = process
                {
                    // Of those that nobody waits for.
                    if self.aliases.len() > MANY {
                        self.aliases.clear();
                    }
                    self.aliases.insert((process, pid), child_tid);
                }
                if let Some(kind) = kind.filter(|_| covered) {
                    let bytes = copied.map(|memory| memory.resident_pages * self.page_bytes);
                    self.costs.of(kind, comm).stalled(stall, at, bytes);
                }
                if let Some(process) = process.filter(|_| covered) {
                    self.made.of(process).creation += stall;
                }
            }
            Call::Exec { entered } => {
                let row = caller.and_then(|who| self.execs.get_mut(who.tid));
                if let Some(row) = row.filter(|row| row.syscall.is_none()) {
                    row.syscall = Some(at.since(entered));
                }
            }
            Call::Wait { pid } => {
                if let Some(waiter) = caller {
                    self.waited(at, waiter, pid, engine);
                }
            }
        }
    }

    /// A wait has returned with this pid, as the waiter sees it.
    fn waited(&mut self, at: Timestamp, waiter: &Identity, pid: u32, engine: &Engine) {
        let tasks = engine.tasks();
        let alias = self.aliases.remove(&(waiter.process, pid));
        // A number of another namespace may be another process's here.
        let Some(row) = self.exits.get_mut(alias.unwrap_or(pid)) else {
            return;
        };
        if row.pid != row.tid || row.reaped.is_some() {
            return;
        }
        let known = tasks.process(row.process).pid == row.pid;
        let parent = tasks.parent(row.process).filter(|_| known);
        // Who is not its parent has inherited it.
        if parent.is_none_or(|parent| parent == waiter.process || tasks.process(parent).has_ended())
        {
            row.reaped = Some(at);
        }
    }

    fn copied(&mut self, pid: u32, child: u32, since: Timestamp, faults: u64) {
        let Some(row) = self.forks.get_mut(child).filter(|row| row.at == since) else {
            return;
        };
        let side = if pid == child {
            &mut row.cow.child
        } else {
            &mut row.cow.parent
        };
        *side = faults.max(*side);
    }

    /// The slot of an ended thread will be another one's.
    pub fn forget(&mut self, slot: Slot, who: Option<&Identity>) {
        self.renamed.remove(&slot);
        if let Some(row) = self.row_of(slot) {
            row.slot = None;
            if let Some(who) = who {
                row.remember(who);
            }
        }
        self.born.remove(&slot);
    }

    /// So will be the place of an ended process.
    pub fn forget_process(
        &mut self,
        process: ProcessId,
        parent: Option<ProcessId>,
        folded: Option<&Folded>,
    ) {
        self.made.end(process, parent, folded);
        self.crashes.end(process);
    }
}

#[cfg(test)]
#[path = "births_tests.rs"]
mod tests;
