//! Shows a report. In: [`Report`] and [`Host`]. Out: characters, to whatever writer is handed in.
//!
//! One file per format, each a function from a report to a writer. Knows no kernel, no event, and sorts nothing.

pub mod escape;
pub mod file;
pub mod human;
mod json;
mod ndjson;
#[cfg(test)]
mod sample;
pub mod sentence;
mod signals;
mod syscalls;
mod text;
pub mod words;

use std::io;

pub use escape::terminal;
pub use human::{bytes, count, duration};
pub use json::{Cost as JsonCost, cost as json_cost, line as json_line};
pub use syscalls::name as syscall_name;

use crate::diff::Diff;
use crate::host::Host;
use crate::report::{Report, Spike};
use crate::verify::Verification;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people; fits the terminal.
    #[default]
    Table,
    /// One document, schema `tracer.report.v1`.
    Json,
    /// One object a line, each with a `type`.
    Ndjson,
}

/// How the table looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Style {
    /// Columns of the terminal.
    pub width: usize,
    pub colour: bool,
    /// Show the command line beneath each process.
    pub cmdline: bool,
}

/// A terminal that does not tell its size is an old one.
const TERMINAL_WIDTH: usize = 80;
/// A file or a pipe has no width; this shows most columns and still fits half a screen.
const FILE_WIDTH: usize = 120;

impl Style {
    pub fn for_terminal(width: Option<usize>, is_terminal: bool, no_color: bool) -> Style {
        let unknown = if is_terminal {
            TERMINAL_WIDTH
        } else {
            FILE_WIDTH
        };
        Style {
            // Serial consoles report a width of 0.
            width: width.filter(|&width| width > 0).unwrap_or(unknown),
            colour: is_terminal && !no_color,
            cmdline: false,
        }
    }
}

/// Writes one report. A report with `window.interval_at` covers an interval and is shown short.
pub fn report(
    format: Format,
    host: &Host,
    report: &Report,
    style: &Style,
    out: &mut dyn io::Write,
) -> io::Result<()> {
    match format {
        Format::Table => text::write(host, report, style, out),
        Format::Json => json::write(host, report, out),
        Format::Ndjson => ndjson::write(host, report, out),
    }
}

/// Writes a spike as it ends. The one document of `json` holds it at the end.
pub fn spike(
    format: Format,
    spike: &Spike,
    style: &Style,
    out: &mut dyn io::Write,
) -> io::Result<()> {
    match format {
        Format::Table => text::write_spike(spike, style, out),
        Format::Json => Ok(()),
        Format::Ndjson => ndjson::write_spike(spike, out),
    }
}

/// Writes what two recordings differ in, for people.
pub fn diff_table(diff: &Diff, style: &Style, out: &mut dyn io::Write) -> io::Result<()> {
    text::write_diff(diff, style, out)
}

/// The same as one document, schema `tracer.diff.v1`.
pub fn diff_json(diff: &Diff, out: &mut dyn io::Write) -> io::Result<()> {
    json::write_diff(diff, out)
}

/// Writes what was found out about processes and threads, for people.
pub fn verify_table(
    verification: &Verification,
    style: &Style,
    out: &mut dyn io::Write,
) -> io::Result<()> {
    text::write_verify(verification, style, out)
}

/// The same as one document, schema `tracer.verify.v1`.
pub fn verify_json(verification: &Verification, out: &mut dyn io::Write) -> io::Result<()> {
    json::write_verify(verification, out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colour_needs_a_terminal_and_no_objection() {
        assert!(Style::for_terminal(None, true, false).colour);
        assert!(!Style::for_terminal(None, true, true).colour);
        assert!(!Style::for_terminal(None, false, false).colour);
    }

    #[test]
    fn a_width_of_zero_is_not_a_width() {
        assert_eq!(Style::for_terminal(Some(0), true, false).width, 80);
        assert_eq!(Style::for_terminal(Some(100), true, false).width, 100);
        assert_eq!(Style::for_terminal(None, false, false).width, 120);
    }
}
