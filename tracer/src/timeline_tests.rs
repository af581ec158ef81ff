//! What rows add up to is what the report says, whatever was lost or folded.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::{
    engine::tests::{
        simulator::{Options, Run, any_schedule, settings},
        toy::Told,
    },
    pipeline::{Part, Pipeline, Replay, Settings},
    report::{Report, Totals},
    summary::Outside,
};

/// The report, and all rows of a second time.
pub fn told(run: &Run, lost: &[prop::sample::Index], keep: usize, part: Part) -> (Report, Rows) {
    let mut gone: Vec<usize> = Vec::new();
    let switches: Vec<usize> = (0..run.toy.records.len())
        .filter(|&index| matches!(run.toy.records[index].told, Told::Switch { .. }))
        .collect();
    if !switches.is_empty() {
        gone.extend(lost.iter().map(|index| *index.get(&switches)));
    }
    let play = |replay: Replay| {
        let mut pipeline = Pipeline::new(Settings {
            max_threads: keep,
            replay,
            ..settings(&run.toy)
        });
        for (index, record) in run.toy.records.iter().enumerate() {
            if !gone.contains(&index) {
                pipeline.push(&record.bytes);
                pipeline.advance(Timestamp(record.at));
            }
        }
        let outside = Outside {
            lost_records: Some(gone.len() as u64),
            ..Outside::default()
        };
        let report = pipeline.finish(Timestamp(run.end), &outside);
        (report, pipeline)
    };
    let (report, mut first) = play(Replay {
        part,
        census: true,
        told: None,
    });
    let (again, mut second) = play(Replay {
        part,
        census: false,
        told: Some(first.take_shown()),
    });
    assert_eq!(report.quality.lost_switches, again.quality.lost_switches);
    let rows = second.rows().map(std::mem::take).expect("asked for");
    (report, rows)
}

#[derive(Debug, Default)]
struct Sums {
    by_state: BTreeMap<&'static str, i64>,
    voluntary: u64,
    involuntary: u64,
    yields: u64,
    /// Of wait rows and of their pieces.
    waits: (u64, u64),
    wait_rows: (usize, usize),
    /// Where the last span ended.
    at: Option<i64>,
}

fn state(state: State) -> &'static str {
    match state {
        State::Run => "run",
        State::Wait => "wait",
        State::Off(OffState::Sleep) => "sleep",
        State::Off(OffState::Block) => "block",
        State::Off(OffState::Stopped) => "stopped",
        State::Unknown => "unknown",
    }
}

/// Every row is about somebody who was met, and nothing follows the last one.
fn add_up(rows: &Rows) -> Vec<(Done, Sums)> {
    let mut open: BTreeMap<u32, Sums> = BTreeMap::new();
    let mut done = Vec::new();
    for row in &rows.rows {
        match row {
            Row::Met(met) => {
                open.entry(met.thread).or_default();
            }
            Row::Span(span) => {
                let sums = open.get_mut(&span.thread).expect("met");
                *sums.by_state.entry(state(span.state)).or_default() += span.ns;
                if let Some(at) = span.at_ns {
                    assert!(sums.at.is_none_or(|last| last == at), "{span:?} {sums:?}");
                    sums.at = Some(at + span.ns);
                    assert!(at >= 0 && span.ns >= 0);
                }
                sums.wait_rows.0 += usize::from(span.state == State::Wait && span.at_ns.is_some());
            }
            Row::Wait(wait) => {
                let sums = open.get_mut(&wait.thread).expect("met");
                sums.wait_rows.1 += usize::from(wait.at_ns.is_some());
                sums.waits.0 += wait.ns.0;
                let mut at = wait.at_ns;
                for piece in &rows.pieces[wait.pieces.clone()] {
                    assert_eq!(piece.at_ns, at);
                    at = at.map(|at| at + piece.charged.ns.0 as i64);
                    sums.waits.1 += piece.charged.ns.0;
                }
            }
            Row::Switch(switch) => {
                let sums = open.get_mut(&switch.thread).expect("met");
                sums.voluntary += switch.voluntary;
                sums.involuntary += switch.involuntary;
                sums.yields += u64::from(switch.yielded);
            }
            Row::Done(last) => {
                let sums = open.remove(&last.met.thread).expect("met");
                done.push((Done::clone(last), sums));
            }
        }
    }
    assert!(open.is_empty(), "{open:?}");
    done
}

fn is_what_the_report_says(report: &Report, rows: &Rows) -> Result<(), TestCaseError> {
    let mut all = Totals::zero();
    for (done, sums) in add_up(rows) {
        let Totals {
            run,
            wait,
            sleep,
            block,
            stopped,
            unknown,
            voluntary,
            involuntary,
            ..
        } = done.row.totals;
        let by = |name: &str| sums.by_state.get(name).copied().unwrap_or(0);
        for (name, total) in [
            ("run", run),
            ("wait", wait),
            ("sleep", sleep),
            ("block", block),
            ("stopped", stopped),
            ("unknown", unknown),
        ] {
            prop_assert_eq!(by(name), total.0 as i64, "{} of {:?}", name, done.met);
        }
        prop_assert_eq!(sums.waits, (wait.0, wait.0));
        prop_assert_eq!(sums.wait_rows.0, sums.wait_rows.1);
        prop_assert_eq!((sums.voluntary, sums.involuntary), (voluntary, involuntary));
        all.add(&done.row.totals);
    }
    let mut expected = Totals::zero();
    for process in &report.processes {
        expected.add(&process.totals);
    }
    prop_assert_eq!(all, expected);
    Ok(())
}

const PLAIN: Options = Options {
    errors: false,
    lag: false,
};

fn some() -> impl Strategy<Value = Vec<prop::sample::Index>> {
    prop::collection::vec(any::<prop::sample::Index>(), 0..20)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn rows_add_up_to_the_report(schedule in any_schedule(), lost in some(), few in prop::bool::ANY) {
        let run = Run::of(&schedule, PLAIN);
        let keep = if few { 0 } else { usize::MAX };
        let (report, rows) = told(&run, &lost, keep, Part::default());
        is_what_the_report_says(&report, &rows)?;
    }

    #[test]
    fn parts_add_up_to_the_whole(schedule in any_schedule(), cut in 1..100_u64) {
        let run = Run::of(&schedule, PLAIN);
        let at = Nanos((run.end - run.begin) * cut / 100);
        let whole = told(&run, &[], usize::MAX, Part::default());
        let parts = [
            Part { from: Nanos::ZERO, to: Some(at) },
            Part { from: at, to: None },
        ].map(|part| told(&run, &[], usize::MAX, part));
        let mut sum = Totals::zero();
        let mut duration = Nanos::ZERO;
        for (report, rows) in &parts {
            is_what_the_report_says(report, rows)?;
            duration += report.window.duration;
            for process in &report.processes {
                sum.add(&process.totals);
            }
        }
        let mut expected = Totals::zero();
        for process in &whole.0.processes {
            expected.add(&process.totals);
        }
        prop_assert_eq!(duration, whole.0.window.duration);
        // A share of a wait that is cut is rounded, once for each thread.
        let threads = add_up(&whole.1).len() as u64;
        prop_assert!(sum.wait_uncounted.0.abs_diff(expected.wait_uncounted.0) <= threads);
        sum.wait_uncounted = expected.wait_uncounted;
        prop_assert_eq!(sum, expected);
        let switches = |report: &Report| report.system.totals.map(|totals| totals.switches());
        let both = switches(&parts[0].0).zip(switches(&parts[1].0)).map(|(a, b)| a + b);
        prop_assert_eq!(both, switches(&whole.0));
    }
}
