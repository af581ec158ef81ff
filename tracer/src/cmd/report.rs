//! `tracer report`: what a recording tells, as `tracer run` would have told it.

use std::process::ExitCode;

use crate::{
    cli::ReportOptions,
    cmd::{
        confine::confine,
        replay::{Question, part},
        style_of, verdict_of,
    },
    model::Nanos,
    output::{self, file::Output},
    pipeline::Replay,
};

pub fn run(options: &ReportOptions) -> anyhow::Result<ExitCode> {
    let part = part(options.from, options.to, "--to")?;
    let mut output = Output::open(options.output.as_deref())?;
    confine(&[&options.file], options.output.as_deref())?;
    let question = Question {
        file: options.file.clone(),
        target: options.target.clone(),
        max_threads: options.max_threads as usize,
        max_forks: options.max_forks as usize,
        slower: options.slower.map(|slower| Nanos(slower.as_nanos() as u64)),
        replay: Replay {
            part,
            ..Replay::default()
        },
        doing: "read",
    };
    let style = style_of(options.output.as_deref());
    let answer = question.ask(|pipeline| {
        for spike in pipeline.take_spikes() {
            output.render(|out| output::spike(options.format, &spike, &style, out))?;
        }
        Ok(())
    })?;
    question.warn_if_cut_off(&answer);
    let (host, report) = (&answer.host, &answer.report);
    output.render(|out| output::report(options.format, host, report, &style, out))?;
    let seen = !output.is_closed();
    output.finish()?;
    if seen {
        verdict_of(&report.quality)
    } else {
        Ok(ExitCode::SUCCESS)
    }
}
