//! Whom a target means: its whole tree, and nobody else.

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;
use support::check::list;
use support::machine::{Gated, background, background_workload, status, tasks, until};
use support::nginx::{Nginx, POOL, WORKERS};
use support::trace::{Live, valid, workload};
use support::{Running, binary, threads, tracer};

const TRACER: &str = env!("CARGO_BIN_EXE_tracer");

fn pids(report: &Value) -> BTreeSet<u32> {
    let processes = list(report, "processes").iter();
    processes.filter_map(pid).collect()
}

fn pid(process: &Value) -> Option<u32> {
    u32::try_from(process["pid"].as_u64()?).ok()
}

fn tids(report: &Value) -> BTreeSet<u64> {
    let tids = threads(report).filter_map(|(_, thread)| thread["tid"].as_u64());
    tids.collect()
}

fn set<T: Ord>(items: impl IntoIterator<Item = T>) -> BTreeSet<T> {
    items.into_iter().collect()
}

#[test]
fn a_server_under_load_is_its_whole_tree() {
    let nginx = Nginx::start();
    let _wrk = nginx.load();
    until("its workers have their threads", || {
        let threads = |&worker: &u32| tasks(worker).len() == 1 + POOL;
        nginx.workers().iter().all(threads)
    });
    let old = nginx.workers();
    let tasks: BTreeSet<u64> = old
        .iter()
        .flat_map(|&worker| tasks(worker))
        .map(|(tid, _)| tid.into())
        .collect();
    let live = Live::start(&["--pid", &nginx.pid().to_string()]);
    nginx.reload();
    let new = nginx.workers();
    let report = live.finish();

    let tree = set([nginx.pid()].into_iter().chain(old).chain(new));
    assert_eq!(pids(&report), tree);
    assert_eq!(tree.len(), 1 + 2 * WORKERS);
    assert!(tids(&report).is_superset(&tasks));
    assert_eq!(report["target"]["model"], "hybrid");
    assert!(threads(&report).all(|(_, thread)| thread["comm"] == "nginx"));
}

#[test]
fn descendants_of_a_pid_follow_through_threads() {
    let mut root = Gated::new(r#"exec "$TRACER" workload tree --duration 20ms"#);
    let live = Live::start(&["--pid", &root.pid()]);
    root.open();
    root.ends();
    let report = live.ends();
    assert_eq!(report["window"]["end_reason"], "target_exit");
    // 1 + 3 + 3 * 2 * 2; each child has two more threads, each grandchild four.
    assert_eq!(report["target"]["processes"], 16);
    assert_eq!(report["target"]["threads"], 1 + 3 * 3 + 12 * 5);
    assert_eq!(report["target"]["model"], "hybrid");
}

#[test]
fn without_children_nobody_follows() {
    let mut root = Gated::new(r#"exec "$TRACER" workload tree --duration 20ms"#);
    let live = Live::start(&["--no-children", "--pid", &root.pid()]);
    let pid: u64 = root.pid().parse().expect("a number");
    root.open();
    root.ends();
    let report = live.ends();
    assert_eq!(tids(&report), set([pid]));
    assert_eq!(report["target"]["model"], "single");
}

#[test]
fn several_pids_are_a_union() {
    let sleepers = [(); 3].map(|()| background("sleep", &["60"]));
    let [one, two, _] = sleepers.each_ref().map(Running::id);
    let report = valid(&["--duration", "300ms", "--pid", &format!("{one},{two}")]);
    assert_eq!(pids(&report), set([one, two]));
    assert_eq!(report["target"]["pids"].as_array().map(Vec::len), Some(2));
}

#[test]
fn a_tid_is_one_thread() {
    let hogs = background_workload(&["hog", "--count", "2", "--duration", "60s"]);
    let mut hog = None;
    until("the threads have their names", || {
        let tasks = tasks(hogs.id());
        hog = tasks.into_iter().find(|(_, comm)| comm == "hog-0-1");
        hog.is_some()
    });
    let (tid, _) = hog.expect("just found");
    let report = valid(&["--duration", "300ms", "--tid", &tid.to_string()]);
    assert_eq!(tids(&report), set([tid.into()]));
    assert_eq!(pids(&report), set([hogs.id()]));
}

#[test]
fn a_name_is_matched_whenever_it_is_taken() {
    let live = Live::start(&["--comm", "^renamed-", "--comm", "^sleep$"]);
    workload(&["rename", "--count", "100"]);
    let mut sleep = Command::new("sleep").arg("0.01").spawn().expect("sleep");
    sleep.wait().expect("it ends");
    let report = live.finish();
    let names: BTreeSet<_> = threads(&report)
        .map(|(_, thread)| thread["comm"].as_str().expect("a name"))
        .filter(|&name| name != "sleep")
        .collect();
    assert_eq!(
        names,
        set(["renamed-0", "renamed-1", "renamed-2", "renamed-3"])
    );
    // Others on this machine may sleep as well.
    assert!(pids(&report).contains(&sleep.id()));
}

#[test]
fn births_while_attaching_are_not_missed() {
    let forks = background("sh", &["-c", "while :; do /bin/true; done"]);
    let shell = forks.id();
    for _ in 0..5 {
        let report = valid(&["--duration", "200ms", "--pid", &shell.to_string()]);
        assert!(
            report["target"]["processes"].as_u64() > Some(2),
            "{:#}",
            report["target"]
        );
        for process in list(&report, "processes") {
            let [pid, parent] = ["pid", "ppid"].map(|key| process[key].as_u64());
            let is_shell = pid == Some(shell.into());
            assert!(
                is_shell || parent == Some(shell.into()),
                "{pid:?} is not of {shell}"
            );
        }
        // One at a time: at the start at most one of them was alive.
        let alive = |(_, thread): &(&Value, &Value)| thread["born_in_window"] == false;
        assert!(threads(&report).filter(alive).count() <= 2);
    }
}

#[test]
fn the_model_is_told() {
    assert_eq!(valid(&["--", "true"])["target"]["model"], "single");
    let model = |pattern: &[&str]| workload(pattern)["target"]["model"].clone();
    assert_eq!(model(&["sleepers", "--duration", "50ms"]), "threads");
    assert_eq!(
        model(&["pingpong-processes", "--count", "100"]),
        "processes"
    );
    assert_eq!(model(&["tree", "--duration", "10ms"]), "hybrid");
}

/// A cgroup that is removed with all below it.
struct Cgroup(PathBuf);

impl Cgroup {
    fn new(mount: &str, name: &str) -> Cgroup {
        let path = Path::new(mount).join(format!("tracer-{name}-{}", std::process::id()));
        fs::create_dir_all(path.join("inner")).expect("create a cgroup");
        Cgroup(path)
    }

    fn enter(&self, below: &str, pid: &str) {
        fs::write(self.0.join(below).join("cgroup.procs"), pid).expect("move into the cgroup");
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // Who has been in it may take a moment to be gone.
        let empty = |path: &Path| fs::remove_dir(path).is_ok() || !path.exists();
        until("the cgroup is empty", || {
            empty(&self.0.join("inner")) && empty(&self.0)
        });
    }
}

#[track_caller]
fn a_cgroup_is_its_subtree(mount: &str) {
    let cgroup = Cgroup::new(mount, "targets");
    let mut inside = Gated::new("/bin/true; /bin/true; true");
    let mut below = Gated::new("/bin/true; true");
    let mut outside = Gated::new("/bin/true; true");
    cgroup.enter("", &inside.pid());
    cgroup.enter("inner", &below.pid());
    let live = Live::start(&["--cgroup", &cgroup.0.display().to_string()]);
    // Entered only now, and neither starts nor becomes anything else before it sleeps.
    let mut late = Gated::new("read nothing; true");
    cgroup.enter("inner", &late.pid());
    let shells = [&inside, &below, &late].map(|shell| shell.pid().parse().expect("a pid"));
    let outsider: u32 = outside.pid().parse().expect("a pid");
    for shell in [&mut inside, &mut below, &mut outside, &mut late] {
        shell.open();
    }
    for shell in [inside, below, outside, late] {
        shell.ends();
    }
    let report = live.finish();
    let found = pids(&report);
    assert!(
        found.is_superset(&set(shells.to_vec())),
        "{shells:?} in {found:?}"
    );
    assert!(!found.contains(&outsider));
    for process in list(&report, "processes") {
        let number = |key: &str| process[key].as_u64().map(|number| number as u32);
        let [pid, parent] = ["pid", "ppid"].map(number);
        let belongs = |pid: Option<u32>| pid.is_some_and(|pid| shells.contains(&pid));
        assert!(
            belongs(pid) || belongs(parent),
            "{pid:?} is not of {shells:?}"
        );
    }
}

#[test]
fn a_cgroup_of_the_cpu_controller() {
    a_cgroup_is_its_subtree("/sys/fs/cgroup/cpu");
}

#[test]
fn a_cgroup_of_version_2() {
    a_cgroup_is_its_subtree("/sys/fs/cgroup/unified");
}

#[test]
fn who_is_gone_is_said_to_be_gone() {
    let mut ended = Command::new("true").spawn().expect("start");
    ended.wait().expect("it ends");
    for (flag, what) in [("--pid", "process"), ("--tid", "thread")] {
        let pid = ended.id().to_string();
        let outcome = tracer(["run", flag, &pid]);
        outcome.expect_code(1);
        let error = format!("error: trace {what} {pid}: no {what} {pid}: it has ended");
        assert!(outcome.stderr().starts_with(&error), "{}", outcome.stderr());
        assert_eq!(outcome.stderr().lines().count(), 1);
    }
}

/// Some kernels exempt the first process from tracing. A report that says it never ran would be untrue.
#[test]
fn a_process_that_the_kernel_hides_is_no_report() {
    for (option, what) in [("--pid", "process"), ("--tid", "thread")] {
        let outcome = tracer(["run", option, "1", "--duration=300ms", "--format=json"]);
        if outcome.status.success() {
            assert!(tids(&outcome.json()).contains(&1));
        } else {
            outcome.expect_code(1);
            let told = format!("error: trace {what} 1: this kernel exempts it from tracing\n");
            assert_eq!(outcome.stderr(), told);
        }
    }
}

#[test]
fn a_thread_given_as_a_process_is_explained() {
    let sleepers = background_workload(&["sleepers", "--duration", "60s"]);
    until("it has threads", || tasks(sleepers.id()).len() > 1);
    let process = sleepers.id();
    let tasks = tasks(process).into_iter().map(|(tid, _)| tid);
    let tid = tasks.max().expect("it has");
    let outcome = tracer(["run", "--pid", &tid.to_string()]);
    outcome.expect_code(1);
    let advice = format!("use --tid {tid}, or --pid {process}");
    assert!(outcome.stderr().contains(&advice), "{}", outcome.stderr());
}

#[test]
fn a_pid_of_a_container_is_explained() {
    // A number that is free here: behind the last one, so that it is not the next one, either.
    let last = fs::read_to_string("/proc/sys/kernel/ns_last_pid").expect("read the last pid");
    let last: u32 = last.trim().parse().expect("a number");
    let is_free = |pid: &u32| !Path::new(&format!("/proc/{pid}")).exists();
    let number = (1_000..last.max(20_000) - 2_000)
        .rfind(is_free)
        .expect("a free number");
    let script = format!(
        "echo {} >/proc/sys/kernel/ns_last_pid; sleep 60 & wait",
        number - 1
    );
    let mut unshare = Command::new("unshare");
    unshare.args(["--pid", "--fork", "--kill-child", "sh", "-c", &script]);
    let unshare = Running::start_as_is(unshare.stdin(Stdio::null()));
    let mut host = None;
    until("the container runs", || {
        let children = support::machine::children;
        let init = children(unshare.id()).into_iter().next();
        host = init.and_then(|init| children(init).into_iter().next());
        let name = host.and_then(|pid| status(pid, "Name:"));
        name.as_deref() == Some("sleep")
    });
    let host = host.expect("just found");
    let inside = status(host, "NSpid:").expect("it lives");
    assert!(inside.ends_with(&format!("\t{number}")), "{inside}");

    let outcome = tracer(["run", "--pid", &number.to_string()]);
    outcome.expect_code(1);
    let advice =
        format!("inside a container, {number} is host PID {host} (sleep): use --pid {host}");
    assert!(outcome.stderr().contains(&advice), "{}", outcome.stderr());
    assert_eq!(outcome.stderr().lines().count(), 1);

    // From inside, its numbers are not the kernel's: that is an obstacle, not a guess.
    let mut inside = Command::new("unshare");
    inside.args(["--pid", "--fork", TRACER, "run", "--duration", "100ms"]);
    let outcome = Running::start(&mut inside).finish();
    outcome.expect_code(3);
    assert!(
        outcome.stderr().contains("PID namespace"),
        "{}",
        outcome.stderr()
    );
    assert_eq!(binary().get_program(), TRACER);
}
