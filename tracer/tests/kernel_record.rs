//! Recordings of the running kernel: what a report of one says is what the run itself said.

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;
use support::check::{check_report, list};
use support::machine::background_workload;
use support::{Outcome, Running, binary, tracer};

fn read(path: &Path) -> Value {
    let text = fs::read(path).expect("read a report");
    serde_json::from_slice(&text).expect("the report is JSON")
}

/// Where two reports differ first.
fn difference(ours: &Value, other: &Value, place: &str) -> Option<String> {
    match (ours, other) {
        (Value::Object(ours), Value::Object(other)) => {
            ours.keys()
                .chain(other.keys())
                .find_map(|key| match (ours.get(key), other.get(key)) {
                    (Some(a), Some(b)) => difference(a, b, &format!("{place}/{key}")),
                    _ => Some(format!("{place}/{key} is in one only")),
                })
        }
        (Value::Array(ours), Value::Array(other)) if ours.len() == other.len() => (0..)
            .zip(ours.iter().zip(other))
            .find_map(|(n, (a, b))| difference(a, b, &format!("{place}/{n}"))),
        _ => (ours != other).then(|| format!("{place}: {ours} and {other}")),
    }
}

/// A run that is recorded, too, with what both say.
#[track_caller]
fn live_and_replayed(run: &[&str], report: &[&str]) -> [Value; 2] {
    let dir = tempfile::tempdir().expect("a directory");
    let [recording, live, replayed] =
        ["recording", "live.json", "replayed.json"].map(|name| dir.path().join(name));
    let mut command = binary();
    command.args(["run", "--format", "json", "-o"]).arg(&live);
    command.arg("--record").arg(&recording).args(run);
    Running::start(&mut command).finish().expect_code(0);
    let mut command = binary();
    command.arg("report").arg(&recording).args(report);
    command.args(["--format", "json", "-o"]).arg(&replayed);
    Running::start(&mut command).finish().expect_code(0);
    [read(&live), read(&replayed)]
}

#[track_caller]
fn expect_the_same([live, replayed]: &[Value; 2]) {
    check_report(live);
    if let Some(difference) = difference(live, replayed, "") {
        panic!("live and replayed: {difference}");
    }
}

#[test]
fn the_whole_system_is_replayed_to_the_last_number() {
    let load = background_workload(&["demo", "--duration", "1500ms"]);
    let options = ["--slower", "1ms"];
    let both = live_and_replayed(
        &["--duration", "1s", "--forks", "--slower", "1ms"],
        &options,
    );
    expect_the_same(&both);
    assert!(
        both[0]["system"]["switches"].as_u64() > Some(100),
        "{}",
        both[0]["system"]
    );
    drop(load);
}

#[test]
fn a_target_is_replayed_with_its_memory() {
    let load = background_workload(&["sleepers", "--duration", "3s"]);
    let pid = load.id().to_string();
    let both = live_and_replayed(&["--pid", &pid, "--duration", "500ms"], &[]);
    expect_the_same(&both);
    let [process] = list(&both[1], "processes") else {
        panic!("one process: {:#}", both[1])
    };
    assert_eq!(process["memory"]["source"], "procfs");
}

#[test]
fn a_command_is_replayed_from_its_first_instruction() {
    let command = ["--forks", "--", "sh", "-c", "true; sleep 0.1"];
    let both = live_and_replayed(&command, &[]);
    expect_the_same(&both);
    assert!(
        both[1]["execs_total"].as_u64() >= Some(2),
        "{:#}",
        both[1]["execs"]
    );
}

fn record(args: &[&str]) -> (tempfile::TempDir, Outcome) {
    let dir = tempfile::tempdir().expect("a directory");
    let mut command = binary();
    command
        .arg("record")
        .arg("-o")
        .arg(dir.path().join("recording"));
    let outcome = Running::start(command.args(args)).finish();
    (dir, outcome)
}

#[test]
fn a_recording_is_its_owners_and_passes_the_status_of_its_command() {
    let (dir, outcome) = record(&["--", "sh", "-c", "exit 7"]);
    outcome.expect_code(7);
    assert!(outcome.stdout.is_empty(), "no report was asked for");
    let told = outcome.stderr();
    assert!(told.starts_with("recorded "), "{told}");
    let recording = dir.path().join("recording");
    let mode = fs::metadata(&recording)
        .expect("a recording")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    let name = recording.display().to_string();
    let report = tracer(["report", &name, "--format", "json"]);
    report.expect_code(0);
    let report = report.json();
    assert_eq!(report["window"]["end_reason"], "target_exit");
    assert_eq!(report["quality"]["verdict"], "valid");
}

/// What all processes did, one number for each kind.
fn sums(report: &Value) -> Vec<u64> {
    let keys = [
        "lifetime_ns",
        "run_ns",
        "wait_ns",
        "sleep_ns",
        "block_ns",
        "migrations",
    ];
    let switches = ["voluntary", "involuntary"];
    let processes = list(report, "processes");
    let of = |pointer: String| {
        let all = processes.iter();
        all.filter_map(|process| process.pointer(&pointer)?.as_u64())
            .sum()
    };
    let totals = keys.iter().map(|key| format!("/totals/{key}"));
    let switches = switches.iter().map(|key| format!("/totals/switches/{key}"));
    totals.chain(switches).map(of).collect()
}

#[test]
fn parts_of_the_time_add_up_to_all_of_it() {
    let load = background_workload(&["demo", "--duration", "1500ms"]);
    let (dir, outcome) = record(&["--duration", "1s"]);
    outcome.expect_code(0);
    drop(load);
    let name = dir.path().join("recording").display().to_string();
    let ask = |part: &[&str]| {
        let mut args = vec!["report", &name, "--format", "json", "--slower", "1ms"];
        args.extend(part);
        let outcome = tracer(args);
        outcome.expect_code(0);
        outcome.json()
    };
    let whole = ask(&[]);
    let parts = [
        ask(&["--to", "300ms"]),
        ask(&["--from", "300ms", "--to", "700ms"]),
        ask(&["--from", "700ms"]),
    ];
    for (part, begins) in parts.iter().zip([0, 300_000_000, 700_000_000]) {
        let start = |report: &Value| report["window"]["start_monotonic_ns"].as_u64();
        assert_eq!(start(part), start(&whole).map(|start| start + begins));
        assert_eq!(part["quality"]["verdict"], "valid", "{:#}", part["quality"]);
        assert!(part["cost"].is_null(), "of all of it only");
    }
    let lengths = parts
        .each_ref()
        .map(|part| part["window"]["duration_ns"].as_u64());
    assert_eq!(lengths[..2], [Some(300_000_000), Some(400_000_000)]);
    let mut added = vec![0; 8];
    for part in &parts {
        for (sum, one) in added.iter_mut().zip(sums(part)) {
            *sum += one;
        }
    }
    assert_eq!(added, sums(&whole));
    assert!(added.iter().all(|sum| *sum > 0), "{added:?}");

    for (args, code, says) in [
        (["--from", "2s"], 1, "it ends before --from"),
        (
            ["--from=20ms", "--to=10ms"],
            2,
            "nothing lies before --from",
        ),
    ] {
        let outcome = tracer([["report", name.as_str()], args].concat());
        outcome.expect_code(code);
        let told = outcome.stderr();
        assert!(told.starts_with("error: ") && told.contains(says), "{told}");
    }
}

#[test]
fn a_part_of_a_recording_is_asked_for_later() {
    let load = background_workload(&["sleepers", "--count", "40", "--duration", "3s"]);
    let (dir, outcome) = record(&["--duration", "500ms"]);
    outcome.expect_code(0);
    let name = dir.path().join("recording").display().to_string();
    let pid = load.id().to_string();
    for (option, value, threads) in [("--pid", pid.as_str(), 41), ("--comm", "^sleeper-37$", 1)] {
        let outcome = tracer(["report", &name, option, value, "--format", "json"]);
        outcome.expect_code(0);
        let report = outcome.json();
        assert_eq!(report["target"]["threads"], threads, "{option} {value}");
    }
    let outcome = tracer(["report", &name, "--cgroup", "/no/such/group"]);
    outcome.expect_code(1);
    assert!(
        outcome.stderr().contains("the recording has none"),
        "{}",
        outcome.stderr()
    );
}

#[test]
fn what_was_cut_off_is_read_as_far_as_it_goes() {
    // A tracer that is killed leaves what it has written.
    let load = background_workload(&["demo", "--duration", "8s"]);
    let dir = tempfile::tempdir().expect("a directory");
    let recording = dir.path().join("recording");
    let mut command = binary();
    command.arg("record").arg("-o").arg(&recording);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let mut child = command.spawn().expect("start the tracer");
    std::thread::sleep(std::time::Duration::from_millis(3_500));
    child.kill().expect("kill the tracer");
    child.wait().expect("wait for it");
    drop(load);
    let name = recording.display().to_string();
    let outcome = tracer(["report", &name, "--format", "json"]);
    outcome.expect_code(0);
    assert!(
        outcome.stderr().contains("was cut off"),
        "{}",
        outcome.stderr()
    );
    let report = outcome.json();
    assert_eq!(report["window"]["end_reason"], "recording_end");
    assert_eq!(
        report["quality"]["verdict"], "degraded",
        "its end was not checked"
    );
    assert_eq!(report["cost"], Value::Null);
    let duration = report["window"]["duration_ns"].as_u64();
    assert!(duration > Some(1_000_000_000), "{duration:?}");
    assert!(report["quality"]["received_switches"].as_u64() > Some(100));
}

#[test]
fn what_is_no_recording_is_refused_in_one_line() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("file");
    fs::write(&file, b"tracer\r\n\xff\xff and more of it").expect("write a file");
    let name = file.display().to_string();
    for (path, why) in [
        (name.as_str(), "made by a newer tracer"),
        ("/dev/null", "not a recording"),
        ("/no/such/file", "No such file"),
    ] {
        let outcome = tracer(["report", path]);
        outcome.expect_code(1);
        let text = outcome.stderr();
        assert_eq!(text.lines().count(), 1, "{text}");
        assert!(
            text.starts_with("error: read recording ") && text.contains(why),
            "{text}"
        );
    }
    let full = Command::new(binary().get_program())
        .args(["record", "-o", "/dev/full", "--duration", "200ms"])
        .output()
        .expect("run the tracer");
    assert_eq!(full.status.code(), Some(1));
    let text = String::from_utf8_lossy(&full.stderr);
    assert!(text.contains("No space left on device"), "{text}");
}
