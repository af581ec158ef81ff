//! All that is known of some threads, one row after another: for whoever writes it to a file.
//!
//! In: spans and marks, as the ledger has them. Out: rows, cut at the window as the ledger cuts, with the names
//! of that moment; what they add up to is what the ledger has. Must not know: formats, who reads the rows.

mod rows;

use std::ops::Range;

pub use rows::{Done, Met, PieceRow, Row, Rows, SpanRow, State, SwitchRow, WaitRow, Waker};

use crate::{
    audit::share,
    engine::{Engine, tasks::Identity},
    model::{
        Cpu, CpuSwitches, Doing, Mark, Nanos, OffState, Piece, Slept, Slot, Span, SpanSink, Switch,
        SwitchCount, Timestamp, WaitCause, Waited, Woken,
    },
    report::{ChargeKind, Thread, WaitedFor},
    summary::{Namer, offset},
    window::Window,
};

/// Threads by [`Identity::serial`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shown(Vec<u64>);

impl Shown {
    pub fn insert(&mut self, serial: u32) {
        let word = serial as usize / 64;
        if word >= self.0.len() {
            self.0.resize(word + 1, 0);
        }
        self.0[word] |= 1 << (serial % 64);
    }

    pub fn contains(&self, serial: u32) -> bool {
        let word = self.0.get(serial as usize / 64);
        word.is_some_and(|word| word >> (serial % 64) & 1 == 1)
    }
}

/// What the engine tells, until names are put to it.
#[derive(Debug)]
enum Raw {
    Span(Span),
    Waited(RawWait),
    Left(Slot, SwitchRow),
}

#[derive(Debug)]
struct RawWait {
    slot: Slot,
    cpu: Cpu,
    from: Timestamp,
    to: Timestamp,
    cause: WaitCause,
    finished: bool,
    woken: Option<Woken>,
    slept: Option<Slept>,
    resched: Option<Nanos>,
    pieces: Range<usize>,
}

/// Takes what lies in the window, of whomever.
#[derive(Debug, Default)]
pub struct Collector {
    pub window: Window,
    raw: Vec<Raw>,
    /// Cut already.
    pieces: Vec<Piece>,
}

impl SpanSink for Collector {
    #[inline]
    fn span(&mut self, span: &Span) {
        if self.window.visible(span.from, span.to, span.open).is_some() {
            self.raw.push(Raw::Span(*span));
        }
    }

    fn explained(&mut self, waited: &Waited<'_>) {
        let Waited { from, to, open, .. } = *waited;
        if self.window.visible(from, to, open).is_none() {
            return;
        }
        let finished = self.window.contains(to) && !open;
        let (from, to) = self.window.cut(from, to);
        let first = self.pieces.len();
        let mut begins = from;
        for piece in waited.pieces {
            let ends = piece.to.min(to);
            if begins < ends {
                self.pieces.push(Piece { to: ends, ..*piece });
                begins = ends;
            }
        }
        self.raw.push(Raw::Waited(RawWait {
            slot: waited.slot,
            cpu: waited.cpu,
            from,
            to,
            cause: waited.cause,
            finished,
            woken: waited.woken,
            slept: waited.slept,
            resched: waited.resched,
            pieces: first..self.pieces.len(),
        }));
    }

    fn mark(&mut self, slot: Slot, at: Timestamp, mark: &Mark) {
        let mut row = SwitchRow {
            thread: 0,
            at_ns: None,
            cpu: None,
            voluntary: 0,
            involuntary: 0,
            yielded: false,
            kind: None,
            address_space_change: false,
            next_tid: None,
        };
        match *mark {
            Mark::SwitchOut {
                voluntary,
                involuntary,
                yielded,
                kind,
                address_space_change,
            } if self.window.contains(at) => {
                row.at_ns = Some(offset(at, self.window.from));
                (row.voluntary, row.involuntary) = (voluntary, involuntary);
                (row.yielded, row.kind) = (yielded, Some(kind));
                row.address_space_change = address_space_change;
            }
            Mark::LostAtEnd {
                voluntary,
                involuntary,
            } if self.window.has_end_of_stream(at) => {
                (row.voluntary, row.involuntary) = (voluntary, involuntary)
            }
            _ => return,
        }
        self.raw.push(Raw::Left(slot, row));
    }

    #[inline]
    fn cpu(&mut self, _: Cpu, _: Timestamp, _: Timestamp, _: bool) {}

    /// Told right after what it is for the thread that left.
    fn switch(&mut self, cpu: Cpu, at: Timestamp, switch: &Switch, _: SwitchCount) {
        if switch.prev.tid == 0 || !self.window.contains(at) {
            return;
        }
        let at_ns = Some(offset(at, self.window.from));
        let left = self.raw.iter_mut().rev().find_map(|raw| match raw {
            Raw::Left(_, row) => Some(row).filter(|row| row.at_ns == at_ns),
            _ => None,
        });
        if let Some(row) = left {
            (row.cpu, row.next_tid) = (Some(cpu), Some(switch.next.tid));
        }
    }

    #[inline]
    fn unseen(&mut self, _: Timestamp, _: SwitchCount) {}
    fn counted(&mut self, _: Cpu, _: Timestamp, _: &CpuSwitches) {}
}

/// Rows of the threads that are to be shown.
#[derive(Debug)]
pub struct Timeline {
    pub collector: Collector,
    shown: Shown,
    /// By slot, as they were introduced.
    met: Vec<Option<Met>>,
    rows: Rows,
}

impl Timeline {
    pub fn new(shown: Shown) -> Timeline {
        Timeline {
            collector: Collector::default(),
            shown,
            met: Vec::new(),
            rows: Rows::default(),
        }
    }

    /// What has come since these were cleared.
    pub fn rows(&mut self) -> &mut Rows {
        &mut self.rows
    }

    /// Puts names to what the engine has told; right after that, as long as everybody is where it was told.
    pub fn name(&mut self, engine: &Engine) {
        if self.collector.raw.is_empty() {
            return;
        }
        let raw = std::mem::take(&mut self.collector.raw);
        for one in &raw {
            match one {
                Raw::Span(span) => self.span(span, engine),
                Raw::Waited(waited) => self.waited(waited, engine),
                Raw::Left(slot, row) => {
                    if let Some(met) = self.meet(*slot, engine) {
                        self.rows.rows.push(Row::Switch(SwitchRow {
                            thread: met.thread,
                            ..*row
                        }));
                    }
                }
            }
        }
        self.collector.raw = raw;
        self.collector.raw.clear();
        self.collector.pieces.clear();
    }

    /// The last row of a thread, and what it has beyond all others.
    pub fn done(&mut self, slot: Slot, engine: &Engine, cgroup_id: Option<u64>, row: Thread) {
        let Some(met) = self.meet(slot, engine) else {
            return;
        };
        let (run, wait) = (row.covered.healed_run, row.covered.healed_wait);
        let mut more = |state, ns: i64| {
            if ns != 0 {
                self.rows.rows.push(Row::Span(SpanRow {
                    thread: met.thread,
                    at_ns: None,
                    ns,
                    state,
                    cpu: None,
                    whole: false,
                    syscall: None,
                    iowait: false,
                    steal: None,
                    irq: Nanos::ZERO,
                    softirq: Nanos::ZERO,
                }));
            }
        };
        more(State::Run, run.signed());
        more(State::Wait, wait.signed());
        more(State::Unknown, -((run + wait).signed()));
        if wait > Nanos::ZERO {
            let first = self.rows.pieces.len();
            self.rows.pieces.push(PieceRow {
                at_ns: None,
                charged: WaitedFor {
                    kind: ChargeKind::Unknown,
                    who: None,
                    same_process: None,
                    count: 1,
                    ns: wait,
                },
            });
            self.rows.rows.push(Row::Wait(WaitRow {
                thread: met.thread,
                at_ns: None,
                ns: wait,
                cpu: Cpu(row.cpu_last),
                cause: WaitCause::Preempted,
                finished: true,
                woken: None,
                slept: None,
                resched: None,
                pieces: first..first + 1,
            }));
        }
        let process = engine.tasks().get(slot).map(|who| who.process);
        let ppid = process.map_or(0, |id| engine.tasks().process(id).ppid);
        self.rows.rows.push(Row::Done(Box::new(Done {
            met,
            ppid,
            cgroup_id,
            row,
        })));
        self.forget(slot);
    }

    /// The slot will be another thread's.
    pub fn forget(&mut self, slot: Slot) {
        if let Some(place) = self.met.get_mut(slot.index()) {
            *place = None;
        }
    }

    /// Who has this slot, if it is to be shown; introduced.
    fn meet(&mut self, slot: Slot, engine: &Engine) -> Option<Met> {
        let who = engine.tasks().get(slot)?;
        if !self.shown.contains(who.serial) {
            return None;
        }
        let met = met(who, engine);
        if slot.index() >= self.met.len() {
            self.met.resize(slot.index() + 1, None);
        }
        let place = &mut self.met[slot.index()];
        if *place != Some(met) {
            *place = Some(met);
            self.rows.rows.push(Row::Met(met));
        }
        Some(met)
    }

    fn span(&mut self, span: &Span, engine: &Engine) {
        let window = self.collector.window;
        let (Some((length, whole)), Some(met)) = (
            window.visible(span.from, span.to, span.open),
            self.meet(span.slot, engine),
        ) else {
            return;
        };
        let all = span.to.since(span.from);
        let part = |of: Nanos| share(of, length, all);
        let cpu = Some(engine.cpu_of(span.slot));
        let mut row = SpanRow {
            thread: met.thread,
            at_ns: Some(offset(span.from.max(window.from), window.from)),
            ns: length.signed(),
            state: State::Unknown,
            cpu: None,
            whole,
            syscall: None,
            iowait: false,
            steal: None,
            irq: Nanos::ZERO,
            softirq: Nanos::ZERO,
        };
        match span.doing {
            Doing::Run {
                steal,
                irq,
                softirq,
                ..
            } => {
                (row.state, row.cpu) = (State::Run, cpu);
                row.steal = steal.map(part);
                (row.irq, row.softirq) = (part(irq), part(softirq));
            }
            Doing::Wait(_) => (row.state, row.cpu) = (State::Wait, cpu),
            Doing::Off {
                state,
                iowait,
                syscall,
                ..
            } => {
                row.state = State::Off(state);
                row.iowait = iowait && state == OffState::Block;
                row.syscall = syscall;
            }
            Doing::Unknown => {}
        }
        self.rows.rows.push(Row::Span(row));
    }

    fn waited(&mut self, waited: &RawWait, engine: &Engine) {
        let Some(met) = self.meet(waited.slot, engine) else {
            return;
        };
        let start = self.collector.window.from;
        let namer = Namer {
            engine,
            pid: met.pid,
        };
        let first = self.rows.pieces.len();
        let mut begins = waited.from;
        for piece in &self.collector.pieces[waited.pieces.clone()] {
            self.rows.pieces.push(PieceRow {
                at_ns: Some(offset(begins, start)),
                charged: namer.charged(piece.charge, 1, piece.to.since(begins)),
            });
            begins = piece.to;
        }
        self.rows.rows.push(Row::Wait(WaitRow {
            thread: met.thread,
            at_ns: Some(offset(waited.from, start)),
            ns: waited.to.since(waited.from),
            cpu: waited.cpu,
            cause: waited.cause,
            finished: waited.finished,
            woken: waited.woken.map(|woken| Waker {
                kind: woken.kind,
                itself: woken.itself,
                id: woken.who,
                who: woken.who.and_then(|who| engine.name(who)).copied(),
                syscall: woken.syscall,
                cross_cpu: woken.cross_cpu,
                wake: woken.wake,
            }),
            slept: waited.slept,
            resched: waited.resched,
            pieces: first..self.rows.pieces.len(),
        }));
    }
}

fn met(who: &Identity, engine: &Engine) -> Met {
    let process = engine.tasks().process(who.process);
    Met {
        thread: who.serial,
        process: process.serial(who.process),
        id: who.name,
        pid: process.pid,
        tid: who.tid,
        comm: who.comm,
        process_comm: process.comm,
        kernel_thread: process.kernel_thread,
    }
}

#[cfg(test)]
#[path = "timeline_tests.rs"]
pub mod tests;
