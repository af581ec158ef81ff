//! What tools add to one round trip through a pipe between two threads on one CPU.

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::Bench;
use super::findings::{Figure, Findings, spread_json};
use super::load::PIPE;
use super::paired::{self, Added, Outcome, Settings};
use super::stats::Spread;
use super::table::{NOT_MEASURED, Table, spread};
use super::tools::{SYSTEM, TOOLS, UNRELATED};

pub fn run(bench: &Bench) -> anyhow::Result<Findings> {
    let settings = Settings {
        load: PIPE,
        rounds: bench.plan(9, 3),
        length: Duration::from_millis(bench.plan(1000, 400)),
        tool_cpu: Some(bench.cpus.tool),
    };
    let outcome = paired::run(bench, &settings)?;
    let mut findings = findings(&outcome, &settings, "us a round trip", 1e3);
    let figures = [
        (Figure::SystemRatio, SYSTEM),
        (Figure::UnrelatedRatio, UNRELATED),
    ];
    let measured = figures
        .into_iter()
        .filter_map(|(figure, tool)| Some((figure, outcome.ratio(tool)?.median)));
    findings.figures.extend(measured);
    Ok(findings)
}

/// `unit` is so many nanoseconds.
pub fn findings(outcome: &Outcome, settings: &Settings, unit: &str, ns: f64) -> Findings {
    let in_unit = |values: &[f64]| Spread::of(values).map(|spread| spread.map(|v| v / ns));
    let mut table = Table::new(&["tool", &format!("added, {unit}"), "ratio to runqlat"]);
    let mut json = Map::new();
    let noise = &outcome.nothing;
    let ratio = Spread::of(&noise.ratios);
    table.row([
        "(nothing: noise)".to_owned(),
        spread(in_unit(&noise.ns)),
        spread(ratio),
    ]);
    for tool in &TOOLS {
        let nothing = Added::default();
        let added = outcome.tools.get(tool.name).unwrap_or(&nothing);
        let ratios = outcome.ratio(tool.name);
        let ns = in_unit(&added.ns).filter(|_| added.failed.is_none());
        table.row([tool.name.to_owned(), spread(ns), spread(ratios)]);
        json.insert(
            tool.name.to_owned(),
            json!({
                "added_ns": spread_json(Spread::of(&added.ns)),
                "ratio": spread_json(ratios),
                "added_ns_by_round": added.ns,
                "error": added.failed,
            }),
        );
    }
    let base = in_unit(&outcome.base);
    let mut notes = vec![format!(
        "Without a tool: {} {unit}; {} rounds of {} loops.",
        spread(base),
        settings.rounds,
        outcome.loops,
    )];
    notes.extend(verdicts(outcome));
    notes.extend(
        outcome
            .failures
            .iter()
            .map(|why| format!("{NOT_MEASURED}: {why}")),
    );
    Findings {
        table,
        notes,
        json: json!({
            "loops": outcome.loops,
            "rounds": settings.rounds,
            "noise_ns": spread_json(Spread::of(&noise.ns)),
            "base_ns": spread_json(Spread::of(&outcome.base)),
            "tools": Value::Object(json),
            "verdicts": outcome.notes,
        }),
        figures: Vec::new(),
        failures: outcome.failures.clone(),
    }
}

/// A tool that loses events works less: what our reports said of themselves belongs to the figures.
fn verdicts(outcome: &Outcome) -> Option<String> {
    let counted = outcome.notes.iter();
    let counted: Vec<String> = counted
        .map(|(note, count)| format!("{note} {count}x"))
        .collect();
    (!counted.is_empty()).then(|| format!("Verdicts of the reports: {}.", counted.join(", ")))
}
