//! Threads that are hard to tell by name or number.

use std::os::unix::process::CommandExt as _;
use std::time::Duration;

use anyhow::Context as _;

use super::{Deadline, LONG, WorkloadOptions, again, burn, join, sched, spawn};

pub fn rename(options: &WorkloadOptions) -> anyhow::Result<()> {
    let deadline = Deadline::of(options, LONG);
    let names = options.count.unwrap_or(1_000);
    let mut threads = Vec::new();
    for thread in 0..4 {
        threads.push(spawn(&format!("rename-{thread}"), move || {
            for n in 0..names {
                if deadline.is_over() {
                    break;
                }
                sched::rename(format!("name-{thread}-{n}").as_bytes())?;
                // A switch now and then, under each of many names.
                if n % 16 == 0 {
                    deadline.sleep(Duration::from_micros(50));
                }
            }
            sched::rename(format!("renamed-{thread}").as_bytes())?;
            anyhow::Ok(())
        })?);
    }
    threads.into_iter().try_for_each(|thread| join(thread)?)
}

/// What a terminal, a parser of lines, HTML, a shell or a format string would stumble over.
pub const HOSTILE: &[&[u8]] = &[
    b"\x1b[31mred\x1b[0m",
    b"\x1b]0;title\x07",
    b"two\nlines\r",
    b"tab\tbell\x07\x08",
    b"bad\xff\xfe\x80",
    b"cut\xe6\x97",
    "c1\u{9b}2J".as_bytes(),
    "\u{202e}gnp.exe".as_bytes(),
    "zero\u{200b}width".as_bytes(),
    "日本語".as_bytes(),
    b"<script>&\"'",
    b"$(id);`id`|",
    b"%s%n%x",
    b"a\\x1b",
    b"},{\"pid\":1,\"",
    b"a,b;c d",
    b"   ",
    b"",
];

pub fn hostile_names(options: &WorkloadOptions) -> anyhow::Result<()> {
    let deadline = Deadline::of(options, Duration::from_secs(1));
    let mut threads = Vec::new();
    for name in HOSTILE {
        threads.push(spawn("innocent", move || {
            sched::rename(name)?;
            while !deadline.is_over() {
                burn(Duration::from_micros(20));
                deadline.sleep(Duration::from_millis(2));
            }
            anyhow::Ok(())
        })?);
    }
    threads.into_iter().try_for_each(|thread| join(thread)?)
}

/// The thread that execs takes over the number of the leader, which ends, as does the bystander.
pub fn exec_nonleader(options: &WorkloadOptions) -> anyhow::Result<()> {
    let after = options.duration.unwrap_or(Duration::from_millis(200));
    let bystander = Deadline::of(options, LONG);
    drop(spawn("bystander", move || bystander.sleep(LONG))?);
    let execs = spawn("execs", move || {
        // Something to lose: switches and run time from before.
        for _ in 0..20 {
            burn(Duration::from_micros(500));
            std::thread::sleep(Duration::from_millis(1));
        }
        let error = again("sleepers", Some(after))?.exec();
        // Only reached when it did not happen.
        Err::<(), _>(error).context("exec")
    })?;
    join(execs)?
}
