//! How processes end, and when somebody takes note.

mod support;

use serde_json::Value;
use support::births::{TRACER, forked, number, only, text};
use support::check::list;
use support::machine::{children, status, until};
use support::na;
use support::trace::{Live, Traced, expect_valid_but_skipped, traced};

/// What the pattern leaves a zombie for, and as much again on a busy machine.
const LATE: std::ops::RangeInclusive<u64> = 200_000_000..=300_000_000;

/// Of the child that had this name.
#[track_caller]
fn end<'a>(report: &'a Value, comm: &str) -> &'a Value {
    let row = only(report, "exits", &[("/comm", comm)]);
    assert_eq!(row["signal"], 0, "{row:#}");
    row
}

#[track_caller]
fn expect_ends(report: &Value) {
    let three = end(report, "exits-3");
    assert_eq!(three["code"], 3);
    // Its parent waited for it all along.
    assert!(
        number(three, "/reaped_after_ns") < *LATE.start(),
        "{three:#}"
    );
    let fork = only(report, "forks", &[("/child/comm", "exits-3")]);
    assert_eq!(fork["exit"]["code"], 3, "{fork:#}");
    for name in ["late-waitid", "late-wait4", "late-thread", "late-any"] {
        let end = end(report, name);
        assert_eq!(end["code"], 0);
        assert!(LATE.contains(&number(end, "/reaped_after_ns")), "{end:#}");
    }
    let ignored = end(report, "ignored");
    assert!(ignored["reaped_after_ns"].is_null(), "{ignored:#}");
    for end in list(report, "exits") {
        // The last one of an address space gives it back.
        assert!(
            end["tid"] != end["pid"] || number(end, "/teardown_ns") > 0,
            "{end:#}"
        );
    }
}

#[test]
fn a_zombie_lasts_until_its_parent_takes_note() {
    let pattern = [TRACER, "workload", "ends", "--duration", "1s"];
    let live = Live::start(&[&["--forks", "--"], &pattern[..]].concat());
    until("there is a zombie that nobody waits for", || {
        let command = children(live.id()).into_iter().next();
        let born = command.map(children).unwrap_or_default();
        born.into_iter().any(|child| {
            let is =
                |key: &str, what: &str| status(child, key).is_some_and(|is| is.starts_with(what));
            is("Name:", "never") && is("State:", "Z")
        })
    });
    let report = live.finish();
    expect_ends(&report);
    let never = end(&report, "never");
    assert!(never["reaped_after_ns"].is_null(), "{never:#}");
}

#[test]
fn a_zombie_of_a_container_is_known_by_its_number_there() {
    let name = "a_zombie_of_a_container_is_known_by_its_number_there";
    let container = ["unshare", "--pid", "--fork"];
    let Traced { outcome, report } = traced(
        &[
            &["--forks", "--"],
            &container[..],
            &[TRACER, "workload", "ends"],
        ]
        .concat(),
    );
    if outcome.stderr().contains("unshare failed") {
        return na(name, "a PID namespace is not permitted");
    }
    outcome.expect_code(0);
    expect_valid_but_skipped(&report);
    expect_ends(&report);
}

/// Traces a process of four threads that crashes, with as much of a core file as `limit` says.
#[track_caller]
fn crash(limit: &str, directory: &str) -> Value {
    let script =
        format!("ulimit -c {limit}; cd {directory}; exec {TRACER} workload crashes --count 4");
    let Traced { outcome, report } = traced(&["--forks", "--", "sh", "-c", &script]);
    outcome.expect_code(128 + 11);
    expect_valid_but_skipped(&report);
    let [crash] = list(&report, "crashes") else {
        panic!("{:#}", report["crashes"])
    };
    assert_eq!(text(crash, "/signal_name"), "SIGSEGV");
    assert_eq!(number(crash, "/signal"), 11);
    assert_eq!(text(crash, "/comm"), "crashes");
    assert_eq!(crash["pid"], report["target"]["pids"][0]);
    let signalled = |end: &&Value| end["signal"] == 11 && end["pid"] == crash["pid"];
    let ends = list(&report, "exits").iter().filter(signalled).count() as u64;
    // Four, but for events that the kernel skipped.
    let skipped = report["quality"]["missed_events"].as_u64().unwrap_or(0);
    let told = number(crash, "/threads");
    let all = 4_u64.saturating_sub(skipped).max(1)..=4;
    assert!(
        told == ends && all.contains(&told),
        "{crash:#}, {skipped} skipped"
    );
    crash.clone()
}

#[test]
fn a_crash_is_one_with_all_its_threads() {
    let crash = crash("0", "/");
    assert_eq!(crash["core_dumped"], false);
}

#[test]
fn a_core_is_told() {
    let pattern = std::fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap_or_default();
    if pattern.starts_with(['|', '/', '@']) {
        return na(
            "a_core_is_told",
            "cores of this machine are somebody else's",
        );
    }
    let place = tempfile::tempdir().expect("a directory for the core");
    let crash = crash("unlimited", &place.path().display().to_string());
    let cores = std::fs::read_dir(place.path()).expect("list").count();
    assert_eq!(cores, 1);
    assert_eq!(crash["core_dumped"], true);
}

#[test]
fn a_killed_child_is_a_crash_of_its_own() {
    let report = forked(&["sh", "-c", "sh -c 'kill -ABRT $$'; kill -0 $$; exit 0"]);
    let [crash] = list(&report, "crashes") else {
        panic!("{:#}", report["crashes"])
    };
    assert_eq!(text(crash, "/signal_name"), "SIGABRT");
    assert_eq!(number(crash, "/threads"), 1);
    let fork = only(&report, "forks", &[("/kind", "vfork")]);
    assert_eq!(fork["child"]["pid"], crash["pid"]);
    assert_eq!(fork["exit"]["signal"], 6);
    assert_eq!(fork["exit"]["at_ns"], crash["at_ns"]);
}
