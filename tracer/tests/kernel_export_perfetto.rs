//! Exports for Perfetto, read by Perfetto's own descriptors: what a trace adds up to is what the report says.
//!
//! `support/read_perfetto.py` checks what holds for every trace, and asks it in the SQL of docs/EXPORTS.md.

mod support;

use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;
use support::check::{check_lossy_report, check_report, list};
use support::machine::background_workload;
use support::python::python;
use support::{Running, binary, threads, tracer};

const READER: &str = include_str!("support/read_perfetto.py");
const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/EXPORTS.md");
const STATES: [&str; 6] = ["run", "wait", "sleep", "block", "stopped", "unknown"];

struct Exported {
    report: Value,
    /// What the reader found.
    trace: Value,
}

/// What there is to say of a recording, in both ways.
#[track_caller]
fn exported(recording: &Path) -> Exported {
    exported_from(recording, &[], &[])
}

/// Of a part of the time, as each of the two is asked for it.
#[track_caller]
fn exported_from(recording: &Path, report_of: &[&str], export_of: &[&str]) -> Exported {
    let name = recording.display().to_string();
    let args = ["report", &name, "--slower", "2ms", "--format", "json"];
    let report = tracer(args.iter().chain(report_of));
    report.expect_code(0);
    let trace = recording.with_extension("perfetto-trace");
    let to = trace.display().to_string();
    let args = [
        "export", &name, "--to", "perfetto", "--slower", "2ms", "-o", &to,
    ];
    tracer(args.iter().chain(export_of)).expect_code(0);
    let found = python(READER, [to.as_str(), PAGE]);
    Exported {
        report: report.json(),
        trace: serde_json::from_str(&found).expect("the reader prints JSON"),
    }
}

/// Records a command.
#[track_caller]
fn recorded(command: &[&str]) -> Exported {
    let dir = tempfile::tempdir().expect("a directory");
    let recording = dir.path().join("recording");
    record(command, &recording);
    exported(&recording)
}

#[track_caller]
fn record(command: &[&str], to: &Path) {
    let mut record = binary();
    record.arg("record").arg("-o").arg(to).arg("--");
    Running::start(record.args(command)).finish().expect_code(0);
}

#[track_caller]
fn number(value: &Value) -> i64 {
    value
        .as_i64()
        .unwrap_or_else(|| panic!("no number: {value}"))
}

#[track_caller]
fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}"))
}

/// How many slices or events of this name there are on tracks that are no CPU's.
fn named(trace: &Value, name: &str) -> i64 {
    trace["names"][name].as_i64().unwrap_or(0)
}

/// A list in an order of its own: tids are used again, so that they cannot be keys.
fn sorted<T: Ord>(rows: impl IntoIterator<Item = T>) -> Vec<T> {
    let mut rows: Vec<T> = rows.into_iter().collect();
    rows.sort_unstable();
    rows
}

#[track_caller]
fn expect_equal<T: std::fmt::Debug + Ord>(what: &str, report: Vec<T>, trace: Vec<T>) {
    assert!(!report.is_empty(), "{what}: nothing to compare");
    let missing = report.iter().find(|row| trace.binary_search(row).is_err());
    let added = trace.iter().find(|row| report.binary_search(row).is_err());
    assert!(
        report == trace,
        "{what}: only in the report {missing:?}, only in the trace {added:?}"
    );
}

/// The tid of its track: a number that it got by exec is another one.
#[track_caller]
fn first_tid(thread: &Value) -> i64 {
    thread["was_tid"]
        .as_i64()
        .unwrap_or_else(|| number(&thread["tid"]))
}

/// Run time and switches of each thread, by the SQL of the page.
#[track_caller]
fn expect_the_same_totals(Exported { report, trace }: &Exported) {
    let window = number(&report["window"]["duration_ns"]);
    assert!(number(&trace["first"]) >= 0 && number(&trace["last"]) <= window);
    assert_eq!(trace["clocks"]["3"], report["window"]["start_monotonic_ns"]);
    assert_eq!(trace["gaps"], 0, "the slices of a thread follow each other");
    let run = |thread: &Value| {
        let (tid, comm) = (first_tid(thread), text(&thread["comm"]).to_owned());
        (tid, comm, number(&thread["run_ns"]))
    };
    let row = |row: &Value| (number(&row[0]), text(&row[1]).to_owned(), number(&row[2]));
    expect_equal(
        "run time",
        sorted(threads(report).map(|(_, thread)| run(thread))),
        sorted(list(trace, "run").iter().map(row)),
    );
    let switches = |thread: &Value| {
        let switches = &thread["switches"];
        [
            first_tid(thread),
            number(&switches["voluntary"]),
            number(&switches["involuntary"]),
        ]
    };
    let row = |row: &Value| [number(&row[0]), number(&row[2]), number(&row[3])];
    expect_equal(
        "switches",
        sorted(threads(report).map(|(_, thread)| switches(thread))),
        sorted(list(trace, "switches").iter().map(row)),
    );
    let count = number(&report["spikes_total"]);
    assert_eq!(named(trace, "spike"), count.min(1_000), "spikes");
    assert_eq!(named(trace, text(&report["quality"]["verdict"])), 1);
}

/// Nothing was lost: all states are told to the nanosecond, by slices alone, and each run has its place on a CPU.
#[track_caller]
fn expect_all_in_slices(exported: &Exported) {
    let Exported { report, trace } = exported;
    check_report(report);
    assert_eq!(report["quality"]["lost_records"], 0);
    expect_the_same_totals(exported);
    let times = |thread: &Value| {
        STATES.map(|state| {
            let key = format!("{state}_ns");
            (number(&thread["tid"]), state, number(&thread[key.as_str()]))
        })
    };
    let states = list(trace, "totals").iter().map(|row| {
        let state = STATES.into_iter().find(|state| row[2] == **state);
        let state = state.expect("a state of the schema");
        (number(&row[0]), state, number(&row[1]))
    });
    expect_equal(
        "states",
        sorted(threads(report).flat_map(|(_, thread)| times(thread))),
        sorted(states),
    );
    assert_eq!(trace["only_on_threads"], 0);
    let waited: i64 = threads(report)
        .map(|(_, thread)| number(&thread["wait_ns"]))
        .sum();
    let counted = trace["waited"].as_f64().expect("a number");
    let error = (counted - waited as f64).abs();
    assert!(
        error <= 1e-9 * waited as f64,
        "{waited} ns were waited, the counter says {counted}"
    );
}

#[test]
fn a_trace_adds_up_to_the_report() {
    let tracer = env!("CARGO_BIN_EXE_tracer");
    let script =
        format!("{tracer} workload demo --duration 1s & {tracer} workload hostile-names; wait");
    let exported = recorded(&["sh", "-c", &script]);
    expect_all_in_slices(&exported);
    let Exported { report, trace } = &exported;
    for (name, least) in [
        ("run", 1_000),
        ("wait", 1_000),
        ("sleep", 500),
        ("wakes", 200),
    ] {
        assert!(named(trace, name) >= least, "{name}: {}", trace["names"]);
    }
    assert!(
        named(trace, "spike") > 0,
        "more threads than CPUs: somebody waits for 2 ms"
    );
    let spikes = list(trace, "spikes").iter().zip(list(report, "spikes"));
    for (ours, theirs) in spikes {
        assert_eq!(ours["debug.text"], theirs["text"]);
        assert_eq!(ours["debug.latency_ns"], theirs["latency_ns"]);
    }
    let names = list(trace, "tracks").iter().map(|track| text(&track[3]));
    let names = sorted(names);
    for name in [
        "\x1b[31mred\x1b[0m",
        "two\nlines\r",
        "bad\\xff\\xfe\\x80",
        "日本語",
        "   ",
    ] {
        assert!(
            names.binary_search(&name).is_ok(),
            "{name:?} is not in {names:?}"
        );
    }
    for name in ["CPUs", "CPU 0", "Waiting threads", "Verdict"] {
        assert!(
            names.binary_search(&name).is_ok(),
            "{name:?} is not in {names:?}"
        );
    }
    for key in [
        "cpu",
        "cause",
        "syscall",
        "waker",
        "waited_for.by",
        "gave_way_to",
        "woken",
    ] {
        let key = Value::from(format!("debug.{key}"));
        assert!(
            list(trace, "keys").contains(&key),
            "{key} is not in {}",
            trace["keys"]
        );
    }
    let longest = list(trace, "waits");
    assert_eq!(longest.len(), 20, "waits with causes");
    assert!(
        longest
            .iter()
            .all(|wait| wait[4].is_string() && wait[5].is_string())
    );
}

#[test]
fn a_part_of_the_time_is_a_trace_that_adds_up() {
    let dir = tempfile::tempdir().expect("a directory");
    let recording = dir.path().join("recording");
    let tracer = env!("CARGO_BIN_EXE_tracer");
    record(
        &[tracer, "workload", "demo", "--duration", "1s"],
        &recording,
    );
    let part = ["--from", "250ms", "--to", "750ms"];
    let exported = exported_from(&recording, &part, &["--from", "250ms", "--until", "750ms"]);
    assert_eq!(exported.report["window"]["duration_ns"], 500_000_000);
    expect_all_in_slices(&exported);
}

/// Who woke whom: the arrows are what the report counts, but for what an edge of the window cuts.
#[test]
fn wake_ups_are_arrows() {
    let tracer = env!("CARGO_BIN_EXE_tracer");
    let command = [tracer, "workload", "pingpong-threads"];
    let Exported { report, trace } = recorded(&command);
    let mut compared = 0;
    for (_, woken) in threads(&report) {
        for waker in list(woken, "woken_by") {
            let count = number(&waker["count"]);
            if waker["kind"] != "thread" || waker["tid"] == woken["tid"] || count < 100 {
                continue;
            }
            let pair = |row: &&Value| row[1] == waker["tid"] && row[3] == woken["tid"];
            let found = list(&trace, "wakeups").iter().find(pair);
            let arrows = found.map_or(0, |row| number(&row[4]));
            assert!(
                (count - 2..=count).contains(&arrows),
                "{arrows} arrows for {waker:#}"
            );
            compared += 1;
        }
    }
    assert!(
        compared >= 2,
        "two threads that wake each other: {:#}",
        trace["wakeups"]
    );
}

#[test]
fn a_thread_that_changes_its_number_keeps_its_track() {
    let tracer = env!("CARGO_BIN_EXE_tracer");
    let Exported { report, trace } = recorded(&[tracer, "workload", "exec-nonleader"]);
    assert_eq!(named(&trace, "renumbered"), 1, "{}", trace["names"]);
    let renumbered = threads(&report).find(|(_, thread)| thread["was_tid"].is_u64());
    let (_, thread) = renumbered.expect("one that called exec");
    let track = list(&trace, "run")
        .iter()
        .find(|row| row[0] == thread["was_tid"]);
    let track = track.expect("its track has its first number");
    assert_eq!(track[2], thread["run_ns"]);
}

#[test]
fn what_only_counters_tell_is_in_the_sums() {
    let load = background_workload(&["demo", "--duration", "8s"]);
    let dir = tempfile::tempdir().expect("a directory");
    let recording = dir.path().join("recording");
    let mut record = binary();
    record.args(["record", "--buffer", "64KiB", "--duration", "2s"]);
    record.args(["--pid", &load.id().to_string(), "-o"]);
    let recorder = Running::start(record.arg(&recording));
    // For a while nobody reads what the kernel writes.
    sleep(Duration::from_millis(800));
    recorder.signal(Signal::STOP);
    sleep(Duration::from_millis(600));
    recorder.signal(Signal::CONT);
    recorder.finish().expect_code(0);
    drop(load);
    let exported = exported(&recording);
    let Exported { report, trace } = &exported;
    check_lossy_report(report);
    assert!(
        number(&report["quality"]["lost_records"]) > 1_000,
        "{}",
        report["quality"]
    );
    assert!(
        named(trace, "known from counters alone") >= 2,
        "{}",
        trace["names"]
    );
    assert!(named(trace, "unknown") >= 1, "{}", trace["names"]);
    expect_the_same_totals(&exported);
}
