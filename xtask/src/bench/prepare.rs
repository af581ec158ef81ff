//! Before anything is measured: install, build, become root, mount.

use std::path::PathBuf;
use std::process::Stdio;

use anyhow::{Context as _, ensure};
use clap::Args;
use serde_json::{Value, json};

use super::{section_names, tools};
use crate::command::{self, as_root, cargo, is_root, show};
use crate::{dist, setup};

#[derive(Args)]
pub struct Options {
    /// Fewer rounds and shorter loads: some 3 minutes instead of 10
    #[arg(long)]
    pub quick: bool,
    /// Measure this section only; repeatable
    #[arg(long, value_name = "SECTION", value_parser = section_names())]
    only: Vec<String>,
    /// Fail when a budget is missed, too
    #[arg(long)]
    pub strict: bool,
    /// Write all results here as well, as JSON
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// What a run without privileges has built, for the one with them
    #[arg(long, value_name = "JSON", hide = true)]
    built: Option<String>,
}

impl Options {
    pub fn wants(&self, section: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|name| name == section)
    }
}

pub struct Built {
    pub tracer: PathBuf,
    /// Or why not.
    pub core: Result<PathBuf, String>,
}

/// `None`: this run was not root's, and another one has measured.
pub fn run(options: &Options) -> anyhow::Result<Option<Built>> {
    let built = match &options.built {
        Some(built) => Built::from_json(built).context("read --built")?,
        None => built(options)?,
    };
    if !is_root() {
        ensure!(options.built.is_none(), "become root: sudo did not do it");
        return again_as_root(&built).map(|()| None);
    }
    tools::mount()?;
    Ok(Some(built))
}

/// By the caller, who will own the files.
fn built(options: &Options) -> anyhow::Result<Built> {
    setup::bench_programs()?;
    // What users get.
    let tracer = dist::program()?;
    let core = if options.wants("core") {
        build_core().map_err(|error| format!("{error:#}"))
    } else {
        Err("not asked for".to_owned())
    };
    Ok(Built { tracer, core })
}

/// As `cargo bench` would; it is run later, in its turn.
fn build_core() -> anyhow::Result<PathBuf> {
    let mut build = cargo();
    build.args(["bench", "--package=tracer", "--bench=core", "--no-run"]);
    build.arg("--message-format=json-render-diagnostics");
    println!("$ {}", show(&build));
    let output = build.stderr(Stdio::piped()).output().context("run cargo")?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let error = said.lines().find(|line| line.starts_with("error"));
        anyhow::bail!("{}", error.unwrap_or("cargo failed").trim());
    }
    let messages = String::from_utf8_lossy(&output.stdout);
    executable(&messages).context("find the program in cargo's answer")
}

/// Of cargo's messages, one a line; the tracer itself is built as well.
fn executable(messages: &str) -> Option<PathBuf> {
    let mut messages = messages
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|message| message["target"]["name"] == "core");
    messages.find_map(|message| Some(message["executable"].as_str()?.into()))
}

fn again_as_root(built: &Built) -> anyhow::Result<()> {
    let this = std::env::current_exe().context("find this program")?;
    let mut again = as_root(&[], this)?;
    again.args(std::env::args_os().skip(1));
    again.args(["--built", &built.to_json()]);
    command::run(&mut again)
}

impl Built {
    fn to_json(&self) -> String {
        json!({
            "tracer": self.tracer,
            "core": self.core.as_ref().ok(),
            "core_error": self.core.as_ref().err(),
        })
        .to_string()
    }

    fn from_json(text: &str) -> anyhow::Result<Built> {
        let json: Value = serde_json::from_str(text)?;
        let text = |name: &str| json[name].as_str().map(str::to_owned);
        Ok(Built {
            tracer: text("tracer").context("it names no tracer")?.into(),
            core: match text("core") {
                Some(program) => Ok(program.into()),
                None => Err(text("core_error").unwrap_or_default()),
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_is_found_in_cargos_messages() {
        let messages = "{\"reason\":\"compiler-artifact\",\"executable\":null}\n\
                        {\"target\":{\"name\":\"core\"},\"executable\":\"/t/core-1\"}\n\
                        {\"target\":{\"name\":\"tracer\"},\"executable\":\"/t/tracer\"}\n\
                        {\"reason\":\"build-finished\",\"success\":true}\n";
        assert_eq!(executable(messages), Some("/t/core-1".into()));
        assert_eq!(executable("not json\n"), None);
    }

    #[test]
    fn what_was_built_survives_becoming_root() {
        for core in [Ok("/c".into()), Err("no bench target".to_owned())] {
            let built = Built {
                tracer: "/t/tracer".into(),
                core,
            };
            let read = Built::from_json(&built.to_json()).expect("its own words");
            assert_eq!((read.tracer, read.core), (built.tracer, built.core));
        }
        assert!(Built::from_json("{}").is_err());
    }
}
