//! The bodies of the kernel programs, each run by the kernel's test facility: time, as a ratio to a program
//! that does nothing.

use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::Value;

use super::Bench;
use super::findings::Findings;
use super::process::Process;
use super::stats::ratio;
use super::table::{NOT_MEASURED, Table, number};

const SCHEMA: &str = "tracer.probes.v1";

pub fn run(bench: &Bench) -> anyhow::Result<Findings> {
    let mut command = Command::new("taskset");
    command
        .args(["-c", &bench.cpus.load.to_string()])
        .arg(&bench.tracer);
    command.args(["probes", "--format", "json"]);
    let process = Process::start("tracer probes", &mut command, Stdio::null(), &bench.scratch)?;
    findings(&process.finish(Duration::from_secs(120))?)
}

fn findings(output: &str) -> anyhow::Result<Findings> {
    let json: Value =
        serde_json::from_str(output.trim()).context("read the answer of tracer probes")?;
    ensure!(
        json["schema"] == SCHEMA,
        "read the answer of tracer probes: not {SCHEMA}"
    );
    let programs = json["programs"]
        .as_array()
        .context("find the programs of tracer probes")?;
    ensure!(
        !programs.is_empty(),
        "find the programs of tracer probes: there is none"
    );
    let empty = json["empty_ns"].as_f64();
    let mut table = Table::new(&[
        "program",
        "ratio to an empty one",
        "ns an event",
        "instructions verified",
        "bytes translated",
        "bytes of machine code",
    ]);
    let count = |value: &Value| {
        value
            .as_u64()
            .map_or_else(|| NOT_MEASURED.to_owned(), |n| n.to_string())
    };
    let figure = |value: Option<f64>| value.map_or_else(|| NOT_MEASURED.to_owned(), number);
    for program in programs {
        let ns = program["ns_per_event"].as_f64();
        let ratio = ns.zip(empty).and_then(|(ns, empty)| ratio(ns, empty));
        table.row([
            program["name"].as_str().unwrap_or(NOT_MEASURED).to_owned(),
            figure(ratio),
            figure(ns),
            count(&program["verified_instructions"]),
            count(&program["translated_bytes"]),
            count(&program["jited_bytes"]),
        ]);
    }
    let notes = vec![format!("An empty program: {} ns.", figure(empty))];
    Ok(Findings {
        table,
        notes,
        json,
        ..Findings::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_is_told_as_a_ratio_and_what_is_missing_as_such() {
        let output = r#"{"schema":"tracer.probes.v1","empty_ns":10.0,"programs":[
            {"name":"sched_switch","verified_instructions":700,"translated_bytes":2000,"jited_bytes":1500,"ns_per_event":85.0},
            {"name":"sched_process_exec","verified_instructions":null,"translated_bytes":9,"jited_bytes":9,"ns_per_event":null}]}"#;
        let table = findings(output).expect("figures").table.to_string();
        let rows: Vec<Vec<&str>> = table
            .lines()
            .skip(2)
            .map(|line| line.split('|').map(str::trim).collect())
            .collect();
        assert_eq!(
            rows[0][1..7],
            ["sched_switch", "8.50", "85.0", "700", "2000", "1500"]
        );
        assert_eq!(
            rows[1][1..7],
            ["sched_process_exec", "n/a", "n/a", "n/a", "9", "9"]
        );
        assert!(findings("{}").is_err());
    }
}
