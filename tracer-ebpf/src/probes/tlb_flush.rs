//! Hook:       tp_btf/tlb_flush and a second program on tp_btf/sched_switch, in `verify` only
//! Writes:     counters::SpaceChanges: how many changes of the address space flushed the TLB
//! Without it: whether a switch flushes is n/a, as where the kernel has no such tracepoint (x86 has)

use aya_ebpf::{macros::btf_tracepoint, programs::BtfTracePointContext};

use crate::{maps::SPACE_CHANGES, task::Task, watch::is_watched};

/// `TLB_FLUSH_ON_TASK_SWITCH`, include/linux/mm_types.h.
const ON_TASK_SWITCH: u32 = 0;

#[btf_tracepoint(function = "sched_switch")]
pub fn space_changes(ctx: BtfTracePointContext) -> i32 {
    let prev = Task::new(ctx.arg(1));
    let next = Task::new(ctx.arg(2));
    let (next_mm, active_mm) = (next.mm(), prev.active_mm());
    let Some(counted) = SPACE_CHANGES.get_ptr_mut(0) else {
        return 0;
    };
    // SAFETY: the set of this CPU; the scheduler does not interrupt itself.
    let counted = unsafe { &mut *counted };
    counted.pending = 0;
    if next_mm != 0 && next_mm != active_mm && is_watched(next.tid()) {
        counted.changes = counted.changes.wrapping_add(1);
        counted.pending = 1;
    }
    0
}

/// The address space is loaded right after the switch was told. The kernel tells the loading also where it did not
/// flush: then there are no pages.
#[btf_tracepoint(function = "tlb_flush")]
pub fn tlb_flush(ctx: BtfTracePointContext) -> i32 {
    let reason: u32 = ctx.arg(0);
    let pages: u64 = ctx.arg(1);
    let Some(counted) = SPACE_CHANGES.get_ptr_mut(0) else {
        return 0;
    };
    // SAFETY: as above, and interrupts are off.
    let counted = unsafe { &mut *counted };
    if reason != ON_TASK_SWITCH || counted.pending == 0 {
        return 0;
    }
    counted.pending = 0;
    if pages == 0 {
        counted.kept = counted.kept.wrapping_add(1);
    } else {
        counted.flushed = counted.flushed.wrapping_add(1);
    }
    0
}
