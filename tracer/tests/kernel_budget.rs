//! Whoever and whatever had the CPU while a thread waited is named, with its time: planted causes, known from the
//! kernel's own counters and from what the planted threads tell of themselves.

mod support;

use std::fs;
use std::time::Duration;

use serde_json::Value;
use support::budget::{
    HIDDEN_NS, charged, charged_to_kind, charged_to_pid, expect_close, expect_named, number, thread,
};
use support::check::list;
use support::machine::{allowed_cpus, background_workload, tasks, until};
use support::na;
use support::planted::{Planted, Quota, cpu, pin};
use support::trace::Live;

const MS: u64 = 1_000_000;

/// What the kernel's run times of living threads may be behind.
const TICKS: u64 = 20 * MS;

/// Runs until it is dropped.
#[track_caller]
fn hog(cpu: u16) -> Planted {
    let mut hog = Planted::pinned(cpu, &["burns", "--duration", "60s"]);
    hog.begin();
    hog
}

/// The report of a target that waited, without doubt.
#[track_caller]
fn named(report: Value) -> Value {
    expect_named(&report);
    report
}

#[test]
fn who_ran_while_a_thread_waited_is_named_and_narrow_agrees_with_whole() {
    let cpu = cpu();
    let hogs = [hog(cpu), hog(cpu), hog(cpu)];
    let mut victim = Planted::pinned(cpu, &["burns", "--duration", "4s"]);
    let pid = victim.pid();
    // The victim lives from begin to end in both windows.
    let narrow = Live::start(&["--pid", &victim.pid_text()]);
    let whole = Live::start::<&str>(&[]);
    // One of the tracers is in the way, too.
    let tracer = whole.id();
    tasks(tracer).iter().for_each(|&(tid, _)| pin(tid, cpu));
    let run = || hogs.each_ref().map(|hog| hog.counted().run_ns);
    let before = run();
    victim.open();
    victim.ends();
    let after = run();
    let (narrow, whole) = (named(narrow.ends()), whole.finish());

    let (ours, theirs) = (thread(&narrow, pid), thread(&whole, pid));
    let wait = number(ours, "/wait_ns");
    for (hog, (before, after)) in hogs.iter().zip(before.into_iter().zip(after)) {
        let ran = after - before;
        let blamed = charged_to_pid(ours, hog.pid());
        assert!(ran > 200 * MS, "{ran} ns of a hog are no load");
        expect_close("a hog's run time", blamed, ran, 5, TICKS);
        let share = list(ours, "waited_for")
            .iter()
            .find(|share| share["pid"] == hog.pid())
            .expect("it is there");
        assert_eq!(share["kind"], "thread", "{share}");
        assert_eq!(share["comm"], "burns", "{share}");
        assert_eq!(share["same_process"], false, "{share}");
        let came = list(ours, "preempted_by")
            .iter()
            .find(|row| row["tid"] == hog.pid());
        let often = came.is_some_and(|row| number(row, "/count") > 10);
        assert!(often, "hog {}: {ours}", hog.pid());
    }
    assert!(wait > 2_000 * MS, "{wait} ns");
    assert!(charged_to_pid(ours, tracer) > 0, "{ours}");
    agree(ours, theirs);
}

/// The same thread in the whole time of its life, as two tracers saw it.
#[track_caller]
fn agree(narrow: &Value, whole: &Value) {
    let [one, other] = [narrow, whole].map(|thread| number(thread, "/wait_ns"));
    expect_close("wait_ns", one, other, 1, MS);
    let key = |share: &Value| ["kind", "pid", "tid"].map(|key| share[key].clone());
    for (from, to) in [(narrow, whole), (whole, narrow)] {
        for share in list(from, "waited_for") {
            let (key_of, ns) = (key(share), number(share, "/ns"));
            let same = charged(to, |other| key(other) == key_of);
            expect_close(&format!("{share}"), ns, same, 5, HIDDEN_NS);
        }
    }
}

/// What a thread does in a group with a quota: its row, and how long the group was throttled meanwhile.
#[track_caller]
fn in_group(quota: &Quota, pattern: &str, others: &[&Planted]) -> (Value, Vec<Vec<u64>>) {
    let mut victim = Planted::pinned(cpu(), &[pattern, "--duration", "3s"]);
    let pid = victim.pid();
    quota.admit(pid);
    let live = Live::start(&["--pid", &victim.pid_text()]);
    victim.open();
    let told = victim.ends();
    let report = named(live.ends());
    let row = thread(&report, pid).clone();
    // Whatever others of this machine did: being throttled is nobody's doing.
    let throttled = charged_to_kind(&row, "throttled");
    assert!(throttled <= number(&row, "/wait_ns"));
    for other in others {
        assert!(charged_to_pid(&row, other.pid()) > 0, "{row}");
    }
    (row, told)
}

#[test]
fn a_thread_without_quota_left_is_throttled() {
    let name = "a_thread_without_quota_left_is_throttled";
    let Some(quota) = Quota::new("quota", 20_000, 100_000) else {
        return na(name, "no cgroup can have a quota");
    };
    let (row, _) = in_group(&quota, "burns", &[]);
    let throttled = quota.throttled_ns();
    assert!(throttled > 600 * MS, "{throttled} ns");
    let blamed = charged_to_kind(&row, "throttled");
    expect_close("throttled", blamed, throttled, 10, 0);
    // Nobody took the CPU from it.
    let times = quota.times_throttled();
    let preempted: u64 = list(&row, "preempted_by")
        .iter()
        .map(|entry| number(entry, "/ns"))
        .sum();
    assert!(
        preempted <= number(&row, "/wait_ns") - blamed,
        "throttled {times} times: {row}"
    );
}

#[test]
fn a_thread_that_wakes_into_a_throttled_group_is_throttled() {
    let name = "a_thread_that_wakes_into_a_throttled_group_is_throttled";
    let Some(quota) = Quota::new("wakes", 20_000, 100_000) else {
        return na(name, "no cgroup can have a quota");
    };
    let (row, bursts) = in_group(&quota, "bursts", &[]);
    let throttled = quota.throttled_ns();
    assert!(throttled > 400 * MS, "{throttled} ns");
    // Asleep when its group was throttled, and woken long before that was over.
    let late = |pair: &&[Vec<u64>]| pair[1][0] - pair[0][1] > 20 * MS;
    let woken = bursts.windows(2).filter(late).count() as u64;
    assert!(woken >= 3, "{woken} of {} bursts", bursts.len());
    // The kernel counts from when the group could not go on, the thread waits from when it wanted to.
    let slept = woken * 2 * MS;
    let blamed = charged_to_kind(&row, "throttled");
    expect_close("throttled", blamed + slept, throttled, 10, 0);
}

#[test]
fn waiting_behind_a_hog_is_not_being_throttled() {
    let name = "waiting_behind_a_hog_is_not_being_throttled";
    let Some(quota) = Quota::new("behind", 40_000, 100_000) else {
        return na(name, "no cgroup can have a quota");
    };
    let hog = hog(cpu());
    let (row, _) = in_group(&quota, "burns", &[&hog]);
    let (throttled, wait) = (quota.throttled_ns(), number(&row, "/wait_ns"));
    let blamed = charged_to_kind(&row, "throttled");
    expect_close("throttled", blamed, throttled, 10, 10 * MS);
    assert!(wait > throttled + 500 * MS, "{wait} ns, {throttled} ns");
    // The rest is for the hog, and for what interrupts it.
    let rest = wait - blamed;
    let behind = charged_to_pid(&row, hog.pid());
    assert!(behind > rest / 2, "{behind} of {rest}: {row}");
}

/// Packets that come through the loopback device are received on this CPU, whoever sent them where.
struct Steering(String);

impl Steering {
    const FILE: &str = "/sys/class/net/lo/queues/rx-0/rps_cpus";

    fn to(cpu: u16) -> Option<Steering> {
        let before = fs::read_to_string(Steering::FILE).ok()?;
        let mask = 1_u32.checked_shl(cpu.into())?;
        fs::write(Steering::FILE, format!("{mask:x}")).ok()?;
        Some(Steering(before))
    }
}

impl Drop for Steering {
    fn drop(&mut self) {
        let _ = fs::write(Steering::FILE, self.0.trim());
    }
}

#[test]
fn softirqs_are_charged_to_softirqs() {
    let name = "softirqs_are_charged_to_softirqs";
    let (cpus, cpu) = (allowed_cpus(), cpu());
    let (Some(_steering), [sender, _, ..]) = (Steering::to(cpu), &cpus[..]) else {
        return na(name, "two CPUs and receive steering are needed");
    };
    let mut packets = Planted::pinned(*sender, &["packets", "--duration", "60s"]);
    packets.begin();
    let pattern = ["burns", "--duration", "3s"];
    let [mut victim, mut other] = [(); 2].map(|()| Planted::pinned(cpu, &pattern));
    let (pid, innocent) = (victim.pid(), other.pid());
    let live = Live::start(&["--pid", &victim.pid_text()]);
    other.begin();
    victim.open();
    let told = [victim.ends(), other.ends()];
    let report = named(live.ends());
    let row = thread(&report, pid);

    let [own, others] = told.map(|lines| lines[0][2]);
    let innocent = charged_to_pid(row, innocent);
    let ksoftirqd = |share: &Value| {
        let name = share["comm"].as_str().unwrap_or_default();
        share["kind"] == "kernel_thread" && name.starts_with("ksoftirqd/")
    };
    let is_named = |share: &Value| !share["pid"].is_null();
    let softirqs = charged(row, ksoftirqd);
    let bystanders = charged(row, is_named) - innocent - softirqs;

    // Of the time in which it wanted to run, what went to no thread.
    let life = number(row, "/run_ns") + number(row, "/wait_ns");
    let taken = life.saturating_sub(own + others + bystanders);
    assert!(taken > 300 * MS, "packets took {taken} ns: no load");
    let interrupts = charged_to_kind(row, "irq") + charged_to_kind(row, "softirq");
    let running = number(row, "/run_softirq_ns") + number(row, "/run_irq_ns");
    let blamed = softirqs + interrupts + running;
    // What lies outside of the handlers, the way into an interrupt and out of the hypervisor, nobody can tell from
    // the time of whoever ran.
    let outside = taken.saturating_sub(blamed);
    assert!(blamed * 4 >= taken, "{blamed} of {taken}: {row}");
    assert!(
        innocent <= others + outside + taken / 20,
        "{innocent} of {others} ns that were its own, {blamed} of {taken} blamed: {row}"
    );
    assert!(charged_to_kind(row, "softirq") > 0 && number(row, "/run_softirq_ns") > 0);
}

#[test]
fn a_timer_wakes_and_not_who_ran_then() {
    let cpu = cpu();
    let hog = hog(cpu);
    let sleepers = background_workload(&["sleepers", "--count", "2", "--duration", "60s"]);
    let mut threads = Vec::new();
    until("it has its threads", || {
        let all = tasks(sleepers.id()).into_iter();
        threads = all
            .filter(|(_, name)| name.starts_with("sleeper-"))
            .collect();
        threads.len() == 2
    });
    threads.iter().for_each(|&(tid, _)| pin(tid, cpu));
    let live = Live::start(&["--pid", &sleepers.id().to_string()]);
    std::thread::sleep(Duration::from_millis(700));
    let report = named(live.finish());
    for (tid, _) in threads {
        let row = thread(&report, tid);
        let wakers = list(row, "woken_by");
        let count = |is_meant: &dyn Fn(&Value) -> bool| -> u64 {
            let meant = wakers.iter().filter(|waker| is_meant(waker));
            meant.map(|waker| number(waker, "/count")).sum()
        };
        let is_timer = |waker: &Value| waker["kind"] == "timer" || waker["kind"] == "irq";
        let (timers, all) = (count(&is_timer), count(&|_| true));
        assert!(timers > 20 && timers + 2 >= all, "{wakers:?}");
        assert_eq!(count(&|waker| waker["pid"] == hog.pid()), 0, "{wakers:?}");
    }
}

#[test]
fn a_wait_that_moves_to_another_cpu_is_charged_on_both() {
    let name = "a_wait_that_moves_to_another_cpu_is_charged_on_both";
    let cpus = allowed_cpus();
    let [here, there, ..] = cpus[..] else {
        return na(name, "two CPUs are needed");
    };
    let hogs = [hog(here), hog(there)];
    let mut victim = Planted::pinned(here, &["burns", "--duration", "1500ms"]);
    let pid = victim.pid();
    let narrow = Live::start(&["--pid", &victim.pid_text()]);
    let whole = Live::start::<&str>(&[]);
    victim.begin();
    // It waits nearly all the time, so that nearly every move finds it in a queue.
    assert!(victim.policy("--idle", 0), "anybody may step back");
    let mut moved = 0;
    for &cpu in [there, here].iter().cycle().take(60) {
        std::thread::sleep(Duration::from_millis(20));
        let before = victim.counted();
        pin(pid, cpu);
        let after = victim.counted();
        // The kernel counts a wait when it leaves a queue.
        moved += u64::from(after.slices == before.slices && after.wait_ns > before.wait_ns);
    }
    assert!(victim.policy("--other", 0));
    victim.ends();
    assert!(moved >= 20, "only {moved} moves found it waiting");
    for report in [named(narrow.ends()), whole.finish()] {
        let row = thread(&report, pid);
        assert!(number(row, "/migrations") > 0, "{row}");
        let wait = number(row, "/wait_ns");
        assert!(wait > 1_000 * MS, "{row}");
        let [one, other] = hogs.each_ref().map(|hog| charged_to_pid(row, hog.pid()));
        let elsewhere = charged_to_kind(row, "other_cpu");
        assert!(one > 0 && other > 0, "{row}");
        // Whoever else had these CPUs is named, too.
        let is_thread = |share: &Value| !share["tid"].is_null();
        let all = charged(row, is_thread);
        assert!(
            all >= one + other && all + elsewhere >= wait * 9 / 10,
            "{row}"
        );
    }
}

/// Four that compute, in Python: as threads they take turns by its lock, as processes they do not.
const PYTHON: &str = "
import os, sys, threading, time
def spin():
    end = time.monotonic() + 1.5
    while time.monotonic() < end:
        sum(range(1000))
if sys.argv[1] == 'threads':
    threads = [threading.Thread(target=spin) for _ in range(4)]
    for thread in threads: thread.start()
    for thread in threads: thread.join()
else:
    for _ in range(4):
        if os.fork() == 0:
            spin()
            os._exit(0)
    for _ in range(4): os.wait()
";

/// The program itself: `python3` may be a script that chooses one.
fn python() -> Option<String> {
    let mut command = std::process::Command::new("python3");
    command.args(["-c", "import sys; print(sys.executable)"]);
    let output = command.output().ok()?;
    let path = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| path.trim().to_owned())
}

#[test]
fn threads_that_share_a_lock_are_told_from_processes() {
    let name = "threads_that_share_a_lock_are_told_from_processes";
    let Some(python) = python() else {
        return na(name, "there is no Python");
    };
    let run = |how: &str| support::trace::valid(&["--", &python, "-c", PYTHON, how]);
    let insights = |report: &Value| -> Vec<String> {
        let all = list(report, "insights").iter();
        all.map(|insight| insight["text"].to_string().to_lowercase())
            .collect()
    };
    let is_lock = |text: &String| text.contains("lock");

    let threads = run("threads");
    assert_eq!(threads["target"]["model"], "threads");
    let told = insights(&threads);
    assert!(told.iter().any(is_lock), "{told:?} of {threads}");

    let processes = run("processes");
    assert_eq!(processes["target"]["model"], "processes");
    let told = insights(&processes);
    assert!(!told.iter().any(is_lock), "{told:?} of {processes}");
}

#[test]
fn switches_of_others_send_nothing() {
    let cpus = allowed_cpus();
    let [here, there, ..] = cpus[..] else {
        return na("switches_of_others_send_nothing", "two CPUs are needed");
    };
    let mut pair = Planted::pinned(
        there,
        &[
            "pingpong-processes",
            "--duration",
            "60s",
            "--count",
            "100000000",
        ],
    );
    pair.begin();
    let mut target = Planted::pinned(here, &["pulses", "--count", "8"]);
    let live = Live::start(&["--pid", &target.pid_text()]);
    let before = pair.counted().slices;
    target.open();
    target.ends();
    let others = pair.counted().slices - before;
    let report = live.ends();
    assert!(others > 2_000, "{others} slices are no load");
    let received = number(&report["quality"], "/received_switches");
    let own = number(&report, "/processes/0/totals/switches/voluntary")
        + number(&report, "/processes/0/totals/switches/involuntary");
    // One in and one out for each.
    assert!(received <= 2 * own + 10, "{received} for {own}");
}
