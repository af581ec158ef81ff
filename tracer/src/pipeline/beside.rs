//! Who else takes the spans of the window, where anybody does: one sink, however many there are.
//!
//! In: spans and marks. Out: the same, to each. Must not know: what they do with them.

use crate::{
    model::{Cpu, CpuSwitches, Mark, Slot, Span, SpanSink, Switch, SwitchCount, Timestamp, Waited},
    spikes::{Detector, Spikes},
    timeline::{Collector, Timeline},
};

pub struct Beside<'a> {
    detector: Option<&'a mut Detector>,
    collector: Option<&'a mut Collector>,
}

impl<'a> Beside<'a> {
    /// `None`: nobody does.
    #[inline]
    pub fn of(
        spikes: &'a mut Option<Spikes>,
        timeline: &'a mut Option<Timeline>,
    ) -> Option<Beside<'a>> {
        let detector = spikes.as_mut().map(|spikes| &mut spikes.detector);
        let collector = timeline.as_mut().map(|timeline| &mut timeline.collector);
        (detector.is_some() || collector.is_some()).then_some(Beside {
            detector,
            collector,
        })
    }
}

impl SpanSink for Beside<'_> {
    #[inline]
    fn explained(&mut self, waited: &Waited<'_>) {
        if let Some(detector) = &mut self.detector {
            detector.explained(waited);
        }
        if let Some(collector) = &mut self.collector {
            collector.explained(waited);
        }
    }

    // A spike is a wait, and nothing else.

    #[inline]
    fn span(&mut self, span: &Span) {
        if let Some(collector) = &mut self.collector {
            collector.span(span);
        }
    }

    #[inline]
    fn mark(&mut self, slot: Slot, at: Timestamp, mark: &Mark) {
        if let Some(collector) = &mut self.collector {
            collector.mark(slot, at, mark);
        }
    }

    #[inline]
    fn switch(&mut self, cpu: Cpu, at: Timestamp, switch: &Switch, counted: SwitchCount) {
        if let Some(collector) = &mut self.collector {
            collector.switch(cpu, at, switch, counted);
        }
    }

    #[inline]
    fn cpu(&mut self, _: Cpu, _: Timestamp, _: Timestamp, _: bool) {}
    #[inline]
    fn unseen(&mut self, _: Timestamp, _: SwitchCount) {}
    fn counted(&mut self, _: Cpu, _: Timestamp, _: &CpuSwitches) {}
}
