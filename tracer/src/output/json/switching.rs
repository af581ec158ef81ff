//! What switches cost in place. The private structs here are the schema.

use serde::Serialize;

use crate::output::words;
use crate::report;

#[derive(Serialize)]
pub struct SwitchCosts<'a> {
    method: &'a str,
    empty_pair_ns: Option<f64>,
    own_ns: Option<f64>,
    total_ns: Option<f64>,
    cpu_percent: Option<f64>,
    kinds: Vec<Kind>,
}

#[derive(Serialize)]
struct Kind {
    kind: &'static str,
    count: u64,
    total_ns: f64,
    p50_ns: f64,
    p99_ns: f64,
}

pub fn costs(costs: &report::SwitchCosts) -> SwitchCosts<'_> {
    SwitchCosts {
        method: &costs.method,
        empty_pair_ns: costs.empty_pair_ns,
        own_ns: costs.own_ns,
        total_ns: (!costs.kinds.is_empty()).then(|| costs.total_ns()),
        cpu_percent: costs.cpu_percent,
        kinds: costs.kinds.iter().map(kind).collect(),
    }
}

fn kind(cost: &report::SwitchCost) -> Kind {
    Kind {
        kind: words::switch_kind(cost.kind),
        count: cost.count,
        total_ns: cost.total_ns,
        p50_ns: cost.p50_ns,
        p99_ns: cost.p99_ns,
    }
}
