//! Which threads the report is about.
//!
//! In: identities as they become known. Out: the chosen slots. A thread once chosen stays so.
//! Must not know: time, numbers, procfs.

use regex::bytes::Regex;
use rustc_hash::FxHashSet;

use crate::{
    engine::tasks::{Identity, ProcessId, Tasks},
    model::{Event, Key, Slot, What},
};

/// What the user asked for: a union.
#[derive(Clone, Debug, Default)]
pub struct Target {
    pub pids: Vec<u32>,
    pub tids: Vec<u32>,
    pub comm: Option<Regex>,
    /// Ids of cgroups: a whole subtree.
    pub cgroups: Option<FxHashSet<u64>>,
    /// Threads and processes created by chosen ones are chosen, too.
    pub children: bool,
    /// In words.
    pub description: String,
}

impl Target {
    /// Nothing asked for is everything.
    pub fn is_whole_system(&self) -> bool {
        self.pids.is_empty()
            && self.tids.is_empty()
            && self.comm.is_none()
            && self.cgroups.is_none()
    }

    /// Whether the target can be gone: a name or a cgroup can always come back.
    pub fn can_end(&self) -> bool {
        !self.is_whole_system() && self.comm.is_none() && self.cgroups.is_none()
    }

    /// Whether the thread is asked for, and if so, whether its whole process is.
    fn asks_for(&self, who: &Identity, tasks: &Tasks) -> Option<Extent> {
        let process = tasks.process(who.process);
        let in_cgroup = |ids: &FxHashSet<u64>| who.cgroup.is_some_and(|id| ids.contains(&id));
        if who.tid == 0 {
            None
        } else if self.is_whole_system()
            || self.pids.contains(&process.pid)
            || self.cgroups.as_ref().is_some_and(in_cgroup)
        {
            Some(Extent::Process)
        } else if self
            .comm
            .as_ref()
            .is_some_and(|regex| regex.is_match(who.comm.bytes()))
        {
            Some(if who.tid == process.pid {
                Extent::Process
            } else {
                Extent::Thread
            })
        } else {
            self.tids.contains(&who.tid).then_some(Extent::Thread)
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Extent {
    Thread,
    /// Children of its process are descendants.
    Process,
}

#[derive(Debug)]
pub struct Selection {
    target: Target,
    /// By slot.
    chosen: Vec<bool>,
    /// Processes whose existing children belong to the target.
    parents: FxHashSet<ProcessId>,
}

impl Selection {
    pub fn new(target: Target) -> Selection {
        Selection {
            target,
            chosen: Vec::new(),
            parents: FxHashSet::default(),
        }
    }

    pub fn target(&self) -> &Target {
        &self.target
    }

    pub fn contains(&self, slot: Slot) -> bool {
        self.chosen.get(slot.index()).copied().unwrap_or(false)
    }

    /// Whether anything chosen still lives.
    pub fn lives(&self, tasks: &Tasks) -> bool {
        tasks
            .iter()
            .any(|(slot, who)| who.died_at.is_none() && self.contains(slot))
    }

    /// After the engine has applied `event`: whom it makes known, or known by another name.
    #[inline]
    pub fn observe(&mut self, event: &Event, tasks: &Tasks) {
        match &event.what {
            What::Newtask { child, .. } if !child.watched => {}
            What::Newtask { child, birth } => {
                let Some(slot) = tasks.slot(child.key) else {
                    return;
                };
                // The slot may have been another thread's.
                self.set(slot, false);
                let inherits = self.target.children
                    && tasks
                        .slot(birth.parent)
                        .is_some_and(|parent| self.contains(parent));
                self.consider(slot, tasks);
                if inherits {
                    self.set(slot, true);
                }
            }
            What::Seen(info) | What::SeenAtEnd(info) => self.consider_key(info.key, tasks),
            What::Exec { task, .. } | What::Rename { task, .. } => self.consider_key(*task, tasks),
            What::Moved {
                task,
                whole_process,
                ..
            } => self.consider_moved(*task, *whole_process, tasks),
            What::WindowBegin => self.follow_existing(tasks),
            What::Switch(_)
            | What::Waking { .. }
            | What::WakeupNew { .. }
            | What::Migrate { .. }
            | What::Fork { .. }
            | What::Exit { .. }
            | What::Called { .. }
            | What::Cow { .. }
            | What::Teardown { .. }
            | What::Lost { .. }
            | What::Counted(_)
            | What::Left { .. }
            | What::Named(_)
            | What::WindowEnd => {}
        }
    }

    /// The slot of an ended thread is free for another one.
    pub fn forget(&mut self, slot: Slot) {
        if self.contains(slot) {
            self.set(slot, false);
        }
    }

    /// The place of a process that was folded is free for another one.
    pub fn forget_process(&mut self, process: ProcessId) {
        self.parents.remove(&process);
    }

    fn consider_key(&mut self, key: Key, tasks: &Tasks) {
        if let Some(slot) = tasks.slot(key) {
            self.consider(slot, tasks);
        }
    }

    fn consider_moved(&mut self, task: Key, whole_process: bool, tasks: &Tasks) {
        self.consider_key(task, tasks);
        let moved = tasks.slot(task).and_then(|slot| tasks.get(slot));
        let (Some(moved), true) = (moved, whole_process && self.target.cgroups.is_some()) else {
            return;
        };
        for (slot, who) in tasks.iter() {
            if who.process == moved.process && who.died_at.is_none() {
                self.consider(slot, tasks);
            }
        }
    }

    fn consider(&mut self, slot: Slot, tasks: &Tasks) {
        let Some(who) = tasks.get(slot) else { return };
        if let Some(extent) = self.target.asks_for(who, tasks) {
            self.set(slot, true);
            if extent == Extent::Process {
                self.parents.insert(who.process);
            }
        }
    }

    /// Processes that existed before us and descend from chosen ones.
    fn follow_existing(&mut self, tasks: &Tasks) {
        if !self.target.children || self.target.is_whole_system() {
            return;
        }
        // Parents may come after their children: until nothing is new.
        loop {
            let before = self.parents.len();
            for (id, process) in tasks.processes() {
                let parent = tasks.process_of_pid(process.ppid);
                if process.pid != 0 && parent.is_some_and(|parent| self.parents.contains(&parent)) {
                    self.parents.insert(id);
                }
            }
            if self.parents.len() == before {
                break;
            }
        }
        let descend: Vec<Slot> = tasks
            .iter()
            .filter(|(_, who)| {
                who.tid != 0 && {
                    let process = tasks.process(who.process);
                    tasks
                        .process_of_pid(process.ppid)
                        .is_some_and(|parent| self.parents.contains(&parent))
                }
            })
            .map(|(slot, _)| slot)
            .collect();
        for slot in descend {
            self.set(slot, true);
        }
    }

    fn set(&mut self, slot: Slot, chosen: bool) {
        let index = slot.index();
        if index >= self.chosen.len() {
            self.chosen.resize(index + 1, false);
        }
        self.chosen[index] = chosen;
    }
}

#[cfg(test)]
#[path = "target_tests.rs"]
mod tests;
