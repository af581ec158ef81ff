//! Births, execs and ends, what they took, and the tree they make.

use std::borrow::Cow;

use serde::Serialize;

use super::rows::{Dist, Exit, dist, exit};
use crate::model::Nanos;
use crate::output::{escape, signals, words};
use crate::report;

/// Of the whole window: an interval has none.
#[derive(Serialize)]
pub struct Births<'a> {
    forks_measured: bool,
    forks_total: u64,
    execs_total: u64,
    exits_total: u64,
    forks: Vec<Fork<'a>>,
    execs: Vec<Exec<'a>>,
    exits: Vec<Ended<'a>>,
    fork_costs: Vec<ForkCost<'a>>,
    crashes: Vec<Crash<'a>>,
    process_tree: Vec<Branch<'a>>,
}

pub fn births(births: &report::Births) -> Births<'_> {
    Births {
        forks_measured: births.syscalls,
        forks_total: births.forks_total,
        execs_total: births.execs_total,
        exits_total: births.exits_total,
        forks: births.forks.iter().map(fork).collect(),
        execs: births.execs.iter().map(exec).collect(),
        exits: births.exits.iter().map(ended).collect(),
        fork_costs: births.costs.iter().map(fork_cost).collect(),
        crashes: births.crashes.iter().map(crash).collect(),
        process_tree: births.tree.iter().map(branch).collect(),
    }
}

#[derive(Serialize)]
struct Named<'a> {
    pid: u32,
    tid: u32,
    comm: Cow<'a, str>,
}

#[derive(Serialize)]
struct Fork<'a> {
    at_ns: i64,
    kind: &'static str,
    flags: Option<u64>,
    parent: Named<'a>,
    child: Named<'a>,
    syscall_ns: Option<u64>,
    fork_to_run_ns: Option<u64>,
    wake_ns: Option<u64>,
    wait_ns: Option<u64>,
    cross_cpu: Option<bool>,
    fork_to_exec_ns: Option<u64>,
    parent_rss_bytes: Option<u64>,
    parent_page_table_bytes: Option<u64>,
    parent_mappings: Option<u64>,
    cow_faults: Option<CowFaults>,
    lifetime_ns: Option<u64>,
    exit: Option<Exit>,
}

#[derive(Serialize)]
struct CowFaults {
    parent: u64,
    child: u64,
}

fn fork(fork: &report::Fork) -> Fork<'_> {
    Fork {
        at_ns: fork.at_ns,
        kind: words::birth(fork.kind),
        flags: fork.flags,
        parent: Named {
            pid: fork.parent.pid,
            tid: fork.parent.tid,
            comm: escape::json(fork.parent.comm.bytes()),
        },
        child: Named {
            pid: fork.child_pid,
            tid: fork.child_tid,
            comm: escape::json(fork.child_comm.bytes()),
        },
        syscall_ns: known(fork.syscall),
        fork_to_run_ns: known(fork.fork_to_run),
        wake_ns: known(fork.wake),
        wait_ns: known(fork.wait),
        cross_cpu: fork.cross_cpu,
        fork_to_exec_ns: known(fork.fork_to_exec),
        parent_rss_bytes: fork.parent_rss_bytes,
        parent_page_table_bytes: fork.parent_page_table_bytes,
        parent_mappings: fork.parent_mappings,
        cow_faults: fork.cow_faults.map(|faults| CowFaults {
            parent: faults.parent,
            child: faults.child,
        }),
        lifetime_ns: known(fork.lifetime),
        exit: fork.exit.map(exit),
    }
}

#[derive(Serialize)]
struct Exec<'a> {
    at_ns: i64,
    pid: u32,
    tid: u32,
    comm_before: Cow<'a, str>,
    comm_after: Cow<'a, str>,
    syscall_ns: Option<u64>,
}

fn exec(exec: &report::Exec) -> Exec<'_> {
    Exec {
        at_ns: exec.at_ns,
        pid: exec.pid,
        tid: exec.tid,
        comm_before: escape::json(exec.comm_before.bytes()),
        comm_after: escape::json(exec.comm_after.bytes()),
        syscall_ns: known(exec.syscall),
    }
}

#[derive(Serialize)]
struct Ended<'a> {
    at_ns: i64,
    pid: u32,
    tid: u32,
    comm: Cow<'a, str>,
    code: u8,
    signal: u8,
    reaped_after_ns: Option<u64>,
    teardown_ns: Option<u64>,
}

fn ended(ended: &report::Ended) -> Ended<'_> {
    Ended {
        at_ns: ended.at_ns,
        pid: ended.pid,
        tid: ended.tid,
        comm: escape::json(ended.comm.bytes()),
        code: ended.code,
        signal: ended.signal,
        reaped_after_ns: known(ended.reaped_after),
        teardown_ns: known(ended.teardown),
    }
}

#[derive(Serialize)]
struct ForkCost<'a> {
    kind: &'static str,
    comm: Cow<'a, str>,
    count: u64,
    syscall: Option<Dist>,
    first_run: Option<Dist>,
    ns_per_gib: Option<f64>,
    ns_per_gib_error: Option<f64>,
}

fn fork_cost(cost: &report::ForkCost) -> ForkCost<'_> {
    ForkCost {
        kind: words::birth(cost.kind),
        comm: escape::json(cost.comm.bytes()),
        count: cost.count,
        syscall: cost.syscall.as_ref().map(dist),
        first_run: cost.first_run.as_ref().map(dist),
        ns_per_gib: cost.per_gib.map(|per_gib| per_gib.ns),
        ns_per_gib_error: cost.per_gib.map(|per_gib| per_gib.error),
    }
}

#[derive(Serialize)]
struct Crash<'a> {
    at_ns: i64,
    pid: u32,
    comm: Cow<'a, str>,
    signal: u8,
    signal_name: Cow<'static, str>,
    core_dumped: bool,
    threads: u64,
}

fn crash(crash: &report::Crash) -> Crash<'_> {
    Crash {
        at_ns: crash.at_ns,
        pid: crash.pid,
        comm: escape::json(crash.comm.bytes()),
        signal: crash.signal,
        signal_name: signals::name(crash.signal),
        core_dumped: crash.core_dumped,
        threads: crash.threads,
    }
}

#[derive(Serialize)]
struct Branch<'a> {
    depth: u32,
    pid: u32,
    ppid: u32,
    comm: Cow<'a, str>,
    exit: Option<Exit>,
    own: BranchCosts,
    folded: BranchCosts,
    subtree: BranchCosts,
}

#[derive(Serialize)]
struct BranchCosts {
    processes: u64,
    threads: u64,
    run_ns: u64,
    wait_ns: u64,
    births: u64,
    execs: u64,
    creation_ns: Option<u64>,
}

fn branch(branch: &report::Branch) -> Branch<'_> {
    let costs = |costs: &report::BranchCosts| BranchCosts {
        processes: costs.processes,
        threads: costs.threads,
        run_ns: costs.run.0,
        wait_ns: costs.wait.0,
        births: costs.births,
        execs: costs.execs,
        creation_ns: known(costs.creation),
    };
    Branch {
        depth: branch.depth,
        pid: branch.pid,
        ppid: branch.ppid,
        comm: escape::json(branch.comm.bytes()),
        exit: branch.exit.map(exit),
        own: costs(&branch.own),
        folded: costs(&branch.folded),
        subtree: costs(&branch.subtree),
    }
}

fn known(nanos: Option<Nanos>) -> Option<u64> {
    nanos.map(|nanos| nanos.0)
}
