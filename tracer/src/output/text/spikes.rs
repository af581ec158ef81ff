//! Latencies over the threshold: one by one as they end, and at the end what caused them; then the insights.

use std::io;

use super::head::{paragraph, wrap};
use super::paint::{Ink, paint};
use crate::output::{Style, human, sentence};
use crate::report::{Insight, Report, Spike, Spikes};

/// Room for `1234.567 s  `.
const TIME: usize = 12;
const CAUSES: usize = 5;
const WORST: usize = 3;

pub fn write_one(spike: &Spike, style: &Style, out: &mut dyn io::Write) -> io::Result<()> {
    let time = format!("{} ", at(spike));
    let lines = wrap(&sentence::spike(spike), style.width.saturating_sub(TIME));
    for (number, line) in lines.iter().enumerate() {
        let time = if number == 0 { time.as_str() } else { "" };
        writeln!(
            out,
            "{time:>TIME$}{}",
            paint(line, Ink::Doubtful, style.colour)
        )?;
    }
    Ok(())
}

/// To the millisecond, from the window's start.
fn at(spike: &Spike) -> String {
    format!("{:.3} s", spike.at_ns as f64 / 1e9)
}

pub fn write(spikes: &Spikes, style: &Style, out: &mut dyn io::Write) -> io::Result<()> {
    let threshold = human::round_duration(spikes.threshold);
    let mut line = |label, ink, text: String| paragraph(label, ink, &text, style, out);
    let mut longest: Vec<&Spike> = spikes.spikes.iter().collect();
    longest.sort_by_key(|spike| std::cmp::Reverse(spike.latency));
    let Some(worst) = longest.first() else {
        let text = format!("no latency of {threshold} or more");
        return line("Spikes", Ink::Plain, text);
    };
    let latencies = match spikes.count {
        0 | 1 => "1 latency".into(),
        count => format!("{} latencies", human::count(count)),
    };
    line(
        "Spikes",
        Ink::Strong,
        format!(
            "{latencies} of {threshold} or more, the longest {}",
            human::duration(worst.latency)
        ),
    )?;
    for (number, cause) in spikes.causes.iter().take(CAUSES).enumerate() {
        let share = human::percentage(cause.share * 100.0).replace('%', " %");
        let of = if number == 0 {
            format!(" of the time over {threshold}")
        } else {
            String::new()
        };
        line(
            "",
            Ink::Plain,
            format!("{share}{of}: {}", sentence::cause(cause)),
        )?;
    }
    let label = |number| {
        if number == 0 { "Worst" } else { "" }
    };
    for (number, spike) in longest.into_iter().take(WORST).enumerate() {
        let text = format!("at {}: {}", at(spike), sentence::spike(spike));
        line(label(number), Ink::Plain, text)?;
    }
    Ok(())
}

pub fn write_insights(report: &Report, style: &Style, out: &mut dyn io::Write) -> io::Result<()> {
    for (number, insight) in report.insights.iter().enumerate() {
        let label = if number == 0 { "Insights" } else { "" };
        let Insight {
            text,
            evidence,
            remedy,
        } = insight;
        // They quote names.
        let clean = |text: &String| crate::output::terminal(text.as_bytes());
        paragraph(label, Ink::Strong, &clean(text), style, out)?;
        paragraph(
            "",
            Ink::Plain,
            &format!("- {}", clean(evidence)),
            style,
            out,
        )?;
        paragraph("", Ink::Plain, &format!("- {}", clean(remedy)), style, out)?;
    }
    Ok(())
}
