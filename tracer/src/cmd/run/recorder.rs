//! The file that a recording goes to.
//!
//! In: records as bytes. Out: a file, readable up to its last whole block at any time. A full disk is told once the
//! records that were lent have been taken.

use std::collections::HashMap;
use std::fmt;
use std::fs::File;
use std::io;
use std::rc::Rc;

use anyhow::Context as _;

use crate::{
    cli::RunOptions,
    cmd::{
        run::{errands::Errands, flight::Memory},
        tape::{Clocks, Head, Tail, TargetDocument},
    },
    host::Host,
    output::{self, count},
    pipeline::Settings,
    recording::Writer,
};

pub struct Recorder {
    tape: Tape,
    failed: Option<io::Error>,
    name: String,
    records: u64,
}

enum Tape {
    /// Writes whole blocks: nothing stays in a buffer of ours.
    File(Box<Writer<File>>),
    Memory(Box<Memory>),
}

/// What has become of a recording.
pub struct Recorded {
    /// Where all of them are in the file.
    pub records: Option<u64>,
    pub bytes: u64,
    pub name: String,
}

impl fmt::Display for Recorded {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Recorded {
            records,
            bytes,
            name,
        } = self;
        let bytes = output::bytes(*bytes);
        match records {
            Some(records) => write!(
                to,
                "recorded {} records, {bytes}, in {name}",
                count(*records)
            ),
            None => write!(to, "wrote the newest records, {bytes}, to {name}"),
        }
    }
}

impl Recorder {
    /// `None`: nobody asked for a recording.
    pub fn asked(
        options: &RunOptions,
        clocks: Clocks,
        host: &Host,
        settings: &Settings,
        cgroups: &HashMap<u64, String>,
        errands: &Rc<Errands>,
    ) -> anyhow::Result<Option<Recorder>> {
        let Some(path) = &options.record else {
            return Ok(None);
        };
        let head = Head {
            tracer_version: env!("CARGO_PKG_VERSION").to_owned(),
            clocks,
            host: host.clone(),
            tick: settings.tolerance.tick.0,
            facts: settings.facts.clone(),
            target: TargetDocument::of(&settings.target),
            cgroups: cgroups.clone().into_iter().collect(),
        };
        let name = path.display().to_string();
        let create = || {
            let head = serde_json::to_vec(&head)?;
            let file = errands.create_recording(0)?;
            let tape = match options.flight {
                Some(flight) => {
                    let errands = Rc::clone(errands);
                    Tape::Memory(Box::new(Memory::new(path, file, head, flight, errands)?))
                }
                None => Tape::File(Box::new(Writer::new(file, &head)?)),
            };
            io::Result::Ok(tape)
        };
        let tape = create().with_context(|| format!("write recording to {name}"))?;
        Ok(Some(Recorder {
            tape,
            failed: None,
            name,
            records: 0,
        }))
    }

    pub fn record(&mut self, bytes: &[u8]) {
        self.records += 1;
        let written = match &mut self.tape {
            Tape::File(writer) => writer.record(bytes),
            Tape::Memory(memory) => memory.record(bytes),
        };
        self.keep(written);
    }

    pub fn advance(&mut self, watermark: u64) {
        let written = match &mut self.tape {
            Tape::File(writer) => writer.advance(watermark),
            Tape::Memory(memory) => memory.advance(watermark),
        };
        self.keep(written);
    }

    fn keep(&mut self, written: io::Result<()>) {
        if let Err(error) = written {
            self.failed.get_or_insert(error);
        }
    }

    /// Whether all could be written so far.
    pub fn check(&mut self) -> anyhow::Result<()> {
        match self.failed.take() {
            Some(error) => Err(error).with_context(|| format!("write recording to {}", self.name)),
            None => Ok(()),
        }
    }

    /// Where the newest records are kept in memory.
    pub fn memory(&mut self) -> Option<&mut Memory> {
        match &mut self.tape {
            Tape::Memory(memory) => Some(memory),
            Tape::File(_) => None,
        }
    }

    /// `None`: nothing had to be written.
    pub fn finish(mut self, tail: &Tail) -> anyhow::Result<Option<Recorded>> {
        self.check()?;
        let Recorder {
            tape,
            name,
            records,
            ..
        } = self;
        let failed = || format!("write recording to {name}");
        let trailer = serde_json::to_vec(tail).with_context(failed)?;
        let file = match tape {
            Tape::File(writer) => writer.finish(&trailer).with_context(failed)?,
            Tape::Memory(memory) => return memory.finish(&trailer),
        };
        let bytes = file.metadata().with_context(failed)?.len();
        Ok(Some(Recorded {
            records: Some(records),
            bytes,
            name,
        }))
    }
}
