//! The engine against schedules of chance: whole, with holes, and without any sense.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::{
    simulator::{Options, Run, any_schedule},
    toy::{Does, Record, Told},
};
use crate::report::{ChargeKind, Report, Thread, Verdict};

const PLAIN: Options = Options {
    errors: false,
    lag: false,
};

fn threads(report: &Report) -> impl Iterator<Item = &Thread> {
    report.processes.iter().flat_map(|process| &process.threads)
}

/// The thread of a row; `None` for a row that nobody ever was.
fn who(run: &Run, thread: &Thread) -> Option<usize> {
    // A tid is used once here; keys are not.
    (0..run.toy.tasks.len()).find(|&id| run.toy.tasks[id].tid == thread.tid)
}

pub fn identity_holds(report: &Report) -> Result<(), TestCaseError> {
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
        let waited: u64 = thread.waited_for.iter().map(|row| row.ns.0).sum();
        prop_assert_eq!(waited, totals.wait.0, "{:?}", thread);
    }
    Ok(())
}

/// By tid: 0 is the idle CPU; what is no thread's at all is under the largest number there is.
pub fn waited_for(thread: &Thread) -> BTreeMap<u32, u64> {
    let mut shares = BTreeMap::new();
    for share in &thread.waited_for {
        let tid = match (share.kind, share.who) {
            (ChargeKind::Idle, _) => 0,
            (_, Some(who)) => who.tid,
            (_, None) => u32::MAX,
        };
        *shares.entry(tid).or_default() += share.ns.0;
    }
    shares
}

fn agrees(run: &Run, exact: bool) -> Result<(), TestCaseError> {
    let records: Vec<&Record> = run.toy.records.iter().collect();
    let report = run.report(&records, 0);
    identity_holds(&report)?;
    let mut seen = vec![false; run.toy.tasks.len()];
    for thread in threads(&report) {
        let id = who(run, thread);
        prop_assert!(id.is_some(), "nobody is {:?}", thread);
        let Some(id) = id else { continue };
        prop_assert!(!seen[id], "two rows of tid {}", thread.tid);
        seen[id] = true;
        prop_assert_eq!(
            thread.started_ns,
            Some(run.toy.tasks[id].start as i64 - run.begin as i64)
        );
        let mut truth = run.truth(id);
        truth.run_steal = thread.totals.run_steal;
        truth.run_irq = thread.totals.run_irq;
        truth.run_softirq = thread.totals.run_softirq;
        truth.wait_uncounted = thread.totals.wait_uncounted;
        prop_assert_eq!(
            thread.totals,
            truth,
            "tid {} {}",
            thread.tid,
            story(run, id)
        );
        for (dist, does) in [(thread.run_slice, Does::Run), (thread.wait, Does::Wait)] {
            prop_assert_eq!(
                (dist.count, dist.sum),
                run.whole(id, does),
                "tid {} {:?} {}",
                thread.tid,
                does,
                story(run, id)
            );
        }
        if exact {
            let preempted: u64 = thread.preempted_by.iter().map(|row| row.count).sum();
            prop_assert!(preempted <= thread.totals.involuntary, "{:?}", thread);
            let shares = waited_for(thread);
            prop_assert_eq!(
                &shares,
                &run.waited_for(id),
                "tid {} {}",
                thread.tid,
                story(run, id)
            );
        }
        let task = &run.toy.tasks[id];
        prop_assert_eq!(
            thread.born_in_window,
            task.born.is_some_and(|at| at >= run.begin)
        );
        if let Some(kernel) = thread.kernel.filter(|_| exact) {
            prop_assert_eq!(
                (kernel.voluntary, kernel.involuntary, kernel.wait),
                (truth.voluntary, truth.involuntary, truth.wait),
                "tid {} {}",
                thread.tid,
                story(run, id)
            );
            // A look between the count and the tracepoint is a nanosecond early.
            prop_assert!(kernel.run.0.abs_diff(truth.run.0) <= 1);
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
    let first = quality
        .mismatches
        .first()
        .and_then(|m| run.toy.tasks.iter().position(|task| task.tid == m.tid));
    prop_assert_eq!(
        quality.verdict,
        Verdict::Valid,
        "{:?} {}",
        quality,
        first.map_or(String::new(), |id| story(run, id))
    );
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
        prop_assert_eq!(
            quality.switch_ins_without_waking,
            0,
            "{}",
            (0..run.toy.tasks.len())
                .filter(|&id| !run.toy.tasks[id].is_idle())
                .map(|id| story(run, id))
                .collect::<String>()
        );
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn a_whole_stream_tells_the_truth(schedule in any_schedule()) {
        agrees(&Run::of(&schedule, PLAIN), true)?;
    }

    #[test]
    fn neither_steal_nor_the_kernels_own_errors_change_it(schedule in any_schedule()) {
        agrees(&Run::of(&schedule, Options { errors: true, lag: true }), false)?;
    }
}

pub fn story(run: &Run, id: usize) -> String {
    story_of(&run.toy.records.iter().collect::<Vec<_>>(), run, id)
}

fn story_without(run: &Run, removed: &[usize], id: usize) -> String {
    let gone: Vec<&Record> = removed
        .iter()
        .map(|&index| &run.toy.records[index])
        .collect();
    story(run, id) + "\nREMOVED\n" + &story_of(&gone, run, id)
}

fn story_of(records: &[&Record], run: &Run, id: usize) -> String {
    let mut story = format!(
        "window {}..{} looked {}\n",
        run.begin, run.end, run.last_look
    );
    for record in records {
        if let Some(event) = crate::decode::decode(&record.bytes) {
            let text = format!("{event:?}");
            let key = format!("Key({})", run.toy.tasks[id].key);
            if text.contains(&key) || matches!(record.told, super::toy::Told::Edge) {
                story += &text;
                story.push('\n');
            }
        }
    }
    story
}

/// Records of the window, before the last look, are removed.
fn with_holes(
    run: &Run,
    holes: &[prop::sample::Index],
    before_window: bool,
) -> (Report, Vec<usize>) {
    let mut at: Vec<usize> = (0..run.toy.records.len())
        .filter(|&index| {
            let record = &run.toy.records[index];
            let ring = !matches!(record.told, Told::Seen { .. } | Told::Edge);
            // Counted, looked at, and then lost: nothing tells that it is not on its CPU still.
            let told = index
                .checked_sub(1)
                .map(|index| run.toy.records[index].told);
            let looked_at = match (told, record.told) {
                (Some(Told::Seen { task, seq }), Told::Switch { prev, prev_seq, .. }) => {
                    (task, seq) == (prev, prev_seq)
                }
                _ => false,
            };
            ring && !looked_at
                && record.at < run.last_look
                && (before_window || record.at > run.begin)
        })
        .collect();
    let mut removed = Vec::new();
    for hole in holes {
        if !at.is_empty() {
            removed.push(at.swap_remove(hole.index(at.len())));
        }
    }
    let kept = kept(run, &removed);
    (run.report(&kept, removed.len() as u64), removed)
}

fn kept<'a>(run: &'a Run, removed: &[usize]) -> Vec<&'a Record> {
    let all = run.toy.records.iter().enumerate();
    all.filter(|(index, _)| !removed.contains(index))
        .map(|(_, record)| record)
        .collect()
}

fn never_claims_too_much(
    run: &Run,
    report: &Report,
    removed: &[usize],
) -> Result<(), TestCaseError> {
    identity_holds(report)?;
    for thread in threads(report) {
        let id = who(run, thread);
        prop_assert!(id.is_some(), "nobody is {:?}", thread);
        let Some(id) = id else { continue };
        let truth = run.truth(id);
        for (name, ours, truth) in [
            ("run", thread.totals.run, truth.run),
            ("wait", thread.totals.wait, truth.wait),
            ("sleep", thread.totals.sleep, truth.sleep),
            ("block", thread.totals.block, truth.block),
            ("stopped", thread.totals.stopped, truth.stopped),
        ] {
            prop_assert!(
                ours <= truth,
                "tid {}: {} {:?} of {:?} {}",
                thread.tid,
                name,
                ours,
                truth,
                story_without(run, removed, id)
            );
        }
    }
    for cpu in &report.system.cpus {
        prop_assert_eq!((cpu.busy + cpu.idle).0, run.end - run.begin);
    }
    prop_assert_ne!(report.quality.verdict, Verdict::Invalid);
    Ok(())
}

fn some_holes() -> impl Strategy<Value = Vec<prop::sample::Index>> {
    prop::collection::vec(any::<prop::sample::Index>(), 1..40)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn a_stream_with_holes_never_claims_too_much(schedule in any_schedule(), holes in some_holes()) {
        let run = Run::of(&schedule, PLAIN);
        let (report, removed) = with_holes(&run, &holes, true);
        never_claims_too_much(&run, &report, &removed)?;
    }

    #[test]
    fn the_counters_make_good_what_was_lost(schedule in any_schedule(), holes in some_holes()) {
        let run = Run::of(&schedule, PLAIN);
        let (report, removed) = with_holes(&run, &holes, false);
        never_claims_too_much(&run, &report, &removed)?;
        let kept = kept(&run, &removed);
        let gone: Vec<_> = removed.iter().map(|&index| (run.toy.records[index].at, run.toy.records[index].told)).collect();
        for thread in threads(&report) {
            let Some(id) = who(&run, thread) else { continue };
            let task = &run.toy.tasks[id];
            let is_birth = |told| told == Told::Newtask(id) || told == Told::Born(id);
            let birth_lost = task.born.is_some_and(|at| at > run.begin)
                && !kept.iter().any(|record| is_birth(record.told));
            let last = kept.iter().any(|record| record.at == task.died.unwrap_or(0) && matches!(record.told, Told::Switch { prev, .. } if prev == id));
            if !birth_lost && (task.died.is_none_or(|at| at > run.end) || last) {
                let truth = run.truth(id);
                prop_assert_eq!(
                    (thread.totals.voluntary, thread.totals.involuntary),
                    (truth.voluntary, truth.involuntary),
                    "tid {} removed {:?} {}", thread.tid, gone, story(&run, id)
                );
                // Told as lost: exactly what was removed.
                let removed = gone.iter().filter(|(at, told)| {
                    *at < run.end && matches!(told, Told::Switch { prev, .. } if *prev == id)
                });
                prop_assert_eq!(thread.covered.lost_switches, removed.count() as u64);
            }
        }
        // The CPUs count beside the stream: no record of theirs is missing from the machine's totals.
        let whole = run.report(&run.toy.records.iter().collect::<Vec<_>>(), 0);
        prop_assert_eq!(report.system.totals, whole.system.totals);
        let busy = |report: &Report| report.system.cpus.clone();
        prop_assert_eq!(busy(&report), busy(&whole));
        let switches = gone.iter().filter(|(at, told)| {
            matches!(told, Told::Switch { .. }) && (run.begin..run.end).contains(at)
        });
        prop_assert_eq!(report.quality.lost_switches, switches.count() as u64);
    }
}
