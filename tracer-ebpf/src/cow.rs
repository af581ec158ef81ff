//! Writes to pages that two processes share since a fork: for a while after it, on both sides.

use core::sync::atomic::{AtomicU64, Ordering};

use aya_ebpf::helpers::bpf_get_current_pid_tgid;
use tracer_common::{
    counters::{COW_NS, Cow, Probe, cow},
    record::{self, kind},
    settings::feature,
};

use crate::{
    emit::{counters, now, tell},
    maps::COWS,
    settings::has,
};

/// Bits of a fault's error code, arch/x86/include/asm/trap_pf.h: the page was there; it was written to.
const PRESENT_AND_WRITTEN: u64 = 0b11;
/// User addresses are below.
const KERNEL: u64 = 1 << 63;

#[inline(always)]
fn place(pid: u32) -> Option<*mut Cow> {
    COWS.get_ptr_mut(cow(pid))
}

/// A process has been copied, and both have its pages.
#[inline(always)]
pub fn begin(probe: Probe, parent: u32, child: u32, at_ns: u64) {
    for pid in [parent, child] {
        let Some(place) = place(pid) else { return };
        // SAFETY: a place of the map. Two forks that meet in one leave one of them, whole or mixed; the
        // collector takes none that is mixed for its own.
        let before = unsafe { place.read_volatile() };
        show(probe, at_ns, before);
        // SAFETY: as above.
        unsafe {
            place.write_volatile(Cow {
                pid,
                child,
                since_ns: at_ns,
                faults: 0,
            });
        }
    }
}

/// The process has another address space.
#[inline(always)]
pub fn end(probe: Probe, pid: u32) {
    if !has(feature::FORKS) {
        return;
    }
    let Some(place) = place(pid) else { return };
    // SAFETY: as in `begin`.
    unsafe {
        let before = place.read_volatile();
        if before.pid == pid {
            show(probe, now(), before);
            (&raw mut (*place).pid).write_volatile(0);
        }
    }
}

/// A page fault of whoever runs here.
#[inline(always)]
pub fn fault(address: u64, error_code: u64) {
    let Some(counters) = counters(Probe::Fault) else {
        return;
    };
    counters.events = counters.events.wrapping_add(1);
    if error_code & PRESENT_AND_WRITTEN != PRESENT_AND_WRITTEN || address & KERNEL != 0 {
        return;
    }
    let pid = (bpf_get_current_pid_tgid() >> 32) as u32;
    let Some(place) = place(pid) else { return };
    // SAFETY: as in `begin`; its threads count on several CPUs.
    unsafe {
        if (&raw const (*place).pid).read_volatile() != pid {
            return;
        }
        let at_ns = now();
        if at_ns.wrapping_sub((&raw const (*place).since_ns).read_volatile()) <= COW_NS {
            AtomicU64::from_ptr(&raw mut (*place).faults).fetch_add(1, Ordering::Relaxed);
        } else {
            show(Probe::Fault, at_ns, place.read_volatile());
            (&raw mut (*place).pid).write_volatile(0);
        }
    }
}

#[inline(always)]
fn show(probe: Probe, at_ns: u64, cow: Cow) {
    // None is what is taken for granted.
    if cow.pid == 0 || cow.faults == 0 {
        return;
    }
    if let Some(counters) = counters(probe) {
        tell(
            counters,
            at_ns,
            probe,
            kind::COW,
            |record: &mut record::Cow| {
                record.cow = cow;
                0
            },
        );
    }
}
