//! The report for a person: what was traced and whether to trust it, then the rows, worst first.

mod births;
mod columns;
mod diff;
mod grid;
mod head;
mod interval;
mod memory;
mod paint;
mod rows;
mod spikes;
mod switching;
mod table;
mod tree;
mod verify;
mod waits;

use std::io;

use super::Style;
use crate::diff::Diff;
use crate::host::Host;
use crate::report::{Report, Spike};
use crate::verify::Verification;

/// What was found out about processes and threads.
pub fn write_verify(
    verification: &Verification,
    style: &Style,
    out: &mut dyn io::Write,
) -> io::Result<()> {
    verify::write(verification, style, out)
}

pub fn write_diff(diff: &Diff, style: &Style, out: &mut dyn io::Write) -> io::Result<()> {
    diff::write(diff, style, out)
}

pub fn write_spike(spike: &Spike, style: &Style, out: &mut dyn io::Write) -> io::Result<()> {
    spikes::write_one(spike, style, out)
}

pub fn write(
    host: &Host,
    report: &Report,
    style: &Style,
    out: &mut dyn io::Write,
) -> io::Result<()> {
    match report.window.interval_at {
        Some(at) => interval::write(at, host, report, style, out),
        None => whole(host, report, style, out),
    }
}

fn whole(host: &Host, report: &Report, style: &Style, out: &mut dyn io::Write) -> io::Result<()> {
    head::write(host, report, style, out)?;
    writeln!(out)?;
    let rows = rows::choose(report, style);
    if rows.is_empty() {
        return writeln!(
            out,
            "No thread of the target ran, waited or slept in this window."
        );
    }
    table::write(&rows, &host.arch, style, out)?;
    writeln!(out)?;
    let own = if rows.iter().any(|row| row.own) {
        " [self]: this tracer."
    } else {
        ""
    };
    let key = format!("(n): threads of a process.{own} Columns: README.md, \"Columns\".");
    head::wrap(&key, style.width)
        .iter()
        .try_for_each(|line| writeln!(out, "{line}"))?;
    let mut section = |write: &dyn Fn(&mut dyn io::Write) -> io::Result<()>| {
        let mut text = Vec::new();
        write(&mut text)?;
        if !text.is_empty() {
            writeln!(out)?;
        }
        out.write_all(&text)
    };
    section(&|out| waits::write(&host.arch, report, style, out))?;
    if let Some(spikes) = &report.spikes {
        section(&|out| spikes::write(spikes, style, out))?;
    }
    if let Some(births) = &report.births {
        section(&|out| births::write(births, style, out))?;
        section(&|out| births::write_crashes(births, style, out))?;
        section(&|out| tree::write(&births.tree, style, out))?;
    }
    section(&|out| memory::write(report, style, out))?;
    if let Some(costs) = &report.switch_costs {
        section(&|out| switching::write(costs, style, out))?;
    }
    section(&|out| spikes::write_insights(report, style, out))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::output::{escape, sample};

    fn table(report: &Report, width: usize) -> String {
        render(
            report,
            Style {
                width,
                colour: false,
                cmdline: false,
            },
        )
    }

    fn render(report: &Report, style: Style) -> String {
        let mut out = Vec::new();
        write(&sample::host(), report, &style, &mut out).expect("write to memory");
        String::from_utf8(out).expect("the table is UTF-8")
    }

    #[test]
    fn at_80_columns() {
        insta::assert_snapshot!("text_valid_80", table(&sample::valid(), 80));
    }

    #[test]
    fn at_140_columns() {
        insta::assert_snapshot!("text_valid_140", table(&sample::valid(), 140));
    }

    #[test]
    fn a_wide_terminal_shows_every_column() {
        insta::assert_snapshot!("text_valid_220", table(&sample::valid(), 220));
    }

    #[test]
    fn losses_are_in_the_verdict_and_their_time_in_a_column() {
        insta::assert_snapshot!("text_degraded", table(&sample::degraded(), 80));
    }

    #[test]
    fn a_mismatch_without_a_reason_stands_out() {
        insta::assert_snapshot!("text_invalid", table(&sample::invalid(), 80));
    }

    #[test]
    fn what_was_not_measured_is_n_a() {
        insta::assert_snapshot!("text_not_measured", table(&sample::not_measured(), 200));
    }

    #[test]
    fn nothing_seen_at_all() {
        insta::assert_snapshot!("text_empty", table(&Report::default(), 80));
    }

    #[test]
    fn hostile_names_are_shown_as_what_they_are() {
        let style = Style {
            width: 100,
            colour: false,
            cmdline: true,
        };
        insta::assert_snapshot!("text_hostile", render(&sample::hostile(), style));
    }

    #[test]
    fn the_long_tail_is_folded() {
        insta::assert_snapshot!("text_crowd", table(&sample::crowd(), 80));
    }

    #[test]
    fn an_interval_is_short() {
        insta::assert_snapshot!("text_interval", table(&sample::interval(), 80));
    }

    /// What stands below the table of threads and their waits.
    fn births(report: &Report, width: usize) -> String {
        let text = table(report, width);
        let at = text.find("BIRTHS BY").expect("the section");
        text[at..].to_owned()
    }

    #[test]
    fn births_at_80_columns() {
        insta::assert_snapshot!("text_births_80", births(&sample::forking(), 80));
    }

    #[test]
    fn births_at_140_columns() {
        insta::assert_snapshot!("text_births_140", births(&sample::forking(), 140));
    }

    #[test]
    fn births_without_their_system_calls() {
        insta::assert_snapshot!("text_births_only", births(&sample::without_forks(), 80));
    }

    #[test]
    fn of_very_many_births_the_weightiest_are_shown() {
        insta::assert_snapshot!("text_births_storm", births(&sample::storm(), 80));
    }

    #[test]
    fn what_watching_system_calls_costs_everybody_is_said() {
        let cost = |report: &Report| {
            let text = table(report, 300);
            let line = text.lines().find(|line| line.starts_with("Cost"));
            line.expect("what it cost").to_owned()
        };
        let told = cost(&sample::forking());
        assert!(
            told.ends_with("; every system call of the machine takes 87 ns longer"),
            "{told}"
        );
        let told = cost(&sample::without_forks());
        assert!(!told.contains("system call"), "{told}");
    }

    #[test]
    fn colour_is_ours_alone() {
        let style = Style {
            width: 80,
            colour: true,
            cmdline: false,
        };
        insta::assert_snapshot!(
            "text_colour",
            render(&sample::invalid(), style).replace('\x1b', "ESC")
        );
    }

    #[test]
    fn a_spike_has_a_line_of_its_own() {
        let style = Style {
            width: 80,
            colour: false,
            cmdline: false,
        };
        let mut out = Vec::new();
        for spike in sample::valid().spikes.expect("asked for").spikes {
            write_spike(&spike, &style, &mut out).expect("write to memory");
        }
        insta::assert_snapshot!("text_spike", String::from_utf8(out).expect("text"));
    }

    #[test]
    fn no_line_is_wider_than_the_terminal() {
        let reports = [
            sample::valid(),
            sample::degraded(),
            sample::invalid(),
            sample::hostile(),
            sample::crowd(),
            sample::not_measured(),
            sample::interval(),
            sample::forking(),
            sample::without_forks(),
            sample::storm(),
        ];
        for report in &reports {
            for width in [60, 80, 81, 99, 120, 140, 200, 300] {
                let text = render(
                    report,
                    Style {
                        width,
                        colour: false,
                        cmdline: true,
                    },
                );
                for line in text.lines() {
                    assert!(escape::columns(line) <= width, "{width} columns: {line:?}");
                }
            }
        }
    }

    proptest! {
        #[test]
        fn no_name_reaches_the_terminal_raw(
            names in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..16), 1..8),
            width in 60usize..200,
            colour: bool,
        ) {
            let names: Vec<&[u8]> = names.iter().map(Vec::as_slice).collect();
            let text = render(&sample::with_names(&names), Style { width, colour, cmdline: true });
            let text = paint::SEQUENCES.iter().fold(text, |text, sequence| {
                if colour { text.replace(sequence, "") } else { text }
            });
            let raw = |c: char| c != '\n' && escape::is_hidden(c);
            prop_assert!(!text.chars().any(raw), "{:?}", text);
            prop_assert!(text.lines().all(|line| escape::columns(line) <= width));
        }
    }
}
