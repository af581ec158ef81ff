//! What bounds memory and what cuts time must not change sums.

use proptest::prelude::*;

use super::*;
use crate::{
    engine::tests::simulator::{Options, Run, any_schedule, settings},
    model::Nanos,
    report::{Process, Totals},
};

const PLAIN: Options = Options {
    errors: false,
    lag: false,
};

/// All records in order of time, told one by one; `each` before every one.
fn play(run: &Run, pipeline: &mut Pipeline, mut each: impl FnMut(&mut Pipeline, u64)) -> Report {
    for record in &run.toy.records {
        each(pipeline, record.at);
        pipeline.push(&record.bytes);
        pipeline.advance(Timestamp(record.at));
    }
    each(pipeline, u64::MAX);
    pipeline.finish(Timestamp(run.end), &Outside::default())
}

fn pipeline(run: &Run, max_threads: usize) -> Pipeline {
    Pipeline::new(Settings {
        max_threads,
        intervals: true,
        slower: None,
        ..settings(&run.toy)
    })
}

/// By what names a process for good.
fn by_process(report: &Report) -> Vec<((u32, Option<i64>), &Process)> {
    let key = |process: &Process| (process.pid, process.started_ns);
    let mut all: Vec<_> = report.processes.iter().map(|one| (key(one), one)).collect();
    all.sort_by_key(|(key, _)| *key);
    all
}

/// What must add up whatever is still open: of a stay off the CPU, only the end tells wait from sleep.
fn sums(totals: &Totals) -> [u64; 8] {
    let off = totals.wait + totals.sleep + totals.block + totals.stopped;
    [
        totals.lifetime.0,
        totals.run.0,
        off.0,
        totals.unknown.0,
        totals.voluntary,
        totals.involuntary,
        totals.migrations,
        totals.kinds.idle,
    ]
}

fn all_sums(report: &Report) -> [u64; 8] {
    let mut all = Totals::zero();
    for process in &report.processes {
        all.add(&process.totals);
    }
    sums(&all)
}

/// Of all processes.
fn added(report: &Report) -> Totals {
    let mut all = Totals::zero();
    report
        .processes
        .iter()
        .for_each(|process| all.add(&process.totals));
    all
}

/// The row of the processes that were folded whole.
fn is_ended(process: &Process) -> bool {
    (process.pid, process.comm) == (0, "(ended)".into())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn folding_only_moves_sums(schedule in any_schedule(), keep in 0..6_usize) {
        let run = Run::of(&schedule, PLAIN);
        let whole = play(&run, &mut pipeline(&run, usize::MAX), |_, _| ());
        let folded = play(&run, &mut pipeline(&run, keep), |_, _| ());
        prop_assert_eq!(whole.quality.folded_threads, 0);
        prop_assert_eq!(folded.quality.verdict, whole.quality.verdict);
        prop_assert_eq!(folded.quality.threads_self_checked, whole.quality.threads_self_checked);
        prop_assert_eq!(folded.target.threads, whole.target.threads);
        prop_assert_eq!(folded.target.processes, whole.target.processes);
        prop_assert_eq!(added(&folded), added(&whole));
        let threads = folded.processes.iter().map(|process| process.folded.threads).sum::<u64>();
        prop_assert_eq!(folded.quality.folded_threads, threads);
        let ended = folded.processes.iter().flat_map(|process| &process.threads).filter(|thread| thread.exit.is_some());
        prop_assert!(ended.count() <= keep);
        let mut gone = by_process(&whole);
        for (name, folded) in by_process(&folded) {
            let Some(place) = gone.iter().position(|(other, _)| *other == name) else {
                prop_assert!(is_ended(folded), "{:?} comes from nowhere", name);
                continue;
            };
            let (_, whole) = gone.remove(place);
            prop_assert_eq!(whole.totals, folded.totals);
            prop_assert_eq!(folded.threads.len() as u64 + folded.folded.threads, whole.threads.len() as u64);
        }
        let ended = folded.processes.iter().find(|process| is_ended(process));
        prop_assert_eq!(ended.is_some(), !gone.is_empty());
        if let Some(ended) = ended {
            let threads: usize = gone.iter().map(|(_, process)| process.threads.len()).sum();
            prop_assert_eq!(ended.folded.threads, threads as u64);
            let mut totals = Totals::zero();
            gone.iter().for_each(|(_, process)| totals.add(&process.totals));
            prop_assert_eq!(ended.totals, totals);
        }
    }

    #[test]
    fn no_more_processes_are_held_than_live_or_are_kept(schedule in any_schedule(), keep in 0..4_usize) {
        let run = Run::of(&schedule, PLAIN);
        let mut pipeline = pipeline(&run, keep);
        play(&run, &mut pipeline, |pipeline, _| {
            // Before the window, threads of ended processes may not have been seen yet.
            if pipeline.began.is_none() {
                return;
            }
            let tasks = pipeline.engine.tasks();
            let held: Vec<_> = tasks.processes().map(|(id, _)| id).collect();
            let mut living: Vec<_> = tasks
                .iter()
                .filter(|(_, who)| who.died_at.is_none())
                .map(|(_, who)| who.process)
                .collect();
            living.sort();
            living.dedup();
            // Those of dead leaders without threads, and nobody's.
            let empty = tasks.processes().filter(|(_, process)| process.threads_total == 0).count();
            assert!(held.len() <= living.len() + keep + empty + 1, "{held:?} {living:?}");
            assert!(tasks.iter().all(|(_, who)| held.contains(&who.process)));
        });
    }

    #[test]
    fn intervals_add_up_to_the_window(schedule in any_schedule(), parts in 1..6_u64, few in prop::bool::ANY) {
        let run = Run::of(&schedule, PLAIN);
        let mut pipeline = pipeline(&run, if few { 0 } else { usize::MAX });
        let length = run.end - run.begin;
        let edges: Vec<u64> = (1..=parts).map(|part| run.begin + length * part / parts).collect();
        let mut next = edges.iter().peekable();
        let mut added = [0; 8];
        let mut covered = Nanos::ZERO;
        let window = play(&run, &mut pipeline, |pipeline, at| {
            while let Some(&&edge) = next.peek() && edge < at {
                next.next();
                pipeline.advance(Timestamp(edge));
                let report = pipeline.interval_report(Timestamp(edge), &Outside::default());
                let report = report.expect("intervals were asked for");
                assert_eq!(report.window.interval_at, Some(covered));
                covered += report.window.duration;
                for (sum, one) in added.iter_mut().zip(all_sums(&report)) {
                    *sum += one;
                }
            }
        });
        prop_assert_eq!(covered.0, length);
        prop_assert_eq!(added, all_sums(&window));
    }
}

#[test]
fn bytes_that_are_no_record_are_counted_and_said() {
    let run = Run::of(&empty(), PLAIN);
    let mut pipeline = pipeline(&run, 10);
    pipeline.push(&[1, 2, 3]);
    let report = play(&run, &mut pipeline, |_, _| ());
    assert_eq!(report.quality.verdict, crate::report::Verdict::Degraded);
    assert!(report.quality.reasons[0].contains("1 records could not be read"));
}

#[test]
fn a_record_that_comes_too_late_is_counted_and_said() {
    let run = Run::of(&empty(), PLAIN);
    let mut pipeline = pipeline(&run, 10);
    let mut sent = false;
    let report = play(&run, &mut pipeline, |pipeline, at| {
        if at > run.begin + 1 && !sent {
            sent = true;
            pipeline.advance(Timestamp(run.begin + 1));
            pipeline.push(&run.toy.records[0].bytes);
        }
    });
    assert_eq!(report.quality.late_records, 1);
    assert_eq!(report.quality.verdict, crate::report::Verdict::Degraded);
}

#[test]
fn without_intervals_there_is_no_interval() {
    let run = Run::of(&empty(), PLAIN);
    let mut pipeline = Pipeline::new(settings(&run.toy));
    assert!(
        pipeline
            .interval_report(Timestamp(1), &Outside::default())
            .is_none()
    );
}

#[test]
fn a_target_lives_as_long_as_one_of_its_threads() {
    let run = Run::of(&empty(), PLAIN);
    let with = |pids: Vec<u32>| {
        let mut pipeline = Pipeline::new(Settings {
            target: Target {
                pids,
                ..Target::default()
            },
            ..settings(&run.toy)
        });
        for record in &run.toy.records {
            pipeline.push(&record.bytes);
        }
        pipeline.advance(Timestamp(run.end));
        pipeline.target_lives()
    };
    assert!(with(vec![10]) && !with(vec![9999]));
}

fn empty() -> crate::engine::tests::simulator::Schedule {
    crate::engine::tests::simulator::Schedule {
        cpus: 1,
        phases: Default::default(),
    }
}
