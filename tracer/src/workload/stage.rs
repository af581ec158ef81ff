//! A pattern that `verify` plays: it ends when its standard input does, so that nothing is left of it whatever becomes
//! of who started it; and it may wait there until somebody looks. Processes that it starts end with it.

use std::fmt::Display;
use std::io::{BufRead as _, Read as _, stdin};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Mutex, OnceLock};

use anyhow::Context as _;
use rustix::process::{Signal, set_parent_process_death_signal};

use super::{WorkloadOptions, spawn, tell};

/// Told once, by the line that lets the pattern begin.
static GO: OnceLock<Mutex<Receiver<()>>> = OnceLock::new();

/// From now on the end of standard input ends this process.
pub fn tie() -> anyhow::Result<()> {
    let (go, going) = channel();
    if GO.set(Mutex::new(going)).is_err() {
        return Ok(());
    }
    spawn("tie", move || {
        let mut input = stdin().lock();
        let mut line = String::new();
        if input.read_line(&mut line).is_ok_and(|read| read > 0) {
            let _ = go.send(());
            let _ = input.read_to_string(&mut line);
        }
        std::process::exit(1);
    })?;
    Ok(())
}

/// From now on the end of the parent's thread that started this process ends it, too.
pub fn follow(parent: u32) -> anyhow::Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL)).context("follow the parent")?;
    // It may have ended before that.
    anyhow::ensure!(
        std::os::unix::process::parent_id() == parent,
        "the parent has ended"
    );
    Ok(())
}

/// Where asked to: tells that these take part, and waits for a line. Else does nothing.
pub fn ready(options: &WorkloadOptions, tids: impl IntoIterator<Item = u32>) -> anyhow::Result<()> {
    if !options.staged {
        return Ok(());
    }
    let tids: Vec<String> = tids.into_iter().map(|tid| tid.to_string()).collect();
    tell(&format!("ready: {}\n", tids.join(" ")))?;
    let going = GO.get().context("wait without standard input")?;
    let going = going.lock().ok().context("wait for the beginning")?;
    going.recv().context("wait for the beginning")
}

/// What was measured, one name a line.
pub fn told<N: Display>(name: &str, samples: &[N]) -> anyhow::Result<()> {
    let mut line = format!("{name}:");
    for sample in samples {
        line.push(' ');
        line.push_str(&sample.to_string());
    }
    line.push('\n');
    tell(&line)
}
