//! Man pages and shell completions, from the same definition as the help.

use std::fs;
use std::io::{self, Write as _};
use std::path::Path;

use anyhow::Context as _;
use clap::CommandFactory as _;

use crate::cli::{Cli, Generate};

pub fn run(what: &Generate) -> anyhow::Result<()> {
    match what {
        Generate::Man { dir } => man(dir),
        Generate::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(*shell, &mut visible(), "tracer", &mut script);
            let mut out = io::stdout().lock();
            out.write_all(&script)
                .and_then(|()| out.flush())
                .context("write the completions")
        }
    }
}

/// `tracer.1`, and `tracer-NAME.1` for every command that the help shows.
fn man(dir: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(dir).with_context(|| format!("create directory {}", dir.display()))?;
    clap_mangen::generate_to(Cli::command(), dir)
        .with_context(|| format!("write man pages into {}", dir.display()))
}

/// Completions would offer hidden commands as well.
fn visible() -> clap::Command {
    let whole = Cli::command();
    let commands = whole
        .get_subcommands()
        .filter(|command| !command.is_hide_set())
        .cloned();
    clap::Command::new("tracer")
        .version(env!("CARGO_PKG_VERSION"))
        .subcommands(commands)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_visible_command_has_a_page() {
        let dir = tempfile::tempdir().expect("a directory for the test");
        man(dir.path()).expect("it can be written");
        let mut names: Vec<_> = fs::read_dir(dir.path())
            .expect("it exists")
            .flatten()
            .map(|file| file.file_name())
            .collect();
        names.sort();
        assert_eq!(
            names,
            [
                "tracer-diff.1",
                "tracer-doctor.1",
                "tracer-export.1",
                "tracer-record.1",
                "tracer-report.1",
                "tracer-run.1",
                "tracer-verify.1",
                "tracer.1"
            ]
        );
    }

    #[test]
    fn completions_leave_hidden_commands_out() {
        let mut script = Vec::new();
        clap_complete::generate(
            clap_complete::Shell::Bash,
            &mut visible(),
            "tracer",
            &mut script,
        );
        let script = String::from_utf8_lossy(&script);
        assert!(script.contains("--cgroup") && !script.contains("workload"));
    }
}
