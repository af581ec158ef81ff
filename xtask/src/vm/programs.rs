//! The tracer and its tests as programs that need nothing of a system but its kernel.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Stdio;

use anyhow::{Context as _, bail, ensure};
use serde::Deserialize;

use super::plan;
use crate::command::{cargo, show};

pub struct Programs {
    pub tracer: PathBuf,
    /// By file name of the test.
    pub tests: Vec<(String, PathBuf)>,
}

/// A line of cargo's messages, as far as it matters here.
#[derive(Deserialize)]
struct Message {
    target: Option<Target>,
    executable: Option<PathBuf>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
    kind: Vec<String>,
}

impl Programs {
    /// Linked with the C library of this machine, apart from what is built otherwise.
    pub fn build() -> anyhow::Result<Programs> {
        let files: BTreeSet<&str> = plan::STEPS.iter().map(|step| step.file).collect();
        let mut build = cargo();
        build.args(["test", "--no-run", "--release", "--package=tracer"]);
        build.arg(format!(
            "--target={}-unknown-linux-gnu",
            std::env::consts::ARCH
        ));
        for file in files.iter().copied().chain([plan::INIT]) {
            build.args(["--test", file]);
        }
        build
            .arg("--message-format=json-render-diagnostics")
            .env(
                "RUSTFLAGS",
                "-C target-feature=+crt-static -C strip=symbols",
            )
            .stderr(Stdio::inherit());
        let shown = show(&build);
        println!("$ {shown}");
        let output = build.output().with_context(|| format!("run {shown}"))?;
        ensure!(
            output.status.success(),
            "{shown}: ended with {}",
            output.status
        );

        let (mut tracer, mut tests) = (None, Vec::new());
        for line in String::from_utf8_lossy(&output.stdout).lines() {
            let message: Message = serde_json::from_str(line).context("read cargo's messages")?;
            let (Some(target), Some(program)) = (message.target, message.executable) else {
                continue;
            };
            match target.kind.first().map(String::as_str) {
                Some("bin") if target.name == "tracer" => tracer = Some(program),
                Some("test") => tests.push((target.name, program)),
                _ => {}
            }
        }
        let Some(tracer) = tracer else {
            bail!("build the tracer: cargo made no program of that name");
        };
        ensure!(
            tests.len() == files.len() + 1,
            "build {files:?}: cargo made {tests:?}"
        );
        Ok(Programs { tracer, tests })
    }
}
