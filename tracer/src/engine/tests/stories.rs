//! Cases that are about who somebody is: exec, keys and tids used again, counters ahead of the stream.

use tracer_common::record::kind;

use super::{
    properties::identity_holds,
    simulator::settings,
    toy::{Leave, Told, Toy},
};
use crate::{
    model::{Comm, OffState, Timestamp},
    pipeline::Pipeline,
    report::{Report, Thread, Verdict},
    summary::Outside,
};

const SLEEPS: Leave = Leave::Off {
    state: OffState::Sleep,
    iowait: false,
};

/// Time passes before everything that happens.
fn then(toy: &mut Toy) -> &mut Toy {
    toy.now += 1000;
    toy
}

fn begin(toy: &mut Toy) {
    look(toy, kind::THREAD);
    then(toy).edge(kind::WINDOW_BEGIN);
}

fn look(toy: &mut Toy, kind: u16) {
    for id in toy.cpus()..toy.tasks.len() {
        if toy.tasks[id].died.is_none() {
            then(toy).seen(id, kind);
        }
    }
}

fn end(toy: &mut Toy) -> Report {
    look(toy, kind::THREAD_END);
    finish(toy)
}

fn finish(toy: &mut Toy) -> Report {
    then(toy).edge(kind::WINDOW_END);
    let mut pipeline = Pipeline::new(settings(toy));
    for record in &toy.records {
        pipeline.push(&record.bytes);
    }
    let report = pipeline.finish(Timestamp(toy.now), &Outside::default());
    identity_holds(&report).expect("all time is somewhere");
    report
}

fn wake_and_run(toy: &mut Toy, id: usize, cpu: usize, leave: Leave) {
    then(toy).waking(id);
    toy.enqueue(id, cpu);
    then(toy).switch(cpu, leave, id);
}

fn rows(report: &Report, tid: u32) -> Vec<&Thread> {
    let threads = report.processes.iter().flat_map(|process| &process.threads);
    threads.filter(|thread| thread.tid == tid).collect()
}

fn comm(name: &str) -> [u8; 16] {
    Comm::from(name).0
}

/// A process of a leader (100) and another thread (101), which execs while 101 runs.
struct Exec {
    toy: Toy,
    leader: usize,
    other: usize,
}

fn about_to_exec() -> Exec {
    let mut toy = Toy::new(2);
    let leader = toy.sleeper(0xa0, 100, 100, 0);
    let other = toy.sleeper(0xa1, 101, 100, 1);
    begin(&mut toy);
    wake_and_run(&mut toy, other, 1, Leave::Preempted);
    // It is told to die, and runs to do so.
    wake_and_run(&mut toy, leader, 0, Leave::Preempted);
    then(&mut toy).exit(leader, 0);
    Exec { toy, leader, other }
}

fn after_exec(Exec { mut toy, other, .. }: Exec) {
    then(&mut toy).switch(1, SLEEPS, 1);
    wake_and_run(&mut toy, other, 1, Leave::Preempted);
    let report = end(&mut toy);
    let both = rows(&report, 100);
    assert_eq!(
        both.len(),
        2,
        "the leader that was, and the thread that took its tid"
    );
    let kept = both.iter().find(|thread| thread.was_tid == Some(101));
    let kept = kept.expect("the thread keeps its ledger");
    assert_eq!(kept.comm.bytes(), b"new");
    assert!(kept.exit.is_none() && kept.totals.voluntary >= 1);
    let old = both.iter().find(|thread| thread.was_tid.is_none());
    assert!(old.expect("the leader ended").exit.is_some());
    assert!(rows(&report, 101).is_empty());
    assert_eq!(
        report.quality.verdict,
        Verdict::Valid,
        "{:?}",
        report.quality
    );
    assert_eq!(report.processes.len(), 1);
    assert_eq!(report.processes[0].comm.bytes(), b"new");
}

#[test]
fn exec_by_another_thread_after_the_leader_has_left_for_good() {
    let mut exec = about_to_exec();
    then(&mut exec.toy).switch(0, Leave::Dies, 0);
    exec.toy.swap_tids(exec.leader, exec.other);
    then(&mut exec.toy).exec(exec.other, 101, comm("new"));
    after_exec(exec);
}

#[test]
fn exec_swaps_tids_before_it_tells_and_before_the_leader_has_left() {
    let mut exec = about_to_exec();
    exec.toy.swap_tids(exec.leader, exec.other);
    // Both are switched under tids that nobody has told yet.
    then(&mut exec.toy).switch(1, Leave::Preempted, 1);
    exec.toy.tasks[exec.other].cpu = 1;
    then(&mut exec.toy).switch(1, SLEEPS, exec.other);
    then(&mut exec.toy).switch(0, Leave::Dies, 0);
    then(&mut exec.toy).exec(exec.other, 101, comm("new"));
    after_exec(exec);
}

#[test]
fn exec_tells_before_the_leader_has_left_under_the_other_tid() {
    let mut exec = about_to_exec();
    exec.toy.swap_tids(exec.leader, exec.other);
    then(&mut exec.toy).exec(exec.other, 101, comm("new"));
    then(&mut exec.toy).switch(0, Leave::Dies, 0);
    after_exec(exec);
}

/// One thread runs, ends, and another one is made by `parent` with `key` and `tid`.
fn succession(key: u64, tid: u32) -> (Toy, usize, usize) {
    let mut toy = Toy::new(1);
    let parent = toy.sleeper(0xa0, 100, 100, 0);
    let first = toy.sleeper(0xb0, 200, 200, 0);
    begin(&mut toy);
    wake_and_run(&mut toy, first, 0, Leave::Preempted);
    then(&mut toy).exit(first, 0);
    then(&mut toy).switch(0, Leave::Dies, 0);
    wake_and_run(&mut toy, parent, 0, Leave::Preempted);
    let second = toy.create(key, tid, tid, 0);
    then(&mut toy).newtask(parent, second);
    then(&mut toy).wake_new(second, 0);
    then(&mut toy).switch(0, SLEEPS, second);
    (toy, first, second)
}

#[test]
fn a_tid_used_again_is_another_thread() {
    let (mut toy, ..) = succession(0xc0, 200);
    let report = end(&mut toy);
    assert_eq!(rows(&report, 200).len(), 2);
    assert_eq!(
        report
            .processes
            .iter()
            .filter(|process| process.pid == 200)
            .count(),
        2
    );
    assert_eq!(
        report.quality.verdict,
        Verdict::Valid,
        "{:?}",
        report.quality
    );
}

#[test]
fn a_key_used_again_is_another_thread() {
    let (mut toy, ..) = succession(0xb0, 201);
    let report = end(&mut toy);
    assert_eq!((rows(&report, 200).len(), rows(&report, 201).len()), (1, 1));
    assert_eq!(
        report.quality.verdict,
        Verdict::Valid,
        "{:?}",
        report.quality
    );
}

#[test]
fn a_key_used_again_is_another_thread_even_when_its_birth_is_lost() {
    let (mut toy, first, second) = succession(0xb0, 201);
    then(&mut toy).switch(0, SLEEPS, 0);
    toy.records.retain(|record| match record.told {
        // And so is the end of the first.
        Told::Switch { prev, prev_seq, .. } => (prev, prev_seq) != (first, toy.tasks[first].seq()),
        Told::Newtask(id) | Told::Born(id) => id != second,
        _ => true,
    });
    let report = end(&mut toy);
    let (old, new) = (rows(&report, 200), rows(&report, 201));
    assert_eq!((old.len(), new.len()), (1, 1));
    assert!(old[0].totals.unknown.0 > 0 && old[0].totals.run.0 == 0);
    assert_eq!(new[0].totals.accounted(), new[0].totals.lifetime);
}

#[test]
fn a_last_look_between_the_count_and_the_tracepoint_is_checked_against_that_switch() {
    let mut toy = Toy::new(1);
    let only = toy.sleeper(0xa0, 100, 100, 0);
    begin(&mut toy);
    wake_and_run(&mut toy, only, 0, Leave::Preempted);
    then(&mut toy).peek = Some(kind::THREAD_END);
    toy.switch(0, SLEEPS, 0);
    let report = finish(&mut toy);
    let thread = rows(&report, 100)[0];
    assert_eq!(thread.kernel.map(|kernel| kernel.voluntary), Some(1));
    assert_eq!(thread.totals.voluntary, 1);
    assert_eq!(
        (
            report.quality.threads_checked,
            report.quality.threads_matched
        ),
        (1, 1)
    );
    assert_eq!(report.quality.lost_switches, 0);
}

#[test]
fn a_first_look_between_the_count_and_the_tracepoint_does_not_hide_that_switch() {
    let mut toy = Toy::new(1);
    let only = toy.sleeper(0xa0, 100, 100, 0);
    toy.attached = false;
    wake_and_run(&mut toy, only, 0, Leave::Preempted);
    toy.attached = true;
    then(&mut toy).edge(kind::WINDOW_BEGIN);
    then(&mut toy).peek = Some(kind::THREAD);
    toy.switch(0, SLEEPS, 0);
    wake_and_run(&mut toy, only, 0, Leave::Preempted);
    then(&mut toy).switch(0, SLEEPS, 0);
    let report = end(&mut toy);
    let totals = rows(&report, 100)[0].totals;
    assert_eq!((totals.voluntary, totals.involuntary), (2, 0));
    assert_eq!(totals.kinds.idle, 2);
    let quality = &report.quality;
    assert_eq!((quality.threads_checked, quality.threads_matched), (1, 1));
    assert_eq!(quality.lost_switches, 0);
    assert_eq!(quality.verdict, Verdict::Valid, "{quality:?}");
}

#[test]
fn a_switch_that_only_the_last_look_tells_counts_and_is_lost() {
    let mut toy = Toy::new(1);
    let only = toy.sleeper(0xa0, 100, 100, 0);
    begin(&mut toy);
    wake_and_run(&mut toy, only, 0, Leave::Preempted);
    then(&mut toy).switch(0, SLEEPS, 0);
    toy.records.pop();
    let report = end(&mut toy);
    let totals = rows(&report, 100)[0].totals;
    assert_eq!((totals.voluntary, report.quality.lost_switches), (1, 1));
    assert_eq!((totals.run.0, totals.unknown.0), (1000, 2000));
    assert_eq!(report.quality.verdict, Verdict::Degraded);
}

#[test]
fn a_torn_entry_of_the_last_look_is_no_evidence() {
    let mut toy = Toy::new(1);
    let only = toy.sleeper(0xa0, 100, 100, 0);
    begin(&mut toy);
    let mut torn = toy.describe(only, kind::THREAD_END);
    torn.header.at_ns += 1000;
    torn.header.flags |= tracer_common::record::thread_flags::TORN;
    torn.nvcsw += 5;
    then(&mut toy).tell_seen(only, &torn);
    let report = finish(&mut toy);
    assert_eq!(
        (report.quality.threads_checked, report.quality.lost_switches),
        (0, 0)
    );
    assert_eq!(rows(&report, 100)[0].kernel, None);
    assert_eq!(report.quality.verdict, Verdict::Valid);
}

/// Its birth is told, but its first wake-up came before that probe was attached; then it waited on two CPUs.
#[test]
fn a_first_wait_that_began_unseen_is_as_long_as_the_kernel_says() {
    let mut toy = Toy::new(2);
    let child = toy.create(0xa0, 100, 100, 0);
    then(&mut toy).newtask(0, child);
    then(&mut toy).wake_new(child, 0);
    toy.records.pop();
    toy.now += 7_000_000;
    toy.migrate(child, 1);
    begin(&mut toy);
    toy.now += 2_000_000;
    then(&mut toy).switch(1, SLEEPS, child);
    then(&mut toy).switch(1, Leave::Dies, 1);
    let report = end(&mut toy);
    assert_eq!(
        report.quality.verdict,
        Verdict::Valid,
        "{:?}",
        report.quality
    );
    let [row] = rows(&report, 100)[..] else {
        panic!("one row: {report:?}");
    };
    // All of the window until it ran.
    assert_eq!(row.totals.wait.0, 2_001_000);
    assert_eq!(
        row.kernel.as_ref().map(|kernel| kernel.wait),
        Some(row.totals.wait)
    );
}

#[test]
fn renames_are_followed_and_hostile_names_kept_as_they_are() {
    let mut toy = Toy::new(1);
    let only = toy.sleeper(0xa0, 100, 100, 0);
    begin(&mut toy);
    wake_and_run(&mut toy, only, 0, Leave::Preempted);
    let name = *b"\x1b[31m\n\xff\xfe\0\0\0\0\0\0\0\0";
    then(&mut toy).rename(only, name);
    let report = end(&mut toy);
    assert_eq!(rows(&report, 100)[0].comm, Comm(name));
    assert_eq!(report.processes[0].comm, Comm(name));
}

/// Born while the probes are attached: its birth is told, its first stay on a CPU is not, the next switch-in says so.
#[test]
fn a_switch_before_the_probes_were_on_is_not_counted_after_it() {
    let mut toy = Toy::new(1);
    let child = toy.create(0xa0, 100, 100, 0);
    then(&mut toy).newtask(0, child);
    then(&mut toy).wake_new(child, 0);
    then(&mut toy).switch(0, Leave::Preempted, child);
    toy.records.pop();
    then(&mut toy).switch(0, SLEEPS, 0);
    toy.records.pop();
    wake_and_run(&mut toy, child, 0, Leave::Preempted);
    begin(&mut toy);
    then(&mut toy).switch(0, SLEEPS, 0);
    let report = end(&mut toy);
    let quality = &report.quality;
    assert_eq!(quality.verdict, Verdict::Valid, "{quality:?}");
    assert_eq!((quality.threads_checked, quality.threads_matched), (1, 1));
    let totals = rows(&report, 100)[0].totals;
    assert_eq!((totals.voluntary, totals.involuntary), (1, 0));
    assert_eq!(totals.kinds.sum(), 1);
    assert_eq!(totals.run.0, 1000);
}

/// Of one that came and went meanwhile birth and exit are told, and its last switch-out is not.
#[test]
fn who_was_gone_before_the_probes_were_on_has_no_row() {
    let mut toy = Toy::new(1);
    let child = toy.create(0xa0, 100, 100, 0);
    then(&mut toy).newtask(0, child);
    then(&mut toy).wake_new(child, 0);
    then(&mut toy).switch(0, Leave::Preempted, child);
    then(&mut toy).exit(child, 0);
    then(&mut toy).switch(0, Leave::Dies, 0);
    toy.records.pop();
    begin(&mut toy);
    // Its key is another's soon.
    let next = toy.create(0xa0, 200, 200, 0);
    then(&mut toy).newtask(0, next);
    then(&mut toy).wake_new(next, 0);
    then(&mut toy).switch(0, Leave::Preempted, next);
    then(&mut toy).switch(0, SLEEPS, 0);
    let report = end(&mut toy);
    assert!(rows(&report, 100).is_empty(), "{report:?}");
    assert_eq!(rows(&report, 200).len(), 1);
    let quality = &report.quality;
    assert_eq!(quality.verdict, Verdict::Valid, "{quality:?}");
}

/// What it waited before is in the kernel's counter, and in no record.
#[test]
fn a_wait_before_the_probes_were_on_is_not_missed_in_the_window() {
    let mut toy = Toy::new(1);
    let child = toy.create(0xa0, 100, 100, 0);
    then(&mut toy).newtask(0, child);
    then(&mut toy).wake_new(child, 0);
    toy.records.pop();
    toy.now += 7_000_000;
    then(&mut toy).switch(0, Leave::Preempted, child);
    toy.records.pop();
    then(&mut toy).switch(0, Leave::Preempted, 0);
    toy.records.pop();
    toy.now += 5_000_000;
    then(&mut toy).switch(0, Leave::Preempted, child);
    then(&mut toy).switch(0, Leave::Preempted, 0);
    begin(&mut toy);
    then(&mut toy).switch(0, Leave::Preempted, child);
    then(&mut toy).switch(0, Leave::Dies, 0);
    let report = end(&mut toy);
    let quality = &report.quality;
    assert_eq!(quality.verdict, Verdict::Valid, "{quality:?}");
    assert!(quality.mismatches.is_empty(), "{quality:?}");
    assert_eq!(quality.threads_self_checked, 1);
    assert_eq!(rows(&report, 100)[0].totals.wait.0, 1000);
}
