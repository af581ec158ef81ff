//! Rows and sums as the report has them.

use rustc_hash::FxHashMap;

use super::{
    Births,
    made::{Below, Deeds},
    rows::{ExecRow, ExitRow, ForkRow},
    tree::{self, Node},
};
use crate::{
    engine::{Engine, tasks::ProcessId},
    model::{BirthKind, Timestamp},
    report::{self, Branch, BranchCosts, Crash, Ended, Exec, Exit, Fork, Process},
    summary::offset,
};

impl Births {
    /// `rows` are all processes of the report.
    pub fn report(&self, engine: &Engine, rows: &[(ProcessId, Process)]) -> report::Births {
        let tasks = engine.tasks();
        let crashes = self.crashes.all(|id| tasks.process(id).has_ended());
        report::Births {
            syscalls: self.calls,
            forks_total: self.forks.total(),
            execs_total: self.execs.total(),
            exits_total: self.exits.total(),
            forks: self
                .forks
                .all()
                .into_iter()
                .map(|row| self.fork(row, engine))
                .collect(),
            execs: self
                .execs
                .all()
                .into_iter()
                .map(|row| self.exec(row))
                .collect(),
            exits: self
                .exits
                .all()
                .into_iter()
                .map(|row| self.ended(row))
                .collect(),
            costs: self.costs.report(self.from, self.calls),
            crashes: crashes
                .into_iter()
                .map(|crash| Crash {
                    at_ns: offset(crash.at, self.from),
                    pid: crash.pid,
                    comm: crash.comm,
                    signal: crash.signal(),
                    core_dumped: crash.dumped(),
                    threads: crash.threads,
                })
                .collect(),
            tree: self.tree(engine, rows),
        }
    }

    fn fork(&self, row: &ForkRow, engine: &Engine) -> Fork {
        let mut row = row.clone();
        if let Some(who) = row.slot.and_then(|slot| engine.tasks().get(slot)) {
            row.remember(who);
        }
        let inside = |at: &Timestamp| *at <= self.to;
        let memory = row.memory;
        let bytes = |pages: u64| pages.saturating_mul(self.page_bytes);
        // Without a fork nothing is shared.
        let copied = !row.birth.shares_memory() && row.kind != Some(BirthKind::Worker);
        Fork {
            at_ns: offset(row.at, self.from),
            kind: row.kind.unwrap_or(BirthKind::Worker),
            flags: Some(row.birth.clone_flags),
            parent: row.parent,
            child_pid: row.child_pid,
            child_tid: row.child_tid,
            child_comm: row.child_comm,
            syscall: row.syscall,
            fork_to_run: row.ran.map(|(ran, _)| ran.since(row.at)),
            wake: row.queued.map(|queued| queued.since(row.at)),
            wait: row
                .queued
                .zip(row.ran)
                .map(|(queued, (ran, _))| ran.since(queued)),
            cross_cpu: row.ran.map(|(_, cpu)| cpu != row.parent_cpu),
            fork_to_exec: row.exec_at.map(|exec| exec.since(row.at)),
            parent_rss_bytes: memory.map(|memory| bytes(memory.resident_pages)),
            parent_page_table_bytes: memory.map(|memory| memory.page_table_bytes),
            parent_mappings: memory.map(|memory| memory.mappings.into()),
            cow_faults: (self.cow && copied).then_some(row.cow),
            lifetime: row
                .died
                .filter(inside)
                .zip(row.queued)
                .map(|(died, queued)| died.since(queued)),
            exit: row
                .exit
                .filter(|_| row.died.as_ref().is_some_and(inside))
                .map(|(at, status)| self.exit(at, status)),
        }
    }

    fn exit(&self, at: Timestamp, status: u32) -> Exit {
        Exit {
            at_ns: offset(at, self.from),
            code: (status >> 8) as u8,
            signal: (status & 0x7f) as u8,
        }
    }

    fn exec(&self, row: &ExecRow) -> Exec {
        Exec {
            at_ns: offset(row.at, self.from),
            pid: row.pid,
            tid: row.tid,
            comm_before: row.before,
            comm_after: row.after,
            syscall: row.syscall,
        }
    }

    fn ended(&self, row: &ExitRow) -> Ended {
        let Exit {
            at_ns,
            code,
            signal,
        } = self.exit(row.at, row.status);
        Ended {
            at_ns,
            pid: row.pid,
            tid: row.tid,
            comm: row.comm,
            code,
            signal,
            reaped_after: row.reaped.map(|reaped| reaped.since(row.at)),
            teardown: row.torn_down.map(|torn| torn.since(row.at)),
        }
    }

    fn tree(&self, engine: &Engine, rows: &[(ProcessId, Process)]) -> Vec<Branch> {
        let places: FxHashMap<ProcessId, usize> = (0..)
            .zip(rows)
            .map(|(place, (id, _))| (*id, place))
            .collect();
        let nodes = rows.iter().map(|(id, process)| {
            let parent = engine.tasks().parent(*id);
            Node {
                parent: parent.and_then(|parent| places.get(&parent).copied()),
                branch: Branch {
                    depth: 0,
                    pid: process.pid,
                    ppid: process.ppid,
                    comm: process.comm,
                    exit: process
                        .threads
                        .iter()
                        .find(|thread| thread.tid == process.pid)
                        .and_then(|leader| leader.exit),
                    own: BranchCosts {
                        processes: 1,
                        threads: process.threads.len() as u64 + process.folded.threads,
                        run: process.totals.run,
                        wait: process.totals.wait,
                        ..self.deeds(self.made.own(*id))
                    },
                    folded: self.below(self.made.below(*id)),
                    subtree: BranchCosts::default(),
                },
            }
        });
        tree::grow(nodes.collect())
    }

    fn deeds(&self, deeds: Deeds) -> BranchCosts {
        BranchCosts {
            births: deeds.births,
            execs: deeds.execs,
            creation: self.calls.then_some(deeds.creation),
            ..BranchCosts::default()
        }
    }

    fn below(&self, below: Below) -> BranchCosts {
        BranchCosts {
            processes: below.processes,
            threads: below.threads,
            run: below.run,
            wait: below.wait,
            ..self.deeds(below.deeds)
        }
    }
}
