//! Threads that compute, sleep, yield and are moved about.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, bail};

use super::{Deadline, LONG, WorkloadOptions, burn, join, sched, spawn};

pub fn hog(options: &WorkloadOptions) -> anyhow::Result<()> {
    let deadline = Deadline::of(options, Duration::from_secs(1));
    let mut threads = Vec::new();
    for cpu in sched::allowed_cpus()? {
        for n in 0..options.count.unwrap_or(1) {
            threads.push(spawn(&format!("hog-{cpu}-{n}"), move || {
                sched::pin(None, cpu)?;
                burn(deadline.left());
                anyhow::Ok(())
            })?);
        }
    }
    threads.into_iter().try_for_each(|thread| join(thread)?)
}

pub fn sleepers(options: &WorkloadOptions) -> anyhow::Result<()> {
    let deadline = Deadline::of(options, Duration::from_secs(1));
    let count = options.count.unwrap_or(4);
    // However many they are, together they wake at most 20,000 times a second: they hardly run.
    let nap = Duration::from_micros(50).saturating_mul(count.max(100).try_into()?);
    let mut threads = Vec::new();
    for n in 0..count {
        threads.push(spawn(&format!("sleeper-{n}"), move || {
            while !deadline.is_over() {
                deadline.sleep(nap);
            }
        })?);
    }
    threads.into_iter().try_for_each(join)
}

/// Every yield gives the CPU to the hog: an involuntary switch that came from `sched_yield`.
pub fn yielder(options: &WorkloadOptions) -> anyhow::Result<()> {
    let deadline = Deadline::of(options, LONG);
    let count = options.count.unwrap_or(500);
    let cpu = sched::one_cpu()?;
    let hog = Hog::start(cpu)?;
    let yielder = spawn("yielder", move || {
        sched::pin(None, cpu)?;
        for _ in 0..count {
            if deadline.is_over() {
                break;
            }
            rustix::thread::sched_yield();
        }
        anyhow::Ok(())
    })?;
    let result = join(yielder)?;
    hog.stop()?;
    result
}

/// The kernel counts a sleep as a wait: a sleeper that left the CPU with its dequeue delayed (it had run more than
/// its share beside the hog) is moved to another CPU and back while it sleeps, and is stamped as queued.
pub fn delayed_dequeue(options: &WorkloadOptions) -> anyhow::Result<()> {
    const SLEEP: Duration = Duration::from_millis(60);
    let deadline = Deadline::of(options, LONG);
    let rounds = options.count.unwrap_or(20);
    let cpus = sched::allowed_cpus()?;
    let [here, there, ..] = cpus[..] else {
        bail!("two CPUs are needed to move a thread between them")
    };
    let hog = Hog::start(here)?;
    let (asleep, moves) = mpsc::channel();
    let (moving, moved) = mpsc::channel::<()>();
    let sleeper = spawn("sleeper", move || {
        sched::pin(None, here)?;
        let tid = rustix::thread::gettid();
        for _ in 0..rounds {
            if deadline.is_over() {
                break;
            }
            // More than a share, so that the dequeue is delayed; less than a slice, so that it leaves by sleeping.
            burn(Duration::from_millis(1));
            asleep.send(tid).context("tell the mover")?;
            thread::sleep(SLEEP);
        }
        drop(asleep);
        // On a busy machine the mover is late: it must find this thread alive. It says nothing, it ends.
        let _ = moved.recv();
        anyhow::Ok(())
    })?;
    let mover = spawn("mover", move || {
        sched::pin(None, there)?;
        for tid in moves {
            thread::sleep(Duration::from_millis(2));
            sched::pin(Some(tid), there)?;
            sched::pin(Some(tid), here)?;
        }
        drop(moving);
        anyhow::Ok(())
    })?;
    let results = [join(sleeper)?, join(mover)?];
    hog.stop()?;
    results.into_iter().collect()
}

/// A thread that computes on one CPU until it is stopped.
struct Hog {
    stop: Arc<AtomicBool>,
    thread: thread::JoinHandle<anyhow::Result<()>>,
}

impl Hog {
    fn start(cpu: usize) -> anyhow::Result<Hog> {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let (runs, started) = mpsc::channel();
        let thread = spawn("hog", move || {
            sched::pin(None, cpu)?;
            runs.send(()).context("tell that the hog runs")?;
            while !stopped.load(Ordering::Relaxed) {
                std::hint::spin_loop();
            }
            anyhow::Ok(())
        })?;
        // Else all may be over before a busy machine lets it begin. If it failed, `stop` tells why.
        let _ = started.recv();
        Ok(Hog { stop, thread })
    }

    fn stop(self) -> anyhow::Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        join(self.thread)?
    }
}
