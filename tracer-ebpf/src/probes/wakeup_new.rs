//! Hook:       tp_btf/sched_wakeup_new
//! Writes:     record::WakeupNew, once per birth: life begins here
//! Without it: no beginning of life, no exact lifetimes; preflight refuses to start

use aya_ebpf::{macros::btf_tracepoint, programs::BtfTracePointContext};
use tracer_common::{
    counters::Probe,
    record::{WakeupNew, kind},
};

use crate::{emit::emit, history, task::Task, watch::is_watched};

#[btf_tracepoint(function = "sched_wakeup_new")]
pub fn sched_wakeup_new(ctx: BtfTracePointContext) -> i32 {
    let task = Task::new(ctx.arg(0));
    if is_watched(task.tid()) {
        history::queued(task.tid(), task.cpu());
    }
    emit(
        Probe::WakeupNew,
        kind::WAKEUP_NEW,
        task.tid(),
        |record: &mut WakeupNew| {
            task.write_key(&mut record.task);
            record.tid = task.tid();
            record.target_cpu = task.cpu();
            record.rq_clock_ns = task.run_queue().clock();
            0
        },
    );
    0
}
