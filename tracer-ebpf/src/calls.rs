//! System calls that create, replace and wait for processes, from their entry to their return.
//!
//! On x86-64 and arm64: `feature::FORKS` is set nowhere else.

use aya_ebpf::helpers::{bpf_get_current_pid_tgid, bpf_probe_read_user};
use tracer_common::{
    counters::{Call, Probe},
    record::{Called, call, kind},
    settings::feature,
};

use crate::{
    emit::{counters, now, tell},
    maps::CALLS,
    registers::Registers,
    settings::has,
    task::{Task, address_of_current, key_of_current},
    watch::is_watched,
};

/// arch/x86/entry/syscalls/syscall_64.tbl
#[cfg(not(bpf_target_arch = "aarch64"))]
mod number {
    pub const CLONE: u64 = 56;
    pub const FORK: u64 = 57;
    pub const VFORK: u64 = 58;
    pub const EXECVE: u64 = 59;
    pub const WAIT4: u64 = 61;
    pub const WAITID: u64 = 247;
    pub const EXECVEAT: u64 = 322;
    pub const CLONE3: u64 = 435;

    #[inline(always)]
    pub fn creates(number: u64) -> bool {
        matches!(number, CLONE | FORK | VFORK | CLONE3)
    }
}

/// include/uapi/asm-generic/unistd.h
#[cfg(bpf_target_arch = "aarch64")]
mod number {
    pub const WAITID: u64 = 95;
    pub const CLONE: u64 = 220;
    pub const EXECVE: u64 = 221;
    pub const WAIT4: u64 = 260;
    pub const EXECVEAT: u64 = 281;
    pub const CLONE3: u64 = 435;

    #[inline(always)]
    pub fn creates(number: u64) -> bool {
        matches!(number, CLONE | CLONE3)
    }
}

/// `WNOWAIT`, include/uapi/linux/wait.h: the child stays what it is.
const WNOWAIT: u64 = 0x0100_0000;
/// `siginfo_t.si_pid`, include/uapi/asm-generic/siginfo.h.
const SI_PID: u64 = 16;

#[inline(always)]
fn replaces(number: u64) -> bool {
    matches!(number, number::EXECVE | number::EXECVEAT)
}

#[inline(always)]
fn waits(number: u64) -> bool {
    matches!(number, number::WAIT4 | number::WAITID)
}

/// One more run; nothing else of nearly all.
#[inline(always)]
fn count() {
    if let Some(counters) = counters(Probe::Syscall) {
        counters.events = counters.events.wrapping_add(1);
    }
}

#[inline(always)]
pub fn entered(number: u64) {
    count();
    if !number::creates(number) && !replaces(number) {
        return;
    }
    let tid = bpf_get_current_pid_tgid() as u32;
    // The numbers of 32-bit programs mean something else.
    if !is_watched(tid) || Task::current().is_compat() {
        return;
    }
    let call = Call {
        entered_ns: now(),
        ..Call::default()
    };
    // Where there are too many its cost is not known.
    let _ = CALLS.insert(address_of_current(), call, 0);
}

/// Whoever runs here has created a thread.
#[inline(always)]
pub fn created(child: u64, child_tid: u32) {
    if !has(feature::FORKS) {
        return;
    }
    if let Some(call) = CALLS.get_ptr_mut(address_of_current()) {
        // SAFETY: an entry of the map; only its own thread writes it.
        let call = unsafe { &mut *call };
        call.child = child;
        call.child_tid = child_tid;
    }
}

/// A thread ends, maybe in the middle of one.
#[inline(always)]
pub fn forget() {
    if has(feature::FORKS) {
        let _ = CALLS.remove(address_of_current());
    }
}

#[inline(always)]
pub fn returned(regs: Registers, returned: i64) {
    count();
    let number = u64::from(regs.number());
    if waits(number) {
        return waited(regs, number, returned);
    }
    if !number::creates(number) && !replaces(number) {
        return;
    }
    // The child returns from the same call, and has no entry.
    let address = address_of_current();
    let Some(call) = CALLS.get_ptr(address) else {
        return;
    };
    // SAFETY: an entry of the map; only its own thread writes it.
    let call = unsafe { *call };
    let _ = CALLS.remove(address);
    if number::creates(number) && returned > 0 && call.child != 0 {
        told(call::CREATE, returned as u32, call);
    } else if replaces(number) && returned == 0 {
        told(call::EXEC, 0, call);
    }
}

#[inline(always)]
fn waited(regs: Registers, number: u64, returned: i64) {
    let tid = bpf_get_current_pid_tgid() as u32;
    if !is_watched(tid) || Task::current().is_compat() {
        return;
    }
    let pid = if number == number::WAIT4 {
        returned
    } else if returned == 0 && regs.fourth_argument() & WNOWAIT == 0 {
        let place = regs.third_argument().wrapping_add(SI_PID) as *const i32;
        // SAFETY: checked by the helper; a bad address, and none, is an error.
        i64::from(unsafe { bpf_probe_read_user(place) }.unwrap_or(0))
    } else {
        0
    };
    if pid > 0 {
        told(call::WAIT, pid as u32, Call::default());
    }
}

#[inline(always)]
fn told(what: u16, pid: u32, call: Call) {
    let Some(counters) = counters(Probe::Syscall) else {
        return;
    };
    tell(
        counters,
        now(),
        Probe::Syscall,
        kind::CALLED,
        |record: &mut Called| {
            record.task = key_of_current();
            record.tid = bpf_get_current_pid_tgid() as u32;
            record.pid = pid;
            record.entered_ns = call.entered_ns;
            record.child = call.child;
            record.child_tid = call.child_tid;
            record.reserved = 0;
            what
        },
    );
}
