//! What was found out about processes and threads: each claim with its verdict, then what was measured.

use std::io;

use super::grid::{self, Column, column};
use super::head::wrap;
use super::paint::{Ink, paint};
use crate::model::Nanos;
use crate::output::{Style, escape, human, words};
use crate::verify::{Claim, Finding, Interval, Measurement, Unit, Verdict, Verification};

/// In front of a claim.
const LABEL: usize = 11;
/// What a name gets at least.
const NAME: usize = 28;

const COLUMNS: [Column; 5] = [
    column("MEDIAN", 0),
    column("LOW", 1),
    column("HIGH", 1),
    column("P99", 2),
    column("N", 3),
];

pub fn write(
    verification: &Verification,
    style: &Style,
    out: &mut dyn io::Write,
) -> io::Result<()> {
    for line in wrap(&place(verification), style.width) {
        writeln!(out, "{line}")?;
    }
    let mut claims = verification.claims().peekable();
    if claims.peek().is_some() {
        writeln!(out)?;
    }
    for (_, claim) in claims {
        self::claim(claim, style, out)?;
    }
    for outcome in &verification.outcomes {
        writeln!(out)?;
        match &outcome.found {
            Ok(finding) => measurements(outcome.name, finding, style, out)?,
            Err(why) => {
                let text = format!("{}: not measured: {}", outcome.name, clean(why));
                lines(&text, Ink::Doubtful, 0, style, out)?;
            }
        }
    }
    Ok(())
}

/// The machine, and how long it took.
fn place(verification: &Verification) -> String {
    let host = &verification.host;
    let mut text = format!(
        "tracer {} on Linux {}, {}, {} {}",
        env!("CARGO_PKG_VERSION"),
        clean(&host.kernel),
        clean(&host.arch),
        host.cpus,
        if host.cpus == 1 { "CPU" } else { "CPUs" },
    );
    if let Some(hypervisor) = &host.hypervisor {
        text.push_str(&format!(", virtual ({})", clean(hypervisor)));
    }
    if let Some(steal) = host.steal_percent {
        text.push_str(&format!(", {} steal", human::percentage(steal)));
    }
    text.push_str(&format!(
        "; {}, {}",
        words::effort(verification.effort),
        human::duration(Nanos(verification.took.as_nanos() as u64))
    ));
    text
}

fn claim(claim: &Claim, style: &Style, out: &mut dyn io::Write) -> io::Result<()> {
    let ink = match claim.verdict {
        Verdict::Confirmed => Ink::Good,
        Verdict::Refuted => Ink::Bad,
        Verdict::Depends => Ink::Doubtful,
        Verdict::NotAvailable => Ink::Faint,
    };
    let width = style.width.saturating_sub(LABEL);
    for (number, line) in wrap(claim.claim, width).iter().enumerate() {
        let label = if number == 0 {
            words::claim_verdict(claim.verdict)
        } else {
            ""
        };
        let label = format!("{label:LABEL$}");
        writeln!(
            out,
            "{}{}",
            paint(&label, ink, style.colour),
            paint(line, Ink::Strong, style.colour)
        )?;
    }
    let mut text = String::new();
    if let Some(measured) = claim.measured {
        text.push_str(&value(claim.unit, measured));
        if let Some(interval) = claim.interval.filter(|it| it.low < it.high) {
            text.push_str(&format!(" ({})", range(claim.unit, interval)));
        }
        text.push_str(": ");
    }
    text.push_str(&clean(&claim.because));
    lines(&text, Ink::Plain, LABEL, style, out)
}

fn measurements(
    name: &str,
    finding: &Finding,
    style: &Style,
    out: &mut dyn io::Write,
) -> io::Result<()> {
    let rows: Vec<grid::Row<'_>> = finding.measurements.iter().map(row).collect();
    grid::write(&name.to_uppercase(), NAME, &COLUMNS, &rows, style, out)?;
    lines(&finding.method, Ink::Faint, 0, style, out)?;
    for measurement in &finding.measurements {
        let why = measurement.summary.as_ref().err();
        for text in why.into_iter().chain(&measurement.note) {
            let text = format!("- {}: {}", measurement.name, clean(text));
            lines(&text, Ink::Faint, 0, style, out)?;
        }
    }
    Ok(())
}

fn row(measurement: &Measurement) -> grid::Row<'_> {
    let of = |number: f64| value(measurement.unit, number);
    let cells = match &measurement.summary {
        Ok(summary) => {
            let end = |end: fn(Interval) -> f64| match summary.interval {
                Some(interval) if interval.low < interval.high => of(end(interval)),
                Some(_) => String::new(),
                None => "n/a".to_owned(),
            };
            vec![
                of(summary.median),
                end(|it| it.low),
                end(|it| it.high),
                of(summary.p99),
                human::count(summary.n),
            ]
        }
        Err(_) => vec!["n/a".to_owned()],
    };
    grid::Row {
        before: String::new(),
        name: measurement.name.as_bytes(),
        after: String::new(),
        cells,
    }
}

fn range(unit: Unit, interval: Interval) -> String {
    format!(
        "{} to {}",
        value(unit, interval.low),
        value(unit, interval.high)
    )
}

fn value(unit: Unit, value: f64) -> String {
    match unit {
        Unit::Nanoseconds if value.abs() < 10.0 => format!("{value:.1} ns"),
        Unit::Nanoseconds if value < 0.0 => {
            format!("-{}", human::duration(Nanos(-value as u64)))
        }
        Unit::Nanoseconds => human::duration(Nanos(value as u64)),
        Unit::Bytes => human::bytes(value.max(0.0) as u64),
        Unit::Share => human::percentage(value * 100.0),
        Unit::Ratio => format!("{value:.2}x"),
        Unit::Count => human::count(value.max(0.0) as u64),
        Unit::PerSecond => format!("{}/s", human::count(value.max(0.0) as u64)),
    }
}

fn lines(
    text: &str,
    ink: Ink,
    indent: usize,
    style: &Style,
    out: &mut dyn io::Write,
) -> io::Result<()> {
    for line in wrap(text, style.width.saturating_sub(indent)) {
        writeln!(out, "{:indent$}{}", "", paint(&line, ink, style.colour))?;
    }
    Ok(())
}

fn clean(text: &str) -> String {
    escape::terminal(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::output::sample;
    use crate::verify::{Effort, Outcome, Samples};

    fn sample() -> Verification {
        let samples: Samples = (0..40).map(|n| 1_790.0 + f64::from(n % 4) * 10.0).collect();
        let round = Measurement::of("switch.threads.round", Unit::Nanoseconds, &samples);
        let flushed = Measurement::counted("tlb.flushed", Unit::Share, 0.0011, 1_762)
            .noted("of 1762 changes the kernel told all");
        let missing = Measurement::unavailable("tlb.other", Unit::Bytes, "no \u{1b}[31mright");
        let judge = |verdict, why: &str| {
            let why = why.to_owned();
            move |_: &_| (verdict, why)
        };
        let claims = vec![
            Claim::by(
                "switch.micros",
                "A context switch takes 1 to 10 us, whatever it switches between and wherever",
                &round,
                judge(Verdict::Confirmed, "half a round takes 0.9 us"),
            ),
            Claim::by(
                "tlb.flushes",
                "It flushes the TLB",
                &flushed,
                judge(Verdict::Refuted, "hardly any did"),
            ),
            Claim::by(
                "tlb.other",
                "It does more",
                &missing,
                judge(Verdict::Depends, ""),
            ),
        ];
        let finding = Finding {
            method: "Two take turns".to_owned(),
            measurements: vec![round, flushed, missing],
            claims,
            disagreement: None,
        };
        Verification {
            host: sample::host(),
            effort: Effort::Quick,
            took: Duration::from_millis(6_610),
            outcomes: vec![
                Outcome {
                    name: "switch",
                    took: Duration::from_secs(6),
                    found: Ok(finding),
                },
                Outcome {
                    name: "talk",
                    took: Duration::ZERO,
                    found: Err("start a pattern: no memory".to_owned()),
                },
            ],
        }
    }

    fn table(width: usize) -> String {
        let style = Style {
            width,
            colour: false,
            cmdline: false,
        };
        let mut out = Vec::new();
        write(&sample(), &style, &mut out).expect("write to memory");
        String::from_utf8(out).expect("the table is UTF-8")
    }

    #[test]
    fn at_80_columns() {
        insta::assert_snapshot!("verify_80", table(80));
    }

    #[test]
    fn any_width_holds() {
        for width in [20, 40, 60, 100] {
            let text = table(width);
            let widest = text.lines().map(escape::columns).max();
            assert!(widest <= Some(width), "{width}:\n{text}");
            assert!(
                !text.chars().any(|it| it.is_control() && it != '\n'),
                "{text}"
            );
        }
    }
}
