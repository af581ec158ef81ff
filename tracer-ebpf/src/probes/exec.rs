//! Hook:       tp_btf/sched_process_exec
//! Writes:     record::Exec, once per successful exec
//! Without it: a thread that took over its leader's tid is taken for another; preflight refuses

use aya_ebpf::{macros::btf_tracepoint, programs::BtfTracePointContext};
use aya_log_ebpf::debug;
use tracer_common::{
    counters::Probe,
    record::{Exec, kind},
};

use crate::{cow, emit::emit, task::Task};

#[btf_tracepoint(function = "sched_process_exec")]
pub fn sched_process_exec(ctx: BtfTracePointContext) -> i32 {
    let task = Task::new(ctx.arg(0));
    let old_tid: u32 = ctx.arg(1);
    if old_tid != task.tid() {
        debug!(
            &ctx,
            "exec by thread {}, which is now {}",
            old_tid,
            task.tid()
        );
    }
    cow::end(Probe::Exec, task.tgid());
    emit(Probe::Exec, kind::EXEC, task.tid(), |record: &mut Exec| {
        task.write_key(&mut record.task);
        record.tid = task.tid();
        record.old_tid = old_tid;
        record.comm = task.comm();
        0
    });
    0
}
