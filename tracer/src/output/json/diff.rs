//! What two recordings differ in. The private structs here are the schema.

use std::borrow::Cow;

use serde::Serialize;

use super::head;
use crate::diff::{self, CONFIDENCE, Change, Lone, Metric, RESAMPLES, Side, Slices, Subject};
use crate::model::Comm;
use crate::output::{escape, words};

const SCHEMA: &str = "tracer.diff.v1";

#[derive(Serialize)]
pub struct Document<'a> {
    schema: &'static str,
    tracer_version: &'static str,
    before: Recording<'a>,
    after: Recording<'a>,
    caveats: &'a [String],
    intervals: Option<Intervals>,
    no_intervals: Option<&'a str>,
    groups: u64,
    compared: u64,
    changes: Vec<Row<'a>>,
    new: Vec<Only<'a>>,
    gone: Vec<Only<'a>>,
}

#[derive(Serialize)]
struct Recording<'a> {
    host: head::Host<'a>,
    window: head::Window<'a>,
    target: head::Target<'a>,
    quality: head::Quality<'a>,
    slices: usize,
    slice_ns: u64,
}

#[derive(Serialize)]
struct Intervals {
    confidence: f64,
    resamples: usize,
}

#[derive(Serialize)]
struct Row<'a> {
    process: Option<Cow<'a, str>>,
    comm: Cow<'a, str>,
    birth: Option<&'static str>,
    own: bool,
    metric: &'static str,
    waited_for: Option<Culprit<'a>>,
    before: f64,
    after: f64,
    difference: f64,
    low: Option<f64>,
    high: Option<f64>,
    ratio: Option<f64>,
}

#[derive(Serialize)]
struct Culprit<'a> {
    kind: &'static str,
    comm: Option<Cow<'a, str>>,
}

#[derive(Serialize)]
struct Only<'a> {
    process: Cow<'a, str>,
    comm: Cow<'a, str>,
    own: bool,
    threads: u64,
    run_ns_per_s: f64,
    wait_ns_per_s: f64,
    block_ns_per_s: f64,
    voluntary_per_s: f64,
    involuntary_per_s: f64,
}

pub fn document(diff: &diff::Diff) -> Document<'_> {
    let measured = diff.no_intervals.is_none();
    Document {
        schema: SCHEMA,
        tracer_version: env!("CARGO_PKG_VERSION"),
        before: recording(&diff.before, diff.slices[0]),
        after: recording(&diff.after, diff.slices[1]),
        caveats: &diff.caveats,
        intervals: measured.then_some(Intervals {
            confidence: f64::from(CONFIDENCE) / 100.0,
            resamples: RESAMPLES,
        }),
        no_intervals: diff.no_intervals.as_deref(),
        groups: diff.groups,
        compared: diff.compared,
        changes: diff.changes.iter().map(row).collect(),
        new: diff.new.iter().map(only).collect(),
        gone: diff.gone.iter().map(only).collect(),
    }
}

fn recording(side: &Side, slices: Slices) -> Recording<'_> {
    Recording {
        host: head::host(&side.host),
        window: head::window(&side.window),
        target: head::target(&side.target),
        quality: head::quality(&side.quality),
        slices: slices.count(),
        slice_ns: slices.duration().0 / slices.count() as u64,
    }
}

fn row(change: &Change) -> Row<'_> {
    let (process, comm, birth) = match &change.subject {
        Subject::Group(group) => (Some(name(&group.process)), &group.thread, None),
        Subject::Creators(creators) => (None, &creators.comm, Some(words::birth(creators.kind))),
    };
    let waited_for = match &change.metric {
        Metric::WaitedFor(culprit) => Some(Culprit {
            kind: words::charge(culprit.kind),
            comm: culprit.comm.as_ref().map(name),
        }),
        _ => None,
    };
    Row {
        process,
        comm: name(comm),
        birth,
        own: change.own,
        metric: words::metric(change.metric),
        waited_for,
        before: rounded(change.before),
        after: rounded(change.after),
        difference: rounded(change.difference()),
        low: change.interval.map(|(low, _)| rounded(low)),
        high: change.interval.map(|(_, high)| rounded(high)),
        ratio: change.ratio().map(rounded),
    }
}

fn only(lone: &Lone) -> Only<'_> {
    Only {
        process: name(&lone.group.process),
        comm: name(&lone.group.thread),
        own: lone.own,
        threads: lone.threads,
        run_ns_per_s: rounded(lone.run),
        wait_ns_per_s: rounded(lone.wait),
        block_ns_per_s: rounded(lone.block),
        voluntary_per_s: rounded(lone.voluntary),
        involuntary_per_s: rounded(lone.involuntary),
    }
}

fn name(comm: &Comm) -> Cow<'_, str> {
    escape::json(comm.bytes())
}

/// More digits would claim what no clock knows.
fn rounded(value: f64) -> f64 {
    (value * 1e3).round() / 1e3
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use crate::output::{self, sample};

    fn document(diff: &crate::diff::Diff) -> String {
        let mut out = Vec::new();
        output::diff_json(diff, &mut out).expect("write to memory");
        let text = String::from_utf8(out).expect("JSON is UTF-8");
        text.replace(env!("CARGO_PKG_VERSION"), "VERSION")
    }

    #[test]
    fn all_that_changed() {
        insta::assert_snapshot!("json_diff", document(&sample::diff::diff()));
    }

    #[test]
    fn what_cannot_be_told_is_null() {
        let text = document(&sample::diff::without_intervals());
        let diff: Value = serde_json::from_str(&text).expect("valid JSON");
        assert_eq!(diff["intervals"], Value::Null);
        assert!(diff["no_intervals"].is_string());
        let changes = diff["changes"].as_array().expect("changes");
        assert!(!changes.is_empty());
        for change in changes {
            assert_eq!(
                (&change["low"], &change["high"]),
                (&Value::Null, &Value::Null)
            );
        }
        // There was none of it before.
        assert_eq!(changes[1]["ratio"], Value::Null, "{}", changes[1]);
    }
}
