//! Our own tool, as a user runs it: no `-v`, which builds other kernel programs. That it traced is proved
//! by the window in its report.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};

use super::bpf::wait_until_attached;
use super::{Window, on_cpu};
use crate::bench::Bench;
use crate::bench::process::{LOOK, Process, pause};
use crate::bench::report::{Run, has_report};

/// It looks at least ten times a second, and has its tail to wait for.
const NOTICE: Duration = Duration::from_secs(3);

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Whom {
    System,
    /// A process that sleeps all the time.
    Unrelated,
    /// A process that waits all the time for the CPU of the load: each switch of the load is kept for it.
    Waiting,
    Load,
}

/// Whom it traces, where that is not the load.
pub struct Target(Process);

impl Target {
    fn sleeps(bench: &Bench) -> anyhow::Result<Target> {
        let mut sleep = Command::new("sleep");
        sleep.arg("3600");
        Process::start("sleep", &mut sleep, Stdio::null(), &bench.scratch).map(Target)
    }

    /// It runs only where nobody else wants to: never, where the load does.
    pub fn waits(bench: &Bench) -> anyhow::Result<Target> {
        let mut hog = on_cpu(Some(bench.cpus.load), "chrt");
        hog.args(["-i", "0", "sh", "-c", "while :; do :; done"]);
        Process::start("hog", &mut hog, Stdio::null(), &bench.scratch).map(Target)
    }

    pub fn stop(mut self) -> anyhow::Result<()> {
        self.0.must_run()
    }
}

pub struct Tracer {
    process: Process,
    name: &'static str,
    report: PathBuf,
    whom: Whom,
    _target: Option<Target>,
}

impl Tracer {
    pub fn start(
        bench: &Bench,
        name: &'static str,
        (whom, options): (Whom, &[&str]),
        load: u32,
        cpu: Option<u32>,
    ) -> anyhow::Result<Tracer> {
        let target = match whom {
            Whom::Unrelated => Some(Target::sleeps(bench)?),
            Whom::Waiting => Some(Target::waits(bench)?),
            Whom::System | Whom::Load => None,
        };
        let report = bench.scratch.join("tracer.json");
        // One of an earlier run would prove what is not so.
        let _ = fs::remove_file(&report);
        let mut command = on_cpu(cpu, &bench.tracer);
        command.args(["run", "--format", "json", "-o"]).arg(&report);
        command.args(options);
        match (whom, &target) {
            (Whom::Load, _) => command.args(["--pid", &load.to_string()]),
            (_, Some(target)) => command.args(["--pid", &target.0.pid().to_string()]),
            (_, None) => &mut command,
        };
        let mut process = Process::start(name, &mut command, Stdio::null(), &bench.scratch)?;
        wait_until_attached(&mut process)?;
        Ok(Tracer {
            process,
            name,
            report,
            whom,
            _target: target,
        })
    }

    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// The verdict, as a note.
    pub fn stop(mut self, load: Window) -> anyhow::Result<String> {
        let by_itself = if self.whom == Whom::Load {
            self.ends_with_load()?
        } else {
            self.process.must_run()?;
            true
        };
        let status = self.process.end()?;
        if !has_report(status) {
            return Err(self.process.failed(status));
        }
        let run = Run::read(&self.report)?;
        covers(&run, load)?;
        let late = if by_itself {
            ""
        } else {
            ", did not see its target end"
        };
        Ok(format!("{}: {}{late}", self.name, run.verdict()))
    }

    /// Its target is gone, so it should end; what it costs until then is measured even if it does not.
    fn ends_with_load(&mut self) -> anyhow::Result<bool> {
        let begin = Instant::now();
        while begin.elapsed() < NOTICE {
            if self.process.ended()?.is_some() {
                return Ok(true);
            }
            pause(LOOK)?;
        }
        Ok(false)
    }
}

/// A tool that traced only a part of the load would look cheap.
fn covers(run: &Run, load: Window) -> anyhow::Result<()> {
    let window = run.window_ns();
    let (start, duration) = window.context("read the report of the tracer: it has no window")?;
    ensure!(
        start <= load.from_ns && load.from_ns + load.length_ns <= start + duration,
        "the tracer began {} us after the load, or ended before it",
        start.saturating_sub(load.from_ns) / 1000
    );
    ensure!(
        run.events().is_some_and(|events| events > 0),
        "the tracer saw no event"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_window_must_cover_the_load() {
        let report = json!({
            "window": { "start_monotonic_ns": 1000, "duration_ns": 5000 },
            "cost": { "kernel_events": 7 },
        });
        let check = |report: &serde_json::Value, from_ns, length_ns| {
            covers(&Run::from(report.clone()), Window { from_ns, length_ns })
        };
        assert!(check(&report, 1000, 5000).is_ok());
        assert!(check(&report, 999, 100).is_err());
        assert!(check(&report, 2000, 4001).is_err());
        assert!(check(&json!({}), 1000, 1).is_err());
        let mut blind = report;
        blind["cost"]["kernel_events"] = json!(0);
        assert!(check(&blind, 1000, 1).is_err());
    }
}
