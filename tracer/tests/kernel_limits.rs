//! What bounds the tracer: a share of the machine, memory, and how often it wakes up.

mod support;

use std::collections::BTreeSet;
use std::fs;

use rustix::process::Signal;
use serde_json::Value;
use support::check::{check_lossy_report, list};
use support::machine::{allowed_cpus, background, monotonic, status, until};
use support::pipe::Pipe;
use support::trace::{Traced, traced};
use support::{Outcome, Running, binary, threads, tracer};

/// Switches after which a pipe is a load.
const MANY: u64 = 50_000;

#[track_caller]
fn number(value: &Value, pointer: &str) -> u64 {
    let found = value.pointer(pointer).and_then(Value::as_u64);
    found.unwrap_or_else(|| panic!("{pointer} is no number in {value:#}"))
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
            check_lossy_report(&report);
            assert_eq!(report["window"]["end_reason"], "max_overhead");
            assert!(number(&report, "/window/duration_ns") < 60_000_000_000);
            let percent = report["cost"]["cpu_percent_of_machine"].as_f64();
            assert!(percent > Some(0.1), "{:#}", report["cost"]);
        } else {
            let text = outcome.stdout();
            // As wide as the output is, it goes on in the next line.
            let lines = text.split_once("Traced ").map(|(_, rest)| rest);
            let lines = lines.and_then(|rest| rest.split_once("\nVerdict "));
            let (line, _) = lines.unwrap_or_else(|| panic!("no such line in:\n{text}"));
            let line = line.split_whitespace().collect::<Vec<_>>().join(" ");
            assert!(
                line.ends_with("until --max-overhead was exceeded"),
                "{line}"
            );
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
    check_lossy_report(&report);
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
    let mut args = vec!["--max-threads", "100", "--max-forks", "100"];
    args.extend(["--buffer", "64MiB", "--"]);
    args.extend([env!("CARGO_BIN_EXE_tracer"), "workload", pattern]);
    args.extend(["--count", &count_text]);
    let Traced { outcome, report } = traced(&args);
    outcome.expect_code(0);
    check_lossy_report(&report);
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
    let args = ["--duration", "3s", "--buffer", "64MiB"];
    let Traced { outcome, report } = traced(&args);
    outcome.expect_code(0);
    check_lossy_report(&report);
    let own: Vec<_> = threads(&report)
        .filter(|(_, thread)| thread["own"] == true)
        .collect();
    let [(_, own)] = own[..] else {
        panic!("not one thread of the tracer: {own:#?}");
    };
    let visits = number(own, "/switches/voluntary");
    // What others do meanwhile is not ours to choose: a 64th of a ring is no idle host, and is fetched so
    // much sooner that it may have taken some visits.
    let bytes = number(&report, "/quality/received_switches") * 160;
    let busy = 4 * (bytes / (1 << 20));
    let most = idle_visits(number(&report, "/window/duration_ns")) + busy;
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
