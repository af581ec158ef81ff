//! What CONTRACT promises of who is blamed for waits.

use std::collections::HashMap;

use serde_json::Value;

use super::check::list;
use super::threads;

/// Of `waited_for`.
const CHARGES: [&str; 9] = [
    "thread",
    "kernel_thread",
    "irq",
    "softirq",
    "steal",
    "throttled",
    "idle",
    "other_cpu",
    "unknown",
];

/// Of `woken_by`.
const WAKERS: [&str; 6] = ["thread", "irq", "softirq", "timer", "self", "unknown"];

const CAUSES: [&str; 6] = [
    "preempted",
    "yielded",
    "throttled",
    "requeued",
    "woken",
    "new",
];

/// What the shares of a report break, empty when nothing.
pub fn problems(report: &Value) -> Vec<String> {
    let mut found = Vec::new();
    let tid = |process: &Value, thread: &Value| (process["pid"].as_u64(), thread["tid"].as_u64());
    let mut rows: HashMap<_, usize> = HashMap::new();
    for (process, thread) in threads(report) {
        *rows.entry(tid(process, thread)).or_default() += 1;
    }
    for (process, thread) in threads(report) {
        let what = format!("process {}, thread {}", process["pid"], thread["tid"]);
        check_thread(&mut found, thread, &what);
        // Exec by another thread than the leader gives that one the leader's tid: then there are two.
        let same = |other: &&Value| other["tid"] == thread["tid"];
        let alone = rows[&tid(process, thread)] == 1;
        let itself = list(thread, "waited_for").iter().find(same);
        if let (Some(share), true) = (itself, alone && thread["was_tid"].is_null()) {
            found.push(format!("{what}: waited for itself: {share}"));
        }
    }
    for spike in list(report, "spikes") {
        check_spike(&mut found, spike);
    }
    let causes = list(report, "spike_causes");
    let shares: f64 = causes.iter().filter_map(|c| c["share"].as_f64()).sum();
    if !(0.0..=1.001).contains(&shares) {
        found.push(format!("the causes of spikes have shares of {shares}"));
    }
    let insights = list(report, "insights");
    if insights.len() > 5 {
        found.push(format!("{} insights are more than five", insights.len()));
    }
    for insight in insights {
        for key in ["text", "evidence", "remedy"] {
            if insight[key].as_str().is_none_or(str::is_empty) {
                found.push(format!("an insight without {key}: {insight}"));
            }
        }
    }
    found
}

fn check_thread(found: &mut Vec<String>, thread: &Value, what: &str) {
    let number = |key: &str| thread[key].as_u64().unwrap_or(0);
    if thread.get("waited_for").is_some() {
        check_shares(found, thread, what);
    }
    let taken = ["run_steal_ns", "run_irq_ns", "run_softirq_ns"].map(number);
    if taken.iter().sum::<u64>() > number("run_ns") {
        found.push(format!(
            "{what}: {taken:?} of {} ns were taken",
            number("run_ns")
        ));
    }
    let sum = |key: &str, of: &str| -> u64 {
        let rows = list(thread, key).iter();
        rows.filter_map(|row| row[of].as_u64()).sum()
    };
    let involuntary = thread["switches"]["involuntary"].as_u64();
    let preemptions = sum("preempted_by", "count");
    if Some(preemptions) > involuntary {
        found.push(format!(
            "{what}: preempted {preemptions} times in {involuntary:?} involuntary switches"
        ));
    }
    if sum("preempted_by", "ns") > number("wait_ns") {
        found.push(format!(
            "{what}: preemptions made it wait longer than it waited"
        ));
    }
    for waker in list(thread, "woken_by") {
        check_kind(found, waker, &WAKERS, &["thread", "self"], what);
    }
}

/// Whole, in order, and each of a kind that is known.
fn check_shares(found: &mut Vec<String>, row: &Value, what: &str) {
    let shares = list(row, "waited_for");
    let length = |share: &Value| share["ns"].as_u64();
    let sum: Option<u64> = shares.iter().map(length).sum();
    if sum != row["wait_ns"].as_u64() {
        found.push(format!(
            "{what}: waited for {sum:?} ns, wait_ns is {}: {}",
            row["wait_ns"], row["waited_for"]
        ));
    }
    if !shares.is_sorted_by(|a, b| length(a) >= length(b)) {
        found.push(format!(
            "{what}: not the biggest first: {}",
            row["waited_for"]
        ));
    }
    for share in shares {
        check_kind(found, share, &CHARGES, &["thread", "kernel_thread"], what);
    }
}

/// Threads have names, or at least numbers, or are the sum of those that have no place of their own; nothing else
/// has.
fn check_kind(found: &mut Vec<String>, row: &Value, known: &[&str], named: &[&str], what: &str) {
    let kind = row["kind"].as_str().unwrap_or_default();
    let has_name = ["pid", "tid", "comm"].map(|key| !row[key].is_null());
    let known_by = [[true; 3], [false, true, false]];
    let is_named = known_by.contains(&has_name) && named.contains(&kind);
    if !known.contains(&kind) || !(is_named || has_name == [false; 3]) {
        found.push(format!("{what}: an odd entry: {row}"));
    }
    if row["count"].as_u64().unwrap_or(0) == 0 {
        found.push(format!("{what}: an entry that counts nothing: {row}"));
    }
}

fn check_spike(found: &mut Vec<String>, spike: &Value) {
    let what = format!("the spike of {} at {}", spike["tid"], spike["at_ns"]);
    check_shares(found, spike, &what);
    let number = |key: &str| spike[key].as_u64();
    let wake = number("wake_ns").unwrap_or(0);
    if number("latency_ns") != number("wait_ns").map(|wait| wait + wake) {
        found.push(format!("{what}: latency is not wake and wait: {spike}"));
    }
    let cause = spike["cause"].as_str().unwrap_or_default();
    if !CAUSES.contains(&cause) || spike["finished"].as_bool().is_none() {
        found.push(format!("{what}: an odd spike: {spike}"));
    }
    let text = spike["text"].as_str().unwrap_or_default();
    if !text.contains(cause) || text.contains(|c: char| c.is_control()) {
        found.push(format!("{what}: it says {text:?}"));
    }
}

/// What nobody may know of a test's waits: those that began before the probes were on, or behind many others while a
/// thread ran that the kernel exempts from tracing.
pub const HIDDEN_NS: u64 = 2_000_000;

/// Nearly all of the waits is named.
#[track_caller]
pub fn expect_named(report: &Value) {
    let (mut waits, mut unknown) = (0, 0);
    for (_, thread) in threads(report) {
        waits += thread["wait_ns"].as_u64().unwrap_or(0);
        unknown += charged(thread, |share| share["kind"] == "unknown");
    }
    assert!(
        unknown <= (waits / 100).max(HIDDEN_NS),
        "{unknown} of {waits} ns of waits are unknown"
    );
}

/// How much of a wait goes to those that are meant.
pub fn charged(row: &Value, is_meant: impl Fn(&Value) -> bool) -> u64 {
    let shares = list(row, "waited_for").iter();
    let meant = shares.filter(|share| is_meant(share));
    meant.filter_map(|share| share["ns"].as_u64()).sum()
}

pub fn charged_to_pid(row: &Value, pid: u32) -> u64 {
    charged(row, |share| share["pid"] == pid)
}

pub fn charged_to_kind(row: &Value, kind: &str) -> u64 {
    charged(row, |share| share["kind"] == kind)
}

/// The row of a thread that must be there.
#[track_caller]
pub fn thread(report: &Value, tid: u32) -> &Value {
    let found = threads(report)
        .map(|(_, thread)| thread)
        .find(|thread| thread["tid"] == tid)
        .unwrap_or_else(|| panic!("no thread {tid} in {report}"));
    assert!(found["waited_for"].is_array(), "no shares: {found}");
    found
}

#[track_caller]
pub fn number(value: &Value, pointer: &str) -> u64 {
    let found = value.pointer(pointer).and_then(Value::as_u64);
    found.unwrap_or_else(|| panic!("{pointer} is no number in {value}"))
}

/// Two numbers that are the same but for a part of the larger one, in percent, and what cannot be told apart.
#[track_caller]
pub fn expect_close(what: &str, one: u64, other: u64, percent: u64, floor: u64) {
    let allowed = (one.max(other) * percent / 100).max(floor);
    assert!(
        one.abs_diff(other) <= allowed,
        "{what}: {one} and {other} differ by more than {allowed}"
    );
}
