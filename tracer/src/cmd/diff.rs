//! `tracer diff`: what changed from one recording to another.
//!
//! Each is replayed twice: once for the report, which tells how long it is and whose rows there are, and once for the
//! rows.

use std::path::Path;
use std::process::ExitCode;

use crate::{
    cli::{DiffFormat, DiffOptions},
    cmd::{confine::confine, replay::Question, style_of, verdict_of},
    diff::{self, Births, Groups, Recorded, Side, Slices},
    output::{self, file::Output},
    pipeline::Replay,
    report::Report,
};

/// Ended threads with a row of their own in the report, of which only the births and the verdict are used.
const THREADS: usize = 10_000;
/// More births than this are compared by their sums.
const FORKS: usize = 200_000;

pub fn run(options: &DiffOptions) -> anyhow::Result<ExitCode> {
    let mut output = Output::open(options.output.as_deref())?;
    confine(
        &[&options.before, &options.after],
        options.output.as_deref(),
    )?;
    let style = style_of(options.output.as_deref());
    let before = recorded(&options.before, options)?;
    let after = recorded(&options.after, options)?;
    let diff = diff::diff(before, after);
    output.render(|out| match options.format {
        DiffFormat::Table => output::diff_table(&diff, &style, out),
        DiffFormat::Json => output::diff_json(&diff, out),
    })?;
    let seen = !output.is_closed();
    output.finish()?;
    if seen {
        verdict_of(&diff.before.quality)?;
        verdict_of(&diff.after.quality)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn recorded(file: &Path, options: &DiffOptions) -> anyhow::Result<Recorded> {
    let first = Question {
        file: file.to_owned(),
        target: options.target.clone(),
        max_threads: THREADS,
        max_forks: FORKS,
        slower: None,
        replay: Replay {
            census: true,
            ..Replay::default()
        },
        doing: "read",
    };
    let mut answer = first.ask(|_| Ok(()))?;
    first.warn_if_cut_off(&answer);
    let shown = std::mem::take(&mut answer.shown);
    let Report {
        window,
        target,
        quality,
        births,
        ..
    } = answer.report;
    let slices = Slices::of(window.duration);
    let births = births.map_or_else(Births::default, |births| Births::of(&births, slices));
    let mut groups = Groups::new(slices);
    let second = Question {
        max_forks: 1,
        replay: Replay {
            told: Some(shown),
            ..Replay::default()
        },
        doing: "compare",
        ..first
    };
    second.ask(|pipeline| {
        if let Some(rows) = pipeline.rows() {
            groups.take(rows);
            rows.clear();
        }
        Ok(())
    })?;
    Ok(Recorded {
        side: Side {
            host: answer.host,
            window,
            target,
            quality,
        },
        groups,
        births,
    })
}
