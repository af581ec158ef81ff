//! Who had each CPU while watched threads waited for it: kept in memory that the collector shares, and shown to
//! it only where one of them had waited.
//!
//! How many watched threads wait for a CPU is one number: where nobody does, a switch of others costs no more
//! than looking at it. While somebody does, each switch of others leaves an entry. The newest entries of each
//! CPU stay; when a watched thread comes to the CPU, or is taken from its run queue, or there are many, those
//! since its wait began are shown, by moving a mark.

use core::sync::atomic::{AtomicU64, Ordering, compiler_fence};

use aya_ebpf::helpers::bpf_get_smp_processor_id;
use tracer_common::{
    counters::{CpuState, Probe, SlotMarks},
    record::{Header, Left, Name, kind, who_flags},
    settings::feature,
};

use crate::{
    emit::{call, counters, tell},
    maps::{HISTORY, HISTORY_MARKS, QUEUED, WAITING},
    settings::{HISTORY_MASK, HISTORY_SHIFT, has},
    task::{RunQueue, Task},
    watch,
};

/// In [`QUEUED`]: the thread was left on a run queue, and is counted.
const COUNTED: u8 = 1;
/// The thread is not watched, and the stream has told who it is.
const NAMED: u8 = 2;

/// Whether a watched thread waits for this CPU: never a wrong no. It is said before the thread is on the run
/// queue, whose lock every switch takes after. A thread that is woken is counted where it ran last, and where it
/// goes instead before it is on a run queue there.
#[inline(always)]
pub fn is_wanted() -> bool {
    // SAFETY: a helper without preconditions.
    has(feature::NARROW)
        && waiting(unsafe { bpf_get_smp_processor_id() }).is_some_and(|waiting| {
            // SAFETY: a number of the map.
            unsafe { (&raw const *waiting).cast::<u64>().read_volatile() != 0 }
        })
}

/// So many threads may be ahead of one whose wake-up was not seen, or was before the probes were on.
const LISTEN: u32 = 16;
const LISTEN_FIRST: u32 = 64;

/// The probes are on now: who waits is not known.
#[inline(always)]
pub fn begin(cpu: &mut CpuState) {
    cpu.listen = LISTEN_FIRST;
}

/// One thread gives way to another: whether that is kept in any case. The kernel may exempt threads from tracing:
/// they are seen to come, and neither how they leave nor whom they wake meanwhile.
#[inline(always)]
pub fn listens(cpu: &mut CpuState, prev_tid: u32, next: Task) -> bool {
    if cpu.there != prev_tid && cpu.there != 0 {
        cpu.hidden_tgid = cpu.there_tgid;
    }
    (cpu.there, cpu.there_tgid) = (next.tid(), next.tgid());
    // Until it is known better: it is the first process that policies exempt.
    let hidden_tgid = if cpu.hidden_tgid == 0 {
        1
    } else {
        cpu.hidden_tgid
    };
    if cpu.there != 0 && cpu.there_tgid == hidden_tgid {
        cpu.listen = LISTEN;
    }
    if cpu.listen == 0 {
        return false;
    }
    cpu.listen -= 1;
    true
}

/// A watched thread is left on the run queue of a CPU.
#[inline(always)]
pub fn queued(tid: u32, cpu: u32) {
    if has(feature::NARROW)
        && let Some(place) = watch::byte(&QUEUED, tid)
    {
        // SAFETY: a byte of the map. Only who holds the lock of its run queue writes that of a watched thread.
        unsafe {
            if place.read_volatile() != COUNTED {
                place.write_volatile(COUNTED);
                one_more(cpu);
            }
        }
    }
}

/// It is on that CPU again.
#[inline(always)]
pub fn unqueued(tid: u32, cpu: u32) {
    if has(feature::NARROW)
        && let Some(place) = watch::byte(&QUEUED, tid)
    {
        // SAFETY: as above.
        unsafe {
            if place.read_volatile() == COUNTED {
                place.write_volatile(0);
                one_less(cpu);
            }
        }
    }
}

/// It goes to another CPU: from where it was left, or where it was woken, or both.
#[inline(always)]
pub fn moves(tid: u32, from: u32, to: u32, woken: bool) {
    if !has(feature::NARROW) || from == to {
        return;
    }
    // SAFETY: a byte of the map.
    let left =
        watch::byte(&QUEUED, tid).is_some_and(|place| unsafe { place.read_volatile() } == COUNTED);
    if left {
        one_less(from);
        one_more(to);
    }
    if woken {
        one_less(from);
        one_more(to);
    }
}

/// Whether this is the first time that somebody asks who this thread is, which is not watched.
#[inline(always)]
pub fn is_unnamed(tid: u32) -> bool {
    let Some(place) = watch::byte(&QUEUED, tid) else {
        return false;
    };
    // SAFETY: a byte of the map. Two may ask at once, and then it is told twice.
    unsafe {
        let unnamed = place.read_volatile() == 0;
        if unnamed {
            place.write_volatile(NAMED);
        }
        unnamed
    }
}

/// Tells who a thread is, once, that is not watched and comes to a CPU for which one waits that is: it may be one
/// that the kernel never shows to leave.
#[inline(always)]
pub fn introduce(at_ns: u64, task: Task, tid: u32) {
    if tid == 0 || !is_unnamed(tid) {
        return;
    }
    let Some(counters) = counters(Probe::Switch) else {
        return;
    };
    tell(
        counters,
        at_ns,
        Probe::Switch,
        kind::NAME,
        |record: &mut Name| {
            record.tid = tid;
            record.tgid = task.tgid();
            record.comm = task.comm();
            record.priority = task.priority();
            record.reserved = 0;
            flags_of(task)
        },
    );
}

#[inline(always)]
fn flags_of(task: Task) -> u16 {
    let mut flags = 0;
    if task.is_kernel_thread() {
        flags |= who_flags::KERNEL_THREAD;
    }
    if task.is_own() {
        flags |= who_flags::OWN;
    }
    flags
}

/// At a birth: whoever had this number before, this one is on no run queue, and nobody knows its name.
#[inline(always)]
pub fn forget(tid: u32) {
    if has(feature::NARROW)
        && let Some(place) = watch::byte(&QUEUED, tid)
    {
        // SAFETY: a byte of the map. Who ended did so on a CPU, and was counted no more.
        unsafe { place.write_volatile(0) };
    }
}

/// A watched thread waits for this CPU: left there, or woken, and noted.
#[inline(always)]
pub fn one_more(cpu: u32) {
    if has(feature::NARROW)
        && let Some(waiting) = waiting(cpu)
    {
        waiting.fetch_add(1, Ordering::Relaxed);
    }
}

/// It does no more, or its note was taken.
#[inline(always)]
pub fn one_less(cpu: u32) {
    if has(feature::NARROW)
        && let Some(waiting) = waiting(cpu)
    {
        waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

#[inline(always)]
fn waiting(cpu: u32) -> Option<&'static AtomicU64> {
    let waiting = WAITING.get_ptr_mut(cpu)?;
    // SAFETY: a number of the map, which all CPUs change as one that is atomic.
    Some(unsafe { AtomicU64::from_ptr(&raw mut (*waiting).threads) })
}

/// Switch `number` of this CPU is to be told or kept: whether the one before was not.
#[inline(always)]
pub fn is_gap(cpu: u32, number: u64) -> bool {
    let Some(marks) = HISTORY_MARKS.get_ptr_mut(cpu) else {
        return true;
    };
    // SAFETY: as in `left`.
    let marks = unsafe { &mut *marks };
    let gap = marks.told.wrapping_add(1) != number;
    marks.told = number;
    gap
}

/// `prev`, who is not watched, leaves a CPU, or had it up to now: see `flags`. The lock of its run queue is held, or
/// nothing else happens there.
#[inline(always)]
pub fn left(
    cpu: u32,
    at_ns: u64,
    (prev, next_tid): (Task, u32),
    queue: RunQueue,
    (irq_ns, softirq_ns): (u64, u64),
    flags: u16,
) {
    let fill = |record: &mut Left| {
        record.tid = prev.tid();
        record.tgid = prev.tgid();
        record.comm = prev.comm();
        record.priority = prev.priority();
        record.next_tid = next_tid;
        record.steal_ns = queue.steal();
        record.irq_ns = irq_ns;
        record.softirq_ns = softirq_ns;
        let came = prev.last_arrival();
        record.ran_ns = if came == 0 {
            0
        } else {
            queue.clock().wrapping_sub(came)
        };
        flags | flags_of(prev)
    };
    if !has(feature::SLOTS) {
        // Without shared memory all of them are told.
        if let Some(counters) = counters(Probe::Switch) {
            tell(counters, at_ns, Probe::Switch, kind::LEFT, fill);
        }
        return;
    }
    let Some(marks) = HISTORY_MARKS.get_ptr_mut(cpu) else {
        return;
    };
    // SAFETY: a value of the map. Of it the collector writes only the tail.
    let marks = unsafe { &mut *marks };
    if let Some(counters) = counters(Probe::Switch) {
        counters.noted = counters.noted.wrapping_add(1);
    }
    let mask = HISTORY_MASK.load();
    let next = marks.next;
    // Shown and not yet read: it must not be written over.
    let unread_from = if marks.from > tail(marks) {
        marks.from
    } else {
        tail(marks)
    };
    if marks.head > unread_from && next.wrapping_sub(unread_from) > mask {
        marks.told = 0;
        return;
    }
    let Some(entry) = entry(cpu, next) else {
        return;
    };
    // SAFETY: see `entry`; the collector reads only what is shown.
    let record = unsafe { &mut *entry };
    let flags = fill(record);
    record.header = Header {
        at_ns,
        kind: kind::LEFT,
        len: size_of::<Left>() as u16,
        cpu: cpu as u16,
        flags,
    };
    marks.next = next.wrapping_add(1);
    // Somebody waits for long: not all of it is kept here.
    let unshown = marks.next.wrapping_sub(marks.head);
    if unshown > mask >> 1 {
        show(cpu, 0);
        call(at_ns, cpu);
    }
}

/// A watched thread waited on this CPU since `since_ns`, or before: what happened there meanwhile is shown. The
/// lock of its run queue is held, so that nobody writes there.
#[inline(always)]
pub fn show(cpu: u32, since_ns: u64) {
    if !has(feature::NARROW) || !has(feature::SLOTS) {
        return;
    }
    let Some(marks) = HISTORY_MARKS.get_ptr_mut(cpu) else {
        return;
    };
    // SAFETY: as in `left`.
    let marks = unsafe { &mut *marks };
    let (next, head) = (marks.next, marks.head);
    if next == head {
        return;
    }
    if tail(marks) >= head {
        // All that was shown is read, and what is too old need not be: roughly, by eights.
        let mut from = head;
        let oldest = next.saturating_sub(HISTORY_MASK.load() + 1);
        if from < oldest {
            from = oldest;
        }
        let mut back = 1;
        while back <= FURTHEST {
            let place = next.wrapping_sub(back);
            if back > next || place <= from {
                break;
            }
            let Some(entry) = entry(cpu, place) else {
                return;
            };
            // SAFETY: see `entry`.
            if unsafe { (&raw const (*entry).header.at_ns).read_volatile() } <= since_ns {
                from = place;
                break;
            }
            back <<= 3;
        }
        // SAFETY: a field of a value of the map.
        unsafe { (&raw mut marks.from).write_volatile(from) };
    }
    // What is shown is whole, and begins where it says, before it is shown: see `feature::SLOTS`.
    compiler_fence(Ordering::Release);
    // SAFETY: as above.
    unsafe { (&raw mut marks.head).write_volatile(next) };
}

/// 8^5: more than the largest history holds.
const FURTHEST: u64 = 1 << 15;

#[inline(always)]
fn tail(marks: &SlotMarks) -> u64 {
    // SAFETY: a field of a value of the map; the collector writes it.
    unsafe { (&raw const marks.tail).read_volatile() }
}

#[inline(always)]
fn entry(cpu: u32, number: u64) -> Option<*mut Left> {
    let place = (u64::from(cpu) << HISTORY_SHIFT.load()) | (number & HISTORY_MASK.load());
    HISTORY.get_ptr_mut(place as u32)
}
