//! What tools add to a birth, and what watching births adds to every system call of the machine.

use std::time::Duration;

use super::Bench;
use super::findings::Findings;
use super::load::{FORKS, Load, SYSCALLS};
use super::paired::{self, Measure, Settings};
use super::tools::{BIRTH_TOOLS, SYSCALL_TOOLS, SYSCALLS_YARDSTICK, Tool, YARDSTICK};

const fn time(unit: &'static str, unit_ns: f64) -> Measure {
    Measure {
        name: "time",
        unit,
        unit_ns,
        percent_of: None,
        of: |sample| sample.value_ns,
    }
}

const BIRTHS: [Measure; 1] = [time("us a fork, exit and wait", 1e3)];
const CALLS: [Measure; 1] = [time("ns a system call", 1.0)];

pub fn forks(bench: &Bench) -> anyhow::Result<Findings> {
    compare(bench, FORKS, (&BIRTH_TOOLS, YARDSTICK), &BIRTHS)
}

pub fn syscalls(bench: &Bench) -> anyhow::Result<Findings> {
    compare(
        bench,
        SYSCALLS,
        (&SYSCALL_TOOLS, SYSCALLS_YARDSTICK),
        &CALLS,
    )
}

fn compare(
    bench: &Bench,
    load: Load,
    (tools, yardstick): (&'static [Tool], &'static str),
    measures: &'static [Measure],
) -> anyhow::Result<Findings> {
    let settings = Settings {
        load,
        tools,
        yardstick,
        rounds: bench.plan(9, 3),
        length: Duration::from_millis(bench.plan(1000, 400)),
        tool_cpu: Some(bench.cpus.tool),
        measures,
    };
    Ok(paired::run(bench, &settings)?.findings(&settings))
}
