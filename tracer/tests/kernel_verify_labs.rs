//! What `tracer verify` says of memory, more threads than CPUs, messages, locks and crashes; and that nothing is left
//! of it, whenever it ends.

mod support;

use std::process::Command;
use std::sync::LazyLock;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;
use support::machine::cpus;
use support::na;
use support::verify::{
    claim, expect_nothing_left, expect_whole, measurement, median, quick, quick_unprivileged,
};

const NAMES: [&str; 5] = ["memory", "oversubscribe", "talk", "lock", "isolation"];

static QUICK: LazyLock<Value> = LazyLock::new(|| quick(&NAMES));

#[test]
fn each_experiment_says_what_it_found() {
    expect_whole(&QUICK);
    let names = QUICK["experiments"].as_array().expect("a list");
    let names: Vec<&Value> = names.iter().map(|experiment| &experiment["name"]).collect();
    assert_eq!(names, NAMES);
    for name in [
        "memory.process",
        "memory.thread",
        "oversubscribe.overhead",
        "talk.shared_memory",
        "talk.ipc",
        "talk.processes",
        "lock.sharing",
        "lock.interpreter",
        "isolation.thread",
        "isolation.process",
    ] {
        claim(&QUICK, name);
    }
}

#[test]
fn a_thread_takes_less_memory_than_a_process() {
    let of = |name: &str| median(&QUICK, &format!("memory.{name}"));
    assert!(of("thread.all") < of("forked.all"));
    assert!(of("forked.all") < of("started.all"));
    // The stack is reserved, and hardly touched.
    assert!(of("thread.touched_stack") >= 4096.0);
    assert!(10.0 * of("thread.touched_stack") < of("thread.reserved"));
    let stack = of("thread.own_kernel_stack");
    assert!(stack >= 4096.0 && stack % 4096.0 == 0.0, "{stack}");
    let threads = measurement(&QUICK, "memory.thread.own_kernel_stack");
    assert_eq!(threads["n"], 32, "{threads:#}");
}

#[test]
fn whoever_shares_a_cpu_waits_and_whoever_does_not_hardly_switches() {
    for kind in ["threads", "processes"] {
        for level in ["1", "N", "2N", "8N"] {
            let name = format!("oversubscribe.{kind}.{level}");
            assert!(median(&QUICK, &format!("{name}.throughput")) > 0.0);
            for part in ["waiting", "involuntary"] {
                let part = measurement(&QUICK, &format!("{name}.{part}"));
                let why = part["not_measured"].as_str().unwrap_or_default();
                let share = part["median"].as_f64();
                assert!(
                    share.is_some_and(|it| (0.0..=1.0).contains(&it)) || why.contains("quick"),
                    "{part:#}"
                );
            }
        }
        // Of eight on a CPU seven wait; that not all begin and end at once makes it less.
        let waiting = median(&QUICK, &format!("oversubscribe.{kind}.8N.waiting"));
        assert!(waiting > 0.5, "{kind}: {waiting}");
        // What computes is only ever sent away.
        let involuntary = median(&QUICK, &format!("oversubscribe.{kind}.8N.involuntary"));
        assert!(involuntary > 0.5, "{kind}: {involuntary}");
    }
}

#[test]
fn a_word_comes_by_each_medium() {
    for medium in ["futex", "pipe", "socketpair", "tcp", "message_queue"] {
        assert!(median(&QUICK, &format!("talk.{medium}.one_cpu")) > 0.0);
    }
    let spinning = measurement(&QUICK, "talk.shared_memory.one_cpu");
    assert!(spinning["not_measured"].is_string(), "{spinning:#}");
    if cpus() == 1 {
        return na("a_word_comes_by_each_medium", "there is one CPU");
    }
    // A wake-up is a system call and an interrupt at least, and a look is neither.
    let of = |name: &str| median(&QUICK, &format!("talk.{name}.two_cpus"));
    assert!(of("shared_memory") < of("futex"));
    assert_eq!(claim(&QUICK, "talk.processes")["verdict"], "refuted");
}

#[test]
fn who_takes_a_lock_sleeps_for_it() {
    let slept = |way: &str| median(&QUICK, &format!("lock.{way}.slept_in_futex"));
    assert!(slept("global") > 0.0);
    for name in ["one", "nothing", "mutex", "messages", "global"] {
        assert!(median(&QUICK, &format!("lock.{name}.throughput")) > 0.0);
    }
    let python = measurement(&QUICK, "lock.python.threads_by_one");
    let because = claim(&QUICK, "lock.interpreter")["because"].to_string();
    // Whichever it was, it is named.
    assert!(because.contains("python3"), "{because}");
    assert_eq!(
        python["not_measured"].is_string(),
        because.contains("a stand-in, as") && !because.contains("no such lock"),
        "{python:#}"
    );
}

#[test]
fn a_crash_takes_a_process_and_no_other() {
    for name in [
        "process_ended",
        "others_alive",
        "threads_ended",
        "other_threads_spared",
    ] {
        assert_eq!(median(&QUICK, &format!("isolation.{name}")), 1.0, "{name}");
    }
    let crashes = measurement(&QUICK, "isolation.process_ended")["n"].as_u64();
    let threads = measurement(&QUICK, "isolation.threads_ended")["n"].as_u64();
    assert_eq!(crashes.map(|crashes| 4 * crashes), threads);
    for name in ["isolation.thread", "isolation.process"] {
        assert_eq!(claim(&QUICK, name)["verdict"], "confirmed");
    }
}

/// What the tracer alone can tell is n/a, with the reason; the rest is measured.
#[test]
fn without_privileges_the_rest_is_measured() {
    let document = quick_unprivileged(&NAMES);
    expect_whole(&document);
    for name in [
        "memory.thread.touched_stack",
        "oversubscribe.threads.8N.waiting",
        "lock.mutex.slept_in_futex",
        "isolation.threads_ended",
    ] {
        let why = &measurement(&document, name)["not_measured"];
        assert!(
            why.as_str().is_some_and(|why| why.contains("CAP_BPF")),
            "{name}: {why}"
        );
    }
    for name in ["memory.process", "talk.ipc", "isolation.thread"] {
        assert_ne!(claim(&document, name)["verdict"], "n/a", "{name}");
    }
}

#[test]
fn whoever_ends_it_nothing_is_left_behind() {
    for experiment in [
        "create",
        "memory",
        "oversubscribe",
        "talk",
        "lock",
        "isolation",
    ] {
        for (signal, after_ms) in [(Signal::KILL, 300), (Signal::INT, 700)] {
            expect_nothing_left(&[experiment], signal, Duration::from_millis(after_ms));
        }
    }
    // In a namespace of the test's own: nothing is mounted for others.
    let list = "mount -t mqueue none /mnt && ls /mnt";
    let mut namespace = Command::new("unshare");
    let output = namespace.args(["--mount", "sh", "-c", list]).output();
    let output = output.expect("run unshare");
    if !output.status.success() {
        let name = "whoever_ends_it_nothing_is_left_behind";
        return na(name, "message queues cannot be listed");
    }
    let queues = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(!queues.contains("tracer-"), "{queues}");
}
