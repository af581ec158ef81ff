//! What the creation of a thread or a process costs, by each call that there is, and with more and more memory.

use std::collections::HashMap;

use serde_json::Value;

use crate::kernel::procfs;
use crate::model::Nanos;
use crate::output::human;
use crate::verify::{
    Claim, Finding, Lab, Measurement, Samples, Summary, Unit, Verdict, lab::Pattern, number,
};

/// As the pattern names them.
const THREAD: &str = "pthread";
const PROCESSES: [&str; 5] = ["fork", "clone3", "vfork", "posix_spawn", "fork_exec"];
/// Those of them that run another program, which reads its libraries and ends.
const PROGRAMS: [&str; 3] = ["vfork", "posix_spawn", "fork_exec"];

/// Memory that the creator has resident beside its own.
struct Step {
    label: &'static str,
    bytes: u64,
    births: u64,
}

const STEPS: [Step; 3] = [
    Step {
        label: "0",
        bytes: 0,
        births: 200,
    },
    Step {
        label: "100MiB",
        bytes: 100 << 20,
        births: 40,
    },
    Step {
        label: "1GiB",
        bytes: 1 << 30,
        births: 40,
    },
];
/// Fewer say little.
const FEWEST: u64 = 30;
/// Milliseconds for each call: forks of much memory take long.
const LASTS: u64 = 1_000;

/// Medians of the whole, by step and call.
type Totals = HashMap<(&'static str, &'static str), Samples>;

pub fn run(lab: &Lab) -> anyhow::Result<Finding> {
    let mut finding = Finding {
        method: "A small process of one thread on one CPU creates, waits for the end, and times both by its own clock: \
                 total is both, call the first and end the second. The tables that loading wrote of the tracer it shares \
                 with its children, so that no fork copies them, unless the system has sealed them. What it creates ends \
                 at once, or becomes /bin/true (vfork, posix_spawn, fork_exec). 100MiB, 1GiB: it has so much in memory \
                 beside its own, in pages of 4 KiB. The same under tracer run --forks: syscall, until the call returns in \
                 the kernel; wake, until the child stands in a run queue; wait, in it; first_run, both; lifetime, of the \
                 child; reaped, from its end until the creator has taken note"
            .to_owned(),
        ..Finding::default()
    };
    let mut totals = Totals::new();
    for step in &STEPS {
        if let Err(why) = measure(lab, step, &mut finding, &mut totals) {
            if step.bytes == 0 {
                return Err(why);
            }
            for way in ways() {
                let name = format!("create.{way}.{}.total", step.label);
                let measurement =
                    Measurement::unavailable(name, Unit::Nanoseconds, why.to_string());
                finding.measurements.push(measurement);
            }
        }
    }
    finding.claims = claims(&totals);
    Ok(finding)
}

fn ways() -> impl Iterator<Item = &'static str> {
    std::iter::once(THREAD).chain(PROCESSES)
}

fn measure(
    lab: &Lab,
    step: &Step,
    finding: &mut Finding,
    totals: &mut Totals,
) -> anyhow::Result<()> {
    room(step.bytes)?;
    let births = lab.scaled(step.births).max(FEWEST);
    let mut pattern = Pattern::named("create")
        .with("--count", births)
        .with("--duration", format!("{}ms", lab.scaled(LASTS)));
    if step.bytes > 0 {
        pattern = pattern.with("--size", step.bytes);
    }
    let measured = lab.play(&pattern)?;
    // What the call takes is what grows with memory: the creator's clock tells that.
    let traced = match lab.may_trace() {
        _ if step.bytes > 0 => None,
        Ok(()) => Some(Ok(lab.trace(&["--forks"], &pattern)?.report)),
        Err(why) => Some(Err(why.to_string())),
    };
    for way in ways() {
        let base = if step.bytes == 0 {
            format!("create.{way}")
        } else {
            format!("create.{way}.{}", step.label)
        };
        let mut push = |part: &str, samples: &Samples| {
            let name = format!("{base}.{part}");
            finding
                .measurements
                .push(Measurement::of(name, Unit::Nanoseconds, samples));
        };
        let total = measured.get(&format!("{way}.total_ns"))?;
        push("total", total);
        totals.insert((step.label, way), total.clone());
        push("call", measured.get(&format!("{way}.call_ns"))?);
        push("end", measured.get(&format!("{way}.end_ns"))?);
        let Some(traced) = &traced else { continue };
        for (part, pointer) in PARTS {
            let name = format!("{base}.{part}");
            finding.measurements.push(match traced {
                Err(why) => Measurement::unavailable(name, Unit::Nanoseconds, why),
                Ok(_) if part == "reaped" && way == THREAD => {
                    let why = "nobody waits for a thread in the kernel: its end wakes who joins it";
                    Measurement::unavailable(name, Unit::Nanoseconds, why)
                }
                Ok(report) => Measurement::of(name, Unit::Nanoseconds, &seen(report, way, pointer)),
            });
        }
    }
    Ok(())
}

/// What the tracer tells of a birth; the last one stands with the end of the child.
const PARTS: [(&str, &str); 6] = [
    ("syscall", "/syscall_ns"),
    ("wake", "/wake_ns"),
    ("wait", "/wait_ns"),
    ("first_run", "/fork_to_run_ns"),
    ("lifetime", "/lifetime_ns"),
    ("reaped", "/reaped_after_ns"),
];

/// Of each child that was created so.
fn seen(report: &Value, way: &str, pointer: &str) -> Samples {
    let list = |name: &str| report[name].as_array().into_iter().flatten();
    let births = list("forks").filter(|fork| fork["parent"]["comm"] == way);
    let rows: Vec<&Value> = if pointer == "/reaped_after_ns" {
        let ends: HashMap<Option<u64>, &Value> = list("exits")
            .map(|end| (end["tid"].as_u64(), end))
            .collect();
        births
            .filter_map(|fork| ends.get(&fork["child"]["tid"].as_u64()).copied())
            .collect()
    } else {
        births.collect()
    };
    rows.into_iter()
        .filter_map(|row| number(row, pointer))
        .collect()
}

/// Memory for the creator, and half as much again for whatever it takes to copy it.
fn room(bytes: u64) -> anyhow::Result<()> {
    let needed = bytes + bytes / 2;
    let free = procfs::machine_memory(b"MemAvailable:").unwrap_or(u64::MAX);
    anyhow::ensure!(
        bytes == 0 || free > needed,
        "it needs {} of memory, and {} are available",
        human::bytes(needed),
        human::bytes(free)
    );
    Ok(())
}

fn claims(totals: &Totals) -> Vec<Claim> {
    let none = Samples::default();
    let of = |step, way| totals.get(&(step, way)).unwrap_or(&none);
    let total = |way: &'static str| Measurement::of("total", Unit::Nanoseconds, of("0", way));
    let ratio = |samples, by| Measurement::ratio("ratio", samples, by);
    let thread = of("0", THREAD);
    let tenfold = ratio(of("0", "fork_exec"), thread);
    let forks = ratio(of("0", "fork"), thread);
    let mut grown = ratio(of("1GiB", "fork"), of("0", "fork"));
    if of("1GiB", "fork").is_empty() {
        grown.summary = Err("the step of 1 GiB could not be measured".to_owned());
    }
    let spawned = ratio(of("1GiB", "posix_spawn"), of("0", "posix_spawn"));
    vec![
        Claim::by(
            "create.process",
            "The creation of a process takes 10 ms",
            &total("fork_exec"),
            |_| ten_milliseconds(totals),
        ),
        Claim::by(
            "create.thread",
            "The creation of a thread takes 1 ms",
            &total(THREAD),
            |summary| {
                let text = format!(
                    "pthread_create and pthread_join of a thread that ends at once take {}",
                    time(summary.median)
                );
                let fits = (0.5e6..=2e6).contains(&summary.median);
                (
                    if fits {
                        Verdict::Confirmed
                    } else {
                        Verdict::Refuted
                    },
                    text,
                )
            },
        ),
        Claim::by(
            "create.tenfold",
            "A process is ten times as expensive to create as a thread",
            &tenfold,
            |summary| times_ten(summary, &forks),
        ),
        Claim::by(
            "create.memory",
            "The more memory a process has, the longer its fork takes",
            &grown,
            |summary| {
                let spawn = spawned.median().unwrap_or(f64::NAN);
                let text = format!(
                    "with 1 GiB in pages of 4 KiB a fork, and the end of the child, take {:.0} times as long as with \
                     nothing; posix_spawn, which copies no memory, {spawn:.1} times",
                    summary.median
                );
                let grows = summary.median > 2.0;
                (
                    if grows {
                        Verdict::Confirmed
                    } else {
                        Verdict::Refuted
                    },
                    text,
                )
            },
        ),
    ]
}

/// By whatever call, with whatever memory.
fn ten_milliseconds(totals: &Totals) -> (Verdict, String) {
    let known = totals.iter().filter(|((_, way), _)| *way != THREAD);
    let medians: Vec<f64> = known.filter_map(|(_, samples)| samples.median()).collect();
    let fitting = medians.iter().filter(|&&ns| (5e6..=20e6).contains(&ns));
    let verdict = match fitting.count() {
        0 => Verdict::Refuted,
        all if all == medians.len() => Verdict::Confirmed,
        _ => Verdict::Depends,
    };
    let of = |step, way| {
        let median = totals.get(&(step, way)).and_then(Samples::median);
        median.map_or_else(|| "n/a".to_owned(), time)
    };
    let programs = PROGRAMS
        .map(|way| format!("{way} {}", of("0", way)))
        .join(", ");
    let text = format!(
        "a fork and the end of its child take {}, with 100 MiB to copy {}, with 1 GiB {}; with a program that is loaded \
         and ends: {programs}",
        of("0", "fork"),
        of("100MiB", "fork"),
        of("1GiB", "fork"),
    );
    (verdict, text)
}

fn times_ten(program: &Summary, forks: &Measurement) -> (Verdict, String) {
    let fork = forks.median().unwrap_or(f64::NAN);
    let fits = |ratio: f64| (5.0..=20.0).contains(&ratio);
    let verdict = match (fits(fork), fits(program.median)) {
        (true, true) => Verdict::Confirmed,
        (false, false) => Verdict::Refuted,
        _ => Verdict::Depends,
    };
    let text = format!(
        "a fork of a small process takes {fork:.1} times as long as a thread, one that loads a program {:.0} times",
        program.median
    );
    (verdict, text)
}

fn time(ns: f64) -> String {
    human::duration(Nanos(ns as u64))
}
