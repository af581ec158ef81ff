//! What goes wrong on purpose: the tracer is killed, its target changes who it is, memory runs out.

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::hash::{BuildHasher as _, RandomState};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;
use support::check::{check_lossy_report, list};
use support::machine::{Gated, children, status, until};
use support::trace::{Live, expect_valid};
use support::{Outcome, Running, binary, na, threads};
use tempfile::TempDir;

const KILLS: u64 = 20;
/// From before the first system call that matters to well after the last.
const LONGEST: Duration = Duration::from_millis(1_200);

/// A kind of object, as bpftool names it, and its number.
type Object = (&'static str, u64);

const KINDS: [(&str, &str); 3] = [
    ("prog", "prog_id:"),
    ("map", "map_id:"),
    ("link", "link_id:"),
];

/// All that a process holds, by its descriptors. It stands still meanwhile.
fn held_by(pid: u32) -> BTreeSet<Object> {
    let files = fs::read_dir(format!("/proc/{pid}/fdinfo")).expect("it stands still");
    let mut held = BTreeSet::new();
    for file in files.flatten() {
        let text = fs::read_to_string(file.path()).unwrap_or_default();
        for (kind, key) in KINDS {
            let number = text.lines().find_map(|line| line.strip_prefix(key));
            held.extend(number.and_then(|number| Some((kind, number.trim().parse().ok()?))));
        }
    }
    held
}

/// All that there are, whoever holds them.
#[track_caller]
fn loaded() -> BTreeSet<Object> {
    let mut loaded = BTreeSet::new();
    for (kind, _) in KINDS {
        let output = Command::new("bpftool")
            .args(["--json", kind, "show"])
            .output();
        let output = output.expect("run bpftool");
        let objects: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        let numbers = objects.as_array().expect("a list").iter();
        loaded.extend(numbers.filter_map(|object| Some((kind, object["id"].as_u64()?))));
    }
    loaded
}

#[test]
fn a_killed_collector_leaves_nothing_behind() {
    let place = tempfile::tempdir().expect("a directory");
    let sleeper = support::machine::background("sleep", &["1000"]);
    let pid = sleeper.id().to_string();
    let report = place.path().join("report").display().to_string();
    let recording = place.path().join("rec").display().to_string();
    let kinds: [&[&str]; 4] = [
        &["run", "-o", &report],
        &["run", "-o", &report, "--pid", &pid, "--forks"],
        &["record", "-o", &recording],
        &["run", "-o", &report, "--", "sleep", "1000"],
    ];
    let (mut held, mut attached) = (0, 0);
    for (kill, args) in (0..KILLS).zip(kinds.iter().cycle()) {
        // Each in its own part of the time, anywhere in it.
        let part = LONGEST / KILLS as u32;
        let within = RandomState::new().hash_one(kill) % part.as_nanos() as u64;
        let moment = part * kill as u32 + Duration::from_nanos(within);
        let mut command = binary();
        // A command that lives on would hold the other end of a pipe.
        let null = command
            .args(*args)
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        let running = Running::start_as_is(null.stderr(Stdio::null()));
        std::thread::sleep(moment);
        running.signal(Signal::STOP);
        until("it stands still", || {
            status(running.id(), "State:").is_some_and(|state| state.starts_with('T'))
        });
        let ours = held_by(running.id());
        held += u64::from(!ours.is_empty());
        attached += u64::from(ours.iter().any(|(kind, _)| *kind == "link"));
        let others = children(running.id());
        running.signal(Signal::KILL);
        let outcome = running.finish();
        assert_eq!(outcome.status.code(), None, "killed at {moment:?}");
        // The kernel takes them down some time after the last file is closed.
        until("its programs, maps and links are gone", || {
            loaded().is_disjoint(&ours)
        });
        // The one that waited to become the command, too; one that it is already is the user's.
        for other in others {
            if status(other, "Name:").is_some_and(|name| name == "sleep") {
                let command = rustix::process::Pid::from_raw(other as i32).expect("a pid");
                rustix::process::kill_process(command, Signal::KILL).expect("it runs on");
            }
            until("nobody is left", || {
                status(other, "State:").is_none_or(|state| state.starts_with('Z'))
            });
        }
        let left: Vec<_> = fs::read_dir(place.path())
            .expect("list")
            .flatten()
            .collect();
        // A recording is there from its beginning on: what was written can be read.
        let left: Vec<_> = left.iter().map(fs::DirEntry::file_name).collect();
        assert!(
            left.iter().all(|name| name == "rec"),
            "killed at {moment:?}: {left:?}"
        );
    }
    assert!(
        held >= KILLS / 4 && attached > 0,
        "{held} held anything, {attached} were attached"
    );
}

#[test]
fn a_target_that_becomes_others_is_followed() {
    // Its child's child outlives both and is nobody's; another changes its name; itself becomes another program.
    let script = "
        ( ( sleep 0.2; exec sleep 1 ) & )
        sh -c 'sleep 0.05; printf renamed >/proc/$$/comm; sleep 0.05; :'
        exec sh -c 'exec sleep 0.1'";
    let mut target = Gated::new(script);
    let pid = target.pid();
    let live = Live::start(&["--pid", &pid]);
    target.open();
    let report = live.ends();
    target.ends();
    assert_eq!(report["window"]["end_reason"], "target_exit");
    let of = |pid: &str| {
        let is = |process: &&Value| process["pid"].as_u64() == pid.parse().ok();
        list(&report, "processes").iter().find(is).expect("a row")
    };
    let main = of(&pid);
    assert_eq!(main["comm"], "sleep");
    assert_eq!(list(main, "threads").len(), 1, "{main:#}");
    let named = |name: &str| {
        let mut found = threads(&report).filter(|(_, thread)| thread["comm"] == name);
        found
            .next()
            .unwrap_or_else(|| panic!("no {name} in {report:#}"))
    };
    let (renamed, _) = named("renamed");
    assert_eq!(renamed["ppid"].to_string(), pid);
    // The last one alive: whoever created it has ended, and it went on for longer than all others.
    let at = |thread: &Value| thread.pointer("/exit/at_ns").and_then(Value::as_u64);
    let (orphan, last) = threads(&report)
        .max_by_key(|(_, thread)| at(thread))
        .expect("there are some");
    assert_eq!(last["comm"], "sleep");
    assert_ne!(orphan["ppid"].to_string(), pid);
    assert!(
        last["lifetime_ns"].as_u64() > Some(1_150_000_000),
        "{last:#}"
    );
    let execs: Vec<&Value> = list(&report, "execs")
        .iter()
        .filter(|exec| exec["pid"].as_u64() == pid.parse().ok())
        .collect();
    let after: Vec<&Value> = execs.iter().map(|exec| &exec["comm_after"]).collect();
    assert_eq!(after, ["sh", "sleep"]);
}

/// A cgroup whose processes may not have more memory than it says, and its limit's file.
struct Limited(PathBuf, PathBuf);

impl Limited {
    /// `None`: this machine has no such cgroups.
    fn new(name: &str) -> Option<Limited> {
        let first = Path::new("/sys/fs/cgroup/memory");
        let unified = Path::new("/sys/fs/cgroup");
        let (mount, limit) = if first.join("memory.limit_in_bytes").exists() {
            (first, "memory.limit_in_bytes")
        } else {
            let controllers = fs::read_to_string(unified.join("cgroup.subtree_control")).ok()?;
            controllers
                .contains("memory")
                .then_some((unified, "memory.max"))?
        };
        let path = mount.join(format!("tracer-{name}-{}", std::process::id()));
        fs::create_dir(&path).expect("create a cgroup");
        let limit = path.join(limit);
        Some(Limited(path, limit))
    }

    /// Runs the tracer within this many bytes.
    fn runs(&self, bytes: u64, args: &[&str]) -> Outcome {
        fs::write(&self.1, bytes.to_string()).expect("set the limit");
        let procs = self.0.join("cgroup.procs");
        let script = format!("echo $$ >{} && exec \"$0\" \"$@\"", procs.display());
        let mut command = Command::new("sh");
        command
            .arg("-c")
            .arg(script)
            .arg(binary().get_program())
            .args(args);
        Running::start(command.stdin(Stdio::null())).finish()
    }
}

impl Drop for Limited {
    fn drop(&mut self) {
        until("the cgroup is empty", || fs::remove_dir(&self.0).is_ok());
    }
}

#[test]
fn short_of_memory_it_is_correct_or_says_so_or_is_gone() {
    let Some(limited) = Limited::new("memory") else {
        return na("memory", "no cgroup limits memory");
    };
    let place: TempDir = tempfile::tempdir().expect("a directory");
    let file = place.path().join("report.json");
    let path = file.display().to_string();
    let (mut killed, mut refused, mut reported) = (0, 0, 0);
    const ENOUGH: u64 = 200;
    for mib in [4, 12, 20, 28, 36, 44, 52, 60, 80, 120, ENOUGH] {
        let args = [
            "run",
            "--format",
            "json",
            "--buffer",
            "1MiB",
            "-o",
            &path,
            "--duration",
            "300ms",
        ];
        let outcome = limited.runs(mib << 20, &args);
        match outcome.status.code() {
            // By the kernel, which asks nobody.
            None if mib < ENOUGH => killed += 1,
            Some(0) => {
                reported += 1;
                let report = fs::read(&file).expect("a report");
                let report = serde_json::from_slice(&report).expect("a whole report");
                check_lossy_report(&report);
                fs::remove_file(&file).expect("it is there");
                if mib == ENOUGH {
                    expect_valid(&report);
                }
            }
            Some(code @ (1 | 3)) if mib < ENOUGH => {
                refused += 1;
                let text = outcome.stderr();
                assert!(text.starts_with("error: "), "{mib} MiB, {code}: {text}");
                assert!(!text.contains("internal:"), "{mib} MiB, {code}: {text}");
                assert!(
                    text.to_lowercase().contains("memory"),
                    "{mib} MiB, {code}: {text}"
                );
            }
            other => panic!("{mib} MiB: {other:?}: {}", outcome.stderr()),
        }
        let left = fs::read_dir(place.path()).expect("list").count();
        assert_eq!(left, 0, "{mib} MiB: something is left");
    }
    assert!(killed + refused > 0, "4 MiB were enough");
    assert!(
        reported > 1,
        "{killed} killed, {refused} refused, {reported} reported"
    );
}
