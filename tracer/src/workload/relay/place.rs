//! Where a party of the ring waits, and how it wakes the next one.
//!
//! In: words, streams or queues that the parties share. Out: tokens. Must not know: how many parties there are.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use rustix::thread::futex;

use crate::kernel::raw::{Queue, SharedWords};

/// Words of the parties are so far apart that no two share a line of the cache.
pub const APART: usize = 32;
/// Looks at a word between two looks at the clock.
const LOOKS: u32 = 1 << 20;
/// Whoever spins for longer spins for somebody who is gone.
const PATIENCE: Duration = Duration::from_secs(10);

pub enum Place {
    /// Sleeps until its word changes.
    Futex {
        words: Arc<SharedWords>,
        own: usize,
        next: usize,
        flags: futex::Flags,
    },
    /// Looks at its word until it changes.
    Spin {
        words: Arc<SharedWords>,
        own: usize,
        next: usize,
    },
    /// A pipe or a socket.
    Stream { from: File, to: File },
    /// POSIX message queues.
    Queue { from: Queue, to: Queue },
}

/// A word of a party.
const EMPTY: u32 = 0;
const TOKEN: u32 = 1;
const END: u32 = 2;

impl Place {
    /// In memory of several processes.
    pub fn futex_shared(words: Arc<SharedWords>, own: usize, next: usize) -> Place {
        Place::Futex {
            words,
            own,
            next,
            flags: futex::Flags::empty(),
        }
    }

    pub fn spin(words: Arc<SharedWords>, own: usize, next: usize) -> Place {
        Place::Spin { words, own, next }
    }

    pub fn stream(from: impl Into<OwnedFd>, to: impl Into<OwnedFd>) -> Place {
        Place::Stream {
            from: from.into().into(),
            to: to.into().into(),
        }
    }

    /// Until the token comes; `false`: it is over.
    pub fn take(&mut self) -> anyhow::Result<bool> {
        match self {
            Place::Futex {
                words, own, flags, ..
            } => {
                let word = words.word(*own * APART);
                loop {
                    if let Some(token) = taken(word) {
                        return Ok(token);
                    }
                    match futex::wait(word, *flags, EMPTY, None) {
                        Ok(()) | Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => {}
                        Err(error) => return Err(error).context("wait for the token"),
                    }
                }
            }
            Place::Spin { words, own, .. } => {
                let word = words.word(*own * APART);
                let mut until = None;
                loop {
                    for _ in 0..LOOKS {
                        if let Some(token) = taken(word) {
                            return Ok(token);
                        }
                        std::hint::spin_loop();
                    }
                    let now = Instant::now();
                    if now > *until.get_or_insert(now + PATIENCE) {
                        bail!("the token does not come");
                    }
                }
            }
            Place::Stream { from, .. } => {
                let mut byte = [0];
                Ok(from.read(&mut byte).context("wait for the token")? == 1)
            }
            Place::Queue { from, .. } => Ok(from.receive().context("wait for the token")? == TOKEN),
        }
    }

    pub fn pass(&mut self) -> anyhow::Result<()> {
        match self {
            Place::Stream { to, .. } => to.write_all(&[1]).context("pass the token on"),
            _ => self.put(TOKEN),
        }
    }

    /// Tells the next one that it is over.
    pub fn end(&mut self) -> anyhow::Result<()> {
        self.put(END)
    }

    fn put(&mut self, what: u32) -> anyhow::Result<()> {
        match self {
            Place::Futex {
                words, next, flags, ..
            } => {
                let word = words.word(*next * APART);
                word.store(what, Ordering::Release);
                futex::wake(word, *flags, 1).context("wake the next one")?;
            }
            Place::Spin { words, next, .. } => {
                words.word(*next * APART).store(what, Ordering::Release);
            }
            // Its input ends when this end is closed.
            Place::Stream { .. } => {}
            Place::Queue { to, .. } => to.send(what).context("pass the token on")?,
        }
        Ok(())
    }
}

/// What has come, if anything.
fn taken(word: &AtomicU32) -> Option<bool> {
    match word.load(Ordering::Acquire) {
        EMPTY => None,
        TOKEN => {
            word.store(EMPTY, Ordering::Relaxed);
            Some(true)
        }
        _ => Some(false),
    }
}
