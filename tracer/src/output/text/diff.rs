//! What two recordings differ in: both in a line, what is in the way of comparing them, then changes and who is new.

use std::io;

use super::grid::{self, Column, column};
use super::head::{paragraph, plural, traced, wrap};
use super::paint::Ink;
use crate::diff::{CONFIDENCE, Change, Culprit, Diff, Group, Lone, Metric, Side, Subject};
use crate::model::Nanos;
use crate::output::{Style, human, sentence, words};
use crate::report::{ChargeKind, Verdict};

/// Groups that changed.
const SUBJECTS: usize = 12;
/// Of each of them.
const CULPRITS: usize = 4;
const LONE: usize = 8;
/// What a name gets at least.
const NAME: usize = 22;
/// Who does less, in nanoseconds a second of run and wait together, is counted only: a thousandth of a CPU.
const ACTIVE: f64 = 1e6;

const CHANGES: [Column; 6] = [
    column("BEFORE", 0),
    column("AFTER", 0),
    column("CHANGE", 1),
    column("LOW", 2),
    column("HIGH", 2),
    column("RATIO", 3),
];

const LONERS: [Column; 6] = [
    column("THREADS", 2),
    column("RUN", 0),
    column("WAIT", 0),
    column("BLOCK", 4),
    column("VOL", 3),
    column("INVOL", 3),
];

pub fn write(diff: &Diff, style: &Style, out: &mut dyn io::Write) -> io::Result<()> {
    side("Before", &diff.before, style, out)?;
    side("After", &diff.after, style, out)?;
    for (number, caveat) in diff.no_intervals.iter().chain(&diff.caveats).enumerate() {
        let label = if number == 0 { "Caveats" } else { "" };
        let text = format!("- {}", crate::output::terminal(caveat.as_bytes()));
        paragraph(label, Ink::Doubtful, &text, style, out)?;
    }
    paragraph("Changes", Ink::Strong, &counted(diff), style, out)?;
    if !diff.changes.is_empty() {
        writeln!(out)?;
        changes(&diff.changes, style, out)?;
    }
    for (title, lone) in [("NEW", &diff.new), ("GONE", &diff.gone)] {
        loners(title, lone, style, out)?;
    }
    Ok(())
}

fn side(label: &str, side: &Side, style: &Style, out: &mut dyn io::Write) -> io::Result<()> {
    let verdict = side.quality.verdict;
    let ink = match verdict {
        Verdict::Valid => Ink::Plain,
        Verdict::Degraded => Ink::Doubtful,
        Verdict::Invalid => Ink::Bad,
    };
    let traced = traced(&side.host, &side.target, &side.window);
    let text = format!("{}: {traced}", words::verdict(verdict));
    paragraph(label, ink, &text, style, out)
}

fn counted(diff: &Diff) -> String {
    let mut text = match diff.changes.len() {
        0 => "none".to_owned(),
        some => human::count(some as u64),
    };
    text.push_str(&format!(
        " of {} in {} that both have",
        plural(diff.compared, "comparison", "comparisons"),
        plural(diff.groups, "group", "groups")
    ));
    for (lone, what) in [(&diff.new, "new"), (&diff.gone, "gone")] {
        if !lone.is_empty() {
            text.push_str(&format!("; {} {what}", human::count(lone.len() as u64)));
        }
    }
    text
}

fn changes(changes: &[Change], style: &Style, out: &mut dyn io::Write) -> io::Result<()> {
    let subjects: Vec<&[Change]> = changes.chunk_by(|a, b| a.subject == b.subject).collect();
    let shown = keep(subjects.len(), SUBJECTS);
    let names: Vec<Vec<u8>> = subjects[..shown]
        .iter()
        .map(|of| name(&of[0].subject))
        .collect();
    let mut rows = Vec::new();
    for (of, name) in subjects.iter().zip(&names) {
        rows.push(grid::Row {
            before: String::new(),
            name,
            after: marks(&of[0]),
            cells: Vec::new(),
        });
        let mut culprits = 0;
        for change in *of {
            if let Metric::WaitedFor(_) = change.metric {
                culprits += 1;
                if culprits > CULPRITS {
                    continue;
                }
            }
            rows.push(row(change));
        }
    }
    grid::write("GROUP", NAME, &CHANGES, &rows, style, out)?;
    let rest = subjects.len() - shown;
    if rest > 0 {
        writeln!(out, "... and {rest} more: --format json")?;
    }
    let below = format!(
        "Of each second; a stall: of each birth. {CONFIDENCE} % sure: the change lies between LOW and HIGH. \
         README.md, \"Comparing two recordings\"."
    );
    wrap(&below, style.width)
        .iter()
        .try_for_each(|line| writeln!(out, "{line}"))
}

/// Both names, where they differ.
fn name(subject: &Subject) -> Vec<u8> {
    match subject {
        Subject::Group(group) => group_name(group),
        Subject::Creators(creators) => creators.comm.bytes().to_vec(),
    }
}

fn group_name(Group { process, thread }: &Group) -> Vec<u8> {
    if process == thread {
        return thread.bytes().to_vec();
    }
    [process.bytes(), b": ", thread.bytes()].concat()
}

fn marks(change: &Change) -> String {
    match change.subject {
        Subject::Creators(creators) => format!(" creates ({})", words::birth(creators.kind)),
        Subject::Group(_) if change.own => " [self]".into(),
        Subject::Group(_) => String::new(),
    }
}

fn row(change: &Change) -> grid::Row<'_> {
    let (before, name): (String, &[u8]) = match &change.metric {
        Metric::WaitedFor(culprit) => for_whom(culprit),
        metric => (format!("  {}", label(metric)), b""),
    };
    let value = |value| value_of(change.metric, value);
    let signed = |size: f64| {
        let sign = if size < 0.0 { "-" } else { "+" };
        format!("{sign}{}", value(size.abs()))
    };
    let end = |end: Option<f64>| end.map_or("n/a".into(), signed);
    grid::Row {
        before,
        name,
        after: String::new(),
        cells: vec![
            value(change.before),
            value(change.after),
            signed(change.difference()),
            end(change.interval.map(|(low, _)| low)),
            end(change.interval.map(|(_, high)| high)),
            change.ratio().map_or("-".into(), ratio),
        ],
    }
}

fn for_whom(culprit: &Culprit) -> (String, &[u8]) {
    let somebody = matches!(culprit.kind, ChargeKind::Thread | ChargeKind::KernelThread);
    match &culprit.comm {
        Some(comm) if somebody => ("  - for ".into(), comm.bytes()),
        _ => (format!("  - {}", sentence::thing(culprit.kind, None)), b""),
    }
}

fn label(metric: &Metric) -> &'static str {
    match metric {
        Metric::Wait => "wait",
        Metric::WaitedFor(_) => "waited for",
        Metric::Run => "run",
        Metric::Block => "block",
        Metric::Voluntary => "voluntary",
        Metric::Involuntary => "involuntary",
        Metric::Births => "births",
        Metric::Stall => "stall",
    }
}

fn value_of(metric: Metric, value: f64) -> String {
    match metric {
        Metric::Wait | Metric::WaitedFor(_) | Metric::Run | Metric::Block => a_second(value),
        Metric::Stall => human::duration(Nanos(value.round() as u64)),
        Metric::Voluntary | Metric::Involuntary | Metric::Births => times_a_second(value),
    }
}

/// A share of a CPU, as so much of each second.
fn a_second(ns: f64) -> String {
    match human::duration(Nanos(ns.round() as u64)) {
        zero if zero == "0" => zero,
        time => format!("{time}/s"),
    }
}

fn times_a_second(count: f64) -> String {
    match count {
        0.0 => "0".into(),
        few if few < 9.95 => format!("{few:.1}/s"),
        many => format!("{}/s", human::count(many.round() as u64)),
    }
}

fn ratio(ratio: f64) -> String {
    match ratio {
        r if r < 9.995 => format!("{r:.2}x"),
        r if r < 99.95 => format!("{r:.1}x"),
        r => format!("{}x", human::count(r.round() as u64)),
    }
}

fn loners(title: &str, lone: &[Lone], style: &Style, out: &mut dyn io::Write) -> io::Result<()> {
    let active = lone
        .iter()
        .take_while(|lone| lone.run + lone.wait >= ACTIVE)
        .count();
    let shown = keep(active, LONE);
    if shown == 0 {
        return Ok(());
    }
    let names: Vec<Vec<u8>> = lone[..shown]
        .iter()
        .map(|lone| group_name(&lone.group))
        .collect();
    let rows: Vec<grid::Row<'_>> = lone
        .iter()
        .zip(&names)
        .map(|(lone, name)| grid::Row {
            before: String::new(),
            name,
            after: if lone.own {
                " [self]".into()
            } else {
                String::new()
            },
            cells: vec![
                human::count(lone.threads),
                a_second(lone.run),
                a_second(lone.wait),
                a_second(lone.block),
                times_a_second(lone.voluntary),
                times_a_second(lone.involuntary),
            ],
        })
        .collect();
    writeln!(out)?;
    grid::write(title, NAME, &LONERS, &rows, style, out)?;
    match lone.len() - shown {
        0 => Ok(()),
        rest => writeln!(out, "... and {rest} more: --format json"),
    }
}

/// How many of `len` to show: leaving out a single one would save no line.
fn keep(len: usize, limit: usize) -> usize {
    if len <= limit + 1 { len } else { limit }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::output::{escape, sample};

    fn table(diff: &Diff, width: usize) -> String {
        let style = Style {
            width,
            colour: false,
            cmdline: false,
        };
        let mut out = Vec::new();
        write(diff, &style, &mut out).expect("write to memory");
        String::from_utf8(out).expect("the table is UTF-8")
    }

    #[test]
    fn at_80_columns() {
        insta::assert_snapshot!("diff_80", table(&sample::diff::diff(), 80));
    }

    #[test]
    fn at_120_columns() {
        insta::assert_snapshot!("diff_120", table(&sample::diff::diff(), 120));
    }

    #[test]
    fn nothing_changed() {
        insta::assert_snapshot!("diff_nothing", table(&sample::diff::nothing(), 80));
    }

    #[test]
    fn without_intervals() {
        insta::assert_snapshot!(
            "diff_no_intervals",
            table(&sample::diff::without_intervals(), 80)
        );
    }

    #[test]
    fn of_many_the_first_are_shown() {
        let text = table(&sample::diff::crowd(), 80);
        assert!(text.contains("... and 28 more: --format json\n"), "{text}");
        assert!(text.contains("... and 32 more: --format json\n"), "{text}");
        assert!(text.lines().count() < 100, "{text}");
    }

    proptest! {
        #[test]
        fn any_name_is_harmless_and_no_line_too_wide(name: [u8; 16], width in 60_usize..200) {
            let mut diff = sample::diff::diff();
            for change in &mut diff.changes {
                sample::diff::rename(change, crate::model::Comm(name));
            }
            diff.new[0].group.thread = crate::model::Comm(name);
            diff.caveats.push(String::from_utf8_lossy(&name).into_owned());
            let text = table(&diff, width);
            prop_assert!(text.lines().all(|line| escape::columns(line) <= width), "{}", text);
            prop_assert!(!text.chars().any(|c| c != '\n' && escape::is_hidden(c)), "{:?}", text);
        }
    }
}
