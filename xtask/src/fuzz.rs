//! Tries hostile input on every reader, one after another: `tracer/fuzz`.

use std::fs;

use anyhow::{Context as _, bail, ensure};
use clap::Args;

use crate::build::target_dir;
use crate::command::{self, cargo};
use crate::{setup, workspace};

/// Input longer than this finds nothing that shorter input does not, but later.
const LONGEST: u32 = 64 << 10;
/// Where input may make a reader take more memory than this, or more time, that is a finding.
const MEMORY_MIB: u32 = 1024;
const SECONDS: u32 = 10;

#[derive(Args)]
pub struct Options {
    /// For all targets together
    #[arg(long, default_value_t = 10)]
    minutes: u64,
    /// This target only; repeatable
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,
}

pub fn run(options: &Options) -> anyhow::Result<()> {
    setup::run(false)?;
    setup::subcommand("fuzz")?;
    let targets = targets()?;
    for only in &options.only {
        ensure!(
            targets.contains(only),
            "there is no fuzz target {only}: {}",
            targets.join(", ")
        );
    }
    let chosen = |name: &&String| options.only.is_empty() || options.only.contains(name);
    let chosen: Vec<&String> = targets.iter().filter(chosen).collect();
    let seconds = options.minutes * 60 / chosen.len().max(1) as u64;
    let mut found = Vec::new();
    for name in chosen {
        if fuzz(name, seconds).is_err() {
            found.push(name.as_str());
        }
    }
    if !found.is_empty() {
        bail!(
            "see above, and tracer/fuzz/artifacts: {}; once it is fixed, what was found belongs to tracer/fuzz/corpus",
            found.join(", ")
        );
    }
    Ok(())
}

fn targets() -> anyhow::Result<Vec<String>> {
    let directory = workspace().join("tracer/fuzz/fuzz_targets");
    let entries =
        fs::read_dir(&directory).with_context(|| format!("list {}", directory.display()))?;
    let name = |entry: fs::DirEntry| Some(entry.path().file_stem()?.to_str()?.to_owned());
    let mut names: Vec<String> = entries.flatten().filter_map(name).collect();
    names.sort();
    Ok(names)
}

/// What it finds on the way is kept beside what is built; what the repository keeps is only read.
fn fuzz(name: &str, seconds: u64) -> anyhow::Result<()> {
    let found = target_dir().join("fuzz").join(name);
    fs::create_dir_all(&found).with_context(|| format!("create {}", found.display()))?;
    command::run(
        cargo()
            // A sanitizer takes an unstable compiler, and there is next to no unsafe code to be watched.
            .args([
                "fuzz",
                "run",
                "--fuzz-dir",
                "tracer/fuzz",
                "--sanitizer",
                "none",
                name,
            ])
            .arg(found)
            .arg(format!("tracer/fuzz/corpus/{name}"))
            .arg("--")
            .args([
                format!("-max_total_time={seconds}"),
                format!("-max_len={LONGEST}"),
                format!("-rss_limit_mb={MEMORY_MIB}"),
                format!("-timeout={SECONDS}"),
                "-print_final_stats=1".to_owned(),
            ]),
    )
}
