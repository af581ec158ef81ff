//! The page of an export: what it adds up to, and what a browser makes of it.
//!
//! `support/page.py` does with it what a reader would, and tells what came of that.

mod support;

use std::collections::HashMap;

use serde_json::Value;
use support::check::list;
use support::python::python;
use support::{Running, binary, threads, tracer};

const STATES: [&str; 6] = ["run", "wait", "sleep", "block", "stopped", "unknown"];
const LINES: usize = 200;

type Times = [i64; STATES.len()];

struct Exported {
    report: Value,
    /// What the browser made of the page.
    page: Value,
}

#[track_caller]
fn exported(command: &[&str]) -> Exported {
    exported_from(command, &[], &[])
}

/// Of a part of the time, as report and export are asked for it.
#[track_caller]
fn exported_from(command: &[&str], report_of: &[&str], export_of: &[&str]) -> Exported {
    let dir = tempfile::tempdir().expect("a directory");
    let [recording, page] =
        ["recording", "page.html"].map(|name| dir.path().join(name).display().to_string());
    let mut record = binary();
    record.args(["record", "-o", &recording, "--"]);
    Running::start(record.args(command)).finish().expect_code(0);
    let args = ["export", &recording, "--to", "html", "-o", &page];
    tracer(args.iter().chain(export_of)).expect_code(0);
    let args = ["report", &recording, "--slower", "5ms", "--format", "json"];
    let report = tracer(args.iter().chain(report_of));
    report.expect_code(0);
    let said = python(include_str!("support/page.py"), [&page]);
    let exported = Exported {
        report: report.json(),
        page: serde_json::from_str(&said).expect("JSON of the browser"),
    };
    let page = &exported.page;
    assert_eq!(page["errors"], Value::Array(Vec::new()));
    let requests = list(page, "requests");
    assert_eq!(requests.len(), 1, "{requests:?}");
    assert_eq!(page["intruders"], 0, "a name became markup");
    exported.check_lines();
    exported.check_tables();
    exported
}

#[track_caller]
fn number(value: &Value) -> i64 {
    value
        .as_i64()
        .unwrap_or_else(|| panic!("no whole number: {value}"))
}

fn times(row: &Value) -> Times {
    STATES.map(|state| number(&row[format!("{state}_ns")]))
}

fn add(sum: &mut Times, times: Times) {
    for (sum, time) in sum.iter_mut().zip(times) {
        *sum += time;
    }
}

/// The runs of a line and what has no place, as they are in the file.
fn held(line: &Value) -> Times {
    let mut at = 0;
    STATES.map(|_| {
        let runs: Vec<i64> = list(line, "runs")[at]
            .as_array()
            .expect("runs of a state")
            .iter()
            .map(number)
            .collect();
        let elsewhere = number(&line["elsewhere_ns"][at]);
        at += 1;
        runs.chunks_exact(3).map(|run| run[1] * run[2]).sum::<i64>() + elsewhere
    })
}

impl Exported {
    /// Each line has to the nanosecond what the report has of its threads, that of all others the rest.
    #[track_caller]
    fn check_lines(&self) {
        let mut rest = Times::default();
        let mut of: HashMap<(i64, i64), Times> = HashMap::new();
        for process in list(&self.report, "processes") {
            add(&mut rest, times(&process["totals"]));
            for thread in list(process, "threads") {
                let tid = thread["was_tid"].as_i64().unwrap_or(number(&thread["tid"]));
                add(
                    of.entry((number(&process["pid"]), tid)).or_default(),
                    times(thread),
                );
            }
        }
        let lines = list(&self.page["lines"], "threads");
        let (others, own): (Vec<&Value>, Vec<&Value>) =
            lines.iter().partition(|line| line["tid"].is_null());
        assert_eq!(own.len(), of.len().min(LINES));
        for line in own {
            let found = held(line);
            assert_eq!(
                Some(&found),
                of.get(&(number(&line["pid"]), number(&line["tid"]))),
                "{}",
                line["name"]
            );
            add(&mut rest, found.map(|time| -time));
        }
        assert_eq!(others.len(), usize::from(of.len() > LINES));
        let found = others.first().map_or(Times::default(), |line| held(line));
        assert_eq!(found, rest, "all others");

        // The script reads the bins as they were written.
        let shown: Vec<Times> =
            serde_json::from_value(self.page["sums"].clone()).expect("whole numbers");
        let cpus = list(&self.page["lines"], "cpus");
        let written: Vec<Times> = cpus.iter().chain(lines).map(held).collect();
        assert_eq!(shown, written);
    }

    /// Tables and bars add up to the report, whatever became one row.
    #[track_caller]
    fn check_tables(&self) {
        let content = &self.page["report"];
        let total = |key: &str| -> i64 {
            let processes = list(&self.report, "processes");
            let of = |process: &Value| match key {
                "voluntary" | "involuntary" => number(&process["totals"]["switches"][key]),
                key => number(&process["totals"][format!("{key}_ns")]),
            };
            processes.iter().map(of).sum()
        };
        for title in ["Threads", "Processes"] {
            for column in STATES.iter().chain(&["voluntary", "involuntary"]) {
                assert_eq!(
                    sum(content, title, column),
                    total(column),
                    "{title}: {column}"
                );
            }
        }
        assert_eq!(sum(content, "Waits by cause", "wait"), total("wait"));
        let births = table(content, "Births");
        let others = births["others"][0].as_i64().unwrap_or(0);
        let rows = list(births, "rows").len() as i64;
        assert_eq!(rows + others, number(&self.report["forks_total"]));
        let spikes = table(content, "Spikes by latency");
        let others = spikes["others"][0].as_i64().unwrap_or(0);
        let rows = list(spikes, "rows").len();
        assert_eq!(rows as i64 + others, number(&self.report["spikes_total"]));
        assert_eq!(list(content, "spikes").len(), rows, "a sentence each");

        let bars: Vec<Vec<i64>> =
            serde_json::from_value(self.page["bars"].clone()).expect("parts of bars");
        let mut waited = number(&content["no_bar"][1]);
        for (parts, bar) in bars.iter().zip(list(content, "bars")) {
            assert_eq!(
                parts.iter().sum::<i64>(),
                number(&bar["wait_ns"]),
                "{}",
                bar["thread"]
            );
            waited += number(&bar["wait_ns"]);
        }
        assert_eq!(waited, total("wait"));
    }

    /// What the page says of a table's last row.
    fn foot(&self, title: &str) -> &Value {
        &self.page["feet"][title]
    }
}

#[track_caller]
fn table<'a>(content: &'a Value, title: &str) -> &'a Value {
    let tables = list(content, "tables");
    let found = tables.iter().find(|table| table["title"] == title);
    found.unwrap_or_else(|| panic!("no table {title}"))
}

/// A column with the row of all others.
#[track_caller]
fn sum(content: &Value, title: &str, column: &str) -> i64 {
    let table = table(content, title);
    let columns = list(table, "columns");
    let at = columns.iter().position(|one| one[0] == column);
    let at = at.unwrap_or_else(|| panic!("no column {column}"));
    let others = table["others"][1][at].as_i64().unwrap_or(0);
    let rows = list(table, "rows").iter();
    rows.map(|row| number(&row[at])).sum::<i64>() + others
}

#[test]
fn a_page_for_a_browser() {
    let exported = exported(&[env!("CARGO_BIN_EXE_tracer"), "workload", "hostile-names"]);
    let page = &exported.page;
    let text = page["text"].as_str().expect("the text of the page");
    assert!(text.contains("<script>&\"'"), "{text}");
    for said in ["kernel events at", "of one CPU", "All time has its place"] {
        assert!(text.contains(said), "{said}");
    }

    // Sorted by what the report has of each thread.
    for column in ["wait", "run", "voluntary"] {
        let value = |thread: &Value| match column {
            "voluntary" => number(&thread["switches"][column]),
            column => number(&thread[format!("{column}_ns")]),
        };
        let of: HashMap<i64, i64> = threads(&exported.report)
            .map(|(_, thread)| (number(&thread["tid"]), value(thread)))
            .collect();
        let mut expected: Vec<i64> = of.values().copied().collect();
        assert!(expected.len() > 10);
        expected.sort_unstable();
        for order in ["ascending", "descending"] {
            let said = &page[column][order];
            let shown: Vec<i64> = list(said, "tids")
                .iter()
                .map(|tid| of[&number(tid)])
                .collect();
            assert_eq!(shown, expected, "{column}, {order}");
            assert_eq!(said["order"], order);
            expected.reverse();
        }
    }

    let views: Vec<[f64; 2]> = serde_json::from_value(page["views"].clone()).expect("ranges");
    let [all, wheel, plus, right, minus, zero] = views[..] else {
        panic!("{views:?}")
    };
    let length = |view: [f64; 2]| view[1] - view[0];
    assert!(length(wheel) < length(all), "{views:?}");
    assert!(length(plus) < length(wheel), "{views:?}");
    assert!(
        right[0] > plus[0] && length(minus) > length(right),
        "{views:?}"
    );
    assert_eq!(zero, all);

    let cursor: Vec<(i64, i64, String)> =
        serde_json::from_value(page["cursor"].clone()).expect("places and words");
    let bins: Vec<i64> = cursor.iter().map(|(_, bin, _)| *bin).collect();
    assert_eq!(bins[..6], [0, 1, 2, 2, 2, 1]);
    assert!(bins[6] > 2000, "{bins:?}");
    let rows: Vec<i64> = cursor.iter().map(|(row, _, _)| row - cursor[0].0).collect();
    assert_eq!(rows, [0, 0, 0, 1, 0, 0, 0]);
    assert!(
        cursor[1].2 != cursor[2].2 && cursor[2].2 != cursor[3].2,
        "{cursor:?}"
    );
    assert_eq!(page["live"], "polite");

    let names = |at: usize| page["filtered"][at].as_array().expect("lines").len();
    let cpus = list(&page["lines"], "cpus").len();
    assert_eq!([names(1), names(2), names(3)], [cpus + 1, cpus, names(0)]);
    assert_eq!(names(0), cpus + list(&page["lines"], "threads").len());

    let grounds = list(page, "grounds");
    assert_ne!(grounds[0], grounds[1]);
    assert_eq!(grounds[0], grounds[2]);
}

#[test]
fn a_part_of_the_time_is_a_page_that_adds_up() {
    let tracer = env!("CARGO_BIN_EXE_tracer");
    let exported = exported_from(
        &[tracer, "workload", "demo", "--duration", "1s"],
        &["--from", "250ms", "--to", "750ms"],
        &["--from", "250ms", "--until", "750ms"],
    );
    let window = &exported.report["window"];
    assert_eq!(window["duration_ns"], 500_000_000);
}

#[test]
fn what_a_page_does_not_list_is_one_row() {
    let exported = exported(&["sh", "-c", "for i in $(seq 250); do /bin/true; done"]);
    let threads = threads(&exported.report).count();
    assert!(threads > 250, "{threads}");
    for (title, all) in [
        ("Threads", threads as i64),
        ("Births", number(&exported.report["forks_total"])),
    ] {
        assert_eq!(exported.page["rows"][title], LINES, "{title}");
        let others = format!("{} others", all - LINES as i64);
        assert_eq!(exported.foot(title), &Value::String(others.clone()));
        let text = exported.page["text"]
            .as_str()
            .expect("the text of the page");
        assert!(text.contains(&others), "{others}");
    }
}
