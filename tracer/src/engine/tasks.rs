//! Identity: which thread a key names now, names, parents, processes, the ended.
//!
//! In: births, iterator entries, execs, exits, renames. Out: slots and what is known of their owners.
//! Must not know: time spent, spans.

mod changes;

use std::collections::VecDeque;

use rustc_hash::FxHashMap;

use super::names::Names;
use crate::{
    model::{Comm, Key, Memory, Posture, Priority, Slot, ThreadInfo, Timestamp, WhoId},
    table::Table,
};

/// Who a thread is.
#[derive(Clone, Debug)]
pub struct Identity {
    pub key: Key,
    /// Of all threads that were ever in sight; the same whenever the same stream is told.
    pub serial: u32,
    /// Who it is where it is to blame.
    pub name: WhoId,
    pub tid: u32,
    /// Its tid before it took over the leader's by exec.
    pub was_tid: Option<u32>,
    pub process: ProcessId,
    pub comm: Comm,
    /// `None`: its birth record was lost.
    pub start: Option<Timestamp>,
    pub born_at: Option<Timestamp>,
    pub died_at: Option<Timestamp>,
    pub exit: Option<ExitInfo>,
    pub priority: Priority,
    pub own: bool,
    pub cgroup: Option<u64>,
    /// No birth record, no iterator entry: only its tid is known.
    pub anonymous: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExitInfo {
    pub at: Timestamp,
    /// As `wait4` encodes it.
    pub status: u32,
}

/// Place of a process; unlike a pid it names no other one before this one is folded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProcessId(pub u32);

#[derive(Clone, Debug)]
pub struct Process {
    pub pid: u32,
    pub ppid: u32,
    pub start: Option<Timestamp>,
    /// The leader's name.
    pub comm: Comm,
    pub cgroup: Option<u64>,
    pub kernel_thread: bool,
    /// Who created it, and how often that place had been another's before.
    parent: Option<(ProcessId, u32)>,
    /// How often this place has been another process's before.
    generation: u32,
    /// When the last of its threads that was seen to had called exit.
    pub left: Option<Memory>,
    alive: u64,
    /// Of its threads, those that have not been folded.
    kept: u64,
    /// It had threads, and none lives.
    ended: bool,
    /// Among [`Tasks::husks`].
    husk: bool,
    /// Folded: its place waits for another process.
    gone: bool,
    /// Most threads alive at one time since `reset_peaks`.
    pub threads_max: u64,
    /// Threads alive at some time since `reset_peaks`.
    pub threads_total: u64,
}

/// All threads and processes in sight.
#[derive(Debug, Default)]
pub struct Tasks {
    /// Who has a key now, and its tid: each side of a switch asks for no more.
    by_key: FxHashMap<Key, (Slot, u32)>,
    identities: Table<Option<Identity>>,
    free: Vec<Slot>,
    /// How many identities there have been.
    placed: u32,
    processes: Vec<Process>,
    free_processes: Vec<ProcessId>,
    ended_processes: usize,
    /// Those of which all threads have been folded, oldest first, as candidates for folding.
    husks: VecDeque<ProcessId>,
    /// The process that owns a pid now.
    by_pid: FxHashMap<u32, ProcessId>,
    /// Ended threads, oldest first, as candidates for folding.
    ended: VecDeque<Slot>,
    /// Whoever can be to blame: also those who have no slot, or none any more.
    pub names: Names,
}

/// Threads whose identity was lost are put under this pid: no process has it but the idle one.
const NOBODY: u32 = 0;

impl Process {
    /// It had threads, and none lives.
    pub fn has_ended(&self) -> bool {
        self.ended
    }

    /// A number that no other process has, of the one in this place.
    pub fn serial(&self, place: ProcessId) -> u64 {
        u64::from(self.generation) << 32 | u64::from(place.0)
    }
}

impl Tasks {
    #[inline]
    pub fn slot(&self, key: Key) -> Option<Slot> {
        Some(self.holder(key)?.0)
    }

    /// The same with all that is known of it.
    pub fn who(&self, key: Key) -> Option<(Slot, &Identity)> {
        let slot = self.slot(key)?;
        Some((slot, self.get(slot)?))
    }

    /// How many threads have a key.
    pub fn living(&self) -> usize {
        self.by_key.len()
    }

    /// Whoever has this key now, with its tid.
    #[inline]
    pub fn holder(&self, key: Key) -> Option<(Slot, u32)> {
        self.by_key.get(&key).copied()
    }

    /// `None` for a slot that was folded away.
    pub fn get(&self, slot: Slot) -> Option<&Identity> {
        self.identities.get(slot)?.as_ref()
    }

    pub fn get_mut(&mut self, slot: Slot) -> Option<&mut Identity> {
        self.identities.get_mut(slot)?.as_mut()
    }

    pub fn iter(&self) -> impl Iterator<Item = (Slot, &Identity)> {
        self.identities
            .iter()
            .filter_map(|(slot, who)| Some((slot, who.as_ref()?)))
    }

    pub fn process(&self, id: ProcessId) -> &Process {
        &self.processes[id.0 as usize]
    }

    pub fn processes(&self) -> impl Iterator<Item = (ProcessId, &Process)> {
        let all = (0..).map(ProcessId).zip(&self.processes);
        all.filter(|(_, process)| !process.gone)
    }

    /// The process that created it, as long as that has not been folded.
    pub fn parent(&self, id: ProcessId) -> Option<ProcessId> {
        let process = self.process(id);
        let (parent, generation) = match process.parent {
            Some(parent) => parent,
            // It was seen before its parent was, at the start.
            None => (self.process_of_pid(process.ppid)?, u32::MAX),
        };
        let known = self.process(parent);
        let same = generation == u32::MAX || known.generation == generation;
        (same && !known.gone && parent != id).then_some(parent)
    }

    /// The process that has this pid now.
    pub fn process_of_pid(&self, pid: u32) -> Option<ProcessId> {
        self.by_pid.get(&pid).copied()
    }

    /// From here on, peaks and totals of thread counts are counted anew.
    pub fn reset_peaks(&mut self) {
        for process in &mut self.processes {
            process.threads_max = process.alive;
            process.threads_total = process.alive;
        }
    }

    /// A thread described by the iterator or by its birth record; a new slot.
    pub fn insert(&mut self, info: &ThreadInfo) -> Slot {
        let process = self.process_for(info);
        self.enroll(process);
        self.place(Identity {
            key: info.key,
            serial: 0,
            name: WhoId::default(),
            tid: info.tid,
            was_tid: None,
            process,
            comm: info.comm,
            start: Some(info.start),
            born_at: None,
            died_at: None,
            exit: None,
            priority: info.priority,
            own: info.own,
            cgroup: info.cgroup,
            anonymous: false,
        })
    }

    /// A leader that has exited before its threads: its process has a name and a parent even so.
    pub fn insert_process(&mut self, info: &ThreadInfo) {
        self.process_for(info);
    }

    /// A thread of which only key and tid are known.
    pub fn insert_anonymous(&mut self, key: Key, tid: u32, own: bool) -> Slot {
        let process = match self.by_pid.get(&NOBODY) {
            Some(&process) => process,
            None => self.new_process(NOBODY, 0, None, Comm::default(), None, true),
        };
        self.enroll(process);
        self.place(Identity {
            key,
            serial: 0,
            name: WhoId::default(),
            tid,
            was_tid: None,
            process,
            comm: Comm::default(),
            start: None,
            born_at: None,
            died_at: None,
            exit: None,
            priority: Priority::default(),
            own,
            cgroup: None,
            anonymous: true,
        })
    }

    /// The iterator describes a thread that the stream showed first. Answers whether that is news.
    pub fn describe(&mut self, slot: Slot, info: &ThreadInfo) -> bool {
        let Some(who) = self.get(slot).filter(|who| who.anonymous) else {
            return false;
        };
        let nobody = who.process;
        self.dismiss(nobody);
        self.part(nobody);
        let process = self.process_for(info);
        self.enroll(process);
        if let Some(who) = self.get_mut(slot) {
            who.tid = info.tid;
            who.process = process;
            who.comm = info.comm;
            who.start = Some(info.start);
            who.priority = info.priority;
            who.own = info.own;
            who.cgroup = info.cgroup;
            who.anonymous = false;
        }
        self.hold(slot);
        self.call(slot);
        true
    }

    /// Whether a tid can be this thread's now. Exec, before it tells, may have given it the leader's,
    /// and to the leader the other one; any other tid names another thread.
    pub fn may_have_become(&self, slot: Slot, tid: u32) -> bool {
        let Some(who) = self.get(slot) else {
            return false;
        };
        if who.tid == tid {
            return true;
        }
        let pid = self.process(who.process).pid;
        if who.tid != pid {
            return tid == pid;
        }
        self.iter().any(|(other, sibling)| {
            other != slot
                && sibling.process == who.process
                && sibling.died_at.is_none()
                && (sibling.tid == tid || sibling.was_tid == Some(tid))
        })
    }

    /// The thread's last switch-out: its key is free for another.
    pub fn died(&mut self, slot: Slot, at: Timestamp) {
        let Some(who) = self.get_mut(slot) else {
            return;
        };
        who.died_at = Some(at);
        let (key, process) = (who.key, who.process);
        if self.slot(key) == Some(slot) {
            self.by_key.remove(&key);
        }
        self.dismiss(process);
        self.ended.push_back(slot);
    }

    /// The oldest ended thread, once there are more than `keep` of them.
    pub fn ended_beyond(&mut self, keep: usize) -> Option<Slot> {
        if self.ended.len() > keep {
            self.ended.pop_front()
        } else {
            None
        }
    }

    /// Forgets an ended thread whose numbers were folded into its process.
    pub fn release(&mut self, slot: Slot) {
        let Some(who) = self.identities.get_mut(slot).and_then(Option::take) else {
            return;
        };
        self.free.push(slot);
        self.part(who.process);
    }

    /// The oldest process of which nothing is left but folded threads, once more than `keep` have ended.
    pub fn husk_beyond(&mut self, keep: usize) -> Option<ProcessId> {
        while self.ended_processes > keep {
            let id = self.husks.pop_front()?;
            let process = &mut self.processes[id.0 as usize];
            process.husk = false;
            // A thread of it may have come to light since.
            if process.kept == 0 {
                return Some(id);
            }
        }
        None
    }

    /// Forgets a process whose numbers were folded.
    pub fn release_process(&mut self, id: ProcessId) {
        let process = &mut self.processes[id.0 as usize];
        process.gone = true;
        self.ended_processes -= usize::from(std::mem::take(&mut process.ended));
        let pid = process.pid;
        if self.by_pid.get(&pid) == Some(&id) {
            self.by_pid.remove(&pid);
        }
        self.free_processes.push(id);
    }

    fn place(&mut self, mut who: Identity) -> Slot {
        who.name = self.names.place(self.as_culprit(&who), who.start);
        who.serial = self.placed;
        self.placed = self.placed.wrapping_add(1);
        let holder = (who.key, who.tid);
        let slot = match self.free.pop() {
            Some(slot) => {
                self.identities[slot] = Some(who);
                slot
            }
            None => self.identities.push(Some(who)),
        };
        self.by_key.insert(holder.0, (slot, holder.1));
        slot
    }

    /// Its tid has changed, and a key tells its holder's tid.
    fn hold(&mut self, slot: Slot) {
        let Some(who) = self.get(slot) else { return };
        let (key, tid) = (who.key, who.tid);
        if let Some(holder) = self.by_key.get_mut(&key).filter(|holder| holder.0 == slot) {
            holder.1 = tid;
        }
    }

    /// The process of a thread: new with its leader, or when none has this pid.
    fn process_for(&mut self, info: &ThreadInfo) -> ProcessId {
        let leads = info.tid == info.tgid;
        let known = self.by_pid.get(&info.tgid).copied();
        match known {
            // A leader seen after its threads (the iterator's order), not a pid used again.
            Some(id) if !leads || self.process(id).start.is_none() => {
                if leads {
                    let process = &mut self.processes[id.0 as usize];
                    process.start = Some(info.start);
                    process.comm = info.comm;
                    process.ppid = info.ppid;
                }
                id
            }
            Some(id)
                if info.posture != Posture::Unborn
                    && self.process(id).start == Some(info.start) =>
            {
                id
            }
            _ => {
                let start = leads.then_some(info.start);
                let id = self.new_process(
                    info.tgid,
                    info.ppid,
                    start,
                    info.comm,
                    info.cgroup,
                    info.kernel_thread,
                );
                self.by_pid.insert(info.tgid, id);
                id
            }
        }
    }

    fn new_process(
        &mut self,
        pid: u32,
        ppid: u32,
        start: Option<Timestamp>,
        comm: Comm,
        cgroup: Option<u64>,
        kernel_thread: bool,
    ) -> ProcessId {
        let parent = self.by_pid.get(&ppid).copied().filter(|_| ppid != NOBODY);
        let process = Process {
            pid,
            ppid,
            start,
            comm,
            cgroup,
            kernel_thread,
            parent: parent.map(|parent| (parent, self.process(parent).generation)),
            generation: 0,
            left: None,
            alive: 0,
            kept: 0,
            ended: false,
            husk: false,
            gone: false,
            threads_max: 0,
            threads_total: 0,
        };
        let id = match self.free_processes.pop() {
            Some(id) => {
                let place = &mut self.processes[id.0 as usize];
                let generation = place.generation.wrapping_add(1);
                *place = Process {
                    generation,
                    ..process
                };
                id
            }
            None => {
                self.processes.push(process);
                ProcessId(self.processes.len() as u32 - 1)
            }
        };
        self.by_pid.insert(pid, id);
        id
    }

    fn enroll(&mut self, process: ProcessId) {
        let process = &mut self.processes[process.0 as usize];
        self.ended_processes -= usize::from(std::mem::take(&mut process.ended));
        process.alive += 1;
        process.kept += 1;
        process.threads_total += 1;
        process.threads_max = process.threads_max.max(process.alive);
    }

    fn dismiss(&mut self, process: ProcessId) {
        let process = &mut self.processes[process.0 as usize];
        process.alive = process.alive.saturating_sub(1);
        // Nobody's threads are never folded into one.
        if process.alive == 0 && process.pid != NOBODY && !process.ended {
            process.ended = true;
            self.ended_processes += 1;
        }
    }

    /// One of its threads is folded, or another process's after all.
    fn part(&mut self, id: ProcessId) {
        let process = &mut self.processes[id.0 as usize];
        process.kept = process.kept.saturating_sub(1);
        if process.kept == 0 && process.ended && !process.husk {
            process.husk = true;
            self.husks.push_back(id);
        }
    }
}
