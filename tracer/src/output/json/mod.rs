//! The report as JSON. The private structs here are the schema: a key that is `null` was not measured,
//! a key that is absent was not asked for, or is not built yet.

mod births;
mod diff;
mod gathered;
mod head;
mod rows;
mod safe;
mod spikes;
mod switching;
mod verify;
mod waits;

pub use head::{Cost, cost};

use std::io;

use serde::Serialize;
use serde_json::ser::{CompactFormatter, Formatter, PrettyFormatter, Serializer};

use self::gathered::Gathered;
use self::safe::Safe;
use crate::diff::Diff;
use crate::host::Host;
use crate::report::{Report, Spike};
use crate::verify::Verification;

const SCHEMA: &str = "tracer.report.v1";

/// One document, indented.
pub fn write(host: &Host, report: &Report, out: &mut dyn io::Write) -> io::Result<()> {
    indented(&Document::new(host, report), out)
}

/// What two recordings differ in, as one document, indented.
pub fn write_diff(diff: &Diff, out: &mut dyn io::Write) -> io::Result<()> {
    indented(&diff::document(diff), out)
}

/// What was found out about processes and threads, as one document, indented.
pub fn write_verify(verification: &Verification, out: &mut dyn io::Write) -> io::Result<()> {
    indented(&verify::document(verification), out)
}

/// The same document on one line, with its `type` in front.
pub fn write_line(
    kind: &str,
    host: &Host,
    report: &Report,
    out: &mut dyn io::Write,
) -> io::Result<()> {
    line(kind, Document::new(host, report), out)
}

/// A spike as it ends, on a line of its own.
pub fn write_spike(spike: &Spike, out: &mut dyn io::Write) -> io::Result<()> {
    line("spike", spikes::spike(spike), out)
}

/// Any object on a line of its own, with its `type` in front.
pub fn line(kind: &str, object: impl Serialize, out: &mut dyn io::Write) -> io::Result<()> {
    written(&Line { kind, object }, CompactFormatter, out)
}

fn indented(document: &impl Serialize, out: &mut dyn io::Write) -> io::Result<()> {
    written(document, PrettyFormatter::new(), out)
}

/// One value and the end of its line.
fn written(
    value: &impl Serialize,
    format: impl Formatter,
    out: &mut dyn io::Write,
) -> io::Result<()> {
    let mut gathered = Gathered::new(out);
    value.serialize(&mut Serializer::with_formatter(&mut gathered, Safe(format)))?;
    gathered.end_line()
}

#[derive(Serialize)]
struct Line<'a, T> {
    #[serde(rename = "type")]
    kind: &'a str,
    #[serde(flatten)]
    object: T,
}

#[derive(Serialize)]
struct Document<'a> {
    schema: &'static str,
    tracer_version: &'static str,
    /// Only of a report that covers an interval of its window.
    #[serde(skip_serializing_if = "Option::is_none")]
    interval: Option<head::Interval>,
    host: head::Host<'a>,
    window: head::Window<'a>,
    target: head::Target<'a>,
    quality: head::Quality<'a>,
    cost: Option<head::Cost<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    switch_costs: Option<switching::SwitchCosts<'a>>,
    system: head::System,
    processes: Vec<rows::Process<'a>>,
    #[serde(flatten)]
    births: Option<births::Births<'a>>,
    #[serde(flatten)]
    spikes: Option<spikes::Spikes<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    insights: Option<Vec<spikes::Insight<'a>>>,
}

impl<'a> Document<'a> {
    fn new(host: &'a Host, report: &'a Report) -> Document<'a> {
        Document {
            schema: SCHEMA,
            tracer_version: env!("CARGO_PKG_VERSION"),
            interval: head::interval(&report.window),
            host: head::host(host),
            window: head::window(&report.window),
            target: head::target(&report.target),
            quality: head::quality(&report.quality),
            cost: report.cost.as_ref().map(head::cost),
            switch_costs: report.switch_costs.as_ref().map(switching::costs),
            system: head::system(&report.system),
            processes: report
                .processes
                .iter()
                .map(|process| rows::process(process, &host.arch))
                .collect(),
            births: report.births.as_ref().map(births::births),
            spikes: report.spikes.as_ref().map(spikes::spikes),
            insights: spikes::insights(report),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::sample;

    fn document(report: &Report) -> String {
        let mut out = Vec::new();
        write(&sample::host(), report, &mut out).expect("write to memory");
        // A release changes no snapshot.
        let text = String::from_utf8(out).expect("JSON is UTF-8");
        text.replace(env!("CARGO_PKG_VERSION"), "VERSION")
    }

    #[test]
    fn a_report_with_everything() {
        insta::assert_snapshot!("json_valid", document(&sample::valid()));
    }

    #[test]
    fn what_was_not_measured_is_null() {
        insta::assert_snapshot!("json_not_measured", document(&sample::not_measured()));
    }

    #[test]
    fn births_and_memory() {
        let text = document(&sample::forking());
        let report: serde_json::Value = serde_json::from_str(&text).expect("valid JSON");
        let mut shown = serde_json::Map::new();
        for key in [
            "forks_measured",
            "forks_total",
            "execs_total",
            "exits_total",
            "forks",
            "execs",
            "exits",
            "fork_costs",
            "crashes",
            "process_tree",
        ] {
            shown.insert(key.into(), report[key].clone());
        }
        let processes = report["processes"].as_array().expect("processes");
        let memory = |rows: &[serde_json::Value]| -> Vec<serde_json::Value> {
            rows.iter().map(|row| row["memory"].clone()).collect()
        };
        shown.insert("memory".into(), memory(processes).into());
        let threads = processes[0]["threads"].as_array().expect("threads");
        shown.insert("thread_memory".into(), memory(threads).into());
        insta::assert_snapshot!(
            "json_births",
            serde_json::to_string_pretty(&shown).expect("JSON")
        );
        assert_eq!(report["cost"]["syscall_ns"], 87.4);
    }

    #[test]
    fn what_only_system_calls_tell_is_null_without_them() {
        let text = document(&sample::without_forks());
        let report: serde_json::Value = serde_json::from_str(&text).expect("valid JSON");
        assert_eq!(report["forks_measured"], false);
        for (pointer, known) in [
            ("/forks/0/syscall_ns", false),
            ("/forks/3/cow_faults", false),
            ("/forks/3/fork_to_run_ns", true),
            ("/execs/0/syscall_ns", false),
            ("/exits/1/reaped_after_ns", false),
            ("/fork_costs/0/syscall", false),
            ("/fork_costs/0/ns_per_gib", false),
            ("/fork_costs/0/first_run", true),
            ("/process_tree/0/own/creation_ns", false),
            ("/process_tree/0/subtree/births", true),
            ("/cost/syscall_ns", false),
        ] {
            let value = report.pointer(pointer).expect(pointer);
            assert_eq!(!value.is_null(), known, "{pointer}: {value}");
        }
    }

    #[test]
    fn an_interval_has_no_births() {
        let mut interval = sample::interval();
        interval.births = None;
        let report: serde_json::Value =
            serde_json::from_str(&document(&interval)).expect("valid JSON");
        for key in ["forks_measured", "forks", "fork_costs", "process_tree"] {
            assert!(report.get(key).is_none(), "{key}");
        }
    }

    #[test]
    fn an_empty_report() {
        insta::assert_snapshot!("json_empty", document(&Report::default()));
    }

    #[test]
    fn what_was_waited_for_adds_up_to_the_waits() {
        let reports = [
            sample::valid(),
            sample::not_measured(),
            sample::crowd(),
            sample::hostile(),
        ];
        let mut waits = 0;
        for report in &reports {
            let report: serde_json::Value =
                serde_json::from_str(&document(report)).expect("valid JSON");
            let rows = |value: &serde_json::Value, key: &str| {
                value[key].as_array().cloned().unwrap_or_default()
            };
            let threads = rows(&report, "processes");
            let threads = threads.iter().flat_map(|process| rows(process, "threads"));
            for row in threads.chain(rows(&report, "spikes")) {
                let shares = rows(&row, "waited_for");
                let sum: u64 = shares.iter().filter_map(|share| share["ns"].as_u64()).sum();
                assert_eq!(row["wait_ns"], sum, "{row}");
                waits += u64::from(sum > 0);
            }
        }
        assert!(waits > 80, "{waits}");
    }

    #[test]
    fn hostile_names_are_escaped_and_come_back_as_they_were() {
        let text = document(&sample::hostile());
        let harmful = |c: char| c != '\n' && super::super::escape::is_hidden(c);
        assert!(
            !text.chars().any(harmful),
            "raw control characters in {text}"
        );
        let report: serde_json::Value = serde_json::from_str(&text).expect("valid JSON");
        let names: Vec<_> = report["processes"][0]["threads"]
            .as_array()
            .expect("threads")
            .iter()
            .map(|thread| thread["comm"].as_str().expect("a name").to_owned())
            .collect();
        assert_eq!(
            names,
            [
                "\x1b[31mred\x1b[0m",
                "two\nlines",
                "bad\\xff\\xfe",
                "\u{202e}gnp.exe",
                "c1\u{9b}2J",
                "日本語",
                "a\\x1b"
            ]
        );
    }
}
