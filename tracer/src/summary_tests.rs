//! The verdict, and what kind of program the target is.

use super::*;
use crate::{
    engine::tests::{
        simulator::settings,
        toy::{Leave, Toy},
    },
    model::OffState,
    pipeline::Pipeline,
    report::{CheckedField, KnownError},
};
use tracer_common::record::{Thread as Entry, kind};

const SLEEPS: Leave = Leave::Off {
    state: OffState::Sleep,
    iowait: false,
};
const MS: u64 = 1_000_000;

fn town(people: &[(u32, u32)]) -> Toy {
    let mut toy = Toy::new(1);
    for &(tid, tgid) in people {
        toy.now += 1;
        toy.sleeper(u64::from(tid) + 0x1000, tid, tgid, 0);
    }
    for id in 1..toy.tasks.len() {
        toy.now += 1;
        toy.seen(id, kind::THREAD);
    }
    toy.now += 1;
    toy.edge(kind::WINDOW_BEGIN);
    toy
}

/// Thread 1 runs for a while.
fn one_run(toy: &mut Toy) {
    toy.now += MS;
    toy.waking(1);
    toy.enqueue(1, 0);
    toy.now += MS;
    toy.switch(0, Leave::Preempted, 1);
    toy.now += 100 * MS;
    toy.switch(0, SLEEPS, 0);
}

/// The last look, with whatever the kernel says.
fn report(toy: &mut Toy, says: impl Fn(&mut Entry), outside: &Outside) -> Report {
    for id in 1..toy.tasks.len() {
        toy.now += 1;
        let mut entry = toy.describe(id, kind::THREAD_END);
        says(&mut entry);
        toy.tell_seen(id, &entry);
    }
    toy.now += 1;
    toy.edge(kind::WINDOW_END);
    let mut pipeline = Pipeline::new(settings(toy));
    for record in &toy.records {
        pipeline.push(&record.bytes);
    }
    pipeline.finish(Timestamp(toy.now), outside)
}

fn says_nothing(_: &mut Entry) {}

#[test]
fn the_model_is_told_by_processes_and_their_threads() {
    for (people, model) in [
        (&[(10, 10)][..], Model::Single),
        (&[(10, 10), (11, 10)], Model::Threads),
        (&[(10, 10), (20, 20)], Model::Processes),
        (&[(10, 10), (20, 20), (21, 20)], Model::Hybrid),
    ] {
        let target = report(&mut town(people), says_nothing, &Outside::default()).target;
        assert_eq!(target.model, model, "{people:?}");
        assert_eq!(target.threads, people.len() as u64);
    }
}

#[test]
fn nothing_lost_and_all_matched_is_valid_and_says_nothing() {
    let mut toy = town(&[(10, 10), (20, 20)]);
    one_run(&mut toy);
    let quality = report(&mut toy, says_nothing, &Outside::default()).quality;
    assert_eq!(quality.verdict, Verdict::Valid);
    assert!(quality.reasons.is_empty(), "{:?}", quality.reasons);
    assert_eq!((quality.threads_checked, quality.threads_matched), (2, 2));
}

#[test]
fn any_known_loss_degrades_and_is_named() {
    for (outside, reason) in [
        (
            Outside {
                lost_records: Some(3),
                ..Outside::default()
            },
            "3 records found no room",
        ),
        (
            Outside {
                missed_events: Some(2),
                ..Outside::default()
            },
            "2 kernel events were skipped",
        ),
    ] {
        let mut toy = town(&[(10, 10)]);
        one_run(&mut toy);
        let quality = report(&mut toy, says_nothing, &outside).quality;
        assert_eq!(quality.verdict, Verdict::Degraded);
        assert!(
            quality.reasons[0].starts_with(reason),
            "{:?}",
            quality.reasons
        );
    }
}

#[test]
fn losses_announced_in_the_stream_stand_until_the_kernels_own_count_is_known() {
    let quality_with = |lost_records| {
        let mut toy = town(&[(10, 10)]);
        // Cumulative: 2, and then 3 more.
        toy.lost(0, 2);
        toy.now += 1;
        toy.lost(0, 5);
        let outside = Outside {
            lost_records,
            ..Outside::default()
        };
        report(&mut toy, says_nothing, &outside).quality
    };
    assert_eq!(quality_with(None).lost_records, 5);
    assert_eq!(quality_with(Some(7)).lost_records, 7);
}

#[test]
fn a_hole_alone_degrades() {
    let mut toy = town(&[(10, 10)]);
    one_run(&mut toy);
    toy.records.pop();
    let report = report(&mut toy, says_nothing, &Outside::default());
    assert_eq!(report.quality.verdict, Verdict::Degraded);
    assert_eq!(report.quality.lost_switches, 1);
    assert!(
        report
            .quality
            .reasons
            .iter()
            .any(|reason| reason.contains("holes"))
    );
}

#[test]
fn a_difference_that_nothing_explains_is_invalid() {
    for field in [CheckedField::Run, CheckedField::Wait] {
        let mut toy = town(&[(10, 10)]);
        one_run(&mut toy);
        let more = |entry: &mut Entry| match field {
            CheckedField::Run => entry.sum_exec_ns += 50 * MS,
            _ => entry.run_delay_ns += 500 * MS,
        };
        let quality = report(&mut toy, more, &Outside::default()).quality;
        assert_eq!(quality.verdict, Verdict::Invalid, "{field:?}");
        assert_eq!(quality.mismatches.len(), 1);
        assert_eq!(
            (quality.mismatches[0].field, quality.mismatches[0].reason),
            (field, None)
        );
        assert_eq!(quality.threads_matched, 0);
        assert!(quality.reasons[0].contains("without a known loss"));
    }
}

#[test]
fn the_same_difference_beside_a_known_loss_only_degrades() {
    let mut toy = town(&[(10, 10)]);
    one_run(&mut toy);
    let outside = Outside {
        lost_records: Some(1),
        ..Outside::default()
    };
    let more = |entry: &mut Entry| entry.sum_exec_ns += 50 * MS;
    let quality = report(&mut toy, more, &outside).quality;
    assert_eq!(quality.verdict, Verdict::Degraded);
    assert_eq!(quality.mismatches.len(), 1);
}

/// `sched_setaffinity` moves a sleeper that was left on its run queue.
#[test]
fn a_counted_sleep_is_listed_with_its_reason_and_spoils_nothing() {
    let mut toy = town(&[(10, 10)]);
    toy.now += MS;
    toy.migrate(1, 0);
    toy.now += 60 * MS;
    one_run(&mut toy);
    let report = report(&mut toy, says_nothing, &Outside::default());
    assert_eq!(report.quality.verdict, Verdict::Valid);
    let mismatch = &report.quality.mismatches[0];
    assert_eq!(mismatch.field, CheckedField::Wait);
    assert_eq!(mismatch.reason, Some(KnownError::KernelCountedSleep));
    assert!(mismatch.kernel > mismatch.ours + 60 * MS);
    assert_eq!(report.processes[0].totals.wait.0, MS);
    assert_eq!(
        (
            report.quality.threads_checked,
            report.quality.threads_matched
        ),
        (1, 1)
    );
}

#[test]
fn a_missed_wait_is_listed_with_its_reason_and_spoils_nothing() {
    let mut toy = town(&[(10, 10), (20, 20)]);
    one_run(&mut toy);
    toy.now += MS;
    for id in [1, 2] {
        toy.waking(id);
        toy.enqueue(id, 0);
    }
    toy.now += MS;
    toy.switch(0, Leave::Preempted, 1);
    toy.now += MS;
    toy.switch(0, Leave::PreemptedGoingToSleep, 2);
    toy.now += 40 * MS;
    toy.switch(0, SLEEPS, 1);
    toy.now += MS;
    toy.switch(0, SLEEPS, 0);
    let report = report(&mut toy, says_nothing, &Outside::default());
    assert_eq!(
        report.quality.verdict,
        Verdict::Valid,
        "{:?}",
        report.quality
    );
    let mismatch = &report.quality.mismatches[0];
    assert_eq!((mismatch.tid, mismatch.field), (10, CheckedField::Wait));
    assert_eq!(mismatch.reason, Some(KnownError::KernelMissedWait));
    let totals = report.processes.iter().find(|process| process.pid == 10);
    let totals = totals.expect("it has a row").totals;
    assert_eq!((totals.wait.0, totals.wait_uncounted.0), (42 * MS, 40 * MS));
}

#[test]
fn rows_are_sorted_by_wait_and_sums_are_of_their_threads() {
    let mut toy = town(&[(10, 10), (11, 10), (20, 20)]);
    toy.now += MS;
    for id in [2, 3] {
        toy.waking(id);
        toy.enqueue(id, 0);
    }
    toy.now += MS;
    toy.switch(0, Leave::Preempted, 2);
    toy.now += MS;
    toy.switch(0, SLEEPS, 3);
    toy.now += MS;
    toy.switch(0, SLEEPS, 0);
    let report = report(&mut toy, says_nothing, &Outside::default());
    let pids: Vec<u32> = report.processes.iter().map(|process| process.pid).collect();
    assert_eq!(pids, [20, 10]);
    let process = &report.processes[1];
    assert_eq!(process.threads[0].tid, 11);
    assert_eq!((process.threads_max, process.threads_total), (2, 2));
    assert_eq!(process.totals.wait.0, MS);
    assert_eq!(
        process.totals.lifetime,
        process
            .threads
            .iter()
            .map(|thread| thread.totals.lifetime)
            .sum()
    );
}
