//! Hook:       raw_tp, each program at several: `irq_handler_entry`, `softirq_entry`, the vectors of x86
//!             (`local_timer_entry` ...), and the `_exit` of each; the loader has the list
//! Writes:     counters::CpuInterrupts
//! Without it: run_irq_ns and run_softirq_ns are n/a, and who woke a thread is not known for sure

use aya_ebpf::{macros::raw_tracepoint, programs::RawTracePointContext};
use tracer_common::counters::CpuInterrupts;

use crate::{emit::now, maps::INTERRUPTS};

/// `TIMER_SOFTIRQ` and `HRTIMER_SOFTIRQ`, include/linux/interrupt.h: since 4.2.
const TIMER: u32 = 1;
const HRTIMER: u32 = 8;

#[raw_tracepoint]
pub fn irq_enter(_ctx: RawTracePointContext) -> i32 {
    enter(false);
    0
}

/// The interrupt that expires timers.
#[raw_tracepoint]
pub fn irq_enter_timer(_ctx: RawTracePointContext) -> i32 {
    enter(true);
    0
}

#[raw_tracepoint]
pub fn irq_leave(_ctx: RawTracePointContext) -> i32 {
    leave();
    0
}

#[raw_tracepoint]
pub fn softirq_enter(ctx: RawTracePointContext) -> i32 {
    enter_softirq(ctx.arg(0));
    0
}

#[raw_tracepoint]
pub fn softirq_leave(_ctx: RawTracePointContext) -> i32 {
    leave_softirq();
    0
}

/// A hard interrupt is not interrupted, and several handlers of one run one after another. If another
/// stands, its end was missed and nobody knows its length: it counts as nothing.
#[inline(always)]
pub fn enter(is_timer: bool) {
    let Some(set) = INTERRUPTS.get_ptr_mut(0) else {
        return;
    };
    // SAFETY: the set of this CPU; only the programs of hard interrupts write these fields.
    unsafe {
        (*set).irq_runs += 1;
        (*set).irq_is_timer = u32::from(is_timer);
        (*set).irq_since_ns = now();
    }
}

/// An end without a beginning is of an interrupt that was under way when the probes came on.
#[inline(always)]
pub fn leave() {
    let Some(set) = INTERRUPTS.get_ptr_mut(0) else {
        return;
    };
    // SAFETY: as above.
    unsafe {
        (*set).irq_runs += 1;
        let since_ns = (*set).irq_since_ns;
        if since_ns != 0 {
            (*set).irq_ns += now().wrapping_sub(since_ns);
            (*set).irq_since_ns = 0;
        }
    }
}

/// Hard interrupts interrupt a softirq, and these programs: what they take is seen in `irq_ns`, which is
/// read outside of the two looks at the clock, so that no time counts twice.
#[inline(always)]
fn enter_softirq(number: u32) {
    let Some(set) = INTERRUPTS.get_ptr_mut(0) else {
        return;
    };
    // SAFETY: the set of this CPU; only the programs of softirqs, which no softirq interrupts, write
    // these fields.
    unsafe {
        (*set).softirq_runs += 1;
        (*set).softirq_is_timer = u32::from(number == TIMER || number == HRTIMER);
        (*set).softirq_irq_ns = irq_ns(set);
        (*set).softirq_since_ns = now();
    }
}

#[inline(always)]
fn leave_softirq() {
    let Some(set) = INTERRUPTS.get_ptr_mut(0) else {
        return;
    };
    // SAFETY: as above.
    unsafe {
        (*set).softirq_runs += 1;
        let since_ns = (*set).softirq_since_ns;
        if since_ns != 0 {
            let all_ns = now().wrapping_sub(since_ns);
            let irqs_ns = irq_ns(set).wrapping_sub((*set).softirq_irq_ns);
            if irqs_ns < all_ns {
                (*set).softirq_ns += all_ns - irqs_ns;
            }
            (*set).softirq_since_ns = 0;
        }
    }
}

/// # Safety
/// `set` is a value of the map.
#[inline(always)]
unsafe fn irq_ns(set: *mut CpuInterrupts) -> u64 {
    // SAFETY: as the caller says; an interrupt may change it at any time.
    unsafe { (&raw const (*set).irq_ns).read_volatile() }
}
