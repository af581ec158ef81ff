//! Hook:       tp_btf/sched_process_exit
//! Writes:     record::Exit, once per thread on its way out
//! Without it: no exit codes, no killing signals; preflight refuses to start

use aya_ebpf::{macros::btf_tracepoint, programs::BtfTracePointContext};
use tracer_common::{
    counters::Probe,
    record::{Exit, kind, memory_flags},
    settings::feature,
};

use super::waking;
use crate::{calls, emit::emit, settings::has, task::Task};

#[btf_tracepoint(function = "sched_process_exit")]
pub fn sched_process_exit(ctx: BtfTracePointContext) -> i32 {
    let task = Task::new(ctx.arg(0));
    // A wake-up that it has not slept for would keep the place taken.
    waking::take(task.tid(), task.cpu());
    calls::forget();
    emit(Probe::Exit, kind::EXIT, task.tid(), |record: &mut Exit| {
        task.write_key(&mut record.task);
        record.tid = task.tid();
        record.exit_code = task.exit_code();
        record.policy = task.policy();
        record.static_prio = task.static_prio();
        record.rt_priority = task.rt_priority();
        record.reserved = 0;
        record.comm = task.comm();
        let memory = task.address_space();
        // Before 6.16 it has given it back already.
        let known = has(feature::GROUP_DEAD) && has(feature::MEMORY) && memory.exists();
        record.rss_pages = if known { memory.resident() } else { 0 };
        record.peak_pages = if known { memory.peak() } else { 0 };
        record.page_table_bytes = if known { memory.page_table_bytes() } else { 0 };
        if known { memory_flags::MEMORY } else { 0 }
    });
    0
}
