//! What a switch costs: two that wake each other in turn, as threads of one process and as two processes.

use super::in_place::{self, InPlace};
use crate::verify::{
    Claim, Finding, Lab, Measurement, Samples, Summary, Unit, Verdict, lab::Pattern, number,
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
    let in_place = in_place::measure(lab, &mut finding)?;
    for party in [&THREADS, &PROCESSES] {
        refills(lab, party, &mut finding)?;
        kinds(lab, party, &mut finding)?;
    }
    finding.claims.push(micros(&threads, &processes, &in_place));
    finding
        .claims
        .push(cheaper(&threads, &processes, &in_place));
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
    let counted = Measurement::counted(name, Unit::Share, share(of_kind), all as u64);
    finding
        .measurements
        .push(counted.noted("counted by tracer run"));
    let name = format!("switch.{}.passes", party.name);
    let counted = Measurement::counted(name, Unit::Count, passes, 1);
    finding.measurements.push(counted);
    let name = format!("switch.{}.address_space_changes", party.name);
    finding
        .measurements
        .push(Measurement::counted(name, Unit::Count, changes, all as u64));
    Ok(())
}

/// The kernel's own switch where that can be told, else half a round.
fn micros(threads: &Samples, processes: &Samples, in_place: &InPlace) -> Claim {
    let [threads, processes] = [threads, processes].map(|rounds| rounds.by(2.0));
    let halves = [threads.median(), processes.median()];
    let own = [in_place.same_space.median(), in_place.other_space.median()];
    let [first, second] = if own[0].is_some() { own } else { halves };
    let of = |both: [Option<f64>; 2]| match both {
        [Some(threads), Some(processes)] => format!(
            "{:.2} us between threads and {:.2} us between processes",
            threads / 1_000.0,
            processes / 1_000.0
        ),
        _ => "n/a".to_owned(),
    };
    let half = Measurement::of("switch.half_round", Unit::Nanoseconds, &threads);
    let measurement = if own[0].is_some() {
        &in_place.same_space
    } else {
        &half
    };
    let judge = |_: &Summary| {
        let known = [first, second].into_iter().flatten();
        let fits = |ns: &f64| (1_000.0..=10_000.0).contains(ns);
        let (all, fitting) = (known.clone().count(), known.filter(fits).count());
        let verdict = match fitting {
            0 => Verdict::Refuted,
            some if some == all => Verdict::Confirmed,
            _ => Verdict::Depends,
        };
        let text = format!(
            "the switch itself takes {}, half a round with its wake-up and its system calls {}",
            of(own),
            of(halves)
        );
        (verdict, text)
    };
    Claim::by(
        "switch.micros",
        "A context switch takes 1 to 10 us",
        measurement,
        judge,
    )
}

/// By how much a round of processes takes longer.
fn cheaper(threads: &Samples, processes: &Samples, in_place: &InPlace) -> Claim {
    let base = threads.median().unwrap_or(f64::NAN);
    let ratio = Measurement::of(
        "switch.processes_by_threads",
        Unit::Ratio,
        &processes.by(base),
    );
    let judge = |summary: &Summary| {
        let known = threads.summary().and_then(|it| it.interval);
        let other = processes.summary().and_then(|it| it.interval);
        let apart = known.zip(other).is_some_and(|(a, b)| a.high < b.low);
        let mut text = format!(
            "the same game takes {:.2} times as long between processes",
            summary.median
        );
        if let (Some(same), Some(other)) =
            (in_place.same_space.median(), in_place.other_space.median())
        {
            text.push_str(&format!(
                ", and the kernel's own part of a switch {:.2} times",
                other / same
            ));
        }
        if apart {
            (Verdict::Confirmed, text)
        } else {
            let text = format!("{text}: no difference that stands out");
            (Verdict::Refuted, text)
        }
    };
    Claim::by(
        "switch.threads_cheaper",
        "A switch between threads of one process is cheaper than one between processes",
        &ratio,
        judge,
    )
}
