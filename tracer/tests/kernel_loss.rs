//! What is told when records are lost, and when almost nothing is recorded: against the kernel's own
//! counters, read from outside.

mod support;

use std::collections::BTreeMap;

use rustix::process::Signal;
use serde_json::Value;
use support::check::{check_lossy_report, list};
use support::machine::{
    Bounds, Counters, allowed_cpus, background, cpus, monotonic, status, until,
};
use support::pipe::{Counted, Pipe, expect_same};
use support::trace::{Live, Traced, expect_valid};
use support::{Outcome, na, threads};

/// For how long nobody reads the rings.
const STOPPED_NS: u64 = 2_000_000_000;
/// From the first look at the threads to the window's begin, on a busy machine.
const FIRST_LOOK_NS: u64 = 20_000_000;
/// Far more switches than a ring of 64 KiB holds records.
const MANY: u64 = 50_000;

#[track_caller]
fn number(value: &Value, pointer: &str) -> u64 {
    let found = value.pointer(pointer).and_then(Value::as_u64);
    found.unwrap_or_else(|| panic!("{pointer} is no number in {value:#}"))
}

/// Where `pointer` leads in all threads together.
#[track_caller]
fn sum(report: &Value, pointer: &str) -> u64 {
    threads(report)
        .map(|(_, thread)| number(thread, pointer))
        .sum()
}

/// Two pipes on a CPU each, and a collector that was stopped while they went on.
struct Stopped {
    report: Value,
    pipes: [(Pipe, BTreeMap<u32, Counted>); 2],
    /// Between these nothing was read, and nothing was left to be written to, on the clock of the report.
    from: u64,
    to: u64,
}

/// None where there are no two CPUs to pin to.
#[track_caller]
fn with_a_stopped_collector(
    test: &str,
    args: impl Fn(&[Pipe; 2]) -> Vec<String>,
) -> Option<Stopped> {
    let [one, two, ..] = allowed_cpus()[..] else {
        na(test, "needs two CPUs");
        return None;
    };
    let mut pipes = [one, two].map(Pipe::born);
    let live = Live::start(&[&["--buffer".into(), "64KiB".into()], &args(&pipes)[..]].concat());
    pipes.iter_mut().for_each(Pipe::open);
    pipes.iter().for_each(|pipe| pipe.goes_on_for(MANY));
    live.signal(Signal::STOP);
    until("the collector is stopped", || {
        status(live.id(), "State:").is_some_and(|state| state.starts_with('T'))
    });
    pipes.iter().for_each(|pipe| pipe.goes_on_for(MANY));
    let from = monotonic();
    until("time has passed", || monotonic() >= from + STOPPED_NS);
    let to = monotonic();
    live.signal(Signal::CONT);
    pipes.iter().for_each(|pipe| pipe.goes_on_for(MANY));
    let pipes = pipes.map(|pipe| {
        let counted = pipe.stopped();
        (pipe, counted)
    });
    let Traced { outcome, report } = live.interrupt();
    outcome.expect_code(0);
    check_lossy_report(&report);
    let start = number(&report, "/window/start_monotonic_ns");
    Some(Stopped {
        report,
        pipes,
        from: from - start,
        to: to - start,
    })
}

/// Degraded, and in words: how much is missing, where, and what helps.
#[track_caller]
fn expect_degraded(report: &Value) {
    let quality = &report["quality"];
    assert_eq!(quality["verdict"], "degraded", "{quality:#}");
    let reasons = quality["reasons"].to_string();
    let lost = ["lost_records", "lost_switches"].map(|key| quality[key].to_string());
    for part in [
        &format!("{} records found no room", lost[0]),
        "--buffer",
        &format!("{} context switches are missing", lost[1]),
        "lies in holes",
    ] {
        assert!(reasons.contains(part), "no {part:?} in {reasons}");
    }
}

/// A program that has read the clock may lose its CPU to the hypervisor before it finds room: what it
/// announces then is older than the moment from which there was room.
const HELD_UP_NS: u64 = STOPPED_NS / 20;

/// Each CPU has a hole that covers the time in which nothing could be told.
#[track_caller]
fn expect_holes(stopped: &Stopped) {
    let Stopped { report, pipes, .. } = stopped;
    let window = number(report, "/window/duration_ns");
    let holes = list(&report["quality"], "longest_holes");
    assert!(number(report, "/quality/holes") >= holes.len() as u64);
    for (pipe, _) in pipes {
        let covers = |hole: &&Value| {
            let from = hole["from_ns"].as_u64();
            let to = hole["to_ns"].as_u64();
            hole["cpu"] == pipe.cpu()
                && from.is_some_and(|from| from <= stopped.from)
                && to.is_some_and(|to| to + HELD_UP_NS >= stopped.to && to <= window)
        };
        let hole = holes.iter().find(covers);
        let hole = hole.unwrap_or_else(|| {
            let (from, to) = (stopped.from, stopped.to);
            panic!("none of CPU {} covers {from}..{to}: {holes:#?}", pipe.cpu())
        });
        // At least those of the switches that were waited for to know that the ring is full.
        assert!(number(hole, "/records") > MANY / 2, "{hole:#}");
    }
}

#[test]
fn what_a_stopped_collector_loses_is_known_to_the_switch() {
    let test = "what_a_stopped_collector_loses_is_known_to_the_switch";
    let stopped = with_a_stopped_collector(test, |pipes| {
        let of = |pipe: &Pipe| ["--pid".to_owned(), pipe.pid()];
        pipes.iter().flat_map(of).collect()
    });
    let Some(stopped) = stopped else { return };
    let report = &stopped.report;
    expect_degraded(report);
    expect_holes(&stopped);
    let mut lost = 0;
    for (pipe, counted) in &stopped.pipes {
        expect_same(report, pipe, counted, FIRST_LOOK_NS);
    }
    for (_, thread) in threads(report) {
        let counted = ["voluntary", "involuntary"].map(|class| &thread["switches"][class]);
        let counted: u64 = counted.iter().filter_map(|count| count.as_u64()).sum();
        let kinds = thread["kinds"].as_object().expect("kinds").values();
        let told: u64 = kinds.filter_map(Value::as_u64).sum();
        assert_eq!(
            counted - told,
            number(thread, "/lost_switches"),
            "{thread:#}"
        );
        lost += counted - told;
    }
    assert_eq!(lost, number(report, "/quality/lost_switches"));
    // Each pipe went on for so many while nobody read.
    assert!(lost > MANY, "{lost}");
    // Both sides of both pipes were in the dark as long as the collector was: the counters tell how much of
    // it they ran and waited, the rest is not known. One in a hundred for what fits beside a full ring.
    let dark = (stopped.to - stopped.from) / 100 * 99;
    let in_the_dark = |thread: &&Value| number(thread, "/unknown_ns") + healed(thread) >= dark;
    let all = threads(report).map(|(_, thread)| thread);
    let sides: Vec<&Value> = all.filter(in_the_dark).collect();
    assert_eq!(sides.len(), 4, "{report:#}");
    for thread in sides {
        assert!(number(thread, "/unknown_ns") > 0, "{thread:#}");
        assert!(number(thread, "/lost_switches") > MANY / 4, "{thread:#}");
    }
}

/// Run and wait that only the kernel's counters tell.
#[track_caller]
fn healed(thread: &Value) -> u64 {
    let part = |of: &str| {
        let covered = thread["covered"][of].as_f64().unwrap_or(1.0);
        number(thread, &format!("/{of}_ns")) as f64 * (1.0 - covered)
    };
    (part("run") + part("wait")) as u64
}

#[test]
fn of_the_whole_system_every_lost_switch_is_counted() {
    let counters = Counters::start();
    let test = "of_the_whole_system_every_lost_switch_is_counted";
    let Some(stopped) = with_a_stopped_collector(test, |_| Vec::new()) else {
        return;
    };
    let report = &stopped.report;
    let grown = growth(counters, report);
    expect_degraded(report);
    expect_holes(&stopped);
    for (pipe, counted) in &stopped.pipes {
        expect_same(report, pipe, counted, FIRST_LOOK_NS);
    }
    let [received, lost] = ["received_switches", "lost_switches"]
        .map(|key| number(&report["quality"], &format!("/{key}")));
    // The edges of `received` are the window's; those of the CPUs' counts are a moment later, see
    // [`expect_near`].
    let missing = number(report, "/system/switches") - received;
    assert!(
        missing <= lost && lost - missing <= slack(lost),
        "{missing}, {lost}"
    );
    assert!(lost > MANY, "{lost}");
    // What the threads' own numbers prove is a part of it; the rest left the idle threads, or are of
    // threads that nobody saw again.
    let proved = sum(report, "/lost_switches");
    assert!(proved > MANY && proved <= lost, "{proved} of {lost}");
    expect_near(number(report, "/system/switches"), &grown);
}

#[track_caller]
fn growth(counters: Counters, report: &Value) -> Bounds {
    let of = |key: &str| number(report, &format!("/window/{key}"));
    counters
        .growth(of("start_monotonic_ns"), of("duration_ns"))
        .0
}

fn slack(switches: u64) -> u64 {
    switches / 1_000 + cpus()
}

/// The CPUs' counts are read a moment after the window begins and a moment after it ends, and on a busy
/// machine a moment may be long. The load is at rest by then: what others do in it is far from 0.1 %.
#[track_caller]
fn expect_near(switches: u64, grown: &Bounds) {
    let slack = slack(*grown.end());
    let bounds = grown.start() - slack..=grown.end() + slack;
    assert!(bounds.contains(&switches), "{switches} not in {bounds:?}");
}

/// From `-v`: how often the programs ran, how many records they wrote and how many they lost.
#[track_caller]
fn counts(outcome: &Outcome) -> [u64; 3] {
    let text = outcome.stderr();
    let line = text.lines().find(|line| line.starts_with("detached;"));
    let line = line.unwrap_or_else(|| panic!("no counts in:\n{text}"));
    let numbers = line.split(' ').filter_map(|word| word.parse().ok());
    let numbers: Vec<u64> = numbers.collect();
    numbers.try_into().expect("three numbers")
}

#[test]
fn who_is_not_asked_for_is_counted_and_not_told() {
    let cpu = allowed_cpus().pop().expect("at least one CPU");
    let sleeper = background("sleep", &["1000"]);
    let counters = Counters::start();
    let mut pipe = Pipe::held(cpu);
    let live = Live::start(&["-v", "--pid", &sleeper.id().to_string()]);
    pipe.open();
    pipe.goes_on_for(200_000);
    let counted = pipe.stopped();
    let Traced { outcome, report } = live.interrupt();
    outcome.expect_code(0);
    let grown = growth(counters, &report);
    expect_valid(&report);
    let [ran, wrote, lost] = counts(&outcome);
    assert!(ran > 100_000, "{ran}");
    assert!(wrote < 1_000 && lost == 0, "{wrote}, {lost} lost");
    let tids: Vec<_> = threads(&report).map(|(_, thread)| &thread["tid"]).collect();
    assert_eq!(tids, [sleeper.id()]);

    let switches = number(&report, "/system/switches");
    assert!(switches > 200_000, "{switches}");
    expect_near(switches, &grown);
    let window = number(&report, "/window/duration_ns");
    let rows = list(&report["system"], "cpus");
    assert_eq!(rows.len() as u64, cpus());
    for row in rows {
        let [busy, idle] = ["/busy_ns", "/idle_ns"].map(|key| number(row, key));
        assert!((busy + idle).abs_diff(window) <= window / 1_000, "{row:#}");
    }
    // All of the pipe was on its CPU, and in the window.
    let row = rows.iter().find(|row| row["cpu"] == cpu).expect("its CPU");
    let of_pipe: u64 = counted.values().map(Counted::switches).sum();
    let run_ns: u64 = counted.values().map(|thread| thread.run_ns).sum();
    assert!(number(row, "/switches") >= of_pipe, "{of_pipe}: {row:#}");
    // Two ticks of a slow clock: their run time moves with it.
    assert!(
        number(row, "/busy_ns") + 20_000_000 >= run_ns,
        "{run_ns}: {row:#}"
    );
}

#[test]
fn a_busy_target_is_told_completely() {
    let cpu = allowed_cpus().pop().expect("at least one CPU");
    let mut pipe = Pipe::held(cpu);
    // Beside other builds and tests the collector is late: it gets the room to be.
    let live = Live::start(&["-v", "--buffer", "256MiB", "--pid", &pipe.pid()]);
    pipe.open();
    pipe.goes_on_for(200_000);
    let counted = pipe.stopped();
    let Traced { outcome, report } = live.interrupt();
    outcome.expect_code(0);
    expect_valid(&report);
    expect_same(&report, &pipe, &counted, 0);
    let [_, wrote, lost] = counts(&outcome);
    assert!(wrote > 200_000 && lost == 0, "{wrote}, {lost} lost");
    let switches: u64 = counted.values().map(Counted::switches).sum();
    assert!(switches > 200_000, "{switches}");
    assert_eq!(sum(&report, "/lost_switches"), 0);
    for (_, thread) in threads(&report) {
        for share in ["switches", "run", "wait"] {
            let covered = &thread["covered"][share];
            assert!(
                covered.is_null() || *covered == 1.0,
                "{share} of {thread:#}"
            );
        }
    }
}
