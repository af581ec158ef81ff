//! The kernel's own tracer, without a reader: events go to a buffer that is written over and over.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};

/// Where [`mount`] puts it.
pub const TRACEFS: &str = "/sys/kernel/tracing";

/// Events that are on until this goes.
pub struct Ftrace {
    directory: PathBuf,
    /// Of our own, to be removed.
    instance: bool,
    on: Vec<&'static str>,
}

impl Ftrace {
    pub fn start(events: &'static [&'static str]) -> anyhow::Result<Ftrace> {
        let own = Path::new(TRACEFS).join(format!("instances/tracer-bench-{}", std::process::id()));
        // Kernels without instances have the one buffer of the system.
        let instance = fs::create_dir(&own).is_ok();
        let directory = if instance { own } else { TRACEFS.into() };
        let mut ftrace = Ftrace {
            directory,
            instance,
            on: Vec::new(),
        };
        for &event in events {
            ensure!(
                ftrace.read(&enable(event))?.trim() == "0",
                "turn on {event}: somebody else traces it"
            );
            ftrace.write(&enable(event), "1")?;
            ftrace.on.push(event);
        }
        Ok(ftrace)
    }

    pub fn stop(self) -> anyhow::Result<()> {
        for event in &self.on {
            ensure!(
                self.read(&enable(event))?.trim() == "1",
                "{event} was turned off by somebody else"
            );
        }
        ensure!(self.has_events()?, "ftrace wrote no event");
        Ok(())
    }

    fn has_events(&self) -> anyhow::Result<bool> {
        let cpus = fs::read_dir(self.directory.join("per_cpu")).context("list the buffers")?;
        for cpu in cpus {
            let stats = fs::read_to_string(cpu?.path().join("stats")).context("read a buffer")?;
            if entries(&stats) > 0 {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn read(&self, file: &str) -> anyhow::Result<String> {
        let path = self.directory.join(file);
        fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))
    }

    fn write(&self, file: &str, value: &str) -> anyhow::Result<()> {
        let path = self.directory.join(file);
        fs::write(&path, value).with_context(|| format!("write {}", path.display()))
    }
}

impl Drop for Ftrace {
    fn drop(&mut self) {
        for event in &self.on {
            // Nobody can be told; removing the instance turns off what is left.
            let _ = self.write(&enable(event), "0");
        }
        if self.instance {
            let _ = fs::remove_dir(&self.directory);
        }
    }
}

fn enable(event: &str) -> String {
    format!("events/sched/{event}/enable")
}

/// What is in the buffer of a CPU.
fn entries(stats: &str) -> u64 {
    let entries = stats.lines().find_map(|line| line.strip_prefix("entries:"));
    entries
        .and_then(|number| number.trim().parse().ok())
        .unwrap_or(0)
}

/// Mounts tracefs where it belongs, unless it is there.
pub fn mount() -> anyhow::Result<()> {
    if Path::new(TRACEFS).join("events/sched").exists() {
        return Ok(());
    }
    let mut mount = std::process::Command::new("mount");
    crate::command::run(mount.args(["-t", "tracefs", "tracefs", TRACEFS]))
}

#[cfg(test)]
mod tests {
    use super::entries;

    #[test]
    fn a_buffer_tells_what_is_in_it() {
        assert_eq!(entries("entries: 42\noverrun: 7\ncommit overrun: 0\n"), 42);
        assert_eq!(entries("entries: 0\noverrun: 0\n"), 0);
        assert_eq!(entries(""), 0);
    }
}
