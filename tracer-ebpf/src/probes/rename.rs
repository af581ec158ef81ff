//! Hook:       tp_btf/task_rename
//! Writes:     record::Rename, once per change of a thread's name
//! Without it: names are those of birth and exec; preflight refuses to start

use aya_ebpf::{
    helpers::generated::bpf_probe_read_kernel_str, macros::btf_tracepoint,
    programs::BtfTracePointContext,
};
use tracer_common::{
    counters::Probe,
    record::{Rename, kind},
};

use crate::{emit::emit, task::Task};

#[btf_tracepoint(function = "task_rename")]
pub fn task_rename(ctx: BtfTracePointContext) -> i32 {
    let task = Task::new(ctx.arg(0));
    let name: *const u8 = ctx.arg(1);
    emit(
        Probe::Rename,
        kind::RENAME,
        task.tid(),
        |record: &mut Rename| {
            task.write_key(&mut record.task);
            record.tid = task.tid();
            record.reserved = 0;
            // The helper leaves the bytes after the end as they are.
            record.comm = [0; 16];
            // SAFETY: the destination is 16 bytes of the reserved record; a bad source is an error
            // code, and the name stays empty.
            unsafe { bpf_probe_read_kernel_str(record.comm.as_mut_ptr().cast(), 16, name.cast()) };
            0
        },
    );
    0
}
