//! `tracer run -- COMMAND`, signals, and where the report goes: exit statuses and messages.

mod support;

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::process::Signal;
use serde_json::Value;
use support::check::{check_report, list};
use support::machine::{background, until};
use support::trace::{Live, traced};
use support::{Outcome, Running, binary, threads, tracer};
use tempfile::TempDir;

/// A directory with the files a test needs.
struct Place(TempDir);

impl Place {
    fn new() -> Place {
        Place(tempfile::tempdir().expect("a directory for the test"))
    }

    fn at(&self, name: &str) -> String {
        self.0.path().join(name).display().to_string()
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.at(name)).unwrap_or_default()
    }

    fn report(&self, name: &str) -> Value {
        let report = serde_json::from_str(&self.read(name)).expect("a whole report");
        check_report(&report);
        report
    }
}

/// One line on stderr, from us.
#[track_caller]
fn one_error(outcome: &Outcome, text: &str) {
    let stderr = outcome.stderr();
    assert!(stderr.starts_with("error: "), "{stderr}");
    assert!(stderr.contains(text), "{text:?} is not in {stderr}");
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
}

/// Starts `tracer run` with stdout in a file, so that both sides can be watched.
#[track_caller]
fn start(place: &Place, args: &[&str]) -> Running {
    let stdout = File::create(place.at("stdout")).expect("create a file");
    let mut command = binary();
    command.arg("run").args(args).stdin(Stdio::null());
    Running::start_as_is(command.stdout(stdout).stderr(Stdio::piped()))
}

#[test]
fn the_status_of_the_command_is_ours() {
    for (script, code) in [
        ("exit 0", 0),
        ("exit 3", 3),
        ("kill -9 $$", 137),
        ("kill -15 $$", 143),
    ] {
        let traced = traced(&["--", "sh", "-c", script]);
        traced.outcome.expect_code(code);
        assert_eq!(traced.outcome.stderr(), "");
        assert_eq!(traced.report["window"]["end_reason"], "target_exit");
    }
}

#[test]
fn a_command_that_cannot_start_is_told_and_nothing_is_written() {
    let place = Place::new();
    fs::write(place.at("report"), "old").expect("write");
    fs::write(place.at("data"), "no program").expect("write");
    let data = place.at("data");
    for (command, code, text) in [
        ("no-such-command", 127, "start no-such-command: not found"),
        (data.as_str(), 126, "not executable"),
        ("/", 126, "not executable"),
    ] {
        let outcome = tracer(["run", "-o", &place.at("report"), "--", command]);
        outcome.expect_code(code);
        one_error(&outcome, text);
        assert_eq!(outcome.stdout(), "");
        assert_eq!(place.read("report"), "old");
    }
}

#[test]
fn stdio_is_the_commands_own() {
    let place = Place::new();
    let script = "cat; echo done >&2; ls /proc/self/fd";
    let run = |command: &mut Command| {
        command.args(["-c", script]).stdin(Stdio::piped());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("start");
        let mut stdin = child.stdin.take().expect("piped");
        stdin.write_all(b"through\n").expect("write");
        drop(stdin);
        child.wait_with_output().expect("wait")
    };
    let mut traced = binary();
    traced.args(["run", "-o", &place.at("report"), "--", "sh"]);
    let traced = run(&mut traced);
    // Whoever runs the tests may have left files open.
    let plain = run(&mut Command::new("sh"));
    assert_eq!(traced, plain);
    assert_eq!(traced.status.code(), Some(0));
    let stdout = String::from_utf8_lossy(&traced.stdout);
    assert!(stdout.starts_with("through\n0\n1\n"), "{stdout}");
    assert_eq!(String::from_utf8_lossy(&traced.stderr), "done\n");
    assert!(place.read("report").contains("Verdict"));
}

#[test]
fn on_stdout_the_report_follows_the_command() {
    let outcome = tracer(["run", "--format", "json", "--", "echo", "first"]);
    outcome.expect_code(0);
    let stdout = outcome.stdout();
    let report = stdout
        .strip_prefix("first\n")
        .expect("the command's output");
    check_report(&serde_json::from_str(report).expect("the report"));
}

#[test]
fn a_command_is_traced_from_its_first_instruction() {
    let report = traced(&["--", "sh", "-c", "/bin/true; exec sleep 0.01"]).report;
    check_report(&report);
    let command = &report["target"]["pids"][0];
    let of = |process: &&Value| process["pid"] == *command;
    let process = list(&report, "processes").iter().find(of).expect("a row");
    assert_eq!(process["comm"], "sleep");
    let main = &list(process, "threads")[0];
    // Forked before the window, to wait for it.
    assert_eq!(main["born_in_window"], false);
    assert!(process["started_ns"].as_i64() < Some(0), "{process:#}");
    assert!(!main["exit"].is_null());
    let child = threads(&report).find(|(process, _)| process["ppid"] == *command);
    let (_, child) = child.expect("its child has a row");
    assert_eq!(child["born_in_window"], true);
    assert_eq!(child["comm"], "true");
    assert_eq!(child["exit"]["code"], 0);
}

#[test]
fn sigterm_is_passed_on() {
    let place = Place::new();
    let script = "trap 'exit 7' TERM; echo ready; while :; do sleep 0.01; done";
    let report = place.at("report");
    let args = ["--format", "json", "-o", &report, "--", "sh", "-c", script];
    let running = start(&place, &args);
    until("the command runs", || place.read("stdout") == "ready\n");
    running.signal(Signal::TERM);
    running.finish().expect_code(7);
    let report = place.report("report");
    assert_eq!(report["window"]["end_reason"], "signal");
}

#[test]
fn the_duration_ends_the_report_and_not_the_command() {
    let place = Place::new();
    let script = "trap 'exit 5' TERM; while :; do sleep 0.01; done";
    let report = place.at("report");
    let args = ["--format", "json", "--duration", "100ms", "-o", &report];
    let args = [&args[..], &["--", "sh", "-c", script]].concat();
    let mut running = start(&place, &args);
    until("the report is there", || Path::new(&report).exists());
    assert_eq!(place.report("report")["window"]["end_reason"], "duration");
    assert!(!running.has_ended());
    // Waiting, it still passes on what asks to end.
    running.signal(Signal::TERM);
    running = running.within(std::time::Duration::from_secs(30));
    running.finish().expect_code(5);
}

#[test]
fn one_sigint_reports_and_a_second_stops() {
    let place = Place::new();
    let report = place.at("report");
    let script = "trap '' INT; exec 2>&-; echo ready; while :; do sleep 0.01; done";
    let args = ["--format", "json", "-o", &report, "--", "sh", "-c", script];
    let running = start(&place, &args);
    until("the command runs", || place.read("stdout") == "ready\n");
    let command = support::machine::children(running.id());
    running.signal(Signal::INT);
    until("the report is there", || Path::new(&report).exists());
    assert_eq!(place.report("report")["window"]["end_reason"], "signal");
    assert!(!running.has_ended(), "it waits for the command");
    running.signal(Signal::INT);
    let outcome = running.finish();
    outcome.expect_code(130);
    one_error(&outcome, "stopped by a second signal");
    let command = *command.first().expect("its only child");
    let command = rustix::process::Pid::from_raw(command as i32).expect("a pid");
    rustix::process::kill_process(command, Signal::KILL).expect("it runs on");
}

#[test]
fn sigint_and_sigterm_end_a_run_without_a_command() {
    for signal in [Signal::INT, Signal::TERM] {
        let place = Place::new();
        let running = start(&place, &["--format", "ndjson", "--interval", "50ms"]);
        until("it traces", || place.read("stdout").contains('\n'));
        running.signal(signal);
        let outcome = running.finish();
        outcome.expect_code(0);
        let stdout = place.read("stdout");
        let last = stdout.lines().last().expect("a line");
        let report: Value = serde_json::from_str(last).expect("JSON");
        assert_eq!(report["type"], "report");
        assert_eq!(report["window"]["end_reason"], "signal");
    }
}

#[test]
fn a_target_that_is_gone_ends_the_run() {
    let sleep = background("sleep", &["1000"]);
    let live = Live::start(&["--pid", &sleep.id().to_string()]);
    drop(sleep);
    let report = live.ends();
    assert_eq!(report["window"]["end_reason"], "target_exit");
    assert_eq!(report["processes"][0]["threads"][0]["exit"]["signal"], 9);
}

#[test]
fn a_reader_that_went_away_is_no_error() {
    let read = |args: &[&str], bytes: usize| {
        let mut command = binary();
        command.arg("run").args(args).stdin(Stdio::null());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("start");
        let mut stdout = child.stdout.take().expect("piped");
        stdout.read_exact(&mut vec![0; bytes]).expect("read");
        drop(stdout);
        let output = child.wait_with_output().expect("wait");
        assert_eq!(output.status.code(), Some(0), "{args:?}");
        assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{args:?}");
    };
    for format in ["table", "json", "ndjson"] {
        for bytes in [0, 1] {
            read(&["--duration", "100ms", "--format", format], bytes);
        }
    }
    // Without a duration: it notices by itself.
    read(&["--format", "ndjson", "--interval", "20ms"], 1);
    // And the command is not disturbed.
    let place = Place::new();
    let script = format!("sleep 0.3; echo done >{}", place.at("done"));
    let args = [
        "--format",
        "ndjson",
        "--interval",
        "20ms",
        "--",
        "sh",
        "-c",
        &script,
    ];
    read(&args, 1);
    assert_eq!(place.read("done"), "done\n");
}

#[test]
fn a_file_is_replaced_once_the_report_is_whole() {
    let place = Place::new();
    fs::write(place.at("report"), "old").expect("write");
    let before = fs::metadata(place.at("report")).expect("it exists").ino();
    let mut opened = File::open(place.at("report")).expect("open");
    let script = format!("cat {}", place.at("report"));
    let outcome = tracer(["run", "-o", &place.at("report"), "--", "sh", "-c", &script]);
    outcome.expect_code(0);
    assert_eq!(outcome.stdout(), "old", "untouched while it traces");
    assert!(place.read("report").contains("Verdict"));
    let after = fs::metadata(place.at("report")).expect("it exists").ino();
    assert_ne!(before, after);
    let mut old = String::new();
    opened.read_to_string(&mut old).expect("read");
    assert_eq!(old, "old", "replaced, not written over");
    let left = fs::read_dir(place.0.path()).expect("list").count();
    assert_eq!(left, 1, "nothing else is left");
}

/// A file system of its own, unmounted when dropped.
struct Disk(Place);

impl Disk {
    fn new(size: &str) -> Disk {
        let place = Place::new();
        let options = format!("size={size}");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &options, "none", &place.at("")])
            .status();
        assert!(mounted.expect("run mount").success());
        Disk(place)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0.at("")).status();
    }
}

#[test]
fn a_full_disk_fails_and_leaves_the_old_file() {
    let outcome = tracer(["run", "--duration", "100ms", "-o", "/dev/full"]);
    outcome.expect_code(1);
    one_error(
        &outcome,
        "write report to /dev/full: No space left on device",
    );

    let disk = Disk::new("64k");
    let place = &disk.0;
    fs::write(place.at("report"), "old").expect("write");
    // Whatever fits.
    let _ = fs::write(place.at("filler"), vec![0; 1 << 20]);
    let report = place.at("report");
    let base = ["run", "--duration", "100ms", "-o", &report];
    // A command's success does not hide that there is no report; its failure is passed on.
    for (command, code) in [(&[][..], 1), (&["--", "true"], 1), (&["--", "false"], 1)] {
        let outcome = tracer([&base[..], command].concat());
        outcome.expect_code(code);
        one_error(&outcome, "No space left on device");
    }
    let outcome = tracer([&base[..], &["--", "sh", "-c", "sleep 0.2; exit 4"]].concat());
    outcome.expect_code(4);
    one_error(&outcome, "No space left on device");
    assert_eq!(place.read("report"), "old");
    let left = fs::read_dir(place.at("")).expect("list").count();
    assert_eq!(left, 2, "nothing else is left");
}

#[test]
fn a_place_that_is_none_is_told_before_the_command_runs() {
    let place = Place::new();
    let touch = ["--", "touch", &place.at("touched")].map(str::to_owned);
    let report = place.at("none/report");
    let mut args = vec!["run".to_owned(), "-o".to_owned(), report];
    args.extend(touch);
    let outcome = tracer(args);
    outcome.expect_code(1);
    one_error(&outcome, "none/report: No such file or directory");
    assert!(!Path::new(&place.at("touched")).exists());
}
