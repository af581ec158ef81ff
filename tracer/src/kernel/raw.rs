//! System calls that no safe wrapper covers.

pub mod births;
mod queue;
mod words;

use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd};

pub use queue::Queue;
pub use words::SharedWords;

use io_uring::{IoUring, opcode, squeue, types};

/// Gives memory back that was freed and that the allocator holds on to: loading programs takes more of it than
/// anything after that.
pub fn give_back_memory() {
    #[cfg(target_env = "gnu")]
    // SAFETY: without preconditions.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// An io_uring whose reads are all done by a worker thread of the kernel (`iou-wrk-NNN`).
pub struct WorkerReads {
    ring: IoUring,
}

impl WorkerReads {
    pub fn new() -> io::Result<WorkerReads> {
        Ok(WorkerReads {
            ring: IoUring::new(8)?,
        })
    }

    /// Reads once, blocking in the worker and here until there is something to read.
    pub fn read(&mut self, from: BorrowedFd<'_>) -> io::Result<usize> {
        let buffer = Box::leak(Box::new([0_u8; 64]));
        let length = u32::try_from(buffer.len()).map_err(io::Error::other)?;
        let read = opcode::Read::new(types::Fd(from.as_raw_fd()), buffer.as_mut_ptr(), length)
            .build()
            // Never tried in place: given to a worker at once.
            .flags(squeue::Flags::ASYNC);
        // SAFETY: the buffer is leaked, so it outlives whatever the kernel does with it, and nothing else refers
        // to it. A descriptor closed too early only makes the read fail.
        unsafe { self.ring.submission().push(&read) }.map_err(io::Error::other)?;
        while let Err(error) = self.ring.submit_and_wait(1) {
            if error.kind() != io::ErrorKind::Interrupted {
                return Err(error);
            }
        }
        let result = self
            .ring
            .completion()
            .next()
            .map_or(0, |entry| entry.result());
        usize::try_from(result).map_err(|_| io::Error::from_raw_os_error(-result))
    }
}
