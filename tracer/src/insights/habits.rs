//! What threads do to themselves and to each other: locks, wake-ups, yields.

use rustc_hash::FxHashMap;

use super::{Found, MATTERS, Scene, duration, found, name, percent, plural, ratio};
use crate::{
    engine::Facts,
    model::{Nanos, OffState, Syscall, WakerKind},
    report::{Process, Thread},
};

/// `futex` has another number in each table of system calls; that of `sched_yield` tells which one it is:
/// x86-64, and include/uapi/asm-generic/unistd.h.
const FUTEX: [(u32, u32); 2] = [(24, 202), (124, 98)];
/// `futex_waitv` and `futex_wait` have the same in all.
const NEWER_FUTEXES: [u32; 2] = [449, 455];

/// A thread that ran for less of its life is not one that competes.
const BUSY: f64 = 0.05;
/// CPUs that threads use together when only one can run at a time.
const ONE_AT_A_TIME: std::ops::RangeInclusive<f64> = 0.5..=1.15;
/// Of the sleeps: by a sibling. A lock's waiter may also look again after a time-out, as Python's does.
const BY_SIBLINGS: f64 = 0.2;
const MOSTLY_BY_SIBLINGS: f64 = 0.5;
/// Who hands out work ends nearly all sleeps; a lock goes around.
const ONE_FOR_ALL: f64 = 0.8;
/// Sleeps a second.
const OFTEN: f64 = 20.0;
const VERY_OFTEN: f64 = 1_000.0;
const SHORT: Nanos = Nanos(100_000_000);
const VERY_SHORT: Nanos = Nanos(2_000_000);
/// Of the lives of those who queue.
const QUEUEING: f64 = 0.1;

/// Of a process: sleeps in futexes that one of its own threads ended, or something else.
#[derive(Default)]
struct Futexes {
    threads: usize,
    lives: Nanos,
    longest_life: Nanos,
    ran: Nanos,
    waited: Nanos,
    sleeps: u64,
    slept: Nanos,
    by_siblings: u64,
    by_timers: u64,
    /// Of the sibling that ended most of them.
    by_one: u64,
}

impl Futexes {
    fn of<'a>(threads: impl Iterator<Item = &'a Thread>, pid: u32, futex: u32) -> Futexes {
        let mut sum = Futexes::default();
        let mut wakers: FxHashMap<u32, u64> = FxHashMap::default();
        for thread in threads {
            sum.threads += 1;
            sum.lives += thread.totals.lifetime;
            sum.longest_life = sum.longest_life.max(thread.totals.lifetime);
            sum.ran += thread.totals.run;
            sum.waited += thread.totals.wait;
            for row in &thread.blocked_on {
                let Some(Syscall::Native(number)) = row.syscall else {
                    continue;
                };
                if row.state != OffState::Sleep
                    || (number != futex && !NEWER_FUTEXES.contains(&number))
                {
                    continue;
                }
                sum.sleeps += row.count;
                sum.slept += row.ns;
                match (row.waker, row.who) {
                    (WakerKind::Thread, Some(who)) if who.pid == pid => {
                        sum.by_siblings += row.count;
                        *wakers.entry(who.tid).or_default() += row.count;
                    }
                    (WakerKind::Timer, _) => sum.by_timers += row.count,
                    _ => {}
                }
            }
        }
        sum.by_one = wakers.into_values().max().unwrap_or(0);
        sum
    }

    fn mean(&self) -> Nanos {
        Nanos(self.slept.0 / self.sleeps.max(1))
    }

    fn share(&self, part: u64) -> f64 {
        part as f64 / self.sleeps.max(1) as f64
    }

    /// The one that slept is ended by the one that ran, and that changes.
    fn go_around(&self) -> bool {
        self.by_siblings > 0 && (self.by_one as f64) <= ONE_FOR_ALL * self.by_siblings as f64
    }

    fn evidence(&self) -> String {
        let timers = match self.share(self.by_timers) {
            share if share >= MATTERS => format!(", {} by a time-out", percent(share)),
            _ => String::new(),
        };
        format!(
            "{} futex sleeps of {} on average, {} ended by a thread of the same process{timers}; \
             {} asleep in them, {} waiting for a CPU",
            self.sleeps,
            duration(self.mean()),
            percent(self.share(self.by_siblings)),
            duration(self.slept),
            duration(self.waited)
        )
    }
}

fn futex(facts: &Facts) -> Option<u32> {
    let sched_yield = facts.sched_yield?;
    let table = FUTEX.iter().find(|(number, _)| *number == sched_yield);
    table.map(|(_, futex)| *futex)
}

/// Threads that take turns, or queue: the process that loses most by it.
pub fn one_lock(scene: &Scene<'_>) -> Option<Found> {
    let futex = futex(scene.facts)?;
    let processes = scene.report.processes.iter();
    let candidates = processes.filter_map(|process| {
        take_turns(scene, process, futex).or_else(|| queue(scene, process, futex))
    });
    candidates.max_by(|a, b| a.weight.total_cmp(&b.weight))
}

/// Together they run one CPU, and whoever does not run sleeps in a futex.
fn take_turns(scene: &Scene<'_>, process: &Process, futex: u32) -> Option<Found> {
    let busy = |thread: &&Thread| ratio(thread.totals.run, thread.totals.lifetime) >= BUSY;
    let futexes = Futexes::of(process.threads.iter().filter(busy), process.pid, futex);
    if futexes.threads < 2 {
        return None;
    }
    let together = ratio(futexes.ran, futexes.longest_life);
    let others = 1.0 - 1.0 / futexes.threads as f64;
    // Most of the time in which the others run, and more than is spent in a queue for a CPU.
    let asleep = ratio(futexes.slept, futexes.lives) >= others * 0.6;
    let is_lock = ONE_AT_A_TIME.contains(&together)
        && asleep
        && futexes.slept > futexes.waited
        && futexes.share(futexes.by_siblings) >= BY_SIBLINGS
        && futexes.go_around()
        && scene.a_second(futexes.sleeps) >= OFTEN
        && futexes.mean() <= SHORT;
    if !is_lock {
        return None;
    }
    let python = process.comm.bytes().starts_with(b"python");
    let which = if python { " (Python's GIL)" } else { "" };
    found(
        scene.cpus_of(futexes.slept),
        format!(
            "the {} busy threads of {} take turns: together they ran {together:.2} CPU, because they share one lock{which}",
            futexes.threads,
            name(process.comm, process.pid)
        ),
        futexes.evidence(),
        "More threads or CPUs will not help: hold the lock for a shorter time, divide it, or use processes instead of threads"
            .into(),
    )
}

/// A lock that is handed on at a high rate.
fn queue(scene: &Scene<'_>, process: &Process, futex: u32) -> Option<Found> {
    let sleeps_there = |thread: &&Thread| {
        let one = Futexes::of(std::iter::once(*thread), process.pid, futex);
        one.by_siblings > 0 && ratio(one.slept, one.lives) >= QUEUEING
    };
    let futexes = Futexes::of(
        process.threads.iter().filter(sleeps_there),
        process.pid,
        futex,
    );
    let convoy = futexes.threads >= 2
        && scene.a_second(futexes.by_siblings) >= VERY_OFTEN
        && futexes.share(futexes.by_siblings) >= MOSTLY_BY_SIBLINGS
        && futexes.go_around()
        && futexes.mean() <= VERY_SHORT;
    if !convoy {
        return None;
    }
    found(
        scene.cpus_of(futexes.slept),
        format!(
            "{} of {} queue for a lock: one of them was handed on {:.0} times a second",
            plural(futexes.threads, "thread", "threads"),
            name(process.comm, process.pid),
            scene.a_second(futexes.by_siblings)
        ),
        futexes.evidence(),
        "Hold the lock for a shorter time, divide it, or do more under it at a time".into(),
    )
}

/// Wake-ups from another CPU, a second, and their share of a thread's wake-ups.
const FROM_ELSEWHERE: f64 = 1_000.0;
const MOSTLY_FROM_ELSEWHERE: f64 = 0.5;
/// Of the wake-ups: that often it is moved.
const MOVED: f64 = 0.1;

/// Wake-ups at a high rate that cross from one CPU to another: each takes an interrupt, and cold caches.
pub fn from_cpu_to_cpu(scene: &Scene<'_>) -> Option<Found> {
    let one = |(_, thread): (&Process, &Thread)| {
        let rows = &thread.woken_by;
        let count: u64 = rows.iter().map(|row| row.count).sum();
        let cross: u64 = rows.iter().map(|row| row.cross_cpu).sum();
        let wake: Nanos = rows.iter().map(|row| row.wake).sum();
        let weight = scene.cpus_of(wake);
        let moved = thread.totals.migrations as f64 >= MOVED * count as f64;
        let share = cross as f64 / count.max(1) as f64;
        if scene.a_second(cross) < FROM_ELSEWHERE
            || share < MOSTLY_FROM_ELSEWHERE
            || (weight < MATTERS && !moved)
        {
            return None;
        }
        let most = rows.iter().max_by_key(|row| row.cross_cpu)?;
        let by = match (most.kind, most.who) {
            (WakerKind::Thread, Some(who)) => {
                format!(", most often by {}", name(who.comm, who.tid))
            }
            _ => String::new(),
        };
        found(
            weight,
            format!(
                "{} is woken from another CPU {:.0} times a second{by}",
                name(thread.comm, thread.tid),
                scene.a_second(cross)
            ),
            format!(
                "{} of its {count} wake-ups came from another CPU; on average it took {} until it stood in a run queue; \
                 it moved {} times",
                percent(share),
                duration(Nanos(wake.0 / count.max(1))),
                thread.totals.migrations
            ),
            "Bind those that work together to one CPU or to CPUs that share a cache (taskset), or hand over more at a time"
                .into(),
        )
    };
    let candidates = scene.threads().filter_map(one);
    candidates.max_by(|a, b| a.weight.total_cmp(&b.weight))
}

/// Yields that switched, a second of life, and their share of a thread's switches.
const YIELDS: f64 = 1_000.0;
const MOSTLY_YIELDS: f64 = 0.5;

/// Threads that give the CPU away, and are back at once.
pub fn yields_in_a_loop(scene: &Scene<'_>) -> Option<Found> {
    let spins = |thread: &&Thread| {
        let totals = &thread.totals;
        let yields = totals.involuntary_yields.unwrap_or(0) as f64;
        let switches = (totals.voluntary + totals.involuntary) as f64;
        yields * 1e9 > YIELDS * totals.lifetime.0 as f64
            && scene.a_second(yields as u64) > YIELDS
            && yields >= MOSTLY_YIELDS * switches
    };
    let one = |process: &Process| {
        let threads: Vec<&Thread> = process.threads.iter().filter(spins).collect();
        let sum = |of: fn(&Thread) -> u64| -> u64 { threads.iter().map(|thread| of(thread)).sum() };
        let yields = sum(|thread| thread.totals.involuntary_yields.unwrap_or(0));
        let switches = sum(|thread| thread.totals.voluntary + thread.totals.involuntary);
        let ran = Nanos(sum(|thread| thread.totals.run.0));
        let who = match threads.as_slice() {
            [] => return None,
            [one] => format!("{} calls", name(one.comm, one.tid)),
            several => format!(
                "{} threads of {} call",
                several.len(),
                name(process.comm, process.pid)
            ),
        };
        found(
            scene.cpus_of(ran),
            format!("{who} sched_yield in a loop"),
            format!(
                "{yields} yields to others, {:.0} a second, {} of all switches there; {} of run time",
                scene.a_second(yields),
                percent(yields as f64 / switches.max(1) as f64),
                duration(ran)
            ),
            "Wait for what is missing (a futex, a condition variable, poll) instead of asking again and again".into(),
        )
    };
    let candidates = scene.report.processes.iter().filter_map(one);
    candidates.max_by(|a, b| a.weight.total_cmp(&b.weight))
}
