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

use anyhow::Context as _;
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
    /// Ends when `spawn` has returned.
    spawned: PipeReader,
}

/// Released: about to run the user's program, running it, or done with it.
pub struct Running {
    name: String,
    /// On a busy machine exec takes its time, and meanwhile the rings must be drained.
    spawning: Option<JoinHandle<io::Result<Child>>>,
    spawned: AsyncFd<OwnedFd>,
    child: Option<Child>,
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
        let (spawned, spawns) = io::pipe()?;
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
            .spawn(move || {
                let spawned = command.spawn();
                drop(spawns);
                spawned
            })?;
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
            spawned,
        })
    }

    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Lets the child execute the command. Inside a tokio runtime only.
    pub fn release(mut self) -> anyhow::Result<Running> {
        // Before it may end: the number is certainly still its own.
        let pid = i32::try_from(self.pid).ok().and_then(Pid::from_raw);
        let pid = pid.ok_or_else(|| io::Error::other("a child without a number"))?;
        let pidfd = pidfd_open(pid, PidfdFlags::NONBLOCK)?;
        // SAFETY: owns its descriptor, which stays open as long as it is registered.
        let pidfd = unsafe { AsyncFd::register(pidfd) }?;
        // SAFETY: as above.
        let spawned = unsafe { AsyncFd::register(OwnedFd::from(self.spawned)) }?;
        self.gate.write_all(&[1])?;
        Ok(Running {
            name: self.name,
            spawning: Some(self.spawning),
            spawned,
            child: None,
            pidfd,
        })
    }
}

impl Running {
    /// Until the command has ended, or an error if it could not be started; its status stays to be
    /// asked for. May be dropped and called again.
    pub async fn ended(&mut self) -> anyhow::Result<()> {
        if self.spawning.is_some() {
            self.spawned.readable().await?.retain_ready();
            self.started()?;
        }
        self.pidfd.readable().await?.retain_ready();
        Ok(())
    }

    /// Passes a signal on; that the command has ended meanwhile is no error.
    pub fn signal(&self, signal: Signal) {
        let _ = pidfd_send_signal(self.pidfd.get_ref(), signal);
    }

    /// Its exit status as ours: 128 + N when signal N ended it. Waits for the end.
    pub fn status(&mut self) -> anyhow::Result<u8> {
        self.started()?;
        let child = self.child.as_mut();
        let status = child.map_or_else(|| Err(io::Error::other("no child")), Child::wait);
        status.map(as_ours).context("wait for the command")
    }

    /// Waits for exec.
    fn started(&mut self) -> anyhow::Result<()> {
        let Some(spawning) = self.spawning.take() else {
            return Ok(());
        };
        let spawned = spawning
            .join()
            .unwrap_or_else(|_| Err(io::Error::other("spawn")));
        self.child = Some(spawned.map_err(|error| not_started(&self.name, &error))?);
        Ok(())
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
            // The tracer is gone or gives up: nobody is left to be told, and trying to would be an error of its own.
            // SAFETY: safe after a fork.
            Ok(0) => unsafe { libc::_exit(1) },
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
