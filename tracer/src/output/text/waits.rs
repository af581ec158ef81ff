//! Below the table: what the threads that waited longest waited for, and what else is known of their waits.

use std::io;

use super::head::paragraph;
use super::paint::Ink;
use crate::model::{Nanos, WakerKind};
use crate::output::{Style, escape, human, sentence, syscalls, words};
use crate::report::{
    BlockedOn, ChargeKind, PreemptedBy, Process, Report, Thread, WaitedFor, WokenBy,
};

const THREADS: usize = 5;
/// Entries of a line.
const SHARES: usize = 4;
const OTHERS: usize = 3;
/// Below this, and below a thousandth of the window, a thread's waits need no explanation.
const WORTH_IT: Nanos = Nanos(1_000_000);
/// A delay between decision and switch that one would look into.
const LONG_DELAY: Nanos = Nanos(100_000);

pub fn write(
    arch: &str,
    report: &Report,
    style: &Style,
    out: &mut dyn io::Write,
) -> io::Result<()> {
    for (number, (process, thread)) in choose(report).into_iter().enumerate() {
        let label = if number == 0 { "Waits" } else { "" };
        paragraph(label, Ink::Plain, &waited(process, thread), style, out)?;
        let more = [
            preempted(process, thread),
            woken(process, thread),
            blocked(process, thread, arch),
        ];
        for line in more.into_iter().flatten() {
            paragraph("", Ink::Faint, &format!("- {line}"), style, out)?;
        }
    }
    Ok(())
}

/// Those that waited longest, whatever their process.
fn choose(report: &Report) -> Vec<(&Process, &Thread)> {
    let least = WORTH_IT.max(Nanos(report.window.duration.0 / 1_000));
    let mut threads: Vec<(&Process, &Thread)> = report
        .processes
        .iter()
        .flat_map(|process| process.threads.iter().map(move |thread| (process, thread)))
        .filter(|(_, thread)| thread.totals.wait >= least && !thread.waited_for.is_empty())
        .collect();
    threads.sort_by_key(|(_, thread)| std::cmp::Reverse(thread.totals.wait));
    threads.truncate(THREADS);
    threads
}

/// `api-worker 1234 waited 1.20 s: 61 % backup/991 (other process, nice 19), 20 % worker 1240 (same process)`.
fn waited(process: &Process, thread: &Thread) -> String {
    let wait = thread.totals.wait;
    let share = |part: Nanos| human::share(part.0, wait.0);
    let cgroup = process.cgroup.as_deref();
    let one = |row: &WaitedFor| format!("{} {}", share(row.ns), sentence::culprit(row, cgroup));
    let shown = thread.waited_for.len().min(SHARES);
    let (first, rest) = thread.waited_for.split_at(shown);
    let mut parts: Vec<String> = first.iter().map(one).collect();
    let unknown = |row: &&WaitedFor| row.kind == ChargeKind::Unknown;
    let others: Nanos = rest
        .iter()
        .filter(|row| !unknown(row))
        .map(|row| row.ns)
        .sum();
    if others > Nanos::ZERO {
        parts.push(format!("{} others", share(others)));
    }
    // What is not known is told, however little it is.
    parts.extend(rest.iter().filter(unknown).map(one));
    format!(
        "{} {} waited {}: {}",
        escape::terminal(thread.comm.bytes()),
        thread.tid,
        human::duration(wait),
        parts.join(", ")
    )
}

fn preempted(process: &Process, thread: &Thread) -> Option<String> {
    let began: Nanos = thread.preempted_by.iter().map(|row| row.ns).sum();
    if !weighs(began, thread.totals.wait) {
        return None;
    }
    let one = |row: &PreemptedBy| {
        let who = row.who.as_ref()?;
        let mut text = format!(
            "{} {} ({}",
            sentence::name(who, who.pid == process.pid),
            times(row.count),
            human::duration(row.ns)
        );
        if let Some(p99) = row.p99 {
            text.push_str(&format!(", p99 {}", human::duration(p99)));
        }
        let delay = row.resched_delay.as_ref().and_then(|delay| delay.values);
        if let Some(delay) = delay.filter(|delay| delay.p99 >= LONG_DELAY) {
            let p99 = human::duration(delay.p99);
            text.push_str(&format!(", p99 {p99} after the decision"));
        }
        Some(text + ")")
    };
    let mut rest: Vec<&PreemptedBy> = thread.preempted_by.iter().collect();
    let mut named = Vec::new();
    rest.retain(|row| match one(row).filter(|_| named.len() < OTHERS) {
        Some(text) => {
            named.push(text);
            false
        }
        None => true,
    });
    if !rest.is_empty() {
        let count = rest.iter().map(|row| row.count).sum();
        let time = rest.iter().map(|row| row.ns).sum();
        let (count, time) = (times(count), human::duration(time));
        named.push(format!("others {count} ({time})"));
    }
    Some(format!("preempted by {}", named.join("; ")))
}

fn woken(process: &Process, thread: &Thread) -> Option<String> {
    let rows = &thread.woken_by;
    let (wake, wait): (Nanos, Nanos) = rows.iter().fold(Default::default(), |sums, row| {
        (sums.0 + row.wake, sums.1 + row.wait)
    });
    if !weighs(wake + wait, thread.totals.wait) {
        return None;
    }
    let one = |row: &WokenBy| {
        let who = if row.itself {
            "itself".into()
        } else {
            sentence::waker(row.kind, row.who.as_ref(), process.pid)
        };
        format!("{who} {}", times(row.count))
    };
    let count: u64 = rows.iter().map(|row| row.count).sum();
    let cross: u64 = rows.iter().map(|row| row.cross_cpu).sum();
    let mean = |sum: Nanos| human::duration(Nanos(sum.0 / count.max(1)));
    Some(format!(
        "woken by {}; {} of them from another CPU; on average {} to the run queue and {} to the CPU",
        list(rows, one),
        human::share(cross, count),
        mean(wake),
        mean(wait)
    ))
}

/// Sleeps that another thread ended.
fn blocked(process: &Process, thread: &Thread, arch: &str) -> Option<String> {
    let by_thread = |row: &&BlockedOn| row.waker == WakerKind::Thread && row.who.is_some();
    let rows: Vec<BlockedOn> = thread
        .blocked_on
        .iter()
        .filter(by_thread)
        .copied()
        .collect();
    let all: Nanos = rows.iter().map(|row| row.ns).sum();
    if !weighs(all, thread.totals.sleep + thread.totals.block) {
        return None;
    }
    let name = |syscall| syscalls::name(arch, syscall);
    let one = |row: &BlockedOn| {
        let place = match row.syscall {
            Some(syscall) => format!("in {}", name(syscall)),
            None => format!("({})", words::off_state(row.state)),
        };
        let waker = sentence::waker(row.waker, row.who.as_ref(), process.pid);
        let how = match row.waker_syscall {
            Some(syscall) => format!(", in {},", name(syscall)),
            None => String::new(),
        };
        let (time, count) = (human::duration(row.ns), times(row.count));
        format!("{place} until {waker}{how} woke it ({time}, {count})")
    };
    Some(format!("blocked {}", list(&rows, one)))
}

fn list<T>(rows: &[T], one: impl Fn(&T) -> String) -> String {
    let shown: Vec<String> = rows.iter().take(OTHERS).map(one).collect();
    shown.join("; ")
}

/// A twentieth, or it says nothing.
fn weighs(part: Nanos, whole: Nanos) -> bool {
    part > Nanos::ZERO && part.0.saturating_mul(20) >= whole.0
}

fn times(count: u64) -> String {
    match count {
        1 => "once".into(),
        _ => format!("{} times", human::count(count)),
    }
}
