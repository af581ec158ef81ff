//! A bit of everything that a report can show, for somebody who looks at one for the first time.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context as _;

use super::pingpong::Echo;
use super::{Deadline, WorkloadOptions, again, burn, join, sched, spawn, wait};

type Running = JoinHandle<anyhow::Result<()>>;

pub fn run(options: &WorkloadOptions) -> anyhow::Result<()> {
    let deadline = Deadline::of(options, Duration::from_secs(5));
    let mut threads = pool(deadline)?;
    threads.push(spawn("pinger", move || pinger(deadline))?);
    threads.push(spawn("forker", move || forker(deadline))?);
    for n in 0..3 {
        threads.push(spawn(&format!("sleeper-{n}"), move || sleeper(deadline))?);
    }
    threads.into_iter().try_for_each(|thread| join(thread)?)
}

/// More threads than CPUs: they wait for a CPU, and for the lock of the one who should run.
fn pool(deadline: Deadline) -> anyhow::Result<Vec<Running>> {
    let queue = Arc::new(Queue::default());
    let mut threads = Vec::new();
    for n in 0..sched::allowed_cpus()?.len() + 2 {
        let queue = queue.clone();
        threads.push(spawn(&format!("pool-{n}"), move || {
            while let Some(job) = queue.take() {
                burn(job);
            }
            anyhow::Ok(())
        })?);
    }
    threads.push(spawn("feeder", move || {
        while !deadline.is_over() {
            queue.refill();
            deadline.sleep(Duration::from_millis(2));
        }
        queue.close();
        Ok(())
    })?);
    Ok(threads)
}

#[derive(Default)]
struct Queue {
    jobs: Mutex<Jobs>,
    changed: Condvar,
}

#[derive(Default)]
struct Jobs {
    waiting: VecDeque<Duration>,
    closed: bool,
}

impl Queue {
    fn take(&self) -> Option<Duration> {
        let mut jobs = self.lock();
        loop {
            if jobs.closed {
                return None;
            }
            if let Some(job) = jobs.waiting.pop_front() {
                // Work under the lock, as it should not be: the others come here to sleep in futex.
                burn(Duration::from_micros(100));
                return Some(job);
            }
            jobs = self
                .changed
                .wait(jobs)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn refill(&self) {
        let mut jobs = self.lock();
        while jobs.waiting.len() < 8 {
            let job = Duration::from_micros(400 + 150 * jobs.waiting.len() as u64);
            jobs.waiting.push_back(job);
        }
        self.changed.notify_all();
    }

    fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, Jobs> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Talks to another process through pipes.
fn pinger(deadline: Deadline) -> anyhow::Result<()> {
    let mut echo = Echo::start()?;
    while !deadline.is_over() {
        echo.round_trip()?;
        deadline.sleep(Duration::from_micros(500));
    }
    echo.stop()
}

/// Has short-lived children.
fn forker(deadline: Deadline) -> anyhow::Result<()> {
    while !deadline.is_over() {
        wait(again("nothing", None)?.spawn().context("start a child")?)?;
        deadline.sleep(Duration::from_millis(20));
    }
    Ok(())
}

fn sleeper(deadline: Deadline) -> anyhow::Result<()> {
    while !deadline.is_over() {
        deadline.sleep(Duration::from_millis(10));
    }
    Ok(())
}
