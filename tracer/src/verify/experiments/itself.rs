//! The tracer against the kernel, and what it costs.

use serde_json::Value;

use crate::verify::{
    Claim, Finding, Lab, Measurement, Samples, Summary, Unit, Verdict, lab::Pattern, number,
};

const PATTERN: &str = "relay-threads-pipe";
const ROUNDS: u64 = 10_000;
/// Runs with and without, in turn.
const PAIRS: usize = 5;

pub fn run(lab: &Lab) -> anyhow::Result<Finding> {
    let mut finding = Finding {
        method: "The game of the experiment switch, through pipes, with the tracer and without it in turn; the tracer's \
                 counts against those that the kernel keeps of each thread"
            .to_owned(),
        ..Finding::default()
    };
    if let Err(why) = lab.may_trace() {
        let overhead = Measurement::unavailable("self.overhead", Unit::Ratio, why.to_string());
        finding.claims.push(complete(&overhead, &Value::Null));
        finding.measurements.push(overhead);
        return Ok(finding);
    }
    let pattern = Pattern::named(PATTERN).with("--count", lab.scaled(ROUNDS));
    let mut ratios = Vec::new();
    let mut reports = Vec::new();
    for _ in 0..PAIRS {
        let without = lab.play(&pattern)?;
        let with = lab.trace(&[], &pattern)?;
        let of = |samples: &Samples| samples.median().unwrap_or(f64::NAN);
        let base = of(without.get("round_ns")?);
        // Each sample of the traced run by the untraced one beside it.
        ratios.extend(with.measured.get("round_ns")?.by(base).iter());
        reports.push(with.report);
    }
    let ratios: Samples = ratios.into_iter().collect();
    let overhead = Measurement::of("self.overhead", Unit::Ratio, &ratios)
        .noted("a round with the tracer by one without: two switches and two wake-ups, and nothing else in between");
    let sum = |pointer: &str| -> f64 {
        let each = reports.iter().filter_map(|report| number(report, pointer));
        each.sum()
    };
    let checked = sum("/quality/threads_checked") + sum("/quality/threads_self_checked");
    let switches = sum("/quality/received_switches");
    for (name, pointer) in [
        ("self.lost_records", "/quality/lost_records"),
        ("self.missed_events", "/quality/missed_events"),
    ] {
        let measurement = Measurement::counted(name, Unit::Count, sum(pointer), switches as u64);
        finding.measurements.push(measurement);
    }
    let worst = reports
        .iter()
        .max_by_key(|report| match report["quality"]["verdict"].as_str() {
            Some("valid") => 0,
            Some("degraded") => 1,
            _ => 2,
        });
    let threads =
        Measurement::counted("self.threads_checked", Unit::Count, checked, checked as u64);
    let worst = worst.unwrap_or(&Value::Null);
    finding.claims.push(complete(&threads, worst));
    finding.claims.push(cheap(&overhead));
    finding.measurements.extend([threads, overhead]);
    if worst["quality"]["verdict"] == "invalid" {
        finding.disagreement = Some(worst["quality"]["reasons"].to_string());
    }
    Ok(finding)
}

fn complete(threads: &Measurement, worst: &Value) -> Claim {
    Claim::by(
        "self.complete",
        "The tracer misses nothing: its counts are those of the kernel",
        threads,
        |_| match worst["quality"]["verdict"].as_str() {
            Some("valid") => (
                Verdict::Confirmed,
                "each switch of each thread was seen, and every counter of the kernel agrees"
                    .to_owned(),
            ),
            Some("degraded") => (
                Verdict::Depends,
                format!(
                    "records were lost, and each of them is counted: {}",
                    worst["quality"]["reasons"]
                ),
            ),
            _ => (
                Verdict::Refuted,
                format!("a report is invalid: {}", worst["quality"]["reasons"]),
            ),
        },
    )
    .said_by("tracer")
}

fn cheap(overhead: &Measurement) -> Claim {
    let judge = |summary: &Summary| {
        let percent = (summary.median - 1.0) * 100.0;
        let text = format!(
            "a round of two switches and two wake-ups takes {percent:.0} % longer while it is traced"
        );
        if summary.median > 1.5 {
            (Verdict::Refuted, text)
        } else {
            (Verdict::Confirmed, text)
        }
    };
    Claim::by(
        "self.cheap",
        "Tracing slows even what does nothing but switch by less than half",
        overhead,
        judge,
    )
    .said_by("tracer")
}
