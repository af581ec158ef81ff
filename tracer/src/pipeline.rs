//! Decode, reorder, engine, ledger and report behind `push(bytes)` and `report`.
//!
//! Live tracing and replay differ only in who pushes. Knows no clock, file or socket.

use crate::{
    audit::Tolerance,
    births::Births,
    decode::{Envelope, decode, envelope, is_history},
    engine::{Engine, Facts, tasks::ProcessId},
    folded::FoldedRows,
    ledger::{Both, Ledger},
    model::{Event, Nanos, SpanSink, Timestamp, What},
    reorder::Reorder,
    report::{Report, Spike},
    spikes::{Detector, Spikes},
    summary::{Assessment, Outside, Summary},
    target::{Selection, Target},
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
}

/// Events that are looked at together.
const BATCH: usize = 16;

/// More threads than the caches of one CPU hold.
const FAR: usize = 1000;

#[derive(Debug)]
pub struct Pipeline {
    settings: Settings,
    reorder: Reorder,
    /// Decoded, not yet applied; empty between calls.
    batch: Vec<Event>,
    engine: Engine,
    selection: Selection,
    window: Ledger,
    interval: Option<Ledger>,
    spikes: Option<Spikes>,
    births: Births,
    folded: FoldedRows,
    /// What the folded threads did in the interval.
    interval_folded: FoldedRows,
    /// Of folded threads.
    assessment: Assessment,
    began: Option<Timestamp>,
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
            births: Births::new(&settings.facts, settings.max_forks),
            folded: FoldedRows::default(),
            interval_folded: FoldedRows::default(),
            assessment: Assessment::default(),
            began: None,
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

    /// Applies all events before `watermark`: nothing older will come.
    pub fn advance(&mut self, watermark: Timestamp) {
        let mut reorder = std::mem::take(&mut self.reorder);
        let mut batch = std::mem::take(&mut self.batch);
        reorder.release(watermark, |record| {
            match decode(record) {
                Some(event) => batch.push(event),
                None => self.undecoded += 1,
            }
            if batch.len() == BATCH {
                self.apply_all(&mut batch);
            }
        });
        self.apply_all(&mut batch);
        (self.reorder, self.batch) = (reorder, batch);
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
        interval.end(at);
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
        self.close(end);
        self.advance(Timestamp(u64::MAX));
        let Pipeline { engine, window, .. } = self;
        match &mut self.spikes {
            Some(spikes) => engine.finish(end, &mut Both(window, &mut spikes.detector)),
            None => engine.finish(end, window),
        }
        self.name_spikes();
        self.births.finish();
        let mut report = self
            .summary(&self.window, &self.folded, Some(&self.births), outside)
            .report(self.began.unwrap_or(end), end);
        report.spikes = self.spikes.as_mut().map(Spikes::report);
        report
    }

    /// The window ends: what closes after this is cut here.
    fn close(&mut self, end: Timestamp) {
        self.window.end(end);
        self.births.end(end);
        if let Some(spikes) = &mut self.spikes {
            spikes.end(end);
        }
    }

    fn name_spikes(&mut self) {
        if let Some(spikes) = self.spikes.as_mut().filter(|spikes| spikes.has_seen()) {
            spikes.name(&self.engine, &self.selection);
        }
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
            undecoded: self.undecoded,
            outside,
        }
    }

    fn apply_all(&mut self, batch: &mut Vec<Event>) {
        // What threads are concerned is known long before it is their turn: memory that is far away comes
        // for all of them at the same time, and not for one after another.
        if self.engine.tasks().living() > FAR {
            let mut seen = 0;
            for event in batch.iter() {
                for slot in self.engine.concerned(event).into_iter().flatten() {
                    seen ^= self.engine.glance(slot) ^ self.window.glance(slot);
                }
            }
            std::hint::black_box(seen);
        }
        for event in batch.iter() {
            self.apply(event);
        }
        batch.clear();
    }

    fn apply(&mut self, event: &Event) {
        match event.what {
            What::WindowBegin => {
                self.began = Some(event.at);
                self.interval_began = event.at;
                self.window.begin(event.at);
                self.births.begin(event.at);
                if let Some(interval) = &mut self.interval {
                    interval.begin(event.at);
                }
                if let Some(spikes) = &mut self.spikes {
                    spikes.begin(event.at);
                }
            }
            What::WindowEnd => self.close(event.at),
            _ => {}
        }
        let Pipeline {
            engine,
            window,
            interval,
            spikes,
            births,
            ..
        } = self;
        births.prepare(event, engine);
        let detector = spikes.as_mut().map(|spikes| &mut spikes.detector);
        match interval {
            Some(interval) => with_spikes(engine, event, &mut Both(window, interval), detector),
            None => with_spikes(engine, event, window, detector),
        }
        self.selection.observe(event, self.engine.tasks());
        self.births.observe(event, &self.engine, &self.selection);
        while let Some(run) = self.engine.take_first_run() {
            self.births.ran(run);
        }
        self.name_spikes();
    }

    /// An ended thread's row becomes part of its process, so that memory stays bounded.
    fn fold(&mut self, slot: crate::model::Slot) {
        let row = self.window.take(slot);
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

fn with_spikes(
    engine: &mut Engine,
    event: &Event,
    sink: &mut impl SpanSink,
    detector: Option<&mut Detector>,
) {
    match detector {
        Some(detector) => engine.apply(event, &mut Both(sink, detector)),
        None => engine.apply(event, sink),
    }
}

#[cfg(test)]
#[path = "pipeline_tests.rs"]
mod tests;
