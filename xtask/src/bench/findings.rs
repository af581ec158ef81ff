//! What a section found: tables for people, JSON for programs, figures for the budgets.

use serde_json::{Value, json};

use super::stats::Spread;
use super::table::{NOT_MEASURED, Table};

#[derive(Default)]
pub struct Findings {
    pub table: Table,
    /// Below the table, a line each.
    pub notes: Vec<String>,
    pub json: Value,
    pub figures: Vec<(Figure, f64)>,
    /// What did not run, and why.
    pub failures: Vec<String>,
}

/// What a budget can be about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Figure {
    SystemRatio,
    UnrelatedRatio,
    Lost,
    CoreMillionsPerSecond,
    StartMs,
    MemoryMib,
    PipeBytes,
    MessagingBytes,
    ReportMillionsPerSecond,
    ReportRatio,
}

pub fn spread_json(spread: Option<Spread>) -> Value {
    let Some(spread) = spread else {
        return Value::Null;
    };
    json!({
        "count": spread.count,
        "min": spread.min,
        "lower_quartile": spread.lower_quartile,
        "median": spread.median,
        "upper_quartile": spread.upper_quartile,
        "max": spread.max,
    })
}

impl Findings {
    /// A section that did not run.
    pub fn failed(error: &anyhow::Error) -> Findings {
        let reason = format!("{error:#}");
        Findings {
            notes: vec![format!("{NOT_MEASURED}: {reason}")],
            json: json!({ "error": reason }),
            failures: vec![reason],
            ..Findings::default()
        }
    }

    pub fn print(&self) {
        print!("{}", self.table);
        if !self.table.is_empty() && !self.notes.is_empty() {
            println!();
        }
        for note in &self.notes {
            println!("- {note}");
        }
    }
}
