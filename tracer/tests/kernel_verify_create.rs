//! What `tracer verify` says of the creation of threads and processes, against a program in C that does the same.

mod support;

use std::fs;
use std::process::Command;
use std::sync::LazyLock;

use serde_json::Value;
use support::verify::{claim, expect_whole, measurement, median, quick, quick_unprivileged};

static QUICK: LazyLock<Value> = LazyLock::new(|| quick(&["create"]));

const WAYS: [&str; 6] = [
    "pthread",
    "fork",
    "clone3",
    "vfork",
    "posix_spawn",
    "fork_exec",
];
const BY_THE_TRACER: [&str; 6] = ["syscall", "wake", "wait", "first_run", "lifetime", "reaped"];

#[test]
fn each_call_is_split_and_climbs_the_ladder() {
    expect_whole(&QUICK);
    for way in WAYS {
        let of = |part: &str| median(&QUICK, &format!("create.{way}.{part}"));
        for part in ["total", "call", "end"] {
            assert!(of(part) > 0.0, "{way} {part}");
        }
        assert!(of("total") >= of("call").max(of("end")), "{way}");
        for part in BY_THE_TRACER {
            if (way, part) != ("pthread", "reaped") {
                assert!(of(part) > 0.0, "{way} {part}");
            }
        }
        assert!(of("first_run") >= of("wait"), "{way}");
        let step = measurement(&QUICK, &format!("create.{way}.100MiB.total"));
        assert!(step["n"].as_u64() >= Some(3), "{step:#}");
        let step = measurement(&QUICK, &format!("create.{way}.1GiB.total"));
        let why = step["not_measured"].as_str().unwrap_or_default();
        assert!(step["n"].as_u64() >= Some(3) || !why.is_empty(), "{step:#}");
    }
    let why = &measurement(&QUICK, "create.pthread.reaped")["not_measured"];
    assert!(
        why.as_str().is_some_and(|why| why.contains("joins")),
        "{why}"
    );
}

/// So it is on every machine, by far.
#[test]
fn a_thread_is_cheaper_than_a_program_and_memory_makes_forks_dear() {
    let of = |name: &str| median(&QUICK, &format!("create.{name}.total"));
    assert!(2.0 * of("pthread") < of("fork_exec"), "{:#}", *QUICK);
    assert!(of("pthread") < of("fork"), "{:#}", *QUICK);
    assert!(2.0 * of("fork") < of("fork.100MiB"), "{:#}", *QUICK);
    for name in ["create.process", "create.thread", "create.tenfold"] {
        assert_ne!(claim(&QUICK, name)["verdict"], "n/a");
    }
}

#[test]
fn without_privileges_the_creator_still_has_its_clock() {
    let document = quick_unprivileged(&["create"]);
    expect_whole(&document);
    for way in WAYS {
        assert!(median(&document, &format!("create.{way}.total")) > 0.0);
        for part in BY_THE_TRACER {
            let measurement = measurement(&document, &format!("create.{way}.{part}"));
            let why = measurement["not_measured"].as_str().unwrap_or_default();
            assert!(why.contains("CAP_BPF"), "{measurement:#}");
        }
    }
    assert_ne!(claim(&document, "create.process")["verdict"], "n/a");
}

/// Prints the medians of a fork with its wait, and of a thread with its join, in ns.
const STRAIGHTFORWARD: &str = r#"
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define TIMES 40

static long now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1000000000L + time.tv_nsec;
}

static int order(const void *a, const void *b) {
    long first = *(const long *)a, second = *(const long *)b;
    return (first > second) - (first < second);
}

static void *nothing(void *argument) { return argument; }

int main(void) {
    cpu_set_t allowed, first;
    sched_getaffinity(0, sizeof allowed, &allowed);
    int cpu = 0;
    while (!CPU_ISSET(cpu, &allowed)) cpu++;
    CPU_ZERO(&first);
    CPU_SET(cpu, &first);
    if (sched_setaffinity(0, sizeof first, &first)) return 1;
    long took[TIMES];
    for (int n = 0; n < TIMES; n++) {
        long from = now();
        pid_t child = fork();
        if (child == 0) _exit(0);
        if (child < 0 || waitpid(child, 0, 0) != child) return 1;
        took[n] = now() - from;
    }
    qsort(took, TIMES, sizeof *took, order);
    printf("%ld ", took[TIMES / 2]);
    for (int n = 0; n < TIMES; n++) {
        pthread_t thread;
        long from = now();
        if (pthread_create(&thread, 0, nothing, 0) || pthread_join(thread, 0)) return 1;
        took[n] = now() - from;
    }
    qsort(took, TIMES, sizeof *took, order);
    printf("%ld\n", took[TIMES / 2]);
    return 0;
}
"#;

/// In turn, and of each the best: what else the machine does only makes it longer.
const TURNS: usize = 4;

#[test]
fn creation_takes_what_a_straightforward_program_in_c_measures() {
    let dir = tempfile::tempdir().expect("a directory for the program");
    let (source, program) = (dir.path().join("creates.c"), dir.path().join("creates"));
    fs::write(&source, STRAIGHTFORWARD).expect("write the program");
    let mut compile = Command::new("cc");
    compile
        .args(["-O2", "-pthread", "-o"])
        .arg(&program)
        .arg(&source);
    assert!(compile.status().expect("run cc").success());
    let in_c = || -> [f64; 2] {
        let output = Command::new(&program).output().expect("run the program");
        assert!(output.status.success(), "{output:?}");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let numbers: Vec<f64> = text
            .split_whitespace()
            .map(|it| it.parse().expect("a number"))
            .collect();
        numbers.try_into().expect("two numbers")
    };
    let [mut ours, mut theirs] = [[f64::INFINITY; 2]; 2];
    for _ in 0..TURNS {
        let document = quick(&["create"]);
        let measured =
            ["create.fork.total", "create.pthread.total"].map(|name| median(&document, name));
        for (best, turn) in ours.iter_mut().zip(measured) {
            *best = best.min(turn);
        }
        for turn in [in_c(), in_c()] {
            for (best, turn) in theirs.iter_mut().zip(turn) {
                *best = best.min(turn);
            }
        }
    }
    for (what, (ours, theirs)) in ["fork", "pthread"].iter().zip(ours.iter().zip(&theirs)) {
        let off = (ours / theirs - 1.0).abs();
        assert!(off <= 0.2, "{what}: {ours} ns here, {theirs} ns in C");
    }
}
