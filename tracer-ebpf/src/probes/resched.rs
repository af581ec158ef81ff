//! Hook:       tp_btf/sched_set_need_resched_tp (6.16)
//! Writes:     counters::Resched, which the switch that carries it out takes along
//! Without it: the delay from the decision that a thread is to go to its going is n/a

use aya_ebpf::{macros::btf_tracepoint, programs::BtfTracePointContext};
use tracer_common::{counters::Probe, settings::feature};

use crate::{
    emit::{counters, now},
    maps::RESCHED,
    settings::has,
    task::Task,
    watch::is_watched,
};

#[btf_tracepoint(function = "sched_set_need_resched_tp")]
pub fn sched_set_need_resched_tp(ctx: BtfTracePointContext) -> i32 {
    decide(Task::new(ctx.arg(0)), ctx.arg(1), ctx.arg(2));
    0
}

/// That `task`, which runs on `cpu`, is to go; `flag` is about to be set in it.
#[inline(always)]
pub fn decide(task: Task, cpu: u32, flag: u32) {
    if !has(feature::RESCHED) {
        return;
    }
    let Some(counters) = counters(Probe::Resched) else {
        return;
    };
    counters.events = counters.events.wrapping_add(1);
    let tid = task.tid();
    // Whoever idles waits for nothing else.
    if tid == 0 || !is_watched(tid) {
        return;
    }
    let Some(place) = RESCHED.get_ptr_mut(cpu) else {
        return;
    };
    // SAFETY: a place of the map; see there.
    let place = unsafe { &mut *place };
    // First it may be asked to go when it is convenient, then at once: it has been to go since the first.
    // Not if that was taken back since, as when the kernel looked and found no better one to run.
    if place.tid == tid && task.has_thread_flag(place.flag) {
        return;
    }
    counters.noted = counters.noted.wrapping_add(1);
    place.tid = tid;
    place.flag = flag;
    place.at_ns = now();
}
