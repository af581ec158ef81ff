//! Reserve, fill, submit, count the loss: the only writer of the rings and of the slots.

use core::sync::atomic::{Ordering, compiler_fence};

use aya_ebpf::{
    bindings::{BPF_RB_FORCE_WAKEUP, BPF_RB_NO_WAKEUP},
    helpers::{bpf_get_smp_processor_id, bpf_ktime_get_ns},
};
use tracer_common::{
    counters::{Counters, Probe},
    record::{Header, Lost, Switch, kind},
    settings::feature,
};

use crate::{
    maps::{COUNTERS, RINGS, Ring, SLOT_MARKS, SLOTS},
    settings::{SLOT_MASK, SLOT_SHIFT, WAKE_MASK, has},
    watch::is_watched,
};

/// Writes one record of type `T` about a thread, if that is watched. `T` starts with a [`Header`];
/// `fill` sets every field after it and answers the header's flags. A wake-up per record would cost ten
/// times the record and make us our own noisy neighbour: the collector comes by itself, and is called
/// only once in thousands of records, so that a burst does not find it asleep.
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
    if counters.lost != counters.announced && !announce(ring, at_ns, cpu, probe, counters) {
        counters.lost = counters.lost.wrapping_add(1);
        return;
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

/// [`tell`] for switches, which are nearly all there is: to a slot of this CPU, which nobody else writes
/// and nothing interrupts the writing of. The same text for both ways: the verifier removes one.
#[inline(always)]
pub fn tell_switch(counters: &mut Counters, at_ns: u64, fill: impl FnOnce(&mut Switch) -> u16) {
    if !has(feature::SLOTS) {
        return tell(counters, at_ns, Probe::Switch, kind::SWITCH, fill);
    }
    // SAFETY: a helper without preconditions.
    let cpu = unsafe { bpf_get_smp_processor_id() };
    counters.records = counters.records.wrapping_add(1);
    let Some(marks) = SLOT_MARKS.get_ptr_mut(cpu) else {
        counters.lost = counters.lost.wrapping_add(1);
        return;
    };
    // SAFETY: a value of the map. The collector writes the tail, and reads the head.
    let (head, tail) = unsafe {
        (
            (&raw const (*marks).head).read_volatile(),
            (&raw const (*marks).tail).read_volatile(),
        )
    };
    let mask = SLOT_MASK.load();
    let slot = (u64::from(cpu) << SLOT_SHIFT.load()) | (head & mask);
    let slot = match SLOTS.get_ptr_mut(slot as u32) {
        Some(slot) if head.wrapping_sub(tail) <= mask => slot,
        _ => {
            counters.lost = counters.lost.wrapping_add(1);
            return;
        }
    };
    if counters.lost != counters.announced
        && let Some(ring) = RINGS.get(cpu)
        && !announce(ring, at_ns, cpu, Probe::Switch, counters)
    {
        counters.lost = counters.lost.wrapping_add(1);
        return;
    }
    // SAFETY: the collector does not read it before the head is beyond it. `fill` overwrites all but the
    // header.
    let record = unsafe { &mut *slot };
    let flags = fill(record);
    record.header = Header {
        at_ns,
        kind: kind::SWITCH,
        len: size_of::<Switch>() as u16,
        cpu: cpu as u16,
        flags,
    };
    // The record is whole before the head says so. That no store overtakes another is the machine's
    // promise: see `feature::SLOTS`.
    compiler_fence(Ordering::Release);
    // SAFETY: as above; this CPU alone writes it.
    unsafe { (&raw mut (*marks).head).write_volatile(head.wrapping_add(1)) };
    if head & (mask >> 2) == 0 {
        call(at_ns, cpu);
    }
}

/// Wakes the collector. A quarter of the slots was written since the last time, so it is rare.
#[inline(always)]
pub fn call(at_ns: u64, cpu: u32) {
    if let Some(ring) = RINGS.get(cpu)
        && let Some(mut entry) = ring.reserve_untyped::<Header>(0)
    {
        entry.write(Header {
            at_ns,
            kind: kind::CALL,
            len: size_of::<Header>() as u16,
            cpu: cpu as u16,
            flags: 0,
        });
        entry.submit(BPF_RB_FORCE_WAKEUP.into());
    }
}

/// Tells the stream how many records of this probe found no room so far, as soon as something fits, and
/// whether it did: a record that is told before the loss before it would put the hole after itself.
#[inline(always)]
fn announce(ring: &Ring, at_ns: u64, cpu: u32, probe: Probe, counters: &mut Counters) -> bool {
    let Some(mut entry) = ring.reserve_untyped::<Lost>(0) else {
        return false;
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
    true
}
