//! What tools add to a birth, and what watching births adds to every system call of the machine.

use std::time::Duration;

use super::Bench;
use super::findings::Findings;
use super::load::{FORKS, SYSCALLS};
use super::paired::{self, Measure, Settings};
use super::tools::{BIRTH_TOOLS, SYSCALL_TOOLS, SYSCALLS_YARDSTICK, YARDSTICK};

const BIRTHS: [Measure; 1] = [Measure {
    name: "time",
    unit: "us a fork, exit and wait",
    unit_ns: 1e3,
    percent_of: None,
    of: |sample| sample.value_ns,
}];

const CALLS: [Measure; 1] = [Measure {
    name: "time",
    unit: "ns a system call",
    unit_ns: 1.0,
    percent_of: None,
    of: |sample| sample.value_ns,
}];

pub fn forks(bench: &Bench) -> anyhow::Result<Findings> {
    let settings = Settings {
        load: FORKS,
        tools: &BIRTH_TOOLS,
        yardstick: YARDSTICK,
        rounds: bench.plan(9, 3),
        length: Duration::from_millis(bench.plan(1000, 400)),
        tool_cpu: Some(bench.cpus.tool),
        measures: &BIRTHS,
    };
    Ok(paired::run(bench, &settings)?.findings(&settings))
}

pub fn syscalls(bench: &Bench) -> anyhow::Result<Findings> {
    let settings = Settings {
        load: SYSCALLS,
        tools: &SYSCALL_TOOLS,
        yardstick: SYSCALLS_YARDSTICK,
        rounds: bench.plan(9, 3),
        length: Duration::from_millis(bench.plan(1000, 400)),
        tool_cpu: Some(bench.cpus.tool),
        measures: &CALLS,
    };
    Ok(paired::run(bench, &settings)?.findings(&settings))
}
