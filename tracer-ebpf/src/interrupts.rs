//! What interrupts have done on this CPU, and what goes on: kept by their probes, read by the others.

use aya_ebpf::helpers::bpf_get_smp_processor_id;
use tracer_common::{counters::CpuInterrupts, record::waker, settings::feature};

use crate::{
    maps::{INTERRUPTS, RESCHED},
    settings::has,
};

/// The set of this CPU; `None` where nothing is measured.
#[inline(always)]
fn set() -> Option<*mut CpuInterrupts> {
    if !has(feature::INTERRUPTS) {
        return None;
    }
    INTERRUPTS.get_ptr_mut(0)
}

/// Time in hard interrupts and in softirqs up to a switch, which none of them is the middle of.
#[inline(always)]
pub fn at_switch() -> (u64, u64) {
    let Some(set) = set() else {
        return (0, 0);
    };
    // SAFETY: the set of this CPU, whose interrupts are off in a switch.
    let set = unsafe { &mut *set };
    // If one stands, its end was missed.
    set.irq_since_ns = 0;
    set.softirq_since_ns = 0;
    (set.irq_ns, set.softirq_ns)
}

/// The same up to the last one that ended.
#[inline(always)]
pub fn ended() -> (u64, u64) {
    // SAFETY: the set of this CPU.
    set().map_or((0, 0), |set| unsafe { ((*set).irq_ns, (*set).softirq_ns) })
}

/// From the decision that `prev` is to go to the switch at `at_ns`; 0 when there was none, or when it
/// leaves by itself. The decision stands no longer.
#[inline(always)]
pub fn resched_ns(prev: u32, by_itself: bool, at_ns: u64) -> u32 {
    if !has(feature::RESCHED) {
        return 0;
    }
    // SAFETY: a helper without preconditions.
    let Some(place) = RESCHED.get_ptr_mut(unsafe { bpf_get_smp_processor_id() }) else {
        return 0;
    };
    // SAFETY: a place of the map; see there.
    let place = unsafe { &mut *place };
    if place.tid != prev || prev == 0 {
        return 0;
    }
    place.tid = 0;
    let delay = at_ns.wrapping_sub(place.at_ns);
    if by_itself {
        0
    } else if delay < u64::from(u32::MAX) {
        delay as u32
    } else {
        u32::MAX
    }
}

/// Who wakes somebody just now, `current` being on this CPU: see `record::waker`.
#[inline(always)]
pub fn waker(current: u32) -> u32 {
    current | kind_of_waker(current) << waker::KIND_SHIFT
}

#[inline(always)]
fn kind_of_waker(current: u32) -> u32 {
    // SAFETY: the set of this CPU; only its own interrupts change it, and they put back what they found.
    let goes_on = match set() {
        Some(set) => unsafe { &*set },
        // The idle thread wakes nobody.
        None if current == 0 => return waker::IRQ,
        None => return waker::UNKNOWN,
    };
    if goes_on.irq_since_ns != 0 {
        if goes_on.irq_is_timer != 0 {
            waker::TIMER
        } else {
            waker::IRQ
        }
    } else if goes_on.softirq_since_ns != 0 {
        if goes_on.softirq_is_timer != 0 {
            waker::TIMER
        } else {
            waker::SOFTIRQ
        }
    } else if current == 0 {
        waker::IRQ
    } else {
        waker::THREAD
    }
}
