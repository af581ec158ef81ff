//! What interrupts have done on this CPU, and what goes on: kept by their probes, read by the others.

use aya_ebpf::helpers::bpf_get_current_pid_tgid;
use tracer_common::{counters::CpuInterrupts, record::waker, settings::feature};

use crate::{maps::INTERRUPTS, settings::has};

/// The set of this CPU; `None` where nothing is measured.
#[inline(always)]
pub fn set() -> Option<*mut CpuInterrupts> {
    if !has(feature::INTERRUPTS | feature::RESCHED) {
        return None;
    }
    INTERRUPTS.get_ptr_mut(0)
}

/// As far as a switch tells.
#[derive(Clone, Copy, Default)]
pub struct Now {
    pub irq_ns: u64,
    pub softirq_ns: u64,
    resched_since_ns: u64,
}

impl Now {
    /// From the decision to the switch at `at_ns`; 0 when there was no decision.
    #[inline(always)]
    pub fn resched_ns(self, at_ns: u64) -> u32 {
        if self.resched_since_ns == 0 {
            return 0;
        }
        let delay = at_ns.wrapping_sub(self.resched_since_ns);
        if delay < u64::from(u32::MAX) {
            delay as u32
        } else {
            u32::MAX
        }
    }
}

/// At a switch, which no interrupt is the middle of. A decision that it carries out stands no longer.
#[inline(always)]
pub fn of_this_cpu() -> Now {
    let Some(set) = set() else {
        return Now::default();
    };
    // SAFETY: the set of this CPU, whose interrupts are off in a switch.
    let set = unsafe { &mut *set };
    let now = Now {
        irq_ns: set.irq_ns,
        softirq_ns: set.softirq_ns,
        resched_since_ns: set.resched_ns,
    };
    if has(feature::RESCHED) {
        set.resched_ns = 0;
    }
    now
}

/// Who wakes somebody just now: see `record::waker`.
#[inline(always)]
pub fn waker() -> u32 {
    let current = bpf_get_current_pid_tgid() as u32;
    current | kind_of_waker(current) << waker::KIND_SHIFT
}

#[inline(always)]
fn kind_of_waker(current: u32) -> u32 {
    // SAFETY: the set of this CPU; only its own interrupts change it, and they put back what they found.
    let goes_on = match set().filter(|_| has(feature::INTERRUPTS)) {
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
