//! `tracer export`: a recording in the formats of other tools.
//!
//! It is replayed twice: once for the report, which tells whose rows there are, and once for the rows.

use std::process::ExitCode;

use crate::{
    cli::ExportOptions,
    cmd::{
        confine::confine,
        replay::{Question, part},
        verdict_of,
    },
    export::{self, Known},
    model::Nanos,
    pipeline::Replay,
};

/// More births than this are summed up in `fork_costs` only.
const FORKS: usize = 1_000_000;

pub fn run(options: &ExportOptions) -> anyhow::Result<ExitCode> {
    let part = part(options.from, options.until, "--until")?;
    confine(&[&options.file], Some(&options.output))?;
    let first = Question {
        file: options.file.clone(),
        target: options.target.clone(),
        max_threads: options.max_threads as usize,
        max_forks: FORKS,
        slower: Some(Nanos(options.slower.as_nanos() as u64)),
        replay: Replay {
            part,
            census: true,
            ..Replay::default()
        },
        doing: "read",
    };
    let answer = first.ask(|pipeline| {
        pipeline.take_spikes();
        Ok(())
    })?;
    first.warn_if_cut_off(&answer);
    let known = Known {
        host: &answer.host,
        report: &answer.report,
        cgroups: &answer.cgroups,
        started_unix_ns: answer.started_unix_ns,
    };
    let mut exporter = export::exporter(options.to, options.table, &known, &options.output)?;
    let second = Question {
        slower: None,
        max_forks: 1,
        replay: Replay {
            part,
            told: Some(answer.shown.clone()),
            ..Replay::default()
        },
        doing: "write",
        ..first
    };
    second.ask(|pipeline| {
        if let Some(rows) = pipeline.rows() {
            exporter.rows(rows)?;
            rows.clear();
        }
        Ok(())
    })?;
    exporter.finish()?;
    verdict_of(&answer.report.quality)
}
