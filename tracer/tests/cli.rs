//! What the command line answers before anything is traced: usage, refusals, help, `doctor`, `generate`.
//!
//! Holds as root and as anybody else.

mod support;

use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt as _;
use std::process::{Command, Stdio};

use serde_json::Value;
use support::machine::{children, is_root, status, until};
use support::nobody::Nobody;
use support::{Outcome, Running, binary, check, tracer};

/// No trace of a panic, and nothing that a terminal would obey.
#[track_caller]
fn expect_clean(outcome: &Outcome) {
    for text in [outcome.stdout(), outcome.stderr()] {
        for word in ["panicked", "RUST_BACKTRACE", "internal:"] {
            assert!(!text.contains(word), "{text}");
        }
        let raw = |c: char| c.is_control() && c != '\n';
        assert!(!text.contains(raw), "{text:?}");
    }
}

/// An error without a list: one line on stderr, nothing on stdout.
#[track_caller]
fn one_line(outcome: &Outcome, code: i32) -> String {
    outcome.expect_code(code);
    expect_clean(outcome);
    let text = outcome.stderr();
    assert!(outcome.stdout.is_empty(), "{}", outcome.stdout());
    assert_eq!(text.lines().count(), 1, "{text}");
    assert!(
        text.starts_with("error: ") && text.ends_with('\n'),
        "{text}"
    );
    text
}

#[track_caller]
fn expect_parts(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "no {part:?} in:\n{text}");
    }
}

/// A refusal: a headline, then two lines for each obstacle: what was seen, and the remedy.
#[track_caller]
fn refusal(outcome: &Outcome, parts: &[&str]) {
    outcome.expect_code(3);
    expect_clean(outcome);
    assert!(outcome.stdout.is_empty(), "{}", outcome.stdout());
    let text = outcome.stderr();
    let mut words = text.lines().next().unwrap_or_default().split(' ');
    let missing: usize = words.find_map(|word| word.parse().ok()).unwrap_or_default();
    assert!(
        text.starts_with("error: cannot trace the scheduler, "),
        "{text}"
    );
    assert!(missing > 0, "{text}");
    assert_eq!(text.lines().count(), 1 + 2 * missing, "{text}");
    expect_parts(&text, parts);
}

/// Whether this user may trace here, as `doctor` says.
fn can_trace() -> bool {
    tracer(["doctor"]).status.success()
}

#[test]
fn wrong_usage_ends_with_2_and_one_line() {
    let cases: &[(&[&str], &[&str])] = &[
        (&[], &["no command given", "tracer --help"]),
        (&["recrod"], &["'recrod'"]),
        (&["run", "--pids", "5"], &["'--pids'", "'--pid'"]),
        (&["run", "--no-such-flag"], &["'--no-such-flag'"]),
        (&["doctor", "--duration", "1s"], &["'--duration'"]),
        (&["run", "ls"], &["'ls'"]),
        (&["run", "--format", "xml"], &["'xml'", "ndjson"]),
        (
            &["run", "--duration", "1s", "--duration", "2s"],
            &["multiple times"],
        ),
        (&["run", "--pid", "0"], &["'0'", "--pid"]),
        (&["run", "--pid", "1,x"], &["'x'", "--pid"]),
        (&["run", "--tid", "-1"], &["-1"]),
        (&["run", "--comm", "("], &["unclosed group"]),
        (&["run", "--max-threads", "0"], &["--max-threads"]),
        (&["run", "-o"], &["--output"]),
        (&["generate", "man"], &["<DIR>"]),
        (&["generate", "completions", "csh"], &["'csh'", "fish"]),
    ];
    for (args, parts) in cases {
        let text = one_line(&tracer(*args), 2);
        expect_parts(&text, parts);
    }
}

#[test]
fn bad_durations_and_sizes_say_what_is_accepted() {
    for flag in ["--duration", "--interval"] {
        for value in ["", "5", "0s", "1.5s", "1 s", "2d", "99999999999h", "s"] {
            let text = one_line(&tracer(["run", &format!("{flag}={value}")]), 2);
            expect_parts(&text, &[flag, "expected", "tracer run --help"]);
        }
    }
    expect_parts(
        &one_line(&tracer(["run", "--interval", "9ms"]), 2),
        &["10ms"],
    );
    for value in ["", "KiB", "4095", "2GiB", "1kB", "1.5MiB", "-1"] {
        let text = one_line(&tracer(["run", &format!("--buffer={value}")]), 2);
        expect_parts(&text, &["--buffer", "expected", "tracer run --help"]);
    }
}

#[test]
fn hostile_arguments_stay_on_one_line() {
    for argument in [&b"\x1b[2Jx\ny\r"[..], b"\xff\xfe", b"--\x1b]0;x\x07", b""] {
        let argument = OsStr::from_bytes(argument);
        one_line(&tracer([argument]), 2);
        one_line(&tracer([OsStr::new("run"), argument]), 2);
    }
}

#[test]
fn one_document_has_no_intervals() {
    let args = ["run", "--interval", "1s", "--format", "json"];
    expect_parts(
        &one_line(&tracer(args), 2),
        &["--interval", "json", "ndjson"],
    );
}

#[test]
fn a_pid_that_is_gone_is_named() {
    let mut short = Command::new("true").spawn().expect("start a process");
    let gone = short.id().to_string();
    short.wait().expect("it ends");
    for (flag, what) in [("--pid", "process"), ("--tid", "thread")] {
        let outcome = tracer(["run", flag, &gone]);
        if can_trace() {
            let text = one_line(&outcome, 1);
            expect_parts(&text, &[&format!("trace {what} {gone}"), "it has ended"]);
        } else {
            refusal(&outcome, &[]);
        }
    }
}

#[test]
fn a_thread_is_not_a_process() {
    let (told, tid) = std::sync::mpsc::channel();
    let (stop, stopped) = std::sync::mpsc::channel::<()>();
    let thread = std::thread::spawn(move || {
        let own = rustix::thread::gettid().as_raw_nonzero().to_string();
        told.send(own).expect("tell the number");
        let _ = stopped.recv();
    });
    let tid = tid.recv().expect("the thread lives");
    let outcome = tracer(["run", "--pid", &tid]);
    if can_trace() {
        let whole = format!("--pid {}", std::process::id());
        let text = one_line(&outcome, 1);
        expect_parts(&text, &[&format!("use --tid {tid}"), &whole]);
    } else {
        refusal(&outcome, &[]);
    }
    drop(stop);
    thread.join().expect("the thread ends");
}

#[test]
fn a_pid_from_inside_a_container_is_translated() {
    if !is_root() || !can_trace() {
        let name = "a_pid_from_inside_a_container_is_translated";
        return support::na(name, "only root makes a PID namespace, and traces");
    }
    let dir = tempfile::tempdir().expect("a directory for the answer");
    let answer = dir.path().join("pid");
    // Its /proc stays the host's: so it can tell which of its own numbers nobody has there. Those below
    // 300 are given out once only, whatever else starts on the host.
    let script =
        "while :; do sleep 1000 & [ -e /proc/$! ] || break; kill $!; wait $!; done; echo $!; wait";
    let mut unshare = Command::new("unshare");
    unshare
        .args(["--pid", "--fork", "--kill-child", "sh", "-c", script])
        .stdin(Stdio::null())
        .stdout(File::create(&answer).expect("create the answer"))
        .stderr(Stdio::null());
    let container = Running::start_as_is(&mut unshare);
    let read = || fs::read_to_string(&answer).unwrap_or_default();
    until("a number is found", || {
        container.has_ended() || read().ends_with('\n')
    });
    let inside = read().trim().to_owned();
    let shell = *children(container.id()).first().expect("the shell lives");
    let sleeper = children(shell)
        .into_iter()
        .find(|&pid| status(pid, "NSpid:").is_some_and(|pids| pids.ends_with(&inside)))
        .expect("the sleeper lives");
    let text = one_line(&tracer(["run", "--pid", &inside]), 1);
    let host = format!("{sleeper} (sleep)");
    expect_parts(&text, &[&format!("process {inside}"), "container", &host]);
    expect_parts(&text, &["use --pid"]);
}

#[test]
fn without_privileges_all_obstacles_are_listed_at_once() {
    let nobody = Nobody::new();
    let capabilities = ["CAP_BPF, CAP_PERFMON", "setcap cap_bpf,cap_perfmon+ep"];
    for args in [
        &["run"][..],
        &["run", "--pid", "1"],
        &["run", "--pid", "4194304"],
        &["run", "--", "true"],
    ] {
        refusal(&nobody.runs(args), &capabilities);
    }
    let mut both = nobody.command(&["run"]);
    let outcome = Running::start(both.env("TRACER_BTF", "/nonexistent")).finish();
    refusal(&outcome, &capabilities);
    refusal(&outcome, &["kernel BTF", "CONFIG_DEBUG_INFO_BTF"]);

    let doctor = nobody.runs(&["doctor"]);
    doctor.expect_code(3);
    expect_clean(&doctor);
    expect_parts(&doctor.stdout(), &["missing         CAP_BPF, CAP_PERFMON"]);
    // Its lines are wrapped.
    let words: Vec<String> = doctor
        .stdout()
        .split_whitespace()
        .map(str::to_owned)
        .collect();
    expect_parts(&words.join(" "), &["remedy: run as root, or: setcap"]);
}

#[test]
fn a_kernel_without_usable_btf_is_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    let at = |name: &str| dir.path().join(name);
    fs::write(at("garbage"), b"\xff\x00garbage\x1b[2J".repeat(100)).expect("write");
    fs::write(at("empty"), b"").expect("write");
    // The right head, and nothing behind it.
    fs::write(
        at("cut"),
        [0x9f, 0xeb, 1, 0, 24, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff],
    )
    .expect("write");
    for file in [
        "/nonexistent".into(),
        at("garbage"),
        at("empty"),
        at("cut"),
        at(""),
    ] {
        let with_btf =
            |args: &[&str]| Running::start(binary().args(args).env("TRACER_BTF", &file)).finish();
        refusal(&with_btf(&["run", "--duration", "1s"]), &["kernel BTF"]);
        let doctor = with_btf(&["doctor", "--format", "json"]);
        doctor.expect_code(3);
        let requirement = requirement(&doctor.json(), "kernel BTF");
        assert_eq!(requirement["state"], "missing", "{requirement:#}");
    }
}

#[track_caller]
fn requirement(document: &Value, name: &str) -> Value {
    let mut all = check::list(document, "requirements").iter();
    let found = all.find(|requirement| requirement["name"] == name);
    found.expect("the requirement is listed").clone()
}

#[test]
fn doctor_lists_every_requirement() {
    let table = tracer(["doctor"]);
    let json = tracer(["doctor", "--format", "json"]);
    expect_clean(&table);
    expect_clean(&json);
    assert!(table.stderr.is_empty() && json.stderr.is_empty());
    let document = json.json();
    assert_eq!(document["schema"], "tracer.doctor.v1");
    let code = if document["can_trace"] == true { 0 } else { 3 };
    table.expect_code(code);
    json.expect_code(code);

    let text = table.stdout();
    assert!(
        text.lines().all(|line| line.chars().count() <= 80),
        "{text}"
    );
    let requirements = check::list(&document, "requirements");
    assert!(requirements.len() > 20, "{document:#}");
    for requirement in requirements {
        let word = match requirement["state"].as_str() {
            Some("found") => "found",
            Some("missing") => "missing",
            Some("unknown") => "could not tell",
            _ => panic!("{requirement:#}"),
        };
        assert!(requirement["required"].is_boolean(), "{requirement:#}");
        for key in ["name", "seen", "lost", "remedy"] {
            let value = requirement[key].as_str().unwrap_or_default();
            assert!(!value.is_empty(), "{key} of {requirement:#}");
        }
        let name = requirement["name"].as_str().unwrap_or_default();
        expect_parts(&text, &[&format!("  {word:15} {name}")]);
    }
    let missing =
        |requirement: &&Value| requirement["required"] == true && requirement["state"] == "missing";
    let missing = requirements.iter().filter(missing).count();
    assert_eq!(missing == 0, document["can_trace"] == true);
    for name in ["kernel version", "kernel BTF", "CAP_BPF, CAP_PERFMON"] {
        assert_eq!(requirement(&document, name)["required"], true);
    }
    for name in ["sched_switch", "SCHED_INFO", "sched_entry_tp", "tracefs"] {
        requirement(&document, name);
    }
}

#[test]
fn a_reader_that_went_away_is_no_error() {
    for args in [
        &["doctor"][..],
        &["doctor", "--format", "json"],
        &["run", "--help"],
        &["--version"],
        &["generate", "completions", "bash"],
    ] {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let mut command = binary();
        command
            .args(args)
            .stdin(Stdio::null())
            .stdout(writer)
            .stderr(Stdio::piped());
        let outcome = Running::start_as_is(&mut command).finish();
        outcome.expect_code(0);
        assert!(outcome.stderr.is_empty(), "{}", outcome.stderr());
    }
}

#[test]
fn a_full_disk_is_an_error() {
    for args in [
        &["doctor"][..],
        &["--help"],
        &["generate", "completions", "zsh"],
    ] {
        let mut command = binary();
        command
            .args(args)
            .stdin(Stdio::null())
            .stdout(File::create("/dev/full").expect("open"))
            .stderr(Stdio::piped());
        let outcome = Running::start_as_is(&mut command).finish();
        expect_parts(&one_line(&outcome, 1), &["write", "No space left"]);
    }
}

/// The help as wide as clap makes it where there is no terminal.
#[track_caller]
fn help(args: &[&str]) -> String {
    let outcome = Running::start(binary().args(args).env("COLUMNS", "100")).finish();
    outcome.expect_code(0);
    expect_clean(&outcome);
    assert!(outcome.stderr.is_empty(), "{}", outcome.stderr());
    outcome.stdout()
}

#[test]
fn help_is_an_answer() {
    insta::assert_snapshot!("help", help(&["--help"]));
    insta::assert_snapshot!("help_run", help(&["run", "--help"]));
    insta::assert_snapshot!("help_doctor", help(&["doctor", "--help"]));
    let version = format!("tracer {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(help(&["--version"]), version);
    assert_eq!(help(&["-V"]), version);
    help(&["-h"]);
    help(&["run", "-h"]);
}

#[test]
fn man_pages_and_completions_know_every_flag() {
    let text = help(&["run", "--help"]);
    let is_end = |c: char| !c.is_ascii_alphanumeric() && c != '-';
    let flags: Vec<&str> = text
        .lines()
        .filter(|line| line.trim_start().starts_with('-'))
        .filter_map(|line| line.split_once("--")?.1.split(is_end).next())
        .collect();
    assert!(
        flags.len() > 10 && flags.contains(&"no-children"),
        "{flags:?}"
    );

    let dir = tempfile::tempdir().expect("a directory for the pages");
    let pages = dir.path().join("man");
    let outcome = tracer([OsStr::new("generate"), OsStr::new("man"), pages.as_os_str()]);
    outcome.expect_code(0);
    let page = fs::read_to_string(pages.join("tracer-run.1")).expect("the page is there");
    // Troff writes a hyphen that is to be copied with a backslash.
    let page = page.replace("\\-", "-");
    for flag in &flags {
        expect_parts(&page, &[&format!("--{flag}")]);
    }
    for (shell, before) in [("bash", "--"), ("zsh", "--"), ("fish", "-l ")] {
        let outcome = tracer(["generate", "completions", shell]);
        outcome.expect_code(0);
        for flag in &flags {
            expect_parts(&outcome.stdout(), &[&format!("{before}{flag}")]);
        }
    }
}

#[test]
fn man_pages_need_a_directory() {
    let file = tempfile::NamedTempFile::new().expect("a file");
    let path = file.path().display().to_string();
    expect_parts(&one_line(&tracer(["generate", "man", &path]), 1), &[&path]);
}
