//! What a switch costs: two that wake each other in turn, as threads of one process and as two processes.

use crate::verify::{
    Claim, FOLKLORE, Finding, Lab, Measurement, Samples, Summary, Unit, Verdict, lab::Pattern,
    number,
};

/// Rounds of each pattern, of two switches each.
const ROUNDS: u64 = 40_000;
/// Of those that the tracer watches.
const TRACED: u64 = 10_000;
/// Memory that each of the two uses every time.
const WORKING_SETS: [(&str, u64); 3] = [
    ("16KiB", 16 << 10),
    ("256KiB", 256 << 10),
    ("4MiB", 4 << 20),
];
/// With memory a round takes longer.
const ROUNDS_WITH_MEMORY: u64 = 2_000;

struct Party {
    name: &'static str,
    futex: &'static str,
    pipe: &'static str,
    /// What its switches are.
    kind: &'static str,
}

const THREADS: Party = Party {
    name: "threads",
    futex: "relay-threads-futex",
    pipe: "relay-threads-pipe",
    kind: "same_process",
};
const PROCESSES: Party = Party {
    name: "processes",
    futex: "relay-processes-futex",
    pipe: "relay-processes-pipe",
    kind: "other_process",
};

pub fn run(lab: &Lab) -> anyhow::Result<Finding> {
    let mut finding = Finding {
        method: "Two on one CPU wake each other in turn, through a futex or a pipe; a round is two switches and two \
                 wake-ups, a sample the mean of 20 rounds. With memory, each of them uses so much of it in every \
                 round, and what the same memory takes alone is subtracted"
            .to_owned(),
        ..Finding::default()
    };
    let [threads, processes] = [
        rounds(lab, &THREADS, &mut finding)?,
        rounds(lab, &PROCESSES, &mut finding)?,
    ];
    let cross = cross_cpu(lab)?;
    finding.measurements.push(cross);
    for party in [&THREADS, &PROCESSES] {
        refills(lab, party, &mut finding)?;
        kinds(lab, party, &mut finding)?;
    }
    let half = Measurement::of(
        "switch.threads.half_round",
        Unit::Nanoseconds,
        &threads.by(2.0),
    );
    finding.claims.push(Claim::by(
        "switch.micros",
        "A context switch takes 1 to 10 us",
        &half,
        one_to_ten,
    ));
    finding.claims.push(cheaper(&threads, &processes));
    Ok(finding)
}

/// Through both media; answers those of the futex.
fn rounds(lab: &Lab, party: &Party, finding: &mut Finding) -> anyhow::Result<Samples> {
    let count = lab.scaled(ROUNDS);
    let play = |pattern: &str| {
        let measured = lab.play(&Pattern::named(pattern).with("--count", count))?;
        anyhow::Ok(measured.get("round_ns")?.clone())
    };
    let (futex, pipe) = (play(party.futex)?, play(party.pipe)?);
    for (medium, samples) in [("futex", &futex), ("pipe", &pipe)] {
        let name = format!("switch.{}.{medium}.round", party.name);
        let measurement = Measurement::of(name, Unit::Nanoseconds, samples);
        finding.measurements.push(measurement);
    }
    Ok(futex)
}

fn cross_cpu(lab: &Lab) -> anyhow::Result<Measurement> {
    const NAME: &str = "switch.threads.two_cpus.round";
    if lab.cpus.len() < 2 {
        let why = "there is one CPU";
        return Ok(Measurement::unavailable(NAME, Unit::Nanoseconds, why));
    }
    let pattern = Pattern::named(THREADS.futex)
        .with("--cpus", 2)
        .with("--count", lab.scaled(ROUNDS / 4));
    let measured = lab.play(&pattern)?;
    let samples = measured.get("round_ns")?;
    Ok(Measurement::of(NAME, Unit::Nanoseconds, samples)
        .noted("each on a CPU of its own: the wake-up crosses, and an idle CPU must wake"))
}

/// What a round takes beyond the switch and the use of the memory itself: caches and TLB are filled again.
fn refills(lab: &Lab, party: &Party, finding: &mut Finding) -> anyhow::Result<()> {
    let play = |size: u64| {
        let pattern = Pattern::named(party.pipe)
            .with("--size", size.max(1))
            .with("--count", lab.scaled(ROUNDS_WITH_MEMORY));
        lab.play(&pattern)
    };
    let empty = play(0)?.get("round_ns")?.median().unwrap_or_default();
    for (label, size) in WORKING_SETS {
        let measured = play(size)?;
        let alone = measured.get("touch_ns")?.median().unwrap_or_default();
        let refill = measured.get("round_ns")?.less(empty + 2.0 * alone);
        let name = format!("switch.{}.refill.{label}", party.name);
        finding
            .measurements
            .push(Measurement::of(name, Unit::Nanoseconds, &refill));
    }
    Ok(())
}

/// The same pattern as the tracer sees it.
fn kinds(lab: &Lab, party: &Party, finding: &mut Finding) -> anyhow::Result<()> {
    let name = format!("switch.{}.{}", party.name, party.kind);
    if let Err(why) = lab.may_trace() {
        let measurement = Measurement::unavailable(name, Unit::Share, why.to_string());
        finding.measurements.push(measurement);
        return Ok(());
    }
    let pattern = Pattern::named(party.pipe).with("--count", lab.scaled(TRACED));
    let traced = lab.trace(&[], &pattern)?;
    let [mut of_kind, mut all, mut changes] = [0.0; 3];
    for process in traced.report["processes"].as_array().into_iter().flatten() {
        for kind in ["same_process", "other_process", "kernel_thread", "idle"] {
            let count = number(process, &format!("/totals/kinds/{kind}")).unwrap_or(0.0);
            all += count;
            of_kind += if kind == party.kind { count } else { 0.0 };
        }
        changes += number(process, "/totals/address_space_changes").unwrap_or(0.0);
    }
    let passes = traced.measured.get("passes")?.median().unwrap_or_default();
    let share = |part: f64| if all > 0.0 { part / all } else { 0.0 };
    finding.measurements.push(
        Measurement::counted(name, Unit::Share, share(of_kind), all as u64).noted(format!(
            "counted by tracer run; the pattern passed its token on {passes} times"
        )),
    );
    let name = format!("switch.{}.address_space_changes", party.name);
    finding
        .measurements
        .push(Measurement::counted(name, Unit::Count, changes, all as u64));
    Ok(())
}

fn one_to_ten(half: &Summary) -> (Verdict, String) {
    let us = half.median / 1_000.0;
    let text = |what: &str| {
        format!("half a round of two threads, with its wake-up, takes {us:.2} us: {what}")
    };
    match us {
        ..1.0 => (Verdict::Refuted, text("it is less")),
        1.0..=10.0 => (Verdict::Confirmed, text("so it is")),
        _ => (Verdict::Refuted, text("it is more")),
    }
}

/// By how much a round of processes takes longer.
fn cheaper(threads: &Samples, processes: &Samples) -> Claim {
    let base = threads.median().unwrap_or(f64::NAN);
    let ratio = Measurement::of(
        "switch.processes_by_threads",
        Unit::Ratio,
        &processes.by(base),
    );
    Claim::by(
        "switch.threads_cheaper",
        "A switch between threads of one process is cheaper than one between processes",
        &ratio,
        |summary| {
            let known = threads.summary().and_then(|it| it.interval);
            let other = processes.summary().and_then(|it| it.interval);
            let apart = known.zip(other).is_some_and(|(a, b)| a.high < b.low);
            let text = format!(
                "the same game takes {:.2} times as long between processes",
                summary.median
            );
            if apart {
                (Verdict::Confirmed, text)
            } else {
                (
                    Verdict::Refuted,
                    format!("{text}: no difference that stands out"),
                )
            }
        },
    )
    .said_by(FOLKLORE)
}
