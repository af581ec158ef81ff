//! The tools of `libbpf-tools`. What they have attached shows in /proc, so nothing depends on their output.

use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};

use super::{READY, on_cpu};
use crate::bench::Bench;
use crate::bench::process::{Process, wait_for};
use crate::setup;

/// A tool attaches its programs one right after the other: no more come after this long.
const SETTLED: Duration = Duration::from_millis(200);

pub struct Bpf {
    name: &'static str,
    process: Process,
    attached: usize,
}

impl Bpf {
    pub fn start(bench: &Bench, name: &'static str, cpu: Option<u32>) -> anyhow::Result<Bpf> {
        let program = setup::find(name).with_context(|| format!("find {name}: not installed"))?;
        Bpf::attach(bench, name, on_cpu(cpu, program))
    }

    /// What no tool can cost less than: our own loader, and programs that do nothing.
    pub fn empty(bench: &Bench, name: &'static str, cpu: Option<u32>) -> anyhow::Result<Bpf> {
        let mut command = on_cpu(cpu, &bench.tracer);
        command.args(["probes", "--attach-empty"]);
        Bpf::attach(bench, name, command)
    }

    fn attach(bench: &Bench, name: &'static str, mut command: Command) -> anyhow::Result<Bpf> {
        let mut process = Process::start(name, &mut command, Stdio::null(), &bench.scratch)?;
        let attached = wait_until_attached(&mut process)?;
        Ok(Bpf {
            name,
            process,
            attached,
        })
    }

    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    pub fn stop(mut self) -> anyhow::Result<()> {
        self.process.must_run()?;
        let attached = attached(self.process.pid());
        ensure!(
            attached == self.attached,
            "{}: {attached} of {} programs attached at the end",
            self.name,
            self.attached
        );
        // How it ends is of no interest: some are ended by the signal.
        self.process.stop()
    }
}

/// How many programs it has attached, once they stay as many and it sleeps: then it waits for events, or for
/// its end. What it does before, reading lists of threads and symbols, keeps it running.
pub fn wait_until_attached(process: &mut Process) -> anyhow::Result<usize> {
    let mut seen = (0, Instant::now());
    wait_for("attached programs", READY, || {
        process.must_run()?;
        let now = attached(process.pid());
        if now != seen.0 {
            seen = (now, Instant::now());
        }
        let settled = now > 0 && seen.1.elapsed() > SETTLED;
        Ok((settled && sleeps(process.pid())).then_some(now))
    })
}

fn sleeps(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| is_sleeping(&stat))
}

/// The state follows the name, which may contain anything (proc_pid_stat(5)).
fn is_sleeping(stat: &str) -> bool {
    stat.rsplit_once(") ")
        .is_some_and(|(_, rest)| rest.starts_with('S'))
}

/// Links to BPF programs, and perf events, which older kernels and libraries attach by.
fn attached(pid: u32) -> usize {
    let Ok(files) = fs::read_dir(format!("/proc/{pid}/fd")) else {
        return 0;
    };
    let targets = files
        .flatten()
        .filter_map(|file| fs::read_link(file.path()).ok());
    targets
        .filter(|target| is_attachment(&target.to_string_lossy()))
        .count()
}

fn is_attachment(target: &str) -> bool {
    // With and without brackets: kernels differ.
    target.starts_with("anon_inode:")
        && (target.contains("bpf_link")
            || target.contains("bpf-link")
            || target.contains("perf_event"))
}

#[cfg(test)]
mod tests {
    use super::{is_attachment, is_sleeping};

    #[test]
    fn attachments_are_told_from_maps_and_programs() {
        assert!(is_attachment("anon_inode:bpf_link"));
        assert!(is_attachment("anon_inode:[perf_event]"));
        for other in [
            "anon_inode:bpf-map",
            "anon_inode:bpf-prog",
            "/tmp/bpf_link",
            "socket:[1]",
        ] {
            assert!(!is_attachment(other), "{other}");
        }
    }

    #[test]
    fn sleeping_is_told_from_running() {
        assert!(is_sleeping("7 (a) R (b) S 1 7 7 0"));
        assert!(!is_sleeping("7 (S) R 1 7 7 0"));
        assert!(!is_sleeping("7 (a) D 1"));
        assert!(!is_sleeping(""));
    }
}
