//! A load whose every switch the kernel tells from outside: two threads that take turns on one CPU, held
//! before their first instruction and stopped after their last, so that their counters can be read at rest.

use std::collections::BTreeMap;
use std::fs;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::machine::{Gated, status, tasks, until};
use super::{check::list, pause};

/// What the kernel counted of a thread, from /proc.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    pub voluntary: u64,
    pub involuntary: u64,
    pub run_ns: u64,
    pub wait_ns: u64,
}

impl Counted {
    /// None when the thread is gone.
    fn read(pid: u32, tid: u32) -> Option<Counted> {
        let path = |name: &str| format!("/proc/{pid}/task/{tid}/{name}");
        let status = fs::read_to_string(path("status")).ok()?;
        let counter = |key: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(key))?;
            line.trim().parse().ok()
        };
        let times = fs::read_to_string(path("schedstat")).ok()?;
        let mut times = times.split_whitespace().map(str::parse);
        Some(Counted {
            voluntary: counter("voluntary_ctxt_switches:")?,
            involuntary: counter("nonvoluntary_ctxt_switches:")?,
            run_ns: times.next()?.ok()?,
            wait_ns: times.next()?.ok()?,
        })
    }

    pub fn switches(&self) -> u64 {
        self.voluntary + self.involuntary
    }

    fn since(self, before: Counted) -> Counted {
        Counted {
            voluntary: self.voluntary - before.voluntary,
            involuntary: self.involuntary - before.involuntary,
            run_ns: self.run_ns - before.run_ns,
            wait_ns: self.wait_ns - before.wait_ns,
        }
    }
}

type Threads = BTreeMap<u32, Counted>;

/// `perf bench sched pipe -T`, pinned.
pub struct Pipe {
    gated: Gated,
    pid: u32,
    cpu: u16,
    before: Threads,
    /// Its threads are there already, and stopped.
    born: bool,
}

impl Pipe {
    /// Not running yet: so far it is a shell that waits for its line.
    #[track_caller]
    pub fn held(cpu: u16) -> Pipe {
        let bench = "perf bench sched pipe -T -l 1000000000";
        let gated = Gated::new(&format!("exec taskset -c {cpu} {bench}"));
        let pid = gated.pid().parse().expect("a number");
        Pipe {
            before: at_rest(pid, 'S'),
            gated,
            pid,
            cpu,
            born: false,
        }
    }

    /// Stopped after its first turns: whatever becomes of its records, all of its threads are known.
    #[track_caller]
    pub fn born(cpu: u16) -> Pipe {
        let mut pipe = Pipe::held(cpu);
        pipe.open();
        pipe.goes_on_for(1_000);
        pipe.signal(Signal::STOP);
        pipe.before = at_rest(pipe.pid, 'T');
        pipe.born = true;
        pipe
    }

    pub fn pid(&self) -> String {
        self.gated.pid()
    }

    pub fn cpu(&self) -> u16 {
        self.cpu
    }

    #[track_caller]
    pub fn open(&mut self) {
        if self.born {
            self.signal(Signal::CONT);
        } else {
            self.gated.open();
        }
    }

    #[track_caller]
    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.pid.cast_signed()).expect("a pid");
        kill_process(pid, signal).expect("signal the pipe");
    }

    /// Waits until its threads have switched this many times more.
    #[track_caller]
    pub fn goes_on_for(&self, switches: u64) {
        let target = self.switches() + switches;
        until("the pipe goes on", || self.switches() >= target);
    }

    /// What its threads did since it was held, read while all of them are stopped. They stay so.
    #[track_caller]
    pub fn stopped(&self) -> Threads {
        self.signal(Signal::STOP);
        let mut threads = at_rest(self.pid, 'T');
        for (tid, before) in &self.before {
            let now = threads.get_mut(tid).expect("exec keeps the leader");
            *now = now.since(*before);
        }
        threads
    }

    fn switches(&self) -> u64 {
        let read = |(tid, _)| Counted::read(self.pid, tid);
        let threads = tasks(self.pid).into_iter().filter_map(read);
        threads.map(|thread| thread.switches()).sum()
    }
}

/// The threads of a process, once all are in this state, off their CPUs, and nothing moves any more.
#[track_caller]
fn at_rest(pid: u32, state: char) -> Threads {
    let mut found = Threads::new();
    until("all threads are at rest", || {
        let before = read_resting(pid, state);
        pause();
        let after = read_resting(pid, state);
        found = after.clone().unwrap_or_default();
        before.is_some() && before == after
    });
    found
}

fn read_resting(pid: u32, state: char) -> Option<Threads> {
    let tids: Vec<u32> = tasks(pid).into_iter().map(|(tid, _)| tid).collect();
    let rests = |&tid: &u32| {
        let known = status(tid, "State:").is_some_and(|line| line.starts_with(state));
        // The state is set some time before the thread has left its CPU; where it sleeps is told after.
        let place = fs::read_to_string(format!("/proc/{pid}/task/{tid}/wchan"));
        known && place.is_ok_and(|place| place != "0")
    };
    if tids.is_empty() || !tids.iter().all(rests) {
        return None;
    }
    let read = |tid: u32| Some((tid, Counted::read(pid, tid)?));
    tids.into_iter().map(read).collect()
}

/// The report's threads of this pipe tell what /proc told: counts to the one, times within the
/// tolerances of the contract, and where the kernel's own times are at fault the report says so.
///
/// `unseen_ns`: where something was lost, the time from the first look at a thread to the window's begin.
/// Of what a hole across that edge hides, a report counts only what is certainly inside.
#[track_caller]
pub fn expect_same(report: &Value, pipe: &Pipe, counted: &Threads, unseen_ns: u64) {
    let process = list(report, "processes")
        .iter()
        .find(|process| process["pid"] == pipe.pid)
        .unwrap_or_else(|| panic!("no process {} in {report:#}", pipe.pid));
    let threads = list(process, "threads");
    let mut tids: Vec<u64> = threads.iter().filter_map(|t| t["tid"].as_u64()).collect();
    tids.sort_unstable();
    let expected: Vec<u64> = counted.keys().map(|&tid| tid.into()).collect();
    assert_eq!(tids, expected, "{process:#}");
    for thread in threads {
        let tid = thread["tid"].as_u64().and_then(|tid| tid.try_into().ok());
        let kernel = counted[&tid.expect("a tid")];
        expect_thread(report, thread, kernel, unseen_ns);
    }
}

#[track_caller]
fn expect_thread(report: &Value, thread: &Value, kernel: Counted, unseen_ns: u64) {
    let number = |pointer: &str| thread.pointer(pointer).and_then(Value::as_u64);
    let of = |pointer: &str| number(pointer).unwrap_or_else(|| panic!("{pointer}: {thread:#}"));
    let context = || format!("{kernel:?}\n{thread:#}\n{:#}", report["quality"]);
    let (voluntary, involuntary) = (of("/switches/voluntary"), of("/switches/involuntary"));
    let ours = (voluntary, involuntary);
    let theirs = (kernel.voluntary, kernel.involuntary);
    assert_eq!(ours, theirs, "{}", context());

    // Two ticks; the slowest there are when it is not known.
    let hz = report["host"]["hz"].as_u64().unwrap_or(100);
    let tolerances = [
        (
            "run_ns",
            of("/run_ns") - number("/run_steal_ns").unwrap_or(0),
            kernel.run_ns,
            (kernel.run_ns / 100).max(2_000_000_000 / hz) + unseen_ns,
        ),
        (
            "wait_ns",
            of("/wait_ns"),
            kernel.wait_ns,
            (kernel.wait_ns / 1_000).max(50_000) + 100 * involuntary + unseen_ns,
        ),
    ];
    for (field, ours, theirs, tolerance) in tolerances {
        let explained = list(&report["quality"], "mismatches")
            .iter()
            .any(|m| m["tid"] == thread["tid"] && m["field"] == field && m["reason"].is_string());
        assert!(
            ours.abs_diff(theirs) <= tolerance || explained,
            "{field}: {ours} here, {theirs} in /proc, {tolerance} is allowed: {}",
            context()
        );
    }
}
