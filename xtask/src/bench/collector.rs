//! What our own process takes, by how many threads there are: CPU time for each million events that the
//! kernel programs saw, and its peak memory. Both are in its report.

use std::fs;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::Context as _;
use serde_json::{Map, Value, json};

use super::Bench;
use super::findings::{Figure, Findings};
use super::load::PIPE;
use super::process::{Process, check_interrupted, pause, wait_for};
use super::report::Run;
use super::table::{NOT_MEASURED, Table, number};
use super::tools::on_cpu;

const THREADS: [u64; 3] = [100, 1_000, 10_000];

/// The number of threads that the budget is about.
const MANY: u64 = 10_000;

/// Never reached: the load is stopped.
const ENDLESS: u64 = 1_000_000_000;

pub fn run(bench: &Bench) -> anyhow::Result<Findings> {
    let mut findings = Findings {
        table: Table::new(&[
            "threads",
            "CPU ms per million events",
            "peak memory, MiB",
            "million events",
            "verdict",
        ]),
        ..Findings::default()
    };
    let mut json = Map::new();
    for threads in THREADS {
        match measure(bench, threads) {
            Ok(run) => {
                findings.table.row(row(threads, &run));
                json.insert(threads.to_string(), run.json());
                if threads == MANY {
                    let memory = run.memory_mib();
                    findings
                        .figures
                        .extend(memory.map(|mib| (Figure::MemoryMib, mib)));
                }
            }
            Err(error) => {
                check_interrupted()?;
                let reason = format!("{threads} threads: {error:#}");
                let mut cells = vec![threads.to_string()];
                cells.resize(5, NOT_MEASURED.to_owned());
                findings.table.row(cells);
                findings.notes.push(format!("{NOT_MEASURED}: {reason}"));
                json.insert(threads.to_string(), json!({ "error": reason }));
                findings.failures.push(reason);
            }
        }
    }
    findings.json = Value::Object(json);
    Ok(findings)
}

fn measure(bench: &Bench, threads: u64) -> anyhow::Result<Run> {
    let mut sleepers = Command::new(&bench.tracer);
    sleepers.args(["workload", "sleepers", "--duration", "10m"]);
    sleepers.args(["--count", &threads.to_string()]);
    let mut sleepers = Process::start(
        "tracer workload",
        &mut sleepers,
        Stdio::null(),
        &bench.scratch,
    )?;
    wait_for("the threads", Duration::from_secs(30), || {
        sleepers.must_run()?;
        let count = thread_count(sleepers.pid()).filter(|&count| count > threads);
        Ok(count.map(drop))
    })?;
    let mut traffic = PIPE.ready(bench, ENDLESS)?.go()?;
    // What their start has left to be done is not what is measured.
    pause(Duration::from_millis(500))?;

    let tracer = on_cpu(Some(bench.cpus.tool), &bench.tracer);
    let run = Run::of(
        bench,
        tracer,
        bench.plan("4s", "2s"),
        Duration::from_secs(60),
    )?;
    sleepers.must_run()?;
    traffic.must_run().context("keep up the traffic")?;
    traffic.stop()?;
    sleepers.stop()?;
    Ok(run)
}

fn thread_count(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let threads = status
        .lines()
        .find_map(|line| line.strip_prefix("Threads:"))?;
    threads.trim().parse().ok()
}

fn row(threads: u64, run: &Run) -> Vec<String> {
    let shown = |value: Option<f64>| value.map_or_else(|| NOT_MEASURED.to_owned(), number);
    vec![
        threads.to_string(),
        shown(run.cpu_ms_per_million()),
        shown(run.memory_mib()),
        shown(run.events().map(|events| events as f64 / 1e6)),
        run.verdict().to_owned(),
    ]
}
