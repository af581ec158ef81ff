//! Hook:       tp_btf/task_newtask
//! Writes:     record::Thread, once per birth, io_uring and vhost workers included
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
    emit::emit,
    history,
    settings::has,
    task::{Task, key_of_current},
    watch::{self, is_watched},
};

/// include/uapi/linux/sched.h
const CLONE_THREAD: u64 = 0x0001_0000;

#[btf_tracepoint(function = "task_newtask")]
pub fn task_newtask(ctx: BtfTracePointContext) -> i32 {
    observe(Task::new(ctx.arg(0)), ctx.arg(1));
    0
}

#[inline(always)]
pub fn observe(task: Task, clone_flags: u64) {
    let parent_tid = bpf_get_current_pid_tgid() as u32;
    let tid = task.tid();
    let inherits = has(feature::CHILDREN) || clone_flags & CLONE_THREAD != 0;
    history::forget(tid);
    watch::set(tid, inherits && is_watched(parent_tid));
    emit(Probe::Newtask, kind::NEWTASK, tid, |record: &mut Thread| {
        task.write_key(&mut record.task);
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
        (task.thread_flags() | thread_flags::UNBORN) & !thread_flags::STEAL
    });
}
