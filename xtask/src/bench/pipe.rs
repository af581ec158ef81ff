//! What tools add to one round trip through a pipe between two threads on one CPU.

use std::time::Duration;

use super::Bench;
use super::findings::{Figure, Findings};
use super::load::PIPE;
use super::paired::{self, Measure, Settings};
use super::tools::{SYSTEM, TOOLS, UNRELATED, YARDSTICK};

/// Two ways to look at the same: CPU time is known in coarse steps, but does not grow when something else
/// takes the CPU.
const MEASURES: [Measure; 2] = [
    Measure {
        name: "time",
        unit: "us a round trip",
        unit_ns: 1e3,
        percent_of: None,
        of: |sample| sample.value_ns,
    },
    Measure {
        name: "cpu",
        unit: "CPU us a round trip",
        unit_ns: 1e3,
        percent_of: None,
        of: |sample| sample.load_cpu_ns / sample.loops as f64,
    },
];

pub fn run(bench: &Bench) -> anyhow::Result<Findings> {
    let settings = settings(bench.plan(9, 3), bench.plan(1000, 400), bench.cpus.tool);
    let outcome = paired::run(bench, &settings)?;
    let mut findings = outcome.findings(&settings);
    let figures = [
        (Figure::SystemRatio, SYSTEM),
        (Figure::UnrelatedRatio, UNRELATED),
    ];
    // On an idle machine both say the same. On a busy one, elapsed time also has what a tool's own process
    // drove away from its CPU and onto that of the load.
    for (figure, tool) in figures {
        let ratios = outcome
            .series
            .iter()
            .rev()
            .map(|series| outcome.ratio(series, tool));
        let ratios = ratios.flatten().map(|ratio| (figure, ratio.median));
        findings.figures.extend(ratios);
    }
    Ok(findings)
}

pub fn settings(rounds: usize, length_ms: u64, tool_cpu: u32) -> Settings {
    Settings {
        load: PIPE,
        tools: &TOOLS,
        yardstick: YARDSTICK,
        rounds,
        length: Duration::from_millis(length_ms),
        tool_cpu: Some(tool_cpu),
        measures: &MEASURES,
    }
}
