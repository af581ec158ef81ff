//! Folds spans into totals and distributions per thread and CPU, cut at the edges of one window.
//!
//! In: spans and marks. Out: rows. Must not know: names, processes, what is shown.

mod both;
pub mod causes;
mod row;
mod shares;

use crate::{
    audit::{Audit, share},
    counts::Counts,
    dist::Histogram,
    engine::Facts,
    model::{
        CheckSource, ClockGap, Cpu, CpuSwitches, Doing, Mark, Nanos, NextKind, OffState, Slot,
        Span, SpanSink, Switch, SwitchCount, Syscall, Timestamp, Wait, WaitBegan, Waited, WhoId,
    },
    report::{SystemTotals, Totals},
    table::Table,
    window::Window,
};

pub use both::Both;
use row::Life;
pub use row::Row;

/// So many rows are many: what each holds counts.
const MANY: usize = 1000;

#[derive(Clone, Copy, Debug, Default)]
pub struct CpuTotals {
    pub busy: Nanos,
    pub idle: Nanos,
    pub switches: u64,
}

#[derive(Debug)]
pub struct Ledger {
    window: Window,
    /// Whether checks against the kernel are kept: not for intervals.
    audits: bool,
    /// What every row starts from: zero, or `None` where the machine cannot tell.
    blank: Totals,
    rows: Table<Option<Row>>,
    cpus: Vec<CpuTotals>,
    system: SystemTotals,
    /// By CPU, what it counted by itself: at the beginning and last.
    counted: Counts,
}

impl Ledger {
    pub fn new(facts: &Facts, audits: bool) -> Ledger {
        let zero = Totals::zero();
        Ledger {
            window: Window::default(),
            audits,
            blank: Totals {
                run_steal: zero.run_steal.filter(|_| facts.steal),
                run_irq: zero.run_irq.filter(|_| facts.interrupts),
                run_softirq: zero.run_softirq.filter(|_| facts.interrupts),
                iowait: zero.iowait.filter(|_| facts.iowait),
                involuntary_yields: zero
                    .involuntary_yields
                    .filter(|_| facts.sched_yield.is_some()),
                ..zero
            },
            rows: Table::default(),
            cpus: Vec::new(),
            system: SystemTotals::default(),
            counted: Counts::default(),
        }
    }

    /// The CPUs' own counts go on from where another window left them.
    pub fn go_on_from(&mut self, before: &Ledger) {
        self.counted = before.counted.go_on();
    }

    /// The window begins at `at`.
    pub fn begin(&mut self, at: Timestamp) {
        self.window.from = at;
    }

    /// The window ends at `at`, before the stream does or with it; what ends later is cut.
    pub fn end(&mut self, at: Timestamp, early: bool) {
        (self.window.to, self.window.early) = (at, early);
    }

    pub fn window(&self) -> Window {
        self.window
    }

    pub fn row(&self, slot: Slot) -> Option<&Row> {
        self.rows.get(slot)?.as_ref()
    }

    /// Takes a row out, so that its slot can belong to another thread.
    pub fn take(&mut self, slot: Slot) -> Option<Row> {
        let mut row = self.rows.get_mut(slot)?.take()?;
        row.totals.lifetime = self.lifetime(&row);
        Some(row)
    }

    pub fn cpus(&self) -> impl Iterator<Item = (Cpu, &CpuTotals)> {
        (0..=u16::MAX).map(Cpu).zip(&self.cpus)
    }

    pub fn system(&self) -> &SystemTotals {
        &self.system
    }

    /// Of each CPU that counts by itself, what it did between the first and the last look at it.
    pub fn by_counts(&self) -> impl Iterator<Item = (Cpu, CpuTotals, SystemTotals)> {
        self.counted.growth()
    }

    /// Everybody whom its rows refer to.
    pub fn names(&self) -> impl Iterator<Item = WhoId> {
        let rows = self.rows.iter().filter_map(|(_, row)| row.as_ref());
        rows.filter_map(|row| row.causes.as_ref())
            .flat_map(|causes| causes.names())
    }

    /// The row's life inside the window.
    pub fn lifetime(&self, row: &Row) -> Nanos {
        let Life { born, died } = row.life;
        died.min(self.window.to).since(born.max(self.window.from))
    }

    /// Reads a little of all that the next span of this thread needs; the answer means nothing.
    #[inline]
    pub fn glance(&self, slot: Slot) -> u64 {
        self.row(slot).map_or(0, Row::glance)
    }

    #[inline]
    fn row_mut(&mut self, slot: Slot) -> &mut Row {
        let place = self.rows.at(slot);
        if place.is_none() {
            new_row(place, &self.blank);
        }
        place.get_or_insert_default()
    }

    fn cpu_mut(&mut self, cpu: Cpu) -> &mut CpuTotals {
        let index = usize::from(cpu.0);
        if index >= self.cpus.len() {
            self.cpus.resize(index + 1, CpuTotals::default());
        }
        &mut self.cpus[index]
    }
}

#[cold]
fn new_row(place: &mut Option<Row>, blank: &Totals) {
    *place = Some(Row {
        totals: *blank,
        ..Row::default()
    });
}

/// One state each.
impl Ledger {
    fn ran(
        &mut self,
        span: &Span,
        (steal, irq, softirq): (Option<Nanos>, Nanos, Nanos),
        lag: Nanos,
        gap: ClockGap,
    ) {
        let (row, visible) = self.begin_span(span);
        if let Some(audit) = &mut row.audit {
            audit.ran(span, lag, gap);
        }
        let Some((length, whole)) = visible else {
            return;
        };
        let all = span.to.since(span.from);
        row.totals.run += length;
        row.net_run += length - share(lag, length, all);
        if let (Some(total), Some(steal)) = (&mut row.totals.run_steal, steal) {
            *total += share(steal, length, all);
        }
        if let Some(total) = &mut row.totals.run_irq {
            *total += share(irq, length, all);
        }
        if let Some(total) = &mut row.totals.run_softirq {
            *total += share(softirq, length, all);
        }
        keep(&mut row.run_slice, length, whole, span.to);
    }

    fn waited(&mut self, span: &Span, wait: Wait) {
        let (row, visible) = self.begin_span(span);
        if let Some(audit) = &mut row.audit {
            audit.waited(span, wait);
        }
        let Some((length, whole)) = visible else {
            return;
        };
        row.totals.wait += length;
        if !wait.stamped && wait.began != WaitBegan::Woken {
            let all = span.to.since(span.from);
            row.totals.wait_uncounted += share(all - wait.credit, length, all);
        }
        keep(&mut row.wait, length, whole, span.to);
    }

    fn was_off(
        &mut self,
        span: &Span,
        (state, iowait, syscall): (OffState, bool, Option<Syscall>),
        wake: Option<Nanos>,
    ) {
        let wake = wake.and_then(|wake| {
            self.window
                .visible(span.to.before(wake), span.to, span.open)
        });
        let (row, visible) = self.begin_span(span);
        let Some((length, _)) = visible else { return };
        let totals = &mut row.totals;
        match state {
            OffState::Sleep => totals.sleep += length,
            OffState::Block => totals.block += length,
            OffState::Stopped => totals.stopped += length,
        }
        if let (Some(total), true) = (&mut totals.iowait, iowait && state == OffState::Block) {
            *total += length;
        }
        if let (Some(total), Some((wake, _))) = (&mut totals.wake, wake) {
            *total += wake;
        }
        row.off(state, syscall, length);
    }

    fn was_unknown(&mut self, span: &Span) {
        let (row, visible) = self.begin_span(span);
        let inside = visible.map_or(Nanos::ZERO, |(length, _)| length);
        row.totals.unknown += inside;
        row.holes.0 += inside;
        row.holes.1 += span.to.since(span.from) - inside;
    }

    /// The row of a span, and its visible part; whether that is all of it.
    #[inline]
    fn begin_span(&mut self, span: &Span) -> (&mut Row, Option<(Nanos, bool)>) {
        let visible = self.window.visible(span.from, span.to, span.open);
        let row = self.row_mut(span.slot);
        row.life.begin(span.from);
        row.present |= visible.is_some();
        (row, visible)
    }

    fn left(
        &mut self,
        slot: Slot,
        at: Timestamp,
        (voluntary, involuntary): (u64, u64),
        yielded: bool,
        (kind, address_space_change): (NextKind, bool),
    ) {
        let inside = self.window.contains(at);
        let row = self.row_mut(slot);
        if let Some(audit) = &mut row.audit {
            audit.switch_out(at, voluntary, involuntary);
        }
        row.holes = (Nanos::ZERO, Nanos::ZERO);
        if inside {
            row.totals.voluntary += voluntary;
            row.totals.involuntary += involuntary;
            row.totals.kinds.count(kind);
            row.totals.address_space_changes += u64::from(address_space_change);
            if let Some(yields) = &mut row.totals.involuntary_yields {
                *yields += u64::from(yielded);
            }
        }
    }

    fn came_late(&mut self, slot: Slot, from: Timestamp, at: Timestamp) {
        let visible = self.window.visible(from, at, false);
        let row = self.row_mut(slot);
        match visible {
            Some((length, true)) => row.latency.record(length, at),
            Some((_, false)) => row.latency.clip(),
            None => {}
        }
    }

    /// What is rare.
    fn note(&mut self, slot: Slot, at: Timestamp, mark: &Mark) {
        let inside = self.window.contains(at);
        let begun = self.window.has_begun();
        let window = self.window;
        let audits = self.audits;
        let row = self.row_mut(slot);
        match *mark {
            Mark::Born => {
                row.life = Life {
                    born: at,
                    ..Life::default()
                };
                row.present |= inside;
            }
            Mark::Died => {
                row.life.died = at;
            }
            Mark::Baseline(base) => {
                if audits {
                    row.audit = Some(Audit::new(at, base));
                }
            }
            Mark::LostAtEnd {
                voluntary,
                involuntary,
            } => {
                if let Some(audit) = &mut row.audit {
                    audit.switch_out(at, voluntary, involuntary);
                }
                if window.has_end_of_stream(at) {
                    row.totals.voluntary += voluntary;
                    row.totals.involuntary += involuntary;
                }
            }
            Mark::Heal {
                run,
                wait,
                doubtful,
            } => {
                if let Some(audit) = &mut row.audit {
                    audit.heal(run, wait, doubtful);
                }
                if begun {
                    row.heal(run, wait);
                }
            }
            Mark::Migrated => row.totals.migrations += u64::from(inside),
            Mark::Check {
                counters,
                running_since,
                lag,
                source,
            } => {
                // A thread that ended after the window was alive in it: the snapshot stands.
                if let Some(audit) = &mut row.audit
                    && (source == CheckSource::Snapshot || at < window.to)
                {
                    audit.check(at, counters, running_since, lag, source);
                }
            }
            Mark::SwitchOut { .. } | Mark::Latency { .. } => {}
        }
    }
}

/// Callers know which span and which mark it is: what else could be falls away where it is inlined.
impl SpanSink for Ledger {
    #[inline(always)]
    fn span(&mut self, span: &Span) {
        match span.doing {
            Doing::Run {
                steal,
                lag,
                irq,
                softirq,
                gap,
            } => self.ran(span, (steal, irq, softirq), lag, gap),
            Doing::Wait(wait) => self.waited(span, wait),
            Doing::Off {
                state,
                iowait,
                syscall,
                wake,
            } => self.was_off(span, (state, iowait, syscall), wake),
            Doing::Unknown => self.was_unknown(span),
        }
    }

    fn explained(&mut self, waited: &Waited<'_>) {
        let Waited { from, to, open, .. } = *waited;
        let Some((length, whole)) = self.window.visible(from, to, open) else {
            return;
        };
        let (first, last) = (self.window.from, self.window.to);
        let ended = self.window.contains(to) && !open;
        let slept = waited.slept.and_then(|slept| {
            let (length, _) = self.window.visible(slept.from, from, false)?;
            Some((slept, length))
        });
        let many = self.rows.rows() > MANY;
        let causes = self.row_mut(waited.slot).causes.get_or_insert_default();
        let mut begins = from.max(first);
        for piece in waited.pieces {
            let ends = piece.to.min(last);
            if begins < ends {
                causes.charge(piece.charge, ends.since(begins), many);
                begins = ends;
            }
        }
        if let Some(who) = waited.gave_way_to.filter(|_| from >= first) {
            causes.preempted(who, (length, whole, to), waited.resched, many);
        }
        // Who still waits may yet be told otherwise.
        if let (Some(woken), true) = (&waited.woken, ended) {
            causes.woken(woken, length);
            if let Some((slept, length)) = slept {
                causes.blocked(&slept, woken, length);
            }
        }
    }

    #[inline]
    fn mark(&mut self, slot: Slot, at: Timestamp, mark: &Mark) {
        match *mark {
            Mark::SwitchOut {
                voluntary,
                involuntary,
                yielded,
                kind,
                address_space_change,
            } => self.left(
                slot,
                at,
                (voluntary, involuntary),
                yielded,
                (kind, address_space_change),
            ),
            Mark::Latency { from } => self.came_late(slot, from, at),
            Mark::Born
            | Mark::Baseline(_)
            | Mark::Heal { .. }
            | Mark::Migrated
            | Mark::Check { .. }
            | Mark::LostAtEnd { .. }
            | Mark::Died => self.note(slot, at, mark),
        }
    }

    fn cpu(&mut self, cpu: Cpu, from: Timestamp, to: Timestamp, idle: bool) {
        let Some((length, _)) = self.window.visible(from, to, false) else {
            return;
        };
        let totals = self.cpu_mut(cpu);
        if idle {
            totals.idle += length;
        } else {
            totals.busy += length;
        }
    }

    fn switch(&mut self, cpu: Cpu, at: Timestamp, switch: &Switch, counted: SwitchCount) {
        if !self.window.contains(at) {
            return;
        }
        self.cpu_mut(cpu).switches += 1;
        self.system.count(counted);
        self.system.address_space_changes += u64::from(switch.address_space_change);
        if switch.prev.tid != 0 {
            self.system.kinds.count(switch.next_kind);
        }
    }

    fn unseen(&mut self, at: Timestamp, counted: SwitchCount) {
        if self.window.contains(at) {
            self.system.count(counted);
        }
    }

    fn counted(&mut self, cpu: Cpu, at: Timestamp, counted: &CpuSwitches) {
        if at <= self.window.to {
            self.counted
                .look(cpu, (at, *counted), at > self.window.from);
        }
    }
}

/// A length is kept only when it is whole.
#[inline]
fn keep(histogram: &mut Histogram, length: Nanos, whole: bool, at: Timestamp) {
    if whole {
        histogram.record(length, at);
    } else {
        histogram.clip();
    }
}
