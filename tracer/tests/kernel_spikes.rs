//! Latencies over a threshold: each is told as it ends, with its cause, and one that has not ended is told, too.

mod support;

use std::time::Duration;

use serde_json::Value;
use support::budget::{charged_to_kind, charged_to_pid, expect_named, number};
use support::check::list;
use support::machine::until;
use support::planted::{Apart, Planted, Quota, cpu};
use support::trace::{Live, Traced, expect_valid};
use support::{na, threads};

const MS: u64 = 1_000_000;

/// A victim that always wants to run, in its pattern already.
#[track_caller]
fn victim() -> Planted {
    let mut victim = Planted::pinned(cpu(), &["burns", "--duration", "60s"]);
    victim.begin();
    victim
}

/// Begins only when told to, and then nobody else runs on its CPU: neither this test nor the tracers that it starts
/// may be there.
#[track_caller]
fn real_time(pattern: &[&str]) -> Option<(Planted, Apart)> {
    let apart = Apart::from(cpu())?;
    let planted = Planted::pinned(cpu(), pattern);
    let allowed = planted.policy("--fifo", 50);
    allowed.then_some((planted, apart))
}

#[track_caller]
fn spikes_of(report: &Value, pid: u32) -> Vec<&Value> {
    let spikes = report["spikes"].as_array();
    let spikes = spikes.unwrap_or_else(|| panic!("no spikes in {report}"));
    spikes.iter().filter(|spike| spike["pid"] == pid).collect()
}

/// From when to when it waited, on the monotonic clock.
fn times(report: &Value, spike: &Value) -> (u64, u64) {
    let start = number(report, "/window/start_monotonic_ns");
    let end = start + number(spike, "/at_ns");
    (end - number(spike, "/wait_ns"), end)
}

#[test]
fn each_pulse_of_a_real_time_thread_is_one_spike() {
    let Some((mut pulses, _apart)) = real_time(&["pulses", "--count", "30"]) else {
        let name = "each_pulse_of_a_real_time_thread_is_one_spike";
        return na(name, "no real-time thread may have a CPU to itself");
    };
    let victim = victim();
    let live = Live::start(&["--slower", "3ms", "--pid", &victim.pid_text()]);
    let culprit = pulses.pid();
    pulses.open();
    let pulses = pulses.ends();
    // They are told before the end.
    until("the spikes are printed", || {
        live.lines("spike").len() >= pulses.len()
    });
    let printed = live.lines("spike");
    let report = live.finish();
    expect_named(&report);
    let spikes = spikes_of(&report, victim.pid());
    // Others of this machine may add some.
    assert!(printed.len() <= spikes.len());
    for spike in &printed {
        let same = |other: &&&Value| other["at_ns"] == spike["at_ns"];
        let kept = spikes.iter().find(same).expect("it is in the report, too");
        assert_eq!(kept["text"], spike["text"]);
    }

    // Its own start and end are waited for as well.
    let names_it = |spike: &&&Value| charged_to_pid(spike, culprit) > 3 * MS;
    let named: Vec<_> = spikes.iter().filter(names_it).collect();
    for (number, pulse) in pulses.iter().enumerate() {
        let (begin, end) = (pulse[0], pulse[1]);
        let covers = |spike: &&&&Value| {
            let (from, to) = times(&report, spike);
            from <= begin && to >= end
        };
        let [spike] = named.iter().filter(covers).collect::<Vec<_>>()[..] else {
            panic!("not one spike for {begin} to {end}: {named:?}");
        };
        let blamed = charged_to_pid(spike, culprit);
        let length = end - begin;
        // The first one comes right after the program's own start.
        assert!(number == 0 || blamed <= length + MS, "{length} ns: {spike}");
        assert!(blamed >= length * 8 / 10, "{length} ns: {spike}");
        assert_eq!(spike["cause"], "preempted", "{spike}");
        assert_eq!(spike["finished"], true, "{spike}");
        assert_eq!(spike["cpu"], cpu(), "{spike}");
        let share = list(spike, "waited_for")
            .iter()
            .find(|share| share["pid"] == culprit)
            .expect("it has a share");
        assert_eq!(share["comm"], "pulses", "{share}");
        assert_eq!(share["policy"], "SCHED_FIFO", "{share}");
        let text = spike["text"].as_str().unwrap_or_default();
        for part in ["burns", "pulses", "preempted", &victim.pid_text()] {
            assert!(text.contains(part), "no {part:?} in {text:?}");
        }
    }
    // And none twice: the program's own start may take as long once.
    assert!(named.len() <= pulses.len() + 1, "{named:?}");

    let (_, row) = threads(&report).next().expect("one thread");
    let came = list(row, "preempted_by")
        .iter()
        .find(|entry| entry["tid"] == culprit)
        .unwrap_or_else(|| panic!("not among those who preempted: {row}"));
    let count = number(came, "/count");
    assert!(count >= pulses.len() as u64 / 2, "{came}");
    assert!(number(came, "/ns") >= (count - 1) * 4 * MS, "{came}");

    let [first, ..] = list(&report, "spike_causes") else {
        panic!("no causes in {report}");
    };
    assert_eq!(first["pid"], culprit, "{first}");
    assert!(first["share"].as_f64() > Some(0.5), "{first}");
}

/// The one spike that had not ended when the window did.
#[track_caller]
fn unfinished(report: &Value, pid: u32) -> &Value {
    let spikes = spikes_of(report, pid);
    let open: Vec<_> = spikes
        .iter()
        .filter(|spike| spike["finished"] == false)
        .collect();
    let [spike] = open[..] else {
        panic!("not one unfinished spike in {spikes:?}");
    };
    let end = number(report, "/window/duration_ns");
    assert_eq!(number(spike, "/at_ns"), end, "{spike}");
    spike
}

#[test]
fn a_spike_that_has_not_ended_is_told() {
    // Not as long as real-time threads are let run: 950 of 1000 ms.
    let pattern = ["pulses", "--count", "1", "--duration", "700ms"];
    let Some((mut pulse, _apart)) = real_time(&pattern) else {
        let name = "a_spike_that_has_not_ended_is_told";
        return na(name, "no real-time thread may have a CPU to itself");
    };
    let (victim, culprit) = (victim(), pulse.pid());
    let live = Live::start(&["--slower", "50ms", "--pid", &victim.pid_text()]);
    pulse.begin();
    std::thread::sleep(Duration::from_millis(200));
    let Traced { outcome, report } = live.interrupt();
    let told = pulse.ends();
    outcome.expect_code(0);
    expect_valid(&report);
    let spike = unfinished(&report, victim.pid());
    assert_eq!(spike["cause"], "preempted", "{spike}");
    let (from, end) = times(&report, spike);
    let (begin, over) = (told[0][0], told[0][1]);
    assert!(from <= begin && end <= over, "{told:?}: {spike}");
    let (blamed, length) = (charged_to_pid(spike, culprit), end - begin);
    assert!(length >= 100 * MS && blamed <= length + 10 * MS);
    assert!(blamed >= length * 8 / 10, "{length} ns: {spike}");
}

#[test]
fn a_thread_that_is_throttled_still_is_told() {
    let Some(quota) = Quota::new("edge", 1_000, 1_000_000) else {
        let name = "a_thread_that_is_throttled_still_is_told";
        return na(name, "no cgroup can have a quota");
    };
    let mut victim = Planted::pinned(cpu(), &["burns", "--duration", "60s"]);
    let live = Live::start(&["--slower", "50ms", "--pid", &victim.pid_text()]);
    victim.begin();
    // Throttled now, and for most of a second.
    quota.admit(victim.pid());
    let times = quota.times_throttled();
    until("it is throttled again", || quota.times_throttled() > times);
    let run = victim.counted().run_ns;
    std::thread::sleep(Duration::from_millis(200));
    let rested = victim.counted().run_ns == run;
    let Traced { outcome, report } = live.interrupt();
    outcome.expect_code(0);
    expect_valid(&report);
    assert!(rested, "it was not throttled when it was to be");
    let spike = unfinished(&report, victim.pid());
    assert_eq!(spike["cause"], "throttled", "{spike}");
    let (blamed, wait) = (
        charged_to_kind(spike, "throttled"),
        number(spike, "/wait_ns"),
    );
    assert!(wait >= 190 * MS && blamed >= wait * 9 / 10, "{spike}");
    let causes = list(&report, "spike_causes");
    let ours = |cause: &&Value| {
        let group = cause["cgroup"].as_str().unwrap_or_default();
        cause["kind"] == "throttled" && group.ends_with(&quota.name())
    };
    assert!(causes.iter().any(|cause| ours(&cause)), "{causes:?}");
}

#[test]
fn waits_after_a_yield_say_so() {
    let mut yielder = Planted::new(&["yielder", "--count", "300"]);
    let live = Live::start(&["--slower", "100us", "--pid", &yielder.pid_text()]);
    let pid = yielder.pid();
    yielder.open();
    yielder.ends();
    let report = live.ends();
    expect_named(&report);
    let row = threads(&report)
        .map(|(_, thread)| thread)
        .find(|thread| thread["comm"] == "yielder")
        .expect("it has a row");
    let yields = number(row, "/switches/involuntary_yields");
    let others = number(row, "/switches/involuntary") - yields;
    assert!(yields >= 10, "{row}");
    let spikes = spikes_of(&report, pid);
    let of = |cause: &str| {
        let is_meant = |spike: &&&Value| spike["tid"] == row["tid"] && spike["cause"] == cause;
        spikes.iter().filter(is_meant).count() as u64
    };
    let (yielded, preempted) = (of("yielded"), of("preempted"));
    assert!(yielded >= 5 && yielded <= yields, "{yielded} of {yields}");
    assert!(preempted <= others, "{preempted} of {others}");
    // They give way to the hog, which did not ask for it: only who came unasked has preempted.
    let preemptions: u64 = list(row, "preempted_by")
        .iter()
        .map(|entry| number(entry, "/count"))
        .sum();
    assert!(preemptions <= yields + others, "{row}");
}
