//! One command per file; here: which one, and what its errors mean for the exit status.

mod asked;
mod confine;
pub mod diff;
#[cfg(target_os = "linux")]
pub mod doctor;
pub mod export;
pub mod generate;
#[cfg(target_os = "linux")]
pub mod probes;
mod replay;
pub mod report;
#[cfg(target_os = "linux")]
pub mod run;
mod tape;
#[cfg(target_os = "linux")]
pub mod verify;

use std::collections::HashMap;
use std::io::{self, IsTerminal as _};
use std::path::Path;
use std::process::ExitCode;

use crate::cli::{Cli, Command};
use crate::output::{Style, terminal};
use crate::report::{Quality, Report, Verdict};
#[cfg(target_os = "linux")]
use crate::workload;

/// Errors that decide the exit status. All others end with 1.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// Found wrong only after the command line was read.
    #[error("{0}")]
    Usage(String),
    /// This machine or user cannot trace: the text of a `kernel::preflight::Refusal`.
    #[error("{0}")]
    Refused(String),
    /// The report disagrees with the kernel without a reason.
    #[error("{0}")]
    Invalid(String),
    /// The command to trace could not be started: 127 not found, 126 not executable.
    #[error("{message}")]
    NotStarted { status: u8, message: String },
    /// The tracer failed, and so did the command, whose status is the one to pass on.
    #[error("{message}")]
    Beside { status: u8, message: String },
    /// 128+N for signal N.
    #[error("stopped by a second signal: the command, if any, runs on")]
    Stopped { status: u8 },
    /// The same.
    #[error("stopped by a signal")]
    Interrupted { status: u8 },
}

impl Failure {
    fn exit_code(&self) -> u8 {
        match self {
            Failure::Usage(_) => 2,
            Failure::Refused(_) => 3,
            Failure::Invalid(_) => 4,
            Failure::NotStarted { status, .. }
            | Failure::Beside { status, .. }
            | Failure::Stopped { status }
            | Failure::Interrupted { status } => *status,
        }
    }
}

#[cfg(target_os = "linux")]
impl From<crate::kernel::preflight::Refusal> for Failure {
    fn from(refusal: crate::kernel::preflight::Refusal) -> Failure {
        Failure::Refused(refusal.to_string())
    }
}

pub fn dispatch(cli: Cli) -> anyhow::Result<ExitCode> {
    match cli.command {
        #[cfg(target_os = "linux")]
        Command::Run(options) => run::run(*options),
        #[cfg(target_os = "linux")]
        Command::Record(options) => run::run(options.into_run()),
        #[cfg(target_os = "linux")]
        Command::Doctor(options) => doctor::run(&options),
        #[cfg(target_os = "linux")]
        Command::Probes(options) => probes::run(&options),
        #[cfg(target_os = "linux")]
        Command::Verify(options) => verify::run(&options),
        #[cfg(target_os = "linux")]
        Command::Workload(arguments) => {
            workload::run(&arguments.into()).map(|()| ExitCode::SUCCESS)
        }
        #[cfg(not(target_os = "linux"))]
        Command::Run(_)
        | Command::Record(_)
        | Command::Doctor(_)
        | Command::Probes(_)
        | Command::Verify(_)
        | Command::Workload(_) => Err(Failure::Refused(
            "trace the scheduler: only Linux can be traced; run tracer there".to_owned(),
        )
        .into()),
        Command::Report(options) => report::run(&options),
        Command::Export(options) => export::run(&options),
        Command::Diff(options) => diff::run(&options),
        Command::Generate(options) => generate::run(&options.what).map(|()| ExitCode::SUCCESS),
    }
}

/// The names of the cgroups in a report.
fn describe(report: &mut Report, cgroups: &HashMap<u64, String>) {
    let path = |id: Option<u64>| cgroups.get(&id?).cloned();
    if let Some(spikes) = &mut report.spikes {
        for spike in &mut spikes.spikes {
            spike.cgroup = path(spike.cgroup_id);
        }
        for cause in &mut spikes.causes {
            cause.cgroup = path(cause.cgroup_id);
        }
    }
    for process in &mut report.processes {
        process.cgroup = path(process.cgroup_id);
    }
}

/// For a report to this file, or to standard output.
fn style_of(output: Option<&Path>) -> Style {
    let terminal = output.is_none() && io::stdout().is_terminal();
    let width = rustix::termios::tcgetwinsize(io::stdout())
        .ok()
        .filter(|_| terminal)
        .map(|size| usize::from(size.ws_col));
    let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    Style::for_terminal(width, terminal, no_color)
}

/// An invalid report that somebody read is an error of its own.
fn verdict_of(quality: &Quality) -> anyhow::Result<ExitCode> {
    if quality.verdict == Verdict::Invalid {
        let why = quality.reasons.first().cloned().unwrap_or_default();
        return Err(Failure::Invalid(format!("the report is invalid: {why}")).into());
    }
    Ok(ExitCode::SUCCESS)
}

pub fn exit_code(error: &anyhow::Error) -> u8 {
    let failure = error
        .chain()
        .find_map(|cause| cause.downcast_ref::<Failure>());
    failure.map_or(1, Failure::exit_code)
}

/// The reader of our output went away: it has seen all it wanted.
pub fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        let kind = cause.downcast_ref::<io::Error>().map(io::Error::kind);
        // serde_json hides the cause but tells its kind.
        let json = cause
            .downcast_ref::<serde_json::Error>()
            .and_then(serde_json::Error::io_error_kind);
        kind.or(json) == Some(io::ErrorKind::BrokenPipe)
    })
}

/// What follows `error: `: one line, only a refusal lists one obstacle a line. Clean for a terminal.
pub fn message(error: &anyhow::Error) -> String {
    let refused = error
        .chain()
        .any(|cause| matches!(cause.downcast_ref(), Some(Failure::Refused(_))));
    let text = format!("{error:#}");
    if !refused {
        return one_line(&text);
    }
    let lines: Vec<String> = text.lines().map(clean).collect();
    lines.join("\n")
}

/// Joins lines by a space and escapes what a terminal would obey.
pub fn one_line(text: &str) -> String {
    let lines: Vec<&str> = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect();
    clean(&lines.join(" "))
}

/// Our own text, with names in it that may be escaped already: backslashes stay single.
fn clean(text: &str) -> String {
    let escaped: Vec<String> = text
        .split('\\')
        .map(|part| terminal(part.as_bytes()))
        .collect();
    escaped.join("\\")
}

#[cfg(test)]
mod tests {
    use anyhow::{Context as _, anyhow};

    use super::*;

    #[test]
    fn the_exit_status_is_found_below_any_context() {
        let refused =
            anyhow::Error::from(Failure::Refused("no".to_owned())).context("load the programs");
        assert_eq!(exit_code(&refused), 3);
        assert_eq!(
            exit_code(
                &Failure::NotStarted {
                    status: 127,
                    message: String::new()
                }
                .into()
            ),
            127
        );
        assert_eq!(exit_code(&anyhow!("anything")), 1);
    }

    #[test]
    fn a_reader_that_went_away_is_recognised() {
        let broken = || io::Error::from(io::ErrorKind::BrokenPipe);
        assert!(is_broken_pipe(
            &anyhow::Error::from(broken()).context("write the report")
        ));
        assert!(is_broken_pipe(&serde_json::Error::io(broken()).into()));
        assert!(!is_broken_pipe(
            &io::Error::from(io::ErrorKind::StorageFull).into()
        ));
    }

    #[test]
    fn errors_are_one_clean_line_and_refusals_a_clean_block() {
        let error = Err::<(), _>(anyhow!("line\nbreak \u{1b}[2J"))
            .context("do it")
            .expect_err("it failed");
        assert!(!message(&error).chars().any(char::is_control));
        let refused: anyhow::Error = Failure::Refused("cannot\n  a \u{7}\n  b".to_owned()).into();
        assert_eq!(message(&refused).lines().count(), 3);
        assert!(!message(&refused).contains('\u{7}'));
    }
}
