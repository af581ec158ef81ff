//! Whether anything is lost when every CPU switches as fast as it can, with the default sizes.

use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::Context as _;

use super::Bench;
use super::findings::{Figure, Findings};
use super::load::PIPE;
use super::process::{Process, pause};
use super::report::Run;
use super::table::{NOT_MEASURED, Table};
use super::tools::on_cpu;

/// Never reached: the loads are stopped.
const ENDLESS: u64 = 1_000_000_000;

pub fn run(bench: &Bench) -> anyhow::Result<Findings> {
    let mut pipes = Vec::new();
    for cpu in [bench.cpus.tool, bench.cpus.load] {
        pipes.push(PIPE.ready_on(bench, Some(cpu), ENDLESS)?.go()?);
    }
    let mut stress = Command::new("stress-ng");
    stress.args(["--switch", "4", "--timeout", "10m"]);
    // It writes its files where it stands.
    stress.current_dir(&bench.scratch);
    let mut stress = Process::start("stress-ng", &mut stress, Stdio::null(), &bench.scratch)?;
    pause(Duration::from_secs(1))?;

    let tracer = on_cpu(None, &bench.tracer);
    let run = Run::of(bench, tracer, "10s", Duration::from_secs(120))?;
    stress.must_run()?;
    for pipe in &mut pipes {
        pipe.must_run().context("keep up the traffic")?;
    }

    let mut table = Table::new(&["", "count"]);
    let mut lost = Some(0);
    for name in ["lost_records", "lost_switches", "missed_events"] {
        let count = run.count("quality", name);
        lost = lost.zip(count).map(|(lost, count)| lost + count);
        table.row([name.to_owned(), shown(count)]);
    }
    table.row([
        "switches".to_owned(),
        shown(run.count("system", "switches")),
    ]);
    table.row(["kernel events".to_owned(), shown(run.events())]);
    table.row(["verdict".to_owned(), run.verdict().to_owned()]);
    Ok(Findings {
        table,
        json: run.json(),
        figures: lost
            .map(|lost| (Figure::Lost, lost as f64))
            .into_iter()
            .collect(),
        ..Findings::default()
    })
}

fn shown(count: Option<u64>) -> String {
    count.map_or_else(|| NOT_MEASURED.to_owned(), |count| count.to_string())
}
