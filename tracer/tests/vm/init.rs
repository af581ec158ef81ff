//! The first process of a virtual machine: mounts what a system has, runs the planned steps, and powers off.
//!
//! In: `/plan`, a step a line: its name, how many seconds it may take, a program and its arguments, with tabs
//! between them. Out: on the console, what the programs print, and lines of its own that begin with `vm: `.
//! Knows nothing of what the steps are: `cargo xtask vm-test` plans them and judges.

#[path = "../support/btf.rs"]
#[expect(dead_code, reason = "the other tests use the rest of it")]
mod btf;

use std::fs;
use std::io::{self, Write as _};
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::mount::{MountFlags, mount};
use rustix::process::{Pid, WaitOptions, WaitStatus, wait};
use rustix::system::{RebootCommand, reboot};
use rustix::termios::tcdrain;

const NOT_APPLICABLE: &str = "/na.txt";

/// Set by the kernel's command line: `structure.field`, which every tracer is to read from a wrong place. The
/// tests must notice.
const WRONG_OFFSET: &str = "TRACER_WRONG_OFFSET";
const WRONG_TYPES: &str = "/wrong-types";

/// Type and place of file systems, in the order of mounting. One that a kernel lacks is told and does without. None for
/// temporary files: the root is one, and below /tmp may be the programs.
const FILE_SYSTEMS: [(&str, &str); 6] = [
    ("proc", "/proc"),
    ("sysfs", "/sys"),
    ("devtmpfs", "/dev"),
    ("cgroup2", "/sys/fs/cgroup"),
    ("securityfs", "/sys/kernel/security"),
    ("tracefs", "/sys/kernel/tracing"),
];

/// How long it may take to make links to all that busybox is.
const TOOLS: Duration = Duration::from_secs(30);

fn main() {
    if std::process::id() != 1 {
        say("this is the first process of a virtual machine, and nothing for any other");
        return;
    }
    if let Err(error) = run() {
        say(&format!("error: {error}"));
    }
    let error = reboot(RebootCommand::PowerOff);
    say(&format!("error: power off: {error:?}"));
}

fn run() -> io::Result<()> {
    for (kind, place) in FILE_SYSTEMS {
        if let Err(error) = mount(kind, place, kind, MountFlags::empty(), None) {
            say(&format!("mount {kind}: {error}"));
        }
    }
    let mut links = Command::new("/bin/busybox");
    let how = end_of(links.args(["--install", "-s", "/bin"]), TOOLS)?;
    if how != "ok" {
        return Err(io::Error::other(format!("name the small programs: {how}")));
    }
    if let Ok(field) = std::env::var(WRONG_OFFSET) {
        let (strukt, field) = field.split_once('.').ok_or(io::ErrorKind::InvalidInput)?;
        fs::write(WRONG_TYPES, btf::types_with_a_wrong_offset(strukt, field))?;
    }
    let plan = fs::read_to_string("/plan")?;
    for step in plan.lines() {
        let words: Vec<&str> = step.split('\t').collect();
        let [name, seconds, program, args @ ..] = words.as_slice() else {
            return Err(io::Error::other(format!("no step: {step}")));
        };
        let seconds = seconds.parse().map_err(io::Error::other)?;
        let mut command = Command::new(program);
        command
            .args(args)
            .env("TRACER_NA_FILE", NOT_APPLICABLE)
            .env("TRACER_VM", "1");
        if fs::exists(WRONG_TYPES)? {
            command.env("TRACER_BTF", WRONG_TYPES);
        }
        let limit = Duration::from_secs(seconds);
        say(&format!("begin {name}"));
        if !step_ends_well(name, &mut command, limit)? {
            // Where the host has other things to do, an emulated machine misses ticks and more.
            say(&format!("again {name}"));
            step_ends_well(name, &mut command, limit)?;
        }
    }
    say("done");
    Ok(())
}

fn step_ends_well(name: &str, command: &mut Command, limit: Duration) -> io::Result<bool> {
    fs::write(NOT_APPLICABLE, "")?;
    let begin = Instant::now();
    let how = end_of(command, limit)?;
    for line in fs::read_to_string(NOT_APPLICABLE)?.lines() {
        say(line);
    }
    say(&format!(
        "end {name} {:.1} {how}",
        begin.elapsed().as_secs_f64()
    ));
    Ok(how == "ok")
}

/// How a program ended. Meanwhile takes note of all that ends without a parent, as the first process must.
fn end_of(command: &mut Command, limit: Duration) -> io::Result<String> {
    let mut child = command.spawn()?;
    let pid = Pid::from_child(&child);
    let deadline = Instant::now() + limit;
    loop {
        match wait(WaitOptions::NOHANG)? {
            Some((ended, status)) if ended == pid => return Ok(told(status)),
            Some(_) => continue,
            None if Instant::now() >= deadline => {
                child.kill()?;
                child.wait()?;
                return Ok("late".to_owned());
            }
            None => std::thread::sleep(Duration::from_millis(20)),
        }
    }
}

fn told(status: WaitStatus) -> String {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(0), _) => "ok".to_owned(),
        (Some(code), _) => format!("status {code}"),
        (None, signal) => format!("signal {}", signal.unwrap_or(0)),
    }
}

/// In one write: the kernel may write to the console, too.
fn say(text: &str) {
    let line = format!("\nvm: {text}\n");
    let mut console = io::stdout().lock();
    // Without a console nobody is told, whatever is done about it.
    let _ = console.write_all(line.as_bytes());
    let _ = console.flush();
    // It is out before the kernel says the next thing.
    let _ = tcdrain(&console);
}
