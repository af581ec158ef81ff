//! What was found out about processes and threads. The private structs here are the schema.

use serde::Serialize;

use super::head;
use crate::output::words;
use crate::verify::{self, CONFIDENCE, RESAMPLES, Verification};

const SCHEMA: &str = "tracer.verify.v1";

#[derive(Serialize)]
pub struct Document<'a> {
    schema: &'static str,
    tracer_version: &'static str,
    host: head::Host<'a>,
    effort: &'static str,
    duration_ns: u64,
    intervals: Intervals,
    experiments: Vec<Experiment<'a>>,
    claims: Vec<Claim<'a>>,
}

#[derive(Serialize)]
struct Intervals {
    confidence: f64,
    resamples: usize,
}

#[derive(Serialize)]
struct Experiment<'a> {
    name: &'a str,
    duration_ns: u64,
    method: Option<&'a str>,
    /// Why there is nothing of it.
    not_measured: Option<&'a str>,
    disagreement: Option<&'a str>,
    measurements: Vec<Measurement<'a>>,
}

#[derive(Serialize)]
struct Measurement<'a> {
    name: &'a str,
    unit: &'static str,
    n: u64,
    median: Option<f64>,
    p99: Option<f64>,
    interval: Option<[f64; 2]>,
    noisy: Option<bool>,
    not_measured: Option<&'a str>,
    note: Option<&'a str>,
}

#[derive(Serialize)]
struct Claim<'a> {
    name: &'a str,
    experiment: &'a str,
    claim: &'a str,
    source: &'a str,
    unit: &'static str,
    measured: Option<f64>,
    interval: Option<[f64; 2]>,
    n: u64,
    verdict: &'static str,
    because: &'a str,
}

pub fn document(verification: &Verification) -> Document<'_> {
    Document {
        schema: SCHEMA,
        tracer_version: env!("CARGO_PKG_VERSION"),
        host: head::host(&verification.host),
        effort: words::effort(verification.effort),
        duration_ns: verification.took.as_nanos() as u64,
        intervals: Intervals {
            confidence: f64::from(CONFIDENCE) / 100.0,
            resamples: RESAMPLES,
        },
        experiments: verification.outcomes.iter().map(experiment).collect(),
        claims: verification.claims().map(claim).collect(),
    }
}

fn experiment(outcome: &verify::Outcome) -> Experiment<'_> {
    let found = outcome.found.as_ref();
    Experiment {
        name: outcome.name,
        duration_ns: outcome.took.as_nanos() as u64,
        method: found.ok().map(|it| it.method.as_str()),
        not_measured: found.err().map(String::as_str),
        disagreement: found.ok().and_then(|it| it.disagreement.as_deref()),
        measurements: found.map_or_else(
            |_| Vec::new(),
            |it| it.measurements.iter().map(measurement).collect(),
        ),
    }
}

fn measurement(measurement: &verify::Measurement) -> Measurement<'_> {
    let summary = measurement.summary.as_ref();
    let known = summary.ok();
    Measurement {
        name: &measurement.name,
        unit: words::unit(measurement.unit),
        n: known.map_or(0, |it| it.n),
        median: known.map(|it| it.median),
        p99: known.map(|it| it.p99),
        interval: known.and_then(|it| it.interval).map(ends),
        noisy: known.map(verify::Summary::is_noisy),
        not_measured: summary.err().map(String::as_str),
        note: measurement.note.as_deref(),
    }
}

fn claim<'a>((experiment, claim): (&'static str, &'a verify::Claim)) -> Claim<'a> {
    Claim {
        name: claim.name,
        experiment,
        claim: claim.claim,
        source: claim.source,
        unit: words::unit(claim.unit),
        measured: claim.measured,
        interval: claim.interval.map(ends),
        n: claim.n,
        verdict: words::claim_verdict(claim.verdict),
        because: &claim.because,
    }
}

fn ends(interval: verify::Interval) -> [f64; 2] {
    [interval.low, interval.high]
}
