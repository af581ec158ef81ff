//! Whether a switch between processes flushes the TLB: what the kernel itself tells of each change of the address
//! space.

use std::fs;

use tracer_common::counters::SpaceChanges;

use crate::verify::{Claim, Finding, Lab, Measurement, Summary, Unit, Verdict, lab::Pattern};

/// Rounds of each ring.
const ROUNDS: u64 = 4_000;
/// Processes in the ring: the kernel keeps apart six address spaces a CPU (`TLB_NR_DYN_ASIDS`,
/// arch/x86/include/asm/tlbflush.h).
const SPACES: [u64; 4] = [2, 4, 8, 16];
const SLOTS: u64 = 6;

pub fn run(lab: &Lab) -> anyhow::Result<Finding> {
    let mut finding = Finding {
        method: "So many processes on one CPU pass a token on in a ring, each time with a change of the address space. \
                 The tracepoint tlb_flush tells of each loading of an address space whether it flushed: with no pages \
                 it did not"
            .to_owned(),
        ..Finding::default()
    };
    let why = lab.cannot_count_flushes();
    let mut shares = Vec::new();
    for spaces in SPACES {
        let name = format!("tlb.flushed.{spaces}_spaces");
        let share = match &why {
            Some(why) => Measurement::unavailable(name, Unit::Share, why.as_str()),
            None => {
                let (share, passes) = flushed(lab, name, spaces)?;
                finding.measurements.push(passes);
                share
            }
        };
        shares.push((spaces, share));
    }
    let threads = match &why {
        Some(why) => Measurement::unavailable(THREADS, Unit::Count, why.as_str()),
        None => changes_of_threads(lab)?,
    };
    finding.claims.push(flushes(&shares));
    finding.claims.push(Claim::by(
        "tlb.thread_switch",
        "A switch between threads of one process does not flush the TLB",
        &threads,
        |summary| {
            let per = summary.median / summary.n.max(1) as f64;
            let text = format!(
                "{} switches of two threads had {} changes of the address space: what is not loaded anew is not flushed",
                summary.n, summary.median
            );
            if per < 0.01 {
                (Verdict::Confirmed, text)
            } else {
                (Verdict::Refuted, text)
            }
        },
    ));
    finding
        .measurements
        .extend(shares.into_iter().map(|(_, share)| share));
    finding.measurements.push(threads);
    finding.method.push_str(&format!("; {}", processor()));
    Ok(finding)
}

const THREADS: &str = "tlb.changes_of_threads";

/// What a pattern changes and flushes, and how often it passes its token on.
fn count(lab: &Lab, pattern: &Pattern) -> anyhow::Result<(SpaceChanges, f64)> {
    let mut ruler = lab.ruler()?;
    let playing = lab.ready(pattern)?;
    ruler.watch(&playing.tids)?;
    ruler.count_flushes()?;
    let passes = playing.go()?.get("passes")?.median().unwrap_or_default();
    ruler.stop();
    Ok((ruler.changes()?, passes))
}

/// What part of the changes flushed, and how often the pattern passed its token on.
fn flushed(lab: &Lab, name: String, spaces: u64) -> anyhow::Result<(Measurement, Measurement)> {
    let pattern = Pattern::named("relay-processes-pipe")
        .with("--parties", spaces)
        .with("--count", lab.scaled(ROUNDS));
    let (counted, passes) = count(lab, &pattern)?;
    let told = counted.flushed + counted.kept;
    anyhow::ensure!(
        told > 0,
        "the kernel told of no loading of an address space"
    );
    let share = counted.flushed as f64 / told as f64;
    let changes = counted.changes;
    let share = Measurement::counted(name, Unit::Share, share, told)
        .noted(format!("of {changes} changes the kernel told {told}"));
    let name = format!("tlb.passes.{spaces}_spaces");
    Ok((share, Measurement::counted(name, Unit::Count, passes, 1)))
}

fn changes_of_threads(lab: &Lab) -> anyhow::Result<Measurement> {
    let pattern = Pattern::named("relay-threads-pipe").with("--count", lab.scaled(ROUNDS));
    let (counted, passes) = count(lab, &pattern)?;
    let changes = counted.changes as f64;
    Ok(Measurement::counted(
        THREADS,
        Unit::Count,
        changes,
        passes as u64,
    ))
}

fn flushes(shares: &[(u64, Measurement)]) -> Claim {
    let few = |summary: &Summary| {
        let known = shares
            .iter()
            .filter_map(|(spaces, share)| Some((*spaces, share.median()?)));
        let list: Vec<String> = known
            .clone()
            .map(|(spaces, share)| format!("{:.1} % with {spaces}", share * 100.0))
            .collect();
        let most = known.map(|(_, share)| share).fold(0.0, f64::max);
        let text = format!(
            "of the changes of the address space so many flushed, by processes that share the CPU: {} ({SLOTS} are kept \
             apart by their tags)",
            list.join(", ")
        );
        let verdict = match (summary.median, most) {
            (least, _) if least > 0.9 => Verdict::Confirmed,
            (_, most) if most < 0.1 => Verdict::Refuted,
            _ => Verdict::Depends,
        };
        (verdict, text)
    };
    Claim::by(
        "tlb.process_switch",
        "A switch between processes flushes the TLB",
        &shares[0].1,
        few,
    )
}

/// What of the processor matters here.
fn processor() -> String {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let flags = cpuinfo.lines().find_map(|line| line.strip_prefix("flags"));
    let has =
        |name: &str| flags.is_some_and(|flags| flags.split_whitespace().any(|flag| flag == name));
    let pcid = match (flags, has("pcid")) {
        (None, _) => "PCID n/a",
        (_, true) => "PCID on",
        (_, false) => "no PCID",
    };
    let mitigation = |name: &str| {
        let text = fs::read_to_string(format!("/sys/devices/system/cpu/vulnerabilities/{name}"));
        text.map_or_else(|_| "n/a".to_owned(), |text| text.trim().to_owned())
    };
    format!(
        "{pcid}; meltdown: {}; spectre_v2: {}",
        mitigation("meltdown"),
        mitigation("spectre_v2")
    )
}
