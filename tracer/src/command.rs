//! Starts the command to trace, but lets its first instruction wait until the probes are on.
//!
//! The child blocks on a pipe between fork and exec. `std` does the rest, so that a command which
//! cannot be executed is told apart from one that fails; its stdio, user and limits stay untouched.

use std::{
    ffi::OsString,
    fs::File,
    io::{self, PipeReader, PipeWriter, Read as _, Write as _},
    os::{
        fd::{AsRawFd as _, OwnedFd},
        unix::process::{CommandExt as _, ExitStatusExt as _},
    },
    process::{Child, Command, ExitStatus},
    thread::JoinHandle,
};

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use tokio::io::unix::AsyncFd;

use crate::cmd::Failure;

/// Forked, waiting before exec.
pub struct Waiting {
    pid: u32,
    name: String,
    gate: PipeWriter,
    /// `Command::spawn` returns only after exec, so it has a thread of its own.
    spawning: JoinHandle<io::Result<Child>>,
}

/// Running the user's program.
pub struct Running {
    child: Child,
    pidfd: AsyncFd<OwnedFd>,
}

impl Waiting {
    /// Forks. The child is a copy of this process until [`Waiting::release`].
    pub fn fork(command: &[OsString]) -> anyhow::Result<Waiting> {
        let (program, arguments) = command
            .split_first()
            .ok_or_else(|| Failure::Usage("no command given".to_owned()))?;
        let (mut told, telling) = io::pipe()?;
        let (waiting, gate) = io::pipe()?;
        let mut command = Command::new(program);
        command.args(arguments);
        // SAFETY: the closure runs between fork and exec and only reads, writes and closes
        // descriptors: all async-signal-safe, no allocation.
        unsafe {
            let gate = gate.as_raw_fd();
            command.pre_exec(move || wait_for_release(&telling, &waiting, gate));
        }
        let spawning = std::thread::Builder::new()
            .name("tracer-spawn".to_owned())
            .spawn(move || command.spawn())?;
        let mut pid = [0; 4];
        if told.read_exact(&mut pid).is_err() {
            // The fork itself failed: `spawn` knows why.
            let error = match spawning.join() {
                Ok(Err(error)) => error,
                _ => io::Error::other("the child ended before it started"),
            };
            return Err(anyhow::Error::new(error).context(format!("fork for {}", shown(program))));
        }
        Ok(Waiting {
            pid: u32::from_ne_bytes(pid),
            name: shown(program),
            gate,
            spawning,
        })
    }

    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Lets the child execute the command. Inside a tokio runtime only.
    pub fn release(mut self) -> anyhow::Result<Running> {
        self.gate.write_all(&[1])?;
        drop(self.gate);
        let spawned = self
            .spawning
            .join()
            .unwrap_or_else(|_| Err(io::Error::other("spawn")));
        let child = spawned.map_err(|error| not_started(&self.name, &error))?;
        let pid = Pid::from_child(&child);
        let pidfd = pidfd_open(pid, PidfdFlags::NONBLOCK)?;
        // SAFETY: owns its descriptor, which stays open as long as it is registered.
        let pidfd = unsafe { AsyncFd::register(pidfd) }?;
        Ok(Running { child, pidfd })
    }
}

impl Running {
    /// Until the command has ended; its status stays to be asked for.
    pub async fn ended(&self) -> io::Result<()> {
        self.pidfd
            .readable()
            .await
            .map(|mut guard| guard.retain_ready())
    }

    /// Passes a signal on; that the command has ended meanwhile is no error.
    pub fn signal(&self, signal: Signal) {
        let _ = pidfd_send_signal(self.pidfd.get_ref(), signal);
    }

    /// Its exit status as ours: 128 + N when signal N ended it. Waits for the end.
    pub fn status(&mut self) -> io::Result<u8> {
        Ok(as_ours(self.child.wait()?))
    }
}

/// In the child: tells its pid, then waits for a byte. The end of file without one means that the
/// tracer is gone, and the command must not start.
fn wait_for_release(telling: &PipeWriter, waiting: &PipeReader, gate: i32) -> io::Result<()> {
    // SAFETY: our copy of the parent's end; without closing it here the read would never end.
    drop(unsafe { <File as std::os::fd::FromRawFd>::from_raw_fd(gate) });
    let pid = rustix::process::getpid().as_raw_nonzero().get();
    rustix::io::write(telling, &pid.to_ne_bytes())?;
    let mut byte = [0];
    loop {
        match rustix::io::read(waiting, &mut byte) {
            Ok(0) => return Err(io::ErrorKind::Interrupted.into()),
            Ok(_) => return Ok(()),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

fn not_started(name: &str, error: &io::Error) -> Failure {
    let (status, why) = match error.kind() {
        io::ErrorKind::NotFound => (127, "not found: check the name and PATH".to_owned()),
        io::ErrorKind::PermissionDenied => {
            (126, "not executable: check its permissions".to_owned())
        }
        _ => (126, error.to_string()),
    };
    Failure::NotStarted {
        status,
        message: format!("start {name}: {why}"),
    }
}

fn as_ours(status: ExitStatus) -> u8 {
    let status = match (status.code(), status.signal()) {
        (Some(code), _) => code,
        (None, Some(signal)) => 128 + signal,
        (None, None) => 1,
    };
    u8::try_from(status).unwrap_or(u8::MAX)
}

fn shown(program: &OsString) -> String {
    crate::output::terminal(program.as_encoded_bytes())
}
