//! Hook:       none: run by the loader, `BPF_PROG_TEST_RUN` of raw tracepoint programs
//! Writes:     what the probes write, to rings that are emptied before tracing begins
//! Without it: (kernels before 5.17 have no bpf_loop) what the probes cost is not known
//!
//! Each runs the body of a probe `args[0]` times on whoever loads it, and answers the nanoseconds of all
//! of them together. Two more run once, for what only a program can do.

use core::ffi::{c_long, c_void};

use aya_ebpf::{
    helpers::{
        bpf_get_smp_processor_id,
        generated::{bpf_get_current_task_btf, bpf_loop},
    },
    macros::btf_tracepoint,
    programs::{BtfTracePointContext, RawTracePointContext},
};

use super::{interrupt, newtask, resched, switch, waking};
use crate::{
    emit::now,
    history,
    maps::{RESCHED, SWITCHES},
    task::Task,
    watch,
};

type Body = extern "C" fn(u32, *mut c_void) -> c_long;

#[inline(always)]
fn current() -> Task {
    // SAFETY: a helper without preconditions.
    Task::new(unsafe { bpf_get_current_task_btf() }.cast())
}

#[inline(always)]
fn measure(ctx: *mut c_void, body: Body) -> u32 {
    let rounds: u32 = RawTracePointContext::new(ctx).arg(0);
    let from = now();
    // SAFETY: the body has the signature that the kernel calls, and no context.
    unsafe { bpf_loop(rounds, body as *mut c_void, core::ptr::null_mut(), 0) };
    now().wrapping_sub(from) as u32
}

/// Loops and does nothing: what is part of every other figure.
#[unsafe(link_section = "raw_tp/calibrate_empty")]
#[unsafe(no_mangle)]
pub extern "C" fn calibrate_empty(ctx: *mut c_void) -> u32 {
    extern "C" fn body(_: u32, _: *mut c_void) -> c_long {
        0
    }
    measure(ctx, body)
}

/// Does nothing: what it takes to call a program at all, told by how much slower a rename becomes.
#[btf_tracepoint(function = "task_rename")]
pub fn calibrate_call(_ctx: BtfTracePointContext) -> i32 {
    0
}

/// The same, to be left on: no tool can cost less than this.
#[btf_tracepoint(function = "sched_switch")]
pub fn empty_switch(_ctx: BtfTracePointContext) -> i32 {
    0
}

#[btf_tracepoint(function = "sched_waking")]
pub fn empty_waking(_ctx: BtfTracePointContext) -> i32 {
    0
}

/// A switch that is told.
#[unsafe(link_section = "raw_tp/calibrate_switch")]
#[unsafe(no_mangle)]
pub extern "C" fn calibrate_switch(ctx: *mut c_void) -> u32 {
    extern "C" fn body(_: u32, _: *mut c_void) -> c_long {
        switch::observe(false, current(), current(), 1);
        0
    }
    measure(ctx, body)
}

/// A switch of others that is kept, since somebody watched is said to wait.
#[unsafe(link_section = "raw_tp/calibrate_kept")]
#[unsafe(no_mangle)]
pub extern "C" fn calibrate_kept(ctx: *mut c_void) -> u32 {
    extern "C" fn body(_: u32, _: *mut c_void) -> c_long {
        switch::observe(false, current(), current(), 1);
        0
    }
    // SAFETY: a helper without preconditions.
    let cpu = unsafe { bpf_get_smp_processor_id() };
    history::one_more(cpu);
    let took = measure(ctx, body);
    history::one_less(cpu);
    took
}

/// A wake-up that is noted.
#[unsafe(link_section = "raw_tp/calibrate_waking")]
#[unsafe(no_mangle)]
pub extern "C" fn calibrate_waking(ctx: *mut c_void) -> u32 {
    extern "C" fn body(_: u32, _: *mut c_void) -> c_long {
        waking::note(current());
        0
    }
    measure(ctx, body)
}

/// A birth that is told: the dearest record.
#[unsafe(link_section = "raw_tp/calibrate_newtask")]
#[unsafe(no_mangle)]
pub extern "C" fn calibrate_newtask(ctx: *mut c_void) -> u32 {
    extern "C" fn body(_: u32, _: *mut c_void) -> c_long {
        newtask::observe(current(), 0);
        0
    }
    measure(ctx, body)
}

/// A hard interrupt, beginning and end: two runs.
#[unsafe(link_section = "raw_tp/calibrate_irq")]
#[unsafe(no_mangle)]
pub extern "C" fn calibrate_irq(ctx: *mut c_void) -> u32 {
    extern "C" fn body(_: u32, _: *mut c_void) -> c_long {
        interrupt::enter(false);
        interrupt::leave();
        0
    }
    measure(ctx, body)
}

/// A decision that a watched thread is to go, which is taken back in the end. No thread has this flag.
#[unsafe(link_section = "raw_tp/calibrate_resched")]
#[unsafe(no_mangle)]
pub extern "C" fn calibrate_resched(ctx: *mut c_void) -> u32 {
    extern "C" fn body(_: u32, _: *mut c_void) -> c_long {
        resched::decide(current(), 0, 63);
        0
    }
    let took = measure(ctx, body);
    if let Some(place) = RESCHED.get_ptr_mut(0) {
        // SAFETY: a place of the map.
        unsafe { (*place).tid = 0 };
    }
    took
}

/// Watches the threads `args[1..]` that are not 0, or watches them no more where `args[0]` is 0.
#[unsafe(link_section = "raw_tp/watch_threads")]
#[unsafe(no_mangle)]
pub extern "C" fn watch_threads(ctx: *mut c_void) -> u32 {
    let ctx = RawTracePointContext::new(ctx);
    let watched = ctx.arg::<u64>(0) != 0;
    let tids: [u32; 11] = [
        ctx.arg(1),
        ctx.arg(2),
        ctx.arg(3),
        ctx.arg(4),
        ctx.arg(5),
        ctx.arg(6),
        ctx.arg(7),
        ctx.arg(8),
        ctx.arg(9),
        ctx.arg(10),
        ctx.arg(11),
    ];
    for tid in tids {
        if tid != 0 {
            watch::set(tid, watched);
        }
    }
    0
}

/// On the CPU it is sent to: whether that idles, unless a switch has told already.
#[unsafe(link_section = "raw_tp/look_at_cpu")]
#[unsafe(no_mangle)]
pub extern "C" fn look_at_cpu(_ctx: *mut c_void) -> u32 {
    let Some(cpu) = SWITCHES.get_ptr_mut(0) else {
        return 0;
    };
    // SAFETY: the set of this CPU; no switch interrupts an interrupt.
    let cpu = unsafe { &mut *cpu };
    history::begin(cpu);
    let counted = &mut cpu.switches;
    // Once it is told that it idles, the switch away from that tells the end of it.
    if current().tid() == 0 && counted.idle_since_ns == 0 {
        counted.idle_since_ns = now();
    }
    0
}
