//! The kernel programs stay as small as they are, and a report says what tracing cost.

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use support::check::{check_lossy_report, list};
use support::machine::{background_workload, cpus, is_root};
use support::nobody::Nobody;
use support::{Outcome, Running, binary, na, tracer};

/// By kernel and architecture, then by program: what `tracer probes` said when it was last looked at.
const BASELINE: &str = "tests/programs.json";
/// Set to anything: fail, and show the baseline as it would be now.
const PRINT: &str = "TRACER_PRINT_BASELINE";
const FIGURES: [&str; 3] = ["verified_instructions", "translated_bytes", "jited_bytes"];
/// A change that no compiler or kernel makes by itself.
const MOST_GROWTH_PERCENT: u64 = 15;

type Programs = BTreeMap<String, BTreeMap<String, u64>>;

/// `6.18 x86_64`: within a series neither the verifier nor the JIT changes.
fn key() -> String {
    let machine = rustix::system::uname();
    let release = machine.release().to_string_lossy();
    let series: Vec<&str> = release.split(['.', '-']).take(2).collect();
    format!(
        "{} {}",
        series.join("."),
        machine.machine().to_string_lossy()
    )
}

fn programs() -> Programs {
    let outcome = tracer(["probes", "--format", "json"]);
    outcome.expect_code(0);
    let document = outcome.json();
    assert_eq!(document["schema"], "tracer.probes.v1");
    let program = |program: &Value| {
        let name = program["name"].as_str().expect("a name").to_owned();
        // What this kernel does not tell is no figure.
        let figure = |key: &&str| Some(((*key).to_owned(), program[*key].as_u64()?));
        (name, FIGURES.iter().filter_map(figure).collect())
    };
    list(&document, "programs").iter().map(program).collect()
}

/// What grew too much, appeared or went; empty when all is well.
fn differences(before: &Programs, now: &Programs) -> Vec<String> {
    let mut found = Vec::new();
    for name in now.keys().filter(|name| !before.contains_key(*name)) {
        found.push(format!("{name} is new"));
    }
    for (name, before) in before {
        let Some(now) = now.get(name) else {
            found.push(format!("{name} is gone"));
            continue;
        };
        for figure in FIGURES {
            match (before.get(figure), now.get(figure)) {
                (Some(before), Some(now)) => {
                    if now * 100 > before * (100 + MOST_GROWTH_PERCENT) {
                        found.push(format!("{name}: {figure} grew from {before} to {now}"));
                    }
                }
                (None, None) => {}
                (before, now) => found.push(format!("{name}: {figure} was {before:?}, is {now:?}")),
            }
        }
    }
    found
}

#[test]
fn no_program_grows_by_accident() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(BASELINE);
    let text = fs::read_to_string(&path).expect("the baseline is committed");
    let mut baseline: BTreeMap<String, Programs> =
        serde_json::from_str(&text).expect("the baseline is JSON");
    let (key, now) = (key(), programs());
    let found = match baseline.get(&key) {
        Some(before) => differences(before, &now),
        None if std::env::var_os(PRINT).is_some() => Vec::new(),
        None => {
            let reason = format!("{BASELINE} has nothing of kernel {key}");
            return na("no_program_grows_by_accident", &reason);
        }
    };
    baseline.insert(key.clone(), now);
    let new = serde_json::to_string_pretty(&baseline).expect("numbers and names");
    assert!(
        found.is_empty() && std::env::var_os(PRINT).is_none(),
        "on {key}:\n  {}\nif that is on purpose, make tracer/{BASELINE} this:\n{new}",
        found.join("\n  ")
    );
}

#[test]
fn the_gate_names_what_grew_came_and_went() {
    let programs = |entries: &[(&str, u64, u64)]| -> Programs {
        let figures = |verified, jited| {
            [("verified_instructions", verified), ("jited_bytes", jited)]
                .map(|(figure, value): (&str, u64)| (figure.to_owned(), value))
        };
        let program = |&(name, verified, jited): &(&str, u64, u64)| {
            (name.to_owned(), BTreeMap::from(figures(verified, jited)))
        };
        entries.iter().map(program).collect()
    };
    let before = programs(&[("a", 100, 1_000), ("b", 10, 10), ("gone", 1, 1)]);
    assert!(differences(&before, &before).is_empty());
    let now = programs(&[("a", 115, 1_151), ("b", 1, 1), ("new", 1, 1)]);
    let expected = [
        "new is new",
        "a: jited_bytes grew from 1000 to 1151",
        "gone is gone",
    ];
    assert_eq!(differences(&before, &now), expected);
    let mut untold = before.clone();
    untold
        .get_mut("a")
        .expect("it is there")
        .remove("jited_bytes");
    assert_eq!(
        differences(&before, &untold),
        ["a: jited_bytes was Some(1000), is None"]
    );
}

/// Something to pay for, while `tracer run` with these arguments goes on for a second.
#[track_caller]
fn traced(mut command: Command, args: &[&str]) -> Outcome {
    let _load = background_workload(&["pingpong-threads", "--count", "1000000000"]);
    command.args(["run", "--duration", "1s"]).args(args);
    Running::start(&mut command).finish()
}

#[track_caller]
fn cost_of(outcome: &Outcome) -> Value {
    outcome.expect_code(0);
    let report = outcome.json();
    check_lossy_report(&report);
    report["cost"].clone()
}

/// Everything is there, and the shares are of the same.
#[track_caller]
fn expect_whole(cost: &Value) {
    let number = |key: &str| {
        let number = cost[key].as_f64();
        number.unwrap_or_else(|| panic!("{key} is no number in {cost:#}"))
    };
    assert!(number("kernel_events") > 10_000.0, "{cost:#}");
    // Less than a nanosecond is no program, more than a millisecond is no load.
    let each = number("kernel_ns_per_event");
    assert!(each > 1.0 && each < 1e6, "{cost:#}");
    assert!(number("collector_cpu_ns") > 0.0, "{cost:#}");
    assert!(number("collector_max_rss_bytes") > 1e6, "{cost:#}");
    let (one, machine) = (
        number("cpu_percent_of_one"),
        number("cpu_percent_of_machine"),
    );
    assert!(machine > 0.0 && machine < 100.0, "{cost:#}");
    assert!(
        (one / (machine * cpus() as f64) - 1.0).abs() < 1e-9,
        "{cost:#}"
    );
    // The programs alone took this much of the second: a part of the whole.
    let programs = each * number("kernel_events") / 1e9 * 100.0;
    assert!(
        one > programs * 0.5,
        "{programs} % by the programs: {cost:#}"
    );
}

fn method(cost: &Value) -> &str {
    cost["method"].as_str().unwrap_or_default()
}

#[test]
fn what_tracing_costs_is_found_by_running_the_programs() {
    let cost = cost_of(&traced(binary(), &["--format", "json"]));
    expect_whole(&cost);
    let method = method(&cost);
    for part in [
        "counted runs",
        "in a loop at the start",
        "switch ",
        "each call",
    ] {
        assert!(method.contains(part), "{method}");
    }
    assert!(!method.contains("of others"), "all are told: {method}");
}

#[test]
fn a_narrow_target_has_a_price_for_others() {
    let sleeper = support::machine::background("sleep", &["1000"]);
    let pid = sleeper.id().to_string();
    let cost = cost_of(&traced(binary(), &["--format", "json", "--pid", &pid]));
    expect_whole(&cost);
    let method = method(&cost);
    assert!(method.contains(", of others "), "{method}");
    // Almost nothing was told: on average a run cost less than one that tells.
    let tells = method.split("switch ").nth(1);
    let tells = tells.and_then(|text| text.split(' ').next()?.parse::<f64>().ok());
    let call = method.split("each call ").nth(1);
    let call = call.and_then(|text| text.split(' ').next()?.parse::<f64>().ok());
    let most = tells.expect("a price") + call.expect("a price");
    assert!(
        cost["kernel_ns_per_event"].as_f64() < Some(most),
        "{cost:#}"
    );
}

#[test]
fn what_tracing_costs_is_what_the_kernel_says_if_asked_for() {
    let cost = cost_of(&traced(binary(), &["--format", "json", "--cost", "exact"]));
    expect_whole(&cost);
    let method = method(&cost);
    assert!(
        method.contains("the kernel's run-time statistics"),
        "{method}"
    );
}

#[test]
fn the_table_has_one_line_of_it() {
    for args in [&[][..], &["--cost", "exact"]] {
        let outcome = traced(binary(), args);
        outcome.expect_code(0);
        let text = outcome.stdout();
        let lines = text.lines().filter(|line| line.starts_with("Cost"));
        let [line] = lines.collect::<Vec<_>>()[..] else {
            panic!("no single line of it in:\n{text}");
        };
        for part in [
            "% of one CPU",
            "% of the machine",
            "collector",
            "kernel events at",
            " ns",
        ] {
            assert!(line.contains(part), "no {part:?} in {line}");
        }
        assert!(!line.contains("n/a"), "{line}");
    }
}

#[test]
fn exact_costs_take_a_right_that_tracing_does_not() {
    assert!(is_root(), "the tests on the kernel run as root");
    let nobody = Nobody::new();
    let with = |args| nobody.with_two_capabilities(args);
    let cost = cost_of(&traced(with(&[]), &["--format", "json"]));
    expect_whole(&cost);

    let outcome = traced(with(&[]), &["--cost", "exact"]);
    outcome.expect_code(3);
    assert!(outcome.stdout.is_empty(), "{}", outcome.stdout());
    let text = outcome.stderr();
    assert!(text.starts_with("error: "), "{text}");
    for part in [
        "keep run-time statistics",
        "CAP_SYS_ADMIN",
        "without --cost exact",
    ] {
        assert!(text.contains(part), "no {part:?} in:\n{text}");
    }
}
