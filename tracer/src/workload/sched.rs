//! Placement and names of threads.

use std::ffi::CString;

use anyhow::Context as _;
use rustix::thread::{CpuSet, Pid, sched_getaffinity, sched_setaffinity};

/// The CPUs this process may use, never empty.
pub fn allowed_cpus() -> anyhow::Result<Vec<usize>> {
    let set = sched_getaffinity(None).context("read the CPUs allowed")?;
    Ok((0..CpuSet::MAX_CPU)
        .filter(|&cpu| set.is_set(cpu))
        .collect())
}

/// The first CPU allowed: where patterns meet that need one CPU.
pub fn one_cpu() -> anyhow::Result<usize> {
    allowed_cpus()?
        .first()
        .copied()
        .context("find a CPU to run on")
}

/// `None`: the calling thread.
pub fn pin(thread: Option<Pid>, cpu: usize) -> anyhow::Result<()> {
    let mut set = CpuSet::new();
    set.set(cpu);
    sched_setaffinity(thread, &set).with_context(|| format!("pin a thread to CPU {cpu}"))
}

/// Any bytes but NUL; the kernel keeps the first 15.
pub fn rename(name: &[u8]) -> anyhow::Result<()> {
    let name = CString::new(name).context("name a thread")?;
    rustix::thread::set_name(&name).context("name a thread")
}

/// Of the calling thread.
pub fn tid() -> u32 {
    rustix::thread::gettid()
        .as_raw_nonzero()
        .get()
        .cast_unsigned()
}
