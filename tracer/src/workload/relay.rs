//! Several that pass a token on in a ring, on as few CPUs as asked for. Each pass is a wake-up and, on one CPU, a
//! switch. The first of them times the rounds.

use std::io::{self, PipeReader, PipeWriter, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::Context as _;
use rustix::process::getppid;
use rustix::thread::futex;
use rustix::time::Timespec;

use super::{WorkloadOptions, again, join, monotonic, sched, spawn, stage, wait};
use crate::kernel::raw::SharedWords;

/// Rounds by default.
const ROUNDS: u64 = 10_000;
/// Rounds of one sample: long enough that reading the clock is none of it.
const BATCH: u64 = 20;
/// Rounds that find caches and predictors as those before left them.
const WARM: u64 = 200;
/// Words of the parties are so far apart that no two share a line of the cache.
const APART: usize = 32;
const LINE: usize = 64;

/// What one of them waits on, and what it wakes the next with.
enum Place {
    Futex {
        words: Arc<SharedWords>,
        own: usize,
        next: usize,
        flags: futex::Flags,
        /// Ends when that one is not its parent any more.
        parent: Option<rustix::process::Pid>,
    },
    Pipe {
        from: PipeReader,
        to: PipeWriter,
    },
}

/// A word of a party.
const EMPTY: u32 = 0;
const TOKEN: u32 = 1;
const END: u32 = 2;

impl Place {
    /// Until the token comes; `false`: it is over.
    fn take(&mut self) -> anyhow::Result<bool> {
        match self {
            Place::Futex {
                words,
                own,
                flags,
                parent,
                ..
            } => {
                let word = words.word(*own * APART);
                loop {
                    match word.load(Ordering::Acquire) {
                        EMPTY => {}
                        TOKEN => {
                            word.store(EMPTY, Ordering::Relaxed);
                            return Ok(true);
                        }
                        _ => return Ok(false),
                    }
                    let patience = Timespec {
                        tv_sec: 1,
                        tv_nsec: 0,
                    };
                    match futex::wait(word, *flags, EMPTY, Some(&patience)) {
                        Ok(()) | Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => {}
                        Err(rustix::io::Errno::TIMEDOUT) => {
                            if parent.is_some() && getppid() != *parent {
                                return Ok(false);
                            }
                        }
                        Err(error) => return Err(error).context("wait for the token"),
                    }
                }
            }
            Place::Pipe { from, .. } => {
                let mut byte = [0];
                Ok(from.read(&mut byte).context("wait for the token")? == 1)
            }
        }
    }

    fn pass(&mut self) -> anyhow::Result<()> {
        match self {
            Place::Futex {
                words, next, flags, ..
            } => put(words.word(*next * APART), *flags, TOKEN),
            Place::Pipe { to, .. } => to.write_all(&[1]).context("pass the token on"),
        }
    }

    /// Tells the next one that it is over.
    fn end(&mut self) -> anyhow::Result<()> {
        match self {
            Place::Futex {
                words, next, flags, ..
            } => put(words.word(*next * APART), *flags, END),
            // Its input ends when this end is closed.
            Place::Pipe { .. } => Ok(()),
        }
    }
}

fn put(word: &AtomicU32, flags: futex::Flags, what: u32) -> anyhow::Result<()> {
    word.store(what, Ordering::Release);
    futex::wake(word, flags, 1).context("wake the next one")?;
    Ok(())
}

/// Memory that a party uses each time it has the token.
struct WorkingSet(Vec<u8>);

impl WorkingSet {
    fn of(options: &WorkloadOptions) -> WorkingSet {
        WorkingSet(vec![1; options.size.unwrap_or(0) as usize])
    }

    fn touch(&mut self) {
        for line in self.0.chunks_mut(LINE) {
            line[0] = std::hint::black_box(line[0].wrapping_add(1));
        }
    }
}

struct Ring {
    parties: usize,
    rounds: u64,
    cpus: Vec<usize>,
}

impl Ring {
    fn of(options: &WorkloadOptions) -> anyhow::Result<Ring> {
        let mut cpus = sched::allowed_cpus()?;
        cpus.truncate(options.cpus.unwrap_or(1).max(1) as usize);
        Ok(Ring {
            parties: options.parties.unwrap_or(2).clamp(2, 1_000) as usize,
            rounds: options.count.unwrap_or(ROUNDS),
            cpus,
        })
    }

    fn cpu(&self, party: usize) -> usize {
        self.cpus[party % self.cpus.len()]
    }
}

/// The first party: times the rounds, and tells them.
fn lead(
    mut place: Place,
    ring: &Ring,
    options: &WorkloadOptions,
    tids: impl IntoIterator<Item = u32>,
) -> anyhow::Result<()> {
    let mut memory = WorkingSet::of(options);
    let mut round = |memory: &mut WorkingSet| -> anyhow::Result<()> {
        memory.touch();
        place.pass()?;
        anyhow::ensure!(place.take()?, "the ring is broken");
        Ok(())
    };
    stage::ready(options, tids)?;
    for _ in 0..WARM {
        round(&mut memory)?;
    }
    let samples = ring.rounds.div_ceil(BATCH);
    let mut rounds = Vec::with_capacity(samples as usize);
    for _ in 0..samples {
        let from = monotonic();
        for _ in 0..BATCH {
            round(&mut memory)?;
        }
        rounds.push((monotonic() - from) / BATCH);
    }
    place.end()?;
    drop(place);
    stage::told("round_ns", &rounds)?;
    let passes = (samples * BATCH + WARM) * ring.parties as u64;
    stage::told("passes", &[passes])?;
    if options.size.is_some() {
        // The same memory, without anybody else.
        let touches: Vec<u64> = (0..samples.min(200))
            .map(|_| {
                let from = monotonic();
                memory.touch();
                monotonic() - from
            })
            .collect();
        stage::told("touch_ns", &touches)?;
    }
    Ok(())
}

/// Any other party.
fn follow(mut place: Place, options: &WorkloadOptions) -> anyhow::Result<()> {
    let mut memory = WorkingSet::of(options);
    while place.take()? {
        memory.touch();
        place.pass()?;
    }
    place.end()
}

pub fn threads_futex(options: &WorkloadOptions) -> anyhow::Result<()> {
    let ring = Ring::of(options)?;
    let words = SharedWords::private(ring.parties * APART).context("create words to wait on")?;
    let words = Arc::new(words);
    let place = |own| Place::Futex {
        words: words.clone(),
        own,
        next: (own + 1) % ring.parties,
        flags: futex::Flags::PRIVATE,
        parent: None,
    };
    threads(&ring, options, (0..ring.parties).map(place).collect())
}

pub fn threads_pipe(options: &WorkloadOptions) -> anyhow::Result<()> {
    let ring = Ring::of(options)?;
    let places = pipes(ring.parties)?
        .into_iter()
        .map(|(from, to)| Place::Pipe { from, to });
    threads(&ring, options, places.collect())
}

fn threads(ring: &Ring, options: &WorkloadOptions, places: Vec<Place>) -> anyhow::Result<()> {
    let mut places = places.into_iter();
    let first = places.next().context("begin the ring")?;
    let (tell, told) = std::sync::mpsc::channel();
    let mut members = Vec::new();
    for (index, place) in (1..).zip(places) {
        let (options, cpu, tell) = (options.clone(), ring.cpu(index), tell.clone());
        members.push(spawn("member", move || {
            sched::pin(None, cpu)?;
            let _ = tell.send(sched::tid());
            follow(place, &options)
        })?);
    }
    sched::pin(None, ring.cpu(0))?;
    let mut tids = vec![sched::tid()];
    for _ in 1..ring.parties {
        tids.push(told.recv().context("wait for the others")?);
    }
    lead(first, ring, options, tids)?;
    members
        .into_iter()
        .try_for_each(|member| join(member).flatten())
}

/// Of each party what it reads, and what the next one does.
fn pipes(parties: usize) -> anyhow::Result<Vec<(PipeReader, PipeWriter)>> {
    let pipes: io::Result<Vec<_>> = (0..parties).map(|_| io::pipe()).collect();
    let (readers, mut writers): (Vec<_>, Vec<_>) =
        pipes.context("create pipes")?.into_iter().unzip();
    writers.rotate_left(1);
    Ok(readers.into_iter().zip(writers).collect())
}

pub fn processes_pipe(options: &WorkloadOptions) -> anyhow::Result<()> {
    let ring = Ring::of(options)?;
    let mut places = pipes(ring.parties)?.into_iter();
    let (from, to) = places.next().context("begin the ring")?;
    let members = places.map(|(from, to)| {
        (
            "relay-member-pipe",
            Stdio::from(OwnedFd::from(from)),
            Stdio::from(OwnedFd::from(to)),
        )
    });
    let members = members.collect();
    processes(&ring, options, members, Place::Pipe { from, to })
}

pub fn processes_futex(options: &WorkloadOptions) -> anyhow::Result<()> {
    let ring = Ring::of(options)?;
    let (words, memory) =
        SharedWords::shared(ring.parties * APART).context("create memory to share")?;
    let mut members = Vec::new();
    for _ in 1..ring.parties {
        let memory = memory.try_clone().context("share memory")?;
        members.push(("relay-member-futex", Stdio::from(memory), Stdio::null()));
    }
    let place = Place::Futex {
        words: Arc::new(words),
        own: 0,
        next: 1,
        flags: futex::Flags::empty(),
        parent: None,
    };
    processes(&ring, options, members, place)
}

fn processes(
    ring: &Ring,
    options: &WorkloadOptions,
    members: Vec<(&str, Stdio, Stdio)>,
    first: Place,
) -> anyhow::Result<()> {
    let mut children = Vec::new();
    for (index, (name, stdin, stdout)) in (1_usize..).zip(members) {
        let mut command = again(name, None)?;
        command.args(["--count", &index.to_string()]);
        command.args(["--parties", &ring.parties.to_string()]);
        if let Some(size) = options.size {
            command.args(["--size", &size.to_string()]);
        }
        // It inherits its place.
        sched::pin(None, ring.cpu(index))?;
        let child = command.stdin(stdin).stdout(stdout).spawn();
        children.push(child.context("start a process of the ring")?);
    }
    sched::pin(None, ring.cpu(0))?;
    let tids: Vec<u32> = std::iter::once(sched::tid())
        .chain(children.iter().map(std::process::Child::id))
        .collect();
    lead(first, ring, options, tids)?;
    children.into_iter().try_for_each(wait)
}

/// Another process of the ring, by its number.
pub fn member_futex(options: &WorkloadOptions) -> anyhow::Result<()> {
    let parties = options.parties.unwrap_or(2).max(2) as usize;
    let own = options.count.unwrap_or(1) as usize % parties;
    let words = SharedWords::of(&io::stdin(), parties * APART).context("share memory")?;
    let place = Place::Futex {
        words: Arc::new(words),
        own,
        next: (own + 1) % parties,
        flags: futex::Flags::empty(),
        parent: getppid(),
    };
    follow(place, options)
}

pub fn member_pipe(options: &WorkloadOptions) -> anyhow::Result<()> {
    let own = |result: rustix::io::Result<OwnedFd>| result.context("take the pipes");
    let place = Place::Pipe {
        from: own(rustix::io::dup(io::stdin()))?.into(),
        to: own(rustix::io::dup(io::stdout()))?.into(),
    };
    follow(place, options)
}

/// Who runs is moved by the `migration` thread of its CPU: each hop is a switch to that.
pub fn hops(options: &WorkloadOptions) -> anyhow::Result<()> {
    let cpus = sched::allowed_cpus()?;
    anyhow::ensure!(cpus.len() > 1, "there is one CPU");
    sched::pin(None, cpus[1])?;
    stage::ready(options, [sched::tid()])?;
    let hops = options.count.unwrap_or(ROUNDS);
    for hop in 0..hops {
        sched::pin(None, cpus[hop as usize % 2])?;
    }
    stage::told("hops", &[hops])
}
