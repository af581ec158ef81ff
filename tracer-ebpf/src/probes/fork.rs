//! Hook:       tp_btf/sched_process_fork
//! Writes:     record::Fork, once per child made by a system call
//! Without it: kernel-made workers (io_uring, vhost) are not told from threads, nor what the parent's memory is

use aya_ebpf::{macros::btf_tracepoint, programs::BtfTracePointContext};
use tracer_common::{
    counters::Probe,
    record::{Fork, kind, memory_flags},
    settings::feature,
};

use crate::{emit::emit, settings::has, task::Task};

#[btf_tracepoint(function = "sched_process_fork")]
pub fn sched_process_fork(ctx: BtfTracePointContext) -> i32 {
    let parent = Task::new(ctx.arg(0));
    let child = Task::new(ctx.arg(1));
    emit(
        Probe::Fork,
        kind::FORK,
        parent.tid(),
        |record: &mut Fork| {
            parent.write_key(&mut record.parent);
            child.write_key(&mut record.child);
            record.parent_tid = parent.tid();
            record.child_tid = child.tid();
            let memory = parent.address_space();
            let known = has(feature::MEMORY) && memory.exists();
            record.rss_pages = if known { memory.resident() } else { 0 };
            record.page_table_bytes = if known { memory.page_table_bytes() } else { 0 };
            record.mappings = if known { memory.mappings() } else { 0 };
            record.reserved = 0;
            if known { memory_flags::MEMORY } else { 0 }
        },
    );
    0
}
