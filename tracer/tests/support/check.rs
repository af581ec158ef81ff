//! What CONTRACT promises of every report, checked on the JSON that users get.

use std::collections::HashSet;

use serde_json::Value;

/// The sums of which lifetime is made.
const PARTS: [&str; 6] = [
    "run_ns",
    "wait_ns",
    "sleep_ns",
    "block_ns",
    "stopped_ns",
    "unknown_ns",
];

/// What a process sums up over its threads, as JSON pointers below `totals` or a thread.
const SUMMED: [&str; 20] = [
    "/lifetime_ns",
    "/run_ns",
    "/run_steal_ns",
    "/wait_ns",
    "/wait_uncounted_ns",
    "/sleep_ns",
    "/block_ns",
    "/iowait_ns",
    "/stopped_ns",
    "/unknown_ns",
    "/wake_ns",
    "/switches/voluntary",
    "/switches/involuntary",
    "/switches/involuntary_yields",
    "/kinds/same_process",
    "/kinds/other_process",
    "/kinds/kernel_thread",
    "/kinds/idle",
    "/address_space_changes",
    "/migrations",
];

/// Fails with everything that is wrong, not only the first.
#[track_caller]
pub fn check_report(report: &Value) {
    let problems = problems(report);
    assert!(
        problems.is_empty(),
        "the report breaks its contract:\n  {}",
        problems.join("\n  ")
    );
}

/// The same where something may have been lost: then the last switch of a thread may be among it, and its
/// exit is known and neither its counters nor the length of its life are.
#[track_caller]
pub fn check_lossy_report(report: &Value) {
    let mut problems = problems(report);
    if report["quality"]["lost_records"].as_u64() > Some(0) {
        let unknown = |problem: &String| {
            problem.ends_with("ended, and no counters of the kernel")
                || problem.starts_with("ended, and no length of its life")
        };
        problems.retain(|problem| !unknown(problem));
    }
    assert!(
        problems.is_empty(),
        "the report breaks its contract:\n  {}\n{:#}",
        problems.join("\n  "),
        report["quality"]
    );
}

/// Empty when every invariant holds.
pub fn problems(report: &Value) -> Vec<String> {
    let mut found = Found {
        report,
        problems: Vec::new(),
    };
    if report["schema"] != "tracer.report.v1" {
        found.add(format!("schema is {}", report["schema"]));
    }
    check_quality(&mut found);
    check_system(&mut found);
    for process in list(report, "processes") {
        check_process(&mut found, process);
    }
    check_order(
        &mut found,
        "processes",
        list(report, "processes"),
        "/totals/wait_ns",
    );
    found.problems.extend(super::budget::problems(report));
    found.problems.extend(super::births::problems(report));
    found.problems
}

/// The array under a key; empty when there is none.
pub fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value[key].as_array().map_or(&[], Vec::as_slice)
}

struct Found<'a> {
    report: &'a Value,
    problems: Vec<String>,
}

impl Found<'_> {
    fn add(&mut self, problem: String) {
        self.problems.push(problem);
    }

    /// A number that must be there; what is not is a problem, not a zero.
    fn number(&mut self, value: &Value, pointer: &str, what: &str) -> u64 {
        value
            .pointer(pointer)
            .and_then(Value::as_u64)
            .unwrap_or_else(|| {
                self.add(format!(
                    "{what}: {pointer} is not a number: {:?}",
                    value.pointer(pointer)
                ));
                0
            })
    }

    fn is_valid(&self) -> bool {
        self.report["quality"]["verdict"] == "valid"
    }

    fn mismatch(&self, tid: &Value, field: &str) -> Option<&Value> {
        let same = |mismatch: &&Value| mismatch["tid"] == *tid && mismatch["field"] == field;
        list(&self.report["quality"], "mismatches")
            .iter()
            .find(same)
    }
}

fn check_quality(found: &mut Found<'_>) {
    let quality = &found.report["quality"];
    let mut number = |key: &str| found.number(quality, &format!("/{key}"), "quality");
    let [records, switches] = ["lost_records", "lost_switches"].map(&mut number);
    // Kernels before 5.12 do not tell.
    let missed = match &quality["missed_events"] {
        Value::Null if quality.get("missed_events").is_some() => 0,
        _ => number("missed_events"),
    };
    let lost = [records, switches, missed];
    let [checked, matched, folded] =
        ["threads_checked", "threads_matched", "folded_threads"].map(&mut number);
    let mismatches = list(quality, "mismatches");
    let unexplained = mismatches
        .iter()
        .filter(|mismatch| mismatch["reason"].is_null())
        .count();
    // A note on threads that the kernel shows to nobody is no doubt in the others.
    let is_note = |reason: &&Value| {
        let text = reason.as_str().unwrap_or_default();
        text.starts_with("the kernel exempts")
    };
    let reasons = list(quality, "reasons").iter();
    let reasons = reasons.filter(|reason| !is_note(reason)).count();
    if matched > checked {
        found.add(format!("quality: {matched} threads matched of {checked}"));
    }
    let explained: HashSet<_> = mismatches
        .iter()
        .map(|mismatch| mismatch["tid"].as_u64())
        .collect();
    match quality["verdict"].as_str() {
        Some("valid") => {
            if lost != [0; 3] {
                found.add(format!("valid with losses: {lost:?}"));
            }
            if reasons > 0 {
                found.add(format!(
                    "valid with reasons against it: {}",
                    quality["reasons"]
                ));
            }
            if matched + (explained.len() as u64) < checked {
                found.add(format!(
                    "valid, but of {checked} threads {matched} match and {} are listed",
                    explained.len()
                ));
            }
        }
        Some("degraded" | "invalid") if reasons == 0 => {
            found.add("not valid without a reason".into())
        }
        Some("degraded" | "invalid") => {}
        _ => found.add(format!("verdict is {}", quality["verdict"])),
    }
    if unexplained > 0 && quality["verdict"] != "invalid" && lost == [0; 3] {
        found.add(format!(
            "{unexplained} unexplained mismatches, nothing lost, and not invalid"
        ));
    }
    for reason in mismatches
        .iter()
        .map(|mismatch| &mismatch["reason"])
        .filter(|reason| !reason.is_null())
    {
        if ![
            "kernel_counted_sleep",
            "kernel_missed_wait",
            "kernel_stale_clock",
            "began_before_a_hole",
        ]
        .iter()
        .any(|known| reason == known)
        {
            found.add(format!("a mismatch has the unknown reason {reason}"));
        }
    }
    let of_processes = list(found.report, "processes")
        .iter()
        .map(|process| process["folded"]["threads"].as_u64());
    if of_processes.sum::<Option<u64>>() != Some(folded) {
        found.add(format!(
            "quality: folded_threads {folded} are not those of the processes"
        ));
    }
}

fn check_system(found: &mut Found<'_>) {
    let system = &found.report["system"];
    let totals =
        ["switches", "voluntary", "involuntary", "from_idle"].map(|key| system[key].as_u64());
    match totals {
        [
            Some(all),
            Some(voluntary),
            Some(involuntary),
            Some(from_idle),
        ] => {
            if all != voluntary + involuntary + from_idle {
                found.add(format!(
                    "system: {all} switches are not {voluntary} + {involuntary} + {from_idle}"
                ));
            }
        }
        [None, None, None, None] => {}
        _ => found.add(format!(
            "system: some totals are null and some are not: {totals:?}"
        )),
    }
    let window = found.number(&found.report["window"], "/duration_ns", "window");
    for cpu in list(system, "cpus") {
        let what = format!("cpu {}", cpu["cpu"]);
        let [busy, idle] = ["/busy_ns", "/idle_ns"].map(|key| found.number(cpu, key, &what));
        if (busy + idle).abs_diff(window) > window / 1_000 {
            found.add(format!(
                "{what}: busy {busy} + idle {idle} is not the window, {window}"
            ));
        }
    }
}

fn check_process(found: &mut Found<'_>, process: &Value) {
    let what = format!("process {}", process["pid"]);
    let threads = list(process, "threads");
    let folded = &process["folded"];
    let [max, total, ended] = ["/threads_max", "/threads_total", "/folded/threads"]
        .map(|pointer| found.number(process, pointer, &what));
    if max > total || threads.len() as u64 + ended > total {
        found.add(format!(
            "{what}: {} threads and {ended} folded, of {total}, at most {max} at once",
            threads.len()
        ));
    }
    let totals = &process["totals"];
    let mut parts: Vec<&Value> = threads.iter().collect();
    if ended > 0 {
        parts.push(&folded["totals"]);
    }
    for pointer in SUMMED {
        let number = |part: &&Value| part.pointer(pointer).and_then(Value::as_u64);
        let sum: Option<u64> = parts.iter().map(number).sum();
        // Nothing to sum: zero, or not measured at all.
        if number(&totals) != sum && !parts.is_empty() {
            found.add(format!(
                "{what}: total {pointer} is {:?}, its parts make {sum:?}",
                number(&totals)
            ));
        }
    }
    check_life(found, totals, &what);
    check_life(found, &folded["totals"], &format!("{what}, folded threads"));
    for thread in threads {
        check_thread(found, thread, &format!("{what}, thread {}", thread["tid"]));
    }
    check_order(found, &what, threads, "/wait_ns");
}

/// The identity, and parts that are never more than what they are parts of.
fn check_life(found: &mut Found<'_>, times: &Value, what: &str) {
    let life = found.number(times, "/lifetime_ns", what);
    let parts = PARTS.map(|part| found.number(times, &format!("/{part}"), what));
    let sum: u64 = parts.iter().sum();
    if sum != life {
        found.add(format!(
            "{what}: {PARTS:?} = {parts:?} make {sum}, and lifetime_ns is {life}"
        ));
    }
    let [run, wait, sleep, block, stopped, unknown] = parts;
    if unknown > 0 && found.is_valid() {
        found.add(format!("{what}: valid with {unknown} ns unknown"));
    }
    let uncounted = found.number(times, "/wait_uncounted_ns", what);
    let [voluntary, involuntary] = ["voluntary", "involuntary"]
        .map(|class| found.number(times, &format!("/switches/{class}"), what));
    let optional = |pointer: &str| times.pointer(pointer).and_then(Value::as_u64).unwrap_or(0);
    let bounds = [
        ("wait_uncounted_ns", uncounted, wait),
        ("run_steal_ns", optional("/run_steal_ns"), run),
        ("iowait_ns", optional("/iowait_ns"), block),
        ("wake_ns", optional("/wake_ns"), sleep + block + stopped),
        (
            "involuntary_yields",
            optional("/switches/involuntary_yields"),
            involuntary,
        ),
    ];
    for (name, part, whole) in bounds {
        if part > whole {
            found.add(format!(
                "{what}: {name} {part} is more than the {whole} it is part of"
            ));
        }
    }
    let kinds = ["same_process", "other_process", "kernel_thread", "idle"]
        .map(|kind| found.number(times, &format!("/kinds/{kind}"), what));
    let sum: u64 = kinds.iter().sum();
    // Each switch-out goes to something; after a loss the counters heal and the kinds do not.
    if sum > voluntary + involuntary || (found.is_valid() && sum != voluntary + involuntary) {
        found.add(format!(
            "{what}: kinds {kinds:?} for {voluntary} + {involuntary} switches"
        ));
    }
}

fn check_thread(found: &mut Found<'_>, thread: &Value, what: &str) {
    check_life(found, thread, what);
    let window = found.number(&found.report["window"], "/duration_ns", "window");
    if found.number(thread, "/lifetime_ns", what) > window {
        found.add(format!("{what}: lived longer than the window"));
    }
    check_kernel(found, thread, what);
    for (name, total) in [
        ("wait", Some("wait_ns")),
        ("run_slice", Some("run_ns")),
        ("latency", None),
    ] {
        if name == "latency" && thread[name].is_null() {
            continue;
        }
        check_dist(found, &thread[name], &format!("{what}: {name}"));
        let Some(total) = total else { continue };
        let [sum, whole] = [thread[name]["sum_ns"].as_u64(), thread[total].as_u64()];
        let complete = found.is_valid() && thread[name]["clipped"] == 0;
        if sum > whole || (complete && sum != whole) {
            found.add(format!(
                "{what}: {name} sums up to {sum:?}, {total} is {whole:?}"
            ));
        }
    }
    for state in ["sleep", "block", "stopped"] {
        let rows = list(thread, "off_cpu")
            .iter()
            .filter(|row| row["state"] == state);
        let sum: u64 = rows.filter_map(|row| row["ns"].as_u64()).sum();
        let whole = found.number(thread, &format!("/{state}_ns"), what);
        if sum > whole || (found.is_valid() && sum != whole) {
            found.add(format!(
                "{what}: off_cpu has {sum} ns of {state}, {state}_ns is {whole}"
            ));
        }
    }
}

/// Our totals against the kernel's, with the tolerances of the contract.
fn check_kernel(found: &mut Found<'_>, thread: &Value, what: &str) {
    let kernel = &thread["kernel"];
    if kernel.is_null() {
        if !thread["exit"].is_null() {
            found.add(format!("{what}: ended, and no counters of the kernel"));
        }
        return;
    }
    let [voluntary, involuntary] = ["voluntary", "involuntary"]
        .map(|class| found.number(thread, &format!("/switches/{class}"), what));
    let [run, wait] = ["/run_ns", "/wait_ns"].map(|pointer| found.number(thread, pointer, what));
    let steal = thread["run_steal_ns"].as_u64();
    let irq: u64 = ["run_irq_ns", "run_softirq_ns"]
        .iter()
        .filter_map(|key| thread[*key].as_u64())
        .sum();
    let of_kernel = ["voluntary", "involuntary", "run_ns", "wait_ns"]
        .map(|field| found.number(kernel, &format!("/{field}"), &format!("{what}: kernel")));
    let [
        kernel_voluntary,
        kernel_involuntary,
        kernel_run,
        kernel_wait,
    ] = of_kernel;

    let net = run.saturating_sub(steal.unwrap_or(0));
    // Of the larger one, as the report takes it.
    let run_tolerance = (kernel_run.max(net) / 100).max(2 * tick_ns(found.report));
    let run_fits = match steal {
        // Without steal only one side is known: gross is never less than net.
        None => net + run_tolerance >= kernel_run,
        // Whether the kernel takes interrupts out of run time depends on how it was built.
        Some(_) => [net, net.saturating_sub(irq)]
            .iter()
            .any(|net| net.abs_diff(kernel_run) <= run_tolerance),
    };
    // 100 ns for each wait that began involuntarily: two clocks.
    let wait_tolerance = (kernel_wait / 1_000).max(50_000) + 100 * involuntary;
    let checks = [
        (
            "voluntary",
            voluntary,
            kernel_voluntary,
            voluntary == kernel_voluntary,
        ),
        (
            "involuntary",
            involuntary,
            kernel_involuntary,
            involuntary == kernel_involuntary,
        ),
        ("run_ns", net, kernel_run, run_fits),
        (
            "wait_ns",
            wait,
            kernel_wait,
            wait.abs_diff(kernel_wait) <= wait_tolerance,
        ),
    ];
    for (field, ours, theirs, fits) in checks {
        if !fits && found.mismatch(&thread["tid"], field).is_none() {
            found.add(format!(
                "{what}: {field} is {ours}, the kernel's {theirs}, and no mismatch is listed: {thread}"
            ));
        }
    }
}

fn tick_ns(report: &Value) -> u64 {
    // The slowest tick there is, when it could not be told.
    1_000_000_000 / report["host"]["hz"].as_u64().unwrap_or(100).max(1)
}

fn check_dist(found: &mut Found<'_>, dist: &Value, what: &str) {
    const ORDER: [&str; 6] = ["min_ns", "p50_ns", "p90_ns", "p99_ns", "p999_ns", "max_ns"];
    let [count, sum, _clipped] =
        ["/count", "/sum_ns", "/clipped"].map(|pointer| found.number(dist, pointer, what));
    let values = ORDER.map(|key| dist[key].as_u64());
    if count == 0 {
        if sum != 0 || values != [None; 6] || !dist["max_at_ns"].is_null() {
            found.add(format!("{what}: empty, and not all null: {dist}"));
        }
        return;
    }
    if values.contains(&None) || !values.is_sorted() {
        found.add(format!("{what}: quantiles out of order: {values:?}"));
    }
    let [min, max] = [values[0], values[5]].map(|value| value.unwrap_or(0));
    if sum < count.saturating_mul(min) || sum > count.saturating_mul(max) {
        found.add(format!(
            "{what}: {count} between {min} and {max} do not sum up to {sum}"
        ));
    }
    let window = found.number(&found.report["window"], "/duration_ns", "window");
    let start = found
        .report
        .pointer("/interval/at_ns")
        .and_then(Value::as_u64)
        .unwrap_or(0);
    if found.number(dist, "/max_at_ns", what) > start + window {
        found.add(format!("{what}: its longest ended after the window"));
    }
}

fn check_order(found: &mut Found<'_>, what: &str, rows: &[Value], pointer: &str) {
    let waits = |row: &Value| row.pointer(pointer).and_then(Value::as_u64);
    if !rows.is_sorted_by(|a, b| waits(a) >= waits(b)) {
        found.add(format!("{what}: not sorted by wait"));
    }
}
