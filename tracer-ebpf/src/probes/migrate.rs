//! Hook:       tp_btf/sched_migrate_task
//! Writes:     record::Migrate, once per move of a thread to another CPU
//! Without it: no count of migrations; preflight refuses to start

use aya_ebpf::{macros::btf_tracepoint, programs::BtfTracePointContext};
use tracer_common::{
    counters::Probe,
    record::{Migrate, kind, who_flags},
    settings::feature,
};

use super::waking;
use crate::{
    emit::{emit, now},
    history,
    settings::has,
    task::Task,
    watch::is_watched,
};

#[btf_tracepoint(function = "sched_migrate_task")]
pub fn sched_migrate_task(ctx: BtfTracePointContext) -> i32 {
    let task = Task::new(ctx.arg(0));
    let to_cpu: u32 = ctx.arg(1);
    let (tid, from) = (task.tid(), task.cpu());
    if has(feature::NARROW) && is_watched(tid) {
        history::moves(tid, from, to_cpu, waking::read(tid) != 0);
        // Taken from a run queue, which is locked. Who is woken was on none.
        if task.is_migrating() {
            let queue = task.run_queue();
            let flags = who_flags::STAYS | who_flags::UNMEASURED;
            history::left(from, now(), queue.current(), queue, (0, 0), flags);
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
