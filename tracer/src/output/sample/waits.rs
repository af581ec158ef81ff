//! What the threads of the samples waited for.

use super::{EPOLL_WAIT, FUTEX, MS, dist};
use crate::model::{Comm, Nanos, OffState, Priority, Syscall, WaitCause, WakerKind};
use crate::report::{
    BlockedOn, ChargeKind, Insight, PreemptedBy, Report, Spike, SpikeCause, SpikeWaker, Spikes,
    Thread, WaitedFor, Who, WokenBy,
};

pub fn who(pid: u32, tid: u32, comm: &str) -> Who {
    Who {
        pid,
        tid,
        comm: Comm::from(comm),
        ..Who::default()
    }
}

fn backup() -> Who {
    Who {
        priority: Priority {
            nice: 19,
            ..Priority::default()
        },
        ..who(991, 991, "backup")
    }
}

fn share(kind: ChargeKind, ns: u64) -> WaitedFor {
    WaitedFor {
        kind,
        who: None,
        same_process: None,
        count: ns / MS + 1,
        ns: Nanos(ns),
    }
}

fn share_of(who: Who, same_process: bool, ns: u64) -> WaitedFor {
    WaitedFor {
        who: Some(who),
        same_process: Some(same_process),
        ..share(ChargeKind::Thread, ns)
    }
}

/// The one of the README.
pub fn preempted_spike() -> Spike {
    Spike {
        at_ns: 3_214_512_000,
        finished: true,
        victim: who(1200, 1234, "api-worker"),
        cpu: 3,
        latency: Nanos(14_200_000),
        wake: None,
        wait: Nanos(14_200_000),
        cause: WaitCause::Preempted,
        waited_for: vec![
            share_of(backup(), false, 9_100_000),
            share_of(who(1200, 1240, "worker"), true, 3_000_000),
            share(ChargeKind::Softirq, 1_600_000),
            share(ChargeKind::Unknown, 500_000),
        ],
        woken_by: None,
        cgroup_id: Some(42),
        cgroup: Some("/app".into()),
    }
}

/// Woken late into a group without quota, and not through with it.
pub fn throttled_spike() -> Spike {
    Spike {
        at_ns: 10_000_000_000,
        finished: false,
        latency: Nanos(82_000_000),
        wake: Some(Nanos(2_000_000)),
        wait: Nanos(80_000_000),
        cause: WaitCause::Woken,
        waited_for: vec![
            share(ChargeKind::Throttled, 79_000_000),
            WaitedFor {
                kind: ChargeKind::KernelThread,
                ..share_of(
                    Who {
                        kernel_thread: true,
                        ..who(21, 21, "ksoftirqd/1")
                    },
                    false,
                    1_000_000,
                )
            },
        ],
        woken_by: Some(SpikeWaker {
            kind: WakerKind::Thread,
            who: Some(who(800, 812, "conn-7")),
        }),
        ..preempted_spike()
    }
}

/// Latencies over 5 ms, their causes, and what follows from the report of two processes.
pub fn explain(report: &mut Report) {
    let cause = |kind, who: Option<Who>, ns: u64| SpikeCause {
        kind,
        pid: who.map(|who| who.pid),
        comm: who.map(|who| who.comm),
        cgroup_id: None,
        cgroup: None,
        ns: Nanos(ns),
        share: ns as f64 / 94_200_000.0,
    };
    report.spikes = Some(Spikes {
        threshold: Nanos(5 * MS),
        count: 2,
        spikes: vec![preempted_spike(), throttled_spike()],
        causes: vec![
            SpikeCause {
                cgroup_id: Some(42),
                cgroup: Some("/app".into()),
                ..cause(ChargeKind::Throttled, None, 79_000_000)
            },
            cause(ChargeKind::Thread, Some(backup()), 9_100_000),
            cause(ChargeKind::Thread, Some(who(1200, 1200, "api")), 3_000_000),
            cause(ChargeKind::Softirq, None, 1_600_000),
            cause(
                ChargeKind::KernelThread,
                Some(who(21, 21, "ksoftirqd/1")),
                1_000_000,
            ),
            cause(ChargeKind::Unknown, None, 500_000),
        ],
    });
    report.insights = vec![Insight {
        text: "backup/991 is behind most of the waits".into(),
        evidence: "2.20 s of 3.61 s of waiting (61 %) were for it".into(),
        remedy: "Move it to other CPUs, or give it less weight (nice, cpu.weight)".into(),
    }];
}

/// Fills a thread's rows so that they add up to what its totals say.
pub fn waits(thread: &mut Thread) {
    let totals = &thread.totals;
    let wait = totals.wait.0;
    let parts = [wait * 61 / 100, wait / 5, wait / 10, wait / 20];
    let rest = wait - parts.iter().sum::<u64>();
    // Nobody waits for itself.
    let (other, sibling) = match thread.tid {
        991 => (who(4711, 4712, "pool-0"), who(4711, 4713, "pool-1")),
        4713 => (backup(), who(4711, 4712, "pool-0")),
        _ => (backup(), who(4711, 4713, "pool-1")),
    };
    let same_process = (4_711..4_800).contains(&thread.tid);
    let rows = [
        share_of(other, false, parts[0]),
        share_of(sibling, same_process, parts[1]),
        share(ChargeKind::Softirq, parts[2]),
        share(ChargeKind::Steal, parts[3]),
        share(ChargeKind::Unknown, rest),
    ];
    thread.waited_for = rows
        .into_iter()
        .filter(|row| row.ns > Nanos::ZERO)
        .collect();
    if totals.involuntary > 1 {
        let count = totals.involuntary / 2;
        let came = |who, same_process, ns| PreemptedBy {
            who,
            same_process: Some(same_process),
            count,
            ns: Nanos(ns),
            p99: Some(Nanos(ns / count * 4)),
            resched_delay: None,
        };
        thread.preempted_by = vec![
            PreemptedBy {
                resched_delay: Some(dist(count, Nanos(count * 40_000))),
                ..came(Some(other), false, wait / 2)
            },
            came(None, same_process, wait / 4),
        ];
    }
    let woken = |kind, who, count, ns| WokenBy {
        kind,
        itself: false,
        who,
        count,
        cross_cpu: count / 4,
        wake: Nanos(count * 3_000),
        wait: Nanos(ns),
    };
    thread.woken_by = vec![
        woken(
            WakerKind::Thread,
            Some(sibling),
            totals.voluntary / 2,
            wait / 8,
        ),
        woken(WakerKind::Timer, None, totals.voluntary / 4, wait / 16),
    ];
    let blocked = |syscall, waker, who, waker_syscall: Option<u32>, ns| BlockedOn {
        state: OffState::Sleep,
        syscall: Some(Syscall::Native(syscall)),
        waker,
        who,
        waker_syscall: waker_syscall.map(Syscall::Native),
        count: totals.voluntary / 2,
        ns: Nanos(ns),
    };
    let sleep = totals.sleep.0;
    thread.blocked_on = vec![
        blocked(
            FUTEX,
            WakerKind::Thread,
            Some(sibling),
            Some(FUTEX),
            sleep * 9 / 10,
        ),
        blocked(
            EPOLL_WAIT,
            WakerKind::Softirq,
            None,
            None,
            sleep - sleep * 9 / 10,
        ),
    ];
}
