//! Children whose ends are known: how, and when they were waited for. Each has the name that its parent had when it
//! was born.

use std::thread;
use std::time::Duration;

use anyhow::Context as _;
use rustix::process::{Pid, WaitId, WaitIdOptions, WaitOptions, waitid, waitpid};

use super::{Deadline, LONG, WorkloadOptions, join, sched, spawn};
use crate::kernel::raw::births::{crash, fork, ignore_children};

/// Between a child's end and its parent's call that ends the zombie, at least.
const LATE: Duration = Duration::from_millis(200);

pub fn run(options: &WorkloadOptions) -> anyhow::Result<()> {
    let child = born("exits-3", 3)?;
    by_wait4(child)?;

    by_waitid(zombie("late-waitid")?)?;
    by_wait4(zombie("late-wait4")?)?;
    let child = zombie("late-thread")?;
    join(spawn("reaper", move || by_wait4(child))?)??;
    let child = zombie("late-any")?;
    let any = waitpid(None, WaitOptions::empty()).context("wait for any child")?;
    anyhow::ensure!(any.map(|(pid, _)| pid) == Some(child), "another child");

    ignore_children(true).context("ignore SIGCHLD")?;
    let child = born("ignored", 0)?;
    // Nothing to wait for, but this sleeps until the child is gone.
    let gone = waitpid(Some(child), WaitOptions::empty());
    anyhow::ensure!(
        matches!(gone, Err(rustix::io::Errno::CHILD)),
        "an ignored child was left: {gone:?}"
    );
    ignore_children(false).context("no longer ignore SIGCHLD")?;

    if let Some(duration) = options.duration {
        let child = zombie("never")?;
        thread::sleep(duration);
        by_wait4(child)?;
    }
    sched::rename(b"ends")
}

fn born(name: &str, status: u8) -> anyhow::Result<Pid> {
    sched::rename(name.as_bytes())?;
    fork(status).context("fork")
}

/// A child that ended a while ago.
fn zombie(name: &str) -> anyhow::Result<Pid> {
    let child = born(name, 0)?;
    // Looks, and leaves it.
    let look = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
    waitid(WaitId::Pid(child), look).context("wait for the end of a child")?;
    thread::sleep(LATE);
    Ok(child)
}

fn by_waitid(child: Pid) -> anyhow::Result<()> {
    waitid(WaitId::Pid(child), WaitIdOptions::EXITED).context("wait for a child by waitid")?;
    Ok(())
}

fn by_wait4(child: Pid) -> anyhow::Result<()> {
    waitpid(Some(child), WaitOptions::empty()).context("wait for a child by wait4")?;
    Ok(())
}

/// With as much of a core file as it is allowed.
pub fn crashes(options: &WorkloadOptions) -> anyhow::Result<()> {
    sched::rename(b"crashes")?;
    let deadline = Deadline::of(options, LONG);
    for n in 1..options.count.unwrap_or(4) {
        drop(spawn(&format!("bystander-{n}"), move || {
            deadline.sleep(LONG);
        })?);
    }
    crash().context("read what may not be read")
}
