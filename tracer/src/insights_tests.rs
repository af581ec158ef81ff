use super::*;
use crate::{
    model::{BirthKind, Cpu, OffState, Priority, Syscall, WakerKind, Who},
    report::{
        Births, BlockedOn, CpuRow, Creator, Dist, DistValues, Fork, ForkCost, PerGib, Totals,
        Window, WokenBy,
    },
};

const MS: u64 = 1_000_000;
const WINDOW: u64 = 10_000 * MS;
const FUTEX: u32 = 202;

fn facts() -> Facts {
    Facts {
        cpus: vec![Cpu(0), Cpu(1)],
        sched_yield: Some(24),
        ..Facts::default()
    }
}

fn ms(ms: u64) -> Nanos {
    Nanos(ms * MS)
}

/// A thread that lived all the window; it slept when it neither ran nor waited.
fn thread(tid: u32, run: u64, waited_for: Vec<WaitedFor>) -> Thread {
    let wait: Nanos = waited_for.iter().map(|share| share.ns).sum();
    let totals = Totals {
        lifetime: Nanos(WINDOW),
        run: ms(run),
        wait,
        sleep: Nanos(WINDOW) - ms(run) - wait,
        ..Totals::zero()
    };
    Thread {
        tid,
        comm: Comm::from("worker"),
        totals,
        waited_for,
        ..Thread::default()
    }
}

fn process(pid: u32, threads: Vec<Thread>) -> Process {
    let mut totals = Totals::zero();
    threads.iter().for_each(|thread| totals.add(&thread.totals));
    Process {
        pid,
        comm: Comm::from("api"),
        cgroup: Some("/app".into()),
        totals,
        threads,
        ..Process::default()
    }
}

/// Both CPUs busy.
fn report(processes: Vec<Process>) -> Report {
    let cpu = |cpu| CpuRow {
        cpu,
        busy: Nanos(WINDOW),
        ..CpuRow::default()
    };
    let mut report = Report {
        window: Window {
            duration: Nanos(WINDOW),
            ..Window::default()
        },
        processes,
        ..Report::default()
    };
    report.system.cpus = vec![cpu(0), cpu(1)];
    report
}

fn who(pid: u32, tid: u32) -> Who {
    Who {
        pid,
        tid,
        comm: Comm::from("backup"),
        ..Who::default()
    }
}

fn by(who: Who, same_process: bool, length: u64) -> WaitedFor {
    WaitedFor {
        kind: ChargeKind::Thread,
        who: Some(who),
        same_process: Some(same_process),
        count: 1,
        ns: ms(length),
    }
}

fn by_thing(kind: ChargeKind, length: u64) -> WaitedFor {
    WaitedFor {
        kind,
        who: None,
        same_process: None,
        count: 1,
        ns: ms(length),
    }
}

#[track_caller]
fn only(report: &Report) -> Insight {
    match insights(report, &facts()).as_slice() {
        [only] => only.clone(),
        other => panic!("not one insight: {other:#?}"),
    }
}

#[track_caller]
fn silent(report: &Report) {
    let found = insights(report, &facts());
    assert!(found.is_empty(), "{found:#?}");
}

/// Four processes that all want a CPU, each waiting for the three others.
fn four_processes() -> Vec<Process> {
    let one = |pid: u32| {
        let others = (1..=4).filter(|&other| other != pid);
        let shares = others.map(|other| by(who(other, other), false, 1_660));
        process(pid, vec![thread(pid, 5_000, shares.collect())])
    };
    (1..=4).map(one).collect()
}

#[test]
fn four_processes_on_two_cpus_are_too_many() {
    let told = only(&report(four_processes()));
    assert_eq!(
        told.text,
        "more runnable threads than CPUs: 4 threads of 4 processes want 4.0 CPUs, and there are 2"
    );
    assert_eq!(
        told.evidence,
        "they ran 2.00 CPUs in all and waited 1.99 more for each other, 100 % of all their waits"
    );
    let mut enough = facts();
    enough.cpus = (0..4).map(Cpu).collect();
    assert!(insights(&report(four_processes()), &enough).is_empty());
}

#[test]
fn threads_that_wait_for_each_other_beside_an_idle_cpu_are_confined() {
    let mut confined = report(vec![process(
        1,
        vec![
            thread(1, 5_000, vec![by(who(1, 2), true, 5_000)]),
            thread(2, 5_000, vec![by(who(1, 1), true, 5_000)]),
        ],
    )]);
    // Two threads on two busy CPUs: somebody else had the other.
    silent(&confined);
    confined.system.cpus[1].idle = Nanos(WINDOW);
    let told = only(&confined);
    assert!(
        told.text.contains("1.0 of 2 CPUs are idle"),
        "{}",
        told.text
    );
}

#[test]
fn a_quota_that_is_used_up_is_told() {
    let throttled = |length| {
        let shares = vec![
            by_thing(ChargeKind::Throttled, length),
            by_thing(ChargeKind::Softirq, 1_000),
        ];
        report(vec![process(1, vec![thread(1, 2_000, shares)])])
    };
    let told = only(&throttled(4_000));
    assert_eq!(told.text, "/app runs out of its CPU quota");
    assert_eq!(
        told.evidence,
        "its threads were throttled for 4.00 s, 80 % of all their waits"
    );
    assert!(told.remedy.contains("cpu.max of /app"), "{}", told.remedy);
    // A tenth of the waits, a hundredth of the window.
    silent(&throttled(99));
    let mut short = throttled(50);
    short.processes[0].threads[0].waited_for.pop();
    silent(&short);
    let mut unnamed = throttled(4_000);
    unnamed.processes[0].cgroup = None;
    assert!(only(&unnamed).text.starts_with("the cgroup of api/1 "));
}

#[test]
fn one_neighbour_behind_most_waits_is_named() {
    let waits = |backup, other| {
        let shares = vec![
            by(who(991, 991), false, backup),
            by(who(992, 992), false, other),
        ];
        report(vec![process(1, vec![thread(1, 2_000, shares)])])
    };
    let told = only(&waits(700, 300));
    assert_eq!(told.text, "backup/991 is behind most of the waits");
    assert_eq!(
        told.evidence,
        "700 ms of 1.00 s of waiting (70 %) were for it"
    );
    silent(&waits(550, 450));
    // Less than a hundredth of the window.
    silent(&waits(99, 1));
    let mut own = waits(700, 300);
    let share = &mut own.processes[0].threads[0].waited_for[0];
    share.who = share.who.map(|who| Who { own: true, ..who });
    assert!(only(&own).text.starts_with("this tracer itself "));
}

#[test]
fn a_real_time_thread_is_told_as_that_and_not_as_a_neighbour_again() {
    let waits = |policy, pulses| {
        let priority = Priority {
            policy,
            nice: 0,
            rt_priority: 50,
        };
        let pulses = by(
            Who {
                priority,
                ..who(77, 77)
            },
            false,
            pulses,
        );
        let shares = vec![pulses, by_thing(ChargeKind::Idle, 100)];
        report(vec![process(1, vec![thread(1, 2_000, shares)])])
    };
    let told = only(&waits(1, 900));
    assert_eq!(
        told.text,
        "backup/77, a real-time thread (SCHED_FIFO 50), is behind 90 % of the waits"
    );
    assert_eq!(
        only(&waits(0, 900)).text,
        "backup/77 is behind most of the waits"
    );
    // Less than a third of the waits.
    silent(&waits(1, 40));
}

fn slept(syscall: u32, waker: WakerKind, by: Option<Who>, count: u64, ns: Nanos) -> BlockedOn {
    BlockedOn {
        state: OffState::Sleep,
        syscall: Some(Syscall::Native(syscall)),
        waker,
        who: by,
        waker_syscall: Some(Syscall::Native(syscall)),
        count,
        ns,
    }
}

/// Four threads as they are under a lock that a waiter tries again every 5 ms: measured with Python 3.11.
fn python() -> Process {
    let one = |tid: u32| {
        let mut row = thread(tid, 2_480, vec![by(who(1, tid % 4 + 1), true, 100)]);
        let siblings = (1..=4).filter(|&other| other != tid);
        row.blocked_on = siblings
            .map(|other| {
                slept(
                    FUTEX,
                    WakerKind::Thread,
                    Some(who(1, other)),
                    330,
                    ms(1_200),
                )
            })
            .chain([slept(FUTEX, WakerKind::Timer, None, 900, ms(3_800))])
            .collect();
        row
    };
    let mut process = process(1, (1..=4).map(one).collect());
    process.comm = Comm::from("python3");
    process
}

#[test]
fn threads_that_take_turns_share_one_lock() {
    let told = only(&report(vec![python()]));
    assert_eq!(
        told.text,
        "the 4 busy threads of python3/1 take turns: together they ran 0.99 CPU, because they share one lock \
         (Python's GIL)"
    );
    assert_eq!(
        told.evidence,
        "7560 futex sleeps of 3.92 ms on average, 52 % ended by a thread of the same process, 48 % by a time-out; \
         29.6 s asleep in them, 400 ms waiting for a CPU"
    );
    // On arm64 the number is another call's.
    let mut arm = facts();
    arm.sched_yield = Some(124);
    assert!(insights(&report(vec![python()]), &arm).is_empty());
    arm.sched_yield = None;
    assert!(insights(&report(vec![python()]), &arm).is_empty());
}

#[test]
fn what_only_looks_like_a_lock_is_none() {
    let changed = |change: fn(&mut Thread)| {
        let mut process = python();
        process.threads.iter_mut().for_each(change);
        report(vec![process])
    };
    // One thread hands out the work.
    silent(&changed(|thread| {
        for row in &mut thread.blocked_on {
            row.who = row.who.map(|_| who(1, 9));
        }
    }));
    // They wait for other processes.
    silent(&changed(|thread| {
        for row in &mut thread.blocked_on {
            row.who = row.who.map(|who| Who { pid: 2, ..who });
        }
    }));
    // They run at the same time.
    silent(&changed(|thread| thread.totals.run = ms(5_000)));
    // They have nothing to do.
    silent(&changed(|thread| thread.totals.run = ms(100)));
    // They sleep elsewhere.
    silent(&changed(|thread| {
        for row in &mut thread.blocked_on {
            row.syscall = Some(Syscall::Native(232));
        }
    }));
    // They wait for CPUs instead.
    silent(&changed(|thread| {
        for row in &mut thread.blocked_on {
            row.ns = Nanos(row.ns.0 / 4);
        }
    }));
}

#[test]
fn a_lock_that_is_handed_on_at_a_high_rate_is_a_convoy() {
    let one = |tid: u32, count: u64| {
        let mut row = thread(tid, 8_000, Vec::new());
        let siblings = (1..=3).filter(|&other| other != tid);
        row.blocked_on = siblings
            .map(|other| {
                slept(
                    FUTEX,
                    WakerKind::Thread,
                    Some(who(1, other)),
                    count,
                    ms(900),
                )
            })
            .collect();
        row
    };
    let threads = |count| (1..=3).map(|tid| one(tid, count)).collect();
    let told = only(&report(vec![process(1, threads(10_000))]));
    assert_eq!(
        told.text,
        "3 threads of api/1 queue for a lock: one of them was handed on 6000 times a second"
    );
    silent(&report(vec![process(1, threads(1_000))]));
}

#[test]
fn wake_ups_that_cross_cpus_at_a_high_rate_are_told() {
    let woken = |cross_cpu, migrations, wake_us: u64| {
        let mut row = thread(1, 1_000, Vec::new());
        row.totals.migrations = migrations;
        row.woken_by = vec![WokenBy {
            kind: WakerKind::Thread,
            itself: false,
            who: Some(who(1, 2)),
            count: 50_000,
            cross_cpu,
            wake: Nanos(50_000 * wake_us * 1_000),
            wait: Nanos::ZERO,
        }];
        report(vec![process(1, vec![row])])
    };
    let told = only(&woken(48_000, 7, 14));
    assert_eq!(
        told.text,
        "worker/1 is woken from another CPU 4800 times a second, most often by backup/2"
    );
    assert_eq!(
        told.evidence,
        "96 % of its 50000 wake-ups came from another CPU; on average it took 14.0 us until it stood in a run queue; \
         it moved 7 times"
    );
    // Mostly from its own CPU; or at little cost, unless it is moved about.
    silent(&woken(20_000, 7, 14));
    silent(&woken(48_000, 7, 1));
    only(&woken(48_000, 20_000, 1));
}

#[test]
fn yields_in_a_loop_are_told() {
    let yields = |yields, others| {
        let mut row = thread(1, 9_000, Vec::new());
        row.totals.involuntary = yields;
        row.totals.involuntary_yields = Some(yields);
        row.totals.voluntary = others;
        row
    };
    let told = only(&report(vec![process(1, vec![yields(50_000, 500)])]));
    assert_eq!(told.text, "worker/1 calls sched_yield in a loop");
    assert_eq!(
        told.evidence,
        "50000 yields to others, 5000 a second, 99 % of all switches there; 9.00 s of run time"
    );
    let both = vec![yields(50_000, 500), yields(20_000, 0)];
    let told = only(&report(vec![process(1, both)]));
    assert_eq!(told.text, "2 threads of api/1 call sched_yield in a loop");
    silent(&report(vec![process(1, vec![yields(9_000, 0)])]));
    silent(&report(vec![process(1, vec![yields(50_000, 60_000)])]));
    let mut unknown = yields(50_000, 500);
    unknown.totals.involuntary_yields = None;
    silent(&report(vec![process(1, vec![unknown])]));
}

/// A program whose forks took that long together, and the longest of them; `execs` of ten children called exec.
fn forking(count: u64, all: Nanos, longest: Nanos, execs: u32) -> Report {
    let redis = Comm::from("redis-server");
    let fork = |n: u32| Fork {
        at_ns: 0,
        kind: BirthKind::Fork,
        flags: None,
        parent: Creator {
            pid: 1_234,
            tid: 1_234,
            comm: redis,
        },
        child_pid: 2_000 + n,
        child_tid: 2_000 + n,
        child_comm: redis,
        syscall: Some(if n == 3 { longest } else { Nanos(1) }),
        fork_to_run: None,
        wake: None,
        wait: None,
        cross_cpu: None,
        fork_to_exec: (n < execs).then_some(ms(1)),
        parent_rss_bytes: Some(u64::from(n) << 27),
        parent_page_table_bytes: None,
        parent_mappings: None,
        cow_faults: None,
        lifetime: None,
        exit: None,
    };
    let cost = ForkCost {
        kind: BirthKind::Fork,
        comm: redis,
        count,
        syscall: Some(Dist {
            count,
            clipped: 0,
            sum: all,
            values: Some(DistValues {
                max: longest,
                ..DistValues::default()
            }),
        }),
        first_run: None,
        per_gib: None,
    };
    let mut forking = report(Vec::new());
    forking.births = Some(Births {
        syscalls: true,
        forks: (0..10).map(fork).collect(),
        costs: vec![cost],
        ..Births::default()
    });
    forking
}

fn births(report: &mut Report) -> &mut Births {
    report.births.as_mut().expect("there are some")
}

#[test]
fn a_program_that_stands_still_in_fork_is_told() {
    let mut snapshots = forking(10, ms(110), ms(12), 4);
    births(&mut snapshots).costs[0].per_gib = Some(PerGib {
        ns: 24_800_000.0,
        error: 310_000.0,
    });
    let told = only(&snapshots);
    assert_eq!(told.text, "redis-server/1234 stands still while it forks");
    assert_eq!(
        told.evidence,
        "10 forks stood still for 110 ms in all, 1.10 % of the window, the longest for 12.0 ms with 384 MiB in memory; \
         24.8 ms for each GiB in memory"
    );
    assert!(told.remedy.contains("MADV_DONTFORK"), "{}", told.remedy);
    // A line with an error as large as itself is none.
    births(&mut snapshots).costs[0].per_gib = Some(PerGib {
        ns: 200_000.0,
        error: 310_000.0,
    });
    assert!(!only(&snapshots).evidence.contains("GiB"));
    // Two of that name.
    births(&mut snapshots).forks[9].parent.pid = 1_235;
    assert!(only(&snapshots).text.starts_with("redis-server stands "));
}

#[test]
fn who_forks_to_call_exec_is_told_to_spawn() {
    let told = only(&forking(10, ms(110), ms(12), 5));
    assert!(
        told.evidence
            .ends_with("; 50 % of the children called exec"),
        "{}",
        told.evidence
    );
    assert!(told.remedy.contains("posix_spawn"), "{}", told.remedy);
}

#[test]
fn stalls_in_fork_matter_from_a_hundredth_of_the_window_or_when_one_is_long() {
    silent(&forking(1_000, Nanos(99_999_999), Nanos(4_999_999), 0));
    only(&forking(1_000, ms(100), Nanos(4_999_999), 0));
    only(&forking(1, ms(5), ms(5), 0));
    let mut quiet = forking(1_000, ms(3_000), ms(20), 0);
    // The child's life is in the stall of a vfork.
    births(&mut quiet).costs[0].kind = BirthKind::Vfork;
    silent(&quiet);
    births(&mut quiet).costs[0].kind = BirthKind::Fork;
    only(&quiet);
    births(&mut quiet).costs[0].comm = Comm::default();
    silent(&quiet);
    let mut unmeasured = forking(1_000, ms(3_000), ms(20), 0);
    births(&mut unmeasured).costs[0].syscall = None;
    silent(&unmeasured);
}

#[test]
fn the_weightiest_come_first_and_at_most_five() {
    let mut all = four_processes();
    all.push(python());
    let mut pulses = who(77, 77);
    pulses.priority.policy = 2;
    let shares = vec![
        by(pulses, false, 12_000),
        by_thing(ChargeKind::Throttled, 3_000),
    ];
    let mut noisy = thread(9, 1_000, shares);
    noisy.totals.involuntary = 50_000;
    noisy.totals.involuntary_yields = Some(50_000);
    noisy.woken_by = vec![WokenBy {
        kind: WakerKind::Timer,
        itself: false,
        who: None,
        count: 40_000,
        cross_cpu: 40_000,
        wake: ms(400),
        wait: Nanos::ZERO,
    }];
    all.push(process(9, vec![noisy]));
    let texts = |report: &Report| -> Vec<String> {
        let found = insights(report, &facts());
        found.into_iter().map(|insight| insight.text).collect()
    };
    let mut full = report(all);
    full.processes[5].cgroup = Some("/other".into());
    let told = texts(&full);
    assert_eq!(told.len(), MOST, "{told:#?}");
    for (text, part) in
        told.iter()
            .zip(["lock", "more runnable", "SCHED_RR", "/other", "sched_yield"])
    {
        assert!(text.contains(part), "{part} is not next: {told:#?}");
    }
    // The sixth has its turn when one of them is gone.
    full.processes.remove(4);
    let told = texts(&full);
    assert!(told[4].contains("another CPU"), "{told:#?}");
    // What is wrong explains nothing.
    full.quality.verdict = Verdict::Invalid;
    silent(&full);
    silent(&Report::default());
}

#[test]
fn bytes_of_a_name_that_are_no_text_are_spelled_out() {
    let mut comm = Comm::default();
    comm.0[..3].copy_from_slice(b"a\xffb");
    assert_eq!(name(comm, 7), "a\\xffb/7");
}
