//! What processes have in memory, by procfs, and what the stacks of their threads take.
//!
//! In: a report, and where the stacks are. Out: figures in it. Whoever is gone, or is another process by now, has
//! none. Never sees an event.

use std::{
    fs::File,
    io::{BufRead, BufReader, Read as _},
    ops::Range,
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
    time::{Duration, Instant},
};

use rustc_hash::FxHashMap;
use rustix::{
    fs::{Mode, OFlags, open, openat},
    time::{ClockId, clock_gettime},
};
use tracer_common::record::Stack;

use super::procfs;
use crate::model::{Nanos, Timestamp};
use crate::report::{MemorySource, Process, ProcessMemory, Report, ThreadMemory};
use guards::{End, resident_pages};

mod guards;

/// Longer than this is not read: the kernel walks page tables for it, and the target may wait meanwhile.
const BUDGET: Duration = Duration::from_secs(1);

/// `/proc/PID/stat` counts in ticks.
const TICKS_APART: u64 = 2;

/// The kernel hands out a page of such a file at a time.
const READ: usize = 4096;

/// Opens a file of a process, which is a directory in /proc, for whoever may.
pub type Opens<'a> = &'a dyn Fn(BorrowedFd<'_>, &str) -> Option<File>;

/// Fills in what lives, in the order of the report, until it takes too long. `opens` is asked for what only the
/// owner of a process may read.
pub fn measure(report: &mut Report, stacks: &[Stack], opens: Opens<'_>) {
    let stacks: FxHashMap<u32, Stack> = stacks.iter().map(|stack| (stack.tid, *stack)).collect();
    let starts = Starts {
        window: report.window.start,
        suspended: suspended(),
    };
    let until = Instant::now() + BUDGET;
    for process in &mut report.processes {
        if Instant::now() > until {
            break;
        }
        // A row of several processes, or one that has ended.
        if process.pid == 0 || process.memory.is_some() {
            continue;
        }
        if let Some(files) = Files::of(process.pid).filter(|files| starts.is_of(files, process)) {
            fill(process, &files, &stacks, opens, until);
        }
    }
}

/// `/proc/PID`: once its process has ended nothing in it opens, even if another one has the pid by then.
struct Files(OwnedFd);

impl Files {
    fn of(pid: u32) -> Option<Files> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        open(format!("/proc/{pid}"), flags, Mode::empty())
            .ok()
            .map(Files)
    }

    fn open(&self, name: &str) -> Option<File> {
        let file = openat(
            &self.0,
            name,
            OFlags::RDONLY | OFlags::CLOEXEC,
            Mode::empty(),
        );
        file.ok().map(File::from)
    }

    fn read(&self, name: &str) -> Option<Vec<u8>> {
        let mut bytes = Vec::new();
        self.open(name)?.read_to_end(&mut bytes).ok()?;
        Some(bytes)
    }
}

/// How times of the report compare with those in `/proc/PID/stat`.
struct Starts {
    window: Timestamp,
    /// For how long the machine has been: the report's clock stood still then, the file's did not.
    suspended: Nanos,
}

impl Starts {
    /// Whether these are the files of the process in the report.
    fn is_of(&self, files: &Files, process: &Process) -> bool {
        let fits = |name: &str, after: i64| {
            let ticks = files.read(name).and_then(|stat| start_ticks(&stat));
            let started = self.window.0.checked_add_signed(after);
            ticks
                .zip(started)
                .is_some_and(|(ticks, started)| self.fit(started, ticks))
        };
        match process.started_ns {
            Some(after) => fits("stat", after),
            // Nobody told of the leader when only another thread was asked for.
            None => process
                .threads
                .iter()
                .filter(|thread| thread.exit.is_none())
                .filter_map(|thread| Some((thread.tid, thread.started_ns?)))
                .any(|(tid, after)| fits(&format!("task/{tid}/stat"), after)),
        }
    }

    /// The machine may have been suspended before that process began, after, or both. Whoever has its pid now
    /// instead began later, and all of it was before.
    fn fit(&self, started: u64, ticks: u64) -> bool {
        let tick = 1_000_000_000 / rustix::param::clock_ticks_per_second().max(1);
        let earliest = (started / tick).saturating_sub(TICKS_APART);
        let latest = started.saturating_add(self.suspended.0) / tick + TICKS_APART;
        (earliest..=latest).contains(&ticks)
    }
}

fn suspended() -> Nanos {
    let ns = |clock| {
        let time = clock_gettime(clock);
        time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
    };
    let monotonic = ns(ClockId::Monotonic);
    Nanos(ns(ClockId::Boottime).saturating_sub(monotonic))
}

fn fill(
    process: &mut Process,
    files: &Files,
    stacks: &FxHashMap<u32, Stack>,
    opens: Opens<'_>,
    until: Instant,
) {
    let page = rustix::param::page_size() as u64;
    let mappings = opens(files.0.as_fd(), "smaps")
        .and_then(|file| mappings(BufReader::with_capacity(READ, file), until));
    // After it: of who ends meanwhile smaps breaks off, and status tells of no memory any more.
    let Some(status) = files.read("status") else {
        return;
    };
    let kib = |key| procfs::number(&status, key).map(|kib| kib.saturating_mul(1024));
    // Kernel threads have none.
    if let Some(counted) = kib(b"VmRSS:") {
        let sum = |of: fn(&Mapping) -> u64| {
            let mappings = mappings.as_ref()?.iter();
            Some(mappings.fold(0_u64, |sum, mapping| sum.saturating_add(of(mapping))))
        };
        let rss_bytes = sum(|mapping| mapping.rss_bytes).unwrap_or(counted);
        process.memory = Some(ProcessMemory {
            source: MemorySource::Procfs,
            rss_bytes,
            pss_bytes: sum(|mapping| mapping.pss_bytes),
            page_table_bytes: kib(b"VmPTE:"),
            peak_rss_bytes: kib(b"VmHWM:").map(|peak| peak.max(rss_bytes)),
        });
    }
    let mut pointers: Vec<u64> = process
        .threads
        .iter()
        .filter(|thread| thread.exit.is_none())
        .filter_map(|thread| stacks.get(&thread.tid))
        .map(|stack| stack.user_pointer)
        .filter(|&pointer| pointer != 0)
        .collect();
    pointers.sort_unstable();
    let space = Space {
        mappings: mappings.unwrap_or_default(),
        pointers,
        threads: procfs::number(&status, b"Threads:").unwrap_or(u64::MAX),
        pagemap: opens(files.0.as_fd(), "pagemap"),
    };
    for thread in &mut process.threads {
        let Some(stack) = stacks.get(&thread.tid).filter(|_| thread.exit.is_none()) else {
            continue;
        };
        let memory = ThreadMemory {
            kernel_stack_bytes: (stack.kernel_pages > 0)
                .then(|| u64::from(stack.kernel_pages) * page),
            user_stack_bytes: space.stack_bytes(stack.user_pointer, page, until),
        };
        if memory != ThreadMemory::default() {
            thread.memory = Some(memory);
        }
    }
}

/// An address space, and whose stacks are in it.
struct Space {
    /// In the order of their addresses, both.
    mappings: Vec<Mapping>,
    pointers: Vec<u64>,
    /// There are: it may be that not all were asked for.
    threads: u64,
    pagemap: Option<File>,
}

impl Space {
    /// What is in memory of the stack that `pointer` is in.
    fn stack_bytes(&self, pointer: u64, page: u64, until: Instant) -> Option<u64> {
        let index = self
            .mappings
            .partition_point(|mapping| mapping.range.end <= pointer);
        let mapping = self.mappings.get(index)?;
        if !mapping.range.contains(&pointer) {
            return None;
        }
        let before = self.pointers.partition_point(|&other| other < pointer);
        let after = self.pointers.partition_point(|&other| other <= pointer);
        let inside = |other: &&u64| mapping.range.contains(other);
        let below = before
            .checked_sub(1)
            .and_then(|index| self.pointers.get(index))
            .filter(inside);
        let above = self.pointers.get(after).filter(inside);
        if after - before > 1 {
            return None;
        }
        let all_known = self.pointers.len() as u64 >= self.threads;
        if below.is_none() && above.is_none() && all_known {
            return Some(mapping.rss_bytes);
        }
        if Instant::now() > until {
            return None;
        }
        let from = below.map_or(End::Mapping(mapping.range.start / page), |other| {
            End::Other(other / page)
        });
        let to = above.map_or(End::Mapping(mapping.range.end / page), |other| {
            End::Other(other / page)
        });
        let pages = resident_pages(self.pagemap.as_ref()?, from, pointer / page, to)?;
        Some(pages * page)
    }
}

/// Field 22 of `/proc/PID/stat`; the name before may hold spaces and brackets.
pub(super) fn start_ticks(stat: &[u8]) -> Option<u64> {
    let after = stat.iter().rposition(|&byte| byte == b')')? + 1;
    let mut fields = procfs::words(stat.get(after..)?);
    fields.nth(19).and_then(procfs::parse)
}

/// One mapping of an address space.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mapping {
    range: Range<u64>,
    rss_bytes: u64,
    pss_bytes: u64,
}

/// All that a `/proc/PID/smaps` tells of: there may be tens of thousands, each told in 700 bytes. Lines that mean
/// nothing are skipped. `None`: it takes too long.
pub(super) fn mappings(mut text: impl BufRead, until: Instant) -> Option<Vec<Mapping>> {
    let mut all: Vec<Mapping> = Vec::new();
    let mut line = Vec::new();
    while text.read_until(b'\n', &mut line).ok()? > 0 {
        if let Some(range) = range(&line) {
            if Instant::now() > until {
                return None;
            }
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
        line.clear();
    }
    Some(all)
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

    fn all(text: &[u8]) -> Vec<Mapping> {
        mappings(text, Instant::now() + BUDGET).expect("in time")
    }

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
            all(SMAPS),
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
            assert_eq!(all(text), []);
        }
        let huge = all(b"0-ffffffffffffffff x\nRss: 99999999999999999 kB\nPss: x kB");
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
    fn what_takes_too_long_is_not_told_in_part() {
        assert_eq!(mappings(SMAPS, Instant::now() - BUDGET), None);
    }

    const STARTS: Starts = Starts {
        window: Timestamp(0),
        suspended: Nanos(7_000_000_000),
    };

    #[test]
    fn a_start_may_be_before_the_machine_was_suspended_or_after() {
        let tick = 1_000_000_000 / rustix::param::clock_ticks_per_second();
        let started = 100 * 1_000_000_000;
        let ticks = |ns: u64| ns / tick;
        let fits = |ns| STARTS.fit(started, ticks(ns));
        assert!(fits(started) && fits(started + 3_000_000_000) && fits(started + 7_000_000_000));
        assert!(!fits(started - 1_000_000_000) && !fits(started + 8_000_000_000));
        assert!(!STARTS.fit(u64::MAX, 0) && !STARTS.fit(0, u64::MAX));
    }

    /// Ours, as a report has it.
    fn own() -> (Starts, Process) {
        let tick = 1_000_000_000 / rustix::param::clock_ticks_per_second();
        let stat = std::fs::read("/proc/self/stat").expect("procfs");
        let started = start_ticks(&stat).expect("a start") * tick;
        // Else the report's clock is not known from the file's.
        let starts = Starts {
            window: Timestamp(started),
            suspended: Nanos::ZERO,
        };
        let process = Process {
            pid: std::process::id(),
            started_ns: Some(0),
            ..Process::default()
        };
        (starts, process)
    }

    #[test]
    fn a_pid_is_another_ones_when_it_started_at_another_time() {
        let (starts, mut process) = own();
        let files = Files::of(process.pid).expect("we live");
        assert!(starts.is_of(&files, &process));
        process.started_ns = Some(-10_000_000_000);
        assert!(!starts.is_of(&files, &process));
        assert!(Files::of(u32::MAX).is_none());
    }

    #[test]
    fn who_is_known_by_a_thread_only_is_found_by_it() {
        let (starts, mut process) = own();
        let files = Files::of(process.pid).expect("we live");
        process.started_ns = None;
        assert!(!starts.is_of(&files, &process));
        process.threads = vec![crate::report::Thread {
            tid: process.pid,
            started_ns: Some(0),
            ..crate::report::Thread::default()
        }];
        assert!(starts.is_of(&files, &process));
        process.threads[0].tid = 1;
        assert!(!starts.is_of(&files, &process));
    }

    #[test]
    fn nothing_opens_once_a_process_has_ended() {
        let mut child = std::process::Command::new("sleep")
            .arg("60")
            .spawn()
            .expect("start sleep");
        let files = Files::of(child.id()).expect("it lives");
        assert!(files.read("stat").is_some());
        child.kill().expect("it is ours");
        child.wait().expect("it ends");
        assert!(files.read("stat").is_none());
    }

    #[test]
    fn without_time_left_only_counts_are_told() {
        let (_, mut process) = own();
        let files = Files::of(process.pid).expect("we live");
        let stacks = FxHashMap::default();
        let opens: Opens<'_> = &|process, name| {
            let flags = OFlags::RDONLY | OFlags::CLOEXEC;
            Some(File::from(
                openat(process, name, flags, Mode::empty()).ok()?,
            ))
        };
        fill(
            &mut process,
            &files,
            &stacks,
            opens,
            Instant::now() - BUDGET,
        );
        let memory = process.memory.expect("status is read");
        assert!(memory.rss_bytes > 0 && memory.pss_bytes.is_none());
        fill(
            &mut process,
            &files,
            &stacks,
            opens,
            Instant::now() + BUDGET,
        );
        let pss = process.memory.and_then(|memory| memory.pss_bytes);
        assert!(pss.is_some_and(|bytes| bytes > 0));
    }
}
