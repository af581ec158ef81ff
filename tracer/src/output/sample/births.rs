//! Births, ends and memory of the samples.

use super::{MS, comm, dist, process, thread, valid};
use crate::model::{BirthKind, Comm, Nanos};
use crate::report::{
    Births, Branch, BranchCosts, CowFaults, Crash, Creator, Dist, DistValues, Ended, Exec, Exit,
    Fork, ForkCost, MemorySource, Model, PerGib, Process, ProcessMemory, Report, Thread,
    ThreadMemory,
};

const US: u64 = 1_000;
const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
/// CLONE_CHILD_CLEARTID and CLONE_CHILD_SETTID, as the C library calls it.
const FORK_FLAGS: u64 = 0x0120_0000;
const VFORK_FLAGS: u64 = 0x4100;
const THREAD_FLAGS: u64 = 0x3d_0f00;
const SEGV: u8 = 11;

/// A snapshot of a large process, a build three processes deep, a pool of threads that crashes; with `--forks`.
pub fn forking() -> Report {
    let mut report = Report {
        processes: vec![redis(), worker()],
        births: Some(births()),
        spikes: None,
        insights: Vec::new(),
        ..valid()
    };
    report.target.description = "the whole system".into();
    report.target.pids = vec![1_234, 3_000];
    report.target.processes = 9;
    report.target.threads = 16;
    report.target.model = Model::Hybrid;
    if let Some(cost) = &mut report.cost {
        cost.syscall_ns = Some(87.4);
    }
    report
}

/// The same without `--forks`: what only system calls tell is not known.
pub fn without_forks() -> Report {
    let mut report = forking();
    if let Some(cost) = &mut report.cost {
        cost.syscall_ns = None;
    }
    if let Some(births) = &mut report.births {
        births.syscalls = false;
        for fork in &mut births.forks {
            fork.syscall = None;
            fork.cow_faults = None;
        }
        births.execs.iter_mut().for_each(|exec| exec.syscall = None);
        let exits = births.exits.iter_mut();
        exits.for_each(|ended| ended.reaped_after = None);
        for cost in &mut births.costs {
            cost.syscall = None;
            cost.per_gib = None;
        }
        for branch in &mut births.tree {
            branch.own.creation = None;
            branch.subtree.creation = None;
        }
    }
    report
}

/// More of everything than anybody reads: programs that fork, crashes, a chain of processes, a crowd of them.
pub fn storm() -> Report {
    let mut report = forking();
    let births = report.births.get_or_insert_default();
    births.forks_total = 12_345_678;
    births.costs = (0..30)
        .map(|n| {
            cost(
                BirthKind::Fork,
                &format!("spawner-{n}"),
                40,
                Some(30 * MS),
                MS,
            )
        })
        .collect();
    births.costs.push(cost(BirthKind::Thread, "", 7, None, MS));
    births.crashes = (0..40)
        .map(|n| crash(1_000 + n, &format!("victim-{n}"), 6, n.into()))
        .collect();
    let chain = (0..10_000).map(|depth| branch(depth, 20_000 + depth, "chain", MS, 1));
    let crowd = (0..500).map(|n| branch(1, 40_000 + n, &format!("job-{n}"), n.into(), 0));
    let same = (0..500).map(|n| branch(1, 50_000 + n, "sh", MS, 0));
    births.tree = chain.chain(crowd).chain(same).collect();
    add_up(&mut births.tree);
    report.processes = (0..40)
        .map(|n| {
            with_memory(
                process(2_000 + n, vec![row(2_000 + n, "ballast")]),
                n.into(),
            )
        })
        .collect();
    report
}

/// Everybody in `births` gets one of these names.
pub fn rename(births: &mut Births, names: &[&[u8]]) {
    let mut names = names.iter().cycle().map(|name| comm(name));
    let mut rename = |comm: &mut Comm| *comm = names.next().unwrap_or_default();
    for fork in &mut births.forks {
        rename(&mut fork.parent.comm);
        rename(&mut fork.child_comm);
    }
    for exec in &mut births.execs {
        rename(&mut exec.comm_before);
        rename(&mut exec.comm_after);
    }
    births
        .exits
        .iter_mut()
        .for_each(|ended| rename(&mut ended.comm));
    births
        .costs
        .iter_mut()
        .for_each(|cost| rename(&mut cost.comm));
    births
        .crashes
        .iter_mut()
        .for_each(|crash| rename(&mut crash.comm));
    births
        .tree
        .iter_mut()
        .for_each(|branch| rename(&mut branch.comm));
}

pub fn births() -> Births {
    let mut tree = vec![
        branch(0, 1_234, "redis-server", 4_100 * MS, 2),
        branch(1, 1_300, "redis-server", 2_050 * MS, 0),
        branch(0, 2_000, "make", 12 * MS, 5),
        branch(1, 2_001, "sh", 3 * MS, 1),
        branch(2, 2_002, "cc1", 2_900 * MS, 0),
        branch(1, 2_003, "sh", 2 * MS, 0),
        branch(1, 2_004, "sh", 2 * MS, 0),
        branch(1, 2_005, "sh", 3 * MS, 0),
        branch(0, 3_000, "worker", 600 * MS, 3),
    ];
    tree[0].own.threads = 4;
    tree[0].own.creation = Some(Nanos(12_400 * US));
    tree[3].own.execs = 1;
    tree[8].own.threads = 4;
    tree[8].exit = Some(killed(1_200));
    for index in [1, 3, 4, 5, 6, 7] {
        tree[index].exit = Some(exit(5_300));
    }
    add_up(&mut tree);
    Births {
        syscalls: true,
        forks_total: 19,
        execs_total: 2,
        exits_total: 10,
        forks: forks(),
        execs: vec![
            exec(4_001, 2_001, "make", "sh"),
            exec(4_006, 2_002, "sh", "cc1"),
        ],
        exits: vec![
            Ended {
                signal: SEGV,
                ..ended(1_200, 3_000, "worker", None)
            },
            ended(4_900, 2_002, "cc1", Some(40 * US)),
            ended(4_901, 2_001, "sh", Some(55 * US)),
            ended(5_300, 1_300, "redis-server", Some(2 * MS)),
        ],
        costs: vec![
            ForkCost {
                per_gib: Some(PerGib {
                    ns: 24_800_000.0,
                    error: 310_000.0,
                }),
                ..cost(
                    BirthKind::Fork,
                    "redis-server",
                    9,
                    Some(18_600 * US),
                    855 * US,
                )
            },
            cost(BirthKind::Vfork, "make", 4, Some(3_400 * US), 160 * US),
            cost(BirthKind::Fork, "sh", 1, Some(310 * US), 60 * US),
            cost(BirthKind::Thread, "worker", 3, Some(66 * US), 120 * US),
            cost(BirthKind::Worker, "redis-server", 1, None, 40 * US),
            cost(BirthKind::Thread, "", 1, Some(20 * US), 35 * US),
        ],
        crashes: vec![
            crash(3_000, "worker", SEGV, 4),
            Crash {
                core_dumped: false,
                ..crash(3_100, "canary", 35, 1)
            },
        ],
        tree,
    }
}

fn forks() -> Vec<Fork> {
    let threads = (1..4).map(|n| Fork {
        flags: Some(THREAD_FLAGS),
        syscall: Some(Nanos(22 * US)),
        ..fork(
            100,
            BirthKind::Thread,
            (3_000, "worker"),
            (3_000, 3_000 + n, "worker"),
        )
    });
    let snapshot = Fork {
        syscall: Some(Nanos(12_400 * US)),
        cross_cpu: Some(true),
        parent_rss_bytes: Some(512 * MIB),
        parent_page_table_bytes: Some(1_126 * KIB),
        parent_mappings: Some(212),
        cow_faults: Some(CowFaults {
            parent: 3_200,
            child: 10,
        }),
        lifetime: Some(Nanos(2_100 * MS)),
        exit: Some(exit(5_300)),
        ..fork(
            3_200,
            BirthKind::Fork,
            (1_234, "redis-server"),
            (1_300, 1_300, "redis-server"),
        )
    };
    let io = Fork {
        syscall: None,
        flags: None,
        ..fork(
            3_900,
            BirthKind::Worker,
            (1_234, "redis-server"),
            (1_234, 1_240, "iou-wrk-1234"),
        )
    };
    let shell = Fork {
        flags: Some(VFORK_FLAGS),
        syscall: Some(Nanos(850 * US)),
        fork_to_exec: Some(Nanos(600 * US)),
        exit: Some(exit(4_901)),
        ..fork(
            4_000,
            BirthKind::Vfork,
            (2_000, "make"),
            (2_001, 2_001, "sh"),
        )
    };
    let compiler = Fork {
        syscall: Some(Nanos(310 * US)),
        fork_to_exec: Some(Nanos(MS)),
        parent_rss_bytes: Some(2 * MIB),
        parent_page_table_bytes: Some(44 * KIB),
        parent_mappings: Some(22),
        cow_faults: Some(CowFaults {
            parent: 24,
            child: 61,
        }),
        exit: Some(exit(4_900)),
        ..fork(4_005, BirthKind::Fork, (2_001, "sh"), (2_002, 2_002, "cc1"))
    };
    threads.chain([snapshot, io, shell, compiler]).collect()
}

fn fork(
    at_ms: u64,
    kind: BirthKind,
    (parent, parent_comm): (u32, &str),
    (child_pid, child_tid, child_comm): (u32, u32, &str),
) -> Fork {
    Fork {
        at_ns: at(at_ms),
        kind,
        flags: Some(FORK_FLAGS),
        parent: Creator {
            pid: parent,
            tid: parent,
            comm: Comm::from(parent_comm),
        },
        child_pid,
        child_tid,
        child_comm: Comm::from(child_comm),
        syscall: None,
        fork_to_run: Some(Nanos(95 * US)),
        wake: Some(Nanos(5 * US)),
        wait: Some(Nanos(90 * US)),
        cross_cpu: Some(false),
        fork_to_exec: None,
        parent_rss_bytes: None,
        parent_page_table_bytes: None,
        parent_mappings: None,
        cow_faults: None,
        lifetime: None,
        exit: None,
    }
}

fn exec(at_ms: u64, pid: u32, before: &str, after: &str) -> Exec {
    Exec {
        at_ns: at(at_ms),
        pid,
        tid: pid,
        comm_before: Comm::from(before),
        comm_after: Comm::from(after),
        syscall: Some(Nanos(400 * US)),
    }
}

fn ended(at_ms: u64, pid: u32, comm: &str, reaped_after: Option<u64>) -> Ended {
    Ended {
        at_ns: at(at_ms),
        pid,
        tid: pid,
        comm: Comm::from(comm),
        code: 0,
        signal: 0,
        reaped_after: reaped_after.map(Nanos),
        teardown: Some(Nanos(70 * US)),
    }
}

/// `syscall` and `first_run` are sums.
pub fn cost(
    kind: BirthKind,
    comm: &str,
    count: u64,
    syscall: Option<u64>,
    first_run: u64,
) -> ForkCost {
    let dist = |sum| match count {
        1 => one(Nanos(sum)),
        _ => dist(count, Nanos(sum)),
    };
    ForkCost {
        kind,
        comm: Comm::from(comm),
        count,
        syscall: syscall.map(dist),
        first_run: Some(dist(first_run)),
        per_gib: None,
    }
}

fn one(length: Nanos) -> Dist {
    Dist {
        count: 1,
        clipped: 0,
        sum: length,
        values: Some(DistValues {
            min: length,
            p50: length,
            p90: length,
            p99: length,
            p999: length,
            max: length,
            max_at: Nanos(4_321_000_000),
        }),
    }
}

fn crash(pid: u32, comm: &str, signal: u8, threads: u64) -> Crash {
    Crash {
        at_ns: at(1_200),
        pid,
        comm: Comm::from(comm),
        signal,
        core_dumped: true,
        threads,
    }
}

/// Its `subtree` is for [`add_up`].
pub fn branch(depth: u32, pid: u32, comm: &str, run: u64, births: u64) -> Branch {
    Branch {
        depth,
        pid,
        comm: Comm::from(comm),
        own: BranchCosts {
            processes: 1,
            threads: 1,
            run: Nanos(run),
            wait: Nanos(run / 10),
            births,
            execs: 0,
            creation: Some(Nanos(births * 200 * US)),
        },
        ..Branch::default()
    }
}

/// Parents and sums.
pub fn add_up(tree: &mut [Branch]) {
    let mut above: Vec<u32> = Vec::new();
    for branch in tree.iter_mut() {
        above.truncate(branch.depth as usize);
        branch.ppid = above.last().copied().unwrap_or(1);
        above.push(branch.pid);
        branch.subtree = branch.own;
    }
    // Below each depth, what has not found its parent yet.
    let mut below: Vec<Vec<BranchCosts>> = Vec::new();
    for branch in tree.iter_mut().rev() {
        let depth = branch.depth as usize;
        below.resize_with(below.len().max(depth + 2), Vec::new);
        for part in std::mem::take(&mut below[depth + 1]) {
            add(&mut branch.subtree, &part);
        }
        below[depth].push(branch.subtree);
    }
}

fn add(sum: &mut BranchCosts, part: &BranchCosts) {
    sum.processes += part.processes;
    sum.threads += part.threads;
    sum.run += part.run;
    sum.wait += part.wait;
    sum.births += part.births;
    sum.execs += part.execs;
    sum.creation = sum.creation.zip(part.creation).map(|(a, b)| a + b);
}

/// A process with memory, as it is read at the end.
pub fn with_memory(process: Process, mib: u64) -> Process {
    Process {
        memory: Some(ProcessMemory {
            source: MemorySource::Procfs,
            rss_bytes: mib * MIB,
            pss_bytes: Some(mib * MIB / 2),
            page_table_bytes: Some(mib * 2 * KIB + 20 * KIB),
            peak_rss_bytes: Some(mib * MIB * 3 / 2),
        }),
        ..process
    }
}

fn redis() -> Process {
    let mut threads: Vec<Thread> = (1_234..1_238).map(|tid| row(tid, "redis-server")).collect();
    for (number, thread) in (1..).zip(&mut threads) {
        thread.memory = Some(ThreadMemory {
            kernel_stack_bytes: Some(16 * KIB),
            user_stack_bytes: Some(number * 12 * KIB),
        });
    }
    with_memory(process(1_234, threads), 512)
}

fn worker() -> Process {
    let mut worker = process(3_000, vec![row(3_000, "worker")]);
    worker.threads[0].exit = Some(killed(1_200));
    worker.memory = Some(ProcessMemory {
        source: MemorySource::Exit,
        rss_bytes: 84 * MIB,
        pss_bytes: None,
        page_table_bytes: Some(300 * KIB),
        peak_rss_bytes: Some(120 * MIB),
    });
    worker
}

fn row(tid: u32, name: &str) -> Thread {
    thread(tid, name, [600 * MS, MS, 4_000 * MS, 0], [40, 4])
}

fn exit(at_ms: u64) -> Exit {
    Exit {
        at_ns: at(at_ms),
        code: 0,
        signal: 0,
    }
}

fn killed(at_ms: u64) -> Exit {
    Exit {
        signal: SEGV,
        ..exit(at_ms)
    }
}

fn at(ms: u64) -> i64 {
    (ms * MS) as i64
}
