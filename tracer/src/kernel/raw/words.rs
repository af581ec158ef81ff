//! Words that several threads or processes wait on.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::AtomicU32;

use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use rustix::mm::{MapFlags, ProtFlags, mmap, mmap_anonymous, munmap};

/// A mapping of words that are only ever accessed as atomics.
pub struct SharedWords {
    at: NonNull<AtomicU32>,
    count: usize,
}

// SAFETY: all access goes through atomics, and the mapping lives as long as this.
unsafe impl Send for SharedWords {}
// SAFETY: as above.
unsafe impl Sync for SharedWords {}

const READ_WRITE: ProtFlags = ProtFlags::READ.union(ProtFlags::WRITE);

impl SharedWords {
    /// For the threads of this process, zeroed.
    ///
    /// # Errors
    /// There is no memory.
    pub fn private(count: usize) -> io::Result<SharedWords> {
        // SAFETY: a new mapping at a place of the kernel's choice.
        let at = unsafe {
            mmap_anonymous(
                std::ptr::null_mut(),
                count * size_of::<AtomicU32>(),
                READ_WRITE,
                MapFlags::PRIVATE,
            )
        }?;
        SharedWords::at(at, count)
    }

    /// For other processes, too, which map what is answered beside it. Zeroed.
    ///
    /// # Errors
    /// There is no memory, or no descriptor.
    pub fn shared(count: usize) -> io::Result<(SharedWords, OwnedFd)> {
        let memory = memfd_create(c"tracer-words", MemfdFlags::CLOEXEC)?;
        ftruncate(&memory, (count * size_of::<AtomicU32>()) as u64)?;
        Ok((SharedWords::of(&memory, count)?, memory))
    }

    /// Those of another process.
    ///
    /// # Errors
    /// It is no memory, or too little.
    pub fn of(memory: &impl AsFd, count: usize) -> io::Result<SharedWords> {
        let bytes = count * size_of::<AtomicU32>();
        if rustix::fs::fstat(memory)?.st_size < bytes as i64 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        // SAFETY: a new mapping at a place of the kernel's choice, of memory that is never made shorter.
        let at = unsafe {
            mmap(
                std::ptr::null_mut(),
                bytes,
                READ_WRITE,
                MapFlags::SHARED,
                memory,
                0,
            )
        }?;
        SharedWords::at(at, count)
    }

    fn at(at: *mut core::ffi::c_void, count: usize) -> io::Result<SharedWords> {
        let at = NonNull::new(at.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(SharedWords { at, count })
    }

    /// # Panics
    /// There are not so many.
    pub fn word(&self, index: usize) -> &AtomicU32 {
        assert!(index < self.count, "a word of the mapping");
        // SAFETY: inside the mapping, which is aligned to a page and lives as long as this.
        unsafe { self.at.add(index).as_ref() }
    }
}

impl Drop for SharedWords {
    fn drop(&mut self) {
        let bytes = self.count * size_of::<AtomicU32>();
        // SAFETY: the mapping is this one's own, and nothing refers to it any more.
        let _ = unsafe { munmap(self.at.as_ptr().cast(), bytes) };
    }
}
