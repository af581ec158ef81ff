//! Births of each kind, in known numbers.

use std::ffi::CStr;
use std::io;
use std::time::Instant;

use anyhow::{Context as _, bail};
use rustix::process::{Pid, WaitOptions, waitpid};

use super::{Deadline, LONG, WorkloadOptions, again, join, sched, spawn, tell, wait};
use crate::kernel::raw::births::{clone3, fork, posix_spawn, vfork};

pub const PROGRAM: &CStr = c"/bin/true";

/// One thread for each way: who created what tells how.
pub fn kinds(options: &WorkloadOptions) -> anyhow::Result<()> {
    let times = options.count.unwrap_or(1);
    type Way = (&'static str, u64, fn() -> anyhow::Result<()>);
    let processes: [Way; 5] = [
        ("by-fork", 3, || reaped(fork(0))),
        ("by-vfork", 4, || reaped(vfork(PROGRAM))),
        ("by-spawn", 5, || reaped(posix_spawn(PROGRAM))),
        ("by-clone3", 6, || reaped(clone3(0))),
        ("by-command", 2, || {
            wait(again("nothing", None)?.spawn().context("start a child")?)
        }),
    ];
    for (name, count, birth) in processes {
        join(spawn(name, move || {
            (0..count * times).try_for_each(|_| birth())
        })?)??;
    }
    let threads = spawn("by-thread", move || {
        (0..7 * times).try_for_each(|_| join(spawn("born", || {})?))
    });
    join(threads?)?
}

pub fn in_a_row(options: &WorkloadOptions) -> anyhow::Result<()> {
    let deadline = Deadline::of(options, LONG);
    sched::rename(b"births")?;
    for n in 0..options.count.unwrap_or(1_000) {
        if deadline.is_over() {
            break;
        }
        if n % 10 == 0 {
            reaped(fork(0))?;
        } else {
            join(spawn("born", || {})?)?;
        }
    }
    Ok(())
}

/// Tells how many there were, and how many nanoseconds they took.
pub fn forks(options: &WorkloadOptions) -> anyhow::Result<()> {
    let count = options.count.unwrap_or(1_000);
    let began = Instant::now();
    for _ in 0..count {
        reaped(fork(0))?;
    }
    tell(&format!("{count} {}\n", began.elapsed().as_nanos()))
}

pub fn reaped(child: io::Result<Pid>) -> anyhow::Result<()> {
    let child = child.context("create a child")?;
    let ended = waitpid(Some(child), WaitOptions::empty()).context("wait for a child")?;
    let status = ended.and_then(|(_, status)| status.exit_status());
    if status != Some(0) {
        bail!("a child of the workload ended with {status:?}");
    }
    Ok(())
}
