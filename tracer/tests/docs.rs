//! The documentation names everything that the program takes and prints, and nothing that is gone.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use tracer::diff::{Change, Culprit, Diff, Group, Lone, Metric, Side, Slices, Subject};
use tracer::host::Host;
use tracer::model::{BirthKind, Comm, Nanos, OffState, Priority, WaitCause, WakerKind};
use tracer::output::{self, Format, Style};
use tracer::report::{
    Births, BlockedOn, Branch, ChargeKind, CheckedField, Cost, CowFaults, CpuRow, Crash, Creator,
    Dist, Ended, Exec, Exit, Fork, ForkCost, Insight, KernelCounters, KernelSource, Kinds,
    MemorySource, Mismatch, OffCpu, PreemptedBy, Process, ProcessMemory, Report, Spike, SpikeCause,
    SpikeWaker, Spikes, SwitchCost, SwitchCosts, SwitchKind, SystemTotals, Thread, ThreadMemory,
    Totals, WaitedFor, Who, WokenBy,
};
use tracer::verify::{
    Claim, Effort, FOLKLORE, Finding, Interval, Measurement, NAMES, Outcome, Unit, Verification,
};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the package is below the workspace")
}

fn page(name: &str) -> String {
    fs::read_to_string(root().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The text below a heading, up to the next one of its level.
fn section<'a>(page: &'a str, heading: &str) -> &'a str {
    let (_, rest) = page
        .split_once(&format!("\n## {heading}\n"))
        .unwrap_or_else(|| panic!("no section {heading}"));
    rest.split_once("\n## ")
        .map_or(rest, |(section, _)| section)
}

/// The words in backticks in the first column of every table.
fn defined(page: &str) -> BTreeSet<String> {
    let rows = page.lines().filter_map(|line| line.strip_prefix("| "));
    let first_cells = rows.filter_map(|row| row.split(" | ").next());
    first_cells.flat_map(backticked).collect()
}

fn backticked(text: &str) -> impl Iterator<Item = String> {
    text.split('`').skip(1).step_by(2).map(str::to_owned)
}

/// A report in which every optional thing is there.
fn full() -> Report {
    let totals = Totals {
        unknown: Nanos(1),
        stopped: Nanos(1),
        ..Totals::zero()
    };
    let who = Some(Who::default());
    let waited_for = vec![WaitedFor {
        kind: ChargeKind::Thread,
        who,
        same_process: Some(true),
        count: 1,
        ns: Nanos(1),
    }];
    let thread = Thread {
        totals,
        waited_for: waited_for.clone(),
        preempted_by: vec![PreemptedBy {
            who,
            same_process: None,
            count: 1,
            ns: Nanos(1),
            p99: None,
            resched_delay: None,
        }],
        woken_by: vec![WokenBy {
            kind: WakerKind::Thread,
            itself: false,
            who,
            count: 1,
            cross_cpu: 0,
            wake: Nanos(1),
            wait: Nanos(1),
        }],
        blocked_on: vec![BlockedOn {
            state: OffState::Sleep,
            syscall: None,
            waker: WakerKind::Thread,
            who,
            waker_syscall: None,
            count: 1,
            ns: Nanos(1),
        }],
        exit: Some(Exit {
            at_ns: 0,
            code: 0,
            signal: 0,
        }),
        priority: Priority {
            nice: 1,
            ..Priority::default()
        },
        latency: Some(Dist::default()),
        off_cpu: vec![OffCpu {
            state: OffState::Sleep,
            syscall: None,
            count: 1,
            ns: Nanos(1),
        }],
        kernel: Some(KernelCounters {
            source: KernelSource::Snapshot,
            voluntary: 0,
            involuntary: 0,
            run: Nanos(0),
            wait: Nanos(0),
        }),
        memory: Some(ThreadMemory {
            kernel_stack_bytes: Some(1),
            user_stack_bytes: Some(1),
        }),
        ..Thread::default()
    };
    let spike = Spike {
        at_ns: 0,
        finished: true,
        victim: Who::default(),
        cpu: 0,
        latency: Nanos(1),
        wake: None,
        wait: Nanos(1),
        cause: WaitCause::Woken,
        waited_for,
        woken_by: Some(SpikeWaker {
            kind: WakerKind::Thread,
            who,
        }),
        cgroup_id: None,
        cgroup: None,
    };
    let mut report = Report {
        cost: Some(Cost::default()),
        births: Some(births()),
        switch_costs: Some(SwitchCosts {
            kinds: vec![SwitchCost {
                kind: SwitchKind::SameSpace,
                count: 1,
                total_ns: 1.0,
                p50_ns: 1.0,
                p99_ns: 1.0,
            }],
            ..SwitchCosts::default()
        }),
        spikes: Some(Spikes {
            threshold: Nanos(1),
            count: 1,
            spikes: vec![spike],
            causes: vec![SpikeCause {
                kind: ChargeKind::Thread,
                pid: Some(1),
                comm: Some(Comm::default()),
                cgroup_id: None,
                cgroup: None,
                ns: Nanos(1),
                share: 1.0,
            }],
        }),
        insights: vec![Insight {
            text: String::new(),
            evidence: String::new(),
            remedy: String::new(),
        }],
        ..Report::default()
    };
    report.quality.mismatches.push(Mismatch {
        tid: 0,
        field: CheckedField::Wait,
        ours: 0,
        kernel: 0,
        reason: None,
    });
    report.system.totals = Some(SystemTotals {
        kinds: Kinds::default(),
        ..SystemTotals::default()
    });
    report.system.cpus.push(CpuRow::default());
    report.processes.push(Process {
        totals,
        memory: Some(ProcessMemory {
            source: MemorySource::Procfs,
            rss_bytes: 1,
            pss_bytes: Some(1),
            page_table_bytes: Some(1),
            peak_rss_bytes: Some(1),
        }),
        threads: vec![thread],
        ..Process::default()
    });
    report
}

fn births() -> Births {
    let comm = Comm::default();
    let exit = Exit {
        at_ns: 0,
        code: 0,
        signal: 0,
    };
    Births {
        forks: vec![Fork {
            at_ns: 0,
            kind: BirthKind::Fork,
            flags: None,
            parent: Creator::default(),
            child_pid: 1,
            child_tid: 1,
            child_comm: comm,
            syscall: None,
            fork_to_run: None,
            wake: None,
            wait: None,
            cross_cpu: None,
            fork_to_exec: None,
            parent_rss_bytes: None,
            parent_page_table_bytes: None,
            parent_mappings: None,
            cow_faults: Some(CowFaults::default()),
            lifetime: None,
            exit: Some(exit),
        }],
        execs: vec![Exec {
            at_ns: 0,
            pid: 1,
            tid: 1,
            comm_before: comm,
            comm_after: comm,
            syscall: None,
        }],
        exits: vec![Ended {
            at_ns: 0,
            pid: 1,
            tid: 1,
            comm,
            code: 0,
            signal: 0,
            reaped_after: None,
            teardown: None,
        }],
        costs: vec![ForkCost {
            kind: BirthKind::Fork,
            comm,
            count: 1,
            syscall: Some(Dist::default()),
            first_run: Some(Dist::default()),
            per_gib: None,
        }],
        crashes: vec![Crash {
            at_ns: 0,
            pid: 1,
            comm,
            signal: 11,
            core_dumped: false,
            threads: 1,
        }],
        tree: vec![Branch::default(), Branch::default()],
        ..Births::default()
    }
}

fn printed_as(format: Format, report: &Report) -> String {
    let style = Style {
        width: 500,
        colour: false,
        cmdline: false,
    };
    let mut out = Vec::new();
    output::report(format, &Host::default(), report, &style, &mut out).expect("memory takes all");
    String::from_utf8(out).expect("every format is text")
}

fn keys(value: &Value, into: &mut BTreeSet<String>) {
    match value {
        Value::Object(object) => {
            for (key, value) in object {
                into.insert(key.clone());
                keys(value, into);
            }
        }
        Value::Array(values) => values.iter().for_each(|value| keys(value, into)),
        _ => {}
    }
}

#[test]
fn every_flag_of_run_is_in_the_readme_and_no_other() {
    let help = Command::new(env!("CARGO_BIN_EXE_tracer"))
        .args(["run", "--help"])
        .output()
        .expect("the binary runs");
    let help = String::from_utf8(help.stdout).expect("the help is text");
    let flags: BTreeSet<&str> = help
        .lines()
        .filter_map(|line| line.trim_start().strip_prefix('-').map(|_| line))
        .flat_map(|line| line.split([' ', ',']))
        .filter(|word| word.starts_with("--") && word.len() > 2)
        .collect();
    assert!(flags.len() > 10, "{flags:?}");
    let readme = page("README.md");
    let described: BTreeSet<String> = defined(section(&readme, "What to trace"))
        .into_iter()
        .filter(|word| word.starts_with("--") && *word != "-- COMMAND")
        .collect();
    let described: BTreeSet<&str> = described.iter().map(String::as_str).collect();
    assert_eq!(described, flags);
}

#[test]
fn every_column_is_in_the_readme_and_no_other() {
    let text = printed_as(Format::Table, &full());
    let titles = text
        .lines()
        .find(|line| line.starts_with("THREAD"))
        .expect("a table");
    let printed: BTreeSet<String> = titles.split_whitespace().map(str::to_owned).collect();
    // The first column and the last are no `Column`.
    let columns = include_str!("../src/output/text/columns.rs");
    assert_eq!(
        printed.len(),
        columns.matches("Column::new(\"").count() + 2,
        "the report of this test does not show every column: {titles}"
    );
    assert_eq!(defined(section(&page("README.md"), "Columns")), printed);
    // The table refers to the section by this name.
    assert!(text.contains("README.md, \"Columns\""));
}

/// The tables below that of the threads, each with a section of its own.
#[test]
fn every_column_of_births_and_memory_is_in_the_readme_and_no_other() {
    let text = printed_as(Format::Table, &full());
    let readme = page("README.md");
    let defined = defined(section(&readme, "Births, crashes, processes, memory"));
    let mut printed = BTreeSet::new();
    for first in ["BIRTHS BY", "PROCESSES", "MEMORY"] {
        let titles = text.lines().find_map(|line| line.strip_prefix(first));
        let titles = titles.unwrap_or_else(|| panic!("no table {first}"));
        printed.insert(first.to_owned());
        let titles = titles.replace("PER GiB", "PER_GiB");
        printed.extend(
            titles
                .split_whitespace()
                .map(|title| title.replace('_', " ")),
        );
    }
    assert_eq!(defined, printed);
}

/// All that is printed is named, and all that the chapter has tables of is printed.
#[track_caller]
fn expect_defined(printed: &BTreeSet<String>, named: &BTreeSet<String>, chapter: &str) {
    let undefined: Vec<_> = printed.difference(named).collect();
    assert!(undefined.is_empty(), "not in docs/REPORT.md: {undefined:?}");
    let gone: Vec<_> = defined(chapter)
        .into_iter()
        .filter(|key| !printed.contains(key))
        .collect();
    assert!(gone.is_empty(), "docs/REPORT.md defines: {gone:?}");
}

#[test]
fn every_key_of_the_report_is_defined_and_no_other() {
    let mut report = full();
    let mut printed = BTreeSet::new();
    let mut print = |report: &Report| {
        let line = printed_as(Format::Ndjson, report);
        keys(
            &serde_json::from_str(&line).expect("one object"),
            &mut printed,
        );
    };
    print(&report);
    report.window.interval_at = Some(Nanos(0));
    print(&report);
    let page = page("docs/REPORT.md");
    let (report, _doctor) = page.split_once("\n# ").expect("a second chapter");
    let named: BTreeSet<String> = backticked(report).collect();
    expect_defined(&printed, &named, report);
}

#[test]
fn every_key_of_the_diff_is_defined_and_no_other() {
    let group = Group {
        process: Comm::default(),
        thread: Comm::default(),
    };
    let lone = Lone {
        group,
        own: false,
        threads: 1,
        run: 1.0,
        wait: 1.0,
        block: 1.0,
        voluntary: 1.0,
        involuntary: 1.0,
    };
    let culprit = Culprit {
        kind: ChargeKind::Thread,
        comm: None,
    };
    let diff = Diff {
        before: Side::default(),
        after: Side::default(),
        slices: [Slices::of(Nanos(1)); 2],
        caveats: Vec::new(),
        no_intervals: None,
        groups: 1,
        compared: 1,
        changes: vec![Change {
            subject: Subject::Group(group),
            own: false,
            metric: Metric::WaitedFor(culprit),
            before: 1.0,
            after: 2.0,
            interval: None,
        }],
        new: vec![lone],
        gone: Vec::new(),
    };
    let mut out = Vec::new();
    output::diff_json(&diff, &mut out).expect("memory takes all");
    let mut printed = BTreeSet::new();
    keys(
        &serde_json::from_slice(&out).expect("one object"),
        &mut printed,
    );
    let page = page("docs/REPORT.md");
    let (_, chapter) = page
        .split_once("\n# The diff, field by field\n")
        .expect("the chapter");
    let chapter = chapter.split("\n# ").next().unwrap_or(chapter);
    // Keys that both have are defined with the report.
    let named: BTreeSet<String> = backticked(&page).collect();
    expect_defined(&printed, &named, chapter);
}

#[test]
fn every_word_of_the_report_is_defined() {
    let named: BTreeSet<String> = backticked(&page("docs/REPORT.md")).collect();
    let words = include_str!("../src/output/words.rs")
        .split("=> \"")
        .skip(1);
    let words: Vec<&str> = words.filter_map(|rest| rest.split('"').next()).collect();
    assert!(words.len() > 20, "{words:?}");
    for word in words {
        let known = named.contains(word) || word.contains('{');
        assert!(known, "{word} is not in docs/REPORT.md");
    }
}

#[test]
fn the_code_map_names_every_module() {
    let map = page("docs/ARCHITECTURE.md");
    for directory in [
        "tracer/src",
        "tracer/src/engine",
        "tracer/src/kernel",
        "tracer-common/src",
        "tracer-ebpf/src",
    ] {
        for path in entries(&root().join(directory)) {
            let name = path.file_name().and_then(|name| name.to_str());
            let name = name.expect("source files have plain names");
            let known = ["main.rs", "lib.rs", "mod.rs"].contains(&name)
                || name.contains("test")
                || map.contains(name);
            assert!(known, "{directory}/{name} is not in docs/ARCHITECTURE.md");
        }
    }
}

fn entries(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).expect("the directory exists");
    entries.flatten().map(|entry| entry.path()).collect()
}

#[test]
fn links_lead_somewhere() {
    for name in [
        "README.md",
        "docs/ARCHITECTURE.md",
        "docs/CLAIMS.md",
        "docs/PERFORMANCE.md",
        "docs/REPORT.md",
    ] {
        let text = page(name);
        let directory = root().join(name);
        for link in text
            .split("](")
            .skip(1)
            .filter_map(|rest| rest.split(')').next())
        {
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = directory.with_file_name(file);
            assert!(file.is_empty() || target.is_file(), "{name}: {link}");
            let heading = |line: &str| line.starts_with('#') && slug(line) == anchor;
            let there = anchor.is_empty() || text.lines().any(heading);
            assert!(there, "{name}: {link}");
        }
    }
}

/// As a heading is named in links.
fn slug(heading: &str) -> String {
    let title = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = |c: &char| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_');
    let title: String = title.chars().filter(kept).collect();
    title.replace(' ', "-")
}

#[test]
fn every_key_of_verify_is_defined_and_no_other() {
    let measurement = Measurement::counted("a.b", Unit::Count, 1.0, 1);
    let claim = Claim::by("a.c", "it is so", &measurement, |_| {
        (tracer::verify::Verdict::Confirmed, "so it is".to_owned())
    });
    let verification = Verification {
        host: Host::default(),
        effort: Effort::Quick,
        took: Duration::ZERO,
        outcomes: vec![Outcome {
            name: NAMES[0],
            took: Duration::ZERO,
            found: Ok(Finding {
                measurements: vec![measurement],
                claims: vec![Claim {
                    interval: Some(Interval {
                        low: 1.0,
                        high: 1.0,
                    }),
                    source: FOLKLORE,
                    ..claim
                }],
                ..Finding::default()
            }),
        }],
    };
    let mut out = Vec::new();
    output::verify_json(&verification, &mut out).expect("memory takes all");
    let mut printed = BTreeSet::new();
    keys(
        &serde_json::from_slice(&out).expect("one object"),
        &mut printed,
    );
    let page = page("docs/REPORT.md");
    let (report, chapter) = page
        .split_once("\n# What `tracer verify --format json` writes\n")
        .expect("a chapter");
    // The host is described with the report.
    let named: BTreeSet<String> = backticked(report).chain(backticked(chapter)).collect();
    expect_defined(&printed, &named, chapter);
}

/// Each experiment is explained, and the run that is shown has all of them.
#[test]
fn every_experiment_is_in_the_claims_and_no_other() {
    let page = page("docs/CLAIMS.md");
    let explained: BTreeSet<&str> = page
        .lines()
        .filter_map(|line| line.strip_prefix("### "))
        .collect();
    assert_eq!(explained, BTreeSet::from(NAMES));
    for name in NAMES {
        let title = format!("\n{} ", name.to_uppercase());
        assert!(page.contains(&title), "the run that is shown has no {name}");
    }
}
