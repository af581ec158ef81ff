//! Wrong usage on one line: what is wrong, and what to do. Help and version are answers, not errors.

use std::ffi::OsString;
use std::io::{self, Write as _};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::CommandFactory as _;
use clap::error::ErrorKind;

use super::Cli;
use crate::cmd::{self, Failure};

/// Prints what was asked for, or turns the error into ours. `arguments` begin with the program's name.
pub fn answer(
    error: &clap::Error,
    arguments: impl Iterator<Item = OsString>,
) -> anyhow::Result<ExitCode> {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            let mut out = io::stdout().lock();
            // clap's own printing would hide errors such as a full disk.
            write!(out, "{}", error.render())
                .and_then(|()| out.flush())
                .context("write the help")?;
            Ok(ExitCode::SUCCESS)
        }
        _ => Err(Failure::Usage(one_line(error, arguments)).into()),
    }
}

fn one_line(error: &clap::Error, arguments: impl Iterator<Item = OsString>) -> String {
    let help = help_for(arguments);
    if matches!(
        error.kind(),
        ErrorKind::MissingSubcommand | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
    ) {
        return format!("no command given; try '{help}'");
    }
    // clap separates the parts by empty lines: the error, tips, the usage, where to find help.
    let text = error.render().to_string();
    let mut parts = text.split("\n\n");
    let wrong = cmd::one_line(
        parts
            .next()
            .unwrap_or_default()
            .trim_start_matches("error: "),
    );
    let tip = parts.find_map(|part| part.trim_start().strip_prefix("tip: ")?.lines().next());
    match tip {
        Some(tip) => format!("{wrong}; {}; try '{help}'", cmd::one_line(tip)),
        None => format!("{wrong}; try '{help}'"),
    }
}

/// The help of the command that was meant, if one was.
fn help_for(mut arguments: impl Iterator<Item = OsString>) -> String {
    let meant = arguments.nth(1).unwrap_or_default();
    let root = Cli::command();
    match root
        .get_subcommands()
        .find(|command| meant == command.get_name())
    {
        Some(command) => format!("tracer {} --help", command.get_name()),
        None => "tracer --help".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt as _;

    use clap::Parser as _;

    use super::*;

    fn message(arguments: &[&[u8]]) -> String {
        let all = || {
            let all = std::iter::once(&b"tracer"[..]).chain(arguments.iter().copied());
            all.map(|argument| OsStr::from_bytes(argument).to_owned())
        };
        one_line(&Cli::try_parse_from(all()).expect_err("wrong usage"), all())
    }

    #[test]
    fn says_what_is_wrong_and_what_to_do() {
        let messages: Vec<String> = [
            &["run", "--duration", "5"][..],
            &["run", "--pids", "5"],
            &["run", "ls"],
            &["recrod"],
            &[],
            &["run", "--format", "xml"],
            &["run", "-o"],
            &["generate", "man"],
            &["generate"],
        ]
        .iter()
        .map(|arguments| {
            message(
                &arguments
                    .iter()
                    .map(|argument| argument.as_bytes())
                    .collect::<Vec<_>>(),
            )
        })
        .collect();
        insta::assert_snapshot!(messages.join("\n"), @r"
        invalid value '5' for '--duration <D>': expected a whole number above 0 with a unit, such as 250us, 5ms, 2s, 1m (ns, us, ms, s, m, h); try 'tracer run --help'
        unexpected argument '--pids' found; a similar argument exists: '--pid'; try 'tracer run --help'
        unexpected argument 'ls' found; try 'tracer run --help'
        unrecognized subcommand 'recrod'; a similar subcommand exists: 'record'; try 'tracer --help'
        no command given; try 'tracer --help'
        invalid value 'xml' for '--format <FORMAT>' [possible values: table, json, ndjson]; try 'tracer run --help'
        a value is required for '--output <FILE>' but none was supplied; try 'tracer run --help'
        the following required arguments were not provided: <DIR>; try 'tracer generate --help'
        no command given; try 'tracer generate --help'
        ");
    }

    #[test]
    fn hostile_arguments_stay_on_one_clean_line() {
        for argument in [
            &b"\x1b[2Jx\n\ny\r"[..],
            b"\xff\xfe",
            b"--\x1b]0;x\x07",
            b"--pid=\n\n1",
            b"",
            b"-\xff",
        ] {
            for arguments in [
                &[argument][..],
                &[b"run", argument],
                &[b"run", b"--comm", b"(\n\x1b", argument],
            ] {
                let line = message(arguments);
                assert!(!line.chars().any(char::is_control), "{line:?}");
            }
        }
    }
}
