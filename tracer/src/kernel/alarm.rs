//! Waits, each at the price of one wake-up.
//!
//! In: how long. Out: when that is over. Never sees an event.
//!
//! The runtime sorts its timers while it waits: for a tenth of a second it wakes twice, for ours one
//! timer of the kernel's wakes once.

use std::{io, os::fd::OwnedFd, time::Duration};

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};
use tokio::io::{Interest, unix::AsyncFd};

pub struct Alarm(AsyncFd<OwnedFd>);

impl Alarm {
    /// Must be called inside a tokio runtime.
    pub fn new() -> io::Result<Alarm> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        // SAFETY: owns its descriptor, which stays open as long as it is registered.
        let timer = unsafe { AsyncFd::register_with_interest(timer, Interest::READABLE) }?;
        Ok(Alarm(timer))
    }

    /// Dropped early, it is forgotten: the next wait begins anew.
    pub async fn after(&self, wait: Duration) -> io::Result<()> {
        if wait.is_zero() {
            // Who never waits must still let signals come.
            tokio::task::yield_now().await;
            return Ok(());
        }
        let once = Itimerspec {
            it_interval: Timespec::default(),
            it_value: Timespec {
                tv_sec: i64::try_from(wait.as_secs()).unwrap_or(i64::MAX),
                tv_nsec: wait.subsec_nanos().into(),
            },
        };
        timerfd_settime(self.0.get_ref(), TimerfdTimerFlags::empty(), &once)?;
        // Readiness may be left from a wait that was dropped: only what can be read has come.
        let read = |timer: &OwnedFd| Ok(rustix::io::read(timer, &mut [0; 8])?);
        self.0.async_io(Interest::READABLE, read).await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    #[test]
    fn a_dropped_wait_does_not_shorten_the_next() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        runtime.block_on(async {
            let alarm = Alarm::new().expect("a timer");
            let short = Duration::from_millis(1);
            // Rings while nobody waits for it.
            tokio::select! {
                biased;
                done = alarm.after(short) => done.expect("a wait"),
                () = tokio::task::yield_now() => {}
            }
            std::thread::sleep(2 * short);
            tokio::task::yield_now().await;
            let long = Duration::from_millis(30);
            let began = Instant::now();
            alarm.after(long).await.expect("a wait");
            assert!(began.elapsed() >= long);
            alarm.after(Duration::ZERO).await.expect("no wait");
        });
    }
}
