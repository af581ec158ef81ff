//! Exports of recordings of the running kernel: read by the tools that people use, they say what the report says.

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use support::check::{check_report, list};
use support::machine::background_workload;
use support::python::python;
use support::{Running, binary, threads, tracer};

/// A recording of something, with its report.
struct Recorded {
    dir: tempfile::TempDir,
    report: Value,
    /// What exports are asked for, too.
    part: &'static [&'static str],
}

impl Recorded {
    #[track_caller]
    fn of(args: &[&str]) -> Recorded {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("recording");
        let mut command = binary();
        command.args(["record", "-o"]).arg(&file).args(args);
        Running::start(&mut command).finish().expect_code(0);
        let recorded = Recorded {
            dir,
            report: Value::Null,
            part: &[],
        };
        let report = recorded.reported(&[]);
        Recorded { report, ..recorded }
    }

    #[track_caller]
    fn reported(&self, more: &[&str]) -> Value {
        let file = self.file();
        let args = ["report", "--format", "json", &file];
        let report = tracer(args.iter().chain(more));
        report.expect_code(0);
        let report = report.json();
        check_report(&report);
        report
    }

    /// The same recording, of which only the middle is asked for.
    #[track_caller]
    fn middle(self) -> Recorded {
        Recorded {
            report: self.reported(&["--from", "200ms", "--to", "800ms"]),
            part: &["--from", "200ms", "--until", "800ms"],
            ..self
        }
    }

    fn file(&self) -> String {
        self.dir.path().join("recording").display().to_string()
    }

    #[track_caller]
    fn export(&self, to: &str, more: &[&str]) -> PathBuf {
        let out = self.dir.path().join(format!("out.{to}"));
        let mut command = binary();
        command
            .args(["export", &self.file(), "--to", to, "-o"])
            .arg(&out)
            .args(self.part)
            .args(more);
        Running::start(&mut command).finish().expect_code(0);
        out
    }

    /// By tid and start, which names a thread for good: run, wait, sleep, block, stopped, unknown, voluntary,
    /// involuntary, and what its waits were for.
    fn totals(&self) -> BTreeMap<String, [u64; 9]> {
        threads(&self.report)
            .map(|(_, thread)| {
                let number = |pointer: &str| thread.pointer(pointer).and_then(Value::as_u64);
                let waited_for = list(thread, "waited_for").iter();
                let waited_for: u64 = waited_for.filter_map(|row| row["ns"].as_u64()).sum();
                let numbers = [
                    "/run_ns",
                    "/wait_ns",
                    "/sleep_ns",
                    "/block_ns",
                    "/stopped_ns",
                    "/unknown_ns",
                    "/switches/voluntary",
                    "/switches/involuntary",
                ];
                let mut totals = [waited_for; 9];
                for (total, pointer) in totals.iter_mut().zip(numbers) {
                    *total = number(pointer).expect("measured");
                }
                (
                    format!("{} {}", thread["tid"], thread["started_ns"]),
                    totals,
                )
            })
            .collect()
    }

    #[track_caller]
    fn expect_totals(&self, found: &BTreeMap<String, [u64; 9]>) {
        let expected = self.totals();
        assert!(expected.len() > 10, "{} threads", expected.len());
        let switches: u64 = expected.values().map(|totals| totals[6] + totals[7]).sum();
        assert!(switches > 1_000, "{switches} switches");
        assert_eq!(found.len(), expected.len());
        for (name, totals) in &expected {
            assert_eq!(found.get(name), Some(totals), "thread {name}");
        }
    }
}

/// Threads that compete, sleep, create and end.
fn busy() -> Recorded {
    Recorded::of(&[
        "--",
        env!("CARGO_BIN_EXE_tracer"),
        "workload",
        "demo",
        "--duration",
        "1s",
    ])
}

/// A line for each thread of the tables: its name as above, and its totals, by the reader that `rows` asks.
const TOTALS: &str = r#"
import sys
def totals(rows):
    spans = {(t, s): int(n) for t, s, n in rows("select thread, state, sum(ns) from spans group by all")}
    waits = {t: int(n) for t, n in rows("select thread, sum(ns) from waits group by all")}
    left = {t: (int(v), int(i)) for t, v, i in
        rows("select thread, sum(voluntary), sum(involuntary) from switches group by all")}
    states = ["run", "wait", "sleep", "block", "stopped", "unknown"]
    for thread, tid, started, *own in rows(
        "select thread, tid, started_ns, run_ns, wait_ns, sleep_ns, block_ns, stopped_ns, unknown_ns, "
        "voluntary, involuntary from threads"):
        found = [spans.get((thread, state), 0) for state in states] + list(left.get(thread, (0, 0)))
        assert found == list(own), (tid, found, own)
        print(tid, "null" if started is None else started, *found, waits.get(thread, 0))
"#;

fn read_totals(lines: &str) -> BTreeMap<String, [u64; 9]> {
    let line = |line: &str| {
        let words: Vec<&str> = line.split(' ').collect();
        let (name, numbers) = words.split_at(2);
        let numbers: Vec<u64> = numbers
            .iter()
            .map(|n| n.parse().expect("a number"))
            .collect();
        (name.join(" "), numbers.try_into().expect("nine numbers"))
    };
    lines.lines().map(line).collect()
}

#[test]
fn duckdb_and_pyarrow_read_the_reports_totals() {
    expect_parquet(&busy());
}

#[track_caller]
fn expect_parquet(recorded: &Recorded) {
    let tables = recorded.export("parquet", &[]);
    let duckdb = r#"
import duckdb
def rows(query):
    for table in ["spans", "switches", "waits", "threads"]:
        query = query.replace(f"from {table}", f"from '{sys.argv[1]}/{table}.parquet'")
    return duckdb.sql(query).fetchall()
totals(rows)
"#;
    let found = python(&format!("{TOTALS}{duckdb}"), [&tables]);
    recorded.expect_totals(&read_totals(&found));

    // The same sums by another reader, without SQL.
    let pyarrow = r#"
import pyarrow.parquet as parquet
def column(table, name):
    return parquet.read_table(f"{sys.argv[1]}/{table}.parquet").column(name).to_pylist()
def rows(query):
    table = query.split(" from ")[1].split()[0]
    names = [word.strip(",") for word in query.split("select ")[1].split(" from ")[0].split(", ")]
    plain = [name.removeprefix("sum(").removesuffix(")") for name in names]
    if plain == names:
        return list(zip(*(column(table, name) for name in names)))
    keys = [name for name in names if "sum(" not in name]
    sums = {}
    for row in zip(*(column(table, name) for name in plain)):
        sum = sums.setdefault(row[:len(keys)], [0] * (len(names) - len(keys)))
        for place, number in enumerate(row[len(keys):]):
            sum[place] += number
    return [(*key, *sum) for key, sum in sums.items()]
totals(rows)
"#;
    let found = python(&format!("{TOTALS}{pyarrow}"), [&tables]);
    recorded.expect_totals(&read_totals(&found));
    for left in fs::read_dir(&tables).expect("a directory").flatten() {
        let name = left.file_name();
        assert!(
            Path::new(&name)
                .extension()
                .is_some_and(|end| end == "parquet"),
            "{name:?}"
        );
    }
}

#[test]
fn every_column_is_documented() {
    let recorded = busy();
    let tables = recorded.export("parquet", &[]);
    let columns = python(
        r#"
import sys, pyarrow.parquet as parquet
for table in ["spans", "switches", "waits", "forks", "threads"]:
    schema = parquet.read_schema(f"{sys.argv[1]}/{table}.parquet")
    for name in schema.names:
        print(table, name)
    assert str(schema.field("time").type) == "timestamp[ns, tz=UTC]", schema
    about = parquet.read_metadata(f"{sys.argv[1]}/{table}.parquet").metadata
    assert about[b"tracer.kernel"] == sys.argv[2].encode(), about
"#,
        [
            tables.as_os_str(),
            recorded.report["host"]["kernel"]
                .as_str()
                .expect("a kernel")
                .as_ref(),
        ],
    );
    let docs = include_str!("../../docs/EXPORTS.md");
    let section = |table: &str| {
        let (_, rest) = docs
            .split_once(&format!("\n### {table}\n"))
            .expect("a section");
        rest.split("\n#").next().unwrap_or_default().to_owned()
    };
    let (common, _) = docs.split_once("\n### ").expect("sections");
    assert!(columns.lines().count() > 100, "{columns}");
    for line in columns.lines() {
        let (table, column) = line.split_once(' ').expect("two words");
        let quoted = format!("`{column}`");
        assert!(
            section(table).contains(&quoted) || common.contains(&quoted),
            "docs/EXPORTS.md, {table}: no {quoted}"
        );
    }
}

/// The examples in the docs, in order.
fn queries() -> Vec<String> {
    let docs = include_str!("../../docs/EXPORTS.md");
    let blocks = docs.split("```sql\n").skip(1);
    let parquet = blocks.filter_map(|block| block.split("```").next());
    let parquet = parquet.filter(|query| query.contains(".parquet"));
    parquet.map(str::to_owned).collect()
}

/// Run by somebody who has the files where the docs say.
#[track_caller]
fn ask(directory: &Path, query: &str) -> Vec<Value> {
    let script = r#"
import duckdb, json, os, sys
os.chdir(sys.argv[1])
answer = duckdb.sql(sys.argv[2])
for row in answer.fetchall():
    print(json.dumps(dict(zip(answer.columns, row)), default=float))
"#;
    let said = python(script, [directory.as_os_str(), query.as_ref()]);
    let rows = said
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"));
    rows.collect()
}

#[test]
fn the_examples_in_the_docs_answer_what_they_say() {
    let recorded = busy();
    let dir = recorded.dir.path();
    fs::rename(recorded.export("parquet", &[]), dir.join("tables")).expect("rename a directory");
    let queries = queries();
    assert_eq!(queries.len(), 3, "{queries:?}");

    // The longest share is that of the report's thread that waited longest for one.
    let rows = ask(dir, &queries[0]);
    assert_eq!(rows.len(), 10);
    let longest = threads(&recorded.report)
        .flat_map(|(_, thread)| list(thread, "waited_for"))
        .filter_map(|row| row["ns"].as_f64())
        .fold(0.0, f64::max);
    let found = rows[0]["ms"].as_f64().expect("a number") * 1e6;
    assert!(found >= longest * 0.999, "{rows:?}: {longest}");

    let rows = ask(dir, &queries[1]);
    assert!(rows.len() >= 9, "{rows:?}");
    let run: f64 = rows.iter().filter_map(|row| row["running"].as_f64()).sum();
    let total: u64 = recorded.totals().values().map(|totals| totals[0]).sum();
    assert!((run * 1e8 - total as f64).abs() < 1e6, "{run}: {total}");
}

#[test]
fn the_files_of_two_hosts_are_one_table() {
    let dir = tempfile::tempdir().expect("a directory");
    let names = ["first-host", "second-host"];
    for name in names {
        let (file, out) = (dir.path().join(name), dir.path().join("hosts").join(name));
        // A host is what it is called: each records in a namespace with its own name.
        let script =
            r#"hostname "$1" && exec "$2" record -o "$3" -- "$2" workload demo --duration 300ms"#;
        let mut record = Command::new("unshare");
        record.args(["--uts", "sh", "-c", script, "sh", name]);
        record.arg(env!("CARGO_BIN_EXE_tracer")).arg(&file);
        Running::start(&mut record).finish().expect_code(0);
        let mut export = binary();
        export
            .arg("export")
            .arg(&file)
            .args(["--to", "parquet", "-o"])
            .arg(&out);
        Running::start(&mut export).finish().expect_code(0);
    }
    let rows = ask(dir.path(), &queries()[2]);
    for name in names {
        let of = rows.iter().filter(|row| row["host"] == name);
        assert!(of.count() > 1, "{name}: {rows:?}");
    }
    assert!(
        rows.iter().all(|row| row["waited"].as_f64() <= Some(1.0)),
        "{rows:?}"
    );
}

#[test]
fn ndjson_and_csv_add_up_to_the_report() {
    let recorded = busy();
    expect_ndjson(&recorded);
    let tables = ["spans", "switches", "waits", "threads", "forks"].map(|table| {
        let file = recorded.export("csv", &["--table", table]);
        let said = python(
            "import csv, json, sys\nfor row in csv.DictReader(open(sys.argv[1], newline='')): print(json.dumps(row))",
            [file],
        );
        said.lines()
            .map(|line| serde_json::from_str(line).expect("JSON"))
            .collect::<Vec<Value>>()
    });
    expect_tables(&recorded, tables);
}

#[test]
fn a_part_of_the_time_adds_up_to_its_report() {
    let recorded = busy();
    let whole = recorded.totals();
    let recorded = recorded.middle();
    assert_eq!(recorded.report["window"]["duration_ns"], 600_000_000);
    assert_ne!(recorded.totals(), whole);
    expect_ndjson(&recorded);
    expect_folded(&recorded);
    expect_parquet(&recorded);
    let outcome = tracer([
        "export",
        &recorded.file(),
        "--to=ndjson",
        "--output=-",
        "--from=20ms",
        "--until=10ms",
    ]);
    outcome.expect_code(2);
    let told = outcome.stderr();
    assert_eq!(told, "error: --until: nothing lies before --from\n");
}

#[track_caller]
fn expect_ndjson(recorded: &Recorded) {
    let lines = fs::read_to_string(recorded.export("ndjson", &[])).expect("a file");
    let rows: Vec<Value> = lines
        .lines()
        .map(|line| serde_json::from_str(line).expect("one object a line"))
        .collect();
    let last = rows.last().expect("lines");
    assert_eq!(last["type"], "report");
    assert_eq!(last["processes"], recorded.report["processes"]);
    let of = |kind: &str| {
        rows.iter()
            .filter(|row| row["type"] == kind)
            .cloned()
            .collect()
    };
    let tables = ["span", "switch", "wait", "thread", "fork"].map(of);
    expect_tables(recorded, tables);
}

#[track_caller]
fn expect_tables(recorded: &Recorded, tables: [Vec<Value>; 5]) {
    let [spans, switches, waits, all_threads, forks] = tables;
    recorded.expect_totals(&sums(&spans, &switches, &waits, &all_threads));
    let total = recorded.report["forks_total"].as_u64().expect("a number");
    assert_eq!(forks.len() as u64, total);
}

/// Of numbers, and of numbers as text.
fn integer(value: &Value) -> i64 {
    match value {
        Value::String(text) if text.is_empty() => 0,
        Value::String(text) => text.parse().expect("a number"),
        value => value.as_i64().unwrap_or(0),
    }
}

fn sums(
    spans: &[Value],
    switches: &[Value],
    waits: &[Value],
    all: &[Value],
) -> BTreeMap<String, [u64; 9]> {
    let mut by_thread: BTreeMap<i64, [i64; 9]> = BTreeMap::new();
    let mut add = |row: &Value, place: usize, key: &str| {
        by_thread.entry(integer(&row["thread"])).or_default()[place] += integer(&row[key]);
    };
    let states = ["run", "wait", "sleep", "block", "stopped", "unknown"];
    for span in spans {
        let place = states.iter().position(|state| span["state"] == *state);
        add(span, place.expect("a state"), "ns");
    }
    for switch in switches {
        add(switch, 6, "voluntary");
        add(switch, 7, "involuntary");
    }
    waits.iter().for_each(|wait| add(wait, 8, "ns"));
    all.iter()
        .map(|thread| {
            let started = match &thread["started_ns"] {
                Value::String(text) if text.is_empty() => "null".to_owned(),
                value => integer(value).to_string(),
            };
            let sums = by_thread.get(&integer(&thread["thread"])).copied();
            let sums = sums.unwrap_or_default().map(|sum| sum as u64);
            (format!("{} {started}", integer(&thread["tid"])), sums)
        })
        .collect()
}

#[test]
fn folded_stacks_add_up_to_the_report() {
    expect_folded(&busy());
}

#[track_caller]
fn expect_folded(recorded: &Recorded) {
    let text = fs::read_to_string(recorded.export("folded", &[])).expect("a file");
    let mut sums = BTreeMap::new();
    for line in text.lines() {
        let (stack, ns) = line.rsplit_once(' ').expect("a number");
        let frames: Vec<&str> = stack.split(';').collect();
        assert!((4..=5).contains(&frames.len()), "{line}");
        *sums.entry(frames[2].to_owned()).or_insert(0) += ns.parse::<u64>().expect("a number");
    }
    let total = |pointers: &[&str]| {
        let processes = list(&recorded.report, "processes").iter();
        let all = processes.flat_map(|one| {
            pointers
                .iter()
                .filter_map(|pointer| one.pointer(pointer)?.as_u64())
        });
        all.sum::<u64>()
    };
    let off = total(&["/totals/sleep_ns", "/totals/block_ns", "/totals/stopped_ns"]);
    let wait = total(&["/totals/wait_ns"]);
    let expected = [("off-cpu".to_owned(), off), ("waited-for".to_owned(), wait)];
    assert_eq!(sums, BTreeMap::from(expected));
}

#[test]
fn only_whom_one_asks_for_is_exported() {
    let load = background_workload(&["sleepers", "--count", "20", "--duration", "3s"]);
    let recorded = Recorded::of(&["--duration", "500ms"]);
    let file = recorded.export("csv", &["--comm", "^sleeper-1[0-3]$", "--table", "threads"]);
    let text = fs::read_to_string(file).expect("a file");
    assert_eq!(text.lines().count(), 1 + 4, "{text}");
    let column = text
        .lines()
        .next()
        .and_then(|names| names.split(',').position(|name| name == "pid"));
    let column = column.expect("a column");
    for line in text.lines().skip(1) {
        let pid = line.split(',').nth(column).expect("a pid");
        assert_eq!(pid, load.id().to_string(), "{line}");
    }
}

#[test]
fn what_cannot_be_written_is_said() {
    let recorded = Recorded::of(&["--duration", "100ms"]);
    let outcome = tracer([
        "export",
        &recorded.file(),
        "--to",
        "parquet",
        "-o",
        "/proc/none",
    ]);
    outcome.expect_code(1);
    let told = outcome.stderr();
    assert!(
        told.starts_with("error: make directory /proc/none"),
        "{told}"
    );
    assert_eq!(told.lines().count(), 1, "{told}");
    let outcome = tracer([
        "export",
        &recorded.file(),
        "--to",
        "ndjson",
        "-o",
        "/dev/full",
    ]);
    outcome.expect_code(1);
    let told = outcome.stderr();
    assert!(told.starts_with("error: write "), "{told}");
    let outcome = tracer(["export", &recorded.file(), "--to", "svg", "-o", "/dev/null"]);
    outcome.expect_code(2);
}
