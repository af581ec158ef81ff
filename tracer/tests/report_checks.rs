//! The checker of reports must itself find what is wrong: each case breaks one number of a good report.

mod support;

use serde_json::{Value, json};
use std::process::Command;
use std::time::Duration;
use support::check::{check_report, problems};

use support::{Running, na, threads};

/// As the JSON format writes it: keys that are renamed there fail here.
fn good() -> Value {
    let snapshot =
        include_str!("../src/output/json/snapshots/tracer__output__json__tests__json_valid.snap");
    let (_, document) = snapshot
        .split_once("\n---\n")
        .expect("a header and a document");
    serde_json::from_str(document).expect("JSON")
}

#[track_caller]
fn set(report: &mut Value, pointer: &str, value: Value) {
    *report
        .pointer_mut(pointer)
        .unwrap_or_else(|| panic!("no {pointer}")) = value;
}

/// Exactly the broken promise is found, and it is found.
#[track_caller]
fn breaks(changes: &[(&str, Value)], expected: &str) {
    let mut report = good();
    for (pointer, value) in changes {
        set(&mut report, pointer, value.clone());
    }
    let found = problems(&report);
    assert!(
        found.iter().any(|problem| problem.contains(expected)),
        "{expected:?} is not in {found:#?}"
    );
}

const THREAD: &str = "/processes/0/threads/0";

fn of_thread(key: &str) -> String {
    format!("{THREAD}{key}")
}

#[test]
fn a_good_report_passes() {
    check_report(&good());
    assert_eq!(threads(&good()).count(), 6);
}

#[test]
fn nothing_at_all_does_not_pass() {
    assert!(!problems(&json!({})).is_empty());
    assert!(!problems(&json!({ "schema": "tracer.report.v1" })).is_empty());
}

#[test]
fn every_number_of_a_thread_is_looked_at() {
    let report = good();
    let is_checked = |pointer: &str| {
        let mut changed = report.clone();
        let value = changed.pointer_mut(pointer).expect(pointer);
        *value = json!(value.as_u64().expect(pointer) + 1_000_000_000_000);
        !problems(&changed).is_empty()
    };
    for key in [
        "lifetime_ns",
        "run_ns",
        "wait_ns",
        "sleep_ns",
        "block_ns",
        "stopped_ns",
        "unknown_ns",
        "wake_ns",
        "run_steal_ns",
        "wait_uncounted_ns",
        "iowait_ns",
        "switches/voluntary",
        "switches/involuntary",
        "switches/involuntary_yields",
        "kinds/idle",
        "kinds/same_process",
        "kinds/other_process",
        "kinds/kernel_thread",
        "address_space_changes",
        "migrations",
        "kernel/voluntary",
        "kernel/involuntary",
        "kernel/run_ns",
        "kernel/wait_ns",
        "wait/sum_ns",
        "wait/p50_ns",
        "wait/count",
        "wait/max_at_ns",
        "run_slice/sum_ns",
        "latency/p99_ns",
        "off_cpu/0/ns",
    ] {
        assert!(
            is_checked(&of_thread(&format!("/{key}"))),
            "{key} of a thread may be anything"
        );
    }
}

#[test]
fn time_that_is_lost_or_double_is_found() {
    let sleep = good()
        .pointer(&of_thread("/sleep_ns"))
        .and_then(Value::as_u64)
        .expect("sleep");
    breaks(
        &[(&of_thread("/sleep_ns"), json!(sleep - 1))],
        "and lifetime_ns is",
    );
    breaks(
        &[(&of_thread("/lifetime_ns"), Value::Null)],
        "/lifetime_ns is not a number",
    );
}

#[test]
fn a_switch_that_the_kernel_did_not_count_is_found() {
    breaks(
        &[(&of_thread("/kernel/voluntary"), json!(999))],
        "voluntary is 1000, the kernel's 999",
    );
    breaks(
        &[(&of_thread("/kernel/involuntary"), json!(1_441))],
        "involuntary is 1440, the kernel's 1441",
    );
}

#[test]
fn the_tolerance_of_wait_is_that_of_the_contract() {
    // 0.1 % of about 1.8 s, and 100 ns for each of 1440 involuntary switches.
    let wait = 1_800_000_000_u64;
    let tolerance = wait / 1_000 + 144_000;
    let with = |kernel: u64| {
        let mut report = good();
        set(&mut report, &of_thread("/kernel/wait_ns"), json!(kernel));
        problems(&report)
    };
    assert_eq!(with(wait - tolerance + 10_000), Vec::<String>::new());
    assert_eq!(with(wait - tolerance - 10_000).len(), 1);
    assert_eq!(with(wait + tolerance + 10_000).len(), 1);
}

#[test]
fn the_tolerance_of_run_is_that_of_the_contract() {
    // Short of a second, two ticks of 4 ms are more than 1 %.
    let kernel_run = "/processes/1/threads/0/kernel/run_ns";
    let run = good()
        .pointer(kernel_run)
        .and_then(Value::as_u64)
        .expect("run");
    let with = |kernel: u64| {
        let mut report = good();
        set(&mut report, kernel_run, json!(kernel));
        problems(&report)
    };
    assert_eq!(with(run + 14_000_000), Vec::<String>::new());
    assert_eq!(with(run + 16_000_000).len(), 1);
}

#[test]
fn a_difference_must_be_listed() {
    // The sample has one, of thread 4713, for a known reason.
    breaks(
        &[("/quality/mismatches", json!([]))],
        "thread 4713: wait_ns",
    );
    breaks(
        &[("/quality/mismatches/0/reason", Value::Null)],
        "unexplained mismatches",
    );
    breaks(
        &[("/quality/mismatches/0/reason", json!("bad luck"))],
        "unknown reason",
    );
    breaks(
        &[("/quality/mismatches/0/field", json!("run_ns"))],
        "thread 4713: wait_ns",
    );
}

#[test]
fn the_verdict_must_follow_from_the_rest() {
    breaks(&[("/quality/lost_records", json!(1))], "valid with losses");
    breaks(&[("/quality/missed_events", json!(1))], "valid with losses");
    breaks(
        &[("/quality/verdict", json!("degraded"))],
        "without a reason",
    );
    breaks(&[("/quality/verdict", json!("fine"))], "verdict is");
    breaks(
        &[("/quality/reasons", json!(["odd"]))],
        "valid with reasons",
    );
    breaks(
        &[("/quality/threads_matched", json!(4))],
        "of 6 threads 4 match",
    );
    breaks(
        &[
            (&of_thread("/unknown_ns"), json!(1)),
            (&of_thread("/lifetime_ns"), json!(10_000_000_001_u64)),
        ],
        "valid with 1 ns unknown",
    );
}

#[test]
fn a_process_is_the_sum_of_its_threads() {
    breaks(
        &[("/processes/0/totals/migrations", json!(16))],
        "total /migrations is Some(16)",
    );
    breaks(
        &[("/processes/0/totals/iowait_ns", Value::Null)],
        "total /iowait_ns is None",
    );
    breaks(
        &[("/processes/0/folded/threads", json!(0))],
        "its parts make",
    );
    breaks(&[("/processes/0/threads_total", json!(43))], "of 43");
}

#[test]
fn the_system_must_add_up() {
    breaks(
        &[("/system/from_idle", json!(4_099))],
        "13132 switches are not",
    );
    breaks(
        &[("/system/voluntary", Value::Null)],
        "some totals are null",
    );
    breaks(
        &[("/system/cpus/0/idle_ns", json!(1_889_000_000_u64))],
        "cpu 0: busy",
    );
}

#[test]
fn a_distribution_must_be_one() {
    breaks(
        &[(&of_thread("/wait/p50_ns"), json!(1_u64 << 60))],
        "quantiles out of order",
    );
    breaks(
        &[(&of_thread("/wait/count"), json!(0))],
        "empty, and not all null",
    );
    breaks(
        &[(&of_thread("/wait/min_ns"), Value::Null)],
        "quantiles out of order",
    );
    breaks(
        &[(&of_thread("/wait/sum_ns"), json!(1))],
        "do not sum up to 1",
    );
    breaks(
        &[(&of_thread("/wait/max_at_ns"), json!(10_000_000_001_u64))],
        "ended after the window",
    );
}

#[test]
fn an_ended_thread_has_counters() {
    breaks(
        &[("/processes/0/threads/2/kernel", Value::Null)],
        "ended, and no counters",
    );
}

#[test]
fn rows_are_sorted() {
    let mut report = good();
    report["processes"]
        .as_array_mut()
        .expect("processes")
        .reverse();
    assert_eq!(problems(&report), ["processes: not sorted by wait"]);
}

#[test]
fn what_a_kernel_lacks_is_said_somewhere() {
    // No file is named here: it goes to stderr, and must not fail.
    if std::env::var_os("TRACER_NA_FILE").is_none() {
        na("example", "this test only");
    }
}

#[test]
fn the_output_of_a_run_is_collected() {
    let outcome =
        Running::start(Command::new("sh").args(["-c", "echo out; echo err >&2; exit 3"])).finish();
    outcome.expect_code(3);
    assert_eq!(
        (outcome.stdout().as_str(), outcome.stderr().as_str()),
        ("out\n", "err\n")
    );
}

#[test]
#[should_panic(expected = "did not end in time")]
fn a_run_that_hangs_is_ended_with_its_children() {
    let hangs = Running::start(Command::new("sh").args(["-c", "sleep 60 & sleep 60"]));
    hangs.within(Duration::from_millis(100)).finish();
}

/// The good report with all of its first thread's waits explained: half by a thread, the rest by softirqs.
fn explained() -> Value {
    let mut report = good();
    let thread = report.pointer_mut(THREAD).expect("a thread");
    let wait = thread["wait_ns"].as_u64().expect("a wait");
    let half = wait.div_ceil(2);
    let who =
        |kind: &str| json!({ "kind": kind, "pid": 991, "tid": 992, "comm": "backup", "count": 2 });
    let softirq = json!({ "kind": "softirq", "pid": null, "tid": null, "comm": null, "count": 3, "ns": wait - half });
    let mut by = who("thread");
    by["ns"] = json!(half);
    thread["waited_for"] = json!([by, softirq]);
    thread["preempted_by"] = json!([by]);
    thread["woken_by"] = json!([who("thread")]);
    report["spikes"] = json!([{
        "at_ns": 5, "finished": true, "pid": 1, "tid": 1, "comm": "a", "cpu": 0, "latency_ns": 30, "wake_ns": 10,
        "wait_ns": 20, "cause": "woken", "text": "a 1 waited 30 ns for CPU 0 (woken)",
        "waited_for": [{ "kind": "unknown", "pid": null, "tid": null, "comm": null, "count": 1, "ns": 20 }],
    }]);
    report["spike_causes"] = json!([{ "kind": "unknown", "ns": 20, "share": 1.0 }]);
    report["insights"] = json!([{ "text": "a", "evidence": "b", "remedy": "c" }]);
    report
}

/// As [`breaks`], of what is said of waits.
#[track_caller]
fn misexplains(pointer: &str, value: Value, expected: &str) {
    let mut report = explained();
    set(&mut report, pointer, value);
    let found = problems(&report);
    assert!(
        found.iter().any(|problem| problem.contains(expected)),
        "{expected:?} is not in {found:#?}"
    );
}

#[test]
fn waits_must_be_explained_to_the_nanosecond() {
    check_report(&explained());
    let share = |key: &str| of_thread(&format!("/waited_for/{key}"));
    misexplains(&share("1/ns"), json!(0), "waited for Some");
    misexplains(&share("1/ns"), json!(-1), "waited for None");
    misexplains(&share("1/ns"), json!(u64::MAX / 4), "not the biggest first");
    misexplains(&share("0/kind"), json!("nobody"), "an odd entry");
    misexplains(&share("0/comm"), Value::Null, "an odd entry");
    misexplains(&share("1/pid"), json!(1), "an odd entry");
    misexplains(&share("0/count"), json!(0), "counts nothing");
    let tid = explained()["processes"][0]["threads"][0]["tid"].clone();
    misexplains(&share("0/tid"), tid, "waited for itself");
    misexplains(
        &of_thread("/preempted_by/0/count"),
        json!(10_000_000),
        "involuntary switches",
    );
    misexplains(
        &of_thread("/preempted_by/0/ns"),
        json!(u64::MAX / 4),
        "longer than it waited",
    );
    misexplains(&of_thread("/woken_by/0/kind"), json!("steal"), "an odd");
}

#[test]
fn a_spike_must_be_explained() {
    misexplains("/spikes/0/wait_ns", json!(21), "waited for Some(20)");
    misexplains("/spikes/0/wake_ns", json!(9), "latency is not");
    misexplains("/spikes/0/cause", json!("bad luck"), "an odd spike");
    misexplains("/spikes/0/text", json!("a waited"), "it says");
    misexplains("/spike_causes/0/share", json!(1.1), "shares of 1.1");
    misexplains("/insights/0/remedy", json!(""), "without remedy");
}
