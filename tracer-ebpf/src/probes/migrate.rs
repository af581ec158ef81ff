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
    emit::{counters, now, tell},
    history,
    settings::has,
    task::Task,
    watch::is_watched,
};

#[btf_tracepoint(function = "sched_migrate_task")]
pub fn sched_migrate_task(ctx: BtfTracePointContext) -> i32 {
    let task = Task::new(ctx.arg(0));
    let to_cpu: u32 = ctx.arg(1);
    let Some(counters) = counters(Probe::Migrate) else {
        return 0;
    };
    counters.events = counters.events.wrapping_add(1);
    let (tid, from) = (task.tid(), task.cpu());
    if !is_watched(tid) {
        return 0;
    }
    let at_ns = now();
    if has(feature::NARROW) {
        history::moves(tid, from, to_cpu, waking::read(tid) != 0);
        // Taken from a run queue, which is locked. Who is woken was on none. What it waited for there ends at
        // this very moment, as the record says: what comes after that is not kept.
        if task.is_migrating() {
            let queue = task.run_queue();
            let flags = who_flags::STAYS | who_flags::UNMEASURED | who_flags::GAP;
            let there = queue.current();
            history::left(from, at_ns, (there, there.tid()), queue, (0, 0), flags);
            history::show(from, 0);
        }
    }
    tell(
        counters,
        at_ns,
        Probe::Migrate,
        kind::MIGRATE,
        |record: &mut Migrate| {
            task.write_key(&mut record.task);
            record.tid = tid;
            record.to_cpu = to_cpu;
            0
        },
    );
    0
}
