//! What users get to see of a run: tables, lines, files, and what a report says when records were lost.

mod support;

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Stdio};

use serde_json::Value;
use support::check::{check_lossy_report, check_report, list};
use support::machine::{Counters, background, background_workload, cpus};
use support::trace::{Traced, traced};
use support::{Outcome, Running, binary, threads, tracer};
use unicode_width::UnicodeWidthStr as _;

const ESC: char = '\u{1b}';

/// `tracer run` in a terminal of 80 columns, where something is to be seen.
#[track_caller]
fn in_terminal(environment: &[(&str, &str)]) -> String {
    let run = "stty cols 80 rows 50; \"$TRACER\" run -- \"$TRACER\" workload hostile-names --duration 1500ms";
    let mut script = Command::new("script");
    script
        .args(["-qec", run, "/dev/null"])
        .env("TRACER", binary().get_program())
        .env_remove("NO_COLOR")
        .env("TERM", "xterm")
        .envs(environment.iter().copied());
    let outcome = Running::start(&mut script).finish();
    outcome.expect_code(0);
    outcome.stdout().replace("\r\n", "\n")
}

/// Something to trace that writes nothing and ends by itself.
fn on_sleepers<'a>(args: &[&'a str], duration: &'a str) -> Vec<&'a str> {
    let command = ["--", env!("CARGO_BIN_EXE_tracer"), "workload", "sleepers"];
    [args, &command, &["--duration", duration]].concat()
}

/// Without the sequences that choose a colour. What else there is stays, for the test to stumble over.
fn without_colour(text: &str) -> String {
    let mut plain = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("\u{1b}[") {
        plain.push_str(before);
        let end = after.find(|c: char| !c.is_ascii_digit() && c != ';');
        match end.filter(|&end| after[end..].starts_with('m')) {
            Some(end) => rest = &after[end + 1..],
            None => {
                plain.push(ESC);
                rest = after;
            }
        }
    }
    plain + rest
}

#[track_caller]
fn expect_harmless(text: &str) {
    let line = text
        .lines()
        .find(|line| line.contains(|c: char| c.is_control()));
    assert_eq!(line, None, "of:\n{text}");
    assert!(!text.contains('\u{202e}') && !text.contains('\u{200b}'));
}

/// One line that says what is wrong, and no panic.
#[track_caller]
fn one_line(outcome: &Outcome) -> String {
    let text = outcome.stderr();
    assert_eq!(text.lines().count(), 1, "{text}");
    assert!(text.starts_with("error: "), "{text}");
    text
}

fn number(value: &Value, pointer: &str) -> u64 {
    let found = value.pointer(pointer).and_then(Value::as_u64);
    found.unwrap_or_else(|| panic!("{pointer} is no number in {value:#}"))
}

#[test]
fn on_a_terminal_the_table_fits_and_has_colour() {
    let text = in_terminal(&[]);
    let plain = without_colour(&text);
    expect_harmless(&plain);
    assert_ne!(plain, text, "no colour");
    for line in plain.lines() {
        assert!(line.width() <= 80, "{} columns: {line}", line.width());
    }
    // An interval after a second, then the report.
    for part in ["+1.00 s", "Verdict", r"\x1b[31mred", "日本語"] {
        assert!(plain.contains(part), "no {part:?} in:\n{plain}");
    }
}

#[test]
fn no_color_is_respected() {
    let text = in_terminal(&[("NO_COLOR", "1")]);
    expect_harmless(&text);
    assert!(text.lines().all(|line| line.width() <= 80), "{text}");
}

#[test]
fn a_pipe_gets_no_colour_and_no_intervals() {
    let outcome = tracer(on_sleepers(&["run"], "1500ms"));
    outcome.expect_code(0);
    expect_harmless(&outcome.stdout());
    assert!(!outcome.stdout().contains("+1.0"), "{}", outcome.stdout());
    assert!(outcome.stderr.is_empty(), "{}", outcome.stderr());
}

#[test]
fn verbose_tells_what_is_loaded() {
    let args = ["run", "-v", "--buffer", "100KiB"];
    let outcome = tracer(on_sleepers(&args, "300ms"));
    outcome.expect_code(0);
    let text = outcome.stderr();
    expect_harmless(&text);
    let rings = format!("for each of {} CPUs", cpus());
    for part in ["loaded and attached", "128 KiB", &rings, "detached"] {
        assert!(text.contains(part), "no {part:?} in:\n{text}");
    }
}

const INTERVAL: u64 = 500_000_000;

#[test]
fn intervals_tile_the_window() {
    let counters = Counters::start();
    let load = "\"$0\" workload pingpong-threads --duration 600ms --count 20000; sleep 2";
    let mut args = vec!["run", "--interval", "500ms", "--format", "ndjson"];
    // Built for debugging and on a busy machine the collector is late: it gets the room to be.
    args.extend(["--buffer", "32MiB", "--duration", "2s"]);
    args.extend(["--", "sh", "-c", load]);
    args.push(env!("CARGO_BIN_EXE_tracer"));
    let outcome = tracer(args);
    outcome.expect_code(0);
    let lines = outcome.json_lines();
    let (report, intervals) = lines.split_last().expect("a report");
    assert_eq!(report["type"], "report");
    assert_eq!(report["quality"]["verdict"], "valid", "{report:#}");
    check_report(report);

    // Whole intervals only: what is left at the end has no line, it is in the report.
    let window = number(report, "/window/duration_ns");
    let covered = intervals.len() as u64 * INTERVAL;
    assert!(intervals.len() >= 3 && covered <= window, "{covered}");
    for (nth, interval) in intervals.iter().enumerate() {
        assert_eq!(interval["type"], "interval");
        assert_eq!(number(interval, "/interval/at_ns"), nth as u64 * INTERVAL);
        assert_eq!(number(interval, "/interval/duration_ns"), INTERVAL);
        for cpu in list(&interval["system"], "cpus") {
            let sum = number(cpu, "/busy_ns") + number(cpu, "/idle_ns");
            assert!(sum.abs_diff(INTERVAL) <= INTERVAL / 1_000, "{cpu:#}");
        }
    }

    // The kernel counted the same over what they cover. It counts before its tracepoint fires: on every
    // CPU a switch may be in between.
    let sum: u64 = intervals
        .iter()
        .map(|interval| number(interval, "/system/switches"))
        .sum();
    let start = number(report, "/window/start_monotonic_ns");
    let (bounds, _) = counters.growth(start, covered);
    // Under a target the CPUs' counts are read when an interval ends, or as soon as the collector has its turn.
    let late = sum / 100 + cpus();
    let (least, most) = (bounds.start() - late, bounds.end() + late);
    assert!((least..=most).contains(&sum), "{sum} not in {bounds:?}");
    assert!(sum <= number(report, "/system/switches"));

    // Threads that ended in them have all of it in the intervals, nothing twice and nothing missing.
    let mut sums: HashMap<u64, [u64; 6]> = HashMap::new();
    for (_, thread) in intervals.iter().flat_map(threads) {
        let sum = sums.entry(number(thread, "/tid")).or_default();
        let parts = counted(thread);
        sum.iter_mut()
            .zip(parts)
            .for_each(|(sum, part)| *sum += part);
    }
    let ended = |thread: &Value| thread["exit"]["at_ns"].as_u64() < Some(covered);
    let mut switches = 0;
    for (_, thread) in
        threads(report).filter(|(_, thread)| !thread["exit"].is_null() && ended(thread))
    {
        let tid = number(thread, "/tid");
        assert_eq!(sums.get(&tid), Some(&counted(thread)), "{thread:#}");
        switches += number(thread, "/switches/voluntary");
    }
    assert!(switches > 1_000, "{switches} switches are no load");
}

fn counted(thread: &Value) -> [u64; 6] {
    [
        "/switches/voluntary",
        "/switches/involuntary",
        "/lifetime_ns",
        "/run_ns",
        "/wait_ns",
        "/sleep_ns",
    ]
    .map(|pointer| number(thread, pointer))
}

/// Far more than so little memory holds until it is read.
#[track_caller]
fn overloaded(buffer: &str) {
    let talk = "while :; do perf bench sched messaging -g 4 -l 200; done";
    let _talkers = background("sh", &["-c", talk]);
    let _pingpong = background_workload(&["pingpong-threads", "--count", "100000000"]);
    let Traced { outcome, report } = traced(&["--buffer", buffer, "--duration", "3s"]);
    outcome.expect_code(0);
    check_lossy_report(&report);
    let quality = &report["quality"];
    assert_eq!(quality["verdict"], "degraded", "{quality:#}");
    assert!(number(quality, "/lost_records") > 0, "{quality:#}");
    let reasons = quality["reasons"].to_string();
    assert!(reasons.contains("--buffer"), "{reasons}");

    // Counters heal where time cannot: whatever was lost, no switch is missing from a thread's own count.
    let (mut unknown, mut compared) = (0, 0);
    for (_, thread) in threads(&report) {
        unknown += number(thread, "/unknown_ns");
        if thread["kernel"].is_null() {
            // Nothing is claimed to be known of what it did last.
            let is_doubtful = thread["exit"].is_null() || number(thread, "/unknown_ns") > 0;
            assert!(is_doubtful, "{thread:#}");
            continue;
        }
        compared += 1;
        for class in ["voluntary", "involuntary"] {
            let ours = &thread["switches"][class];
            assert_eq!(ours, &thread["kernel"][class], "{class} of {thread:#}");
        }
    }
    assert!(unknown > 0, "{quality:#}");
    assert!(compared > 20, "{compared} threads");
}

#[test]
fn what_is_lost_is_known_with_a_page_for_each_cpu() {
    overloaded("4KiB");
}

#[test]
fn what_is_lost_is_known_with_a_small_buffer() {
    overloaded("16KiB");
}

#[test]
fn hostile_names_are_shown_and_do_no_harm() {
    let command = ["--", env!("CARGO_BIN_EXE_tracer"), "workload"];
    let run = |format: &str| {
        // Nothing is lost, no name either.
        let mut args = vec!["run", "--buffer", "32MiB", "--format", format];
        args.extend(command);
        args.extend(["hostile-names", "--duration", "300ms"]);
        let outcome = tracer(args);
        outcome.expect_code(0);
        expect_harmless(&outcome.stdout());
        expect_harmless(&outcome.stderr());
        outcome
    };
    let table = run("table").stdout();
    for shown in [r"\x1b[31mred", r"two\nlines", "日本語", "<script>"] {
        assert!(table.contains(shown), "no {shown:?} in:\n{table}");
    }
    let json = run("json");
    let report = json.json();
    check_report(&report);
    assert_eq!(report["quality"]["verdict"], "valid", "{report:#}");
    for escaped in [r"\u001b[31mred", r"\u202e", r"\n", r"\\xff"] {
        let text = json.stdout();
        assert!(text.contains(escaped), "no {escaped:?} in:\n{text}");
    }
    let names: Vec<&str> = threads(&report)
        .filter_map(|(_, thread)| thread["comm"].as_str())
        .collect();
    // As they were, only what is not UTF-8 is written out. Cut by the kernel to 15 bytes.
    for name in [
        "\u{1b}[31mred\u{1b}[0m",
        "two\nlines\r",
        r"bad\xff\xfe\x80",
        "zero\u{200b}width",
        "%s%n%x",
        "},{\"pid\":1,\"",
        "   ",
        "",
    ] {
        assert!(names.contains(&name), "no {name:?} in {names:?}");
    }
    let lines = run("ndjson").json_lines();
    assert_eq!(lines.len(), 1);
}

#[test]
fn a_file_gets_the_whole_report_and_is_the_owners_alone() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("report.json");
    let file = path.display().to_string();
    let args = ["run", "--format", "json", "-o", &file];
    let mode = || fs::metadata(&path).expect("it is there").permissions();
    for expected in [0o600, 0o640] {
        let outcome = tracer(on_sleepers(&args, "300ms"));
        outcome.expect_code(0);
        assert!(outcome.stdout.is_empty() && outcome.stderr.is_empty());
        let text = fs::read(&path).expect("it can be read");
        check_report(&serde_json::from_slice(&text).expect("it is JSON"));
        assert_eq!(mode().mode() & 0o777, expected);
        // A file that is replaced stays as open as it was.
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).expect("open it");
    }
    let names: Vec<_> = fs::read_dir(dir.path())
        .expect("list")
        .flatten()
        .map(|entry| entry.file_name())
        .collect();
    assert_eq!(names, ["report.json"]);
}

#[test]
fn a_full_disk_is_one_error() {
    for format in ["table", "json", "ndjson"] {
        let args = ["run", "--format", format, "-o", "/dev/full"];
        let outcome = tracer(args.into_iter().chain(["--duration", "300ms"]));
        outcome.expect_code(1);
        let text = one_line(&outcome);
        for part in ["/dev/full", "No space left"] {
            assert!(text.contains(part), "{text}");
        }
    }
}

#[test]
fn a_place_that_cannot_be_written_is_told_before_anything_runs() {
    let dir = tempfile::tempdir().expect("a directory");
    let ran = dir.path().join("ran").display().to_string();
    let into = dir.path().join("absent/report").display().to_string();
    let outcome = tracer(["run", "-o", &into, "--", "touch", &ran]);
    outcome.expect_code(1);
    assert!(one_line(&outcome).contains(&into));
    assert!(!fs::exists(&ran).expect("look"));
}

#[test]
fn a_reader_that_went_away_is_no_error() {
    for args in [
        &["--duration", "300ms"][..],
        &["--duration", "300ms", "--format", "json"],
        // The end of the reader is the end of the run, long before its duration.
        &["--duration", "1h", "--interval", "50ms"],
        &[
            "--duration",
            "1h",
            "--interval",
            "50ms",
            "--format",
            "ndjson",
        ],
    ] {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let mut command = binary();
        command
            .arg("run")
            .args(args)
            .stdin(Stdio::null())
            .stdout(writer)
            .stderr(Stdio::piped());
        let outcome = Running::start_as_is(&mut command).finish();
        outcome.expect_code(0);
        assert!(outcome.stderr.is_empty(), "{}", outcome.stderr());
    }
}

#[test]
fn what_is_folded_stays_in_the_sums() {
    const THREADS: u64 = 1_000;
    let count = THREADS.to_string();
    let mut args = vec!["--max-threads", "50", "--"];
    args.extend([env!("CARGO_BIN_EXE_tracer"), "workload", "short-threads"]);
    args.extend(["--count", &count]);
    let Traced { outcome, report } = traced(&args);
    outcome.expect_code(0);
    // Compares totals with rows and the folded, too.
    check_report(&report);
    assert_eq!(report["quality"]["verdict"], "valid", "{report:#}");
    let folded = number(&report, "/quality/folded_threads");
    let rows = threads(&report).count() as u64;
    assert!(folded > 0 && rows <= 51, "{folded} folded, {rows} rows");
    assert_eq!(folded + rows, THREADS + 1);
    assert_eq!(number(&report, "/target/threads"), THREADS + 1);
    let [process] = list(&report, "processes") else {
        panic!("one process: {report:#}");
    };
    for pointer in ["/switches/voluntary", "/run_ns", "/wait_ns", "/lifetime_ns"] {
        let shown: u64 = list(process, "threads")
            .iter()
            .map(|thread| number(thread, pointer))
            .sum();
        let hidden = number(&process["folded"]["totals"], pointer);
        assert!(hidden > 0 || pointer == "/wait_ns", "{process:#}");
        assert_eq!(number(&process["totals"], pointer), shown + hidden);
    }
}
