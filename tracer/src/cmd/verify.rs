//! `tracer verify`: what is said of processes and threads, measured here.

use std::io::{IsTerminal as _, Write as _, stderr};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::Context as _;

use crate::cli::{VerifyFormat, VerifyOptions};
use crate::cmd::{Failure, run::signals::Signals, style_of};
use crate::kernel::host::StealSample;
use crate::output::{self, file::Output};
use crate::verify::{EXPERIMENTS, Effort, Experiment, Lab, Outcome, Verification};

pub fn run(options: &VerifyOptions) -> anyhow::Result<ExitCode> {
    let mut output = Output::open(None)?;
    let style = style_of(None);
    let verification = unless_stopped(options.clone())?;
    output.render(|out| match options.format {
        VerifyFormat::Table => output::verify_table(&verification, &style, out),
        VerifyFormat::Json => output::verify_json(&verification, out),
    })?;
    output.finish()?;
    ended(&verification)
}

/// A signal ends the experiment that is on, and with this process whatever it has started.
fn unless_stopped(options: VerifyOptions) -> anyhow::Result<Verification> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("start the event loop")?;
    let verification = runtime.block_on(async {
        let mut signals = Signals::install()?;
        let experiments = runtime.spawn_blocking(move || all(&options));
        tokio::select! {
            done = experiments => done.context("make the experiments")?,
            received = signals.next() => {
                progress("");
                let status = 128 + received?.as_raw() as u8;
                Err(Failure::Interrupted { status }.into())
            }
        }
    });
    runtime.shutdown_background();
    verification
}

fn all(options: &VerifyOptions) -> anyhow::Result<Verification> {
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
    Ok(Verification {
        host: lab.host,
        effort,
        took: from.elapsed(),
        outcomes,
    })
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
