//! A timer of the kernel's: one expiry, one wake-up. The event loop's own timers are a wheel, which also
//! wakes up whenever a part of it has turned: twice for a tenth of a second.
//!
//! In: how long. Out: when it is over. Knows nothing of why.

use std::{io, os::fd::OwnedFd, time::Duration};

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};
use tokio::io::unix::AsyncFd;

pub struct Timer {
    fd: AsyncFd<OwnedFd>,
}

impl Timer {
    /// Must be called inside a tokio runtime.
    pub fn new() -> io::Result<Timer> {
        let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
        let fd = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        // SAFETY: owns its descriptor, which stays open as long as it is registered.
        let fd = unsafe { AsyncFd::register(fd) }?;
        Ok(Timer { fd })
    }

    /// Until `wait` has passed; one that is abandoned is forgotten with the next.
    pub async fn after(&self, wait: Duration) -> io::Result<()> {
        // Nothing is what disarms it.
        let wait = wait.max(Duration::from_nanos(1));
        let none = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        let setting = Itimerspec {
            it_interval: none,
            it_value: Timespec {
                tv_sec: i64::try_from(wait.as_secs()).unwrap_or(i64::MAX),
                tv_nsec: i64::from(wait.subsec_nanos()),
            },
        };
        timerfd_settime(self.fd.get_ref(), TimerfdTimerFlags::empty(), &setting)?;
        loop {
            let mut guard = self.fd.readable().await?;
            let mut expiries = [0; 8];
            match rustix::io::read(self.fd.get_ref(), &mut expiries) {
                Ok(_) => return Ok(()),
                // Of a wait that was abandoned: this one is not over.
                Err(rustix::io::Errno::AGAIN) => guard.clear_ready(),
                Err(error) => return Err(error.into()),
            }
        }
    }
}
