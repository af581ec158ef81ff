//! Hook:       tp_btf/task_newtask
//! Writes:     record::Thread, once per birth, io_uring and vhost workers included, and those that are
//!             not watched and a watched thread creates
//! Without it: new threads have no name and no process; preflight refuses to start

use aya_ebpf::{
    helpers::bpf_get_current_pid_tgid, macros::btf_tracepoint, programs::BtfTracePointContext,
};
use tracer_common::{
    counters::Probe,
    record::{Thread, kind, thread_flags},
    settings::feature,
};

use crate::{
    calls, cow,
    emit::{counters, now, tell},
    history,
    settings::has,
    task::{Task, key_of_current},
    watch::{self, is_watched},
};

/// include/uapi/linux/sched.h
const CLONE_VM: u64 = 0x0000_0100;
const CLONE_THREAD: u64 = 0x0001_0000;

#[btf_tracepoint(function = "task_newtask")]
pub fn task_newtask(ctx: BtfTracePointContext) -> i32 {
    observe(Task::new(ctx.arg(0)), ctx.arg(1));
    0
}

#[inline(always)]
pub fn observe(task: Task, clone_flags: u64) {
    let Some(counters) = counters(Probe::Newtask) else {
        return;
    };
    counters.events = counters.events.wrapping_add(1);
    let parent = bpf_get_current_pid_tgid();
    let parent_tid = parent as u32;
    let tid = task.tid();
    let parent_watched = is_watched(parent_tid);
    let inherits = has(feature::CHILDREN) || clone_flags & CLONE_THREAD != 0;
    history::forget(tid);
    watch::set(tid, inherits && parent_watched);
    // What is born is watched only if its parent is.
    if !parent_watched {
        return;
    }
    let at_ns = now();
    if has(feature::FORKS) && clone_flags & CLONE_VM == 0 {
        cow::begin(Probe::Newtask, (parent >> 32) as u32, tid, at_ns);
    }
    tell(
        counters,
        at_ns,
        Probe::Newtask,
        kind::NEWTASK,
        |record: &mut Thread| {
            task.write_key(&mut record.task);
            calls::created(record.task, tid);
            record.tid = tid;
            record.tgid = task.tgid();
            record.ppid = task.ppid();
            record.state = task.state();
            record.start_ns = task.start_time();
            record.nvcsw = task.nvcsw();
            record.nivcsw = task.nivcsw();
            record.run_delay_ns = task.run_delay();
            record.sum_exec_ns = task.sum_exec();
            record.cgroup_id = task.cgroup_id();
            record.clone_flags = clone_flags;
            record.parent = key_of_current();
            record.comm = task.comm();
            record.policy = task.policy();
            record.static_prio = task.static_prio();
            record.rt_priority = task.rt_priority();
            record.cpu = task.cpu();
            record.syscall = 0;
            record.steal_ns = 0;
            record.clock_lag_ns = 0;
            record.waking_ns = 0;
            record.parent_tid = parent_tid;
            let mut flags = task.thread_flags() | thread_flags::UNBORN;
            if !is_watched(tid) {
                flags |= thread_flags::UNWATCHED;
            }
            flags & !thread_flags::STEAL
        },
    );
}
