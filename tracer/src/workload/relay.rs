//! Several that pass a token on in a ring, on as few CPUs as asked for. Each pass is a wake-up and, on one CPU, a
//! switch. The first of them times the rounds.

mod place;

use std::io::{self, PipeReader, PipeWriter};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::Stdio;
use std::sync::Arc;

use anyhow::Context as _;
use rustix::thread::futex;

use super::{WorkloadOptions, join, member, monotonic, sched, spawn, stage, wait};
use crate::kernel::raw::{Queue, SharedWords};
use place::{APART, Place};

/// Rounds by default.
const ROUNDS: u64 = 10_000;
/// Rounds of one sample: long enough that reading the clock is none of it.
const BATCH: u64 = 20;
/// Rounds that find caches and predictors as those before left them.
const WARM: u64 = 200;
const LINE: usize = 64;

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

    fn pair(options: &WorkloadOptions) -> anyhow::Result<Ring> {
        Ok(Ring {
            parties: 2,
            ..Ring::of(options)?
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
    };
    threads(&ring, options, (0..ring.parties).map(place).collect())
}

pub fn threads_pipe(options: &WorkloadOptions) -> anyhow::Result<()> {
    let ring = Ring::of(options)?;
    let places = pipes(ring.parties)?
        .into_iter()
        .map(|(from, to)| Place::stream(from, to));
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
    processes(&ring, options, members, Place::stream(from, to))
}

/// Two processes, at the ends of one connection.
fn processes_stream(
    options: &WorkloadOptions,
    own: impl Into<OwnedFd>,
    other: impl Into<OwnedFd>,
) -> anyhow::Result<()> {
    let twice = |fd: OwnedFd| anyhow::Ok((fd.try_clone().context("share a connection")?, fd));
    let (from, to) = twice(own.into())?;
    let (stdin, stdout) = twice(other.into())?;
    let members = vec![("relay-member-pipe", stdin.into(), stdout.into())];
    processes(
        &Ring::pair(options)?,
        options,
        members,
        Place::stream(from, to),
    )
}

pub fn processes_socket(options: &WorkloadOptions) -> anyhow::Result<()> {
    let (own, other) = UnixStream::pair().context("create sockets")?;
    processes_stream(options, own, other)
}

pub fn processes_tcp(options: &WorkloadOptions) -> anyhow::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("listen on loopback")?;
    let address = listener.local_addr().context("find the port")?;
    let own = TcpStream::connect(address).context("connect over loopback")?;
    let (other, _) = listener.accept().context("accept a connection")?;
    for end in [&own, &other] {
        end.set_nodelay(true).context("send each word at once")?;
    }
    processes_stream(options, own, other)
}

pub fn processes_queue(options: &WorkloadOptions) -> anyhow::Result<()> {
    let queue = || -> anyhow::Result<(Queue, Queue)> {
        let queue = Queue::new().context("create a message queue")?;
        Ok((queue.try_clone().context("share a message queue")?, queue))
    };
    let ((from, their_to), (to, their_from)) = (queue()?, queue()?);
    let [stdin, stdout] = [their_from, their_to].map(|queue| Stdio::from(OwnedFd::from(queue)));
    let members = vec![("relay-member-queue", stdin, stdout)];
    let place = Place::Queue { from, to };
    processes(&Ring::pair(options)?, options, members, place)
}

pub fn processes_futex(options: &WorkloadOptions) -> anyhow::Result<()> {
    processes_words(options, "relay-member-futex", Place::futex_shared)
}

pub fn processes_spin(options: &WorkloadOptions) -> anyhow::Result<()> {
    processes_words(options, "relay-member-spin", Place::spin)
}

type OfWords = fn(Arc<SharedWords>, usize, usize) -> Place;

fn processes_words(options: &WorkloadOptions, name: &str, place: OfWords) -> anyhow::Result<()> {
    let ring = Ring::of(options)?;
    let (words, memory) =
        SharedWords::shared(ring.parties * APART).context("create memory to share")?;
    let mut members = Vec::new();
    for _ in 1..ring.parties {
        let memory = memory.try_clone().context("share memory")?;
        members.push((name, Stdio::from(memory), Stdio::null()));
    }
    processes(&ring, options, members, place(Arc::new(words), 0, 1))
}

fn processes(
    ring: &Ring,
    options: &WorkloadOptions,
    members: Vec<(&str, Stdio, Stdio)>,
    first: Place,
) -> anyhow::Result<()> {
    let mut children = Vec::new();
    for (index, (name, stdin, stdout)) in (1_usize..).zip(members) {
        let mut command = member(name)?;
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
fn member_words(options: &WorkloadOptions, place: OfWords) -> anyhow::Result<()> {
    let parties = options.parties.unwrap_or(2).max(2) as usize;
    let own = options.count.unwrap_or(1) as usize % parties;
    let words = SharedWords::of(&io::stdin(), parties * APART).context("share memory")?;
    follow(place(Arc::new(words), own, (own + 1) % parties), options)
}

pub fn member_futex(options: &WorkloadOptions) -> anyhow::Result<()> {
    member_words(options, Place::futex_shared)
}

pub fn member_spin(options: &WorkloadOptions) -> anyhow::Result<()> {
    member_words(options, Place::spin)
}

/// What standard input and output are.
fn ends() -> anyhow::Result<(OwnedFd, OwnedFd)> {
    let own = |result: rustix::io::Result<OwnedFd>| result.context("take input and output");
    Ok((
        own(rustix::io::dup(io::stdin()))?,
        own(rustix::io::dup(io::stdout()))?,
    ))
}

pub fn member_pipe(options: &WorkloadOptions) -> anyhow::Result<()> {
    let (from, to) = ends()?;
    follow(Place::stream(from, to), options)
}

pub fn member_queue(options: &WorkloadOptions) -> anyhow::Result<()> {
    let (from, to) = ends()?;
    let place = Place::Queue {
        from: Queue::of(from),
        to: Queue::of(to),
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
