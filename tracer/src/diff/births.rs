//! What births of one kind by creators of one name cost.
//!
//! In: the births of a report. Out: series of how many there were, and of how long creators stood still. Must not
//! know: the other recording, chance.

use rustc_hash::FxHashMap;

use super::{
    Creators,
    names::normalised,
    series::{FEWEST_EVENTS, Series},
    slices::{Slices, Tally},
};
use crate::{
    model::{BirthKind, Comm},
    report,
};

#[derive(Debug, Default)]
pub struct Births {
    pub by: FxHashMap<Creators, Cost>,
    /// Each birth has been told apart: else only sums are known.
    pub told_apart: bool,
    /// How long creators stood still.
    pub stalls: bool,
}

#[derive(Debug)]
pub struct Cost {
    /// A second of the window.
    pub rate: Series,
    /// Nanoseconds a birth; `None`: not measured, or too few of them.
    pub stall: Option<Series>,
}

#[derive(Default)]
struct Told {
    births: Tally,
    stalls: Vec<f64>,
}

impl Births {
    pub fn of(births: &report::Births, slices: Slices) -> Births {
        let told_apart = births.forks.len() as u64 == births.forks_total;
        Births {
            by: if told_apart {
                one_by_one(&births.forks, slices)
            } else {
                summed(&births.costs, slices)
            },
            told_apart,
            stalls: births.syscalls,
        }
    }
}

fn creators(kind: BirthKind, comm: &Comm) -> Creators {
    Creators {
        kind,
        comm: normalised(comm),
    }
}

/// They are in order of time.
fn one_by_one(forks: &[report::Fork], slices: Slices) -> FxHashMap<Creators, Cost> {
    let mut told: FxHashMap<Creators, Told> = FxHashMap::default();
    for fork in forks {
        let of = told
            .entry(creators(fork.kind, &fork.parent.comm))
            .or_default();
        of.births.count(slices, Some(fork.at_ns), 1);
        of.stalls.extend(fork.syscall.map(|stall| stall.0 as f64));
    }
    let cost = |told: Told| Cost {
        rate: told.births.series(slices),
        stall: (told.stalls.len() >= FEWEST_EVENTS).then(|| Series::of_events(&told.stalls)),
    };
    told.into_iter()
        .map(|(key, told)| (key, cost(told)))
        .collect()
}

fn summed(costs: &[report::ForkCost], slices: Slices) -> FxHashMap<Creators, Cost> {
    let mut sums: FxHashMap<Creators, (u64, u64, u64)> = FxHashMap::default();
    for cost in costs {
        let sum = sums.entry(creators(cost.kind, &cost.comm)).or_default();
        sum.0 += cost.count;
        if let Some(stall) = &cost.syscall {
            sum.1 += stall.sum.0;
            sum.2 += stall.count;
        }
    }
    let duration = slices.duration().0 as f64;
    let cost = |(births, stall, stalls): (u64, u64, u64)| Cost {
        rate: Series::of_total(births as f64 * 1e9, duration),
        stall: (stalls > 0).then(|| Series::of_total(stall as f64, stalls as f64)),
    };
    sums.into_iter()
        .map(|(key, sums)| (key, cost(sums)))
        .collect()
}
