//! What changes of a thread that is known: its tid, its name, its cgroup, its priority.
//!
//! In: execs, moves, renames. Out: identities, and names of whoever is to blame. Must not know: time spent,
//! spans.

use super::{Identity, Tasks};
use crate::model::{Comm, Memory, Priority, Slot, Who};

impl Tasks {
    pub fn exec(&mut self, slot: Slot, tid: u32, old_tid: u32, comm: Comm) {
        if old_tid != tid {
            self.leader_goes(slot, tid, old_tid);
        }
        if let Some(who) = self.get_mut(slot) {
            who.tid = tid;
            if old_tid != tid {
                who.was_tid = Some(old_tid);
            }
        }
        self.hold(slot);
        self.rename(slot, comm);
    }

    /// The leader, whose tid another thread of its process takes, has that one's in the end: where it is to
    /// blame the two are told apart.
    fn leader_goes(&mut self, slot: Slot, tid: u32, old_tid: u32) {
        let process = self.get(slot).map(|who| who.process);
        let leader = self
            .iter()
            .find(|(other, who)| *other != slot && who.tid == tid && Some(who.process) == process);
        if let Some((_, leader)) = leader {
            let (name, known) = (leader.name, self.as_culprit(leader));
            let known = Who {
                tid: old_tid,
                ..known
            };
            self.names.update(name, known);
        }
    }

    /// Into another cgroup, alone or with all of its process.
    pub fn moved(&mut self, slot: Slot, whole_process: bool, cgroup: u64) {
        let Some(who) = self.get_mut(slot) else {
            return;
        };
        who.cgroup = Some(cgroup);
        let (tid, process) = (who.tid, who.process);
        if whole_process {
            let threads = self
                .identities
                .iter_mut()
                .filter_map(|(_, who)| who.as_mut());
            for sibling in threads.filter(|who| who.process == process && who.died_at.is_none()) {
                sibling.cgroup = Some(cgroup);
            }
        }
        if let Some(process) = self.processes.get_mut(process.0 as usize)
            && (whole_process || process.pid == tid)
        {
            process.cgroup = Some(cgroup);
        }
    }

    /// A thread calls exit, and its process has so much in memory.
    pub fn leaves(&mut self, slot: Slot, memory: Memory) {
        let process = self.get(slot).map(|who| who.process);
        if let Some(process) = process.and_then(|id| self.processes.get_mut(id.0 as usize)) {
            process.left = Some(memory);
        }
    }

    pub fn rename(&mut self, slot: Slot, comm: Comm) {
        let Some(who) = self.get_mut(slot) else {
            return;
        };
        who.comm = comm;
        let (tid, process) = (who.tid, who.process);
        if let Some(process) = self.processes.get_mut(process.0 as usize)
            && process.pid == tid
        {
            process.comm = comm;
        }
        self.call(slot);
    }

    pub fn prioritize(&mut self, slot: Slot, priority: Priority) {
        if let Some(who) = self.get_mut(slot)
            && who.priority != priority
        {
            who.priority = priority;
            self.call(slot);
        }
    }

    /// Its name says what is known of it now.
    pub(super) fn call(&mut self, slot: Slot) {
        if let Some(who) = self.get(slot) {
            let (name, known) = (who.name, self.as_culprit(who));
            self.names.update(name, known);
        }
    }

    pub(super) fn as_culprit(&self, who: &Identity) -> Who {
        let process = self.process(who.process);
        Who {
            pid: process.pid,
            tid: who.tid,
            comm: who.comm,
            priority: who.priority,
            kernel_thread: process.kernel_thread && !who.anonymous,
            own: who.own,
        }
    }
}
