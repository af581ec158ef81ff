//! `tracer verify` on the running kernel: what it says of switches, of the TLB and of itself, and what is left of it.

use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;

use support::budget::number;
use support::check::list;
use support::{Outcome, Running, binary, pause};

mod support;

/// One run of the experiments of this file, for all tests that only look.
static QUICK: LazyLock<Value> = LazyLock::new(|| {
    let mut args = vec!["verify", "--quick", "--format", "json"];
    for name in ["switch", "tlb", "self"] {
        args.extend(["--only", name]);
    }
    let outcome = Running::start(binary().args(args)).finish();
    outcome.expect_code(0);
    outcome.json()
});

fn measurement<'a>(document: &'a Value, name: &str) -> &'a Value {
    list(document, "experiments")
        .iter()
        .flat_map(|experiment| list(experiment, "measurements"))
        .find(|measurement| measurement["name"] == name)
        .unwrap_or_else(|| panic!("no {name} in {document:#}"))
}

fn median(document: &Value, name: &str) -> f64 {
    let measurement = measurement(document, name);
    let median = measurement["median"].as_f64();
    median.unwrap_or_else(|| panic!("{measurement:#}"))
}

fn claim<'a>(document: &'a Value, name: &str) -> &'a Value {
    list(document, "claims")
        .iter()
        .find(|claim| claim["name"] == name)
        .unwrap_or_else(|| panic!("no claim {name} in {document:#}"))
}

/// Whatever was found, it is told whole: no verdict without a reason, no number without how well it is known.
#[track_caller]
fn expect_whole(document: &Value) {
    assert_eq!(document["schema"], "tracer.verify.v1");
    let mut names = BTreeSet::new();
    for claim in list(document, "claims") {
        let name = claim["name"].as_str().expect("a name");
        assert!(names.insert(name), "{name} twice");
        let because = claim["because"].as_str().expect("a reason");
        assert!(because.len() > 10, "{claim:#}");
        assert!(!claim["claim"].as_str().expect("a claim").is_empty());
        assert!(!claim["source"].as_str().expect("a source").is_empty());
        match claim["verdict"].as_str().expect("a verdict") {
            "n/a" => assert!(claim["measured"].is_null(), "{claim:#}"),
            "confirmed" | "refuted" | "depends" => {
                assert!(claim["measured"].is_number(), "{claim:#}");
            }
            other => panic!("verdict {other}"),
        }
    }
    for experiment in list(document, "experiments") {
        assert!(experiment["not_measured"].is_null(), "{experiment:#}");
        assert!(
            experiment["method"]
                .as_str()
                .is_some_and(|it| it.len() > 40)
        );
        for measurement in list(experiment, "measurements") {
            let name = measurement["name"].as_str().expect("a name");
            assert!(names.insert(name), "{name} twice");
            let is_known = measurement["median"].is_number();
            assert_eq!(
                is_known,
                measurement["not_measured"].is_null(),
                "{measurement:#}"
            );
            if let Some([low, high]) = measurement["interval"].as_array().map(Vec::as_slice) {
                let at = measurement["median"].as_f64();
                assert!(low.as_f64() <= at && at <= high.as_f64(), "{measurement:#}");
            }
        }
    }
}

#[test]
fn what_is_found_is_told_whole() {
    expect_whole(&QUICK);
}

/// Each pass of the token is a switch of this kind; the few others are those that begin and end the pattern, and those
/// of whoever else wants the CPU.
#[test]
fn threads_stay_in_their_process_and_processes_do_not() {
    let same = median(&QUICK, "switch.threads.same_process");
    let other = median(&QUICK, "switch.processes.other_process");
    assert!(same >= 0.99, "{same}");
    assert!(other >= 0.99, "{other}");
}

#[test]
fn changes_of_the_address_space_are_those_that_the_pattern_made() {
    let changes = median(&QUICK, "switch.processes.address_space_changes");
    let passes = median(&QUICK, "switch.processes.passes");
    assert!(
        (passes..=passes * 1.01 + 40.0).contains(&changes),
        "{changes} changes, {passes} passes"
    );
    let of_threads = median(&QUICK, "switch.threads.address_space_changes");
    let passes = median(&QUICK, "switch.threads.passes");
    assert!(
        of_threads <= passes * 0.01 + 40.0,
        "{of_threads} of {passes}"
    );
}

/// Two address spaces have tags of their own where the processor has tags; whatever the share is, the kernel told of
/// every change.
#[test]
fn every_change_of_the_address_space_is_told_flushed_or_not() {
    for spaces in [2, 4, 8, 16] {
        let flushed = measurement(&QUICK, &format!("tlb.flushed.{spaces}_spaces"));
        let share = flushed["median"].as_f64().expect("measured");
        assert!((0.0..=1.0).contains(&share), "{flushed:#}");
        let told = number(flushed, "/n") as f64;
        let passes = median(&QUICK, &format!("tlb.passes.{spaces}_spaces"));
        assert!(told >= passes * 0.999, "{told} of {passes}");
    }
    // More address spaces than there are tags cannot flush less often than two.
    let share = |spaces| median(&QUICK, &format!("tlb.flushed.{spaces}_spaces"));
    assert!(share(16) >= share(2), "{} {}", share(16), share(2));
}

#[test]
fn a_switch_in_place_is_a_part_of_half_a_round() {
    let half = median(&QUICK, "switch.threads.futex.round") / 2.0;
    let own = median(&QUICK, "switch.in_place.same_space");
    assert!(own > 0.0 && own < half, "{own} of {half}");
    assert!(median(&QUICK, "switch.in_place.empty_pair") > 0.0);
    let spaces = measurement(&QUICK, "switch.in_place.other_space");
    assert!(number(spaces, "/n") > 1_000, "{spaces:#}");
}

#[test]
fn the_tracer_is_right_about_itself() {
    assert_eq!(claim(&QUICK, "self.complete")["verdict"], "confirmed");
    assert_eq!(median(&QUICK, "self.lost_records"), 0.0);
    assert!(median(&QUICK, "self.threads_checked") >= 10.0);
}

/// Whoever else runs only makes it slower: the fastest of a few runs of `perf bench` against our median.
#[test]
fn round_trips_are_those_of_perf_bench() {
    let perf = |flags: &[&str]| -> f64 {
        let mut command = Command::new("taskset");
        command.args(["-c", "0", "perf", "bench", "sched", "pipe", "-l", "3000"]);
        let outcome = Running::start(command.args(flags)).finish();
        outcome.expect_code(0);
        let text = outcome.stdout();
        let line = text
            .lines()
            .find_map(|line| line.trim().strip_suffix(" usecs/op"));
        let us: f64 = line.and_then(|us| us.parse().ok()).expect("usecs/op");
        us * 1_000.0
    };
    let mut theirs = [f64::INFINITY; 2];
    let mut ours = [f64::INFINITY; 2];
    for _ in 0..3 {
        // Short ones: some of them nobody interrupts.
        for _ in 0..10 {
            for (best, flags) in theirs.iter_mut().zip([&["-T"][..], &[]]) {
                *best = best.min(perf(flags));
            }
        }
        let args = ["verify", "--quick", "--only", "switch", "--format", "json"];
        let outcome = Running::start(binary().args(args)).finish();
        outcome.expect_code(0);
        let document = outcome.json();
        for (best, party) in ours.iter_mut().zip(["threads", "processes"]) {
            *best = best.min(median(&document, &format!("switch.{party}.pipe.round")));
        }
    }
    for (ours, theirs) in ours.iter().zip(theirs) {
        let ratio = ours / theirs;
        assert!(
            (0.85..=1.15).contains(&ratio),
            "{ours} ns here, {theirs} ns by perf"
        );
    }
}

/// Three runs agree within a tenth, or say that they are noisy.
#[test]
fn switches_in_place_are_stable_or_marked_noisy() {
    let run = || {
        let args = ["verify", "--quick", "--only", "switch", "--format", "json"];
        let outcome = Running::start(binary().args(args)).finish();
        outcome.expect_code(0);
        outcome.json()
    };
    let runs = [run(), run(), run()];
    for kind in ["same_space", "other_space"] {
        let name = format!("switch.in_place.{kind}");
        let medians = runs.iter().map(|run| median(run, &name));
        let (low, high) = medians.fold((f64::INFINITY, 0.0_f64), |(low, high), it| {
            (low.min(it), high.max(it))
        });
        let is_noisy = runs
            .iter()
            .any(|run| measurement(run, &name)["noisy"] == true);
        assert!(high <= low * 1.1 || is_noisy, "{name}: {low} to {high} ns");
    }
}

/// Of processes of this binary, by pid.
fn running() -> BTreeSet<u32> {
    let own = Path::new(env!("CARGO_BIN_EXE_tracer"));
    let own = own.canonicalize().expect("the binary is there");
    let pids = fs::read_dir("/proc").expect("/proc").flatten();
    let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid| match fs::read_link(format!("/proc/{pid}/exe")) {
        Ok(exe) => exe == own,
        Err(error) => {
            let gone = matches!(
                error.kind(),
                ErrorKind::NotFound | ErrorKind::PermissionDenied
            );
            assert!(gone, "{error}");
            false
        }
    })
    .collect()
}

#[test]
fn whoever_ends_it_nothing_is_left_behind() {
    let before = running();
    for (signal, after_ms) in [
        (Signal::INT, 300),
        (Signal::KILL, 300),
        (Signal::INT, 1_500),
        (Signal::KILL, 1_500),
        (Signal::KILL, 3_000),
    ] {
        let mut command = binary();
        command.args([
            "verify", "--only", "switch", "--only", "tlb", "--only", "self",
        ]);
        let verify = Running::start(&mut command);
        let until = Instant::now() + Duration::from_millis(after_ms);
        while Instant::now() < until || running().difference(&before).count() < 2 {
            assert!(!verify.has_ended(), "it has ended by itself");
            pause();
        }
        // To it alone: a terminal would tell its children, too.
        verify.signal(signal);
        let Outcome { status, .. } = verify.finish();
        let code = (signal == Signal::INT).then_some(130);
        assert_eq!(status.code(), code, "{status}");
        let patience = Instant::now() + Duration::from_secs(5);
        loop {
            let left: Vec<u32> = running().difference(&before).copied().collect();
            if left.is_empty() {
                break;
            }
            assert!(Instant::now() < patience, "{signal:?} left {left:?}");
            pause();
        }
    }
}

/// What the kernel alone can tell is n/a, with the reason; the rest is measured.
#[test]
fn without_privileges_the_rest_is_measured() {
    let dir = tempfile::tempdir().expect("a directory for the binary");
    let open = || fs::Permissions::from_mode(0o755);
    fs::set_permissions(dir.path(), open()).expect("let all in");
    let copy = dir.path().join("tracer");
    fs::copy(binary().get_program(), &copy).expect("copy the binary");
    fs::set_permissions(&copy, open()).expect("let all run it");
    let mut command = Command::new("setpriv");
    command.args(["--reuid", "nobody", "--clear-groups"]);
    command.arg(copy).current_dir("/");
    command.args(["verify", "--quick", "--format", "json"]);
    for name in ["switch", "tlb", "self"] {
        command.args(["--only", name]);
    }
    let outcome = Running::start(&mut command).finish();
    outcome.expect_code(0);
    let document = outcome.json();
    expect_whole(&document);
    assert!(median(&document, "switch.threads.futex.round") > 0.0);
    for name in [
        "switch.in_place.same_space",
        "switch.threads.same_process",
        "tlb.flushed.2_spaces",
        "self.overhead",
    ] {
        let why = &measurement(&document, name)["not_measured"];
        let why = why.as_str().unwrap_or_else(|| panic!("{name} is measured"));
        assert!(why.contains("CAP_BPF"), "{why}");
    }
    for name in ["tlb.process_switch", "self.complete"] {
        assert_eq!(claim(&document, name)["verdict"], "n/a");
    }
    assert_ne!(claim(&document, "switch.micros")["verdict"], "n/a");
}

#[test]
fn the_table_says_the_same() {
    let mut command = binary();
    command.args(["verify", "--quick", "--only", "tlb"]);
    let outcome = Running::start(&mut command).finish();
    outcome.expect_code(0);
    let text = outcome.stdout();
    assert!(
        text.contains("A switch between processes flushes the TLB"),
        "{text}"
    );
    assert!(text.contains("tlb.flushed.16_spaces"), "{text}");
    assert!(!text.contains('\u{1b}'), "a pipe gets no colour");
}
