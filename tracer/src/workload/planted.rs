//! Causes of waits, planted, for a test that pins and gates them: a single thread each. What a report must say
//! follows from what they did, which they tell at their end, in nanoseconds.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::Context as _;

use super::{Deadline, WorkloadOptions, burn, monotonic, sched, tell};

/// Between two looks at the clock. What takes longer was not this thread's own: an interrupt, the hypervisor, or
/// somebody else.
const OWN: Duration = Duration::from_micros(1);

/// Tells when it began, when it ended, and how much of the time was its own.
pub fn burns(options: &WorkloadOptions) -> anyhow::Result<()> {
    sched::rename(b"burns")?;
    let deadline = Deadline::of(options, Duration::from_secs(1));
    let begin = monotonic();
    let (mut own, mut before) = (Duration::ZERO, Instant::now());
    while !deadline.is_over() {
        let now = Instant::now();
        let gap = now - before;
        own += if gap < OWN { gap } else { Duration::ZERO };
        before = now;
    }
    tell(&format!("{begin} {} {}\n", monotonic(), own.as_nanos()))
}

/// Tells when each burst began and ended.
pub fn bursts(options: &WorkloadOptions) -> anyhow::Result<()> {
    sched::rename(b"bursts")?;
    let deadline = Deadline::of(options, Duration::from_secs(1));
    let mut told = String::new();
    while !deadline.is_over() {
        let begin = monotonic();
        // Shorter than a tick, so that the kernel finds the quota used up as it goes to sleep.
        burn(Duration::from_millis(1));
        writeln!(told, "{begin} {}", monotonic())?;
        deadline.sleep(Duration::from_millis(1));
    }
    tell(&told)
}

/// Tells when each pulse began and ended.
pub fn pulses(options: &WorkloadOptions) -> anyhow::Result<()> {
    sched::rename(b"pulses")?;
    let length = options.duration.unwrap_or(Duration::from_millis(5));
    let mut told = String::new();
    // By the clock: a pulse that is late does not delay the next.
    let mut next = Instant::now();
    for _ in 0..options.count.unwrap_or(20) {
        std::thread::sleep(next.saturating_duration_since(Instant::now()));
        let begin = monotonic();
        burn(length);
        writeln!(told, "{begin} {}", monotonic())?;
        next += 10 * length;
    }
    tell(&told)
}

/// To a socket that nobody reads: all the work is the receiving, up to where there is no room. Tells how many.
pub fn packets(options: &WorkloadOptions) -> anyhow::Result<()> {
    sched::rename(b"packets")?;
    let deadline = Deadline::of(options, Duration::from_secs(1));
    let socket = || UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).context("make a socket");
    let (from, to) = (socket()?, socket()?);
    let address = to.local_addr().context("find the port of a socket")?;
    from.connect(address).context("connect a socket")?;
    let mut sent = 0;
    while !deadline.is_over() {
        // A device that cannot take more says so, and is asked again.
        sent += u64::from(from.send(&[0; 64]).is_ok());
    }
    tell(&format!("{sent}\n"))
}
