//! What tools add to 800 processes that talk to each other on all CPUs. Nothing is pinned, so that a tool's
//! own process takes its share, too.

use std::time::Duration;

use super::Bench;
use super::findings::Findings;
use super::load::MESSAGING;
use super::paired::{self, Measure, Settings};
use super::tools::{TOOLS, YARDSTICK};

/// Elapsed time depends on how 800 processes happen to meet, and on whoever else is there; CPU time less so.
const MEASURES: [Measure; 2] = [
    Measure {
        name: "time",
        unit: "ms a run",
        unit_ns: 1e6,
        percent_of: Some("time"),
        of: |sample| sample.value_ns,
    },
    Measure {
        name: "cpu",
        unit: "CPU ms a run",
        unit_ns: 1e6,
        percent_of: Some("CPU time"),
        of: |sample| sample.load_cpu_ns + sample.tool_cpu_ns,
    },
];

pub fn run(bench: &Bench) -> anyhow::Result<Findings> {
    let settings = Settings {
        load: MESSAGING,
        tools: &TOOLS,
        yardstick: YARDSTICK,
        rounds: bench.plan(7, 3),
        length: Duration::from_millis(bench.plan(1500, 1000)),
        tool_cpu: None,
        measures: &MEASURES,
    };
    Ok(paired::run(bench, &settings)?.findings(&settings))
}
