//! Hook:       tp_btf/sched_switch
//! Writes:     record::Switch, once per context switch that concerns a watched thread;
//!             counters::CpuSwitches, all of them
//! Without it: no tracing; preflight refuses to start

use aya_ebpf::{
    helpers::bpf_get_smp_processor_id, macros::btf_tracepoint, programs::BtfTracePointContext,
};
use tracer_common::{
    counters::{CpuSwitches, Probe},
    record::{Switch, next_kind, switch_flags, who_flags},
    settings::feature,
};

use super::waking;
use crate::{
    emit::{counters, now, tell_switch},
    history, interrupts,
    maps::SWITCHES,
    settings::has,
    task::Task,
    watch::is_watched,
};

/// By so much the clock of a run queue, which counts waits, may be behind ours. If it is more, the beginning of
/// a wait is not told what it was for.
const CLOCK_SLACK_NS: u64 = 100_000;

#[btf_tracepoint(function = "sched_switch")]
pub fn sched_switch(ctx: BtfTracePointContext) -> i32 {
    let prev = Task::new(ctx.arg(1));
    let next = Task::new(ctx.arg(2));
    // Before 5.18 the state is not handed over, but the thread is still off the run queue's lock
    // reach: whoever wakes it meanwhile can at most have set TASK_WAKING.
    let state = if has(feature::PREV_STATE_ARG) {
        ctx.arg::<u32>(3)
    } else {
        prev.state()
    };
    observe(ctx.arg::<u8>(0) != 0, prev, next, state);
    0
}

#[inline(always)]
pub fn observe(preempt: bool, prev: Task, next: Task, state: u32) {
    // Pointers first: for each that is read from a kernel structure the verifier searches the kernel's
    // types, on every path that it follows anew.
    let (next_mm, active_mm) = (next.mm(), prev.active_mm());
    let (prev_tid, next_tid) = (prev.tid(), next.tid());
    let (prev_watched, next_watched) = (is_watched(prev_tid), is_watched(next_tid));
    let told = prev_watched || next_watched;
    let Some(state_of_cpu) = SWITCHES.get_ptr_mut(0) else {
        return;
    };
    // SAFETY: the set of this CPU; this probe does not interrupt itself.
    let state_of_cpu = unsafe { &mut *state_of_cpu };
    let listens = has(feature::NARROW) && history::listens(state_of_cpu, prev_tid, next);
    let kept = told || listens || history::is_wanted();
    let queues = kept.then(|| {
        let group = next.group_queue();
        (group, group.run_queue())
    });
    // Reading the clock is the dearest part of a switch that nobody is told of.
    let at_ns = if kept || prev_tid == 0 || next_tid == 0 {
        now()
    } else {
        0
    };
    let kind = next_kind_of(prev, next);
    let changes_mm = next_mm != 0 && next_mm != active_mm;
    let number = count(
        &mut state_of_cpu.switches,
        prev_tid,
        next_tid,
        preempt || state == 0,
        kind,
        changes_mm,
        at_ns,
    );
    let Some((group, queue)) = queues else {
        return;
    };
    let taken = interrupts::at_switch();
    let by_itself = !preempt && state != 0 && prev.state() != 0;
    // SAFETY: a helper without preconditions.
    let cpu = unsafe { bpf_get_smp_processor_id() };
    let gap = has(feature::NARROW) && history::is_gap(cpu, number);
    if has(feature::NARROW) {
        // The idle thread before a watched one is told by the switch itself.
        if !prev_watched && (!next_watched || prev_tid != 0) {
            let flags = if gap { who_flags::GAP } else { 0 };
            history::left(cpu, at_ns, (prev, next_tid), queue, taken, flags);
        }
        if prev_watched {
            // It may have come unseen, and what it waited for is not shown yet.
            history::unqueued(prev_tid, cpu);
            if !next_watched {
                history::show(cpu, 0);
            }
            if !by_itself {
                history::queued(prev_tid, cpu);
            }
        }
        if !next_watched {
            history::introduce(at_ns, next, next_tid);
        }
    }
    if !told {
        return;
    }
    if has(feature::NARROW) && next_watched {
        history::unqueued(next_tid, cpu);
        let queued = next.last_queued();
        let queued_ns = at_ns.wrapping_sub(queue.clock().wrapping_sub(queued) + CLOCK_SLACK_NS);
        let woken_ns = waking::read(next_tid);
        let since_ns = if queued == 0 {
            0
        } else if woken_ns != 0 && woken_ns < queued_ns {
            woken_ns
        } else {
            queued_ns
        };
        history::show(cpu, since_ns);
    }
    let (irq_ns, softirq_ns) = taken;
    // Whom a signal kept from blocking called schedule() by itself, too.
    let resched_ns = interrupts::resched_ns(prev_tid, !preempt && state != 0, at_ns);
    let Some(counters) = counters(Probe::Switch) else {
        return;
    };
    tell_switch(counters, at_ns, |record: &mut Switch| {
        let clock = queue.clock();
        let last_queued = next.last_queued();
        prev.write_key(&mut record.prev);
        next.write_key(&mut record.next);
        record.prev_tid = prev_tid;
        record.next_tid = next_tid;
        record.prev_nvcsw = prev.nvcsw();
        record.prev_nivcsw = prev.nivcsw();
        record.prev_run_delay_ns = prev.run_delay();
        record.prev_sum_exec_ns = prev.sum_exec();
        record.next_run_delay_ns = next.run_delay();
        record.next_seq = next.seq() as u32;
        record.prev_state = state;
        record.steal_ns = queue.steal();
        record.clock_lag_ns = clock.wrapping_sub(queue.clock_task());
        record.nr_running = queue.nr_running();
        record.rq_clock_ns = clock;
        let note = waking::take(next_tid, cpu);
        record.next_waking_ns = note.at_ns;
        record.next_waker = note.waker;
        record.next_waker_cpu = note.waker_cpu;
        record.next_waker_syscall = note.waker_syscall;
        record.irq_ns = irq_ns;
        record.softirq_ns = softirq_ns;
        record.next_throttled_ns = group.throttled();
        record.resched_ns = resched_ns;
        record.prev_priority = prev.priority();

        let mut flags = kind << switch_flags::NEXT_KIND_SHIFT;
        if last_queued != 0 {
            flags |= switch_flags::NEXT_QUEUED;
            record.next_wait_ns = clock.wrapping_sub(last_queued);
        } else {
            record.next_wait_ns = 0;
        }
        if preempt {
            flags |= switch_flags::PREEMPT;
        }
        // `state` is the state it entered schedule() with; a pending signal has set it back since.
        if !by_itself {
            flags |= switch_flags::RUNNABLE;
        }
        if changes_mm {
            flags |= switch_flags::ADDRESS_SPACE;
        }
        if !prev_watched {
            flags |= switch_flags::PREV_UNWATCHED;
        }
        if !next_watched {
            flags |= switch_flags::NEXT_UNWATCHED;
        }
        if gap {
            flags |= switch_flags::GAP;
        }
        if prev.in_iowait() {
            flags |= switch_flags::IOWAIT;
        }
        if prev.is_throttled() {
            flags |= switch_flags::THROTTLED;
        }
        if prev.is_own() {
            flags |= switch_flags::PREV_OWN;
        }
        if next.is_own() {
            flags |= switch_flags::NEXT_OWN;
        }
        if has(feature::STEAL) {
            flags |= switch_flags::STEAL;
        }
        record.syscall = 0;
        // Preempted inside the kernel, a thread may be anywhere: only who called schedule() is
        // known to be in its system call.
        if !preempt && let Some((number, compat)) = prev.syscall() {
            record.syscall = number;
            flags |= switch_flags::SYSCALL;
            if compat {
                flags |= switch_flags::COMPAT;
            }
        }
        flags
    });
}

/// Every switch of this CPU counts, also those that no record tells or could tell. Answers which one this is.
#[inline(always)]
fn count(
    counted: &mut CpuSwitches,
    prev_tid: u32,
    next_tid: u32,
    involuntary: bool,
    kind: u16,
    changes_mm: bool,
    at_ns: u64,
) -> u64 {
    if prev_tid == 0 {
        counted.from_idle += 1;
        if counted.idle_since_ns != 0 {
            counted.idle_ns += at_ns.wrapping_sub(counted.idle_since_ns);
        }
        counted.idle_since_ns = 0;
    } else {
        if involuntary {
            counted.involuntary += 1;
        } else {
            counted.voluntary += 1;
        }
        if let Some(counter) = counted.kinds.get_mut(usize::from(kind)) {
            *counter += 1;
        }
    }
    if changes_mm {
        counted.address_space_changes += 1;
    }
    if next_tid == 0 {
        counted.idle_since_ns = at_ns;
    }
    counted.voluntary + counted.involuntary + counted.from_idle
}

#[inline(always)]
fn next_kind_of(prev: Task, next: Task) -> u16 {
    if next.tid() == 0 {
        next_kind::IDLE
    } else if next.is_kernel_thread() {
        next_kind::KERNEL_THREAD
    } else if next.tgid() == prev.tgid() {
        next_kind::SAME_PROCESS
    } else {
        next_kind::OTHER_PROCESS
    }
}
