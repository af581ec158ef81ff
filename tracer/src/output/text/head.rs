//! The lines above the table: what, how long, can I trust it, what did it cost.

use std::io;

use super::columns::times;
use super::paint::{Ink, paint};
use crate::host::Host;
use crate::model::Nanos;
use crate::output::{Style, escape, human, words};
use crate::report::{
    CheckedField, Cost, CpuRow, EndReason, KnownError, Mismatch, Quality, Report, System, Target,
    Totals, Verdict, Window,
};

const LABEL: usize = 9;
/// More are in the JSON report.
const MISMATCHES: usize = 8;
/// Up to here every CPU is named.
const FEW_CPUS: usize = 8;

pub fn write(
    host: &Host,
    report: &Report,
    style: &Style,
    out: &mut dyn io::Write,
) -> io::Result<()> {
    let quality = &report.quality;
    let ink = match quality.verdict {
        Verdict::Valid => Ink::Good,
        Verdict::Degraded => Ink::Doubtful,
        Verdict::Invalid => Ink::Bad,
    };
    let mut line = |label, ink, text: String| paragraph(label, ink, &text, style, out);
    line(
        "Traced",
        Ink::Plain,
        traced(host, &report.target, &report.window),
    )?;
    line("Verdict", ink, verdict(quality))?;
    let unexplained = quality
        .mismatches
        .iter()
        .filter(|one| one.reason.is_none())
        .count();
    for (index, text) in mismatches(quality).into_iter().enumerate() {
        let ink = if index < unexplained.min(MISMATCHES) {
            Ink::Bad
        } else {
            Ink::Plain
        };
        line("", ink, text)?;
    }
    line("Cost", Ink::Plain, cost(report.cost.as_ref()))?;
    line("Target", Ink::Plain, target(report))?;
    system(&report.system)
        .into_iter()
        .zip(["System", "", ""])
        .try_for_each(|(text, label)| line(label, Ink::Plain, text))
}

pub fn traced(host: &Host, target: &Target, window: &Window) -> String {
    // A description may quote a command or a cgroup.
    let what = escape::terminal(target.description.as_bytes());
    let what = or(&what, "nothing");
    let mut text = format!("{what} for {}", human::duration(window.duration));
    if !host.hostname.is_empty() {
        let name = |text: &str| escape::terminal(text.as_bytes());
        text.push_str(&format!(
            " on {} (Linux {}, {}, {})",
            name(&host.hostname),
            name(&host.kernel),
            name(&host.arch),
            plural(host.cpus, "CPU", "CPUs")
        ));
    }
    if let Some(started) = &window.started {
        // To the second: the JSON report has the rest.
        let seconds = started
            .split_once('.')
            .map_or(started.clone(), |(s, _)| format!("{s}Z"));
        text.push_str(&format!(", from {seconds}"));
    }
    if let Some(reason) = window.end_reason {
        text.push_str(&format!(", {}", ended(reason)));
    }
    text
}

fn ended(reason: EndReason) -> &'static str {
    match reason {
        EndReason::Duration => "for as long as asked",
        EndReason::Signal => "until a signal",
        EndReason::TargetExit => "until the target ended",
        EndReason::MaxOverhead => "until --max-overhead was exceeded",
        EndReason::RecordingEnd => "to the end of the recording",
        EndReason::Error => "until an error",
    }
}

fn verdict(quality: &Quality) -> String {
    let escaped = |reason: &String| escape::terminal(reason.as_bytes());
    let mut parts: Vec<String> = quality.reasons.iter().map(escaped).collect();
    if parts.is_empty() {
        // Reasons speak of these, when they matter.
        let losses = [
            (quality.lost_records, "records lost"),
            (quality.lost_switches, "switches lost"),
            (quality.missed_events.unwrap_or(0), "events missed"),
        ];
        let lost = losses.iter().filter(|(n, _)| *n > 0);
        parts.extend(lost.map(|(n, what)| format!("{} {what}", human::count(*n))));
    }
    if quality.verdict == Verdict::Valid && parts.is_empty() {
        parts.push("nothing lost".into());
    }
    let (matched, checked) = (quality.threads_matched, quality.threads_checked);
    if checked > 0 {
        parts.push(format!(
            "{matched} of {checked} threads equal the kernel's counters"
        ));
    } else if quality.threads_self_checked == 0 {
        parts.push("no thread was checked against the kernel's counters".into());
    }
    if quality.threads_self_checked > 0 {
        let threads = plural(
            quality.threads_self_checked,
            "ended thread",
            "ended threads",
        );
        parts.push(format!("{threads} checked by the last record"));
    }
    format!("{}: {}", words::verdict(quality.verdict), parts.join("; "))
}

/// Differences without a reason one by one; of each known error of the kernel the largest.
fn mismatches(quality: &Quality) -> Vec<String> {
    let of = |reason: Option<KnownError>| {
        let mut found: Vec<&Mismatch> = quality
            .mismatches
            .iter()
            .filter(|m| m.reason == reason)
            .collect();
        found.sort_by_key(|m| std::cmp::Reverse(m.ours.abs_diff(m.kernel)));
        found
    };
    let unexplained = of(None);
    let shown = unexplained.iter().take(MISMATCHES);
    let mut lines: Vec<String> = shown.map(|one| format!("- {}", mismatch(one))).collect();
    if let Some(more) = unexplained
        .len()
        .checked_sub(MISMATCHES)
        .filter(|&more| more > 0)
    {
        lines.push(format!("- and {more} more: --format json"));
    }
    for reason in [
        KnownError::KernelCountedSleep,
        KnownError::KernelMissedWait,
        KnownError::KernelStaleClock,
        KnownError::BeganBeforeAHole,
    ] {
        let found = of(Some(reason));
        match found.as_slice() {
            [] => {}
            [only] => lines.push(format!("- {}", mismatch(only))),
            [most, rest @ ..] => lines.push(format!(
                "- {}, and {} smaller ones for this reason",
                mismatch(most),
                human::count(rest.len() as u64)
            )),
        }
    }
    lines
}

fn mismatch(mismatch: &Mismatch) -> String {
    let shown = |value| match mismatch.field {
        CheckedField::Voluntary | CheckedField::Involuntary => value_of_count(value),
        CheckedField::Run | CheckedField::Wait => human::duration(Nanos(value)),
    };
    let reason = match mismatch.reason {
        Some(KnownError::KernelCountedSleep) => "it counted a sleep",
        Some(KnownError::KernelMissedWait) => "it missed a wait",
        Some(KnownError::KernelStaleClock) => "it went by a stale clock",
        Some(KnownError::BeganBeforeAHole) => {
            "its end is lost, and its beginning is before the window"
        }
        None => "NOT EXPLAINED",
    };
    format!(
        "tid {} {}: {} here, {} in the kernel; {reason}",
        mismatch.tid,
        words::checked_field(mismatch.field).trim_end_matches("_ns"),
        shown(mismatch.ours),
        shown(mismatch.kernel)
    )
}

/// In full: a difference of one in a million must be seen.
fn value_of_count(count: u64) -> String {
    count.to_string()
}

fn cost(cost: Option<&Cost>) -> String {
    let Some(cost) = cost else {
        return "n/a".into();
    };
    let percent = |percent: Option<f64>, of: &str| match percent {
        Some(percent) => format!("{} of {of}; ", human::percentage(percent)),
        None => String::new(),
    };
    let each = match cost.kernel_ns_per_event {
        Some(ns) => format!("at {ns:.0} ns"),
        None => "at n/a".into(),
    };
    let syscalls = match cost.syscall_ns {
        Some(ns) => format!("; every system call of the machine takes {ns:.0} ns longer"),
        None => String::new(),
    };
    format!(
        "{}{}collector {} CPU, {}; {} kernel events {each}{syscalls}",
        percent(cost.cpu_percent_of_one, "one CPU"),
        percent(cost.cpu_percent_of_machine, "the machine"),
        human::duration(cost.collector_cpu),
        human::bytes(cost.collector_max_rss_bytes),
        human::count(cost.kernel_events),
    )
}

fn target(report: &Report) -> String {
    let mut totals = Totals::zero();
    report
        .processes
        .iter()
        .for_each(|process| totals.add(&process.totals));
    let Target {
        processes,
        threads,
        model,
        ..
    } = &report.target;
    format!(
        "{}: {}, {}; {}",
        words::model(*model),
        plural(*processes, "process", "processes"),
        plural(*threads, "thread", "threads"),
        times(&totals)
    )
}

fn system(system: &System) -> Vec<String> {
    let cpus = match busy(&system.cpus) {
        None => "CPUs n/a".into(),
        Some(all) if system.cpus.len() > FEW_CPUS => {
            format!("{} CPUs {all} busy", system.cpus.len())
        }
        Some(_) => {
            let one = |row: &CpuRow| {
                format!(
                    "cpu{} {}",
                    row.cpu,
                    human::percent(row.busy.0, (row.busy + row.idle).0)
                )
            };
            format!(
                "busy: {}",
                system.cpus.iter().map(one).collect::<Vec<_>>().join(", ")
            )
        }
    };
    let Some(totals) = &system.totals else {
        return vec![format!("switches n/a; {cpus}")];
    };
    let kinds = &totals.kinds;
    let all = kinds.same_process + kinds.other_process + kinds.kernel_thread + kinds.idle;
    let share = |part| human::percent(part, all);
    vec![
        format!(
            "{} switches: {} voluntary, {} involuntary, {} from idle",
            human::count(totals.switches()),
            human::count(totals.voluntary),
            human::count(totals.involuntary),
            human::count(totals.from_idle)
        ),
        format!(
            "to: same process {}, other process {}, kernel thread {}, idle {}",
            share(kinds.same_process),
            share(kinds.other_process),
            share(kinds.kernel_thread),
            share(kinds.idle)
        ),
        format!(
            "{} address-space changes; {cpus}",
            human::count(totals.address_space_changes)
        ),
    ]
}

/// Over all CPUs together.
pub fn busy(cpus: &[CpuRow]) -> Option<String> {
    let busy: Nanos = cpus.iter().map(|row| row.busy).sum();
    let all: Nanos = cpus.iter().map(|row| row.busy + row.idle).sum();
    (all > Nanos::ZERO).then(|| human::percent(busy.0, all.0))
}

/// A label in the margin, and a text beside it.
pub fn paragraph(
    label: &str,
    ink: Ink,
    text: &str,
    style: &Style,
    out: &mut dyn io::Write,
) -> io::Result<()> {
    for (number, line) in wrap(text, style.width.saturating_sub(LABEL))
        .iter()
        .enumerate()
    {
        let label = if number == 0 { label } else { "" };
        writeln!(out, "{label:LABEL$}{}", paint(line, ink, style.colour))?;
    }
    Ok(())
}

/// Breaks at spaces, but not between a number and its unit; a word longer than the line is cut.
pub fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in words_with_units(text) {
        let word = word.as_str();
        let line = lines.last_mut().expect("there is always a last line");
        if line.is_empty() {
            line.push_str(&cut(word, width));
        } else if escape::columns(line) + 1 + escape::columns(word) <= width {
            line.push(' ');
            line.push_str(word);
        } else {
            lines.push(cut(word, width));
        }
    }
    lines
}

fn words_with_units(text: &str) -> Vec<String> {
    const UNITS: [&str; 10] = ["%", "ns", "us", "ms", "s", "B", "KiB", "MiB", "GiB", "CPUs"];
    let mut words: Vec<String> = Vec::new();
    for word in text.split(' ') {
        let unit = word.trim_end_matches([',', ';', ':', ')']);
        let ends_in_digit = |word: &&mut String| word.ends_with(|c: char| c.is_ascii_digit());
        match words.last_mut().filter(ends_in_digit) {
            Some(number) if UNITS.contains(&unit) => {
                number.push(' ');
                number.push_str(word);
            }
            _ => words.push(word.to_owned()),
        }
    }
    words
}

/// The word has no escapes left to cut in half that would do harm: a cut escape is only text.
fn cut(word: &str, width: usize) -> String {
    if escape::columns(word) <= width {
        return word.into();
    }
    let mut used = 0;
    let fits = |c: &char| {
        used += escape::columns(c.encode_utf8(&mut [0; 4]));
        used + 2 <= width
    };
    word.chars().take_while(fits).chain("..".chars()).collect()
}

pub fn plural(count: u64, one: &str, many: &str) -> String {
    format!(
        "{} {}",
        human::count(count),
        if count == 1 { one } else { many }
    )
}

fn or<'a>(text: &'a str, empty: &'a str) -> &'a str {
    if text.is_empty() { empty } else { text }
}
