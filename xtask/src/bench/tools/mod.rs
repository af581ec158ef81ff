//! What is compared: who, how it is started, how it is known to trace, how it is stopped.

mod bpf;
mod ftrace;
mod perf;
mod tracer;

use std::process::Command;
use std::time::Duration;

pub use ftrace::mount;
pub use tracer::Whom;

use super::Bench;

/// Long enough to load programs on a busy machine.
const READY: Duration = Duration::from_secs(20);

/// What the ratios are ratios to.
pub const YARDSTICK: &str = "runqlat";

pub struct Tool {
    pub name: &'static str,
    how: How,
}

enum How {
    Tracer(Whom),
    /// With what births and ends cost.
    Forks(Whom),
    /// No tool: the process that waits for the CPU of the load, and that one of ours traces.
    Waiter,
    /// A program of `libbpf-tools`, by its defaults.
    Bpf,
    /// Programs that do nothing, on the two tracepoints that matter.
    Empty,
    PerfSched,
    Ftrace(&'static [&'static str]),
}

pub const SYSTEM: &str = "tracer run";
pub const UNRELATED: &str = "tracer run --pid OTHER";

pub const TOOLS: [Tool; 11] = [
    Tool {
        name: "empty programs",
        how: How::Empty,
    },
    Tool {
        name: SYSTEM,
        how: How::Tracer(Whom::System),
    },
    Tool {
        name: UNRELATED,
        how: How::Tracer(Whom::Unrelated),
    },
    Tool {
        name: "(WAITING, not traced)",
        how: How::Waiter,
    },
    Tool {
        name: "tracer run --pid WAITING",
        how: How::Tracer(Whom::Waiting),
    },
    Tool {
        name: "tracer run --pid LOAD",
        how: How::Tracer(Whom::Load),
    },
    Tool {
        name: YARDSTICK,
        how: How::Bpf,
    },
    Tool {
        name: "cpudist",
        how: How::Bpf,
    },
    Tool {
        name: "offcputime",
        how: How::Bpf,
    },
    Tool {
        name: "perf sched record",
        how: How::PerfSched,
    },
    Tool {
        name: "ftrace switch + waking",
        how: How::Ftrace(&["sched_switch", "sched_waking"]),
    },
];

/// The yardstick of system calls: two programs at each of them, as ours.
pub const SYSCALLS_YARDSTICK: &str = "syscount";

/// For births, and for system calls.
pub const BIRTH_TOOLS: [Tool; 4] = [
    Tool {
        name: SYSTEM,
        how: How::Tracer(Whom::System),
    },
    Tool {
        name: "tracer run --forks",
        how: How::Forks(Whom::System),
    },
    Tool {
        name: "tracer run --forks --pid LOAD",
        how: How::Forks(Whom::Load),
    },
    Tool {
        name: YARDSTICK,
        how: How::Bpf,
    },
];

pub const SYSCALL_TOOLS: [Tool; 4] = [
    Tool {
        name: SYSTEM,
        how: How::Tracer(Whom::System),
    },
    Tool {
        name: "tracer run --forks",
        how: How::Forks(Whom::System),
    },
    Tool {
        name: "tracer run --forks --pid OTHER",
        how: How::Forks(Whom::Unrelated),
    },
    Tool {
        name: SYSCALLS_YARDSTICK,
        how: How::Bpf,
    },
];

/// A tool that traces, from its start to its end.
pub enum Tracing {
    Tracer(tracer::Tracer),
    Waiter(tracer::Target),
    Bpf(bpf::Bpf),
    Perf(perf::Perf),
    Ftrace(ftrace::Ftrace),
}

/// When the load was at work, by CLOCK_MONOTONIC.
#[derive(Clone, Copy)]
pub struct Window {
    pub from_ns: u64,
    pub length_ns: u64,
}

impl Tool {
    /// Returns once it traces. `load` waits for its start; `cpu` is where the tool's own process runs.
    pub fn start(&self, bench: &Bench, load: u32, cpu: Option<u32>) -> anyhow::Result<Tracing> {
        let trace = |whom, options: &[&str]| {
            tracer::Tracer::start(bench, self.name, (whom, options), load, cpu)
        };
        Ok(match self.how {
            How::Tracer(whom) => Tracing::Tracer(trace(whom, &[])?),
            How::Forks(whom) => Tracing::Tracer(trace(whom, &["--forks"])?),
            How::Waiter => Tracing::Waiter(tracer::Target::waits(bench)?),
            How::Bpf => Tracing::Bpf(bpf::Bpf::start(bench, self.name, cpu)?),
            How::Empty => Tracing::Bpf(bpf::Bpf::empty(bench, self.name, cpu)?),
            How::PerfSched => Tracing::Perf(perf::Perf::start(bench, self.name, cpu)?),
            How::Ftrace(events) => Tracing::Ftrace(ftrace::Ftrace::start(events)?),
        })
    }
}

impl Tracing {
    /// Its own process, where it has one.
    pub fn pid(&self) -> Option<u32> {
        match self {
            Tracing::Tracer(tracer) => Some(tracer.pid()),
            Tracing::Bpf(bpf) => Some(bpf.pid()),
            Tracing::Perf(perf) => Some(perf.pid()),
            Tracing::Waiter(_) | Tracing::Ftrace(_) => None,
        }
    }

    /// Fails unless it traced all the time; says what else is to be known.
    pub fn stop(self, load: Window) -> anyhow::Result<Option<String>> {
        match self {
            Tracing::Tracer(tracer) => tracer.stop(load).map(Some),
            Tracing::Waiter(waiter) => waiter.stop().map(|()| None),
            Tracing::Bpf(bpf) => bpf.stop().map(|()| None),
            Tracing::Perf(perf) => perf.stop().map(|()| None),
            Tracing::Ftrace(ftrace) => ftrace.stop().map(|()| None),
        }
    }
}

/// The program on this CPU, or wherever there is room.
pub fn on_cpu(cpu: Option<u32>, program: impl AsRef<std::ffi::OsStr>) -> Command {
    let Some(cpu) = cpu else {
        return Command::new(program);
    };
    let mut command = Command::new("taskset");
    command.args(["-c", &cpu.to_string()]).arg(program);
    command
}
