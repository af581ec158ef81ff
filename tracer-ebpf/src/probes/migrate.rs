//! Hook:       tp_btf/sched_migrate_task
//! Writes:     record::Migrate, once per move of a thread to another CPU
//! Without it: no count of migrations; preflight refuses to start

use aya_ebpf::{macros::btf_tracepoint, programs::BtfTracePointContext};
use tracer_common::{
    counters::Probe,
    record::{Migrate, kind},
};

use super::waking;
use crate::{emit::emit, history, task::Task, watch::is_watched};

#[btf_tracepoint(function = "sched_migrate_task")]
pub fn sched_migrate_task(ctx: BtfTracePointContext) -> i32 {
    let task = Task::new(ctx.arg(0));
    let to_cpu: u32 = ctx.arg(1);
    let (tid, from) = (task.tid(), task.cpu());
    if is_watched(tid) {
        history::moves(tid, from, to_cpu, waking::read(tid) != 0);
        // Taken from a run queue, which is locked. Who is woken was on none.
        if task.is_migrating() {
            history::show(from, 0);
        }
    }
    emit(
        Probe::Migrate,
        kind::MIGRATE,
        task.tid(),
        |record: &mut Migrate| {
            task.write_key(&mut record.task);
            record.tid = task.tid();
            record.to_cpu = to_cpu;
            0
        },
    );
    0
}
