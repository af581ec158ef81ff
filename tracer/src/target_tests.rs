//! Who is chosen: through the engine's tables, by the records that make threads known.

use super::*;
use crate::{
    decode::decode,
    engine::{
        Engine,
        tests::toy::{Leave, Toy},
    },
    ledger::Ledger,
    model::OffState,
};
use tracer_common::record::kind;

const SLEEPS: Leave = Leave::Off {
    state: OffState::Sleep,
    iowait: false,
};

/// Two processes: 100 with threads 101 and 102, whose child is 200; and 300, which is nobody's.
struct Town {
    toy: Toy,
    ids: Vec<usize>,
}

impl Town {
    fn new() -> Town {
        let mut toy = Toy::new(1);
        let people = [
            (100, 100, 1),
            (101, 100, 1),
            (102, 100, 1),
            (200, 200, 100),
            (201, 200, 100),
            (300, 300, 1),
        ];
        let ids = people.map(|(tid, tgid, ppid)| {
            toy.now += 1;
            let id = toy.sleeper(0x1000 + u64::from(tid), tid, tgid, 0);
            toy.tasks[id].ppid = ppid;
            toy.tasks[id].cgroup = Some(if tgid == 300 { 7 } else { 5 });
            id
        });
        let ids = ids.to_vec();
        Town { toy, ids }
    }

    fn id(&self, tid: u32) -> usize {
        let found = self.toy.tasks.iter().position(|task| task.tid == tid);
        found.expect("somebody with this tid")
    }

    fn look(&mut self) -> &mut Self {
        for id in self.ids.clone() {
            self.toy.now += 1;
            self.toy.seen(id, kind::THREAD);
        }
        self.toy.now += 1;
        self.toy.edge(kind::WINDOW_BEGIN);
        self
    }

    /// `parent` makes a thread.
    fn birth(&mut self, parent: u32, tid: u32, tgid: u32) -> &mut Self {
        self.toy.now += 1;
        let parent = self.id(parent);
        let child = self.toy.create(0x1000 + u64::from(tid), tid, tgid, 0);
        self.toy.newtask(parent, child);
        self.toy.now += 1;
        self.toy.wake_new(child, 0);
        self
    }

    fn rename(&mut self, tid: u32, name: &str) -> &mut Self {
        self.toy.now += 1;
        let id = self.id(tid);
        self.toy.rename(id, crate::model::Comm::from(name).0);
        self
    }

    /// `tid`, or all of its process, goes to another cgroup.
    fn moves(&mut self, tid: u32, whole_process: bool, cgroup: u64) -> &mut Self {
        self.toy.now += 1;
        let id = self.id(tid);
        self.toy.moved(id, whole_process, cgroup);
        self
    }

    /// The tids chosen, sorted.
    fn chosen(&self, target: Target) -> Vec<u32> {
        let mut engine = Engine::new(self.toy.facts());
        let mut ledger = Ledger::new(&self.toy.facts(), true);
        let mut selection = Selection::new(target);
        for record in &self.toy.records {
            let event = decode(&record.bytes).expect("the toy writes whole records");
            engine.apply(&event, &mut ledger);
            selection.observe(&event, engine.tasks());
        }
        let mut tids: Vec<u32> = engine
            .tasks()
            .iter()
            .filter(|(slot, _)| selection.contains(*slot))
            .map(|(_, who)| who.tid)
            .collect();
        tids.sort_unstable();
        tids
    }
}

fn target() -> Target {
    Target {
        children: true,
        ..Target::default()
    }
}

fn pid(pid: u32) -> Target {
    Target {
        pids: vec![pid],
        ..target()
    }
}

fn comm(pattern: &str) -> Target {
    Target {
        comm: Some(Regex::new(pattern).expect("a pattern of this test")),
        ..target()
    }
}

#[test]
fn nothing_asked_for_is_everybody_but_the_idle_threads() {
    let mut town = Town::new();
    town.look().toy.waking(town_id(300));
    let id = town.id(300);
    town.toy.enqueue(id, 0);
    town.toy.now += 1;
    town.toy.switch(0, SLEEPS, id);
    assert_eq!(town.chosen(target()), [100, 101, 102, 200, 201, 300]);
}

/// Ids follow the order of creation, after the one idle thread.
fn town_id(tid: u32) -> usize {
    let tids = [100, 101, 102, 200, 201, 300];
    1 + tids
        .iter()
        .position(|&one| one == tid)
        .expect("a tid of the town")
}

#[test]
fn a_pid_is_all_its_threads_and_its_children_that_exist() {
    let mut town = Town::new();
    assert_eq!(town.look().chosen(pid(100)), [100, 101, 102, 200, 201]);
    let alone = Target {
        children: false,
        ..pid(100)
    };
    assert_eq!(town.chosen(alone), [100, 101, 102]);
    assert_eq!(town.chosen(pid(200)), [200, 201]);
    assert_eq!(town.chosen(pid(999)), [] as [u32; 0]);
}

#[test]
fn children_found_before_their_parents_are_found_even_so() {
    let mut town = Town::new();
    town.ids.reverse();
    assert_eq!(town.look().chosen(pid(100)), [100, 101, 102, 200, 201]);
}

#[test]
fn births_while_the_first_look_goes_on_belong_to_their_parents() {
    let mut town = Town::new();
    // 200 makes a process and a thread before anybody has seen 200.
    town.birth(200, 210, 210)
        .birth(200, 202, 200)
        .birth(300, 310, 310);
    assert_eq!(
        town.look().chosen(pid(100)),
        [100, 101, 102, 200, 201, 202, 210]
    );
}

#[test]
fn later_births_are_descendants_whoever_makes_them() {
    let mut town = Town::new();
    town.look()
        .birth(101, 110, 110)
        .birth(110, 111, 110)
        .birth(300, 310, 310);
    assert_eq!(town.chosen(pid(100)), [100, 101, 102, 110, 111, 200, 201]);
    let alone = Target {
        children: false,
        ..pid(100)
    };
    town.birth(102, 103, 100);
    assert_eq!(town.chosen(alone), [100, 101, 102, 103]);
}

#[test]
fn a_tid_is_one_thread_and_what_it_makes() {
    let tid = || Target {
        tids: vec![101],
        ..target()
    };
    let mut town = Town::new();
    assert_eq!(town.look().chosen(tid()), [101]);
    town.birth(101, 110, 110).birth(100, 120, 120);
    assert_eq!(town.chosen(tid()), [101, 110]);
    assert_eq!(
        town.chosen(Target {
            children: false,
            ..tid()
        }),
        [101]
    );
}

#[test]
fn a_name_chooses_when_it_is_taken_and_for_good() {
    let mut town = Town::new();
    assert_eq!(town.look().chosen(comm("^work")), [] as [u32; 0]);
    town.rename(102, "worker").rename(300, "other");
    assert_eq!(town.chosen(comm("^work")), [102]);
    town.rename(102, "done");
    assert_eq!(town.chosen(comm("^work")), [102]);
    // A name is bytes.
    town.rename(300, "\u{1b}[2J");
    assert_eq!(town.chosen(comm(r"^\x1b")), [300]);
}

#[test]
fn a_leader_of_that_name_brings_the_children_that_exist() {
    let mut town = Town::new();
    assert_eq!(town.look().chosen(comm("^t100$")), [100, 200, 201]);
}

#[test]
fn a_cgroup_is_who_is_in_it_and_whom_they_make() {
    let cgroup = || Target {
        cgroups: Some(FxHashSet::from_iter([7])),
        ..target()
    };
    let mut town = Town::new();
    assert_eq!(town.look().chosen(cgroup()), [300]);
    town.birth(300, 310, 310).birth(100, 110, 110);
    assert_eq!(town.chosen(cgroup()), [300, 310]);
}

#[test]
fn who_moves_into_a_cgroup_is_chosen_from_then_on() {
    let cgroup = || Target {
        cgroups: Some(FxHashSet::from_iter([7])),
        ..target()
    };
    let mut town = Town::new();
    town.look().moves(101, false, 7);
    assert_eq!(town.chosen(cgroup()), [101, 300], "a thread alone");
    town.moves(200, true, 7).birth(201, 203, 200);
    assert_eq!(town.chosen(cgroup()), [101, 200, 201, 203, 300]);
    // Elsewhere again: once chosen, always chosen.
    town.moves(200, true, 5).moves(102, false, 5);
    assert_eq!(town.chosen(cgroup()), [101, 200, 201, 203, 300]);
}

#[test]
fn targets_are_a_union() {
    let mut town = Town::new();
    let both = Target {
        tids: vec![300],
        ..pid(200)
    };
    assert_eq!(town.look().chosen(both), [200, 201, 300]);
}

#[test]
fn a_slot_that_is_used_again_is_not_chosen_by_that() {
    let mut selection = Selection::new(pid(100));
    selection.set(Slot(3), true);
    selection.forget(Slot(3));
    assert!(!selection.contains(Slot(3)));
}

#[test]
fn only_a_pid_or_a_tid_can_be_gone_for_good() {
    assert!(pid(1).can_end());
    assert!(!target().can_end() && !comm("x").can_end());
    assert!(target().is_whole_system() && !pid(1).is_whole_system());
}
