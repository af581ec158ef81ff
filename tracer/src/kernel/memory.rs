//! What processes have in memory, by procfs, and what the stacks of their threads take.
//!
//! In: a report, and where the stacks are. Out: figures in it. Whoever is gone, or is another process by now, has
//! none. Never sees an event.

use std::{
    fs,
    ops::Range,
    time::{Duration, Instant},
};

use rustc_hash::FxHashMap;
use rustix::time::{ClockId, clock_gettime};
use tracer_common::record::Stack;

use super::procfs;
use crate::report::{MemorySource, Process, ProcessMemory, Report, ThreadMemory};

/// Longer than this is not read: the kernel walks page tables for it, and the target may wait meanwhile.
const BUDGET: Duration = Duration::from_secs(1);

/// `/proc/PID/stat` counts in ticks.
const TICKS_APART: u64 = 2;

/// Fills in what lives, in the order of the report, until it takes too long.
pub fn measure(report: &mut Report, stacks: &[Stack]) {
    let stacks: FxHashMap<u32, Stack> = stacks.iter().map(|stack| (stack.tid, *stack)).collect();
    let start = report.window.start.0;
    let until = Instant::now() + BUDGET;
    for process in &mut report.processes {
        if Instant::now() > until {
            break;
        }
        // A row of several processes, or one that has ended.
        if process.pid == 0 || process.memory.is_some() {
            continue;
        }
        let started = process
            .started_ns
            .and_then(|after| start.checked_add_signed(after));
        if is_still(process.pid, started) {
            fill(process, &stacks);
        }
    }
}

fn fill(process: &mut Process, stacks: &FxHashMap<u32, Stack>) {
    let page = rustix::param::page_size() as u64;
    let read = |name| fs::read(format!("/proc/{}/{name}", process.pid)).ok();
    let mappings = read("smaps")
        .map(|text| mappings(&text))
        .unwrap_or_default();
    let Some(status) = read("status") else { return };
    let kib = |key| procfs::number(&status, key).map(|kib| kib.saturating_mul(1024));
    // Kernel threads have none.
    if let (Some(rss_bytes), false) = (kib(b"VmRSS:"), mappings.is_empty()) {
        process.memory = Some(ProcessMemory {
            source: MemorySource::Procfs,
            rss_bytes: mappings.iter().map(|mapping| mapping.rss_bytes).sum(),
            pss_bytes: Some(mappings.iter().map(|mapping| mapping.pss_bytes).sum()),
            page_table_bytes: kib(b"VmPTE:"),
            peak_rss_bytes: kib(b"VmHWM:").map(|peak| peak.max(rss_bytes)),
        });
    }
    let of = |tid: u32| stacks.get(&tid).filter(|stack| stack.user_pointer != 0);
    let holder = |pointer: u64| {
        mappings
            .iter()
            .find(|mapping| mapping.range.contains(&pointer))
    };
    let living = process
        .threads
        .iter()
        .filter(|thread| thread.exit.is_none());
    // Two stacks in one mapping cannot be told apart.
    let mut shared: FxHashMap<u64, u32> = FxHashMap::default();
    for mapping in living.filter_map(|thread| holder(of(thread.tid)?.user_pointer)) {
        *shared.entry(mapping.range.start).or_default() += 1;
    }
    for thread in process
        .threads
        .iter_mut()
        .filter(|thread| thread.exit.is_none())
    {
        let user_stack_bytes = of(thread.tid)
            .and_then(|stack| holder(stack.user_pointer))
            .filter(|mapping| shared.get(&mapping.range.start) == Some(&1))
            .map(|mapping| mapping.rss_bytes);
        let kernel_stack_bytes = stacks
            .get(&thread.tid)
            .filter(|stack| stack.kernel_pages > 0)
            .map(|stack| u64::from(stack.kernel_pages) * page);
        if user_stack_bytes.is_some() || kernel_stack_bytes.is_some() {
            thread.memory = Some(ThreadMemory {
                kernel_stack_bytes,
                user_stack_bytes,
            });
        }
    }
}

/// Whether a pid is still that of the process that started then (`CLOCK_MONOTONIC`), as far as is known.
fn is_still(pid: u32, started: Option<u64>) -> bool {
    let Some(ticks) = fs::read(format!("/proc/{pid}/stat"))
        .ok()
        .and_then(|stat| start_ticks(&stat))
    else {
        return false;
    };
    let Some(started) = started else { return true };
    let ns = |clock| {
        let time = clock_gettime(clock);
        time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
    };
    // The file counts the time in which the machine was suspended, too.
    let suspended = ns(ClockId::Boottime).saturating_sub(ns(ClockId::Monotonic));
    let tick = 1_000_000_000 / rustix::param::clock_ticks_per_second().max(1);
    ((started + suspended) / tick).abs_diff(ticks) <= TICKS_APART
}

/// Field 22 of `/proc/PID/stat`; the name before may hold spaces and brackets.
fn start_ticks(stat: &[u8]) -> Option<u64> {
    let after = stat.iter().rposition(|&byte| byte == b')')? + 1;
    let mut fields = procfs::words(stat.get(after..)?);
    fields.nth(19).and_then(procfs::parse)
}

/// One mapping of an address space.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Mapping {
    range: Range<u64>,
    rss_bytes: u64,
    pss_bytes: u64,
}

/// All that a `/proc/PID/smaps` tells of. Lines that mean nothing are skipped.
fn mappings(text: &[u8]) -> Vec<Mapping> {
    let mut all: Vec<Mapping> = Vec::new();
    for line in text.split(|&byte| byte == b'\n') {
        if let Some(range) = range(line) {
            all.push(Mapping {
                range,
                rss_bytes: 0,
                pss_bytes: 0,
            });
        } else if let Some(mapping) = all.last_mut() {
            let kib = |key: &[u8]| {
                let number = procfs::words(line.strip_prefix(key)?).next();
                number.and_then(procfs::parse)
            };
            if let Some(kib) = kib(b"Rss:") {
                mapping.rss_bytes = kib.saturating_mul(1024);
            } else if let Some(kib) = kib(b"Pss:") {
                mapping.pss_bytes = kib.saturating_mul(1024);
            }
        }
    }
    all
}

/// Of a line that begins with `55e0c0a00000-55e0c0a22000 r--p ...`.
fn range(line: &[u8]) -> Option<Range<u64>> {
    let text = str::from_utf8(procfs::words(line).next()?).ok()?;
    let (from, to) = text.split_once('-')?;
    let hex = |text| u64::from_str_radix(text, 16).ok();
    Some(hex(from)?..hex(to)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMAPS: &[u8] = b"55e0c0a00000-55e0c0a22000 r--p 00000000 fe:00 1234      /usr/bin/a b-c
Size:                136 kB
Rss:                 132 kB
Pss:                  66 kB
Pss_Dirty:             9 kB
VmFlags: rd mr mw me
7ffd1c000000-7ffd1c021000 rw-p 00000000 00:00 0        [stack]
Rss:                  16 kB
Pss:                  16 kB
";

    #[test]
    fn mappings_are_told_with_what_is_resident() {
        assert_eq!(
            mappings(SMAPS),
            [
                Mapping {
                    range: 0x55e0_c0a0_0000..0x55e0_c0a2_2000,
                    rss_bytes: 132 << 10,
                    pss_bytes: 66 << 10
                },
                Mapping {
                    range: 0x7ffd_1c00_0000..0x7ffd_1c02_1000,
                    rss_bytes: 16 << 10,
                    pss_bytes: 16 << 10
                }
            ]
        );
    }

    #[test]
    fn text_that_means_nothing_is_nothing() {
        for text in [
            &b""[..],
            b"Rss: 1 kB",
            b"\xff-\xff",
            b"1-\nRss:",
            b"-",
            b"zz-1 r",
        ] {
            assert_eq!(mappings(text), []);
        }
        let huge = mappings(b"0-ffffffffffffffff x\nRss: 99999999999999999 kB\nPss: x kB");
        assert_eq!((huge[0].rss_bytes, huge[0].pss_bytes), (u64::MAX, 0));
        assert_eq!(start_ticks(b""), None);
        assert_eq!(start_ticks(b"1 (a"), None);
    }

    #[test]
    fn a_name_hides_no_field() {
        let stat = b"7 (a) b (c) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4711 20";
        assert_eq!(start_ticks(stat), Some(4711));
    }

    #[test]
    fn a_pid_is_another_ones_when_it_started_at_another_time() {
        let own = std::process::id();
        let stat = fs::read("/proc/self/stat").expect("procfs");
        let ticks = start_ticks(&stat).expect("a start");
        let tick = 1_000_000_000 / rustix::param::clock_ticks_per_second();
        assert!(is_still(own, None));
        // As if the machine had never been suspended: true in a virtual machine.
        assert!(!is_still(own, Some(ticks.saturating_sub(1_000) * tick)));
        assert!(!is_still(u32::MAX, None));
    }
}
