//! How long a word takes from one process to another.

use crate::model::Nanos;
use crate::output::human;
use crate::verify::{Claim, Finding, Lab, Measurement, Samples, Unit, Verdict, lab::Pattern};

/// There and back: a wake-up of an idle CPU takes longer.
const ROUNDS: u64 = 6_000;
const ROUNDS_APART: u64 = 2_000;

struct Medium {
    name: &'static str,
    pattern: &'static str,
    /// Whoever waits sleeps.
    sleeps: bool,
}

const MEDIA: [Medium; 6] = [
    Medium {
        name: "shared_memory",
        pattern: "relay-processes-spin",
        sleeps: false,
    },
    Medium {
        name: "futex",
        pattern: "relay-processes-futex",
        sleeps: true,
    },
    Medium {
        name: "pipe",
        pattern: "relay-processes-pipe",
        sleeps: true,
    },
    Medium {
        name: "socketpair",
        pattern: "relay-processes-socket",
        sleeps: true,
    },
    Medium {
        name: "tcp",
        pattern: "relay-processes-tcp",
        sleeps: true,
    },
    Medium {
        name: "message_queue",
        pattern: "relay-processes-queue",
        sleeps: true,
    },
];
/// What is called IPC: the kernel copies.
const COPIED: [&str; 4] = ["pipe", "socketpair", "tcp", "message_queue"];
const PLACES: [(&str, usize); 2] = [("one_cpu", 1), ("two_cpus", 2)];

pub fn run(lab: &Lab) -> anyhow::Result<Finding> {
    let mut finding = Finding {
        method: "Two processes, both on one CPU or each on its own; half of a round, there and back, a sample the mean of \
                 20 rounds. Through shared_memory and futex goes a word that both have mapped: the first looks at it \
                 until it changes, the second sleeps until it is woken. The others carry a byte, the queue a word"
            .to_owned(),
        ..Finding::default()
    };
    let mut known = Vec::new();
    for medium in &MEDIA {
        for (place, cpus) in PLACES {
            let name = format!("talk.{}.{place}", medium.name);
            let measurement = match one_way(lab, medium, cpus) {
                Ok(samples) => Measurement::of(name, Unit::Nanoseconds, &samples),
                Err(why) => Measurement::unavailable(name, Unit::Nanoseconds, why.to_string()),
            };
            known.push((medium.name, measurement.clone()));
            finding.measurements.push(measurement);
        }
    }
    let of = |name: &str| {
        let found = finding.measurements.iter().find(|it| it.name == name);
        found.cloned().unwrap_or_else(|| {
            Measurement::unavailable(name, Unit::Nanoseconds, "it was not measured")
        })
    };
    let spin = of("talk.shared_memory.two_cpus");
    let pipe = of("talk.pipe.one_cpu");
    let copied: Vec<f64> = known
        .iter()
        .filter(|(medium, _)| COPIED.contains(medium))
        .filter_map(|(_, measurement)| measurement.median())
        .collect();
    let futex = [of("talk.futex.one_cpu"), of("talk.futex.two_cpus")].map(|it| it.median());
    finding.claims = vec![
        Claim::by(
            "talk.shared_memory",
            "Shared memory talks in nanoseconds",
            &spin,
            |summary| {
                let text = format!(
                    "a word is seen on the other CPU after {}; where the other one sleeps and is woken (futex) after {} \
                     on one CPU and {} on two",
                    time(Some(summary.median)),
                    time(futex[0]),
                    time(futex[1])
                );
                let fast = |ns: &f64| *ns < 1_000.0;
                let verdict = match (fast(&summary.median), futex.iter().flatten().all(fast)) {
                    (true, true) => Verdict::Confirmed,
                    (true, false) => Verdict::Depends,
                    (false, _) => Verdict::Refuted,
                };
                (verdict, text)
            },
        ),
        Claim::by(
            "talk.ipc",
            "Processes talk by IPC in micro- to milliseconds",
            &pipe,
            |_| slow(&copied),
        ),
        Claim::by(
            "talk.processes",
            "Only threads talk through shared memory, processes need IPC",
            &spin,
            |summary| {
                let text = format!(
                    "the two that share it here are processes, and a word takes {} between them",
                    time(Some(summary.median))
                );
                (Verdict::Refuted, text)
            },
        ),
    ];
    Ok(finding)
}

fn one_way(lab: &Lab, medium: &Medium, cpus: usize) -> anyhow::Result<Samples> {
    anyhow::ensure!(lab.cpus.len() >= cpus, "there is one CPU");
    anyhow::ensure!(
        medium.sleeps || cpus > 1,
        "who looks keeps the CPU from who answers"
    );
    let rounds = if cpus == 1 { ROUNDS } else { ROUNDS_APART };
    let pattern = Pattern::named(medium.pattern)
        .with("--cpus", cpus)
        .with("--count", lab.scaled(rounds));
    let measured = lab.play(&pattern)?;
    Ok(measured.get("round_ns")?.by(2.0))
}

/// Of all that the kernel copies, on one CPU and on two.
fn slow(medians: &[f64]) -> (Verdict, String) {
    let low = medians.iter().copied().min_by(f64::total_cmp);
    let high = medians.iter().copied().max_by(f64::total_cmp);
    let fitting = medians
        .iter()
        .filter(|&&ns| (1e3..1e7).contains(&ns))
        .count();
    let verdict = match fitting {
        0 => Verdict::Refuted,
        all if all == medians.len() => Verdict::Confirmed,
        _ => Verdict::Depends,
    };
    let text = format!(
        "one way takes {} to {} by what the kernel copies, on one CPU or two",
        time(low),
        time(high)
    );
    (verdict, text)
}

fn time(ns: Option<f64>) -> String {
    ns.map_or_else(|| "n/a".to_owned(), |ns| human::duration(Nanos(ns as u64)))
}
