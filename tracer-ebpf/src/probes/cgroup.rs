//! Hook:       tp_btf/cgroup_attach_task
//! Writes:     record::Cgroup, once per move of a thread or a process to another cgroup
//! Without it: threads are taken to be in the cgroup they were first seen in

use aya_ebpf::{macros::btf_tracepoint, programs::BtfTracePointContext};
use tracer_common::{
    counters::Probe,
    record::{Cgroup, kind},
};

use crate::{emit::emit, settings::reads_cgroups, task::Task};

#[btf_tracepoint(function = "cgroup_attach_task")]
pub fn cgroup_attach_task(ctx: BtfTracePointContext) -> i32 {
    if !reads_cgroups() {
        return 0;
    }
    let task = Task::new(ctx.arg(2));
    let whole_process = ctx.arg::<u8>(3);
    emit(
        Probe::Cgroup,
        kind::CGROUP,
        task.tid(),
        |record: &mut Cgroup| {
            task.write_key(&mut record.task);
            record.tid = task.tid();
            record.whole_process = u32::from(whole_process != 0);
            // Not of the cgroup handed over, which may be of a hierarchy that is not looked at: of the
            // task, which has moved already.
            record.cgroup_id = task.cgroup_id();
            0
        },
    );
    0
}
