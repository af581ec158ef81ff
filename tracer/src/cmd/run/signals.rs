//! SIGINT and SIGTERM: the first one finishes and reports, a second one stops.

use anyhow::Context as _;
use rustix::process::Signal;
use tokio::signal::unix::{SignalKind, signal};

use crate::{
    cmd::{Failure, run::errands::Errands},
    command::Running,
};

/// SIGINT reaches the command by itself: from the terminal, to all in the foreground.
pub fn pass_on(received: Signal, command: Option<&Running>, errands: &Errands) {
    if received == Signal::TERM
        && let Some(command) = command
    {
        errands.terminate(command);
    }
}

pub struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
    received: bool,
}

impl Signals {
    pub fn install() -> anyhow::Result<Signals> {
        let on = |kind| signal(kind).context("handle signals");
        Ok(Signals {
            interrupt: on(SignalKind::interrupt())?,
            terminate: on(SignalKind::terminate())?,
            received: false,
        })
    }

    /// The first one, which asks for the report; a second one is an error: stop at once.
    pub async fn next(&mut self) -> Result<Signal, Failure> {
        let signal = tokio::select! {
            _ = self.interrupt.recv() => Signal::INT,
            _ = self.terminate.recv() => Signal::TERM,
        };
        if std::mem::replace(&mut self.received, true) {
            let status = 128 + signal.as_raw() as u8;
            return Err(Failure::Stopped { status });
        }
        Ok(signal)
    }
}
