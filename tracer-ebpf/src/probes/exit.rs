//! Hook:       tp_btf/sched_process_exit
//! Writes:     record::Exit, once per thread on its way out
//! Without it: no exit codes, no killing signals; preflight refuses to start

use aya_ebpf::{macros::btf_tracepoint, programs::BtfTracePointContext};
use tracer_common::{
    counters::Probe,
    record::{Exit, kind},
};

use super::waking;
use crate::{emit::emit, task::Task};

#[btf_tracepoint(function = "sched_process_exit")]
pub fn sched_process_exit(ctx: BtfTracePointContext) -> i32 {
    let task = Task::new(ctx.arg(0));
    // A wake-up that it has not slept for would keep the place taken.
    waking::take(task.tid(), task.cpu());
    emit(Probe::Exit, kind::EXIT, task.tid(), |record: &mut Exit| {
        task.write_key(&mut record.task);
        record.tid = task.tid();
        record.exit_code = task.exit_code();
        record.policy = task.policy();
        record.static_prio = task.static_prio();
        record.rt_priority = task.rt_priority();
        record.reserved = 0;
        record.comm = task.comm();
        0
    });
    0
}
