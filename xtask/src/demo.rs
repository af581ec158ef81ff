//! The first thing to try on a new machine: build, trace a workload whose behaviour is known, report.

use std::process::{Command, ExitCode};

use anyhow::Context as _;

use crate::build;
use crate::command::{as_root, show};

/// Ends as the tracer did: what it says about a machine that cannot trace needs no wrapping.
pub fn run() -> anyhow::Result<ExitCode> {
    let tracer = build::run()?;
    // Where there is no way to root, the tracer's own answer is the better one.
    let mut demo = as_root(&[], &tracer).unwrap_or_else(|_| Command::new(&tracer));
    demo.args(["run", "--duration", "5s", "--"])
        .arg(&tracer)
        .args(["workload", "demo"]);
    println!("$ {}", show(&demo));
    let status = demo.status().context("run the demo")?;
    Ok(status
        .code()
        .and_then(|code| u8::try_from(code).ok())
        .map_or(ExitCode::FAILURE, Into::into))
}
