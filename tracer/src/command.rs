//! Starts the command to trace, but lets its first instruction wait until the probes are on.
//!
//! The child blocks on a pipe between fork and exec. `std` does the rest, so that a command which
//! cannot be executed is told apart from one that fails; its stdio, user and limits stay untouched.

use std::{
    ffi::OsString,
    io::{self, PipeReader, PipeWriter, Read as _, Write as _},
    os::{fd::OwnedFd, unix::process::CommandExt as _},
    process::Command,
};

use anyhow::Context as _;
use rustix::process::{Pid, PidfdFlags, WaitId, WaitIdOptions, WaitIdStatus, pidfd_open, waitid};
use tokio::io::unix::AsyncFd;

use crate::cmd::Failure;

/// Forked, waiting before exec.
pub struct Waiting {
    pid: Pid,
    name: String,
    gate: PipeWriter,
    /// Ends at exec, or tells why there is none.
    failure: PipeReader,
}

/// Released: about to run the user's program, running it, or done with it.
pub struct Running {
    name: String,
    pid: Pid,
    /// On a busy machine exec takes its time, and meanwhile the rings must be drained.
    failure: Option<AsyncFd<PipeReader>>,
    pidfd: AsyncFd<OwnedFd>,
}

impl Waiting {
    /// Forks; only for a process of one thread. The child is a copy of it until [`Waiting::release`], and has what
    /// privileges it has now.
    pub fn fork(command: &[OsString]) -> anyhow::Result<Waiting> {
        let (program, arguments) = command
            .split_first()
            .ok_or_else(|| Failure::Usage("no command given".to_owned()))?;
        let (waiting, gate) = io::pipe()?;
        let (failure, failing) = io::pipe()?;
        // SAFETY: there is one thread, so the child is as whole as we are; it does not return from here.
        match unsafe { libc::fork() } {
            -1 => {
                let error = anyhow::Error::new(io::Error::last_os_error());
                Err(error.context(format!("fork for {}", shown(program))))
            }
            0 => {
                drop((gate, failure));
                wait_for_release(waiting);
                // Returns only when it fails.
                let error = Command::new(program).args(arguments).exec();
                let errno = error.raw_os_error().unwrap_or(0);
                let _ = (&failing).write_all(&errno.to_ne_bytes());
                end_child()
            }
            pid => {
                let pid = Pid::from_raw(pid);
                Ok(Waiting {
                    pid: pid.ok_or_else(|| io::Error::other("a child without a number"))?,
                    name: shown(program),
                    gate,
                    failure,
                })
            }
        }
    }

    pub fn pid(&self) -> u32 {
        self.pid.as_raw_nonzero().get().cast_unsigned()
    }

    /// Lets the child execute the command. Inside a tokio runtime only.
    pub fn release(mut self) -> anyhow::Result<Running> {
        // Nobody has waited for it: the number is certainly still its own.
        let pidfd = pidfd_open(self.pid, PidfdFlags::NONBLOCK)?;
        // SAFETY: owns its descriptor, which stays open as long as it is registered.
        let pidfd = unsafe { AsyncFd::register(pidfd) }?;
        // SAFETY: as above.
        let failure = unsafe { AsyncFd::register(self.failure) }?;
        self.gate.write_all(&[1])?;
        Ok(Running {
            name: self.name,
            pid: self.pid,
            failure: Some(failure),
            pidfd,
        })
    }
}

impl Running {
    /// Until the command has ended, or an error if it could not be started; its status stays to be
    /// asked for. May be dropped and called again.
    pub async fn ended(&mut self) -> anyhow::Result<()> {
        if let Some(failure) = &self.failure {
            failure.readable().await?.retain_ready();
            self.started()?;
        }
        self.pidfd.readable().await?.retain_ready();
        Ok(())
    }

    pub fn pid(&self) -> u32 {
        self.pid.as_raw_nonzero().get().cast_unsigned()
    }

    /// For whoever passes a signal on.
    pub fn pidfd(&self) -> &OwnedFd {
        self.pidfd.get_ref()
    }

    /// Its exit status as ours: 128 + N when signal N ended it. Waits for the end.
    pub fn status(&mut self) -> anyhow::Result<u8> {
        self.started()?;
        let status = wait(self.pid).context("wait for the command")?;
        Ok(as_ours(&status))
    }

    /// Waits for exec.
    fn started(&mut self) -> anyhow::Result<()> {
        let Some(mut failure) = self.failure.take().map(AsyncFd::into_inner) else {
            return Ok(());
        };
        let mut errno = [0; 4];
        if failure.read_exact(&mut errno).is_err() {
            // Closed by exec.
            return Ok(());
        }
        let _ = wait(self.pid);
        let error = match i32::from_ne_bytes(errno) {
            // A name that no system call takes.
            0 => io::ErrorKind::InvalidInput.into(),
            errno => io::Error::from_raw_os_error(errno),
        };
        Err(not_started(&self.name, &error).into())
    }
}

/// In the child: waits for a byte. The end of file without one means that the tracer is gone, and the command must
/// not start.
fn wait_for_release(mut waiting: PipeReader) {
    if waiting.read_exact(&mut [0]).is_err() {
        // Nobody is left to be told, and trying to would be an error of its own.
        end_child();
    }
}

fn end_child() -> ! {
    // SAFETY: without preconditions; what is registered for an exit is the tracer's.
    unsafe { libc::_exit(1) }
}

fn wait(pid: Pid) -> io::Result<WaitIdStatus> {
    loop {
        match waitid(WaitId::Pid(pid), WaitIdOptions::EXITED) {
            Ok(Some(status)) => return Ok(status),
            Ok(None) | Err(rustix::io::Errno::INTR) => {}
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

fn as_ours(status: &WaitIdStatus) -> u8 {
    let status = match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => code,
        (None, Some(signal)) => 128 + signal,
        (None, None) => 1,
    };
    u8::try_from(status).unwrap_or(u8::MAX)
}

fn shown(program: &OsString) -> String {
    crate::output::terminal(program.as_encoded_bytes())
}
