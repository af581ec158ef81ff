//! Message queues that have no name.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::sync::atomic::{AtomicU32, Ordering};

/// A POSIX message queue of one message of one word. Linux has a descriptor for it.
pub struct Queue(OwnedFd);

impl Queue {
    /// It has a name for as long as it takes to remove that.
    ///
    /// # Errors
    /// This kernel has none, or there are too many.
    pub fn new() -> io::Result<Queue> {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let name = format!(
            "/tracer-{}-{}",
            std::process::id(),
            MADE.fetch_add(1, Ordering::Relaxed)
        );
        let name = CString::new(name)?;
        // SAFETY: integers only.
        let mut attributes: libc::mq_attr = unsafe { std::mem::zeroed() };
        attributes.mq_maxmsg = 1;
        attributes.mq_msgsize = size_of::<u32>() as _;
        let flags = libc::O_RDWR | libc::O_CREAT | libc::O_EXCL | libc::O_CLOEXEC;
        let mode: libc::mode_t = 0o600;
        // SAFETY: name and attributes are read during the call.
        let queue = unsafe { libc::mq_open(name.as_ptr(), flags, mode, &raw const attributes) };
        if queue < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: a descriptor that was just opened, and is nobody else's.
        let queue = Queue(unsafe { OwnedFd::from_raw_fd(queue) });
        // SAFETY: the name is read during the call.
        match unsafe { libc::mq_unlink(name.as_ptr()) } {
            0 => Ok(queue),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// One that somebody else has made.
    pub fn of(queue: OwnedFd) -> Queue {
        Queue(queue)
    }

    /// # Errors
    /// There are too many descriptors.
    pub fn try_clone(&self) -> io::Result<Queue> {
        self.0.try_clone().map(Queue)
    }

    /// Waits until there is room.
    ///
    /// # Errors
    /// It is no message queue.
    pub fn send(&self, word: u32) -> io::Result<()> {
        let bytes = word.to_ne_bytes();
        again(|| {
            // SAFETY: so many bytes are read during the call.
            let sent =
                unsafe { libc::mq_send(self.0.as_raw_fd(), bytes.as_ptr().cast(), bytes.len(), 0) };
            sent as isize
        })?;
        Ok(())
    }

    /// Waits until there is one.
    ///
    /// # Errors
    /// It is no message queue, or not of words.
    pub fn receive(&self) -> io::Result<u32> {
        let mut bytes = [0; size_of::<u32>()];
        let length = again(|| {
            // SAFETY: so many bytes may be written during the call.
            unsafe {
                libc::mq_receive(
                    self.0.as_raw_fd(),
                    bytes.as_mut_ptr().cast(),
                    bytes.len(),
                    std::ptr::null_mut(),
                )
            }
        })?;
        if length != bytes.len() {
            return Err(io::ErrorKind::InvalidData.into());
        }
        Ok(u32::from_ne_bytes(bytes))
    }
}

impl From<Queue> for OwnedFd {
    fn from(queue: Queue) -> OwnedFd {
        queue.0
    }
}

/// Once more whenever a signal interrupts it.
fn again(mut call: impl FnMut() -> isize) -> io::Result<usize> {
    loop {
        if let Ok(length) = usize::try_from(call()) {
            return Ok(length);
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}
