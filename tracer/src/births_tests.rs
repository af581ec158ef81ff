//! Short lives, told record by record.

use tracer_common::{
    counters::Cow,
    record::{self, Header, call, kind, memory_flags, switch_flags, thread_flags},
};

use super::*;
use crate::{
    audit::Tolerance,
    engine::tests::bytes::{Bytes, bytes_of},
    model::Nanos,
    pipeline::{Pipeline, Replay, Settings},
    report::{CowFaults, Fork, MemorySource},
    summary::Outside,
    target::Target,
};

const BEGAN: u64 = 1_000_000;
const SIGCHLD: u64 = 17;
const VFORK: u64 = 0x4111;
const THREAD: u64 = 0x003d_0f00;
const PAGE: u64 = 4096;

/// A machine with two CPUs, on which nothing happens that is not told here.
struct Life {
    pipeline: Pipeline,
    at: u64,
    /// Who is on each CPU, by tid.
    on: [u32; 2],
}

/// A thread's key is its tid.
impl Life {
    fn new(target: Target, keep: usize) -> Life {
        let facts = Facts {
            cpus: vec![Cpu(0), Cpu(1)],
            page_bytes: PAGE,
            calls: true,
            cow: true,
            narrow: !target.is_whole_system(),
            ..Facts::default()
        };
        let pipeline = Pipeline::new(Settings {
            facts,
            target,
            tolerance: Tolerance {
                tick: Nanos(4_000_000),
            },
            max_threads: 100,
            max_forks: keep,
            intervals: false,
            slower: None,
            replay: Replay::default(),
        });
        Life {
            pipeline,
            at: 0,
            on: [0; 2],
        }
    }

    fn whole() -> Life {
        let mut life = Life::new(Target::default(), 100);
        life.seen(10, 10, 1, "parent");
        life.begin();
        life
    }

    fn begin(&mut self) {
        self.at = BEGAN;
        let edge = self.header::<Header>(kind::WINDOW_BEGIN, 0, 0);
        self.tell(&edge);
    }

    fn header<T>(&self, kind: u16, cpu: u16, flags: u16) -> Header {
        Header {
            at_ns: self.at,
            kind,
            len: size_of::<T>() as u16,
            cpu,
            flags,
        }
    }

    fn tell(&mut self, record: &impl Bytes) {
        self.pipeline.push(&bytes_of(record));
        self.pipeline.advance(Timestamp(self.at));
    }

    /// So many nanoseconds after the window began.
    fn at(&mut self, after: u64) -> &mut Life {
        self.at = BEGAN + after;
        self
    }

    fn thread(&self, kind: u16, tid: u32, tgid: u32, ppid: u32, flags: u16) -> record::Thread {
        record::Thread {
            header: self.header::<record::Thread>(kind, 0, flags),
            task: tid.into(),
            tid,
            tgid,
            ppid,
            start_ns: self.at,
            static_prio: 120,
            ..record::Thread::default()
        }
    }

    fn seen(&mut self, tid: u32, tgid: u32, ppid: u32, comm: &str) {
        let mut thread = self.thread(kind::THREAD, tid, tgid, ppid, 0);
        thread.comm = Comm::from(comm).0;
        thread.state = 1;
        self.tell(&thread);
    }

    /// `parent` has made `tid`, at the present time.
    fn newtask(&mut self, parent: u32, (tid, tgid): (u32, u32), clone_flags: u64, flags: u16) {
        let mut thread = self.thread(
            kind::NEWTASK,
            tid,
            tgid,
            parent,
            flags | thread_flags::UNBORN,
        );
        thread.clone_flags = clone_flags;
        thread.parent = parent.into();
        thread.parent_tid = parent;
        thread.comm = Comm::from("parent").0;
        self.tell(&thread);
    }

    fn forked(&mut self, parent: u32, child: u32, rss_pages: u64) {
        let record = record::Fork {
            header: self.header::<record::Fork>(kind::FORK, 0, memory_flags::MEMORY),
            parent: parent.into(),
            child: child.into(),
            parent_tid: parent,
            child_tid: child,
            rss_pages,
            page_table_bytes: 8 * rss_pages,
            mappings: 20,
            reserved: 0,
        };
        self.tell(&record);
    }

    fn queued(&mut self, tid: u32, cpu: u32) {
        let record = record::WakeupNew {
            header: self.header::<record::WakeupNew>(kind::WAKEUP_NEW, 0, 0),
            task: tid.into(),
            tid,
            target_cpu: cpu,
            rq_clock_ns: self.at,
        };
        self.tell(&record);
    }

    fn switch(&mut self, cpu: u16, next: u32, prev_state: u32) {
        let prev = std::mem::replace(&mut self.on[usize::from(cpu)], next);
        let record = record::Switch {
            header: self.header::<record::Switch>(
                kind::SWITCH,
                cpu,
                if prev_state == 0 {
                    switch_flags::RUNNABLE
                } else {
                    0
                },
            ),
            prev: prev.into(),
            next: next.into(),
            prev_tid: prev,
            next_tid: next,
            prev_state,
            rq_clock_ns: self.at,
            ..record::Switch::default()
        };
        self.tell(&record);
    }

    fn called(&mut self, tid: u32, what: u16, entered: u64, child: u32, pid: u32) {
        let record = record::Called {
            header: self.header::<record::Called>(kind::CALLED, 0, what),
            task: tid.into(),
            tid,
            pid,
            entered_ns: BEGAN + entered,
            child: child.into(),
            child_tid: child,
            reserved: 0,
        };
        self.tell(&record);
    }

    fn exec(&mut self, tid: u32, comm: &str) {
        let comm = Comm::from(comm).0;
        let rename = record::Rename {
            header: self.header::<record::Rename>(kind::RENAME, 0, 0),
            task: tid.into(),
            tid,
            reserved: 0,
            comm,
        };
        self.tell(&rename);
        let exec = record::Exec {
            header: self.header::<record::Exec>(kind::EXEC, 0, 0),
            task: tid.into(),
            tid,
            old_tid: tid,
            comm,
        };
        self.tell(&exec);
    }

    fn exits(&mut self, tid: u32, comm: &str, exit_code: u32) {
        let record = record::Exit {
            header: self.header::<record::Exit>(kind::EXIT, 0, memory_flags::MEMORY),
            task: tid.into(),
            tid,
            exit_code,
            static_prio: 120,
            comm: Comm::from(comm).0,
            rss_pages: 7,
            peak_pages: 5,
            page_table_bytes: 9,
            ..record::Exit::default()
        };
        self.tell(&record);
    }

    fn gave_back(&mut self, tid: u32) {
        let record = record::Teardown {
            header: self.header::<record::Teardown>(kind::TEARDOWN, 1, 0),
            task: tid.into(),
            tid,
            reserved: 0,
        };
        self.tell(&record);
    }

    fn cow(&mut self, pid: u32, child: u32, since: u64, faults: u64) {
        let record = record::Cow {
            header: self.header::<record::Cow>(kind::COW, 0, 0),
            cow: Cow {
                pid,
                child,
                since_ns: BEGAN + since,
                faults,
            },
        };
        self.tell(&record);
    }

    /// A process that is made, runs on CPU 1 and ends, and its parent waits for it: within 1,000 ns.
    fn short(&mut self, parent: u32, child: u32, rss_pages: u64) {
        let from = self.at - BEGAN;
        self.newtask(parent, (child, child), SIGCHLD, 0);
        self.forked(parent, child, rss_pages);
        self.at(from + 10).queued(child, 1);
        self.at(from + 20).switch(1, child, 0x402);
        self.at(from + 30)
            .called(parent, call::CREATE, from, child, child);
        self.at(from + 500).exits(child, "child", 0);
        self.at(from + 600).switch(1, 0, 0x80);
        self.at(from + 700).called(parent, call::WAIT, 0, 0, child);
    }

    fn end(&mut self) -> report::Report {
        let end = self.at + 1_000;
        self.pipeline.finish(Timestamp(end), &Outside::default())
    }

    fn births(&mut self) -> report::Births {
        self.end().births.expect("of the whole window")
    }
}

#[test]
fn a_fork_from_its_call_to_its_end() {
    let mut life = Life::whole();
    life.at(2_000).newtask(10, (11, 11), SIGCHLD, 0);
    life.forked(10, 11, 1_000);
    life.at(2_100).queued(11, 1);
    life.at(2_500).switch(1, 11, 0x402);
    life.at(3_000).called(10, call::CREATE, 1_500, 11, 11);
    life.at(3_500).cow(10, 11, 2_000, 3);
    life.at(3_600).cow(10, 11, 2_000, 40);
    life.at(3_700).cow(11, 11, 2_000, 5);
    // Of another fork.
    life.at(3_800).cow(10, 11, 1_999, 999);
    life.at(4_000).exec(11, "tool");
    life.at(4_200).called(11, call::EXEC, 3_900, 0, 0);
    life.at(9_000).exits(11, "tool", 0x0300);
    life.at(9_050).gave_back(11);
    life.at(9_100).switch(1, 0, 0x80);
    life.at(9_500).called(10, call::WAIT, 0, 0, 11);
    let births = life.births();
    assert_eq!(
        births.forks,
        [Fork {
            at_ns: 2_000,
            kind: BirthKind::Fork,
            flags: Some(SIGCHLD),
            parent: report::Creator {
                pid: 10,
                tid: 10,
                comm: "parent".into()
            },
            child_pid: 11,
            child_tid: 11,
            child_comm: "tool".into(),
            syscall: Some(Nanos(1_500)),
            fork_to_run: Some(Nanos(500)),
            wake: Some(Nanos(100)),
            wait: Some(Nanos(400)),
            cross_cpu: Some(true),
            fork_to_exec: Some(Nanos(2_000)),
            parent_rss_bytes: Some(1_000 * PAGE),
            parent_page_table_bytes: Some(8_000),
            parent_mappings: Some(20),
            cow_faults: Some(CowFaults {
                parent: 40,
                child: 5
            }),
            lifetime: Some(Nanos(7_000)),
            exit: Some(report::Exit {
                at_ns: 9_000,
                code: 3,
                signal: 0
            }),
        }]
    );
    let [exec] = births.execs.as_slice() else {
        panic!("{:?}", births.execs)
    };
    assert_eq!(
        (exec.comm_before, exec.comm_after, exec.syscall),
        ("parent".into(), "tool".into(), Some(Nanos(300)))
    );
    let [ended] = births.exits.as_slice() else {
        panic!("{:?}", births.exits)
    };
    assert_eq!(
        (ended.code, ended.reaped_after, ended.teardown),
        (3, Some(Nanos(500)), Some(Nanos(50)))
    );
    let [cost] = births.costs.as_slice() else {
        panic!("{:?}", births.costs)
    };
    assert_eq!((cost.kind, cost.count), (BirthKind::Fork, 1));
    assert_eq!(cost.syscall.map(|dist| dist.sum), Some(Nanos(1_500)));
    assert_eq!(cost.first_run.map(|dist| dist.sum), Some(Nanos(500)));
    assert_eq!(cost.per_gib, None, "one point is no line");
    assert!(births.crashes.is_empty());
    let tree: Vec<(u32, u32, u64)> = births
        .tree
        .iter()
        .map(|branch| (branch.depth, branch.pid, branch.own.births))
        .collect();
    assert_eq!(tree, [(0, 10, 1), (1, 11, 0)]);
    assert_eq!(births.tree[0].subtree.execs, 1);
    assert_eq!(births.tree[0].subtree.creation, Some(Nanos(1_500)));
}

#[test]
fn kinds_go_by_flags_and_by_who_asked() {
    let mut life = Life::whole();
    for (tid, tgid, flags) in [(11, 11, SIGCHLD), (12, 12, VFORK), (13, 10, THREAD)] {
        life.at(u64::from(tid)).newtask(10, (tid, tgid), flags, 0);
        life.forked(10, tid, 1);
    }
    // No system call asked for these.
    life.at(100)
        .newtask(10, (14, 10), THREAD, thread_flags::IO_WORKER);
    life.at(101).newtask(10, (15, 10), THREAD, 0);
    life.at(102).queued(15, 0);
    life.at(103).switch(0, 15, 0x402);
    let births = life.births();
    let kinds: Vec<(u32, BirthKind)> = births
        .forks
        .iter()
        .map(|fork| (fork.child_tid, fork.kind))
        .collect();
    assert_eq!(
        kinds,
        [
            (11, BirthKind::Fork),
            (12, BirthKind::Vfork),
            (13, BirthKind::Thread),
            (14, BirthKind::Worker),
            (15, BirthKind::Worker)
        ]
    );
    let counts = births.costs.iter().map(|cost| cost.count).sum::<u64>();
    assert_eq!(counts, 5);
    let shared = |fork: &Fork| (fork.kind != BirthKind::Fork, fork.cow_faults.is_none());
    assert!(births.forks.iter().map(shared).all(|(is, none)| is == none));
}

#[test]
fn a_birth_of_which_nothing_else_is_told_counts_all_the_same() {
    let mut life = Life::whole();
    life.at(10).newtask(10, (11, 11), SIGCHLD, 0);
    // The same tid again, and nothing was told of who had it before.
    life.at(20).newtask(10, (11, 11), SIGCHLD, 0);
    let births = life.births();
    let counted: u64 = births.costs.iter().map(|cost| cost.count).sum();
    assert_eq!((births.forks_total, counted), (2, 2));
}

#[test]
fn a_tid_and_a_slot_that_are_used_again_keep_births_apart() {
    let mut life = Life::new(Target::default(), 1_000);
    life.seen(10, 10, 1, "parent");
    life.begin();
    let short = |life: &mut Life, step: u64, tid: u32| life.at(10_000 * step).short(10, tid, 1);
    short(&mut life, 1, 11);
    short(&mut life, 2, 11);
    life.at(25_000).newtask(10, (11, 11), SIGCHLD, 0);
    life.forked(10, 11, 1);
    life.at(25_010).queued(11, 1);
    // So many that the first are folded, and their slots are others'.
    for number in 0..200 {
        short(&mut life, 10 + number, 1_000 + number as u32);
    }
    let births = life.births();
    let told: Vec<_> = births
        .forks
        .iter()
        .filter(|fork| fork.child_tid == 11)
        .map(|fork| (fork.at_ns, fork.lifetime, fork.exit.map(|exit| exit.at_ns)))
        .collect();
    assert_eq!(
        told,
        [
            (10_000, Some(Nanos(590)), Some(10_500)),
            (20_000, Some(Nanos(590)), Some(20_500)),
            (25_000, None, None),
        ]
    );
}

#[test]
fn a_stall_grows_with_memory() {
    let mut life = Life::whole();
    // 100 ns, and 1,000 for each 64 MiB.
    for step in 0..20_u64 {
        let child = 100 + step as u32;
        let from = 10_000 * step;
        life.at(from).newtask(10, (child, child), SIGCHLD, 0);
        life.forked(10, child, step * (64 << 20) / PAGE);
        life.at(from + 100 + 1_000 * step)
            .called(10, call::CREATE, from, child, child);
    }
    let births = life.births();
    let line = births.costs[0].per_gib.expect("twenty points");
    assert!((line.ns - 16_000.0).abs() < 1.0, "{line:?}");
    assert!(line.error < 1.0, "{line:?}");
}

#[test]
fn the_pid_of_a_child_may_be_another_one_to_its_parent() {
    let mut life = Life::whole();
    life.at(100).newtask(10, (500, 500), SIGCHLD, 0);
    life.forked(10, 500, 1);
    // In its namespace it is 7, and there is a 7 elsewhere.
    life.at(110).called(10, call::CREATE, 90, 500, 7);
    life.at(120).newtask(10, (7, 7), SIGCHLD, 0);
    life.forked(10, 7, 1);
    life.at(130).called(10, call::CREATE, 115, 7, 3);
    life.at(200).exits(500, "child", 0);
    life.at(210).exits(7, "child", 0);
    life.at(300).called(10, call::WAIT, 0, 0, 7);
    let births = life.births();
    let reaped: Vec<(u32, Option<Nanos>)> = births
        .exits
        .iter()
        .map(|ended| (ended.tid, ended.reaped_after))
        .collect();
    assert_eq!(reaped, [(500, Some(Nanos(100))), (7, None)]);
}

#[test]
fn who_is_waited_for_by_another_than_its_parent_is_not_reaped() {
    let mut life = Life::whole();
    life.seen(20, 20, 1, "stranger");
    life.at(10).short(10, 11, 1);
    life.at(2_000).newtask(10, (12, 12), SIGCHLD, 0);
    life.forked(10, 12, 1);
    life.at(2_100).exits(12, "child", 0);
    life.at(2_200).called(20, call::WAIT, 0, 0, 12);
    let births = life.births();
    let reaped: Vec<Option<Nanos>> = births.exits.iter().map(|end| end.reaped_after).collect();
    assert_eq!(reaped, [Some(Nanos(200)), None]);
}

#[test]
fn a_signal_that_ends_a_process_ends_all_its_threads() {
    let mut life = Life::whole();
    life.at(10).newtask(10, (11, 11), SIGCHLD, 0);
    life.forked(10, 11, 1);
    life.at(20).queued(11, 1);
    life.at(30).switch(1, 11, 0x402);
    for tid in [12, 13] {
        life.at(30 + u64::from(tid))
            .newtask(11, (tid, 11), THREAD, 0);
        life.forked(11, tid, 1);
    }
    for tid in [12, 13] {
        life.at(50 + u64::from(tid)).queued(tid, 0);
        life.at(70 + u64::from(tid))
            .switch(0, tid, if tid == 12 { 0x402 } else { 0 });
    }
    // Its siblings are killed, and it goes on: exec does that.
    life.at(100).exits(12, "worker", 9);
    life.at(101).exec(11, "tool");
    life.at(102).switch(0, 12, 0);
    life.at(103).switch(0, 13, 0x80);
    life.at(110).exits(11, "tool", 0x80 | 11);
    life.at(111).exits(13, "tool", 11);
    life.at(120).switch(1, 0, 0x80);
    life.at(121).switch(0, 0, 0x80);
    let births = life.births();
    let [crash] = births.crashes.as_slice() else {
        panic!("{:?}", births.crashes)
    };
    assert_eq!((crash.pid, crash.signal, crash.threads), (11, 11, 2));
    assert!(crash.core_dumped);
}

#[test]
fn of_too_many_the_dearest_are_kept_and_all_are_counted() {
    const MANY: u32 = 2_000;
    let mut life = Life::new(Target::default(), 50);
    life.seen(10, 10, 1, "parent");
    life.begin();
    for number in 0..MANY {
        life.at(10_000_000 * u64::from(number))
            .short(10, 1_000 + number, 1);
    }
    let report = life.end();
    let births = report.births.expect("of the whole window");
    assert_eq!(births.forks_total, u64::from(MANY));
    assert_eq!(births.exits_total, u64::from(MANY));
    assert_eq!(births.forks.len(), 50);
    assert_eq!(births.exits.len(), 50);
    assert_eq!(births.costs[0].count, u64::from(MANY));
    // Those that were folded are their parent's.
    let parent = &births.tree[0];
    assert_eq!((parent.pid, parent.own.births), (10, u64::from(MANY)));
    assert_eq!(parent.subtree.processes, u64::from(MANY) + 1);
    assert_eq!(parent.subtree.threads, u64::from(MANY) + 1);
    let run: Nanos = report
        .processes
        .iter()
        .map(|process| process.totals.run)
        .sum();
    assert_eq!(parent.subtree.run, run);
}

#[test]
fn what_is_not_the_targets_is_not_told() {
    let target = Target {
        pids: vec![10],
        children: false,
        ..Target::default()
    };
    let mut life = Life::new(target, 100);
    life.seen(10, 10, 1, "parent");
    life.begin();
    // A stranger's, if it ever came.
    life.at(5).newtask(99, (98, 98), SIGCHLD, 0);
    // A child that is not followed.
    life.at(10)
        .newtask(10, (11, 11), SIGCHLD, thread_flags::UNWATCHED);
    life.forked(10, 11, 1);
    life.at(20).called(10, call::CREATE, 0, 11, 11);
    let births = life.births();
    let [fork] = births.forks.as_slice() else {
        panic!("{:?}", births.forks)
    };
    assert_eq!((fork.child_tid, fork.syscall), (11, Some(Nanos(20))));
    assert_eq!(
        (fork.lifetime, fork.fork_to_run, fork.exit),
        (None, None, None)
    );
}

#[test]
fn what_an_ended_process_had_in_memory() {
    let target = Target {
        pids: vec![10],
        children: true,
        ..Target::default()
    };
    let mut life = Life::new(target, 100);
    life.seen(10, 10, 1, "parent");
    life.begin();
    life.at(10).short(10, 11, 1);
    let report = life.end();
    let memory = |pid| {
        let process = report.processes.iter().find(|process| process.pid == pid);
        process.expect("has a row").memory
    };
    let left = memory(11).expect("has ended");
    assert_eq!(left.source, MemorySource::Exit);
    assert_eq!(
        (left.rss_bytes, left.peak_rss_bytes),
        (7 * PAGE, Some(7 * PAGE))
    );
    assert_eq!((left.pss_bytes, left.page_table_bytes), (None, Some(9)));
    assert_eq!(memory(10), None, "it lives");
}

#[test]
fn births_outside_the_window_are_not_told() {
    let mut life = Life::new(Target::default(), 100);
    life.seen(10, 10, 1, "parent");
    life.at = BEGAN - 10_000;
    life.newtask(10, (11, 11), SIGCHLD, 0);
    life.forked(10, 11, 1);
    life.begin();
    life.at(100).called(10, call::CREATE, 0, 11, 11);
    let end = Timestamp(BEGAN + 500);
    life.at(500);
    let edge = life.header::<Header>(kind::WINDOW_END, 0, 0);
    life.tell(&edge);
    life.at(600).newtask(10, (12, 12), SIGCHLD, 0);
    life.forked(10, 12, 1);
    life.at(610).exits(12, "child", 0);
    let report = life.pipeline.finish(end, &Outside::default());
    let births = report.births.expect("of the whole window");
    assert_eq!((births.forks_total, births.exits_total), (0, 0));
    assert!(births.costs.is_empty(), "{:?}", births.costs);
}
