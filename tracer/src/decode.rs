//! Bytes to events.
//!
//! In: one record as the kernel wrote it. Out: an [`Event`], or `None` for what this build does not
//! know (it is counted, and stepped over by its length). Any bytes are allowed; nothing here fails.

mod lives;

use bytes::Buf;
use tracer_common::record::{self, kind, next_kind, switch_flags, thread_flags, waker, who_flags};

use crate::model::{
    Birth, Comm, Counters, Cpu, CpuSwitches, Event, Interrupts, Key, Nanos, NextKind, OffState,
    Posture, Priority, Side, Switch, SwitchOut, Syscall, ThreadInfo, Timestamp, Waker, WakerKind,
    What, Who,
};

/// `TASK_*`, include/linux/sched.h; the numbers below 0x100 have not moved since 4.14.
mod task_state {
    pub const UNINTERRUPTIBLE: u32 = 0x2;
    pub const STOPPED: u32 = 0x4;
    pub const TRACED: u32 = 0x8;
    pub const DEAD: u32 = 0x80;
    pub const NOLOAD: u32 = 0x400;
    /// `TASK_RTLOCK_WAIT`, 5.15 and later.
    pub const RTLOCK_WAIT: u32 = 0x1000;
    /// `TASK_FROZEN`, 6.1 and later.
    pub const FROZEN: u32 = 0x8000;
}

/// The static priority of nice 0: `DEFAULT_PRIO`, include/linux/sched/prio.h.
const DEFAULT_PRIO: i64 = 120;

const HEADER: usize = size_of::<record::Header>();

/// What is known of a record before it is decoded.
#[derive(Clone, Copy, Debug)]
pub struct Envelope<'a> {
    pub at: Timestamp,
    pub cpu: Cpu,
    /// From its header to its end.
    pub record: &'a [u8],
}

/// No machine is up for so long (146 years): what says so is damaged, and sums of times would overflow.
pub const LATEST: Timestamp = Timestamp(1 << 62);

/// `None` for bytes that are shorter than they say, or than a header, or of no time.
#[inline]
pub fn envelope(bytes: &[u8]) -> Option<Envelope<'_>> {
    let mut header: &[u8] = bytes.first_chunk::<{ size_of::<record::Header>() }>()?;
    let at = Timestamp(header.get_u64_ne());
    let _kind = header.get_u16_ne();
    let len = usize::from(header.get_u16_ne());
    let cpu = Cpu(header.get_u16_ne());
    let record = bytes.get(..len)?;
    let sound = len >= size_of::<record::Header>() && at < LATEST;
    sound.then_some(Envelope { at, cpu, record })
}

/// Whether a record tells who had a CPU before, rather than what happens.
#[inline]
pub fn is_history(record: &[u8]) -> bool {
    const KIND: usize = std::mem::offset_of!(record::Header, kind);
    record.get(KIND..KIND + 2) == Some(&kind::LEFT.to_ne_bytes())
}

/// One record. Trailing bytes of a longer (newer) record are ignored.
pub fn decode(mut bytes: &[u8]) -> Option<Event> {
    let buf = &mut bytes;
    if buf.remaining() < size_of::<record::Header>() {
        return None;
    }
    let at = Timestamp(buf.get_u64_ne());
    let kind = buf.get_u16_ne();
    let len = usize::from(buf.get_u16_ne());
    let cpu = Cpu(buf.get_u16_ne());
    let flags = buf.get_u16_ne();
    let body = buf.get(..len.checked_sub(size_of::<record::Header>())?)?;
    let what = decode_body(kind, flags, body)?;
    Some(Event { at, cpu, what })
}

#[inline]
fn decode_body(kind: u16, flags: u16, mut body: &[u8]) -> Option<What> {
    // Nearly all records are of these two kinds.
    if kind == kind::SWITCH {
        let mut body: &[u8] = body.first_chunk::<{ size_of::<record::Switch>() - HEADER }>()?;
        return Some(What::Switch(switch(flags, &mut body)));
    }
    if kind == kind::WAKING {
        let mut body: &[u8] = body.first_chunk::<{ size_of::<record::Waking>() - HEADER }>()?;
        return Some(waking(&mut body));
    }
    let needed = match kind {
        kind::WAKEUP_NEW => size_of::<record::WakeupNew>(),
        kind::MIGRATE => size_of::<record::Migrate>(),
        kind::NEWTASK | kind::THREAD | kind::THREAD_END => size_of::<record::Thread>(),
        kind::FORK => size_of::<record::Fork>(),
        kind::CGROUP => size_of::<record::Cgroup>(),
        kind::EXEC => size_of::<record::Exec>(),
        kind::EXIT => size_of::<record::Exit>(),
        kind::RENAME => size_of::<record::Rename>(),
        kind::LOST => size_of::<record::Lost>(),
        kind::CPU_SWITCHES => size_of::<record::CpuSwitches>(),
        kind::LEFT => size_of::<record::Left>(),
        kind::NAME => size_of::<record::Name>(),
        kind::CALLED => size_of::<record::Called>(),
        kind::COW => size_of::<record::Cow>(),
        kind::TEARDOWN => size_of::<record::Teardown>(),
        kind::WINDOW_BEGIN | kind::WINDOW_END => size_of::<record::Header>(),
        _ => return None,
    };
    if body.remaining() + size_of::<record::Header>() < needed {
        return None;
    }
    let buf = &mut body;
    Some(match kind {
        kind::WAKEUP_NEW => {
            let task = Key(buf.get_u64_ne());
            let tid = buf.get_u32_ne();
            What::WakeupNew {
                task,
                tid,
                on: Cpu(buf.get_u32_ne() as u16),
                rq_clock: Timestamp(buf.get_u64_ne()),
            }
        }
        kind::MIGRATE => What::Migrate {
            task: Key(buf.get_u64_ne()),
            tid: buf.get_u32_ne(),
            to: Cpu(buf.get_u32_ne() as u16),
        },
        kind::NEWTASK => {
            let (child, birth) = thread(flags, buf);
            What::Newtask { child, birth }
        }
        kind::THREAD => What::Seen(thread(flags, buf).0),
        kind::THREAD_END => What::SeenAtEnd(thread(flags, buf).0),
        kind::CGROUP => What::Moved {
            task: Key(buf.get_u64_ne()),
            tid: buf.get_u32_ne(),
            whole_process: buf.get_u32_ne() != 0,
            cgroup: buf.get_u64_ne(),
        },
        kind::FORK => lives::fork(flags, buf),
        kind::EXEC => What::Exec {
            task: Key(buf.get_u64_ne()),
            tid: buf.get_u32_ne(),
            old_tid: buf.get_u32_ne(),
            comm: comm(buf),
        },
        kind::EXIT => lives::exit(flags, buf),
        kind::CALLED => lives::called(flags, buf)?,
        kind::COW => lives::cow(buf),
        kind::TEARDOWN => What::Teardown {
            task: Key(buf.get_u64_ne()),
            tid: buf.get_u32_ne(),
        },
        kind::RENAME => {
            let task = Key(buf.get_u64_ne());
            let tid = buf.get_u32_ne();
            let _reserved = buf.get_u32_ne();
            What::Rename {
                task,
                tid,
                comm: comm(buf),
            }
        }
        kind::LOST => {
            let probe = buf.get_u32_ne();
            let _reserved = buf.get_u32_ne();
            What::Lost {
                probe,
                total: buf.get_u64_ne(),
            }
        }
        kind::CPU_SWITCHES => What::Counted(counted(buf)),
        kind::LEFT => {
            let (who, next_tid) = who(flags, buf);
            let taken = (Nanos(buf.get_u64_ne()), interrupts(buf));
            let ran = Some(Nanos(buf.get_u64_ne())).filter(|&ran| ran > Nanos::ZERO);
            What::Left {
                who,
                next_tid,
                taken: Some(taken).filter(|_| flags & who_flags::UNMEASURED == 0),
                ran,
                gap: flags & who_flags::GAP != 0,
                stays: flags & who_flags::STAYS != 0,
            }
        }
        kind::NAME => What::Named(who(flags, buf).0),
        kind::WINDOW_BEGIN => What::WindowBegin,
        _ => What::WindowEnd,
    })
}

/// `buf` holds a whole `record::Waking` without its header.
#[inline]
fn waking(buf: &mut &[u8]) -> What {
    What::Waking {
        task: Key(buf.get_u64_ne()),
        tid: buf.get_u32_ne(),
        waker: self::waker(buf),
    }
}

/// Who woke, from which CPU, in which system call.
#[inline]
fn waker(buf: &mut &[u8]) -> Waker {
    let waker = buf.get_u32_ne();
    let cpu = Cpu(buf.get_u16_ne());
    let syscall = u32::from(buf.get_u16_ne());
    Waker {
        kind: match waker >> waker::KIND_SHIFT {
            waker::THREAD => WakerKind::Thread,
            waker::IRQ => WakerKind::Irq,
            waker::SOFTIRQ => WakerKind::Softirq,
            waker::TIMER => WakerKind::Timer,
            _ => WakerKind::Unknown,
        },
        tid: waker & waker::TID_MASK,
        cpu,
        syscall: syscall.checked_sub(1).map(Syscall::Native),
    }
}

/// What `record::Left` and `record::Name` begin with: who it is about, and the number after that.
fn who(flags: u16, buf: &mut &[u8]) -> (Who, u32) {
    let tid = buf.get_u32_ne();
    let pid = buf.get_u32_ne();
    let comm = comm(buf);
    let priority = packed_priority(buf);
    let number = buf.get_u32_ne();
    let who = Who {
        pid,
        tid,
        comm,
        priority,
        kernel_thread: flags & who_flags::KERNEL_THREAD != 0,
        own: flags & who_flags::OWN != 0,
    };
    (who, number)
}

#[inline]
fn interrupts(buf: &mut &[u8]) -> Interrupts {
    Interrupts {
        irq: Nanos(buf.get_u64_ne()),
        softirq: Nanos(buf.get_u64_ne()),
    }
}

/// As [`record::pack_priority`] packs it.
#[inline]
fn packed_priority(buf: &mut &[u8]) -> Priority {
    let [policy, nice, rt_priority, _] = buf.get_u32_ne().to_le_bytes();
    Priority {
        policy: policy.into(),
        nice: i8::from_le_bytes([nice]).into(),
        rt_priority: rt_priority.into(),
    }
}

/// `buf` holds a whole `record::Switch` without its header.
#[inline]
fn switch(flags: u16, buf: &mut &[u8]) -> Switch {
    let has = |bit| flags & bit != 0;
    let prev_key = Key(buf.get_u64_ne());
    let next_key = Key(buf.get_u64_ne());
    let prev = Side {
        key: prev_key,
        tid: buf.get_u32_ne(),
        own: has(switch_flags::PREV_OWN),
        watched: !has(switch_flags::PREV_UNWATCHED),
    };
    let next = Side {
        key: next_key,
        tid: buf.get_u32_ne(),
        own: has(switch_flags::NEXT_OWN),
        watched: !has(switch_flags::NEXT_UNWATCHED),
    };
    let counters = counters(buf);
    let next_run_delay = Nanos(buf.get_u64_ne());
    let next_wait = Nanos(buf.get_u64_ne());
    let next_seq = buf.get_u32_ne();
    let state = buf.get_u32_ne();
    let steal = Nanos(buf.get_u64_ne());
    let clock_lag = Nanos(buf.get_u64_ne());
    let syscall = buf.get_u32_ne();
    Switch {
        prev,
        next,
        counters,
        out: switch_out(flags, state),
        preempt: has(switch_flags::PREEMPT),
        stamped: state == 0 || (has(switch_flags::RUNNABLE) && !has(switch_flags::PREEMPT)),
        throttled: has(switch_flags::THROTTLED),
        requeued: state != 0 && has(switch_flags::RUNNABLE) && !has(switch_flags::PREEMPT),
        syscall: has(switch_flags::SYSCALL).then(|| named(syscall, has(switch_flags::COMPAT))),
        next_kind: match (flags & switch_flags::NEXT_KIND_MASK) >> switch_flags::NEXT_KIND_SHIFT {
            next_kind::IDLE => NextKind::Idle,
            next_kind::KERNEL_THREAD => NextKind::KernelThread,
            next_kind::SAME_PROCESS => NextKind::SameProcess,
            _ => NextKind::OtherProcess,
        },
        address_space_change: has(switch_flags::ADDRESS_SPACE),
        gap: has(switch_flags::GAP),
        next_run_delay,
        next_wait: has(switch_flags::NEXT_QUEUED).then_some(next_wait),
        next_seq,
        steal: has(switch_flags::STEAL).then_some(steal),
        clock_lag,
        nr_running: buf.get_u32_ne(),
        rq_clock: Timestamp(buf.get_u64_ne()),
        next_waking: {
            let at = time(buf);
            let waker = waker(buf);
            at.map(|at| (at, waker))
        },
        interrupts: interrupts(buf),
        next_throttled: Nanos(buf.get_u64_ne()),
        resched: Some(Nanos(buf.get_u32_ne().into())).filter(|&delay| delay > Nanos::ZERO),
        prev_priority: packed_priority(buf),
    }
}

/// A time of 0 is none.
fn time(buf: &mut &[u8]) -> Option<Timestamp> {
    Some(Timestamp(buf.get_u64_ne())).filter(|&at| at != Timestamp(0))
}

/// `buf` holds a whole `record::Thread` without its header.
fn thread(flags: u16, buf: &mut &[u8]) -> (ThreadInfo, Birth) {
    let has = |bit| flags & bit != 0;
    let key = Key(buf.get_u64_ne());
    let tid = buf.get_u32_ne();
    let tgid = buf.get_u32_ne();
    let ppid = buf.get_u32_ne();
    let state = buf.get_u32_ne();
    let start = Timestamp(buf.get_u64_ne());
    let counters = counters(buf);
    let cgroup = buf.get_u64_ne();
    let clone_flags = buf.get_u64_ne();
    let parent = Key(buf.get_u64_ne());
    let comm = comm(buf);
    let priority = priority(buf);
    let cpu = Cpu(buf.get_u32_ne() as u16);
    let syscall = buf.get_u32_ne();
    let parent_tid = buf.get_u32_ne();
    let steal = Nanos(buf.get_u64_ne());
    let clock_lag = Nanos(buf.get_u64_ne());
    let info = ThreadInfo {
        key,
        tid,
        tgid,
        ppid,
        start,
        comm,
        counters,
        cgroup: has(thread_flags::CGROUP).then_some(cgroup),
        priority,
        cpu,
        kernel_thread: has(thread_flags::KERNEL_THREAD),
        io_worker: has(thread_flags::IO_WORKER),
        own: has(thread_flags::OWN),
        posture: posture(flags, state),
        queued: has(thread_flags::QUEUED),
        syscall: has(thread_flags::SYSCALL).then(|| named(syscall, has(thread_flags::COMPAT))),
        torn: has(thread_flags::TORN),
        steal: has(thread_flags::STEAL).then_some(steal),
        clock_lag,
        watched: !has(thread_flags::UNWATCHED),
        waking: time(buf),
    };
    (
        info,
        Birth {
            clone_flags,
            parent,
            parent_tid,
        },
    )
}

/// Of switches. Damage cannot make sums of them overflow: no machine has switched so often.
fn count(buf: &mut &[u8]) -> u64 {
    buf.get_u64_ne().min(1 << 48)
}

fn counters(buf: &mut &[u8]) -> Counters {
    Counters {
        nvcsw: count(buf),
        nivcsw: count(buf),
        run_delay: Nanos(buf.get_u64_ne()),
        sum_exec: Nanos(buf.get_u64_ne()),
    }
}

fn counted(buf: &mut &[u8]) -> CpuSwitches {
    CpuSwitches {
        voluntary: count(buf),
        involuntary: count(buf),
        from_idle: count(buf),
        address_space_changes: count(buf),
        kinds: std::array::from_fn(|_| count(buf)),
        idle_ns: buf.get_u64_ne(),
        idle_since_ns: buf.get_u64_ne(),
    }
}

fn comm(buf: &mut &[u8]) -> Comm {
    let mut comm = [0; 16];
    buf.copy_to_slice(&mut comm);
    Comm(comm)
}

fn priority(buf: &mut &[u8]) -> Priority {
    let policy = buf.get_u32_ne();
    let static_prio = buf.get_u32_ne();
    Priority {
        policy,
        nice: (i64::from(static_prio) - DEFAULT_PRIO).clamp(-20, 19) as i32,
        rt_priority: buf.get_u32_ne(),
    }
}

fn named(number: u32, compat: bool) -> Syscall {
    if compat {
        Syscall::Compat
    } else {
        Syscall::Native(number)
    }
}

fn switch_out(flags: u16, state: u32) -> SwitchOut {
    if state & task_state::DEAD != 0 {
        SwitchOut::Dead
    } else if flags & switch_flags::RUNNABLE != 0 {
        SwitchOut::Runnable
    } else {
        SwitchOut::Blocked {
            state: off_state(state),
            iowait: flags & switch_flags::IOWAIT != 0,
        }
    }
}

fn posture(flags: u16, state: u32) -> Posture {
    if flags & thread_flags::DEAD != 0 {
        Posture::Dead
    } else if flags & thread_flags::UNBORN != 0 {
        Posture::Unborn
    } else if flags & thread_flags::ON_CPU != 0 {
        Posture::OnCpu
    } else if state == 0 {
        // Not `on_rq`: since 6.12 a sleeper may stay on the run queue for a while.
        Posture::Runnable
    } else {
        Posture::Blocked {
            state: off_state(state),
            iowait: flags & thread_flags::IOWAIT != 0,
        }
    }
}

fn off_state(state: u32) -> OffState {
    use task_state::*;
    if state & (STOPPED | TRACED | FROZEN) != 0 {
        OffState::Stopped
    } else if state & UNINTERRUPTIBLE != 0 && state & NOLOAD == 0 || state & RTLOCK_WAIT != 0 {
        OffState::Block
    } else {
        // Interruptible, idle (uninterruptible without load) and parked.
        OffState::Sleep
    }
}

#[cfg(test)]
#[path = "decode_tests.rs"]
mod tests;
