//! Recordings beside those of `perf sched record`, of the same loads: bytes a switch, and how fast a report is made of
//! them on one CPU.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};

use super::Bench;
use super::findings::{Figure, Findings, spread_json};
use super::process::Process;
use super::stats::Spread;
use super::table::{Table, number, spread};

const LIMIT: Duration = Duration::from_secs(300);

struct Load {
    name: &'static str,
    /// After `perf bench sched`.
    arguments: Vec<String>,
    bytes: Figure,
}

pub fn run(bench: &Bench) -> anyhow::Result<Findings> {
    let round_trips = bench.plan("2500000", "250000").to_owned();
    let loops = bench.plan("1000", "200").to_owned();
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
    let mut pipe: Vec<String> = words(&["pipe", "-l"]);
    pipe.push(round_trips);
    let mut messaging: Vec<String> = words(&["messaging", "-g", "20", "-l"]);
    messaging.push(loops);
    let loads = [
        Load {
            name: "pipe",
            arguments: pipe,
            bytes: Figure::PipeBytes,
        },
        Load {
            name: "messaging -g 20",
            arguments: messaging,
            bytes: Figure::MessagingBytes,
        },
    ];
    let mut table = Table::new(&[
        "load",
        "tool",
        "switches",
        "bytes a switch",
        "report, million switches/s",
    ]);
    let mut figures = Vec::new();
    let mut all = serde_json::Map::new();
    for load in &loads {
        let ours = ours(bench, load)?;
        let theirs = theirs(bench, load)?;
        for (tool, one) in [("tracer", &ours), ("perf sched", &theirs)] {
            table.row([
                load.name.to_owned(),
                tool.to_owned(),
                one.switches.to_string(),
                number(one.bytes_a_switch()),
                spread(one.rate()),
            ]);
        }
        figures.push((load.bytes, ours.bytes_a_switch()));
        if let (Figure::PipeBytes, Some(our), Some(their)) =
            (load.bytes, ours.rate(), theirs.rate())
        {
            figures.push((Figure::ReportMillionsPerSecond, our.median));
            figures.push((Figure::ReportRatio, our.median / their.median));
        }
        let both = json!({ "tracer": ours.json(), "perf_sched": theirs.json() });
        all.insert(load.name.to_owned(), both);
    }
    Ok(Findings {
        table,
        notes: vec![
            "A report is made of each recording on one CPU, in turn, its time from start to end: \
             `tracer report --format json`, `perf sched timehist -s`."
                .to_owned(),
        ],
        json: Value::Object(all),
        figures,
        failures: Vec::new(),
    })
}

/// One recording, and how long its reports took.
struct Recorded {
    switches: u64,
    bytes: u64,
    seconds: Vec<f64>,
}

impl Recorded {
    fn bytes_a_switch(&self) -> f64 {
        self.bytes as f64 / self.switches.max(1) as f64
    }

    /// Million switches a second.
    fn rate(&self) -> Option<Spread> {
        let rates = self.seconds.iter();
        let rates: Vec<f64> = rates
            .map(|seconds| self.switches as f64 / 1e6 / seconds)
            .collect();
        Spread::of(&rates)
    }

    fn json(&self) -> Value {
        json!({
            "switches": self.switches,
            "bytes": self.bytes,
            "million_switches_per_second": spread_json(self.rate()),
        })
    }
}

fn ours(bench: &Bench, load: &Load) -> anyhow::Result<Recorded> {
    let file = bench.scratch.join("recording");
    let mut record = Command::new(&bench.tracer);
    record.args(["record", "-o"]).arg(&file).arg("--");
    finish(bench, "tracer record", with_load(bench, record, load))?;
    let report = |bench: &Bench| {
        let mut report = pinned(bench, &bench.tracer);
        report.arg("report").arg(&file).args(["--format", "json"]);
        report
    };
    let (text, seconds) = timed(bench, "tracer report", report)?;
    let report: Value = serde_json::from_str(&text).context("read the report")?;
    let verdict = &report["quality"]["verdict"];
    ensure!(verdict != "invalid", "the report is {verdict}");
    let switches = report["quality"]["received_switches"].as_u64();
    Ok(Recorded {
        switches: switches.context("read how many switches there were")?,
        bytes: size(&file)?,
        seconds,
    })
}

fn theirs(bench: &Bench, load: &Load) -> anyhow::Result<Recorded> {
    let file = bench.scratch.join("perf.data");
    let mut record = Command::new("perf");
    record.args(["sched", "record", "-o"]).arg(&file).arg("--");
    finish(bench, "perf sched record", with_load(bench, record, load))?;
    let report = |bench: &Bench| {
        let mut report = pinned(bench, Path::new("perf"));
        report.args(["sched", "-i"]).arg(&file);
        report.args(["timehist", "-s"]);
        report
    };
    let (text, seconds) = timed(bench, "perf sched timehist", report)?;
    let switches = text.lines().find_map(|line| {
        let (name, number) = line.split_once(':')?;
        name.contains("context switches")
            .then(|| number.trim().parse().ok())?
    });
    let recorded = Recorded {
        switches: switches.context("read how many switches perf sched counted")?,
        bytes: size(&file)?,
        seconds,
    };
    let _ = fs::remove_file(&file);
    Ok(recorded)
}

/// The load of one CPU is held there, that of all is not.
fn with_load(bench: &Bench, mut tool: Command, load: &Load) -> Command {
    if load.bytes == Figure::PipeBytes {
        tool.args(["taskset", "-c", &bench.cpus.load.to_string()]);
    }
    tool.args(["perf", "bench", "sched"]).args(&load.arguments);
    tool
}

fn pinned(bench: &Bench, program: &Path) -> Command {
    let mut command = Command::new("taskset");
    command.args(["-c", &bench.cpus.load.to_string()]);
    command.arg(program);
    command
}

/// What the last of several runs printed, and how many seconds each took.
fn timed(
    bench: &Bench,
    name: &str,
    command: impl Fn(&Bench) -> Command,
) -> anyhow::Result<(String, Vec<f64>)> {
    let mut seconds = Vec::new();
    let mut said = String::new();
    for _ in 0..bench.plan(7, 3) {
        let begin = Instant::now();
        said = finish(bench, name, command(bench))?;
        seconds.push(begin.elapsed().as_secs_f64());
    }
    Ok((said, seconds))
}

fn finish(bench: &Bench, name: &str, mut command: Command) -> anyhow::Result<String> {
    Process::start(name, &mut command, Stdio::null(), &bench.scratch)?.finish(LIMIT)
}

fn size(file: &PathBuf) -> anyhow::Result<u64> {
    let metadata = fs::metadata(file).with_context(|| format!("read {}", file.display()))?;
    Ok(metadata.len())
}
