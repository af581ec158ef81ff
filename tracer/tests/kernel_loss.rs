//! What is told when records are lost, what is told when almost nothing is recorded, and what bounds the
//! tracer: against the kernel's own counters, read from outside.

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use rustix::process::Signal;
use serde_json::Value;
use support::check::{check_report, list};
use support::machine::{
    Bounds, Counters, allowed_cpus, background, cpus, monotonic, status, until,
};
use support::pipe::{Counted, Pipe, expect_same};
use support::trace::{Live, Traced, expect_valid, traced};
use support::{Outcome, Running, binary, na, threads, tracer};

/// For how long nobody reads the rings.
const STOPPED_NS: u64 = 2_000_000_000;
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
    let mut pipes = [one, two].map(Pipe::held);
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
    check_report(&report);
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

/// Each CPU has a hole that covers all the time in which nothing could be told.
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
                && to.is_some_and(|to| to >= stopped.to && to <= window)
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
        expect_same(report, pipe, counted);
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
        expect_same(report, pipe, counted);
    }
    let [received, lost] = ["received_switches", "lost_switches"]
        .map(|key| number(&report["quality"], &format!("/{key}")));
    assert_eq!(number(report, "/system/switches") - received, lost);
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

/// The CPUs' counts are read a moment after the window begins and a moment after it ends, and on a busy
/// machine a moment may be long. The load is at rest by then: what others do in it is far from 0.1 %.
#[track_caller]
fn expect_near(switches: u64, grown: &Bounds) {
    let slack = grown.end() / 1_000 + cpus();
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
    let live = Live::start(&["-v", "--pid", &pipe.pid()]);
    pipe.open();
    pipe.goes_on_for(200_000);
    let counted = pipe.stopped();
    let Traced { outcome, report } = live.interrupt();
    outcome.expect_code(0);
    expect_valid(&report);
    expect_same(&report, &pipe, &counted);
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

/// The kernel's numbers of all programs that a process has links to; empty when it is gone.
fn programs_of(pid: u32) -> BTreeSet<u32> {
    let files = fs::read_dir(format!("/proc/{pid}/fdinfo")).into_iter();
    let program = |entry: fs::DirEntry| {
        let text = fs::read_to_string(entry.path()).ok()?;
        let of = |key: &str| text.lines().find_map(|line| line.strip_prefix(key));
        of("link_type:")?;
        of("prog_id:")?.trim().parse().ok()
    };
    files.flatten().flatten().filter_map(program).collect()
}

fn still_loaded(programs: &BTreeSet<u32>) -> bool {
    let loaded = aya::programs::loaded_programs().filter_map(Result::ok);
    loaded
        .into_iter()
        .any(|program| programs.contains(&program.id()))
}

/// A busy pipe, and a run that would go on for a minute; also the programs that it had attached.
#[track_caller]
fn limited(limit: &str, args: &[&str]) -> (Outcome, BTreeSet<u32>) {
    let cpu = allowed_cpus().pop().expect("at least one CPU");
    let mut pipe = Pipe::held(cpu);
    pipe.open();
    pipe.goes_on_for(MANY);
    let mut command = binary();
    command.args(["run", "--max-overhead", limit]).args(args);
    let running = Running::start(&mut command);
    let mut programs = BTreeSet::new();
    until("it ends by itself", || {
        programs.append(&mut programs_of(running.id()));
        running.has_ended()
    });
    (running.finish(), programs)
}

#[test]
fn who_takes_too_much_of_the_machine_stops() {
    // Looking at it must not come too late: a trace of which too much is known soon ends in half a second.
    let _ = rustix::process::setpriority_process(None, -20);
    for format in ["json", "table"] {
        let args = ["--duration", "60s", "--format", format];
        let (outcome, programs) = limited("0.1", &args);
        outcome.expect_code(0);
        if format == "json" {
            let report = outcome.json();
            check_report(&report);
            assert_eq!(report["window"]["end_reason"], "max_overhead");
            assert!(number(&report, "/window/duration_ns") < 60_000_000_000);
            let percent = report["cost"]["cpu_percent_of_machine"].as_f64();
            assert!(percent > Some(0.1), "{:#}", report["cost"]);
        } else {
            let text = outcome.stdout();
            let line = text.lines().find(|line| line.starts_with("Traced"));
            let line = line.unwrap_or_else(|| panic!("no such line in:\n{text}"));
            assert!(line.contains("--max-overhead"), "{line}");
        }
        assert!(programs.len() > 5, "{programs:?}");
        // The kernel takes them down some time after the last file is closed.
        until("the programs are gone", || !still_loaded(&programs));
    }
}

#[test]
fn who_keeps_to_the_limit_goes_on() {
    let args = ["--duration", "1500ms", "--format", "json"];
    let (outcome, _) = limited("100", &args);
    outcome.expect_code(0);
    let report = outcome.json();
    check_report(&report);
    assert_eq!(report["window"]["end_reason"], "duration");
    assert!(number(&report, "/window/duration_ns") >= 1_500_000_000);
}

#[test]
fn a_limit_that_is_none_is_wrong_usage() {
    for limit in ["0", "-1", "x", "101", "", "nan", "inf", "0.0%"] {
        let outcome = tracer(["run", &format!("--max-overhead={limit}")]);
        outcome.expect_code(2);
        let text = outcome.stderr();
        assert_eq!(text.lines().count(), 1, "{text}");
        for part in ["error: ", "--max-overhead", "per cent"] {
            assert!(text.contains(part), "no {part:?} in {text}");
        }
        assert!(outcome.stdout.is_empty(), "{}", outcome.stdout());
    }
}

/// Traces this many births of a pattern with few rows: the births counted, and the tracer's peak memory.
#[track_caller]
fn births(pattern: &str, count: u64) -> u64 {
    let count_text = count.to_string();
    // Nothing is to be lost: a birth that nobody tells of is no birth.
    let mut args = vec!["--max-threads", "100", "--buffer", "16MiB", "--"];
    args.extend([env!("CARGO_BIN_EXE_tracer"), "workload", pattern]);
    args.extend(["--count", &count_text]);
    let Traced { outcome, report } = traced(&args);
    outcome.expect_code(0);
    check_report(&report);
    let quality = &report["quality"];
    if quality["verdict"] != "valid" {
        let stated = ["lost_records", "missed_events"].map(|key| quality[key].as_u64());
        assert!(stated.iter().any(|lost| *lost > Some(0)), "{quality:#}");
    }
    // Nobody is merged with anybody, whether with a row or without.
    let rows = threads(&report).count() as u64;
    let folded = number(quality, "/folded_threads");
    assert_eq!(rows + folded, count + 1, "{quality:#}");
    assert_eq!(number(&report, "/target/threads"), count + 1);
    let totals: u64 = list(&report, "processes")
        .iter()
        .map(|process| number(process, "/threads_total"))
        .sum();
    assert_eq!(totals, count + 1);
    assert!(rows < 100 + 2, "{rows} rows");
    number(&report, "/cost/collector_max_rss_bytes")
}

/// What ended costs its share of a sum, however many ended.
#[test]
fn memory_does_not_grow_with_births() {
    for (pattern, few) in [("short-threads", 2_000), ("short-processes", 250)] {
        let small = births(pattern, few);
        let large = births(pattern, 8 * few);
        assert!(
            large <= small + (6 << 20),
            "{pattern}: {small} bytes for {few}, {large} for eight times as many"
        );
    }
}

/// Drains while nothing comes: ten a second, and those before the tracer knows that nothing does (10, 20,
/// 40, 80 ms), the looks at the target and at the CPUs' counts, and what waits for the kernel.
fn idle_visits(duration_ns: u64) -> u64 {
    duration_ns / 100_000_000 + 15
}

#[test]
fn an_idle_host_is_visited_ten_times_a_second() {
    // Ring traffic of a whole system that others use is not ours to choose; with this much room it is idle
    // all the same.
    let args = ["--duration", "3s", "--buffer", "64MiB"];
    let Traced { outcome, report } = traced(&args);
    outcome.expect_code(0);
    check_report(&report);
    let own: Vec<_> = threads(&report)
        .filter(|(_, thread)| thread["own"] == true)
        .collect();
    let [(_, own)] = own[..] else {
        panic!("not one thread of the tracer: {own:#?}");
    };
    let visits = number(own, "/switches/voluntary");
    let most = idle_visits(number(&report, "/window/duration_ns"));
    // Less than this, and nobody would know of an interval or a signal in time.
    assert!((20..=most).contains(&visits), "{visits}, {most} at most");
}

/// However much others switch: what is not told needs no reading.
#[test]
fn others_do_not_wake_who_watches_a_sleeper() {
    let cpu = allowed_cpus().pop().expect("at least one CPU");
    let sleeper = background("sleep", &["1000"]);
    let mut pipe = Pipe::held(cpu);
    pipe.open();
    pipe.goes_on_for(MANY);
    let pid = sleeper.id().to_string();
    let tracer = Running::start(binary().args(["run", "--pid", &pid]));
    let visits = || {
        let line = status(tracer.id(), "voluntary_ctxt_switches:");
        line.and_then(|count| count.parse::<u64>().ok())
    };
    until("it traces", || programs_of(tracer.id()).len() > 5);
    let (from, before) = (monotonic(), visits());
    until("time has passed", || monotonic() >= from + 3_000_000_000);
    let (after, to) = (visits(), monotonic());
    assert!(!tracer.has_ended(), "{}", tracer.finish().stderr());
    pipe.goes_on_for(MANY);
    let visits = after.expect("it runs") - before.expect("it runs");
    let most = idle_visits(to - from);
    assert!(visits <= most, "{visits}, {most} at most");
    tracer.signal(Signal::INT);
    tracer.finish().expect_code(0);
}
