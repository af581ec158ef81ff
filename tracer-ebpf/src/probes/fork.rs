//! Hook:       tp_btf/sched_process_fork
//! Writes:     record::Fork, once per child made by a system call
//! Without it: kernel-made workers (io_uring, vhost) are not told from threads

use aya_ebpf::{macros::btf_tracepoint, programs::BtfTracePointContext};
use tracer_common::{
    counters::Probe,
    record::{Fork, kind},
};

use crate::{emit::emit, task::Task};

#[btf_tracepoint(function = "sched_process_fork")]
pub fn sched_process_fork(ctx: BtfTracePointContext) -> i32 {
    let parent = Task::new(ctx.arg(0));
    let child = Task::new(ctx.arg(1));
    emit(Probe::Fork, kind::FORK, child.tid(), |record: &mut Fork| {
        parent.write_key(&mut record.parent);
        child.write_key(&mut record.child);
        record.parent_tid = parent.tid();
        record.child_tid = child.tid();
        0
    });
    0
}
