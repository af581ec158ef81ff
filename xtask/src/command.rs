//! Runs programs: shows them first, checks how they end, and asks for root where it takes root.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail, ensure};

/// Shows the command, runs it, and fails when it does.
pub fn run(command: &mut Command) -> anyhow::Result<()> {
    let shown = show(command);
    println!("$ {shown}");
    let status = command.status().with_context(|| format!("run {shown}"))?;
    ensure!(status.success(), "{shown}: ended with {status}");
    Ok(())
}

/// What a command answers, or `None` when it is not there or fails: for questions, not for work.
pub fn ask(program: &str, args: &[&str]) -> Option<String> {
    let output = Command::new(program)
        .args(args)
        .stderr(Stdio::null())
        .output()
        .ok()?;
    output
        .status
        .success()
        .then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The command as root: as it is for root, by sudo for others. `env` sets what sudo would drop.
pub fn as_root(env: &[(&str, &str)], program: impl AsRef<OsStr>) -> anyhow::Result<Command> {
    let program = program.as_ref();
    if is_root() {
        let mut command = Command::new(program);
        command.envs(env.iter().copied());
        return Ok(command);
    }
    if ask("sudo", &["--version"]).is_none() {
        bail!(
            "{} needs root, and there is no sudo: run this task as root",
            program.display()
        );
    }
    let mut command = Command::new("sudo");
    if !env.is_empty() {
        command
            .arg("env")
            .args(env.iter().map(|(name, value)| format!("{name}={value}")));
    }
    command.arg(program);
    Ok(command)
}

/// The owner of /proc/self is the effective user.
pub fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|metadata| metadata.uid() == 0)
}

/// The cargo that runs this task: the same toolchain for all host crates.
pub fn cargo() -> Command {
    let mut command =
        Command::new(std::env::var_os("CARGO").unwrap_or_else(|| OsStr::new("cargo").into()));
    command.current_dir(crate::workspace());
    command
}

/// As a person would type it: cargo hands its own path down, which is of no interest.
pub fn show(command: &Command) -> String {
    let program = command.get_program();
    let ours = std::env::var_os("CARGO").is_some_and(|cargo| cargo == program);
    let words = [if ours { OsStr::new("cargo") } else { program }].into_iter();
    words
        .chain(command.get_args())
        .map(OsStr::to_string_lossy)
        .collect::<Vec<_>>()
        .join(" ")
}
