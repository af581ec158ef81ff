//! What a fork takes with more and more memory to copy the page tables of. Each line tells of one fork: the name of
//! its thread; resident bytes, bytes of page tables and mappings before it; nanoseconds.

use std::fmt::Write as _;
use std::fs;
use std::time::Duration;

use anyhow::Context as _;
use rustix::process::{WaitOptions, waitpid};

use super::{Deadline, LONG, WorkloadOptions, join, monotonic, spawn, tell};
use crate::kernel::raw::births::{Pages, Resident, clone3, run_first};

const STEPS: [usize; 3] = [0, 100 << 20, 1 << 30];

pub fn run(options: &WorkloadOptions) -> anyhow::Result<()> {
    let deadline = Deadline::of(options, LONG);
    let count = options.count.unwrap_or(20);
    for (name, pages) in [("small-pages", Pages::Small), ("huge-pages", Pages::Huge)] {
        // One after the other: they share the memory that is copied.
        let told = join(spawn(name, move || climb(name, pages, count, deadline))?)??;
        tell(&told)?;
    }
    Ok(())
}

fn climb(name: &str, pages: Pages, count: u64, deadline: Deadline) -> anyhow::Result<String> {
    // Whoever preempts a fork makes it longer, by whatever clock. Not permitted: then it may be so.
    let _ = run_first();
    let mut told = String::new();
    for step in STEPS {
        let memory = match step {
            0 => None,
            bytes => Some(Resident::new(bytes, pages).context("take memory")?),
        };
        let before = Before::read()?;
        for _ in 0..count {
            if deadline.is_over() {
                break;
            }
            let start = monotonic();
            let child = clone3(0).context("fork")?;
            let took = monotonic() - start;
            waitpid(Some(child), WaitOptions::empty()).context("wait for a child")?;
            let Before {
                resident,
                page_tables,
                mappings,
            } = before;
            writeln!(told, "{name} {resident} {page_tables} {mappings} {took}")?;
            // A thread that comes before all others leaves some time to them.
            std::thread::sleep(Duration::from_micros(500));
        }
        drop(memory);
    }
    Ok(told)
}

#[derive(Clone, Copy)]
struct Before {
    resident: u64,
    page_tables: u64,
    mappings: u64,
}

impl Before {
    fn read() -> anyhow::Result<Before> {
        let status = fs::read_to_string("/proc/self/status").context("read /proc/self/status")?;
        let bytes = |key: &str| -> anyhow::Result<u64> {
            let line = status.lines().find_map(|line| line.strip_prefix(key));
            let line = line.with_context(|| format!("find {key} in /proc/self/status"))?;
            let number = line.trim().trim_end_matches(" kB").parse::<u64>();
            Ok(1024 * number.with_context(|| format!("read {key}{line}"))?)
        };
        let maps = fs::read_to_string("/proc/self/maps").context("read /proc/self/maps")?;
        // The last is the kernel's, and in no address space.
        let mapping = |line: &&str| !line.ends_with("[vsyscall]");
        Ok(Before {
            resident: bytes("VmRSS:")?,
            page_tables: bytes("VmPTE:")?,
            mappings: maps.lines().filter(mapping).count() as u64,
        })
    }
}
