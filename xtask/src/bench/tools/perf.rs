//! `perf sched record`: every event to a file. Its control channel answers from the loop that runs once all
//! events are on (perf-record(1), `--control`).

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context as _, ensure};
use rustix::fs::{CWD, FileType, Mode, OFlags, mknodat};

use super::{READY, on_cpu};
use crate::bench::Bench;
use crate::bench::process::{Process, wait_for};

pub struct Perf {
    process: Process,
    data: Data,
    /// Bytes when it began.
    header: u64,
}

/// Some hundred MiB: gone as soon as they are of no use, before they are written to a disk.
struct Data(PathBuf);

impl Drop for Data {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

impl Data {
    fn len(&self) -> anyhow::Result<u64> {
        let metadata = fs::metadata(&self.0);
        Ok(metadata.context("look at the recording of perf")?.len())
    }
}

impl Perf {
    pub fn start(bench: &Bench, name: &str, cpu: Option<u32>) -> anyhow::Result<Perf> {
        let (asks, answers) = (
            bench.scratch.join("perf.asks"),
            bench.scratch.join("perf.answers"),
        );
        let (mut ask, mut answer) = (fifo(&asks)?, fifo(&answers)?);
        let data = Data(bench.scratch.join("perf.data"));

        let mut command = on_cpu(cpu, "perf");
        command.args(["sched", "record", "-o"]).arg(&data.0);
        let control = format!("--control=fifo:{},{}", asks.display(), answers.display());
        command.arg(control);
        let mut process = Process::start(name, &mut command, Stdio::null(), &bench.scratch)?;
        ask.write_all(b"ping\n")
            .context("ask perf whether it records")?;
        wait_for("the answer of perf", READY, || {
            process.must_run()?;
            heard(&mut answer)
        })?;
        let header = data.len()?;
        Ok(Perf {
            process,
            data,
            header,
        })
    }

    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    pub fn stop(mut self) -> anyhow::Result<()> {
        self.process.must_run()?;
        self.process.stop()?;
        ensure!(
            self.data.len()? > self.header,
            "perf sched record wrote no event"
        );
        Ok(())
    }
}

/// Open for both directions, so that neither side waits for the other to open it.
fn fifo(path: &Path) -> anyhow::Result<File> {
    if !path.exists() {
        mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)
            .with_context(|| format!("make {}", path.display()))?;
    }
    let mut options = OpenOptions::new();
    options.read(true).write(true);
    options.custom_flags(i32::try_from(OFlags::NONBLOCK.bits())?);
    let file = options.open(path);
    file.with_context(|| format!("open {}", path.display()))
}

fn heard(answer: &mut File) -> anyhow::Result<Option<()>> {
    let mut bytes = [0; 16];
    match answer.read(&mut bytes) {
        Ok(0) => Ok(None),
        Ok(_) => Ok(Some(())),
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(error).context("hear whether perf records"),
    }
}
