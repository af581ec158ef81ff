//! What is born, by whom, and what it becomes: against strace where the programs are not our own.

mod support;

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use support::births::{
    Calls, TRACER, expected, forked, kinds, number, only, parents, summed_kinds, tells_calls, text,
};
use support::check::list;
use support::trace::{Traced, expect_valid, traced};
use support::{na, threads};

#[test]
fn every_way_to_be_born_is_classed() {
    let report = forked(&[TRACER, "workload", "kinds"]);
    let all = expected(&[
        ("fork", "by-fork", 3),
        ("vfork", "by-vfork", 4),
        ("vfork", "by-spawn", 5),
        ("fork", "by-clone3", 6),
        ("vfork", "by-command", 2),
        ("thread", "by-thread", 7),
        // Those that create.
        ("thread", "tracer", 6),
    ]);
    assert_eq!(kinds(&report), all);
    assert_eq!(summed_kinds(&report), all);
    assert_eq!(number(&report, "/forks_total"), all.values().sum::<u64>());
    // Those of vfork, and the pattern's own.
    assert_eq!(number(&report, "/execs_total"), 4 + 5 + 2 + 1);
    let born = threads(&report).filter(|(_, thread)| thread["born_in_window"] == true);
    assert_eq!(number(&report, "/forks_total"), born.count() as u64);
    let told = tells_calls(&report);
    for fork in list(&report, "forks") {
        let stall = told.then(|| number(fork, "/syscall_ns"));
        assert_eq!(
            fork["fork_to_exec_ns"].is_u64(),
            fork["kind"] == "vfork",
            "{fork:#}"
        );
        if fork["kind"] == "vfork"
            && let Some(stall) = stall
        {
            // The parent sleeps until the child has executed something else.
            assert!(stall > number(fork, "/fork_to_run_ns"), "{fork:#}");
        }
        assert_eq!(fork["exit"]["code"], 0, "{fork:#}");
        assert!(fork["flags"].as_u64() > Some(0) || text(fork, "/parent/comm") == "by-clone3");
    }
    for exec in list(&report, "execs") {
        assert!(!told || number(exec, "/syscall_ns") > 0, "{exec:#}");
        let after = match text(exec, "/comm_before") {
            "by-vfork" | "by-spawn" => "true",
            _ => "tracer",
        };
        assert_eq!(text(exec, "/comm_after"), after, "{exec:#}");
    }
}

#[test]
fn a_worker_of_io_uring_is_born_of_who_submits() {
    let Traced { outcome, report } = traced(&["--forks", "--", TRACER, "workload", "io-uring"]);
    if outcome.status.code() == Some(77) {
        return na("io-uring", "this kernel or its policy has no io_uring");
    }
    expect_valid(&report);
    let mut kinds = kinds(&report);
    let workers = kinds.remove(&("worker".to_owned(), "tracer".to_owned()));
    assert!(workers > Some(0), "{kinds:?}");
    assert_eq!(kinds, expected(&[("thread", "tracer", 1)]));
    let workers = list(&report, "forks").iter();
    for worker in workers.filter(|fork| fork["kind"] == "worker") {
        assert!(
            text(worker, "/child/comm").starts_with("iou-wrk-"),
            "{worker:#}"
        );
        assert_eq!(
            worker["parent"]["pid"], worker["child"]["pid"],
            "{worker:#}"
        );
    }
}

#[track_caller]
fn as_strace_saw_it(command: &[&str]) -> Calls {
    let seen = Calls::of(command, Path::new("/"));
    let report = forked(command);
    let ours = Calls::of_report(&report);
    assert_eq!(ours, seen);
    assert_eq!(summed_kinds(&report), seen.births);
    ours
}

#[test]
fn a_shell_is_seen_as_strace_sees_it() {
    let calls = as_strace_saw_it(&[
        "sh",
        "-c",
        "/bin/true; /bin/true | cat; (:); exec /bin/true",
    ]);
    let births: u64 = calls.births.values().sum();
    assert!(births >= 3, "{calls:?}");
}

#[test]
fn python_is_seen_as_strace_sees_it() {
    let name = "python_is_seen_as_strace_sees_it";
    let script = "import subprocess, threading, os\n\
                  for _ in range(3): subprocess.run(['true'], check=True)\n\
                  subprocess.run('true; true', shell=True, check=True)\n\
                  subprocess.run(['true'], check=True, preexec_fn=lambda: None)\n\
                  thread = threading.Thread(target=lambda: None)\n\
                  thread.start(); thread.join()\n\
                  if os.fork() == 0: os._exit(0)\n\
                  os.wait()\n";
    // The program itself: `python3` may be a script that chooses one.
    let which = Command::new("python3")
        .args(["-c", "import sys; print(sys.executable)"])
        .output();
    let Some(python) = which.ok().filter(|output| output.status.success()) else {
        return na(name, "there is no Python");
    };
    let python = String::from_utf8_lossy(&python.stdout).trim().to_owned();
    let calls = as_strace_saw_it(&[&python, "-c", script]);
    let births = |kind: &str| -> u64 {
        let of = calls.births.iter().filter(|((of, _), _)| of == kind);
        of.map(|(_, count)| count).sum()
    };
    assert_eq!(births("thread"), 1, "{calls:?}");
    assert!(births("fork") >= 2, "{calls:?}");
    assert!(births("fork") + births("vfork") >= 6, "{calls:?}");
}

const FILES: usize = 6;

/// Half of the objects are compiled by a shell, the other half by make itself.
fn generate(place: &Path) {
    let write = |name: &str, text: String| fs::write(place.join(name), text).expect("write");
    let objects: Vec<String> = (0..FILES).map(|n| format!("part{n}.o")).collect();
    let (by_shell, by_make) = objects.split_at(FILES / 2);
    let makefile = format!(
        "CC = gcc\n\
         program: main.o {all}\n\t$(CC) -o $@ $^\n\
         main.o {by_make}: %.o: %.c\n\t$(CC) -c -o $@ $<\n\
         {by_shell}: %.o: %.c\n\t$(CC) -c -o $@.new $< && mv $@.new $@\n",
        all = objects.join(" "),
        by_make = by_make.join(" "),
        by_shell = by_shell.join(" "),
    );
    write("Makefile", makefile);
    let mut calls = String::new();
    let mut main = String::new();
    for n in 0..FILES {
        write(
            &format!("part{n}.c"),
            format!("int part{n}(int x) {{ return x + {n}; }}\n"),
        );
        main += &format!("int part{n}(int);\n");
        calls += &format!(" + part{n}(0)");
    }
    write(
        "main.c",
        format!("{main}int main(void) {{ return 0{calls} - 15; }}\n"),
    );
}

#[test]
fn a_build_is_the_tree_that_strace_sees() {
    let place = || {
        let place = tempfile::tempdir().expect("a directory for the sources");
        generate(place.path());
        place
    };
    let first = place();
    let seen = Calls::of(&["make", "-j2"], first.path());
    let second = place();
    let at = second.path().display().to_string();
    let report = forked(&["make", "-j2", "-C", &at]);
    assert!(
        Command::new(second.path().join("program"))
            .status()
            .expect("run it")
            .success()
    );
    assert_eq!(Calls::of_report(&report), seen);
    assert_eq!(summed_kinds(&report), seen.births);

    let tree = list(&report, "process_tree");
    let parents = parents(tree);
    let comm = |position: usize| text(&tree[position], "/comm");
    let count = |name: &str| (0..tree.len()).filter(|&row| comm(row) == name).count();
    assert_eq!(
        [count("make"), count("gcc"), count("cc1")],
        [1, FILES + 2, FILES + 1]
    );
    assert_eq!([count("as"), count("ld")], [FILES + 1, 1]);
    assert_eq!(comm(0), "make", "{tree:#?}");
    let ancestor = |mut row: usize, name: &str| {
        while let Some(parent) = parents[row] {
            if comm(parent) == name {
                return true;
            }
            row = parent;
        }
        false
    };
    for row in 1..tree.len() {
        let parent = parents[row].expect("make is the only root");
        assert_eq!(tree[row]["ppid"], tree[parent]["pid"]);
        match comm(row) {
            "gcc" => assert!(["make", "sh"].contains(&comm(parent)), "{:#}", tree[row]),
            "cc1" | "as" | "ld" => assert!(ancestor(row, "gcc"), "{:#}", tree[row]),
            _ => {}
        }
        assert_eq!(tree[row]["exit"]["code"], 0, "{:#}", tree[row]);
    }

    // That each subtree is the sum of its branches is checked in every report.
    let whole = &tree[0]["subtree"];
    for (key, total) in [
        ("/processes", "/target/processes"),
        ("/threads", "/target/threads"),
        ("/births", "/forks_total"),
        ("/execs", "/execs_total"),
    ] {
        assert_eq!(whole.pointer(key), report.pointer(total), "{key}");
    }
    for key in ["run_ns", "wait_ns"] {
        let of = |process: &Value| number(process, &format!("/totals/{key}"));
        let all: u64 = list(&report, "processes").iter().map(of).sum();
        assert_eq!(whole[key].as_u64(), Some(all), "{key}");
    }
    let creation: u64 = tree
        .iter()
        .filter_map(|row| row["own"]["creation_ns"].as_u64())
        .sum();
    assert_eq!(whole["creation_ns"].as_u64(), Some(creation));
    let stalls = list(&report, "forks").iter();
    let stalls: u64 = stalls.map(|fork| number(fork, "/syscall_ns")).sum();
    assert_eq!(creation, stalls);
}

#[test]
fn a_thread_that_is_not_the_leader_executes() {
    let report = forked(&[TRACER, "workload", "exec-nonleader", "--duration", "50ms"]);
    let exec = only(&report, "execs", &[("/comm_before", "execs")]);
    assert_eq!(exec["comm_after"], "tracer");
    assert_eq!(exec["pid"], report["target"]["pids"][0]);
    assert_eq!(
        exec["tid"], exec["pid"],
        "it has the leader's tid from then on"
    );
    if tells_calls(&report) {
        assert!(number(exec, "/syscall_ns") > 0);
    }
    // And the command's own.
    assert_eq!(number(&report, "/execs_total"), 2);
}

#[test]
fn the_name_changes_where_a_program_does() {
    let report = forked(&["sh", "-c", "nosuchcommand 2>/dev/null; exec /bin/true"]);
    let exec = only(&report, "execs", &[("/comm_before", "sh")]);
    assert_eq!(exec["comm_after"], "true");
    assert!(number(exec, "/syscall_ns") > 0);
    // A failed one is none.
    assert_eq!(number(&report, "/execs_total"), 2);
}
