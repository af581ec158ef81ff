//! Decides how the process ends, and nothing else.

use std::io::{self, Write as _};
use std::process::ExitCode;

use clap::Parser as _;
use tracer::{cli, cmd};

fn main() -> ExitCode {
    std::panic::set_hook(Box::new(|panic| {
        complain(&format!(
            "internal: {}; please report this",
            cmd::one_line(&panic.to_string())
        ));
        std::process::exit(1);
    }));
    let outcome = match cli::Cli::try_parse() {
        Ok(cli) => cmd::dispatch(cli),
        Err(error) => cli::usage::answer(&error, std::env::args_os()),
    };
    outcome.unwrap_or_else(|error| {
        if cmd::is_broken_pipe(&error) {
            return ExitCode::SUCCESS;
        }
        complain(&cmd::message(&error));
        ExitCode::from(cmd::exit_code(&error))
    })
}

fn complain(message: &str) {
    // Nobody is left to be told when stderr is gone.
    let _ = writeln!(io::stderr().lock(), "error: {message}");
}
