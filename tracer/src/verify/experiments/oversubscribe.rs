//! More threads or processes than CPUs: what they get done, and what it costs.

use crate::verify::{
    Claim, Finding, Lab, Measurement, Samples, Unit, Verdict, lab::Pattern, named, number, sum,
};

/// Milliseconds of each run, untraced and traced.
const LASTS: u64 = 500;
const TRACED: u64 = 200;
/// Fewer give no interval.
const SHORTEST: u64 = 200;
/// By how much a throughput must differ to be another one.
const SAME: f64 = 0.05;

/// How many for so many CPUs.
const LEVELS: [(&str, fn(usize) -> usize); 4] = [
    ("1", |_| 1),
    ("N", |cpus| cpus),
    ("2N", |cpus| 2 * cpus),
    ("8N", |cpus| 8 * cpus),
];

pub fn run(lab: &Lab) -> anyhow::Result<Finding> {
    let mut finding = Finding {
        method: format!(
            "1, N, 2N and 8N threads or processes for the N = {} CPUs that this process may use, each on whichever the \
             kernel chooses; a sample is what all of them get done in 20 ms, in units of about a microsecond. They \
             compute all the time, or (naps) sleep half of it. The same under tracer run: switches a second, the share \
             of them that was involuntary, the share of the time on no CPU though there was work (waiting), and of each \
             of them the 99th percentile of its waits",
            lab.cpus.len()
        ),
        ..Finding::default()
    };
    let mut threads = Vec::new();
    for (kind, pattern) in [
        ("threads", "compute-threads"),
        ("processes", "compute-processes"),
    ] {
        for (label, parties) in LEVELS {
            let parties = parties(lab.cpus.len());
            let name = format!("oversubscribe.{kind}.{label}");
            let rates = throughput(lab, pattern, parties, &name, &mut finding)?;
            if kind == "threads" {
                threads.push(rates);
            }
            seen(lab, pattern, parties, &name, &mut finding)?;
        }
    }
    let mut naps = Vec::new();
    for (label, parties) in [LEVELS[1], LEVELS[3]] {
        let name = format!("oversubscribe.naps.{label}");
        let parties = parties(lab.cpus.len());
        naps.push(throughput(
            lab,
            "compute-naps",
            parties,
            &name,
            &mut finding,
        )?);
    }
    let by = |many: &Samples, few: &Samples| many.by(few.median().unwrap_or(f64::NAN));
    let ratio = Measurement::of("ratio", Unit::Ratio, &by(&threads[3], &threads[1]));
    let naps = by(&naps[1], &naps[0]).median();
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
        |summary| judge(summary.median, naps, waiting),
    ));
    Ok(finding)
}

fn throughput(
    lab: &Lab,
    pattern: &str,
    parties: usize,
    name: &str,
    finding: &mut Finding,
) -> anyhow::Result<Samples> {
    let lasts = lab.scaled(LASTS).max(SHORTEST);
    let pattern = Pattern::named(pattern)
        .with("--parties", parties)
        .with("--duration", format!("{lasts}ms"));
    let rates = lab.play(&pattern)?.get("units_per_s")?.clone();
    let name = format!("{name}.throughput");
    finding
        .measurements
        .push(Measurement::of(name, Unit::PerSecond, &rates));
    Ok(rates)
}

/// As the tracer sees it.
fn seen(
    lab: &Lab,
    pattern: &str,
    parties: usize,
    name: &str,
    finding: &mut Finding,
) -> anyhow::Result<()> {
    let mut push = |measurement| finding.measurements.push(measurement);
    let named_so = |part: &str| format!("{name}.{part}");
    if let Err(why) = lab.may_trace() {
        let parts = [
            ("switches", Unit::PerSecond),
            ("involuntary", Unit::Share),
            ("waiting", Unit::Share),
            ("wait_p99", Unit::Nanoseconds),
        ];
        for (part, unit) in parts {
            push(Measurement::unavailable(
                named_so(part),
                unit,
                why.to_string(),
            ));
        }
        return Ok(());
    }
    let pattern = Pattern::named(pattern)
        .with("--parties", parties)
        .with("--duration", format!("{}ms", lab.scaled(TRACED).max(100)));
    let report = lab.trace(&[], &pattern)?.report;
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
fn judge(computing: f64, napping: Option<f64>, waiting: Option<f64>) -> (Verdict, String) {
    let mut text = format!(
        "threads that compute get {computing:.2} times as much done when there are 8 for each CPU"
    );
    if let Some(waiting) = waiting {
        text.push_str(&format!(
            ", and wait {:.0} % of their time",
            100.0 * waiting
        ));
    }
    if let Some(napping) = napping {
        text.push_str(&format!(
            "; threads that sleep half of the time {napping:.2} times as much"
        ));
    }
    let gain = |ratio: f64| ratio > 1.0 + SAME;
    let verdict = match (gain(computing), napping.is_some_and(gain)) {
        (true, _) => Verdict::Refuted,
        (false, true) => Verdict::Depends,
        (false, false) if computing < 1.0 - SAME => Verdict::Confirmed,
        (false, false) => Verdict::Refuted,
    };
    (verdict, text)
}
