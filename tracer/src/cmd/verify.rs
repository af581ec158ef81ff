//! `tracer verify`: what is said of processes and threads, measured here.

use std::io::{IsTerminal as _, Write as _, stderr};
use std::process::ExitCode;
use std::time::Instant;

use crate::cli::{VerifyFormat, VerifyOptions};
use crate::cmd::{Failure, style_of};
use crate::kernel::host::StealSample;
use crate::output::{self, file::Output};
use crate::verify::{EXPERIMENTS, Effort, Experiment, Lab, Outcome, Verification};

pub fn run(options: &VerifyOptions) -> anyhow::Result<ExitCode> {
    let mut output = Output::open(None)?;
    let style = style_of(None);
    let effort = match (options.quick, options.thorough) {
        (true, _) => Effort::Quick,
        (_, true) => Effort::Thorough,
        _ => Effort::Normal,
    };
    let steal = StealSample::read();
    let from = Instant::now();
    let mut lab = Lab::new(effort)?;
    let asked = |it: &&Experiment| {
        options.only.is_empty() || options.only.iter().any(|name| name == it.name)
    };
    let outcomes: Vec<Outcome> = EXPERIMENTS
        .iter()
        .filter(asked)
        .map(|experiment| {
            progress(experiment.name);
            experiment.run(&lab)
        })
        .collect();
    progress("");
    lab.host.steal_percent = steal.and_then(|steal| steal.percent_since(&StealSample::read()?));
    let verification = Verification {
        host: lab.host,
        effort,
        took: from.elapsed(),
        outcomes,
    };
    output.render(|out| match options.format {
        VerifyFormat::Table => output::verify_table(&verification, &style, out),
        VerifyFormat::Json => output::verify_json(&verification, out),
    })?;
    output.finish()?;
    ended(&verification)
}

/// What is worth an exit status: an experiment that could not be made, and one that shows the tracer wrong.
fn ended(verification: &Verification) -> anyhow::Result<ExitCode> {
    for outcome in &verification.outcomes {
        match &outcome.found {
            Ok(finding) => {
                if let Some(what) = &finding.disagreement {
                    let text = format!("the tracer disagrees with the kernel: {what}");
                    return Err(Failure::Invalid(text).into());
                }
            }
            Err(why) => anyhow::bail!("experiment {}: {why}", outcome.name),
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Which experiment is on, on a terminal.
fn progress(name: &str) {
    let mut stderr = stderr().lock();
    if stderr.is_terminal() {
        // Nobody is left to be told when stderr is gone.
        let _ = write!(stderr, "\r\x1b[K{name}");
        let _ = stderr.flush();
    }
}
