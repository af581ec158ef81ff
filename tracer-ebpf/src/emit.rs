//! Reserve, fill, submit, count the loss: the only writer of the rings.

use aya_ebpf::{
    bindings::{BPF_RB_FORCE_WAKEUP, BPF_RB_NO_WAKEUP},
    helpers::{bpf_get_smp_processor_id, bpf_ktime_get_ns},
};
use tracer_common::{
    counters::{Counters, Probe},
    record::{Header, Lost, kind},
};

use crate::{
    maps::{COUNTERS, RINGS, Ring},
    settings::WAKE_MASK,
    watch::is_watched,
};

/// Writes one record of type `T` about a thread, if that is watched. `T` starts with a [`Header`]; `fill` sets every field after it
/// and answers the header's flags. A wake-up per record would cost ten times the record and make us
/// our own noisy neighbour: the collector comes by itself, and is called only once in thousands of
/// records, so that a burst does not find it asleep.
#[inline(always)]
pub fn emit<T: 'static>(probe: Probe, kind: u16, tid: u32, fill: impl FnOnce(&mut T) -> u16) {
    let Some(counters) = counters(probe) else {
        return;
    };
    counters.events = counters.events.wrapping_add(1);
    if is_watched(tid) {
        tell(counters, now(), probe, kind, fill);
    }
}

/// `CLOCK_MONOTONIC`.
#[inline(always)]
pub fn now() -> u64 {
    // SAFETY: a helper without preconditions.
    unsafe { bpf_ktime_get_ns() }
}

#[inline(always)]
pub fn counters(probe: Probe) -> Option<&'static mut Counters> {
    // SAFETY: the slot of this CPU and probe, which does not interrupt itself.
    COUNTERS
        .get_ptr_mut(probe as u32)
        .map(|counters| unsafe { &mut *counters })
}

/// [`emit`] for a probe that has counted its run and knows the time.
#[inline(always)]
pub fn tell<T: 'static>(
    counters: &mut Counters,
    at_ns: u64,
    probe: Probe,
    kind: u16,
    fill: impl FnOnce(&mut T) -> u16,
) {
    // SAFETY: a helper without preconditions.
    let cpu = unsafe { bpf_get_smp_processor_id() };
    counters.records = counters.records.wrapping_add(1);
    let Some(ring) = RINGS.get(cpu) else {
        counters.lost = counters.lost.wrapping_add(1);
        return;
    };
    if counters.lost != counters.announced {
        announce(ring, at_ns, cpu, probe, counters);
    }
    let Some(mut entry) = ring.reserve_untyped::<T>(0) else {
        counters.lost = counters.lost.wrapping_add(1);
        return;
    };
    let record = entry.as_mut_ptr();
    // SAFETY: reserved for a `T`; it holds integers only, so that stale bytes are valid, and
    // `fill` overwrites them all.
    let flags = fill(unsafe { &mut *record });
    // SAFETY: every record starts with a `Header`.
    unsafe {
        record.cast::<Header>().write(Header {
            at_ns,
            kind,
            len: size_of::<T>() as u16,
            cpu: cpu as u16,
            flags,
        });
    }
    let call = counters.records & WAKE_MASK.load() == 0;
    entry.submit(
        if call {
            BPF_RB_FORCE_WAKEUP
        } else {
            BPF_RB_NO_WAKEUP
        }
        .into(),
    );
}

/// Tells the stream how many records of this probe found no room so far, as soon as something fits.
#[inline(always)]
fn announce(ring: &Ring, at_ns: u64, cpu: u32, probe: Probe, counters: &mut Counters) {
    let Some(mut entry) = ring.reserve_untyped::<Lost>(0) else {
        return;
    };
    entry.write(Lost {
        header: Header {
            at_ns,
            kind: kind::LOST,
            len: size_of::<Lost>() as u16,
            cpu: cpu as u16,
            flags: 0,
        },
        probe: probe as u32,
        reserved: 0,
        total: counters.lost,
    });
    entry.submit(BPF_RB_NO_WAKEUP.into());
    counters.announced = counters.lost;
}
