//! From the session to the pipeline: whom to watch, what the CPUs count, what is left at the end.
//!
//! In: a session. Out: records pushed. Knows nothing of time but what it is told.

use std::time::Duration;

use crate::{
    cmd::Failure,
    kernel::{
        cost::Counted,
        procfs,
        session::{Session, edge},
    },
    model::{Nanos, Timestamp},
    pipeline::{Pipeline, Settings},
};
use rustix::time::{ClockId, clock_gettime};
use tracer_common::record::kind;

/// How often the rings are looked at after detaching before records count as gone, and the time between:
/// the hypervisor may have taken the CPU away from a program in the middle of a record.
const LOOKS: usize = 1_000;
const BETWEEN_LOOKS: Duration = Duration::from_millis(1);

/// How often the kernel is asked for a target whose end may be among the lost.
const ASK_EVERY: Nanos = Nanos(500_000_000);

/// `CLOCK_MONOTONIC`, the clock of the records.
pub fn now() -> Timestamp {
    let time = clock_gettime(ClockId::Monotonic);
    Timestamp(time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64)
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
pub fn push_counts(
    session: &mut Session,
    pipeline: &mut Pipeline,
    at: Timestamp,
) -> anyhow::Result<()> {
    session.show_history();
    for record in session.cpu_records(at.0 - 1).map_err(Failure::from)? {
        pipeline.push(&record);
    }
    Ok(())
}

/// Once detached: all that was written, and how much that is. A program may still be in the middle of a
/// record on another CPU.
pub fn drain_all(session: &mut Session, pipeline: &mut Pipeline) -> anyhow::Result<Counted> {
    let mut counted = Counted::default();
    for _ in 0..LOOKS {
        while !session.drain(|record| pipeline.push(record)).complete {}
        counted = session.counted().map_err(Failure::from)?;
        if counted.records() == counted.lost() + session.received() {
            break;
        }
        std::thread::sleep(BETWEEN_LOOKS);
    }
    Ok(counted)
}

/// Who ran and was never shown, while it lives.
pub fn name_strangers(pipeline: &mut Pipeline) {
    for tid in pipeline.strangers() {
        if let Some(who) = procfs::who(tid) {
            pipeline.introduce(who);
        }
    }
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
