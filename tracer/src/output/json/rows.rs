//! Processes, their threads, and what they are made of.

use std::borrow::Cow;

use serde::Serialize;

use super::head::{Kinds, kinds};
use super::waits;
use crate::model::Nanos;
use crate::output::{escape, syscalls, words};
use crate::report;

#[derive(Serialize)]
pub struct Process<'a> {
    pid: u32,
    started_ns: Option<i64>,
    ppid: u32,
    comm: Cow<'a, str>,
    cmdline: Option<&'a str>,
    cgroup: Option<&'a str>,
    threads_max: u64,
    threads_total: u64,
    memory: Option<ProcessMemory>,
    totals: Totals,
    folded: Folded,
    threads: Vec<Thread<'a>>,
}

pub fn process<'a>(process: &'a report::Process, arch: &str) -> Process<'a> {
    Process {
        pid: process.pid,
        started_ns: process.started_ns,
        ppid: process.ppid,
        comm: escape::json(process.comm.bytes()),
        cmdline: process.cmdline.as_deref(),
        cgroup: process.cgroup.as_deref(),
        threads_max: process.threads_max,
        threads_total: process.threads_total,
        memory: process.memory.as_ref().map(process_memory),
        totals: totals(&process.totals),
        folded: Folded {
            threads: process.folded.threads,
            totals: totals(&process.folded.totals),
        },
        threads: process
            .threads
            .iter()
            .map(|row| thread(row, arch))
            .collect(),
    }
}

#[derive(Serialize)]
struct ProcessMemory {
    source: &'static str,
    rss_bytes: u64,
    pss_bytes: Option<u64>,
    page_table_bytes: Option<u64>,
    peak_rss_bytes: Option<u64>,
}

fn process_memory(memory: &report::ProcessMemory) -> ProcessMemory {
    ProcessMemory {
        source: words::memory_source(memory.source),
        rss_bytes: memory.rss_bytes,
        pss_bytes: memory.pss_bytes,
        page_table_bytes: memory.page_table_bytes,
        peak_rss_bytes: memory.peak_rss_bytes,
    }
}

#[derive(Serialize)]
struct ThreadMemory {
    kernel_stack_bytes: Option<u64>,
    user_stack_bytes: Option<u64>,
}

fn thread_memory(memory: &report::ThreadMemory) -> ThreadMemory {
    ThreadMemory {
        kernel_stack_bytes: memory.kernel_stack_bytes,
        user_stack_bytes: memory.user_stack_bytes,
    }
}

#[derive(Serialize)]
struct Folded {
    threads: u64,
    totals: Totals,
}

#[derive(Serialize)]
struct Totals {
    lifetime_ns: u64,
    run_ns: u64,
    run_steal_ns: Option<u64>,
    run_irq_ns: Option<u64>,
    run_softirq_ns: Option<u64>,
    wait_ns: u64,
    wait_uncounted_ns: u64,
    sleep_ns: u64,
    block_ns: u64,
    iowait_ns: Option<u64>,
    stopped_ns: u64,
    unknown_ns: u64,
    wake_ns: Option<u64>,
    switches: Switches,
    kinds: Kinds,
    address_space_changes: u64,
    migrations: u64,
}

#[derive(Serialize)]
struct Switches {
    voluntary: u64,
    involuntary: u64,
    involuntary_yields: Option<u64>,
}

fn totals(totals: &report::Totals) -> Totals {
    let known = |nanos: Option<Nanos>| nanos.map(|nanos| nanos.0);
    Totals {
        lifetime_ns: totals.lifetime.0,
        run_ns: totals.run.0,
        run_steal_ns: known(totals.run_steal),
        run_irq_ns: known(totals.run_irq),
        run_softirq_ns: known(totals.run_softirq),
        wait_ns: totals.wait.0,
        wait_uncounted_ns: totals.wait_uncounted.0,
        sleep_ns: totals.sleep.0,
        block_ns: totals.block.0,
        iowait_ns: known(totals.iowait),
        stopped_ns: totals.stopped.0,
        unknown_ns: totals.unknown.0,
        wake_ns: known(totals.wake),
        switches: Switches {
            voluntary: totals.voluntary,
            involuntary: totals.involuntary,
            involuntary_yields: totals.involuntary_yields,
        },
        kinds: kinds(&totals.kinds),
        address_space_changes: totals.address_space_changes,
        migrations: totals.migrations,
    }
}

#[derive(Serialize)]
struct Thread<'a> {
    tid: u32,
    was_tid: Option<u32>,
    comm: Cow<'a, str>,
    /// Belongs to the tracer itself.
    own: bool,
    started_ns: Option<i64>,
    born_in_window: bool,
    exit: Option<Exit>,
    policy: Cow<'static, str>,
    nice: i32,
    rt_priority: u32,
    cpu_last: u16,
    #[serde(flatten)]
    totals: Totals,
    run_slice: Dist,
    wait: Dist,
    latency: Option<Dist>,
    waited_for: Vec<waits::WaitedFor<'a>>,
    preempted_by: Vec<waits::PreemptedBy<'a>>,
    off_cpu: Vec<OffCpu>,
    woken_by: Vec<waits::WokenBy<'a>>,
    blocked_on: Vec<waits::BlockedOn<'a>>,
    lost_switches: u64,
    covered: Covered,
    kernel: Option<Kernel>,
    memory: Option<ThreadMemory>,
}

fn thread<'a>(thread: &'a report::Thread, arch: &str) -> Thread<'a> {
    Thread {
        tid: thread.tid,
        was_tid: thread.was_tid,
        comm: escape::json(thread.comm.bytes()),
        own: thread.own,
        started_ns: thread.started_ns,
        born_in_window: thread.born_in_window,
        exit: thread.exit.map(exit),
        policy: words::policy(thread.priority.policy),
        nice: thread.priority.nice,
        rt_priority: thread.priority.rt_priority,
        cpu_last: thread.cpu_last,
        totals: totals(&thread.totals),
        run_slice: dist(&thread.run_slice),
        wait: dist(&thread.wait),
        latency: thread.latency.as_ref().map(dist),
        waited_for: thread.waited_for.iter().map(waits::waited_for).collect(),
        preempted_by: thread
            .preempted_by
            .iter()
            .map(waits::preempted_by)
            .collect(),
        off_cpu: thread
            .off_cpu
            .iter()
            .map(|row| off_cpu(row, arch))
            .collect(),
        woken_by: thread.woken_by.iter().map(waits::woken_by).collect(),
        blocked_on: thread
            .blocked_on
            .iter()
            .map(|row| waits::blocked_on(row, arch))
            .collect(),
        lost_switches: thread.covered.lost_switches,
        covered: covered(thread),
        kernel: thread.kernel.as_ref().map(kernel),
        memory: thread.memory.as_ref().map(thread_memory),
    }
}

/// Shares from 0 to 1; `None` where there is nothing to cover.
#[derive(Serialize)]
struct Covered {
    switches: Option<f64>,
    run: Option<f64>,
    wait: Option<f64>,
    off_cpu: Option<f64>,
}

fn covered(thread: &report::Thread) -> Covered {
    let share = |part: u64, whole: u64| (whole > 0).then(|| part as f64 / whole as f64);
    let (totals, covered) = (&thread.totals, &thread.covered);
    let switches = totals.voluntary + totals.involuntary;
    let told = |whole: Nanos, healed: Nanos| share((whole - healed).0, whole.0);
    let off = totals.sleep + totals.block + totals.stopped;
    Covered {
        switches: share(switches.saturating_sub(covered.lost_switches), switches),
        run: told(totals.run, covered.healed_run),
        wait: told(totals.wait, covered.healed_wait),
        off_cpu: share(off.0, (off + totals.unknown).0),
    }
}

#[derive(Serialize)]
pub struct Exit {
    at_ns: i64,
    code: u8,
    signal: u8,
}

pub fn exit(exit: report::Exit) -> Exit {
    Exit {
        at_ns: exit.at_ns,
        code: exit.code,
        signal: exit.signal,
    }
}

#[derive(Serialize)]
struct OffCpu {
    state: &'static str,
    syscall: Option<Cow<'static, str>>,
    count: u64,
    ns: u64,
}

fn off_cpu(row: &report::OffCpu, arch: &str) -> OffCpu {
    OffCpu {
        state: words::off_state(row.state),
        syscall: row.syscall.map(|syscall| syscalls::name(arch, syscall)),
        count: row.count,
        ns: row.ns.0,
    }
}

#[derive(Serialize)]
struct Kernel {
    source: &'static str,
    voluntary: u64,
    involuntary: u64,
    run_ns: u64,
    wait_ns: u64,
}

fn kernel(counters: &report::KernelCounters) -> Kernel {
    Kernel {
        source: words::kernel_source(counters.source),
        voluntary: counters.voluntary,
        involuntary: counters.involuntary,
        run_ns: counters.run.0,
        wait_ns: counters.wait.0,
    }
}

#[derive(Serialize)]
pub struct Dist {
    count: u64,
    clipped: u64,
    sum_ns: u64,
    min_ns: Option<u64>,
    p50_ns: Option<u64>,
    p90_ns: Option<u64>,
    p99_ns: Option<u64>,
    p999_ns: Option<u64>,
    max_ns: Option<u64>,
    max_at_ns: Option<u64>,
}

pub fn dist(dist: &report::Dist) -> Dist {
    let value =
        |pick: fn(&report::DistValues) -> Nanos| dist.values.as_ref().map(|values| pick(values).0);
    Dist {
        count: dist.count,
        clipped: dist.clipped,
        sum_ns: dist.sum.0,
        min_ns: value(|values| values.min),
        p50_ns: value(|values| values.p50),
        p90_ns: value(|values| values.p90),
        p99_ns: value(|values| values.p99),
        p999_ns: value(|values| values.p999),
        max_ns: value(|values| values.max),
        max_at_ns: value(|values| values.max_at),
    }
}
