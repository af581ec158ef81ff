//! Who and what is behind the waits of the whole target.

use rustc_hash::FxHashMap;

use super::{Found, MATTERS, Scene, duration, found, is_thread, name, percent, plural, ratio};
use crate::{
    model::{Nanos, Who},
    report::{ChargeKind, Process},
};

/// Demand for CPUs, in the CPUs there are. A little more than 1 is an ordinary busy machine.
const CROWDED: f64 = 1.2;
/// A thread that wants a CPU for less than this share of the window is not one of the crowd.
const WANTS_A_CPU: f64 = 0.1;
/// CPUs' worth of waiting for each other, and of idle time meanwhile, that do not go together.
const CONFINED_WAIT: f64 = 0.3;
const CONFINED_IDLE: f64 = 0.5;
/// Of the waits.
const MOSTLY: f64 = 0.5;
const THROTTLED: f64 = 0.1;
const REAL_TIME: f64 = 0.3;
/// Two equals that wait for each other have a half each.
const NEIGHBOUR: f64 = 0.6;

/// Threads of the target wait for each other.
pub fn more_threads_than_cpus(scene: &Scene<'_>) -> Option<Found> {
    let of_the_target = scene.shares().filter(|(_, share)| {
        let chosen = |who: &Who| scene.chosen.contains(&who.pid);
        let same = share.same_process == Some(true) || share.who.as_ref().is_some_and(chosen);
        is_thread(share.kind) && same
    });
    let waited: Nanos = of_the_target.map(|(_, share)| share.ns).sum();
    if scene.share(waited) < MOSTLY {
        return None;
    }
    let totals = scene.report.processes.iter().map(|process| &process.totals);
    let ran: Nanos = totals.map(|totals| totals.run).sum();
    let (ran, waited_cpus) = (scene.cpus_of(ran), scene.cpus_of(waited));
    let (wanted, cpus) = (ran + waited_cpus, scene.facts.cpus.len());
    let wants = |run: Nanos, wait: Nanos| scene.cpus_of(run) + scene.cpus_of(wait) >= WANTS_A_CPU;
    let crowd_of = |process: &&Process| {
        let threads = process.threads.iter();
        threads
            .filter(|thread| wants(thread.totals.run, thread.totals.wait))
            .count()
    };
    let crowds: Vec<usize> = scene
        .report
        .processes
        .iter()
        .map(|process| crowd_of(&process))
        .filter(|&threads| threads > 0)
        .collect();
    let crowd: usize = crowds.iter().sum();
    let evidence = format!(
        "they ran {ran:.2} CPUs in all and waited {waited_cpus:.2} more for each other, {} of all their waits",
        percent(scene.share(waited))
    );
    let idle: Nanos = scene.report.system.cpus.iter().map(|cpu| cpu.idle).sum();
    let idle = scene.cpus_of(idle);
    if idle >= CONFINED_IDLE && waited_cpus >= CONFINED_WAIT {
        return found(
            waited_cpus,
            format!(
                "threads wait for each other while {idle:.1} of {cpus} CPUs are idle: they are bound to few CPUs, or badly spread"
            ),
            evidence,
            "Let them use more CPUs: see their affinity (taskset -p) and the cpuset.cpus of their cgroup".into(),
        );
    }
    if crowd <= 1 || wanted < CROWDED * cpus.max(1) as f64 {
        return None;
    }
    found(
        waited_cpus,
        format!(
            "more runnable threads than CPUs: {crowd} threads of {} want {wanted:.1} CPUs, and there are {cpus}",
            plural(crowds.len(), "process", "processes")
        ),
        evidence,
        "Run fewer of them at once, about one for each CPU, or give them more CPUs".into(),
    )
}

/// The waits of a cgroup's threads.
struct Group<'a> {
    waited: Nanos,
    throttled: Nanos,
    /// One of those in it.
    process: &'a Process,
}

/// A cgroup whose threads may not run though there may be CPUs for them.
pub fn out_of_quota(scene: &Scene<'_>) -> Option<Found> {
    let mut groups: FxHashMap<(Option<&str>, Option<u64>), Group<'_>> = FxHashMap::default();
    for (process, share) in scene.shares() {
        let group = (process.cgroup.as_deref(), process.cgroup_id);
        let group = groups.entry(group).or_insert(Group {
            waited: Nanos::ZERO,
            throttled: Nanos::ZERO,
            process,
        });
        group.waited += share.ns;
        if share.kind == ChargeKind::Throttled {
            group.throttled += share.ns;
        }
    }
    let worst = |group: &Group<'_>| (group.throttled, group.process.pid);
    let Group {
        waited,
        throttled,
        process,
    } = groups.into_values().max_by_key(worst)?;
    let weight = scene.cpus_of(throttled);
    let share = ratio(throttled, waited);
    if weight < MATTERS || share < THROTTLED {
        return None;
    }
    let group = match &process.cgroup {
        Some(path) => path.clone(),
        None => format!("the cgroup of {}", name(process.comm, process.pid)),
    };
    found(
        weight,
        format!("{group} runs out of its CPU quota"),
        format!(
            "its threads were throttled for {}, {} of all their waits",
            duration(throttled),
            percent(share)
        ),
        format!(
            "Raise cpu.max of {group} (or of the cgroup above it that has the limit), or run fewer threads in it at once"
        ),
    )
}

/// A real-time thread that others stand back for; with its process.
pub fn real_time(scene: &Scene<'_>) -> Option<(Found, u32)> {
    let mut threads: FxHashMap<u32, (Nanos, Who)> = FxHashMap::default();
    for (_, share) in scene.shares().filter(|(_, share)| is_thread(share.kind)) {
        if let Some(who) = share.who
            && policy(&who).is_some()
        {
            threads.entry(who.tid).or_insert((Nanos::ZERO, who)).0 += share.ns;
        }
    }
    let (ns, who) = threads
        .into_values()
        .max_by_key(|(ns, who)| (*ns, who.tid))?;
    let (weight, share) = (scene.cpus_of(ns), scene.share(ns));
    if weight < MATTERS || share < REAL_TIME {
        return None;
    }
    let found = found(
        weight,
        format!(
            "{}, a real-time thread ({}), is behind {} of the waits",
            name(who.comm, who.tid),
            policy(&who)?,
            percent(share)
        ),
        of_all(scene, ns),
        "Bind it to a CPU of its own (taskset, cpuset), lower its priority, or let it do less at a time".into(),
    );
    found.map(|found| (found, who.pid))
}

/// Numbers: include/uapi/linux/sched.h.
fn policy(who: &Who) -> Option<String> {
    match who.priority.policy {
        1 => Some(format!("SCHED_FIFO {}", who.priority.rt_priority)),
        2 => Some(format!("SCHED_RR {}", who.priority.rt_priority)),
        6 => Some("SCHED_DEADLINE".into()),
        _ => None,
    }
}

/// Another process, unless it is `blamed` already.
pub fn one_neighbour(scene: &Scene<'_>, blamed: Option<u32>) -> Option<Found> {
    let mut processes: FxHashMap<u32, (Nanos, Who)> = FxHashMap::default();
    for (_, share) in scene.shares() {
        if let (ChargeKind::Thread, Some(false), Some(who)) =
            (share.kind, share.same_process, share.who)
        {
            processes.entry(who.pid).or_insert((Nanos::ZERO, who)).0 += share.ns;
        }
    }
    let (ns, who) = processes
        .into_values()
        .max_by_key(|(ns, who)| (*ns, who.pid))?;
    let (weight, share) = (scene.cpus_of(ns), scene.share(ns));
    if weight < MATTERS || share < NEIGHBOUR || blamed == Some(who.pid) {
        return None;
    }
    let (text, remedy) = if who.own {
        (
            "this tracer itself is behind most of the waits".into(),
            "Trace less: a --pid instead of the whole system; or bind the tracer to another CPU (taskset)",
        )
    } else {
        (
            format!("{} is behind most of the waits", name(who.comm, who.pid)),
            "Move it to other CPUs (taskset, cpuset), or give it less weight (nice, cpu.weight)",
        )
    };
    found(weight, text, of_all(scene, ns), remedy.into())
}

fn of_all(scene: &Scene<'_>, ns: Nanos) -> String {
    format!(
        "{} of {} of waiting ({}) were for it",
        duration(ns),
        duration(scene.waited),
        percent(scene.share(ns))
    )
}
