//! A thread that nobody started: io_uring's worker, born inside the kernel on behalf of this process.

use std::io::ErrorKind;
use std::os::fd::AsFd as _;
use std::time::Duration;

use anyhow::Context as _;

use super::{Deadline, LONG, NotPermitted, WorkloadOptions, join, spawn};
use crate::kernel::raw::WorkerReads;

pub fn run(options: &WorkloadOptions) -> anyhow::Result<()> {
    let deadline = Deadline::of(options, LONG);
    let count = options.count.unwrap_or(50);
    let mut reads = match WorkerReads::new() {
        Err(error)
            if matches!(
                error.kind(),
                ErrorKind::PermissionDenied | ErrorKind::Unsupported
            ) =>
        {
            return Err(NotPermitted(format!("io_uring is not permitted here: {error}")).into());
        }
        reads => reads.context("set up an io_uring")?,
    };
    let (from, to) = rustix::pipe::pipe().context("make a pipe")?;
    let writer = spawn("writer", move || {
        for _ in 0..count {
            if deadline.is_over() {
                break;
            }
            deadline.sleep(Duration::from_millis(2));
            rustix::io::write(&to, b"x").context("write to the pipe")?;
        }
        // The pipe is closed here, which ends the reader.
        anyhow::Ok(())
    })?;
    while reads
        .read(from.as_fd())
        .context("read through an io_uring")?
        > 0
    {}
    join(writer)?
}
