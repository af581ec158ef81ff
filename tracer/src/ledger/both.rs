//! Two sinks for one stream: say, the window's ledger and the interval's.
//!
//! In: spans and marks. Out: the same, to both. Must not know: what they do with them.

use crate::model::{
    Cpu, CpuSwitches, Mark, Slot, Span, SpanSink, Switch, SwitchCount, Timestamp, Waited,
};

/// Spans for two at once.
pub struct Both<'a, A, B>(pub &'a mut A, pub &'a mut B);

impl<A: SpanSink, B: SpanSink> SpanSink for Both<'_, A, B> {
    #[inline]
    fn span(&mut self, span: &Span) {
        self.0.span(span);
        self.1.span(span);
    }

    #[inline]
    fn explained(&mut self, waited: &Waited<'_>) {
        self.0.explained(waited);
        self.1.explained(waited);
    }

    #[inline]
    fn mark(&mut self, slot: Slot, at: Timestamp, mark: &Mark) {
        self.0.mark(slot, at, mark);
        self.1.mark(slot, at, mark);
    }

    #[inline]
    fn cpu(&mut self, cpu: Cpu, from: Timestamp, to: Timestamp, idle: bool) {
        self.0.cpu(cpu, from, to, idle);
        self.1.cpu(cpu, from, to, idle);
    }

    #[inline]
    fn switch(&mut self, cpu: Cpu, at: Timestamp, switch: &Switch, counted: SwitchCount) {
        self.0.switch(cpu, at, switch, counted);
        self.1.switch(cpu, at, switch, counted);
    }

    #[inline]
    fn unseen(&mut self, at: Timestamp, counted: SwitchCount) {
        self.0.unseen(at, counted);
        self.1.unseen(at, counted);
    }

    fn counted(&mut self, cpu: Cpu, at: Timestamp, counted: &CpuSwitches) {
        self.0.counted(cpu, at, counted);
        self.1.counted(cpu, at, counted);
    }
}
