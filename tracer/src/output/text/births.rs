//! Who created what at what price, and what was killed.

use std::io;

use super::grid::{self, Column, column};
use super::head::{paragraph, plural, wrap};
use super::paint::Ink;
use crate::model::BirthKind;
use crate::output::{Style, escape, human, signals, words};
use crate::report::{Births, Crash, Dist, DistValues, Fork, ForkCost};

const COSTS: usize = 8;
const CRASHES: usize = 8;
/// Of a name of 15 characters, some of them escaped.
const NAME: usize = 20;

const COLUMNS: [Column; 8] = [
    column("KIND", 0),
    column("COUNT", 0),
    column("STALLp50", 2),
    column("STALLp99", 5),
    column("STALLmax", 1),
    column("STARTp50", 3),
    column("STARTp99", 6),
    column("PER GiB", 4),
];

pub fn write(births: &Births, style: &Style, out: &mut dyn io::Write) -> io::Result<()> {
    if births.costs.is_empty() {
        return Ok(());
    }
    let shown = keep(births.costs.len(), COSTS);
    let rows: Vec<grid::Row<'_>> = births.costs[..shown].iter().map(row).collect();
    grid::write("BIRTHS BY", NAME, &COLUMNS, &rows, style, out)?;
    let rest = births.costs.len() - shown;
    if rest > 0 {
        writeln!(out, "... and {rest} more: --format json")?;
    }
    for line in wrap(&below(births), style.width) {
        writeln!(out, "{line}")?;
    }
    Ok(())
}

fn row(cost: &ForkCost) -> grid::Row<'_> {
    // Nobody else has no name: these were too many to be kept apart.
    let others = cost.comm.bytes().is_empty();
    let per_gib = cost.per_gib;
    let per_gib = per_gib.and_then(|per_gib| human::with_error(per_gib.ns, per_gib.error));
    grid::Row {
        before: String::new(),
        name: if others {
            b"(others)"
        } else {
            cost.comm.bytes()
        },
        after: String::new(),
        cells: vec![
            words::birth(cost.kind).into(),
            human::count(cost.count),
            of(cost.syscall.as_ref(), |values| values.p50),
            of(cost.syscall.as_ref(), |values| values.p99),
            of(cost.syscall.as_ref(), |values| values.max),
            of(cost.first_run.as_ref(), |values| values.p50),
            of(cost.first_run.as_ref(), |values| values.p99),
            match (cost.kind, per_gib) {
                (_, Some(per_gib)) => per_gib,
                (BirthKind::Fork, None) => "n/a".into(),
                // Nothing is copied there.
                _ => "-".into(),
            },
        ],
    }
}

fn of(dist: Option<&Dist>, value: fn(&DistValues) -> crate::model::Nanos) -> String {
    match dist {
        None => "n/a".into(),
        Some(dist) => dist
            .values
            .as_ref()
            .map_or("-".into(), |values| human::duration(value(values))),
    }
}

fn below(births: &Births) -> String {
    let counts = format!(
        "{}, {}, {}.",
        plural(births.forks_total, "birth", "births"),
        plural(births.execs_total, "exec", "execs"),
        plural(births.exits_total, "end", "ends")
    );
    let stall = if births.syscalls {
        longest_stall(&births.forks)
    } else {
        Some("How long creators stood still was not measured: --forks measures it.".into())
    };
    match stall {
        Some(stall) => format!("{counts} {stall}"),
        None => counts,
    }
}

/// Of a fork if there was one: a stall in vfork is the child's doing.
fn longest_stall(forks: &[Fork]) -> Option<String> {
    let longest = forks
        .iter()
        .filter(|fork| fork.syscall.is_some())
        .max_by_key(|fork| (fork.kind == BirthKind::Fork, fork.syscall))?;
    let place = match longest.kind {
        BirthKind::Fork => "in fork",
        BirthKind::Vfork => "in vfork, until its child called exec or ended,",
        BirthKind::Thread | BirthKind::Worker => "creating a thread",
    };
    let mut text = format!(
        "Longest stall: {} {} stood still for {} {place} at {}",
        escape::terminal(longest.parent.comm.bytes()),
        longest.parent.tid,
        human::duration(longest.syscall?),
        at(longest.at_ns)
    );
    let memory = [
        (longest.parent_rss_bytes, "resident"),
        (longest.parent_page_table_bytes, "of page tables"),
    ];
    let memory: Vec<String> = memory
        .into_iter()
        .filter_map(|(bytes, what)| Some(format!("{} {what}", human::bytes(bytes?))))
        .collect();
    if longest.kind == BirthKind::Fork && !memory.is_empty() {
        text.push_str(&format!(", with {}", memory.join(" and ")));
    }
    if let Some(faults) = longest.cow_faults {
        let (parent, child) = (faults.parent, faults.child);
        text.push_str(&format!(
            "; {} copy-on-write faults followed (parent {}, child {})",
            human::count(parent.saturating_add(child)),
            human::count(parent),
            human::count(child)
        ));
    }
    Some(text + ".")
}

pub fn write_crashes(births: &Births, style: &Style, out: &mut dyn io::Write) -> io::Result<()> {
    let shown = keep(births.crashes.len(), CRASHES);
    for (number, crash) in births.crashes[..shown].iter().enumerate() {
        let label = if number == 0 { "Crashes" } else { "" };
        paragraph(label, Ink::Bad, &killed(crash), style, out)?;
    }
    let rest = births.crashes.len() - shown;
    if rest > 0 {
        let text = format!("and {rest} more: --format json");
        paragraph("", Ink::Plain, &text, style, out)?;
    }
    Ok(())
}

fn killed(crash: &Crash) -> String {
    let core = if crash.core_dumped {
        " (core dumped)"
    } else {
        ""
    };
    let threads = match crash.threads {
        0 | 1 => String::new(),
        threads => format!(", {} threads ended with it", human::count(threads)),
    };
    format!(
        "at {}: {} {} was killed by {}{core}{threads}",
        at(crash.at_ns),
        escape::terminal(crash.comm.bytes()),
        crash.pid,
        signals::name(crash.signal)
    )
}

/// To the millisecond, from the window's start.
fn at(ns: i64) -> String {
    format!("{:.3} s", ns as f64 / 1e9)
}

/// How many of `len` to show: leaving out a single one would save no line.
fn keep(len: usize, limit: usize) -> usize {
    if len <= limit + 1 { len } else { limit }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Nanos;
    use crate::output::sample;

    fn forks() -> Vec<Fork> {
        sample::births::births().forks
    }

    #[test]
    fn a_fork_is_told_of_before_a_longer_vfork() {
        let mut forks = forks();
        for fork in &mut forks {
            if fork.kind == BirthKind::Vfork {
                fork.syscall = Some(Nanos(900_000_000));
            }
        }
        let told = longest_stall(&forks).expect("a stall");
        assert!(
            told.starts_with("Longest stall: redis-server 1234 stood still for 12.4 ms in fork at"),
            "{told}"
        );
        forks.retain(|fork| fork.kind != BirthKind::Fork);
        assert_eq!(
            longest_stall(&forks).as_deref(),
            Some(
                "Longest stall: make 2000 stood still for 900 ms in vfork, until its child called exec or ended, \
                 at 4.000 s."
            )
        );
        forks.retain(|fork| fork.kind == BirthKind::Worker);
        assert_eq!(longest_stall(&forks), None);
    }

    #[test]
    fn what_is_not_known_of_a_fork_is_not_told() {
        let mut forks = forks();
        for fork in &mut forks {
            fork.parent_rss_bytes = None;
            fork.cow_faults = None;
        }
        assert_eq!(
            longest_stall(&forks).as_deref(),
            Some(
                "Longest stall: redis-server 1234 stood still for 12.4 ms in fork at 3.200 s, \
                 with 1.10 MiB of page tables."
            )
        );
    }

    #[test]
    fn one_of_each_is_no_plural() {
        let one = Births {
            forks_total: 1,
            execs_total: 1,
            exits_total: 1,
            syscalls: true,
            ..Births::default()
        };
        assert_eq!(below(&one), "1 birth, 1 exec, 1 end.");
    }
}
