//! From the session to the pipeline: whom to watch, what the CPUs count, what is left at the end.
//!
//! In: a session. Out: records pushed. Knows nothing of time but what it is told.

use std::time::Duration;

use crate::{
    cmd::{
        Failure,
        run::{flight::Memory, recorder::Recorder},
    },
    kernel::{
        cost::Counted,
        preflight::Refusal,
        procfs,
        session::{Session, edge},
        snapshot::Snapshot,
    },
    model::{Nanos, Priority, Timestamp, Who},
    pipeline::{Pipeline, Settings},
};
use rustix::time::{ClockId, clock_gettime};
use tracer_common::record::{self, kind, pack_priority, who_flags};

const NAME: usize = size_of::<record::Name>();

/// How often the rings are looked at after detaching before records count as gone, and the time between:
/// the hypervisor may have taken the CPU away from a program in the middle of a record.
const LOOKS: usize = 1_000;
const BETWEEN_LOOKS: Duration = Duration::from_millis(1);

/// How often the command is looked for after its end: it takes microseconds more, unless somebody takes its CPU.
const LAST_LOOKS: usize = 100;

/// How often the kernel is asked for a target whose end may be among the lost.
const ASK_EVERY: Nanos = Nanos(500_000_000);

/// Where records go: to a report, to a recording, or to both.
pub struct Feed {
    /// `None`: nobody asks for a report, and the target cannot end.
    pub pipeline: Option<Pipeline>,
    pub recorder: Option<Recorder>,
}

impl Feed {
    pub fn push(&mut self, record: &[u8]) {
        if let Some(recorder) = &mut self.recorder {
            recorder.record(record);
        }
        if let Some(pipeline) = &mut self.pipeline {
            pipeline.push(record);
        }
    }

    /// Nothing older than this will come.
    pub fn advance(&mut self, watermark: Timestamp) {
        if let Some(recorder) = &mut self.recorder {
            recorder.advance(watermark.0);
        }
        if let Some(pipeline) = &mut self.pipeline {
            pipeline.advance(watermark);
        }
    }

    /// Bytes of records that are not applied yet.
    pub fn held(&self) -> usize {
        self.pipeline.as_ref().map_or(0, Pipeline::held)
    }

    pub fn target_lives(&self) -> bool {
        self.pipeline.as_ref().is_none_or(Pipeline::target_lives)
    }

    /// Where the newest records are kept in memory.
    pub fn memory(&mut self) -> Option<&mut Memory> {
        self.recorder.as_mut().and_then(Recorder::memory)
    }

    /// Whether all could be written so far.
    pub fn check(&mut self) -> anyhow::Result<()> {
        self.recorder.as_mut().map_or(Ok(()), Recorder::check)
    }
}

/// `CLOCK_MONOTONIC`, the clock of the records.
pub fn now() -> Timestamp {
    let time = clock_gettime(ClockId::Monotonic);
    Timestamp(time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64)
}

/// All threads as the window ends. A process that has told its parent of its end may not have left its CPU yet: for
/// that of the command it is waited, as its last switch is the end of its life.
pub fn last_look(session: &mut Session, command: Option<u32>) -> Result<Snapshot, Refusal> {
    let mut seen = session.snapshot(kind::THREAD_END)?;
    for _ in 1..LAST_LOOKS {
        if !command.is_some_and(|pid| seen.is_leaving(pid)) {
            break;
        }
        std::thread::sleep(BETWEEN_LOOKS);
        seen = session.snapshot(kind::THREAD_END)?;
    }
    Ok(seen)
}

/// Where only some threads are watched: who they are now.
pub fn watch_target(session: &mut Session, settings: &Settings) -> anyhow::Result<()> {
    if !session.facts().narrow {
        return Ok(());
    }
    let seen = session.snapshot(kind::THREAD).map_err(Failure::from)?;
    let mut chooser = Pipeline::new(settings.clone());
    for record in seen.records() {
        chooser.push(record);
    }
    chooser.push(&edge(kind::WINDOW_BEGIN, now().0));
    chooser.advance(Timestamp(u64::MAX));
    session.watch(&chooser.chosen()).map_err(Failure::from)?;
    Ok(())
}

/// What each CPU has counted and kept, for the edge `at`, which is now: just before it, as what happens at an edge
/// belongs to what follows.
pub fn push_counts(session: &mut Session, feed: &mut Feed, at: Timestamp) -> anyhow::Result<()> {
    session.show_history();
    for record in session.cpu_records(at.0 - 1).map_err(Failure::from)? {
        feed.push(&record);
    }
    Ok(())
}

/// Once detached: all that was written, and how much that is. A program may still be in the middle of a
/// record on another CPU.
pub fn drain_all(session: &mut Session, feed: &mut Feed) -> anyhow::Result<Counted> {
    let mut counted = Counted::default();
    for _ in 0..LOOKS {
        while !session.drain(|record| feed.push(record)).complete {}
        counted = session.counted().map_err(Failure::from)?;
        if counted.records() == counted.lost() + session.received() {
            break;
        }
        std::thread::sleep(BETWEEN_LOOKS);
    }
    Ok(counted)
}

/// Who ran and was never shown, while it lives: as a record, for whoever reads the recording.
pub fn name_strangers(feed: &mut Feed, at: Timestamp) {
    let strangers = feed.pipeline.as_ref().map(Pipeline::strangers);
    for tid in strangers.unwrap_or_default() {
        if let Some(who) = procfs::who(tid) {
            feed.push(&named(&who, at));
        }
    }
}

/// A `record::Name`.
fn named(who: &Who, at: Timestamp) -> [u8; NAME] {
    let Priority {
        policy,
        nice,
        rt_priority,
    } = who.priority;
    let priority = pack_priority(policy, nice.saturating_add(120).unsigned_abs(), rt_priority);
    let mut flags = 0;
    if who.kernel_thread {
        flags |= who_flags::KERNEL_THREAD;
    }
    if who.own {
        flags |= who_flags::OWN;
    }
    let mut bytes = [0; NAME];
    let header = edge(kind::NAME, at.0);
    bytes[..header.len()].copy_from_slice(&header);
    bytes[10..12].copy_from_slice(&(NAME as u16).to_ne_bytes());
    bytes[14..16].copy_from_slice(&flags.to_ne_bytes());
    bytes[16..20].copy_from_slice(&who.tid.to_ne_bytes());
    bytes[20..24].copy_from_slice(&who.pid.to_ne_bytes());
    bytes[24..40].copy_from_slice(&who.comm.0);
    bytes[40..44].copy_from_slice(&priority.to_ne_bytes());
    bytes
}

/// The end of the target, where the records that told it were lost.
#[derive(Debug, Default)]
pub struct Farewell {
    asked: Timestamp,
}

impl Farewell {
    /// Whether the kernel has no watched thread any more. It is asked only when something was lost: the
    /// stream tells of every end otherwise, and sooner.
    pub fn is_told_by(&mut self, session: &mut Session, now: Timestamp) -> anyhow::Result<bool> {
        if now.since(self.asked) < ASK_EVERY {
            return Ok(false);
        }
        self.asked = now;
        if session.counted().map_err(Failure::from)?.lost() == 0 {
            return Ok(false);
        }
        let seen = session.snapshot(kind::THREAD).map_err(Failure::from)?;
        Ok(!seen.has_watched_life())
    }
}
