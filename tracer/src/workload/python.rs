//! Python, where there is one: threads and processes of it that count.

use std::io;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::Context as _;

use super::{NotPermitted, WorkloadOptions};

const SCRIPT: &str = include_str!("python.py");
const ROUNDS: u64 = 10;
const ROUND: Duration = Duration::from_millis(50);

/// PARTIES of each, COUNT rounds of DURATION.
pub fn run(options: &WorkloadOptions) -> anyhow::Result<()> {
    let round = options.duration.unwrap_or(ROUND);
    let child = Command::new("python3")
        // As it comes, and no word on what is said against forks.
        .args(["-I", "-S", "-W", "ignore", "-c", SCRIPT])
        .arg(options.parties.unwrap_or(2).to_string())
        .arg(options.count.unwrap_or(ROUNDS).to_string())
        .arg(round.as_secs_f64().to_string())
        // It ends when this does, and that does with this process.
        .stdin(Stdio::piped())
        .spawn();
    let mut child = match child {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(NotPermitted("there is no python3 on PATH".to_owned()).into());
        }
        other => other.context("start python3")?,
    };
    // Waiting for it would close that input.
    let input = child.stdin.take();
    let status = child.wait().context("wait for python3")?;
    drop(input);
    if !status.success() {
        return Err(NotPermitted(format!("python3 ended with {status}")).into());
    }
    Ok(())
}
