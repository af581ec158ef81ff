//! Hook:       tp_btf/sched_switch
//! Writes:     record::Switch, once per context switch
//! Without it: no tracing; preflight refuses to start

use aya_ebpf::{macros::btf_tracepoint, programs::BtfTracePointContext};
use tracer_common::{
    counters::Probe,
    record::{Switch, kind, next_kind, switch_flags},
    settings::feature,
};

use crate::{emit::emit, settings::has, task::Task};

#[btf_tracepoint(function = "sched_switch")]
pub fn sched_switch(ctx: BtfTracePointContext) -> i32 {
    let preempt = ctx.arg::<u8>(0) != 0;
    let prev = Task::new(ctx.arg(1));
    let next = Task::new(ctx.arg(2));
    // Before 5.18 the state is not handed over, but the thread is still off the run queue's lock
    // reach: whoever wakes it meanwhile can at most have set TASK_WAKING.
    let now = prev.state();
    let state = if has(feature::PREV_STATE_ARG) {
        ctx.arg::<u32>(3)
    } else {
        now
    };

    emit(Probe::Switch, kind::SWITCH, |record: &mut Switch| {
        let queue = next.run_queue();
        let clock = queue.clock();
        let last_queued = next.last_queued();
        prev.write_key(&mut record.prev);
        next.write_key(&mut record.next);
        record.prev_tid = prev.tid();
        record.next_tid = next.tid();
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

        let mut flags = next_kind_of(prev, next) << switch_flags::NEXT_KIND_SHIFT;
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
        if preempt || state == 0 || now == 0 {
            flags |= switch_flags::RUNNABLE;
        }
        let next_mm = next.mm();
        if next_mm != 0 && next_mm != prev.active_mm() {
            flags |= switch_flags::ADDRESS_SPACE;
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
    0
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
