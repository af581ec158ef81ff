//! Who is who, and the kernel's own errors: threads that take over another's tid, come by the
//! thousands, change their names, or are hostile; sleeps that the kernel counts as waits.

mod support;

use std::collections::BTreeSet;

use serde_json::Value;
use support::trace::{expect_valid, traced, valid, workload};
use support::{check, threads};

#[track_caller]
fn by_comm<'a>(report: &'a Value, comm: &str) -> &'a Value {
    let mut found = threads(report).filter(|(_, thread)| thread["comm"] == comm);
    let (_, thread) = found.next().unwrap_or_else(|| panic!("no row of {comm}"));
    assert!(found.next().is_none(), "two rows of {comm}");
    thread
}

fn number(value: &Value, key: &str) -> u64 {
    value[key]
        .as_u64()
        .unwrap_or_else(|| panic!("{key} in {value:#}"))
}

/// Reasons of all mismatches, each of which must have one.
fn reasons(report: &Value) -> BTreeSet<String> {
    let mismatches = check::list(&report["quality"], "mismatches");
    let reason = |mismatch: &Value| mismatch["reason"].as_str().map(str::to_owned);
    mismatches
        .iter()
        .map(|one| reason(one).expect("a reason"))
        .collect()
}

#[test]
fn a_sleep_that_the_kernel_counted_as_wait_is_shown_as_sleep() {
    let report = workload(&["delayed-dequeue"]);
    let sleeper = by_comm(&report, "sleeper");
    let ours = number(sleeper, "wait_ns");
    let kernel = number(&sleeper["kernel"], "wait_ns");
    // 20 sleeps of 60 ms beside a hog. Not each is stamped as queued, but some are.
    assert!(number(sleeper, "sleep_ns") > 20 * 55_000_000, "{sleeper:#}");
    assert!(
        kernel > ours + 50_000_000,
        "the kernel made no error: {sleeper:#}"
    );
    assert!(reasons(&report).contains("kernel_counted_sleep"));
    let mismatches = check::list(&report["quality"], "mismatches");
    let of_sleeper = |one: &&Value| one["tid"] == sleeper["tid"] && one["field"] == "wait_ns";
    let mismatch = mismatches
        .iter()
        .find(of_sleeper)
        .expect("its wait is listed");
    assert_eq!(mismatch["ours"], ours);
    assert_eq!(mismatch["kernel"], kernel);
}

#[test]
fn a_wait_that_the_kernel_missed_is_counted_and_named() {
    // A parent that starts a thousand children is preempted now and then while it is on its way to
    // sleep in clone: then the kernel does not stamp its wait. Two rounds of five show it.
    for _ in 0..30 {
        let report = workload(&["short-processes", "--count", "1000"]);
        let mismatches = check::list(&report["quality"], "mismatches");
        let missed = mismatches
            .iter()
            .find(|one| one["reason"] == "kernel_missed_wait");
        let Some(missed) = missed else { continue };
        assert_eq!(missed["field"], "wait_ns");
        assert!(
            number(missed, "ours") > number(missed, "kernel"),
            "{missed:#}"
        );
        let (_, thread) = threads(&report)
            .find(|(_, thread)| thread["tid"] == missed["tid"])
            .expect("its row");
        assert_eq!(thread["wait_ns"], missed["ours"]);
        let uncounted = number(thread, "wait_uncounted_ns");
        assert!(
            uncounted > 0 && uncounted <= number(thread, "wait_ns"),
            "{thread:#}"
        );
        return;
    }
    panic!("the kernel missed no wait in 30,000 births");
}

#[test]
fn a_thread_that_execs_keeps_its_ledger_and_the_leader_ends() {
    let report = workload(&["exec-nonleader"]);
    let took_over: Vec<&Value> = threads(&report)
        .map(|(_, t)| t)
        .filter(|t| !t["was_tid"].is_null())
        .collect();
    let [thread] = took_over[..] else {
        panic!("{took_over:#?}")
    };
    let pid = &report["processes"][0]["pid"];
    assert_eq!(thread["tid"], *pid, "it has the leader's tid");
    assert_ne!(thread["was_tid"], *pid);
    let leader = threads(&report)
        .map(|(_, t)| t)
        .find(|t| t["tid"] == *pid && t["was_tid"].is_null())
        .expect("the leader has a row of its own");
    assert!(!leader["exit"].is_null(), "the leader's row has ended");
    // Older than the exec: it worked and slept under its old tid, and lives longer than what it
    // became, which sleeps 200 ms.
    let lifetime = number(thread, "lifetime_ns");
    let successor = by_comm(&report, "sleeper-0");
    assert!(lifetime > number(successor, "lifetime_ns"), "{thread:#}");
    assert!(number(&thread["switches"], "voluntary") > 10, "{thread:#}");
    assert_eq!(report["target"]["processes"], 1, "exec makes no process");
}

#[test]
fn a_worker_of_io_uring_has_a_row() {
    let traced = traced(&["--", env!("CARGO_BIN_EXE_tracer"), "workload", "io-uring"]);
    if traced.outcome.status.code() == Some(77) {
        return support::na("io-uring", "this kernel or its policy has no io_uring");
    }
    expect_valid(&traced.report);
    let worker = threads(&traced.report)
        .map(|(_, t)| t)
        .find(|t| {
            t["comm"]
                .as_str()
                .is_some_and(|comm| comm.starts_with("iou-wrk-"))
        })
        .expect("the worker has a row");
    assert!(number(&worker["switches"], "voluntary") > 0);
    // Never in user space, so in no system call.
    let off_cpu = check::list(worker, "off_cpu");
    assert!(
        off_cpu.iter().all(|row| row["syscall"].is_null()),
        "{worker:#}"
    );
}

#[test]
fn thousands_of_threads_are_as_many_rows() {
    let report = workload(&["short-threads", "--count", "3000"]);
    let rows: Vec<(&Value, &Value)> = threads(&report).collect();
    assert_eq!(rows.len(), 3001);
    let names: BTreeSet<&str> = rows
        .iter()
        .filter_map(|(_, t)| t["comm"].as_str())
        .collect();
    assert!((0..3000).all(|n| names.contains(format!("short-{n}").as_str())));
    assert_eq!(report["processes"][0]["threads_total"], 3001);
    assert!(
        rows.iter()
            .all(|(_, t)| !t["exit"].is_null() && t["born_in_window"].is_boolean())
    );
    assert_eq!(
        rows.iter()
            .filter(|(_, t)| t["born_in_window"] == true)
            .count(),
        3000
    );
}

#[test]
fn thousands_of_processes_are_as_many_rows() {
    let report = workload(&["short-processes", "--count", "2000"]);
    let processes = check::list(&report, "processes");
    assert_eq!(processes.len(), 2001);
    let pids: BTreeSet<u64> = processes.iter().map(|p| number(p, "pid")).collect();
    assert_eq!(pids.len(), 2001, "no pid came twice in so short a time");
    let parent = &processes
        .iter()
        .find(|p| p["threads"][0]["born_in_window"] == false);
    let parent = parent.expect("the command itself")["pid"].clone();
    assert_eq!(
        processes.iter().filter(|p| p["ppid"] == parent).count(),
        2000
    );
    assert_eq!(report["target"]["model"], "processes");
}

/// The number that the next process will get, as the kernel counts it.
const LAST_PID: &str = "/proc/sys/kernel/ns_last_pid";

#[test]
fn a_tid_that_is_used_again_names_another_thread() {
    // Each round asks for the same number: away from the shell's own, and below any limit.
    let script = format!(
        "n=$(cat {LAST_PID}); n=$(((n + 10000) % 20000 + 1000)); \
         for i in 1 2 3 4 5; do echo $n > {LAST_PID}; /bin/true; done"
    );
    let report = valid(&["--", "sh", "-c", &script]);
    let mut pids: Vec<u64> = check::list(&report, "processes")
        .iter()
        .map(|p| number(p, "pid"))
        .collect();
    let rows = pids.len();
    pids.sort_unstable();
    pids.dedup();
    // Somebody else's birth may take the number now and then, but hardly each time.
    assert!(rows - pids.len() >= 2, "{rows} rows, {pids:?}");
    let again = check::list(&report, "processes");
    let again = again.iter().filter(|p| p["comm"] == "true");
    for process in again {
        assert_eq!(check::list(process, "threads").len(), 1, "{process:#}");
        assert_eq!(process["threads_total"], 1, "{process:#}");
    }
}

#[test]
fn the_last_name_is_shown() {
    let report = workload(&["rename"]);
    for n in 0..4 {
        by_comm(&report, &format!("renamed-{n}"));
    }
    assert_eq!(threads(&report).count(), 5);
}

#[test]
fn names_of_anybodys_choice_stay_apart_and_never_reach_a_terminal_raw() {
    let pattern = [
        "--",
        env!("CARGO_BIN_EXE_tracer"),
        "workload",
        "hostile-names",
    ];
    let pattern = pattern.iter().copied().chain(["--duration", "300ms"]);
    let report = valid(&pattern.clone().collect::<Vec<_>>());
    // One thread a name, and the one that started them.
    assert_eq!(threads(&report).count(), 19);
    let names: BTreeSet<&str> = threads(&report)
        .filter_map(|(_, t)| t["comm"].as_str())
        .collect();
    for expected in [
        "\u{1b}[31mred\u{1b}[0m",
        "two\nlines\r",
        "bad\\xff\\xfe\\x80",
        "",
    ] {
        assert!(names.contains(expected), "{expected:?} in {names:?}");
    }

    let args: Vec<&str> = ["run", "--duration", "300ms"]
        .into_iter()
        .chain(pattern)
        .collect();
    let table = support::tracer(&args);
    let shown = |c: char| c == '\n' || !c.is_control();
    assert!(table.stdout().chars().all(shown), "{:?}", table.stdout());
    assert!(
        table.stdout().contains("\\x1b[31mred\\x1b[0m"),
        "{}",
        table.stdout()
    );
}
