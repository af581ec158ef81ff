//! Births by each call that there is, one after the other on one CPU, each timed by whoever creates: the call, the
//! wait for the end, and both; DURATION for each call. Whoever creates has the name of the call meanwhile.

use std::io;

use anyhow::Context as _;
use rustix::process::Pid;

use super::births::{PROGRAM, reaped};
use super::{Deadline, LONG, WorkloadOptions, member, monotonic, sched, stage, wait};
use crate::kernel::raw;
use crate::kernel::raw::births::{
    Pages, Pthread, Resident, clone3, fork, fork_and_exec, posix_spawn, share_what_is_only_read,
    vfork,
};

const TIMES: u64 = 100;
/// However long they take.
const FEWEST: u64 = 3;

enum Born {
    Process(Pid),
    Thread(Pthread),
}

type Way = (&'static str, fn() -> io::Result<Born>);

/// The thread last: once there has been one, forks of this process take longer.
const WAYS: [Way; 6] = [
    ("clone3", || clone3(0).map(Born::Process)),
    ("fork", || fork(0).map(Born::Process)),
    ("vfork", || vfork(PROGRAM).map(Born::Process)),
    ("posix_spawn", || posix_spawn(PROGRAM).map(Born::Process)),
    ("fork_exec", || fork_and_exec(PROGRAM).map(Born::Process)),
    ("pthread", || Pthread::ended().map(Born::Thread)),
];

/// By a process of one thread: forks take longer where there are more, and who ends with its input has two.
pub fn run(options: &WorkloadOptions) -> anyhow::Result<()> {
    let mut command = member("create-alone")?;
    command.args(["--count", &options.count.unwrap_or(TIMES).to_string()]);
    if let Some(duration) = options.duration {
        command.args(["--duration", &format!("{}us", duration.as_micros())]);
    }
    if let Some(size) = options.size {
        command.args(["--size", &size.to_string()]);
    }
    wait(command.spawn().context("start who creates")?)
}

pub fn alone(options: &WorkloadOptions) -> anyhow::Result<()> {
    sched::pin(None, sched::one_cpu()?)?;
    // A fork is to take what it takes of a small program. Where what was loaded is sealed it takes a little longer.
    let _ = share_what_is_only_read();
    raw::give_back_memory();
    let memory = match options.size {
        None => None,
        Some(bytes) => {
            let memory = Resident::new(usize::try_from(bytes)?, Pages::Small);
            Some(memory.context("take memory")?)
        }
    };
    for (name, birth) in WAYS {
        sched::rename(name.as_bytes())?;
        let [mut calls, mut ends, mut totals] = [const { Vec::new() }; 3];
        let deadline = Deadline::of(options, LONG);
        for n in 0..options.count.unwrap_or(TIMES) {
            if n >= FEWEST && deadline.is_over() {
                break;
            }
            let from = monotonic();
            let born = birth().with_context(|| format!("create by {name}"))?;
            let created = monotonic();
            match born {
                Born::Process(pid) => reaped(Ok(pid))?,
                Born::Thread(thread) => thread.join().context("join a thread")?,
            }
            let ended = monotonic();
            calls.push(created - from);
            ends.push(ended - created);
            totals.push(ended - from);
        }
        stage::told(&format!("{name}.call_ns"), &calls)?;
        stage::told(&format!("{name}.end_ns"), &ends)?;
        stage::told(&format!("{name}.total_ns"), &totals)?;
    }
    drop(memory);
    Ok(())
}
