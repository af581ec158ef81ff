//! What processes have in memory, and their threads' stacks, against what they are known to have touched.

mod support;

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use serde_json::Value;
use support::check::list;
use support::machine::background_workload;
use support::trace::valid;
use support::{binary, checked_report, pause};

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
/// As workload `stacks` does.
const STEP: u64 = 64 * KIB;
const HEAP: u64 = 64 * MIB;

/// Sleeps, and has touched what it touches.
struct Touched(Child);

impl Touched {
    fn new(threads: u64) -> Touched {
        let mut child = binary()
            .args(["workload", "stacks", "--duration", "20s", "--count"])
            .arg(threads.to_string())
            .stdout(Stdio::piped())
            .spawn()
            .expect("start the workload");
        let mut line = String::new();
        let out = child.stdout.take().expect("piped");
        BufReader::new(out).read_line(&mut line).expect("a line");
        assert_eq!(line, "touched\n");
        Touched(child)
    }

    fn traced(&self) -> Value {
        let pid = self.0.id().to_string();
        let report = valid(&["--pid", &pid, "--duration", "200ms"]);
        let [process] = list(&report, "processes") else {
            panic!("one process: {report:#}")
        };
        process.clone()
    }
}

impl Drop for Touched {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn bytes(value: &Value, key: &str) -> u64 {
    let found = value[key].as_u64();
    found.unwrap_or_else(|| panic!("{key} is no number in {value:#}"))
}

/// Of all kernel stacks there are.
fn kernel_stacks() -> u64 {
    let text = fs::read_to_string("/proc/meminfo").expect("read meminfo");
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("KernelStack:"));
    let kib = line.and_then(|rest| rest.split_whitespace().next());
    kib.and_then(|kib| kib.parse::<u64>().ok())
        .expect("a number")
        * KIB
}

#[test]
fn a_process_has_what_it_touched_and_each_thread_its_stack() {
    let few = Touched::new(1).traced();
    let touched = Touched::new(8);
    let process = touched.traced();
    let memory = &process["memory"];
    assert_eq!(memory["source"], "procfs");
    let (rss, pss) = (bytes(memory, "rss_bytes"), bytes(memory, "pss_bytes"));
    assert!((HEAP..HEAP + 16 * MIB).contains(&rss), "{memory:#}");
    assert!(pss >= HEAP && pss <= rss, "{memory:#}");
    assert!(bytes(memory, "peak_rss_bytes") >= rss, "{memory:#}");
    // A page of page tables holds 512 pages.
    assert!(
        bytes(memory, "page_table_bytes") >= HEAP / 512,
        "{memory:#}"
    );
    // One thread more touches 64 KiB more, another one 128 ...
    let more: u64 = (2..=8).map(|n| n * STEP).sum();
    let grown = pss - bytes(&few["memory"], "pss_bytes");
    // A page of the program counts by how many share it, and those come and go.
    let close = grown + 64 * KIB >= more && grown < more + MIB;
    assert!(close, "{grown} for {more}");

    let threads = list(&process, "threads");
    assert_eq!(threads.len(), 9);
    for thread in threads {
        let memory = &thread["memory"];
        let name = thread["comm"].as_str().expect("a name");
        if let Some(number) = name.strip_prefix("stack-") {
            let number: u64 = number.parse().expect("a number");
            let touched = (number + 1) * STEP;
            let stack = bytes(memory, "user_stack_bytes");
            assert!(
                (touched..touched + 64 * KIB).contains(&stack),
                "{name}: {stack} for {touched}"
            );
        } else {
            let stack = bytes(memory, "user_stack_bytes");
            assert!(stack > 0 && stack < MIB, "the leader: {stack}");
        }
    }
}

#[test]
fn a_thread_alone_has_its_stack_and_its_process_all_of_its_memory() {
    let touched = Touched::new(3);
    let pid = touched.0.id();
    let named = |wanted: &str| {
        let tasks = fs::read_dir(format!("/proc/{pid}/task")).expect("it lives");
        let mut paths = tasks.map(|task| task.expect("a thread").path());
        let found = paths.find(|path| {
            fs::read_to_string(path.join("comm")).is_ok_and(|comm| comm.trim() == wanted)
        });
        let path = found.unwrap_or_else(|| panic!("no thread {wanted}"));
        path.file_name()
            .and_then(|name| name.to_str())
            .expect("a tid")
            .to_owned()
    };
    // Nobody tells of its leader.
    let report = valid(&["--tid", &named("stack-2"), "--duration", "200ms"]);
    let [process] = list(&report, "processes") else {
        panic!("one process: {report:#}")
    };
    assert_eq!(process["pid"], pid);
    let rss = bytes(&process["memory"], "rss_bytes");
    assert!((HEAP..HEAP + 16 * MIB).contains(&rss), "{process:#}");
    let [thread] = list(process, "threads") else {
        panic!("one thread: {process:#}")
    };
    let stack = bytes(&thread["memory"], "user_stack_bytes");
    assert!((3 * STEP..4 * STEP).contains(&stack), "{stack}");
}

#[test]
fn kernel_stacks_are_as_large_as_the_kernel_counts_them() {
    // So many that the births and ends of others are few beside them.
    const THREADS: u64 = 2_000;
    let before = kernel_stacks();
    let count = THREADS.to_string();
    let sleepers = background_workload(&["sleepers", "--count", &count, "--duration", "10s"]);
    let dir = format!("/proc/{}/task", sleepers.id());
    while fs::read_dir(&dir).map_or(0, Iterator::count) as u64 <= THREADS {
        pause();
    }
    let each = (kernel_stacks() - before) / (THREADS + 1);
    let pid = sleepers.id().to_string();
    let report = valid(&["--pid", &pid, "--duration", "200ms"]);
    let [process] = list(&report, "processes") else {
        panic!("one process: {report:#}")
    };
    let sizes: Vec<u64> = list(process, "threads")
        .iter()
        .map(|thread| bytes(&thread["memory"], "kernel_stack_bytes"))
        .collect();
    assert_eq!(sizes.len() as u64, THREADS + 1);
    let size = sizes[0];
    assert!(sizes.iter().all(|&other| other == size), "{sizes:?}");
    assert!(each.abs_diff(size) * 10 < size, "{each} and {size}");
}

#[test]
fn an_ended_process_has_what_it_had_at_its_exit() {
    let binary = env!("CARGO_BIN_EXE_tracer");
    let args = ["--", binary, "workload", "stacks", "--duration", "100ms"];
    let report = valid(&args);
    let [process] = list(&report, "processes") else {
        panic!("one process: {report:#}")
    };
    let memory = &process["memory"];
    assert_eq!(memory["source"], "exit", "{memory:#}");
    let rss = bytes(memory, "rss_bytes");
    assert!((HEAP..HEAP + 16 * MIB).contains(&rss), "{memory:#}");
    assert_eq!(memory["pss_bytes"], Value::Null);
    assert!(
        list(process, "threads")
            .iter()
            .all(|thread| thread["memory"].is_null())
    );
}

#[test]
fn of_the_whole_system_memory_is_not_read() {
    let touched = Touched::new(1);
    let report = checked_report(["run", "--duration", "200ms", "--format", "json"]);
    let processes = list(&report, "processes");
    assert!(
        processes
            .iter()
            .any(|process| process["pid"] == touched.0.id())
    );
    assert!(processes.iter().all(|process| process["memory"].is_null()));
}

#[test]
fn the_kernels_own_threads_have_no_memory() {
    // The kernel's threads have no memory of their own.
    let kthreadd = Command::new("cat").arg("/proc/2/comm").output();
    let comm = kthreadd.expect("run cat").stdout;
    assert_eq!(comm, b"kthreadd\n");
    let report = valid(&["--pid", "2", "--no-children", "--duration", "200ms"]);
    for process in list(&report, "processes") {
        assert_eq!(process["memory"], Value::Null, "{process:#}");
    }
}
