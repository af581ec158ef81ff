//! `tracer verify`: what is said of processes and threads, against what this machine does.
//!
//! An experiment plays patterns of `workload` on CPUs that it chooses, measures them with their own clock, with
//! `tracer run` or with probes made for it (`kernel::ruler`), and judges claims by what came out. In: how much time
//! there is. Out: [`Outcome`]s. Must not know: how they are shown.

#[cfg(target_os = "linux")]
mod experiments;
#[cfg(target_os = "linux")]
mod lab;
mod samples;

use std::time::Duration;
#[cfg(target_os = "linux")]
use std::time::Instant;

use serde_json::Value;

use crate::host::Host;

pub use self::samples::{CONFIDENCE, Interval, RESAMPLES, Samples, Summary};
#[cfg(target_os = "linux")]
pub use self::{experiments::EXPERIMENTS, lab::Lab};

/// Of the experiments, in the order in which they run: the fundamental ones first.
pub const NAMES: [&str; 9] = [
    "create",
    "switch",
    "tlb",
    "self",
    "memory",
    "oversubscribe",
    "talk",
    "lock",
    "isolation",
];

/// How much time there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effort {
    /// A sixth of the samples.
    Quick,
    /// Below a minute.
    Normal,
    /// Minutes.
    Thorough,
}

/// One thing to find out.
#[cfg(target_os = "linux")]
pub struct Experiment {
    /// One of [`NAMES`].
    pub name: &'static str,
    run: fn(&Lab) -> anyhow::Result<Finding>,
}

/// All that was found out.
#[derive(Clone, Debug)]
pub struct Verification {
    pub host: Host,
    pub effort: Effort,
    pub took: Duration,
    pub outcomes: Vec<Outcome>,
}

/// What an experiment found.
#[derive(Clone, Debug, Default)]
pub struct Finding {
    /// How it was measured.
    pub method: String,
    pub measurements: Vec<Measurement>,
    pub claims: Vec<Claim>,
    /// The tracer and the kernel say different things, where they must not.
    pub disagreement: Option<String>,
}

/// The same with whose it is, and how long it took.
#[derive(Clone, Debug)]
pub struct Outcome {
    pub name: &'static str,
    pub took: Duration,
    /// Why there is none, otherwise.
    pub found: Result<Finding, String>,
}

/// One quantity.
#[derive(Clone, Debug, PartialEq)]
pub struct Measurement {
    /// Words with dots between them, the general one first: `create.fork.syscall`.
    pub name: String,
    pub unit: Unit,
    /// Why there is none, otherwise.
    pub summary: Result<Summary, String>,
    /// What a reader must know beside the number.
    pub note: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    Nanoseconds,
    Bytes,
    /// A part of a whole, 0 to 1.
    Share,
    /// By another quantity.
    Ratio,
    Count,
    /// Of whatever the experiment does, a second.
    PerSecond,
}

/// Something that is said, and what this machine says to it.
#[derive(Clone, Debug, PartialEq)]
pub struct Claim {
    /// Unique: `create.process`.
    pub name: &'static str,
    pub claim: &'static str,
    /// Who says it.
    pub source: &'static str,
    pub unit: Unit,
    pub measured: Option<f64>,
    pub interval: Option<Interval>,
    pub n: u64,
    pub verdict: Verdict,
    /// One sentence.
    pub because: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Confirmed,
    Refuted,
    /// True under some conditions that were measured, and false under others.
    Depends,
    /// Could not be measured here.
    NotAvailable,
}

/// What is said everywhere, and by nobody in particular.
pub const FOLKLORE: &str = "the common table of process against thread";

impl Verification {
    pub fn claims(&self) -> impl Iterator<Item = (&'static str, &Claim)> {
        self.outcomes.iter().flat_map(|outcome| {
            let claims = outcome.found.iter().flat_map(|found| &found.claims);
            claims.map(|claim| (outcome.name, claim))
        })
    }
}

impl Measurement {
    pub fn of(name: impl Into<String>, unit: Unit, samples: &Samples) -> Measurement {
        Measurement {
            name: name.into(),
            unit,
            summary: samples
                .summary()
                .ok_or_else(|| "nothing was measured".to_owned()),
            note: None,
        }
    }

    /// One quantity by another.
    pub fn ratio(name: impl Into<String>, samples: &Samples, by: &Samples) -> Measurement {
        Measurement {
            name: name.into(),
            unit: Unit::Ratio,
            summary: samples
                .over(by)
                .ok_or_else(|| "nothing was measured".to_owned()),
            note: None,
        }
    }

    /// A number that was counted and not sampled.
    pub fn counted(name: impl Into<String>, unit: Unit, value: f64, n: u64) -> Measurement {
        Measurement {
            name: name.into(),
            unit,
            summary: Ok(Summary {
                n,
                median: value,
                p99: value,
                interval: Some(Interval {
                    low: value,
                    high: value,
                }),
            }),
            note: None,
        }
    }

    pub fn unavailable(name: impl Into<String>, unit: Unit, why: impl Into<String>) -> Measurement {
        Measurement {
            name: name.into(),
            unit,
            summary: Err(why.into()),
            note: None,
        }
    }

    pub fn noted(mut self, note: impl Into<String>) -> Measurement {
        self.note = Some(note.into());
        self
    }

    pub fn median(&self) -> Option<f64> {
        self.summary.as_ref().ok().map(|summary| summary.median)
    }
}

impl Claim {
    /// Judged by one quantity.
    pub fn by(
        name: &'static str,
        claim: &'static str,
        measurement: &Measurement,
        judge: impl FnOnce(&Summary) -> (Verdict, String),
    ) -> Claim {
        let (verdict, because) = match &measurement.summary {
            Ok(summary) => judge(summary),
            Err(why) => (Verdict::NotAvailable, why.clone()),
        };
        // A number that does not tell is none: the reason has it.
        let summary = measurement.summary.as_ref().ok();
        let summary = summary.filter(|_| verdict != Verdict::NotAvailable);
        Claim {
            name,
            claim,
            source: FOLKLORE,
            unit: measurement.unit,
            measured: summary.map(|it| it.median),
            interval: summary.and_then(|it| it.interval),
            n: summary.map_or(0, |it| it.n),
            verdict,
            because,
        }
    }

    pub fn said_by(mut self, source: &'static str) -> Claim {
        self.source = source;
        self
    }
}

#[cfg(target_os = "linux")]
impl Experiment {
    pub fn run(&self, lab: &Lab) -> Outcome {
        let from = Instant::now();
        let found = (self.run)(lab).map(|mut finding| {
            for claim in &mut finding.claims {
                lab.qualify(claim);
            }
            finding
        });
        Outcome {
            name: self.name,
            took: from.elapsed(),
            found: found.map_err(|error| format!("{error:#}")),
        }
    }
}

/// A number of a report; `None`: n/a.
pub fn number(report: &Value, pointer: &str) -> Option<f64> {
    report.pointer(pointer)?.as_f64()
}

/// The threads of a report that have this name.
pub fn named<'a>(report: &'a Value, comm: &str) -> Vec<&'a Value> {
    let processes = report["processes"].as_array().into_iter().flatten();
    processes
        .filter_map(|process| process["threads"].as_array())
        .flatten()
        .filter(|thread| thread["comm"] == comm)
        .collect()
}

/// Of those that know it.
pub fn sum(rows: &[&Value], pointer: &str) -> f64 {
    rows.iter().filter_map(|row| number(row, pointer)).sum()
}
