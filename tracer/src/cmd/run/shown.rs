//! What is written while tracing goes on, and at its end.

use crate::{
    cli::RunOptions,
    cmd::run::{errands::Errands, feed::Feed},
    host::Host,
    output::{self, Style, file::Output},
    pipeline::Pipeline,
    report::Report,
};

/// Those that ended since the last time; how many.
pub fn show_spikes(
    feed: &mut Feed,
    output: &mut Output,
    options: &RunOptions,
    style: &Style,
) -> anyhow::Result<usize> {
    let pipeline = feed.pipeline.as_mut();
    let spikes = pipeline.map(Pipeline::take_spikes).unwrap_or_default();
    for spike in &spikes {
        output.render(|out| output::spike(options.format, spike, style, out))?;
    }
    Ok(spikes.len())
}

/// Answers whether somebody still reads.
pub fn write(
    mut output: Output,
    errands: &Errands,
    options: &RunOptions,
    host: &Host,
    report: &Report,
    style: &Style,
) -> anyhow::Result<bool> {
    output.render(|out| output::report(options.format, host, report, style, out))?;
    let seen = !output.is_closed();
    output.finish_by(|| errands.put_report())?;
    Ok(seen)
}
