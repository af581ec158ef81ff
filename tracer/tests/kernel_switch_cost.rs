//! `--switch-cost` on the running kernel.

use serde_json::Value;

use support::budget::number;
use support::check::{check_report, list};
use support::trace::{valid, workload};
use support::{checked_report, tracer};

mod support;

const COUNT: &str = "5000";

fn of_kind<'a>(report: &'a Value, kind: &str) -> Option<&'a Value> {
    list(&report["switch_costs"], "kinds")
        .iter()
        .find(|it| it["kind"] == kind)
}

fn count(report: &Value, kind: &str) -> u64 {
    of_kind(report, kind).map_or(0, |kind| number(kind, "/count"))
}

/// All kinds together are the switches that the report has, but for those on which a thread was born or ended.
#[test]
fn each_switch_of_the_target_is_measured_once() {
    for (pattern, kind, counted) in [
        ("pingpong-threads", "same_space", "same_process"),
        ("pingpong-processes", "other_space", "other_process"),
    ] {
        let exe = env!("CARGO_BIN_EXE_tracer");
        let args = [
            "--switch-cost",
            "--",
            exe,
            "workload",
            pattern,
            "--count",
            COUNT,
        ];
        let report = valid(&args);
        let measured = count(&report, kind);
        let counts = list(&report, "processes").iter();
        let counts = counts.map(|process| number(process, &format!("/totals/kinds/{counted}")));
        let counted: u64 = counts.sum();
        assert!(counted > 8_000, "{counted} is no game of {COUNT} rounds");
        // Of other processes some come to a thread of the target, and the report tells those that go from one.
        assert!(
            measured.abs_diff(counted) <= 20 + counted / 50,
            "{measured} {kind}, {counted} in the report: {:#}",
            report["switch_costs"]
        );
        let one = of_kind(&report, kind).expect("switches of this kind");
        let (p50, p99) = (one["p50_ns"].as_f64(), one["p99_ns"].as_f64());
        assert!(Some(0.0) < p50 && p50 <= p99, "{one:#}");
        // A mean of nothing but what is also in the distribution.
        let mean = one["total_ns"].as_f64().expect("a sum") / measured as f64;
        assert!(mean > 50.0, "{one:#}");
        let costs = &report["switch_costs"];
        let percent = costs["cpu_percent"]
            .as_f64()
            .expect("a part of the run time");
        assert!((0.1..100.0).contains(&percent), "{costs:#}");
        assert!(costs["empty_pair_ns"].as_f64() > Some(0.0), "{costs:#}");
        assert!(costs["own_ns"].as_f64() > Some(0.0), "{costs:#}");
    }
}

#[test]
fn of_the_whole_system_they_are_as_many_as_the_cpus_counted() {
    let report = checked_report([
        "run",
        "--switch-cost",
        "--duration",
        "1s",
        "--format",
        "json",
    ]);
    let kinds = list(&report["switch_costs"], "kinds");
    let measured: u64 = kinds.iter().map(|kind| number(kind, "/count")).sum();
    let switches = number(&report, "/system/switches");
    // A thread that was just born ends no call of the scheduler; and the counts are read one after the other.
    let births = number(&report, "/forks_total");
    let few = births + 200 + switches / 50;
    assert!(
        measured.abs_diff(switches) <= few,
        "{measured} measured, {switches} switches, {births} births"
    );
}

#[test]
fn a_recording_keeps_them() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("recording");
    let file = file.to_str().expect("a path of text");
    let exe = env!("CARGO_BIN_EXE_tracer");
    let pattern = [exe, "workload", "pingpong-threads", "--count", COUNT];
    let mut args = vec!["record", "--switch-cost", "-o", file, "--"];
    args.extend(pattern);
    tracer(args).expect_code(0);
    let report = checked_report(["report", file, "--format", "json"]);
    assert!(
        count(&report, "same_space") > 8_000,
        "{:#}",
        report["switch_costs"]
    );
    assert!(report["switch_costs"]["cpu_percent"].is_number());
    let table = tracer(["report", file]);
    table.expect_code(0);
    assert!(
        table.stdout().contains("SWITCHES IN PLACE"),
        "{}",
        table.stdout()
    );
    // They are of the whole recording.
    let part = checked_report(["report", file, "--from", "1ms", "--format", "json"]);
    assert!(part["switch_costs"].is_null());
}

#[test]
fn who_does_not_ask_has_none() {
    let report = workload(&["pingpong-threads", "--count", "100"]);
    check_report(&report);
    assert!(report.get("switch_costs").is_none());
}
