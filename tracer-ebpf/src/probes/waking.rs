//! Hook:       tp_btf/sched_waking
//! Writes:     a note that the switch-in of the woken thread takes along; record::Waking where the
//!             place of the note is taken
//! Without it: a sleep that the kernel counted as wait cannot be told apart; preflight refuses

use aya_ebpf::{
    helpers::{bpf_get_current_comm, bpf_get_current_pid_tgid, bpf_get_smp_processor_id},
    macros::btf_tracepoint,
    programs::BtfTracePointContext,
};
use tracer_common::{
    counters::{Probe, WakeNote, wake_note},
    record::{Name, Waking, kind, waker, who_flags},
    settings::feature,
};

use crate::{
    emit::{counters, now, tell},
    history, interrupts,
    maps::WAKINGS,
    settings::{OWN_TGID, has},
    task::Task,
    watch::is_watched,
};

#[btf_tracepoint(function = "sched_waking")]
pub fn sched_waking(ctx: BtfTracePointContext) -> i32 {
    note(Task::new(ctx.arg(0)));
    0
}

#[inline(always)]
pub fn note(task: Task) {
    let Some(counters) = counters(Probe::Waking) else {
        return;
    };
    counters.events = counters.events.wrapping_add(1);
    let tid = task.tid();
    if !is_watched(tid) {
        return;
    }
    let Some(note) = WAKINGS.get_ptr_mut(wake_note(tid)) else {
        return;
    };
    let at_ns = now();
    let (waker, waker_syscall) = waker();
    // SAFETY: a helper without preconditions.
    let waker_cpu = unsafe { bpf_get_smp_processor_id() } as u16;
    // SAFETY: a place of the map. Two wakers of two threads that share a place may write at the same
    // time; whichever thread's number stands there in the end has a time that is right within that.
    let taken = unsafe { (&raw const (*note).tid).read_volatile() };
    if taken != 0 && taken != tid {
        tell(
            counters,
            at_ns,
            Probe::Waking,
            kind::WAKING,
            |record: &mut Waking| {
                task.write_key(&mut record.task);
                record.tid = tid;
                record.waker = waker;
                record.waker_cpu = waker_cpu;
                record.waker_syscall = waker_syscall;
                record.reserved = 0;
                0
            },
        );
        return;
    }
    counters.noted = counters.noted.wrapping_add(1);
    if taken == 0 {
        history::one_more(task.cpu());
    }
    introduce(waker, at_ns);
    // SAFETY: as above. The waker holds the thread's `pi_lock`, and it is switched in only after that.
    unsafe {
        note.write(WakeNote {
            tid,
            waker,
            at_ns,
            waker_cpu,
            waker_syscall,
            reserved: 0,
        });
    }
}

/// Who wakes a watched thread and is not watched has a name that nothing else tells.
#[inline(always)]
fn introduce(waker: u32, at_ns: u64) {
    if !has(feature::NARROW) || waker >> waker::KIND_SHIFT != waker::THREAD {
        return;
    }
    let tid = waker & waker::TID_MASK;
    if is_watched(tid) || !history::is_unnamed(tid) {
        return;
    }
    let Some(counters) = counters(Probe::Waking) else {
        return;
    };
    tell(
        counters,
        at_ns,
        Probe::Waking,
        kind::NAME,
        |record: &mut Name| {
            record.tid = tid;
            record.tgid = (bpf_get_current_pid_tgid() >> 32) as u32;
            record.comm = bpf_get_current_comm().unwrap_or_default();
            record.priority = 0;
            record.reserved = 0;
            if u64::from(record.tgid) == OWN_TGID.load() {
                who_flags::OWN
            } else {
                0
            }
        },
    );
}

/// Who wakes, and one more than the number of the system call it is in; 0: none, or it cannot be told, as of an
/// interrupt, which has none, and of 32-bit programs, which have other numbers. A call of a helper is dear: one
/// tells of both.
#[inline(always)]
fn waker() -> (u32, u16) {
    if !has(feature::SYSCALL) {
        return (interrupts::waker(bpf_get_current_pid_tgid() as u32), 0);
    }
    let current = Task::current();
    let waker = interrupts::waker(current.tid());
    let kind = waker >> waker::KIND_SHIFT;
    if kind != waker::THREAD && kind != waker::UNKNOWN {
        return (waker, 0);
    }
    match current.syscall() {
        Some((number, false)) if number < 0xffff => (waker, number as u16 + 1),
        _ => (waker, 0),
    }
}

/// When a thread was woken that has not run since; 0: it was not.
#[inline(always)]
pub fn read(tid: u32) -> u64 {
    find(tid).map_or(0, |note| note.at_ns)
}

/// The note of a thread, and its place is free again; all zero where there is none.
#[inline(always)]
pub fn take(tid: u32, cpu: u32) -> WakeNote {
    find(tid).map_or(NO_NOTE, |note| {
        note.tid = 0;
        history::one_less(cpu);
        WakeNote { tid, ..*note }
    })
}

const NO_NOTE: WakeNote = WakeNote {
    tid: 0,
    waker: 0,
    at_ns: 0,
    waker_cpu: 0,
    waker_syscall: 0,
    reserved: 0,
};

/// The idle threads have no number of their own, and are not woken.
#[inline(always)]
fn find(tid: u32) -> Option<&'static mut WakeNote> {
    if tid == 0 {
        return None;
    }
    let note = WAKINGS.get_ptr_mut(wake_note(tid))?;
    // SAFETY: a place of the map. Only the waker of this very thread writes a note with its number, and
    // that before the thread is switched in.
    let note = unsafe { &mut *note };
    (note.tid == tid).then_some(note)
}
