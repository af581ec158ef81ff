//! `tracer report`: what a recording tells, as `tracer run` would have told it.

use std::process::ExitCode;

use crate::{
    cli::ReportOptions,
    cmd::{Failure, confine::confine, replay::Question, style_of, verdict_of},
    model::Nanos,
    output::{self, file::Output},
    pipeline::{Part, Replay},
};

pub fn run(options: &ReportOptions) -> anyhow::Result<ExitCode> {
    if let (Some(from), Some(to)) = (options.from, options.to)
        && from >= to
    {
        let why = "--to: nothing lies before --from".to_owned();
        return Err(Failure::Usage(why).into());
    }
    let mut output = Output::open(options.output.as_deref())?;
    confine(&[&options.file], options.output.as_deref())?;
    let nanos = |duration: std::time::Duration| Nanos(duration.as_nanos() as u64);
    let question = Question {
        file: options.file.clone(),
        target: options.target.clone(),
        max_threads: options.max_threads as usize,
        max_forks: options.max_forks as usize,
        slower: options.slower.map(nanos),
        replay: Replay {
            part: Part {
                from: nanos(options.from.unwrap_or_default()),
                to: options.to.map(nanos),
            },
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
