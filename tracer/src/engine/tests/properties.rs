//! The engine against schedules of chance: whole, with holes, and without any sense.

use proptest::prelude::*;

use super::{
    simulator::{Options, Run, any_schedule},
    toy::{Does, Record},
};
use crate::report::{KnownError, Report, Thread, Verdict};

const PLAIN: Options = Options {
    errors: false,
    lag: false,
};

fn threads(report: &Report) -> impl Iterator<Item = &Thread> {
    report.processes.iter().flat_map(|process| &process.threads)
}

/// The thread of a row; `None` for a row that nobody ever was.
fn who(run: &Run, thread: &Thread) -> Option<usize> {
    (0..run.toy.tasks.len()).find(|&id| {
        let task = &run.toy.tasks[id];
        task.tid == thread.tid && task.start as i64 - run.begin as i64 == thread.started_ns
    })
}

fn identity_holds(report: &Report) -> Result<(), TestCaseError> {
    for thread in threads(report) {
        prop_assert_eq!(
            thread.totals.accounted(),
            thread.totals.lifetime,
            "{:?}",
            thread
        );
        let off: u64 = thread.off_cpu.iter().map(|row| row.ns.0).sum();
        let totals = &thread.totals;
        prop_assert_eq!(off, (totals.sleep + totals.block + totals.stopped).0);
    }
    Ok(())
}

fn agrees(run: &Run, exact: bool) -> Result<(), TestCaseError> {
    let records: Vec<&Record> = run.toy.records.iter().collect();
    let report = run.report(&records);
    identity_holds(&report)?;
    let mut seen = vec![false; run.toy.tasks.len()];
    for thread in threads(&report) {
        let id = who(run, thread);
        prop_assert!(id.is_some(), "nobody is {:?}", thread);
        let Some(id) = id else { continue };
        seen[id] = true;
        let mut truth = run.truth(id);
        truth.run_steal = thread.totals.run_steal;
        truth.wait_uncounted = thread.totals.wait_uncounted;
        prop_assert_eq!(thread.totals, truth, "tid {}", thread.tid);
        for (dist, does) in [(thread.run_slice, Does::Run), (thread.wait, Does::Wait)] {
            prop_assert_eq!(
                (dist.count, dist.sum),
                run.whole(id, does),
                "tid {} {:?}",
                thread.tid,
                does
            );
        }
        let task = &run.toy.tasks[id];
        prop_assert_eq!(
            thread.born_in_window,
            task.born.is_some_and(|at| at >= run.begin)
        );
        if let Some(kernel) = thread.kernel.filter(|_| exact) {
            prop_assert_eq!(
                (
                    kernel.voluntary,
                    kernel.involuntary,
                    kernel.run,
                    kernel.wait
                ),
                (truth.voluntary, truth.involuntary, truth.run, truth.wait),
                "tid {}",
                thread.tid
            );
        }
    }
    for (id, &seen) in seen.iter().enumerate() {
        prop_assert_eq!(seen, run.lived_inside(id), "tid {}", run.toy.tasks[id].tid);
    }
    prop_assert_eq!(report.system.totals, Some(run.system()));
    for cpu in &report.system.cpus {
        prop_assert_eq!((cpu.busy + cpu.idle).0, run.end - run.begin);
    }
    let quality = &report.quality;
    prop_assert_eq!(quality.verdict, Verdict::Valid, "{:?}", quality);
    prop_assert_eq!(
        (
            quality.lost_switches,
            quality.rebuilt_switch_ins,
            quality.hidden_threads
        ),
        (0, 0, 0)
    );
    if exact {
        prop_assert!(quality.mismatches.is_empty(), "{:?}", quality);
        prop_assert_eq!(quality.switch_ins_without_waking, 0);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn a_whole_stream_tells_the_truth(schedule in any_schedule()) {
        agrees(&Run::of(&schedule, PLAIN), true)?;
    }

    #[test]
    fn neither_steal_nor_the_kernels_own_errors_change_it(schedule in any_schedule()) {
        agrees(&Run::of(&schedule, Options { errors: true, lag: true }), false)?;
    }
}
