//! What `/proc` says about processes and about ourselves: small pure parsers, and readers on top.
//!
//! Processes come and go while we look: every reader answers `None` for what is gone.

use std::fs::{self, File};
use std::io::Read as _;

use rustix::time::{ClockId, clock_gettime};

use crate::model::{Comm, Nanos, Priority, Who};
use crate::output::terminal;

/// Command lines are cut here: some programs pass megabytes.
const CMDLINE_MAX: u64 = 4096;

/// What a number in the pid name space of the host stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Identity {
    /// A process: the number of its leader.
    Process,
    /// Another thread of process `tgid`.
    Thread {
        tgid: u32,
    },
    Gone,
}

pub fn identify(id: u32) -> Identity {
    // /proc/TID exists for every thread, though a listing of /proc shows only leaders.
    match fs::read(format!("/proc/{id}/status"))
        .ok()
        .as_deref()
        .and_then(|status| number(status, b"Tgid:"))
    {
        Some(tgid) if tgid == u64::from(id) => Identity::Process,
        Some(tgid) => Identity::Thread {
            tgid: u32::try_from(tgid).unwrap_or(0),
        },
        None => Identity::Gone,
    }
}

/// Why `--pid` cannot be used as given, and what to use instead. Clean for a terminal.
pub fn explain_missing_pid(pid: u32) -> String {
    if let Identity::Thread { tgid } = identify(pid) {
        let name = comm(tgid);
        return format!(
            "{pid} is a thread of process {tgid} ({name}): use --tid {pid}, or --pid {tgid}"
        );
    }
    let statuses = processes().filter_map(|host| fs::read(format!("/proc/{host}/status")).ok());
    explain(pid, &named_inside(pid, statuses))
}

/// The same for `--tid`.
pub fn explain_missing_tid(tid: u32) -> String {
    format!("no thread {tid}: it has ended, or the number is from a container's own PID namespace")
}

/// A process in a container that goes by another number there.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Inside {
    host_pid: u32,
    comm: Vec<u8>,
}

pub(super) fn named_inside(pid: u32, statuses: impl Iterator<Item = Vec<u8>>) -> Vec<Inside> {
    statuses
        .filter_map(|status| {
            // From the host's name space to the innermost.
            let mut numbers = words(value(&status, b"NSpid:")?);
            let host_pid = numbers.next().and_then(parse)?;
            let inside = numbers.any(|number| parse(number) == Some(u64::from(pid)));
            let comm = value(&status, b"Name:").unwrap_or_default().to_vec();
            inside.then_some(Inside {
                host_pid: u32::try_from(host_pid).ok()?,
                comm,
            })
        })
        .collect()
}

pub(super) fn explain(pid: u32, inside: &[Inside]) -> String {
    const SHOWN: usize = 5;
    let shown = inside.iter().take(SHOWN);
    let named: Vec<String> = shown
        .map(|found| format!("{} ({})", found.host_pid, terminal(&found.comm)))
        .collect();
    match inside {
        [] => format!("no process {pid}: it has ended, or never existed"),
        [only] => {
            format!(
                "no process {pid}; inside a container, {pid} is host PID {}: use --pid {}",
                named[0], only.host_pid
            )
        }
        several => {
            let more = several.len().saturating_sub(SHOWN);
            let more = if more > 0 {
                format!(" and {more} more")
            } else {
                String::new()
            };
            format!(
                "no process {pid}; inside containers, {pid} is host PID {}{more}: use --pid with one of these",
                named.join(", ")
            )
        }
    }
}

/// A thread that nothing else tells of, as it is now.
pub fn who(tid: u32) -> Option<Who> {
    let Identity::Thread { tgid: pid } = (match identify(tid) {
        Identity::Process => Identity::Thread { tgid: tid },
        other => other,
    }) else {
        return None;
    };
    let comm = fs::read(format!("/proc/{tid}/comm")).ok()?;
    let stat = fs::read(format!("/proc/{tid}/stat")).ok()?;
    Some(Who {
        pid,
        tid,
        comm: Comm::from(&*String::from_utf8_lossy(comm.trim_ascii_end())),
        priority: priority(&stat)?,
        kernel_thread: false,
        own: false,
    })
}

/// From `/proc/TID/stat`; see proc(5) for the numbers of its fields.
pub(super) fn priority(stat: &[u8]) -> Option<Priority> {
    // The name is in parentheses, and may hold any.
    let name_ends = stat.iter().rposition(|&byte| byte == b')')?;
    let field = |number: usize| {
        let text = words(&stat[name_ends + 1..]).nth(number - 3)?;
        str::from_utf8(text).ok()?.parse::<i64>().ok()
    };
    Some(Priority {
        nice: field(19)? as i32,
        rt_priority: field(40)? as u32,
        policy: field(41)? as u32,
    })
}

/// The thread group leaders there are.
pub fn processes() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// The arguments, joined by spaces; lossy and cut. `None` for kernel threads and what is gone.
/// Not escaped: that depends on the format.
pub fn cmdline(pid: u32) -> Option<String> {
    let mut bytes = Vec::new();
    File::open(format!("/proc/{pid}/cmdline"))
        .ok()?
        .take(CMDLINE_MAX)
        .read_to_end(&mut bytes)
        .ok()?;
    join_arguments(&bytes)
}

pub(super) fn join_arguments(bytes: &[u8]) -> Option<String> {
    let end = bytes.iter().rposition(|&byte| byte != 0)? + 1;
    let spaced: Vec<u8> = bytes[..end]
        .iter()
        .map(|&byte| if byte == 0 { b' ' } else { byte })
        .collect();
    Some(String::from_utf8_lossy(&spaced).into_owned())
}

/// Clean for a terminal; `?` when gone.
fn comm(pid: u32) -> String {
    let comm = fs::read(format!("/proc/{pid}/comm")).unwrap_or_else(|_| b"?".to_vec());
    terminal(comm.strip_suffix(b"\n").unwrap_or(&comm))
}

/// The most memory this process ever had resident.
pub fn own_peak_rss_bytes() -> Option<u64> {
    number(&fs::read("/proc/self/status").ok()?, b"VmHWM:")?.checked_mul(1024)
}

/// CPU time of this process so far, all threads, to the nanosecond (`getrusage` counts in microseconds).
pub fn own_cpu() -> Nanos {
    let now = clock_gettime(ClockId::ProcessCPUTime);
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    Nanos(
        seconds
            .saturating_mul(1_000_000_000)
            .saturating_add(u64::try_from(now.tv_nsec).unwrap_or(0)),
    )
}

/// Effective capabilities of this process as a bit set.
pub fn effective_capabilities() -> Option<u64> {
    let status = fs::read("/proc/self/status").ok()?;
    let hex = str::from_utf8(value(&status, b"CapEff:")?).ok()?;
    u64::from_str_radix(hex, 16).ok()
}

/// The rest of the line that begins with `key`, trimmed.
fn value<'a>(text: &'a [u8], key: &[u8]) -> Option<&'a [u8]> {
    let rest = text
        .split(|&byte| byte == b'\n')
        .find_map(|line| line.strip_prefix(key))?;
    Some(rest.trim_ascii())
}

/// What a process has in memory, and what it may have.
pub struct Space {
    pub pss_bytes: u64,
    pub page_table_bytes: u64,
    pub reserved_bytes: u64,
}

impl Space {
    /// `None`: it is gone, or somebody else's.
    pub fn of(pid: u32) -> Option<Space> {
        let shared = fs::read(format!("/proc/{pid}/smaps_rollup")).ok()?;
        let status = fs::read(format!("/proc/{pid}/status")).ok()?;
        Some(Space {
            pss_bytes: number(&shared, b"Pss:")? * 1024,
            page_table_bytes: number(&status, b"VmPTE:")? * 1024,
            reserved_bytes: number(&status, b"VmSize:")? * 1024,
        })
    }
}

/// A line of `/proc/meminfo`, in bytes.
pub fn machine_memory(key: &[u8]) -> Option<u64> {
    let text = fs::read("/proc/meminfo").ok()?;
    Some(number(&text, key)? * 1024)
}

/// The first number of the line that begins with `key`.
pub(super) fn number(text: &[u8], key: &[u8]) -> Option<u64> {
    words(value(text, key)?).next().and_then(parse)
}

pub(super) fn words(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    line.split(u8::is_ascii_whitespace)
        .filter(|word| !word.is_empty())
}

pub(super) fn parse(word: &[u8]) -> Option<u64> {
    str::from_utf8(word).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(name: &str, ns_pid: &str) -> Vec<u8> {
        format!("Name:\t{name}\nUmask:\t0022\nTgid:\t7\nNSpid:\t{ns_pid}\nVmHWM:\t     312 kB\n")
            .into_bytes()
    }

    #[test]
    fn lines_of_status_are_read_by_their_key() {
        let text = status("x", "7");
        assert_eq!(number(&text, b"Tgid:"), Some(7));
        assert_eq!(number(&text, b"VmHWM:"), Some(312));
        assert_eq!(number(&text, b"Name:"), None);
        assert_eq!(number(b"", b"Tgid:"), None);
        assert_eq!(number(b"Tgid:\n", b"Tgid:"), None);
        assert_eq!(number(b"Tgid:\t99999999999999999999\n", b"Tgid:"), None);
        assert_eq!(number(b"cpu 1 2\nctxt 345\n", b"ctxt"), Some(345));
    }

    #[test]
    fn a_pid_of_a_container_is_translated() {
        let statuses = [
            status("init", "1"),
            status("nginx", "1234\t42"),
            status("deep", "9\t8\t42"),
            status("no", "42x"),
        ];
        let found = named_inside(42, statuses.clone().into_iter());
        assert_eq!(
            found
                .iter()
                .map(|inside| inside.host_pid)
                .collect::<Vec<_>>(),
            [1234, 9]
        );
        assert_eq!(
            explain(42, &found[..1]),
            "no process 42; inside a container, 42 is host PID 1234 (nginx): use --pid 1234"
        );
        assert_eq!(
            explain(42, &found),
            "no process 42; inside containers, 42 is host PID 1234 (nginx), 9 (deep): use --pid with one of these"
        );
        assert_eq!(
            explain(42, &[]),
            "no process 42: it has ended, or never existed"
        );
    }

    #[test]
    fn hostile_names_are_escaped() {
        // The kernel writes control characters of a name as escapes, but not all that terminals obey.
        let found = [Inside {
            host_pid: 1,
            comm: b"\x1b[2J\xff".to_vec(),
        }];
        assert!(!explain(2, &found).chars().any(char::is_control));
    }

    #[test]
    fn the_priority_is_found_behind_any_name() {
        let mut stat = b"75 (a) 9 (b) S".to_vec();
        for number in 4..=52 {
            let value = if number == 19 { -10 } else { number };
            stat.extend(format!(" {value}").bytes());
        }
        let priority = priority(&stat).expect("whole");
        let all = (priority.nice, priority.rt_priority, priority.policy);
        assert_eq!(all, (-10, 40, 41));
        assert_eq!(super::priority(b"75 (a) S 1 2"), None);
        let own = std::process::id();
        let who = who(own).expect("it lives");
        assert_eq!((who.pid, who.tid), (own, own));
        assert!(!who.comm.bytes().is_empty() && !who.is_nameless());
    }

    #[test]
    fn arguments_are_joined() {
        assert_eq!(
            join_arguments(b"sh\0-c\0a b\0"),
            Some("sh -c a b".to_owned())
        );
        assert_eq!(
            join_arguments(b"nginx: worker\0\0\0\0"),
            Some("nginx: worker".to_owned())
        );
        assert_eq!(join_arguments(b""), None);
        assert_eq!(join_arguments(b"\xff\0"), Some("\u{fffd}".to_owned()));
    }

    #[test]
    fn we_ourselves_are_a_process_and_this_is_one_of_its_threads() {
        let own = std::process::id();
        assert_eq!(identify(own), Identity::Process);
        let tid = rustix::thread::gettid()
            .as_raw_nonzero()
            .get()
            .cast_unsigned();
        assert_eq!(identify(tid), Identity::Thread { tgid: own });
        assert!(explain_missing_pid(tid).contains(&format!("use --tid {tid}")));
        assert_eq!(identify(u32::MAX), Identity::Gone);
        assert!(processes().any(|pid| pid == own));
        assert!(cmdline(own).is_some());
        assert!(own_cpu() > Nanos::ZERO);
        assert!(own_peak_rss_bytes().is_some_and(|bytes| bytes > 100_000));
        assert!(effective_capabilities().is_some());
    }
}
