//! What rows say of a slice besides its length.
//!
//! In: rows of a block. Out: arguments of slices. Must not know: tracks, bytes.

use rustc_hash::FxHashMap;

use super::packets::Args;
use crate::export::Known;
use crate::model::WakerKind;
use crate::output::{sentence, syscall_name, words};
use crate::timeline::{Met, PieceRow, Row, Rows, SpanRow, SwitchRow, WaitRow};

/// Rows that say more of a span, by thread and time; most follow it, those of waits that go on come at the very end.
#[derive(Default)]
pub struct Details<'r> {
    pub waits: FxHashMap<(u32, i64, i64), &'r WaitRow>,
    /// Switch-outs that have not been told.
    pub switches: FxHashMap<(u32, i64), &'r SwitchRow>,
}

impl<'r> Details<'r> {
    pub fn of(rows: &'r Rows) -> Details<'r> {
        let mut details = Details::default();
        for row in &rows.rows {
            match row {
                Row::Wait(row) => {
                    if let Some(at) = row.at_ns {
                        let key = (row.thread, at, at + row.ns.0 as i64);
                        details.waits.insert(key, row);
                    }
                }
                Row::Switch(row) => {
                    if let Some(at) = row.at_ns {
                        details.switches.insert((row.thread, at), row);
                    }
                }
                Row::Met(_) | Row::Span(_) | Row::Done(_) => {}
            }
        }
        details
    }
}

pub fn of_run(row: &SpanRow, args: &mut Args<'_>) {
    if let Some(cpu) = row.cpu {
        args.int("cpu", cpu.0.into());
    }
    args.count("steal_ns", row.steal.unwrap_or_default().0 as i64);
    args.count("irq_ns", row.irq.0 as i64);
    args.count("softirq_ns", row.softirq.0 as i64);
}

/// The counts of all these add up to the report's.
pub fn of_switch(row: &SwitchRow, args: &mut Args<'_>) {
    args.count("voluntary", row.voluntary as i64);
    args.count("involuntary", row.involuntary as i64);
    args.flag("yielded", row.yielded);
    if let Some(kind) = row.kind {
        args.text("gave_way_to", words::next_kind(kind));
    }
    args.flag("address_space_change", row.address_space_change);
    args.count("next_tid", row.next_tid.unwrap_or(0).into());
}

pub fn of_wait(
    row: &WaitRow,
    pieces: &[PieceRow],
    who: &Met,
    known: &Known<'_>,
    args: &mut Args<'_>,
) {
    args.int("cpu", row.cpu.0.into());
    args.text("cause", words::wait_cause(row.cause));
    if let Some(waker) = &row.woken {
        args.text("woken_by", words::woken_by(waker.kind, waker.itself));
        let named = waker.who.filter(|_| waker.kind == WakerKind::Thread);
        if let Some(waker) = named.filter(|_| !waker.itself) {
            args.text("waker", &sentence::name(&waker, waker.pid == who.pid));
        }
        if let Some(call) = waker.syscall {
            args.text("waker_syscall", &syscall_name(&known.host.arch, call));
        }
        args.flag("cross_cpu", waker.cross_cpu);
        args.int("wake_ns", waker.wake.0 as i64);
    }
    args.count("resched_ns", row.resched.unwrap_or_default().0 as i64);
    args.list("waited_for", pieces, |piece, args| {
        args.text("by", &sentence::culprit(&piece.charged, None));
        args.int("ns", piece.charged.ns.0 as i64);
    });
}
