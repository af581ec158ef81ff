//! A process that touches known parts of its memory and of its stacks.

use std::sync::{Arc, Barrier};
use std::time::Duration;

use super::{Deadline, WorkloadOptions, join, spawn, tell};

/// What the process has in its heap beside its stacks.
const HEAP: usize = 64 << 20;
/// The thread with number n touches n + 1 times as much of its stack.
const STEP: usize = 64 << 10;
const PAGE: usize = 4096;

/// Prints "touched" once all is.
pub fn stacks(options: &WorkloadOptions) -> anyhow::Result<()> {
    let deadline = Deadline::of(options, Duration::from_secs(5));
    let count = options.count.unwrap_or(4) as usize;
    // To its end.
    let heap = vec![0_u8; HEAP].leak();
    heap.iter_mut().step_by(PAGE).for_each(|byte| *byte = 1);
    let touched = Arc::new(Barrier::new(count + 1));
    let mut threads = Vec::new();
    for n in 0..count {
        let touched = Arc::clone(&touched);
        threads.push(spawn(&format!("stack-{n}"), move || {
            touch((n + 1) * STEP / PAGE);
            touched.wait();
            deadline.sleep(Duration::MAX);
        })?);
    }
    touched.wait();
    tell("touched\n")?;
    deadline.sleep(Duration::MAX);
    threads.into_iter().try_for_each(join)
}

/// So many pages of the stack, one a call.
#[inline(never)]
fn touch(pages: usize) {
    let mut page = [0_u8; PAGE];
    std::hint::black_box(&mut page);
    if pages > 1 {
        touch(pages - 1);
    }
    std::hint::black_box(&mut page);
}
