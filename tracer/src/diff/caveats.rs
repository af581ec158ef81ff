//! What two recordings differ in before anything is measured, and what of them is not to be trusted.
//!
//! In: where, how and how well each was made. Out: sentences. Must not know: what changed.

use super::{Recorded, Side};
use crate::report::Verdict;

pub fn caveats(before: &Recorded, after: &Recorded) -> Vec<String> {
    let mut found = Vec::new();
    for (recorded, name) in [(before, "BEFORE"), (after, "AFTER")] {
        let verdict = match recorded.side.quality.verdict {
            Verdict::Valid => continue,
            Verdict::Degraded => "degraded",
            Verdict::Invalid => "invalid",
        };
        let reason = recorded.side.quality.reasons.first();
        let reason = reason.map_or(String::new(), |reason| format!(": {reason}"));
        found.push(format!("{name} is {verdict}{reason}"));
    }
    found.extend(differences(&before.side, &after.side));
    for (recorded, name) in [(before, "BEFORE"), (after, "AFTER")] {
        if recorded.groups.are_crowded() {
            found.push(format!(
                "{name} has more names than are told apart: some of them are (others)"
            ));
        }
        if !recorded.births.told_apart {
            found.push(format!(
                "{name} has more births than are told apart: what they cost has no interval"
            ));
        }
    }
    if before.births.stalls != after.births.stalls {
        let name = if before.births.stalls {
            "BEFORE"
        } else {
            "AFTER"
        };
        found.push(format!("only {name} was recorded with --forks"));
    }
    found
}

fn differences(before: &Side, after: &Side) -> impl Iterator<Item = String> {
    let pairs = facts(before).into_iter().zip(facts(after));
    let different = pairs.filter(|((_, before), (_, after))| before != after);
    different.map(|((what, before), (_, after))| format!("different {what}: {before} and {after}"))
}

/// What should be the same on both sides.
fn facts(side: &Side) -> [(&'static str, String); 9] {
    let host = &side.host;
    [
        ("hosts", host.hostname.clone()),
        ("kernels", host.kernel.clone()),
        ("architectures", host.arch.clone()),
        ("numbers of CPUs", host.cpus.to_string()),
        ("preemption modes", known(host.preempt_mode.as_ref())),
        ("timer frequencies", known(host.hz.as_ref())),
        ("BPF schedulers", known(host.sched_ext.as_ref())),
        ("hypervisors", known(host.hypervisor.as_ref())),
        ("targets", side.target.description.clone()),
    ]
}

fn known(fact: Option<&impl ToString>) -> String {
    fact.map_or("n/a".into(), ToString::to_string)
}
