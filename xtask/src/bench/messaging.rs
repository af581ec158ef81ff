//! What tools add to 800 processes that talk to each other on all CPUs. Nothing is pinned, so that a tool's
//! own process takes its share, too.

use std::time::Duration;

use super::Bench;
use super::findings::Findings;
use super::load::MESSAGING;
use super::paired::{self, Settings};
use super::pipe;

pub fn run(bench: &Bench) -> anyhow::Result<Findings> {
    let settings = Settings {
        load: MESSAGING,
        rounds: bench.plan(7, 3),
        length: Duration::from_millis(bench.plan(1500, 1000)),
        tool_cpu: None,
    };
    let outcome = paired::run(bench, &settings)?;
    Ok(pipe::findings(&outcome, &settings, "ms a run", 1e6))
}
