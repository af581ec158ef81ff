//! Two that wake each other in turn, on one CPU: every round trip is two switches. How many of them are voluntary
//! depends on whether the one woken preempts its waker.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use anyhow::Context as _;

use super::{Deadline, LONG, WorkloadOptions, again, join, sched, spawn, wait};

const ROUND_TRIPS: u64 = 10_000;

/// A switch within one process; they sleep in `futex`.
pub fn threads(options: &WorkloadOptions) -> anyhow::Result<()> {
    let deadline = Deadline::of(options, LONG);
    let turns = 2 * options.count.unwrap_or(ROUND_TRIPS);
    let cpu = sched::one_cpu()?;
    sched::pin(None, cpu)?;
    // Even: ping's turn.
    let turn = Arc::new(AtomicU64::new(0));
    let main = thread::current();
    let (ping_turn, pong_turn) = (turn.clone(), turn);
    let pong = spawn("pong", move || play(&pong_turn, 1, turns, || main.unpark()))?;
    sched::rename(b"ping")?;
    play(&ping_turn, 0, turns, || {
        pong.thread().unpark();
        // The clock is looked at by one side only, which ends the game for both.
        if deadline.is_over() {
            ping_turn.store(turns, Ordering::Release);
        }
    });
    pong.thread().unpark();
    join(pong)
}

fn play(turn: &AtomicU64, parity: u64, turns: u64, wake: impl Fn()) {
    loop {
        let now = turn.load(Ordering::Acquire);
        if now >= turns {
            return;
        }
        if now % 2 == parity {
            // Fails when the game was ended meanwhile; then the next look ends this side, too.
            let _ = turn.compare_exchange(now, now + 1, Ordering::AcqRel, Ordering::Acquire);
            wake();
        } else {
            thread::park();
        }
    }
}

/// A switch between processes; they sleep in `read`.
pub fn processes(options: &WorkloadOptions) -> anyhow::Result<()> {
    let deadline = Deadline::of(options, LONG);
    // The child inherits it.
    sched::pin(None, sched::one_cpu()?)?;
    sched::rename(b"ping")?;
    let mut echo = Echo::start()?;
    for _ in 0..options.count.unwrap_or(ROUND_TRIPS) {
        if deadline.is_over() {
            break;
        }
        echo.round_trip()?;
    }
    echo.stop()
}

/// Another process that returns every byte.
pub struct Echo {
    child: Child,
    to: ChildStdin,
    from: ChildStdout,
}

impl Echo {
    pub fn start() -> anyhow::Result<Echo> {
        let mut command = again("echo", None)?;
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("start the other process")?;
        let to = child
            .stdin
            .take()
            .context("take the pipe to the other process")?;
        let from = child
            .stdout
            .take()
            .context("take the pipe from the other process")?;
        Ok(Echo { child, to, from })
    }

    pub fn round_trip(&mut self) -> anyhow::Result<()> {
        self.to
            .write_all(b"x")
            .context("write to the other process")?;
        self.from
            .read_exact(&mut [0])
            .context("read from the other process")
    }

    pub fn stop(self) -> anyhow::Result<()> {
        // Its input ends, and so does it.
        drop(self.to);
        wait(self.child)
    }
}

/// The other process of [`Echo`].
pub fn echo(_: &WorkloadOptions) -> anyhow::Result<()> {
    sched::rename(b"pong")?;
    // Unbuffered: a byte at a time must go through.
    let (from, to) = (io::stdin(), io::stdout());
    let mut byte = [0; 1];
    loop {
        match rustix::io::read(&from, &mut byte) {
            Ok(0) => return Ok(()),
            Ok(_) => match rustix::io::write(&to, &byte) {
                Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(()),
                result => result.context("answer").map(drop)?,
            },
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error).context("listen"),
        }
    }
}
