//! Hook:       iter/task
//! Writes:     record::Stack for every watched thread that lives, to whoever reads the iterator
//! Without it: what a thread's stacks take is not known

use aya_ebpf::helpers::generated::bpf_seq_write;
use tracer_common::record::Stack;

use super::snapshot::IterTask;
use crate::{task::Task, watch::is_watched};

/// # Safety
/// Called by the kernel with the context of a task iterator.
#[unsafe(link_section = "iter/task")]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn stacks(ctx: *const IterTask) -> i32 {
    // SAFETY: the verifier knows the context's layout.
    let (meta, task) = unsafe { ((*ctx).meta, (*ctx).task) };
    if task.is_null() {
        return 0;
    }
    let task = Task::new(task);
    if !is_watched(task.tid()) {
        return 0;
    }
    let mut stack = Stack {
        tid: task.tid(),
        kernel_pages: task.kernel_stack_pages(),
        user_pointer: task.user_stack_pointer(),
    };
    // SAFETY: as in `snapshot`.
    unsafe {
        let seq = meta.read_volatile();
        bpf_seq_write(seq, (&raw mut stack).cast(), size_of::<Stack>() as u32);
    }
    0
}
