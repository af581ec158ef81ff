//! What happened since the last look: one summary line, then the threads that waited longest.

use std::io;

use super::columns::times;
use super::head::busy;
use super::paint::{Ink, paint};
use super::{rows, table};
use crate::host::Host;
use crate::model::Nanos;
use crate::output::{Style, human, words};
use crate::report::{Report, Thread, Totals, Verdict};

const THREADS: usize = 10;

pub fn write(
    at: Nanos,
    host: &Host,
    report: &Report,
    style: &Style,
    out: &mut dyn io::Write,
) -> io::Result<()> {
    let mut totals = Totals::zero();
    report
        .processes
        .iter()
        .for_each(|process| totals.add(&process.totals));
    let mut line = format!(
        "{} +{}",
        human::duration(at),
        human::duration(report.window.duration)
    );
    if let Some(system) = &report.system.totals {
        line.push_str(&format!("  {} switches", human::count(system.switches())));
    }
    if let Some(busy) = busy(&report.system.cpus) {
        line.push_str(&format!(", {busy} busy"));
    }
    line.push_str(&format!("  {}", times(&totals)));
    let ink = match report.quality.verdict {
        Verdict::Valid => Ink::Strong,
        verdict => {
            line.push_str(&format!("  {}", words::verdict(verdict)));
            Ink::Doubtful
        }
    };
    for line in super::head::wrap(&line, style.width) {
        writeln!(out, "{}", paint(&line, ink, style.colour))?;
    }
    let mut threads: Vec<&Thread> = report
        .processes
        .iter()
        .flat_map(|process| &process.threads)
        .collect();
    // The report sorts inside each process; here threads of all processes compete for few lines.
    threads.sort_by_key(|thread| std::cmp::Reverse(thread.totals.wait));
    threads.truncate(THREADS);
    let rows: Vec<_> = threads.into_iter().map(rows::lone_thread).collect();
    if !rows.is_empty() {
        table::write(&rows, &host.arch, style, out)?;
    }
    writeln!(out)
}
