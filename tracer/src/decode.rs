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

/// A switch that is a record already.
#[inline]
pub fn switch_event(record: &record::Switch) -> Event {
    Event {
        at: Timestamp(record.header.at_ns),
        cpu: Cpu(record.header.cpu),
        what: What::Switch(switch(record)),
    }
}

/// One record. Trailing bytes of a longer (newer) record are ignored.
pub fn decode(mut bytes: &[u8]) -> Option<Event> {
    // Nearly all records are of this kind.
    if let Some(whole) = bytes.first_chunk() {
        let record = record::Switch::from_bytes(whole);
        let header = record.header;
        let len = usize::from(header.len);
        if header.kind == kind::SWITCH && (record::Switch::BYTES..=bytes.len()).contains(&len) {
            return Some(switch_event(&record));
        }
    }
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
        waker: self::waker(buf.get_u32_ne(), buf.get_u16_ne(), buf.get_u16_ne()),
    }
}

/// Who woke, from which CPU, in which system call.
#[inline]
fn waker(waker: u32, cpu: u16, syscall: u16) -> Waker {
    Waker {
        kind: match waker >> waker::KIND_SHIFT {
            waker::THREAD => WakerKind::Thread,
            waker::IRQ => WakerKind::Irq,
            waker::SOFTIRQ => WakerKind::Softirq,
            waker::TIMER => WakerKind::Timer,
            _ => WakerKind::Unknown,
        },
        tid: waker & waker::TID_MASK,
        cpu: Cpu(cpu),
        syscall: syscall
            .checked_sub(1)
            .map(|number| Syscall::Native(number.into())),
    }
}

/// What `record::Left` and `record::Name` begin with: who it is about, and the number after that.
fn who(flags: u16, buf: &mut &[u8]) -> (Who, u32) {
    let tid = buf.get_u32_ne();
    let pid = buf.get_u32_ne();
    let comm = comm(buf);
    let priority = packed_priority(buf.get_u32_ne());
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
fn packed_priority(packed: u32) -> Priority {
    let [policy, nice, rt_priority, _] = packed.to_le_bytes();
    Priority {
        policy: policy.into(),
        nice: i8::from_le_bytes([nice]).into(),
        rt_priority: rt_priority.into(),
    }
}

#[inline]
fn switch(record: &record::Switch) -> Switch {
    let flags = record.header.flags;
    let has = |bit| flags & bit != 0;
    let runnable = has(switch_flags::RUNNABLE) && !has(switch_flags::PREEMPT);
    Switch {
        prev: Side {
            key: Key(record.prev),
            tid: record.prev_tid,
            own: has(switch_flags::PREV_OWN),
            watched: !has(switch_flags::PREV_UNWATCHED),
        },
        next: Side {
            key: Key(record.next),
            tid: record.next_tid,
            own: has(switch_flags::NEXT_OWN),
            watched: !has(switch_flags::NEXT_UNWATCHED),
        },
        counters: Counters {
            nvcsw: count(record.prev_nvcsw),
            nivcsw: count(record.prev_nivcsw),
            run_delay: Nanos(record.prev_run_delay_ns),
            sum_exec: Nanos(record.prev_sum_exec_ns),
        },
        out: switch_out(flags, record.prev_state),
        preempt: has(switch_flags::PREEMPT),
        stamped: record.prev_state == 0 || runnable,
        throttled: has(switch_flags::THROTTLED),
        requeued: record.prev_state != 0 && runnable,
        syscall: has(switch_flags::SYSCALL)
            .then(|| named(record.syscall, has(switch_flags::COMPAT))),
        next_kind: match (flags & switch_flags::NEXT_KIND_MASK) >> switch_flags::NEXT_KIND_SHIFT {
            next_kind::IDLE => NextKind::Idle,
            next_kind::KERNEL_THREAD => NextKind::KernelThread,
            next_kind::SAME_PROCESS => NextKind::SameProcess,
            _ => NextKind::OtherProcess,
        },
        address_space_change: has(switch_flags::ADDRESS_SPACE),
        gap: has(switch_flags::GAP),
        next_run_delay: Nanos(record.next_run_delay_ns),
        next_wait: has(switch_flags::NEXT_QUEUED).then_some(Nanos(record.next_wait_ns)),
        next_seq: record.next_seq,
        steal: has(switch_flags::STEAL).then_some(Nanos(record.steal_ns)),
        clock_lag: Nanos(record.clock_lag_ns),
        nr_running: record.nr_running,
        rq_clock: Timestamp(record.rq_clock_ns),
        next_waking: time(record.next_waking_ns).map(|at| {
            let (cpu, syscall) = (record.next_waker_cpu, record.next_waker_syscall);
            (at, waker(record.next_waker, cpu, syscall))
        }),
        interrupts: Interrupts {
            irq: Nanos(record.irq_ns),
            softirq: Nanos(record.softirq_ns),
        },
        next_throttled: Nanos(record.next_throttled_ns),
        resched: Some(Nanos(record.resched_ns.into())).filter(|&delay| delay > Nanos::ZERO),
        prev_priority: packed_priority(record.prev_priority),
    }
}

/// A time of 0 is none.
#[inline]
fn time(at_ns: u64) -> Option<Timestamp> {
    (at_ns != 0).then_some(Timestamp(at_ns))
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
        waking: time(buf.get_u64_ne()),
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
#[inline]
fn count(number: u64) -> u64 {
    number.min(1 << 48)
}

fn counters(buf: &mut &[u8]) -> Counters {
    Counters {
        nvcsw: count(buf.get_u64_ne()),
        nivcsw: count(buf.get_u64_ne()),
        run_delay: Nanos(buf.get_u64_ne()),
        sum_exec: Nanos(buf.get_u64_ne()),
    }
}

fn counted(buf: &mut &[u8]) -> CpuSwitches {
    CpuSwitches {
        voluntary: count(buf.get_u64_ne()),
        involuntary: count(buf.get_u64_ne()),
        from_idle: count(buf.get_u64_ne()),
        address_space_changes: count(buf.get_u64_ne()),
        kinds: std::array::from_fn(|_| count(buf.get_u64_ne())),
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
