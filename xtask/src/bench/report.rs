//! A run of our own tool for a known time, and what its report says of itself.

use std::fs;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::Context as _;
use serde_json::{Value, json};

use super::Bench;
use super::process::{Process, wait_for};
use super::table::NOT_MEASURED;

/// The report disagrees with the kernel: a report all the same, and its verdict says so.
const INVALID: i32 = 4;

pub struct Run {
    report: Value,
}

impl Run {
    /// `tracer run` with these arguments, to its end.
    pub fn of(
        bench: &Bench,
        mut command: Command,
        duration: &str,
        limit: Duration,
    ) -> anyhow::Result<Run> {
        let report = bench.scratch.join("run.json");
        // One of an earlier run would be taken for this one's.
        let _ = fs::remove_file(&report);
        command.args(["run", "--duration", duration, "--format", "json", "-o"]);
        command.arg(&report);
        let mut process =
            Process::start("tracer run", &mut command, Stdio::null(), &bench.scratch)?;
        let status = wait_for("the end of the tracer", limit, || process.ended())?;
        if !has_report(status) {
            return Err(process.failed(status));
        }
        Run::read(&report)
    }

    pub fn read(path: &Path) -> anyhow::Result<Run> {
        let text = fs::read(path).with_context(|| format!("read {}", path.display()))?;
        let report = serde_json::from_slice(&text);
        Ok(Run {
            report: report.with_context(|| format!("read {}", path.display()))?,
        })
    }

    pub fn verdict(&self) -> &str {
        self.report["quality"]["verdict"]
            .as_str()
            .unwrap_or(NOT_MEASURED)
    }

    pub fn count(&self, group: &str, name: &str) -> Option<u64> {
        self.report[group][name].as_u64()
    }

    pub fn events(&self) -> Option<u64> {
        self.count("cost", "kernel_events")
    }

    pub fn memory_mib(&self) -> Option<f64> {
        let bytes = self.count("cost", "collector_max_rss_bytes")?;
        Some(bytes as f64 / (1024.0 * 1024.0))
    }

    pub fn cpu_ms_per_million(&self) -> Option<f64> {
        let events = self.events().filter(|&events| events > 0)?;
        // Nanoseconds an event are milliseconds a million events.
        Some(self.count("cost", "collector_cpu_ns")? as f64 / events as f64)
    }

    /// When its window began and how long it was, by CLOCK_MONOTONIC.
    pub fn window_ns(&self) -> Option<(u64, u64)> {
        let start = self.count("window", "start_monotonic_ns")?;
        Some((start, self.count("window", "duration_ns")?))
    }

    pub fn json(&self) -> Value {
        json!({
            "verdict": self.report["quality"]["verdict"],
            "reasons": self.report["quality"]["reasons"],
            "lost_records": self.report["quality"]["lost_records"],
            "lost_switches": self.report["quality"]["lost_switches"],
            "missed_events": self.report["quality"]["missed_events"],
            "switches": self.report["system"]["switches"],
            "duration_ns": self.report["window"]["duration_ns"],
            "cost": self.report["cost"],
        })
    }
}

pub fn has_report(status: ExitStatus) -> bool {
    status.success() || status.code() == Some(INVALID)
}

#[cfg(test)]
impl From<Value> for Run {
    fn from(report: Value) -> Run {
        Run { report }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_tells_what_it_cost() {
        let run = Run::from(json!({
            "quality": { "verdict": "valid" },
            "window": { "start_monotonic_ns": 10, "duration_ns": 5 },
            "cost": {
                "kernel_events": 2_000_000,
                "collector_cpu_ns": 500_000_000,
                "collector_max_rss_bytes": 33_554_432,
            },
        }));
        assert_eq!(run.cpu_ms_per_million(), Some(250.0));
        assert_eq!(run.memory_mib(), Some(32.0));
        assert_eq!(run.window_ns(), Some((10, 5)));
        assert_eq!(run.verdict(), "valid");
    }

    #[test]
    fn what_is_not_measured_is_no_zero() {
        let run = Run::from(json!({ "cost": { "kernel_events": 0, "collector_cpu_ns": 5 } }));
        assert_eq!(run.cpu_ms_per_million(), None);
        assert_eq!(run.memory_mib(), None);
        assert_eq!(run.verdict(), "n/a");
    }
}
