//! Hook:       tp_btf/sched_entry_tp and tp_btf/sched_exit_tp (6.16), with `--switch-cost` and in `verify` only
//! Writes:     counters::SwitchCost and lengths by kind of switch: from the entry of the scheduler to its end
//! Without it: what a switch costs in place is n/a

use aya_ebpf::{macros::btf_tracepoint, programs::BtfTracePointContext};
use tracer_common::{
    counters::{Probe, switch_cost},
    lengths::{LENGTHS, bucket},
};

use crate::{
    emit::{counters, now},
    maps::{ENTERED, SWITCH_COSTS, SWITCH_LENGTHS},
    task::Task,
    watch::is_watched,
};

#[btf_tracepoint(function = "sched_entry_tp")]
pub fn sched_entry_tp(_ctx: BtfTracePointContext) -> i32 {
    count();
    let prev = Task::current();
    let Some(entered) = ENTERED.get_ptr_mut(0) else {
        return 0;
    };
    // SAFETY: the place of this CPU; the scheduler does not interrupt itself.
    let entered = unsafe { &mut *entered };
    entered.active_mm = prev.active_mm();
    entered.tid = prev.tid();
    entered.user = u32::from(!prev.is_kernel_thread() && entered.tid != 0);
    entered.at_ns = now();
    0
}

/// By whoever came, at the end of the same call; a thread that was just born ends none.
#[btf_tracepoint(function = "sched_exit_tp")]
pub fn sched_exit_tp(ctx: BtfTracePointContext) -> i32 {
    let at_ns = now();
    count();
    let Some(entered) = ENTERED.get_ptr_mut(0) else {
        return 0;
    };
    // SAFETY: as above.
    let entered = unsafe { &mut *entered };
    let since = core::mem::take(&mut entered.at_ns);
    let is_switch = ctx.arg::<u64>(0) & 0xff != 0;
    if !is_switch || since == 0 {
        return 0;
    }
    let next = Task::current();
    let tid = next.tid();
    if !is_watched(entered.tid) && !is_watched(tid) {
        return 0;
    }
    let same_space = next.mm() == entered.active_mm;
    let kind = if tid == 0 {
        switch_cost::TO_IDLE
    } else if next.is_kernel_thread() {
        switch_cost::TO_KERNEL
    } else {
        match (entered.user != 0, same_space) {
            (true, true) => switch_cost::SAME_SPACE,
            (true, false) => switch_cost::OTHER_SPACE,
            (false, true) => switch_cost::BACK,
            (false, false) => switch_cost::BACK_OTHER,
        }
    };
    took(kind, at_ns.wrapping_sub(since));
    0
}

/// Right after [`sched_entry_tp`] on the same tracepoint: what lies between the two clocks is all that is not the
/// kernel's own.
#[btf_tracepoint(function = "sched_entry_tp")]
pub fn empty_pair(_ctx: BtfTracePointContext) -> i32 {
    let at_ns = now();
    let Some(entered) = ENTERED.get_ptr_mut(0) else {
        return 0;
    };
    // SAFETY: as above.
    let entered = unsafe { &mut *entered };
    if entered.at_ns != 0 && is_watched(entered.tid) {
        took(switch_cost::EMPTY, at_ns.wrapping_sub(entered.at_ns));
    }
    0
}

#[inline(always)]
fn count() {
    if let Some(counters) = counters(Probe::Schedule) {
        counters.events = counters.events.wrapping_add(1);
    }
}

#[inline(always)]
fn took(kind: u32, ns: u64) {
    if let Some(cost) = SWITCH_COSTS.get_ptr_mut(kind) {
        // SAFETY: the set of this CPU; see above.
        let cost = unsafe { &mut *cost };
        cost.count = cost.count.wrapping_add(1);
        cost.sum_ns = cost.sum_ns.wrapping_add(ns);
    }
    if let Some(count) = SWITCH_LENGTHS.get_ptr_mut(kind * LENGTHS + bucket(ns)) {
        // SAFETY: as above.
        unsafe { *count = (*count).wrapping_add(1) };
    }
}
