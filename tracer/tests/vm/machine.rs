//! What happens to a whole machine under a trace: CPUs that go and come, clocks that are set, time that is missing.
//! For virtual machines only, as the first process there starts them: a machine that people use must not be done
//! this to.

#[path = "../support/mod.rs"]
mod support;

use std::fs;
use std::io::Write as _;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, Timespec, clock_gettime, clock_settime};
use serde_json::Value;
use support::budget::number;
use support::check::{check_lossy_report, list};
use support::machine::{Counters, background_workload, cpus, is_root, monotonic, until};
use support::trace::{Live, Traced};
use support::{Running, na, pause, threads};

const SECOND: u64 = 1_000_000_000;
const HOUR: i64 = 3_600;

/// The one that goes and comes: the first cannot.
const CPU: u64 = 1;

#[track_caller]
fn in_a_virtual_machine() {
    assert!(
        std::env::var_os("TRACER_VM").is_some() && is_root(),
        "this takes CPUs away and sets the clock: run cargo xtask vm-test"
    );
    assert_eq!(cpus(), 2, "all CPUs are there before each test");
}

/// Two processes that talk to each other, on one CPU after the other.
fn load() -> Running {
    background_workload(&[
        "pingpong-processes",
        "--count",
        "100000000",
        "--duration",
        "60s",
    ])
}

/// The whole system. An emulated machine is slow: the collector gets the room to be late.
#[track_caller]
fn trace() -> Live {
    Live::start(&["--buffer", "16MiB"])
}

/// Ends a trace and takes its report: correct, or with all that is missing known in number. An emulated machine of
/// which time was taken away may come too late to empty its buffers.
#[track_caller]
fn finish(live: Live) -> Value {
    wait(100);
    let Traced { outcome, report } = live.interrupt();
    let quality = &report["quality"];
    assert_ne!(quality["verdict"], "invalid", "{quality:#}");
    outcome.expect_code(0);
    check_lossy_report(&report);
    report
}

/// Takes the CPU away or gives it back.
fn set_online(online: bool) {
    let place = format!("/sys/devices/system/cpu/cpu{CPU}/online");
    fs::write(&place, if online { "1" } else { "0" }).expect("this kernel has CPU hotplug");
    let now = fs::read_to_string(&place).expect("read which CPUs there are");
    assert_eq!(now.trim() == "1", online);
}

/// However a test ends, the next one finds all CPUs.
struct AllCpus;

impl Drop for AllCpus {
    fn drop(&mut self) {
        set_online(true);
    }
}

/// As `/proc/stat` says it; a switch is counted before its tracepoint fires, so on each CPU one may be in between.
#[track_caller]
fn expect_all_switches(report: &Value, counters: Counters) {
    let of = |key: &str| number(report, &format!("/window/{key}"));
    let (grown, _) = counters.growth(of("start_monotonic_ns"), of("duration_ns"));
    let bounds = grown.start() - cpus()..=grown.end() + cpus();
    let switches = number(report, "/system/switches");
    assert!(bounds.contains(&switches), "{switches} not in {bounds:?}");
}

#[track_caller]
fn busy(report: &Value, cpu: u64) -> &Value {
    let row = list(&report["system"], "cpus")
        .iter()
        .find(|row| row["cpu"] == cpu);
    row.unwrap_or_else(|| panic!("CPU {cpu} has no row: {:#}", report["system"]))
}

#[test]
fn a_cpu_that_goes_and_comes_back_is_accounted_for() {
    in_a_virtual_machine();
    let _all = AllCpus;
    let _load = load();
    let counters = Counters::start();
    let live = trace();
    wait(500);
    for _ in 0..2 {
        set_online(false);
        wait(500);
        set_online(true);
        wait(500);
    }
    let report = finish(live);
    expect_all_switches(&report, counters);
    let row = busy(&report, CPU);
    assert!(number(row, "/switches") > 10, "{row:#}");
    // The kernel does not tell of the last switch on a CPU that goes: what came of it is not known, and not idle time.
    let told = number(row, "/busy_ns") + number(row, "/idle_ns");
    let window = number(&report, "/window/duration_ns");
    assert!(
        (window - SECOND / 10..=window).contains(&told),
        "{told} of {window}: {row:#}"
    );
}

#[test]
fn a_cpu_that_nobody_knew_of_is_a_loss_that_is_told() {
    in_a_virtual_machine();
    let _all = AllCpus;
    set_online(false);
    let _load = load();
    let live = trace();
    wait(300);
    set_online(true);
    wait(1_000);
    let report = finish(live);
    let quality = &report["quality"];
    assert_eq!(quality["verdict"], "degraded", "{quality:#}");
    assert!(number(quality, "/lost_records") > 0, "{quality:#}");
    assert!(number(quality, "/lost_switches") > 0, "{quality:#}");
}

fn set_clock(hours: i64) {
    let now = clock_gettime(ClockId::Realtime);
    let set = Timespec {
        tv_sec: now.tv_sec + hours * HOUR,
        ..now
    };
    clock_settime(ClockId::Realtime, set).expect("set the clock");
}

#[test]
fn a_clock_that_is_set_changes_no_time() {
    in_a_virtual_machine();
    let _load = load();
    let live = trace();
    let begin = monotonic();
    for hours in [1, -3] {
        set_clock(hours);
        wait(300);
    }
    let lasted = monotonic() - begin;
    let intervals = live.lines("interval");
    // Two hours before it began, by that clock.
    let report = finish(live);
    set_clock(2);
    let duration = number(&report, "/window/duration_ns");
    // From the first interval seen to the end: a bit more than what was done meanwhile.
    assert!(
        (lasted..lasted + 20 * SECOND).contains(&duration),
        "{duration}, {lasted}"
    );
    let mut at = 0;
    for interval in &intervals {
        assert_eq!(number(interval, "/interval/at_ns"), at);
        at += number(interval, "/interval/duration_ns");
    }
    assert!(at > 0 && at <= duration, "{at} of {duration}");
}

/// As a hypervisor that runs others does it, or one that moves the machine.
#[test]
fn a_machine_that_stood_still_waited() {
    in_a_virtual_machine();
    const STOOD: u64 = 3;
    let _load = load();
    let counters = Counters::start();
    let live = trace();
    let before = monotonic();
    let mut console = std::io::stdout().lock();
    write!(console, "\nvm: stop {STOOD}\n")
        .and_then(|()| console.flush())
        .expect("ask the host");
    until("time has jumped", || monotonic() - before > STOOD * SECOND);
    wait(500);
    let report = finish(live);
    expect_all_switches(&report, counters);
    assert!(number(&report, "/window/duration_ns") > STOOD * SECOND);
    // Each CPU was in some state then, and so was each thread: nothing is missing, and nothing negative.
    for row in list(&report["system"], "cpus") {
        let sum = number(row, "/busy_ns") + number(row, "/idle_ns");
        assert!(sum >= STOOD * SECOND, "{row:#}");
    }
    let longest = threads(&report)
        .map(|(_, thread)| number(thread, "/lifetime_ns"))
        .max();
    assert!(longest > Some(STOOD * SECOND), "{longest:?}");
}

/// The monotonic clock, and so every time in a report, stands still in a suspended machine.
#[test]
fn a_machine_that_slept_has_no_time_for_it() {
    in_a_virtual_machine();
    let test = "a_machine_that_slept_has_no_time_for_it";
    let states = fs::read_to_string("/sys/power/state").unwrap_or_default();
    let Some(state) = ["mem", "freeze"]
        .into_iter()
        .find(|state| states.contains(state))
    else {
        return na(test, "this kernel cannot suspend");
    };
    if !suspending_stops_clocks() {
        return na(test, "this kernel's clocks go on while it is suspended");
    }
    let alarm = "/sys/class/rtc/rtc0/wakealarm";
    if !fs::exists(alarm).unwrap_or(false) {
        return na(test, "no clock could wake it");
    }
    let _load = load();
    let before = monotonic();
    let live = trace();
    let slept = || {
        let ns = |clock| {
            let time = clock_gettime(clock);
            time.tv_sec as u64 * SECOND + time.tv_nsec as u64
        };
        // What lies between the two looks must not be taken for sleep.
        let monotonic = ns(ClockId::Monotonic);
        ns(ClockId::Boottime) - monotonic
    };
    let (awake, traced) = (slept(), monotonic());
    fs::write(alarm, "+8").expect("set the alarm");
    fs::write("/sys/power/state", state).expect("suspend");
    let slept = slept() - awake;
    assert!(slept > SECOND, "{slept} ns of sleep");
    wait(300);
    let asked = monotonic();
    let report = finish(live);
    let ended = monotonic();
    let start = number(&report, "/window/start_monotonic_ns");
    assert!(
        (before..=traced).contains(&start),
        "{before}, {start}, {traced}"
    );
    let duration = number(&report, "/window/duration_ns");
    let lasted = asked - start..=ended - start;
    assert!(lasted.contains(&duration), "{duration}, {lasted:?}");
    // Or it would prove nothing.
    assert!(ended - asked < slept, "{slept} ns of sleep");
}

/// Suspended to idle, CPUs without a driver for being idle wait as they always do: `cpuidle_idle_call()` in
/// kernel/sched/idle.c. Where there is a choice, the one in brackets is taken.
fn suspending_stops_clocks() -> bool {
    let read = |place| fs::read_to_string(place).unwrap_or_default();
    let driver = read("/sys/devices/system/cpu/cpuidle/current_driver");
    read("/sys/power/mem_sleep").contains("[deep]") || driver.trim() != "none"
}

fn wait(ms: u64) {
    let end = Instant::now() + Duration::from_millis(ms);
    while Instant::now() < end {
        pause();
    }
}
