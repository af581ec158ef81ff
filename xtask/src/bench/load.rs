//! The loads of `perf bench`, and one of ours. Each starts behind a gate, so that a tool can be attached to its pid first.

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::Context as _;

use super::Bench;
use super::process::Process;

/// Some tools make a load five times slower, and the machine may be busy with other things.
const LIMIT: Duration = Duration::from_secs(120);

const CALIBRATIONS: usize = 2;

/// What to run, how often, and what its output says.
#[derive(Clone, Copy)]
pub struct Load {
    pub name: &'static str,
    program: Program,
    pinned: bool,
    /// Loops for a first try, to find out how many make a run of the wanted length.
    try_loops: u64,
    read: fn(&str) -> Option<Timing>,
}

#[derive(Clone, Copy)]
enum Program {
    /// With these arguments.
    PerfBench(&'static [&'static str]),
    /// Of `tracer workload`.
    Pattern(&'static str),
}

/// What a load says of itself.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Timing {
    /// What is compared: a round trip, or the whole run.
    pub value_ns: f64,
    pub total_ns: f64,
}

/// A byte from one thread to another and back, both on one CPU: two switches and two wake-ups.
pub const PIPE: Load = Load {
    name: "perf bench sched pipe",
    program: Program::PerfBench(&["sched", "pipe", "-T"]),
    pinned: true,
    try_loops: 50_000,
    read: read_pipe,
};

/// 20 groups of 20 senders and 20 receivers, on all CPUs.
pub const MESSAGING: Load = Load {
    name: "perf bench sched messaging",
    program: Program::PerfBench(&["sched", "messaging", "-g", "20"]),
    pinned: false,
    try_loops: 20,
    read: read_messaging,
};

/// A system call that does next to nothing.
pub const SYSCALLS: Load = Load {
    name: "perf bench syscall basic",
    program: Program::PerfBench(&["syscall", "basic"]),
    pinned: true,
    try_loops: 1_000_000,
    read: read_pipe,
};

/// A process that forks, and waits for its child, which ends at once.
pub const FORKS: Load = Load {
    name: "tracer workload forks",
    program: Program::Pattern("forks"),
    pinned: true,
    try_loops: 2_000,
    read: read_pattern,
};

impl Load {
    /// How many loops make a run of this length, on this machine, now.
    pub fn loops(&self, bench: &Bench, length: Duration) -> anyhow::Result<u64> {
        let mut loops = self.try_loops;
        // In steps: a short run is mostly its start.
        for _ in 0..CALIBRATIONS {
            let total = self.ready(bench, loops)?.run()?.total_ns;
            loops = scaled(loops, total, length);
        }
        Ok(loops)
    }

    /// Its process is there, and is the one that will do the work; the work has not begun.
    pub fn ready(&self, bench: &Bench, loops: u64) -> anyhow::Result<Gated> {
        let cpu = self.pinned.then_some(bench.cpus.load);
        self.ready_on(bench, cpu, loops)
    }

    pub fn ready_on(&self, bench: &Bench, cpu: Option<u32>, loops: u64) -> anyhow::Result<Gated> {
        let mut command = Command::new("sh");
        command.args(["-c", "read line; exec \"$@\"", "sh"]);
        if let Some(cpu) = cpu {
            command.args(["taskset", "-c", &cpu.to_string()]);
        }
        let loops = loops.to_string();
        match self.program {
            Program::PerfBench(arguments) => {
                command.args(["perf", "bench"]).args(arguments);
                command.args(["-l", &loops])
            }
            Program::Pattern(name) => {
                command.arg(&bench.tracer).args(["workload", name]);
                command.args(["--count", &loops])
            }
        };
        let name = match cpu {
            Some(cpu) => format!("{} on CPU {cpu}", self.name),
            None => self.name.to_owned(),
        };
        let process = Process::start(&name, &mut command, Stdio::piped(), &bench.scratch)?;
        Ok(Gated {
            process,
            read: self.read,
        })
    }
}

/// A load that waits to be let go.
pub struct Gated {
    process: Process,
    read: fn(&str) -> Option<Timing>,
}

impl Gated {
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Lets it go, and leaves it alone.
    pub fn go(mut self) -> anyhow::Result<Going> {
        let mut gate = self.process.stdin().context("find the gate of the load")?;
        gate.write_all(b"\n").context("let the load go")?;
        Ok(Going {
            process: self.process,
            read: self.read,
        })
    }

    /// To its end.
    pub fn run(self) -> anyhow::Result<Timing> {
        self.go()?.finish()
    }
}

/// A load at work.
pub struct Going {
    process: Process,
    read: fn(&str) -> Option<Timing>,
}

impl Going {
    pub fn finish(self) -> anyhow::Result<Timing> {
        let output = self.process.finish(LIMIT)?;
        (self.read)(&output).context("read the output of the load: it has no time in it")
    }

    pub fn must_run(&mut self) -> anyhow::Result<()> {
        self.process.must_run()
    }

    pub fn stop(self) -> anyhow::Result<()> {
        self.process.stop()
    }
}

fn scaled(loops: u64, total_ns: f64, length: Duration) -> u64 {
    // The outputs have a resolution of 1 ms.
    let factor = length.as_nanos() as f64 / total_ns.max(1e6);
    ((loops as f64 * factor) as u64).max(1)
}

/// How many there were, and how many nanoseconds all of them took.
fn read_pattern(output: &str) -> Option<Timing> {
    let (count, ns) = output.trim().split_once(' ')?;
    let (count, total_ns): (f64, f64) = (count.parse().ok()?, ns.parse().ok()?);
    (count > 0.0 && total_ns > 0.0).then(|| Timing {
        value_ns: total_ns / count,
        total_ns,
    })
}

fn read_pipe(output: &str) -> Option<Timing> {
    Some(Timing {
        value_ns: before(output, "usecs/op")? * 1e3,
        total_ns: total_ns(output)?,
    })
}

fn read_messaging(output: &str) -> Option<Timing> {
    let total_ns = total_ns(output)?;
    Some(Timing {
        value_ns: total_ns,
        total_ns,
    })
}

fn total_ns(output: &str) -> Option<f64> {
    let line = output
        .lines()
        .find_map(|line| line.trim().strip_prefix("Total time:"))?;
    Some(before(line, "[sec]")? * 1e9)
}

/// The number before a unit.
fn before(text: &str, unit: &str) -> Option<f64> {
    let line = text.lines().find(|line| line.contains(unit))?;
    let number = line.split(unit).next()?.split_whitespace().next_back()?;
    number.parse().ok().filter(|&number: &f64| number > 0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pipe_tells_the_time_of_a_round_trip() {
        let output = "# Running 'sched/pipe' benchmark:\n\
                      # Executed 100000 pipe operations between two threads\n\n     \
                      Total time: 0.266 [sec]\n\n       2.663270 usecs/op\n         375478 ops/sec\n";
        let timing = read_pipe(output).expect("a time");
        assert!((timing.value_ns - 2663.27).abs() < 1e-6);
        assert_eq!(timing.total_ns, 266e6);
    }

    #[test]
    fn messaging_tells_its_total_time() {
        let output = "# Running 'sched/messaging' benchmark:\n\
                      # 20 sender and receiver processes per group\n\
                      # 20 groups == 800 processes run\n\n     Total time: 1.542 [sec]\n";
        let timing = read_messaging(output).expect("a time");
        assert_eq!((timing.value_ns, timing.total_ns), (1.542e9, 1.542e9));
    }

    #[test]
    fn loops_follow_the_wanted_length() {
        let second = Duration::from_secs(1);
        assert_eq!(scaled(1000, 250e6, second), 4000);
        assert_eq!(scaled(1000, 4e9, second), 250);
        assert_eq!(scaled(10, 0.0, Duration::from_millis(5)), 50);
        assert_eq!(scaled(1, 9e9, second), 1);
    }

    #[test]
    fn no_time_is_no_zero() {
        assert_eq!(read_pipe(""), None);
        assert_eq!(read_pattern("100 0"), None);
        assert_eq!(read_pattern("0 100"), None);
        assert_eq!(read_pattern("1000"), None);
        assert_eq!(read_pipe("Total time: 0.100 [sec]\n"), None);
        assert_eq!(read_messaging("Total time: 0.000 [sec]"), None);
        assert_eq!(read_messaging("Total time: soon [sec]"), None);
    }
}
