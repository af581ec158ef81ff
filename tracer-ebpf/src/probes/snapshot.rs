//! Hook:       iter/task
//! Writes:     record::Thread for every thread that exists, to whoever reads the iterator
//! Without it: threads that existed at the start are not known, and nothing can be checked;
//!             preflight refuses to start
//!
//! The other programs fill rings; this one does not, on purpose: what it says is evidence against
//! the stream.

use aya_ebpf::{
    bindings::seq_file,
    helpers::{bpf_ktime_get_ns, generated::bpf_seq_write},
};
use tracer_common::record::{Header, Thread, kind, thread_flags};

use super::waking;
use crate::{history, maps::SCRATCH, task::Task, watch::is_watched};

/// `struct bpf_iter__task`, kernel/bpf/task_iter.c.
#[repr(C)]
pub struct IterTask {
    pub meta: *const *mut seq_file,
    pub task: *const u8,
}

/// What moves while a thread is being switched.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Moving {
    seq: u64,
    run_delay: u64,
    last_queued: u64,
    on_cpu: bool,
}

impl Moving {
    #[inline(always)]
    fn read(task: Task) -> Moving {
        Moving {
            seq: task.seq(),
            run_delay: task.run_delay(),
            last_queued: task.last_queued(),
            on_cpu: task.on_cpu(),
        }
    }
}

/// # Safety
/// Called by the kernel with the context of a task iterator.
#[unsafe(link_section = "iter/task")]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn snapshot(ctx: *const IterTask) -> i32 {
    // SAFETY: the verifier knows the context's layout.
    let (meta, task) = unsafe { ((*ctx).meta, (*ctx).task) };
    if task.is_null() {
        return 0;
    }
    let task = Task::new(task);
    let Some(scratch) = SCRATCH.get_ptr_mut(0) else {
        return 0;
    };
    // SAFETY: the slot of this CPU; iterators run one after another on it.
    let scratch = unsafe { &mut *scratch };
    task.write_key(scratch);
    let key = *scratch;
    // The time comes first: whatever the counters say is at least as new.
    // SAFETY: a helper without preconditions.
    let at_ns = unsafe { bpf_ktime_get_ns() };
    let before = Moving::read(task);
    let mut flags = task.thread_flags();
    let queue = task.run_queue();
    let mut record = Thread {
        header: Header {
            at_ns,
            kind: kind::THREAD,
            len: size_of::<Thread>() as u16,
            cpu: task.cpu() as u16,
            flags: 0,
        },
        task: key,
        tid: task.tid(),
        tgid: task.tgid(),
        ppid: task.ppid(),
        state: task.state(),
        start_ns: task.start_time(),
        nvcsw: task.nvcsw(),
        nivcsw: task.nivcsw(),
        run_delay_ns: before.run_delay,
        sum_exec_ns: task.sum_exec(),
        cgroup_id: task.cgroup_id(),
        clone_flags: 0,
        parent: 0,
        comm: task.comm(),
        policy: task.policy(),
        static_prio: task.static_prio(),
        rt_priority: task.rt_priority(),
        cpu: task.cpu(),
        syscall: 0,
        parent_tid: 0,
        steal_ns: queue.steal(),
        clock_lag_ns: queue.clock().wrapping_sub(queue.clock_task()),
        waking_ns: waking::read(task.tid()),
    };
    if !is_watched(record.tid) {
        flags |= thread_flags::UNWATCHED;
    } else if record.state == 0 && !before.on_cpu {
        // It waits already.
        history::queued(record.tid, record.cpu);
    }
    if let Some((number, compat)) = task.syscall() {
        record.syscall = number;
        flags |= thread_flags::SYSCALL;
        if compat {
            flags |= thread_flags::COMPAT;
        }
    }
    if before.on_cpu {
        flags |= thread_flags::ON_CPU;
    }
    if before.last_queued != 0 {
        flags |= thread_flags::QUEUED;
    }
    // On a CPU and still queued: between the tracepoint and the accounting of its switch.
    if before != Moving::read(task) || (before.on_cpu && before.last_queued != 0) {
        flags |= thread_flags::TORN;
    }
    record.header.flags = flags;
    // SAFETY: `meta` and its `seq` are typed pointers for the verifier; the record is 168 bytes on
    // the stack. A full buffer makes the kernel call us again for the same task.
    unsafe {
        let seq = meta.read_volatile();
        bpf_seq_write(seq, (&raw mut record).cast(), size_of::<Thread>() as u32);
    }
    0
}
