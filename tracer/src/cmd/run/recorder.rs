//! The file that a recording goes to.
//!
//! In: records as bytes. Out: a file, readable up to its last whole block at any time. A full disk is told once the
//! records that were lent have been taken.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use anyhow::Context as _;

use crate::{
    cmd::tape::{Head, Tail},
    output::{self, count},
    recording::Writer,
};

pub struct Recorder {
    /// Writes whole blocks: nothing stays in a buffer of ours.
    writer: Writer<File>,
    failed: Option<io::Error>,
    name: String,
    records: u64,
}

/// What has become of a recording.
pub struct Recorded {
    records: u64,
    bytes: u64,
    name: String,
}

impl fmt::Display for Recorded {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Recorded {
            records,
            bytes,
            name,
        } = self;
        let (records, bytes) = (count(*records), output::bytes(*bytes));
        write!(to, "recorded {records} records, {bytes}, in {name}")
    }
}

impl Recorder {
    pub fn create(path: &Path, head: &Head) -> anyhow::Result<Recorder> {
        let name = path.display().to_string();
        let create = || {
            // It tells of everything that ran: for its owner alone.
            let mut options = OpenOptions::new();
            options.write(true).create(true).truncate(true).mode(0o600);
            let file = options.open(path)?;
            Writer::new(file, &serde_json::to_vec(head)?)
        };
        Ok(Recorder {
            writer: create().with_context(|| format!("write recording to {name}"))?,
            failed: None,
            name,
            records: 0,
        })
    }

    pub fn record(&mut self, bytes: &[u8]) {
        self.records += 1;
        let written = self.writer.record(bytes);
        self.keep(written);
    }

    pub fn advance(&mut self, watermark: u64) {
        let written = self.writer.advance(watermark);
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

    pub fn finish(mut self, tail: &Tail) -> anyhow::Result<Recorded> {
        self.check()?;
        let Recorder {
            writer,
            name,
            records,
            ..
        } = self;
        let failed = || format!("write recording to {name}");
        let tail = serde_json::to_vec(tail).with_context(failed)?;
        let file = writer.finish(&tail).with_context(failed)?;
        let bytes = file.metadata().with_context(failed)?.len();
        Ok(Recorded {
            records,
            bytes,
            name,
        })
    }
}
