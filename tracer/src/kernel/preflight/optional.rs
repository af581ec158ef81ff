//! What makes the report richer where the machine has it. Its absence is shown as n/a, never as 0.

use tracer_common::settings::feature;

use super::facts::Facts;
use super::kernel::{parse_version, tracepoint};
use super::{Requirement, State};
use crate::kernel::btf::Btf;
use crate::kernel::cgroup::Hierarchy;
use crate::kernel::fields::resched_recurses;

/// Name, bit, what is lost without it, remedy.
const FEATURES: &[(&str, u64, &str, &str)] = &[
    (
        "system-call names",
        feature::SYSCALL,
        "the system call that a thread slept in",
        "an x86-64 or arm64 kernel from 5.15 on (bpf_task_pt_regs)",
    ),
    (
        "32-bit system calls",
        feature::COMPAT,
        "32-bit programs may show the wrong system call",
        "an x86-64 kernel built with CONFIG_IA32_EMULATION=y, or an arm64 one from 5.15 on; needless where no 32-bit \
         programs run",
    ),
    (
        "steal time",
        feature::STEAL,
        "run_steal_ns: what the hypervisor took while a thread was on the CPU",
        "a kernel built with CONFIG_PARAVIRT_TIME_ACCOUNTING=y; needless on bare metal",
    ),
    (
        "I/O wait",
        feature::IOWAIT,
        "iowait_ns: the part of blocked time that is I/O",
        "a kernel with task_struct.in_iowait",
    ),
    (
        "throttling",
        feature::THROTTLED,
        "a throttled thread looks preempted by whoever ran next",
        "Linux 6.18 or newer",
    ),
    (
        "memory of processes",
        feature::MEMORY,
        "what a parent has in memory when it forks, and how the cost of a fork grows with it",
        "a kernel built with CONFIG_MMU=y, its mm_struct as in Linux 5.10 to 6.18",
    ),
    (
        "memory at exit",
        feature::GROUP_DEAD,
        "what an ended process had in memory; teardown_ns: how long it took to give that back",
        "Linux 6.16 or newer (sched_process_exit comes before the memory is given back)",
    ),
];

/// Tracepoints, what is lost without each, remedy.
const TRACEPOINTS: &[(&str, &str, &str)] = &[
    (
        "sched_entry_tp",
        "the cost of a switch in place cannot be measured",
        "Linux 6.16 or newer",
    ),
    (
        "sched_exit_tp",
        "the cost of a switch in place cannot be measured",
        "Linux 6.16 or newer",
    ),
    (
        "sys_enter",
        "--forks: what fork, clone and exec cost whoever calls them",
        "boot a kernel built with CONFIG_HAVE_SYSCALL_TRACEPOINTS=y",
    ),
    (
        "sys_exit",
        "--forks: the same, and how long zombies stay",
        "boot a kernel built with CONFIG_HAVE_SYSCALL_TRACEPOINTS=y",
    ),
    (
        "page_fault_user",
        "--forks: copy-on-write faults after a fork",
        "an x86-64 kernel",
    ),
    (
        "exit_mmap",
        "--forks: teardown_ns, how long it takes to give an address space back",
        "Linux 6.1 or newer",
    ),
];

pub fn requirements(facts: &Facts, btf: Option<&Btf>) -> Vec<Requirement> {
    let mut list: Vec<Requirement> = FEATURES
        .iter()
        .map(|&(name, bit, lost, remedy)| {
            let state = match &facts.fields {
                Some(fields) if fields.has(bit) => State::Found,
                Some(_) => State::Missing,
                None => State::Unknown,
            };
            let seen = match state {
                State::Found => "this kernel tells",
                State::Missing => "this kernel does not tell",
                State::Unknown => "cannot be told without the kernel BTF",
            };
            optional(name, state, seen, lost, remedy)
        })
        .collect();
    list.push(interrupts(facts));
    list.extend(vectors(facts));
    list.push(cgroups(facts));
    for &(name, lost, remedy) in TRACEPOINTS {
        let remedy = remedy.to_owned();
        list.push(Requirement {
            remedy,
            ..tracepoint(btf, name, false, lost)
        });
    }
    list.push(resched(btf));
    list.extend([
        pmu(facts),
        tracefs(facts),
        sched_ext(facts),
        core_scheduling(facts, btf),
        skipping(facts),
    ]);
    list
}

fn optional(name: &str, state: State, seen: &str, lost: &'static str, remedy: &str) -> Requirement {
    Requirement {
        name: name.to_owned(),
        state,
        seen: seen.to_owned(),
        lost,
        remedy: remedy.to_owned(),
        required: false,
    }
}

/// There, and yet not for use where it would be dangerous.
fn resched(btf: Option<&Btf>) -> Requirement {
    let mut found = tracepoint(
        btf,
        "sched_set_need_resched_tp",
        false,
        "resched_delay: how long a thread still ran after the kernel decided that it is to go",
    );
    found.remedy = "Linux 6.16 or newer, built without CONFIG_PREEMPT_RCU".to_owned();
    if found.state == State::Found && btf.is_some_and(resched_recurses) {
        found.state = State::Missing;
        found.seen =
            "not used: with CONFIG_PREEMPT_RCU a program there may overflow the kernel's stack"
                .to_owned();
    }
    found
}

fn interrupts(facts: &Facts) -> Requirement {
    let told = facts.fields.as_ref().map(|fields| &fields.interrupts);
    let (state, seen) = match told {
        None => (
            State::Unknown,
            "cannot be told without the kernel BTF".to_owned(),
        ),
        Some(told) if told.threaded => (
            State::Missing,
            "softirqs run in threads here (PREEMPT_RT)".to_owned(),
        ),
        Some(told) if told.enough() => (State::Found, "this kernel tells".to_owned()),
        Some(told) => (
            State::Missing,
            format!("this kernel has no {}", told.missing.join(", ")),
        ),
    };
    optional(
        "interrupts",
        state,
        &seen,
        "run_irq_ns, run_softirq_ns; an interrupt that wakes a thread cannot be told from the thread it interrupts",
        "boot a kernel built with CONFIG_TRACEPOINTS=y and without CONFIG_PREEMPT_RT",
    )
}

/// Interrupts without a handler that has a name: on x86-64 only.
fn vectors(facts: &Facts) -> Option<Requirement> {
    let told = &facts.fields.as_ref()?.interrupts;
    if !told.enough() || !cfg!(target_arch = "x86_64") {
        return None;
    }
    let (state, seen) = if told.untold.is_empty() {
        (State::Found, "this kernel tells".to_owned())
    } else {
        (
            State::Missing,
            format!("this kernel has no {}", told.untold.join(", ")),
        )
    };
    Some(optional(
        "calls between CPUs",
        state,
        &seen,
        "their time counts as the interrupted thread's own, and so do wake-ups by them",
        "boot a kernel built with CONFIG_SMP=y and CONFIG_IRQ_WORK=y; needless where there is only one CPU",
    ))
}

fn cgroups(facts: &Facts) -> Requirement {
    let usable = |hierarchy: &&Hierarchy| {
        facts.fields.as_ref().is_some_and(|fields| match hierarchy {
            Hierarchy::Unified => fields.cgroup_v2(),
            Hierarchy::Cpu => fields.cgroup_v1(),
        })
    };
    let names: Vec<&str> = facts
        .cgroups
        .iter()
        .filter(usable)
        .map(|hierarchy| match hierarchy {
            Hierarchy::Unified => "version 2",
            Hierarchy::Cpu => "cpu (version 1)",
        })
        .collect();
    let (state, seen) = match (names.is_empty(), &facts.fields) {
        (false, _) => (State::Found, names.join(", ")),
        (true, None) => (
            State::Unknown,
            "cannot be told without the kernel BTF".to_owned(),
        ),
        (true, Some(_)) if facts.cgroups.is_empty() => {
            (State::Missing, "no hierarchy is mounted".to_owned())
        }
        (true, Some(_)) => (State::Missing, "this kernel does not tell".to_owned()),
    };
    let remedy = "mount -t cgroup2 none /sys/fs/cgroup, with a kernel built with CONFIG_CGROUPS=y";
    optional(
        "cgroup ids",
        state,
        &seen,
        "--cgroup, and the cgroup of a process",
        remedy,
    )
}

fn pmu(facts: &Facts) -> Requirement {
    let paranoid = facts.perf_event_paranoid.as_deref().unwrap_or("unknown");
    let (state, seen) = match &facts.pmu {
        Some(Ok(())) => (State::Found, "cycles can be counted".to_owned()),
        Some(Err(error)) if error.kind() == std::io::ErrorKind::PermissionDenied => (
            State::Unknown,
            format!("this user may not try (perf_event_paranoid {paranoid})"),
        ),
        Some(Err(error)) => (
            State::Missing,
            format!("no hardware counters here ({error})"),
        ),
        None => (State::Unknown, "not tried on this architecture".to_owned()),
    };
    optional(
        "PMU counters",
        state,
        &seen,
        "the cost of cold caches after a switch cannot be measured",
        "in a virtual machine, let the hypervisor pass the PMU through; else run as root",
    )
}

fn tracefs(facts: &Facts) -> Requirement {
    let (state, seen) = match facts.tracefs {
        Some(true) => (State::Found, "mounted"),
        Some(false) => (State::Missing, "not mounted"),
        None => (State::Unknown, "/proc/self/mountinfo cannot be read"),
    };
    let remedy = "mount -t tracefs none /sys/kernel/tracing";
    optional(
        "tracefs",
        state,
        seen,
        "nothing here: only other tools, to compare with, need it",
        remedy,
    )
}

fn sched_ext(facts: &Facts) -> Requirement {
    let (state, seen) = match facts.sched_ext.as_deref() {
        None => (State::Found, "not in this kernel"),
        Some("disabled") => (State::Found, "disabled"),
        Some(mode) => (State::Missing, mode),
    };
    optional(
        "no sched_ext scheduler",
        state,
        seen,
        "waits in a BPF scheduler's own queues belong to no CPU: their length on a CPU is n/a",
        "stop the sched_ext scheduler to trace the kernel's own",
    )
}

/// Forced idle under core scheduling looks like idle. The kernel shows per process only who asked for it.
fn core_scheduling(facts: &Facts, btf: Option<&Btf>) -> Requirement {
    let built = btf.map(|btf| btf.field("rq", "core_enabled").is_some());
    let (state, seen) = match (built, facts.smt_active) {
        (Some(false), _) => (State::Found, "not in this kernel"),
        (_, Some(false)) => (State::Found, "off: no two CPUs share a core"),
        (Some(true), _) => (
            State::Unknown,
            "this kernel can; whether a process asked for it is not shown",
        ),
        (None, _) => (State::Unknown, "cannot be told without the kernel BTF"),
    };
    optional(
        "no core scheduling",
        state,
        seen,
        "time that a CPU is forced to idle counts as idle",
        "do not use prctl(PR_SCHED_CORE) on this machine, or boot with nosmt",
    )
}

/// A program that already runs on a CPU is skipped there: counted, but what it would have told is missing.
fn skipping(facts: &Facts) -> Requirement {
    let (state, seen) = match parse_version(&facts.release) {
        Some(version) if version < SKIPPING => (State::Found, "none were seen on kernels before 7"),
        Some(_) => (State::Unknown, "7.3 was seen to skip some"),
        None => (State::Unknown, "the version of this kernel cannot be read"),
    };
    optional(
        "no skipped events",
        state,
        seen,
        "events that the kernel skips: they are counted (missed_events), and the report is degraded",
        "boot an older kernel where that happens too often",
    )
}

/// The first release of which that may be so.
const SKIPPING: (u32, u32) = (7, 0);
