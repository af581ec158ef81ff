//! Children whose ends are known: how, and when they were waited for. Each has the name that its parent had when it
//! was born.

use std::io::Read as _;
use std::os::unix::process::ExitStatusExt as _;
use std::process::Stdio;
use std::thread;
use std::time::Duration;

use anyhow::Context as _;
use rustix::process::{
    DumpableBehavior, Pid, WaitId, WaitIdOptions, WaitOptions, set_dumpable_behavior, waitid,
    waitpid,
};

use super::{Deadline, LONG, WorkloadOptions, join, member, sched, spawn, stage, wait};
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

/// Threads of a process that one of them makes crash.
const PARTIES: u64 = 4;

/// COUNT times a process of PARTIES threads, one of which crashes, beside another process: what ends it, and whether
/// the other one lives on.
pub fn apart(options: &WorkloadOptions) -> anyhow::Result<()> {
    let parties = options.parties.unwrap_or(PARTIES).max(2);
    let (mut signals, mut others) = (Vec::new(), Vec::new());
    for _ in 0..options.count.unwrap_or(4) {
        let mut command = member("idle")?;
        let other = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut other = other.context("start another process")?;
        let out = other.stdout.as_mut().context("listen to a process")?;
        out.read_exact(&mut [0]).context("wait for a process")?;
        let mut command = member("crash-thread")?;
        command.args(["--parties", &parties.to_string()]);
        let status = command.status().context("wait for a crash")?;
        signals.push(status.signal().unwrap_or(0));
        let lives = other.try_wait().context("look after a process")?.is_none();
        others.push(i32::from(lives));
        wait(other)?;
    }
    stage::told("signal", &signals)?;
    stage::told("others_alive", &others)
}

/// Without a core file.
pub fn crash_thread(options: &WorkloadOptions) -> anyhow::Result<()> {
    sched::rename(b"crash-thread")?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable).context("do without a core file")?;
    let deadline = Deadline::of(options, LONG);
    // The first thread is one of them, and the one that crashes.
    for n in 2..options.parties.unwrap_or(PARTIES) {
        drop(spawn(&format!("bystander-{n}"), move || {
            deadline.sleep(LONG);
        })?);
    }
    join(spawn("crasher", crash)?)?.context("read what may not be read")
}
