//! A recording against itself has no change, a steady load next to none, and a planted neighbour is found.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::{chance::Random, *};
use crate::{
    engine::tests::simulator::{Options, Run, any_schedule},
    model::{Cpu, Nanos, Priority, WaitCause, Who},
    pipeline::Part,
    report::{self, Creator, Report, Verdict, WaitedFor},
    timeline::{Met, PieceRow, Row, Rows, SpanRow, State, SwitchRow, WaitRow, tests::told},
};

/// Rows of threads that never were.
struct Script {
    rows: Rows,
    random: Random,
    seconds: u64,
    forks: Vec<report::Fork>,
}

impl Script {
    fn new(seed: u64, seconds: u64) -> Script {
        Script {
            rows: Rows::default(),
            random: Random::new(seed),
            seconds,
            forks: Vec::new(),
        }
    }

    fn meet(&mut self, thread: u32, process: &str, comm: &str) {
        self.rows.rows.push(Row::Met(Met {
            thread,
            process: thread.into(),
            id: Default::default(),
            pid: thread,
            tid: thread,
            comm: comm.into(),
            process_comm: process.into(),
            kernel_thread: false,
        }));
    }

    fn span(&mut self, thread: u32, at: u64, ns: u64, state: State) {
        self.rows.rows.push(Row::Span(SpanRow {
            thread,
            at_ns: Some(at as i64),
            ns: ns as i64,
            state,
            cpu: None,
            whole: true,
            syscall: None,
            iowait: false,
            steal: None,
            irq: Nanos::ZERO,
            softirq: Nanos::ZERO,
        }));
    }

    fn wait(&mut self, thread: u32, at: u64, ns: u64, culprit: &str) {
        self.span(thread, at, ns, State::Wait);
        let first = self.rows.pieces.len();
        self.rows.pieces.push(PieceRow {
            at_ns: Some(at as i64),
            charged: WaitedFor {
                kind: ChargeKind::Thread,
                who: Some(Who {
                    pid: 1,
                    tid: 1,
                    comm: culprit.into(),
                    priority: Priority::default(),
                    kernel_thread: false,
                    own: false,
                }),
                same_process: Some(false),
                count: 1,
                ns: Nanos(ns),
            },
        });
        self.rows.rows.push(Row::Wait(WaitRow {
            thread,
            at_ns: Some(at as i64),
            ns: Nanos(ns),
            cpu: Cpu(0),
            cause: WaitCause::Preempted,
            finished: true,
            woken: None,
            slept: None,
            resched: None,
            pieces: first..first + 1,
        }));
    }

    fn switch(&mut self, thread: u32, at: u64) {
        self.rows.rows.push(Row::Switch(SwitchRow {
            thread,
            at_ns: Some(at as i64),
            cpu: None,
            voluntary: 1,
            involuntary: 0,
            yielded: false,
            kind: None,
            address_space_change: false,
            next_tid: None,
        }));
    }

    /// Runs about so much of each millisecond, waits for others about so much, and leaves by itself.
    fn busy(&mut self, thread: u32, run: u64, waits: &[(&str, u64)]) {
        for turn in 0..self.seconds * 1_000 {
            let mut at = turn * 1_000_000;
            // A second like the one before: load comes and goes in stretches.
            let tide = 80 + (turn / 97).wrapping_mul(0x9e37_79b9) % 40;
            for &(culprit, ns) in waits {
                let ns = ns * tide / 100 + self.random.below(1 + ns as usize / 2) as u64;
                self.wait(thread, at, ns, culprit);
                at += ns;
            }
            let run = run * tide / 100 + self.random.below(1 + run as usize / 2) as u64;
            self.span(thread, at, run, State::Run);
            self.switch(thread, at + run);
        }
    }

    fn fork(&mut self, at: u64, stall: u64, creator: &str) {
        self.forks.push(report::Fork {
            at_ns: at as i64,
            kind: BirthKind::Fork,
            flags: None,
            parent: Creator {
                pid: 1,
                tid: 1,
                comm: creator.into(),
            },
            child_pid: 2,
            child_tid: 2,
            child_comm: creator.into(),
            syscall: Some(Nanos(stall)),
            fork_to_run: None,
            wake: None,
            wait: None,
            cross_cpu: None,
            fork_to_exec: None,
            parent_rss_bytes: None,
            parent_page_table_bytes: None,
            parent_mappings: None,
            cow_faults: None,
            lifetime: None,
            exit: None,
        });
    }

    fn recorded(&self) -> Recorded {
        let report = Report {
            births: Some(report::Births {
                syscalls: true,
                forks_total: self.forks.len() as u64,
                forks: self.forks.clone(),
                ..report::Births::default()
            }),
            ..Report::default()
        };
        recorded(&report, &self.rows, Nanos(self.seconds * 1_000_000_000))
    }
}

fn recorded(report: &Report, rows: &Rows, duration: Nanos) -> Recorded {
    let slices = Slices::of(duration);
    let mut groups = Groups::new(slices);
    groups.take(rows);
    let births = report.births.as_ref();
    Recorded {
        side: Side {
            window: report.window.clone(),
            target: report.target.clone(),
            quality: report.quality.clone(),
            ..Side::default()
        },
        groups,
        births: births.map_or_else(Births::default, |births| Births::of(births, slices)),
    }
}

/// A pool of workers that share a CPU, and somebody in their way.
fn pool(seed: u64, seconds: u64, neighbour: Option<u64>) -> Script {
    let mut script = Script::new(seed, seconds);
    for thread in 1..4 {
        script.meet(thread, "api", &format!("worker-{thread}"));
        let mut waits = vec![("worker-7", 50_000)];
        waits.extend(neighbour.map(|ns| ("burns", ns)));
        script.busy(thread, 200_000, &waits);
    }
    for birth in 0..50 * seconds {
        let stall = 300_000 + script.random.below(50_000) as u64;
        script.fork(birth * 20_000_000, stall, "spawn-3");
    }
    script
}

fn names(changes: &[Change]) -> Vec<(Subject, Metric)> {
    let name = |change: &Change| (change.subject, change.metric);
    changes.iter().map(name).collect()
}

fn workers() -> Subject {
    Subject::Group(Group {
        process: "api".into(),
        thread: "worker-N".into(),
    })
}

fn waited_for(comm: &str) -> Metric {
    Metric::WaitedFor(Culprit {
        kind: ChargeKind::Thread,
        comm: Some(comm.into()),
    })
}

#[test]
fn a_neighbour_is_found_and_named() {
    let before = pool(1, 5, None).recorded();
    let mut with = pool(2, 10, Some(100_000));
    with.meet(9, "burns", "burns");
    with.busy(9, 300_000, &[]);
    let found = diff(before, with.recorded());
    assert_eq!(
        names(&found.changes),
        [(workers(), Metric::Wait), (workers(), waited_for("burns"))]
    );
    // Three threads, 1.25 times 100 us of each millisecond.
    for change in &found.changes {
        let difference = change.difference();
        assert!((0.35e9..0.40e9).contains(&difference), "{change:?}");
        let (low, high) = change.interval.expect("long enough");
        assert!(low <= difference && difference <= high, "{change:?}");
        assert!(low > 0.3e9 && high < 0.45e9, "{change:?}");
    }
    assert_eq!(found.changes[1].ratio(), None);
    assert_eq!(found.gone, []);
    let [burns] = found.new[..] else {
        panic!("{:?}", found.new)
    };
    assert_eq!((burns.group.thread, burns.threads), ("burns".into(), 1));
    assert!((burns.run / 375e6 - 1.0).abs() < 0.05, "{burns:?}");
    assert_eq!((found.groups, found.no_intervals), (1, None));
}

#[test]
fn it_is_gone_the_other_way_round() {
    let found = diff(
        pool(2, 10, Some(100_000)).recorded(),
        pool(1, 5, None).recorded(),
    );
    assert_eq!(
        names(&found.changes),
        [(workers(), Metric::Wait), (workers(), waited_for("burns"))]
    );
    for change in &found.changes {
        assert!(change.difference() < 0.0, "{change:?}");
        assert!(
            change.interval.is_some_and(|(_, high)| high < 0.0),
            "{change:?}"
        );
    }
    assert_eq!(found.changes[1].ratio(), Some(0.0));
}

#[test]
fn against_itself_nothing_changed() {
    for script in [pool(1, 5, None), pool(1, 1, Some(1)), Script::new(1, 0)] {
        let found = diff(script.recorded(), script.recorded());
        assert_eq!(found.changes, []);
        assert_eq!((found.new, found.gone), (Vec::new(), Vec::new()));
        assert_eq!(found.caveats, [""; 0]);
    }
}

#[test]
fn a_steady_load_has_next_to_no_changes() {
    // Forty times another recording of the same, with twenty groups each.
    let mut changed = 0;
    let mut compared = 0;
    let load = |seed: u64| {
        let mut script = Script::new(seed, 2);
        for (thread, name) in ('a'..='t').enumerate() {
            let thread = thread as u32;
            script.meet(thread, "load", &name.to_string());
            script.busy(
                thread,
                5_000 * u64::from(thread + 1),
                &[("a", 8_000), ("b", 3_000)],
            );
        }
        // What comes rarely, for a while, and differs from one recording to the next by more than the floor.
        for thread in 0..20 {
            for _ in 0..6 {
                let at = script.random.below(1_900_000_000) as u64;
                let ns = script.random.below(20_000_000) as u64;
                script.wait(thread, at, ns, "rare");
            }
        }
        script.recorded()
    };
    for seed in 0..40 {
        let found = diff(load(2 * seed + 100), load(2 * seed + 101));
        changed += found.changes.len();
        compared += found.compared;
    }
    assert!(compared > 4_000, "{compared}");
    assert!(changed <= 4, "{changed} of {compared}");
}

#[test]
fn what_births_cost_is_compared() {
    let before = pool(1, 5, None);
    let mut after = pool(2, 5, None);
    for fork in &mut after.forks {
        fork.syscall = fork.syscall.map(|stall| Nanos(stall.0 * 2));
    }
    let found = diff(before.recorded(), after.recorded());
    let creators = Subject::Creators(Creators {
        kind: BirthKind::Fork,
        comm: "spawn-N".into(),
    });
    assert_eq!(names(&found.changes), [(creators, Metric::Stall)]);
    let stall = found.changes[0];
    assert!((stall.before / 325e3 - 1.0).abs() < 0.02, "{stall:?}");
    assert!(
        stall
            .ratio()
            .is_some_and(|ratio| (1.95..2.05).contains(&ratio)),
        "{stall:?}"
    );
    // Every second one is not there.
    let mut index = 0;
    after.forks = before.forks.clone();
    after.forks.retain(|_| {
        index += 1;
        index % 2 == 0
    });
    let found = diff(before.recorded(), after.recorded());
    assert_eq!(names(&found.changes), [(creators, Metric::Births)]);
    assert_eq!(
        (found.changes[0].before, found.changes[0].after),
        (50.0, 25.0)
    );
    // Nobody creates any more.
    after.forks.clear();
    let found = diff(before.recorded(), after.recorded());
    assert_eq!(names(&found.changes), [(creators, Metric::Births)]);
}

#[test]
fn too_many_births_are_compared_by_their_sums() {
    let before = pool(1, 5, None);
    let births = |count: u64| {
        let dist = report::Dist {
            count,
            sum: Nanos(count * 200_000),
            ..report::Dist::default()
        };
        let cost = report::ForkCost {
            kind: BirthKind::Fork,
            comm: "spawn-3".into(),
            count,
            syscall: Some(dist),
            first_run: None,
            per_gib: None,
        };
        report::Births {
            syscalls: true,
            forks_total: count,
            costs: vec![cost],
            ..report::Births::default()
        }
    };
    let report = Report {
        births: Some(births(1_000)),
        ..Report::default()
    };
    let after = recorded(&report, &before.rows, Nanos(5_000_000_000));
    let found = diff(before.recorded(), after);
    assert_eq!(found.changes.len(), 2, "{:?}", found.changes);
    assert!(found.changes.iter().all(|change| change.interval.is_none()));
    assert_eq!(found.changes[0].after, 200.0);
    assert_eq!(found.changes[1].after, 200_000.0);
    assert_eq!(found.caveats.len(), 1, "{:?}", found.caveats);
}

#[test]
fn a_short_recording_has_no_intervals_and_says_why() {
    let short = |neighbour| {
        let mut script = pool(1, 1, neighbour);
        script.rows.rows.retain(|row| match row {
            Row::Span(span) => span.at_ns < Some(300_000_000),
            Row::Wait(wait) => wait.at_ns < Some(300_000_000),
            _ => true,
        });
        recorded(&Report::default(), &script.rows, Nanos(300_000_000))
    };
    let found = diff(short(None), short(Some(200_000)));
    assert!(names(&found.changes).contains(&(workers(), waited_for("burns"))));
    assert!(found.changes.iter().all(|change| change.interval.is_none()));
    let why = found.no_intervals.expect("too short");
    assert_eq!(
        why,
        "both are shorter than 400 ms: what chance did cannot be told"
    );
    assert_eq!(diff(short(None), short(None)).changes, []);
}

#[test]
fn what_makes_a_comparison_doubtful_is_said() {
    let mut before = pool(1, 1, None).recorded();
    let after = pool(1, 1, None).recorded();
    before.side.quality.verdict = Verdict::Degraded;
    before.side.quality.reasons = vec!["3 records lost".into()];
    before.side.host.kernel = "6.1".into();
    before.side.host.cpus = 4;
    before.side.target.description = "pid 1".into();
    before.births.stalls = false;
    assert_eq!(
        diff(before, after).caveats,
        [
            "BEFORE is degraded: 3 records lost",
            "different kernels: 6.1 and ",
            "different numbers of CPUs: 4 and 0",
            "different targets: pid 1 and ",
            "only AFTER was recorded with --forks",
        ]
    );
}

#[test]
fn names_without_number_share_what_they_have() {
    let mut script = Script::new(1, 1);
    for number in 0..6_000 {
        // Letters: digits would be one name.
        let name: String = format!("{number:04}")
            .bytes()
            .map(|digit| (digit + 49) as char)
            .collect();
        script.meet(number, &name, &name);
        script.span(number, 0, 1_000, State::Run);
    }
    let recorded = script.recorded();
    assert_eq!(recorded.groups.iter().count(), 5_001);
    assert!(recorded.groups.are_crowded());
    let run: u64 = recorded
        .groups
        .iter()
        .map(|(_, sums)| sums.run.total())
        .sum();
    assert_eq!(run, 6_000_000);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn slices_add_up_to_the_report_whatever_was_lost(
        schedule in any_schedule(),
        lost in proptest::collection::vec(any::<prop::sample::Index>(), 0..4),
    ) {
        let run = Run::of(&schedule, Options { errors: false, lag: false });
        let (report, rows) = told(&run, &lost, usize::MAX, Part::default());
        let recorded = recorded(&report, &rows, report.window.duration);
        let mut sums = BTreeMap::new();
        for (_, group) in recorded.groups.iter() {
            for (name, tally) in [
                ("run", &group.run),
                ("wait", &group.wait),
                ("block", &group.block),
                ("voluntary", &group.voluntary),
                ("involuntary", &group.involuntary),
            ] {
                *sums.entry(name).or_insert(0) += tally.total();
            }
            let waited_for: u64 = group.waited_for.values().map(Tally::total).sum();
            prop_assert_eq!(waited_for, group.wait.total());
        }
        let mut totals = report::Totals::zero();
        report.processes.iter().for_each(|process| totals.add(&process.totals));
        let sum = |name| sums.get(name).copied().unwrap_or(0);
        prop_assert_eq!(sum("run"), totals.run.0);
        prop_assert_eq!(sum("wait"), totals.wait.0);
        prop_assert_eq!(sum("block"), totals.block.0);
        prop_assert_eq!(sum("voluntary"), totals.voluntary);
        prop_assert_eq!(sum("involuntary"), totals.involuntary);
    }

    #[test]
    fn any_recording_against_itself_has_no_change(schedule in any_schedule()) {
        let run = Run::of(&schedule, Options { errors: true, lag: true });
        let (report, rows) = told(&run, &[], usize::MAX, Part::default());
        let found = {
            let once = || recorded(&report, &rows, report.window.duration);
            diff(once(), once())
        };
        prop_assert_eq!(found.changes, []);
        prop_assert!(found.new.is_empty() && found.gone.is_empty());
    }
}
