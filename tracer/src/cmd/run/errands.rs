//! What takes privileges once ours are given up: who does it, and what it is.
//!
//! In: where the report and the recording go. Out: files, or that something is done. Never: records.

use std::{
    fs::{self, File},
    io,
    os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd, RawFd},
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use rustix::{
    fs::{Mode, OFlags, PROC_SUPER_MAGIC, fstatfs, openat},
    process::{Signal, pidfd_send_signal},
    thread::CapabilitySet,
};

use crate::{
    cli::RunOptions,
    command::Running,
    kernel::{
        capabilities::{self, FILES},
        keeper::{Keeper, Request},
    },
    output::file::{Beside, create},
};

/// What an errand is asked for by.
#[derive(Clone, Copy)]
#[repr(u8)]
enum Errand {
    /// Open a file of a process, which is a directory in /proc.
    Smaps,
    Pagemap,
    /// Put the report in its place.
    Report,
    /// Create the recording of this number.
    Recording,
    /// Take away the first recording.
    NoRecording,
    /// End the command.
    Terminate,
}

const ALL: [Errand; 6] = [
    Errand::Smaps,
    Errand::Pagemap,
    Errand::Report,
    Errand::Recording,
    Errand::NoRecording,
    Errand::Terminate,
];

pub struct Errands(Keeper);

impl Errands {
    /// Forks where there are privileges to be given up that these take; only for a process of one thread.
    pub fn new(options: &RunOptions, report: Option<Beside>) -> anyhow::Result<Errands> {
        let kept = FILES | CapabilitySet::KILL | CapabilitySet::SYS_PTRACE;
        let open: Vec<RawFd> = report
            .iter()
            .map(|report| report.file().as_raw_fd())
            .collect();
        let recording = options.record.clone();
        let mut report = report;
        let errands = Box::new(move |request: Request<'_>| {
            let errand = ALL
                .into_iter()
                .find(|errand| *errand as u8 == request.errand);
            run(errand, &request, &mut report, recording.as_deref())
        });
        if !capabilities::exceed_tracing() {
            return Ok(Errands(Keeper::here(errands)));
        }
        let keeper = Keeper::fork(errands, kept, &open);
        keeper.map(Errands).context("keep privileges apart")
    }

    /// `smaps` or `pagemap`, whoever the process belongs to.
    pub fn open_memory(&self, process: BorrowedFd<'_>, name: &str) -> Option<File> {
        let errand = match name {
            "smaps" => Errand::Smaps,
            _ => Errand::Pagemap,
        };
        let file = self.ask(errand, 0, Some(process)).ok()?;
        file.map(File::from)
    }

    pub fn put_report(&self) -> io::Result<()> {
        self.ask(Errand::Report, 0, None).map(drop)
    }

    pub fn create_recording(&self, number: u32) -> io::Result<File> {
        let file = self.ask(Errand::Recording, number, None)?;
        file.map(File::from)
            .ok_or_else(|| io::Error::other("no file came"))
    }

    pub fn remove_recording(&self) -> io::Result<()> {
        self.ask(Errand::NoRecording, 0, None).map(drop)
    }

    /// SIGTERM; that the command has ended meanwhile is no error.
    pub fn terminate(&self, command: &Running) {
        let _ = self.ask(Errand::Terminate, 0, Some(command.pidfd().as_fd()));
    }

    fn ask(
        &self,
        errand: Errand,
        number: u32,
        file: Option<BorrowedFd<'_>>,
    ) -> io::Result<Option<OwnedFd>> {
        self.0.ask(Request {
            errand: errand as u8,
            number,
            file,
        })
    }
}

/// The recording of this number: the first has the name that was asked for.
pub fn recording_path(first: &Path, number: u32) -> PathBuf {
    let mut path = first.to_owned();
    if number > 0 {
        path.as_mut_os_string().push(format!(".{number}"));
    }
    path
}

fn run(
    errand: Option<Errand>,
    request: &Request<'_>,
    report: &mut Option<Beside>,
    recording: Option<&Path>,
) -> io::Result<Option<OwnedFd>> {
    let nothing = || io::Error::from(io::ErrorKind::InvalidInput);
    let file = || request.file.ok_or_else(nothing);
    match errand.ok_or_else(nothing)? {
        Errand::Smaps => open_in_proc(file()?, "smaps").map(Some),
        Errand::Pagemap => open_in_proc(file()?, "pagemap").map(Some),
        Errand::Report => report.take().map_or(Ok(()), Beside::put).map(|()| None),
        Errand::Recording => {
            let first = recording.ok_or_else(nothing)?;
            let file = create(&recording_path(first, request.number))?;
            Ok(Some(file.into()))
        }
        Errand::NoRecording => {
            let first = recording.ok_or_else(nothing)?;
            // Only a file is ours to take away: not a device or a pipe that somebody named.
            if first.is_file() {
                fs::remove_file(first)?;
            }
            Ok(None)
        }
        Errand::Terminate => {
            pidfd_send_signal(file()?, Signal::TERM)?;
            Ok(None)
        }
    }
}

fn open_in_proc(process: BorrowedFd<'_>, name: &str) -> io::Result<OwnedFd> {
    if fstatfs(process)?.f_type != PROC_SUPER_MAGIC {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    Ok(openat(process, name, flags, Mode::empty())?)
}
