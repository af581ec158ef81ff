//! What switches cost in place, by kind.

use std::io;

use super::grid::{self, Column, column};
use super::head::wrap;
use crate::model::Nanos;
use crate::output::{Style, human};
use crate::report::{SwitchCost, SwitchCosts, SwitchKind};

/// What a kind gets at least.
const NAME: usize = 20;

const COLUMNS: [Column; 4] = [
    column("COUNT", 0),
    column("P50", 0),
    column("P99", 1),
    column("TOTAL", 2),
];

pub fn write(costs: &SwitchCosts, style: &Style, out: &mut dyn io::Write) -> io::Result<()> {
    let text = match costs.cpu_percent {
        Some(percent) => format!(
            "All of them: {}, {} of the CPU time. Measured {}",
            length(costs.total_ns()),
            human::percentage(percent),
            costs.method
        ),
        None if costs.kinds.is_empty() => format!("Switches in place: n/a: {}", costs.method),
        None => format!("Measured {}", costs.method),
    };
    if !costs.kinds.is_empty() {
        let rows: Vec<grid::Row<'_>> = costs.kinds.iter().map(row).collect();
        grid::write("SWITCHES IN PLACE", NAME, &COLUMNS, &rows, style, out)?;
    }
    wrap(&text, style.width)
        .iter()
        .try_for_each(|line| writeln!(out, "{line}"))
}

fn row(cost: &SwitchCost) -> grid::Row<'_> {
    grid::Row {
        before: String::new(),
        name: in_words(cost.kind).as_bytes(),
        after: String::new(),
        cells: vec![
            human::count(cost.count),
            length(cost.p50_ns),
            length(cost.p99_ns),
            length(cost.total_ns),
        ],
    }
}

fn length(ns: f64) -> String {
    human::duration(Nanos(ns as u64))
}

fn in_words(kind: SwitchKind) -> &'static str {
    match kind {
        SwitchKind::SameSpace => "same address space",
        SwitchKind::OtherSpace => "other address space",
        SwitchKind::ToKernelThread => "to a kernel thread",
        SwitchKind::ToIdle => "to idle",
        SwitchKind::BackToSameSpace => "back, same space",
        SwitchKind::BackToOtherSpace => "back, other space",
    }
}
