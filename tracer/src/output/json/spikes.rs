//! Latencies over the threshold, what caused them, and insights.

use std::borrow::Cow;

use serde::Serialize;

use super::waits::{WaitedFor, Waker, waited_for, waker};
use crate::output::{escape, sentence, words};
use crate::report;

/// Absent without `--slower`.
#[derive(Serialize)]
pub struct Spikes<'a> {
    slower_ns: u64,
    spikes_total: u64,
    spikes: Vec<Spike<'a>>,
    spike_causes: Vec<Cause<'a>>,
}

pub fn spikes(spikes: &report::Spikes) -> Spikes<'_> {
    Spikes {
        slower_ns: spikes.threshold.0,
        spikes_total: spikes.count,
        spikes: spikes.spikes.iter().map(spike).collect(),
        spike_causes: spikes.causes.iter().map(cause).collect(),
    }
}

#[derive(Serialize)]
pub struct Spike<'a> {
    at_ns: i64,
    finished: bool,
    pid: u32,
    tid: u32,
    comm: Cow<'a, str>,
    cgroup: Option<&'a str>,
    cpu: u16,
    latency_ns: u64,
    wake_ns: Option<u64>,
    wait_ns: u64,
    cause: &'static str,
    waited_for: Vec<WaitedFor<'a>>,
    woken_by: Option<Waker<'a>>,
    text: String,
}

pub fn spike(spike: &report::Spike) -> Spike<'_> {
    Spike {
        at_ns: spike.at_ns,
        finished: spike.finished,
        pid: spike.victim.pid,
        tid: spike.victim.tid,
        comm: escape::json(spike.victim.comm.bytes()),
        cgroup: spike.cgroup.as_deref(),
        cpu: spike.cpu,
        latency_ns: spike.latency.0,
        wake_ns: spike.wake.map(|wake| wake.0),
        wait_ns: spike.wait.0,
        cause: words::wait_cause(spike.cause),
        waited_for: spike.waited_for.iter().map(waited_for).collect(),
        woken_by: spike
            .woken_by
            .as_ref()
            .map(|woken| waker(woken.kind, woken.who.as_ref())),
        text: sentence::spike(spike),
    }
}

#[derive(Serialize)]
struct Cause<'a> {
    kind: &'static str,
    pid: Option<u32>,
    comm: Option<Cow<'a, str>>,
    cgroup: Option<&'a str>,
    ns: u64,
    share: f64,
}

fn cause(cause: &report::SpikeCause) -> Cause<'_> {
    Cause {
        kind: words::charge(cause.kind),
        pid: cause.pid,
        comm: cause.comm.as_ref().map(|comm| escape::json(comm.bytes())),
        cgroup: cause.cgroup.as_deref(),
        ns: cause.ns.0,
        share: cause.share,
    }
}

#[derive(Serialize)]
pub struct Insight<'a> {
    text: &'a str,
    evidence: &'a str,
    remedy: &'a str,
}

/// Of the whole window: an interval has none.
pub fn insights(report: &report::Report) -> Option<Vec<Insight<'_>>> {
    let whole = report.window.interval_at.is_none();
    whole.then(|| report.insights.iter().map(insight).collect())
}

fn insight(insight: &report::Insight) -> Insight<'_> {
    Insight {
        text: &insight.text,
        evidence: &insight.evidence,
        remedy: &insight.remedy,
    }
}
