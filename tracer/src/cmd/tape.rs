//! What a recording holds beside its records: what was known before the first one, and what only its end tells.
//!
//! In: host, facts, target, cost. Out: JSON documents, and all of that again. Fields are only ever added.

use std::collections::BTreeMap;

use anyhow::Context as _;
use regex::bytes::Regex;
use rustc_hash::FxHashSet;
use serde::{Deserialize, Serialize};

use crate::{
    engine::Facts,
    host::Host,
    model::{Cpu, Nanos, Timestamp},
    report::{Cost, EndReason, MemorySource, ProcessMemory, Report, SwitchCosts, ThreadMemory},
    summary::Outside,
    target::Target,
};

/// Before the first record.
#[derive(Debug, Deserialize, Serialize)]
pub struct Head {
    pub tracer_version: String,
    pub clocks: Clocks,
    #[serde(with = "HostDocument")]
    pub host: Host,
    /// Nanoseconds.
    pub tick: u64,
    #[serde(with = "FactsDocument")]
    pub facts: Facts,
    pub target: TargetDocument,
    /// Paths by id.
    pub cgroups: BTreeMap<u64, String>,
}

/// One moment by two clocks.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub struct Clocks {
    /// Nanoseconds since 1970, UTC.
    realtime_ns: i64,
    monotonic_ns: u64,
}

impl Clocks {
    #[cfg(target_os = "linux")]
    pub fn read() -> Clocks {
        let monotonic = crate::cmd::run::now();
        Clocks {
            realtime_ns: i64::try_from(jiff::Timestamp::now().as_nanosecond()).unwrap_or(0),
            monotonic_ns: monotonic.0,
        }
    }

    /// A point of the stream by the wall clock, RFC 3339.
    pub fn wall(self, at: Timestamp) -> String {
        let wall = jiff::Timestamp::from_nanosecond(i128::from(self.unix_ns(at)));
        wall.unwrap_or_default().to_string()
    }

    /// The same in nanoseconds since 1970.
    pub fn unix_ns(self, at: Timestamp) -> i64 {
        let since = i128::from(at.0) - i128::from(self.monotonic_ns);
        i64::try_from(i128::from(self.realtime_ns) + since).unwrap_or(0)
    }
}

/// After the last one.
#[derive(Debug, Deserialize, Serialize)]
pub struct Tail {
    pub ended_ns: u64,
    pub outside: OutsideDocument,
    #[serde(with = "CostDocument")]
    pub cost: Cost,
    pub steal_percent: Option<f64>,
    pub cgroups: BTreeMap<u64, String>,
    pub memory: Vec<MemoryDocument>,
    #[serde(default)]
    pub switch_costs: Option<SwitchCosts>,
}

#[derive(Deserialize, Serialize)]
#[serde(remote = "Host")]
struct HostDocument {
    #[serde(default)]
    hostname: String,
    #[serde(default)]
    boot_id: String,
    #[serde(default)]
    kernel: String,
    #[serde(default)]
    arch: String,
    #[serde(default)]
    cpus: u64,
    #[serde(default)]
    preempt_mode: Option<String>,
    #[serde(default)]
    hz: Option<u64>,
    #[serde(default)]
    clocksource: Option<String>,
    #[serde(default)]
    hypervisor: Option<String>,
    #[serde(default)]
    steal_percent: Option<f64>,
    #[serde(default)]
    sched_ext: Option<String>,
}

#[derive(Deserialize, Serialize)]
#[serde(remote = "Facts")]
struct FactsDocument {
    #[serde(default, with = "cpus")]
    cpus: Vec<Cpu>,
    #[serde(default)]
    sched_yield: Option<u32>,
    #[serde(default)]
    steal: bool,
    #[serde(default)]
    iowait: bool,
    #[serde(default)]
    interrupts: bool,
    #[serde(default)]
    narrow: bool,
    #[serde(default)]
    page_bytes: u64,
    #[serde(default)]
    calls: bool,
    #[serde(default)]
    cow: bool,
}

mod cpus {
    use serde::{Deserialize, Deserializer, Serializer};

    use crate::model::Cpu;

    pub fn serialize<S: Serializer>(cpus: &[Cpu], to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(cpus.iter().map(|cpu| cpu.0))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Cpu>, D::Error> {
        Ok(Vec::<u16>::deserialize(from)?
            .into_iter()
            .map(Cpu)
            .collect())
    }
}

#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub struct TargetDocument {
    pids: Vec<u32>,
    tids: Vec<u32>,
    comm: Option<String>,
    cgroups: Option<Vec<u64>>,
    children: bool,
    description: String,
}

impl TargetDocument {
    pub fn of(target: &Target) -> TargetDocument {
        let mut cgroups: Option<Vec<u64>> = target
            .cgroups
            .as_ref()
            .map(|ids| ids.iter().copied().collect());
        cgroups.iter_mut().for_each(|ids| ids.sort_unstable());
        TargetDocument {
            pids: target.pids.clone(),
            tids: target.tids.clone(),
            comm: target.comm.as_ref().map(|regex| regex.as_str().to_owned()),
            cgroups,
            children: target.children,
            description: target.description.clone(),
        }
    }

    pub fn target(self) -> anyhow::Result<Target> {
        let comm = self.comm.as_deref().map(Regex::new).transpose();
        Ok(Target {
            pids: self.pids,
            tids: self.tids,
            comm: comm.context("understand the pattern of names in the recording")?,
            cgroups: self.cgroups.map(FxHashSet::from_iter),
            children: self.children,
            description: self.description,
        })
    }
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub struct OutsideDocument {
    end_reason: Option<Reason>,
    lost_records: Option<u64>,
    unaccounted: i64,
    missed_events: Option<u64>,
}

#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
enum Reason {
    Duration,
    Signal,
    TargetExit,
    MaxOverhead,
    RecordingEnd,
    Error,
}

impl OutsideDocument {
    pub fn of(outside: &Outside) -> OutsideDocument {
        OutsideDocument {
            end_reason: outside.end_reason.map(|reason| match reason {
                EndReason::Duration => Reason::Duration,
                EndReason::Signal => Reason::Signal,
                EndReason::TargetExit => Reason::TargetExit,
                EndReason::MaxOverhead => Reason::MaxOverhead,
                EndReason::RecordingEnd => Reason::RecordingEnd,
                EndReason::Error => Reason::Error,
            }),
            lost_records: outside.lost_records,
            unaccounted: outside.unaccounted,
            missed_events: outside.missed_events,
        }
    }

    pub fn outside(self) -> Outside {
        Outside {
            end_reason: self.end_reason.map(|reason| match reason {
                Reason::Duration => EndReason::Duration,
                Reason::Signal => EndReason::Signal,
                Reason::TargetExit => EndReason::TargetExit,
                Reason::MaxOverhead => EndReason::MaxOverhead,
                Reason::RecordingEnd => EndReason::RecordingEnd,
                Reason::Error => EndReason::Error,
            }),
            lost_records: self.lost_records,
            unaccounted: self.unaccounted,
            missed_events: self.missed_events,
            cut_off: false,
        }
    }
}

#[derive(Deserialize, Serialize)]
#[serde(remote = "Cost")]
struct CostDocument {
    #[serde(default)]
    kernel_events: u64,
    #[serde(default)]
    kernel_ns_per_event: Option<f64>,
    #[serde(default)]
    method: String,
    #[serde(default, with = "nanos")]
    collector_cpu: Nanos,
    #[serde(default)]
    collector_max_rss_bytes: u64,
    #[serde(default)]
    cpu_percent_of_one: Option<f64>,
    #[serde(default)]
    cpu_percent_of_machine: Option<f64>,
    #[serde(default)]
    syscall_ns: Option<f64>,
}

mod nanos {
    use serde::{Deserialize, Deserializer, Serializer};

    use crate::model::Nanos;

    pub fn serialize<S: Serializer>(nanos: &Nanos, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_u64(nanos.0)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Nanos, D::Error> {
        u64::deserialize(from).map(Nanos)
    }
}

/// What a process and its threads have in memory, as it was measured at the end.
#[derive(Debug, Deserialize, Serialize)]
pub struct MemoryDocument {
    pid: u32,
    /// `CLOCK_MONOTONIC`.
    started: Option<u64>,
    process: Option<Measured>,
    /// By tid: kernel stack, user stack.
    threads: Vec<(u32, Option<u64>, Option<u64>)>,
}

#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
struct Measured {
    rss_bytes: u64,
    pss_bytes: Option<u64>,
    page_table_bytes: Option<u64>,
    peak_rss_bytes: Option<u64>,
}

/// All that was measured from outside; what the records tell is not part of it.
pub fn memory_of(report: &Report) -> Vec<MemoryDocument> {
    let start = report.window.start;
    let of = |process: &crate::report::Process| {
        let threads = process.threads.iter().filter_map(|thread| {
            let ThreadMemory {
                kernel_stack_bytes,
                user_stack_bytes,
            } = thread.memory?;
            Some((thread.tid, kernel_stack_bytes, user_stack_bytes))
        });
        MemoryDocument {
            pid: process.pid,
            started: absolute(start, process.started_ns),
            process: process
                .memory
                .filter(|memory| memory.source == MemorySource::Procfs)
                .map(|memory| Measured {
                    rss_bytes: memory.rss_bytes,
                    pss_bytes: memory.pss_bytes,
                    page_table_bytes: memory.page_table_bytes,
                    peak_rss_bytes: memory.peak_rss_bytes,
                }),
            threads: threads.collect(),
        }
    };
    let documents = report.processes.iter().map(of);
    documents
        .filter(|one| one.process.is_some() || !one.threads.is_empty())
        .collect()
}

/// Puts it back into a report of the same records.
pub fn remember(report: &mut Report, measured: &[MemoryDocument]) {
    let start = report.window.start;
    for process in &mut report.processes {
        let started = absolute(start, process.started_ns);
        let Some(found) = measured
            .iter()
            .find(|one| one.pid == process.pid && one.started == started)
        else {
            continue;
        };
        if let Some(memory) = found.process {
            process.memory = Some(ProcessMemory {
                source: MemorySource::Procfs,
                rss_bytes: memory.rss_bytes,
                pss_bytes: memory.pss_bytes,
                page_table_bytes: memory.page_table_bytes,
                peak_rss_bytes: memory.peak_rss_bytes,
            });
        }
        for thread in &mut process.threads {
            let stacks = found.threads.iter().find(|(tid, ..)| *tid == thread.tid);
            if let Some(&(_, kernel_stack_bytes, user_stack_bytes)) =
                stacks.filter(|_| thread.exit.is_none())
            {
                thread.memory = Some(ThreadMemory {
                    kernel_stack_bytes,
                    user_stack_bytes,
                });
            }
        }
    }
}

fn absolute(start: Timestamp, after: Option<i64>) -> Option<u64> {
    start.0.checked_add_signed(after?)
}
