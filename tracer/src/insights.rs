//! What the numbers of a report mean together, in plain sentences. None is a fine outcome.
//!
//! In: [`Report`], what is known of the machine. Out: [`Insight`]s, each above a threshold that stands beside
//! its rule. Must not know: formats, terminals, anything that is not in the report.

mod births;
mod habits;
mod waits;

use rustc_hash::FxHashSet;

use crate::{
    engine::Facts,
    model::{Comm, Nanos},
    report::{ChargeKind, Insight, Process, Report, Thread, Verdict, WaitedFor},
};

/// More would not be read.
const MOST: usize = 5;
/// What takes less than this share of the window is nobody's trouble.
const MATTERS: f64 = 0.01;

/// The weightiest first.
pub fn insights(report: &Report, facts: &Facts) -> Vec<Insight> {
    if report.quality.verdict == Verdict::Invalid || report.window.duration == Nanos::ZERO {
        return Vec::new();
    }
    let scene = Scene::new(report, facts);
    let real_time = waits::real_time(&scene);
    let blamed = real_time.as_ref().map(|(_, pid)| *pid);
    let mut found: Vec<Found> = [
        waits::more_threads_than_cpus(&scene),
        waits::out_of_quota(&scene),
        real_time.map(|(found, _)| found),
        waits::one_neighbour(&scene, blamed),
        habits::one_lock(&scene),
        habits::from_cpu_to_cpu(&scene),
        habits::yields_in_a_loop(&scene),
        births::stalls_in_fork(&scene),
    ]
    .into_iter()
    .flatten()
    .collect();
    found.sort_by(|a, b| b.weight.total_cmp(&a.weight));
    found.truncate(MOST);
    found.into_iter().map(|found| found.insight).collect()
}

struct Found {
    /// In CPUs: the time it is about, by the length of the window.
    weight: f64,
    insight: Insight,
}

fn found(weight: f64, text: String, evidence: String, remedy: String) -> Option<Found> {
    let insight = Insight {
        text,
        evidence,
        remedy,
    };
    Some(Found { weight, insight })
}

/// The report, and what more than one rule asks of it.
struct Scene<'a> {
    report: &'a Report,
    facts: &'a Facts,
    /// Processes of the target.
    chosen: FxHashSet<u32>,
    /// All that is told of what was waited for.
    waited: Nanos,
}

impl<'a> Scene<'a> {
    fn new(report: &'a Report, facts: &'a Facts) -> Scene<'a> {
        let chosen = report.processes.iter().map(|process| process.pid);
        let mut scene = Scene {
            report,
            facts,
            chosen: chosen.filter(|&pid| pid > 0).collect(),
            waited: Nanos::ZERO,
        };
        scene.waited = scene.shares().map(|(_, share)| share.ns).sum();
        scene
    }

    fn threads(&self) -> impl Iterator<Item = (&'a Process, &'a Thread)> {
        let of = |process: &'a Process| process.threads.iter().map(move |thread| (process, thread));
        self.report.processes.iter().flat_map(of)
    }

    fn shares(&self) -> impl Iterator<Item = (&'a Process, &'a WaitedFor)> {
        let of = |(process, thread): (&'a Process, &'a Thread)| {
            thread.waited_for.iter().map(move |share| (process, share))
        };
        self.threads().flat_map(of)
    }

    /// In CPUs.
    fn cpus_of(&self, ns: Nanos) -> f64 {
        ratio(ns, self.report.window.duration)
    }

    fn a_second(&self, count: u64) -> f64 {
        count as f64 * 1e9 / self.report.window.duration.0 as f64
    }

    /// Of all waits.
    fn share(&self, ns: Nanos) -> f64 {
        ratio(ns, self.waited)
    }
}

fn is_thread(kind: ChargeKind) -> bool {
    matches!(kind, ChargeKind::Thread | ChargeKind::KernelThread)
}

fn ratio(part: Nanos, whole: Nanos) -> f64 {
    part.0 as f64 / whole.0.max(1) as f64
}

/// `backup/991`.
fn name(comm: Comm, id: u32) -> String {
    format!("{}/{id}", text(comm))
}

/// Any bytes may be in it: whoever prints it escapes it.
fn text(comm: Comm) -> String {
    let mut text = String::new();
    for chunk in comm.bytes().utf8_chunks() {
        text.push_str(chunk.valid());
        for byte in chunk.invalid() {
            text.push_str(&format!("\\x{byte:02x}"));
        }
    }
    text
}

/// `61 %`.
fn percent(share: f64) -> String {
    format!("{:.0} %", share * 100.0)
}

/// `1.23 s`, `3.60 ms`, `14.2 us`.
fn duration(ns: Nanos) -> String {
    let (value, unit) = match ns.0 {
        0..1_000_000 => (ns.0 as f64 / 1e3, "us"),
        1_000_000..1_000_000_000 => (ns.0 as f64 / 1e6, "ms"),
        _ => (ns.0 as f64 / 1e9, "s"),
    };
    let digits = match value {
        0.0..10.0 => 2,
        10.0..100.0 => 1,
        _ => 0,
    };
    format!("{value:.digits$} {unit}")
}

fn plural(count: usize, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

#[cfg(test)]
#[path = "insights_tests.rs"]
mod tests;
