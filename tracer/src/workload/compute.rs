//! Several that compute all the time, alone or with something in common, and how much of it they get done: each counts
//! its units, and the first thread reads all counters again and again.

use std::io::stdin;
use std::process::Stdio;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context as _;

use super::{Deadline, WorkloadOptions, join, member, monotonic, sched, spawn, stage, wait};
use crate::kernel::raw::SharedWords;

/// Of a unit: each needs the one before, and no compiler takes several at once.
const STEPS: u32 = 300;
/// Of one sample.
const SLICE: Duration = Duration::from_millis(20);
/// Until the last of them has begun.
const BEGUN: Duration = Duration::from_secs(10);
const LASTS: Duration = Duration::from_millis(400);
/// Words are so far apart that no two share a line of the cache.
const APART: usize = 32;
/// Messages that nobody has taken yet.
const UNTAKEN: usize = 1_024;
/// Units between two naps, and a nap: half of the time each, about.
const UNITS_AWAKE: u32 = 200;
const NAP: Duration = Duration::from_micros(200);
/// The name of all that compute.
const NAME: &str = "party";

/// The first word ends it, the others count.
struct Counters(SharedWords);

impl Counters {
    fn words(parties: usize) -> usize {
        (parties + 1) * APART
    }

    fn of(&self, party: usize) -> &AtomicU32 {
        self.0.word((party + 1) * APART)
    }

    fn goes_on(&self) -> bool {
        self.0.word(0).load(Ordering::Relaxed) == 0
    }

    fn end(&self) {
        self.0.word(0).store(1, Ordering::Relaxed);
    }
}

fn parties(options: &WorkloadOptions) -> usize {
    options.parties.unwrap_or(2).clamp(1, 100_000) as usize
}

/// Random numbers by Marsaglia (2003), "Xorshift RNGs".
fn unit(seed: u64) -> u64 {
    let mut number = seed | 1;
    for _ in 0..STEPS {
        number ^= number << 13;
        number ^= number >> 7;
        number ^= number << 17;
    }
    std::hint::black_box(number)
}

/// One unit after the other until it is over.
fn compute(counters: &Counters, party: usize, mut each: impl FnMut(u64)) {
    let counter = counters.of(party);
    while counters.goes_on() {
        each(party as u64 + 1);
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

/// From when all of them compute. Ends them.
fn watch(counters: &Counters, options: &WorkloadOptions) -> anyhow::Result<()> {
    let all = 0..parties(options);
    let begun = Deadline(Instant::now() + BEGUN);
    while all
        .clone()
        .any(|party| counters.of(party).load(Ordering::Relaxed) == 0)
    {
        anyhow::ensure!(!begun.is_over(), "they did not begin in time");
        begun.sleep(Duration::from_millis(1));
    }
    let deadline = Deadline::of(options, LASTS);
    let read = || -> (u64, Vec<u32>) {
        let counts = all
            .clone()
            .map(|party| counters.of(party).load(Ordering::Relaxed));
        (monotonic(), counts.collect())
    };
    let mut rates = Vec::new();
    let mut before = read();
    while !deadline.is_over() {
        thread::sleep(SLICE);
        let after = read();
        let counts = after.1.iter().zip(&before.1);
        let units: u64 = counts
            .map(|(after, before)| u64::from(after.wrapping_sub(*before)))
            .sum();
        let slice = (after.0 - before.0).max(1);
        rates.push(u128::from(units) * 1_000_000_000 / u128::from(slice));
        before = after;
    }
    counters.end();
    stage::told("units_per_s", &rates)
}

/// Each body is given its number.
fn among_threads<B>(options: &WorkloadOptions, mut body: impl FnMut() -> B) -> anyhow::Result<()>
where
    B: FnOnce(&Counters, usize) + Send + 'static,
{
    let words = SharedWords::private(Counters::words(parties(options)));
    let counters = Arc::new(Counters(words.context("create counters")?));
    let mut threads = Vec::new();
    for party in 0..parties(options) {
        let (counters, body) = (counters.clone(), body());
        threads.push(spawn(NAME, move || body(&counters, party))?);
    }
    watch(&counters, options)?;
    threads.into_iter().try_for_each(join)
}

pub fn threads(options: &WorkloadOptions) -> anyhow::Result<()> {
    among_threads(options, || {
        |counters: &Counters, party| {
            let mut sum = 0_u64;
            compute(counters, party, |number| {
                sum = sum.wrapping_add(unit(number))
            });
            std::hint::black_box(sum);
        }
    })
}

/// What each unit comes to is added to one sum.
pub fn mutex(options: &WorkloadOptions) -> anyhow::Result<()> {
    let sum = Arc::new(Mutex::new(0_u64));
    among_threads(options, || {
        let sum = sum.clone();
        move |counters: &Counters, party| {
            compute(counters, party, |number| {
                let result = unit(number);
                let mut sum = sum.lock().unwrap_or_else(PoisonError::into_inner);
                *sum = sum.wrapping_add(result);
            });
        }
    })
}

/// Nobody computes while another one does.
pub fn locked(options: &WorkloadOptions) -> anyhow::Result<()> {
    let sum = Arc::new(Mutex::new(0_u64));
    among_threads(options, || {
        let sum = sum.clone();
        move |counters: &Counters, party| {
            compute(counters, party, |number| {
                let mut sum = sum.lock().unwrap_or_else(PoisonError::into_inner);
                *sum = sum.wrapping_add(unit(number));
            });
        }
    })
}

/// What each unit comes to is sent to one thread more, which adds.
pub fn messages(options: &WorkloadOptions) -> anyhow::Result<()> {
    let (send, received) = sync_channel(UNTAKEN);
    let adds = spawn("adds", move || {
        received.iter().fold(0_u64, u64::wrapping_add)
    })?;
    let mut sender: Option<SyncSender<u64>> = Some(send);
    let result = among_threads(options, || {
        let send = sender.clone();
        move |counters: &Counters, party| {
            compute(counters, party, |number| {
                if let Some(send) = &send {
                    // Who adds ends only when nobody sends any more.
                    let _ = send.send(unit(number));
                }
            });
        }
    });
    sender.take();
    std::hint::black_box(join(adds)?);
    result
}

/// They sleep half of the time, about.
pub fn naps(options: &WorkloadOptions) -> anyhow::Result<()> {
    among_threads(options, || {
        |counters: &Counters, party| {
            let mut awake = 0;
            compute(counters, party, |number| {
                unit(number);
                awake += 1;
                if awake == UNITS_AWAKE {
                    awake = 0;
                    thread::sleep(NAP);
                }
            });
        }
    })
}

pub fn processes(options: &WorkloadOptions) -> anyhow::Result<()> {
    let parties = parties(options);
    let (words, memory) =
        SharedWords::shared(Counters::words(parties)).context("create memory to share")?;
    let mut children = Vec::new();
    for party in 0..parties {
        let mut command = member("compute-member")?;
        command.args(["--count", &party.to_string()]);
        command.args(["--parties", &parties.to_string()]);
        let memory = memory.try_clone().context("share memory")?;
        let child = command.stdin(Stdio::from(memory)).spawn();
        children.push(child.context("start a process that computes")?);
    }
    watch(&Counters(words), options)?;
    children.into_iter().try_for_each(wait)
}

/// One of those processes, by its number; its input is the memory.
pub fn process(options: &WorkloadOptions) -> anyhow::Result<()> {
    sched::rename(NAME.as_bytes())?;
    let parties = parties(options);
    let party = options.count.unwrap_or(0) as usize % parties;
    let words = SharedWords::of(&stdin(), Counters::words(parties)).context("share memory")?;
    let mut sum = 0_u64;
    compute(&Counters(words), party, |number| {
        sum = sum.wrapping_add(unit(number));
    });
    std::hint::black_box(sum);
    Ok(())
}
