//! More threads or processes than CPUs: what they get done, and what it costs.

use super::compute::{Party, throughputs};
use crate::verify::{
    Claim, Finding, Lab, Measurement, Samples, Summary, Unit, Verdict, named, number, sum,
};

/// By how much a throughput must differ to be another one.
const SAME: f64 = 0.05;

/// How many for so many CPUs.
type Level = (&'static str, fn(usize) -> usize);

const LEVELS: [Level; 4] = [
    ("1", |_| 1),
    ("N", |cpus| cpus),
    ("2N", |cpus| 2 * cpus),
    ("8N", |cpus| 8 * cpus),
];

pub fn run(lab: &Lab) -> anyhow::Result<Finding> {
    let mut finding = Finding {
        method: format!(
            "1, N, 2N and 8N threads or processes for the N = {} CPUs that this process may use, each on whichever the \
             kernel chooses; a sample is what all of them get done in 20 ms, in units of work that are all alike. They \
             compute all the time, or (naps) sleep half of it. The same under tracer run: switches a second, the share \
             of them that was involuntary, the share of the time on no CPU though there was work (waiting), and of each \
             of them the 99th percentile of its waits",
            lab.cpus.len()
        ),
        ..Finding::default()
    };
    let party = |kind: &str, pattern, (label, of): Level| Party {
        name: format!("oversubscribe.{kind}.{label}"),
        pattern,
        parties: of(lab.cpus.len()),
        telling: label == "8N",
    };
    let threads = LEVELS.map(|level| party("threads", "compute-threads", level));
    let processes = LEVELS.map(|level| party("processes", "compute-processes", level));
    let naps = [LEVELS[1], LEVELS[3]].map(|level| party("naps", "compute-naps", level));
    let all: Vec<Party> = threads.into_iter().chain(processes).chain(naps).collect();
    let rates = throughputs(lab, &all, &mut finding)?;
    for party in &all[..2 * LEVELS.len()] {
        seen(lab, party, &mut finding)?;
    }
    let ratio = Measurement::ratio("oversubscribe.threads.8N_by_N", &rates[3], &rates[1]);
    let naps = Measurement::ratio("oversubscribe.naps.8N_by_N", &rates[9], &rates[8]);
    finding.measurements.extend([ratio.clone(), naps.clone()]);
    let waiting = |label: &str| {
        let name = format!("oversubscribe.threads.{label}.waiting");
        let found = finding.measurements.iter().find(|it| it.name == name);
        found.and_then(Measurement::median)
    };
    let waiting = waiting("8N");
    finding.claims.push(Claim::by(
        "oversubscribe.overhead",
        "More threads than cores only adds overhead",
        &ratio,
        |summary| judge(summary, naps.summary.as_ref().ok(), waiting),
    ));
    Ok(finding)
}

/// As the tracer sees it.
fn seen(lab: &Lab, party: &Party, finding: &mut Finding) -> anyhow::Result<()> {
    let mut push = |measurement| finding.measurements.push(measurement);
    let named_so = |part: &str| format!("{}.{part}", party.name);
    if let Some(why) = party.untraced(lab) {
        let parts = [
            ("switches", Unit::PerSecond),
            ("involuntary", Unit::Share),
            ("waiting", Unit::Share),
            ("wait_p99", Unit::Nanoseconds),
        ];
        for (part, unit) in parts {
            push(Measurement::unavailable(named_so(part), unit, why.clone()));
        }
        return Ok(());
    }
    let report = party.traced(lab)?;
    let rows = named(&report, "party");
    let [involuntary, voluntary] =
        ["involuntary", "voluntary"].map(|of| sum(&rows, &format!("/switches/{of}")));
    let switches = involuntary + voluntary;
    let [ran, waited, lived] = ["/run_ns", "/wait_ns", "/lifetime_ns"].map(|of| sum(&rows, of));
    let seconds = lived / rows.len().max(1) as f64 / 1e9;
    let counted = |part: &str, unit, value: f64| {
        if value.is_finite() {
            Measurement::counted(named_so(part), unit, value, switches as u64)
        } else {
            Measurement::unavailable(named_so(part), unit, "the tracer saw none of them")
        }
    };
    push(counted("switches", Unit::PerSecond, switches / seconds));
    push(counted("involuntary", Unit::Share, involuntary / switches));
    push(counted("waiting", Unit::Share, waited / (ran + waited)));
    let waits: Samples = rows
        .iter()
        .filter_map(|row| number(row, "/wait/p99_ns"))
        .collect();
    push(if waits.is_empty() {
        let why = "none of them came back to a CPU";
        Measurement::unavailable(named_so("wait_p99"), Unit::Nanoseconds, why)
    } else {
        Measurement::of(named_so("wait_p99"), Unit::Nanoseconds, &waits)
    });
    Ok(())
}

/// Of 8N by N: for threads that compute, and for those that sleep half of the time.
fn judge(computing: &Summary, naps: Option<&Summary>, waiting: Option<f64>) -> (Verdict, String) {
    let mut text = format!(
        "threads that compute get {:.2} times as much done when there are 8 for each CPU",
        computing.median
    );
    if let Some(waiting) = waiting {
        text.push_str(&format!(
            ", and wait {:.0} % of their time",
            100.0 * waiting
        ));
    }
    if let Some(naps) = naps {
        text.push_str(&format!(
            "; threads that sleep half of the time {:.2} times as much",
            naps.median
        ));
    }
    let gain = |ratio: &Summary| ratio.is_above(1.0 + SAME);
    let verdict = match (gain(computing), naps.and_then(gain)) {
        (Some(true), _) => Verdict::Refuted,
        (Some(false), Some(true)) => Verdict::Depends,
        (Some(false), Some(false)) => match computing.is_above(1.0 - SAME) {
            Some(false) => Verdict::Confirmed,
            Some(true) => Verdict::Refuted,
            None => Verdict::NotAvailable,
        },
        _ => Verdict::NotAvailable,
    };
    if verdict == Verdict::NotAvailable {
        text.push_str(": too noisy to tell");
    }
    (verdict, text)
}
