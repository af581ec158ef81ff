//! A virtual machine: QEMU without an accelerator, two CPUs and a console, which is all that it tells by.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use rustix::process::{Pid, Signal, kill_process};

use super::console::{Asks, Console};
use super::packages::Kernel;
use crate::bench::process::{LOOK, check_interrupted};
use crate::command::show;

/// What a kernel says when there is nothing more to come.
const LOST: [&str; 5] = [
    "Oops:",
    "Internal error:",
    "Kernel panic - not syncing",
    "BUG: soft lockup",
    "BUG: unable to handle",
];
/// The trace behind such a line is worth having.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Boots a kernel and follows its console to the end, or until the deadline. `parameters` go to the kernel's command
/// line.
pub fn boot(
    kernel: &Kernel,
    initramfs: &Path,
    parameters: &[String],
    deadline: Instant,
) -> anyhow::Result<Console> {
    let of = kernel.architecture;
    let mut line = format!("{} rdinit=/init loglevel=5 panic=-1", of.parameters);
    for parameter in parameters {
        line.extend([" ", parameter]);
    }
    let (program, _) = of.qemu;
    let mut qemu = Command::new(program);
    qemu.args(of.machine)
        .args(["-smp", "2", "-m", "1536"])
        .args([
            "-nodefaults",
            "-display",
            "none",
            "-serial",
            "stdio",
            "-no-reboot",
        ])
        .arg("-kernel")
        .arg(&kernel.image)
        .arg("-initrd")
        .arg(initramfs)
        .args(["-append", &line])
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    println!("$ {}", show(&qemu));
    let child = qemu.spawn().with_context(|| format!("run {program}"))?;
    follow(&kernel.release, Machine(child), deadline)
}

fn follow(name: &str, mut machine: Machine, mut deadline: Instant) -> anyhow::Result<Console> {
    let output = machine.0.stdout.take().context("read the console")?;
    let (sender, lines) = mpsc::channel();
    thread::spawn(move || {
        // Bytes: what hangs may print anything.
        for line in BufReader::new(output).split(b'\n').map_while(Result::ok) {
            let line = String::from_utf8_lossy(&line).trim_end().to_owned();
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    let mut console = Console::default();
    while Instant::now() < deadline {
        check_interrupted()?;
        match lines.recv_timeout(LOOK) {
            Ok(line) => {
                // How it boots is of interest where it does not.
                if console.has_begun() {
                    println!("{name}: {line}");
                }
                if let Some(lost) = LOST.iter().find(|lost| line.contains(*lost)) {
                    console.ended(lost);
                    deadline = deadline.min(Instant::now() + LAST_WORDS);
                }
                if let Some(Asks::Stop(length)) = console.read(&line) {
                    machine.stop(length)?;
                }
            }
            // It has powered off.
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => {}
        }
    }
    Ok(console)
}

/// Ends with its guard.
struct Machine(Child);

impl Machine {
    /// Takes all CPUs away for so long, as a hypervisor may: the time goes on.
    fn stop(&self, length: Duration) -> anyhow::Result<()> {
        let pid = Pid::from_child(&self.0);
        kill_process(pid, Signal::STOP).context("stop the virtual machine")?;
        thread::sleep(length);
        kill_process(pid, Signal::CONT).context("let the virtual machine go on")
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
