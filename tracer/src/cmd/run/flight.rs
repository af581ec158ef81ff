//! A recording that keeps the newest records in memory: when it begins anew, what it forgets, when it is written.
//!
//! In: records as bytes, spikes, the session for looks at everything. Out: files. Must not know: what records mean,
//! but for those that announce losses: their sums go on from what was announced before.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::thread::sleep;
use std::time::Duration;

use anyhow::Context as _;
use tracer_common::record::{Header, Lost, kind};

use super::{
    TAIL,
    errands::{Errands, recording_path},
    feed::{Feed, now},
    recorder::Recorded,
};
use crate::{
    cli::FlightOptions,
    cmd::{
        Failure,
        tape::{OutsideDocument, Tail},
    },
    kernel::session::{Session, edge},
    model::Timestamp,
    recording::Flight,
    report::{Cost, EndReason},
    summary::Outside,
};

/// What comes after a spike is recorded for so long.
const AFTER: u64 = 1_000_000_000;
/// How much is forgotten at a time: a part of what is kept.
const PART: u64 = 4;
/// Looks take time, with many threads milliseconds: no more of them than this.
const BETWEEN_LOOKS: u64 = 250_000_000;
/// Files of one run: a machine that is slow all the time would fill its disk.
pub const FILES: u32 = 100;

pub struct Memory {
    flight: Flight,
    path: PathBuf,
    errands: Rc<Errands>,
    head: Vec<u8>,
    /// Of `path`, until it has been written to.
    file: Option<File>,
    files: u32,
    most: u64,
    /// Before a spike, in nanoseconds; `None`: it is written at the end.
    keep: Option<u64>,
    /// When what is kept is written.
    due: Option<u64>,
    /// The last announcement of each CPU and probe.
    losses: Vec<Vec<u8>>,
}

impl Memory {
    pub fn new(
        path: &Path,
        file: File,
        head: Vec<u8>,
        FlightOptions { max_size, keep }: FlightOptions,
        errands: Rc<Errands>,
    ) -> io::Result<Memory> {
        Ok(Memory {
            flight: Flight::new(now().0)?,
            path: path.to_owned(),
            errands,
            head,
            file: Some(file),
            files: 0,
            most: max_size,
            keep: keep.map(|keep| keep.as_nanos() as u64),
            due: None,
            losses: Vec::new(),
        })
    }

    pub fn record(&mut self, bytes: &[u8]) -> io::Result<()> {
        if is_loss(bytes) {
            self.announced(bytes);
        }
        self.flight.record(bytes)
    }

    pub fn advance(&mut self, watermark: u64) -> io::Result<()> {
        self.flight.advance(watermark)
    }

    /// Records lost before what is kept.
    pub fn lost_before(&self) -> u64 {
        self.flight.lost_before()
    }

    #[cold]
    fn announced(&mut self, bytes: &[u8]) {
        let same = |old: &Vec<u8>| source(old) == source(bytes);
        match self.losses.iter_mut().find(|old| same(old)) {
            Some(old) => *old = bytes.to_vec(),
            None => self.losses.push(bytes.to_vec()),
        }
    }

    fn is_due(&self, at: u64) -> bool {
        self.due.is_some_and(|due| due <= at)
    }

    fn wants_to_begin_anew(&self, at: u64) -> bool {
        let (began, size) = self.flight.newest();
        let lasts = at.saturating_sub(began);
        let long = self.keep.is_some_and(|keep| lasts >= keep / PART);
        (long || size >= self.most / PART) && lasts >= BETWEEN_LOOKS
    }

    fn forget(&mut self, at: u64) {
        // Of a spike that is still to be written, what was before it.
        let spike = self.due.map_or(at, |due| due - AFTER);
        let since = self.keep.map_or(0, |keep| spike.saturating_sub(keep));
        self.flight.forget(self.most, since);
    }

    /// All that is kept, to the next file.
    fn write<'a>(
        &mut self,
        last: impl IntoIterator<Item = &'a [u8]>,
        trailer: &[u8],
    ) -> anyhow::Result<Recorded> {
        let number = self.files;
        self.files += 1;
        self.due = None;
        let name = recording_path(&self.path, number).display().to_string();
        let failed = || format!("write recording to {name}");
        let file = match self.file.take() {
            Some(file) => file,
            None => self.errands.create_recording(number).with_context(failed)?,
        };
        let file = self
            .flight
            .write(file, &self.head, last, trailer)
            .with_context(failed)?;
        let bytes = file.metadata().with_context(failed)?.len();
        Ok(Recorded {
            records: None,
            bytes,
            name,
        })
    }

    /// At the end of the recording. `None`: there is nothing to write.
    pub fn finish(mut self, trailer: &[u8]) -> anyhow::Result<Option<Recorded>> {
        if self.keep.is_some() && self.due.is_none() {
            if self.file.take().is_some() {
                let name = self.path.display();
                let removed = self.errands.remove_recording();
                removed.with_context(|| format!("remove {name}"))?;
            }
            return Ok(None);
        }
        self.write([], trailer).map(Some)
    }
}

/// After each look at the rings. Answers what was written.
pub fn visit(
    session: &mut Session,
    feed: &mut Feed,
    spiked: bool,
    cost: impl FnOnce(&Session, Timestamp) -> anyhow::Result<Cost>,
) -> anyhow::Result<Option<Recorded>> {
    let Some(memory) = feed.memory() else {
        return Ok(None);
    };
    let at = now().0;
    if spiked && memory.files < FILES {
        memory.due.get_or_insert(at + AFTER);
    }
    memory.forget(at);
    let (due, anew) = (memory.is_due(at), memory.wants_to_begin_anew(at));
    let recorded = match due {
        true => Some(write_now(session, feed, cost)?),
        false => None,
    };
    if anew {
        begin_anew(session, feed)?;
    }
    Ok(recorded)
}

/// Everything is looked at, as when a recording begins.
fn begin_anew(session: &mut Session, feed: &mut Feed) -> anyhow::Result<()> {
    session.drain(|record| feed.push(record));
    let seen = session.snapshot(kind::THREAD).map_err(Failure::from)?;
    let began = now();
    session.show_history();
    let counts = session.cpu_records(began.0 - 1).map_err(Failure::from)?;
    let lost = session.counted().map_err(Failure::from)?.lost();
    let Some(memory) = feed.memory() else {
        return Ok(());
    };
    let losses = memory.losses.iter().map(Vec::as_slice);
    let begins = edge(kind::WINDOW_BEGIN, began.0);
    let look = losses
        .chain(seen.watched())
        .chain([begins.as_slice()])
        .chain(counts.iter().map(|record| record.as_slice()));
    memory
        .flight
        .begin(began.0, lost, look)
        .context("pack a look at all threads")
}

/// What is kept becomes a recording that ends here; tracing goes on.
fn write_now(
    session: &mut Session,
    feed: &mut Feed,
    cost: impl FnOnce(&Session, Timestamp) -> anyhow::Result<Cost>,
) -> anyhow::Result<Recorded> {
    let seen = session.snapshot(kind::THREAD_END).map_err(Failure::from)?;
    let ended = now();
    session.show_history();
    let counts = session.cpu_records(ended.0 - 1).map_err(Failure::from)?;
    let cost = cost(session, ended)?;
    // So that waits which cross the end find theirs.
    let enough = ended.0 + TAIL.as_nanos() as u64;
    while now().0 < enough {
        session.drain(|record| feed.push(record));
        sleep(Duration::from_millis(5));
    }
    let lost = session.counted().map_err(Failure::from)?.lost();
    let missed_events = session.missed();
    let memory = feed.memory().context("find what is kept")?;
    let outside = Outside {
        end_reason: Some(EndReason::RecordingEnd),
        lost_records: Some(lost.saturating_sub(memory.lost_before())),
        missed_events,
        ..Outside::default()
    };
    let tail = Tail {
        ended_ns: ended.0,
        outside: OutsideDocument::of(&outside),
        cost,
        steal_percent: None,
        cgroups: Default::default(),
        memory: Vec::new(),
        switch_costs: None,
    };
    let tail = serde_json::to_vec(&tail).context("describe the end of a recording")?;
    let ends = edge(kind::WINDOW_END, ended.0);
    let last = seen
        .watched()
        .chain(counts.iter().map(|record| record.as_slice()))
        .chain([ends.as_slice()]);
    memory.write(last, &tail)
}

fn is_loss(bytes: &[u8]) -> bool {
    let at = std::mem::offset_of!(Header, kind);
    bytes.get(at..at + 2) == Some(&kind::LOST.to_ne_bytes())
}

/// Of an announcement: the CPU, and the probe.
fn source(bytes: &[u8]) -> (Option<&[u8]>, Option<&[u8]>) {
    let (cpu, probe) = (
        std::mem::offset_of!(Header, cpu),
        std::mem::offset_of!(Lost, probe),
    );
    (bytes.get(cpu..cpu + 2), bytes.get(probe..probe + 4))
}
