//! What creating processes keeps their creators from.

use super::{Found, MATTERS, Scene, duration, found, name, percent, plural, text};
use crate::{
    model::{BirthKind, Nanos},
    report::{Births, Fork, ForkCost},
};

/// A request that comes meanwhile waits as long: most services promise an answer within a few of these.
const ONE_STALL: Nanos = Nanos(5_000_000);
/// Of the children: these need nothing of what was copied for them.
const MOSTLY_EXEC: f64 = 0.5;

/// Programs that stand still while the kernel copies their page tables: the one that loses most by it.
pub fn stalls_in_fork(scene: &Scene<'_>) -> Option<Found> {
    let births = scene.report.births.as_ref()?;
    let costs = births.costs.iter();
    let candidates = costs
        // The sum of those that were too many to be kept apart names nobody.
        .filter(|cost| cost.kind == BirthKind::Fork && !cost.comm.bytes().is_empty())
        .filter_map(|cost| stalls(scene, births, cost));
    candidates.max_by(|a, b| a.weight.total_cmp(&b.weight))
}

fn stalls(scene: &Scene<'_>, births: &Births, cost: &ForkCost) -> Option<Found> {
    let taken = cost.syscall.as_ref()?;
    let longest = taken.values.as_ref()?.max;
    let weight = scene.cpus_of(taken.sum);
    if weight < MATTERS && longest < ONE_STALL {
        return None;
    }
    let forks: Vec<&Fork> = births
        .forks
        .iter()
        .filter(|fork| fork.kind == BirthKind::Fork && fork.parent.comm == cost.comm)
        .collect();
    let mut evidence = format!(
        "{} stood still for {} in all, {:.2} % of the window, the longest for {}{}",
        plural(taken.count as usize, "fork", "forks"),
        duration(taken.sum),
        weight * 100.0,
        duration(longest),
        resident(&forks)
    );
    if let Some(per_gib) = cost.per_gib.filter(|per_gib| per_gib.ns > per_gib.error) {
        let ns = Nanos(per_gib.ns as u64);
        evidence.push_str(&format!("; {} for each GiB in memory", duration(ns)));
    }
    let execs = forks.iter().filter(|fork| fork.fork_to_exec.is_some());
    let execs = execs.count() as f64 / forks.len().max(1) as f64;
    let remedy = if execs >= MOSTLY_EXEC {
        evidence.push_str(&format!("; {} of the children called exec", percent(execs)));
        "Start programs with posix_spawn or vfork, which copy no page tables, or from a small process that does nothing else"
    } else {
        "Fork with fewer pages in memory: give back what is not needed, keep the rest out of the children (MADV_DONTFORK), or use huge pages, which need fewer page tables"
    };
    found(
        weight,
        format!("{} stands still while it forks", creator(cost, &forks)),
        evidence,
        remedy.into(),
    )
}

/// `redis-server/1234`; without a number when there are several of that name.
fn creator(cost: &ForkCost, forks: &[&Fork]) -> String {
    match forks {
        [first, rest @ ..] if rest.iter().all(|fork| fork.parent.pid == first.parent.pid) => {
            name(cost.comm, first.parent.pid)
        }
        _ => text(cost.comm),
    }
}

/// What the one with the longest stall had to copy, or to describe.
fn resident(forks: &[&Fork]) -> String {
    let longest = forks.iter().max_by_key(|fork| fork.syscall);
    match longest.and_then(|fork| fork.syscall.and(fork.parent_rss_bytes)) {
        Some(bytes) => format!(" with {:.0} MiB in memory", bytes as f64 / (1 << 20) as f64),
        None => String::new(),
    }
}
