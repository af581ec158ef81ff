//! Threads and processes that are born and end.

use anyhow::Context as _;

use super::{Deadline, LONG, WorkloadOptions, again, join, spawn, wait};

/// At most this many at a time, so that a count of thousands fits any limit.
const AT_ONCE: u64 = 32;

pub fn short_threads(options: &WorkloadOptions) -> anyhow::Result<()> {
    in_batches(
        options,
        2_000,
        |n| spawn(&format!("short-{n}"), || {}),
        join,
    )
}

pub fn short_processes(options: &WorkloadOptions) -> anyhow::Result<()> {
    in_batches(
        options,
        500,
        |_| again("nothing", None)?.spawn().context("start a child"),
        wait,
    )
}

fn in_batches<T>(
    options: &WorkloadOptions,
    default: u64,
    start: impl Fn(u64) -> anyhow::Result<T>,
    end: impl Fn(T) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let deadline = Deadline::of(options, LONG);
    let count = options.count.unwrap_or(default);
    let mut done = 0;
    while done < count && !deadline.is_over() {
        let batch = done..count.min(done + AT_ONCE);
        done = batch.end;
        let started: Vec<T> = batch.map(&start).collect::<anyhow::Result<_>>()?;
        started.into_iter().try_for_each(&end)?;
    }
    Ok(())
}

/// Three children, each with two threads, each of which has two children: 1 + 3 + 12 processes.
pub fn tree(options: &WorkloadOptions) -> anyhow::Result<()> {
    let children: Vec<_> = (0..options.count.unwrap_or(3))
        .map(|_| {
            again("tree-child", options.duration)?
                .spawn()
                .context("start a child")
        })
        .collect::<anyhow::Result<_>>()?;
    children.into_iter().try_for_each(wait)
}

pub fn tree_child(options: &WorkloadOptions) -> anyhow::Result<()> {
    let duration = options
        .duration
        .unwrap_or(std::time::Duration::from_millis(50));
    let mut threads = Vec::new();
    for n in 0..2 {
        threads.push(spawn(&format!("branch-{n}"), move || {
            for _ in 0..2 {
                wait(
                    again("sleepers", Some(duration))?
                        .spawn()
                        .context("start a grandchild")?,
                )?;
            }
            anyhow::Ok(())
        })?);
    }
    threads.into_iter().try_for_each(|thread| join(thread)?)
}
