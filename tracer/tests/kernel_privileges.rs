//! Who may trace, what is given up before the first record is read, and where output goes.

mod support;

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, lchown, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;
use support::check::{check_lossy_report, list};
use support::machine::{background, children, is_root, status, tasks, until};
use support::nobody::{Nobody, as_nobody};
use support::trace::{Live, traced};
use support::{Outcome, Running, binary, tracer};
use tempfile::TempDir;

/// Of the user and group `nobody`.
const NOBODY: u32 = 65_534;
const CAP_SYS_PTRACE: u64 = 1 << 19;
/// No capability, and no way to any.
const NONE: ([u64; 4], bool) = ([0; 4], true);

/// A directory of everybody's, without the sticky bit of `/tmp`.
fn open_directory() -> TempDir {
    let directory = tempfile::tempdir().expect("a directory");
    fs::set_permissions(directory.path(), Permissions::from_mode(0o777)).expect("let all in");
    directory
}

fn set(pid: u32, key: &str) -> Option<u64> {
    u64::from_str_radix(&status(pid, key)?, 16).ok()
}

/// By thread: its capabilities in all sets that give it any, and whether it can get others.
fn rights(pid: u32) -> BTreeMap<u32, ([u64; 4], bool)> {
    let of = |tid| {
        let cannot = status(tid, "NoNewPrivs:")? == "1";
        let [effective, permitted] = [set(tid, "CapEff:")?, set(tid, "CapPrm:")?];
        let [inheritable, ambient] = [set(tid, "CapInh:")?, set(tid, "CapAmb:")?];
        Some(([effective, permitted, inheritable, ambient], cannot))
    };
    let tasks = tasks(pid).into_iter();
    tasks.filter_map(|(tid, _)| Some((tid, of(tid)?))).collect()
}

/// The process that keeps what the tracer gave up.
fn keeper(of: u32) -> Option<u32> {
    let is = |pid: &u32| status(*pid, "Name:").is_some_and(|name| name == "tracer-keeper");
    children(of).into_iter().find(is)
}

fn expect_one_line(outcome: &Outcome, parts: &[&str]) {
    let text = outcome.stderr();
    assert_eq!(text.lines().count(), 1, "{text}");
    for part in parts {
        assert!(text.contains(part), "no {part:?} in {text}");
    }
}

#[test]
fn root_reads_records_without_any_privilege() {
    assert!(is_root(), "the tests on the kernel run as root");
    let sleeper = background("sleep", &["1000"]);
    let pid = sleeper.id().to_string();
    for target in [&[][..], &["--pid", &pid], &["--", "sleep", "1000"]] {
        let live = Live::start(target);
        let rights = rights(live.id());
        assert_eq!(rights.len(), 1, "{target:?}: {rights:?}");
        for rights in rights.into_values() {
            assert_eq!(rights, NONE, "{target:?}");
        }
        let keeper = keeper(live.id()).expect("somebody keeps what is needed later");
        let kept = set(keeper, "CapPrm:").expect("it lives");
        let all = set(std::process::id(), "CapPrm:").expect("we live");
        assert!(kept & CAP_SYS_PTRACE != 0, "{kept:x}");
        assert!(
            kept.count_ones() < 8 && all.count_ones() > 30,
            "{kept:x} {all:x}"
        );
        // Nothing that could load, attach or configure anything.
        assert_eq!(kept & (1 << 21 | 1 << 38 | 1 << 39 | 1 << 12 | 1 << 16), 0);
        assert_eq!(status(keeper, "NoNewPrivs:").as_deref(), Some("1"));
        // Its command would be waited for.
        match target.contains(&"--") {
            true => drop(live),
            false => drop(live.interrupt()),
        }
        until("it ends with the tracer", || {
            status(keeper, "Name:").is_none()
        });
    }
}

#[test]
fn a_command_has_what_its_caller_has() {
    let directory = open_directory();
    let file = directory.path().join("status");
    let script = format!(
        "grep -E '^(Cap|NoNewPrivs|Sig)' /proc/self/status >{}; nice >>{0}",
        file.display()
    );
    let plain = Command::new("sh").args(["-c", &script]).status();
    assert!(plain.expect("run a shell").success());
    let wanted = fs::read_to_string(&file).expect("written");
    traced(&["--", "sh", "-c", &script]).outcome.expect_code(0);
    assert_eq!(fs::read_to_string(&file).expect("written"), wanted);

    // Somebody with two rights runs it with these two, and by a file with rights it has none.
    let nobody = Nobody::new();
    let args = ["run", "--", "sh", "-c", script.as_str()];
    fs::remove_file(&file).expect("ours");
    let outcome = Running::start(&mut nobody.with_two_capabilities(&args)).finish();
    outcome.expect_code(0);
    let text = fs::read_to_string(&file).expect("written");
    assert!(text.contains("CapEff:\t000000c000000000\n"), "{text}");
    assert!(text.contains("NoNewPrivs:\t0\n"), "{text}");
    fs::remove_file(&file).expect("in our directory");
    grant(&nobody.binary());
    nobody.runs(&args).expect_code(0);
    let text = fs::read_to_string(&file).expect("written");
    assert!(text.contains("CapEff:\t0000000000000000\n"), "{text}");
    assert!(text.contains("NoNewPrivs:\t0\n"), "{text}");
}

fn grant(binary: &Path) {
    let set = Command::new("setcap")
        .arg("cap_bpf,cap_perfmon+ep")
        .arg(binary)
        .status();
    assert!(set.expect("run setcap").success());
}

/// A report, a recording, and the report of that: all as nobody.
#[track_caller]
fn traces(mut run: impl FnMut(&[&str]) -> Command) {
    let directory = open_directory();
    let at = |name: &str| directory.path().join(name).display().to_string();
    let (report, recording) = (at("report.json"), at("rec"));
    let runs = |command: &mut Command| Running::start(command).finish();
    let checked = |path: &str| {
        let text = fs::read(path).expect("a report");
        let report: Value = serde_json::from_slice(&text).expect("JSON");
        check_lossy_report(&report);
        assert_eq!(fs::metadata(path).expect("it exists").uid(), NOBODY);
        assert_eq!(fs::metadata(path).expect("it exists").mode() & 0o777, 0o600);
        report
    };

    let outcome = runs(&mut run(&[
        "run",
        "--format",
        "json",
        "-o",
        &report,
        "--duration",
        "300ms",
    ]));
    outcome.expect_code(0);
    let whole = checked(&report);
    assert!(list(&whole, "processes").len() > 5, "everybody is told of");

    let outcome = runs(&mut run(&[
        "run", "--format", "json", "-o", &report, "--", "sleep", "0.2",
    ]));
    outcome.expect_code(0);
    let own = checked(&report);
    let memory = own.pointer("/processes/0/memory/rss_bytes");
    assert!(memory.and_then(Value::as_u64) > Some(0), "{own:#}");

    // Of others only what everybody may see: how much, and not shared with whom.
    let sleeper = background("sleep", &["1000"]);
    let pid = sleeper.id().to_string();
    let outcome = runs(&mut run(&[
        "run",
        "--pid",
        &pid,
        "--format",
        "json",
        "-o",
        &report,
        "--duration",
        "200ms",
    ]));
    outcome.expect_code(0);
    let others = checked(&report);
    let memory = |key: &str| others.pointer(&format!("/processes/0/memory/{key}"));
    assert!(
        memory("rss_bytes").and_then(Value::as_u64) > Some(0),
        "{others:#}"
    );
    assert_eq!(memory("pss_bytes"), Some(&Value::Null));

    let outcome = runs(&mut run(&[
        "record",
        "-o",
        &recording,
        "--duration",
        "300ms",
    ]));
    outcome.expect_code(0);
    assert_eq!(
        fs::metadata(&recording).expect("recorded").mode() & 0o777,
        0o600
    );
    let outcome = runs(&mut run(&[
        "report", &recording, "--format", "json", "-o", &report,
    ]));
    outcome.expect_code(0);
    checked(&report);
}

#[test]
fn two_capabilities_are_enough_for_somebody_else() {
    assert!(is_root(), "the tests on the kernel run as root");
    let nobody = Nobody::new();
    traces(|args| nobody.with_two_capabilities(args));
}

#[test]
fn two_capabilities_of_the_file_are_enough() {
    let nobody = Nobody::new();
    grant(&nobody.binary());
    traces(|args| nobody.command(args));
}

#[test]
fn one_capability_is_not_and_the_remedy_is_told() {
    let nobody = Nobody::new();
    for (right, lacks) in [("+bpf", "CAP_PERFMON"), ("+perfmon", "CAP_BPF")] {
        let sets = ["--inh-caps", "--ambient-caps"].map(|set| format!("{set}=-all,{right}"));
        let mut command = as_nobody(&nobody.binary(), &[&sets[0], &sets[1]]);
        let outcome = Running::start(command.args(["run", "--duration", "1s"])).finish();
        outcome.expect_code(3);
        let text = outcome.stderr();
        let setcap = "setcap cap_bpf,cap_perfmon+ep";
        for part in [&format!("this process lacks {lacks}"), setcap] {
            assert!(text.contains(part), "no {part:?} in {text}");
        }
        assert!(outcome.stdout.is_empty());
    }
}

#[test]
fn a_directory_of_somebody_else_takes_reports_and_recordings_of_root() {
    let directory = tempfile::tempdir().expect("a directory");
    let at = |name: &str| directory.path().join(name);
    fs::set_permissions(directory.path(), Permissions::from_mode(0o700)).expect("close it");
    fs::write(at("old"), "old").expect("write");
    fs::set_permissions(at("old"), Permissions::from_mode(0o640)).expect("chmod");
    for path in [at("old"), directory.path().to_owned()] {
        chown(path, Some(NOBODY), Some(NOBODY)).expect("give it away");
    }
    let path = |name: &str| at(name).display().to_string();
    let run = |args: &[&str]| tracer(args).expect_code(0);
    for name in ["old", "new"] {
        run(&["run", "--duration", "100ms", "-o", &path(name)]);
    }
    run(&["record", "--duration", "100ms", "-o", &path("rec")]);
    run(&["report", &path("rec"), "-o", &path("of-rec")]);
    run(&["export", &path("rec"), "--to", "csv", "-o", &path("csv")]);
    run(&[
        "export",
        &path("rec"),
        "--to",
        "parquet",
        "-o",
        &path("tables"),
    ]);
    let seen = |name: &str| {
        let metadata = fs::metadata(at(name)).expect(name);
        assert!(metadata.len() > 0, "{name}");
        (metadata.uid(), metadata.mode() & 0o777)
    };
    assert_eq!(seen("old"), (NOBODY, 0o640));
    for name in ["new", "rec", "of-rec", "csv", "tables/spans.parquet"] {
        assert_eq!(seen(name), (0, 0o600), "{name}");
    }
    let left = fs::read_dir(directory.path()).expect("list").count();
    assert_eq!(left, 6, "nothing else is left");
}

/// A file for `tracer report` that stays unread as long as nobody writes to it.
fn slow_recording(at: &Path) {
    let made = Command::new("mkfifo").arg(at).status();
    assert!(made.expect("run mkfifo").success());
}

#[test]
fn a_recording_is_read_without_privileges() {
    let directory = tempfile::tempdir().expect("a directory");
    let fifo = directory.path().join("fifo");
    slow_recording(&fifo);
    let mut command = binary();
    command.arg("report").arg(&fifo).stdin(Stdio::null());
    let running = Running::start(&mut command);
    // It waits for whoever opens the other end.
    until("it has given up what it had", || {
        let rights = rights(running.id());
        rights.values().all(|&rights| rights == NONE) && !rights.is_empty()
    });
    fs::write(&fifo, "no recording").expect("write");
    let outcome = running.finish();
    outcome.expect_code(1);
    expect_one_line(&outcome, &["read recording"]);
}

#[test]
fn nothing_is_written_through_links_of_others_nor_to_their_files() {
    let directory = tempfile::tempdir().expect("a directory");
    let at = |name: &str| -> PathBuf { directory.path().join(name) };
    fs::write(at("ours"), "old").expect("write");
    fs::write(at("theirs"), "old").expect("write");
    chown(at("theirs"), Some(NOBODY), Some(NOBODY)).expect("give it away");
    for (link, to) in [("link", "ours"), ("dangling", "absent")] {
        symlink(at(to), at(link)).expect("link");
        lchown(at(link), Some(NOBODY), Some(NOBODY)).expect("give it away");
    }
    symlink(at("theirs"), at("to-theirs")).expect("link");
    let refused = |name: &str, why: &str| {
        let path = at(name).display().to_string();
        for command in ["run", "record"] {
            let outcome = tracer([command, "--duration", "100ms", "-o", &path]);
            outcome.expect_code(1);
            expect_one_line(&outcome, &[&path, why, "name another file"]);
        }
    };
    refused("link", "a symbolic link of another user");
    refused("dangling", "a symbolic link of another user");
    refused("to-theirs", "a symbolic link to another user's file");
    // Somebody made it in advance, where anybody can, to get what is written.
    fs::set_permissions(directory.path(), Permissions::from_mode(0o1777)).expect("open it");
    refused("theirs", "another user's, in a directory of everybody's");
    for name in ["ours", "theirs"] {
        assert_eq!(fs::read_to_string(at(name)).expect("it is there"), "old");
    }
    assert!(!at("absent").exists());
}
