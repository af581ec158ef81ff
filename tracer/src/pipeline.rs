//! Decode, reorder, engine, ledger and report behind `push(bytes)` and `report`.
//!
//! Live tracing and replay differ only in who pushes. Knows no clock, file or socket.

mod beside;

use beside::Beside;
use rustc_hash::FxHashSet;

use crate::{
    audit::Tolerance,
    births::Births,
    decode::{Envelope, LATEST, decode, envelope, is_history, switch_event},
    engine::{Engine, Facts, tasks::ProcessId},
    folded::FoldedRows,
    ledger::{self, Both, Ledger},
    model::{Event, Nanos, Slot, SpanSink, Timestamp, What},
    reorder::{Record, Reorder, Run},
    report::{Report, Spike},
    spikes::Spikes,
    summary::{Assessment, Outside, Summary},
    target::{Selection, Target},
    timeline::{Rows, Shown, Timeline},
};

/// What does not change during a run.
#[derive(Clone, Debug)]
pub struct Settings {
    pub facts: Facts,
    pub target: Target,
    pub tolerance: Tolerance,
    /// Ended threads kept with their own row, older ones are folded into their process; and ended
    /// processes kept with theirs, older ones that are folded whole are folded into one row.
    pub max_threads: usize,
    /// Births, execs and ends kept apart: so many of each.
    pub max_forks: usize,
    /// Whether interval reports will be asked for.
    pub intervals: bool,
    /// Latencies from here on are spikes.
    pub slower: Option<Nanos>,
    pub replay: Replay,
}

/// What only a stream that is told again can be asked for.
#[derive(Clone, Debug, Default)]
pub struct Replay {
    /// The window is this part of the stream's.
    pub part: Part,
    /// Whether to note whose rows the report is made of: see [`Pipeline::take_shown`].
    pub census: bool,
    /// Threads that are told in full: see [`Pipeline::rows`].
    pub told: Option<Shown>,
}

/// Counted from the beginning of the stream's window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Part {
    pub from: Nanos,
    pub to: Option<Nanos>,
}

impl Part {
    pub fn is_whole(self) -> bool {
        self == Part::default()
    }
}

/// Events that are looked at together.
const BATCH: usize = 16;

/// More threads than the caches of one CPU hold.
const FAR: usize = 1000;

#[derive(Debug)]
pub struct Pipeline {
    settings: Settings,
    reorder: Reorder,
    /// Decoded, not yet applied, where there are many threads; empty between calls.
    batch: Vec<Event>,
    engine: Engine,
    selection: Selection,
    window: Ledger,
    interval: Option<Ledger>,
    spikes: Option<Spikes>,
    shown: Option<Shown>,
    timeline: Option<Timeline>,
    births: Births,
    folded: FoldedRows,
    /// What the folded threads did in the interval.
    interval_folded: FoldedRows,
    /// Of folded threads.
    assessment: Assessment,
    began: Option<Timestamp>,
    /// Nothing after it is in the window.
    limit: Timestamp,
    /// The window's beginning, as long as that is still to come.
    ahead: Option<Timestamp>,
    interval_began: Timestamp,
    /// Records of a kind this build does not know, or cut short.
    undecoded: u64,
}

impl Pipeline {
    pub fn new(settings: Settings) -> Pipeline {
        Pipeline {
            reorder: Reorder::default(),
            batch: Vec::with_capacity(BATCH),
            engine: Engine::new(settings.facts.clone()),
            selection: Selection::new(settings.target.clone()),
            window: Ledger::new(&settings.facts, true),
            interval: settings
                .intervals
                .then(|| Ledger::new(&settings.facts, false)),
            spikes: settings.slower.map(Spikes::new),
            shown: settings.replay.census.then(Shown::default),
            timeline: settings.replay.told.clone().map(Timeline::new),
            births: Births::new(&settings.facts, settings.max_forks),
            folded: FoldedRows::default(),
            interval_folded: FoldedRows::default(),
            assessment: Assessment::default(),
            began: None,
            limit: Timestamp(u64::MAX),
            ahead: None,
            interval_began: Timestamp(0),
            undecoded: 0,
            settings,
        }
    }

    /// One record, in any order that [`Reorder`] can mend.
    pub fn push(&mut self, record: &[u8]) {
        match envelope(record) {
            // It is shown late, maybe later than what came after it, and before it is asked for.
            Some(Envelope { record, .. }) if is_history(record) => {
                if let Some(event) = decode(record) {
                    self.engine.apply(&event, &mut self.window);
                }
            }
            Some(envelope) => self.reorder.push(envelope),
            None => self.undecoded += 1,
        }
    }

    /// Many records, as if they were pushed one by one.
    pub fn take(&mut self, run: Box<dyn Run>) {
        self.reorder.take(run);
    }

    /// Applies all events before `watermark`: nothing older will come.
    pub fn advance(&mut self, watermark: Timestamp) {
        let mut reorder = std::mem::take(&mut self.reorder);
        let mut batch = std::mem::take(&mut self.batch);
        let far = self.engine.tasks().living() > FAR;
        reorder.release(watermark, |record| {
            match record {
                Record::Switch(switch) if !far => self.apply(&switch_event(switch)),
                Record::Switch(switch) => batch.push(switch_event(switch)),
                Record::Bytes(bytes) => match decode(bytes) {
                    Some(event) if !far => self.apply(&event),
                    Some(event) => batch.push(event),
                    None => self.undecoded += 1,
                },
            }
            if batch.len() == BATCH {
                self.apply_all(&mut batch);
            }
        });
        self.apply_all(&mut batch);
        (self.reorder, self.batch) = (reorder, batch);
        self.engine.advance(watermark);
        if self.engine.is_crowded() {
            let Pipeline {
                engine,
                window,
                interval,
                ..
            } = self;
            let intervals = interval.iter().flat_map(|interval| interval.names());
            engine.forget_all_but(window.names().chain(intervals));
        }
        let keep = self.settings.max_threads;
        while let Some(slot) = self.engine.tasks_mut().ended_beyond(keep) {
            self.fold(slot);
        }
        // Before, a thread of such a process may be alive, and not seen yet.
        if self.began.is_some() {
            while let Some(process) = self.engine.tasks_mut().husk_beyond(keep) {
                self.fold_process(process);
            }
        }
    }

    /// Bytes of records that are not applied yet.
    pub fn held(&self) -> usize {
        self.reorder.held()
    }

    /// The spikes that ended since the last time.
    pub fn take_spikes(&mut self) -> Vec<Spike> {
        self.spikes.as_mut().map_or(Vec::new(), Spikes::take_fresh)
    }

    /// Of everybody who is told in full, since these were cleared.
    pub fn rows(&mut self) -> Option<&mut Rows> {
        self.timeline.as_mut().map(Timeline::rows)
    }

    /// Everybody of whom the report has a row, or had one before it was folded: once it is made.
    pub fn take_shown(&mut self) -> Shown {
        self.shown.take().unwrap_or_default()
    }

    /// The tids of all chosen threads, and of their leaders, whose tid they take over by exec.
    pub fn chosen(&self) -> Vec<u32> {
        let tasks = self.engine.tasks();
        let chosen = tasks
            .iter()
            .filter(|(slot, _)| self.selection.contains(*slot));
        let mut tids: Vec<u32> = chosen
            .flat_map(|(_, who)| [who.tid, tasks.process(who.process).pid])
            .collect();
        tids.sort_unstable();
        tids.dedup();
        tids
    }

    /// Threads that the kernel hides and of which only the number is known.
    pub fn strangers(&self) -> Vec<u32> {
        let hidden = self.engine.hidden();
        let who = hidden.filter_map(|slot| self.engine.name(self.engine.tasks().get(slot)?.name));
        who.filter(|who| who.is_nameless())
            .map(|who| who.tid)
            .collect()
    }

    /// Whether any chosen thread still lives.
    pub fn target_lives(&self) -> bool {
        self.selection.lives(self.engine.tasks())
    }

    /// The interval up to `at`, to which the stream has been advanced; the next one begins there.
    pub fn interval_report(&mut self, at: Timestamp, outside: &Outside) -> Option<Report> {
        let interval = self.interval.as_mut()?;
        let began = self.began?;
        interval.end(at, false);
        self.engine.open_spans(at, interval);
        let mut next = Ledger::new(&self.settings.facts, false);
        next.go_on_from(interval);
        next.begin(at);
        let done = std::mem::replace(interval, next);
        let folded = std::mem::take(&mut self.interval_folded);
        let mut report = self
            .summary(&done, &folded, None, outside)
            .report(self.interval_began, at);
        report.window.start = began;
        report.window.interval_at = Some(self.interval_began.since(began));
        self.interval_began = at;
        Some(report)
    }

    /// The stream has ended and the window closes at `end`: the report over all of it.
    pub fn finish(&mut self, end: Timestamp, outside: &Outside) -> Report {
        let end = end.min(LATEST);
        self.close(end);
        self.advance(Timestamp(u64::MAX));
        let Pipeline {
            engine,
            window,
            spikes,
            timeline,
            ..
        } = self;
        match Beside::of(spikes, timeline) {
            Some(mut beside) => engine.finish(end, &mut Both(window, &mut beside)),
            None => engine.finish(end, window),
        }
        self.name();
        self.births.finish();
        self.tell_all();
        let end = end.min(self.limit);
        let mut report = self
            .summary(&self.window, &self.folded, Some(&self.births), outside)
            .report(self.began.unwrap_or(end).min(end), end);
        report.spikes = self.spikes.as_mut().map(Spikes::report);
        report
    }

    /// The window ends: what closes after this is cut here.
    fn close(&mut self, end: Timestamp) {
        let early = self.limit < end;
        let end = end.min(self.limit);
        self.window.end(end, early);
        self.births.end(end);
        if let Some(spikes) = &mut self.spikes {
            spikes.end(end);
        }
        if let Some(timeline) = &mut self.timeline {
            timeline.collector.window.to = end;
            timeline.collector.window.early = early;
        }
    }

    fn begin(&mut self, at: Timestamp) {
        let Part { from, to } = self.settings.replay.part;
        let begins = Timestamp(at.0.saturating_add(from.0));
        if let Some(to) = to {
            self.limit = Timestamp(at.0.saturating_add(to.0)).max(begins);
        }
        self.began = Some(begins);
        self.ahead = (begins > at).then_some(begins);
        self.interval_began = begins;
        self.window.begin(begins);
        self.births.begin(begins);
        if let Some(interval) = &mut self.interval {
            interval.begin(begins);
        }
        if let Some(spikes) = &mut self.spikes {
            spikes.begin(begins);
        }
        if let Some(timeline) = &mut self.timeline {
            timeline.collector.window.from = begins;
        }
        // Known before a record tells.
        if to.is_some() {
            self.close(Timestamp(u64::MAX));
        }
    }

    /// Puts names to what was told, while the names are known.
    #[inline]
    fn name(&mut self) {
        if let Some(timeline) = &mut self.timeline {
            timeline.name(&self.engine);
        }
        if let Some(spikes) = self.spikes.as_mut().filter(|spikes| spikes.has_seen()) {
            spikes.name(&self.engine, &self.selection);
        }
    }

    /// The last rows of all that have not been folded.
    fn tell_all(&mut self) {
        if self.shown.is_none() && self.timeline.is_none() {
            return;
        }
        let hidden: FxHashSet<Slot> = self.engine.hidden().collect();
        let all = self.engine.tasks().iter();
        let shown = all.filter(|(slot, who)| who.tid != 0 && !hidden.contains(slot));
        let shown: Vec<Slot> = shown.map(|(slot, _)| slot).collect();
        for slot in shown {
            if let Some(row) = self.window.row(slot).filter(|row| row.present) {
                let row = row.clone();
                self.tell(slot, &row);
            }
        }
    }

    /// The last row of a thread.
    fn tell(&mut self, slot: Slot, row: &ledger::Row) {
        let Some(who) = self.engine.tasks().get(slot) else {
            return;
        };
        if !self.selection.contains(slot) {
            return;
        }
        if let Some(shown) = &mut self.shown {
            shown.insert(who.serial);
        }
        let Some(mut timeline) = self.timeline.take() else {
            return;
        };
        let cgroup = who.cgroup;
        let outside = Outside::default();
        let summary = self.summary(&self.window, &self.folded, None, &outside);
        let from = self.began.unwrap_or_default();
        let row = summary.thread(from, self.window.window().to, (slot, who), row);
        timeline.done(slot, &self.engine, cgroup, row);
        self.timeline = Some(timeline);
    }

    fn summary<'a>(
        &'a self,
        ledger: &'a Ledger,
        folded: &'a FoldedRows,
        births: Option<&'a Births>,
        outside: &'a Outside,
    ) -> Summary<'a> {
        Summary {
            engine: &self.engine,
            selection: &self.selection,
            ledger,
            folded,
            folded_assessment: &self.assessment,
            births,
            tolerance: self.settings.tolerance,
            late: self.reorder.late(),
            undecoded: self.undecoded + self.reorder.unreadable(),
            partial: !self.settings.replay.part.is_whole(),
            outside,
        }
    }

    fn apply_all(&mut self, batch: &mut Vec<Event>) {
        // What threads are concerned is known long before it is their turn: memory that is far away comes
        // for all of them at the same time, and not for one after another.
        let mut seen = 0;
        for event in batch.iter() {
            for slot in self.engine.concerned(event).into_iter().flatten() {
                seen ^= self.engine.glance(slot) ^ self.window.glance(slot);
            }
        }
        std::hint::black_box(seen);
        for event in batch.iter() {
            self.apply(event);
        }
        batch.clear();
    }

    fn apply(&mut self, event: &Event) {
        match event.what {
            What::WindowBegin => self.begin(event.at),
            What::WindowEnd => self.close(event.at),
            _ => {}
        }
        if self.ahead.is_some_and(|begins| event.at >= begins) {
            self.ahead = None;
            self.engine.tasks_mut().reset_peaks();
        }
        let Pipeline {
            engine,
            window,
            interval,
            spikes,
            timeline,
            births,
            ..
        } = self;
        births.prepare(event, engine);
        let beside = Beside::of(spikes, timeline);
        match interval {
            Some(interval) => apply(engine, event, &mut Both(window, interval), beside),
            None => apply(engine, event, window, beside),
        }
        self.selection.observe(event, self.engine.tasks());
        self.births.observe(event, &self.engine, &self.selection);
        while let Some(run) = self.engine.take_first_run() {
            self.births.ran(run);
        }
        self.name();
    }

    /// An ended thread's row becomes part of its process, so that memory stays bounded.
    fn fold(&mut self, slot: Slot) {
        let row = self.window.take(slot);
        if let Some(row) = row.as_ref().filter(|row| row.present)
            && (self.shown.is_some() || self.timeline.is_some())
        {
            self.tell(slot, row);
        }
        let interval = self.interval.as_mut().and_then(|ledger| ledger.take(slot));
        if self.selection.contains(slot)
            && let Some(who) = self.engine.tasks().get(slot)
        {
            if let Some(row) = row.filter(|row| row.present) {
                self.assessment.add(who.tid, &row, self.settings.tolerance);
                self.folded.add(who.process, &row.totals);
            }
            if let Some(row) = interval.filter(|row| row.present) {
                self.interval_folded.add(who.process, &row.totals);
            }
        }
        // The slot will be another thread's.
        self.births.forget(slot, self.engine.tasks().get(slot));
        if let Some(timeline) = &mut self.timeline {
            timeline.forget(slot);
        }
        self.selection.forget(slot);
        self.engine.tasks_mut().release(slot);
    }

    /// A process of which nothing is left but folded threads becomes a part of all such.
    fn fold_process(&mut self, process: ProcessId) {
        let tasks = self.engine.tasks();
        let threads_max = tasks.process(process).threads_max;
        let folded = self.folded.end(process, threads_max);
        let parent = tasks.parent(process);
        self.births.forget_process(process, parent, folded.as_ref());
        self.interval_folded.end(process, threads_max);
        self.selection.forget_process(process);
        self.engine.tasks_mut().release_process(process);
    }
}

fn apply(engine: &mut Engine, event: &Event, sink: &mut impl SpanSink, beside: Option<Beside<'_>>) {
    match beside {
        Some(mut beside) => engine.apply(event, &mut Both(sink, &mut beside)),
        None => engine.apply(event, sink),
    }
}

#[cfg(test)]
#[path = "pipeline_tests.rs"]
mod tests;
