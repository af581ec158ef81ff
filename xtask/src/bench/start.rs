//! From the start of the program to the first event it can see: its window begins once all programs are
//! attached and every thread is known.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::json;

use super::findings::{Figure, Findings, spread_json};
use super::report::Run;
use super::stats::Spread;
use super::table::{Table, spread};
use super::tools::on_cpu;
use super::{Bench, monotonic_ns};

pub fn run(bench: &Bench) -> anyhow::Result<Findings> {
    let mut times = Vec::new();
    for _ in 0..bench.plan(9, 5) {
        let tracer = on_cpu(None, &bench.tracer);
        let spawned = monotonic_ns();
        let run = Run::of(bench, tracer, "300ms", Duration::from_secs(30))?;
        let (began, _) = run.window_ns().context("read when the window began")?;
        ensure!(began > spawned, "the window began before the program");
        times.push((began - spawned) as f64 / 1e6);
    }
    let times_ms = Spread::of(&times);
    let mut table = Table::new(&["", "ms"]);
    table.row(["start to first event".to_owned(), spread(times_ms)]);
    Ok(Findings {
        table,
        notes: vec![format!("{} starts.", times.len())],
        json: json!({ "start_to_first_event_ms": spread_json(times_ms) }),
        figures: times_ms
            .map(|times| (Figure::StartMs, times.median))
            .into_iter()
            .collect(),
        failures: Vec::new(),
    })
}
