//! The pure core alone, bytes to report, by its own benchmark. Built before anything is measured.

use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::Value;

use super::Bench;
use super::findings::{Figure, Findings};
use super::process::Process;
use super::table::{NOT_MEASURED, Table, number};

const SCHEMA: &str = "tracer.core-bench.v1";

/// The streams that are like the loads of `pipe` and `messaging`.
const BUDGETED: [&str; 2] = ["pipe, 2 CPUs", "messaging, 2 CPUs, 400 threads"];

pub fn run(bench: &Bench) -> anyhow::Result<Findings> {
    let program = match &bench.core {
        Ok(program) => program,
        Err(reason) => anyhow::bail!("build the benchmark of the core: {reason}"),
    };
    // One core is what the figure is about; cargo, too, passes `--bench`.
    let mut command = Command::new("taskset");
    command
        .args(["-c", &bench.cpus.load.to_string()])
        .arg(program)
        .arg("--bench");
    command.current_dir(crate::workspace().join("tracer"));
    let name = "the benchmark of the core";
    let process = Process::start(name, &mut command, Stdio::null(), &bench.scratch)?;
    let output = process.finish(Duration::from_secs(300))?;
    findings(&output)
}

fn findings(output: &str) -> anyhow::Result<Findings> {
    let json: Value =
        serde_json::from_str(output.trim()).context("read what the core's benchmark printed")?;
    ensure!(
        json["schema"] == SCHEMA,
        "read what the core's benchmark printed: not {SCHEMA}"
    );
    let runs = json["runs"]
        .as_array()
        .context("find the runs of the core")?;
    ensure!(!runs.is_empty(), "find the runs of the core: there is none");
    let mut table = Table::new(&[
        "stream",
        "events",
        "million events/s",
        "allocations per event",
        "peak heap, MiB",
    ]);
    let shown = |value: &Value, unit: f64| {
        value
            .as_f64()
            .map_or_else(|| NOT_MEASURED.to_owned(), |v| number(v / unit))
    };
    for run in runs {
        table.row([
            run["name"].as_str().unwrap_or(NOT_MEASURED).to_owned(),
            run["events"]
                .as_u64()
                .map_or_else(|| NOT_MEASURED.to_owned(), |n| n.to_string()),
            shown(&run["events_per_second"], 1e6),
            shown(&run["allocations_per_event"], 1.0),
            shown(&run["peak_heap_bytes"], 1024.0 * 1024.0),
        ]);
    }
    // The budget is about the loads of the other budgets; the rest shows what grows with what.
    let loads = runs.iter().filter(|run| {
        let name = run["name"].as_str().unwrap_or_default();
        BUDGETED.iter().any(|load| name == *load)
    });
    let rates = loads.map(|run| run["events_per_second"].as_f64());
    let slowest = rates
        .collect::<Option<Vec<f64>>>()
        .and_then(|rates| rates.into_iter().reduce(f64::min));
    Ok(Findings {
        table,
        figures: slowest
            .map(|rate| (Figure::CoreMillionsPerSecond, rate / 1e6))
            .into_iter()
            .collect(),
        json,
        ..Findings::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slower_load_is_held_against_the_budget() {
        let output = r#"{"schema":"tracer.core-bench.v1","runs":[
            {"name":"pipe, 2 CPUs","events":1000,"events_per_second":2e7,"allocations_per_event":0.0,"peak_heap_bytes":1048576},
            {"name":"messaging, 2 CPUs, 400 threads","events":900,"events_per_second":1.2e7,"allocations_per_event":0.0,"peak_heap_bytes":1},
            {"name":"churn","events":500,"events_per_second":3e6,"allocations_per_event":0.25,"peak_heap_bytes":null}]}"#;
        let findings = findings(output).expect("figures");
        assert_eq!(findings.figures, [(Figure::CoreMillionsPerSecond, 12.0)]);
        let table = findings.table.to_string();
        assert!(
            table.contains(
                "| churn                          |    500 |             3.00 |                 0.250 |            n/a |"
            ),
            "{table}"
        );
    }

    #[test]
    fn anything_else_is_an_error() {
        for output in ["", "{}", r#"{"schema":"tracer.core-bench.v1","runs":[]}"#] {
            assert!(findings(output).is_err(), "{output}");
        }
    }
}
