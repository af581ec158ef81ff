//! `tracer verify` on the running kernel: what it says of switches, of the TLB and of itself, and what is left of it.

use std::process::Command;
use std::sync::LazyLock;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use support::budget::number;
use support::verify::{
    claim, expect_nothing_left, expect_whole, measurement, median, quick, quick_unprivileged,
};
use support::{Running, binary};

mod support;

const NAMES: [&str; 3] = ["switch", "tlb", "self"];

/// One run of the experiments of this file, for all tests that only look.
static QUICK: LazyLock<Value> = LazyLock::new(|| quick(&NAMES));

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
        let document = quick(&["switch"]);
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
    let runs = [(); 3].map(|()| quick(&["switch"]));
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

#[test]
fn whoever_ends_it_nothing_is_left_behind() {
    for (signal, after_ms) in [
        (Signal::INT, 300),
        (Signal::KILL, 300),
        (Signal::INT, 1_500),
        (Signal::KILL, 1_500),
        (Signal::KILL, 3_000),
    ] {
        expect_nothing_left(&NAMES, signal, Duration::from_millis(after_ms));
    }
}

/// What the kernel alone can tell is n/a, with the reason; the rest is measured.
#[test]
fn without_privileges_the_rest_is_measured() {
    let document = quick_unprivileged(&NAMES);
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
