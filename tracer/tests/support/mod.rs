//! For the tests that run the binary. Those on the real kernel are named `kernel_*.rs` and run as root.
//!
//! Tests panic instead of returning errors: the stack says where.

#![expect(
    dead_code,
    reason = "every test file compiles its own copy and uses a part of it"
)]

pub mod births;
pub mod btf;
pub mod budget;
pub mod check;
pub mod machine;
pub mod nginx;
pub mod nobody;
pub mod pipe;
pub mod planted;
pub mod python;
pub mod redis;
pub mod trace;
pub mod verify;

use std::fs::OpenOptions;
use std::io::{Read, Write as _};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::process::{
    Pid, Signal, WaitId, WaitIdOptions, kill_process, kill_process_group, waitid,
};
use serde_json::Value;

/// Nothing a test does takes longer, unless it says so. An emulated machine is slow.
fn timeout() -> Duration {
    let emulated = std::env::var_os("TRACER_VM").is_some();
    Duration::from_secs(if emulated { 120 } else { 60 })
}

/// What a run of the binary left behind.
pub struct Outcome {
    pub status: ExitStatus,
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
}

/// Runs `tracer` to its end.
#[track_caller]
pub fn tracer<S: AsRef<std::ffi::OsStr>>(args: impl IntoIterator<Item = S>) -> Outcome {
    Running::start(binary().args(args)).finish()
}

/// The same for its JSON report, which must hold what the contract promises.
#[track_caller]
pub fn checked_report<S: AsRef<std::ffi::OsStr>>(args: impl IntoIterator<Item = S>) -> Value {
    let outcome = tracer(args);
    outcome.expect_code(0);
    let report = outcome.json();
    check::check_report(&report);
    report
}

pub fn binary() -> Command {
    Command::new(env!("CARGO_BIN_EXE_tracer"))
}

/// A process under test, with a deadline. Killed with all its children when dropped early.
pub struct Running {
    child: Child,
    deadline: Instant,
    stdout: Option<JoinHandle<Vec<u8>>>,
    stderr: Option<JoinHandle<Vec<u8>>>,
    what: String,
}

impl Running {
    /// Collects stdout and stderr, where the command does not say otherwise by [`Running::start_as_is`].
    #[track_caller]
    pub fn start(command: &mut Command) -> Running {
        Running::start_as_is(
            command
                .stdin(Stdio::null())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped()),
        )
    }

    /// With the stdio that the command was given.
    #[track_caller]
    pub fn start_as_is(command: &mut Command) -> Running {
        use std::os::unix::process::CommandExt as _;

        // Its own group: a deadline ends the traced command, too.
        let mut child = command
            .process_group(0)
            .spawn()
            .expect("start the process under test");
        Running {
            stdout: child.stdout.take().map(collect),
            stderr: child.stderr.take().map(collect),
            what: format!("{command:?}"),
            deadline: Instant::now() + timeout(),
            child,
        }
    }

    pub fn within(mut self, timeout: Duration) -> Running {
        self.deadline = Instant::now() + timeout;
        self
    }

    /// Whether it has ended by itself; what it left behind is still to be taken.
    pub fn has_ended(&self) -> bool {
        let how = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        !matches!(waitid(WaitId::Pid(self.pid()), how), Ok(None))
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// To the process alone, not to its children.
    #[track_caller]
    pub fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).expect("signal the process under test");
    }

    /// Waits until it ends by itself.
    #[track_caller]
    pub fn finish(mut self) -> Outcome {
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("wait") {
                break status;
            }
            if Instant::now() >= self.deadline {
                let _ = kill_process_group(self.pid(), Signal::KILL);
                let stderr = self.stderr.take().map(join).unwrap_or_default();
                panic!(
                    "{} did not end in time; stderr:\n{}",
                    self.what,
                    String::from_utf8_lossy(&stderr)
                );
            }
            pause();
        };
        Outcome {
            status,
            stdout: self.stdout.take().map(join).unwrap_or_default(),
            stderr: self.stderr.take().map(join).unwrap_or_default(),
        }
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Not yet waited for, so the number is still ours.
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = kill_process_group(self.pid(), Signal::KILL);
            let _ = self.child.wait();
        }
    }
}

impl Outcome {
    #[track_caller]
    pub fn expect_code(&self, code: i32) {
        assert_eq!(
            self.status.code(),
            Some(code),
            "{}; stderr:\n{}\nend of stdout:\n{}",
            self.status,
            self.stderr(),
            String::from_utf8_lossy(&self.stdout[self.stdout.len().saturating_sub(4_000)..])
        );
    }

    pub fn stdout(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    pub fn stderr(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }

    /// The one document on stdout.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.stdout).unwrap_or_else(|error| {
            panic!(
                "{error} in stdout:\n{}\nstderr:\n{}",
                self.stdout(),
                self.stderr()
            )
        })
    }

    /// The objects of an ndjson output.
    #[track_caller]
    pub fn json_lines(&self) -> Vec<Value> {
        let line = |line: &str| {
            serde_json::from_str(line).unwrap_or_else(|error| panic!("{error} in {line}"))
        };
        self.stdout().lines().map(line).collect()
    }
}

/// Every thread of a report, with its process.
pub fn threads(report: &Value) -> impl Iterator<Item = (&Value, &Value)> {
    let list = |value: &'static str, of| check::list(of, value);
    list("processes", report).iter().flat_map(move |process| {
        list("threads", process)
            .iter()
            .map(move |thread| (process, thread))
    })
}

/// Says that this kernel lacks what a test needs. The runner compares the names with `tests/na.txt`:
/// a test that did not run and is not expected there fails the run.
pub fn na(name: &str, reason: &str) {
    let line = format!("n/a: {name}: {reason}\n");
    match std::env::var_os("TRACER_NA_FILE") {
        Some(path) => {
            let mut file = OpenOptions::new()
                .append(true)
                .create(true)
                .open(path)
                .expect("open TRACER_NA_FILE");
            // One write: tests run side by side and append to the same file.
            file.write_all(line.as_bytes())
                .expect("write to TRACER_NA_FILE");
        }
        None => std::io::stderr()
            .write_all(line.as_bytes())
            .expect("write to stderr"),
    }
}

/// Between two looks at something that takes time.
pub fn pause() {
    thread::sleep(Duration::from_millis(5));
}

fn collect(mut from: impl Read + Send + 'static) -> JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        from.read_to_end(&mut bytes)
            .expect("read the output of the process under test");
        bytes
    })
}

fn join(reader: JoinHandle<Vec<u8>>) -> Vec<u8> {
    reader.join().expect("a reader does not panic")
}
