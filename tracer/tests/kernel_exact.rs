//! Every count equals the kernel's, every nanosecond is in one place: on loads that make it hard.

mod support;

use std::io::Write as _;
use std::time::Duration;

use serde_json::Value;
use support::btf::types_with_a_wrong_offset;
use support::machine::{Counters, background, background_workload, cpus, last_cpu};
use support::trace::{Traced, expect_valid, traced, workload};
use support::{Running, binary, check, threads};

const TRACER: &str = env!("CARGO_BIN_EXE_tracer");
const ROUND_TRIPS: u64 = 50_000;

/// `perf bench sched pipe` on one CPU: the two sides can only take turns.
#[track_caller]
fn pipe(options: &[&str]) -> Value {
    let (cpu, loops) = (last_cpu(), ROUND_TRIPS.to_string());
    let mut args = vec!["--", "taskset", "-c", &cpu];
    args.extend(["perf", "bench", "sched", "pipe", "-l", &loops]);
    args.extend(options);
    let Traced { outcome, report } = traced(&args);
    expect_valid(&report);
    outcome.expect_code(0);
    assert!(outcome.stdout().contains("ops/sec"), "{}", outcome.stdout());
    assert_eq!(report["window"]["end_reason"], "target_exit");
    for (_, thread) in threads(&report) {
        // Check of the report compares them; here: that there is something to compare with.
        assert!(thread["kernel"]["voluntary"].is_u64(), "{thread:#}");
        assert_eq!(thread["unknown_ns"], 0, "{thread:#}");
        assert!(!thread["exit"].is_null(), "{thread:#}");
    }
    report
}

/// How many switches went to each kind, over the whole target.
fn kinds(report: &Value) -> [u64; 4] {
    ["same_process", "other_process", "kernel_thread", "idle"].map(|kind| {
        let of = |(_, thread): (&Value, &Value)| thread["kinds"][kind].as_u64();
        threads(report).filter_map(of).sum()
    })
}

#[track_caller]
fn mostly(part: u64, kinds: [u64; 4]) {
    let all: u64 = kinds.iter().sum();
    assert!(all >= 2 * ROUND_TRIPS, "{kinds:?}");
    assert!(part * 10 >= all * 9, "{part} of {kinds:?}");
}

#[test]
fn a_pipe_between_processes_switches_between_processes() {
    let report = pipe(&[]);
    let kinds = kinds(&report);
    mostly(kinds[1], kinds);
    assert_eq!(kinds[0], 0);
    assert_eq!(report["target"]["processes"], 2);
    assert_eq!(report["target"]["model"], "processes");
}

#[test]
fn a_pipe_between_threads_switches_within_the_process() {
    let report = pipe(&["-T"]);
    let kinds = kinds(&report);
    mostly(kinds[0], kinds);
    assert_eq!(report["target"]["processes"], 1);
    assert_eq!(report["target"]["model"], "threads");
}

#[test]
fn a_yield_is_involuntary_and_told_apart() {
    let report = workload(&["yielder", "--count", "500"]);
    let yielder = threads(&report)
        .map(|(_, thread)| thread)
        .find(|thread| thread["comm"] == "yielder")
        .expect("the yielder has a row");
    let switches = &yielder["switches"];
    let number = |key: &str| switches[key].as_u64();
    // Some yields come back at once: nobody else was due.
    assert!(number("involuntary_yields") >= Some(10), "{switches:#}");
    assert!(
        number("involuntary_yields") <= number("involuntary"),
        "{switches:#}"
    );
    assert!(number("involuntary_yields") <= Some(500), "{switches:#}");
}

/// What all the comparing is for: a field that is not where the tracer reads it.
#[test]
fn a_field_that_is_read_from_the_wrong_place_is_noticed() {
    let mut types = tempfile::NamedTempFile::new().expect("a file");
    let wrong = types_with_a_wrong_offset("task_struct", "nvcsw");
    types.write_all(&wrong).expect("write the types");
    let mut command = binary();
    command.args(["run", "--format", "json", "--duration", "500ms"]);
    let outcome = Running::start(command.env("TRACER_BTF", types.path())).finish();
    let quality = &outcome.json()["quality"];
    // Nothing was lost on the way, and yet the numbers of the switches do not follow each other.
    assert_ne!(quality["verdict"], "valid", "{quality:#}");
    assert_eq!(quality["lost_records"], 0, "{quality:#}");
    assert!(quality["lost_switches"].as_u64() > Some(0), "{quality:#}");
}

/// Hundreds of threads, hundreds of thousands of switches a second, and thousands of births.
#[test]
fn the_whole_system_under_load_is_accounted_for() {
    let talk = "while :; do perf bench sched messaging -g 10 -l 100; done";
    let _talkers = background("sh", &["-c", talk]);
    let _stress = background("stress-ng", &["--switch", "2", "--fork", "2"]);
    // All that end keep their rows. Built for debugging, and beside other builds, the collector is
    // slow and late: it gets the room to be.
    let options = ["--max-threads", "1000000", "--buffer", "64MiB"];
    let counted = accounted_for(Duration::from_secs(10), &options);
    assert!(counted.switches > 100_000, "{counted:?} are no load");
    assert!(counted.births > 100, "{counted:?} are no load");
    assert!(counted.ended > 100, "{counted:?} are no load");
}

/// The same with what the tracer brings along, for machines that have nothing else.
#[test]
fn the_whole_system_under_a_small_load_is_accounted_for() {
    let _talkers = background_workload(&["pingpong-processes", "--count", "100000000"]);
    let births = format!("while :; do {TRACER} workload short-processes --count 20; done");
    let _short = background("sh", &["-c", &births]);
    let counted = accounted_for(Duration::from_secs(3), &[]);
    assert!(counted.switches > 1_000, "{counted:?} are no load");
    assert!(counted.births > 4, "{counted:?} are no load");
    assert!(counted.ended > 2, "{counted:?} are no load");
}

#[derive(Debug)]
struct Counted {
    switches: u64,
    births: u64,
    /// Of threads, with the kernel's counters at their ends.
    ended: u64,
}

/// Traces the whole system for so long: nothing may be lost, and the kernel must count the same.
#[track_caller]
fn accounted_for(duration: Duration, options: &[&str]) -> Counted {
    let counters = Counters::start();
    let duration = format!("{}s", duration.as_secs());
    let args = [&["--duration", &duration], options].concat();
    let Traced { outcome, report } = traced(&args);
    let window = |key: &str| report["window"][key].as_u64().expect("a number");
    let (switches, births) = counters.growth(window("start_monotonic_ns"), window("duration_ns"));
    let number = |key: &str| report["quality"][key].as_u64().unwrap_or(0);
    let skipped = number("missed_events");
    expect_valid(&report);
    outcome.expect_code(0);
    assert_eq!(report["window"]["end_reason"], "duration");
    assert_eq!(check::list(&report["system"], "cpus").len() as u64, cpus());

    // The kernel counts a switch before its tracepoint fires: on every CPU one may be in between.
    let between = cpus();
    let counted = report["system"]["switches"].as_u64().expect("counted");
    let (least, most) = (switches.start() - between, switches.end() + between);
    assert!(
        (least..=most).contains(&counted),
        "{counted} not in {switches:?}"
    );

    let born = |(_, thread): &(&Value, &Value)| thread["born_in_window"] == true;
    let born = threads(&report).filter(born).count() as u64;
    assert_eq!(report["quality"]["folded_threads"], 0);
    // A birth is counted when the thread is copied, and it lives from its first wake-up on.
    let least = births.start() - between.max(skipped);
    let most = births.end() + between;
    assert!((least..=most).contains(&born), "{born} not in {births:?}");

    let through = threads(&report)
        .filter(|(_, thread)| thread["born_in_window"] == false && thread["exit"].is_null());
    assert!(number("threads_checked") > 10, "{:#}", report["quality"]);
    assert!(through.count() > 10);
    Counted {
        switches: counted,
        births: born,
        ended: number("threads_self_checked"),
    }
}
