//! What births take, against the clocks of those who create: and that none is missed, however many there are.

mod support;

use std::collections::{BTreeMap, HashSet};

use serde_json::Value;
use support::births::{TRACER, expected, forked, kinds, number, only, summed_kinds, text};
use support::check::list;
use support::machine::{Counters, cpus, until};
use support::redis::Redis;
use support::trace::{Live, Traced, expect_valid, traced, workload};
use support::{binary, threads};

const MIB: u64 = 1 << 20;

/// One fork, as the one who forked tells of it.
#[derive(Clone, Copy, Debug)]
struct Told {
    resident: u64,
    page_tables: u64,
    mappings: u64,
    ns: u64,
}

/// The lines of `tracer workload ladder`, by the name of the thread.
fn told(stdout: &str) -> BTreeMap<String, Vec<Told>> {
    let mut told: BTreeMap<String, Vec<Told>> = BTreeMap::new();
    for line in stdout.lines() {
        let (name, numbers) = line.split_once(' ').expect("a name and numbers");
        let numbers = numbers.split(' ').map(|number| number.parse::<u64>());
        let numbers: Vec<u64> = numbers.collect::<Result<_, _>>().expect("numbers");
        let [resident, page_tables, mappings, ns] = numbers[..] else {
            panic!("{line}")
        };
        told.entry(name.into()).or_default().push(Told {
            resident,
            page_tables,
            mappings,
            ns,
        });
    }
    told
}

fn median(values: impl Iterator<Item = u64>) -> f64 {
    let mut values: Vec<u64> = values.collect();
    values.sort_unstable();
    let middle = values.len() / 2;
    (values[(values.len() - 1) / 2] + values[middle]) as f64 / 2.0
}

/// The slope of the straight line through all points with the least squares of what is left, in ns for each GiB.
fn slope(points: impl Iterator<Item = (u64, u64)>) -> f64 {
    let gib = |bytes: u64| bytes as f64 / (1 << 30) as f64;
    let points: Vec<(f64, f64)> = points.map(|(x, y)| (gib(x), y as f64)).collect();
    let count = points.len() as f64;
    let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / count;
    let (x, y) = (mean(|point| point.0), mean(|point| point.1));
    let products = points.iter().map(|point| (point.0 - x) * (point.1 - y));
    let squares = points.iter().map(|point| (point.0 - x).powi(2));
    products.sum::<f64>() / squares.sum::<f64>()
}

#[track_caller]
fn close(what: &str, ours: f64, theirs: f64, percent: f64) {
    let off = 100.0 * (ours - theirs).abs() / theirs;
    assert!(off <= percent, "{what}: {ours} is {off:.1} % off {theirs}");
}

const FORKS: usize = 20;

#[test]
fn a_fork_takes_what_the_one_who_forks_measures() {
    let count = FORKS.to_string();
    let Traced { outcome, report } = traced(&[
        "--forks", "--", TRACER, "workload", "ladder", "--count", &count,
    ]);
    expect_valid(&report);
    outcome.expect_code(0);
    assert_eq!(report["forks_measured"], true);
    let told = told(&outcome.stdout());
    assert_eq!(told.len(), 2, "{told:?}");
    let mut stalls = BTreeMap::new();
    for (name, told) in &told {
        assert_eq!(told.len(), 3 * FORKS, "{name}");
        let by = |fork: &&Value| text(fork, "/parent/comm") == name;
        let forks: Vec<&Value> = list(&report, "forks").iter().filter(by).collect();
        assert_eq!(forks.len(), told.len(), "{name}");
        for (fork, told) in forks.iter().zip(told) {
            assert_eq!(fork["kind"], "fork", "{fork}");
            // Counted per CPU and summed up roughly, here and there.
            let resident = number(fork, "/parent_rss_bytes");
            assert!(resident.abs_diff(told.resident) <= MIB, "{told:?}: {fork}");
            let page_tables = number(fork, "/parent_page_table_bytes");
            assert!(
                page_tables.abs_diff(told.page_tables) <= 64 << 10,
                "{told:?}: {fork}"
            );
            assert!(
                number(fork, "/parent_mappings").abs_diff(told.mappings) <= 4,
                "{told:?}: {fork}"
            );
        }
        let steps = forks.chunks(FORKS).zip(told.chunks(FORKS));
        let steps = steps.map(|(forks, told)| {
            let ours = median(forks.iter().map(|fork| number(fork, "/syscall_ns")));
            let theirs = median(told.iter().map(|told| told.ns));
            let what = format!("{name}, {} MiB", told[0].resident / MIB);
            close(&what, ours, theirs, 15.0);
            ours
        });
        stalls.insert(name.as_str(), steps.collect::<Vec<f64>>());

        let cost = only(&report, "fork_costs", &[("/comm", name), ("/kind", "fork")]);
        assert_eq!(number(cost, "/count"), told.len() as u64);
        assert_eq!(number(cost, "/syscall/count"), told.len() as u64);
        let fitted = cost["ns_per_gib"].as_f64().expect("a slope");
        let theirs = slope(told.iter().map(|told| (told.resident, told.ns)));
        close(&format!("{name}, ns for each GiB"), fitted, theirs, 15.0);
        let error = cost["ns_per_gib_error"].as_f64().expect("an error");
        assert!(
            error.is_finite() && error > 0.0 && error < fitted,
            "{error} of {fitted}"
        );
    }
    let (small, huge) = (&stalls["small-pages"], &stalls["huge-pages"]);
    // Ten times the memory each, and a shared machine may be twice as fast at one step as at another.
    assert!(
        small[1] > 2.0 * small[0] && small[2] > 2.0 * small[1],
        "{stalls:?}"
    );
    // What is copied are the entries: one for each huge page.
    assert!(huge[2] > huge[0] && 2.0 * huge[2] < small[2], "{stalls:?}");
}

#[test]
fn a_server_that_saves_in_the_background_stalls_as_long_as_it_says() {
    let redis = Redis::start();
    redis.ask(&["debug", "populate", "500000", "key", "1000"]);
    let held = redis.info("used_memory");
    assert!(held > 500 * MIB, "{held} bytes are not enough");
    let live = Live::start(&["--forks", "--pid", &redis.pid().to_string()]);
    let load = redis.load();
    let commands = redis.info("total_commands_processed");
    until("clients write", || {
        redis.info("total_commands_processed") > commands + 1_000
    });
    let resident = redis.info("used_memory_rss");
    redis.ask(&["bgsave"]);
    let said = 1_000 * redis.info("latest_fork_usec");
    until("it has saved", || redis.info("rdb_bgsave_in_progress") == 0);
    drop(load);
    let report = live.finish();

    assert_eq!(kinds(&report), expected(&[("fork", "redis-server", 1)]));
    let fork = &list(&report, "forks")[0];
    assert_eq!(number(fork, "/parent/pid"), u64::from(redis.pid()));
    assert_eq!(number(fork, "/parent/tid"), u64::from(redis.pid()));
    let stall = number(fork, "/syscall_ns") as f64;
    close("latest_fork_usec", stall, said as f64, 15.0);
    let parent_rss = number(fork, "/parent_rss_bytes");
    close("used_memory_rss", parent_rss as f64, resident as f64, 10.0);
    // Whatever is written to for the first time since the fork, of what was there.
    let faults = number(fork, "/cow_faults/parent");
    assert!(faults > 10 && faults <= parent_rss / 4096, "{fork:#}");
    assert!(!fork["cow_faults"]["child"].is_null(), "{fork:#}");
    assert_eq!(fork["exit"]["code"], 0, "{fork:#}");
    assert!(number(fork, "/lifetime_ns") > number(fork, "/fork_to_run_ns"));
}

const BIRTHS: u64 = 100_000;

/// Every tenth is a process.
fn in_a_row() -> [String; 4] {
    ["workload", "births", "--count", &BIRTHS.to_string()].map(str::to_owned)
}

#[test]
fn none_of_a_hundred_thousand_births_is_missed_on_the_whole_system() {
    let counters = Counters::start();
    let live = Live::start(&["--forks", "--max-forks", "200000"]);
    let status = binary().args(in_a_row()).status().expect("run the pattern");
    assert!(status.success());
    let report = live.finish();
    let window = |key: &str| number(&report, &format!("/window/{key}"));
    let (_, births) = counters.growth(window("start_monotonic_ns"), window("duration_ns"));

    let total = number(&report, "/forks_total");
    // The kernel counts a birth a little before or after it tells of it: on every CPU one may be in between.
    let (least, most) = (births.start() - cpus(), births.end() + cpus());
    assert!((least..=most).contains(&total), "{total} not in {births:?}");
    assert!(total >= BIRTHS, "{total}");
    let forks = list(&report, "forks");
    assert_eq!(forks.len() as u64, total);
    let key = |fork: &Value| (number(fork, "/child/tid"), number(fork, "/at_ns"));
    let distinct: HashSet<_> = forks.iter().map(key).collect();
    assert_eq!(distinct.len() as u64, total, "none was taken for another");
    let ours = |kind: &str| kinds(&report)[&(kind.to_owned(), "births".to_owned())];
    assert_eq!(ours("thread"), BIRTHS / 10 * 9);
    assert_eq!(ours("fork"), BIRTHS / 10);
}

#[test]
fn a_hundred_thousand_births_take_little_memory() {
    let pattern = in_a_row();
    let mut command = vec![TRACER];
    command.extend(pattern.iter().map(String::as_str));
    let report = forked(&command);
    assert_eq!(number(&report, "/forks_total"), BIRTHS);
    // And their creator.
    assert_eq!(number(&report, "/exits_total"), BIRTHS + 1);
    for rows in ["forks", "exits"] {
        let kept = list(&report, rows).len();
        assert!((1_000..=10_000).contains(&kept), "{kept} {rows}");
    }
    let (threads, processes) = (BIRTHS / 10 * 9, BIRTHS / 10);
    let sums = expected(&[("thread", "births", threads), ("fork", "births", processes)]);
    assert_eq!(summed_kinds(&report), sums);
    for cost in list(&report, "fork_costs") {
        assert_eq!(cost["count"], cost["syscall"]["count"], "{cost:#}");
        assert_eq!(cost["count"], cost["first_run"]["count"], "{cost:#}");
    }
    let peak = number(&report, "/cost/collector_max_rss_bytes");
    assert!(peak < 128 * MIB, "{} MiB", peak / MIB);
}

#[test]
fn the_dearest_births_are_kept() {
    let report = traced(&[
        "--forks",
        "--max-forks",
        "50",
        "--",
        TRACER,
        "workload",
        "births",
        "--count",
        "2000",
    ]);
    let report = report.report;
    expect_valid(&report);
    let forks = list(&report, "forks");
    assert_eq!(forks.len(), 50);
    let dearest = list(&report, "fork_costs").iter();
    let dearest = dearest.map(|cost| number(cost, "/syscall/max_ns")).max();
    let kept = forks.iter().map(|fork| number(fork, "/syscall_ns")).max();
    assert_eq!(kept, dearest);
}

#[test]
fn without_forks_the_same_births_are_told_without_their_price() {
    let pattern = ["kinds", "--count", "2"];
    let measured = forked(&[&[TRACER, "workload"][..], &pattern].concat());
    let report = workload(&pattern);
    assert_eq!(measured["forks_measured"], true);
    assert_eq!(report["forks_measured"], false);
    assert_eq!(kinds(&report), kinds(&measured));
    assert_eq!(summed_kinds(&report), summed_kinds(&measured));
    for total in ["forks_total", "execs_total", "exits_total"] {
        assert_eq!(report[total], measured[total], "{total}");
    }
    // That all is null that is not measured is checked in every report; here: that all else is there.
    for fork in list(&report, "forks") {
        for key in [
            "/flags",
            "/fork_to_run_ns",
            "/wake_ns",
            "/wait_ns",
            "/lifetime_ns",
        ] {
            assert!(
                fork.pointer(key).is_some_and(Value::is_u64),
                "{key}: {fork:#}"
            );
        }
        assert!(
            fork["cross_cpu"].is_boolean() && !fork["exit"].is_null(),
            "{fork:#}"
        );
        let memory = fork["kind"] != "worker";
        assert_eq!(fork["parent_rss_bytes"].is_u64(), memory, "{fork:#}");
    }
    for fork in list(&measured, "forks") {
        assert!(number(fork, "/syscall_ns") > 0, "{fork:#}");
        assert_eq!(
            fork["cow_faults"].is_null(),
            fork["kind"] != "fork",
            "{fork:#}"
        );
    }
    let processes = threads(&report).map(|(process, _)| process["pid"].as_u64());
    let processes: HashSet<_> = processes.collect();
    assert_eq!(list(&report, "process_tree").len(), processes.len());
}
