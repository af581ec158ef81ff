//! Everything of the document but the processes.

use serde::Serialize;

use crate::model::Nanos;
use crate::output::words;
use crate::{host, report};

#[derive(Serialize)]
pub struct Host<'a> {
    hostname: &'a str,
    boot_id: &'a str,
    kernel: &'a str,
    arch: &'a str,
    cpus: u64,
    preempt_mode: Option<&'a str>,
    hz: Option<u64>,
    clocksource: Option<&'a str>,
    hypervisor: Option<&'a str>,
    steal_percent: Option<f64>,
    sched_ext: Option<&'a str>,
}

pub fn host(host: &host::Host) -> Host<'_> {
    Host {
        hostname: &host.hostname,
        boot_id: &host.boot_id,
        kernel: &host.kernel,
        arch: &host.arch,
        cpus: host.cpus,
        preempt_mode: host.preempt_mode.as_deref(),
        hz: host.hz,
        clocksource: host.clocksource.as_deref(),
        hypervisor: host.hypervisor.as_deref(),
        steal_percent: host.steal_percent,
        sched_ext: host.sched_ext.as_deref(),
    }
}

#[derive(Serialize)]
pub struct Interval {
    at_ns: u64,
    duration_ns: u64,
}

pub fn interval(window: &report::Window) -> Option<Interval> {
    window.interval_at.map(|at| Interval {
        at_ns: at.0,
        duration_ns: window.duration.0,
    })
}

#[derive(Serialize)]
pub struct Window<'a> {
    start: Option<&'a str>,
    start_monotonic_ns: u64,
    duration_ns: u64,
    end_reason: Option<&'static str>,
}

pub fn window(window: &report::Window) -> Window<'_> {
    Window {
        start: window.started.as_deref(),
        start_monotonic_ns: window.start.0,
        duration_ns: window.duration.0,
        end_reason: window.end_reason.map(words::end_reason),
    }
}

#[derive(Serialize)]
pub struct Target<'a> {
    description: &'a str,
    pids: &'a [u32],
    processes: u64,
    threads: u64,
    model: &'static str,
}

pub fn target(target: &report::Target) -> Target<'_> {
    Target {
        description: &target.description,
        pids: &target.pids,
        processes: target.processes,
        threads: target.threads,
        model: words::model(target.model),
    }
}

#[derive(Serialize)]
pub struct Quality<'a> {
    verdict: &'static str,
    reasons: &'a [String],
    lost_records: u64,
    lost_switches: u64,
    received_switches: u64,
    missed_events: Option<u64>,
    late_records: u64,
    holes: u64,
    longest_holes: Vec<Hole>,
    switch_ins_without_waking: u64,
    rebuilt_switch_ins: u64,
    hidden_threads: u64,
    folded_threads: u64,
    threads_checked: u64,
    threads_matched: u64,
    threads_self_checked: u64,
    mismatches: Vec<Mismatch>,
}

#[derive(Serialize)]
struct Hole {
    cpu: u16,
    from_ns: i64,
    to_ns: i64,
    records: u64,
}

#[derive(Serialize)]
struct Mismatch {
    tid: u32,
    field: &'static str,
    ours: u64,
    kernel: u64,
    reason: Option<&'static str>,
}

pub fn quality(quality: &report::Quality) -> Quality<'_> {
    let mismatch = |mismatch: &report::Mismatch| Mismatch {
        tid: mismatch.tid,
        field: words::checked_field(mismatch.field),
        ours: mismatch.ours,
        kernel: mismatch.kernel,
        reason: mismatch.reason.map(words::known_error),
    };
    let hole = |hole: &report::Hole| Hole {
        cpu: hole.cpu,
        from_ns: hole.from_ns,
        to_ns: hole.to_ns,
        records: hole.records,
    };
    Quality {
        verdict: words::verdict(quality.verdict),
        reasons: &quality.reasons,
        lost_records: quality.lost_records,
        lost_switches: quality.lost_switches,
        received_switches: quality.received_switches,
        missed_events: quality.missed_events,
        late_records: quality.late_records,
        holes: quality.holes,
        longest_holes: quality.longest_holes.iter().map(hole).collect(),
        switch_ins_without_waking: quality.switch_ins_without_waking,
        rebuilt_switch_ins: quality.rebuilt_switch_ins,
        hidden_threads: quality.hidden_threads,
        folded_threads: quality.folded_threads,
        threads_checked: quality.threads_checked,
        threads_matched: quality.threads_matched,
        threads_self_checked: quality.threads_self_checked,
        mismatches: quality.mismatches.iter().map(mismatch).collect(),
    }
}

#[derive(Serialize)]
pub struct Cost<'a> {
    kernel_events: u64,
    kernel_ns_per_event: Option<f64>,
    method: &'a str,
    collector_cpu_ns: u64,
    collector_max_rss_bytes: u64,
    cpu_percent_of_one: Option<f64>,
    cpu_percent_of_machine: Option<f64>,
    syscall_ns: Option<f64>,
}

pub fn cost(cost: &report::Cost) -> Cost<'_> {
    Cost {
        kernel_events: cost.kernel_events,
        kernel_ns_per_event: cost.kernel_ns_per_event,
        method: &cost.method,
        collector_cpu_ns: cost.collector_cpu.0,
        collector_max_rss_bytes: cost.collector_max_rss_bytes,
        cpu_percent_of_one: cost.cpu_percent_of_one,
        cpu_percent_of_machine: cost.cpu_percent_of_machine,
        syscall_ns: cost.syscall_ns,
    }
}

#[derive(Serialize)]
pub struct System {
    switches: Option<u64>,
    voluntary: Option<u64>,
    involuntary: Option<u64>,
    from_idle: Option<u64>,
    address_space_changes: Option<u64>,
    kinds: Option<Kinds>,
    cpus: Vec<CpuRow>,
}

#[derive(Serialize)]
struct CpuRow {
    cpu: u16,
    busy_ns: u64,
    idle_ns: u64,
    switches: u64,
}

pub fn system(system: &report::System) -> System {
    let totals = system.totals.as_ref();
    let cpu = |row: &report::CpuRow| {
        let (Nanos(busy_ns), Nanos(idle_ns)) = (row.busy, row.idle);
        CpuRow {
            cpu: row.cpu,
            busy_ns,
            idle_ns,
            switches: row.switches,
        }
    };
    System {
        switches: totals.map(report::SystemTotals::switches),
        voluntary: totals.map(|totals| totals.voluntary),
        involuntary: totals.map(|totals| totals.involuntary),
        from_idle: totals.map(|totals| totals.from_idle),
        address_space_changes: totals.map(|totals| totals.address_space_changes),
        kinds: totals.map(|totals| kinds(&totals.kinds)),
        cpus: system.cpus.iter().map(cpu).collect(),
    }
}

/// What the switched-out threads gave way to; of the system, a process and a thread alike.
#[derive(Serialize)]
pub struct Kinds {
    same_process: u64,
    other_process: u64,
    kernel_thread: u64,
    idle: u64,
}

pub fn kinds(kinds: &report::Kinds) -> Kinds {
    Kinds {
        same_process: kinds.same_process,
        other_process: kinds.other_process,
        kernel_thread: kinds.kernel_thread,
        idle: kinds.idle,
    }
}
