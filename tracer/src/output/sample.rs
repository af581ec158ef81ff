//! Reports for the tests of every format. The numbers obey the invariants of the contract.

use crate::host::Host;
use crate::model::{Comm, Nanos, OffState, Priority, Syscall, Timestamp};
use crate::report::{
    ChargeKind, CheckedField, Cost, CpuRow, Dist, DistValues, EndReason, Exit, Folded,
    KernelCounters, KernelSource, Kinds, KnownError, Mismatch, Model, OffCpu, Process, Quality,
    Report, System, SystemTotals, Target, Thread, Totals, Verdict, WaitedFor, Window,
};

pub mod births;
pub mod diff;
mod waits;

pub use births::{forking, storm, without_forks};
pub use waits::{preempted_spike, who};

const MS: u64 = 1_000_000;
const WINDOW: u64 = 10_000 * MS;
const FUTEX: u32 = 202;
const EPOLL_WAIT: u32 = 232;

pub fn host() -> Host {
    Host {
        hostname: "db1".into(),
        boot_id: "5f0c1c62-7b5c-4c3e-9d0a-0a8f3c1d2e4f".into(),
        kernel: "6.18.44".into(),
        arch: "x86_64".into(),
        cpus: 2,
        preempt_mode: Some("dynamic (lazy)".into()),
        hz: Some(250),
        clocksource: Some("tsc".into()),
        hypervisor: Some("kvm".into()),
        steal_percent: Some(0.7),
        sched_ext: None,
    }
}

/// Two processes, everything measured, all well; one mismatch that a known error explains.
pub fn valid() -> Report {
    let mut pool0 = thread(
        4712,
        "pool-0",
        [6_200 * MS, 1_800 * MS, 2_000 * MS, 0],
        [1_000, 1_440],
    );
    let mut pool1 = thread(
        4713,
        "pool-1",
        [5_900 * MS, 1_100 * MS, 2_950 * MS, 50 * MS],
        [900, 1_002],
    );
    pool1.totals.migrations = 17;
    pool1.totals.iowait = Some(Nanos(40 * MS));
    pool0.totals.address_space_changes = 120;
    // What the mismatch below says.
    pool1.kernel = pool1.kernel.map(|kernel| KernelCounters {
        wait: Nanos(1_160 * MS),
        ..kernel
    });
    let main = thread(
        4711,
        "api",
        [12 * MS, 380_400, 9_980 * MS, 7_619_600],
        [210, 3],
    );
    let mut born = thread(4790, "fsync", [30 * MS, 2 * MS, 0, 468 * MS], [40, 2]);
    born.started_ns = Some(1_000_000_000);
    born.born_in_window = true;
    born.exit = Some(Exit {
        at_ns: 1_500_000_000,
        code: 0,
        signal: 9,
    });
    born.kernel = born.kernel.map(|kernel| KernelCounters {
        source: KernelSource::LastRecord,
        ..kernel
    });

    let folded = Folded {
        threads: 40,
        totals: thread(0, "", [90 * MS, 4 * MS, 400 * MS, 6 * MS], [80, 5]).totals,
    };
    let mut api = process(4711, vec![pool0, pool1, born, main]);
    api.ppid = 1;
    api.cmdline = Some("/usr/sbin/api --listen 0.0.0.0:8080".into());
    api.cgroup = Some("/system.slice/api.service".into());
    api.threads_max = 7;
    api.threads_total = 44;
    api.totals.add(&folded.totals);
    api.folded = folded;

    let mut backup = thread(
        991,
        "backup",
        [1_500 * MS, 700 * MS, 7_300 * MS, 500 * MS],
        [4_000, 250],
    );
    backup.priority = Priority {
        policy: 3,
        nice: 19,
        rt_priority: 0,
    };
    let mut tracer = thread(5000, "tracer", [9 * MS, MS, 9_990 * MS, 0], [100, 0]);
    tracer.own = true;

    let mut report = Report {
        window: Window {
            start: Timestamp(86_400_000_000_000),
            started: Some("2026-03-01T02:14:07.512Z".into()),
            duration: Nanos(WINDOW),
            end_reason: Some(EndReason::Duration),
            interval_at: None,
        },
        target: Target {
            description: "the whole system".into(),
            pids: vec![991, 4711, 5000],
            processes: 3,
            threads: 46,
            model: Model::Hybrid,
        },
        quality: Quality {
            threads_checked: 6,
            threads_matched: 5,
            threads_self_checked: 41,
            folded_threads: 40,
            mismatches: vec![mismatch(
                4713,
                CheckedField::Wait,
                Some(KnownError::KernelCountedSleep),
            )],
            ..Quality::default()
        },
        cost: Some(Cost {
            kernel_events: 41_250,
            kernel_ns_per_event: Some(95.3),
            method: "bpf statistics over the window".into(),
            collector_cpu: Nanos(9 * MS),
            collector_max_rss_bytes: 18_140_000,
            cpu_percent_of_one: Some(0.13),
            cpu_percent_of_machine: Some(0.065),
            syscall_ns: None,
        }),
        system: System {
            totals: Some(SystemTotals {
                voluntary: 6_330,
                involuntary: 2_702,
                from_idle: 4_100,
                address_space_changes: 5_210,
                kinds: Kinds {
                    same_process: 1_800,
                    other_process: 2_532,
                    kernel_thread: 600,
                    idle: 4_100,
                },
            }),
            cpus: vec![cpu(0, 8_100, 6_600), cpu(1, 7_700, 6_532)],
        },
        processes: vec![api, process(991, vec![backup]), process(5000, vec![tracer])],
        ..Report::default()
    };
    waits::explain(&mut report);
    report
}

/// Losses known in number: holes in the time line, totals still right.
pub fn degraded() -> Report {
    let mut report = valid();
    let hole = Nanos(250 * MS);
    let process = &mut report.processes[0];
    for totals in [&mut process.threads[0].totals, &mut process.totals] {
        totals.sleep = totals.sleep - hole;
        totals.unknown = hole;
    }
    process.threads[0].off_cpu[0].ns = process.threads[0].totals.sleep;
    report.quality.verdict = Verdict::Degraded;
    report.quality.lost_records = 812;
    report.quality.lost_switches = 790;
    report.quality.reasons = vec![
        "812 records found no room in a ring; a larger --buffer holds more".into(),
        "250 ms of 1 thread are unknown".into(),
    ];
    report.window.end_reason = Some(EndReason::MaxOverhead);
    report
}

/// A total that nothing explains.
pub fn invalid() -> Report {
    let mut report = valid();
    report.quality.verdict = Verdict::Invalid;
    report.quality.threads_matched = 4;
    report
        .quality
        .mismatches
        .insert(0, mismatch(4712, CheckedField::Voluntary, None));
    report.quality.reasons =
        vec!["1 thread differs from the kernel's counters without a known reason".into()];
    if let Some(kernel) = &mut report.processes[0].threads[0].kernel {
        kernel.voluntary += 2;
    }
    report
}

/// An old kernel and a narrow target: whatever may be missing is missing.
pub fn not_measured() -> Report {
    let mut worker = thread(77, "worker", [100 * MS, 20 * MS, 9_880 * MS, 0], [50, 7]);
    worker.totals = Totals {
        run_steal: None,
        run_irq: None,
        run_softirq: None,
        iowait: None,
        wake: None,
        involuntary_yields: None,
        ..worker.totals
    };
    worker.wait = Dist {
        count: 0,
        clipped: 2,
        ..Dist::default()
    };
    worker.latency = None;
    worker.kernel = None;
    worker.waited_for = vec![WaitedFor {
        kind: ChargeKind::Unknown,
        who: None,
        same_process: None,
        count: 7,
        ns: worker.totals.wait,
    }];
    worker.preempted_by.clear();
    worker.woken_by.clear();
    worker.blocked_on.clear();
    worker.off_cpu = vec![OffCpu {
        state: OffState::Sleep,
        syscall: None,
        count: 50,
        ns: worker.totals.sleep,
    }];
    let mut report = valid();
    report.window.started = None;
    report.window.end_reason = None;
    report.target = Target {
        description: "thread 77".into(),
        pids: vec![77],
        processes: 1,
        threads: 1,
        model: Model::Single,
    };
    report.quality = Quality::default();
    report.cost = Some(Cost {
        method: "not measured: the kernel keeps no program statistics".into(),
        ..Cost::default()
    });
    report.system = System::default();
    report.processes = vec![process(77, vec![worker])];
    report.spikes = None;
    report.insights.clear();
    report
}

/// Names that attack the terminal or the reader.
pub fn hostile() -> Report {
    let names: [&[u8]; 7] = [
        b"\x1b[31mred\x1b[0m",
        b"two\nlines",
        b"bad\xff\xfe",
        "\u{202e}gnp.exe".as_bytes(),
        "c1\u{9b}2J".as_bytes(),
        "日本語".as_bytes(),
        b"a\\x1b",
    ];
    with_names(&names)
}

/// One process whose threads bear these names, and itself the first.
pub fn with_names(names: &[&[u8]]) -> Report {
    let threads = names.iter().zip(100..).map(|(name, tid)| {
        let mut row = thread(
            tid,
            "",
            [40 * MS, (200 - u64::from(tid)) * MS, 9_000 * MS, 0],
            [30, 4],
        );
        row.comm = comm(name);
        if let Some(who) = &mut row.waited_for[0].who {
            who.comm = row.comm;
        }
        row
    });
    let mut hostile = births::with_memory(process(100, threads.collect()), 64);
    hostile.cmdline = Some("evil \u{1b}]0;title\u{7} \u{202e}gnp".into());
    hostile.cgroup = Some("/evil\n/\u{9b}2J".into());
    let mut report = Report {
        processes: vec![hostile],
        births: Some(births::births()),
        ..valid()
    };
    if let Some(births) = &mut report.births {
        births::rename(births, names);
    }
    let bad = comm(names[0]);
    for spike in report
        .spikes
        .iter_mut()
        .flat_map(|spikes| &mut spikes.spikes)
    {
        spike.victim.comm = bad;
        spike.cgroup = Some("/evil\n/\u{9b}2J".into());
    }
    for insight in &mut report.insights {
        insight.text = format!("{} is to blame", String::from_utf8_lossy(bad.bytes()));
    }
    report
}

/// The fourth second of the window.
pub fn interval() -> Report {
    let mut report = valid();
    report.window.interval_at = Some(Nanos(3_000 * MS));
    report.window.duration = Nanos(1_000 * MS);
    report.window.end_reason = None;
    report.processes.truncate(1);
    report.spikes = None;
    report.insights.clear();
    report
}

/// More processes and threads than anybody reads.
pub fn crowd() -> Report {
    let busy = (0..30).map(|n| {
        thread(
            2_000 + n,
            &format!("io-{n}"),
            [20 * MS, (60 - u64::from(n)) * MS, 9_000 * MS, 0],
            [300, 20],
        )
    });
    let lone = (0..40).map(|n| {
        process(
            3_000 + n,
            vec![thread(
                3_000 + n,
                &format!("cron-{n}"),
                [MS, MS, 9_990 * MS, 0],
                [4, 1],
            )],
        )
    });
    let mut report = valid();
    report.processes = std::iter::once(process(2_000, busy.collect()))
        .chain(lone)
        .collect();
    report
}

pub fn comm(name: &[u8]) -> Comm {
    let mut comm = [0; 16];
    for (to, from) in comm.iter_mut().take(15).zip(name) {
        *to = *from;
    }
    Comm(comm)
}

/// A thread that lived as long as its times say: run, wait, sleep, block; voluntary, involuntary.
fn thread(tid: u32, name: &str, times: [u64; 4], switches: [u64; 2]) -> Thread {
    let [run, wait, sleep, block] = times.map(Nanos);
    let [voluntary, involuntary] = switches;
    let all = voluntary + involuntary;
    let totals = Totals {
        lifetime: run + wait + sleep + block,
        run,
        run_steal: Some(Nanos(run.0 / 100)),
        run_irq: Some(Nanos(run.0 / 500)),
        run_softirq: Some(Nanos(run.0 / 200)),
        wait,
        sleep,
        block,
        wake: Some(Nanos((sleep.0 + block.0) / 500)),
        voluntary,
        involuntary,
        involuntary_yields: Some(involuntary / 10),
        kinds: Kinds {
            same_process: all / 2,
            other_process: all / 4,
            kernel_thread: 0,
            idle: all - all / 2 - all / 4,
        },
        address_space_changes: all / 4,
        ..Totals::zero()
    };
    let off = |state, syscall, ns: Nanos| OffCpu {
        state,
        syscall: Some(Syscall::Native(syscall)),
        count: voluntary,
        ns,
    };
    let off_cpu = [
        off(OffState::Sleep, FUTEX, Nanos(sleep.0 * 9 / 10)),
        off(
            OffState::Sleep,
            EPOLL_WAIT,
            Nanos(sleep.0 - sleep.0 * 9 / 10),
        ),
        off(OffState::Block, 74, block),
    ];
    let mut thread = Thread {
        tid,
        comm: Comm::from(name),
        started_ns: Some(-3_600_000_000_000),
        totals,
        run_slice: dist(all, run),
        wait: dist(all, wait),
        latency: Some(dist(voluntary, wait)),
        off_cpu: off_cpu
            .into_iter()
            .filter(|row| row.ns > Nanos::ZERO)
            .collect(),
        kernel: Some(KernelCounters {
            source: KernelSource::Snapshot,
            voluntary,
            involuntary,
            run: Nanos(run.0 - run.0 / 100),
            wait,
        }),
        ..Thread::default()
    };
    waits::waits(&mut thread);
    thread
}

fn process(pid: u32, threads: Vec<Thread>) -> Process {
    let mut totals = Totals::zero();
    threads.iter().for_each(|thread| totals.add(&thread.totals));
    Process {
        pid,
        started_ns: Some(-3_600_000_000_000),
        ppid: 1,
        comm: threads
            .iter()
            .find(|thread| thread.tid == pid)
            .map(|thread| thread.comm)
            .unwrap_or_default(),
        threads_max: threads.len() as u64,
        threads_total: threads.len() as u64,
        totals,
        folded: Folded {
            threads: 0,
            totals: Totals::zero(),
        },
        threads,
        ..Process::default()
    }
}

fn dist(count: u64, sum: Nanos) -> Dist {
    let mean = sum.0 / count.max(1);
    let values = DistValues {
        min: Nanos(mean / 4),
        p50: Nanos(mean),
        p90: Nanos(mean * 2),
        p99: Nanos(mean * 4),
        p999: Nanos(mean * 5),
        max: Nanos(mean * 6),
        max_at: Nanos(4_321_000_000),
    };
    Dist {
        count,
        clipped: 0,
        sum,
        values: (count > 0).then_some(values),
    }
}

fn cpu(cpu: u16, busy_ms: u64, switches: u64) -> CpuRow {
    CpuRow {
        cpu,
        busy: Nanos(busy_ms * MS),
        idle: Nanos(WINDOW - busy_ms * MS),
        switches,
    }
}

fn mismatch(tid: u32, field: CheckedField, reason: Option<KnownError>) -> Mismatch {
    let (ours, kernel) = match field {
        CheckedField::Voluntary | CheckedField::Involuntary => (1_000, 1_002),
        CheckedField::Run | CheckedField::Wait => (1_100 * MS, 1_160 * MS),
    };
    Mismatch {
        tid,
        field,
        ours,
        kernel,
        reason,
    }
}
