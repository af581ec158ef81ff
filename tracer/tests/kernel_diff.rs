//! Recordings of the running kernel, compared: who was put in the way of whom is found, and nothing else is made up.
//!
//! Victim and neighbour are real-time threads on one CPU: whatever else this machine does, it does not disturb them.

mod support;

use std::path::{Path, PathBuf};

use serde_json::Value;
use support::check::list;
use support::planted::{Apart, Planted, cpu};
use support::{binary, na, tracer};
use tempfile::TempDir;

/// A thread that computes 1 ms and sleeps 1 ms, and maybe another that takes its CPU for 5 ms of each 50, recorded.
struct Bench {
    dir: TempDir,
    _apart: Option<Apart>,
}

impl Bench {
    fn new() -> Bench {
        Bench {
            dir: tempfile::tempdir().expect("a directory"),
            _apart: Apart::from(cpu()),
        }
    }

    /// None: no real-time thread is permitted here.
    #[track_caller]
    fn record(&self, name: &str, neighbour: bool) -> Option<PathBuf> {
        let mut victim = Planted::pinned(cpu(), &["bursts", "--duration", "4s"]);
        if !victim.policy("-f", 10) {
            return None;
        }
        let mut pulses = Planted::pinned(cpu(), &["pulses", "--count", "80", "--duration", "5ms"]);
        assert!(pulses.policy("-f", 20), "the first one was permitted");
        victim.begin();
        if neighbour {
            pulses.begin();
        }
        let file = self.dir.path().join(name);
        let mut command = binary();
        command.arg("record").arg("-o").arg(&file);
        command.args(["--pid", &victim.pid_text(), "--duration", "2s"]);
        support::Running::start(&mut command)
            .finish()
            .expect_code(0);
        Some(file)
    }
}

#[track_caller]
fn diff(before: &Path, after: &Path) -> Value {
    let names = [before, after].map(|path| path.display().to_string());
    let outcome = tracer(["diff", &names[0], &names[1], "--format", "json"]);
    outcome.expect_code(0);
    let diff = outcome.json();
    assert_eq!(diff["schema"], "tracer.diff.v1");
    for change in list(&diff, "changes") {
        let number = |key: &str| change[key].as_f64().expect("a number");
        let difference = number("difference");
        assert!(
            (number("after") - number("before") - difference).abs() < 0.01,
            "{change}"
        );
        // Long enough for intervals, and no interval holds the 0.
        assert!(number("low") * number("high") > 0.0, "{change}");
        assert!(number("low") * difference > 0.0, "{change}");
    }
    diff
}

/// Of the victims, by metric and whom they waited for.
fn changed<'a>(diff: &'a Value, metric: &str, culprit: Option<&str>) -> Option<&'a Value> {
    list(diff, "changes").iter().find(|change| {
        change["comm"] == "bursts"
            && change["metric"] == metric
            && change["waited_for"]["comm"].as_str() == culprit
    })
}

#[test]
fn a_neighbour_is_named_and_nothing_is_made_up() {
    let bench = Bench::new();
    let Some(before) = bench.record("before", false) else {
        return na(
            "a_neighbour_is_named_and_nothing_is_made_up",
            "no real-time threads",
        );
    };
    let again = bench.record("again", false).expect("as before");
    let after = bench.record("after", true).expect("as before");

    let found = diff(&before, &after);
    for (metric, culprit) in [
        ("wait_ns_per_s", None),
        ("waited_for_ns_per_s", Some("pulses")),
    ] {
        let change = changed(&found, metric, culprit);
        let change = change.unwrap_or_else(|| panic!("no change of {metric}: {found:#}"));
        // In its way for a tenth of the time, half of which it wants to compute.
        let difference = change["difference"].as_f64().expect("a number");
        assert!((10e6..110e6).contains(&difference), "{change}");
    }
    let first = &list(&found, "changes")[0];
    assert_eq!(
        (&first["comm"], &first["metric"]),
        (&"bursts".into(), &"wait_ns_per_s".into())
    );

    let back = diff(&after, &before);
    let change = changed(&back, "waited_for_ns_per_s", Some("pulses")).expect("it is gone");
    assert!(change["difference"].as_f64() < Some(-10e6), "{change}");
    assert_eq!(change["ratio"], 0.0);

    for recording in [&before, &after] {
        let itself = diff(recording, recording);
        assert_eq!(list(&itself, "changes"), &[] as &[Value]);
        assert_eq!(list(&itself, "new"), &[] as &[Value]);
        assert_eq!(list(&itself, "gone"), &[] as &[Value]);
        assert_eq!(itself["caveats"], Value::Array(Vec::new()));
    }

    // The pids differ, and that is a caveat; of the waits nothing is made up.
    let steady = diff(&before, &again);
    let wait = changed(&steady, "wait_ns_per_s", None);
    let size = wait.and_then(|change| change["difference"].as_f64());
    assert!(size.is_none_or(|size| size.abs() < 10e6), "{steady:#}");
    assert!(changed(&steady, "waited_for_ns_per_s", Some("pulses")).is_none());
    assert_eq!(list(&steady, "new"), &[] as &[Value]);
    assert_eq!(list(&steady, "gone"), &[] as &[Value]);

    let names = [&before, &after].map(|path| path.display().to_string());
    let outcome = tracer(["diff", &names[0], &names[1]]);
    outcome.expect_code(0);
    let text = outcome.stdout();
    assert!(text.contains("\nbursts\n  wait "), "{text}");
    assert!(text.contains("\n  - for pulses "), "{text}");
}

#[test]
fn what_is_no_recording_is_refused_in_one_line() {
    let outcome = tracer(["diff", "/dev/null", "/no/such/file"]);
    outcome.expect_code(1);
    let text = outcome.stderr();
    assert_eq!(text.lines().count(), 1, "{text}");
    assert!(
        text.starts_with("error: read recording /dev/null: "),
        "{text}"
    );
    tracer(["diff", "/dev/null"]).expect_code(2);
}
